/*-------------------------------------------------------------------------
 *
 * grow.c
 *	  The catalogue of a version, and what a night adds to it
 *
 * Items keep their places, so that the bytes of what the night did not touch
 * stay where they are; new ones come behind, in the order of their keys.  Items
 * that were met tonight are described as they are today; a bag of another size
 * than before waits for a full training, since it would move all others.
 *
 *-------------------------------------------------------------------------
 */
#include "train/dataset.h"

#include "utils/memutils.h"

#define CHECK_EVERY	4096

/* Numbers of the items that the version does not have, by key. */
static int32 *
find_new(const Build *build, int64 *n)
{
	int32	   *new = MemoryContextAllocHuge(build->context, sizeof(int32) * Max(build->n_items, 1));

	*n = 0;
	for (int64 i = 0; i < build->n_items; i++)
	{
		int32		at = catalogue_find(&build->base->catalogue, build->item[i].key);

		build->catalogue_index[i] = at;
		if (at < 0)
			new[(*n)++] = (int32) i;
		if (i % CHECK_EVERY == 0)
			job_check();
	}
	sort_items(build, new, *n);
	return new;
}

/* Keys, their texts and counts: the version's, and the new ones' behind. */
static void
append_items(Build *build, const int32 *new, int64 n_new)
{
	MemoryContext context = build->data->context;
	const Catalogue *old = &build->base->catalogue;
	Catalogue  *catalogue = &build->data->catalogue;
	int64		n = old->n + n_new;
	int64		text_bytes = old->n > 0 ? old->text_offsets[old->n] : 0;
	Cell	   *keys = MemoryContextAllocHuge(context, sizeof(Cell) * Max(n, 1));
	int64	   *offsets = MemoryContextAllocHuge(context, sizeof(int64) * (n + 1));
	int64	   *counts = MemoryContextAllocHuge(context, sizeof(int64) * Max(n, 1));
	char	   *text = MemoryContextAllocHuge(context, text_bytes + build->item_text->n + 1);
	int32	   *places = palloc0_array_huge(int32, n_new);

	offsets[0] = 0;
	if (old->n > 0)
	{
		memcpy(keys, old->key, sizeof(Cell) * old->n);
		memcpy(offsets, old->text_offsets, sizeof(int64) * (old->n + 1));
		memcpy(counts, old->count, sizeof(int64) * old->n);
		memcpy(text, old->text, text_bytes);
	}
	for (int64 i = 0; i < n_new; i++)
	{
		const RawItem *item = &build->item[new[i]];
		int64		begin = new[i] > 0 ? item[-1].text : 0;
		int64		at = old->n + i;

		build->catalogue_index[new[i]] = places[i] = (int32) at;
		keys[at] = item->key;
		counts[at] = 0;
		memcpy(text + offsets[at], (const char *) build->item_text->data + begin, item->text - begin);
		offsets[at + 1] = offsets[at] + item->text - begin;
	}
	catalogue->n = n;
	catalogue->key = keys;
	catalogue->text = text;
	catalogue->text_offsets = offsets;
	catalogue->count = counts;
	catalogue->index = old->index;
	vocabulary_extend(&catalogue->index, keys + old->n, places, n_new, context);
	pfree(places);
}

/* A feature's ids of all items, where a taken id is unknown. */
static IdColumn
copy_feature(Build *build, int f)
{
	MemoryContext context = build->data->context;
	const Feature *feature = &build->data->set->f[NN_ITEM][f];
	const uint8 *forgotten = build->data->growth[NN_ITEM][f].forgotten;
	const nn_ids *old = &build->base->catalogue.feature[f];
	IdColumn	column = {0};

	for (int64 j = 0; j < build->base->catalogue.n; j++)
	{
		int32		ids[NN_MAX_BAG];
		int64		begin = old->offsets ? old->offsets[j] : j;
		int			n = old->offsets ? (int) (old->offsets[j + 1] - begin) : 1;

		memcpy(ids, old->values + begin, sizeof(int32) * n);
		if (forgotten && forgotten[ids[0]])
			ids[0] = ID_UNKNOWN;
		id_column_append(&column, context, feature->multi, j, ids, n);
		if (j % CHECK_EVERY == 0)
			job_check();
	}
	return column;
}

/* The same of items met tonight as they are today, and of the new ones. */
static void
describe_items(Build *build, int f, IdColumn *column, const int32 *new, int64 n_new)
{
	const Feature *feature = &build->data->set->f[NN_ITEM][f];
	int64		n_old = build->base->catalogue.n;
	int32		ids[NN_MAX_BAG];
	const Cell *cells;
	int			n;

	for (int64 i = 0; i < build->n_items; i++)
	{
		int64		j = build->catalogue_index[i];
		int64		begin = feature->multi && j < n_old ? column->offsets[j] : j;
		bool		described = f == 0 || feature->source == FROM_CATALOG || build->item[i].event_row >= 0;

		if (i % CHECK_EVERY == 0)
			job_check();
		n = j < n_old && described ? item_cells(build, &build->item[i], f, &cells) : 0;
		if (n == 0)
			continue;
		n = encode_cells(feature, cells, n, ids);
		if (!feature->multi || column->offsets[j + 1] - begin == n)
			memcpy(column->values + begin, ids, sizeof(int32) * n);
	}
	for (int64 i = 0; i < n_new; i++)
	{
		n = item_cells(build, &build->item[new[i]], f, &cells);
		n = encode_cells(feature, cells, n, ids);
		id_column_append(column, build->data->context, feature->multi, n_old + i, ids, n);
	}
}

void
grow_catalogue(Build *build)
{
	Dataset    *data = build->data;
	Catalogue  *catalogue = &data->catalogue;
	int64		n_new;
	int32	   *new;
	int64	   *counts;

	build->catalogue_index = MemoryContextAllocHuge(build->context, sizeof(int32) * Max(build->n_items, 1));
	new = find_new(build, &n_new);
	append_items(build, new, n_new);
	for (int f = 0; f < data->set->n[NN_ITEM]; f++)
	{
		IdColumn	column = copy_feature(build, f);

		describe_items(build, f, &column, new, n_new);
		catalogue->feature[f] = (nn_ids) {.values = column.values,
		.offsets = data->set->f[NN_ITEM][f].multi ? column.offsets : NULL};
	}
	pfree(new);

	counts = unconstify(int64 *, catalogue->count);
	data->known = MemoryContextAllocExtended(data->context, Max(catalogue->n, 1),
											 MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	for (int64 j = 0; j < build->base->catalogue.n; j++)
		data->known[j] = counts[j] > 0;
	for (int64 i = 0; i < build->n_items; i++)
	{
		const RawItem *item = &build->item[i];
		int32		at = build->catalogue_index[i];

		counts[at] += item->fresh;
		data->known[at] |= item->catalog_row >= 0 || item->fresh > 0;
	}
}

void
count_held_out(Build *build)
{
	Dataset    *data = build->data;

	data->held_out = MemoryContextAllocExtended(data->context, sizeof(int64) * Max(data->catalogue.n, 1),
												MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	for (int64 i = 0; i < build->n_items; i++)
		if (build->catalogue_index[i] >= 0)
			data->held_out[build->catalogue_index[i]] += build->item[i].held_out;
}
