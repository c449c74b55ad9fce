/*-------------------------------------------------------------------------
 *
 * naive.c
 *	  The network once more, in double and as the formulas are written
 *
 * One event, one unit, one column at a time: slow, and nothing to get wrong
 * but the formulas of NETWORK.md.  For small configurations only.
 *
 *-------------------------------------------------------------------------
 */
#include "naive.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "nn/layers.h"

#define WIDE 256				/* more than any width of a test */
#define LONG 64					/* more than any sequence */

typedef struct naive
{
	const nn_config *config;
	const nn_layout *layout;
	const double *param;
	const nn_batch *batch;
	const nn_dropout *dropout;
} naive;

static const double *
tensor(const naive *n, int i)
{
	return n->param + n->layout->tensor[i].offset;
}

static double
sigmoid(double x)
{
	return 1.0 / (1.0 + exp(-x));
}

/* Element `at` of a mask, 1 without dropout. */
static double
mask(const naive *n, float rate, uint64_t stream, uint64_t at)
{
	float		one = 1.0f;

	if (n->dropout)
		nn_dropout_apply(n->dropout, rate, stream, at, 1, &one);
	return one;
}

/* y += the sum of a feature's rows */
static void
embed(const naive *n, int table, const nn_ids *ids, int64_t row, double *y)
{
	int64_t		begin = ids->offsets ? ids->offsets[row] : row;
	int64_t		end = ids->offsets ? ids->offsets[row + 1] : row + 1;
	int64_t		dim = n->layout->tensor[table].cols;

	for (int64_t k = begin; k < end; k++)
		for (int64_t j = 0; j < dim; j++)
			y[j] += tensor(n, table)[ids->values[k] * dim + j];
}

static int
group(const naive *n, nn_group g, int use, const nn_ids *ids, int64_t row, double *y)
{
	int			at = 0;

	memset(y, 0, WIDE * sizeof(double));
	for (int f = 0; f < n->config->n_feature[g]; f++)
	{
		const nn_feature *feature = &n->config->feature[g][f];
		bool		sum = g == NN_ITEM && n->config->item_sum;

		if (g == NN_PROPERTY && !(feature->use & use))
			continue;
		embed(n, n->layout->table[g][f], &ids[f], row, y + (sum ? 0 : at));
		at = sum ? feature->dim : at + feature->dim;
	}
	return at;
}

/* y [out] = W x + b */
static void
dense(const naive *n, int weight, int bias, const double *x, double *y)
{
	const nn_tensor *w = &n->layout->tensor[weight];

	for (int64_t i = 0; i < w->rows; i++)
	{
		y[i] = bias >= 0 ? tensor(n, bias)[i] : 0.0;
		for (int64_t j = 0; j < w->cols; j++)
			y[i] += tensor(n, weight)[i * w->cols + j] * x[j];
	}
}

/* state [length, W] of a sequence's first `length` events, one direction's half */
static void
lstm(const naive *n, int direction, int64_t first, int64_t length, double *state)
{
	const nn_lstm_tensors *t = &n->layout->lstm[direction];
	int			H = n->config->hidden,
				E = n->config->E;
	double		h[WIDE] = {0},
				c[WIDE] = {0};

	for (int64_t s = 0; s < length; s++)
	{
		int64_t		at = direction == 0 ? s : length - 1 - s;
		double		e[WIDE],
					p[WIDE],
					z[4 * WIDE],
					r[4 * WIDE],
					y[3 * WIDE] = {0};

		group(n, NN_ITEM, 0, n->batch->item, first + at, e);
		for (int j = 0; j < E; j++)
			e[j] *= mask(n, n->dropout ? n->dropout->item : 0, NN_STREAM_ITEM, (uint64_t) ((first + at) * E + j));
		group(n, NN_PROPERTY, NN_USE_GATES, n->batch->property, first + at, p);
		dense(n, t->weight_item, t->bias, e, z);
		dense(n, t->weight_hidden, -1, h, r);
		if (t->weight_property >= 0)
			dense(n, t->weight_property, -1, p, y);
		for (int j = 0; j < H; j++)
		{
			double		i = sigmoid(z[j] + r[j] + y[j]);
			double		f = sigmoid(z[H + j] + r[H + j] + y[H + j]);
			double		g = tanh(z[2 * H + j] + r[2 * H + j]);
			double		o = sigmoid(z[3 * H + j] + r[3 * H + j] + y[2 * H + j]);

			c[j] = f * c[j] + i * g;
			h[j] = o * tanh(c[j]);
			state[at * n->config->W + direction * H + j] = h[j];
		}
	}
}

