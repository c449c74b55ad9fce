-- Tasks together: calibrated probabilities.
CREATE SCHEMA mixing;
SET search_path = mixing, public;
SET timezone = 'UTC';
SET client_min_messages = warning;
\set VERBOSITY terse

-- 200 users who like one of four shelves; a click counts five times in training.
CREATE TABLE events (user_id int, occurred_at timestamptz, item_id int, shelf int, action text);
INSERT INTO events
SELECT u, '2024-01-01'::timestamptz + e * interval '5 hours' + u * interval '1 minute', i, i % 4,
	CASE WHEN (u + e) % 3 = 0 THEN 'buy' ELSE 'view' END
  FROM generate_series(1, 200) u, generate_series(1, 24) e,
	LATERAL (SELECT (CASE WHEN (u * 7 + e * 13) % 5 = 0 THEN u * e ELSE (u * e) * 4 + u % 4 END) % 40 AS i) x;
CREATE TABLE impressions (user_id int, occurred_at timestamptz, item_id int, clicked boolean, importance real);
INSERT INTO impressions
SELECT u, '2024-01-02'::timestamptz + e * interval '7 hours', i, clicked, CASE WHEN clicked THEN 5 ELSE 1 END
  FROM generate_series(1, 200) u, generate_series(1, 16) e, LATERAL (SELECT (u * 11 + e * 17) % 40 AS i) x,
	LATERAL (SELECT CASE WHEN i % 4 = u % 4 THEN abs(hashint4(u * 100 + e)) % 10 < 5 ELSE abs(hashint4(u * 100 + e)) % 10 < 1 END AS clicked) y;

SELECT dupn_create_model('mix', 'events', 'user_id', 'occurred_at', '{item_id,shelf}', '{action}',
	options => '{"hidden": 16, "attention": [16, 8], "max_events": 10, "epochs": 6, "learning_rate": 0.01, "batch_size": 64,
		"holdout": "2024-01-05", "refit": false}');
SELECT dupn_add_task('mix', 'click', 'binary', samples => 'impressions', label => 'clicked',
	options => '{"weight_column": "importance", "hidden": [16], "candidate_dim": 8}');
SELECT dupn_add_task('mix', 'shelf', 'multiclass', label => 'shelf', options => '{"hidden": [16]}');
CALL dupn_run('mix', options => '{"calibrate": false}');
CALL dupn_run('mix');

-- Without calibration the weights are in the probabilities; with it they are
-- shares again, in the same order.
CREATE TEMP TABLE scored AS
SELECT version, i.*, dupn_score('click', dupn_user_vector(user_id, 'mix', as_of => i.occurred_at, version => version), i.item_id::bigint) AS score
  FROM impressions i, generate_series(1, 2) version WHERE i.occurred_at >= '2024-01-05';
SELECT version, abs(avg(score) - avg(clicked::int)) < .03 AS calibrated, avg(score) > avg(clicked::int) + .15 AS too_high
  FROM scored GROUP BY version ORDER BY version;
SELECT corr(ln(a.score / (1 - a.score)), ln(b.score / (1 - b.score))) > .99999 AS one_line,
	regr_slope(ln(b.score / (1 - b.score)), ln(a.score / (1 - a.score))) > 0 AS same_order
  FROM scored a JOIN scored b USING (user_id, occurred_at, item_id) WHERE a.version = 1 AND b.version = 2;
SELECT abs(a.value - b.value) < 1e-6 AS same_auc FROM dupn_metrics a JOIN dupn_metrics b USING (task, metric, slice)
 WHERE a.model = 'mix' AND b.model = 'mix' AND a.version = 1 AND b.version = 2 AND metric = 'auc' AND slice = 'all';

-- What is reported is what is served.
SELECT task, abs(a.value - b.value) > 1e-4 AS log_loss_differs FROM dupn_metrics a JOIN dupn_metrics b USING (task, metric, slice)
 WHERE a.model = 'mix' AND b.model = 'mix' AND a.version = 1 AND b.version = 2 AND metric = 'log_loss' AND slice = 'all' ORDER BY task;

-- Classes keep their order, and add up to 1.
SELECT count(DISTINCT class), bool_and(abs(total - 1) < 1e-5) FROM (
	SELECT DISTINCT ON (version) class, sum(probability) OVER (PARTITION BY version) AS total
	  FROM generate_series(1, 2) version, dupn_classify('shelf', dupn_user_vector(5, 'mix', version => version))
	 ORDER BY version, probability DESC) c;

-- Of one task alone: for the others, as before.
SELECT dupn_drop_task('mix', 'click');
SELECT dupn_add_task('mix', 'click', 'binary', samples => 'impressions', label => 'clicked',
	options => '{"weight_column": "importance", "hidden": [16], "candidate_dim": 8, "calibrate": false}');
CALL dupn_run('mix');
SELECT abs(avg(dupn_score('click', dupn_user_vector(user_id, 'mix', as_of => i.occurred_at, version => 3), i.item_id::bigint)) - avg(clicked::int)) > .15 AS too_high
  FROM impressions i WHERE i.occurred_at >= '2024-01-05';

-- What makes no sense.
SELECT dupn_add_task('mix', 'next', 'next_item', options => '{"calibrate": false}');
SELECT dupn_alter_model('mix', '{"calibrate": 1}');

SELECT dupn_drop_model('mix');
DROP SCHEMA mixing CASCADE;
