-- Evaluations: the same samples as a training reports give the same metrics, a
-- version beside itself differs in nothing, ranges and relations are the
-- caller's, and what makes no sense is refused.
CREATE SCHEMA evaluate;
SET search_path = evaluate, public;
SET timezone = 'UTC';
SET client_min_messages = warning;
CREATE TABLE items (id int PRIMARY KEY, ring int);
INSERT INTO items SELECT i, i % 7 FROM generate_series(0, 39) i;
CREATE TABLE events AS
SELECT u AS user_id, '2024-01-01'::timestamptz + n * interval '5 hours' + u * interval '1 second' AS t,
	(u + n + abs(hashint4(u * 100 + n)) % 3) % 40 AS item_id, CASE WHEN (u + n) % 3 = 0 THEN 'buy' ELSE 'view' END AS action,
	(ARRAY['low', 'mid', 'high'])[1 + (u + n / 4) % 3] AS level
  FROM generate_series(1, 250) u, generate_series(1, 15) n;
CREATE TABLE impressions AS
SELECT u AS user_id, '2024-01-01 01:00Z'::timestamptz + n * interval '5 hours' AS t, abs(hashint4(u * 13 + n)) % 40 AS item_id,
	abs(hashint4(u * 31 + n * 7)) % 100 < CASE WHEN abs(hashint4(u * 13 + n)) % 40 % 7 < 3 THEN 60 ELSE 15 END AS clicked
  FROM generate_series(1, 250) u, generate_series(1, 15) n;
SELECT dupn_create_model('e', 'events', 'user_id', 't', '{item_id,ring}', '{action}', catalog => 'items', catalog_key => 'id',
	options => '{"epochs": 2, "hidden": 8, "attention": [8, 4], "max_events": 8, "refit": false, "holdout": "2024-01-03 12:00Z", "learning_rate": 0.01, "decay": 1, "item_encoding": "concat", "publish": "always"}');
SELECT dupn_add_task('e', 'click', 'binary', samples => 'impressions', label => 'clicked');
SELECT dupn_add_task('e', 'level', 'multiclass', label => 'level');
SELECT dupn_add_task('e', 'next', 'next_item', options => '{"k": [5, 10], "memory": false, "repeat": false}');
SELECT dupn_add_task('e', 'again', 'next_item', options => '{"where": {"action": "buy"}}');
-- the second learns more than the first can
CALL dupn_run('e', 'train', '{"learning_rate": 1e-8}');
CALL dupn_run('e', 'train', '{"epochs": 6, "patience": 6, "seed": 7}');
CALL dupn_run('e', 'train', '{"epochs": 6, "refit": true, "publish": false}');

-- what a training reports
CALL dupn_run('e', 'evaluate', '{"version": 1, "users": "reported"}');
SELECT (SELECT count(*) FROM dupn_baselines WHERE version = 1) = count(*) AS all, count(*) > 250 AS many,
	count(*) FILTER (WHERE b.value IS NULL) AS missing,
	max(abs(b.value - e.value)) < 1e-5 AND max(abs(b.low - e.low)) < 1e-3 AND max(abs(b.difference_high - e.difference_high)) < 1e-3 AS same, bool_and(b.samples = e.samples) AS samples
  FROM dupn_evaluations e LEFT JOIN dupn_baselines b USING (version, task, source, metric, slice);
SELECT (SELECT count(*) FROM dupn_calibration WHERE job_id IS NULL AND version = 1) = count(*) AS same FROM dupn_calibration WHERE job_id IS NOT NULL;
SELECT version, since, until, other_version FROM dupn_evaluations GROUP BY 1, 2, 3, 4;
SELECT state, version, message ~ '^version 1 since 2024-01-03 12:00:00.* "next" hr@10 0\.[0-9]* \(0\.[0-9]* to 0\.[0-9]*\) against [01]\.[0-9]* for ' AS sentence
  FROM dupn_jobs WHERE action = 'evaluate';

-- all users, a range of its own, some tasks; what was trained on is said
SELECT dupn_evaluate('e', 2, '2024-01-03', '2024-01-03 18:00Z', '{"tasks": ["click", "level"], "baselines": false}') AS job \gset
SELECT dupn_wait(:job);
SELECT DISTINCT task, source, samples,
	CASE task WHEN 'click' THEN (SELECT count(*) FROM impressions WHERE t >= '2024-01-03' AND t < '2024-01-03 18:00Z')
		ELSE (SELECT count(*) FROM events WHERE t >= '2024-01-03' AND t < '2024-01-03 18:00Z') END AS in_range
  FROM dupn_evaluations WHERE job_id = :job AND metric IN ('auc', 'accuracy') AND slice = 'all' ORDER BY 1;
