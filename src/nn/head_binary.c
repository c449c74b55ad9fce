/*-------------------------------------------------------------------------
 *
 * head_binary.c
 *	  Yes or no, with or without a candidate item
 *
 *-------------------------------------------------------------------------
 */
#include "layers.h"

nn_status
nn_binary_forward(const nn_run *run, int t, const nn_samples *samples,
				  const nn_head *head, nn_task_acts *acts)
{
	double		loss = 0.0;

	(void) run;
	(void) t;
	for (int s = 0; s < samples->n; s++)
	{
		acts->logit[s] = head->mlp.out[nn_mlp_out_row(&head->mlp, s)];
		if (samples->label)
			loss += nn_sample_weight(samples, s) * nn_log_loss_of(acts->logit[s], samples->label[s]);
	}
	acts->loss = samples->n > 0 ? loss / samples->n : 0.0;
	return NN_OK;
}

nn_status
nn_binary_backward(const nn_run *run, int t, const nn_samples *samples,
				   const nn_head *head, const nn_task_acts *acts, float *d_out)
{
	float		scale = run->config->task[t].weight / (float) samples->n;

	for (int s = 0; s < samples->n; s++)
		d_out[nn_mlp_out_row(&head->mlp, s)] += scale * nn_sample_weight(samples, s) *
			nn_log_loss_slope(acts->logit[s], samples->label[s]);
	return NN_OK;
}
