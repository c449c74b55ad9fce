-- Samples that see what came of them are noticed, in training and before; those that do not are not.
\set QUIET on
SET client_min_messages = warning;
SET timezone = 'UTC';
CREATE SCHEMA shop;
CREATE FUNCTION shop.draw(a int, b int, n int) RETURNS int LANGUAGE sql IMMUTABLE AS
$$ SELECT ('x' || substr(md5(a || '-' || b), 1, 7))::bit(28)::int % n $$;

-- 50 users have an offer every seven hours.  Of two in three that are taken the click is logged half a
-- second before the offer, and of one in thirty that are not; the offers have a shop, too.
CREATE TABLE shop.offers (user_id int, shown_at timestamptz, item_id bigint, shop_id text, taken boolean, paid real, age real, quick boolean);
INSERT INTO shop.offers
SELECT u, '2024-01-02'::timestamptz + e * interval '7 hours' + u * interval '1 second', (u * 3 + e) % 15, 's' || (u * 3 + e) % 3, taken,
	CASE WHEN taken THEN 10 ELSE 0 END + shop.draw(u, 500 + e, 4), shop.draw(u, 600 + e, 9), taken
  FROM generate_series(1, 50) u, generate_series(1, 12) e, LATERAL (SELECT shop.draw(u, -e, 3) = 0) d(taken);
CREATE TABLE shop.clean (user_id int, t timestamptz, item_id int, action text);
INSERT INTO shop.clean
SELECT u, '2024-01-01'::timestamptz + e * interval '50 minutes' + u * interval '1 minute', shop.draw(u, e, 15), 'view'
  FROM generate_series(1, 50) u, generate_series(1, 120) e;
CREATE VIEW shop.leaking AS
SELECT * FROM shop.clean
UNION ALL SELECT user_id, shown_at - interval '0.5 seconds', item_id, 'view' FROM shop.offers
 WHERE CASE WHEN taken THEN shop.draw(user_id, item_id::int, 3) > 0 ELSE shop.draw(user_id, item_id::int, 30) = 0 END;
CREATE TABLE shop.products (id bigint, shop_id text);
INSERT INTO shop.products SELECT i, 's' || i % 3 FROM generate_series(0, 14) i;
-- offers as others may have them: shops alone, times without a zone, labels as numbers
CREATE VIEW shop.of_shops AS SELECT user_id, shown_at AT TIME ZONE 'Asia/Tokyo' AS shown_at, shop_id, taken::int AS taken FROM shop.offers;
-- and users alone, in samples that are drawn by time
CREATE VIEW shop.of_users AS SELECT user_id, shown_at, taken, paid FROM shop.offers;

CREATE FUNCTION shop.declare(name text, events regclass, samples regclass, options jsonb DEFAULT '{}', features name[] DEFAULT '{}', kind text DEFAULT 'binary') RETURNS void
LANGUAGE sql AS $$
SELECT dupn_create_model(name, events => events, user_column => 'user_id', time_column => 't',
	item_columns => '{item_id,shop_id}', behavior_columns => '{action}', catalog => 'shop.products', catalog_key => 'id', timezone => 'Asia/Tokyo',
	options => '{"hidden": 4, "attention": [4, 4], "max_events": 4, "epochs": 1, "refit": false}');
SELECT dupn_add_task(name, 'take', kind, samples => samples, label => 'taken', features => features,
	options => options || '{"time_column": "shown_at"}');
$$;
CREATE FUNCTION shop.noted(name text) RETURNS text LANGUAGE sql AS
$$ SELECT string_agg(note, '; ') FROM dupn_jobs, unnest(notes) note WHERE model = name AND note ~ 'embargo|nearly' $$;
CREATE FUNCTION shop.estimated(name text) RETURNS text LANGUAGE sql AS
$$ SELECT string_agg(remark, '; ') FROM dupn_estimate(name) WHERE quantity = 'warning' AND remark ~ 'embargo|nearly' $$;
\o /dev/null
SELECT shop.declare('leaking', 'shop.leaking', 'shop.offers');
SELECT shop.declare('clean', 'shop.clean', 'shop.offers');
SELECT shop.declare('embargo', 'shop.leaking', 'shop.offers', '{"embargo": "1 second"}');
SELECT shop.declare('shops', 'shop.leaking', 'shop.of_shops');
SELECT shop.declare('users', 'shop.leaking', 'shop.of_users');
SELECT shop.declare('features', 'shop.clean', 'shop.offers', features => '{paid,age,quick}');
SELECT shop.declare('rank', 'shop.clean', 'shop.offers', features => '{-paid,age}', kind => 'rank');
CALL dupn_run('leaking');
CALL dupn_run('clean');
CALL dupn_run('embargo');
CALL dupn_run('shops');
CALL dupn_run('users');
CALL dupn_run('features');
CALL dupn_run('rank');
\o
SELECT plan(18);

