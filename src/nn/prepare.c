/*-------------------------------------------------------------------------
 *
 * prepare.c
 *	  Weights in the order in which serving reads them (panel.c, prepare.h)
 *
 * The one list of what there is, nn_prepared_map, is walked for the size, for
 * writing and for reading.
 *
 *-------------------------------------------------------------------------
 */
#include "prepare.h"

#include <string.h>

#include "arena.h"

/* ------------------------------------------------------------------------
 * What lies where
 * ------------------------------------------------------------------------ */

/* The next count floats, from a multiple of 64 bytes on; NULL when only counting. */
static const float *
take(const void *base, size_t *used, size_t count)
{
	const char *here = base ? (const char *) base + *used : NULL;

	*used += (count * sizeof(float) + NN_ALIGN - 1) / NN_ALIGN * NN_ALIGN;
	return (const float *) here;
}

static bool
is_projected(const nn_config *config, nn_group group, int feature)
{
	return config->feature[group][feature].vocab <= NN_PROJECTED_ROWS;
}

/* Take a group's projected features out of fields, without a gap unless they are added up. */
static void
split(const nn_config *config, nn_group group, const void *base, size_t *used, int width,
	  nn_fields *fields, nn_prepared_features *features)
{
	bool		sum = (group == NN_ITEM && config->item_sum);
	nn_fields	all = *fields;

	fields->n = 0;
	fields->width = 0;
	for (int k = 0; k < all.n; k++)
	{
		int			feature = all.source[k];
		int			dim = config->feature[group][feature].dim;

		if (is_projected(config, group, feature))
		{
			features->group[features->n] = group;
			features->feature[features->n] = feature;
			features->projected[features->n++] =
				take(base, used, (size_t) config->feature[group][feature].vocab * width);
			continue;
		}
		fields->source[fields->n] = feature;
		fields->table[fields->n] = all.table[k];
		fields->at[fields->n++] = sum ? 0 : fields->width;
		fields->width = sum ? dim : fields->width + dim;
	}
}

size_t
nn_prepared_map(const nn_config *config, const nn_layout *layout, const void *base, nn_prepared *prepared)
{
	size_t		H = (size_t) config->hidden,
				HP = (size_t) nn_lstm_panels(config->hidden) * NN_PANEL,
				A1P = (size_t) nn_panels(config->attention[0]) * NN_PANEL,
				A2P = (size_t) nn_panels(config->attention[1]) * NN_PANEL;
	nn_prepared_features *features;
	size_t		used = 0;

	for (int d = 0; d < (config->bidirectional ? 2 : 1); d++)
	{
		nn_prepared_lstm *lstm = &prepared->lstm[d];

		features = &lstm->features;
		features->n = 0;
		nn_group_fields(config, layout, NN_ITEM, NN_USE_BOTH, &features->item);
		split(config, NN_ITEM, base, &used, (int) HP, &features->item, features);
		nn_group_fields(config, layout, NN_PROPERTY, NN_USE_GATES, &features->property);
		split(config, NN_PROPERTY, base, &used, (int) HP, &features->property, features);
		lstm->bias = take(base, &used, HP);
		lstm->input = take(base, &used, HP * (size_t) (features->item.width + features->property.width));
		lstm->recurrent = take(base, &used, HP * H);
		lstm->half = take(base, &used, HP * ((H + 1) / 2));
	}

	features = &prepared->attention;
	features->n = 0;
	features->item.n = features->item.width = 0;
	nn_group_fields(config, layout, NN_PROPERTY, NN_USE_ATTENTION, &features->property);
	split(config, NN_PROPERTY, base, &used, (int) A1P, &features->property, features);
	prepared->attention_bias[0] = take(base, &used, A1P);
	prepared->attention_bias[1] = take(base, &used, A2P);
	prepared->attention_property = take(base, &used, A1P * (size_t) features->property.width);
	prepared->attention_state = take(base, &used, A1P * (size_t) config->W);
	prepared->attention_view = take(base, &used, A1P * (size_t) (config->Q + config->U));
	prepared->attention_second = take(base, &used, A2P * (size_t) config->attention[0]);
	prepared->attention_last = take(base, &used, A2P);
	return used;
}

size_t
nn_prepared_size(const nn_config *config, const nn_layout *layout)
{
	nn_prepared prepared;

	return nn_prepared_map(config, layout, NULL, &prepared);
}

/* ------------------------------------------------------------------------
 * Writing
 * ------------------------------------------------------------------------ */

/* How a panel's columns lie in the rows of a weight */
typedef enum columns
{
	DENSE,						/* in order */
	GATES,						/* four gates of H */
	PROPERTY_GATES				/* the same, but the candidate g has no row */
} columns;

