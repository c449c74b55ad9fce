-- Who asks, and what for: profiles and contexts that are there, in part, or not at all.
CREATE SCHEMA context;
SET search_path = context, public;
SET timezone = 'UTC';
SET client_min_messages = warning;
CREATE TABLE customers (id int PRIMARY KEY, club boolean, likes text[]);
INSERT INTO customers SELECT u, u % 2 = 0, ARRAY['l' || u % 3] FROM generate_series(1, 50) u;
INSERT INTO customers VALUES (51, NULL, NULL), (52, NULL, '{}');
-- what was asked for before each event is the kind of its item
CREATE TABLE events (user_id int, occurred_at timestamptz, item_id int, kind int, query int);
INSERT INTO events
SELECT u, '2024-01-01'::timestamptz + e * interval '7 hours' + u * interval '1 minute', k + 4 * (u % 5), k, k
  FROM generate_series(1, 60) u, generate_series(1, 12) e, LATERAL (SELECT hashint4(u * 100 + e) & 3 AS k) k;
CREATE TABLE impressions (user_id int, occurred_at timestamptz, item_id int, clicked boolean, query int, device text);
INSERT INTO impressions
SELECT u, '2024-01-02'::timestamptz + e * interval '13 hours', (u * 3 + e) % 20, (u * 3 + e) % 4 = e % 4, e % 4, 'd' || u % 2
  FROM generate_series(1, 60) u, generate_series(1, 12) e;
SELECT dupn_create_model('c', 'context.events', 'user_id', 'occurred_at', '{item_id,kind}',
	profile => 'customers', profile_key => 'id', profile_columns => '{club,likes}', context_columns => '{query,device}',
	options => '{"hidden": 16, "attention": [16, 8], "max_events": 8, "epochs": 25, "patience": 25, "learning_rate": 0.02, "batch_size": 64,
		"dropout": 0, "item_encoding": "sum", "item_dim": 16, "context_in_vector": true, "encodings": {"query": {"table": "kind"}}}');
SELECT dupn_add_task('c', 'next', 'next_item', options => '{"repeat": false}');
SELECT dupn_add_task('c', 'click', 'binary', samples => 'impressions', label => 'clicked', options => '{"hidden": [16]}');
-- by samples alone; with what events tell; not in the vector
CALL dupn_run('c', 'train', '{"epochs": 2}');
CALL dupn_run('c', 'train', '{"event_context": true}');
CALL dupn_run('c', 'train', '{"epochs": 1, "context_in_vector": false}');
SELECT dupn_publish('c', 2);

CREATE FUNCTION apart(a dupn_vector, b dupn_vector) RETURNS float8 LANGUAGE sql AS
	$$SELECT max(abs(x - y)) FROM unnest(a::real[], b::real[]) t (x, y)$$;
-- a query says what comes next, if events tell what was asked
SELECT v AS version, avg(((item::int % 4) = query)::int) > 0.9 AS of_the_kind
  FROM generate_series(1, 2) v, generate_series(0, 3) query, generate_series(1, 20) u,
	dupn_recommend(u, 1, context => jsonb_build_object('query', query), model => 'c', version => v) GROUP BY v ORDER BY v;
-- users without a profile, with an empty one, and nobody at all
SELECT apart(dupn_user_vector(51, 'c', as_of => '2023-01-01'), dupn_user_vector(1000, 'c', as_of => '2023-01-01')) = 0 AS empty_is_none,
	apart(dupn_user_vector(51, 'c', as_of => '2023-01-01'), dupn_user_vector(52, 'c', as_of => '2023-01-01')) = 0 AS empty_array_is_null,
	apart(dupn_user_vector(1, 'c', as_of => '2023-01-01'), dupn_user_vector(2, 'c', as_of => '2023-01-01')) > 0 AS profiles_differ;
-- without an event a query matters only in the vector; without a query it is a vector all the same
SELECT v AS version, apart(dupn_user_vector(1, 'c', '{"query": 1}', '2023-01-01', v), dupn_user_vector(1, 'c', '{"query": 2}', '2023-01-01', v)) > 0 AS cold,
	apart(dupn_user_vector(1, 'c', '{"query": 1}', version => v), dupn_user_vector(1, 'c', '{"query": 2}', version => v)) > 0 AS warm,
	apart(dupn_user_vector(1, 'c', '{"query": null, "device": null}', version => v), dupn_user_vector(1, 'c', version => v)) = 0 AS null_is_none,
	apart(dupn_user_vector(1, 'c', '{"query": 1}', version => v), dupn_user_vector(1, 'c', '{"query": "1"}', version => v)) = 0 AS text_is_read,
	apart(dupn_user_vector(1, 'c', '{"device": "d7"}', version => v), dupn_user_vector(1, 'c', version => v)) > 0 AS unknown_is_not_missing
  FROM generate_series(1, 3) v ORDER BY v;
-- many users share the question
SELECT max(apart(dupn_user_vector(user_id::int, 'c', '{"query": 3, "device": "d1"}', '2024-02-01'), vector)) < 1e-5 AS same
  FROM dupn_user_vectors((SELECT array_agg(u) FROM generate_series(40, 62) u), 'c', '{"query": 3, "device": "d1"}', '2024-02-01');

-- contexts that are none
SELECT dupn_user_vector(1, 'c', '{"quary": 1}');
SELECT dupn_user_vector(1, 'c', '{"query": "one"}');
SELECT dupn_user_vector(1, 'c', '{"query": 1e10}');
SELECT dupn_user_vector(1, 'c', '{"query": [1]}');
SELECT dupn_user_vector(1, 'c', '{"device": {"d": 1}}');
SELECT dupn_user_vector(1, 'c', '[1]');
SELECT dupn_user_vector(1, 'c', '7');
SELECT dupn_alter_model('c', '{"event_context": 1}');
ALTER TABLE events RENAME COLUMN query TO asked;
SELECT dupn_alter_model('c', '{"event_context": true}');
SELECT dupn_drop_model('c');
