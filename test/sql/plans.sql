-- What the planner makes of COST, ROWS, PARALLEL and the support function.
-- Plans are looked at, not executed: there is no model.
CREATE SCHEMA plans;
SET search_path = plans, public;
SET client_min_messages = warning;
SET jit = off;
SET enable_bitmapscan = off;
SET max_parallel_workers_per_gather = 2;

CREATE TABLE products (id int PRIMARY KEY, category_id int NOT NULL, price int NOT NULL) WITH (autovacuum_enabled = off, parallel_workers = 2);
INSERT INTO products SELECT i, i / 500, i % 97 FROM generate_series(1, 100000) i;
CREATE INDEX ON products (category_id);
VACUUM ANALYZE products;
CREATE TABLE vectors (user_id int PRIMARY KEY, v dupn_vector);

CREATE FUNCTION plan(query text) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE plan json;
BEGIN
	EXECUTE 'EXPLAIN (VERBOSE, FORMAT json) ' || query INTO plan;
	RETURN plan;
END $$;
-- a value of all nodes that have it, from the top down
CREATE FUNCTION shown(query text, what text) RETURNS text LANGUAGE sql
	AS $$ SELECT string_agg(n #>> '{}', ', ') FROM jsonb_path_query(plan(query), format('strict $.** ? (exists (@.%1$I)).%1$I', what)::jsonpath) n $$;

-- one request: the filter by its index, one vector, one score for each of what is left
\set request 'SELECT id, dupn_score(''click'', (SELECT dupn_user_vector(42, ''shop'')), p) FROM products p WHERE category_id = 7 ORDER BY 2 DESC LIMIT 20'
SELECT shown(:'request', 'Node Type');
SELECT shown(:'request', 'Subplan Name') ~ 'InitPlan' AS once, shown(:'request', 'Index Cond');

-- the same with the vector in FROM
\set request 'SELECT id, dupn_score(''click'', v, p) FROM products p, (SELECT dupn_user_vector(42, ''shop'') AS v OFFSET 0) u WHERE category_id = 7 ORDER BY 2 DESC LIMIT 20'
SELECT shown(:'request', 'Node Type');

-- a cheap condition comes before a score, in whatever order they are written
\set request 'SELECT id FROM products p WHERE dupn_score(''click'', (SELECT dupn_user_vector(42, ''shop'')), p) > 0.5 AND price < 10'
SELECT shown(:'request', 'Filter') ~ 'price < 10\) AND .*dupn_score' AS cheap_first;
\set request 'SELECT count(*) FROM products p WHERE dupn_score(''click'', (SELECT v FROM vectors WHERE user_id = 1), id) > 0.5 AND price + category_id < 10 AND id % 2 = 0'
SELECT shown(:'request', 'Filter') ~ 'price.*% 2.*dupn_score' AS cheap_first;

-- 100,000 candidates are shared out, 500 are not
\set request 'SELECT id, dupn_score(''click'', (SELECT dupn_user_vector(42, ''shop'')), p) FROM products p ORDER BY 2 DESC LIMIT 20'
SELECT shown(:'request', 'Node Type');
\set request 'SELECT avg(dupn_score(''click'', (SELECT dupn_user_vector(42, ''shop'')), id)) FROM products'
SELECT shown(:'request', 'Node Type');
\set request 'SELECT avg(dupn_score(''click'', (SELECT dupn_user_vector(42, ''shop'')), id)) FROM products WHERE category_id = 7'
SELECT shown(:'request', 'Node Type');

-- a second score of the best is made for these alone
\set request 'SELECT id, dupn_score(''buy'', v, p) FROM products p, (SELECT dupn_user_vector(42, ''shop'') AS v OFFSET 0) u WHERE category_id = 7 ORDER BY dupn_score(''click'', v, p) DESC LIMIT 20'
SELECT shown(:'request', 'Node Type');

-- a recommendation has as many rows as it is asked for, so that the join is by index
\set request 'SELECT p.* FROM dupn_recommend(42, 300) r JOIN products p ON p.id = r.item::int'
SELECT shown(:'request', 'Node Type');
SELECT array_agg(shown(format('SELECT * FROM dupn_recommend(42, %s)', k), 'Plan Rows')) FROM unnest('{1,10,300,10000,99999}'::int[]) k;
SELECT array_agg(shown(format('SELECT * FROM dupn_recommend(%s)', r), 'Plan Rows')) FROM unnest('{42,"42, NULL","42, random()::int"}'::text[]) r;

DROP SCHEMA plans CASCADE;
