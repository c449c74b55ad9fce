/*-------------------------------------------------------------------------
 *
 * trainer.c
 *	  A training from beginning to end
 *
 * The weights are a function of the data, the options, the seed and the number
 * of workers: nothing here looks at a clock but the reports.
 *
 *-------------------------------------------------------------------------
 */
#include "train/preset.h"
#include "train/trainer.h"

#include <math.h>

#include "fail.h"
#include "lib/stringinfo.h"
#include "model/blas.h"
#include "portability/instr_time.h"
#include "settings.h"
#include "train/alone.h"
#include "train/dataset.h"
#include "train/drift.h"
#include "train/job.h"
#include "train/leak.h"
#include "train/memory.h"
#include "train/night.h"
#include "train/start.h"
#include "train/transfer.h"
#include "utils/json.h"
#include "utils/memutils.h"

#define ADAGRAD_DECAY	0.5f	/* of its sums, a night */

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

/*
 * What the network has under the same name in a version; base_check has seen
 * that the shapes are the same, but for tables that have grown.
 */
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
		if (from->cols != to->cols || (from->rows != to->rows && (!to->table || trainer->data->since == DT_NOBEGIN)))
			elog(ERROR, "tensor \"%s\" has another shape in version %d", to->name, base->version);
		memcpy(trainer->steps->param + to->offset, base->param + from->offset,
			   sizeof(float) * Min(from->rows, to->rows) * to->cols);
		for (int row = 0; row < 2 && to->table; row++)
			trainer->steps->trained[row][i - trainer->layout->first_table] = 1;
	}
	for (int t = 0; t < trainer->config->n_task; t++)
	{
		int			known = image_find_task(base, trainer->config->task[t].name);

		if (known >= 0)
			memcpy(trainer->calibration[t], base->task[known].calibration, sizeof(trainer->calibration[t]));
	}
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
	trainer->known_items = trainer->data->catalogue.n;
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

void
trainer_network(Trainer *trainer)
{
	const Model *model = trainer->model;
	const ModelOptions *options = &model->options;
	float		base_rate[NN_MAX_TASKS];
	float	   *scratch;
	size_t		floats;
	nn_optimizer optimizer;
	nn_dropout	dropout;
	Presets    *presets;

	presets = presets_read(trainer->data);
	configure(trainer);
	*trainer->balanced = *trainer->config;
	find_constants(trainer, base_rate);
	for (int t = 0; t < model->n_tasks; t++)
	{
		trainer->ratio[t] = NAN;
		trainer->calibration[t][0] = 1;
	}

	transfer_freeze(trainer->transfer, trainer->config, trainer->layout);
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
	places_count(trainer);
	if (trainer->data->base)
		copy_parameters(trainer, trainer->data->base);
	if (options->keep_optimizer && (trainer->transfer->mode == TRAIN_FINETUNE || trainer->transfer->mode == TRAIN_NIGHTLY))
		(void) optimizer_load(model->id, trainer->data->base->version, trainer->layout,
							  &trainer->steps->optimizer, job_check);
	if (trainer->transfer->night)
		night_rows_start(trainer);
	presets_apply(presets, trainer->data, trainer->steps);
	presets_free(presets);
	pfree(scratch);
	trainer->random = (uint64) options->seed ^ UINT64CONST(0x5deece66d1234567);

	trainer->batches = batches_make(trainer->data, trainer->moments, trainer->config, trainer->layout,
									trainer->context);
}

/* ---------------- the job ---------------- */

/* The reported samples, with what the network said. */
static Judged *
report(Trainer *trainer, const Judged *alone, const Judged *parent, Metrics *metrics)
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
		if (!trainer->moments->wanted[t])
			continue;
		if (isfinite(ratio[t]))
			trainer->ratio[t] = ratio[t];
		if (judged[t].n == 0)
		{
			job_note("task \"%s\" has no samples in the hold-out and could not be judged",
					 trainer->config->task[t].name);
			continue;
		}
		job_progress("baselines", 0.88, 0, trainer_ratios_json(trainer));
		baselines(trainer->data, trainer->moments, t, &judged[t]);
		if (alone)
			*add_results(&judged[t], SOURCE_ALONE) = alone[t].results[0];
		if (parent)
			*add_results(&judged[t], SOURCE_PARENT) = parent[t].results[0];
		judge(&judged[t], &trainer->model->task[t], (uint64) trainer->model->options.seed, metrics);
	}
	return judged;
}

Trainer *
trainer_make(Job *job, const Model *model, const ModelImage *base, const Transfer *transfer, Judged **alone)
{
	Trainer    *trainer = palloc0(sizeof(Trainer));

	trainer->job = job;
	trainer->context = CurrentMemoryContext;
	trainer->model = model;
	trainer->transfer = transfer;
	trainer->data = dataset_load(job, model, base, transfer->range);
	trainer->moments = moments_make(trainer->data, NULL);
	trainer->begin = TRAINING_BEGINS;
	trainer->end = TRAINING_ENDS;
	if (alone_wanted(trainer))
	{
		*alone = alone_train(trainer);
		trainer->begin = trainer->end - (trainer->end - trainer->begin) / (model->n_tasks + 1);
	}
	trainer_network(trainer);
	if (transfer->night == NULL)
		leaks_note(trainer->data, trainer->moments, trainer->config);
	return trainer;
}

