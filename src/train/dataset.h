/*-------------------------------------------------------------------------
 *
 * dataset.h
 *	  Raw rows on their way to a data set: shared by relations.c, read.c, learn.c,
 *	  dataset.c and others
 *
 *-------------------------------------------------------------------------
 */
#ifndef DUPN_DATASET_H
#define DUPN_DATASET_H

#include "train/column.h"
#include "train/train.h"
#include "utils/hsearch.h"

/* The cells of one column of a relation; end is NULL for one cell a row. */
typedef struct RawColumn
{
	CellKind	kind;
	Column	   *cell;
	Column	   *end;			/* int64 [n]: where row i's cells end */
	HTAB	   *texts;			/* TextEntry of each distinct cell, or NULL */
} RawColumn;

typedef struct TextEntry
{
	Cell		cell;
	char	   *text;
} TextEntry;

/* Consecutive rows of one user. */
typedef struct RawRun
{
	Cell		user;
	int64		start;
	int64		n;
} RawRun;

typedef struct RawRows
{
	int64		n;
	int64		skipped;		/* rows that lack a user, a time or a key that they must have */
	Column	   *run;			/* RawRun, sorted by user */
	Column	   *time;			/* TimestampTz, or NULL */
	Column	   *item;			/* int32, index into Build.item, -1: no key; where its
								 * items are of the catalogue, else NULL */
	int			n_columns;
	RawColumn  *column;
	int			key;			/* index of the item's key, -1: none */
	int			feature[NN_GROUPS][NN_MAX_FEATURES];	/* index, -1: the relation lacks it */
	int			extra;			/* index of the first of the extra columns */
	int			group;			/* index of the column whose equal cells stand side by
								 * side among rows of one time, -1: none */
} RawRows;

/* What is to be read. */
typedef struct RawQuery
{
	const char *sql;
	const char *what;			/* in messages */
	Relations	relations;		/* with the user and time columns of this relation */
	bool		user,
				time,
				key;			/* rows without them are skipped */
	bool		item_texts;		/* remember how keys are printed: they are of the catalogue */
	int			n_arguments;
	Oid		   *argument_type;
	Datum	   *argument;
	int			n_extra;		/* the last columns of the query */
	HTAB	  **extra_texts;	/* [n_extra], entries or the array may be NULL */
	HTAB	  **feature_texts;	/* per item feature, or NULL */
} RawQuery;

/* An item on its way to the catalogue. */
typedef struct RawItem
{
	Cell		key;
	int64		text;			/* where it ends in Build.item_text */
	int64		catalog_row;	/* -1: the catalog relation has none */
	int64		event_row;		/* its latest event before the cut, else its latest; -1: none */
	int64		count;			/* events before the hold-out */
	int64		fresh;			/* those of them that are new */
	int64		held_out;
} RawItem;

typedef struct Condition
{
	nn_group	group;
	int			feature;
	int			n;
	Cell	   *cell;
} Condition;

/* Where an events-based multiclass task finds its label. */
typedef struct RawLabel
{
	int			column;			/* of the events, or -1 */
	int			feature;		/* else an item feature of the catalog */
	CellKind	kind;
	HTAB	   *texts;
} RawLabel;

/* A task's NamedWeights with names as cells. */
typedef struct CellWeights
{
	int			n;
	Cell	   *cell;			/* CELL_NULL: the name is that of a level */
	bool	   *found;
} CellWeights;

typedef struct RawUser
{
	Cell		key;
	int64		first_run,		/* of events->run */
				n_runs;
	TimestampTz hold_out,
				report;
} RawUser;

typedef struct ItemNumbers ItemNumbers;

