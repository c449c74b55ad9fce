/*-------------------------------------------------------------------------
 *
 * nn.h
 *	  The Deep User Perception Network (Ni et al., KDD 2018) as a plain library
 *
 * C11 and BLAS only: no allocation, no I/O, no exit, no global state but the
 * choice of kernels (kernel.h).  Every function that can fail returns an
 * nn_status.  The caller owns all memory and hands scratch space in as an
 * nn_arena.
 *
 * Letters, used in every shape comment:
 *
 *	B	sequences of a batch			N	events of a batch, all sequences
 *	V	views (a user at one "now")		M	pairs (view, event it attends over)
 *	S	samples of a task				J	columns (items) of a next_item task
 *	E	item width						Pg Pa	property widths in gates, attention
 *	U	profile width					Q	context width
 *	H	hidden							W	state width: H, or 2H if bidirectional
 *	R	user vector width, W + U (+ Q with context_in_vector)
 *	A1 A2	hidden widths of the attention
 *	K	experts						X	width of what heads take: R, or an expert's
 *
 * A *sequence* is a run of one user's events, oldest first.  A *view* is a
 * prefix of a sequence seen at one moment: it attends over the first
 * view_length events and yields one user vector.  Many views share one pass
 * of the LSTM.  When serving, one sequence has one view over all of it.
 *
 * Matrices are row-major float32, [rows, cols]; vectors are rows.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DUPN_NN_H
#define DUPN_NN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NN_MAX_NAME		64		/* bytes of a feature or task name, with the NUL */
#define NN_MAX_TENSOR	192		/* bytes of a tensor name, with the NUL */
#define NN_MAX_FEATURES 32		/* features of a group */
#define NN_MAX_TASKS	16
#define NN_MAX_LAYERS	4		/* hidden layers of a head */
#define NN_MAX_EXPERTS	16
#define NN_MAX_TENSORS	1024
#define NN_MAX_BAG		32		/* ids of a multi-hot value */
#define NN_MAX_WIDTH	4096	/* of any layer, embedding or group */

typedef enum nn_status
{
	NN_OK = 0,
	NN_NO_MEMORY,				/* the arena is too small */
	NN_BAD_CONFIG,				/* nn_config_parse: see its message */
	NN_BAD_BATCH,				/* an id, offset or length out of range */
	NN_BAD_FILE,				/* safetensors: malformed or hostile bytes */
	NN_NOT_FINITE,				/* NaN or infinity where a number must be */
	NN_ABORTED					/* the abort callback said stop */
} nn_status;

extern const char *nn_status_text(nn_status status);

/* ------------------------------------------------------------------------
 * Configuration: config.c
 * ------------------------------------------------------------------------ */

typedef enum nn_group
{
	NN_ITEM, NN_PROPERTY, NN_PROFILE, NN_CONTEXT, NN_THING
} nn_group;

#define NN_GROUPS 5

extern const char *const nn_group_name[NN_GROUPS];	/* in tensor names and JSON */

#define NN_USE_GATES		1
#define NN_USE_ATTENTION	2
#define NN_USE_BOTH			3

typedef struct nn_feature
{
	char		name[NN_MAX_NAME];
	int64_t		vocab;			/* rows of its table, missing and unknown included */
	int			dim;			/* columns of its table */
	bool		multi;			/* a value is a bag of ids */
	int			use;			/* NN_USE_*, properties only */
	int			shares;			/* context: the item feature whose table it reads,
								 * or -1 (JSON key "table": that feature's name) */
} nn_feature;

typedef enum nn_kind
{
	NN_BINARY, NN_RANK, NN_MULTICLASS, NN_NEXT_ITEM
} nn_kind;

#define NN_KINDS 4

extern const char *const nn_kind_name[NN_KINDS];

