-- Baselines of next_item against the same in SQL.  The pairs of items are more
-- than are sorted at once.
CREATE SCHEMA baselines;
SET search_path = baselines, public;
SET timezone = 'UTC';
SET client_min_messages = warning;
CREATE TABLE events AS
SELECT u AS user_id, '2024-01-01'::timestamptz + n * interval '1 hour' + u * interval '1 second' AS t,
	(u * 7 + abs(hashint4(u * 100 + n)) % 60 + n % 3 * 50) % 150 AS item_id
FROM generate_series(1, 600) u, generate_series(1, 40) n;
CREATE INDEX ON events (user_id, t);
SELECT dupn_create_model('b', 'events', 'user_id', 't', '{item_id}', options => '{"epochs": 1, "hidden": 4, "attention": [4, 2],
	"max_events": 5, "refit": false, "holdout": "last_event", "activity": false}');
SELECT dupn_add_task('b', 'next', 'next_item', options => '{"k": [10]}');
CALL dupn_run('b');

CREATE TABLE ranked AS
SELECT *, row_number() OVER (PARTITION BY user_id ORDER BY t DESC) AS back FROM events;
CREATE TABLE popularity AS SELECT item_id, count(*)::float8 AS n FROM ranked WHERE back > 2 GROUP BY 1;
-- what followed directly; what the same user had, shrunk
CREATE TABLE pair AS
SELECT 'markov' AS source, a.item_id AS i, b.item_id AS j, count(*)::float8 AS weight
  FROM ranked a JOIN ranked b ON b.user_id = a.user_id AND b.back = a.back - 1
 WHERE b.back > 2 AND a.item_id <> b.item_id GROUP BY 2, 3
UNION ALL
SELECT 'item_knn', i, j, count(*) / (sqrt(p.n * q.n) + 10)
  FROM (SELECT DISTINCT user_id, item_id AS i FROM ranked WHERE back > 2) a JOIN (SELECT DISTINCT user_id, item_id AS j FROM ranked WHERE back > 2) b USING (user_id)
  JOIN popularity p ON p.item_id = i JOIN popularity q ON q.item_id = j
 WHERE i <> j GROUP BY i, j, p.n, q.n;
ANALYZE;
CREATE TABLE score AS
SELECT source, user_id, j AS item_id, sum(weight * 0.8 ^ (back - 2)) AS s
  FROM ranked JOIN pair ON i = item_id WHERE back > 1 AND (source = 'item_knn' OR back = 2) GROUP BY 1, 2, 3;
-- the user's own items before the rest, the newest first
INSERT INTO score
SELECT 'own_then_knn', user_id, item_id, COALESCE(1000 - r.back, s)
  FROM (SELECT user_id, item_id, min(back) AS back FROM ranked WHERE back > 1 GROUP BY 1, 2) r
  FULL JOIN (SELECT * FROM score WHERE source = 'item_knn') k USING (user_id, item_id);
-- behind what has a score come the others by popularity
CREATE TABLE candidate AS
SELECT source, user_id, item_id, COALESCE(s, 0) AS s, CASE WHEN s > 0 THEN 0 ELSE n END AS n
  FROM (VALUES ('popularity'), ('markov'), ('item_knn'), ('own_then_knn')) v (source) CROSS JOIN generate_series(1, 600) user_id CROSS JOIN popularity
  LEFT JOIN score USING (source, user_id, item_id);
ANALYZE;
CREATE TABLE told AS
SELECT m.source, 1 / (1 + count(*) FILTER (WHERE (o.s, o.n) > (m.s, m.n))
	+ count(*) FILTER (WHERE o.item_id <> m.item_id AND o.s = m.s AND o.n = m.n) / 2.0) AS reciprocal
  FROM ranked r JOIN candidate m USING (user_id, item_id) JOIN candidate o ON o.source = m.source AND o.user_id = m.user_id
 WHERE r.back = 1 GROUP BY m.source, m.user_id;
SELECT source, samples, CASE WHEN abs(b.value - t.mrr) > 0.0005 THEN format('%s, in SQL %s', b.value, t.mrr) END AS off
  FROM dupn_baselines b JOIN (SELECT source, avg(reciprocal) AS mrr FROM told GROUP BY 1) t USING (source)
 WHERE b.model = 'b' AND metric = 'mrr' AND slice = 'all' ORDER BY source;
SELECT (SELECT sum(n * (n - 1)) FROM (SELECT count(DISTINCT item_id) AS n FROM ranked WHERE back > 2 GROUP BY user_id) u) > 350000 AS many;

SELECT dupn_drop_model('b');
DROP SCHEMA baselines CASCADE;
