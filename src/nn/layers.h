/*-------------------------------------------------------------------------
 *
 * layers.h
 *	  The layers of the network, as user.c and heads.c put them together
 *
 * Each layer has one function that carves its memory from the arena (and so
 * tells what it needs), one for forward and one for backward.  Letters as in
 * nn.h.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DUPN_NN_LAYERS_H
#define DUPN_NN_LAYERS_H

#include "nn.h"

#define NN_REPEAT_COUNTS 5		/* of repeat.count */

/* ------------------------------------------------------------------------
 * Parameters and gradients: params.c
 * ------------------------------------------------------------------------ */

static inline const float *
nn_param(const nn_run *run, int tensor)
{
	return run->param + run->layout->tensor[tensor].offset;
}

static inline float *
nn_grad_of(const nn_run *run, nn_grad *grad, int tensor)
{
	return grad->value + run->layout->tensor[tensor].offset;
}

/*
 * Rows of tables lie anywhere in memory: ask for those that come NN_AHEAD
 * places later, n floats each, while working on the one at hand.
 */
#define NN_AHEAD 8

static inline void
nn_prefetch(const float *x, int64_t n)
{
#ifdef __GNUC__
	for (int64_t j = 0; j < n; j += 16)
		__builtin_prefetch(x + j);
#endif
}

/* The gradient of one row of a table, which is listed as touched. */
extern float *nn_grad_row(const nn_layout *layout, nn_grad *grad, int tensor, int32_t row);

/* ------------------------------------------------------------------------
 * Optimizers: optimizer.c
 * ------------------------------------------------------------------------ */

/* Sum of squares of a gradient's dense floats [begin, end) and of the listed rows. */
extern double nn_optimizer_squares(const nn_layout *layout, const float *grad, size_t begin, size_t end,
								   const int64_t *n_touched, int32_t *const *touched);

/* One step of them; squares: of the whole gradient. */
extern nn_status nn_optimizer_apply(nn_optimizer *optimizer, const nn_layout *layout, float *param,
									const float *grad, double squares, size_t begin, size_t end,
									const int64_t *n_touched, int32_t *const *touched);

/* ------------------------------------------------------------------------
 * Embeddings: embedding.c
 * ------------------------------------------------------------------------ */

/* The features of a group that have one of the uses (properties only). */
extern void nn_group_fields(const nn_config *config, const nn_layout *layout,
							nn_group group, int use, nn_fields *fields);
extern void nn_candidate_fields(const nn_config *config, const nn_layout *layout,
								const nn_task *task, nn_fields *fields);

/* Does an optimizer move any of their tables?  If not, nobody asks for their gradient. */
extern bool nn_fields_move(const nn_layout *layout, const nn_fields *fields);

/* out[i] [n, width] = the encoding of row map[i], or of row i without a map. */
extern void nn_gather(const nn_layout *layout, const float *param, const nn_fields *fields,
					  const nn_ids *ids, const int64_t *map, int64_t n, float *out, int ld);

/* Add d [n, width], the gradient of what nn_gather gave, to the tables' rows. */
extern void nn_scatter(const nn_layout *layout, nn_grad *grad, const nn_fields *fields,
					   const nn_ids *ids, const int64_t *map, int64_t n, const float *d, int ld);

/*
 * Properties have few values, and nothing happens to their encodings on the
 * way: instead of every event's encoding, the table rows that occur in a batch
 * meet the weight, and an event adds up what its ids gave.  Backward likewise.
 */
typedef struct nn_projected
{
	nn_fields	fields;
	int			width;			/* of the weight's output */
	int64_t		first[NN_MAX_FEATURES + 1]; /* row of a field, then all */
	int32_t		rows[NN_MAX_FEATURES];	/* that occur */
	int32_t    *row[NN_MAX_FEATURES];	/* [vocab] the row of an id within its field */
	int32_t    *id[NN_MAX_FEATURES];	/* the id of a row */
	float	   *encoding[NN_MAX_FEATURES];	/* [rows, dim] table rows */
	float	   *value;			/* [all rows, width] */
	float	   *gradient;		/* of value, for backward; starts as zeros */
} nn_projected;

/* For n events of the properties of a use. */
extern void nn_projected_carve(const nn_run *run, const nn_ids *ids, int use, int64_t n, int width,
							   nn_arena *arena, nn_projected *projected);

/* Times weight [width, of which the first columns are the properties'], ld floats a row. */
extern nn_status nn_projected_forward(const nn_run *run, const nn_ids *ids, int64_t n,
									  const float *weight, int ld, nn_projected *projected);

/* y += columns [begin, begin + n) of an event's projection. */
extern void nn_projected_add(const nn_projected *projected, const nn_ids *ids, int64_t event,
							 int begin, int n, float *y);

