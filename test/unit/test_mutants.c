/*
 * test_mutants.c
 *	  What mutants of the network changed and the other tests did not see
 *
 * Kernels and products at all small sizes and edges, each single fault of a
 * batch, start values tensor by tensor, heads over stored vectors.
 */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "naive.h"
#include "nn/layers.h"
#include "nn/nn.h"
#include "nn/product.h"
#include "nn/vector.h"
#include "tap.h"

#define MOST 64					/* of any width here */
#define ARENA (1 << 22)

/* ------------------------------------------------------------------------
 * A batch: four sequences, the second without events
 * ------------------------------------------------------------------------ */

#define B 4
#define N 10
#define V 5
#define M 11					/* pairs of the views below */
#define J 8
#define S 4

typedef struct world
{
	int64_t		offsets[B + 1];
	int32_t		id[N], type[N], gap[N];
	int64_t		tag_offsets[N + 1], day_offsets[N + 1];
	int32_t		tag[16], day[16];
	int32_t		view_sequence[V], view_length[V];
	int64_t		view_offsets[V + 1];
	uint8_t		recency[MOST], lag[MOST];
	int32_t		age[V], query[V];
	int32_t		view[S], label_class[S];
	float		weight[S], label[S], features[S * 3];
	int32_t		candidate_id[S];
	int64_t		candidate_tag_offsets[S + 1];
	int32_t		candidate_tag[8];
	int32_t		column_id[J];
	int64_t		column_tag_offsets[J + 1];
	int32_t		column_tag[16];
	float		log_q[J];
	int64_t		target_offsets[S + 1];
	int32_t		target[8];
	float		target_weight[8];
	int64_t		extra_offsets[S + 1];
	int32_t		extra[12];
	int64_t		hidden_offsets[S + 1];
	int32_t		hidden[8];
	int64_t		wide_offsets[S + 1];
	nn_wide		wide[8];
	int64_t		memory_offsets[S + 1];
	nn_memory	memory[8];
	nn_batch	batch;
} world;

static world w;
static nn_config config;
static nn_layout layout;
static float param[4096];
static double exact[4096];		/* the naive network's parameters */
static float gradient[4096];
static _Alignas(64) char memory[ARENA];
static nn_acts acts;

static const char rich[] =
"{\"hidden\": 5, \"bidirectional\": false, \"attention\": [4, 3], \"recency\": 4, \"recency_rows\": 3, \"lag\": 3,"
" \"context_in_vector\": true,"
" \"item\": [{\"name\": \"id\", \"vocab\": 9, \"dim\": 3, \"multi\": false}, {\"name\": \"tag\", \"vocab\": 6, \"dim\": 2, \"multi\": true}],"
" \"property\": [{\"name\": \"type\", \"vocab\": 5, \"dim\": 2, \"use\": \"both\"}, {\"name\": \"gap\", \"vocab\": 4, \"dim\": 1, \"use\": \"gates\"},"
"  {\"name\": \"day\", \"vocab\": 4, \"dim\": 2, \"multi\": true, \"use\": \"attention\"}],"
" \"profile\": [{\"name\": \"age\", \"vocab\": 4, \"dim\": 2}], \"context\": [{\"name\": \"query\", \"table\": \"id\"}],"
" \"tasks\": [{\"name\": \"click\", \"kind\": \"binary\", \"weight\": 0.7, \"candidate\": [\"tag\", \"id\"], \"candidate_dim\": 3, \"hidden\": [4, 3], \"features\": 2},"
"  {\"name\": \"churn\", \"kind\": \"binary\", \"weight\": 1.3},"
"  {\"name\": \"rank\", \"kind\": \"rank\", \"weight\": 0.9, \"features\": 3, \"hidden\": [4]},"
"  {\"name\": \"price\", \"kind\": \"multiclass\", \"weight\": 0.6, \"classes\": 3, \"features\": 1, \"hidden\": [3]},"
"  {\"name\": \"next\", \"kind\": \"next_item\", \"weight\": 0.8, \"repeat\": true, \"memory\": 3}]}";