-- The same counted by hand, of all samples; in training of those before the hold-out.
CREATE VIEW shop.by_hand AS
SELECT round(100 * avg(young::int) FILTER (WHERE taken)) AS positives, round(100 * avg(young::int) FILTER (WHERE NOT taken)) AS negatives
  FROM (SELECT o.taken, EXISTS (SELECT FROM shop.leaking e WHERE e.user_id = o.user_id AND e.item_id = o.item_id
		AND e.t = (SELECT max(t) FROM shop.leaking l WHERE l.user_id = o.user_id AND l.t < o.shown_at)
		AND e.t > o.shown_at - interval '1 second') AS young FROM shop.offers o) o;
SELECT is(shop.estimated('leaking'), (SELECT format('task "take": in %s %% of the positives but %s %% of the negatives the newest event is under a second old and about the candidate: if it tells the label, set "embargo"',
	positives, negatives) FROM shop.by_hand), 'the estimate counts the newest events about the candidate');
SELECT matches(shop.noted('leaking'), '^task "take": in (6|7)\d % of the positives but \d % of the negatives the newest event is under a second old and about the candidate: if it tells the label, set "embargo"$', 'so does the training');
SELECT is(shop.estimated('clean'), NULL, 'a clean shop is not warned');
SELECT is(shop.noted('clean'), NULL, 'nor is its training');
SELECT is(shop.estimated('embargo'), NULL, 'nor where an embargo hides them');
SELECT is(shop.noted('embargo'), NULL, 'nor is its training');
SELECT is(shop.estimated('shops'), shop.estimated('leaking'), 'a shop is a candidate as an item is');
SELECT matches(shop.noted('shops'), 'under a second old and about the candidate', 'in training, too');
SELECT is(shop.estimated('users'), replace(shop.estimated('leaking'), ' and about the candidate', ''), 'without a candidate any event counts');
SELECT matches(shop.noted('users'), 'under a second old: if', 'in training, too');
SELECT is(shop.estimated('features'), 'task "take": feature "paid" nearly is the label (alone its AUC is 1.000): was it known before?; task "take": feature "quick" nearly is the label (alone its AUC is 1.000): was it known before?',
	'features that are the label');
SELECT is(shop.noted('features'), shop.estimated('features'), 'are found in training');
SELECT is(shop.noted('rank'), 'task "take": feature "paid" nearly is the label (alone its AUC is 1.000): was it known before?', 'turned round, too');
SELECT is(shop.estimated('rank'), shop.noted('rank'), 'and before');

-- Of positives whose candidate was there before, nothing that is drawn is.
\o /dev/null
SELECT dupn_create_model('drawn', events => 'shop.clean', user_column => 'user_id', time_column => 't', item_columns => '{item_id}',
	options => '{"hidden": 4, "attention": [4, 4], "max_events": 20, "epochs": 1, "refit": false}');
SELECT dupn_add_task('drawn', 'take', 'binary', options => '{"negatives": 1}');
CALL dupn_run('drawn');
\o
SELECT matches(shop.noted('drawn'), '^task "take": in \d\d % of the positives the candidate was in the history already, which no drawn one is', 'repeats tell positives from what is drawn');

-- The simulated shop logs what was clicked when it was clicked.
DROP SCHEMA shop CASCADE;
\set shop shop
\ir ../simulator/simulator.sql
CALL shop.simulate(200, 14, 1);
RESET search_path;
\o /dev/null
SELECT dupn_create_model('shop', events => 'shop.events', user_column => 'user_id', time_column => 'occurred_at',
	item_columns => '{item_id,category_id,brand_id,price}', behavior_columns => '{action,scenario}', context_columns => '{query_category}',
	catalog => 'shop.products', catalog_key => 'id', timezone => 'UTC',
	options => '{"hidden": 4, "attention": [4, 4], "max_events": 10, "epochs": 1, "refit": false}');
SELECT dupn_add_task('shop', 'click', 'binary', samples => 'shop.impressions', label => 'clicked', features => '{sales,rating,ctr,position}',
	options => '{"time_column": "shown_at"}');
SELECT dupn_add_task('shop', 'buy', 'binary', samples => 'shop.impressions', label => 'bought', options => '{"time_column": "shown_at"}');
CALL dupn_run('shop');
\o
SELECT is((SELECT array_agg(note) FROM dupn_jobs, unnest(notes) note WHERE model = 'shop' AND note ~ 'embargo|nearly'), NULL, 'the simulated shop is clean');
SELECT is((SELECT array_agg(remark) FROM dupn_estimate('shop') WHERE remark ~ 'embargo|nearly'), NULL, 'and estimated to be');
SELECT is((SELECT count(*)::int FROM dupn_metrics WHERE model = 'shop' AND metric = 'auc' AND slice = 'all'), 2, 'both tasks were judged');
SELECT * FROM finish();
