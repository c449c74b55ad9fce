/*-------------------------------------------------------------------------
 *
 * team.c
 *	  Several processes that do one job together
 *
 * A segment of dynamic shared memory holds what the processes know of each
 * other, and behind it an area that grows by further segments.  The segment is
 * there until its leader detaches, which stops the members, be it by the end
 * of the team, by an error or because the process exits.  A member that
 * detaches without having ended its role fails the job.
 *
 * Members are interrupted by SIGINT, so that SQL they wait for ends as well.
 *
 *-------------------------------------------------------------------------
 */
#include "train/team.h"

#include "access/xact.h"
#include "nn/arena.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "train/job.h"
#include "train/refresh.h"
#include "train/step.h"
#include "utils/memutils.h"
#include "utils/ps_status.h"

#define LOOK_MS			250
#define FIRST_AREA		(64 * 1024)	/* bytes of the area in the first segment */
#define MESSAGE_BYTES	1024

PGDLLEXPORT void dupn_member_main(Datum arg);

/* What members run. */
typedef struct Role
{
	const char *name;
	void		(*run) (Team *team, const Job *job);
} Role;

static const Role roles[] = {
	{"refresh", refresh_part},
	{"train", steps_member},
	{NULL, NULL}
};

/* What a member is told; copied through bgw_extra. */
typedef struct MemberLaunch
{
	JobLaunch	job;
	dsm_handle	segment;
	int			place;
} MemberLaunch;

StaticAssertDecl(sizeof(MemberLaunch) <= BGW_EXTRALEN, "what a member is told must fit");

typedef enum MemberState
{
	MEMBER_STARTS,
	MEMBER_HERE,
	MEMBER_DONE,
	MEMBER_GONE					/* without having ended its role */
} MemberState;

typedef enum ErrorState
{
	NO_ERROR,
	ERROR_CLAIMED,				/* by the first that fails, which fills it in */
	ERROR_TOLD
} ErrorState;

typedef struct TeamMember
{
	pg_atomic_uint32 state;
	int			rank;			/* -1: not needed */
	PGPROC	   *proc;
} TeamMember;

typedef struct TeamShared
{
	char		version[32];	/* of the library */
	char		role[NAMEDATALEN];
	char		action[NAMEDATALEN];
	int64		job_id;
	PGPROC	   *leader;
	int			n;				/* in the team, once it has begun */
	dsa_pointer memory;
	pg_atomic_uint32 begun;
	pg_atomic_uint32 stopped;

	/* barrier: how many have come to the round that is not complete */
	pg_atomic_uint32 arrived;
	pg_atomic_uint32 round;

	/* the first error of a member */
	pg_atomic_uint32 error;
	int			sqlstate;
	char		message[MESSAGE_BYTES];
	char		hint[MESSAGE_BYTES];

	TeamMember	member[TEAM_MOST - 1];
} TeamShared;

struct Team
{
	MemoryContext context;
	dsm_segment *segment;
	TeamShared *shared;
	dsa_area   *area;
	char	   *memory;
	int			rank;
	int			n;				/* of the team */
	int			n_started;		/* leader: members that were registered */
	BackgroundWorkerHandle *handle[TEAM_MOST - 1];
	ErrorData  *shortage;		/* leader: of shared memory */
};

static Team *my_team = NULL;	/* of this process */

/* ---------------- shared memory ---------------- */

static void
leader_leaves(dsm_segment *segment, Datum arg)
{
	Team	   *team = (Team *) DatumGetPointer(arg);

	pg_atomic_fetch_add_u32(&team->shared->stopped, 1);
	for (int i = 0; i < team->n_started; i++)
	{
		pid_t		pid;

		switch (GetBackgroundWorkerPid(team->handle[i], &pid))
		{
			case BGWH_STARTED:
				kill(pid, SIGINT);
				break;
			case BGWH_NOT_YET_STARTED:
				TerminateBackgroundWorker(team->handle[i]);
				break;
			default:
				break;
		}
	}
}

static void
create_segment(Team *team, Size size, dsa_pointer *at)
{
	TeamShared *shared;

	team->segment = dsm_create(MAXALIGN(sizeof(TeamShared)) + size, 0);
	dsm_pin_mapping(team->segment);
	shared = dsm_segment_address(team->segment);
	memset(shared, 0, sizeof(TeamShared));

	/* an id of our own would be lost to the server with every job */
	team->area = dsa_create_in_place((char *) shared + MAXALIGN(sizeof(TeamShared)), size,
									 LWTRANCHE_PARALLEL_QUERY_DSA, team->segment);
	dsa_pin_mapping(team->area);
	team->shared = shared;
}

