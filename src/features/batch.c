/*-------------------------------------------------------------------------
 *
 * batch.c
 *	  Sequences and views for the network
 *
 * A departure that follows from NETWORK.md: what depends on `now` (recency,
 * lag, activity) is computed per view, everything else per event, once.
 *
 *-------------------------------------------------------------------------
 */
#include "features/window.h"


typedef struct GrowingIds
{
	int32	   *values;
	int64		n,
				capacity;
	int64	   *offsets;		/* [rows + 1], multi-hot only */
	int64		rows,
				offsets_capacity;
} GrowingIds;

struct BatchBuilder
{
	const FeatureSet *set;
	MemoryContext context;
	GrowingIds	feature[NN_GROUPS][NN_MAX_FEATURES];
	int64	   *offsets;		/* of sequences */
	int64		offsets_capacity;
	int32	   *view_sequence;
	int32	   *view_length;
	int64	   *view_offsets;
	int64		views_capacity;
	uint8	   *recency;
	uint8	   *lag;
	int64		recency_capacity,
				lag_capacity;

	/* the newest sequence */
	const EventTable *table;
	int64		start;
	int			length;

	nn_batch	batch;
};

#define RESERVE(builder, array, capacity, n) \
	do { \
		if ((n) > (capacity)) \
		{ \
			(capacity) = Max((n), 2 * (capacity)); \
			(array) = array_resize((array), (capacity), sizeof(*(array)), (builder)->context); \
		} \
	} while (0)

static void
reserve_views(BatchBuilder *builder)
{
	int64		n = builder->views_capacity;

	builder->view_sequence = array_resize(builder->view_sequence, n, sizeof(int32), builder->context);
	builder->view_length = array_resize(builder->view_length, n, sizeof(int32), builder->context);
	builder->view_offsets = array_resize(builder->view_offsets, n + 1, sizeof(int64), builder->context);
}

BatchBuilder *
batch_builder(const FeatureSet *set, MemoryContext context)
{
	BatchBuilder *builder = MemoryContextAllocZero(context, sizeof(BatchBuilder));
	builder->set = set;
	builder->context = context;
	RESERVE(builder, builder->offsets, builder->offsets_capacity, 16);
	builder->views_capacity = 16;
	reserve_views(builder);
	batch_reset(builder);
	return builder;
}

void
batch_reset(BatchBuilder *builder)
{
	for (int g = 0; g < NN_GROUPS; g++)
		for (int f = 0; f < builder->set->n[g]; f++)
		{
			builder->feature[g][f].n = 0;
			builder->feature[g][f].rows = 0;
		}
	memset(&builder->batch, 0, sizeof(builder->batch));
	builder->offsets[0] = 0;
	builder->view_offsets[0] = 0;
	builder->length = 0;
}

static void
ids_append(BatchBuilder *builder, GrowingIds *ids, bool multi, const int32 *values, int64 n)
{
	RESERVE(builder, ids->values, ids->capacity, ids->n + n);
	if (n > 0)
		memcpy(ids->values + ids->n, values, sizeof(int32) * n);
	ids->n += n;
	if (multi)
	{
		RESERVE(builder, ids->offsets, ids->offsets_capacity, ids->rows + 2);
		if (ids->rows == 0)
			ids->offsets[0] = 0;
		ids->offsets[ids->rows + 1] = ids->n;
	}
	ids->rows++;
}

int
batch_add_sequence(BatchBuilder *builder, const EventTable *table, int64 start, int n,
				   TimestampTz now, const IdDropout *dropout)
{
	const FeatureSet *set = builder->set;
	int			sequence = builder->batch.sequences++;

	RESERVE(builder, builder->offsets, builder->offsets_capacity, sequence + 2);
	builder->offsets[sequence + 1] = builder->offsets[sequence] + n;
	builder->table = table;
	builder->start = start;
	builder->length = n;

	for (int g = 0; g < 2; g++)
	{
		nn_group	group = g == 0 ? NN_ITEM : NN_PROPERTY;

		for (int f = 0; f < set->n[group]; f++)
		{
			const IdColumn *column = &table->feature[g][f];
			GrowingIds *ids = &builder->feature[group][f];

			if (set->f[group][f].multi)
			{
				for (int64 row = start; row < start + n; row++)
					ids_append(builder, ids, true, column->values + column->offsets[row],
							   column->offsets[row + 1] - column->offsets[row]);
				continue;
			}
			RESERVE(builder, ids->values, ids->capacity, ids->n + n);
			if (group == NN_PROPERTY && f == set->recency)
			{
				for (int i = 0; i < n; i++)
					ids->values[ids->n + i] = ID_FIRST + time_bucket(now - table->time[start + i]);
			}
			else if (n > 0)
				memcpy(ids->values + ids->n, column->values + start, sizeof(int32) * n);
			if (group == NN_ITEM && f == 0 && dropout && dropout->item_key > 0)
				for (int i = 0; i < n; i++)
					if (nn_random_uniform(dropout->random) < dropout->item_key)
						ids->values[ids->n + i] = ID_UNKNOWN;
			ids->n += n;
			ids->rows += n;
		}
	}
	return sequence;
}

/* How much there is in the window, in total and per behaviour type: softmax
 * pooling forgets it. */
