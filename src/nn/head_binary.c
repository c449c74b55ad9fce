/*-------------------------------------------------------------------------
 *
 * head_binary.c
 *	  Yes or no, with or without a candidate item
 *
 *	logit = dense layers of [r ; candidate ; features]
 *			+ (product.weight r + product.bias) . e				the product term
 *
 * [own] The product term is no part of the paper, whose heads are dense layers
 * alone.  Whether a candidate suits a user is a matter of products between the
 * two, which such layers learn slowly; here they are there from the start, over
 * the embeddings e of the candidate's columns, which are the events' own (and
 * next_item's, which compares in the same way).  product.bias . e is how well
 * the candidate does with everybody.
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "arena.h"
#include "layers.h"
#include "product.h"
#include "vector.h"

nn_status
nn_binary_forward(const nn_run *run, int t, const nn_samples *samples,
				  const nn_head *head, nn_task_acts *acts)
{
	const nn_task *task = &run->config->task[t];
	const nn_task_tensors *tensors = &run->layout->task[t];
	int			X = nn_candidate_width(run->config, task);

	if (task->product)
		NN_TRY(nn_dense_forward(run, tensors->product_weight, tensors->product_bias, head->mlp.rows,
								head->x, head->query));
	for (int s = 0; s < samples->n; s++)
	{
		acts->logit[s] = head->mlp.out[nn_mlp_out_row(&head->mlp, s)];
		if (task->product)
			acts->logit[s] += nn_vector_dot(X, head->query + (size_t) head->row[s] * X,
											head->candidate + (size_t) s * X);
	}
	return NN_OK;
}

void
nn_binary_backward(const nn_samples *samples, const nn_head *head, const float *d_logit, float *d_out)
{
	for (int s = 0; s < samples->n; s++)
		d_out[nn_mlp_out_row(&head->mlp, s)] += d_logit[s];
}

nn_status
nn_binary_product_backward(const nn_run *run, int t, const nn_samples *samples, const nn_head *head,
						   const float *d_logit, float *d_query, float *d_candidate, float *d_x,
						   nn_grad *grad)
{
	const nn_task_tensors *tensors = &run->layout->task[t];
	int			X = nn_candidate_width(run->config, &run->config->task[t]);
	int			R = run->config->head_width;

	memset(d_query, 0, (size_t) head->mlp.rows * X * sizeof(float));
	for (int s = 0; s < samples->n; s++)
	{
		size_t		row = (size_t) head->row[s] * X;

		nn_vector_axpy(X, d_logit[s], head->candidate + (size_t) s * X, d_query + row);
		nn_vector_axpy(X, d_logit[s], head->query + row, d_candidate + (size_t) s * X);
	}
	NN_TRY(nn_dense_backward(run, tensors->product_weight, tensors->product_bias, head->mlp.rows,
							 head->x, d_query, NULL, grad));
	return nn_product(run, NN_AB, head->mlp.rows, R, X, d_query, X,
					  nn_param(run, tensors->product_weight), R, true, d_x, R);
}
