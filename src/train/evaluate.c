/*-------------------------------------------------------------------------
 *
 * evaluate.c
 *	  Jobs that judge a version, or baselines alone, on any samples
 *
 * Rows become ids as the version reads them, its network answers as it serves,
 * and what is before the range is what baselines count: all of it is a training
 * whose hold-out is the range, without the training.
 *
 *-------------------------------------------------------------------------
 */
#include "train/evaluate.h"

#include <math.h>

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "hint.h"
#include "lib/stringinfo.h"
#include "model/blas.h"
#include "model/check.h"
#include "train/dataset.h"
#include "train/report.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/regproc.h"
#include "utils/timestamp.h"

/* ---------------- relations in place of the model's ---------------- */

/* Its qualified and quoted name; error when there is none, or jobs cannot read it. */
static char *
find_relation(const char *name)
{
	RangeVar   *range = makeRangeVarFromNameList(dupn_name_list(name));
	Oid			relation = RangeVarGetRelid(range, NoLock, true);

	if (!OidIsValid(relation))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation %s does not exist", name)));
	check_relation(relation, name);
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relation)), get_rel_name(relation));
}

/* The relation that "samples" names for a task. */
static char *
relation_of(Jsonb *samples, const char *task)
{
	JsonbValue *value = getKeyJsonValueFromContainer(&samples->root, task, strlen(task), NULL);

	if (value->type != jbvString)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"samples\" must name a relation for task \"%s\"", task),
				 errhint("For example {\"samples\": {\"%s\": \"impressions_of_may\"}}.", task)));
	return pnstrdup(value->val.string.val, value->val.string.len);
}

static void
replace_samples(Model *model, Jsonb *samples)
{
	int			n;
	char	  **names = jsonb_object_names(samples, &n);

	for (int i = 0; i < n; i++)
	{
		ModelTask  *task = &model->task[model_task(model, names[i])];

		if (task->samples == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("task \"%s\" has no samples of its own", names[i]),
					 errhint("Its samples are events: use the option \"events\".")));
		task->samples = find_relation(relation_of(samples, names[i]));
	}
}

/* The tasks that are asked for, and that the version has. */
static void
choose_tasks(Subject *subject, const EvaluateOptions *options)
{
	Model	   *model = subject->model;
	int			n = 0;

	for (int i = 0; i < options->n_tasks; i++)
	{
		(void) model_task(model, options->tasks[i]);
		if (subject->image)
			(void) image_task(subject->image, options->tasks[i]);
	}
	for (int t = 0; t < model->n_tasks; t++)
	{
		bool		wanted = options->n_tasks < 0;

		for (int i = 0; i < options->n_tasks; i++)
			wanted |= strcmp(options->tasks[i], model->task[t].name) == 0;
		if (wanted && (subject->image == NULL || image_find_task(subject->image, model->task[t].name) >= 0))
			model->task[n++] = model->task[t];
	}
	model->n_tasks = n;
	if (n == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 subject->image ?
				 errmsg("version %d of model \"%s\" has none of its tasks", subject->version, model->name) :
				 errmsg("model \"%s\" has no task", model->name),
				 errhint("The view dupn_tasks lists the model's tasks.")));
}

/* The model with what the options put in place; its columns must be there as ever. */
static void
open_model(Subject *subject, const EvaluateOptions *options)
{
	Model	   *model = subject->model;
	FeatureSet *set;

	if (options->events)
		model->relations.events = find_relation(options->events);
	if (options->samples)
		replace_samples(model, options->samples);
	if (options->evaluate_samples > 0)
		model->options.evaluate_samples = options->evaluate_samples;
	choose_tasks(subject, options);
	set = model_features(model, CurrentMemoryContext);
	for (int t = 0; t < model->n_tasks; t++)
		task_check(model, set, &model->task[t]);
}

/* ---------------- a version ---------------- */

