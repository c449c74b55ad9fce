/*-------------------------------------------------------------------------
 *
 * training.c
 *	  How fast does one core train, beside what its products alone would take?
 *
 * A step is what the trainer does: forward, backward, optimizer, clear, over
 * synthetic batches at the sizes of the paper.  No server, no reading of rows.
 * One line per case, tab-separated, with a heading:
 *
 *	vocabulary, batch (samples of a step), views (samples of one stretch),
 *	samples/s, GFLOP/s (as if every product of NETWORK.md were taken for every
 *	sample's events once), and its share of sgemm's rate, taken between steps:
 *	what else runs on the machine slows both.
 *
 *	training [case ...]		a case is item vocabulary/batch/views, or next/J/S
 *
 *-------------------------------------------------------------------------
 */
#include "synthetic.h"

#define EVENTS 100
#define BATCHES 4				/* different ones, taken in turn */
#define SECONDS 3.0				/* of measuring a case */

#define CLICK \
	"\"tasks\": [{\"name\": \"click\", \"kind\": \"binary\", \"weight\": 1, \"candidate\": [\"item\", \"shop\", \"brand\", \"category\", \"tags\"], " \
	"\"candidate_dim\": 128, \"hidden\": [128, 128]}]"

/* J items of width 64 and no profile: the sizes of small shops */
#define NEXT \
	"\"hidden\": 64, \"bidirectional\": false, \"attention\": [64, 32], \"recency\": 13, \"recency_rows\": 6, \"lag\": 8, " \
	"\"item\": [{\"name\": \"item\", \"vocab\": %d, \"dim\": 64}], \"property\": [{\"name\": \"type\", \"vocab\": 6, \"dim\": 8, \"use\": \"both\"}], \"profile\": [], \"context\": [], " \
	"\"tasks\": [{\"name\": \"next\", \"kind\": \"next_item\", \"weight\": 1, \"repeat\": true}]"

/* ------------------------------------------------------------------------
 * Batches
 * ------------------------------------------------------------------------ */

/* Full softmax over all of the vocabulary, one target each. */
static void
make_next(nn_samples *samples)
{
	int			J = (int) config.feature[NN_ITEM][0].vocab;
	int32_t    *key = make((size_t) J * sizeof(int32_t));
	int64_t    *offsets = make((size_t) (samples->n + 1) * sizeof(int64_t));
	int32_t    *target = make((size_t) samples->n * sizeof(int32_t));
	float	   *weight = make((size_t) samples->n * sizeof(float));

	for (int j = 0; j < J; j++)
		key[j] = j;
	for (int s = 0; s < samples->n; s++)
	{
		target[s] = below(J);
		weight[s] = 1;
		offsets[s + 1] = s + 1;
	}
	samples->columns = samples->shared = J;
	samples->column[0].values = key;
	samples->target_offsets = offsets;
	samples->target = target;
	samples->target_weight = weight;
}

/* The views of a stretch see it longer and longer, the last one all of it. */
static nn_batch
make_batch(int samples, int views)
{
	int			B = samples / views;
	int64_t		N = (int64_t) B * EVENTS;
	int64_t    *offsets = make((size_t) (B + 1) * sizeof(int64_t));
	int64_t    *view_offsets = make((size_t) (samples + 1) * sizeof(int64_t));
	int32_t    *sequence = make((size_t) samples * sizeof(int32_t));
	int32_t    *length = make((size_t) samples * sizeof(int32_t));
	int32_t    *view = make((size_t) samples * sizeof(int32_t));
	float	   *label = make((size_t) samples * sizeof(float));
	nn_batch	batch = {.sequences = B, .offsets = offsets, .views = B * views,
	.view_sequence = sequence, .view_length = length, .view_offsets = view_offsets};
	nn_samples *s = &batch.samples[0];

	for (int b = 0; b < B; b++)
		offsets[b + 1] = offsets[b] + EVENTS;
	make_items(N, batch.item);
	for (int f = 0; f < config.n_feature[NN_PROPERTY]; f++)
		batch.property[f] = make_ids(&config.feature[NN_PROPERTY][f], N, NULL);
	for (int v = 0; v < batch.views; v++)
	{
		sequence[v] = v / views;
		length[v] = EVENTS * (v % views + 1) / views;
		view_offsets[v + 1] = view_offsets[v] + length[v];
		view[v] = v;
		label[v] = (float) below(2);
	}
	batch.recency = make_buckets(config.recency, view_offsets[batch.views]);
	batch.lag = make_buckets(config.lag, view_offsets[batch.views]);
	for (int f = 0; f < config.n_feature[NN_PROFILE]; f++)
		batch.profile[f] = make_ids(&config.feature[NN_PROFILE][f], batch.views, NULL);
	s->n = batch.views;
	s->view = view;
	if (config.task[0].kind == NN_NEXT_ITEM)
		make_next(s);
	else
	{
		s->label = label;
		make_items(s->n, s->candidate);
	}
	return batch;
}

/* ------------------------------------------------------------------------
 * Steps
 * ------------------------------------------------------------------------ */

