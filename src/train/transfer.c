/*-------------------------------------------------------------------------
 *
 * transfer.c
 *	  A task added to a trained model: four ways to train it (section 3.5 and
 *	  table 7 of the paper)
 *
 *	  full		all tasks from nothing					re-train all
 *	  alone		the named tasks only, from nothing		single re-train
 *	  head		the named tasks' heads, and nothing else	shallow transfer
 *	  finetune	everything, from the version's weights	fine-tuning
 *	  nightly	the same, with what came since alone: see night.c
 *
 * Heads learn from user vectors that are computed once: a moment's `now` is
 * drawn once instead of every epoch, and dropout of ids, profiles and contexts
 * does not reach the vectors.
 *
 *-------------------------------------------------------------------------
 */
#include "train/transfer.h"

#include "catalog/pg_type.h"
#include "hint.h"
#include "train/job.h"
#include "train/night.h"
#include "train/vectors.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#define FINETUNE_RATE	0.3		/* of the model's learning rate */
#define FINETUNE_EPOCHS 4		/* the model's epochs are divided by */
#define MOST_VIEWS		256		/* of a stretch, and of a batch of served vectors */

/* ---------------- the plan ---------------- */

static void
find_named(const Model *model, const TrainOptions *options, bool *named)
{
	for (int i = 0; i < options->n_tasks; i++)
		named[model_task(model, options->tasks[i])] = true;
}

static void
check_options(const Model *model, const TrainOptions *options)
{
	bool		from_version = options->mode == TRAIN_HEAD || options->mode == TRAIN_FINETUNE;

	if (options->mode == TRAIN_FULL && options->n_tasks > 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("mode \"full\" trains all tasks"),
				 errhint("Name tasks with mode \"alone\", for a version of only these, \"head\" or \"finetune\".")));
	if (options->mode == TRAIN_ALONE && options->n_tasks <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("mode \"alone\" needs \"tasks\""),
				 errhint("They are the only tasks of the new version.")));
	if (!from_version && options->version != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("mode \"%s\" starts from nothing, not from a version", train_mode_name[options->mode]),
				 errhint("Option \"version\" is for the modes \"head\" and \"finetune\".")));
}

/* Without names a head is for what the version lacks. */
static void
name_new_tasks(const Model *model, const ModelImage *base, bool *named)
{
	bool		any = false;

	for (int t = 0; t < model->n_tasks; t++)
		any |= named[t] = image_find_task(base, model->task[t].name) < 0;
	if (!any)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("version %d has all tasks of model \"%s\"", base->version, model->name),
				 errhint("Name those whose heads are to be trained further: tasks => '{%s}'.", model->task[0].name)));
}

/* Leave only some tasks in the model. */
static void
keep_tasks(Model *model, const bool *kept, bool *learns)
{
	int			n = 0;

	for (int t = 0; t < model->n_tasks; t++)
		if (kept[t])
		{
			learns[n] = learns[t];
			model->task[n++] = model->task[t];
		}
	model->n_tasks = n;
}

/* Of all tasks of the model, as its options are now. */
static const char *
find_primary(const Model *all, const ModelOptions *options)
{
	if (all->n_tasks == 0)
		return NULL;
	return all->task[options->primary ? model_task(all, options->primary) : 0].name;
}

void
transfer_plan(Transfer *transfer, Model *model, Jsonb *options, MemoryContext hold)
{
	TrainOptions own;
	Jsonb	   *others = train_options_parse(&own, options);
	bool		named[NN_MAX_TASKS] = {false};
	bool		kept[NN_MAX_TASKS];
	Model		all = *model;

	memset(transfer, 0, sizeof(*transfer));
	transfer->mode = own.mode;
	transfer->range = ALL_TIMES;
	check_options(model, &own);
	find_named(model, &own, named);
	if (own.mode == TRAIN_HEAD || own.mode == TRAIN_FINETUNE)
		transfer->base = hold ? image_hold(model, own.version, job_check, hold) : image_get(model, own.version);
	if (own.mode == TRAIN_HEAD && own.n_tasks <= 0)
		name_new_tasks(model, transfer->base, named);
	for (int t = 0; t < model->n_tasks; t++)
	{
		kept[t] = named[t] || own.mode == TRAIN_FULL || (own.mode == TRAIN_FINETUNE && own.n_tasks <= 0) ||
			(transfer->base && image_find_task(transfer->base, model->task[t].name) >= 0);
		transfer->learns[t] = named[t] || own.mode != TRAIN_HEAD;
	}
	all.task = memcpy(palloc(sizeof(ModelTask) * Max(model->n_tasks, 1)), model->task,
					  sizeof(ModelTask) * model->n_tasks);
	keep_tasks(model, kept, transfer->learns);
	job_apply_options(model, others);
	transfer->primary = find_primary(&all, &model->options);

	if (own.mode == TRAIN_FINETUNE && !jsonb_object_has(others, "learning_rate"))
		model->options.learning_rate *= FINETUNE_RATE;
	if (own.mode == TRAIN_FINETUNE && !jsonb_object_has(others, "epochs"))
		model->options.epochs = Max(model->options.epochs / FINETUNE_EPOCHS, 1);

	/* where nights begin */
	if (hold && model->options.lateness > 0)
		transfer->range.until = night_end(model, DT_NOBEGIN);

	/* it lacks what others ask for */
	if (own.mode == TRAIN_ALONE && !jsonb_object_has(others, "publish"))
		model->options.publish = PUBLISH_NEVER;
	if (transfer->base)
		base_check(model, transfer->base);
}

