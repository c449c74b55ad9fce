-- REES46 multi-category store, October 2019.  psql -v data=FOLDER -f rees46.sql
-- FOLDER holds events.csv.gz.  Schema rees46, replaced: events, times in UTC.
-- The protocol of the measurements asks for the last event of the users with
-- 5 or more events; the view active_users names them.

\set ON_ERROR_STOP on
SET client_min_messages = warning;
-- \copy takes no variables: hand the folder to the shell.
\setenv DUPN_DATA_FOLDER :data
BEGIN;
DROP SCHEMA IF EXISTS rees46 CASCADE;
CREATE SCHEMA rees46;
SET LOCAL search_path = rees46;

CREATE TEMP TABLE raw_events (user_id bigint, session_code bigint, event_time bigint, event_type_code int, product_code bigint,
	subcategory_code bigint, category_code bigint, brand_code bigint, price_log_norm real, relative_price real,
	product_recency_days real) ON COMMIT DROP;
\copy raw_events FROM PROGRAM 'gzip -dc "$DUPN_DATA_FOLDER/events.csv.gz"' WITH (FORMAT csv, HEADER)

CREATE TABLE events (
	user_id			bigint NOT NULL,
	session_id		bigint,				-- NULL before the two days of the sample
	item_id			bigint NOT NULL,
	subcategory_id	bigint NOT NULL,
	category_id		bigint NOT NULL,
	brand_id		bigint NOT NULL,
	price			real,				-- standardised logarithm
	relative_price	real,				-- to the mean of the category
	item_age_days	real,
	event_type		int NOT NULL,		-- 2 is a view, nearly all
	occurred_at		timestamptz NOT NULL
);
INSERT INTO events
SELECT user_id, session_code, product_code, subcategory_code, category_code, brand_code, price_log_norm, relative_price,
	   product_recency_days, event_type_code, to_timestamp(event_time)
  FROM raw_events ORDER BY user_id, event_time;
CREATE INDEX ON events (user_id, occurred_at);
CREATE VIEW active_users AS SELECT user_id, count(*) AS events FROM events GROUP BY user_id HAVING count(*) >= 5;
COMMIT;
ANALYZE rees46.events;
