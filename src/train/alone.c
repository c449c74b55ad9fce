/*-------------------------------------------------------------------------
 *
 * alone.c
 *	  Is a task worse together with the others than alone?
 *
 * The paper's claim is that tasks help each other; on other data they may get
 * in each other's way.  With "compare_alone" the same network is trained once
 * more for each task, on its samples alone, with the same seed and at most as
 * many epochs, and judged on the same reported samples.  So a job takes up to
 * twice as long for two tasks, and more the more there are; memory is that of
 * one network more, as these trainings come first and one after the other.
 *
 *-------------------------------------------------------------------------
 */
#include "train/alone.h"

#include "train/report.h"
#include "utils/memutils.h"

bool
alone_wanted(const Trainer *trainer)
{
	if (!trainer->model->options.compare_alone)
		return false;
	if (trainer->transfer->mode != TRAIN_FULL)
		job_note("tasks are compared with themselves alone in a training of mode \"full\" only");
	else if (trainer->model->n_tasks < 2)
		job_note("there is one task, which is alone as it is: \"compare_alone\" has no effect");
	else
		return true;
	return false;
}

/* Train on the samples of task t, and judge it. */
static void
train_alone(const Trainer *together, int t, double begin, double end, const Judged *judged)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "dupn task alone", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	Trainer    *alone = palloc0(sizeof(Trainer));
	Judged	   *own = palloc(sizeof(Judged) * together->model->n_tasks);
	bool		wanted[NN_MAX_TASKS] = {false};
	double		ratio[NN_MAX_TASKS];
	Batches    *batches;

	alone->job = together->job;
	alone->context = context;
	alone->model = together->model;
	alone->transfer = together->transfer;
	alone->data = together->data;
	alone->moments = together->moments;
	alone->memory_noted = true;
	alone->alone = together->model->task[t].name;
	alone->begin = begin;
	alone->end = end;
	trainer_network(alone);
	batches = alone->batches;

	wanted[t] = true;
	alone->moments = moments_make(alone->data, wanted);
	alone->batches = batches_make(alone->data, alone->moments, alone->config, alone->layout, context);
	train_epochs(alone);
	calibrate(alone);

	/* by all moments, so that samples are those of the other scorers; the other
	 * heads have learned nothing and are not judged */
	alone->moments = together->moments;
	alone->batches = batches;
	for (int k = 0; k < together->model->n_tasks; k++)
	{
		own[k] = judged[k];
		if (k != t)
			own[k].n = 0;
	}
	served_evaluate(alone, SPLIT_REPORT, own, ratio);
	steps_end(alone->steps, false);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}

Judged *
alone_train(const Trainer *together)
{
	int			n_task = together->model->n_tasks;
	Judged	   *judged = judged_make(together->data, together->moments, SPLIT_REPORT);
	double		width = (together->end - together->begin) / (n_task + 1);

	for (int t = 0; t < n_task; t++)
	{
		add_network(&judged[t], together->model->task[t].kind, SOURCE_ALONE);
		train_alone(together, t, together->begin + t * width, together->begin + (t + 1) * width, judged);
	}
	return judged;
}

void
alone_note(const Trainer *together, const Metrics *metrics)
{
	for (int t = 0; t < together->model->n_tasks; t++)
	{
		const Metric *first;
		const Metric *alone;

		metrics_main(metrics, together->model, t, SOURCE_ALONE, &first, &alone);
		if (alone && alone->difference_high < 0)
			job_note("task \"%s\" is worse together (%s %.3f) than alone (%.3f, difference %.3f, %.3f to %.3f):"
					 " give it a model of its own, experts, or more weight",
					 together->model->task[t].name, first->metric, first->value, alone->value,
					 alone->difference, alone->difference_low, alone->difference_high);
	}
}
