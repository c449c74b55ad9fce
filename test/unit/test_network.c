/*-------------------------------------------------------------------------
 *
 * test_network.c
 *	  The network against naive.c: outputs, and gradients by finite
 *	  differences of the double loss, for what the golden cases lack
 *
 *-------------------------------------------------------------------------
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "naive.h"
#include "nn/layers.h"
#include "nn/nn.h"
#include "nn/product.h"
#include "nn/vector.h"
#include "pool.h"
#include "tap.h"

static uint64_t seed = 7;

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

static float
normal(void)
{
	return (float) nn_random_normal(&seed);
}

/* ------------------------------------------------------------------------
 * Random batches
 * ------------------------------------------------------------------------ */

static nn_ids
random_ids(const nn_feature *feature, int64_t n)
{
	nn_ids		ids = {0};
	int64_t    *offsets = make((size_t) (n + 1) * sizeof(int64_t));
	int32_t    *values;

	for (int64_t i = 0; i < n; i++)
		offsets[i + 1] = offsets[i] + (feature->multi ? below(4) : 1);
	values = make((size_t) offsets[n] * sizeof(int32_t));
	for (int64_t k = 0; k < offsets[n]; k++)
		values[k] = below((int) feature->vocab);
	ids.values = values;
	ids.offsets = feature->multi ? offsets : NULL;
	return ids;
}

/* kinds of batches */
#define SAMPLED 1				/* extras, hidden columns and log_q */
#define SINGLE 2				/* one sample of each task */
#define PAGES 4					/* twenty samples of each task, in order of views */

static void
random_next(const nn_config *config, const nn_task *task, int flags, nn_samples *samples)
{
	int			S = samples->n;
	int			J = 12;
	int			shared = flags & SAMPLED ? 7 : J;
	int64_t    *target_offsets = make((size_t) (S + 1) * sizeof(int64_t)),
			   *extra_offsets = make((size_t) (S + 1) * sizeof(int64_t)),
			   *hidden_offsets = make((size_t) (S + 1) * sizeof(int64_t)),
			   *wide_offsets = make((size_t) (S + 1) * sizeof(int64_t)),
			   *memory_offsets = make((size_t) (S + 1) * sizeof(int64_t));
	int32_t    *target = make((size_t) S * 3 * sizeof(int32_t)),
			   *extra = make((size_t) S * J * sizeof(int32_t)),
			   *hidden = make((size_t) S * J * sizeof(int32_t));
	float	   *weight = make((size_t) S * 3 * sizeof(float)),
			   *log_q = make((size_t) J * sizeof(float));
	nn_wide    *wide = make((size_t) S * 4 * sizeof(nn_wide));
	nn_memory  *memory = make((size_t) S * 6 * sizeof(nn_memory));

	samples->columns = J;
	samples->shared = shared;
	for (int f = 0; f < config->n_feature[NN_ITEM]; f++)
		samples->column[f] = random_ids(&config->feature[NN_ITEM][f], J);
	for (int j = 0; j < J; j++)
		log_q[j] = -1.0f - (float) nn_random_uniform(&seed);
	for (int s = 0; s < S; s++)
	{
		int64_t		e = extra_offsets[s],
					h = hidden_offsets[s];
		int			targets = 1 + below(3);

		for (int j = shared; j < J; j++)
			if (below(2))
				extra[e++] = j;
		for (int j = 0; j < shared && (flags & SAMPLED); j++)
			if (below(5) == 0)
				hidden[h++] = j;
		extra_offsets[s + 1] = e;
		hidden_offsets[s + 1] = h;
		target_offsets[s + 1] = target_offsets[s];
		while (targets-- > 0)
		{
			int			j = below(J);
			bool		fine = j < shared;

			for (int64_t k = extra_offsets[s]; k < e; k++)
				fine |= extra[k] == j;
			for (int64_t k = hidden_offsets[s]; k < h; k++)
				fine &= hidden[k] != j;
			if (!fine)
				continue;
			weight[target_offsets[s + 1]] = 0.25f + (float) nn_random_uniform(&seed);
			target[target_offsets[s + 1]++] = j;
		}
		wide_offsets[s + 1] = wide_offsets[s];
		for (int k = 0; k < 4 && task->repeat; k++)
		{
			int32_t		j = e > extra_offsets[s] && below(2) ? extra[extra_offsets[s]] : below(shared);
			int			params = config->recency_rows * config->recency + NN_REPEAT_COUNTS;

			wide[wide_offsets[s + 1]++] = (nn_wide) {j, below(params), normal()};
		}
		memory_offsets[s + 1] = memory_offsets[s];
		for (int k = 0; k < 6 && task->memory > 0; k++)
		{
			int32_t		j = e > extra_offsets[s] && below(2) ? extra[extra_offsets[s]] : below(shared);

			memory[memory_offsets[s + 1]++] = (nn_memory) {j, below(task->memory), fabsf(normal())};
		}
	}
	samples->target_offsets = target_offsets;
	samples->target = target;
	samples->target_weight = weight;
	samples->wide_offsets = wide_offsets;
	samples->wide = wide;
	samples->memory_offsets = memory_offsets;
	samples->memory = memory;
	if (flags & SAMPLED)
	{
		samples->log_q = log_q;
		samples->extra_offsets = extra_offsets;
		samples->extra = extra;
		samples->hidden_offsets = hidden_offsets;
		samples->hidden = hidden;
	}
}

static void
random_samples(const nn_config *config, int t, int n, int views, int flags, nn_samples *samples)
{
	const nn_task *task = &config->task[t];
	int32_t    *view = make((size_t) n * sizeof(int32_t)),
			   *class = make((size_t) n * sizeof(int32_t));
	int32_t    *position = make((size_t) n * sizeof(int32_t)),
			   *group = make((size_t) n * sizeof(int32_t));
	float	   *weight = make((size_t) n * sizeof(float)),
			   *label = make((size_t) n * sizeof(float)),
			   *features = make((size_t) n * task->features * sizeof(float));

	samples->n = n;
	for (int s = 0; s < n; s++)
	{
		view[s] = flags & PAGES ? s * views / n : below(views);
		position[s] = below(task->position + 1) - 1;
		group[s] = s > 0 && below(8) > 0 ? group[s - 1] : below(3);
		class[s] = task->classes > 0 ? below(task->classes) : 0;
		weight[s] = 0.5f + (float) nn_random_uniform(&seed);
		label[s] = (float) below(2);
	}
	for (int j = 0; j < n * task->features; j++)
		features[j] = normal();
	samples->view = view;
	samples->weight = weight;
	samples->label = label;
	samples->label_class = class;
	samples->features = features;
	samples->position = task->position > 0 ? position : NULL;
	samples->group = task->pairwise > 0 ? group : NULL;
	for (int k = 0; k < task->n_candidate; k++)
		samples->candidate[k] = random_ids(nn_candidate_feature(config, task->candidate[k]), n);
	if (task->kind == NN_NEXT_ITEM)
		random_next(config, task, flags, samples);
}

