-- Does the model find what the simulated shop is made of?  Its truth is stored
-- beside the data: the probability of every click, and who likes which prices.
\set QUIET on
SET client_min_messages = warning;
\set shop shop
\ir ../simulator/simulator.sql
CALL shop.simulate(600, 16, 7);
RESET search_path;
ANALYZE;
\o /dev/null
SELECT dupn_create_model('shop', events => 'shop.events', user_column => 'user_id', time_column => 'occurred_at',
	item_columns => '{item_id,category_id,brand_id,price}', behavior_columns => '{action,scenario}',
	catalog => 'shop.products', catalog_key => 'id', timezone => 'UTC',
	options => '{"hidden": 32, "attention": [16, 8], "max_events": 40, "learning_rate": 3e-3, "decay": 0.8,
		"dropout": 0.2, "epochs": 8, "stopping": "task", "min_count": 5, "refit": false}');
SELECT dupn_add_task('shop', 'next', 'next_item');
SELECT dupn_add_task('shop', 'price_level', 'multiclass', label => 'price', options => '{"levels": 4, "within": "category_id"}');
SELECT dupn_add_task('shop', 'click', 'binary', samples => 'shop.impressions', label => 'clicked',
	options => '{"time_column": "shown_at", "hidden": [32]}');
CALL dupn_run('shop', 'train');
\o

SELECT plan(5);

-- The next item, beyond popularity and beyond chance.
SELECT cmp_ok((SELECT value FROM dupn_baselines WHERE task = 'next' AND metric = 'hr@10' AND slice = 'all' AND source = 'model'),
	'>', (SELECT 2 * value FROM dupn_baselines WHERE task = 'next' AND metric = 'hr@10' AND slice = 'all' AND source = 'popularity'),
	'the next item is found more than twice as often as by popularity');
SELECT cmp_ok((SELECT value FROM dupn_baselines WHERE task = 'price_level' AND metric = 'accuracy' AND slice = 'all' AND source = 'model'),
	'>', (SELECT value FROM dupn_baselines WHERE task = 'price_level' AND metric = 'accuracy' AND slice = 'all' AND source = 'majority'),
	'the next price level is found more often than by the most frequent one');

-- Clicks of the hold-out: scores follow the true probability, which the model never saw.
CREATE TABLE scored AS
SELECT t.probability, dupn_score('click', dupn_user_vector(i.user_id, as_of => i.shown_at), i) AS score, i.clicked
FROM shop.impressions i JOIN shop.truth_impressions t USING (id)
WHERE i.shown_at >= (SELECT cut FROM dupn_versions);
SELECT cmp_ok((SELECT count(*) FROM scored), '>', 500::bigint, 'there are clicks to be judged');
SELECT cmp_ok((SELECT corr(score, probability) FROM scored), '>', 0.1::float8, 'scores follow the true probability of a click');

-- A user's price taste shows in the predicted levels.
CREATE TABLE tastes AS
SELECT u.taste, (SELECT sum(substring(class FROM '[0-9]+')::int * probability) FROM dupn_classify('price_level', dupn_user_vector(u.user_id, as_of => (SELECT cut FROM dupn_versions)))) AS level
FROM shop.truth_users u
WHERE (SELECT count(*) FROM shop.events e WHERE e.user_id = u.user_id AND e.occurred_at < (SELECT cut FROM dupn_versions)) >= 10;
SELECT cmp_ok((SELECT corr(taste, level) FROM tastes), '>', 0.2::float8, 'predicted price levels follow the true taste');
SELECT * FROM finish();
