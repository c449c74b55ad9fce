/*-------------------------------------------------------------------------
 *
 * record.h
 *	  Rows that a call is given
 *
 *-------------------------------------------------------------------------
 */
#ifndef DUPN_RECORD_H
#define DUPN_RECORD_H

#include "api/served.h"
#include "serve/candidate.h"

#include "executor/executor.h"

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

#endif							/* DUPN_RECORD_H */
