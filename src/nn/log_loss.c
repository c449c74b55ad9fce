/*-------------------------------------------------------------------------
 *
 * log_loss.c
 *	  What binary and rank tasks do with their logits
 *
 *	logit += position[the place where the sample was shown]		in training alone
 *
 *	loss = 1/S sum over samples of
 *			(1 - pairwise) w log_loss(logit, label)
 *			+ pairwise w pairs(the sample's group)
 *	pairs(g) = the mean of log(1 + exp(-(logit of a positive - logit of a negative)))
 *			over the pairs of g, each weighted by the product of its samples' weights
 *
 * [own] Both are no part of the paper.  Who is shown first is taken more often,
 * whatever it is: the bias explains that away, and is left out when scoring.
 * It begins at 0; counted shares of positives are no better start, since what
 * is liked is also shown first, and training stops before it finds out.
 * Pairs compare what was offered together; so what all of it has in common, the
 * intercept above all, takes no part.  A group counts by its samples, not by
 * its pairs, which grow with the square of what is on a page; one without both
 * labels counts nothing.
 *
 *-------------------------------------------------------------------------
 */
#include <math.h>

#include "arena.h"
#include "layers.h"

#define ABORT_PAIRS 1000000		/* compared between two looks at abort */

double
nn_log_loss_of(float logit, float label)
{
	return (logit > 0.0f ? logit : 0.0f) - (double) logit * label + log1p(exp(-fabs(logit)));
}

float
nn_log_loss_slope(float logit, float label)
{
	return (float) (1.0 / (1.0 + exp(-(double) logit)) - label);
}

/* The samples behind a group that begins at one, and the weights of its labels. */
static int
group_end(const nn_samples *samples, int begin, double weight[2])
{
	int			s = begin;

	weight[0] = weight[1] = 0.0;
	for (; s < samples->n && samples->view[s] == samples->view[begin] &&
		 samples->group[s] == samples->group[begin]; s++)
		weight[samples->label[s] > 0.5f] += nn_sample_weight(samples, s);
	return s;
}

/*
 * Loss of the pairs, not yet over S.  slope: [S], the gradient is added to it,
 * times scale; NULL: the loss alone.
 */
static nn_status
compare_pairs(const nn_run *run, const nn_samples *samples, const float *logit, double scale,
			  float *slope, double *loss)
{
	int64_t		compared = 0;

	*loss = 0.0;
	for (int begin = 0, end; begin < samples->n; begin = end)
	{
		double		weight[2];
		double		each;
		double		sum = 0.0;

		end = group_end(samples, begin, weight);
		if (!(weight[0] > 0.0 && weight[1] > 0.0))
			continue;
		each = (weight[0] + weight[1]) / (weight[0] * weight[1]);
		for (int i = begin; i < end; i++)
		{
			double		own = 0.0;

			if (samples->label[i] <= 0.5f)
				continue;
			for (int j = begin; j < end; j++)
			{
				double		w = (double) nn_sample_weight(samples, i) * nn_sample_weight(samples, j) * each;
				float		margin = logit[i] - logit[j];

				if (samples->label[j] > 0.5f)
					continue;
				if (slope)
				{
					double		d = scale * w * nn_log_loss_slope(margin, 1.0f);

					own += d;
					slope[j] -= (float) d;
				}
				else
					sum += w * nn_log_loss_of(margin, 1.0f);
			}
			if (slope)
				slope[i] += (float) own;
			compared += end - begin;
			if (compared > ABORT_PAIRS)
			{
				compared = 0;
				if (run->abort && run->abort(run->abort_arg))
					return NN_ABORTED;
			}
		}
		*loss += sum;
	}
	return NN_OK;
}

nn_status
nn_logit_forward(const nn_run *run, int t, const nn_samples *samples, nn_task_acts *acts)
{
	const nn_task *task = &run->config->task[t];
	double		loss = 0.0;
	double		pairs = 0.0;

	if (samples->position)
	{
		const float *bias = nn_param(run, run->layout->task[t].position);

		for (int s = 0; s < samples->n; s++)
			if (samples->position[s] >= 0)
				acts->logit[s] += bias[samples->position[s]];
	}
	if (samples->label == NULL || samples->n == 0)
		return NN_OK;
	for (int s = 0; s < samples->n; s++)
		loss += nn_sample_weight(samples, s) * nn_log_loss_of(acts->logit[s], samples->label[s]);
	if (task->pairwise > 0.0f)
	{
		NN_TRY(compare_pairs(run, samples, acts->logit, 0.0, NULL, &pairs));
		loss = (1.0 - task->pairwise) * loss + task->pairwise * pairs;
	}
	acts->loss = loss / samples->n;
	return NN_OK;
}

nn_status
nn_logit_backward(const nn_run *run, int t, const nn_samples *samples, const nn_task_acts *acts,
				  float *d_logit, nn_grad *grad)
{
	const nn_task *task = &run->config->task[t];
	double		scale = (double) task->weight / samples->n;
	double		sum = 0.0;
	double		unused;

	for (int s = 0; s < samples->n; s++)
	{
		d_logit[s] = (float) (scale * (1.0 - task->pairwise)) * nn_sample_weight(samples, s) *
			nn_log_loss_slope(acts->logit[s], samples->label[s]);
		sum += d_logit[s];
	}

	/* of pairs it is 0, and an optimizer would make much of what rounding leaves */
	if (task->kind == NN_RANK)
		*nn_grad_of(run, grad, run->layout->task[t].intercept) += (float) sum;
	if (task->pairwise > 0.0f)
		NN_TRY(compare_pairs(run, samples, acts->logit, scale * task->pairwise, d_logit, &unused));
	if (samples->position)
	{
		float	   *d_bias = nn_grad_of(run, grad, run->layout->task[t].position);

		for (int s = 0; s < samples->n; s++)
			if (samples->position[s] >= 0)
				d_bias[samples->position[s]] += d_logit[s];
	}
	return NN_OK;
}

void
nn_position_center(const nn_config *config, const nn_layout *layout, int t, const double *share, float *param)
{
	const nn_task_tensors *tensors = &layout->task[t];
	float	   *bias = param + layout->tensor[tensors->position].offset;
	int			constant = config->task[t].kind == NN_RANK ? tensors->intercept : tensors->output_bias;
	double		mean = 0.0;

	for (int b = 0; b < config->task[t].position; b++)
		mean += share[b] * bias[b];
	for (int b = 0; b < config->task[t].position; b++)
		bias[b] -= (float) mean;
	param[layout->tensor[constant].offset] += (float) mean;
}
