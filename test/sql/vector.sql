-- The type dupn_vector: text and binary form, casts, limits.
SET timezone = 'Asia/Tokyo';
SET datestyle = 'German';

SELECT '[0.1,-2,3e-05,1e+20]@7.3/0c1f00aa11223344/2026-11-22 10:00:00+00'::dupn_vector AS v;
SELECT '[1]@2147483647.2147483647/7fffffffffffffff/4713-01-01 00:00:00+00 BC'::dupn_vector AS v;
SELECT '[1]@0.0/0000000000000000/2026-11-22 10:00:00.000001+00'::dupn_vector AS v;
SELECT '[1]@0.0/0000000000000000/294276-12-31 23:59:59.999999+00'::dupn_vector AS v;

-- every float comes back as it was
SELECT count(*) AS wrong FROM (
	SELECT ((hashint4(i) % 1000)::real / 997 * power(10::real, i % 60 - 30))::real AS x FROM generate_series(1, 5000) i) s
	WHERE (('[' || x || ']@1.1/0000000000000001/2026-01-01 00:00:00+00')::dupn_vector::real[])[1] IS DISTINCT FROM x;
SELECT '[1.17549435e-38,1.4e-45,3.4028235e+38,0.1]@1.1/0000000000000001/2026-01-01 00:00:00+00'::dupn_vector::real[];

-- accessors
CREATE TEMP TABLE vectors (v dupn_vector);
INSERT INTO vectors VALUES ('[0.25,-1]@7.3/0c1f00aa11223344/2026-11-22 10:00:00+00'), (NULL);
INSERT INTO vectors SELECT ('[' || string_agg((i * 0.5)::text, ',') || ']@1.2/0000000000000001/2026-01-01 00:00:00+00')::dupn_vector
	FROM generate_series(1, 16384) i;
SELECT dupn_vector_version(v), dupn_vector_as_of(v), cardinality(v::real[]), (v::real[])[1:2] FROM vectors;

-- binary form, there and back
CREATE TEMP TABLE again (v dupn_vector);
DO $$
DECLARE path text := current_setting('data_directory') || '/dupn_vector_' || pg_backend_pid();
BEGIN
	EXECUTE format('COPY vectors TO %L (FORMAT binary)', path);
	EXECUTE format('COPY again FROM %L (FORMAT binary)', path);
	EXECUTE format('COPY (SELECT 1) TO PROGRAM %L', 'cat > /dev/null; rm ' || path);
END $$;
SELECT count(*) AS rows, count(*) FILTER (WHERE a.v::text IS DISTINCT FROM b.v::text) AS different
	FROM (SELECT v, row_number() OVER () n FROM vectors) a FULL JOIN (SELECT v, row_number() OVER () n FROM again) b USING (n);
SELECT encode(dupn_vector_send(v), 'hex') FROM vectors WHERE dupn_vector_version(v) = 3;

