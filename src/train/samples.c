/*-------------------------------------------------------------------------
 *
 * samples.c
 *	  Which moments are trained and judged (NETWORK.md, Instants and Hold-out)
 *
 *-------------------------------------------------------------------------
 */
#include "train/dataset.h"

#include <math.h>

#define STOP_MOMENTS	5000	/* of a task that decide early stopping */
#define STOP_SCORES		500000000	/* moments times catalogue, before they get fewer */
#define CHECK_EVERY		4096

int
event_class(const Dataset *data, int task, int64 event)
{
	const double *number = data->label_number[task];
	const Cell *cell = data->label_cell[task];
	const Cell *within = data->within_cell[task];

	return levels_class(&data->levels[task], cell ? cell[event] : CELL_NULL,
						number ? number[event] : 0, within ? within[event] : CELL_NULL);
}

bool
event_is_target(const Dataset *data, int task, int64 event)
{
	if (data->where[task] && !data->where[task][event])
		return false;
	return data->model->task[task].kind == NN_MULTICLASS ?
		event_class(data, task, event) >= 0 : data->events->item[event] >= 0;
}

bool
event_is_judged(const Dataset *data, int task, int64 event)
{
	if (data->evaluated && data->model->task[task].kind == NN_NEXT_ITEM &&
		data->events->item[event] == ITEM_UNKNOWN)
		return data->where[task] == NULL || data->where[task][event];
	return event_is_target(data, task, event);
}

float
row_weight(const Dataset *data, int task, int64 row)
{
	const SampleRows *rows = &data->rows[task];
	float		weight = rows->weight ? rows->weight[row] : 1;

	if (rows->type_weight)
		weight *= rows->type_weight[row];
	return data->label_weight[task] ? weight * data->label_weight[task][(int) rows->label[row]] : weight;
}

float
event_weight(const Dataset *data, int task, int64 event)
{
	float		weight = data->type_weight[task] ? data->type_weight[task][event] : 1;

	return data->label_weight[task] ? weight * data->label_weight[task][event_class(data, task, event)] : weight;
}

/* The moments of one user as they are found. */
typedef struct UserMoments
{
	Moment	   *moment;
	int64		n,
				capacity;
} UserMoments;

static void
add_moment(UserMoments *moments, Moment moment)
{
	if (moments->n == moments->capacity)
	{
		moments->capacity = Max(64, 2 * moments->capacity);
		moments->moment = array_resize(moments->moment, moments->capacity, sizeof(Moment),
									   CurrentMemoryContext);
	}
	moments->moment[moments->n++] = moment;
}

static bool
same_context(const Dataset *data, int task, int64 a, int64 b)
{
	for (int f = 0; f < data->set->n[NN_CONTEXT]; f++)
	{
		const IdColumn *column = &data->rows[task].context[f];
		int64		n;

		if (column->values == NULL)
			continue;
		if (!data->set->f[NN_CONTEXT][f].multi)
		{
			if (column->values[a] != column->values[b])
				return false;
			continue;
		}
		n = column->offsets[a + 1] - column->offsets[a];
		if (n != column->offsets[b + 1] - column->offsets[b] ||
			memcmp(column->values + column->offsets[a], column->values + column->offsets[b],
				   sizeof(int32) * n) != 0)
			return false;
	}
	return true;
}

/* The user's event moments: every boundary between instants, the empty history included. */
static void
add_event_moments(const Dataset *data, int32 u, const bool *wanted, UserMoments *moments)
{
	const User *user = &data->users[u];
	const TimestampTz *time = data->events->time;
	int64		end = user->start + user->n;

	for (int64 begin = user->start, next; begin < end; begin = next)
	{
		bool		any = false;

		for (next = begin; next < end && time[next] == time[begin]; next++)
			for (int t = 0; t < data->model->n_tasks && !any; t++)
				any = wanted[t] && task_from_events(&data->model->task[t]) && event_is_judged(data, t, next);
		if (any)
			add_moment(moments, (Moment) {.user = u, .time = time[begin], .end = begin, .task = -1,
					   .target = begin, .n_target = (int32) (next - begin)});
	}
}

