/*-------------------------------------------------------------------------
 *
 * trainer.c
 *	  Epochs and early stopping (NETWORK.md, Training defaults)
 *
 * The weights are a function of the data, the options, the seed and the number
 * of workers: nothing here looks at a clock but the reports.
 *
 *-------------------------------------------------------------------------
 */
#include "train/trainer.h"

#include <math.h>

#include "lib/stringinfo.h"
#include "model/blas.h"
#include "portability/instr_time.h"
#include "settings.h"
#include "train/dataset.h"
#include "train/job.h"
#include "train/shuffle.h"
#include "train/start.h"
#include "utils/json.h"
#include "utils/memutils.h"

#define EVALUATE_MOMENTS	200000	/* trained between two evaluations, at most */
#define BUCKET_STEPS		16	/* steps whose stretches are sorted by length together */
#define MIN_CONSTANT		1e-6	/* a loss below it tells nothing apart */

/* Where the parts of a training lie in job_progress. */
#define TRAINING_BEGINS		0.10
#define TRAINING_ENDS		0.85

/* ---------------- memory ---------------- */

/*
 * Make room for what the network needs, whatever the number of events: beside
 * it the data set moves to files.  Its own size nothing can help, but be said.
 */
static void
reserve_memory(void *arg, size_t size)
{
	Trainer    *trainer = arg;

	if (column_memory_reserve(trainer->data->memory, size) || trainer->memory_noted || dupn_job_memory == 0)
		return;
	trainer->memory_noted = true;
	job_note("the network and the catalogue alone need more memory (%.1f MB) than \"dupn.job_memory\" allows (%.1f MB)",
			 (MemoryContextMemAllocated(TopMemoryContext, true) + size) / (1024.0 * 1024),
			 column_memory_limit(trainer->data->memory) / (1024.0 * 1024));
}

char *
trainer_ratios_json(const Trainer *trainer)
{
	StringInfoData json;
	bool		any = false;

	initStringInfo(&json);
	appendStringInfoChar(&json, '{');
	for (int t = 0; t < trainer->config->n_task; t++)
	{
		if (!isfinite(trainer->ratio[t]))
			continue;
		if (any)
			appendStringInfoString(&json, ", ");
		escape_json(&json, trainer->config->task[t].name);
		appendStringInfo(&json, ": %.4f", trainer->ratio[t]);
		any = true;
	}
	appendStringInfoChar(&json, '}');
	return json.data;
}

/* ---------------- before the first step ---------------- */

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
static void
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

		if (!(mean > 0))
			ereport(ERROR,
					(errcode(ERRCODE_DATA_EXCEPTION),
					 errmsg("task \"%s\": all samples before the hold-out weigh nothing", task->name),
					 errhint("Look at its weight column and its options \"label_weights\" and \"type_weights\".")));
		trainer->balanced->task[t].weight /= mean;
		trainer->constant[SPLIT_TRAIN][t] = entropy(training, n);
		if (!(trainer->constant[SPLIT_TRAIN][t] > MIN_CONSTANT))
			ereport(ERROR,
					(errcode(ERRCODE_DATA_EXCEPTION),
					 errmsg("task \"%s\" has nothing to tell apart before the hold-out", task->name),
					 errdetail("All of its training samples have the same %s.",
							   kind == NN_NEXT_ITEM ? "item" : "label"),
					 errhint("Give it samples of both kinds, or drop the task.")));
		base_rate[t] = kind == NN_BINARY || kind == NN_RANK ? training[1] / (training[0] + training[1]) : 0;
		for (Split split = SPLIT_STOP; split <= SPLIT_REPORT; split++)
		{
			double	   *weight = count_targets(trainer, t, split, n, &mean);

			trainer->constant[split][t] = cross_entropy(weight, training, n);
			pfree(weight);
		}
		pfree(training);
	}
}

/* What the network has under the same name in a version; base_check has seen that the shapes are the same. */
static void
copy_parameters(Trainer *trainer, const ModelImage *base)
{
	for (int i = 0; i < trainer->layout->n; i++)
	{
		const nn_tensor *to = &trainer->layout->tensor[i];
		int			found = nn_layout_find(&base->layout, to->name);
		const nn_tensor *from = found >= 0 ? &base->layout.tensor[found] : NULL;

		if (from == NULL)
			continue;
		if (from->rows != to->rows || from->cols != to->cols)
			elog(ERROR, "tensor \"%s\" has another shape in version %d", to->name, base->version);
		memcpy(trainer->steps->param + to->offset, base->param + from->offset, sizeof(float) * to->rows * to->cols);
		for (int row = 0; row < 2 && to->table; row++)
			trainer->steps->trained[row][i - trainer->layout->first_table] = 1;
	}
	for (int t = 0; t < trainer->config->n_task; t++)
		for (int k = 0; k < base->config.n_task; k++)
			if (strcmp(trainer->config->task[t].name, base->config.task[k].name) == 0)
				memcpy(trainer->calibration[t], base->task[k].calibration, sizeof(trainer->calibration[t]));
}

