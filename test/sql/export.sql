-- Versions as files: out, in again, into another model, in another order, with
-- other weights, in pieces, and bytes that nobody should trust.
CREATE SCHEMA export;
SET search_path = export, public;
SET timezone = 'UTC';
SET client_min_messages = warning;

CREATE TYPE deed AS ENUM ('view', 'buy');
CREATE TABLE items (id int PRIMARY KEY, ring int, tags text[]);
INSERT INTO items SELECT i, i / 5, ARRAY['t' || i % 3, 't' || i % 7] FROM generate_series(0, 24) i;
CREATE TABLE events (user_id int, occurred_at timestamptz, item_id int, action deed, price numeric);
INSERT INTO events
SELECT u, '2024-01-01'::timestamptz + e * interval '7 hours' + u * interval '1 minute', (u + e) % 20,
	(ARRAY['view', 'view', 'buy'])[1 + e % 3]::deed, 50 * (u % 2) + (u + e) % 4
  FROM generate_series(1, 20) u, generate_series(1, 25) e;
CREATE TABLE impressions (user_id int, occurred_at timestamptz, item_id int, clicked boolean, score real, stock real);
INSERT INTO impressions
SELECT u, '2024-01-02'::timestamptz + e * interval '13 hours', (u * 3 + e) % 20, (u + e) % 2 = 0, e % 5, e % 3 + 1
  FROM generate_series(1, 20) u, generate_series(1, 12) e;

CREATE FUNCTION declare(model text, events regclass, items regclass, impressions regclass, hidden int DEFAULT 16) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM dupn_create_model(model, events, 'user_id', 'occurred_at', '{item_id,ring,tags,price}', '{action}',
		catalog => items, catalog_key => 'id',
		options => '{"attention": [16, 8], "max_events": 10, "epochs": 2, "holdout": "2024-01-07"}' || jsonb_build_object('hidden', hidden));
	PERFORM dupn_add_task(model, 'next', 'next_item', options => '{"k": [1, 5]}');
	PERFORM dupn_add_task(model, 'dear', 'multiclass', label => 'price', options => '{"levels": 2, "within": "action"}');
	PERFORM dupn_add_task(model, 'action', 'multiclass', label => 'action');
	PERFORM dupn_add_task(model, 'click', 'binary', impressions, 'clicked', '{score}');
	PERFORM dupn_add_task(model, 'order', 'rank', impressions, 'clicked', '{score,-stock}');
END $$;
SELECT declare('shop', 'events', 'items', 'impressions');

-- What a safetensors file holds, and a file of what it shall hold.
CREATE FUNCTION header_length(file bytea) RETURNS int LANGUAGE sql AS
	'SELECT get_byte(file, 0) + (get_byte(file, 1) << 8) + (get_byte(file, 2) << 16)';
CREATE FUNCTION metadata(file bytea) RETURNS jsonb LANGUAGE sql AS
	$$SELECT convert_from(substr(file, 9, header_length(file)), 'UTF8')::jsonb->'__metadata__'$$;
CREATE TYPE tensor AS (name text, dtype text, shape jsonb, data bytea);
CREATE FUNCTION tensors(file bytea) RETURNS SETOF tensor LANGUAGE sql AS $$
	SELECT t.key, t.value->>'dtype', t.value->'shape', substr(file, 9 + header_length(file) + (t.value->'data_offsets'->>0)::int,
			(t.value->'data_offsets'->>1)::int - (t.value->'data_offsets'->>0)::int)
	  FROM jsonb_each(convert_from(substr(file, 9, header_length(file)), 'UTF8')::jsonb) t
	 WHERE t.key <> '__metadata__' ORDER BY (t.value->'data_offsets'->>0)::int, (t.value->'data_offsets'->>1)::int $$;
CREATE FUNCTION little_endian(n bigint) RETURNS bytea LANGUAGE sql AS
	$$SELECT string_agg(set_byte('\x00', 0, (n >> 8 * i & 255)::int), '' ORDER BY i) FROM generate_series(0, 7) i$$;
