/*-------------------------------------------------------------------------
 *
 * dataset.c
 *	  From raw rows to the data set that is trained on
 *
 * Users and catalogue are sorted by key and rows of one instant by their
 * cells, so that the data set does not depend on the order of reading.
 *
 *-------------------------------------------------------------------------
 */
#include "train/dataset.h"

#include "serve/session.h"
#include "settings.h"
#include "train/memory.h"
#include "utils/memutils.h"

#define CHECK_EVERY 4096

static const nn_group event_groups[2] = {NN_ITEM, NN_PROPERTY};

int
encode_cells(const Feature *feature, const Cell *cells, int n, int32 *ids)
{
	if (feature->multi)
		return feature_encode_bag(feature, cells, n, ids);
	ids[0] = n > 0 ? feature_encode(feature, cells[0]) : ID_MISSING;
	return 1;
}

IdWriter
id_writer(Dataset *data, IdColumn *column, bool multi)
{
	IdWriter	writer = {.values = column_add(data->store, sizeof(int32), &column->values)};

	if (multi)
	{
		writer.offsets = column_add(data->store, sizeof(int64), &column->offsets);
		column_append(writer.offsets, &writer.values->n, 1);
	}
	return writer;
}

void
write_ids(IdWriter *writer, const int32 *ids, int n)
{
	column_append(writer->values, ids, n);
	if (writer->offsets)
		column_append(writer->offsets, &writer->values->n, 1);
}

void
write_cells(IdWriter *writer, const Feature *feature, const Cell *cells, int n)
{
	int32		ids[NN_MAX_BAG];

	write_ids(writer, ids, encode_cells(feature, cells, n, ids));
}

/* ---------------- the catalogue ---------------- */

/* Item numbers, for sorting. */
static const RawItem *sorted_items;

static int
compare_items(const void *a, const void *b)
{
	Cell		x = sorted_items[*(const int32 *) a].key;
	Cell		y = sorted_items[*(const int32 *) b].key;

	return x < y ? -1 : x > y;
}

void
sort_items(const Build *build, int32 *number, int64 n)
{
	sorted_items = build->item;
	qsort(number, n, sizeof(int32), compare_items);
}

int
item_cells(Build *build, const RawItem *item, int f, const Cell **cells)
{
	const RawRows *catalog = build->catalog;

	*cells = NULL;
	if (f == 0)
	{
		*cells = &item->key;
		return 1;
	}
	if (build->data->set->f[NN_ITEM][f].source == FROM_EVENTS && item->event_row >= 0)
		return event_cells(build, item->event_row, item, NN_ITEM, f, cells);
	if (item->catalog_row >= 0 && catalog->feature[NN_ITEM][f] >= 0)
		return raw_cells(catalog, catalog->feature[NN_ITEM][f], item->catalog_row, cells);
	return 0;
}

