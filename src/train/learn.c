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

#define CHECK_EVERY 4096		/* rows between job_check() */

bool
task_from_events(const ModelTask *task)
{
	return task->samples == NULL;
}

RawItem *
raw_item(Build *build, Cell key)
{
	/* an event without an item (a search, a redeemed coupon) is an event all the same */
	return key == CELL_NULL ? &build->no_item : hash_search(build->items, &key, HASH_FIND, NULL);
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

/* ---------------- users and the cut ---------------- */

static int
compare_runs(const void *a, const void *b)
{
	const RawRun *x = a;
	const RawRun *y = b;

	if (x->user != y->user)
		return x->user < y->user ? -1 : 1;
	return x->start < y->start ? -1 : x->start > y->start;
}

int
compare_cells(const void *a, const void *b)
{
	Cell		x = *(const Cell *) a;
	Cell		y = *(const Cell *) b;

	return x < y ? -1 : x > y;
}

/* Everybody with an event or a sample, by key. */
static void
make_users(Build *build)
{
	const Model *model = build->data->model;
	int64		n = build->events->run->n;
	Cell	   *keys;
	int64		at = 0;
	int64		run = 0;

	build->n_event_runs = n;
	build->event_runs = MemoryContextAllocHuge(build->context, sizeof(RawRun) * Max(n, 1));
	if (n > 0)
		memcpy(build->event_runs, build->events->run->data, sizeof(RawRun) * n);
	qsort(build->event_runs, build->n_event_runs, sizeof(RawRun), compare_runs);

	for (int t = 0; t < model->n_tasks; t++)
		if (build->samples[t])
			n += build->samples[t]->run->n;
	keys = MemoryContextAllocHuge(build->context, sizeof(Cell) * Max(n, 1));
	for (int64 i = 0; i < build->n_event_runs; i++)
		keys[at++] = build->event_runs[i].user;
	for (int t = 0; t < model->n_tasks; t++)
		for (int64 i = 0; build->samples[t] && i < build->samples[t]->run->n; i++)
			keys[at++] = ((const RawRun *) build->samples[t]->run->data)[i].user;
	qsort(keys, at, sizeof(Cell), compare_cells);

	build->user = MemoryContextAllocHuge(build->context, sizeof(RawUser) * Max(at, 1));
	for (int64 i = 0; i < at; i++)
	{
		RawUser    *user = &build->user[build->n_users];

		if (i > 0 && keys[i] == keys[i - 1])
			continue;
		*user = (RawUser) {.key = keys[i], .first_run = run};
		while (run < build->n_event_runs && build->event_runs[run].user == keys[i])
			run++;
		user->n_runs = run - user->first_run;
		build->n_users++;
	}
	pfree(keys);
	if (build->n_users > PG_INT32_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("more than %d users", PG_INT32_MAX)));
}

/* The k-th smallest of n numbers (k from 0), by partitioning. */
static int64
select_kth(int64 *a, int64 n, int64 k)
{
	int64		low = 0;
	int64		high = n - 1;

	while (low < high)
	{
		int64		pivot = a[low + (high - low) / 2];
		int64		i = low;
		int64		j = high;

		while (i <= j)
		{
			while (a[i] < pivot)
				i++;
			while (a[j] > pivot)
				j--;
			if (i <= j)
			{
				int64		swap = a[i];

				a[i++] = a[j];
				a[j--] = swap;
			}
		}
		if (k <= j)
			high = j;
		else if (k >= i)
			low = i;
		else
			break;
	}
	return a[k];
}

