/*-------------------------------------------------------------------------
 *
 * batches.h
 *	  From moments to batches for the network
 *
 *-------------------------------------------------------------------------
 */
#ifndef DUPN_BATCHES_H
#define DUPN_BATCHES_H

#include "train/course.h"
#include "train/vectors.h"

typedef struct Batches Batches;

extern Batches *batches_make(const Dataset *data, const Moments *moments, const nn_config *config,
							 const nn_layout *layout, MemoryContext context);

/*
 * What training batches hold from now on: samples of some tasks (bits 1 << t).
 * all_items: targets may be items that were unknown before the cut, and columns
 * are the whole catalogue.
 */
extern void batches_choose(Batches *batches, uint32 tasks, bool all_items);

/* How many views a batch may have, given what the softmax needs: 64 MB of logits. */
extern int	batches_most_views(const Batches *batches, int wanted, bool served);

/* Of a stretch: one where user vectors are given, see batches_give. */
extern int	batches_most_moments(const Batches *batches);

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
 * catalogue.  Samples are in the order of moments and their targets.  places:
 * they have those where they were shown, which no request has. */
extern nn_batch *batches_served(Batches *batches, const int64 *moments, int n, bool places);

#endif							/* DUPN_BATCHES_H */