static double
score(const naive *n, int64_t event, int64_t pair, const double *state, const double *q, const double *u)
{
	const nn_config *config = n->config;
	const nn_ids *type = &n->batch->property[0];
	double		x[4 * WIDE],
				h1[WIDE],
				h2[WIDE],
				s;
	int			at = group(n, NN_PROPERTY, NN_USE_ATTENTION, n->batch->property, event, x);
	int			row = 0;

	memcpy(x + at, state, config->W * sizeof(double));
	memcpy(x + at + config->W, q, config->Q * sizeof(double));
	memcpy(x + at + config->W + config->Q, u, config->U * sizeof(double));
	dense(n, n->layout->attention_weight[0], n->layout->attention_bias[0], x, h1);
	for (int j = 0; j < config->attention[0]; j++)
		h1[j] = fmax(h1[j], 0.0);
	dense(n, n->layout->attention_weight[1], n->layout->attention_bias[1], h1, h2);
	for (int j = 0; j < config->attention[1]; j++)
		h2[j] = fmax(h2[j], 0.0);
	dense(n, n->layout->attention_weight[2], -1, h2, &s);
	if (config->n_feature[NN_PROPERTY] > 0)
	{
		if (type->offsets == NULL)
			row = type->values[event];
		else if (type->offsets[event + 1] > type->offsets[event])
			row = type->values[type->offsets[event]];
	}
	if (row >= config->recency_rows)
		row = config->recency_rows - 1;
	if (config->recency_bias)
		s += tensor(n, n->layout->attention_recency)[row * config->recency + n->batch->recency[pair]];
	if (config->lag > 0)
		s += tensor(n, n->layout->attention_lag)[n->batch->lag[pair]];
	return s;
}

static void
user_vector(const naive *n, int v, naive_out *out, double *r)
{
	const nn_config *config = n->config;
	int			W = config->W,
				length = n->batch->view_length[v];
	int64_t		first = n->batch->offsets[n->batch->view_sequence[v]];
	int64_t		pair = n->batch->view_offsets[v];
	double		state[LONG * WIDE],
				a[LONG],
				q[WIDE],
				u[WIDE],
				sum = 0.0;

	group(n, NN_CONTEXT, 0, n->batch->context, v, q);
	group(n, NN_PROFILE, 0, n->batch->profile, v, u);
	for (int d = 0; d < (config->bidirectional ? 2 : 1); d++)
		lstm(n, d, first, length, state);
	if (out->state)
		memcpy(out->state + first * W, state, (size_t) length * W * sizeof(double));
	for (int j = 0; j < length; j++)
		sum += a[j] = config->pooling == NN_POOL_ATTENTION ?
			exp(score(n, first + j, pair + j, state + j * W, q, u)) : 1.0;
	memset(r, 0, W * sizeof(double));
	for (int j = 0; j < length; j++)
	{
		a[j] /= sum;
		if (out->attention)
			out->attention[pair + j] = a[j];
		for (int k = 0; k < W; k++)
		{
			double		h = state[j * W + k];

			if (config->pooling == NN_POOL_LAST)
				r[k] = j == (k < config->hidden ? length - 1 : 0) ? h : r[k];
			else if (config->pooling == NN_POOL_MAX)
				r[k] = j == 0 ? h : fmax(r[k], h);
			else
				r[k] += a[j] * h;
		}
	}
	memcpy(r + W, u, config->U * sizeof(double));
	if (config->context_in_vector)
		memcpy(r + W + config->U, q, config->Q * sizeof(double));
	if (out->vector)
		memcpy(out->vector + (size_t) v * config->R, r, config->R * sizeof(double));
}

/* ------------------------------------------------------------------------
 * Heads
 * ------------------------------------------------------------------------ */

static double
log_sum_exp(int n, const double *z)
{
	double		sum = 0.0;

	for (int j = 0; j < n; j++)
		sum += exp(z[j]);
	return log(sum);
}

static double
log_loss(double z, double label)
{
	return -(label * log(sigmoid(z)) + (1.0 - label) * log(1.0 - sigmoid(z)));
}

