/*-------------------------------------------------------------------------
 *
 * enqueue.c
 *	  From a call to a worker that starts when the call's transaction commits
 *
 * Workers are registered just before the commit, where a missing slot is still
 * an ordinary error; after it, an error would be a panic.  The worker waits for
 * the transaction and looks for the row, so a commit that fails in between does
 * no harm.  Jobs of rolled-back subtransactions are forgotten in time.
 *
 * Where a job is to be skipped while one like it is there, that one is looked
 * for under a lock that is kept until the commit.
 *
 *-------------------------------------------------------------------------
 */
#include "train/job.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "commands/extension.h"
#include "postmaster/bgworker.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

StaticAssertDecl(sizeof(JobLaunch) <= BGW_EXTRALEN, "what a worker is told must fit");

/* Jobs this transaction has enqueued; in TopTransactionContext. */
typedef struct Enqueued
{
	struct Enqueued *next;
	SubTransactionId subid;
	int64		job_id;			/* 0: one of others, which may have lost its worker to a crash */
	JobLaunch	launch;
} Enqueued;

static Enqueued *enqueued = NULL;

void
job_locktag(LOCKTAG *tag, Oid extension, JobLock lock, int64 id)
{
	SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId, extension, (uint32) id, lock);
}

void
job_worker(BackgroundWorker *worker, const char *type, const char *function, const void *extra, Size size)
{
	memset(worker, 0, sizeof(*worker));
	snprintf(worker->bgw_type, BGW_MAXLEN, "%s", type);
	snprintf(worker->bgw_library_name, BGW_MAXLEN, "$libdir/dupn");
	snprintf(worker->bgw_function_name, BGW_MAXLEN, "%s", function);
	worker->bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker->bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker->bgw_restart_time = BGW_NEVER_RESTART;
	memcpy(worker->bgw_extra, extra, size);
}

bool
job_launch(const JobLaunch *launch)
{
	BackgroundWorker worker;

	job_worker(&worker, "dupn job", "dupn_job_main", launch, sizeof(JobLaunch));
	snprintf(worker.bgw_name, BGW_MAXLEN, "dupn job of model %d", launch->model_id);
	return RegisterDynamicBackgroundWorker(&worker, NULL);
}

bool
job_lock_taken(Oid extension, JobLock lock, int64 id)
{
	LOCKTAG		tag;

	job_locktag(&tag, extension, lock, id);
	if (LockAcquire(&tag, ShareLock, false, true) == LOCKACQUIRE_NOT_AVAIL)
		return true;
	LockRelease(&tag, ShareLock, false);
	return false;
}

/*
 * A worker for each model that has none.  The share lock on the queue, held
 * until the row is visible to all, makes sure that a worker found here will
 * look into the queue once more.
 */
static void
launch_enqueued(void)
{
	for (Enqueued *job = enqueued; job != NULL; job = job->next)
	{
		LOCKTAG		queue;

		job_locktag(&queue, job->launch.extension, QUEUE_LOCK, job->launch.model_id);
		if (dupn_lock_held(&queue, ShareLock))
			continue;			/* an earlier job of the same model */
		LockAcquire(&queue, ShareLock, false, false);
		if (job_lock_taken(job->launch.extension, MODEL_LOCK, job->launch.model_id))
			continue;

		job->launch.xid = GetTopTransactionId();
		if (!job_launch(&job->launch) && job->job_id != 0)
			ereport(ERROR,
					(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
					 errmsg("no background worker is free for job " INT64_FORMAT, job->job_id),
					 errdetail("All %d slots of \"max_worker_processes\" are taken.", max_worker_processes),
					 errhint("Try again when others have ended, or increase \"max_worker_processes\"; "
							 "column backend_type of pg_stat_activity tells what runs.")));
	}
}

static void
at_transaction(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
			launch_enqueued();
			break;
		case XACT_EVENT_PRE_PREPARE:
			if (enqueued != NULL)
				ereport(ERROR,
						(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						 errmsg("cannot PREPARE a transaction that has enqueued a job"),
						 errdetail("The job would never start.")));
			break;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			enqueued = NULL;
			break;
		default:
			break;
	}
}

static void
at_subtransaction(SubXactEvent event, SubTransactionId subid, SubTransactionId parent, void *arg)
{
	if (event != SUBXACT_EVENT_COMMIT_SUB && event != SUBXACT_EVENT_ABORT_SUB)
		return;
	for (Enqueued **link = &enqueued; *link != NULL;)
	{
		if ((*link)->subid == subid && event == SUBXACT_EVENT_ABORT_SUB)
		{
			*link = (*link)->next;
			continue;
		}
		if ((*link)->subid == subid)
			(*link)->subid = parent;
		link = &(*link)->next;
	}
}