typedef struct nn_task
{
	char		name[NN_MAX_NAME];
	nn_kind		kind;
	float		weight;			/* of its loss in the total */
	int			n_candidate;	/* features of the candidate, 0: none */
	int			candidate[NN_MAX_FEATURES]; /* see nn_candidate_feature */
	int			candidate_dim;	/* C: width of the candidate's projection */
	int			n_hidden;
	int			hidden[NN_MAX_LAYERS];
	int			features;		/* F: named numbers of a sample */
	int			classes;		/* multiclass */
	bool		repeat;			/* next_item: the repeat term (JSON "repeat") */
	int			position;		/* binary, rank: buckets of the bias of places, 0: none */
	float		pairwise;		/* binary, rank: share of the loss that compares pairs */
	bool		product;		/* binary with a candidate: the product term (JSON "product") */
	int			memory;			/* next_item: lags of the memory term, 0: none (JSON "memory") */
} nn_task;

/* How the states of a view's events become the first W numbers of r: pooling.c */
typedef enum nn_pooling
{
	NN_POOL_ATTENTION, NN_POOL_LAST, NN_POOL_MEAN, NN_POOL_MAX
} nn_pooling;

#define NN_POOLINGS 4

extern const char *const nn_pooling_name[NN_POOLINGS];

typedef struct nn_config
{
	int			hidden;			/* H */
	bool		bidirectional;
	nn_pooling	pooling;
	int			attention[2];	/* A1, A2; 0 with another pooling */
	int			recency;		/* buckets of a time before now, 0: none */
	int			recency_rows;	/* behaviour types beside them, at least 1 */
	bool		recency_bias;	/* attention.recency [recency_rows, recency] is there;
								 * JSON "recency_bias" false: the buckets are the
								 * repeat term's alone */
	int			lag;			/* buckets of attention.lag, 0: no such bias */
	bool		item_sum;		/* "item_encoding": "sum" instead of concatenation */
	bool		context_in_vector;	/* r = [.. ; u ; q] */
	int			experts;		/* K between r and the heads, 0: none, else at least 2 */
	int			expert_dim;		/* their width; JSON "expert_dim", R without it */
	int			n_feature[NN_GROUPS];
	nn_feature	feature[NN_GROUPS][NN_MAX_FEATURES];
	int			n_task;
	nn_task		task[NN_MAX_TASKS];

	/* derived by nn_config_parse */
	int			E, Pg, Pa, U, Q, W, R;
	int			head_width;		/* X */
} nn_config;

/*
 * A candidate is described by item features, by their indices, and behind them
 * by things of its own: indices of that group, beyond NN_MAX_FEATURES.
 */
#define NN_IS_THING(candidate)	((candidate) >= NN_MAX_FEATURES)

static inline const nn_feature *
nn_candidate_feature(const nn_config *config, int candidate)
{
	return NN_IS_THING(candidate) ? &config->feature[NN_THING][candidate - NN_MAX_FEATURES] :
		&config->feature[NN_ITEM][candidate];
}

/*
 * Parse a configuration: the JSON object of a golden case and of a stored
 * version.  On NN_BAD_CONFIG, message (of message_size bytes) says what is
 * wrong and where.  Every size is checked against the limits above.
 */
extern nn_status nn_config_parse(nn_config *config, const char *json, size_t length,
								 char *message, size_t message_size);

/* ------------------------------------------------------------------------
 * Parameters: params.c
 *
 * All parameters are one array of floats; nn_layout says which tensor lies
 * where.  Dense tensors come first, in the order of NETWORK.md, then the
 * tables (embeddings and item biases), whose gradients are sparse by row.
 * There are no gaps, so that the array is also a run of a safetensors file.
 * ------------------------------------------------------------------------ */

typedef struct nn_tensor
{
	char		name[NN_MAX_TENSOR];
	int			rank;			/* 1 or 2 dimensions in files */
	int64_t		rows, cols;		/* a vector is [1, n], an item bias [V, 1] */
	size_t		offset;			/* in floats */
	bool		table;
	bool		frozen;			/* no optimizer moves it; false in a layout as made */
} nn_tensor;

typedef struct nn_lstm_tensors
{
	int			weight_item;	/* [4H, E] gate rows i f g o */
	int			weight_property;	/* [3H, Pg] rows i f o; -1 when Pg is 0 */
	int			weight_hidden;	/* [4H, H] */
	int			bias;			/* [4H] */
} nn_lstm_tensors;

