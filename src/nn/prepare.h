/*-------------------------------------------------------------------------
 *
 * prepare.h
 *	  What lies where in prepared weights, and the layers that read them
 *
 * A feature of few values is *projected*: each row of its table has met the
 * weights already, and an event only adds up what its ids gave.  The other
 * features are gathered and multiplied; their columns of the weights come
 * without gaps.  Widths that end in P are rounded up to whole panels.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DUPN_NN_PREPARE_H
#define DUPN_NN_PREPARE_H

#include "kernel.h"
#include "layers.h"

#define NN_PROJECTED_ROWS 64	/* most rows of a table that is projected */

/* The features that meet one weight. */
typedef struct nn_prepared_features
{
	int			n;
	nn_group	group[2 * NN_MAX_FEATURES];
	int			feature[2 * NN_MAX_FEATURES];
	const float *projected[2 * NN_MAX_FEATURES];	/* [V, width P] */
	nn_fields	item;			/* gathered */
	nn_fields	property;		/* gathered, behind them */
} nn_prepared_features;

typedef struct nn_prepared_lstm
{
	const float *bias;			/* [4HP] */
	const float *input;			/* panels [4HP] of the gathered features */
	const float *recurrent;		/* panels [4HP] of H */
	const float *half;			/* the same in 16 bits: of (H + 1) / 2 */
	nn_prepared_features features;
} nn_prepared_lstm;

typedef struct nn_prepared
{
	nn_prepared_lstm lstm[2];
	const float *attention_bias[2]; /* [A1P], [A2P] */
	const float *attention_property;	/* panels [A1P] of the gathered properties */
	const float *attention_state;	/* panels [A1P] of W */
	const float *attention_view;	/* panels [A1P] of Q + U */
	const float *attention_second;	/* panels [A2P] of A1 */
	const float *attention_last;	/* [A2P] */
	nn_prepared_features attention;
} nn_prepared;

/* Panels of an LSTM, and of a layer of so many outputs */
static inline int
nn_lstm_panels(int H)
{
	return (H + NN_UNITS - 1) / NN_UNITS;
}

static inline int
nn_panels(int outputs)
{
	return (outputs + NN_PANEL - 1) / NN_PANEL;
}

/* Where all is, from base on; returns the bytes. */
extern size_t nn_prepared_map(const nn_config *config, const nn_layout *layout, const void *base,
							  nn_prepared *prepared);

/* y [P] = first [P] plus an event's projected features. */
extern void nn_prepared_sum(const nn_prepared_features *features, const nn_batch *batch, int64_t event,
							const float *first, int panels, float *y);

/* ------------------------------------------------------------------------
 * Layers without backward: lstm_serve.c, attention_serve.c
 * ------------------------------------------------------------------------ */

typedef struct nn_lstm_serve
{
	nn_lstm		order;			/* of which only the packing is used */
	int64_t		chunk;			/* packed rows of which the sums are kept */
	float	   *input;			/* [chunk, gathered features] */
	float	   *gate;			/* [chunk, 4HP] */
	float	   *cell;			/* [B, H of whole panels] the latest */
	float	  **state,			/* [B] where a step's states go */
			  **previous;		/* [B] and where the last one's are */
} nn_lstm_serve;

extern void nn_lstm_serve_carve(const nn_run *run, const nn_batch *batch, const nn_prepared *prepared,
								nn_arena *arena, nn_lstm_serve *lstm);

/* As nn_lstm_forward. */
extern nn_status nn_lstm_serve_forward(const nn_run *run, const nn_batch *batch, int direction,
									   const nn_prepared *prepared, nn_lstm_serve *lstm, float *state);

typedef struct nn_attention_serve
{
	float	   *property;		/* [chunk, gathered properties] */
	float	   *view_part;		/* [V, A1P] */
	float	   *first;			/* [chunk, A1P] */
} nn_attention_serve;

/* Has each sequence one view, of all of it, in order? */
extern bool nn_attention_serves(const nn_batch *batch);

extern void nn_attention_serve_carve(const nn_run *run, const nn_batch *batch, const nn_prepared *prepared,
									 nn_arena *arena, nn_attention_serve *attention);

/* score [N] without the biases of time */
extern nn_status nn_attention_serve_scores(const nn_run *run, const nn_batch *batch,
										   const nn_prepared *prepared, nn_attention_serve *attention,
										   const float *query_profile, const float *state, float *score);

#endif							/* DUPN_NN_PREPARE_H */
