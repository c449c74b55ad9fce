-- Texts as bags of words: of a query, of the catalog, of events.
CREATE SCHEMA words;
SET search_path = words, public;
SET timezone = 'UTC';
SET client_min_messages = warning;
CREATE TEXT SEARCH CONFIGURATION plain (COPY = simple);
CREATE TABLE items (id int PRIMARY KEY, title text);
INSERT INTO items SELECT i, (ARRAY['red', 'blue', 'green', 'the'])[1 + i % 4] || ' ' || (ARRAY['shoes', 'hats', 'running shirts'])[1 + i % 3] FROM generate_series(0, 23) i;
CREATE TABLE events (user_id int, occurred_at timestamptz, item_id int, note varchar(40), occurred int);
INSERT INTO events
SELECT u, '2024-01-01'::timestamptz + e * interval '7 hours' + u * interval '1 minute', (u + e) % 24, 'Note ' || e % 3, e
  FROM generate_series(1, 60) u, generate_series(1, 12) e;
CREATE TABLE impressions (user_id int, occurred_at timestamptz, item_id int, clicked boolean, query text, wish text);
INSERT INTO impressions
SELECT u, '2024-01-01'::timestamptz + e * interval '8 hours', (u * 3 + e) % 24, title LIKE '%' || q || '%',
	'Looking for ' || upper(q) || '!', CASE WHEN e % 3 > 0 THEN q || ' size ' || e END
  FROM generate_series(1, 60) u, generate_series(1, 12) e, LATERAL (SELECT (ARRAY['shoes', 'hats', 'shirt'])[1 + (u + e) % 3] AS q) q, items
 WHERE id = (u * 3 + e) % 24;
SELECT dupn_create_model('w', 'words.events', 'user_id', 'occurred_at', '{item_id,title}', '{note}', context_columns => '{query,wish}',
	catalog => 'items', catalog_key => 'id',
	options => '{"hidden": 8, "attention": [16, 8], "max_events": 8, "epochs": 2, "batch_size": 64, "context_in_vector": true,
		"encodings": {"title": {"words": "english"}, "query": {"table": "title"}, "wish": {"words": "words.plain"}, "note": {"words": "simple"}}}');
SELECT dupn_add_task('w', 'click', 'binary', samples => 'impressions', label => 'clicked', options => '{"hidden": [16]}');
SELECT count(*) > 5 AS estimated FROM dupn_estimate('w');
CALL dupn_run('w');
SELECT "group", feature, encoding, type, vocabulary FROM dupn_features WHERE model = 'w' AND encoding NOT LIKE 'derived' ORDER BY 1, 2;

-- one query in other words
CREATE TYPE titled AS (title text);
CREATE FUNCTION apart(a dupn_vector, b dupn_vector) RETURNS float8 LANGUAGE sql AS
	$$SELECT max(abs(x - y)) FROM unnest(a::real[], b::real[]) t (x, y)$$;
CREATE FUNCTION asked(context jsonb) RETURNS dupn_vector LANGUAGE sql AS
	$$SELECT dupn_user_vector(7, 'w', context, '2024-02-01')$$;
SELECT a, b, apart(asked(a::jsonb), asked(b::jsonb)) = 0 AS same FROM (VALUES
	('{"query": "Red SHOES!"}', '{"query": "the shoe, red and red"}'),
	('{"query": "shoes"}', '{"query": "hats"}'),
	('{"query": "the of and"}', '{}'), ('{"query": ""}', NULL), ('{"query": null}', '{"query": "!?"}'),
	('{"query": "zeppelin"}', '{"query": "quux"}'), ('{"query": "zeppelin"}', '{}'),
	('{"wish": "hats"}', '{"wish": "HATS"}'), ('{"wish": "hats"}', '{"wish": "hat"}')) v (a, b);
-- at most 32 words
SELECT apart(asked(jsonb_build_object('wish', string_agg('x' || i, ' ' ORDER BY i) || ' hats')),
	asked(jsonb_build_object('wish', string_agg('x' || i, ' ' ORDER BY i)))) = 0 AS cut,
	apart(asked(jsonb_build_object('wish', 'hats ' || string_agg('x' || i, ' ' ORDER BY i))),
	asked(jsonb_build_object('wish', string_agg('x' || i, ' ' ORDER BY i)))) = 0 AS not_cut
  FROM generate_series(1, 32) i;
-- all ways to a vector, and to an item, agree
SELECT max(apart(dupn_user_vector(user_id, 'w', '{"query": "red hats"}'), vector)) < 1e-5 AS embed
  FROM (SELECT user_id, dupn_embed(e, 'w', '{"query": "red hats"}') AS vector FROM events e WHERE user_id < 20 GROUP BY user_id) v;
SELECT max(abs(dupn_score('click', v, i) - dupn_score('click', v, i.id))) < 1e-5 AS score
  FROM items i, (SELECT asked('{"query": "hats"}') AS v OFFSET 0) u;
SELECT count(DISTINCT dupn_score('click', v, ROW(t)::titled)) FROM unnest(ARRAY['red hats', 'HAT red', 'the red hat']) t, (SELECT asked('{"query": "hats"}') AS v OFFSET 0) u;

-- what is no text of words
SELECT asked('{"query": 7}');
SELECT asked('{"query": ["red", "hats"]}');
SELECT asked('{"qury": "red"}');
SELECT dupn_alter_model('w', '{"encodings": {"title": {"words": "klingon"}}}');
SELECT dupn_alter_model('w', '{"encodings": {"title": {"words": 5}}}');
SELECT dupn_alter_model('w', '{"encodings": {"title": {"words": "a.b.c"}}}');
SELECT dupn_alter_model('w', '{"encodings": {"item_id": {"words": "english"}}}');
SELECT dupn_add_task('w', 'red', 'next_item', options => '{"where": {"title": "red"}}');
SELECT dupn_create_model('x', 'words.events', 'user_id', 'occurred_at', '{item_id,note,occurred}', options => '{"encodings": {"occurred": {"words": "english"}}}');

-- a configuration that is gone
DROP TEXT SEARCH CONFIGURATION plain;
SELECT asked('{"query": "hats"}') IS NOT NULL AS fine;
SELECT asked('{"wish": "hats"}');
\set VERBOSITY sqlstate
CALL dupn_run('w');
\set VERBOSITY default
SELECT dupn_drop_model('w');