void
transfer_plan_night(Transfer *transfer, Model *model, Jsonb *options, const Night *night, MemoryContext hold)
{
	TrainOptions own;
	Jsonb	   *others = train_options_parse(&own, options);
	ModelOptions *of = &model->options;

	memset(transfer, 0, sizeof(*transfer));
	transfer->mode = TRAIN_NIGHTLY;
	transfer->night = night;
	transfer->range = night->range;
	transfer->base = image_hold(model, night->version, job_check, hold);
	for (int t = 0; t < model->n_tasks; t++)
		transfer->learns[t] = true;
	job_apply_options(model, others);
	transfer->primary = find_primary(model, of);

	/* the rate is the model's: at 0.3 of it nights fell behind full trainings (test/bench/fortnight) */
	if (!jsonb_object_has(others, "epochs"))
		of->epochs = 1;
	of->compare_alone = false;

	/* the latest of the night, where what is declared lies before it */
	if (of->holdout == HOLDOUT_LAST_EVENT || (of->holdout == HOLDOUT_TIME && of->holdout_time <= night->range.since))
		of->holdout = HOLDOUT_SHARE;
	base_check(model, transfer->base);
}

void
transfer_freeze(const Transfer *transfer, const nn_config *config, nn_layout *layout)
{
	if (transfer->mode != TRAIN_HEAD)
		return;
	for (int i = 0; i < layout->n; i++)
		layout->tensor[i].frozen = true;

	/* by where they are: the name of one task may begin as that of another does */
	for (int t = 0; t < config->n_task; t++)
	{
		int			own[sizeof(nn_task_tensors) / sizeof(int)];

		memcpy(own, &layout->task[t], sizeof(own));
		for (int k = 0; transfer->learns[t] && k < lengthof(own); k++)
			if (own[k] >= 0)
				layout->tensor[own[k]].frozen = false;
	}
}

void
transfer_note(Trainer *trainer)
{
	const ModelImage *base = trainer->data->base;
	Oid			types[] = {INT4OID, INT4OID};
	Datum		values[2];
	Datum		until;
	bool		isnull;

	trainer->seen = DT_NOBEGIN;
	if (base == NULL)
		return;
	values[0] = Int32GetDatum(base->model_id);
	values[1] = Int32GetDatum(base->version);
	job_begin();
	if (state_read("SELECT trained_until FROM _dupn.version WHERE model_id OPERATOR(pg_catalog.=) $1"
				   " AND version OPERATOR(pg_catalog.=) $2", 2, types, values, NULL, &until, &isnull) > 0 && !isnull)
		trainer->seen = DatumGetTimestampTz(until);
	job_commit();
	if (trainer->seen >= trainer->data->cut)
		job_note("version %d was trained on what is held out now, so metrics flatter; train it with \"refit\": false to compare",
				 base->version);
}

void
transfer_metrics(const Trainer *trainer, int32 version)
{
	const Transfer *transfer = trainer->transfer;

	for (int t = 0; transfer->mode == TRAIN_HEAD && t < trainer->config->n_task; t++)
	{
		Oid			types[] = {INT4OID, INT4OID, TEXTOID, INT4OID};
		Datum		values[] = {Int32GetDatum(transfer->base->model_id), Int32GetDatum(transfer->base->version),
		CStringGetTextDatum(trainer->config->task[t].name), Int32GetDatum(version)};

		if (transfer->learns[t])
			continue;
		state_execute("INSERT INTO _dupn.metric (model_id, version, task, source, metric, slice,"
					  " value, low, high, difference, difference_low, difference_high, samples, bins)"
					  " SELECT model_id, $4, task, source, metric, slice,"
					  " value, low, high, difference, difference_low, difference_high, samples, bins"
					  " FROM _dupn.metric WHERE model_id OPERATOR(pg_catalog.=) $1 AND version OPERATOR(pg_catalog.=) $2"
					  " AND task OPERATOR(pg_catalog.=) $3", 4, types, values, NULL, NULL, NULL);
	}
}

