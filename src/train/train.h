/*-------------------------------------------------------------------------
 *
 * train.h
 *	  From tables to a new version
 *
 *	  enqueue.c, queue.c	see job.h
 *	  actions.c		what jobs can do
 *	  job.c			the worker: connects, waits, reports, gives way, ends
 *	  team.c		processes that do one job together, see team.h
 *	  dataset.c		reads the relations, learns vocabularies, encodes; with
 *					relations.c, read.c, learn.c, levels.c, base.c, rows.c, see dataset.h
 *	  samples.c		which moments each task trains and is judged on
 *	  offers.c		samples that were offered together, and at which places
 *	  weights.c		what labels and behaviour types weigh in the loss
 *	  negatives.c, sampler.c	unseen items beside a positive
 *	  leak.c		do samples see what came of them?
 *	  batches.c, softmax.c	from moments to batches for the network
 *	  start.c		start values that are counted
 *	  trainer.c		a training from beginning to end
 *	  balance.c		what the tasks' losses are measured by
 *	  alone.c		is a task worse together than alone?
 *	  stopping.c	as many epochs as help; epoch.c does one, course.c orders it
 *	  step.c		steps, by one process or a team; exchange.c cuts batches
 *	  judged.c		the samples that scorers are judged by
 *	  served.c		the network judged as it is served
 *	  calibration.c	probabilities that mean what they say
 *	  metrics.c		metrics with intervals, made by resample.c
 *	  baseline.c	what a GROUP BY would have said on the same split
 *	  item_table.c	how often one item came after another
 *	  memory.c		the memory term of next_item
 *	  drift.c		how far what is newly learned is from what came before
 *	  policy.c		is a version better than the one that serves?
 *	  publish.c		a trained network becomes a version
 *	  night.c		on from a version by what came since, with night_look.c, night_rows.c,
 *					grow.c and memory_grow.c
 *	  evaluate.c	versions judged on any samples; compare.c: two of them
 *	  estimate.c	dupn_estimate; with estimate_leak.c
 *	  refresh.c		stored vectors of all users or items, brought up to date
 *	  refresh_group.c	one group of them after another
 *	  target.c		the user's table that holds them
 *
 *-------------------------------------------------------------------------
 */
#ifndef DUPN_TRAIN_H
#define DUPN_TRAIN_H

#include "features/neighbours.h"
#include "model/model.h"
#include "train/column.h"

/* ---------------- job.c ---------------- */

typedef struct Job
{
	int64		id;
	int32		model_id;
	char	   *action;			/* see actions.c */
	Jsonb	   *options;		/* as given: see job_apply_options */
	MemoryContext context;
} Job;

/*
 * Called in every loop: answers interrupts, and every quarter of a second
 * gives way to DROP DATABASE, DROP EXTENSION and cancellation.  Callable with
 * and without a transaction; without, it also brings the job's row up to date
 * every two seconds.
 */
extern void job_check(void);

/* The same as an nn abort callback: true when the job must stop soon. */
extern bool job_should_stop(void *arg);

/*
 * Report; written to the job row at most every two seconds, in a transaction
 * of its own, so never call it inside one (job_check is fine there).  So while
 * a relation is read, in one snapshot and transaction, the row stands still.
 * fraction: of the whole job, 0 .. 1.  loss: {"task": ratio, ...} or NULL.
 */
extern void job_progress(const char *phase, double fraction, double events_per_second,
						 const char *loss);

/* A line kept with the job: warnings about data, and at the end the sentence. */
extern void job_note(const char *format,...) pg_attribute_printf(1, 2);

/* The job's options over the model's own, for this job only. */
extern void job_apply_options(Model *model, Jsonb *options);

/*
 * Look how much memory the process has, for the most of it is shown in the job
 * row; called four times a second by job_check, and where much was taken.
 */
extern void job_memory(void);

/* Bytes that were written to temporary files, of one data set; the job row shows the most. */
extern void job_spilled(int64 bytes);

/*
 * A short transaction in which SQL on the user's relations may run: as the
 * model's owner, in a security-restricted operation, with a snapshot pushed.
 * SQL on _dupn goes through owner_begin as everywhere.  The current memory
 * context lasts until the commit; the one before is current again after it.
 */
extern void job_begin(void);
extern void job_commit(void);

/* ---------------- dataset.c ---------------- */

