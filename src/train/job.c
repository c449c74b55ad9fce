/*-------------------------------------------------------------------------
 *
 * job.c
 *	  The background worker that does a model's jobs
 *
 * It computes without a snapshot and without a transaction; everything it reads
 * or writes happens in short ones, so that neither vacuum nor DROP EXTENSION
 * waits for it.  Nothing tells a process that DROP DATABASE waits for it to go,
 * so it tries four times a second whether it could lock the database.
 *
 *-------------------------------------------------------------------------
 */
#include "train/job.h"

#include "access/xact.h"
#include "catalog/pg_database.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "fail.h"
#include "lib/stringinfo.h"
#include "libpq/pqsignal.h"
#include "pgstat.h"
#include "portability/instr_time.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "storage/pmsignal.h"
#include "storage/procsignal.h"
#include "tcop/tcopprot.h"
#include "train/team.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/memutils.h"
#include "utils/ps_status.h"
#include "utils/snapmgr.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#define CHECK_MS	250.0
#define REPORT_MS	2000.0
#define MAX_NOTES	100
#define MAX_PHASES	16

PGDLLEXPORT void dupn_job_main(Datum arg);

/* Of this process. */
static struct
{
	JobLaunch	launch;
	TimeoutId	timeout;		/* of max_runtime */
	volatile sig_atomic_t overran;
	const Job  *job;			/* NULL: none at this moment */
	char	   *max_runtime;	/* as the job's row says, NULL: any time */
	int64		max_microseconds;
	bool		member;			/* of a team: its leader reports and gives way */
	char	   *model_name;
	instr_time	checked;
	instr_time	reported;
	char		phase[64];		/* empty before the first job_progress */
	double		fraction;		/* of the whole job */
	instr_time	phase_begin;
	int			n_phases;		/* done, or in parts */
	struct
	{
		char		name[64];
		double		seconds;
	}			phases[MAX_PHASES];
	int64		memory;			/* the most there was, as far as it was looked at */
	int			n_notes;
	char	   *note[MAX_NOTES];
	int64		spilled;
	int			outer_security; /* as before job_begin */
	int			settings;		/* a level of settings of its own */
	MemoryContext outer_memory;
} worker;

static double
milliseconds_since(const instr_time *then)
{
	instr_time	now;

	INSTR_TIME_SET_CURRENT(now);
	INSTR_TIME_SUBTRACT(now, *then);
	return INSTR_TIME_GET_MILLISEC(now);
}

/* ---------------- the job's row ---------------- */

static Datum
notes_array(int n)
{
	Datum	   *text = palloc(sizeof(Datum) * Max(n, 1));

	for (int i = 0; i < n; i++)
		text[i] = CStringGetTextDatum(worker.note[i]);
	return PointerGetDatum(construct_array(text, n, TEXTOID, -1, false, TYPALIGN_INT));
}

/* {"reading": seconds, ...}; what is open counts until now. */
static Datum
phases_json(void)
{
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfoChar(&json, '{');
	for (int i = 0; i < worker.n_phases; i++)
	{
		appendStringInfoString(&json, i > 0 ? ", " : "");
		escape_json(&json, worker.phases[i].name);
		appendStringInfo(&json, ": %.3f", worker.phases[i].seconds);
	}
	appendStringInfoChar(&json, '}');
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data));
}

/* Time since the last call is the phase's, its epochs together. */
static void
count_phase(void)
{
	char		name[64];
	int			i = 0;

	strlcpy(name, worker.phase, sizeof(name));
	name[strcspn(name, "(")] = '\0';
	for (size_t n = strlen(name); n > 0 && name[n - 1] == ' '; n--)
		name[n - 1] = '\0';
	while (i < worker.n_phases && strcmp(worker.phases[i].name, name) != 0)
		i++;
	if (name[0] != '\0' && i < MAX_PHASES)
	{
		if (i == worker.n_phases)
		{
			strlcpy(worker.phases[i].name, name, sizeof(worker.phases[i].name));
			worker.phases[i].seconds = 0;
			worker.n_phases++;
		}
		worker.phases[i].seconds += milliseconds_since(&worker.phase_begin) / 1000;
	}
	INSTR_TIME_SET_CURRENT(worker.phase_begin);
}

