-- Mistakes in declarations: each is refused with its SQLSTATE, the column and a hint.
CREATE SCHEMA wrong;
SET search_path = wrong, public;
SET timezone = 'UTC';
CREATE TABLE events (user_id bigint, occurred_at timestamptz, item_id bigint, price numeric, action text,
	seconds bigint, at text, doc jsonb, spot point, blob bytea, ratio float8, ids int[], ratios real[], gap int, cash money, x xml,
	words text[], w2 text, w3 text);
CREATE TABLE products (id bigint PRIMARY KEY, code text, brand text, doc json);
CREATE TABLE customers (id bigint PRIMARY KEY, name text, age int);
CREATE TABLE samples (user_id bigint, occurred_at timestamptz, item_id bigint, price text, label boolean, score float8, word text, usr text);
CREATE INDEX ON events (user_id, occurred_at);

-- NULL arguments
SELECT dupn_create_model(NULL, 'events', 'user_id', 'occurred_at', '{item_id}');
\echo :SQLSTATE
SELECT dupn_create_model('m', NULL, 'user_id', 'occurred_at', '{item_id}');
\echo :SQLSTATE
SELECT dupn_create_model('m', 'events', NULL, 'occurred_at', '{item_id}');
\echo :SQLSTATE
SELECT dupn_create_model('m', 'events', 'user_id', NULL, '{item_id}');
\echo :SQLSTATE
SELECT dupn_create_model('m', 'events', 'user_id', 'occurred_at', NULL);
\echo :SQLSTATE
SELECT dupn_create_model('m', 'events', 'user_id', 'occurred_at', '{item_id,NULL}');
\echo :SQLSTATE
SELECT dupn_create_model('m', 'events', 'user_id', 'occurred_at', '{item_id}', NULL);
\echo :SQLSTATE
SELECT dupn_create_model('m', 'events', 'user_id', 'occurred_at', '{item_id}', options => NULL);
\echo :SQLSTATE

-- names
SELECT dupn_create_model('', 'events', 'user_id', 'occurred_at', '{item_id}');
\echo :SQLSTATE
SELECT dupn_create_model(repeat('m', 64), 'events', 'user_id', 'occurred_at', '{item_id}');
\echo :SQLSTATE

-- relations
SELECT dupn_create_model('m', 'evnts', 'user_id', 'occurred_at', '{item_id}');
\echo :SQLSTATE
SELECT dupn_create_model('m', 'events_user_id_occurred_at_idx', 'user_id', 'occurred_at', '{item_id}');
\echo :SQLSTATE
SELECT dupn_create_model('m', 4294967295::oid::regclass, 'user_id', 'occurred_at', '{item_id}');
\echo :SQLSTATE
CREATE TEMP TABLE passing (user_id int, t timestamptz, item_id int);
SELECT dupn_create_model('m', 'passing', 'user_id', 't', '{item_id}');
\echo :SQLSTATE
CREATE SEQUENCE numbers;
SELECT dupn_create_model('m', 'numbers', 'last_value', 'is_called', '{log_cnt}');
\echo :SQLSTATE

-- columns that are not there
SELECT dupn_create_model('m', 'events', 'usr_id', 'occurred_at', '{item_id}');
\echo :SQLSTATE
SELECT dupn_create_model('m', 'events', 'ctid', 'occurred_at', '{item_id}');
\echo :SQLSTATE
SELECT dupn_create_model('m', 'events', 'user_id', 'ocurred_at', '{item_id}');
\echo :SQLSTATE
SELECT dupn_create_model('m', 'events', 'user_id', 'occurred_at', '{itemid}');
\echo :SQLSTATE
SELECT dupn_create_model('m', 'events', 'user_id', 'occurred_at', '{}');
\echo :SQLSTATE
SELECT dupn_create_model('m', 'events', 'user_id', 'occurred_at', '{item_id,prices}', catalog => 'products', catalog_key => 'id');
\echo :SQLSTATE
SELECT dupn_create_model('m', 'events', 'user_id', 'occurred_at', '{brand}', catalog => 'products', catalog_key => 'id');
\echo :SQLSTATE
SELECT dupn_create_model('m', 'events', 'user_id', 'occurred_at', '{item_id}', '{actoin}');
\echo :SQLSTATE
SELECT dupn_create_model('m', 'events', 'user_id', 'occurred_at', '{item_id}', profile => 'customers', profile_key => 'id', profile_columns => '{agee}');
\echo :SQLSTATE
SELECT dupn_create_model('m', 'events', 'user_id', 'occurred_at', '{item_id}', catalog => 'products', catalog_key => 'idd');
\echo :SQLSTATE
SELECT dupn_create_model('m', 'events', 'user_id', 'occurred_at', '{item_id}', profile => 'customers', profile_key => 'idd', profile_columns => '{age}');
\echo :SQLSTATE

