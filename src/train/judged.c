/*-------------------------------------------------------------------------
 *
 * judged.c
 *	  The samples that scorers are judged by, and the slices they are in
 *
 *-------------------------------------------------------------------------
 */
#include "train/dataset.h"

#define FEW_EVENTS	5			/* before a moment: fewer, and the user is new */

const char *const slice_name[SLICES] = {"all", "repeat", "new", "new_users", "short_history", "long_history",
"popular_items", "rare_items"};

int
task_main_k(const ModelTask *task)
{
	int			k = task->options.k[0];

	for (int i = 0; i < task->options.n_k; i++)
		if (task->options.k[i] == 10)
			k = 10;
	return k;
}

/* ---------------- samples ---------------- */

/* Room for n more samples; arrays double. */
static void
reserve(Judged *judged, int64 *capacity, nn_kind kind, int64 n)
{
	int64		grown;

	if (judged->n + n <= *capacity)
		return;
	grown = Max(Max(1024, 2 * *capacity), judged->n + n);
#define GROW(array) \
	((array) = array_resize((array), grown, sizeof(*(array)), CurrentMemoryContext))
	GROW(judged->moment);
	GROW(judged->target);
	GROW(judged->user);
	GROW(judged->weight);
	GROW(judged->slices);
	if (kind == NN_MULTICLASS)
		GROW(judged->label_class);
	else if (kind != NN_NEXT_ITEM)
		GROW(judged->label);
#undef GROW
	*capacity = grown;
}

/* Is the item of an event among those that the user had before the moment? */
static bool
had_before(const Dataset *data, const Moment *moment, int32 item)
{
	for (int64 row = data->users[moment->user].start; item >= 0 && row < moment->end; row++)
		if (data->events->item[row] == item)
			return true;
	return false;
}

static int
compare_counts(const void *a, const void *b)
{
	int64		x = *(const int64 *) a;
	int64		y = *(const int64 *) b;

	return x > y ? -1 : x < y;
}

static int
compare_lengths(const void *a, const void *b)
{
	return compare_counts(b, a);
}

/*
 * Items that together make up the first half of the training events: those
 * that are more frequent have less than half.
 */
static int64
popular_count(const Catalogue *catalogue)
{
	int64	   *count = palloc0_array_huge(int64, catalogue->n);
	int64		total = 0;
	int64		more = 0;
	int64		least = 1;

	if (catalogue->n > 0)
		memcpy(count, catalogue->count, sizeof(int64) * catalogue->n);
	for (int64 j = 0; j < catalogue->n; j++)
		total += count[j];
	qsort(count, catalogue->n, sizeof(int64), compare_counts);
	for (int64 begin = 0, end; begin < catalogue->n && count[begin] > 0; begin = end)
	{
		if (2 * more >= total)
			break;
		least = count[begin];
		for (end = begin; end < catalogue->n && count[end] == count[begin]; end++)
			more += count[end];
	}
	pfree(count);
	return least;
}

/* A sample; users are numbered as they come. */
static void
add_sample(const Dataset *data, const Moments *moments, int t, int64 m, int64 target, float weight,
		   int64 popular, Judged *judged)
{
	const ModelTask *task = &data->model->task[t];
	const Moment *moment = &moments->moment[m];
	const SampleRows *rows = task_from_events(task) ? NULL : &data->rows[t];
	int64		at = judged->n++;
	int32		item = -1;

	judged->moment[at] = m;
	judged->target[at] = target;
	judged->weight[at] = weight;
	judged->user[at] = at == 0 ? 0 : judged->user[at - 1] +
		(moments->moment[judged->moment[at - 1]].user != moment->user);
	judged->slices[at] = 1 << SLICE_ALL;
	if (moment->end - data->users[moment->user].start < FEW_EVENTS)
		judged->slices[at] |= 1 << SLICE_NEW_USERS;

	switch (task->kind)
	{
		case NN_NEXT_ITEM:
			item = data->events->item[target];
			judged->slices[at] |= 1 << (had_before(data, moment, item) ? SLICE_REPEAT : SLICE_NEW);
			break;
		case NN_MULTICLASS:
			judged->label_class[at] = rows ? (int32) rows->label[target] : event_class(data, t, target);
			break;
		case NN_BINARY:
		case NN_RANK:
			judged->label[at] = rows->label[target];
			if (rows->item != NULL)
				item = rows->item[target];
			break;
	}
	if (item >= 0 || task->kind == NN_NEXT_ITEM)
		judged->slices[at] |= 1 << (item >= 0 && data->catalogue.count[item] >= popular ? SLICE_POPULAR_ITEMS : SLICE_RARE_ITEMS);
}

