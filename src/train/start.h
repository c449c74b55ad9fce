/*-------------------------------------------------------------------------
 *
 * start.h
 *	  Start values that are counted rather than drawn
 *
 *-------------------------------------------------------------------------
 */
#ifndef DUPN_START_H
#define DUPN_START_H

#include "train/train.h"

/* Item biases and repeat terms of next_item tasks, after nn_init. */
extern void start_values(const Dataset *data, const Moments *moments, const nn_config *config,
						 const nn_layout *layout, float *param);

/* start_memory.c: memory.lag of one task, when the others are there. */
extern void start_memory(const Dataset *data, const Moments *moments, const nn_layout *layout, int t,
						 float *param);

#endif							/* DUPN_START_H */
