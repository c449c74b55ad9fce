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

#include "settings.h"
#include "utils/memutils.h"

#define CHECK_EVERY 4096

/* Cells to the ids of a feature; returns how many. */
static int
encode_cells(const Feature *feature, const Cell *cells, int n, int32 *ids)
{
	if (feature->multi)
		return feature_encode_bag(feature, cells, n, ids);
	ids[0] = n > 0 ? feature_encode(feature, cells[0]) : ID_MISSING;
	return 1;
}

static void
append_cells(IdColumn *column, MemoryContext context, const Feature *feature, int64 row,
			 const Cell *cells, int n)
{
	int32		ids[NN_MAX_BAG];

	n = encode_cells(feature, cells, n, ids);
	id_column_append(column, context, feature->multi, row, ids, n);
}

/* ---------------- the catalogue ---------------- */

static int
compare_items(const void *a, const void *b)
{
	Cell		x = (*(RawItem *const *) a)->key;
	Cell		y = (*(RawItem *const *) b)->key;

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
	int64		n = hash_get_num_entries(build->items);
	RawItem   **items = MemoryContextAllocHuge(build->context, sizeof(RawItem *) * Max(n, 1));
	Cell	   *keys = MemoryContextAllocHuge(context, sizeof(Cell) * Max(n, 1));
	int64	   *offsets = MemoryContextAllocHuge(context, sizeof(int64) * (n + 1));
	int64	   *counts = MemoryContextAllocHuge(context, sizeof(int64) * Max(n, 1));
	IdColumn	column[NN_MAX_FEATURES] = {{0}};
	char	   *text;
	HASH_SEQ_STATUS status;
	RawItem    *item;

	if (n > PG_INT32_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("more than %d items", PG_INT32_MAX)));
	n = 0;
	hash_seq_init(&status, build->items);
	while ((item = hash_seq_search(&status)) != NULL)
		items[n++] = item;
	qsort(items, n, sizeof(RawItem *), compare_items);

	data->known = MemoryContextAllocHuge(context, Max(n, 1));
	offsets[0] = 0;
	for (int64 i = 0; i < n; i++)
	{
		keys[i] = items[i]->key;
		counts[i] = items[i]->count;
		offsets[i + 1] = offsets[i] + strlen(items[i]->text);
		data->known[i] = items[i]->catalog_row >= 0 || items[i]->count > 0;
		for (int f = 0; f < set->n[NN_ITEM]; f++)
		{
			const Cell *cells;
			int			m = item_cells(build, items[i], f, &cells);

			append_cells(&column[f], context, &set->f[NN_ITEM][f], i, cells, m);
		}
		if (i % CHECK_EVERY == 0)
			job_check();
	}
	text = MemoryContextAllocHuge(context, offsets[n] + 1);
	for (int64 i = 0; i < n; i++)
		memcpy(text + offsets[i], items[i]->text, offsets[i + 1] - offsets[i]);
	pfree(items);

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
gather_rows(const RawRows *rows, const RawRun *runs, int64 n_runs, int64 **order, int64 *capacity)
{
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

static void
make_label_columns(Build *build)
{
	Dataset    *data = build->data;
	int64		n = Max(build->events->n, 1);

	for (int t = 0; t < data->model->n_tasks; t++)
	{
		const ModelTask *task = &data->model->task[t];

		if (!task_from_events(task))
			continue;
		if (build->n_conditions[t] > 0)
			data->where[t] = MemoryContextAllocHuge(data->context, n);
		if (task->kind != NN_MULTICLASS)
			continue;
		if (data->levels[t].number)
			data->label_number[t] = MemoryContextAllocHuge(data->context, mul_size(sizeof(double), n));
		else
			data->label_cell[t] = MemoryContextAllocHuge(data->context, mul_size(sizeof(Cell), n));
		if (task->options.within)
			data->within_cell[t] = MemoryContextAllocHuge(data->context, mul_size(sizeof(Cell), n));
	}
}

static void
fill_labels(Build *build, int64 event, int64 row, const RawItem *item)
{
	Dataset    *data = build->data;

	for (int t = 0; t < data->model->n_tasks; t++)
	{
		const RawLabel *label = &build->label[t];

		if (data->where[t])
			data->where[t][event] = event_allowed(build, t, row, item);
		if (data->label_number[t])
			data->label_number[t][event] = cell_number(event_label(build, label, row, item), label->kind);
		if (data->label_cell[t])
			data->label_cell[t][event] = event_label(build, label, row, item);
		if (data->within_cell[t])
			data->within_cell[t][event] = event_label(build, &build->within[t], row, item);
	}
}

static void
encode_events(Build *build)
{
	Dataset    *data = build->data;
	const FeatureSet *set = data->set;
	EventTable *table = event_table(data->context);
	EventRow   *event = palloc(sizeof(EventRow));
	int64	   *order = NULL;
	RawItem   **items = NULL;
	int64		capacity = 0;
	int64		items_capacity = 0;

	data->events = table;
	data->n_users = build->n_users;
	data->users = MemoryContextAllocHuge(data->context, sizeof(User) * Max(build->n_users, 1));
	make_label_columns(build);
	for (int64 u = 0; u < build->n_users; u++)
	{
		const RawUser *raw = &build->user[u];
		User	   *user = &data->users[u];
		int64		n = gather_rows(build->events, build->event_runs + raw->first_run, raw->n_runs,
									&order, &capacity);

		if (n > PG_INT32_MAX)
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("a user has more than %d events", PG_INT32_MAX)));
		if (items_capacity < capacity)
		{
			items_capacity = capacity;
			items = array_resize(items, capacity, sizeof(RawItem *), CurrentMemoryContext);
		}
		*user = (User) {.start = table->n, .n = n, .key = raw->key,
		.hash = (uint32) (cell_hash(raw->key) >> 32), .hold_out = raw->hold_out, .report = raw->report};
		for (int64 i = 0; i < n; i++)
		{
			int64		row = order[i];

			items[i] = raw_item(build, raw_cell(build->events, build->events->key, row));
			event->time = raw_time(build->events, row);
			event->item = (int32) i;	/* through the sort: which row it was */
			for (int g = NN_ITEM; g <= NN_PROPERTY; g++)
				for (int f = 0; f < set->n[g]; f++)
				{
					const Feature *feature = &set->f[g][f];
					const Cell *cells;
					int			m;

					if (feature->encoding == ENCODE_FIXED)
						continue;
					m = event_cells(build, row, items[i], g, f, &cells);
					event->n[g][f] = encode_cells(feature, cells, m, event->id[g][f]);
				}
			event_table_append(table, set, event);
			if (table->n % CHECK_EVERY == 0)
				job_check();
		}
		event_table_sort(table, set, user->start, 0, false);
		for (int64 at = user->start; at < table->n; at++)
		{
			int32		i = table->item[at];

			table->item[at] = catalogue_find(&data->catalogue, items[i]->key);
			fill_labels(build, at, order[i], items[i]);
		}
	}
	if (order)
	{
		pfree(order);
		pfree(items);
	}
	pfree(event);
}

