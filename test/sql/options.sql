-- Every option: what it refuses, and how it says so.
CREATE SCHEMA options;
SET search_path = options, public;
SET client_min_messages = warning;
CREATE TABLE events (user_id int, t timestamptz, item_id int, kind text, price numeric);
CREATE TABLE shown (user_id int, t timestamptz, item_id int, clicked boolean);
SELECT dupn_create_model('o', 'events', 'user_id', 't', '{item_id,price}', '{kind}');

-- One refused value after the other: option, SQLSTATE, message, hint.
CREATE FUNCTION refused(statement text) RETURNS TABLE (sqlstate text, message text, hint text) LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE statement;
	RETURN QUERY SELECT '00000', 'accepted', NULL;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
	-- PostgreSQL 18 spells the setting otherwise, and the list of all options grows
	RETURN QUERY SELECT SQLSTATE, message, regexp_replace(replace(hint, 'DateStyle', 'datestyle'),
		'There are the options "hidden".*, "cache_items"', 'There are the options "hidden" to "cache_items"');
END $$;
CREATE FUNCTION model_option(options text) RETURNS TABLE (sqlstate text, message text, hint text) LANGUAGE sql AS
	$$SELECT * FROM options.refused(format('SELECT dupn_alter_model(%L, %L)', 'o', options))$$;
CREATE FUNCTION task_option(kind text, options text) RETURNS TABLE (sqlstate text, message text, hint text) LANGUAGE sql AS
	$$SELECT * FROM options.refused(format('SELECT dupn_add_task(%L, %L, %L, samples => %s, label => %s, options => %L)', 'o',
		kind || ' ' || options, kind, CASE kind WHEN 'binary' THEN '''options.shown''' ELSE 'NULL' END,
		CASE kind WHEN 'binary' THEN '''clicked''' WHEN 'multiclass' THEN '''price''' ELSE 'NULL' END, options))$$;
\pset format unaligned
\pset fieldsep '\n    '
\pset tuples_only on

-- limits are inside
SELECT o, r.* FROM unnest(ARRAY[
	'{"hidden": 1}', '{"hidden": 1024}', '{"max_events": 1000}', '{"learning_rate": 1}', '{"dropout": 0}', '{"dropout": 0.95}',
	'{"attention": [1, 1024]}', '{"seed": 9007199254740991}', '{"workers": 16}', '{"holdout": 0.5}', '{"holdout": "last_event"}',
	'{"holdout": "2024-01-01"}', '{"optimizer": "adagrad"}', '{"time": "paper"}', '{"item_encoding": "sum", "item_dim": 64}',
	'{"encodings": {"price": {"bands": 3}, "kind": {"hash": 2}}}', '{"widths": {"activity": 3}}', '{"hidden": 1e2}', '{}'
	]) WITH ORDINALITY t (o, n), model_option(o) r ORDER BY n;
