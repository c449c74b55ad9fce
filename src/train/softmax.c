/*-------------------------------------------------------------------------
 *
 * softmax.c
 *	  The columns of next_item: all items, or some that are drawn
 *
 *-------------------------------------------------------------------------
 */
#include "train/softmax.h"

#include <math.h>

#include "utils/memutils.h"

void
softmax_gather(Softmax *softmax, Columns *columns)
{
	const FeatureSet *set = softmax->data->set;
	const int32 *item = (const int32 *) columns->item.data;

	for (int f = 0; f < set->n[NN_ITEM]; f++)
	{
		const nn_ids *ids = &softmax->data->catalogue.feature[f];

		columns->values[f].n = columns->offsets[f].n = 0;
		if (ids->offsets)
			PUSH(softmax->context, &columns->offsets[f], int64, 0);
		for (int c = 0; c < columns->n; c++)
		{
			int64		begin = ids->offsets ? ids->offsets[item[c]] : item[c];
			int64		end = ids->offsets ? ids->offsets[item[c] + 1] : begin + 1;

			for (int64 k = begin; k < end; k++)
				PUSH(softmax->context, &columns->values[f], int32, ids->values[k]);
			if (ids->offsets)
				PUSH(softmax->context, &columns->offsets[f], int64, columns->values[f].n);
		}
		columns->ids[f].values = (const int32 *) columns->values[f].data;
		columns->ids[f].offsets = ids->offsets ? (const int64 *) columns->offsets[f].data : NULL;
	}
}

static int32 *
int32_array(MemoryContext context, int64 n, int32 value)
{
	int32	   *array = MemoryContextAllocHuge(context, sizeof(int32) * Max(n, 1));

	for (int64 i = 0; i < n; i++)
		array[i] = value;
	return array;
}

void
softmax_make(Softmax *softmax, const Dataset *data, MemoryContext context)
{
	const Catalogue *catalogue = &data->catalogue;
	Columns    *all = &softmax->all;
	Columns    *known = &softmax->known;

	softmax->data = data;
	softmax->context = context;
	all->n = all->shared = (int) catalogue->n;
	all->of_item = int32_array(context, catalogue->n, -1);
	known->of_item = int32_array(context, catalogue->n, -1);
	for (int32 j = 0; j < catalogue->n; j++)
	{
		all->of_item[j] = j;
		if (!data->known[j])
			continue;
		known->of_item[j] = known->n++;
		PUSH(softmax->context, &known->item, int32, j);
	}
	known->shared = known->n;
	memcpy(all->ids, catalogue->feature, sizeof(all->ids));
	softmax_gather(softmax, known);

	softmax->sampled = known->n > MOST_FULL;
	if (!softmax->sampled)
		return;
	softmax->drawn.of_item = int32_array(context, catalogue->n, -1);
	for (int i = 0; i < 2; i++)
		softmax->extra_column[i] = int32_array(context, catalogue->n, -1);
	softmax->sample_column = int32_array(context, catalogue->n, -1);
	sampler_make(&softmax->sampler, catalogue, (const int32 *) known->item.data, known->n, context);
}

/* log of the chance that NEGATIVES draws hold this item */
static float
log_q(const Softmax *softmax, int32 item)
{
	int			c = softmax->known.of_item[item];

	/* an item that is never drawn counts like the rarest */
	double		q = c < 0 ? .1 / softmax->known.n : sampler_chance(&softmax->sampler, c);

	return (float) log(-expm1(NEGATIVES * log1p(-q)));
}

/* Forget a step's columns without touching the whole catalogue. */
static void
columns_clear(Softmax *softmax)
{
	const int32 *item = (const int32 *) softmax->drawn.item.data;

	for (int c = 0; c < softmax->drawn.n; c++)
	{
		softmax->drawn.of_item[item[c]] = -1;
		softmax->extra_column[0][item[c]] = -1;
		softmax->extra_column[1][item[c]] = -1;
	}
	softmax->drawn.n = softmax->drawn.shared = 0;
	softmax->drawn.item.n = softmax->drawn.log_q.n = 0;
}

static int32
columns_add(Softmax *softmax, int32 item, float q)
{
	PUSH(softmax->context, &softmax->drawn.item, int32, item);
	PUSH(softmax->context, &softmax->drawn.log_q, float, q);
	return softmax->drawn.n++;
}

void
softmax_draw(Softmax *softmax, uint64 *random)
{
	columns_clear(softmax);
	for (int i = 0; i < NEGATIVES; i++)
	{
		int32		item = softmax->sampler.item[sampler_draw(&softmax->sampler, random)];

		if (softmax->drawn.of_item[item] < 0)
			softmax->drawn.of_item[item] = columns_add(softmax, item, log_q(softmax, item));
	}
	softmax->drawn.shared = softmax->drawn.n;
}

int32
softmax_extra(Softmax *softmax, int32 item, bool in_window)
{
	int32	   *column = &softmax->extra_column[in_window ? 1 : 0][item];

	if (*column < 0)
		*column = columns_add(softmax, item, in_window ? 0 : log_q(softmax, item));
	return *column;
}

const int32 *
softmax_drop_keys(Softmax *softmax, const Columns *columns, double rate, uint64 *random)
{
	const int32 *values = columns->ids[0].values;

	softmax->key_dropped.n = 0;
	for (int c = 0; c < columns->n; c++)
		PUSH(softmax->context, &softmax->key_dropped, int32,
			 nn_random_uniform(random) < rate ? ID_UNKNOWN : values[c]);
	return (const int32 *) softmax->key_dropped.data;
}
