/*-------------------------------------------------------------------------
 *
 * vectors.h
 *	  User vectors of a version, computed once and kept beside their moments
 *
 *-------------------------------------------------------------------------
 */
#ifndef DUPN_VECTORS_H
#define DUPN_VECTORS_H

#include "train/train.h"

typedef struct Vectors Vectors;

/* None yet, in columns that may spill. */
extern Vectors *vectors_make(const ModelImage *image, ColumnMemory *memory);

/*
 * Compute the vectors of a batch's views, exactly as serving does.  moment:
 * whose they are, ascending over all calls; now: which moments they are of.
 */
extern void vectors_add(Vectors *vectors, const nn_batch *batch, const int64 *moment, const TimestampTz *now);

/* No more come; before the first look-up. */
extern void vectors_finish(Vectors *vectors);

/* The vector [R] of a moment, and the time it is of; valid until memory is reserved. */
extern const float *vectors_find(const Vectors *vectors, int64 moment, TimestampTz *now);

extern void vectors_free(Vectors *vectors);

#endif							/* DUPN_VECTORS_H */
