/*-------------------------------------------------------------------------
 *
 * levels.c
 *	  How a multiclass label becomes a class
 *
 * Values are classes; a number is cut into quantile levels, alone or within
 * the values of another column.
 *
 *-------------------------------------------------------------------------
 */
#include "train/dataset.h"

#include <float.h>
#include <math.h>

#include "utils/memutils.h"

#define MOST_CODES		50		/* an integer label with more values is a quantity */
#define MOST_CLASSES	1000

typedef struct LabelValue
{
	Cell		within;
	Cell		cell;
	double		number;
} LabelValue;

typedef struct LabelLearner
{
	int			task;
	uint64		keep_below;
	Column	   *values;
} LabelLearner;

static int
compare_values(const void *a, const void *b)
{
	const LabelValue *x = a;
	const LabelValue *y = b;

	if (x->within != y->within)
		return x->within < y->within ? -1 : 1;
	if (x->number != y->number)
		return x->number < y->number ? -1 : 1;
	return x->cell < y->cell ? -1 : x->cell > y->cell;
}

static void
visit_labels(Build *build, const RawUser *user, int64 row, RawItem *item, void *arg)
{
	LabelLearner *learner = arg;
	int			t = learner->task;
	const RawLabel *label = &build->label[t];
	LabelValue	value = {0};

	if (cell_hash(user->key) > learner->keep_below || !event_allowed(build, t, row, item))
		return;
	value.cell = event_label(build, label, row, item);
	if (value.cell == CELL_NULL)
		return;
	if (label->kind != CELL_HASH)
	{
		value.number = cell_number(value.cell, label->kind);
		if (!isfinite(value.number))
			return;
	}
	if (build->data->model->task[t].options.within)
	{
		value.within = event_label(build, &build->within[t], row, item);
		if (value.within == CELL_NULL)
			return;
	}
	column_append(learner->values, &value, 1);
}

static void
collect_sample_labels(Build *build, LabelLearner *learner)
{
	const RawRows *rows = build->samples[learner->task];
	const RawLabel *label = &build->label[learner->task];
	const RawRun *runs = rows->run->data;
	int64		at = 0;

	for (int64 r = 0; r < rows->run->n; r++)
	{
		const RawUser *user = raw_user(build, &at, runs[r].user);

		for (int64 row = runs[r].start; row < runs[r].start + runs[r].n; row++)
		{
			LabelValue	value = {.cell = raw_cell(rows, label->column, row)};

			if (value.cell == CELL_NULL ||
				!label_known(&build->data->model->task[learner->task], raw_time(rows, row), user->hold_out))
				continue;
			if (label->kind != CELL_HASH)
				value.number = cell_number(value.cell, label->kind);
			if (isfinite(value.number))
				column_append(learner->values, &value, 1);
		}
	}
}

static bool
has_more_values(const LabelValue *values, int64 n, int most)
{
	double		seen[MOST_CODES + 1];
	int			distinct = 0;

	for (int64 i = 0; i < n; i++)
	{
		int			j = 0;

		while (j < distinct && seen[j] != values[i].number)
			j++;
		if (j == distinct)
		{
			if (distinct == most)
				return true;
			seen[distinct++] = values[i].number;
		}
	}
	return false;
}

/* Classes are distinct values, the most frequent first. */
static void
learn_classes(Build *build, int t, Levels *levels, const LabelValue *values, int64 n)
{
	Dataset    *data = build->data;
	VocabularyBuilder *builder = vocabulary_builder(data->context);
	Feature		feature = {.encoding = ENCODE_ID, .min_count = 1};

	strlcpy(feature.name, data->model->task[t].label, sizeof(feature.name));
	for (int64 i = 0; i < n; i++)
		vocabulary_count(builder, values[i].cell);
	vocabulary_finish(builder, &feature);
	levels->vocabulary = feature.vocabulary;
	levels->classes = (int) Min(feature.vocab - ID_FIRST, MOST_CLASSES);
	if (feature.vocab - ID_FIRST > MOST_CLASSES)
		job_note("task \"%s\": column \"%s\" has " INT64_FORMAT " values, the %d most frequent are classes",
				 data->model->task[t].name, feature.name, feature.vocab - ID_FIRST, MOST_CLASSES);
	levels->class_name = MemoryContextAllocZero(data->context, sizeof(char *) * (levels->classes + 1));
	for (int64 i = 0; i < feature.vocabulary.capacity; i++)
	{
		int			class = feature.vocabulary.ids[i] - ID_FIRST;
		TextEntry  *entry;

		if (feature.vocabulary.keys[i] == CELL_NULL || class < 0 || class >= levels->classes)
			continue;
		entry = hash_search(build->label[t].texts, &feature.vocabulary.keys[i], HASH_FIND, NULL);
		levels->class_name[class] = MemoryContextStrdup(data->context, entry ? entry->text : "");
	}
}

