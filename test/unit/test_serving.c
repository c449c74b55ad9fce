/*-------------------------------------------------------------------------
 *
 * test_serving.c
 *	  One user at a time takes another kernel: it must give the same states
 *
 *-------------------------------------------------------------------------
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "nn/nn.h"
#include "tap.h"

#define EVENTS	37
#define HIDDEN	23				/* no multiple of the kernel's four rows */

static const char json[] =
"{\"hidden\": 23, \"bidirectional\": false, \"attention\": [8, 6], \"recency\": 0, \"recency_rows\": 1, \"lag\": 0,"
" \"item\": [{\"name\": \"item_id\", \"vocab\": 50, \"dim\": 6, \"multi\": false}],"
" \"property\": [{\"name\": \"type\", \"vocab\": 6, \"dim\": 3, \"multi\": false, \"use\": \"both\"}],"
" \"profile\": [], \"context\": [], \"tasks\": []}";

static nn_config config;
static nn_layout layout;

static void
states(const float *param, const void *prepared, const nn_batch *batch, float *state, float *vector)
{
	nn_run		run = {.config = &config,.layout = &layout,.param = param,.prepared = prepared,
	.backward = prepared == NULL};
	nn_arena	arena = {0};
	nn_acts		acts = {0};
	char	   *memory;

	nn_user_forward(&run, batch, &arena, &acts);
	memory = aligned_alloc(64, (arena.used + 127) / 64 * 64);
	arena = (nn_arena) {.base = memory, .size = (arena.used + 127) / 64 * 64};
	ok(nn_user_forward(&run, batch, &arena, &acts) == NN_OK, "forward %s", prepared ? "from prepared weights" : "for backward");
	memcpy(state, acts.state, sizeof(float) * EVENTS * HIDDEN);
	memcpy(vector, acts.vector, sizeof(float) * HIDDEN);
	free(memory);
}

int
main(void)
{
	static float state[2][EVENTS * HIDDEN];
	static float vector[2][HIDDEN];
	int32_t		item[EVENTS];
	int32_t		type[EVENTS];
	int64_t		offsets[] = {0, EVENTS};
	int32_t		view_sequence[] = {0};
	int32_t		view_length[] = {EVENTS};
	nn_batch	batch = {.sequences = 1, .offsets = offsets, .views = 1, .view_sequence = view_sequence,
	.view_length = view_length, .view_offsets = offsets};
	float		scratch[2 * HIDDEN * HIDDEN];
	float	   *param;
	void	   *prepared;
	char		message[128];
	double		worst = 0;

	plan(5);
	ok(nn_config_parse(&config, json, sizeof(json) - 1, message, sizeof(message)) == NN_OK &&
	   nn_layout_make(&layout, &config) == NN_OK, "a network");
	param = malloc(sizeof(float) * layout.floats);
	nn_init(&config, &layout, param, 3, NULL, scratch);
	for (size_t i = 0; i < layout.floats; i++)
		param[i] *= 2;
	for (int t = 0; t < EVENTS; t++)
	{
		item[t] = (t * 7 + 2) % 50;
		type[t] = t % 6;
	}
	batch.item[0].values = item;
	batch.property[0].values = type;
	prepared = aligned_alloc(64, nn_prepared_size(&config, &layout));
	nn_prepare(&config, &layout, param, prepared);
	states(param, NULL, &batch, state[0], vector[0]);
	states(param, prepared, &batch, state[1], vector[1]);
	for (int i = 0; i < EVENTS * HIDDEN; i++)
		worst = fmax(worst, isfinite(state[1][i]) ? fabs(state[0][i] - state[1][i]) : INFINITY);
	ok(worst < 1e-5, "states agree within 1e-5: %g", worst);
	worst = 0;
	for (int i = 0; i < HIDDEN; i++)
		worst = fmax(worst, isfinite(vector[1][i]) ? fabs(vector[0][i] - vector[1][i]) : INFINITY);
	ok(worst < 1e-5, "vectors agree within 1e-5: %g", worst);
	free(prepared);
	free(param);
	return done();
}
