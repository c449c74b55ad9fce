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
	(void) run;
	(void) t;
	for (int s = 0; s < samples->n; s++)
		acts->logit[s] = head->mlp.out[nn_mlp_out_row(&head->mlp, s)];
	return NN_OK;
}

void
nn_binary_backward(const nn_samples *samples, const nn_head *head, const float *d_logit, float *d_out)
{
	for (int s = 0; s < samples->n; s++)
		d_out[nn_mlp_out_row(&head->mlp, s)] += d_logit[s];
}
