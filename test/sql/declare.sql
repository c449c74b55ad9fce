-- Declaring models and tasks: what is stored, what is told, who sees it.
CREATE SCHEMA declare;
SET search_path = declare, public;
SET timezone = 'UTC';

CREATE TYPE action AS ENUM ('view', 'cart', 'buy');
CREATE DOMAIN euro AS numeric(10,2);
CREATE TABLE events (user_id bigint, occurred_at timestamptz, item_id bigint, category_id int,
	action action, "Scenario" text, price euro);
CREATE TABLE products (id int, category_id int, brand text, tags text[], weight real);
CREATE TABLE customers (id bigint PRIMARY KEY, age_band int, vip boolean);
CREATE TABLE impressions (user_id int, occurred_at timestamp, item_id int, clicked boolean,
	position int, query_category int, noise numeric);
INSERT INTO events SELECT u, '2024-01-01'::timestamptz + i * interval '1 hour', (u * 7 + i) % 50, i % 5,
	(ARRAY['view', 'cart', 'buy'])[1 + i % 3]::action, 'app', i
	FROM generate_series(1, 20) u, generate_series(1, 10) i;

-- The shortest use, before and after ANALYZE; the index is asked for.
SELECT dupn_create_model('small', 'events', 'user_id', 'occurred_at', '{item_id}');
ANALYZE events;
CREATE INDEX ON events (user_id, occurred_at DESC) WHERE action = 'buy';
CREATE INDEX ON events (user_id, occurred_at);
SELECT dupn_create_model('small2', 'events', 'user_id', 'occurred_at', '{item_id}', '{action}');
SELECT dupn_add_task('small', 'next', 'next_item');

-- A catalog whose key may repeat.
SELECT dupn_create_model('loose', 'events', 'user_id', 'occurred_at', '{item_id,brand}', catalog => 'products', catalog_key => 'id');

-- The full use.
CREATE UNIQUE INDEX ON products (id);
SELECT dupn_create_model('full', events => 'events', user_column => 'user_id', time_column => 'occurred_at',
	item_columns => '{item_id,category_id,brand,tags,price,weight}', behavior_columns => '{action,Scenario}',
	catalog => 'products', catalog_key => 'id',
	profile => 'customers', profile_key => 'id', profile_columns => '{age_band,vip}',
	context_columns => '{query_category,query}', timezone => 'Asia/Shanghai',
	options => '{"hidden": 64, "bands": 10, "refit": null, "encodings": {"weight": "id", "brand": {"hash": 1000},
		"category_id": {"bands": 4}, "query_category": {"table": "category_id"}},
		"widths": {"item_id": 48, "gap": 8}, "uses": {"Scenario": "gates", "daypart": "attention"}}');
SELECT dupn_add_task('full', 'click', 'binary', samples => 'impressions', label => 'clicked', features => '{position,noise}');
SELECT dupn_add_task('full', 'level', 'multiclass', label => 'price',
	options => '{"levels": 5, "within": "category_id", "where": {"action": ["buy", "cart"], "Scenario": "app"}}');
SELECT dupn_add_task('full', 'action', 'multiclass', label => 'action');
SELECT dupn_add_task('full', 'brand', 'multiclass', label => 'brand');
SELECT dupn_add_task('full', 'next', 'next_item', options => '{"k": [1, 10], "repeat": false, "weight": 2}');
SELECT dupn_add_task('full', 'clicked brand', 'binary', samples => 'impressions', label => 'clicked',
	options => '{"candidate": ["brand"], "hidden": []}');

\x on
SELECT model, owner = current_user AS mine, events, user_column, time_column, item_columns, behavior_columns, catalog, profile,
	profile_columns, context_columns, timezone, options, tasks, published_version
	FROM dupn_models WHERE model IN ('small', 'full') ORDER BY model;
\x off
SELECT task, kind, samples, label, features, options FROM dupn_tasks WHERE model = 'full';
SELECT "group", feature, source, encoding, type, vocabulary, width, use FROM dupn_features WHERE model = 'full';

-- Options are merged one by one; null removes.
SELECT dupn_alter_model('full', '{"hidden": 32, "bands": null, "time": "paper", "activity": false, "widths": null}');
SELECT options FROM dupn_models WHERE model = 'full';
SELECT feature, encoding, use FROM dupn_features WHERE model = 'full' AND "group" IN ('property', 'profile');
SELECT dupn_alter_model('full', '{"hiden": null}');
\echo :SQLSTATE
SELECT dupn_alter_model('full', '{"encodings": {"brand": "bands"}}');
\echo :SQLSTATE
SELECT options -> 'hidden' AS unchanged FROM dupn_models WHERE model = 'full';

