/*-------------------------------------------------------------------------
 *
 * model.h
 *	  What is stored: models, tasks, versions; and who may use them
 *
 * Catalogue rows are read and written as the extension's owner after the
 * caller's rights were checked; nothing in schema _dupn is granted to PUBLIC.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DUPN_MODEL_H
#define DUPN_MODEL_H

#include "features/columns.h"
#include "features/neighbours.h"
#include "model/options.h"

#include "access/genam.h"
#include "storage/fd.h"
#include "utils/array.h"

/* ---------------- catalogue.c: rows of _dupn ---------------- */

typedef struct ModelTask
{
	char	   *name;
	nn_kind		kind;
	char	   *samples;		/* qualified relation, or NULL: from the events */
	char	   *label;			/* column, or NULL */
	char	  **features;		/* numeric columns of the samples, see feature_column */
	int			n_features;
	Jsonb	   *options_json;
	TaskOptions options;
} ModelTask;

/*
 * The column of a feature.  The weights of rank tasks are not negative: '-' in
 * front of the column flips the number, so that less of it can be better.
 */
static inline const char *
feature_column(nn_kind kind, const char *feature, bool *flipped)
{
	*flipped = kind == NN_RANK && feature[0] == '-';
	return feature + *flipped;
}

/* Who was last found to have the right to use a kept model, and when. */
typedef struct ModelUse
{
	Oid			user;
	uint64		moment;
} ModelUse;

/* An experiment: a version serves a share of the users, see share.c. */
typedef struct Share
{
	char	   *experiment;
	int32		version;
	double		share;			/* of users, 0 to 1 */
	TimestampTz started_at;
	TimestampTz changed_at;		/* when users were last moved from arm to arm */
	TimestampTz ended_at;		/* DT_NOEND: it runs */
} Share;

typedef struct Model
{
	int32		id;
	char	   *name;
	char	   *owner;
	Oid			owner_oid;
	Relations	relations;
	char	  **item_columns;
	int			n_item;
	char	  **behavior_columns;
	int			n_behavior;
	char	  **profile_columns;
	int			n_profile;
	char	  **context_columns;
	int			n_context;
	char	   *timezone;
	Jsonb	   *options_json;
	ModelOptions options;
	int			n_tasks;
	ModelTask  *task;
	int32		published;		/* version that serves, 0: none */
	Share	   *share;			/* the experiment that runs, or NULL */
	ModelUse   *use;			/* of kept models, else NULL */
} Model;

/* By name (NULL: dupn.model, or the only one the caller's roles own); errors
 * when there is none.  In the current memory context. */
extern Model *model_get(const char *name);
extern Model *model_get_by_id(int32 id, bool missing_ok);

/* The same for calls that come again and again: made only when its rows are
 * not those it was made of before; good until the transaction ends. */
extern const Model *model_kept(const char *name);
extern const Model *model_kept_by_id(int32 id, bool missing_ok);

/* The caller must be a member of the owning role. */
extern void model_check_owner(const Model *model);

/* The caller must be able to read every column the model reads.  Of a kept model
 * it is looked up again when rights, roles or relations have changed. */
extern void model_check_use(const Model *model);

/* Run SQL on _dupn as the extension's owner: a guard around SPI calls.
 * Leaves SPI connected between begin and end. */
typedef struct OwnerGuard
{
	Oid			user;
	int			context;
} OwnerGuard;

/* "binary", "rank", "multiclass", "next_item"; an unknown name is an error. */
extern nn_kind task_kind_parse(const char *name);

/* Parse options_json, times in the model's zone; the tasks must be there. */
extern void model_parse_options(Model *model);

/* The number of a task by its name; -1, or an error: there is none. */
extern int	model_find_task(const Model *model, const char *name);
extern int	model_task(const Model *model, const char *name);

/* A name[] as C strings; a NULL in it is an error that names `what`. */
extern char **names_from_array(ArrayType *array, const char *what, int *n);