CREATE FUNCTION make_file(tensors tensor[], metadata jsonb) RETURNS bytea LANGUAGE sql AS $$
	WITH placed AS (
		SELECT t.*, sum(length(t.data)) OVER (ORDER BY n) AS ends FROM unnest(tensors) WITH ORDINALITY t (name, dtype, shape, data, n)
	), header AS (
		SELECT convert_to((jsonb_build_object('__metadata__', metadata) || coalesce(jsonb_object_agg(name,
			jsonb_build_object('dtype', dtype, 'shape', shape, 'data_offsets', jsonb_build_array(ends - length(data), ends))), '{}'))::text, 'UTF8') AS text,
			coalesce(string_agg(data, '' ORDER BY n), '') AS data
		  FROM placed
	)
	SELECT little_endian(length(text)) || text || data FROM header $$;

SELECT dupn_export('shop');
CALL dupn_run('shop');
CREATE TABLE file AS SELECT dupn_export('shop') AS data;
SELECT dtype, count(*) > 3 AS many FROM file, tensors(data) GROUP BY 1 ORDER BY 1;
SELECT shape FROM file, tensors(data) WHERE name = 'lstm.weight_hidden';

-- In again, in its own order and in that of names; it waits.
SELECT dupn_import('shop', data) FROM file;
SELECT dupn_import('shop', make_file((SELECT array_agg(t ORDER BY t.name) FROM tensors(data) t), metadata(data))) FROM file;
SELECT version, state, published, mode, parent, events, items, parameters > 1000 AS parameters, training_seconds, kernel, job_id
  FROM dupn_versions WHERE model = 'shop' AND version > 1 ORDER BY version;
SELECT dupn_export('shop', 2) = data AS same FROM file;
SELECT count(*) FROM (SELECT (tensors(data)).* FROM file EXCEPT SELECT (tensors(dupn_export('shop', 3))).*) t;

-- Another model over other tables says the same.
CREATE SCHEMA elsewhere;
CREATE TYPE elsewhere.act AS ENUM ('view', 'buy');
CREATE TABLE elsewhere.goods AS TABLE items;
CREATE TABLE elsewhere.log AS SELECT user_id, occurred_at, item_id, action::text::elsewhere.act AS action, price FROM events;
CREATE TABLE elsewhere.shown AS TABLE impressions;
SELECT declare('twin', 'elsewhere.log', 'elsewhere.goods', 'elsewhere.shown');
SELECT dupn_import('twin', data, '{"publish": true}') FROM file;
SELECT model, version, published FROM dupn_versions WHERE model = 'twin';
SELECT count(*), count(*) FILTER (WHERE a.v::real[] = b.v::real[]) AS vectors,
	count(*) FILTER (WHERE dupn_score('click', a.v, r) = dupn_score('click', b.v, r)) AS clicks,
	count(*) FILTER (WHERE dupn_score('order', a.v, r) = dupn_score('order', b.v, r)) AS orders,
	count(*) FILTER (WHERE (SELECT array_agg(c) FROM dupn_classify('dear', a.v) c) = (SELECT array_agg(c) FROM dupn_classify('dear', b.v) c)) AS classes,
	count(*) FILTER (WHERE (SELECT array_agg(i) FROM dupn_recommend(u, 5, model => 'shop') i)
		= (SELECT array_agg(i) FROM dupn_recommend(u, 5, model => 'twin') i)) AS items
  FROM generate_series(0, 20) u, impressions r, LATERAL (SELECT dupn_user_vector(u, 'shop', as_of => '2024-01-08') AS v OFFSET 0) a,
	LATERAL (SELECT dupn_user_vector(u, 'twin', as_of => '2024-01-08') AS v OFFSET 0) b WHERE r.user_id = 1;

-- It can be gone on from.
CALL dupn_run('twin', 'train', '{"mode": "head", "tasks": ["dear"], "epochs": 1}');
SELECT version, mode, parent FROM dupn_versions WHERE model = 'twin' ORDER BY version;

