-- dupn_estimate: counts and warnings; what depends on constants is checked for sense only.
CREATE SCHEMA estimate;
SET search_path = estimate, public;
SET timezone = 'UTC';
SET client_min_messages = warning;
CREATE TABLE events (user_id int, t timestamptz, item_id int, brand text, action text, price numeric);
CREATE TABLE products (id int PRIMARY KEY, category int, tags text[]);
CREATE TABLE shown (user_id int, t timestamptz, item_id int, clicked boolean, rated int);
INSERT INTO events SELECT u, '2024-01-01'::timestamptz + i * interval '1 hour', (u * 7 + i) % 50, 'b' || (i % 4),
	CASE WHEN i % 5 = 0 THEN 'buy' ELSE 'view' END, i
	FROM generate_series(1, 20) u, generate_series(1, 30) i;
INSERT INTO products SELECT i, i % 7, ARRAY['a', 'b' || i % 3] FROM generate_series(0, 79) i;
INSERT INTO shown SELECT u, '2024-01-02', i, i = 1, i FROM generate_series(1, 20) u, generate_series(1, 4) i;

SELECT dupn_create_model('e', 'events', 'user_id', 't', '{item_id,brand,price,category,tags}', '{action}', 'products', 'id',
	options => '{"epochs": 3}');
SELECT quantity, remark FROM dupn_estimate() WHERE quantity = 'warning';
CREATE INDEX ON events (user_id, t);
SELECT dupn_add_task('e', 'next', 'next_item', options => '{"where": {"action": "buy", "category": [1, 2], "tags": ["a", "zzz"]}}');
SELECT dupn_add_task('e', 'click', 'binary', samples => 'shown', label => 'clicked');
SELECT dupn_add_task('e', 'rating', 'binary', samples => 'shown', label => 'rated');
SELECT dupn_add_task('e', 'level', 'multiclass', label => 'price', options => '{"where": {"action": ["buy"]}}');
SELECT dupn_add_task('e', 'category', 'multiclass', label => 'category');
SELECT quantity, CASE WHEN quantity IN ('parameters', 'training', 'night', 'memory', 'disk') THEN (value > 0)::text ELSE value::text END AS value,
	unit, CASE WHEN quantity NOT IN ('parameters', 'training', 'night', 'memory') THEN remark END AS remark
	FROM dupn_estimate('e');

-- what is odd about the data
INSERT INTO events SELECT 1, '2024-02-01'::timestamptz + i * interval '1 s', NULL, 'b', 'view', 1 FROM generate_series(1, 100) i;
INSERT INTO events SELECT 2, '2024-02-01'::timestamptz + i * interval '1 s', 5, 'b', 'view', 1 FROM generate_series(1, 1000) i;
INSERT INTO events SELECT 2, 'infinity', 5, 'b', 'view', 1 FROM generate_series(1, 3) i;
UPDATE events SET action = 'view';
UPDATE shown SET clicked = true;
SELECT remark FROM dupn_estimate('e') WHERE quantity = 'warning';

-- nothing at all
TRUNCATE events, products, shown;
SELECT quantity, value, unit, remark FROM dupn_estimate('e') WHERE quantity NOT IN ('parameters', 'training', 'night', 'memory', 'disk');
INSERT INTO events SELECT u, '2024-01-01', u, 'b', 'view', 1 FROM generate_series(1, 5) u;
SELECT remark FROM dupn_estimate('e') WHERE quantity = 'warning' AND remark LIKE '%time%';

-- the counts are the caller's
CREATE ROLE regress_dupn_reader;
GRANT USAGE ON SCHEMA estimate TO regress_dupn_reader;
SET ROLE regress_dupn_reader;
SELECT dupn_estimate('e');
\echo :SQLSTATE
SELECT dupn_estimate();
\echo :SQLSTATE
RESET ROLE;
GRANT SELECT ON events, products TO regress_dupn_reader;
ALTER TABLE events ENABLE ROW LEVEL SECURITY;
CREATE POLICY two ON events USING (user_id <= 2);
SET ROLE regress_dupn_reader;
SELECT value FROM dupn_estimate('e') WHERE quantity = 'events';
\echo :SQLSTATE
RESET ROLE;
GRANT SELECT ON shown TO regress_dupn_reader;
SET ROLE regress_dupn_reader;
SELECT value FROM dupn_estimate('e') WHERE quantity = 'events';
RESET ROLE;
SELECT value FROM dupn_estimate('e') WHERE quantity = 'events';

SELECT dupn_drop_model('e');
DROP SCHEMA estimate CASCADE;
DROP ROLE regress_dupn_reader;