void
subject_open(Subject *subject, int32 model_id, const EvaluateOptions *options, int32 version, bool hold)
{
	Model	   *model = model_get_by_id(model_id, false);
	MemoryContext context = CurrentMemoryContext;
	Oid			types[] = {INT4OID, INT4OID};
	Datum		values[2];
	Datum		row[3];
	bool		isnull[3];

	memset(subject, 0, sizeof(*subject));
	subject->model = model;
	subject->image = hold ? image_hold(model, version, job_check, context) : image_get(model, version);
	subject->version = subject->image->version;
	values[0] = Int32GetDatum(model_id);
	values[1] = Int32GetDatum(subject->version);
	if (state_execute("SELECT options, cut, trained_until FROM _dupn.version"
					  " WHERE model_id OPERATOR(pg_catalog.=) $1 AND version OPERATOR(pg_catalog.=) $2",
					  2, types, values, NULL, row, isnull) != 1)
		elog(ERROR, "version %d of model \"%s\" has gone", subject->version, model->name);

	/* as it was trained */
	if (!isnull[0])
	{
		model->options_json = DatumGetJsonbP(row[0]);
		model_parse_options(model);
	}
	subject->trained = DT_NOBEGIN;
	if (!isnull[2])
		subject->trained = DatumGetTimestampTz(row[2]) + 1;
	if (!model->options.refit && !isnull[1])
		subject->trained = Max(subject->trained, DatumGetTimestampTz(row[1]));	/* what it started from may know more */
	subject->last_event = !model->options.refit && model->options.holdout == HOLDOUT_LAST_EVENT;
	open_model(subject, options);
	base_check(model, subject->image);
}

void
subject_of_baselines(Subject *subject, int32 model_id, const EvaluateOptions *options)
{
	memset(subject, 0, sizeof(*subject));
	subject->model = model_get_by_id(model_id, false);
	subject->trained = DT_NOBEGIN;
	open_model(subject, options);
}

TimestampTz
subject_since(Subject *subject, Subject *other)
{
	TimestampTz since = Max(subject->trained, other->trained);

	if (subject->last_event && other->last_event)
	{
		/* which is not one moment for all */
		subject->trained = other->trained = DT_NOBEGIN;
		return DT_NOEND;
	}
	if (since == DT_NOBEGIN)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("version %d of model \"%s\" does not say until when it was trained",
						subject->version, subject->model->name),
				 errhint("Say which samples are to be judged with \"since\".")));
	return since;
}

Trainer *
subject_load(Job *job, Subject *subject, const EvaluateOptions *options, TimestampTz since)
{
	ModelOptions *model = &subject->model->options;

	if (since != DT_NOEND)
	{
		model->holdout = HOLDOUT_TIME;
		model->holdout_time = since;
		if (!options->reported)
			model->holdout_min_events = 1;
	}
	return trainer_judging(job, subject->model, subject->image, options->until,
						   since != DT_NOEND && !options->reported);
}

void
subject_unload(Trainer *trainer)
{
	column_store_delete(trainer->data->store);
	MemoryContextDelete(trainer->data->context);
}

void
subject_note_trained(const Subject *subject, const Trainer *trainer, const Judged *judged)
{
	for (int t = 0; t < subject->model->n_tasks; t++)
	{
		int64		known = 0;

		for (int64 i = 0; i < judged[t].n; i++)
			known += trainer->moments->moment[judged[t].moment[i]].time < subject->trained;
		if (known > 0)
			job_note("task \"%s\": version %d was trained on %.1f %% of the samples, those before %s",
					 subject->model->task[t].name, subject->version, 100.0 * known / judged[t].n,
					 time_text(subject->trained));
	}
}

/* ---------------- results ---------------- */

char *
evaluation_range(TimestampTz since, TimestampTz until)
{
	StringInfoData text;

	initStringInfo(&text);
	if (since == DT_NOEND)
		appendStringInfoString(&text, "of the hold-out");
	else
		appendStringInfo(&text, "since %s", time_text(since));
	if (until != DT_NOEND)
		appendStringInfo(&text, " until %s", time_text(until));
	return text.data;
}