extern void owner_begin(OwnerGuard *guard);
extern void owner_end(OwnerGuard *guard);

/*
 * state.c: start a job's transaction, as of now: else pg_stat_activity would
 * show it to be as old as the last statement, which was hours ago.
 */
extern void state_transaction(void);

/*
 * state.c: do something in a subtransaction, which is rolled back unless it is to
 * be kept and went well; its error in the current memory context, NULL: none.
 */
extern ErrorData *subtransaction_try(void (*work) (void *arg), void *arg, bool keep);

/* The same file: SPI on the user's relations: connect, and an array as a parameter; isnull may be NULL. */
extern void spi_connect(void);
extern Datum spi_array(const Datum *values, const bool *isnull, int n, Oid type);

/*
 * state.c: one statement on _dupn as the extension's owner, its operators
 * qualified.  Gives the number of rows; row and isnull, unless NULL, are filled
 * from the first one, values copied into the current memory context.  state_read
 * sees what is committed now, whatever the transaction's isolation level.
 * Inside a transaction, with or without a snapshot.
 */
extern uint64 state_execute(const char *sql, int n, const Oid *types, const Datum *values,
							const char *nulls, Datum *row, bool *isnull);
extern uint64 state_read(const char *sql, int n, const Oid *types, const Datum *values,
						 const char *nulls, Datum *row, bool *isnull);

/*
 * The same file: rows of a table of _dupn that equal keys, through the active
 * snapshot, without SQL and its costs.  index: its name, or NULL; the keys are
 * its first columns, by their numbers in the table.  A row is valid until the
 * next one.  The caller has checked, or will, who may see what.
 */
typedef struct StateScan
{
	Relation	relation;
	SysScanDesc scan;
} StateScan;

extern void state_key(ScanKey key, int column, int32 value);
extern void state_begin(StateScan *scan, const char *table, const char *index, int n, ScanKey keys);
extern HeapTuple state_next(StateScan *scan);
extern void state_end(StateScan *scan);

/* A column of a row of _dupn by its name, which must be there. */
extern Datum state_column(HeapTuple tuple, TupleDesc tupdesc, const char *name, bool *isnull);

/* Declared columns as a feature set, resolved against the relations of today:
 * encodings from column types and options, nothing learned.  Errors name the
 * column. */
extern FeatureSet *model_features(const Model *model, MemoryContext context);

/* The same to look at: what is gone or does not fit any more has type InvalidOid. */
extern FeatureSet *model_features_lenient(const Model *model, MemoryContext context);

/* ---------------- relation.c: what the user's relations have ---------------- */

/*
 * Where a column of the event stream is found: in the events, else in the
 * catalog.  False: in neither.  relation and type may be NULL.
 */
extern bool model_column(const Model *model, const char *column,
						 FeatureSource *source, Oid *relation, Oid *type);

/* As relation_oid, but InvalidOid for what cannot be found, whatever the reason. */
extern Oid	relation_oid_lenient(const char *name);

/* Attribute number and type of a user column of a relation, 0: none such. */
extern AttrNumber relation_column(Oid relation, const char *column, Oid *type);

/* The names of a relation's columns, for hints. */
extern const char **relation_columns(Oid relation, int *n);

/* What a type (looked through domains) can be to the network. */
typedef enum TypeUse
{
	TYPE_UNUSABLE,
	TYPE_ID,
	TYPE_NUMBER,
	TYPE_ID_ARRAY
} TypeUse;

extern TypeUse type_use(Oid type);

/* Can values of both types name the same thing: are their cells comparable? */
extern bool same_key_type(Oid left, Oid right);

/* ---------------- embeddings.c: vectors that a user already has ---------------- */

typedef struct EmbeddingSource
{
	char	   *table;			/* with its schema */
	char	   *key;
	char	   *column;
	bool		frozen;			/* training leaves them as they are */
} EmbeddingSource;

/* What the option "embeddings" says of a column, false: nothing.  Errors: malformed. */
extern bool embedding_source(const Model *model, const char *column, EmbeddingSource *source);

