/*-------------------------------------------------------------------------
 *
 * params.c
 *	  Where each parameter lies, start values, and gradients
 *
 *-------------------------------------------------------------------------
 */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "arena.h"
#include "layers.h"
#include "vector.h"

/* ------------------------------------------------------------------------
 * Layout
 * ------------------------------------------------------------------------ */

static int	add_tensor(nn_layout *layout, int rank, int64_t rows, int64_t cols, const char *format,...)
	__attribute__((format(printf, 5, 6)));

/* Append a tensor; its index, or -1 when there is no room for it. */
static int
add_tensor(nn_layout *layout, int rank, int64_t rows, int64_t cols, const char *format,...)
{
	nn_tensor  *tensor = &layout->tensor[layout->n];
	va_list		arguments;
	size_t		floats;

	if (layout->n == NN_MAX_TENSORS)
		return -1;
	va_start(arguments, format);
	vsnprintf(tensor->name, sizeof(tensor->name), format, arguments);
	va_end(arguments);

	/* bytes of all parameters and their gradients must be expressible */
	if (__builtin_mul_overflow((size_t) rows, (size_t) cols, &floats) ||
		__builtin_add_overflow(layout->floats, floats, &floats) ||
		floats > PTRDIFF_MAX / sizeof(float) ||
		nn_layout_find(layout, tensor->name) >= 0)
		return -1;
	tensor->rank = rank;
	tensor->rows = rows;
	tensor->cols = cols;
	tensor->offset = layout->floats;
	tensor->table = false;
	tensor->frozen = false;
	layout->floats = floats;
	return layout->n++;
}

static int
add_table(nn_layout *layout, int rank, int64_t rows, int64_t cols,
		  const char *group, const char *middle, const char *name, const char *suffix)
{
	int			i = add_tensor(layout, rank, rows, cols, "%s.%s%s%s", group, middle, name, suffix);

	if (i >= 0)
		layout->tensor[i].table = true;
	return i;
}

static void
add_lstm(nn_layout *layout, const nn_config *config, const char *name, nn_lstm_tensors *lstm)
{
	int			H = config->hidden;

	lstm->weight_item = add_tensor(layout, 2, 4 * H, config->E, "%s.weight_item", name);
	if (config->Pg > 0)
		lstm->weight_property = add_tensor(layout, 2, 3 * H, config->Pg, "%s.weight_property", name);
	lstm->weight_hidden = add_tensor(layout, 2, 4 * H, H, "%s.weight_hidden", name);
	lstm->bias = add_tensor(layout, 1, 1, 4 * H, "%s.bias", name);
}

