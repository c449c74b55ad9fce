-- Metrics against the same in SQL, from scores that the version serves.
CREATE SCHEMA metrics;
SET search_path = metrics, public;
SET timezone = 'UTC';
SET client_min_messages = warning;
CREATE TABLE items (id int PRIMARY KEY, ring int);
INSERT INTO items SELECT i, i % 7 FROM generate_series(0, 39) i;
-- 300 users of 2 to 19 events; low items are seen more often
CREATE TABLE events AS
SELECT u AS user_id, '2024-01-01'::timestamptz + n * interval '5 hours' + u * interval '1 second' AS t,
	abs(hashint4(u * 100 + n)) % (1 + abs(hashint4(u * 77 + n)) % 40) AS item_id,
	CASE WHEN (u + n) % 3 = 0 THEN 'buy' ELSE 'view' END AS action, (ARRAY['low', 'mid', 'high'])[1 + (u + n / 4) % 3] AS level
  FROM generate_series(1, 300) u, generate_series(1, 19) n WHERE n <= 2 + u % 18;
-- impressions between the events, and three after a user's last one: those are reported
CREATE TABLE impressions AS
SELECT u AS user_id, '2024-01-01'::timestamptz + n * interval '5 hours' + interval '1 hour' AS t, item,
	(abs(hashint4(u * 31 + n * 7)) % 100 < CASE WHEN item % 7 < 3 THEN 60 ELSE 15 END) AS clicked, n > 2 + u % 18 AS reported
  FROM generate_series(1, 300) u, generate_series(1, 22) n, LATERAL (SELECT abs(hashint4(u * 13 + n)) % 40 AS item) i
 WHERE n < 2 + u % 18 - 2 OR n > 2 + u % 18;
ALTER TABLE impressions RENAME item TO item_id;
CREATE INDEX ON events (user_id, t);
ANALYZE;
SELECT dupn_create_model('measured', 'events', 'user_id', 't', '{item_id,ring}', '{action}', catalog => 'items', catalog_key => 'id',
	options => '{"epochs": 3, "hidden": 8, "attention": [8, 4], "max_events": 10, "refit": false, "holdout": "last_event",
		"learning_rate": 0.01}');
SELECT dupn_add_task('measured', 'click', 'binary', samples => 'impressions', label => 'clicked');
SELECT dupn_add_task('measured', 'level', 'multiclass', label => 'level');
SELECT dupn_add_task('measured', 'next', 'next_item', options => '{"k": [5, 10]}');
CALL dupn_run('measured');

-- the network's own answers on the reported impressions
CREATE TABLE told AS
SELECT i.*, dupn_score('click', dupn_user_vector(i.user_id, 'measured', as_of => i.t), i.item_id) AS p,
	(SELECT count(*) FROM events e WHERE e.user_id = i.user_id AND e.t < i.t) AS history
  FROM impressions i WHERE reported AND t >= (SELECT max(t) FROM events e WHERE e.user_id = i.user_id);
-- what of a user is trained on: all but the last two moments
CREATE TABLE popularity AS
SELECT items.id AS item_id, count(e.t) AS n
  FROM items LEFT JOIN (SELECT *, rank() OVER (PARTITION BY user_id ORDER BY t DESC) AS back FROM events) e ON e.item_id = items.id AND back > 2
 GROUP BY 1;
CREATE TABLE sliced AS
SELECT 'all' AS slice, * FROM told
UNION ALL SELECT 'new_users', * FROM told WHERE history < 5
UNION ALL SELECT CASE WHEN history < (SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY history) FROM told) THEN 'short_history' ELSE 'long_history' END, * FROM told
UNION ALL
SELECT CASE WHEN (SELECT COALESCE(sum(m.n), 0) FROM popularity m WHERE m.n > p.n) < (SELECT sum(n) FROM popularity) / 2
	THEN 'popular_items' ELSE 'rare_items' END, told.*
  FROM told JOIN popularity p USING (item_id);
ANALYZE;
CREATE TABLE expected AS
SELECT 'auc' AS metric, slice, sum(below + tied / 2.0) FILTER (WHERE clicked) / sum(negatives) FILTER (WHERE clicked) AS value
  FROM (SELECT slice, clicked, count(*) FILTER (WHERE NOT clicked) OVER (PARTITION BY slice ORDER BY p GROUPS UNBOUNDED PRECEDING EXCLUDE GROUP) AS below,
	count(*) FILTER (WHERE NOT clicked) OVER (PARTITION BY slice ORDER BY p GROUPS CURRENT ROW) AS tied,
	count(*) FILTER (WHERE NOT clicked) OVER (PARTITION BY slice) AS negatives FROM sliced) s GROUP BY slice
UNION ALL
SELECT 'log_loss', slice, avg(-ln(CASE WHEN clicked THEN p ELSE 1 - p END)) FROM sliced GROUP BY slice
UNION ALL
SELECT 'r_precision', slice, avg(clicked::int) FROM (SELECT *, rank() OVER (PARTITION BY slice ORDER BY p DESC) AS place,
	count(*) FILTER (WHERE clicked) OVER (PARTITION BY slice) AS positives FROM sliced) s WHERE place <= positives GROUP BY slice
