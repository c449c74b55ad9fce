-- What an experiment did: a lift is found, none is not, and nothing that a table
-- may hold makes numbers of nothing.
SET client_min_messages = warning;
SET timezone = 'UTC';
SELECT plan(60);

CREATE SCHEMA lifted;
SET search_path = lifted, public;

CREATE TABLE events (user_id int, item_id int, occurred_at timestamptz);
INSERT INTO events SELECT u, 1 + (u * 7 + e) % 30, '2024-01-01'::timestamptz + e * interval '5 hours'
	FROM generate_series(1, 100) u, generate_series(1, 4) e;
CREATE INDEX ON events (user_id, occurred_at);
SELECT dupn_create_model('shop', events => 'events', user_column => 'user_id', time_column => 'occurred_at', item_columns => '{item_id}',
	timezone => 'Asia/Shanghai', options => '{"hidden": 8, "attention": [8, 4], "max_events": 5, "epochs": 1, "min_count": 1}') IS NOT NULL AS declared \gset
SELECT dupn_add_task('shop', 'next', 'next_item') IS NOT NULL AS declared \gset
CALL dupn_run('shop', 'train');
CREATE FUNCTION message(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE statement;
	RETURN NULL;
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE || ' ' || SQLERRM;
END $$;
-- between 0 and 1, the same everywhere, of three numbers
CREATE FUNCTION draw(a int, b int, c int) RETURNS float8 LANGUAGE sql IMMUTABLE
	AS $$ SELECT (hashint8extended(a::bigint * 1000003 + b * 1009 + c, 42) & 1048575) / 1048576.0 $$;

CREATE TABLE nothing (user_id int, clicked boolean);
SELECT is(message($$SELECT * FROM dupn_lift('shop', 'nothing')$$), '42704 model "shop" has had no experiment', 'there must be something to judge');
-- a version beside itself: a test of the test
SELECT is(dupn_share('shop', 1, .5, 'half'), 'half', 'A against A');

-- ---- a lift that is there ----

-- users who click more than others, and whom one sees more often; candidates click 2 % more
CREATE TABLE exposures AS
	SELECT u AS user_id, dupn_arm(u) AS arm, e, draw(u, e, 1) < p * (CASE dupn_arm(u) WHEN 'candidate' THEN 1.02 ELSE 1 END) AS clicked,
		CASE WHEN draw(u, e, 2) < .1 THEN -ln(1 - draw(u, e, 3)) * 20 ELSE 0 END::numeric AS paid
	FROM generate_series(1, 80000) u, LATERAL (SELECT .4 + .5 * draw(u, 0, 0) AS p OFFSET 0) s, generate_series(1, 2 + u % 5) e;
ANALYZE exposures;
CREATE TABLE lift AS SELECT * FROM dupn_lift('shop', 'exposures');
SELECT results_eq('SELECT metric, per FROM lift', $$VALUES ('clicked', 'user'), ('clicked', 'exposure'), ('paid', 'user'), ('paid', 'exposure')$$,
	'outcomes are found by their types');
SELECT ok(bool_and(lift_low > 0 AND lift_low < .02 AND lift_high > .02 AND p_value < .001), 'a lift of 2 % is found, with its interval') FROM lift WHERE metric = 'clicked';
SELECT cmp_ok(max(lift_high - lift_low), '<', .02::float8, 'which is narrow') FROM lift WHERE metric = 'clicked';
SELECT ok(bool_and(lift_low < 0 AND lift_high > 0 AND p_value > .05), 'of what was not lifted it holds 0') FROM lift WHERE metric = 'paid';
SELECT ok(bool_and(ratio_p_value > .001 AND warning LIKE 'without a time_column%'), 'the arms have the users that they should') FROM lift;
-- the same, added up by hand
CREATE TABLE by_user AS SELECT user_id, arm, count(*) AS n, sum(clicked::int) AS x FROM exposures GROUP BY 1, 2;
CREATE TABLE by_arm AS SELECT arm, count(*) AS users, sum(n) AS exposures, avg(x)::float8 AS per_user, (var_samp(x) / count(*))::float8 AS variance,
	(sum(x) / sum(n))::float8 AS rate FROM by_user GROUP BY 1;
SELECT is(l.control_users || ' ' || l.candidate_users || ' ' || l.control_exposures || ' ' || l.candidate_exposures,
	a.users || ' ' || b.users || ' ' || a.exposures || ' ' || b.exposures, 'users and exposures, per ' || per)
	FROM lift l, by_arm a, by_arm b WHERE metric = 'clicked' AND a.arm = 'control' AND b.arm = 'candidate';
SELECT ok(abs(l.control - a.per_user) < 1e-9 AND abs(l.candidate - b.per_user) < 1e-9 AND abs(l.lift - (b.per_user / a.per_user - 1)) < 1e-9, 'means by user')
	FROM lift l, by_arm a, by_arm b WHERE metric = 'clicked' AND per = 'user' AND a.arm = 'control' AND b.arm = 'candidate';
SELECT ok(abs(l.control - a.rate) < 1e-9 AND abs(l.candidate - b.rate) < 1e-9 AND abs(l.lift - (b.rate / a.rate - 1)) < 1e-9, 'and by exposure')
	FROM lift l, by_arm a, by_arm b WHERE metric = 'clicked' AND per = 'exposure' AND a.arm = 'control' AND b.arm = 'candidate';
-- at the ends of the interval the arms differ by 1.96 standard errors
SELECT cmp_ok(max(abs(abs(b.per_user - r * a.per_user) / sqrt(b.variance + r * r * a.variance) - 1.959964)), '<', 1e-5::float8, 'the interval''s ends')
	FROM lift l, by_arm a, by_arm b, LATERAL (VALUES (1 + lift_low), (1 + lift_high)) v(r) WHERE metric = 'clicked' AND per = 'user' AND a.arm = 'control' AND b.arm = 'candidate';
SELECT results_eq($$SELECT metric, per, round(lift::numeric, 9), round(lift_low::numeric, 9), control_users FROM dupn_lift('shop', 'exposures', '{clicked}', arm_column => 'arm')$$,
	$$SELECT metric, per, round(lift::numeric, 9), round(lift_low::numeric, 9), control_users FROM lift WHERE metric = 'clicked'$$, 'logged arms say the same');
SELECT is(warning, NULL, 'and ask for no time') FROM dupn_lift('shop', 'exposures', '{clicked}', arm_column => 'arm') LIMIT 1;

-- ---- no lift: 200 repeats, whose false positives are as many as promised ----

-- 700 users, drawn anew into the arms each time, of whom some click nearly always and some hardly ever
CREATE TABLE alike AS
	SELECT i, u AS user_id, CASE WHEN draw(u, i, 7) < .5 THEN 'candidate' ELSE 'control' END AS arm,
		draw(u * 8 + e, i, 1) < p AS clicked, CASE WHEN draw(u * 8 + e, i, 2) < .2 THEN 10 * draw(u * 8 + e, i, 3) ^ 2 * (1 + u % 3) ELSE 0 END AS paid
	FROM generate_series(1, 200) i, generate_series(1, 700) u, LATERAL (SELECT draw(u, i, 9) AS p OFFSET 0) s, generate_series(1, 1 + u % 8) e;
CREATE INDEX ON alike (i);
ANALYZE alike;
CREATE VIEW one AS SELECT * FROM alike WHERE i = current_setting('lifted.i')::int;
CREATE TABLE repeats AS
	SELECT i, l.* FROM generate_series(1, 200) i, LATERAL set_config('lifted.i', i::text, false) c, LATERAL dupn_lift('shop', CASE WHEN c <> '' THEN 'one'::regclass END, '{clicked,paid}', arm_column => 'arm') l;
SELECT is(count(*), 800::bigint, 'p_value and interval agree, always') FROM repeats WHERE (p_value < .05) = (lift_low > 0 OR lift_high < 0) AND ratio_p_value > 0;
-- 10 of 200 are promised; with 3 standard deviations 1 to 19
SELECT cmp_ok(abs(count(*) FILTER (WHERE p_value < .05) - 10), '<', 10::bigint, format('without a lift 5 %% look like one: %s per %s', metric, per))
	FROM repeats GROUP BY metric, per ORDER BY metric, per;
SELECT cmp_ok(count(*), '>', 24::bigint, 'where exposures taken for independent find far more')
	FROM (SELECT abs(avg(clicked::int) FILTER (WHERE arm = 'candidate') - avg(clicked::int) FILTER (WHERE arm = 'control'))
			/ sqrt(avg(clicked::int) * (1 - avg(clicked::int)) * (1.0 / count(*) FILTER (WHERE arm = 'candidate') + 1.0 / count(*) FILTER (WHERE arm = 'control'))) AS z
		FROM alike GROUP BY i) s WHERE z > 1.96;

-- ---- the wrong number of users ----

CREATE VIEW lost AS SELECT * FROM exposures WHERE arm = 'control' OR user_id % 10 > 0;
SELECT ok(bool_and(ratio_p_value < .001 AND warning ~ '^believe no lift: .* 47[.0-9]* % where 50 % should be'), 'lost candidates are noticed') FROM dupn_lift('shop', 'lost', '{clicked}');
SELECT ok(bool_and(ratio_p_value < .001), 'logged ones as well') FROM dupn_lift('shop', 'lost', '{clicked}', arm_column => 'arm');

-- ---- what tables may hold ----

CREATE TABLE odd (visitor bigint, arm text, at timestamptz DEFAULT now(), yes boolean, amount float8, exact numeric, count int, always boolean DEFAULT true, none int DEFAULT 0);
CREATE FUNCTION numbers(metric text, per text) RETURNS text LANGUAGE sql AS $$
	SELECT concat_ws(' ', round(control::numeric, 4), round(candidate::numeric, 4), round(lift::numeric, 4),
		CASE WHEN lift_low IS NULL THEN 'no interval' ELSE 'interval' END, 'p' || (p_value >= 0), control_users, candidate_users, control_exposures, candidate_exposures) || coalesce(': ' || warning, '')
	FROM dupn_lift('shop', 'odd', ARRAY[numbers.metric], user_column => 'visitor', arm_column => 'arm', time_column => 'at', since => '2024-01-01') l WHERE l.per = numbers.per $$;
SELECT is(split_part(numbers('yes', 'user'), ': ', 1), 'no interval 0 0 0 0', 'no row at all');
SELECT matches(numbers('yes', 'user'), 'there are no exposures from 2024-01-01 .* on; .*the control has no users with a known outcome; the candidate has no users', 'is remarked');
INSERT INTO odd SELECT u, 'candidate', '2024-05-01', u % 2 = 0, u, u, u FROM generate_series(1, 50) u;
SELECT is(split_part(numbers('yes', 'user'), ': ', 1), '0.5000 no interval 0 50 0 50', 'one arm alone');
SELECT matches(numbers('yes', 'user'), 'believe no lift.*; the control has no users', 'is not believed');
INSERT INTO odd SELECT u, 'control', '2024-05-01', u % 2 = 0, u, u, u FROM generate_series(51, 100) u;
SELECT is(regexp_replace(numbers('yes', 'user'), ': .*', ''), '0.5000 0.5000 0.0000 interval ptrue 50 50 50 50', 'both arms');
SELECT is(regexp_replace(numbers('always', 'user'), 'the share.*?; ', ''), '1.0000 1.0000 0.0000 no interval 50 50 50 50: the outcomes of an arm are all alike: no interval', 'outcomes that are all alike');
SELECT matches(numbers('none', 'exposure'), '^0.0000 0.0000 no interval 50 50 50 50: .*the control''s mean is not above 0', 'nothing at all');
UPDATE odd SET count = -count WHERE arm = 'control';
SELECT matches(numbers('count', 'user'), '^-75.5000 25.5000 no interval ptrue .*the control''s mean is not above 0', 'less than nothing');
UPDATE odd SET count = CASE WHEN visitor % 2 = 0 THEN 1000 ELSE -999 END WHERE arm = 'control';
SELECT matches(numbers('count', 'user'), '^0.5000 25.5000 50.0000 no interval ptrue .*cannot be told from 0', 'a mean that may be 0');
-- unknown outcomes, and what is no number
UPDATE odd SET yes = NULL, amount = CASE visitor % 3 WHEN 0 THEN 'NaN' WHEN 1 THEN 'infinity' ELSE '1e200' END::float8, exact = 'NaN' WHERE visitor IN (1, 2, 3, 51, 52, 53);
SELECT is(regexp_replace(numbers('yes', 'user'), ': .*', ''), '0.5106 0.5106 0.0000 interval ptrue 47 47 47 47', 'NULL outcomes are left out');
SELECT is(regexp_replace(numbers('amount', 'user'), ': .*', ''), '77.0000 27.0000 -0.6494 interval ptrue 47 47 47 47', 'NaN, infinity and what is next to it');
SELECT is(regexp_replace(numbers('exact', 'user'), ': .*', ''), '77.0000 27.0000 -0.6494 interval ptrue 47 47 47 47', 'a numeric NaN');
INSERT INTO odd (visitor, arm, at, yes) VALUES (NULL, 'control', '2024-05-01', true), (200, NULL, '2024-05-01', true), (201, 'elsewhere', '2024-05-01', true),
	(202, 'control', NULL, true), (203, 'control', 'infinity', true), (204, 'control', '-infinity', true), (205, 'control', '2023-12-31 23:59:59', true);
SELECT is(regexp_replace(numbers('yes', 'user'), ': .*', ''), '0.5106 0.5106 0.0000 interval ptrue 47 47 47 47', 'rows of nobody, of no arm, of no time');
INSERT INTO odd (visitor, arm, at, yes) VALUES (5, 'control', '2024-05-01', true);
SELECT matches(numbers('yes', 'user'), '47 46 47 46: 1 users who were in both arms are left out', 'a user of both arms');
INSERT INTO odd (visitor, arm, at, yes) SELECT 7, 'candidate', '2024-05-01', true FROM generate_series(1, 9);
SELECT is(regexp_replace(numbers('yes', 'exposure'), ': .*', ''), '0.5106 0.6000 0.1750 interval ptrue 47 46 47 55', 'many exposures of one user');
TRUNCATE odd;
INSERT INTO odd (visitor, arm, yes) VALUES (1, 'control', true), (2, 'candidate', true);
SELECT is(regexp_replace(numbers('yes', 'user'), ': .*', ''), '1.0000 1.0000 0.0000 no interval 1 1 1 1', 'one user each');
INSERT INTO odd (visitor, arm, yes) VALUES (3, 'control', false), (4, 'candidate', false), (6, 'candidate', true);
SELECT matches(numbers('yes', 'user'), 'few users have an outcome: the interval is rough', 'and few more');
SELECT ok(bool_and(ratio_p_value IS NULL), 'too few to count them') FROM dupn_lift('shop', 'odd', '{yes}', 'visitor', 'arm', 'at', '2024-01-01');

-- ---- times ----

SELECT dupn_end_share('shop') IS NOT NULL AS ended \gset
SELECT is((SELECT round(lift::numeric, 9) FROM dupn_lift('shop', 'exposures', '{clicked}') WHERE per = 'user'), (SELECT round(lift::numeric, 9) FROM lift WHERE metric = 'clicked' AND per = 'user'), 'what has ended can be judged');
CREATE TABLE timed (user_id int, occurred_at timestamp, day date, clicked boolean);
INSERT INTO timed SELECT u, (ended_at + d * interval '1 minute') AT TIME ZONE 'Asia/Shanghai', date '2024-05-01' + d, true
	FROM dupn_shares, generate_series(1, 1000) u, (VALUES (-1000000), (1)) v(d);
INSERT INTO timed SELECT u, (started_at + (ended_at - started_at) / 2) AT TIME ZONE 'Asia/Shanghai', date '2024-05-02', u % 2 = 0 FROM dupn_shares, generate_series(1, 1000) u;
SELECT is(control_exposures + candidate_exposures, 1000::bigint, 'exposures while it ran are those that count') FROM dupn_lift('shop', 'timed') WHERE per = 'user';
SELECT is(warning, NULL, 'without a remark') FROM dupn_lift('shop', 'timed') WHERE per = 'user';
SELECT is(control_exposures + candidate_exposures, 2000::bigint, 'or others') FROM dupn_lift('shop', 'timed', until => 'infinity') WHERE per = 'user';
SELECT is((SELECT string_agg(control_exposures + candidate_exposures || '', ' ') FROM unnest('{2024-05-01 15:59Z,2024-05-01 16:00Z,2024-05-01 16:01Z}'::timestamptz[]) t,
	dupn_lift('shop', 'timed', time_column => 'day', since => t, until => '2024-05-02 16:00Z') WHERE per = 'user'), '2000 2000 0', 'days are the model''s');
SELECT ok(bool_and(warning LIKE 'the share was changed within this time%'), 'a time before the share was what it is is remarked')
	FROM dupn_lift('shop', 'timed', time_column => 'day', since => '2024-05-01 16:00Z');

-- ---- users of other types, and what is refused ----

CREATE VIEW wide AS SELECT user_id::bigint AS who, clicked FROM exposures;
SELECT is((SELECT round(lift::numeric, 9) FROM dupn_lift('shop', 'wide', '{clicked}', 'who') WHERE per = 'user'), (SELECT round(lift::numeric, 9) FROM lift WHERE metric = 'clicked' AND per = 'user'), 'a wider integer');
CREATE VIEW named AS SELECT 'u' || user_id AS who, arm, clicked FROM exposures;
SELECT matches(message($$SELECT dupn_lift('shop', 'named', '{clicked}', 'who')$$), '^42804 user column "who" of relation lifted.named has type text', 'names where users are numbers');
SELECT is((SELECT round(lift::numeric, 9) FROM dupn_lift('shop', 'named', '{clicked}', 'who', 'arm') WHERE per = 'user'), (SELECT round(lift::numeric, 9) FROM lift WHERE metric = 'clicked' AND per = 'user'), 'unless the arm was logged');
SELECT is(message($$SELECT dupn_lift('shop', 'named')$$), '42703 relation lifted.named has no column "user_id"', 'no user column');
SELECT is(message($$SELECT dupn_lift('shop', 'exposures', '{klicked}')$$), '42703 relation lifted.exposures has no column "klicked"', 'no such metric');
SELECT is(message($$SELECT dupn_lift('shop', 'exposures', '{arm}')$$), '42804 metric "arm" has type text, which is neither boolean nor a number', 'no amount');
SELECT throws_ok($$SELECT dupn_lift('shop', 'exposures', '{}')$$, '22023', NULL, 'no metric');
SELECT throws_ok($$SELECT dupn_lift('shop', 'events')$$, '22023', NULL, 'none by default');
SELECT throws_ok($$SELECT dupn_lift('shop', 'exposures', '{clicked}', since => '2024-01-01')$$, '42703', NULL, 'a time of no column');
SELECT throws_ok($$SELECT dupn_lift('shop', 'exposures', '{clicked}', time_column => 'e')$$, '42804', NULL, 'a number as a time');
SELECT throws_ok($$SELECT dupn_lift('shop', NULL)$$, '22004', NULL, 'no table');
SELECT is(message($$SELECT dupn_lift('shop', 'exposures', experiment => 'halt')$$), '42704 model "shop" has no experiment "halt"', 'no such experiment');
-- the table is read as the caller
CREATE ROLE lifted_owner;
GRANT USAGE, CREATE ON SCHEMA lifted TO lifted_owner;
GRANT SELECT ON events TO lifted_owner;
SET ROLE lifted_owner;
SELECT dupn_create_model('own', 'events', 'user_id', 'occurred_at', '{item_id}') IS NOT NULL AS declared \gset
RESET ROLE;
INSERT INTO _dupn.share SELECT model_id, 'x', 1, .5 FROM _dupn.model WHERE name = 'own';
SET ROLE lifted_owner;
SELECT throws_ok($$SELECT dupn_lift('own', 'exposures', '{clicked}')$$, '42501', NULL, 'as the caller');
RESET ROLE;
GRANT SELECT ON exposures TO lifted_owner;
ALTER TABLE exposures ENABLE ROW LEVEL SECURITY;
CREATE POLICY early ON exposures USING (user_id <= 1000);
SET ROLE lifted_owner;
SELECT is(control_users + candidate_users, 1000::bigint, 'whose policies apply') FROM dupn_lift('own', 'exposures', '{clicked}') WHERE per = 'user';
RESET ROLE;
SELECT dupn_drop_model('own') IS NOT NULL AS dropped \gset
DROP OWNED BY lifted_owner;
DROP ROLE lifted_owner;

SELECT * FROM finish();
