/*
 * test_optimizer.c
 *	  Steps against hand-computed values and naive references in double
 *
 * A small layout made by hand: a matrix, a bias, every name that L2 leaves
 * alone, an embedding of 6 rows and an item bias of 6.
 */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "nn/nn.h"
#include "tap.h"

#define FLOATS 64
#define ROWS 6

static nn_layout layout;
static float param[FLOATS], m[FLOATS], v[FLOATS], value[FLOATS];
static int64_t n_touched[2];
static int32_t rows0[ROWS], rows1[ROWS];
static int32_t *touched[2] = {rows0, rows1};
static uint8_t mark0[ROWS], mark1[ROWS];
static uint8_t *mark[2] = {mark0, mark1};
static nn_grad grad = {value, 2, n_touched, touched, mark};
static nn_optimizer optimizer;

/* The reference's own state. */
static double ref_param[FLOATS], ref_m[FLOATS], ref_v[FLOATS];

static void
add_tensor(const char *name, int64_t rows, int64_t cols, bool table)
{
	nn_tensor  *tensor = &layout.tensor[layout.n++];

	strcpy(tensor->name, name);
	tensor->rank = rows > 1 ? 2 : 1;
	tensor->rows = rows;
	tensor->cols = cols;
	tensor->offset = layout.floats;
	tensor->table = table;
	layout.floats += (size_t) (rows * cols);
	if (!table)
	{
		layout.dense_floats = layout.floats;
		layout.first_table = layout.n;
	}
}

static void
make_layout(void)
{
	add_tensor("lstm.weight_item", 4, 2, false);
	add_tensor("lstm.bias", 1, 4, false);
	add_tensor("attention.2.weight", 1, 2, false);
	add_tensor("attention.recency", 1, 2, false);
	add_tensor("attention.lag", 1, 2, false);
	add_tensor("task.weight.intercept", 1, 1, false);
	add_tensor("task.a.hidden.0.bias", 1, 1, false);
	add_tensor("task.a.output.weight", 1, 2, false);
	add_tensor("task.a.repeat.recency", 1, 2, false);
	add_tensor("task.a.repeat.count", 1, 2, false);
	add_tensor("item.id.embedding", ROWS, 3, true);
	add_tensor("task.a.item_bias.weight", ROWS, 1, true);
}

/* Does L2 pull at this float? */
static bool
decays(size_t i)
{
	return i < 8 || (i >= 12 && i < 14) || (i >= 20 && i < 22) || (i >= 26 && i < 44);
}

static bool
is_touched(size_t i)
{
	for (int k = 0; k < layout.n; k++)
		if (layout.tensor[k].frozen && i >= layout.tensor[k].offset &&
			i < layout.tensor[k].offset + (size_t) (layout.tensor[k].rows * layout.tensor[k].cols))
			return false;
	if (i < layout.dense_floats)
		return true;
	if (i < layout.dense_floats + 3 * ROWS)
		return mark0[(i - layout.dense_floats) / 3];
	return mark1[i - layout.dense_floats - 3 * ROWS];
}

static void
touch(int table, int32_t row)
{
	if (!mark[table][row])
	{
		mark[table][row] = 1;
		touched[table][n_touched[table]++] = row;
	}
}

static void
touch_nothing(void)
{
	memset(mark0, 0, sizeof(mark0));
	memset(mark1, 0, sizeof(mark1));
	n_touched[0] = n_touched[1] = 0;
}

static void
reset(nn_optimizer_kind kind, uint64_t seed)
{
	memset(&optimizer, 0, sizeof(optimizer));
	optimizer.kind = kind;
	optimizer.learning_rate = .1f;
	optimizer.beta1 = .9f;
	optimizer.beta2 = .999f;
	optimizer.epsilon = 1e-3f;	/* large, so that where it stands shows */
	optimizer.m = kind == NN_ADAM ? m : NULL;
	optimizer.v = v;
	memset(m, 0, sizeof(m));
	memset(v, 0, sizeof(v));
	memset(ref_m, 0, sizeof(ref_m));
	memset(ref_v, 0, sizeof(ref_v));
	memset(value, 0, sizeof(value));
	for (size_t i = 0; i < layout.floats; i++)
		ref_param[i] = param[i] = (float) nn_random_normal(&seed);
	touch_nothing();
}

