/*-------------------------------------------------------------------------
 *
 * stopping.c
 *	  As many epochs as help (NETWORK.md, Training defaults)
 *
 * The parameters that are kept are those of the evaluation with the best mean
 * of the tasks' loss ratios, weighted as declared.  All of them are of that one
 * moment: a head from another epoch would not fit the user vectors of this one.
 *
 * With "stopping": "mean", training ends when the mean has not improved for
 * `patience` epochs.  With "task" it goes on beyond that for the tasks that
 * still learn: one that has not improved for so long rests.  Its samples are no
 * longer trained on, so that it does not overfit and pull the user vector along,
 * and the others go on from the best parameters so far, with `patience` epochs
 * more to improve the mean.  While a task
 * rests its head stays what it was and the vector moves on under it; what that
 * costs is in the mean, which decides as before.
 *
 *-------------------------------------------------------------------------
 */
#include "train/trainer.h"

#include <math.h>

#include "mb/pg_wchar.h"

#define EVALUATE_MOMENTS	200000	/* trained between two evaluations, at most */
#define MUCH_BETTER			0.99	/* of the kept ratio: worth a note */

/* What is known of one task. */
typedef struct TaskStop
{
	double		kept;			/* ratio at the best mean */
	double		best;			/* of all evaluations; NAN: none yet */
	int			epoch;			/* of the best */
	int			worse;			/* evaluations since */
} TaskStop;

typedef struct Stopper
{
	double		best;			/* mean loss ratio; NAN: none yet */
	int			epoch;			/* of the best */
	int			worse;			/* evaluations since, or since a task rests */
	int			patience;
	int			now;			/* the epoch under way, from 1 */
	uint32		learning;		/* tasks that do not rest */
	TaskStop	task[NN_MAX_TASKS];
} Stopper;

/* A task was looked at. */
static void
look_at_task(Trainer *trainer, Stopper *stopper, int t, double ratio)
{
	TaskStop   *task = &stopper->task[t];
	uint32		bit = (uint32) 1 << t;

	if (isnan(task->best) || ratio < task->best)
	{
		task->best = ratio;
		task->epoch = stopper->now;
		task->worse = 0;
	}
	else if (++task->worse >= stopper->patience && trainer->model->options.stopping_task &&
			 (stopper->learning & bit) && !trainer->alone)
	{
		stopper->learning &= ~bit;
		stopper->worse = 0;
		job_note("task \"%s\" was best after epoch %d and rests since epoch %d",
				 trainer->config->task[t].name, task->epoch, stopper->now);
	}
}

static bool
evaluate_stop(Epoch *epoch, void *arg)
{
	Trainer    *trainer = epoch->trainer;
	Stopper    *stopper = arg;
	int			n_task = trainer->config->n_task;
	uint32		learning = stopper->learning;
	double		ratio[NN_MAX_TASKS];
	double		mean;

	fill_untrained_rows(trainer);
	places_center(trainer);
	mean = served_evaluate(trainer, SPLIT_STOP, NULL, ratio);
	trainer->evaluated |= isfinite(mean);
	elog(DEBUG1, "%s: loss ratio %.5f on the half of the hold-out that stops", epoch->phase, mean);
	stopper->worse++;
	for (int t = 0; t < n_task; t++)
	{
		if (!isfinite(ratio[t]))
			continue;
		trainer->ratio[t] = ratio[t];
		look_at_task(trainer, stopper, t, ratio[t]);
	}

	/* without a hold-out to look at, the last weights are kept */
	if (isnan(mean) || isnan(stopper->best) || mean < stopper->best)
	{
		stopper->best = mean;
		stopper->epoch = stopper->now;
		stopper->worse = 0;
		for (int t = 0; t < n_task; t++)
			stopper->task[t].kept = trainer->ratio[t];
		memcpy(trainer->best, trainer->steps->param, sizeof(float) * trainer->layout->floats);
	}
	/* the others go on from the best, not from where a task that rests now went astray */
	if (stopper->learning != learning && stopper->learning != 0)
		memcpy(trainer->steps->param, trainer->best, sizeof(float) * trainer->layout->floats);
	batches_choose(trainer->batches, stopper->learning, false);
	return stopper->worse >= stopper->patience || stopper->learning == 0;
}

