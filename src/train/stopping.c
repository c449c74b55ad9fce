/*-------------------------------------------------------------------------
 *
 * stopping.c
 *	  As many epochs as help (NETWORK.md, Training defaults)
 *
 *-------------------------------------------------------------------------
 */
#include "train/trainer.h"

#include <math.h>

#define EVALUATE_MOMENTS	200000	/* trained between two evaluations, at most */

typedef struct Stopper
{
	double		best;			/* mean loss ratio; NAN: none yet */
	double		ratio[NN_MAX_TASKS];	/* of the tasks at the best */
	int			worse;			/* evaluations since */
	int			patience;
} Stopper;

static bool
evaluate_stop(Epoch *epoch, void *arg)
{
	Trainer    *trainer = epoch->trainer;
	Stopper    *stopper = arg;
	double		ratio[NN_MAX_TASKS];
	double		mean;

	fill_untrained_rows(trainer);
	mean = served_evaluate(trainer, SPLIT_STOP, NULL, ratio);
	for (int t = 0; t < trainer->config->n_task; t++)
		if (isfinite(ratio[t]))
			trainer->ratio[t] = ratio[t];
	trainer->evaluated |= isfinite(mean);
	elog(DEBUG1, "%s: loss ratio %.5f on the half of the hold-out that stops", epoch->phase, mean);

	/* without a hold-out to look at, the last weights are kept */
	if (isnan(mean) || isnan(stopper->best) || mean < stopper->best)
	{
		stopper->best = mean;
		stopper->worse = 0;
		memcpy(stopper->ratio, trainer->ratio, sizeof(stopper->ratio));
		memcpy(trainer->best, trainer->steps->param, sizeof(float) * trainer->layout->floats);
	}
	else
		stopper->worse++;
	return stopper->worse >= stopper->patience;
}

void
train_epochs(Trainer *trainer)
{
	const ModelOptions *options = &trainer->model->options;
	int64		n = batches_plan(trainer->batches, 1 << SPLIT_TRAIN,
								 batches_most_views(trainer->batches, options->batch_size, false), false);
	Stopper		stopper = {.best = NAN};
	Epoch		epoch = {.trainer = trainer, .pause = evaluate_stop, .arg = &stopper};
	int64		moments = 0;
	int			evaluations;
	bool		stop = false;

	for (int64 i = 0; i < n; i++)
		moments += batches_stretches(trainer->batches)[i].n;
	evaluations = (int) (moments / EVALUATE_MOMENTS) + 1;
	stopper.patience = options->patience * evaluations;
	epoch.pause_every = evaluations > 1 ? moments / evaluations + 1 : 0;
	for (int e = 0; e < options->epochs && !stop; e++)
	{
		char		phase[64];

		snprintf(phase, sizeof(phase), "training (epoch %d)", e + 1);
		epoch.phase = phase;
		epoch.begin = TRAINING_BEGINS + (TRAINING_ENDS - TRAINING_BEGINS) * e / options->epochs;
		epoch.end = TRAINING_BEGINS + (TRAINING_ENDS - TRAINING_BEGINS) * (e + 1) / options->epochs;
		stop = train_epoch(&epoch, n);
		if (!stop)
			stop = evaluate_stop(&epoch, &stopper);
		if (e + 1 < options->epochs && !stop)
			trainer->steps->optimizer.learning_rate *= options->decay;
	}
	memcpy(trainer->steps->param, trainer->best, sizeof(float) * trainer->layout->floats);
	memcpy(trainer->ratio, stopper.ratio, sizeof(trainer->ratio));
}

void
refit(Trainer *trainer)
{
	int			most = batches_most_views(trainer->batches, trainer->model->options.batch_size, false);
	int64		n = batches_plan(trainer->batches,
								 1 << SPLIT_STOP | 1 << SPLIT_REPORT | 1 << SPLIT_SPARE, most, true);
	Epoch		epoch = {.trainer = trainer, .phase = "refitting", .begin = 0.92, .end = 0.96};

	train_epoch(&epoch, n);
	fill_untrained_rows(trainer);
}
