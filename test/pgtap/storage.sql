-- How versions are stored: differences to their parents, the optimizer's state,
-- what is dropped and what is kept; and bytes that nobody should trust.
SET client_min_messages = warning;
SET timezone = 'UTC';
SELECT plan(112);

CREATE SCHEMA nights;
SET search_path = nights, public;

CREATE TABLE events (user_id int, item_id int, occurred_at timestamptz);
INSERT INTO events SELECT u, (u * 7 + e * e) % 30, '2024-01-01'::timestamptz + e * interval '5 hours' + u * interval '1 minute'
	FROM generate_series(1, 60) u, generate_series(1, 6) e;
CREATE INDEX ON events (user_id, occurred_at);
CREATE TABLE deals (user_id int, item_id int, occurred_at timestamptz, taken boolean);
INSERT INTO deals SELECT u, (u + e) % 30, '2024-01-01'::timestamptz + e * interval '7 hours', (u + e) % 3 = 0
	FROM generate_series(1, 60) u, generate_series(1, 4) e;
SELECT dupn_create_model('shop', events => 'events', user_column => 'user_id', time_column => 'occurred_at', item_columns => '{item_id}',
	options => '{"hidden": 8, "attention": [8, 4], "max_events": 5, "epochs": 1, "publish": "always", "encodings": {"item_id": {"hash": 2000}}, "rebase": 2}') IS NOT NULL AS declared \gset
SELECT dupn_add_task('shop', 'deal', 'binary', samples => 'deals', label => 'taken', options => '{"candidate_dim": 8, "hidden": [8]}') IS NOT NULL AS declared \gset

CREATE PROCEDURE night(n int DEFAULT 1) LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. n LOOP
		CALL dupn_run('shop', 'train', '{"mode": "finetune"}');
	END LOOP;
END $$;

-- What src/model/delta.c says, done by hand.
CREATE FUNCTION little(bytes bytea, at int, n int DEFAULT 4) RETURNS int LANGUAGE sql IMMUTABLE AS
	$$SELECT sum(get_byte(bytes, at + i)::bigint << (8 * i))::bigint::bit(32)::int FROM generate_series(0, n - 1) i$$;
CREATE FUNCTION header(file bytea) RETURNS jsonb LANGUAGE sql IMMUTABLE AS
	$$SELECT convert_from(substr(file, 9, little(file, 0)), 'UTF8')::jsonb$$;
CREATE FUNCTION patched(stored bytea, old bytea) RETURNS bytea LANGUAGE plpgsql AS $$
DECLARE
	at int := 9 + nights.little(stored, 0) + (nights.header(stored)->'runs'->'data_offsets'->>0)::int;
	data int := 9 + nights.little(stored, 0) + (nights.header(stored)->'data'->'data_offsets'->>0)::int;
	place int := 0;
	result bytea[] := '{}';
BEGIN
	FOR i IN 1 .. (nights.header(stored)->'runs'->'shape'->>0)::int LOOP
		result := result || substr(stored, data, nights.little(stored, at - 1));
		data := data + nights.little(stored, at - 1);
		place := place + nights.little(stored, at + 3);
		result := result || substr(old, place + 1, nights.little(stored, at + 7));
		place := place + nights.little(stored, at + 7);
		at := at + 12;
	END LOOP;
	RETURN (SELECT string_agg(b, '' ORDER BY i) FROM unnest(result) WITH ORDINALITY x (b, i));
END $$;
CREATE FUNCTION whole(kind text, v int, model text DEFAULT 'shop') RETURNS bytea LANGUAGE plpgsql AS $$
DECLARE
	id int := (SELECT model_id FROM _dupn.model WHERE name = whole.model);
	stored bytea;
	base int;
BEGIN
	IF kind = 'weights' THEN
		SELECT string_agg(w.data, '' ORDER BY part) INTO stored FROM _dupn.weight w WHERE model_id = id AND version = v;
		SELECT delta_of INTO base FROM _dupn.version WHERE model_id = id AND version = v;
	ELSE
		SELECT string_agg(p.data, '' ORDER BY part) INTO stored FROM _dupn.optimizer_part p WHERE model_id = id AND version = v;
		SELECT delta_of INTO base FROM _dupn.optimizer WHERE model_id = id AND version = v;
	END IF;
	RETURN CASE WHEN base IS NULL THEN stored ELSE patched(stored, whole(kind, base, model)) END;
