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
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rls.h"

bool
items_known(Oid catalog)
{
	switch (get_rel_relkind(catalog))
	{
		case RELKIND_RELATION:
		case RELKIND_PARTITIONED_TABLE:
		case RELKIND_MATVIEW:
			return check_enable_rls(catalog, InvalidOid, true) != RLS_ENABLED;
		default:
			return false;
	}
}

void
items_begin(EventItems *items, Session *session, const Sources *sources, EventTable *table,
			bool by_key, bool given)
{
	const FeatureSet *set = &session->image->set;

	items->session = session;
	items->table = table;
	items->memory = CurrentMemoryContext;
	items->by_key = by_key;
	items->wanted = false;
	for (int f = 0; f < set->n[NN_ITEM]; f++)
	{
		table->later[f] = f == 0 ? by_key : !given && set->f[NN_ITEM][f].source == FROM_CATALOG;
		items->wanted |= f > 0 && table->later[f];
	}
	items->first = table->n;
	if (!items->wanted)
		return;
	items->known = items_known(sources->relation[1]);
	if (items->key_type.type != sources->catalog_key_type)
		cell_type_init(&items->key_type, sources->catalog_key_type, true, table->context);
}

/* The number of the next row, with room for it. */
static int64
next_row(EventItems *items)
{
	int64		row = items->table->n - items->first;

	if (row >= items->capacity)
	{
		MemoryContext context = items->table->context;

		items->capacity = Max(128, 2 * items->capacity);
		items->item = array_resize(items->item, items->capacity, sizeof(int32), context);
		items->cell = array_resize(items->cell, items->capacity, sizeof(Cell), context);
		items->key = array_resize(items->key, items->capacity, sizeof(Datum), context);
		items->has_key = array_resize(items->has_key, items->capacity, sizeof(bool), context);
	}
	return row;
}

void
items_add(EventItems *items, const CellType *type, Cell cell, Datum key)
{
	int64		row = next_row(items);

	items->cell[row] = cell;
	items->has_key[row] = cell != CELL_NULL;
	items->type = type->type;
	if (!items->wanted || cell == CELL_NULL)
		return;

	/* rows come and go, their keys must stay */
	if (type->by_value)
		items->key[row] = key;
	else
	{
		MemoryContext caller = MemoryContextSwitchTo(items->memory);

		items->key[row] = datumCopy(key, false, type->length);
		MemoryContextSwitchTo(caller);
	}
}

void
items_add_found(EventItems *items, int32 item, const char *key)
{
	int64		row = next_row(items);

	items->item[row] = item;
	items->has_key[row] = key != NULL;
	items->key[row] = key ? CStringGetTextDatum(key) : (Datum) 0;
	items->type = TEXTOID;
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
	row_encode(reader, NN_ITEM, 1, values, isnull, row->n[0], row->id[0]);
	for (int f = 1; f < reader->n[NN_ITEM]; f++)
		if (table->later[f])
			id_column_append(&found->feature[f], found->memory, reader->set->f[NN_ITEM][f].multi,
							 found->n, row->id[0][f], row->n[0][f]);
	found->n++;
}

/* The rows of n keys as a catalogue; of those with the same key the first. */
static Catalogue
look_up(EventItems *items, Datum *keys, int n)
{
	Session    *session = items->session;
	Sources    *sources = &session->sources;
	const Relations *relations = &sources->relations;
	const CellType *type = &items->key_type;
	Found		found = {.receiver.session = session,.receiver.reading = &sources->catalog,
		.receiver.relation = relations->catalog,.receiver.take = take_item,
	.items = items,.memory = CurrentMemoryContext};
	Catalogue	catalogue = {0};
	Datum		array;

	if (sources->catalog.plan == NULL)
	{
		Oid			array_type = get_array_type(type->element);

		reading_prepare(&sources->catalog, catalog_query(&session->image->set, relations, true),
						sources->relation[1], 1, &array_type);
	}
	array = PointerGetDatum(construct_array(keys, n, type->element, type->length, type->by_value, type->align));
	reading_run(&found.receiver, &array);

	catalogue.n = found.n;
	catalogue.key = found.key;
	for (int f = 0; f < session->image->set.n[NN_ITEM]; f++)
		catalogue.feature[f] = (nn_ids) {
		.values = found.feature[f].values,.offsets = found.feature[f].offsets
	};
	vocabulary_index(&catalogue.index, found.key, found.n, 0, CurrentMemoryContext);
	return catalogue;
}

