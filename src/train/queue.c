/*-------------------------------------------------------------------------
 *
 * queue.c
 *	  Rows of _dupn.job seen from outside: wait, cancel, and clear up the dead
 *
 *-------------------------------------------------------------------------
 */
#include "train/job.h"

#include <signal.h>

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "fail.h"
#include "pgstat.h"
#include "settings.h"
#include "storage/latch.h"
#include "storage/procarray.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define KEEP		1000		/* jobs, and evaluations, that have ended */
#define WAIT_MS		5000		/* longer than a deadlock_timeout */

/* A job that nobody starts: how long to give a new process, and how often. */
#define START_MS	2000
#define STARTS		5

void
job_look(int64 job_id, JobRow *row)
{
	Datum		values[7];
	bool		isnull[7];
	Oid			owner;

	if (state_read("SELECT j.model_id, j.owner::pg_catalog.text, j.state, j.message, j.pid, r.job_id, j.due_at"
				   " FROM _dupn.job j LEFT JOIN LATERAL (SELECT job_id FROM _dupn.job r"
				   " WHERE r.state OPERATOR(pg_catalog.=) 'running'"
				   " AND r.model_id OPERATOR(pg_catalog.=) j.model_id LIMIT 1) r ON true"
				   " WHERE j.job_id OPERATOR(pg_catalog.=) $1",
				   1, (Oid[]) {INT8OID}, (Datum[]) {Int64GetDatum(job_id)}, NULL, values, isnull) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("job " INT64_FORMAT " does not exist", job_id),
				 errhint("The view dupn_jobs lists jobs; a job of a transaction that was rolled back never was.")));
	row->id = job_id;
	row->model_id = DatumGetInt32(values[0]);
	row->owner = TextDatumGetCString(values[1]);
	row->state = TextDatumGetCString(values[2]);
	row->message = isnull[3] ? NULL : TextDatumGetCString(values[3]);
	row->pid = isnull[4] ? 0 : DatumGetInt32(values[4]);
	row->running = isnull[5] ? 0 : DatumGetInt64(values[5]);
	row->due = isnull[6] ? DT_NOBEGIN : DatumGetTimestampTz(values[6]);
	if (strcmp(row->state, "running") == 0)
		row->running = job_id;	/* another one is dead */

	owner = get_role_oid(row->owner, true);
	if (OidIsValid(owner) ? !has_privs_of_role(GetUserId(), owner) : !superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of job " INT64_FORMAT, job_id),
				 errdetail("It belongs to role \"%s\".", row->owner)));
}

bool
job_alive(Oid extension, int64 job_id)
{
	return job_lock_taken(extension, JOB_LOCK, job_id);
}

bool
job_bury(Oid extension, int64 job_id, bool wanted)
{
	bool		buried;

	/*
	 * Who was alive until now has written its end before it let go.  A row that
	 * is locked is being buried by somebody else, in a transaction that may be
	 * long.
	 */
	if (job_alive(extension, job_id))
		return false;
	buried = state_execute("UPDATE _dupn.job SET state = 'failed', phase = NULL, pid = NULL,"
						   " ended_at = pg_catalog.clock_timestamp(), message = 'the job''s process ended"
						   " unexpectedly: it was terminated, or the server stopped; see the server''s log'"
						   " WHERE job_id OPERATOR(pg_catalog.=) (SELECT job_id FROM _dupn.job"
						   " WHERE job_id OPERATOR(pg_catalog.=) $1 AND state OPERATOR(pg_catalog.=) 'running'"
						   " FOR UPDATE SKIP LOCKED)",
						   1, (Oid[]) {INT8OID}, (Datum[]) {Int64GetDatum(job_id)}, NULL, NULL, NULL) > 0;
	if (buried && wanted)
		(void) job_due_again(job_id);
	return buried;
}

/* IN would look for its operator in the search_path. */
#define UNFINISHED \
	" state OPERATOR(pg_catalog.=) ANY ('{queued,running}'::pg_catalog.text[])"