/* The network as it is declared. */
static void
configure(Trainer *trainer)
{
	const Model *model = trainer->model;
	int			classes[NN_MAX_TASKS];
	char		message[256];

	for (int t = 0; t < model->n_tasks; t++)
		classes[t] = trainer->data->levels[t].classes;
	job_begin();
	trainer->config_json = MemoryContextStrdup(trainer->context,
											   image_config_json(trainer->data->set, model, classes,
																 trainer->data->catalogue.n));
	job_commit();
	trainer->config = palloc0(sizeof(nn_config));
	trainer->balanced = palloc(sizeof(nn_config));
	trainer->layout = palloc(sizeof(nn_layout));
	if (nn_config_parse(trainer->config, trainer->config_json, strlen(trainer->config_json),
						message, sizeof(message)) != NN_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("model \"%s\" makes no valid network: %s", model->name, message)));
	if (nn_layout_make(trainer->layout, trainer->config) != NN_OK)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("the network of model \"%s\" is too large", model->name),
				 errhint("Raise \"min_count\", or hash columns with many values: {\"encodings\": {column: {\"hash\": 100000}}}.")));
}

static void
make_network(Trainer *trainer)
{
	const Model *model = trainer->model;
	const ModelOptions *options = &model->options;
	float		base_rate[NN_MAX_TASKS];
	float	   *scratch;
	size_t		floats;
	nn_optimizer optimizer;
	nn_dropout	dropout;

	configure(trainer);
	*trainer->balanced = *trainer->config;
	find_constants(trainer, base_rate);
	for (int t = 0; t < model->n_tasks; t++)
	{
		trainer->balanced->task[t].weight /= trainer->constant[SPLIT_TRAIN][t];
		trainer->ratio[t] = NAN;
		trainer->calibration[t][0] = 1;
	}

	floats = trainer->layout->floats;
	optimizer = (nn_optimizer) {.kind = options->optimizer, .learning_rate = options->learning_rate,
	.beta1 = 0.9f, .beta2 = 0.999f, .epsilon = 1e-8f, .l2 = options->l2, .clip = options->clip};
	dropout = (nn_dropout) {.item = options->dropout, .vector = options->dropout,
	.hidden = options->hidden_dropout};
	trainer->steps = steps_make(trainer->job, trainer->balanced, trainer->layout, &optimizer, &dropout,
								options->workers, reserve_memory, trainer, trainer->context);
	reserve_memory(trainer, mul_size(sizeof(float), floats));
	trainer->best = MemoryContextAllocHuge(trainer->context, mul_size(sizeof(float), floats));
	scratch = palloc_extended(sizeof(float) * 2 * options->hidden * options->hidden, MCXT_ALLOC_HUGE);
	nn_init(trainer->config, trainer->layout, trainer->steps->param, (uint64) options->seed, base_rate, scratch);
	start_values(trainer->data, trainer->moments, trainer->config, trainer->layout, trainer->steps->param);
	if (trainer->data->base)
		copy_parameters(trainer, trainer->data->base);
	pfree(scratch);
	trainer->random = (uint64) options->seed ^ UINT64CONST(0x5deece66d1234567);

	trainer->batches = batches_make(trainer->data, trainer->moments, trainer->config, trainer->layout,
									trainer->context);
}

/* ---------------- rows that were never trained ---------------- */

