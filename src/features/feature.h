/*-------------------------------------------------------------------------
 *
 * feature.h
 *	  What a column is to the network, and the one way from a value to an id
 *
 * A value becomes a Cell (64 bits: an integer itself, a double's bits, or a
 * hash of anything else) and a Cell becomes an id by the feature's learned
 * vocabulary or bands.  Training stores cells, learns from them and encodes
 * later; serving does both at once.  There is no other encoder.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DUPN_FEATURE_H
#define DUPN_FEATURE_H

#include "compat.h"

#include "access/tupdesc.h"
#include "access/htup.h"
#include "datatype/timestamp.h"
#include "nn/nn.h"

/* ---------------- cell.c: from a Datum to 64 bits ---------------- */

typedef int64 Cell;

#define CELL_NULL PG_INT64_MIN

typedef enum CellKind
{
	CELL_INTEGER,				/* smallint, integer, bigint, oid, boolean */
	CELL_NUMBER,				/* real, double precision, numeric: bits of a double */
	CELL_HASH					/* everything else, by its text or bytes */
} CellKind;

/* How to read values of one SQL type. */
typedef struct CellType
{
	Oid			type;			/* of the column */
	Oid			element;		/* of the values: the array's element type, or type */
	bool		array;
	CellKind	kind;
	int16		length;			/* of an element, as pg_type has it */
	bool		by_value;
	char		align;
	FmgrInfo	output;			/* CELL_HASH of types without a shortcut */
	const char *words;			/* a text is a bag of words by this configuration, or NULL */
} CellType;

/* Fill in for a column type (domains are looked through).  as_id: a numeric is
 * to be read as an id, by its text, since a double would lose digits. */
extern void cell_type_init(CellType *celltype, Oid type, bool as_id, MemoryContext context);

/* CELL_NULL for NULL and NaN. */
extern Cell cell_from_datum(CellType *celltype, Datum value, bool isnull);

/* The same for a value as text, by the input function of the element type. */
extern Cell cell_from_input(CellType *celltype, char *text);

/* The cells of an array value, NULL elements left out; at most NN_MAX_BAG,
 * the first ones.  A scalar type gives one, a text of words several.  Returns
 * how many. */
extern int	cells_from_datum(CellType *celltype, Datum value, bool isnull, Cell *cells);

extern double cell_number(Cell cell, CellKind kind);	/* NAN for CELL_NULL and CELL_HASH */
extern Cell cell_from_number(double number);
extern Cell cell_from_text(const char *text);	/* as CELL_HASH reads it */
extern Cell cell_from_bytes(const char *bytes, size_t length);
extern uint64 cell_hash(Cell cell); /* well mixed; the same on every machine and version */

/* ---------------- words.c: a text as a bag of words ---------------- */

/* The first NN_MAX_BAG distinct lexemes of a text, in their order; how many. */
extern int	words_cells(const char *configuration, const char *string, int length, Cell *cells);

/* An error that names the configuration, where there is none of that name. */
extern void words_check(const char *configuration);

/* A text column as an array of its lexemes, in SQL. */
extern char *words_sql(const char *configuration, const char *column);

/* ---------------- feature.c ---------------- */

typedef enum FeatureSource
{
	FROM_EVENTS,
	FROM_CATALOG,				/* what events lack, by the item's key */
	FROM_PROFILE,
	FROM_CONTEXT,
	FROM_SAMPLES,				/* of a candidate that is no item: of the samples, of the row when asked */
	FROM_TIME,					/* gap, daypart, recency: derived from the time column */
	FROM_WINDOW					/* activity: derived from the window */
} FeatureSource;

/* in dupn_features and in images */
extern const char *const feature_source_name[FROM_WINDOW + 1];
extern const char *const feature_use_name[NN_USE_BOTH + 1];

typedef enum Encoding
{
	ENCODE_ID,					/* vocabulary with min_count */
	ENCODE_HASH,				/* {"hash": buckets} */
	ENCODE_BANDS,				/* quantile bands of a number */
	ENCODE_FIXED				/* derived features: ids are computed, see time.c */
} Encoding;

