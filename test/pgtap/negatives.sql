-- Items that are drawn beside positives: how many, which never, and what is learned from them.
\set QUIET on
SET client_min_messages = warning;
SET timezone = 'UTC';
CREATE SCHEMA shop;
CREATE FUNCTION shop.draw(a int, b int, n int) RETURNS int LANGUAGE sql IMMUTABLE AS
$$ SELECT ('x' || substr(md5(a || '-' || b), 1, 7))::bit(28)::int % n $$;

-- ---------------- never what was seen ----------------
-- Everybody looks at the items 1 to 4 and then buys 5: of six items nothing is left but 6.
CREATE TABLE shop.narrow (user_id int, t timestamptz, item_id int, action text);
INSERT INTO shop.narrow
SELECT u, '2024-01-01'::timestamptz + u * interval '1 hour' + e * interval '1 minute', e, CASE e WHEN 5 THEN 'buy' ELSE 'view' END
  FROM generate_series(1, 60) u, generate_series(1, 5) e;
CREATE TABLE shop.five (id int PRIMARY KEY);
INSERT INTO shop.five SELECT generate_series(1, 5);
CREATE TABLE shop.six (id int PRIMARY KEY);
INSERT INTO shop.six SELECT generate_series(1, 6);
CREATE FUNCTION shop.narrow_model(name text, products regclass, options jsonb, samples regclass DEFAULT NULL, label text DEFAULT NULL) RETURNS void LANGUAGE sql AS $$
SELECT dupn_create_model(name, events => 'shop.narrow', user_column => 'user_id', time_column => 't',
	item_columns => '{item_id}', behavior_columns => '{action}', catalog => products, catalog_key => 'id',
	options => '{"hidden": 8, "attention": [8, 8], "epochs": 40, "patience": 40, "holdout": "2024-01-02 12:00", "refit": false,
		"batch_size": 32, "learning_rate": 0.02, "id_dropout": 0, "encodings": {"item_id": {"hash": 50}}}');
SELECT dupn_add_task(name, 'buys', 'binary', samples => samples, label => label::name, options => options);
$$;
-- the same positives as samples, without a label, and with one and a real negative, item 4, beside each
CREATE VIEW shop.bought AS SELECT user_id, t, item_id FROM shop.narrow WHERE action = 'buy';
CREATE VIEW shop.offered AS SELECT user_id, t, item_id, true AS taken FROM shop.bought UNION ALL SELECT user_id, t, 4, false FROM shop.bought;
\o /dev/null
SELECT shop.narrow_model('five', 'shop.five', '{"negatives": 2, "where": {"action": "buy"}}');
SELECT shop.narrow_model('six', 'shop.six', '{"negatives": 2, "where": {"action": "buy"}}');
SELECT shop.narrow_model('samples', 'shop.six', '{"negatives": 2}', 'shop.bought');
SELECT shop.narrow_model('labelled', 'shop.six', '{"negatives": 2}', 'shop.offered', 'taken');
SELECT dupn_train('five') AS job \gset
SELECT dupn_wait(:job);
CALL dupn_run('six');
CALL dupn_run('samples');
CALL dupn_run('labelled');
\o
SELECT plan(18);
SELECT is((SELECT message FROM dupn_jobs WHERE model = 'five'),
	'22000: task "buys" has nothing to tell apart before the hold-out (Give it samples of both kinds, or drop the task.)',
	'where all was seen nothing is drawn');
SELECT is((SELECT array_agg(value ORDER BY quantity) FROM dupn_estimate('six') WHERE quantity IN ('positives of buys', 'samples of buys')),
	'{60,180}', 'two beside each of sixty positives');
SELECT is((SELECT DISTINCT samples::int % 3 FROM dupn_baselines WHERE model = 'six' AND metric = 'auc' AND slice = 'all'), 0, 'two beside each that is judged');
SELECT is((SELECT count(DISTINCT value)::int FROM dupn_baselines WHERE model = 'six' AND metric = 'auc' AND slice = 'all' AND source IN ('model', 'item_rate')), 1,
	'item 5 is always taken, item 6 never: who counts items and who learns know it alike');
