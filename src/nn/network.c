/*-------------------------------------------------------------------------
 *
 * network.c
 *	  The whole network: users, then the heads of all tasks
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "arena.h"
#include "layers.h"

const char *
nn_status_text(nn_status status)
{
	switch (status)
	{
		case NN_OK:
			return "no error";
		case NN_NO_MEMORY:
			return "not enough memory was set aside";
		case NN_BAD_CONFIG:
			return "the configuration is not valid";
		case NN_BAD_BATCH:
			return "an id, offset or length is out of range";
		case NN_BAD_FILE:
			return "the file is malformed";
		case NN_NOT_FINITE:
			return "a number is not finite";
		case NN_ABORTED:
			return "the computation was stopped";
	}
	return "unknown status";
}

/* User vectors that came with the batch. */
static nn_status
take_vectors(const nn_run *run, const nn_batch *batch, nn_arena *arena, nn_acts *acts)
{
	acts->vector = nn_arena_floats(arena, batch->views, run->config->R);
	acts->dvector = run->backward ? nn_arena_floats(arena, batch->views, run->config->R) : NULL;
	if (nn_arena_counts(arena))
		return NN_OK;
	NN_TRY(nn_arena_check(arena));
	memcpy(acts->vector, batch->vector, (size_t) batch->views * run->config->R * sizeof(float));
	return NN_OK;
}

nn_status
nn_forward(const nn_run *run, const nn_batch *batch, nn_arena *arena, nn_acts *acts)
{
	const nn_config *config = run->config;
	const float *x;

	memset(acts, 0, sizeof(*acts));
	NN_TRY(batch->vector ? take_vectors(run, batch, arena, acts) : nn_user_forward(run, batch, arena, acts));
	if (config->experts > 0)
		NN_TRY(nn_experts_forward(run, batch->views, acts->vector, arena, &acts->experts));
	for (int t = 0; t < config->n_task; t++)
	{
		if (batch->samples[t].n == 0)
			continue;
		if (config->experts > 0)
			NN_TRY(nn_gate_forward(run, t, batch->views, arena, &acts->experts));
		x = config->experts > 0 ? acts->experts.x[t] : acts->vector;
		NN_TRY(nn_head_forward(run, t, &batch->samples[t], batch->views, x, arena, &acts->task[t]));
		acts->loss += config->task[t].weight * acts->task[t].loss;
	}
	return NN_OK;
}

/* From the heads through the experts to acts->dvector. */
static nn_status
experts_backward(const nn_run *run, const nn_batch *batch, nn_arena *arena, nn_acts *acts, nn_grad *grad)
{
	const nn_config *config = run->config;
	nn_experts *experts = &acts->experts;
	bool		counts = nn_arena_counts(arena);

	NN_TRY(nn_experts_carve_backward(run, batch->views, arena, experts));
	for (int t = 0; t < config->n_task; t++)
	{
		if (batch->samples[t].n == 0)
			continue;
		if (!counts)
			memset(experts->d_x, 0, (size_t) batch->views * config->head_width * sizeof(float));
		NN_TRY(nn_head_backward(run, t, &batch->samples[t], batch->views, arena,
								&acts->task[t], experts->d_x, grad));
		if (!counts)
			NN_TRY(nn_gate_backward(run, t, batch->views, experts, grad));
	}
	return counts ? NN_OK : nn_experts_backward(run, batch->views, experts, acts->dvector, grad);
}

nn_status
nn_backward(const nn_run *run, const nn_batch *batch, nn_arena *arena,
			nn_acts *acts, nn_grad *grad)
{
	const nn_config *config = run->config;

	if (!nn_arena_counts(arena))
		memset(acts->dvector, 0, (size_t) batch->views * config->R * sizeof(float));
	if (config->experts > 0)
		NN_TRY(experts_backward(run, batch, arena, acts, grad));
	for (int t = 0; t < config->n_task && config->experts == 0; t++)
		if (batch->samples[t].n > 0)
			NN_TRY(nn_head_backward(run, t, &batch->samples[t], batch->views, arena,
									&acts->task[t], acts->dvector, grad));
	return batch->vector ? NN_OK : nn_user_backward(run, batch, arena, acts, grad);
}