typedef struct Build
{
	Dataset    *data;
	const ModelImage *base;		/* that says how all is encoded, or NULL: it is learned */
	bool		base_items;		/* its catalogue tells what events lack, as in serving */
	MemoryContext context;		/* gone when the data set is complete */
	ColumnStore *store;			/* gone with it */
	RawRows    *events;
	RawRows    *catalog;		/* or NULL */
	RawRows    *profile;		/* or NULL */
	RawRows    *samples[NN_MAX_TASKS];	/* or NULL: from the events */
	int			weight[NN_MAX_TASKS];	/* of samples: index of the weight column, or -1 */
	int			position[NN_MAX_TASKS]; /* and of that of places */
	int			n_candidate[NN_MAX_TASKS];
	int			candidate[NN_MAX_TASKS][NN_MAX_FEATURES];
	RawLabel	label[NN_MAX_TASKS];
	RawLabel	within[NN_MAX_TASKS];
	CellWeights label_weights[NN_MAX_TASKS];	/* multiclass */
	CellWeights type_weights[NN_MAX_TASKS];
	int			n_conditions[NN_MAX_TASKS];
	Condition  *condition[NN_MAX_TASKS];
	ItemNumbers *item_numbers;	/* by key */
	RawItem    *item;			/* in the order in which they were met */
	int64		n_items,
				items_capacity;
	Column	   *item_text;		/* their texts, one behind the other */
	RawItem		no_item;		/* of events whose key is NULL: in no catalogue */
	int32	   *catalogue_index;	/* [n_items] */
	Column	   *users;			/* RawUser, sorted by key */
} Build;

/* ---------------- read.c ---------------- */

extern RawRows *read_rows(Build *build, const RawQuery *query);

/* Around the reading of relations whose items are of the catalogue. */
extern void item_numbers_begin(Build *build);
extern void item_numbers_end(Build *build);

/* cells of a row; returns how many */
static inline int
raw_cells(const RawRows *rows, int column, int64 row, const Cell **cells)
{
	const RawColumn *c = &rows->column[column];
	const int64 *end;
	int64		begin;

	if (c->end == NULL)
	{
		*cells = (const Cell *) c->cell->data + row;
		return 1;
	}
	end = c->end->data;
	begin = row > 0 ? end[row - 1] : 0;
	*cells = (const Cell *) c->cell->data + begin;
	return (int) (end[row] - begin);
}

static inline Cell
raw_cell(const RawRows *rows, int column, int64 row)
{
	return ((const Cell *) rows->column[column].cell->data)[row];
}

static inline TimestampTz
raw_time(const RawRows *rows, int64 row)
{
	return ((const TimestampTz *) rows->time->data)[row];
}

/* The item of a row of the events or the catalog. */
static inline RawItem *
raw_item(Build *build, const RawRows *rows, int64 row)
{
	int32		item = ((const int32 *) rows->item->data)[row];

	return item < 0 ? &build->no_item : &build->item[item];
}

/* The user of a key, when keys come in ascending order; NULL: none.  *at begins as 0. */
static inline const RawUser *
raw_user(const Build *build, int64 *at, Cell key)
{
	const RawUser *user = build->users->data;

	while (*at < build->users->n && user[*at].key < key)
		(*at)++;
	return *at < build->users->n && user[*at].key == key ? &user[*at] : NULL;
}

/* A total order of rows by time and cells, so that nothing depends on the order of reading. */
extern int	raw_compare(const RawRows *rows, int64 a, int64 b);

/* ---------------- relations.c ---------------- */

extern void read_relations(Build *build);

/* ---------------- learn.c ---------------- */

/* cells of a feature of an event, from the catalog where it is declared so; item: the event's */
extern int	event_cells(Build *build, int64 row, const RawItem *item, nn_group group, int f,
						const Cell **cells);
extern bool event_allowed(Build *build, int task, int64 row, const RawItem *item);
extern Cell event_label(Build *build, const RawLabel *label, int64 row, const RawItem *item);

/*
 * Are a task's targets the events of the next instant?  Others have rows: of
 * their samples, or, binary tasks without, one for each event that counts and
 * for each negative drawn beside it.
 */