/*
 * Write the job's row, if that was two seconds ago.  Between two calls of
 * job_progress job_check does it, to show that the job is alive.
 */
static void
report(double events_per_second, const char *loss)
{
	MemoryContext caller = CurrentMemoryContext;
	Oid			types[] = {INT8OID, TEXTOID, FLOAT8OID, FLOAT8OID, JSONBOID, INT8OID, INT8OID, TEXTARRAYOID, JSONBOID};
	Datum		values[9];
	char		nulls[] = "         ";
	char		activity[256];

	Assert(!worker.member);
	if (worker.job == NULL || milliseconds_since(&worker.reported) < REPORT_MS)
		return;
	INSTR_TIME_SET_CURRENT(worker.reported);

	snprintf(activity, sizeof(activity), "dupn: %s model %s, %s, %d %%",
			 worker.job->action, worker.model_name, worker.phase, (int) (100 * worker.fraction));
	set_ps_display(activity);

	state_transaction();
	pgstat_report_activity(STATE_RUNNING, activity);
	values[0] = Int64GetDatum(worker.job->id);
	values[1] = CStringGetTextDatum(worker.phase);
	values[2] = Float8GetDatum(worker.fraction);
	values[3] = Float8GetDatum(events_per_second);
	if (events_per_second <= 0)
		nulls[3] = 'n';
	values[4] = loss ? DirectFunctionCall1(jsonb_in, CStringGetDatum(loss)) : (Datum) 0;
	if (loss == NULL)
		nulls[4] = 'n';
	job_memory();
	count_phase();
	values[5] = Int64GetDatum(worker.memory);
	values[6] = Int64GetDatum(worker.spilled);
	values[7] = notes_array(worker.n_notes);
	values[8] = phases_json();
	state_execute("UPDATE _dupn.job SET phase = $2, progress = $3,"
				  " events_per_second = COALESCE($4, events_per_second), loss_ratio = COALESCE($5, loss_ratio),"
				  " memory_bytes = $6, spill_bytes = $7, notes = $8, phase_seconds = $9,"
				  " reported_at = pg_catalog.clock_timestamp()"
				  " WHERE job_id OPERATOR(pg_catalog.=) $1",
				  9, types, values, nulls, NULL, NULL);
	CommitTransactionCommand();
	pgstat_report_stat(true);
	MemoryContextSwitchTo(caller);
}

/* ---------------- giving way ---------------- */

typedef enum Obstacle
{
	NO_OBSTACLE,
	DATABASE_GOES,
	EXTENSION_GONE
} Obstacle;

/* In a tiny transaction, or in the one that is open. */
static Obstacle
find_obstacle(void)
{
	MemoryContext caller = CurrentMemoryContext;
	bool		own = !IsTransactionState();
	Obstacle	obstacle = NO_OBSTACLE;
	LOCKTAG		tag;

	if (own)
		state_transaction();

	/*
	 * The weakest mode is refused only to what must have the database alone:
	 * to drop, rename or move it.  Copying it is no reason to lose a training.
	 */
	SET_LOCKTAG_OBJECT(tag, InvalidOid, DatabaseRelationId, MyDatabaseId, 0);
	if (LockAcquire(&tag, AccessShareLock, false, true) == LOCKACQUIRE_NOT_AVAIL)
		obstacle = DATABASE_GOES;
	else
	{
		LockRelease(&tag, AccessShareLock, false);
		if (get_extension_oid("dupn", true) != worker.launch.extension)
			obstacle = EXTENSION_GONE;
	}
	if (own)
		CommitTransactionCommand();
	MemoryContextSwitchTo(caller);
	return obstacle;
}

/* Go at once and without a word in the job's row. */
static void
give_way(Obstacle obstacle)
{
	if (obstacle == DATABASE_GOES)
		ereport(FATAL,
				(errcode(ERRCODE_ADMIN_SHUTDOWN),
				 errmsg("terminating a job of dupn: its database is being dropped, renamed or moved")));
	if (obstacle == EXTENSION_GONE)
	{
		ereport(LOG,
				(errmsg("a job of dupn ends: the extension was dropped")));
		proc_exit(0);
	}
}

