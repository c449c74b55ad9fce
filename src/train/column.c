/*-------------------------------------------------------------------------
 *
 * column.c
 *	  Append-only typed columns that spill to temporary files
 *
 *-------------------------------------------------------------------------
 */
#include "train/column.h"

#include <fcntl.h>
#include <sys/mman.h>

#include "storage/fd.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"

#define SPILL_BUFFER ((size_t) 64 * 1024)	/* of a column whose store spills */

struct ColumnStore
{
	MemoryContext context;
	int64		budget;
	int64		memory;			/* bytes of all buffers */
	int64		spilled;
	bool		spills;
	Column	   *first;
	MemoryContextCallback callback;
};

/* Mapped memory and files are no palloc chunks: let them go with the context. */
static void
store_release(void *arg)
{
	ColumnStore *store = arg;

	for (Column *column = store->first; column != NULL; column = column->next)
	{
		if (column->written > 0 && column->data != NULL)
			munmap((void *) column->data, column->written);
		if (column->file > 0)
			FileClose(column->file);
	}
}

ColumnStore *
column_store(MemoryContext parent, int64 budget)
{
	MemoryContext context = AllocSetContextCreate(parent, "dupn columns", ALLOCSET_DEFAULT_SIZES);
	ColumnStore *store = MemoryContextAllocZero(context, sizeof(ColumnStore));

	store->context = context;
	store->budget = budget;
	store->callback.func = store_release;
	store->callback.arg = store;
	MemoryContextRegisterResetCallback(context, &store->callback);
	return store;
}

Column *
column_add(ColumnStore *store, size_t width)
{
	Column	   *column = MemoryContextAllocZero(store->context, sizeof(Column));

	column->store = store;
	column->width = width;
	column->next = store->first;
	store->first = column;
	return column;
}

/* Write out what a column has in its buffer. */
static void
column_flush(Column *column)
{
	size_t		done = 0;

	if (column->used > 0 && column->file <= 0)
		column->file = OpenTemporaryFile(true);
	while (done < column->used)
	{
		int			chunk = (int) Min(column->used - done, (size_t) 1 << 20);
		int			written = FileWrite(column->file, column->buffer + done, chunk,
										column->written, WAIT_EVENT_BUFFILE_WRITE);

		if (written != chunk)
			ereport(ERROR,
					(errcode_for_file_access(),
					 errmsg("could not write to temporary file \"%s\": %m",
							FilePathName(column->file)),
					 errhint("Rows beyond \"dupn.job_memory\" are spilled to temporary files.")));
		done += chunk;
		column->written += chunk;
		column->store->spilled += chunk;
	}
	column->used = 0;
}

static void
column_resize(Column *column, size_t size)
{
	column->store->memory += (int64) size - (int64) column->size;
	column->buffer = column->buffer == NULL ?
		MemoryContextAllocHuge(column->store->context, size) :
		repalloc_huge(column->buffer, size);
	column->size = size;
}

/* From now on every column goes through a buffer of fixed size. */
static void
store_spill(ColumnStore *store)
{
	store->spills = true;
	for (Column *column = store->first; column != NULL; column = column->next)
		if (column->size > SPILL_BUFFER)
		{
			column_flush(column);
			column_resize(column, SPILL_BUFFER);
		}
}

void
column_append(Column *column, const void *values, int64 n)
{
	ColumnStore *store = column->store;
	size_t		bytes = mul_size(n, column->width);

	if (column->used + bytes > column->size)
	{
		size_t		size = Max(Max(column->size * 2, column->used + bytes), (size_t) 1024);

		if (!store->spills && store->memory + (int64) (size - column->size) > store->budget)
			store_spill(store);
		if (!store->spills || size <= SPILL_BUFFER)
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
column_store_finish(ColumnStore *store)
{
	for (Column *column = store->first; column != NULL; column = column->next)
	{
		int			fd;
		void	   *map;

		if (column->written == 0)
		{
			column->data = column->buffer;
			continue;
		}
		column_flush(column);
		store->memory -= column->size;
		pfree(column->buffer);
		column->buffer = NULL;
		column->size = 0;

		fd = OpenTransientFile(FilePathName(column->file), O_RDONLY | PG_BINARY);
		if (fd < 0)
			ereport(ERROR,
					(errcode_for_file_access(),
					 errmsg("could not open temporary file \"%s\": %m",
							FilePathName(column->file))));
		map = mmap(NULL, column->written, PROT_READ, MAP_SHARED, fd, 0);
		if (map == MAP_FAILED)
			ereport(ERROR,
					(errcode(ERRCODE_OUT_OF_MEMORY),
					 errmsg("could not map temporary file \"%s\": %m",
							FilePathName(column->file))));
		column->data = map;
		CloseTransientFile(fd);
	}
}

int64
column_store_spilled(const ColumnStore *store)
{
	return store->spilled;
}

void
column_store_delete(ColumnStore *store)
{
	MemoryContextDelete(store->context);
}
