-- Tasks of kind "rank": declared, trained, and scored as weights times numbers.
CREATE SCHEMA ranks;
SET search_path = ranks, public;
SET timezone = 'UTC';
SET client_min_messages = warning;

CREATE FUNCTION draw(a int, b int) RETURNS float8 LANGUAGE sql IMMUTABLE
	AS $$ SELECT abs(hashint4(a * 7919 + b * 104729 + 17)::bigint) / 2147483648.0 $$;

-- Even users look for bargains, odd ones for good ratings; all of them say so by the shop they visit.
CREATE TABLE events (user_id int, item_id int, shop text, occurred_at timestamptz);
INSERT INTO events SELECT u, 10 * (u % 2) + (draw(u, i) * 10)::int, CASE u % 2 WHEN 0 THEN 'cheap' ELSE 'good' END,
		'2024-01-01'::timestamptz + i * interval '3 hours' + u * interval '1 minute'
	FROM generate_series(1, 120) u, generate_series(1, 12) i;
CREATE INDEX ON events (user_id, occurred_at);
CREATE TABLE catalog AS SELECT i AS id, 1.0 AS popularity FROM generate_series(0, 20) i;
CREATE TABLE shown AS SELECT row_number() OVER () AS id, u AS user_id, (draw(u, s + 7) * 20)::int AS item_id,
		'2024-01-02'::timestamptz + s * interval '11 hours' + u * interval '1 minute' AS shown_at, k AS position,
		(10 + 30 * draw(s * 10 + k, u))::numeric AS price, (1 + 4 * draw(s * 10 + k, u + 1000))::real AS rating, 5 AS stars, 'word' AS word
	FROM generate_series(1, 120) u, generate_series(0, 5) s, generate_series(0, 5) k;
ALTER TABLE shown ADD taken boolean;
UPDATE shown SET taken = draw(id::int, 3) < 1 / (1 + exp(1 - CASE user_id % 2 WHEN 0 THEN 3 * (25 - price) / 8.66 ELSE 3 * (rating - 3) / 1.15 END));
UPDATE shown SET price = NULL, rating = 'NaN' WHERE id % 40 = 0;

SELECT dupn_create_model('r', 'events', 'user_id', 'occurred_at', '{item_id,shop}', catalog => 'catalog', catalog_key => 'id',
	options => '{"hidden": 16, "attention": [16, 8], "max_events": 10, "epochs": 20, "learning_rate": 0.005, "dropout": 0.1, "batch_size": 32}');

-- mistakes
SELECT dupn_add_task('r', 'order', 'rank', 'shown', 'taken', options => '{"time_column": "shown_at"}');
\echo :SQLSTATE
SELECT dupn_add_task('r', 'order', 'rank', label => 'taken', features => '{rating}');
\echo :SQLSTATE
SELECT dupn_add_task('r', 'order', 'rank', 'shown', features => '{rating}', options => '{"time_column": "shown_at"}');
\echo :SQLSTATE
SELECT dupn_add_task('r', 'order', 'rank', 'shown', 'word', '{rating}', '{"time_column": "shown_at"}');
\echo :SQLSTATE
SELECT dupn_add_task('r', 'order', 'rank', 'shown', 'taken', '{-prize}', '{"time_column": "shown_at"}');
\echo :SQLSTATE
SELECT dupn_add_task('r', 'order', 'rank', 'shown', 'taken', '{price,-price}', '{"time_column": "shown_at"}');
\echo :SQLSTATE
SELECT dupn_add_task('r', 'order', 'rank', 'shown', 'taken', '{-word}', '{"time_column": "shown_at"}');
\echo :SQLSTATE
SELECT dupn_add_task('r', 'order', 'rank', 'shown', 'taken', '{-taken}', '{"time_column": "shown_at"}');
\echo :SQLSTATE
SELECT dupn_add_task('r', 'order', 'rank', 'shown', 'taken', '{rating,-popularity}', '{"time_column": "shown_at"}');
\echo :SQLSTATE
SELECT dupn_add_task('r', 'order', 'binary', 'shown', 'taken', '{popularity}', '{"time_column": "shown_at"}');
\echo :SQLSTATE
SELECT dupn_add_task('r', 'order', 'binary', 'shown', 'taken', '{-rating}', '{"time_column": "shown_at"}');
\echo :SQLSTATE
SELECT dupn_add_task('r', 'order', 'rank', 'shown', 'taken', '{rating}', '{"time_column": "shown_at", "candidate": ["shop"]}');
\echo :SQLSTATE

