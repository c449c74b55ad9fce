-- Every metric of the trained versions, the mean over their seeds: the model,
-- then what counts on the same samples reach.  "model minus this" is paired by
-- user; its interval is that of the seed whose difference is least.
SELECT model, task, metric, slice, source, count(DISTINCT version) AS seeds,
	round(avg(value)::numeric, 4) AS value,
	round(avg(low)::numeric, 4) || ' .. ' || round(avg(high)::numeric, 4) AS interval,
	CASE WHEN source <> 'model' THEN round(avg(model_minus_this)::numeric, 4) END AS model_minus_this,
	CASE WHEN source <> 'model' THEN round(min(difference_low)::numeric, 4) || ' .. ' || round(max(difference_high)::numeric, 4) END AS its_interval,
	max(samples) AS samples
FROM dupn_baselines
WHERE metric IN ('hr@10', 'hr@20', 'ndcg@10', 'accuracy', 'auc', 'grouped_auc', 'log_loss') AND slice IN ('all', 'repeat', 'new')
GROUP BY model, task, metric, slice, source
ORDER BY model, task, slice, metric, source <> 'model', avg(value) DESC;
SELECT model, version, seed, round(training_seconds::numeric, 1) AS seconds, parameters, pg_size_pretty(bytes) AS size
FROM dupn_versions ORDER BY model, version;
SELECT job_id, model, message FROM dupn_jobs ORDER BY job_id;