-- and beyond them
SELECT dupn_alter_model('o', '{"item_encoding": null, "item_dim": null, "encodings": null, "widths": null, "time": null}');
SELECT o, r.* FROM unnest(ARRAY[
	'[]', '5', '"hidden"', '{"hiden": 5}', '{"Hidden": 5}', '{"": 1}', '{"something else": 5}',
	'{"hidden": 0}', '{"hidden": 1025}', '{"hidden": -1}', '{"hidden": 1.5}', '{"hidden": "5"}', '{"hidden": "NaN"}',
	'{"hidden": 1e400}', '{"hidden": 99999999999999999999}', '{"hidden": true}', '{"hidden": [5]}', '{"hidden": {}}',
	'{"attention": 5}', '{"attention": [5]}', '{"attention": [5, 5, 5]}', '{"attention": [5, 0]}', '{"attention": [5, "5"]}', '{"attention": {}}',
	'{"max_events": 1001}', '{"bidirectional": 1}', '{"bidirectional": "true"}', '{"item_encoding": "Sum"}', '{"item_encoding": 1}',
	'{"item_dim": 64}', '{"item_dim": 1025, "item_encoding": "sum"}', '{"time": "gaps"}', '{"optimizer": "sgd"}',
	'{"min_count": 0}', '{"bands": 1}', '{"bands": 1001}', '{"dropout": 1}', '{"dropout": -0.1}', '{"id_dropout": 2}',
	'{"hidden_dropout": 1}', '{"profile_dropout": 1}', '{"context_dropout": 1}', '{"learning_rate": 0}', '{"learning_rate": 1e-400}',
	'{"learning_rate": 2}', '{"decay": 0}', '{"decay": 1.1}', '{"l2": -1}', '{"clip": -1}', '{"batch_size": 0}', '{"epochs": 0}',
	'{"patience": 0}', '{"holdout": 0}', '{"holdout": 0.9}', '{"holdout": -1}', '{"holdout": 1e400}', '{"holdout": true}',
	'{"holdout": "yesterday evening"}', '{"holdout": "infinity"}', '{"holdout": "2024-13-01"}', '{"holdout_min_events": 0}',
	'{"refit": "no"}', '{"cache_items": 1}', '{"publish": "no"}', '{"primary": 1}', '{"tolerance": -0.1}', '{"drift_limit": -1}', '{"seed": -1}', '{"seed": 9007199254740992}', '{"workers": 0}', '{"workers": 17}', '{"evaluate_samples": 0}',
	'{"encodings": []}', '{"encodings": {"prize": "id"}}', '{"encodings": {"price": "band"}}', '{"encodings": {"price": 5}}',
	'{"encodings": {"price": {"bands": 1}}}', '{"encodings": {"price": {"bands": 3, "hash": 3}}}', '{"encodings": {"kind": {"hash": 1e9}}}',
	'{"encodings": {"kind": {"table": "item_id"}}}', '{"encodings": {"kind": "bands"}}', '{"encodings": {"item_id": "bands"}}',
	'{"encodings": {"gap": "id"}}', '{"widths": {"item_id": 0}}', '{"widths": {"item_id": 513}}', '{"widths": {"item_id": "8"}}',
	'{"widths": {"recency": 8}}', '{"widths": {"item_id": 8}, "item_encoding": "sum"}', '{"uses": {"kind": "gate"}}', '{"uses": {"item_id": "gates"}}',
	'{"uses": 1}', '{"pooling": "sum"}', '{"pooling": 1}', '{"properties": "nowhere"}'
	]) WITH ORDINALITY t (o, n), model_option(o) r ORDER BY n;
-- of tasks
SELECT k, o, r.* FROM (VALUES
	('next_item', '{}'), ('next_item', '{"k": [1000]}'), ('binary', '{"hidden": [1, 2, 3, 4]}'), ('binary', '{"candidate": []}'),
	('next_item', '{"hidden": [5]}'), ('next_item', '{"kk": [5]}'), ('next_item', '{"k": []}'), ('next_item', '{"k": [0]}'), ('next_item', '{"k": 5}'),
	('next_item', '{"weight": 0}'), ('next_item', '{"weight": 1e7}'), ('next_item', '{"repeat": 1}'),
	('next_item', '{"where": {"kind": null}}'), ('next_item', '{"where": {"kind": {}}}'), ('next_item', '{"where": {"kind": [["buy"]]}}'),
	('next_item', '{"where": {"knd": "buy"}}'), ('next_item', '{"where": {"price": "cheap"}}'), ('next_item', '{"where": []}'),
	('binary', '{"hidden": [1, 2, 3, 4, 5]}'), ('binary', '{"hidden": [1025]}'), ('binary', '{"candidate": ["itm_id"]}'), ('binary', '{"candidate": [1]}'),
	('binary', '{"candidate": ["price", "price"]}'), ('binary', '{"candidate": "price"}'), ('binary', '{"candidate_dim": 0}'), ('binary', '{"levels": 3}'),
	('binary', '{"product": 8}'), ('multiclass', '{"product": true}'),
	('binary', '{"user_column": "usr_id"}'), ('binary', '{"time_column": ""}'), ('binary', '{"time_column": "clicked"}'), ('binary', '{"weight_column": "t"}'),
	('multiclass', '{"levels": 1}'), ('multiclass', '{"levels": 101}'), ('multiclass', '{"within": "knd"}'), ('multiclass', '{"within": "price"}'),
	('multiclass', '{"user_column": "user_id"}'), ('multiclass', '{"within": 5}')
	) v (k, o), task_option(k, o) r;

SELECT dupn_drop_model('o');
\pset format aligned
\pset tuples_only off

-- settings
SELECT name, setting, unit, context FROM pg_settings WHERE name LIKE 'dupn.%' ORDER BY name;
SET dupn.job_memory = '2GB';
SHOW dupn.job_memory;
-- the server's own message, which differs between its versions
\set VERBOSITY sqlstate
SET dupn.job_memory = -1;
\set VERBOSITY default
SET dupn.unheard_of = 1;
\echo :SQLSTATE
DROP SCHEMA options CASCADE;
