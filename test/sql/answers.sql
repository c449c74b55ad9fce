-- Answers of models of every shape: what they return, and that the aggregate agrees.
CREATE SCHEMA answers;
SET search_path = answers, public;
SET timezone = 'UTC';
SET client_min_messages = warning;

CREATE FUNCTION draw(a int, b int, n int) RETURNS int LANGUAGE sql IMMUTABLE
	AS $$ SELECT abs(hashint4(a * 7919 + b * 104729 + 17) % n) $$;
CREATE TYPE action AS ENUM ('view', 'cart', 'buy');
CREATE TABLE events (user_id int, item_id int, action action, price numeric, occurred_at timestamptz);
INSERT INTO events SELECT u, 1 + (u % 5 + 5 * draw(u, i, 4)) % 20, (ARRAY['view', 'cart', 'buy'])[1 + draw(i, u, 3)]::action,
		1 + draw(u, i, 50), '2024-01-01'::timestamptz + i * interval '5 hours' + u * interval '1 minute'
	FROM generate_series(1, 40) u, generate_series(1, 30) i;
CREATE INDEX ON events (user_id, occurred_at);

-- Train a model over a relation of events and compare the aggregate with the function.
CREATE PROCEDURE try_model(name text, relation text, columns text[], behavior name[], options jsonb, task text DEFAULT 'next_item')
LANGUAGE plpgsql AS $$
DECLARE result record;
BEGIN
	PERFORM dupn_create_model(name, relation::regclass, 'user_id', 'occurred_at', columns::name[], behavior,
		timezone => 'Europe/Berlin', options => '{"hidden": 8, "attention": [8, 4], "max_events": 10, "epochs": 1, "min_count": 1}' || options);
	PERFORM dupn_add_task(name, 'task', task, label => CASE WHEN task = 'multiclass' THEN 'action' END);
	COMMIT;
	CALL dupn_run(name, 'train');
	EXECUTE format('SELECT count(*) users, count(*) FILTER (WHERE a::text = b::text) same, count(DISTINCT a::real[]) different,
			bool_and(cardinality(a::real[]) = cardinality(c::real[])) AND count(DISTINCT c::real[]) = 1 cold
		FROM (SELECT user_id, dupn_embed(e, %1$L) a FROM %2$s e GROUP BY 1) e,
			LATERAL (SELECT dupn_user_vector(user_id::text, %1$L) b,
				dupn_user_vector(user_id::text, %1$L, as_of => ''2020-01-01'') c OFFSET 0) f', name, relation) INTO result;
	RAISE WARNING '%: %', name, result;
END $$;

\set VERBOSITY terse
CALL try_model('plain', 'events', '{item_id}', '{}', '{}');
CALL try_model('paper', 'events', '{item_id,price}', '{action}', '{"time": "paper"}');
CALL try_model('both ways', 'events', '{item_id}', '{action}', '{"bidirectional": true}');
CALL try_model('summed', 'events', '{item_id,price}', '{action}', '{"item_encoding": "sum", "item_dim": 8, "activity": false}');
CALL try_model('classes', 'events', '{item_id}', '{action}', '{"uses": {"action": "attention"}}', 'multiclass');

-- other types of columns
CREATE TABLE texts AS SELECT 'user ' || user_id AS user_id, md5(item_id::text)::uuid AS item_id, ARRAY[item_id % 3, item_id % 4] AS tags,
	action::text, occurred_at::timestamp FROM events;
CREATE TABLE days AS SELECT md5(user_id::text)::uuid AS user_id, item_id::numeric / 4 AS item_id, occurred_at::date FROM events;
CREATE TABLE small AS SELECT user_id::smallint, item_id::text::varchar(10), occurred_at FROM events;
CALL try_model('texts', 'texts', '{item_id,tags}', '{action}', '{}');
CALL try_model('days', 'days', '{item_id}', '{}', '{"encodings": {"item_id": "id"}}');
CALL try_model('small', 'small', '{item_id}', '{}', '{}');
\set VERBOSITY default

-- a local time is cut as exactly as an absolute one
SELECT count(*) AS users, count(*) FILTER (WHERE a::text = dupn_user_vector(user_id, 'texts', as_of => at)::text) AS same
	FROM (SELECT at, user_id, dupn_embed(e, 'texts', NULL, at) a
		FROM texts e, (VALUES ('2024-01-06 08:35+00'::timestamptz), ('2024-01-03 12:02+00')) t(at) GROUP BY at, user_id) s;

-- answers, as far as they do not depend on a processor
SELECT dupn_vector_version(v), cardinality(v::real[]), dupn_vector_as_of(v)
	FROM (SELECT dupn_user_vector(1, 'both ways', as_of => '2024-02-01') v) s;
SELECT occurred_at, item, behavior, weight BETWEEN 0 AND 1 AS weight, rank BETWEEN 1 AND 10 AS rank
	FROM dupn_attention(1, 'paper', as_of => '2024-01-02 12:00') ORDER BY 1;
SELECT occurred_at, length(item), behavior FROM dupn_attention('user 1', 'texts', as_of => '2024-01-01 22:00') ORDER BY 1;
SELECT count(*), count(DISTINCT length(item)), min(score) > -100 AS finite FROM dupn_recommend('user 1', 5, model => 'texts');
SELECT count(*) FROM dupn_recommend(md5('1')::uuid, 3, model => 'days');
SELECT count(*) FROM dupn_recommend(1, 10000, model => 'small');
SELECT count(*) FROM dupn_recommend(NULL::bigint, 10, model => 'small');
SELECT count(*) FROM dupn_recommend(1, NULL, NULL, model => 'small');
SELECT class, probability BETWEEN 0 AND 1 AS probability FROM dupn_classify('task', dupn_user_vector(1, 'classes')) ORDER BY class;
SELECT cardinality(dupn_item_vector(s, 'small')) = cardinality(dupn_retrieval_vector(dupn_user_vector(1, 'small'))) AS fits FROM small s LIMIT 1;

-- the setting names the model; a block that publishes sees it at once
SET dupn.model = 'plain';
SELECT dupn_user_vector(1)::text = dupn_user_vector(1, 'plain')::text AS same;
CALL dupn_run('plain', 'train', '{"seed": 2}');
DO $$
BEGIN
	FOR i IN 1..4 LOOP
		PERFORM dupn_publish('plain', 1 + i % 2);
		RAISE WARNING 'version %', dupn_vector_version(dupn_user_vector(1));
	END LOOP;
END $$;

-- the relations change under a session
ALTER TABLE events ADD COLUMN other text DEFAULT 'x';
SELECT dupn_user_vector(1) IS NOT NULL AS still;
ALTER TABLE events ALTER COLUMN user_id TYPE bigint;
SELECT dupn_user_vector(1) IS NOT NULL AS still;
CREATE TABLE copy AS TABLE events;
BEGIN;
DROP TABLE events;
ALTER TABLE copy RENAME TO events;
SELECT (SELECT dupn_embed(e)::real[] FROM events e WHERE user_id = 1) = dupn_user_vector(1)::real[] AS still;
ROLLBACK;
RESET dupn.model;

-- Other tests see all models.
SELECT count(dupn_drop_model(model)) > 0 AS dropped FROM dupn_models;
DROP SCHEMA answers CASCADE;
