/*-------------------------------------------------------------------------
 *
 * item_vectors.h
 *	  Vectors of many items, for retrieval by inner product
 *
 * The items are those of the catalog today, without a catalog those of the
 * version.  What an item is, is said by the version where it knows the item
 * (see items.c), else by its row.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DUPN_ITEM_VECTORS_H
#define DUPN_ITEM_VECTORS_H

#include "serve/candidate.h"

typedef struct ItemVectors
{
	Session    *session;
	MemoryContext context;		/* holds all of this */
	int			task;			/* of kind next_item */
	int			n;
	int			width;			/* E + 1 */
	bool	   *found;			/* [n] is the item still there? */
	float	   *vector;			/* [n, width] */
	CellType	key_type;
	Candidate	candidate;
} ItemVectors;

/* e and b of one item into vector [E + 1]. */
extern void item_vector(const ModelImage *image, int task, const Candidate *candidate, float *vector);

/* The type of keys below: of the catalog's column, without a catalog of the events'. */
extern Oid	item_key_type(const Model *model);

/* A group of at most `capacity` items in a memory context of its own, a child of
 * the current one; an error if the version has no task of kind next_item. */
extern ItemVectors *item_vectors_make(Session *session, int capacity);

/*
 * The first n keys, or the first n after one, as the current user, inside a
 * transaction.  Returns how many there are; copies, in the current memory
 * context.
 */
extern int	item_vectors_list(Session *session, const Model *model, const Datum *after, int n, Datum *key);

/* Read n items by their keys in the same way and compute their vectors. */
extern void item_vectors_read(ItemVectors *items, const Model *model, const Datum *key, int n);

extern void item_vectors_free(ItemVectors *items);

#endif							/* DUPN_ITEM_VECTORS_H */
