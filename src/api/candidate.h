/*-------------------------------------------------------------------------
 *
 * candidate.h
 *	  An item that a call names by a row or by its key
 *
 *-------------------------------------------------------------------------
 */
#ifndef DUPN_CANDIDATE_H
#define DUPN_CANDIDATE_H

#include "api/served.h"

#include "executor/executor.h"

/* Item features, and behind them things: places as in nn_task.candidate. */
#define CANDIDATE_FEATURES	(2 * NN_MAX_FEATURES)

/* Ids of a candidate, as the network takes them. */
typedef struct Candidate
{
	nn_ids		ids[CANDIDATE_FEATURES];	/* per item feature; only the wanted ones are set */
	int32		id[CANDIDATE_FEATURES][NN_MAX_BAG];
	int64		offsets[CANDIDATE_FEATURES][2];
} Candidate;

/* Reads composite values of one type after another. */
typedef struct RecordReader
{
	Oid			type;
	int32		typmod;
	TupleDesc	tupdesc;
	RowReader  *rows;
	Datum	   *values;			/* of the row read last */
	bool	   *isnull;
	MemoryContext context;
} RecordReader;

/*
 * Take the row apart; true when its type is another than that of the row
 * before, and `rows` is new.  what names the row in errors.
 */
extern bool record_read(RecordReader *reader, const Served *served, HeapTupleHeader row,
						const char *what);

/*
 * n features (feature NULL: all of items) from the row, and what it lacks of an
 * item from the catalogue by the item's key, else missing.
 */
extern void candidate_from_row(const ModelImage *image, RecordReader *reader, int n, const int *feature,
							   Candidate *candidate);

/* The same of an item known by its key; item: its place in the catalogue, or -1. */
extern void candidate_from_key(const ModelImage *image, Cell key, int32 item, int n, const int *feature,
							   Candidate *candidate);

#endif							/* DUPN_CANDIDATE_H */
