/*-------------------------------------------------------------------------
 *
 * head_next.c
 *	  Which item comes next: a softmax over columns
 *
 *	query = W r + b		logit_j = query . e_j + b_j + wide terms + n_j
 *
 *	n_j = log(1 + sum over terms of value exp(memory.lag[lag]))
 *
 * A departure from NETWORK.md, where n_j is the sum itself.  Added to logits,
 * counts say "so many times as likely" once per event, and where two events
 * agree the product is far off; in the logarithm they say what they are, shares
 * of a mixture of what came after each event.  Counts alone (popularity, the
 * repeat term and n_j, no network; HR@10) reach .080 instead of .060 on Amazon
 * Beauty and .345 instead of .288 on REES46, at a loss of 8.87 instead of 9.03
 * and 6.49 instead of 7.52; on Taobao and The Complete Journey both are alike.
 *
 * The first `shared` columns are one product for all samples; the others are
 * compared only with the samples that list them (nn.h, nn_samples).
 *
 *-------------------------------------------------------------------------
 */
#include <math.h>
#include <string.h>

#include "arena.h"
#include "layers.h"
#include "product.h"
#include "vector.h"

#define CHUNK_FLOATS (1 << 21)	/* of the logits' gradient at a time */

static int64_t
extra_begin(const nn_samples *samples, int s)
{
	return samples->extra_offsets ? samples->extra_offsets[s] : 0;
}

static int64_t
extra_end(const nn_samples *samples, int s)
{
	return samples->extra_offsets ? samples->extra_offsets[s + 1] : 0;
}

/* shared + the most extras of a sample */
static size_t
line_floats(const nn_samples *samples)
{
	int64_t		most = 0;

	for (int s = 0; s < samples->n; s++)
		if (extra_end(samples, s) - extra_begin(samples, s) > most)
			most = extra_end(samples, s) - extra_begin(samples, s);
	return (size_t) samples->shared + (size_t) most;
}

void
nn_next_carve(const nn_run *run, const nn_samples *samples, nn_arena *arena,
			  nn_head *head, nn_task_acts *acts)
{
	size_t		S = (size_t) samples->n;
	size_t		extras = samples->extra_offsets ? (size_t) samples->extra_offsets[S] : 0;

	acts->logit = nn_arena_floats(arena, S, samples->shared);
	acts->extra_logit = nn_arena_floats(arena, extras, 1);
	acts->query = nn_arena_floats(arena, S, run->config->E);
	head->column = nn_arena_floats(arena, samples->columns, run->config->E);
	head->column_bias = nn_arena_floats(arena, samples->columns, 1);
	head->place = nn_arena_alloc(arena, (size_t) (samples->columns - samples->shared), sizeof(int32_t));
	head->line = nn_arena_floats(arena, line_floats(samples), 1);
	head->log_sum = nn_arena_floats(arena, S, 1);
	head->memory = nn_arena_floats(arena, samples->memory_offsets ? samples->columns : 0, 1);
}

/* Note where each of a sample's extra columns is in its list. */
static void
find_places(const nn_samples *samples, int s, const nn_head *head)
{
	for (int64_t k = extra_begin(samples, s); k < extra_end(samples, s); k++)
		head->place[samples->extra[k] - samples->shared] = (int32_t) (k - extra_begin(samples, s));
}

/* Where a column is in a sample's line: the shared ones, then its extras. */
static int64_t
line_place(const nn_samples *samples, const nn_head *head, int32_t column)
{
	return column < samples->shared ? column :
		samples->shared + (int64_t) head->place[column - samples->shared];
}

