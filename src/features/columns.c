/*-------------------------------------------------------------------------
 *
 * columns.c
 *	  From a row of a user's relation to ids
 *
 *-------------------------------------------------------------------------
 */
#include "features/columns.h"

#include "catalog/pg_type.h"
#include "parser/parse_type.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

int
row_column(TupleDesc tupdesc, const char *name)
{
	for (int i = 0; name != NULL && i < tupdesc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(tupdesc, i);

		if (!att->attisdropped && strcmp(NameStr(att->attname), name) == 0)
			return i + 1;
	}
	return 0;
}

RowReader *
row_reader(const FeatureSet *set, const Relations *relations,
		   TupleDesc tupdesc, const char *what, MemoryContext context)
{
	RowReader  *reader = MemoryContextAllocZero(context, sizeof(RowReader));

	reader->set = set;
	reader->relations = relations;
	reader->time = row_column(tupdesc, relations->time_column);
	if (reader->time > 0)
		reader->time_type = getBaseType(TupleDescAttr(tupdesc, reader->time - 1)->atttypid);
	reader->user = row_column(tupdesc, relations->user_column);
	if (reader->user > 0)
		cell_type_init(&reader->user_type, TupleDescAttr(tupdesc, reader->user - 1)->atttypid,
					   true, context);

	/* a row of the catalog calls the item's key by another name */
	reader->item_key = row_column(tupdesc, relations->item_key);
	if (reader->item_key == 0)
		reader->item_key = row_column(tupdesc, relations->catalog_key);
	if (reader->item_key > 0)
		cell_type_init(&reader->item_key_type,
					   TupleDescAttr(tupdesc, reader->item_key - 1)->atttypid, true, context);

	for (int g = 0; g < NN_GROUPS; g++)
	{
		reader->n[g] = set->n[g];
		for (int f = 0; f < set->n[g]; f++)
		{
			const Feature *feature = &set->f[g][f];
			ColumnReader *column = &reader->column[g][f];

			column->feature = feature;
			if (feature->encoding == ENCODE_FIXED)
				continue;
			column->attnum = g == NN_ITEM && f == 0 ? reader->item_key :
				row_column(tupdesc, feature->name);
			if (column->attnum == 0)
				continue;
			feature_cell_type(feature, TupleDescAttr(tupdesc, column->attnum - 1)->atttypid,
							  &column->type, context);
			if (column->type.kind != feature->kind || (column->type.array && !feature->multi))
				ereport(ERROR,
						(errcode(ERRCODE_DATATYPE_MISMATCH),
						 errmsg("column \"%s\" of %s has type %s, the model reads it as %s",
								NameStr(TupleDescAttr(tupdesc, column->attnum - 1)->attname),
								what, format_type_be(column->type.type), feature->type_name),
						 errhint("Cast the column, or train the model again.")));
		}
	}
	return reader;
}

TimestampTz
row_time(const RowReader *reader, Datum value)
{
	Timestamp	local;
	struct pg_tm tm;
	fsec_t		fsec;
	TimestampTz result;

	switch (reader->time_type)
	{
		case TIMESTAMPTZOID:
			return DatumGetTimestampTz(value);
		case TIMESTAMPOID:
			local = DatumGetTimestamp(value);
			break;
		case DATEOID:
			local = date2timestamp_opt_overflow(DatumGetDateADT(value), NULL);
			break;
		default:
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("time column \"%s\" has type %s", reader->relations->time_column,
							format_type_be(reader->time_type)),
					 errhint("Use timestamptz, timestamp or date; to_timestamp() converts seconds.")));
	}

	if (TIMESTAMP_NOT_FINITE(local))
		return local;
	if (timestamp2tm(local, NULL, &tm, &fsec, NULL, NULL) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("a time in column \"%s\" is out of range", reader->relations->time_column)));
	{
		int			tz = DetermineTimeZoneOffset(&tm, reader->set->tz);

		if (tm2timestamp(&tm, fsec, &tz, &result) != 0)
			ereport(ERROR,
					(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
					 errmsg("a time in column \"%s\" is out of range",
							reader->relations->time_column)));
	}
	return result;
}

Datum
time_parameter(const FeatureSet *set, Oid time_type, TimestampTz now)
{
	struct pg_tm tm;
	fsec_t		fsec;
	Timestamp	local;
	int			tz;

	time_type = getBaseType(time_type);
	if (time_type == TIMESTAMPTZOID)
		return TimestampTzGetDatum(now);
	if (TIMESTAMP_NOT_FINITE(now))
		local = now;
	else if (timestamp2tm(now, &tz, &tm, &fsec, NULL, set->tz) != 0 ||
			 tm2timestamp(&tm, fsec, NULL, &local) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("as_of is out of range")));

	/*
	 * row_time reads an hour that comes twice as its second coming, so that
	 * local order is absolute order: no row before now has a later local time.
	 * The few that have an earlier one and yet are not before now are cut in C.
	 */
	if (time_type == TIMESTAMPOID)
		return TimestampGetDatum(local);
	if (TIMESTAMP_IS_NOBEGIN(local))
		return DateADTGetDatum(DATEVAL_NOBEGIN);
	if (TIMESTAMP_IS_NOEND(local))
		return DateADTGetDatum(DATEVAL_NOEND);

	/* a date is its midnight: before now unless now is that very midnight */
	{
		DateADT		date = date2j(tm.tm_year, tm.tm_mon, tm.tm_mday) - POSTGRES_EPOCH_JDATE;

		if (tm.tm_hour != 0 || tm.tm_min != 0 || tm.tm_sec != 0 || fsec != 0)
			date++;
		return DateADTGetDatum(date);
	}
}

