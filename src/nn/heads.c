/*-------------------------------------------------------------------------
 *
 * heads.c
 *	  What the heads of all kinds share (NETWORK.md, Task heads)
 *
 * Samples of one view share a row: whatever depends on r alone is computed
 * once per row, and only for views that have samples.
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "arena.h"
#include "layers.h"
#include "product.h"
#include "vector.h"

int
nn_candidate_width(const nn_config *config, const nn_task *task)
{
	int			width = 0;

	for (int k = 0; k < task->n_candidate; k++)
		width += nn_candidate_feature(config, task->candidate[k])->dim;
	return width;
}

/* The features of a rank task meet its output, not its input. */
int
nn_extra_width(const nn_task *task)
{
	if (task->kind == NN_RANK || task->kind == NN_NEXT_ITEM)
		return 0;
	return (task->n_candidate > 0 ? task->candidate_dim : 0) + task->features;
}

int
nn_output_width(const nn_config *config, const nn_task *task)
{
	switch (task->kind)
	{
		case NN_BINARY:
			return 1;
		case NN_RANK:
			return task->features;
		case NN_MULTICLASS:
			return task->classes;
		case NN_NEXT_ITEM:
			return config->E;
	}
	return 0;
}

/* mlp is zero. */
static void
make_mlp(const nn_run *run, int t, const nn_samples *samples, int views, nn_mlp *mlp)
{
	const nn_task *task = &run->config->task[t];
	const nn_task_tensors *tensors = &run->layout->task[t];

	mlp->task = t;
	mlp->samples = samples->n;
	mlp->rows = samples->n < views ? samples->n : views;
	mlp->row_width = run->config->head_width;
	mlp->extra_width = nn_extra_width(task);
	if (task->kind == NN_NEXT_ITEM)
	{
		mlp->n_layer = 1;
		mlp->weight[0] = tensors->query_weight;
		mlp->bias[0] = tensors->query_bias;
		return;
	}
	mlp->n_layer = task->n_hidden + 1;
	for (int k = 0; k < task->n_hidden; k++)
	{
		mlp->weight[k] = tensors->hidden_weight[k];
		mlp->bias[k] = tensors->hidden_bias[k];
	}
	mlp->weight[task->n_hidden] = tensors->output_weight;
	mlp->bias[task->n_hidden] = tensors->output_bias;
}

/* Dropout on what the head takes of a view; with experts it came before them. */
static void
drop(const nn_run *run, int t, int view, float *x)
{
	int			X = run->config->head_width;

	if (run->dropout && run->config->experts == 0)
		nn_dropout_apply(run->dropout, run->dropout->vector, NN_STREAM_VECTOR(t),
						 (run->dropout->view + (uint64_t) view) * X, X, x);
}

/* Number the views that have samples, and copy what the head takes of them. */
static void
fill_rows(const nn_run *run, int t, const nn_samples *samples, int views,
		  const float *in, nn_head *head)
{
	int			X = run->config->head_width;
	int			rows = 0;

	memset(head->row_of_view, 0xff, (size_t) views * sizeof(int32_t));
	for (int s = 0; s < samples->n; s++)
	{
		int32_t		v = samples->view[s];

		if (head->row_of_view[v] < 0)
		{
			float	   *x = head->x + (size_t) rows * X;

			memcpy(x, in + (size_t) v * X, X * sizeof(float));
			drop(run, t, v, x);
			head->view_of_row[rows] = v;
			head->row_of_view[v] = rows++;
		}
		head->row[s] = head->row_of_view[v];
	}
	head->mlp.rows = rows;
	head->mlp.row = head->row;
	head->mlp.x = head->x;
	head->mlp.extra = head->extra;
}

