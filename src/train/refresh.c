/*-------------------------------------------------------------------------
 *
 * refresh.c
 *	  Stored vectors of all users, brought up to date
 *
 * Users are taken group by group in the order of their column, by as many
 * processes as the job has: who is free takes the next group.  Its rows are
 * read in one short transaction and its vectors written in another; no
 * transaction is open while they are computed.
 *
 * What is written counts at once, so a refresh that was interrupted goes on
 * where it ended: users who have a row of the version that is as of the same
 * moment or a later one are left out.  _dupn.refresh tells which version a
 * table has for everybody, and which one is being written; rows of other
 * versions, and of users whose events are gone, are removed after the former
 * has changed.
 *
 *-------------------------------------------------------------------------
 */
#include "train/refresh.h"

#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "model/check.h"
#include "port/atomics.h"
#include "portability/instr_time.h"
#include "serve/users.h"
#include "storage/lmgr.h"
#include "train/job.h"
#include "train/target.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/datum.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define USER_BYTES		8192	/* more than an index takes */
#define REMOVE_ROWS		10000	/* looked at in a transaction */
#define TARGET_BYTES	(4 * NAMEDATALEN + 8)
#define RESUME_HOURS	24

typedef enum Stage
{
	READING,
	COMPUTING,
	WRITING
} Stage;

#define STAGES 3

/* What the processes of a refresh share; zero at first. */
typedef struct Shared
{
	int32		version;
	int64		fingerprint;
	TimestampTz as_of;
	char		target[TARGET_BYTES];

	/* who took the last group; under CURSOR_LOCK of the job */
	bool		begun;
	bool		exhausted;
	char		last[USER_BYTES];

	pg_atomic_uint64 looked_at; /* users */
	pg_atomic_uint64 kept;		/* who had their row already */
	pg_atomic_uint64 written;
	pg_atomic_uint64 events;	/* of their windows */
	pg_atomic_uint64 microseconds[STAGES];
} Shared;

/* Of one process. */
typedef struct Refresh
{
	const Job  *job;
	Shared	   *shared;
	Model	   *model;
	Target	   *target;
	Users	   *users;
	MemoryContext context;		/* of a group */
	Datum	   *user;			/* the group */
	int			n;
	int			room;
	instr_time	stage_begun;
} Refresh;

/* ---------------- options ---------------- */

static RefreshOptions
parse_options(Jsonb *options)
{
	RefreshOptions parsed;

	refresh_options_parse(&parsed, options);
	if (parsed.target == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a refresh needs the option \"target\""),
				 errhint("It names the table that the vectors are written to.")));
	return parsed;
}

static void
push_text(JsonbParseState **state, const char *name, char *text)
{
	JsonbValue	key = {.type = jbvString};
	JsonbValue	value = {.type = jbvString};

	key.val.string.val = unconstify(char *, name);
	key.val.string.len = strlen(name);
	value.val.string.val = text;
	value.val.string.len = strlen(text);
	pushJsonbValue(state, WJB_KEY, &key);
	pushJsonbValue(state, WJB_VALUE, &value);
}

