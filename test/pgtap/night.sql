-- Nights: what they train on and what not, how vocabularies, catalogue and
-- memory grow, what stays as it was, and when it is a full training instead.
SET client_min_messages = warning;
SET timezone = 'UTC';
SELECT plan(43);

CREATE SCHEMA night;
SET search_path = night, public;

CREATE TABLE events (user_id int, item_id int, action text, occurred_at timestamptz);
CREATE INDEX ON events (user_id, occurred_at);
CREATE TABLE products (id int PRIMARY KEY, category text, price real);
CREATE TABLE offers (user_id int, item_id int, occurred_at timestamptz, taken boolean);
INSERT INTO products SELECT i, 'c' || i % 4, i % 7 FROM generate_series(1, 60) i;
CREATE PROCEDURE day(d int, users int, first_item int, items int) LANGUAGE sql AS $$
	INSERT INTO events SELECT u, first_item + (u * 7 + e * e + d) % items, (ARRAY['view', 'buy'])[1 + (u + e) % 2],
			'2024-01-01'::timestamptz + d * interval '1 day' + e * interval '40 minutes' + u * interval '1 second'
		FROM generate_series(1, users) u, generate_series(1, 6) e;
	INSERT INTO offers SELECT u, first_item + (u * 3 + d) % items, '2024-01-01 04:30'::timestamptz + d * interval '1 day' + u * interval '1 second', (u + d) % 3 = 0
		FROM generate_series(1, users) u $$;
CALL day(0, 120, 1, 40);
CALL day(1, 120, 1, 40);
CALL day(2, 120, 1, 40);
SELECT dupn_create_model('n', events => 'events', user_column => 'user_id', time_column => 'occurred_at',
	item_columns => '{item_id,category,price}', behavior_columns => '{action}', catalog => 'products', catalog_key => 'id',
	options => '{"hidden": 8, "attention": [8, 4], "max_events": 10, "epochs": 2, "publish": true, "min_count": 3, "full_every": 5}') IS NOT NULL AS declared \gset
SELECT dupn_add_task('n', 'next', 'next_item') IS NOT NULL AS added \gset
SELECT dupn_add_task('n', 'taken', 'binary', samples => 'offers', label => 'taken') IS NOT NULL AS added \gset

CREATE FUNCTION message() RETURNS text LANGUAGE sql AS $$SELECT message FROM dupn_jobs ORDER BY job_id DESC LIMIT 1$$;
CREATE FUNCTION notes() RETURNS text LANGUAGE sql AS $$SELECT array_to_string(notes, '; ') FROM dupn_jobs ORDER BY job_id DESC LIMIT 1$$;

-- Tensors of the version that serves.
CREATE FUNCTION header() RETURNS jsonb LANGUAGE sql AS $$
	SELECT convert_from(substr(f, 9, get_byte(f, 0) + (get_byte(f, 1) << 8) + (get_byte(f, 2) << 16)), 'UTF8')::jsonb FROM dupn_export('n') f $$;
CREATE FUNCTION rows_of(tensor text) RETURNS int LANGUAGE sql AS $$SELECT (header() -> tensor -> 'shape' ->> 0)::int$$;
CREATE FUNCTION bytes_of(tensor text) RETURNS bytea LANGUAGE sql AS $$
	SELECT substr(f, 9 + h + (header() -> tensor -> 'data_offsets' ->> 0)::int, (header() -> tensor -> 'data_offsets' ->> 1)::int - (header() -> tensor -> 'data_offsets' ->> 0)::int)
	FROM dupn_export('n') f, LATERAL (SELECT get_byte(f, 0) + (get_byte(f, 1) << 8) + (get_byte(f, 2) << 16) AS h) x $$;

-- ---- the first night, and one without news ----

SELECT throws_ok($$SELECT dupn_finetune('n', '{"mode": "head"}')$$, '22023', NULL, 'a mode is no option of it');
SELECT throws_ok($$SELECT dupn_finetune('n', '{"version": 7}')$$, '42704', NULL, 'a version that is not there');
SELECT throws_ok($$SELECT dupn_finetune('n', '{"replay": -1}')$$, '22023', NULL, 'an option out of range');
CALL dupn_run('n', 'finetune');
SELECT matches(notes(), 'a full training: there is no version to go on from', 'the first night trains all');
SELECT is((SELECT mode || ' ' || nights || ' ' || (since IS NULL) FROM dupn_versions WHERE published), 'full 0 true', 'as a full version');
CALL dupn_run('n', 'finetune');
SELECT matches(message(), '^nothing new since 2024-01-03 04:32:00\+00, when version 1 was trained; there is no new version$', 'nothing new, no version');
SELECT is((SELECT count(*)::int FROM dupn_versions), 1, 'and there is none');
SELECT is((SELECT state FROM dupn_jobs ORDER BY job_id DESC LIMIT 1), 'done', 'which is no failure');

