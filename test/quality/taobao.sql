-- Taobao: every event of 2017-12-03 (UTC+8), rolling history.
\ir ../data/taobao.sql
SELECT dupn_create_model('taobao', events => 'taobao.events',
	user_column => 'user_id', time_column => 'occurred_at',
	item_columns => '{item_id,category_id}', behavior_columns => '{action}', timezone => 'Asia/Shanghai',
	options => '{"holdout": "2017-12-03 00:00:00+08", "refit": false}');
SELECT dupn_add_task('taobao', 'next', 'next_item');
