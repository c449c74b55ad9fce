/*-------------------------------------------------------------------------
 *
 * head_multiclass.c
 *	  One of several classes: softmax cross entropy
 *
 *-------------------------------------------------------------------------
 */
#include <math.h>
#include <string.h>

#include "layers.h"

/* log of the sum of e^z, without overflow */
static double
log_sum_exp(int n, const float *z)
{
	double		max = z[0],
				sum = 0.0;

	for (int j = 1; j < n; j++)
		max = z[j] > max ? z[j] : max;
	for (int j = 0; j < n; j++)
		sum += exp(z[j] - max);
	return max + log(sum);
}

nn_status
nn_multiclass_forward(const nn_run *run, int t, const nn_samples *samples,
					  const nn_head *head, nn_task_acts *acts)
{
	int			classes = run->config->task[t].classes;
	double		loss = 0.0;

	for (int s = 0; s < samples->n; s++)
	{
		float	   *z = acts->logit + (size_t) s * classes;

		memcpy(z, head->mlp.out + (size_t) nn_mlp_out_row(&head->mlp, s) * classes,
			   classes * sizeof(float));
		if (samples->label_class)
			loss += nn_sample_weight(samples, s) *
				(log_sum_exp(classes, z) - z[samples->label_class[s]]);
	}
	acts->loss = samples->n > 0 ? loss / samples->n : 0.0;
	return NN_OK;
}

nn_status
nn_multiclass_backward(const nn_run *run, int t, const nn_samples *samples,
					   const nn_head *head, const nn_task_acts *acts, float *d_out)
{
	int			classes = run->config->task[t].classes;
	float		scale = run->config->task[t].weight / (float) samples->n;

	for (int s = 0; s < samples->n; s++)
	{
		const float *z = acts->logit + (size_t) s * classes;
		float	   *d = d_out + (size_t) nn_mlp_out_row(&head->mlp, s) * classes;
		float		w = scale * nn_sample_weight(samples, s);
		double		log_sum = log_sum_exp(classes, z);

		for (int j = 0; j < classes; j++)
			d[j] += w * (float) exp(z[j] - log_sum);
		d[samples->label_class[s]] -= w;
	}
	return NN_OK;
}
