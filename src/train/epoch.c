/*-------------------------------------------------------------------------
 *
 * epoch.c
 *	  One pass over a course of stretches
 *
 *-------------------------------------------------------------------------
 */
#include "train/trainer.h"

#include <math.h>

#include "portability/instr_time.h"

#define BUCKET_STEPS		16	/* steps whose stretches are sorted by length together */

static int
compare_stretches(const void *a, const void *b)
{
	const Stretch *x = a;
	const Stretch *y = b;

	if (x->length != y->length)
		return x->length < y->length ? -1 : 1;
	return x->first < y->first ? -1 : x->first > y->first;
}

/* What came of a step. */
static void
account(Epoch *epoch, const StepResult *result)
{
	Trainer    *trainer = epoch->trainer;

	epoch->events += result->events;
	for (int t = 0; t < trainer->config->n_task; t++)
	{
		double		ratio = result->loss[t] * result->samples[t] / result->weight[t] /
			trainer->constant[SPLIT_TRAIN][t];

		if (!(result->weight[t] > 0))
			continue;

		/* until the first evaluation a running mean is the best we know */
		if (!trainer->evaluated)
			trainer->ratio[t] = isfinite(trainer->ratio[t]) ? 0.95 * trainer->ratio[t] + 0.05 * ratio : ratio;
		if (epoch->learn_weights)
			learn_weight(trainer, t, ratio);
	}
	balance(trainer);
}

static void
train_step(Epoch *epoch, const Stretch *stretches, int n)
{
	Trainer    *trainer = epoch->trainer;
	nn_batch   *batch = batches_train(trainer->batches, stretches, n, &trainer->random);
	uint64		seed = nn_random_u64(&trainer->random);
	StepResult	result;

	epoch->done += batch->views;
	if (steps_train(trainer->steps, batch, seed, &result))
		account(epoch, &result);
}

/* The parameters are to be looked at. */
static void
complete_steps(Epoch *epoch)
{
	StepResult	result;

	if (steps_complete(epoch->trainer->steps, &result))
		account(epoch, &result);
}

/* The steps of stretches that are sorted by length together, in random order. */
static bool
train_bucket(Epoch *epoch, Stretch *order, int64 n, int most_views)
{
	Trainer    *trainer = epoch->trainer;
	int64	   *step = palloc(sizeof(int64) * (n + 1));
	int64	   *visit = palloc(sizeof(int64) * (n + 1));
	int64		steps = 0;
	int			views = 0;
	bool		stop = false;

	qsort(order, n, sizeof(Stretch), compare_stretches);
	for (int64 i = 0; i < n; i++)
	{
		if (i == 0 || views + order[i].n > most_views)
		{
			visit[steps] = steps;
			step[steps++] = i;
			views = 0;
		}
		views += order[i].n;
	}
	step[steps] = n;
	for (int64 i = steps - 1; i > 0; i--)
	{
		int64		j = (int64) (nn_random_u64(&trainer->random) % (uint64) (i + 1));
		int64		swap = visit[i];

		visit[i] = visit[j];
		visit[j] = swap;
	}
	for (int64 i = 0; i < steps && !stop; i++)
	{
		instr_time	begin,
					end;
		int64		events = epoch->events;
		int64		before = epoch->done;
		double		seconds;

		INSTR_TIME_SET_CURRENT(begin);
		train_step(epoch, order + step[visit[i]], (int) (step[visit[i] + 1] - step[visit[i]]));
		INSTR_TIME_SET_CURRENT(end);
		INSTR_TIME_SUBTRACT(end, begin);
		seconds = INSTR_TIME_GET_DOUBLE(end);
		job_progress(epoch->phase,
					 epoch->begin + (epoch->end - epoch->begin) * epoch->done / Max(epoch->n_moments, 1),
					 seconds > 0 ? (epoch->events - events) / seconds : 0, trainer_ratios_json(trainer));
		if (epoch->pause_every > 0 && before / epoch->pause_every != epoch->done / epoch->pause_every)
		{
			complete_steps(epoch);
			stop = epoch->pause(epoch, epoch->arg);
		}
	}
	pfree(step);
	pfree(visit);
	return stop;
}

bool
train_epoch(Epoch *epoch, Course *course)
{
	Trainer    *trainer = epoch->trainer;
	int			most = batches_most_views(trainer->batches, trainer->model->options.batch_size, false);
	int64		visits = course_begin(course, &trainer->random);
	Stretch    *bucket = palloc(sizeof(Stretch) * most * BUCKET_STEPS);
	bool		stop = false;

	epoch->n_moments = course_moments(course);
	epoch->done = 0;
	for (int64 next = 0; next < visits && !stop;)
	{
		int64		n = 0;
		int64		views = 0;
		MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "dupn bucket", ALLOCSET_DEFAULT_SIZES);
		MemoryContext old = MemoryContextSwitchTo(context);

		while (next < visits && views < (int64) most * BUCKET_STEPS)
		{
			bucket[n] = course_visit(course, next++);
			views += bucket[n++].n;
		}
		stop = train_bucket(epoch, bucket, n, most);
		MemoryContextSwitchTo(old);
		MemoryContextDelete(context);
	}
	complete_steps(epoch);
	pfree(bucket);
	return stop;
}

void
fill_untrained_rows(Trainer *trainer)
{
	for (int i = trainer->layout->first_table; i < trainer->layout->n; i++)
	{
		const nn_tensor *tensor = &trainer->layout->tensor[i];
		float	   *table = trainer->steps->param + tensor->offset;

		for (int row = 0; row < 2; row++)
		{
			if (trainer->steps->trained[row][i - trainer->layout->first_table] || tensor->rows <= ID_FIRST ||
				tensor->frozen)
				continue;
			for (int64 c = 0; c < tensor->cols; c++)
			{
				double		sum = 0;

				for (int64 r = ID_FIRST; r < tensor->rows; r++)
					sum += table[r * tensor->cols + c];
				job_check();
				table[row * tensor->cols + c] = (float) (sum / (double) (tensor->rows - ID_FIRST));
			}
		}
	}
}