/* Is it time to look again? */
static bool
check_is_due(void)
{
	if (milliseconds_since(&worker.checked) < CHECK_MS)
		return false;
	INSTR_TIME_SET_CURRENT(worker.checked);
	return true;
}

/*
 * The time of the job is over: as if it was cancelled, so that SQL and locks
 * that it waits for end as well.
 */
static void
overrun(void)
{
	worker.overran = true;
	InterruptPending = true;
	QueryCancelPending = true;
}

void
job_check(void)
{
	CHECK_FOR_INTERRUPTS();
	if (worker.overran && QueryCancelHoldoffCount == 0)
		ereport(ERROR,			/* a function in somebody's view may have caught the first one */
				(errcode(ERRCODE_QUERY_CANCELED),
				 errmsg("ran longer than max_runtime (%s)", worker.max_runtime)));
	job_memory();				/* each time: what is soon over counts as well */
	if (!check_is_due())
		return;
	if (!PostmasterIsAlive())
		proc_exit(1);
	team_look();
	if (worker.member)
		return;
	give_way(find_obstacle());
	if (worker.phase[0] != '\0' && !IsTransactionState())
		report(0, NULL);
}

void
job_nap(long milliseconds)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, milliseconds, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	job_check();
}

bool
job_should_stop(void *arg)
{
	if (ProcDiePending || QueryCancelPending || worker.overran)
		return true;
	if (ProcSignalBarrierPending)
		ProcessProcSignalBarrier(); /* others wait for it */
	if (!check_is_due())
		return false;
	if (worker.member || find_obstacle() == NO_OBSTACLE)
		return false;
	INSTR_TIME_SET_ZERO(worker.checked);	/* job_check finds it again */
	return true;
}

/* ---------------- transactions with SQL of the owner ---------------- */

/*
 * What a function in a user's view does to settings, above all to the
 * search_path, ends with job_commit, so that our own statements never see it.
 */
void
job_begin(void)
{
	Oid			user;

	worker.outer_memory = CurrentMemoryContext;
	state_transaction();
	GetUserIdAndSecContext(&user, &worker.outer_security);
	SetUserIdAndSecContext(user, worker.outer_security | SECURITY_RESTRICTED_OPERATION);
	worker.settings = NewGUCNestLevel();
	PushActiveSnapshot(GetTransactionSnapshot());
}

void
job_commit(void)
{
	Oid			user;
	int			context;

	PopActiveSnapshot();
	AtEOXact_GUC(false, worker.settings);
	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(user, worker.outer_security);
	CommitTransactionCommand();
	MemoryContextSwitchTo(worker.outer_memory);
}

/* ---------------- reporting ---------------- */

void
job_note(const char *format,...)
{
	MemoryContext caller = MemoryContextSwitchTo(worker.job->context);
	StringInfoData note;
	int			more;

	Assert(!worker.member);
	initStringInfo(&note);
	for (;;)
	{
		va_list		args;

		va_start(args, format);
		more = appendStringInfoVA(&note, format, args);
		va_end(args);
		if (more == 0)
			break;
		enlargeStringInfo(&note, more);
	}
	MemoryContextSwitchTo(caller);

	/* of data that are read twice it is said once */
	for (int i = 0; i < worker.n_notes; i++)
		if (strcmp(worker.note[i], note.data) == 0)
			return;
	if (worker.n_notes < MAX_NOTES)
		worker.note[worker.n_notes++] = note.data;
	else
		worker.note[MAX_NOTES - 1] = note.data; /* the last one is the sentence */
}

void
job_memory(void)
{
	worker.memory = Max(worker.memory, (int64) MemoryContextMemAllocated(TopMemoryContext, true));
}

void
job_workers(int n)
{
	MemoryContext caller = CurrentMemoryContext;

	state_transaction();
	state_execute("UPDATE _dupn.job SET workers = $2 WHERE job_id OPERATOR(pg_catalog.=) $1",
				  2, (Oid[]) {INT8OID, INT4OID}, (Datum[]) {Int64GetDatum(worker.job->id), Int32GetDatum(n)},
				  NULL, NULL, NULL);
	CommitTransactionCommand();
	MemoryContextSwitchTo(caller);
}

void
job_spilled(int64 bytes)
{
	worker.spilled = Max(worker.spilled, bytes);
}

