/*-------------------------------------------------------------------------
 *
 * user.c
 *	  From events, profile and context to user vectors, and back
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "arena.h"
#include "prepare.h"

/* What forward leaves for backward: acts->own. */
typedef struct nn_user
{
	nn_lstm		lstm[2];
	nn_attention attention;
	float	   *query_profile;	/* [V, Q + U] */
} nn_user;

/* ------------------------------------------------------------------------
 * Forward
 * ------------------------------------------------------------------------ */

/* [q ; u] of the views */
static void
gather_views(const nn_run *run, const nn_batch *batch, float *query_profile)
{
	int			Q = run->config->Q,
				U = run->config->U;
	nn_fields	fields;

	nn_group_fields(run->config, run->layout, NN_CONTEXT, NN_USE_BOTH, &fields);
	nn_gather(run->layout, run->param, &fields, batch->context, NULL, batch->views, query_profile, Q + U);
	nn_group_fields(run->config, run->layout, NN_PROFILE, NN_USE_BOTH, &fields);
	nn_gather(run->layout, run->param, &fields, batch->profile, NULL, batch->views, query_profile + Q, Q + U);
}

/* r = [sum a h ; u], and ; q when it is asked for; the sum is there. */
static void
complete_vectors(const nn_run *run, const nn_batch *batch, const float *query_profile, nn_acts *acts)
{
	const nn_config *config = run->config;

	for (int v = 0; v < batch->views; v++)
	{
		const float *q = query_profile + (size_t) v * (config->Q + config->U);
		float	   *r = acts->vector + (size_t) v * config->R + config->W;

		memcpy(r, q + config->Q, config->U * sizeof(float));
		if (config->context_in_vector)
			memcpy(r + config->U, q, config->Q * sizeof(float));
	}
}

/* The states become vectors: by attention, or as pooling.c has it. */
static bool
attends(const nn_config *config)
{
	return config->pooling == NN_POOL_ATTENTION;
}

/* With prepared weights: the memory of the layers is a chunk's, not a batch's. */
static nn_status
serve(const nn_run *run, const nn_batch *batch, nn_arena *arena, nn_acts *acts)
{
	const nn_config *config = run->config;
	bool		whole = attends(config) && nn_attention_serves(batch);
	int64_t		N = batch->sequences > 0 ? batch->offsets[batch->sequences] : 0;
	float	   *query_profile = nn_arena_floats(arena, batch->views, config->Q + config->U);
	float	   *raw = NULL;
	nn_prepared prepared;
	nn_lstm_serve lstm;
	nn_attention attention;
	nn_attention_serve serving;

	(void) nn_prepared_map(config, run->layout, run->prepared, &prepared);
	nn_lstm_serve_carve(run, batch, &prepared, arena, &lstm);
	if (whole)
	{
		raw = nn_arena_floats(arena, N, 1);
		nn_attention_serve_carve(run, batch, &prepared, arena, &serving);
	}
	else if (attends(config))
		nn_attention_carve(run, batch, arena, &attention);
	if (nn_arena_counts(arena))
		return NN_OK;
	NN_TRY(nn_arena_check(arena));

	for (int d = 0; d < (config->bidirectional ? 2 : 1); d++)
		NN_TRY(nn_lstm_serve_forward(run, batch, d, &prepared, &lstm, acts->state));
	gather_views(run, batch, query_profile);
	if (whole)
	{
		NN_TRY(nn_attention_serve_scores(run, batch, &prepared, &serving, query_profile, acts->state, raw));
		NN_TRY(nn_attention_pool(run, batch, true, raw, acts));
	}
	else if (attends(config))
		NN_TRY(nn_attention_forward(run, batch, &attention, query_profile, acts));
	else
		nn_pool_forward(run, batch, acts);
	complete_vectors(run, batch, query_profile, acts);
	return NN_OK;
}