/* The job has another search_path and time zone. */
Jsonb *
refresh_check(Model *model, Jsonb *options)
{
	RefreshOptions parsed = parse_options(options);
	Target	   *target = target_open(model, parsed.target);
	JsonbParseState *state = NULL;

	(void) image_get(model, parsed.version);
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	push_text(&state, "target", target->name);
	if (!TIMESTAMP_IS_NOEND(parsed.as_of))
		push_text(&state, "as_of", time_text(parsed.as_of));
	return jsonb_object_merge(options, JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
}

/* ---------------- what is known of the table ---------------- */

/*
 * Note that a version is being written, and as of when: the moment asked for,
 * else that of a refresh of the same version that was interrupted lately, else
 * the present.
 */
static TimestampTz
begin_state(const Refresh *refresh, const RefreshOptions *options, int32 version)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz as_of = options->as_of;
	Oid			types[] = {TEXTOID, INT4OID, INT4OID, TIMESTAMPTZOID, INT8OID};
	Datum		values[5];
	Datum		row[5];
	bool		isnull[5];

	if (TIMESTAMP_IS_NOEND(as_of))
		as_of = now;
	values[0] = CStringGetTextDatum(refresh->target->name);
	if (state_read("SELECT r.model_id, r.next_version, r.next_as_of, r.begun_at, m.name"
				   " FROM _dupn.refresh r JOIN _dupn.model m ON m.model_id OPERATOR(pg_catalog.=) r.model_id"
				   " WHERE r.target OPERATOR(pg_catalog.=) $1",
				   1, types, values, NULL, row, isnull) > 0)
	{
		if (DatumGetInt32(row[0]) != refresh->model->id && !target_empty(refresh->target))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("table %s holds the vectors of model \"%s\"", refresh->target->name,
							TextDatumGetCString(row[4])),
					 errhint("Give each model a table of its own, or empty this one.")));
		if (TIMESTAMP_IS_NOEND(options->as_of) && !isnull[1] && DatumGetInt32(row[0]) == refresh->model->id &&
			DatumGetInt32(row[1]) == version &&
			DatumGetTimestampTz(row[3]) > now - RESUME_HOURS * USECS_PER_HOUR)
		{
			as_of = DatumGetTimestampTz(row[2]);
			job_note("goes on with the refresh as of %s that was interrupted", time_text(as_of));
		}
	}

	values[1] = Int32GetDatum(refresh->model->id);
	values[2] = Int32GetDatum(version);
	values[3] = TimestampTzGetDatum(as_of);
	values[4] = Int64GetDatum(refresh->job->id);
	state_execute("INSERT INTO _dupn.refresh AS r (target, model_id, next_version, next_as_of, begun_at)"
				  " VALUES ($1, $2, $3, $4, pg_catalog.clock_timestamp())"
				  " ON CONFLICT (target) DO UPDATE SET model_id = excluded.model_id,"
				  " version = CASE WHEN r.model_id OPERATOR(pg_catalog.=) excluded.model_id THEN r.version END,"
				  " as_of = CASE WHEN r.model_id OPERATOR(pg_catalog.=) excluded.model_id THEN r.as_of END,"
				  " next_version = excluded.next_version, next_as_of = excluded.next_as_of,"
				  " begun_at = CASE WHEN r.next_version OPERATOR(pg_catalog.=) excluded.next_version"
				  " AND r.next_as_of OPERATOR(pg_catalog.=) excluded.next_as_of THEN r.begun_at ELSE excluded.begun_at END",
				  4, types, values, NULL, NULL, NULL);
	state_execute("UPDATE _dupn.job SET version = $3 WHERE job_id OPERATOR(pg_catalog.=) $5"
				  " AND $1 IS NOT NULL AND $2 IS NOT NULL AND $4 IS NOT NULL",
				  5, types, values, NULL, NULL, NULL);
	return as_of;
}

/* Everybody has a row of this version: from now on it is the table's. */
static void
finish_state(const Refresh *refresh)
{
	Oid			types[] = {TEXTOID, INT4OID, TIMESTAMPTZOID, INT8OID};
	Datum		values[4];

	values[0] = CStringGetTextDatum(refresh->target->name);
	values[1] = Int32GetDatum(refresh->shared->version);
	values[2] = TimestampTzGetDatum(refresh->shared->as_of);
	values[3] = Int64GetDatum((int64) (pg_atomic_read_u64(&refresh->shared->kept) + pg_atomic_read_u64(&refresh->shared->written)));
	state_execute("UPDATE _dupn.refresh SET version = $2, as_of = $3, users = $4, next_version = NULL, next_as_of = NULL,"
				  " completed_at = pg_catalog.clock_timestamp() WHERE target OPERATOR(pg_catalog.=) $1",
				  4, types, values, NULL, NULL, NULL);
}

/* How many users there may be, to tell how far the job is. */
static int64
expected_users(const Refresh *refresh, int32 version)
{
	Datum		users;
	bool		isnull;

	if (state_read("SELECT users FROM _dupn.version WHERE model_id OPERATOR(pg_catalog.=) $1"
				   " AND version OPERATOR(pg_catalog.=) $2",
				   2, (Oid[]) {INT4OID, INT4OID},
				   (Datum[]) {Int32GetDatum(refresh->model->id), Int32GetDatum(version)},
				   NULL, &users, &isnull) == 0 || isnull)
		return 0;
	return DatumGetInt64(users);
}

/* ---------------- one group after another ---------------- */

/* Inside job_begin; the memory of the process' part is current. */
static Session *
open_part(Refresh *refresh, const Job *job, const char *target, int32 version)
{
	Session    *session;

	refresh->job = job;
	refresh->model = model_get_by_id(job->model_id, false);
	refresh->target = target_open(refresh->model, target);
	session = session_get(image_get(refresh->model, version));
	refresh->room = users_group(session);
	refresh->users = users_make(session, refresh->room);
	refresh->user = palloc(sizeof(Datum) * refresh->room);
	refresh->context = AllocSetContextCreate(CurrentMemoryContext, "dupn refresh group", ALLOCSET_DEFAULT_SIZES);
	return session;
}

