/*-------------------------------------------------------------------------
 *
 * naive.h
 *	  The network once more, in double and as the formulas are written
 *
 *-------------------------------------------------------------------------
 */
#ifndef DUPN_NAIVE_H
#define DUPN_NAIVE_H

#include "nn/nn.h"

/* Caller's arrays, all but loss optional (NULL). */
typedef struct naive_out
{
	double	   *state;			/* [N, W] */
	double	   *attention;		/* [M] */
	double	   *vector;			/* [V, R] */
	double	   *logit[NN_MAX_TASKS];
	double	   *extra_logit[NN_MAX_TASKS];
	double		loss;
} naive_out;

/* Forward and loss, with parameters in double; every view starts from its events. */
extern void naive_forward(const nn_config *config, const nn_layout *layout, const double *param,
						  const nn_batch *batch, const nn_dropout *dropout, naive_out *out);

#endif							/* DUPN_NAIVE_H */
