-- With pgvector: what the README's recipes for similar users and for retrieval
-- over a large catalogue say, on tables that a refresh writes.  Skipped without it.
SET client_min_messages = warning;
SET timezone = 'UTC';
-- iterative scans came with 0.8
SELECT coalesce((SELECT string_to_array(default_version, '.')::int[] >= '{0,8}' FROM pg_available_extensions WHERE name = 'vector'), false) AS available \gset
\if :available
\else
\echo 1..0 # SKIP pgvector 0.8 or later is not installed: its types and indexes are not tested
\quit
\endif
CREATE EXTENSION vector;
SET hnsw.iterative_scan = relaxed_order;
SELECT plan(29);

CREATE SCHEMA near;
SET search_path = near, public;

CREATE TABLE products AS SELECT i AS id, i % 7 AS category_id FROM generate_series(1, 3000) i;
ALTER TABLE products ADD PRIMARY KEY (id);
CREATE TABLE events AS
SELECT u AS user_id, 1 + (u * 7 + e * e) % 2000 AS item_id, '2024-01-01'::timestamptz + e * interval '5 hours' + u * interval '1 minute' AS occurred_at
	FROM generate_series(1, 400) u, generate_series(1, 8) e;
CREATE INDEX ON events (user_id, occurred_at);
SELECT dupn_create_model('shop', events => 'events', user_column => 'user_id', time_column => 'occurred_at', item_columns => '{item_id,category_id}',
	catalog => 'products', catalog_key => 'id',
	options => '{"hidden": 8, "attention": [8, 4], "max_events": 8, "epochs": 1, "min_count": 1, "publish": "always"}') IS NOT NULL AS declared \gset
SELECT dupn_add_task('shop', 'next', 'next_item') IS NOT NULL AS declared \gset
CALL dupn_run('shop', 'train');
SELECT cardinality(dupn_user_vector(42)::real[]) AS user_size, cardinality(dupn_item_vector(p)) AS item_size FROM products p WHERE id = 42 \gset

