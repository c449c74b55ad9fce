-- Mistakes in what tasks say of their samples: weights, negatives, embargo, maturity, features.
CREATE SCHEMA wrong_samples;
SET search_path = wrong_samples, public;
SET timezone = 'UTC';
SET client_min_messages = warning;
CREATE TYPE act AS ENUM ('view', 'cart', 'buy');
CREATE TABLE events (user_id bigint, t timestamptz, item_id bigint, action act, price numeric, tags text[]);
CREATE TABLE samples (user_id bigint, t timestamptz, item_id bigint, label boolean, action act, stars int, price numeric, word text, score real);
CREATE TABLE keyless (user_id bigint, t timestamptz, label boolean, shop_id int);
CREATE INDEX ON events (user_id, t);
SELECT dupn_create_model('m', 'events', 'user_id', 't', '{item_id,price,tags}', '{action}');
SELECT dupn_create_model('untyped', 'events', 'user_id', 't', '{item_id}');
SELECT dupn_create_model('bags', 'events', 'user_id', 't', '{item_id}', '{tags}');

-- Tries to add a task, takes it back, and says what came of it.
CREATE FUNCTION try(kind text, options jsonb, label name DEFAULT NULL, samples regclass DEFAULT NULL, features name[] DEFAULT '{}', model text DEFAULT 'm')
	RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	message text;
	hint text;
BEGIN
	PERFORM dupn_add_task(model, 't', kind, samples => samples, label => label, features => features, options => options);
	PERFORM dupn_drop_task(model, 't');
	RETURN 'ok';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
	RETURN SQLSTATE || ' ' || message || E'\n    ' || hint;
END
$$;
\pset format unaligned
\pset tuples_only on

-- weights: numbers, none below zero, not all zero, of labels there are
SELECT o::text || E'\n  ' || try('binary', o, 'label', 'samples') FROM unnest(ARRAY['{"label_weights": {"true": 5}}', '{"label_weights": {"1": 5, "0": 0.5}}', '{"label_weights": 5}',
	'{"label_weights": {}}', '{"label_weights": {"true": -1}}', '{"label_weights": {"true": "5"}}', '{"label_weights": {"true": 0, "false": 0}}',
	'{"label_weights": {"true": 1e400}}', '{"label_weights": {"yess": 5}}', '{"label_weights": {"true": 5, "1": 2}}', '{"label_weights": null}',
	'{"type_weights": {"buy": 5}}']::jsonb[]) o;
SELECT o::text || E'\n  ' || try('multiclass', o, 'action', 'samples') FROM unnest(ARRAY['{"label_weights": {"buy": 5}}', '{"label_weights": {"by": 5}}']::jsonb[]) o;
SELECT o::text || E'\n  ' || try('multiclass', o, 'price', 'samples') FROM unnest(ARRAY['{"label_weights": {"level 7": 5}}', '{"label_weights": {"level 8": 5}}', '{"label_weights": {"7": 5}}']::jsonb[]) o;
SELECT o::text || E'\n  ' || try('multiclass', o, 'stars', 'samples') FROM unnest(ARRAY['{"label_weights": {"5": 5}}', '{"label_weights": {"level 1": 5}}', '{"label_weights": {"five": 5}}']::jsonb[]) o;
SELECT o::text || E'\n  ' || try('multiclass', o, 'word', 'samples') FROM unnest(ARRAY['{"label_weights": {"any": 5}}']::jsonb[]) o;
SELECT o::text || E'\n  ' || try('next_item', o) FROM unnest(ARRAY['{"type_weights": {"buy": 5, "cart": 2}}', '{"type_weights": {"buy": 0, "cart": 0}}', '{"type_weights": {"by": 5}}',
	'{"label_weights": {"1": 5}}']::jsonb[]) o;
SELECT try('next_item', '{"type_weights": {"buy": 5}}', model => 'untyped');
SELECT try('next_item', '{"type_weights": {"buy": 5}}', model => 'bags');

-- intervals
SELECT o::text || E'\n  ' || try('binary', o, 'label', 'samples') FROM unnest(ARRAY['{"embargo": "1 hour", "matures": "30 days"}', '{"embargo": 0.5}', '{"embargo": 0, "matures": 0}',
	'{"embargo": -1}', '{"embargo": "-1 hour"}', '{"embargo": "soon"}', '{"matures": "100 years"}', '{"matures": 1e12}', '{"matures": true}', '{"matures": "1 month"}']::jsonb[]) o;
SELECT o::text || E'\n  ' || try('multiclass', o, 'price') FROM unnest(ARRAY['{"embargo": "1 hour"}', '{"matures": "1 hour"}']::jsonb[]) o;
SELECT try('next_item', '{"embargo": "1 hour"}');

-- negatives
SELECT o::text || E'\n  ' || try('binary', o) FROM unnest(ARRAY['{"negatives": 4}', '{"negatives": 4, "where": {"action": "buy"}, "candidate": ["price"], "embargo": "1 hour"}',
	'{"negatives": 0}', '{"negatives": 101}', '{"negatives": -1}', '{"negatives": 1.5}', '{"negatives": 1, "candidate": []}', '{"negatives": 1, "candidate": ["shop_id"]}',
	'{"negatives": 1, "matures": "1 day"}', '{"negatives": 1, "weight_column": "score"}', '{"negatives": 1, "where": {"action": "by"}}']::jsonb[]) o;
SELECT try('binary', '{"negatives": 1}', label => 'label');
SELECT try('binary', '{"negatives": 1}', features => '{score}');
SELECT try('binary', '{"negatives": 1}', samples => 'samples');
SELECT try('binary', '{"negatives": 1}', label => 'label', samples => 'samples');
SELECT try('binary', '{"negatives": 1, "where": {"action": "buy"}}', samples => 'samples');
SELECT try('binary', '{"negatives": 1}', samples => 'samples', features => '{score}');
SELECT try('binary', '{"negatives": 1}', samples => 'keyless');
SELECT try('binary', '{"negatives": 1, "position_column": "score"}', label => 'label', samples => 'samples');
SELECT try('rank', '{"negatives": 1}', label => 'label', samples => 'samples', features => '{score}');
SELECT try('multiclass', '{"negatives": 1}', label => 'price');

-- features are columns of samples
SELECT try('multiclass', '{}', label => 'word', samples => 'samples', features => '{score,stars}');
SELECT try('multiclass', '{}', label => 'price', features => '{score}');
SELECT try('next_item', '{}', features => '{score}');
\pset format aligned
\pset tuples_only off
SELECT dupn_drop_model('m'), dupn_drop_model('untyped'), dupn_drop_model('bags');
DROP SCHEMA wrong_samples CASCADE;
