/*-------------------------------------------------------------------------
 *
 * next_terms.h
 *	  What a window adds to the scores of next_item, beside the inner product
 *
 *-------------------------------------------------------------------------
 */
#ifndef DUPN_NEXT_TERMS_H
#define DUPN_NEXT_TERMS_H

#include "features/neighbours.h"
#include "model/model.h"

#define NEXT_BLOCK	4096		/* items of a call of next_terms_add, at most */

/* m_j of NETWORK.md: what the user had in the window is taken again. */
typedef struct Repeat
{
	int32		item;
	float		term;
} Repeat;

/* n_j of NETWORK.md: a row of S on the way through the catalogue. */
typedef struct MemoryRow
{
	int64		at,
				end;			/* of its entries */
	float		weight;
} MemoryRow;

typedef struct NextTerms
{
	int			n_repeat;
	Repeat	   *repeat;			/* by item */
	const Neighbours *neighbours;
	int			n_memory;
	MemoryRow  *memory;			/* as they are before the first item */
} NextTerms;

/* How far a walk through the catalogue has come. */
typedef struct NextPlace
{
	int			repeat;
	MemoryRow	memory[NEIGHBOUR_EVENTS];
} NextPlace;

/* The terms of rows [start, start + n) of a user's events, whose `item` are places in the catalogue. */
extern void next_terms_find(const ModelImage *image, int task, const EventTable *events, int64 start, int n,
							TimestampTz now, NextTerms *terms);

/* Add them to the scores of n items from `first` on, block after block. */
extern void next_terms_begin(const NextTerms *terms, NextPlace *place);
extern void next_terms_add(const NextTerms *terms, NextPlace *place, int64 first, int n, float *score);

/* Their sum for one item. */
extern float next_terms_of(const NextTerms *terms, int32 item);

#endif							/* DUPN_NEXT_TERMS_H */