/* Backward: collect the events' gradients, then hand the sums on and lose the encodings. */
extern void nn_projected_collect(const nn_projected *projected, const nn_ids *ids, int64_t event,
								 int begin, int n, const float *d);
extern nn_status nn_projected_backward(const nn_run *run, const float *weight, int ld, float *d_weight,
									   const nn_projected *projected, nn_grad *grad);

/* The ids of one row: how many, and where. */
static inline int64_t
nn_bag(const nn_ids *ids, int64_t row, const int32_t **values)
{
	if (ids->offsets == NULL)
	{
		*values = ids->values + row;
		return 1;
	}
	*values = ids->values + ids->offsets[row];
	return ids->offsets[row + 1] - ids->offsets[row];
}

/*
 * Multiply x [n] with a dropout mask of 0 and 1 / (1 - rate), in place.  The
 * mask depends on the seed, the stream and first + its position alone, so
 * that backward calls the same again instead of keeping it.
 */
extern void nn_dropout_apply(const nn_dropout *dropout, float rate, uint64_t stream,
							 uint64_t first, size_t n, float *x);

/* Streams of masks */
#define NN_STREAM_ITEM 1
#define NN_STREAM_EXPERTS 2
#define NN_STREAM_VECTOR(t) (100 + (uint64_t) (t))
#define NN_STREAM_HIDDEN(t, k) (1000 + (uint64_t) (t) * NN_MAX_LAYERS + (uint64_t) (k))

/* ------------------------------------------------------------------------
 * LSTM: lstm.c
 * ------------------------------------------------------------------------ */

/*
 * One direction.  Events are packed step by step, the longest sequence first:
 * step s holds the s-th event of each sequence that has one, in rows
 * start[s] .. start[s + 1].  So the sequences that go on are always a prefix,
 * and there is no padding.
 */
typedef struct nn_lstm
{
	int64_t		events;			/* N */
	int			steps;			/* of the longest sequence */
	int64_t    *start;			/* [steps + 1] */
	int32_t    *order;			/* [B] sequences, longest first */
	int64_t    *event;			/* [N] the batch's event of a packed row */
	float	   *input;			/* [N, H + E] the state before, the item after dropout */
	float	   *gate;			/* [N, 4H] sums, then activations, then their gradients;
								 * a chunk's without backward */
	float	   *cell;			/* [N, H]; [B, H], the latest, without backward */
	float	   *weight_hidden;	/* [H, 4H] transposed */
	float	   *weight_item;	/* [E, 4H] transposed */
	nn_projected property;		/* onto the rows of i, f, o */
} nn_lstm;

/* The packing alone: steps, start, order, event. */
extern void nn_lstm_carve_order(const nn_batch *batch, nn_arena *arena, nn_lstm *lstm);
extern void nn_lstm_pack(const nn_batch *batch, int direction, nn_lstm *lstm);

extern void nn_lstm_carve(const nn_run *run, const nn_batch *batch, nn_arena *arena, nn_lstm *lstm);

/* Writes its half (direction 1 is the reverse) of state [N, W]. */
extern nn_status nn_lstm_forward(const nn_run *run, const nn_batch *batch, int direction,
								 nn_lstm *lstm, float *state);

/* d_state [N, W].  Scratch is carved from the arena. */
extern nn_status nn_lstm_backward(const nn_run *run, const nn_batch *batch, int direction,
								  nn_arena *arena, nn_lstm *lstm, const float *d_state, nn_grad *grad);

/* ------------------------------------------------------------------------
 * Attention: attention.c
 * ------------------------------------------------------------------------ */

typedef struct nn_attention
{
	bool		per_event;		/* no q, no u: scores are the same in all views */
	int64_t		rows;			/* K: N if per_event, else M */
	int64_t		parts;			/* rows of view_part: 1 if per_event, else V */
	nn_projected property;		/* onto the first layer */
	float	   *event_part;		/* [N, A1] first layer, what depends on the event */
	float	   *weight_state;	/* [W, A1] the first layer's, transposed */
	float	   *weight_second;	/* [A1, A2] the second layer's */
	float	   *view_part;		/* [parts, A1] and what depends on the view, with the bias */
	float	   *h1;				/* [a chunk of K, A1] */
	float	   *h2;				/* [K, A2]; a chunk's without backward */
	float	   *raw;			/* [K] scores without the biases of time */
} nn_attention;

extern void nn_attention_carve(const nn_run *run, const nn_batch *batch, nn_arena *arena,
							   nn_attention *attention);

/* Fills acts->score, acts->attention and the first W columns of acts->vector. */
extern nn_status nn_attention_forward(const nn_run *run, const nn_batch *batch,
									  nn_attention *attention, const float *query_profile,
									  nn_acts *acts);

/*
 * The rest from raw scores: their biases, the softmax, the sums.  raw has a
 * score per pair, or per event (per_event).
 */
