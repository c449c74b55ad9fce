\set category random(0, 999)
SELECT max(p.id) FROM products p WHERE p.category_id = :category;