int
column_encode(ColumnReader *column, const Datum *values, const bool *isnull, int32 *id)
{
	Cell		cells[NN_MAX_BAG];
	int			at = column->attnum - 1;

	id[0] = ID_MISSING;
	if (column->attnum == 0)
		return column->feature->multi ? 0 : 1;
	if (column->feature->multi)
		return feature_encode_bag(column->feature, cells,
								  cells_from_datum(&column->type, values[at], isnull[at], cells), id);
	id[0] = feature_encode(column->feature, cell_from_datum(&column->type, values[at], isnull[at]));
	return 1;
}

void
row_encode(RowReader *reader, nn_group group, int first, const Datum *values, const bool *isnull,
		   int32 *n, int32 (*id)[NN_MAX_BAG])
{
	for (int f = first; f < reader->n[group]; f++)
		n[f] = column_encode(&reader->column[group][f], values, isnull, id[f]);
}

char *
jsonb_value_text(const JsonbValue *value)
{
	switch (value->type)
	{
		case jbvString:
			return pnstrdup(value->val.string.val, value->val.string.len);
		case jbvNumeric:
			return DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric)));
		case jbvBool:
			return pstrdup(value->val.boolean ? "true" : "false");
		default:
			return NULL;
	}
}

/* One JSON value as the SQL type that the context column had in training. */
static Cell
context_cell(const Feature *feature, CellType *celltype, const JsonbValue *value)
{
	char	   *text = jsonb_value_text(value);

	if (value->type == jbvNull)
		return CELL_NULL;
	if (text == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("context \"%s\" must be %s", feature->name,
						feature->multi ? "an array of strings, numbers or booleans" :
						"a string, number or boolean")));
	return cell_from_input(celltype, text);
}

/* A text as its words. */
static int
context_words(const Feature *feature, const JsonbValue *value, Cell *cells)
{
	if (value->type == jbvNull)
		return 0;
	if (value->type != jbvString)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("context \"%s\" must be a string", feature->name),
				 errhint("Its words are found by the text search configuration \"%s\".", feature->words)));
	return words_cells(feature->words, value->val.string.val, value->val.string.len, cells);
}

static void
context_column(void *argument)
{
	errcontext("context \"%s\"", (*(const Feature **) argument)->name);
}

void
context_encode(const FeatureSet *set, const Jsonb *object, IdRow *row)
{
	JsonbIterator *iterator;
	JsonbValue	key;
	JsonbValue	value;
	JsonbIteratorToken token;
	Cell		cells[NN_MAX_BAG];

	for (int f = 0; f < set->n[NN_CONTEXT]; f++)
	{
		row->n[f] = set->f[NN_CONTEXT][f].multi ? 0 : 1;
		row->id[f][0] = ID_MISSING;
	}
	if (object == NULL)
		return;
	if (!JB_ROOT_IS_OBJECT(object))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("context must be a JSON object"),
				 errhint("For example '{\"query_category\": 7}'.")));

	iterator = JsonbIteratorInit((JsonbContainer *) &object->root);
	(void) JsonbIteratorNext(&iterator, &key, false);
	while ((token = JsonbIteratorNext(&iterator, &key, true)) == WJB_KEY)
	{
		const Feature *feature = NULL;
		ErrorContextCallback callback = {error_context_stack, context_column, &feature};
		CellType	celltype;
		Oid			type;
		int32		typmod;
		int			f;
		int			n = 0;

		(void) JsonbIteratorNext(&iterator, &value, true);
		for (f = 0; f < set->n[NN_CONTEXT]; f++)
			if (strlen(set->f[NN_CONTEXT][f].name) == key.val.string.len &&
				memcmp(set->f[NN_CONTEXT][f].name, key.val.string.val, key.val.string.len) == 0)
				break;
		if (f == set->n[NN_CONTEXT])
		{
			StringInfoData known;

			initStringInfo(&known);
			for (int i = 0; i < set->n[NN_CONTEXT]; i++)
				appendStringInfo(&known, "%s\"%s\"", i > 0 ? ", " : "", set->f[NN_CONTEXT][i].name);
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("the model has no context column \"%.*s\"",
							key.val.string.len, key.val.string.val),
					 known.len > 0 ? errhint("Its context columns are %s.", known.data) :
					 errhint("Declare context_columns when the model is created.")));
		}

		feature = &set->f[NN_CONTEXT][f];
		error_context_stack = &callback;
		dupn_parse_type(feature->type_name, &type, &typmod);
		feature_cell_type(feature, type, &celltype, CurrentMemoryContext);
		if (feature->words[0] != '\0')
			n = context_words(feature, &value, cells);
		else if (value.type == jbvBinary && feature->multi && JsonContainerIsArray(value.val.binary.data))
		{
			JsonbIterator *elements = JsonbIteratorInit(value.val.binary.data);
			JsonbValue	element;
			JsonbIteratorToken t;

			while ((t = JsonbIteratorNext(&elements, &element, true)) != WJB_DONE)
				if (t == WJB_ELEM && n < NN_MAX_BAG)
				{
					cells[n] = context_cell(feature, &celltype, &element);
					n += cells[n] != CELL_NULL;
				}
		}
		else
		{
			cells[0] = context_cell(feature, &celltype, &value);
			n = cells[0] != CELL_NULL;
		}
		error_context_stack = callback.previous;
		if (feature->multi)
			row->n[f] = feature_encode_bag(feature, cells, n, row->id[f]);
		else
			row->id[f][0] = feature_encode(feature, cells[0]);
	}
}
