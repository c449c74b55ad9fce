/*-------------------------------------------------------------------------
 *
 * balance.c
 *	  What the losses of tasks are measured by, and weigh
 *
 * Losses of unlike tasks are made comparable by the loss of the best constant
 * prediction (NETWORK.md, Training defaults).
 *
 * Weights may be learned on top of that (Kendall, Gal and Cipolla 2018,
 * "Multi-Task Learning Using Uncertainty to Weigh Losses", eq. 7 and 10, with
 * s = log sigma^2): with the ratio r_t of a task's loss to its constant's,
 *
 *	sum over t of e^(-s_t) r_t + s_t
 *
 * is made small in s_t as well, one step of gradient descent a step of the
 * training.  It settles where e^(-s_t) is 1 / r_t: a task that can be learned
 * counts more than one that is mostly noise.  [own] The s_t are no parameters
 * of the network, and the factors are scaled so that their mean, weighted as
 * the tasks are, stays 1: the size of steps is not theirs to change.
 *
 *-------------------------------------------------------------------------
 */
#include "train/trainer.h"

#include <math.h>

#include "lib/stringinfo.h"
#include "train/dataset.h"

#define LEARNING_RATE		0.01	/* of log variances */
#define MOST_VARIANCE		3.0		/* of their amounts */
#define MIN_CONSTANT		1e-6	/* a loss below it tells nothing apart */
#define LITTLE_CONSTANT		0.02	/* nor should a night's */

/* Entropy in nats of weights that need not sum to 1. */
static double
entropy(const double *weight, int64 n)
{
	double		sum = 0;
	double		h = 0;

	for (int64 i = 0; i < n; i++)
		sum += weight[i];
	for (int64 i = 0; i < n; i++)
		if (weight[i] > 0)
			h -= weight[i] / sum * log(weight[i] / sum);
	return h;
}

/* Loss of predicting smoothed training frequencies on other samples; without any, NAN. */
static double
cross_entropy(const double *weight, const double *training, int64 n)
{
	double		sum = 0;
	double		samples = 0;
	double		h = 0;

	for (int64 i = 0; i < n; i++)
	{
		sum += training[i] + 0.5;
		samples += weight[i];
	}
	for (int64 i = 0; i < n; i++)
		if (weight[i] > 0)
			h -= weight[i] * log((training[i] + 0.5) / sum);
	return samples > 0 ? h / samples : NAN;
}

/* What each item, class or label weighs as the target in a split; and the samples' mean weight. */
static double *
count_targets(const Trainer *trainer, int t, Split split, int64 n, double *mean)
{
	const Dataset *data = trainer->data;
	const ModelTask *task = &trainer->model->task[t];
	double	   *weight = palloc0_array_huge(double, n);
	const int64 *of = trainer->moments->of[split];
	double		samples = 0;
	double		sum = 0;

	for (int64 i = 0; i < (of ? trainer->moments->n_of[split] : trainer->moments->n); i++)
	{
		const Moment *moment = &trainer->moments->moment[of ? of[i] : i];
		int64		end = moment->target + moment->n_target;
		int			size = 0;

		if (i % 4096 == 0)
			job_check();
		if (moment->split != split || (moment->task >= 0 ? moment->task != t : !task_from_events(task)))
			continue;
		for (int64 at = moment->target; moment->task >= 0 && at < end; at++)
			weight[(int64) data->rows[t].label[at]] += row_weight(data, t, at);
		if (moment->task >= 0)
		{
			samples += moment->n_target;
			continue;
		}
		for (int64 at = moment->target; at < end; at++)
			size += event_is_target(data, t, at);
		for (int64 at = moment->target; at < end; at++)
			if (event_is_target(data, t, at))
				weight[task->kind == NN_NEXT_ITEM ? data->events->item[at] : event_class(data, t, at)] +=
					event_weight(data, t, at) / size;
		samples += task->kind == NN_NEXT_ITEM ? size > 0 : size;
	}
	for (int64 i = 0; i < n; i++)
		sum += weight[i];
	*mean = samples > 0 ? sum / samples : 0;
	return weight;
}

