/*-------------------------------------------------------------------------
 *
 * lstm.c
 *	  The property-gated LSTM (NETWORK.md, Property-gated LSTM)
 *
 *	z = weight_item e + weight_hidden h' + bias, and on the rows of i, f, o
 *		+ weight_property p
 *	i, f, o = sigmoid(z)	g = tanh(z)		c = f c' + i g		h = o tanh(c)
 *
 * What depends on the events alone is one product for all of them; a step then
 * is one product for the sequences that still go on.
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "arena.h"
#include "layers.h"
#include "product.h"
#include "vector.h"

/* ------------------------------------------------------------------------
 * Packing
 * ------------------------------------------------------------------------ */

static int64_t
sequence_length(const nn_batch *batch, int32_t b)
{
	return batch->offsets[b + 1] - batch->offsets[b];
}

void
nn_lstm_carve(const nn_run *run, const nn_batch *batch, nn_arena *arena, nn_lstm *lstm)
{
	const nn_config *config = run->config;
	size_t		B = (size_t) batch->sequences;
	size_t		N = B > 0 ? (size_t) batch->offsets[B] : 0;
	int			H = config->hidden;

	lstm->events = (int64_t) N;
	lstm->steps = 0;
	for (size_t b = 0; b < B; b++)
		if (sequence_length(batch, b) > lstm->steps)
			lstm->steps = (int) sequence_length(batch, b);
	lstm->start = nn_arena_alloc(arena, (size_t) lstm->steps + 2, sizeof(int64_t));
	lstm->order = nn_arena_alloc(arena, B, sizeof(int32_t));
	lstm->event = nn_arena_alloc(arena, N, sizeof(int64_t));
	lstm->item = nn_arena_floats(arena, N, config->E);
	lstm->property = nn_arena_floats(arena, N, config->Pg);
	lstm->gate = nn_arena_floats(arena, N, 4 * (size_t) H);
	lstm->cell = nn_arena_floats(arena, run->backward ? N : B, H);
	lstm->hidden = nn_arena_floats(arena, N, H);
}

/* Sort by length, longest first and else in order, and number the packed rows. */
static void
pack(const nn_batch *batch, int direction, nn_lstm *lstm)
{
	int			steps = lstm->steps;
	int64_t    *start = lstm->start;
	int64_t		total = 0;

	/* start[s] = sequences of more than s events, which is where s comes after */
	memset(start, 0, ((size_t) steps + 2) * sizeof(int64_t));
	for (int32_t b = 0; b < batch->sequences; b++)
		start[sequence_length(batch, b)]++;
	for (int s = steps; s >= 0; s--)
	{
		int64_t		equal = start[s];

		start[s] = total;
		total += equal;
	}
	for (int32_t b = 0; b < batch->sequences; b++)
		lstm->order[start[sequence_length(batch, b)]++] = b;

	total = 0;
	for (int s = 0; s < steps; s++)
	{
		int64_t		first = total;

		for (int32_t i = 0; i < batch->sequences; i++)
		{
			int32_t		b = lstm->order[i];

			if (sequence_length(batch, b) <= s)
				break;
			lstm->event[total++] = direction == 0 ? batch->offsets[b] + s : batch->offsets[b + 1] - 1 - s;
		}
		start[s] = first;
	}
	start[steps] = total;
}

/* ------------------------------------------------------------------------
 * Forward and backward
 * ------------------------------------------------------------------------ */

nn_status
nn_lstm_forward(const nn_run *run, const nn_batch *batch, int direction,
				nn_lstm *lstm, float *state)
{
	const nn_config *config = run->config;
	const nn_lstm_tensors *tensors = &run->layout->lstm[direction];
	const float *bias = nn_param(run, tensors->bias);
	int			H = config->hidden,
				E = config->E,
				Pg = config->Pg;
	int64_t		N = lstm->events;
	nn_fields	fields;

	pack(batch, direction, lstm);
	nn_group_fields(config, run->layout, NN_ITEM, NN_USE_BOTH, &fields);
	nn_gather(run->layout, run->param, &fields, batch->item, lstm->event, N, lstm->item, E);
	if (run->dropout)
		for (int64_t p = 0; p < N; p++)
			nn_dropout_apply(run->dropout, run->dropout->item, NN_STREAM_ITEM,
							 (run->dropout->event + (uint64_t) lstm->event[p]) * E, E, lstm->item + p * E);
	nn_group_fields(config, run->layout, NN_PROPERTY, NN_USE_GATES, &fields);
	nn_gather(run->layout, run->param, &fields, batch->property, lstm->event, N, lstm->property, Pg);

	for (int64_t p = 0; p < N; p++)
		memcpy(lstm->gate + p * 4 * H, bias, 4 * (size_t) H * sizeof(float));
	NN_TRY(nn_product(run, NN_ABT, N, 4 * H, E, lstm->item, E,
					  nn_param(run, tensors->weight_item), E, true, lstm->gate, 4 * H));
	if (Pg > 0)
	{
		/* rows i, f and then o: the candidate g has no property */
		const float *w = nn_param(run, tensors->weight_property);

		NN_TRY(nn_product(run, NN_ABT, N, 2 * H, Pg, lstm->property, Pg, w, Pg,
						  true, lstm->gate, 4 * H));
		NN_TRY(nn_product(run, NN_ABT, N, H, Pg, lstm->property, Pg, w + 2 * (size_t) H * Pg, Pg,
						  true, lstm->gate + 3 * H, 4 * H));
	}

	for (int s = 0; s < lstm->steps; s++)
	{
		int64_t		first = lstm->start[s];
		int64_t		before = s > 0 ? lstm->start[s - 1] : 0;
		int64_t		n = lstm->start[s + 1] - first;

		if (s > 0 && n == 1 && run->prepared)
			nn_vector_matrix(H, 4 * (size_t) H, lstm->hidden + before * H,
							 nn_prepared_recurrent(run, direction), lstm->gate + first * 4 * H);
		else if (s > 0)
			NN_TRY(nn_product(run, NN_ABT, n, 4 * H, H, lstm->hidden + before * H, H,
							  nn_param(run, tensors->weight_hidden), H,
							  true, lstm->gate + first * 4 * H, 4 * H));
		for (int64_t i = 0; i < n; i++)
		{
			float	   *c = lstm->cell + (run->backward ? first + i : i) * H;
			const float *previous = run->backward ? lstm->cell + (before + i) * H : c;

			nn_cell_forward(H, lstm->gate + (first + i) * 4 * H, s > 0 ? previous : NULL, c,
						 lstm->hidden + (first + i) * H);
		}
	}
	for (int64_t p = 0; p < N; p++)
		memcpy(state + lstm->event[p] * config->W + direction * H, lstm->hidden + p * H,
			   H * sizeof(float));
	return NN_OK;
}