/* Fill the world for a configuration: with sampled columns, or all of them. */
static void
make_world(bool sampled)
{
	/* two prefixes of the first sequence, the empty one, and so on */
	static const int32_t view_sequence[V] = {0, 0, 1, 2, 3};
	static const int32_t view_length[V] = {2, 3, 0, 4, 2};
	static const int64_t offsets[] = {0, 3, 3, 8, 10};
	static const int64_t tags[] = {0, 1, 3, 3, 4, 6, 7, 8, 9, 11, 12};
	static const int64_t candidate_tags[] = {0, 2, 2, 3, 4};
	static const int64_t column_tags[] = {0, 1, 1, 3, 4, 5, 6, 8, 9};
	static const int64_t targets[] = {0, 2, 3, 3, 5};
	static const int32_t target_sampled[] = {1, 6, 7, 5, 0};
	static const int32_t target_full[] = {1, 6, 7, 2, 0};
	static const float target_weight[] = {.25f, .5f, 1, .75f, .4f};
	static const int64_t extras[] = {0, 2, 4, 5, 8};
	static const int32_t extra[] = {6, 5, 5, 7, 6, 7, 6, 5};
	static const int64_t hiddens[] = {0, 2, 2, 3, 4};
	static const int32_t hidden[] = {2, 3, 4, 1};
	static const int64_t wides[] = {0, 2, 4, 4, 5};
	static const nn_wide wide[] = {{6, 3, 1.5f}, {0, 12, 1}, {4, 0, .5f}, {7, 16, -1}, {6, 11, 2}};
	static const int64_t memories[] = {0, 3, 3, 4, 6};
	static const nn_memory memory[] = {{6, 2, 1.5f}, {0, 0, 1}, {6, 0, .5f}, {4, 1, 0}, {7, 1, 2}, {6, 2, 3}};
	static const int32_t views[S] = {4, 1, 4, 3};
	nn_ids		tag_ids;
	uint64_t	random = 5;
	nn_batch   *b = &w.batch;

	memset(&w, 0, sizeof(w));
	memcpy(w.offsets, offsets, sizeof(offsets));
	memcpy(w.tag_offsets, tags, sizeof(tags));
	memcpy(w.day_offsets, tags, sizeof(tags));
	for (int i = 0; i < N; i++)
	{
		w.id[i] = (int32_t) (nn_random_u64(&random) % 9);
		w.type[i] = (int32_t) (nn_random_u64(&random) % 5);
		w.gap[i] = (int32_t) (nn_random_u64(&random) % 4);
	}
	for (int i = 0; i < 16; i++)
	{
		w.tag[i] = (int32_t) (nn_random_u64(&random) % 6);
		w.day[i] = (int32_t) (nn_random_u64(&random) % 4);
		w.column_tag[i] = (int32_t) (nn_random_u64(&random) % 6);
	}
	for (int i = 0; i < MOST; i++)
	{
		w.recency[i] = (uint8_t) (nn_random_u64(&random) % 4);
		w.lag[i] = (uint8_t) (nn_random_u64(&random) % 3);
	}
	b->sequences = B;
	b->offsets = w.offsets;
	b->views = V;
	for (int v = 0; v < V; v++)
	{
		w.view_sequence[v] = view_sequence[v];
		w.view_length[v] = view_length[v];
		w.view_offsets[v + 1] = w.view_offsets[v] + view_length[v];
		w.age[v] = (int32_t) (nn_random_u64(&random) % 4);
		w.query[v] = (int32_t) (nn_random_u64(&random) % 9);
	}
	for (int s = 0; s < S; s++)
	{
		w.view[s] = views[s];
		w.weight[s] = .5f + .5f * (float) s;
		w.label[s] = (float) (s % 2);
		w.label_class[s] = s % 3;
		w.candidate_id[s] = (int32_t) (nn_random_u64(&random) % 9);
		w.candidate_tag[s] = (int32_t) (nn_random_u64(&random) % 6);
		for (int k = 0; k < 3; k++)
			w.features[3 * s + k] = (float) nn_random_normal(&random);
	}
	memcpy(w.candidate_tag_offsets, candidate_tags, sizeof(candidate_tags));
	for (int j = 0; j < J; j++)
	{
		w.column_id[j] = j + 1;
		w.log_q[j] = (float) nn_random_normal(&random);
	}
	memcpy(w.column_tag_offsets, column_tags, sizeof(column_tags));
	memcpy(w.target_offsets, targets, sizeof(targets));
	memcpy(w.target, sampled ? target_sampled : target_full, sizeof(target_full));
	memcpy(w.target_weight, target_weight, sizeof(target_weight));
	memcpy(w.extra_offsets, extras, sizeof(extras));
	memcpy(w.extra, extra, sizeof(extra));
	memcpy(w.hidden_offsets, hiddens, sizeof(hiddens));
	memcpy(w.hidden, hidden, sizeof(hidden));
	memcpy(w.wide_offsets, wides, sizeof(wides));
	memcpy(w.wide, wide, sizeof(wide));
	memcpy(w.memory_offsets, memories, sizeof(memories));
	memcpy(w.memory, memory, sizeof(memory));

	tag_ids = (nn_ids) {w.tag, w.tag_offsets};
	b->item[0].values = w.id;
	b->item[1] = tag_ids;
	b->property[0].values = w.type;
	b->property[1].values = w.gap;
	b->property[2] = (nn_ids) {w.day, w.day_offsets};
	b->view_sequence = w.view_sequence;
	b->view_length = w.view_length;
	b->view_offsets = w.view_offsets;
	b->recency = w.recency;
	b->lag = w.lag;
	b->profile[0].values = w.age;
	b->context[0].values = w.query;
	for (int t = 0; t < config.n_task; t++)
	{
		const nn_task *task = &config.task[t];
		nn_samples *samples = &b->samples[t];

		samples->n = S;
		samples->view = w.view;
		samples->weight = t == 1 ? NULL : w.weight;
		samples->label = w.label;
		samples->label_class = w.label_class;
		samples->features = w.features;
		for (int k = 0; k < task->n_candidate; k++)
			samples->candidate[k] = task->candidate[k] == 0 ? (nn_ids) {w.candidate_id, NULL} :
				(nn_ids) {w.candidate_tag, w.candidate_tag_offsets};
		samples->columns = J;
		samples->shared = sampled ? 5 : J;
		samples->column[0].values = w.column_id;
		samples->column[1] = (nn_ids) {w.column_tag, w.column_tag_offsets};
		samples->target_offsets = w.target_offsets;
		samples->target = w.target;
		samples->target_weight = w.target_weight;
		if (sampled)
		{
			samples->log_q = w.log_q;
			samples->extra_offsets = w.extra_offsets;
			samples->extra = w.extra;
			samples->hidden_offsets = w.hidden_offsets;
			samples->hidden = w.hidden;
		}
		if (task->repeat)
		{
			samples->wide_offsets = w.wide_offsets;
			samples->wide = w.wide;
		}
		if (task->memory > 0)
		{
			samples->memory_offsets = w.memory_offsets;
			samples->memory = w.memory;
		}
	}
}

/* ------------------------------------------------------------------------
 * Comparison
 * ------------------------------------------------------------------------ */

static nn_run
make_run(bool backward)
{
	return (nn_run) {.config = &config,.layout = &layout,.param = param,.backward = backward};
}

static void
load_config(const char *json, uint64_t seed)
{
	char		message[256] = "";

	if (nn_config_parse(&config, json, strlen(json), message, sizeof(message)) != NN_OK ||
		nn_layout_make(&layout, &config) != NN_OK || layout.floats > sizeof(param) / sizeof(param[0]))
	{
		printf("Bail out! %s\n", message);
		exit(1);
	}
	for (size_t i = 0; i < layout.floats; i++)
	{
		param[i] = (float) (.5 * nn_random_normal(&seed));
		exact[i] = param[i];
	}
}

