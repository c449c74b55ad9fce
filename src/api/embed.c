/*-------------------------------------------------------------------------
 *
 * embed.c
 *	  dupn_embed: dupn_user_vector over rows that the query supplies
 *
 * The state keeps the newest rows only: one more than the window holds, for the
 * first gap, and with them all rows of the oldest instant kept, among which the
 * window's own order decides at the end.  So the result depends neither on the
 * order of the rows nor on how workers shared them, and is dupn_user_vector's,
 * bit for bit.
 *
 *-------------------------------------------------------------------------
 */
#include "api/record.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "libpq/pqformat.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(dupn_embed_step);
PG_FUNCTION_INFO_V1(dupn_embed_combine);
PG_FUNCTION_INFO_V1(dupn_embed_serialize);
PG_FUNCTION_INFO_V1(dupn_embed_deserialize);
PG_FUNCTION_INFO_V1(dupn_embed_final);

#define STATE_FORMAT	2

/* An encoded event: per item and property feature that the row brings its id, or
 * the number of its ids and they. */
typedef struct EmbedRow
{
	TimestampTz time;
	int32		item;			/* catalogue index, -1: not in it */
	int32		n;
	char	   *key;			/* of an item to be looked up in the catalog, or NULL */
	int32		id[FLEXIBLE_ARRAY_MEMBER];
} EmbedRow;

typedef struct EmbedState
{
	MemoryContext memory;
	int32		model_id;
	int32		version;
	int64		fingerprint;
	int32		max_rows;		/* that must be kept */
	bool		given;			/* the rows bring the catalog's columns along */
	TimestampTz as_of;
	Jsonb	   *context;		/* or NULL */
	Cell		user;			/* CELL_NULL: no row of a known user yet */
	char	   *user_text;
	TimestampTz oldest;			/* rows before it cannot be in the window */
	int			n;
	int			room;
	EmbedRow  **rows;
} EmbedState;

/* ------------------------------------------------------------------------
 * State
 * ------------------------------------------------------------------------ */

static int
newest_first(const void *a, const void *b)
{
	TimestampTz x = (*(EmbedRow *const *) a)->time;
	TimestampTz y = (*(EmbedRow *const *) b)->time;

	return x > y ? -1 : x < y;
}

/* Let go of rows that are older than those that must be kept. */
static void
compact(EmbedState *state)
{
	int			keep;

	if (state->n <= state->max_rows)
		return;
	qsort(state->rows, state->n, sizeof(EmbedRow *), newest_first);
	state->oldest = state->rows[state->max_rows - 1]->time;
	for (keep = state->max_rows; keep < state->n && state->rows[keep]->time == state->oldest;)
		keep++;
	for (int i = keep; i < state->n; i++)
		pfree(state->rows[i]);
	state->n = keep;
}

static void
add_row(EmbedState *state, EmbedRow *row)
{
	if (state->n == state->room)
	{
		/* mostly room for twice the window; more only where ties fill it */
		compact(state);
		if (state->n > state->room / 2)
		{
			state->room = Max(2 * state->room, 2 * state->max_rows);
			state->rows = array_resize(state->rows, state->room, sizeof(EmbedRow *), state->memory);
		}
	}
	state->rows[state->n++] = row;
}

static EmbedRow *
make_row(MemoryContext memory, TimestampTz time, int32 item, const char *key, const int32 *id, int n)
{
	size_t		length = key ? strlen(key) + 1 : 0;
	EmbedRow   *row = MemoryContextAlloc(memory, offsetof(EmbedRow, id) + sizeof(int32) * n + length);

	row->time = time;
	row->item = item;
	row->n = n;
	row->key = key ? memcpy((char *) &row->id[n], key, length) : NULL;
	memcpy(row->id, id, sizeof(int32) * n);
	return row;
}

static EmbedState *
make_state(MemoryContext memory, int32 model_id, int32 version, int64 fingerprint, int32 max_rows,
		   bool given, TimestampTz as_of, const Jsonb *context)
{
	EmbedState *state = MemoryContextAllocZero(memory, sizeof(EmbedState));

	state->memory = memory;
	state->model_id = model_id;
	state->version = version;
	state->fingerprint = fingerprint;
	state->max_rows = max_rows;
	state->given = given;
	state->as_of = as_of;
	state->user = CELL_NULL;
	state->oldest = DT_NOBEGIN;
	state->room = 8;
	state->rows = MemoryContextAlloc(memory, sizeof(EmbedRow *) * state->room);
	if (context)
	{
		state->context = MemoryContextAlloc(memory, VARSIZE(context));
		memcpy(state->context, context, VARSIZE(context));
	}
	return state;
}