/* line = what the loss sees: logits less log_q, -infinity where hidden.  Its length. */
static int64_t
fill_line(const nn_samples *samples, int s, const nn_head *head, const nn_task_acts *acts)
{
	int64_t		shared = samples->shared;
	int64_t		begin = extra_begin(samples, s);
	int64_t		extras = extra_end(samples, s) - begin;
	float	   *line = head->line;

	memcpy(line, acts->logit + s * shared, shared * sizeof(float));
	for (int64_t k = 0; k < extras; k++)
		line[shared + k] = acts->extra_logit[begin + k];
	if (samples->log_q)
	{
		nn_vector_axpy(shared, -1.0f, samples->log_q, line);
		for (int64_t k = 0; k < extras; k++)
			line[shared + k] -= samples->log_q[samples->extra[begin + k]];
	}
	if (samples->hidden_offsets)
		for (int64_t k = samples->hidden_offsets[s]; k < samples->hidden_offsets[s + 1]; k++)
			line[samples->hidden[k]] = -INFINITY;
	return shared + extras;
}

static void
add_wide(const nn_run *run, int t, const nn_samples *samples, int s,
		 const nn_head *head, nn_task_acts *acts)
{
	const float *param;

	if (samples->wide_offsets == NULL || run->layout->task[t].repeat_recency < 0)
		return;
	param = nn_param(run, run->layout->task[t].repeat_recency);
	for (int64_t k = samples->wide_offsets[s]; k < samples->wide_offsets[s + 1]; k++)
	{
		const nn_wide *wide = &samples->wide[k];
		float		term = wide->value * param[wide->param];

		if (wide->column < samples->shared)
			acts->logit[(int64_t) s * samples->shared + wide->column] += term;
		else
			acts->extra_logit[extra_begin(samples, s) + head->place[wide->column - samples->shared]] += term;
	}
}

/* The sums of a sample's memory terms, by column; 0 where there is none. */
static void
sum_memory(const float *lag, const nn_samples *samples, int s, const nn_head *head)
{
	for (int64_t k = samples->memory_offsets[s]; k < samples->memory_offsets[s + 1]; k++)
		head->memory[samples->memory[k].column] +=
			samples->memory[k].value * expf(lag[samples->memory[k].lag]);
}

static void
add_memory(const nn_run *run, int t, const nn_samples *samples, int s,
		   const nn_head *head, nn_task_acts *acts)
{
	if (samples->memory_offsets == NULL || run->layout->task[t].memory_lag < 0)
		return;
	sum_memory(nn_param(run, run->layout->task[t].memory_lag), samples, s, head);
	for (int64_t k = samples->memory_offsets[s]; k < samples->memory_offsets[s + 1]; k++)
	{
		int32_t		column = samples->memory[k].column;
		float		term = log1pf(head->memory[column]);

		/* a column may have terms of several lags */
		head->memory[column] = 0.0f;
		if (column < samples->shared)
			acts->logit[(int64_t) s * samples->shared + column] += term;
		else
			acts->extra_logit[extra_begin(samples, s) + head->place[column - samples->shared]] += term;
	}
}

static double
sample_loss(const nn_samples *samples, int s, const nn_head *head, const nn_task_acts *acts)
{
	int64_t		n = fill_line(samples, s, head, acts);
	float		max = nn_vector_max(n, head->line);
	double		log_sum;
	double		loss = 0.0;

	/* the sum is over copies: the targets below need the line itself */
	log_sum = max + log(nn_vector_exp_sum(n, head->line, max, head->line));
	head->log_sum[s] = (float) log_sum;
	for (int64_t k = samples->target_offsets[s]; k < samples->target_offsets[s + 1]; k++)
	{
		int32_t		column = samples->target[k];
		float		logit = column < samples->shared ?
			acts->logit[(int64_t) s * samples->shared + column] :
			acts->extra_logit[extra_begin(samples, s) + head->place[column - samples->shared]];

		if (samples->log_q)
			logit -= samples->log_q[column];
		loss += samples->target_weight[k] * (log_sum - logit);
	}
	return loss;
}