static void
add_task(nn_layout *layout, const nn_config *config, const nn_task *task, nn_task_tensors *tensors)
{
	const char *name = task->name;
	int			width = config->head_width;

	if (config->experts > 0)
	{
		tensors->gate_weight = add_tensor(layout, 2, config->experts, config->R, "task.%s.gate.weight", name);
		tensors->gate_bias = add_tensor(layout, 1, 1, config->experts, "task.%s.gate.bias", name);
	}
	if (task->kind == NN_NEXT_ITEM)
	{
		tensors->query_weight = add_tensor(layout, 2, config->E, width, "task.%s.query.weight", name);
		tensors->query_bias = add_tensor(layout, 1, 1, config->E, "task.%s.query.bias", name);
		if (task->repeat)
		{
			tensors->repeat_recency = add_tensor(layout, 2, config->recency_rows, config->recency,
												 "task.%s.repeat.recency", name);
			tensors->repeat_count = add_tensor(layout, 1, 1, NN_REPEAT_COUNTS, "task.%s.repeat.count", name);
		}
		if (task->memory > 0)
			tensors->memory_lag = add_tensor(layout, 1, 1, task->memory, "task.%s.memory.lag", name);
		return;
	}

	if (task->n_candidate > 0)
	{
		tensors->candidate_weight = add_tensor(layout, 2, task->candidate_dim,
											   nn_candidate_width(config, task),
											   "task.%s.candidate.weight", name);
		tensors->candidate_bias = add_tensor(layout, 1, 1, task->candidate_dim,
											 "task.%s.candidate.bias", name);
	}
	if (task->product)
	{
		int			X = nn_candidate_width(config, task);

		tensors->product_weight = add_tensor(layout, 2, X, width, "task.%s.product.weight", name);
		tensors->product_bias = add_tensor(layout, 1, 1, X, "task.%s.product.bias", name);
	}
	width += nn_extra_width(task);
	for (int k = 0; k < task->n_hidden; k++)
	{
		tensors->hidden_weight[k] = add_tensor(layout, 2, task->hidden[k], width,
											   "task.%s.hidden.%d.weight", name, k);
		tensors->hidden_bias[k] = add_tensor(layout, 1, 1, task->hidden[k],
											 "task.%s.hidden.%d.bias", name, k);
		width = task->hidden[k];
	}
	tensors->output_weight = add_tensor(layout, 2, nn_output_width(config, task), width,
										"task.%s.output.weight", name);
	tensors->output_bias = add_tensor(layout, 1, 1, nn_output_width(config, task),
									  "task.%s.output.bias", name);
	if (task->kind == NN_RANK)
		tensors->intercept = add_tensor(layout, 1, 1, 1, "task.%s.intercept", name);
	if (task->position > 0)
		tensors->position = add_tensor(layout, 1, 1, task->position, "task.%s.position", name);
}

nn_status
nn_layout_make(nn_layout *layout, const nn_config *config)
{
	int			H = config->hidden;
	int			expected;

	/* every index starts at -1, "this network has none"; tensors that are not
	 * there stay untouched, since a page of memory costs when it is written */
	memset(&layout->floats, 0xff, sizeof(*layout) - offsetof(nn_layout, floats));
	layout->n = 0;
	layout->floats = 0;

	add_lstm(layout, config, "lstm", &layout->lstm[0]);
	expected = config->Pg > 0 ? 4 : 3;
	if (config->bidirectional)
	{
		add_lstm(layout, config, "lstm_reverse", &layout->lstm[1]);
		expected *= 2;
	}

	if (config->pooling == NN_POOL_ATTENTION)
	{
		layout->attention_weight[0] = add_tensor(layout, 2, config->attention[0],
												 config->Pa + config->W + config->Q + config->U,
												 "attention.0.weight");
		layout->attention_bias[0] = add_tensor(layout, 1, 1, config->attention[0], "attention.0.bias");
		layout->attention_weight[1] = add_tensor(layout, 2, config->attention[1], config->attention[0],
												 "attention.1.weight");
		layout->attention_bias[1] = add_tensor(layout, 1, 1, config->attention[1], "attention.1.bias");
		layout->attention_weight[2] = add_tensor(layout, 2, 1, config->attention[1], "attention.2.weight");
		expected += 5;
	}
	if (config->recency_bias)
	{
		layout->attention_recency = add_tensor(layout, 2, config->recency_rows, config->recency,
											   "attention.recency");
		expected++;
	}
	if (config->lag > 0)
	{
		layout->attention_lag = add_tensor(layout, 1, 1, config->lag, "attention.lag");
		expected++;
	}

	for (int k = 0; k < config->experts; k++)
	{
		layout->expert_weight[k] = add_tensor(layout, 2, config->head_width, config->R, "experts.%d.weight", k);
		layout->expert_bias[k] = add_tensor(layout, 1, 1, config->head_width, "experts.%d.bias", k);
		expected += 2;
	}
	for (int t = 0; t < config->n_task; t++)
	{
		const nn_task *task = &config->task[t];

		expected += config->experts > 0 ? 2 : 0;
		add_task(layout, config, task, &layout->task[t]);
		if (task->kind == NN_NEXT_ITEM)
			expected += 2 + (task->repeat ? 2 : 0) + (task->memory > 0);
		else
			expected += 2 + 2 * task->n_hidden + (task->n_candidate > 0 ? 2 : 0) + (task->kind == NN_RANK) +
				(task->position > 0) + (task->product ? 2 : 0);
	}

	layout->first_table = layout->n;
	layout->dense_floats = layout->floats;
	for (int g = 0; g < NN_GROUPS; g++)
		for (int f = 0; f < config->n_feature[g]; f++)
		{
			const nn_feature *feature = &config->feature[g][f];

			if (feature->shares >= 0)
			{
				layout->table[g][f] = layout->table[NN_ITEM][feature->shares];
				continue;
			}
			layout->table[g][f] = add_table(layout, 2, feature->vocab, feature->dim,
											nn_group_name[g], "", feature->name, ".embedding");
			expected++;
		}
	for (int t = 0; t < config->n_task; t++)
		for (int f = 0; config->task[t].kind == NN_NEXT_ITEM && f < config->n_feature[NN_ITEM]; f++)
		{
			const nn_feature *feature = &config->feature[NN_ITEM][f];

			layout->task[t].item_bias[f] = add_table(layout, 1, feature->vocab, 1, "task",
													 config->task[t].name, ".item_bias.", feature->name);
			expected++;
		}

	/* a tensor is missing: too many, too large, or two of one name */
	return layout->n == expected && H > 0 ? NN_OK : NN_BAD_CONFIG;
}

