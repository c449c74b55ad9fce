/*-------------------------------------------------------------------------
 *
 * users.c
 *	  Vectors of many users at one moment
 *
 * Each user's rows are the same index scan as for one user; read in the order
 * of the index across users they would come a fifth sooner, but of a user
 * with a long history all of it would be read.
 *
 *-------------------------------------------------------------------------
 */
#include "serve/users.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#define GROUP_EVENTS	51200	/* of a group's windows, at most */
#define GROUP_USERS		512
#define KEPT_ARENA		((size_t) 1 << 20)

int
users_group(const Session *session)
{
	int			n = GROUP_EVENTS / session->image->set.max_events;

	return Min(Max(n, 1), GROUP_USERS);
}

Users *
users_make(Session *session, int capacity)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "dupn users", ALLOCSET_DEFAULT_SIZES);
	Users	   *users = MemoryContextAllocZero(context, sizeof(Users));

	users->session = session;
	users->context = context;
	users->capacity = capacity;
	users->events = event_table(context);
	users->start = MemoryContextAlloc(context, sizeof(int64) * capacity);
	users->rows = MemoryContextAlloc(context, sizeof(int64) * capacity);
	users->length = MemoryContextAlloc(context, sizeof(int) * capacity);
	users->profile_row = MemoryContextAlloc(context, sizeof(int32) * capacity);
	users->vector = MemoryContextAllocHuge(context, mul_size(sizeof(float) * session->image->config.R, capacity));
	return users;
}

/* The scratch of a batch is not for a backend to keep. */
void
users_free(Users *users)
{
	session_trim(users->session, KEPT_ARENA);
	MemoryContextDelete(users->context);
}

/* ------------------------------------------------------------------------
 * Reading
 * ------------------------------------------------------------------------ */

/* Rows of several users, whose place among them is the last column. */
typedef struct UsersReceiver
{
	RowReceiver receiver;
	Users	   *users;
} UsersReceiver;

static int
row_user(const UsersReceiver *rows, const Datum *values)
{
	int			columns = rows->receiver.reading->tupdesc->natts;

	return (int) DatumGetInt64(values[columns - 1]) - 1;
}

static void
take_event(RowReceiver *receiver, const Datum *values, const bool *isnull)
{
	UsersReceiver *rows = (UsersReceiver *) receiver;
	Users	   *users = rows->users;
	int			user = row_user(rows, values);

	if (users->rows[user] == 0)
		users->start[user] = users->events->n;
	if (read_event(&users->items, receiver->reader, values, isnull, users->now))
		users->rows[user]++;
}

/* The first of several rows of a user is the one. */
static void
take_profile(RowReceiver *receiver, const Datum *values, const bool *isnull)
{
	UsersReceiver *rows = (UsersReceiver *) receiver;
	Users	   *users = rows->users;
	const FeatureSet *set = receiver->reader->set;
	IdRow	   *row = &users->session->profile;
	int			user = row_user(rows, values);

	if (users->profile_row[user] >= 0)
		return;
	row_encode(receiver->reader, NN_PROFILE, 0, values, isnull, row->n, row->id);
	for (int f = 0; f < set->n[NN_PROFILE]; f++)
		id_column_append(&users->profile[f], users->context, set->f[NN_PROFILE][f].multi,
						 users->n_profiles, row->id[f], row->n[f]);
	users->profile_row[user] = users->n_profiles++;
}

int
users_list(Session *session, const Model *model, TimestampTz now, const Datum *after, int n, Datum *user)
{
	Sources    *sources = session_sources(session, model);
	Reading    *reading = &sources->users[after != NULL];
	Oid			user_type = getBaseType(sources->user_type);
	MemoryContext caller = CurrentMemoryContext;
	Datum		arguments[3];
	int			found;

	spi_connect();
	if (reading->plan == NULL)
	{
		Oid			types[] = {getBaseType(sources->time_type), INT4OID, user_type};

		reading_prepare(reading, users_query(&sources->relations, sources->user_type, sources->time_type, after != NULL),
						sources->relation[0], after ? 3 : 2, types);
	}
	arguments[0] = time_parameter(&session->image->set, sources->time_type, now);
	arguments[1] = Int32GetDatum(n);
	if (after)
		arguments[2] = *after;
	found = reading_keys(session, reading, sources->relations.events, user_type, arguments, caller, user);
	SPI_finish();
	return found;
}