static void
allocate(Team *team, Size size, dsa_pointer *at)
{
	*at = dsa_allocate_extended(team->area, add_size(size, NN_ALIGN), DSA_ALLOC_HUGE | DSA_ALLOC_ZERO);
}

/*
 * Take shared memory, in a transaction, whose abort gives back what an error
 * leaves.  False: there is not enough, and team->shortage says of what.
 */
static bool
take(Team *team, void (*how) (Team *, Size, dsa_pointer *), Size size, dsa_pointer *at)
{
	MemoryContext caller = CurrentMemoryContext;
	volatile bool enough = true;

	state_transaction();
	PG_TRY();
	{
		MemoryContextSwitchTo(team->context);
		how(team, size, at);
		CommitTransactionCommand();
	}
	PG_CATCH();
	{
		if (ERRCODE_TO_CATEGORY(geterrcode()) != ERRCODE_INSUFFICIENT_RESOURCES)
			PG_RE_THROW();
		MemoryContextSwitchTo(team->context);
		team->shortage = CopyErrorData();
		FlushErrorState();
		AbortCurrentTransaction();
		enough = false;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	return enough;
}

static void *
address(const Team *team, dsa_pointer at)
{
	return (void *) TYPEALIGN(NN_ALIGN, dsa_get_address(team->area, at));
}

void
team_reserve(Team *team, TeamBlock *block, Size size)
{
	if (size <= block->size)
		return;
	if (block->size > 0)
		dsa_free(team->area, block->at);
	block->size = 0;
	size += size / 4;
	if (!take(team, allocate, size, &block->at))
		ereport(ERROR,
				(errcode(team->shortage->sqlerrcode),
				 errmsg("%s", team->shortage->message),
				 errhint("Give the server more shared memory (in Docker: --shm-size), or the job fewer \"workers\".")));
	block->size = size;
}

void *
team_address(const Team *team, const TeamBlock *block)
{
	return address(team, block->at);
}

/* ---------------- what happened in the others ---------------- */

static bool
stopped(const Team *team)
{
	return pg_atomic_read_u32(&team->shared->stopped) != 0;
}

void
team_look(void)
{
	TeamShared *shared;

	if (my_team == NULL)
		return;
	shared = my_team->shared;
	if (my_team->rank > 0)
	{
		if (stopped(my_team))
			ereport(ERROR,
					(errcode(ERRCODE_QUERY_CANCELED),
					 errmsg("the job of which this process does a part has ended")));
		return;
	}
	if (pg_atomic_read_u32(&shared->error) != NO_ERROR)
	{
		if (pg_atomic_read_u32(&shared->error) != ERROR_TOLD)
			return;
		pg_read_barrier();
		ereport(ERROR,
				(errcode(shared->sqlstate),
				 errmsg("%s", shared->message),
				 shared->hint[0] != '\0' ? errhint("%s", shared->hint) : 0));
	}
	for (int i = 0; i < my_team->n_started; i++)
		if (shared->member[i].rank > 0 && pg_atomic_read_u32(&shared->member[i].state) == MEMBER_GONE)
			ereport(ERROR,
					(errcode(ERRCODE_ADMIN_SHUTDOWN),
					 errmsg("a background worker that did a part of the job was ended")));
}

/* Set the latches of all others. */
static void
wake(const Team *team)
{
	TeamShared *shared = team->shared;

	if (team->rank > 0)
		SetLatch(&shared->leader->procLatch);
	for (int i = 0; i < TEAM_MOST - 1; i++)
		if (shared->member[i].rank > 0 && shared->member[i].rank != team->rank)
			SetLatch(&shared->member[i].proc->procLatch);
}

void
team_barrier(Team *team)
{
	TeamShared *shared = team->shared;
	uint32		round = pg_atomic_read_u32(&shared->round);

	if (pg_atomic_add_fetch_u32(&shared->arrived, 1) == (uint32) team->n)
	{
		pg_atomic_write_u32(&shared->arrived, 0);
		pg_atomic_fetch_add_u32(&shared->round, 1);
		wake(team);
		return;
	}
	while (pg_atomic_read_u32(&shared->round) == round)
	{
		team_look();
		job_nap(LOOK_MS);
	}
	pg_memory_barrier();
}

int
team_size(const Team *team)
{
	return team->n;
}

int
team_rank(const Team *team)
{
	return team->rank;
}

void *
team_memory(const Team *team)
{
	return team->memory;
}

/* ---------------- the leader ---------------- */

static bool
start_member(Team *team)
{
	MemoryContext caller = MemoryContextSwitchTo(team->context);	/* for the handle */
	MemberLaunch launch = {.job = *job_own_launch(), .segment = dsm_segment_handle(team->segment),
	.place = team->n_started};
	BackgroundWorker worker;
	bool		free;

	launch.job.xid = InvalidTransactionId;
	job_worker(&worker, "dupn job member", "dupn_member_main", &launch, sizeof(launch));
	snprintf(worker.bgw_name, BGW_MAXLEN, "dupn job of model %d, member %d", launch.job.model_id, launch.place + 1);
	worker.bgw_notify_pid = MyProcPid;
	free = RegisterDynamicBackgroundWorker(&worker, &team->handle[team->n_started]);
	MemoryContextSwitchTo(caller);
	if (free)
		team->n_started++;
	return free;
}

/* Wait until each member has come, or gone before that; how many have come. */
static int
wait_for_members(Team *team)
{
	for (;;)
	{
		int			here = 0;
		int			coming = 0;

		for (int i = 0; i < team->n_started; i++)
		{
			pid_t		pid;

			/* in this order: it may come and go between the two */
			if (GetBackgroundWorkerPid(team->handle[i], &pid) == BGWH_STOPPED)
				continue;
			if (pg_atomic_read_u32(&team->shared->member[i].state) == MEMBER_HERE)
				here++;
			else
				coming++;
		}
		if (coming == 0)
			return here;
		job_nap(LOOK_MS);
	}
}

static void
free_team(Team *team)
{
	for (int i = 0; i < team->n_started; i++)
		(void) WaitForBackgroundWorkerShutdown(team->handle[i]);
	my_team = NULL;
	MemoryContextDelete(team->context);
}

void
team_abandon(void)
{
	Team	   *team = my_team;

	if (team == NULL)
		return;
	if (team->segment != NULL)
	{
		dsm_segment *segment = team->segment;

		team->segment = NULL;
		dsa_detach(team->area);
		dsm_detach(segment);
	}
	free_team(team);
}

static void
note_shortage(const Team *team, int workers, int n)
{
	job_note("%d of %d workers: shared memory is short (%s); give the server more (in Docker: --shm-size), or the job fewer \"workers\"",
			 n, workers, team->shortage->message);
}

Team *
team_start(const Job *job, const char *role, int workers, Size bytes, Size per_worker)
{
	MemoryContext context;
	Team	   *team;
	dsa_pointer at = InvalidDsaPointer;
	int			here;
	int			rank = 0;

	Assert(my_team == NULL);
	workers = Min(workers, TEAM_MOST);
	if (workers < 2)
		return NULL;
	context = AllocSetContextCreate(job->context, "dupn team", ALLOCSET_SMALL_SIZES);
	team = MemoryContextAllocZero(context, sizeof(Team));
	team->context = context;
	if (!take(team, create_segment, FIRST_AREA, NULL))
	{
		note_shortage(team, workers, 1);
		MemoryContextDelete(context);
		return NULL;
	}
	strlcpy(team->shared->version, DUPN_VERSION, sizeof(team->shared->version));
	strlcpy(team->shared->role, role, sizeof(team->shared->role));
	strlcpy(team->shared->action, job->action, sizeof(team->shared->action));
	team->shared->job_id = job->id;
	team->shared->leader = MyProc;
	on_dsm_detach(team->segment, leader_leaves, PointerGetDatum(team));
	my_team = team;

	while (team->n_started < workers - 1 && start_member(team))
		;
	here = wait_for_members(team);
	if (here < workers - 1)
		job_note("%d of %d workers: no more background workers could be started; \"max_worker_processes\" is %d, and column backend_type of pg_stat_activity tells what runs",
				 here + 1, workers, max_worker_processes);

	team->n = here + 1;
	while (team->n > 1 && !take(team, allocate, add_size(bytes, mul_size(per_worker, team->n)), &at))
		team->n--;
	if (team->n < here + 1)
		note_shortage(team, workers, team->n);

	/* who is gone since is not waited for */
	for (int i = 0; i < team->n_started; i++)
	{
		TeamMember *member = &team->shared->member[i];

		member->rank = -1;
		if (rank + 1 < team->n && pg_atomic_read_u32(&member->state) == MEMBER_HERE)
			member->rank = ++rank;
	}
	team->n = rank + 1;
	if (team->n == 1)
	{
		team_abandon();
		return NULL;
	}

	job_workers(team->n);
	team->shared->n = team->n;
	team->shared->memory = at;
	team->memory = address(team, at);
	return team;
}

void
team_begin(Team *team)
{
	pg_atomic_fetch_add_u32(&team->shared->begun, 1);
	for (int i = 0; i < team->n_started; i++)
		if (team->shared->member[i].proc != NULL)
			SetLatch(&team->shared->member[i].proc->procLatch);
}

void
team_end(Team *team)
{
	for (int i = 0; i < team->n_started; i++)
		while (team->shared->member[i].rank > 0 &&
			   pg_atomic_read_u32(&team->shared->member[i].state) != MEMBER_DONE)
		{
			team_look();
			job_nap(LOOK_MS);
		}
	team_abandon();
}

/* ---------------- a member ---------------- */

static void
member_leaves(dsm_segment *segment, Datum arg)
{
	TeamShared *shared = dsm_segment_address(segment);
	uint32		starts = MEMBER_STARTS;
	uint32		here = MEMBER_HERE;
	TeamMember *member = &shared->member[DatumGetInt32(arg)];

	if (!pg_atomic_compare_exchange_u32(&member->state, &starts, MEMBER_GONE))
		pg_atomic_compare_exchange_u32(&member->state, &here, MEMBER_GONE);
	SetLatch(&shared->leader->procLatch);
}

/* Tell the leader, unless it is the one who ended us or another error was first. */
static void
tell_error(Team *team, const ErrorData *error)
{
	TeamShared *shared = team->shared;
	uint32		none = NO_ERROR;

	if (stopped(team) || !pg_atomic_compare_exchange_u32(&shared->error, &none, ERROR_CLAIMED))
		return;
	shared->sqlstate = error->sqlerrcode;
	strlcpy(shared->message, error->message ? error->message : "an unknown error", MESSAGE_BYTES);
	strlcpy(shared->hint, error->hint ? error->hint : "", MESSAGE_BYTES);
	pg_write_barrier();
	pg_atomic_fetch_add_u32(&shared->error, ERROR_TOLD - ERROR_CLAIMED);
}

/* Cancellation is held off by the caller. */
static void
do_part(Team *team, const Job *job, TeamMember *member)
{
	PG_TRY();
	{
		RESUME_CANCEL_INTERRUPTS();
		while (pg_atomic_read_u32(&team->shared->begun) == 0)
		{
			team_look();
			job_nap(LOOK_MS);
		}
		pg_memory_barrier();
		team->n = team->shared->n;
		team->rank = member->rank;
		if (team->rank > 0)
		{
			const Role *role = roles;

			while (role->name != NULL && strcmp(role->name, team->shared->role) != 0)
				role++;
			if (role->name == NULL)
				elog(ERROR, "unknown role \"%s\" in a team", team->shared->role);
			team->memory = address(team, team->shared->memory);
			role->run(team, job);
		}
		HOLD_CANCEL_INTERRUPTS();
		pg_atomic_write_u32(&member->state, MEMBER_DONE);
	}
	PG_CATCH();
	{
		HOLD_CANCEL_INTERRUPTS();	/* an error sets the count to zero */
		MemoryContextSwitchTo(job->context);
		tell_error(team, CopyErrorData());
		FlushErrorState();
		AbortOutOfAnyTransaction();
	}
	PG_END_TRY();
}

void
dupn_member_main(Datum arg)
{
	MemberLaunch launch;
	Team		team = {.rank = 1};
	Job			job = {0};
	TeamMember *member;

	memcpy(&launch, MyBgworkerEntry->bgw_extra, sizeof(launch));
	if (!job_connect(&launch.job) || (team.segment = dsm_attach(launch.segment)) == NULL)
		return;
	team.shared = dsm_segment_address(team.segment);
	member = &team.shared->member[launch.place];
	on_dsm_detach(team.segment, member_leaves, Int32GetDatum(launch.place));
	if (strcmp(team.shared->version, DUPN_VERSION) != 0)
		return;

	job.id = team.shared->job_id;
	job.model_id = launch.job.model_id;
	job.action = pstrdup(team.shared->action);
	job.context = AllocSetContextCreate(TopMemoryContext, "dupn job", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(job.context);
	team.context = TopMemoryContext;
	team.area = dsa_attach_in_place((char *) team.shared + MAXALIGN(sizeof(TeamShared)), team.segment);
	dsa_pin_mapping(team.area);
	my_team = &team;
	job_join(&job);

	member->proc = MyProc;
	pg_memory_barrier();
	pg_atomic_write_u32(&member->state, MEMBER_HERE);
	SetLatch(&team.shared->leader->procLatch);
	do_part(&team, &job, member);
	pgstat_report_stat(true);
}