/* ---------------- heads ---------------- */

struct Heads
{
	Trainer    *trainer;
	const ModelImage *base;
	Moments    *moments;		/* of the tasks that learn */
	Batches    *batches;
	Vectors    *train;
	Vectors    *stop;
};

/* User vectors of the moments of some splits. */
static Vectors *
compute_stretches(Heads *heads, int splits, const char *phase, double begin, double end)
{
	Trainer    *trainer = heads->trainer;
	Course	   *course = course_make(trainer->data, heads->moments, splits, ALL_TASKS, MOST_VIEWS, 1, trainer->context);
	int64		n;
	Vectors    *vectors = vectors_make(heads->base, trainer->data->memory);

	(void) course_stretches(course, &n);
	for (int64 first = 0, next; first < n; first = next)
	{
		MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "dupn stretches", ALLOCSET_DEFAULT_SIZES);
		MemoryContext old = MemoryContextSwitchTo(context);
		int64		events = 0;
		int			views = 0;
		Stretch    *stretch;
		int64	   *moment;
		TimestampTz *now;
		nn_batch   *batch;

		/* views of users without events take room, too */
		for (next = first; next < n && events + views < NN_BATCH_EVENTS; next++)
		{
			events += batches_stretch_events(heads->batches, &course_stretches(course, &n)[next]);
			views += course_stretches(course, &n)[next].n;
		}

		/* by value: the column may move to a file */
		stretch = palloc(sizeof(Stretch) * (next - first));
		memcpy(stretch, course_stretches(course, &n) + first, sizeof(Stretch) * (next - first));
		moment = palloc(sizeof(int64) * views);
		now = palloc(sizeof(TimestampTz) * views);
		views = 0;
		for (int64 i = 0; i < next - first; i++)
			for (int k = 0; k < stretch[i].span; k++)
				if (stretch[i].sources & moment_source(&heads->moments->moment[stretch[i].first + k]))
					moment[views++] = stretch[i].first + k;
		batch = batches_views(heads->batches, stretch, (int) (next - first), &trainer->random, now);
		vectors_add(vectors, batch, moment, now);
		MemoryContextSwitchTo(old);
		MemoryContextDelete(context);
		job_progress(phase, begin + (end - begin) * next / n, 0, NULL);
	}
	course_free(course);
	vectors_finish(vectors);
	return vectors;
}

/* The same of what decides early stopping, exactly as served. */
static Vectors *
compute_stop(Heads *heads)
{
	Vectors    *vectors = vectors_make(heads->base, heads->trainer->data->memory);
	const Moments *moments = heads->moments;
	int64	   *moment = palloc(sizeof(int64) * MOST_VIEWS);
	TimestampTz *now = palloc(sizeof(TimestampTz) * MOST_VIEWS);
	int			n;

	for (int64 next = 0; next < moments->n_of[SPLIT_STOP]; next += n)
	{
		n = (int) Min(MOST_VIEWS, moments->n_of[SPLIT_STOP] - next);
		memcpy(moment, moments->of[SPLIT_STOP] + next, sizeof(int64) * n);
		for (int i = 0; i < n; i++)
			now[i] = moment_now(heads->trainer->data, &moments->moment[moment[i]]);
		vectors_add(vectors, batches_served(heads->batches, moment, n, false), moment, now);
	}
	vectors_finish(vectors);
	pfree(moment);
	pfree(now);
	return vectors;
}

Heads *
heads_begin(Trainer *trainer, const Transfer *transfer)
{
	Heads	   *heads = palloc0(sizeof(Heads));

	heads->trainer = trainer;
	heads->base = transfer->base;
	heads->moments = moments_make(trainer->data, transfer->learns);
	heads->batches = batches_make(trainer->data, heads->moments, trainer->config, trainer->layout, trainer->context);
	heads->train = compute_stretches(heads, 1 << SPLIT_TRAIN, "computing user vectors", TRAINING_BEGINS, 0.3);
	heads->stop = compute_stop(heads);
	batches_give(heads->batches, heads->train, heads->stop);
	trainer->moments = heads->moments;
	trainer->batches = heads->batches;
	trainer->begin = 0.3;
	return heads;
}

void
heads_judge(Heads *heads)
{
	batches_give(heads->batches, NULL, NULL);
}

void
heads_refit(Heads *heads)
{
	vectors_free(heads->train);
	batches_give(heads->batches, NULL, NULL);
	heads->train = compute_stretches(heads, 1 << SPLIT_STOP | 1 << SPLIT_REPORT | 1 << SPLIT_SPARE,
									 "computing user vectors", 0.92, 0.92);
	batches_give(heads->batches, heads->train, heads->stop);
}
