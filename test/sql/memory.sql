-- The memory term of next_item: what is counted, what is served, what a pair
-- does not tell of itself.
CREATE SCHEMA memory;
SET search_path = memory, public;
SET timezone = 'UTC';
SET client_min_messages = warning;

CREATE TABLE events (user_id int, item_id int, action text, occurred_at timestamptz);
INSERT INTO events SELECT u, CASE WHEN abs(hashint4(u * 7919 + i)) % 3 = 0 THEN abs(hashint4(u * 104729 + i * 17)) % 30 ELSE (u * 5 + i) % 30 END,
		CASE WHEN (u + i) % 3 = 0 THEN 'buy' ELSE 'view' END, '2024-01-01'::timestamptz + i * interval '5 hours' + u * interval '1 minute'
	FROM generate_series(1, 60) u, generate_series(1, 25) i;

-- Tensors of a version as numbers.
CREATE FUNCTION number(data bytea, at int) RETURNS bigint LANGUAGE sql IMMUTABLE AS
	$$SELECT get_byte(data, at) + (get_byte(data, at + 1) << 8) + (get_byte(data, at + 2) << 16) + (get_byte(data, at + 3)::bigint << 24)$$;
CREATE FUNCTION real_of(bits bigint) RETURNS float8 LANGUAGE sql IMMUTABLE AS $$
	SELECT CASE WHEN bits & 2147483647 = 0 THEN 0 ELSE (CASE WHEN bits >> 31 = 1 THEN -1 ELSE 1 END)
		* (1 + (bits & 8388607) / 8388608.0::float8) * power(2::float8, (bits >> 23 & 255) - 127) END $$;
CREATE FUNCTION place(file bytea, tensor text) RETURNS int4range LANGUAGE sql IMMUTABLE AS $$
	SELECT int4range(8 + number(file, 0)::int + (at->>0)::int, 8 + number(file, 0)::int + (at->>1)::int)
	  FROM (SELECT convert_from(substr(file, 9, number(file, 0)::int), 'UTF8')::jsonb -> tensor -> 'data_offsets' AS at) p $$;
CREATE FUNCTION tensor(model text, tensor text, width int) RETURNS SETOF bigint LANGUAGE sql AS $$
	SELECT number(file, i) FROM (SELECT dupn_export($1, 1) AS file OFFSET 0) f, place(file, $2) at,
		generate_series(lower(at), upper(at) - 1, $3) i $$;
CREATE FUNCTION floats(model text, tensor text) RETURNS float8[] LANGUAGE sql AS
	$$SELECT array_agg(real_of(n) ORDER BY i) FROM tensor($1, $2, 4) WITH ORDINALITY t (n, i)$$;
CREATE FUNCTION integers(model text, tensor text, width int) RETURNS bigint[] LANGUAGE sql AS
	$$SELECT array_agg(n ORDER BY i) FROM tensor($1, $2, $3) WITH ORDINALITY t (n, i)$$;

CREATE PROCEDURE try(name text, task jsonb, more jsonb DEFAULT '{}') LANGUAGE plpgsql AS $$
BEGIN
	PERFORM dupn_create_model(name, 'memory.events', 'user_id', 'occurred_at', '{item_id}', '{action}', options => '{"hidden": 8, "attention": [8, 4],
		"max_events": 12, "epochs": 3, "learning_rate": 0.01, "batch_size": 64, "min_count": 1, "holdout": "last_event", "refit": false}' || more);
	PERFORM dupn_add_task(name, 'next', 'next_item', options => '{"k": [3]}' || task);
	COMMIT;
	CALL dupn_run(name);
END $$;
CALL try('both', '{}');
CALL try('alone', '{"repeat": false}');
CALL try('buys', '{"where": {"action": "buy"}}');
CALL try('off', '{"memory": false}');
CALL try('team', '{}', '{"workers": 2}');