SELECT dupn_add_task('r', 'order', 'rank', 'shown', 'taken', '{rating,-price,stars}', '{"time_column": "shown_at", "hidden": [16]}');
SELECT remark FROM dupn_estimate('r') WHERE quantity = 'samples of order';
CALL dupn_run('r');
SELECT message ~ '^version 1 published: "order" learned' AS learned, notes FROM dupn_jobs WHERE model = 'r';
SELECT metric, value > baseline_value AS better FROM dupn_metrics WHERE model = 'r' AND slice = 'all' AND metric LIKE '%auc' ORDER BY 1;
SELECT DISTINCT source FROM dupn_baselines WHERE model = 'r' ORDER BY 1;

-- Weights are what the user looks for, and never negative.
CREATE TABLE vectors AS SELECT u AS user_id, dupn_user_vector(u, 'r', as_of => '2024-02-01') AS v FROM generate_series(1, 120) u;
SELECT string_agg(feature, ',') FROM vectors, dupn_rank_weights('order', v) WHERE user_id = 1;
SELECT bool_and(weight >= 0) AS not_negative,
	avg(weight) FILTER (WHERE feature = 'rating' AND user_id % 2 = 1) > 3 * avg(weight) FILTER (WHERE feature = 'rating' AND user_id % 2 = 0) AS good,
	avg(weight) FILTER (WHERE feature = '-price' AND user_id % 2 = 0) > 3 * avg(weight) FILTER (WHERE feature = '-price' AND user_id % 2 = 1) AS cheap
	FROM vectors, dupn_rank_weights('order', v);

-- By hand: the numbers less their mean over their deviation, before the hold-out.  What is not known is the mean.
CREATE VIEW statistics AS SELECT avg(price) AS price, stddev_pop(price) AS price_deviation, avg(rating) AS rating, stddev_pop(rating) AS rating_deviation
	FROM (SELECT price, NULLIF(rating, 'NaN')::float8 AS rating FROM shown WHERE shown_at < (SELECT cut FROM dupn_versions WHERE model = 'r')) s;
CREATE VIEW rows AS SELECT id, user_id, rating, price, stars FROM shown WHERE id % 17 = 0;
SELECT count(*) > 100 AS scored, max(abs(score - by_hand)) < 1e-4 AS same FROM (
	SELECT dupn_score('order', v, r) AS score,
		dupn_score('order', v, n) + (SELECT sum(weight * CASE feature WHEN 'rating' THEN COALESCE((NULLIF(r.rating, 'NaN') - s.rating) / rating_deviation, 0)
			WHEN '-price' THEN COALESCE(-(r.price - s.price) / price_deviation, 0) ELSE 0 END) FROM dupn_rank_weights('order', v)) AS by_hand
	FROM rows r JOIN vectors USING (user_id), statistics s, (SELECT NULL::real AS rating, NULL::numeric AS price, NULL::int AS stars) n) x;
SELECT count(DISTINCT dupn_score('order', v, n)) AS intercepts FROM vectors, (SELECT NULL::real AS rating, 'NaN'::numeric AS price, NULL::int AS stars) n;

\set VERBOSITY default
SELECT dupn_score('order', v, r) FROM vectors, (SELECT 1 AS rating, 2 AS stars) r LIMIT 1;
\echo :SQLSTATE
SELECT dupn_score('order', v, r) FROM vectors, (SELECT 1 AS rating, 2 AS stars, 'dear' AS price) r LIMIT 1;
\echo :SQLSTATE
SELECT dupn_score('order', v, 1) FROM vectors LIMIT 1;
\echo :SQLSTATE
SELECT dupn_score('order', v, ARRAY[1]) FROM vectors LIMIT 1;
\echo :SQLSTATE
SELECT dupn_score('order', v) FROM vectors LIMIT 1;
\echo :SQLSTATE
SELECT dupn_classify('order', v) FROM vectors LIMIT 1;
\echo :SQLSTATE

