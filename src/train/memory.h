/*-------------------------------------------------------------------------
 *
 * memory.h
 *	  The memory term of next_item in training
 *
 *-------------------------------------------------------------------------
 */
#ifndef DUPN_MEMORY_H
#define DUPN_MEMORY_H

#include "train/item_table.h"

/* Count S of a next_item task from the events before the cut, or take the version's. */
extern void memory_learn(Dataset *data, int task);

/* memory_grow.c: count the pairs of a night before the hold-out; and those of the
 * hold-out, whose events the catalogue does not count yet, whatever was counted before. */
extern void memory_night(Dataset *data, int task);
extern void memory_refit(Dataset *data, int task);

/* memory.c: which pairs are counted */
extern PairRule memory_rule(int task);

/* S of a sum of pairs of two items that occurred so often, among so many events: how many
 * times as often as chance would have it one came after the other, shrunk; and back. */
extern double memory_lift(double sum, double from, double to, double events);
extern double memory_sum(double lift, double from, double to, double events);

/* An entry of a row of S before it is stored. */
typedef struct Neighbour
{
	int32		item;
	float		sum;
} Neighbour;

/* Keep the MOST_NEIGHBOURS strongest of a row, by item; count: of items.  Returns how many. */
extern int	memory_prune(Neighbour *row, int64 size, const int64 *count);

/* A term of a sample, see nn_memory. */
typedef struct MemoryTerm
{
	int32		item;			/* catalogue index */
	int32		lag;
	float		value;
} MemoryTerm;

typedef struct MemoryTerms MemoryTerms;

/* repeats: the task has a repeat term, whose items have no memory term. */
extern MemoryTerms *memory_terms_make(const Dataset *data, int task, bool repeats, MemoryContext context);

/*
 * The terms of a moment whose window is rows [start, start + n) of the events,
 * by lag and each item once in it; *term is valid until the next call.  They
 * are as if the user's history had ended with the window, see memory.c.
 */
extern int64 memory_terms(MemoryTerms *terms, const Moment *moment, int64 start, int n,
						  const MemoryTerm **term);

/* The items with most of these terms, near events before far ones; at most `most`. */
extern int	memory_strongest(MemoryTerms *terms, int most, int32 *items);

#endif							/* DUPN_MEMORY_H */