typedef struct nn_task_tensors
{
	int			candidate_weight, candidate_bias;
	int			hidden_weight[NN_MAX_LAYERS], hidden_bias[NN_MAX_LAYERS];
	int			output_weight, output_bias;
	int			intercept;
	int			position;		/* [buckets] */
	int			product_weight, product_bias;
	int			query_weight, query_bias;
	int			gate_weight, gate_bias; /* [K, R], [K] over the experts */
	int			item_bias[NN_MAX_FEATURES];
	int			repeat_recency; /* [recency_rows, recency] */
	int			repeat_count;	/* [5], directly behind repeat_recency */
	int			memory_lag;		/* [lags] */
} nn_task_tensors;

typedef struct nn_layout
{
	int			n;
	nn_tensor	tensor[NN_MAX_TENSORS];
	size_t		floats;			/* of all parameters */
	size_t		dense_floats;	/* of the dense ones, which come first */
	int			first_table;	/* index of the first table */

	/* where things are; -1: this network has none */
	int			table[NN_GROUPS][NN_MAX_FEATURES];
	nn_lstm_tensors lstm[2];	/* forward, reverse */
	int			attention_weight[3];
	int			attention_bias[2];
	int			attention_recency, attention_lag;
	int			expert_weight[NN_MAX_EXPERTS];	/* [X, R] */
	int			expert_bias[NN_MAX_EXPERTS];
	nn_task_tensors task[NN_MAX_TASKS];
} nn_layout;

extern nn_status nn_layout_make(nn_layout *layout, const nn_config *config);
extern int	nn_layout_find(const nn_layout *layout, const char *name);	/* -1: none */

/*
 * Start values (NETWORK.md, Training defaults): embeddings N(0, .05), weights
 * uniform +-sqrt(3 / fan-in), recurrent blocks orthogonal, forget bias 1, rank
 * output bias .5, attention.lag falling by 2 a bucket, other biases 0.
 * base_rate[t] in (0, 1) sets the intercept, or output bias, of a rank or
 * binary task t to its logit; NULL or 0: leave at 0.  scratch: 2 * H * H floats.
 */
extern void nn_init(const nn_config *config, const nn_layout *layout, float *param,
					uint64_t seed, const float *base_rate, float *scratch);

/*
 * Make the biases of places of a task 0 in the mean over samples with a place,
 * of which share[buckets], in all 1, stand in each bucket; what they lose goes
 * to the constant of all samples.  No logit with a place changes by that;
 * without one, as when serving, it becomes that of a mean place.
 */
extern void nn_position_center(const nn_config *config, const nn_layout *layout, int t,
							   const double *share, float *param);

/* ------------------------------------------------------------------------
 * Prepared weights: prepare.c
 *
 * What serving reads instead of some of the parameters: a function of these
 * alone, in the order of the kernels, the same for every set of kernels.  It
 * may be kept as long as NN_PREPARED_FORMAT stays what it was.
 * ------------------------------------------------------------------------ */

#define NN_PREPARED_FORMAT 1

/* Bytes, a multiple of 64. */
extern size_t nn_prepared_size(const nn_config *config, const nn_layout *layout);

/* prepared: that many bytes, 64-byte aligned; all of them are written. */
extern void nn_prepare(const nn_config *config, const nn_layout *layout, const float *param,
					   void *prepared);

/* ------------------------------------------------------------------------
 * Batches
 * ------------------------------------------------------------------------ */

/* The ids of one feature, for n rows.  offsets NULL: one id per row. */
typedef struct nn_ids
{
	const int32_t *values;
	const int64_t *offsets;		/* [n + 1] */
} nn_ids;

/* One term of a sample's wide part: logit[column] += value * param. */
typedef struct nn_wide
{
	int32_t		column;
	int32_t		param;			/* floats behind the start of repeat.recency */
	float		value;
} nn_wide;

/* One term of a sample's memory: logit[column] += log(1 + sum of value * exp(memory.lag[lag])). */
typedef struct nn_memory
{
	int32_t		column;
	int32_t		lag;
	float		value;			/* not below 0 */
} nn_memory;

