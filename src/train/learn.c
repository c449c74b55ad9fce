/*-------------------------------------------------------------------------
 *
 * learn.c
 *	  What is known before the cut: users, items, vocabularies, bands
 *
 *-------------------------------------------------------------------------
 */
#include "train/dataset.h"

#include <math.h>

#include "utils/memutils.h"
#include "utils/timestamp.h"

#define CHECK_EVERY 4096		/* rows between job_check() */
#define PARTS		65536		/* of what is left in search of a time */

bool
task_from_events(const ModelTask *task)
{
	return task->samples == NULL && task->kind != NN_BINARY;
}

int
event_cells(Build *build, int64 row, const RawItem *item, nn_group group, int f, const Cell **cells)
{
	const Feature *feature = &build->data->set->f[group][f];
	const RawRows *rows = build->events;
	static const Cell missing = CELL_NULL;

	if (feature->source == FROM_CATALOG)
	{
		rows = build->catalog;
		row = item->catalog_row;
	}
	if (row < 0 || rows == NULL || rows->feature[group][f] < 0)
	{
		*cells = &missing;
		return feature->multi ? 0 : 1;
	}
	return raw_cells(rows, rows->feature[group][f], row, cells);
}

bool
event_allowed(Build *build, int task, int64 row, const RawItem *item)
{
	for (int i = 0; i < build->n_conditions[task]; i++)
	{
		const Condition *condition = &build->condition[task][i];
		const Cell *cells;
		int			n = event_cells(build, row, item, condition->group, condition->feature, &cells);
		bool		found = false;

		for (int c = 0; c < n && !found; c++)
			for (int v = 0; v < condition->n && !found; v++)
				found = cells[c] == condition->cell[v] && cells[c] != CELL_NULL;
		if (!found)
			return false;
	}
	return true;
}

Cell
event_label(Build *build, const RawLabel *label, int64 row, const RawItem *item)
{
	const Cell *cells;

	if (label->column >= 0)
		return raw_cell(build->events, label->column, row);
	return event_cells(build, row, item, NN_ITEM, label->feature, &cells) > 0 ? cells[0] : CELL_NULL;
}

bool
label_settled(const Build *build, int task, TimestampTz time)
{
	const TaskOptions *options = &build->data->model->task[task].options;

	return options->matures == 0 || time <= build->data->last_time - options->matures;
}

/* ---------------- users and the cut ---------------- */

/*
 * The k-th smallest of n times (k from 0): three or four passes that count how
 * many fall into each part of what is left, since there is no memory to sort in.
 */
static TimestampTz
kth_time(const TimestampTz *time, int64 n, int64 k)
{
	int64	   *count = palloc(sizeof(int64) * PARTS);
	TimestampTz low = PG_INT64_MAX;
	TimestampTz high = PG_INT64_MIN;

	for (int64 i = 0; i < n; i++)
	{
		low = Min(low, time[i]);
		high = Max(high, time[i]);
		if (i % CHECK_EVERY == 0)
			job_check();
	}
	while (low < high)
	{
		uint64		width = ((uint64) high - (uint64) low) / PARTS + 1;
		int64		part = 0;

		memset(count, 0, sizeof(int64) * PARTS);
		for (int64 i = 0; i < n; i++)
		{
			if (time[i] >= low && time[i] <= high)
				count[((uint64) time[i] - (uint64) low) / width]++;
			if (i % CHECK_EVERY == 0)
				job_check();
		}
		while (k >= count[part])
			k -= count[part++];
		low += part * width;
		high = Min(high, low + (TimestampTz) (width - 1));
	}
	pfree(count);
	return low;
}