void
job_progress(const char *phase, double fraction, double events_per_second, const char *loss)
{
	count_phase();
	strlcpy(worker.phase, phase, sizeof(worker.phase));
	worker.fraction = Max(worker.fraction, Min(fraction, 1));	/* a second data set does not begin anew */
	report(events_per_second, loss);
	job_check();
}

/* ---------------- one job ---------------- */

/*
 * The end of a job in its row; notes before the sentence, if that is one.
 * again: what failed may succeed another time.
 */
static void
write_end(const char *state, const char *message, bool again)
{
	char	   *more;
	Oid			types[] = {INT8OID, TEXTOID, TEXTOID, TEXTARRAYOID, INT8OID, INT8OID, JSONBOID};
	Datum		values[7];
	int			n_notes = worker.n_notes;

	if (message == NULL && n_notes > 0)
		message = worker.note[--n_notes];

	state_transaction();
	values[0] = Int64GetDatum(worker.job->id);
	values[1] = CStringGetTextDatum(state);
	values[2] = CStringGetTextDatum(message ? message : "done");
	values[3] = notes_array(n_notes);
	values[4] = Int64GetDatum(worker.spilled);
	values[5] = Int64GetDatum(worker.memory);
	count_phase();
	values[6] = phases_json();
	state_execute("UPDATE _dupn.job SET state = $2, message = $3, notes = $4, spill_bytes = $5,"
				  " memory_bytes = $6, phase_seconds = $7, phase = NULL, pid = NULL,"
				  " progress = CASE WHEN $2 OPERATOR(pg_catalog.=) 'done' THEN 1 ELSE progress END,"
				  " reported_at = pg_catalog.clock_timestamp(), ended_at = pg_catalog.clock_timestamp()"
				  " WHERE job_id OPERATOR(pg_catalog.=) $1 AND state OPERATOR(pg_catalog.=) 'running'",
				  7, types, values, NULL, NULL, NULL);
	if (again && (more = job_due_again(worker.job->id)) != NULL)
		message = MemoryContextStrdup(worker.job->context, more);
	CommitTransactionCommand();
	ereport(LOG,
			(errmsg("dupn: job " INT64_FORMAT " (%s of model \"%s\") %s: %s",
					worker.job->id, worker.job->action, worker.model_name, state,
					message ? message : "done")));
}