/* The latest time with at least `share` of all tasks' samples at or after it. */
static TimestampTz
share_cut(Build *build, double share)
{
	const Model *model = build->data->model;
	Column	   *times;
	ColumnStore *store = column_store(build->context, PG_INT64_MAX);
	int64		n;
	TimestampTz cut;

	times = column_add(store, sizeof(TimestampTz));
	for (int t = 0; t < model->n_tasks; t++)
	{
		if (build->samples[t])
		{
			if (build->samples[t]->n > 0)
				column_append(times, build->samples[t]->time->data, build->samples[t]->n);
			continue;
		}
		for (int64 r = 0; r < build->n_event_runs; r++)
		{
			const RawRun *run = &build->event_runs[r];
			bool		has = false;
			TimestampTz last = 0;

			/* an instant is one sample */
			for (int64 row = run->start; row < run->start + run->n; row++)
			{
				TimestampTz time = raw_time(build->events, row);

				if (has && time == last)
					continue;
				if (build->n_conditions[t] > 0 &&
					!event_allowed(build, t, row,
								   raw_item(build, raw_cell(build->events, build->events->key, row))))
					continue;
				column_append(times, &time, 1);
				last = time;
				has = true;
				if (times->n % CHECK_EVERY == 0)
					job_check();
			}
		}
	}
	column_store_finish(store);
	n = times->n;
	if (n == 0)
		ereport(ERROR,
				(errcode(ERRCODE_NO_DATA_FOUND),
				 errmsg("model \"%s\" has no samples", model->name),
				 errdetail("Read were " INT64_FORMAT " events of relation %s.",
						   build->events->n, model->relations.events),
				 errhint("Check the \"where\" of its tasks and their samples relations.")));
	cut = select_kth((int64 *) times->data, n, Max(n - (int64) ceil(share * n), 0));
	column_store_delete(store);
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
		const RawRun *run = &build->event_runs[r];

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

void
learn_split(Build *build)
{
	const ModelOptions *options = &build->data->model->options;
	Dataset    *data = build->data;
	int64		before = 0;
	int64		after = 0;

	if (build->events->n == 0)
		ereport(ERROR,
				(errcode(ERRCODE_NO_DATA_FOUND),
				 errmsg("relation %s has no events to learn from", data->model->relations.events),
				 build->events->skipped > 0 ?
				 errdetail("All of its " INT64_FORMAT " rows lack a user or a time.",
						   build->events->skipped) : 0,
				 errhint("Row-level security and privileges of role \"%s\" decide what a job sees.",
						 data->model->owner)));
	make_users(build);
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
	data->last_time = DT_NOBEGIN;
	for (int64 u = 0; u < build->n_users; u++)
	{
		RawUser    *user = &build->user[u];

		if (options->holdout == HOLDOUT_LAST_EVENT)
			last_event_split(build, user, options->holdout_min_events);
		else
			user->hold_out = user->report = data->cut;
		for (int64 r = user->first_run; r < user->first_run + user->n_runs; r++)
		{
			const RawRun *run = &build->event_runs[r];

			for (int64 row = run->start; row < run->start + run->n; row++)
			{
				TimestampTz time = raw_time(build->events, row);

				data->last_time = Max(data->last_time, time);
				*(time < user->hold_out ? &before : &after) += 1;
			}
		}
		if (u % CHECK_EVERY == 0)
			job_check();
	}
	data->events_before_cut = before;
	if (before == 0)
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
	int64		rows = 0;

	for (int64 u = 0; u < build->n_users; u++)
	{
		const RawUser *user = &build->user[u];

		for (int64 r = user->first_run; r < user->first_run + user->n_runs; r++)
			for (int64 row = build->event_runs[r].start;
				 row < build->event_runs[r].start + build->event_runs[r].n; row++)
			{
				if (++rows % CHECK_EVERY == 0)
					job_check();
				if (all || raw_time(build->events, row) < user->hold_out)
					visit(build, user, row,
						  raw_item(build, raw_cell(build->events, build->events->key, row)), arg);
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
	if (item->event_row < 0 || is_later(build->events, row, item->event_row))
		item->event_row = row;
}

static void
visit_item_after(Build *build, const RawUser *user, int64 row, RawItem *item, void *arg)
{
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
		RawItem    *item = raw_item(build, raw_cell(build->catalog, build->catalog->key, row));

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
	VocabularyBuilder *builder[NN_GROUPS][NN_MAX_FEATURES];
	double	   *numbers[NN_GROUPS][NN_MAX_FEATURES];
	int64		n[NN_GROUPS][NN_MAX_FEATURES];
	int64		capacity[NN_GROUPS][NN_MAX_FEATURES];
	uint64		keep_below;		/* hash of users whose numbers are taken */
	MemoryContext context;
} Learner;

static void
learn_cells(Learner *learner, const FeatureSet *set, nn_group g, int f, uint64 hash,
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
		if (feature->encoding == ENCODE_ID)
			vocabulary_count(learner->builder[g][f], cells[i]);
		else if (feature->encoding == ENCODE_BANDS && hash <= learner->keep_below &&
				 isfinite(number = cell_number(cells[i], feature->kind)))
		{
			if (learner->n[g][f] == learner->capacity[g][f])
			{
				learner->capacity[g][f] = Max(1024, 2 * learner->capacity[g][f]);
				learner->numbers[g][f] = array_resize(learner->numbers[g][f], learner->capacity[g][f],
													  sizeof(double), learner->context);
			}
			learner->numbers[g][f][learner->n[g][f]++] = number;
		}
	}
}

static void
visit_features(Build *build, const RawUser *user, int64 row, RawItem *item, void *arg)
{
	const FeatureSet *set = build->data->set;
	uint64		hash = cell_hash(user->key);

	for (int g = NN_ITEM; g <= NN_PROPERTY; g++)
		for (int f = 0; f < set->n[g]; f++)
		{
			const Cell *cells;
			int			n;

			if (set->f[g][f].encoding == ENCODE_FIXED || set->f[g][f].encoding == ENCODE_HASH)
				continue;
			n = event_cells(build, row, item, g, f, &cells);
			learn_cells(arg, set, g, f, hash, cells, n);
		}
}

/* Candidates and contexts of the samples before the cut, and profiles. */
static void
learn_rows(Build *build, Learner *learner, const RawRows *rows, nn_group group, bool profile)
{
	const FeatureSet *set = build->data->set;
	const RawRun *runs = rows->run->data;

	for (int64 r = 0; r < rows->run->n; r++)
	{
		RawUser		find = {.key = runs[r].user};
		const RawUser *user = bsearch(&find, build->user, build->n_users, sizeof(RawUser),
									  compare_cells);

		if (r % CHECK_EVERY == 0)
			job_check();
		for (int64 row = runs[r].start; user != NULL && row < runs[r].start + runs[r].n; row++)
		{
			if (profile ? user->n_runs == 0 : raw_time(rows, row) >= user->hold_out)
				continue;
			for (int f = 0; f < set->n[group]; f++)
			{
				const Cell *cells;
				int			n;

				if (rows->feature[group][f] < 0)
					continue;
				n = raw_cells(rows, rows->feature[group][f], row, &cells);
				learn_cells(learner, set, group, f, cell_hash(user->key), cells, n);
			}
		}
	}
}

static void
finish_feature(Build *build, Learner *learner, int g, int f)
{
	Dataset    *data = build->data;
	Feature    *feature = &data->set->f[g][f];

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
	if (feature->encoding == ENCODE_ID)
		vocabulary_finish(learner->builder[g][f], feature);
	else if (feature->encoding == ENCODE_BANDS)
	{
		double	   *bounds = MemoryContextAlloc(data->context, sizeof(double) * Max(feature->bands, 1));

		feature->n_bounds = bands_learn(learner->numbers[g][f], learner->n[g][f], feature->bands,
										bounds);
		feature->bounds = bounds;
	}
	feature_set_vocab(data->set, feature);
}

void
learn_features(Build *build)
{
	Dataset    *data = build->data;
	const Model *model = data->model;
	FeatureSet *set = data->set;
	Learner    *learner = MemoryContextAllocZero(build->context, sizeof(Learner));

	learner->context = build->context;
	learner->keep_below = quantile_users(data);
	for (int g = 0; g < NN_GROUPS; g++)
		for (int f = 0; f < set->n[g]; f++)
			if (set->f[g][f].encoding == ENCODE_ID)
				learner->builder[g][f] = vocabulary_builder(data->context);

	visit_training_events(build, false, visit_features, learner);
	for (int t = 0; t < model->n_tasks; t++)
		if (build->samples[t])
		{
			learn_rows(build, learner, build->samples[t], NN_ITEM, false);
			learn_rows(build, learner, build->samples[t], NN_CONTEXT, false);
		}
	if (build->profile)
		learn_rows(build, learner, build->profile, NN_PROFILE, true);

	/* the order matters: types before activity, items before what shares their tables */
	for (int g = 0; g < NN_GROUPS; g++)
	{
		static const nn_group order[NN_GROUPS] = {NN_ITEM, NN_PROPERTY, NN_PROFILE, NN_CONTEXT};

		for (int f = 0; f < set->n[order[g]]; f++)
			finish_feature(build, learner, order[g], f);
		if (order[g] == NN_PROPERTY)
			set->types = set->n[NN_PROPERTY] > 0 && !set->f[NN_PROPERTY][0].multi &&
				set->f[NN_PROPERTY][0].encoding != ENCODE_FIXED ? (int) set->f[NN_PROPERTY][0].vocab : 1;
	}
}
