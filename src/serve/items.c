/*-------------------------------------------------------------------------
 *
 * items.c
 *	  What the catalog says of the items of events
 *
 * An item that the version knows is what it was when the version was trained:
 * its ids are in the version's catalogue, and a vector does not change when the
 * shop renames a category.  Other items are looked up in the catalog of today,
 * all at once.  Where not everybody may see all of the catalog (row-level
 * security, views, foreign tables), every item is looked up, as the caller.
 *
 *-------------------------------------------------------------------------
 */
#include "serve/session.h"

#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rls.h"

bool
items_known(const Sources *sources)
{
	switch (get_rel_relkind(sources->relation[1]))
	{
		case RELKIND_RELATION:
		case RELKIND_PARTITIONED_TABLE:
		case RELKIND_MATVIEW:
			return check_enable_rls(sources->relation[1], InvalidOid, true) != RLS_ENABLED;
		default:
			return false;
	}
}

void
items_begin(EventItems *items, Session *session, const Sources *sources, EventTable *table, bool given)
{
	const FeatureSet *set = &session->image->set;

	items->session = session;
	items->table = table;
	items->memory = CurrentMemoryContext;
	items->wanted = false;
	for (int f = 0; f < set->n[NN_ITEM]; f++)
	{
		table->later[f] = !given && set->f[NN_ITEM][f].source == FROM_CATALOG;
		items->wanted |= table->later[f];
	}
	items->first = table->n;
	items->n_asked = 0;
	if (!items->wanted)
		return;
	items->known = items_known(sources);
	if (items->key_type.type != sources->catalog_key_type)
		cell_type_init(&items->key_type, sources->catalog_key_type, true, table->context);
}

void
items_add(EventItems *items, int32 item, Datum key, bool isnull, Oid type)
{
	int64		row = items->table->n - items->first;
	MemoryContext caller;
	Datum		copy;

	if (!items->wanted)
		return;
	if (row >= items->capacity)
	{
		items->capacity = Max(128, 2 * items->capacity);
		items->item = array_resize(items->item, items->capacity, sizeof(int32), items->table->context);
		items->cell = array_resize(items->cell, items->capacity, sizeof(Cell), items->table->context);
		items->asked = array_resize(items->asked, items->capacity, sizeof(Datum), items->table->context);
	}
	items->item[row] = item;
	items->cell[row] = CELL_NULL;
	if (isnull || (item >= 0 && items->known))
		return;

	/* rows come and go, their keys must stay */
	caller = MemoryContextSwitchTo(items->memory);
	if (convert_key(key, type, items->key_type.type, &copy))
	{
		int16		length;
		bool		by_value;

		get_typlenbyval(items->key_type.element, &length, &by_value);
		items->cell[row] = cell_from_datum(&items->key_type, copy, false);
		items->asked[items->n_asked++] = datumCopy(copy, by_value, length);
	}
	else
		items->item[row] = -1;
	MemoryContextSwitchTo(caller);
}

/* ------------------------------------------------------------------------
 * The catalog of today
 * ------------------------------------------------------------------------ */

/* Rows of the catalog, encoded like the version's own catalogue. */
typedef struct Found
{
	RowReceiver receiver;
	const EventItems *items;
	MemoryContext memory;
	Cell	   *key;
	int64		n;
	int64		capacity;
	IdColumn	feature[NN_MAX_FEATURES];
} Found;

static void
take_item(RowReceiver *receiver, const Datum *values, const bool *isnull)
{
	Found	   *found = (Found *) receiver;
	RowReader  *reader = receiver->reader;
	const EventTable *table = found->items->table;
	EventRow   *row = &receiver->session->row;

	if (isnull[reader->item_key - 1])
		return;
	if (found->n == found->capacity)
	{
		found->capacity = Max(128, 2 * found->capacity);
		found->key = array_resize(found->key, found->capacity, sizeof(Cell), found->memory);
	}
	found->key[found->n] = cell_from_datum(&reader->item_key_type, values[reader->item_key - 1], false);
	row_encode(reader, NN_ITEM, values, isnull, row->n[0], row->id[0]);
	for (int f = 0; f < reader->n[NN_ITEM]; f++)
		if (table->later[f])
			id_column_append(&found->feature[f], found->memory, reader->set->f[NN_ITEM][f].multi,
							 found->n, row->id[0][f], row->n[0][f]);
	found->n++;
}

/* The rows of the asked keys as a catalogue; the first of those with one key. */
static Catalogue
look_up(EventItems *items)
{
	Session    *session = items->session;
	Sources    *sources = &session->sources;
	const Relations *relations = &sources->relations;
	Oid			type = items->key_type.element;
	Found		found = {.receiver.session = session,.receiver.reading = &sources->catalog,
		.receiver.relation = relations->catalog,.receiver.take = take_item,
	.items = items,.memory = CurrentMemoryContext};
	Catalogue	catalogue = {0};
	int16		length;
	bool		by_value;
	char		align;
	Datum		keys;

	if (sources->catalog.plan == NULL)
	{
		Oid			array = get_array_type(type);

		reading_prepare(&sources->catalog, catalog_query(&session->image->set, relations, true),
						sources->relation[1], 1, &array);
	}
	get_typlenbyvalalign(type, &length, &by_value, &align);
	keys = PointerGetDatum(construct_array(items->asked, items->n_asked, type, length, by_value, align));
	reading_run(&found.receiver, &keys);

	catalogue.n = found.n;
	catalogue.key = found.key;
	for (int f = 0; f < session->image->set.n[NN_ITEM]; f++)
		catalogue.feature[f] = (nn_ids) {
		.values = found.feature[f].values,.offsets = found.feature[f].offsets
	};
	vocabulary_index(&catalogue.index, found.key, found.n, 0, CurrentMemoryContext);
	return catalogue;
}

int
catalogue_ids(const Catalogue *catalogue, int f, bool multi, int32 item, const int32 **ids)
{
	static const int32 missing = ID_MISSING;
	const nn_ids *feature = &catalogue->feature[f];

	if (item < 0)
	{
		*ids = &missing;
		return multi ? 0 : 1;
	}
	*ids = feature->values + (multi ? feature->offsets[item] : item);
	return multi ? (int) (feature->offsets[item + 1] - feature->offsets[item]) : 1;
}

void
items_finish(EventItems *items)
{
	const FeatureSet *set = &items->session->image->set;
	const Catalogue *trained = &items->session->image->catalogue;
	EventTable *table = items->table;
	Catalogue	today = {0};
	int64		n = table->n - items->first;

	if (!items->wanted)
		return;
	if (items->n_asked > 0)
	{
		today = look_up(items);
		for (int64 row = 0; row < n; row++)
			if (items->cell[row] != CELL_NULL)
				items->item[row] = catalogue_find(&today, items->cell[row]);
	}
	for (int f = 0; f < set->n[NN_ITEM]; f++)
		for (int64 row = 0; table->later[f] && row < n; row++)
		{
			const int32 *ids;
			int			count = catalogue_ids(items->cell[row] == CELL_NULL ? trained : &today, f,
											  set->f[NN_ITEM][f].multi, items->item[row], &ids);

			event_table_fill(table, set, f, items->first + row, ids, count);
		}
}