extern nn_status nn_attention_pool(const nn_run *run, const nn_batch *batch, bool per_event,
								   const float *raw, nn_acts *acts);

/* Adds to d_state [N, W] and d_query_profile [V, Q + U]. */
extern nn_status nn_attention_backward(const nn_run *run, const nn_batch *batch, nn_arena *arena,
									   nn_attention *attention, const float *query_profile,
									   const nn_acts *acts, float *d_state, float *d_query_profile,
									   nn_grad *grad);

/* ------------------------------------------------------------------------
 * Pooling without attention: pooling.c
 * ------------------------------------------------------------------------ */

/* Fills the first W columns of acts->vector from acts->state. */
extern void nn_pool_forward(const nn_run *run, const nn_batch *batch, nn_acts *acts);

/* Adds to d_state [N, W]. */
extern void nn_pool_backward(const nn_run *run, const nn_batch *batch, const nn_acts *acts, float *d_state);

/* ------------------------------------------------------------------------
 * Users: user.c
 * ------------------------------------------------------------------------ */

/* From acts->dvector to the gradients of all that lies before the heads. */
extern nn_status nn_user_backward(const nn_run *run, const nn_batch *batch, nn_arena *arena,
								  nn_acts *acts, nn_grad *grad);

/* ------------------------------------------------------------------------
 * Dense layers: dense.c
 * ------------------------------------------------------------------------ */

/* y [n, out] = x [n, in] W^T + b. */
extern nn_status nn_dense_forward(const nn_run *run, int weight, int bias, int64_t n,
								  const float *x, float *y);

/* Adds to the gradients of weight and bias; d_x is written, unless NULL. */
extern nn_status nn_dense_backward(const nn_run *run, int weight, int bias, int64_t n,
								   const float *x, const float *d_y, float *d_x, nn_grad *grad);

/*
 * The dense layers of a task: relu after all but the last.  Samples of one
 * view share a row of x; `extra` is what a sample has of its own, and joins x
 * in the first layer.  The product with x is taken once per row.  Without
 * extra all layers run once per row: O, the rows of the output, is `rows`
 * then, and S else.
 */
typedef struct nn_mlp
{
	int			n_layer;		/* hidden layers and the output */
	int			weight[NN_MAX_LAYERS + 1];	/* tensors */
	int			bias[NN_MAX_LAYERS + 1];
	int			task;			/* for the streams of dropout */
	int			samples;		/* S */
	int			rows;
	int			row_width;
	int			extra_width;
	const int32_t *row;			/* [S] */
	const float *x;				/* [rows, row_width] */
	const float *extra;			/* [S, extra_width] */
	float	   *first;			/* [rows, width of layer 0], with extra only */
	float	   *h[NN_MAX_LAYERS];	/* [O, width] after relu and dropout */
	float	   *out;			/* [O, width of the output] */
} nn_mlp;

static inline int
nn_mlp_out_rows(const nn_mlp *mlp)
{
	return mlp->extra_width > 0 ? mlp->samples : mlp->rows;
}

static inline int
nn_mlp_out_row(const nn_mlp *mlp, int sample)
{
	return mlp->extra_width > 0 ? sample : mlp->row[sample];
}

/* Carves first, h and out. */
extern void nn_mlp_carve(const nn_run *run, nn_arena *arena, nn_mlp *mlp);
extern nn_status nn_mlp_forward(const nn_run *run, const nn_mlp *mlp);

/*
 * d_out as out.  d_x [rows, row_width] and d_extra [S, extra_width] are
 * written.  Scratch is carved from the arena; with d_out NULL that is all.
 */
extern nn_status nn_mlp_backward(const nn_run *run, const nn_mlp *mlp, nn_arena *arena,
								 const float *d_out, float *d_x, float *d_extra, nn_grad *grad);

/* ------------------------------------------------------------------------
 * Heads: heads.c, and what differs between the kinds in head_<kind>.c
 * ------------------------------------------------------------------------ */

/* Widths that follow from a task */
extern int	nn_candidate_width(const nn_config *config, const nn_task *task);
extern int	nn_extra_width(const nn_task *task);	/* C + F, beside r */
extern int	nn_output_width(const nn_config *config, const nn_task *task);

/* What forward leaves for backward: nn_task_acts.own. */
typedef struct nn_head
{
	nn_mlp		mlp;
	int32_t    *row_of_view;	/* [V] */
	int32_t    *view_of_row;	/* [rows] */
	int32_t    *row;			/* [S] */
	float	   *x;				/* [rows, R] r after dropout */
	float	   *candidate;		/* [S, sum of the item features' widths] */
	float	   *extra;			/* [S, C + F] */

	float	   *query;			/* [rows, X] of the product term */

	/* next_item */
	float	   *column;			/* [J, E] */
	float	   *column_bias;	/* [J] */
	int32_t    *place;			/* [J - shared] scratch: of a column among a sample's extras */
	float	   *line;			/* [shared + most extras] scratch: one sample's columns */
	float	   *log_sum;		/* [S] of what the loss counts */
	float	   *memory;			/* [J] scratch, 0 between samples */
} nn_head;