static void
next_stage(Refresh *refresh, Stage ended)
{
	instr_time	now;
	instr_time	spent;

	INSTR_TIME_SET_CURRENT(now);
	spent = now;
	INSTR_TIME_SUBTRACT(spent, refresh->stage_begun);
	pg_atomic_fetch_add_u64(&refresh->shared->microseconds[ended], (int64) INSTR_TIME_GET_MICROSEC(spent));
	refresh->stage_begun = now;
}

/* The next users into refresh->user; none when all have been taken. */
static void
take_group(Session *session, void *argument)
{
	Refresh    *refresh = argument;
	Shared	   *shared = refresh->shared;
	bool		by_value;
	int16		length;
	LOCKTAG		tag;

	get_typlenbyval(refresh->target->user_type, &length, &by_value);
	job_locktag(&tag, job_own_launch()->extension, CURSOR_LOCK, refresh->job->id);
	LockAcquire(&tag, ExclusiveLock, false, false);
	refresh->n = 0;
	if (!shared->exhausted)
	{
		char	   *at = shared->last;
		bool		isnull;
		Datum		last = shared->begun ? datumRestore(&at, &isnull) : (Datum) 0;

		refresh->n = users_list(session, refresh->model, shared->as_of, shared->begun ? &last : NULL,
								refresh->room, refresh->user);
		shared->exhausted = refresh->n < refresh->room;
	}
	if (refresh->n > 0)
	{
		char	   *at = shared->last;
		Datum		last = refresh->user[refresh->n - 1];

		if (datumEstimateSpace(last, false, by_value, length) > sizeof(shared->last))
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("a user id in column \"%s\" is longer than %d bytes",
							refresh->model->relations.user_column, USER_BYTES)));
		datumSerialize(last, false, by_value, length, &at);
		shared->begun = true;
	}
	LockRelease(&tag, ExclusiveLock, false);
	pg_atomic_fetch_add_u64(&shared->looked_at, refresh->n);
}

static void
read_group(Session *session, void *argument)
{
	Refresh    *refresh = argument;

	users_read(refresh->users, refresh->model, refresh->user, refresh->n, NULL, refresh->shared->as_of);
}

static void
connect(void)
{
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
}

static void
write_group(Refresh *refresh)
{
	Shared	   *shared = refresh->shared;
	DupnVector **vector = palloc(sizeof(DupnVector *) * Max(refresh->n, 1));
	int64		events = 0;
	int			n = 0;

	/* the list of users is coarse for time columns without a zone */
	for (int i = 0; i < refresh->n; i++)
		if (refresh->users->length[i] > 0)
		{
			events += refresh->users->length[i];
			refresh->user[n] = refresh->user[i];
			vector[n++] = users_vector(refresh->users, i);
		}
	connect();
	target_write(refresh->target, refresh->user, vector, n, shared->version, shared->as_of);
	SPI_finish();
	pg_atomic_fetch_add_u64(&shared->written, n);
	pg_atomic_fetch_add_u64(&shared->events, events);
}

/* Read, compute and write the next group; false: there was none. */
static bool
refresh_group(Refresh *refresh)
{
	Shared	   *shared = refresh->shared;
	int			taken;

	MemoryContextReset(refresh->context);
	INSTR_TIME_SET_CURRENT(refresh->stage_begun);
	job_check();
	job_begin();
	MemoryContextSwitchTo(refresh->context);

	/* what this transaction has asked for stays, whatever functions of the relations ask for */
	(void) image_get(refresh->model, shared->version);
	session_work(refresh->users->session, take_group, refresh);
	taken = refresh->n;
	if (taken > 0)
	{
		connect();
		refresh->n = target_missing(refresh->target, refresh->user, refresh->n, shared->version, shared->as_of);
		SPI_finish();
		pg_atomic_fetch_add_u64(&shared->kept, taken - refresh->n);
		session_work(refresh->users->session, read_group, refresh);
	}
	job_commit();
	next_stage(refresh, READING);
	if (taken == 0)
		return false;

	MemoryContextSwitchTo(refresh->context);
	users_compute(refresh->users, job_check);
	next_stage(refresh, COMPUTING);

	if (refresh->n > 0)
	{
		job_begin();
		MemoryContextSwitchTo(refresh->context);
		(void) image_get(refresh->model, shared->version);
		write_group(refresh);
		job_commit();
		next_stage(refresh, WRITING);
	}
	return true;
}

void
refresh_part(Team *team, const Job *job)
{
	Refresh		refresh = {.shared = team_memory(team)};
	Session    *session;
	MemoryContext caller = CurrentMemoryContext;

	job_begin();
	MemoryContextSwitchTo(job->context);
	session = open_part(&refresh, job, refresh.shared->target, refresh.shared->version);
	job_commit();
	if (session->image->fingerprint != refresh.shared->fingerprint)
		elog(ERROR, "version %d is not the same in all processes", refresh.shared->version);
	while (refresh_group(&refresh))
		;
	MemoryContextSwitchTo(caller);
	users_free(refresh.users);
	team_barrier(team);
}

