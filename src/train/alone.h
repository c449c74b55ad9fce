/*-------------------------------------------------------------------------
 *
 * alone.h
 *	  Is a task worse together with the others than alone?
 *
 *-------------------------------------------------------------------------
 */
#ifndef DUPN_ALONE_H
#define DUPN_ALONE_H

#include "train/transfer.h"

/* By the option "compare_alone"; a note says why not, where it makes no sense. */
extern bool alone_wanted(const Trainer *trainer);

/*
 * Train each task alone, before the training of all of them, whose data and
 * moments are there.  Per task, its results on the reported samples as a scorer
 * SOURCE_ALONE.
 */
extern Judged *alone_train(const Trainer *together);

/* Say which tasks are worse together. */
extern void alone_note(const Trainer *together, const Metrics *metrics);

#endif							/* DUPN_ALONE_H */
