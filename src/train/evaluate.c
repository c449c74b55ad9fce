/*-------------------------------------------------------------------------
 *
 * evaluate.c
 *	  Metrics with intervals from per-sample results
 *
 * Intervals are 95 % percentiles of a Poisson bootstrap by user: every user's
 * samples enter a resample 0, 1, 2, .. times together, since a user's samples
 * are not independent.  All scorers see the same resamples, so the interval of
 * a difference is paired.
 *
 *-------------------------------------------------------------------------
 */
#include "train/train.h"

#include <math.h>

#define RESAMPLES 200

/* Poisson(1) by inversion */
static int
poisson(uint64 *random)
{
	double		u = nn_random_uniform(random);
	double		p = exp(-1.0);
	double		sum = p;
	int			k = 0;

	while (u >= sum && k < 8)
	{
		p /= ++k;
		sum += p;
	}
	return k;
}

static int
compare_double(const void *a, const void *b)
{
	double		x = *(const double *) a;
	double		y = *(const double *) b;

	return x < y ? -1 : x > y;
}

/* The 2.5 and 97.5 percentiles of the finite values. */
static void
interval(double *values, double *low, double *high)
{
	int			n = 0;

	for (int i = 0; i < RESAMPLES; i++)
		if (isfinite(values[i]))
			values[n++] = values[i];
	qsort(values, n, sizeof(double), compare_double);
	*low = n > 0 ? values[(int) (0.025 * (n - 1) + 0.5)] : NAN;
	*high = n > 0 ? values[(int) (0.975 * (n - 1) + 0.5)] : NAN;
}

static void
add_metric(Metrics *metrics, const Judged *judged, int scorer, const char *name, const char *slice,
		   double value, double *resampled, double model, const double *resampled_model, int64 n)
{
	Metric	   *metric;
	double		difference[RESAMPLES];

	if (metrics->n == metrics->capacity)
	{
		metrics->capacity = Max(64, 2 * metrics->capacity);
		metrics->metric = metrics->metric ?
			repalloc(metrics->metric, sizeof(Metric) * metrics->capacity) :
			palloc(sizeof(Metric) * metrics->capacity);
	}
	for (int b = 0; b < RESAMPLES; b++)
		difference[b] = resampled_model[b] - resampled[b];

	metric = &metrics->metric[metrics->n++];
	metric->task = judged->task;
	metric->source = judged->results[scorer].source;
	metric->metric = pstrdup(name);
	metric->slice = slice;
	metric->value = value;
	metric->difference = model - value;
	metric->n = n;
	interval(difference, &metric->difference_low, &metric->difference_high);
	interval(resampled, &metric->low, &metric->high);
}

/* What a metric is the mean of: its value for one sample, NAN to leave it out. */
typedef double (*SampleValue) (const Judged *judged, const Results *results, int64 i, int k);

static double
value_hit(const Judged *judged, const Results *results, int64 i, int k)
{
	return nn_hit(results->rank[i], k);
}

static double
value_ndcg(const Judged *judged, const Results *results, int64 i, int k)
{
	return nn_ndcg(results->rank[i], k);
}

static double
value_reciprocal_rank(const Judged *judged, const Results *results, int64 i, int k)
{
	return nn_reciprocal_rank(results->rank[i]);
}

static double
value_correct(const Judged *judged, const Results *results, int64 i, int k)
{
	return results->predicted[i] == judged->label_class[i];
}

static double
value_log_loss(const Judged *judged, const Results *results, int64 i, int k)
{
	return results->log_loss[i];
}

/* Slices: all samples, targets seen before, targets new to the user. */
static const char *const slices[] = {"all", "repeat", "new"};

static bool
in_slice(const Judged *judged, int64 i, int slice)
{
	return slice == 0 || (judged->repeat[i] != 0) == (slice == 1);
}

/* A metric that is a weighted mean over samples, for every scorer that has it. */
static void
mean_metric(const Judged *judged, int slice, const char *name, SampleValue value, int k,
			bool needs_log_loss, uint64 seed, Metrics *metrics)
{
	int			users = judged->n > 0 ? judged->user[judged->n - 1] + 1 : 0;
	double	   *weight = palloc0_array_huge(double, users);
	double	   *sum[MAX_RESULTS];
	double		resampled[MAX_RESULTS][RESAMPLES];
	double		total[MAX_RESULTS] = {0};
	double		total_weight = 0;
	int64		n = 0;

	for (int64 i = 0; i < judged->n; i++)
		if (in_slice(judged, i, slice))
		{
			weight[judged->user[i]] += judged->weight[i];
			total_weight += judged->weight[i];
			n++;
		}
	for (int r = 0; r < judged->n_results; r++)
	{
		sum[r] = palloc0_array_huge(double, users);
		if (needs_log_loss && judged->results[r].log_loss == NULL)
			continue;
		for (int64 i = 0; i < judged->n; i++)
			if (in_slice(judged, i, slice))
			{
				double		x = judged->weight[i] * value(judged, &judged->results[r], i, k);

				sum[r][judged->user[i]] += x;
				total[r] += x;
			}
	}
	for (int b = 0; n > 0 && b < RESAMPLES; b++)
	{
		double		w = 0;
		double		s[MAX_RESULTS] = {0};
		uint64		random = seed + b;

		for (int u = 0; u < users; u++)
		{
			int			times;

			if (weight[u] == 0)
				continue;
			times = poisson(&random);
			if (times == 0)
				continue;
			w += times * weight[u];
			for (int r = 0; r < judged->n_results; r++)
				s[r] += times * sum[r][u];
		}
		for (int r = 0; r < judged->n_results; r++)
			resampled[r][b] = w > 0 ? s[r] / w : NAN;
		job_check();
	}
	if (n > 0)
	{
		double		model[RESAMPLES];

		memcpy(model, resampled[0], sizeof(model));
		for (int r = 0; r < judged->n_results; r++)
			if (!needs_log_loss || judged->results[r].log_loss != NULL)
				add_metric(metrics, judged, r, name, slices[slice], total[r] / total_weight,
						   resampled[r], total[0] / total_weight, model, n);
	}
	for (int r = 0; r < judged->n_results; r++)
		pfree(sum[r]);
	pfree(weight);
}

