-- What an option of samples says, said otherwise in SQL, makes the same network
-- to the last bit; and weights move probabilities where arithmetic says.
\set QUIET on
SET client_min_messages = warning;
SET timezone = 'UTC';
CREATE SCHEMA shop;

-- 40 users; a third of the offers is taken, and who takes one looks at it first: a
-- row of events that is logged 10 seconds before the sample and tells its label.
CREATE FUNCTION shop.draw(a int, b int, n int) RETURNS int LANGUAGE sql IMMUTABLE AS
$$ SELECT ('x' || substr(md5(a || '-' || b), 1, 7))::bit(28)::int % n $$;
CREATE TABLE shop.events (user_id int, t timestamptz, item_id int, action text, kind text);
INSERT INTO shop.events
SELECT u, '2024-01-01'::timestamptz + e * interval '5 hours' + u * interval '1 minute',
	(u * 7 + e * e) % 15, CASE WHEN b THEN 'buy' ELSE 'view' END, CASE WHEN b THEN 'bought' ELSE 'seen' END
  FROM generate_series(1, 40) u, generate_series(1, 30) e, LATERAL (SELECT shop.draw(u, e, 4) = 0) d(b);
CREATE TABLE shop.offers (user_id int, t timestamptz, item_id int, taken boolean, weight real, score real);
INSERT INTO shop.offers
SELECT u, '2024-01-02'::timestamptz + e * interval '11 hours' + u * interval '1 second', (u + 5 * e) % 15, taken,
	CASE WHEN taken THEN 3 ELSE 1 END, e % 5
  FROM generate_series(1, 40) u, generate_series(1, 12) e, LATERAL (SELECT shop.draw(u, -e, 3) = 0) d(taken);
CREATE VIEW shop.all_events AS
SELECT * FROM shop.events
UNION ALL SELECT user_id, t - interval '10 seconds', item_id, 'view', 'seen' FROM shop.offers WHERE taken;

-- the same samples a minute earlier
CREATE VIEW shop.earlier AS SELECT user_id, t - interval '1 minute' AS t, item_id, taken, weight, score FROM shop.offers;
-- those whose labels are known at the cut, 2024-01-06, and those after it, but the ones of the last day
CREATE VIEW shop.mature AS SELECT * FROM shop.offers
 WHERE (t <= '2024-01-05' OR t >= '2024-01-06') AND t <= (SELECT max(t) FROM shop.events) - interval '1 day';
CREATE VIEW shop.settled AS SELECT * FROM shop.offers WHERE t <= (SELECT max(t) FROM shop.events) - interval '1 day';

CREATE FUNCTION shop.declare(name text, samples regclass, options jsonb, events regclass DEFAULT 'shop.events') RETURNS void
LANGUAGE sql AS $$
SELECT dupn_create_model(name, events => events, user_column => 'user_id', time_column => 't',
	item_columns => '{item_id}', behavior_columns => '{action}',
	options => '{"hidden": 8, "attention": [8, 8], "max_events": 8, "epochs": 2, "refit": false, "holdout": "2024-01-06",
		"batch_size": 32, "learning_rate": 0.01, "encodings": {"item_id": {"hash": 50}}}');
SELECT dupn_add_task(name, 'take', 'binary', samples => samples, label => 'taken', options => options);
$$;
-- What a network is, as far as answers show it.
CREATE FUNCTION shop.answers(name text) RETURNS real[] LANGUAGE sql AS $$
SELECT array_agg(s ORDER BY u, i) FROM generate_series(1, 40, 7) u, generate_series(0, 14, 3) i,
	dupn_score('take', dupn_user_vector(u, name, as_of => '2024-01-06'), i::bigint) s
$$;
\o /dev/null
SELECT shop.declare('plain', 'shop.offers', '{}');
SELECT shop.declare('embargo', 'shop.offers', '{"embargo": "1 minute"}', 'shop.all_events');
SELECT shop.declare('embargo seconds', 'shop.offers', '{"embargo": 60}', 'shop.all_events');
SELECT shop.declare('hidden', 'shop.earlier', '{}', 'shop.all_events');
SELECT shop.declare('leaking', 'shop.offers', '{}', 'shop.all_events');
SELECT shop.declare('matures', 'shop.offers', '{"matures": "1 day"}');
SELECT shop.declare('mature', 'shop.mature', '{}');
SELECT shop.declare('settled', 'shop.settled', '{}');
SELECT shop.declare('label', 'shop.offers', '{"label_weights": {"true": 3}}');
SELECT shop.declare('column', 'shop.offers', '{"weight_column": "weight"}');
SELECT shop.declare('scaled', 'shop.offers', '{"label_weights": {"1": 4, "0": 4}}');
CALL dupn_run('plain');
CALL dupn_run('embargo');
CALL dupn_run('embargo seconds');
CALL dupn_run('hidden');
CALL dupn_run('leaking');
CALL dupn_run('matures');
CALL dupn_run('mature');
CALL dupn_run('settled');
CALL dupn_run('label');
CALL dupn_run('column');
CALL dupn_run('scaled');
\o
SELECT plan(22);