/* Rows of one user, time and context are one moment. */
static void
add_row_moments(const Dataset *data, int t, int32 u, int64 *at, UserMoments *moments)
{
	const SampleRows *rows = &data->rows[t];
	const User *user = &data->users[u];
	int64		end = user->start;

	while (*at < rows->n && rows->user[*at] == u)
	{
		int64		first = *at;

		do
			(*at)++;
		while (*at < rows->n && rows->user[*at] == u && rows->time[*at] == rows->time[first] &&
			   same_context(data, t, first, *at));
		while (end < user->start + user->n &&
			   data->events->time[end] < rows->time[first] - data->model->task[t].options.embargo)
			end++;
		add_moment(moments, (Moment) {.user = u, .time = rows->time[first], .end = end, .task = (int16) t,
				   .target = first, .n_target = (int32) (*at - first)});
	}
}

static int
compare_moments(const void *a, const void *b)
{
	const Moment *x = a;
	const Moment *y = b;

	if (x->time != y->time)
		return x->time < y->time ? -1 : 1;
	if (x->task != y->task)
		return x->task < y->task ? -1 : 1;
	return x->target < y->target ? -1 : x->target > y->target;
}

static Split
moment_split(const Dataset *data, const Moment *moment)
{
	const ModelOptions *options = &data->model->options;
	const User *user = &data->users[moment->user];

	/* of samples before the cut whose labels came after it, only a refit learns */
	if (moment->time < user->hold_out)
		return moment->task < 0 || label_known(&data->model->task[moment->task], moment->time, user->hold_out) ?
			SPLIT_TRAIN : SPLIT_SPARE;
	if (moment->time >= data->until)
		return SPLIT_SPARE;
	if (options->holdout == HOLDOUT_LAST_EVENT)
		return moment->time < user->report ? SPLIT_STOP : SPLIT_REPORT;
	if (user->n < options->holdout_min_events)
		return SPLIT_SPARE;
	return data->everybody || user->hash & 1 ? SPLIT_REPORT : SPLIT_STOP;
}

static uint64
moment_hash(const Dataset *data, const Moment *moment)
{
	return cell_hash((Cell) (cell_hash(data->users[moment->user].key) ^
							 (uint64) moment->time ^ (uint64) (moment->task + 1)));
}

/* How many samples of a task a moment holds. */
static int64
moment_samples(const Dataset *data, const Moment *moment, int t)
{
	int64		n = 0;

	if (moment->task >= 0)
		return moment->task == t ? moment->n_target : 0;
	if (task_from_events(&data->model->task[t]))
		for (int64 event = moment->target; event < moment->target + moment->n_target; event++)
			n += event_is_judged(data, t, event);
	return n;
}

/*
 * Of a night, its own moments, and as many older ones as the option "replay" asks for,
 * chosen by a hash: those of the half of the history that has windows.
 */
static void
leave_new(const Dataset *data, UserMoments *found)
{
	double		replay = data->model->options.replay;
	int64		n = 0;
	int64		fresh = 0;
	int64		old;

	if (data->since == DT_NOBEGIN)
		return;
	for (int64 i = 0; i < found->n; i++)
		fresh += sample_is_new(data, found->moment[i].task, found->moment[i].time);
	old = Min(found->n - fresh, data->set->max_events);
	for (int64 i = 0; i < found->n; i++)
	{
		const Moment *moment = &found->moment[i];

		if (sample_is_new(data, moment->task, moment->time) ||
			(i >= found->n - fresh - old && replay * fresh > 0 &&
			 moment_hash(data, moment) / (double) PG_UINT64_MAX < replay * fresh / old))
			found->moment[n++] = *moment;
	}
	found->n = n;
}

/*
 * All moments by user and time, with shares[split][1 + task] of those held out
 * kept, chosen by a hash, and the rest spare.  Counts samples; column NULL:
 * only that.  of: columns of the places of some splits' moments.
 */
