/*-------------------------------------------------------------------------
 *
 * vocabulary.c
 *	  Learning vocabularies and bands from training data; vocabulary_grow.c lets
 *	  vocabularies grow
 *
 *-------------------------------------------------------------------------
 */
#include "features/feature.h"

#include "port/pg_bitutils.h"
#include "utils/memutils.h"

typedef struct CountEntry
{
	Cell		cell;
	int64		count;
	char		status;
} CountEntry;

#define SH_PREFIX count
#define SH_ELEMENT_TYPE CountEntry
#define SH_KEY_TYPE Cell
#define SH_KEY cell
#define SH_HASH_KEY(tb, key) ((uint32) cell_hash(key))
#define SH_EQUAL(tb, a, b) ((a) == (b))
#define SH_SCOPE static inline
#define SH_DEFINE
#define SH_DECLARE
#include "lib/simplehash.h"

struct VocabularyBuilder
{
	MemoryContext context;
	count_hash *counts;
};

VocabularyBuilder *
vocabulary_builder(MemoryContext context)
{
	VocabularyBuilder *builder = MemoryContextAlloc(context, sizeof(VocabularyBuilder));

	builder->context = context;
	builder->counts = count_create(context, 1024, NULL);
	return builder;
}

void
vocabulary_count(VocabularyBuilder *builder, Cell cell)
{
	CountEntry *entry;
	bool		found;

	if (cell == CELL_NULL)
		return;
	entry = count_insert(builder->counts, cell, &found);
	if (!found)
		entry->count = 0;
	entry->count++;
}

/* The most frequent first, ties by value. */
static int
compare_entries(const void *a, const void *b)
{
	const CountEntry *x = a;
	const CountEntry *y = b;

	if (x->count != y->count)
		return x->count > y->count ? -1 : 1;
	return x->cell < y->cell ? -1 : x->cell > y->cell;
}

void
vocabulary_finish(VocabularyBuilder *builder, Feature *feature)
{
	uint64		members = builder->counts->members;
	CountEntry *entries;
	CountEntry *entry;
	count_iterator iterator;
	Cell	   *cells;
	int64		n = 0;

	entries = MemoryContextAllocHuge(builder->context, sizeof(CountEntry) * Max(members, 1));
	count_start_iterate(builder->counts, &iterator);
	while ((entry = count_iterate(builder->counts, &iterator)) != NULL)
		if (entry->count >= feature->min_count)
			entries[n++] = *entry;
	qsort(entries, n, sizeof(CountEntry), compare_entries);
	if (n > PG_INT32_MAX - ID_FIRST)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("column \"%s\" has more than %d distinct values", feature->name,
						PG_INT32_MAX - ID_FIRST),
				 errhint("Set {\"encodings\": {\"%s\": {\"hash\": 1000000}}}.", feature->name)));

	cells = MemoryContextAllocHuge(builder->context, sizeof(Cell) * Max(n, 1));
	for (int64 i = 0; i < n; i++)
		cells[i] = entries[i].cell;
	vocabulary_index(&feature->vocabulary, cells, n, ID_FIRST, builder->context);
	feature->vocab = ID_FIRST + n;
	pfree(cells);
	pfree(entries);

	/* the counts may be larger than all that was learned from them */
	(void) vocabulary_free(builder);
}

MemoryContext
vocabulary_free(VocabularyBuilder *builder)
{
	MemoryContext context = builder->context;

	count_destroy(builder->counts);
	pfree(builder);
	return context;
}

int64
vocabulary_counted(const VocabularyBuilder *builder, Cell cell)
{
	CountEntry *entry = count_lookup(builder->counts, cell);

	return entry ? entry->count : 0;
}

static int
compare_cells(const void *a, const void *b)
{
	const CellCount *x = a;
	const CellCount *y = b;

	return x->cell < y->cell ? -1 : x->cell > y->cell;
}

