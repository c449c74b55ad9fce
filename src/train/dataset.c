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

#include <math.h>

#include "serve/session.h"
#include "settings.h"
#include "train/memory.h"
#include "train/negatives.h"
#include "utils/memutils.h"

#define CHECK_EVERY 4096

static const nn_group event_groups[2] = {NN_ITEM, NN_PROPERTY};

/* Cells to the ids of a feature; returns how many. */
static int
encode_cells(const Feature *feature, const Cell *cells, int n, int32 *ids)
{
	if (feature->multi)
		return feature_encode_bag(feature, cells, n, ids);
	ids[0] = n > 0 ? feature_encode(feature, cells[0]) : ID_MISSING;
	return 1;
}

/* An IdColumn of the data set that is being written. */
typedef struct IdWriter
{
	Column	   *values;
	Column	   *offsets;		/* NULL unless multi-hot */
} IdWriter;

static IdWriter
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

/* Append a row of n ids. */
static void
write_ids(IdWriter *writer, const int32 *ids, int n)
{
	column_append(writer->values, ids, n);
	if (writer->offsets)
		column_append(writer->offsets, &writer->values->n, 1);
}

static void
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

/* The cells of a feature of an item: from where it is declared, else from the catalog. */
static int
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
	sorted_items = build->item;
	qsort(order, n, sizeof(int32), compare_items);
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

/* Collect the rows of runs in the total order of raw_compare. */
static int64
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

/* ---------------- samples ---------------- */

/* The label of a sample, NAN for none. */
static float
sample_label(Build *build, int t, int64 row)
{
	const ModelTask *task = &build->data->model->task[t];
	const RawLabel *label = &build->label[t];
	Cell		cell;
	double		number;
	int			class;

	/* what there is was taken, and the rest is drawn */
	if (label->column < 0)
		return 1;
	cell = raw_cell(build->samples[t], label->column, row);
	if (cell == CELL_NULL)
		return NAN;
	if (task->kind == NN_MULTICLASS)
	{
		class = levels_class(&build->data->levels[t], cell, cell_number(cell, label->kind), CELL_NULL);
		return class < 0 ? NAN : class;
	}
	if (label->kind == CELL_HASH)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("task \"%s\": label \"%s\" is neither boolean nor a number", task->name, task->label),
				 errhint("Make it a boolean in a view of the samples.")));
	number = cell_number(cell, label->kind);
	if (number != 0 && number != 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("task \"%s\": a label \"%s\" is %g, neither 0 nor 1", task->name, task->label, number),
				 errhint("Make it a boolean in a view of the samples.")));
	return (float) number;
}

/* The columns of a task's samples while they are written. */
typedef struct SampleWriter
{
	Column	   *user,
			   *time,
			   *label,
			   *weight,
			   *type_weight,
			   *position,
			   *group,
			   *item,
			   *drawn,
			   *raw_features;	/* not yet scaled, and gone then */
	Negatives  *negatives;		/* NULL: none are drawn */
	IdWriter	candidate[NN_MAX_FEATURES];
	IdWriter	context[NN_MAX_FEATURES];
} SampleWriter;

static void
open_samples(Build *build, int t, SampleWriter *writer)
{
	Dataset    *data = build->data;
	SampleRows *rows = &data->rows[t];
	const TaskOptions *options = &data->model->task[t].options;

	memset(writer, 0, sizeof(*writer));
	writer->user = column_add(data->store, sizeof(int32), &rows->user);
	writer->time = column_add(data->store, sizeof(TimestampTz), &rows->time);
	writer->label = column_add(data->store, sizeof(float), &rows->label);
	writer->item = column_add(data->store, sizeof(int32), &rows->item);
	if (build->samples[t] == NULL || build->weight[t] >= 0)
		writer->weight = column_add(data->store, sizeof(float), &rows->weight);
	if (options->type_weights)
		writer->type_weight = column_add(data->store, sizeof(float), &rows->type_weight);
	if (options->negatives > 0)
	{
		writer->negatives = negatives_make(data, build->candidate[t], build->n_candidate[t], build->context);
		writer->drawn = column_add(data->store, sizeof(uint8), &rows->drawn);
	}
	if (build->samples[t] && build->position[t] >= 0)
		writer->position = column_add(data->store, sizeof(int32), &rows->position);
	if (build->samples[t] && build->samples[t]->group >= 0)
		writer->group = column_add(data->store, sizeof(Cell), &rows->group);
	writer->raw_features = column_add(build->store, sizeof(float), NULL);
	for (int k = 0; k < build->n_candidate[t]; k++)
		writer->candidate[k] = id_writer(data, &rows->candidate[k],
										 data->set->f[NN_ITEM][build->candidate[t][k]].multi);
	for (int f = 0; build->samples[t] && f < data->set->n[NN_CONTEXT]; f++)
		if (build->samples[t]->feature[NN_CONTEXT][f] >= 0)
			writer->context[f] = id_writer(data, &rows->context[f], data->set->f[NN_CONTEXT][f].multi);
}

