/*-------------------------------------------------------------------------
 *
 * transfer.h
 *	  What a training starts from, and which tasks learn
 *
 *-------------------------------------------------------------------------
 */
#ifndef DUPN_TRANSFER_H
#define DUPN_TRANSFER_H

#include "train/trainer.h"

typedef struct Transfer
{
	TrainMode	mode;
	const ModelImage *base;		/* NULL: it starts from nothing */
	const struct Night *night;	/* what came since it; NULL: it is no night's training */
	DataRange	range;			/* of the rows that are read */
	bool		learns[NN_MAX_TASKS];	/* tasks of the model as transfer_plan leaves it */
	const char *primary;		/* the task that decides whether the version serves; it may
								 * be one that the version does not have */
} Transfer;

/*
 * Read a training's options: apply those of the model, leave in it the tasks
 * that the new version will have, find the version it starts from and check
 * that it fits.  Inside a transaction.  The version is held in a memory context,
 * or, with NULL, good for this transaction.
 */
extern void transfer_plan(Transfer *transfer, Model *model, Jsonb *options, MemoryContext hold);

/* The same of a night: its options are not looked at but for those of the model. */
extern void transfer_plan_night(Transfer *transfer, Model *model, Jsonb *options, const struct Night *night,
								MemoryContext hold);

/* Freeze everything but the heads that learn; before the first step. */
extern void transfer_freeze(const Transfer *transfer, const nn_config *config, nn_layout *layout);

/* Fill in trainer->seen, and say so when that is what is held out now. */
extern void transfer_note(Trainer *trainer);

/*
 * Heads on a frozen representation: from heads_begin on the trainer knows the
 * moments of those tasks alone that learn, and trains on user vectors of the
 * version that are computed there.  heads_judge goes back to vectors as they are
 * made, heads_refit computes those of the hold-out.
 */
typedef struct Heads Heads;

extern Heads *heads_begin(Trainer *trainer, const Transfer *transfer);
extern void heads_judge(Heads *heads);
extern void heads_refit(Heads *heads);

/*
 * What the version's metrics say of the tasks whose answers are as they were,
 * for the new version.  Inside a transaction.
 */
extern void transfer_metrics(const Trainer *trainer, int32 version);

#endif							/* DUPN_TRANSFER_H */
