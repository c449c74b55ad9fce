-- Mistakes in questions, relations that changed, and stored weights that are not to be trusted.
CREATE SCHEMA mistakes;
SET search_path = mistakes, public;
SET timezone = 'UTC';
SET client_min_messages = warning;

CREATE TABLE events (user_id int, item_id int, action text, price numeric, occurred_at timestamptz);
INSERT INTO events SELECT u, 1 + (u * 3 + i * 7 + i * i) % 15, (ARRAY['view', 'buy'])[1 + i % 2], 1 + (i * u) % 30,
	'2024-01-01'::timestamptz + i * interval '5 hours' + u * interval '1 minute' FROM generate_series(1, 30) u, generate_series(1, 20) i;
CREATE INDEX ON events (user_id, occurred_at);
CREATE TABLE products (id int PRIMARY KEY, category int);
INSERT INTO products SELECT i, i % 4 FROM generate_series(1, 15) i;
CREATE TABLE impressions AS SELECT user_id, item_id, occurred_at, (item_id + user_id) % 3 = 0 AS clicked, item_id % 5 AS position FROM events;
SELECT dupn_create_model('wrong', events => 'events', user_column => 'user_id', time_column => 'occurred_at',
	item_columns => '{item_id,category}', behavior_columns => '{action}', catalog => 'products', catalog_key => 'id',
	options => '{"hidden": 8, "attention": [8, 4], "max_events": 10, "epochs": 1}');

-- not trained yet
SELECT dupn_user_vector(1, 'wrong');
\echo :SQLSTATE

SELECT dupn_add_task('wrong', 'click', 'binary', samples => 'impressions', label => 'clicked', options => '{"hidden": [8], "candidate_dim": 8}');
SELECT dupn_add_task('wrong', 'shown', 'binary', samples => 'impressions', label => 'clicked', features => '{position}', options => '{"hidden": [8], "candidate": []}');
SELECT dupn_add_task('wrong', 'level', 'multiclass', label => 'price', options => '{"levels": 3, "hidden": [8]}');
CALL dupn_run('wrong', 'train');
SET dupn.model = 'wrong';
CREATE TABLE vectors AS SELECT dupn_user_vector(1) AS v;

-- models and versions
SELECT dupn_user_vector(1, 'wrnog');
\echo :SQLSTATE
SELECT dupn_user_vector(1, version => 7);
\echo :SQLSTATE
SELECT dupn_user_vector(1, version => 0);
\echo :SQLSTATE

-- users
SELECT dupn_user_vector(3000000000);
\echo :SQLSTATE
SELECT dupn_user_vector('one');
\echo :SQLSTATE
SELECT dupn_user_vector(md5('1')::uuid);
\echo :SQLSTATE
SELECT * FROM dupn_recommend('one');
\echo :SQLSTATE
SELECT * FROM dupn_attention(md5('1')::uuid);
\echo :SQLSTATE

-- times and contexts
SELECT dupn_user_vector(1, as_of => 'infinity');
\echo :SQLSTATE
SELECT dupn_user_vector(1, as_of => '-infinity');
\echo :SQLSTATE
SELECT dupn_user_vector(1, context => '{"query": 7}');
\echo :SQLSTATE
SELECT dupn_user_vector(1, context => '[7]');
\echo :SQLSTATE

-- tasks
SELECT dupn_score('clik', v, 1) FROM vectors;
\echo :SQLSTATE
SELECT dupn_score('level', v, 1) FROM vectors;
\echo :SQLSTATE
SELECT dupn_score('click', v) FROM vectors;
\echo :SQLSTATE
SELECT dupn_score('shown', v) FROM vectors;
\echo :SQLSTATE
SELECT dupn_score('shown', v, 1) FROM vectors;
\echo :SQLSTATE
SELECT dupn_score('click', v, 'one') FROM vectors;
\echo :SQLSTATE
SELECT dupn_score('click', v, md5('1')::uuid) FROM vectors;
\echo :SQLSTATE
SELECT * FROM vectors, dupn_classify('click', v);
\echo :SQLSTATE
SELECT * FROM vectors, dupn_classify('none', v);
\echo :SQLSTATE
SELECT * FROM dupn_recommend(1);
\echo :SQLSTATE
SELECT * FROM dupn_recommend(1, 0);
\echo :SQLSTATE
SELECT * FROM dupn_recommend(1, 10001);
\echo :SQLSTATE
SELECT dupn_retrieval_vector(v) FROM vectors;
\echo :SQLSTATE
SELECT dupn_item_vector(p) FROM products p LIMIT 1;
\echo :SQLSTATE

