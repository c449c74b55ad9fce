/*-------------------------------------------------------------------------
 *
 * vocabulary_grow.c
 *	  A vocabulary from one night to the next
 *
 * Ids stay what they are, since rows of the embeddings are found by them.  A
 * value gets one as soon as it was seen min_count times in all, however many
 * nights that takes; until then its count is kept, and forgotten when it was not
 * seen for a while.  Ids that were not seen for very long may be taken away, and
 * are the first to be given to new values.
 *
 *-------------------------------------------------------------------------
 */
#include "features/feature.h"

#include "utils/memutils.h"

#define MOST_PENDING(vocab)	Max(4 * (vocab), 100000)

/* A value that has no id. */
typedef struct Waiting
{
	Cell		cell;
	int64		count;
	int32		day;
} Waiting;

/* The most frequent first, ties by value: as ids are given. */
static int
compare_counts(const void *a, const void *b)
{
	const Waiting *x = a;
	const Waiting *y = b;

	if (x->count != y->count)
		return x->count > y->count ? -1 : 1;
	return x->cell < y->cell ? -1 : x->cell > y->cell;
}

static int
compare_cells(const void *a, const void *b)
{
	const Waiting *x = a;
	const Waiting *y = b;

	return x->cell < y->cell ? -1 : x->cell > y->cell;
}

static bool
has_id(const Feature *feature, Cell cell)
{
	return vocabulary_find(&feature->vocabulary, cell) >= ID_FIRST;
}

/* Counts of what has no id: of old nights what is not too old, and of this one. */
static Waiting *
add_up(const Feature *feature, const CellCount *counts, int64 n_counts, const GrowthRule *rule, int64 *n)
{
	const Pending *pending = &feature->pending;
	Waiting    *waiting = palloc0_array_huge(Waiting, n_counts + pending->n);
	int64		p = 0;

	*n = 0;
	for (int64 i = 0; i <= n_counts; i++)
	{
		Waiting		new = {0};

		/* both are in the order of cells */
		for (; p < pending->n && (i == n_counts || pending->key[p] <= counts[i].cell); p++)
		{
			Waiting		old = {pending->key[p], pending->count[p], pending->day[p]};

			if (rule->today - old.day > rule->keep || has_id(feature, old.cell))
				continue;
			if (i < n_counts && old.cell == counts[i].cell)
				new.count = old.count;
			else
				waiting[(*n)++] = old;
		}
		if (i == n_counts || has_id(feature, counts[i].cell))
			continue;
		new.cell = counts[i].cell;
		new.count += counts[i].count;
		new.day = rule->today;
		waiting[(*n)++] = new;
	}
	return waiting;
}

/* Take ids away that were not seen for too long. */
static void
forget(Feature *feature, const int32 *seen, const GrowthRule *rule, Growth *growth, MemoryContext context)
{
	Vocabulary	old = feature->vocabulary;
	Cell	   *cells = palloc0_array_huge(Cell, old.capacity);
	int32	   *ids = palloc0_array_huge(int32, old.capacity);
	uint8	   *forgotten = NULL;
	int64		n = 0;

	for (int64 i = 0; i < old.capacity; i++)
	{
		if (old.keys[i] == CELL_NULL)
			continue;
		if (rule->today - seen[old.ids[i]] > rule->forget)
		{
			if (forgotten == NULL)
				forgotten = MemoryContextAllocExtended(context, feature->vocab, MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
			forgotten[old.ids[i]] = 1;
			continue;
		}
		cells[n] = old.keys[i];
		ids[n++] = old.ids[i];
	}
	if (forgotten)
	{
		feature->vocabulary = (Vocabulary) {0};
		vocabulary_extend(&feature->vocabulary, cells, ids, n, context);
	}
	growth->forgotten = forgotten;
	pfree(cells);
	pfree(ids);
}

/* Ids for n values: those that nobody has, and then those behind the last. */
static int32 *
find_ids(Feature *feature, int64 n, MemoryContext context)
{
	int32	   *ids = MemoryContextAllocHuge(context, sizeof(int32) * Max(n, 1));
	uint8	   *taken = palloc0_array_huge(uint8, feature->vocab);
	int64		found = 0;

	for (int64 i = 0; i < feature->vocabulary.capacity; i++)
		if (feature->vocabulary.keys[i] != CELL_NULL)
			taken[feature->vocabulary.ids[i]] = 1;
	for (int64 id = ID_FIRST; id < feature->vocab && found < n; id++)
		if (!taken[id])
			ids[found++] = (int32) id;
	pfree(taken);
	if (feature->vocab > PG_INT32_MAX - (n - found))
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("column \"%s\" has more than %d distinct values", feature->name, PG_INT32_MAX - ID_FIRST),
				 errhint("Set {\"encodings\": {\"%s\": {\"hash\": 1000000}}}.", feature->name)));
	while (found < n)
		ids[found++] = (int32) feature->vocab++;
	return ids;
}

