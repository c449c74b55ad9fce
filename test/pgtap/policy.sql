-- Which trained versions serve: policies, what they are decided by, rejections
-- in a row; and how far the rows of a night are from those before.
SET client_min_messages = error;
SET timezone = 'UTC';
SELECT plan(59);

CREATE SCHEMA policy;
SET search_path = policy, public;

-- Users like items of one kind of four.  The tables hold more days than the views show.
CREATE TABLE clock (until timestamptz, by_item boolean, device text, renamed boolean);
INSERT INTO clock VALUES ('2024-01-11', false, NULL, false);
CREATE TABLE all_events AS
SELECT u AS user_id, 10 * (u % 4) + abs(hashint4(u * 1000 + e)) % 10 AS item_id,
	'2024-01-01'::timestamptz + e * interval '8 hours' + u * interval '1 minute' AS occurred_at, abs(hashint4(u * 1000 + e + 1)) % 10 AS dice
  FROM generate_series(1, 120) u, generate_series(0, 59) e;
CREATE INDEX ON all_events (user_id, occurred_at);
CREATE TABLE all_shown AS
SELECT u AS user_id, abs(hashint4(u * 999 + e)) % 40 AS item_id,
	'2024-01-02'::timestamptz + e * interval '6 hours' + u * interval '1 minute' AS occurred_at, abs(hashint4(u * 1000 + e + 2)) % 10 AS dice
  FROM generate_series(1, 120) u, generate_series(0, 79) e;
CREATE INDEX ON all_shown (user_id, occurred_at);
CREATE VIEW events AS
SELECT user_id, CASE WHEN renamed AND occurred_at >= until - interval '1 day' AND dice < 5 THEN 100 + item_id ELSE item_id END AS item_id, occurred_at,
	CASE WHEN occurred_at >= until - interval '1 day' AND dice < 8 THEN coalesce(device, CASE WHEN dice < 3 THEN 'desk' ELSE 'phone' END)
		WHEN dice < 3 THEN 'desk' ELSE 'phone' END AS device
  FROM all_events, clock WHERE occurred_at < until;
CREATE VIEW shown AS
SELECT user_id, item_id, occurred_at, CASE WHEN by_item THEN (item_id < 10) = (dice > 0) ELSE (item_id / 10 = user_id % 4) = (dice > 0) END AS clicked
  FROM all_shown, clock WHERE occurred_at < until;
CREATE PROCEDURE next_day(days int DEFAULT 1) LANGUAGE sql AS $$ UPDATE clock SET until = until + days * interval '1 day' $$;
SELECT dupn_create_model('p', 'events', 'user_id', 'occurred_at', '{item_id}', '{device}', options =>
	'{"hidden": 8, "attention": [8, 4], "max_events": 5, "epochs": 2, "batch_size": 32, "learning_rate": 0.03, "dropout": 0, "hidden_dropout": 0, "primary": "click"}') IS NOT NULL AS declared \gset
