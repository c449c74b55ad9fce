/*-------------------------------------------------------------------------
 *
 * compare.h
 *	  Two versions on the same samples, each loaded by itself
 *
 *-------------------------------------------------------------------------
 */
#ifndef DUPN_COMPARE_H
#define DUPN_COMPARE_H

#include "train/evaluate.h"

/* What says which sample of a task is which, whoever judges it. */
typedef struct SampleKey
{
	Cell		user;
	TimestampTz time;
	Cell		item;			/* target or candidate; CELL_NULL: none, or the version does not know it */
} SampleKey;

/* What one version has judged; without its data set from answers_keep on. */
typedef struct Answers
{
	const char *source;
	int			n_tasks;
	char	  **task;
	Judged	   *judged;
	SampleKey  *key[NN_MAX_TASKS];
} Answers;

/* Keep of a task what is gone with the data set. */
extern void answers_keep(const Trainer *trainer, int t, Answers *answers);

/* Load the samples since a moment and let the version answer; begin: in job_progress. */
extern Answers *answers_ask(Job *job, Subject *subject, const EvaluateOptions *options, TimestampTz since,
							const char *source, double begin);

/*
 * Cut the samples of task t of `one` down to those that both have judged, and
 * add metrics with the difference.  Returns how many samples are left out, or
 * -1 with the reason why the task is not compared.
 */
extern int64 answers_compare(const ModelTask *task, uint64 seed, Answers *one, int t, const Answers *two,
							 Metrics *metrics, const char **reason);

#endif							/* DUPN_COMPARE_H */
