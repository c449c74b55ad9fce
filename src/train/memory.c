/*-------------------------------------------------------------------------
 *
 * memory.c
 *	  The memory term of next_item in training
 *
 * S is counted from all training events, those of the sample at hand and of
 * its user's future too, which serving never has: with them the term would
 * learn to repeat what it was told.  So the terms of a sample are made of S as
 * it would be had the user's events ended before the target: from each entry
 * the pairs of the user's own events are subtracted whose second event is at
 * or after the target.  In an entry that nothing else made nothing is left.  A
 * version that is judged is judged as it serves, with all it has.
 *
 * Where there is a repeat term, items of the window have no memory term, here
 * and in serving: what the user did lately is in S while training looks back
 * at it, but not on the day after, and the repeat term must not lean on it.
 *
 *-------------------------------------------------------------------------
 */
#include "train/memory.h"

#include <math.h>

#include "train/dataset.h"
#include "train/item_table.h"
#include "utils/memutils.h"

#define SHRINK		5.0
#define LEAST_SUM	1e-3		/* of pairs; below it is rounding */

static const PairRule rule_of_all = {.reach = 10, .decay = .7f, .back = .2f, .latest = 1000, .after = DT_NOBEGIN};

PairRule
memory_rule(int task)
{
	PairRule	rule = rule_of_all;

	rule.task = task;
	return rule;
}

double
memory_lift(double sum, double from, double to, double events)
{
	return sum * events / ((from + SHRINK) * (to + SHRINK));
}

double
memory_sum(double lift, double from, double to, double events)
{
	return lift * (from + SHRINK) * (to + SHRINK) / events;
}

/* ---------------- counting ---------------- */

static const int64 *prune_count;

/* Neither the rare nor the frequent take all places. */
static double
strength(const Neighbour *neighbour)
{
	return neighbour->sum / sqrt(prune_count[neighbour->item] + SHRINK);
}

static int
compare_strength(const void *a, const void *b)
{
	const Neighbour *x = a;
	const Neighbour *y = b;
	double		p = strength(x);
	double		q = strength(y);

	if (p != q)
		return p > q ? -1 : 1;
	return x->item < y->item ? -1 : x->item > y->item;
}

static int
compare_items(const void *a, const void *b)
{
	const Neighbour *x = a;
	const Neighbour *y = b;

	return x->item < y->item ? -1 : x->item > y->item;
}

int
memory_prune(Neighbour *row, int64 size, const int64 *count)
{
	if (size <= MOST_NEIGHBOURS)
		return (int) size;
	prune_count = count;
	qsort(row, size, sizeof(Neighbour), compare_strength);
	qsort(row, MOST_NEIGHBOURS, sizeof(Neighbour), compare_items);
	return MOST_NEIGHBOURS;
}

static void
count_neighbours(Dataset *data, int task)
{
	PairRule	rule = memory_rule(task);
	ItemTable  *table = item_table(data, &rule);
	TaskMemory *memory = &data->item_memory[task];
	const int64 *count = memory->count;
	int64		n = data->catalogue.n;
	int64	   *begins = MemoryContextAllocHuge(data->context, sizeof(int64) * Max(n, 1));
	int32	   *lengths = MemoryContextAllocHuge(data->context, sizeof(int32) * Max(n, 1));
	Column	   *items = column_add(data->store, sizeof(int32), &memory->neighbours.items);
	Column	   *values = column_add(data->store, sizeof(float), &memory->neighbours.values);
	Neighbour  *row = NULL;
	int64		capacity = 0;

	for (int64 i = 0; i < n; i++)
	{
		int64		begin = table->offsets[i];
		int64		size = table->offsets[i + 1] - begin;

		if (size > capacity)
		{
			capacity = 2 * size;
			row = array_resize(row, capacity, sizeof(Neighbour), CurrentMemoryContext);
		}
		for (int64 k = 0; k < size; k++)
		{
			const Pair *pair = &table->pair[begin + k];

			row[k] = (Neighbour) {pair->to, pair->weight};
		}
		size = memory_prune(row, size, count);
		begins[i] = items->n;
		lengths[i] = (int32) size;
		for (int64 k = 0; k < size; k++)
		{
			float		value = (float) memory_lift(row[k].sum, count[i], count[row[k].item], memory->events);

			column_append(items, &row[k].item, 1);
			column_append(values, &value, 1);
		}
		if (i % 1024 == 0)
			job_check();
	}
	column_finish(items);
	column_finish(values);
	memory->neighbours.begin = begins;
	memory->neighbours.length = lengths;
	memory->neighbours.n = items->n;
	memory->stride = memory->scale = table->stride;
	if (row)
		pfree(row);
	item_table_free(table);
}