static void
set_user(EmbedState *state, Cell user, const char *text)
{
	if (state->user == CELL_NULL)
	{
		state->user = user;
		state->user_text = MemoryContextStrdup(state->memory, text);
	}
	else if (state->user != user)
		ereport(ERROR,
				(errcode(ERRCODE_CARDINALITY_VIOLATION),
				 errmsg("dupn_embed was given rows of two users: %s and %s", state->user_text, text),
				 errhint("Add GROUP BY with the user's column.")));
}

/* Arguments beside the row must be the same for all rows of a group. */
static void
check_same(const EmbedState *state, int32 model_id, int32 version, int64 fingerprint,
		   bool given, TimestampTz as_of, const Jsonb *context)
{
	const char *what = NULL;

	if (state->model_id != model_id || state->version != version || state->fingerprint != fingerprint)
		what = "model";
	else if (state->given != given)
		what = "columns";
	else if (state->as_of != as_of)
		what = "as_of";
	else if ((state->context == NULL) != (context == NULL) ||
			 (context && (VARSIZE(context) != VARSIZE(state->context) ||
						  memcmp(context, state->context, VARSIZE(context)) != 0)))
		what = "context";
	if (what)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("dupn_embed needs the same %s for all rows of a group", what)));
}

/* ------------------------------------------------------------------------
 * Transition
 * ------------------------------------------------------------------------ */

/* What is worked out once for a type of row. */
typedef struct Stepper
{
	RecordReader record;
	bool		given;			/* it has all columns of the catalog that are read */
	bool		known;			/* else: the version knows them of its items */
	EventRow	row;
	int32		id[2 * NN_MAX_FEATURES * (NN_MAX_BAG + 1)];
} Stepper;

static void
require_column(int attnum, const Served *served, const char *name)
{
	if (attnum == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("the row has no column \"%s\", which model \"%s\" reads", name, served->model->name),
				 errhint("Aggregate whole rows, as in SELECT dupn_embed(e) FROM %s e.",
						 served->model->relations.events)));
}

/* In session_work: what relations are today must not change under a query on them. */
static void
find_known(Session *session, void *argument)
{
	Served	   *served = argument;
	Stepper    *stepper = served->own;

	stepper->known = items_known(session_sources(session, served->model)->relation[1]);
}

static void
match_columns(Stepper *stepper, Served *served)
{
	static const nn_group groups[2] = {NN_ITEM, NN_PROPERTY};
	const RowReader *rows = stepper->record.rows;
	const FeatureSet *set = &served->image->set;

	require_column(rows->user, served, served->model->relations.user_column);
	require_column(rows->time, served, served->model->relations.time_column);
	require_column(rows->item_key, served, served->model->relations.item_key);
	stepper->given = true;
	for (int g = 0; g < 2; g++)
		for (int f = 0; f < set->n[groups[g]]; f++)
		{
			const Feature *feature = &set->f[groups[g]][f];
			int			attnum = rows->column[groups[g]][f].attnum;

			if (feature->source == FROM_EVENTS)
				require_column(attnum, served, feature->name);
			else if (feature->source == FROM_CATALOG && attnum == 0)
				stepper->given = false;
		}
	if (!stepper->given)
		session_work(session_get(served->image), find_known, served);
}

/* Is the feature in the rows, rather than derived or filled in at the end? */
static bool
in_rows(const Feature *feature, bool given)
{
	return feature->encoding != ENCODE_FIXED && (given || feature->source != FROM_CATALOG);
}

/* The ids of an event row one behind the other; returns how many numbers. */
static int
pack_ids(const FeatureSet *set, bool given, const EventRow *row, int32 *id)
{
	int			n = 0;

	for (int g = 0; g < 2; g++)
	{
		nn_group	group = g == 0 ? NN_ITEM : NN_PROPERTY;

		for (int f = 0; f < set->n[group]; f++)
		{
			int			count = set->f[group][f].multi ? row->n[g][f] : 1;

			if (!in_rows(&set->f[group][f], given))
				continue;
			if (set->f[group][f].multi)
				id[n++] = count;
			memcpy(id + n, row->id[g][f], sizeof(int32) * count);
			n += count;
		}
	}
	return n;
}