static inline float
nn_sample_weight(const nn_samples *samples, int s)
{
	return samples->weight ? samples->weight[s] : 1.0f;
}

/*
 * Per kind.  forward: from mlp.out to acts' logit and loss (of binary and rank
 * tasks nn_logit_forward takes the loss).  backward: adds the gradient of task
 * weight times loss to d_out, which starts as zeros, and to the parameters
 * outside the dense layers.
 */
extern nn_status nn_binary_forward(const nn_run *run, int t, const nn_samples *samples,
								   const nn_head *head, nn_task_acts *acts);
extern void nn_binary_backward(const nn_samples *samples, const nn_head *head, const float *d_logit,
							   float *d_out);

/* The product term's own, from d_logit [S]: adds to d_candidate [S, X] and d_x
 * [rows, R]; d_query [rows, X] is scratch. */
extern nn_status nn_binary_product_backward(const nn_run *run, int t, const nn_samples *samples,
											const nn_head *head, const float *d_logit, float *d_query,
											float *d_candidate, float *d_x, nn_grad *grad);
extern nn_status nn_rank_forward(const nn_run *run, int t, const nn_samples *samples,
								 const nn_head *head, nn_task_acts *acts);
extern void nn_rank_backward(const nn_run *run, int t, const nn_samples *samples, const nn_head *head,
							 const nn_task_acts *acts, const float *d_logit, float *d_out);
extern nn_status nn_multiclass_forward(const nn_run *run, int t, const nn_samples *samples,
									   const nn_head *head, nn_task_acts *acts);
extern nn_status nn_multiclass_backward(const nn_run *run, int t, const nn_samples *samples,
										const nn_head *head, const nn_task_acts *acts, float *d_out);
extern void nn_next_carve(const nn_run *run, const nn_samples *samples, nn_arena *arena,
						  nn_head *head, nn_task_acts *acts);
extern nn_status nn_next_forward(const nn_run *run, int t, const nn_samples *samples,
								 const nn_head *head, nn_task_acts *acts);
extern nn_status nn_next_backward(const nn_run *run, int t, const nn_samples *samples,
								  nn_arena *arena, const nn_head *head, const nn_task_acts *acts,
								  float *d_out, nn_grad *grad);

/*
 * log_loss.c, for binary and rank.  forward: completes acts->logit, and takes
 * acts->loss where there are labels.  backward: d_logit [S] is written, the
 * gradient of task weight times loss, and added to those of the intercept and
 * of the biases of places.
 */
extern nn_status nn_logit_forward(const nn_run *run, int t, const nn_samples *samples,
								  nn_task_acts *acts);
extern nn_status nn_logit_backward(const nn_run *run, int t, const nn_samples *samples,
								   const nn_task_acts *acts, float *d_logit, nn_grad *grad);

/* Log loss of a logit, and its derivative; stable for any logit. */
extern double nn_log_loss_of(float logit, float label);
extern float nn_log_loss_slope(float logit, float label);

/* nn_task_forward from what the head takes, x [V, X]. */
extern nn_status nn_head_forward(const nn_run *run, int t, const nn_samples *samples, int views,
								 const float *x, nn_arena *arena, nn_task_acts *acts);

/* d_x [V, X] is added to. */
extern nn_status nn_head_backward(const nn_run *run, int t, const nn_samples *samples, int views,
								  nn_arena *arena, nn_task_acts *acts, float *d_x, nn_grad *grad);

/* ------------------------------------------------------------------------
 * Experts: experts.c
 * ------------------------------------------------------------------------ */

/* From vectors [V, R]: once for all tasks, then the gate and mixture of each. */
extern nn_status nn_experts_forward(const nn_run *run, int views, const float *vector, nn_arena *arena,
									nn_experts *experts);
extern nn_status nn_gate_forward(const nn_run *run, int t, int views, nn_arena *arena, nn_experts *experts);

/*
 * The way back: carve, then each task's gate from d_x, then the experts, which
 * add to d_vector [V, R].
 */
extern nn_status nn_experts_carve_backward(const nn_run *run, int views, nn_arena *arena, nn_experts *experts);
extern nn_status nn_gate_backward(const nn_run *run, int t, int views, nn_experts *experts, nn_grad *grad);
extern nn_status nn_experts_backward(const nn_run *run, int views, nn_experts *experts, float *d_vector,
									 nn_grad *grad);

#endif							/* DUPN_NN_LAYERS_H */