/* ---------------- profiles ---------------- */

static int
compare_user_key(const void *key, const void *user)
{
	Cell		x = *(const Cell *) key;
	Cell		y = ((const User *) user)->key;

	return x < y ? -1 : x > y;
}

static int64
find_user(const Dataset *data, Cell key)
{
	const User *user = bsearch(&key, data->users, data->n_users, sizeof(User), compare_user_key);

	return user ? user - data->users : -1;
}

static void
encode_profiles(Build *build)
{
	Dataset    *data = build->data;
	const FeatureSet *set = data->set;
	const RawRows *rows = build->profile;
	const RawRun *runs;
	int64	   *row_of;

	if (rows == NULL)
		return;
	runs = rows->run->data;
	row_of = palloc_extended(sizeof(int64) * Max(data->n_users, 1), MCXT_ALLOC_HUGE);
	for (int64 u = 0; u < data->n_users; u++)
		row_of[u] = -1;
	for (int64 r = 0; r < rows->run->n; r++)
	{
		int64		u = find_user(data, runs[r].user);

		for (int64 row = runs[r].start; u >= 0 && row < runs[r].start + runs[r].n; row++)
			if (row_of[u] < 0 || raw_compare(rows, row, row_of[u]) < 0)
				row_of[u] = row;
	}
	for (int64 u = 0; u < data->n_users; u++)
		for (int f = 0; f < set->n[NN_PROFILE]; f++)
		{
			const Cell *cells = NULL;
			int			n = 0;

			if (set->f[NN_PROFILE][f].source != FROM_PROFILE)
				continue;
			if (row_of[u] >= 0 && rows->feature[NN_PROFILE][f] >= 0)
				n = raw_cells(rows, rows->feature[NN_PROFILE][f], row_of[u], &cells);
			append_cells(&data->profile[f], data->context, &set->f[NN_PROFILE][f], u, cells, n);
			if (u % CHECK_EVERY == 0)
				job_check();
		}
	pfree(row_of);
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
	row_from_columns(data->set, NN_CONTEXT, data->rows[task].context, sample, row);
}