SELECT throws_matching($$SELECT dupn_finetune('n', '{"hidden": 64}')$$, 'a night cannot change the network: .*"hidden" was 8 and is now 64', 'nor is what shapes the network');

-- ---- a night ----

SELECT rows_of('item.item_id.embedding') AS ids, rows_of('catalogue.keys') AS items \gset
SELECT bytes_of('catalogue.keys') AS keys \gset
-- ten users with new items 101 .. 110, each seen six times; one item only twice
INSERT INTO products SELECT 100 + i, 'c1', 3 FROM generate_series(1, 12) i;
CALL day(3, 10, 101, 10);
INSERT INTO events VALUES (3, 112, 'view', '2024-01-04 01:00'), (4, 112, 'view', '2024-01-04 01:01');
-- late: before what was trained on
INSERT INTO events SELECT 5, 1, 'view', '2024-01-02 12:00' FROM generate_series(1, 4);
CALL dupn_run('n', 'finetune', '{"refit": false, "holdout": 0.2}');
SELECT is((SELECT mode || ' ' || parent || ' ' || nights FROM dupn_versions WHERE version = 2), 'nightly 1 1', 'a night of its parent');
SELECT is((SELECT since FROM dupn_versions WHERE version = 2), (SELECT trained_until FROM dupn_versions WHERE version = 1), 'from where that ended');
SELECT is((SELECT events FROM dupn_versions WHERE version = 2), (SELECT count(*) FROM events e, dupn_versions v WHERE v.version = 2 AND e.occurred_at > v.since AND e.occurred_at < v.cut),
	'on the new events before its hold-out');
SELECT is((SELECT users::int FROM dupn_versions WHERE version = 2), 10, 'and their users');
SELECT matches(notes(), '4 rows of night.events came later than "lateness" allows', 'late rows are counted');
SELECT is((SELECT count(*) FROM dupn_baselines WHERE version = 2 AND source = 'parent' AND metric = 'hr@10' AND slice = 'all'), 1::bigint, 'its parent was asked the same');
SELECT is(rows_of('catalogue.keys'), :items + 12, 'the catalogue has the new items');
SELECT is(substr(bytes_of('catalogue.keys'), 1, 8 * :items), :'keys'::bytea, 'behind the old ones');
SELECT is(rows_of('item.item_id.embedding'), :ids + 10, 'those seen often enough have embeddings');

-- ---- the night after: what was held out last, and counts that were kept ----

INSERT INTO events VALUES (9, 112, 'view', '2024-01-05 01:00'), (9, 5, 'view', '2024-01-05 02:00'), (9, 6, 'buy', '2024-01-05 03:00');
CALL dupn_run('n', 'finetune');
SELECT is((SELECT since < cut AND since = (SELECT trained_until FROM dupn_versions WHERE version = 2) FROM dupn_versions WHERE version = 3), true, 'begins with the hold-out of the last');
SELECT is((SELECT events FROM dupn_versions WHERE version = 3), (SELECT count(*) FROM events e, dupn_versions v WHERE v.version = 3 AND e.occurred_at > v.since), 'all that is new, with the refit');
SELECT is(rows_of('item.item_id.embedding'), :ids + 11, 'an item seen twice and once again has been seen three times');
SELECT unalike(notes(), '%came later%', 'late rows are told of once');

-- ---- rows that the night did not see stay as they are ----

CREATE FUNCTION changed(tensor text, before bytea) RETURNS int LANGUAGE sql AS $$
	SELECT count(*)::int FROM (SELECT bytes_of(tensor) AS now OFFSET 0) b, generate_series(0, (header() -> tensor -> 'shape' ->> 0)::int - 1) r,
		LATERAL (SELECT (header() -> tensor -> 'shape' ->> 1)::int * 4 AS width) w
	WHERE r >= 2 AND substr(now, 1 + r * width, width) IS DISTINCT FROM substr(before, 1 + r * width, width) $$;
SELECT bytes_of('item.item_id.embedding') AS rows, bytes_of('lstm.bias') AS dense \gset
INSERT INTO events SELECT 20, i, 'view', '2024-01-06 01:00'::timestamptz + i * interval '1 minute' FROM generate_series(1, 5) i;
CALL dupn_run('n', 'finetune');
SELECT cmp_ok(changed('item.item_id.embedding', :'rows'::bytea), '<=', 5, 'at most the rows of five items moved');
SELECT cmp_ok(changed('item.item_id.embedding', :'rows'::bytea), '>', 0, 'and some did');
SELECT isnt(bytes_of('lstm.bias'), :'dense'::bytea, 'and what is no row of an item');

-- ---- a night of a task without samples, of one kind of label ----

SELECT is((SELECT count(*)::int FROM dupn_versions WHERE version = 4 AND mode = 'nightly'), 1, 'no new offers are no error');
INSERT INTO offers SELECT 3, i, '2024-01-07'::timestamptz + i * interval '1 minute', true FROM generate_series(1, 8) i;
CALL dupn_run('n', 'finetune');
SELECT is((SELECT mode FROM dupn_versions WHERE version = 5), 'nightly', 'nor are offers that were all taken, without an event');

