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
 * Without q and u the scores are the same in all views.  Rows of scores, one
 * per pair of view and event, go through the layers in chunks that stay in the
 * second cache; the first layer's are made again by backward.
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "arena.h"
#include "layers.h"
#include "product.h"
#include "vector.h"

#define CHUNK_FLOATS (64 * 1024)	/* of the first layer, in the second cache */
#define MIN_CHUNK 64			/* rows: with fewer, products are slow */

static int64_t
chunk_rows(const nn_config *config)
{
	int64_t		rows = CHUNK_FLOATS / config->attention[0];

	return rows > MIN_CHUNK ? rows : MIN_CHUNK;
}

void
nn_attention_carve(const nn_run *run, const nn_batch *batch, nn_arena *arena,
				   nn_attention *attention)
{
	const nn_config *config = run->config;
	int64_t		N = batch->sequences > 0 ? batch->offsets[batch->sequences] : 0;
	int64_t		M = batch->views > 0 ? batch->view_offsets[batch->views] : 0;
	int			A1 = config->attention[0],
				A2 = config->attention[1];
	int64_t		chunk = chunk_rows(config);

	attention->per_event = config->Q + config->U == 0;
	attention->rows = attention->per_event ? N : M;
	attention->parts = attention->per_event ? 1 : batch->views;
	chunk = chunk < attention->rows ? chunk : attention->rows;
	nn_projected_carve(run, batch->property, NN_USE_ATTENTION, N, A1, arena, &attention->property);
	attention->event_part = nn_arena_floats(arena, N, A1);
	attention->view_part = nn_arena_floats(arena, attention->parts, A1);
	attention->weight_state = nn_arena_floats(arena, config->W, A1);
	attention->weight_second = nn_arena_floats(arena, A1, A2);
	attention->h1 = nn_arena_floats(arena, chunk, A1);
	attention->h2 = nn_arena_floats(arena, run->backward ? attention->rows : chunk, A2);
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
view_row(bool per_event, const nn_batch *batch, int v)
{
	return per_event ? view_event(batch, v) : batch->view_offsets[v];
}

/*
 * Rows of scores of one view, from row `row` on and before `end`: how many,
 * the event of the first, and what they have in common with the view: its row
 * of view_part.  v is where the last call left off.
 */
static int64_t
run_of_rows(const nn_attention *attention, const nn_batch *batch, int64_t row, int64_t end,
			int *v, int64_t *event, int64_t *part)
{
	if (attention->per_event)
	{
		*event = row;
		*part = 0;
		return end - row;
	}
	while (batch->view_offsets[*v + 1] <= row)
		(*v)++;
	*event = view_event(batch, *v) + row - batch->view_offsets[*v];
	*part = *v;
	return (batch->view_offsets[*v + 1] < end ? batch->view_offsets[*v + 1] : end) - row;
}

/* event_part of n events from `first` on */
static nn_status
events_forward(const nn_run *run, const nn_batch *batch, nn_attention *attention,
			   const float *state, int64_t first, int64_t n)
{
	const nn_config *config = run->config;
	int			W = config->W,
				A1 = config->attention[0];
	float	   *y = attention->event_part + first * A1;

	memset(y, 0, (size_t) (n * A1) * sizeof(float));
	for (int64_t i = 0; i < n; i++)
		nn_projected_add(&attention->property, batch->property, first + i, 0, A1, y + i * A1);
	return nn_product(run, NN_AB, n, A1, W, state + first * W, W, attention->weight_state, A1, true, y, A1);
}

/* h1 of the rows [first, end), which stands at the start of attention->h1. */
static void
fill_h1(const nn_config *config, const nn_batch *batch, const nn_attention *attention,
		int64_t first, int64_t end, int *v)
{
	int			A1 = config->attention[0];
	int64_t		event,
				part;

	for (int64_t row = first, n; row < end; row += n)
	{
		n = run_of_rows(attention, batch, row, end, v, &event, &part);
		nn_step_relu_sum((size_t) n, (size_t) A1, attention->event_part + event * A1,
						 attention->view_part + part * A1, attention->h1 + (row - first) * A1);
	}
}

/* raw [K] */
static nn_status
scores_forward(const nn_run *run, const nn_batch *batch, nn_attention *attention,
			   const float *query_profile, const float *state)
{
	const nn_config *config = run->config;
	const nn_layout *layout = run->layout;
	int64_t		N = batch->sequences > 0 ? batch->offsets[batch->sequences] : 0;
	int64_t		chunk = chunk_rows(config);
	int64_t		ready = 0;
	int			QU = config->Q + config->U,
				A1 = config->attention[0],
				A2 = config->attention[1],
				ld = config->Pa + config->W + QU,
				view = 0,
				last = 0;
	const float *w0 = nn_param(run, layout->attention_weight[0]);

	NN_TRY(nn_projected_forward(run, batch->property, N, w0, ld, &attention->property));
	nn_transpose(A1, config->W, w0 + config->Pa, ld, attention->weight_state);
	nn_transpose(A2, A1, nn_param(run, layout->attention_weight[1]), A1, attention->weight_second);
	for (int64_t part = 0; part < attention->parts; part++)
		memcpy(attention->view_part + part * A1, nn_param(run, layout->attention_bias[0]), A1 * sizeof(float));
	NN_TRY(nn_product(run, NN_ABT, attention->parts, A1, QU, query_profile, QU, w0 + config->Pa + config->W, ld,
					  true, attention->view_part, A1));

	for (int64_t first = 0, end; first < attention->rows; first = end)
	{
		float	   *h2 = attention->h2 + (run->backward ? first * A2 : 0);
		int64_t		event,
					part;

		end = attention->rows - first < chunk ? attention->rows : first + chunk;
		for (int64_t row = first, n; row < end; row += n)
		{
			n = run_of_rows(attention, batch, row, end, &last, &event, &part);
			while (ready < event + n)
			{
				int64_t		events = N - ready < chunk ? N - ready : chunk;

				NN_TRY(events_forward(run, batch, attention, state, ready, events));
				ready += events;
			}
		}
		fill_h1(config, batch, attention, first, end, &view);
		for (int64_t row = 0; row < end - first; row++)
			memcpy(h2 + row * A2, nn_param(run, layout->attention_bias[1]), A2 * sizeof(float));
		NN_TRY(nn_product(run, NN_AB, end - first, A2, A1, attention->h1, A1, attention->weight_second, A2,
						  true, h2, A2));
		nn_vector_relu((size_t) ((end - first) * A2), h2);
		NN_TRY(nn_product(run, NN_ABT, end - first, 1, A2, h2, A2,
						  nn_param(run, layout->attention_weight[2]), A2, false, attention->raw + first, 1));
	}
	return NN_OK;
}

nn_status
nn_attention_forward(const nn_run *run, const nn_batch *batch, nn_attention *attention,
					 const float *query_profile, nn_acts *acts)
{
	NN_TRY(scores_forward(run, batch, attention, query_profile, acts->state));
	return nn_attention_pool(run, batch, attention->per_event, attention->raw, acts);
}

nn_status
nn_attention_pool(const nn_run *run, const nn_batch *batch, bool per_event, const float *raw, nn_acts *acts)
{
	const nn_config *config = run->config;
	const nn_layout *layout = run->layout;
	int			W = config->W;

	for (int v = 0; v < batch->views; v++)
	{
		int32_t		length = batch->view_length[v];
		int64_t		pair = batch->view_offsets[v];
		int64_t		event = view_event(batch, v);
		float	   *score = acts->score + pair;
		float	   *a = acts->attention + pair;
		double		sum;

		memcpy(score, raw + view_row(per_event, batch, v), length * sizeof(float));
		for (int32_t j = 0; j < length; j++)
		{
			if (config->recency_bias)
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

/* The gradient of n events' part into parameters and d_state */
static nn_status
events_backward(const nn_run *run, const nn_batch *batch, const nn_attention *attention,
				const float *state, const float *d_event, int64_t first, int64_t n,
				float *d_state, nn_grad *grad)
{
	const nn_config *config = run->config;
	int			Pa = config->Pa,
				W = config->W,
				A1 = config->attention[0],
				ld = Pa + W + config->Q + config->U;
	const float *d = d_event + first * A1;

	for (int64_t i = 0; i < n; i++)
		nn_projected_collect(&attention->property, batch->property, first + i, 0, A1, d + i * A1);
	NN_TRY(nn_product(run, NN_ATB, A1, W, n, d, A1, state + first * W, W,
					  true, nn_grad_of(run, grad, run->layout->attention_weight[0]) + Pa, ld));
	return nn_product(run, NN_AB, n, W, A1, d, A1, nn_param(run, run->layout->attention_weight[0]) + Pa, ld,
					  true, d_state + first * W, W);
}

/* d_raw [K] into parameters, d_state and d_query_profile.  d_h1 has a chunk's rows. */
static nn_status
scores_backward(const nn_run *run, const nn_batch *batch, nn_attention *attention,
				const float *query_profile, const float *state, const float *d_raw,
				float *d_h1, float *d_event, float *d_view,
				float *d_state, float *d_query_profile, nn_grad *grad)
{
	const nn_config *config = run->config;
	const nn_layout *layout = run->layout;
	int64_t		N = batch->sequences > 0 ? batch->offsets[batch->sequences] : 0;
	int64_t		chunk = chunk_rows(config);
	int64_t		done = 0;
	int			QU = config->Q + config->U,
				A1 = config->attention[0],
				A2 = config->attention[1],
				own = config->Pa + config->W,	/* columns of the events' part */
				ld = own + QU,
				view = 0,
				last = 0;
	const float *w0 = nn_param(run, layout->attention_weight[0]);
	float	   *dw0 = nn_grad_of(run, grad, layout->attention_weight[0]);

	memset(d_event, 0, (size_t) (N * A1) * sizeof(float));
	memset(d_view, 0, (size_t) (attention->parts * A1) * sizeof(float));
	for (int64_t first = 0, end; first < attention->rows; first = end)
	{
		float	   *h2 = attention->h2 + first * A2;
		int64_t		event,
					part;

		end = attention->rows - first < chunk ? attention->rows : first + chunk;
		fill_h1(config, batch, attention, first, end, &view);
		NN_TRY(nn_product(run, NN_ATB, 1, A2, end - first, d_raw + first, 1, h2, A2,
						  true, nn_grad_of(run, grad, layout->attention_weight[2]), A2));
		nn_step_relu_outer((size_t) (end - first), (size_t) A2, d_raw + first,
						   nn_param(run, layout->attention_weight[2]), h2);
		NN_TRY(nn_dense_backward(run, layout->attention_weight[1], layout->attention_bias[1], end - first,
								 attention->h1, h2, d_h1, grad));
		nn_vector_relu_back((size_t) ((end - first) * A1), attention->h1, d_h1);

		/* sums over the views of an event, and over the events of a view */
		for (int64_t row = first, n; row < end; row += n)
		{
			const float *d = d_h1 + (row - first) * A1;
			int64_t		complete;

			n = run_of_rows(attention, batch, row, end, &last, &event, &part);
			complete = attention->per_event ? event : view_event(batch, last);
			for (; complete - done >= chunk; done += chunk)
				NN_TRY(events_backward(run, batch, attention, state, d_event, done, chunk, d_state, grad));
			nn_vector_axpy((size_t) (n * A1), 1.0f, d, d_event + event * A1);
			nn_vector_column_sums((size_t) n, (size_t) A1, d, (size_t) A1, d_view + part * A1);
		}
	}
	for (; done < N; done += chunk)
		NN_TRY(events_backward(run, batch, attention, state, d_event, done,
							   N - done < chunk ? N - done : chunk, d_state, grad));

	nn_vector_column_sums((size_t) attention->parts, (size_t) A1, d_view, (size_t) A1,
						  nn_grad_of(run, grad, layout->attention_bias[0]));
	NN_TRY(nn_product(run, NN_ATB, A1, QU, attention->parts, d_view, A1, query_profile, QU,
					  true, dw0 + own, ld));
	NN_TRY(nn_product(run, NN_AB, attention->parts, QU, A1, d_view, A1, w0 + own, ld,
					  true, d_query_profile, QU));
	return nn_projected_backward(run, w0, ld, dw0, &attention->property, grad);
}

nn_status
nn_attention_backward(const nn_run *run, const nn_batch *batch, nn_arena *arena,
					  nn_attention *attention, const float *query_profile,
					  const nn_acts *acts, float *d_state, float *d_query_profile, nn_grad *grad)
{
	const nn_config *config = run->config;
	const nn_layout *layout = run->layout;
	bool		per_event = config->Q + config->U == 0;
	int64_t		chunk = chunk_rows(config);
	int64_t		N = batch->sequences > 0 ? batch->offsets[batch->sequences] : 0;
	int64_t		M = batch->views > 0 ? batch->view_offsets[batch->views] : 0;
	int64_t		K = per_event ? N : M;
	int			W = config->W,
				A1 = config->attention[0];
	float	   *d_raw = nn_arena_floats(arena, K, 1);
	float	   *d_score = nn_arena_floats(arena, M, 1);
	float	   *d_h1 = nn_arena_floats(arena, K < chunk ? K : chunk, A1);
	float	   *d_event = nn_arena_floats(arena, N, A1);
	float	   *d_view = nn_arena_floats(arena, per_event ? 1 : batch->views, A1);

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
		nn_step_outer(length, W, a, dr, d_state + event * W);
		for (int32_t j = 0; j < length; j++)
		{
			ds[j] = a[j] * (ds[j] - mean);
			if (config->recency_bias)
				nn_grad_of(run, grad, layout->attention_recency)
					[event_type(config, batch, event + j) * config->recency + batch->recency[pair + j]] += ds[j];
			if (config->lag > 0)
				nn_grad_of(run, grad, layout->attention_lag)[batch->lag[pair + j]] += ds[j];
		}
		nn_vector_axpy(length, 1.0f, ds, d_raw + view_row(attention->per_event, batch, v));
	}
	return scores_backward(run, batch, attention, query_profile, acts->state, d_raw,
						   d_h1, d_event, d_view, d_state, d_query_profile, grad);
}
