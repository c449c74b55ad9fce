-- REES46: the last event of users with 5 or more.
\ir ../data/rees46.sql
SELECT dupn_create_model('rees46', events => 'rees46.events',
	user_column => 'user_id', time_column => 'occurred_at',
	item_columns => '{item_id,subcategory_id,category_id,brand_id,price}', timezone => 'UTC',
	options => '{"holdout": "last_event", "holdout_min_events": 5, "refit": false}');
SELECT dupn_add_task('rees46', 'next', 'next_item');
