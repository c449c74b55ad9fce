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

/* Room for one more judged sample; arrays double. */
static void
judged_reserve(Judged *judged, int64 *capacity, nn_kind kind)
{
	Results    *results = &judged->results[0];

	if (judged->n < *capacity)
		return;
#define GROW(array) \
	((array) = array_resize((array), grown, sizeof(*(array)), CurrentMemoryContext))
	{
		int64		grown = Max(1024, 2 * *capacity);

		GROW(judged->moment);
		GROW(judged->target);
		GROW(judged->user);
		GROW(judged->weight);
		switch (kind)
		{
			case NN_NEXT_ITEM:
				GROW(judged->repeat);
				GROW(results->rank);
				break;
			case NN_MULTICLASS:
				GROW(judged->label_class);
				GROW(results->predicted);
				GROW(results->log_loss);
				break;
			case NN_BINARY:
			case NN_RANK:
				GROW(judged->label);
				GROW(results->score);
				GROW(results->log_loss);
				break;
		}
		*capacity = grown;
	}
#undef GROW
}

/* A row of Judged; its index.  Users are numbered as they come. */
static int64
judged_add(Judged *judged, int64 *capacity, nn_kind kind, const Moments *moments,
		   int64 moment, int64 target, float weight)
{
	int64		at = judged->n;

	judged_reserve(judged, capacity, kind);
	judged->moment[at] = moment;
	judged->target[at] = target;
	judged->weight[at] = weight;
	if (at == 0)
		judged->user[at] = 0;
	else
		judged->user[at] = judged->user[at - 1] +
			(moments->moment[judged->moment[at - 1]].user != moments->moment[moment].user);
	judged->n++;
	return at;
}

/* Ranks of a moment's targets among all columns; row is the model's and is changed. */
static void
judge_next_item(const Trainer *trainer, int t, int64 m, float *row, Judged *judged, int64 *capacity)
{
	const Dataset *data = trainer->data;
	const Moment *moment = &trainer->moments->moment[m];
	const int32 *item = data->events->item;
	const User *user = &data->users[moment->user];
	bool		exclude = trainer->model->task[t].options.exclude_seen;
	int64		end = moment->target + moment->n_target;
	int			size = 0;
	float	   *score = palloc(sizeof(float) * moment->n_target);

	for (int64 event = moment->target; event < end; event++)
	{
		if (!event_is_target(data, t, event))
			continue;
		size++;
		score[event - moment->target] = row[item[event]];
	}
	for (int64 seen = user->start; exclude && seen < moment->end; seen++)
		if (item[seen] >= 0)
			row[item[seen]] = -INFINITY;
	for (int64 event = moment->target; event < end; event++)
	{
		float		masked;
		int64		at;

		if (!event_is_target(data, t, event))
			continue;
		masked = row[item[event]];
		at = judged_add(judged, capacity, NN_NEXT_ITEM, trainer->moments, m, event, 1.0f / size);
		row[item[event]] = score[event - moment->target];
		judged->results[0].rank[at] = nn_rank_of(row, data->catalogue.n, item[event]);
		row[item[event]] = masked;
		judged->repeat[at] = 0;
		for (int64 seen = user->start; seen < moment->end && !judged->repeat[at]; seen++)
			judged->repeat[at] = item[seen] == item[event];
	}
	pfree(score);
}

static void
judge_class(const Trainer *trainer, int t, int64 m, int64 target, float weight, int label,
			const float *logit, Judged *judged, int64 *capacity)
{
	int			classes = trainer->config->task[t].classes;
	int64		at = judged_add(judged, capacity, NN_MULTICLASS, trainer->moments, m, target, weight);
	int			best = 0;
	double		sum = 0;

	for (int c = 1; c < classes; c++)
		if (logit[c] > logit[best])
			best = c;
	for (int c = 0; c < classes; c++)
		sum += exp((double) logit[c] - logit[best]);
	judged->label_class[at] = label;
	judged->results[0].predicted[at] = best;
	judged->results[0].log_loss[at] = (float) (log(sum) + logit[best] - logit[label]);
}

