/*-------------------------------------------------------------------------
 *
 * retry.c
 *	  Jobs that failed and are due again
 *
 * A further attempt is a job of its own, so that the row of each tells what
 * came of it.  It waits in the queue until it is due.  No process wakes for it:
 * whoever starts a process or waits for a job looks for what is due meanwhile,
 * and so does each process whenever a job of its has ended.  In the same way
 * jobs start that were never begun because the server crashed.
 *
 *-------------------------------------------------------------------------
 */
#include "train/job.h"

#include "catalog/pg_type.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"

#define LONGEST_DELAY	"6 hours"

/* So long after it was enqueued a job that no process has taken has lost its own. */
#define LOST_AFTER		"2 seconds"

bool
job_worth_again(int sqlstate)
{
	switch (ERRCODE_TO_CATEGORY(sqlstate))
	{
		case ERRCODE_FEATURE_NOT_SUPPORTED:
		case ERRCODE_DATA_EXCEPTION:
		case ERRCODE_WITH_CHECK_OPTION_VIOLATION:
		case ERRCODE_SYNTAX_ERROR_OR_ACCESS_RULE_VIOLATION:
		case ERRCODE_PROGRAM_LIMIT_EXCEEDED:
		case ERRCODE_CONFIG_FILE_ERROR:
			return false;
		default:
			break;
	}

	/* no version, no samples: somebody has to do something */
	return sqlstate != ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE && sqlstate != ERRCODE_NO_DATA_FOUND;
}

char *
job_due_again(int64 job_id)
{
	Datum		message;
	bool		isnull;

	if (state_execute("WITH again AS (INSERT INTO _dupn.job (model_id, model_name, owner, action, options, state,"
					  " extension_oid, attempts, retries, retry_delay, retry_of, due_at, max_runtime)"
					  " SELECT model_id, model_name, owner, action, options, 'queued', extension_oid,"
					  " attempts OPERATOR(pg_catalog.+) 1, retries, retry_delay, job_id,"
					  " pg_catalog.clock_timestamp() OPERATOR(pg_catalog.+) LEAST(interval '" LONGEST_DELAY "',"
					  " retry_delay OPERATOR(pg_catalog.*) pg_catalog.power(2, LEAST(attempts, 20) OPERATOR(pg_catalog.-) 1)),"
					  " max_runtime FROM _dupn.job WHERE job_id OPERATOR(pg_catalog.=) $1"
					  " AND state OPERATOR(pg_catalog.=) 'failed' AND attempts OPERATOR(pg_catalog.<=) retries"
					  " RETURNING job_id, due_at)"
					  " UPDATE _dupn.job j SET message = pg_catalog.format('%s; job %s tries again after %s', j.message,"
					  " again.job_id, pg_catalog.date_trunc('second', again.due_at)) FROM again"
					  " WHERE j.job_id OPERATOR(pg_catalog.=) $1 RETURNING j.message",
					  1, (Oid[]) {INT8OID}, (Datum[]) {Int64GetDatum(job_id)}, NULL, &message, &isnull) == 0)
		return NULL;
	return TextDatumGetCString(message);
}

void
job_supersede(int64 job_id)
{
	state_execute("UPDATE _dupn.job old SET state = 'cancelled', ended_at = pg_catalog.clock_timestamp(),"
				  " message = pg_catalog.format('job %s takes its place', new.job_id)"
				  " FROM _dupn.job new WHERE new.job_id OPERATOR(pg_catalog.=) $1"
				  " AND old.state OPERATOR(pg_catalog.=) 'queued' AND old.retry_of IS NOT NULL"
				  " AND old.model_id OPERATOR(pg_catalog.=) new.model_id"
				  " AND old.extension_oid OPERATOR(pg_catalog.=) new.extension_oid"
				  " AND old.action OPERATOR(pg_catalog.=) new.action"
				  " AND old.options OPERATOR(pg_catalog.=) new.options",
				  1, (Oid[]) {INT8OID}, (Datum[]) {Int64GetDatum(job_id)}, NULL, NULL, NULL);
}

void
job_start_due(Oid extension, int32 except)
{
	Datum		row[2];
	bool		isnull[2];

	for (int32 last = 0;
		 state_read("SELECT model_id, owner::pg_catalog.text FROM _dupn.job"
					" WHERE state OPERATOR(pg_catalog.=) 'queued' AND extension_oid OPERATOR(pg_catalog.=) $1"
					" AND (due_at OPERATOR(pg_catalog.<=) pg_catalog.clock_timestamp() OR due_at IS NULL"
					" AND enqueued_at OPERATOR(pg_catalog.<) (pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) interval '" LOST_AFTER "'))"
					" AND model_id OPERATOR(pg_catalog.>) $2 ORDER BY model_id LIMIT 1",
					2, (Oid[]) {OIDOID, INT4OID},
					(Datum[]) {ObjectIdGetDatum(extension), Int32GetDatum(last)}, NULL, row, isnull) > 0;)
	{
		JobLaunch	launch = {
			.database = MyDatabaseId,
			.owner = get_role_oid(TextDatumGetCString(row[1]), true),
			.extension = extension,
			.model_id = DatumGetInt32(row[0]),
			.xid = InvalidTransactionId,
		};
		LOCKTAG		queue;
		bool		worked_on;

		last = launch.model_id;
		if (last == except || !OidIsValid(launch.owner))
			continue;

		/* a worker that just takes the model must not find it taken by us: see job.h */
		job_locktag(&queue, extension, QUEUE_LOCK, last);
		LockAcquire(&queue, ShareLock, false, false);
		worked_on = job_lock_taken(extension, MODEL_LOCK, last);
		LockRelease(&queue, ShareLock, false);

		/* who asks for a job of its own waits for a slot; this may come later */
		if (!worked_on && !job_launch(&launch))
			return;
	}
}
