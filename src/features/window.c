/*-------------------------------------------------------------------------
 *
 * window.c
 *	  Encoded events in window order
 *
 *-------------------------------------------------------------------------
 */
#include "features/window.h"

#include "nn/arena.h"
#include "utils/memutils.h"

static const nn_group event_groups[2] = {NN_ITEM, NN_PROPERTY};

void *
huge_aligned(MemoryContext context, size_t bytes)
{
	return (void *) TYPEALIGN(NN_ALIGN, MemoryContextAllocHuge(context, bytes + NN_ALIGN));
}

void *
array_resize(void *array, int64 capacity, size_t width, MemoryContext context)
{
	size_t		size = mul_size(Max(capacity, 1), width);

	return array ? repalloc_huge(array, size) : MemoryContextAllocHuge(context, size);
}

void
id_column_append(IdColumn *column, MemoryContext context, bool multi, int64 row,
				 const int32 *ids, int n)
{
	if (column->n_values + n > column->values_capacity)
	{
		column->values_capacity = Max(column->n_values + n, Max(64, column->values_capacity * 2));
		column->values = array_resize(column->values, column->values_capacity, sizeof(int32), context);
	}
	/* an empty bag may be the first, when there is no array yet */
	if (n == 1)
		column->values[column->n_values] = ids[0];
	else if (n > 0)
		memcpy(column->values + column->n_values, ids, sizeof(int32) * n);
	column->n_values += n;
	if (!multi)
		return;
	if (row + 2 > column->offsets_capacity)
	{
		column->offsets_capacity = Max(row + 2, Max(64, column->offsets_capacity * 2));
		column->offsets = array_resize(column->offsets, column->offsets_capacity, sizeof(int64), context);
	}
	if (row == 0)
		column->offsets[0] = 0;
	column->offsets[row + 1] = column->n_values;
}

EventTable *
event_table(MemoryContext context)
{
	EventTable *table = MemoryContextAllocZero(context, sizeof(EventTable));

	table->context = context;
	return table;
}

void
event_table_reset(EventTable *table)
{
	table->n = 0;
	for (int g = 0; g < 2; g++)
		for (int f = 0; f < NN_MAX_FEATURES; f++)
			table->feature[g][f].n_values = 0;
}

static void
reserve_rows(EventTable *table, int64 n)
{
	if (n <= table->capacity)
		return;
	table->capacity = Max(128, table->capacity * 2);
	table->time = array_resize(table->time, table->capacity, sizeof(TimestampTz), table->context);
	table->item = array_resize(table->item, table->capacity, sizeof(int32), table->context);
}

void
event_table_append(EventTable *table, const FeatureSet *set, const EventRow *row)
{
	int64		at = table->n;

	reserve_rows(table, at + 1);
	table->time[at] = row->time;
	table->item[at] = row->item;

	for (int g = 0; g < 2; g++)
		for (int f = 0; f < set->n[event_groups[g]]; f++)
		{
			const Feature *feature = &set->f[event_groups[g]][f];
			IdColumn   *column = &table->feature[g][f];
			int32		ids[2] = {ID_MISSING, ID_MISSING};

			if (g == 0 && table->later[f])
				continue;
			if (feature->source == FROM_TIME)
			{
				/* the gap is known after sorting, the recency when there is a now */
				if (f == set->daypart)
					id_column_append(column, table->context, true, at, ids,
									 daypart_ids(row->time, set->tz, ids));
				else
					id_column_append(column, table->context, false, at, ids, 1);
			}
			else if (feature->multi)
				id_column_append(column, table->context, true, at, row->id[g][f], row->n[g][f]);
			else
				id_column_append(column, table->context, false, at, row->id[g][f], 1);
		}
	table->n++;
}

void
event_table_fill(EventTable *table, const FeatureSet *set, int f, int64 row, const int32 *ids, int n)
{
	Assert(table->later[f] && row < table->n);
	id_column_append(&table->feature[0][f], table->context, set->f[NN_ITEM][f].multi, row, ids, n);
}