/* Mean and scale of the training samples, unless a version has them, then z-scores; a NULL is the mean. */
static void
standardize(Build *build, int t, const SampleWriter *writer)
{
	Dataset    *data = build->data;
	SampleRows *rows = &data->rows[t];
	const RawUser *users = build->users->data;
	const int32 *user = writer->user->data;
	const TimestampTz *time = writer->time->data;
	const float *raw = writer->raw_features->data;
	Column	   *scaled = column_add(data->store, sizeof(float), &rows->features);
	const ModelTask *task = &data->model->task[t];
	int			F = task->n_features;
	bool		known;

	rows->mean = MemoryContextAllocZero(data->context, sizeof(float) * Max(F, 1));
	rows->scale = MemoryContextAllocZero(data->context, sizeof(float) * Max(F, 1));
	known = base_statistics(build, t, rows);
	for (int f = 0; f < F && !known; f++)
	{
		bool		flipped;
		const char *column = feature_column(task->kind, task->features[f], &flipped);
		double		sum = 0;
		double		squares = 0;
		double		mean;
		double		deviation;
		int64		n = 0;

		for (int64 i = 0; i < rows->n; i++)
		{
			if (i % CHECK_EVERY == 0)
				job_check();
			if (isfinite(raw[i * F + f]) && time[i] < users[user[i]].hold_out)
			{
				sum += raw[i * F + f];
				n++;
			}
		}
		mean = n > 0 ? sum / n : 0;
		for (int64 i = 0; i < rows->n; i++)
			if (isfinite(raw[i * F + f]) && time[i] < users[user[i]].hold_out)
				squares += (raw[i * F + f] - mean) * (raw[i * F + f] - mean);
		deviation = n > 0 ? sqrt(squares / n) : 0;
		rows->mean[f] = mean;
		rows->scale[f] = 1;
		if (deviation > 1e-12 * fabs(mean) && deviation > 0)
			rows->scale[f] = 1 / deviation;
		else
			job_note("task \"%s\": feature \"%s\" has %s before the hold-out and says nothing", task->name,
					 column, n > 0 ? "one value only" : "no value");
		if (flipped)
			rows->scale[f] = -rows->scale[f];
	}
	for (int64 i = 0; i < rows->n; i++)
	{
		if (i % CHECK_EVERY == 0)
			job_check();
		for (int f = 0; f < F; f++)
		{
			float		value = raw[i * F + f];

			value = isfinite(value) ? (value - rows->mean[f]) * rows->scale[f] : 0;
			column_append(scaled, &value, 1);
		}
	}
	column_finish(scaled);
}

