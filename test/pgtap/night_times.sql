-- Nights and time: labels that mature, an hour that comes twice, and numbers
-- that are cut into other bands than yesterday.
SET client_min_messages = warning;
SET timezone = 'UTC';
SELECT plan(16);

CREATE SCHEMA night_times;
SET search_path = night_times, public;

CREATE TABLE events (user_id int, item_id int, price real, occurred_at timestamptz);
CREATE INDEX ON events (user_id, occurred_at);
CREATE TABLE offers (user_id int, item_id int, occurred_at timestamptz, taken boolean);
CREATE PROCEDURE day(d int, users int) LANGUAGE sql AS $$
	INSERT INTO events SELECT u, (u * 7 + e * e + d) % 40, (u * e + d) % 23, '2024-01-01'::timestamptz + d * interval '1 day' + e * interval '40 minutes' + u * interval '1 second'
		FROM generate_series(1, users) u, generate_series(1, 6) e;
	INSERT INTO offers SELECT u, (u * 7 + e * e + d) % 40, '2024-01-01 05:00'::timestamptz + d * interval '1 day' + e * interval '40 minutes' + u * interval '1 second', (u + e) % 2 = 0
		FROM generate_series(1, users) u, generate_series(1, 6) e $$;
CREATE FUNCTION declare(name text, options jsonb DEFAULT '{}') RETURNS void LANGUAGE sql AS $$
	SELECT dupn_create_model(name, events => 'events', user_column => 'user_id', time_column => 'occurred_at', item_columns => '{item_id,price}',
		options => '{"hidden": 8, "attention": [8, 4], "max_events": 10, "epochs": 1, "publish": "always"}'::jsonb || options) $$;
CREATE FUNCTION notes() RETURNS text LANGUAGE sql AS $$SELECT array_to_string(notes, '; ') FROM dupn_jobs ORDER BY job_id DESC LIMIT 1$$;

-- ---- labels that are known later, of a relation that two tasks read ----

-- fewer and fewer users
SELECT format('CALL day(%s, %s)', d, CASE WHEN d < 5 THEN 200 ELSE 80 END) FROM generate_series(0, 9) d \gexec
SELECT declare('m') IS NOT NULL AS declared \gset
SELECT dupn_add_task('m', 'slow', 'binary', samples => 'offers', label => 'taken', options => '{"matures": "2 days"}') IS NOT NULL AS added \gset
SELECT dupn_add_task('m', 'fast', 'binary', samples => 'offers', label => 'taken') IS NOT NULL AS added \gset
CALL dupn_run('m', 'finetune');
CALL day(10, 80);
CALL dupn_run('m', 'finetune');
SELECT is((SELECT mode FROM dupn_versions WHERE model = 'm' AND version = 2), 'nightly', 'a night');
SELECT doesnt_match(notes(), 'came later', 'in which nothing came late');
SELECT results_eq($$SELECT task, rows FROM dupn_drift WHERE model = 'm' AND version = 2 AND "group" = 'label' ORDER BY 1$$,
	$$VALUES ('fast', 480::bigint), ('slow', 480)$$, 'labels that are known tonight are new, whenever their samples were');

-- a day later, all again
CREATE VIEW known AS SELECT user_id, item_id, occurred_at, (user_id % 2)::real AS x, user_id % 2 = 0 AS taken FROM offers;
SELECT declare('k', '{"epochs": 5, "learning_rate": 0.02}') IS NOT NULL AS declared \gset
SELECT dupn_add_task('k', 'slow', 'binary', samples => 'known', label => 'taken', features => '{x}', options => '{"matures": "2 days"}') IS NOT NULL AS added \gset
CALL dupn_run('k', 'train');
CALL day(11, 80);
CALL dupn_run('k', 'train', '{"publish": "better"}');
SELECT matches((SELECT decision FROM dupn_versions WHERE model = 'k' AND version = 2), '"slow" auc \S+ against \S+ of version 1',
	'a version is compared by labels that the one before did not know');

SELECT declare('s') IS NOT NULL AS declared \gset
SELECT dupn_add_task('s', 'slow', 'binary', samples => 'known', label => 'taken', options => '{"matures": "2 days"}') IS NOT NULL AS added \gset
SELECT dupn_add_task('s', 'next', 'next_item') IS NOT NULL AS added \gset
CALL dupn_run('s', 'train');
CALL day(12, 80);
CALL dupn_run('s', 'finetune', '{"publish": "better"}');
SELECT is((SELECT decision FROM dupn_versions WHERE model = 's' AND version = 2), 'published: not compared with version 1: task "slow" has no samples in the hold-out',
	'a night that has none to judge by is no worse');