extern bool task_from_events(const ModelTask *task);

/* Is the label of a sample known at the end of the events? */
extern bool label_settled(const Build *build, int task, TimestampTz time);

/* Call visit for every event before the user's hold-out, or for all. */
typedef void (*EventVisitor) (Build *build, const RawUser *user, int64 row, RawItem *item, void *arg);
extern void visit_training_events(Build *build, bool all, EventVisitor visit, void *arg);

extern uint64 quantile_users(const Dataset *data);

/* Users and the cut; then everything that is counted before it. */
extern void learn_split(Build *build);
extern void learn_items(Build *build);
extern void learn_features(Build *build);

/* ---------------- grow.c: what a night adds to it ---------------- */

extern void grow_catalogue(Build *build);

/* data->held_out, of whatever catalogue. */
extern void count_held_out(Build *build);

/* ---------------- levels.c ---------------- */

extern void learn_levels(Build *build);

/* class of a label, -1: none */
extern int	levels_class(const Levels *levels, Cell label, double number, Cell within);

/* ---------------- base.c: as a version has it ---------------- */

/* Give today's features what the version has learned of them; error where they differ. */
extern void base_features(Build *build);

/* The catalogue, with today's counts. */
extern void base_catalogue(Build *build);

/* Levels, and mean and scale, of a task; false: there is no version, or it has no such task. */
extern bool base_levels(Build *build, int t);
extern bool base_statistics(const Build *build, int t, SampleRows *rows);

/* ---------------- dataset.c ---------------- */

/* An IdColumn of the data set that is being written. */
typedef struct IdWriter
{
	Column	   *values;
	Column	   *offsets;		/* NULL unless multi-hot */
} IdWriter;

extern IdWriter id_writer(Dataset *data, IdColumn *column, bool multi);

/* Numbers of items in the order of their keys. */
extern void sort_items(const Build *build, int32 *number, int64 n);

/* The cells of a feature of an item: from where it is declared, else from the catalog. */
extern int	item_cells(Build *build, const RawItem *item, int f, const Cell **cells);

/* Cells to the ids of a feature; returns how many. */
extern int	encode_cells(const Feature *feature, const Cell *cells, int n, int32 *ids);

/* Append a row of n ids, or of cells' ids. */
extern void write_ids(IdWriter *writer, const int32 *ids, int n);
extern void write_cells(IdWriter *writer, const Feature *feature, const Cell *cells, int n);

/* Collect the rows of runs in the total order of raw_compare; returns how many. */
extern int64 gather_rows(const RawRows *rows, int64 first_run, int64 n_runs, int64 **order,
						 int64 *capacity);

/* ---------------- drift.c ---------------- */

/* data->drift: what the columns and labels of the new rows are like. */
extern void drift_collect(Build *build);

/* ---------------- rows.c ---------------- */

/* The rows of a task's samples, when the events are readable. */
extern void encode_samples(Build *build, int task);

/* Of a binary task without: each event that counts is a positive, of an instant's several each its share. */
extern void encode_positives(Build *build, int task);

/* ---------------- weights.c ---------------- */

/* Names as cells of a column's type: of the label, of the behaviour type.  Inside a
 * transaction. */
extern void weights_read_labels(Build *build, int task, Oid label_type);
extern void weights_read_types(Build *build, int task);

/* data->label_weight, when levels are known. */
extern void weights_learn(Build *build);

/* What an event's type weighs; and at the end: did all types occur? */
extern float weights_of_type(Build *build, int task, int64 row, const RawItem *item);
extern void weights_check_types(const Build *build);

/* ---------------- samples.c ---------------- */

/* May an event be a target of an events-based task: its "where", and it has a class. */
extern bool event_is_target(const Dataset *data, int task, int64 event);

/* Is it judged: a target, or in an evaluation an item that no answer could be. */
extern bool event_is_judged(const Dataset *data, int task, int64 event);

#endif							/* DUPN_DATASET_H */