static double
reference_norm(void)
{
	double		sum = 0;

	for (size_t i = 0; i < layout.floats; i++)
		if (is_touched(i))
			sum += (double) value[i] * value[i];
	return sqrt(sum);
}

/* The textbook, element by element. */
static void
reference_step(int step)
{
	double		norm = reference_norm();
	double		scale = optimizer.clip > 0 && norm > optimizer.clip ? optimizer.clip / norm : 1;
	double		beta1 = optimizer.beta1,
				beta2 = optimizer.beta2;

	for (size_t i = 0; i < layout.floats; i++)
	{
		double		g = scale * value[i];

		if (!is_touched(i))
			continue;
		if (decays(i))
			g += optimizer.l2 * ref_param[i];
		if (optimizer.kind == NN_ADAM)
		{
			ref_m[i] = beta1 * ref_m[i] + (1 - beta1) * g;
			ref_v[i] = beta2 * ref_v[i] + (1 - beta2) * g * g;
			ref_param[i] -= optimizer.learning_rate * (ref_m[i] / (1 - pow(beta1, step))) /
				(sqrt(ref_v[i] / (1 - pow(beta2, step))) + optimizer.epsilon);
		}
		else
		{
			ref_v[i] += g * g;
			ref_param[i] -= optimizer.learning_rate * g / (sqrt(ref_v[i]) + optimizer.epsilon);
		}
	}
}

static double
distance(void)
{
	double		most = 0;

	/* also true for a NaN, which then is no small distance */
	for (size_t i = 0; i < layout.floats; i++)
		if (!(fabs(param[i] - ref_param[i]) <= most))
			most = isnan(param[i]) ? INFINITY : fabs(param[i] - ref_param[i]);
	return most;
}

/* 30 steps with random gradients over random rows. */
static void
test_against_reference(nn_optimizer_kind kind, float l2, float clip, const char *what)
{
	uint64_t	random = 17;
	bool		all_ok = true,
				still = true,
				norms = true,
				kept = true;
	int			clipped = 0;

	reset(kind, 1);
	optimizer.l2 = l2;
	optimizer.clip = clip;
	for (int step = 1; step <= 30; step++)
	{
		float		before[4][FLOATS];
		float		norm = -1;

		touch_nothing();
		for (int k = 0; k < 3; k++)
		{
			touch(0, (int32_t) (nn_random_uniform(&random) * ROWS));
			touch(1, (int32_t) (nn_random_uniform(&random) * ROWS));
		}
		/* rows that are not listed hold garbage, which must not matter */
		for (size_t i = 0; i < layout.floats; i++)
			value[i] = is_touched(i) ? (float) nn_random_normal(&random) : NAN;
		memcpy(before[0], param, sizeof(param));
		memcpy(before[1], m, sizeof(m));
		memcpy(before[2], v, sizeof(v));
		memcpy(before[3], value, sizeof(value));
		clipped += clip > 0 && reference_norm() > clip;
		all_ok = all_ok && nn_optimizer_step(&optimizer, &layout, param, &grad, &norm) == NN_OK;
		norms = norms && fabs(norm - reference_norm()) < 1e-5;
		kept = kept && memcmp(before[3], value, sizeof(value)) == 0;
		reference_step(step);
		for (size_t i = 0; i < layout.floats; i++)
			if (!is_touched(i))
				still = still && before[0][i] == param[i] && before[1][i] == m[i] && before[2][i] == v[i];
	}
	ok(all_ok && optimizer.step == 30, "%s: 30 steps", what);
	ok(distance() < 5e-6, "%s: as the reference, distance %g", what, distance());
	ok(still, "%s: rows that were not touched did not move", what);
	ok(norms, "%s: the norm is the one before clipping", what);
	ok(kept, "%s: the gradient is as it was", what);
	if (clip > 0)
		ok(clipped > 3 && clipped < 30, "%s: %d of 30 steps were clipped", what, clipped);
}