/*
 * Loss of the best constant prediction on training data, what that prediction
 * loses on the hold-out (where items may be new, which no prediction can
 * help), and rates of positives.  Weights of samples say what counts more within
 * a task, and are taken relative to their mean: what the task counts beside the
 * others is its own weight.
 */
void
find_constants(Trainer *trainer, float *base_rate)
{
	const Dataset *data = trainer->data;

	for (int t = 0; t < trainer->config->n_task; t++)
	{
		const ModelTask *task = &trainer->model->task[t];
		nn_kind		kind = task->kind;
		int64		n = kind == NN_NEXT_ITEM ? data->catalogue.n : kind == NN_MULTICLASS ? data->levels[t].classes : 2;
		double		mean;
		double	   *training = count_targets(trainer, t, SPLIT_TRAIN, n, &mean);

		trainer->constant[SPLIT_TRAIN][t] = entropy(training, n);

		/* a night may have no sample of a task, or samples of one kind */
		if (data->since != DT_NOBEGIN && !(mean > 0 && trainer->constant[SPLIT_TRAIN][t] > LITTLE_CONSTANT))
		{
			trainer->constant[SPLIT_TRAIN][t] = log(2);
			mean = Max(mean, 1);
		}
		if (!(mean > 0))
			ereport(ERROR,
					(errcode(ERRCODE_DATA_EXCEPTION),
					 errmsg("task \"%s\": all samples before the hold-out weigh nothing", task->name),
					 errhint("Look at its weight column and its options \"label_weights\" and \"type_weights\".")));
		if (!(trainer->constant[SPLIT_TRAIN][t] > MIN_CONSTANT))
			ereport(ERROR,
					(errcode(ERRCODE_DATA_EXCEPTION),
					 errmsg("task \"%s\" has nothing to tell apart before the hold-out", task->name),
					 errdetail("All of its training samples have the same %s.",
							   kind == NN_NEXT_ITEM ? "item" : "label"),
					 errhint("Give it samples of both kinds, or drop the task.")));
		trainer->constant[SPLIT_TRAIN][t] = offers_constant(trainer, t, SPLIT_TRAIN,
															trainer->constant[SPLIT_TRAIN][t]);
		trainer->fixed_weight[t] = trainer->config->task[t].weight / mean / trainer->constant[SPLIT_TRAIN][t];
		base_rate[t] = kind == NN_BINARY || kind == NN_RANK ? training[1] / (training[0] + training[1]) : 0;
		for (Split split = SPLIT_STOP; split <= SPLIT_REPORT; split++)
		{
			double	   *weight = count_targets(trainer, t, split, n, &mean);

			trainer->constant[split][t] = offers_constant(trainer, t, split, cross_entropy(weight, training, n));
			pfree(weight);
		}
		pfree(training);
	}
	balance(trainer);
}

/* ---------------- learned weights ---------------- */

void
learn_weight(Trainer *trainer, int t, double ratio)
{
	double	   *s = &trainer->log_variance[t];

	*s -= LEARNING_RATE * (1 - exp(-*s) * ratio);
	*s = Max(-MOST_VARIANCE, Min(MOST_VARIANCE, *s));
}

/* What the fixed weight of a task is multiplied with. */
static double
learned_weight(const Trainer *trainer, int t)
{
	double		sum = 0;
	double		shares = 0;

	for (int k = 0; k < trainer->config->n_task; k++)
	{
		sum += trainer->config->task[k].weight * exp(-trainer->log_variance[k]);
		shares += trainer->config->task[k].weight;
	}
	return exp(-trainer->log_variance[t]) * shares / sum;
}

void
balance(Trainer *trainer)
{
	for (int t = 0; t < trainer->config->n_task; t++)
		trainer->balanced->task[t].weight = (float) (trainer->fixed_weight[t] * learned_weight(trainer, t));
}

void
note_weights(const Trainer *trainer)
{
	StringInfoData text;

	initStringInfo(&text);
	for (int t = 0; t < trainer->config->n_task; t++)
		appendStringInfo(&text, "%s\"%s\" %.2f", t > 0 ? ", " : "", trainer->config->task[t].name,
						 learned_weight(trainer, t));
	job_note("learned weights of the tasks, times those declared: %s", text.data);
}
