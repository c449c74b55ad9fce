/*-------------------------------------------------------------------------
 *
 * sampler.h
 *	  Items drawn by popularity: negatives of next_item and of binary tasks
 *
 *-------------------------------------------------------------------------
 */
#ifndef DUPN_SAMPLER_H
#define DUPN_SAMPLER_H

#include "train/train.h"

/* Items known in training, each with the chance of .9 count^.75 over the sum and .1 of being any. */
typedef struct ItemSampler
{
	int			n;
	const int32 *item;			/* [n] catalogue index */
	double	   *cumulative;		/* [n] */
} ItemSampler;

/* item stays the caller's. */
extern void sampler_make(ItemSampler *sampler, const Catalogue *catalogue, const int32 *item, int n,
						 MemoryContext context);

/* A place in item. */
extern int	sampler_draw(const ItemSampler *sampler, uint64 *random);

/* The chance of a place to be drawn. */
extern double sampler_chance(const ItemSampler *sampler, int place);

#endif							/* DUPN_SAMPLER_H */
