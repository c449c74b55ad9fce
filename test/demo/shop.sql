-- A simulated shop: declare, estimate, train, and read what was learned.
\echo '-- inventing a shop: 1000 users, 20 days'
\timing off
\set shop shop
\ir ../simulator/simulator.sql
\timing on
CALL shop.simulate(1000, 20, 1);
\timing off
RESET search_path;
ANALYZE;
SELECT (SELECT count(*) FROM shop.events) AS events, (SELECT count(*) FROM shop.products) AS products,
	(SELECT count(*) FROM shop.impressions) AS impressions;

\echo '-- declaring a model and its tasks'
SELECT dupn_create_model('shop', events => 'shop.events', user_column => 'user_id', time_column => 'occurred_at',
	item_columns => '{item_id,category_id,brand_id,shop_id,price}', behavior_columns => '{action,scenario}',
	catalog => 'shop.products', catalog_key => 'id',
	profile => 'shop.customers', profile_key => 'id', profile_columns => '{age_band,gender}',
	context_columns => '{query_category}', timezone => 'UTC',
	options => '{"hidden": 48, "attention": [32, 16], "max_events": 50, "learning_rate": 3e-3, "decay": 0.8, "dropout": 0.2, "epochs": 6,
		"encodings": {"query_category": {"table": "category_id"}}}') \g /dev/null
SELECT dupn_add_task('shop', 'next', 'next_item') \g /dev/null
SELECT dupn_add_task('shop', 'price_level', 'multiclass', label => 'price',
	options => '{"levels": 5, "within": "category_id", "where": {"action": "buy"}}') \g /dev/null
SELECT dupn_add_task('shop', 'click', 'binary', samples => 'shop.impressions', label => 'clicked',
	options => '{"time_column": "shown_at", "hidden": [32]}') \g /dev/null

\echo '-- what will it cost?'
SELECT quantity, round(value::numeric, 1) AS value, unit, remark FROM dupn_estimate('shop');

\echo '-- training'
\timing on
CALL dupn_run('shop', 'train');
\timing off
SELECT message FROM dupn_jobs WHERE model = 'shop' ORDER BY job_id DESC LIMIT 1 \gset
\echo :message

\echo '-- is it any good?  Each metric beside the best simple baseline on the same samples'
SELECT task, metric, round(value::numeric, 4) AS value, baseline, round(baseline_value::numeric, 4) AS baseline_value,
	round(difference_low::numeric, 4) AS difference_low, round(difference_high::numeric, 4) AS difference_high
FROM dupn_metrics WHERE model = 'shop' AND slice = 'all' AND metric IN ('hr@10', 'ndcg@10', 'auc', 'accuracy')
ORDER BY task, metric;
SELECT user_id AS u FROM shop.events GROUP BY 1 HAVING count(*) > 30 ORDER BY max(occurred_at) DESC, 1 LIMIT 1 \gset

\timing on
\echo '-- a user''s vector (the first call of a session maps the weights)'
SELECT dupn_user_vector(:u) IS NOT NULL AS mapped;
SELECT (dupn_user_vector(:u)::real[])[1:8] AS first_eight_of_the_vector;
\timing off

\echo '-- which behaviours does it look at?'
SELECT occurred_at, a.item, p.name, behavior, round(weight::numeric, 3) AS weight
FROM dupn_attention(:u) a LEFT JOIN shop.products p ON p.id = a.item::bigint ORDER BY rank LIMIT 8;

\echo '-- which price level will the next purchase have?'
SELECT class, round(probability::numeric, 3) AS probability FROM dupn_classify('price_level', dupn_user_vector(:u));

\echo '-- what next?'
SELECT item, p.name, p.price, round(score::numeric, 2) AS score
FROM dupn_recommend(:u, k => 8) r JOIN shop.products p ON p.id = r.item::bigint ORDER BY score DESC;

\echo '-- ranking a category''s page by click probability, for a query, in an ordinary query'
SELECT p.id, p.name, p.price, round(dupn_score('click', u.v, p)::numeric, 4) AS click
FROM shop.products p, (SELECT dupn_user_vector(:u, context => '{"query_category": 7}') AS v OFFSET 0) u
WHERE p.category_id = 7 ORDER BY dupn_score('click', u.v, p) DESC LIMIT 5;

\echo '-- why?  What the score of the first would be without each behaviour'
SELECT p.id AS first FROM shop.products p WHERE p.category_id = 7
ORDER BY dupn_score('click', (SELECT dupn_user_vector(:u, context => '{"query_category": 7}')), p) DESC LIMIT 1 \gset
SELECT occurred_at, item, behavior, round(influence::numeric, 4) AS influence
FROM dupn_influence('click', :u, :first, context => '{"query_category": 7}') ORDER BY abs(influence) DESC LIMIT 5;

\echo '-- another task for the trained model: ranking by numbers that were logged with each impression.  All tasks go on from version 1'
SELECT dupn_add_task('shop', 'search', 'rank', samples => 'shop.impressions', label => 'clicked', features => '{sales,rating,ctr}',
	options => '{"time_column": "shown_at", "position_column": "position", "hidden": [16]}') \g /dev/null
\timing on
CALL dupn_run('shop', 'train', '{"mode": "finetune", "tasks": ["search"]}');
\timing off

\echo '-- what do they count for this user?'
SELECT feature, round(weight::numeric, 3) AS weight FROM dupn_rank_weights('search', dupn_user_vector(:u));

\echo '-- a day later, was it better to go on?  Both versions on what neither of them has seen'
CALL shop.simulate_day();
RESET search_path;
\timing on
CALL dupn_run('shop', 'compare', '{"version": 2, "other_version": 1}');
\timing off
SELECT task, metric, round(value::numeric, 4) AS version_2, round(other_value::numeric, 4) AS version_1,
	round(difference_low::numeric, 4) AS difference_low, round(difference_high::numeric, 4) AS difference_high, verdict
FROM dupn_comparisons WHERE model = 'shop' AND slice = 'all' AND metric IN ('hr@10', 'auc', 'accuracy') ORDER BY task;

\echo '-- and the night after that day: on from the version that serves, by its rows alone'
\timing on
CALL dupn_run('shop', 'finetune');
\timing off
SELECT version, mode, events, round(training_seconds::numeric, 1) AS seconds, published, decision
FROM dupn_versions WHERE model = 'shop' ORDER BY version;
