/*-------------------------------------------------------------------------
 *
 * users.h
 *	  Vectors of many users at one moment
 *
 * The users of a group are read by one query a relation and computed in
 * batches of similar length, as products of matrices.  Rows, window and
 * encoding are those of one user, see session.h.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DUPN_USERS_H
#define DUPN_USERS_H

#include "serve/session.h"
#include "serve/vector.h"

typedef struct Users
{
	Session    *session;
	MemoryContext context;		/* holds all of this */
	int			capacity;
	int			n;
	TimestampTz now;
	EventTable *events;			/* user after user, each in window order */
	EventItems	items;
	int64	   *start;			/* [n] a user's rows */
	int64	   *rows;
	int		   *length;			/* [n] the last `length` of them are the window */
	int			n_profiles;
	IdColumn	profile[NN_MAX_FEATURES];	/* [n_profiles] */
	int32	   *profile_row;	/* [n], -1: none */
	IdRow		asked;			/* the context of the request */
	float	   *vector;			/* [n, R] */
} Users;

/* How many users a group should have: enough to fill batches, few enough to be
 * read in a moment and a few megabytes. */
extern int	users_group(const Session *session);

/* A group of at most `capacity` users in a memory context of its own, a child of the current one. */
extern Users *users_make(Session *session, int capacity);

/*
 * The first n users, in the order of their column, who have an event before
 * now, or the first n after one; as the current user, inside a transaction.
 * Returns how many there are; copies, in the current memory context.
 */
extern int	users_list(Session *session, const Model *model, TimestampTz now, const Datum *after,
					   int n, Datum *user);

/*
 * When n users had their newest event before now (DT_NOBEGIN: never), or at the
 * end of its day where events have dates.  Of an hour that comes twice it may
 * be at now or later.
 */
extern void users_newest(Session *session, const Model *model, TimestampTz now, const Datum *user, int n,
						 TimestampTz *newest);

/*
 * Read n users, values of the user column's type, as the current user, inside
 * a transaction.  The group can then be computed without one.
 */
extern void users_read(Users *users, const Model *model, const Datum *user, int n,
					   Jsonb *context, TimestampTz now);

/* Compute users->vector.  Interrupts are answered, between batches by `check` as well (or NULL). */
extern void users_compute(Users *users, void (*check) (void));

/* A user's vector as a value with its stamp. */
extern DupnVector *users_vector(const Users *users, int i);

extern void users_free(Users *users);

#endif							/* DUPN_USERS_H */
