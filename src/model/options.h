/*-------------------------------------------------------------------------
 *
 * options.h
 *	  Options of a model, of a task and of a job, parsed from jsonb in one place
 *
 * options.c holds one table per kind: name, type, limits, default, help.  An
 * unknown name is an error that hints at the nearest known one; a value out of
 * range is an error that names the option and the range.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DUPN_OPTIONS_H
#define DUPN_OPTIONS_H

#include "compat.h"

#include "datatype/timestamp.h"
#include "nn/nn.h"
#include "utils/jsonb.h"

typedef enum HoldoutKind
{
	HOLDOUT_SHARE,				/* the latest share of the samples */
	HOLDOUT_TIME,				/* samples at or after a time */
	HOLDOUT_LAST_EVENT			/* each user's last instant is reported, the one
								 * before it decides early stopping */
} HoldoutKind;

typedef enum PublishPolicy
{
	PUBLISH_ALWAYS,				/* "always" or true: a trained version serves at once */
	PUBLISH_BETTER,				/* unless it is worse than the one that serves, see policy.c */
	PUBLISH_NEVER				/* "never" or false: it waits for dupn_publish */
} PublishPolicy;

typedef struct ModelOptions
{
	/* the network */
	int			hidden;			/* 128 */
	nn_pooling	pooling;		/* "attention", "last", "mean" or "max" */
	int			attention[2];	/* [128, 64] */
	int			max_events;		/* 100 */
	bool		bidirectional;	/* false */
	bool		item_sum;		/* "item_encoding": "concat" or "sum" */
	bool		item_encoding_open; /* not given: a version that is gone on with has its own */
	int			item_dim;		/* width of a summed item encoding, 0: default */
	bool		item_id;		/* true: the item key has embeddings */
	bool		time_paper;		/* "time": "gap" or "paper" */
	bool		activity;		/* true: derived profile feature */
	bool		context_in_vector;	/* false */
	bool		event_context;	/* false: events' own context columns are those of the
								 * request that led to them */
	int			experts;		/* 0: none between the user vector and the tasks */
	int			expert_dim;		/* 0: as wide as the user vector */
	Jsonb	   *encodings;		/* {column: "id" | "bands" | {"hash": n} | {"bands": n} | {"words": name}}, or NULL */
	Jsonb	   *embeddings;		/* {column: {"table", "key", "column", "frozen"}}, or NULL */
	Jsonb	   *widths;			/* {column: width}, or NULL */
	int			properties;		/* NN_USE_* of all that say how and when; 0: "none" */
	Jsonb	   *uses;			/* {behaviour column: "none" | "gates" | "attention" | "both"}, or NULL */
	int64		min_count;		/* 2 */
	int			bands;			/* 20: default number of bands of a number */

	/* training */
	double		dropout;		/* .3 on e_t and r */
	double		hidden_dropout; /* .2 */
	double		id_dropout;		/* .05 */
	double		profile_dropout;	/* .1 */
	double		context_dropout;	/* .3 */
	nn_optimizer_kind optimizer;	/* "adam" or "adagrad" */
	double		learning_rate;
	double		decay;			/* of the learning rate, an epoch */
	double		l2;
	double		clip;
	int			batch_size;		/* views a step */
	int			epochs;			/* at most */
	int			patience;		/* epochs without improvement */
	bool		stopping_task;	/* "stopping": "mean" or "task" */
	bool		learned_weights;	/* "task_weights": "fixed" or "learned" */
	double		task_temperature;	/* 1: tasks are visited in proportion to their size */
	bool		compare_alone;	/* false: train each task alone, too, and compare */
	HoldoutKind holdout;
	double		holdout_share;	/* .1 */
	TimestampTz holdout_time;
	int			holdout_min_events; /* users with fewer events are not evaluated */
	bool		refit;			/* true */
	bool		calibrate;		/* true */
	int64		lateness;		/* 0: microseconds that rows may come late */
	int			full_every;		/* 30: nights between two full trainings, 0: none */
	double		replay;			/* 0: older samples that a night trains on again, for each new one */
	int64		count_expiry;	/* 30 days: microseconds that counts of ids without a row are kept */
	int64		forget;			/* 0: microseconds after which an unseen id loses its row, 0: never */
	bool		relearn_bands;	/* false: nights keep the bands of numbers */
	int64		seed;			/* 1 */
	int			workers;		/* 1: processes that do a job together */
	int			evaluate_samples;	/* at most this many samples a task are evaluated */

	/* every job of the model */
	int64		max_runtime;	/* microseconds, 0: any time */

	/* serving */
	PublishPolicy publish;		/* "better" */
	char	   *primary;		/* the task that decides; NULL: the model's first */
	double		tolerance;		/* .01: drop of its main metric that is let pass */
	double		drift_limit;	/* .25: of a column's PSI, beyond which a job says so */
	bool		keep_optimizer; /* true: store what it remembers */
	int			rebase;			/* 30: differences in a row, before a version is stored whole */
	int			keep_versions;	/* 30, 0: any number */
	double		keep_days;		/* 0 */
	bool		cache_items;	/* false: keep the items' parts of scores in a file */
} ModelOptions;

/* {"name": weight}: finite, none below zero, not all zero. */
typedef struct NamedWeights
{
	int			n;
	char	  **name;
	double	   *weight;
} NamedWeights;