/* Forward and backward of the world in memory as filled; leaves acts and gradient. */
static nn_status
run_network(const nn_dropout *dropout, nn_grad *grad)
{
	nn_run		run = make_run(true);
	nn_arena	arena = {memory, sizeof(memory), 0};
	nn_arena	count = {NULL, 0, 0};
	nn_status	status;
	static nn_acts counted;

	run.dropout = dropout;
	memset(memory, 0xFF, sizeof(memory));	/* NaNs, should it be read unwritten */
	status = nn_grad_make(grad, &layout, &arena);
	if (status == NN_OK)
		status = nn_forward(&run, &w.batch, &arena, &acts);
	if (status == NN_OK)
		status = nn_backward(&run, &w.batch, &arena, &acts, grad);
	if (status == NN_OK)
		memcpy(gradient, grad->value, layout.floats * sizeof(float));

	/* counting needs no memory; it knows only how many rows there are at most */
	(void) nn_grad_make(grad, &layout, &count);
	(void) nn_forward(&run, &w.batch, &count, &counted);
	(void) nn_backward(&run, &w.batch, &count, &counted, grad);
	ok(count.used >= arena.used && count.used < arena.used + 1024, "the need is counted: %zu", count.used);

	/* once more for the caller's grad, since counting has overwritten it */
	arena.used = 0;
	(void) nn_grad_make(grad, &layout, &arena);
	(void) nn_forward(&run, &w.batch, &arena, &acts);
	(void) nn_backward(&run, &w.batch, &arena, &acts, grad);
	return status;
}

/* ------------------------------------------------------------------------
 * Dropout
 * ------------------------------------------------------------------------ */

/*
 * The masks that forward draws are the ones that backward uses: the loss falls
 * along the gradient as the gradient says.
 */
static void
test_dropout(void)
{
	nn_dropout	dropouts[] = {{.item = .4f, .seed = 9}, {.vector = .4f, .seed = 9}, {.hidden = .4f, .seed = 9},
	{.item = .3f, .vector = .3f, .hidden = .3f, .seed = 10}};
	static float start[4096];
	static float first[MOST];
	nn_grad		grad;
	double		loss,
				without;

	load_config(rich, 2);
	make_world(true);
	(void) run_network(NULL, &grad);
	without = acts.loss;
	memcpy(first, acts.vector, sizeof(first));
	for (size_t k = 0; k < sizeof(dropouts) / sizeof(dropouts[0]); k++)
	{
		double		norm = 0,
					up,
					down,
					h = 4e-3;
		static float direction[4096];

		(void) run_network(&dropouts[k], &grad);
		loss = acts.loss;
		memcpy(start, param, sizeof(param));
		memcpy(direction, gradient, sizeof(gradient));
		for (size_t i = 0; i < layout.floats; i++)
			norm += (double) gradient[i] * gradient[i];
		norm = sqrt(norm);
		for (size_t i = 0; i < layout.floats; i++)
			param[i] = start[i] + (float) (h * direction[i] / norm);
		(void) run_network(&dropouts[k], &grad);
		up = acts.loss;
		for (size_t i = 0; i < layout.floats; i++)
			param[i] = start[i] - (float) (h * direction[i] / norm);
		(void) run_network(&dropouts[k], &grad);
		down = acts.loss;
		memcpy(param, start, sizeof(param));
		ok(fabs((up - down) / (2 * h) / norm - 1) < .01, "dropout %zu: slope %.4f, gradient %.4f", k, (up - down) / (2 * h), norm);
		ok(fabs(loss - without) > 1e-4, "dropout %zu changes the loss", k);
		(void) run_network(&dropouts[k], &grad);
		ok(acts.loss == loss, "dropout %zu: the same seed drops the same", k);
		dropouts[k].seed++;
		(void) run_network(&dropouts[k], &grad);
		ok(acts.loss != loss, "dropout %zu: another seed drops others", k);
	}
	(void) run_network(&dropouts[1], &grad);
	ok(memcmp(first, acts.vector, sizeof(first)) == 0, "vectors are handed out before dropout");
}

/* What is kept is raised by as much as is dropped. */
static void
test_masks(void)
{
	static const nn_dropout dropout = {.seed = 3};
	static float x[10000];
	int			kept = 0,
				raised = 0;

	for (int j = 0; j < 10000; j++)
		x[j] = 3;
	nn_dropout_apply(&dropout, .25f, 1, 0, 10000, x);
	for (int j = 0; j < 10000; j++)
	{
		kept += x[j] != 0;
		raised += x[j] == 4;
	}
	ok(kept == raised && abs(kept - 7500) < 200, "a mask of 1/4 keeps %d of 10000, raised", kept);
	nn_dropout_apply(&dropout, 1, 1, 0, 10000, x);
	for (int j = 0; j < 10000; j++)
		kept += x[j] != 0;
	ok(kept == raised, "a mask of 1 keeps nothing");
}

/* ------------------------------------------------------------------------
 * Kernels and products
 * ------------------------------------------------------------------------ */

static int	polls;

static bool
count_polls(void *stop_at)
{
	return ++polls == *(int *) stop_at;
}

static float big_a[1100 * 1100], big_b[1100 * 1100], big_c[1100 * 1100];

/* Element (i, j) of the product, naively. */
static double
element(nn_form form, int i, int j, int k, const float *a, int lda, const float *b, int ldb)
{
	double		sum = 0;

	for (int l = 0; l < k; l++)
		sum += (double) (form == NN_ATB ? a[l * lda + i] : a[i * lda + l]) *
			(form == NN_ABT ? b[j * ldb + l] : b[l * ldb + j]);
	return sum;
}

