/*-------------------------------------------------------------------------
 *
 * metrics.c
 *	  Metrics with intervals from per-sample results
 *
 * All metrics are of all samples; those that a task is chosen by are also of
 * each slice.  doc/network.md defines them.
 *
 *-------------------------------------------------------------------------
 */
#include "train/resample.h"

#include <math.h>

#define MIN_SLICE	30			/* samples: of fewer, an interval says nothing */
#define MAX_CLASSES 20			/* with a precision and a recall of their own */

/* ---------------- one metric of all scorers ---------------- */

typedef struct Judge
{
	const Judged *judged;
	uint64		seed;
	Metrics    *metrics;
	bool		shown[SLICES];	/* they have enough samples */
	int32	   *order[MAX_RESULTS]; /* binary: samples by score */
	Resampled	of[MAX_RESULTS];	/* the metric at hand */
	bool		has[MAX_RESULTS];	/* scorers that it is known of */
} Judge;

static Metric *
metrics_add(Metrics *metrics)
{
	if (metrics->n == metrics->capacity)
	{
		metrics->capacity = Max(64, 2 * metrics->capacity);
		metrics->metric = metrics->metric ?
			repalloc(metrics->metric, sizeof(Metric) * metrics->capacity) :
			palloc(sizeof(Metric) * metrics->capacity);
	}
	return memset(&metrics->metric[metrics->n++], 0, sizeof(Metric));
}

/* The metric at hand becomes rows; the first scorer is the one that others are compared with. */
static void
add_metric(Judge *judge, const char *name, const char *slice)
{
	const Resampled *first = &judge->of[0];

	for (int r = 0; r < judge->judged->n_results; r++)
	{
		const Resampled *this = &judge->of[r];
		double		values[RESAMPLES];
		Metric	   *metric;

		if (!judge->has[r] || isnan(this->value))
			continue;
		metric = metrics_add(judge->metrics);
		metric->task = judge->judged->task;
		metric->source = judge->judged->results[r].source;
		metric->metric = pstrdup(name);
		metric->slice = pstrdup(slice);
		metric->value = this->value;
		metric->n = this->n;
		memcpy(values, this->resample, sizeof(values));
		percentiles(values, &metric->low, &metric->high);
		metric->difference = metric->difference_low = metric->difference_high = NAN;
		if (!judge->has[0])
			continue;
		metric->difference = first->value - this->value;
		for (int b = 0; b < RESAMPLES; b++)
			values[b] = first->resample[b] - this->resample[b];
		percentiles(values, &metric->difference_low, &metric->difference_high);
	}
}

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

/* Of samples that are said to be of class k, those that are; of a probability, above 1/2. */
static double
value_precision(const Judged *judged, const Results *results, int64 i, int k)
{
	int			said = results->predicted ? results->predicted[i] : results->score[i] > 0.5f;
	int			is = judged->label_class ? judged->label_class[i] : judged->label[i] > 0.5f;

	return said == k ? is == k : NAN;
}

/* Of samples of class k, those that are said to be. */
static double
value_recall(const Judged *judged, const Results *results, int64 i, int k)
{
	int			said = results->predicted ? results->predicted[i] : results->score[i] > 0.5f;
	int			is = judged->label_class ? judged->label_class[i] : judged->label[i] > 0.5f;

	return is == k ? said == k : NAN;
}

typedef enum Needs
{
	NEEDS_NOTHING,
	NEEDS_PROBABILITIES			/* a scorer that gives a log loss */
} Needs;

static void
mean_metric(Judge *judge, const char *name, Slice slice, const char *slice_name,
			SampleValue value, int k, Needs needs)
{
	for (int r = 0; r < judge->judged->n_results; r++)
		judge->has[r] = needs == NEEDS_NOTHING || judge->judged->results[r].log_loss != NULL;
	resampled_mean(judge->judged, slice, value, k, judge->seed, judge->has, judge->of);
	add_metric(judge, name, slice_name);
}

/* ---------------- metrics of one kind ---------------- */