typedef struct TaskOptions
{
	double		weight;			/* 1 */
	bool		calibrate;		/* true, if the model's is */
	int			n_hidden;		/* "hidden": [128, 128] */
	int			hidden[NN_MAX_LAYERS];
	char	  **candidate;		/* item feature names; NULL: all that can be had */
	int			n_candidate;	/* -1: not given */
	char	  **things;			/* columns of the samples, or NULL */
	int			n_things;		/* -1: not given */
	int			candidate_dim;	/* 128 */
	bool		product;		/* true: the product term, where there is a candidate */
	int			levels;			/* multiclass over a number: how many, 7 */
	char	   *within;			/* levels cut within values of this column, or NULL */
	Jsonb	   *where;			/* {behaviour or item column: value or [values]}, or NULL */
	bool		repeat;			/* true: next_item's repeat term */
	bool		memory;			/* true: next_item's memory term */
	bool		exclude_seen;	/* false: rank only items new to the user in metrics */
	int			k[8];			/* "k": [5, 10, 20] of HR and NDCG */
	int			n_k;
	char	   *time_column;	/* samples: "time_column", default the model's */
	char	   *user_column;	/* samples: "user_column", default the model's */
	char	   *weight_column;	/* samples: or NULL */
	char	   *position_column;	/* samples: or NULL */
	double		pairwise;		/* 0: share of the loss */
	char	   *group_column;	/* samples: or NULL, what has one time */
	NamedWeights *label_weights;	/* of labels or classes in the loss, or NULL */
	NamedWeights *type_weights; /* of behaviour types of target events in the loss, or NULL */
	int			negatives;		/* unseen items drawn for each positive, 0: none */
	int64		embargo;		/* microseconds before a sample whose events are hidden */
	int64		matures;		/* microseconds until a sample's label is known */
} TaskOptions;

typedef enum TrainMode
{
	TRAIN_FULL,					/* all tasks from nothing */
	TRAIN_ALONE,				/* some tasks from nothing, in a network of their own */
	TRAIN_HEAD,					/* some tasks' heads on the frozen network of a version */
	TRAIN_FINETUNE,				/* everything, from a version's weights */
	TRAIN_NIGHTLY				/* the same by what came since: no option, an action */
} TrainMode;

extern const char *const train_mode_name[TRAIN_NIGHTLY + 1];

/* Of a training alone; the others that it takes are the model's. */
typedef struct TrainOptions
{
	TrainMode	mode;
	char	  **tasks;			/* those it is about */
	int			n_tasks;		/* -1: not given */
	int			version;		/* it starts from, 0: the published one */
} TrainOptions;

typedef enum WhenRunning
{
	WHEN_DEFAULT = -1,			/* not given: the action's */
	WHEN_QUEUE,
	WHEN_SKIP
} WhenRunning;

/* Of every job, whatever it does. */
typedef struct JobOptions
{
	int			when_running;	/* WHEN_* */
	int			retries;		/* -1: not given, the action's */
	int64		retry_delay;	/* 5 minutes, in microseconds */
	int64		max_runtime;	/* microseconds, 0: any time; below: the model's */
} JobOptions;

typedef struct ImportOptions
{
	bool		publish;		/* false: an imported version waits for dupn_publish */
} ImportOptions;

typedef struct RefreshOptions
{
	char	   *target;			/* the table that is written, or NULL */
	bool		items;			/* "what": "users" or "items" */
	int			version;		/* 0: the published one */
	TimestampTz as_of;			/* DT_NOEND: not given */
	bool		changed;		/* false: also rows that nothing new is known for */
	int64		lateness;		/* microseconds until an event is in its table, at most; -1: the
								 * model's, at least an hour */
	int64		max_age;		/* microseconds; 0: rows may be of any age */
	bool		keep_old;		/* false: rows of other versions are deleted at the end */
	int			rows_per_second;	/* 0: no limit */
	int			workers;		/* 2: processes that share the users out, at most */
} RefreshOptions;

typedef struct EvaluateOptions
{
	int			version;		/* 0: the published one */
	int			other_version;	/* 0: not given */
	TimestampTz since;			/* DT_NOEND: not given */
	TimestampTz until;			/* DT_NOEND: not given */
	char	  **tasks;			/* n_tasks -1: all */
	int			n_tasks;
	char	   *events;			/* relation, or NULL: the model's */
	Jsonb	   *samples;		/* relations by task, or NULL */
	bool		reported;		/* only users that training reports */
	bool		baselines;		/* judged as well */
	int			evaluate_samples;	/* 0: as the version's option */
} EvaluateOptions;

/*
 * NULL jsonb: all defaults.  Results live in the current memory context.  A
 * time without a zone is read in session_timezone.
 */
extern void model_options_parse(ModelOptions *options, Jsonb *jsonb, nn_kind *kinds, int n_kinds);
extern void task_options_parse(TaskOptions *options, nn_kind kind, Jsonb *jsonb);
extern void refresh_options_parse(RefreshOptions *options, Jsonb *jsonb);
extern void import_options_parse(ImportOptions *options, Jsonb *jsonb);
extern void evaluate_options_parse(EvaluateOptions *options, Jsonb *jsonb);

/* They return the other options, those of the model or of the action, which are not looked at. */
extern Jsonb *train_options_parse(TrainOptions *options, Jsonb *jsonb);
extern Jsonb *job_options_parse(JobOptions *options, Jsonb *jsonb);

/* Has an object, which may be NULL, a value under a name?  A null is none. */
extern bool jsonb_object_has(Jsonb *object, const char *name);

/* The keys of an object. */
extern char **jsonb_object_names(Jsonb *object, int *n);

/* base with the keys of changes put over it; a null removes a key. */
extern Jsonb *jsonb_object_merge(Jsonb *base, Jsonb *changes);

#endif							/* DUPN_OPTIONS_H */