/* The row of a weight with so many rows; -1: none, which is zero. */
static int
weight_row(columns columns, int rows, int column)
{
	int			H = columns == PROPERTY_GATES ? rows / 3 : rows / 4;
	int			gate = column % NN_PANEL / NN_UNITS;
	int			unit = column / NN_PANEL * NN_UNITS + column % NN_UNITS;

	if (columns == DENSE)
		return column < rows ? column : -1;
	if (unit >= H || (columns == PROPERTY_GATES && gate == 2))
		return -1;
	return (columns == PROPERTY_GATES && gate == 3 ? 2 : gate) * H + unit;
}

/* A bias in the order of a panel's columns */
static void
write_bias(columns columns, const nn_tensor *tensor, const float *bias, int panels, const float *to)
{
	for (int c = 0; c < panels * NN_PANEL; c++)
	{
		int			row = weight_row(columns, (int) tensor->cols, c);

		((float *) to)[c] = row < 0 ? 0.0f : bias[row];
	}
}

/*
 * Columns [at, at + n) of a weight as rows [first, first + n) of panels that
 * have K of them.
 */
static void
write_panels(columns columns, const nn_tensor *tensor, const float *weight, int at, int n,
			 int panels, int first, int K, const float *to)
{
	for (int c = 0; c < panels * NN_PANEL; c++)
	{
		int			row = weight_row(columns, (int) tensor->rows, c);
		float	   *panel = (float *) to + (size_t) (c / NN_PANEL) * K * NN_PANEL + c % NN_PANEL;

		for (int k = 0; k < n; k++)
			panel[(size_t) (first + k) * NN_PANEL] = row < 0 ? 0.0f : weight[row * tensor->cols + at + k];
	}
}

static uint32_t
bits_of(float x)
{
	uint32_t	bits;

	memcpy(&bits, &x, sizeof(bits));
	return bits;
}

/* To the nearest upper half of a float whose lower half is `lower`.  NaN stays one. */
static uint32_t
round_above(float x, uint32_t lower)
{
	uint32_t	bits = bits_of(x);

	if (x != x)
		return (bits >> 16 | 0x40) << 16 | lower;
	/* the nearest number = lower (mod 2^16); magnitudes of one sign are ordered as integers */
	if (bits % 0x10000 > lower && bits % 0x10000 - lower > 0x8000)
		bits += 0x10000;
	else if (lower > bits % 0x10000 && lower - bits % 0x10000 > 0x8000 && bits << 1 >= 0x20000)
		bits -= 0x10000;
	return bits >> 16 << 16 | lower;
}

/* Panels of K rows as words of two: k in the upper half, k + 1 in the lower. */
static void
write_half(const float *from, int panels, int K, const float *to)
{
	char	   *out = (char *) to;

	for (int p = 0; p < panels; p++, from += (size_t) K * NN_PANEL)
		for (int k = 0; k < K; k += 2)
			for (int c = 0; c < NN_PANEL; c++, out += sizeof(uint32_t))
			{
				uint32_t	lower = k + 1 < K ? round_above(from[(size_t) (k + 1) * NN_PANEL + c], 0) >> 16 : 0;
				uint32_t	word = round_above(from[(size_t) k * NN_PANEL + c], lower);

				memcpy(out, &word, sizeof(word));
			}
}

/* The rows of a feature's table, times the columns of a weight from `at` on. */
static void
write_projected(columns columns, const nn_tensor *tensor, const float *weight, int at,
				const nn_tensor *table, const float *rows, int panels, const float *to)
{
	float	   *out = (float *) to;

	for (int64_t v = 0; v < table->rows; v++)
		for (int c = 0; c < panels * NN_PANEL; c++)
		{
			int			row = weight_row(columns, (int) tensor->rows, c);
			double		sum = 0.0;

			for (int64_t k = 0; row >= 0 && k < table->cols; k++)
				sum += (double) weight[row * tensor->cols + at + k] * rows[v * table->cols + k];
			out[v * panels * NN_PANEL + c] = (float) sum;
		}
}

/* Where a feature's columns begin in the weight of its group. */
static int
column_of(const nn_fields *all, int feature)
{
	for (int k = 0; k < all->n; k++)
		if (all->source[k] == feature)
			return all->at[k];
	return 0;
}

typedef struct writer
{
	const nn_config *config;
	const nn_layout *layout;
	const float *param;
} writer;

static const float *
values(const writer *w, int tensor)
{
	return w->param + w->layout->tensor[tensor].offset;
}