nn_status
nn_user_forward(const nn_run *run, const nn_batch *batch, nn_arena *arena, nn_acts *acts)
{
	const nn_config *config = run->config;
	int			directions = config->bidirectional ? 2 : 1;
	int64_t		N = batch->sequences > 0 ? batch->offsets[batch->sequences] : 0;
	int64_t		M = batch->views > 0 ? batch->view_offsets[batch->views] : 0;
	int			V = batch->views;
	nn_user    *own;
	nn_user		user;

	acts->state = nn_arena_floats(arena, N, config->W);
	acts->attention = attends(config) ? nn_arena_floats(arena, M, 1) : NULL;
	acts->score = attends(config) ? nn_arena_floats(arena, M, 1) : NULL;
	acts->vector = nn_arena_floats(arena, V, config->R);
	acts->dvector = run->backward ? nn_arena_floats(arena, V, config->R) : NULL;
	acts->own = NULL;
	if (run->prepared && !run->backward)
		return serve(run, batch, arena, acts);

	acts->own = own = nn_arena_alloc(arena, 1, sizeof(nn_user));
	for (int d = 0; d < directions; d++)
		nn_lstm_carve(run, batch, arena, &user.lstm[d]);
	if (attends(config))
		nn_attention_carve(run, batch, arena, &user.attention);
	user.query_profile = nn_arena_floats(arena, V, config->Q + config->U);
	if (nn_arena_counts(arena))
		return NN_OK;
	NN_TRY(nn_arena_check(arena));
	*own = user;

	for (int d = 0; d < directions; d++)
		NN_TRY(nn_lstm_forward(run, batch, d, &own->lstm[d], acts->state));
	gather_views(run, batch, own->query_profile);
	if (attends(config))
		NN_TRY(nn_attention_forward(run, batch, &own->attention, own->query_profile, acts));
	else
		nn_pool_forward(run, batch, acts);
	complete_vectors(run, batch, own->query_profile, acts);
	return NN_OK;
}

/* ------------------------------------------------------------------------
 * Backward
 * ------------------------------------------------------------------------ */

nn_status
nn_user_backward(const nn_run *run, const nn_batch *batch, nn_arena *arena,
				 nn_acts *acts, nn_grad *grad)
{
	const nn_config *config = run->config;
	int			Q = config->Q,
				U = config->U,
				R = config->R;
	int64_t		N = batch->sequences > 0 ? batch->offsets[batch->sequences] : 0;
	int			V = batch->views;
	nn_user    *own = acts->own;
	nn_user		none = {0};		/* counting: there is none */
	float	   *d_state = nn_arena_floats(arena, N, config->W);
	float	   *d_query_profile = nn_arena_floats(arena, V, Q + U);
	nn_fields	fields;

	if (nn_arena_counts(arena))
		own = &none;
	else
	{
		NN_TRY(nn_arena_check(arena));
		memset(d_state, 0, (size_t) N * config->W * sizeof(float));
		for (int v = 0; v < V; v++)
		{
			const float *dr = acts->dvector + (size_t) v * R + config->W;
			float	   *dq = d_query_profile + (size_t) v * (Q + U);

			memset(dq, 0, Q * sizeof(float));
			memcpy(dq + Q, dr, U * sizeof(float));
			if (config->context_in_vector)
				memcpy(dq, dr + U, Q * sizeof(float));
		}
	}

	if (attends(config))
		NN_TRY(nn_attention_backward(run, batch, arena, &own->attention, own->query_profile, acts,
									 d_state, d_query_profile, grad));
	else if (!nn_arena_counts(arena))
		nn_pool_backward(run, batch, acts, d_state);
	if (!nn_arena_counts(arena))
	{
		nn_group_fields(config, run->layout, NN_CONTEXT, NN_USE_BOTH, &fields);
		nn_scatter(run->layout, grad, &fields, batch->context, NULL, V, d_query_profile, Q + U);
		nn_group_fields(config, run->layout, NN_PROFILE, NN_USE_BOTH, &fields);
		nn_scatter(run->layout, grad, &fields, batch->profile, NULL, V, d_query_profile + Q, Q + U);
	}
	for (int d = 0; d < (config->bidirectional ? 2 : 1); d++)
		NN_TRY(nn_lstm_backward(run, batch, d, arena, &own->lstm[d], d_state, grad));
	return NN_OK;
}