/* Room for the rows of the items that came tonight, which are empty. */
static void
memory_extend(Dataset *data, Neighbours *neighbours, int64 n_old)
{
	int64		n = data->catalogue.n;
	int64	   *begin = MemoryContextAllocExtended(data->context, sizeof(int64) * Max(n, 1),
												   MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	int32	   *length = MemoryContextAllocExtended(data->context, sizeof(int32) * Max(n, 1),
													MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);

	if (n_old > 0)
	{
		memcpy(begin, neighbours->begin, sizeof(int64) * n_old);
		memcpy(length, neighbours->length, sizeof(int32) * n_old);
	}
	neighbours->begin = begin;
	neighbours->length = length;
}

void
memory_learn(Dataset *data, int task)
{
	const ModelImage *base = data->base;
	int			known = base ? image_find_task(base, data->model->task[task].name) : -1;
	TaskMemory *memory = &data->item_memory[task];

	/* a night's catalogue goes on from the version's counts; for now S knows no more than those */
	memory->count = data->catalogue.count;
	if (known >= 0 && data->since == DT_NOBEGIN)
		memory->count = base->catalogue.count;
	for (int64 j = 0; j < data->catalogue.n; j++)
		memory->events += memory->count[j];
	if (known < 0)
	{
		count_neighbours(data, task);
		return;
	}

	/* whom the version counted is not known: all of them, then */
	memory->neighbours = base->task[known].neighbours;
	memory->scale = base->task[known].memory_scale;
	memory->stride = 1;
	if (data->since != DT_NOBEGIN)
		memory_extend(data, &memory->neighbours, base->catalogue.n);
}

/* ---------------- terms ---------------- */

/* What pairs of the user's own add to an entry of S, and should not. */
typedef struct Own
{
	int64		entry;
	double		sum;
} Own;

struct MemoryTerms
{
	const Dataset *data;
	const Neighbours *neighbours;
	MemoryContext context;
	PairRule	rule;
	double		own_weight;		/* of a user's own pairs in the sums */
	float	   *sum;			/* [J] zero but for touched items */
	int32	   *touched;
	int64		n_touched;
	uint8	   *looked_at;		/* [J] 1: of an event that is looked at */
	uint8	   *in_window;		/* [J] 1: left to the repeat term; NULL: there is none */
	Own		   *own;
	int64		n_own,
				own_capacity;
	MemoryTerm *term;
	int64		n,
				capacity;
};

MemoryTerms *
memory_terms_make(const Dataset *data, int task, bool repeats, MemoryContext context)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	MemoryTerms *terms = palloc0(sizeof(MemoryTerms));
	int64		n = data->catalogue.n;

	terms->data = data;
	terms->neighbours = &data->item_memory[task].neighbours;
	terms->context = context;
	terms->rule = memory_rule(task);
	terms->own_weight = data->since == DT_NOBEGIN ? 1 : 1.0 / data->item_memory[task].scale;
	terms->sum = palloc0_array_huge(float, n);
	terms->touched = palloc0_array_huge(int32, n);
	terms->looked_at = palloc0_array_huge(uint8, n);
	if (repeats)
		terms->in_window = palloc0_array_huge(uint8, n);
	MemoryContextSwitchTo(old);
	return terms;
}

