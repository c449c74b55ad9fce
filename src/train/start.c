/*-------------------------------------------------------------------------
 *
 * start.c
 *	  Start values that are counted rather than drawn
 *
 * A departure from NETWORK.md, where item biases and the repeat term start at
 * 0: an optimizer that moves a parameter by a thousandth a step needs thousands
 * of steps to learn that a shopper's own items are a thousand times as likely
 * as others, and small shops do not have them.  So a next_item task starts as
 * the baseline it must beat: popularity, times how much more often than
 * popularity says an item of the window came next.
 *
 *-------------------------------------------------------------------------
 */
#include "train/start.h"

#include <math.h>

#include "train/dataset.h"

#define MOST_MOMENTS	200000	/* that repeats are counted from */
#define PRIOR			2.0		/* pseudo-counts */
#define COUNTS			5		/* of repeat.count */

/*
 * b_j: log of an item's share of the events over that of an average item, which
 * the bias of its key alone carries.  Items that share an id of the key share
 * one, the mean of theirs: those of a hash bucket, and the rare ones with those
 * of after the cut, of which nothing is known.  Returns the number of known
 * items.
 */
static int64
start_item_bias(const Dataset *data, const nn_layout *layout, int t, float *param)
{
	const Catalogue *catalogue = &data->catalogue;
	const nn_tensor *tensor = &layout->tensor[layout->task[t].item_bias[0]];
	const int32 *id = catalogue->feature[0].values;
	double	   *events = palloc0_array_huge(double, tensor->rows);	/* by id */
	double	   *items = palloc0_array_huge(double, tensor->rows);
	int64		n = 0;
	double		total = 0;

	for (int64 j = 0; j < catalogue->n; j++)
	{
		if (!data->known[j])
			continue;
		n++;
		total += catalogue->count[j];
		events[id[j]] += catalogue->count[j];
		items[id[j]] += 1;
	}
	for (int64 i = ID_UNKNOWN; n > 0 && i < tensor->rows; i++)
		param[tensor->offset + i] =
			(float) log((events[i] / Max(items[i], 1) + 0.5) / ((total + 0.5 * n) / n));
	pfree(events);
	pfree(items);
	return n;
}

/* How often an item of the window came next, and how often it would have by
 * its popularity alone. */
typedef struct Lift
{
	double		hits;
	double		expected;
} Lift;

typedef struct RepeatCounts
{
	const Dataset *data;
	const Moments *moments;
	int			task;
	const float *item_bias;		/* by id of the key */
	int64		n_known;		/* items that these are of */
	int			types,
				buckets;
	WindowItem *window;
	Lift	   *recency;		/* [types, buckets] */
	Lift		count[COUNTS];
	const float *start;			/* of repeat.recency, in the second pass */
} RepeatCounts;

static bool
is_target_item(const RepeatCounts *counts, const Moment *moment, int32 item)
{
	for (int64 event = moment->target; event < moment->target + moment->n_target; event++)
		if (counts->data->events->item[event] == item &&
			event_is_target(counts->data, counts->task, event))
			return true;
	return false;
}

static void
count_moment(RepeatCounts *counts, const Moment *moment)
{
	const Dataset *data = counts->data;
	const User *user = &data->users[moment->user];
	int			n;
	int64		start = event_window(data->events, data->set, user->start, moment->end, moment->time, &n);
	int			items = window_items(data->set, data->events, start, n, moment->time, counts->window);

	for (int i = 0; i < items; i++)
	{
		const WindowItem *w = &counts->window[i];
		int			at = Min(w->type, counts->types - 1) * counts->buckets + w->recency;
		double		expected = exp(counts->item_bias[data->catalogue.feature[0].values[w->item]]) /
			counts->n_known;
		bool		hit = is_target_item(counts, moment, w->item);

		if (counts->start == NULL)
		{
			counts->recency[at].hits += hit;
			counts->recency[at].expected += expected;
		}
		else
		{
			counts->count[Min(w->count, COUNTS - 1)].hits += hit;
			counts->count[Min(w->count, COUNTS - 1)].expected += expected * exp(counts->start[at]);
		}
	}
}

static void
count_moments(RepeatCounts *counts)
{
	int64		stride = counts->moments->count[SPLIT_TRAIN][counts->task] / MOST_MOMENTS + 1;
	int64		seen = 0;

	for (int64 i = 0; i < counts->moments->n; i++)
	{
		const Moment *moment = &counts->moments->moment[i];

		if (moment->split == SPLIT_TRAIN && moment->task < 0 && seen++ % stride == 0)
			count_moment(counts, moment);
		if (i % 1024 == 0)
			job_check();
	}
}

/* log of hits over what was expected, drawn towards that of all. */
static void
lifts_to_logits(const Lift *lift, int n, float *logit)
{
	double		hits = PRIOR;
	double		expected = PRIOR;

	for (int i = 0; i < n; i++)
	{
		hits += lift[i].hits;
		expected += lift[i].expected;
	}
	for (int i = 0; i < n; i++)
		logit[i] = (float) log((lift[i].hits + PRIOR) / (lift[i].expected + PRIOR * expected / hits));
}

static void
start_repeat(const Dataset *data, const Moments *moments, const nn_layout *layout, int t,
			 int64 n_known, float *param)
{
	const nn_tensor *recency = &layout->tensor[layout->task[t].repeat_recency];
	const nn_tensor *count = &layout->tensor[layout->task[t].repeat_count];
	RepeatCounts counts = {.data = data, .moments = moments, .task = t,
		.item_bias = param + layout->tensor[layout->task[t].item_bias[0]].offset,.n_known = n_known,
	.types = (int) recency->rows, .buckets = (int) recency->cols};

	if (recency->rows * recency->cols == 0)
		return;
	counts.window = palloc(sizeof(WindowItem) * Max(data->set->max_events, 1));
	counts.recency = palloc0(sizeof(Lift) * recency->rows * recency->cols);
	count_moments(&counts);
	lifts_to_logits(counts.recency, (int) (recency->rows * recency->cols), param + recency->offset);
	counts.start = param + recency->offset;
	count_moments(&counts);
	lifts_to_logits(counts.count, COUNTS, param + count->offset);
	pfree(counts.recency);
	pfree(counts.window);
}

void
start_values(const Dataset *data, const Moments *moments, const nn_config *config,
			 const nn_layout *layout, float *param)
{
	for (int t = 0; t < config->n_task; t++)
	{
		int64		n_known;

		/* what a version has is its own */
		if (config->task[t].kind != NN_NEXT_ITEM ||
			(data->base && image_find_task(data->base, config->task[t].name) >= 0))
			continue;
		n_known = start_item_bias(data, layout, t, param);
		if (n_known > 0 && layout->task[t].repeat_recency >= 0)
			start_repeat(data, moments, layout, t, n_known, param);
		if (n_known > 0 && layout->task[t].memory_lag >= 0)
			start_memory(data, moments, layout, t, param);
	}
}
