-- Candidates that are no items of the events: any part of an item, or things of their own.
CREATE SCHEMA things;
SET search_path = things, public;
SET timezone = 'UTC';
SET client_min_messages = warning;

CREATE FUNCTION draw(a int, b int) RETURNS float8 LANGUAGE sql IMMUTABLE
	AS $$ SELECT abs(hashint4(a * 7919 + b * 104729 + 17)::bigint) / 2147483648.0 $$;
CREATE TABLE events (user_id int, item_id int, shop_id int, occurred_at timestamptz);
INSERT INTO events SELECT u, s * 10 + (draw(u, i) * 10)::int, s, '2024-01-01'::timestamptz + i * interval '5 hours' + u * interval '1 minute'
	FROM generate_series(1, 150) u, generate_series(1, 10) i, LATERAL (SELECT CASE WHEN draw(i, u) < 0.8 THEN u % 4 ELSE (draw(u, i + 50) * 4)::int % 4 END AS s) x;
CREATE INDEX ON events (user_id, occurred_at);

-- Shop preference: samples of user, shop, time and label alone.
CREATE TABLE preferred AS SELECT u AS user_id, s AS shop_id, '2024-01-02'::timestamptz + d * interval '9 hours' + u * interval '1 minute' AS occurred_at,
		draw(u * 10 + s, d) < CASE WHEN s = u % 4 THEN 0.9 ELSE 0.1 END AS prefers
	FROM generate_series(1, 150) u, generate_series(0, 3) s, generate_series(0, 4) d;
-- Icons: of three looks and a few words; who visits shop n likes the look n % 2 and the word n.
CREATE TABLE icons AS SELECT i AS icon, 'look ' || i % 2 AS look, ARRAY['word ' || i % 4, 'word ' || 4 + i % 3] AS words FROM generate_series(0, 23) i;
CREATE TABLE icons_shown AS SELECT u AS user_id, icon, look, words, '2024-01-02'::timestamptz + d * interval '9 hours' + u * interval '1 minute' AS occurred_at,
		draw(u * 31 + icon, d + 9) < CASE WHEN icon % 4 = u % 4 THEN 0.9 WHEN icon % 2 = u % 2 THEN 0.5 ELSE 0.05 END AS clicked
	FROM generate_series(1, 150) u, generate_series(0, 4) d, generate_series(0, 4) k, LATERAL (SELECT * FROM icons WHERE icon = (draw(u * 5 + k, d) * 24)::int % 24) i;

SELECT dupn_create_model('t', 'events', 'user_id', 'occurred_at', '{item_id,shop_id}',
	options => '{"hidden": 16, "attention": [8, 4], "max_events": 10, "epochs": 15, "learning_rate": 0.01, "dropout": 0.1, "batch_size": 64}');

-- mistakes
SELECT dupn_add_task('t', 'icon', 'binary', 'icons_shown', 'clicked', options => '{"things": ["icn"]}');
\echo :SQLSTATE
SELECT dupn_add_task('t', 'icon', 'binary', 'icons_shown', 'clicked', options => '{"things": []}');
\echo :SQLSTATE
SELECT dupn_add_task('t', 'icon', 'binary', 'icons_shown', 'clicked', options => '{"things": ["look", "look"]}');
\echo :SQLSTATE
SELECT dupn_add_task('t', 'icon', 'binary', 'preferred', 'prefers', options => '{"things": ["shop_id"]}');
\echo :SQLSTATE
SELECT dupn_add_task('t', 'icon', 'rank', 'icons_shown', 'clicked', '{icon}', '{"things": ["look"]}');
\echo :SQLSTATE
SELECT dupn_add_task('t', 'icon', 'binary', options => '{"things": ["look"], "negatives": 2}');
\echo :SQLSTATE
SELECT dupn_add_task('t', 'icon', 'binary', 'icons_shown', 'clicked', options => '{"things": ["occurred_at"]}');
\echo :SQLSTATE

SELECT dupn_add_task('t', 'shop', 'binary', 'preferred', 'prefers', options => '{"candidate": ["shop_id"], "hidden": [16], "candidate_dim": 16}');
SELECT dupn_add_task('t', 'icon', 'binary', 'icons_shown', 'clicked', options => '{"things": ["look", "words"], "hidden": [16], "candidate_dim": 16}');
SELECT dupn_add_task('t', 'look', 'binary', 'icons_shown', 'clicked', options => '{"things": ["look"], "hidden": [16], "candidate_dim": 16}');
SELECT "group", feature, source, encoding, type FROM dupn_features WHERE model = 't' AND "group" = 'thing';
CALL dupn_run('t');
SELECT task, value > 0.75 AS learned FROM dupn_metrics WHERE model = 't' AND slice = 'all' AND metric = 'auc' AND task <> 'look' ORDER BY task;

-- The shop that a user visits, and icons of its look and word, are liked most.
CREATE TABLE vectors AS SELECT u AS user_id, dupn_user_vector(u, 't', as_of => '2024-01-05') AS v FROM generate_series(1, 60) u;
SELECT avg((best = user_id % 4)::int) > 0.9 AS shops FROM (
	SELECT DISTINCT ON (user_id) user_id, shop_id AS best FROM vectors, (SELECT s AS shop_id FROM generate_series(0, 3) s) x ORDER BY user_id, dupn_score('shop', v, x) DESC) b;
SELECT avg((best % 4 = user_id % 4)::int) > 0.9 AS icons FROM (
	SELECT DISTINCT ON (user_id) user_id, icon AS best FROM vectors, icons x ORDER BY user_id, dupn_score('icon', v, x) DESC) b;
-- who sees a look alone, knows only looks; two of one look have one score
SELECT count(DISTINCT s) AS scores FROM (SELECT dupn_score('look', v, x) AS s FROM vectors, icons x WHERE user_id = 5) y;
-- what was never seen is unknown, whatever it is; NULL is missing
SELECT count(DISTINCT dupn_score('look', v, x)) AS unknown FROM vectors, (VALUES ('new'), ('newer')) x(look) WHERE user_id = 5;
SELECT count(dupn_score('icon', v, x)) AS scored FROM vectors, (SELECT NULL AS look, NULL::text[] AS words) x WHERE user_id = 5;
SELECT dupn_score('icon', v, x) FROM vectors, (SELECT 'look 1' AS look) x LIMIT 1;
\echo :SQLSTATE
SELECT dupn_score('icon', v, x) FROM vectors, (SELECT 1 AS look, ARRAY['a'] AS words) x LIMIT 1;
\echo :SQLSTATE
SELECT dupn_score('icon', v, 1) FROM vectors LIMIT 1;
\echo :SQLSTATE
SELECT dupn_score('icon', v, ARRAY[1]) FROM vectors LIMIT 1;
\echo :SQLSTATE
SELECT dupn_score('icon', v) FROM vectors LIMIT 1;
\echo :SQLSTATE
-- nothing of it is kept for items
SELECT dupn_alter_model('t', '{"cache_items": true}');
SELECT count(dupn_score('icon', v, x)) = count(*) AS scored FROM vectors, icons x;

SELECT dupn_drop_model('t');
DROP SCHEMA things CASCADE;
