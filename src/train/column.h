/*-------------------------------------------------------------------------
 *
 * column.h
 *	  Append-only typed columns that spill to temporary files
 *
 * Columns are what of a job grows with the number of events.  While the whole
 * memory of the process stays below a limit they are arrays; beyond it each
 * column keeps a small buffer and writes to a file of its own, which is mapped
 * read-only when reading begins.  Clean pages of a file are the system's, which
 * takes them back when it likes.  Files are PostgreSQL's own temporary files:
 * limited by temp_file_limit, gone with the process.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DUPN_COLUMN_H
#define DUPN_COLUMN_H

#include "compat.h"

#include "storage/fd.h"

typedef struct ColumnMemory ColumnMemory;
typedef struct ColumnStore ColumnStore;

typedef struct Column
{
	ColumnStore *store;
	size_t		width;			/* bytes of an element */
	int64		n;				/* elements */
	const void *data;			/* all of them, after column_finish; ask again after
								 * column_memory_reserve, which may move them to a file */
	void	   *reader;			/* address of a pointer that is always the same as data, or NULL */
	/* until then */
	char	   *buffer;
	size_t		used,			/* bytes in the buffer, and its size */
				size;
	File		file;			/* 0: none yet */
	off_t		written;
	struct Column *next;
} Column;

/* What the stores of a job share: the limit, in bytes of the whole process. */
extern ColumnMemory *column_memory(MemoryContext context, int64 limit);

/*
 * Something else is about to take this many bytes: if they and what there is
 * pass the limit, all finished columns move to files.  false: they pass it even so.
 */
extern bool column_memory_reserve(ColumnMemory *memory, size_t bytes);
extern int64 column_memory_limit(const ColumnMemory *memory);
extern int64 column_memory_spilled(const ColumnMemory *memory);

/* In a context of its own under parent; deleting the store unmaps and removes all. */
extern ColumnStore *column_store(MemoryContext parent, ColumnMemory *memory);
extern void column_store_delete(ColumnStore *store);

extern Column *column_add(ColumnStore *store, size_t width, void *reader);
extern void column_append(Column *column, const void *values, int64 n);
extern void column_free(Column *column);

/* Make columns readable; nothing may be appended after. */
extern void column_finish(Column *column);
extern void column_store_finish(ColumnStore *store);

/*
 * A finished column in order: itself if it is, else another of the same store,
 * and this one is gone.
 */
extern Column *column_sorted(Column *column, int (*compare) (const void *a, const void *b));

#endif							/* DUPN_COLUMN_H */
