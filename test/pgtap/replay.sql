-- What was served can be served again: vectors, scores and lists of three days,
-- logged with the moment they were asked as of, come out the same when all is
-- later, and so do the metrics of nights, which training reports of what it saw.
SET client_min_messages = warning;
SET timezone = 'UTC';
SELECT plan(27);

CREATE SCHEMA replay;
SET search_path = replay, public;

CREATE TABLE events (user_id int, item_id int, action text, occurred_at timestamptz);
CREATE INDEX ON events (user_id, occurred_at);
CREATE TABLE products (id int PRIMARY KEY, category text, price real);
CREATE TABLE customers (id int PRIMARY KEY, age text);
CREATE TABLE offers (user_id int, item_id int, query int, occurred_at timestamptz, taken boolean);
CREATE INDEX ON offers (user_id, occurred_at);
CREATE TABLE clock AS SELECT '2024-01-01'::timestamptz AS today;

CREATE FUNCTION draw(a int, b int, n int) RETURNS int LANGUAGE sql IMMUTABLE AS $$ SELECT abs(hashint4(a * 7919 + b * 104729 + 17) % n) $$;
CREATE FUNCTION day_of(timestamptz) RETURNS int LANGUAGE sql IMMUTABLE AS $$ SELECT EXTRACT(day FROM $1 AT TIME ZONE 'UTC')::int $$;
INSERT INTO products SELECT i, 'c' || i % 5, i % 9 FROM generate_series(1, 40) i;
INSERT INTO customers SELECT u, 'band ' || u % 3 FROM generate_series(1, 90) u;

-- Hours of a day: what users did, and what they were offered.
CREATE PROCEDURE hours(first int, last int) LANGUAGE sql AS $$
	INSERT INTO events
		SELECT u, i, (ARRAY['view', 'cart', 'buy'])[1 + draw(u, h, 3)], at
		FROM clock, generate_series(1, 90) u, generate_series(first, last) h,
			LATERAL (SELECT CASE WHEN draw(h, u, 5) = 0 THEN max(id) ELSE 1 + (u % 5 + 5 * draw(u + day_of(today), h, 10)) % max(id) END AS i,
				today + h * interval '1 hour' + u * interval '1 second' AS at FROM products) x
		WHERE draw(u + h, day_of(today), 3) = 0;
	INSERT INTO offers
		SELECT u, i, draw(u, h, 6), today + (h + 0.5) * interval '1 hour' + u * interval '1 second', draw(i, u, 10) < CASE WHEN i % 5 = u % 5 THEN 7 ELSE 2 END
		FROM clock, generate_series(1, 90) u, generate_series(first, last) h,
			LATERAL (SELECT 1 + draw(u * 31 + h, day_of(today), (SELECT max(id) FROM products)) AS i) x
		WHERE draw(u * 3 + h, day_of(today), 4) = 0 $$;
DO $$
BEGIN
	FOR day IN 1 .. 4 LOOP
		CALL replay.hours(0, 23);
		UPDATE replay.clock SET today = today + interval '1 day';
	END LOOP;
END $$;

SELECT dupn_create_model('r', events => 'events', user_column => 'user_id', time_column => 'occurred_at',
	item_columns => '{item_id,category,price}', behavior_columns => '{action}', catalog => 'products', catalog_key => 'id',
	profile => 'customers', profile_key => 'id', profile_columns => '{age}', context_columns => '{query}',
	options => '{"hidden": 8, "attention": [8, 4], "max_events": 12, "epochs": 2, "min_count": 1, "learning_rate": 0.01,
		"refit": false, "holdout": 0.2, "publish": "always"}') IS NOT NULL AS declared \gset
SELECT dupn_add_task('r', 'next', 'next_item', options => '{"k": [5]}') IS NOT NULL AS declared \gset
SELECT dupn_add_task('r', 'taken', 'binary', samples => 'offers', label => 'taken') IS NOT NULL AS declared \gset
CALL dupn_run('r', 'train');

-- ---- three days ----