SELECT is((SELECT value FROM dupn_baselines WHERE model = 'six' AND metric = 'auc' AND slice = 'all' AND source = 'item_rate'), 1::float8, 'and know it surely');
SELECT cmp_ok(dupn_score('buys', dupn_user_vector(1, 'six', as_of => '2024-01-01 01:05'), 5::bigint), '>', 0.9::real, 'the positive');
SELECT cmp_ok(dupn_score('buys', dupn_user_vector(1, 'six', as_of => '2024-01-01 01:05'), 6::bigint), '<', 0.1::real, 'the negative');
SELECT is((SELECT array_agg(dupn_score('buys', dupn_user_vector(1, 'samples'), i::bigint)) FROM generate_series(1, 6) i),
	(SELECT array_agg(dupn_score('buys', dupn_user_vector(1, 'six'), i::bigint)) FROM generate_series(1, 6) i),
	'positives as samples are the same as events');
SELECT is((SELECT DISTINCT samples FROM dupn_baselines WHERE model = 'labelled' AND metric = 'auc' AND slice = 'all'),
	(SELECT DISTINCT samples / 3 * 4 FROM dupn_baselines WHERE model = 'six' AND metric = 'auc' AND slice = 'all'), 'beside real negatives nothing is drawn');

-- ---------------- a shop preference ----------------
-- Users look around everywhere, and buy at the shop they like: which one, their visits tell.
CREATE TABLE shop.products (id int PRIMARY KEY, shop_id int, price int);
INSERT INTO shop.products SELECT i, i % 12, i FROM generate_series(0, 119) i;
CREATE TABLE shop.events (user_id int, t timestamptz, item_id int, action text);
INSERT INTO shop.events
SELECT u, '2024-01-01'::timestamptz + e * interval '5 hours' + u * interval '1 minute',
	12 * shop.draw(u, e, 10) + CASE WHEN e % 4 = 0 THEN (u + 6) % 12 WHEN shop.draw(e, u, 3) = 0 THEN shop.draw(u, 100 + e, 12) ELSE (u + shop.draw(u, 1000 + e, 3)) % 12 END,
	CASE WHEN e % 4 = 0 THEN 'buy' ELSE 'view' END
  FROM generate_series(1, 240) u, generate_series(1, 28) e;
-- the same purchases, of which the shop alone is known
CREATE TYPE shop.shops AS (shop_id int);
CREATE VIEW shop.likes AS SELECT user_id, t, shop_id FROM shop.events JOIN shop.products ON id = item_id WHERE action = 'buy';
CREATE FUNCTION shop.declare(name text, options jsonb, samples regclass DEFAULT NULL) RETURNS void LANGUAGE sql AS $$
SELECT dupn_create_model(name, events => 'shop.events', user_column => 'user_id', time_column => 't',
	item_columns => '{item_id,shop_id}', behavior_columns => '{action}', catalog => 'shop.products', catalog_key => 'id',
	options => '{"hidden": 16, "attention": [16, 8], "max_events": 3, "epochs": 8, "patience": 8, "holdout": "2024-01-06",
		"batch_size": 64, "learning_rate": 0.01}');
SELECT dupn_add_task(name, 'prefers', 'binary', samples => samples, options => options);
$$;
\o /dev/null
SELECT shop.declare('prefer', '{"negatives": 3, "candidate": ["shop_id"], "where": {"action": "buy"}}');
SELECT shop.declare('again', '{"negatives": 3, "candidate": ["shop_id"], "where": {"action": "buy"}}');
SELECT shop.declare('likes', '{"negatives": 3, "candidate": ["shop_id"]}', 'shop.likes');
SELECT shop.declare('weights', '{"negatives": 3, "candidate": ["shop_id"], "where": {"action": ["view", "buy"]}, "type_weights": {"buy": 5}, "label_weights": {"false": 2}, "embargo": 1}');
CALL dupn_run('prefer');
CALL dupn_run('again');
CALL dupn_run('likes');
CALL dupn_run('weights');
\o
SELECT cmp_ok((SELECT value FROM dupn_metrics WHERE model = 'prefer' AND metric = 'auc' AND slice = 'all'), '>', 0.75::float8, 'a preference is learned from events');
SELECT cmp_ok((SELECT value FROM dupn_baselines WHERE model = 'prefer' AND metric = 'auc' AND slice = 'all' AND source = 'item_rate'), '<', 0.6::float8,
	'which popularity knows nothing of');
