-- Items without embeddings of their own, and vectors that a user already has.
CREATE SCHEMA embeddings;
SET search_path = embeddings, public;
SET timezone = 'UTC';
SET client_min_messages = warning;
CREATE TABLE events (user_id int, occurred_at timestamptz, item_id int, kind int, action text, price real);
INSERT INTO events
SELECT u, '2024-01-01'::timestamptz + e * interval '7 hours' + u * interval '1 minute', (u + e) % 20, (u + e) % 20 / 4,
	(ARRAY['view', 'view', 'buy'])[1 + e % 3], e
  FROM generate_series(1, 60) u, generate_series(1, 12) e;
CREATE TABLE vectors (id bigint, v real[], d float8[], n numeric[], word text);
INSERT INTO vectors SELECT i, v, v, v, CASE i WHEN 1 THEN 'buy' END FROM generate_series(0, 24) i, LATERAL (SELECT ARRAY[i / 10.0, -i / 10.0, .1, .05]::real[] AS v) v
 WHERE i NOT BETWEEN 15 AND 19;
SELECT dupn_create_model('v', 'embeddings.events', 'user_id', 'occurred_at', '{item_id,kind}', '{action}',
	options => '{"hidden": 8, "attention": [8, 4], "max_events": 8, "epochs": 2, "batch_size": 64, "learning_rate": 0.01, "decay": 1, "l2": 0.01, "item_encoding": "concat"}');
SELECT dupn_add_task('v', 'next', 'next_item');

-- frozen, by one process and by two; a start only; by numeric, with a column of another group; added up
CREATE TABLE variants (version int PRIMARY KEY, options jsonb);
INSERT INTO variants SELECT row_number() OVER (), o::jsonb FROM unnest(ARRAY[
	'{"embeddings": {"item_id": {"table": "embeddings.vectors", "key": "id", "column": "v", "frozen": true}}}',
	'{"embeddings": {"item_id": {"table": "embeddings.vectors", "key": "id", "column": "d", "frozen": true}}, "workers": 2}',
	'{"embeddings": {"item_id": {"table": "embeddings.vectors", "key": "id", "column": "v"}}}',
	'{"embeddings": {"item_id": {"table": "embeddings.vectors", "key": "id", "column": "n", "frozen": true}, "action": {"table": "embeddings.vectors", "key": "word", "column": "v", "frozen": true}}}',
	'{"embeddings": {"kind": {"table": "embeddings.vectors", "key": "id", "column": "v", "frozen": true}}, "item_encoding": "sum", "item_dim": 4}',
	'{"item_id": false}']) o;
\set ECHO none
SELECT format('CALL dupn_run(%L, %L, %L)', 'v', 'train', '{"publish": false}'::jsonb || options) FROM variants ORDER BY version \gexec
\set ECHO all
SELECT version, note FROM dupn_jobs JOIN variants USING (version), unnest(notes) note WHERE model = 'v' AND note LIKE '%vectors%' ORDER BY version, note;

-- an item's vector begins with its embedding
CREATE TYPE item AS (item_id int, kind int);
CREATE FUNCTION parts(wanted int) RETURNS TABLE (id int, part real[], given real[]) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM dupn_publish('v', wanted);
	RETURN QUERY SELECT i, (dupn_item_vector(ROW(i, i / 4)::embeddings.item, 'v'))[1:4], v.v FROM generate_series(0, 19) i LEFT JOIN embeddings.vectors v ON v.id = i;
END $$;
CREATE FUNCTION apart(a real[], b real[]) RETURNS float8 LANGUAGE sql AS $$SELECT max(abs(x - y)) FROM unnest(a, b) t (x, y)$$;
SELECT version, count(*) FILTER (WHERE part = given) AS stayed, count(*) FILTER (WHERE part <> given) AS moved, corr(part[1], given[1]) > 0.9 AS started,
	count(*) FILTER (WHERE given IS NULL AND apart(part, ARRAY[0, 0, 0, 0]) > 0) AS others
  FROM variants, parts(version) WHERE version < 5 GROUP BY version ORDER BY version;
-- what no key tells apart: items of one kind are one to the network
SELECT count(DISTINCT part) FROM parts(6);
SELECT "group", feature, vocabulary, width FROM dupn_features WHERE model = 'v' AND "group" = 'item';
SELECT count(*) FROM dupn_recommend(5, 20, model => 'v');

