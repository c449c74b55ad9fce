-- What the answering functions promise, on a small shop.
SET client_min_messages = warning;
SET timezone = 'UTC';
SELECT plan(71);

CREATE SCHEMA shop;
SET search_path = shop, public;

-- hash of two numbers below n, the same everywhere
CREATE FUNCTION draw(a int, b int, n int) RETURNS int LANGUAGE sql IMMUTABLE
	AS $$ SELECT abs(hashint4(a * 7919 + b * 104729 + 17) % n) $$;

CREATE TABLE products (id int PRIMARY KEY, category int, tags text[]);
INSERT INTO products SELECT i, i % 6, ARRAY['t' || i % 4, 't' || i % 5] FROM generate_series(1, 50) i;
CREATE TABLE customers (id bigint PRIMARY KEY, age text);
INSERT INTO customers SELECT u, 'band ' || u % 3 FROM generate_series(1, 70) u;

-- every third event shares its instant with the one before it
CREATE TABLE events (user_id int, item_id bigint, action text, price numeric, occurred_at timestamptz);
INSERT INTO events
	SELECT u, 1 + (u % 6 + 6 * draw(u, i, 8)) % 50, (ARRAY['click', 'cart', 'buy'])[1 + draw(i, u, 3)],
		1 + draw(u + i, i, 90), '2024-01-01'::timestamptz + (i - i % 3 / 2) * interval '3 hours' + u * interval '1 minute'
	FROM generate_series(1, 60) u, generate_series(1, u) i;
INSERT INTO events VALUES (3, NULL, NULL, NULL, '2024-01-02'), (3, 999, 'unheard of', -1, '2024-01-03'),
	(3, 4, 'buy', 5, '-infinity'), (3, 4, 'buy', 5, 'infinity'), (3, 4, 'buy', 5, NULL), (NULL, 4, 'buy', 5, '2024-01-02');
CREATE INDEX ON events (user_id, occurred_at);
CREATE TABLE impressions (user_id int, item_id int, occurred_at timestamptz, query int, position int, clicked boolean);
INSERT INTO impressions
	SELECT u, 1 + draw(u, i, 50), '2024-01-01'::timestamptz + i * interval '8 hours', draw(i, 3, 6), draw(u, i, 10),
		draw(u, i, 50) % 6 = u % 6 OR draw(i, u, 4) = 0
	FROM generate_series(1, 60) u, generate_series(1, 20) i;
ANALYZE;

SELECT dupn_create_model('shop', events => 'events', user_column => 'user_id', time_column => 'occurred_at',
	item_columns => '{item_id,category,tags}', behavior_columns => '{action}', catalog => 'products', catalog_key => 'id',
	profile => 'customers', profile_key => 'id', profile_columns => '{age}', context_columns => '{query}',
	options => '{"hidden": 8, "attention": [16, 8], "max_events": 20, "epochs": 2, "min_count": 1,
		"encodings": {"query": {"table": "category"}}}') IS NOT NULL AS declared \gset
SELECT dupn_add_task('shop', 'next', 'next_item') IS NOT NULL AS declared \gset
SELECT dupn_add_task('shop', 'click', 'binary', samples => 'impressions', label => 'clicked',
	options => '{"hidden": [8], "candidate_dim": 8}') IS NOT NULL AS declared \gset
SELECT dupn_add_task('shop', 'shown', 'binary', samples => 'impressions', label => 'clicked', features => '{position}',
	options => '{"hidden": [8], "candidate": []}') IS NOT NULL AS declared \gset
SELECT dupn_add_task('shop', 'level', 'multiclass', label => 'price', options => '{"levels": 4, "hidden": [8]}') IS NOT NULL AS declared \gset
CALL dupn_run('shop', 'train');
SELECT is((SELECT published_version FROM dupn_models), 1, 'a version is published');

-- ---- vectors ----

