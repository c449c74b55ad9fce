\set u random(1, 20000)
SELECT count(e.item_id), count(e.action), count(e.scenario), (SELECT segment FROM customers WHERE id = :u)
FROM (SELECT * FROM events WHERE user_id = :u AND occurred_at < now() ORDER BY occurred_at DESC LIMIT 101) e;