typedef struct NewestReceiver
{
	RowReceiver receiver;
	TimestampTz *newest;
} NewestReceiver;

static void
take_newest(RowReceiver *receiver, const Datum *values, const bool *isnull)
{
	NewestReceiver *rows = (NewestReceiver *) receiver;
	RowReader  *reader = receiver->reader;
	int			user = (int) DatumGetInt64(values[receiver->reading->tupdesc->natts - 1]) - 1;

	rows->newest[user] = row_time(reader, values[reader->time - 1]);

	/* more events of that day may have come after it was looked at */
	if (reader->time_type == DATEOID && !TIMESTAMP_NOT_FINITE(rows->newest[user]))
		rows->newest[user] += USECS_PER_DAY;
}

void
users_newest(Session *session, const Model *model, TimestampTz now, const Datum *user, int n,
			 TimestampTz *newest)
{
	Sources    *sources = session_sources(session, model);
	Oid			user_type = getBaseType(sources->user_type);
	NewestReceiver rows = {.receiver.session = session,.receiver.reading = &sources->newest,
		.receiver.relation = sources->relations.events,.receiver.take = take_newest,
	.newest = newest};
	Datum		arguments[2];

	for (int i = 0; i < n; i++)
		newest[i] = DT_NOBEGIN;
	if (n == 0)
		return;
	spi_connect();
	if (sources->newest.plan == NULL)
	{
		Oid			types[] = {get_array_type(user_type), getBaseType(sources->time_type)};

		reading_prepare(&sources->newest, newest_query(&sources->relations, sources->user_type, sources->time_type),
						sources->relation[0], 2, types);
	}
	arguments[0] = spi_array(user, NULL, n, user_type);
	arguments[1] = time_parameter(&session->image->set, sources->time_type, now);
	reading_run_by_index(&rows.receiver, arguments);
	SPI_finish();
}

static void
read_windows(Users *users, Sources *sources, const Datum *user, int n)
{
	Session    *session = users->session;
	const FeatureSet *set = &session->image->set;
	EventTable *table = users->events;
	Oid			user_type = getBaseType(sources->user_type);
	UsersReceiver rows = {.receiver.session = session,.receiver.reading = &sources->windows,
		.receiver.relation = sources->relations.events,.receiver.take = take_event,
	.users = users};
	Datum		arguments[2];

	if (sources->windows.plan == NULL)
	{
		Oid			types[] = {get_array_type(user_type), getBaseType(sources->time_type)};

		reading_prepare(&sources->windows,
						windows_query(set, &sources->relations, sources->user_type, sources->time_type),
						sources->relation[0], 2, types);
	}
	arguments[0] = spi_array(user, NULL, n, user_type);
	arguments[1] = time_parameter(set, sources->time_type, users->now);

	event_table_reset(table);
	items_begin(&users->items, session, sources, table, true, false);
	memset(users->rows, 0, sizeof(int64) * n);
	memset(users->start, 0, sizeof(int64) * n);
	reading_run_by_index(&rows.receiver, arguments);
	items_finish(&users->items);
	for (int i = 0; i < n; i++)
	{
		int64		end = users->start[i] + users->rows[i];

		event_table_sort(table, set, users->start[i], end, 0, false);
		users->start[i] = event_window(table, set, users->start[i], end, users->now, &users->length[i]);
	}
}