/* The latest time with at least `share` of all tasks' samples at or after it. */
static TimestampTz
share_cut(Build *build, double share)
{
	const Model *model = build->data->model;
	const RawRun *runs = build->events->run->data;
	Column	   *times = column_add(build->store, sizeof(TimestampTz), NULL);
	int64		n;
	TimestampTz cut;

	for (int t = 0; t < model->n_tasks; t++)
	{
		if (build->samples[t])
		{
			for (int64 row = 0; row < build->samples[t]->n; row++)
			{
				TimestampTz time = raw_time(build->samples[t], row);

				if (label_settled(build, t, time) && sample_is_new(build->data, t, time))
					column_append(times, &time, 1);
				if (row % CHECK_EVERY == 0)
					job_check();
			}
			continue;
		}
		for (int64 r = 0; r < build->events->run->n; r++)
		{
			const RawRun *run = &runs[r];
			bool		has = false;
			TimestampTz last = 0;

			/* an instant is one sample */
			for (int64 row = run->start; row < run->start + run->n; row++)
			{
				TimestampTz time = raw_time(build->events, row);

				if ((has && time == last) || time <= build->data->since)
					continue;
				if (build->n_conditions[t] > 0 &&
					!event_allowed(build, t, row, raw_item(build, build->events, row)))
					continue;
				column_append(times, &time, 1);
				last = time;
				has = true;
				if (times->n % CHECK_EVERY == 0)
					job_check();
			}
		}
	}
	column_finish(times);
	n = times->n;
	if (n == 0 && !TIMESTAMP_IS_NOBEGIN(build->data->since))
		return DT_NOEND;
	if (n == 0)
		ereport(ERROR,
				(errcode(ERRCODE_NO_DATA_FOUND),
				 errmsg("model \"%s\" has no samples", model->name),
				 errdetail("Read were " INT64_FORMAT " events of relation %s.",
						   build->events->n, model->relations.events),
				 errhint("Check the \"where\" of its tasks and their samples relations.")));
	cut = kth_time(times->data, n, Max(n - (int64) ceil(share * n), 0));
	column_free(times);
	return cut;
}

/* Leave one out: the user's last instant is reported, the one before stops training. */
static void
last_event_split(Build *build, RawUser *user, int at_least)
{
	TimestampTz last = DT_NOBEGIN;
	TimestampTz before = DT_NOBEGIN;
	int64		n = 0;

	user->hold_out = user->report = DT_NOEND;
	for (int64 r = user->first_run; r < user->first_run + user->n_runs; r++)
	{
		const RawRun *run = (const RawRun *) build->events->run->data + r;

		n += run->n;
		for (int64 row = run->start; row < run->start + run->n; row++)
		{
			TimestampTz time = raw_time(build->events, row);

			if (time > last)
			{
				before = last;
				last = time;
			}
			else if (time > before && time < last)
				before = time;
		}
	}
	if (n < Max(at_least, 1))
		return;
	user->report = last;
	user->hold_out = before > DT_NOBEGIN ? before : last;
}

/*
 * Everybody with an event or a sample, by key: the runs of all relations are
 * sorted, so users are what is least of what is next.  Counts the events
 * before the hold-out and after.
 */
static void
make_users(Build *build, int64 *before, int64 *after)
{
	Dataset    *data = build->data;
	const ModelOptions *options = &data->model->options;
	const RawRows *rows[NN_MAX_TASKS + 1] = {build->events};
	int64		next[NN_MAX_TASKS + 1] = {0};
	int			n = 1;

	for (int t = 0; t < data->model->n_tasks; t++)
		if (build->samples[t])
			rows[n++] = build->samples[t];
	build->users = column_add(build->store, sizeof(RawUser), NULL);
	for (;;)
	{
		RawUser		user = {.first_run = next[0]};
		bool		any = false;

		for (int i = 0; i < n; i++)
			if (next[i] < rows[i]->run->n)
			{
				Cell		key = ((const RawRun *) rows[i]->run->data)[next[i]].user;

				user.key = any ? Min(user.key, key) : key;
				any = true;
			}
		if (!any)
			break;
		for (int i = 0; i < n; i++)
			while (next[i] < rows[i]->run->n && ((const RawRun *) rows[i]->run->data)[next[i]].user == user.key)
				next[i]++;
		user.n_runs = next[0] - user.first_run;
		if (options->holdout == HOLDOUT_LAST_EVENT)
			last_event_split(build, &user, options->holdout_min_events);
		else
			user.hold_out = user.report = data->cut;
		for (int64 r = user.first_run; r < next[0]; r++)
		{
			const RawRun *run = (const RawRun *) build->events->run->data + r;

			for (int64 row = run->start; row < run->start + run->n; row++)
				if (raw_time(build->events, row) > data->since)
					*(raw_time(build->events, row) < user.hold_out ? before : after) += 1;
		}
		column_append(build->users, &user, 1);
		if (build->users->n % CHECK_EVERY == 0)
			job_check();
	}
	column_finish(build->users);
	if (build->users->n > PG_INT32_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("more than %d users", PG_INT32_MAX)));
}

