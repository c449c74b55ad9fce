-- The Complete Journey: next product and price level on or after 2017-12-01;
-- coupon redemption by the campaigns that start from 2017-09-01 on.
\ir ../data/completejourney.sql
\set next_options '{"holdout": "2017-12-01 00:00:00-05", "refit": false}'
\set price_options '{"holdout": "2017-12-01 00:00:00-05", "epochs": 6, "refit": false}'
SELECT dupn_create_model(model, events => 'completejourney.events',
	user_column => 'household_id', time_column => 'occurred_at',
	item_columns => '{product_id,product_type,product_category,department,manufacturer_id,price}',
	behavior_columns => '{coupon}', catalog => 'completejourney.products', catalog_key => 'product_id',
	profile => 'completejourney.households', profile_key => 'household_id',
	profile_columns => '{age,income,household_size,kids_count}', timezone => 'America/New_York', options => options)
FROM (VALUES ('completejourney_next', :'next_options'::jsonb), ('completejourney_price', :'price_options')) AS m (model, options);
SELECT dupn_add_task('completejourney_next', 'next', 'next_item');
SELECT dupn_add_task('completejourney_price', 'price_level', 'multiclass', label => 'price', options => '{"levels": 5}');

CREATE VIEW completejourney.ended_mailings AS
SELECT household_id, campaign_type, start, redeemed FROM completejourney.mailings
WHERE start < '2017-09-01' OR ends <= '2018-01-01';
SELECT dupn_create_model('completejourney_coupon', events => 'completejourney.events_with_redemptions',
	user_column => 'household_id', time_column => 'occurred_at',
	item_columns => '{product_id,product_type,department,price,coupon}', behavior_columns => '{action}',
	catalog => 'completejourney.products', catalog_key => 'product_id',
	profile => 'completejourney.households', profile_key => 'household_id',
	profile_columns => '{age,income,household_size,kids_count}', context_columns => '{campaign_type}',
	timezone => 'America/New_York',
	options => '{"holdout": "2017-09-01 00:00:00-04", "hidden": 32, "attention": [32, 16], "context_in_vector": true,
		"dropout": 0.5, "learning_rate": 3e-3, "decay": 0.8, "patience": 4, "min_count": 20, "refit": false}');
SELECT dupn_add_task('completejourney_coupon', 'redeemed', 'binary', samples => 'completejourney.ended_mailings',
	label => 'redeemed', options => '{"time_column": "start", "hidden": [32]}');
