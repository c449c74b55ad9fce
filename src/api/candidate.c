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

/* One feature of an item of the catalogue (-1: not in it). */
static int
copy_ids(const ModelImage *image, int f, int32 item, int32 *id)
{
	const int32 *ids;
	int			n = catalogue_ids(&image->catalogue, f, image->set.f[NN_ITEM][f].multi, item, &ids);

	memcpy(id, ids, sizeof(int32) * n);
	return n;
}

static void
set_ids(const ModelImage *image, Candidate *candidate, int f, int n)
{
	candidate->ids[f].values = candidate->id[f];
	candidate->ids[f].offsets = NULL;
	if (image->set.f[NN_ITEM][f].multi)
	{
		candidate->offsets[f][0] = 0;
		candidate->offsets[f][1] = n;
		candidate->ids[f].offsets = candidate->offsets[f];
	}
}

void
candidate_from_row(const ModelImage *image, RecordReader *reader, Candidate *candidate)
{
	RowReader  *rows = reader->rows;
	int			key = rows->item_key;
	int32		n[NN_MAX_FEATURES];
	int32		item = -1;

	if (key > 0 && !reader->isnull[key - 1])
		item = catalogue_find(&image->catalogue,
							  cell_from_datum(&rows->item_key_type, reader->values[key - 1], false));
	row_encode(rows, NN_ITEM, reader->values, reader->isnull, n, candidate->id);
	for (int f = 0; f < image->set.n[NN_ITEM]; f++)
	{
		if (rows->column[NN_ITEM][f].attnum == 0)
			n[f] = copy_ids(image, f, item, candidate->id[f]);
		set_ids(image, candidate, f, n[f]);
	}
}

void
candidate_from_key(const ModelImage *image, Cell key, Candidate *candidate)
{
	int32		item = catalogue_find(&image->catalogue, key);

	for (int f = 0; f < image->set.n[NN_ITEM]; f++)
	{
		int			n;

		if (f == 0)
		{
			const Feature *feature = &image->set.f[NN_ITEM][0];

			n = feature->multi ? feature_encode_bag(feature, &key, 1, candidate->id[0]) : 1;
			if (!feature->multi)
				candidate->id[0][0] = feature_encode(feature, key);
		}
		else
			n = copy_ids(image, f, item, candidate->id[f]);
		set_ids(image, candidate, f, n);
	}
}