void
event_table_without(EventTable *table, const EventTable *from, const FeatureSet *set, int64 row)
{
	for (int64 i = 0; i < from->n; i++)
	{
		int64		at = table->n;

		if (i == row)
			continue;
		reserve_rows(table, at + 1);
		table->time[at] = from->time[i];
		table->item[at] = from->item[i];
		for (int g = 0; g < 2; g++)
			for (int f = 0; f < set->n[event_groups[g]]; f++)
			{
				const IdColumn *column = &from->feature[g][f];
				bool		multi = set->f[event_groups[g]][f].multi;
				int64		begin = multi ? column->offsets[i] : i;
				int64		end = multi ? column->offsets[i + 1] : i + 1;

				id_column_append(&table->feature[g][f], table->context, multi, at,
								 column->values + begin, (int) (end - begin));
			}
		/* what follows the event follows the one before it */
		if (i == row + 1 && set->gap >= 0)
			table->feature[1][set->gap].values[at] =
				gap_id(from->time[i], row > 0 ? from->time[row - 1] : 0, row > 0);
		table->n++;
	}
}

/* ---------------- window order ---------------- */

typedef struct OrderKey
{
	TimestampTz time;
	uint64		hash;
	int64		row;
} OrderKey;

static int
compare_keys(const void *a, const void *b)
{
	const OrderKey *x = a;
	const OrderKey *y = b;

	if (x->time != y->time)
		return x->time < y->time ? -1 : 1;
	if (x->hash != y->hash)
		return x->hash < y->hash ? -1 : 1;
	return x->row < y->row ? -1 : x->row > y->row;
}

static uint64
row_hash(const EventTable *table, const FeatureSet *set, int64 row)
{
	uint64		hash = 0;

	for (int g = 0; g < 2; g++)
		for (int f = 0; f < set->n[event_groups[g]]; f++)
		{
			const IdColumn *column = &table->feature[g][f];
			bool		multi = set->f[event_groups[g]][f].multi;
			int64		begin = multi ? column->offsets[row] : row;
			int64		end = multi ? column->offsets[row + 1] : row + 1;

			/* derived from time: the same within an instant, or not known yet */
			if (set->f[event_groups[g]][f].source == FROM_TIME)
				continue;
			for (int64 i = begin; i < end; i++)
				hash = cell_hash((Cell) (hash ^ (uint64) column->values[i]));
			hash = cell_hash((Cell) (hash + f + 1));
		}
	return hash;
}

static void
permute_column(IdColumn *column, bool multi, int64 start, const OrderKey *order, int64 n)
{
	int32	   *values;

	if (!multi)
	{
		values = palloc_extended(sizeof(int32) * n, MCXT_ALLOC_HUGE);
		for (int64 i = 0; i < n; i++)
			values[i] = column->values[order[i].row];
		memcpy(column->values + start, values, sizeof(int32) * n);
	}
	else
	{
		int64		base = column->offsets[start];
		int64		count = column->offsets[start + n] - base;
		int64	   *offsets = palloc_extended(sizeof(int64) * n, MCXT_ALLOC_HUGE);
		int64		at = 0;

		values = palloc_extended(sizeof(int32) * Max(count, 1), MCXT_ALLOC_HUGE);
		for (int64 i = 0; i < n; i++)
		{
			int64		begin = column->offsets[order[i].row];
			int64		length = column->offsets[order[i].row + 1] - begin;

			memcpy(values + at, column->values + begin, sizeof(int32) * length);
			at += length;
			offsets[i] = base + at;
		}
		memcpy(column->values + base, values, sizeof(int32) * count);
		memcpy(column->offsets + start + 1, offsets, sizeof(int64) * n);
		pfree(offsets);
	}
	pfree(values);
}