/*
 * The samples of one task.
 *
 * next_item: the first `shared` columns are compared with every sample; a
 * column behind them only with the samples that list it in `extra` (sampled
 * softmax: a sample's targets and window items).  `hidden` lists shared
 * columns that do not count for a sample (accidental hits: they are among its
 * extras).  log_q, if not NULL, is subtracted from a column's logit in the
 * loss, never in the logits handed out.  Full softmax: shared == columns.
 * The loss of a sample is sum over its targets of target weight times
 * (log-sum-exp - logit), times the sample's weight.
 */
typedef struct nn_samples
{
	int			n;				/* S */
	const int32_t *view;		/* [S] */
	const float *weight;		/* [S], NULL: all 1 */
	const float *label;			/* [S] binary, rank: 0 or 1; NULL when serving */
	const int32_t *label_class; /* [S] multiclass; NULL when serving */
	nn_ids		candidate[NN_MAX_FEATURES]; /* [S] in the order of task.candidate */
	const float *features;		/* [S, F] already z-scored */
	const int32_t *position;	/* [S] bucket of the place, -1: not known; NULL: all are
								 * not, as when serving */
	const int32_t *group;		/* [S] samples of a view that stand side by side with the
								 * same number are compared; NULL without pairwise */

	int			columns;		/* J */
	int			shared;
	nn_ids		column[NN_MAX_FEATURES];	/* [J] per item feature */
	const float *log_q;			/* [J] */
	const int64_t *target_offsets;	/* [S + 1]; NULL when serving */
	const int32_t *target;		/* columns */
	const float *target_weight;
	const int64_t *extra_offsets;	/* [S + 1]; NULL: none */
	const int32_t *extra;		/* columns >= shared, the targets among them */
	const int64_t *hidden_offsets;	/* [S + 1]; NULL: none */
	const int32_t *hidden;		/* columns < shared */
	const int64_t *wide_offsets;	/* [S + 1]; NULL: none */
	const nn_wide *wide;
	const int64_t *memory_offsets;	/* [S + 1]; NULL: none */
	const nn_memory *memory;
} nn_samples;

typedef struct nn_batch
{
	int			sequences;		/* B */
	const int64_t *offsets;		/* [B + 1] events of sequence b */
	nn_ids		item[NN_MAX_FEATURES];	/* [N] */
	nn_ids		property[NN_MAX_FEATURES];	/* [N] */

	int			views;			/* V */
	const int32_t *view_sequence;	/* [V], not decreasing */
	const int32_t *view_length; /* [V] events attended over, from the oldest; the
								 * whole sequence when bidirectional */
	const int64_t *view_offsets;	/* [V + 1] prefix sums of view_length */
	const uint8_t *recency;		/* [M] bucket of now - time of the event */
	const uint8_t *lag;			/* [M] bucket of how many events came after it */
	nn_ids		profile[NN_MAX_FEATURES];	/* [V] */
	nn_ids		context[NN_MAX_FEATURES];	/* [V] */

	/* user vectors that are known already [V, R], or NULL: then there is one
	 * sequence without events, and neither profile nor context is looked at */
	const float *vector;

	nn_samples	samples[NN_MAX_TASKS];	/* n == 0: no sample of that task */
} nn_batch;

/* Check every id, offset and length of a batch against the configuration. */
extern nn_status nn_batch_check(const nn_config *config, const nn_batch *batch);

/* ------------------------------------------------------------------------
 * Forward and backward: user.c (encoding, LSTM, attention), heads in their files
 * ------------------------------------------------------------------------ */

/* A bump allocator over the caller's memory; base NULL only counts. */
typedef struct nn_arena
{
	char	   *base;			/* 64-byte aligned */
	size_t		size;
	size_t		used;			/* also beyond size, so that it tells the need */
} nn_arena;

typedef struct nn_dropout
{
	float		item;			/* on e_t */
	float		vector;			/* on r */
	float		hidden;			/* after the hidden layers of heads */
	uint64_t	seed;			/* a new one for every step */

	/* what lies before the batch in the step of which it is a share: together
	 * the shares drop what the whole would; 0 when it is the whole */
	uint64_t	event;
	uint64_t	view;
	uint64_t	row[NN_MAX_TASKS];	/* rows of the heads' hidden layers */
} nn_dropout;

