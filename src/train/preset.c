/*-------------------------------------------------------------------------
 *
 * preset.c
 *	  Embeddings that a user already has: where training starts from
 *
 * The width of the vectors becomes that of the column's table.  Values without
 * a vector start as all do.  What is frozen stays as it was read: its rows get
 * no gradient, those of other values do.
 *
 *-------------------------------------------------------------------------
 */
#include "train/preset.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#define FETCH_ROWS 1000

typedef struct Preset
{
	nn_group	group;
	int			feature;
	EmbeddingSource source;
	int			width;			/* 0: no vector was found yet */
	int64		n;
	int64		capacity;
	int32	   *id;				/* [n] */
	float	   *vector;			/* [n, width] */
} Preset;

struct Presets
{
	int			n;
	Preset		preset[NN_GROUPS * NN_MAX_FEATURES];
	MemoryContext context;
};

static void pg_attribute_noreturn()
bad_vector(const Preset *preset, const char *key, const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_EXCEPTION),
			 errmsg("the vector of \"%s\" in relation %s %s", key, preset->source.table, what)));
}

/* A row whose key the model knows. */
static void
take_vector(Preset *preset, MemoryContext context, int32 id, const char *key, ArrayType *array)
{
	Datum	   *values;
	bool	   *isnull;
	int			n;
	float	   *to;

	deconstruct_array(array, FLOAT8OID, sizeof(float8), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE, &values, &isnull, &n);
	if (n == 0 || ARR_NDIM(array) != 1)
		bad_vector(preset, key, "is not a list of numbers");
	if (preset->width == 0)
		preset->width = n;
	if (n != preset->width)
		bad_vector(preset, key, psprintf("has %d numbers, and not %d as others have", n, preset->width));
	if (preset->n == preset->capacity)
	{
		preset->capacity = Max(1024, 2 * preset->capacity);
		preset->id = array_resize(preset->id, preset->capacity, sizeof(int32), context);
		preset->vector = array_resize(preset->vector, preset->capacity, sizeof(float) * n, context);
	}
	to = preset->vector + preset->n * n;
	for (int i = 0; i < n; i++)
	{
		to[i] = isnull[i] ? NAN : (float) DatumGetFloat8(values[i]);
		if (!isfinite(to[i]))
			bad_vector(preset, key, "has a number that is NULL or not finite");
	}
	preset->id[preset->n++] = id;
}

static char *
source_query(const EmbeddingSource *source)
{
	Oid			relation = relation_oid(source->table);
	Oid			type = getBaseType(column_type(relation, source->table, source->column));
	Oid			element = get_element_type(type);

	return psprintf("SELECT v.%s, v.%s%s::pg_catalog.float8[] FROM %s v", quote_identifier(source->key),
					quote_identifier(source->column),
					element == FLOAT8OID || element == NUMERICOID ? "" : "::pg_catalog.float4[]", source->table);
}

/* The vectors of values in the vocabulary. */
static void
read_source(const Dataset *data, Preset *preset, MemoryContext context)
{
	const Feature *feature = &data->set->f[preset->group][preset->feature];
	MemoryContext scratch;
	SPIPlanPtr	plan;
	Portal		portal;
	CellType	key_type;
	uint64		fetched;

	job_begin();
	spi_connect();
	scratch = AllocSetContextCreate(CurrentMemoryContext, "dupn vectors", ALLOCSET_DEFAULT_SIZES);
	plan = SPI_prepare_cursor(source_query(&preset->source), 0, NULL, CURSOR_OPT_NO_SCROLL);
	if (plan == NULL)
		elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
	portal = SPI_cursor_open(NULL, plan, NULL, NULL, true);
	cell_type_init(&key_type, TupleDescAttr(portal->tupDesc, 0)->atttypid, true, CurrentMemoryContext);
	do
	{
		MemoryContext old;

		SPI_cursor_fetch(portal, true, FETCH_ROWS);
		fetched = SPI_processed;
		old = MemoryContextSwitchTo(scratch);
		for (uint64 i = 0; i < fetched; i++)
		{
			Datum		values[2];
			bool		isnull[2];
			int32		id;

			heap_deform_tuple(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, values, isnull);
			if (isnull[0] || isnull[1])
				continue;
			id = feature_encode(feature, cell_from_datum(&key_type, values[0], false));
			if (id >= ID_FIRST)
				take_vector(preset, context, id, SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1),
							DatumGetArrayTypeP(values[1]));
		}
		MemoryContextSwitchTo(old);
		MemoryContextReset(scratch);
		SPI_freetuptable(SPI_tuptable);
		job_check();
	} while (fetched > 0);
	SPI_cursor_close(portal);
	SPI_finish();
	job_commit();
}

/* The table is as wide as the vectors. */
static void
set_width(const Dataset *data, const Preset *preset)
{
	Feature    *feature = &data->set->f[preset->group][preset->feature];
	bool		sum = preset->group == NN_ITEM && data->model->options.item_sum;

	if ((sum || data->base) && preset->width != feature->dim)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the vectors of column \"%s\" in relation %s have %d numbers, but its table is %d wide",
						feature->name, preset->source.table, preset->width, feature->dim),
				 sum ? errhint("Item columns that are added up have one width: set \"item_dim\": %d.", preset->width) :
				 errhint("Train the model anew.")));
	feature->dim = preset->width;
}

Presets *
presets_read(Dataset *data)
{
	Presets    *presets = MemoryContextAllocZero(data->context, sizeof(Presets));

	presets->context = data->context;
	for (int g = 0; g < NN_GROUPS; g++)
		for (int f = 0; f < data->set->n[g]; f++)
		{
			const Feature *feature = &data->set->f[g][f];
			Preset	   *preset = &presets->preset[presets->n];
			MemoryContext caller = MemoryContextSwitchTo(data->context);
			bool		found = feature->shares < 0 && embedding_source(data->model, feature->name, &preset->source);

			MemoryContextSwitchTo(caller);
			if (!found)
				continue;
			preset->group = g;
			preset->feature = f;
			presets->n++;
			read_source(data, preset, data->context);
			if (preset->n == 0)
			{
				job_note("no value of column \"%s\" has a vector in relation %s", feature->name, preset->source.table);
				continue;
			}
			job_note("%lld of %lld values of column \"%s\" start with their vectors in relation %s%s",
					 (long long) preset->n, (long long) feature->vocab - ID_FIRST, feature->name,
					 preset->source.table, preset->source.frozen ? ", which stay" : "");
			set_width(data, preset);
		}
	return presets;
}

void
presets_apply(const Presets *presets, const Dataset *data, Steps *steps)
{
	for (int i = 0; i < presets->n; i++)
	{
		const Preset *preset = &presets->preset[i];
		int			table = steps->layout->table[preset->group][preset->feature];
		float	   *rows = steps->param + steps->layout->tensor[table].offset;

		/* a version brought its own */
		for (int64 k = 0; k < preset->n && data->base == NULL; k++)
			memcpy(rows + (size_t) preset->id[k] * preset->width, preset->vector + k * preset->width,
				   sizeof(float) * preset->width);
		if (preset->source.frozen)
			steps_freeze(steps, table, preset->id, preset->n);
	}
}

void
presets_free(Presets *presets)
{
	for (int i = 0; i < presets->n; i++)
		if (presets->preset[i].n > 0)
		{
			pfree(presets->preset[i].id);
			pfree(presets->preset[i].vector);
		}
	pfree(presets);
}
