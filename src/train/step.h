/*-------------------------------------------------------------------------
 *
 * step.h
 *	  Steps of a training, by one process or by a team
 *
 * A team computes a step while its leader builds the next batch, so a step is
 * complete one call later than with one process; the weights after it are the
 * same but for the order of sums, which depends on the size of the team alone.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DUPN_STEP_H
#define DUPN_STEP_H

#include "train/team.h"
#include "train/train.h"

typedef struct StepShared StepShared;	/* what a team shares */

/* Told how many bytes are about to be taken. */
typedef void (*StepsReserve) (void *arg, size_t size);

/* The parameters and all that moves them. */
typedef struct Steps
{
	MemoryContext context;
	StepsReserve reserve;		/* or NULL */
	void	   *reserve_arg;
	const nn_config *config;	/* whose tasks' weights are those of the loss; the
								 * leader's may change between steps */
	const nn_layout *layout;
	float	   *param;
	nn_optimizer optimizer;
	nn_dropout	dropout;		/* rates */
	nn_arena	arena;			/* of one step; grows */
	nn_grad    *grad;			/* of each process */
	uint8	   *trained[2];		/* [tables]: was row 0, row 1 ever touched? */

	int			workers;
	Team	   *team;			/* NULL: one process */
	StepShared *shared;
	nn_part		part;
	nn_config  *share_config;	/* weights of the loss of a share */
	uint64		round;			/* of the team */
	bool		pending;		/* a batch is handed out but not complete */
} Steps;

/* What came of a batch. */
typedef struct StepResult
{
	int64		events;
	double		loss[NN_MAX_TASKS]; /* mean over samples */
	int			samples[NN_MAX_TASKS];
	double		weight[NN_MAX_TASKS];	/* sum of the samples' weights */
} StepResult;

/*
 * The parameters are not yet set, and the optimizer's m and v are made here: of
 * zeros, and until the first step they and the number of steps may be set, too.
 * A team of as many workers as can be had is started, see team.h.
 */
extern Steps *steps_make(const Job *job, const nn_config *config, const nn_layout *layout,
						 const nn_optimizer *optimizer, const nn_dropout *dropout, int workers,
						 StepsReserve reserve, void *reserve_arg, MemoryContext context);

/* The same for steps_forward alone: no optimizer, no gradient, no team. */
extern Steps *steps_judging(const nn_config *config, const nn_layout *layout, StepsReserve reserve,
							void *reserve_arg, MemoryContext context);

/*
 * Train on a batch, or take its loss alone; true: *result is of a batch that is
 * complete now.  Errors: cancelled, out_of_memory, data_exception when a loss
 * is not finite.
 */
extern bool steps_train(Steps *steps, const nn_batch *batch, uint64 seed, StepResult *result);
extern bool steps_judge(Steps *steps, const nn_batch *batch, StepResult *result);

/* Complete the last batch; false: there is none.  Before param is looked at. */
extern bool steps_complete(Steps *steps, StepResult *result);

/* Forward by this process alone, for what is in acts; nothing is pending. */
extern void steps_forward(Steps *steps, const nn_batch *batch, nn_acts *acts, StepResult *result);

/* Rows of a table that no step of any process moves from now on. */
extern void steps_freeze(Steps *steps, int table, const int32 *row, int64 n);

/* No more steps: the team goes, the parameters stay, and if asked what the
 * optimizer remembers. */
extern void steps_end(Steps *steps, bool optimizer);

/* team.c: the role of members */
extern void steps_member(Team *team, const Job *job);

#endif							/* DUPN_STEP_H */