static void
make_catalogue(Build *build)
{
	Dataset    *data = build->data;
	MemoryContext context = data->context;
	const FeatureSet *set = data->set;
	Catalogue  *catalogue = &data->catalogue;
	int64		n = build->n_items;
	int32	   *order = MemoryContextAllocHuge(build->context, sizeof(int32) * Max(n, 1));
	Cell	   *keys = MemoryContextAllocHuge(context, sizeof(Cell) * Max(n, 1));
	int64	   *offsets = MemoryContextAllocHuge(context, sizeof(int64) * (n + 1));
	int64	   *counts = MemoryContextAllocHuge(context, sizeof(int64) * Max(n, 1));
	char	   *text = MemoryContextAllocHuge(context, build->item_text->n + 1);
	IdColumn	column[NN_MAX_FEATURES] = {{0}};

	for (int64 i = 0; i < n; i++)
		order[i] = (int32) i;
	sort_items(build, order, n);
	build->catalogue_index = MemoryContextAllocHuge(build->context, sizeof(int32) * Max(n, 1));

	data->known = MemoryContextAllocHuge(context, Max(n, 1));
	offsets[0] = 0;
	for (int64 i = 0; i < n; i++)
	{
		const RawItem *item = &build->item[order[i]];
		int64		begin = order[i] > 0 ? item[-1].text : 0;

		build->catalogue_index[order[i]] = (int32) i;
		keys[i] = item->key;
		counts[i] = item->count;
		memcpy(text + offsets[i], (const char *) build->item_text->data + begin, item->text - begin);
		offsets[i + 1] = offsets[i] + item->text - begin;
		data->known[i] = item->catalog_row >= 0 || item->count > 0;
		for (int f = 0; f < set->n[NN_ITEM]; f++)
		{
			const Feature *feature = &set->f[NN_ITEM][f];
			const Cell *cells;
			int32		ids[NN_MAX_BAG];
			int			m = item_cells(build, item, f, &cells);

			m = encode_cells(feature, cells, m, ids);
			id_column_append(&column[f], context, feature->multi, i, ids, m);
		}
		if (i % CHECK_EVERY == 0)
			job_check();
	}
	pfree(order);

	catalogue->n = n;
	catalogue->key = keys;
	catalogue->text = text;
	catalogue->text_offsets = offsets;
	catalogue->count = counts;
	for (int f = 0; f < set->n[NN_ITEM]; f++)
		catalogue->feature[f] = (nn_ids) {.values = column[f].values,
		.offsets = set->f[NN_ITEM][f].multi ? column[f].offsets : NULL};
	vocabulary_index(&catalogue->index, keys, n, 0, context);
}

/* ---------------- events ---------------- */

/* Row numbers of one user, for sorting. */
static const RawRows *sorted_rows;

static int
compare_rows(const void *a, const void *b)
{
	return raw_compare(sorted_rows, *(const int64 *) a, *(const int64 *) b);
}

int64
gather_rows(const RawRows *rows, int64 first_run, int64 n_runs, int64 **order, int64 *capacity)
{
	const RawRun *runs = (const RawRun *) rows->run->data + first_run;
	int64		n = 0;
	bool		sorted = true;

	for (int64 r = 0; r < n_runs; r++)
		for (int64 row = runs[r].start; row < runs[r].start + runs[r].n; row++)
		{
			if (n == *capacity)
			{
				*capacity = Max(1024, 2 * *capacity);
				*order = array_resize(*order, *capacity, sizeof(int64), CurrentMemoryContext);
			}
			if (n > 0 && raw_time(rows, (*order)[n - 1]) >= raw_time(rows, row))
				sorted = false;
			(*order)[n++] = row;
		}
	if (!sorted)
	{
		sorted_rows = rows;
		qsort(*order, n, sizeof(int64), compare_rows);
	}
	return n;
}

/* Where the item of an event is in the catalogue. */
static int32
item_place(const Build *build, const RawItem *item)
{
	return item == &build->no_item ? ITEM_NONE : build->catalogue_index[item - build->item];
}

/* The columns of the data set's events while they are written. */
typedef struct EventWriter
{
	Column	   *time;
	Column	   *item;
	IdWriter	feature[2][NN_MAX_FEATURES];
	IdWriter	context[NN_MAX_FEATURES];
	Column	   *where[NN_MAX_TASKS];
	Column	   *label_number[NN_MAX_TASKS];
	Column	   *label_cell[NN_MAX_TASKS];
	Column	   *within_cell[NN_MAX_TASKS];
	Column	   *type_weight[NN_MAX_TASKS];
} EventWriter;