-- ---- bands that move ----

SELECT declare('b', '{"relearn_bands": true, "publish": "better"}') IS NOT NULL AS declared \gset
SELECT dupn_add_task('b', 'next', 'next_item') IS NOT NULL AS added \gset
CALL dupn_run('b', 'finetune');
CALL day(13, 80);
CALL dupn_run('b', 'finetune');
SELECT is((SELECT mode FROM dupn_versions WHERE model = 'b' AND version = 2), 'nightly', 'a night with other bands');
SELECT is_empty($$SELECT 1 FROM dupn_baselines WHERE model = 'b' AND source = 'parent'$$, 'does not judge its parent by them');
SELECT matches((SELECT decision FROM dupn_versions WHERE model = 'b' AND version = 2), '"next" hr@10 \S+ against \S+ of version 1', 'which is compared as it serves');

-- ---- windows of samples whose labels mature ----

CREATE TABLE visits AS SELECT * FROM events WHERE occurred_at < '2024-01-11';
CREATE INDEX ON visits (user_id, occurred_at);
CREATE TABLE orders AS SELECT * FROM known WHERE occurred_at < '2024-01-07';
SELECT dupn_create_model('w', events => 'visits', user_column => 'user_id', time_column => 'occurred_at', item_columns => '{item_id}',
	options => '{"hidden": 8, "attention": [8, 4], "max_events": 10, "epochs": 1, "publish": "always"}') IS NOT NULL AS declared \gset
SELECT dupn_add_task('w', 'returned', 'binary', samples => 'orders', label => 'taken', options => '{"matures": "2 days"}') IS NOT NULL AS added \gset
CREATE TABLE asks AS SELECT * FROM offers WHERE occurred_at < '2024-01-07';
SELECT dupn_add_task('w', 'asked', 'binary', samples => 'asks', label => 'taken') IS NOT NULL AS added \gset
CALL dupn_run('w', 'train');
INSERT INTO orders SELECT u, u % 40, '2024-01-08 12:00'::timestamptz + u * interval '1 second', 1, u % 2 = 0 FROM generate_series(1, 40) u;
-- what others ask tonight has a window of tonight's visits
INSERT INTO visits SELECT u, (u + e) % 40, 1, '2024-01-11'::timestamptz + e * interval '10 minutes' FROM generate_series(41, 80) u, generate_series(1, 12) e;
INSERT INTO asks SELECT u, u % 40, '2024-01-11 03:00'::timestamptz + u * interval '1 second', u % 3 = 0 FROM generate_series(41, 80) u;
CALL dupn_run('w', 'finetune', '{"publish": "never"}');
SELECT dupn_user_vector(3, model => 'w', version => 2, as_of => '2024-01-08 12:00')::real[]::text AS vector \gset
-- twelve visits of each after the order, and before the night
DELETE FROM visits WHERE user_id <= 40 AND occurred_at BETWEEN '2024-01-08 13:00' AND '2024-01-10 12:00';
CALL dupn_run('w', 'finetune', '{"publish": "never"}');
SELECT is((SELECT string_agg(mode, ',') FROM dupn_versions WHERE model = 'w' AND version > 1), 'nightly,nightly', 'twice the same night');
SELECT is(dupn_user_vector(3, model => 'w', version => 3, as_of => '2024-01-08 12:00')::real[]::text, :'vector', 'learns the same from what came before the orders');

-- ---- an hour that comes twice ----

CREATE TABLE clicks (user_id int, item_id int, at timestamp);
CREATE INDEX ON clicks (user_id, at);
INSERT INTO clicks SELECT u, (u * 7 + e * e) % 40, '2024-10-25'::timestamp + e * interval '3 hours' + u * interval '1 second' FROM generate_series(1, 50) u, generate_series(1, 10) e;
SELECT dupn_create_model('c', events => 'clicks', user_column => 'user_id', time_column => 'at', item_columns => '{item_id}', timezone => 'Europe/Berlin',
	options => '{"hidden": 8, "attention": [8, 4], "max_events": 10, "epochs": 1, "publish": "always", "lateness": "2 hours 15 minutes"}') IS NOT NULL AS declared \gset