CREATE TABLE log (user_id int, context jsonb, asked timestamptz, vector dupn_vector);
CREATE TABLE log_scores (user_id int, asked timestamptz, vector dupn_vector, item_id int, by_key real, product products, by_row real);
CREATE TABLE log_lists (user_id int, context jsonb, asked timestamptz, version int, list text);
CREATE FUNCTION list(u int, c jsonb, t timestamptz, v int) RETURNS text LANGUAGE sql STABLE AS
	$$ SELECT string_agg(item || ' ' || score, ', ' ORDER BY place) FROM dupn_recommend(u, 5, context => c, as_of => t, model => 'r', version => v) WITH ORDINALITY r (item, score, place) $$;

-- A sample of users is served, and what was said is written down.
CREATE PROCEDURE serve(hour int) LANGUAGE plpgsql AS $$
DECLARE
	now timestamptz := (SELECT today + hour * interval '1 hour' FROM clock);
BEGIN
	INSERT INTO log SELECT u, c, now, dupn_user_vector(u, 'r', c, now)
		FROM generate_series(1 + hour % 3, 95, 6) u, LATERAL (SELECT CASE WHEN u % 4 > 0 THEN jsonb_build_object('query', draw(u, hour, 7)) END AS c) x;
	INSERT INTO log_scores SELECT l.user_id, now, l.vector, p.id, dupn_score('taken', l.vector, p.id), p, dupn_score('taken', l.vector, p)
		FROM log l, products p WHERE l.asked = now AND draw(l.user_id, p.id + hour, 8) = 0;
	INSERT INTO log_lists SELECT user_id, context, now, (SELECT published_version FROM dupn_models WHERE model = 'r'), list(user_id, context, now, NULL)
		FROM log WHERE asked = now;
	/* of that very instant, which nobody has seen */
	INSERT INTO events SELECT user_id, 3, 'buy', now FROM log WHERE asked = now;
END $$;

CREATE PROCEDURE day() LANGUAGE plpgsql AS $$
BEGIN
	CALL hours(0, 9);
	CALL serve(10);
	-- new items, which the version does not know yet
	INSERT INTO products SELECT max(id) + i, 'c' || i % 5, i FROM products, generate_series(1, 3) i GROUP BY i;
	CALL hours(10, 15);
	CALL serve(16);
	CALL hours(16, 23);
	UPDATE clock SET today = today + interval '1 day';
	COMMIT;
	CALL dupn_run('r', 'finetune');
	-- of items that every version knows, as they were when it was trained; others are read from today's catalog
	UPDATE products SET price = price + 1 + id % 4 WHERE id <= 40;
END $$;

-- A training's metrics are those of what was served, of all samples and of those that it reports.
CREATE TABLE told (version int, task text, metric text, reported float8, again float8, everybody float8, in_sql float8, samples bigint);
CREATE PROCEDURE compare() LANGUAGE plpgsql AS $$
DECLARE
	v int;
	since timestamptz;
	job bigint[];
