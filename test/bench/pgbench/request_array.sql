\set u random(1, 20000)
\set category random(0, 999)
SELECT t.id, t.score
FROM (SELECT array_agg(id) AS ids FROM products WHERE category_id = :category) c,
	unnest(c.ids, dupn_score('click', (SELECT dupn_user_vector(:u, model => 'paper')), c.ids)) t(id, score)
ORDER BY score DESC LIMIT 20;
