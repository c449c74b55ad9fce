/*-------------------------------------------------------------------------
 *
 * attention.c
 *	  Attention pooling (NETWORK.md, Attention pooling)
 *
 *	s = w2 relu(W1 relu(W0 [pa ; h ; q ; u] + b0) + b1)
 *		+ recency[type, recency] + lag[lag]
 *	a = softmax of s over the events of a view		r = sum a h
 *
 * W0 is taken apart: [pa ; h] once per event, [q ; u] and b0 once per view.
 * Without q and u the scores are the same in all views.
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "arena.h"
#include "layers.h"
#include "product.h"
#include "vector.h"

void
nn_attention_carve(const nn_run *run, const nn_batch *batch, nn_arena *arena,
				   nn_attention *attention)
{
	const nn_config *config = run->config;
	int64_t		N = batch->sequences > 0 ? batch->offsets[batch->sequences] : 0;
	int64_t		M = batch->views > 0 ? batch->view_offsets[batch->views] : 0;
	int			A1 = config->attention[0],
				A2 = config->attention[1];
	bool		per_event = config->Q + config->U == 0;

	attention->per_event = per_event;
	attention->rows = per_event ? N : M;
	attention->property = nn_arena_floats(arena, N, config->Pa);
	attention->event_part = nn_arena_floats(arena, N, A1);
	attention->view_part = nn_arena_floats(arena, per_event ? 0 : batch->views, A1);
	attention->h1 = per_event ? attention->event_part : nn_arena_floats(arena, M, A1);
	attention->h2 = nn_arena_floats(arena, attention->rows, A2);
	attention->raw = nn_arena_floats(arena, attention->rows, 1);
}

/* The row of attention.recency: the event's first property, its behaviour type. */
static int
event_type(const nn_config *config, const nn_batch *batch, int64_t event)
{
	const int32_t *id;

	if (config->n_feature[NN_PROPERTY] == 0 || nn_bag(&batch->property[0], event, &id) == 0)
		return 0;
	return *id < config->recency_rows ? *id : config->recency_rows - 1;
}

/* First event of a view, its pairs' first row, and the rows of its scores. */
static int64_t
view_event(const nn_batch *batch, int v)
{
	return batch->offsets[batch->view_sequence[v]];
}

static int64_t
view_row(const nn_attention *attention, const nn_batch *batch, int v)
{
	return attention->per_event ? view_event(batch, v) : batch->view_offsets[v];
}

/* raw [K], with h1 and h2 */
static nn_status
scores_forward(const nn_run *run, const nn_batch *batch, nn_attention *attention,
			   const float *query_profile, const float *state)
{
	const nn_config *config = run->config;
	const nn_layout *layout = run->layout;
	int64_t		N = batch->sequences > 0 ? batch->offsets[batch->sequences] : 0;
	int64_t		K = attention->rows;
	int			Pa = config->Pa,
				W = config->W,
				QU = config->Q + config->U,
				A1 = config->attention[0],
				A2 = config->attention[1],
				ld = Pa + W + QU;
	const float *w0 = nn_param(run, layout->attention_weight[0]);
	const float *b0 = nn_param(run, layout->attention_bias[0]);
	const float *b1 = nn_param(run, layout->attention_bias[1]);
	nn_fields	fields;

	nn_group_fields(config, layout, NN_PROPERTY, NN_USE_ATTENTION, &fields);
	nn_gather(layout, run->param, &fields, batch->property, NULL, N, attention->property, Pa);
	if (attention->per_event)
		for (int64_t i = 0; i < N; i++)
			memcpy(attention->event_part + i * A1, b0, A1 * sizeof(float));
	NN_TRY(nn_product(run, NN_ABT, N, A1, Pa, attention->property, Pa, w0, ld,
					  attention->per_event, attention->event_part, A1));
	NN_TRY(nn_product(run, NN_ABT, N, A1, W, state, W, w0 + Pa, ld,
					  true, attention->event_part, A1));
	if (attention->per_event)
		nn_vector_relu((size_t) N * A1, attention->h1);
	else
	{
		for (int v = 0; v < batch->views; v++)
			memcpy(attention->view_part + (size_t) v * A1, b0, A1 * sizeof(float));
		NN_TRY(nn_product(run, NN_ABT, batch->views, A1, QU, query_profile, QU, w0 + Pa + W, ld,
						  true, attention->view_part, A1));
		for (int v = 0; v < batch->views; v++)
			for (int32_t j = 0; j < batch->view_length[v]; j++)
				nn_vector_relu_sum(A1, attention->event_part + (view_event(batch, v) + j) * A1,
								   attention->view_part + (size_t) v * A1,
								   attention->h1 + (batch->view_offsets[v] + j) * A1);
	}

	for (int64_t k = 0; k < K; k++)
		memcpy(attention->h2 + k * A2, b1, A2 * sizeof(float));
	NN_TRY(nn_product(run, NN_ABT, K, A2, A1, attention->h1, A1,
					  nn_param(run, layout->attention_weight[1]), A1, true, attention->h2, A2));
	nn_vector_relu((size_t) K * A2, attention->h2);
	return nn_product(run, NN_ABT, K, 1, A2, attention->h2, A2,
					  nn_param(run, layout->attention_weight[2]), A2, false, attention->raw, 1);
}

