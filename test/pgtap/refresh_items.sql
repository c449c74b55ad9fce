-- Stored vectors of all items: which there are, what they say, and that they
-- follow a version.
SET client_min_messages = warning;
SET timezone = 'UTC';
SELECT plan(35);

CREATE SCHEMA shelf;
SET search_path = shelf, public;

CREATE TABLE products AS SELECT i AS id, i % 5 AS category_id, ARRAY['t' || i % 3, 't' || i % 7] AS tags FROM generate_series(1, 3000) i;
ALTER TABLE products ADD PRIMARY KEY (id);
CREATE TABLE events (user_id int, item_id bigint, occurred_at timestamptz);
INSERT INTO events SELECT u, 1 + (u * 7 + e * e) % 40, '2024-01-01'::timestamptz + e * interval '5 hours' + u * interval '1 minute'
	FROM generate_series(1, 100) u, generate_series(1, 5) e;
CREATE INDEX ON events (user_id, occurred_at);
SELECT dupn_create_model('shelf', events => 'events', user_column => 'user_id', time_column => 'occurred_at', item_columns => '{item_id,category_id,tags}',
	catalog => 'products', catalog_key => 'id',
	options => '{"hidden": 8, "attention": [8, 4], "max_events": 5, "epochs": 1, "publish": "always", "min_count": 1}') IS NOT NULL AS declared \gset
SELECT dupn_add_task('shelf', 'category', 'multiclass', label => 'category_id') IS NOT NULL AS declared \gset
CALL dupn_run('shelf', 'train');

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
CREATE FUNCTION last_message() RETURNS text LANGUAGE sql AS 'SELECT message FROM dupn_jobs ORDER BY job_id DESC LIMIT 1';

-- ---- what is refused ----

SELECT is(hint($$SELECT dupn_refresh('shelf', 'shelf.vectors', '{"what": "items"}')$$),
	'CREATE TABLE shelf.vectors (item_id integer, version int, vector real[] NOT NULL, as_of timestamptz NOT NULL, PRIMARY KEY (item_id, version));',
	'a table that is not there is hinted at as the statement that makes it');
SELECT hint($$SELECT dupn_refresh('shelf', 'shelf.vectors', '{"what": "items"}')$$) AS statement \gset
:statement
SELECT is(message($$SELECT dupn_refresh('shelf', 'vectors', '{"what": "items"}')$$),
	'42704 version 1 of model "shelf" has no task of kind "next_item"', 'a version that recommends nothing');
SELECT dupn_add_task('shelf', 'next', 'next_item') IS NOT NULL AS declared \gset
CALL dupn_run('shelf', 'train');
SELECT is(message($$SELECT dupn_refresh('shelf', 'vectors', '{"what": "items", "as_of": "2024-01-01"}')$$), '22023 option "as_of" does not apply to items', 'a moment');
SELECT is(message($$SELECT dupn_refresh('shelf', 'vectors', '{"what": "items", "changed": true, "lateness": "1 hour"}')$$), '22023 option "lateness" does not apply to items', 'lateness');
SELECT is(message($$SELECT dupn_refresh('shelf', 'vectors')$$), '42703 table shelf.vectors has no column "user_id"', 'a table of items for users');
CREATE TABLE wrong (item_id bigint, version int, vector dupn_vector, as_of timestamptz, PRIMARY KEY (item_id, version));
SELECT is(message($$SELECT dupn_refresh('shelf', 'wrong', '{"what": "items"}')$$), '42804 column "item_id" of table shelf.wrong has type bigint, not integer', 'items of another type than the catalog''s');
ALTER TABLE wrong ALTER item_id TYPE int;
SELECT is(message($$SELECT dupn_refresh('shelf', 'wrong', '{"what": "items"}')$$),
	'42804 column "vector" of table shelf.wrong has type dupn_vector, not real[] or a type that real[] is cast to', 'vectors of users');
ALTER TABLE wrong DROP vector;
SELECT is(hint($$SELECT dupn_refresh('shelf', 'wrong', '{"what": "items"}')$$), 'ALTER TABLE shelf.wrong ADD COLUMN vector real[];', 'no vector');

-- ---- what is written ----

