/*-------------------------------------------------------------------------
 *
 * experts.c
 *	  Shared experts between the user vector and the heads, and a gate per task
 *
 * [own] The paper's heads all read the same r.  With experts (Ma et al., KDD
 * 2018, "Modeling Task Relationships in Multi-task Learning with Multi-gate
 * Mixture-of-Experts", eq. 5 to 7) each task mixes for itself:
 *
 *	o_k = relu(experts.k.weight r + experts.k.bias)						[X]
 *	g_t = softmax(gate_t.weight r + gate_t.bias)						[K]
 *	x_t = sum over k of g_tk o_k										[X]
 *
 * and its head takes x_t where it would have taken r.  The experts see a view
 * once, whatever the number of tasks; dropout is on r, the same for all tasks,
 * and not on x_t.
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "arena.h"
#include "layers.h"
#include "product.h"
#include "vector.h"

/* o [V, K X] of r [V, R], the experts side by side. */
static nn_status
run_experts(const nn_run *run, int views, const float *r, float *o)
{
	const nn_config *config = run->config;
	int			R = config->R,
				X = config->head_width,
				ld = config->experts * X;

	for (int k = 0; k < config->experts; k++)
	{
		const float *bias = nn_param(run, run->layout->expert_bias[k]);

		for (int v = 0; v < views; v++)
			memcpy(o + (size_t) v * ld + k * X, bias, X * sizeof(float));
		NN_TRY(nn_product(run, NN_ABT, views, X, R, r, R, nn_param(run, run->layout->expert_weight[k]), R,
						  true, o + k * X, ld));
	}
	nn_vector_relu((size_t) views * ld, o);
	return NN_OK;
}

nn_status
nn_experts_forward(const nn_run *run, int views, const float *vector, nn_arena *arena,
				   nn_experts *experts)
{
	const nn_config *config = run->config;
	int			R = config->R;

	memset(experts, 0, sizeof(*experts));
	experts->r = nn_arena_floats(arena, views, R);
	experts->o = nn_arena_floats(arena, views, (size_t) config->experts * config->head_width);
	if (nn_arena_counts(arena))
		return NN_OK;
	NN_TRY(nn_arena_check(arena));

	memcpy(experts->r, vector, (size_t) views * R * sizeof(float));
	if (run->dropout)
		nn_dropout_apply(run->dropout, run->dropout->vector, NN_STREAM_EXPERTS,
						 run->dropout->view * R, (size_t) views * R, experts->r);
	return run_experts(run, views, experts->r, experts->o);
}

nn_status
nn_gate_forward(const nn_run *run, int t, int views, nn_arena *arena, nn_experts *experts)
{
	const nn_config *config = run->config;
	int			K = config->experts,
				X = config->head_width;
	float	   *gate = experts->gate[t] = nn_arena_floats(arena, views, K);
	float	   *x = experts->x[t] = nn_arena_floats(arena, views, X);

	if (nn_arena_counts(arena))
		return NN_OK;
	NN_TRY(nn_arena_check(arena));

	NN_TRY(nn_dense_forward(run, run->layout->task[t].gate_weight, run->layout->task[t].gate_bias, views,
							experts->r, gate));
	memset(x, 0, (size_t) views * X * sizeof(float));
	for (int v = 0; v < views; v++)
	{
		float	   *g = gate + (size_t) v * K;
		float		sum = nn_vector_exp_sum(K, g, nn_vector_max(K, g), g);

		nn_vector_scale(K, 1.0f / sum, g);
		for (int k = 0; k < K; k++)
			nn_vector_axpy(X, g[k], experts->o + ((size_t) v * K + k) * X, x + (size_t) v * X);
	}
	return NN_OK;
}

/* ------------------------------------------------------------------------
 * Backward
 * ------------------------------------------------------------------------ */

nn_status
nn_experts_carve_backward(const nn_run *run, int views, nn_arena *arena, nn_experts *experts)
{
	const nn_config *config = run->config;
	size_t		outputs = (size_t) config->experts * config->head_width;

	experts->d_r = nn_arena_floats(arena, views, config->R);
	experts->d_o = nn_arena_floats(arena, views, outputs);
	experts->d_gate = nn_arena_floats(arena, views, config->experts);
	experts->d_x = nn_arena_floats(arena, views, config->head_width);
	if (nn_arena_counts(arena))
		return NN_OK;
	NN_TRY(nn_arena_check(arena));
	memset(experts->d_r, 0, (size_t) views * config->R * sizeof(float));
	memset(experts->d_o, 0, views * outputs * sizeof(float));
	return NN_OK;
}

nn_status
nn_gate_backward(const nn_run *run, int t, int views, nn_experts *experts, nn_grad *grad)
{
	const nn_config *config = run->config;
	const nn_task_tensors *tensors = &run->layout->task[t];
	int			K = config->experts,
				X = config->head_width,
				R = config->R;

	for (int v = 0; v < views; v++)
	{
		const float *g = experts->gate[t] + (size_t) v * K;
		const float *d_x = experts->d_x + (size_t) v * X;
		float	   *d_g = experts->d_gate + (size_t) v * K;
		float		mean = 0.0f;

		for (int k = 0; k < K; k++)
		{
			size_t		at = ((size_t) v * K + k) * X;

			d_g[k] = nn_vector_dot(X, d_x, experts->o + at);
			mean += g[k] * d_g[k];
			nn_vector_axpy(X, g[k], d_x, experts->d_o + at);
		}
		for (int k = 0; k < K; k++)
			d_g[k] = g[k] * (d_g[k] - mean);	/* of the softmax */
	}
	NN_TRY(nn_dense_backward(run, tensors->gate_weight, tensors->gate_bias, views, experts->r,
							 experts->d_gate, NULL, grad));
	return nn_product(run, NN_AB, views, R, K, experts->d_gate, K, nn_param(run, tensors->gate_weight), R,
					  true, experts->d_r, R);
}

nn_status
nn_experts_backward(const nn_run *run, int views, nn_experts *experts, float *d_vector, nn_grad *grad)
{
	const nn_config *config = run->config;
	int			R = config->R,
				X = config->head_width,
				ld = config->experts * X;

	nn_vector_relu_back((size_t) views * ld, experts->o, experts->d_o);
	for (int k = 0; k < config->experts; k++)
	{
		int			weight = run->layout->expert_weight[k];
		const float *d_o = experts->d_o + k * X;

		nn_vector_column_sums(views, X, d_o, ld, nn_grad_of(run, grad, run->layout->expert_bias[k]));
		NN_TRY(nn_product(run, NN_ATB, X, R, views, d_o, ld, experts->r, R, true,
						  nn_grad_of(run, grad, weight), R));
		NN_TRY(nn_product(run, NN_AB, views, R, X, d_o, ld, nn_param(run, weight), R, true, experts->d_r, R));
	}
	if (run->dropout)
		nn_dropout_apply(run->dropout, run->dropout->vector, NN_STREAM_EXPERTS,
						 run->dropout->view * R, (size_t) views * R, experts->d_r);
	nn_vector_axpy((size_t) views * R, 1.0f, experts->d_r, d_vector);
	return NN_OK;
}
