-- Real behaviour types and times.
\timing off
\set data :folder
\ir ../data/taobao.sql
SET client_min_messages = warning;
SELECT dupn_create_model('taobao', events => 'taobao.events',
	user_column => 'user_id', time_column => 'occurred_at',
	item_columns => '{item_id,category_id}', behavior_columns => '{action}', timezone => 'Asia/Shanghai',
	options => '{"holdout": "2017-12-03 00:00:00+08", "hidden": 48, "attention": [32, 16], "epochs": 3}') \g /dev/null
SELECT dupn_add_task('taobao', 'next', 'next_item') \g /dev/null
\timing on
CALL dupn_run('taobao', 'train');
\timing off
SELECT message FROM dupn_jobs WHERE model = 'taobao' ORDER BY job_id DESC LIMIT 1 \gset
\echo :message
SELECT metric, slice, round(value::numeric, 4) AS value, baseline, round(baseline_value::numeric, 4) AS baseline_value,
	round(difference_low::numeric, 4) AS difference_low, round(difference_high::numeric, 4) AS difference_high
FROM dupn_metrics WHERE model = 'taobao' AND metric = 'hr@20' ORDER BY slice;
SELECT user_id AS u FROM taobao.events GROUP BY 1 HAVING count(*) > 100 ORDER BY 1 LIMIT 1 \gset
\echo '-- what user' :u 'looks back at, by behaviour'
SELECT occurred_at, item, behavior, round(weight::numeric, 3) AS weight
FROM dupn_attention(:u, model => 'taobao') ORDER BY rank LIMIT 8;
SELECT item, round(score::numeric, 2) AS score FROM dupn_recommend(:u, k => 8, model => 'taobao');