/* extra [S, C + F] = [candidate.weight e + candidate.bias ; features] */
static nn_status
extra_forward(const nn_run *run, int t, const nn_samples *samples, const nn_head *head)
{
	const nn_task *task = &run->config->task[t];
	int			C = task->n_candidate > 0 ? task->candidate_dim : 0;
	int			F = task->features;
	int			width = C + F;

	if (head->mlp.extra_width == 0)
		return NN_OK;
	if (C > 0)
	{
		const nn_task_tensors *tensors = &run->layout->task[t];
		nn_fields	fields;

		nn_candidate_fields(run->config, run->layout, task, &fields);
		nn_gather(run->layout, run->param, &fields, samples->candidate, NULL, samples->n,
				  head->candidate, fields.width);
		for (int s = 0; s < samples->n; s++)
			memcpy(head->extra + (size_t) s * width, nn_param(run, tensors->candidate_bias),
				   C * sizeof(float));
		NN_TRY(nn_product(run, NN_ABT, samples->n, C, fields.width, head->candidate, fields.width,
						  nn_param(run, tensors->candidate_weight), fields.width,
						  true, head->extra, width));
	}
	for (int s = 0; s < samples->n && F > 0; s++)
		memcpy(head->extra + (size_t) s * width + C, samples->features + (size_t) s * F,
			   F * sizeof(float));
	return NN_OK;
}

static nn_status
extra_backward(const nn_run *run, int t, const nn_samples *samples, const nn_head *head,
			   const float *d_extra, const float *d_logit, float *d_query, float *d_candidate,
			   float *d_x, nn_grad *grad)
{
	const nn_task *task = &run->config->task[t];
	const nn_task_tensors *tensors = &run->layout->task[t];
	int			C = task->candidate_dim;
	int			width = head->mlp.extra_width;
	nn_fields	fields;

	nn_candidate_fields(run->config, run->layout, task, &fields);
	nn_vector_column_sums(samples->n, C, d_extra, width, nn_grad_of(run, grad, tensors->candidate_bias));
	NN_TRY(nn_product(run, NN_ATB, C, fields.width, samples->n, d_extra, width,
					  head->candidate, fields.width,
					  true, nn_grad_of(run, grad, tensors->candidate_weight), fields.width));
	if (nn_fields_move(run->layout, &fields))
		NN_TRY(nn_product(run, NN_AB, samples->n, fields.width, C, d_extra, width,
						  nn_param(run, tensors->candidate_weight), fields.width,
						  false, d_candidate, fields.width));
	else
		memset(d_candidate, 0, (size_t) samples->n * fields.width * sizeof(float));
	if (task->product)
		NN_TRY(nn_binary_product_backward(run, t, samples, head, d_logit, d_query, d_candidate, d_x, grad));
	nn_scatter(run->layout, grad, &fields, samples->candidate, NULL, samples->n,
			   d_candidate, fields.width);
	return NN_OK;
}

nn_status
nn_task_forward(const nn_run *run, int t, const nn_samples *samples, int views,
				const float *vector, nn_arena *arena, nn_task_acts *acts)
{
	nn_experts	experts;

	if (run->config->experts == 0)
		return nn_head_forward(run, t, samples, views, vector, arena, acts);
	NN_TRY(nn_experts_forward(run, views, vector, arena, &experts));
	NN_TRY(nn_gate_forward(run, t, views, arena, &experts));
	return nn_head_forward(run, t, samples, views, experts.x[t], arena, acts);
}

nn_status
nn_head_forward(const nn_run *run, int t, const nn_samples *samples, int views,
				const float *x, nn_arena *arena, nn_task_acts *acts)
{
	const nn_config *config = run->config;
	const nn_task *task = &config->task[t];
	size_t		S = (size_t) samples->n;
	nn_head    *own = nn_arena_alloc(arena, 1, sizeof(nn_head));
	nn_head		head;

	memset(&head, 0, sizeof(head));
	memset(acts, 0, sizeof(*acts));
	make_mlp(run, t, samples, views, &head.mlp);
	head.row_of_view = nn_arena_alloc(arena, views, sizeof(int32_t));
	head.view_of_row = nn_arena_alloc(arena, head.mlp.rows, sizeof(int32_t));
	head.row = nn_arena_alloc(arena, S, sizeof(int32_t));
	head.x = nn_arena_floats(arena, head.mlp.rows, config->head_width);
	head.candidate = nn_arena_floats(arena, S, nn_candidate_width(config, task));
	head.extra = nn_arena_floats(arena, S, head.mlp.extra_width);
	nn_mlp_carve(run, arena, &head.mlp);
	if (task->product)
		head.query = nn_arena_floats(arena, head.mlp.rows, nn_candidate_width(config, task));
	if (task->kind == NN_NEXT_ITEM)
		nn_next_carve(run, samples, arena, &head, acts);
	else
		acts->logit = nn_arena_floats(arena, S, task->kind == NN_MULTICLASS ? task->classes : 1);
	if (task->kind == NN_RANK)
		acts->weights = nn_arena_floats(arena, S, task->features);
	acts->own = own;
	if (nn_arena_counts(arena))
		return NN_OK;
	NN_TRY(nn_arena_check(arena));

	fill_rows(run, t, samples, views, x, &head);
	*own = head;
	NN_TRY(extra_forward(run, t, samples, own));
	NN_TRY(nn_mlp_forward(run, &own->mlp));
	switch (task->kind)
	{
		case NN_BINARY:
			NN_TRY(nn_binary_forward(run, t, samples, own, acts));
			return nn_logit_forward(run, t, samples, acts);
		case NN_RANK:
			NN_TRY(nn_rank_forward(run, t, samples, own, acts));
			return nn_logit_forward(run, t, samples, acts);
		case NN_MULTICLASS:
			return nn_multiclass_forward(run, t, samples, own, acts);
		case NN_NEXT_ITEM:
			return nn_next_forward(run, t, samples, own, acts);
	}
	return NN_BAD_CONFIG;
}