SELECT ok(dupn_user_vector(42) IS NOT NULL, 'a user has a vector');
SELECT is(cardinality(dupn_user_vector(42)::real[]), cardinality(dupn_user_vector(-1)::real[]), 'so has an unknown one');
SELECT is(dupn_user_vector('42')::text, dupn_user_vector(42)::text, 'an untyped user is read as the column''s type');
SELECT ok(dupn_user_vector(NULL::bigint) IS NULL, 'NULL user, NULL vector');
SELECT is(dupn_user_vector(42, version => 1)::text, dupn_user_vector(42)::text, 'version 1 is the published one');
SELECT is(dupn_vector_version(dupn_user_vector(42)), 1, 'a vector knows its version');
SELECT is(dupn_vector_as_of(dupn_user_vector(42, as_of => '2024-01-05')), '2024-01-05'::timestamptz, 'and its time');
SELECT is(dupn_vector_as_of(dupn_user_vector(42)), statement_timestamp(), 'which is the statement''s by default');
SELECT is((dupn_user_vector(42)::text)::dupn_vector::text, dupn_user_vector(42)::text, 'text and back');
SELECT isnt(dupn_user_vector(42, as_of => '2024-02-01', context => '{"query": 1}')::text,
	dupn_user_vector(42, as_of => '2024-02-01', context => '{"query": 2}')::text, 'a context tells');
SELECT is(dupn_user_vector(42, as_of => '2024-02-01', context => '{}')::text,
	dupn_user_vector(42, as_of => '2024-02-01')::text, 'an empty one does not');

-- ---- the aggregate ----

CREATE TABLE want AS
	SELECT u AS user_id, dupn_user_vector(u, as_of => '2024-02-01') AS v, dupn_user_vector(u, as_of => '2024-01-03', context => '{"query": 2}') AS early
	FROM generate_series(1, 60) u;
