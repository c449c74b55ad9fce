-- The models of the benchmark.  "paper" has the sizes of the paper; "small" is
-- what a shop with less data would take.
SET client_min_messages = warning;
SELECT dupn_create_model('paper', events => 'events', user_column => 'user_id', time_column => 'occurred_at',
	item_columns => '{item_id,shop_id,brand_id,category_id,tags}', behavior_columns => '{action,scenario}',
	catalog => 'products', catalog_key => 'id', profile => 'customers', profile_key => 'id', profile_columns => '{segment}',
	timezone => 'UTC', options => '{"epochs": 1, "refit": false, "activity": false, "min_count": 1,
		"widths": {"item_id": 32, "shop_id": 24, "brand_id": 24, "category_id": 16, "tags": 28,
			"action": 16, "scenario": 16, "gap": 16, "daypart": 16, "segment": 128}}') \g /dev/null
SELECT dupn_add_task('paper', 'click', 'binary', samples => 'impressions', label => 'clicked',
	options => '{"hidden": [128, 128]}') \g /dev/null
SELECT dupn_add_task('paper', 'next', 'next_item', options => '{"where": {"action": "subscribe"}}') \g /dev/null
SELECT dupn_create_model('small', events => 'events', user_column => 'user_id', time_column => 'occurred_at',
	item_columns => '{item_id,category_id}', behavior_columns => '{action}',
	catalog => 'products', catalog_key => 'id',
	timezone => 'UTC', options => '{"epochs": 1, "refit": false, "activity": false, "hidden": 64, "max_events": 50, "min_count": 20,
		"attention": [64, 32], "widths": {"item_id": 32, "category_id": 16}}') \g /dev/null
SELECT dupn_add_task('small', 'click', 'binary', samples => 'impressions', label => 'clicked',
	options => '{"hidden": [64, 32]}') \g /dev/null

-- For training alone: one sample at the end of each of 10,000 histories, and
-- the last twenty moments of 1,000
SELECT dupn_create_model(name, events => 'events', user_column => 'user_id', time_column => 'occurred_at',
	item_columns => '{item_id,shop_id,brand_id,category_id,tags}', behavior_columns => '{action,scenario}',
	catalog => 'products', catalog_key => 'id', profile => 'customers', profile_key => 'id', profile_columns => '{segment}',
	timezone => 'UTC', options => '{"epochs": 1, "refit": false, "activity": false, "min_count": 1, "batch_size": 512,
		"widths": {"item_id": 32, "shop_id": 24, "brand_id": 24, "category_id": 16, "tags": 28,
			"action": 16, "scenario": 16, "gap": 16, "daypart": 16, "segment": 128}}')
FROM unnest('{one_sample,twenty_samples}'::text[]) name \g /dev/null
SELECT dupn_add_task(name, 'click', 'binary', samples => samples, label => 'clicked', options => '{"hidden": [128, 128]}')
FROM (VALUES ('one_sample', 'late_impressions'), ('twenty_samples', 'impressions')) AS v(name, samples) \g /dev/null