static int
compare_own(const void *a, const void *b)
{
	const Own  *x = a;
	const Own  *y = b;

	if (x->entry != y->entry)
		return x->entry < y->entry ? -1 : 1;
	return x->sum < y->sum ? -1 : x->sum > y->sum;
}

static void
add_own(MemoryTerms *terms, int32 from, int32 to, double weight)
{
	int64		entry;

	if (!terms->looked_at[from])
		return;
	entry = neighbours_find(terms->neighbours, from, to);
	if (entry < 0)
		return;
	if (terms->n_own == terms->own_capacity)
	{
		terms->own_capacity = Max(64, 2 * terms->own_capacity);
		terms->own = array_resize(terms->own, terms->own_capacity, sizeof(Own), terms->context);
	}
	terms->own[terms->n_own++] = (Own) {entry, weight * terms->own_weight};
}

/* The user's own pairs from row `first` on whose first item is looked at, by entry. */
static void
find_own(MemoryTerms *terms, const User *user, int64 first)
{
	const Dataset *data = terms->data;
	const int32 *item = data->events->item;
	int64		begin;
	int64		end;
	int64		n = 0;

	terms->n_own = 0;
	item_table_events(data, &terms->rule, user, &begin, &end);
	for (int64 b = Max(first, begin); b < end; b++)
	{
		double		weight = 1;
		int			distance = 0;
		bool		is_target = event_is_target(data, terms->rule.task, b);

		if (item[b] < 0)
			continue;
		for (int64 a = b - 1; a >= begin && distance < terms->rule.reach; a--)
		{
			if (item[a] < 0)
				continue;
			if (item[a] != item[b])
			{
				if (is_target)
					add_own(terms, item[a], item[b], weight);
				if (event_is_target(data, terms->rule.task, a))
					add_own(terms, item[b], item[a], weight * terms->rule.back);
			}
			weight *= terms->rule.decay;
			distance++;
		}
	}
	qsort(terms->own, terms->n_own, sizeof(Own), compare_own);
	for (int64 i = 0; i < terms->n_own; i++)
		if (n > 0 && terms->own[n - 1].entry == terms->own[i].entry)
			terms->own[n - 1].sum += terms->own[i].sum;
		else
			terms->own[n++] = terms->own[i];
	terms->n_own = n;
}