/* raw: the samples' row, whose own columns tell more of the candidate than its item; NULL: there is none. */
static void
write_candidate(Build *build, int t, SampleWriter *writer, const RawRows *raw, int64 row, int32 item)
{
	Dataset    *data = build->data;

	for (int k = 0; k < build->n_candidate[t]; k++)
	{
		int			f = build->candidate[t][k];
		const Feature *feature = &data->set->f[NN_ITEM][f];
		const nn_ids *ids = &data->catalogue.feature[f];
		const Cell *cells = NULL;
		int			n = 0;

		if (raw != NULL && raw->feature[NN_ITEM][f] >= 0)
		{
			n = raw_cells(raw, raw->feature[NN_ITEM][f], row, &cells);
			write_cells(&writer->candidate[k], feature, cells, n);
		}
		else if (item < 0)
			write_cells(&writer->candidate[k], feature, NULL, 0);
		else if (ids->offsets)
			write_ids(&writer->candidate[k], ids->values + ids->offsets[item],
					  (int) (ids->offsets[item + 1] - ids->offsets[item]));
		else
			write_ids(&writer->candidate[k], ids->values + item, 1);
	}
}

/* A sample of a candidate: what all have. */
typedef struct Sample
{
	int32		user;
	TimestampTz time;
	float		label;
	float		weight;
	float		type_weight;
	int32		item;
	int64		row;			/* of the samples' relation, -1: it is an event */
	bool		drawn;
} Sample;

static void
write_sample(Build *build, int t, SampleWriter *writer, const Sample *sample)
{
	Dataset    *data = build->data;
	const FeatureSet *set = data->set;
	const RawRows *raw = build->samples[t];
	const int32 none = -1;		/* of a candidate that is no item, none is told apart */

	column_append(writer->user, &sample->user, 1);
	column_append(writer->time, &sample->time, 1);
	column_append(writer->label, &sample->label, 1);
	column_append(writer->item, writer->negatives == NULL || negatives_by_item(writer->negatives) ? &sample->item : &none, 1);
	if (writer->weight)
		column_append(writer->weight, &sample->weight, 1);
	if (writer->type_weight)
		column_append(writer->type_weight, &sample->type_weight, 1);
	if (writer->drawn)
	{
		uint8		drawn = sample->drawn;

		column_append(writer->drawn, &drawn, 1);
	}
	if (writer->position)
	{
		Cell		cell = raw_cell(raw, build->position[t], sample->row);
		int32		bucket = cell == CELL_NULL || sample->drawn ? -1 : position_bucket(cell);

		column_append(writer->position, &bucket, 1);
	}
	if (writer->group)
	{
		Cell		cell = raw_cell(raw, raw->group, sample->row);

		column_append(writer->group, &cell, 1);
	}
	for (int f = 0; f < data->model->task[t].n_features; f++)
	{
		int			c = raw->extra + 1 + f;
		float		value = cell_number(raw_cell(raw, c, sample->row), raw->column[c].kind);

		column_append(writer->raw_features, &value, 1);
	}

	/* drawn ones and positives are described in the same way, where these are known to be items */
	write_candidate(build, t, writer, writer->negatives && sample->item >= 0 ? NULL : raw, sample->row, sample->item);
	for (int f = 0; raw != NULL && f < set->n[NN_CONTEXT]; f++)
		if (raw->feature[NN_CONTEXT][f] >= 0)
		{
			const Cell *cells;
			int			n = raw_cells(raw, raw->feature[NN_CONTEXT][f], sample->row, &cells);

			write_cells(&writer->context[f], &set->f[NN_CONTEXT][f], cells, n);
		}
	data->rows[t].n++;
}

/* The negatives of a positive that was written; negatives_begin was called for its instant. */
static void
write_negatives(Build *build, int t, SampleWriter *writer, const Sample *positive, uint64 *random)
{
	Sample		sample = *positive;

	sample.label = 0;
	sample.drawn = true;
	for (int i = 0; i < build->data->model->task[t].options.negatives; i++)
	{
		sample.item = negatives_draw(writer->negatives, random);
		if (sample.item >= 0)
			write_sample(build, t, writer, &sample);
	}
}

/* The item of a row of the samples, -1: none, or not in the catalogue. */
static int32
sample_item(Build *build, int t, int64 row)
{
	const RawRows *raw = build->samples[t];

	return raw->key < 0 || raw_cell(raw, raw->key, row) == CELL_NULL ? -1 :
		catalogue_find(&build->data->catalogue, raw_cell(raw, raw->key, row));
}