int
nn_layout_find(const nn_layout *layout, const char *name)
{
	for (int i = 0; i < layout->n; i++)
		if (strcmp(layout->tensor[i].name, name) == 0)
			return i;
	return -1;
}

/* ------------------------------------------------------------------------
 * Start values
 * ------------------------------------------------------------------------ */

static void
fill_normal(float *x, size_t n, double deviation, uint64_t *state)
{
	for (size_t j = 0; j < n; j++)
		x[j] = (float) (deviation * nn_random_normal(state));
}

static void
fill_weight(const nn_layout *layout, int tensor, float *param, uint64_t *state)
{
	const nn_tensor *w = &layout->tensor[tensor];
	double		bound = sqrt(3.0 / (double) w->cols);
	float	   *x = param + w->offset;

	for (size_t j = 0; j < (size_t) (w->rows * w->cols); j++)
		x[j] = (float) (bound * (2.0 * nn_random_uniform(state) - 1.0));
}

static void
fill_vector(const nn_layout *layout, int tensor, float *param, float value)
{
	const nn_tensor *b = &layout->tensor[tensor];

	for (int64_t j = 0; j < b->rows * b->cols; j++)
		param[b->offset + j] = value;
}

/* A random orthogonal block [H, H]: Gram-Schmidt, done twice against rounding. */
static void
fill_orthogonal(float *q, int H, uint64_t *state)
{
	for (int i = 0; i < H; i++)
	{
		float	   *row = q + (size_t) i * H;
		double		norm = 0.0;

		fill_normal(row, H, 1.0, state);
		for (int pass = 0; pass < 2; pass++)
			for (int k = 0; k < i; k++)
			{
				const float *other = q + (size_t) k * H;

				nn_vector_axpy(H, -nn_vector_dot(H, row, other), other, row);
			}
		for (int j = 0; j < H; j++)
			norm += (double) row[j] * row[j];
		nn_vector_scale(H, (float) (1.0 / sqrt(norm)), row);
	}
}

/*
 * The product term starts by taking back what the LSTM makes of the events:
 * with W_g the candidate rows g of lstm.weight_item, a state is at first about a
 * fourth (the input and the output gate are half open) of a sum of W_g e_s over
 * events s, and W_g^T W_g about a multiple of 1.  So 4 W_g^T r . e begins as a count of
 * likenesses between candidate and events, and learns from there.  Of the experts'
 * outputs nothing like that is known: behind them it begins as 0.
 */