typedef struct User
{
	int64		start;			/* of its rows in events */
	int64		n;
	Cell		key;
	uint32		hash;			/* of the key: splits hold-out users */
	TimestampTz hold_out;		/* samples and events before it train; at or after it
								 * they are held out (DT_NOEND: none is) */
	TimestampTz report;			/* last_event: at or after it, reported; before, STOP */
} User;

/* Rows of a task's samples relation, in the order of users and time. */
typedef struct SampleRows
{
	int64		n;
	int32	   *user;			/* index; users without events have n = 0 rows */
	TimestampTz *time;
	float	   *label;
	float	   *weight;			/* of the weight column, of events 1/size of their
								 * instant, or NULL: 1 */
	float	   *type_weight;	/* of an event's type, or NULL: 1 */
	uint8	   *drawn;			/* is it a negative of "negatives"?  or NULL: none is */
	int32	   *position;		/* bucket of the place, -1: not known; or NULL */
	Cell	   *group;			/* of the group column, CELL_NULL: with nothing; or NULL */
	float	   *features;		/* [n, F] z-scored */
	float	   *mean;			/* [F] of the training samples */
	float	   *scale;			/* [F] by which (value - mean) is multiplied; negative: flipped */
	IdColumn	candidate[NN_MAX_FEATURES]; /* in the order of task_candidate() */
	int32	   *item;			/* catalogue index of the candidate, -1 */
	IdColumn	context[NN_MAX_FEATURES];	/* context columns that the samples have */
} SampleRows;

/* How a multiclass task's label becomes a class. */
typedef struct Levels
{
	int			classes;
	char	  **class_name;
	bool		number;			/* cut into levels by bounds, else by vocabulary */
	Vocabulary	vocabulary;		/* cell -> class */
	const double *bounds;		/* [classes - 1], or [n_within, classes - 1] */
	Vocabulary	within;			/* cell -> row of bounds; n_within 0: one row for all */
	int64		n_within;
	const Cell *within_key;
} Levels;

/* Of an event instead of a place in the catalogue. */
#define ITEM_NONE		(-1)	/* it has no key */
#define ITEM_UNKNOWN	(-2)	/* its key is not in the catalogue of the version that
								 * the data set is encoded by */

/* What the memory term of a next_item task knows. */
typedef struct TaskMemory
{
	Neighbours	neighbours;
	uint32		stride;			/* of the users that were counted */
	uint32		scale;			/* sums are of one in so many users */
	const int64 *count;			/* [J] times that items occurred among what was counted */
	double		events;			/* sum of them */
} TaskMemory;

typedef struct Dataset
{
	const Model *model;
	const ModelImage *base;		/* whose encoding this is, or NULL: it was learned */
	FeatureSet *set;
	MemoryContext context;
	ColumnMemory *memory;
	ColumnStore *store;			/* of the columns below, which nobody writes to */
	EventTable *events;			/* user after user, each in window order */
	double	   *label_number[NN_MAX_TASKS]; /* multiclass from events: the label's number per event */
	Cell	   *label_cell[NN_MAX_TASKS];	/* or its cell */
	Cell	   *within_cell[NN_MAX_TASKS];
	uint8	   *where[NN_MAX_TASKS];	/* tasks without samples: may the event be a target; NULL: all */
	float	   *type_weight[NN_MAX_TASKS];	/* tasks without samples: of the event's type; NULL: 1 */
	float	   *label_weight[NN_MAX_TASKS]; /* by label or class; NULL: 1 */
	IdColumn	event_context[NN_MAX_FEATURES]; /* per event, with option event_context: what
											 * was asked before it */
	int64		n_users;
	User	   *users;
	IdColumn	profile[NN_MAX_FEATURES];	/* [n_users] per profile feature */
	Catalogue	catalogue;
	uint8	   *known;			/* [J] in the catalog relation or in a training event;
								 * the others are no columns of training */
	Growth		growth[NN_GROUPS][NN_MAX_FEATURES]; /* of vocabularies */
	int64	   *held_out;		/* [J] events of the hold-out, or NULL: see dataset_refit */
	SampleRows	rows[NN_MAX_TASKS];
	Levels		levels[NN_MAX_TASKS];	/* multiclass tasks */
	TaskMemory	item_memory[NN_MAX_TASKS];	/* next_item tasks */
	TimestampTz cut;			/* samples at or after it are held out; DT_NOEND with
								 * last_event, see User */
	TimestampTz last_time;		/* of all events */
	int64		events_before_cut;	/* new ones, and those from the cut on */
	int64		events_after_cut;
	TimestampTz since;			/* events and samples after it are the night's own; those at it
								 * and before are history; DT_NOBEGIN: all are trained on */
	TimestampTz until_read;		/* nothing after it was read; DT_NOEND: all was */

	struct Drift *drift;		/* of the rows after it, or else of those held out; see drift.h */

	/* of evaluations; as dataset_load leaves them, a data set is trained on */
	TimestampTz until;			/* samples at or after it are spare */
	bool		everybody;		/* all users' held-out samples are reported */
	bool		evaluated;		/* events of items that the version does not know are
								 * samples as well, and missed */
} Dataset;

