-- Tasks together: calibrated probabilities, weights, stopping, and how often each is visited.
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

-- Learned weights: what can be learned counts more than noise, and the declared weights stay below.
CREATE TABLE noise (user_id int, occurred_at timestamptz, heads boolean);
INSERT INTO noise SELECT u, '2024-01-02'::timestamptz + e * interval '9 hours', hashint4(u * 1000 + e) % 2 = 0
  FROM generate_series(1, 200) u, generate_series(1, 10) e;
SELECT dupn_drop_task('mix', 'click');
SELECT dupn_add_task('mix', 'coin', 'binary', samples => 'noise', label => 'heads', options => '{"hidden": [16], "weight": 2}');
CREATE FUNCTION learned(model text, job bigint) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_object_agg(m[1], m[2]::numeric) FROM dupn_jobs, unnest(notes) note, regexp_matches(note, '"(\w+)" ([0-9.]+)', 'g') m
	 WHERE model = $1 AND job_id = $2 AND note LIKE 'learned weights of the tasks%' $$;
CALL dupn_run('mix', options => '{"task_weights": "learned"}');
CREATE TEMP TABLE weights AS SELECT learned('mix', max(job_id)) AS w FROM dupn_jobs WHERE model = 'mix';
SELECT (w->>'shelf')::numeric > 1.2 AS learnable, (w->>'coin')::numeric < 0.95 AS noise,
	abs((w->>'shelf')::numeric + 2 * (w->>'coin')::numeric - 3) < 0.05 AS mean_is_1 FROM weights;

-- The same in a team: twice the same, and nearly what one process finds.
CALL dupn_run('mix', options => '{"task_weights": "learned", "workers": 2}');
CALL dupn_run('mix', options => '{"task_weights": "learned", "workers": 2}');
SELECT count(DISTINCT fingerprint) FROM _dupn.version JOIN _dupn.model USING (model_id) WHERE name = 'mix' AND version IN (5, 6);
SELECT abs((learned('mix', max(job_id))->>'shelf')::numeric - (SELECT (w->>'shelf')::numeric FROM weights)) < 0.1 AS alike FROM dupn_jobs WHERE model = 'mix';

-- A task that no longer improves rests, and the others go on.
CALL dupn_run('mix', options => '{"stopping": "task", "patience": 1, "epochs": 12}');
SELECT regexp_replace(note, '[0-9]+', 'n', 'g') FROM dupn_jobs, unnest(notes) note
 WHERE job_id = (SELECT max(job_id) FROM dupn_jobs WHERE model = 'mix') AND note LIKE '%"coin"%rests%';
CALL dupn_run('mix', options => '{"patience": 1, "epochs": 12}');
SELECT count(DISTINCT fingerprint) FROM _dupn.version JOIN _dupn.model USING (model_id) WHERE name = 'mix' AND version IN (7, 8);

-- With a temperature the small task is visited more often: one that has a
-- hundredth of the samples learns in an epoch what it otherwise would not.
SELECT dupn_drop_task('mix', 'coin');
CREATE TABLE few AS SELECT user_id, '2024-01-04 12:00'::timestamptz + user_id * interval '1 second' AS occurred_at, user_id % 4 = 1 AS first_shelf
  FROM generate_series(1, 40) user_id UNION ALL SELECT user_id, '2024-01-06', user_id % 4 = 1 FROM generate_series(41, 200) user_id;
SELECT dupn_add_task('mix', 'few', 'binary', samples => 'few', label => 'first_shelf', options => '{"hidden": [16]}');
CALL dupn_run('mix', options => '{"epochs": 1, "learning_rate": 0.003, "calibrate": false}');
CALL dupn_run('mix', options => '{"epochs": 1, "learning_rate": 0.003, "calibrate": false, "task_temperature": 3}');
SELECT b.value < a.value - .05 AS better FROM dupn_metrics a JOIN dupn_metrics b USING (task, metric, slice)
 WHERE a.model = 'mix' AND b.model = 'mix' AND a.version = 9 AND b.version = 10 AND task = 'few' AND metric = 'log_loss' AND slice = 'all';

-- What makes no sense.
SELECT dupn_alter_model('mix', '{"stopping": "never"}');
SELECT dupn_alter_model('mix', '{"task_weights": true}');
SELECT dupn_alter_model('mix', '{"task_temperature": 0.5}');
SELECT dupn_add_task('mix', 'next', 'next_item', options => '{"calibrate": false}');
SELECT dupn_alter_model('mix', '{"calibrate": 1}');


-- Experts: a model of four kinds of tasks, each with a gate of its own.
SELECT dupn_create_model('experts', 'events', 'user_id', 'occurred_at', '{item_id,shelf}', '{action}',
	options => '{"hidden": 16, "attention": [16, 8], "max_events": 10, "epochs": 6, "learning_rate": 0.01, "batch_size": 64,
		"holdout": "2024-01-05", "refit": false, "experts": 3, "expert_dim": 12}');
SELECT dupn_add_task('experts', 'next', 'next_item', options => '{"memory": false}');
SELECT dupn_add_task('experts', 'shelf', 'multiclass', label => 'shelf', options => '{"hidden": [16]}');
SELECT dupn_add_task('experts', 'click', 'binary', samples => 'impressions', label => 'clicked', options => '{"hidden": [16], "candidate_dim": 8}');
CREATE VIEW ranked AS SELECT user_id, occurred_at, clicked, importance, (item_id % 4 = user_id % 4)::int AS match, item_id % 3 AS third FROM impressions;
SELECT dupn_add_task('experts', 'order', 'rank', samples => 'ranked', label => 'clicked', features => '{match,third}');
CALL dupn_run('experts');
SELECT task, metric, value > CASE metric WHEN 'auc' THEN .6 WHEN 'accuracy' THEN .8 ELSE .1 END AS learned FROM dupn_metrics
 WHERE model = 'experts' AND slice = 'all' AND metric IN ('auc', 'accuracy', 'hr@10') ORDER BY task;
