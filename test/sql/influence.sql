-- What a score would be without each behaviour, and what a query changes.
CREATE SCHEMA influence;
SET search_path = influence, public;
SET timezone = 'UTC';
SET client_min_messages = warning;
CREATE TABLE events (id serial, user_id int, occurred_at timestamptz, item_id int, kind int, action text);
INSERT INTO events (user_id, occurred_at, item_id, kind, action)
SELECT u, '2024-01-01'::timestamptz + e / 2 * interval '7 hours' + u * interval '1 minute', (u * e) % 20, (u * e) % 20 / 5,
	(ARRAY['view', 'view', 'buy'])[1 + e % 3]
  FROM generate_series(1, 60) u, generate_series(1, 14) e;
INSERT INTO events (user_id, occurred_at, item_id, kind, action)
SELECT 100, '2024-01-01'::timestamptz + e * interval '5 hours', e % 20, e % 20 / 5, 'view' FROM generate_series(1, 4) e;
CREATE TYPE priced AS (price real);
CREATE TABLE impressions (user_id int, occurred_at timestamptz, item_id int, kind int, clicked boolean, price real, query int, even boolean);
INSERT INTO impressions
SELECT u, '2024-01-02'::timestamptz + e * interval '13 hours', (u * 3 + e) % 20, (u * 3 + e) % 20 / 5, u % 2 = 0 AND e % 5 > 0, e % 5, e % 4, u % 2 = 0
  FROM generate_series(1, 60) u, generate_series(1, 12) e;
SELECT dupn_create_model('i', 'influence.events', 'user_id', 'occurred_at', '{item_id,kind}', '{action}', context_columns => '{query}',
	options => '{"hidden": 8, "attention": [16, 8], "max_events": 8, "epochs": 10, "learning_rate": 0.02, "batch_size": 64, "context_dropout": 0.1,
		"encodings": {"query": {"table": "kind"}}}');
SELECT dupn_add_task('i', 'click', 'binary', samples => 'impressions', label => 'clicked', options => '{"hidden": [16]}');
SELECT dupn_add_task('i', 'again', 'binary', samples => 'impressions', label => 'even', options => '{"hidden": [16], "candidate": []}');
SELECT dupn_add_task('i', 'worth', 'rank', samples => 'impressions', label => 'clicked', features => '{price}');
SELECT dupn_add_task('i', 'kind', 'multiclass', label => 'kind');
SELECT dupn_add_task('i', 'next', 'next_item', options => '{"memory": false}');
CALL dupn_run('i');

-- by the rows themselves: each is deleted, and the question asked again
CREATE FUNCTION deleted(score text, id int) RETURNS real LANGUAGE plpgsql AS $$
DECLARE
	result real;
BEGIN
	BEGIN
		DELETE FROM influence.events e WHERE e.id = deleted.id;
		EXECUTE format('SELECT %s FROM (SELECT dupn_user_vector(7, ''i'', as_of => ''2024-02-01'') AS v OFFSET 0) u', score) INTO result;
		RAISE division_by_zero;
	EXCEPTION WHEN division_by_zero THEN
		RETURN result;
	END;
