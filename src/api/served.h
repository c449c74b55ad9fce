/*-------------------------------------------------------------------------
 *
 * served.h
 *	  What a call from SQL means: its model, its version, its arguments
 *
 *-------------------------------------------------------------------------
 */
#ifndef DUPN_SERVED_H
#define DUPN_SERVED_H

#include "serve/session.h"
#include "serve/vector.h"

/* ---------------- served.c ---------------- */

/*
 * What a call refers to, kept in fn_extra.  It is looked up anew as soon as the
 * snapshot or the user is another one, and the rights with it.
 */
typedef struct Served
{
	const Model *model;
	ModelImage *image;			/* of served_model, served_vector, served_stamp */
	ModelImage *candidate;		/* see served_image */
	ShareUsers *users;
	void	   *own;			/* of the function, in context; NULL after a look-up */
	MemoryContext context;
	struct ServedKey *key;
} Served;

/* By a model argument (NULL: the default) and a version (0: the published one). */
extern Served *served_model(FunctionCallInfo fcinfo, const char *model, int32 version);

/*
 * The same for calls about users, whose version is not looked for yet: the one
 * that was asked for; else that of a running experiment for a user of its arm,
 * and the published one for everybody else.  user: not NULL, of a type that
 * dupn_user_vector takes.
 */
extern Served *served_lookup(FunctionCallInfo fcinfo, const char *model, int32 version);
extern ModelImage *served_image(Served *served, Datum user, Oid type);

/* Users of an experiment as such values, in the context of `served`. */
extern ShareUsers *served_share_users(Served *served, const Share *share);
extern bool served_takes(const Served *served, ShareUsers *users, Datum user, Oid type);

/* The version that made a vector, whose width is checked. */
extern Served *served_vector(FunctionCallInfo fcinfo, const DupnVector *vector);

/* By the stamp of a vector to be. */
extern Served *served_stamp(FunctionCallInfo fcinfo, int32 model_id, int32 version, int64 fingerprint);

/* ---------------- arguments.c ---------------- */

/* NULL: statement_timestamp().  Errors: not finite. */
extern TimestampTz as_of_argument(FunctionCallInfo fcinfo, int n);
extern char *text_argument(FunctionCallInfo fcinfo, int n);	/* or NULL */
extern int32 version_argument(FunctionCallInfo fcinfo, int n);	/* or 0 */
extern Jsonb *options_argument(FunctionCallInfo fcinfo, int n); /* NULL: {} */

/* The model of the first argument, which the caller must own. */
extern Model *owned_model(FunctionCallInfo fcinfo);

/* Text for a result's column, NULL for NULL. */
extern Datum text_or_null(const char *text, bool *isnull);

/* ---------------- score.c, classify.c ---------------- */

/* dupn_score(task, vector, ..) for a record, for an item's key, for the user alone. */
extern PGDLLEXPORT Datum dupn_score_record(PG_FUNCTION_ARGS);
extern PGDLLEXPORT Datum dupn_score_bigint(PG_FUNCTION_ARGS);
extern PGDLLEXPORT Datum dupn_score_text(PG_FUNCTION_ARGS);
extern PGDLLEXPORT Datum dupn_score_uuid(PG_FUNCTION_ARGS);
extern PGDLLEXPORT Datum dupn_score_user(PG_FUNCTION_ARGS);

/* What dupn_classify says of one class. */
extern double class_probability(Session *session, int task, int number, const float *vector);

/* ---------------- user_vector.c ---------------- */

/* The vector of the user that was read, as a value with its stamp. */
extern DupnVector *served_user(Session *session);

#endif							/* DUPN_SERVED_H */
