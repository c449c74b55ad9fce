-- A refresh of what has changed: who is written and who is left as they were;
-- which version readers of a view see, and how fast it may be.
SET client_min_messages = warning;
SET timezone = 'UTC';
SELECT plan(46);

CREATE SCHEMA changed;
SET search_path = changed, public;

CREATE TABLE events (user_id int, item_id int, occurred_at timestamptz);
INSERT INTO events SELECT u, (u * 7 + e * e) % 30, '2024-01-01'::timestamptz + e * interval '5 hours' + u * interval '1 minute'
	FROM generate_series(1, 300) u, generate_series(1, 1 + u % 7) e;
CREATE INDEX ON events (user_id, occurred_at);
SELECT dupn_create_model('changed', events => 'events', user_column => 'user_id', time_column => 'occurred_at', item_columns => '{item_id}',
	options => '{"hidden": 8, "attention": [8, 4], "max_events": 5, "epochs": 1, "publish": "always", "min_count": 1}') IS NOT NULL AS declared \gset
SELECT dupn_add_task('changed', 'next', 'next_item') IS NOT NULL AS declared \gset
CALL dupn_run('changed', 'train');
CREATE TABLE vectors (user_id int, version int, vector dupn_vector NOT NULL, as_of timestamptz NOT NULL, PRIMARY KEY (user_id, version));
CREATE VIEW vectors_now AS SELECT * FROM vectors WHERE version = (SELECT dupn_refreshed_version('vectors'));
CREATE FUNCTION message(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE statement;
	RETURN NULL;
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE || ' ' || SQLERRM;
END $$;
CREATE FUNCTION last_message() RETURNS text LANGUAGE sql AS 'SELECT message FROM dupn_jobs ORDER BY job_id DESC LIMIT 1';

-- ---- what is refused ----

SELECT is(message($$SELECT dupn_refresh('changed', 'vectors', '{"max_age": "1 day"}')$$), '22023 option "max_age" needs "changed"', 'an age without "changed"');
SELECT is(message($$SELECT dupn_refresh('changed', 'vectors', '{"lateness": 5, "changed": false}')$$), '22023 option "lateness" needs "changed"', 'lateness without "changed"');
SELECT is(message($$SELECT dupn_refresh('changed', 'vectors', '{"changed": true, "lateness": "-1 hour"}')$$), '22023 option "lateness" must be between 0 and 10000 days', 'negative lateness');
SELECT is(message($$SELECT dupn_refresh('changed', 'vectors', '{"rows_per_second": -1}')$$), '22023 option "rows_per_second" must be between 0 and 2147483647', 'a negative speed');
SELECT is(message($$SELECT dupn_refresh('changed', 'vectors', '{"what": "shops"}')$$), '22023 option "what" must be "users" or "items"', 'vectors of something else');

-- ---- the view before anything is complete ----

SELECT is(dupn_refreshed_version('vectors'), NULL, 'no version before the first refresh');
SELECT is(dupn_refreshed_version(NULL), NULL, 'none of nothing');
SELECT is(dupn_refreshed_version(0), NULL, 'none of a table that is not there');
INSERT INTO vectors SELECT 1, 1, dupn_user_vector(1, 'changed'), '2023-01-01';
SELECT is((SELECT count(*) FROM vectors_now), 0::bigint, 'a row alone is not to be seen');

-- ---- who is written ----

CALL dupn_run('changed', 'refresh', '{"target": "vectors", "as_of": "2024-02-01", "changed": true}');
SELECT is((SELECT count(*) FROM vectors WHERE as_of = '2024-02-01'), 300::bigint, 'where there is nothing all are written');
SELECT matches(last_message(), ': 300 rows written, \d+ a second, 0 left as they were, 0 removed$', 'the job says so');
SELECT is((SELECT count(*) FROM vectors_now), 300::bigint, 'now they are to be seen');

CREATE TABLE before AS SELECT user_id, xmin::text AS written FROM vectors;
CREATE FUNCTION written() RETURNS int[] LANGUAGE sql AS
	'SELECT array_agg(v.user_id ORDER BY v.user_id) FROM changed.vectors v LEFT JOIN changed.before b ON b.user_id = v.user_id AND b.written = v.xmin::text WHERE b.user_id IS NULL';
CREATE PROCEDURE note() LANGUAGE sql AS
	'DELETE FROM changed.before; INSERT INTO changed.before SELECT user_id, xmin::text FROM changed.vectors';

CALL dupn_run('changed', 'refresh', '{"target": "vectors", "as_of": "2024-02-02", "changed": true}');
SELECT is(written(), NULL, 'where nothing has changed nothing is written');
SELECT matches(last_message(), ': 0 rows written, \d+ a second, 300 left as they were, 0 removed$', 'the job says so');
SELECT results_eq('SELECT version, as_of, rows, cleared, next_version FROM _dupn.refresh',
	$$VALUES (1, '2024-02-02'::timestamptz, 300::bigint, true, NULL::int)$$, 'and that it was looked at');

INSERT INTO events VALUES
	(7, 1, '2024-02-01'),			-- the moment itself was not seen
	(9, 1, '2024-02-02 12:00'),		-- later
	(11, 1, '2024-02-03'),			-- not before the next moment
	(12, 1, '2024-01-31 23:00'),	-- an hour late
	(13, 1, '2024-01-31 22:59'),	-- more than that
	(400, 1, '2024-02-02 13:00'),	-- a new user
	(401, 1, '2023-12-31');			-- a new user with an old event
DELETE FROM events WHERE user_id IN (20, 21);
DELETE FROM vectors WHERE user_id IN (21, 30);
CALL dupn_run('changed', 'refresh', '{"target": "vectors", "as_of": "2024-02-03", "changed": true}');
SELECT is(written(), '{7,9,12,30,400,401}'::int[], 'users with new events, new users, and who lost the row');
SELECT is((SELECT as_of FROM vectors WHERE user_id = 8), '2024-02-01', 'others keep the moment');
SELECT is((SELECT count(*) FROM vectors WHERE user_id IN (20, 21)), 1::bigint, 'users whose events are gone stay');
SELECT cmp_ok((SELECT max(abs(a - b)) FROM vectors v, unnest(v.vector::real[], dupn_user_vector(v.user_id, 'changed', as_of => v.as_of)::real[]) x(a, b)
	WHERE user_id = 9), '<', 1e-5::real, 'what is written is the vector');

CALL note();
CALL dupn_run('changed', 'refresh', '{"target": "vectors", "as_of": "2024-02-03 01:00", "changed": true, "lateness": "30 hours"}');
SELECT is(written(), '{9,11,13,400}'::int[], 'more lateness, more users');
CALL note();
SELECT dupn_alter_model('changed', '{"lateness": "49 hours"}') IS NOT NULL AS altered \gset
CALL dupn_run('changed', 'refresh', '{"target": "vectors", "as_of": "2024-02-03 02:00", "changed": true}');
SELECT is(written(), '{7,9,11,12,400}'::int[], 'the model knows how late events may be');
SELECT dupn_alter_model('changed', '{"lateness": null}') IS NOT NULL AS altered \gset

CALL note();
CALL dupn_run('changed', 'refresh', '{"target": "vectors", "as_of": "2024-03-01", "changed": true, "lateness": 0, "max_age": "27 days"}');
SELECT is((SELECT count(*) FROM vectors WHERE as_of = '2024-03-01'), 292::bigint, 'rows beyond an age are written anew');
SELECT is((SELECT count(*) FROM vectors WHERE user_id = 9 AND as_of < '2024-03-01'), 1::bigint, 'younger ones are left');

-- ---- full again ----

CALL dupn_run('changed', 'refresh', '{"target": "vectors", "as_of": "2024-03-02"}');
SELECT results_eq('SELECT as_of, count(*) FROM vectors GROUP BY 1', $$VALUES ('2024-03-02'::timestamptz, 300::bigint)$$, 'without "changed" all are written, and who is gone goes');
SELECT is((SELECT count(*) FROM vectors WHERE user_id IN (20, 21)), 0::bigint, 'with their rows');

-- ---- another version ----

CALL dupn_run('changed', 'train', '{"seed": 2}');
INSERT INTO vectors SELECT 3, 2, dupn_user_vector(3, 'changed'), '2024-01-01';
SELECT is(dupn_refreshed_version('vectors'), 1, 'a published version is not yet one of the table');
SELECT is((SELECT count(DISTINCT version) FROM vectors_now), 1::bigint, 'nor are its rows seen');
CALL note();
CALL dupn_run('changed', 'refresh', '{"target": "vectors", "changed": true}');
SELECT results_eq('SELECT version, count(*) FROM vectors GROUP BY 1', 'VALUES (2, 300::bigint)', 'all are written, and those of the old version go');
SELECT is((SELECT count(*) FROM vectors_now), 300::bigint, 'and seen');
SELECT matches(last_message(), ': 300 rows written, \d+ a second, 0 left as they were, 300 removed$', 'the job says so');
SELECT dupn_publish('changed', 1) IS NOT NULL AS published \gset
CALL dupn_run('changed', 'refresh', '{"target": "vectors", "changed": true, "keep_old": true}');
SELECT results_eq('SELECT version, count(*) FROM vectors GROUP BY 1 ORDER BY 1', 'VALUES (1, 300::bigint), (2, 300)', 'an earlier version comes back');
SELECT is((SELECT max(version) FROM vectors_now), 1, 'and is the one that is seen');
SELECT is((SELECT cleared FROM _dupn.refresh), false, 'rows of others are there');
CALL dupn_run('changed', 'refresh', '{"target": "vectors", "changed": true}');
SELECT results_eq('SELECT version, count(*) FROM vectors GROUP BY 1 ORDER BY 1', 'VALUES (1, 300::bigint)', 'until one does not keep them');

-- ---- the plan, and who may read ----

CREATE FUNCTION plan_of(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	line text;
	lines text = '';
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || statement LOOP
		lines = lines || regexp_replace(line, '^ +(-> +)?', ' ');
	END LOOP;
	RETURN lines;
END $$;
ANALYZE vectors;
SELECT matches(plan_of('SELECT vector FROM vectors_now WHERE user_id = 42'), 'Index Scan using vectors_pkey.*InitPlan.*Result.*Index Cond: \(\(user_id = 42\) AND \(version = .*\)\)|Index Scan using vectors_pkey.*Index Cond: \(\(user_id = 42\) AND \(version = .*\)\).*InitPlan.*Result', 'the version is asked for once, and the key found by its index');
CREATE ROLE reader;
GRANT USAGE ON SCHEMA changed TO reader;
GRANT SELECT ON vectors_now TO reader;
SET ROLE reader;
SELECT is((SELECT count(*) FROM changed.vectors_now), 300::bigint, 'who may read the view alone can');
SELECT is(message('SELECT count(*) FROM changed.vectors'), '42501 permission denied for table vectors', 'but not the table');
RESET ROLE;
DROP OWNED BY reader;
DROP ROLE reader;

ALTER TABLE vectors RENAME TO renamed;
SELECT is((SELECT count(*) FROM vectors_now), 0::bigint, 'a table by another name is another one');
ALTER TABLE renamed RENAME TO vectors;
SELECT is((SELECT count(*) FROM vectors_now), 300::bigint, 'until it has its own again');

-- ---- dates, and times without a zone ----

CREATE TABLE days AS SELECT user_id, item_id, occurred_at::date AS day FROM events;
CREATE INDEX ON days (user_id, day);
SELECT dupn_create_model('days', events => 'days', user_column => 'user_id', time_column => 'day', item_columns => '{item_id}',
	timezone => 'Asia/Shanghai', options => '{"hidden": 8, "attention": [8, 4], "max_events": 5, "epochs": 1, "publish": "always", "min_count": 1}') IS NOT NULL AS declared \gset
SELECT dupn_add_task('days', 'next', 'next_item') IS NOT NULL AS declared \gset
CALL dupn_run('days', 'train');
CREATE TABLE day_vectors (LIKE vectors INCLUDING ALL);
CALL dupn_run('days', 'refresh', '{"target": "day_vectors", "as_of": "2024-03-01 03:00+08"}');
INSERT INTO days VALUES (40, 1, '2024-03-01'), (41, 1, '2024-02-28');
CALL dupn_run('days', 'refresh', '{"target": "day_vectors", "as_of": "2024-03-02 03:00+08", "changed": true}');
SELECT is((SELECT array_agg(user_id) FROM day_vectors WHERE as_of = '2024-03-02 03:00+08'), '{40}', 'a day goes on after it was looked at');
CALL dupn_run('days', 'refresh', '{"target": "day_vectors", "as_of": "2024-03-03 03:00+08", "changed": true, "workers": 1}');
SELECT is((SELECT count(*) FROM day_vectors WHERE as_of = '2024-03-03 03:00+08'), 0::bigint, 'but not for ever');

-- ---- a column of another kind ----

CREATE DOMAIN floats AS real[];
CREATE TABLE arrays (user_id int, version int, vector floats, as_of timestamptz, PRIMARY KEY (user_id, version));
CALL dupn_run('changed', 'refresh', '{"target": "arrays", "as_of": "2024-03-02", "changed": true}');
UPDATE arrays SET as_of = NULL WHERE user_id = 50;
CALL dupn_run('changed', 'refresh', '{"target": "arrays", "as_of": "2024-03-03", "changed": true}');
SELECT is((SELECT array_agg(user_id) FROM arrays WHERE as_of = '2024-03-03'), '{50}', 'a row without a moment is old');
SELECT is((SELECT count(*) FROM arrays), 300::bigint, 'a domain takes vectors');

-- ---- throttled ----

CALL dupn_run('changed', 'refresh', '{"target": "vectors", "as_of": "2030-01-01", "rows_per_second": 200, "workers": 1}');
SELECT cmp_ok((SELECT completed_at - begun_at FROM _dupn.refresh WHERE target = 'changed.vectors'), '>=', interval '1.4 seconds', 'rows are written no faster than wished');
CALL dupn_run('changed', 'refresh', '{"target": "vectors", "as_of": "2030-01-02", "rows_per_second": 200, "changed": true}');
SELECT cmp_ok((SELECT completed_at - begun_at FROM _dupn.refresh WHERE target = 'changed.vectors'), '<', interval '1.4 seconds', 'and those that are left do not count');
SELECT is((SELECT count(*) FROM vectors_now), 300::bigint, 'nor are they lost');

SELECT * FROM finish();