static double
next_loss(const naive *n, int t, int s, const double *r, naive_out *out)
{
	const nn_config *config = n->config;
	const nn_samples *samples = &n->batch->samples[t];
	const nn_task_tensors *tensors = &n->layout->task[t];
	double		query[WIDE],
				logit[WIDE],
				sum = 0.0,
				loss = 0.0;
	bool		counts[WIDE] = {false};

	dense(n, tensors->query_weight, tensors->query_bias, r, query);
	for (int j = 0; j < samples->columns; j++)
	{
		double		e[WIDE];

		group(n, NN_ITEM, 0, samples->column, j, e);
		logit[j] = 0.0;
		for (int k = 0; k < config->E; k++)
			logit[j] += query[k] * e[k];
		for (int f = 0; f < config->n_feature[NN_ITEM]; f++)
			embed(n, tensors->item_bias[f], &samples->column[f], j, &logit[j]);
		counts[j] = j < samples->shared;
	}
	for (int64_t k = samples->wide_offsets ? samples->wide_offsets[s] : 0;
		 samples->wide_offsets && k < samples->wide_offsets[s + 1]; k++)
		logit[samples->wide[k].column] += samples->wide[k].value *
			tensor(n, tensors->repeat_recency)[samples->wide[k].param];
	for (int j = 0; samples->memory_offsets && j < samples->columns; j++)
	{
		double		memory = 1.0;

		for (int64_t k = samples->memory_offsets[s]; k < samples->memory_offsets[s + 1]; k++)
			if (samples->memory[k].column == j)
				memory += samples->memory[k].value * exp(tensor(n, tensors->memory_lag)[samples->memory[k].lag]);
		logit[j] += log(memory);
	}
	for (int64_t k = samples->extra_offsets ? samples->extra_offsets[s] : 0;
		 samples->extra_offsets && k < samples->extra_offsets[s + 1]; k++)
	{
		counts[samples->extra[k]] = true;
		if (out->extra_logit[t])
			out->extra_logit[t][k] = logit[samples->extra[k]];
	}
	for (int64_t k = samples->hidden_offsets ? samples->hidden_offsets[s] : 0;
		 samples->hidden_offsets && k < samples->hidden_offsets[s + 1]; k++)
		counts[samples->hidden[k]] = false;
	for (int j = 0; j < samples->columns; j++)
	{
		if (out->logit[t] && j < samples->shared)
			out->logit[t][s * samples->shared + j] = logit[j];
		if (samples->log_q)
			logit[j] -= samples->log_q[j];
		if (counts[j])
			sum += exp(logit[j]);
	}
	for (int64_t k = samples->target_offsets[s]; k < samples->target_offsets[s + 1]; k++)
		loss += samples->target_weight[k] * (log(sum) - logit[samples->target[k]]);
	return loss;
}

/* log(1 + exp(-margin)) of every pair of the sample's group, weighted, over the weights of all its pairs */
static double
pair_loss(const nn_samples *samples, int s, const double *logit)
{
	double		loss = 0.0,
				weight = 0.0;

	for (int i = 0; i < samples->n; i++)
		for (int j = 0; j < samples->n; j++)
		{
			bool		together = true;
			double		w = (samples->weight ? samples->weight[i] : 1.0) * (samples->weight ? samples->weight[j] : 1.0);

			if (samples->label[i] != 1.0f || samples->label[j] != 0.0f)
				continue;
			/* side by side with s, which all of a group are */
			for (int k = i < j ? i : j; k <= (i < j ? j : i); k++)
				together &= samples->view[k] == samples->view[s] && samples->group[k] == samples->group[s];
			for (int k = i < s ? i : s; k <= (i < s ? s : i); k++)
				together &= samples->view[k] == samples->view[s] && samples->group[k] == samples->group[s];
			if (!together)
				continue;
			loss += w * log(1.0 + exp(logit[j] - logit[i]));
			weight += w;
		}
	return weight > 0.0 ? loss / weight : 0.0;
}

/*
 * r: the sample's user vector after dropout; row: its number among the task's
 * views; logit: of binary and rank tasks, is set
 */
