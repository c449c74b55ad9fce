-- A task added to a trained model: heads on a frozen version, fine-tuning, a
-- network of its own; what stays bit for bit the same, and what does not fit.
CREATE SCHEMA transfer;
SET search_path = transfer, public;
SET timezone = 'UTC';
SET client_min_messages = warning;

-- 40 users walk around a ring of 20 items; odd ones look, then buy.
CREATE TABLE items (id int PRIMARY KEY, ring int, tags text[]);
INSERT INTO items SELECT i, i / 5, ARRAY['t' || i % 3, 't' || i % 7] FROM generate_series(0, 24) i;
CREATE TABLE events (user_id int, occurred_at timestamptz, item_id int, action text, price numeric);
INSERT INTO events
SELECT u, '2024-01-01'::timestamptz + e * interval '7 hours' + u * interval '1 minute', (u + e) % 20,
	(ARRAY['view', 'view', 'buy'])[1 + e % 3], CASE WHEN u % 2 = 0 THEN 50 ELSE 5 END + (u + e) % 4
  FROM generate_series(1, 40) u, generate_series(1, 25) e;
CREATE TABLE impressions (user_id int, occurred_at timestamptz, item_id int, clicked boolean, score real, stock real, place text);
INSERT INTO impressions
SELECT u, '2024-01-02'::timestamptz + e * interval '13 hours', (u * 3 + e) % 20, (u + e) % 2 = 0, e % 5, e % 3 + 1, 'p' || e % 2
  FROM generate_series(1, 42) u, generate_series(1, 12) e;

SELECT dupn_create_model('ring', 'events', 'user_id', 'occurred_at', '{item_id,ring,tags}', '{action}',
	catalog => 'items', catalog_key => 'id', context_columns => '{place}',
	options => '{"hidden": 16, "attention": [16, 8], "max_events": 10, "epochs": 6, "patience": 6, "learning_rate": 0.01,
		"dropout": 0.1, "batch_size": 64, "holdout": "2024-01-07", "refit": false, "item_encoding": "concat"}');
SELECT dupn_add_task('ring', 'next', 'next_item', options => '{"k": [1, 5]}');
SELECT dupn_add_task('ring', 'price', 'multiclass', label => 'price', options => '{"levels": 2, "where": {"action": "buy"}}');
SELECT dupn_add_task('ring', 'place', 'multiclass', samples => 'impressions', label => 'place');

-- What cannot be.
SELECT dupn_train('ring', mode => 'head');
SELECT dupn_train('ring', mode => 'finetune');
CALL dupn_run('ring');
SELECT dupn_train('ring', mode => 'heads');
SELECT dupn_train('ring', mode => 'head');
SELECT dupn_train('ring', tasks => '{next}');
SELECT dupn_train('ring', mode => 'alone');
SELECT dupn_train('ring', mode => 'alone', tasks => '{prize}');
SELECT dupn_train('ring', mode => 'alone', tasks => '{price,NULL}');
SELECT dupn_train('ring', '{"version": 1}');
SELECT dupn_train('ring', '{"version": 2}', mode => 'finetune');
SELECT dupn_train('ring', '{"tasks": "price", "mode": "head"}');

-- Four ways; two tasks of samples, one of events.
SELECT dupn_add_task('ring', 'click', 'binary', samples => 'impressions', label => 'clicked', features => '{score}');
SELECT dupn_add_task('ring', 'order', 'rank', samples => 'impressions', label => 'clicked', features => '{score,-stock}');
SELECT dupn_add_task('ring', 'action', 'multiclass', label => 'action');
CALL dupn_run('ring', 'train', '{"mode": "head"}');
CALL dupn_run('ring', 'train', '{"mode": "head", "tasks": ["click"], "version": 1, "workers": 2, "refit": true}');
CALL dupn_run('ring', 'train', '{"mode": "finetune", "version": 1}');
CALL dupn_run('ring', 'train', '{"mode": "finetune", "version": 1, "tasks": ["action"], "workers": 2}');
CALL dupn_run('ring', 'train', '{"mode": "alone", "tasks": ["click", "order"], "epochs": 1}');
CALL dupn_run('ring', 'train', '{"epochs": 1}');
SELECT version, mode, parent, published,
	(SELECT array_agg(DISTINCT task ORDER BY task) FROM dupn_metrics x WHERE x.model = v.model AND x.version = v.version) AS tasks
  FROM dupn_versions v WHERE model = 'ring' ORDER BY version;

-- Tensors of a version.
CREATE FUNCTION tensors(v int) RETURNS TABLE (name text, dtype text, shape jsonb, data bytea) LANGUAGE sql AS $$
	WITH file AS (
		SELECT dupn_export('ring', v) AS bytes
	), header AS (
		SELECT bytes, get_byte(bytes, 0) + (get_byte(bytes, 1) << 8) + (get_byte(bytes, 2) << 16) AS length FROM file
	)
	SELECT t.key, t.value->>'dtype', t.value->'shape',
		substr(bytes, 9 + length + (t.value->'data_offsets'->>0)::int,
			(t.value->'data_offsets'->>1)::int - (t.value->'data_offsets'->>0)::int)
	  FROM header, jsonb_each(convert_from(substr(bytes, 9, length), 'UTF8')::jsonb) t
	 WHERE t.key <> '__metadata__'
$$;

