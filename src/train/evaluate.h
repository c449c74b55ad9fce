/*-------------------------------------------------------------------------
 *
 * evaluate.h
 *	  The jobs that judge versions: shared by evaluate.c and compare.c
 *
 *-------------------------------------------------------------------------
 */
#ifndef DUPN_EVALUATE_H
#define DUPN_EVALUATE_H

#include "train/trainer.h"

/* What is judged: a version with the model as it was trained, or baselines alone. */
typedef struct Subject
{
	Model	   *model;			/* of the tasks that are judged */
	ModelImage *image;			/* NULL: no version */
	int32		version;		/* 0: none */
	TimestampTz trained;		/* it was trained on what lies before; DT_NOBEGIN: nothing */
	bool		last_event;		/* but for each user's last events, see "holdout" */
} Subject;

/*
 * Find a version (0: the published one) and what of the model's tasks it has,
 * with the relations that the options put in place of the model's.  hold: for
 * the job, else to be looked at.  Errors: whatever does not fit the version.
 * Inside a transaction.
 */
extern void subject_open(Subject *subject, int32 model_id, const EvaluateOptions *options, int32 version,
						 bool hold);

/* The same without a version. */
extern void subject_of_baselines(Subject *subject, int32 model_id, const EvaluateOptions *options);

/*
 * From when on a version, or two, are judged where nobody says: what is new to
 * them; DT_NOEND: each user's last event.  Error: nobody knows.
 */
extern TimestampTz subject_since(Subject *subject, Subject *other);

/* The samples since a moment, and who is to say what about them. */
extern Trainer *subject_load(Job *job, Subject *subject, const EvaluateOptions *options, TimestampTz since);
extern void subject_unload(Trainer *trainer);

/* Say which share of the samples was trained on. */
extern void subject_note_trained(const Subject *subject, const Trainer *trainer, const Judged *judged);

/* A row of _dupn.evaluation with its metrics; since DT_NOEND: as a training holds out. */
extern void evaluation_store(const Job *job, const Model *model, int32 version, int32 other,
							 TimestampTz since, TimestampTz until, const Metrics *metrics);

/* "since .. until .." for messages. */
extern char *evaluation_range(TimestampTz since, TimestampTz until);

extern void evaluation_check_range(const EvaluateOptions *options);

/* The options as a job reads them, whatever its search_path and time zone. */
extern Jsonb *evaluation_options(Jsonb *options, const EvaluateOptions *parsed, int32 version);

/* for actions.c */
extern Jsonb *evaluate_check(Model *model, Jsonb *options);
extern void evaluate_run(Job *job);
extern Jsonb *baselines_check(Model *model, Jsonb *options);
extern void baselines_run(Job *job);
extern Jsonb *compare_check(Model *model, Jsonb *options);
extern void compare_run(Job *job);

#endif							/* DUPN_EVALUATE_H */