/* Classes are quantile levels of a number, alone or within another column. */
static void
learn_bounds(Build *build, int t, Levels *levels, const LabelValue *values, int64 n)
{
	Dataset    *data = build->data;
	const ModelTask *task = &data->model->task[t];
	bool		within = task->options.within != NULL;
	Column	   *numbers = column_add(build->store, sizeof(double), NULL);
	double	   *all_bounds;
	Cell	   *within_key;
	int64		groups = 0;
	int			most = 1;

	levels->number = true;
	levels->classes = task->options.levels;
	for (int64 i = 0; i < n; i++)
	{
		groups += i == 0 || values[i].within != values[i - 1].within;
		column_append(numbers, &values[i].number, 1);
	}
	column_finish(numbers);
	all_bounds = MemoryContextAllocHuge(data->context, sizeof(double) * Max(groups, 1) * levels->classes);
	within_key = MemoryContextAllocHuge(data->context, sizeof(Cell) * Max(groups, 1));
	levels->bounds = all_bounds;
	levels->within_key = within_key;
	groups = 0;
	for (int64 begin = 0, end; begin < n; begin = end)
	{
		double	   *bounds = all_bounds + groups * (levels->classes - 1);
		int			n_bounds;

		for (end = begin; end < n && values[end].within == values[begin].within; end++)
			 /* values of one group */ ;
		n_bounds = bands_learn((const double *) numbers->data + begin, end - begin, levels->classes, bounds);
		most = Max(most, n_bounds + 1);
		for (int b = n_bounds; b < levels->classes - 1; b++)
			bounds[b] = DBL_MAX;
		within_key[groups++] = values[begin].within;
	}
	column_free(numbers);

	/* fewer distinct values than levels asked for */
	if (!within && most < levels->classes)
		levels->classes = most;
	if (within)
	{
		levels->n_within = groups;
		vocabulary_index(&levels->within, levels->within_key, groups, ID_FIRST, data->context);
	}
	levels->class_name = MemoryContextAllocZero(data->context, sizeof(char *) * (levels->classes + 1));
	for (int c = 0; c < levels->classes; c++)
	{
		char		name[100];

		if (within)
			snprintf(name, sizeof(name), "level %d", c + 1);
		else if (c == levels->classes - 1)
			snprintf(name, sizeof(name), "over %.6g", c > 0 ? levels->bounds[c - 1] : -DBL_MAX);
		else if (c == 0)
			snprintf(name, sizeof(name), "up to %.6g", levels->bounds[0]);
		else
			snprintf(name, sizeof(name), "%.6g to %.6g", levels->bounds[c - 1], levels->bounds[c]);
		levels->class_name[c] = MemoryContextStrdup(data->context, name);
	}
}

void
learn_levels(Build *build)
{
	Dataset    *data = build->data;

	for (int t = 0; t < data->model->n_tasks; t++)
	{
		const ModelTask *task = &data->model->task[t];
		LabelLearner learner = {.task = t, .keep_below = PG_UINT64_MAX};
		Column	   *values;

		if (task->kind != NN_MULTICLASS || base_levels(build, t))
			continue;
		values = learner.values = column_add(build->store, sizeof(LabelValue), NULL);
		if (task_from_events(task))
		{
			learner.keep_below = quantile_users(data);
			visit_training_events(build, false, visit_labels, &learner);
		}
		else
			collect_sample_labels(build, &learner);
		column_finish(values);

		if (build->label[t].kind == CELL_NUMBER ||
			(build->label[t].kind == CELL_INTEGER &&
			 (task->options.within || has_more_values(values->data, values->n, MOST_CODES))))
		{
			values = column_sorted(values, compare_values);
			learn_bounds(build, t, &data->levels[t], values->data, values->n);
		}
		else
			learn_classes(build, t, &data->levels[t], values->data, values->n);
		column_free(values);
		if (data->levels[t].classes < 2)
			ereport(ERROR,
					(errcode(ERRCODE_DATA_EXCEPTION),
					 errmsg("task \"%s\": column \"%s\" has fewer than two values before the hold-out",
							task->name, task->label),
					 errhint("There is nothing to tell apart; check the task's \"where\" and the hold-out.")));
	}
}

int
levels_class(const Levels *levels, Cell label, double number, Cell within)
{
	const double *bounds = levels->bounds;
	int			class = 0;

	if (!levels->number)
	{
		class = label == CELL_NULL ? -1 : vocabulary_find(&levels->vocabulary, label) - ID_FIRST;
		return class < levels->classes ? class : -1;
	}
	if (!isfinite(number))
		return -1;
	if (levels->n_within > 0)
	{
		int			row = within == CELL_NULL ? -1 : vocabulary_find(&levels->within, within) - ID_FIRST;

		if (row < 0)
			return -1;
		bounds += (int64) row * (levels->classes - 1);
	}
	while (class < levels->classes - 1 && number > bounds[class])
		class++;
	return class;
}
