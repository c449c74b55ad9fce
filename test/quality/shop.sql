-- The simulated shop: 2,000 users, 30 days.
\set shop shop
\ir ../simulator/simulator.sql
CALL shop.simulate(2000, 30, 1);
RESET search_path;
ANALYZE;
SELECT dupn_create_model('shop', events => 'shop.events', user_column => 'user_id', time_column => 'occurred_at',
	item_columns => '{item_id,category_id,brand_id,shop_id,price}', behavior_columns => '{action,scenario}',
	catalog => 'shop.products', catalog_key => 'id',
	profile => 'shop.customers', profile_key => 'id', profile_columns => '{age_band,gender}',
	context_columns => '{query_category}', timezone => 'UTC',
	options => '{"hidden": 48, "attention": [32, 16], "max_events": 50, "learning_rate": 3e-3, "decay": 0.8,
		"dropout": 0.2, "hidden_dropout": 0.1, "epochs": 6, "patience": 3,
		"encodings": {"query_category": {"table": "category_id"}}}');
SELECT dupn_add_task('shop', 'click', 'binary', samples => 'shop.impressions', label => 'clicked',
	options => '{"time_column": "shown_at", "hidden": [128, 64], "candidate": ["category_id", "brand_id", "shop_id", "price"]}');
SELECT dupn_add_task('shop', 'next', 'next_item');