/* One row of the samples; false when it has no label, or none of the items to tell from others. */
static bool
encode_sample(Build *build, int t, SampleWriter *writer, int64 row, int32 user, uint64 *random)
{
	const RawRows *raw = build->samples[t];
	Sample		sample = {.user = user, .time = raw_time(raw, row), .label = sample_label(build, t, row),
	.weight = 1, .item = sample_item(build, t, row), .row = row};

	if (isnan(sample.label) || (writer->negatives && raw->key >= 0 && sample.item < 0))
		return false;
	if (writer->weight)
	{
		int			w = build->weight[t];
		double		number = cell_number(raw_cell(raw, w, row), raw->column[w].kind);

		sample.weight = isfinite(number) && number > 0 ? number : 0;
	}
	write_sample(build, t, writer, &sample);
	if (writer->negatives && sample.label > 0.5f)
		write_negatives(build, t, writer, &sample, random);
	return true;
}

/* What is taken at the instant of row order[first] is not drawn beside it. */
static void
begin_instant(Build *build, int t, SampleWriter *writer, const User *user, const int64 *order, int64 first, int64 n)
{
	const RawRows *raw = build->samples[t];
	TimestampTz time = raw_time(raw, order[first]);

	negatives_begin(writer->negatives, user, time - build->data->model->task[t].options.embargo, time);
	for (int64 i = first; i < n && raw_time(raw, order[i]) == time; i++)
	{
		int32		ids[NN_MAX_FEATURES][NN_MAX_BAG];
		CandidateIds candidate;

		if (!(sample_label(build, t, order[i]) > 0.5f))
			continue;
		negatives_add(writer->negatives, sample_item(build, t, order[i]));
		for (int k = 0; raw->key < 0 && k < build->n_candidate[t]; k++)
		{
			int			f = build->candidate[t][k];
			const Cell *cells;
			int			m = raw_cells(raw, raw->feature[NN_ITEM][f], order[i], &cells);

			candidate.id[k] = ids[k];
			candidate.n[k] = encode_cells(&build->data->set->f[NN_ITEM][f], cells, m, ids[k]);
		}
		if (raw->key < 0)
			negatives_add_ids(writer->negatives, &candidate);
	}
}

static void
finish_samples(Build *build, int t, const SampleWriter *writer)
{
	column_finish(writer->user);
	column_finish(writer->time);
	column_finish(writer->raw_features);
	standardize(build, t, writer);
}

static void
encode_samples(Build *build, int t)
{
	Dataset    *data = build->data;
	const ModelTask *task = &data->model->task[t];
	const RawRows *raw = build->samples[t];
	const RawRun *runs = raw->run->data;
	SampleWriter writer;
	int64		skipped = 0;
	int64		unsettled = 0;
	int64	   *order = NULL;
	int64		capacity = 0;
	int64		at = 0;

	open_samples(build, t, &writer);
	for (int64 r = 0, end; r < raw->run->n; r = end)
	{
		int32		user = (int32) (raw_user(build, &at, runs[r].user) - (const RawUser *) build->users->data);
		uint64		random = 0;
		int64		n;

		for (end = r + 1; end < raw->run->n && runs[end].user == runs[r].user; end++)
			 /* runs of one user */ ;
		n = gather_rows(raw, r, end - r, &order, &capacity);
		for (int64 i = 0; i < n; i++)
		{
			TimestampTz time = raw_time(raw, order[i]);

			if (i % CHECK_EVERY == 0)
				job_check();
			if (!label_settled(build, t, time))
			{
				unsettled++;
				continue;
			}
			if (writer.negatives && (i == 0 || raw_time(raw, order[i - 1]) != time))
			{
				begin_instant(build, t, &writer, &data->users[user], order, i, n);
				random = negatives_seed(data, &data->users[user], time);
			}
			if (!encode_sample(build, t, &writer, order[i], user, &random))
				skipped++;
		}
	}
	if (skipped > 0)
		job_note("task \"%s\": " INT64_FORMAT " samples without a usable \"%s\" were skipped",
				 task->name, skipped, task->label ? task->label : data->model->relations.item_key);
	if (unsettled > 0)
		job_note("task \"%s\": " INT64_FORMAT " samples are younger than \"matures\" at the last event and were left out",
				 task->name, unsettled);
	if (data->rows[t].n == 0)
		ereport(ERROR,
				(errcode(ERRCODE_NO_DATA_FOUND),
				 errmsg("relation %s has no samples for task \"%s\"", task->samples, task->name),
				 raw->n + raw->skipped > 0 ?
				 errdetail("None of its " INT64_FORMAT " rows has a user, a time and a label%s.",
						   raw->n + raw->skipped, unsettled > 0 ? " that has matured" : "") : 0,
				 errhint("Row-level security and privileges of role \"%s\" decide what a job sees.",
						 data->model->owner)));
	finish_samples(build, t, &writer);
	if (order)
		pfree(order);
}