-- Another kind, and no such task.
SELECT dupn_create_model('b', 'events', 'user_id', 'occurred_at', '{item_id}', options => '{"hidden": 8, "attention": [8, 4], "epochs": 1}');
SELECT dupn_add_task('b', 'take', 'binary', 'shown', 'taken', options => '{"time_column": "shown_at"}');
CALL dupn_run('b');
SELECT dupn_rank_weights('take', dupn_user_vector(1, 'b'));
\echo :SQLSTATE
SELECT dupn_rank_weights('ordre', v) FROM vectors LIMIT 1;
\echo :SQLSTATE
SELECT dupn_rank_weights('order', NULL);

-- Places: what is shown first is taken more often, and what is popular is shown first.  The popularity itself does nothing.
CREATE TABLE paged AS SELECT user_id, shown_at, rating, draw(id::int, 11) AS popular, item_id, 'request ' || user_id % 3 AS request,
		floor(3 * (1 - draw(id::int, 11)) + 3 * draw(id::int, 12))::int AS place FROM shown WHERE rating <> 'NaN';
ALTER TABLE paged ADD taken boolean;
UPDATE paged SET taken = draw(item_id + (1000 * rating)::int, user_id + 77) < 1 / (1 + exp(-1 - 1.5 * (rating - 3) / 1.15 + 0.8 * place));
SELECT dupn_create_model(name, 'events', 'user_id', 'occurred_at', '{item_id,shop}',
	options => '{"hidden": 8, "attention": [8, 4], "max_events": 10, "epochs": 40, "patience": 40, "learning_rate": 0.01, "dropout": 0, "batch_size": 64}')
	FROM unnest('{unplaced,placed}'::text[]) name;
SELECT dupn_add_task('placed', 'order', 'rank', 'paged', 'taken', '{rating}', '{"time_column": "shown_at", "position_column": "prize"}');
\echo :SQLSTATE
SELECT dupn_add_task('placed', 'order', 'rank', 'paged', 'taken', '{rating}', '{"time_column": "shown_at", "position_column": "popular"}');
\echo :SQLSTATE
SELECT dupn_add_task('placed', 'order', 'multiclass', 'paged', 'taken', options => '{"time_column": "shown_at", "position_column": "place"}');
\echo :SQLSTATE
SELECT dupn_add_task('unplaced', 'order', 'rank', 'paged', 'taken', '{rating,popular}', '{"time_column": "shown_at"}');
SELECT dupn_add_task('placed', 'order', 'rank', 'paged', 'taken', '{rating,popular}', '{"time_column": "shown_at", "position_column": "place"}');
CALL dupn_run('unplaced', 'train', '{"decay": 1}');
CALL dupn_run('placed', 'train', '{"decay": 1}');
SELECT sum(weight) FILTER (WHERE feature = 'popular' AND model = 'placed') < 0.7 * sum(weight) FILTER (WHERE feature = 'popular' AND model = 'unplaced') AS explained,
	sum(weight) FILTER (WHERE feature = 'rating' AND model = 'placed') > 0.8 * sum(weight) FILTER (WHERE feature = 'rating' AND model = 'unplaced') AS kept
	FROM (VALUES ('placed'), ('unplaced')) m(model), generate_series(1, 60) u, dupn_rank_weights('order', dupn_user_vector(u, model));
-- scores are those of a mean place: as likely on average as what was taken
SELECT model, abs(avg(1 / (1 + exp(-dupn_score('order', v, p)))) - avg(taken::int)) < 0.05 AS calibrated
	FROM (VALUES ('placed'), ('unplaced')) m(model), LATERAL (SELECT u, dupn_user_vector(u, model) v FROM generate_series(1, 120) u) x
	JOIN paged p ON user_id = u GROUP BY 1 ORDER BY 1;

