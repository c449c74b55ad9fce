-- Amazon Beauty: the last item of each user among all items, earlier ones removed.
\ir ../data/amazon_beauty.sql
SELECT dupn_create_model('amazon_beauty', events => 'amazon_beauty.events',
	user_column => 'user_id', time_column => 'occurred_at', item_columns => '{item_id,attributes}',
	catalog => 'amazon_beauty.items', catalog_key => 'item_id', timezone => 'UTC',
	options => '{"holdout": "last_event", "refit": false}');
SELECT dupn_add_task('amazon_beauty', 'next', 'next_item', options => '{"exclude_seen": true}');
