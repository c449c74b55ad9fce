/*-------------------------------------------------------------------------
 *
 * leak.h
 *	  Do samples see what came of them?
 *
 *-------------------------------------------------------------------------
 */
#ifndef DUPN_LEAK_H
#define DUPN_LEAK_H

#include "train/train.h"

#define LEAK_AGES	3

extern const int64 leak_age[LEAK_AGES]; /* microseconds */

/* Of negatives [0] and positives [1]: how many, and how many whose newest event
 * is younger than an age and about the candidate. */
typedef struct LeakCounts
{
	double		n[2];
	double		young[2][LEAK_AGES];
	bool		candidate;		/* else no event is about anything else */
} LeakCounts;

/* The warning that counts are worth, or NULL. */
extern char *leak_warning(const ModelTask *task, const LeakCounts *counts);

/* The warning that a feature alone is worth, by its AUC, or NULL. */
extern char *leak_feature_warning(const ModelTask *task, const char *feature, double auc);

/* The same looked for in the training samples of all tasks, as notes of the job. */
extern void leaks_note(const Dataset *data, const Moments *moments, const nn_config *config);

#endif							/* DUPN_LEAK_H */
