/*-------------------------------------------------------------------------
 *
 * feature.c
 *	  From a Cell to an id
 *
 *-------------------------------------------------------------------------
 */
#include "features/feature.h"

#include <math.h>

const char *const feature_source_name[] = {"events", "catalog", "profile", "context", "samples", "time", "window"};
const char *const feature_use_name[] = {"none", "gates", "attention", "both"};

int32
vocabulary_find(const Vocabulary *vocabulary, Cell cell)
{
	uint64		mask = (uint64) vocabulary->capacity - 1;

	if (vocabulary->capacity == 0)
		return ID_UNKNOWN;

	/* at most half full when built; a damaged one is left after one round */
	for (uint64 i = cell_hash(cell) & mask, tries = 0; tries <= mask; i = (i + 1) & mask, tries++)
	{
		if (vocabulary->keys[i] == cell)
			return vocabulary->ids[i];
		if (vocabulary->keys[i] == CELL_NULL)
			break;
	}
	return ID_UNKNOWN;
}

void
vocabulary_prefetch(const Vocabulary *vocabulary, Cell cell)
{
	uint64		at = cell_hash(cell) & ((uint64) vocabulary->capacity - 1);

	if (vocabulary->capacity == 0)
		return;
	__builtin_prefetch(&vocabulary->keys[at]);
	__builtin_prefetch(&vocabulary->ids[at]);
}

/* First band whose upper bound is not below the number. */
static int32
band_of(const double *bounds, int n, double number)
{
	int			low = 0;
	int			high = n;

	while (low < high)
	{
		int			middle = (low + high) / 2;

		if (number <= bounds[middle])
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

void
feature_cell_type(const Feature *feature, Oid type, CellType *celltype, MemoryContext context)
{
	cell_type_init(celltype, type, feature->encoding != ENCODE_BANDS, context);
	if (feature->words[0] != '\0')
		celltype->words = feature->words;
}

int32
feature_encode(const Feature *feature, Cell cell)
{
	if (cell == CELL_NULL)
		return ID_MISSING;

	switch (feature->encoding)
	{
		case ENCODE_ID:
			return vocabulary_find(&feature->vocabulary, cell);
		case ENCODE_HASH:
			return ID_FIRST + (int32) (cell_hash(cell) % (uint64) feature->buckets);
		case ENCODE_BANDS:
			return ID_FIRST + band_of(feature->bounds, feature->n_bounds,
									  cell_number(cell, feature->kind));
		case ENCODE_FIXED:
			break;
	}
	elog(ERROR, "derived feature \"%s\" has no cells", feature->name);
}

int
feature_encode_bag(const Feature *feature, const Cell *cells, int n, int32 *ids)
{
	int			distinct = 0;

	for (int i = 0; i < n; i++)
	{
		int32		id = feature_encode(feature, cells[i]);
		int			at = distinct;

		while (at > 0 && ids[at - 1] > id)
			at--;
		if (at > 0 && ids[at - 1] == id)
			continue;
		memmove(ids + at + 1, ids + at, sizeof(int32) * (distinct - at));
		ids[at] = id;
		distinct++;
	}
	return distinct;
}

/* Types are counted one by one while they fit into a bag. */
#define ACTIVITY_MAX_TYPES (ID_FIRST + 16)

void
feature_set_vocab(const FeatureSet *set, Feature *feature)
{
	switch (feature->encoding)
	{
		case ENCODE_ID:
			break;
		case ENCODE_HASH:
			feature->vocab = ID_FIRST + feature->buckets;
			break;
		case ENCODE_BANDS:
			feature->vocab = ID_FIRST + feature->n_bounds + 1;
			break;
		case ENCODE_FIXED:
			if (feature->source == FROM_WINDOW)
				feature->vocab = ID_FIRST + COUNT_BUCKETS *
					(1 + (set->types > 1 && set->types <= ACTIVITY_MAX_TYPES ? set->types : 0));
			else if (set->daypart >= 0 && feature == &set->f[NN_PROPERTY][set->daypart])
				feature->vocab = DAYPART_VOCAB;
			else
				feature->vocab = ID_FIRST + TIME_BUCKETS;
			break;
	}
}

/* NETWORK.md, Inputs: clamp(4 ceil(V^0.25 / 2), 4, 64), the item key at least
 * 32, and 64 with a next_item task. */
int
feature_default_dim(const Feature *feature, bool item_key, bool next_item)
{
	double		dim = 4 * ceil(pow((double) feature->vocab, 0.25) / 2);
	int			least = item_key && feature->min_count != NEVER_ENOUGH ? (next_item ? 64 : 32) : 4;

	return Max(least, (int) Min(dim, 64));
}
