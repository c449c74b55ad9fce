/*-------------------------------------------------------------------------
 *
 * samples.c
 *	  Which moments are trained and judged (NETWORK.md, Instants and Hold-out)
 *
 *-------------------------------------------------------------------------
 */
#include "train/dataset.h"


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

static Moment *
add_moment(Moments *moments, int64 *capacity, MemoryContext context)
{
	if (moments->n == *capacity)
	{
		*capacity = Max(1024, 2 * *capacity);
		moments->moment = array_resize(moments->moment, *capacity, sizeof(Moment), context);
	}
	return &moments->moment[moments->n++];
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
add_event_moments(const Dataset *data, int32 u, Moments *moments, int64 *capacity)
{
	const User *user = &data->users[u];
	const TimestampTz *time = data->events->time;
	int64		end = user->start + user->n;

	for (int64 begin = user->start, next; begin < end; begin = next)
	{
		bool		any = false;
		Moment	   *moment;

		for (next = begin; next < end && time[next] == time[begin]; next++)
			for (int t = 0; t < data->model->n_tasks && !any; t++)
				any = task_from_events(&data->model->task[t]) && event_is_target(data, t, next);
		if (!any)
			continue;
		moment = add_moment(moments, capacity, data->context);
		*moment = (Moment) {.user = u, .time = time[begin], .end = begin, .task = -1,
		.target = begin, .n_target = (int32) (next - begin)};
	}
}

/* Rows of one user, time and context are one moment. */
static void
add_row_moments(const Dataset *data, int t, int32 u, int64 *at, Moments *moments, int64 *capacity)
{
	const SampleRows *rows = &data->rows[t];
	const User *user = &data->users[u];
	int64		end = user->start;

	while (*at < rows->n && rows->user[*at] == u)
	{
		int64		first = *at;
		Moment	   *moment;

		do
			(*at)++;
		while (*at < rows->n && rows->user[*at] == u && rows->time[*at] == rows->time[first] &&
			   same_context(data, t, first, *at));
		while (end < user->start + user->n && data->events->time[end] < rows->time[first])
			end++;
		moment = add_moment(moments, capacity, data->context);
		*moment = (Moment) {.user = u, .time = rows->time[first], .end = end, .task = t,
		.target = first, .n_target = (int32) (*at - first)};
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

	if (moment->time < user->hold_out)
		return SPLIT_TRAIN;
	if (options->holdout == HOLDOUT_LAST_EVENT)
		return moment->time < user->report ? SPLIT_STOP : SPLIT_REPORT;
	if (user->n < options->holdout_min_events)
		return SPLIT_SPARE;
	return user->hash & 1 ? SPLIT_REPORT : SPLIT_STOP;
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
			n += event_is_target(data, t, event);
	return n;
}

/* Keep about `most` samples a task of a split, chosen by a hash; the rest is spare. */
static void
limit_split(const Dataset *data, Moments *moments, Split split, double most)
{
	double		share[NN_MAX_TASKS + 1];	/* [1 + Moment.task] */

	for (int t = 0; t <= data->model->n_tasks; t++)
		share[t] = 1;
	for (int t = 0; t < data->model->n_tasks; t++)
	{
		int			source = task_from_events(&data->model->task[t]) ? 0 : t + 1;

		if (moments->count[split][t] > most)
			share[source] = Min(share[source], most / moments->count[split][t]);
	}
	for (int64 i = 0; i < moments->n; i++)
	{
		Moment	   *moment = &moments->moment[i];

		if (moment->split == split && share[moment->task + 1] < 1 &&
			(double) moment_hash(data, moment) / (double) PG_UINT64_MAX >= share[moment->task + 1])
			moment->split = SPLIT_SPARE;
	}
}

static void
count_splits(const Dataset *data, Moments *moments)
{
	memset(moments->count, 0, sizeof(moments->count));
	for (int64 i = 0; i < moments->n; i++)
	{
		for (int t = 0; t < data->model->n_tasks; t++)
			moments->count[moments->moment[i].split][t] +=
				moment_samples(data, &moments->moment[i], t);
		if (i % CHECK_EVERY == 0)
			job_check();
	}
}

Moments *
moments_make(const Dataset *data)
{
	const Model *model = data->model;
	Moments    *moments = MemoryContextAllocZero(data->context, sizeof(Moments));
	int64		capacity = 0;
	int64		at[NN_MAX_TASKS] = {0};
	bool		from_events = false;
	double		stop = STOP_MOMENTS;

	for (int t = 0; t < model->n_tasks; t++)
	{
		from_events |= task_from_events(&model->task[t]);
		if (model->task[t].kind == NN_NEXT_ITEM)
			stop = Min(stop, Max(500, STOP_SCORES / (double) Max(data->catalogue.n, 1)));
	}
	for (int32 u = 0; u < data->n_users; u++)
	{
		int64		first = moments->n;

		if (from_events)
			add_event_moments(data, u, moments, &capacity);
		for (int t = 0; t < model->n_tasks; t++)
			if (!task_from_events(&model->task[t]))
				add_row_moments(data, t, u, &at[t], moments, &capacity);
		if (model->n_tasks > 1)
			qsort(moments->moment + first, moments->n - first, sizeof(Moment), compare_moments);
		for (int64 i = first; i < moments->n; i++)
			moments->moment[i].split = moment_split(data, &moments->moment[i]);
		if (u % CHECK_EVERY == 0)
			job_check();
	}
	count_splits(data, moments);
	limit_split(data, moments, SPLIT_STOP, stop);
	limit_split(data, moments, SPLIT_REPORT, model->options.evaluate_samples);
	count_splits(data, moments);
	for (int t = 0; t < model->n_tasks; t++)
		if (moments->count[SPLIT_TRAIN][t] == 0)
			ereport(ERROR,
					(errcode(ERRCODE_NO_DATA_FOUND),
					 errmsg("task \"%s\" has no samples before the hold-out", model->task[t].name),
					 errhint("Check its \"where\", its samples relation and the option \"holdout\".")));
	return moments;
}
