-- What the catalog says of a window's items: the version for those it knows,
-- the relation for the others and for whoever may not see all of it.
SET client_min_messages = warning;
SET timezone = 'UTC';
SELECT plan(37);

CREATE SCHEMA shop;
SET search_path = shop, public;
CREATE FUNCTION draw(a int, b int, n int) RETURNS int LANGUAGE sql IMMUTABLE
	AS $$ SELECT abs(hashint4(a * 7919 + b * 104729 + 17) % n) $$;

CREATE TABLE products (id varchar PRIMARY KEY, category int, tags text[]);
INSERT INTO products SELECT 'p' || i, i % 6, ARRAY['t' || i % 4, 't' || i % 5] FROM generate_series(1, 40) i;
INSERT INTO products VALUES ('p41', NULL, NULL);
CREATE TABLE events (user_id int, item_id text, action text, occurred_at timestamptz);
INSERT INTO events
	SELECT u, 'p' || 1 + draw(u, i, 43), (ARRAY['click', 'buy'])[1 + draw(i, u, 2)], '2024-01-01'::timestamptz + (i - i % 3 / 2) * interval '3 hours'
	FROM generate_series(1, 40) u, generate_series(1, 15) i;
CREATE INDEX ON events (user_id, occurred_at);
CREATE VIEW seen AS SELECT * FROM products;
CREATE MATERIALIZED VIEW copied AS SELECT * FROM products;
ANALYZE;

