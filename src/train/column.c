/*-------------------------------------------------------------------------
 *
 * column.c
 *	  Append-only typed columns that spill to temporary files
 *
 *-------------------------------------------------------------------------
 */
#include "train/column.h"

#include <sys/mman.h>

#include "lib/binaryheap.h"
#include "lib/ilist.h"
#include "train/train.h"
#include "utils/memutils.h"

#define SPILL_BUFFER	((size_t) 64 * 1024)	/* of a column that is written to a file */
#define DOUBLED			((size_t) 1024 * 1024)	/* beyond, buffers grow by a quarter */
#define SORT_BYTES		(4 * 1024 * 1024)	/* sorted at once: a twentieth of a second */

struct ColumnMemory
{
	int64		limit;
	int64		spilled;
	bool		spills;			/* once beyond the limit, for good */
	dlist_head	stores;
};

struct ColumnStore
{
	ColumnMemory *memory;
	dlist_node	node;
	MemoryContext context;
	Column	   *first;
	MemoryContextCallback callback;
};

static void
column_release(Column *column)
{
	if (column->written > 0 && column->data != NULL)
		munmap((void *) column->data, column->written);
	if (column->file > 0)
		FileClose(column->file);
}

/* Mapped memory and files are no palloc chunks: let them go with the context. */
static void
store_release(void *arg)
{
	ColumnStore *store = arg;

	for (Column *column = store->first; column != NULL; column = column->next)
		column_release(column);
	dlist_delete(&store->node);
}

ColumnMemory *
column_memory(MemoryContext context, int64 limit)
{
	ColumnMemory *memory = MemoryContextAllocZero(context, sizeof(ColumnMemory));

	memory->limit = limit;
	dlist_init(&memory->stores);
	return memory;
}

int64
column_memory_limit(const ColumnMemory *memory)
{
	return memory->limit;
}

int64
column_memory_spilled(const ColumnMemory *memory)
{
	return memory->spilled;
}

/* Would this many bytes more pass the limit? */
static bool
passes_limit(const ColumnMemory *memory, size_t bytes)
{
	return (int64) (MemoryContextMemAllocated(TopMemoryContext, true) + bytes) > memory->limit;
}

ColumnStore *
column_store(MemoryContext parent, ColumnMemory *memory)
{
	MemoryContext context = AllocSetContextCreate(parent, "dupn columns", ALLOCSET_DEFAULT_SIZES);
	ColumnStore *store = MemoryContextAllocZero(context, sizeof(ColumnStore));

	store->memory = memory;
	store->context = context;
	dlist_push_tail(&memory->stores, &store->node);
	store->callback.func = store_release;
	store->callback.arg = store;
	MemoryContextRegisterResetCallback(context, &store->callback);
	return store;
}

void
column_store_delete(ColumnStore *store)
{
	MemoryContextDelete(store->context);
}

Column *
column_add(ColumnStore *store, size_t width, void *reader)
{
	Column	   *column = MemoryContextAllocZero(store->context, sizeof(Column));

	column->store = store;
	column->width = width;
	column->reader = reader;
	column->next = store->first;
	store->first = column;
	return column;
}

void
column_free(Column *column)
{
	Column	  **link = &column->store->first;

	while (*link != column)
		link = &(*link)->next;
	*link = column->next;
	column_release(column);
	if (column->buffer != NULL)
		pfree(column->buffer);
	pfree(column);
}

/* ---------------- writing ---------------- */

/* Write out what a column has in its buffer. */
static void
column_flush(Column *column)
{
	if (column->used == 0)
		return;
	if (column->file <= 0)
		column->file = OpenTemporaryFile(true);
	spool_write(column->file, column->written, column->buffer, column->used,
				"Rows beyond \"dupn.job_memory\" are spilled to temporary files.");
	column->written += column->used;
	column->store->memory->spilled += column->used;
	column->used = 0;
}

static void
column_resize(Column *column, size_t size)
{
	column->buffer = column->buffer == NULL ?
		MemoryContextAllocHuge(column->store->context, size) :
		repalloc_huge(column->buffer, size);
	column->size = size;
}

/* The file of a column that has all its elements there. */
static void
column_map(Column *column)
{
	column_flush(column);
	pfree(column->buffer);
	column->buffer = NULL;
	column->data = NULL;		/* it was the buffer; mapping may fail */
	column->size = 0;
	column->data = spool_map(column->file, column->written);
}

static void
column_publish(Column *column)
{
	if (column->reader != NULL)
		memcpy(column->reader, &column->data, sizeof(column->data));
}

/* From now on every column goes through a buffer of fixed size. */
static void
memory_spill(ColumnMemory *memory)
{
	dlist_iter	iter;

	memory->spills = true;
	dlist_foreach(iter, &memory->stores)
	{
		ColumnStore *store = dlist_container(ColumnStore, node, iter.cur);

		for (Column *column = store->first; column != NULL; column = column->next)
			if (column->data == NULL && column->size > SPILL_BUFFER)
			{
				column_flush(column);
				column_resize(column, SPILL_BUFFER);
			}
	}
}