/* ---------------- check.c: is a declaration right? ---------------- */

/* Everything that can be wrong with a model or a task, as the current user;
 * with notices, also how each column is read and which index is missing. */
extern void model_check(const Model *model, bool notices);
extern void task_check(const Model *model, const FeatureSet *set, const ModelTask *task);

/* ---------------- image.c, image_cache.c: a version in use ---------------- */

/*
 * A version is one safetensors file: parameters under NETWORK.md's names in
 * nn_layout order, then vocabularies, bands, the catalogue and statistics, with
 * metadata "config" (nn_config_parse) and "features" (the FeatureSet, names of
 * classes, relations and columns as they were).  It is stored as rows of
 * _dupn.weight, whole or as a difference to another version, and mapped from a
 * file in the temporary-files folder.
 *
 * Tensors beside the parameters:
 *	vocabulary.<group>.<f>.keys I64 [capacity], .ids I32 [capacity]
 *	bands.<group>.<f> F64 [n]
 *	catalogue.keys I64 [J] (cells), .index_keys I64, .index_ids I32 (hash table),
 *	catalogue.text U8, .text_offsets I64 [J + 1] (the key as SQL prints it),
 *	catalogue.<f> I32 [J], or .values and .offsets I64 [J + 1] when multi-hot,
 *	catalogue.count I64 [J] (events before the cut)
 *	task.<t>.bounds F64 [n, classes - 1] (levels), with n > 1 or not
 *	task.<t>.within_keys I64 [n] (cells): the values within which they are cut
 *	task.<t>.mean F32 [F], task.<t>.scale F32 [F]
 *	task.<t>.calibration F32 [2], where there is one
 *	task.<t>.memory.begin I64 [J], .length I32 [J], .items I32, .values F32 (Neighbours),
 *	.scale I32 [1] unless it is 1
 *	vocabulary.<group>.<f>.pending_keys I64, .pending_counts I32, .pending_days I32 (Pending)
 *	vocabulary.<group>.<f>.seen I32 [vocab], with option "forget"
 */
typedef struct ImageTask
{
	char	  **class_name;		/* multiclass, [classes] */
	char	  **feature;		/* [F] the samples' numbers as declared: see feature_column */
	const float *mean;
	const float *scale;			/* negative where the number is flipped */
	const double *bounds;		/* multiclass: of levels, rows of classes - 1; NULL: classes are values */
	int64		n_within;		/* rows, each of a value of within_key; 0: one row for all */
	const Cell *within_key;
	float		calibration[2];	/* a logit counts as [0] * logit + [1], [0] > 0 */
	Neighbours	neighbours;		/* next_item with a memory term */
	uint32		memory_scale;	/* its sums are of one in so many users */
} ImageTask;

static inline double
image_calibrated(const ImageTask *task, double logit)
{
	return task->calibration[0] * logit + task->calibration[1];
}

typedef struct Catalogue
{
	int64		n;				/* J */
	Vocabulary	index;			/* cell of the key -> 0 .. J-1; vocabulary_find gives
								 * ID_UNKNOWN for absent: use catalogue_find */
	const Cell *key;			/* [J] */
	const char *text;			/* keys as text */
	const int64 *text_offsets;
	nn_ids		feature[NN_MAX_FEATURES];	/* per item feature */
	const int64 *count;
} Catalogue;

extern int32 catalogue_find(const Catalogue *catalogue, Cell key);	/* -1: not in it */

typedef struct ModelImage
{
	int32		model_id;
	int32		version;
	int64		fingerprint;	/* first 63 bits of the content's SHA-256 */
	char	   *model_name;
	nn_config	config;
	const float *param;
	const void *prepared;		/* of nn_prepare; NULL in images from image_open */
	const char *items;			/* see image_item_part */
	FeatureSet	set;
	Relations	relations;		/* as trained; events etc. by name */
	ImageTask	task[NN_MAX_TASKS];
	Catalogue	catalogue;
	/* see session_get: plans and scratch of this backend */
	void	   *session;
	MemoryContext context;		/* child of TopMemoryContext, holds all of this */

	/* last, and never cleared: what their arrays do not use costs no memory */
	nn_layout	layout;
	nn_file		file;			/* the mapped bytes */
} ModelImage;

