/*-------------------------------------------------------------------------
 *
 * test_scoring.c
 *	  A head taken apart gives the logits of nn_task_forward
 *
 *-------------------------------------------------------------------------
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "nn/kernel.h"
#include "nn/nn.h"
#include "pool.h"
#include "tap.h"

#define SAMPLES 13
#define ITEMS	"\"item\": [{\"name\": \"id\", \"vocab\": 90, \"dim\": 33, \"multi\": false}," \
	" {\"name\": \"tag\", \"vocab\": 30, \"dim\": 9, \"multi\": true}, {\"name\": \"kind\", \"vocab\": 7, \"dim\": 5, \"multi\": false}]"

#define THINGS "\"thing\": [{\"name\": \"icon\", \"vocab\": 7, \"dim\": 5}, {\"name\": \"text\", \"vocab\": 9, \"dim\": 4, \"multi\": true}]"

static const struct
{
	const char *name;
	const char *task;
} cases[] = {
	{"one matrix for the item", "\"kind\": \"binary\", \"candidate\": [\"tag\", \"id\"], \"candidate_dim\": 40, \"hidden\": [29, 37]"},
	{"two matrices for the item", "\"kind\": \"binary\", \"candidate\": [\"id\", \"kind\", \"tag\"], \"candidate_dim\": 2, \"hidden\": [50]"},
	{"an item and numbers", "\"kind\": \"binary\", \"candidate\": [\"kind\"], \"candidate_dim\": 3, \"hidden\": [8, 19, 5, 7], \"features\": 3"},
	{"a product term, one matrix", "\"kind\": \"binary\", \"candidate\": [\"tag\", \"id\"], \"candidate_dim\": 40, \"hidden\": [29, 37], \"product\": true"},
	{"a product term, two matrices, numbers", "\"kind\": \"binary\", \"candidate\": [\"id\", \"kind\", \"tag\"], \"candidate_dim\": 2, \"hidden\": [50], \"features\": 3, \"product\": true"},
	{"a product term, no hidden layer", "\"kind\": \"binary\", \"candidate\": [\"id\"], \"candidate_dim\": 4, \"hidden\": [], \"product\": true"},
	{"things beside an item", "\"kind\": \"binary\", \"candidate\": [\"tag\"], \"things\": [\"text\", \"icon\"], \"candidate_dim\": 6, \"hidden\": [20], \"product\": true"},
	{"a thing alone, numbers", "\"kind\": \"binary\", \"things\": [\"icon\"], \"candidate_dim\": 3, \"hidden\": [9, 5], \"features\": 2"},
	{"numbers alone", "\"kind\": \"binary\", \"features\": 2, \"hidden\": [17, 6]"},
	{"no hidden layer", "\"kind\": \"binary\", \"candidate\": [\"id\"], \"candidate_dim\": 4, \"features\": 2, \"hidden\": []"},
	{"the user alone", "\"kind\": \"binary\", \"hidden\": [6]"},
	{"rank", "\"kind\": \"rank\", \"features\": 5, \"hidden\": [11]"},
};

#define CASES ((int) (sizeof(cases) / sizeof(cases[0])))

static nn_config config;
static nn_layout layout;
static uint64_t seed = 11;

static void *
make(size_t bytes)
{
	return memset(pool_take(bytes), 0, bytes);
}

static int
below(int n)
{
	return (int) (nn_random_uniform(&seed) * n);
}

static nn_ids
random_ids(const nn_feature *feature)
{
	int32_t    *values = make(sizeof(int32_t) * SAMPLES * 4);
	int64_t    *offsets = make(sizeof(int64_t) * (SAMPLES + 1));

	for (int i = 0; i < SAMPLES; i++)
		offsets[i + 1] = offsets[i] + (feature->multi ? below(5) : 1);
	for (int k = 0; k < offsets[SAMPLES]; k++)
		values[k] = below((int) feature->vocab);
	return (nn_ids) {values, feature->multi ? offsets : NULL};
}

/* The logits of nn_task_forward. */
static void
forward(const nn_run *run, const nn_samples *samples, const float *vector, float *logit)
{
	nn_arena	arena = {0};
	nn_task_acts acts;

	nn_task_forward(run, 0, samples, 1, vector, &arena, &acts);
	arena = (nn_arena) {make(arena.used), arena.used, 0};
	ok(nn_task_forward(run, 0, samples, 1, vector, &arena, &acts) == NN_OK, "the whole head");
	memcpy(logit, acts.logit, sizeof(float) * SAMPLES);
}

static void
user_part(const nn_run *run, const nn_scorer *scorer, const float *vector, float *part)
{
	nn_arena	arena = {0};

	nn_user_part(run, scorer, vector, &arena, part);
	arena = (nn_arena) {make(arena.used), arena.used, 0};
	ok(nn_user_part(run, scorer, vector, &arena, part) == NN_OK, "the user's part");
}