/* Each event that counts is a positive, of an instant's several each its share. */
static void
encode_positives(Build *build, int t)
{
	Dataset    *data = build->data;
	const EventTable *events = data->events;
	SampleWriter writer;

	open_samples(build, t, &writer);
	for (int32 u = 0; u < data->n_users; u++)
	{
		const User *user = &data->users[u];
		int64		end = user->start + user->n;

		if (u % CHECK_EVERY == 0)
			job_check();
		for (int64 begin = user->start, next; begin < end; begin = next)
		{
			TimestampTz time = events->time[begin];
			uint64		random = negatives_seed(data, user, time);
			int			size = 0;

			for (next = begin; next < end && events->time[next] == time; next++)
				size += event_is_target(data, t, next);
			if (size == 0)
				continue;
			negatives_begin(writer.negatives, user, time - data->model->task[t].options.embargo, time);
			for (int64 event = begin; event < next; event++)
			{
				Sample		sample = {.user = u, .time = time, .label = 1, .weight = 1.0f / size,
				.type_weight = data->type_weight[t] ? data->type_weight[t][event] : 1,
				.item = events->item[event], .row = -1};

				if (!event_is_target(data, t, event))
					continue;
				write_sample(build, t, &writer, &sample);
				write_negatives(build, t, &writer, &sample, &random);
			}
		}
	}
	if (data->rows[t].n == 0)
		ereport(ERROR,
				(errcode(ERRCODE_NO_DATA_FOUND),
				 errmsg("task \"%s\" has no samples: no event with an item fits its \"where\"",
						data->model->task[t].name)));
	finish_samples(build, t, &writer);
}

/* ---------------- all of it ---------------- */

Dataset *
dataset_load(const Job *job, const Model *model, const ModelImage *base)
{
	MemoryContext context = AllocSetContextCreate(job->context, "dupn data set", ALLOCSET_DEFAULT_SIZES);
	MemoryContext temporary = AllocSetContextCreate(job->context, "dupn reading", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(temporary);
	Dataset    *data = MemoryContextAllocZero(context, sizeof(Dataset));
	Build	   *build = palloc0(sizeof(Build));
	int64		kilobytes = dupn_job_memory > 0 ? dupn_job_memory : maintenance_work_mem;

	data->model = model;
	data->base = base;
	data->until = DT_NOEND;
	data->context = context;
	data->memory = column_memory(job->context, kilobytes * 1024);
	data->store = column_store(context, data->memory);
	build->data = data;
	build->base = base;
	build->context = temporary;
	build->store = column_store(temporary, data->memory);

	read_relations(build);
	job_progress(base ? "learning levels" : "learning vocabularies", 0.05, 0, NULL);
	learn_split(build);
	learn_items(build);
	if (base == NULL)
		learn_features(build);
	learn_levels(build);
	weights_learn(build);
	job_progress("encoding", 0.07, 0, NULL);
	if (base)
		base_catalogue(build);
	else
		make_catalogue(build);

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
	for (int t = 0; t < model->n_tasks; t++)
		if (model->task[t].kind == NN_NEXT_ITEM && model->task[t].options.memory)
			memory_learn(data, t);
	job_spilled(column_memory_spilled(data->memory));
	job_memory();				/* the rows and what was made of them */

	MemoryContextSwitchTo(old);
	MemoryContextDelete(temporary);
	return data;
}