static void
test_by_hand(void)
{
	/* the first step of Adam is lr * g / (|g| + eps), whatever the betas */
	reset(NN_ADAM, 2);
	param[0] = 1;
	value[0] = .5f;
	ok(nn_optimizer_step(&optimizer, &layout, param, &grad, NULL) == NN_OK, "the norm may be NULL");
	ok(fabs(param[0] - (1 - .1 * .5 / .501)) < 1e-6, "Adam's first step %.7f", param[0]);
	ok(fabs(m[0] - .05) < 1e-7 && fabs(v[0] - .00025) < 1e-8, "Adam's moments");

	/* second step, g = -0.25: m = .02 / .19, v = .00031225 / .001999 */
	value[0] = -.25f;
	param[0] = 1;
	(void) nn_optimizer_step(&optimizer, &layout, param, &grad, NULL);
	ok(fabs(param[0] - (1 - .1 * (.02 / .19) / (sqrt(.00031225 / .001999) + .001))) < 1e-6,
	   "Adam's second step %.7f", param[0]);

	reset(NN_ADAGRAD, 2);
	param[0] = 1;
	value[0] = 3;
	(void) nn_optimizer_step(&optimizer, &layout, param, &grad, NULL);
	value[0] = 4;
	(void) nn_optimizer_step(&optimizer, &layout, param, &grad, NULL);
	ok(fabs(v[0] - 25) < 1e-6 && fabs(param[0] - (1 - .1 * 3 / 3.001 - .1 * 4 / 5.001)) < 1e-6,
	   "two steps of AdaGrad %.7f", param[0]);
}

/* Lazy steps with every row listed are dense steps. */
static void
test_lazy_is_dense(nn_optimizer_kind kind)
{
	static nn_layout flat;
	static float flat_param[FLOATS], flat_m[FLOATS], flat_v[FLOATS];
	nn_optimizer other;
	nn_grad		all = {value, 0, NULL, NULL, NULL};
	uint64_t	random = 23;

	reset(kind, 3);
	optimizer.clip = 2;
	memcpy(flat_param, param, sizeof(param));
	memset(flat_m, 0, sizeof(flat_m));
	memset(flat_v, 0, sizeof(flat_v));
	other = optimizer;
	other.m = kind == NN_ADAM ? flat_m : NULL;
	other.v = flat_v;
	flat = layout;
	for (int i = 0; i < flat.n; i++)
		flat.tensor[i].table = false;
	flat.dense_floats = flat.floats;
	flat.first_table = flat.n;
	for (int32_t row = ROWS - 1; row >= 0; row--)
	{
		touch(0, row);
		touch(1, row);
	}
	for (int step = 0; step < 10; step++)
	{
		for (size_t i = 0; i < layout.floats; i++)
			value[i] = (float) nn_random_normal(&random);
		(void) nn_optimizer_step(&optimizer, &layout, param, &grad, NULL);
		(void) nn_optimizer_step(&other, &flat, flat_param, &all, NULL);
	}
	for (size_t i = 0; i < layout.floats; i++)
		ref_param[i] = flat_param[i];
	ok(distance() < 1e-6, "lazy with all rows equals dense");
}

