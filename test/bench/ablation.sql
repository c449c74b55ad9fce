-- The simulated shop, and on it the paper's tasks.  Variables: users, days.
DROP SCHEMA IF EXISTS lab_data, shop CASCADE;
SELECT dupn_drop_model(model) FROM dupn_models WHERE model = 'lab';
DELETE FROM lab.trained WHERE model = 'lab';
DELETE FROM lab.compared WHERE model = 'lab';
\set shop shop
\ir ../simulator/simulator.sql
CALL shop.simulate(:users, :days, 1);
RESET search_path;
CREATE SCHEMA lab_data;

-- L2R: what was shown, with the numbers a ranking would use.  Price is taken
-- within its category, and once as cheap and once as dear: weights cannot be
-- negative, and the shop's users differ in which they like.
CREATE TABLE lab_data.shown AS
SELECT i.id, i.user_id, i.item_id, i.shown_at, i.position, i.query_category, ln(1 + i.sales) AS sales, i.rating, i.ctr,
	z AS dear, -z AS cheap, i.clicked
FROM shop.impressions i JOIN (
	SELECT id, (ln(price::float8) - avg(ln(price::float8)) OVER category) / stddev(ln(price::float8)) OVER category AS z
	FROM shop.products WINDOW category AS (PARTITION BY category_id)) p ON p.id = i.item_id;
CREATE INDEX ON lab_data.shown (user_id, shown_at);

-- Following a shop, and preferring one: at the end of a visit, which of the
-- shops that the user met in seven days, and of two drawn ones, will be
-- favoured (follow), or bought from or put into the cart (prefer), within
-- three days.
CREATE TABLE lab_data.shops AS
WITH visit AS (
	SELECT user_id, max(occurred_at) + interval '1 second' AS at FROM shop.events GROUP BY user_id, occurred_at::date
), act AS (
	SELECT e.user_id, e.occurred_at, e.action, p.shop_id FROM shop.events e JOIN shop.products p ON p.id = e.item_id
), offered AS (
	SELECT v.user_id, v.at, a.shop_id FROM visit v JOIN act a USING (user_id)
	WHERE a.occurred_at > v.at - interval '7 days' AND a.occurred_at < v.at + interval '3 days'
		AND (a.occurred_at < v.at OR a.action <> 'click')
	UNION
	SELECT v.user_id, v.at, s.shop_id FROM visit v
	JOIN LATERAL (SELECT 1 + abs(hashint8extended(v.user_id, extract(epoch FROM v.at)::bigint + n) % 90) AS shop_id
		FROM generate_series(1, 2) n) s ON true
)
SELECT o.user_id, o.at, o.shop_id, coalesce(bool_or(a.action = 'fav'), false) AS follows,
	coalesce(bool_or(a.action IN ('buy', 'cart')), false) AS prefers
FROM offered o LEFT JOIN act a ON a.user_id = o.user_id AND a.shop_id = o.shop_id
	AND a.occurred_at >= o.at AND a.occurred_at < o.at + interval '3 days' AND a.action <> 'click'
WHERE o.at < (SELECT start_at FROM shop.truth_parameters) + (:days - 3) * interval '1 day'
	AND hashint8extended(o.user_id + o.shop_id * 100003, 7) % 3 = 0	-- a third: there are enough
GROUP BY 1, 2, 3;
CREATE INDEX ON lab_data.shops (user_id, at);

-- Price preference: at the start of a visit, the price level within its category
-- of what will be bought in it.
CREATE TABLE lab_data.bought AS
SELECT e.user_id, min(e.occurred_at) OVER (PARTITION BY e.user_id, e.occurred_at::date) AS at, p.category_id, p.level, e.action = 'buy' AS bought
FROM shop.events e JOIN (SELECT id, category_id, ntile(5) OVER (PARTITION BY category_id ORDER BY price, id) AS level FROM shop.products) p
	ON p.id = e.item_id;
DELETE FROM lab_data.bought WHERE NOT bought;
CREATE INDEX ON lab_data.bought (user_id, at);
ANALYZE;

SELECT dupn_create_model('lab', events => 'shop.events', user_column => 'user_id', time_column => 'occurred_at',
	item_columns => '{item_id,category_id,brand_id,shop_id,price}', behavior_columns => '{action,scenario}',
	catalog => 'shop.products', catalog_key => 'id',
	profile => 'shop.customers', profile_key => 'id', profile_columns => '{age_band,gender}',
	context_columns => '{query_category}', timezone => 'UTC',
	options => jsonb_build_object('hidden', 48, 'attention', '[32, 16]'::jsonb, 'max_events', 50, 'learning_rate', 3e-3, 'decay', 0.8,
		'dropout', 0.2, 'hidden_dropout', 0.1, 'epochs', 8, 'patience', 2, 'batch_size', 128, 'context_in_vector', true, 'refit', false,
		'holdout', start_at + (:days - 7) * interval '1 day', 'encodings', '{"query_category": {"table": "category_id"}}'::jsonb))
FROM shop.truth_parameters;
SELECT dupn_add_task('lab', 'rank', 'rank', samples => 'lab_data.shown', label => 'clicked', features => '{sales,rating,ctr,cheap,dear}',
	options => '{"time_column": "shown_at", "hidden": [64]}');
SELECT dupn_add_task('lab', 'click', 'binary', samples => 'lab_data.shown', label => 'clicked',
	options => '{"time_column": "shown_at", "hidden": [64, 32], "candidate_dim": 64}');
SELECT dupn_add_task('lab', 'follow', 'binary', samples => 'lab_data.shops', label => 'follows',
	options => '{"time_column": "at", "hidden": [64, 32], "candidate": ["shop_id"], "candidate_dim": 32}');
SELECT dupn_add_task('lab', 'price', 'multiclass', samples => 'lab_data.bought', label => 'level',
	options => '{"time_column": "at", "hidden": [64]}');
SELECT dupn_add_task('lab', 'prefer', 'binary', samples => 'lab_data.shops', label => 'prefers',
	options => '{"time_column": "at", "hidden": [64, 32], "candidate": ["shop_id"], "candidate_dim": 32}');
