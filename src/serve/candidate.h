/*-------------------------------------------------------------------------
 *
 * candidate.h
 *	  What the network takes of an item that is known by a row or by its key
 *
 *-------------------------------------------------------------------------
 */
#ifndef DUPN_CANDIDATE_H
#define DUPN_CANDIDATE_H

#include "serve/session.h"

/* Item features, and behind them things: places as in nn_task.candidate. */
#define CANDIDATE_FEATURES	(2 * NN_MAX_FEATURES)

/* Ids of a candidate, as the network takes them. */
typedef struct Candidate
{
	nn_ids		ids[CANDIDATE_FEATURES];	/* per item feature; only the wanted ones are set */
	int32		id[CANDIDATE_FEATURES][NN_MAX_BAG];
	int64		offsets[CANDIDATE_FEATURES][2];
} Candidate;

/*
 * n features (feature NULL: all of items) from the row, and what it lacks of an
 * item from the catalogue by the item's key, else missing.
 */
extern void candidate_from_row(const ModelImage *image, RowReader *rows, const Datum *values,
							   const bool *isnull, int n, const int *feature, Candidate *candidate);

/* The same of an item known by its key; item: its place in the catalogue, or -1. */
extern void candidate_from_key(const ModelImage *image, Cell key, int32 item, int n, const int *feature,
							   Candidate *candidate);

#endif							/* DUPN_CANDIDATE_H */
