/*-------------------------------------------------------------------------
 *
 * leak.c
 *	  Do samples see what came of them?
 *
 * A shop that logs a click as an event a moment before the impression that was
 * clicked has samples whose newest event is their label.  A network learns
 * that at once, is judged to be perfect, and knows nothing when it serves.  So
 * count in how many positives, and in how many negatives, the newest event is
 * very young and about the candidate: the same item, or where the samples have
 * no item, the same in all columns of the candidate.  And look for features
 * that nearly are the label.
 *
 * Both are warnings: what a user did a minute ago may tell the label honestly.
 *
 *-------------------------------------------------------------------------
 */
#include "train/leak.h"

#include <math.h>

#include "train/dataset.h"
#include "utils/timestamp.h"

#define FEWEST		20			/* samples of each label */
#define SHARE		0.2			/* of positives, at least, */
#define TIMES		5.0			/* and as many times that of negatives */
#define ALONE		0.98		/* AUC of a feature that nearly is the label */
#define MOST_ROWS	200000		/* of a task whose features are looked at */

const int64 leak_age[LEAK_AGES] = {USECS_PER_SEC, USECS_PER_MINUTE, USECS_PER_HOUR};
static const char *const age_name[LEAK_AGES] = {"a second", "a minute", "an hour"};

/* ---------------- what counts are worth ---------------- */

char *
leak_warning(const ModelTask *task, const LeakCounts *counts)
{
	int			telling = -1;
	double		most = 0;

	/* what no candidate is needed for, an hour tells honestly */
	for (int a = 0; a < LEAK_AGES - !counts->candidate && Min(counts->n[0], counts->n[1]) >= FEWEST; a++)
	{
		double		positives = counts->young[1][a] / counts->n[1];
		double		negatives = counts->young[0][a] / counts->n[0];

		/* the shortest age, unless a longer one tells clearly more */
		if (positives < SHARE || positives < TIMES * negatives || positives - negatives <= 1.1 * most)
			continue;
		most = positives - negatives;
		telling = a;
	}
	if (telling < 0)
		return NULL;
	return psprintf("task \"%s\": in %.0f %% of the positives but %.0f %% of the negatives the newest event is under %s old%s: "
					"if it tells the label, set \"embargo\"", task->name,
					100 * counts->young[1][telling] / counts->n[1],
					100 * counts->young[0][telling] / counts->n[0], age_name[telling],
					counts->candidate ? " and about the candidate" : "");
}

char *
leak_feature_warning(const ModelTask *task, const char *feature, double auc)
{
	bool		flipped;

	if (!(Max(auc, 1 - auc) > ALONE))
		return NULL;
	return psprintf("task \"%s\": feature \"%s\" nearly is the label (alone its AUC is %.3f): "
					"was it known before?", task->name, feature_column(task->kind, feature, &flipped), Max(auc, 1 - auc));
}

/* ---------------- counting ---------------- */

static bool
same_ids(const IdColumn *a, int64 at_a, const IdColumn *b, int64 at_b)
{
	int64		begin_a = a->offsets ? a->offsets[at_a] : at_a;
	int64		begin_b = b->offsets ? b->offsets[at_b] : at_b;
	int64		n = a->offsets ? a->offsets[at_a + 1] - begin_a : 1;

	if (n == 0 || n != (b->offsets ? b->offsets[at_b + 1] - begin_b : 1) || a->values[begin_a] < ID_FIRST)
		return false;
	return memcmp(a->values + begin_a, b->values + begin_b, sizeof(int32) * n) == 0;
}

static bool
about_candidate(const Dataset *data, int t, const nn_task *task, int64 row, int64 event)
{
	const SampleRows *rows = &data->rows[t];

	if (rows->item[row] >= 0)
		return data->events->item[event] == rows->item[row];
	for (int k = 0; k < task->n_candidate; k++)
		if (NN_IS_THING(task->candidate[k]) || !same_ids(&rows->candidate[k], row, &data->events->feature[0][task->candidate[k]], event))
			return false;
	return true;
}

static void
count_moment(const Dataset *data, int t, const nn_task *task, const Moment *moment, LeakCounts *counts)
{
	const SampleRows *rows = &data->rows[t];
	const TimestampTz *time = data->events->time;
	int64		first = data->users[moment->user].start;
	int64		age = moment->end > first ? moment->time - time[moment->end - 1] : PG_INT64_MAX;

	for (int64 row = moment->target; row < moment->target + moment->n_target; row++)
	{
		int			label = rows->label[row] > 0.5f;
		bool		about = false;

		counts->n[label] += 1;
		if (age >= leak_age[LEAK_AGES - 1])
			continue;
		for (int64 event = moment->end - 1; event >= first && time[event] == time[moment->end - 1] && !about; event--)
			about = about_candidate(data, t, task, row, event);
		for (int a = 0; a < LEAK_AGES; a++)
			counts->young[label][a] += about && age < leak_age[a];
	}
}

