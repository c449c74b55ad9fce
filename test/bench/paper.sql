-- The sizes of the paper: 100 events, item 32 + shop 24 + brand 24 + category
-- 16 + tags 28, type and scenario 16, profile 128, hidden 128, attention 128
-- and 64, a binary task over candidates.  How long is one user's vector, and
-- how many samples a second does training do on its one core?
\set QUIET on
\pset pager off
SET client_min_messages = warning;
CREATE EXTENSION dupn;
CREATE TABLE events AS
SELECT u AS user_id, hashint8(u * 1000 + n)::bigint & 8191 AS item_id, CASE n % 4 WHEN 0 THEN 'buy' WHEN 1 THEN 'cart' WHEN 2 THEN 'fav' ELSE 'click' END AS action,
	CASE n % 3 WHEN 0 THEN 'search' WHEN 1 THEN 'home' ELSE 'mail' END AS scenario,
	timestamptz '2024-01-01' + (n * 173 + u % 97) * interval '1 minute' AS occurred_at
FROM generate_series(1, 400) u, generate_series(1, 100) n;
CREATE TABLE products AS
SELECT i AS id, i % 500 AS shop_id, i % 300 AS brand_id, i % 60 AS category_id, ARRAY[i % 7, i % 11 + 7, i % 13 + 18]::int[] AS tags FROM generate_series(0, 8191) i;
CREATE TABLE customers AS SELECT u AS id, u % 50 AS segment FROM generate_series(1, 400) u;
CREATE TABLE impressions AS
SELECT user_id, (item_id * 7 + 3) & 8191 AS item_id, occurred_at + interval '30 seconds' AS occurred_at, hashint8(item_id + user_id) & 3 = 0 AS clicked
FROM events WHERE extract(epoch FROM occurred_at)::bigint / 60 % 2 = 0;
ALTER TABLE products ADD PRIMARY KEY (id);
ALTER TABLE customers ADD PRIMARY KEY (id);
CREATE INDEX ON events (user_id, occurred_at);
VACUUM ANALYZE;
SELECT dupn_create_model('paper', events => 'events', user_column => 'user_id', time_column => 'occurred_at',
	item_columns => '{item_id,shop_id,brand_id,category_id,tags}', behavior_columns => '{action,scenario}',
	catalog => 'products', catalog_key => 'id', profile => 'customers', profile_key => 'id', profile_columns => '{segment}',
	timezone => 'UTC', options => '{"epochs": 1, "refit": false, "activity": false,
		"widths": {"item_id": 32, "shop_id": 24, "brand_id": 24, "category_id": 16, "tags": 28,
			"action": 16, "scenario": 16, "gap": 16, "daypart": 16, "segment": 128}}') \g /dev/null
SELECT dupn_add_task('paper', 'click', 'binary', samples => 'impressions', label => 'clicked',
	options => '{"hidden": [128, 128]}') \g /dev/null
CALL dupn_run('paper', 'train');

CREATE TEMP TABLE timing (milliseconds float8);
DO $$
DECLARE
	begun timestamptz;
	v dupn_vector;
BEGIN
	FOR i IN 1 .. 600 LOOP
		begun := clock_timestamp();
		v := dupn_user_vector(i % 400 + 1, as_of => '2025-01-01');
		IF i > 100 THEN
			INSERT INTO timing VALUES (extract(epoch FROM clock_timestamp() - begun) * 1000);
		END IF;
	END LOOP;
END $$;
SELECT 'dupn_user_vector, 100 events, reading included' AS figure,
	round(percentile_cont(0.5) WITHIN GROUP (ORDER BY milliseconds)::numeric, 3) || ' ms' AS median,
	round(percentile_cont(0.95) WITHIN GROUP (ORDER BY milliseconds)::numeric, 3) || ' ms' AS p95
FROM timing
UNION ALL
SELECT 'training, one core', round(events_per_second::numeric) || ' samples/s', NULL FROM dupn_jobs;