nn_status
nn_lstm_backward(const nn_run *run, const nn_batch *batch, int direction,
				 nn_arena *arena, nn_lstm *lstm, const float *d_state, nn_grad *grad)
{
	const nn_config *config = run->config;
	const nn_lstm_tensors *tensors = &run->layout->lstm[direction];
	int			H = config->hidden,
				E = config->E,
				Pg = config->Pg;
	int64_t		N = batch->sequences > 0 ? batch->offsets[batch->sequences] : 0;
	int64_t		later;
	float	   *dh = nn_arena_floats(arena, N, H);
	float	   *dc = nn_arena_floats(arena, batch->sequences, H);
	float	   *previous = nn_arena_floats(arena, N, H);
	float	   *d_item = nn_arena_floats(arena, N, E);
	float	   *d_property = nn_arena_floats(arena, N, Pg);
	float	   *dz;
	nn_fields	fields;

	if (nn_arena_counts(arena))
		return NN_OK;
	NN_TRY(nn_arena_check(arena));
	if (N == 0)
		return NN_OK;

	for (int64_t p = 0; p < N; p++)
		memcpy(dh + p * H, d_state + lstm->event[p] * config->W + direction * H, H * sizeof(float));
	memset(dc, 0, (size_t) batch->sequences * H * sizeof(float));
	for (int s = lstm->steps - 1; s >= 0; s--)
	{
		int64_t		first = lstm->start[s];
		int64_t		before = s > 0 ? lstm->start[s - 1] : 0;
		int64_t		n = lstm->start[s + 1] - first;

		for (int64_t i = 0; i < n; i++)
			nn_cell_backward(H, lstm->gate + (first + i) * 4 * H,
						  s > 0 ? lstm->cell + (before + i) * H : NULL,
						  lstm->cell + (first + i) * H, dh + (first + i) * H, dc + i * H);
		if (s > 0)
		{
			NN_TRY(nn_product(run, NN_AB, n, H, 4 * H, lstm->gate + first * 4 * H, 4 * H,
							  nn_param(run, tensors->weight_hidden), H, true, dh + before * H, H));
			memcpy(previous + first * H, lstm->hidden + before * H, (size_t) n * H * sizeof(float));
		}
	}

	/* gate now holds the gradients of the sums; weights get them in one product each */
	dz = lstm->gate;
	later = lstm->start[1];
	nn_vector_column_sums(N, 4 * (size_t) H, dz, 4 * (size_t) H, nn_grad_of(run, grad, tensors->bias));
	NN_TRY(nn_product(run, NN_ATB, 4 * H, H, N - later, dz + later * 4 * H, 4 * H,
					  previous + later * H, H, true, nn_grad_of(run, grad, tensors->weight_hidden), H));
	NN_TRY(nn_product(run, NN_ATB, 4 * H, E, N, dz, 4 * H, lstm->item, E,
					  true, nn_grad_of(run, grad, tensors->weight_item), E));
	NN_TRY(nn_product(run, NN_AB, N, E, 4 * H, dz, 4 * H, nn_param(run, tensors->weight_item), E,
					  false, d_item, E));
	if (run->dropout)
		for (int64_t p = 0; p < N; p++)
			nn_dropout_apply(run->dropout, run->dropout->item, NN_STREAM_ITEM,
							 (run->dropout->event + (uint64_t) lstm->event[p]) * E, E, d_item + p * E);
	nn_group_fields(config, run->layout, NN_ITEM, NN_USE_BOTH, &fields);
	nn_scatter(run->layout, grad, &fields, batch->item, lstm->event, N, d_item, E);
	if (Pg > 0)
	{
		const float *w = nn_param(run, tensors->weight_property);
		float	   *dw = nn_grad_of(run, grad, tensors->weight_property);
		size_t		o = 2 * (size_t) H * Pg;

		NN_TRY(nn_product(run, NN_ATB, 2 * H, Pg, N, dz, 4 * H, lstm->property, Pg, true, dw, Pg));
		NN_TRY(nn_product(run, NN_ATB, H, Pg, N, dz + 3 * H, 4 * H, lstm->property, Pg,
						  true, dw + o, Pg));
		NN_TRY(nn_product(run, NN_AB, N, Pg, 2 * H, dz, 4 * H, w, Pg, false, d_property, Pg));
		NN_TRY(nn_product(run, NN_AB, N, Pg, H, dz + 3 * H, 4 * H, w + o, Pg, true, d_property, Pg));
		nn_group_fields(config, run->layout, NN_PROPERTY, NN_USE_GATES, &fields);
		nn_scatter(run->layout, grad, &fields, batch->property, lstm->event, N, d_property, Pg);
	}
	return NN_OK;
}
