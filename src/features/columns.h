/*-------------------------------------------------------------------------
 *
 * columns.h
 *	  The user's relations: the queries that read them and from a row to ids
 *
 *-------------------------------------------------------------------------
 */
#ifndef DUPN_COLUMNS_H
#define DUPN_COLUMNS_H

#include "features/window.h"
#include "lib/stringinfo.h"
#include "utils/jsonb.h"

/* Names of what a model reads; all strings live as long as the struct. */
typedef struct Relations
{
	const char *events;			/* qualified and quoted */
	const char *user_column;
	const char *time_column;
	const char *item_key;		/* the first item column */
	const char *catalog;		/* or NULL */
	const char *catalog_key;
	const char *profile;		/* or NULL */
	const char *profile_key;
} Relations;

/*
 * One column of a row source to one feature.  A RowReader is made for a
 * TupleDesc once (a query, a composite argument) and then reads rows.
 */
typedef struct ColumnReader
{
	int			attnum;			/* 1-based; 0: the source lacks it */
	CellType	type;
	const Feature *feature;
} ColumnReader;

typedef struct RowReader
{
	const FeatureSet *set;
	const Relations *relations;
	int			time;			/* attnum, 0: none */
	Oid			time_type;		/* without its domain */
	int			user;
	CellType	user_type;
	int			item_key;		/* attnum of the item's key */
	CellType	item_key_type;
	int			n[NN_GROUPS];
	ColumnReader column[NN_GROUPS][NN_MAX_FEATURES];
} RowReader;

/*
 * Match columns of a row by name.  what names the source in errors ("relation
 * \"events\"").  Type changes since training that change the encoding are
 * errors that name the column.  Missing columns have attnum 0; the caller says
 * whether that is an error.
 */
extern RowReader *row_reader(const FeatureSet *set, const Relations *relations,
							 TupleDesc tupdesc, const char *what, MemoryContext context);

/* Time column to timestamptz in the model's zone; an infinite one stays infinite
 * (TIMESTAMP_NOT_FINITE), the caller skips it. */
extern TimestampTz row_time(const RowReader *reader, Datum value);

/* `now` as a value p of the time column's type such that column < p says "strictly
 * before now" also for timestamp and date columns. */
extern Datum time_parameter(const FeatureSet *set, Oid time_type, TimestampTz now);

/* The ids of one feature from a deformed row; returns how many.  A missing column
 * gives ID_MISSING, to a bag nothing. */
extern int	column_encode(ColumnReader *column, const Datum *values, const bool *isnull, int32 *id);

/* Ids of a group's features, from number `first` on, of a deformed row; missing
 * columns leave ID_MISSING (n = 0 for multi-hot). */
extern void row_encode(RowReader *reader, nn_group group, int first, const Datum *values, const bool *isnull,
					   int32 *n, int32 (*id)[NN_MAX_BAG]);

/*
 * SELECT of one user's window: $1 user, $2 now (strictly before), the last
 * events + 1 rows WITH TIES, newest first, without features FROM_CATALOG.
 * The operators are the column types' own btree ones.
 */
extern char *window_query(const FeatureSet *set, const Relations *relations, Oid user_type, Oid time_type,
						  int events);

/*
 * The same for many users at once: $1 is an array of them, and the last column
 * the user's place in it, which orders the rows.
 */
extern char *windows_query(const FeatureSet *set, const Relations *relations, Oid user_type, Oid time_type);

/*
 * SELECT of the users who have an event before $1, in the order of their
 * column's type, at most $2; after: only those beyond $3.
 */
extern char *users_query(const Relations *relations, Oid user_type, Oid time_type, bool after);

/*
 * SELECT of when each of the users in the array $1 had the newest event before
 * $2, and the user's place in the array; users without one have no row.
 */
extern char *newest_query(const Relations *relations, Oid user_type, Oid time_type);

/*
 * A relation of which a range of times is read: parameters $first and $first + 1
 * are where it begins and what lies behind its end, of the column's type.
 */
typedef struct TimedRelation
{
	const char *relation;
	const char *user_column;
	const char *time_column;
	Oid			time_type;
	int			first;
} TimedRelation;

/*
 * SELECT user, time, item key and the features FROM_EVENTS of all events,
 * ordered by user and time, for training, with event_context the context columns
 * that events have as well; extra: more columns of events
 * (labels), NULL-terminated, or NULL.  Features FROM_CATALOG are not in it:
 * the data set has the catalogue in memory.  range: of the events that are
 * read, NULL: all.
 */
extern char *training_query(const FeatureSet *set, const Relations *relations, char **extra,
							const TimedRelation *range);

/* Append "time >= $first AND time < $first + 1" of a relation's alias. */
extern void append_range(StringInfo sql, const char *alias, const TimedRelation *relation);

/*
 * The same of those users alone who have a row in the range of a relation, of
 * which the first is the events: all their events in the range of `windows`, and
 * of those before the last `history` WITH TIES, or with 0 all.  That takes an index
 * by user and time; where there is none, 0 reads the events once.
 */
extern char *night_query(const FeatureSet *set, const Relations *relations, char **extra,
						 const TimedRelation *relation, int n, const TimedRelation *windows, int history);

/* SELECT of the key and the item features (FROM_EVENTS ones too, where it has them)
 * of the catalog; with_keys: only the features FROM_CATALOG, of the rows whose
 * key is in the array $1. */
extern char *catalog_query(const FeatureSet *set, const Relations *relations, bool with_keys);

/* SELECT of the keys in the catalog, in their order and each once, at most $1; after:
 * only those beyond $2. */
extern char *items_query(const Relations *relations, bool after);

/* SELECT of the key and all item features that the catalog has, of the rows whose
 * key is in the array $1, whose place is the last column. */
extern char *item_rows_query(const FeatureSet *set, const Relations *relations);

/* SELECT of the key and the features of the profile; with_key: only of the row
 * whose key is $1. */
extern char *profile_query(const FeatureSet *set, const Relations *relations, bool with_key);

/* The same of the rows whose key is in the array $1, whose place is the last column. */
extern char *profiles_query(const FeatureSet *set, const Relations *relations);

/* The relation of a stored qualified name and a column of it; errors name them. */
extern Oid	relation_oid(const char *name);
extern Oid	column_type(Oid relation, const char *relation_name, const char *column);

/* Print "left op right" with the default btree equality or < operator of a type, qualified. */
extern void append_operator(StringInfo sql, const char *left, Oid type, int strategy, const char *right);

/* The column of a row type by name, 1-based, or 0; name may be NULL. */
extern int	row_column(TupleDesc tupdesc, const char *name);

/* A JSON string, number or boolean as text; NULL for null, objects and arrays. */
extern char *jsonb_value_text(const JsonbValue *value);

/* A context given as jsonb: each declared context feature by name, unknown keys are an error. */
extern void context_encode(const FeatureSet *set, const Jsonb *object, IdRow *row);

#endif							/* DUPN_COLUMNS_H */
