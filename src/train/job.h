/*-------------------------------------------------------------------------
 *
 * job.h
 *	  Between those who ask for jobs and the processes that do them
 *
 * A job is a row of _dupn.job.  A model's jobs are done one after another, the
 * oldest first, by one background worker that lives until none is left that is
 * due.
 *
 * Five kinds of advisory lock, of this database and extension, keep order;
 * pg_locks shows them with classid = the extension's OID and
 *
 *	objsubid	objid		held
 *	25717		job			exclusively by the process that does the job: the sign
 *							of life of a row in state "running"
 *	25718		model		exclusively by the model's worker, all its life
 *	25719		model		the model's queue: exclusively while a worker takes the
 *							next job or finds none and goes, so that nobody who
 *							holds it in share mode relies on a worker that is gone
 *	25720		job			exclusively by the process that takes the next users of a refresh
 *	25721		model		exclusively by a transaction that adds a job only if none like it
 *							is there, so that of two of them one finds the other's
 *
 * The second is only tried, the others are waited for.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DUPN_JOB_H
#define DUPN_JOB_H

#include "train/train.h"

#include "postmaster/bgworker.h"
#include "storage/lock.h"

/* What a worker is told; copied through bgw_extra. */
typedef struct JobLaunch
{
	Oid			database;
	Oid			owner;
	Oid			extension;
	int32		model_id;
	TransactionId xid;			/* to wait for, or invalid */
} JobLaunch;

typedef enum JobLock
{
	JOB_LOCK = 25717,
	MODEL_LOCK,
	QUEUE_LOCK,
	CURSOR_LOCK,
	ASK_LOCK
} JobLock;

/* ---------------- actions.c ---------------- */

typedef struct JobAction
{
	const char *name;

	/* Check a job to be, as one who owns the model: its options as they are stored. */
	Jsonb	   *(*check) (Model *model, Jsonb *options);
	void		(*run) (Job *job);

	/* Defaults of the options "when_running": "skip" and "retries". */
	bool		skip;
	int			retries;
} JobAction;

/* By name; an unknown one is an error. */
extern const JobAction *job_action(const char *name);

/* ---------------- enqueue.c ---------------- */

extern void job_locktag(LOCKTAG *tag, Oid extension, JobLock lock, int64 id);

/* A worker of this library that nobody has registered yet; its name is the caller's to give. */
extern void job_worker(BackgroundWorker *worker, const char *type, const char *function,
					   const void *extra, Size size);

/* false: all slots for background workers are taken */
extern bool job_launch(const JobLaunch *launch);

/* Does a process hold a lock exclusively: is a job alive, has a model a worker? */
extern bool job_lock_taken(Oid extension, JobLock lock, int64 id);

/*
 * Add a job to the model's queue; its worker starts when the transaction
 * commits.  Errors: recovery, no task, options, an owner who cannot log in.
 * Where one like it is to be skipped for: that one, with a notice.
 */
extern int64 job_enqueue(Model *model, const char *action, Jsonb *options);

/*
 * The same for who waits.  skipped is NULL, or says why nothing is to be done,
 * as the job's row does, whose state is "skipped" then.
 */
extern int64 job_request(Model *model, const char *action, Jsonb *options, char **skipped);

/*
 * Add a job behind the one that this process does, for the same model: the same
 * worker takes it.  Where one like it waits already: that one.  Inside a
 * transaction.
 */
extern int64 job_enqueue_next(const Job *job, const char *action, Jsonb *options);

/* Did this transaction enqueue it? */
extern bool job_enqueued_here(int64 job_id);

/* ---------------- job.c ---------------- */

/*
 * The start of a process that does a job or a part of one: connects as the
 * model's owner, with cancellation held off.  False: it is not wanted.
 */
extern bool job_connect(const JobLaunch *launch);

/* What this process was told. */
extern const JobLaunch *job_own_launch(void);

/* Sleep until the latch is set, or for a while; then job_check.  Not in a transaction. */
extern void job_nap(long milliseconds);

/* So many processes do the job, as its row shows.  Not in a transaction. */
extern void job_workers(int n);

/* This process does a part of a job as a member of its team. */
extern void job_join(const Job *job);

/* ---------------- retry.c ---------------- */

/* May a job that ended with this error succeed as it is, another time? */
extern bool job_worth_again(int sqlstate);

/*
 * Add a further attempt of a job that has failed, if it has one left: what its
 * row says now, else NULL.
 */
extern char *job_due_again(int64 job_id);

/* Cancel waiting attempts of what a new job is to do. */
extern void job_supersede(int64 job_id);

/* Start workers of models whose further attempts are due, or whose jobs a crash left without one; but of one model. */
extern void job_start_due(Oid extension, int32 except);

/* ---------------- queue.c ---------------- */

typedef struct JobRow
{
	int64		id;
	int32		model_id;
	char	   *owner;
	char	   *state;
	char	   *message;		/* or NULL */
	int			pid;			/* 0: none */
	TimestampTz due;			/* not to be started before; DT_NOBEGIN: at once */
	int64		running;		/* a running job of the same model, 0: none */
} JobRow;

/* As committed now; error when there is none or it is not the caller's. */
extern void job_look(int64 job_id, JobRow *row);

/* Has a process taken the job and not ended? */
extern bool job_alive(Oid extension, int64 job_id);

/*
 * Mark a running job without a process as failed, and unless it is not wanted
 * any more, have it due again; true if it was one.
 */
extern bool job_bury(Oid extension, int64 job_id, bool wanted);

/*
 * Bury what died, end what another installation left (a restored dump), remove
 * half-built versions and old rows.  Transactions of its own.
 */
extern void job_sweep(Oid extension);

/*
 * Wait until a job ends or the deadline (DT_NOEND: none) passes: its row as it
 * is then.  between: commit (SPI_commit) before each wait, so that no snapshot
 * is held.
 */
extern void job_wait(int64 job_id, TimestampTz deadline, bool between, JobRow *row);

/* true if it was waiting or running */
extern bool job_cancel(int64 job_id);

#endif							/* DUPN_JOB_H */