static void
ranking_metrics(Judge *judge, Slice slice)
{
	const Judged *judged = judge->judged;
	Resampled  *r_precision = palloc(sizeof(Resampled) * judged->n_results);

	for (int r = 0; r < judged->n_results; r++)
	{
		judge->has[r] = true;
		resampled_ranking(judged, judged->results[r].score, judge->order[r], slice, judge->seed,
						  &judge->of[r], &r_precision[r]);
	}
	add_metric(judge, "auc", slice_name[slice]);
	memcpy(judge->of, r_precision, sizeof(Resampled) * judged->n_results);
	add_metric(judge, "r_precision", slice_name[slice]);
	pfree(r_precision);
}

/* AUC within a user, the mean over users with both labels, weighted by samples. */
static void
grouped_auc_metric(Judge *judge)
{
	const Judged *judged = judge->judged;
	Judged		within = *judged;
	Results    *results = palloc0(sizeof(Results) * judged->n_results);
	int32	   *order = palloc0_array_huge(int32, judged->n);
	int64		samples = 0;
	int64		n = 0;

	within.user = palloc0_array_huge(int32, judged->n);
	within.weight = palloc0_array_huge(float, judged->n);
	for (int r = 0; r < judged->n_results; r++)
		results[r].log_loss = palloc0_array_huge(float, judged->n);
	for (int64 i = 0, end; i < judged->n; i = end)
	{
		bool		both = false;

		for (end = i + 1; end < judged->n && judged->user[end] == judged->user[i]; end++)
			both = both || judged->label[end] != judged->label[i];
		if (!both)
			continue;
		within.user[n] = judged->user[i];
		within.weight[n] = (float) (end - i);
		for (int r = 0; r < judged->n_results; r++)
			results[r].log_loss[n] = (float) nn_auc(judged->results[r].score + i, judged->label + i,
													end - i, order);
		samples += end - i;
		n++;
	}
	within.n = n;
	within.results = results;
	for (int r = 0; r < judged->n_results; r++)
		judge->has[r] = n > 0;
	resampled_mean(&within, SLICE_ALL, value_log_loss, 0, judge->seed, judge->has, judge->of);
	for (int r = 0; r < judged->n_results; r++)
	{
		judge->of[r].n = samples;
		pfree(results[r].log_loss);
	}
	add_metric(judge, "grouped_auc", slice_name[SLICE_ALL]);
	pfree(order);
	pfree(within.user);
	pfree(within.weight);
	pfree(results);
}

/* Of several classes, whether the one that is said is right against its probability. */
static void
calibration_metric(Judge *judge)
{
	const Judged *judged = judge->judged;
	Calibration *bins[MAX_RESULTS] = {NULL};
	float	   *right = palloc0_array_huge(float, judged->n);
	int			first = judge->metrics->n;

	for (int r = 0; r < judged->n_results; r++)
	{
		const Results *results = &judged->results[r];

		judge->has[r] = results->log_loss != NULL && results->score != NULL;
		if (!judge->has[r])
			continue;
		for (int64 i = 0; i < judged->n; i++)
			right[i] = results->predicted ? results->predicted[i] == judged->label_class[i] : judged->label[i];
		bins[r] = palloc(sizeof(Calibration));
		resampled_calibration(judged, results->score, right, judge->seed, &judge->of[r], bins[r]);
	}
	add_metric(judge, "ece", slice_name[SLICE_ALL]);
	for (int i = first; i < judge->metrics->n; i++)
	{
		Metric	   *metric = &judge->metrics->metric[i];

		metric->low = Min(metric->low, metric->value);
		for (int r = 0; r < judged->n_results; r++)
			if (metric->source == judged->results[r].source)
				metric->bins = bins[r];
	}
	pfree(right);
}

static void
class_metrics(Judge *judge, const char *class_name, int k)
{
	char	   *slice = psprintf("class %s", class_name);
	Needs		needs = judge->judged->label_class ? NEEDS_NOTHING : NEEDS_PROBABILITIES;

	mean_metric(judge, "precision", SLICE_ALL, slice, value_precision, k, needs);
	mean_metric(judge, "recall", SLICE_ALL, slice, value_recall, k, needs);
}

