/*-------------------------------------------------------------------------
 *
 * lstm.c
 *	  The property-gated LSTM (NETWORK.md, Property-gated LSTM)
 *
 *	z = weight_item e + weight_hidden h' + bias, and on the rows of i, f, o
 *		+ weight_property p
 *	i, f, o = sigmoid(z)	g = tanh(z)		c = f c' + i g		h = o tanh(c)
 *
 * What depends on the events alone is one product for many of them; a step then
 * is one product for the sequences that still go on.  Both work on chunks of
 * rows whose gates stay in the second cache until nothing needs them any more:
 * each row travels to memory once forward and once backward.
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "arena.h"
#include "layers.h"
#include "product.h"
#include "vector.h"

#define CHUNK_FLOATS (128 * 1024)	/* of gates: half of a small second cache */
#define MIN_CHUNK 64			/* rows: with fewer, products are slow */

/* ------------------------------------------------------------------------
 * Packing
 * ------------------------------------------------------------------------ */

static int64_t
sequence_length(const nn_batch *batch, int32_t b)
{
	return batch->offsets[b + 1] - batch->offsets[b];
}

static int64_t
chunk_rows(int H)
{
	int64_t		rows = CHUNK_FLOATS / (4 * H);

	return rows > MIN_CHUNK ? rows : MIN_CHUNK;
}

void
nn_lstm_carve_order(const nn_batch *batch, nn_arena *arena, nn_lstm *lstm)
{
	size_t		B = (size_t) batch->sequences;
	size_t		N = B > 0 ? (size_t) batch->offsets[B] : 0;

	lstm->events = (int64_t) N;
	lstm->steps = 0;
	for (size_t b = 0; b < B; b++)
		if (sequence_length(batch, b) > lstm->steps)
			lstm->steps = (int) sequence_length(batch, b);
	lstm->start = nn_arena_alloc(arena, (size_t) lstm->steps + 2, sizeof(int64_t));
	lstm->order = nn_arena_alloc(arena, B, sizeof(int32_t));
	lstm->event = nn_arena_alloc(arena, N, sizeof(int64_t));
}

void
nn_lstm_carve(const nn_run *run, const nn_batch *batch, nn_arena *arena, nn_lstm *lstm)
{
	const nn_config *config = run->config;
	size_t		B = (size_t) batch->sequences;
	size_t		N = B > 0 ? (size_t) batch->offsets[B] : 0;
	size_t		H = (size_t) config->hidden;
	size_t		kept = N;

	if (!run->backward && N > (size_t) chunk_rows(config->hidden))
		kept = (size_t) chunk_rows(config->hidden);
	nn_lstm_carve_order(batch, arena, lstm);
	lstm->input = nn_arena_floats(arena, N, H + config->E);
	lstm->gate = nn_arena_floats(arena, kept, 4 * H);
	lstm->cell = nn_arena_floats(arena, run->backward ? N : B, H);
	lstm->weight_hidden = nn_arena_floats(arena, H, 4 * H);
	lstm->weight_item = nn_arena_floats(arena, config->E, 4 * H);
	nn_projected_carve(run, batch->property, NN_USE_GATES, (int64_t) N, 3 * config->hidden,
					   arena, &lstm->property);
}

/* Sort by length, longest first and else in order, and number the packed rows. */
void
nn_lstm_pack(const nn_batch *batch, int direction, nn_lstm *lstm)
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
 * Forward
 * ------------------------------------------------------------------------ */

/* The sums of n rows from `first` on, but for what the states before give. */
static nn_status
project(const nn_run *run, const nn_batch *batch, int direction, const nn_fields *fields,
		const nn_lstm *lstm, int64_t first, int64_t n, float *gate)
{
	int			H = run->config->hidden,
				E = run->config->E,
				X = H + E;
	const float *bias = nn_param(run, run->layout->lstm[direction].bias);
	float	   *item = lstm->input + first * X + H;

	nn_gather(run->layout, run->param, fields, batch->item, lstm->event + first, n, item, X);
	if (run->dropout)
		for (int64_t p = 0; p < n; p++)
			nn_dropout_apply(run->dropout, run->dropout->item, NN_STREAM_ITEM,
							 (run->dropout->event + (uint64_t) lstm->event[first + p]) * E, E, item + p * X);
	for (int64_t p = 0; p < n; p++)
	{
		float	   *z = gate + p * 4 * H;

		/* rows i, f and then o: the candidate g has no property */
		memcpy(z, bias, 4 * (size_t) H * sizeof(float));
		nn_projected_add(&lstm->property, batch->property, lstm->event[first + p], 0, 2 * H, z);
		nn_projected_add(&lstm->property, batch->property, lstm->event[first + p], 2 * H, H, z + 3 * H);
	}
	return nn_product(run, NN_AB, n, 4 * H, E, item, X, lstm->weight_item, 4 * H, true, gate, 4 * H);
}

