/*-------------------------------------------------------------------------
 *
 * report.h
 *	  Metrics as rows of _dupn, and those that sentences quote
 *
 *-------------------------------------------------------------------------
 */
#ifndef DUPN_REPORT_H
#define DUPN_REPORT_H

#include "train/train.h"

/* Of the training of a version, or (not 0) of the job that evaluated something.
 * Inside a transaction. */
extern void metrics_store(const Metrics *metrics, const Model *model, int32 version, int64 evaluation);

/*
 * A task's main metric of the scorer that came first, and of the source `other`,
 * or with NULL of the best of the simple baselines; NULL: none.
 */
extern void metrics_main(const Metrics *metrics, const Model *model, int t, const char *other,
						 const Metric **first, const Metric **best);

#endif							/* DUPN_REPORT_H */
