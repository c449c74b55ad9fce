/*-------------------------------------------------------------------------
 *
 * served.c
 *	  The network judged exactly as it is served
 *
 * Every moment is one sequence, cut by event_window at the target's own time,
 * and next_item ranks the whole catalogue.
 *
 *-------------------------------------------------------------------------
 */
#include "train/trainer.h"

#include <math.h>

#include "train/dataset.h"

#define BATCH_VIEWS 256

/* Where the network's results on a task's samples go, one after another. */
typedef struct Cursor
{
	const Judged *judged;
	int64		at;
} Cursor;

/*
 * Ranks of a moment's targets among all columns; row is the model's and is
 * changed.  Items that the version does not know, or may not answer with, are behind all.  Returns how
 * many logits the sample has, which without a known target are none.
 */
static int64
judge_next_item(const Trainer *trainer, int t, int64 m, float *row, Cursor *cursor)
{
	const Dataset *data = trainer->data;
	const Moment *moment = &trainer->moments->moment[m];
	Results    *results = &cursor->judged->results[0];
	const int32 *item = data->events->item;
	const User *user = &data->users[moment->user];
	bool		exclude = trainer->model->task[t].options.exclude_seen;
	int64		end = moment->target + moment->n_target;
	float	   *score = palloc(sizeof(float) * moment->n_target);
	bool		any = false;

	for (int64 j = trainer->known_items; j < data->catalogue.n; j++)
		row[j] = -INFINITY;
	for (int64 event = moment->target; event < end; event++)
		if (event_is_target(data, t, event))
		{
			score[event - moment->target] = row[item[event]];
			any = true;
		}
	for (int64 seen = user->start; any && exclude && seen < moment->end; seen++)
		if (item[seen] >= 0)
			row[item[seen]] = -INFINITY;
	for (int64 event = moment->target; event < end; event++)
	{
		float		masked;

		if (!event_is_judged(data, t, event))
			continue;
		Assert(cursor->judged->target[cursor->at] == event);
		if (item[event] < 0 || item[event] >= trainer->known_items)
		{
			results->rank[cursor->at++] = INFINITY;
			continue;
		}
		masked = row[item[event]];
		row[item[event]] = score[event - moment->target];
		results->rank[cursor->at++] = nn_rank_of(row, data->catalogue.n, item[event]);
		row[item[event]] = masked;
	}
	pfree(score);
	return any ? data->catalogue.n : 0;
}

static void
judge_class(int classes, const float *calibration, const float *logit, Cursor *cursor)
{
	const Judged *judged = cursor->judged;
	int64		at = cursor->at++;
	int			best = 0;
	double		sum = 0;

	for (int c = 1; c < classes; c++)
		if (logit[c] > logit[best])
			best = c;
	for (int c = 0; c < classes; c++)
		sum += exp(calibration[0] * ((double) logit[c] - logit[best]));
	judged->results[0].predicted[at] = best;
	judged->results[0].score[at] = (float) (1 / sum);
	judged->results[0].log_loss[at] = (float) (log(sum) + calibration[0] * ((double) logit[best] - logit[judged->label_class[at]]));
}

static void
judge_binary(const float *calibration, float logit, Cursor *cursor)
{
	const Judged *judged = cursor->judged;
	int64		at = cursor->at++;
	double		p = 1 / (1 + exp(-(calibration[0] * (double) logit + calibration[1])));

	judged->results[0].score[at] = (float) p;
	judged->results[0].log_loss[at] = (float) -log(Max(judged->label[at] > 0.5f ? p : 1 - p, 1e-7));
}

/* The samples of a task in a batch, in the order in which batches_served made them. */
static void
judge_batch(const Trainer *trainer, int t, const int64 *moments, int n, const nn_acts *acts, Cursor *cursor)
{
	const Judged *judged = cursor->judged;
	const nn_task *task = &trainer->config->task[t];
	float	   *logit = acts->task[t].logit;

	for (int i = 0; i < n; i++)
	{
		if (task->kind == NN_NEXT_ITEM && cursor->at < judged->n && judged->moment[cursor->at] == moments[i])
			logit += judge_next_item(trainer, t, moments[i], logit, cursor);
		for (; cursor->at < judged->n && judged->moment[cursor->at] == moments[i];
			 logit += task->kind == NN_MULTICLASS ? task->classes : 1)
			if (task->kind == NN_MULTICLASS)
				judge_class(task->classes, trainer->calibration[t], logit, cursor);
			else
				judge_binary(trainer->calibration[t], *logit, cursor);
	}
}

typedef struct Sums
{
	double		loss[NN_MAX_TASKS];
	double		weight[NN_MAX_TASKS];
} Sums;

static void
add_result(const Trainer *trainer, const StepResult *result, Sums *sums)
{
	for (int t = 0; t < trainer->config->n_task; t++)
	{
		sums->loss[t] += result->loss[t] * result->samples[t];
		sums->weight[t] += result->weight[t];
	}
	job_check();
}

double
served_evaluate(Trainer *trainer, Split split, const Judged *judged, double *ratio)
{
	const Moments *moments = trainer->moments;
	int			n_task = trainer->config->n_task;
	int			most = batches_most_views(trainer->batches, BATCH_VIEWS, true);
	int64	   *batch_moments = palloc(sizeof(int64) * most);
	Cursor		cursor[NN_MAX_TASKS] = {{0}};
	Sums		sums = {0};
	double		mean = 0;
	double		total = 0;
	StepResult	result;
	int			n;

	for (int t = 0; judged != NULL && t < n_task; t++)
		cursor[t].judged = &judged[t];
	for (int64 next = 0; next < moments->n_of[split]; next += n)
	{
		nn_batch   *batch;
		nn_acts		acts;

		/* a copy: the column may move to a file */
		n = (int) Min(most, moments->n_of[split] - next);
		memcpy(batch_moments, moments->of[split] + next, sizeof(int64) * n);
		batch = batches_served(trainer->batches, batch_moments, n, judged == NULL);
		if (judged == NULL)
		{
			if (steps_judge(trainer->steps, batch, &result))
				add_result(trainer, &result, &sums);
			continue;
		}
		steps_forward(trainer->steps, batch, &acts, &result);
		add_result(trainer, &result, &sums);
		for (int t = 0; t < n_task; t++)
			judge_batch(trainer, t, batch_moments, n, &acts, &cursor[t]);
	}
	if (steps_complete(trainer->steps, &result))
		add_result(trainer, &result, &sums);
	for (int t = 0; t < n_task; t++)
	{
		double		share = trainer->model->task[t].options.weight;

		ratio[t] = sums.weight[t] > 0 ? sums.loss[t] / sums.weight[t] / trainer->constant[split][t] : NAN;
		if (sums.weight[t] > 0)
		{
			mean += share * ratio[t];
			total += share;
		}
	}
	pfree(batch_moments);
	return total > 0 ? mean / total : NAN;
}