-- S as SQL counts it: pairs of the events before each user's last two instants
CREATE TABLE keys AS SELECT m.model, k.item_id, k.n - 1 AS j
	FROM (VALUES ('both'), ('buys')) m (model), LATERAL (
		SELECT n AS item_id, i AS n FROM tensor(m.model, 'catalogue.keys', 8) WITH ORDINALITY t (n, i)) k;
CREATE TABLE stored AS SELECT m.model, a.item_id AS from_item, b.item_id AS to_item, s.value
	FROM (VALUES ('both'), ('buys')) m (model), LATERAL (
		SELECT integers(m.model, 'task.next.memory.begin', 8) AS b, integers(m.model, 'task.next.memory.length', 4) AS l,
			integers(m.model, 'task.next.memory.items', 4) AS i,
			floats(m.model, 'task.next.memory.values') AS v OFFSET 0) t,
		LATERAL (SELECT r AS row, t.i[e] AS item, t.v[e] AS value FROM generate_series(0, cardinality(b) - 1) r, generate_series(b[r + 1] + 1, b[r + 1] + l[r + 1]) e) s
		JOIN keys a ON a.j = s.row JOIN keys b ON b.j = s.item WHERE a.model = m.model AND b.model = m.model;
CREATE TABLE counted AS
	WITH training AS (
		SELECT *, row_number() OVER (PARTITION BY user_id ORDER BY occurred_at) AS place FROM (
			SELECT *, row_number() OVER (PARTITION BY user_id ORDER BY occurred_at DESC) AS last FROM events) e WHERE last > 2
	), times AS (
		SELECT item_id, count(*) AS n, sum(count(*)) OVER () AS events FROM training GROUP BY 1
	), pairs AS (
		SELECT a.item_id AS from_item, b.item_id AS to_item, power(0.7, b.place - a.place - 1) AS weight, b.action
		  FROM training a JOIN training b USING (user_id) WHERE b.place - a.place BETWEEN 1 AND 10
		UNION ALL
		SELECT b.item_id, a.item_id, 0.2 * power(0.7, b.place - a.place - 1), a.action
		  FROM training a JOIN training b USING (user_id) WHERE b.place - a.place BETWEEN 1 AND 10
	)
	SELECT m.model, from_item, to_item, sum(weight) * max(a.events) / ((max(a.n) + 5) * (max(b.n) + 5)) AS value
	  FROM (VALUES ('both'), ('buys')) m (model), pairs JOIN times a ON a.item_id = from_item JOIN times b ON b.item_id = to_item
	 WHERE from_item <> to_item AND (m.model = 'both' OR action = 'buy') GROUP BY 1, 2, 3;
SELECT model, count(*) > 100 AS entries, count(*) FILTER (WHERE s.value IS NULL OR c.value IS NULL) AS missing,
	max(abs(s.value / c.value - 1)) < 1e-5 AS same
  FROM stored s FULL JOIN counted c USING (model, from_item, to_item) GROUP BY 1 ORDER BY 1;

-- scores by hand: what retrieval gives, and the memory of the window's events
CREATE TABLE items AS SELECT DISTINCT item_id FROM events;
SELECT max(abs(r.score - (SELECT sum(x * y) FROM unnest(dupn_item_vector(i, 'alone'), q) t (x, y)) - ln(1 + coalesce(n.sum, 0)))) < 1e-4 AS same,
	count(*) FILTER (WHERE n.sum > 0) > 200 AS remembered, count(*) = 10 * 30 AS all_items
  FROM generate_series(1, 10) u,
	LATERAL (SELECT dupn_retrieval_vector(dupn_user_vector(u, 'alone', as_of => '2024-01-05')) AS q OFFSET 0) v,
	LATERAL dupn_recommend(u, 100, as_of => '2024-01-05', model => 'alone') r
	JOIN items i ON i.item_id = r.item::int
	LEFT JOIN LATERAL (
		SELECT sum(exp((floats('alone', 'task.next.memory.lag'))[CASE WHEN lag < 5 THEN lag + 1 WHEN lag < 8 THEN 6 WHEN lag < 16 THEN 7 ELSE 8 END]) * s.value)
		  FROM (SELECT item_id, row_number() OVER (ORDER BY occurred_at DESC) - 1 AS lag FROM events e WHERE e.user_id = u AND occurred_at < '2024-01-05') e
		  JOIN stored s ON s.model = 'both' AND s.from_item = e.item_id AND s.to_item = i.item_id WHERE lag < 12) n (sum) ON true;