CREATE FUNCTION last_message() RETURNS text LANGUAGE sql AS 'SELECT message FROM dupn_jobs ORDER BY job_id DESC LIMIT 1';
CREATE FUNCTION plan_of(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	line text;
	whole text = '';
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP
		whole = whole || line || E'\n';
	END LOOP;
	RETURN whole;
END $$;

SELECT is(dupn_user_vector(42)::real[]::vector::real[], dupn_user_vector(42)::real[], 'a vector there and back');
SELECT is(vector_dims(dupn_user_vector(42)::real[]::vector), :user_size, 'of the same size');

-- ---- users ----

CREATE TABLE user_vectors (user_id int, version int, vector vector(:user_size) NOT NULL, as_of timestamptz NOT NULL, PRIMARY KEY (user_id, version));
CREATE INDEX ON user_vectors USING hnsw (vector vector_cosine_ops);
CREATE VIEW user_vectors_now AS
	SELECT * FROM user_vectors WHERE version = (SELECT dupn_refreshed_version('user_vectors'));
CALL dupn_run('shop', 'refresh', '{"target": "user_vectors", "changed": true}');
SELECT is((SELECT count(*) FROM user_vectors_now), 400::bigint, 'users are written through the index');
SELECT is((SELECT count(*) FROM user_vectors_now WHERE vector <-> dupn_user_vector(user_id, as_of => as_of)::real[]::vector > 1e-5), 0::bigint, 'as dupn_user_vector says');
CALL dupn_run('shop', 'refresh', '{"target": "user_vectors", "changed": true}');
SELECT matches(last_message(), ': 0 rows written, \d+ a second, 400 left as they were, 0 removed$', 'and left where nothing has changed');
UPDATE user_vectors SET as_of = as_of - interval '1 day';
INSERT INTO events VALUES (42, 1500, now() - interval '1 minute');
CALL dupn_run('shop', 'refresh', '{"target": "user_vectors", "changed": true}');
SELECT matches(last_message(), ': 1 rows written, \d+ a second, 399 left as they were, 0 removed$', 'written over where something has');
SELECT cmp_ok((SELECT vector <-> dupn_user_vector(42, as_of => as_of)::real[]::vector FROM user_vectors_now WHERE user_id = 42), '<', 1e-5::float8, 'by what is true now');

SELECT is((SELECT array_agg(user_id) FROM (SELECT b.user_id FROM user_vectors_now a, user_vectors_now b
		WHERE a.user_id = 42 ORDER BY a.vector::real[]::vector <=> b.vector::real[]::vector LIMIT 10) x),
	(SELECT array_agg(user_id) FROM (SELECT b.user_id FROM user_vectors_now a, user_vectors_now b WHERE a.user_id = 42 ORDER BY
			1 - (SELECT sum(x::float8 * y) / sqrt(sum(x::float8 * x) * sum(y::float8 * y)) FROM unnest(a.vector::real[], b.vector::real[]) c(x, y)) LIMIT 10) x),
	'similar users are those of the smallest angle');
ANALYZE user_vectors;
CREATE VIEW similar_users AS
SELECT user_id FROM user_vectors_now ORDER BY vector <=> (SELECT vector FROM user_vectors_now WHERE user_id = 42) LIMIT 10;
SET enable_sort = off;	-- so few users are sorted as quickly
SELECT matches(plan_of('SELECT * FROM similar_users'), 'Index Scan using user_vectors_vector_idx', 'an index can find them');
SELECT is((SELECT count(*) FROM similar_users), 10::bigint, 'all of them');
SELECT is((SELECT user_id FROM user_vectors ORDER BY vector <=> (SELECT dupn_user_vector(42)::real[]::vector) LIMIT 1), 42, 'it can be asked with a vector of this moment');
RESET enable_sort;

-- a table of dupn's own type can be indexed as well
CREATE TABLE own (user_id int, version int, vector dupn_vector NOT NULL, as_of timestamptz NOT NULL, PRIMARY KEY (user_id, version));
CALL dupn_run('shop', 'refresh', '{"target": "own"}');
SELECT is((SELECT array_agg(user_id) FROM (SELECT b.user_id FROM own a, own b
		WHERE a.user_id = 42 ORDER BY a.vector::real[]::vector <=> b.vector::real[]::vector LIMIT 10) x),
	(SELECT array_agg(user_id) FROM (SELECT b.user_id FROM user_vectors_now a, user_vectors_now b
		WHERE a.user_id = 42 ORDER BY a.vector <=> b.vector LIMIT 10) x), 'similar users of a table of the own type');

-- ---- items ----

CREATE TABLE item_vectors (item_id int, version int, vector vector(:item_size) NOT NULL, as_of timestamptz NOT NULL,
                           PRIMARY KEY (item_id, version));
CREATE VIEW item_vectors_now AS
    SELECT * FROM item_vectors WHERE version = (SELECT dupn_refreshed_version('item_vectors'));
CALL dupn_run('shop', 'refresh', '{"target": "item_vectors", "what": "items", "changed": true}');
CREATE INDEX ON item_vectors USING hnsw (vector vector_ip_ops);
ANALYZE item_vectors;
CREATE VIEW recipe AS
SELECT item_id FROM item_vectors_now
 ORDER BY vector <#> (SELECT dupn_retrieval_vector(dupn_user_vector(42, version => dupn_refreshed_version('item_vectors')))::vector)
 LIMIT 100;

SELECT is((SELECT count(*) FROM item_vectors_now), 3000::bigint, 'all items of the catalogue');
SELECT is((SELECT count(*) FROM item_vectors_now v JOIN products p ON p.id = v.item_id WHERE v.vector::real[] <> dupn_item_vector(p)), 0::bigint, 'as dupn_item_vector says');
-- how many of the nearest hundred the index finds, whatever the table's other versions
CREATE FUNCTION found() RETURNS bigint LANGUAGE sql AS 'SELECT count(DISTINCT item_id) FROM near.recipe';
CREATE FUNCTION right_ones() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	by_index int[] = ARRAY(SELECT item_id FROM near.recipe);
	by_hand int[];
BEGIN
	SET LOCAL enable_indexscan = off;
	by_hand = ARRAY(SELECT item_id FROM near.recipe);
	SET LOCAL enable_indexscan = on;
	RETURN (SELECT count(*) FROM unnest(by_index) i WHERE i = ANY(by_hand));
END $$;
SELECT matches(plan_of('SELECT * FROM recipe'), 'Index Scan using item_vectors_vector_idx', 'the recipe uses the index');
SELECT is(found(), 100::bigint, 'and finds a hundred');
SELECT cmp_ok(right_ones(), '>=', 80::bigint, 'of which most are the nearest');
-- nothing in the history of a user without events: what is recommended is the inner product alone
SET enable_indexscan = off;
SELECT is((SELECT array_agg(item::int ORDER BY score DESC, item::int) FROM dupn_recommend(777, k => 20)),
	(SELECT array_agg(item_id ORDER BY score DESC, item_id) FROM (SELECT item_id, -(vector <#> (SELECT dupn_retrieval_vector(dupn_user_vector(777))::vector)) AS score
		FROM item_vectors_now ORDER BY score DESC LIMIT 20) x), 'in the order of dupn_recommend');
RESET enable_indexscan;

-- while the table has another version than serves
CALL dupn_run('shop', 'train', '{"seed": 2}');
SELECT is((SELECT published_version FROM dupn_models), 2, 'another version serves');
SELECT is(found(), 100::bigint, 'which the recipe waits for');
CALL dupn_run('shop', 'refresh', '{"target": "item_vectors", "what": "items", "changed": true, "keep_old": true}');
SELECT results_eq('SELECT version, count(*) FROM item_vectors GROUP BY 1 ORDER BY 1', 'VALUES (1, 3000::bigint), (2, 3000)', 'two versions are there');
SELECT matches(plan_of('SELECT * FROM recipe'), 'Index Scan using item_vectors_vector_idx', 'the index is used all the same');
SELECT is(found(), 100::bigint, 'a hundred of one of them are found');
SELECT is((SELECT count(*) FROM recipe r JOIN item_vectors v USING (item_id) WHERE v.version = 2), 100::bigint, 'of that which serves');
SELECT cmp_ok(right_ones(), '>=', 80::bigint, 'most of them the nearest');

-- ---- what does not fit ----

CREATE TABLE halves (item_id int, version int, vector halfvec(:item_size) NOT NULL, as_of timestamptz NOT NULL, PRIMARY KEY (item_id, version));
CALL dupn_run('shop', 'refresh', '{"target": "halves", "what": "items"}');
SELECT is((SELECT count(*) FROM halves h JOIN item_vectors_now v USING (item_id) WHERE h.vector = v.vector::halfvec), 3000::bigint, 'half the bytes are another type');
CREATE TABLE narrow (item_id int, version int, vector vector(3) NOT NULL, as_of timestamptz NOT NULL, PRIMARY KEY (item_id, version));
SELECT dupn_refresh('shop', 'narrow', '{"what": "items"}') AS job \gset
SELECT is(dupn_wait(:job), 'failed', 'vectors of another size');
SELECT matches(last_message(), 'expected 3 dimensions, not ' || :item_size, 'are refused by pgvector');
SELECT is((SELECT count(*) FROM narrow), 0::bigint, 'before anything is written');

SELECT * FROM finish();
