/*-------------------------------------------------------------------------
 *
 * team.h
 *	  Several processes that do one job together
 *
 * The worker of a job is the leader of its team; the members are background
 * workers that it starts.  All of them run as the model's owner in the job's
 * database and share memory.  Members look to the leader, and the leader looks
 * to the world: it alone reports, and gives way to DROP DATABASE and the like;
 * whatever ends it ends its members.  An error of a member is raised in the
 * leader, with its message; nobody waits for a member that is gone.
 *
 * In a member job_check, job_should_stop, job_begin and job_commit work as in
 * the leader; job_progress and job_note are the leader's alone.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DUPN_TEAM_H
#define DUPN_TEAM_H

#include "train/train.h"

#include "utils/dsa.h"

#define TEAM_MOST	16			/* processes */

typedef struct Team Team;

/* Shared memory that can grow; itself in shared memory, zero at first. */
typedef struct TeamBlock
{
	dsa_pointer at;
	Size		size;
} TeamBlock;

/* ---------------- the leader ---------------- */

/*
 * A team of at most `workers` processes, the caller among them, for a role
 * that team.c names.  bytes + workers * per_worker bytes of shared memory,
 * zeroed, are the team's.  With too few slots for background workers or too
 * little shared memory it is smaller, and a note of the job says why; NULL:
 * the caller is alone.  Not in a transaction.
 */
extern Team *team_start(const Job *job, const char *role, int workers, Size bytes, Size per_worker);

/* The memory is laid out: let the members run their role. */
extern void team_begin(Team *team);

/* Wait for the members to return from their role, and free all. */
extern void team_end(Team *team);

/* Reserve size bytes for a block; its contents are lost if it has to grow. */
extern void team_reserve(Team *team, TeamBlock *block, Size size);

/* ---------------- all of them ---------------- */

extern int	team_size(const Team *team);
extern int	team_rank(const Team *team);	/* the leader's is 0 */
extern void *team_memory(const Team *team); /* aligned to NN_ALIGN */
extern void *team_address(const Team *team, const TeamBlock *block);

/* Wait until all of the team are here.  Not in a transaction. */
extern void team_barrier(Team *team);

/* ---------------- job.c ---------------- */

/* Raise what happened in the others: an error of a member, or the leader's stop. */
extern void team_look(void);

/* After an error of the leader: stop the members and wait until they are gone. */
extern void team_abandon(void);

#endif							/* DUPN_TEAM_H */
