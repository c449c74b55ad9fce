-- The Complete Journey, sample.  psql -v data=FOLDER -f completejourney.sql
-- FOLDER holds the *.csv.gz of the data set.  Schema completejourney, replaced:
--	events						purchases
--	events_with_redemptions		purchases and redemptions, told apart by action
--	products, households		catalog and profile
--	mailings					one row per (campaign, household), with its label
-- Times have no zone in the source: local time of the stores, kept as timestamp.

\set ON_ERROR_STOP on
SET client_min_messages = warning;
-- \copy takes no variables: hand the folder to the shell.
\setenv DUPN_DATA_FOLDER :data
BEGIN;
DROP SCHEMA IF EXISTS completejourney CASCADE;
CREATE SCHEMA completejourney;
SET LOCAL search_path = completejourney;

-- Some round ids are written as 9e+05 and 4.0128e+10: ids are read as numeric.
CREATE TEMP TABLE raw_transactions (household_id numeric, store_id numeric, basket_id numeric, product_id numeric,
	quantity numeric, sales_value numeric, retail_disc numeric, coupon_disc numeric, coupon_match_disc numeric,
	week int, transaction_timestamp timestamp) ON COMMIT DROP;
CREATE TEMP TABLE raw_products (product_id numeric, manufacturer_id numeric, department text, brand text,
	product_category text, product_type text, package_size text) ON COMMIT DROP;
CREATE TEMP TABLE raw_campaigns (campaign_id numeric, household_id numeric) ON COMMIT DROP;
CREATE TEMP TABLE raw_descriptions (campaign_id numeric, campaign_type text, start_date date, end_date date) ON COMMIT DROP;
CREATE TEMP TABLE raw_redemptions (household_id numeric, coupon_upc numeric, campaign_id numeric, redemption_date date) ON COMMIT DROP;

CREATE TABLE products (
	product_id			bigint PRIMARY KEY,
	manufacturer_id		bigint,
	department			text,
	brand				text,			-- National, Private
	product_category	text,
	product_type		text,
	package_size		text
);

CREATE TABLE households (
	household_id	bigint PRIMARY KEY,
	age				text,
	income			text,
	home_ownership	text,
	marital_status	text,
	household_size	text,
	household_comp	text,
	kids_count		text
);

CREATE TABLE events (
	household_id	bigint NOT NULL,
	product_id		bigint NOT NULL,
	store_id		bigint NOT NULL,
	basket_id		bigint NOT NULL,
	quantity		numeric NOT NULL,
	sales_value		numeric NOT NULL,	-- paid for the row
	price			numeric,			-- of one piece; NULL where nothing positive was bought or paid
	coupon			boolean NOT NULL,	-- paid in part with a coupon
	occurred_at		timestamp NOT NULL
);

CREATE TABLE mailings (
	household_id	bigint NOT NULL,
	campaign_id		bigint NOT NULL,
	campaign_type	text NOT NULL,
	start			timestamp NOT NULL,
	ends			timestamp NOT NULL,	-- the end of the campaign's last day
	redeemed		boolean NOT NULL
);

\copy raw_transactions FROM PROGRAM 'gzip -dc "$DUPN_DATA_FOLDER/transactions.csv.gz"' WITH (FORMAT csv, HEADER)
\copy raw_campaigns FROM PROGRAM 'gzip -dc "$DUPN_DATA_FOLDER/campaigns.csv.gz"' WITH (FORMAT csv, HEADER)
\copy raw_descriptions FROM PROGRAM 'gzip -dc "$DUPN_DATA_FOLDER/campaign_descriptions.csv.gz"' WITH (FORMAT csv, HEADER)
\copy raw_redemptions FROM PROGRAM 'gzip -dc "$DUPN_DATA_FOLDER/coupon_redemptions.csv.gz"' WITH (FORMAT csv, HEADER)
\copy raw_products FROM PROGRAM 'gzip -dc "$DUPN_DATA_FOLDER/products.csv.gz"' WITH (FORMAT csv, HEADER)
\copy households FROM PROGRAM 'gzip -dc "$DUPN_DATA_FOLDER/households.csv.gz"' WITH (FORMAT csv, HEADER)

INSERT INTO products SELECT * FROM raw_products;

INSERT INTO events
SELECT household_id, product_id, store_id, basket_id, quantity, sales_value,
	   CASE WHEN quantity > 0 AND sales_value > 0 THEN round(sales_value / quantity, 4) END,
	   coupon_disc <> 0, transaction_timestamp
  FROM raw_transactions
 ORDER BY household_id, transaction_timestamp;

INSERT INTO mailings
SELECT c.household_id, c.campaign_id, d.campaign_type, d.start_date, d.end_date + interval '1 day',
	   EXISTS (SELECT FROM raw_redemptions r WHERE r.household_id = c.household_id AND r.campaign_id = c.campaign_id)
  FROM raw_campaigns c
  JOIN raw_descriptions d USING (campaign_id)
 ORDER BY c.household_id, d.start_date;

-- Redemptions have a date only: they are put at noon of it.
CREATE TABLE events_with_redemptions AS
SELECT household_id, 'purchase'::text AS action, product_id, store_id, price, coupon, NULL::text AS campaign_type, occurred_at
  FROM events
 UNION ALL
SELECT household_id::bigint, 'redeem', NULL, NULL, NULL, NULL, campaign_type, redemption_date + interval '12 hours'
  FROM raw_redemptions r
  LEFT JOIN raw_descriptions USING (campaign_id)
 ORDER BY 1, 8;
ALTER TABLE events_with_redemptions ALTER household_id SET NOT NULL, ALTER action SET NOT NULL, ALTER occurred_at SET NOT NULL;

CREATE INDEX ON events (household_id, occurred_at);
CREATE INDEX ON events_with_redemptions (household_id, occurred_at);
CREATE INDEX ON mailings (household_id, start);
COMMIT;
ANALYZE completejourney.products, completejourney.households, completejourney.events, completejourney.mailings, completejourney.events_with_redemptions;
