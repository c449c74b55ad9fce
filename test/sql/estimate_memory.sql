-- The memory that dupn_estimate says is that which jobs take, at two sizes, and
-- no more than the setting whatever the size, but for a part of the version on its way.
CREATE SCHEMA estimate_memory;
SET search_path = estimate_memory, public;
SET timezone = 'UTC';
SET client_min_messages = warning;
CREATE TABLE events AS
SELECT n % 400 AS user_id, '2024-01-01'::timestamptz + n * interval '1 minute' AS t, abs(hashint4(n)) % 3000 AS item_id,
	abs(hashint4(-n)) % 3 AS action
FROM generate_series(1, 20000) n;
CREATE INDEX ON events (user_id, t);
SELECT dupn_create_model('m', 'events', 'user_id', 't', '{item_id}', '{action}',
	options => '{"epochs": 1, "hidden": 16, "attention": [8, 4], "max_events": 20, "refit": false, "publish": "always"}');
SELECT dupn_add_task('m', 'next', 'multiclass', label => 'action');
CREATE TABLE said (size int, bytes float8);
INSERT INTO said SELECT 1, value * 1048576 FROM dupn_estimate('m') WHERE quantity = 'memory';
CALL dupn_run('m');
INSERT INTO events SELECT user_id + 400 * k, t, item_id, action FROM events, generate_series(1, 4) k;
INSERT INTO said SELECT 2, value * 1048576 FROM dupn_estimate('m') WHERE quantity = 'memory';
CALL dupn_run('m');

-- 12 MB are enough for the network, and not for the rows: the estimate is the bound, and a part of 4 MB beside it while the version is stored
\set ECHO none
SELECT format('ALTER ROLE %I IN DATABASE %I SET dupn.job_memory = ''12MB''', current_user, current_database()) \gexec
\set ECHO all
DO $$ BEGIN WHILE EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 25718
	AND database = (SELECT oid FROM pg_database WHERE datname = current_database())) LOOP PERFORM pg_sleep(0.05); END LOOP; END $$;
SET dupn.job_memory = '12MB';
INSERT INTO said SELECT 3, value * 1048576 FROM dupn_estimate('m') WHERE quantity = 'memory';
CALL dupn_run('m');
\set ECHO none
SELECT format('ALTER ROLE %I IN DATABASE %I RESET dupn.job_memory', current_user, current_database()) \gexec
\set ECHO all

SELECT size, CASE WHEN memory_bytes / bytes NOT BETWEEN CASE size WHEN 3 THEN 0 ELSE 0.75 END AND 1.25 THEN format('%s MB of %s', memory_bytes >> 20, bytes / 1048576) END AS off,
	spill_bytes > 0 AS spilled, memory_bytes < (12 + 4) * 1048576 AS below, notes::text ~ 'more memory' AS noted
  FROM (SELECT row_number() OVER (ORDER BY job_id) AS size, memory_bytes, spill_bytes, notes FROM dupn_jobs WHERE model = 'm') j
  JOIN said USING (size) ORDER BY size;
-- the same weights from files
SELECT count(DISTINCT fingerprint) FROM _dupn.version JOIN _dupn.model USING (model_id) WHERE name = 'm' AND version > 1;

SELECT dupn_drop_model('m');
DROP SCHEMA estimate_memory CASCADE;