/* The samples of a task at a moment: rows of its relation, or events that may be targets. */
static void
add_moment(const Dataset *data, const Moments *moments, int t, int64 m, int64 popular, Judged *judged,
		   int64 *capacity)
{
	const ModelTask *task = &data->model->task[t];
	const Moment *moment = &moments->moment[m];
	int64		end = moment->target + moment->n_target;
	int			size = 0;

	if (!moments->wanted[t] || (moment->task >= 0 ? moment->task != t : !task_from_events(task)))
		return;
	reserve(judged, capacity, task->kind, moment->n_target);
	if (moment->task >= 0)
	{
		const float *weight = data->rows[t].weight;

		for (int64 row = moment->target; row < end; row++)
			add_sample(data, moments, t, m, row, weight ? weight[row] : 1, popular, judged);
		return;
	}
	for (int64 event = moment->target; event < end; event++)
		size += event_is_judged(data, t, event);
	for (int64 event = moment->target; event < end; event++)
		if (event_is_judged(data, t, event))
			add_sample(data, moments, t, m, event, 1.0f / size, popular, judged);
}

/* Histories below their median, and the others. */
static void
slice_histories(const Dataset *data, const Moments *moments, Judged *judged)
{
	int64	   *length = palloc0_array_huge(int64, judged->n);
	int64	   *sorted = palloc0_array_huge(int64, judged->n);

	for (int64 i = 0; i < judged->n; i++)
	{
		const Moment *moment = &moments->moment[judged->moment[i]];

		length[i] = sorted[i] = moment->end - data->users[moment->user].start;
	}
	qsort(sorted, judged->n, sizeof(int64), compare_lengths);
	for (int64 i = 0; i < judged->n; i++)
		judged->slices[i] |= 1 << (length[i] < sorted[judged->n / 2] ? SLICE_SHORT_HISTORY : SLICE_LONG_HISTORY);
	pfree(length);
	pfree(sorted);
}

Judged *
judged_make(const Dataset *data, const Moments *moments, Split split)
{
	int			n_task = data->model->n_tasks;
	Judged	   *judged = palloc0(sizeof(Judged) * n_task);
	int64		popular = popular_count(&data->catalogue);

	for (int t = 0; t < n_task; t++)
	{
		int64		capacity = 0;

		judged[t].task = t;
		judged[t].classes = data->levels[t].classes;
		judged[t].class_name = data->levels[t].class_name;
		judged[t].results = palloc0(sizeof(Results) * MAX_RESULTS);
		for (int64 i = 0; i < moments->n_of[split]; i++)
		{
			add_moment(data, moments, t, moments->of[split][i], popular, &judged[t], &capacity);
			if (i % 256 == 0)
				job_check();
		}
		if (judged[t].n > 0)
			slice_histories(data, moments, &judged[t]);
	}
	return judged;
}

/* ---------------- scorers ---------------- */

Results *
add_results(Judged *judged, const char *source)
{
	Results    *results = &judged->results[judged->n_results++];

	Assert(judged->n_results <= MAX_RESULTS);
	memset(results, 0, sizeof(*results));
	results->source = source;
	return results;
}

Results *
add_network(Judged *judged, nn_kind kind, const char *source)
{
	Results    *results = add_results(judged, source);

	if (kind == NN_NEXT_ITEM)
	{
		results->rank = palloc0_array_huge(double, judged->n);
		return results;
	}
	results->score = palloc0_array_huge(float, judged->n);
	results->log_loss = palloc0_array_huge(float, judged->n);
	if (kind == NN_MULTICLASS)
		results->predicted = palloc0_array_huge(int32, judged->n);
	return results;
}