/* B sequences of up to 6 events, the second one empty; three views each, or one. */
static void
random_batch(const nn_config *config, int B, int flags, nn_batch *batch)
{
	int			per = config->bidirectional ? 1 : 3;
	int			V = B * per;
	int64_t    *offsets = make((size_t) (B + 1) * sizeof(int64_t)),
			   *view_offsets = make((size_t) (V + 1) * sizeof(int64_t));
	int32_t    *sequence = make((size_t) V * sizeof(int32_t)),
			   *length = make((size_t) V * sizeof(int32_t));
	uint8_t    *recency,
			   *lag;

	memset(batch, 0, sizeof(*batch));
	for (int b = 0; b < B; b++)
		offsets[b + 1] = offsets[b] + (b == 1 ? 0 : 1 + below(6));
	for (int v = 0; v < V; v++)
	{
		int			all = (int) (offsets[v / per + 1] - offsets[v / per]);

		sequence[v] = v / per;
		length[v] = v % per == 0 ? all : below(all + 1);
		view_offsets[v + 1] = view_offsets[v] + length[v];
	}
	recency = make((size_t) view_offsets[V]);
	lag = make((size_t) view_offsets[V]);
	for (int64_t k = 0; k < view_offsets[V]; k++)
	{
		recency[k] = (uint8_t) (config->recency > 0 ? below(config->recency) : 0);
		lag[k] = (uint8_t) (config->lag > 0 ? below(config->lag) : 0);
	}
	batch->sequences = B;
	batch->offsets = offsets;
	batch->views = V;
	batch->view_sequence = sequence;
	batch->view_length = length;
	batch->view_offsets = view_offsets;
	batch->recency = recency;
	batch->lag = lag;
	for (int f = 0; f < config->n_feature[NN_ITEM]; f++)
		batch->item[f] = random_ids(&config->feature[NN_ITEM][f], offsets[B]);
	for (int f = 0; f < config->n_feature[NN_PROPERTY]; f++)
		batch->property[f] = random_ids(&config->feature[NN_PROPERTY][f], offsets[B]);
	for (int f = 0; f < config->n_feature[NN_PROFILE]; f++)
		batch->profile[f] = random_ids(&config->feature[NN_PROFILE][f], V);
	for (int f = 0; f < config->n_feature[NN_CONTEXT]; f++)
		batch->context[f] = random_ids(&config->feature[NN_CONTEXT][f], V);
	for (int t = 0; t < config->n_task && V > 0; t++)
		random_samples(config, t, flags & SINGLE ? 1 : flags & PAGES ? 20 : 6, V, flags, &batch->samples[t]);
}

/* ------------------------------------------------------------------------
 * A configuration against the reference
 * ------------------------------------------------------------------------ */

static nn_config config;
static nn_layout layout;
static nn_batch batch;
static nn_acts acts;
static nn_grad grad;
static float *param;

static void
set_up(const char *json)
{
	char		message[256] = "";

	if (nn_config_parse(&config, json, strlen(json), message, sizeof(message)) != NN_OK ||
		nn_layout_make(&layout, &config) != NN_OK)
	{
		printf("Bail out! %s\n", message);
		exit(2);
	}
	param = make(layout.floats * sizeof(float));
	for (size_t j = 0; j < layout.floats; j++)
		param[j] = 0.4f * normal();
}

/* Count, carve exactly that much, compute. */
static nn_status
compute(nn_run *run)
{
	nn_arena	arena = {0};
	nn_status	status = NN_OK;

	for (int pass = 0; pass < 2 && status == NN_OK; pass++)
	{
		size_t		counted = arena.used;

		if (pass == 1)
			arena = (nn_arena) {make(counted), counted, 0};
		status = nn_grad_make(&grad, &layout, &arena);
		if (status == NN_OK)
			status = nn_forward(run, &batch, &arena, &acts);
		if (status == NN_OK && run->backward)
			status = nn_backward(run, &batch, &arena, &acts, &grad);
		/* less is fine: views without samples are counted, too */
		if (pass == 1 && status == NN_OK && arena.used > counted)
			return NN_NO_MEMORY;
	}
	return status;
}

/* The largest difference, and the size that it is measured against. */
static double
difference(const float *got, const double *want, int64_t n, double *size)
{
	double		worst = 0.0;

	*size = 0.0;
	for (int64_t j = 0; j < n; j++)
	{
		worst = worse(worst, fabs(got[j] - want[j]));
		*size = fmax(*size, fabs(want[j]));
	}
	return worst;
}

static double
error(const float *got, const double *want, int64_t n)
{
	double		size;
	double		worst = difference(got, want, n, &size);

	return worst / (size + 1e-6);
}