/* The end of what is known: the latest event or sample that was read, of those that have been. */
static TimestampTz
find_last_time(Build *build)
{
	Dataset    *data = build->data;
	TimestampTz last = DT_NOBEGIN;

	if (!TIMESTAMP_IS_NOEND(data->until_read))
		return data->until_read;
	for (int t = -1; t < data->model->n_tasks; t++)
	{
		const RawRows *rows = t < 0 ? build->events : build->samples[t];

		for (int64 row = 0; rows != NULL && row < rows->n; row++)
		{
			last = Max(last, raw_time(rows, row));
			if (row % CHECK_EVERY == 0)
				job_check();
		}
	}
	return Min(last, GetCurrentTimestamp());
}

void
learn_split(Build *build)
{
	const ModelOptions *options = &build->data->model->options;
	Dataset    *data = build->data;
	int64		before = 0;
	int64		after = 0;

	if (build->events->n == 0 && data->since == DT_NOBEGIN)
		ereport(ERROR,
				(errcode(ERRCODE_NO_DATA_FOUND),
				 errmsg("relation %s has no events to learn from", data->model->relations.events),
				 build->events->skipped > 0 ?
				 errdetail("All of its " INT64_FORMAT " rows lack a user or a time.",
						   build->events->skipped) : 0,
				 data->until_read != DT_NOEND ?
				 errhint("Rows after %s wait: see the option \"lateness\".", time_text(data->until_read)) :
				 errhint("Row-level security and privileges of role \"%s\" decide what a job sees.",
						 data->model->owner)));
	data->last_time = find_last_time(build);
	switch (options->holdout)
	{
		case HOLDOUT_SHARE:
			data->cut = share_cut(build, options->holdout_share);
			break;
		case HOLDOUT_TIME:
			data->cut = options->holdout_time;
			break;
		case HOLDOUT_LAST_EVENT:
			data->cut = DT_NOEND;
			break;
	}
	make_users(build, &before, &after);
	data->events_before_cut = before;
	data->events_after_cut = after;
	if (before == 0 && data->base == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_NO_DATA_FOUND),
				 errmsg("relation %s has no events before the hold-out", data->model->relations.events),
				 errdetail("All " INT64_FORMAT " events are held out.", after),
				 errhint("Choose another \"holdout\".")));
}

/* ---------------- every training event, once ---------------- */

void
visit_training_events(Build *build, bool all, EventVisitor visit, void *arg)
{
	const RawRun *runs = build->events->run->data;
	int64		rows = 0;

	for (int64 u = 0; u < build->users->n; u++)
	{
		const RawUser *user = (const RawUser *) build->users->data + u;

		for (int64 r = user->first_run; r < user->first_run + user->n_runs; r++)
			for (int64 row = runs[r].start; row < runs[r].start + runs[r].n; row++)
			{
				if (++rows % CHECK_EVERY == 0)
					job_check();
				if (all || raw_time(build->events, row) < user->hold_out)
					visit(build, user, row, raw_item(build, build->events, row), arg);
			}
	}
}

/* Is row a later, or the greater at the same time, so that order of reading does not matter? */
static bool
is_later(const RawRows *rows, int64 a, int64 b)
{
	return raw_compare(rows, a, b) > 0;
}

static void
visit_item_before(Build *build, const RawUser *user, int64 row, RawItem *item, void *arg)
{
	item->count++;
	item->fresh += raw_time(build->events, row) > build->data->since;
	if (item->event_row < 0 || is_later(build->events, row, item->event_row))
		item->event_row = row;
}

static void
visit_item_after(Build *build, const RawUser *user, int64 row, RawItem *item, void *arg)
{
	item->held_out += raw_time(build->events, row) >= user->hold_out;
	if (item->count == 0 &&
		(item->event_row < 0 || is_later(build->events, row, item->event_row)))
		item->event_row = row;
}

/* Counts, and the event that says what an item is like: the latest before the cut. */
void
learn_items(Build *build)
{
	/* of a key that the catalog has twice the smaller row, not the one read first */
	for (int64 row = 0; build->catalog && row < build->catalog->n; row++)
	{
		RawItem    *item = raw_item(build, build->catalog, row);

		if (raw_compare(build->catalog, row, item->catalog_row) < 0)
			item->catalog_row = row;
	}
	visit_training_events(build, false, visit_item_before, NULL);
	visit_training_events(build, true, visit_item_after, NULL);
}

/* ---------------- vocabularies and bands ---------------- */

/* Quantiles of very large data are taken from some users, by a hash: it is below this. */
uint64
quantile_users(const Dataset *data)
{
	double		share = 4e6 / (double) Max(data->events_before_cut, 1);

	return share < 1 ? (uint64) (share * (double) PG_UINT64_MAX) : PG_UINT64_MAX;
}