nn_status
nn_head_backward(const nn_run *run, int t, const nn_samples *samples, int views,
				 nn_arena *arena, nn_task_acts *acts, float *d_x, nn_grad *grad)
{
	const nn_config *config = run->config;
	const nn_task *task = &config->task[t];
	int			X = config->head_width;
	int			n_out = nn_output_width(config, task);
	bool		counts = nn_arena_counts(arena);
	nn_head		head;
	bool		logits = task->kind == NN_BINARY || task->kind == NN_RANK;
	float	   *d_out,
			   *d_logit,
			   *d_row,
			   *d_query,
			   *d_extra,
			   *d_candidate;

	if (counts)
	{
		memset(&head, 0, sizeof(head));
		make_mlp(run, t, samples, views, &head.mlp);
	}
	else
		head = *(nn_head *) acts->own;
	d_out = nn_arena_floats(arena, nn_mlp_out_rows(&head.mlp), n_out);
	d_logit = nn_arena_floats(arena, logits ? samples->n : 0, 1);
	d_row = nn_arena_floats(arena, head.mlp.rows, X);
	d_query = nn_arena_floats(arena, task->product ? head.mlp.rows : 0, nn_candidate_width(config, task));
	d_extra = nn_arena_floats(arena, samples->n, head.mlp.extra_width);
	d_candidate = nn_arena_floats(arena, samples->n, nn_candidate_width(config, task));
	if (!counts)
	{
		NN_TRY(nn_arena_check(arena));
		memset(d_out, 0, (size_t) nn_mlp_out_rows(&head.mlp) * n_out * sizeof(float));
	}

	if (logits && !counts)
		NN_TRY(nn_logit_backward(run, t, samples, acts, d_logit, grad));
	if (task->kind == NN_NEXT_ITEM)
		NN_TRY(nn_next_backward(run, t, samples, arena, &head, acts, d_out, grad));
	else if (!counts && task->kind == NN_BINARY)
		nn_binary_backward(samples, &head, d_logit, d_out);
	else if (!counts && task->kind == NN_RANK)
		nn_rank_backward(run, t, samples, &head, acts, d_logit, d_out);
	else if (!counts && task->kind == NN_MULTICLASS)
		NN_TRY(nn_multiclass_backward(run, t, samples, &head, acts, d_out));

	NN_TRY(nn_mlp_backward(run, &head.mlp, arena, d_out, d_row, d_extra, grad));
	if (counts)
		return NN_OK;
	if (task->n_candidate > 0)
		NN_TRY(extra_backward(run, t, samples, &head, d_extra, d_logit, d_query, d_candidate, d_row, grad));
	for (int i = 0; i < head.mlp.rows; i++)
	{
		int32_t		v = head.view_of_row[i];

		drop(run, t, v, d_row + (size_t) i * X);
		nn_vector_axpy(X, 1.0f, d_row + (size_t) i * X, d_x + (size_t) v * X);
	}
	return NN_OK;
}