-- judged as it serves
SELECT m.model, round(m.value::numeric, 6) = round(avg((EXISTS (SELECT FROM dupn_recommend(e.user_id, 3, as_of => e.occurred_at, model => m.model) r
		WHERE r.item::int = e.item_id))::int), 6) AS same
  FROM dupn_metrics m, (SELECT DISTINCT ON (user_id) * FROM events ORDER BY user_id, occurred_at DESC) e
 WHERE m.metric = 'hr@3' AND m.slice = 'all' AND m.model IN ('both', 'alone', 'off', 'team') GROUP BY m.model, m.value ORDER BY 1;

-- without it there is nothing of it
SELECT model, count(*) FROM (VALUES ('both'), ('off')) m (model) LEFT JOIN LATERAL tensor(model, 'task.next.memory.lag', 4) t ON true
	WHERE t IS NOT NULL GROUP BY 1;
SELECT dupn_add_task('off', 'other', 'multiclass', label => 'action', options => '{"memory": true}');

-- What strangers say of it is looked at.
CREATE TABLE file AS SELECT dupn_export('both') AS data;
CREATE FUNCTION import(tensor text, at int, bytes bytea) RETURNS int LANGUAGE sql AS
	$$SELECT dupn_import('both', overlay(data PLACING bytes FROM lower(place(data, 'task.next.memory.' || tensor)) + at + 1)) FROM file$$;
SELECT import('items', 0, '\xffffffff');
SELECT import('items', 0, '\x1e000000');
SELECT import('items', 4, '\x00000000');
SELECT import('values', 0, '\x0000c07f');
SELECT import('values', 0, '\x000080bf');
SELECT import('values', 0, '\x0000807f');
SELECT import('begin', 0, '\xffffffffffffff7f');
SELECT import('begin', 8, '\xffffffffffffffff');
SELECT import('length', 0, '\xffffffff');
SELECT import('length', 0, '\x65000000');
SELECT dupn_import('both', decode(replace(encode(data, 'hex'), encode('task.next.memory.items', 'hex'), encode('task.next.memory.itemx', 'hex')), 'hex')) FROM file;
SELECT dupn_import('both', data) FROM file;
SELECT array_agg(r) = (SELECT array_agg(r) FROM dupn_recommend(7, 5, as_of => '2024-01-05', model => 'both', version => 1) r) AS same
  FROM dupn_recommend(7, 5, as_of => '2024-01-05', model => 'both', version => 2) r;

-- Of pairs that only one user made nothing can be learned, though all of them are in S.
DELETE FROM events;
INSERT INTO events SELECT u, u * 10 + i, 'view', '2024-01-01'::timestamptz + i * interval '5 hours' + u * interval '1 minute'
	FROM generate_series(1, 80) u, generate_series(1, 8) i;
CALL try('private', '{"repeat": false}', '{"epochs": 1, "learning_rate": 1e-6}');
SELECT cardinality(floats('private', 'task.next.memory.values')) AS entries,
	(SELECT bool_and(l < ln(0.1) + 0.01) FROM unnest((floats('private', 'task.next.memory.lag'))) l) AS nothing;

SELECT dupn_drop_model(model) FROM dupn_models WHERE model IN ('both', 'alone', 'buys', 'off', 'team', 'private');
DROP SCHEMA memory CASCADE;
