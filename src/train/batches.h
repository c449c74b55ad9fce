/*-------------------------------------------------------------------------
 *
 * batches.h
 *	  From moments to batches for the network
 *
 *-------------------------------------------------------------------------
 */
#ifndef DUPN_BATCHES_H
#define DUPN_BATCHES_H

#include "train/vectors.h"

/*
 * What is trained on in one sequence: the moments [first, first + n) of one
 * user, whose prefixes begin at row `start` (NETWORK.md, Stretches).
 */
typedef struct Stretch
{
	int64		start;
	int64		first;
	int32		n;
	int32		length;			/* rows of the sequence: the longest prefix */
} Stretch;

typedef struct Batches Batches;

extern Batches *batches_make(const Dataset *data, const Moments *moments, const nn_config *config,
							 const nn_layout *layout, MemoryContext context);

/*
 * Cut the moments of some splits (bits 1 << Split) into stretches of at most
 * `most` moments.  all_items: targets may be items that were unknown before
 * the cut, and columns are the whole catalogue.
 */
extern int64 batches_plan(Batches *batches, int splits, int most, bool all_items);
extern const Stretch *batches_stretches(const Batches *batches);

/* How many views a batch may have, given what the softmax needs: 64 MB of logits. */
extern int	batches_most_views(const Batches *batches, int wanted, bool served);

/* A training batch of n stretches; valid until the next batch.  random decides
 * about dropout of ids, the times of views and negatives. */
extern nn_batch *batches_train(Batches *batches, const Stretch *stretches, int n, uint64 *random);

/* The views of n stretches without their samples and without dropout, as many as
 * their moments; now: the time that was drawn for each. */
extern nn_batch *batches_views(Batches *batches, const Stretch *stretches, int n, uint64 *random,
							   TimestampTz *now);

/* Events of its sequences. */
extern int64 batches_stretch_events(const Batches *batches, const Stretch *stretch);

/*
 * From now on batches bring user vectors instead of what they are made of:
 * batches_train those of training moments, each a stretch of its own, and
 * batches_served those of the moments as served.  NULL: as before.
 */
extern void batches_give(Batches *batches, const Vectors *train, const Vectors *served);

/* A batch of n moments as served: one sequence, one view each, over the whole
 * catalogue.  Samples are in the order of moments and their targets. */
extern nn_batch *batches_served(Batches *batches, const int64 *moments, int n);

#endif							/* DUPN_BATCHES_H */