-- refused
CREATE FUNCTION refused(options text) RETURNS TABLE (message text, hint text) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM dupn_alter_model('v', options::jsonb);
	RETURN QUERY SELECT 'accepted', NULL;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
	RETURN NEXT;
END $$;
\pset format unaligned
\pset fieldsep '\n    '
\pset tuples_only on
SELECT o, r.* FROM unnest(ARRAY[
	'{"item_id": 0}', '{"item_id": false, "id_dropout": 0.1}', '{"item_id": false, "widths": {"item_id": 8}}',
	'{"item_id": false, "embeddings": {"item_id": {"table": "embeddings.vectors", "key": "id", "column": "v"}}}',
	'{"embeddings": {"item_id": "vectors"}}', '{"embeddings": {"item_id": {"table": "embeddings.vectors"}}}',
	'{"embeddings": {"item_id": {"table": "embeddings.vectors", "key": "id", "column": 5}}}',
	'{"embeddings": {"item_id": {"table": "embeddings.vectors", "key": "id", "column": "v", "frozen": "yes"}}}',
	'{"embeddings": {"item_id": {"table": "embeddings.vectors", "key": "id", "column": "v", "width": 4}}}',
	'{"embeddings": {"item_id": {"table": "vectors", "key": "id", "column": "v"}}}',
	'{"embeddings": {"item_id": {"table": "embeddings.vector", "key": "id", "column": "v"}}}',
	'{"embeddings": {"item_id": {"table": "embeddings.vectors", "key": "ids", "column": "v"}}}',
	'{"embeddings": {"item_id": {"table": "embeddings.vectors", "key": "id", "column": "w"}}}',
	'{"embeddings": {"item_id": {"table": "embeddings.vectors", "key": "word", "column": "v"}}}',
	'{"embeddings": {"item_id": {"table": "embeddings.vectors", "key": "id", "column": "word"}}}',
	'{"embeddings": {"gap": {"table": "embeddings.vectors", "key": "id", "column": "v"}}}',
	'{"embeddings": {"item_id": {"table": "embeddings.vectors", "key": "id", "column": "v"}}, "encodings": {"item_id": {"hash": 100}}}',
	'{"embeddings": {"item_id": {"table": "embeddings.vectors", "key": "id", "column": "v"}}, "widths": {"item_id": 4}}'
	]) WITH ORDINALITY t (o, n), refused(o) r ORDER BY n;
SELECT dupn_create_model('k', 'embeddings.events', 'user_id', 'occurred_at', '{item_id}', options => '{"item_id": false}');
\pset format aligned
\pset tuples_only off
-- what it will take is told with the width of the vectors
SELECT quantity, value FROM dupn_estimate('v') WHERE quantity = 'parameters';
SELECT dupn_alter_model('v', '{"embeddings": {"item_id": {"table": "embeddings.vectors", "key": "id", "column": "d"}}}');
SELECT quantity, value FROM dupn_estimate('v') WHERE quantity = 'parameters';
-- vectors that are none: the relation and the key are named, the version before stays
CREATE FUNCTION why() RETURNS text LANGUAGE sql AS $$SELECT regexp_replace(message, '^job [0-9]+', 'job') FROM dupn_jobs WHERE model = 'v' ORDER BY job_id DESC LIMIT 1$$;
SELECT dupn_alter_model('v', '{"embeddings": {"item_id": {"table": "embeddings.vectors", "key": "id", "column": "v"}}}');
\set VERBOSITY sqlstate
UPDATE vectors SET v = '{1,2,3}' WHERE id = 7;
CALL dupn_run('v');
SELECT why();
UPDATE vectors SET v = '{1,2,NaN,3}' WHERE id = 7;
CALL dupn_run('v');
SELECT why();
UPDATE vectors SET v = '{{1,2,3,4}}' WHERE id = 7;
CALL dupn_run('v');
SELECT why();
UPDATE vectors SET v = '{1,2,3,4}' WHERE id = 7;
CALL dupn_run('v', 'train', '{"item_encoding": "sum"}');
SELECT why();
UPDATE vectors SET v = NULL;
CALL dupn_run('v');
SELECT why() LIKE 'version % published%' AS trained, notes[1] FROM dupn_jobs WHERE model = 'v' ORDER BY job_id DESC LIMIT 1;
SELECT dupn_drop_model('v');
