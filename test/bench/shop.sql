-- A shop at the sizes of the paper, which every figure of the benchmark is
-- taken on: 20,000 users of 100 events, a million products, a thousand to a category.
-- The events lie in the order of time, as a shop writes them, so the rows of a
-- user are on as many pages as there are rows; the products lie by category, which
-- is what candidates are chosen by.
\set users 20000
\set items 1000000
SET client_min_messages = warning;
CREATE EXTENSION dupn;

-- half of the events are of popular items, the other half meet every item once
CREATE FUNCTION shop_number(bigint) RETURNS float8 LANGUAGE sql IMMUTABLE AS
	'SELECT (hashint8extended($1, 7) & 1073741823) / 1073741824.0::float8';
CREATE TABLE events AS
SELECT u AS user_id, CASE n % 2 WHEN 0 THEN floor(:items * shop_number(u * 1000::bigint + n) ^ 3)::bigint
		ELSE (u * 50::bigint + n / 2) * 7919 % :items END AS item_id,
	CASE WHEN n % 8 = 7 AND u <= 2000 THEN 'subscribe' WHEN n % 8 = 6 THEN 'buy' WHEN n % 8 = 5 THEN 'cart'
		WHEN n % 8 = 4 THEN 'favourite' ELSE 'click' END AS action,
	(ARRAY['search', 'home', 'mail'])[1 + (u + n) % 3] AS scenario,
	timestamptz '2024-01-01' + (n * 173 + u % 97) * interval '1 minute' AS occurred_at
FROM generate_series(1, 100) n, generate_series(1, :users) u;
CREATE TABLE products AS
SELECT i AS id, i % 20000 AS shop_id, i % 8000 AS brand_id, i % 1000 AS category_id,
	ARRAY[i % 199, i % 211 + 199, i % 223 + 410]::int[] AS tags, 100 + i % 977 AS price
FROM generate_series(0, :items - 1) i ORDER BY category_id;
CREATE TABLE customers AS SELECT u AS id, u % 200 AS segment FROM generate_series(1, :users) u;
-- twenty impressions for each of the first thousand users, and one late one for the next ten thousand
CREATE TABLE impressions AS
SELECT user_id, (item_id * 7 + 3) % :items AS item_id, occurred_at + interval '30 seconds' AS occurred_at,
	hashint8(item_id + user_id) & 3 = 0 AS clicked
FROM events WHERE user_id <= 1000 AND occurred_at > timestamptz '2024-01-01' + (80 * 173 + user_id % 97 - 1) * interval '1 minute';
CREATE TABLE late_impressions AS
SELECT u AS user_id, floor(:items * shop_number(u))::bigint AS item_id, timestamptz '2024-02-01' + u * interval '1 minute' AS occurred_at,
	hashint8(u * 31) & 3 = 0 AS clicked
FROM generate_series(1001, 11000) u;
ALTER TABLE products ADD PRIMARY KEY (id);
ALTER TABLE customers ADD PRIMARY KEY (id);
CREATE INDEX events_user_time ON events (user_id, occurred_at);
CREATE INDEX ON products (category_id);
VACUUM ANALYZE;