void
evaluation_store(const Job *job, const Model *model, int32 version, int32 other,
				 TimestampTz since, TimestampTz until, const Metrics *metrics)
{
	Oid			types[] = {INT8OID, INT4OID, INT4OID, INT4OID, TIMESTAMPTZOID, TIMESTAMPTZOID};
	Datum		values[] = {Int64GetDatum(job->id), Int32GetDatum(model->id), Int32GetDatum(version),
	Int32GetDatum(other), TimestampTzGetDatum(since), TimestampTzGetDatum(until)};
	char		nulls[] = "      ";

	nulls[2] = version ? ' ' : 'n';
	nulls[3] = other ? ' ' : 'n';
	nulls[4] = since == DT_NOEND ? 'n' : ' ';
	nulls[5] = until == DT_NOEND ? 'n' : ' ';
	job_progress("storing", 0.97, 0, NULL);
	job_begin();
	state_execute("INSERT INTO _dupn.evaluation (job_id, model_id, version, other_version, since, until)"
				  " VALUES ($1, $2, $3, $4, $5, $6)", 6, types, values, nulls, NULL, NULL);
	if (version)
		state_execute("UPDATE _dupn.job SET version = $3 WHERE job_id OPERATOR(pg_catalog.=) $1",
					  3, types, values, nulls, NULL, NULL);
	metrics_store(metrics, model, 0, job->id);
	job_commit();
}

/* "click" auc 0.712 (0.704 to 0.720) against 0.690 for item_rate, ... */
static void
say_what_came(const Subject *subject, const EvaluateOptions *options, TimestampTz since, const Metrics *metrics)
{
	StringInfoData sentence;
	bool		any = false;

	initStringInfo(&sentence);
	if (subject->version)
		appendStringInfo(&sentence, "version %d ", subject->version);
	else
		appendStringInfoString(&sentence, "baselines ");
	appendStringInfoString(&sentence, evaluation_range(since, options->until));
	for (int t = 0; t < subject->model->n_tasks; t++)
	{
		const Metric *first;
		const Metric *best;

		metrics_main(metrics, subject->model, t, NULL, &first, &best);
		if (first == NULL)
			continue;
		if (subject->version == 0 && best && best->value > first->value)
			first = best;
		appendStringInfo(&sentence, "%s \"%s\" %s %.3f (%.3f to %.3f)", any ? "," : ":",
						 subject->model->task[t].name, first->metric, first->value, first->low, first->high);
		if (subject->version == 0)
			appendStringInfo(&sentence, " for %s", first->source);
		else if (best)
			appendStringInfo(&sentence, " against %.3f for %s", best->value, best->source);
		any = true;
	}
	job_note("%s", sentence.data);
}

/* ---------------- the jobs ---------------- */

void
evaluation_check_range(const EvaluateOptions *options)
{
	if (options->since != DT_NOEND && options->until != DT_NOEND && options->until <= options->since)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"until\" must be after \"since\"")));
}

/* Errors where an option makes no sense, whoever asks. */
static void
parse_options(EvaluateOptions *options, Jsonb *jsonb, const char *action)
{
	evaluate_options_parse(options, jsonb);
	evaluation_check_range(options);
	if (options->other_version != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"other_version\" does not apply to action \"%s\"", action),
				 errhint("Two versions are compared by dupn_compare.")));
}

Jsonb *
evaluation_options(Jsonb *options, const EvaluateOptions *parsed, int32 version)
{
	StringInfoData json;
	int			n;
	char	  **names;

	initStringInfo(&json);
	appendStringInfo(&json, "{\"version\": %d", version);
	if (parsed->since != DT_NOEND)
		appendStringInfo(&json, ", \"since\": \"%s\"", time_text(parsed->since));
	if (parsed->until != DT_NOEND)
		appendStringInfo(&json, ", \"until\": \"%s\"", time_text(parsed->until));
	if (parsed->events)
	{
		appendStringInfoString(&json, ", \"events\": ");
		escape_json(&json, find_relation(parsed->events));
	}
	if (parsed->samples)
	{
		names = jsonb_object_names(parsed->samples, &n);
		appendStringInfoString(&json, ", \"samples\": {");
		for (int i = 0; i < n; i++)
		{
			appendStringInfoString(&json, i > 0 ? ", " : "");
			escape_json(&json, names[i]);
			appendStringInfoString(&json, ": ");
			escape_json(&json, find_relation(relation_of(parsed->samples, names[i])));
		}
		appendStringInfoChar(&json, '}');
	}
	appendStringInfoChar(&json, '}');
	return jsonb_object_merge(options, DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data))));
}

