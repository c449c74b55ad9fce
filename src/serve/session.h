/*-------------------------------------------------------------------------
 *
 * session.h
 *	  Answering with a version: what a call reads and computes
 *
 *	  session.c		scratch memory and runs of the network
 *	  sources.c		the model's relations and the queries on them
 *	  items.c		what the catalog says of the items of events
 *	  reading.c		a user's window, profile and items, read as the caller
 *	  keys.c		ids of users and items as values of their columns' types
 *	  users.c		many users at one moment, see users.h
 *	  candidate.c	what the network takes of an item, see candidate.h
 *	  item_vectors.c	many items of the catalog, see item_vectors.h
 *	  vector.c		values of the type dupn_vector, see vector.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef DUPN_SESSION_H
#define DUPN_SESSION_H

#include "model/model.h"

#include "executor/spi.h"

/* ---------------- session.c ---------------- */

/* A query on the user's relations with the reader of its rows. */
typedef struct Reading
{
	SPIPlanPtr	plan;
	int			n;				/* parameters */
	Oid			type[3];
	bool		generic;		/* one plan for all users */
	TupleDesc	tupdesc;
	RowReader  *reader;
} Reading;

/* What the model's relations are today; rebuilt when they change. */
typedef struct Sources
{
	MemoryContext context;
	bool		stale;
	Oid			user;			/* who resolved the names */
	Oid			relation[3];	/* events, catalog, profile; InvalidOid: none */
	Relations	relations;
	Oid			user_type;
	Oid			time_type;
	Oid			catalog_key_type;
	Oid			profile_key_type;
	Reading		window;
	Reading		spare;			/* the window and one event more */
	Reading		profile;
	Reading		catalog;
	Reading		windows;		/* of many users, see users.h */
	Reading		profiles;
	Reading		users[2];		/* the first ones, and those after one */
	Reading		newest;
	Reading		items[2];		/* of the catalog, see item_vectors.h */
	Reading		item_rows;
	Reading		seen;
	Reading		visible;
} Sources;

/* Events on their way into a table, for what their items add to them. */
typedef struct EventItems
{
	struct Session *session;
	EventTable *table;
	bool		by_key;			/* rows are added by their items' keys */
	bool		wanted;			/* some features come from the catalog */
	bool		known;			/* the version's own catalogue may answer */
	CellType	key_type;		/* of the catalog's key */
	int64		first;			/* row of the table */
	int64		capacity;
	int32	   *item;			/* per row: place in a catalogue, or -1 */
	Cell	   *cell;			/* per row: of the key */
	bool	   *has_key;
	Datum	   *key;			/* per row with a key, in `memory` */
	Oid			type;			/* of the keys */
	MemoryContext memory;
} EventItems;

/* One per image and backend. */
typedef struct Session
{
	ModelImage *image;
	bool		busy;			/* a call is at work: see session_work */
	Sources		sources;

	/* the user of the call */
	EventTable *events;			/* in window order */
	EventItems	items;
	EventRow	row;			/* the one being read */
	int64		start;			/* the window is rows [start, start + n) */
	int			n;
	TimestampTz now;
	IdRow		profile;
	IdRow		context;

	/* the network's results, valid until the next run */
	nn_run		run;
	nn_arena	arena;
	void	   *arena_memory;
	BatchBuilder *builder;
	nn_batch   *batch;
	nn_acts		acts;
	nn_scorer  *scorer[NN_MAX_TASKS];	/* see session_scorer */
} Session;

extern Session *session_get(ModelImage *image);

/*
 * Do the work of a call.  What it reads may run the caller's own functions, in
 * views and policies; should they call back into the same version it is an
 * error, since they would write over this call's results.
 */
extern void session_work(Session *session, void (*work) (Session *session, void *argument), void *argument);

/*
 * Run `step` with an arena that is made large enough for it; interrupts end it.
 * Errors name what was computed.
 */
typedef nn_status (*SessionStep) (Session *session, void *argument);
extern void session_compute(Session *session, SessionStep step, void *argument);

/* Give scratch back that is larger than `keep` bytes. */
extern void session_trim(Session *session, size_t keep);

/* Finish the builder's batch; an error if it does not fit the version. */
extern void session_finish_batch(Session *session);

/* An error if one of n vectors is not finite. */
extern void session_check_vectors(const Session *session, int n);

/* The network's batch of the user that was read: one sequence with one view. */
extern void session_batch(Session *session);

/* The vector of that batch, in session->acts. */
extern nn_status user_step(Session *session, void *argument);

/* Both: the vector [R], valid until the next run; an error if it is not finite. */
extern const float *session_vector(Session *session);

/*
 * One task's head for one sample of one vector: results in *acts, which live
 * until the next computation.
 */
extern void session_head(Session *session, int task, nn_samples *samples, const float *vector,
						 nn_task_acts *acts);

/* The head of a binary or rank task, taken apart when it is first asked for. */
extern const nn_scorer *session_scorer(Session *session, int task);