SELECT dupn_add_task('c', 'next', 'next_item') IS NOT NULL AS added \gset
CALL dupn_run('c', 'finetune');
-- the night ends at 2:15 the first time; what is between two and three was the second time
INSERT INTO clicks SELECT u, (u * 7 + e * e) % 40, '2024-10-27 01:00'::timestamp + e * interval '10 minutes' FROM generate_series(1, 50) u, generate_series(0, 15) e;
CALL dupn_run('c', 'finetune');
SELECT is((SELECT events::int FROM dupn_versions WHERE model = 'c' AND version = 2), 50 + 50 * 6, 'what is later than the night''s end waits');
INSERT INTO clicks SELECT u, (u * 7 + e * e) % 40, '2024-10-28 01:00'::timestamp + e * interval '10 minutes' FROM generate_series(1, 50) u, generate_series(0, 15) e;
CALL dupn_run('c', 'finetune');
SELECT is((SELECT sum(events)::int FROM dupn_versions WHERE model = 'c'),
	(SELECT count(*)::int FROM clicks WHERE at <= '2024-10-28 01:15'), 'and every row is used once');

-- ---- events that have a date, beside samples that have a time ----

CREATE TABLE dated (user_id int, item_id int, day date);
CREATE TABLE asked (user_id int, item_id int, at timestamptz, taken boolean);
CREATE PROCEDURE dated_day(d int, first int, last int) LANGUAGE sql AS $$
	INSERT INTO dated SELECT u, (u * 7 + e * e + d) % 40, '2024-01-01'::date + d FROM generate_series(first, last) u, generate_series(1, 3) e;
	INSERT INTO asked SELECT u, (u * 3 + d) % 40, '2024-01-01 08:00'::timestamptz + d * interval '1 day' + u * interval '1 second', u % 3 = 0 FROM generate_series(first, last) u $$;
CALL dated_day(0, 1, 100);
CALL dated_day(1, 1, 100);
SELECT dupn_create_model('d', events => 'dated', user_column => 'user_id', time_column => 'day', item_columns => '{item_id}', timezone => 'America/New_York',
	options => '{"hidden": 8, "attention": [8, 4], "max_events": 10, "epochs": 1, "publish": "always"}') IS NOT NULL AS declared \gset
SELECT dupn_add_task('d', 'next', 'next_item') IS NOT NULL AS added \gset
SELECT dupn_add_task('d', 'taken', 'binary', samples => 'asked', label => 'taken', options => '{"time_column": "at"}') IS NOT NULL AS added \gset
CALL dupn_run('d', 'finetune');
CALL dated_day(2, 1, 100);
CALL dated_day(3, 1, 100);
CALL dated_day(4, 1, 60);
CALL dupn_run('d', 'finetune');
SELECT is((SELECT trained_until FROM dupn_versions WHERE model = 'd' AND version = 2), '2024-01-05 05:00'::timestamptz - interval '1 microsecond', 'a night ends before a day that has only begun');
CALL dated_day(4, 61, 100);
CALL dated_day(5, 1, 100);
CALL dated_day(6, 1, 1);
CALL dupn_run('d', 'finetune');
SELECT is((SELECT events::int FROM dupn_versions WHERE model = 'd' AND version = 3), 600, 'and the next one has all of it');
SELECT doesnt_match(notes(), 'came later', 'of which nothing came late');

-- ---- a table of samples that is filled a day later than the events ----

CREATE TABLE comings (user_id int, item_id int, occurred_at timestamptz);
CREATE TABLE shown (user_id int, item_id int, occurred_at timestamptz, clicked boolean);
CREATE PROCEDURE load(d int) LANGUAGE sql AS $$
	INSERT INTO comings SELECT u, (u + e * d) % 20, '2024-01-01'::timestamptz + d * interval '1 day' + e * interval '1 hour' FROM generate_series(1, 60) u, generate_series(1, 5) e;
	INSERT INTO shown SELECT u, (u + d) % 20, '2024-01-01 03:00'::timestamptz + (d - 1) * interval '1 day' + u * interval '1 second', u % 3 = 0 FROM generate_series(1, 60) u $$;
CALL load(0);
CALL load(1);
CALL load(2);
SELECT dupn_create_model('lag', events => 'comings', user_column => 'user_id', time_column => 'occurred_at', item_columns => '{item_id}',
	options => '{"hidden": 8, "attention": [8, 4], "max_events": 5, "epochs": 1, "publish": "always"}') IS NOT NULL AS declared \gset
SELECT dupn_add_task('lag', 'click', 'binary', samples => 'shown', label => 'clicked') IS NOT NULL AS added \gset
CALL dupn_run('lag', 'finetune');
CALL load(3);
CALL dupn_run('lag', 'finetune');
SELECT matches((SELECT array_to_string(notes, ' ') FROM dupn_jobs WHERE model = 'lag' ORDER BY job_id DESC LIMIT 1),
	'60 rows of \S*shown came later than "lateness" allows, .* and were left out; it lags behind: "lateness": "26 hours" would wait for it', 'a table that lags behind is named, and what would mend it');

SELECT * FROM finish();