static void
walk_moments(const Dataset *data, double shares[][NN_MAX_TASKS + 1], Moments *moments, Column *column,
			 Column **of)
{
	const Model *model = data->model;
	UserMoments found = {0};
	int64		at[NN_MAX_TASKS] = {0};
	bool		from_events = false;

	for (int t = 0; t < model->n_tasks; t++)
		from_events |= moments->wanted[t] && task_from_events(&model->task[t]);
	memset(moments->count, 0, sizeof(moments->count));
	for (int32 u = 0; u < data->n_users; u++)
	{
		found.n = 0;
		if (from_events)
			add_event_moments(data, u, moments->wanted, &found);
		for (int t = 0; t < model->n_tasks; t++)
			if (moments->wanted[t] && !task_from_events(&model->task[t]))
				add_row_moments(data, t, u, &at[t], &found);
		if (model->n_tasks > 1)
			qsort(found.moment, found.n, sizeof(Moment), compare_moments);
		leave_new(data, &found);
		for (int64 i = 0; i < found.n; i++)
		{
			Moment	   *moment = &found.moment[i];
			double		share;

			moment->split = moment_split(data, moment);
			share = shares[moment->split][1 + moment->task];
			if (share < 1 && (double) moment_hash(data, moment) / (double) PG_UINT64_MAX >= share)
				moment->split = SPLIT_SPARE;
			for (int t = 0; t < model->n_tasks; t++)
				if (moments->wanted[t])
					moments->count[moment->split][t] += moment_samples(data, moment, t);
			if (column && of[moment->split])
			{
				int64		at = column->n + i;

				column_append(of[moment->split], &at, 1);
			}
		}
		if (column)
			column_append(column, found.moment, found.n);
		if (u % CHECK_EVERY == 0)
			job_check();
	}
	if (found.moment)
		pfree(found.moment);
}

Moments *
moments_make(const Dataset *data, const bool *wanted)
{
	const Model *model = data->model;
	Moments    *moments = MemoryContextAllocZero(data->context, sizeof(Moments));
	double		most[SPLIT_SPARE + 1] = {INFINITY, STOP_MOMENTS, model->options.evaluate_samples, INFINITY};
	double		shares[SPLIT_SPARE + 1][NN_MAX_TASKS + 1];
	Column	   *column;
	Column	   *of[SPLIT_SPARE + 1] = {NULL};

	for (int t = 0; t < model->n_tasks; t++)
		moments->wanted[t] = wanted == NULL || wanted[t];
	for (int t = 0; t < model->n_tasks; t++)
		if (moments->wanted[t] && model->task[t].kind == NN_NEXT_ITEM)
			most[SPLIT_STOP] = Min(most[SPLIT_STOP], Max(500, STOP_SCORES / (double) Max(data->catalogue.n, 1)));
	for (int split = 0; split <= SPLIT_SPARE; split++)
		for (int t = 0; t <= NN_MAX_TASKS; t++)
			shares[split][t] = 1;
	walk_moments(data, shares, moments, NULL, NULL);
	for (int split = 0; split <= SPLIT_SPARE; split++)
		for (int t = 0; t < model->n_tasks; t++)
		{
			int			source = task_from_events(&model->task[t]) ? 0 : t + 1;

			if (moments->count[split][t] > most[split])
				shares[split][source] = Min(shares[split][source], most[split] / moments->count[split][t]);
		}

	column = column_add(data->store, sizeof(Moment), &moments->moment);
	for (Split split = SPLIT_STOP; split <= SPLIT_REPORT; split++)
		of[split] = column_add(data->store, sizeof(int64), &moments->of[split]);
	walk_moments(data, shares, moments, column, of);
	column_finish(column);
	for (Split split = SPLIT_STOP; split <= SPLIT_REPORT; split++)
	{
		column_finish(of[split]);
		moments->n_of[split] = of[split]->n;
	}
	moments->n = column->n;
	job_spilled(column_memory_spilled(data->memory));
	for (int t = 0; t < model->n_tasks; t++)
		if (moments->wanted[t] && moments->count[SPLIT_TRAIN][t] == 0 && !data->evaluated &&
			data->since == DT_NOBEGIN)
			ereport(ERROR,
					(errcode(ERRCODE_NO_DATA_FOUND),
					 errmsg("task \"%s\" has no samples before the hold-out", model->task[t].name),
					 model->task[t].options.matures > 0 ?
					 errhint("Labels that are known only after it do not count: check \"matures\" and the option \"holdout\".") :
					 errhint("Check its \"where\", its samples relation and the option \"holdout\".")));
	return moments;
}
