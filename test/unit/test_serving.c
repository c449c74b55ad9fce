/*-------------------------------------------------------------------------
 *
 * test_serving.c
 *	  Prepared weights must give what the parameters give
 *
 * The forward pass for backward, which other tests hold against formulas in
 * double, is the reference: states, scores, attention and vectors agree within
 * 1e-5 for any number of sequences of any lengths, with every set of kernels.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "nn/kernel.h"
#include "nn/nn.h"
#include "pool.h"
#include "tap.h"

#define LONGEST 23
#define MOST 14					/* sequences */

/* Widths that are no multiple of anything; tables that are projected (at most 64 rows) and not. */
#define ITEMS "\"item\": [{\"name\": \"id\", \"vocab\": 90, \"dim\": 7}, {\"name\": \"band\", \"vocab\": 6, \"dim\": 3}, " \
	"{\"name\": \"tags\", \"vocab\": 70, \"dim\": 5, \"multi\": true}]"
#define PROPERTIES "\"property\": [{\"name\": \"type\", \"vocab\": 5, \"dim\": 3}, " \
	"{\"name\": \"place\", \"vocab\": 80, \"dim\": 4}, {\"name\": \"gap\", \"vocab\": 4, \"dim\": 2, \"use\": \"gates\"}, " \
	"{\"name\": \"part\", \"vocab\": 6, \"dim\": 2, \"multi\": true, \"use\": \"attention\"}]"
#define GATES "\"property\": [{\"name\": \"type\", \"vocab\": 5, \"dim\": 3, \"use\": \"gates\"}, " \
	"{\"name\": \"place\", \"vocab\": 80, \"dim\": 4, \"use\": \"gates\"}]"
#define TIME "\"recency\": 4, \"recency_rows\": 3, \"lag\": 3"
#define WHO "\"profile\": [{\"name\": \"age\", \"vocab\": 9, \"dim\": 3}], \"context\": [{\"name\": \"query\", \"vocab\": 5, \"dim\": 4, \"multi\": true}]"

static const struct network
{
	const char *name;
	const char *json;
	bool		prefixes;		/* two views of each sequence */
} networks[] = {
	{"all features", "{\"hidden\": 23, \"attention\": [70, 33], " ITEMS ", " PROPERTIES ", " TIME ", " WHO ", \"tasks\": []}", false},
	{"views that are prefixes", "{\"hidden\": 16, \"attention\": [8, 6], " ITEMS ", " PROPERTIES ", " TIME ", " WHO ", \"tasks\": []}", true},
	{"both directions", "{\"hidden\": 33, \"bidirectional\": true, \"attention\": [9, 65], " ITEMS ", " PROPERTIES ", \"tasks\": []}", false},
	{"summed items, few values only", "{\"hidden\": 6, \"attention\": [4, 3], \"item_encoding\": \"sum\", "
	"\"item\": [{\"name\": \"id\", \"vocab\": 40, \"dim\": 5}, {\"name\": \"tags\", \"vocab\": 64, \"dim\": 5, \"multi\": true}], \"tasks\": []}", false},
	{"summed items", "{\"hidden\": 6, \"attention\": [4, 3], \"item_encoding\": \"sum\", \"context_in_vector\": true, " WHO ", "
	"\"item\": [{\"name\": \"id\", \"vocab\": 400, \"dim\": 5}, {\"name\": \"tags\", \"vocab\": 64, \"dim\": 5, \"multi\": true}, {\"name\": \"shop\", \"vocab\": 65, \"dim\": 5}], \"tasks\": []}", false},
	{"the last state", "{\"hidden\": 16, \"pooling\": \"last\", " ITEMS ", " GATES ", " WHO ", \"tasks\": []}", true},
	{"the last states of both directions", "{\"hidden\": 23, \"pooling\": \"last\", \"bidirectional\": true, " ITEMS ", " GATES ", " WHO ", \"tasks\": []}", false},
	{"the mean", "{\"hidden\": 23, \"pooling\": \"mean\", \"context_in_vector\": true, " ITEMS ", " GATES ", " WHO ", \"tasks\": []}", false},
	{"the largest", "{\"hidden\": 33, \"pooling\": \"max\", \"bidirectional\": true, " ITEMS ", " GATES ", \"tasks\": []}", false},
	{"no bias of time", "{\"hidden\": 23, \"attention\": [70, 33], \"recency_bias\": false, " ITEMS ", " PROPERTIES ", " TIME ", " WHO ", \"tasks\": []}", false},
};