Trainer *
trainer_judging(Job *job, const Model *model, const ModelImage *base, TimestampTz until, bool everybody)
{
	Trainer    *trainer = palloc0(sizeof(Trainer));

	trainer->job = job;
	trainer->context = CurrentMemoryContext;
	trainer->model = model;
	trainer->data = dataset_load(job, model, base, ALL_TIMES);
	trainer->data->until = until;
	trainer->data->everybody = everybody;
	trainer->data->evaluated = true;
	trainer->moments = moments_make(trainer->data, NULL);
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

/*
 * What the version itself says of the reported samples, as it serves, before
 * anything is learned: it does not answer with items that came tonight, and
 * reads values that it does not know as unknown, which is how their rows start.
 */
static Judged *
judge_parent(Trainer *trainer)
{
	Judged	   *parent = judged_make(trainer->data, trainer->moments, SPLIT_REPORT);
	double		ratio[NN_MAX_TASKS];

	for (int t = 0; t < trainer->config->n_task; t++)
		add_network(&parent[t], trainer->config->task[t].kind, SOURCE_PARENT);
	trainer->known_items = trainer->data->base->catalogue.n;
	job_progress("judging the version before", TRAINING_BEGINS, 0, NULL);
	served_evaluate(trainer, SPLIT_REPORT, parent, ratio);
	trainer->known_items = trainer->data->catalogue.n;
	return parent;
}

/*
 * What comes before the first step of a night.  AdaGrad's sums only grow, and a
 * row that was trained for months would no longer move.
 */
static void
begin_night(Trainer *trainer)
{
	const nn_optimizer *optimizer = &trainer->steps->optimizer;

	for (size_t i = 0; optimizer->kind == NN_ADAGRAD && i < trainer->layout->floats; i++)
		optimizer->v[i] *= ADAGRAD_DECAY;
	for (int t = 0; t < trainer->config->n_task; t++)
		if (trainer->config->task[t].memory > 0)
			memory_night(trainer->data, t);
	night_rows_free(trainer);
}

/* Is there anything to train on?  Rows that no task asks for are no samples. */
static bool
has_samples(const Trainer *trainer)
{
	int64		n = 0;

	for (int t = 0; t < trainer->model->n_tasks; t++)
		n += trainer->moments->count[SPLIT_TRAIN][t];
	return n > 0;
}

static void
train(Job *job, const Night *night)
{
	MemoryContext context = AllocSetContextCreate(job->context, "dupn training", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	Transfer	transfer;
	Trainer    *trainer;
	Heads	   *heads = NULL;
	Judged	   *alone = NULL;
	Judged	   *parent = NULL;
	Judged	   *judged;
	Decision   *decision;
	Model	   *model;
	Metrics		metrics = {0};
	instr_time	begin,
				end;

	INSTR_TIME_SET_CURRENT(begin);
	blas_probe();
	job_begin();
	MemoryContextSwitchTo(context);
	model = model_get_by_id(job->model_id, false);
	if (night)
		transfer_plan_night(&transfer, model, job->options, night, context);
	else
		transfer_plan(&transfer, model, job->options, context);
	job_commit();

	trainer = trainer_make(job, model, transfer.base, &transfer, &alone);
	fail_point("train: read");
	if (night && !has_samples(trainer))
	{
		steps_end(trainer->steps, false);
		job_note("nothing to learn from what came since %s, when version %d was trained; there is no new version",
				 time_text(night->range.since), night->version);
		MemoryContextSwitchTo(old);
		MemoryContextDelete(context);
		return;
	}
	transfer_note(trainer);
	if (night)
	{
		/* who reads numbers in other bands is asked by itself: see policy.c */
		if (!model->options.relearn_bands)
			parent = judge_parent(trainer);
		fail_point("train: parent judged");
		begin_night(trainer);
	}
	if (transfer.mode == TRAIN_HEAD)
		heads = heads_begin(trainer, &transfer);
	train_epochs(trainer);
	fail_point("train: trained");
	calibrate(trainer);
	if (heads)
		heads_judge(heads);
	judged = report(trainer, alone, parent, &metrics);
	if (alone)
		alone_note(trainer, &metrics);
	drift_compare(trainer, judged, &metrics);
	decision = policy_decide(trainer, judged, &metrics);
	fail_point("train: judged");
	if (heads && model->options.refit)
		heads_refit(heads);
	if (model->options.refit)
		refit(trainer);
	steps_end(trainer->steps, keeps_optimizer(trainer));
	if (model->options.refit)
		dataset_refit(trainer->data);
	INSTR_TIME_SET_CURRENT(end);
	INSTR_TIME_SUBTRACT(end, begin);
	publish_version(trainer, &metrics, decision, INSTR_TIME_GET_DOUBLE(end));
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}

void
train_run(Job *job)
{
	train(job, NULL);
}

void
train_night(Job *job, const Night *night)
{
	train(job, night);
}
