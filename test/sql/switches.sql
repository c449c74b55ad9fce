-- Options that switch parts of the network off: what is left then, that all ways
-- to a vector agree, and what is refused.
CREATE SCHEMA switches;
SET search_path = switches, public;
SET timezone = 'UTC';
SET client_min_messages = warning;
CREATE TABLE events (user_id int, occurred_at timestamptz, item_id int, action text, place text);
INSERT INTO events
SELECT u, '2024-01-01'::timestamptz + e * interval '7 hours' + u * interval '1 minute', (u + e) % 20,
	(ARRAY['view', 'view', 'buy'])[1 + e % 3], 'p' || u % 2
  FROM generate_series(1, 60) u, generate_series(1, 12) e;
SELECT dupn_create_model('s', 'switches.events', 'user_id', 'occurred_at', '{item_id}', '{action,place}');
SELECT dupn_add_task('s', 'next', 'next_item');

-- Each set of options with a version of its own.
CREATE TABLE variants (version int PRIMARY KEY, options jsonb);
INSERT INTO variants SELECT row_number() OVER (), o::jsonb FROM unnest(ARRAY[
	'{}', '{"pooling": "last"}', '{"pooling": "mean"}', '{"pooling": "max"}', '{"pooling": "last", "bidirectional": true}',
	'{"properties": "gates"}', '{"properties": "attention"}', '{"properties": "none"}', '{"properties": "gates", "time": "paper"}',
	'{"uses": {"action": "none", "daypart": "none"}}', '{"pooling": "max", "uses": {"gap": "none", "place": "gates"}}']) o;
\set ECHO none
SELECT format('CALL dupn_run(%L, %L, %L)', 's', 'train',
	'{"hidden": 8, "max_events": 8, "epochs": 1, "batch_size": 64, "publish": false}'::jsonb || options) FROM variants ORDER BY version \gexec
\set ECHO all

-- what the networks consist of
SELECT v.options, config->'pooling' AS pooling, config->'recency_rows' > '1' AS types, config->'recency_bias' AS recency, config->'lag' AS lag,
	(SELECT string_agg(p->>'name' || ' ' || (p->>'use'), ', ') FROM jsonb_array_elements(config->'property') p) AS properties,
	(SELECT count(*) FROM jsonb_object_keys(header) k WHERE k LIKE 'attention%') AS attention
  FROM variants v JOIN _dupn.weight w USING (version)
  CROSS JOIN LATERAL (SELECT convert_from(substr(data, 9, get_byte(data, 0) + 256 * get_byte(data, 1)), 'UTF8')::jsonb) h (header)
  CROSS JOIN LATERAL (SELECT (header->'__metadata__'->>'config')::jsonb) c (config)
 WHERE w.model_id = (SELECT model_id FROM _dupn.model WHERE name = 's') AND part = 0 ORDER BY version;

-- one user, the rows of one, and many users at once: the same vectors; nobody's is 0 where the states go
CREATE FUNCTION apart(a dupn_vector, b dupn_vector) RETURNS float8 LANGUAGE sql AS
	$$SELECT max(abs(x - y)) FROM unnest(a::real[], b::real[]) t (x, y)$$;
SELECT v.options, max(apart(dupn_user_vector(u, 's', version => v.version), e.vector)) < 1e-5 AS many,
	bool_and(e.vector::real[] <> dupn_user_vector(1000, 's', version => v.version)::real[]) AS somebody
  FROM variants v CROSS JOIN generate_series(1, 20) u
  CROSS JOIN LATERAL dupn_user_vectors(ARRAY[u], 's', version => v.version) e
 GROUP BY v.version ORDER BY v.version;
SELECT v.options, (SELECT count(*) FROM dupn_recommend(5, 3, model => 's', version => v.version)) AS recommended FROM variants v ORDER BY version;
SELECT dupn_publish('s', 4);
SELECT max(apart(dupn_user_vector(user_id, 's'), vector)) < 1e-5 AS same
  FROM (SELECT user_id, dupn_embed(e, 's') AS vector FROM events e WHERE user_id < 20 GROUP BY user_id) v;

-- weights of behaviours, where there is attention; what a network does not read has no name
SELECT count(*) FROM dupn_attention(5, 's', version => 1);
SELECT DISTINCT behavior FROM dupn_attention(5, 's', version => 8);
SELECT * FROM dupn_attention(5, 's');
SELECT * FROM dupn_attention(5, 's', version => 2);

-- what makes no sense together
SELECT dupn_alter_model('s', '{"pooling": "last", "attention": [8, 8]}');
SELECT dupn_alter_model('s', '{"pooling": "mean", "properties": "attention"}');
SELECT dupn_alter_model('s', '{"pooling": "max", "uses": {"action": "both"}}');
SELECT dupn_alter_model('s', '{"properties": "gates", "uses": {"action": "both"}}');
SELECT dupn_alter_model('s', '{"properties": "gates", "uses": {"item_id": "none"}}');
SELECT dupn_create_model('n', 'switches.events', 'user_id', 'occurred_at', '{item_id}', '{action}', context_columns => '{query}',
	options => '{"pooling": "last"}');
SELECT dupn_create_model('n', 'switches.events', 'user_id', 'occurred_at', '{item_id}', '{action}', context_columns => '{query}',
	options => '{"pooling": "last", "context_in_vector": true}');
SELECT dupn_drop_model('n');
SELECT dupn_drop_model('s');
