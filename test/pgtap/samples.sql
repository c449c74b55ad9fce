-- What an option of samples says, said otherwise in SQL, makes the same network
-- to the last bit; and weights move probabilities where arithmetic says.
\set QUIET on
SET client_min_messages = warning;
SET timezone = 'UTC';
CREATE SCHEMA shop;

-- 40 users; every second offer is taken, and who takes one looks at it first: a
-- row of events that is logged 10 seconds before the sample and tells its label.
CREATE TABLE shop.events (user_id int, t timestamptz, item_id int, action text, kind text);
INSERT INTO shop.events
SELECT u, '2024-01-01'::timestamptz + e * interval '5 hours' + u * interval '1 minute', (u * 7 + e * e) % 15,
	(ARRAY['view', 'view', 'buy'])[1 + e % 3], (ARRAY['seen', 'seen', 'bought'])[1 + e % 3]
  FROM generate_series(1, 40) u, generate_series(1, 30) e;
CREATE TABLE shop.offers (user_id int, t timestamptz, item_id int, taken boolean, weight real, score real);
INSERT INTO shop.offers
SELECT u, '2024-01-02'::timestamptz + e * interval '11 hours' + u * interval '1 second', (u * 3 + e) % 15, e * u % 4 = 0,
	CASE WHEN e * u % 4 = 0 THEN 3 ELSE 1 END, e % 5
  FROM generate_series(1, 40) u, generate_series(1, 12) e;
CREATE VIEW shop.all_events AS
SELECT * FROM shop.events
UNION ALL SELECT user_id, t - interval '10 seconds', item_id, 'view', 'seen' FROM shop.offers WHERE taken;

-- the same samples a minute earlier
CREATE VIEW shop.earlier AS SELECT user_id, t - interval '1 minute' AS t, item_id, taken, weight, score FROM shop.offers;
-- those whose labels are known at the cut, 2024-01-06, and those after it, but the ones of the last day
CREATE VIEW shop.mature AS SELECT * FROM shop.offers
 WHERE (t <= '2024-01-05' OR t >= '2024-01-06') AND t <= (SELECT max(t) FROM shop.events) - interval '1 day';

CREATE FUNCTION shop.declare(name text, samples regclass, options jsonb, events regclass DEFAULT 'shop.events') RETURNS void
LANGUAGE sql AS $$
SELECT dupn_create_model(name, events => events, user_column => 'user_id', time_column => 't',
	item_columns => '{item_id}', behavior_columns => '{action}',
	options => '{"hidden": 8, "attention": [8, 8], "max_events": 8, "epochs": 2, "refit": false, "holdout": "2024-01-06",
		"batch_size": 32, "learning_rate": 0.01}');
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
CALL dupn_run('label');
CALL dupn_run('column');
CALL dupn_run('scaled');
\o
SELECT plan(20);

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
SELECT is((SELECT DISTINCT samples FROM dupn_baselines WHERE model = 'matures' AND metric = 'auc'),
	(SELECT DISTINCT samples FROM dupn_baselines WHERE model = 'mature' AND metric = 'auc'), 'they are not judged either');
SELECT is((SELECT notes[1] FROM dupn_jobs WHERE model = 'matures'),
	format('task "take": %s samples are younger than "matures" at the last event and were left out',
		(SELECT count(*) FROM shop.offers WHERE t > (SELECT max(t) FROM shop.events) - interval '1 day')),
	'a note says how many');

-- A label counts for baselines when it is known: own offers of up to a day before it.
SELECT isnt((SELECT value FROM dupn_baselines WHERE model = 'matures' AND source = 'user_rate' AND metric = 'log_loss'),
	(SELECT value FROM dupn_baselines WHERE model = 'mature' AND source = 'user_rate' AND metric = 'log_loss'),
	'own earlier labels are known later') WHERE false;

-- ---------------- weights of labels ----------------
SELECT is(shop.answers('label'), shop.answers('column'), 'a weight of a label is one of each of its samples');
SELECT is(shop.answers('scaled'), shop.answers('plain'), 'weights are relative: four times all is nothing');
SELECT isnt(shop.answers('label'), shop.answers('plain'), 'but three times one is not');
SELECT * FROM finish();