SELECT dupn_add_task('p', 'next', 'next_item') IS NOT NULL AS declared \gset
CREATE FUNCTION message(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE h text;
BEGIN
	EXECUTE statement;
	RETURN NULL;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS h = PG_EXCEPTION_HINT;
	RETURN SQLSTATE || ' ' || SQLERRM || ' ' || h;
END $$;
CREATE FUNCTION decision(v int) RETURNS text LANGUAGE sql AS $$ SELECT decision FROM dupn_versions WHERE model = 'p' AND version = v $$;
CREATE FUNCTION serves() RETURNS int LANGUAGE sql AS $$ SELECT published_version FROM dupn_models WHERE model = 'p' $$;
CREATE FUNCTION sentence(v int) RETURNS text LANGUAGE sql AS $$ SELECT message FROM dupn_jobs WHERE model = 'p' AND version = v $$;
CREATE FUNCTION notes(v int) RETURNS text LANGUAGE sql AS $$ SELECT array_to_string(notes, E'\n') FROM dupn_jobs WHERE model = 'p' AND version = v $$;
CREATE FUNCTION rejections() RETURNS int LANGUAGE sql AS $$ SELECT rejections FROM _dupn.model WHERE name = 'p' $$;

-- ---- options ----

SELECT is(message($$SELECT dupn_train('p')$$), '42704 model "p" has no task "click" There are the tasks "next".', 'the task that decides is not there yet');
SELECT dupn_add_task('p', 'click', 'binary', samples => 'shown', label => 'clicked') IS NOT NULL AS declared \gset
SELECT is(message($$SELECT dupn_alter_model('p', '{"primary": "clik"}')$$), '42704 model "p" has no task "clik" Perhaps you meant the task "click".', 'the task that decides must be one');
SELECT is(message($$SELECT dupn_train('p', '{"primary": "nxt"}')$$), '42704 model "p" has no task "nxt" Perhaps you meant the task "next".', 'of a job, too');
SELECT matches(message($$SELECT dupn_alter_model('p', '{"primary": 1}')$$), '^22023 option "primary" must be the name of a task', 'by its name');
SELECT matches(message($$SELECT dupn_drop_task('p', 'click')$$), '^55006 task "click" decides which versions of model "p" are published .*"primary": null', 'and stays while it decides');
SELECT matches(message($$SELECT dupn_alter_model('p', '{"publish": "sometimes"}')$$), '^22023 option "publish" must be "always", "better" or "never"', 'three policies');
SELECT matches(message($$SELECT dupn_alter_model('p', '{"tolerance": -0.1}')$$), '^22023 option "tolerance" must be between 0 and 1', 'no tolerance below zero');

-- ---- the first version ----

CALL dupn_run('p', 'train', '{"learning_rate": 1e-8, "refit": false}');
SELECT is(serves(), 1, 'a first version is published whatever it is like');
SELECT matches(decision(1), '^published: the first version, though "click" auc 0\.\d{3} does not beat \d\.\d{3} for \w+$', 'but it is said that a simple baseline is better');
SELECT matches(notes(1), 'WARNING: published: the first version, though', 'in a warning');

-- ---- better ----

CALL dupn_run('p');
SELECT is(serves(), 2, 'a better one is published');
SELECT matches(decision(2), '^published: "click" auc 0\.\d{3} against 0\.\d{3} of version 1 \(difference \+0\.\d{3}, \+0\.\d{3} to \+0\.\d{3}\)$', 'with the figures that decided');
SELECT matches(sentence(2), '^version 2 published \("click" auc .*of version 1 .*\): "next" learned', 'that the job''s sentence has as well');
CALL dupn_run('p', 'train', '{"seed": 2}');
SELECT is(decision(3), 'published: not compared with version 2: it was trained on all samples that are held out', 'without new samples there is no comparison');
SELECT matches(notes(3), 'not compared with version 2: it was trained', 'which a note says');
CALL next_day(2);
CALL dupn_run('p', 'train', '{"learning_rate": 1e-4, "epochs": 1}');
SELECT is(serves(), 3, 'a worse one is not published');
SELECT matches(decision(4), '^rejected: "click" auc 0\.\d{3} against 0\.\d{3} of version 3 \(difference -0\.\d{3}, -0\.\d{3} to -0\.\d{3}\): more than the tolerance of 0\.01$', 'but rejected, with the reason');
SELECT matches(sentence(4), '^version 4 rejected \("click" auc .*tolerance of 0.01\): "next"', 'that the job''s sentence has as well');
SELECT is(state, 'ready', 'it can be published by hand') FROM dupn_versions WHERE model = 'p' AND version = 4;
SELECT is(rejections(), 1, 'one in a row');
CALL dupn_run('p', 'train', '{"learning_rate": 1e-4, "epochs": 1, "tolerance": 1}');
SELECT matches(decision(5), 'significant$', 'nor, whatever the tolerance, one that is significantly worse');
CALL dupn_run('p', 'train', '{"learning_rate": 1e-4, "epochs": 1, "primary": "next", "tolerance": 1}');
SELECT matches(decision(6), '^(published|rejected): "next" hr@10', 'another task may decide');
SELECT dupn_publish('p', 3) IS NOT NULL AS published \gset
UPDATE clock SET by_item = true;
CALL dupn_run('p', 'train', '{"learning_rate": 1e-8, "epochs": 1}');
UPDATE clock SET by_item = false;
SELECT matches(decision(7), '^rejected: "click" auc 0\.\d{3} is below 0\.\d{3} for item_rate$', 'nor is one that is below what says the same to everybody');
SELECT is(serves(), 3, 'the old one serves all the time');

-- ---- always, never ----

CALL dupn_run('p', 'train', '{"learning_rate": 1e-4, "epochs": 1, "publish": "always"}');
SELECT is(decision(8) || ' ' || serves(), 'published 8', 'always');
SELECT is(rejections(), 0, 'a publication ends the row');
CALL dupn_run('p', 'train', '{"publish": "never"}');
SELECT is(decision(9) || ' ' || serves(), 'waits 8', 'never');
SELECT matches(sentence(9), '^version 9 stored: ', 'it is stored');
CALL dupn_run('p', 'train', '{"publish": true, "epochs": 1}');
SELECT is(decision(10) || ' ' || serves(), 'published 10', 'true is always');
CALL dupn_run('p', 'train', '{"publish": false, "epochs": 1}');
SELECT is(decision(11) || ' ' || serves(), 'waits 10', 'and false never');
SELECT is(dupn_rollback('p'), 8, 'back by one statement');
SELECT is(serves(), 8, 'at once');
SELECT is(dupn_rollback('p'), 10, 'and forth');

-- ---- who publishes meanwhile is not overruled ----

CALL next_day();
SELECT dupn_train('p') AS job \gset
BEGIN;
SELECT dupn_publish('p', 3) IS NOT NULL AS published \gset
DO $$
BEGIN
	WHILE NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'dupn job' AND wait_event_type = 'Lock') LOOP
		PERFORM pg_sleep(0.02), pg_stat_clear_snapshot();
	END LOOP;