END $$;
CREATE FUNCTION checksum(data bytea) RETURNS int LANGUAGE plpgsql AS $$
DECLARE crc bigint := 4294967295;
	step bigint[];
BEGIN
	FOR i IN 0 .. 255 LOOP
		step[i] := i;
		FOR k IN 1 .. 8 LOOP
			step[i] := (step[i] >> 1) # (step[i] & 1) * 2197175160;	-- CRC-32C
		END LOOP;
	END LOOP;
	FOR i IN 0 .. length(data) - 1 LOOP
		crc := (crc >> 8) # step[(crc # get_byte(data, i)) & 255];
	END LOOP;
	RETURN (crc # 4294967295)::bit(32)::int;
END $$;
CREATE FUNCTION fingerprint(bytes bytea) RETURNS bigint LANGUAGE sql IMMUTABLE AS
	$$SELECT ('x' || substr(encode(sha256(bytes), 'hex'), 1, 16))::bit(64)::bigint >> 1 & 9223372036854775807$$;
CREATE FUNCTION stored(text) RETURNS TABLE (version int) LANGUAGE sql AS
	$$SELECT v.version FROM _dupn.version v WHERE state = $1 ORDER BY 1$$;

-- ---- differences ----

CALL dupn_run('shop');
CALL night(5);
SELECT results_eq('SELECT version, delta_of FROM dupn_versions ORDER BY version',
	'VALUES (1, NULL::int), (2, 1), (3, 2), (4, NULL), (5, 4), (6, 5)', 'a version is a difference to its parent, and after some nights whole again');
SELECT ok(bool_and(CASE WHEN delta_of IS NULL THEN stored_bytes = bytes ELSE stored_bytes < bytes / 4 END), 'a difference is small') FROM dupn_versions;
SELECT results_eq('SELECT version, sum(octet_length(data)) FROM _dupn.weight GROUP BY 1 ORDER BY 1', 'SELECT version, stored_bytes FROM dupn_versions ORDER BY 1',
	'stored_bytes is what is there');
SELECT ok(dupn_export('shop', version) = whole('weights', version), format('version %s is what its difference makes', version)) FROM dupn_versions ORDER BY version;
SELECT is(fingerprint(dupn_export('shop', version)), v.fingerprint, format('and has the fingerprint of version %s', version)) FROM _dupn.version v ORDER BY version;
SELECT isnt(dupn_export('shop', 5), dupn_export('shop', 6), 'two nights, two versions');

CALL dupn_run('shop', 'train', '{"mode": "finetune", "version": 3, "rebase": 0}');
SELECT results_eq('SELECT parent, delta_of FROM dupn_versions WHERE version = 7', 'VALUES (3, NULL::int)', 'a job may store whole what the model would not');
CALL dupn_run('shop', 'train', '{"mode": "finetune", "version": 1}');
SELECT results_eq('SELECT parent, delta_of FROM dupn_versions WHERE version = 8', 'VALUES (1, 1)', 'a chain may begin at an older version');
CALL dupn_run('shop', 'train', '{"seed": 2}');
SELECT results_eq('SELECT parent, delta_of FROM dupn_versions WHERE version = 9', 'VALUES (NULL::int, NULL::int)', 'a training from nothing is stored whole');
CALL dupn_run('shop', 'train', '{"mode": "finetune", "version": 6, "rebase": 7}');
SELECT results_eq('SELECT delta_of, stored_bytes < bytes / 4 FROM dupn_versions WHERE version = 10', 'VALUES (6, true)', 'a longer chain where the job allows it');
SELECT ok(dupn_export('shop', 10) = whole('weights', 10), 'is as exact');

-- ---- what the optimizer remembers ----

SELECT results_eq('SELECT version, delta_of FROM _dupn.optimizer WHERE checksum IS NOT NULL ORDER BY 1', 'VALUES (10, NULL::int)',
	'it is kept for the newest version, here whole, since that of its parent is no longer kept');
CALL night(2);
SELECT results_eq('SELECT version, delta_of FROM _dupn.optimizer WHERE checksum IS NOT NULL ORDER BY 1', 'VALUES (10, NULL::int), (11, 10), (12, 11)',
	'and with what it is a difference to');
SELECT ok(stored_bytes < bytes / 4, 'a small one') FROM _dupn.optimizer WHERE version = 12;
SELECT is(checksum(whole('optimizer', 12) || int8send(0)), o.checksum, 'which makes the whole') FROM _dupn.optimizer o WHERE version = 12;
SELECT results_eq($$SELECT k FROM jsonb_object_keys(header(whole('optimizer', 12))) k ORDER BY 1$$,
	$$SELECT k FROM (SELECT p || k FROM jsonb_each(header(dupn_export('shop', 12))) h (k, d), unnest('{m.,v.}'::text[]) p
	   WHERE k !~ '^(__|vocabulary|catalogue)' AND k !~ 'calibration$' UNION SELECT 'step') x (k) ORDER BY 1$$,
	'both moments of every parameter, and the steps');
SELECT is(optimizer_bytes, o.stored_bytes, 'dupn_versions shows its size') FROM dupn_versions v JOIN _dupn.optimizer o USING (version) WHERE version = 12;

-- the number of steps, and the largest difference of what two versions say of users
CREATE FUNCTION steps(v int) RETURNS int LANGUAGE sql AS $$SELECT little(o, 8 + little(o, 0)) FROM whole('optimizer', v) o$$;
CREATE FUNCTION difference(v int, w int) RETURNS real LANGUAGE sql AS $$
	SELECT max(abs(a - b)) FROM generate_series(1, 20) u,
		unnest(dupn_user_vector(u, 'shop', version => v)::real[], dupn_user_vector(u, 'shop', version => w)::real[]) x (a, b)
$$;
SELECT is(steps(11), 2 * steps(10), 'its steps are counted on');
SELECT is(steps(12), 3 * steps(10), 'night after night');
CALL dupn_run('shop', 'train', '{"mode": "finetune", "workers": 2, "publish": false}');
SELECT is(steps(13), 4 * steps(10), 'and by a team');
CALL dupn_run('shop', 'train', '{"mode": "finetune", "publish": false}');
SELECT is(steps(14), 4 * steps(10), 'the version that serves has its own as well as the newest');
CALL dupn_run('shop', 'train', '{"mode": "finetune", "keep_optimizer": false, "publish": false}');
SELECT is_empty('SELECT 1 FROM _dupn.optimizer WHERE version = 15', 'unless the option says no');
SELECT ok(difference(13, 14) < 1e-4, 'a team goes on as one process does');
SELECT ok(difference(14, 15) > 1e-3, 'from nothing the way is another one');
CALL dupn_run('shop', 'train', '{"mode": "finetune", "optimizer": "adagrad", "publish": false}');
SELECT is(steps(16), steps(10), 'another optimizer begins anew');
SELECT is_empty($$SELECT k FROM jsonb_object_keys(header(whole('optimizer', 16))) k WHERE k LIKE 'm.%'$$, 'and has no first moments');
SELECT count(dupn_drop_version('shop', v)::text) FROM generate_series(13, 16) v \gset dropped_
SELECT results_eq('SELECT version FROM _dupn.optimizer WHERE checksum IS NOT NULL ORDER BY 1', 'VALUES (10), (11), (12)', 'a dropped version takes along what is kept for it');

-- A training that meets bytes that are not what they were, and they are as before.
CREATE TABLE failed (how text, message text);
CREATE PROCEDURE ruin(how text, v int, at int, bytes bytea) LANGUAGE plpgsql AS $$
DECLARE
	old bytea := (SELECT data FROM _dupn.optimizer_part WHERE version = v AND part = 0);
	job bigint;
BEGIN
	UPDATE _dupn.optimizer_part SET data = overlay(old PLACING bytes FROM CASE WHEN at > 0 THEN at ELSE length(old) + at END) WHERE version = v AND part = 0;
	job := dupn_train('shop', '{"mode": "finetune"}');
	COMMIT;
	PERFORM dupn_wait(job);
	INSERT INTO nights.failed SELECT how, message FROM dupn_jobs WHERE job_id = job;
	UPDATE _dupn.optimizer_part SET data = old WHERE version = v AND part = 0;
	COMMIT;
END $$;
CALL ruin('not a number', 12, -3, '\x0000c07f');
CALL ruin('a negative square', 12, -3, '\x000080bf');
CALL ruin('another number', 12, -3, '\x0000803e');
CALL ruin('no difference', 11, 1, '\xff');
CALL ruin('no header', 10, 1, '\xffffffffffffffff');
CALL ruin('no JSON', 10, 9, '\x5b');
SELECT matches(message, '^XX001: the optimizer''s state of version 12 is damaged', how) FROM failed;
SELECT is(count(DISTINCT message), 1::bigint, 'each job says the same') FROM failed;
SELECT is(max(version), 12, 'and no version came of it') FROM dupn_versions;

-- ---- dropping ----

-- What a version is read back from, past the mapped copy, whose name is its content's.
CREATE FUNCTION reread(v int) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
	before bytea := dupn_export('shop', v);
	now bytea;
BEGIN
	UPDATE _dupn.version x SET fingerprint = v, checksum = nights.checksum(before || int8send(v)) WHERE x.version = v;
	now := dupn_export('shop', v);
	PERFORM 1 / (before = now)::int;
	UPDATE _dupn.version x SET fingerprint = nights.fingerprint(before), checksum = nights.checksum(before || int8send(nights.fingerprint(before))) WHERE x.version = v;
	RETURN true;
END $$;
SELECT ok(reread(6), 'the rows alone make a version');

SELECT lives_ok($$SELECT dupn_drop_version('shop', 5)$$, 'a version in the middle of a chain is dropped');
SELECT lives_ok($$SELECT dupn_drop_version('shop', 4)$$, 'and the one before it');
SELECT results_eq($$SELECT stored('dropped')$$, 'VALUES (4), (5)', 'their bytes stay');
SELECT results_eq('SELECT version FROM dupn_versions WHERE version < 7 ORDER BY 1', 'VALUES (1), (2), (3), (6)', 'but nobody sees them');
SELECT is_empty('SELECT 1 FROM dupn_metrics WHERE version IN (4, 5)', 'nor their metrics');
SELECT is_empty('SELECT 1 FROM dupn_drift WHERE version IN (4, 5)', 'nor their drift');
SELECT is_empty('SELECT 1 FROM dupn_mapped WHERE version IN (4, 5)', 'nor their files');
SELECT throws_ok($$SELECT dupn_user_vector(1, 'shop', version => 5)$$, '42704', 'version 5 of model "shop" does not exist', 'nor asks them');
SELECT throws_ok($$SELECT dupn_publish('shop', 5)$$, '42704', 'model "shop" has no version 5', 'nor publishes them');
SELECT throws_ok($$SELECT dupn_drop_version('shop', 5)$$, '42704', 'model "shop" has no version 5', 'nor drops them again');
SELECT throws_ok($$SELECT dupn_pin('shop', 5)$$, '42704', 'model "shop" has no version 5', 'nor pins them');
SELECT ok(reread(6) AND reread(10), 'who needs them has them');
CALL night();
SELECT results_eq($$SELECT stored('dropped')$$, 'VALUES (4), (5)', 'the next job lets them be');
SELECT dupn_drop_version('shop', 6) IS NOT NULL AS dropped \gset
SELECT results_eq($$SELECT stored('dropped')$$, 'VALUES (4), (5), (6)', 'the chain goes on');
SELECT dupn_drop_version('shop', 10) IS NOT NULL AS dropped \gset
SELECT results_eq($$SELECT stored('dropped')$$, 'VALUES (4), (5), (6), (10)', 'and what the optimizer remembers of version 12 is a difference to that of 10');
SELECT is(delta_of, 12, 'another one') FROM dupn_versions WHERE version = 17;
SELECT dupn_drop_version('shop', 12), dupn_drop_version('shop', 11) \gset dropped_
SELECT ok(reread(17), 'whose end serves');
CALL dupn_run('shop', 'train', '{"seed": 3}');
SELECT dupn_drop_version('shop', 17) IS NOT NULL AS dropped \gset
SELECT is_empty($$SELECT stored('dropped')$$, 'until it goes as well');
SELECT is_empty('SELECT version FROM _dupn.weight EXCEPT SELECT version FROM dupn_versions', 'and no part is left');

-- ---- pins, and what is kept ----

SELECT throws_ok($$SELECT dupn_pin('shop', 99)$$, '42704', 'model "shop" has no version 99', 'a version that is not there');
SELECT throws_ok($$SELECT dupn_pin('shop', NULL)$$, '22004', NULL, 'none');
SELECT throws_ok($$SELECT dupn_pin('shop', 1, NULL)$$, '22004', NULL, 'neither yes nor no');
CREATE ROLE stranger_of_nights;
SET ROLE stranger_of_nights;
SELECT throws_ok($$SELECT public.dupn_pin('shop', 1)$$, '42501', NULL, 'a stranger pins nothing');
RESET ROLE;
DROP ROLE stranger_of_nights;
SELECT dupn_pin('shop', 2) IS NOT NULL AS pinned \gset
SELECT throws_ok($$SELECT dupn_drop_version('shop', 2)$$, '55006', 'version 2 of model "shop" is pinned', 'a pinned version is not dropped');
SELECT results_eq('SELECT version FROM dupn_versions WHERE pinned', 'VALUES (2)', 'and shown as such');

-- versions 1, 2, 3, 7, 8, 9 and 18; 18 serves
SELECT dupn_publish('shop', 3), dupn_publish('shop', 18) \gset kept_
CREATE TABLE vectors (user_id int, version int, vector dupn_vector NOT NULL, as_of timestamptz NOT NULL, PRIMARY KEY (user_id, version));
CALL dupn_run('shop', 'refresh', '{"target": "nights.vectors", "version": 7}');
SELECT dupn_alter_model('shop', '{"keep_versions": 2, "keep_days": 1}') IS NOT NULL AS altered \gset
CALL night();
SELECT results_eq('SELECT version FROM dupn_versions ORDER BY 1', 'VALUES (1), (2), (3), (7), (8), (9), (18), (19)', 'none is old enough');
UPDATE _dupn.version SET created_at = created_at - interval '2 days' WHERE version <> 8;
SELECT dupn_publish('shop', 3), dupn_publish('shop', 19) \gset kept_
CALL night();
-- by number 19 and 20; 19 also as the one that served before; 8 by age
SELECT results_eq('SELECT version FROM dupn_versions ORDER BY 1', 'VALUES (2), (7), (8), (19), (20)', 'by number, by age, pinned, or of stored vectors');
SELECT ok(notes @> ARRAY['dropped versions that "keep_versions" and "keep_days" no longer keep: 1, 3, 9, 18'], 'and the job says so')
	FROM dupn_jobs ORDER BY job_id DESC LIMIT 1;
SELECT ok(reread(2) AND reread(8) AND reread(20), 'what is kept has what it needs');
DROP TABLE vectors;
CALL night();
SELECT results_eq('SELECT version FROM dupn_versions ORDER BY 1', 'VALUES (2), (8), (20), (21)', 'a table that is gone keeps none');
SELECT dupn_alter_model('shop', '{"keep_versions": 0, "keep_days": 0}') IS NOT NULL AS altered \gset
CALL night(3);
SELECT is(count(*), 7::bigint, 'without either nothing is dropped') FROM dupn_versions;

-- ---- tables that grow ----

CREATE TABLE visits (user_id int, item_id text, occurred_at timestamptz);
INSERT INTO visits SELECT u, 'item ' || (u * 7 + e) % 900, '2024-01-01'::timestamptz + e * interval '5 hours' + u * interval '1 minute'
	FROM generate_series(1, 300) u, generate_series(1, 6) e;
CREATE INDEX ON visits (user_id, occurred_at);
CREATE TABLE answers (user_id int, item_id text, occurred_at timestamptz, taken boolean);
INSERT INTO answers SELECT u, 'item ' || (u * 7 + 5) % 900, '2024-01-02'::timestamptz + u * interval '1 minute', u % 3 = 0 FROM generate_series(1, 300) u;
SELECT dupn_create_model('growing', events => 'visits', user_column => 'user_id', time_column => 'occurred_at', item_columns => '{item_id}',
	options => '{"hidden": 8, "attention": [8, 4], "max_events": 5, "epochs": 1, "publish": "always", "min_count": 1, "widths": {"item_id": 64}}') IS NOT NULL AS declared \gset
SELECT dupn_add_task('growing', 'taken', 'binary', samples => 'answers', label => 'taken', options => '{"candidate_dim": 8, "hidden": [8]}') IS NOT NULL AS declared \gset
CALL dupn_run('growing');
INSERT INTO visits SELECT u, 'item ' || CASE WHEN u % 5 = 0 THEN 900 + u ELSE u END, '2024-01-04'::timestamptz + u * interval '1 hour' FROM generate_series(1, 20) u;
INSERT INTO answers SELECT u, 'item ' || CASE WHEN u % 5 = 0 THEN 900 + u ELSE u END, '2024-01-04 12:00'::timestamptz + u * interval '1 hour', u % 3 = 0 FROM generate_series(1, 20) u;
CALL dupn_run('growing', 'finetune', '{"publish": false}');
SELECT is(delta_of, 1, 'a night with new items is a difference') FROM dupn_versions WHERE model = 'growing' AND version = 2;
SELECT ok(stored_bytes < bytes / 3, 'a small one') FROM dupn_versions WHERE model = 'growing' AND version = 2;
SELECT isnt(header(dupn_export('growing', 2))->'item.item_id.embedding'->'shape', header(dupn_export('growing', 1))->'item.item_id.embedding'->'shape', 'of a table that grew');
SELECT ok(whole('weights', 2, 'growing') = dupn_export('growing', 2), 'and is what the difference makes');
SELECT is(delta_of, 1, 'what the optimizer remembers as well') FROM _dupn.optimizer JOIN _dupn.model USING (model_id) WHERE name = 'growing' AND version = 2;
SELECT is(checksum(whole('optimizer', 2, 'growing') || int8send(0)), o.checksum, 'is a difference') FROM _dupn.optimizer o JOIN _dupn.model USING (model_id) WHERE name = 'growing' AND version = 2;
-- tasks in another order have their tensors in another order
SELECT dupn_add_task('growing', 'again', 'binary', samples => 'answers', label => 'taken', options => '{"candidate_dim": 8, "hidden": [8]}') IS NOT NULL AS declared \gset
CALL dupn_run('growing', 'train', '{"publish": true}');
CREATE PROCEDURE few(d int) LANGUAGE sql AS $$
	INSERT INTO visits SELECT u, 'item ' || u, '2024-01-05'::timestamptz + d * interval '1 day' + u * interval '1 hour' FROM generate_series(1, 20) u;
	INSERT INTO answers SELECT u, 'item ' || u, '2024-01-05 00:30'::timestamptz + d * interval '1 day' + u * interval '1 hour', u % 3 = 0 FROM generate_series(1, 20) u $$;
CALL few(1);
CALL dupn_run('growing', 'finetune');
CALL few(2);
CALL dupn_run('growing', 'finetune');
SELECT is(delta_of, 4, 'a difference') FROM _dupn.optimizer JOIN _dupn.model USING (model_id) WHERE name = 'growing' AND version = 5;
SELECT dupn_drop_task('growing', 'taken'), dupn_add_task('growing', 'taken', 'binary', samples => 'answers', label => 'taken', options => '{"candidate_dim": 8, "hidden": [8]}') \gset turned_
CALL few(3);
CALL dupn_run('growing', 'finetune');
SELECT is(delta_of, 5, 'to which there is one of tasks in another order') FROM _dupn.optimizer JOIN _dupn.model USING (model_id) WHERE name = 'growing' AND version = 6;
SELECT is(checksum(whole('optimizer', 6, 'growing') || int8send(0)), o.checksum, 'that makes the whole') FROM _dupn.optimizer o JOIN _dupn.model USING (model_id) WHERE name = 'growing' AND version = 6;
SELECT dupn_drop_model('growing') IS NOT NULL AS dropped \gset

-- ---- hostile differences ----

-- as they were written, at first, under a name that no mapped file has
CREATE FUNCTION hostile(how text, version int DEFAULT 20) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	v int := version;
	b bytea := (SELECT string_agg(data, '' ORDER BY part) FROM _dupn.weight w WHERE w.version = v);
	at int := 8 + nights.little(b, 0);
	detail text;
BEGIN
	UPDATE _dupn.version x SET fingerprint = 5 WHERE x.version = v;
	CASE how
		WHEN 'negative' THEN b := overlay(b PLACING '\xffffffff' FROM at + 1);
		WHEN 'literal' THEN b := overlay(b PLACING '\xffffff7f' FROM at + 1);
		WHEN 'skip' THEN b := overlay(b PLACING '\xffffff7f' FROM at + 5);
		WHEN 'copy' THEN b := overlay(b PLACING '\xffffff7fffffff7f' FROM at + 5);
		WHEN 'nothing' THEN b := overlay(b PLACING decode(repeat('00', at), 'hex') FROM at + 1);
		WHEN 'data' THEN b := overlay(b PLACING '\xabcdef' FROM length(b) - 2);
		WHEN 'length' THEN b := overlay(b PLACING '\xffffffffffffffff' FROM 1);
		WHEN 'long' THEN b := overlay(b PLACING '\x0000010000000000' FROM 1);
		WHEN 'type' THEN b := overlay(b PLACING 'F' FROM position('I32' IN b));
		WHEN 'name' THEN b := overlay(b PLACING 'ruin' FROM position('runs' IN b));
		WHEN 'json' THEN b := overlay(b PLACING '[' FROM 9);
		WHEN 'cut' THEN b := substr(b, 1, length(b) - 1);
		WHEN 'short' THEN b := substr(b, 1, 7);
		WHEN 'empty' THEN b := '';
		WHEN 'lost' THEN DELETE FROM _dupn.weight w WHERE w.version = v;
		WHEN 'base' THEN DELETE FROM _dupn.weight w WHERE w.version = (SELECT delta_of FROM _dupn.version x WHERE x.version = v);
		WHEN 'other base' THEN UPDATE _dupn.version x SET delta_of = 2 WHERE x.version = v;
		WHEN 'itself' THEN UPDATE _dupn.version x SET delta_of = v WHERE x.version = v;
		WHEN 'circle' THEN UPDATE _dupn.version x SET delta_of = v WHERE x.version = (SELECT delta_of FROM _dupn.version y WHERE y.version = v);
		WHEN 'no base' THEN UPDATE _dupn.version x SET delta_of = 5 WHERE x.version = v;
		WHEN 'whole' THEN UPDATE _dupn.version x SET delta_of = NULL WHERE x.version = v;
		WHEN 'stored' THEN UPDATE _dupn.version x SET stored_bytes = 9223372036854775807 WHERE x.version = v;
		WHEN 'base bytes' THEN UPDATE _dupn.version x SET bytes = -1 WHERE x.version = (SELECT delta_of FROM _dupn.version y WHERE y.version = v);
		WHEN 'as it is' THEN NULL;
	END CASE;
	UPDATE _dupn.weight w SET data = b WHERE w.version = v;
	IF how IN ('short', 'cut') THEN
		UPDATE _dupn.version x SET stored_bytes = length(b) WHERE x.version = v;
	END IF;
	PERFORM dupn_export('shop', v);
	RETURN 'read';
EXCEPTION WHEN data_corrupted THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
	RETURN detail;
END $$;
SELECT is(delta_of, 19, 'a difference to ruin') FROM dupn_versions WHERE version = 20;
SELECT is(hostile(how), expected, format('hostile: %s', how)) FROM (VALUES
	('negative', 'What is stored of version 20 is not a difference to version 19.'),
	('literal', 'What is stored of version 20 is not a difference to version 19.'),
	('skip', 'What is stored of version 20 is not a difference to version 19.'),
	('copy', 'What is stored of version 20 is not a difference to version 19.'),
	('nothing', 'What is stored of version 20 is not a difference to version 19.'),
	('length', 'What is stored of version 20 is not a difference to version 19.'),
	('long', 'What is stored of version 20 is not a difference to version 19.'),
	('type', 'What is stored of version 20 is not a difference to version 19.'),
	('name', 'What is stored of version 20 is not a difference to version 19.'),
	('json', 'What is stored of version 20 is not a difference to version 19.'),
	('cut', 'What is stored of version 20 is not a difference to version 19.'),
	('short', 'What is stored of version 20 is not a difference to version 19.'),
	('data', 'The bytes stored are not those its checksum was taken of.'),
	('empty', 'The bytes stored are not those its checksum was taken of.'),
	('lost', 'Part 0 of its 1 parts is missing.'),
	('base', 'Part 0 of the 1 parts of version 19, which it is a difference to, is missing.'),
	('itself', 'Version 20 cannot be stored as a difference to version 20.'),
	('circle', 'Version 19 cannot be stored as a difference to version 20.'),
	('no base', 'It is stored as a difference to version 5, which is missing.'),
	('whole', 'The bytes stored are not those its checksum was taken of.'),
	('stored', 'The row of version 20 says that it has 1 parts.'),
	('base bytes', 'The bytes stored are not those its checksum was taken of.'),
	('as it is', 'The bytes stored are not those its checksum was taken of.')) x (how, expected);
SELECT ok(hostile('other base') ~ 'is not a difference|checksum', 'hostile: another base');
SELECT ok(reread(20), 'and nothing of that stayed');

SELECT * FROM finish();