/*
 * The image of a version (0: the published one), mapped.  Found through the
 * caller's snapshot of its row; valid until the end of the transaction, and
 * then kept until others take its place.  Errors: no such version (undefined_object), not
 * ready (object_not_in_prerequisite_state), hostile or damaged bytes
 * (data_corrupted).
 */
extern ModelImage *image_get(const Model *model, int32 version);

/* By a stored vector's stamp. */
extern ModelImage *image_get_stamped(int32 model_id, int32 version, int64 fingerprint);

/*
 * image_get for a job: the image is the caller's and goes with the context,
 * however many transactions that takes.  Inside one; check is called meanwhile.
 */
extern ModelImage *image_hold(const Model *model, int32 version, void (*check) (void),
							  MemoryContext context);

extern int	image_task(const ModelImage *image, const char *task);	/* error when there is none */
extern int	image_find_task(const ModelImage *image, const char *task); /* -1: none */
extern int	image_first_task(const ModelImage *image, nn_kind kind);	/* error when there is none */

/* The text that its network was made of, in the current memory context. */
extern char *image_config_text(const ModelImage *image);

/* Make an image from the bytes of a safetensors file (checked as hostile). */
extern ModelImage *image_open(const void *data, size_t size, const char *what, MemoryContext context);

/*
 * Make sure that a version's files are there and in memory: ahead of publishing
 * also in state "building".  Their bytes; 0: there is no such version.  Inside
 * a transaction, with a snapshot; check, unless NULL, is called meanwhile.
 */
extern int64 image_prewarm(int32 model_id, int32 version, void (*check) (void));

/*
 * item_parts.c: what nn_score takes from an item alone, [J, nn_part_width], for
 * the items of the catalogue; made where it is not there.  NULL: the model does
 * not keep them (option "cache_items"), the task has no candidate, or
 * dupn.max_mapped_size leaves no room.
 */
extern const float *image_item_part(ModelImage *image, const Model *model, int task);

/* ---------------- mapped.c: files that every backend maps ---------------- */

/* Remove the files of a version's content when the transaction commits. */
extern void mapped_drop_at_commit(int64 fingerprint, int64 bytes);

/* Remove files that no version and no database needs any more.  Inside a transaction. */
extern void mapped_sweep(void);

/* ---------------- store.c: writing a version ---------------- */

/* One piece of an image to be written, in file order: F64/I64 first, then
 * F32/I32, then U8; parameters as one run in layout order. */
typedef struct ImagePiece
{
	nn_file_tensor tensor;
	const void *data;
} ImagePiece;

#define IMAGE_PART_BYTES	((size_t) 4 << 20)

/*
 * Store an image as rows of _dupn.weight under (model, version) in parts of
 * that size, each committed in its own transaction, and fill in bytes, parts and
 * fingerprint of its _dupn.version row.  For jobs: manages transactions.  check
 * is called between the parts, with and without a transaction.
 *
 * parent: the version that this one differs little from, or NULL.  Only what is
 * new is stored then, see delta.c, unless that is more than half of the whole,
 * or the version's option "rebase" allows no further link in the chain.  What is
 * read back is the whole in any case.
 */
extern void image_store(int32 model_id, int32 version, const char *metadata, ImagePiece *pieces, int n,
						const ModelImage *parent, void (*check) (void));

/* The whole of it within the caller's transaction. */
extern void image_insert(int32 model_id, int32 version, const char *metadata,
						 ImagePiece *pieces, int n, void (*check) (void));

/* ---------------- spool.c: temporary files that are read through a mapping ---------------- */