/* part [scorer's width] of a vector, without touching what else the session has. */
extern void session_user_part(Session *session, const nn_scorer *scorer, const float *vector, float *part);

/* ---------------- sources.c ---------------- */

/* Look at the model's relations: errors name what is missing or has changed. */
extern Sources *session_sources(Session *session, const Model *model);

/* Forget plans; for images that are let go. */
extern void sources_clear(Sources *sources);

/*
 * Rows of a query as they come, without a copy: `take` is called for each, in
 * memory that lives as long as the query.  The first member of what a kind of
 * row needs.
 */
typedef struct RowReceiver
{
	DestReceiver pub;
	Session    *session;
	Reading    *reading;
	const char *relation;		/* for errors */
	void		(*take) (struct RowReceiver *receiver, const Datum *values, const bool *isnull);
	RowReader  *reader;			/* of these rows, from the first on */
} RowReceiver;

/* With SPI connected, as the caller.  main: the relation that is read. */
extern void reading_prepare(Reading *reading, const char *sql, Oid main, int n, const Oid *types);
extern void reading_run(RowReceiver *receiver, const Datum *values);

/* The same without sorting, so that LIMIT ends it soon. */
extern void reading_run_by_index(RowReceiver *receiver, const Datum *values);

/* Run a query whose one column is a key of this type, and copy its rows into `memory`; how many. */
extern int	reading_keys(Session *session, Reading *reading, const char *relation, Oid type,
						 const Datum *values, MemoryContext memory, Datum *key);

/* ---------------- items.c ---------------- */

/* May the version's catalogue tell this caller what items are, or must the
 * catalog be asked for each? */
extern bool items_known(Oid catalog);

/*
 * One of the two items_add before each row that is appended to the table;
 * items_finish then finds the items and fills in the features FROM_CATALOG of
 * all rows.  by_key: also the item key's own ids and the table's `item`.  given:
 * the rows bring the catalog's features along.  SPI is connected around it all.
 */
extern void items_begin(EventItems *items, Session *session, const Sources *sources,
						EventTable *table, bool by_key, bool given);

/* By key: its cell (CELL_NULL: none) and value. */
extern void items_add(EventItems *items, const CellType *type, Cell cell, Datum key);

/* By the place in the version's catalogue, or -1; the key as text, if the
 * catalog is to be asked. */
extern void items_add_found(EventItems *items, int32 item, const char *key);
extern void items_finish(EventItems *items);

/* The ids of an item feature of a catalogue's item (-1: missing); returns how many. */
extern int	catalogue_ids(const Catalogue *catalogue, int f, bool multi, int32 item, const int32 **ids);

/* ---------------- reading.c ---------------- */

/* A user as a call names one. */
typedef struct AskedUser
{
	const Model *model;
	Datum		user;
	Oid			type;			/* of user: bigint, text or uuid */
	Jsonb	   *context;		/* or NULL */
	TimestampTz now;
	bool		spare;			/* one event more than the window holds is read, so
								 * that each of them can be left out */
} AskedUser;

/* What the row of an event says beside its ids. */
typedef struct EventText
{
	TimestampTz time;
	int32		place;			/* of the item in the version's catalogue, or -1 */
	char	   *item;			/* or NULL */
	char	   *behavior;
} EventText;

/*
 * Append a row of events to the table of `items`; false: it has no time, or one
 * that is not before now.
 */
extern bool read_event(EventItems *items, RowReader *reader, const Datum *values, const bool *isnull,
					   TimestampTz now);

/*
 * Read a user's window into session->events, the profile and the context.
 * texts: if not NULL, the rows as text, in the current memory context, and the
 * `item` of an event in the table is its place among them instead of its place
 * in the catalogue.
 */
extern void read_user(Session *session, const AskedUser *asked, EventText **texts);

/* Does a feature of the group come from there? */
extern bool has_source(const FeatureSet *set, nn_group group, FeatureSource source);

/* The profile alone. */
extern void read_profile(Session *session, const Model *model, Datum user, Oid user_type);

/* Mark the catalogue items that the user had before now. */
extern void read_seen(Session *session, const AskedUser *asked, bool *seen);

/* Clear `visible` for those of n catalogue items that the caller cannot see in
 * the catalog relation. */
extern void read_visible(Session *session, const Model *model, const int32 *item, int n, bool *visible);

/* ---------------- keys.c ---------------- */

/*
 * An id given as bigint, text or uuid as a value of a column's type.  what:
 * "user" or "item".  Errors: datatype_mismatch naming the column, out of range,
 * or those of the column's input function.
 */
extern Datum id_argument(Datum value, Oid type, Oid column_type, const char *what, const char *column);

/* Text to a key of another relation's column; false: no such key can exist. */
extern bool key_from_text(const char *text, Oid type, Datum *key);
extern char *key_to_text(Datum key, Oid type);

/* A key of one column's type as one of another's; false as above. */
extern bool convert_key(Datum key, Oid from, Oid to, Datum *converted);

#endif							/* DUPN_SESSION_H */