static void
against_naive(const char *what, const char *json, int B, int flags, const nn_dropout *dropout)
{
	nn_run		run = {.config = &config, .layout = &layout, .dropout = dropout, .backward = true};
	naive_out	out = {0},
				loss_only = {0};
	double	   *p,
			   *want,
				worst = 0.0;
	int			worst_tensor = 0;
	int64_t		N;

	set_up(json);
	random_batch(&config, B, flags, &batch);
	run.param = param;
	N = B > 0 ? batch.offsets[B] : 0;
	ok(nn_batch_check(&config, &batch) == NN_OK, "%s: the batch is fine", what);
	ok(compute(&run) == NN_OK, "%s: computed in the memory that was counted", what);

	p = make(layout.floats * sizeof(double));
	want = make(layout.floats * sizeof(double));
	for (size_t j = 0; j < layout.floats; j++)
		p[j] = param[j];
	out.attention = make(sizeof(double) * 1024);
	out.vector = make(sizeof(double) * ((size_t) batch.views * config.R + 1));
	if (config.bidirectional)
		out.state = make(sizeof(double) * ((size_t) N * config.W + 1));
	for (int t = 0; t < config.n_task; t++)
	{
		out.logit[t] = make(sizeof(double) * 1024);
		out.extra_logit[t] = make(sizeof(double) * 1024);
	}
	naive_forward(&config, &layout, p, &batch, dropout, &out);
	if (out.state)
		ok(error(acts.state, out.state, N * config.W) < 1e-5, "%s: states", what);
	ok(config.pooling != NN_POOL_ATTENTION ? acts.attention == NULL :
	   error(acts.attention, out.attention, batch.views > 0 ? batch.view_offsets[batch.views] : 0) < 1e-5,
	   "%s: attention", what);
	ok(error(acts.vector, out.vector, (int64_t) batch.views * config.R) < 1e-5, "%s: vectors", what);
	is_close(acts.loss, out.loss, 1e-5 * (fabs(out.loss) + 1e-6), "%s: loss", what);
	for (int t = 0; t < config.n_task; t++)
	{
		const nn_samples *samples = &batch.samples[t];
		int			width = config.task[t].kind == NN_MULTICLASS ? config.task[t].classes :
			config.task[t].kind == NN_NEXT_ITEM ? samples->shared : 1;

		ok(error(acts.task[t].logit, out.logit[t], (int64_t) samples->n * width) < 1e-5 &&
		   error(acts.task[t].extra_logit, out.extra_logit[t],
				 samples->extra_offsets ? samples->extra_offsets[samples->n] : 0) < 1e-5,
		   "%s: logits of %s", what, config.task[t].name);
	}

	for (size_t j = 0; j < layout.floats; j++)
	{
		double		eps = 1e-5,
					keep = p[j],
					up;

		p[j] = keep + eps;
		naive_forward(&config, &layout, p, &batch, dropout, &loss_only);
		up = loss_only.loss;
		p[j] = keep - eps;
		naive_forward(&config, &layout, p, &batch, dropout, &loss_only);
		p[j] = keep;
		want[j] = (up - loss_only.loss) / (2 * eps);
	}
	for (int i = 0; i < layout.n; i++)
	{
		double		size;
		double		d = difference(grad.value + layout.tensor[i].offset, want + layout.tensor[i].offset,
								   layout.tensor[i].rows * layout.tensor[i].cols, &size);

		/*
		 * Where terms cancel to exactly 0 (attention.1.bias, when its units
		 * are on for all events: softmax ignores a constant), what is left is
		 * their rounding.
		 */
		d /= 1e-4 * size + 1e-7;
		if (worse(worst, d) > worst)
			worst_tensor = i;
		worst = worse(worst, d);
	}
	if (!ok(worst < 1.0, "%s: gradients of %d tensors", what, layout.n))
		printf("# %s is off by %.2e of what is allowed\n", layout.tensor[worst_tensor].name, worst);

	/* every touched row is listed, and clearing leaves nothing */
	nn_grad_clear(&grad, &layout);
	worst = 0.0;
	for (size_t j = 0; j < layout.floats; j++)
		worst = worse(worst, fabs(grad.value[j]));
	ok(worst == 0.0, "%s: nothing is left of a cleared gradient", what);
}

#define ITEMS "\"item\": [{\"name\": \"id\", \"vocab\": 12, \"dim\": 5}, {\"name\": \"tag\", \"vocab\": 6, \"dim\": 3, \"multi\": true}]"
#define ITEMS_SUM "\"item_encoding\": \"sum\", \"item\": [{\"name\": \"id\", \"vocab\": 12, \"dim\": 5}, {\"name\": \"tag\", \"vocab\": 6, \"dim\": 5, \"multi\": true}]"
#define PROPERTIES "\"property\": [{\"name\": \"type\", \"vocab\": 5, \"dim\": 3}, {\"name\": \"gap\", \"vocab\": 4, \"dim\": 2, \"use\": \"gates\"}, {\"name\": \"part\", \"vocab\": 4, \"dim\": 2, \"multi\": true, \"use\": \"attention\"}]"
#define GATES "\"property\": [{\"name\": \"type\", \"vocab\": 5, \"dim\": 3, \"use\": \"gates\"}, {\"name\": \"part\", \"vocab\": 4, \"dim\": 2, \"multi\": true, \"use\": \"gates\"}]"
#define BAG_TYPE "\"property\": [{\"name\": \"type\", \"vocab\": 5, \"dim\": 3, \"multi\": true}]"
#define TIME "\"recency\": 4, \"recency_rows\": 3, \"lag\": 3"
#define WHO "\"profile\": [{\"name\": \"age\", \"vocab\": 4, \"dim\": 3}, {\"name\": \"likes\", \"vocab\": 5, \"dim\": 2, \"multi\": true}], \"context\": [{\"name\": \"query\", \"vocab\": 5, \"dim\": 2, \"multi\": true}, {\"name\": \"like\", \"table\": \"id\"}]"
#define SIZES "\"hidden\": 5, \"attention\": [6, 4]"
#define TASKS "\"tasks\": [{\"name\": \"click\", \"kind\": \"binary\", \"candidate\": [\"tag\", \"id\"], \"candidate_dim\": 4, \"hidden\": [5, 4], \"features\": 2}, {\"name\": \"churn\", \"kind\": \"binary\", \"hidden\": [4], \"weight\": 0.7}, {\"name\": \"order\", \"kind\": \"rank\", \"features\": 3, \"hidden\": [4], \"weight\": 2}, {\"name\": \"price\", \"kind\": \"multiclass\", \"classes\": 3}, {\"name\": \"next\", \"kind\": \"next_item\", \"weight\": 1.5}]"
#define PLACES "\"tasks\": [{\"name\": \"click\", \"kind\": \"binary\", \"candidate\": [\"tag\"], \"candidate_dim\": 4, \"hidden\": [5], \"position\": 3, \"pairwise\": 0.4}, {\"name\": \"churn\", \"kind\": \"binary\", \"hidden\": [4], \"position\": 2}, {\"name\": \"order\", \"kind\": \"rank\", \"features\": 3, \"hidden\": [4], \"weight\": 2, \"position\": 4, \"pairwise\": 1}, {\"name\": \"buy\", \"kind\": \"rank\", \"features\": 2, \"pairwise\": 0.25}]"
#define MEMORY "\"tasks\": [{\"name\": \"next\", \"kind\": \"next_item\", \"memory\": 3}, {\"name\": \"both\", \"kind\": \"next_item\", \"repeat\": true, \"memory\": 2}]"
#define REPEAT "\"tasks\": [{\"name\": \"next\", \"kind\": \"next_item\", \"repeat\": true}]"