nn_status
nn_attention_forward(const nn_run *run, const nn_batch *batch, nn_attention *attention,
					 const float *query_profile, nn_acts *acts)
{
	const nn_config *config = run->config;
	const nn_layout *layout = run->layout;
	int			W = config->W;

	NN_TRY(scores_forward(run, batch, attention, query_profile, acts->state));
	for (int v = 0; v < batch->views; v++)
	{
		int32_t		length = batch->view_length[v];
		int64_t		pair = batch->view_offsets[v];
		int64_t		event = view_event(batch, v);
		float	   *score = acts->score + pair;
		float	   *a = acts->attention + pair;
		double		sum;

		memcpy(score, attention->raw + view_row(attention, batch, v), length * sizeof(float));
		for (int32_t j = 0; j < length; j++)
		{
			if (config->recency > 0)
				score[j] += nn_param(run, layout->attention_recency)
					[event_type(config, batch, event + j) * config->recency + batch->recency[pair + j]];
			if (config->lag > 0)
				score[j] += nn_param(run, layout->attention_lag)[batch->lag[pair + j]];
		}
		sum = nn_vector_exp_sum(length, score, nn_vector_max(length, score), a);
		if (length > 0)
			nn_vector_scale(length, (float) (1.0 / sum), a);
		NN_TRY(nn_product(run, NN_AB, 1, W, length, a, length, acts->state + event * W, W,
						  false, acts->vector + (size_t) v * config->R, config->R));
	}
	return NN_OK;
}

/* d_raw [K] into parameters, d_state and d_query_profile */
static nn_status
scores_backward(const nn_run *run, const nn_batch *batch, nn_attention *attention,
				const float *query_profile, const float *state, const float *d_raw,
				float *d_h1, float *d_event, float *d_view, float *d_property,
				float *d_state, float *d_query_profile, nn_grad *grad)
{
	const nn_config *config = run->config;
	const nn_layout *layout = run->layout;
	int64_t		N = batch->sequences > 0 ? batch->offsets[batch->sequences] : 0;
	int64_t		K = attention->rows;
	int			Pa = config->Pa,
				W = config->W,
				QU = config->Q + config->U,
				A1 = config->attention[0],
				A2 = config->attention[1],
				ld = Pa + W + QU;
	int			parts = attention->per_event ? 1 : batch->views;
	const float *w0 = nn_param(run, layout->attention_weight[0]);
	const float *w2 = nn_param(run, layout->attention_weight[2]);
	float	   *dw0 = nn_grad_of(run, grad, layout->attention_weight[0]);
	float	   *d_h2 = attention->h2;
	nn_fields	fields;

	NN_TRY(nn_product(run, NN_ATB, 1, A2, K, d_raw, 1, attention->h2, A2,
					  true, nn_grad_of(run, grad, layout->attention_weight[2]), A2));
	nn_step_relu_outer((size_t) K, (size_t) A2, d_raw, w2, d_h2);
	NN_TRY(nn_dense_backward(run, layout->attention_weight[1], layout->attention_bias[1], K,
							 attention->h1, d_h2, d_h1, grad));
	nn_vector_relu_back((size_t) K * A1, attention->h1, d_h1);

	/* sums over the views of an event, and over the events of a view */
	memset(d_view, 0, (size_t) parts * A1 * sizeof(float));
	if (attention->per_event)
		nn_vector_column_sums(K, A1, d_h1, A1, d_view);
	else
	{
		memset(d_event, 0, (size_t) N * A1 * sizeof(float));
		for (int v = 0; v < batch->views; v++)
		{
			const float *d = d_h1 + batch->view_offsets[v] * A1;

			nn_vector_axpy((size_t) batch->view_length[v] * A1, 1.0f, d,
						   d_event + view_event(batch, v) * A1);
			nn_vector_column_sums(batch->view_length[v], A1, d, A1, d_view + (size_t) v * A1);
		}
	}

	nn_vector_column_sums(parts, A1, d_view, A1, nn_grad_of(run, grad, layout->attention_bias[0]));
	NN_TRY(nn_product(run, NN_ATB, A1, Pa, N, d_event, A1, attention->property, Pa, true, dw0, ld));
	NN_TRY(nn_product(run, NN_ATB, A1, W, N, d_event, A1, state, W, true, dw0 + Pa, ld));
	NN_TRY(nn_product(run, NN_ATB, A1, QU, parts, d_view, A1, query_profile, QU,
					  true, dw0 + Pa + W, ld));
	NN_TRY(nn_product(run, NN_AB, parts, QU, A1, d_view, A1, w0 + Pa + W, ld,
					  true, d_query_profile, QU));
	NN_TRY(nn_product(run, NN_AB, N, W, A1, d_event, A1, w0 + Pa, ld, true, d_state, W));
	NN_TRY(nn_product(run, NN_AB, N, Pa, A1, d_event, A1, w0, ld, false, d_property, Pa));
	nn_group_fields(config, layout, NN_PROPERTY, NN_USE_ATTENTION, &fields);
	nn_scatter(layout, grad, &fields, batch->property, NULL, N, d_property, Pa);
	return NN_OK;
}

