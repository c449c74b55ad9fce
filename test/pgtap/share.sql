-- A version for a share of the users: who is in which arm, who is served by
-- what, and what is refused.
SET client_min_messages = warning;
SET timezone = 'UTC';
SELECT plan(76);

CREATE SCHEMA shared;
SET search_path = shared, public;

CREATE TABLE products (id int PRIMARY KEY, price int);
INSERT INTO products SELECT i, i % 5 FROM generate_series(1, 30) i;
CREATE TABLE events (user_id int, item_id int, occurred_at timestamptz);
INSERT INTO events SELECT u, 1 + (u * 7 + e * e) % 30, '2024-01-01'::timestamptz + e * interval '5 hours' + u * interval '1 minute'
	FROM generate_series(1, 700) u, generate_series(1, 2 + u % 7) e;
CREATE INDEX ON events (user_id, occurred_at);
SELECT dupn_create_model('shop', events => 'events', user_column => 'user_id', time_column => 'occurred_at', item_columns => '{item_id,price}',
	catalog => 'products', catalog_key => 'id', options => '{"hidden": 8, "attention": [8, 4], "max_events": 5, "epochs": 1, "publish": "always", "min_count": 1}') IS NOT NULL AS declared \gset
SELECT dupn_add_task('shop', 'next', 'next_item') IS NOT NULL AS declared \gset
CREATE FUNCTION message(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE statement;
	RETURN NULL;
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE || ' ' || SQLERRM;
END $$;
CREATE FUNCTION hint(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE h text;
BEGIN
	EXECUTE statement;
	RETURN NULL;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS h = PG_EXCEPTION_HINT;
	RETURN h;
END $$;
-- users of the candidate's arm, of the first 100,000
CREATE FUNCTION candidates() RETURNS int[] LANGUAGE sql STABLE
	AS $$ SELECT array_agg(u ORDER BY u) FROM generate_series(1, 100000) u WHERE dupn_arm(u) = 'candidate' $$;

-- ---- before there is a share ----

CALL dupn_run('shop', 'train', '{"publish": false}');
SELECT is(message($$SELECT dupn_share('shop', 1, .1)$$), '55000 model "shop" has no published version', 'a share needs others who are served');
SELECT dupn_publish('shop', 1) IS NOT NULL AS published \gset
CALL dupn_run('shop', 'train', '{"seed": 2, "publish": false, "max_events": 200}');
CALL dupn_run('shop', 'train', '{"seed": 3, "publish": false}');
SELECT is(dupn_arm(5), NULL, 'no arms without a share');
SELECT is(message($$SELECT dupn_share('shop', 2, 10)$$), '22023 the share must be between 0 and 1, not 10', '10 is no share');
SELECT is(hint($$SELECT dupn_share('shop', 2, 10)$$), '10 % of the users are 0.1.', 'but 0.1');
SELECT throws_ok($$SELECT dupn_share('shop', 2, -.1)$$, '22023', NULL, 'nor less than none');
SELECT throws_ok($$SELECT dupn_share('shop', 2, 'NaN')$$, '22023', NULL, 'nor what is no number');
SELECT throws_ok($$SELECT dupn_share('shop', 2, NULL)$$, '22004', NULL, 'nor NULL');
SELECT throws_ok($$SELECT dupn_share('shop', NULL, .1)$$, '22004', NULL, 'nor of no version');
SELECT is(message($$SELECT dupn_share('shop', 9, .1)$$), '42704 model "shop" has no version 9', 'nor of one that is not there');
SELECT throws_ok($$SELECT dupn_share('shop', 2, .1, '')$$, '42602', NULL, 'an experiment has a name');
SELECT throws_ok(format($$SELECT dupn_share('shop', 2, .1, %L)$$, repeat('x', 500)), '42622', NULL, 'of some length');
SELECT is(message($$SELECT dupn_end_share('shop')$$), '55000 no experiment of model "shop" is running', 'nothing to end');
SELECT is(message($$SELECT dupn_arm(5, experiment => 'x')$$), '42704 model "shop" has no experiment "x"', 'an experiment that is not there');
SELECT is((SELECT count(*) FROM dupn_shares), 0::bigint, 'nothing was left behind');

-- ---- who is in which arm ----

SELECT is(dupn_share('shop', 2, .1), 'version 2', 'an experiment is named after its version');
CREATE TABLE first AS SELECT candidates() AS users;
SELECT cmp_ok(abs(cardinality(users) / 1e5 - .1), '<', .003, '10 % are 10 % of 100,000 users') FROM first;
SELECT is(candidates(), users, 'the same users every time') FROM first;
SELECT cmp_ok(abs((SELECT count(*) FROM unnest(users) u WHERE u % 2 = 0) / cardinality(users)::numeric - .5), '<', .02, 'even ones as well as odd ones') FROM first;
SELECT cmp_ok((SELECT max(abs(n - cardinality(users) / 20.0)) FROM (SELECT count(*) AS n FROM unnest(users) u GROUP BY (u - 1) / 5000) s), '<', 120::numeric,
	'early ones as well as late ones') FROM first;
SELECT throws_ok('SELECT dupn_arm(12345678901)', '22003', NULL, 'a user beyond the column''s type');
SELECT is((SELECT count(*) FROM generate_series(1, 2000) u WHERE dupn_arm(u) <> dupn_arm(u::text)), 0::bigint, 'as text they are the same');
SELECT throws_ok('SELECT dupn_arm(gen_random_uuid())', '42804', NULL, 'a uuid where users are numbers');
SELECT throws_ok($$SELECT dupn_arm('x')$$, '22P02', NULL, 'a user that is no number');
SELECT is(dupn_arm(NULL::bigint), NULL, 'nobody has no arm');
SELECT is(dupn_arm(u, 'shop', 'version 2'), 'candidate', 'by the experiment''s name') FROM first, unnest(users[1:1]) u;
SELECT is(message($$SELECT dupn_arm(5, 'shop', 'version 3')$$), '42704 model "shop" has no experiment "version 3"', 'by a wrong name');
SELECT is(hint($$SELECT dupn_arm(5, 'shop', 'version 3')$$), 'Perhaps you meant the experiment "version 2".', 'the right one is hinted at');
SET max_parallel_workers_per_gather = 2;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SELECT is((SELECT array_agg(DISTINCT user_id ORDER BY user_id) FROM events WHERE dupn_arm(user_id) = 'candidate'),
	(SELECT array_agg(u ORDER BY u) FROM unnest(users) u WHERE u <= 700), 'workers know the same') FROM first;
RESET ALL;
SET client_min_messages = warning;
SET timezone = 'UTC';
SET search_path = shared, public;

SELECT dupn_share('shop', 2, .3) AS name \gset
SELECT cmp_ok(abs(cardinality(candidates()) / 1e5 - .3), '<', .005, 'a share that grows');
SELECT ok(users <@ candidates(), 'keeps its users') FROM first;
SELECT dupn_share('shop', 2, 1) AS name \gset
SELECT is(cardinality(candidates()), 100000, 'all');
SELECT dupn_share('shop', 2, 0) AS name \gset
SELECT is(candidates(), NULL, 'nobody');
SELECT dupn_share('shop', 2, .1) AS name \gset
SELECT is(candidates(), users, 'and back') FROM first;
SELECT is((SELECT changed_at FROM dupn_shares), s.changed_at, 'the same share again changes nothing')
	FROM (SELECT changed_at FROM dupn_shares) s, dupn_share('shop', 2, .1);
SELECT results_eq('SELECT model, experiment, version, share, running, control_version, changed_at > started_at, ended_at IS NULL FROM dupn_shares',
	$$VALUES ('shop', 'version 2', 2, .1::float8, true, 1, true, true)$$, 'the view tells');

-- ---- who is served by what ----

CREATE TABLE want AS SELECT u, CASE dupn_arm(u) WHEN 'candidate' THEN 2 ELSE 1 END AS version FROM generate_series(1, 800) u;
SELECT is((SELECT count(*) FROM want WHERE dupn_vector_version(dupn_user_vector(u)) <> version), 0::bigint, 'a vector is of the arm''s version');
SELECT is((SELECT count(*) FROM want WHERE dupn_user_vector(u, as_of => '2024-02-01')::text <> dupn_user_vector(u, as_of => '2024-02-01', version => version)::text),
	0::bigint, 'the vector that this version gives');
SELECT is((SELECT count(*) FROM want WHERE dupn_vector_version(dupn_user_vector(u::text)) <> version), 0::bigint, 'users as text too');
SELECT is((SELECT count(*) FROM want WHERE dupn_vector_version(dupn_user_vector(u, version => 1)) <> 1), 0::bigint, 'a version that is named is the one');
SELECT is((SELECT count(*) FROM want WHERE dupn_vector_version(dupn_user_vector(u, version => 3)) <> 3), 0::bigint, 'whichever it is');
-- in no order, some named twice, some NULL
CREATE TABLE asked AS SELECT array_agg(u ORDER BY md5(u::text)) || ARRAY[NULL, 3, 3] || (SELECT array_agg(NULLIF(u, 17) ORDER BY u DESC) FROM want) AS users FROM want;
SELECT results_eq('SELECT user_id, dupn_vector_version(vector) FROM asked, dupn_user_vectors(users)',
	'SELECT a.u::bigint, w.version FROM asked, unnest(users) WITH ORDINALITY a(u, n) LEFT JOIN want w USING (u) ORDER BY n', 'many at once, in their order');
SELECT is((SELECT count(*) FROM want JOIN (SELECT v.* FROM asked, dupn_user_vectors(users, as_of => '2024-02-01') v) v ON user_id = u
	WHERE (SELECT max(abs(x - y)) FROM unnest(vector::real[], dupn_user_vector(u, as_of => '2024-02-01')::real[]) z(x, y)) > 1e-5), 0::bigint, 'are those of one at a time');
SELECT is((SELECT count(*) FROM asked, dupn_user_vectors(users, version => 1) WHERE dupn_vector_version(vector) <> 1), 0::bigint, 'unless a version is named');
SELECT is((SELECT count(*) FROM dupn_user_vectors('{}'::bigint[])), 0::bigint, 'nobody is nobody''s');
SELECT is((SELECT count(*) FROM want, LATERAL (SELECT string_agg(a::text, ',') AS a FROM dupn_recommend(u, k => 3, as_of => '2024-02-01') a) a,
	LATERAL (SELECT string_agg(b::text, ',') AS b FROM dupn_recommend(u, k => 3, as_of => '2024-02-01', version => want.version) b) b WHERE u <= 100 AND a = b),
	100::bigint, 'recommendations are the arm''s');
SELECT is((SELECT count(*) FROM want, LATERAL (SELECT string_agg(a::text, ',') AS a FROM dupn_recommend(u, k => 3, as_of => '2024-02-01') a) a,
	LATERAL (SELECT string_agg(b::text, ',') AS b FROM dupn_recommend(u, k => 3, as_of => '2024-02-01', version => 3 - want.version) b) b WHERE u <= 100 AND a = b),
	0::bigint, 'not the other''s');
SELECT is((SELECT count(*) FROM want, LATERAL (SELECT string_agg(a::text, ',') AS a FROM dupn_attention(u, as_of => '2024-02-01') a) a,
	LATERAL (SELECT string_agg(b::text, ',') AS b FROM dupn_attention(u, as_of => '2024-02-01', version => want.version) b) b WHERE u <= 100 AND a = b),
	100::bigint, 'and attention');
SELECT is((SELECT count(*) FROM want, LATERAL (SELECT string_agg(a::text, ',') AS a FROM dupn_influence('next', u, 5, as_of => '2024-02-01') a) a,
	LATERAL (SELECT string_agg(b::text, ',') AS b FROM dupn_influence('next', u, 5, as_of => '2024-02-01', version => want.version) b) b WHERE u <= 100 AND a = b),
	100::bigint, 'and influence');
SELECT is((SELECT array_agg(DISTINCT dupn_vector_version(v)) FROM (SELECT dupn_embed(e) AS v FROM events e GROUP BY user_id) s), '{1}', 'the aggregate knows no user');
SELECT is(dupn_item_vector(p), dupn_item_vector(p, version => 1), 'nor does an item''s vector') FROM products p WHERE id = 3;
SELECT is((SELECT count(*) FROM want, LATERAL (SELECT dupn_user_vector(u) AS v OFFSET 0) v WHERE u <= 50 AND cardinality(dupn_retrieval_vector(v)) > 0), 50::bigint,
	'a vector is taken by the version that made it');

-- ---- transactions ----

BEGIN;
SELECT dupn_share('shop', 2, 1) AS name \gset
SELECT is(dupn_vector_version(dupn_user_vector(u)), 2, 'seen by the next statement') FROM want WHERE version = 1 LIMIT 1;
SAVEPOINT s;
SELECT dupn_end_share('shop') AS name \gset
SELECT is(dupn_vector_version(dupn_user_vector(u)), 1, 'as is the end') FROM want WHERE version = 2 LIMIT 1;
SELECT is(dupn_arm(5), NULL, 'there are no arms');
ROLLBACK TO SAVEPOINT s;
SELECT is(dupn_arm(u), 'candidate', 'and what was undone') FROM want WHERE version = 1 LIMIT 1;
ROLLBACK;
SELECT is((SELECT count(*) FROM want WHERE dupn_vector_version(dupn_user_vector(u)) <> version), 0::bigint, 'nothing has happened');
-- a function that asks before and after
CREATE FUNCTION before_and_after(who int) RETURNS int[] LANGUAGE plpgsql AS $$
DECLARE answer int[];
BEGIN
	FOR i IN 0 .. 1 LOOP
		answer := answer || dupn_vector_version(dupn_user_vector(who));
		PERFORM dupn_share('shop', 2, 1);
	END LOOP;
	RETURN answer;
END $$;
BEGIN;
SELECT is(before_and_after(u), '{1,2}', 'within a function too') FROM want WHERE version = 1 LIMIT 1;
ROLLBACK;

-- ---- what is refused while it runs, and the end ----

SELECT is(message($$SELECT dupn_drop_version('shop', 2)$$), '55006 version 2 of model "shop" serves a share of the users', 'its version cannot be dropped');
SELECT is(message($$SELECT dupn_share('shop', 3, .1)$$), '55006 experiment "version 2" of model "shop" is running', 'nor can another one start');
SELECT is(message($$SELECT dupn_share('shop', 3, .1, 'version 2')$$), '55006 experiment "version 2" of model "shop" is one of version 2, not 3', 'nor change the version');
SELECT is(dupn_end_share('shop'), 'version 2', 'the end');
SELECT is((SELECT array_agg(DISTINCT dupn_vector_version(dupn_user_vector(u))) FROM want), '{1}', 'everybody is served by the published one');
SELECT is(dupn_arm(5, experiment => 'version 2'), NULL, 'nobody is in an arm of what has ended');
SELECT is(message($$SELECT dupn_share('shop', 2, .1)$$), '42710 experiment "version 2" of model "shop" has ended', 'a name is used once');
SELECT is(message($$SELECT dupn_end_share('shop', 'version 2')$$), '55000 experiment "version 2" of model "shop" is not running', 'and ends once');
SELECT dupn_share('shop', 3, .3, 'another') AS name \gset
SELECT cmp_ok(abs((SELECT count(*) FROM unnest(users) u WHERE dupn_arm(u) = 'candidate') / 1e5 - .03), '<', .003::numeric, 'another experiment takes others') FROM first;
-- as a log of exposures asks, row by row
CREATE FUNCTION kept() RETURNS bigint LANGUAGE sql VOLATILE AS $$SELECT sum(total_bytes)::bigint FROM pg_backend_memory_contexts WHERE name = 'dupn call'$$;
SELECT cmp_ok(max(bytes), '<', 100000::bigint, 'who asks for one and the other keeps no more for it')
	FROM (SELECT CASE WHEN u % 2 = 0 THEN dupn_arm(u, 'shop', 'another') ELSE dupn_arm(u, 'shop', 'version 2') END AS one,
		dupn_arm(u, 'shop', CASE WHEN u % 2 = 0 THEN 'another' ELSE 'version 2' END) AS arm, CASE WHEN u = 5000 THEN kept() END AS bytes FROM generate_series(1, 5000) u OFFSET 0) x
	HAVING bool_and(one IS NOT DISTINCT FROM arm);
SELECT dupn_drop_version('shop', 2) IS NOT NULL AS dropped \gset
SELECT results_eq('SELECT experiment, version, running, control_version FROM dupn_shares ORDER BY started_at',
	$$VALUES ('version 2', 2, false, NULL::int), ('another', 3, true, 1)$$, 'an ended experiment outlives its version');

-- ---- rights ----

CREATE ROLE shared_reader;
GRANT USAGE ON SCHEMA shared TO shared_reader;
SET ROLE shared_reader;
SELECT throws_ok($$SELECT dupn_arm(5, 'shop')$$, '42501', NULL, 'to ask for arms is to read the model''s columns');
RESET ROLE;
GRANT SELECT ON events, products TO shared_reader;
SET ROLE shared_reader;
SELECT ok(dupn_arm(5, 'shop') IN ('candidate', 'control'), 'who may is told');
SELECT throws_ok($$SELECT dupn_share('shop', 3, .5, 'another')$$, '42501', NULL, 'but may change nothing');
SELECT throws_ok($$SELECT dupn_end_share('shop')$$, '42501', NULL, 'nor end it');
SELECT throws_ok($$SELECT dupn_lift('shop', 'events', '{item_id}')$$, '42501', NULL, 'nor judge it');
SELECT is((SELECT count(*) FROM dupn_shares), 0::bigint, 'nor see it');
RESET ROLE;
DROP OWNED BY shared_reader;
DROP ROLE shared_reader;

-- ---- who publishes meanwhile is told ----

SELECT (SELECT count(*) FROM dupn_shares WHERE running) AS running \gset
SELECT CASE WHEN :running > 0 THEN dupn_end_share('shop') END IS NULL AS ended \gset
SELECT dupn_share('shop', 3, .3, 'meanwhile') AS name \gset
CALL dupn_run('shop', 'train', '{"publish": "always"}');
SELECT ok('experiment "meanwhile" is running: version ' || version || ' is its control from now on' = ANY (notes), 'in the notes of a job')
  FROM dupn_jobs ORDER BY job_id DESC LIMIT 1;

SELECT dupn_drop_model('shop') IS NOT NULL AS dropped \gset
SELECT is((SELECT count(*) FROM _dupn.share), 0::bigint, 'the model takes it along');

SELECT * FROM finish();