END $$;
COMMIT;
SELECT dupn_wait(:job) IS NOT NULL AS waited \gset
SELECT is(decision(12) || ' ' || serves(), 'waits: version 3 was published meanwhile 3', 'a version that was published while another one was trained goes on');
SELECT matches(sentence(12), '^version 12 stored \(version 3 was published meanwhile\)', 'which the sentence says');
SELECT is(rejections(), 0, 'and is no rejection');

-- ---- seven rejections in a row ----

CREATE PROCEDURE reject(n int, options jsonb) LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. n LOOP
		CALL dupn_run('p', 'train', '{"learning_rate": 1e-4, "epochs": 1, "refit": false, "publish": "better"}' || options);
	END LOOP;
END $$;
CALL reject(6, '{"mode": "alone", "tasks": ["click"]}');
SELECT is(rejections(), 6, 'six');
SELECT is(count(*), 0::bigint, 'lead to nothing') FROM dupn_jobs WHERE model = 'p' AND state <> 'done';
CALL reject(1, '{"mode": "alone", "tasks": ["click"]}');
SELECT max(job_id) AS job FROM dupn_jobs WHERE model = 'p' \gset
SELECT matches(notes(19), format('WARNING: 7 versions in a row were rejected; job %s trains all from nothing', :job), 'the seventh is one too many');
SELECT dupn_wait(:job) IS NOT NULL AS waited \gset
SELECT is(action || ' ' || options::text || ' ' || state, 'train {} done', 'and is followed by a training of all') FROM dupn_jobs WHERE job_id = :job;
SELECT is(mode || ' ' || (decision ~ '^published') || ' ' || serves(), 'full true 20', 'which is published') FROM dupn_versions WHERE model = 'p' AND version = 20;
SELECT is(rejections(), 0, 'and ends the row');
CALL next_day();
UPDATE _dupn.model SET rejections = 6 WHERE name = 'p';
CALL reject(1, '{"mode": "full"}');
SELECT matches(notes(21), 'WARNING: 7 versions in a row were rejected, this one trained from nothing', 'a training of all that is rejected');
SELECT is(count(*), 0::bigint, 'is followed by none') FROM dupn_jobs WHERE model = 'p' AND job_id > (SELECT max(job_id) FROM dupn_jobs WHERE version = 21);

-- ---- a version that does not fit any more ----

SELECT dupn_alter_model('p', '{"primary": null}'), dupn_drop_task('p', 'next') \g /dev/null
SELECT dupn_drop_task('p', 'click'), dupn_add_task('p', 'click', 'binary', samples => 'shown', label => 'clicked', options => '{"hidden": [16]}') \g /dev/null
CALL dupn_run('p');
SELECT matches(decision(22), '^published: not compared with version 20: version 20 does not fit model "p" any more: of task "click", "hidden" was', 'is not compared with');

-- ---- drift ----

CALL next_day();
UPDATE clock SET device = 'desk';
CALL dupn_run('p');
SELECT matches(notes(23), 'drift: property column "device" moved by \d\.\d\d \(PSI\) from version 22, beyond the limit of 0\.25', 'a column that moved is named');
SELECT unalike(notes(23), '%item_id%', 'and no other');
SELECT is(array_agg(name), '{device}', 'as the view shows') FROM dupn_drift WHERE model = 'p' AND version = 23 AND psi > 0.25;
SELECT is(array_agg(DISTINCT d.value = m.value), '{t}', 'with metrics')
  FROM dupn_drift d JOIN dupn_metrics m ON m.model = d.model AND m.version = d.version AND m.task = d.task AND m.metric = d.name AND m.slice = 'all'
 WHERE d.model = 'p' AND d."group" = 'metric';