/* The reverse; the numbers may come from another process, so they are checked. */
static void
unpack_ids(const FeatureSet *set, bool given, const EmbedRow *packed, EventRow *row)
{
	int			at = 0;
	bool		good = true;

	for (int g = 0; g < 2 && good; g++)
	{
		nn_group	group = g == 0 ? NN_ITEM : NN_PROPERTY;

		for (int f = 0; f < set->n[group] && good; f++)
		{
			int			count = 1;

			row->n[g][f] = 0;
			if (!in_rows(&set->f[group][f], given))
				continue;
			if (set->f[group][f].multi)
			{
				count = at < packed->n ? packed->id[at++] : -1;
				row->n[g][f] = count;
			}
			good = count >= 0 && count <= NN_MAX_BAG && count <= packed->n - at;
			if (good)
				memcpy(row->id[g][f], packed->id + at, sizeof(int32) * count);
			at += count;
		}
	}
	if (!good || at != packed->n)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("invalid state of dupn_embed")));
	row->time = packed->time;
	row->item = packed->item;
}

static void
step(EmbedState *state, Stepper *stepper, const Served *served)
{
	const ModelImage *image = served->image;
	RecordReader *record = &stepper->record;
	RowReader  *rows = record->rows;
	const Datum *values = record->values;
	const bool *isnull = record->isnull;
	EventRow   *row = &stepper->row;
	char	   *key = NULL;
	Cell		user;

	/* nobody's row, which no user's window holds */
	user = cell_from_datum(&rows->user_type, values[rows->user - 1], isnull[rows->user - 1]);
	if (user == CELL_NULL)
		return;
	if (user != state->user)
		set_user(state, user, OutputFunctionCall(&rows->user_type.output, values[rows->user - 1]));

	if (isnull[rows->time - 1])
		return;
	row->time = row_time(rows, values[rows->time - 1]);
	if (TIMESTAMP_NOT_FINITE(row->time) || row->time >= state->as_of || row->time < state->oldest)
		return;

	row_encode(rows, NN_ITEM, 0, values, isnull, row->n[0], row->id[0]);
	row_encode(rows, NN_PROPERTY, 0, values, isnull, row->n[1], row->id[1]);
	row->item = -1;
	if (!isnull[rows->item_key - 1])
	{
		row->item = catalogue_find(&image->catalogue,
								   cell_from_datum(&rows->item_key_type, values[rows->item_key - 1], false));
		if (!state->given && !(row->item >= 0 && stepper->known))
			key = OutputFunctionCall(&rows->item_key_type.output, values[rows->item_key - 1]);
	}
	add_row(state, make_row(state->memory, row->time, row->item, key, stepper->id,
							pack_ids(&image->set, state->given, row, stepper->id)));
}

/* (state, row [, model [, context [, as_of]]]) */
PGDLLEXPORT Datum
dupn_embed_step(PG_FUNCTION_ARGS)
{
	EmbedState *state = PG_ARGISNULL(0) ? NULL : (EmbedState *) PG_GETARG_POINTER(0);
	MemoryContext memory;
	HeapTupleHeader row;
	const Jsonb *context;
	const ModelImage *image;
	TimestampTz as_of;
	Served	   *served;
	Stepper    *stepper;

	if (!AggCheckCallContext(fcinfo, &memory))
		elog(ERROR, "dupn_embed_step called outside of an aggregate");
	if (PG_ARGISNULL(1))
	{
		if (state)
			PG_RETURN_POINTER(state);
		PG_RETURN_NULL();
	}
	row = PG_GETARG_HEAPTUPLEHEADER(1);
	served = served_model(fcinfo, PG_NARGS() > 2 ? text_argument(fcinfo, 2) : NULL, 0);
	image = served->image;
	context = PG_NARGS() > 3 && !PG_ARGISNULL(3) ? PG_GETARG_JSONB_P(3) : NULL;
	as_of = PG_NARGS() > 4 ? as_of_argument(fcinfo, 4) : GetCurrentStatementStartTimestamp();

	if (served->own == NULL)
		served->own = MemoryContextAllocZero(served->context, sizeof(Stepper));
	stepper = served->own;
	if (record_read(&stepper->record, served, row, "the row"))
	{
		/* should it fail, the next call must look again */
		stepper->record.typmod = -2;
		match_columns(stepper, served);
		stepper->record.typmod = HeapTupleHeaderGetTypMod(row);
	}

	if (state == NULL)
		state = make_state(memory, image->model_id, image->version, image->fingerprint,
						   image->set.max_events + 1, stepper->given, as_of, context);
	else
		check_same(state, image->model_id, image->version, image->fingerprint, stepper->given,
				   as_of, context);
	step(state, stepper, served);
	PG_RETURN_POINTER(state);
}

