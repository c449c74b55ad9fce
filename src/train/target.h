/*-------------------------------------------------------------------------
 *
 * target.h
 *	  The user's table that a refresh writes
 *
 * One row per user or item and version: its id, "version" int, "vector" and
 * "as_of" timestamptz, with a key on the first two.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DUPN_TARGET_H
#define DUPN_TARGET_H

#include "model/model.h"
#include "serve/vector.h"

#include "executor/spi.h"

typedef struct Target
{
	char	   *name;			/* qualified and quoted */
	bool		items;			/* not users */
	char	   *key_column;
	Oid			key_type;		/* of the column: of the base type that the model's has */
	Oid			vector_type;	/* dupn_vector */
	bool		floats;			/* the column takes real[] */

	/* statements, made when they are first needed; with SPI's lifetime of the process */
	SPIPlanPtr	look;
	SPIPlanPtr	write;
	SPIPlanPtr	first;
	SPIPlanPtr	next;
	SPIPlanPtr	remove;
} Target;

/*
 * Resolve the name of a table and check that it can take vectors of users or of
 * items, written by the model's owner.  Errors name the table and the column, and
 * hint at the statement that mends it.  In the current memory context.
 */
extern Target *target_open(const Model *model, const char *name, bool items);

/* No row that the current user sees; inside a transaction. */
extern bool target_empty(const Target *target);

/*
 * The functions below run SQL as the current user, inside a transaction and
 * with SPI connected.  Keys are values of the key column's type.
 */

/* The moments of the rows of this version that n keys have, DT_NOBEGIN: none. */
extern void target_look(Target *target, const Datum *keys, int n, int32 version, TimestampTz *as_of);

/*
 * Write n rows; one of the same key and version is replaced unless it is as of
 * a later moment.  Vectors of items are dupn_vectors on their way only.
 */
extern void target_write(Target *target, const Datum *keys, DupnVector *const *vectors, int n,
						 int32 version, TimestampTz as_of);

/*
 * Remove what a complete refresh leaves behind among at most n rows from
 * *last on (NULL: the first) in the order of keys: rows of this version that
 * are as of an earlier moment and, unless others stay, rows of any other
 * version.  *last becomes the last key looked at, in `context`.  False: there
 * was none.
 */
extern bool target_remove(Target *target, Datum *last, bool *last_null, MemoryContext context, int n,
						  int32 version, TimestampTz as_of, bool keep_others, int64 *removed);

#endif							/* DUPN_TARGET_H */