/* What a call of forward or backward works with. */
typedef struct nn_run
{
	const nn_config *config;
	const nn_layout *layout;
	const float *param;
	const nn_dropout *dropout;	/* NULL: none */
	bool		backward;		/* forward keeps what backward needs */
	const void *prepared;		/* of nn_prepare; NULL: from param.  Not with backward */
	bool		half;			/* prepared recurrent weights in 16 bits (bfloat16) */
	bool		(*abort) (void *); /* polled at least every 2 GFLOP; NULL: never */
	void	   *abort_arg;
} nn_run;

typedef struct nn_task_acts
{
	float	   *logit;			/* [S], [S, classes], or [S, shared] then extras */
	float	   *extra_logit;	/* next_item: one per entry of samples.extra */
	float	   *weights;		/* rank: [S, F] the non-negative weights */
	float	   *query;			/* next_item: [S, E] */
	double		loss;			/* mean over samples, not times the task's weight */
	void	   *own;			/* the implementation's own */
} nn_task_acts;

/* The experts' outputs and each task's mixture of them: experts.c. */
typedef struct nn_experts
{
	float	   *r;				/* [V, R] after dropout */
	float	   *o;				/* [V, K X] side by side */
	float	   *gate[NN_MAX_TASKS]; /* [V, K] */
	float	   *x[NN_MAX_TASKS];	/* [V, X] what the head takes */

	/* backward */
	float	   *d_r,
			   *d_o,
			   *d_gate,			/* of the task at hand */
			   *d_x;			/* [V, X] likewise, filled by its head's backward */
} nn_experts;

typedef struct nn_acts
{
	float	   *state;			/* [N, W] in the order of the batch's events */
	float	   *attention;		/* [M]; NULL with another pooling */
	float	   *score;			/* [M] before the softmax; likewise */
	float	   *vector;			/* [V, R] before dropout */
	float	   *dvector;		/* [V, R] gradient, filled by the heads' backward */
	nn_experts	experts;		/* where there are experts */
	nn_task_acts task[NN_MAX_TASKS];
	double		loss;			/* sum over tasks of weight * loss */
	void	   *own;			/* the implementation's own */
} nn_acts;

/*
 * Events of a batch without backward from which on more are no faster, but
 * take more memory: about 64 users of 100 events.
 */
#define NN_BATCH_EVENTS 6400

/*
 * Encode the batch's sequences and compute a user vector per view.  Memory
 * comes from the arena and lives until the caller resets it.  With
 * arena->base NULL nothing is computed and arena->used tells the need of this
 * call; that is how callers size their arena: the same calls, counted.
 */
extern nn_status nn_user_forward(const nn_run *run, const nn_batch *batch,
								 nn_arena *arena, nn_acts *acts);

/*
 * One task's head for its samples over user vectors [V, R] (acts->vector in
 * training, stored vectors in serving).  Fills acts->task[t]; the loss only
 * where the samples have labels.
 */
extern nn_status nn_task_forward(const nn_run *run, int t, const nn_samples *samples,
								 int views, const float *vector,
								 nn_arena *arena, nn_task_acts *acts);

/* Both for all tasks that have samples; acts->loss. */
extern nn_status nn_forward(const nn_run *run, const nn_batch *batch,
							nn_arena *arena, nn_acts *acts);

/*
 * Gradients mirror the parameters: value has layout->floats.  For each table
 * the rows that were touched are listed once in touched[i][0 .. n_touched[i]),
 * i counted from layout->first_table; mark tells which are listed (1) or frozen (2).
 * nn_grad_clear costs only what was touched.
 */
typedef struct nn_grad
{
	float	   *value;
	int		   n_tables;
	int64_t    *n_touched;		/* [n_tables] */
	int32_t   **touched;		/* [n_tables][rows] */
	uint8_t   **mark;			/* [n_tables][rows] */
} nn_grad;

extern nn_status nn_grad_make(nn_grad *grad, const nn_layout *layout, nn_arena *arena);