-- ---------------- embargo ----------------
SELECT is(shop.answers('embargo'), shop.answers('hidden'), 'an embargo asks for the vector of as much earlier');
SELECT is(shop.answers('embargo seconds'), shop.answers('embargo'), 'seconds are an interval, too');
SELECT isnt(shop.answers('leaking'), shop.answers('embargo'), 'what it hides would have been learned from');
SELECT is((SELECT array_agg(value ORDER BY task, source, metric) FROM dupn_baselines WHERE model = 'embargo'),
	(SELECT array_agg(value ORDER BY task, source, metric) FROM dupn_baselines WHERE model = 'hidden'),
	'metrics and baselines see what the model sees');

-- ---------------- matures ----------------
SELECT is(shop.answers('matures'), shop.answers('mature'), 'samples whose labels are not known are left out');
SELECT isnt(shop.answers('matures'), shop.answers('plain'), 'and they would have been learned from');
SELECT is((SELECT DISTINCT samples FROM dupn_baselines WHERE model = 'matures' AND metric = 'auc' AND slice = 'all'),
	(SELECT DISTINCT samples FROM dupn_baselines WHERE model = 'mature' AND metric = 'auc' AND slice = 'all'), 'they are not judged either');
SELECT is((SELECT notes[1] FROM dupn_jobs WHERE model = 'matures'),
	format('task "take": %s samples are younger than "matures" at the last event and were left out',
		(SELECT count(*) FROM shop.offers WHERE t > (SELECT max(t) FROM shop.events) - interval '1 day')),
	'a note says how many');

-- A label counts for baselines when it is known.
SELECT isnt((SELECT value FROM dupn_baselines WHERE model = 'matures' AND source = 'user_rate' AND metric = 'auc' AND slice = 'all'),
	(SELECT value FROM dupn_baselines WHERE model = 'settled' AND source = 'user_rate' AND metric = 'auc' AND slice = 'all'),
	'a user''s rate knows their labels when they are known');

-- ---------------- weights of labels ----------------
SELECT is(shop.answers('label'), shop.answers('column'), 'a weight of a label is one of each of its samples');
SELECT is(shop.answers('scaled'), shop.answers('plain'), 'weights are relative: four times all is nothing');
SELECT isnt(shop.answers('label'), shop.answers('plain'), 'but three times one is not');

-- ---------------- weights of types and classes ----------------
-- What comes next is a purchase every fourth time, whatever came before.  With
-- weights of types or classes it is expected as often as these say: a purchase
-- that counts nine times is 9 of 9 + 3.
\o /dev/null
SELECT dupn_create_model(name, events => 'shop.events', user_column => 'user_id', time_column => 't',
	item_columns => '{item_id}', behavior_columns => '{action}',
	options => '{"hidden": 4, "attention": [4, 4], "max_events": 4, "epochs": 12, "patience": 12, "refit": false, "holdout": "2024-01-06",
		"batch_size": 64, "learning_rate": 0.01, "calibrate": false}')
  FROM unnest('{unweighted,types,classes,nothing}'::text[]) name;
SELECT dupn_add_task('unweighted', 'kind', 'multiclass', label => 'kind');
SELECT dupn_add_task('types', 'kind', 'multiclass', label => 'kind', options => '{"type_weights": {"buy": 9}}');
SELECT dupn_add_task('classes', 'kind', 'multiclass', label => 'kind', options => '{"label_weights": {"bought": 9}}');
SELECT dupn_add_task('nothing', 'kind', 'multiclass', label => 'kind', options => '{"type_weights": {"buy": 0, "view": 1}}');
CALL dupn_run('unweighted');
CALL dupn_run('types');
CALL dupn_run('classes');
SELECT dupn_train('nothing') AS job \gset
SELECT dupn_wait(:job);
CREATE FUNCTION shop.bought(name text) RETURNS float8 LANGUAGE sql AS $$
SELECT avg(probability) FROM generate_series(1, 40) u, dupn_classify('kind', dupn_user_vector(u, name, as_of => '2024-01-06')) WHERE class = 'bought'
$$;
\o
SELECT cmp_ok(abs(shop.bought('unweighted') - 0.25), '<', 0.1::float8, 'without weights a purchase is as likely as it is frequent');
SELECT cmp_ok(abs(shop.bought('types') - 0.75), '<', 0.1::float8, 'a type that counts nine times');
SELECT is((SELECT array_agg(probability ORDER BY u, class) FROM generate_series(1, 40) u, dupn_classify('kind', dupn_user_vector(u, 'types', as_of => '2024-01-06'))),
	(SELECT array_agg(probability ORDER BY u, class) FROM generate_series(1, 40) u, dupn_classify('kind', dupn_user_vector(u, 'classes', as_of => '2024-01-06'))),
	'is the class that is told by it');
