/*-------------------------------------------------------------------------
 *
 * offers.c
 *	  Samples that were offered together, and at which places
 *
 *-------------------------------------------------------------------------
 */
#include "train/trainer.h"

#include <math.h>

/* Call visit for each moment of a task in a split. */
static void
visit_moments(const Trainer *trainer, int t, Split split,
			  void (*visit) (const Trainer *trainer, int t, const Moment *moment, void *arg), void *arg)
{
	const int64 *of = trainer->moments->of[split];

	for (int64 i = 0; i < (of ? trainer->moments->n_of[split] : trainer->moments->n); i++)
	{
		const Moment *moment = &trainer->moments->moment[of ? of[i] : i];

		if (i % 4096 == 0)
			job_check();
		if (moment->split == split && moment->task == t)
			visit(trainer, t, moment, arg);
	}
}

/* ---------------- pairs ---------------- */

typedef struct Compared
{
	double		weight;			/* of all samples */
	double		compared;		/* of those in a group with both labels */
} Compared;

static void
visit_groups(const Trainer *trainer, int t, const Moment *moment, void *arg)
{
	const SampleRows *rows = &trainer->data->rows[t];
	Compared   *compared = arg;
	int64		last = moment->target + moment->n_target;

	for (int64 begin = moment->target, end; begin < last; begin = end)
	{
		double		weight[2] = {0};

		end = begin;
		do
			weight[rows->label[end] > 0.5f] += row_weight(trainer->data, t, end);
		while (++end < last && rows_compared(rows, end - 1, end));
		compared->weight += weight[0] + weight[1];
		if (weight[0] > 0 && weight[1] > 0)
			compared->compared += weight[0] + weight[1];
	}
}

double
offers_constant(const Trainer *trainer, int t, Split split, double constant)
{
	const ModelTask *task = &trainer->model->task[t];
	Compared	compared = {0};

	if (task->options.pairwise == 0)
		return constant;
	visit_moments(trainer, t, split, visit_groups, &compared);
	if (compared.compared == 0 && trainer->data->since != DT_NOBEGIN)
		return constant;
	if (split == SPLIT_TRAIN && compared.compared == 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("task \"%s\": no pair can be compared before the hold-out", task->name),
				 errdetail("Compared are samples of one user and one time%s that have different labels.",
						   task->options.group_column ? " with the same value in the group column" : ""),
				 errhint("Give what was offered together one time, or leave out the option \"pairwise\".")));
	return (1 - task->options.pairwise) * constant +
		task->options.pairwise * log(2) * compared.compared / compared.weight;
}

/* ---------------- places ---------------- */

static void
visit_places(const Trainer *trainer, int t, const Moment *moment, void *arg)
{
	const SampleRows *rows = &trainer->data->rows[t];
	double	   *weight = arg;

	for (int64 row = moment->target; row < moment->target + moment->n_target; row++)
		if (rows->position[row] >= 0)
			weight[rows->position[row]] += row_weight(trainer->data, t, row);
}

void
places_count(Trainer *trainer)
{
	for (int t = 0; t < trainer->config->n_task; t++)
	{
		double	   *share = trainer->place_share[t];
		double		sum = 0;

		if (trainer->config->task[t].position == 0)
			continue;
		visit_moments(trainer, t, SPLIT_TRAIN, visit_places, share);
		for (int b = 0; b < POSITION_BUCKETS; b++)
			sum += share[b];
		for (int b = 0; b < POSITION_BUCKETS && sum > 0; b++)
			share[b] /= sum;
	}
}

void
places_center(Trainer *trainer)
{
	for (int t = 0; t < trainer->config->n_task; t++)
		if (trainer->config->task[t].position > 0 &&
			!trainer->layout->tensor[trainer->layout->task[t].position].frozen)
			nn_position_center(trainer->config, trainer->layout, t, trainer->place_share[t],
							   trainer->steps->param);
}
