-- Numbers beside the vector: of binary tasks and of classes from samples, asked with a row.
\set QUIET on
SET client_min_messages = warning;
SET timezone = 'UTC';
CREATE SCHEMA shop;
CREATE TABLE shop.events (user_id int, t timestamptz, item_id int);
INSERT INTO shop.events
SELECT u, '2024-01-01'::timestamptz + e * interval '5 hours', (u * 7 + e * e) % 15 FROM generate_series(1, 40) u, generate_series(1, 20) e;
-- The delivery that is chosen depends on what it costs, and a little on the weather, which is not always known.
CREATE TABLE shop.orders (user_id int, t timestamptz, item_id int, cost real, rain int, delivery text, express boolean);
INSERT INTO shop.orders
SELECT u, '2024-01-01'::timestamptz + e * interval '9 hours' + u * interval '1 minute', u % 15, cost, CASE WHEN cost % 3 > 0 THEN cost % 2 END,
	CASE WHEN cost < 4 THEN 'express' WHEN cost < 8 THEN 'post' ELSE 'shop' END, cost < 4
  FROM generate_series(1, 40) u, generate_series(1, 11) e, LATERAL (SELECT ('x' || substr(md5(u || '-' || e), 1, 7))::bit(28)::int % 12) d(cost);
\o /dev/null
SELECT dupn_create_model('orders', events => 'shop.events', user_column => 'user_id', time_column => 't', item_columns => '{item_id}',
	options => '{"hidden": 4, "attention": [4, 4], "max_events": 4, "epochs": 80, "patience": 80, "batch_size": 64, "learning_rate": 0.02, "refit": false}');
SELECT dupn_add_task('orders', 'delivery', 'multiclass', samples => 'shop.orders', label => 'delivery', features => '{cost,rain}');
SELECT dupn_add_task('orders', 'plain', 'multiclass', samples => 'shop.orders', label => 'delivery');
SELECT dupn_add_task('orders', 'express', 'binary', samples => 'shop.orders', label => 'express', features => '{cost}', options => '{"candidate": []}');
SELECT dupn_add_task('orders', 'item', 'binary', samples => 'shop.orders', label => 'express', features => '{cost,rain}');
CALL dupn_run('orders');
\o
SELECT plan(11);
SELECT cmp_ok((SELECT value FROM dupn_metrics WHERE task = 'delivery' AND metric = 'accuracy' AND slice = 'all'), '>', 0.9::float8, 'a class that depends on a number');
SELECT cmp_ok((SELECT value FROM dupn_metrics WHERE task = 'plain' AND metric = 'accuracy' AND slice = 'all'), '<', 0.6::float8, 'is not told without it');
SELECT cmp_ok((SELECT avg((c.class = o.delivery)::int) FROM shop.orders o,
	LATERAL (SELECT class FROM dupn_classify('delivery', dupn_user_vector(o.user_id, as_of => o.t), o) LIMIT 1) c), '>', 0.9::numeric, 'and is told of a row that has it');
SELECT is((SELECT round(sum(probability)::numeric, 5) FROM dupn_classify('delivery', dupn_user_vector(1), ROW(1, now(), 1, 2, 0, 'post', true)::shop.orders)), 1.00000, 'probabilities sum to one');
SELECT is((SELECT probability FROM dupn_classify('delivery', dupn_user_vector(1), ROW(1, now(), 1, 2, NULL, NULL, NULL)::shop.orders) WHERE class = 'post'),
	(SELECT probability FROM dupn_classify('delivery', dupn_user_vector(1), (SELECT x FROM (SELECT 2::numeric AS cost, avg(rain) AS rain FROM shop.orders
		WHERE t < (SELECT cut FROM dupn_versions)) x)) WHERE class = 'post'),
	'what is not known is the mean of training, whatever the row''s types');
SELECT throws_ok($$SELECT * FROM dupn_classify('delivery', dupn_user_vector(1))$$, '42809', 'task "delivery" needs a row with its features');
SELECT throws_ok($$SELECT * FROM dupn_classify('delivery', dupn_user_vector(1), (SELECT x FROM (SELECT 1 AS cost) x))$$, '42703', 'the row has no column "rain", which task "delivery" needs');
SELECT is((SELECT array_agg(probability ORDER BY class) FROM dupn_classify('plain', dupn_user_vector(1), ROW(1, now(), 1, 2, 0, 'post', true)::shop.orders)),
	(SELECT array_agg(probability ORDER BY class) FROM dupn_classify('plain', dupn_user_vector(1))), 'a row is as good where none is needed');
SELECT is((SELECT count(*) FROM dupn_classify('plain', dupn_user_vector(1), NULL::shop.orders)), 0::bigint, 'no row, no class');
SELECT cmp_ok((SELECT count(*) FILTER (WHERE (dupn_score('express', dupn_user_vector(o.user_id, as_of => o.t), o) > 0.5) = o.express)::float8 / count(*) FROM shop.orders o), '>', 0.9::float8,
	'yes or no by a number');
SELECT cmp_ok((SELECT count(*) FILTER (WHERE (dupn_score('item', dupn_user_vector(o.user_id, as_of => o.t), o) > 0.5) = o.express)::float8 / count(*) FROM shop.orders o), '>', 0.9::float8,
	'of a candidate, too');
SELECT * FROM finish();
