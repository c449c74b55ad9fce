/*-------------------------------------------------------------------------
 *
 * policy.c
 *	  Is what was trained to serve?
 *
 * With "publish": "better" a version waits that is worse than the one that
 * serves: by the main metric of the primary task, on samples of the hold-out
 * that neither was trained on and of users who decide no early stopping, paired
 * by user.  A night starts from the version that serves and has asked it already,
 * unless it cut new bands ("relearn_bands"); for any other training it is loaded
 * here, beside what was trained.  Nor does a version serve that cannot be judged,
 * that knows far fewer ids than the one before, or that is below what says the
 * same to everybody.
 *
 *-------------------------------------------------------------------------
 */
#include "train/transfer.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "train/compare.h"
#include "train/drift.h"
#include "train/job.h"
#include "train/report.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"

#define ENOUGH_REJECTIONS	7	/* in a row, until all is trained anew */
#define UNKNOWN_TIMES		2.0 /* the ids that the version before does not know, */
#define UNKNOWN_MORE		0.01	/* and as many more of all */

static Decision *
decide(Decision *decision, bool publish, const char *text)
{
	decision->publish = publish;
	decision->text = text;
	return decision;
}

static Decision *
reject(Decision *decision, const char *reason)
{
	decision->rejected = true;
	return decide(decision, false, psprintf("rejected: %s", reason));
}

/* ---------------- what needs no other version ---------------- */

static const Metric *
find_source(const Metrics *metrics, const Metric *first, const char *source)
{
	for (int i = 0; i < metrics->n; i++)
	{
		const Metric *m = &metrics->metric[i];

		if (m->task == first->task && strcmp(m->source, source) == 0 && strcmp(m->metric, first->metric) == 0 &&
			strcmp(m->slice, first->slice) == 0)
			return m;
	}
	return NULL;
}

/* Is it below what says the same to everybody, and not by chance?  Then the reason. */
static const char *
below_popularity(const Trainer *trainer, const Metrics *metrics, const Metric *first)
{
	const ModelTask *task = &trainer->model->task[first->task];
	const char *source;
	const Metric *other;
	double		value = NAN;
	double		most = NAN;		/* by how much it may be above, or is below */

	switch (task->kind)
	{
		case NN_NEXT_ITEM:
			source = "popularity";
			break;
		case NN_MULTICLASS:
			source = "majority";
			break;
		default:
			source = "item_rate";
			break;
	}
	other = find_source(metrics, first, source);
	if (other)
	{
		value = other->value;
		most = other->difference_high;
	}
	if (isnan(value) && (task->kind == NN_BINARY || task->kind == NN_RANK))
	{
		source = "a constant";
		value = 0.5;
		most = first->high - value;
	}
	if (!(first->value < value) || most >= 0)
		return NULL;
	return psprintf("\"%s\" %s %.3f is below %.3f for %s", task->name, first->metric, first->value, value, source);
}

/*
 * Does it know far fewer ids than the version before knew of its rows?  Then the
 * reason.  Where the vocabularies are those of a version and no night's, not to
 * publish helps nobody.
 */
static const char *
lost_ids(const Dataset *data)
{
	const Drift *drift = data->drift;

	if (!drift->same_rows || (data->base && drift->since == DT_NOBEGIN))
		return NULL;
	for (int i = 0; i < drift->n; i++)
	{
		const Sketch *sketch = &drift->sketch[i];
		double		now = sketch_unknown(sketch);
		double		before = sketch->previous_unknown;
		double		mean;
		double		deviation;

		if (isnan(now) || isnan(before) || now <= UNKNOWN_TIMES * before)
			continue;

		/* of few users it may be chance */
		mean = (now * sketch->users + before * sketch->previous_users) / (sketch->users + sketch->previous_users);
		deviation = sqrt(mean * (1 - mean) * (1.0 / sketch->users + 1.0 / Max(sketch->previous_users, 1)));
		if (now - before > UNKNOWN_MORE + 2 * deviation)
			return psprintf("%.1f %% of column \"%s\" are unknown, of version %d %.1f %% were", 100 * now, sketch->name,
							drift->previous, 100 * before);
	}
	return NULL;
}

/* ---------------- the version that serves ---------------- */

static int32
published_version(int32 model_id)
{
	Datum		version;
	bool		isnull = true;

	job_begin();
	(void) state_read("SELECT published FROM _dupn.model WHERE model_id OPERATOR(pg_catalog.=) $1",
					  1, (Oid[]) {INT4OID}, (Datum[]) {Int32GetDatum(model_id)}, NULL, &version, &isnull);
	job_commit();
	return isnull ? 0 : DatumGetInt32(version);
}

/* Errors of what does not fit: of the declaration and the relations of today. */
static bool
is_misfit(const ErrorData *error)
{
	switch (error->sqlerrcode)
	{
		case ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE:
		case ERRCODE_UNDEFINED_OBJECT:
		case ERRCODE_UNDEFINED_TABLE:
		case ERRCODE_UNDEFINED_COLUMN:
		case ERRCODE_DATATYPE_MISMATCH:
		case ERRCODE_INVALID_PARAMETER_VALUE:
		case ERRCODE_INSUFFICIENT_PRIVILEGE:
			return true;
	}
	return false;
}