-- rows
SELECT dupn_score('click', v, ROW(1, 2)) FROM vectors;
\echo :SQLSTATE
SELECT dupn_score('click', v, x) FROM vectors, (SELECT 'a'::text AS item_id) x;
\echo :SQLSTATE
SELECT dupn_score('shown', v, x) FROM vectors, (SELECT 1 AS item_id) x;
\echo :SQLSTATE
SELECT dupn_score('shown', v, x) FROM vectors, (SELECT 'a'::text AS position) x;
\echo :SQLSTATE
SELECT dupn_score('click', v, NULL::products) IS NULL AS null FROM vectors;
SELECT dupn_score('click', v, x) BETWEEN 0 AND 1 AS scored FROM vectors, (SELECT NULL::int AS item_id) x;
SELECT dupn_score('click', v, -5) BETWEEN 0 AND 1 AS scored FROM vectors;
SELECT dupn_score('shown', v, x) BETWEEN 0 AND 1 AS scored FROM vectors, (VALUES ('infinity'::float8), ('-infinity'), ('NaN'), (1e300), (NULL)) x(position);
SELECT dupn_embed(e) FROM events e;
\echo :SQLSTATE
SELECT dupn_embed(x) FROM (SELECT item_id, action, occurred_at FROM events) x;
\echo :SQLSTATE
SELECT dupn_embed(x) FROM (SELECT user_id, item_id, occurred_at FROM events) x;
\echo :SQLSTATE
SELECT dupn_embed(x) FROM (SELECT user_id, item_id, action, price AS occurred_at FROM events WHERE user_id = 1) x;
\echo :SQLSTATE
SELECT dupn_embed(e, 'wrong', NULL, occurred_at) FROM events e WHERE user_id = 1;
\echo :SQLSTATE
SELECT dupn_embed(e, 'wrong', NULL, 'infinity') FROM events e WHERE user_id = 1;
\echo :SQLSTATE
SELECT dupn_embed(ROW(1)) FROM events e;
\echo :SQLSTATE

-- stamps
\set VERBOSITY terse
SELECT dupn_score('click', replace(v::text, '@', '@9')::dupn_vector, 1) FROM vectors;
\echo :SQLSTATE
SELECT dupn_score('click', regexp_replace(v::text, '\.\d+/', '.9/')::dupn_vector, 1) FROM vectors;
\echo :SQLSTATE
SELECT dupn_score('click', regexp_replace(v::text, '/[0-9a-f]{16}/', '/0123456789abcdef/')::dupn_vector, 1) FROM vectors;
\echo :SQLSTATE
SELECT dupn_score('click', regexp_replace(v::text, '^\[[^,]*,', '[')::dupn_vector, 1) FROM vectors;
\echo :SQLSTATE
\set VERBOSITY default

-- relations that changed; each is told, and a return to the old form is enough
ALTER TABLE events RENAME COLUMN action TO deed;
SELECT dupn_user_vector(1);
\echo :SQLSTATE
ALTER TABLE events RENAME COLUMN deed TO action;
SELECT dupn_user_vector(1) IS NOT NULL AS again;
ALTER TABLE products RENAME COLUMN category TO kind;
SELECT dupn_user_vector(1);
\echo :SQLSTATE
ALTER TABLE products RENAME COLUMN kind TO category;
ALTER TABLE products RENAME TO goods;
SELECT dupn_user_vector(1);
\echo :SQLSTATE
ALTER TABLE goods RENAME TO products;
BEGIN;
ALTER TABLE events ALTER COLUMN action TYPE int USING length(action);
SAVEPOINT s;
SELECT dupn_user_vector(1);
\echo :SQLSTATE
ROLLBACK;
SELECT dupn_user_vector(1) IS NOT NULL AS again;