/* ------------------------------------------------------------------------
 * Parallel plans
 * ------------------------------------------------------------------------ */

PGDLLEXPORT Datum
dupn_embed_combine(PG_FUNCTION_ARGS)
{
	EmbedState *state = PG_ARGISNULL(0) ? NULL : (EmbedState *) PG_GETARG_POINTER(0);
	EmbedState *other = PG_ARGISNULL(1) ? NULL : (EmbedState *) PG_GETARG_POINTER(1);
	MemoryContext memory;

	if (!AggCheckCallContext(fcinfo, &memory))
		elog(ERROR, "dupn_embed_combine called outside of an aggregate");
	if (other == NULL)
	{
		if (state)
			PG_RETURN_POINTER(state);
		PG_RETURN_NULL();
	}
	if (state == NULL)
		state = make_state(memory, other->model_id, other->version, other->fingerprint,
						   other->max_rows, other->given, other->as_of, other->context);
	else
		check_same(state, other->model_id, other->version, other->fingerprint, other->given,
				   other->as_of, other->context);
	if (other->user != CELL_NULL)
		set_user(state, other->user, other->user_text);
	for (int i = 0; i < other->n; i++)
	{
		const EmbedRow *row = other->rows[i];

		if (row->time >= state->oldest)
			add_row(state, make_row(memory, row->time, row->item, row->key, row->id, row->n));
	}
	PG_RETURN_POINTER(state);
}

/* A text with its length, or -1. */
static void
send_text(StringInfo buffer, const char *text)
{
	pq_sendint32(buffer, text ? strlen(text) : -1);
	if (text)
		pq_sendbytes(buffer, text, strlen(text));
}

static char *
receive_text(StringInfo buffer)
{
	int			length = pq_getmsgint(buffer, 4);

	return length < 0 ? NULL : pnstrdup(pq_getmsgbytes(buffer, length), length);
}

PGDLLEXPORT Datum
dupn_embed_serialize(PG_FUNCTION_ARGS)
{
	EmbedState *state = (EmbedState *) PG_GETARG_POINTER(0);
	StringInfoData buffer;

	if (!AggCheckCallContext(fcinfo, NULL))
		elog(ERROR, "dupn_embed_serialize called outside of an aggregate");
	compact(state);
	pq_begintypsend(&buffer);
	pq_sendbyte(&buffer, STATE_FORMAT);
	pq_sendint32(&buffer, state->model_id);
	pq_sendint32(&buffer, state->version);
	pq_sendint64(&buffer, state->fingerprint);
	pq_sendint32(&buffer, state->max_rows);
	pq_sendbyte(&buffer, state->given);
	pq_sendint64(&buffer, state->as_of);
	pq_sendint32(&buffer, state->context ? VARSIZE(state->context) : 0);
	if (state->context)
		pq_sendbytes(&buffer, (char *) state->context, VARSIZE(state->context));
	pq_sendint64(&buffer, state->user);
	send_text(&buffer, state->user_text);
	pq_sendint32(&buffer, state->n);
	for (int i = 0; i < state->n; i++)
	{
		const EmbedRow *row = state->rows[i];

		pq_sendint64(&buffer, row->time);
		pq_sendint32(&buffer, row->item);
		send_text(&buffer, row->key);
		pq_sendint32(&buffer, row->n);
		for (int k = 0; k < row->n; k++)
			pq_sendint32(&buffer, row->id[k]);
	}
	PG_RETURN_BYTEA_P(pq_endtypsend(&buffer));
}

static Jsonb *
receive_context(StringInfo buffer)
{
	int			size = pq_getmsgint(buffer, 4);
	Jsonb	   *context;

	if (size <= 0)
		return NULL;
	context = palloc(size);
	memcpy(context, pq_getmsgbytes(buffer, size), size);
	return context;
}