-- columns of the wrong type
SELECT dupn_create_model('m', 'events', 'ids', 'occurred_at', '{item_id}');
\echo :SQLSTATE
SELECT dupn_create_model('m', 'events', 'ratio', 'occurred_at', '{item_id}');
\echo :SQLSTATE
SELECT dupn_create_model('m', 'events', 'blob', 'occurred_at', '{item_id}');
\echo :SQLSTATE
SELECT dupn_create_model('m', 'events', 'user_id', 'seconds', '{item_id}');
\echo :SQLSTATE
SELECT dupn_create_model('m', 'events', 'user_id', 'at', '{item_id}');
\echo :SQLSTATE
SELECT dupn_create_model('m', 'events', 'user_id', 'occurred_at', '{ratio}');
\echo :SQLSTATE
SELECT dupn_create_model('m', 'events', 'user_id', 'occurred_at', '{ids}');
\echo :SQLSTATE
SELECT dupn_create_model('m', 'events', 'user_id', 'occurred_at', '{doc}');
\echo :SQLSTATE
SELECT dupn_create_model('m', 'events', 'user_id', 'occurred_at', '{price}', options => '{"encodings": {"price": "bands"}}');
\echo :SQLSTATE
SELECT dupn_create_model('m', 'events', 'user_id', 'occurred_at', '{item_id,doc}');
\echo :SQLSTATE
SELECT dupn_create_model('m', 'events', 'user_id', 'occurred_at', '{item_id}', '{spot}');
\echo :SQLSTATE
SELECT dupn_create_model('m', 'events', 'user_id', 'occurred_at', '{item_id,x}');
\echo :SQLSTATE
SELECT dupn_create_model('m', 'events', 'user_id', 'occurred_at', '{item_id,cash}');
\echo :SQLSTATE
SELECT dupn_create_model('m', 'events', 'user_id', 'occurred_at', '{item_id,ratios}');
\echo :SQLSTATE
SELECT dupn_create_model('m', 'events', 'user_id', 'occurred_at', '{item_id,doc}', catalog => 'products', catalog_key => 'id');
\echo :SQLSTATE
SELECT dupn_create_model('m', 'events', 'user_id', 'occurred_at', '{item_id}', catalog => 'products', catalog_key => 'code');
\echo :SQLSTATE
SELECT dupn_create_model('m', 'events', 'user_id', 'occurred_at', '{item_id}', profile => 'customers', profile_key => 'name', profile_columns => '{age}');
\echo :SQLSTATE

-- columns that do not fit together
SELECT dupn_create_model('m', 'events', 'user_id', 'occurred_at', '{item_id,price,item_id}');
\echo :SQLSTATE
SELECT dupn_create_model('m', 'events', 'user_id', 'occurred_at', '{item_id,action}', '{action}');
\echo :SQLSTATE
SELECT dupn_create_model('m', 'events', 'user_id', 'occurred_at', '{item_id}', '{user_id}');
\echo :SQLSTATE
SELECT dupn_create_model('m', 'events', 'user_id', 'occurred_at', '{item_id,occurred_at}');
\echo :SQLSTATE
SELECT dupn_create_model('m', 'events', 'user_id', 'occurred_at', '{item_id}', '{gap}');
\echo :SQLSTATE
SELECT dupn_create_model('m', 'events', 'user_id', 'occurred_at', (SELECT array_agg('c' || i) FROM generate_series(1, 33) i)::name[]);
\echo :SQLSTATE
SELECT dupn_create_model('m', 'events', 'user_id', 'occurred_at', '{item_id}', (SELECT array_agg('c' || i) FROM generate_series(1, 31) i)::name[]);
\echo :SQLSTATE
SELECT dupn_create_model('m', 'events', 'user_id', 'occurred_at', '{item_id}', catalog => 'products');
\echo :SQLSTATE
SELECT dupn_create_model('m', 'events', 'user_id', 'occurred_at', '{item_id}', catalog_key => 'id');
\echo :SQLSTATE
SELECT dupn_create_model('m', 'events', 'user_id', 'occurred_at', '{item_id}', profile => 'customers', profile_columns => '{age}');
\echo :SQLSTATE
SELECT dupn_create_model('m', 'events', 'user_id', 'occurred_at', '{item_id}', profile => 'customers', profile_key => 'id');
\echo :SQLSTATE
SELECT dupn_create_model('m', 'events', 'user_id', 'occurred_at', '{item_id}', profile_columns => '{age}');
\echo :SQLSTATE
SELECT dupn_create_model('m', 'events', 'user_id', 'occurred_at', '{item_id}', context_columns => '{q}', options => '{"encodings": {"q": {"table": "prices"}}}');
\echo :SQLSTATE
SELECT dupn_create_model('m', 'events', 'user_id', 'occurred_at', '{item_id}', timezone => 'Mars/Olympus');
\echo :SQLSTATE