#define NETWORKS ((int) (sizeof(networks) / sizeof(networks[0])))

static nn_config config;
static nn_layout layout;
static uint64_t seed = 5;

static int
below(int64_t n)
{
	return (int) (nn_random_uniform(&seed) * (double) n);
}

/* ------------------------------------------------------------------------
 * Networks and batches
 * ------------------------------------------------------------------------ */

static float *
make_param(const char *json)
{
	char		message[128];
	float	   *param;

	if (nn_config_parse(&config, json, strlen(json), message, sizeof(message)) != NN_OK ||
		nn_layout_make(&layout, &config) != NN_OK)
		exit(2);
	param = pool_take(sizeof(float) * layout.floats);
	for (size_t i = 0; i < layout.floats; i++)
		param[i] = .4f * (float) nn_random_normal(&seed);
	return param;
}

static nn_ids
make_ids(const nn_feature *feature, int64_t n)
{
	int64_t    *offsets = pool_take(sizeof(int64_t) * (size_t) (n + 1));
	int32_t    *values = pool_take(sizeof(int32_t) * (size_t) (n * NN_MAX_BAG + 1));
	int64_t		used = 0;

	for (int64_t i = 0; i < n; i++)
	{
		int			bag = !feature->multi ? 1 : i % 5 == 4 ? NN_MAX_BAG : below(4);

		offsets[i] = used;
		for (int k = 0; k < bag; k++)
			values[used++] = below(feature->vocab);
	}
	offsets[n] = used;
	return (nn_ids) {.values = values,.offsets = feature->multi ? offsets : NULL};
}

static uint8_t *
make_buckets(int buckets, int64_t n)
{
	uint8_t    *bucket = pool_take((size_t) n + 1);

	for (int64_t i = 0; i < n; i++)
		bucket[i] = (uint8_t) below(buckets);
	return bucket;
}

/* B sequences of different lengths, the third without an event; each with one view, or two. */
static nn_batch
make_batch(int B, bool prefixes)
{
	int			V = prefixes ? 2 * B : B;
	int64_t    *offsets = pool_take(sizeof(int64_t) * (size_t) (B + 1));
	int64_t    *view_offsets = pool_take(sizeof(int64_t) * (size_t) (V + 1));
	int32_t    *sequence = pool_take(sizeof(int32_t) * (size_t) (V + 1));
	int32_t    *length = pool_take(sizeof(int32_t) * (size_t) (V + 1));
	nn_batch	batch = {.sequences = B, .offsets = offsets, .views = V, .view_sequence = sequence,
	.view_length = length, .view_offsets = view_offsets};

	offsets[0] = view_offsets[0] = 0;
	for (int b = 0; b < B; b++)
		offsets[b + 1] = offsets[b] + (b == 2 ? 0 : b % 4 == 0 ? LONGEST : 1 + below(LONGEST));
	for (int v = 0; v < V; v++)
	{
		int			b = prefixes ? v / 2 : v;

		sequence[v] = b;
		length[v] = (int32_t) (offsets[b + 1] - offsets[b]) / (prefixes && v % 2 == 0 ? 2 : 1);
		view_offsets[v + 1] = view_offsets[v] + length[v];
	}
	for (int f = 0; f < config.n_feature[NN_ITEM]; f++)
		batch.item[f] = make_ids(&config.feature[NN_ITEM][f], offsets[B]);
	for (int f = 0; f < config.n_feature[NN_PROPERTY]; f++)
		batch.property[f] = make_ids(&config.feature[NN_PROPERTY][f], offsets[B]);
	for (int f = 0; f < config.n_feature[NN_PROFILE]; f++)
		batch.profile[f] = make_ids(&config.feature[NN_PROFILE][f], V);
	for (int f = 0; f < config.n_feature[NN_CONTEXT]; f++)
		batch.context[f] = make_ids(&config.feature[NN_CONTEXT][f], V);
	batch.recency = make_buckets(config.recency, view_offsets[V]);
	batch.lag = make_buckets(config.lag, view_offsets[V]);
	if (nn_batch_check(&config, &batch) != NN_OK)
		exit(2);
	return batch;
}

