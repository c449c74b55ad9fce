/*-------------------------------------------------------------------------
 *
 * refresh.c
 *	  Stored vectors of all users or items, brought up to date
 *
 * _dupn.refresh tells which version a table has for everybody, and which one is
 * being written; readers take the former (dupn_refreshed_version), so that they
 * never see a version of which rows are missing.  When all rows are there it
 * changes, in one row, and then rows of other versions and of users whose events
 * are gone are removed.
 *
 * A refresh that was interrupted goes on where it ended: who has a row of the
 * version that is as of the same moment or a later one is left out.
 *
 *-------------------------------------------------------------------------
 */
#include "train/refresh.h"

#include "catalog/pg_type.h"
#include "fail.h"
#include "model/check.h"
#include "train/job.h"
#include "train/refresh_group.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define REMOVE_ROWS		10000	/* looked at in a transaction */
#define RESUME_HOURS	24

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
	Target	   *target = target_open(model, parsed.target, parsed.items);
	ModelImage *image = image_get(model, parsed.version);
	JsonbParseState *state = NULL;

	if (parsed.items)
		(void) image_first_task(image, NN_NEXT_ITEM);
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
 * the present.  Where the table has the version already and only what has
 * changed is written, moments need not be the same, so the present is better.
 */
static TimestampTz
begin_state(const Refresh *refresh, const RefreshOptions *options, int32 version)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz as_of = options->as_of;
	Oid			types[] = {TEXTOID, INT4OID, INT4OID, TIMESTAMPTZOID, INT8OID};
	Datum		values[5];
	Datum		row[6];
	bool		isnull[6];

	if (TIMESTAMP_IS_NOEND(as_of))
		as_of = now;
	values[0] = CStringGetTextDatum(refresh->target->name);
	if (state_read("SELECT r.model_id, r.next_version, r.next_as_of, r.begun_at, m.name, r.version"
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
			!(options->changed && !isnull[5] && DatumGetInt32(row[5]) == version) &&
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
				  " cleared = r.cleared AND r.version OPERATOR(pg_catalog.=) excluded.next_version"
				  " AND r.model_id OPERATOR(pg_catalog.=) excluded.model_id,"
				  " next_version = excluded.next_version, next_as_of = excluded.next_as_of,"
				  " begun_at = CASE WHEN r.next_version OPERATOR(pg_catalog.=) excluded.next_version"
				  " AND r.next_as_of OPERATOR(pg_catalog.=) excluded.next_as_of THEN r.begun_at ELSE excluded.begun_at END",
				  4, types, values, NULL, NULL, NULL);
	state_execute("UPDATE _dupn.job SET version = $3 WHERE job_id OPERATOR(pg_catalog.=) $5"
				  " AND $1 IS NOT NULL AND $2 IS NOT NULL AND $4 IS NOT NULL",
				  5, types, values, NULL, NULL, NULL);
	return as_of;
}

/*
 * Everybody has a row of this version: from now on it is the table's.  False:
 * there may be rows of other versions.
 */
static bool
finish_state(const Refresh *refresh)
{
	Oid			types[] = {TEXTOID, INT4OID, TIMESTAMPTZOID, INT8OID};
	Datum		values[4];
	Datum		cleared;
	bool		isnull;

	values[0] = CStringGetTextDatum(refresh->target->name);
	values[1] = Int32GetDatum(refresh->shared->version);
	values[2] = TimestampTzGetDatum(refresh->shared->as_of);
	values[3] = Int64GetDatum((int64) (pg_atomic_read_u64(&refresh->shared->kept) + pg_atomic_read_u64(&refresh->shared->written)));
	return state_execute("UPDATE _dupn.refresh SET version = $2, as_of = $3, rows = $4, next_version = NULL, next_as_of = NULL,"
						 " completed_at = pg_catalog.clock_timestamp() WHERE target OPERATOR(pg_catalog.=) $1 RETURNING cleared",
						 4, types, values, NULL, &cleared, &isnull) > 0 && !isnull && DatumGetBool(cleared);
}

static void
note_cleared(const Refresh *refresh)
{
	state_execute("UPDATE _dupn.refresh SET cleared = true WHERE target OPERATOR(pg_catalog.=) $1"
				  " AND version OPERATOR(pg_catalog.=) $2 AND next_version IS NULL",
				  2, (Oid[]) {TEXTOID, INT4OID},
				  (Datum[]) {CStringGetTextDatum(refresh->target->name), Int32GetDatum(refresh->shared->version)},
				  NULL, NULL, NULL);
}

/* How many users or items there may be, to tell how far the job is. */
static int64
expected_keys(const Refresh *refresh, const ModelImage *image)
{
	Datum		users;
	bool		isnull;

	if (refresh->items)
		return image->catalogue.n;
	if (state_read("SELECT users FROM _dupn.version WHERE model_id OPERATOR(pg_catalog.=) $1"
				   " AND version OPERATOR(pg_catalog.=) $2",
				   2, (Oid[]) {INT4OID, INT4OID},
				   (Datum[]) {Int32GetDatum(refresh->model->id), Int32GetDatum(image->version)},
				   NULL, &users, &isnull) == 0 || isnull)
		return 0;
	return DatumGetInt64(users);
}

/* ---------------- the job ---------------- */