nn_status
nn_lstm_forward(const nn_run *run, const nn_batch *batch, int direction,
				nn_lstm *lstm, float *state)
{
	const nn_config *config = run->config;
	const nn_lstm_tensors *tensors = &run->layout->lstm[direction];
	int			H = config->hidden,
				E = config->E,
				X = H + E,
				W = config->W;
	int64_t		chunk = chunk_rows(H);
	nn_fields	fields;

	nn_lstm_pack(batch, direction, lstm);
	nn_group_fields(config, run->layout, NN_ITEM, NN_USE_BOTH, &fields);
	nn_transpose(4 * (size_t) H, (size_t) H, nn_param(run, tensors->weight_hidden), (size_t) H,
				 lstm->weight_hidden);
	nn_transpose(4 * (size_t) H, (size_t) E, nn_param(run, tensors->weight_item), (size_t) E,
				 lstm->weight_item);
	if (tensors->weight_property >= 0)
		NN_TRY(nn_projected_forward(run, batch->property, lstm->events,
									nn_param(run, tensors->weight_property), config->Pg, &lstm->property));

	for (int s = 0; s < lstm->steps; s++)
		for (int64_t row = lstm->start[s], end; row < lstm->start[s + 1]; row = end)
		{
			/* the rows of the step that lie in one chunk; first: the chunk's */
			int64_t		first = row / chunk * chunk;
			int64_t		sequence = row - lstm->start[s];
			float	   *gate = lstm->gate + (run->backward ? row : row - first) * 4 * H;
			const float *before = lstm->input + row * X;

			end = first + chunk < lstm->start[s + 1] ? first + chunk : lstm->start[s + 1];
			if (row == first)
				NN_TRY(project(run, batch, direction, &fields, lstm, row,
							   lstm->events - row < chunk ? lstm->events - row : chunk, gate));
			if (s == 0)
				for (int64_t i = row; i < end; i++)
					memset(lstm->input + i * X, 0, H * sizeof(float));
			else if (end == row + 1)
				nn_vector_matrix(H, 4 * (size_t) H, before, lstm->weight_hidden, gate);
			else
				NN_TRY(nn_product(run, NN_AB, end - row, 4 * H, H, before, X,
								  lstm->weight_hidden, 4 * H, true, gate, 4 * H));
			for (int64_t i = 0; i < end - row; i++)
			{
				float	   *h = state + lstm->event[row + i] * W + direction * H;
				float	   *c = lstm->cell + (run->backward ? row : sequence) * H + i * H;
				const float *previous = s == 0 ? NULL :
					run->backward ? lstm->cell + (lstm->start[s - 1] + sequence + i) * H : c;

				nn_cell_forward(H, gate + i * 4 * H, previous, c, h);
				if (s + 1 < lstm->steps && lstm->start[s + 1] + sequence + i < lstm->start[s + 2])
					memcpy(lstm->input + (lstm->start[s + 1] + sequence + i) * X, h, H * sizeof(float));
			}
		}
	return NN_OK;
}

/* ------------------------------------------------------------------------
 * Backward
 * ------------------------------------------------------------------------ */

