/*-------------------------------------------------------------------------
 *
 * read.c
 *	  A relation of the user's into raw columns; relations.c says which and what
 *
 * Each relation is read by one cursor, that is in one snapshot, which is held
 * while reading and never while computing.
 *
 *-------------------------------------------------------------------------
 */
#include "train/dataset.h"

#include "executor/executor.h"
#include "executor/spi.h"
#include "optimizer/optimizer.h"
#include "utils/memutils.h"

#define FETCH_ROWS 5000

typedef struct ItemNumber
{
	Cell		key;
	int32		number;
	char		status;
} ItemNumber;

#define SH_PREFIX number
#define SH_ELEMENT_TYPE ItemNumber
#define SH_KEY_TYPE Cell
#define SH_KEY key
#define SH_HASH_KEY(tb, key) ((uint32) cell_hash(key))
#define SH_EQUAL(tb, a, b) ((a) == (b))
#define SH_SCOPE static inline
#define SH_DEFINE
#define SH_DECLARE
#include "lib/simplehash.h"

struct ItemNumbers
{
	number_hash *hash;
};

/* Reading state of one relation. */
typedef struct Reading
{
	Build	   *build;
	const RawQuery *query;
	RawRows    *rows;
	RowReader  *reader;
	CellType   *type;			/* per raw column */
	int		   *attnum;
	bool	   *multi;
	RawRun		run;			/* the open one */
	bool		has_run;
	int64		no_user,
				no_time,
				no_key;
} Reading;

static void
add_column(Reading *reading, int attnum, const CellType *type, bool multi, HTAB *texts)
{
	RawRows    *rows = reading->rows;
	int			at = rows->n_columns++;
	RawColumn  *column = &rows->column[at];

	column->kind = type->kind;
	column->cell = column_add(reading->build->store, sizeof(Cell), NULL);
	column->end = multi ? column_add(reading->build->store, sizeof(int64), NULL) : NULL;
	column->texts = texts;
	reading->type[at] = *type;
	reading->attnum[at] = attnum;
	reading->multi[at] = multi;
}

static void
define_columns(Reading *reading, TupleDesc tupdesc)
{
	Build	   *build = reading->build;
	const RawQuery *query = reading->query;
	RawRows    *rows = reading->rows;
	RowReader  *reader;
	int			most = tupdesc->natts + NN_GROUPS * NN_MAX_FEATURES + 1;

	reader = row_reader(build->data->set, &query->relations, tupdesc, query->what, build->context);
	reading->reader = reader;
	rows->column = MemoryContextAllocZero(build->context, sizeof(RawColumn) * most);
	reading->type = MemoryContextAllocZero(build->context, sizeof(CellType) * most);
	reading->attnum = MemoryContextAllocZero(build->context, sizeof(int) * most);
	reading->multi = MemoryContextAllocZero(build->context, sizeof(bool) * most);

	rows->run = query->user ? column_add(build->store, sizeof(RawRun), NULL) : NULL;
	rows->time = query->time ? column_add(build->store, sizeof(TimestampTz), NULL) : NULL;
	rows->item = query->item_texts ? column_add(build->store, sizeof(int32), NULL) : NULL;
	rows->key = -1;
	rows->group = -1;
	if (reader->item_key > 0)
	{
		rows->key = rows->n_columns;
		add_column(reading, reader->item_key, &reader->item_key_type, false, NULL);
	}
	for (int g = 0; g < NN_GROUPS; g++)
		for (int f = 0; f < NN_MAX_FEATURES; f++)
		{
			const ColumnReader *column = &reader->column[g][f];

			rows->feature[g][f] = -1;
			if (f >= reader->n[g] || column->attnum == 0)
				continue;
			if (g == NN_ITEM && f == 0 && rows->key >= 0)
				rows->feature[g][f] = rows->key;
			else
			{
				rows->feature[g][f] = rows->n_columns;
				add_column(reading, column->attnum, &column->type, column->feature->multi,
						   g == NN_ITEM && query->feature_texts ? query->feature_texts[f] : NULL);
			}
		}
	rows->extra = rows->n_columns;
	for (int i = 0; i < query->n_extra; i++)
	{
		int			attnum = tupdesc->natts - query->n_extra + i + 1;
		CellType	type;

		cell_type_init(&type, TupleDescAttr(tupdesc, attnum - 1)->atttypid, false, build->context);
		if (type.array)
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("column \"%s\" of %s is an array",
							NameStr(TupleDescAttr(tupdesc, attnum - 1)->attname), query->what),
					 errhint("Labels, weights and features of samples are single values.")));
		add_column(reading, attnum, &type, false, query->extra_texts ? query->extra_texts[i] : NULL);
	}
}