/*
 * A refresh of what has changed removes no row of its version: those that it
 * left are as old as they may be.
 */
static int64
remove_old(Refresh *refresh, bool keep_others)
{
	const RefreshShared *shared = refresh->shared;
	TimestampTz before = shared->changed ? DT_NOBEGIN : shared->as_of;
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
		spi_connect();
		more = target_remove(refresh->target, &last, &last_null, refresh->job->context, REMOVE_ROWS,
							 shared->version, before, keep_others, &removed);
		SPI_finish();
		if (!more && !keep_others)
			note_cleared(refresh);
		job_commit();
		fail_point("refresh: removed");
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
	RefreshShared *shared = refresh->shared;
	int64		keys = (int64) pg_atomic_read_u64(&shared->looked_at);
	double		seconds = seconds_since(begun);
	char		phase[64];

	snprintf(phase, sizeof(phase), "refreshing (" INT64_FORMAT " %s, %.0f a second)", keys,
			 shared->items ? "items" : "users", keys / seconds);
	job_progress(phase, 0.95 * keys / Max(Max(expected, keys), 1),
				 pg_atomic_read_u64(&shared->events) / seconds, NULL);
}

static void
say_what_came(const Refresh *refresh, double seconds, int64 removed, int workers)
{
	RefreshShared *shared = refresh->shared;
	int64		written = (int64) pg_atomic_read_u64(&shared->written);
	double		spent[REFRESH_STAGES];
	double		sum = 0;

	for (int i = 0; i < REFRESH_STAGES; i++)
		sum += spent[i] = pg_atomic_read_u64(&shared->microseconds[i]) * 1e-6;
	job_note("time of %d processes: reading %.0f %%, computing %.0f %%, writing %.0f %%", workers,
			 100 * spent[REFRESH_READING] / Max(sum, 1e-6), 100 * spent[REFRESH_COMPUTING] / Max(sum, 1e-6),
			 100 * spent[REFRESH_WRITING] / Max(sum, 1e-6));
	job_note("version %d as of %s is complete in %s: " INT64_FORMAT " rows written, %.0f a second, "
			 "%s" INT64_FORMAT " removed",
			 shared->version, time_text(shared->as_of), refresh->target->name, written, written / seconds,
			 shared->changed ? psprintf(INT64_FORMAT " left as they were, ", (int64) pg_atomic_read_u64(&shared->kept)) : "",
			 removed);
}

/* What the processes need to know. */
static void
share(RefreshShared *shared, const Refresh *refresh, const RefreshOptions *options, const ModelImage *image,
	  TimestampTz as_of)
{
	shared->version = image->version;
	shared->fingerprint = image->fingerprint;
	shared->items = options->items;
	shared->as_of = as_of;
	shared->changed = options->changed;
	shared->oldest = options->max_age > 0 ? as_of - options->max_age : DT_NOBEGIN;
	shared->lateness = options->lateness >= 0 ? options->lateness :
		Max(refresh->model->options.lateness, USECS_PER_HOUR);
	shared->rows_per_second = options->rows_per_second;
	strlcpy(shared->target, refresh->target->name, sizeof(shared->target));
}

void
refresh_run(Job *job)
{
	RefreshOptions options = parse_options(job->options);
	Refresh		refresh = {0};
	RefreshShared *shared;
	Session    *session;
	Team	   *team;
	TimestampTz as_of;
	int64		expected;
	int64		removed = 0;
	int			workers;
	double		seconds;
	bool		cleared;
	instr_time	begun;
	char	   *index;

	job_begin();
	MemoryContextSwitchTo(job->context);
	session = refresh_open(&refresh, job, options.target, options.items, options.version);
	as_of = begin_state(&refresh, &options, session->image->version);
	expected = expected_keys(&refresh, session->image);
	if (!options.items && (index = missing_event_index(refresh.model)) != NULL)
		job_note("each vector reads all events: %s", index);
	job_commit();
	fail_point("refresh: begun");
	MemoryContextSwitchTo(job->context);

	team = team_start(job, "refresh", options.workers, sizeof(RefreshShared), 0);
	workers = team ? team_size(team) : 1;
	shared = refresh.shared = team ? team_memory(team) : palloc0(sizeof(RefreshShared));
	share(shared, &refresh, &options, session->image, as_of);
	if (team)
		team_begin(team);

	INSTR_TIME_SET_CURRENT(begun);
	do
	{
		report(&refresh, begun, expected);
	} while (refresh_group(&refresh));
	MemoryContextSwitchTo(job->context);
	if (team)
	{
		RefreshShared *kept = palloc(sizeof(RefreshShared));

		team_barrier(team);
		memcpy(kept, shared, sizeof(RefreshShared));
		refresh.shared = kept;
		team_end(team);
	}
	seconds = seconds_since(begun);

	/* it must still be there, to be called complete */
	fail_point("refresh: before flip");
	job_begin();
	(void) image_get(refresh.model, refresh.shared->version);
	cleared = finish_state(&refresh);
	job_commit();
	fail_point("refresh: after flip");
	if (!(options.changed && (cleared || options.keep_old)))
		removed = remove_old(&refresh, options.keep_old);
	MemoryContextSwitchTo(job->context);
	say_what_came(&refresh, seconds, removed, workers);
	MemoryContextSwitchTo(job->context);
	refresh_close(&refresh);
}