bool
column_memory_reserve(ColumnMemory *memory, size_t bytes)
{
	dlist_iter	iter;

	if (!passes_limit(memory, bytes))
		return true;
	memory_spill(memory);
	dlist_foreach(iter, &memory->stores)
	{
		ColumnStore *store = dlist_container(ColumnStore, node, iter.cur);

		for (Column *column = store->first; column != NULL; column = column->next)
			if (column->data != NULL && column->written == 0 && column->used > SPILL_BUFFER)
			{
				column_map(column);
				column_publish(column);
			}
	}
	return !passes_limit(memory, bytes);
}

void
column_append(Column *column, const void *values, int64 n)
{
	ColumnMemory *memory = column->store->memory;
	size_t		bytes = mul_size(n, column->width);

	Assert(column->data == NULL);
	if (column->used + bytes > column->size)
	{
		size_t		grown = column->size < DOUBLED ? column->size * 2 : column->size + column->size / 4;
		size_t		size = Max(Max(grown, column->used + bytes), (size_t) 1024);

		if (!memory->spills && size > SPILL_BUFFER && passes_limit(memory, size - column->size))
			memory_spill(memory);
		if (!memory->spills || size <= SPILL_BUFFER)
			column_resize(column, size);
		else
		{
			column_flush(column);
			if (column->size < Max(SPILL_BUFFER, bytes))
				column_resize(column, Max(SPILL_BUFFER, bytes));
		}
	}
	if (bytes > 0)
		memcpy(column->buffer + column->used, values, bytes);
	column->used += bytes;
	column->n += n;
}

void
column_finish(Column *column)
{
	if (column->data != NULL)
		return;
	if (column->written > 0)
		column_map(column);
	else
	{
		/* what is empty can be read, too */
		column_resize(column, Max(column->used, 1));
		column->data = column->buffer;
	}
	column_publish(column);
}

void
column_store_finish(ColumnStore *store)
{
	for (Column *column = store->first; column != NULL; column = column->next)
		column_finish(column);
}

/* ---------------- sorting ---------------- */

static bool
in_order(const Column *column, int (*compare) (const void *a, const void *b))
{
	const char *data = column->data;

	for (int64 i = 1; i < column->n; i++)
		if (compare(data + (i - 1) * column->width, data + i * column->width) > 0)
			return false;
	return true;
}

/* Sorted runs of SORT_BYTES one after another. */
static Column *
sort_runs(const Column *column, int64 each, int (*compare) (const void *a, const void *b))
{
	Column	   *runs = column_add(column->store, column->width, NULL);
	char	   *buffer = palloc(each * column->width);

	for (int64 begin = 0; begin < column->n; begin += each)
	{
		int64		n = Min(each, column->n - begin);

		memcpy(buffer, (const char *) column->data + begin * column->width, n * column->width);
		qsort(buffer, n, column->width, compare);
		column_append(runs, buffer, n);
		job_check();
	}
	pfree(buffer);
	column_finish(runs);
	return runs;
}

typedef struct MergeRun
{
	const char *at,
			   *end;
	int			(*compare) (const void *a, const void *b);
} MergeRun;

/* A binaryheap has the greatest on top. */
static int
compare_merge(Datum a, Datum b, void *arg)
{
	const MergeRun *x = (const MergeRun *) DatumGetPointer(a);
	const MergeRun *y = (const MergeRun *) DatumGetPointer(b);

	return -x->compare(x->at, y->at);
}

static Column *
merge_runs(const Column *runs, int64 each, int (*compare) (const void *a, const void *b))
{
	Column	   *merged = column_add(runs->store, runs->width, NULL);
	const char *data = runs->data;
	int			n = (int) ((runs->n + each - 1) / each);
	MergeRun   *run = palloc(sizeof(MergeRun) * n);
	binaryheap *heap = binaryheap_allocate(n, compare_merge, NULL);

	for (int i = 0; i < n; i++)
	{
		run[i].at = data + i * each * runs->width;
		run[i].end = data + Min((i + 1) * each, runs->n) * runs->width;
		run[i].compare = compare;
		binaryheap_add_unordered(heap, PointerGetDatum(&run[i]));
	}
	binaryheap_build(heap);
	while (!binaryheap_empty(heap))
	{
		MergeRun   *first = (MergeRun *) DatumGetPointer(binaryheap_first(heap));

		column_append(merged, first->at, 1);
		first->at += runs->width;
		if (first->at < first->end)
			binaryheap_replace_first(heap, PointerGetDatum(first));
		else
			(void) binaryheap_remove_first(heap);
		if (merged->n % 65536 == 0)
			job_check();
	}
	binaryheap_free(heap);
	pfree(run);
	column_finish(merged);
	return merged;
}

Column *
column_sorted(Column *column, int (*compare) (const void *a, const void *b))
{
	int64		each = Min(Max(SORT_BYTES / column->width, 2), Max(column->n, 1));
	Column	   *runs;
	Column	   *merged;

	if (in_order(column, compare))
		return column;
	runs = sort_runs(column, each, compare);
	column_free(column);
	if (runs->n <= each)
		return runs;
	merged = merge_runs(runs, each, compare);
	column_free(runs);
	return merged;
}
