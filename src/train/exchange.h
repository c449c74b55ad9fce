/*-------------------------------------------------------------------------
 *
 * exchange.h
 *	  A batch shared out among the processes of a team
 *
 * A share is a run of the batch's views with their samples, and of their
 * sequences the events that the longest of these views sees.  Gradients of the
 * shares add up to that of the batch.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DUPN_EXCHANGE_H
#define DUPN_EXCHANGE_H

#include "compat.h"

#include "nn/nn.h"

/* What a share is of its batch. */
typedef struct SharePlace
{
	uint64		event;			/* what lies before it, as in nn_dropout */
	uint64		view;
	uint64		row[NN_MAX_TASKS];
	float		fraction[NN_MAX_TASKS]; /* of the samples of a task */
} SharePlace;

/*
 * Cut a batch for n processes: that of rank r does the views first[r] ..
 * first[r + 1]; first has n + 1 entries.  All do the same number of operations,
 * a forward pass being 1 of `passes`; the one of rank 0 also builds the next
 * batch, and does less.
 */
extern void share_out(const nn_config *config, const nn_batch *batch, int n, int passes, int *first);

/* Bytes that share_write needs for the views [begin, end). */
extern Size share_size(const nn_config *config, const nn_batch *batch, int begin, int end);

/* Write a share in one piece; out as aligned as by palloc. */
extern void share_write(const nn_config *config, const nn_batch *batch, int begin, int end, void *out);

/*
 * The batch that share_write wrote into size bytes; it points into them.  An
 * error if anything lies outside.
 */
extern void share_read(const nn_config *config, const void *in, Size size,
					   SharePlace *place, nn_batch *batch);

#endif							/* DUPN_EXCHANGE_H */
