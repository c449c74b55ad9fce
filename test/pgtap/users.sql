-- Many users at a time: dupn_user_vectors says what dupn_user_vector says.
SET client_min_messages = warning;
SET timezone = 'UTC';
SELECT plan(22);

CREATE SCHEMA crowd;
SET search_path = crowd, public;

-- hash of two numbers below n, the same everywhere
CREATE FUNCTION draw(a int, b int, n int) RETURNS int LANGUAGE sql IMMUTABLE
	AS $$ SELECT abs(hashint4(a * 7919 + b * 104729 + 17) % n) $$;

CREATE TABLE products (id int PRIMARY KEY, category int, tags text[]);
INSERT INTO products SELECT i, i % 6, ARRAY['t' || i % 4, 't' || i % 5] FROM generate_series(1, 50) i;
-- not everybody has a profile, and somebody has two
CREATE TABLE customers (id bigint, age text);
INSERT INTO customers SELECT u, 'band ' || u % 3 FROM generate_series(1, 350, 2) u;
INSERT INTO customers VALUES (7, 'band 1');

-- histories of 0 to 40 events, some of one instant, and one longer than the window
CREATE TABLE events (user_id int, item_id bigint, action text, occurred_at timestamptz);
INSERT INTO events
	SELECT u, 1 + draw(u, i, 50), (ARRAY['click', 'cart', 'buy'])[1 + draw(i, u, 3)],
		'2024-01-01'::timestamptz + (i - i % 3 / 2) * interval '3 hours' + u * interval '1 minute'
	FROM generate_series(1, 350) u, generate_series(1, u % 41) i;
INSERT INTO events SELECT 400, 1 + i % 50, 'click', '2024-01-01'::timestamptz + i / 2 * interval '7 minutes' FROM generate_series(1, 500) i;
INSERT INTO events VALUES (3, NULL, NULL, '2024-01-02'), (3, 999, 'unheard of', '2024-01-03'),
	(3, 4, 'buy', '-infinity'), (3, 4, 'buy', 'infinity'), (3, 4, 'buy', NULL), (NULL, 4, 'buy', '2024-01-02');
CREATE INDEX ON events (user_id, occurred_at);
CREATE TABLE impressions (user_id int, item_id int, occurred_at timestamptz, query int, clicked boolean);
INSERT INTO impressions
	SELECT u, 1 + draw(u, i, 50), '2024-01-01'::timestamptz + i * interval '8 hours', draw(i, 3, 6), draw(u, i, 3) = 0
	FROM generate_series(1, 60) u, generate_series(1, 10) i;
ANALYZE;

SELECT dupn_create_model('crowd', events => 'events', user_column => 'user_id', time_column => 'occurred_at',
	item_columns => '{item_id,category,tags}', behavior_columns => '{action}', catalog => 'products', catalog_key => 'id',
	profile => 'customers', profile_key => 'id', profile_columns => '{age}', context_columns => '{query}',
	options => '{"hidden": 8, "attention": [8, 4], "max_events": 300, "epochs": 1, "min_count": 1,
		"encodings": {"query": {"table": "category"}}}') IS NOT NULL AS declared \gset
SELECT dupn_add_task('crowd', 'click', 'binary', samples => 'impressions', label => 'clicked',
	options => '{"hidden": [8], "candidate_dim": 8}') IS NOT NULL AS declared \gset
CALL dupn_run('crowd', 'train');

-- items that the version has not seen
INSERT INTO products VALUES (60, 2, '{t1,t9}');
INSERT INTO events SELECT u, 60, 'buy', '2024-01-04' FROM generate_series(1, 350, 3) u;

-- how far two vectors of one stamp are from each other; NULL if the stamps differ
CREATE FUNCTION far(a dupn_vector, b dupn_vector) RETURNS real LANGUAGE sql IMMUTABLE AS $$
	SELECT max(abs(x - y)) FROM unnest(a::real[], b::real[]) z(x, y)
	WHERE split_part(a::text, '@', 2) = split_part(b::text, '@', 2) $$;

-- more users than are read at once, unknown ones among them, in no order
CREATE TABLE asked AS SELECT array_agg(u ORDER BY md5(u::text)) AS users FROM generate_series(-5, 405) u;
SELECT is((SELECT count(*) FROM asked, dupn_user_vectors(users, as_of => '2024-02-01')), 411::bigint, 'a row per user');
SELECT is((SELECT array_agg(user_id ORDER BY n) FROM asked, dupn_user_vectors(users) WITH ORDINALITY v(user_id, vector, n)),
	(SELECT users::bigint[] FROM asked), 'in their order');
SELECT cmp_ok((SELECT max(far(vector, dupn_user_vector(user_id, as_of => '2024-02-01')))
	FROM asked, dupn_user_vectors(users, as_of => '2024-02-01')), '<', 1e-5::real, 'the vectors are those of one user at a time');
SELECT cmp_ok((SELECT max(far(vector, dupn_user_vector(user_id, as_of => '2024-01-02 12:00', context => '{"query": 2}')))
	FROM asked, dupn_user_vectors(users, as_of => '2024-01-02 12:00', context => '{"query": 2}')), '<', 1e-5::real,
	'at a moment and in a context as well');