static void
test_refusals(void)
{
	static const float bad[] = {NAN, INFINITY, -INFINITY, 1e25f};
	static const size_t where[] = {0, 25, 27, 46};
	float		before[3][FLOATS];
	bool		refused = true,
				unchanged = true;
	float		norm = 0;

	reset(NN_ADAM, 4);
	touch(0, 0);
	touch(1, 2);
	(void) nn_optimizer_step(&optimizer, &layout, param, &grad, NULL);
	memcpy(before[0], param, sizeof(param));
	memcpy(before[1], m, sizeof(m));
	memcpy(before[2], v, sizeof(v));
	for (int clip = 0; clip < 2; clip++)
		for (int i = 0; i < 3 + !clip; i++)
			for (int k = 0; k < 4; k++)
			{
				optimizer.clip = (float) clip;
				memset(value, 0, sizeof(value));
				value[1] = 1;
				value[where[k]] = bad[i];
				refused = refused &&
					nn_optimizer_step(&optimizer, &layout, param, &grad, &norm) == NN_NOT_FINITE;
				unchanged = unchanged && optimizer.step == 1 &&
					memcmp(before[0], param, sizeof(param)) == 0 &&
					memcmp(before[1], m, sizeof(m)) == 0 && memcmp(before[2], v, sizeof(v)) == 0;
			}
	ok(refused, "a gradient that is not finite is refused, wherever it stands");
	ok(unchanged, "and nothing has changed");
	ok(norm > 1e24f || !isfinite(norm), "the norm says so");

	/* the same size is no harm once clipped */
	memset(value, 0, sizeof(value));
	value[0] = 1e25f;
	optimizer.clip = 1;
	ok(nn_optimizer_step(&optimizer, &layout, param, &grad, &norm) == NN_OK && isfinite(param[0]) &&
	   isfinite(v[0]) && v[0] > before[2][0], "a huge gradient is clipped");
	ok(optimizer.step == 2, "steps are counted");

	/* exactly at the limit nothing is scaled */
	reset(NN_ADAGRAD, 5);
	optimizer.clip = 5;
	value[0] = 3;
	value[1] = 4;
	(void) nn_optimizer_step(&optimizer, &layout, param, &grad, &norm);
	ok(norm == 5 && v[0] == 9 && v[1] == 16, "a gradient as long as the limit is not clipped");
	value[0] = 30;
	value[1] = 40;
	(void) nn_optimizer_step(&optimizer, &layout, param, &grad, &norm);
	ok(norm == 50 && fabs(v[0] - 18) < 1e-5 && fabs(v[1] - 32) < 1e-5, "a longer one is scaled to it");
}

/* With a zero gradient only L2 moves, and only where it may. */
static void
test_l2(void)
{
	bool		pulled = true,
				left = true;

	reset(NN_ADAGRAD, 6);
	optimizer.l2 = .01f;
	for (size_t i = 0; i < layout.floats; i++)
		ref_param[i] = param[i] = 1;
	touch(0, 1);
	touch(0, 5);
	touch(1, 1);
	(void) nn_optimizer_step(&optimizer, &layout, param, &grad, NULL);
	for (size_t i = 0; i < layout.floats; i++)
	{
		if (is_touched(i) && decays(i))
			pulled = pulled && param[i] < 1;
		else
			left = left && param[i] == 1;
	}
	ok(pulled, "L2 pulls at weights and touched embeddings");
	ok(left, "L2 leaves biases and other rows alone");
}

/* What a frozen tensor's gradient holds must not matter. */
static void
test_frozen(void)
{
	static const int frozen[] = {0, 3, 4, 9, 10};

	for (int i = 0; i < 5; i++)
		layout.tensor[frozen[i]].frozen = true;
	test_against_reference(NN_ADAM, .05f, 4, "Adam with frozen tensors");
	for (int i = 0; i < 5; i++)
		layout.tensor[frozen[i]].frozen = false;
}

int
main(void)
{
	plan(49);
	make_layout();
	test_by_hand();
	test_against_reference(NN_ADAM, 0, 0, "Adam");
	test_against_reference(NN_ADAM, .05f, 0, "Adam with L2");
	test_against_reference(NN_ADAM, .05f, 5.8f, "Adam with L2, clipped");
	test_against_reference(NN_ADAGRAD, 0, 0, "AdaGrad");
	test_against_reference(NN_ADAGRAD, .05f, 5.8f, "AdaGrad with L2, clipped");
	test_lazy_is_dense(NN_ADAM);
	test_lazy_is_dense(NN_ADAGRAD);
	test_refusals();
	test_l2();
	test_frozen();
	return done();
}
