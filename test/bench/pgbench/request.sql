\set u random(1, 20000)
\set category random(0, 999)
SELECT p.id, dupn_score('click', u.v, p.id) AS score
FROM products p, (SELECT dupn_user_vector(:u, model => 'paper') AS v OFFSET 0) u
WHERE p.category_id = :category ORDER BY score DESC LIMIT 20;
