-- The table: each figure beside what this machine could do at best in the same
-- run.  A limit is arithmetic at the measured peak, bytes at the measured
-- bandwidth, or bare SQL for the same rows, or the sum of those that must
-- follow one another.
\set QUIET on
CREATE TEMP TABLE figure (name text PRIMARY KEY, value float8);
\copy figure FROM PSTDIN
CREATE FUNCTION pg_temp.f(text) RETURNS float8 LANGUAGE sql STABLE AS 'SELECT value FROM figure WHERE name = $1';

-- Multiply-adds at the sizes of the paper
SELECT 100 * (512 * (124 + 128) + 384 * 64) + 100 * ((48 + 128) * 128 + 128 * 64 + 64) + 128 * 128 AS vector_mac,
	1000 * (128 * 124 + 128 * 128 + 128) AS candidates_mac \gset
-- in milliseconds at the peak
SELECT 2 * :vector_mac / pg_temp.f('machine.gflops') / 1e6 AS vector_ms,
	2 * :candidates_mac / pg_temp.f('machine.gflops') / 1e6 AS candidates_ms \gset
