/*-------------------------------------------------------------------------
 *
 * head_rank.c
 *	  Learning to rank: non-negative weights of named features
 *
 *	w = relu(output)		logit = w . features + intercept
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "layers.h"
#include "vector.h"

nn_status
nn_rank_forward(const nn_run *run, int t, const nn_samples *samples,
				const nn_head *head, nn_task_acts *acts)
{
	int			F = run->config->task[t].features;
	float		intercept = *nn_param(run, run->layout->task[t].intercept);

	for (int s = 0; s < samples->n; s++)
	{
		float	   *w = acts->weights + (size_t) s * F;

		memcpy(w, head->mlp.out + (size_t) nn_mlp_out_row(&head->mlp, s) * F, F * sizeof(float));
		nn_vector_relu(F, w);
		acts->logit[s] = nn_vector_dot(F, w, samples->features + (size_t) s * F) + intercept;
	}
	return NN_OK;
}

void
nn_rank_backward(const nn_run *run, int t, const nn_samples *samples, const nn_head *head,
				 const nn_task_acts *acts, const float *d_logit, float *d_out)
{
	int			F = run->config->task[t].features;
	for (int s = 0; s < samples->n; s++)
	{
		const float *w = acts->weights + (size_t) s * F;
		float	   *d_w = d_out + (size_t) nn_mlp_out_row(&head->mlp, s) * F;

		for (int j = 0; j < F; j++)
			if (w[j] > 0.0f)
				d_w[j] += d_logit[s] * samples->features[(size_t) s * F + j];
	}
}