/* Say where the mean decided against a task. */
static void
note_tasks(const Trainer *trainer, const Stopper *stopper)
{
	for (int t = 0; t < trainer->config->n_task && trainer->config->n_task > 1; t++)
	{
		const TaskStop *task = &stopper->task[t];

		if (task->best < MUCH_BETTER * task->kept)
			job_note("task \"%s\" was best after epoch %d, with %.3f of the loss of a constant guess, and is kept"
					 " as after epoch %d, with %.3f, which is best for all tasks together",
					 trainer->config->task[t].name, task->epoch, task->best, stopper->epoch, task->kept);
	}
}

/* Those that learn. */
static uint32
wanted_tasks(const Trainer *trainer)
{
	uint32		tasks = 0;

	for (int t = 0; t < trainer->config->n_task; t++)
		if (trainer->moments->wanted[t])
			tasks |= (uint32) 1 << t;
	return tasks;
}

void
train_epochs(Trainer *trainer)
{
	const ModelOptions *options = &trainer->model->options;
	int			n_task = trainer->config->n_task;
	int			most = batches_most_moments(trainer->batches);
	Stopper		stopper = {.best = NAN, .learning = wanted_tasks(trainer)};
	Epoch		epoch = {.trainer = trainer, .pause = evaluate_stop, .arg = &stopper,
	.learn_weights = options->learned_weights && !trainer->alone};
	uint32		planned = stopper.learning;
	Course	   *course = course_make(trainer->data, trainer->moments, 1 << SPLIT_TRAIN, planned, most,
								 options->task_temperature, trainer->context);
	int64		moments = course_moments(course);
	int			evaluations = (int) (moments / EVALUATE_MOMENTS) + 1;
	bool		stop = false;

	for (int t = 0; t < n_task; t++)
		stopper.task[t] = (TaskStop) {.kept = NAN, .best = NAN};
	stopper.patience = options->patience * evaluations;
	epoch.pause_every = evaluations > 1 ? moments / evaluations + 1 : 0;
	batches_choose(trainer->batches, stopper.learning, false);
	for (int e = 0; e < options->epochs && !stop; e++)
	{
		char		phase[64];

		if (planned != stopper.learning)
		{
			course_free(course);
			planned = stopper.learning;
			course = course_make(trainer->data, trainer->moments, 1 << SPLIT_TRAIN, planned, most,
							 options->task_temperature, trainer->context);
		}
		if (trainer->alone)
			snprintf(phase, sizeof(phase), "training alone (%.*s, epoch %d)",
					 pg_mbcliplen(trainer->alone, strlen(trainer->alone), 30), trainer->alone, e + 1);
		else
			snprintf(phase, sizeof(phase), "training (epoch %d)", e + 1);
		stopper.now = e + 1;
		epoch.phase = phase;
		epoch.begin = trainer->begin + (trainer->end - trainer->begin) * e / options->epochs;
		epoch.end = trainer->begin + (trainer->end - trainer->begin) * (e + 1) / options->epochs;
		stop = train_epoch(&epoch, course);
		if (!stop)
			stop = evaluate_stop(&epoch, &stopper);
		if (e + 1 < options->epochs && !stop)
			trainer->steps->optimizer.learning_rate *= options->decay;
	}
	course_free(course);
	memcpy(trainer->steps->param, trainer->best, sizeof(float) * trainer->layout->floats);
	for (int t = 0; t < n_task; t++)
		trainer->ratio[t] = stopper.task[t].kept;
	if (trainer->alone)
		return;
	note_tasks(trainer, &stopper);
	if (options->learned_weights)
		note_weights(trainer);
}

void
refit(Trainer *trainer)
{
	int			most = batches_most_moments(trainer->batches);
	Course	   *course = course_make(trainer->data, trainer->moments, 1 << SPLIT_STOP | 1 << SPLIT_REPORT | 1 << SPLIT_SPARE,
								 ALL_TASKS, most, 1, trainer->context);
	Epoch		epoch = {.trainer = trainer, .phase = "refitting", .begin = 0.92, .end = 0.96};

	batches_choose(trainer->batches, ALL_TASKS, true);
	train_epoch(&epoch, course);
	course_free(course);
	fill_untrained_rows(trainer);
	places_center(trainer);
}
