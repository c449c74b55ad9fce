-- Amazon Beauty, 5-core sequences.  psql -v data=FOLDER -f amazon_beauty.sql
-- FOLDER holds sequences.csv.gz and item_attributes.csv.gz.  Schema
-- amazon_beauty, replaced: events and items.
--
-- The source has an order but no times.  Event p of a user is put p days after
-- 2000-01-01, so each user's events are a day apart and start together; only
-- order means anything.  Users end at their own positions: measure with
-- holdout "last_event", never with a cut in time.

\set ON_ERROR_STOP on
SET client_min_messages = warning;
-- \copy takes no variables: hand the folder to the shell.
\setenv DUPN_DATA_FOLDER :data
BEGIN;
DROP SCHEMA IF EXISTS amazon_beauty CASCADE;
CREATE SCHEMA amazon_beauty;
SET LOCAL search_path = amazon_beauty;

CREATE TEMP TABLE raw_sequences (user_id bigint, position int, item_id bigint) ON COMMIT DROP;
CREATE TEMP TABLE raw_attributes (item_id bigint, attribute_id int) ON COMMIT DROP;
\copy raw_sequences FROM PROGRAM 'gzip -dc "$DUPN_DATA_FOLDER/sequences.csv.gz"' WITH (FORMAT csv, HEADER)
\copy raw_attributes FROM PROGRAM 'gzip -dc "$DUPN_DATA_FOLDER/item_attributes.csv.gz"' WITH (FORMAT csv, HEADER)

CREATE TABLE events (
	user_id		bigint NOT NULL,
	item_id		bigint NOT NULL,
	occurred_at	timestamp NOT NULL
);
INSERT INTO events
SELECT user_id, item_id, timestamp '2000-01-01' + position * interval '1 day' FROM raw_sequences ORDER BY user_id, position;

CREATE TABLE items (
	item_id		bigint PRIMARY KEY,
	attributes	int[] NOT NULL			-- categories and brand, one id space
);
INSERT INTO items
SELECT item_id, coalesce(array_agg(attribute_id ORDER BY attribute_id) FILTER (WHERE attribute_id IS NOT NULL), '{}')
  FROM (SELECT DISTINCT item_id FROM raw_sequences UNION SELECT item_id FROM raw_attributes) AS i
  LEFT JOIN raw_attributes USING (item_id)
 GROUP BY item_id;

CREATE INDEX ON events (user_id, occurred_at);
COMMIT;
ANALYZE amazon_beauty.events, amazon_beauty.items;