Jsonb *
evaluate_check(Model *model, Jsonb *options)
{
	EvaluateOptions parsed;
	Subject		subject;

	parse_options(&parsed, options, "evaluate");
	subject_open(&subject, model->id, &parsed, parsed.version, false);
	return evaluation_options(options, &parsed, subject.version);
}

Jsonb *
baselines_check(Model *model, Jsonb *options)
{
	EvaluateOptions parsed;
	Subject		subject;

	parse_options(&parsed, options, "baselines");
	if (parsed.version != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"version\" does not apply to action \"baselines\""),
				 errhint("A version is judged, baselines beside it, by dupn_evaluate.")));
	subject_of_baselines(&subject, model->id, &parsed);
	return evaluation_options(options, &parsed, 0);
}

/* Judge the network, if there is one, and the baselines. */
static void
judge_all(Trainer *trainer, const Subject *subject, const EvaluateOptions *options, TimestampTz since,
		  Metrics *metrics)
{
	const Model *model = subject->model;
	Judged	   *judged = judged_make(trainer->data, trainer->moments, SPLIT_REPORT);
	bool		any = false;

	if (subject->image)
	{
		double		ratio[NN_MAX_TASKS];

		for (int t = 0; t < model->n_tasks; t++)
			add_network(&judged[t], model->task[t].kind, "model");
		job_progress("evaluating", 0.3, 0, NULL);
		served_evaluate(trainer, SPLIT_REPORT, judged, ratio);
	}
	for (int t = 0; t < model->n_tasks; t++)
	{
		int			first = metrics->n;

		if (judged[t].n == 0)
		{
			job_note("task \"%s\" has no samples %s", model->task[t].name,
					 evaluation_range(since, options->until));
			continue;
		}
		any = true;
		if (options->baselines || subject->image == NULL)
		{
			job_progress("baselines", 0.7, 0, NULL);
			baselines(trainer->data, trainer->moments, t, &judged[t]);
		}
		job_progress("intervals", 0.9, 0, NULL);
		judge(&judged[t], &model->task[t], (uint64) model->options.seed, metrics);

		/* baselines are not compared with the first of them */
		for (int i = first; subject->image == NULL && i < metrics->n; i++)
		{
			Metric	   *metric = &metrics->metric[i];

			metric->difference = metric->difference_low = metric->difference_high = NAN;
		}
	}
	if (!any)
		ereport(ERROR,
				(errcode(ERRCODE_NO_DATA_FOUND),
				 errmsg("there are no samples %s", evaluation_range(since, options->until)),
				 errhint("Name another range with \"since\" and \"until\".")));
	subject_note_trained(subject, trainer, judged);
}

static void
run(Job *job, bool version)
{
	MemoryContext context = AllocSetContextCreate(job->context, "dupn evaluation", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	EvaluateOptions options;
	Subject		subject;
	Metrics		metrics = {0};
	TimestampTz since;

	blas_probe();
	job_begin();
	MemoryContextSwitchTo(context);
	evaluate_options_parse(&options, job->options);
	if (version)
		subject_open(&subject, job->model_id, &options, options.version, true);
	else
		subject_of_baselines(&subject, job->model_id, &options);
	job_commit();

	since = options.since;
	if (since == DT_NOEND && version)
		since = subject_since(&subject, &subject);
	judge_all(subject_load(job, &subject, &options, since), &subject, &options, since, &metrics);
	evaluation_store(job, subject.model, subject.version, 0, since, options.until, &metrics);
	say_what_came(&subject, &options, since, &metrics);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}

void
evaluate_run(Job *job)
{
	run(job, true);
}

void
baselines_run(Job *job)
{
	run(job, false);
}