SELECT is((SELECT DISTINCT samples::int % 4 FROM dupn_baselines WHERE model = 'prefer' AND metric = 'auc' AND slice = 'all'), 0, 'three beside each');
SELECT cmp_ok((SELECT avg((SELECT avg((dupn_score('prefers', v, ROW((u + 6) % 12)::shop.shops) > dupn_score('prefers', v, ROW(s)::shop.shops))::int) FROM generate_series(0, 11) s WHERE s <> (u + 6) % 12)) FROM generate_series(1, 240, 7) u, dupn_user_vector(u, 'prefer') v), '>', 0.6::numeric,
	'candidates are rows with a shop');
SELECT is((SELECT array_agg(dupn_score('prefers', dupn_user_vector(u, 'again'), 12::bigint) ORDER BY u) FROM generate_series(1, 240, 7) u),
	(SELECT array_agg(dupn_score('prefers', dupn_user_vector(u, 'prefer'), 12::bigint) ORDER BY u) FROM generate_series(1, 240, 7) u),
	'what is drawn is drawn again');
SELECT is((SELECT array_agg(value ORDER BY source) FROM dupn_baselines WHERE model = 'likes' AND metric = 'auc' AND slice = 'all' AND source <> 'model'),
	(SELECT array_agg(value ORDER BY source) FROM dupn_baselines WHERE model = 'prefer' AND metric = 'auc' AND slice = 'all' AND source <> 'model'),
	'of a table of shops the same negatives are drawn as of events');
SELECT is((SELECT array_agg(dupn_score('prefers', dupn_user_vector(u, 'likes'), 12::bigint) ORDER BY u) FROM generate_series(1, 240, 7) u),
	(SELECT array_agg(dupn_score('prefers', dupn_user_vector(u, 'prefer'), 12::bigint) ORDER BY u) FROM generate_series(1, 240, 7) u),
	'in training, too');
SELECT is((SELECT state FROM dupn_jobs WHERE model = 'weights'), 'done', 'with weights of types and labels, and an embargo');

-- ---------------- drawn anew ----------------
-- Twenty buy item 0 as the first thing they do, so that items are trained as candidates alone; the vectors of
-- 200 others tell which.  A fixed draw would train twenty of them, however long.
CREATE TABLE shop.first (user_id int, t timestamptz, item_id int, action text);
INSERT INTO shop.first SELECT u, '2024-01-01'::timestamptz + u * interval '1 minute', 0, 'buy' FROM generate_series(1, 20) u;
INSERT INTO shop.first SELECT 100 + i, '2024-01-02', i, 'view' FROM generate_series(1, 200) i;
\o /dev/null
SELECT dupn_create_model('first', events => 'shop.first', user_column => 'user_id', time_column => 't',
	item_columns => '{item_id}', behavior_columns => '{action}',
	options => '{"hidden": 8, "attention": [8, 8], "holdout": "2030-01-01", "min_count": 1, "id_dropout": 0, "patience": 100}');
SELECT dupn_add_task('first', 'buys', 'binary', options => '{"negatives": 1, "where": {"action": "buy"}}');
CALL dupn_run('first', 'train', '{"epochs": 1}');
CALL dupn_run('first', 'train', '{"epochs": 30}');
\o
SELECT cmp_ok((SELECT count(*) FROM generate_series(101, 300) u
	WHERE dupn_user_vector(u, 'first', as_of => '2024-01-03', version => 1)::real[] <> dupn_user_vector(u, 'first', as_of => '2024-01-03', version => 2)::real[]),
	'>', 100::bigint, 'every epoch draws anew');
SELECT * FROM finish();