static void
open_events(Build *build, EventWriter *writer)
{
	Dataset    *data = build->data;
	EventTable *events = MemoryContextAllocZero(data->context, sizeof(EventTable));

	memset(writer, 0, sizeof(*writer));
	data->events = events;
	writer->time = column_add(data->store, sizeof(TimestampTz), &events->time);
	writer->item = column_add(data->store, sizeof(int32), &events->item);
	for (int g = 0; g < 2; g++)
		for (int f = 0; f < data->set->n[event_groups[g]]; f++)
			writer->feature[g][f] = id_writer(data, &events->feature[g][f], data->set->f[event_groups[g]][f].multi);
	for (int f = 0; data->set->event_context && f < data->set->n[NN_CONTEXT]; f++)
		if (build->events->feature[NN_CONTEXT][f] >= 0)
			writer->context[f] = id_writer(data, &data->event_context[f], data->set->f[NN_CONTEXT][f].multi);
	for (int t = 0; t < data->model->n_tasks; t++)
	{
		const ModelTask *task = &data->model->task[t];

		if (task->samples != NULL)
			continue;
		if (build->n_conditions[t] > 0)
			writer->where[t] = column_add(data->store, sizeof(uint8), &data->where[t]);
		if (task->options.type_weights)
			writer->type_weight[t] = column_add(data->store, sizeof(float), &data->type_weight[t]);
		if (task->kind != NN_MULTICLASS)
			continue;
		if (data->levels[t].number)
			writer->label_number[t] = column_add(data->store, sizeof(double), &data->label_number[t]);
		else
			writer->label_cell[t] = column_add(data->store, sizeof(Cell), &data->label_cell[t]);
		if (task->options.within)
			writer->within_cell[t] = column_add(data->store, sizeof(Cell), &data->within_cell[t]);
	}
}

static void
write_labels(Build *build, EventWriter *writer, int64 row, const RawItem *item)
{
	for (int t = 0; t < build->data->model->n_tasks; t++)
	{
		const RawLabel *label = &build->label[t];
		uint8		where;
		float		weight;
		double		number;
		Cell		cell;

		if (writer->where[t])
		{
			where = event_allowed(build, t, row, item);
			column_append(writer->where[t], &where, 1);
		}
		if (writer->type_weight[t])
		{
			weight = weights_of_type(build, t, row, item);
			column_append(writer->type_weight[t], &weight, 1);
		}
		if (writer->label_number[t])
		{
			number = cell_number(event_label(build, label, row, item), label->kind);
			column_append(writer->label_number[t], &number, 1);
		}
		if (writer->label_cell[t])
		{
			cell = event_label(build, label, row, item);
			column_append(writer->label_cell[t], &cell, 1);
		}
		if (writer->within_cell[t])
		{
			cell = event_label(build, &build->within[t], row, item);
			column_append(writer->within_cell[t], &cell, 1);
		}
	}
}

static void
write_context(Build *build, EventWriter *writer, int64 row)
{
	for (int f = 0; f < build->data->set->n[NN_CONTEXT]; f++)
		if (writer->context[f].values)
		{
			const Cell *cells;
			int			n = raw_cells(build->events, build->events->feature[NN_CONTEXT][f], row, &cells);

			write_cells(&writer->context[f], &build->data->set->f[NN_CONTEXT][f], cells, n);
		}
}

/* The rows of one user behind those of the users before. */
static void
write_events(EventWriter *writer, const FeatureSet *set, const EventTable *table)
{
	column_append(writer->time, table->time, table->n);
	column_append(writer->item, table->item, table->n);
	for (int g = 0; g < 2; g++)
		for (int f = 0; f < set->n[event_groups[g]]; f++)
		{
			const IdColumn *column = &table->feature[g][f];
			IdWriter   *to = &writer->feature[g][f];

			if (to->offsets == NULL)
				column_append(to->values, column->values, table->n);
			else
				for (int64 row = 0; row < table->n; row++)
					write_ids(to, column->values + column->offsets[row],
							  (int) (column->offsets[row + 1] - column->offsets[row]));
		}
}

