/*-------------------------------------------------------------------------
 *
 * column.h
 *	  Append-only typed columns that spill to temporary files
 *
 * A store has a budget.  While its columns fit they are arrays in memory;
 * beyond it each column keeps a small buffer and writes to a file of its own,
 * which is mapped read-only when reading begins.  Files are PostgreSQL's own
 * temporary files: limited by temp_file_limit, gone with the process.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DUPN_COLUMN_H
#define DUPN_COLUMN_H

#include "compat.h"

#include "storage/fd.h"

typedef struct ColumnStore ColumnStore;

typedef struct Column
{
	ColumnStore *store;
	size_t		width;			/* bytes of an element */
	int64		n;				/* elements */
	const void *data;			/* all of them, after column_store_finish */
	/* until then */
	char	   *buffer;
	size_t		used,			/* bytes in the buffer, and its size */
				size;
	File		file;			/* 0: none yet */
	off_t		written;
	struct Column *next;
} Column;

/* In a context of its own under parent; deleting the store unmaps and removes all. */
extern ColumnStore *column_store(MemoryContext parent, int64 budget);
extern Column *column_add(ColumnStore *store, size_t width);
extern void column_append(Column *column, const void *values, int64 n);

/* Make the columns readable; nothing may be appended after. */
extern void column_store_finish(ColumnStore *store);
extern int64 column_store_spilled(const ColumnStore *store);
extern void column_store_delete(ColumnStore *store);

#endif							/* DUPN_COLUMN_H */