SELECT is((SELECT count(*) FROM asked, dupn_user_vectors(users, as_of => '2024-02-01') v
	WHERE far(vector, dupn_user_vector(user_id, as_of => '2024-02-01')) IS NULL), 0::bigint, 'and so are the stamps');
SELECT is((SELECT array_agg(user_id::text || ' ' || (vector IS NULL)) FROM dupn_user_vectors(ARRAY[3, NULL, 3, -1]::bigint[])),
	'{"3 false",NULL,"3 false","-1 false"}', 'NULL users have NULL vectors, and whoever is named twice has two');
SELECT ok((SELECT vector IS NULL FROM dupn_user_vectors(ARRAY[NULL]::bigint[])), 'nobody at all');
SELECT is((SELECT count(*) FROM dupn_user_vectors('{}'::bigint[])), 0::bigint, 'no users, no rows');
SELECT is((SELECT count(*) FROM dupn_user_vectors(NULL::bigint[])), 0::bigint, 'nor of a NULL array');
SELECT is((SELECT count(*) FROM dupn_user_vectors(ARRAY[[1, 2], [3, 4]])), 4::bigint, 'an array of arrays is read like unnest reads it');
SELECT is((SELECT string_agg(user_id || ' ' || pg_typeof(user_id), ',') FROM dupn_user_vectors(ARRAY['3', '17'])), '3 text,17 text',
	'text is read as the column''s type');
SELECT cmp_ok((SELECT max(far(vector, dupn_user_vector(user_id, as_of => '2024-02-01')))
	FROM dupn_user_vectors(ARRAY['3', '17'], as_of => '2024-02-01')), '<', 1e-5::real, 'and means the same users');
SELECT is((SELECT vector::text FROM dupn_user_vectors(ARRAY[3::bigint], 'crowd', NULL, '2024-02-01', 1)),
	dupn_user_vector(3, 'crowd', NULL, '2024-02-01', 1)::text, 'arguments are in the same order');
SELECT is((SELECT dupn_vector_as_of(vector) FROM dupn_user_vectors(ARRAY[3::bigint])), statement_timestamp(), 'now is the statement''s');

SELECT throws_ok('SELECT dupn_user_vectors(ARRAY[1, 3000000000])', '22003', NULL, 'a user beyond the column''s type');
SELECT throws_ok($$SELECT dupn_user_vectors(ARRAY['3', 'x'])$$, '22P02', NULL, 'a user that is no number');
SELECT throws_ok('SELECT dupn_user_vectors(ARRAY[gen_random_uuid()])', '42804', NULL, 'a uuid where users are numbers');
SELECT throws_ok($$SELECT dupn_user_vectors(ARRAY[1::bigint], as_of => 'infinity')$$, '22023', NULL, 'a moment that never comes');
SELECT throws_ok($$SELECT dupn_user_vectors(ARRAY[1::bigint], version => 9)$$, '42704', NULL, 'a version that is not there');
SELECT throws_ok($$SELECT dupn_user_vectors(ARRAY[1::bigint], 'nobody')$$, '42704', NULL, 'a model that is not there');

-- another type of users, read as somebody who may not see all of them
CREATE TABLE visits (visitor uuid, item_id bigint, occurred_at timestamptz);
INSERT INTO visits SELECT md5(user_id::text)::uuid, item_id, occurred_at FROM events WHERE user_id < 60;
CREATE INDEX ON visits (visitor, occurred_at);
SELECT dupn_create_model('visits', events => 'visits', user_column => 'visitor', time_column => 'occurred_at', item_columns => '{item_id}',
	options => '{"hidden": 8, "attention": [8, 4], "max_events": 10, "epochs": 1, "min_count": 1}') IS NOT NULL AS declared \gset
SELECT dupn_add_task('visits', 'next', 'next_item') IS NOT NULL AS declared \gset
CALL dupn_run('visits', 'train');
CREATE ROLE crowd_reader;
GRANT USAGE ON SCHEMA crowd TO crowd_reader;
GRANT SELECT ON visits TO crowd_reader;
GRANT EXECUTE ON FUNCTION far(dupn_vector, dupn_vector) TO crowd_reader;
ALTER TABLE visits ENABLE ROW LEVEL SECURITY;
CREATE POLICY half ON visits USING (visitor < '80000000-0000-0000-0000-000000000000');
CREATE TABLE everybody AS SELECT array_agg(DISTINCT visitor) AS users FROM visits;
GRANT SELECT ON everybody TO crowd_reader;
SET ROLE crowd_reader;
SELECT cmp_ok((SELECT max(far(vector, dupn_user_vector(user_id, 'visits', as_of => '2024-02-01')))
	FROM everybody, dupn_user_vectors(users, 'visits', as_of => '2024-02-01')), '<', 1e-5::real, 'what a policy hides is hidden');
SELECT is((SELECT count(DISTINCT split_part(vector::text, '@', 1)) = 1
	FROM everybody, dupn_user_vectors(users, 'visits', as_of => '2024-02-01') WHERE user_id >= '80000000-0000-0000-0000-000000000000'),
	true, 'whose events are hidden is an unknown user');
RESET ROLE;
DROP OWNED BY crowd_reader;
DROP ROLE crowd_reader;

SELECT * FROM finish();
