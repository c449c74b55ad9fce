/*-------------------------------------------------------------------------
 *
 * window.h
 *	  Encoded events in window order, and batches of views over them
 *
 * EventTable is columnar: a training set is one table of all users, those
 * being served are one of the last rows of each.  Both are cut, ordered
 * and turned into an nn_batch by the functions below and by nothing else, so
 * training, evaluation and serving see the same window.
 *
 * Window order is (time, a fixed hash of the row's encoded ids): inside one
 * instant the order means nothing, but it is the same everywhere.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DUPN_WINDOW_H
#define DUPN_WINDOW_H

#include "features/feature.h"

/* Room for `capacity` elements: of an array that is there already, or NULL; it may pass 1 GB. */
extern void *array_resize(void *array, int64 capacity, size_t width, MemoryContext context);

/* Memory that the network's kernels may work in, never freed by itself; it may pass 1 GB. */
extern void *huge_aligned(MemoryContext context, size_t bytes);

/* A growable column of ids; offsets only for multi-hot features. */
typedef struct IdColumn
{
	int32	   *values;
	int64		n_values,
				values_capacity;
	int64	   *offsets;		/* [n + 1], NULL for scalar features */
	int64		offsets_capacity;
} IdColumn;

/* Append row number `row` with n ids (one, unless multi-hot). */
extern void id_column_append(IdColumn *column, MemoryContext context, bool multi, int64 row,
							 const int32 *ids, int n);

typedef struct EventTable
{
	int64		n;
	int64		capacity;
	TimestampTz *time;
	int32	   *item;			/* catalogue index of the item, -1: not in it */
	IdColumn	feature[2][NN_MAX_FEATURES];	/* [NN_ITEM], [NN_PROPERTY]; gap and
												 * daypart are columns like any other */
	bool		later[NN_MAX_FEATURES]; /* item features that event_table_append
										 * leaves to event_table_fill */
	MemoryContext context;
} EventTable;

/* One event before it enters a table: ids of the declared item and property
 * features, as row_encode fills them. */
typedef struct EventRow
{
	TimestampTz time;
	int32		item;
	int32		n[2][NN_MAX_FEATURES];	/* values of multi-hot features, else 0 or 1 */
	int32		id[2][NN_MAX_FEATURES][NN_MAX_BAG];
} EventRow;

extern EventTable *event_table(MemoryContext context);
extern void event_table_reset(EventTable *table);
extern void event_table_append(EventTable *table, const FeatureSet *set, const EventRow *row);

/* The ids of a `later` item feature of a row; to be called in the order of the rows. */
extern void event_table_fill(EventTable *table, const FeatureSet *set, int f, int64 row,
							 const int32 *ids, int n);

/*
 * Append the rows of one user's table, which are in window order, but one: as if
 * that event had never been.
 */
extern void event_table_without(EventTable *table, const EventTable *from, const FeatureSet *set, int64 row);

/*
 * Put rows [start, end) (one user's, sorted by time either way or not) into
 * window order and compute the gaps.  The first row's gap is taken from the
 * event before it, if has_previous.
 */
extern void event_table_sort(EventTable *table, const FeatureSet *set, int64 start, int64 end,
							 TimestampTz previous, bool has_previous);

/* The window of `now`: the last max_events rows of [start, end) strictly before
 * now; rows must be in window order.  Returns its first row; *n is its length. */
extern int64 event_window(const EventTable *table, const FeatureSet *set,
						  int64 start, int64 end, TimestampTz now, int *n);

/* ---------------- batch.c ---------------- */

/* What an item of the window tells the repeat term of next_item. */
typedef struct WindowItem
{
	int32		item;			/* catalogue index */
	int32		type;			/* behaviour type id of its newest event */
	int32		recency;		/* time_bucket of now - its newest event */
	int32		count;			/* times in the window */
} WindowItem;

typedef struct BatchBuilder BatchBuilder;

/* Random replacement of ids in training; all zero when serving. */
typedef struct IdDropout
{
	float		item_key;		/* item key -> unknown, per event */
	float		profile;		/* whole profile -> missing, per view */
	float		context;		/* whole context -> missing, per view */
	uint64	   *random;			/* nn_random state */
} IdDropout;

extern BatchBuilder *batch_builder(const FeatureSet *set, MemoryContext context);
extern void batch_reset(BatchBuilder *builder);

/* Add rows [start, start + n) as a sequence; returns its index.  now is used
 * only by models with time: "paper". */
extern int	batch_add_sequence(BatchBuilder *builder, const EventTable *table, int64 start, int n,
							   TimestampTz now, const IdDropout *dropout);

/*
 * Add a view over the first `length` rows of the newest sequence, at `now`.
 * profile and context: ids per feature of their groups (NULL: all missing);
 * the derived feature `activity` is filled in here.  Returns the view's index.
 */
typedef struct IdRow
{
	int32		n[NN_MAX_FEATURES];
	int32		id[NN_MAX_FEATURES][NN_MAX_BAG];
} IdRow;

extern int	batch_add_view(BatchBuilder *builder, int length, TimestampTz now,
						   const IdRow *profile, const IdRow *context, const IdDropout *dropout);

/* Distinct catalogue items of rows [start, start + n), newest first; returns how many. */
extern int	window_items(const FeatureSet *set, const EventTable *table, int64 start, int n,
						 TimestampTz now, WindowItem *items);

/* The batch, valid until the next reset; its samples are the caller's to fill in. */
extern nn_batch *batch_finish(BatchBuilder *builder);

#endif							/* DUPN_WINDOW_H */