/* The first of the own pairs at or behind an entry. */
static int64
first_own(const MemoryTerms *terms, int64 entry)
{
	int64		low = 0;
	int64		high = terms->n_own;

	while (low < high)
	{
		int64		middle = low + (high - low) / 2;

		if (terms->own[middle].entry < entry)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* An entry of S without own pairs; the target's own event is not counted either. */
static float
without_own(const MemoryTerms *terms, int32 from, int64 entry, double own)
{
	const TaskMemory *memory = &terms->data->item_memory[terms->rule.task];
	double		to = memory->count[memory->neighbours.items[entry]];
	double		sum = memory_sum(memory->neighbours.values[entry], memory->count[from], to, memory->events) - own;

	return sum < LEAST_SUM ? 0 : (float) memory_lift(sum, memory->count[from], Max(to - 1, 0), memory->events);
}

static void
add_row(MemoryTerms *terms, int32 from)
{
	const Neighbours *neighbours = terms->neighbours;
	int64		begin = neighbours->begin[from];
	int64		own = first_own(terms, begin);

	for (int64 p = begin; p < begin + neighbours->length[from]; p++)
	{
		int32		item = neighbours->items[p];
		float		value = neighbours->values[p];

		if (own < terms->n_own && terms->own[own].entry == p)
			value = without_own(terms, from, p, terms->own[own++].sum);
		if (value <= 0 || (terms->in_window && terms->in_window[item]))
			continue;
		if (terms->sum[item] == 0)
			terms->touched[terms->n_touched++] = item;
		terms->sum[item] += value;
	}
}

/* The sums of a lag become terms. */
static void
end_lag(MemoryTerms *terms, int lag)
{
	if (terms->n + terms->n_touched > terms->capacity)
	{
		terms->capacity = 2 * (terms->n + terms->n_touched);
		terms->term = array_resize(terms->term, terms->capacity, sizeof(MemoryTerm), terms->context);
	}
	for (int64 i = 0; i < terms->n_touched; i++)
	{
		int32		item = terms->touched[i];

		terms->term[terms->n++] = (MemoryTerm) {item, lag, terms->sum[item]};
		terms->sum[item] = 0;
	}
	terms->n_touched = 0;
}

static void
mark_window(MemoryTerms *terms, int64 start, int n, uint8 mark)
{
	const int32 *item = terms->data->events->item;

	for (int64 row = start; terms->in_window && row < start + n; row++)
		if (item[row] >= 0)
			terms->in_window[item[row]] = mark;
}

int64
memory_terms(MemoryTerms *terms, const Moment *moment, int64 start, int n, const MemoryTerm **term)
{
	const User *user = &terms->data->users[moment->user];
	NeighbourEvent events[NEIGHBOUR_EVENTS];
	int			n_events = neighbour_events(terms->data->events, start, n, events);

	terms->n = terms->n_own = 0;
	if (!terms->data->evaluated && item_table_counts(terms->data->item_memory[terms->rule.task].stride, user))
	{
		for (int e = 0; e < n_events; e++)
			terms->looked_at[events[e].item] = 1;
		find_own(terms, user, moment->end);
		for (int e = 0; e < n_events; e++)
			terms->looked_at[events[e].item] = 0;
	}
	mark_window(terms, start, n, 1);
	for (int e = 0; e < n_events; e++)
	{
		add_row(terms, events[e].item);
		if (e + 1 == n_events || events[e + 1].lag != events[e].lag)
			end_lag(terms, events[e].lag);
	}
	mark_window(terms, start, n, 0);
	*term = terms->term;
	return terms->n;
}

/* ---------------- the strongest items ---------------- */

static bool
stronger(const MemoryTerms *terms, int32 a, int32 b)
{
	return terms->sum[a] != terms->sum[b] ? terms->sum[a] > terms->sum[b] : a < b;
}

/* Bring the `most` strongest of the touched items to the front. */
static void
select_strongest(MemoryTerms *terms, int64 most)
{
	int64		begin = 0;
	int64		end = terms->n_touched;

	while (end - begin > 1)
	{
		int32		pivot = terms->touched[begin + (end - begin) / 2];
		int64		low = begin;
		int64		high = end - 1;

		while (low <= high)
		{
			while (stronger(terms, terms->touched[low], pivot))
				low++;
			while (stronger(terms, pivot, terms->touched[high]))
				high--;
			if (low <= high)
			{
				int32		swap = terms->touched[low];

				terms->touched[low++] = terms->touched[high];
				terms->touched[high--] = swap;
			}
		}
		if (most <= high)
			end = high + 1;
		else if (most >= low)
			begin = low;
		else
			break;
	}
}

int
memory_strongest(MemoryTerms *terms, int most, int32 *items)
{
	static const float nearness[LAG_BUCKETS] = {1, .8f, .64f, .5f, .4f, .25f, .1f, .05f};
	int			n;

	for (int64 i = 0; i < terms->n; i++)
	{
		const MemoryTerm *term = &terms->term[i];

		if (terms->sum[term->item] == 0)
			terms->touched[terms->n_touched++] = term->item;
		terms->sum[term->item] += nearness[term->lag] * term->value;
	}
	n = (int) Min(most, terms->n_touched);
	if (n < terms->n_touched)
		select_strongest(terms, n);
	memcpy(items, terms->touched, sizeof(int32) * n);
	for (int64 i = 0; i < terms->n_touched; i++)
		terms->sum[terms->touched[i]] = 0;
	terms->n_touched = 0;
	return n;
}
