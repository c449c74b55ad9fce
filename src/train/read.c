/*-------------------------------------------------------------------------
 *
 * read.c
 *	  The user's relations into raw columns
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
#include "utils/builtins.h"
#include "utils/lsyscache.h"
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
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
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

/* ---------------- what is read ---------------- */

static HTAB *
text_table(Build *build)
{
	HASHCTL		ctl = {.keysize = sizeof(Cell), .entrysize = sizeof(TextEntry), .hcxt = build->context};

	return hash_create("dupn label texts", 256, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/* Find the label (or within) column of an events-based task. */
static void
find_label(Build *build, Oid events, RawLabel *label, const char *name, bool texts,
		   char **extra, HTAB **extra_texts, int *n_extra)
{
	const FeatureSet *set = build->data->set;

	label->column = label->feature = -1;
	label->texts = texts ? text_table(build) : NULL;
	if (get_attnum(events, name) > 0)
	{
		label->column = *n_extra;
		extra[*n_extra] = pstrdup(name);
		extra_texts[(*n_extra)++] = label->texts;
		return;
	}
	for (int f = 0; f < set->n[NN_ITEM]; f++)
		if (strcmp(set->f[NN_ITEM][f].name, name) == 0 && !set->f[NN_ITEM][f].multi)
			label->feature = f;
	if (label->feature < 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("column \"%s\" is neither in relation %s nor an item column",
						name, build->data->model->relations.events),
				 errhint("Declare it among the model's item_columns.")));
}

/* "where" of a task: its values go the way of the column's own values. */
static void
read_conditions(Build *build, int t)
{
	const FeatureSet *set = build->data->set;
	const ModelTask *task = &build->data->model->task[t];
	JsonbIterator *iterator;
	JsonbValue	value;
	JsonbIteratorToken token;
	Condition  *condition = NULL;
	CellType	type;

	if (task->options.where == NULL)
		return;
	build->condition[t] = MemoryContextAllocZero(build->context,
												 sizeof(Condition) * 2 * NN_MAX_FEATURES);
	iterator = JsonbIteratorInit(&task->options.where->root);
	while ((token = JsonbIteratorNext(&iterator, &value, false)) != WJB_DONE)
	{
		if (token == WJB_KEY)
		{
			char	   *name = pnstrdup(value.val.string.val, value.val.string.len);
			const Feature *feature = NULL;

			for (int g = NN_ITEM; g <= NN_PROPERTY; g++)
				for (int f = 0; f < set->n[g]; f++)
					if (set->f[g][f].encoding != ENCODE_FIXED && strcmp(set->f[g][f].name, name) == 0)
						feature = &set->f[g][f];
			if (feature == NULL)
				ereport(ERROR,
						(errcode(ERRCODE_UNDEFINED_COLUMN),
						 errmsg("task \"%s\": \"where\" names \"%s\", which is no item or behavior column",
								task->name, name)));

			/* names are distinct, of columns as well as of keys, so there is room */
			condition = &build->condition[t][build->n_conditions[t]++];
			condition->group = feature->group;
			condition->feature = (int) (feature - set->f[feature->group]);
			cell_type_init(&type, feature->type, feature->encoding != ENCODE_BANDS,
						   CurrentMemoryContext);
			condition->cell = MemoryContextAlloc(build->context, sizeof(Cell));
		}
		else if (token == WJB_VALUE || token == WJB_ELEM)
		{
			char	   *text = jsonb_value_text(&value);

			if (text == NULL)
				continue;
			condition->cell = repalloc(condition->cell, sizeof(Cell) * (condition->n + 1));
			condition->cell[condition->n++] = cell_from_input(&type, text);
		}
	}
}

/*
 * The range of a relation that is read, its parameters behind those of the query
 * so far.  Inside a transaction; with the query's lifetime.
 */
static TimedRelation
add_range(Build *build, RawQuery *query, const char *relation, const char *user_column, const char *time_column,
		  TimestampTz since, TimestampTz until)
{
	Dataset    *data = build->data;
	Oid			type = getBaseType(column_type(relation_oid(relation), relation, time_column));
	int			n = query->n_arguments + 2;

	if (query->n_arguments == 0)
	{
		query->argument_type = MemoryContextAlloc(build->context, sizeof(Oid) * 2 * (NN_MAX_TASKS + 1));
		query->argument = MemoryContextAlloc(build->context, sizeof(Datum) * 2 * (NN_MAX_TASKS + 1));
	}
	query->argument_type[n - 2] = query->argument_type[n - 1] = type;
	query->argument[n - 2] = time_parameter(data->set, type, TIMESTAMP_NOT_FINITE(since) ? since : since + 1);
	query->argument[n - 1] = time_parameter(data->set, type, TIMESTAMP_NOT_FINITE(until) ? until : until + 1);
	query->n_arguments = n;
	return (TimedRelation) {.relation = relation, .user_column = user_column, .time_column = time_column,
		.time_type = type, .first = n - 1
	};
}

/* The same of a task's samples: labels that were not known then are new, too. */
static TimedRelation
add_samples_range(Build *build, RawQuery *query, const ModelTask *task)
{
	const Relations *relations = &build->data->model->relations;
	const TaskOptions *options = &task->options;
	TimestampTz since = build->data->since;

	return add_range(build, query, task->samples,
					 options->user_column ? options->user_column : relations->user_column,
					 options->time_column ? options->time_column : relations->time_column,
					 TIMESTAMP_IS_NOBEGIN(since) ? since : since - options->matures, build->data->until_read);
}

/* The query of the events: all, those of a range, or those of the users of a night. */
static void
make_events_query(Build *build, RawQuery *query, char **extra)
{
	Dataset    *data = build->data;
	const Model *model = data->model;
	const Relations *relations = &model->relations;
	TimedRelation timed[NN_MAX_TASKS + 1];
	const char *sql;
	bool		all_history = false;
	int			n = 0;

	if (TIMESTAMP_IS_NOBEGIN(data->since) && TIMESTAMP_IS_NOEND(data->until_read))
	{
		query->sql = MemoryContextStrdup(build->context, training_query(data->set, relations, extra, NULL));
		return;
	}
	timed[n++] = add_range(build, query, relations->events, relations->user_column, relations->time_column,
						   data->since, data->until_read);
	if (TIMESTAMP_IS_NOBEGIN(data->since))
		sql = training_query(data->set, relations, extra, timed);
	else
	{
		for (int t = 0; t < model->n_tasks; t++)
		{
			all_history |= model->task[t].options.exclude_seen;
			if (model->task[t].samples)
				timed[n++] = add_samples_range(build, query, &model->task[t]);
		}

		/* the event before the window tells its first gap; older samples have windows, too */
		sql = night_query(data->set, relations, extra, timed, n,
						  all_history ? 0 : data->set->max_events * (model->options.replay > 0 ? 2 : 1) + 1);
	}
	query->sql = MemoryContextStrdup(build->context, sql);
}

/* Append ", s.column" unless the list has it already. */
static void
append_once(StringInfo sql, List **names, const char *name)
{
	ListCell   *lc;

	foreach(lc, *names)
		if (strcmp(lfirst(lc), name) == 0)
			return;
	*names = lappend(*names, pstrdup(name));
	appendStringInfo(sql, "%ss.%s", sql->len > 7 ? ", " : "", quote_identifier(name));
}

static void
read_samples(Build *build, int t)
{
	const Model *model = build->data->model;
	const ModelTask *task = &model->task[t];
	const FeatureSet *set = build->data->set;
	RawQuery	query = {.what = task->samples, .relations = model->relations,
	.user = true, .time = true};
	const char *single[] = {task->options.weight_column, task->options.position_column, task->options.group_column};
	int			at[lengthof(single)];	/* among the extra columns */
	HTAB	  **texts = palloc0(sizeof(HTAB *) * (1 + task->n_features + lengthof(single)));
	StringInfoData sql;
	List	   *names = NIL;
	Oid			relation;
	RawRows    *rows;

	if (task->options.user_column)
		query.relations.user_column = task->options.user_column;
	if (task->options.time_column)
		query.relations.time_column = task->options.time_column;

	job_begin();
	build->n_candidate[t] = task_candidate(model, set, task, build->candidate[t]);
	relation = relation_oid(task->samples);
	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT ");
	append_once(&sql, &names, query.relations.user_column);
	append_once(&sql, &names, query.relations.time_column);
	if (get_attnum(relation, model->relations.item_key) > 0)
		append_once(&sql, &names, model->relations.item_key);
	for (int g = 0; g < NN_GROUPS; g++)
		for (int f = 0; f < set->n[g]; f++)
			if ((g == NN_ITEM || g == NN_CONTEXT || g == NN_THING) && set->f[g][f].encoding != ENCODE_FIXED &&
				get_attnum(relation, set->f[g][f].name) > 0)
				append_once(&sql, &names, set->f[g][f].name);

	/* the extra columns may repeat the others */
	if (task->label != NULL)
	{
		weights_read_labels(build, t, column_type(relation, task->samples, task->label));
		appendStringInfo(&sql, ", s.%s", quote_identifier(task->label));
		texts[query.n_extra++] = build->label[t].texts =
			task->kind == NN_MULTICLASS ? text_table(build) : NULL;
	}
	for (int i = 0; i < task->n_features; i++)
	{
		bool		flipped;
		const char *column = feature_column(task->kind, task->features[i], &flipped);

		(void) column_type(relation, task->samples, column);
		appendStringInfo(&sql, ", s.%s", quote_identifier(column));
		query.n_extra++;
	}
	for (int i = 0; i < lengthof(single); i++)
		if (single[i])
		{
			(void) column_type(relation, task->samples, single[i]);
			appendStringInfo(&sql, ", s.%s", quote_identifier(single[i]));
			at[i] = query.n_extra++;
		}
	appendStringInfo(&sql, " FROM %s s", task->samples);
	if (!TIMESTAMP_IS_NOBEGIN(build->data->since) || !TIMESTAMP_IS_NOEND(build->data->until_read))
	{
		TimedRelation timed = add_samples_range(build, &query, task);

		appendStringInfoString(&sql, " WHERE ");
		append_range(&sql, "s", &timed);
	}
	appendStringInfo(&sql, " ORDER BY s.%s",
					 quote_identifier(query.relations.user_column));
	appendStringInfo(&sql, ", s.%s", quote_identifier(query.relations.time_column));
	query.sql = MemoryContextStrdup(build->context, sql.data);
	job_commit();

	query.extra_texts = texts;
	rows = build->samples[t] = read_rows(build, &query);
	build->weight[t] = single[0] ? rows->extra + at[0] : -1;
	build->position[t] = single[1] ? rows->extra + at[1] : -1;
	rows->group = single[2] ? rows->extra + at[2] : -1;
	build->label[t].column = build->label[t].feature = -1;
	if (task->label != NULL)
	{
		build->label[t].column = rows->extra;
		build->label[t].kind = rows->column[rows->extra].kind;
	}
}

static int
compare_runs(const void *a, const void *b)
{
	const RawRun *x = a;
	const RawRun *y = b;

	if (x->user != y->user)
		return x->user < y->user ? -1 : 1;
	return x->start < y->start ? -1 : x->start > y->start;
}

/* Users as cells are in another order than in SQL, and profiles are in none. */
static void
sort_runs(RawRows *rows)
{
	rows->run = column_sorted(rows->run, compare_runs);
}

void
read_relations(Build *build)
{
	Dataset    *data = build->data;
	const Model *model = data->model;
	const Relations *relations = &model->relations;
	HTAB	   *feature_texts[NN_MAX_FEATURES] = {NULL};
	char	   *extra[2 * NN_MAX_TASKS + 1] = {NULL};
	HTAB	   *extra_texts[2 * NN_MAX_TASKS] = {NULL};
	int			n_extra = 0;
	RawQuery	events_query = {.what = relations->events, .relations = *relations,
	.user = true, .time = true, .item_texts = true};
	char	   *catalog_sql = NULL;
	char	   *profile_sql = NULL;
	bool		profile = false;

	job_begin();
	data->set = model_features(model, data->context);
	if (build->base)
		base_features(build);
	{
		Oid			events = relation_oid(relations->events);

		build->item_numbers = MemoryContextAlloc(build->context, sizeof(ItemNumbers));
		build->item_numbers->hash = number_create(build->context, 4096, NULL);
		build->item_text = column_add(build->store, 1, NULL);
		build->no_item = (RawItem) {.key = CELL_NULL, .catalog_row = -1, .event_row = -1};
		for (int t = 0; t < model->n_tasks; t++)
		{
			const ModelTask *task = &model->task[t];

			if (task->samples != NULL)
				continue;
			read_conditions(build, t);
			weights_read_types(build, t);
			build->n_candidate[t] = task_candidate(model, data->set, task, build->candidate[t]);
			if (task->kind != NN_MULTICLASS)
				continue;
			{
				FeatureSource source;
				Oid			type;

				if (model_column(model, task->label, &source, NULL, &type))
					weights_read_labels(build, t, type);
			}
			find_label(build, events, &build->label[t], task->label, true,
					   extra, extra_texts, &n_extra);
			if (build->label[t].feature >= 0)
				feature_texts[build->label[t].feature] = build->label[t].texts;
			if (task->options.within)
				find_label(build, events, &build->within[t], task->options.within, false,
						   extra, extra_texts, &n_extra);
		}
	}
	for (int f = 0; f < data->set->n[NN_PROFILE]; f++)
		profile |= data->set->f[NN_PROFILE][f].source == FROM_PROFILE;
	make_events_query(build, &events_query, extra);
	if (relations->catalog)
		catalog_sql = MemoryContextStrdup(build->context, catalog_query(data->set, relations, false));
	if (profile)
		profile_sql = MemoryContextStrdup(build->context, profile_query(data->set, relations, false));
	job_commit();

	job_progress("reading", 0, 0, NULL);
	events_query.n_extra = n_extra;
	events_query.extra_texts = extra_texts;
	build->events = read_rows(build, &events_query);
	if (catalog_sql)
		build->catalog = read_rows(build, &(RawQuery) {
			.sql = catalog_sql, .what = relations->catalog, .relations = *relations,
			.key = true, .item_texts = true, .feature_texts = feature_texts
		});
	if (profile_sql)
	{
		RawQuery	query = {.sql = profile_sql, .what = relations->profile,
		.relations = *relations, .user = true};

		query.relations.user_column = relations->profile_key;
		build->profile = read_rows(build, &query);
	}
	for (int t = 0; t < model->n_tasks; t++)
	{
		if (task_from_events(&model->task[t]))
		{
			RawLabel   *labels[2] = {&build->label[t], &build->within[t]};

			for (int i = 0; i < 2; i++)
			{
				RawLabel   *label = labels[i];

				if (model->task[t].kind != NN_MULTICLASS || (i == 1 && !model->task[t].options.within))
					continue;
				if (label->column >= 0)
				{
					label->column += build->events->extra;
					label->kind = build->events->column[label->column].kind;
				}
				else
					label->kind = data->set->f[NN_ITEM][label->feature].kind;
			}
			continue;
		}
		if (model->task[t].samples == NULL)
			continue;
		job_progress("reading", 0, 0, NULL);
		read_samples(build, t);
	}
	column_store_finish(build->store);
	number_destroy(build->item_numbers->hash);
	sort_runs(build->events);
	if (build->profile)
		sort_runs(build->profile);
	for (int t = 0; t < model->n_tasks; t++)
		if (build->samples[t])
			sort_runs(build->samples[t]);
	job_spilled(column_memory_spilled(build->data->memory));
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