static void
remember(int64 job_id, const JobLaunch *launch)
{
	static bool registered = false;
	Enqueued   *job = MemoryContextAllocZero(TopTransactionContext, sizeof(Enqueued));

	if (!registered)
	{
		RegisterXactCallback(at_transaction, NULL);
		RegisterSubXactCallback(at_subtransaction, NULL);
		registered = true;
	}
	job->subid = GetCurrentSubTransactionId();
	job->job_id = job_id;
	job->launch = *launch;
	job->next = enqueued;
	enqueued = job;
}

bool
job_enqueued_here(int64 job_id)
{
	for (Enqueued *job = enqueued; job != NULL; job = job->next)
		if (job->job_id == job_id)
			return true;
	return false;
}

/* Whatever would end the worker before it can say why is refused here. */
static void
check_owner_can_connect(const Model *model)
{
	HeapTuple	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(model->owner_oid));
	bool		login;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("role \"%s\", who owns model \"%s\", does not exist", model->owner, model->name)));
	login = ((Form_pg_authid) GETSTRUCT(tuple))->rolcanlogin;
	ReleaseSysCache(tuple);

	if (!login && !DUPN_NOLOGIN_JOBS)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("role \"%s\", who owns model \"%s\", may not log in", model->owner, model->name),
				 errdetail("A job runs as its model's owner, who needs LOGIN before PostgreSQL 17."),
				 errhint("ALTER ROLE %s LOGIN; a role without a password is still refused wherever one is asked for.",
						 quote_identifier(model->owner))));
	if (!DatumGetBool(DirectFunctionCall3(has_database_privilege_id_id,
										  ObjectIdGetDatum(model->owner_oid),
										  ObjectIdGetDatum(MyDatabaseId),
										  CStringGetTextDatum("CONNECT"))))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role \"%s\", who owns model \"%s\", may not connect to this database",
						model->owner, model->name),
				 errhint("GRANT CONNECT ON DATABASE %s TO %s.",
						 quote_identifier(get_database_name(MyDatabaseId)), quote_identifier(model->owner))));
}

void
job_apply_options(Model *model, Jsonb *options)
{
	model->options_json = DatumGetJsonbP(DirectFunctionCall2(jsonb_concat,
															 JsonbPGetDatum(model->options_json),
															 JsonbPGetDatum(options)));
	model_parse_options(model);
}

/*
 * A job of the same model and action that is queued or running, but for one: its
 * state, or NULL.  An attempt that is not due yet does not count, nor one that
 * the new job would take the place of.
 */
static char *
find_busy(const Model *model, const char *action, Jsonb *options, Oid extension, int64 except, int64 *job_id)
{
	Oid			types[] = {INT4OID, TEXTOID, OIDOID, JSONBOID, INT8OID, INT8OID};
	Datum		values[6];
	Datum		row[2];
	bool		isnull[2];
	LOCKTAG		ask;

	job_locktag(&ask, extension, ASK_LOCK, model->id);
	LockAcquire(&ask, ExclusiveLock, false, false);
	values[0] = Int32GetDatum(model->id);
	values[1] = CStringGetTextDatum(action);
	values[2] = ObjectIdGetDatum(extension);
	values[3] = JsonbPGetDatum(options);
	values[5] = Int64GetDatum(except);
	for (*job_id = 0;; *job_id = DatumGetInt64(row[0]))
	{
		values[4] = Int64GetDatum(*job_id);
		if (state_read("SELECT job_id, state FROM _dupn.job WHERE job_id OPERATOR(pg_catalog.>) $5"
					   " AND model_id OPERATOR(pg_catalog.=) $1 AND action OPERATOR(pg_catalog.=) $2"
					   " AND extension_oid OPERATOR(pg_catalog.=) $3 AND job_id OPERATOR(pg_catalog.<>) $6"
					   " AND (state OPERATOR(pg_catalog.=) 'running' OR state OPERATOR(pg_catalog.=) 'queued'"
					   " AND (retry_of IS NULL OR due_at OPERATOR(pg_catalog.<=) pg_catalog.clock_timestamp()"
					   " AND options OPERATOR(pg_catalog.<>) $4)) ORDER BY job_id LIMIT 1",
					   6, types, values, NULL, row, isnull) == 0)
			return NULL;
		*job_id = DatumGetInt64(row[0]);
		if (strcmp(TextDatumGetCString(row[1]), "queued") == 0 || job_alive(extension, *job_id))
			return TextDatumGetCString(row[1]);
		job_bury(extension, *job_id, true);
	}
}