/* Of a step: 2 per multiplication forward, twice that backward. */
static double
batch_flop(const nn_batch *batch)
{
	const nn_samples *samples = &batch->samples[0];
	double		H = config.hidden,
				A1 = config.attention[0],
				A2 = config.attention[1];
	double		events = (double) batch->offsets[batch->sequences];
	double		pairs = (double) batch->view_offsets[batch->views];
	double		event = 4 * H * (config.E + H) + 3 * H * config.Pg + A1 * (config.Pa + H);
	double		sample = A1 * config.U;

	if (config.task[0].kind == NN_NEXT_ITEM)
		sample += (double) config.E * (config.R + samples->columns);
	else
		sample += config.task[0].candidate_dim * config.E +
			config.task[0].hidden[0] * (config.R + config.task[0].candidate_dim) +
			config.task[0].hidden[0] * config.task[0].hidden[1] + config.task[0].hidden[1];
	return 6 * (events * event + pairs * (A1 * A2 + A2 + 2 * H) + samples->n * sample);
}

static nn_arena arena;

static void
train_step(const nn_batch *batch, uint64_t step, float *param, nn_grad *grad, nn_optimizer *optimizer)
{
	nn_dropout	dropout = {.item = .3f, .vector = .3f, .hidden = .2f, .seed = step};
	nn_run		run = {.config = &config, .layout = &layout, .param = param, .dropout = &dropout,
	.backward = true};
	nn_arena	count = {0};
	nn_acts		acts;

	if (nn_forward(&run, batch, &count, &acts) != NN_OK || nn_backward(&run, batch, &count, &acts, grad) != NN_OK)
		exit(3);
	if (count.used > arena.size)
	{
		free(arena.base);
		arena.base = make(count.used);
		arena.size = count.used;
	}
	arena.used = 0;
	if (nn_forward(&run, batch, &arena, &acts) != NN_OK ||
		nn_backward(&run, batch, &arena, &acts, grad) != NN_OK ||
		nn_optimizer_step(optimizer, &layout, param, grad, NULL) != NN_OK)
		exit(4);
	nn_grad_clear(grad, &layout);
}

static void
measure(const char *name, const char *json, int samples, int views)
{
	char		message[256];
	nn_batch	batch[BATCHES];
	nn_grad		grad;
	nn_arena	count = {0},
				grad_arena;
	nn_optimizer optimizer = {.kind = NN_ADAM, .learning_rate = 1e-3f, .beta1 = .9f, .beta2 = .999f,
	.epsilon = 1e-8f, .l2 = 1e-6f, .clip = 5};
	float	   *param;
	double		seconds = 0,
				gemm_seconds = 0,
				flop = 0,
				gemm;
	int64_t		done = 0;
	uint64_t	step = 0;
	int			steps = 0;

	if (nn_config_parse(&config, json, strlen(json), message, sizeof(message)) != NN_OK ||
		nn_layout_make(&layout, &config) != NN_OK)
	{
		fprintf(stderr, "%s: %s\n", name, message);
		exit(2);
	}
	param = make(layout.floats * sizeof(float));
	nn_init(&config, &layout, param, 1, NULL, make(2 * sizeof(float) * (size_t) config.hidden * (size_t) config.hidden));
	optimizer.m = make(layout.floats * sizeof(float));
	optimizer.v = make(layout.floats * sizeof(float));
	if (nn_grad_make(&grad, &layout, &count) != NN_OK)
		exit(2);
	grad_arena = (nn_arena) {make(count.used), count.used, 0};
	if (nn_grad_make(&grad, &layout, &grad_arena) != NN_OK)
		exit(2);
	for (int i = 0; i < BATCHES; i++)
	{
		batch[i] = make_batch(samples, views);
		if (nn_batch_check(&config, &batch[i]) != NN_OK)
			exit(2);
	}

	for (int i = 0; i < 2; i++)
		train_step(&batch[i], step++, param, &grad, &optimizer);
	(void) sgemm_seconds();
	while (seconds < SECONDS)
	{
		const nn_batch *b = &batch[step % BATCHES];
		double		begin = now();

		train_step(b, step++, param, &grad, &optimizer);
		seconds += now() - begin;
		gemm_seconds += sgemm_seconds();
		steps++;
		done += b->views;
		flop += batch_flop(b);
	}
	gemm = 1e-9 * SGEMM_FLOP * steps / gemm_seconds;
	printf("%s\t%d\t%d\t%.0f\t%.1f\t%.0f %%\n", name, samples, views, (double) done / seconds,
		   1e-9 * flop / seconds, 100 * 1e-9 * flop / seconds / gemm);
	fflush(stdout);
}

static void
run_case(const char *name)
{
	char		json[8192];
	int			vocabulary,
				samples,
				views = 1;

	if (sscanf(name, "next/%d/%d", &vocabulary, &samples) == 2)
		snprintf(json, sizeof(json), "{" NEXT "}", vocabulary);
	else if (sscanf(name, "%d/%d/%d", &vocabulary, &samples, &views) == 3)
		snprintf(json, sizeof(json), "{" PAPER PAPER_ITEMS CLICK "}", vocabulary);
	else
		exit(2);
	if (vocabulary < 3 || views < 1 || samples < views)
		exit(2);
	measure(name, json, samples, views);
}

int
main(int argc, char **argv)
{
	static const char *const cases[] = {"1000000/256/1", "1000000/512/1", "1000000/1024/1", "100000/256/1",
		"1000000/256/20", "1000000/1024/20", "next/12000/256", "next/50000/256"};

	printf("case\tbatch\tviews\tsamples/s\tGFLOP/s\tof sgemm\n");
	if (argc > 1)
		for (int i = 1; i < argc; i++)
			run_case(argv[i]);
	else
		for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
			run_case(cases[i]);
	return 0;
}