/* The same in memory that is clear already, or another process's too: only what
 * comes from `pointers` is this process's own. */
extern nn_status nn_grad_find(nn_grad *grad, const nn_layout *layout, nn_arena *memory, nn_arena *pointers);
extern void nn_grad_clear(nn_grad *grad, const nn_layout *layout);

/*
 * A row of a table that is not to move: it is never listed, so that no optimizer
 * sees it.  What stands in value there means nothing.
 */
extern void nn_grad_freeze(const nn_layout *layout, nn_grad *grad, int tensor, int32_t row);

/*
 * d(sum of task weight * loss) / d parameter, added to grad.  After nn_forward
 * with run->backward.  Frozen tables get none; of user vectors that were given
 * nothing before them does.
 */
extern nn_status nn_backward(const nn_run *run, const nn_batch *batch,
							 nn_arena *arena, nn_acts *acts, nn_grad *grad);

/* ------------------------------------------------------------------------
 * Scoring: serve.c
 * ------------------------------------------------------------------------ */

/* A concatenation (or sum) of features: where each is read and written. */
typedef struct nn_fields
{
	int			n;
	int			width;			/* of the encoding */
	int			source[NN_MAX_FEATURES];	/* index into the ids */
	int			table[NN_MAX_FEATURES]; /* tensor */
	int			at[NN_MAX_FEATURES];	/* first column in the encoding */
} nn_fields;

typedef struct nn_scorer_layer
{
	int			width;
	const float *weight;		/* [width of the layer below, width] */
	const float *bias;			/* [width] */
} nn_scorer_layer;

/*
 * The head of a binary or rank task, taken apart (serve.c) and laid out for one
 * candidate at a time.  A logit is nn_score of three parts:
 *
 *	user	[width] what depends on the vector alone
 *	item	[width] what depends on the candidate item alone, without a candidate NULL
 *	features [F] the sample's numbers, z-scored
 */
typedef struct nn_scorer
{
	int			task;
	nn_kind		kind;
	int			width;			/* of the parts: nn_part_width */
	int			first;			/* of what meets the first layer; the product term is behind it */
	int			features;		/* F */
	nn_fields	fields;			/* of the candidate; width X; source: the item feature */
	int			inner;			/* width of `item` */
	const float *item;			/* [X, inner] */
	const float *second;		/* [inner, first], or NULL: inner is first */
	const float *item_bias;		/* [first] */
	const float *feature;		/* [F, first] */
	int			n_layer;		/* between the first and the output */
	nn_scorer_layer layer[NN_MAX_LAYERS];
	const float *output;		/* [width of the last layer], NULL: the first is the output */
	float		output_bias;
} nn_scorer;

/* The first hidden layer, and the product term's X, where candidates or numbers
 * join it, else the output's. */
extern int	nn_part_width(const nn_config *config, int t);

/* Memory is carved from the arena and must live as long as the scorer; as
 * everywhere, an arena without base only counts. */
extern nn_status nn_scorer_make(const nn_run *run, int t, nn_arena *arena, nn_scorer *scorer);

/* part [width] of vector [R]; the arena is scratch. */
extern nn_status nn_user_part(const nn_run *run, const nn_scorer *scorer, const float *vector,
							  nn_arena *arena, float *part);

/* e [n, X] of candidates; ids: one nn_ids per item feature, rows map[0 .. n). */
extern void nn_candidate_encode(const nn_run *run, const nn_scorer *scorer, const nn_ids *ids,
								const int64_t *map, int64_t n, float *e);

/* part [n, width] of candidates e [n, X].  scratch: n * inner floats, where
 * `second` is not NULL. */
extern nn_status nn_item_parts(const nn_run *run, const nn_scorer *scorer, int64_t n, const float *e,
							   float *scratch, float *part);

extern float nn_score(const nn_scorer *scorer, const float *user, const float *item,
					  const float *features);

/*
 * next_item: score_j = query . e_j + b_j for items given by their ids, without
 * ever building an e_j.  First the score of each row of each item table, its
 * bias included: row_score has nn_row_scores_floats.  Then a sum of look-ups
 * for n items from `first` on: scores [n].
 */