static Datum
interval_datum(int64 microseconds)
{
	Interval   *interval = palloc0(sizeof(Interval));

	interval->time = microseconds;
	return IntervalPGetDatum(interval);
}

/* Its row; skipped: why it is not done. */
static int64
insert_row(const Model *model, const char *action, Jsonb *options, const JobOptions *own, Oid extension,
		   const char *skipped)
{
	Oid			types[] = {INT4OID, TEXTOID, NAMEOID, TEXTOID, JSONBOID, TEXTOID, OIDOID, INT4OID, INTERVALOID, INTERVALOID, TEXTOID};
	Datum		values[11];
	char		nulls[] = "           ";
	Datum		job_id;
	bool		isnull;

	values[0] = Int32GetDatum(model->id);
	values[1] = CStringGetTextDatum(model->name);
	values[2] = DirectFunctionCall1(namein, CStringGetDatum(model->owner));
	values[3] = CStringGetTextDatum(action);
	values[4] = JsonbPGetDatum(options);
	values[5] = CStringGetTextDatum(skipped ? "skipped" : "queued");
	values[6] = ObjectIdGetDatum(extension);
	values[7] = Int32GetDatum(own->retries);
	values[8] = interval_datum(own->retry_delay);
	values[9] = interval_datum(own->max_runtime);
	if (own->max_runtime == 0)
		nulls[9] = 'n';
	values[10] = skipped ? CStringGetTextDatum(skipped) : (Datum) 0;
	if (skipped == NULL)
		nulls[10] = 'n';
	state_execute("INSERT INTO _dupn.job (model_id, model_name, owner, action, options, state, extension_oid,"
				  " retries, retry_delay, max_runtime, message, ended_at)"
				  " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11,"
				  " CASE WHEN $11 IS NOT NULL THEN pg_catalog.clock_timestamp() END) RETURNING job_id",
				  11, types, values, nulls, &job_id, &isnull);
	return DatumGetInt64(job_id);
}

/*
 * The new job, which is checked; or if it is skipped, *skipped, the one for whose
 * sake, or with keep its own row.  from: the job that asks, for whose sake none
 * is skipped, or 0.
 */
static int64
insert_job(Model *model, const char *action, Jsonb *options, Oid extension, int64 from, bool keep, char **skipped)
{
	const JobAction *what = job_action(action);
	JobOptions	own;
	int64		job_id;
	char	   *state;

	options = job_options_parse(&own, options);
	if (own.when_running == WHEN_DEFAULT)
		own.when_running = what->skip ? WHEN_SKIP : WHEN_QUEUE;
	if (own.retries < 0)
		own.retries = what->retries;
	if (own.max_runtime < 0)
		own.max_runtime = model->options.max_runtime;
	options = what->check(model, options);

	*skipped = NULL;
	if (own.when_running == WHEN_SKIP &&
		(state = find_busy(model, action, options, extension, from, &job_id)) != NULL)
	{
		*skipped = psprintf("skipped: job " INT64_FORMAT " (%s) of model \"%s\" is %s", job_id, action, model->name, state);
		return keep ? insert_row(model, action, options, &own, extension, *skipped) : job_id;
	}
	job_id = insert_row(model, action, options, &own, extension, NULL);
	job_supersede(job_id);
	return job_id;
}

static int64
add_job(Model *model, const char *action, Jsonb *options, bool keep, char **skipped)
{
	JobLaunch	launch = {0};
	int64		job_id;

	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("cannot start a job during recovery"),
				 errhint("Train on the primary; its versions arrive here by replication.")));
	model_check_owner(model);
	check_owner_can_connect(model);

	launch.database = MyDatabaseId;
	launch.owner = model->owner_oid;
	launch.extension = get_extension_oid("dupn", false);
	launch.model_id = model->id;
	job_id = insert_job(model, action, options, launch.extension, 0, keep, skipped);
	remember(*skipped ? 0 : job_id, &launch);
	return job_id;
}

int64
job_enqueue(Model *model, const char *action, Jsonb *options)
{
	char	   *skipped;
	int64		job_id = add_job(model, action, options, false, &skipped);

	if (skipped)
		ereport(NOTICE,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("%s", skipped)));
	return job_id;
}

int64
job_request(Model *model, const char *action, Jsonb *options, char **skipped)
{
	return add_job(model, action, options, true, skipped);
}

int64
job_enqueue_next(const Job *job, const char *action, Jsonb *options)
{
	char	   *skipped;

	return insert_job(model_get_by_id(job->model_id, false), action, options, job_own_launch()->extension, job->id,
					  false, &skipped);
}