PGDLLEXPORT Datum
dupn_embed_deserialize(PG_FUNCTION_ARGS)
{
	bytea	   *bytes = PG_GETARG_BYTEA_PP(0);
	StringInfoData buffer;
	EmbedState *state;
	int32		model_id;
	int32		version;
	int64		fingerprint;
	int32		max_rows;
	bool		given;
	TimestampTz as_of;
	Jsonb	   *context;
	Cell		user;
	char	   *user_text;
	int			n;

	if (!AggCheckCallContext(fcinfo, NULL))
		elog(ERROR, "dupn_embed_deserialize called outside of an aggregate");
	initStringInfo(&buffer);
	appendBinaryStringInfo(&buffer, VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes));

	if (pq_getmsgbyte(&buffer) != STATE_FORMAT)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("invalid state of dupn_embed")));
	model_id = pq_getmsgint(&buffer, 4);
	version = pq_getmsgint(&buffer, 4);
	fingerprint = pq_getmsgint64(&buffer);
	max_rows = pq_getmsgint(&buffer, 4);
	given = pq_getmsgbyte(&buffer) != 0;
	as_of = pq_getmsgint64(&buffer);
	context = receive_context(&buffer);
	if (max_rows < 1 || (context && VARSIZE(context) < VARHDRSZ))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("invalid state of dupn_embed")));
	state = make_state(CurrentMemoryContext, model_id, version, fingerprint, max_rows, given,
					   as_of, context);
	user = pq_getmsgint64(&buffer);
	user_text = receive_text(&buffer);
	if (user != CELL_NULL && user_text)
		set_user(state, user, user_text);
	n = pq_getmsgint(&buffer, 4);
	for (int i = 0; i < n; i++)
	{
		TimestampTz time = pq_getmsgint64(&buffer);
		int32		item = pq_getmsgint(&buffer, 4);
		char	   *key = receive_text(&buffer);
		int			count = pq_getmsgint(&buffer, 4);
		int32		id[2 * NN_MAX_FEATURES * (NN_MAX_BAG + 1)];

		if (count < 0 || count > lengthof(id))
			ereport(ERROR,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg("invalid state of dupn_embed")));
		for (int k = 0; k < count; k++)
			id[k] = pq_getmsgint(&buffer, 4);
		add_row(state, make_row(state->memory, time, item, key, id, count));
	}
	pq_getmsgend(&buffer);
	PG_RETURN_POINTER(state);
}

/* ------------------------------------------------------------------------
 * Final
 * ------------------------------------------------------------------------ */

typedef struct Question
{
	EmbedState *state;
	const Model *model;
	DupnVector *vector;
} Question;

static void
answer(Session *session, void *argument)
{
	Question   *question = argument;
	EmbedState *state = question->state;
	Sources    *sources = session_sources(session, question->model);
	const FeatureSet *set = &session->image->set;
	EventTable *table = session->events;

	context_encode(set, state->context, &session->context);
	read_profile(session, question->model, CStringGetTextDatum(state->user_text), TEXTOID);

	event_table_reset(table);
	items_begin(&session->items, session, sources, table, false, state->given);
	for (int i = 0; i < state->n; i++)
	{
		const EmbedRow *row = state->rows[i];

		unpack_ids(set, state->given, row, &session->row);
		items_add_found(&session->items, row->item, row->key);
		event_table_append(table, set, &session->row);
	}
	spi_connect();
	items_finish(&session->items);
	SPI_finish();
	event_table_sort(table, set, 0, table->n, 0, false);
	session->start = event_window(table, set, 0, table->n, state->as_of, &session->n);
	session->now = state->as_of;
	question->vector = served_user(session);
}

PGDLLEXPORT Datum
dupn_embed_final(PG_FUNCTION_ARGS)
{
	Question	question = {0};
	Served	   *served;

	if (!AggCheckCallContext(fcinfo, NULL))
		elog(ERROR, "dupn_embed_final called outside of an aggregate");
	question.state = PG_ARGISNULL(0) ? NULL : (EmbedState *) PG_GETARG_POINTER(0);
	if (question.state == NULL || question.state->user == CELL_NULL)
		PG_RETURN_NULL();

	compact(question.state);
	served = served_stamp(fcinfo, question.state->model_id, question.state->version,
						  question.state->fingerprint);
	question.model = served->model;
	session_work(session_get(served->image), answer, &question);
	PG_RETURN_POINTER(question.vector);
}