/*
 * Which times are read.  `since` before all: everything up to `until`; else what
 * came after it, and of its users the history that their windows need.
 */
typedef struct DataRange
{
	TimestampTz since;			/* rows after it are new; DT_NOBEGIN: all are */
	TimestampTz until;			/* those after it are not there; DT_NOEND: none is */
} DataRange;

#define ALL_TIMES	((DataRange) {DT_NOBEGIN, DT_NOEND})

/*
 * Reads, finds the cut, learns, encodes.  With a version, see image_hold and
 * base_check, only what a task has that the version lacks is learned, and the
 * rest is taken from it: events and rows are encoded as serving encodes them,
 * items and classes that it does not know are nobody's target.  Manages
 * transactions.
 */
extern Dataset *dataset_load(const Job *job, const Model *model, const ModelImage *base, DataRange range);

/*
 * Once what was held out is trained on: count it, too, in the catalogue and in
 * memory terms.
 */
extern void dataset_refit(Dataset *data);

/*
 * base.c: error unless the model, as it is declared now, makes the network of
 * the version, but for tasks that the version does not have.  How item columns
 * are put together is the version's where the model leaves it open.  Inside a
 * transaction.
 */
extern void base_check(Model *model, const ModelImage *base);

/* The ids of a user's profile, and of the context of a row of a task's samples (-1: of an event). */
extern void dataset_profile(const Dataset *data, int32 user, IdRow *row);
extern void dataset_context(const Dataset *data, int task, int64 sample, IdRow *row);

/* ---------------- samples.c ---------------- */

typedef enum Split
{
	SPLIT_TRAIN,
	SPLIT_STOP,					/* decides early stopping */
	SPLIT_REPORT,				/* is reported */
	SPLIT_SPARE					/* held out beyond what is evaluated: for refit only */
} Split;

/* One moment of one user with what is to be predicted there. */
typedef struct Moment
{
	TimestampTz time;			/* of the target */
	int64		end;			/* row behind the last event strictly before moment_now */
	int64		target;
	int32		n_target;
	int32		user;
	int16		task;			/* -1: targets [target, n_target) are events of the next instant
								 * for every events-based task; else a row of rows[task] */
	uint8		split;
} Moment;

typedef struct Moments
{
	int64		n;
	const Moment *moment;		/* by user, then time; a column of the data set's store */
	int64		count[4][NN_MAX_TASKS]; /* samples per split and task */
	int64		n_of[4];		/* moments of STOP and REPORT, which are few, and */
	const int64 *of[4];			/* where they are; of the other splits NULL */
	bool		wanted[NN_MAX_TASKS];	/* tasks that these are moments of */
} Moments;

/* Those of the tasks of the model that are wanted [n_tasks]; NULL: of all. */
extern Moments *moments_make(const Dataset *data, const bool *wanted);

/*
 * The moment that a vector is computed for: events at it and after are not
 * seen.  With an embargo it is as much earlier than the sample, so that training
 * sees the same histories, as fresh as those that are asked about when serving.
 */
static inline TimestampTz
moment_now(const Dataset *data, const Moment *moment)
{
	return moment->task < 0 ? moment->time :
		moment->time - data->model->task[moment->task].options.embargo;
}

/* Is the label of a sample of a time known at another? */
static inline bool
label_known(const ModelTask *task, TimestampTz time, TimestampTz now)
{
	return time < now && (task->options.matures == 0 || time <= now - task->options.matures);
}

/* Is a sample of a task, or (-1) an event, none of what a version was trained on? */
static inline bool
sample_is_new(const Dataset *data, int task, TimestampTz time)
{
	return data->since == DT_NOBEGIN ||
		time > data->since - (task < 0 ? 0 : data->model->task[task].options.matures);
}

