-- A large version, 1 million items at the sizes of the paper, of which there
-- are two; and versions of few rows and many bytes.
\set QUIET on
SET client_min_messages = warning;
CREATE EXTENSION dupn;
CREATE TABLE events AS
SELECT u AS user_id, (u - 1) * 100 + n AS item_id, CASE n % 4 WHEN 0 THEN 'buy' WHEN 1 THEN 'cart' WHEN 2 THEN 'fav' ELSE 'click' END AS action,
	CASE n % 3 WHEN 0 THEN 'search' WHEN 1 THEN 'home' ELSE 'mail' END AS scenario,
	timestamptz '2024-01-01' + (n * 173 + u % 97) * interval '1 minute' AS occurred_at
FROM generate_series(1, 10000) u, generate_series(1, 100) n;
CREATE TABLE products AS
SELECT i AS id, i % 500 AS shop_id, i % 300 AS brand_id, i % 60 AS category_id, ARRAY[i % 7, i % 11 + 7, i % 13 + 18]::int[] AS tags FROM generate_series(1, 1000000) i;
CREATE TABLE customers AS SELECT u AS id, u % 50 AS segment FROM generate_series(1, 10000) u;
CREATE TABLE impressions AS
SELECT user_id, (item_id * 7 + 3) % 1000000 + 1 AS item_id, occurred_at + interval '30 seconds' AS occurred_at, hashint8(item_id + user_id) & 3 = 0 AS clicked
FROM events WHERE user_id <= 100 AND extract(epoch FROM occurred_at)::bigint / 60 % 16 = 0;
CREATE TABLE few AS SELECT * FROM events WHERE user_id <= 50;
ALTER TABLE products ADD PRIMARY KEY (id);
ALTER TABLE customers ADD PRIMARY KEY (id);
CREATE INDEX ON events (user_id, occurred_at);
CREATE INDEX ON few (user_id, occurred_at);
VACUUM ANALYZE;
SELECT dupn_create_model('paper', events => 'events', user_column => 'user_id', time_column => 'occurred_at',
	item_columns => '{item_id,shop_id,brand_id,category_id,tags}', behavior_columns => '{action,scenario}',
	catalog => 'products', catalog_key => 'id', profile => 'customers', profile_key => 'id', profile_columns => '{segment}',
	timezone => 'UTC', options => '{"epochs": 1, "refit": false, "min_count": 1, "activity": false,
		"widths": {"item_id": 32, "shop_id": 24, "brand_id": 24, "category_id": 16, "tags": 28,
			"action": 16, "scenario": 16, "gap": 16, "daypart": 16, "segment": 128}}') \g /dev/null
SELECT dupn_add_task('paper', 'click', 'binary', samples => 'impressions', label => 'clicked',
	options => '{"hidden": [128, 128]}') \g /dev/null
CALL dupn_run('paper');
CALL dupn_run('paper', 'train', '{"seed": 2}');
SELECT format('SELECT dupn_create_model(%L, ''few'', ''user_id'', ''occurred_at'', ''{item_id}'', ''{action}'', options => %L)',
		'mb' || mb, jsonb_build_object('hidden', 8, 'attention', '[8, 8]'::jsonb, 'epochs', 1, 'refit', false,
			'encodings', jsonb_build_object('item_id', jsonb_build_object('hash', mb * 1000000 / 128)), 'widths', '{"item_id": 32}'::jsonb))
FROM unnest(ARRAY[50, 100, 500]) mb \gexec
SELECT format('SELECT dupn_add_task(%L, ''action'', ''multiclass'', label => ''action'')', 'mb' || mb) FROM unnest(ARRAY[50, 100, 500]) mb \gexec
CALL dupn_run('mb50');
CALL dupn_run('mb100');
CALL dupn_run('mb500');
