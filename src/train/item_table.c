/*-------------------------------------------------------------------------
 *
 * item_table.c
 *	  How often one item came after another, counted from training events
 *
 *-------------------------------------------------------------------------
 */
#include "train/item_table.h"

#include "train/dataset.h"

#define MAX_PAIRS		20000000	/* beyond, users are sampled: bounds time */
#define CHECK_EVERY		1024

static int
compare_pairs(const void *a, const void *b)
{
	const Pair *x = a;
	const Pair *y = b;

	if (x->from != y->from)
		return x->from < y->from ? -1 : 1;
	if (x->to != y->to)
		return x->to < y->to ? -1 : 1;
	return x->weight < y->weight ? -1 : x->weight > y->weight;
}

static int
compare_items(const void *a, const void *b)
{
	int32		x = *(const int32 *) a;
	int32		y = *(const int32 *) b;

	return x < y ? -1 : x > y;
}

void
item_table_events(const Dataset *data, const PairRule *rule, const User *user, int64 *begin, int64 *end)
{
	int64		low = user->start;
	int64		high = user->start + user->n;

	/* events are in the order of time */
	while (low < high)
	{
		int64		middle = low + (high - low) / 2;

		if (rule->held_out || data->events->time[middle] < user->hold_out)
			low = middle + 1;
		else
			high = middle;
	}
	*end = low;
	*begin = Max(user->start, low - rule->latest);
}

/* Pairs of a user on their way to a column; without one they are only counted. */
typedef struct Sink
{
	Column	   *column;
	int64		n;
} Sink;

static void
put(Sink *sink, int32 from, int32 to, float weight)
{
	Pair		pair = {from, to, weight};

	if (sink->column)
		column_append(sink->column, &pair, 1);
	sink->n++;
}

static void
pairs_after(const Dataset *data, const PairRule *rule, const User *user, const int64 *row, int n, Sink *sink)
{
	const int32 *item = data->events->item;
	const TimestampTz *time = data->events->time;

	for (int a = 0; a < n; a++)
	{
		float		weight = 1;

		for (int b = a + 1; b < n && b <= a + rule->reach; b++)
		{
			if (item[row[a]] != item[row[b]] && time[row[b]] > rule->after &&
				(!rule->held_out || time[row[b]] >= user->hold_out))
			{
				if (rule->task < 0 || event_is_target(data, rule->task, row[b]))
					put(sink, item[row[a]], item[row[b]], weight);
				if (rule->back > 0 && (rule->task < 0 || event_is_target(data, rule->task, row[a])))
					put(sink, item[row[b]], item[row[a]], weight * rule->back);
			}
			weight *= rule->decay;
		}
	}
}

static void
pairs_together(int32 *items, int n, Sink *sink)
{
	int			distinct = 0;

	qsort(items, n, sizeof(int32), compare_items);
	for (int i = 0; i < n; i++)
		if (i == 0 || items[i] != items[i - 1])
			items[distinct++] = items[i];
	for (int a = 0; a < distinct; a++)
		for (int b = a + 1; b < distinct; b++)
		{
			put(sink, items[a], items[b], 1);
			put(sink, items[b], items[a], 1);
		}
}

/* rows, items: scratch for rule->latest entries. */
static void
user_pairs(const Dataset *data, const PairRule *rule, const User *user, int64 *rows, int32 *items, Sink *sink)
{
	int64		begin;
	int64		end;
	int			n = 0;

	item_table_events(data, rule, user, &begin, &end);
	for (int64 row = begin; row < end; row++)
		if (data->events->item[row] >= 0)
		{
			rows[n] = row;
			items[n++] = data->events->item[row];
		}
	if (rule->together)
		pairs_together(items, n, sink);
	else
		pairs_after(data, rule, user, rows, n, sink);
}

/* Pairs in their order, each with its score. */
static void
merge(ItemTable *table, const Dataset *data, const PairRule *rule, Column *all)
{
	const int64 *count = data->catalogue.count;
	Column	   *merged = column_add(table->store, sizeof(Pair), &table->pair);

	table->offsets = palloc0_array_huge(int64, data->catalogue.n + 1);
	for (int64 begin = 0, end; begin < all->n; begin = end)
	{
		const Pair *pair = (const Pair *) all->data;
		Pair		p = pair[begin];

		for (end = begin + 1; end < all->n && pair[end].from == p.from && pair[end].to == p.to; end++)
			p.weight += pair[end].weight;
		if (rule->score)
			p.weight = (float) rule->score(p.weight, count[p.from], count[p.to]);
		column_append(merged, &p, 1);
		table->offsets[p.from + 1]++;
		if (merged->n % CHECK_EVERY == 0)
			job_check();
	}
	column_finish(merged);
	for (int64 j = 0; j < data->catalogue.n; j++)
		table->offsets[j + 1] += table->offsets[j];
}

ItemTable *
item_table(const Dataset *data, const PairRule *rule)
{
	ItemTable  *table = palloc0(sizeof(ItemTable));
	int64	   *rows = palloc(sizeof(int64) * rule->latest);
	int32	   *items = palloc(sizeof(int32) * rule->latest);
	Sink		sink = {0};
	Column	   *all;

	table->store = column_store(CurrentMemoryContext, data->memory);
	for (int64 u = 0; u < data->n_users; u++)
	{
		user_pairs(data, rule, &data->users[u], rows, items, &sink);
		if (u % CHECK_EVERY == 0)
			job_check();
	}
	table->stride = (uint32) (sink.n / MAX_PAIRS + 1);
	sink.column = all = column_add(table->store, sizeof(Pair), NULL);
	for (int64 u = 0; u < data->n_users; u++)
	{
		if (item_table_counts(table->stride, &data->users[u]))
			user_pairs(data, rule, &data->users[u], rows, items, &sink);
		if (u % CHECK_EVERY == 0)
			job_check();
	}
	column_finish(all);
	all = column_sorted(all, compare_pairs);
	merge(table, data, rule, all);
	column_free(all);
	pfree(rows);
	pfree(items);
	job_spilled(column_memory_spilled(data->memory));
	return table;
}

void
item_table_free(ItemTable *table)
{
	column_store_delete(table->store);
	pfree(table->offsets);
	pfree(table);
}
