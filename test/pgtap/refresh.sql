-- Stored vectors of all users: what a refresh writes, leaves out and removes,
-- and which tables it refuses.
SET client_min_messages = warning;
SET timezone = 'UTC';
SELECT plan(40);

CREATE SCHEMA stored;
SET search_path = stored, public;

CREATE TABLE events (user_id int, item_id int, occurred_at timestamptz);
INSERT INTO events SELECT u, (u * 7 + e * e) % 30, '2024-01-01'::timestamptz + e * interval '5 hours' + u * interval '1 minute'
	FROM generate_series(1, 700) u, generate_series(1, 1 + u % 7) e;
INSERT INTO events VALUES (NULL, 1, '2024-01-01'), (801, 1, NULL), (802, 1, 'infinity'), (803, 1, '-infinity'), (804, 1, '2024-03-01');
CREATE INDEX ON events (user_id, occurred_at);
SELECT dupn_create_model('stored', events => 'events', user_column => 'user_id', time_column => 'occurred_at', item_columns => '{item_id}',
	options => '{"hidden": 8, "attention": [8, 4], "max_events": 5, "epochs": 1, "min_count": 1}') IS NOT NULL AS declared \gset

-- ---- what is refused ----

SELECT throws_ok($$SELECT dupn_refresh('stored', 'vectors')$$, '42P01', NULL, 'a table that is not there');
CREATE FUNCTION hint(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE h text;
BEGIN
	EXECUTE statement;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS h = PG_EXCEPTION_HINT;
	RETURN h;
END $$;
CREATE FUNCTION message(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE statement;
	RETURN NULL;
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE || ' ' || SQLERRM;
END $$;
SELECT is(hint($$SELECT dupn_refresh('stored', 'stored.vectors')$$),
	'CREATE TABLE stored.vectors (user_id integer, version int, vector dupn_vector NOT NULL, as_of timestamptz NOT NULL, PRIMARY KEY (user_id, version));',
	'is hinted at as the statement that makes it');
SELECT hint($$SELECT dupn_refresh('stored', 'stored.vectors')$$) AS statement \gset
:statement
SELECT is(message($$SELECT dupn_refresh('stored', 'vectors')$$), '55000 model "stored" has no published version', 'a model that was never trained');
SELECT dupn_add_task('stored', 'next', 'next_item') IS NOT NULL AS declared \gset
CALL dupn_run('stored', 'train');

CREATE VIEW a_view AS SELECT * FROM vectors;
SELECT is(message($$SELECT dupn_refresh('stored', 'a_view')$$), '42809 a_view is not a table', 'a view');
CREATE TEMP TABLE brief (LIKE vectors INCLUDING ALL);
SELECT is(message($$SELECT dupn_refresh('stored', 'brief')$$), '42809 table brief is temporary', 'a temporary table');
CREATE TABLE lacking (who int, version int, vector dupn_vector);
SELECT is(message($$SELECT dupn_refresh('stored', 'lacking')$$), '42703 table stored.lacking has no column "user_id"', 'no column for the user');
ALTER TABLE lacking RENAME who TO user_id;
SELECT is(hint($$SELECT dupn_refresh('stored', 'lacking')$$), 'ALTER TABLE stored.lacking ADD COLUMN as_of timestamptz;', 'no column for the time');
ALTER TABLE lacking ADD COLUMN as_of timestamp;
SELECT is(message($$SELECT dupn_refresh('stored', 'lacking')$$),
	'42804 column "as_of" of table stored.lacking has type timestamp without time zone, not timestamp with time zone', 'a time without a zone');
ALTER TABLE lacking ALTER as_of TYPE timestamptz;
ALTER TABLE lacking ALTER vector TYPE int USING NULL;
SELECT is(message($$SELECT dupn_refresh('stored', 'lacking')$$),
	'42804 column "vector" of table stored.lacking has type integer, not dupn_vector, real[] or a type that real[] is cast to', 'a vector as a number');
ALTER TABLE lacking ALTER vector TYPE real[] USING NULL, ALTER user_id TYPE bigint;
SELECT is(message($$SELECT dupn_refresh('stored', 'lacking')$$), '42804 column "user_id" of table stored.lacking has type bigint, not integer', 'users of another type');
ALTER TABLE lacking ALTER user_id TYPE int;
SELECT is(hint($$SELECT dupn_refresh('stored', 'lacking')$$), 'ALTER TABLE stored.lacking ADD PRIMARY KEY (user_id, version);', 'no key');
CREATE UNIQUE INDEX ON lacking (version, user_id);
SELECT is(hint($$SELECT dupn_refresh('stored', 'lacking')$$), 'ALTER TABLE stored.lacking ADD PRIMARY KEY (user_id, version);', 'a key that starts with the version');
SELECT is(message($$SELECT dupn_refresh('stored', NULL)$$), '22023 a refresh needs the option "target"', 'no table');
SELECT is(message($$SELECT dupn_refresh('stored', 'vectors', '{"targt": "x"}')$$), '22023 unrecognized option "targt"', 'an option that is none');
SELECT is(message($$SELECT dupn_refresh('stored', 'vectors', '{"workers": 0}')$$), '22023 option "workers" must be between 1 and 16', 'no workers');
SELECT is(message($$SELECT dupn_refresh('stored', 'vectors', '{"as_of": "infinity"}')$$), '22023 option "as_of" must be a finite time', 'no moment');
SELECT is(message($$SELECT dupn_refresh('stored', 'vectors', '{"version": 7}')$$), '42704 version 7 of model "stored" does not exist', 'no version');
CREATE ROLE stranger;
SET ROLE stranger;
SELECT throws_ok($$SELECT public.dupn_refresh('stored', 'stored.vectors')$$, '42501', NULL, 'who does not own the model');
RESET ROLE;
DROP ROLE stranger;

-- ---- what is written ----

CALL dupn_run('stored', 'refresh', '{"target": "vectors", "as_of": "2024-02-01", "workers": 1}');
SELECT is((SELECT count(*) FROM vectors), 700::bigint, 'all who have an event before the moment, and nobody else');
SELECT is((SELECT count(*) FROM vectors WHERE vector::text = dupn_user_vector(user_id, as_of => '2024-02-01')::text
	OR (SELECT max(abs(a - b)) FROM unnest(vector::real[], dupn_user_vector(user_id, as_of => '2024-02-01')::real[]) x(a, b)) < 1e-5),
	700::bigint, 'their vectors');
SELECT is((SELECT count(*) FROM vectors WHERE version = 1 AND as_of = '2024-02-01' AND dupn_vector_as_of(vector) = as_of), 700::bigint, 'with version and moment');
SELECT results_eq('SELECT target, version, as_of, rows, next_version FROM _dupn.refresh',
	$$VALUES ('stored.vectors', 1, '2024-02-01'::timestamptz, 700::bigint, NULL::int)$$, 'the version is complete');
SELECT matches((SELECT message FROM dupn_jobs ORDER BY job_id DESC LIMIT 1),
	'^version 1 as of 2024-02-01 00:00:00\+00 is complete in stored.vectors: 700 rows written, \d+ a second, 0 removed$', 'the job says so');
SELECT is((SELECT array_agg(p ORDER BY p) FROM jsonb_object_keys((SELECT phase_seconds FROM dupn_jobs ORDER BY job_id DESC LIMIT 1)) p),
	'{refreshing,"removing what is old"}', 'and what it did, in few words');

-- again as of the same moment: only who is missing
CREATE TABLE before AS SELECT user_id, xmin::text AS written FROM vectors;
DELETE FROM vectors WHERE user_id BETWEEN 100 AND 109 OR user_id = 700;
CALL dupn_run('stored', 'refresh', '{"target": "vectors", "as_of": "2024-02-01 01:00+01"}');
SELECT is((SELECT count(*) FROM vectors v JOIN before b ON b.user_id = v.user_id AND b.written = v.xmin::text), 689::bigint, 'what is there is left');
SELECT is((SELECT count(*) FROM vectors), 700::bigint, 'what is missing is written');

-- later: another user, and one whose events are gone
DELETE FROM events WHERE user_id = 5;
CALL dupn_run('stored', 'refresh', '{"target": "vectors", "as_of": "2024-03-02"}');
SELECT is((SELECT count(*) FROM vectors WHERE as_of = '2024-03-02'), 700::bigint, 'a later moment writes all');
SELECT is((SELECT array_agg(user_id) FROM vectors WHERE user_id IN (5, 804)), '{804}', 'comes and goes');
CALL dupn_run('stored', 'refresh', '{"target": "vectors", "as_of": "2024-02-01"}');
SELECT is((SELECT count(*) FROM vectors WHERE as_of = '2024-03-02'), 700::bigint, 'an earlier moment does not replace a later one');

-- another version
CALL dupn_run('stored', 'train', '{"seed": 2}');
CALL dupn_run('stored', 'refresh', '{"target": "vectors", "keep_old": true}');
SELECT results_eq('SELECT version, count(*) FROM vectors GROUP BY 1 ORDER BY 1', 'VALUES (1, 700::bigint), (2, 700)', 'versions stand side by side if asked for');
CALL dupn_run('stored', 'refresh', '{"target": "vectors"}');
SELECT results_eq('SELECT version, count(*) FROM vectors GROUP BY 1 ORDER BY 1', 'VALUES (2, 700::bigint)', 'or the old one goes when the new one is complete');
SELECT is((SELECT count(DISTINCT as_of) FROM vectors), 1::bigint, 'of one moment');
SELECT cmp_ok((SELECT max(as_of) FROM vectors), '<', now(), 'which was the present');

-- other tables: arrays, a domain, partitions
DROP TABLE lacking;
CREATE DOMAIN member AS int;
CREATE TABLE arrays (user_id member, version int, vector real[], as_of timestamptz, more text DEFAULT 'x', PRIMARY KEY (user_id, version)) PARTITION BY HASH (user_id);
CREATE TABLE arrays_0 PARTITION OF arrays FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE arrays_1 PARTITION OF arrays FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO arrays VALUES (1, 1, '{1}', NULL), (2, 2, '{1}', NULL), (9999, 2, '{1}', NULL);
CALL dupn_run('stored', 'refresh', '{"target": "arrays", "as_of": "2024-02-01"}');
SELECT is((SELECT count(*) FROM arrays WHERE version = 2 AND as_of = '2024-02-01' AND cardinality(vector) > 4), 699::bigint, 'an array, a domain and partitions');
SELECT is((SELECT count(*) FROM arrays), 699::bigint, 'rows without a moment are old');

-- a type that arrays are cast to, as pgvector's is
CREATE TYPE embedding AS (x real[]);
CREATE FUNCTION embedding(real[]) RETURNS embedding LANGUAGE sql IMMUTABLE AS 'SELECT ROW($1)::stored.embedding';
CREATE CAST (real[] AS embedding) WITH FUNCTION embedding(real[]) AS ASSIGNMENT;
CREATE TABLE embeddings (user_id int, version int, vector embedding, as_of timestamptz, PRIMARY KEY (user_id, version));
CALL dupn_run('stored', 'refresh', '{"target": "embeddings", "as_of": "2024-02-01"}');
SELECT is((SELECT count(*) FROM embeddings e JOIN arrays a USING (user_id) WHERE (e.vector).x = a.vector), 699::bigint, 'a type that arrays are cast to');

-- a table holds one model's vectors
SELECT dupn_create_model('other', events => 'events', user_column => 'user_id', time_column => 'occurred_at', item_columns => '{item_id}',
	options => '{"hidden": 8, "attention": [8, 4], "max_events": 5, "epochs": 1, "min_count": 1}') IS NOT NULL AS declared \gset
SELECT dupn_add_task('other', 'next', 'next_item') IS NOT NULL AS declared \gset
CALL dupn_run('other', 'train');
SELECT dupn_refresh('other', 'arrays') AS job \gset
SELECT is(dupn_wait(:job), 'failed', 'another model''s vectors');
SELECT matches((SELECT message FROM dupn_jobs WHERE job_id = :job), '^55000: table stored.arrays holds the vectors of model "stored"', 'are not mixed in');

-- users by name, and a table that lets rows of nobody in
CREATE TABLE visits AS SELECT 'u' || user_id AS who, item_id, occurred_at FROM events WHERE user_id < 50;
SELECT dupn_create_model('named', events => 'visits', user_column => 'who', time_column => 'occurred_at', item_columns => '{item_id}',
	options => '{"hidden": 8, "attention": [8, 4], "max_events": 5, "epochs": 1, "min_count": 1}') IS NOT NULL AS declared \gset
SELECT dupn_add_task('named', 'next', 'next_item') IS NOT NULL AS declared \gset
CALL dupn_run('named', 'train');
CREATE TABLE named (who text, version int, vector dupn_vector, as_of timestamptz, UNIQUE (who, version));
INSERT INTO named VALUES (NULL, 1, NULL, NULL), ('gone', 1, NULL, NULL);
CALL dupn_run('named', 'refresh', '{"target": "named"}');
SELECT set_eq('SELECT who FROM named WHERE vector IS NOT NULL', 'SELECT DISTINCT who FROM visits', 'users by name');
SELECT results_eq('SELECT who, version FROM named WHERE vector IS NULL', 'VALUES (NULL::text, 1)', 'rows of nobody are nobody''s to remove');

SELECT * FROM finish();