/* All bytes to a file that others opened; map a whole file read-only.  hint, of
 * what can be done when they cannot be written, or NULL. */
extern void spool_write(File file, off_t at, const void *data, size_t bytes, const char *hint);
extern void *spool_map(File file, size_t bytes);

/* A file that goes with a context: added to, then read; NULL: nothing was added. */
typedef struct Spool Spool;

extern Spool *spool_begin(MemoryContext context);
extern void spool_add(Spool *spool, const void *data, size_t bytes);
extern const void *spool_read(Spool *spool, size_t *bytes);

/*
 * repack.c: a safetensors file of a version by whatever program, its tensors in
 * any order.  The image is of a copy in our own order in a temporary file,
 * checked as hostile; pieces, and the metadata made for a model's name and
 * relations, are what image_insert stores.  Errors: data_corrupted.
 */
typedef struct Repacked
{
	ModelImage *image;
	char	   *metadata;
	ImagePiece *piece;			/* point into the copy */
	int			n;
} Repacked;

extern Repacked *image_repack(const void *data, size_t size, const Model *model, const char *what,
							  MemoryContext context);

/* JSON texts, and the metadata object for image_store made of the two. */
extern char *image_features_json(const FeatureSet *set, const Relations *relations,
								 const char *model_name, const ImageTask *task,
								 const nn_config *config);
extern char *image_config_json(const FeatureSet *set, const Model *model, const int *classes,
							   int64 catalogue_size);
extern char *image_metadata(const char *config, const char *features);

/*
 * The features of a task's candidate: item features that its options name, else
 * all where the samples have the item's key, else those the samples have; and
 * behind them its things, numbered as in nn_task.
 * Returns how many; 0 for tasks without a candidate.
 */
extern int	task_candidate(const Model *model, const FeatureSet *set, const ModelTask *task,
						   int candidate[NN_MAX_FEATURES]);

/* ---------------- optimizer_state.c: what an optimizer remembers ---------------- */

/*
 * Store m, v and the number of steps for a version in state "building", as a
 * difference to those of `parent` (0: none) where these are kept.  For jobs:
 * manages transactions, as image_store does.  A layout of too many tensors is
 * not stored.
 */
extern void optimizer_store(int32 model_id, int32 version, int32 parent, const nn_layout *layout,
							const nn_optimizer *optimizer, void (*check) (void));

/*
 * Fill in the same from what is kept for a version; rows that tables of the
 * layout have beyond those kept stay as they are.  False, and nothing is changed:
 * nothing is kept, or it does not fit the layout or the kind of optimizer.  For
 * jobs: a transaction of its own.  Errors: data_corrupted.
 */
extern bool optimizer_load(int32 model_id, int32 version, const nn_layout *layout,
						   nn_optimizer *optimizer, void (*check) (void));

/*
 * Let go what is kept for versions other than the newest, the one that serves and
 * its parent, and is not needed to read those back.  Inside a transaction, the
 * model's row locked; the bytes go with versions_sweep.
 */
extern void optimizer_keep_newest(int32 model_id);

/* ---------------- version.c: the life of a version ---------------- */

typedef struct VersionFacts
{
	int64		parameters;
	int64		events;			/* rows trained on, with their users and items */
	int64		users;
	int64		items;
	TimestampTz cut;			/* of the hold-out; DT_NOBEGIN: none */
	TimestampTz trained_until;	/* DT_NOBEGIN: no event */
	TimestampTz since;			/* rows after it were trained on; DT_NOBEGIN: all */
	int			nights;			/* since the last full training */
	const char *recent;			/* JSON: see night_recent; NULL: not known */
	double		seconds;
	const char *kernel;			/* NULL: trained elsewhere, of which nothing is known but
								 * parameters and items */
} VersionFacts;

/* Is a version to serve? */
typedef struct Decision
{
	bool		publish;
	bool		rejected;		/* by the policy "better" */
	bool		compared;		/* with version `than` (0: there was none), which still must serve */
	int32		than;
	bool		noted;			/* the reason is among the job's notes */
	const char *text;			/* "published", "rejected: why", "waits: why" */
} Decision;

