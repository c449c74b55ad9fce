/*-------------------------------------------------------------------------
 *
 * candidate.c
 *	  An item that a call names by a row or by its key
 *
 *-------------------------------------------------------------------------
 */
#include "api/candidate.h"

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

static void
set_ids(Candidate *candidate, int f, bool multi, int n, const int32 *ids)
{
	candidate->ids[f].values = ids;
	candidate->ids[f].offsets = NULL;
	if (multi)
	{
		candidate->offsets[f][0] = 0;
		candidate->offsets[f][1] = n;
		candidate->ids[f].offsets = candidate->offsets[f];
	}
}

/* One feature of an item of the catalogue (-1: not in it), where it is. */
static void
from_catalogue(const ModelImage *image, int32 item, int f, Candidate *candidate)
{
	bool		multi = image->set.f[NN_ITEM][f].multi;
	const int32 *ids;
	int			n = catalogue_ids(&image->catalogue, f, multi, item, &ids);

	set_ids(candidate, f, multi, n, ids);
}

void
candidate_from_row(const ModelImage *image, RecordReader *reader, int n, const int *feature,
				   Candidate *candidate)
{
	RowReader  *rows = reader->rows;
	int			key = rows->item_key - 1;
	bool		looked = false;
	int32		item = -1;

	for (int k = 0; k < n; k++)
	{
		int			f = feature ? feature[k] : k;
		ColumnReader *column = &rows->column[NN_IS_THING(f) ? NN_THING : NN_ITEM][f % NN_MAX_FEATURES];

		if (column->attnum > 0)
		{
			int			m = column_encode(column, reader->values, reader->isnull, candidate->id[f]);

			set_ids(candidate, f, column->feature->multi, m, candidate->id[f]);
			continue;
		}
		if (!looked && key >= 0 && !reader->isnull[key])
			item = catalogue_find(&image->catalogue,
								  cell_from_datum(&rows->item_key_type, reader->values[key], false));
		looked = true;
		from_catalogue(image, item, f, candidate);
	}
}

void
candidate_from_key(const ModelImage *image, Cell key, int32 item, int n, const int *feature,
				   Candidate *candidate)
{
	for (int k = 0; k < n; k++)
	{
		int			f = feature ? feature[k] : k;
		const Feature *column = &image->set.f[NN_ITEM][f];

		/* the catalogue has an item's key encoded like everything else */
		if (f > 0 || item >= 0)
			from_catalogue(image, item, f, candidate);
		else if (column->multi)
			set_ids(candidate, f, true, feature_encode_bag(column, &key, 1, candidate->id[f]), candidate->id[f]);
		else
		{
			candidate->id[f][0] = feature_encode(column, key);
			set_ids(candidate, f, false, 1, candidate->id[f]);
		}
	}
}