static void
encode_events(Build *build)
{
	Dataset    *data = build->data;
	const FeatureSet *set = data->set;
	EventTable *table = event_table(CurrentMemoryContext);	/* of one user */
	EventRow   *event = palloc(sizeof(EventRow));
	Column	   *users = column_add(data->store, sizeof(User), &data->users);
	EventWriter writer;
	int64	   *order = NULL;
	int64		capacity = 0;

	open_events(build, &writer);
	for (int64 u = 0; u < build->users->n; u++)
	{
		const RawUser *raw = (const RawUser *) build->users->data + u;
		User		user = {.start = data->events->n, .key = raw->key,
		.hash = (uint32) (cell_hash(raw->key) >> 32), .hold_out = raw->hold_out, .report = raw->report};

		user.n = gather_rows(build->events, raw->first_run, raw->n_runs, &order, &capacity);
		if (user.n > PG_INT32_MAX)
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("a user has more than %d events", PG_INT32_MAX)));
		event_table_reset(table);
		for (int64 i = 0; i < user.n; i++)
		{
			int64		row = order[i];
			const RawItem *item = raw_item(build, build->events, row);
			int32		place = item_place(build, item);

			event->time = raw_time(build->events, row);
			event->item = (int32) i;	/* through the sort: which row it was */
			for (int g = 0; g < 2; g++)
				for (int f = 0; f < set->n[event_groups[g]]; f++)
				{
					const Feature *feature = &set->f[event_groups[g]][f];
					const Cell *cells;
					int			m;

					if (feature->encoding == ENCODE_FIXED)
						continue;
					if (feature->source == FROM_CATALOG && place >= 0 && build->base_items)
					{
						const int32 *ids;

						event->n[g][f] = catalogue_ids(&data->catalogue, f, feature->multi, place, &ids);
						memcpy(event->id[g][f], ids, sizeof(int32) * event->n[g][f]);
						continue;
					}
					m = event_cells(build, row, item, event_groups[g], f, &cells);
					event->n[g][f] = encode_cells(feature, cells, m, event->id[g][f]);
				}
			event_table_append(table, set, event);
			if ((data->events->n + i) % CHECK_EVERY == 0)
				job_check();
		}
		event_table_sort(table, set, 0, table->n, 0, false);
		for (int64 at = 0; at < user.n; at++)
		{
			int64		row = order[table->item[at]];
			const RawItem *item = raw_item(build, build->events, row);

			table->item[at] = item_place(build, item);
			write_labels(build, &writer, row, item);
			write_context(build, &writer, row);
		}
		if (user.n > 0)
			write_events(&writer, set, table);
		column_append(users, &user, 1);
		data->events->n += user.n;
	}
	data->n_users = users->n;
	weights_check_types(build);
	if (order)
		pfree(order);
	pfree(event);
}

/* ---------------- profiles ---------------- */

static void
encode_profiles(Build *build)
{
	Dataset    *data = build->data;
	const FeatureSet *set = data->set;
	const RawRows *rows = build->profile;
	const RawRun *runs;
	IdWriter	writer[NN_MAX_FEATURES];
	int64		r = 0;

	if (rows == NULL)
		return;
	runs = rows->run->data;
	for (int f = 0; f < set->n[NN_PROFILE]; f++)
		if (set->f[NN_PROFILE][f].source == FROM_PROFILE)
			writer[f] = id_writer(data, &data->profile[f], set->f[NN_PROFILE][f].multi);
	for (int64 u = 0; u < build->users->n; u++)
	{
		Cell		key = ((const RawUser *) build->users->data)[u].key;
		int64		best = -1;

		/* of several rows the smallest, whatever was read first */
		for (; r < rows->run->n && runs[r].user <= key; r++)
			for (int64 row = runs[r].start; runs[r].user == key && row < runs[r].start + runs[r].n; row++)
				if (best < 0 || raw_compare(rows, row, best) < 0)
					best = row;
		for (int f = 0; f < set->n[NN_PROFILE]; f++)
		{
			const Cell *cells = NULL;
			int			n = 0;

			if (set->f[NN_PROFILE][f].source != FROM_PROFILE)
				continue;
			if (best >= 0 && rows->feature[NN_PROFILE][f] >= 0)
				n = raw_cells(rows, rows->feature[NN_PROFILE][f], best, &cells);
			write_cells(&writer[f], &set->f[NN_PROFILE][f], cells, n);
		}
		if (u % CHECK_EVERY == 0)
			job_check();
	}
}

