-- Real purchases, prices, profiles and coupon mailings.
\timing off
\set data :folder
\ir ../data/completejourney.sql
SET client_min_messages = warning;
SELECT dupn_create_model('journey', events => 'completejourney.events',
	user_column => 'household_id', time_column => 'occurred_at',
	item_columns => '{product_id,product_type,product_category,department,price}',
	behavior_columns => '{coupon}', catalog => 'completejourney.products', catalog_key => 'product_id',
	profile => 'completejourney.households', profile_key => 'household_id',
	profile_columns => '{age,income,household_size}', timezone => 'America/New_York',
	options => '{"holdout": "2017-12-01 00:00:00-05", "hidden": 48, "attention": [32, 16], "max_events": 50,
		"learning_rate": 2e-3, "epochs": 3}') \g /dev/null
SELECT dupn_add_task('journey', 'next', 'next_item') \g /dev/null
SELECT dupn_add_task('journey', 'price_level', 'multiclass', label => 'price', options => '{"levels": 5}') \g /dev/null
SELECT dupn_add_task('journey', 'redeemed', 'binary', samples => 'completejourney.mailings', label => 'redeemed',
	options => '{"time_column": "start", "hidden": [16]}') \g /dev/null
\timing on
CALL dupn_run('journey', 'train');
\timing off
SELECT message FROM dupn_jobs WHERE model = 'journey' ORDER BY job_id DESC LIMIT 1 \gset
\echo :message
SELECT task, metric, round(value::numeric, 4) AS value, baseline, round(baseline_value::numeric, 4) AS baseline_value,
	round(difference_low::numeric, 4) AS difference_low, round(difference_high::numeric, 4) AS difference_high
FROM dupn_metrics WHERE model = 'journey' AND slice = 'all' AND metric IN ('hr@20', 'auc', 'accuracy')
ORDER BY task, metric;
SELECT household_id AS u FROM completejourney.events GROUP BY 1 HAVING count(*) > 60 ORDER BY 1 LIMIT 1 \gset
\echo '-- price classes of household' :u
SELECT class, round(probability::numeric, 3) AS probability
FROM dupn_classify('price_level', dupn_user_vector(:u, model => 'journey'));
\echo '-- what it will buy next'
SELECT product_id, product_type, product_category, round(score::numeric, 2) AS score
FROM dupn_recommend(:u, k => 8, model => 'journey') r
JOIN completejourney.products p ON p.product_id = r.item::bigint ORDER BY score DESC;
\echo '-- will it redeem the next campaign''s coupons?'
SELECT round(dupn_score('redeemed', dupn_user_vector(:u, model => 'journey'))::numeric, 4) AS redeems;