/* What waits on: what was held out is seen, too, and of too many the most frequent. */
static void
keep_waiting(Feature *feature, Waiting *waiting, int64 n, const CellCount *held_out, int64 n_held_out,
			 const GrowthRule *rule, MemoryContext context)
{
	int64		most = MOST_PENDING(feature->vocab);
	Pending    *pending = &feature->pending;
	Waiting    *all = palloc0_array_huge(Waiting, n + n_held_out);
	int64		m = 0;
	Cell	   *key;
	int32	   *count;
	int32	   *day;

	qsort(waiting, n, sizeof(Waiting), compare_cells);
	for (int64 i = 0, h = 0; i < n || h < n_held_out;)
	{
		if (i < n && (h == n_held_out || waiting[i].cell < held_out[h].cell))
			all[m++] = waiting[i++];
		else
		{
			Waiting		seen = {held_out[h].cell, held_out[h].count, rule->today};

			if (i < n && waiting[i].cell == seen.cell)
				seen.count += waiting[i++].count;
			h++;
			if (!has_id(feature, seen.cell))
				all[m++] = seen;
		}
	}
	if (m > most)
	{
		qsort(all, m, sizeof(Waiting), compare_counts);
		m = most;
		qsort(all, m, sizeof(Waiting), compare_cells);
	}
	key = MemoryContextAllocHuge(context, sizeof(Cell) * Max(m, 1));
	count = MemoryContextAllocHuge(context, sizeof(int32) * Max(m, 1));
	day = MemoryContextAllocHuge(context, sizeof(int32) * Max(m, 1));
	for (int64 i = 0; i < m; i++)
	{
		key[i] = all[i].cell;
		count[i] = (int32) Min(all[i].count, PG_INT32_MAX);
		day[i] = all[i].day;
	}
	*pending = (Pending) {.n = m, .key = key, .count = count, .day = day};
	pfree(all);
}

/* The days when ids were last seen, of those before and those to come. */
static int32 *
see(const Feature *feature, const CellCount *counts, int64 n, int32 *seen, int32 today)
{
	for (int64 i = 0; i < n; i++)
	{
		int32		id = vocabulary_find(&feature->vocabulary, counts[i].cell);

		if (id >= ID_FIRST)
			seen[id] = today;
	}
	return seen;
}

void
vocabulary_grow(VocabularyBuilder *builder, VocabularyBuilder *held_out, Feature *feature,
				const GrowthRule *rule, Growth *growth)
{
	int64		n_counts;
	int64		n_held_out;
	CellCount  *counts = vocabulary_counts(builder, &n_counts);
	CellCount  *later = vocabulary_counts(held_out, &n_held_out);
	MemoryContext context = vocabulary_free(builder);
	int64		before = Max(feature->vocab, ID_FIRST);
	int32	   *seen = MemoryContextAllocHuge(context, sizeof(int32) * (before + n_counts + feature->pending.n));
	Waiting    *waiting;
	Cell	   *cells;
	int32	   *ids;
	int64		n;
	int64		admitted = 0;

	(void) vocabulary_free(held_out);
	*growth = (Growth) {0};
	feature->vocab = before;
	for (int64 i = 0; i < before + n_counts + feature->pending.n; i++)
		seen[i] = feature->seen && i < before ? feature->seen[i] : rule->today;
	see(feature, counts, n_counts, seen, rule->today);
	see(feature, later, n_held_out, seen, rule->today);
	if (rule->forget > 0 && feature->seen && !feature->multi)
		forget(feature, seen, rule, growth, context);

	waiting = add_up(feature, counts, n_counts, rule, &n);
	qsort(waiting, n, sizeof(Waiting), compare_counts);
	while (admitted < n && waiting[admitted].count >= feature->min_count)
		admitted++;
	ids = find_ids(feature, admitted, context);
	cells = palloc0_array_huge(Cell, admitted);
	for (int64 i = 0; i < admitted; i++)
	{
		cells[i] = waiting[i].cell;
		seen[ids[i]] = rule->today;
	}
	vocabulary_extend(&feature->vocabulary, cells, ids, admitted, context);
	growth->n_new = admitted;
	growth->id = ids;
	if (feature->min_count == NEVER_ENOUGH)
		feature->pending = (Pending) {0};
	else
		keep_waiting(feature, waiting + admitted, n - admitted, later, n_held_out, rule, context);
	feature->seen = NULL;
	if (rule->forget > 0)
		feature->seen = seen;
	else
		pfree(seen);
	pfree(cells);
	pfree(waiting);
	pfree(counts);
	pfree(later);
}