nn_status
nn_next_forward(const nn_run *run, int t, const nn_samples *samples,
				const nn_head *head, nn_task_acts *acts)
{
	const nn_config *config = run->config;
	int			E = config->E;
	int			shared = samples->shared;
	double		loss = 0.0;
	nn_fields	fields;

	for (int s = 0; s < samples->n; s++)
		memcpy(acts->query + (size_t) s * E, head->mlp.out + (size_t) nn_mlp_out_row(&head->mlp, s) * E,
			   E * sizeof(float));
	nn_group_fields(config, run->layout, NN_ITEM, NN_USE_BOTH, &fields);
	nn_gather(run->layout, run->param, &fields, samples->column, NULL, samples->columns, head->column, E);
	for (int j = 0; j < samples->columns; j++)
		head->column_bias[j] = nn_item_bias(config, run->layout, run->param, t, samples->column, j);

	if (samples->memory_offsets)
		memset(head->memory, 0, samples->columns * sizeof(float));
	for (int s = 0; s < samples->n; s++)
		memcpy(acts->logit + (size_t) s * shared, head->column_bias, shared * sizeof(float));
	NN_TRY(nn_product(run, NN_ABT, samples->n, shared, E, acts->query, E, head->column, E,
					  true, acts->logit, shared));
	for (int s = 0; s < samples->n; s++)
	{
		find_places(samples, s, head);
		for (int64_t k = extra_begin(samples, s); k < extra_end(samples, s); k++)
		{
			int32_t		j = samples->extra[k];

			acts->extra_logit[k] = head->column_bias[j] +
				nn_vector_dot(E, acts->query + (size_t) s * E, head->column + (size_t) j * E);
		}
		add_wide(run, t, samples, s, head, acts);
		add_memory(run, t, samples, s, head, acts);
		if (samples->target_offsets)
			loss += nn_sample_weight(samples, s) * sample_loss(samples, s, head, acts);
		if (s % 64 == 63 && run->abort != NULL && run->abort(run->abort_arg))
			return NN_ABORTED;
	}
	acts->loss = samples->n > 0 ? loss / samples->n : 0.0;
	return NN_OK;
}

/* line = the gradient of a sample's logits, times scale. */
static void
line_gradient(const nn_samples *samples, int s, const nn_head *head, const nn_task_acts *acts,
			  float scale)
{
	int64_t		n = fill_line(samples, s, head, acts);
	float		total = 0.0f;

	for (int64_t k = samples->target_offsets[s]; k < samples->target_offsets[s + 1]; k++)
		total += samples->target_weight[k];
	nn_vector_exp_sum(n, head->line, head->log_sum[s], head->line);
	nn_vector_scale(n, scale * total, head->line);
	for (int64_t k = samples->target_offsets[s]; k < samples->target_offsets[s + 1]; k++)
		head->line[line_place(samples, head, samples->target[k])] -= scale * samples->target_weight[k];
}

static void
memory_backward(const nn_run *run, int t, const nn_samples *samples, int s, const nn_head *head, nn_grad *grad)
{
	const float *lag;
	float	   *d_lag;

	if (samples->memory_offsets == NULL || run->layout->task[t].memory_lag < 0)
		return;
	lag = nn_param(run, run->layout->task[t].memory_lag);
	d_lag = nn_grad_of(run, grad, run->layout->task[t].memory_lag);
	sum_memory(lag, samples, s, head);
	for (int64_t k = samples->memory_offsets[s]; k < samples->memory_offsets[s + 1]; k++)
	{
		const nn_memory *memory = &samples->memory[k];

		d_lag[memory->lag] += head->line[line_place(samples, head, memory->column)] *
			memory->value * expf(lag[memory->lag]) / (1.0f + head->memory[memory->column]);
	}
	for (int64_t k = samples->memory_offsets[s]; k < samples->memory_offsets[s + 1]; k++)
		head->memory[samples->memory[k].column] = 0.0f;
}

