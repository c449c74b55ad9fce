/*-------------------------------------------------------------------------
 *
 * item_table.h
 *	  How often one item came after another, counted from training events
 *
 * What the baselines of next_item score by and the memory term is made of.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DUPN_ITEM_TABLE_H
#define DUPN_ITEM_TABLE_H

#include "train/train.h"

/* Which pairs of a user's events count, and how much. */
typedef struct PairRule
{
	bool		together;		/* what the same user had, each pair once and in both directions */
	int			reach;			/* else: what came at most so many events later */
	float		decay;			/* factor on a pair's weight for every event between the two */
	float		back;			/* weight of the same pair the other way round */
	int64		latest;			/* training events of a user that are looked at */
	TimestampTz after;			/* DT_NOBEGIN, or only pairs count whose later event came after it */
	bool		held_out;		/* only those whose later event is held out */
	int			task;			/* of next_item whose targets alone are counted as coming; -1: any event is */
	double		(*score) (double sum, double from, double to);	/* of a sum, and how often the two items
																 * occurred; NULL: the sum */
} PairRule;

typedef struct Pair
{
	int32		from;
	int32		to;
	float		weight;
} Pair;

typedef struct ItemTable
{
	ColumnStore *store;
	uint32		stride;			/* of the users' hashes; 1: all were counted */
	int64	   *offsets;		/* [J + 1] */
	const Pair *pair;			/* by from, then to */
} ItemTable;

/*
 * Scores of all pairs.  Beyond 20 million pairs users are sampled,
 * which bounds the time; memory is that of columns, which spill.
 */
extern ItemTable *item_table(const Dataset *data, const PairRule *rule);
extern void item_table_free(ItemTable *table);

/* Is a user counted where they are sampled? */
static inline bool
item_table_counts(uint32 stride, const User *user)
{
	return user->hash / 2 % stride == 0;
}

/* The rows [*begin, *end) of a user's events that pairs are made of. */
extern void item_table_events(const Dataset *data, const PairRule *rule, const User *user,
							  int64 *begin, int64 *end);

#endif							/* DUPN_ITEM_TABLE_H */