-- what is refused
SELECT ''::dupn_vector;
\echo :SQLSTATE
SELECT '[]@1.1/0000000000000001/2026-01-01 00:00:00+00'::dupn_vector;
\echo :SQLSTATE
SELECT '[1,2]'::dupn_vector;
\echo :SQLSTATE
SELECT '[1,]@1.1/0000000000000001/2026-01-01 00:00:00+00'::dupn_vector;
\echo :SQLSTATE
SELECT '[1 ,2]@1.1/0000000000000001/2026-01-01 00:00:00+00'::dupn_vector;
\echo :SQLSTATE
SELECT '[1,2@1.1/0000000000000001/2026-01-01 00:00:00+00'::dupn_vector;
\echo :SQLSTATE
SELECT '[NaN]@1.1/0000000000000001/2026-01-01 00:00:00+00'::dupn_vector;
\echo :SQLSTATE
SELECT '[-Infinity]@1.1/0000000000000001/2026-01-01 00:00:00+00'::dupn_vector;
\echo :SQLSTATE
SELECT '[1e39]@1.1/0000000000000001/2026-01-01 00:00:00+00'::dupn_vector;
\echo :SQLSTATE
SELECT '[1]@1/0000000000000001/2026-01-01 00:00:00+00'::dupn_vector;
\echo :SQLSTATE
SELECT '[1]@-1.1/0000000000000001/2026-01-01 00:00:00+00'::dupn_vector;
\echo :SQLSTATE
SELECT '[1]@2147483648.1/0000000000000001/2026-01-01 00:00:00+00'::dupn_vector;
\echo :SQLSTATE
SELECT '[1]@1.1/8000000000000001/2026-01-01 00:00:00+00'::dupn_vector;
\echo :SQLSTATE
SELECT '[1]@1.1/000000000000001/2026-01-01 00:00:00+00'::dupn_vector;
\echo :SQLSTATE
SELECT '[1]@1.1/0000000000000001/now'::dupn_vector;
\echo :SQLSTATE
SELECT '[1]@1.1/0000000000000001/infinity'::dupn_vector;
\echo :SQLSTATE
SELECT '[1]@1.1/0000000000000001/2026-01-01 00:00:00+01'::dupn_vector;
\echo :SQLSTATE
SELECT '[1]@1.1/0000000000000001/2026-01-01'::dupn_vector;
\echo :SQLSTATE
-- a hint of the server, which differs between its versions
\set VERBOSITY terse
SELECT '[1]@1.1/0000000000000001/2026-13-01 00:00:00+00'::dupn_vector;
\set VERBOSITY default
\echo :SQLSTATE
SELECT '[1]@1.1/0000000000000001/2026-01-01 00:00:00+00x'::dupn_vector;
\echo :SQLSTATE
SELECT ('[' || repeat('0,', 16384) || '0]@1.1/0000000000000001/2026-01-01 00:00:00+00')::dupn_vector;
\echo :SQLSTATE
SELECT '[1]@1.1/0000000000000001/2026-01-01 00:00:00+00'::dupn_vector = '[1]@1.1/0000000000000001/2026-01-01 00:00:00+00'::dupn_vector;
\echo :SQLSTATE

-- refused in binary form, too
-- NaN
COPY again FROM PROGRAM $$printf 'PGCOPY\n\377\r\n\000\000\000\000\000\000\000\000\000\000\001\000\000\000\040\000\000\000\001\000\000\000\001\000\001\000\000\000\000\000\000\000\000\000\001\000\000\000\000\000\000\000\000\177\300\000\000\377\377' $$ (FORMAT binary);
\echo :SQLSTATE
-- no dimension
COPY again FROM PROGRAM $$printf 'PGCOPY\n\377\r\n\000\000\000\000\000\000\000\000\000\000\001\000\000\000\034\000\000\000\001\000\000\000\001\000\000\000\000\000\000\000\000\000\000\000\001\000\000\000\000\000\000\000\000\377\377' $$ (FORMAT binary);
\echo :SQLSTATE
-- too short
COPY again FROM PROGRAM $$printf 'PGCOPY\n\377\r\n\000\000\000\000\000\000\000\000\000\000\001\000\000\000\040\000\000\000\001\000\000\000\001\000\002\000\000\000\000\000\000\000\000\000\001\000\000\000\000\000\000\000\000\077\200\000\000\377\377' $$ (FORMAT binary);
\echo :SQLSTATE
-- too long
COPY again FROM PROGRAM $$printf 'PGCOPY\n\377\r\n\000\000\000\000\000\000\000\000\000\000\001\000\000\000\044\000\000\000\001\000\000\000\001\000\001\000\000\000\000\000\000\000\000\000\001\000\000\000\000\000\000\000\000\077\200\000\000\077\200\000\000\377\377' $$ (FORMAT binary);
\echo :SQLSTATE
-- a reserved bit
COPY again FROM PROGRAM $$printf 'PGCOPY\n\377\r\n\000\000\000\000\000\000\000\000\000\000\001\000\000\000\040\000\000\000\001\000\000\000\001\000\001\000\001\000\000\000\000\000\000\000\001\000\000\000\000\000\000\000\000\077\200\000\000\377\377' $$ (FORMAT binary);
\echo :SQLSTATE
-- an infinite time
COPY again FROM PROGRAM $$printf 'PGCOPY\n\377\r\n\000\000\000\000\000\000\000\000\000\000\001\000\000\000\040\000\000\000\001\000\000\000\001\000\001\000\000\000\000\000\000\000\000\000\001\177\377\377\377\377\377\377\377\077\200\000\000\377\377' $$ (FORMAT binary);
\echo :SQLSTATE
