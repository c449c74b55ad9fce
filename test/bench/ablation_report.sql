-- One line of test/bench/ablation.  Variable: line.
--
-- A difference is the mean over seeds.  Its interval joins two sources: which
-- users were judged (paired by user, from dupn_compare) and which seeds were
-- drawn (their spread, with one seed nothing).
WITH each AS (
	SELECT line, model, split_part(variant, ' ', 1) AS variant, split_part(other, ' ', 1) AS other, task, metric, value, other_value,
		value - other_value AS difference, (high - low) / 2 / 1.96 AS error, at
	FROM lab.compared WHERE line = :'line'
), mean AS (
	SELECT line, variant, other, task, metric, count(*) AS seeds, avg(value) AS value, avg(other_value) AS other_value, avg(difference) AS difference,
		1.96 * sqrt(avg(error) ^ 2 + coalesce(var_samp(difference), 0) / count(*)) AS half, min(at) AS at
	FROM each GROUP BY line, variant, other, task, metric
)
SELECT m.line, m.task, m.metric, m.variant, round(m.value::numeric, 4) AS value, m.other AS beside, round(m.other_value::numeric, 4) AS its_value,
	round(m.difference::numeric, 4) AS difference, round((m.difference - m.half)::numeric, 4) || ' .. ' || round((m.difference + m.half)::numeric, 4) AS interval,
	m.seeds, round(coalesce(d.figure, a.figure - b.figure)::numeric, 4) AS paper,
	coalesce(d.source, a.source || ': ' || round(a.figure::numeric, 4) || ' - ' || round(b.figure::numeric, 4)) AS source,
	CASE WHEN m.difference > m.half THEN 'above' WHEN m.difference < - m.half THEN 'below' ELSE 'no difference shown' END AS verdict
FROM mean m
LEFT JOIN lab.paper a ON a.variant = m.variant AND a.other IS NULL AND a.task = m.task
LEFT JOIN lab.paper b ON b.variant = m.other AND b.other IS NULL AND b.task = m.task
LEFT JOIN lab.paper d ON d.variant = m.variant AND d.other = m.other AND d.task = m.task
ORDER BY m.at, m.task;
SELECT :'line' = 'transfer' AS transfer \gset
\if :transfer
SELECT variant, count(*) AS seeds, round(avg(seconds)::numeric, 1) AS training_seconds FROM lab.trained
WHERE variant IN ('both', 'RS', 'RA', 'RT', 'FT') GROUP BY 1 ORDER BY 3;
\endif
