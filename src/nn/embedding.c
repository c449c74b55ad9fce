/*-------------------------------------------------------------------------
 *
 * embedding.c
 *	  From ids to encodings, and gradients back to table rows
 *
 * A feature's encoding is the sum of its ids' rows, a group's the
 * concatenation (items also: the sum) of its features (NETWORK.md, Inputs).
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "arena.h"
#include "layers.h"
#include "product.h"
#include "vector.h"

static void
add_field(nn_fields *fields, const nn_config *config, const nn_layout *layout,
		  nn_group group, int feature, int source, bool sum)
{
	int			dim = config->feature[group][feature].dim;
	int			k = fields->n++;

	fields->source[k] = source;
	fields->table[k] = layout->table[group][feature];
	fields->at[k] = sum ? 0 : fields->width;
	fields->width = sum ? dim : fields->width + dim;
}

void
nn_group_fields(const nn_config *config, const nn_layout *layout,
				nn_group group, int use, nn_fields *fields)
{
	fields->n = 0;
	fields->width = 0;
	for (int f = 0; f < config->n_feature[group]; f++)
		if (group != NN_PROPERTY || (config->feature[group][f].use & use) != 0)
			add_field(fields, config, layout, group, f, f, group == NN_ITEM && config->item_sum);
}

void
nn_candidate_fields(const nn_config *config, const nn_layout *layout,
					const nn_task *task, nn_fields *fields)
{
	fields->n = 0;
	fields->width = 0;
	for (int k = 0; k < task->n_candidate; k++)
	{
		int			c = task->candidate[k];

		add_field(fields, config, layout, NN_IS_THING(c) ? NN_THING : NN_ITEM, c % NN_MAX_FEATURES, k, false);
	}
}

bool
nn_fields_move(const nn_layout *layout, const nn_fields *fields)
{
	for (int k = 0; k < fields->n; k++)
		if (!layout->tensor[fields->table[k]].frozen)
			return true;
	return false;
}

/* The rows of tables that row `row` will need. */
static void
prefetch_row(const nn_layout *layout, const float *base, const nn_fields *fields,
			 const nn_ids *ids, int64_t row)
{
	for (int k = 0; k < fields->n; k++)
	{
		const nn_tensor *table = &layout->tensor[fields->table[k]];
		const int32_t *id;
		int64_t		bag = nn_bag(&ids[fields->source[k]], row, &id);

		for (int64_t j = 0; j < bag; j++)
			nn_prefetch(base + table->offset + id[j] * table->cols, table->cols);
	}
}

void
nn_gather(const nn_layout *layout, const float *param, const nn_fields *fields,
		  const nn_ids *ids, const int64_t *map, int64_t n, float *out, int ld)
{
	for (int64_t i = 0; i < n; i++)
	{
		int64_t		row = map ? map[i] : i;
		float	   *y = out + i * ld;

		if (i + NN_AHEAD < n)
			prefetch_row(layout, param, fields, ids, map ? map[i + NN_AHEAD] : i + NN_AHEAD);
		for (int k = 0; k < fields->n; k++)
		{
			const nn_tensor *table = &layout->tensor[fields->table[k]];
			const float *base = param + table->offset;
			float	   *to = y + fields->at[k];
			const int32_t *id;
			int64_t		bag = nn_bag(&ids[fields->source[k]], row, &id);
			int64_t		j = 0;

			/* of what several features are summed in, the first one clears */
			if (k == 0 || to != y)
			{
				if (bag == 0)
					memset(to, 0, table->cols * sizeof(float));
				else
					memcpy(to, base + id[j++] * table->cols, table->cols * sizeof(float));
			}
			for (; j < bag; j++)
				nn_vector_axpy(table->cols, 1.0f, base + id[j] * table->cols, to);
		}
	}
}