BEGIN
	SELECT version, cut INTO v, since FROM dupn_versions WHERE model = 'r' ORDER BY version DESC LIMIT 1;
	CALL dupn_run('r', 'evaluate', jsonb_build_object('version', v, 'since', since, 'users', 'reported', 'baselines', false));
	CALL dupn_run('r', 'evaluate', jsonb_build_object('version', v, 'since', since, 'baselines', false));
	SELECT array_agg(job_id ORDER BY job_id) INTO job FROM dupn_jobs WHERE action = 'evaluate' AND (options ->> 'version')::int = v;
	INSERT INTO told
		WITH scored AS (
			SELECT taken, dupn_score('taken', dupn_user_vector(user_id, 'r', jsonb_build_object('query', query), occurred_at, v), item_id) AS score
			FROM offers WHERE occurred_at >= since
		), targets AS (
			SELECT user_id, occurred_at, item_id, 1.0 / count(*) OVER (PARTITION BY user_id, occurred_at) AS weight FROM events WHERE occurred_at >= since
		), found AS (
			SELECT weight, (item_id::text IN (SELECT item FROM dupn_recommend(user_id, 5, as_of => occurred_at, model => 'r', version => v)))::int AS hit FROM targets
		), sql AS (
			SELECT 'taken' AS task, 'auc' AS metric, (SELECT avg(CASE WHEN a.score > b.score THEN 1 WHEN a.score = b.score THEN 0.5 ELSE 0 END)
				FROM scored a, scored b WHERE a.taken AND NOT b.taken)::float8 AS value, (SELECT count(*) FROM scored) AS samples
			UNION ALL SELECT 'next', 'hr@5', (SELECT sum(weight * hit) / sum(weight) FROM found), (SELECT count(*) FROM targets)
		)
		SELECT v, task, metric, m.value, r.value, e.value, s.value, s.samples
		FROM sql s JOIN dupn_metrics m USING (task, metric) JOIN dupn_evaluations r USING (task, metric) JOIN dupn_evaluations e USING (task, metric)
		WHERE m.model = 'r' AND m.version = v AND m.slice = 'all' AND r.job_id = job[1] AND r.slice = 'all' AND r.source = 'model'
			AND e.job_id = job[2] AND e.slice = 'all' AND e.source = 'model' AND e.samples = s.samples;
END $$;

CALL day();
CALL compare();
CALL day();
CALL compare();
CALL day();
CALL compare();

-- ---- what was logged ----

SELECT is((SELECT string_agg(mode, ' ' ORDER BY version) FROM dupn_versions), 'full nightly nightly nightly', 'three nights');
SELECT is((SELECT string_agg(DISTINCT dupn_vector_version(vector)::text, ' ') FROM log), '1 2 3', 'three versions served');
SELECT is((SELECT count(*) FROM log WHERE dupn_vector_as_of(vector) <> asked), 0::bigint, 'a vector carries the moment that it was asked as of');
SELECT is((SELECT count(*) FROM log_lists l JOIN log v USING (user_id, asked) WHERE l.version <> dupn_vector_version(v.vector)), 0::bigint, 'and the version that served');
SELECT cmp_ok((SELECT count(*) FROM log), '>', 90::bigint, 'vectors');
SELECT cmp_ok((SELECT count(*) FROM log_scores), '>', 500::bigint, 'scores');
SELECT cmp_ok((SELECT count(DISTINCT by_key) FROM log_scores), '>', 400::bigint, 'which differ');
SELECT cmp_ok((SELECT count(*) FROM log_scores WHERE item_id > 40 + 3 * (dupn_vector_version(vector) - 1)), '>', 20::bigint, 'some of items that the version did not know');
SELECT cmp_ok((SELECT count(*) FROM log l WHERE EXISTS (SELECT FROM events e WHERE e.user_id = l.user_id AND e.occurred_at < asked AND item_id > 40 + 3 * (dupn_vector_version(vector) - 1))),
	'>', 5::bigint, 'as are events of users');
SELECT cmp_ok((SELECT count(*) FROM log l WHERE EXISTS (SELECT FROM events e WHERE e.user_id = l.user_id AND occurred_at >= asked)), '>', 90::bigint, 'more has happened since to most');
SELECT cmp_ok((SELECT count(*) FROM log_scores JOIN products p ON p.id = item_id WHERE (product).price <> price), '>', 400::bigint, 'and prices have changed');

-- ---- the same again ----

CREATE FUNCTION distance(a dupn_vector, b dupn_vector) RETURNS real LANGUAGE sql AS
	$$ SELECT max(abs(x - y)) + CASE WHEN dupn_vector_version($1) = dupn_vector_version($2) AND dupn_vector_as_of($1) = dupn_vector_as_of($2) THEN 0 END
		FROM unnest($1::real[], $2::real[]) v (x, y) $$;