/* The most frequent classes. */
static void
classes_metrics(Judge *judge)
{
	const Judged *judged = judge->judged;
	int64	   *count = palloc0(sizeof(int64) * judged->classes);

	for (int64 i = 0; i < judged->n; i++)
		count[judged->label_class[i]]++;
	for (int shown = 0; shown < MAX_CLASSES; shown++)
	{
		int			most = 0;

		for (int c = 1; c < judged->classes; c++)
			if (count[c] > count[most])
				most = c;
		if (count[most] < MIN_SLICE)
			break;
		class_metrics(judge, judged->class_name[most], most);
		count[most] = 0;
	}
	pfree(count);
}

/* ---------------- all of them ---------------- */

static void
next_item_metrics(Judge *judge, const ModelTask *task)
{
	int			main_k = task_main_k(task);

	for (Slice slice = 0; slice < SLICES; slice++)
	{
		/* of the user's past and of popularity, the main k only */
		bool		few = slice > SLICE_NEW;

		if (!judge->shown[slice])
			continue;
		for (int i = 0; i < task->options.n_k; i++)
		{
			int			k = task->options.k[i];

			if (few && k != main_k)
				continue;
			mean_metric(judge, psprintf("hr@%d", k), slice, slice_name[slice], value_hit, k, NEEDS_NOTHING);
			mean_metric(judge, psprintf("ndcg@%d", k), slice, slice_name[slice], value_ndcg, k, NEEDS_NOTHING);
		}
		if (!few)
			mean_metric(judge, "mrr", slice, slice_name[slice], value_reciprocal_rank, 0, NEEDS_NOTHING);
	}
}

static void
multiclass_metrics(Judge *judge)
{
	for (Slice slice = 0; slice < SLICES; slice++)
		if (judge->shown[slice])
		{
			mean_metric(judge, "accuracy", slice, slice_name[slice], value_correct, 0, NEEDS_NOTHING);
			mean_metric(judge, "log_loss", slice, slice_name[slice], value_log_loss, 0, NEEDS_PROBABILITIES);
		}
	calibration_metric(judge);
	classes_metrics(judge);
}

static void
binary_metrics(Judge *judge)
{
	const Judged *judged = judge->judged;

	for (int r = 0; r < judged->n_results; r++)
		judge->order[r] = score_order(judged, judged->results[r].score);
	for (Slice slice = 0; slice < SLICES; slice++)
		if (judge->shown[slice])
		{
			ranking_metrics(judge, slice);
			mean_metric(judge, "log_loss", slice, slice_name[slice], value_log_loss, 0, NEEDS_PROBABILITIES);
		}
	grouped_auc_metric(judge);
	calibration_metric(judge);
	class_metrics(judge, "0", 0);
	class_metrics(judge, "1", 1);
	for (int r = 0; r < judged->n_results; r++)
		pfree(judge->order[r]);
}

void
judge(const Judged *judged, const ModelTask *task, uint64 seed, Metrics *metrics)
{
	Judge	   *judge;

	Assert(judged->n_results <= MAX_RESULTS);
	if (judged->n == 0)
		return;

	judge = palloc0(sizeof(Judge));
	judge->judged = judged;
	judge->seed = seed;
	judge->metrics = metrics;
	judge->shown[SLICE_ALL] = true;
	for (Slice slice = SLICE_ALL + 1; slice < SLICES; slice++)
	{
		int64		n = 0;

		for (int64 i = 0; i < judged->n; i++)
			n += in_slice(judged, i, slice);
		judge->shown[slice] = n >= MIN_SLICE;
	}
	switch (task->kind)
	{
		case NN_NEXT_ITEM:
			next_item_metrics(judge, task);
			break;
		case NN_MULTICLASS:
			multiclass_metrics(judge);
			break;
		case NN_BINARY:
		case NN_RANK:
			binary_metrics(judge);
			break;
	}
	pfree(judge);
}