SELECT dupn_create_model('m', 'events', 'user_id', 'occurred_at', '{item_id,price,action,seconds,at,ratio,ids,words,w2,w3}', options =>
	(SELECT jsonb_build_object('widths', jsonb_object_agg(c, 512)) FROM unnest('{item_id,price,action,seconds,at,ratio,ids,words,w2,w3}'::text[]) c));
\echo :SQLSTATE

-- a default model
SELECT dupn_alter_model('m', '{}');
\echo :SQLSTATE
SET ROLE pg_read_all_data;
SELECT dupn_estimate();
\echo :SQLSTATE
RESET ROLE;
SELECT dupn_create_model('m', 'events', 'user_id', 'occurred_at', '{item_id,price}', '{action}', context_columns => '{word}');
SELECT dupn_create_model('m', 'events', 'user_id', 'occurred_at', '{item_id}');
\echo :SQLSTATE
SELECT dupn_create_model('n', 'events', 'user_id', 'occurred_at', '{item_id}');
SELECT dupn_estimate();
\echo :SQLSTATE
SET dupn.model = 'nn';
SELECT dupn_estimate();
\echo :SQLSTATE
RESET dupn.model;
SELECT dupn_alter_model('mm', '{}');
\echo :SQLSTATE
SELECT dupn_alter_model(NULL, '{}');
\echo :SQLSTATE
SELECT dupn_alter_model('m', NULL);
\echo :SQLSTATE
SELECT dupn_drop_model('unheard of');
\echo :SQLSTATE
SELECT dupn_drop_model(NULL);
\echo :SQLSTATE

-- tasks
SELECT dupn_add_task('m', 't', 'binry');
\echo :SQLSTATE
SELECT dupn_add_task('m', '', 'next_item');
\echo :SQLSTATE
SELECT dupn_add_task('m', NULL, 'next_item');
\echo :SQLSTATE
SELECT dupn_add_task('m', 't', NULL);
\echo :SQLSTATE
SELECT dupn_add_task('m', 't', 'binary', label => 'label');
\echo :SQLSTATE
SELECT dupn_add_task('m', 't', 'binary', samples => 'samples');
\echo :SQLSTATE
SELECT dupn_add_task('m', 't', 'binary', samples => 'samples', label => 'label');
\echo :SQLSTATE
ALTER TABLE samples ALTER price TYPE float8 USING NULL;
SELECT dupn_add_task('m', 't', 'binary', samples => 'samples', label => 'lable');
\echo :SQLSTATE
SELECT dupn_add_task('m', 't', 'binary', samples => 'samples', label => 'word');
\echo :SQLSTATE
SELECT dupn_add_task('m', 't', 'binary', samples => 'samples', label => 'label', options => '{"user_column": "usr"}');
\echo :SQLSTATE
SELECT dupn_add_task('m', 't', 'binary', samples => 'products', label => 'id');
\echo :SQLSTATE
SELECT dupn_add_task('m', 't', 'binary', samples => 'samples', label => 'label', options => '{"time_column": "t"}');
\echo :SQLSTATE
SELECT dupn_add_task('m', 't', 'binary', samples => 'samples', label => 'label', features => '{word}');
\echo :SQLSTATE
SELECT dupn_add_task('m', 't', 'binary', samples => 'samples', label => 'label', features => '{scores}');
\echo :SQLSTATE
SELECT dupn_add_task('m', 't', 'binary', samples => 'samples', label => 'label', features => '{score,score}');
\echo :SQLSTATE
SELECT dupn_add_task('m', 't', 'binary', samples => 'samples', label => 'label', features => '{label}');
\echo :SQLSTATE
SELECT dupn_add_task('m', 't', 'binary', samples => 'samples', label => 'label', features => '{NULL}');
\echo :SQLSTATE
SELECT dupn_add_task('m', 't', 'binary', samples => 'samples', label => 'label',
	features => (SELECT array_agg('score' || i) FROM generate_series(1, 257) i)::name[]);