static void
test_products(void)
{
	static const int sizes[] = {0, 1, 2, 7};
	static const int large[][3] = {{1100, 700, 700}, {700, 1100, 700}, {700, 700, 1100}};
	const char *preload = getenv("LD_PRELOAD");
	bool		slow = preload && strstr(preload, "vgpreload");	/* valgrind, 100 times slower */
	nn_run		run = make_run(false);
	uint64_t	random = 1;
	int			never = 0,
				second = 2;
	double		worst = 0;
	bool		kept = true,
				polled = true;

	for (int i = 0; i < 1100 * 1100; i++)
	{
		big_a[i] = (float) nn_random_uniform(&random) - .5f;
		big_b[i] = (float) nn_random_uniform(&random) - .5f;
	}
	for (int form = 0; form < 3; form++)
		for (int x = 0; x < 4 * 4 * 4 * 2; x++)
		{
			int			m = sizes[x & 3],
						n = sizes[x >> 2 & 3],
						k = sizes[x >> 4 & 3];
			bool		add = x >> 6;
			int			lda = (form == NN_ATB ? m : k) + 2,
						ldb = (form == NN_ABT ? k : n) + 3,
						ldc = n + 1;

			for (int i = 0; i < 100; i++)
				big_c[i] = 1;
			kept = kept && nn_product(&run, (nn_form) form, m, n, k, big_a, lda, big_b, ldb, add, big_c, ldc) == NN_OK;
			for (int i = 0; i < m; i++)
			{
				for (int j = 0; j < n; j++)
					worst = worse(worst, fabs(big_c[i * ldc + j] - add -
											  element((nn_form) form, i, j, k, big_a, lda, big_b, ldb)));
				kept = kept && big_c[i * ldc + n] == 1;
			}
			for (int i = m * ldc; i < 100; i++)
				kept = kept && big_c[i] == 1;
		}
	ok(worst < 1e-5, "small products, off by %.1e", worst);
	ok(kept, "nothing is written beside them");

	/* every remainder of rows and columns, where BLAS has no part */
	worst = 0;
	for (int form = NN_AB; form <= NN_ATB; form++)
		for (int x = 0; x < 26 * 70; x++)
		{
			int			m = x / 70 + 2,
						n = x % 70 + 1,
						k = 5;
			bool		add = x % 2 == 1;
			int			lda = form == NN_ATB ? m : k;

			for (int i = 0; i < (m + 1) * n; i++)
				big_c[i] = 1;
			kept = kept && nn_product(&run, (nn_form) form, m, n, k, big_a, lda, big_b, n, add, big_c, n) == NN_OK;
			for (int i = 0; i < m * n; i++)
				worst = worse(worst, fabs(big_c[i] - add -
										  element((nn_form) form, i / n, i % n, k, big_a, lda, big_b, n)));
			for (int i = m * n; i < (m + 1) * n; i++)
				kept = kept && big_c[i] == 1;
		}
	ok(worst < 1e-5 && kept, "products in tiles, off by %.1e", worst);

	run.abort = count_polls;
	run.abort_arg = &never;
	worst = 0;
	for (int form = 0; form < 3; form++)
		for (int x = 0; x < 3; x++)
		{
			int			m = large[x][0],
						n = large[x][1],
						k = large[x][2];
			int			lda = form == NN_ATB ? m : k,
						ldb = form == NN_ABT ? k : n;

			if (slow)
				continue;
			polls = 0;
			for (int i = 0; i < 1100 * 1100; i++)
				big_c[i] = 1;
			polled = polled && nn_product(&run, (nn_form) form, m, n, k, big_a, lda, big_b, ldb, x == 1, big_c, n) == NN_OK &&
				polls == 2;
			for (int i = 0; i < 300; i++)
			{
				int			row = (int) (nn_random_u64(&random) % (uint64_t) m);
				int			column = (int) (nn_random_u64(&random) % (uint64_t) n);

				worst = worse(worst, fabs(big_c[row * n + column] - (x == 1) -
										  element((nn_form) form, row, column, k, big_a, lda, big_b, ldb)));
			}
		}
	ok(worst < 1e-4, "large products, off by %.1e", worst);
	ok(polled, "large products poll twice");
	polls = 0;
	run.abort_arg = &second;
	ok(nn_product(&run, NN_ABT, 1100, 700, 700, big_a, 700, big_b, 700, false, big_c, 700) == NN_ABORTED && polls == 2,
	   "a product stops when told to");
}