static void
remember_text(Build *build, HTAB *texts, Cell cell, CellType *type, Datum value)
{
	bool		found;
	TextEntry  *entry = hash_search(texts, &cell, HASH_ENTER, &found);

	if (!found)
		entry->text = MemoryContextStrdup(build->context, OutputFunctionCall(&type->output, value));
}

/* The number of an item; its text is printed once. */
static int32
remember_item(Build *build, Cell key, CellType *type, Datum value, int64 catalog_row)
{
	bool		found;
	ItemNumber *entry = number_insert(build->item_numbers->hash, key, &found);
	RawItem    *item;

	if (!found)
	{
		char	   *text = OutputFunctionCall(&type->output, value);

		if (build->n_items == PG_INT32_MAX)
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("more than %d items", PG_INT32_MAX)));
		if (build->n_items == build->items_capacity)
		{
			build->items_capacity = Max(1024, 2 * build->items_capacity);
			build->item = array_resize(build->item, build->items_capacity, sizeof(RawItem), build->context);
		}
		entry->number = (int32) build->n_items++;
		column_append(build->item_text, text, strlen(text));
		build->item[entry->number] = (RawItem) {.key = key, .text = build->item_text->n,
		.catalog_row = -1, .event_row = -1};
	}
	item = &build->item[entry->number];
	if (item->catalog_row < 0)
		item->catalog_row = catalog_row;
	return entry->number;
}

void
item_numbers_begin(Build *build)
{
	build->item_numbers = MemoryContextAlloc(build->context, sizeof(ItemNumbers));
	build->item_numbers->hash = number_create(build->context, 4096, NULL);
	build->item_text = column_add(build->store, 1, NULL);
	build->no_item = (RawItem) {.key = CELL_NULL, .catalog_row = -1, .event_row = -1};
}

void
item_numbers_end(Build *build)
{
	number_destroy(build->item_numbers->hash);
}

/* One row; false when it lacks what it must have. */
static bool
append_row(Reading *reading, const Datum *values, const bool *isnull)
{
	const RawQuery *query = reading->query;
	RowReader  *reader = reading->reader;
	RawRows    *rows = reading->rows;
	Cell		user = CELL_NULL;
	Cell		key = CELL_NULL;
	TimestampTz time = 0;

	if (query->user)
	{
		user = cell_from_datum(&reader->user_type, values[reader->user - 1], isnull[reader->user - 1]);
		if (user == CELL_NULL)
		{
			reading->no_user++;
			return false;
		}
	}
	if (query->time)
	{
		if (!isnull[reader->time - 1])
			time = row_time(reader, values[reader->time - 1]);
		if (isnull[reader->time - 1] || TIMESTAMP_NOT_FINITE(time))
		{
			reading->no_time++;
			return false;
		}

		/* of an hour that comes twice the query cannot tell */
		if (time > reading->build->data->until_read)
			return false;
	}
	if (query->key || query->item_texts)
	{
		int			at = reader->item_key - 1;

		key = cell_from_datum(&reader->item_key_type, values[at], isnull[at]);
		if (key == CELL_NULL && query->key)
		{
			reading->no_key++;
			return false;
		}
		if (query->item_texts)
		{
			int32		item = -1;

			if (key != CELL_NULL)
				item = remember_item(reading->build, key, &reader->item_key_type, values[at],
									 query->user ? -1 : rows->n);
			column_append(rows->item, &item, 1);
		}
	}

	if (query->user)
	{
		if (reading->has_run && reading->run.user == user)
			reading->run.n++;
		else
		{
			if (reading->has_run)
				column_append(rows->run, &reading->run, 1);
			reading->run = (RawRun) {.user = user, .start = rows->n, .n = 1};
			reading->has_run = true;
		}
	}
	if (query->time)
		column_append(rows->time, &time, 1);
	for (int c = 0; c < rows->n_columns; c++)
	{
		RawColumn  *column = &rows->column[c];
		int			at = reading->attnum[c] - 1;
		Cell		cells[NN_MAX_BAG];
		int			n = 1;

		if (reading->multi[c])
			n = cells_from_datum(&reading->type[c], values[at], isnull[at], cells);
		else
			cells[0] = cell_from_datum(&reading->type[c], values[at], isnull[at]);
		column_append(column->cell, cells, n);
		if (column->end != NULL)
			column_append(column->end, &column->cell->n, 1);
		if (column->texts != NULL && n > 0 && cells[0] != CELL_NULL && !reading->type[c].array)
			remember_text(reading->build, column->texts, cells[0], &reading->type[c], values[at]);
	}
	rows->n++;
	return true;
}