/* Missing and unknown, where training met none, are the mean of their table. */
static void
fill_untrained_rows(Trainer *trainer)
{
	for (int i = trainer->layout->first_table; i < trainer->layout->n; i++)
	{
		const nn_tensor *tensor = &trainer->layout->tensor[i];
		float	   *table = trainer->steps->param + tensor->offset;

		for (int row = 0; row < 2; row++)
		{
			if (trainer->steps->trained[row][i - trainer->layout->first_table] || tensor->rows <= ID_FIRST)
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

/* ---------------- epochs ---------------- */

/* One pass over the planned stretches, and what is to happen on the way. */
typedef struct Epoch
{
	Trainer    *trainer;
	const char *phase;
	double		begin,			/* fraction of the job */
				end;
	int64		n_moments;		/* of the pass */
	int64		done;
	int64		events;			/* of the steps that are complete */
	int64		pause_every;	/* moments between two calls of pause, 0: never */
	bool		(*pause) (struct Epoch *epoch, void *arg);	/* true: stop */
	void	   *arg;
} Epoch;

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

		/* until the first evaluation a running mean is the best we know */
		if (result->weight[t] > 0 && !trainer->evaluated)
			trainer->ratio[t] = isfinite(trainer->ratio[t]) ? 0.95 * trainer->ratio[t] + 0.05 * ratio : ratio;
	}
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

/* True when pause said stop. */
static bool
train_epoch(Epoch *epoch, int64 n_stretches)
{
	Trainer    *trainer = epoch->trainer;
	int			most = batches_most_views(trainer->batches, trainer->model->options.batch_size, false);
	Shuffle		shuffle = shuffle_make(n_stretches, &trainer->random);
	Stretch    *bucket = palloc(sizeof(Stretch) * most * BUCKET_STEPS);
	bool		stop = false;

	epoch->n_moments = epoch->done = 0;
	for (int64 i = 0; i < n_stretches; i++)
		epoch->n_moments += batches_stretches(trainer->batches)[i].n;
	for (int64 next = 0; next < n_stretches && !stop;)
	{
		int64		n = 0;
		int64		views = 0;
		MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "dupn bucket", ALLOCSET_DEFAULT_SIZES);
		MemoryContext old = MemoryContextSwitchTo(context);

		while (next < n_stretches && views < (int64) most * BUCKET_STEPS)
		{
			/* by value: the column may move to a file */
			bucket[n] = batches_stretches(trainer->batches)[shuffle_at(&shuffle, next++)];
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

/* ---------------- early stopping ---------------- */

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

static void
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

/* One pass over what was held out, at the final rate. */
static void
refit(Trainer *trainer)
{
	int			most = batches_most_views(trainer->batches, trainer->model->options.batch_size, false);
	int64		n = batches_plan(trainer->batches,
								 1 << SPLIT_STOP | 1 << SPLIT_REPORT | 1 << SPLIT_SPARE, most, true);
	Epoch		epoch = {.trainer = trainer, .phase = "refitting", .begin = 0.92, .end = 0.96};

	train_epoch(&epoch, n);
	fill_untrained_rows(trainer);
}

/* ---------------- the job ---------------- */

static void
report(Trainer *trainer, Metrics *metrics)
{
	int			n_task = trainer->config->n_task;
	Judged	   *judged = judged_make(trainer->data, trainer->moments, SPLIT_REPORT);
	double		ratio[NN_MAX_TASKS];

	for (int t = 0; t < n_task; t++)
		add_network(&judged[t], trainer->config->task[t].kind, "model");
	job_progress("evaluating", TRAINING_ENDS, 0, trainer_ratios_json(trainer));
	served_evaluate(trainer, SPLIT_REPORT, judged, ratio);
	for (int t = 0; t < n_task; t++)
	{
		if (isfinite(ratio[t]))
			trainer->ratio[t] = ratio[t];
		if (judged[t].n == 0)
		{
			job_note("task \"%s\" has no samples in the hold-out and could not be judged",
					 trainer->config->task[t].name);
			continue;
		}
		job_progress("baselines", 0.9, 0, trainer_ratios_json(trainer));
		baselines(trainer->data, trainer->moments, t, &judged[t]);
		judge(&judged[t], &trainer->model->task[t], (uint64) trainer->model->options.seed, metrics);
	}
}

Trainer *
trainer_make(Job *job, const Model *model, const ModelImage *base)
{
	Trainer    *trainer = palloc0(sizeof(Trainer));

	trainer->job = job;
	trainer->context = CurrentMemoryContext;
	trainer->model = model;
	trainer->data = dataset_load(job, model, base);
	trainer->moments = moments_make(trainer->data);
	make_network(trainer);
	return trainer;
}

Trainer *
trainer_judging(Job *job, const Model *model, const ModelImage *base, TimestampTz until, bool everybody)
{
	Trainer    *trainer = palloc0(sizeof(Trainer));

	trainer->job = job;
	trainer->context = CurrentMemoryContext;
	trainer->model = model;
	trainer->data = dataset_load(job, model, base);
	trainer->data->until = until;
	trainer->data->everybody = everybody;
	trainer->data->evaluated = true;
	trainer->moments = moments_make(trainer->data);
	if (base == NULL)
		return trainer;

	configure(trainer);
	*trainer->balanced = *trainer->config;
	for (int t = 0; t < model->n_tasks; t++)
	{
		trainer->constant[SPLIT_REPORT][t] = 1;
		trainer->ratio[t] = NAN;
	}
	trainer->steps = steps_judging(trainer->config, trainer->layout, reserve_memory, trainer, trainer->context);
	copy_parameters(trainer, base);
	trainer->batches = batches_make(trainer->data, trainer->moments, trainer->config, trainer->layout,
									trainer->context);
	return trainer;
}

void
train_run(Job *job)
{
	MemoryContext context = AllocSetContextCreate(job->context, "dupn training", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	Trainer    *trainer;
	Model	   *model;
	Metrics		metrics = {0};
	instr_time	begin,
				end;

	INSTR_TIME_SET_CURRENT(begin);
	blas_probe();
	job_begin();
	MemoryContextSwitchTo(context);
	model = model_get_by_id(job->model_id, false);
	if (job->options)
		job_apply_options(model, job->options);
	job_commit();

	trainer = trainer_make(job, model, NULL);
	train_epochs(trainer);
	calibrate(trainer);
	report(trainer, &metrics);
	if (model->options.refit)
		refit(trainer);
	steps_end(trainer->steps);
	INSTR_TIME_SET_CURRENT(end);
	INSTR_TIME_SUBTRACT(end, begin);
	publish_version(trainer, &metrics, INSTR_TIME_GET_DOUBLE(end));
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}
