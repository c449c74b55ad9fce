/*-------------------------------------------------------------------------
 *
 * item_vectors.c
 *	  Vectors of many items, for retrieval by inner product
 *
 *-------------------------------------------------------------------------
 */
#include "serve/item_vectors.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

void
item_vector(const ModelImage *image, int task, const Candidate *candidate, float *vector)
{
	nn_item_encode(&image->config, &image->layout, image->param, candidate->ids, 0, vector);
	vector[image->config.E] = nn_item_bias(&image->config, &image->layout, image->param, task,
										   candidate->ids, 0);
}

Oid
item_key_type(const Model *model)
{
	const Relations *relations = &model->relations;

	return relations->catalog ?
		column_type(relation_oid(relations->catalog), relations->catalog, relations->catalog_key) :
		column_type(relation_oid(relations->events), relations->events, relations->item_key);
}

ItemVectors *
item_vectors_make(Session *session, int capacity)
{
	int			task = image_first_task(session->image, NN_NEXT_ITEM);
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "dupn item vectors", ALLOCSET_DEFAULT_SIZES);
	ItemVectors *items = MemoryContextAllocZero(context, sizeof(ItemVectors));

	items->session = session;
	items->context = context;
	items->task = task;
	items->width = session->image->config.E + 1;
	items->found = MemoryContextAlloc(context, sizeof(bool) * capacity);
	items->vector = MemoryContextAllocHuge(context, mul_size(sizeof(float) * items->width, capacity));
	return items;
}

void
item_vectors_free(ItemVectors *items)
{
	MemoryContextDelete(items->context);
}

/* ---------------- which items there are ---------------- */

static int
list_catalog(Session *session, Sources *sources, const Datum *after, int n, Datum *key)
{
	Reading    *reading = &sources->items[after != NULL];
	Oid			type = getBaseType(sources->catalog_key_type);
	MemoryContext caller = CurrentMemoryContext;
	Datum		arguments[2] = {Int32GetDatum(n), after ? *after : (Datum) 0};
	int			found;

	spi_connect();
	if (reading->plan == NULL)
	{
		Oid			types[] = {INT4OID, type};

		reading_prepare(reading, items_query(&sources->relations, after != NULL), sources->relation[1],
						after ? 2 : 1, types);
	}
	found = reading_keys(session, reading, sources->relations.catalog, type, arguments, caller, key);
	SPI_finish();
	return found;
}

/* In the order of the version's catalogue. */
static int
list_version(const ModelImage *image, Oid key_type, const Datum *after, int n, Datum *key)
{
	const Catalogue *catalogue = &image->catalogue;
	int64		place = 0;
	int			found = 0;

	if (after)
	{
		CellType	type;

		cell_type_init(&type, key_type, true, CurrentMemoryContext);
		place = catalogue_find(catalogue, cell_from_datum(&type, *after, false)) + 1;
		if (place == 0)
			elog(ERROR, "the last item is not in the catalogue");
	}
	for (; place < catalogue->n && found < n; place++)
	{
		int64		begin = catalogue->text_offsets[place];
		char	   *text = pnstrdup(catalogue->text + begin, catalogue->text_offsets[place + 1] - begin);

		if (key_from_text(text, key_type, &key[found]))
			found++;
	}
	return found;
}

int
item_vectors_list(Session *session, const Model *model, const Datum *after, int n, Datum *key)
{
	Sources    *sources = session_sources(session, model);

	return OidIsValid(sources->relation[1]) ? list_catalog(session, sources, after, n, key) :
		list_version(session->image, item_key_type(model), after, n, key);
}

/* ---------------- what they are ---------------- */

static void
add_item(ItemVectors *items, int i)
{
	items->found[i] = true;
	item_vector(items->session->image, items->task, &items->candidate,
				items->vector + (size_t) i * items->width);
}

/* An item that the version knows is what it was then. */
static bool
add_known(ItemVectors *items, int i, Datum key)
{
	const ModelImage *image = items->session->image;
	Cell		cell = cell_from_datum(&items->key_type, key, false);
	int32		place = catalogue_find(&image->catalogue, cell);

	if (place < 0)
		return false;
	candidate_from_key(image, cell, place, image->set.n[NN_ITEM], NULL, &items->candidate);
	add_item(items, i);
	return true;
}

/* Rows of items, whose place in `asked` is the last column. */
typedef struct ItemReceiver
{
	RowReceiver receiver;
	ItemVectors *items;
	const int  *asked;			/* places in the group */
} ItemReceiver;

/* The first of several rows of a key is the one. */
static void
take_item(RowReceiver *receiver, const Datum *values, const bool *isnull)
{
	ItemReceiver *rows = (ItemReceiver *) receiver;
	ItemVectors *items = rows->items;
	const ModelImage *image = items->session->image;
	int			i = rows->asked[(int) DatumGetInt64(values[receiver->reading->tupdesc->natts - 1]) - 1];

	if (items->found[i])
		return;
	candidate_from_row(image, receiver->reader, values, isnull, image->set.n[NN_ITEM], NULL, &items->candidate);
	add_item(items, i);
}

static void
read_rows(ItemVectors *items, Sources *sources, Datum *key, const int *asked, int n)
{
	Oid			type = getBaseType(sources->catalog_key_type);
	ItemReceiver rows = {.receiver.session = items->session,.receiver.reading = &sources->item_rows,
		.receiver.relation = sources->relations.catalog,.receiver.take = take_item,
	.items = items,.asked = asked};
	int16		length;
	bool		by_value;
	char		align;
	Datum		keys;

	get_typlenbyvalalign(type, &length, &by_value, &align);
	keys = PointerGetDatum(construct_array(key, n, type, length, by_value, align));
	spi_connect();
	if (sources->item_rows.plan == NULL)
	{
		Oid			types[] = {get_array_type(type)};

		reading_prepare(&sources->item_rows, item_rows_query(&items->session->image->set, &sources->relations),
						sources->relation[1], 1, types);
	}
	reading_run(&rows.receiver, &keys);
	SPI_finish();
}

void
item_vectors_read(ItemVectors *items, const Model *model, const Datum *key, int n)
{
	Sources    *sources = session_sources(items->session, model);
	bool		catalog = OidIsValid(sources->relation[1]);
	bool		known = !catalog || items_known(sources->relation[1]);
	Datum	   *wanted = palloc(sizeof(Datum) * Max(n, 1));
	int		   *asked = palloc(sizeof(int) * Max(n, 1));
	Oid			type = item_key_type(model);
	int			n_asked = 0;

	if (items->key_type.type != type)
		cell_type_init(&items->key_type, type, true, items->context);
	items->n = n;
	memset(items->found, 0, sizeof(bool) * n);
	for (int i = 0; i < n; i++)
		if (!(known && add_known(items, i, key[i])))
		{
			wanted[n_asked] = key[i];
			asked[n_asked++] = i;
		}
	if (catalog && n_asked > 0)
		read_rows(items, sources, wanted, asked, n_asked);
}
