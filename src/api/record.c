/*-------------------------------------------------------------------------
 *
 * record.c
 *	  Rows that a call is given
 *
 *-------------------------------------------------------------------------
 */
#include "api/record.h"

#include "access/htup_details.h"
#include "utils/memutils.h"
#include "utils/typcache.h"

bool
record_read(RecordReader *reader, const Served *served, HeapTupleHeader row, const char *what)
{
	Oid			type = HeapTupleHeaderGetTypeId(row);
	int32		typmod = HeapTupleHeaderGetTypMod(row);
	bool		fresh = reader->tupdesc == NULL || reader->type != type || reader->typmod != typmod;
	HeapTupleData tuple;

	if (fresh)
	{
		MemoryContext caller;
		TupleDesc	tupdesc = lookup_rowtype_tupdesc(type, typmod);

		if (reader->context == NULL)
			reader->context = AllocSetContextCreate(served->context, "dupn record", ALLOCSET_SMALL_SIZES);
		reader->tupdesc = NULL;
		MemoryContextReset(reader->context);
		caller = MemoryContextSwitchTo(reader->context);
		reader->values = palloc(sizeof(Datum) * tupdesc->natts);
		reader->isnull = palloc(sizeof(bool) * tupdesc->natts);
		reader->rows = row_reader(&served->image->set, &served->model->relations, tupdesc, what,
								  reader->context);
		reader->type = type;
		reader->typmod = typmod;
		reader->tupdesc = CreateTupleDescCopy(tupdesc);
		MemoryContextSwitchTo(caller);
		ReleaseTupleDesc(tupdesc);
	}
	tuple.t_len = HeapTupleHeaderGetDatumLength(row);
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_tableOid = InvalidOid;
	tuple.t_data = row;
	heap_deform_tuple(&tuple, reader->tupdesc, reader->values, reader->isnull);
	return fresh;
}