-- Other weights under the same names, as another program may have learned them.
CREATE FUNCTION changed(file bytea, tensor text, data bytea) RETURNS bytea LANGUAGE sql AS $$
	SELECT make_file((SELECT array_agg(CASE WHEN t.name = tensor THEN ROW(t.name, t.dtype, t.shape, changed.data)::tensor ELSE t END)
		FROM tensors(file) t), metadata(file)) $$;
SELECT dupn_import('shop', changed(data, 'task.click.output.bias', float4send(0) || ''), '{"publish": true}') FROM file;
SELECT (SELECT dupn_user_vector(3, 'shop', as_of => '2024-01-08', version => 1))::real[]
	= (SELECT dupn_user_vector(3, 'shop', as_of => '2024-01-08'))::real[] AS vectors,
	bool_or(dupn_score('click', dupn_user_vector(3, 'shop', as_of => '2024-01-08', version => 1), r)
		= dupn_score('click', dupn_user_vector(3, 'shop', as_of => '2024-01-08'), r)) AS scores FROM impressions r WHERE user_id = 1;
SELECT dupn_rollback('shop');

-- Bytes of strangers.
\set VERBOSITY terse
SELECT dupn_import('shop', NULL);
SELECT dupn_import('shop', '');
SELECT dupn_import('shop', 'nothing at all');
SELECT dupn_import('shop', data, '{"publish": 1}') FROM file;
SELECT dupn_import('shop', data, '{"serve": true}') FROM file;
\set VERBOSITY default
CREATE FUNCTION try(bytea) RETURNS text LANGUAGE plpgsql AS $$
DECLARE detail text;
BEGIN
	PERFORM dupn_import('shop', $1);
	RETURN 'imported';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
	RETURN SQLSTATE || ' ' || SQLERRM || ' | ' || detail;
END $$;
SELECT try(substr(data, 1, length(data) - 1)) FROM file;
SELECT try(substr(data, 1, 100)) FROM file;
SELECT try(data || '\x00') FROM file;
SELECT try(make_file((SELECT array_agg(t) FROM tensors(data) t), metadata(data) - 'config')) FROM file;
SELECT try(make_file((SELECT array_agg(t) FROM tensors(data) t), metadata(data) || '{"config": "{\"hidden\": -1}"}')) FROM file;
SELECT try(make_file((SELECT array_agg(t) FROM tensors(data) t), metadata(data) || '{"features": "{}"}')) FROM file;
SELECT try(make_file((SELECT array_agg(t) FROM tensors(data) t WHERE name <> 'lstm.bias'), metadata(data))) FROM file;
SELECT try(make_file((SELECT array_agg(t) FROM tensors(data) t WHERE name <> 'vocabulary.item.ring.ids'), metadata(data))) FROM file;
SELECT try(make_file(NULL, metadata(data))) FROM file;
SELECT try(changed(data, 'task.order.intercept', '\x0000c07f')) FROM file;
SELECT try(changed(data, 'task.click.scale', '\x0000807f')) FROM file;
SELECT try(changed(data, 'catalogue.ring', (SELECT set_byte(t.data, 3, 127) FROM tensors(data) t WHERE name = 'catalogue.ring'))) FROM file;
SELECT try(changed(data, 'catalogue.text_offsets', (SELECT set_byte(t.data, 11, 1) FROM tensors(data) t WHERE name = 'catalogue.text_offsets'))) FROM file;
SELECT try(changed(data, 'task.dear.bounds', (SELECT overlay(t.data PLACING '\x000000000000f87f' FROM 1) FROM tensors(data) t WHERE name = 'task.dear.bounds'))) FROM file;
SELECT try(make_file((SELECT array_agg(CASE WHEN name = 'lstm.bias' THEN ROW(name, dtype, '[1, 64]', t.data)::tensor ELSE t END) FROM tensors(data) t),
	metadata(data))) FROM file;
SELECT try(make_file((SELECT array_agg(CASE WHEN name = 'lstm.bias' THEN ROW(name, 'I32', shape, t.data)::tensor ELSE t END) FROM tensors(data) t),
	metadata(data))) FROM file;
