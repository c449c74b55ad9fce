-- Answers that are counted, against the same in SQL.
CREATE SCHEMA counted;
SET search_path = counted, public;
SET timezone = 'UTC';
SET client_min_messages = warning;
CREATE TABLE events AS
SELECT u AS user_id, '2024-01-01'::timestamp + n / 2 * interval '1 hour' + u * interval '1 second' AS t, 'i' || abs(hashint4(u * 100 + n)) % (1 + abs(hashint4(u * 77 + n)) % 40) AS item_id
  FROM generate_series(1, 120) u, generate_series(1, 12) n;
INSERT INTO events VALUES (NULL, '2024-01-01', 'i1'), (1, NULL, 'i1'), (1, '-infinity', 'i1'), (1, 'infinity', 'i1'), (1, '2024-01-01', NULL);
CREATE INDEX ON events (user_id, t);
SELECT dupn_create_model('c', 'events', 'user_id', 't', '{item_id}', timezone => 'UTC');
-- all that happened before a moment
\set moment '''2024-01-01 04:30Z'''
CREATE VIEW before AS SELECT * FROM events WHERE user_id IS NOT NULL AND item_id IS NOT NULL AND isfinite(t) AND t < '2024-01-01 04:30';

SELECT count(*) AS items, bool_and(p.events = b.events) AS same, max(p.place) FILTER (WHERE p.item IS DISTINCT FROM b.item) AS off
  FROM (SELECT *, row_number() OVER () AS place FROM dupn_popular_items(30, as_of => :moment)) p
  FULL JOIN (SELECT item_id AS item, count(*) AS events, row_number() OVER (ORDER BY count(*) DESC, item_id) AS place FROM before GROUP BY 1 ORDER BY place LIMIT 30) b USING (place);
SELECT count(*) FROM dupn_popular_items(40, 'c', '2024-01-01 03:00Z', :moment) p
  FULL JOIN (SELECT item_id AS item, count(*) AS events FROM before WHERE t >= '2024-01-01 03:00' GROUP BY 1) b USING (item, events) WHERE p IS NULL OR b IS NULL;
SELECT count(*) AS users, count(*) FILTER (WHERE p.items IS DISTINCT FROM b.items) AS off
  FROM (SELECT u, (SELECT array_agg(item || ' ' || events) FROM dupn_own_items(u, 5, as_of => :moment)) AS items FROM generate_series(1, 120) u) p
  JOIN (SELECT user_id AS u, (array_agg(item_id || ' ' || n ORDER BY last DESC, n DESC, item_id))[1:5] AS items
	FROM (SELECT user_id, item_id, count(*) AS n, max(t) AS last FROM before GROUP BY 1, 2) x GROUP BY 1) b USING (u);
WITH had AS (SELECT DISTINCT user_id, item_id FROM before),
	n AS (SELECT item_id, count(*) AS n FROM before GROUP BY 1),
	pair AS (SELECT a.item_id AS item, b.item_id AS other, count(*) AS users, (count(*) / (sqrt(x.n * y.n) + 10))::real AS score
	  FROM had a JOIN had b USING (user_id) JOIN n x ON x.item_id = a.item_id JOIN n y ON y.item_id = b.item_id
	 WHERE a.item_id <> b.item_id GROUP BY 1, 2, x.n, y.n),
	best AS (SELECT *, row_number() OVER (PARTITION BY item ORDER BY score DESC, other) AS place FROM pair)
SELECT count(*) AS pairs, count(*) FILTER (WHERE s.item IS NULL OR abs(s.score - best.score) > 1e-6 OR s.users <> best.users) AS off
  FROM best LEFT JOIN (SELECT i.item_id, s.*, row_number() OVER (PARTITION BY i.item_id ORDER BY score DESC, s.item) AS place
	FROM n i, dupn_similar_items(i.item_id, 8, as_of => :moment) s) s ON s.item_id = best.item AND s.item = best.other
 WHERE best.place <= 8;

-- nobody, nothing, and what makes no sense
SELECT * FROM dupn_own_items(NULL::bigint);
SELECT * FROM dupn_own_items(999);
SELECT * FROM dupn_similar_items('nothing');
SELECT * FROM dupn_similar_items(7);
SELECT * FROM dupn_popular_items(0);
SELECT * FROM dupn_popular_items(5, since => 'infinity');
SELECT * FROM dupn_popular_items(5, 'nowhere');
SELECT * FROM dupn_own_items('one');
SELECT dupn_drop_model('c');
DROP SCHEMA counted CASCADE;
