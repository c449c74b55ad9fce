\set category random(0, 999)
SELECT sum(p.price) FROM products p WHERE p.category_id = :category;
