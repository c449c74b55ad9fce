-- Checks of the simulator: psql -f check.sql in any database; it uses, and
-- drops, the schemas check_a, check_b and check_c.  Prints TAP; a failed
-- check makes psql exit with status 3.

\set ON_ERROR_STOP on
\set QUIET on
\pset format unaligned
\pset tuples_only on
SET client_min_messages = warning;
SET timezone = 'America/New_York';		-- the world's days are UTC's all the same
DROP SCHEMA IF EXISTS check_a, check_b, check_c CASCADE;
\set shop check_a
\ir simulator.sql
\set shop check_b
\ir simulator.sql
\set shop check_c
\ir simulator.sql
SET search_path = pg_catalog;

CREATE TEMP TABLE result (number int GENERATED ALWAYS AS IDENTITY, passed boolean, what text);

-- A checksum of everything, in any physical order; "users" limits it to the
-- first users.
CREATE FUNCTION pg_temp.checksum(shop text, users bigint) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
	part	text;
	total	text := '';
	tab		text;
	key		text;
BEGIN
	FOREACH tab IN ARRAY '{events,impressions,campaign_mailings,customers,truth_users,truth_needs,truth_daily,truth_mailings}'::text[] LOOP
		key := CASE tab WHEN 'customers' THEN 'id' ELSE 'user_id' END;
		EXECUTE format('SELECT sum(hashtextextended(t::text, 0)::numeric)::text FROM %I.%I t WHERE %I <= $1', shop, tab, key)
			INTO part USING users;
		total := total || coalesce(part, '-') || ' ';
	END LOOP;
	FOREACH tab IN ARRAY '{products,campaigns,truth_categories}'::text[] LOOP
		EXECUTE format('SELECT sum(hashtextextended(t::text, 0)::numeric)::text FROM %I.%I t', shop, tab) INTO part;
		total := total || coalesce(part, '-') || ' ';
	END LOOP;
	RETURN total;
END $$;

-- Area under the ROC curve; ties share their mean rank.
CREATE FUNCTION pg_temp.auc(query text) RETURNS float8
LANGUAGE plpgsql AS $$
DECLARE
	answer	float8;