/* Open addressing; pointers into a mapped version or into a builder's memory. */
typedef struct Vocabulary
{
	int64		capacity;		/* a power of two; 0: empty */
	const Cell *keys;			/* CELL_NULL: free slot */
	const int32 *ids;			/* from 2 on */
} Vocabulary;

/* Values without an id and how often they were seen: nights go on counting. */
typedef struct Pending
{
	int64		n;
	const Cell *key;			/* [n] ascending */
	const int32 *count;			/* [n] */
	const int32 *day;			/* [n] when they were last seen, see day_of */
} Pending;

typedef struct Feature
{
	char		name[NN_MAX_NAME];	/* the column's name; it names the tensors too */
	nn_group	group;
	FeatureSource source;
	Encoding	encoding;
	char		type_name[2 * NN_MAX_NAME + 8]; /* SQL type when the model was declared or trained,
												 * with its schema and brackets */
	Oid			type;			/* resolved on use, never stored */
	CellKind	kind;
	bool		multi;
	int			use;			/* NN_USE_*, properties */
	char		words[2 * NN_MAX_NAME]; /* {"words": configuration}: a text is a bag of words,
									 * "" for other columns; its encoding is ENCODE_ID */
	int			shares;			/* context: index of the item feature, or -1 */
	int			dim;			/* 0: the default of NETWORK.md */
	int64		min_count;
	int64		buckets;		/* ENCODE_HASH */
	int			bands;			/* ENCODE_BANDS: how many */

	/* learned */
	int64		vocab;			/* rows of the table, 0 and 1 included */
	Vocabulary	vocabulary;
	Pending		pending;
	const int32 *seen;			/* [vocab] day when an id was last seen; NULL: nobody asks */
	int			n_bounds;
	const double *bounds;		/* upper bounds, ascending */
} Feature;

typedef struct FeatureSet
{
	int			n[NN_GROUPS];
	Feature		f[NN_GROUPS][NN_MAX_FEATURES];
	int			gap,			/* index of the derived property, or -1 */
				daypart,
				recency;		/* time: "paper" */
	int			activity;		/* index of the derived profile feature, or -1 */
	int			types;			/* behaviour types for attention.recency and activity:
								 * vocab of the first property, 1 without one */
	int			max_events;
	bool		recency_bias;	/* attention.recency exists */
	bool		lag_bias;		/* attention.lag exists */
	bool		event_context;	/* training reads context columns of events, too */
	char		timezone[NN_MAX_NAME];
	struct pg_tz *tz;			/* looked up on load */
} FeatureSet;

/* min_count of a key without embeddings: whatever it is, it is unknown. */
#define NEVER_ENOUGH PG_INT64_MAX

/* As nn_candidate_feature. */
static inline const Feature *
candidate_feature(const FeatureSet *set, int candidate)
{
	return NN_IS_THING(candidate) ? &set->f[NN_THING][candidate - NN_MAX_FEATURES] : &set->f[NN_ITEM][candidate];
}

#define ID_MISSING	0
#define ID_UNKNOWN	1
#define ID_FIRST	2

/* How values of a column of this type are read for the feature. */
extern void feature_cell_type(const Feature *feature, Oid type, CellType *celltype, MemoryContext context);

extern int32 feature_encode(const Feature *feature, Cell cell);

/* Encode n cells of a multi-hot value; ids are sorted and distinct, an empty
 * bag stays empty, NULL array is an empty bag.  Returns how many. */
extern int	feature_encode_bag(const Feature *feature, const Cell *cells, int n, int32 *ids);

/* vocab of the encodings that need no counting: hash, bands (n_bounds set), fixed */
extern void feature_set_vocab(const FeatureSet *set, Feature *feature);

extern int	feature_default_dim(const Feature *feature, bool item_key, bool next_item);
extern int32 vocabulary_find(const Vocabulary *vocabulary, Cell cell);	/* id, or ID_UNKNOWN */
extern void vocabulary_prefetch(const Vocabulary *vocabulary, Cell cell);	/* soon to be found */

