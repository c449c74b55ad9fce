/*-------------------------------------------------------------------------
 *
 * negatives.h
 *	  Unseen items beside a positive, where nobody logged what was not taken
 *
 *-------------------------------------------------------------------------
 */
#ifndef DUPN_NEGATIVES_H
#define DUPN_NEGATIVES_H

#include "train/train.h"

typedef struct Negatives Negatives;

/*
 * For candidates that consist of these item features.  Two items are the same
 * candidate when these features are: of a task whose candidate is the shop,
 * all items of one shop.  candidate stays the caller's.
 */
extern Negatives *negatives_make(const Dataset *data, const int *candidate, int n_candidate,
								 MemoryContext context);

/*
 * The candidates of a user at a time, seen as of now: what is in the window, and
 * whatever happens up to that time, is none; nor is what is added.
 */
extern void negatives_begin(Negatives *negatives, const User *user, TimestampTz now, TimestampTz time);
extern void negatives_add(Negatives *negatives, int32 item);

/* A candidate that is no item of the catalogue, by the ids of its features. */
typedef struct CandidateIds
{
	const int32 *id[NN_MAX_FEATURES];
	int			n[NN_MAX_FEATURES];
} CandidateIds;

extern void negatives_add_ids(Negatives *negatives, const CandidateIds *candidate);

/* Is the item's key one of the features, so that a candidate is one item? */
extern bool negatives_by_item(const Negatives *negatives);

/* An item known before the cut, or -1: there is none. */
extern int32 negatives_draw(Negatives *negatives, uint64 *random);

/* The random numbers of the fixed negatives of a user's positives at a time. */
extern uint64 negatives_seed(const Dataset *data, const User *user, TimestampTz time);

#endif							/* DUPN_NEGATIVES_H */