static void
fill_product(const nn_config *config, const nn_layout *layout, const nn_task *task, float *product,
			 const float *param)
{
	int			H = config->hidden;
	const float *candidate_rows = param + layout->tensor[layout->lstm[0].weight_item].offset +
		(size_t) 2 * H * config->E;
	nn_fields	event,
				candidate;

	nn_group_fields(config, layout, NN_ITEM, NN_USE_BOTH, &event);
	nn_candidate_fields(config, layout, task, &candidate);
	/* things come last; they are in no event, and begin at 0 */
	for (int k = 0; k < task->n_candidate && !NN_IS_THING(task->candidate[k]); k++)
		for (int i = 0; i < config->feature[NN_ITEM][task->candidate[k]].dim; i++)
			for (int j = 0; j < H; j++)
				product[(size_t) (candidate.at[k] + i) * config->R + j] =
					4.0f * candidate_rows[(size_t) j * config->E + event.at[task->candidate[k]] + i];
}

static void
init_task(const nn_config *config, const nn_layout *layout, int t, float *param,
		  uint64_t *state, float base_rate)
{
	const nn_task *task = &config->task[t];
	const nn_task_tensors *tensors = &layout->task[t];
	float		logit = base_rate > 0.0f && base_rate < 1.0f ?
		logf(base_rate / (1.0f - base_rate)) : 0.0f;

	if (config->experts > 0)
		fill_weight(layout, tensors->gate_weight, param, state);
	if (task->kind == NN_NEXT_ITEM)
	{
		fill_weight(layout, tensors->query_weight, param, state);
		return;
	}
	if (task->n_candidate > 0)
		fill_weight(layout, tensors->candidate_weight, param, state);
	if (task->product && config->experts == 0)
		fill_product(config, layout, task, param + layout->tensor[tensors->product_weight].offset, param);
	for (int k = 0; k < task->n_hidden; k++)
		fill_weight(layout, tensors->hidden_weight[k], param, state);
	fill_weight(layout, tensors->output_weight, param, state);
	if (task->kind == NN_RANK)
	{
		/* without it relu may start, and so stay, at 0 */
		fill_vector(layout, tensors->output_bias, param, 0.5f);
		fill_vector(layout, tensors->intercept, param, logit);
	}
	else if (task->kind == NN_BINARY)
		fill_vector(layout, tensors->output_bias, param, logit);
}

void
nn_init(const nn_config *config, const nn_layout *layout, float *param, uint64_t seed,
		const float *base_rate, float *scratch)
{
	int			H = config->hidden;
	uint64_t	state = seed;

	memset(param, 0, layout->dense_floats * sizeof(float));
	for (int d = 0; d < (config->bidirectional ? 2 : 1); d++)
	{
		const nn_lstm_tensors *lstm = &layout->lstm[d];

		fill_weight(layout, lstm->weight_item, param, &state);
		if (lstm->weight_property >= 0)
			fill_weight(layout, lstm->weight_property, param, &state);
		for (int gate = 0; gate < 4; gate++)
		{
			fill_orthogonal(scratch, H, &state);
			memcpy(param + layout->tensor[lstm->weight_hidden].offset + (size_t) gate * H * H,
				   scratch, (size_t) H * H * sizeof(float));
		}
		for (int j = 0; j < H; j++)
			param[layout->tensor[lstm->bias].offset + H + j] = 1.0f;	/* remember at first */
	}
	for (int k = 0; k < 3 && config->pooling == NN_POOL_ATTENTION; k++)
		fill_weight(layout, layout->attention_weight[k], param, &state);
	for (int j = 0; j < config->lag; j++)
		param[layout->tensor[layout->attention_lag].offset + j] = -2.0f * (float) j;
	for (int k = 0; k < config->experts; k++)
		fill_weight(layout, layout->expert_weight[k], param, &state);
	for (int t = 0; t < config->n_task; t++)
		init_task(config, layout, t, param, &state, base_rate ? base_rate[t] : 0.0f);

	for (int i = layout->first_table; i < layout->n; i++)
	{
		const nn_tensor *table = &layout->tensor[i];

		/* rank 1: an item bias */
		fill_normal(param + table->offset, (size_t) (table->rows * table->cols),
					table->rank == 1 ? 0.0 : 0.05, &state);
	}
}