\echo :SQLSTATE
SELECT dupn_alter_model('m', '{"encodings": {"word": {"table": "item_id"}}}');
SELECT dupn_add_task('m', 't', 'binary', samples => 'samples', label => 'label');
\echo :SQLSTATE
SELECT dupn_alter_model('m', '{"encodings": null}');
SELECT dupn_add_task('m', 't', 'multiclass');
\echo :SQLSTATE
SELECT dupn_add_task('m', 't', 'multiclass', label => 'prize');
\echo :SQLSTATE
SELECT dupn_add_task('m', 't', 'multiclass', label => 'doc');
\echo :SQLSTATE
SELECT dupn_add_task('m', 't', 'multiclass', label => 'price', features => '{score}');
\echo :SQLSTATE
SELECT dupn_add_task('m', 't', 'multiclass', samples => 'samples', label => 'word', options => '{"where": {"action": "buy"}}');
\echo :SQLSTATE
SELECT dupn_add_task('m', 't', 'multiclass', label => 'action', options => '{"within": "item_id"}');
\echo :SQLSTATE
CREATE TABLE priced (id int PRIMARY KEY, cost numeric);
SELECT dupn_create_model('priced', 'events', 'user_id', 'occurred_at', '{item_id,cost}', catalog => 'priced', catalog_key => 'id',
	options => '{"encodings": {"cost": "id"}}');
SELECT dupn_add_task('priced', 't', 'multiclass', label => 'cost');
\echo :SQLSTATE
SELECT dupn_alter_model('priced', '{"encodings": null}');
SELECT dupn_add_task('priced', 't', 'multiclass', label => 'cost');
SELECT dupn_alter_model('priced', '{"encodings": {"cost": "id"}}');
\echo :SQLSTATE
SELECT dupn_drop_model('priced');
SELECT dupn_add_task('m', 't', 'next_item', samples => 'samples');
\echo :SQLSTATE
SELECT dupn_add_task('m', 't', 'next_item', label => 'item_id');
\echo :SQLSTATE
SELECT dupn_add_task('m', 't', 'next_item', features => '{score}');
\echo :SQLSTATE
ALTER TABLE samples DROP COLUMN item_id;
SELECT dupn_add_task('m', 't', 'binary', samples => 'samples', label => 'label', options => '{"candidate": ["item_id"]}');
\echo :SQLSTATE
SELECT dupn_add_task('m', 't', 'next_item');
SELECT dupn_add_task('m', 't', 'next_item');
\echo :SQLSTATE
SELECT dupn_add_task('m', 'context', 'binary', samples => 'samples', label => 'label');
CREATE TABLE samples2 (user_id bigint, occurred_at timestamptz, label boolean, word int);
SELECT dupn_add_task('m', 'context2', 'binary', samples => 'samples2', label => 'label');
\echo :SQLSTATE
SELECT count(dupn_add_task('m', 't' || i, 'next_item')) FROM generate_series(1, 14) i;
SELECT dupn_add_task('m', 'one too many', 'next_item');
\echo :SQLSTATE
SELECT dupn_drop_task('m', 'tt');
\echo :SQLSTATE
SELECT dupn_drop_task('m', NULL);
\echo :SQLSTATE

-- a model with a job waiting is not dropped
INSERT INTO _dupn.job (job_id, model_id, model_name, owner, action, options, state, extension_oid)
	SELECT 1000000, model_id, name, owner, 'train', '{}', 'queued', e.oid FROM _dupn.model, pg_extension e
	WHERE name = 'm' AND extname = 'dupn';
SELECT dupn_drop_model('m');
\echo :SQLSTATE
-- one whose process is gone does not keep it
UPDATE _dupn.job SET state = 'running', started_at = now() WHERE job_id = 1000000;
SELECT dupn_drop_model('m');
SELECT state FROM _dupn.job WHERE job_id = 1000000;
DELETE FROM _dupn.job WHERE job_id = 1000000;
BEGIN READ ONLY;
SELECT dupn_drop_model('n');
\echo :SQLSTATE
ROLLBACK;
SELECT dupn_drop_model('n');
SET client_min_messages = warning;
DROP SCHEMA wrong CASCADE;