SELECT count(*) FROM dupn_versions WHERE model = 'shop';

-- In pieces, of which there may be many.
SELECT count(*) = max(pieces) AS all, min(piece), min(pieces) = max(pieces) AS same, string_agg(p.data, '' ORDER BY piece) = f.data AS file,
	max(length(p.data)) = 5000 AS full, min(length(p.data)) = length(f.data) % 5000 AS rest
  FROM dupn_export_pieces('shop', 1, 5000) p, file f GROUP BY f.data;
SELECT pieces, data = dupn_export('shop') AS file FROM dupn_export_pieces('shop');
SELECT (dupn_export_pieces('shop', piece_bytes => 100000)).piece LIMIT 2;
CREATE TABLE pieces (data bytea, pieces int, piece smallint);
INSERT INTO pieces SELECT data, pieces, piece FROM dupn_export_pieces('shop', piece_bytes => 5000) ORDER BY -piece;
SELECT dupn_import_pieces('shop', 'pieces', '{"publish": true}') AS version \gset
SELECT published, dupn_export('shop') = data AS file FROM dupn_versions, file WHERE model = 'shop' AND version = :version;
SELECT dupn_rollback('shop');
CREATE VIEW "one ""piece""" AS SELECT 1::bigint AS piece, data FROM file;
SELECT dupn_import_pieces('shop', '"one ""piece"""') AS version \gset
SELECT dupn_export('shop', :version) = data AS file FROM file;

