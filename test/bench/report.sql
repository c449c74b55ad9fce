-- The table: each figure beside what this machine could do at best in the same
-- run.  A limit is arithmetic at the measured peak of one core, bytes at its
-- measured bandwidth, bare SQL for the same rows, or the sum of those.  Figures
-- that were not taken are left out.
\set QUIET on
CREATE TEMP TABLE taken (name text, value float8);
\copy taken FROM PSTDIN
CREATE FUNCTION pg_temp.f(text) RETURNS float8 LANGUAGE sql STABLE AS 'SELECT max(value) FROM taken WHERE name = $1';
-- milliseconds of so many multiply-adds at the peak
CREATE FUNCTION pg_temp.ms(float8) RETURNS float8 LANGUAGE sql STABLE AS 'SELECT 2 * $1 / pg_temp.f(''sgemm'') / 1e6';

WITH size AS (
	-- multiply-adds at the sizes of the paper: LSTM, attention, attention of the user; candidates; training is forward and twice that
	SELECT 100 * (512 * (124 + 128) + 384 * 64) + 100 * ((48 + 128) * 128 + 128 * 64 + 64) + 128 * 128 AS vector,
		50 * (256 * (48 + 64) + 192 * 24) + 50 * ((16 + 64) * 64 + 64 * 32 + 32) AS vector_small,
		1000 * (128 * 124 + 128 * 128 + 128) AS candidates
), row (n, figure, value, unit, best, limited_by, target) AS (
	SELECT 0, 'this core: sgemm', pg_temp.f('sgemm'), 'GFLOP/s', NULL::float8, NULL, NULL FROM size
	UNION ALL SELECT 1, 'this core: reading memory', pg_temp.f('read'), 'GB/s', NULL, NULL, NULL
	UNION ALL SELECT 2, 'bare SQL: the 100 rows of a user', pg_temp.f('rows.p50'), 'ms', NULL, NULL, NULL
	UNION ALL SELECT 3, 'bare SQL: the same from a covering index', pg_temp.f('rows_covering.p50'), 'ms', NULL, NULL, NULL
	UNION ALL SELECT 4, 'bare SQL: the 1,000 rows of a category', pg_temp.f('products.p50'), 'ms', NULL, NULL, NULL
	UNION ALL SELECT 8, 'dupn_user_vector, in a loop, p50', pg_temp.f('loop'), 'ms',
		pg_temp.f('rows.p50') + pg_temp.ms(vector), 'bare SQL + sgemm', '0.9 ms' FROM size
	UNION ALL SELECT 9, '  16-bit recurrent weights', pg_temp.f('loop_bfloat16'), 'ms',
		pg_temp.f('rows.p50') + pg_temp.ms(vector), 'bare SQL + sgemm', '0.6 ms' FROM size
	UNION ALL SELECT 10, 'dupn_user_vector, a client''s statement, p50', pg_temp.f('vector.p50'), 'ms',
		pg_temp.f('rows.p50') + pg_temp.ms(vector), 'bare SQL + sgemm', NULL FROM size
	UNION ALL SELECT 11, '  16-bit recurrent weights', pg_temp.f('vector_bfloat16.p50'), 'ms',
		pg_temp.f('rows.p50') + pg_temp.ms(vector), 'bare SQL + sgemm', NULL FROM size
	UNION ALL SELECT 12, '  from a covering index', pg_temp.f('vector_covering.p50'), 'ms',
		pg_temp.f('rows_covering.p50') + pg_temp.ms(vector), 'bare SQL + sgemm', NULL FROM size
	UNION ALL SELECT 13, '  p99', pg_temp.f('vector.p99'), 'ms', NULL, NULL, NULL
	UNION ALL SELECT 14, '  small network', pg_temp.f('vector_small.p50'), 'ms',
		pg_temp.f('rows.p50') + pg_temp.ms(vector_small), 'bare SQL + sgemm', NULL FROM size
	UNION ALL SELECT 15, '  network alone', pg_temp.f('paper/one/float32') / 1000, 'ms', pg_temp.ms(vector), 'sgemm', NULL FROM size
	UNION ALL SELECT 16, '  network alone, 16-bit', pg_temp.f('paper/one/bfloat16') / 1000, 'ms', pg_temp.ms(vector), 'sgemm', NULL FROM size
	UNION ALL SELECT 17, 'p99 with 8 clients / p50 with 2', pg_temp.f('eight_clients.p99') / pg_temp.f('two_clients.p50'), 'x', NULL, NULL, '6 x'
	UNION ALL SELECT 20 + k.n + s.n, s.figure || k.suffix, pg_temp.f(k.prefix || s.name || '.p50'), 'ms',
		s.sql + pg_temp.ms(s.mac), s.limited_by, s.target
	FROM size, (VALUES (0, '', ''), (1, 'cached_', ', items kept')) k(n, prefix, suffix), LATERAL (VALUES
		(.1, 'request', 'request: vector, 1,000 candidates by key, top 20', pg_temp.f('rows.p50') + pg_temp.f('products.p50'),
			vector + candidates, 'bare SQL + sgemm', '1.8 ms'),
		(.2, 'request_array', '  candidates as an array', pg_temp.f('rows.p50') + pg_temp.f('products.p50'),
			vector + candidates, 'bare SQL + sgemm', '1.8 ms'),
		(.3, 'score_key', '1,000 candidates by key', pg_temp.f('products.p50'), candidates, 'bare SQL + sgemm', '0.8 ms'),
		(.4, 'score_row', '  by row', pg_temp.f('products.p50'), candidates, 'bare SQL + sgemm', '0.8 ms'),
		(.5, 'score_array', '  as an array', 0, candidates, 'sgemm', '0.8 ms')) s(n, name, figure, sql, mac, limited_by, target)
	UNION ALL SELECT 24, 'dupn_recommend among a million items', pg_temp.f('recommend.p50'), 'ms',
		496e6 / pg_temp.f('read') / 1e6, '496 MB read', '1.5 x'
	UNION ALL SELECT 30, 'many users, network alone', pg_temp.f('paper/many/float32'), 'users/s',
		pg_temp.f('paper/many/float32') / pg_temp.f('paper/many/float32/share'), 'sgemm', '85 %'
	UNION ALL SELECT 31, '  small network', pg_temp.f('small/many/float32'), 'users/s',
		pg_temp.f('small/many/float32') / pg_temp.f('small/many/float32/share'), 'sgemm', NULL
	UNION ALL SELECT 32, 'dupn_refresh of 20,000 users, one worker', pg_temp.f('refresh.1'), 'users/s',
		1000 / (pg_temp.f('rows.p50') + pg_temp.ms(vector)), 'bare SQL + sgemm', NULL FROM size
	UNION ALL SELECT 33, '  two workers', pg_temp.f('refresh.2'), 'users/s',
		2000 / (pg_temp.f('rows.p50') + pg_temp.ms(vector)), 'bare SQL + sgemm', '2,800 users/s' FROM size
	UNION ALL SELECT 34, '  two workers, 2 % of the users have new events', pg_temp.f('refresh.changed'), 's',
		.02 * 20000 / pg_temp.f('refresh.2'), '2 % of a full one', NULL
	UNION ALL SELECT 35, '  a million items, two workers', pg_temp.f('refresh.items'), 'items/s', NULL, NULL, NULL
	UNION ALL SELECT 40, 'training, batch 256, no server', pg_temp.f('training.1000000/256/1'), 'samples/s',
		1000 / pg_temp.ms(3 * vector), 'sgemm', '600 samples/s' FROM size
	UNION ALL SELECT 41, '  batch 1024', pg_temp.f('training.1000000/1024/1'), 'samples/s',
		1000 / pg_temp.ms(3 * vector), 'sgemm', '600 samples/s' FROM size
	UNION ALL SELECT 42, '  20 samples a user', pg_temp.f('training.1000000/1024/20'), 'samples/s',
		20000 / pg_temp.ms(3 * vector), 'sgemm', '8 x' FROM size
	UNION ALL SELECT 43, 'training job, one worker', pg_temp.f('train.one.1'), 'samples/s',
		1000 / pg_temp.ms(3 * vector), 'sgemm', '600 samples/s' FROM size
	UNION ALL SELECT 44, '  two workers', pg_temp.f('train.one.2'), 'samples/s',
		2000 / pg_temp.ms(3 * vector), 'sgemm', '1.9 x' FROM size
	UNION ALL SELECT 45, '  20 samples a user', pg_temp.f('train.twenty.1'), 'samples/s',
		20000 / pg_temp.ms(3 * vector), 'sgemm', '8 x' FROM size
)
SELECT figure, CASE WHEN value < 10 THEN round(value::numeric, 2) WHEN value < 100 THEN round(value::numeric, 1) ELSE round(value::numeric) END AS measured, unit,
	CASE WHEN best < 10 THEN round(best::numeric, 2) WHEN best < 100 THEN round(best::numeric, 1) ELSE round(best::numeric) END AS best, limited_by,
	CASE WHEN unit IN ('ms', 'MiB') THEN round((value / best)::numeric, 2) || ' x' ELSE round((100 * value / best)::numeric) || ' %' END AS ratio, target
FROM row WHERE value IS NOT NULL ORDER BY n;