-- Of the network, and of the data that it fits, a head changes its own alone;
-- all of it moves in fine-tuning, but for what the data are encoded by.
CREATE TABLE changes AS
SELECT v AS version, t.* FROM generate_series(2, 5) v, LATERAL (
	SELECT coalesce(a.name, b.name) AS name, a.name IS NOT NULL AS before, b.name IS NOT NULL AS after, a.data = b.data AS same
	  FROM (SELECT * FROM tensors(1)) a FULL JOIN (SELECT * FROM tensors(v)) b ON a.name = b.name) t;
SELECT version, coalesce(substring(name FROM '^task\.\w+'), 'the rest') AS of,
	bool_and(same) AS same, bool_or(NOT before) AS new
  FROM changes WHERE version IN (2, 3) GROUP BY 1, 2 ORDER BY 1, 2;
SELECT version, name FROM changes
 WHERE version IN (4, 5) AND same IS NOT FALSE AND before AND after AND name !~ '^(vocabulary|bands|catalogue)\.' AND name !~ '\.(bounds|mean|scale|memory\.(begin|length|items|values))$'
 ORDER BY 1, 2;
SELECT version, name FROM changes WHERE NOT same AND name ~ '^(vocabulary|bands|catalogue)\.' OR NOT after ORDER BY 1, 2;

-- So vectors and the other tasks' answers are the same, to the last bit.
SELECT v.version, count(*) AS users,
	count(*) FILTER (WHERE dupn_user_vector(u, 'ring', '{"place": "p1"}', '2024-01-09', 1)::real[]
		= dupn_user_vector(u, 'ring', '{"place": "p1"}', '2024-01-09', v.version)::real[]) AS same_vector,
	count(*) FILTER (WHERE (SELECT array_agg(c ORDER BY class) FROM dupn_classify('price', dupn_user_vector(u, 'ring', version => 1)) c)
		= (SELECT array_agg(c ORDER BY class) FROM dupn_classify('price', dupn_user_vector(u, 'ring', version => v.version)) c)) AS same_classes,
	count(*) FILTER (WHERE (SELECT array_agg(r) FROM dupn_recommend(u, 5, model => 'ring', version => 1) r)
		= (SELECT array_agg(r) FROM dupn_recommend(u, 5, model => 'ring', version => v.version) r)) AS same_items
  FROM generate_series(1, 41) u, (VALUES (2), (3), (4)) v (version) GROUP BY 1 ORDER BY 1;
SELECT count(*) FROM (
	SELECT task, metric, slice, value FROM dupn_metrics WHERE model = 'ring' AND version = 1
	EXCEPT SELECT task, metric, slice, value FROM dupn_metrics WHERE model = 'ring' AND version = 2) d;

-- Alternate clicks are not hard.
SELECT version, task, metric, value > 0.8 AS found FROM dupn_metrics
 WHERE model = 'ring' AND version IN (2, 3, 4) AND slice = 'all' AND (task, metric) = ('click', 'auc') ORDER BY 1, 2;

-- Metrics flatter where a version has seen the hold-out.
SELECT job_id, n FROM dupn_jobs, unnest(notes) n WHERE model = 'ring' AND n ~ 'flatter' ORDER BY 1;
SELECT dupn_publish('ring', 3);
CALL dupn_run('ring', 'train', '{"mode": "head", "tasks": ["action"]}');
SELECT n FROM dupn_jobs, unnest(notes) n WHERE model = 'ring' AND n ~ 'flatter' ORDER BY job_id;

-- A version that the model has left behind.
SELECT dupn_alter_model('ring', '{"hidden": 32}');
SELECT dupn_train('ring', mode => 'head', tasks => '{click}');
SELECT dupn_alter_model('ring', '{"hidden": 16, "max_events": 20}');
SELECT dupn_train('ring', mode => 'finetune');
SELECT dupn_alter_model('ring', '{"max_events": 10, "encodings": {"ring": {"hash": 10}}}');
SELECT dupn_train('ring', mode => 'finetune');
SELECT dupn_alter_model('ring', '{"encodings": null, "widths": {"ring": 7}}');
SELECT dupn_train('ring', mode => 'finetune');
SELECT dupn_alter_model('ring', '{"widths": null, "activity": false}');
SELECT dupn_train('ring', mode => 'finetune');
SELECT dupn_alter_model('ring', '{"activity": null, "context_in_vector": true}');
SELECT dupn_train('ring', mode => 'finetune');
SELECT dupn_alter_model('ring', '{"context_in_vector": null}');
ALTER TABLE items ALTER ring TYPE real;
SELECT dupn_train('ring', mode => 'finetune');
ALTER TABLE items ALTER ring TYPE int;
SELECT dupn_drop_task('ring', 'click');
SELECT dupn_add_task('ring', 'click', 'binary', samples => 'impressions', label => 'clicked', features => '{stock}');
SELECT dupn_train('ring', mode => 'finetune');
SELECT dupn_drop_task('ring', 'click');
SELECT dupn_add_task('ring', 'click', 'binary', samples => 'impressions', label => 'clicked', features => '{score}', options => '{"hidden": [8]}');
SELECT dupn_train('ring', mode => 'finetune');

-- Another learning rate does not matter, nor does a task that is gone.
SELECT dupn_drop_task('ring', 'click');
SELECT dupn_alter_model('ring', '{"dropout": 0.2}');
CALL dupn_run('ring', 'train', '{"mode": "finetune", "epochs": 1}');
SELECT v.version, v.parent, array_agg(DISTINCT task ORDER BY task) AS tasks
  FROM dupn_versions v JOIN dupn_metrics x USING (model, version) WHERE model = 'ring' AND v.published GROUP BY 1, 2;

SELECT dupn_drop_model('ring');
DROP SCHEMA transfer CASCADE;
