/*-------------------------------------------------------------------------
 *
 * user.c
 *	  From events, profile and context to user vectors, and back
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "arena.h"
#include "layers.h"

/* What forward leaves for backward: acts->own. */
typedef struct nn_user
{
	nn_lstm		lstm[2];
	nn_attention attention;
	float	   *query_profile;	/* [V, Q + U] */
} nn_user;

nn_status
nn_user_forward(const nn_run *run, const nn_batch *batch, nn_arena *arena, nn_acts *acts)
{
	const nn_config *config = run->config;
	int			directions = config->bidirectional ? 2 : 1;
	int			Q = config->Q,
				U = config->U,
				R = config->R;
	int64_t		N = batch->sequences > 0 ? batch->offsets[batch->sequences] : 0;
	int64_t		M = batch->views > 0 ? batch->view_offsets[batch->views] : 0;
	int			V = batch->views;
	nn_user    *own = nn_arena_alloc(arena, 1, sizeof(nn_user));
	nn_user		user;
	nn_fields	fields;

	acts->state = nn_arena_floats(arena, N, config->W);
	acts->attention = nn_arena_floats(arena, M, 1);
	acts->score = nn_arena_floats(arena, M, 1);
	acts->vector = nn_arena_floats(arena, V, R);
	acts->dvector = run->backward ? nn_arena_floats(arena, V, R) : NULL;
	acts->own = own;
	for (int d = 0; d < directions; d++)
		nn_lstm_carve(run, batch, arena, &user.lstm[d]);
	nn_attention_carve(run, batch, arena, &user.attention);
	user.query_profile = nn_arena_floats(arena, V, Q + U);
	if (nn_arena_counts(arena))
		return NN_OK;
	NN_TRY(nn_arena_check(arena));
	*own = user;

	for (int d = 0; d < directions; d++)
		NN_TRY(nn_lstm_forward(run, batch, d, &own->lstm[d], acts->state));
	nn_group_fields(config, run->layout, NN_CONTEXT, NN_USE_BOTH, &fields);
	nn_gather(run->layout, run->param, &fields, batch->context, NULL, V, own->query_profile, Q + U);
	nn_group_fields(config, run->layout, NN_PROFILE, NN_USE_BOTH, &fields);
	nn_gather(run->layout, run->param, &fields, batch->profile, NULL, V, own->query_profile + Q, Q + U);
	NN_TRY(nn_attention_forward(run, batch, &own->attention, own->query_profile, acts));

	/* r = [sum a h ; u], and ; q when it is asked for */
	for (int v = 0; v < V; v++)
	{
		const float *q = own->query_profile + (size_t) v * (Q + U);
		float	   *r = acts->vector + (size_t) v * R + config->W;

		memcpy(r, q + Q, U * sizeof(float));
		if (config->context_in_vector)
			memcpy(r + U, q, Q * sizeof(float));
	}
	return NN_OK;
}

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

	NN_TRY(nn_attention_backward(run, batch, arena, &own->attention, own->query_profile, acts,
								 d_state, d_query_profile, grad));
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