static void
test_case(const char *name, const char *experts, const char *task)
{
	char		json[1024],
				message[128];
	int32_t		view[SAMPLES] = {0};
	float		logit[SAMPLES],
				features[SAMPLES * 8],
				scratch[2 * 64 * 64];
	nn_run		run = {.config = &config,.layout = &layout};
	nn_samples	samples = {.n = SAMPLES,.view = view,.features = features};
	nn_scorer	scorer;
	nn_arena	arena = {0};
	nn_ids		item[2 * NN_MAX_FEATURES];
	float	   *param,
			   *vector,
			   *user,
			   *e,
			   *inner,
			   *many,
			   *one;
	int64_t		row[SAMPLES];
	int			X,
				width,
				F;
	double		worst = 0,
				apart = 0,
				size = 0;

	snprintf(json, sizeof(json), "{\"hidden\": 23, \"attention\": [8, 6], %s" ITEMS ", " THINGS ", \"tasks\": [{\"name\": \"t\", %s}]}",
			 experts, task);
	ok(nn_config_parse(&config, json, strlen(json), message, sizeof(message)) == NN_OK &&
	   nn_layout_make(&layout, &config) == NN_OK, "%s", name);
	param = make(sizeof(float) * layout.floats);
	nn_init(&config, &layout, param, 5, NULL, scratch);
	for (size_t i = 0; i < layout.floats; i++)
		param[i] += 0.2f * (float) nn_random_normal(&seed);
	run.param = param;
	vector = make(sizeof(float) * config.R);
	for (int i = 0; i < config.R; i++)
		vector[i] = (float) nn_random_normal(&seed);
	for (int i = 0; i < SAMPLES * 8; i++)
		features[i] = (float) nn_random_normal(&seed);
	for (int f = 0; f < 3; f++)
		item[f] = random_ids(&config.feature[NN_ITEM][f]);
	for (int f = 0; f < 2; f++)
		item[NN_MAX_FEATURES + f] = random_ids(&config.feature[NN_THING][f]);
	for (int k = 0; k < config.task[0].n_candidate; k++)
		samples.candidate[k] = item[config.task[0].candidate[k]];
	forward(&run, &samples, vector, logit);

	ok(nn_scorer_make(&run, 0, &arena, &scorer) == NN_OK, "a scorer is counted");
	arena = (nn_arena) {make(arena.used), arena.used, 0};
	ok(nn_scorer_make(&run, 0, &arena, &scorer) == NN_OK && scorer.width == nn_part_width(&config, 0), "and made");
	X = scorer.fields.width;
	width = scorer.width;
	F = config.task[0].features;
	user = make(sizeof(float) * width);
	e = make(sizeof(float) * SAMPLES * X);
	inner = make(sizeof(float) * SAMPLES * 64);
	many = make(sizeof(float) * SAMPLES * width);
	one = make(sizeof(float) * width);
	user_part(&run, &scorer, vector, user);
	if (X > 0)
	{
		for (int s = 0; s < SAMPLES; s++)
			row[s] = s;
		nn_candidate_encode(&run, &scorer, item, row, SAMPLES, e);
		ok(nn_item_parts(&run, &scorer, SAMPLES, e, inner, many) == NN_OK, "items in one product");
	}
	for (int s = 0; s < SAMPLES; s++)
	{
		float		got;

		if (X > 0)
			nn_item_parts(&run, &scorer, 1, e + s * X, inner, one);
		got = nn_score(&scorer, user, X > 0 ? one : NULL, features + s * F);
		worst = fmax(worst, isfinite(got) ? fabs(got - logit[s]) : INFINITY);
		size = fmax(size, fabs(logit[s]));
		for (int i = 0; i < width && X > 0; i++)
			apart = fmax(apart, isfinite(one[i]) ? fabs(one[i] - many[s * width + i]) : INFINITY);
	}
	ok(worst <= 1e-5 * (1 + size), "logits agree within 1e-5: %g of %g", worst, size);
	if (X > 0)
		ok(apart <= 1e-5 * (1 + size), "one item alone is as among many: %g", apart);
}

int
main(void)
{
	const char *kernels[NN_MAX_KERNELS];
	int			n = nn_kernels_available(kernels);

	plan((n - 1) * 2 * (6 * CASES + 2 * 9));
	for (int k = 1; k < n; k++)
	{
		(void) nn_kernels_use(kernels[k]);
		printf("# kernels: %s\n", nn_kernels_name());
		for (int i = 0; i < CASES; i++)
		{
			test_case(cases[i].name, "", cases[i].task);
			test_case("and experts", "\"experts\": 3, \"expert_dim\": 9, ", cases[i].task);
		}
	}
	pool_free();
	return done();
}