static void
test_against_naive(void)
{
	nn_dropout	dropout = {.item = 0.3f, .vector = 0.4f, .hidden = 0.2f, .seed = 99};

	against_naive("all kinds, views that are prefixes",
				  "{" SIZES ", " ITEMS ", " PROPERTIES ", " TIME ", " WHO ", \"context_in_vector\": true, " TASKS "}",
				  4, 0, NULL);
	against_naive("summed items, dropout",
				  "{" SIZES ", " ITEMS_SUM ", " BAG_TYPE ", " TIME ", " WHO ", " TASKS "}", 4, 0, &dropout);
	against_naive("scores per event, repeat term",
				  "{" SIZES ", " ITEMS ", " PROPERTIES ", " TIME ", " REPEAT "}", 4, 0, NULL);
	against_naive("sampled softmax, repeat term",
				  "{" SIZES ", " ITEMS ", " TIME ", " WHO ", " REPEAT "}", 4, SAMPLED, NULL);
	against_naive("both directions, dropout",
				  "{" SIZES ", \"bidirectional\": true, " ITEMS ", " PROPERTIES ", " TIME ", " WHO ", " TASKS "}",
				  4, SAMPLED, &dropout);
	against_naive("one sample of each task, one candidate feature",
				  "{" SIZES ", " ITEMS ", \"tasks\": [{\"name\": \"click\", \"kind\": \"binary\", \"candidate\": [\"id\"], \"candidate_dim\": 3, \"features\": 2},"
				  " {\"name\": \"price\", \"kind\": \"multiclass\", \"classes\": 3}, {\"name\": \"next\", \"kind\": \"next_item\"}]}",
				  2, SINGLE, NULL);
	against_naive("pairs within pages, biases of places",
				  "{" SIZES ", " ITEMS ", " TIME ", " PLACES "}", 2, PAGES, NULL);
	against_naive("things beside items and alone",
				  "{" SIZES ", " ITEMS_SUM ", \"thing\": [{\"name\": \"icon\", \"vocab\": 5, \"dim\": 3}, {\"name\": \"text\", \"vocab\": 6, \"dim\": 2, \"multi\": true}],"
				  " \"tasks\": [{\"name\": \"click\", \"kind\": \"binary\", \"candidate\": [\"tag\"], \"things\": [\"text\", \"icon\"], \"candidate_dim\": 4, \"hidden\": [5], \"product\": true},"
				  " {\"name\": \"follow\", \"kind\": \"binary\", \"things\": [\"icon\"], \"candidate_dim\": 3}]}", 4, 0, NULL);
	against_naive("single samples make no pairs", "{" SIZES ", " ITEMS ", " PLACES "}", 2, SINGLE, NULL);
	against_naive("one sequence", "{" SIZES ", " ITEMS ", " PROPERTIES ", " TASKS "}", 1, 0, NULL);
	against_naive("the last state, views that are prefixes",
				  "{\"hidden\": 5, \"pooling\": \"last\", " ITEMS ", " GATES ", \"recency\": 4, \"recency_rows\": 3, " WHO ", \"context_in_vector\": true, " REPEAT "}",
				  4, 0, NULL);
	against_naive("the last states of both directions, dropout",
				  "{\"hidden\": 5, \"pooling\": \"last\", \"bidirectional\": true, " ITEMS ", " WHO ", " TASKS "}", 4, 0, &dropout);
	against_naive("the mean of the states",
				  "{\"hidden\": 5, \"pooling\": \"mean\", " ITEMS_SUM ", " GATES ", " WHO ", " TASKS "}", 4, SAMPLED, NULL);
	against_naive("the largest of the states",
				  "{\"hidden\": 5, \"pooling\": \"max\", " ITEMS ", " GATES ", " TASKS "}", 4, 0, &dropout);
	against_naive("attention without a bias of time",
				  "{" SIZES ", \"recency_bias\": false, " ITEMS ", " GATES ", " TIME ", " WHO ", " REPEAT "}", 4, 0, NULL);
	against_naive("nothing", "{" SIZES ", " ITEMS ", " PROPERTIES ", " TIME ", " WHO ", " TASKS "}", 0, 0, NULL);
	against_naive("experts, dropout",
				  "{" SIZES ", \"experts\": 3, \"expert_dim\": 7, " ITEMS ", " PROPERTIES ", " TIME ", " WHO ", " TASKS "}", 4, 0, &dropout);
	against_naive("experts as wide as the vector, one task",
				  "{" SIZES ", \"experts\": 2, " ITEMS ", \"tasks\": [{\"name\": \"click\", \"kind\": \"binary\", \"candidate\": [\"id\"], \"candidate_dim\": 3, \"hidden\": [4], \"product\": true}]}",
				  4, 0, NULL);
	against_naive("experts, one sample of each task",
				  "{" SIZES ", \"experts\": 16, \"expert_dim\": 2, " ITEMS ", " TIME ", " TASKS "}", 2, SINGLE, NULL);
	against_naive("product terms, one without hidden layers, dropout",
				  "{" SIZES ", " ITEMS ", " PROPERTIES ", " TIME ", " WHO ", \"tasks\": ["
				  "{\"name\": \"click\", \"kind\": \"binary\", \"candidate\": [\"tag\", \"id\"], \"candidate_dim\": 4, \"hidden\": [5, 4], \"features\": 2, \"product\": true},"
				  " {\"name\": \"follow\", \"kind\": \"binary\", \"candidate\": [\"id\"], \"candidate_dim\": 2, \"product\": true, \"weight\": 0.7}]}",
				  4, 0, &dropout);
	against_naive("product term, summed items",
				  "{" SIZES ", " ITEMS_SUM ", " PROPERTIES ", \"tasks\": [{\"name\": \"click\", \"kind\": \"binary\", \"candidate\": [\"id\", \"tag\"], \"candidate_dim\": 4, \"hidden\": [3], \"product\": true}]}",
				  4, 0, NULL);
	against_naive("memory term, with a repeat term and without",
				  "{" SIZES ", " ITEMS ", " TIME ", " MEMORY "}", 4, 0, NULL);
	against_naive("sampled softmax, memory term",
				  "{" SIZES ", " ITEMS ", " TIME ", " MEMORY "}", 4, SAMPLED, NULL);
}

/* ------------------------------------------------------------------------
 * Kernels and products against libm and plain loops
 * ------------------------------------------------------------------------ */

static void
test_kernels(void)
{
	int			n = 40000;
	float	   *x = make((size_t) n * sizeof(float)),
			   *e = make((size_t) n * sizeof(float)),
			   *s = make((size_t) n * sizeof(float)),
			   *t = make((size_t) n * sizeof(float));
	double		worst[3] = {0},
				sum = 0.0;
	float		odd[4] = {-INFINITY, NAN, 100.0f, -88.0f};

	for (int j = 0; j < n; j++)
		x[j] = -86.9f + 174.0f * (float) j / (float) n;
	nn_vector_exp((size_t) n, x, e);
	nn_vector_sigmoid((size_t) n, x, s);
	nn_vector_tanh((size_t) n, x, t);
	for (int j = 0; j < n; j++)
	{
		worst[0] = worse(worst[0], fabs(e[j] / exp(x[j]) - 1.0));
		worst[1] = worse(worst[1], fabs(s[j] - 1.0 / (1.0 + exp(-(double) x[j]))));
		if (x[j] != 0.0f)
			worst[2] = worse(worst[2], fabs(t[j] / tanh(x[j]) - 1.0));
	}
	is_close(worst[0], 0.0, 2e-7, "exp, relative error");
	is_close(worst[1], 0.0, 2e-7, "sigmoid, absolute error");
	is_close(worst[2], 0.0, 4e-7, "tanh, relative error");
	nn_vector_exp(4, odd, e);
	ok(e[0] == 0.0f && isnan(e[1]) && isfinite(e[2]) && e[3] == 0.0f, "exp of odd numbers");
	nn_vector_sigmoid(4, odd, s);
	nn_vector_tanh(4, odd, t);
	ok(fabs(s[0]) < 1e-7 && isnan(s[1]) && fabs(s[2] - 1.0) < 2e-7 && fabs(t[0] + 1.0) < 2e-7 && isnan(t[1]) &&
	   fabs(t[2] - 1.0) < 2e-7, "sigmoid and tanh of odd numbers");
	odd[0] = -1.0f;
	nn_vector_relu(4, odd);
	ok(odd[0] == 0.0f && isnan(odd[1]) && odd[2] == 100.0f, "relu keeps a NaN");

	for (int j = 0; j < n; j++)
		x[j] = normal();
	for (int j = 0; j < n; j++)
		sum += exp(x[j] - 1.0);
	is_close(nn_vector_exp_sum((size_t) n, x, 1.0f, x) / sum, 1.0, 1e-6, "sum of exp, in place");
	ok(nn_vector_max(0, x) == -INFINITY, "the largest of nothing");
}