extern size_t nn_row_scores_floats(const nn_config *config);
extern nn_status nn_row_scores(const nn_run *run, int t, const float *query, float *row_score);
extern void nn_item_scores(const nn_config *config, const float *row_score, const nn_ids *item,
						   int64_t first, int64_t n, float *scores);

/* e [E] of one item given by its ids, one nn_ids per item feature, row `row`. */
extern void nn_item_encode(const nn_config *config, const nn_layout *layout, const float *param,
						   const nn_ids *item, int64_t row, float *e);

/* b_j of one item. */
extern float nn_item_bias(const nn_config *config, const nn_layout *layout, const float *param,
						  int t, const nn_ids *item, int64_t row);

/* ------------------------------------------------------------------------
 * Optimizers: optimizer.c
 * ------------------------------------------------------------------------ */

typedef enum nn_optimizer_kind
{
	NN_ADAM, NN_ADAGRAD
} nn_optimizer_kind;

typedef struct nn_optimizer
{
	nn_optimizer_kind kind;
	float		learning_rate;
	float		beta1, beta2, epsilon;
	float		l2;				/* on weights and touched rows, never on biases */
	float		clip;			/* norm of the whole gradient, 0: none */
	int64_t		step;			/* steps taken */
	float	   *m;				/* [layout->floats] Adam only */
	float	   *v;				/* [layout->floats] */
} nn_optimizer;

/*
 * One step.  Tables are lazy: rows that the gradient did not touch cost
 * nothing and do not move.  Frozen tensors do not move, and their gradient, if
 * there is one, is no part of the norm.  Returns NN_NOT_FINITE and changes nothing when the
 * gradient is not finite.  *norm, if not NULL, is the norm before clipping.
 */
extern nn_status nn_optimizer_step(nn_optimizer *optimizer, const nn_layout *layout,
								   float *param, nn_grad *grad, float *norm);

/* ------------------------------------------------------------------------
 * One step by several processes that share param, the gradients and the
 * optimizer's m and v: part.c
 *
 * Each has a gradient of its own, of its share of the batch.  When all are
 * complete each adds up its part of them, in the order of ranks; when all parts
 * are, each moves its part of the parameters; when all have, the next step may
 * begin.  The caller keeps these times apart.
 * ------------------------------------------------------------------------ */

/* What the process of a rank adds up and moves: floats [begin, end) of the dense
 * parameters, and of the tables every n-th run of 64 rows. */
typedef struct nn_part
{
	int			rank,
				n;
	size_t		begin,
				end;
	int		   n_tables;
	int64_t    *n_touched;		/* [n_tables] */
	int32_t   **touched;		/* [n_tables][rows] its rows that any of the gradients touched */
} nn_part;

extern nn_status nn_part_make(nn_part *part, const nn_layout *layout, int rank, int n, nn_arena *arena);

/* The part's gradients of all n, added into grad[0]; the sum of their squares. */
extern double nn_part_add(nn_part *part, const nn_layout *layout, nn_grad *grad);

/*
 * nn_optimizer_step for the part, and clears all that grad[0] holds of it;
 * squares: the sum over all parts.  optimizer is the process's own but for m
 * and v, which are shared.
 */
extern nn_status nn_part_step(nn_optimizer *optimizer, const nn_part *part, const nn_layout *layout,
							  float *param, nn_grad *grad, double squares);

/* Then each clears its own gradient; that of rank 0 has only its lists left. */
extern void nn_part_clear(const nn_part *part, const nn_layout *layout, nn_grad *own);

/* ------------------------------------------------------------------------
 * Metrics: metrics.c.  Ties share their mean rank everywhere.
 * ------------------------------------------------------------------------ */

/* Area under the ROC curve; NAN without both classes.  order: n int32 scratch. */
extern double nn_auc(const float *score, const float *label, int64_t n, int32_t *order);

/* Mean of the AUC of each group that has both classes, weighted by its samples;
 * group ids need not be sorted.  order: n int32 scratch. */
extern double nn_grouped_auc(const float *score, const float *label, const int32_t *group,
							 int64_t n, int32_t *order);