-- Views, materialized views, partitions and dates will do.
CREATE VIEW events_view AS SELECT user_id::text AS who, occurred_at::date AS day, item_id::text FROM events;
SELECT dupn_create_model('view', 'events_view', 'who', 'day', '{item_id}');
CREATE TABLE parted (user_id uuid, t timestamp, item_id varchar) PARTITION BY RANGE (t);
CREATE INDEX ON parted (user_id, t);
SELECT dupn_create_model('parted', 'parted', 'user_id', 't', '{item_id}');

CREATE TABLE keyed (user_id numeric(20), t timestamptz, item_id numeric(20));
CREATE INDEX ON keyed (user_id, t);
SELECT dupn_create_model('numeric keys', 'keyed', 'user_id', 't', '{item_id}');

-- Nothing breaks when a table is gone or altered; the columns show what they were not found to be.
ALTER TABLE products DROP COLUMN brand;
DROP TABLE impressions;
DROP TABLE customers;
SELECT feature, source, encoding, type FROM dupn_features WHERE model = 'full';

-- Renamed tables are found again under their old name only.
ALTER TABLE events RENAME TO happenings;
SELECT dupn_alter_model('small', '{}');
\echo :SQLSTATE
ALTER TABLE happenings RENAME TO events;
SELECT dupn_alter_model('small', '{}');

-- Owners see and change theirs, others nothing; readers of the columns may use a model.
CREATE ROLE regress_dupn_owner;
CREATE ROLE regress_dupn_other;
CREATE ROLE regress_dupn_member IN ROLE regress_dupn_owner;
GRANT USAGE ON SCHEMA declare TO regress_dupn_owner, regress_dupn_other;
SET ROLE regress_dupn_owner;
SELECT dupn_create_model('theirs', 'events', 'user_id', 'occurred_at', '{item_id}');
\echo :SQLSTATE
RESET ROLE;
GRANT SELECT (user_id, occurred_at, item_id) ON events TO regress_dupn_owner;
SET ROLE regress_dupn_owner;
SELECT dupn_create_model('theirs', 'events', 'user_id', 'occurred_at', '{item_id}', '{action}');
\echo :SQLSTATE
SELECT dupn_create_model('theirs', 'events', 'user_id', 'occurred_at', '{item_id}');
SELECT dupn_add_task('theirs', 'level', 'multiclass', label => 'price');
\echo :SQLSTATE
SELECT model, owner FROM dupn_models;
SELECT * FROM _dupn.model;
\echo :SQLSTATE
SET ROLE regress_dupn_other;
SELECT model FROM dupn_models;
SELECT model FROM dupn_features;
SELECT feature FROM dupn_feature_list((SELECT max(i) FROM generate_series(1, 20) i));
SELECT dupn_alter_model('theirs', '{}');
\echo :SQLSTATE
SELECT dupn_drop_model('theirs');
\echo :SQLSTATE
SELECT dupn_add_task('theirs', 'next', 'next_item');
\echo :SQLSTATE
SET ROLE regress_dupn_member;
SELECT model FROM dupn_models;
SELECT dupn_add_task('theirs', 'next', 'next_item');
SELECT dupn_drop_task('theirs', 'next');
SELECT dupn_drop_model('theirs');
RESET ROLE;

-- A hostile search_path changes nothing.
CREATE FUNCTION declare.never(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT false';
CREATE OPERATOR declare.= (LEFTARG = text, RIGHTARG = text, FUNCTION = declare.never);
SET search_path = declare, pg_catalog, public;
SELECT dupn_drop_task('full', 'level');
RESET search_path;
DROP OPERATOR declare.= (text, text);
SELECT task FROM dupn_tasks WHERE model = 'full';

SELECT dupn_drop_model(model) FROM dupn_models;
SELECT count(*) FROM _dupn.task;
DROP ROLE regress_dupn_member;
REVOKE ALL ON declare.events FROM regress_dupn_owner;
REVOKE ALL ON SCHEMA declare FROM regress_dupn_owner, regress_dupn_other;
DROP ROLE regress_dupn_owner, regress_dupn_other;
SET client_min_messages = warning;
DROP SCHEMA declare CASCADE;