END $$;
CREATE FUNCTION compare(score text, what text) RETURNS TABLE (rows bigint, without boolean, difference boolean, ranked boolean) LANGUAGE plpgsql AS $$
BEGIN
	RETURN QUERY EXECUTE format('SELECT count(*), bool_and(abs(score_without - by_hand) < 1e-5), bool_and(abs(influence - (whole - by_hand)) < 1e-5),
			bool_and(abs(influence) <= coalesce(before, 100))
		FROM (SELECT i.*, influence.deleted(%1$L, e.id) AS by_hand, w.whole, lag(abs(i.influence)) OVER (ORDER BY rank) AS before
				FROM %2$s i JOIN influence.events e ON e.user_id = 7 AND e.occurred_at = i.occurred_at AND e.item_id = i.item::int AND e.action = i.behavior,
				LATERAL (SELECT influence.deleted(%1$L, 0) AS whole) w) x', score, what);
END $$;
SELECT * FROM compare('dupn_score(''click'', v, 3)', 'dupn_influence(''click'', 7, 3, ''i'', as_of => ''2024-02-01'')');
SELECT * FROM compare('dupn_score(''click'', v, ''3'')', 'dupn_influence(''click'', ''7'', ''3'', ''i'', as_of => ''2024-02-01'')');
SELECT * FROM compare('dupn_score(''click'', v, (SELECT m FROM influence.impressions m WHERE user_id = 7 ORDER BY occurred_at LIMIT 1))',
	'(SELECT i.* FROM influence.impressions m, dupn_influence(''click'', 7, m, ''i'', as_of => ''2024-02-01'') i
		WHERE m.user_id = 7 AND m.occurred_at = (SELECT min(occurred_at) FROM influence.impressions WHERE user_id = 7))');
SELECT * FROM compare('dupn_score(''again'', v)', 'dupn_influence(''again'', 7, model => ''i'', as_of => ''2024-02-01'')');
SELECT * FROM compare('dupn_score(''worth'', v, ROW(2.5)::influence.priced)',
	'dupn_influence(''worth'', 7, ROW(2.5)::influence.priced, ''i'', as_of => ''2024-02-01'')');
SELECT * FROM compare('(SELECT probability FROM dupn_classify(''kind'', v) WHERE class = ''1'')',
	'dupn_influence(''kind'', 7, 1, ''i'', as_of => ''2024-02-01'')');
SELECT * FROM compare('(SELECT score FROM dupn_recommend(7, 50, as_of => ''2024-02-01'', model => ''i'') WHERE item = ''3'')',
	'dupn_influence(''next'', 7, 3, ''i'', as_of => ''2024-02-01'')');
SELECT max(abs(influence)) > 1e-6 AS moved FROM (VALUES ('click', '3'), ('again', NULL), ('kind', '1'), ('kind', '2')) q (task, candidate),
	LATERAL (SELECT influence FROM dupn_influence(task, 7, candidate, 'i', as_of => '2024-02-01') WHERE candidate IS NOT NULL
		UNION ALL SELECT influence FROM dupn_influence('again', 7, NULL, 'i', as_of => '2024-02-01')) i;
-- a history that is shorter than the window; nobody; nothing asked
SELECT count(*), sum(weight)::numeric(6, 4), min(rank), max(rank) FROM dupn_influence('click', 100, 3, 'i');
SELECT count(*) FROM dupn_influence('click', 1000, 3, 'i');
SELECT count(*) FROM dupn_influence('click', NULL::int, 3, 'i');
SELECT count(*) FROM dupn_influence('click', 7, NULL::int, 'i');
SELECT count(*) FROM (VALUES (1)) v LEFT JOIN impressions m ON false, dupn_influence('click', 7, m, 'i');
-- what does not matter changes nothing: events after the moment asked about
SELECT bool_and(occurred_at < '2024-01-02'), count(*) FROM dupn_influence('click', 7, 3, 'i', as_of => '2024-01-02');

-- questions without an answer
SELECT * FROM dupn_influence('clicks', 7, 3, 'i');
SELECT * FROM dupn_influence('click', 7, NULL, 'i');
SELECT * FROM dupn_influence('click', 7, 'three', 'i');
SELECT * FROM dupn_influence('again', 7, 3, 'i');
SELECT * FROM dupn_influence('worth', 7, 3, 'i');
SELECT * FROM dupn_influence('kind', 7, NULL, 'i');
SELECT * FROM dupn_influence('kind', 7, 77, 'i');
SELECT * FROM dupn_influence('next', 7, NULL, 'i');
SELECT * FROM dupn_influence('next', 7, ROW(3)::priced, 'i');
SELECT * FROM dupn_influence('next', 7, 33, 'i');
SELECT * FROM dupn_influence('next', 7, 'x', 'i');
SELECT * FROM dupn_influence('click', '9e9', 3, 'i');

-- what a query changes: weights, here as there; and a moment without one is that of an unknown one
SELECT sum(abs(a.weight - b.weight)) > 1e-4 AS weights FROM dupn_attention(7, 'i', '{"query": 1}') a JOIN dupn_attention(7, 'i', '{"query": 2}') b USING (occurred_at, item);
SELECT bool_and(a.weight = b.weight) AS same_weights
  FROM dupn_attention(7, 'i', '{"query": 1}') a JOIN dupn_influence('click', 7, 3, 'i', '{"query": 1}') b USING (occurred_at, item, behavior);
SELECT bool_and(a.weight = b.weight) AS same FROM dupn_attention(7, 'i') a JOIN dupn_attention(7, 'i', '{"query": null}') b USING (occurred_at, item);
SELECT dupn_drop_model('i');
