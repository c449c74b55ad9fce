/*-------------------------------------------------------------------------
 *
 * part.c
 *	  One step by several processes
 *
 * Every float of the parameters belongs to the part of one rank, who alone
 * adds up its gradients and moves it.  Sums go by rank, whoever is faster, so
 * that a step's outcome depends on the number of processes alone.
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "arena.h"
#include "layers.h"
#include "vector.h"

/* Rows of a table that lie together belong together: no cache line of a narrow
 * table is written by two processes, but for the ends of a run. */
#define RUN_ROWS 64

static bool
is_mine(const nn_part *part, int32_t row)
{
	return row / RUN_ROWS % part->n == part->rank;
}

nn_status
nn_part_make(nn_part *part, const nn_layout *layout, int rank, int n, nn_arena *arena)
{
	nn_part		made = {.rank = rank,.n = n};

	made.n_tables = layout->n - layout->first_table;
	made.begin = layout->dense_floats * (size_t) rank / (size_t) n;
	made.end = layout->dense_floats * (size_t) (rank + 1) / (size_t) n;
	made.n_touched = nn_arena_alloc(arena, made.n_tables, sizeof(int64_t));
	made.touched = nn_arena_alloc(arena, made.n_tables, sizeof(int32_t *));
	for (int i = 0; i < made.n_tables; i++)
	{
		int32_t    *touched = nn_arena_alloc(arena, (size_t) layout->tensor[layout->first_table + i].rows,
											 sizeof(int32_t));

		if (touched != NULL)
			made.touched[i] = touched;
	}
	*part = made;
	return nn_arena_counts(arena) ? NN_OK : nn_arena_check(arena);
}

/* Rows that grad[0] lacks are marked there, so that each is listed once. */
static void
add_table(nn_part *part, const nn_tensor *table, int i, nn_grad *grad)
{
	part->n_touched[i] = 0;
	for (int k = 0; k < part->n; k++)
		for (int64_t j = 0; j < grad[k].n_touched[i]; j++)
		{
			int32_t		row = grad[k].touched[i][j];
			size_t		at = table->offset + (size_t) row * table->cols;

			if (!is_mine(part, row))
				continue;
			if (k == 0 || !grad[0].mark[i][row])
			{
				grad[0].mark[i][row] = 1;
				part->touched[i][part->n_touched[i]++] = row;
			}
			if (k > 0)
				nn_vector_axpy(table->cols, 1.0f, grad[k].value + at, grad[0].value + at);
		}
}

double
nn_part_add(nn_part *part, const nn_layout *layout, nn_grad *grad)
{
	for (int k = 1; k < part->n; k++)
		nn_vector_axpy((int64_t) (part->end - part->begin), 1.0f, grad[k].value + part->begin,
					   grad[0].value + part->begin);
	for (int i = 0; i < part->n_tables; i++)
		add_table(part, &layout->tensor[layout->first_table + i], i, grad);
	return nn_optimizer_squares(layout, grad[0].value, part->begin, part->end, part->n_touched, part->touched);
}

nn_status
nn_part_step(nn_optimizer *optimizer, const nn_part *part, const nn_layout *layout,
			 float *param, nn_grad *grad, double squares)
{
	NN_TRY(nn_optimizer_apply(optimizer, layout, param, grad[0].value, squares, part->begin, part->end,
							  part->n_touched, part->touched));
	memset(grad[0].value + part->begin, 0, (part->end - part->begin) * sizeof(float));
	for (int i = 0; i < part->n_tables; i++)
	{
		const nn_tensor *table = &layout->tensor[layout->first_table + i];

		for (int64_t k = 0; k < part->n_touched[i]; k++)
		{
			size_t		row = (size_t) part->touched[i][k];

			memset(grad[0].value + table->offset + row * table->cols, 0, table->cols * sizeof(float));
			grad[0].mark[i][row] = 0;
		}
	}
	return NN_OK;
}

void
nn_part_clear(const nn_part *part, const nn_layout *layout, nn_grad *own)
{
	if (part->rank > 0)
		nn_grad_clear(own, layout);
	else
		memset(own->n_touched, 0, (size_t) part->n_tables * sizeof(int64_t));
}