/* ---------------- samples ---------------- */

/* The label of a sample, NAN for none. */
static float
sample_label(Build *build, int t, int64 row)
{
	const ModelTask *task = &build->data->model->task[t];
	const RawLabel *label = &build->label[t];
	Cell		cell = raw_cell(build->samples[t], label->column, row);
	double		number;
	int			class;

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

/* Mean and scale of the training samples, then z-scores; a NULL is the mean. */
static void
standardize(SampleRows *rows, int F, const User *users, MemoryContext context)
{
	rows->mean = MemoryContextAllocZero(context, sizeof(float) * Max(F, 1));
	rows->scale = MemoryContextAllocZero(context, sizeof(float) * Max(F, 1));
	for (int f = 0; f < F; f++)
	{
		double		sum = 0;
		double		squares = 0;
		double		mean;
		double		deviation;
		int64		n = 0;

		for (int64 i = 0; i < rows->n; i++)
			if (isfinite(rows->features[i * F + f]) && rows->time[i] < users[rows->user[i]].hold_out)
			{
				sum += rows->features[i * F + f];
				n++;
			}
		mean = n > 0 ? sum / n : 0;
		for (int64 i = 0; i < rows->n; i++)
			if (isfinite(rows->features[i * F + f]) && rows->time[i] < users[rows->user[i]].hold_out)
				squares += (rows->features[i * F + f] - mean) * (rows->features[i * F + f] - mean);
		deviation = n > 0 ? sqrt(squares / n) : 0;
		rows->mean[f] = mean;
		rows->scale[f] = deviation > 1e-12 * fabs(mean) && deviation > 0 ? 1 / deviation : 1;
		for (int64 i = 0; i < rows->n; i++)
		{
			float	   *value = &rows->features[i * F + f];

			*value = isfinite(*value) ? (*value - rows->mean[f]) * rows->scale[f] : 0;
		}
	}
}

static void
append_candidate(Build *build, int t, int64 row, int64 at)
{
	Dataset    *data = build->data;
	const RawRows *raw = build->samples[t];
	SampleRows *rows = &data->rows[t];
	int32		item = rows->item[at];

	for (int k = 0; k < build->n_candidate[t]; k++)
	{
		int			f = build->candidate[t][k];
		const Feature *feature = &data->set->f[NN_ITEM][f];
		const nn_ids *ids = &data->catalogue.feature[f];
		const Cell *cells = NULL;
		int			n = 0;

		if (raw->feature[NN_ITEM][f] >= 0)
		{
			n = raw_cells(raw, raw->feature[NN_ITEM][f], row, &cells);
			append_cells(&rows->candidate[k], data->context, feature, at, cells, n);
		}
		else if (item < 0)
			append_cells(&rows->candidate[k], data->context, feature, at, NULL, 0);
		else if (ids->offsets)
			id_column_append(&rows->candidate[k], data->context, true, at, ids->values + ids->offsets[item],
							 (int) (ids->offsets[item + 1] - ids->offsets[item]));
		else
			id_column_append(&rows->candidate[k], data->context, false, at, ids->values + item, 1);
	}
}

static int
compare_sample_runs(const void *a, const void *b)
{
	const RawRun *x = a;
	const RawRun *y = b;

	if (x->user != y->user)
		return x->user < y->user ? -1 : 1;
	return x->start < y->start ? -1 : x->start > y->start;
}

static void
encode_samples(Build *build, int t)
{
	Dataset    *data = build->data;
	const FeatureSet *set = data->set;
	const RawRows *raw = build->samples[t];
	SampleRows *rows = &data->rows[t];
	MemoryContext context = data->context;
	int			F = data->model->task[t].n_features;
	int64		n = Max(raw->n, 1);
	int64		n_runs = raw->run->n;
	int64		unlabeled = 0;
	RawRun	   *runs = palloc_extended(sizeof(RawRun) * Max(n_runs, 1), MCXT_ALLOC_HUGE);
	int64	   *order = NULL;
	int64		capacity = 0;

	rows->user = MemoryContextAllocHuge(context, mul_size(sizeof(int32), n));
	rows->item = MemoryContextAllocHuge(context, mul_size(sizeof(int32), n));
	rows->time = MemoryContextAllocHuge(context, mul_size(sizeof(TimestampTz), n));
	rows->label = MemoryContextAllocHuge(context, mul_size(sizeof(float), n));
	if (build->weight[t] >= 0)
		rows->weight = MemoryContextAllocHuge(context, mul_size(sizeof(float), n));
	rows->features = MemoryContextAllocHuge(context, mul_size(mul_size(sizeof(float), n), Max(F, 1)));

	if (n_runs > 0)
		memcpy(runs, raw->run->data, sizeof(RawRun) * n_runs);
	qsort(runs, n_runs, sizeof(RawRun), compare_sample_runs);
	for (int64 r = 0, end; r < n_runs; r = end)
	{
		int64		user = find_user(data, runs[r].user);
		int64		m;

		for (end = r + 1; end < n_runs && runs[end].user == runs[r].user; end++)
			 /* runs of one user */ ;
		m = gather_rows(raw, runs + r, end - r, &order, &capacity);
		for (int64 i = 0; i < m; i++)
		{
			int64		row = order[i];
			int64		at = rows->n;
			float		label = sample_label(build, t, row);

			if (isnan(label))
			{
				unlabeled++;
				continue;
			}
			rows->user[at] = (int32) user;
			rows->time[at] = raw_time(raw, row);
			rows->label[at] = label;
			rows->item[at] = raw->key < 0 || raw_cell(raw, raw->key, row) == CELL_NULL ? -1 :
				catalogue_find(&data->catalogue, raw_cell(raw, raw->key, row));
			if (rows->weight)
			{
				int			w = build->weight[t];
				double		weight = cell_number(raw_cell(raw, w, row), raw->column[w].kind);

				rows->weight[at] = isfinite(weight) && weight > 0 ? weight : 0;
			}
			for (int f = 0; f < F; f++)
			{
				int			c = raw->extra + 1 + f;

				rows->features[at * F + f] = cell_number(raw_cell(raw, c, row), raw->column[c].kind);
			}
			append_candidate(build, t, row, at);
			for (int f = 0; f < set->n[NN_CONTEXT]; f++)
				if (raw->feature[NN_CONTEXT][f] >= 0)
				{
					const Cell *cells;
					int			k = raw_cells(raw, raw->feature[NN_CONTEXT][f], row, &cells);

					append_cells(&rows->context[f], context, &set->f[NN_CONTEXT][f], at, cells, k);
				}
			if (++rows->n % CHECK_EVERY == 0)
				job_check();
		}
	}
	if (unlabeled > 0)
		job_note("task \"%s\": " INT64_FORMAT " samples without a usable \"%s\" were skipped",
				 data->model->task[t].name, unlabeled, data->model->task[t].label);
	if (rows->n == 0)
		ereport(ERROR,
				(errcode(ERRCODE_NO_DATA_FOUND),
				 errmsg("relation %s has no samples for task \"%s\"",
						data->model->task[t].samples, data->model->task[t].name),
				 raw->n + raw->skipped > 0 ?
				 errdetail("None of its " INT64_FORMAT " rows has a user, a time and a label.",
						   raw->n + raw->skipped) : 0,
				 errhint("Row-level security and privileges of role \"%s\" decide what a job sees.",
						 data->model->owner)));
	standardize(rows, F, data->users, context);
	if (order)
		pfree(order);
	pfree(runs);
}

/* ---------------- all of it ---------------- */

Dataset *
dataset_load(const Job *job, const Model *model)
{
	MemoryContext context = AllocSetContextCreate(job->context, "dupn data set", ALLOCSET_DEFAULT_SIZES);
	MemoryContext temporary = AllocSetContextCreate(job->context, "dupn reading", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(temporary);
	Dataset    *data = MemoryContextAllocZero(context, sizeof(Dataset));
	Build	   *build = palloc0(sizeof(Build));
	int64		kilobytes = dupn_job_memory > 0 ? dupn_job_memory : maintenance_work_mem;

	data->model = model;
	data->context = context;
	build->data = data;
	build->context = temporary;
	build->store = column_store(temporary, kilobytes * 1024);

	read_relations(build);
	job_progress("learning vocabularies", 0.05, 0, NULL);
	learn_split(build);
	learn_items(build);
	learn_features(build);
	learn_levels(build);
	job_progress("encoding", 0.07, 0, NULL);
	make_catalogue(build);
	encode_events(build);
	encode_profiles(build);
	for (int t = 0; t < model->n_tasks; t++)
		if (build->samples[t])
			encode_samples(build, t);

	MemoryContextSwitchTo(old);
	column_store_delete(build->store);
	MemoryContextDelete(temporary);
	return data;
}