-- Pairs of what was offered together.
SELECT dupn_create_model('pairs', 'events', 'user_id', 'occurred_at', '{item_id,shop}',
	options => '{"hidden": 8, "attention": [8, 4], "max_events": 10, "epochs": 2, "learning_rate": 0.01, "batch_size": 512}');
SELECT dupn_add_task('pairs', 'order', 'rank', 'paged', 'taken', '{rating}', '{"time_column": "shown_at", "group_column": "request"}');
\echo :SQLSTATE
SELECT dupn_add_task('pairs', 'order', 'rank', 'paged', 'taken', '{rating}', '{"time_column": "shown_at", "pairwise": 0.5, "group_column": "page"}');
\echo :SQLSTATE
SELECT dupn_add_task('pairs', 'order', 'rank', 'paged', 'taken', '{rating}', '{"time_column": "shown_at", "pairwise": 0.5, "group_column": "popular"}');
\echo :SQLSTATE
SELECT dupn_add_task('pairs', 'order', 'rank', 'paged', 'taken', '{rating}', '{"time_column": "shown_at", "pairwise": true}');
\echo :SQLSTATE
SELECT dupn_add_task('pairs', 'order', 'rank', 'paged', 'taken', '{rating}', '{"time_column": "shown_at", "pairwise": 2}');
\echo :SQLSTATE
SELECT dupn_add_task('pairs', 'take', 'binary', 'paged', 'taken', options => '{"time_column": "shown_at", "candidate": [], "pairwise": 0.5}');
\echo :SQLSTATE
SELECT dupn_add_task('pairs', 'order', 'rank', 'paged', 'taken', '{rating,popular}', '{"time_column": "shown_at", "pairwise": 0.5, "group_column": "request", "position_column": "place"}');
SELECT dupn_add_task('pairs', 'take', 'binary', 'paged', 'taken', options => '{"time_column": "shown_at", "pairwise": 1, "position_column": "place"}');
CALL dupn_run('pairs');
-- shares of a team hold all of a moment, and so of a group
CALL dupn_run('pairs', 'train', '{"workers": 2}');
SELECT max(abs(a.weight - b.weight)) < 1e-3 AS same FROM generate_series(1, 20) u, dupn_rank_weights('order', dupn_user_vector(u, 'pairs', version => 1)) a
	JOIN LATERAL dupn_rank_weights('order', dupn_user_vector(u, 'pairs', version => 2)) b USING (feature);
SELECT value > 0.75 AS learned FROM dupn_metrics WHERE model = 'pairs' AND task = 'order' AND version = 2 AND slice = 'all' AND metric = 'auc';
-- the intercept has no part in pairs: alone, they leave it at the share of positives
SELECT dupn_drop_task('pairs', 'take');
SELECT dupn_drop_task('pairs', 'order');
SELECT dupn_add_task('pairs', 'order', 'rank', 'paged', 'taken', '{rating}', '{"time_column": "shown_at", "pairwise": 1, "calibrate": false}');
CALL dupn_run('pairs', 'train', '{"refit": false}');
SELECT abs(1 / (1 + exp(-dupn_score('order', dupn_user_vector(1, 'pairs'), r))) -
	(SELECT avg(taken::int) FROM paged WHERE shown_at < (SELECT max(cut) FROM dupn_versions WHERE model = 'pairs'))) < 1e-6 AS base_rate FROM (SELECT NULL::real AS rating) r;
-- nothing offered together
UPDATE paged SET shown_at = shown_at + place * interval '1 second' + popular * interval '1 second';
\set VERBOSITY sqlstate
CALL dupn_run('pairs');
SELECT message FROM dupn_jobs WHERE model = 'pairs' ORDER BY job_id DESC LIMIT 1;

SELECT dupn_drop_model(model) FROM dupn_models WHERE model IN ('r', 'b', 'placed', 'unplaced', 'pairs');
DROP SCHEMA ranks CASCADE;