/* All that a group's features are to one weight: projected tables, and panels of the others. */
static void
write_features(const writer *w, nn_group group, int use, columns columns, int weight, int panels,
			   const nn_prepared_features *features, const nn_fields *gathered, int first, int K,
			   const float *to)
{
	const nn_tensor *tensor = &w->layout->tensor[weight];
	nn_fields	all;

	nn_group_fields(w->config, w->layout, group, use, &all);
	for (int k = 0; k < features->n; k++)
		if (features->group[k] == group)
		{
			int			table = w->layout->table[group][features->feature[k]];

			write_projected(columns, tensor, values(w, weight), column_of(&all, features->feature[k]),
							&w->layout->tensor[table], values(w, table), panels, features->projected[k]);
		}
	for (int k = 0; k < gathered->n; k++)
		write_panels(columns, tensor, values(w, weight), column_of(&all, gathered->source[k]),
					 w->config->feature[group][gathered->source[k]].dim,
					 panels, first + gathered->at[k], K, to);
}

static void
write_attention(const writer *w, const nn_prepared *prepared)
{
	const nn_config *config = w->config;
	const nn_layout *layout = w->layout;
	const nn_tensor *first = &layout->tensor[layout->attention_weight[0]];
	int			QU = config->Q + config->U,
				A1 = config->attention[0];
	int			panels = nn_panels(A1);

	for (int k = 0; k < 2; k++)
		write_bias(DENSE, &layout->tensor[layout->attention_bias[k]], values(w, layout->attention_bias[k]),
				   nn_panels(config->attention[k]), prepared->attention_bias[k]);
	write_features(w, NN_PROPERTY, NN_USE_ATTENTION, DENSE, layout->attention_weight[0], panels,
				   &prepared->attention, &prepared->attention.property, 0, prepared->attention.property.width,
				   prepared->attention_property);
	write_panels(DENSE, first, values(w, layout->attention_weight[0]), config->Pa, config->W,
				 panels, 0, config->W, prepared->attention_state);
	write_panels(DENSE, first, values(w, layout->attention_weight[0]), config->Pa + config->W, QU,
				 panels, 0, QU, prepared->attention_view);
	write_panels(DENSE, &layout->tensor[layout->attention_weight[1]], values(w, layout->attention_weight[1]),
				 0, A1, nn_panels(config->attention[1]), 0, A1, prepared->attention_second);
	write_bias(DENSE, &layout->tensor[layout->attention_weight[2]], values(w, layout->attention_weight[2]),
			   nn_panels(config->attention[1]), prepared->attention_last);
}

void
nn_prepare(const nn_config *config, const nn_layout *layout, const float *param, void *out)
{
	const writer w = {config, layout, param};
	int			H = config->hidden;
	int			panels = nn_lstm_panels(H);
	nn_prepared prepared;

	memset(out, 0, nn_prepared_map(config, layout, out, &prepared));
	for (int d = 0; d < (config->bidirectional ? 2 : 1); d++)
	{
		const nn_lstm_tensors *tensors = &layout->lstm[d];
		const nn_prepared_lstm *lstm = &prepared.lstm[d];
		const nn_prepared_features *features = &lstm->features;
		int			K = features->item.width + features->property.width;

		write_bias(GATES, &layout->tensor[tensors->bias], values(&w, tensors->bias), panels, lstm->bias);
		write_features(&w, NN_ITEM, NN_USE_BOTH, GATES, tensors->weight_item, panels,
					   features, &features->item, 0, K, lstm->input);
		if (tensors->weight_property >= 0)
			write_features(&w, NN_PROPERTY, NN_USE_GATES, PROPERTY_GATES, tensors->weight_property, panels,
						   features, &features->property, features->item.width, K, lstm->input);
		write_panels(GATES, &layout->tensor[tensors->weight_hidden], values(&w, tensors->weight_hidden),
					 0, H, panels, 0, H, lstm->recurrent);
		write_half(lstm->recurrent, panels, H, lstm->half);
	}

	if (config->pooling == NN_POOL_ATTENTION)
		write_attention(&w, &prepared);
}

/* ------------------------------------------------------------------------
 * Reading
 * ------------------------------------------------------------------------ */

#define MOST_ROWS 32			/* added up at a time */

void
nn_prepared_sum(const nn_prepared_features *features, const nn_batch *batch, int64_t event,
				const float *first, int panels, float *y)
{
	const float *rows[MOST_ROWS];
	size_t		width = (size_t) panels * NN_PANEL;
	int			n = 0;

	rows[n++] = first;
	for (int k = 0; k < features->n; k++)
	{
		const nn_ids *ids = features->group[k] == NN_ITEM ? batch->item : batch->property;
		const int32_t *id;
		int64_t		bag = nn_bag(&ids[features->feature[k]], event, &id);

		for (int64_t j = 0; j < bag; j++)
		{
			if (n == MOST_ROWS)
			{
				nn_panel_sum(panels, n, rows, y);
				rows[0] = y;
				n = 1;
			}
			rows[n++] = features->projected[k] + id[j] * width;
		}
	}
	nn_panel_sum(panels, n, rows, y);
}