CREATE TABLE again AS SELECT *, dupn_user_vector(user_id, 'r', context, dupn_vector_as_of(vector), dupn_vector_version(vector)) AS now FROM log;
SELECT is((SELECT count(*) FROM again WHERE now::text <> vector::text), 0::bigint, 'vectors are the same, bit for bit');
SELECT isnt((SELECT count(*) FROM log WHERE dupn_user_vector(user_id, 'r', context, asked)::real[] = vector::real[]), (SELECT count(*) FROM log), 'though not of the version that serves now');
SELECT isnt((SELECT count(*) FROM log WHERE dupn_user_vector(user_id, 'r', context, version => dupn_vector_version(vector))::real[] = vector::real[]), (SELECT count(*) FROM log), 'nor as of now');
SELECT is((SELECT count(*) FROM log_scores s JOIN again USING (user_id, asked) WHERE dupn_score('taken', now, item_id) IS DISTINCT FROM by_key), 0::bigint, 'so are scores by key');
SELECT is((SELECT count(*) FROM log_scores s JOIN again USING (user_id, asked) WHERE dupn_score('taken', now, product) IS DISTINCT FROM by_row), 0::bigint, 'and by row');
SELECT cmp_ok((SELECT count(*) FROM log_scores s JOIN products p ON p.id = item_id WHERE dupn_score('taken', vector, p) <> by_row), '>', 300::bigint, 'though not of a row with a new price');
SELECT is((SELECT count(*) FROM log_lists WHERE list(user_id, context, asked, version) IS DISTINCT FROM list), 0::bigint, 'and lists with their scores');
SELECT is((SELECT count(*) FROM log l JOIN (
		SELECT asked, dupn_vector_version(vector) AS version, context, array_agg(user_id) AS users FROM log GROUP BY 1, 2, 3) g USING (asked)
	JOIN LATERAL dupn_user_vectors(g.users, 'r', g.context, asked, g.version) v ON v.user_id::int = l.user_id
	WHERE g.context IS NOT DISTINCT FROM l.context AND distance(v.vector, l.vector) <= 1e-5), (SELECT count(*) FROM log), 'many at once');
SELECT is((SELECT count(*) FROM log WHERE distance((vector::text)::dupn_vector, vector) = 0), (SELECT count(*) FROM log), 'a vector that was kept as text is the same');

-- The aggregate is of the version that serves, so each version has to.
CREATE FUNCTION embed(v int) RETURNS TABLE (logged bigint, found bigint, exact bigint, filtered bigint) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM dupn_publish('r', v);
	RETURN QUERY
		WITH l AS (SELECT * FROM log WHERE dupn_vector_version(vector) = v AND EXISTS (SELECT FROM events e WHERE e.user_id = log.user_id AND occurred_at < asked)),
		agg AS (SELECT vector, whole, before FROM l, LATERAL (
			SELECT dupn_embed(e, 'r', context, asked) AS whole, dupn_embed(e, 'r', context, asked) FILTER (WHERE occurred_at < asked) AS before
			FROM events e WHERE e.user_id = l.user_id) e)
		SELECT (SELECT count(*) FROM l), count(*) FILTER (WHERE distance(whole, vector) <= 1e-5), count(*) FILTER (WHERE whole::text = vector::text),
			count(*) FILTER (WHERE before::text = whole::text) FROM agg;
END $$;
SELECT is((SELECT count(*) FROM embed(v) WHERE logged < 20 OR found <> logged OR filtered <> logged), 0::bigint, format('dupn_embed over rows as of then, or before, with version %s', v)) FROM generate_series(1, 3) v;

-- ---- training saw what is served ----

SELECT is((SELECT count(*) FROM told), 6::bigint, 'two tasks, three nights');
SELECT is((SELECT count(*) FROM told WHERE abs(reported - again) > 1e-6), 0::bigint, 'what nights report is what an evaluation of the same users says');
SELECT is((SELECT count(*) FROM told WHERE abs(everybody - in_sql) > 1e-6), 0::bigint, 'and of all users what dupn_score and dupn_recommend lead to');
SELECT is((SELECT count(*) FROM told WHERE reported = everybody OR samples < 100), 0::bigint, 'of not so few');

SELECT * FROM finish();
