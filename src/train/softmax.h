/*-------------------------------------------------------------------------
 *
 * softmax.h
 *	  The columns of next_item: all items, or some that are drawn
 *
 *-------------------------------------------------------------------------
 */
#ifndef DUPN_SOFTMAX_H
#define DUPN_SOFTMAX_H

#include "train/sampler.h"
#include "train/train.h"

#define NEGATIVES		1024	/* drawn a step where there are too many items */

/*
 * Columns of a full softmax; beyond, negatives are drawn.  NETWORK.md has 50,000,
 * but most of the time goes there, and with the neighbours of the window among
 * the columns drawing does well: of the 48,000 items of REES46 it reaches HR@10
 * .372, where counts reach .317.
 */
#define MOST_FULL		30000

/* A growable array; its memory stays for the next batch. */
typedef struct Array
{
	char	   *data;
	int64		n,
				capacity;
} Array;

static inline void *
array_next(MemoryContext context, Array *array, size_t width)
{
	if (array->n == array->capacity)
	{
		array->capacity = Max(256, 2 * array->capacity);
		array->data = array_resize(array->data, array->capacity, width, context);
	}
	return array->data + width * array->n++;
}

#define PUSH(context, array, type, value) \
	(*(type *) array_next(context, array, sizeof(type)) = (value))

/* The columns of next_item samples. */
typedef struct Columns
{
	int			n;
	int			shared;
	Array		item;			/* catalogue index of each */
	Array		log_q;
	nn_ids		ids[NN_MAX_FEATURES];
	Array		values[NN_MAX_FEATURES];	/* gathered, where not the catalogue's own */
	Array		offsets[NN_MAX_FEATURES];
	int32	   *of_item;		/* [J] column, -1: none; sampled: of the shared ones */
} Columns;

typedef struct Softmax
{
	const Dataset *data;
	MemoryContext context;
	bool		sampled;		/* training draws its columns */
	Columns		known;			/* of training */
	Columns		all;			/* the catalogue */
	Columns		drawn;			/* of a step with sampled negatives */
	ItemSampler sampler;		/* of known, for negatives */
	int32	   *extra_column[2];	/* [J] of a step's extras: by log_q, without */
	int32	   *sample_column;	/* [J] of the sample at hand, -1: none; its user's to keep */
	Array		key_dropped;	/* the columns' item keys after id dropout */
} Softmax;

extern void softmax_make(Softmax *softmax, const Dataset *data, MemoryContext context);

/* Shared negatives of a step into `drawn`, distinct. */
extern void softmax_draw(Softmax *softmax, uint64 *random);

/* The column in `drawn` of an item that some samples of the step have beside the
 * shared ones; in_window: as an item of their window, without log_q. */
extern int32 softmax_extra(Softmax *softmax, int32 item, bool in_window);

/* The ids of columns, gathered from the catalogue, when no more come. */
extern void softmax_gather(Softmax *softmax, Columns *columns);

/* The columns' item keys, some of them read as unknown, so that new items can be
 * recommended; valid until the next call. */
extern const int32 *softmax_drop_keys(Softmax *softmax, const Columns *columns, double rate,
									  uint64 *random);

#endif							/* DUPN_SOFTMAX_H */
