-- Vectors that are given, and candidates as an array.
CREATE TABLE vectors AS SELECT u AS user_id, dupn_user_vector(u, model => 'paper') AS vector FROM generate_series(1, 1000) u;
ALTER TABLE vectors ALTER vector SET STORAGE PLAIN, ADD PRIMARY KEY (user_id);
CREATE TABLE candidates AS SELECT category_id, array_agg(id::bigint) AS items FROM products GROUP BY 1;
ALTER TABLE candidates ADD PRIMARY KEY (category_id);
VACUUM ANALYZE;
