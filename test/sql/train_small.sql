-- Training on a generated table: what is stored, that it repeats, that it knows
-- nothing of the future, and how it fails.
CREATE SCHEMA train_small;
SET search_path = train_small, public;
SET timezone = 'UTC';
SET client_min_messages = warning;
\set VERBOSITY sqlstate

-- 60 users walk around a ring of 20 items; even users buy dear things.
CREATE TABLE items (id int PRIMARY KEY, ring int, tags text[]);
INSERT INTO items SELECT i, i / 5, ARRAY['t' || i % 3, 't' || i % 7] FROM generate_series(0, 24) i;
CREATE TABLE customers (id int PRIMARY KEY, club boolean);
INSERT INTO customers SELECT u, u % 2 = 0 FROM generate_series(1, 55) u;
CREATE TABLE events (user_id int, occurred_at timestamptz, item_id int, action text, price numeric);
INSERT INTO events
SELECT u, '2024-01-01'::timestamptz + e * interval '7 hours' + u * interval '1 minute', (u + e) % 20,
	(ARRAY['view', 'view', 'buy'])[1 + e % 3], CASE WHEN u % 2 = 0 THEN 50 ELSE 5 END + (u + e) % 4
  FROM generate_series(1, 60) u, generate_series(1, 5 + 20) e;
INSERT INTO events VALUES (NULL, '2024-01-01', 1, 'view', 1), (1, NULL, 1, 'view', 1), (1, 'infinity', 1, 'view', 1),
	(1, '2024-01-01', NULL, 'view', 1);
CREATE TABLE impressions (user_id int, occurred_at timestamptz, item_id int, clicked boolean, score real);
INSERT INTO impressions
SELECT u, '2024-01-02'::timestamptz + e * interval '13 hours', (u * 3 + e) % 20, (u + e) % 2 = 0, e % 5
  FROM generate_series(1, 62) u, generate_series(1, 12) e;

SELECT dupn_create_model('walk', 'events', 'user_id', 'occurred_at', '{item_id,ring,tags}', '{action}',
	catalog => 'items', catalog_key => 'id', profile => 'customers', profile_key => 'id', profile_columns => '{club}',
	options => '{"hidden": 16, "attention": [16, 8], "max_events": 10, "epochs": 12, "patience": 12, "learning_rate": 0.01,
		"dropout": 0.1, "batch_size": 64, "holdout": "2024-01-07"}');
SELECT dupn_add_task('walk', 'next', 'next_item', options => '{"k": [1, 5]}');
SELECT dupn_add_task('walk', 'price', 'multiclass', label => 'price', options => '{"levels": 2, "where": {"action": "buy"}}');
SELECT dupn_add_task('walk', 'ring', 'multiclass', label => 'ring');
SELECT dupn_add_task('walk', 'click', 'binary', samples => 'impressions', label => 'clicked', features => '{score}');

CALL dupn_run('walk');
SELECT version, state, published, events, users, items, parameters > 1000 AS parameters, bytes > 4 * parameters AS bytes,
	cut, trained_until = (SELECT max(occurred_at) FROM (SELECT occurred_at FROM events UNION ALL SELECT occurred_at FROM impressions) e WHERE isfinite(occurred_at)) AS until_the_end
  FROM dupn_versions WHERE model = 'walk';
SELECT action, state, percent, message ~ '^version 1 published: "next" learned' AS sentence, notes[1:2] FROM dupn_jobs WHERE model = 'walk';
SELECT task, metric, slice, value BETWEEN -2 AND 1 AS value, low <= value AND value <= high AS interval,
	baseline IS NOT NULL AS baseline, samples > 0 AS samples
  FROM dupn_metrics WHERE model = 'walk' AND slice IN ('all', 'repeat', 'new') ORDER BY task, metric, slice;

-- the ring is easy: a network that finds nothing here finds nothing anywhere
SELECT task, metric, value > 0.7 AS found FROM dupn_metrics WHERE model = 'walk' AND slice = 'all'
	AND metric IN ('hr@5', 'accuracy') ORDER BY task, metric;

-- Twice the same, whatever the order of the rows.
CALL dupn_run('walk');
CREATE TABLE shuffled AS SELECT * FROM events ORDER BY md5(events::text);
TRUNCATE events;
INSERT INTO events SELECT * FROM shuffled;
CALL dupn_run('walk');
SELECT count(*), count(DISTINCT fingerprint) FROM _dupn.version JOIN _dupn.model USING (model_id) WHERE name = 'walk';

-- Another seed, another network.
CALL dupn_run('walk', 'train', '{"seed": 2}');
SELECT count(*), count(DISTINCT fingerprint) FROM _dupn.version JOIN _dupn.model USING (model_id) WHERE name = 'walk';

-- Spilled rows are the same rows.
INSERT INTO events SELECT 100 + u, '2024-01-01'::timestamptz + e * interval '1 hour', (u * e) % 20, 'view', e
  FROM generate_series(1, 400) u, generate_series(1, 25) e;
