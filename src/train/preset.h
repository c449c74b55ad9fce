/*-------------------------------------------------------------------------
 *
 * preset.h
 *	  Embeddings that a user already has: where training starts from
 *
 *-------------------------------------------------------------------------
 */
#ifndef DUPN_PRESET_H
#define DUPN_PRESET_H

#include "train/step.h"

typedef struct Presets Presets;

/*
 * Read the vectors of the option "embeddings", as the model's owner, and set the
 * widths of their columns: after the vocabularies are known, before the network
 * is made.  Manages transactions.  Errors name the relation and the key.
 */
extern Presets *presets_read(Dataset *data);

/* Put them into the parameters, unless a version did; freeze what is to stay. */
extern void presets_apply(const Presets *presets, const Dataset *data, Steps *steps);

extern void presets_free(Presets *presets);

#endif							/* DUPN_PRESET_H */