typedef struct Learner
{
	VocabularyBuilder *builder[2][NN_GROUPS][NN_MAX_FEATURES];	/* of rows before the hold-out, and of its own */
	Column	   *numbers[NN_GROUPS][NN_MAX_FEATURES];	/* double, before the hold-out */
	uint64		keep_below;		/* hash of users whose numbers are taken */
} Learner;

/*
 * Is a row of a task's samples, or (-1) an event, looked at?  *late: it is held
 * out; what is not trained on at all will be new to the next night as well.
 */
static bool
is_looked_at(const Build *build, const RawUser *user, int task, TimestampTz time, bool *late)
{
	*late = time >= user->hold_out;
	return sample_is_new(build->data, task, time) && (!*late || build->data->model->options.refit);
}

static void
learn_cells(Learner *learner, const FeatureSet *set, nn_group g, int f, uint64 hash, bool late,
			const Cell *cells, int n)
{
	const Feature *feature = &set->f[g][f];

	if (g == NN_CONTEXT && feature->shares >= 0)
	{
		f = feature->shares;
		g = NN_ITEM;
		feature = &set->f[g][f];
	}
	for (int i = 0; i < n; i++)
	{
		double		number;

		if (cells[i] == CELL_NULL)
			continue;
		if (learner->builder[late][g][f])
			vocabulary_count(learner->builder[late][g][f], cells[i]);
		else if (!late && learner->numbers[g][f] && hash <= learner->keep_below &&
				 isfinite(number = cell_number(cells[i], feature->kind)))
			column_append(learner->numbers[g][f], &number, 1);
	}
}

static void
visit_features(Build *build, const RawUser *user, int64 row, RawItem *item, void *arg)
{
	const FeatureSet *set = build->data->set;
	uint64		hash = cell_hash(user->key);
	bool		late;

	if (!is_looked_at(build, user, -1, raw_time(build->events, row), &late))
		return;
	for (int g = NN_ITEM; g <= NN_PROPERTY; g++)
		for (int f = 0; f < set->n[g]; f++)
		{
			const Cell *cells;
			int			n;

			if (set->f[g][f].encoding == ENCODE_FIXED || set->f[g][f].encoding == ENCODE_HASH)
				continue;
			n = event_cells(build, row, item, g, f, &cells);
			learn_cells(arg, set, g, f, hash, late, cells, n);
		}
	for (int f = 0; set->event_context && f < set->n[NN_CONTEXT]; f++)
		if (build->events->feature[NN_CONTEXT][f] >= 0)
		{
			const Cell *cells;
			int			n = raw_cells(build->events, build->events->feature[NN_CONTEXT][f], row, &cells);

			learn_cells(arg, set, NN_CONTEXT, f, hash, late, cells, n);
		}
}

/* Has a user no events but those looked at?  Whose profile was counted before is not counted again. */
static bool
is_new_user(const Build *build, const RawUser *user)
{
	const RawRun *runs = build->events->run->data;

	for (int64 r = user->first_run; r < user->first_run + user->n_runs; r++)
		for (int64 row = runs[r].start; row < runs[r].start + runs[r].n; row++)
			if (!sample_is_new(build->data, -1, raw_time(build->events, row)))
				return false;
	return user->n_runs > 0;
}

/* Candidates and contexts of a task's samples, and (task -1) profiles. */
static void
learn_rows(Build *build, Learner *learner, const RawRows *rows, nn_group group, int task)
{
	const FeatureSet *set = build->data->set;
	const RawRun *runs = rows->run->data;
	int64		at = 0;

	for (int64 r = 0; r < rows->run->n; r++)
	{
		const RawUser *user = raw_user(build, &at, runs[r].user);

		if (r % CHECK_EVERY == 0)
			job_check();
		for (int64 row = runs[r].start; user != NULL && row < runs[r].start + runs[r].n; row++)
		{
			bool		late = false;

			if (task < 0 ? !is_new_user(build, user) : !is_looked_at(build, user, task, raw_time(rows, row), &late))
				continue;
			for (int f = 0; f < set->n[group]; f++)
			{
				const Cell *cells;
				int			n;

				if (rows->feature[group][f] < 0)
					continue;
				n = raw_cells(rows, rows->feature[group][f], row, &cells);
				learn_cells(learner, set, group, f, cell_hash(user->key), late, cells, n);
			}
		}
	}
}

