\set u random(1, 1000)
\set category random(0, 999)
SELECT cardinality(dupn_score('click', v.vector, c.items)) FROM candidates c, vectors v WHERE c.category_id = :category AND v.user_id = :u;