-- Weights changed elsewhere, in another order, in pieces.
CREATE FUNCTION negated(data bytea) RETURNS bytea LANGUAGE sql AS
	$$SELECT string_agg(set_byte(substr(data, 4 * i + 1, 4), 3, get_byte(data, 4 * i + 3) # 128), '' ORDER BY i) FROM generate_series(0, length(data) / 4 - 1) i$$;
CREATE TABLE other AS
	SELECT make_file((SELECT array_agg(CASE WHEN t.name = 'task.dear.output.weight' THEN ROW(t.name, t.dtype, t.shape, negated(t.data))::tensor ELSE t END
		ORDER BY t.name DESC) FROM tensors(data) t), metadata(data)) AS data FROM file;
CREATE VIEW other_pieces AS SELECT i AS piece, substr(data, 1 + (i - 1) * 7777, 7777) AS data FROM other, generate_series(1, (length(data) + 7776) / 7777) i;
SELECT dupn_import_pieces('shop', 'other_pieces') AS version \gset
SELECT (SELECT array_agg(class ORDER BY class) FROM dupn_classify('dear', dupn_user_vector(3, 'shop', version => 1)))
		= (SELECT array_agg(class ORDER BY class) FROM dupn_classify('dear', dupn_user_vector(3, 'shop', version => :version))) AS classes,
	(SELECT array_agg(probability ORDER BY class) FROM dupn_classify('dear', dupn_user_vector(3, 'shop', version => 1)))
		= (SELECT array_agg(probability ORDER BY class) FROM dupn_classify('dear', dupn_user_vector(3, 'shop', version => :version))) AS probabilities;
SELECT name FROM tensors(dupn_export('shop', :version)) a JOIN (SELECT t.* FROM file, tensors(data) t) b USING (name)
 WHERE (a.dtype, a.shape, a.data) IS DISTINCT FROM (b.dtype, b.shape, b.data);

-- Pieces of strangers change nothing.
SELECT count(*) AS versions FROM dupn_versions WHERE model = 'shop' \gset
\set VERBOSITY terse
SELECT * FROM dupn_export_pieces('shop', piece_bytes => 1023);
SELECT * FROM dupn_export_pieces('shop', piece_bytes => 268435457);
SELECT * FROM dupn_export_pieces('shop', piece_bytes => NULL);
SELECT * FROM dupn_export_pieces('shop', 0);
SELECT * FROM dupn_export_pieces('none');
SELECT dupn_import_pieces('shop', NULL);
SELECT dupn_import_pieces('shop', 'none');
SELECT dupn_import_pieces('shop', 1);
SELECT dupn_import_pieces('shop', 'pieces', '{"publish": 1}');
SELECT dupn_import_pieces('shop', 'pieces', '{"serve": true}');
CREATE TABLE bad (piece int, data bytea);
SELECT dupn_import_pieces('shop', 'bad');
INSERT INTO bad VALUES (1, '');
SELECT dupn_import_pieces('shop', 'bad');
\set VERBOSITY default
CREATE FUNCTION try_pieces(text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	detail text;
	hint text;
BEGIN
	DROP TABLE IF EXISTS bad;
	EXECUTE 'CREATE TABLE bad AS ' || $1;
	PERFORM dupn_import_pieces('shop', 'bad');
	RETURN 'imported';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN concat_ws(' | ', SQLSTATE || ' ' || SQLERRM, nullif(detail, ''), nullif(hint, ''));
END $$;
SELECT try_pieces('SELECT * FROM pieces WHERE piece <> 3');
SELECT try_pieces('SELECT * FROM pieces WHERE piece > 1');
SELECT try_pieces('SELECT * FROM pieces WHERE piece < 5');
SELECT try_pieces('SELECT piece - 1 AS piece, data FROM pieces');
SELECT try_pieces('SELECT CASE piece WHEN 1 THEN 2 WHEN 2 THEN 1 ELSE piece END AS piece, data FROM pieces');
SELECT try_pieces('TABLE pieces UNION ALL SELECT * FROM pieces WHERE piece = 2');
SELECT try_pieces('SELECT nullif(piece, 2) AS piece, data FROM pieces');
SELECT try_pieces('SELECT piece, nullif(data, (SELECT data FROM pieces WHERE piece = 2)) AS data FROM pieces');
SELECT try_pieces($$SELECT piece, data || CASE piece WHEN 2 THEN '\x00' ELSE '' END::bytea AS data FROM pieces$$);
SELECT try_pieces($$SELECT 1 AS piece, 'nothing at all'::bytea AS data$$);
SELECT try_pieces('SELECT piece AS part, data FROM pieces');
SELECT try_pieces('SELECT piece, data AS bytes FROM pieces');
SELECT try_pieces('SELECT piece::text AS piece, data FROM pieces');
SELECT try_pieces($$SELECT piece, encode(data, 'hex') AS data FROM pieces$$);
SELECT count(*) - :versions AS new FROM dupn_versions WHERE model = 'shop';
SELECT try_pieces('TABLE pieces');

-- A file of another model.
SELECT declare('wide', 'events', 'items', 'impressions', 32);
SELECT dupn_import('wide', data) FROM file;
SELECT dupn_drop_task('wide', 'order');
SELECT dupn_import('wide', data) FROM file;
SELECT dupn_create_model('poor', 'events', 'user_id', 'occurred_at', '{item_id}', '{action}');
SELECT dupn_add_task('poor', 'next', 'next_item');
SELECT dupn_import('poor', make_file((SELECT array_agg(t) FROM tensors(data) t), metadata(data))) FROM file;

-- Owners only.
CREATE ROLE dupn_export_reader;
GRANT USAGE ON SCHEMA export TO dupn_export_reader;
GRANT SELECT ON ALL TABLES IN SCHEMA export TO dupn_export_reader;
SET ROLE dupn_export_reader;
SELECT dupn_user_vector(3, 'shop') IS NOT NULL AS may_use;
SELECT dupn_export('shop');
SELECT dupn_import('shop', data) FROM file;
SELECT * FROM dupn_export_pieces('shop');
SELECT dupn_import_pieces('shop', 'pieces');
RESET ROLE;
DROP OWNED BY dupn_export_reader;
DROP ROLE dupn_export_reader;

SELECT dupn_drop_model(name) FROM (VALUES ('shop'), ('twin'), ('wide'), ('poor')) m (name);
DROP SCHEMA elsewhere CASCADE;
DROP SCHEMA export CASCADE;