/* marks of rows */
#define LISTED	1
#define FROZEN	2

/* ------------------------------------------------------------------------
 * Gradients
 * ------------------------------------------------------------------------ */

nn_status
nn_grad_find(nn_grad *grad, const nn_layout *layout, nn_arena *memory, nn_arena *pointers)
{
	nn_grad		found;

	found.n_tables = layout->n - layout->first_table;
	found.value = nn_arena_floats(memory, layout->floats, 1);
	found.n_touched = nn_arena_alloc(memory, found.n_tables, sizeof(int64_t));
	found.touched = nn_arena_alloc(pointers, found.n_tables, sizeof(int32_t *));
	found.mark = nn_arena_alloc(pointers, found.n_tables, sizeof(uint8_t *));
	for (int i = 0; i < found.n_tables; i++)
	{
		size_t		rows = (size_t) layout->tensor[layout->first_table + i].rows;
		int32_t    *touched = nn_arena_alloc(memory, rows, sizeof(int32_t));
		uint8_t    *mark = nn_arena_alloc(memory, rows, 1);

		if (mark != NULL && found.touched != NULL && found.mark != NULL)
		{
			found.touched[i] = touched;
			found.mark[i] = mark;
		}
	}
	*grad = found;
	if (nn_arena_counts(memory))
		return NN_OK;
	NN_TRY(nn_arena_check(memory));
	return nn_arena_check(pointers);
}

nn_status
nn_grad_make(nn_grad *grad, const nn_layout *layout, nn_arena *arena)
{
	NN_TRY(nn_grad_find(grad, layout, arena, arena));
	if (nn_arena_counts(arena))
		return NN_OK;
	memset(grad->value, 0, layout->floats * sizeof(float));
	memset(grad->n_touched, 0, grad->n_tables * sizeof(int64_t));
	for (int i = 0; i < grad->n_tables; i++)
		memset(grad->mark[i], 0, (size_t) layout->tensor[layout->first_table + i].rows);
	return NN_OK;
}

void
nn_grad_clear(nn_grad *grad, const nn_layout *layout)
{
	memset(grad->value, 0, layout->dense_floats * sizeof(float));
	for (int i = 0; i < grad->n_tables; i++)
	{
		const nn_tensor *table = &layout->tensor[layout->first_table + i];

		for (int64_t k = 0; k < grad->n_touched[i]; k++)
		{
			int64_t		row = grad->touched[i][k];

			if (k + NN_AHEAD < grad->n_touched[i])
				nn_prefetch(grad->value + table->offset +
							(size_t) grad->touched[i][k + NN_AHEAD] * table->cols, table->cols);
			memset(grad->value + table->offset + row * table->cols, 0, table->cols * sizeof(float));
			grad->mark[i][row] = 0;
		}
		grad->n_touched[i] = 0;
	}
}

float *
nn_grad_row(const nn_layout *layout, nn_grad *grad, int tensor, int32_t row)
{
	int			i = tensor - layout->first_table;

	if (grad->mark[i][row] == 0)
	{
		grad->mark[i][row] = LISTED;
		grad->touched[i][grad->n_touched[i]++] = row;
	}
	return grad->value + layout->tensor[tensor].offset + row * layout->tensor[tensor].cols;
}

void
nn_grad_freeze(const nn_layout *layout, nn_grad *grad, int tensor, int32_t row)
{
	grad->mark[tensor - layout->first_table][row] = FROZEN;
}