SELECT unnest(notes[1:2]) AS note FROM dupn_jobs WHERE job_id = :job;

-- the metric of a range, in SQL
SELECT abs(m.value - s.auc) < 1e-4 AS same FROM dupn_evaluations m, (
	WITH told AS (SELECT clicked, dupn_score('click', dupn_user_vector(user_id, 'e', as_of => t, version => 2), item_id) AS p
		FROM impressions WHERE t >= '2024-01-03' AND t < '2024-01-03 18:00Z')
	SELECT avg(CASE WHEN a.p > b.p THEN 1 WHEN a.p = b.p THEN 0.5 ELSE 0 END) AS auc FROM told a, told b WHERE a.clicked AND NOT b.clicked) s
 WHERE job_id = :job AND task = 'click' AND metric = 'auc' AND slice = 'all';

-- Versions beside each other, and beside themselves.
SELECT dupn_compare('e', 2, 2) AS job \gset
SELECT dupn_wait(:job);
SELECT source, other, verdict, count(*) > 20 AS many, bool_and(value = other_value AND difference = 0 AND difference_low = 0 AND difference_high = 0) AS zero
  FROM dupn_comparisons WHERE job_id = :job GROUP BY 1, 2, 3;
SELECT dupn_compare('e', 2, 1) AS job \gset
SELECT dupn_wait(:job);
SELECT source, other, verdict, abs(difference - (value - other_value)) < 1e-9 AS difference, difference_low > 0 AS above, samples
  FROM dupn_comparisons WHERE job_id = :job AND task = 'next' AND metric = 'ndcg@10' AND slice = 'all';
SELECT bool_and(verdict = CASE WHEN metric IN ('log_loss', 'ece') THEN CASE WHEN difference_high < 0 THEN 'better' WHEN difference_low > 0 THEN 'worse' ELSE 'no difference shown' END
	ELSE CASE WHEN difference_low > 0 THEN 'better' WHEN difference_high < 0 THEN 'worse' ELSE 'no difference shown' END END) AS verdicts, count(*) > 50 AS many
  FROM dupn_comparisons WHERE job_id = :job;
SELECT message ~ '^version 2 beside version 1 since 2024-01-03 12:00:00.*"next" hr@10 .*, difference \+.*: better' AS sentence FROM dupn_jobs WHERE job_id = :job;

-- New data: what a refitted version has not seen; an item that it does not know is missed.
INSERT INTO events SELECT u, '2024-01-10'::timestamptz + u * interval '1 second', CASE WHEN u <= 100 THEN 777 ELSE (u + 16) % 40 END, 'view', 'low' FROM generate_series(1, 250) u;
SELECT dupn_evaluate('e', 3, options => '{"tasks": ["next"]}') AS job \gset
SELECT dupn_wait(:job);
SELECT source, samples, slice, value <= 0.6 AS missed FROM dupn_evaluations WHERE job_id = :job AND metric = 'hr@10' AND source IN ('model', 'popularity', 'own_then_knn') AND slice = 'all' ORDER BY 1;
SELECT since = max(t) + interval '1 microsecond' AS since_trained FROM (SELECT t FROM events UNION ALL SELECT t FROM impressions) e, dupn_evaluations
 WHERE job_id = :job AND t < '2024-01-10' GROUP BY since;

-- Another relation of samples, named as the caller sees it.
CREATE VIEW later AS SELECT * FROM impressions WHERE t >= '2024-01-04';
SELECT dupn_evaluate('e', 1, '2024-01-03', options => '{"samples": {"click": "later"}, "tasks": ["click"]}') AS job \gset
SELECT dupn_wait(:job);
SELECT source, samples, samples = (SELECT count(*) FROM later) AS theirs FROM dupn_evaluations WHERE job_id = :job AND metric = 'auc' AND slice = 'all' ORDER BY source COLLATE "C";

