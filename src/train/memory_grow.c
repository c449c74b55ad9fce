/*-------------------------------------------------------------------------
 *
 * memory_grow.c
 *	  The memory term from one night to the next
 *
 * Pairs of the night are added to the rows of S whose items had some: such a row
 * goes back to sums by the counts it was made with, and is stored as lifts by the
 * counts of today, in its place if it fits there, else behind all others.  Rows
 * that the night did not touch keep their lifts, as if their pairs had become
 * as much more as the shop has, and their bytes: a version that differs by a
 * few rows is stored as these.  When the gaps are as large as what they lie
 * between, all rows move together.
 *
 *-------------------------------------------------------------------------
 */
#include "train/memory.h"

#include "train/dataset.h"
#include "utils/memutils.h"

#define CHECK_EVERY	1024

/* How often items occurred, and all of them together. */
typedef struct Counts
{
	int64	   *item;
	double		events;
} Counts;

typedef struct Grower
{
	Dataset    *data;
	TaskMemory *memory;
	Counts		before;
	Counts		after;
	int32	   *items;			/* of the new neighbours, with room behind */
	float	   *values;
	int64		capacity;
	Neighbour  *row;			/* the one at hand */
	int64		row_capacity;
} Grower;

/* Sums of the old row and the pairs from `pair` on, both by item; returns how many. */
static int64
add_up(Grower *grower, int32 from, const Pair *pair, int64 n, double weight)
{
	const Neighbours *old = &grower->memory->neighbours;
	int64		begin = old->begin[from];
	int32		length = old->length[from];
	int64		size = 0;

	if (length + n > grower->row_capacity)
	{
		grower->row_capacity = 2 * (length + n);
		grower->row = array_resize(grower->row, grower->row_capacity, sizeof(Neighbour), CurrentMemoryContext);
	}
	for (int64 i = 0, k = 0; i < length || k < n;)
	{
		int32		item = i < length ? grower->items[begin + i] : PG_INT32_MAX;
		double		sum = 0;

		if (k < n)
			item = Min(item, pair[k].to);
		if (i < length && grower->items[begin + i] == item)
			sum = memory_sum(grower->values[begin + i++], grower->before.item[from], grower->before.item[item],
							 grower->before.events);
		if (k < n && pair[k].to == item)
			sum += pair[k++].weight * weight;
		grower->row[size++] = (Neighbour) {item, (float) sum};
	}
	return size;
}

/* The row at hand becomes that of an item. */
static void
put_row(Grower *grower, int32 from, int n)
{
	Neighbours *neighbours = &grower->memory->neighbours;
	int64	   *begin = unconstify(int64 *, neighbours->begin);
	int32	   *length = unconstify(int32 *, neighbours->length);

	if (n > length[from])
	{
		if (neighbours->n + n > grower->capacity)
		{
			grower->capacity = 2 * (neighbours->n + n);
			grower->items = array_resize(grower->items, grower->capacity, sizeof(int32), grower->data->context);
			grower->values = array_resize(grower->values, grower->capacity, sizeof(float), grower->data->context);
		}
		begin[from] = neighbours->n;
		neighbours->n += n;
	}
	length[from] = n;
	for (int k = 0; k < n; k++)
	{
		const Neighbour *neighbour = &grower->row[k];

		grower->items[begin[from] + k] = neighbour->item;
		grower->values[begin[from] + k] = (float) memory_lift(neighbour->sum, grower->after.item[from],
															  grower->after.item[neighbour->item], grower->after.events);
	}
}

/* Leave out the gaps between rows, if they are large. */
static void
close_gaps(Grower *grower)
{
	Neighbours *neighbours = &grower->memory->neighbours;
	int64	   *begin = unconstify(int64 *, neighbours->begin);
	int64		used = 0;
	int32	   *items;
	float	   *values;

	for (int64 j = 0; j < grower->data->catalogue.n; j++)
		used += neighbours->length[j];
	if (neighbours->n <= 2 * used)
		return;
	items = MemoryContextAllocHuge(grower->data->context, sizeof(int32) * Max(used, 1));
	values = MemoryContextAllocHuge(grower->data->context, sizeof(float) * Max(used, 1));
	used = 0;
	for (int64 j = 0; j < grower->data->catalogue.n; j++)
	{
		memcpy(items + used, grower->items + begin[j], sizeof(int32) * neighbours->length[j]);
		memcpy(values + used, grower->values + begin[j], sizeof(float) * neighbours->length[j]);
		begin[j] = used;
		used += neighbours->length[j];
	}
	pfree(grower->items);
	pfree(grower->values);
	grower->items = items;
	grower->values = values;
	neighbours->n = used;
}

/* Add pairs of a rule to S, from counts to counts. */
static void
grow(Dataset *data, int task, const PairRule *rule, Counts before, Counts after)
{
	TaskMemory *memory = &data->item_memory[task];
	Neighbours *neighbours = &memory->neighbours;
	ItemTable  *table = item_table(data, rule);
	Grower		grower = {.data = data, .memory = memory, .before = before, .after = after,
	.capacity = neighbours->n + neighbours->n / 8 + 1024};
	double		weight = (double) table->stride / memory->scale;

	grower.items = MemoryContextAllocHuge(data->context, sizeof(int32) * grower.capacity);
	grower.values = MemoryContextAllocHuge(data->context, sizeof(float) * grower.capacity);
	memcpy(grower.items, neighbours->items, sizeof(int32) * neighbours->n);
	memcpy(grower.values, neighbours->values, sizeof(float) * neighbours->n);
	for (int64 j = 0; j < data->catalogue.n; j++)
	{
		int64		begin = table->offsets[j];
		int64		n = table->offsets[j + 1] - begin;

		if (j % CHECK_EVERY == 0)
			job_check();
		if (n > 0)
			put_row(&grower, (int32) j,
					memory_prune(grower.row, add_up(&grower, (int32) j, &table->pair[begin], n, weight), after.item));
	}
	close_gaps(&grower);
	neighbours->items = grower.items;
	neighbours->values = grower.values;
	if (grower.row)
		pfree(grower.row);
	item_table_free(table);
}

/* The counts of a catalogue, and `more` times those of the hold-out. */
static Counts
counts_of(const Dataset *data, const Catalogue *catalogue, int more)
{
	Counts		counts = {.item = palloc0_array_huge(int64, data->catalogue.n)};

	for (int64 j = 0; j < data->catalogue.n; j++)
	{
		if (j < catalogue->n)
			counts.item[j] = catalogue->count[j];
		if (more)
			counts.item[j] += data->held_out[j];
		counts.events += counts.item[j];
	}
	return counts;
}

void
memory_night(Dataset *data, int task)
{
	PairRule	rule = memory_rule(task);
	Counts		before = counts_of(data, &data->base->catalogue, 0);
	Counts		after = counts_of(data, &data->catalogue, 0);

	rule.after = data->since;
	grow(data, task, &rule, before, after);
	data->item_memory[task].events = after.events;
	pfree(before.item);
	pfree(after.item);
}

void
memory_refit(Dataset *data, int task)
{
	PairRule	rule = memory_rule(task);
	Counts		before = counts_of(data, &data->catalogue, 0);
	Counts		after = counts_of(data, &data->catalogue, 1);

	rule.held_out = true;
	grow(data, task, &rule, before, after);
	pfree(before.item);
	pfree(after.item);
}
