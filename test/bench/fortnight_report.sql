-- The fortnight as a table of means, and what versions take.
\pset format aligned
\pset tuples_only off
\pset footer off
\echo
SELECT task, metric, round(avg(value) FILTER (WHERE source = 'nightly')::numeric, 4) AS nightly,
	round(avg(value) FILTER (WHERE source = 'full')::numeric, 4) AS "full training",
	round(avg(value) FILTER (WHERE source = 'alone')::numeric, 4) AS "left alone",
	round((100 * (avg(value) FILTER (WHERE source = 'nightly') - avg(value) FILTER (WHERE source = 'full')))::numeric, 2) AS "points to full",
	round((100 * min(value - full_value) FILTER (WHERE source = 'nightly'))::numeric, 2) AS "worst night",
	count(*) FILTER (WHERE source = 'nightly' AND value < full_value - 0.003) AS "nights beyond .3",
	count(*) FILTER (WHERE source = 'nightly' AND value < alone_value) AS "nights below alone"
FROM (SELECT a.*, max(value) FILTER (WHERE source = 'full') OVER w AS full_value, max(value) FILTER (WHERE source = 'alone') OVER w AS alone_value
	  FROM answer a WINDOW w AS (PARTITION BY night, task, metric)) a
GROUP BY task, metric ORDER BY 1, 2;
SELECT round(avg(seconds)::numeric, 2) AS "seconds a night", round(avg(full_seconds)::numeric, 2) AS "seconds a full training",
	round((avg(seconds) / avg(full_seconds))::numeric, 3) AS share FROM night WHERE night > 0;
SELECT * FROM (SELECT version, mode, events, items, bytes FROM dupn_versions WHERE model = 'nightly' ORDER BY version) v;