extern double nn_log_loss(const float *probability, const float *label, int64_t n);

/* confusion[label * classes + argmax]; returns the accuracy. */
extern double nn_accuracy(const float *logit, const int32_t *label_class, int64_t n, int classes,
						  int64_t *confusion);

/* 1 + how many of n scores are greater + half of the others that are equal;
 * -INFINITY marks a column that is not ranked; a NaN counts as greater. */
extern double nn_rank_of(const float *scores, int64_t n, int64_t target);
extern double nn_hit(double rank, int k);	/* HR@k: 1 when rank <= k */
extern double nn_ndcg(double rank, int k);	/* 1 / log2(1 + rank) when rank <= k */
extern double nn_reciprocal_rank(double rank);

/* ------------------------------------------------------------------------
 * Calibration: calibration.c
 * ------------------------------------------------------------------------ */

/*
 * {a, b} with a > 0 by which logits become calibrated ones, a * logit + b.
 * logit [n, classes], label [n] the class; classes 1: yes or no, label 0 or 1.
 * With several classes b is 0.  weight [n], NULL: all 1.  abort is polled
 * between two passes over the logits.  Errors: NN_NOT_FINITE, NN_ABORTED;
 * calibration is left alone.
 */
extern nn_status nn_calibrate(int classes, int64_t n, const float *logit, const int32_t *label,
							  const float *weight, bool (*abort) (void *), void *abort_arg,
							  float calibration[2]);

/* ------------------------------------------------------------------------
 * Random numbers: random.c.  A seed means the same numbers everywhere
 * ------------------------------------------------------------------------ */

extern uint64_t nn_random_u64(uint64_t *state); /* splitmix64 */
extern double nn_random_uniform(uint64_t *state);	/* [0, 1) */
extern double nn_random_normal(uint64_t *state);

/* ------------------------------------------------------------------------
 * Files: safetensors.c
 * ------------------------------------------------------------------------ */

typedef enum nn_dtype
{
	NN_F32, NN_F64, NN_I32, NN_I64, NN_U8
} nn_dtype;

typedef struct nn_file_tensor
{
	char		name[NN_MAX_TENSOR];
	nn_dtype	dtype;
	int			rank;
	int64_t		shape[2];
	int64_t		count;			/* elements */
	size_t		begin, end;		/* bytes from the start of the file */
} nn_file_tensor;

/* An opened file: pointers into the caller's bytes. */
typedef struct nn_file
{
	const char *data;
	size_t		size;
	int			n;
	nn_file_tensor tensor[NN_MAX_TENSORS];
	const char *metadata;		/* the JSON text of __metadata__, or NULL */
	size_t		metadata_length;
} nn_file;

/*
 * Check and index a file.  Hostile bytes give NN_BAD_FILE: every offset,
 * shape product, order, overlap and hole is checked.  scratch is for the JSON
 * parser's tokens; NN_FILE_SCRATCH bytes, aligned as by malloc, are enough.
 */
#define NN_FILE_SCRATCH ((size_t) 1 << 20)
extern nn_status nn_file_open(nn_file *file, const void *data, size_t size,
							  void *scratch, size_t scratch_size,
							  char *message, size_t message_size);
extern const nn_file_tensor *nn_file_find(const nn_file *file, const char *name);
extern const void *nn_file_data(const nn_file *file, const nn_file_tensor *tensor);

/* A metadata string, unescaped into out; its length, or -1 when absent or too long. */
extern int64_t nn_file_metadata(const nn_file *file, const char *key, char *out, size_t out_size,
								void *scratch, size_t scratch_size);

/*
 * Write the 8-byte length and the JSON header for n tensors (begin and end
 * are filled in, in the order given, without gaps).  metadata is a ready JSON
 * object or NULL.  The header is padded with spaces so that the data begin at
 * a multiple of 64.  Returns the bytes needed, which is where the data begin;
 * writes only when out_size is enough.
 */
extern size_t nn_file_header(nn_file_tensor *tensor, int n, const char *metadata,
							 char *out, size_t out_size);

#endif							/* DUPN_NN_H */