static void
note_skipped(const char *what, const char *column, int64 n)
{
	if (n > 0)
		job_note("%s: " INT64_FORMAT " rows without a usable value in column \"%s\" were skipped",
				 what, n, column);
}

static ExecProcNodeMtd input_next;

static TupleTableSlot *
checked_next(PlanState *input)
{
	job_check();
	return input_next(input);
}

/*
 * The first fetch sorts all rows, which may take an hour: give way within it,
 * too, at each row that the sort takes in.
 */
static void
check_sort(Portal portal)
{
	PlanState  *state = portal->queryDesc ? portal->queryDesc->planstate : NULL;

	while (state != NULL && !IsA(state, SortState))
		state = outerPlanState(state);
	if (state == NULL || outerPlanState(state) == NULL)
		return;
	state = outerPlanState(state);
	input_next = state->ExecProcNodeReal;
	ExecSetExecProcNode(state, checked_next);
}

/*
 * The planner reads a whole table through its index if it believes that pages
 * once fetched stay in the system's cache: three times as slow as a sort where
 * rows of a user lie everywhere.  So only what PostgreSQL's own buffers hold, and
 * a table in the order of the index, are worth that.  Until job_commit.
 */
static void
prefer_sort(void)
{
	char		blocks[16];

	snprintf(blocks, sizeof(blocks), "%d", Min(effective_cache_size, NBuffers));
	(void) set_config_option("effective_cache_size", blocks, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}

/* In a transaction of its own. */
RawRows *
read_rows(Build *build, const RawQuery *query)
{
	Reading		reading = {.build = build, .query = query};
	MemoryContext scratch;
	Portal		portal;
	Datum	   *values;
	bool	   *isnull;
	uint64		fetched;

	job_begin();
	prefer_sort();
	spi_connect();
	reading.rows = MemoryContextAllocZero(build->context, sizeof(RawRows));
	scratch = AllocSetContextCreate(CurrentMemoryContext, "dupn rows", ALLOCSET_DEFAULT_SIZES);
	{
		SPIPlanPtr	plan = SPI_prepare_cursor(query->sql, query->n_arguments, query->argument_type,
											  CURSOR_OPT_NO_SCROLL);

		if (plan == NULL)
			elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
		portal = SPI_cursor_open(NULL, plan, query->argument, NULL, true);
		check_sort(portal);
	}
	define_columns(&reading, portal->tupDesc);
	values = palloc(sizeof(Datum) * portal->tupDesc->natts);
	isnull = palloc(sizeof(bool) * portal->tupDesc->natts);

	do
	{
		MemoryContext old;

		SPI_cursor_fetch(portal, true, FETCH_ROWS);
		fetched = SPI_processed;
		old = MemoryContextSwitchTo(scratch);
		for (uint64 i = 0; i < fetched; i++)
		{
			heap_deform_tuple(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, values, isnull);
			if (!append_row(&reading, values, isnull))
				reading.rows->skipped++;
		}
		MemoryContextSwitchTo(old);
		MemoryContextReset(scratch);
		SPI_freetuptable(SPI_tuptable);
		job_check();
	} while (fetched > 0);

	if (reading.has_run)
		column_append(reading.rows->run, &reading.run, 1);
	SPI_cursor_close(portal);
	SPI_finish();
	job_commit();

	note_skipped(query->what, query->relations.user_column, reading.no_user);
	note_skipped(query->what, query->relations.time_column, reading.no_time);
	note_skipped(query->what, query->relations.item_key, reading.no_key);
	job_spilled(column_memory_spilled(build->data->memory));
	return reading.rows;
}

int
raw_compare(const RawRows *rows, int64 a, int64 b)
{
	if (rows->time != NULL)
	{
		TimestampTz x = raw_time(rows, a);
		TimestampTz y = raw_time(rows, b);

		if (x != y)
			return x < y ? -1 : 1;
	}
	if (rows->group >= 0 && raw_cell(rows, rows->group, a) != raw_cell(rows, rows->group, b))
		return raw_cell(rows, rows->group, a) < raw_cell(rows, rows->group, b) ? -1 : 1;
	for (int c = 0; c < rows->n_columns; c++)
	{
		const Cell *p;
		const Cell *q;
		int			n = raw_cells(rows, c, a, &p);
		int			m = raw_cells(rows, c, b, &q);

		if (n != m)
			return n < m ? -1 : 1;
		for (int i = 0; i < n; i++)
			if (p[i] != q[i])
				return p[i] < q[i] ? -1 : 1;
	}
	return 0;
}