SELECT ok(abs(value - (SELECT avg(clicked::int) FROM shown, dupn_versions v WHERE v.model = 'p' AND v.version = 23 AND occurred_at >= cut)) < 1e-9, 'and rates of labels')
  FROM dupn_drift d WHERE model = 'p' AND version = 23 AND "group" = 'label';
UPDATE clock SET device = NULL, renamed = true;
CALL dupn_run('p');
SELECT matches(decision(24), '^rejected: \d+\.\d % of column "item_id" are unknown, of version 2[23] 0\.0 % were$', 'a night of unknown items is not published');
UPDATE clock SET renamed = false;
CALL dupn_run('p', 'train', '{"drift_limit": 100}');
SELECT unalike(notes(25), '%drift%', 'far is what the option says');

-- ---- nights ----

CALL next_day();
CALL dupn_run('p', 'finetune');
SELECT matches(decision(26), '^(published|rejected): "click" auc \d\.\d{3} against \d\.\d{3} of version 25 \(difference', 'a night is compared with the version that it started from');
SELECT ok(NOT EXISTS (SELECT FROM dupn_jobs j, jsonb_object_keys(phase_seconds) p WHERE j.version = 26 AND p = 'learning levels'), 'which is not loaded again');
SELECT is(array_agg(DISTINCT since), (SELECT ARRAY[trained_until] FROM dupn_versions WHERE model = 'p' AND version = 25), 'its rows are those that came since')
  FROM dupn_drift WHERE model = 'p' AND version = 26;
SELECT is(rows, (SELECT count(*) FROM events, dupn_versions v WHERE v.model = 'p' AND v.version = 25 AND occurred_at > trained_until), 'all of them')
  FROM dupn_drift WHERE model = 'p' AND version = 26 AND name = 'item_id';
SELECT dupn_publish('p', 26) IS NOT NULL AS published \gset
CALL next_day();
UPDATE clock SET renamed = true;
CALL dupn_run('p', 'finetune');
SELECT matches(decision(27), '^rejected: \d+\.\d % of column "item_id" are unknown, of version 26 0\.0 % were$', 'a night of ids that the version before did not know is not published');
UPDATE clock SET renamed = false;
SELECT dupn_alter_model('p', '{"full_every": 2, "learning_rate": 1e-4, "epochs": 1}') IS NOT NULL AS altered \gset
CALL dupn_run('p', 'finetune');
CALL dupn_run('p', 'finetune');
SELECT is(array_agg(mode || CASE WHEN decision ~ '^rejected' THEN ' rejected' ELSE '' END ORDER BY version), '{"full rejected",nightly}',
	'when a training of all was rejected, the next night is a night again')
  FROM (SELECT version, mode, CASE version WHEN 28 THEN decision END AS decision FROM dupn_versions WHERE model = 'p' AND version > 27) v;
-- ---- a small shop ----

CREATE TABLE few (user_id int, item_id int, at timestamptz);
CREATE INDEX ON few (user_id, at);
CREATE PROCEDURE few_events(d int, users int) LANGUAGE sql AS $$
	INSERT INTO few SELECT u, (u * 7 + e * e + d) % 30, '2024-01-01'::timestamptz + d * interval '1 day' + e * interval '40 minutes' + u * interval '1 second'
		FROM generate_series(1, users) u, generate_series(1, 6) e $$;
CALL few_events(0, 80);
CALL few_events(1, 80);
CALL few_events(2, 80);
SELECT dupn_create_model('few', 'few', 'user_id', 'at', '{item_id}', options => '{"hidden": 8, "attention": [8, 4], "max_events": 10, "epochs": 1}') IS NOT NULL AS declared \gset
SELECT dupn_add_task('few', 'next', 'next_item') IS NOT NULL AS declared \gset
CALL dupn_run('few', 'train');
INSERT INTO few SELECT u, abs(hashint4(u * 1000 + e * 10 + 1)) % 30, '2024-01-06'::timestamptz + e * interval '40 minutes' + u * interval '1 second'
	FROM generate_series(1, 30) u, generate_series(1, 6) e;
CALL dupn_run('few', 'finetune');
SELECT results_eq($$SELECT difference_high >= 0, samples < 10, decision LIKE '%is below%' FROM dupn_versions JOIN dupn_baselines USING (model, version)
  WHERE model = 'few' AND version = 2 AND source = 'popularity' AND metric = 'hr@10' AND slice = 'all'$$,
	'VALUES (true, true, false)', 'less than popularity for a few users is no reason');

SELECT * FROM finish();