static void
count_features(Build *build, Learner *learner)
{
	visit_training_events(build, true, visit_features, learner);
	for (int t = 0; t < build->data->model->n_tasks; t++)
		if (build->samples[t])
		{
			learn_rows(build, learner, build->samples[t], NN_ITEM, t);
			learn_rows(build, learner, build->samples[t], NN_CONTEXT, t);
			learn_rows(build, learner, build->samples[t], NN_THING, t);
		}
	if (build->profile)
		learn_rows(build, learner, build->profile, NN_PROFILE, -1);
}

/*
 * What is learned of a feature: all of it, or beside a version what the night
 * adds.  The first property says how many types there are, by which other
 * tensors are shaped: new types wait for a full training.
 */
static bool
is_learned(const Dataset *data, int g, int f)
{
	const Feature *feature = &data->set->f[g][f];

	if (data->base == NULL)
		return feature->encoding == ENCODE_ID || feature->encoding == ENCODE_BANDS;
	if (feature->encoding == ENCODE_BANDS)
		return data->model->options.relearn_bands;
	return feature->encoding == ENCODE_ID && (g != NN_PROPERTY || f > 0);
}

static void
learn_bands(Build *build, Feature *feature, Column *numbers)
{
	double	   *bounds = MemoryContextAlloc(build->data->context, sizeof(double) * Max(feature->bands, 1));
	int			n;

	column_finish(numbers);
	numbers = column_sorted(numbers, compare_numbers);
	n = bands_learn(numbers->data, numbers->n, feature->bands, bounds);
	column_free(numbers);

	/* a night of few numbers does not take a version's bands away */
	if (build->data->base != NULL && n < feature->n_bounds)
		return;
	feature->n_bounds = n;
	feature->bounds = bounds;
}

static void
finish_feature(Build *build, Learner *learner, int g, int f)
{
	Dataset    *data = build->data;
	const ModelOptions *options = &data->model->options;
	Feature    *feature = &data->set->f[g][f];
	GrowthRule	rule = {
		.today = day_of(data->last_time),
		.keep = (int32) (options->count_expiry / USECS_PER_DAY),
		.forget = (int32) ((options->forget + USECS_PER_DAY - 1) / USECS_PER_DAY)
	};

	if (g == NN_CONTEXT && feature->shares >= 0)
	{
		const Feature *item = &data->set->f[NN_ITEM][feature->shares];

		feature->encoding = item->encoding;
		feature->vocabulary = item->vocabulary;
		feature->buckets = item->buckets;
		feature->bounds = item->bounds;
		feature->n_bounds = item->n_bounds;
		feature->vocab = item->vocab;
		return;
	}
	if (learner->builder[0][g][f])
		vocabulary_grow(learner->builder[0][g][f], learner->builder[1][g][f], feature, &rule, &data->growth[g][f]);
	else if (learner->numbers[g][f])
		learn_bands(build, feature, learner->numbers[g][f]);
	else if (data->base)
		return;
	feature_set_vocab(data->set, feature);
}

void
learn_features(Build *build)
{
	Dataset    *data = build->data;
	FeatureSet *set = data->set;
	Learner    *learner = MemoryContextAllocZero(build->context, sizeof(Learner));

	learner->keep_below = quantile_users(data);
	for (int g = 0; g < NN_GROUPS; g++)
		for (int f = 0; f < set->n[g]; f++)
		{
			if (!is_learned(data, g, f) || (g == NN_CONTEXT && set->f[g][f].shares >= 0))
				continue;
			for (int late = 0; late < 2 && set->f[g][f].encoding == ENCODE_ID; late++)
				learner->builder[late][g][f] = vocabulary_builder(data->context);
			if (set->f[g][f].encoding == ENCODE_BANDS)
				learner->numbers[g][f] = column_add(build->store, sizeof(double), NULL);
		}
	count_features(build, learner);

	/* the order matters: types before activity, items before what shares their tables */
	for (int g = 0; g < NN_GROUPS; g++)
	{
		static const nn_group order[NN_GROUPS] = {NN_ITEM, NN_PROPERTY, NN_PROFILE, NN_CONTEXT, NN_THING};

		for (int f = 0; f < set->n[order[g]]; f++)
			finish_feature(build, learner, order[g], f);
		if (order[g] == NN_PROPERTY)
			set->types = set->n[NN_PROPERTY] > 0 && !set->f[NN_PROPERTY][0].multi &&
				set->f[NN_PROPERTY][0].encoding != ENCODE_FIXED ? (int) set->f[NN_PROPERTY][0].vocab : 1;
	}
}