/* ------------------------------------------------------------------------
 * Comparing
 * ------------------------------------------------------------------------ */

static nn_acts
compute(const float *param, const void *prepared, bool half, const nn_batch *batch)
{
	nn_run		run = {.config = &config, .layout = &layout, .param = param, .prepared = prepared,
	.half = half, .backward = prepared == NULL};
	nn_arena	arena = {0};
	nn_acts		acts = {0};

	(void) nn_user_forward(&run, batch, &arena, &acts);
	arena = (nn_arena) {.base = pool_take(arena.used), .size = arena.used};
	/* no kernel may count on zeros */
	memset(arena.base, 0xff, arena.size);
	if (nn_user_forward(&run, batch, &arena, &acts) != NN_OK)
		exit(2);
	return acts;
}

static double
apart(const float *x, const float *y, int64_t n)
{
	double		worst = 0;

	for (int64_t i = 0; i < n; i++)
		worst = worse(worst, fabs((double) x[i] - y[i]));
	return worst;
}

static void *
prepare(const float *param)
{
	size_t		size = nn_prepared_size(&config, &layout);
	char	   *prepared = pool_take(size + 1);

	memset(prepared, 0x55, size + 1);
	nn_prepare(&config, &layout, param, prepared);
	ok(size % 64 == 0 && prepared[size] == 0x55, "prepared weights keep to their size");
	return prepared;
}

static void
test_network(const struct network *network)
{
	float	   *param = make_param(network->json);
	void	   *prepared = prepare(param);
	double		worst = 0;

	for (int B = 0; B <= MOST; B++)
	{
		nn_batch	batch = make_batch(B, network->prefixes);
		nn_acts		want = compute(param, NULL, false, &batch);
		nn_acts		got = compute(param, prepared, false, &batch);
		int64_t		M = batch.view_offsets[batch.views];

		worst = worse(worst, apart(got.state, want.state, batch.offsets[B] * config.W));
		if (config.pooling == NN_POOL_ATTENTION)
		{
			worst = worse(worst, apart(got.score, want.score, M) / 10);
			worst = worse(worst, apart(got.attention, want.attention, M));
		}
		worst = worse(worst, apart(got.vector, want.vector, (int64_t) batch.views * config.R));
	}
	ok(worst < 1e-5, "%s: off by %.1e", network->name, worst);
}

/*
 * 16-bit weights are within 2^-9 of the others (relative), and the vectors of
 * a network of the paper's width within 2e-3.
 */
static void
test_half(int H)
{
	char		json[1024];
	float	   *param;
	void	   *prepared;
	double		worst = 0,
				least = INFINITY;

	snprintf(json, sizeof(json), "{\"hidden\": %d, \"attention\": [16, 8], " ITEMS ", \"tasks\": []}", H);
	param = make_param(json);
	nn_init(&config, &layout, param, 7, NULL, pool_take(2 * sizeof(float) * (size_t) H * (size_t) H));
	for (size_t i = layout.dense_floats; i < layout.floats; i++)
		param[i] *= 20;
	prepared = prepare(param);
	for (int B = 1; B <= NN_HALF_ROWS + 1; B++)
	{
		nn_batch	batch = make_batch(B, false);
		nn_acts		want = compute(param, NULL, false, &batch);
		nn_acts		got = compute(param, prepared, true, &batch);
		double		off = apart(got.vector, want.vector, (int64_t) B * config.R);

		if (B > NN_HALF_ROWS)
			ok(off < 1e-5, "many sequences do not use 16-bit weights");
		else
		{
			worst = worse(worst, off);
			least = off < least ? off : least;
		}
	}
	ok(worst < 2e-3 && least > 1e-6, "16-bit weights of %d: vectors are off by %.1e", H, worst);
}

int
main(void)
{
	const char *kernels[NN_MAX_KERNELS];
	int			n = nn_kernels_available(kernels);

	plan((n - 1) * (2 * NETWORKS + 6));
	for (int k = 1; k < n; k++)
	{
		(void) nn_kernels_use(kernels[k]);
		printf("# kernels \"%s\"\n", kernels[k]);
		for (int i = 0; i < NETWORKS; i++)
			test_network(&networks[i]);
		test_half(128);
		test_half(23);
	}
	pool_free();
	return done();
}