/*
 * Find the rows' items in the catalog of today where the version may not or
 * cannot answer.  Leaves in items->item their places in it, and has_key set for
 * these rows only.
 */
static Catalogue
ask_catalog(EventItems *items, int64 n)
{
	Datum	   *asked = palloc(sizeof(Datum) * n);
	Catalogue	today = {0};
	int			n_asked = 0;

	for (int64 row = 0; row < n; row++)
	{
		Datum		key;

		if (items->item[row] >= 0 && items->known)
			items->has_key[row] = false;
		if (!items->has_key[row])
			continue;
		items->cell[row] = CELL_NULL;
		if (convert_key(items->key[row], items->type, items->key_type.type, &key))
		{
			items->cell[row] = cell_from_datum(&items->key_type, key, false);
			asked[n_asked++] = key;
		}
	}
	if (n_asked > 0)
		today = look_up(items, asked, n_asked);
	for (int64 row = 0; row < n; row++)
		if (items->has_key[row])
			items->item[row] = catalogue_find(&today, items->cell[row]);
	return today;
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

static void
catalogue_prefetch(const Catalogue *catalogue, int f, bool multi, int32 item)
{
	if (multi)
		__builtin_prefetch(&catalogue->feature[f].offsets[item]);
	else
		__builtin_prefetch(&catalogue->feature[f].values[item]);
}

/*
 * The items of rows that came by key, and the key's own ids.  All at once: the
 * version's tables are large, and their misses should wait for each other as
 * little as can be.
 */
static void
find_items(EventItems *items, int64 n)
{
	const ModelImage *image = items->session->image;
	const Feature *feature = &image->set.f[NN_ITEM][0];
	EventTable *table = items->table;

	for (int64 row = 0; row < n; row++)
		vocabulary_prefetch(&image->catalogue.index, items->cell[row]);
	for (int64 row = 0; row < n; row++)
	{
		int32		item = catalogue_find(&image->catalogue, items->cell[row]);

		items->item[row] = item;
		for (int f = 0; item >= 0 && f < image->set.n[NN_ITEM]; f++)
			if (table->later[f])
				catalogue_prefetch(&image->catalogue, f, image->set.f[NN_ITEM][f].multi, item);
	}
	for (int64 row = 0; row < n; row++)
	{
		Cell		cell = items->cell[row];
		int32		own[NN_MAX_BAG];
		const int32 *ids = own;
		int			count = 1;

		table->item[items->first + row] = items->item[row];
		if (items->item[row] >= 0)
			count = catalogue_ids(&image->catalogue, 0, feature->multi, items->item[row], &ids);
		else if (feature->multi)
			count = feature_encode_bag(feature, &cell, cell != CELL_NULL, own);
		else
			own[0] = feature_encode(feature, cell);
		event_table_fill(table, &image->set, 0, items->first + row, ids, count);
	}
}

void
items_finish(EventItems *items)
{
	const FeatureSet *set = &items->session->image->set;
	const Catalogue *trained = &items->session->image->catalogue;
	EventTable *table = items->table;
	int64		n = table->n - items->first;
	Catalogue	today;

	if (items->by_key)
		find_items(items, n);
	if (!items->wanted)
		return;
	today = ask_catalog(items, n);
	for (int f = 1; f < set->n[NN_ITEM]; f++)
		for (int64 row = 0; table->later[f] && row < n; row++)
		{
			const int32 *ids;
			int			count = catalogue_ids(items->has_key[row] ? &today : trained, f,
											  set->f[NN_ITEM][f].multi, items->item[row], &ids);

			event_table_fill(table, set, f, items->first + row, ids, count);
		}
}
