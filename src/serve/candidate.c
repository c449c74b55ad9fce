/*-------------------------------------------------------------------------
 *
 * candidate.c
 *	  What the network takes of an item that is known by a row or by its key
 *
 *-------------------------------------------------------------------------
 */
#include "serve/candidate.h"

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
candidate_from_row(const ModelImage *image, RowReader *rows, const Datum *values, const bool *isnull,
				   int n, const int *feature, Candidate *candidate)
{
	int			key = rows->item_key - 1;
	bool		looked = false;
	int32		item = -1;

	for (int k = 0; k < n; k++)
	{
		int			f = feature ? feature[k] : k;
		ColumnReader *column = &rows->column[NN_IS_THING(f) ? NN_THING : NN_ITEM][f % NN_MAX_FEATURES];

		if (column->attnum > 0)
		{
			int			m = column_encode(column, values, isnull, candidate->id[f]);

			set_ids(candidate, f, column->feature->multi, m, candidate->id[f]);
			continue;
		}
		if (!looked && key >= 0 && !isnull[key])
			item = catalogue_find(&image->catalogue,
								  cell_from_datum(&rows->item_key_type, values[key], false));
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