CREATE TEMP TABLE vectors AS SELECT u AS user_id, dupn_user_vector(u, 'experts', as_of => '2024-01-05') AS v FROM generate_series(1, 200) u;
SELECT DISTINCT cardinality(v::real[]) > 12 AS wider_than_experts FROM vectors;
SELECT avg((c.class::int = (SELECT e.shelf FROM events e WHERE e.user_id = v.user_id AND e.occurred_at >= '2024-01-05' ORDER BY e.occurred_at LIMIT 1))::int) > .8 AS right
  FROM vectors v, LATERAL (SELECT class FROM dupn_classify('shelf', v) ORDER BY probability DESC LIMIT 1) c;
SELECT avg(dupn_score('click', v, (user_id % 4)::bigint)) > avg(dupn_score('click', v, ((user_id + 1) % 4)::bigint)) + .1 AS clicks FROM vectors;
SELECT bool_and(weight >= 0) AND avg(weight) FILTER (WHERE feature = 'match') > 2 * avg(weight) FILTER (WHERE feature = 'third') AS weights
  FROM vectors, dupn_rank_weights('order', v);

-- A list is what the inner product of retrieval gives, but for items of the window.
SET dupn.model = 'experts';
SELECT corr(r.score, (SELECT sum(a * b) FROM unnest(dupn_retrieval_vector(v), dupn_item_vector(i)) t(a, b))) > .9999 AS retrieval
  FROM vectors v, LATERAL dupn_recommend(v.user_id, 40, model => 'experts', as_of => '2024-01-05', exclude_seen => true) r,
	LATERAL (SELECT r.item::int AS item_id, r.item::int % 4 AS shelf) i
 WHERE v.user_id = 7;

-- Heads for a new task on a frozen representation learn a gate; other experts need another network.
SELECT dupn_add_task('experts', 'coin', 'binary', samples => 'noise', label => 'heads');
CALL dupn_run('experts', 'train', '{"mode": "head"}');
SELECT count(DISTINCT (SELECT array_agg(probability) FROM dupn_classify('shelf', dupn_user_vector(5, 'experts', version => version)))) AS others_stay
  FROM generate_series(1, 2) version;
SELECT dupn_alter_model('experts', '{"experts": 2}');
CALL dupn_run('experts', 'train', '{"mode": "finetune", "version": 2}');
SELECT dupn_alter_model('experts', '{"experts": 1}');
SELECT dupn_alter_model('experts', '{"experts": 0}');
SELECT dupn_alter_model('experts', '{"experts": 17}');
SELECT dupn_drop_model('experts');

-- A task that drowns in another one's noise is worse together than alone, and told so.
SELECT dupn_create_model('drowned', 'events', 'user_id', 'occurred_at', '{item_id,shelf}', '{action}',
	options => '{"hidden": 16, "attention": [16, 8], "max_events": 10, "epochs": 3, "learning_rate": 0.01, "batch_size": 64,
		"holdout": "2024-01-05", "refit": false, "compare_alone": true}');
SELECT dupn_add_task('drowned', 'shelf', 'multiclass', label => 'shelf', options => '{"hidden": [16], "weight": 0.0001}');
SELECT dupn_add_task('drowned', 'coin', 'binary', samples => 'noise', label => 'heads', options => '{"hidden": [16], "weight": 100}');
SELECT remark LIKE 'at most: 3 trainings of 3 epochs%' AS estimated FROM dupn_estimate('drowned') WHERE quantity = 'training';
CALL dupn_run('drowned');
SELECT regexp_replace(note, '[0-9]+\.[0-9]+', 'n', 'g') FROM dupn_jobs, unnest(notes) note WHERE model = 'drowned' AND note LIKE '%together%alone%';
SELECT task, metric, source, value > .8 AS learned, model_minus_this < 0 AND difference_high < 0 AS worse_together
  FROM dupn_baselines WHERE model = 'drowned' AND slice = 'all' AND metric = 'accuracy' AND source IN ('alone', 'model') ORDER BY source;
-- it is no simple baseline
SELECT DISTINCT baseline FROM dupn_metrics WHERE model = 'drowned' AND baseline = 'alone';
-- nothing of it is left in the version, in a team either
CALL dupn_run('drowned', options => '{"compare_alone": false}');
CALL dupn_run('drowned', options => '{"workers": 2, "epochs": 1}');
SELECT count(DISTINCT fingerprint) FROM _dupn.version JOIN _dupn.model USING (model_id) WHERE name = 'drowned' AND version IN (1, 2);
SELECT count(*) > 0 AS compared FROM dupn_baselines WHERE model = 'drowned' AND version = 3 AND source = 'alone';
-- alone as it is
SELECT dupn_drop_task('drowned', 'coin');
CALL dupn_run('drowned', options => '{"epochs": 1}');
SELECT note FROM dupn_jobs, unnest(notes) note WHERE job_id = (SELECT max(job_id) FROM dupn_jobs) AND note LIKE '%alone%';
SELECT dupn_drop_model('drowned');

SELECT dupn_drop_model('mix');
DROP SCHEMA mixing CASCADE;
