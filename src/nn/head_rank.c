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
	double		loss = 0.0;

	for (int s = 0; s < samples->n; s++)
	{
		float	   *w = acts->weights + (size_t) s * F;

		memcpy(w, head->mlp.out + (size_t) nn_mlp_out_row(&head->mlp, s) * F, F * sizeof(float));
		nn_vector_relu(F, w);
		acts->logit[s] = nn_vector_dot(F, w, samples->features + (size_t) s * F) + intercept;
		if (samples->label)
			loss += nn_sample_weight(samples, s) * nn_log_loss_of(acts->logit[s], samples->label[s]);
	}
	acts->loss = samples->n > 0 ? loss / samples->n : 0.0;
	return NN_OK;
}

nn_status
nn_rank_backward(const nn_run *run, int t, const nn_samples *samples,
				 const nn_head *head, const nn_task_acts *acts, float *d_out, nn_grad *grad)
{
	int			F = run->config->task[t].features;
	float		scale = run->config->task[t].weight / (float) samples->n;
	float	   *d_intercept = nn_grad_of(run, grad, run->layout->task[t].intercept);

	for (int s = 0; s < samples->n; s++)
	{
		float		d = scale * nn_sample_weight(samples, s) *
			nn_log_loss_slope(acts->logit[s], samples->label[s]);
		const float *w = acts->weights + (size_t) s * F;
		float	   *d_w = d_out + (size_t) nn_mlp_out_row(&head->mlp, s) * F;

		for (int j = 0; j < F; j++)
			if (w[j] > 0.0f)
				d_w[j] += d * samples->features[(size_t) s * F + j];
		*d_intercept += d;
	}
	return NN_OK;
}