void
nn_scatter(const nn_layout *layout, nn_grad *grad, const nn_fields *fields,
		   const nn_ids *ids, const int64_t *map, int64_t n, const float *d, int ld)
{
	for (int64_t i = 0; i < n; i++)
	{
		int64_t		row = map ? map[i] : i;

		if (i + NN_AHEAD < n)
			prefetch_row(layout, grad->value, fields, ids, map ? map[i + NN_AHEAD] : i + NN_AHEAD);
		for (int k = 0; k < fields->n; k++)
		{
			int			table = fields->table[k];
			const int32_t *id;
			int64_t		bag = layout->tensor[table].frozen ? 0 : nn_bag(&ids[fields->source[k]], row, &id);

			for (int64_t j = 0; j < bag; j++)
				nn_vector_axpy(layout->tensor[table].cols, 1.0f, d + i * ld + fields->at[k],
							   nn_grad_row(layout, grad, table, id[j]));
		}
	}
}

/* ------------------------------------------------------------------------
 * Projected properties
 * ------------------------------------------------------------------------ */

static int64_t
ids_count(const nn_ids *ids, int64_t n)
{
	return n == 0 ? 0 : ids->offsets ? ids->offsets[n] : n;
}

void
nn_projected_carve(const nn_run *run, const nn_ids *ids, int use, int64_t n, int width,
				   nn_arena *arena, nn_projected *projected)
{
	int64_t		rows = 0;

	nn_group_fields(run->config, run->layout, NN_PROPERTY, use, &projected->fields);
	projected->width = width;
	for (int k = 0; k < projected->fields.n; k++)
	{
		const nn_tensor *table = &run->layout->tensor[projected->fields.table[k]];
		int64_t		most = ids_count(&ids[projected->fields.source[k]], n);

		most = most < table->rows ? most : table->rows;
		projected->row[k] = nn_arena_alloc(arena, (size_t) table->rows, sizeof(int32_t));
		projected->id[k] = nn_arena_alloc(arena, (size_t) most, sizeof(int32_t));
		projected->encoding[k] = nn_arena_floats(arena, (size_t) most, (size_t) table->cols);
		projected->first[k] = rows;
		rows += most;
	}
	projected->value = nn_arena_floats(arena, (size_t) rows, (size_t) width);
	projected->gradient = run->backward ? nn_arena_floats(arena, (size_t) rows, (size_t) width) : NULL;
	projected->first[projected->fields.n] = rows;
}

/* Number the ids that occur, and copy their rows. */
static void
find_rows(const nn_run *run, const nn_ids *ids, int64_t n, int k, nn_projected *projected)
{
	const nn_tensor *table = &run->layout->tensor[projected->fields.table[k]];
	const int32_t *values = ids[projected->fields.source[k]].values;
	int64_t		count = ids_count(&ids[projected->fields.source[k]], n);
	int32_t		rows = 0;

	memset(projected->row[k], 0xff, (size_t) table->rows * sizeof(int32_t));
	for (int64_t j = 0; j < count; j++)
		if (projected->row[k][values[j]] < 0)
		{
			memcpy(projected->encoding[k] + rows * table->cols,
				   run->param + table->offset + values[j] * table->cols, (size_t) table->cols * sizeof(float));
			projected->id[k][rows] = values[j];
			projected->row[k][values[j]] = rows++;
		}
	projected->rows[k] = rows;
}

nn_status
nn_projected_forward(const nn_run *run, const nn_ids *ids, int64_t n,
					 const float *weight, int ld, nn_projected *projected)
{
	for (int k = 0; k < projected->fields.n; k++)
	{
		int			dim = (int) run->layout->tensor[projected->fields.table[k]].cols;

		find_rows(run, ids, n, k, projected);
		NN_TRY(nn_product(run, NN_ABT, projected->rows[k], projected->width, dim, projected->encoding[k], dim,
						  weight + projected->fields.at[k], ld, false,
						  projected->value + projected->first[k] * projected->width, projected->width));
		if (run->backward)
			memset(projected->gradient + projected->first[k] * projected->width, 0,
				   (size_t) projected->rows[k] * projected->width * sizeof(float));
	}
	return NN_OK;
}

