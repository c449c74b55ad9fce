/*-------------------------------------------------------------------------
 *
 * start_memory.c
 *	  Start values of the memory term: the most likely ones without a network
 *
 * With popularity and the repeat term given, an item's share of what comes next
 * is a mixture whose weights are those of the lags:
 *
 *	  w_j (1 + sum_l v_jl g_l),  w_j = exp(b_j + m_j),  g_l = exp(memory.lag[l])
 *
 * over its sum W + sum_l A_l g_l, W = sum_j w_j, A_l = sum_j w_j v_jl.  Of a
 * sample only W, A and its target's v are needed, and each round
 *
 *	  g_l = sum of the lag's parts in the targets' shares / sum of A_l over that sum
 *
 * makes the samples more likely (a minorization: the logarithm of the sum is
 * below its tangent).
 *
 *-------------------------------------------------------------------------
 */
#include "train/start.h"

#include <math.h>

#include "train/dataset.h"
#include "train/memory.h"

#define MOST_MOMENTS	20000
#define ROUNDS			200
#define PRIOR			.1		/* g of a lag that no sample has, */
#define PRIOR_SAMPLES	1.0		/* and how many samples that is worth */

/* A target of a moment. */
typedef struct Target
{
	double		weight;
	double		all;			/* W */
	double		sum[LAG_BUCKETS];	/* A */
	double		value[LAG_BUCKETS]; /* v */
} Target;

typedef struct Fit
{
	const Dataset *data;
	int			task;
	const nn_layout *layout;
	const float *param;
	MemoryTerms *terms;
	WindowItem *window;
	double	   *share;			/* [J] exp(b_j), 0 for unknown items */
	double		all;			/* of them */
	double	   *repeat;			/* [J] exp(m_j), 1 but in the window */
	Target	   *target;
	int64		n,
				capacity;
} Fit;

/* exp(m_j) of the window's items; what it adds to the sum of all. */
static double
set_repeats(Fit *fit, int items)
{
	const nn_task_tensors *tensors = &fit->layout->task[fit->task];
	const nn_tensor *recency = &fit->layout->tensor[tensors->repeat_recency];
	const nn_tensor *count = &fit->layout->tensor[tensors->repeat_count];
	double		more = 0;

	for (int i = 0; i < items; i++)
	{
		const WindowItem *w = &fit->window[i];
		double		logit = fit->param[count->offset + Min(w->count, count->cols - 1)];

		if (recency->cols > 0)
			logit += fit->param[recency->offset + Min(w->type, recency->rows - 1) * recency->cols + w->recency];
		fit->repeat[w->item] = exp(logit);
		more += fit->share[w->item] * expm1(logit);
	}
	return more;
}

static void
add_targets(Fit *fit, const Moment *moment, const Target *all, const MemoryTerm *term, int64 n_terms)
{
	const Dataset *data = fit->data;
	int64		first = fit->n;

	for (int64 event = moment->target; event < moment->target + moment->n_target; event++)
	{
		Target	   *target;

		if (!event_is_target(data, fit->task, event))
			continue;
		if (fit->n == fit->capacity)
		{
			fit->capacity = Max(1024, 2 * fit->capacity);
			fit->target = array_resize(fit->target, fit->capacity, sizeof(Target), CurrentMemoryContext);
		}
		target = &fit->target[fit->n++];
		*target = *all;
		for (int64 i = 0; i < n_terms; i++)
			if (term[i].item == data->events->item[event])
				target->value[term[i].lag] += term[i].value;
	}
	for (int64 i = first; i < fit->n; i++)
		fit->target[i].weight = 1.0 / (fit->n - first);
}

