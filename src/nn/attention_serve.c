/*-------------------------------------------------------------------------
 *
 * attention_serve.c
 *	  The attention's scores without backward, from prepared weights
 *
 * For views that see their whole sequence, one each, as those of answers do:
 * what depends on the view is computed once and enters the sums of its events
 * with the bias.  The second layer ends in the score and is never stored.
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "arena.h"
#include "prepare.h"
#include "vector.h"

#define CHUNK 96				/* events whose first layer stays in the first two caches */

bool
nn_attention_serves(const nn_batch *batch)
{
	if (batch->views != batch->sequences)
		return false;
	for (int v = 0; v < batch->views; v++)
		if (batch->view_sequence[v] != v || batch->view_length[v] != batch->offsets[v + 1] - batch->offsets[v])
			return false;
	return true;
}

void
nn_attention_serve_carve(const nn_run *run, const nn_batch *batch, const nn_prepared *prepared,
						 nn_arena *arena, nn_attention_serve *attention)
{
	size_t		width = (size_t) nn_panels(run->config->attention[0]) * NN_PANEL;

	attention->property = nn_arena_floats(arena, CHUNK, prepared->attention.property.width);
	attention->view_part = nn_arena_floats(arena, (size_t) batch->views, width);
	attention->first = nn_arena_floats(arena, CHUNK, width);
}

/* score [n] of the events from `event` on, all of one view */
static void
score_events(const nn_run *run, const nn_batch *batch, const nn_prepared *prepared,
			 nn_attention_serve *attention, const float *view_part, const float *state,
			 int64_t event, int64_t n, float *score)
{
	const nn_config *config = run->config;
	const nn_prepared_features *features = &prepared->attention;
	int			panels = nn_panels(config->attention[0]);
	size_t		width = (size_t) panels * NN_PANEL;
	int64_t		events[CHUNK];

	for (int64_t i = 0; i < n; i++)
		nn_prepared_sum(features, batch, event + i, view_part, panels, attention->first + i * width);
	if (features->property.width > 0)
	{
		for (int64_t i = 0; i < n; i++)
			events[i] = event + i;
		nn_gather(run->layout, run->param, &features->property, batch->property, events, n,
				  attention->property, features->property.width);
		nn_panel_product(n, features->property.width, attention->property, features->property.width,
						 panels, prepared->attention_property, attention->first, width, false);
	}
	nn_panel_product(n, config->W, state + event * config->W, config->W, panels, prepared->attention_state,
					 attention->first, width, true);
	nn_panel_score(n, config->attention[0], attention->first, width, nn_panels(config->attention[1]),
				   prepared->attention_second, prepared->attention_bias[1], prepared->attention_last, score);
}

nn_status
nn_attention_serve_scores(const nn_run *run, const nn_batch *batch, const nn_prepared *prepared,
						  nn_attention_serve *attention, const float *query_profile, const float *state,
						  float *score)
{
	int			QU = run->config->Q + run->config->U;
	int			panels = nn_panels(run->config->attention[0]);
	size_t		width = (size_t) panels * NN_PANEL;

	for (int v = 0; v < batch->views; v++)
		memcpy(attention->view_part + v * width, prepared->attention_bias[0], width * sizeof(float));
	nn_panel_product(batch->views, QU, query_profile, QU, panels, prepared->attention_view,
					 attention->view_part, width, false);
	for (int v = 0; v < batch->views; v++)
		for (int64_t event = batch->offsets[v]; event < batch->offsets[v + 1]; event += CHUNK)
		{
			int64_t		left = batch->offsets[v + 1] - event;

			if (run->abort != NULL && run->abort(run->abort_arg))
				return NN_ABORTED;
			score_events(run, batch, prepared, attention, attention->view_part + v * width, state,
						 event, left < CHUNK ? left : CHUNK, score + event);
		}
	return NN_OK;
}