static double
sample_loss(const naive *n, int t, int s, const double *r, int row, naive_out *out, double *logit)
{
	const nn_config *config = n->config;
	const nn_task *task = &config->task[t];
	const nn_task_tensors *tensors = &n->layout->task[t];
	const nn_samples *samples = &n->batch->samples[t];
	int			at = config->head_width;
	int			width;
	double		x[4 * WIDE],
				y[4 * WIDE],
				z,
				product = 0.0;

	if (task->kind == NN_NEXT_ITEM)
		return next_loss(n, t, s, r, out);
	memcpy(x, r, config->head_width * sizeof(double));
	if (task->n_candidate > 0)
	{
		double		e[WIDE] = {0};
		int			in = 0;

		for (int k = 0; k < task->n_candidate; k++)
		{
			int			c = task->candidate[k];
			nn_group	g = c < NN_MAX_FEATURES ? NN_ITEM : NN_THING;

			embed(n, n->layout->table[g][c % NN_MAX_FEATURES], &samples->candidate[k], s, e + in);
			in += config->feature[g][c % NN_MAX_FEATURES].dim;
		}
		dense(n, tensors->candidate_weight, tensors->candidate_bias, e, x + at);
		at += task->candidate_dim;
		if (task->product)
		{
			dense(n, tensors->product_weight, tensors->product_bias, r, y);
			for (int j = 0; j < in; j++)
				product += y[j] * e[j];
		}
	}
	for (int j = 0; j < task->features && task->kind != NN_RANK; j++)
		x[at++] = samples->features[s * task->features + j];
	for (int k = 0; k < task->n_hidden; k++)
	{
		/* without input of its own a sample shares the layers of its view */
		bool		own = nn_extra_width(task) > 0;

		width = task->hidden[k];
		dense(n, tensors->hidden_weight[k], tensors->hidden_bias[k], x, y);
		for (int j = 0; j < width; j++)
			x[j] = fmax(y[j], 0.0) * mask(n, n->dropout ? n->dropout->hidden : 0, NN_STREAM_HIDDEN(t, k),
										  (uint64_t) (own ? s : row) * width + j);
	}
	dense(n, tensors->output_weight, tensors->output_bias, x, y);
	if (task->kind == NN_MULTICLASS)
	{
		if (out->logit[t])
			memcpy(out->logit[t] + s * task->classes, y, task->classes * sizeof(double));
		return log_sum_exp(task->classes, y) - y[samples->label_class[s]];
	}
	z = y[0] + product;
	if (task->kind == NN_RANK)
	{
		z = tensor(n, tensors->intercept)[0];
		for (int j = 0; j < task->features; j++)
			z += fmax(y[j], 0.0) * samples->features[s * task->features + j];
	}
	if (samples->position && samples->position[s] >= 0)
		z += tensor(n, tensors->position)[samples->position[s]];
	if (out->logit[t])
		out->logit[t][s] = z;
	*logit = z;
	return (1.0 - task->pairwise) * log_loss(z, samples->label[s]);
}

/* r becomes what the task's gate makes of the experts. */
static void
mix(const naive *n, int t, double *r)
{
	double		gate[WIDE],
				o[WIDE],
				x[WIDE] = {0},
				sum = 0.0;

	dense(n, n->layout->task[t].gate_weight, n->layout->task[t].gate_bias, r, gate);
	for (int k = 0; k < n->config->experts; k++)
		sum += exp(gate[k]);
	for (int k = 0; k < n->config->experts; k++)
	{
		dense(n, n->layout->expert_weight[k], n->layout->expert_bias[k], r, o);
		for (int j = 0; j < n->config->head_width; j++)
			x[j] += exp(gate[k]) / sum * fmax(o[j], 0.0);
	}
	memcpy(r, x, sizeof(x));
}

void
naive_forward(const nn_config *config, const nn_layout *layout, const double *param,
			  const nn_batch *batch, const nn_dropout *dropout, naive_out *out)
{
	naive		n = {config, layout, param, batch, dropout};
	double	   *vector = calloc((size_t) batch->views * config->R + 1, sizeof(double));

	for (int v = 0; v < batch->views; v++)
		user_vector(&n, v, out, vector + (size_t) v * config->R);
	out->loss = 0.0;
	for (int t = 0; t < config->n_task; t++)
	{
		const nn_samples *samples = &batch->samples[t];
		int			rows = 0;
		int			row_of_view[WIDE];
		double		logit[WIDE];

		memset(row_of_view, 0xff, sizeof(row_of_view));
		for (int s = 0; s < samples->n; s++)
		{
			int			v = samples->view[s];
			double		r[WIDE];

			if (row_of_view[v] < 0)
				row_of_view[v] = rows++;
			for (int j = 0; j < config->R; j++)
				r[j] = vector[(size_t) v * config->R + j] *
					mask(&n, dropout ? dropout->vector : 0,
						 config->experts > 0 ? NN_STREAM_EXPERTS : NN_STREAM_VECTOR(t),
						 (uint64_t) (v * config->R + j));
			if (config->experts > 0)
				mix(&n, t, r);
			out->loss += config->task[t].weight / samples->n *
				(samples->weight ? samples->weight[s] : 1.0) * sample_loss(&n, t, s, r, row_of_view[v], out, &logit[s]);
		}
		for (int s = 0; s < samples->n && config->task[t].pairwise > 0; s++)
			out->loss += config->task[t].weight / samples->n * config->task[t].pairwise *
				(samples->weight ? samples->weight[s] : 1.0) * pair_loss(samples, s, logit);
	}
	free(vector);
}