static void
add_moment(Fit *fit, const Moment *moment)
{
	const Dataset *data = fit->data;
	const MemoryTerm *term;
	Target		all = {.all = fit->all};
	int			n;
	int64		start = event_window(data->events, data->set, data->users[moment->user].start, moment->end,
									 moment->time, &n);
	int64		n_terms = memory_terms(fit->terms, moment, start, n, &term);
	int			items = 0;

	/* without a term nothing is learned of its weight */
	if (n_terms == 0)
		return;
	if (fit->layout->task[fit->task].repeat_recency >= 0)
	{
		items = window_items(data->set, data->events, start, n, moment->time, fit->window);
		all.all += set_repeats(fit, items);
	}
	for (int64 i = 0; i < n_terms; i++)
		all.sum[term[i].lag] += fit->share[term[i].item] * fit->repeat[term[i].item] * term[i].value;
	add_targets(fit, moment, &all, term, n_terms);
	for (int i = 0; i < items; i++)
		fit->repeat[fit->window[i].item] = 1;
}

/* Returns the largest relative change. */
static double
fit_round(const Fit *fit, double *gain)
{
	double		hits[LAG_BUCKETS];
	double		expected[LAG_BUCKETS];
	double		change = 0;

	for (int l = 0; l < LAG_BUCKETS; l++)
	{
		hits[l] = PRIOR * PRIOR_SAMPLES;
		expected[l] = PRIOR_SAMPLES;
	}
	for (int64 i = 0; i < fit->n; i++)
	{
		const Target *target = &fit->target[i];
		double		all = target->all;
		double		own = 1;

		for (int l = 0; l < LAG_BUCKETS; l++)
		{
			all += gain[l] * target->sum[l];
			own += gain[l] * target->value[l];
		}
		for (int l = 0; l < LAG_BUCKETS; l++)
		{
			hits[l] += target->weight * gain[l] * target->value[l] / own;
			expected[l] += target->weight * target->sum[l] / all;
		}
	}
	for (int l = 0; l < LAG_BUCKETS; l++)
	{
		double		now = hits[l] / expected[l];

		change = Max(change, fabs(now / gain[l] - 1));
		gain[l] = now;
	}
	return change;
}

void
start_memory(const Dataset *data, const Moments *moments, const nn_layout *layout, int t, float *param)
{
	const nn_tensor *lag = &layout->tensor[layout->task[t].memory_lag];
	const float *item_bias = param + layout->tensor[layout->task[t].item_bias[0]].offset;
	const int32 *id = data->catalogue.feature[0].values;
	int64		n = data->catalogue.n;
	int64		stride = moments->count[SPLIT_TRAIN][t] / MOST_MOMENTS + 1;
	int64		seen = 0;
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "dupn memory start", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	Fit			fit = {.data = data,.task = t,.layout = layout,.param = param};
	double		gain[LAG_BUCKETS];

	fit.terms = memory_terms_make(data, t, layout->task[t].repeat_recency >= 0, context);
	fit.window = palloc(sizeof(WindowItem) * Max(data->set->max_events, 1));
	fit.share = palloc0_array_huge(double, n);
	fit.repeat = palloc0_array_huge(double, n);
	for (int64 j = 0; j < n; j++)
	{
		fit.repeat[j] = 1;
		fit.share[j] = data->known[j] ? exp(item_bias[id[j]]) : 0;
		fit.all += fit.share[j];
	}
	for (int64 i = 0; i < moments->n; i++)
	{
		const Moment *moment = &moments->moment[i];

		if (moment->split == SPLIT_TRAIN && moment->task < 0 && seen++ % stride == 0)
			add_moment(&fit, moment);
		if (i % 1024 == 0)
			job_check();
	}
	for (int l = 0; l < LAG_BUCKETS; l++)
		gain[l] = PRIOR;
	for (int round = 0; round < ROUNDS && fit_round(&fit, gain) > 1e-3; round++)
		job_check();
	Assert(lag->cols == LAG_BUCKETS);
	for (int l = 0; l < LAG_BUCKETS; l++)
		param[lag->offset + l] = (float) log(gain[l]);
	elog(DEBUG1, "memory.lag starts with %.3f %.3f %.3f %.3f %.3f %.3f %.3f %.3f",
		 gain[0], gain[1], gain[2], gain[3], gain[4], gain[5], gain[6], gain[7]);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}