BEGIN
	EXECUTE format('SELECT (sum(r) FILTER (WHERE label) - n * (n + 1) / 2) / n / nullif(m, 0)
		FROM (SELECT label, rank() OVER (ORDER BY score) + (count(*) OVER (PARTITION BY score) - 1) / 2.0::float8 AS r,
				nullif(count(*) FILTER (WHERE label) OVER (), 0) AS n, count(*) FILTER (WHERE NOT label) OVER () AS m
				FROM (%s) AS q(score, label)) AS ranked GROUP BY n, m', query) INTO answer;
	RETURN answer;
END $$;

CREATE FUNCTION pg_temp.within(what text, value numeric, low numeric, high numeric) RETURNS void
LANGUAGE sql AS $$
	INSERT INTO result (passed, what)
	VALUES (coalesce(value BETWEEN low AND high, false), format('%s: %s in %s .. %s', what, round(value, 4), low, high)) $$;

CREATE FUNCTION pg_temp.none(what text, query text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
	n	bigint;
BEGIN
	EXECUTE query INTO n;
	INSERT INTO result (passed, what) VALUES (n = 0, what || CASE WHEN n = 0 THEN '' ELSE format(' (%s are not)', n) END);
END $$;

CREATE FUNCTION pg_temp.fails(what text, statement text, code text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE statement;
	INSERT INTO result (passed, what) VALUES (false, what);
EXCEPTION WHEN OTHERS THEN
	INSERT INTO result (passed, what) VALUES (sqlstate = code, what);
END $$;

-- Calls that must not succeed ---------------------------------------------

SELECT pg_temp.fails('a day needs a world', 'CALL check_a.simulate_day()', '55000');
SELECT pg_temp.fails('a world needs users', 'CALL check_a.simulate(0, 1, 1)', '22023');
SELECT pg_temp.fails('a chunk needs users', 'CALL check_a.simulate_day(chunk => 0)', '22023');

-- Determinism and streaming ----------------------------------------------

CALL check_a.simulate(200, 10, 7);
CALL check_b.simulate(200, 7, 7, chunk => 37);		-- other chunks, cut short
CALL check_b.simulate_day(chunk => 1000);
CALL check_b.simulate_day();
CALL check_b.simulate_day(chunk => 1);
INSERT INTO result (passed, what)
SELECT pg_temp.checksum('check_a', 200) = pg_temp.checksum('check_b', 200), '7 days and 3 more in other chunks are the same 10 days';
CALL check_b.simulate(260, 10, 7);
INSERT INTO result (passed, what)
SELECT pg_temp.checksum('check_a', 200) = pg_temp.checksum('check_b', 200), 'more users do not change the others';
SELECT pg_temp.checksum('check_b', 260) AS before \gset
CALL check_b.simulate(260, 10, 7);
INSERT INTO result (passed, what)
SELECT pg_temp.checksum('check_b', 260) = :'before', 'the same seed gives the same world';
CALL check_b.simulate(260, 10, 8);
INSERT INTO result (passed, what)
SELECT pg_temp.checksum('check_b', 260) <> :'before', 'another seed gives another world';
SELECT pg_temp.fails('a population cannot shrink', 'CALL check_b.simulate_day(259)', '22023');
CALL check_b.simulate_day(300);
INSERT INTO result (passed, what)
SELECT count(*) FILTER (WHERE user_id > 260) > 20 AND bool_and(joined_on = 10 OR user_id <= 260), 'a grown population joins on the day'
  FROM check_b.truth_users;

-- A day that was interrupted after some chunks is finished by the next call.
CALL check_a.simulate(200, 5, 9);
CALL check_b.simulate(200, 4, 9);
BEGIN;
SELECT check_b.open_day(4) \g /dev/null
SELECT check_b.make_users(4, 1, 90), check_b.mail(4, 1, 90), check_b.visit(4, 1, 90) \g /dev/null
UPDATE check_b.truth_world SET next_user = 91;
COMMIT;
CALL check_b.simulate_day();
INSERT INTO result (passed, what)
SELECT pg_temp.checksum('check_a', 200) = pg_temp.checksum('check_b', 200), 'an interrupted day is finished';

-- Invariants --------------------------------------------------------------

CALL check_c.simulate(1000, 30, 1);
SET search_path = check_c;
SET timezone = 'UTC';
SELECT pg_temp.none('impressions come after the birth of their item',
	'SELECT count(*) FROM impressions JOIN products p ON p.id = item_id WHERE shown_at < born');
SELECT pg_temp.none('events come after the birth of their item',
	'SELECT count(*) FROM events JOIN products p ON p.id = item_id WHERE occurred_at < born');
SELECT pg_temp.none('events come after their user joined',
	'SELECT count(*) FROM events JOIN customers c ON c.id = user_id WHERE occurred_at < joined_at');
SELECT pg_temp.none('every clicked impression has its click within two minutes',
	$$SELECT count(*) FROM impressions i WHERE clicked AND NOT EXISTS (SELECT FROM events e WHERE e.user_id = i.user_id
		AND e.item_id = i.item_id AND e.action = 'click' AND e.occurred_at BETWEEN i.shown_at AND i.shown_at + interval '2 minutes')$$);
SELECT pg_temp.none('no impression that was not clicked has a click within two minutes',
	$$SELECT count(*) FROM impressions i WHERE NOT clicked AND EXISTS (SELECT FROM events e WHERE e.user_id = i.user_id
		AND e.item_id = i.item_id AND e.action = 'click' AND e.occurred_at BETWEEN i.shown_at AND i.shown_at + interval '2 minutes')$$);
SELECT pg_temp.none('what was bought from an impression was clicked and has its purchase',
	$$SELECT count(*) FROM impressions i WHERE bought AND NOT (clicked AND EXISTS (SELECT FROM events e WHERE e.user_id = i.user_id
		AND e.item_id = i.item_id AND e.action = 'buy' AND e.occurred_at BETWEEN i.shown_at AND i.shown_at + interval '4 minutes'))$$);
SELECT pg_temp.none('every redemption has its purchase that day',
	$$SELECT count(*) FROM campaign_mailings m WHERE redeemed AND NOT EXISTS (SELECT FROM events e WHERE e.user_id = m.user_id
		AND e.scenario = 'campaign' AND e.occurred_at BETWEEN m.sent_at AND m.sent_at + interval '1 day')$$);
SELECT pg_temp.none('impression ids are unique', 'SELECT count(*) - count(DISTINCT id) FROM impressions');
SELECT pg_temp.none('an item is shown once on a page',
	'SELECT count(*) - count(DISTINCT (user_id, shown_at, item_id)) FROM impressions');
SELECT pg_temp.none('every impression and every mailing has its truth',
	'SELECT (SELECT count(*) FROM impressions LEFT JOIN truth_impressions t USING (id) WHERE t.id IS NULL)
		  + (SELECT count(*) FROM campaign_mailings LEFT JOIN truth_mailings t USING (user_id, campaign_id) WHERE t.user_id IS NULL)');
SELECT pg_temp.none('a search is of a category, and only a search',
	$$SELECT count(*) FROM events WHERE (scenario = 'search') <> (query_category IS NOT NULL)$$);
SELECT pg_temp.none('a purchase of a durable leaves no open need but what came after it',
	$$SELECT count(*) FROM truth_needs n JOIN truth_needs s USING (user_id, category_id)
		WHERE s.kind = 'sated' AND n.kind = 'hunt' AND n.starts_on < s.starts_on - 1$$);

-- Statistics: what a shop looks like ---------------------------------------

SELECT pg_temp.within('events', count(*), 60000, 110000) FROM events;
SELECT pg_temp.within('impressions per event', (SELECT count(*) FROM impressions)::numeric / count(*), 0.7, 1.2) FROM events;
SELECT pg_temp.within('share of purchases', avg((action = 'buy')::int), 0.04, 0.10) FROM events;
SELECT pg_temp.within('share of carts', avg((action = 'cart')::int), 0.07, 0.14) FROM events;
SELECT pg_temp.within('share of favourites', avg((action = 'fav')::int), 0.04, 0.10) FROM events;
SELECT pg_temp.within('click rate', avg(clicked::int), 0.18, 0.28) FROM impressions;
SELECT pg_temp.within('redemption rate', avg(redeemed::int), 0.10, 0.25) FROM campaign_mailings;
SELECT pg_temp.within('calibration: mean true probability over click rate', avg(probability)::numeric / avg(clicked::int), 0.95, 1.05)
  FROM impressions JOIN truth_impressions USING (id);
SELECT pg_temp.within('AUC of the true click probability', pg_temp.auc('SELECT probability, clicked FROM impressions JOIN truth_impressions USING (id)')::numeric, 0.75, 0.85);
SELECT pg_temp.within('AUC of the true click probability for purchases', pg_temp.auc('SELECT probability, bought FROM impressions JOIN truth_impressions USING (id)')::numeric, 0.82, 0.96);
SELECT pg_temp.within('AUC of the true redemption probability', pg_temp.auc('SELECT probability, redeemed FROM campaign_mailings JOIN truth_mailings USING (user_id, campaign_id)')::numeric, 0.68, 0.85);
SELECT pg_temp.within('AUC of position alone', pg_temp.auc('SELECT -position, clicked FROM impressions')::numeric, 0.53, 0.65);
SELECT pg_temp.within('AUC of logged sales alone', pg_temp.auc('SELECT sales, clicked FROM impressions')::numeric, 0.48, 0.62);
SELECT pg_temp.within('share of purchases of an item bought before', avg(again::int), 0.10, 0.50)
  FROM (SELECT occurred_at > min(occurred_at) OVER (PARTITION BY user_id, item_id) AS again FROM events WHERE action = 'buy') AS b;
SELECT pg_temp.within('share of clicks in the category of the click before', avg(same::int), 0.60, 0.90)
  FROM (SELECT category_id = lag(category_id) OVER (PARTITION BY user_id ORDER BY occurred_at) AS same
		  FROM events JOIN products ON id = item_id WHERE action = 'click') AS c;
SELECT pg_temp.within('share of events on the busiest tenth of items', sum(n) FILTER (WHERE k <= m / 10) / sum(n), 0.35, 0.65)
  FROM (SELECT n, row_number() OVER (ORDER BY n DESC) AS k, count(*) OVER () AS m
		  FROM (SELECT count(*) AS n FROM events GROUP BY item_id) AS i) AS r;
SELECT pg_temp.within('share of profiles without an age', avg((age_band IS NULL)::int), 0.18, 0.32) FROM customers;
SELECT pg_temp.within('share of events from 0 to 6 hours', avg((extract(hour FROM occurred_at AT TIME ZONE 'UTC') < 6)::int), 0.02, 0.12) FROM events;
SELECT pg_temp.within('users who joined later', avg((joined_on > 0)::int), 0.15, 0.35) FROM truth_users;

-- What a model may find: each of these has an effect. A category bought last
-- is clicked less if durable; behaviours of yesterday tell more than those of
-- a week ago; a cart tells more than a click.
SELECT pg_temp.within('next-day purchase after a cart over that after a click only',
	   avg(bought::int) FILTER (WHERE carted) / avg(bought::int) FILTER (WHERE NOT carted), 2, 50)
  FROM (SELECT carted, EXISTS (SELECT FROM events b WHERE b.user_id = d.user_id AND b.item_id = d.item_id AND b.action = 'buy'
							   AND b.occurred_at >= day + interval '1 day' AND b.occurred_at < day + interval '6 days') AS bought
		  FROM (SELECT user_id, item_id, date_trunc('day', occurred_at) AS day, bool_or(action = 'cart') AS carted
				  FROM events GROUP BY 1, 2, 3 HAVING NOT bool_or(action = 'buy')) AS d) AS x;
SELECT pg_temp.within('click rate in a category clicked 1 day ago over 8 or more days ago',
	   avg(clicked::int) FILTER (WHERE ago < 2) / avg(clicked::int) FILTER (WHERE ago >= 8), 1.05, 2)
  FROM (SELECT clicked, (SELECT extract(day FROM date_trunc('day', shown_at) - max(date_trunc('day', e.occurred_at)))
						   FROM events e JOIN products r ON r.id = e.item_id
						  WHERE e.user_id = i.user_id AND r.category_id = p.category_id
							AND e.occurred_at < date_trunc('day', i.shown_at)) AS ago
		  FROM impressions i JOIN products p ON p.id = i.item_id WHERE i.id % 7 = 0) AS x;
SELECT pg_temp.within('clicks in the accessory''s category, the week after a purchase over the week before',
	   count(*) FILTER (WHERE e.occurred_at > b.at)::numeric / nullif(count(*) FILTER (WHERE e.occurred_at < b.at), 0), 1.1, 5)
  FROM (SELECT user_id, occurred_at AS at, c.accessory_id
		  FROM events JOIN truth_items USING (item_id) JOIN truth_categories c USING (category_id)
		 WHERE action = 'buy' AND scenario <> 'campaign' AND occurred_at BETWEEN '2024-01-08Z' AND '2024-01-23Z' AND c.accessory_id IS NOT NULL) AS b
  JOIN events e ON e.user_id = b.user_id AND e.action = 'click'
   AND (e.occurred_at::date - b.at::date BETWEEN 1 AND 6 OR b.at::date - e.occurred_at::date BETWEEN 1 AND 6)
  JOIN truth_items i ON i.item_id = e.item_id AND i.category_id = b.accessory_id;

SELECT '1..' || count(*) FROM result;
SELECT CASE WHEN passed THEN 'ok ' ELSE 'not ok ' END || number || ' - ' || what FROM result ORDER BY number;
SELECT count(*) AS failed FROM result WHERE passed IS NOT TRUE \gset
SET search_path = pg_catalog;
SELECT :failed > 0 AS bad \gset
\if :bad
DO $$ BEGIN RAISE EXCEPTION 'checks of the simulator failed'; END $$;
\endif
DROP SCHEMA check_a, check_b, check_c CASCADE;