CALL dupn_run('walk', 'train', '{"epochs": 1, "hidden": 8}');
SELECT (SELECT temp_files FROM pg_stat_database WHERE datname = current_database()) AS temp_files \gset
\set ECHO none
SELECT format('ALTER ROLE %I IN DATABASE %I SET dupn.job_memory = 64', current_user, current_database()) \gexec
\set ECHO all
-- a worker that is still there has the settings of before
DO $$ BEGIN WHILE EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 25718
	AND database = (SELECT oid FROM pg_database WHERE datname = current_database())) LOOP PERFORM pg_sleep(0.05); END LOOP; END $$;
CALL dupn_run('walk', 'train', '{"epochs": 1, "hidden": 8}');
\set ECHO none
SELECT format('ALTER ROLE %I IN DATABASE %I RESET dupn.job_memory', current_user, current_database()) \gexec
\set ECHO all
DO $$ BEGIN WHILE EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 25718
	AND database = (SELECT oid FROM pg_database WHERE datname = current_database())) LOOP PERFORM pg_sleep(0.05); END LOOP; END $$;
SELECT count(*), count(DISTINCT fingerprint) FROM _dupn.version JOIN _dupn.model USING (model_id) WHERE name = 'walk' AND version > 4;
SELECT temp_files > :temp_files AS spilled FROM pg_stat_database WHERE datname = current_database();

-- The job says what it took.
SELECT lag(spill_bytes) OVER jobs = 0 AS unspilled, spill_bytes > 1000000 AS spilled,
	memory_bytes > 1000000 AS memory,
	notes::text LIKE '%the network and the catalogue alone need more memory%' AS noted,
	ARRAY(SELECT jsonb_object_keys(phase_seconds) ORDER BY 1) AS phases
  FROM dupn_jobs WHERE model = 'walk' WINDOW jobs AS (ORDER BY job_id) ORDER BY job_id DESC LIMIT 1;
DELETE FROM events WHERE user_id > 100;

-- Events after the cut change no weight.
CALL dupn_run('walk', 'train', '{"epochs": 1, "refit": false}');
INSERT INTO events SELECT u, '2024-01-07'::timestamptz + u * interval '1 second', 19 - u % 20, 'buy', 1000 FROM generate_series(1, 60) u;
INSERT INTO events VALUES (3, '2024-01-08', 777, 'new', 1000);
CALL dupn_run('walk', 'train', '{"epochs": 1, "refit": false}');
SELECT count(DISTINCT w.digest) FROM (
	SELECT v.version, (SELECT count(*) FROM _dupn.weight x WHERE x.model_id = v.model_id AND x.version = v.version) AS parts,
		dupn_user_vector(1, 'walk', as_of => '2024-01-06', version => v.version)::real[] AS digest
	  FROM _dupn.version v JOIN _dupn.model m USING (model_id) WHERE m.name = 'walk' ORDER BY v.version DESC LIMIT 2) AS w;

-- Leave one out; two directions; the paper's time; summed items.
SELECT dupn_create_model('other', 'events', 'user_id', 'occurred_at', '{item_id,price}', '{action}',
	options => '{"hidden": 8, "attention": [8, 8], "max_events": 6, "epochs": 1, "holdout": "last_event",
		"holdout_min_events": 5, "bidirectional": true, "time": "paper", "item_encoding": "sum", "item_dim": 8}');
SELECT dupn_add_task('other', 'next', 'next_item', options => '{"exclude_seen": true, "where": {"action": ["view", "new"]}}');
CALL dupn_run('other');
SELECT state, cut IS NULL AS no_cut FROM dupn_versions WHERE model = 'other';
SELECT DISTINCT samples FROM dupn_metrics WHERE model = 'other' AND slice = 'all';

-- Nothing to learn from: the job fails and says why; what was published serves on.
CREATE TABLE nothing (LIKE events);
SELECT dupn_create_model('empty', 'nothing', 'user_id', 'occurred_at', '{item_id}');
SELECT dupn_add_task('empty', 'next', 'next_item');
CALL dupn_run('empty');
CALL dupn_run('walk', 'train', '{"holdout": "2020-01-01"}');
CALL dupn_run('walk', 'train', '{"holdout": "2030-01-01", "epochs": 1}');
UPDATE impressions SET clicked = true;
CALL dupn_run('walk');
ALTER TABLE impressions ALTER COLUMN clicked TYPE int USING 2;
CALL dupn_run('walk');
ALTER TABLE impressions DROP COLUMN score;
CALL dupn_run('walk');
SELECT model, state, replace(message, current_user, 'owner') AS message FROM dupn_jobs
 WHERE state <> 'done' AND model IN ('walk', 'other', 'empty') ORDER BY job_id;
SELECT count(*) FROM dupn_versions WHERE model = 'walk' AND published;

SELECT dupn_drop_model('walk');
SELECT dupn_drop_model('other');
SELECT dupn_drop_model('empty');
DROP SCHEMA train_small CASCADE;