/* Cancellation is held off by the caller, and again at the end. */
static void
do_job(Job *job)
{
	MemoryContext context = job->context;
	ErrorData  *volatile error = NULL;

	worker.overran = false;
	if (worker.max_runtime)
		enable_timeout_at(worker.timeout, TimestampTzPlusMilliseconds(GetCurrentTimestamp(), worker.max_microseconds / 1000));
	PG_TRY();
	{
		RESUME_CANCEL_INTERRUPTS();
		MemoryContextSwitchTo(context);
		job_check();
		job_action(job->action)->run(job);
		HOLD_CANCEL_INTERRUPTS();
	}
	PG_CATCH();
	{
		HOLD_CANCEL_INTERRUPTS();	/* an error sets the count to zero */
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		AbortOutOfAnyTransaction(); /* and of subtransactions */
		team_abandon();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	if (worker.max_runtime)
		disable_timeout(worker.timeout, false);

	fail_point("job: before end");
	if (error == NULL)
		write_end("done", NULL, false);
	else
	{
		/* tables that are gone and locks refused may mean just this */
		give_way(find_obstacle());
		if (error->sqlerrcode == ERRCODE_QUERY_CANCELED && worker.overran)
			/* once more it would take as long */
			write_end("failed", psprintf("%s: ran longer than max_runtime (%s)",
										 unpack_sql_state(error->sqlerrcode), worker.max_runtime), false);
		else if (error->sqlerrcode == ERRCODE_QUERY_CANCELED)
			write_end("cancelled", "cancelled on request", false);
		else
			write_end("failed", psprintf("%s: %s%s%s%s", unpack_sql_state(error->sqlerrcode), error->message,
										 error->hint ? " (" : "", error->hint ? error->hint : "",
										 error->hint ? ")" : ""),
					  job_worth_again(error->sqlerrcode));
	}
	worker.overran = false;
}

/* ---------------- the worker ---------------- */

/*
 * The owner's and the database's own settings would change what the user's
 * tables say and how long a job may take.
 */
static void
reset_settings(void)
{
	static const char *const setting[][2] = {
		{"role", "none"},
		{"search_path", "pg_catalog, pg_temp"},
		{"TimeZone", "GMT"},
		{"DateStyle", "ISO, MDY"},
		{"IntervalStyle", "postgres"},
		{"bytea_output", "hex"},
		{"xmloption", "content"},
		{"extra_float_digits", "1"},
		{"standard_conforming_strings", "on"},
		{"transform_null_equals", "off"},
		{"row_security", "on"},
		{"default_transaction_isolation", "read committed"},
		{"default_transaction_read_only", "off"},
		{"default_transaction_deferrable", "off"},
		{"statement_timeout", "0"},
		{"lock_timeout", "0"},
		{"idle_in_transaction_session_timeout", "0"},
		{"idle_session_timeout", "0"},
		{"transaction_timeout", "0"},
	};

	for (int i = 0; i < lengthof(setting); i++)
		if (GetConfigOption(setting[i][0], true, false) != NULL)
			SetConfigOption(setting[i][0], setting[i][1], PGC_USERSET, PGC_S_OVERRIDE);

	/* who finds a deadlock is its victim: rather not a job of hours */
	SetConfigOption("deadlock_timeout", "10s", PGC_SUSET, PGC_S_OVERRIDE);
}

/* Was this library built for the extension that the database has? */
static bool
version_matches(void)
{
	Datum		version;
	bool		isnull;

	if (state_read("SELECT extversion FROM pg_catalog.pg_extension WHERE oid OPERATOR(pg_catalog.=) $1",
				   1, (Oid[]) {OIDOID}, (Datum[]) {ObjectIdGetDatum(worker.launch.extension)},
				   NULL, &version, &isnull) == 0)
		return false;
	if (strcmp(TextDatumGetCString(version), DUPN_VERSION) == 0)
		return true;
	ereport(LOG,
			(errmsg("dupn: no job is started, because the library is of version %s and the extension of version %s",
					DUPN_VERSION, TextDatumGetCString(version)),
			 errhint("ALTER EXTENSION dupn UPDATE.")));
	return false;
}

/* Wait for the transaction that enqueued; is the extension still what it was? */
static bool
arrive(void)
{
	bool		welcome;

	state_transaction();
	if (TransactionIdIsValid(worker.launch.xid))
		XactLockTableWait(worker.launch.xid, NULL, NULL, XLTW_None);
	welcome = get_extension_oid("dupn", true) == worker.launch.extension && version_matches();
	CommitTransactionCommand();
	return welcome;
}

static bool
lock_session(JobLock lock, int64 id, bool wait)
{
	LOCKTAG		tag;

	job_locktag(&tag, worker.launch.extension, lock, id);
	return LockAcquire(&tag, ExclusiveLock, true, !wait) != LOCKACQUIRE_NOT_AVAIL;
}

static void
unlock_session(JobLock lock, int64 id)
{
	LOCKTAG		tag;

	job_locktag(&tag, worker.launch.extension, lock, id);
	LockRelease(&tag, ExclusiveLock, true);
}

/*
 * Take the oldest job of the queue that is due, or leave the model: both while the queue is
 * locked until the commit, see job.h.
 */
static Job *
next_job(bool first)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "dupn job", ALLOCSET_DEFAULT_SIZES);
	Job		   *job = NULL;
	LOCKTAG		queue;
	Datum		row[6];
	bool		isnull[6];

	state_transaction();
	job_locktag(&queue, worker.launch.extension, QUEUE_LOCK, worker.launch.model_id);
	LockAcquire(&queue, ExclusiveLock, false, false);
	if (first && !lock_session(MODEL_LOCK, worker.launch.model_id, false))
	{
		CommitTransactionCommand();
		return NULL;
	}

	/* a cancellation that came too late was not meant for the next job */
	QueryCancelPending = false;

	MemoryContextSwitchTo(context);
	if (state_execute("UPDATE _dupn.job SET state = 'running', phase = 'starting', pid = pg_catalog.pg_backend_pid(), workers = 1,"
					  " started_at = pg_catalog.clock_timestamp(), reported_at = pg_catalog.clock_timestamp()"
					  " WHERE job_id OPERATOR(pg_catalog.=) (SELECT job_id FROM _dupn.job"
					  " WHERE state OPERATOR(pg_catalog.=) 'queued' AND model_id OPERATOR(pg_catalog.=) $1"
					  " AND extension_oid OPERATOR(pg_catalog.=) $2"
					  " AND (due_at IS NULL OR due_at OPERATOR(pg_catalog.<=) pg_catalog.clock_timestamp())"
					  " ORDER BY job_id LIMIT 1 FOR UPDATE SKIP LOCKED)"
					  " RETURNING job_id, model_name, action, options, max_runtime::pg_catalog.text,"
					  " (EXTRACT(epoch FROM max_runtime) OPERATOR(pg_catalog.*) 1000000)::pg_catalog.int8",
					  2, (Oid[]) {INT4OID, OIDOID},
					  (Datum[]) {Int32GetDatum(worker.launch.model_id), ObjectIdGetDatum(worker.launch.extension)},
					  NULL, row, isnull) > 0)
	{
		job = palloc(sizeof(Job));
		job->id = DatumGetInt64(row[0]);
		job->model_id = worker.launch.model_id;
		job->action = TextDatumGetCString(row[2]);
		job->options = DatumGetJsonbP(row[3]);
		job->context = context;
		worker.model_name = TextDatumGetCString(row[1]);
		worker.max_runtime = isnull[4] ? NULL : TextDatumGetCString(row[4]);
		worker.max_microseconds = isnull[5] ? 0 : DatumGetInt64(row[5]);
		lock_session(JOB_LOCK, job->id, true);	/* before anybody sees "running" */
	}
	else
		unlock_session(MODEL_LOCK, worker.launch.model_id);
	CommitTransactionCommand();
	return job;
}

