-- A shop of any size, made in seconds: 100 events a user, items by Zipf's law,
-- rows in the order of time as a shop stores them.  The catalogue does not grow,
-- so that what is seen is what events cost; it is larger than a full softmax takes.
--	psql -v events=1000000 -v items=60000 -f test/bench/growth.sql
\set QUIET on
SET client_min_messages = warning;
SET timezone = 'UTC';
SELECT dupn_drop_model(model) FROM dupn_models WHERE model LIKE 'growth%' \g /dev/null
DROP SCHEMA IF EXISTS growth CASCADE;
CREATE SCHEMA growth;
SET search_path = growth, public;

CREATE TABLE items AS SELECT id, id % 97 AS category FROM generate_series(1, :items) id;
SELECT setseed(0.5) \g /dev/null
CREATE TABLE events AS
SELECT floor(random() * (:events / 100))::int AS user_id,
	timestamptz '2024-01-01' + n * (interval '180 days' / :events) AS occurred_at,
	floor(exp(random() * ln(:items::float8)))::int AS item_id,
	(ARRAY['view', 'view', 'view', 'cart', 'buy'])[1 + floor(random() * 5)::int] AS action
FROM generate_series(1, :events) n;
CREATE INDEX ON events (user_id, occurred_at);
VACUUM (ANALYZE, FREEZE) events, items;

-- what is seen of it is the data: a network that costs next to nothing
SELECT dupn_create_model('growth', 'events', 'user_id', 'occurred_at', '{item_id,category}', '{action}',
	catalog => 'items', catalog_key => 'id', timezone => 'UTC', options => '{"epochs": 1, "refit": false, "hidden": 8,
		"attention": [8, 4], "widths": {"item_id": 8, "category": 4, "action": 4, "gap": 4, "daypart": 4, "activity": 4}}') \g /dev/null
SELECT dupn_add_task('growth', 'kind', 'multiclass', label => 'action') \g /dev/null

-- and what a shop would declare
SELECT dupn_create_model('growth_default', 'events', 'user_id', 'occurred_at', '{item_id,category}', '{action}',
	catalog => 'items', catalog_key => 'id', timezone => 'UTC', options => '{"epochs": 1, "refit": false}') \g /dev/null
SELECT dupn_add_task('growth_default', 'next', 'next_item') \g /dev/null