static void
test_vectors(void)
{
	double		exp_error = 0,
				sigmoid_error = 0,
				tanh_error = 0,
				others = 0;
	uint64_t	random = 3;
	static float x[3000],
				y[3000],
				z[3000];
	static const float edge[] = {-INFINITY, -200, -88, -87.5f, 88, 89, 200, INFINITY, NAN, 0};
	bool		fine = true;

	for (int i = 0; i < 3000; i++)
		x[i] = (float) (i < 1500 ? (i - 750) * .1 : (i - 2250) * .002);
	nn_vector_exp(3000, x, y);
	for (int i = 0; i < 3000; i++)
		exp_error = worse(exp_error, fabs(y[i] / exp(x[i]) - 1));
	nn_vector_sigmoid(3000, x, y);
	for (int i = 0; i < 3000; i++)
		sigmoid_error = worse(sigmoid_error, fabs(y[i] - 1 / (1 + exp(-x[i]))));
	nn_vector_tanh(3000, x, y);
	for (int i = 0; i < 3000; i++)
		tanh_error = worse(tanh_error, x[i] == 0 ? fabs(y[i]) : fabs(y[i] / tanh(x[i]) - 1));
	ok(exp_error < 2.5e-7, "exp, off by %.1e", exp_error);
	ok(sigmoid_error < 2e-7, "sigmoid, off by %.1e", sigmoid_error);
	ok(tanh_error < 4e-7, "tanh, off by %.1e", tanh_error);
	nn_vector_exp(10, edge, y);
	ok(y[0] == 0 && y[1] == 0 && y[2] == 0 && y[3] == 0 && fabs(y[4] / exp(88) - 1) < 1e-6 && y[5] == y[4] && y[6] == y[4] &&
	   y[7] == y[4] && isnan(y[8]) && y[9] == 1, "exp at the edges");

	for (int n = 0; n < 70; n += 1 + n / 40)
	{
		double		sum = 0,
					squares = 0;
		float		max = -INFINITY;

		for (int i = 0; i < n + 1; i++)
		{
			x[i] = (float) nn_random_normal(&random) - 3;
			z[i] = y[i] = (float) nn_random_normal(&random);
			if (i < n)
			{
				sum += exp(x[i] - .25);
				squares += (double) x[i] * y[i];
				max = x[i] > max ? x[i] : max;
			}
		}
		others = worse(others, fabs(nn_vector_dot((size_t) n, x, y) - squares) / 10);
		fine = fine && nn_vector_max((size_t) n, x) == max;
		nn_vector_axpy((size_t) n, -2, x, z);
		for (int i = 0; i < n; i++)
			others = worse(others, fabs(z[i] - (y[i] - 2 * x[i])));
		fine = fine && z[n] == y[n];
		others = worse(others, fabs(nn_vector_exp_sum((size_t) n, x, .25f, z) - sum));
		for (int i = 0; i < n; i++)
			others = worse(others, fabs(z[i] - exp(x[i] - .25)));
		fine = fine && z[n] == y[n];
		nn_vector_relu_sum((size_t) n, x, y, z);
		for (int i = 0; i < n; i++)
			fine = fine && z[i] == (x[i] + y[i] > 0 ? x[i] + y[i] : 0);
		fine = fine && z[n] == y[n];
		memcpy(z, y, sizeof(z));
		nn_vector_relu((size_t) n, z);
		for (int i = 0; i < n; i++)
			fine = fine && z[i] == (y[i] > 0 ? y[i] : 0);
		nn_vector_scale((size_t) n, 3, z);
		for (int i = 0; i < n; i++)
			fine = fine && z[i] == 3 * (y[i] > 0 ? y[i] : 0);
		nn_vector_relu_back((size_t) n, y, x);
		for (int i = 0; i < n; i++)
			fine = fine && (y[i] > 0 || x[i] == 0);
		fine = fine && z[n] == y[n] && x[n] != 0;
	}
	ok(others < 2e-6, "sums, off by %.1e", others);
	ok(fine, "the other kernels");

	/* longer than the blocks in which it is summed */
	{
		double		sum = 0;

		for (int i = 0; i < 3000; i++)
		{
			x[i] = (float) nn_random_uniform(&random);
			sum += exp(x[i] - 1);
		}
		sum -= nn_vector_exp_sum(3000, x, 1, x);
		ok(fabs(sum) < 1e-3, "a long sum of exponentials, off by %.1e", sum);

		/* one block and a little */
		x[1030] = -7;
		(void) nn_vector_exp_sum(1030, x, 1, x);
		ok(x[1030] == -7 && x[1029] > 0, "a long sum of exponentials writes no further");
	}
	memset(y, 0, sizeof(y));
	y[0] = 1;
	for (int i = 0; i < 12; i++)
		x[i] = (float) i;
	nn_vector_column_sums(3, 2, x, 4, y);
	ok(y[0] == 13 && y[1] == 15 && y[2] == 0, "column sums");
	x[0] = NAN;
	y[0] = 1;
	z[0] = NAN;
	nn_vector_relu(1, x);
	nn_vector_relu_sum(1, z, y, z);
	ok(isnan(x[0]) && isnan(z[0]), "a NaN stays one behind relu");
}

/* ------------------------------------------------------------------------
 * Stored vectors
 * ------------------------------------------------------------------------ */

/* A head over stored vectors, without labels. */
static void
test_stored_vectors(void)
{
	nn_run		run = make_run(false);
	nn_arena	arena = {memory, sizeof(memory), 0};
	static double exact_vector[V * MOST],
				exact_logit[NN_MAX_TASKS][S * MOST];
	static float vector[V * MOST];
	naive_out	naive = {.vector = exact_vector};
	double		logit = 0;
	nn_status	status = NN_OK;
	bool		unlabelled = true,
				absent = true;
	double		weights = 0;

	load_config(rich, 8);
	make_world(false);
	for (int t = 0; t < config.n_task; t++)
		naive.logit[t] = exact_logit[t];
	naive_forward(&config, &layout, exact, &w.batch, NULL, &naive);
	for (int i = 0; i < V * config.R; i++)
		vector[i] = (float) exact_vector[i];
	for (int t = 0; t < config.n_task; t++)
	{
		nn_samples	samples = w.batch.samples[t];
		nn_task_acts head = {0};
		int			columns = t == 3 ? 3 : t == 4 ? J : 1;

		samples.label = NULL;
		samples.label_class = NULL;
		samples.target_offsets = NULL;
		status = status == NN_OK ? nn_task_forward(&run, t, &samples, V, vector, &arena, &head) : status;
		for (int s = 0; s < S && status == NN_OK; s++)
			for (int k = 0; k < columns; k++)
				logit = worse(logit, fabs(head.logit[s * columns + k] - exact_logit[t][s * columns + k]));
		unlabelled = unlabelled && head.loss == 0;
		absent = absent && (t == 2) == (head.weights != NULL) && (t == 4) == (head.query != NULL);
		if (t == 2)
			for (int s = 0; s < S; s++)
			{
				double		again = param[layout.tensor[layout.task[t].intercept].offset];

				for (int k = 0; k < 3; k++)
				{
					again += (double) head.weights[3 * s + k] * w.features[3 * s + k];
					weights = worse(weights, head.weights[3 * s + k] < 0);
				}
				weights = worse(weights, fabs(again - head.logit[s]));
			}
	}
	ok(status == NN_OK && logit < 5e-6, "heads over stored vectors, off by %.1e", logit);
	ok(unlabelled, "no loss without labels");
	ok(absent, "a head has no more than its kind has");
	unlabelled = true;
	for (int t = 0; t < config.n_task; t++)
	{
		nn_samples	samples = w.batch.samples[t];
		nn_task_acts head;

		samples.n = 0;
		unlabelled = unlabelled && nn_task_forward(&run, t, &samples, V, vector, &arena, &head) == NN_OK && head.loss == 0;
		samples.n = 1;
		unlabelled = unlabelled && nn_task_forward(&run, t, &samples, V, vector, &arena, &head) == NN_OK && head.loss > 0;
	}
	ok(unlabelled, "no loss without samples, and one for a single sample");
	ok(weights < 1e-6, "rank weights are not negative and explain the logit");
	arena.size = 1000;
	arena.used = 0;
	{
		nn_task_acts head;

		ok(nn_task_forward(&run, 0, &w.batch.samples[0], V, vector, &arena, &head) == NN_NO_MEMORY && arena.used > 1000,
		   "an arena that is too small");
	}
}