static int	polls;

static bool
count_polls(void *limit)
{
	return ++polls > *(int *) limit;
}

static void
test_product(nn_form form, int m, int n, int k, bool add)
{
	nn_run		run = {0};
	int			limit = 1000;
	int			lda = (form == NN_ATB ? m : k) + 3,
				ldb = (form == NN_ABT ? k : n) + 2,
				ldc = n + 1;
	float	   *a = make(sizeof(float) * (size_t) (m + k + 1) * lda),
			   *b = make(sizeof(float) * (size_t) (n + k + 1) * ldb),
			   *c = make(sizeof(float) * (size_t) (m + 1) * ldc);
	double		worst = 0.0;

	run.abort = count_polls;
	run.abort_arg = &limit;
	polls = 0;
	for (int j = 0; j < (m + k + 1) * lda; j++)
		a[j] = normal();
	for (int j = 0; j < (n + k + 1) * ldb; j++)
		b[j] = normal();
	for (int j = 0; j < (m + 1) * ldc; j++)
		c[j] = 2.0f;
	ok(nn_product(&run, form, m, n, k, a, lda, b, ldb, add, c, ldc) == NN_OK, "product %d %d %d", m, n, k);
	for (int i = 0; i < m; i += 1 + m / 50)
		for (int j = 0; j < n; j += 1 + n / 50)
		{
			double		want = add ? 2.0 : 0.0;

			for (int l = 0; l < k; l++)
				want += (double) (form == NN_ATB ? a[l * lda + i] : a[i * lda + l]) *
					(form == NN_ABT ? b[j * ldb + l] : b[l * ldb + j]);
			worst = worse(worst, fabs(c[i * ldc + j] - want) / sqrt(k + 1.0));
		}
	for (int i = 0; i <= m; i++)
		if (c[i * ldc + n] != 2.0f)
			worst = INFINITY;
	is_close(worst, 0.0, 1e-5, "form %d, add %d: right, and nothing else written", form, add);
}

static void
test_products(void)
{
	int			limit = 0;
	nn_run		run = {.abort = count_polls, .abort_arg = &limit};
	float		one = 1.0f;

	for (int form = NN_ABT; form <= NN_ATB; form++)
	{
		test_product((nn_form) form, 7, 5, 6, true);
		test_product((nn_form) form, 1, 5, 6, false);
		test_product((nn_form) form, 7, 1, 6, true);
		test_product((nn_form) form, 3, 4, 0, false);
		test_product((nn_form) form, 3, 4, 0, true);
	}
	/* large enough to be cut along each side */
	test_product(NN_ABT, 3000, 700, 300, true);
	test_product(NN_AB, 300, 3000, 700, false);
	test_product(NN_ATB, 700, 300, 3000, true);
	ok(polls > 1, "a large product polls more than once");
	ok(nn_product(&run, NN_ABT, 1, 1, 1, &one, 1, &one, 1, false, &one, 1) == NN_ABORTED, "abort is heard");
}

/* ------------------------------------------------------------------------
 * Serving, memory, start values
 * ------------------------------------------------------------------------ */

static void
test_serving(const char *json)
{
	nn_run		run = {.config = &config, .layout = &layout};
	int			n = 9;
	float		query[64],
				e[64],
				scores[16],
			   *row_score;
	nn_ids		item[NN_MAX_FEATURES];
	double		worst = 0.0;

	set_up(json);
	run.param = param;
	for (int f = 0; f < config.n_feature[NN_ITEM]; f++)
		item[f] = random_ids(&config.feature[NN_ITEM][f], n);
	for (int j = 0; j < config.E; j++)
		query[j] = normal();
	row_score = make(nn_row_scores_floats(&config) * sizeof(float));
	ok(nn_row_scores(&run, 0, query, row_score) == NN_OK, "rows of tables are scored");
	nn_item_scores(&config, row_score, item, 0, 4, scores);
	nn_item_scores(&config, row_score, item, 4, n - 4, scores + 4);
	for (int j = 0; j < n; j++)
	{
		double		want = nn_item_bias(&config, &layout, param, 0, item, j);

		nn_item_encode(&config, &layout, param, item, j, e);
		for (int k = 0; k < config.E; k++)
			want += (double) query[k] * e[k];
		worst = worse(worst, fabs(scores[j] - want));
	}
	is_close(worst, 0.0, 1e-5, "scores are inner products of encodings");
}

/* ------------------------------------------------------------------------
 * User vectors that are given, and what is frozen
 * ------------------------------------------------------------------------ */

static bool
of_task(int tensor)
{
	return strncmp(layout.tensor[tensor].name, "task.", 5) == 0;
}

/* Is a gradient the same as another's where it is wanted, and zero elsewhere? */
static bool
same_gradients(const float *got, const float *want, bool (*wanted) (int tensor))
{
	bool		same = true;

	for (int i = 0; i < layout.n; i++)
	{
		const nn_tensor *tensor = &layout.tensor[i];

		for (size_t j = tensor->offset; j < tensor->offset + (size_t) (tensor->rows * tensor->cols); j++)
			same = same && got[j] == (wanted(i) ? want[j] : 0.0f);
	}
	return same;
}

static bool
not_frozen(int tensor)
{
	return !layout.tensor[tensor].frozen;
}