-- the same declaration and seed thrice: the same weights, on three kinds of catalog
CREATE FUNCTION declare(model text, catalog text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM dupn_create_model(model, events => 'events', user_column => 'user_id', time_column => 'occurred_at',
		item_columns => '{item_id,category,tags}', behavior_columns => '{action}', catalog => catalog, catalog_key => 'id',
		options => '{"hidden": 8, "attention": [8, 4], "max_events": 12, "epochs": 2, "min_count": 1, "seed": 1}');
	PERFORM dupn_add_task(model, 'next', 'next_item');
END $$;
SELECT declare('plain', 'products') \g /dev/null
SELECT declare('view', 'seen') \g /dev/null
SELECT declare('copy', 'copied') \g /dev/null
CALL dupn_run('plain', 'train');
CALL dupn_run('view', 'train');
CALL dupn_run('copy', 'train');

CREATE FUNCTION vector(u int, model text) RETURNS real[] LANGUAGE sql STABLE
	AS $$ SELECT dupn_user_vector(u::bigint, model, as_of => '2024-02-01')::real[] $$;
CREATE FUNCTION embedded(u int, model text) RETURNS real[] LANGUAGE sql STABLE
	AS $$ SELECT dupn_embed(e, model, NULL, '2024-02-01')::real[] FROM events e WHERE user_id = u $$;

CREATE TABLE want AS SELECT u, vector(u, 'plain') v FROM generate_series(1, 40) u;
SELECT is((SELECT count(*) FROM want WHERE v <> vector(u, 'view') OR v <> vector(u, 'copy')), 0::bigint,
	'a table, a view and a materialized view tell the same');
SELECT is((SELECT count(*) FROM want WHERE v <> embedded(u, 'plain') OR v <> embedded(u, 'view') OR v <> embedded(u, 'copy')), 0::bigint,
	'and the aggregate is told the same');

-- ---- known items ----

SELECT u FROM (SELECT user_id u FROM events WHERE item_id NOT IN ('p41', 'p42', 'p43') GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT 1) s \gset
BEGIN;
UPDATE products SET category = category + 1, tags = '{}';
SELECT is((SELECT count(*) FROM want WHERE v <> vector(u, 'plain')), 0::bigint, 'a known item is what it was in training');
SELECT is((SELECT count(*) FROM want WHERE v <> embedded(u, 'plain')), 0::bigint, 'in the aggregate too');
SELECT isnt(vector(:u, 'view'), (SELECT v FROM want WHERE u = :u), 'but a view is asked today');
SELECT is(embedded(:u, 'view'), vector(:u, 'view'), 'by the aggregate alike');
ROLLBACK;
SELECT is(vector(:u, 'view'), (SELECT v FROM want WHERE u = :u), 'and says what it said again');
BEGIN;
DELETE FROM products;
SELECT is(vector(:u, 'plain'), (SELECT v FROM want WHERE u = :u), 'a known item that is gone is still known');
SELECT isnt(vector(:u, 'view'), (SELECT v FROM want WHERE u = :u), 'unless the catalog is a view');
SELECT is(embedded(:u, 'view'), vector(:u, 'view'), 'embedded: gone too');
ROLLBACK;
BEGIN;
INSERT INTO products SELECT 'p42', 3, '{t1,t2}';
SELECT is((SELECT count(*) FROM want WHERE v <> vector(u, 'plain')), 0::bigint, 'an item seen in training without a row stays without');
ROLLBACK;

-- ---- new items ----

BEGIN;
INSERT INTO events VALUES (:u, 'new', 'click', '2024-01-30'), (:u, NULL, 'click', '2024-01-29'), (:u, 'newer', 'click', '2024-01-28');
CREATE TEMP TABLE bare AS SELECT vector(:u, 'plain') v;
SELECT isnt(v, (SELECT v FROM want WHERE u = :u), 'an event with a new item counts') FROM bare;
SELECT is(v, embedded(:u, 'plain'), 'and is embedded') FROM bare;
SELECT is(v, vector(:u, 'view'), 'as with a view') FROM bare;
INSERT INTO products VALUES ('new', 2, '{t1,t3}');
SELECT isnt(v, vector(:u, 'plain'), 'its row of today tells of it') FROM bare;
SELECT is(embedded(:u, 'plain'), vector(:u, 'plain'), 'embedded: the row too');
SELECT is(vector(:u, 'view'), vector(:u, 'plain'), 'the view has it too');
CREATE TEMP TABLE one AS SELECT vector(:u, 'plain') v;
INSERT INTO products VALUES ('newer', 4, NULL);
SELECT isnt(v, vector(:u, 'plain'), 'one row of two is not both') FROM one;
UPDATE products SET category = NULL, tags = NULL WHERE id LIKE 'new%';
SELECT is(v, vector(:u, 'plain'), 'a row of NULLs says as little as none') FROM bare;
SELECT is(embedded(:u, 'plain'), vector(:u, 'plain'), 'embedded: NULLs');
UPDATE products SET category = 2, tags = '{t3,t1,t3,NULL}' WHERE id = 'new';
SELECT is(vector(:u, 'plain'), v, 'a bag has no order and no doubles') FROM one;
SELECT is(embedded(:u, 'plain'), v, 'nor when embedded') FROM one;
SELECT is((SELECT dupn_embed(s, 'plain', NULL, '2024-02-01')::real[] FROM (SELECT e.*, p.category, p.tags
	FROM events e LEFT JOIN products p ON p.id = e.item_id) s WHERE user_id = :u), v, 'rows that bring the catalog along say the same') FROM one;
SELECT is((SELECT count(*) FROM dupn_attention(:u, 'plain') WHERE item = 'new'), 1::bigint, 'attention names it');
ROLLBACK;

-- ---- a catalog of which not everybody may see everything ----

CREATE ROLE dupn_catalog_reader;
GRANT USAGE ON SCHEMA shop TO dupn_catalog_reader;
GRANT SELECT ON events, products, want TO dupn_catalog_reader;
SET ROLE dupn_catalog_reader;
SELECT is(vector(:u, 'plain'), v, 'who may read all gets what the owner gets') FROM want WHERE u = :u;
RESET ROLE;
ALTER TABLE products ENABLE ROW LEVEL SECURITY;
SET ROLE dupn_catalog_reader;
SELECT isnt(vector(:u, 'plain'), v, 'what a policy hides is not told') FROM want WHERE u = :u;
SELECT is(embedded(:u, 'plain'), vector(:u, 'plain'), 'nor by the aggregate');
RESET ROLE;
SELECT is(vector(:u, 'plain'), v, 'its owner is told') FROM want WHERE u = :u;
CREATE POLICY half ON products USING (category < 3);
SET ROLE dupn_catalog_reader;
SELECT isnt(vector(:u, 'plain'), v, 'half is not all') FROM want WHERE u = :u;
SELECT is(embedded(:u, 'plain'), vector(:u, 'plain'), 'half is embedded');
RESET ROLE;
CREATE POLICY rest ON products USING (true);
SET ROLE dupn_catalog_reader;
SELECT is(vector(:u, 'plain'), v, 'all that is let through is all') FROM want WHERE u = :u;
RESET ROLE;
BEGIN;
UPDATE products SET category = category + 1;
SET ROLE dupn_catalog_reader;
SELECT isnt(vector(:u, 'plain'), v, 'then it is the row of today') FROM want WHERE u = :u;
SELECT is(embedded(:u, 'plain'), vector(:u, 'plain'), 'embedded: of today');
ROLLBACK;

-- ---- rights that change under a session ----

SET ROLE dupn_catalog_reader;
SELECT is(vector(:u, 'plain'), v, 'asked and answered') FROM want WHERE u = :u;
RESET ROLE;
REVOKE SELECT ON products FROM dupn_catalog_reader;
SET ROLE dupn_catalog_reader;
SELECT throws_ok('SELECT shop.vector(1, ''plain'')', '42501', NULL, 'until a right is taken away');
RESET ROLE;
GRANT SELECT (id, category, tags) ON products TO dupn_catalog_reader;
SET ROLE dupn_catalog_reader;
SELECT is(vector(:u, 'plain'), v, 'or given back') FROM want WHERE u = :u;
RESET ROLE;
REVOKE USAGE ON SCHEMA shop FROM dupn_catalog_reader;
SET ROLE dupn_catalog_reader;
SELECT throws_ok(format('SELECT dupn_user_vector(%s, ''plain'')', :u), '42501', NULL, 'and the schema''s right counts');
RESET ROLE;
DROP OWNED BY dupn_catalog_reader;
DROP ROLE dupn_catalog_reader;

SELECT * FROM finish();