UNION ALL
SELECT 'precision', 'class ' || k, avg((clicked::int = k)::int) FROM told, generate_series(0, 1) k WHERE (p > 0.5)::int = k GROUP BY k
UNION ALL
SELECT 'recall', 'class ' || k, avg(((p > 0.5)::int = k)::int) FROM told, generate_series(0, 1) k WHERE clicked::int = k GROUP BY k
UNION ALL
SELECT 'grouped_auc', 'all', sum(auc * samples) / sum(samples) FROM (
	SELECT user_id, avg(CASE WHEN a.p > b.p THEN 1 WHEN a.p = b.p THEN 0.5 ELSE 0 END) AS auc
	  FROM told a JOIN told b USING (user_id) WHERE a.clicked AND NOT b.clicked GROUP BY 1) u
	JOIN (SELECT user_id, count(*) AS samples FROM told GROUP BY 1) w USING (user_id);
CREATE TABLE bins AS
SELECT 10 * (place + last - 1) / 2 / n AS bin, avg(p) AS probability, avg(clicked::int) AS rate, count(*) AS samples
  FROM (SELECT *, rank() OVER (ORDER BY p) - 1 AS place, count(*) OVER (ORDER BY p) AS last, count(*) OVER () AS n FROM told) t GROUP BY 1;
INSERT INTO expected SELECT 'ece', 'all', sum(samples * abs(probability - rate)) / sum(samples) FROM bins;

SELECT metric, slice, samples = s.n AS samples, low <= m.value AND m.value <= high AS inside,
	CASE WHEN abs(m.value - e.value) > 1e-3 THEN format('%s, in SQL %s', m.value, e.value) END AS off
  FROM dupn_metrics m FULL JOIN expected e USING (metric, slice) LEFT JOIN (SELECT slice, count(*) AS n FROM sliced GROUP BY 1) s USING (slice)
 WHERE m.task = 'click' OR m.task IS NULL ORDER BY metric, slice COLLATE "C";
SELECT count(*) AS bins, bool_and(c.samples = b.samples AND abs(c.probability - b.probability) < 1e-4 AND abs(c.rate - b.rate) < 1e-4) AS same
  FROM (SELECT *, rank() OVER (ORDER BY bin) AS r FROM dupn_calibration WHERE task = 'click' AND source = 'model') c
  FULL JOIN (SELECT *, rank() OVER (ORDER BY bin) AS r FROM bins) b USING (r);

-- classes of the last event of each user
CREATE TABLE classes AS
SELECT e.user_id, e.level, c.class, c.probability
  FROM (SELECT *, rank() OVER (PARTITION BY user_id ORDER BY t DESC) AS back FROM events) e,
	LATERAL (SELECT * FROM dupn_classify('level', dupn_user_vector(e.user_id, 'measured', as_of => e.t)) ORDER BY probability DESC LIMIT 1) c
 WHERE back = 1;
SELECT metric, slice, CASE WHEN abs(m.value - e.value) > 1e-4 THEN format('%s, in SQL %s', m.value, e.value) END AS off
  FROM dupn_metrics m JOIN (
	SELECT 'accuracy' AS metric, 'all' AS slice, avg((level = class)::int) AS value FROM classes
	UNION ALL SELECT 'precision', 'class ' || class, avg((level = class)::int) FROM classes GROUP BY class
	UNION ALL SELECT 'recall', 'class ' || level, avg((level = class)::int) FROM classes GROUP BY level
	UNION ALL SELECT 'ece', 'all', sum(n * abs(p - r)) / sum(n) FROM (
		SELECT avg(probability) AS p, avg((level = class)::int) AS r, count(*) AS n
		  FROM (SELECT *, rank() OVER (ORDER BY probability) - 1 AS place, count(*) OVER (ORDER BY probability) AS last, count(*) OVER () AS n FROM classes) t
		 GROUP BY 10 * (place + last - 1) / 2 / n) b) e USING (metric, slice)
 WHERE m.task = 'level' ORDER BY metric, slice COLLATE "C";

-- slices split the samples; few samples make none
SELECT task, sum(samples) FILTER (WHERE slice IN ('repeat', 'new')) / max(samples) FILTER (WHERE slice = 'all') AS by_past,
	sum(samples) FILTER (WHERE slice IN ('short_history', 'long_history')) / max(samples) FILTER (WHERE slice = 'all') AS by_length,
	sum(samples) FILTER (WHERE slice IN ('popular_items', 'rare_items')) / max(samples) FILTER (WHERE slice = 'all') AS by_item,
	min(samples) >= 30 AS enough
  FROM dupn_metrics WHERE metric IN ('hr@10', 'accuracy', 'auc') GROUP BY task ORDER BY task;
SELECT abs(a.value - (p.value * p.samples + r.value * r.samples) / a.samples) < 1e-9 AS mean
  FROM dupn_metrics a, dupn_metrics p, dupn_metrics r WHERE (a.metric, a.slice, p.metric, p.slice, r.metric, r.slice) = ('hr@10', 'all', 'hr@10', 'repeat', 'hr@10', 'new');

SELECT dupn_drop_model('measured');
DROP SCHEMA metrics CASCADE;
