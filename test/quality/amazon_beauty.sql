-- Amazon Beauty: the last item of each user among all items, earlier ones removed.
\ir ../data/amazon_beauty.sql
SELECT dupn_create_model('amazon_beauty', events => 'amazon_beauty.events',
	user_column => 'user_id', time_column => 'occurred_at', item_columns => '{item_id,attributes}',
	catalog => 'amazon_beauty.items', catalog_key => 'item_id', timezone => 'UTC',
	options => '{"holdout": "last_event", "item_encoding": "sum", "item_dim": 128, "hidden": 128,
		"max_events": 50, "dropout": 0.5, "learning_rate": 5e-3, "decay": 0.8, "min_count": 1, "epochs": 8, "refit": false}');
SELECT dupn_add_task('amazon_beauty', 'next', 'next_item', options => '{"exclude_seen": true, "repeat": false}');