/*
 * Positives whose candidate the user had already, which none that was drawn is:
 * they are told from it by that alone.
 */
static void
note_seen(const Dataset *data, const Moments *moments, int t, const nn_task *task)
{
	const SampleRows *rows = &data->rows[t];
	double		seen = 0;
	double		n = 0;

	for (int64 m = 0; m < moments->n; m++)
	{
		const Moment *moment = &moments->moment[m];
		int			length;
		int64		start;

		if (m % 4096 == 0)
			job_check();
		if (moment->task != t || moment->split != SPLIT_TRAIN)
			continue;
		start = event_window(data->events, data->set, data->users[moment->user].start, moment->end,
							 moment_now(data, moment), &length);
		for (int64 row = moment->target; row < moment->target + moment->n_target; row++)
		{
			bool		found = false;

			if (rows->drawn[row] || !(rows->label[row] > 0.5f))
				continue;
			for (int64 event = start; event < start + length && !found; event++)
				found = about_candidate(data, t, task, row, event);
			seen += found;
			n += 1;
		}
	}
	if (n > 0 && seen / n >= SHARE)
		job_note("task \"%s\": in %.0f %% of the positives the candidate was in the history already, which no drawn one is, so that alone tells them; an \"embargo\" hides the visits that led there",
				 data->model->task[t].name, 100 * seen / n);
}

static void
note_features(const Dataset *data, const Moments *moments, int t)
{
	const ModelTask *task = &data->model->task[t];
	const SampleRows *rows = &data->rows[t];
	int64		stride = moments->count[SPLIT_TRAIN][t] / MOST_ROWS + 1;
	int64		most = moments->count[SPLIT_TRAIN][t] / stride + 1;
	int64	   *at = palloc0_array_huge(int64, most);
	float	   *score = palloc0_array_huge(float, most);
	float	   *label = palloc0_array_huge(float, most);
	int32	   *order = palloc0_array_huge(int32, most);
	int64		skip = 0;
	int64		n = 0;

	for (int64 m = 0; m < moments->n; m++)
	{
		const Moment *moment = &moments->moment[m];

		if (moment->task != t || moment->split != SPLIT_TRAIN)
			continue;
		for (int64 row = moment->target; row < moment->target + moment->n_target; row++)
			if (skip++ % stride == 0 && n < most)
			{
				label[n] = rows->label[row];
				at[n++] = row;
			}
	}
	for (int f = 0; f < task->n_features; f++)
	{
		char	   *warning;

		for (int64 i = 0; i < n; i++)
			score[i] = rows->features[at[i] * task->n_features + f];
		warning = leak_feature_warning(task, task->features[f], nn_auc(score, label, n, order));
		if (warning != NULL)
			job_note("%s", warning);
		job_check();
	}
	pfree(at);
	pfree(score);
	pfree(label);
	pfree(order);
}

void
leaks_note(const Dataset *data, const Moments *moments, const nn_config *config)
{
	LeakCounts	counts[NN_MAX_TASKS] = {0};

	for (int64 m = 0; m < moments->n; m++)
	{
		const Moment *moment = &moments->moment[m];

		if (m % 4096 == 0)
			job_check();
		if (moment->task >= 0 && moment->split == SPLIT_TRAIN &&
			config->task[moment->task].kind != NN_MULTICLASS && data->rows[moment->task].drawn == NULL)
			count_moment(data, moment->task, &config->task[moment->task], moment, &counts[moment->task]);
	}
	for (int t = 0; t < config->n_task; t++)
	{
		char	   *warning;

		if (task_from_events(&data->model->task[t]) || config->task[t].kind == NN_MULTICLASS)
			continue;
		if (data->rows[t].drawn)
			note_seen(data, moments, t, &config->task[t]);

		/* a task without a candidate may still have an item in its samples */
		counts[t].candidate = config->task[t].n_candidate > 0;
		for (int64 row = 0; row < data->rows[t].n && !counts[t].candidate; row++)
			counts[t].candidate = data->rows[t].item[row] >= 0;
		warning = leak_warning(&data->model->task[t], &counts[t]);
		if (warning != NULL)
			job_note("%s", warning);
		if (data->model->task[t].n_features > 0)
			note_features(data, moments, t);
	}
}