void
job_sweep(Oid extension)
{
	int64		last = 0;
	uint64		found;
	Datum		values[2];

	StartTransactionCommand();
	state_execute("UPDATE _dupn.job SET state = 'failed', phase = NULL, pid = NULL,"
				  " ended_at = pg_catalog.clock_timestamp(), extension_oid = $1,"
				  " message = 'the job came here with a dump or an older installation, unfinished'"
				  " WHERE" UNFINISHED " AND extension_oid OPERATOR(pg_catalog.<>) $1",
				  1, (Oid[]) {OIDOID}, (Datum[]) {ObjectIdGetDatum(extension)}, NULL, NULL, NULL);
	CommitTransactionCommand();

	do
	{
		Datum		job_id;
		bool		isnull;

		StartTransactionCommand();
		found = state_read("SELECT job_id FROM _dupn.job WHERE state OPERATOR(pg_catalog.=) 'running'"
						   " AND job_id OPERATOR(pg_catalog.>) $1 ORDER BY job_id LIMIT 1",
						   1, (Oid[]) {INT8OID}, (Datum[]) {Int64GetDatum(last)}, NULL, &job_id, &isnull);
		if (found > 0)
		{
			last = DatumGetInt64(job_id);
			job_bury(extension, last, true);
		}
		CommitTransactionCommand();
	} while (found > 0);

	fail_point("sweep: buried");
	versions_sweep(job_check);

	StartTransactionCommand();
	values[0] = Int32GetDatum(dupn_job_history);
	values[1] = Int32GetDatum(KEEP);
	state_execute("DELETE FROM _dupn.job WHERE NOT" UNFINISHED
				  " AND (ended_at OPERATOR(pg_catalog.<) (pg_catalog.now() OPERATOR(pg_catalog.-) pg_catalog.make_interval(mins => $1))"
				  " OR job_id OPERATOR(pg_catalog.<=) (SELECT job_id FROM _dupn.job"
				  " WHERE NOT" UNFINISHED " ORDER BY job_id DESC OFFSET $2 LIMIT 1))",
				  2, (Oid[]) {INT4OID, INT4OID}, values, NULL, NULL, NULL);
	state_execute("DELETE FROM _dupn.evaluation WHERE"
				  " evaluated_at OPERATOR(pg_catalog.<) (pg_catalog.now() OPERATOR(pg_catalog.-) pg_catalog.make_interval(mins => $1))"
				  " OR job_id OPERATOR(pg_catalog.<=) (SELECT job_id FROM _dupn.evaluation ORDER BY job_id DESC OFFSET $2 LIMIT 1)",
				  2, (Oid[]) {INT4OID, INT4OID}, values, NULL, NULL, NULL);
	CommitTransactionCommand();

	StartTransactionCommand();
	mapped_sweep();
	CommitTransactionCommand();
}

typedef struct Wait
{
	LOCKTAG		tag;
	char		timeout[32];
} Wait;

static void
wait_for_lock(void *arg)
{
	const Wait *wait = arg;

	/* the subtransaction's end restores it */
	(void) set_config_option("lock_timeout", wait->timeout, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_LOCAL, true, 0, false);
	LockAcquire(&wait->tag, ShareLock, false, false);
	LockRelease(&wait->tag, ShareLock, false);
}

/*
 * Wait until the process that does a job lets go; false: the deadline came
 * first, or it is time to look again.  A heavyweight lock, so that the deadlock
 * detector sees a job that waits for what the waiting transaction has locked;
 * it looks once a wait.
 */
static bool
wait_for_process(Oid extension, int64 job_id, TimestampTz deadline)
{
	long		left = WAIT_MS;
	Wait		wait;
	ErrorData  *error;

	job_locktag(&wait.tag, extension, JOB_LOCK, job_id);
	if (!TIMESTAMP_IS_NOEND(deadline))
		left = Min(left, TimestampDifferenceMilliseconds(GetCurrentTimestamp(), deadline));
	snprintf(wait.timeout, sizeof(wait.timeout), "%ld", Max(left, 1));
	error = subtransaction_try(wait_for_lock, &wait, false);
	if (error != NULL && error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE)
		ReThrowError(error);
	return error == NULL;
}

