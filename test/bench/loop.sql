-- One user's vector in a loop of one session: milliseconds, without a client.
CREATE TEMP TABLE timing (milliseconds float8);
DO $$
DECLARE
	begun timestamptz;
	v dupn_vector;
BEGIN
	FOR i IN 1 .. 2100 LOOP
		begun := clock_timestamp();
		v := dupn_user_vector(1 + i * 7919 % 20000, model => 'paper');
		INSERT INTO timing SELECT extract(epoch FROM clock_timestamp() - begun) * 1000 WHERE i > 100;
	END LOOP;
END $$;
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY milliseconds) FROM timing;