CREATE VIEW vectors_now AS SELECT * FROM vectors WHERE version = (SELECT dupn_refreshed_version('vectors'));
CALL dupn_run('shelf', 'refresh', '{"target": "vectors", "what": "items"}');
SELECT is((SELECT count(*) FROM vectors), 3000::bigint, 'all items of the catalog');
SELECT is((SELECT count(*) FROM vectors_now), 3000::bigint, 'are seen');
SELECT matches(last_message(), '^version 2 as of .* is complete in shelf.vectors: 3000 rows written, \d+ a second, 0 removed$', 'the job says so');
SELECT is((SELECT count(*) FROM vectors v JOIN products p ON p.id = v.item_id WHERE v.vector <> dupn_item_vector(p, 'shelf')), 0::bigint, 'what dupn_item_vector returns');
-- nothing in the history of a user without events: what is recommended is the inner product alone
SELECT is((SELECT array_agg(item::int ORDER BY score DESC, item::int) FROM dupn_recommend(777, k => 20, model => 'shelf')),
	(SELECT array_agg(item_id) FROM (SELECT item_id FROM vectors_now, (SELECT dupn_retrieval_vector(dupn_user_vector(777, 'shelf')) AS q OFFSET 0) u,
		LATERAL (SELECT sum(a * b) AS score FROM unnest(u.q, vector) x(a, b)) s
		WHERE item_id IN (SELECT item::int FROM dupn_recommend(777, k => 20, model => 'shelf')) ORDER BY score DESC, item_id) x),
	'whose inner products are the order of dupn_recommend');

-- ---- only new ones ----

CREATE TABLE before AS SELECT item_id, xmin::text AS written FROM vectors;
CREATE FUNCTION written() RETURNS int[] LANGUAGE sql AS
	'SELECT array_agg(v.item_id ORDER BY v.item_id) FROM shelf.vectors v LEFT JOIN shelf.before b ON b.item_id = v.item_id AND b.written = v.xmin::text WHERE b.item_id IS NULL';
INSERT INTO products VALUES (5000, 3, '{t1,t2}'), (5001, NULL, NULL);
DELETE FROM products WHERE id = 50;
UPDATE products SET category_id = 4 WHERE id = 60;
CALL dupn_run('shelf', 'refresh', '{"target": "vectors", "what": "items", "changed": true}');
SELECT is(written(), '{5000,5001}'::int[], 'new items are written');
SELECT is((SELECT count(*) FROM vectors WHERE item_id = 50), 1::bigint, 'those that are gone stay');
SELECT matches(last_message(), ': 2 rows written, \d+ a second, 2999 left as they were, 0 removed$', 'the job says so');
SELECT is((SELECT vector FROM vectors WHERE item_id = 5000), (SELECT dupn_item_vector(p, 'shelf') FROM products p WHERE id = 5000), 'by what their rows say');
SELECT isnt((SELECT vector FROM vectors WHERE item_id = 5000), (SELECT vector FROM vectors WHERE item_id = 5001), 'which makes a difference');
UPDATE products SET category_id = 1 WHERE id = 5001;
CALL dupn_run('shelf', 'refresh', '{"target": "vectors", "what": "items", "changed": true, "max_age": 0.001}');
SELECT is((SELECT vector FROM vectors WHERE item_id = 5001), (SELECT dupn_item_vector(p, 'shelf') FROM products p WHERE id = 5001), 'by today''s row when beyond an age');

CALL dupn_run('shelf', 'refresh', '{"target": "vectors", "what": "items"}');
SELECT is((SELECT count(*) FROM vectors), 3001::bigint, 'all anew: those that are gone go');
SELECT is((SELECT count(*) FROM vectors WHERE item_id = 50), 0::bigint, 'this one');
UPDATE products SET category_id = 60 % 5 WHERE id = 60;
SELECT is((SELECT vector FROM vectors WHERE item_id = 60), (SELECT dupn_item_vector(p, 'shelf') FROM products p WHERE id = 60), 'an item that the version knows is what it was then');

-- ---- another version ----

CALL dupn_run('shelf', 'train', '{"seed": 2}');
SELECT is(dupn_refreshed_version('vectors'), 2, 'the table has its version until it has the new one');
SELECT is(cardinality(dupn_retrieval_vector(dupn_user_vector(7, 'shelf', version => dupn_refreshed_version('vectors')))),
	(SELECT cardinality(vector) FROM vectors_now LIMIT 1), 'and can be asked with it');
CALL dupn_run('shelf', 'refresh', '{"target": "vectors", "what": "items", "changed": true}');
SELECT results_eq('SELECT version, count(*) FROM vectors GROUP BY 1', 'VALUES (3, 3001::bigint)', 'it follows');
SELECT matches(last_message(), ': 3001 rows written, \d+ a second, 0 left as they were, 3001 removed$', 'the job says so');