static int
activity_ids(const BatchBuilder *builder, int length, int32 *ids)
{
	const FeatureSet *set = builder->set;
	int			types = (int) ((set->f[NN_PROFILE][set->activity].vocab - ID_FIRST) /
							   COUNT_BUCKETS - 1);
	int			count[NN_MAX_BAG] = {0};
	int			n = 0;

	ids[n++] = ID_FIRST + count_bucket(length);
	if (types > 0)
	{
		const IdColumn *type = &builder->table->feature[1][0];
		bool		multi = set->f[NN_PROPERTY][0].multi;

		for (int64 row = builder->start; row < builder->start + length; row++)
		{
			int64		begin = multi ? type->offsets[row] : row;
			int64		end = multi ? type->offsets[row + 1] : row + 1;

			for (int64 i = begin; i < end; i++)
				if (type->values[i] < types)
					count[type->values[i]]++;
		}
		for (int t = 0; t < types && n < NN_MAX_BAG; t++)
			if (count[t] > 0)
				ids[n++] = ID_FIRST + COUNT_BUCKETS * (1 + t) + count_bucket(count[t]);
	}
	return n;
}

/* The declared features of profile or context of one view; dropped: missing. */
static void
add_id_row(BatchBuilder *builder, nn_group group, const IdRow *row, bool dropped)
{
	const int32 missing = ID_MISSING;

	for (int f = 0; f < builder->set->n[group]; f++)
	{
		GrowingIds *ids = &builder->feature[group][f];
		bool		multi = builder->set->f[group][f].multi;

		if (builder->set->f[group][f].source == FROM_WINDOW)
			continue;
		if (row == NULL || dropped)
			ids_append(builder, ids, multi, &missing, multi ? 0 : 1);
		else
			ids_append(builder, ids, multi, row->id[f], multi ? row->n[f] : 1);
	}
}

static bool
dropped(const IdDropout *dropout, float rate)
{
	return rate > 0 && nn_random_uniform(dropout->random) < rate;
}

int
batch_add_view(BatchBuilder *builder, int length, TimestampTz now,
			   const IdRow *profile, const IdRow *context, const IdDropout *dropout)
{
	const FeatureSet *set = builder->set;
	int			view = builder->batch.views++;
	int64		pair;

	Assert(builder->table != NULL && length <= builder->length);
	if (view >= builder->views_capacity)
	{
		builder->views_capacity *= 2;
		reserve_views(builder);
	}
	builder->view_sequence[view] = builder->batch.sequences - 1;
	builder->view_length[view] = length;
	pair = builder->view_offsets[view];
	builder->view_offsets[view + 1] = pair + length;

	if (set->recency_bias)
	{
		RESERVE(builder, builder->recency, builder->recency_capacity, pair + length);
		for (int i = 0; i < length; i++)
			builder->recency[pair + i] =
				(uint8) time_bucket(now - builder->table->time[builder->start + i]);
	}
	if (set->lag_bias)
	{
		RESERVE(builder, builder->lag, builder->lag_capacity, pair + length);
		for (int i = 0; i < length; i++)
			builder->lag[pair + i] = (uint8) lag_bucket(length - 1 - i);
	}

	add_id_row(builder, NN_PROFILE, profile, dropout && dropped(dropout, dropout->profile));
	add_id_row(builder, NN_CONTEXT, context, dropout && dropped(dropout, dropout->context));
	if (set->activity >= 0)
	{
		int32		ids[NN_MAX_BAG];

		ids_append(builder, &builder->feature[NN_PROFILE][set->activity], true, ids,
				   activity_ids(builder, length, ids));
	}
	return view;
}

static nn_ids
ids_of(GrowingIds *ids, bool multi)
{
	return (nn_ids) {.values = ids->values, .offsets = multi ? ids->offsets : NULL};
}

nn_batch *
batch_finish(BatchBuilder *builder)
{
	const FeatureSet *set = builder->set;
	nn_batch   *batch = &builder->batch;

	/* a batch without rows of a multi-hot feature still has offsets */
	for (int g = 0; g < NN_GROUPS; g++)
		for (int f = 0; f < set->n[g]; f++)
			if (set->f[g][f].multi && builder->feature[g][f].rows == 0)
			{
				GrowingIds *ids = &builder->feature[g][f];

				RESERVE(builder, ids->offsets, ids->offsets_capacity, 1);
				ids->offsets[0] = 0;
			}

	batch->offsets = builder->offsets;
	batch->view_sequence = builder->view_sequence;
	batch->view_length = builder->view_length;
	batch->view_offsets = builder->view_offsets;
	batch->recency = builder->recency;
	batch->lag = builder->lag;
	for (int f = 0; f < set->n[NN_ITEM]; f++)
		batch->item[f] = ids_of(&builder->feature[NN_ITEM][f], set->f[NN_ITEM][f].multi);
	for (int f = 0; f < set->n[NN_PROPERTY]; f++)
		batch->property[f] = ids_of(&builder->feature[NN_PROPERTY][f], set->f[NN_PROPERTY][f].multi);
	for (int f = 0; f < set->n[NN_PROFILE]; f++)
		batch->profile[f] = ids_of(&builder->feature[NN_PROFILE][f], set->f[NN_PROFILE][f].multi);
	for (int f = 0; f < set->n[NN_CONTEXT]; f++)
		batch->context[f] = ids_of(&builder->feature[NN_CONTEXT][f], set->f[NN_CONTEXT][f].multi);
	return batch;
}