/* Logits so far apart that no double holds the exponential of the difference. */
static void
test_far_logits(void)
{
	size_t		bias;
	nn_grad		grad;
	naive_out	naive = {0};

	load_config(rich, 8);
	make_world(false);
	bias = layout.tensor[layout.task[3].output_bias].offset;
	for (int c = 0; c < 3; c++)
		exact[bias + c] = param[bias + c] = 600.0f * (float) (c - 1);
	(void) run_network(NULL, &grad);
	naive_forward(&config, &layout, exact, &w.batch, NULL, &naive);
	ok(fabs(acts.loss / naive.loss - 1) < 1e-6, "the loss of logits far apart, %.1f", acts.loss);
}

/* ------------------------------------------------------------------------
 * Batches that are refused
 * ------------------------------------------------------------------------ */

static world good;
static int	refused,
			tried;

static void
restore(void)
{
	w = good;
}

/* One thing is changed, and that is seen. */
#define BREAK(change) \
	do { \
		restore(); \
		change; \
		tried++; \
		if (nn_batch_check(&config, &w.batch) == NN_BAD_BATCH) \
			refused++; \
		else \
			printf("# not refused: %s\n", #change); \
	} while (0)

#define FINE(change) \
	do { \
		restore(); \
		change; \
		tried++; \
		if (nn_batch_check(&config, &w.batch) == NN_OK) \
			refused++; \
		else \
			printf("# refused: %s\n", #change); \
	} while (0)

static void
test_batch_check(void)
{
	nn_batch   *b = &w.batch;
	nn_samples *next = &w.batch.samples[4];

	load_config(rich, 9);
	make_world(true);
	good = w;

	BREAK(b->sequences = -1);
	BREAK(b->views = -1);
	BREAK(b->offsets = NULL);
	BREAK(w.offsets[0] = 1);
	BREAK(w.offsets[1] = -1);
	BREAK(w.offsets[2] = 2);
	BREAK(w.offsets[B] = (int64_t) 1 << 32);
	BREAK(b->item[0].values = NULL);
	BREAK(w.id[0] = -1);
	BREAK(w.id[0] = 9);
	BREAK(w.id[N - 1] = 9);
	FINE(w.id[N - 1] = 8);
	BREAK(w.tag[0] = 6);
	BREAK(w.tag[11] = -1);
	FINE(w.tag[12] = -1);
	BREAK(w.tag_offsets[0] = 1);
	BREAK(w.tag_offsets[2] = 0);
	BREAK(w.type[N - 1] = 5);
	BREAK(w.gap[0] = 4);
	BREAK(w.day[3] = 4);
	BREAK(w.age[V - 1] = 4);
	BREAK(w.query[0] = 9);
	BREAK(b->view_sequence = NULL);
	BREAK(b->view_length = NULL);
	BREAK(b->view_offsets = NULL);
	BREAK(w.view_offsets[0] = 1);
	BREAK(w.view_offsets[2]++);
	BREAK(w.view_sequence[0] = -1);
	BREAK(w.view_sequence[V - 1] = B);
	BREAK(w.view_sequence[1] = 2; w.view_sequence[2] = 1);
	BREAK(w.view_length[0] = -1);
	BREAK(w.view_length[1] = 4);
	BREAK(b->recency = NULL);
	BREAK(w.recency[0] = 4);
	BREAK(w.recency[M - 1] = 4);
	FINE(w.recency[M] = 4);
	BREAK(w.lag[M - 1] = 3);
	BREAK(b->lag = NULL);
	FINE(b->samples[0].n = 0; b->samples[0].view = NULL);
	BREAK(b->samples[0].n = -1);
	BREAK(b->samples[0].view = NULL);
	BREAK(w.view[0] = V);
	BREAK(w.view[S - 1] = -1);
	BREAK(w.weight[0] = -1);
	BREAK(w.weight[S - 1] = NAN);
	FINE(b->samples[0].weight = NULL);
	BREAK(w.label[0] = .5f);
	BREAK(w.label[S - 1] = NAN);
	FINE(b->samples[0].label = NULL);
	BREAK(w.label_class[0] = 3);
	BREAK(w.label_class[S - 1] = -1);
	FINE(b->samples[3].label_class = NULL);
	BREAK(b->samples[2].features = NULL);
	BREAK(w.features[0] = NAN);
	BREAK(w.features[3 * S - 1] = INFINITY);
	BREAK(w.candidate_id[S - 1] = 9);
	BREAK(w.candidate_tag[0] = 6);
	BREAK(next->columns = -1; next->shared = -1);
	BREAK(next->shared = -1);
	BREAK(next->shared = J + 1);
	BREAK(w.column_id[J - 1] = 9);
	BREAK(w.column_tag[0] = 6);
	BREAK(w.log_q[J - 1] = NAN);
	FINE(next->log_q = NULL);
	BREAK(w.target_offsets[S] = 4; w.target_offsets[1] = 5);
	BREAK(next->target = NULL);
	BREAK(next->target_weight = NULL);
	BREAK(w.target_weight[0] = -1);
	BREAK(w.target_weight[4] = NAN);
	BREAK(w.target[0] = -1);
	BREAK(w.target[0] = J);
	BREAK(w.target[0] = 2);		/* hidden */
	BREAK(w.target[2] = 6);		/* not among its extras */
	BREAK(w.target[4] = 1);		/* the last is hidden */
	BREAK(next->extra = NULL);
	BREAK(next->extra_offsets = NULL);
	BREAK(w.extra[0] = 4);
	BREAK(w.extra[7] = J);
	BREAK(w.extra[1] = 4);		/* shared, and nobody's target */
	BREAK(w.extra[1] = J);
	BREAK(w.extra[7] = 7);		/* twice */
	FINE(w.target[4] = 4; w.hidden[3] = 0);
	BREAK(next->hidden = NULL);
	BREAK(w.hidden[0] = -1);
	BREAK(w.hidden[3] = 5);
	BREAK(w.hidden_offsets[1] = 5);
	BREAK(next->wide = NULL);
	BREAK(w.wide_offsets[S] = -1);
	BREAK(w.wide[0].column = -1);
	BREAK(w.wide[0].column = 7);
	FINE(w.wide[0].column = 2);	/* hidden columns may have terms */
	BREAK(w.wide[0].param = -1);
	BREAK(w.wide[4].param = 17);
	FINE(w.wide[4].param = 16);
	BREAK(w.wide[4].value = INFINITY);
	BREAK(next->memory = NULL);
	BREAK(w.memory_offsets[S] = -1);
	BREAK(w.memory[0].column = -1);
	BREAK(w.memory[0].column = 7);
	FINE(w.memory[0].column = 2);
	BREAK(w.memory[0].lag = -1);
	BREAK(w.memory[5].lag = 3);
	BREAK(w.memory[5].value = INFINITY);
	BREAK(w.memory[5].value = -1);
	BREAK(config.task[4].repeat = false);
	config.task[4].repeat = true;
	BREAK(config.task[4].memory = 0);
	config.task[4].memory = 3;
	BREAK(config.bidirectional = true);
	config.bidirectional = false;

	/* the longest bag, and one id more */
	{
		static int32_t bag[NN_MAX_BAG + 1];

		BREAK(b->item[1].values = bag; memset(w.tag_offsets, 0, sizeof(w.tag_offsets)); w.tag_offsets[N] = NN_MAX_BAG + 1);
		BREAK(b->item[1].values = bag; for (int i = 1; i <= N; i++) w.tag_offsets[i] = NN_MAX_BAG + 1);
		FINE(b->item[1].values = bag; memset(w.tag_offsets, 0, sizeof(w.tag_offsets)); w.tag_offsets[N] = NN_MAX_BAG);
	}
	FINE(memset(b, 0, sizeof(*b)));
	BREAK(memset(b, 0, sizeof(*b)); b->sequences = -1);
	BREAK(memset(b, 0, sizeof(*b)); b->views = -1);
	ok(refused == tried, "%d of %d altered batches are judged rightly", refused, tried);
	restore();
}

/* As many rows as there may be, and one more; without features nothing else is looked at. */
static void
test_most_rows(void)
{
	static const nn_config bare;
	static const int64_t offsets[] = {0, INT32_MAX};
	static const int32_t sequence[] = {0, 0};
	static const int32_t length[] = {INT32_MAX, 1};
	static const int64_t view_offsets[] = {0, INT32_MAX, (int64_t) INT32_MAX + 1};
	nn_batch	batch = {.sequences = 1,.offsets = offsets,.views = 1,.view_sequence = sequence,
	.view_length = length,.view_offsets = view_offsets};

	ok(nn_batch_check(&bare, &batch) == NN_OK, "the most rows of all views");
	batch.views = 2;
	ok(nn_batch_check(&bare, &batch) == NN_BAD_BATCH, "one row more");
}

/* A batch without sequences, and one without views. */
static void
test_empty(void)
{
	static nn_batch empty;
	nn_arena	arena = {memory, sizeof(memory), 0};
	nn_run		run = make_run(true);
	nn_grad		grad;
	bool		zero = true;

	load_config(rich, 9);
	(void) nn_grad_make(&grad, &layout, &arena);
	ok(nn_forward(&run, &empty, &arena, &acts) == NN_OK && acts.loss == 0, "forward of nothing");
	ok(nn_backward(&run, &empty, &arena, &acts, &grad) == NN_OK, "backward of nothing");
	for (size_t i = 0; i < layout.floats; i++)
		zero = zero && grad.value[i] == 0;
	ok(zero, "nothing has no gradient");
}

/* What memory held before makes no difference: all that is read was written. */
static void
test_memory(void)
{
	static const char context_beside[] =
	"{\"hidden\": 4, \"attention\": [3, 4], \"recency\": 4, \"lag\": 3, \"item\": [{\"name\": \"id\", \"vocab\": 9, \"dim\": 3},"
	" {\"name\": \"tag\", \"vocab\": 6, \"dim\": 2, \"multi\": true}],"
	" \"profile\": [{\"name\": \"age\", \"vocab\": 4, \"dim\": 2}], \"context\": [{\"name\": \"query\", \"vocab\": 9, \"dim\": 7}],"
	" \"tasks\": [{\"name\": \"churn\", \"kind\": \"binary\"}, {\"name\": \"next\", \"kind\": \"next_item\"}]}";
	static float from_zero[4096];

	for (int fill = 0; fill < 2; fill++)
	{
		nn_run		run;
		nn_arena	arena = {memory, sizeof(memory), 0};
		nn_grad		grad;

		load_config(context_beside, 13);
		make_world(true);
		run = make_run(true);
		memset(memory, fill ? 0xFF : 0, sizeof(memory));
		(void) nn_grad_make(&grad, &layout, &arena);
		(void) nn_forward(&run, &w.batch, &arena, &acts);
		(void) nn_backward(&run, &w.batch, &arena, &acts, &grad);
		memcpy(fill ? gradient : from_zero, grad.value, layout.floats * sizeof(float));
	}
	ok(memcmp(from_zero, gradient, layout.floats * sizeof(float)) == 0, "nothing is read that was not written");
}

/* ------------------------------------------------------------------------
 * Start values and configurations
 * ------------------------------------------------------------------------ */

static void
test_init(void)
{
	static const char json[] =
	"{\"hidden\": 16, \"bidirectional\": true, \"attention\": [12, 8], \"recency\": 4, \"lag\": 3,"
	" \"item\": [{\"name\": \"id\", \"vocab\": 500, \"dim\": 2}], \"property\": [{\"name\": \"type\", \"vocab\": 3, \"dim\": 2}],"
	" \"tasks\": [{\"name\": \"a\", \"kind\": \"binary\", \"candidate\": [\"id\"], \"candidate_dim\": 12, \"hidden\": [12]},"
	"  {\"name\": \"r\", \"kind\": \"rank\", \"features\": 3}, {\"name\": \"z\", \"kind\": \"binary\"}, {\"name\": \"n\", \"kind\": \"next_item\", \"repeat\": true}]}";
	static const float rates[] = {.2f, .1f, 0, .5f};
	static float value[20000],
				other[20000];
	float		scratch[2 * 16 * 16];
	char		message[256];
	bool		fine = true,
				ranks = true;
	double		orthogonal = 0;

	(void) nn_config_parse(&config, json, strlen(json), message, sizeof(message));
	(void) nn_layout_make(&layout, &config);
	memset(value, 0xFF, sizeof(value));
	nn_init(&config, &layout, value, 1, rates, scratch);
	for (int i = 0; i < layout.n; i++)
	{
		const nn_tensor *tensor = &layout.tensor[i];
		const float *x = value + tensor->offset;
		const char *last = strrchr(tensor->name, '.') + 1;
		int64_t		n = tensor->rows * tensor->cols;
		double		sum = 0,
					squares = 0,
					most = 0,
					bound = sqrt(3.0 / (double) tensor->cols);
		bool		as_told = true;

		ranks = ranks && tensor->rank == (strncmp(last, "weight", 6) == 0 || strcmp(last, "embedding") == 0 ||
										  strcmp(last, "recency") == 0 ? 2 : 1);
		for (int64_t k = 0; k < n; k++)
		{
			sum += x[k];
			squares += (double) x[k] * x[k];
			most = worse(most, fabs(x[k]));
		}
		if (strcmp(last, "weight_hidden") == 0)
		{
			for (int g = 0; g < 4; g++)
				for (int p = 0; p < 16; p++)
					for (int q = 0; q < 16; q++)
					{
						double		product = 0;

						for (int k = 0; k < 16; k++)
							product += (double) x[(g * 16 + p) * 16 + k] * x[(g * 16 + q) * 16 + k];
						orthogonal = worse(orthogonal, fabs(product - (p == q)));
					}
			as_told = memcmp(x, x + 256, 256 * sizeof(float)) != 0;
		}
		else if (strncmp(last, "weight", 6) == 0)
			as_told = most <= bound && most > .7 * bound && fabs(sum / (double) n) < 2 * bound / sqrt((double) n);
		else if (strcmp(last, "embedding") == 0)
			as_told = n < 100 ? most > 0 && most < .25 : fabs(sqrt(squares / (double) n) - .05) < .005;
		else if (strncmp(tensor->name, "lstm", 4) == 0)
			for (int k = 0; k < 64; k++)
				as_told = as_told && x[k] == (k / 16 == 1);
		else if (strcmp(tensor->name, "attention.lag") == 0)
			as_told = x[0] == 0 && x[1] == -2 && x[2] == -4;
		else if (strcmp(tensor->name, "task.r.output.bias") == 0)
			as_told = x[0] == .5f && x[1] == .5f && x[2] == .5f;
		else if (strcmp(tensor->name, "task.r.intercept") == 0)
			as_told = fabs(x[0] - log(.1 / .9)) < 1e-6;
		else if (strcmp(tensor->name, "task.a.output.bias") == 0)
			as_told = fabs(x[0] - log(.2 / .8)) < 1e-6;
		else
			as_told = most == 0;
		if (!as_told)
			printf("# %s does not start as told\n", tensor->name);
		fine = fine && as_told;
	}
	ok(fine, "start values");
	ok(ranks, "matrices and embeddings have two dimensions in files, the others one");
	ok(orthogonal < 1e-5, "recurrent blocks are orthogonal, off by %.1e", orthogonal);
	nn_init(&config, &layout, other, 1, rates, scratch);
	ok(memcmp(value, other, layout.floats * sizeof(float)) == 0, "the same seed gives the same start");
	nn_init(&config, &layout, other, 2, NULL, scratch);
	ok(value[0] != other[0] && other[layout.tensor[layout.task[1].intercept].offset] == 0, "another seed, and no base rates");
}

#define PER_KERNEL 66
#define OTHERS 12

int
main(void)
{
	const char *kernels[NN_MAX_KERNELS];
	int			n = nn_kernels_available(kernels);

	plan(PER_KERNEL * (n - 1) + OTHERS);
	for (int k = 1; k < n; k++)
	{
		ok(nn_kernels_use(kernels[k]), "kernels \"%s\"", kernels[k]);
		test_dropout();
		test_masks();
		test_products();
		test_vectors();
		test_stored_vectors();
		test_far_logits();
	}
	test_batch_check();
	test_most_rows();
	test_empty();
	test_memory();
	test_init();
	return done();
}