static void
test_given(void)
{
	static const int64_t no_events[2] = {0, 0};
	nn_dropout	dropout = {.item = 0.0f, .vector = 0.4f, .hidden = 0.2f, .seed = 5};
	nn_run		run = {.config = &config, .layout = &layout, .dropout = &dropout, .backward = true};
	bool		fine = true;
	float	   *want,
			   *logit[NN_MAX_TASKS];
	int32_t    *zeros;
	int64_t    *offsets;

	set_up("{" SIZES ", " ITEMS ", " PROPERTIES ", " WHO ", \"context_in_vector\": true, " TASKS "}");
	run.param = param;
	random_batch(&config, 4, 0, &batch);
	ok(compute(&run) == NN_OK, "a batch as it is");
	want = grad.value;
	for (int t = 0; t < config.n_task; t++)
		logit[t] = acts.task[t].logit;

	layout.tensor[layout.table[NN_ITEM][0]].frozen = true;
	layout.tensor[layout.table[NN_ITEM][1]].frozen = true;
	ok(compute(&run) == NN_OK && same_gradients(grad.value, want, not_frozen),
	   "frozen tables get no gradient, all else the same");

	/* the same vectors without what they were made of */
	batch.vector = acts.vector;
	batch.sequences = 1;
	batch.offsets = no_events;
	zeros = make(sizeof(int32_t) * (size_t) batch.views);
	offsets = make(sizeof(int64_t) * (size_t) (batch.views + 1));
	memset(zeros, 0, sizeof(int32_t) * (size_t) batch.views);
	memset(offsets, 0, sizeof(int64_t) * (size_t) (batch.views + 1));
	batch.view_sequence = batch.view_length = zeros;
	batch.view_offsets = offsets;
	for (int f = 0; f < NN_MAX_FEATURES; f++)
		batch.profile[f].values = batch.context[f].values = NULL;
	ok(nn_batch_check(&config, &batch) == NN_OK, "a batch of given vectors is fine");
	ok(compute(&run) == NN_OK && same_gradients(grad.value, want, of_task), "heads learn the same from given vectors");
	for (int t = 0; t < config.n_task; t++)
		fine = fine && memcmp(logit[t], acts.task[t].logit, sizeof(float) * (size_t) batch.samples[t].n) == 0;
	ok(fine, "and say the same");
	((float *) batch.vector)[0] = NAN;
	ok(nn_batch_check(&config, &batch) == NN_BAD_BATCH, "given vectors are finite");
}

static void
test_memory(void)
{
	nn_run		run = {.config = &config, .layout = &layout};
	nn_arena	count = {0},
				serve = {0},
				arena;
	int			limit = 0;
	float	   *vector;

	set_up("{" SIZES ", " ITEMS ", " PROPERTIES ", " TIME ", " WHO ", " TASKS "}");
	random_batch(&config, 3, 0, &batch);
	run.param = param;
	run.backward = true;
	nn_forward(&run, &batch, &count, &acts);
	run.backward = false;
	nn_forward(&run, &batch, &serve, &acts);
	ok(serve.used < count.used, "forward alone needs less memory");
	arena = (nn_arena) {make(serve.used), serve.used - 64, 0};
	ok(nn_forward(&run, &batch, &arena, &acts) == NN_NO_MEMORY, "an arena that is too small is noticed");

	arena = (nn_arena) {make(serve.used), serve.used, 0};
	ok(nn_forward(&run, &batch, &arena, &acts) == NN_OK, "and one that is not");
	vector = make((size_t) batch.views * config.R * sizeof(float));
	memcpy(vector, acts.vector, (size_t) batch.views * config.R * sizeof(float));
	arena = (nn_arena) {make(count.used), count.used, 0};
	run.backward = true;
	nn_forward(&run, &batch, &arena, &acts);
	ok(memcmp(vector, acts.vector, (size_t) batch.views * config.R * sizeof(float)) == 0,
	   "vectors are the same with and without backward");
	polls = 0;
	run.abort = count_polls;
	run.abort_arg = &limit;
	arena.used = 0;
	ok(nn_forward(&run, &batch, &arena, &acts) == NN_ABORTED, "forward can be stopped");
}

static void
test_init(void)
{
	float	   *scratch,
			   *again;
	float		rate[NN_MAX_TASKS] = {0.25f, 0.0f, 0.1f};
	const float *block;
	double		worst = 0.0;

	set_up("{" SIZES ", " ITEMS ", " PROPERTIES ", " TIME ", " WHO ", " TASKS "}");
	scratch = make(2 * 25 * sizeof(float));
	again = make(layout.floats * sizeof(float));
	nn_init(&config, &layout, param, 5, rate, scratch);
	nn_init(&config, &layout, again, 5, rate, scratch);
	ok(memcmp(param, again, layout.floats * sizeof(float)) == 0, "a seed means the same numbers");
	for (int gate = 0; gate < 4; gate++)
	{
		block = param + layout.tensor[layout.lstm[0].weight_hidden].offset + gate * 25;
		for (int i = 0; i < 5; i++)
			for (int j = 0; j < 5; j++)
				worst = worse(worst, fabs(nn_vector_dot(5, block + 5 * i, block + 5 * j) - (i == j)));
	}
	is_close(worst, 0.0, 1e-6, "recurrent blocks are orthogonal");
	block = param + layout.tensor[layout.lstm[0].bias].offset;
	ok(block[4] == 0.0f && block[5] == 1.0f && block[9] == 1.0f && block[10] == 0.0f, "forget bias");
	ok(param[layout.tensor[layout.attention_lag].offset + 2] == -4.0f, "lags start by falling");
	is_close(param[layout.tensor[layout.task[0].output_bias].offset], log(0.25 / 0.75), 1e-6, "base rate");
	is_close(param[layout.tensor[layout.task[2].intercept].offset], log(0.1 / 0.9), 1e-6, "intercept");
	ok(param[layout.tensor[layout.task[2].output_bias].offset] == 0.5f, "rank output bias");
	ok(param[layout.tensor[layout.task[4].item_bias[0]].offset] == 0.0f, "item biases start at 0");
	ok(layout.tensor[layout.first_table].offset == layout.dense_floats &&
	   layout.table[NN_CONTEXT][1] == layout.table[NN_ITEM][0], "tables lie behind, shared ones once");

	/* the product term: the second item feature comes first in the candidate */
	set_up("{" SIZES ", " ITEMS ", " WHO ", \"tasks\": [{\"name\": \"click\", \"kind\": \"binary\", \"candidate\": [\"tag\", \"id\"], \"candidate_dim\": 4, \"product\": true}]}");
	nn_init(&config, &layout, param, 5, NULL, scratch);
	worst = 0.0;
	for (int i = 0; i < config.feature[NN_ITEM][1].dim + config.feature[NN_ITEM][0].dim; i++)
		for (int j = 0; j < config.R; j++)
		{
			int			column = i < config.feature[NN_ITEM][1].dim ? config.feature[NN_ITEM][0].dim + i :
				i - config.feature[NN_ITEM][1].dim;
			double		want = j >= 5 ? 0.0 :
				4.0 * param[layout.tensor[layout.lstm[0].weight_item].offset + (10 + j) * config.E + column];

			worst = worse(worst, fabs(param[layout.tensor[layout.task[0].product_weight].offset + i * config.R + j] - want));
		}
	is_close(worst, 0.0, 0.0, "the product term starts with what the LSTM made of items");

	/* behind experts that are narrower than a state */
	set_up("{" SIZES ", \"experts\": 2, \"expert_dim\": 3, " ITEMS ", \"tasks\": [{\"name\": \"click\", \"kind\": \"binary\", \"candidate\": [\"id\"], \"candidate_dim\": 4, \"product\": true}]}");
	nn_init(&config, &layout, param, 5, NULL, scratch);
	worst = 0.0;
	for (size_t i = 0; i < (size_t) config.feature[NN_ITEM][0].dim * 3; i++)
		worst = worse(worst, fabs(param[layout.tensor[layout.task[0].product_weight].offset + i]));
	for (int i = 0; i < config.feature[NN_ITEM][0].dim; i++)
		worst = worse(worst, fabs(param[layout.tensor[layout.task[0].product_bias].offset + i]));
	is_close(worst, 0.0, 0.0, "the product term behind experts starts at 0");
}

