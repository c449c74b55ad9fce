-- A shop whose model has an embedding table of :rows rows of 128 numbers, 1 GiB
-- with 2097150 (and two for missing and unknown), which its open-ended listings
-- are hashed into.
\set QUIET on
SET client_min_messages = warning;
SET timezone = 'UTC';
SELECT setseed(0.5) \g /dev/null
CREATE TABLE events AS
SELECT n % (:events / 20) AS user_id,
	timestamptz '2024-01-01' + n * (interval '180 days' / :events) AS occurred_at,
	1000000 + floor(random() * :rows)::int AS listing_id, floor(exp(random() * ln(5000)))::int AS item_id,
	(ARRAY['view', 'cart', 'buy'])[1 + (CASE WHEN random() < .7 THEN n % (:events / 20) ELSE floor(random() * 3)::int END) % 3] AS action
  FROM generate_series(1, :events) n;
CREATE INDEX ON events (user_id, occurred_at) INCLUDE (listing_id, item_id, action);
VACUUM (ANALYZE, FREEZE) events;

-- the rows of one more day, five of each of its users
CREATE PROCEDURE next_day(rows int) LANGUAGE sql AS $$
INSERT INTO events SELECT n % (rows / 5), last + n * (interval '1 day' / rows), listing_id, item_id, action
  FROM (SELECT max(occurred_at) AS last FROM events) l,
	(SELECT row_number() OVER (ORDER BY occurred_at, listing_id) AS n, listing_id + 7 AS listing_id, item_id, action FROM events LIMIT rows) e $$;

CREATE FUNCTION declare(model text, hashed int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM dupn_create_model(model, 'events', 'user_id', 'occurred_at', '{item_id,listing_id}', '{action}', timezone => 'UTC',
		options => '{"hidden": 32, "attention": [16, 8], "max_events": 20, "epochs": 1,
			"widths": {"item_id": 16, "listing_id": 128}}' || jsonb_build_object('encodings', jsonb_build_object(
			'listing_id', jsonb_build_object('hash', hashed))));
	PERFORM dupn_add_task(model, 'kind', 'multiclass', label => 'action');
END $$;
SELECT declare('shop', :rows), declare('twin', :rows) \g /dev/null
