/*-------------------------------------------------------------------------
 *
 * baseline.h
 *	  Shared by baseline.c and baseline_binary.c
 *
 *-------------------------------------------------------------------------
 */
#ifndef DUPN_BASELINE_H
#define DUPN_BASELINE_H

#include "train/train.h"

/* A new, empty result of judged under a name. */
extern Results *add_results(Judged *judged, const char *source);

extern void binary_baselines(const Dataset *data, const Moments *moments, int task, Judged *judged);

#endif							/* DUPN_BASELINE_H */