/* Rows [start, start + n) as keys in window order; only equal times need a hash. */
static OrderKey *
window_order(const EventTable *table, const FeatureSet *set, int64 start, int64 n)
{
	OrderKey   *order = palloc_extended(sizeof(OrderKey) * n, MCXT_ALLOC_HUGE);
	bool		newest_first = table->time[start] > table->time[start + n - 1];
	bool		ties = false;

	/* a query gives the newest first: turned round, they are sorted already */
	for (int64 i = 0; i < n; i++)
	{
		int64		row = start + (newest_first ? n - 1 - i : i);

		order[i] = (OrderKey) {.time = table->time[row], .row = row};
	}
	qsort(order, n, sizeof(OrderKey), compare_keys);
	for (int64 i = 0; i < n; i++)
		if ((i > 0 && order[i - 1].time == order[i].time) ||
			(i < n - 1 && order[i].time == order[i + 1].time))
		{
			order[i].hash = row_hash(table, set, order[i].row);
			ties = true;
		}
	if (ties)
		qsort(order, n, sizeof(OrderKey), compare_keys);
	return order;
}

void
event_table_sort(EventTable *table, const FeatureSet *set, int64 start, int64 end,
				 TimestampTz previous, bool has_previous)
{
	int64		n = end - start;
	bool		sorted = true;

	for (int64 i = start + 1; i < end && sorted; i++)
		sorted = table->time[i - 1] < table->time[i];
	if (!sorted)
	{
		OrderKey   *order = window_order(table, set, start, n);
		int32	   *items = palloc_extended(sizeof(int32) * n, MCXT_ALLOC_HUGE);

		for (int64 i = 0; i < n; i++)
			items[i] = table->item[order[i].row];
		for (int64 i = 0; i < n; i++)
		{
			table->time[start + i] = order[i].time;
			table->item[start + i] = items[i];
		}
		for (int g = 0; g < 2; g++)
			for (int f = 0; f < set->n[event_groups[g]]; f++)
				permute_column(&table->feature[g][f], set->f[event_groups[g]][f].multi,
							   start, order, n);
		pfree(items);
		pfree(order);
	}

	if (set->gap >= 0)
	{
		int32	   *gap = table->feature[1][set->gap].values;

		for (int64 i = start; i < end; i++)
		{
			gap[i] = gap_id(table->time[i], previous, has_previous);
			previous = table->time[i];
			has_previous = true;
		}
	}
}

int64
event_window(const EventTable *table, const FeatureSet *set,
			 int64 start, int64 end, TimestampTz now, int *n)
{
	int64		low = start;
	int64		high = end;

	while (low < high)
	{
		int64		middle = low + (high - low) / 2;

		if (table->time[middle] < now)
			low = middle + 1;
		else
			high = middle;
	}
	*n = (int) Min(low - start, set->max_events);
	return low - *n;
}

/*
 * The items of a window for the repeat term, newest first.  An open hash of
 * positions in items, since a window may hold a thousand events.
 */
int
window_items(const FeatureSet *set, const EventTable *table, int64 start, int n,
			 TimestampTz now, WindowItem *items)
{
	int16		slot[2048];
	int			capacity = 16;
	int			found = 0;

	while (capacity < 2 * n && capacity < (int) lengthof(slot))
		capacity *= 2;
	memset(slot, -1, sizeof(int16) * capacity);

	for (int64 row = start + n - 1; row >= start; row--)
	{
		int32		item = table->item[row];
		int			at;

		if (item < 0)
			continue;
		at = (int) (cell_hash(item) & (capacity - 1));
		while (slot[at] >= 0 && items[slot[at]].item != item)
			at = (at + 1) & (capacity - 1);
		if (slot[at] >= 0)
		{
			items[slot[at]].count++;
			continue;
		}
		slot[at] = (int16) found;
		items[found].item = item;
		items[found].recency = time_bucket(now - table->time[row]);
		items[found].count = 1;
		items[found].type = 0;
		if (set->types > 1)
		{
			const IdColumn *type = &table->feature[1][0];

			if (!set->f[NN_PROPERTY][0].multi)
				items[found].type = type->values[row];
			else if (type->offsets[row + 1] > type->offsets[row])
				items[found].type = type->values[type->offsets[row]];
		}
		found++;
	}
	return found;
}
