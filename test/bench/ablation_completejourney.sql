-- The Complete Journey: coupon redemption by the campaigns that start from
-- 2017-09-01 on, the price level of a purchase, and the next product.
\ir ../data/completejourney.sql
CREATE VIEW completejourney.ended_mailings AS
SELECT household_id, campaign_type, start, redeemed FROM completejourney.mailings
WHERE start < '2017-09-01' OR ends <= '2018-01-01';
SELECT dupn_create_model('journey', events => 'completejourney.events_with_redemptions',
	user_column => 'household_id', time_column => 'occurred_at',
	item_columns => '{product_id,product_type,department,price,coupon}', behavior_columns => '{action}',
	catalog => 'completejourney.products', catalog_key => 'product_id',
	profile => 'completejourney.households', profile_key => 'household_id',
	profile_columns => '{age,income,household_size,kids_count}', context_columns => '{campaign_type}',
	timezone => 'America/New_York',
	options => '{"holdout": "2017-09-01 00:00:00-04", "hidden": 32, "attention": [32, 16], "context_in_vector": true,
		"dropout": 0.5, "learning_rate": 3e-3, "decay": 0.8, "epochs": 8, "patience": 4, "min_count": 20, "refit": false, "evaluate_samples": 20000}');
SELECT dupn_add_task('journey', 'redeemed', 'binary', samples => 'completejourney.ended_mailings',
	label => 'redeemed', options => '{"time_column": "start", "hidden": [32]}');
SELECT dupn_add_task('journey', 'price_level', 'multiclass', label => 'price', options => '{"levels": 5}');
SELECT dupn_add_task('journey', 'next', 'next_item');
