/*-------------------------------------------------------------------------
 *
 * pooling.c
 *	  One vector from a view's states without attention
 *
 * What the paper compares attention with (table 2).  Over a view's T events,
 * unit by unit:
 *
 *	last	the state behind the newest event; of the reverse pass, which ends
 *			with the oldest event, the state there
 *	mean	1 / T sum of h_t
 *	max		the largest of h_t; its gradient goes to the first event that has it
 *
 * Without events the result is 0, as the attention's.
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "layers.h"
#include "vector.h"

/* The event whose state is `last` of a direction's half, of T > 0 from `first` on. */
static int64_t
last_event(int direction, int64_t first, int32_t length)
{
	return direction == 0 ? first + length - 1 : first;
}

static void
pool_max(const float *state, int32_t length, int W, float *r)
{
	memcpy(r, state, W * sizeof(float));
	for (int32_t j = 1; j < length; j++)
		for (int k = 0; k < W; k++)
		{
			float		h = state[(size_t) j * W + k];

			/* a NaN stays, so that a broken network is noticed */
			r[k] = h > r[k] || h != h ? h : r[k];
		}
}

void
nn_pool_forward(const nn_run *run, const nn_batch *batch, nn_acts *acts)
{
	const nn_config *config = run->config;
	int			W = config->W,
				H = config->hidden;

	for (int v = 0; v < batch->views; v++)
	{
		int32_t		length = batch->view_length[v];
		int64_t		first = batch->offsets[batch->view_sequence[v]];
		const float *state = acts->state + first * W;
		float	   *r = acts->vector + (size_t) v * config->R;

		memset(r, 0, W * sizeof(float));
		if (length == 0)
			continue;
		switch (config->pooling)
		{
			case NN_POOL_LAST:
				for (int d = 0; d * H < W; d++)
					memcpy(r + d * H, acts->state + last_event(d, first, length) * W + d * H, H * sizeof(float));
				break;
			case NN_POOL_MEAN:
				nn_vector_column_sums((size_t) length, (size_t) W, state, (size_t) W, r);
				nn_vector_scale((size_t) W, 1.0f / (float) length, r);
				break;
			case NN_POOL_MAX:
				pool_max(state, length, W, r);
				break;
			case NN_POOL_ATTENTION:	/* attention.c */
				break;
		}
	}
}

void
nn_pool_backward(const nn_run *run, const nn_batch *batch, const nn_acts *acts, float *d_state)
{
	const nn_config *config = run->config;
	int			W = config->W,
				H = config->hidden;

	for (int v = 0; v < batch->views; v++)
	{
		int32_t		length = batch->view_length[v];
		int64_t		first = batch->offsets[batch->view_sequence[v]];
		const float *r = acts->vector + (size_t) v * config->R;
		const float *dr = acts->dvector + (size_t) v * config->R;

		if (length == 0)
			continue;
		switch (config->pooling)
		{
			case NN_POOL_LAST:
				for (int d = 0; d * H < W; d++)
					nn_vector_axpy((size_t) H, 1.0f, dr + d * H, d_state + last_event(d, first, length) * W + d * H);
				break;
			case NN_POOL_MEAN:
				for (int32_t j = 0; j < length; j++)
					nn_vector_axpy((size_t) W, 1.0f / (float) length, dr, d_state + (first + j) * W);
				break;
			case NN_POOL_MAX:
				for (int k = 0; k < W; k++)
					for (int64_t event = first; event < first + length; event++)
						if (acts->state[event * W + k] == r[k])
						{
							d_state[event * W + k] += dr[k];
							break;
						}
				break;
			case NN_POOL_ATTENTION:
				break;
		}
	}
}
