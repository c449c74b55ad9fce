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

#include "layers.h"
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
		add_field(fields, config, layout, NN_ITEM, task->candidate[k], k, false);
}

void
nn_gather(const nn_layout *layout, const float *param, const nn_fields *fields,
		  const nn_ids *ids, const int64_t *map, int64_t n, float *out, int ld)
{
	for (int64_t i = 0; i < n; i++)
	{
		int64_t		row = map ? map[i] : i;
		float	   *y = out + i * ld;

		memset(y, 0, fields->width * sizeof(float));
		for (int k = 0; k < fields->n; k++)
		{
			const nn_tensor *table = &layout->tensor[fields->table[k]];
			const int32_t *id;
			int64_t		bag = nn_bag(&ids[fields->source[k]], row, &id);

			for (int64_t j = 0; j < bag; j++)
				nn_vector_axpy(table->cols, 1.0f, param + table->offset + id[j] * table->cols,
							   y + fields->at[k]);
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

		for (int k = 0; k < fields->n; k++)
		{
			int			table = fields->table[k];
			const int32_t *id;
			int64_t		bag = nn_bag(&ids[fields->source[k]], row, &id);

			for (int64_t j = 0; j < bag; j++)
				nn_vector_axpy(layout->tensor[table].cols, 1.0f, d + i * ld + fields->at[k],
							   nn_grad_row(layout, grad, table, id[j]));
		}
	}
}

void
nn_dropout_apply(const nn_dropout *dropout, float rate, uint64_t stream,
				 uint64_t first, size_t n, float *x)
{
	float		keep = 1.0f - rate;
	uint64_t	key = dropout->seed ^ stream * UINT64_C(0xD1342543DE82EF95);
	uint32_t	threshold;

	if (rate <= 0.0f)
		return;
	threshold = keep > 0.0f ? (uint32_t) ((double) keep * UINT32_MAX) : 0;
	for (size_t j = 0; j < n; j++)
	{
		/* splitmix64 at a place of its own: any element without those before it */
		uint64_t	state = key + (first + j) * UINT64_C(0x9E3779B97F4A7C15);

		x[j] = (uint32_t) (nn_random_u64(&state) >> 32) < threshold ? x[j] / keep : 0.0f;
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