nn_status
nn_attention_backward(const nn_run *run, const nn_batch *batch, nn_arena *arena,
					  nn_attention *attention, const float *query_profile,
					  const nn_acts *acts, float *d_state, float *d_query_profile, nn_grad *grad)
{
	const nn_config *config = run->config;
	const nn_layout *layout = run->layout;
	bool		per_event = config->Q + config->U == 0;
	int64_t		N = batch->sequences > 0 ? batch->offsets[batch->sequences] : 0;
	int64_t		M = batch->views > 0 ? batch->view_offsets[batch->views] : 0;
	int64_t		K = per_event ? N : M;
	int			W = config->W,
				A1 = config->attention[0];
	float	   *d_raw = nn_arena_floats(arena, K, 1);
	float	   *d_score = nn_arena_floats(arena, M, 1);
	float	   *d_h1 = nn_arena_floats(arena, K, A1);
	float	   *d_event = per_event ? d_h1 : nn_arena_floats(arena, N, A1);
	float	   *d_view = nn_arena_floats(arena, per_event ? 1 : batch->views, A1);
	float	   *d_property = nn_arena_floats(arena, N, config->Pa);

	if (nn_arena_counts(arena))
		return NN_OK;
	NN_TRY(nn_arena_check(arena));

	memset(d_raw, 0, (size_t) K * sizeof(float));
	for (int v = 0; v < batch->views; v++)
	{
		int32_t		length = batch->view_length[v];
		int64_t		pair = batch->view_offsets[v];
		int64_t		event = view_event(batch, v);
		const float *dr = acts->dvector + (size_t) v * config->R;
		const float *a = acts->attention + pair;
		float	   *ds = d_score + pair;
		float		mean;

		/* ds = a (da - sum a da), with da = dr . h */
		NN_TRY(nn_product(run, NN_ABT, length, 1, W, acts->state + event * W, W, dr, W,
						  false, ds, 1));
		mean = nn_vector_dot(length, a, ds);
		for (int32_t j = 0; j < length; j++)
		{
			ds[j] = a[j] * (ds[j] - mean);
			nn_vector_axpy(W, a[j], dr, d_state + (event + j) * W);
			if (config->recency > 0)
				nn_grad_of(run, grad, layout->attention_recency)
					[event_type(config, batch, event + j) * config->recency + batch->recency[pair + j]] += ds[j];
			if (config->lag > 0)
				nn_grad_of(run, grad, layout->attention_lag)[batch->lag[pair + j]] += ds[j];
		}
		nn_vector_axpy(length, 1.0f, ds, d_raw + view_row(attention, batch, v));
	}
	return scores_backward(run, batch, attention, query_profile, acts->state, d_raw,
						   d_h1, d_event, d_view, d_property, d_state, d_query_profile, grad);
}