/* The gradients of n rows from `first` on into parameters; gate holds those of the sums. */
static nn_status
project_backward(const nn_run *run, const nn_batch *batch, int direction, const nn_fields *fields,
				 nn_lstm *lstm, int64_t first, int64_t n, float *d_item, nn_grad *grad)
{
	const nn_lstm_tensors *tensors = &run->layout->lstm[direction];
	int			H = run->config->hidden,
				E = run->config->E,
				X = H + E;
	const float *dz = lstm->gate + first * 4 * H;
	const float *input = lstm->input + first * X;

	nn_vector_column_sums(n, 4 * (size_t) H, dz, 4 * (size_t) H, nn_grad_of(run, grad, tensors->bias));
	for (int64_t p = 0; p < n; p++)
	{
		nn_projected_collect(&lstm->property, batch->property, lstm->event[first + p], 0, 2 * H, dz + p * 4 * H);
		nn_projected_collect(&lstm->property, batch->property, lstm->event[first + p], 2 * H, H,
						  dz + p * 4 * H + 3 * H);
	}
	NN_TRY(nn_product(run, NN_ATB, 4 * H, H, n, dz, 4 * H, input, X,
					  true, nn_grad_of(run, grad, tensors->weight_hidden), H));
	NN_TRY(nn_product(run, NN_ATB, 4 * H, E, n, dz, 4 * H, input + H, X,
					  true, nn_grad_of(run, grad, tensors->weight_item), E));
	NN_TRY(nn_product(run, NN_AB, n, E, 4 * H, dz, 4 * H, nn_param(run, tensors->weight_item), E,
					  false, d_item, E));
	if (run->dropout)
		for (int64_t p = 0; p < n; p++)
			nn_dropout_apply(run->dropout, run->dropout->item, NN_STREAM_ITEM,
							 (run->dropout->event + (uint64_t) lstm->event[first + p]) * E, E, d_item + p * E);
	nn_scatter(run->layout, grad, fields, batch->item, lstm->event + first, n, d_item, E);
	return NN_OK;
}

nn_status
nn_lstm_backward(const nn_run *run, const nn_batch *batch, int direction,
				 nn_arena *arena, nn_lstm *lstm, const float *d_state, nn_grad *grad)
{
	const nn_config *config = run->config;
	const nn_lstm_tensors *tensors = &run->layout->lstm[direction];
	int			H = config->hidden,
				W = config->W;
	int64_t		N = batch->sequences > 0 ? batch->offsets[batch->sequences] : 0;
	int64_t		chunk = chunk_rows(H);
	float	   *dh = nn_arena_floats(arena, batch->sequences, H);
	float	   *dc = nn_arena_floats(arena, batch->sequences, H);
	float	   *d_item = nn_arena_floats(arena, N < chunk ? N : chunk, config->E);
	nn_fields	fields;

	if (nn_arena_counts(arena))
		return NN_OK;
	NN_TRY(nn_arena_check(arena));

	nn_group_fields(config, run->layout, NN_ITEM, NN_USE_BOTH, &fields);
	memset(dh, 0, (size_t) batch->sequences * H * sizeof(float));
	memset(dc, 0, (size_t) batch->sequences * H * sizeof(float));
	for (int s = lstm->steps - 1; s >= 0; s--)
		for (int64_t end = lstm->start[s + 1]; end > lstm->start[s];)
		{
			int64_t		first = (end - 1) / chunk * chunk;
			int64_t		row = first > lstm->start[s] ? first : lstm->start[s];
			int64_t		sequence = row - lstm->start[s];

			for (int64_t i = 0; row + i < end; i++)
				nn_cell_backward(H, lstm->gate + (row + i) * 4 * H,
							  s > 0 ? lstm->cell + (lstm->start[s - 1] + sequence + i) * H : NULL,
							  lstm->cell + (row + i) * H,
							  d_state + lstm->event[row + i] * W + direction * H,
							  dh + (sequence + i) * H, dc + (sequence + i) * H);
			if (s > 0)
				NN_TRY(nn_product(run, NN_AB, end - row, H, 4 * H, lstm->gate + row * 4 * H, 4 * H,
								  nn_param(run, tensors->weight_hidden), H, false, dh + sequence * H, H));
			if (row == first)
				NN_TRY(project_backward(run, batch, direction, &fields, lstm, row,
										N - row < chunk ? N - row : chunk, d_item, grad));
			end = row;
		}
	if (tensors->weight_property >= 0)
		return nn_projected_backward(run, nn_param(run, tensors->weight_property), config->Pg,
									 nn_grad_of(run, grad, tensors->weight_property), &lstm->property, grad);
	return NN_OK;
}