-- ---- full trainings instead ----

INSERT INTO events SELECT 21, i, 'view', '2024-01-08 01:00'::timestamptz + i * interval '1 minute' FROM generate_series(1, 20) i;
CALL dupn_run('n', 'finetune');
SELECT matches(notes(), 'a full training: the last full training is . nights ago', 'after so many nights');
SELECT is((SELECT mode || ' ' || nights FROM dupn_versions WHERE published), 'full 0', 'counted anew');
SELECT dupn_alter_model('n', '{"hidden": 9}') IS NOT NULL AS altered \gset
INSERT INTO events SELECT 22, i, 'view', '2024-01-09 01:00'::timestamptz + i * interval '1 minute' FROM generate_series(1, 20) i;
CALL dupn_run('n', 'finetune');
SELECT matches(notes(), 'a full training: .*"hidden" was 8 and is now 9', 'where the model has changed');
SELECT dupn_add_task('n', 'deed', 'multiclass', label => 'action') IS NOT NULL AS added \gset
CALL dupn_run('n', 'finetune');
SELECT matches(notes(), 'a full training: version . has no task "deed"', 'and where it has a task more');

-- ---- what is gone ----

ALTER TABLE events RENAME TO gone;
SELECT dupn_finetune('n', '{"retries": 0}') AS job \gset
SELECT is(dupn_wait(:job, '20 s'), 'failed', 'a table that is gone ends the job');
SELECT matches(message(), 'relation night.events does not exist', 'and is named');
ALTER TABLE gone RENAME TO events;

-- ---- options: lateness, replay, forget, bands, AdaGrad, two workers ----

SELECT dupn_alter_model('n', '{"lateness": "1 hour", "replay": 1, "forget": "1 day", "relearn_bands": true, "optimizer": "adagrad", "holdout": "last_event", "full_every": 0}') IS NOT NULL AS altered \gset
CALL dupn_run('n', 'train');
SELECT is((SELECT trained_until FROM dupn_versions WHERE published), (SELECT max(occurred_at) - interval '1 hour' FROM events), 'a training ends before what may still come late');
SELECT rows_of('item.item_id.embedding') AS ids \gset
CALL day(10, 30, 201, 10);
INSERT INTO products SELECT 200 + i, 'c' || i % 5, i FROM generate_series(1, 10) i;
CALL dupn_run('n', 'finetune', '{"workers": 2}');
SELECT is((SELECT mode || ' ' || workers FROM dupn_versions WHERE published), 'nightly 2', 'two processes');
SELECT is(rows_of('item.item_id.embedding'), :ids, 'items of that night take the rows of those unseen for days');
CALL day(11, 30, 1, 40);
CALL dupn_run('n', 'finetune');
SELECT is((SELECT since FROM dupn_versions ORDER BY version DESC LIMIT 1), (SELECT max(occurred_at) - interval '1 hour' FROM offers WHERE occurred_at < '2024-01-12'),
	'the hour that was left is in the night after');
SELECT lives_ok($$SELECT * FROM dupn_recommend(7, model => 'n')$$, 'and answers');
SELECT is((SELECT count(*)::int FROM dupn_user_vector(3, model => 'n') v, LATERAL (SELECT dupn_score('taken', v, p) FROM products p) s), 82, 'all products have a score, those with no embedding too');

-- ---- the same night again is the same version ----

SELECT dupn_user_vector(3, model => 'n', as_of => '2024-01-20')::text AS vector, (SELECT version FROM dupn_versions WHERE published) AS version \gset
SELECT format('{"version": %s}', parent) AS parent FROM dupn_versions WHERE version = :version \gset
CALL dupn_run('n', 'finetune', :'parent');
SELECT is(regexp_replace(dupn_user_vector(3, model => 'n', as_of => '2024-01-20')::text, '@.*', ''), regexp_replace(:'vector', '@.*', ''), 'from the same version, bit for bit');

-- ---- times to come ----

SELECT dupn_alter_model('n', '{"lateness": 0, "holdout": null}') IS NOT NULL AS altered \gset
INSERT INTO events SELECT 23, i, 'view', '2024-01-14 01:00'::timestamptz + i * interval '1 minute' FROM generate_series(1, 20) i;
INSERT INTO events VALUES (23, 2, 'view', now() + interval '10 years');
CALL dupn_run('n', 'finetune');
SELECT matches(notes(), '1 rows of night.events have times that are still to come', 'a time to come is told');
SELECT is((SELECT trained_until FROM dupn_versions WHERE published), '2024-01-14 01:20', 'and ends no nights');
CALL dupn_run('n', 'train');
SELECT cmp_ok((SELECT trained_until FROM dupn_versions WHERE published), '<=', now(), 'nor does it after a full training');

SELECT * FROM finish();