-- ---- another column, type and catalog ----

CREATE TYPE embedding AS (x real[]);
CREATE FUNCTION embedding(real[]) RETURNS embedding LANGUAGE sql IMMUTABLE AS 'SELECT ROW($1)::shelf.embedding';
CREATE CAST (real[] AS embedding) WITH FUNCTION embedding(real[]) AS ASSIGNMENT;
CREATE TABLE embeddings (id int REFERENCES products, version int, vector embedding, as_of timestamptz, more text, PRIMARY KEY (id, version));
CALL dupn_run('shelf', 'refresh', '{"target": "embeddings", "what": "items", "workers": 1}');
SELECT is((SELECT count(*) FROM embeddings e JOIN vectors v ON v.item_id = e.id WHERE (e.vector).x = v.vector), 3001::bigint, 'by the catalog''s name, and a type that arrays are cast to');

-- a view is read for every item, as it is today
CREATE VIEW on_sale AS SELECT id, category_id, tags FROM products WHERE id < 100 UNION ALL SELECT 7, 1, NULL;
UPDATE products SET category_id = 4 WHERE id = 60;
SELECT dupn_create_model('view', events => 'events', user_column => 'user_id', time_column => 'occurred_at', item_columns => '{item_id,category_id}',
	catalog => 'on_sale', catalog_key => 'id',
	options => '{"hidden": 8, "attention": [8, 4], "max_events": 5, "epochs": 1, "publish": "always", "min_count": 1}') IS NOT NULL AS declared \gset
SELECT dupn_add_task('view', 'next', 'next_item') IS NOT NULL AS declared \gset
CALL dupn_run('view', 'train');
UPDATE products SET category_id = 3 WHERE id = 60;
CREATE TABLE of_view (LIKE vectors INCLUDING ALL);
CALL dupn_run('view', 'refresh', '{"target": "of_view", "what": "items"}');
SELECT is((SELECT count(*) FROM of_view), 98::bigint, 'each item of a view once');
SELECT is((SELECT vector FROM of_view WHERE item_id = 60), (SELECT dupn_item_vector(p, 'view') FROM on_sale p WHERE id = 60), 'as it is today');

-- without a catalog: the items that the version knows, by name
CREATE TABLE visits AS SELECT user_id, 'item ' || item_id AS page, occurred_at FROM events;
SELECT dupn_create_model('visits', events => 'visits', user_column => 'user_id', time_column => 'occurred_at', item_columns => '{page}',
	options => '{"hidden": 8, "attention": [8, 4], "max_events": 5, "epochs": 1, "publish": "always", "min_count": 1}') IS NOT NULL AS declared \gset
SELECT dupn_add_task('visits', 'next', 'next_item') IS NOT NULL AS declared \gset
CALL dupn_run('visits', 'train');
CREATE TABLE pages (page text, version int, vector real[], as_of timestamptz, PRIMARY KEY (page, version));
CALL dupn_run('visits', 'refresh', '{"target": "pages", "what": "items"}');
SELECT set_eq('SELECT page FROM pages', 'SELECT DISTINCT page FROM visits', 'the items of events');
SELECT is((SELECT count(*) FROM pages p WHERE vector <> dupn_item_vector(p, 'visits')), 0::bigint, 'with their vectors');
INSERT INTO visits SELECT i, 'page ' || i, '2024-06-01'::timestamptz + i * interval '1 minute' FROM generate_series(1, 2500) i;
CALL dupn_run('visits', 'refresh', '{"target": "pages", "what": "items", "changed": true}');
SELECT matches(last_message(), ': 0 rows written, \d+ a second, 40 left as they were, 0 removed$', 'items of later events wait for a version');
CALL dupn_run('visits', 'train');
CALL dupn_run('visits', 'refresh', '{"target": "pages", "what": "items", "changed": true}');
SELECT results_eq('SELECT version, count(*) FROM pages GROUP BY 1', 'VALUES (2, 2540::bigint)', 'and come with it');

-- a table holds one model's vectors
SELECT dupn_refresh('view', 'vectors', '{"what": "items"}') AS job \gset
SELECT is(dupn_wait(:job), 'failed', 'another model''s items');
SELECT is((SELECT count(*) FROM vectors), 3001::bigint, 'are not mixed in');

SELECT * FROM finish();
