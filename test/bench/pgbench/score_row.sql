\set u random(1, 1000)
\set category random(0, 999)
SELECT max(dupn_score('click', v.vector, p)) FROM products p, vectors v WHERE p.category_id = :category AND v.user_id = :u;
