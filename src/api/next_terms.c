/*-------------------------------------------------------------------------
 *
 * next_terms.c
 *	  What a window adds to the scores of next_item, beside the inner product
 *
 *	m_j, the repeat term, of items in the window, and n_j, the memory term, of
 *	items that mostly come after those in it: see head_next.c and neighbours.h.
 *
 *-------------------------------------------------------------------------
 */
#include "api/next_terms.h"

#include <math.h>

static int
compare_repeats(const void *a, const void *b)
{
	const Repeat *x = a;
	const Repeat *y = b;

	return x->item < y->item ? -1 : x->item > y->item;
}

static void
find_repeats(const ModelImage *image, int task, const EventTable *events, int64 start, int n,
			 TimestampTz now, NextTerms *terms)
{
	const nn_task_tensors *tensors = &image->layout.task[task];
	int			buckets = image->config.recency;
	WindowItem *items;

	if (!image->config.task[task].repeat)
		return;
	items = palloc(sizeof(WindowItem) * (n + 1));
	terms->n_repeat = window_items(&image->set, events, start, n, now, items);
	terms->repeat = palloc(sizeof(Repeat) * (terms->n_repeat + 1));
	for (int i = 0; i < terms->n_repeat; i++)
	{
		const float *count = image->param + image->layout.tensor[tensors->repeat_count].offset;
		const float *recency = image->param + image->layout.tensor[tensors->repeat_recency].offset;

		terms->repeat[i].item = items[i].item;
		terms->repeat[i].term = count[Min(items[i].count, 4)];
		if (buckets > 0)
			terms->repeat[i].term += recency[items[i].type * buckets + items[i].recency];
	}
	qsort(terms->repeat, terms->n_repeat, sizeof(Repeat), compare_repeats);
	pfree(items);
}

static void
find_memory(const ModelImage *image, int task, const EventTable *events, int64 start, int n, NextTerms *terms)
{
	const Neighbours *neighbours = &image->task[task].neighbours;
	NeighbourEvent latest[NEIGHBOUR_EVENTS];
	const float *lag;

	if (image->config.task[task].memory == 0)
		return;
	lag = image->param + image->layout.tensor[image->layout.task[task].memory_lag].offset;
	terms->neighbours = neighbours;
	terms->n_memory = neighbour_events(events, start, n, latest);
	terms->memory = palloc(sizeof(MemoryRow) * (terms->n_memory + 1));
	for (int i = 0; i < terms->n_memory; i++)
		terms->memory[i] = (MemoryRow) {
			.at = neighbours->begin[latest[i].item],
			.end = neighbours->begin[latest[i].item] + neighbours->length[latest[i].item],
			.weight = expf(lag[latest[i].lag])
		};
}

void
next_terms_find(const ModelImage *image, int task, const EventTable *events, int64 start, int n,
				TimestampTz now, NextTerms *terms)
{
	memset(terms, 0, sizeof(*terms));
	find_repeats(image, task, events, start, n, now, terms);
	find_memory(image, task, events, start, n, terms);
}

void
next_terms_begin(const NextTerms *terms, NextPlace *place)
{
	place->repeat = 0;
	for (int i = 0; i < terms->n_memory; i++)
		place->memory[i] = terms->memory[i];
}

void
next_terms_add(const NextTerms *terms, NextPlace *place, int64 first, int n, float *score)
{
	const Neighbours *neighbours = terms->neighbours;
	float		sum[NEXT_BLOCK];

	memset(sum, 0, sizeof(float) * n);
	for (int i = 0; i < terms->n_memory; i++)
		for (MemoryRow *row = &place->memory[i]; row->at < row->end && neighbours->items[row->at] < first + n; row->at++)
			sum[neighbours->items[row->at] - first] += row->weight * neighbours->values[row->at];
	for (; place->repeat < terms->n_repeat && terms->repeat[place->repeat].item < first + n; place->repeat++)
	{
		const Repeat *repeat = &terms->repeat[place->repeat];

		score[repeat->item - first] += repeat->term;
		sum[repeat->item - first] = 0;
	}
	for (int j = 0; j < n && terms->n_memory > 0; j++)
		if (sum[j] > 0)
			score[j] += log1pf(sum[j]);
}

float
next_terms_of(const NextTerms *terms, int32 item)
{
	float		sum = 0;

	for (int i = 0; i < terms->n_repeat; i++)
		if (terms->repeat[i].item == item)
			return terms->repeat[i].term;
	for (int i = 0; i < terms->n_memory; i++)
		for (int64 at = terms->memory[i].at; at < terms->memory[i].end; at++)
			if (terms->neighbours->items[at] == item)
				sum += terms->memory[i].weight * terms->neighbours->values[at];
	return log1pf(sum);
}