-- Baselines without a version: as a training would report them.
DELETE FROM events WHERE t >= '2024-01-10';
SELECT dupn_evaluate_baselines('e') AS job \gset
SELECT dupn_wait(:job);
SELECT count(*) = (SELECT count(*) FROM dupn_baselines WHERE version = 1 AND source <> 'model') AS all, max(abs(b.value - e.value)) < 1e-9 AS same, count(e.first_minus_this) AS differences
  FROM dupn_evaluations e JOIN dupn_baselines b USING (task, source, metric, slice) WHERE job_id = :job AND b.version = 1;
SELECT dupn_evaluate_baselines('e', '2024-01-03') AS job \gset
SELECT dupn_wait(:job);
SELECT DISTINCT samples = (SELECT count(*) FROM events WHERE t >= '2024-01-03') AS everybody FROM dupn_evaluations WHERE job_id = :job AND metric = 'mrr' AND slice = 'all';

-- What makes no sense.
SELECT dupn_evaluate('e', 9);
SELECT dupn_evaluate('e', 1, '2024-01-04', '2024-01-03');
SELECT dupn_evaluate('e', 1, 'infinity');
SELECT dupn_evaluate('e', options => '{"other_version": 1}');
SELECT dupn_evaluate('e', options => '{"tasks": ["clicks"]}');
SELECT dupn_evaluate('e', options => '{"samples": {"click": "nowhere"}}');
SELECT dupn_evaluate('e', options => '{"samples": {"next": "impressions"}}');
SELECT dupn_evaluate('e', options => '{"samples": {"click": 3}}');
SELECT dupn_evaluate('e', options => '{"samples": {"click": "items"}}');
SELECT dupn_evaluate('e', options => '{"events": "items"}');
SELECT dupn_evaluate('e', options => '{"user": "all"}');
SELECT dupn_evaluate('e', options => '{"users": "some"}');
SELECT dupn_compare('e', 1, NULL);
SELECT dupn_compare('e', 1, 9);
SELECT dupn_evaluate_baselines('e', options => '{"version": 1}');
\set VERBOSITY sqlstate
CALL dupn_run('e', 'evaluate', '{"since": "2025-01-01"}');
\set VERBOSITY default
SELECT message FROM dupn_jobs WHERE model = 'e' AND state = 'failed' ORDER BY job_id;
ALTER TABLE events RENAME action TO deed;
SELECT dupn_evaluate('e', 1);
ALTER TABLE events RENAME deed TO action;
SELECT dupn_alter_model('e', '{"max_events": 3}');
SELECT dupn_evaluate('e', 1, options => '{"tasks": ["level"]}') AS job \gset
SELECT dupn_wait(:job);

-- A task that the version lacks, and one that the model lacks now, are not judged.
SELECT dupn_add_task('e', 'more', 'multiclass', label => 'action');
SELECT dupn_drop_task('e', 'level');
SELECT dupn_evaluate('e', 1, options => '{"baselines": false}') AS job \gset
SELECT dupn_wait(:job);
SELECT DISTINCT task FROM dupn_evaluations WHERE job_id = :job ORDER BY 1;
SELECT dupn_evaluate('e', 1, options => '{"tasks": ["more"]}');

-- Leave one out: without "since" what a training reports.
CALL dupn_run('e', 'train', '{"holdout": "last_event"}');
CALL dupn_run('e', 'evaluate');
SELECT count(*) = (SELECT count(*) FROM dupn_baselines WHERE version = 4) AS all, max(abs(b.value - e.value)) < 1e-5 AS same, bool_and(since IS NULL) AS no_range
  FROM dupn_evaluations e JOIN dupn_baselines b USING (version, task, source, metric, slice) WHERE version = 4;
SELECT notes IS NULL OR notes = '{}' AS nothing_noted FROM dupn_jobs WHERE model = 'e' AND action = 'evaluate' ORDER BY job_id DESC LIMIT 1;

-- A version takes its evaluations with it, a model all of them.
SELECT count(DISTINCT job_id) FROM dupn_evaluations WHERE version = 1 OR other_version = 1;
SELECT dupn_drop_version('e', 1);
SELECT count(*) FROM dupn_evaluations WHERE version = 1 OR other_version = 1;
SELECT count(*) > 0 AS others FROM dupn_evaluations;
SELECT dupn_drop_model('e');
SELECT count(*) FROM _dupn.evaluation_metric;
DROP SCHEMA evaluate CASCADE;