typedef struct Opening
{
	Subject    *subject;
	int32		model_id;
	const EvaluateOptions *options;
} Opening;

static void
open_subject(void *arg)
{
	const Opening *opening = arg;

	subject_open(opening->subject, opening->model_id, opening->options, opening->options->version, true);
}

/* False, with the reason, if it does not fit the model any more. */
static bool
open_published(Subject *subject, const Job *job, const EvaluateOptions *options, const char **reason)
{
	MemoryContext context = CurrentMemoryContext;
	Opening		opening = {subject, job->model_id, options};
	ErrorData  *error;

	job_begin();
	MemoryContextSwitchTo(context);
	error = subtransaction_try(open_subject, &opening, true);
	job_commit();
	MemoryContextSwitchTo(context);
	if (error == NULL)
		return true;
	if (!is_misfit(error))
		ReThrowError(error);
	*reason = error->message;
	return false;
}

/*
 * From when on samples of a task are new to a version that knew all that there
 * were: some may be later than all events, and labels that matured since are of
 * earlier ones.
 */
static TimestampTz
samples_since(int32 model_id, int32 version, const ModelTask *task, TimestampTz trained)
{
	Oid			types[] = {INT4OID, INT4OID, TEXTOID};
	Datum		values[] = {Int32GetDatum(model_id), Int32GetDatum(version), CStringGetTextDatum(task->name)};
	Datum		until;
	bool		isnull = true;
	TimestampTz since;

	job_begin();
	(void) state_read("SELECT until FROM _dupn.drift WHERE model_id OPERATOR(pg_catalog.=) $1 AND version OPERATOR(pg_catalog.=) $2"
					  " AND \"group\" OPERATOR(pg_catalog.=) 'label' AND task OPERATOR(pg_catalog.=) $3",
					  3, types, values, NULL, &until, &isnull);
	job_commit();
	if (isnull)
		return trained;
	since = DatumGetTimestampTz(until) + 1;
	return task->options.matures > 0 ? since : Max(trained, since);
}

static bool
any_since(const Trainer *trainer, const Judged *judged, TimestampTz since)
{
	for (int64 i = 0; i < judged->n; i++)
		if (trainer->moments->moment[judged->moment[i]].time >= since)
			return true;
	return false;
}

/*
 * The published version's main metric and how much better what was trained is,
 * on the samples that both have judged and that it was not trained on; NULL,
 * with the reason, where there is none.
 */
static const Metric *
ask_published(Trainer *trainer, Judged *judged, int t, int32 published, const Metric **first, const char **reason)
{
	const ModelTask *task = &trainer->model->task[t];
	uint64		seed = (uint64) trainer->model->options.seed;
	char	   *name = task->name;
	Answers		own = {.source = "model", .n_tasks = trainer->model->n_tasks, .judged = judged};
	Answers    *theirs;
	Metrics		metrics = {0};
	EvaluateOptions options;
	Subject		subject;
	TimestampTz since;
	const Metric *other;

	evaluate_options_parse(&options, NULL);
	options.version = published;
	options.tasks = &name;
	options.n_tasks = 1;
	options.reported = true;
	options.evaluate_samples = trainer->model->options.evaluate_samples;
	if (!open_published(&subject, trainer->job, &options, reason))
		return NULL;
	since = subject.trained;
	if (subject.last_event && trainer->model->options.holdout == HOLDOUT_LAST_EVENT)
		since = DT_NOEND;
	else if (since == DT_NOBEGIN)
	{
		*reason = "it does not say until when it was trained";
		return NULL;
	}
	if (since != DT_NOEND && subject.model->options.refit)
		since = samples_since(trainer->model->id, published, task, since);
	if (since != DT_NOEND && !any_since(trainer, &judged[t], since))
	{
		*reason = "it was trained on all samples that are held out";
		return NULL;
	}

	/* as much again is read, beside which this must not be more than is allowed */
	(void) column_memory_reserve(trainer->data->memory, MemoryContextMemAllocated(trainer->data->context, true));

	/* what is drawn by it is the same */
	subject.model->options.seed = trainer->model->options.seed;
	theirs = answers_ask(trainer->job, &subject, &options, since, psprintf("version %d", published), 0.9);
	answers_keep(trainer, t, &own);
	judged[t].n_results = 1;
	if (answers_compare(task, seed, &own, t, theirs, &metrics, reason) < 0)
		return NULL;
	metrics_main(&metrics, trainer->model, t, NULL, first, &other);
	if (other == NULL)
		*reason = "they have no samples in common";
	return other;
}

/* ---------------- the decision ---------------- */

/* "click" auc 0.701 against 0.712 of version 7 (difference -0.011, -0.020 to -0.002) */
static char *
figures(const Trainer *trainer, int t, const Metric *first, const Metric *other, int32 published)
{
	return psprintf("\"%s\" %s %.3f against %.3f of version %d (difference %+.3f, %+.3f to %+.3f)",
					trainer->model->task[t].name, first->metric, first->value, other->value, published,
					other->difference, other->difference_low, other->difference_high);
}

