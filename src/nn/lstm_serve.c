/*-------------------------------------------------------------------------
 *
 * lstm_serve.c
 *	  The LSTM without backward, from prepared weights
 *
 * As lstm.c, step by step in chunks of packed rows.  What the events of a chunk
 * give alone is summed first: the bias, the projected features' rows, and the
 * other features times their weights.  A step then is one kernel, which goes
 * from these sums and the states before to the states, and these lie nowhere
 * but where the caller wants them.
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "arena.h"
#include "prepare.h"
#include "vector.h"

#define CHUNK_FLOATS (128 * 1024)	/* of gates: half of a small second cache */
#define MIN_CHUNK 48			/* rows: a product of fewer reads the weights too often */
#define CALL_FLOP 1e9			/* of a kernel's call, between two polls */

static int
gathered_width(const nn_prepared_lstm *weights)
{
	return weights->features.item.width + weights->features.property.width;
}

void
nn_lstm_serve_carve(const nn_run *run, const nn_batch *batch, const nn_prepared *prepared,
					nn_arena *arena, nn_lstm_serve *lstm)
{
	int			H = run->config->hidden;
	int			panels = nn_lstm_panels(H);
	size_t		B = (size_t) batch->sequences;
	int64_t		rows;

	nn_lstm_carve_order(batch, arena, &lstm->order);
	rows = CHUNK_FLOATS / (panels * NN_PANEL);
	rows = rows > MIN_CHUNK ? rows : MIN_CHUNK;
	lstm->chunk = lstm->order.events < rows ? lstm->order.events : rows;
	lstm->input = nn_arena_floats(arena, (size_t) lstm->chunk, gathered_width(&prepared->lstm[0]));
	lstm->gate = nn_arena_floats(arena, (size_t) lstm->chunk, (size_t) panels * NN_PANEL);
	lstm->cell = nn_arena_floats(arena, B, (size_t) panels * NN_UNITS);
	lstm->state = nn_arena_alloc(arena, B, sizeof(float *));
	lstm->previous = nn_arena_alloc(arena, B, sizeof(float *));
}

/* Rows of a call that takes 2 inputs * outputs operations a row. */
static int64_t
rows_of_call(int inputs, size_t outputs)
{
	double		rows = CALL_FLOP / (2.0 * (inputs + 1) * (double) outputs);

	return rows > 1 ? (int64_t) rows : 1;
}

static nn_status
poll(const nn_run *run)
{
	return run->abort != NULL && run->abort(run->abort_arg) ? NN_ABORTED : NN_OK;
}

/* gate [n, 4HP]: what the events of n packed rows from `first` on give alone. */
static nn_status
project(const nn_run *run, const nn_batch *batch, const nn_prepared_lstm *weights,
		nn_lstm_serve *lstm, int64_t first, int64_t n)
{
	const nn_prepared_features *features = &weights->features;
	const int64_t *event = lstm->order.event + first;
	int			panels = nn_lstm_panels(run->config->hidden);
	int			K = gathered_width(weights);
	size_t		width = (size_t) panels * NN_PANEL;
	int64_t		call = rows_of_call(K, width);

	nn_gather(run->layout, run->param, &features->item, batch->item, event, n, lstm->input, K);
	nn_gather(run->layout, run->param, &features->property, batch->property, event, n,
			  lstm->input + features->item.width, K);
	for (int64_t i = 0; i < n; i++)
		nn_prepared_sum(features, batch, event[i], weights->bias, panels, lstm->gate + i * width);
	for (int64_t i = 0; i < n; i += call)
	{
		NN_TRY(poll(run));
		nn_panel_product(n - i < call ? n - i : call, K, lstm->input + i * K, K, panels, weights->input,
						 lstm->gate + i * width, width, false);
	}
	return NN_OK;
}

nn_status
nn_lstm_serve_forward(const nn_run *run, const nn_batch *batch, int direction,
					  const nn_prepared *prepared, nn_lstm_serve *lstm, float *state)
{
	const nn_prepared_lstm *weights = &prepared->lstm[direction];
	const nn_lstm *order = &lstm->order;
	int			H = run->config->hidden,
				W = run->config->W;
	int			panels = nn_lstm_panels(H);
	size_t		cells = (size_t) panels * NN_UNITS;
	int64_t		call = rows_of_call(H, 4 * cells);
	bool		half = run->half && batch->sequences <= NN_HALF_ROWS;

	nn_lstm_pack(batch, direction, &lstm->order);
	memset(lstm->cell, 0, (size_t) batch->sequences * cells * sizeof(float));
	for (int s = 0; s < order->steps; s++)
	{
		float	  **swap = lstm->previous;
		int64_t		start = order->start[s],
					stop = order->start[s + 1];

		lstm->previous = lstm->state;
		lstm->state = swap;
		for (int64_t row = start, end; row < stop; row = end)
		{
			/* the rows of the step that lie in one chunk */
			int64_t		first = row / lstm->chunk * lstm->chunk;
			int64_t		i = row - start;

			end = first + lstm->chunk < stop ? first + lstm->chunk : stop;
			end = end - row < call ? end : row + call;
			if (row == first)
				NN_TRY(project(run, batch, weights, lstm, first, order->events - first < lstm->chunk ?
							   order->events - first : lstm->chunk));
			else if (end - row == call)
				NN_TRY(poll(run));
			for (int64_t r = row; r < end; r++)
				lstm->state[i + r - row] = state + order->event[r] * W + direction * H;
			nn_lstm_step(end - row, H, s > 0 ? (const float *const *) lstm->previous + i : NULL,
						 half ? weights->half : weights->recurrent, half, s % 2 == 1,
						 lstm->gate + (row - first) * panels * NN_PANEL, lstm->cell + i * cells,
						 lstm->state + i);
		}
	}
	return NN_OK;
}
