/*-------------------------------------------------------------------------
 *
 * calibration.c
 *	  What a version's logits are multiplied with and shifted by
 *
 * Fitted on the half of the hold-out that decides early stopping, so that the
 * reported half judges it.  Samples count once whatever their weight: weights
 * say what matters in training, a probability how often a sample like this one
 * is a yes.  Where negatives are drawn, or the samples are no fair share of
 * what will be asked about, it is a score all the same.
 *
 *-------------------------------------------------------------------------
 */
#include "train/trainer.h"

#include "train/dataset.h"
#include "train/softmax.h"

#define MOST_LOGITS	(4 * 1024 * 1024)	/* of a task: 16 MB, and some 50 ms a pass */
#define BATCH_VIEWS	256

/* The judged samples of a task. */
typedef struct Calibrated
{
	bool		wanted;
	int			width;			/* logits of a sample */
	int64		n,
				most;
	Array		logit,
				label,
				weight;
} Calibrated;

static void
collect(const Trainer *trainer, int t, const nn_samples *samples, const float *logit, Calibrated *of)
{
	bool		events = task_from_events(&trainer->model->task[t]);

	for (int first = 0, end; first < samples->n && of->n < of->most; first = end)
	{
		for (end = first; end < samples->n && samples->view[end] == samples->view[first]; end++)
		{
			for (int c = 0; c < of->width; c++)
				PUSH(trainer->context, &of->logit, float, logit[(int64) end * of->width + c]);
			PUSH(trainer->context, &of->label, int32,
				 samples->label_class ? samples->label_class[end] : samples->label[end] > 0.5f);
		}

		/* the events of one instant share one place */
		for (int s = first; s < end; s++)
			PUSH(trainer->context, &of->weight, float, events ? 1.0f / (end - first) : 1);
		of->n += end - first;
	}
}

void
calibrate(Trainer *trainer)
{
	const Moments *moments = trainer->moments;
	const nn_config *config = trainer->config;
	Calibrated *of = palloc0(sizeof(Calibrated) * NN_MAX_TASKS);
	int			most = batches_most_views(trainer->batches, BATCH_VIEWS, true);
	int64	   *batch_moments = palloc(sizeof(int64) * most);
	bool		any = false;
	int			n;

	for (int t = 0; t < config->n_task; t++)
	{
		const nn_task *task = &config->task[t];

		of[t].wanted = task->kind != NN_NEXT_ITEM && trainer->model->options.calibrate &&
			trainer->model->task[t].options.calibrate;
		of[t].width = task->kind == NN_MULTICLASS ? task->classes : 1;
		of[t].most = MOST_LOGITS / of[t].width;
		any |= of[t].wanted;
	}
	for (int64 next = 0; any && next < moments->n_of[SPLIT_STOP]; next += n)
	{
		nn_batch   *batch;
		nn_acts		acts;
		StepResult	result;

		/* a copy: the column may move to a file */
		n = (int) Min(most, moments->n_of[SPLIT_STOP] - next);
		memcpy(batch_moments, moments->of[SPLIT_STOP] + next, sizeof(int64) * n);
		batch = batches_served(trainer->batches, batch_moments, n, false);
		steps_forward(trainer->steps, batch, &acts, &result);
		for (int t = 0; t < config->n_task; t++)
			if (of[t].wanted && batch->samples[t].n > 0)
				collect(trainer, t, &batch->samples[t], acts.task[t].logit, &of[t]);
		job_check();
	}
	for (int t = 0; t < config->n_task; t++)
	{
		nn_status	status;

		if (of[t].n == 0)
			continue;
		status = nn_calibrate(of[t].width, of[t].n, (const float *) of[t].logit.data,
							  (const int32 *) of[t].label.data, (const float *) of[t].weight.data,
							  job_should_stop, NULL, trainer->calibration[t]);
		job_check();
		if (status != NN_OK)
			elog(ERROR, "calibration failed: %s", nn_status_text(status));
		elog(DEBUG1, "task \"%s\" is calibrated by %.3f and %.3f", config->task[t].name,
			 trainer->calibration[t][0], trainer->calibration[t][1]);
		pfree(of[t].logit.data);
		pfree(of[t].label.data);
		pfree(of[t].weight.data);
	}
	pfree(batch_moments);
	pfree(of);
}