CellCount *
vocabulary_counts(const VocabularyBuilder *builder, int64 *n)
{
	CellCount  *counts = palloc0_array_huge(CellCount, builder->counts->members);
	CountEntry *entry;
	count_iterator iterator;

	*n = 0;
	count_start_iterate(builder->counts, &iterator);
	while ((entry = count_iterate(builder->counts, &iterator)) != NULL)
		counts[(*n)++] = (CellCount) {entry->cell, entry->count};
	qsort(counts, *n, sizeof(CellCount), compare_cells);
	return counts;
}

void
vocabulary_index(Vocabulary *vocabulary, const Cell *cells, int64 n, int32 first_id,
				 MemoryContext context)
{
	int64		capacity = (int64) pg_nextpower2_64(Max(n * 2, 8));
	Cell	   *keys = MemoryContextAllocHuge(context, sizeof(Cell) * capacity);
	int32	   *ids = MemoryContextAllocHuge(context, sizeof(int32) * capacity);
	uint64		mask = capacity - 1;

	for (int64 i = 0; i < capacity; i++)
	{
		keys[i] = CELL_NULL;
		ids[i] = ID_MISSING;
	}
	for (int64 i = 0; i < n; i++)
	{
		uint64		at = cell_hash(cells[i]) & mask;

		Assert(cells[i] != CELL_NULL);
		while (keys[at] != CELL_NULL && keys[at] != cells[i])
			at = (at + 1) & mask;
		if (keys[at] == cells[i])
			continue;
		keys[at] = cells[i];
		ids[at] = first_id + (int32) i;
	}
	vocabulary->capacity = capacity;
	vocabulary->keys = keys;
	vocabulary->ids = ids;
}

/* Put a cell that is not there into a table that has room. */
static void
put_cell(Cell *keys, int32 *ids, uint64 mask, Cell cell, int32 id)
{
	uint64		at = cell_hash(cell) & mask;

	while (keys[at] != CELL_NULL)
		at = (at + 1) & mask;
	keys[at] = cell;
	ids[at] = id;
}

void
vocabulary_extend(Vocabulary *vocabulary, const Cell *cells, const int32 *more, int64 n, MemoryContext context)
{
	int64		members = n;
	int64		capacity;
	Cell	   *keys;
	int32	   *ids;

	for (int64 i = 0; i < vocabulary->capacity; i++)
		members += vocabulary->keys[i] != CELL_NULL;
	capacity = Max(vocabulary->capacity, (int64) pg_nextpower2_64(Max(members * 2, 8)));
	keys = MemoryContextAllocHuge(context, sizeof(Cell) * capacity);
	ids = MemoryContextAllocHuge(context, sizeof(int32) * capacity);
	if (capacity == vocabulary->capacity)
	{
		memcpy(keys, vocabulary->keys, sizeof(Cell) * capacity);
		memcpy(ids, vocabulary->ids, sizeof(int32) * capacity);
	}
	else
	{
		for (int64 i = 0; i < capacity; i++)
		{
			keys[i] = CELL_NULL;
			ids[i] = ID_MISSING;
		}
		for (int64 i = 0; i < vocabulary->capacity; i++)
			if (vocabulary->keys[i] != CELL_NULL)
				put_cell(keys, ids, capacity - 1, vocabulary->keys[i], vocabulary->ids[i]);
	}
	for (int64 i = 0; i < n; i++)
		put_cell(keys, ids, capacity - 1, cells[i], more[i]);
	vocabulary->capacity = capacity;
	vocabulary->keys = keys;
	vocabulary->ids = ids;
}

int
compare_numbers(const void *a, const void *b)
{
	double		x = *(const double *) a;
	double		y = *(const double *) b;

	return x < y ? -1 : x > y;
}

int
bands_learn(const double *numbers, int64 n, int bands, double *bounds)
{
	int			n_bounds = 0;

	for (int b = 1; b < bands && n > 0; b++)
	{
		double		bound = numbers[Max((n * b + bands - 1) / bands - 1, 0)];

		/* the last band must not be empty, and a heavy value makes one bound */
		if (bound >= numbers[n - 1])
			break;
		if (n_bounds == 0 || bound > bounds[n_bounds - 1])
			bounds[n_bounds++] = bound;
	}
	return n_bounds;
}
