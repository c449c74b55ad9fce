/*-------------------------------------------------------------------------
 *
 * night.h
 *	  A version goes on with what came since
 *
 *-------------------------------------------------------------------------
 */
#ifndef DUPN_NIGHT_H
#define DUPN_NIGHT_H

#include "train/transfer.h"

/* What came after a version; see night_look. */
typedef struct Night
{
	int32		version;		/* that it goes on from */
	int			nights;			/* since the last full training, this one included */
	DataRange	range;
	int64		events;			/* new rows */
	int64		samples;		/* the same of tasks' relations */
	char	   *recent;			/* what the next night tells late rows by: see night_recent */
} Night;

/* ---------------- night.c: the job ---------------- */

extern Jsonb *finetune_check(Model *model, Jsonb *options);
extern void finetune_run(Job *job);

/* ---------------- night_look.c: what has come ---------------- */

/*
 * Fill in range, events, samples and recent, and note the rows that came late.  range.since: until when the
 * version was trained; known: its `recent`, or NULL.  Nothing new: range.until
 * is not after it.  Inside job_begin.
 */
extern void night_look(Night *night, const Model *model, const char *known);

/*
 * Until when rows are trained on, of those after a moment: the newest, less
 * "lateness"; DT_NOBEGIN: there is none.  Inside job_begin.
 */
extern TimestampTz night_end(const Model *model, TimestampTz since);

/*
 * Rows of the events and of tasks' samples of the days before a moment, as JSON
 * {relation: rows}.  Inside job_begin.
 */
extern char *night_recent(const Model *model, TimestampTz until);

/* ---------------- night_rows.c: rows of the embeddings ---------------- */

/* Rows of new ids become that of "unknown", as which they were read until now. */
extern void night_rows_start(Trainer *trainer);

/* Tell them apart, forget the optimizer's state of them, and freeze the rows that
 * the night has not seen. */
extern void night_rows_free(Trainer *trainer);

#endif							/* DUPN_NIGHT_H */