bool
job_connect(const JobLaunch *launch)
{
	worker.launch = *launch;
	dupn_map_large_chunks();

	/* die lets critical sections finish; SIGINT is what pg_cancel_backend sends */
	pqsignal(SIGTERM, die);
	pqsignal(SIGINT, StatementCancelHandler);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();
	HOLD_CANCEL_INTERRUPTS();

	BackgroundWorkerInitializeConnectionByOid(launch->database, launch->owner, DUPN_WORKER_FLAGS);
	reset_settings();
	pgstat_report_appname("dupn");
	pgstat_report_activity(STATE_RUNNING, "dupn: starting a job");
	return arrive();
}

const JobLaunch *
job_own_launch(void)
{
	return &worker.launch;
}

void
job_join(const Job *job)
{
	char		activity[256];

	worker.job = job;
	worker.member = true;
	snprintf(activity, sizeof(activity), "dupn: a part of job " INT64_FORMAT " (%s)", job->id, job->action);
	pgstat_report_activity(STATE_RUNNING, activity);
}

void
dupn_job_main(Datum arg)
{
	JobLaunch	launch;

	memcpy(&launch, MyBgworkerEntry->bgw_extra, sizeof(launch));
	if (!job_connect(&launch))
		return;
	worker.timeout = RegisterTimeout(USER_TIMEOUT, overrun);

	for (bool first = true;; first = false)
	{
		Job		   *job;

		job_sweep(worker.launch.extension);
		state_transaction();
		job_start_due(worker.launch.extension, worker.launch.model_id);
		CommitTransactionCommand();
		if ((job = next_job(first)) == NULL)
			break;
		fail_point("job: taken");
		INSTR_TIME_SET_ZERO(worker.checked);
		INSTR_TIME_SET_ZERO(worker.reported);
		worker.n_notes = 0;
		worker.spilled = 0;
		worker.memory = 0;
		worker.n_phases = 0;
		worker.phase[0] = '\0';
		worker.fraction = 0;
		worker.job = job;
		do_job(job);
		worker.job = NULL;
		fail_point("job: ended");
		unlock_session(JOB_LOCK, job->id);
		MemoryContextSwitchTo(TopMemoryContext);
		MemoryContextDelete(job->context);
		pgstat_report_stat(true);
	}
	pgstat_report_stat(true);
}