/* Are two rows of one moment, side by side, compared with each other? */
static inline bool
rows_compared(const SampleRows *rows, int64 a, int64 b)
{
	return rows->group == NULL || (rows->group[a] == rows->group[b] && rows->group[a] != CELL_NULL);
}

/* Weights of a target in the loss; metrics know of SampleRows.weight alone. */
extern float row_weight(const Dataset *data, int task, int64 row);
extern float event_weight(const Dataset *data, int task, int64 event);

/* label of an event for a multiclass task from events, -1: none */
extern int	event_class(const Dataset *data, int task, int64 event);

/* ---------------- judged.c, metrics.c, baseline.c, trainer.c ---------------- */

typedef struct Metric
{
	int			task;
	const char *source;			/* "model" or a baseline's name */
	const char *metric;			/* "hr@10", "auc", .. */
	const char *slice;			/* slice_name, or "class .." */
	double		value,
				low,
				high;			/* 95 % interval, bootstrap by user */
	double		difference,
				difference_low,
				difference_high;	/* the first source minus this one, paired by user */
	int64		n;				/* samples */
	const struct Calibration *bins; /* "ece", else NULL; see resample.h */
} Metric;

typedef struct Metrics
{
	int			n;
	int			capacity;
	Metric	   *metric;
} Metrics;

/* Parts of the samples that metrics are also given for. */
typedef enum Slice
{
	SLICE_ALL,
	SLICE_REPEAT,				/* next_item: the target was in the user's history before */
	SLICE_NEW,					/* it was not */
	SLICE_NEW_USERS,			/* fewer than 5 events before the moment */
	SLICE_SHORT_HISTORY,		/* fewer than the median of the task's samples */
	SLICE_LONG_HISTORY,			/* not fewer */
	SLICE_POPULAR_ITEMS,		/* target or candidate is among the items that make up the
								 * first half of the training events */
	SLICE_RARE_ITEMS,			/* it is not */
	SLICES
} Slice;

extern const char *const slice_name[SLICES];

/*
 * Per-sample results of one scorer on the reported samples of a task, in the
 * same order for every scorer: what the bootstrap and the paired intervals are
 * made from.
 */
typedef struct Results
{
	const char *source;
	double	   *rank;			/* next_item: mean rank of each target */
	float	   *score;			/* binary: a score or probability; multiclass: the
								 * probability of the predicted class, or NULL */
	int32	   *predicted;		/* multiclass: class; -1 never right */
	float	   *log_loss;		/* where the scorer gives probabilities, else NULL */
} Results;

#define MAX_RESULTS 16			/* the model and its baselines */

typedef struct Judged
{
	int			task;
	int64		n;
	int64	   *moment;			/* index into Moments, not decreasing */
	int64	   *target;			/* event row, or row of rows[task] */
	int32	   *user;			/* dense user index, not decreasing */
	float	   *weight;			/* 1/size of a target group */
	uint16	   *slices;			/* bits 1 << Slice */
	float	   *label;			/* binary */
	int32	   *label_class;	/* multiclass */
	int			classes;
	char	  **class_name;		/* [classes] */
	int			n_results;
	Results    *results;		/* [MAX_RESULTS]; others are compared with the first */
} Judged;

static inline bool
in_slice(const Judged *judged, int64 i, Slice slice)
{
	return judged->slices[i] >> slice & 1;
}

/* judged.c: the samples of a split, for each task, in the order of moments and
 * their targets; no results yet. */
extern Judged *judged_make(const Dataset *data, const Moments *moments, Split split);

/* The source of a task trained without the others, which is no simple baseline. */
#define SOURCE_ALONE "alone"

/* The source of what the published version says to the same samples, nor is that one. */
#define SOURCE_PARENT "parent"

/* A new, empty result of judged under a name; one with room for what a network says. */
extern Results *add_results(Judged *judged, const char *source);
extern Results *add_network(Judged *judged, nn_kind kind, const char *source);

/* The k of a next_item task that its main metric is at: 10, or the first. */
extern int	task_main_k(const ModelTask *task);

/* metrics.c: turn per-sample results into metrics with intervals. */
extern void judge(const Judged *judged, const ModelTask *task, uint64 seed, Metrics *metrics);

/* baseline.c: add a Results per baseline for the reported moments of a task. */
extern void baselines(const Dataset *data, const Moments *moments, int task, Judged *judged);

/* Train, evaluate, store, publish; job_note says in one sentence what came of it. */
extern void train_run(Job *job);

#endif							/* DUPN_TRAIN_H */
