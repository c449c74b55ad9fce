/*-------------------------------------------------------------------------
 *
 * drift.h
 *	  How far the rows that a version newly learned are from those before
 *
 *-------------------------------------------------------------------------
 */
#ifndef DUPN_DRIFT_H
#define DUPN_DRIFT_H

#include <math.h>

#include "train/trainer.h"

#define SKETCH_PARTS	64

/*
 * A column, the labels or the scores of a task, or a metric.  Values are told
 * apart by a hash of their cell, numbers by their size, so that sketches of
 * versions with different vocabularies and bands can be compared.
 */
typedef struct Sketch
{
	const char *group;			/* of the column; "label", "score", "metric" */
	const char *task;			/* "": of no task */
	const char *name;
	const Feature *feature;		/* or NULL */
	const Vocabulary *known;	/* of a night that of the version before, since it learns
								 * whatever comes */
	bool		number;
	int64		rows;
	int64		missing;		/* of the rows */
	int64		values;			/* a row may have several */
	int64		unknown;		/* of the values, -1: there are no ids to be known */
	int64		users;			/* who have values */
	int64		user;			/* the last of them */
	TimestampTz until;			/* of the latest row, DT_NOBEGIN: none */
	double		value;			/* rate, mean or metric; NAN: none */
	int64		part[SKETCH_PARTS]; /* values */
	/* against the version before; NAN: not known */
	double		psi;
	double		previous_missing;
	double		previous_unknown;
	double		previous_value;
	int64		previous_users;
} Sketch;

typedef struct Drift
{
	TimestampTz since;			/* rows after it; DT_NOBEGIN: those held out */
	int			n;
	int			capacity;
	Sketch	   *sketch;
	int32		previous;		/* 0: there is no version to compare with */
	bool		same_rows;		/* its rows, too, were held out, or new */
} Drift;

static inline double
sketch_missing(const Sketch *sketch)
{
	return sketch->rows > 0 ? (double) sketch->missing / sketch->rows : NAN;
}

static inline double
sketch_unknown(const Sketch *sketch)
{
	return sketch->values > 0 && sketch->unknown >= 0 ? (double) sketch->unknown / sketch->values : NAN;
}

/*
 * Add scores and metrics to what dataset_load has collected (drift_collect),
 * compare all with the version before, and say what moved beyond the limit.
 */
extern void drift_compare(Trainer *trainer, const Judged *judged, const Metrics *metrics);

/* Inside a transaction. */
extern void drift_store(const Trainer *trainer, int32 version);

#endif							/* DUPN_DRIFT_H */