void
nn_projected_add(const nn_projected *projected, const nn_ids *ids, int64_t event,
				 int begin, int n, float *y)
{
	const float *row[NN_MAX_BAG];
	int			rows = 0;

	for (int k = 0; k < projected->fields.n; k++)
	{
		const int32_t *id;
		int64_t		bag = nn_bag(&ids[projected->fields.source[k]], event, &id);

		for (int64_t j = 0; j < bag; j++)
		{
			if (rows == NN_MAX_BAG)
			{
				nn_step_add_rows(n, rows, row, y);
				rows = 0;
			}
			row[rows++] = projected->value +
				(projected->first[k] + projected->row[k][id[j]]) * projected->width + begin;
		}
	}
	nn_step_add_rows(n, rows, row, y);
}

void
nn_projected_collect(const nn_projected *projected, const nn_ids *ids, int64_t event,
					 int begin, int n, const float *d)
{
	for (int k = 0; k < projected->fields.n; k++)
	{
		const int32_t *id;
		int64_t		bag = nn_bag(&ids[projected->fields.source[k]], event, &id);

		for (int64_t j = 0; j < bag; j++)
			nn_vector_axpy(n, 1.0f, d, projected->gradient +
						   (projected->first[k] + projected->row[k][id[j]]) * projected->width + begin);
	}
}

nn_status
nn_projected_backward(const nn_run *run, const float *weight, int ld, float *d_weight,
					  const nn_projected *projected, nn_grad *grad)
{
	for (int k = 0; k < projected->fields.n; k++)
	{
		int			tensor = projected->fields.table[k];
		int			dim = (int) run->layout->tensor[tensor].cols;
		int			at = projected->fields.at[k];
		int			width = projected->width;
		int32_t		rows = projected->rows[k];
		float	   *encoding = projected->encoding[k];
		const float *d = projected->gradient + projected->first[k] * width;

		NN_TRY(nn_product(run, NN_ATB, width, dim, rows, d, width, encoding, dim, true, d_weight + at, ld));
		/* the encodings are done with: their gradient takes their place */
		NN_TRY(nn_product(run, NN_AB, rows, dim, width, d, width, weight + at, ld, false, encoding, dim));
		for (int32_t i = 0; i < rows; i++)
			nn_vector_axpy(dim, 1.0f, encoding + i * dim,
						   nn_grad_row(run->layout, grad, tensor, projected->id[k][i]));
	}
	return NN_OK;
}

/* ------------------------------------------------------------------------
 * Dropout, and one item
 * ------------------------------------------------------------------------ */

void
nn_dropout_apply(const nn_dropout *dropout, float rate, uint64_t stream,
				 uint64_t first, size_t n, float *x)
{
	float		keep = 1.0f - rate;
	int32_t		threshold = keep > 0.0f ? (int32_t) (keep * 0x1p24f) : 0;

	if (rate <= 0.0f)
		return;
	while (n > 0)
	{
		/* places count to 2^32 under one key */
		uint64_t	key = (dropout->seed ^ stream * UINT64_C(0xD1342543DE82EF95)) + (first >> 32);
		uint64_t	left = (UINT64_C(1) << 32) - (uint32_t) first;
		size_t		part = n < left ? n : (size_t) left;

		nn_step_dropout(part, (uint32_t) (nn_random_u64(&key) >> 32), (uint32_t) first, threshold,
						keep > 0.0f ? 1.0f / keep : 0.0f, x);
		first += part;
		x += part;
		n -= part;
	}
}

void
nn_item_encode(const nn_config *config, const nn_layout *layout, const float *param,
			   const nn_ids *item, int64_t row, float *e)
{
	nn_fields	fields;

	nn_group_fields(config, layout, NN_ITEM, NN_USE_BOTH, &fields);
	nn_gather(layout, param, &fields, item, &row, 1, e, fields.width);
}