/* ---------------- the job ---------------- */

static int64
remove_old(Refresh *refresh, bool keep_others)
{
	Datum		last = 0;
	bool		last_null = true;
	int64		removed = 0;
	bool		more;

	do
	{
		MemoryContextReset(refresh->context);
		job_progress("removing what is old", 0.98, 0, NULL);
		job_begin();
		MemoryContextSwitchTo(refresh->context);
		connect();
		more = target_remove(refresh->target, &last, &last_null, refresh->job->context, REMOVE_ROWS,
							 refresh->shared->version, refresh->shared->as_of, keep_others, &removed);
		SPI_finish();
		job_commit();
	} while (more);
	return removed;
}

static double
seconds_since(instr_time begun)
{
	instr_time	now;

	INSTR_TIME_SET_CURRENT(now);
	INSTR_TIME_SUBTRACT(now, begun);
	return Max(INSTR_TIME_GET_DOUBLE(now), 1e-6);
}

static void
report(const Refresh *refresh, instr_time begun, int64 expected)
{
	Shared	   *shared = refresh->shared;
	int64		users = (int64) pg_atomic_read_u64(&shared->looked_at);
	double		seconds = seconds_since(begun);
	char		phase[64];

	snprintf(phase, sizeof(phase), "refreshing (" INT64_FORMAT " users, %.0f a second)", users, users / seconds);
	job_progress(phase, 0.95 * users / Max(Max(expected, users), 1),
				 pg_atomic_read_u64(&shared->events) / seconds, NULL);
}

static void
say_what_came(const Refresh *refresh, double seconds, int64 removed, int workers)
{
	Shared	   *shared = refresh->shared;
	int64		written = (int64) pg_atomic_read_u64(&shared->written);
	double		spent[STAGES];
	double		sum = 0;

	for (int i = 0; i < STAGES; i++)
		sum += spent[i] = pg_atomic_read_u64(&shared->microseconds[i]) * 1e-6;
	job_note("time of %d processes: reading %.0f %%, computing %.0f %%, writing %.0f %%", workers,
			 100 * spent[READING] / Max(sum, 1e-6), 100 * spent[COMPUTING] / Max(sum, 1e-6),
			 100 * spent[WRITING] / Max(sum, 1e-6));
	job_note("version %d as of %s is complete in %s: " INT64_FORMAT " rows written, %.0f a second, "
			 INT64_FORMAT " removed",
			 shared->version, time_text(shared->as_of), refresh->target->name, written, written / seconds, removed);
}

void
refresh_run(Job *job)
{
	RefreshOptions options = parse_options(job->options);
	Refresh		refresh = {0};
	Shared	   *shared;
	Session    *session;
	Team	   *team;
	TimestampTz as_of;
	int64		expected;
	int64		removed;
	int			workers;
	double		seconds;
	instr_time	begun;
	char	   *index;

	job_begin();
	MemoryContextSwitchTo(job->context);
	session = open_part(&refresh, job, options.target, options.version);
	as_of = begin_state(&refresh, &options, session->image->version);
	expected = expected_users(&refresh, session->image->version);
	if ((index = missing_event_index(refresh.model)) != NULL)
		job_note("each vector reads all events: %s", index);
	job_commit();
	MemoryContextSwitchTo(job->context);

	team = team_start(job, "refresh", options.workers, sizeof(Shared), 0);
	workers = team ? team_size(team) : 1;
	shared = refresh.shared = team ? team_memory(team) : palloc0(sizeof(Shared));
	shared->version = session->image->version;
	shared->fingerprint = session->image->fingerprint;
	shared->as_of = as_of;
	strlcpy(shared->target, refresh.target->name, sizeof(shared->target));
	if (team)
		team_begin(team);

	INSTR_TIME_SET_CURRENT(begun);
	while (refresh_group(&refresh))
		report(&refresh, begun, expected);
	MemoryContextSwitchTo(job->context);
	if (team)
	{
		Shared	   *kept = palloc(sizeof(Shared));

		team_barrier(team);
		memcpy(kept, shared, sizeof(Shared));
		refresh.shared = kept;
		team_end(team);
	}
	seconds = seconds_since(begun);

	/* it must still be there, to be called complete */
	job_begin();
	(void) image_get(refresh.model, refresh.shared->version);
	finish_state(&refresh);
	job_commit();
	removed = remove_old(&refresh, options.keep_old);
	say_what_came(&refresh, seconds, removed, workers);
	MemoryContextSwitchTo(job->context);
	users_free(refresh.users);
}