static void
judge_binary(const Trainer *trainer, int t, int64 m, int64 row, float logit, Judged *judged,
			 int64 *capacity)
{
	const SampleRows *rows = &trainer->data->rows[t];
	int64		at = judged_add(judged, capacity, NN_BINARY, trainer->moments, m, row,
								rows->weight ? rows->weight[row] : 1);
	double		p = 1 / (1 + exp(-(double) logit));

	judged->label[at] = rows->label[row];
	judged->results[0].score[at] = (float) p;
	judged->results[0].log_loss[at] = (float) -log(Max(rows->label[row] > 0.5f ? p : 1 - p, 1e-7));
}

/* The samples of a task in a batch, in the order in which batches_served made them. */
static void
judge_batch(const Trainer *trainer, int t, const int64 *moments, int n, const nn_acts *acts,
			Judged *judged, int64 *capacity)
{
	const Dataset *data = trainer->data;
	const nn_task *task = &trainer->config->task[t];
	float	   *logit = acts->task[t].logit;

	for (int i = 0; i < n; i++)
	{
		const Moment *moment = &trainer->moments->moment[moments[i]];
		int64		end = moment->target + moment->n_target;
		int			size = 0;

		if (moment->task >= 0)
		{
			for (int64 row = moment->target; moment->task == t && row < end; row++)
			{
				if (task->kind == NN_MULTICLASS)
					judge_class(trainer, t, moments[i], row,
								data->rows[t].weight ? data->rows[t].weight[row] : 1,
								(int) data->rows[t].label[row], logit, judged, capacity);
				else
					judge_binary(trainer, t, moments[i], row, *logit, judged, capacity);
				logit += task->kind == NN_MULTICLASS ? task->classes : 1;
			}
			continue;
		}
		if (!task_from_events(&trainer->model->task[t]))
			continue;
		for (int64 event = moment->target; event < end; event++)
			size += event_is_target(data, t, event);
		if (size == 0)
			continue;
		if (task->kind == NN_NEXT_ITEM)
		{
			judge_next_item(trainer, t, moments[i], logit, judged, capacity);
			logit += data->catalogue.n;
			continue;
		}
		for (int64 event = moment->target; event < end; event++)
			if (event_is_target(data, t, event))
			{
				judge_class(trainer, t, moments[i], event, 1.0f / size, event_class(data, t, event),
							logit, judged, capacity);
				logit += task->classes;
			}
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
served_evaluate(Trainer *trainer, Split split, Judged *judged, double *ratio)
{
	const Moments *moments = trainer->moments;
	int			n_task = trainer->config->n_task;
	int			most = batches_most_views(trainer->batches, BATCH_VIEWS, true);
	int64	   *batch_moments = palloc(sizeof(int64) * most);
	int64		capacity[NN_MAX_TASKS] = {0};
	Sums		sums = {0};
	double		mean = 0;
	double		total = 0;
	StepResult	result;
	int			n;

	for (int64 next = 0; next < moments->n_of[split]; next += n)
	{
		nn_batch   *batch;
		nn_acts		acts;

		/* a copy: the column may move to a file */
		n = (int) Min(most, moments->n_of[split] - next);
		memcpy(batch_moments, moments->of[split] + next, sizeof(int64) * n);
		batch = batches_served(trainer->batches, batch_moments, n);
		if (judged == NULL)
		{
			if (steps_judge(trainer->steps, batch, &result))
				add_result(trainer, &result, &sums);
			continue;
		}
		steps_forward(trainer->steps, batch, &acts, &result);
		add_result(trainer, &result, &sums);
		for (int t = 0; t < n_task; t++)
			if (batch->samples[t].n > 0)
				judge_batch(trainer, t, batch_moments, n, &acts, &judged[t], &capacity[t]);
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