static void
read_profiles(Users *users, Sources *sources, const Datum *user, int n)
{
	Session    *session = users->session;
	const FeatureSet *set = &session->image->set;
	Oid			key_type = getBaseType(sources->profile_key_type);
	UsersReceiver rows = {.receiver.session = session,.receiver.reading = &sources->profiles,
		.receiver.relation = sources->relations.profile,.receiver.take = take_profile,
	.users = users};
	Datum	   *key = palloc(sizeof(Datum) * n);
	bool	   *isnull = palloc(sizeof(bool) * n);
	Datum		keys;

	if (sources->profiles.plan == NULL)
	{
		Oid			types[] = {get_array_type(key_type)};

		reading_prepare(&sources->profiles, profiles_query(set, &sources->relations),
						sources->relation[2], 1, types);
	}
	for (int i = 0; i < n; i++)
		isnull[i] = !convert_key(user[i], sources->user_type, sources->profile_key_type, &key[i]);
	keys = spi_array(key, isnull, n, key_type);
	reading_run(&rows.receiver, &keys);
}

void
users_read(Users *users, const Model *model, const Datum *user, int n, Jsonb *context, TimestampTz now)
{
	Session    *session = users->session;
	const FeatureSet *set = &session->image->set;
	Sources    *sources = session_sources(session, model);

	Assert(n <= users->capacity);
	users->n = n;
	users->now = now;
	users->n_profiles = 0;
	for (int f = 0; f < set->n[NN_PROFILE]; f++)
		users->profile[f].n_values = 0;
	for (int i = 0; i < n; i++)
		users->profile_row[i] = -1;
	if (n == 0)
		return;

	context_encode(set, context, &users->asked);
	spi_connect();
	if (has_source(set, NN_PROFILE, FROM_PROFILE))
		read_profiles(users, sources, user, n);
	read_windows(users, sources, user, n);
	SPI_finish();
}

/* ------------------------------------------------------------------------
 * Computing
 * ------------------------------------------------------------------------ */

static void
add_user(Users *users, int i, IdRow *profile)
{
	Session    *session = users->session;
	const FeatureSet *set = &session->image->set;
	int32		row = users->profile_row[i];

	for (int f = 0; row >= 0 && f < set->n[NN_PROFILE]; f++)
	{
		const IdColumn *column = &users->profile[f];
		bool		multi = set->f[NN_PROFILE][f].multi;
		int64		begin = multi ? column->offsets[row] : row;

		profile->n[f] = multi ? (int32) (column->offsets[row + 1] - begin) : 1;
		memcpy(profile->id[f], column->values + begin, sizeof(int32) * profile->n[f]);
	}
	batch_add_sequence(session->builder, users->events, users->start[i], users->length[i], users->now, NULL);
	batch_add_view(session->builder, users->length[i], users->now, row >= 0 ? profile : NULL, &users->asked, NULL);
}

static int
compare_lengths(const void *a, const void *b, void *length)
{
	int			x = *(const int *) a;
	int			y = *(const int *) b;
	int			difference = ((int *) length)[y] - ((int *) length)[x];

	return difference != 0 ? difference : x - y;
}

void
users_compute(Users *users, void (*check) (void))
{
	Session    *session = users->session;
	int			R = session->image->config.R;
	int		   *order = palloc(sizeof(int) * Max(users->n, 1));
	IdRow	   *profile = palloc(sizeof(IdRow));
	int			last;

	for (int i = 0; i < users->n; i++)
		order[i] = i;
	qsort_arg(order, users->n, sizeof(int), compare_lengths, users->length);

	for (int first = 0; first < users->n; first = last)
	{
		int64		events = 0;

		batch_reset(session->builder);
		for (last = first; last < users->n; last++)
		{
			events += users->length[order[last]];
			if (last > first && events > NN_BATCH_EVENTS)
				break;
			add_user(users, order[last], profile);
		}
		session_finish_batch(session);
		session_compute(session, user_step, NULL);
		session_check_vectors(session, last - first);
		for (int i = first; i < last; i++)
			memcpy(users->vector + (size_t) order[i] * R, session->acts.vector + (size_t) (i - first) * R,
				   sizeof(float) * R);
		CHECK_FOR_INTERRUPTS();
		if (check)
			check();
	}
	pfree(profile);
	pfree(order);
}

DupnVector *
users_vector(const Users *users, int i)
{
	const ModelImage *image = users->session->image;

	return vector_make(image->model_id, image->version, image->fingerprint, users->now, image->config.R,
					   users->vector + (size_t) i * image->config.R);
}
