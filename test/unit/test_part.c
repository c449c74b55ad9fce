/*
 * test_part.c
 *	  Steps by several processes equal steps by one
 *
 * The processes are turns of a loop: each phase is run for all ranks before the
 * next one begins, in an order that must not matter.
 */
#include <stdlib.h>
#include <string.h>

#include "nn/arena.h"
#include "nn/layers.h"
#include "pool.h"
#include "tap.h"

#define MOST 5
#define STEPS 20

static nn_layout layout;
static uint64_t state = 7;

static void
add_tensor(const char *name, int64_t rows, int64_t cols, bool table)
{
	nn_tensor  *tensor = &layout.tensor[layout.n++];

	strcpy(tensor->name, name);
	tensor->rank = 2;
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
make_grad(nn_grad *grad)
{
	nn_arena	arena = {0};

	(void) nn_grad_make(grad, &layout, &arena);
	arena.base = pool_take(arena.used);
	arena.size = arena.used;
	arena.used = 0;
	(void) nn_grad_make(grad, &layout, &arena);
}

static void
make_part(nn_part *part, int rank, int n)
{
	nn_arena	arena = {0};

	(void) nn_part_make(part, &layout, rank, n, &arena);
	arena.base = pool_take(arena.used);
	arena.size = arena.used;
	arena.used = 0;
	(void) nn_part_make(part, &layout, rank, n, &arena);
}

static float *
zeros(void)
{
	return memset(pool_take(layout.floats * sizeof(float)), 0, layout.floats * sizeof(float));
}

static nn_optimizer
make_optimizer(nn_optimizer_kind kind, float clip)
{
	return (nn_optimizer) {.kind = kind,.learning_rate = .01f,.beta1 = .9f,.beta2 = .999f,.epsilon = 1e-8f,
		.l2 = .01f,.clip = clip,.m = zeros(),.v = zeros()
	};
}

/* Dense everywhere, and some rows of each table, the first ones always. */
static void
draw(nn_grad *grad, nn_grad *whole)
{
	for (size_t i = 0; i < layout.dense_floats; i++)
	{
		grad->value[i] = (float) nn_random_normal(&state);
		whole->value[i] += grad->value[i];
	}
	for (int t = layout.first_table; t < layout.n; t++)
		for (int32_t row = 0; row < layout.tensor[t].rows; row++)
			if (row < 3 || nn_random_uniform(&state) < .3)
			{
				float	   *own = nn_grad_row(&layout, grad, t, row);
				float	   *sum = nn_grad_row(&layout, whole, t, row);

				for (int64_t c = 0; c < layout.tensor[t].cols; c++)
				{
					own[c] = (float) nn_random_normal(&state);
					sum[c] += own[c];
				}
			}
}

static bool
is_clear(const nn_grad *grad)
{
	bool		clear = true;

	for (size_t i = 0; i < layout.floats; i++)
		clear = clear && grad->value[i] == 0;
	for (int t = 0; t < grad->n_tables; t++)
	{
		clear = clear && grad->n_touched[t] == 0;
		for (int64_t row = 0; row < layout.tensor[layout.first_table + t].rows; row++)
			clear = clear && grad->mark[t][row] == 0;
	}
	return clear;
}

static void
test_steps(nn_optimizer_kind kind, int n, float clip)
{
	nn_optimizer one = make_optimizer(kind, clip);
	nn_optimizer shared = make_optimizer(kind, clip);
	nn_optimizer optimizer[MOST];
	nn_grad		whole,
				grad[MOST];
	nn_part		part[MOST];
	float	   *want = zeros(),
			   *got = zeros();
	double		error = 0;
	bool		clear = true,
				frozen = true;

	make_grad(&whole);
	for (int k = 0; k < n; k++)
	{
		optimizer[k] = shared;
		make_grad(&grad[k]);
		make_part(&part[k], k, n);
	}
	for (int step = 0; step < STEPS; step++)
	{
		double		squares = 0;

		for (int k = 0; k < n; k++)
			draw(&grad[k], &whole);
		for (int k = n - 1; k >= 0; k--)
			squares += nn_part_add(&part[k], &layout, grad);
		for (int k = n - 1; k >= 0; k--)
		{
			(void) nn_part_step(&optimizer[k], &part[k], &layout, got, grad, squares);
			nn_part_clear(&part[k], &layout, &grad[k]);
		}
		(void) nn_optimizer_step(&one, &layout, want, &whole, NULL);
		nn_grad_clear(&whole, &layout);
		for (int k = 0; k < n; k++)
			clear = clear && is_clear(&grad[k]);
	}
	for (size_t i = 0; i < layout.floats; i++)
		error = worse(error, fabs((double) got[i] - want[i]) / (fabs((double) want[i]) + 1e-3));
	is_close(error, 0, clip > 0 ? 1e-5 : 0, "%d processes, %s%s", n, kind == NN_ADAM ? "Adam" : "AdaGrad",
			 clip > 0 ? ", clipped" : "");
	ok(clear, "and leave no gradient behind");
	ok(optimizer[n - 1].step == STEPS, "in as many steps");
	for (int i = 0; i < layout.n; i++)
		for (int64_t k = 0; k < layout.tensor[i].rows * layout.tensor[i].cols; k++)
			frozen = frozen && (!layout.tensor[i].frozen || got[layout.tensor[i].offset + k] == 0);
	ok(frozen, "and frozen tensors stay");
}

/* Rows that are frozen stay and count for nothing, whoever meets them; the others move. */
static void
test_frozen_rows(int n)
{
	nn_optimizer shared = make_optimizer(NN_ADAM, 1);
	nn_optimizer optimizer[MOST];
	nn_grad		grad[MOST],
				ignored;
	nn_part		part[MOST];
	float	   *param = zeros();
	int			table = layout.first_table;
	int64_t		cols = layout.tensor[table].cols;
	double		squares = 0,
				want = 0;
	int64_t		moved = 0,
				kept = 0;

	make_grad(&ignored);
	for (int k = 0; k < n; k++)
	{
		optimizer[k] = shared;
		make_grad(&grad[k]);
		make_part(&part[k], k, n);
		for (int32_t row = 1; row < 1000; row += 2)
			nn_grad_freeze(&layout, &grad[k], table, row);
	}
	for (int step = 0; step < 2; step++)
	{
		squares = 0;
		for (int k = 0; k < n; k++)
			draw(&grad[k], &ignored);
		for (int k = 0; k < n; k++)
			squares += nn_part_add(&part[k], &layout, grad);
		want = 0;
		for (size_t i = 0; i < layout.floats; i++)
		{
			size_t		at = i - layout.tensor[table].offset;

			if (i < layout.tensor[table].offset || at >= (size_t) (1000 * cols) || at / (size_t) cols % 2 == 0)
				want += (double) grad[0].value[i] * grad[0].value[i];
		}
		for (int k = 0; k < n; k++)
		{
			(void) nn_part_step(&optimizer[k], &part[k], &layout, param, grad, squares);
			nn_part_clear(&part[k], &layout, &grad[k]);
		}
	}
	is_close(squares / want, 1, 1e-6, "%d processes: frozen rows are not in the norm", n);
	for (int64_t row = 0; row < 1000; row++)
		for (int64_t c = 0; c < cols; c++)
			if (param[layout.tensor[table].offset + (size_t) (row * cols + c)] != 0)
			{
				moved += row % 2 == 0;
				kept -= row % 2;
			}
	ok(kept == 0 && moved > 500, "frozen rows stay, others move");
}

/* Nobody moves anything when the gradient is not finite. */
static void
test_refusal(void)
{
	nn_optimizer optimizer = make_optimizer(NN_ADAM, 1);
	nn_grad		grad[2];
	nn_part		part[2];
	float	   *param = zeros();
	double		squares = 0;
	bool		moved = false;

	for (int k = 0; k < 2; k++)
	{
		make_grad(&grad[k]);
		make_part(&part[k], k, 2);
		grad[k].value[0] = 1;
	}
	grad[1].value[layout.dense_floats - 1] = INFINITY;
	for (int k = 0; k < 2; k++)
		squares += nn_part_add(&part[k], &layout, grad);
	for (int k = 0; k < 2; k++)
		ok(nn_part_step(&optimizer, &part[k], &layout, param, grad, squares) == NN_NOT_FINITE,
		   "rank %d refuses a gradient that is not finite", k);
	for (size_t i = 0; i < layout.floats; i++)
		moved = moved || param[i] != 0;
	ok(!moved, "and moves nothing");
}

int
main(void)
{
	plan(4 * 8 + 3 + 4);
	add_tensor("lstm.weight_item", 7, 13, false);
	add_tensor("lstm.bias", 1, 9, false);
	add_tensor("item.id.embedding", 1000, 5, true);
	add_tensor("item.small.embedding", 3, 4, true);
	add_tensor("task.a.item_bias.id", 1000, 1, true);
	test_steps(NN_ADAM, 1, 0);
	test_steps(NN_ADAM, 2, 0);
	test_steps(NN_ADAM, 3, 0);
	test_steps(NN_ADAM, 5, 0);
	test_steps(NN_ADAGRAD, 2, 0);
	test_steps(NN_ADAM, 2, 1);
	test_steps(NN_ADAGRAD, 3, 1);
	layout.tensor[1].frozen = layout.tensor[2].frozen = true;
	test_steps(NN_ADAM, 3, 1);
	layout.tensor[1].frozen = layout.tensor[2].frozen = false;
	test_frozen_rows(1);
	test_frozen_rows(3);
	test_refusal();
	pool_free();
	return done();
}
