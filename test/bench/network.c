/*-------------------------------------------------------------------------
 *
 * network.c
 *	  How fast does one core compute user vectors, beside what it could?
 *
 * No server, no reading of rows: ids in, vectors out, over random histories.
 * A line per figure, "name<tab>value<tab>unit":
 *
 *	sgemm, read					the machine's own limits, taken here and now
 *	<size>/one/<precision>		one user, microseconds, the median
 *	<size>/many/<precision>		users/s, in batches
 *	<size>/many/<precision>/share	of the sgemm rate, as if every product of
 *								NETWORK.md were taken
 *
 * <size> is paper (NETWORK.md's, 100 events) or small (H 64, 50 events).
 *
 *	network [-k kernels] [-b users of a batch]
 *
 *-------------------------------------------------------------------------
 */
#include <unistd.h>

#include "nn/kernel.h"
#include "synthetic.h"

#define BATCHES 8				/* different ones, taken in turn */
#define SECONDS 1.0				/* of measuring a figure */
#define MOST_RUNS 20000

#define SMALL \
	"\"hidden\": 64, \"bidirectional\": false, \"attention\": [64, 32], \"recency\": 13, \"recency_rows\": 6, \"lag\": 8, " \
	"\"item\": [{\"name\": \"item\", \"vocab\": 20000, \"dim\": 32}, {\"name\": \"category\", \"vocab\": 1000, \"dim\": 16}], " \
	"\"property\": [{\"name\": \"type\", \"vocab\": 6, \"dim\": 8, \"use\": \"both\"}, {\"name\": \"gap\", \"vocab\": 15, \"dim\": 8, \"use\": \"gates\"}, " \
	"{\"name\": \"daypart\", \"vocab\": 8, \"dim\": 8, \"multi\": true, \"use\": \"both\"}], \"profile\": [], \"context\": [], "

typedef struct size_case
{
	const char *name;
	const char *json;
	int			events;
} size_case;

static void *prepared;
static float *param;
static nn_arena arena;

/* Multiplications count as two operations. */
static double
user_flop(int events)
{
	double		H = config.hidden,
				A1 = config.attention[0],
				A2 = config.attention[1];

	return 2 * (events * (4 * H * (config.E + H) + 3 * H * config.Pg + A1 * (config.Pa + H) + A1 * A2 + A2 + H) +
				A1 * (config.U + config.Q));
}

static nn_batch
make_batch(int users, int events)
{
	int64_t		N = (int64_t) users * events;
	int64_t    *offsets = make((size_t) (users + 1) * sizeof(int64_t));
	int32_t    *sequence = make((size_t) users * sizeof(int32_t));
	int32_t    *length = make((size_t) users * sizeof(int32_t));
	nn_batch	batch = {.sequences = users, .offsets = offsets, .views = users, .view_sequence = sequence,
	.view_length = length, .view_offsets = offsets};

	for (int b = 0; b < users; b++)
	{
		offsets[b + 1] = offsets[b] + events;
		sequence[b] = b;
		length[b] = events;
	}
	make_items(N, batch.item);
	for (int f = 0; f < config.n_feature[NN_PROPERTY]; f++)
		batch.property[f] = make_ids(&config.feature[NN_PROPERTY][f], N, NULL);
	batch.recency = make_buckets(config.recency, N);
	batch.lag = make_buckets(config.lag, N);
	for (int f = 0; f < config.n_feature[NN_PROFILE]; f++)
		batch.profile[f] = make_ids(&config.feature[NN_PROFILE][f], users, NULL);
	if (nn_batch_check(&config, &batch) != NN_OK)
		exit(2);
	return batch;
}

static int
by_value(const void *a, const void *b)
{
	double		x = *(const double *) a,
				y = *(const double *) b;

	return (x > y) - (x < y);
}

/* Median seconds of a batch. */
static double
measure(bool half, int users, int events)
{
	static double seconds[MOST_RUNS];
	nn_batch	batch[BATCHES];
	nn_run		run = {.config = &config, .layout = &layout, .param = param, .prepared = prepared, .half = half};
	nn_arena	count = {0};
	nn_acts		acts = {0};
	int			n = 0;
	double		total = 0;

	for (int i = 0; i < BATCHES; i++)
		batch[i] = make_batch(users, events);
	(void) nn_user_forward(&run, &batch[0], &count, &acts);
	free(arena.base);
	arena = (nn_arena) {make(count.used), count.used, 0};
	for (int i = -BATCHES; n < MOST_RUNS && total < SECONDS; i++)
	{
		double		begin = now();

		arena.used = 0;
		if (nn_user_forward(&run, &batch[(i + BATCHES) % BATCHES], &arena, &acts) != NN_OK)
			exit(4);
		if (i < 0)
			continue;
		seconds[n] = now() - begin;
		total += seconds[n++];
	}
	qsort(seconds, (size_t) n, sizeof(double), by_value);
	return seconds[n / 2];
}

static void
report(const char *size, const char *figure, const char *what, double value, const char *unit)
{
	printf("%s/%s/%s\t%.*f\t%s\n", size, figure, what, value < 10 ? 3 : 0, value, unit);
	fflush(stdout);
}

static void
run_case(const size_case *c, int users, double gemm)
{
	char		message[256];

	if (nn_config_parse(&config, c->json, strlen(c->json), message, sizeof(message)) != NN_OK ||
		nn_layout_make(&layout, &config) != NN_OK)
	{
		fprintf(stderr, "%s: %s\n", c->name, message);
		exit(2);
	}
	param = make(layout.floats * sizeof(float));
	nn_init(&config, &layout, param, 1, NULL, make(2 * sizeof(float) * (size_t) config.hidden * (size_t) config.hidden));
	prepared = make(nn_prepared_size(&config, &layout));
	nn_prepare(&config, &layout, param, prepared);
	for (int half = 0; half < 2; half++)
	{
		const char *precision = half ? "bfloat16" : "float32";
		double		many;

		report(c->name, "one", precision, 1e6 * measure(half, 1, c->events), "us");
		many = users / measure(half, users, c->events);
		report(c->name, "many", precision, many, "users/s");
		report(c->name, "many", half ? "bfloat16/share" : "float32/share",
			   1e-9 * many * user_flop(c->events) / gemm, "of sgemm");
	}
}

int
main(int argc, char **argv)
{
	char		paper[4096];
	const size_case cases[] = {{"paper", paper, 100}, {"small", "{" SMALL "\"tasks\": []}", 50}};
	int			users = 64;
	int			option;
	double		gemm;

	while ((option = getopt(argc, argv, "k:b:")) != -1)
	{
		if (option == 'b')
			users = atoi(optarg);
		else if (option != 'k' || !nn_kernels_use(optarg))
			return 2;
	}
	snprintf(paper, sizeof(paper), "{" PAPER PAPER_ITEMS "\"tasks\": []}", 1000000);
	gemm = sgemm_rate();
	printf("kernels\t%s\t\nsgemm\t%.1f\tGFLOP/s\nread\t%.1f\tGB/s\n", nn_kernels_name(), gemm, read_rate());
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		run_case(&cases[i], users, gemm);
	return 0;
}