/* Centred biases leave what has a place as it was. */
static void
test_places(void)
{
	nn_run		run = {.config = &config, .layout = &layout};
	double		share[2][4] = {{0.5, 0.25, 0.25}, {0.1, 0.2, 0.3, 0.4}};
	float		before[2][20];
	double		worst = 0.0,
				served = 0.0;
	float		old[2];

	set_up("{" SIZES ", " ITEMS ", " TIME ", " PLACES "}");
	random_batch(&config, 2, PAGES, &batch);
	run.param = param;
	for (int pass = 0; pass < 2; pass++)
	{
		ok(compute(&run) == NN_OK, "computed with places, pass %d", pass);
		for (int k = 0; k < 2; k++)
		{
			const nn_samples *samples = &batch.samples[2 * k];
			const float *logit = acts.task[2 * k].logit;
			const float *bias = param + layout.tensor[layout.task[2 * k].position].offset;
			double		mean = 0.0;

			for (int s = 0; s < samples->n; s++)
				if (pass == 0)
					before[k][s] = logit[s];
				else if (samples->position[s] >= 0)
					worst = worse(worst, fabs(logit[s] - before[k][s]));
				else
					served = worse(served, fabs(logit[s] - before[k][s] - old[k]));
			for (int b = 0; b < config.task[2 * k].position; b++)
				mean += share[k][b] * bias[b];
			if (pass == 0)
			{
				old[k] = (float) mean;
				nn_position_center(&config, &layout, 2 * k, share[k], param);
			}
			else
				is_close(mean, 0.0, 1e-6, "%s: the mean place has no bias", config.task[2 * k].name);
		}
	}
	is_close(worst, 0.0, 1e-5, "logits with a place stay");
	is_close(served, 0.0, 1e-5, "logits without one become those of the mean place");
}

/* ------------------------------------------------------------------------
 * Rejections
 * ------------------------------------------------------------------------ */