/* Nobody does the job yet: sleep, and start a process if none comes though it is due. */
static void
wait_for_start(Oid extension, const JobRow *row, int *slept, int *starts)
{
	int			ms = Min(100, 10 + *slept / 8);

	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, ms, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	if (row->due > GetCurrentTimestamp())
		return;
	*slept += ms;

	/* a further attempt has no process on its way */
	if (*slept < START_MS && (TIMESTAMP_IS_NOBEGIN(row->due) || *starts > 0))
		return;

	*slept = 0;
	if (*starts >= STARTS)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("job " INT64_FORMAT " does not start", row->id),
				 errhint("The server's log tells why its process ended; the job stays in the queue.")));
	if (OidIsValid(get_role_oid(row->owner, true)))
	{
		JobLaunch	launch = {
			.database = MyDatabaseId,
			.owner = get_role_oid(row->owner, true),
			.extension = extension,
			.model_id = row->model_id,
			.xid = InvalidTransactionId,
		};

		/* for a slot one may have to wait longer */
		if (!job_launch(&launch))
			return;
	}
	++*starts;
}

static bool
job_ended(const JobRow *row)
{
	return strcmp(row->state, "queued") != 0 && strcmp(row->state, "running") != 0;
}

static void
refuse_in_recovery(void)
{
	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("jobs cannot be waited for or cancelled during recovery"),
				 errhint("They run on the primary; the view dupn_jobs shows them here as well.")));
}

void
job_wait(int64 job_id, TimestampTz deadline, bool between, JobRow *row)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext look = AllocSetContextCreate(caller, "dupn wait", ALLOCSET_SMALL_SIZES);
	Oid			extension = get_extension_oid("dupn", false);
	int			slept = 0;
	int			starts = 0;

	refuse_in_recovery();
	if (job_enqueued_here(job_id))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("job " INT64_FORMAT " starts when this transaction commits", job_id),
				 errhint("Commit first and wait then, or CALL dupn_run, which does both.")));
	job_start_due(extension, 0);
	for (;;)
	{
		if (get_extension_oid("dupn", true) != extension)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("job " INT64_FORMAT " is gone: extension \"dupn\" was dropped", job_id)));
		MemoryContextReset(look);
		MemoryContextSwitchTo(look);
		job_look(job_id, row);
		MemoryContextSwitchTo(caller);
		if (job_ended(row) || (!TIMESTAMP_IS_NOEND(deadline) && GetCurrentTimestamp() >= deadline))
			return;
		if (between)
		{
			SPI_commit();
			SPI_start_transaction();
		}
		if (row->running != 0 && !wait_for_process(extension, row->running, deadline))
		{
			slept = 0;
			continue;
		}

		/* now nobody does a job of this model */
		if (get_extension_oid("dupn", true) != extension)
			continue;
		if (strcmp(row->state, "queued") == 0)
		{
			wait_for_start(extension, row, &slept, &starts);
			continue;
		}
		if (!XactReadOnly)
			job_bury(extension, job_id, true);
		job_look(job_id, row);
		if (!job_ended(row))
			row->state = "failed";	/* though it is not for this transaction to say so */
		return;
	}
}

bool
job_cancel(int64 job_id)
{
	Oid			extension = get_extension_oid("dupn", false);
	JobRow		row;

	refuse_in_recovery();
	for (;;)
	{
		job_look(job_id, &row);
		if (job_ended(&row))
			return false;
		if (strcmp(row.state, "queued") == 0)
		{
			if (state_execute("UPDATE _dupn.job SET state = 'cancelled', ended_at = pg_catalog.clock_timestamp(),"
							  " message = 'cancelled before it started'"
							  " WHERE job_id OPERATOR(pg_catalog.=) $1 AND state OPERATOR(pg_catalog.=) 'queued'",
							  1, (Oid[]) {INT8OID}, (Datum[]) {Int64GetDatum(job_id)}, NULL, NULL, NULL) > 0)
				return true;
		}
		else
		{
			LOCKTAG		queue;
			bool		alive;

			/* meanwhile the process cannot go on to its next job */
			job_locktag(&queue, extension, QUEUE_LOCK, row.model_id);
			LockAcquire(&queue, ShareLock, false, false);
			alive = job_alive(extension, job_id);
			if (alive && row.pid != 0 && BackendPidGetProc(row.pid) != NULL)
				kill(row.pid, SIGINT);
			LockRelease(&queue, ShareLock, false);
			if (!alive)
				job_bury(extension, job_id, false);
			return alive;
		}
		CHECK_FOR_INTERRUPTS();
	}
}