static void
row_from_columns(const FeatureSet *set, nn_group group, const IdColumn *columns, int64 at, IdRow *row)
{
	for (int f = 0; f < set->n[group]; f++)
	{
		const IdColumn *column = &columns[f];
		bool		multi = set->f[group][f].multi;

		row->n[f] = multi ? 0 : 1;
		row->id[f][0] = ID_MISSING;
		if (column->values == NULL || (multi && column->offsets == NULL))
			continue;
		if (!multi)
			row->id[f][0] = column->values[at];
		else
		{
			row->n[f] = (int32) (column->offsets[at + 1] - column->offsets[at]);
			memcpy(row->id[f], column->values + column->offsets[at], sizeof(int32) * row->n[f]);
		}
	}
}

void
dataset_profile(const Dataset *data, int32 user, IdRow *row)
{
	row_from_columns(data->set, NN_PROFILE, data->profile, user, row);
}

void
dataset_context(const Dataset *data, int task, int64 sample, IdRow *row)
{
	row_from_columns(data->set, NN_CONTEXT, task < 0 ? data->event_context : data->rows[task].context, sample, row);
}

/* ---------------- all of it ---------------- */

Dataset *
dataset_load(const Job *job, const Model *model, const ModelImage *base, DataRange range)
{
	MemoryContext context = AllocSetContextCreate(job->context, "dupn data set", ALLOCSET_DEFAULT_SIZES);
	MemoryContext temporary = AllocSetContextCreate(job->context, "dupn reading", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(temporary);
	Dataset    *data = MemoryContextAllocZero(context, sizeof(Dataset));
	Build	   *build = palloc0(sizeof(Build));
	bool		night = !TIMESTAMP_IS_NOBEGIN(range.since);
	int64		kilobytes = dupn_job_memory > 0 ? dupn_job_memory : maintenance_work_mem;

	data->model = model;
	data->base = base;
	data->until = DT_NOEND;
	data->since = range.since;
	data->until_read = range.until;
	data->context = context;
	data->memory = column_memory(job->context, kilobytes * 1024);
	data->store = column_store(context, data->memory);
	build->data = data;
	build->base = base;
	build->context = temporary;
	build->store = column_store(temporary, data->memory);

	read_relations(build);
	job_progress(base && !night ? "learning levels" : "learning vocabularies", 0.05, 0, NULL);
	learn_split(build);
	learn_items(build);
	if (base == NULL || night)
		learn_features(build);
	learn_levels(build);
	weights_learn(build);
	job_progress("encoding", 0.07, 0, NULL);
	if (night)
		grow_catalogue(build);
	else if (base)
		base_catalogue(build);
	else
		make_catalogue(build);
	if (base == NULL || night)
		count_held_out(build);

	/* what was learned came beside the rows */
	(void) column_memory_reserve(data->memory, 0);
	encode_events(build);
	encode_profiles(build);

	/* what is drawn beside positives depends on the events */
	column_store_finish(data->store);
	for (int t = 0; t < model->n_tasks; t++)
	{
		if (build->samples[t])
			encode_samples(build, t);
		else if (!task_from_events(&model->task[t]))
			encode_positives(build, t);
	}
	column_store_finish(data->store);
	drift_collect(build);
	for (int t = 0; t < model->n_tasks; t++)
		if (model->task[t].kind == NN_NEXT_ITEM && model->task[t].options.memory)
			memory_learn(data, t);
	job_spilled(column_memory_spilled(data->memory));
	job_memory();				/* the rows and what was made of them */

	MemoryContextSwitchTo(old);
	MemoryContextDelete(temporary);
	return data;
}

void
dataset_refit(Dataset *data)
{
	int64	   *count = unconstify(int64 *, data->catalogue.count);

	/* a version's own counts, and those of its memory, stay its own */
	if (data->held_out == NULL)
		return;
	for (int t = 0; t < data->model->n_tasks; t++)
		if (data->model->task[t].kind == NN_NEXT_ITEM && data->model->task[t].options.memory)
			memory_refit(data, t);
	for (int64 j = 0; j < data->catalogue.n; j++)
		count[j] += data->held_out[j];
}