/* ---------------- vocabulary.c: learning ---------------- */

/* Counts cells and turns them into ids: by count, ties by value, so that the
 * ids do not depend on the order of reading. */
typedef struct VocabularyBuilder VocabularyBuilder;

extern VocabularyBuilder *vocabulary_builder(MemoryContext context);
extern void vocabulary_count(VocabularyBuilder *builder, Cell cell);

/* Fills feature->vocabulary and ->vocab in the builder's context, without what
 * was counted less than min_count times.  The builder is gone then. */
extern void vocabulary_finish(VocabularyBuilder *builder, Feature *feature);

/* vocabulary_grow.c: the rules of a growing vocabulary, in days */
typedef struct GrowthRule
{
	int32		today;
	int32		keep;			/* counts of what has no id are kept so long */
	int32		forget;			/* an id unseen for longer is taken away; 0: never */
} GrowthRule;

/* What came of it. */
typedef struct Growth
{
	int64		n_new;
	const int32 *id;			/* [n_new] ids of values that had none before */
	const uint8 *forgotten;		/* [vocab before] 1: the id was taken away; NULL: none was */
} Growth;

/*
 * The same where the feature has a vocabulary: ids stay, those of new values come
 * behind them or take the places of forgotten ones.  held_out counts what is not
 * to be learned from yet but is seen from now on.  Both builders are gone then.
 */
extern void vocabulary_grow(VocabularyBuilder *builder, VocabularyBuilder *held_out, Feature *feature,
							const GrowthRule *rule, Growth *growth);

/* How often a builder has counted a cell, and all that it has counted, by cell. */
typedef struct CellCount
{
	Cell		cell;
	int64		count;
} CellCount;

extern int64 vocabulary_counted(const VocabularyBuilder *builder, Cell cell);
extern CellCount *vocabulary_counts(const VocabularyBuilder *builder, int64 *n);
extern MemoryContext vocabulary_free(VocabularyBuilder *builder);

/* A copy of a lookup table with n more cells; it keeps its places while there is room. */
extern void vocabulary_extend(Vocabulary *vocabulary, const Cell *cells, const int32 *ids, int64 n,
							  MemoryContext context);

/* A lookup table from cells to 0 .. n-1 in the order given (duplicates keep the first). */
extern void vocabulary_index(Vocabulary *vocabulary, const Cell *cells, int64 n, int32 first_id,
							 MemoryContext context);

/* Quantile bounds for n numbers in order: at most bands - 1 distinct ones. */
extern int	bands_learn(const double *numbers, int64 n, int bands, double *bounds);
extern int	compare_numbers(const void *a, const void *b);

/* ---------------- time.c: what is derived from time ---------------- */

#define TIME_BUCKETS	13		/* 5 min .. beyond 365 d */
#define LAG_BUCKETS		8
#define DAYPART_VOCAB	8		/* 2 + 4 parts of the day + workday, weekend */
#define POSITION_BUCKETS 14		/* 0 .. 9, 10-15, 16-31, 32-63, 64 and more */
#define COUNT_BUCKETS	9		/* 0, 1, 2-3, 4-7, .. 128 and more */

/* Days since 2000, of UTC. */
static inline int32
day_of(TimestampTz time)
{
	return (int32) (time / USECS_PER_DAY);
}

extern int	time_bucket(int64 microseconds);	/* 0 .. 12; negative counts as 0 */
extern int	lag_bucket(int events_after);	/* 0 .. 7 */
extern int	count_bucket(int n);	/* 0 .. 8 */
extern int	position_bucket(int64 position);	/* 0 .. 13; -1: a negative one is none */
extern int32 gap_id(TimestampTz time, TimestampTz previous, bool has_previous);
extern int	daypart_ids(TimestampTz time, struct pg_tz *tz, int32 ids[2]);

/* ISO, in UTC, in the current memory context.  Error: out of range. */
extern char *time_text(TimestampTz time);

#endif							/* DUPN_FEATURE_H */