CREATE FUNCTION differ(query text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE n bigint;
BEGIN
	EXECUTE 'SELECT count(*) FROM shop.want FULL JOIN (' || query || ') g USING (user_id) WHERE want.v::text IS DISTINCT FROM g.v::text' INTO n;
	RETURN n;
END $$;

SELECT is(differ('SELECT user_id, dupn_embed(e, NULL, NULL, ''2024-02-01'') v FROM events e WHERE user_id IS NOT NULL GROUP BY 1'),
	0::bigint, 'dupn_embed equals dupn_user_vector');
SELECT is(differ('SELECT user_id, dupn_embed(e, ''shop'', ''{}'', ''2024-02-01'' ORDER BY occurred_at) v FROM events e WHERE user_id IS NOT NULL GROUP BY 1'),
	0::bigint, 'oldest row first');
SELECT is(differ('SELECT user_id, dupn_embed(e, ''shop'', NULL, ''2024-02-01'' ORDER BY occurred_at DESC) v FROM events e WHERE user_id IS NOT NULL GROUP BY 1'),
	0::bigint, 'newest row first');
SELECT is(differ('SELECT user_id, dupn_embed(e, ''shop'', NULL, ''2024-02-01'' ORDER BY hashint8(item_id), price) v FROM events e WHERE user_id IS NOT NULL GROUP BY 1'),
	0::bigint, 'in any order');
SELECT is(differ('SELECT s.user_id, dupn_embed(s, ''shop'', NULL, ''2024-02-01'') v
	FROM (SELECT occurred_at, user_id, item_id, action, 1 AS other FROM events OFFSET 0) s WHERE user_id IS NOT NULL GROUP BY 1'),
	0::bigint, 'from a subquery with columns in another order');
SELECT is(differ('SELECT s.user_id, dupn_embed(s, ''shop'', NULL, ''2024-02-01'') v
	FROM (SELECT e.*, p.category, p.tags FROM events e LEFT JOIN products p ON p.id = e.item_id) s WHERE user_id IS NOT NULL GROUP BY 1'),
	0::bigint, 'from rows that bring the catalog''s columns along');
SELECT is((SELECT count(*) FROM want JOIN (SELECT user_id, dupn_embed(e, 'shop', '{"query": 2}', '2024-01-03') v FROM events e GROUP BY 1) g USING (user_id)
	WHERE want.early::text <> g.v::text), 0::bigint, 'with a context and a time');
SELECT is((SELECT v::text FROM (SELECT dupn_embed(e, 'shop', NULL, '2024-02-01') OVER (ORDER BY occurred_at) v, row_number() OVER (ORDER BY occurred_at DESC) n
	FROM events e WHERE user_id = 60) w WHERE n = 1), (SELECT v::text FROM want WHERE user_id = 60), 'as a window function');
SELECT is((SELECT dupn_embed(e)::text FROM events e WHERE user_id = 42), dupn_user_vector(42)::text, 'in its shortest form');
SELECT ok((SELECT dupn_embed(e) FROM events e WHERE false) IS NULL, 'of no rows: NULL');
SELECT ok((SELECT dupn_embed(e) FROM (VALUES (1)) x(i) LEFT JOIN events e ON false) IS NULL, 'of a null row: NULL');
SELECT is((SELECT dupn_embed(e, NULL, NULL, '2020-01-01')::text FROM events e WHERE user_id = 42),
	dupn_user_vector(42, as_of => '2020-01-01')::text, 'of rows that are all later: a vector without events');

SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET max_parallel_workers_per_gather = 3;
SET parallel_leader_participation = off;
SET enable_indexscan = off;
ALTER TABLE events SET (parallel_workers = 3);
CREATE FUNCTION parallel_plan(query text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE line text;
	partial boolean := false;
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP
		partial := partial OR line LIKE '%Partial%Aggregate%' OR line LIKE '%Parallel%';
	END LOOP;
	RETURN partial;
END $$;
\set partial 'SELECT user_id, dupn_embed(e, ''shop'', NULL, ''2024-02-01'') v FROM events e WHERE user_id IS NOT NULL GROUP BY 1'
SELECT ok(parallel_plan(:'partial'), 'the plan is parallel');
SELECT is(differ(:'partial'), 0::bigint, 'dupn_embed in a parallel plan');
SELECT is((SELECT dupn_embed(e, 'shop', NULL, '2024-02-01')::text FROM events e WHERE user_id = 60),
	(SELECT v::text FROM want WHERE user_id = 60), 'one user''s rows from several workers');
SELECT is((SELECT count(*) FROM (SELECT DISTINCT user_id, dupn_user_vector(user_id, as_of => '2024-02-01')::text v FROM events) s JOIN want USING (user_id)
	WHERE s.v <> want.v::text), 0::bigint, 'dupn_user_vector in workers');
RESET parallel_setup_cost;
RESET parallel_tuple_cost;
RESET min_parallel_table_scan_size;
RESET max_parallel_workers_per_gather;
RESET parallel_leader_participation;
RESET enable_indexscan;

-- ---- point in time ----

BEGIN;
SELECT dupn_user_vector(42, as_of => '2024-01-05')::text AS v, (SELECT count(*) FROM dupn_attention(42, as_of => '2024-01-05')) AS n \gset
INSERT INTO events VALUES (42, 7, 'buy', 1, '2024-01-05');
SELECT is(dupn_user_vector(42, as_of => '2024-01-05')::text, :'v', 'an event of the very instant changes nothing');
INSERT INTO events VALUES (42, 7, 'buy', 1, '2024-01-05 00:00:00.000001');
SELECT is(dupn_user_vector(42, as_of => '2024-01-05')::text, :'v', 'nor one a microsecond later');
SELECT is((SELECT dupn_embed(e, NULL, NULL, '2024-01-05')::text FROM events e WHERE user_id = 42), :'v', 'nor in the aggregate');
INSERT INTO events VALUES (42, 7, 'buy', 1, '2024-01-04 23:59:59.999999');
SELECT isnt(dupn_user_vector(42, as_of => '2024-01-05')::text, :'v', 'one a microsecond earlier does');
ROLLBACK;

-- ---- attention ----

SELECT is((SELECT count(*) FROM dupn_attention(60)), 20::bigint, 'attention over the whole window');
SELECT ok((SELECT abs(sum(weight) - 1) < 1e-5 FROM dupn_attention(60)), 'its weights sum to 1');
SELECT ok((SELECT bool_and(weight <= before) FROM (SELECT weight, lag(weight, 1, 1::real) OVER (ORDER BY rank) before FROM dupn_attention(60)) s),
	'and fall with the rank');
SELECT is((SELECT count(*) FROM dupn_attention(60) a JOIN events e ON e.user_id = 60 AND e.occurred_at = a.occurred_at
	AND e.item_id::text = a.item AND e.action = a.behavior), 20::bigint, 'of events that are the user''s');
SELECT is((SELECT count(*) FROM dupn_attention(3)), (SELECT count(*) FROM events WHERE user_id = 3 AND isfinite(occurred_at)),
	'with what is unknown, without what has no time');
SELECT is((SELECT count(*) FROM dupn_attention(-1)), 0::bigint, 'no events, no rows');

-- ---- scores ----

SELECT ok((SELECT bool_and(s BETWEEN 0 AND 1) AND count(*) = 50 FROM (SELECT dupn_score('click', v, p) s FROM want, products p WHERE user_id = 42) x),
	'probabilities');
SELECT ok((SELECT bool_and(dupn_score('click', v, p) = dupn_score('click', v, id)) FROM want, products p WHERE user_id = 42),
	'a row and its key score alike');
SELECT ok((SELECT bool_and(dupn_score('click', v, id) = dupn_score('click', v, id::text)) FROM want, products p WHERE user_id = 42),
	'so does the key as text');
SELECT ok((SELECT bool_and(abs(s - dupn_score('click', v, id)) < 1e-6) AND count(*) = 70 FROM want,
		LATERAL (SELECT array_agg(i) ids FROM generate_series(1, 70) i) a, LATERAL unnest(ids, dupn_score('click', v, ids)) x(id, s)
	WHERE user_id = 42), 'many keys at once score alike');
SELECT ok((SELECT bool_and(a = b) FROM want, LATERAL (SELECT dupn_score('click', v, ARRAY[3, NULL, 999]) a, dupn_score('click', v, ARRAY['3', NULL, '999']) b) x
	WHERE user_id = 42), 'given as text too');
SELECT is((SELECT array_dims(a) || (a[0][1] IS NULL)::text || (abs(a[1][2] - dupn_score('click', v, 7)) < 1e-6)::text
	FROM want, LATERAL (SELECT dupn_score('click', v, '[0:1][1:2]={{NULL,1},{2,7}}'::int[]) a) x WHERE user_id = 42), '[0:1][1:2]truetrue', 'in an array of the same shape');
SELECT is((SELECT dupn_score('click', v, '{}'::int[]) FROM want WHERE user_id = 42), '{}'::real[], 'an empty one too');
-- one call of a query sees vector after vector and task after task, stored in line, compressed, or elsewhere
CREATE TABLE toasted (user_id int, v dupn_vector, pad text) WITH (toast_tuple_target = 128);
ALTER TABLE toasted ALTER v SET STORAGE EXTERNAL, ALTER pad SET STORAGE PLAIN;
INSERT INTO toasted SELECT user_id, v, repeat('x', 2500) FROM want;
SELECT ok(pg_relation_size(reltoastrelid) > 0, 'vectors are stored elsewhere') FROM pg_class WHERE oid = 'toasted'::regclass;
SELECT ok((SELECT count(DISTINCT s) > 60 AND bool_and(s = x.same) FROM products p, toasted t JOIN want w USING (user_id),
		LATERAL (SELECT dupn_score('click', t.v, p) s) y, LATERAL (SELECT dupn_score('click', w.v, p) same) x WHERE p.id < 5), 'and score alike');
SELECT ok((SELECT bool_and(dupn_score(task, v, x) = CASE task WHEN 'click' THEN dupn_score('click', v, x) ELSE dupn_score('shown', v, x) END) AND count(*) = 360
	FROM want, (SELECT i AS item_id, 3 AS position FROM generate_series(1, 3) i) x, (VALUES ('click'), ('shown')) t(task)), 'as do tasks in turn');
SELECT ok((SELECT bool_and(dupn_score('click', v, i) = dupn_score('click', v, item_id)) FROM want JOIN impressions i USING (user_id) WHERE user_id = 42),
	'what a row lacks comes from the catalog');
SELECT ok((SELECT bool_and(dupn_score('shown', v, i) BETWEEN 0 AND 1) AND count(DISTINCT dupn_score('shown', v, i)) > 1
	FROM want JOIN impressions i USING (user_id) WHERE user_id = 42), 'numbers of the sample count');
SELECT is((SELECT dupn_score('shown', v, x) FROM want, (VALUES (NULL::int)) x(position) WHERE user_id = 42),
	(SELECT dupn_score('shown', v, x) FROM want, (VALUES ('NaN'::float8)) x(position) WHERE user_id = 42), 'NULL and NaN are the mean');
SELECT ok((SELECT abs(sum(probability) - 1) < 1e-5 AND count(*) = 4 FROM want, dupn_classify('level', v) WHERE user_id = 42),
	'classes'' probabilities sum to 1');

-- ---- recommendations ----

SELECT is((SELECT count(DISTINCT item) FROM dupn_recommend(42, k => 7)), 7::bigint, 'k different items');
SELECT ok((SELECT count(*) FROM dupn_recommend(42, k => 10000)) <= 60, 'no more than there are');
SELECT is((SELECT count(*) FROM dupn_recommend(42, k => 60, exclude_seen => true) JOIN events ON user_id = 42 AND item_id::text = item),
	0::bigint, 'exclude_seen leaves out what the user had');
SELECT ok((SELECT bool_and(abs(score - (SELECT sum(a * b) FROM unnest(dupn_item_vector(p), dupn_retrieval_vector(v)) z(a, b))) < 1e-4) AND count(*) > 3
	FROM want, dupn_recommend(42, 60, true, as_of => '2024-02-01') r JOIN products p ON p.id::text = r.item WHERE user_id = 42),
	'an inner product finds the same scores');
SELECT ok((SELECT item FROM dupn_recommend(42, 1)) = (SELECT item FROM dupn_recommend(42, 50) ORDER BY score DESC LIMIT 1), 'the best is the first');
BEGIN;
SELECT item AS best FROM dupn_recommend(42, 1) \gset
DELETE FROM products WHERE id = :best;
SELECT is((SELECT count(*) FROM dupn_recommend(42, 60) WHERE item = :'best'), 0::bigint, 'an item that the caller cannot see is not named');
SELECT is((SELECT count(*) FROM dupn_recommend(42, 5)), 5::bigint, 'others take its place');
ROLLBACK;

-- ---- versions ----

CREATE TABLE stored AS SELECT user_id, v, dupn_score('click', v, 7) AS score FROM want;
SELECT dupn_alter_model('shop', '{"seed": 2}') IS NOT NULL AS altered \gset
CALL dupn_run('shop', 'train');
SELECT is((SELECT dupn_vector_version(dupn_user_vector(42))), 2, 'the next version serves');
SELECT ok((SELECT bool_and(dupn_score('click', v, 7) = score) FROM stored), 'a stored vector is scored by its own version');
SELECT isnt(dupn_user_vector(42, as_of => '2024-02-01')::real[], (SELECT v::real[] FROM stored WHERE user_id = 42), 'the versions differ');
SELECT is(dupn_user_vector(42, as_of => '2024-02-01', version => 1)::text, (SELECT v::text FROM stored WHERE user_id = 42), 'the old one still answers');

-- ---- rights ----

CREATE ROLE dupn_answers_reader;
GRANT USAGE ON SCHEMA shop TO dupn_answers_reader;
GRANT SELECT ON want, products, customers, impressions TO dupn_answers_reader;
SET ROLE dupn_answers_reader;
SELECT throws_ok('SELECT dupn_user_vector(42, ''shop'')', '42501', NULL, 'who cannot read the events gets no vector');
SELECT throws_ok('SELECT dupn_score(''click'', v, 7) FROM want', '42501', NULL, 'nor a score');
SELECT throws_ok('SELECT * FROM dupn_recommend(42, model => ''shop'')', '42501', NULL, 'nor recommendations');
SELECT throws_ok('SELECT data FROM _dupn.weight', '42501', NULL, 'nor the weights');
RESET ROLE;
GRANT SELECT ON events TO dupn_answers_reader;
SET ROLE dupn_answers_reader;
SELECT is(dupn_user_vector(42, 'shop', as_of => '2024-02-01', version => 1)::text, (SELECT v::text FROM want WHERE user_id = 42),
	'who can read them does');
RESET ROLE;
ALTER TABLE events ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON events USING (user_id = 7);
SET ROLE dupn_answers_reader;
SELECT is(dupn_user_vector(7, 'shop', as_of => '2024-02-01', version => 1)::text, (SELECT v::text FROM want WHERE user_id = 7),
	'row-level security lets one user through');
SELECT is(dupn_user_vector(42, 'shop', as_of => '2024-02-01')::real[], dupn_user_vector(42, 'shop', as_of => '2020-01-01')::real[],
	'and hides the others'' events');
RESET ROLE;
SELECT is((SELECT count(*) FROM dupn_attention(42, 'shop')), 20::bigint, 'the plan is made anew for the owner');
DROP OWNED BY dupn_answers_reader;
DROP ROLE dupn_answers_reader;

SELECT * FROM finish();