/*
 * AUC of samples counted times[user] times each, from the order by score;
 * ties count half.  NAN without both labels.
 */
static double
counted_auc(const Judged *judged, const float *score, const int32 *order, const uint8 *times)
{
	double		positives = 0;
	double		negatives = 0;
	double		pairs = 0;

	for (int64 i = 0; i < judged->n;)
	{
		double		p = 0;
		double		q = 0;
		float		tied = score[order[i]];

		for (; i < judged->n && score[order[i]] == tied; i++)
		{
			int			t = times ? times[judged->user[order[i]]] : 1;

			if (judged->label[order[i]] > 0.5f)
				p += t;
			else
				q += t;
		}
		pairs += p * (negatives + q / 2);
		positives += p;
		negatives += q;
	}
	return positives > 0 && negatives > 0 ? pairs / (positives * negatives) : NAN;
}

static int
compare_score(const void *a, const void *b, void *arg)
{
	const float *score = arg;
	float		x = score[*(const int32 *) a];
	float		y = score[*(const int32 *) b];

	return x < y ? -1 : x > y;
}

static void
auc_metric(const Judged *judged, uint64 seed, Metrics *metrics)
{
	int			users = judged->user[judged->n - 1] + 1;
	uint8	   *times = palloc0_array_huge(uint8, users);
	int32	   *order = palloc0_array_huge(int32, judged->n);
	double		model[RESAMPLES];
	double		resampled[RESAMPLES];
	double		model_value = NAN;

	for (int r = 0; r < judged->n_results; r++)
	{
		const float *score = judged->results[r].score;
		double		value;

		for (int64 i = 0; i < judged->n; i++)
			order[i] = (int32) i;
		qsort_arg(order, judged->n, sizeof(int32), compare_score, (void *) score);
		value = counted_auc(judged, score, order, NULL);
		for (int b = 0; b < RESAMPLES; b++)
		{
			uint64		random = seed + b;

			for (int u = 0; u < users; u++)
				times[u] = (uint8) poisson(&random);
			resampled[b] = counted_auc(judged, score, order, times);
			job_check();
		}
		if (r == 0)
		{
			model_value = value;
			memcpy(model, resampled, sizeof(model));
		}
		add_metric(metrics, judged, r, "auc", "all", value, resampled, model_value, model, judged->n);
	}
	pfree(order);
	pfree(times);
}

/* AUC within a user, the mean over users with both labels, weighted by samples. */
static void
grouped_auc_metric(const Judged *judged, uint64 seed, Metrics *metrics)
{
	Judged		within = *judged;
	Results    *results = palloc0(sizeof(Results) * judged->n_results);
	int32	   *order = palloc0_array_huge(int32, judged->n);
	int64		n = 0;

	within.results = results;
	within.user = palloc0_array_huge(int32, judged->n);
	within.weight = palloc0_array_huge(float, judged->n);
	for (int r = 0; r < judged->n_results; r++)
	{
		results[r].source = judged->results[r].source;
		results[r].log_loss = palloc0_array_huge(float, judged->n);
	}
	for (int64 i = 0, end; i < judged->n; i = end)
	{
		bool		both = false;

		for (end = i + 1; end < judged->n && judged->user[end] == judged->user[i]; end++)
			both = both || judged->label[end] != judged->label[i];
		if (!both)
			continue;
		within.user[n] = (int32) n;
		within.weight[n] = (float) (end - i);
		for (int r = 0; r < judged->n_results; r++)
			results[r].log_loss[n] = (float) nn_auc(judged->results[r].score + i, judged->label + i,
													end - i, order);
		n++;
	}
	within.n = n;
	if (n > 0)
		mean_metric(&within, 0, "grouped_auc", value_log_loss, 0, false, seed, metrics);
}

void
judge(const Judged *judged, const ModelTask *task, uint64 seed, Metrics *metrics)
{
	char		name[32];

	Assert(judged->n_results <= MAX_RESULTS);
	if (judged->n == 0)
		return;

	switch (task->kind)
	{
		case NN_NEXT_ITEM:
			for (int slice = 0; slice < 3; slice++)
			{
				for (int i = 0; i < task->options.n_k; i++)
				{
					int			k = task->options.k[i];

					snprintf(name, sizeof(name), "hr@%d", k);
					mean_metric(judged, slice, name, value_hit, k, false, seed, metrics);
					snprintf(name, sizeof(name), "ndcg@%d", k);
					mean_metric(judged, slice, name, value_ndcg, k, false, seed, metrics);
				}
				mean_metric(judged, slice, "mrr", value_reciprocal_rank, 0, false, seed, metrics);
			}
			break;
		case NN_MULTICLASS:
			mean_metric(judged, 0, "accuracy", value_correct, 0, false, seed, metrics);
			mean_metric(judged, 0, "log_loss", value_log_loss, 0, true, seed, metrics);
			break;
		case NN_BINARY:
		case NN_RANK:
			auc_metric(judged, seed, metrics);
			grouped_auc_metric(judged, seed, metrics);
			mean_metric(judged, 0, "log_loss", value_log_loss, 0, true, seed, metrics);
			break;
	}
}