/* Nothing is worse than nothing, but it may be that nothing was learned. */
static Decision *
decide_first(const Trainer *trainer, int t, const Metrics *metrics, Decision *decision)
{
	const char *name = trainer->model->task[t].name;
	const Metric *first;
	const Metric *best;

	metrics_main(metrics, trainer->model, t, NULL, &first, &best);
	if (first != NULL && (best == NULL || first->value > best->value))
		return decide(decision, true, "published");
	decision->noted = true;
	decision->text = first == NULL ? psprintf("published: the first version, though task \"%s\" could not be judged", name) :
		psprintf("published: the first version, though \"%s\" %s %.3f does not beat %.3f for %s", name,
				 first->metric, first->value, best->value, best->source);
	ereport(WARNING,
			(errmsg("dupn: model \"%s\": %s", trainer->model->name, decision->text),
			 errhint("See dupn_baselines.")));
	job_note("WARNING: %s", decision->text);
	return decide(decision, true, decision->text);
}

static Decision *
decide_better(Trainer *trainer, Judged *judged, const Metrics *metrics, Decision *decision)
{
	const Transfer *transfer = trainer->transfer;
	const ModelOptions *options = &trainer->model->options;
	int			t = model_find_task(trainer->model, transfer->primary);
	bool		from_published = trainer->data->base && trainer->data->base->version == decision->than;
	const Metric *first = NULL;
	const Metric *other = NULL;
	const char *reason = NULL;

	if (t < 0)
		return decide(decision, false, psprintf("waits: it lacks task \"%s\", which decides", transfer->primary));
	if (decision->than == 0)
		return decide_first(trainer, t, metrics, decision);
	if (!transfer->learns[t])
		return from_published ?
			decide(decision, true, psprintf("published: \"%s\" is that of version %d", transfer->primary, decision->than)) :
			decide(decision, false, psprintf("waits: \"%s\" is not that of version %d, which serves", transfer->primary, decision->than));

	metrics_main(metrics, trainer->model, t, SOURCE_PARENT, &first, &other);
	if (first == NULL && (transfer->night == NULL || judged[t].n > 0))
		return reject(decision, psprintf("task \"%s\" could not be judged", transfer->primary));
	if ((reason = lost_ids(trainer->data)) != NULL ||
		(first && (reason = below_popularity(trainer, metrics, first)) != NULL))
		return reject(decision, reason);

	/* not every night has samples of it, least where their labels take long to be known */
	if (first == NULL)
		reason = psprintf("task \"%s\" has no samples in the hold-out", transfer->primary);
	else if (!from_published || other == NULL)
		other = ask_published(trainer, judged, t, decision->than, &first, &reason);
	if (other == NULL)
	{
		reason = psprintf("not compared with version %d: %s", decision->than, reason);
		job_note("%s", reason);
		decision->noted = true;
		return decide(decision, true, psprintf("published: %s", reason));
	}
	reason = figures(trainer, t, first, other, decision->than);

	/* of few samples a drop may well be a rise: a night has a day's, and half of its hold-out is reported */
	if (other->difference < -options->tolerance && other->difference_high < options->tolerance)
		return reject(decision, psprintf("%s: more than the tolerance of %g", reason, options->tolerance));
	if (other->difference_high < 0)
		return reject(decision, psprintf("%s: significant", reason));
	return decide(decision, true, psprintf("published: %s", reason));
}

Decision *
policy_decide(Trainer *trainer, Judged *judged, const Metrics *metrics)
{
	Decision   *decision = palloc0(sizeof(Decision));

	switch (trainer->model->options.publish)
	{
		case PUBLISH_ALWAYS:
			return decide(decision, true, "published");
		case PUBLISH_NEVER:
			return decide(decision, false, "waits");
		case PUBLISH_BETTER:
			break;
	}
	decision->compared = true;
	decision->than = published_version(trainer->model->id);
	return decide_better(trainer, judged, metrics, decision);
}

/* ---------------- rejections in a row ---------------- */

void
policy_rejections(const Trainer *trainer, int rejections)
{
	const Model *model = trainer->model;
	const char *text;
	int64		next;

	if (rejections == 0 || rejections % ENOUGH_REJECTIONS != 0)
		return;
	text = psprintf("%d versions in a row were rejected", rejections);
	ereport(WARNING,
			(errmsg("dupn: model \"%s\": %s", model->name, text),
			 errhint("Their reasons are in dupn_versions; until one is published, an older version serves.")));

	/* what started anew and was no better would start anew again and again */
	if (trainer->transfer->mode == TRAIN_FULL)
	{
		job_note("WARNING: %s, this one trained from nothing; see dupn_versions", text);
		return;
	}
	next = job_enqueue_next(trainer->job, "train", DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum("{}"))));
	job_note("WARNING: %s; job " INT64_FORMAT " trains all from nothing", text, next);
}