/*
 * A new version of a model in state "building", noted in the job's row: its
 * number.  mode: how it was trained; parent: the version that it started from,
 * 0: none.  For jobs: a transaction of its own, so call it outside of one.
 */
extern int32 version_create(int32 model_id, int64 job_id, int64 seed, int workers, Jsonb *options,
							const char *mode, int32 parent);

/* The same in the caller's transaction and of no job: the version was made elsewhere. */
extern int32 version_import(int32 model_id, Jsonb *options);

/*
 * Make a stored version "ready" with its facts and, if it was decided so, let it
 * serve; another one may have been published since, then it waits and the
 * decision says so.  Returns how many versions were rejected in a row.  Inside the caller's
 * transaction, which may also insert the metrics; the model's row is locked
 * until it ends.
 */
extern int	version_finish(int32 model_id, int32 version, const VersionFacts *facts, Decision *decision);

/* ---------------- retention.c: versions that go ---------------- */

/*
 * Drop a version, ready and not serving: nobody sees it any more, its files go
 * with the commit, its metrics at once, its bytes with versions_free or
 * versions_sweep when no other version needs them.  The model's row is locked.
 */
extern void version_drop(int32 model_id, int32 version);

/* Delete what was dropped of a model and is not needed; in the transaction. */
extern void versions_free(int32 model_id);

/*
 * Drop what a model's "keep_versions" and "keep_days" no longer keep and nothing
 * needs: a list of them, NULL: none.  Inside a transaction.
 */
extern char *versions_retire(const Model *model);

/*
 * Delete the bytes of dropped versions that are not needed, and versions that no
 * living job builds.  For jobs: in short transactions of its own.
 */
extern void versions_sweep(void (*check) (void));

/* Let a version's files, or all of a model's (0), go when the transaction that
 * is about to drop it commits. */
extern void version_drop_files(int32 model_id, int32 version);

/* Let a ready version serve, remembering the one before.  Inside a transaction. */
extern void version_publish(const char *model_name, int32 model_id, int32 version);

/* Lock a model's row, so that nobody else changes what serves; its name. */
extern char *version_lock_model(int32 model_id);

/* An error if there is no such version, or it is not ready; the model is locked. */
extern void version_check_ready(const char *model_name, int32 model_id, int32 version);

/* ---------------- share.c: a version for a share of the users ---------------- */

extern Share *share_of_row(HeapTuple tuple, TupleDesc tupdesc);

/*
 * An experiment of a model by its name; without one, the one that runs, else
 * the last one that ran if ended ones will do.  NULL: there is none to take by
 * default; a name that never was one is an error.  Through the active snapshot.
 */
extern const Share *share_find(const Model *model, const char *experiment, bool ended);

/*
 * Let a ready version serve a share of the users, or change the share.
 * experiment: NULL for a name made of the version.  Inside a transaction; its name.
 */
extern char *share_set(const Model *model, int32 version, double share, const char *experiment);

/* End an experiment (NULL: the one that runs); its name. */
extern char *share_end(const Model *model, const char *experiment);

/* Is a version one that a running experiment serves?  With the model locked, as
 * things are now: who drops versions must ask. */
extern bool share_serves(int32 model_id, int32 version);

/* As logs call the arms. */
#define ARM_CANDIDATE	"candidate"
#define ARM_CONTROL		"control"

/* The users of an experiment, in the current memory context.  type: of the users. */
typedef struct ShareUsers
{
	double		share;
	Cell		salt;			/* of the experiment: each takes other users */
	CellType	type;
} ShareUsers;

extern ShareUsers *share_users(const Model *model, const Share *share, Oid type);

/* Is a user, a value of that type, one whom the experiment's version serves? */
extern bool share_takes(ShareUsers *users, Datum user);

#endif							/* DUPN_MODEL_H */
