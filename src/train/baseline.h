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

extern void binary_baselines(const Dataset *data, const Moments *moments, int task, Judged *judged);

#endif							/* DUPN_BASELINE_H */