static void
test_bad_configs(void)
{
	static const char *const bad[][2] = {
		{"", "not a JSON object"},
		{"[]", "not a JSON object"},
		{"{" SIZES "}", "no \"item\""},
		{"{" ITEMS "}", "lacks \"hidden\""},
		{"{\"hidden\": 0, \"attention\": [6, 4], " ITEMS "}", "\"hidden\" must be"},
		{"{\"hidden\": 99999, \"attention\": [6, 4], " ITEMS "}", "\"hidden\" must be"},
		{"{\"hidden\": 5.5, \"attention\": [6, 4], " ITEMS "}", "\"hidden\" must be"},
		{"{\"hidden\": 5, \"attention\": [6], " ITEMS "}", "two widths"},
		{"{" SIZES ", \"hiden\": 5, " ITEMS "}", "unknown key \"hiden\""},
		{"{" SIZES ", \"recency\": 300, " ITEMS "}", "\"recency\""},
		{"{" SIZES ", \"bidirectional\": 1, " ITEMS "}", "true or false"},
		{"{" SIZES ", \"item\": [{\"name\": \"a\", \"vocab\": 3}]}", "lacks \"vocab\" or \"dim\""},
		{"{" SIZES ", \"item\": [{\"name\": \"a\", \"vocab\": 3000000000, \"dim\": 2}]}", "\"vocab\" of feature 1"},
		{"{" SIZES ", \"item\": [{\"name\": \"a\", \"vocab\": 3, \"dim\": 2}, {\"name\": \"a\", \"vocab\": 3, \"dim\": 2}]}", "two features"},
		{"{" SIZES ", " ITEMS ", \"property\": [{\"name\": \"a\", \"vocab\": 3, \"dim\": 2, \"use\": \"all\"}]}", "\"gates\", \"attention\""},
		{"{" SIZES ", " ITEMS ", \"context\": [{\"name\": \"a\", \"table\": \"b\"}]}", "names no item feature"},
		{"{" SIZES ", " ITEMS ", \"context\": [{\"name\": \"a\", \"dim\": 7, \"table\": \"id\"}]}", "differs in size"},
		{"{" SIZES ", \"item_encoding\": \"sum\", " ITEMS "}", "not as wide"},
		{"{" SIZES ", " ITEMS ", \"tasks\": [{\"name\": \"t\", \"kind\": \"guess\"}]}", "not \"guess\""},
		{"{" SIZES ", " ITEMS ", \"tasks\": [{\"kind\": \"rank\", \"features\": 2}]}", "task 1 lacks"},
		{"{" SIZES ", " ITEMS ", \"tasks\": [{\"name\": \"t\", \"kind\": \"rank\"}]}", "needs \"features\""},
		{"{" SIZES ", " ITEMS ", \"tasks\": [{\"name\": \"t\", \"kind\": \"multiclass\"}]}", "needs \"classes\""},
		{"{" SIZES ", " ITEMS ", \"tasks\": [{\"name\": \"t\", \"kind\": \"binary\", \"candidate\": [\"x\"], \"candidate_dim\": 2}]}", "names no item feature"},
		{"{" SIZES ", " ITEMS ", \"tasks\": [{\"name\": \"t\", \"kind\": \"binary\", \"candidate\": [\"id\"]}]}", "lacks \"candidate_dim\""},
		{"{" SIZES ", " ITEMS ", \"tasks\": [{\"name\": \"t\", \"kind\": \"binary\", \"weight\": -1}]}", "not negative"},
		{"{" SIZES ", " ITEMS ", \"tasks\": [{\"name\": \"t\", \"kind\": \"binary\"}, {\"name\": \"t\", \"kind\": \"binary\"}]}", "two tasks"},
		{"{" SIZES ", " ITEMS ", \"tasks\": [{\"name\": \"t\", \"kind\": \"binary\", \"things\": [\"id\"], \"candidate_dim\": 2}]}", "names no thing feature"},
		{"{" SIZES ", " ITEMS ", \"tasks\": [{\"name\": \"t\", \"kind\": \"binary\", \"things\": [\"x\"], \"candidate\": [\"id\"], \"candidate_dim\": 2}]}", "must come before \"things\""},
		{"{" SIZES ", " ITEMS ", \"tasks\": [{\"name\": \"t\", \"kind\": \"multiclass\", \"classes\": 2, \"position\": 3}]}", "takes no \"position\""},
		{"{" SIZES ", " ITEMS ", \"tasks\": [{\"name\": \"t\", \"kind\": \"next_item\", \"pairwise\": 0.5}]}", "takes no \"position\" or \"pairwise\""},
		{"{" SIZES ", " ITEMS ", \"tasks\": [{\"name\": \"t\", \"kind\": \"binary\", \"pairwise\": 1.5}]}", "at most 1"},
		{"{" SIZES ", " ITEMS ", \"tasks\": [{\"name\": \"t\", \"kind\": \"binary\", \"position\": 0}]}", "\"position\" of task 1"},
		{"{" SIZES ", " ITEMS ", " REPEAT "}", "needs \"recency\""},
		{"{" SIZES ", " ITEMS "} x", "not a JSON object"}
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
	{
		char		message[256] = "";
		nn_status	status = nn_config_parse(&config, bad[i][0], strlen(bad[i][0]), message, sizeof(message));

		if (!ok(status == NN_BAD_CONFIG && strstr(message, bad[i][1]), "configuration refused: %s", message))
			printf("# expected: %s\n", bad[i][1]);
	}
}

static void
refused(const char *what)
{
	ok(nn_batch_check(&config, &batch) == NN_BAD_BATCH, "batch refused: %s", what);
}

#define WITH(type, place, value, what) \
	do { \
		type	   *place_ = (type *) &(place); \
		type		saved_ = *place_; \
		*place_ = (value); \
		refused(what); \
		*place_ = saved_; \
	} while (0)

static void
test_bad_batches(void)
{
	nn_samples *next;

	set_up("{" SIZES ", " ITEMS ", " PROPERTIES ", " TIME ", " WHO ", " REPEAT "}");
	do
		random_batch(&config, 4, SAMPLED, &batch);
	while (batch.samples[0].extra_offsets[1] < 2 || batch.samples[0].hidden_offsets[1] < 1 ||
		   batch.samples[0].target_offsets[1] < 1 || batch.item[1].offsets[1] < 1);
	next = &batch.samples[0];
	ok(nn_batch_check(&config, &batch) == NN_OK, "the batch is fine as it is");
	WITH(int32_t, batch.item[0].values[0], 12, "an id beyond the vocabulary");
	WITH(int32_t, batch.item[0].values[0], -1, "a negative id");
	WITH(int32_t, batch.item[1].values[0], 6, "an id of a bag");
	WITH(int64_t, batch.item[1].offsets[1], 99, "offsets that fall");
	WITH(int64_t, batch.offsets[0], 1, "offsets that do not start at 0");
	WITH(int32_t, batch.view_sequence[0], 4, "a sequence that is not there");
	WITH(int32_t, batch.view_sequence[0], 2, "views out of order");
	WITH(int32_t, batch.view_length[0], 99, "a view longer than its sequence");
	WITH(int64_t, batch.view_offsets[1], batch.view_offsets[1] + 1, "offsets that do not add up");
	WITH(uint8_t, batch.recency[0], 4, "a recency bucket");
	WITH(uint8_t, batch.lag[0], 3, "a lag bucket");
	WITH(int32_t, batch.profile[0].values[0], 4, "a profile id");
	WITH(int32_t, batch.context[1].values[0], 12, "a context id in a shared table");
	WITH(int32_t, next->view[0], batch.views, "a view that is not there");
	WITH(float, next->weight[0], NAN, "a weight that is no number");
	WITH(int32_t, next->column[0].values[0], 12, "a column's id");
	WITH(float, next->log_q[0], INFINITY, "log_q");
	WITH(int32_t, next->target[0], next->columns, "a target beyond the columns");
	WITH(int32_t, next->target[0], next->hidden[0], "a target that is hidden");
	WITH(float, next->target_weight[0], -1.0f, "a negative target weight");
	WITH(int32_t, next->extra[0], 0, "an extra that is shared");
	WITH(int32_t, next->extra[0], next->extra[1], "an extra listed twice");
	WITH(int32_t, next->hidden[0], 7, "a hidden column that is not shared");
	WITH(int32_t, next->wide[0].param, 3 * 4 + 5, "a parameter beyond the repeat term");
	WITH(float, next->wide[0].value, NAN, "a wide value");
	WITH(int, next->shared, 13, "more shared columns than there are");

	set_up("{" SIZES ", " ITEMS ", " PLACES "}");
	random_batch(&config, 2, PAGES, &batch);
	ok(nn_batch_check(&config, &batch) == NN_OK, "the batch with places is fine as it is");
	WITH(int32_t, batch.samples[0].position[0], 3, "a place beyond the buckets");
	WITH(int32_t, batch.samples[0].position[0], -2, "a negative place");
	WITH(const int32_t *, batch.samples[0].group, NULL, "pairs without groups");
}

static void
test_choice(void)
{
	const char *kernels[NN_MAX_KERNELS];
	int			n = nn_kernels_available(kernels);

	ok(strcmp(kernels[0], "auto") == 0 && strcmp(kernels[n - 1], "default") == 0,
	   "kernels from the best to those of every machine");
	ok(nn_kernels_use("default") && strcmp(nn_kernels_name(), "default") == 0, "kernels are forced");
	ok(!nn_kernels_use("abacus") && strcmp(nn_kernels_name(), "default") == 0, "unknown kernels are refused");
	ok(nn_kernels_use("auto") && strcmp(nn_kernels_name(), kernels[1]) == 0, "the best are the default");
}

#define PER_KERNEL 289
#define OTHERS 97

int
main(void)
{
	const char *kernels[NN_MAX_KERNELS];
	int			n = nn_kernels_available(kernels);

	plan(PER_KERNEL * (n - 1) + OTHERS);
	for (int k = 1; k < n; k++)
	{
		ok(nn_kernels_use(kernels[k]), "kernels \"%s\"", kernels[k]);
		test_against_naive();
		test_kernels();
		test_products();
		test_serving("{" SIZES ", " ITEMS ", \"tasks\": [{\"name\": \"next\", \"kind\": \"next_item\"}]}");
		test_serving("{" SIZES ", " ITEMS_SUM ", \"tasks\": [{\"name\": \"next\", \"kind\": \"next_item\"}]}");
	}
	test_choice();
	test_given();
	test_memory();
	test_init();
	test_places();
	test_bad_configs();
	test_bad_batches();
	pool_free();
	return done();
}