/* The part of a line that is not in the shared columns: extras and wide terms. */
static void
line_backward(const nn_run *run, int t, const nn_samples *samples, int s, const nn_head *head,
			  const nn_task_acts *acts, float *d_query, float *d_column, float *d_bias, nn_grad *grad)
{
	int			E = run->config->E;
	int64_t		begin = extra_begin(samples, s);

	for (int64_t k = begin; k < extra_end(samples, s); k++)
	{
		int32_t		j = samples->extra[k];
		float		d = head->line[samples->shared + (k - begin)];

		nn_vector_axpy(E, d, head->column + (size_t) j * E, d_query);
		nn_vector_axpy(E, d, acts->query + (size_t) s * E, d_column + (size_t) j * E);
		d_bias[j] += d;
	}
	if (samples->wide_offsets && run->layout->task[t].repeat_recency >= 0)
	{
		float	   *d_param = nn_grad_of(run, grad, run->layout->task[t].repeat_recency);

		for (int64_t k = samples->wide_offsets[s]; k < samples->wide_offsets[s + 1]; k++)
			d_param[samples->wide[k].param] += samples->wide[k].value *
				head->line[line_place(samples, head, samples->wide[k].column)];
	}
	memory_backward(run, t, samples, s, head, grad);
}

nn_status
nn_next_backward(const nn_run *run, int t, const nn_samples *samples, nn_arena *arena,
				 const nn_head *head, const nn_task_acts *acts, float *d_out, nn_grad *grad)
{
	const nn_config *config = run->config;
	int			E = config->E;
	int			S = samples->n;
	int			shared = samples->shared;
	int			columns = samples->columns;
	float		scale = run->config->task[t].weight / (float) S;
	int			chunk = shared > CHUNK_FLOATS / 16 ? 16 : CHUNK_FLOATS / (shared > 0 ? shared : 1);
	float	   *d_logit,
			   *d_query = nn_arena_floats(arena, S, E),
			   *d_column = nn_arena_floats(arena, columns, E),
			   *d_bias = nn_arena_floats(arena, columns, 1);
	nn_fields	fields;

	chunk = chunk < S ? chunk : S;
	d_logit = nn_arena_floats(arena, chunk, shared);
	if (nn_arena_counts(arena))
		return NN_OK;
	NN_TRY(nn_arena_check(arena));

	memset(d_query, 0, (size_t) S * E * sizeof(float));
	memset(d_column, 0, (size_t) columns * E * sizeof(float));
	memset(d_bias, 0, (size_t) columns * sizeof(float));
	nn_group_fields(config, run->layout, NN_ITEM, NN_USE_BOTH, &fields);
	for (int first = 0; first < S; first += chunk)
	{
		int			n = S - first < chunk ? S - first : chunk;

		for (int s = first; s < first + n; s++)
		{
			find_places(samples, s, head);
			line_gradient(samples, s, head, acts, scale * nn_sample_weight(samples, s));
			memcpy(d_logit + (size_t) (s - first) * shared, head->line, shared * sizeof(float));
			line_backward(run, t, samples, s, head, acts, d_query + (size_t) s * E,
						  d_column, d_bias, grad);
		}
		nn_vector_column_sums(n, shared, d_logit, shared, d_bias);
		NN_TRY(nn_product(run, NN_AB, n, E, shared, d_logit, shared, head->column, E,
						  true, d_query + (size_t) first * E, E));
		if (nn_fields_move(run->layout, &fields))
			NN_TRY(nn_product(run, NN_ATB, shared, E, n, d_logit, shared, acts->query + (size_t) first * E, E,
							  true, d_column, E));
	}

	nn_scatter(run->layout, grad, &fields, samples->column, NULL, columns, d_column, E);
	for (int j = 0; j < columns; j++)
		for (int f = 0; f < config->n_feature[NN_ITEM]; f++)
		{
			const int32_t *id;
			int64_t		bag = nn_bag(&samples->column[f], j, &id);

			for (int64_t k = 0; k < bag; k++)
				*nn_grad_row(run->layout, grad, run->layout->task[t].item_bias[f], id[k]) += d_bias[j];
		}
	for (int s = 0; s < S; s++)
		nn_vector_axpy(E, 1.0f, d_query + (size_t) s * E,
					   d_out + (size_t) nn_mlp_out_row(&head->mlp, s) * E);
	return NN_OK;
}