SELECT is((SELECT message FROM dupn_jobs WHERE model = 'nothing'),
	'22000: task "kind" has nothing to tell apart before the hold-out (Give it samples of both kinds, or drop the task.)', 'a type that counts nothing is not learned from');

-- Metrics do not weigh: both guess from the same counts.
SELECT is((SELECT array_agg(value ORDER BY source, metric) FROM dupn_baselines WHERE model = 'types' AND source <> 'model'),
	(SELECT array_agg(value ORDER BY source, metric) FROM dupn_baselines WHERE model = 'unweighted' AND source <> 'model'),
	'metrics are not weighted');

-- Of an instant with several targets each has its share, times what its type weighs.
\o /dev/null
SELECT dupn_create_model(name, events => events, user_column => 'user_id', time_column => 't',
	item_columns => '{item_id}', behavior_columns => '{action}',
	options => '{"hidden": 4, "attention": [4, 4], "max_events": 4, "epochs": 2, "refit": false, "holdout": "2024-01-06", "min_count": 1}')
  FROM (VALUES ('next', 'shop.events'), ('next types', 'shop.events'), ('next double', 'shop.events')) m(name, events);
SELECT dupn_add_task('next', 'next', 'next_item');
SELECT dupn_add_task('next types', 'next', 'next_item', options => '{"type_weights": {"buy": 4, "view": 4}}');
SELECT dupn_add_task('next double', 'next', 'next_item', options => '{"type_weights": {"buy": 4}}');
CALL dupn_run('next');
CALL dupn_run('next types');
CALL dupn_run('next double');
CREATE FUNCTION shop.next(name text) RETURNS real[] LANGUAGE sql AS $$
SELECT array_agg(r.score ORDER BY u, r.item) FROM generate_series(1, 40, 7) u, dupn_recommend(u, model => name, as_of => '2024-01-06') r
$$;
\o
SELECT is(shop.next('next types'), shop.next('next'), 'four times all is nothing with next_item, too');
SELECT isnt(shop.next('next double'), shop.next('next'), 'but four times one type is not');

-- ---------------- what is refused in training ----------------
\o /dev/null
SELECT dupn_drop_task('types', 'kind');
SELECT dupn_add_task('types', 'kind', 'multiclass', label => 'kind', options => '{"type_weights": {"by": 9}}');
SELECT dupn_train('types') AS job \gset
SELECT dupn_wait(:job);
SELECT dupn_drop_task('classes', 'kind');
SELECT dupn_add_task('classes', 'kind', 'multiclass', label => 'kind', options => '{"label_weights": {"bougt": 9}}');
SELECT dupn_train('classes') AS job \gset
SELECT dupn_wait(:job);
\o
SELECT results_eq($$SELECT message FROM dupn_jobs WHERE model IN ('types', 'classes') AND state = 'failed' ORDER BY job_id$$,
	ARRAY['42704: task "kind": option "type_weights" names "by", which no event has as its "action" (Types are compared as they are stored, upper and lower case included.)',
		'42704: task "kind": option "label_weights" names "bougt", which is no class before the hold-out (Perhaps you meant the class "bought".)'],
	'names that mean nothing end the job');
\o /dev/null
SELECT dupn_drop_task('classes', 'kind');
SELECT dupn_add_task('classes', 'item', 'multiclass', label => 'item_id', options => '{"label_weights": {"1": 2, "01": 3}}');
SELECT dupn_train('classes') AS job \gset
SELECT dupn_wait(:job);
\o
SELECT is((SELECT message FROM dupn_jobs WHERE job_id = :job), '22023: weights are given for "1" and for "01", which are the same (Name each label and each type once.)',
	'nor may one label be named twice');
\o /dev/null
SELECT dupn_drop_task('matures', 'take');
SELECT dupn_add_task('matures', 'take', 'binary', samples => 'shop.offers', label => 'taken', options => '{"matures": "4 days"}');
SELECT dupn_train('matures') AS job \gset
SELECT dupn_wait(:job);
\o
SELECT is((SELECT message FROM dupn_jobs WHERE job_id = :job), 'P0002: task "take" has no samples before the hold-out (Labels that are known only after it do not count: check "matures" and the option "holdout".)',
	'where no label is known at the hold-out there is nothing to learn from');
SELECT * FROM finish();