-- a view that asks for what it is read for
\set SHOW_CONTEXT never
BEGIN;
ALTER TABLE events RENAME TO real_events;
CREATE FUNCTION ask(int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RETURN mistakes.ask_again($1); END $$;
CREATE FUNCTION ask_again(int) RETURNS boolean LANGUAGE sql AS $$ SELECT dupn_user_vector(1) IS NOT NULL $$;
CREATE VIEW events AS SELECT * FROM real_events WHERE mistakes.ask(user_id);
SELECT dupn_user_vector(1);
\echo :SQLSTATE
ROLLBACK;

-- hostile weights.  The file that this server has is named by its content, so a
-- new fingerprint makes it read the rows.
CREATE FUNCTION checksum(data bytea) RETURNS int LANGUAGE plpgsql AS $$
DECLARE crc bigint := 4294967295;
	step bigint[];
BEGIN
	FOR i IN 0 .. 255 LOOP
		step[i] := i;
		FOR k IN 1 .. 8 LOOP
			step[i] := (step[i] >> 1) # (step[i] & 1) * 2197175160;	-- CRC-32C
		END LOOP;
	END LOOP;
	FOR i IN 0 .. length(data) - 1 LOOP
		crc := (crc >> 8) # step[(crc # get_byte(data, i)) & 255];
	END LOOP;
	RETURN (crc # 4294967295)::bit(32)::int;
END $$;
CREATE PROCEDURE corrupt(how text, VARIADIC arguments text[] DEFAULT '{}') LANGUAGE plpgsql AS $$
DECLARE id int := (SELECT model_id FROM _dupn.model WHERE name = 'wrong');
	old bytea := (SELECT string_agg(data, '' ORDER BY part) FROM _dupn.weight WHERE model_id = id AND version = 1);
	header text := convert_from(substr(old, 9, get_byte(old, 0) + 256 * get_byte(old, 1) + 65536 * get_byte(old, 2)), 'UTF8');
	body bytea := substr(old, 9 + length(convert_to(header, 'UTF8')));
	new bytea;
	name bigint;
	size int;
BEGIN
	CASE how
		WHEN 'replace' THEN
			IF position(arguments[1] IN header) = 0 THEN RAISE 'no % in the header', arguments[1]; END IF;
			header := replace(header, arguments[1], arguments[2]);
		WHEN 'fill' THEN
			body := overlay(body PLACING decode(repeat(arguments[2], length(body) / 8), 'hex') FROM 1);
		WHEN 'cut' THEN
			body := substr(body, 1, length(body) - arguments[1]::int);
		WHEN 'bytes' THEN
			header := NULL;
			new := decode(arguments[1], 'hex');
	END CASE;
	IF header IS NOT NULL THEN
		size := (length(header) + 8 + 63) / 64 * 64 - 8;
		header := rpad(header, size);
		new := set_byte(set_byte(set_byte('\x0000000000000000'::bytea, 0, size % 256), 1, size / 256 % 256), 2, size / 65536)
			|| convert_to(header, 'UTF8') || body;
	END IF;
	DELETE FROM _dupn.weight WHERE model_id = id AND version = 1;
	INSERT INTO _dupn.weight VALUES (id, 1, 0, new);
	name := ('x' || substr(encode(sha256(new), 'hex'), 1, 16))::bit(64)::bigint >> 1 & 9223372036854775807;
	UPDATE _dupn.version SET bytes = length(new), stored_bytes = length(new), parts = 1, fingerprint = name, checksum = mistakes.checksum(new || int8send(name))
	WHERE model_id = id AND version = 1;
END $$;

BEGIN; CALL corrupt('replace', '"format"', '"Format"'); SELECT dupn_user_vector(1) IS NOT NULL AS fine; ROLLBACK;
BEGIN; CALL corrupt('bytes', ''); SELECT dupn_user_vector(1);
\echo :SQLSTATE \\ ROLLBACK;
BEGIN; CALL corrupt('bytes', '00'); SELECT dupn_user_vector(1);
\echo :SQLSTATE \\ ROLLBACK;
BEGIN; CALL corrupt('bytes', '02000000000000007b7d'); SELECT dupn_user_vector(1);
\echo :SQLSTATE \\ ROLLBACK;
BEGIN; CALL corrupt('bytes', 'ffffffffffffffff7b7d'); SELECT dupn_user_vector(1);
\echo :SQLSTATE \\ ROLLBACK;
BEGIN; CALL corrupt('cut', '4'); SELECT dupn_user_vector(1);
\echo :SQLSTATE \\ ROLLBACK;
BEGIN; CALL corrupt('fill', '', '000000000000f07f'); SELECT dupn_user_vector(1);
\echo :SQLSTATE \\ ROLLBACK;
BEGIN; CALL corrupt('fill', '', 'ffffffffffffffff'); SELECT dupn_user_vector(1);
\echo :SQLSTATE \\ ROLLBACK;
BEGIN; CALL corrupt('fill', '', '0000807f0000807f'); SELECT dupn_user_vector(1);
\echo :SQLSTATE \\ ROLLBACK;
BEGIN; CALL corrupt('fill', '', '0102030405060708'); SELECT dupn_user_vector(1);
\echo :SQLSTATE \\ ROLLBACK;
BEGIN; CALL corrupt('replace', '"lstm.bias"', '"lstm.b"'); SELECT dupn_user_vector(1);
\echo :SQLSTATE \\ ROLLBACK;
BEGIN; CALL corrupt('replace', '"catalogue.keys"', '"catalogue.kex"'); SELECT dupn_user_vector(1);
\echo :SQLSTATE \\ ROLLBACK;
BEGIN; CALL corrupt('replace', 'vocabulary.item.item_id.ids"', 'vocabulary.item.item_id.idx"'); SELECT dupn_user_vector(1);
\echo :SQLSTATE \\ ROLLBACK;
BEGIN; CALL corrupt('replace', '\"item_id\", \"vocab\": ', '\"item_id\", \"vocab\": 9'); SELECT dupn_user_vector(1);
\echo :SQLSTATE \\ ROLLBACK;
BEGIN; CALL corrupt('replace', 'task.click.calibration"', 'task.clicq.calibration"'); SELECT dupn_user_vector(1) IS NOT NULL AS uncalibrated; ROLLBACK;
BEGIN; CALL corrupt('replace', 'task.click.calibration":{"dtype":"F32"', 'task.click.calibration":{"dtype":"I32"'); SELECT dupn_user_vector(1);
\echo :SQLSTATE \\ ROLLBACK;
BEGIN; CALL corrupt('replace', '"config"', '"konfig"'); SELECT dupn_user_vector(1);
\echo :SQLSTATE \\ ROLLBACK;
BEGIN; CALL corrupt('replace', '"features"', '"properties"'); SELECT dupn_user_vector(1);
\echo :SQLSTATE \\ ROLLBACK;
BEGIN; CALL corrupt('replace', '\"hidden\": 8, \"bi', '\"hidden\": 9, \"bi'); SELECT dupn_user_vector(1);
\echo :SQLSTATE \\ ROLLBACK;
BEGIN; CALL corrupt('replace', '\"hidden\": 8, \"bi', '\"hidden\": 1e9, \"bi'); SELECT dupn_user_vector(1);
\echo :SQLSTATE \\ ROLLBACK;
BEGIN; CALL corrupt('replace', '\"max_events\": 10', '\"max_events\": 1000000000000'); SELECT dupn_user_vector(1);
\echo :SQLSTATE \\ ROLLBACK;
BEGIN; CALL corrupt('replace', '\"max_events\": 10', '\"max_events\": '); SELECT dupn_user_vector(1);
\echo :SQLSTATE \\ ROLLBACK;
BEGIN; CALL corrupt('replace', '\"types\": ', '\"types\": 9'); SELECT dupn_user_vector(1);
\echo :SQLSTATE \\ ROLLBACK;
BEGIN; CALL corrupt('replace', '\"gap\": ', '\"gap\": 9'); SELECT dupn_user_vector(1);
\echo :SQLSTATE \\ ROLLBACK;
BEGIN; CALL corrupt('replace', '\"source\": \"events\"', '\"source\": \"window\"'); SELECT dupn_user_vector(1);
\echo :SQLSTATE \\ ROLLBACK;
BEGIN; CALL corrupt('replace', '\"timezone\": \"', '\"timezone\": \"Nowhere/'); SELECT dupn_user_vector(1);
\echo :SQLSTATE \\ ROLLBACK;
BEGIN; CALL corrupt('replace', '\"encoding\": \"id\"', '\"encoding\": \"bands\"'); SELECT dupn_user_vector(1);
\echo :SQLSTATE \\ ROLLBACK;
BEGIN; UPDATE _dupn.version SET fingerprint = fingerprint + 1; SELECT dupn_user_vector(1);
\echo :SQLSTATE \\ ROLLBACK;
BEGIN; UPDATE _dupn.version SET fingerprint = 5, parts = 2; SELECT dupn_user_vector(1);
\echo :SQLSTATE \\ ROLLBACK;
BEGIN; UPDATE _dupn.version SET fingerprint = 5, bytes = bytes + 1; SELECT dupn_user_vector(1);
\echo :SQLSTATE \\ ROLLBACK;
BEGIN; UPDATE _dupn.version SET fingerprint = 5, bytes = -1; SELECT dupn_user_vector(1);
\echo :SQLSTATE \\ ROLLBACK;
BEGIN; UPDATE _dupn.version SET fingerprint = NULL; SELECT dupn_user_vector(1);
\echo :SQLSTATE \\ ROLLBACK;
BEGIN; UPDATE _dupn.version SET state = 'building'; SELECT dupn_user_vector(1);
\echo :SQLSTATE \\ ROLLBACK;
BEGIN; CALL corrupt('cut', '4'); SELECT dupn_score('click', v, 1) FROM vectors;
\echo :SQLSTATE \\ ROLLBACK;
SELECT dupn_user_vector(1) IS NOT NULL AS unharmed;

-- no copy was left behind by those that failed
SELECT count(*) FROM pg_ls_tmpdir() WHERE name LIKE '%\_dupn\_new\_%';

-- a dropped model
\set VERBOSITY terse
SELECT dupn_drop_model('wrong');
SELECT dupn_score('click', v, 1) FROM vectors;
\echo :SQLSTATE
RESET dupn.model;

DROP SCHEMA mistakes CASCADE;
