-- Taobao UserBehavior, 293 users.  psql -v data=FOLDER -f taobao.sql
-- FOLDER holds events.csv.gz.  Schema taobao, replaced: events.
-- Taobao's days are those of Asia/Shanghai.

\set ON_ERROR_STOP on
SET client_min_messages = warning;
-- \copy takes no variables: hand the folder to the shell.
\setenv DUPN_DATA_FOLDER :data
BEGIN;
DROP SCHEMA IF EXISTS taobao CASCADE;
CREATE SCHEMA taobao;
SET LOCAL search_path = taobao;

CREATE TEMP TABLE raw_events (user_id bigint, item_id bigint, category_id bigint, behavior_type text, at bigint) ON COMMIT DROP;
\copy raw_events FROM PROGRAM 'gzip -dc "$DUPN_DATA_FOLDER/events.csv.gz"' WITH (FORMAT csv, HEADER)

CREATE TABLE events (
	user_id		bigint NOT NULL,
	item_id		bigint NOT NULL,
	category_id	bigint NOT NULL,
	action		text NOT NULL,			-- pv, cart, fav, buy
	occurred_at	timestamptz NOT NULL
);
INSERT INTO events
SELECT user_id, item_id, category_id, behavior_type, to_timestamp(at) FROM raw_events ORDER BY user_id, at;
CREATE INDEX ON events (user_id, occurred_at);
COMMIT;
ANALYZE taobao.events;
