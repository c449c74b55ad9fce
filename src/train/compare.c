/*-------------------------------------------------------------------------
 *
 * compare.c
 *	  A job that compares two versions on the same samples
 *
 * Each reads the samples by its own vocabularies, so they are loaded twice, one
 * after the other.  What both have judged is paired by user, moment and target;
 * what only one of them has (a class that the other does not know, rows that
 * came between) is left out.
 *
 *-------------------------------------------------------------------------
 */
#include "train/compare.h"

#include <math.h>

#include "lib/stringinfo.h"
#include "model/blas.h"
#include "train/report.h"
#include "utils/memutils.h"

#define PENDING (-1)

/* ---------------- one version ---------------- */

void
answers_keep(const Trainer *trainer, int t, Answers *answers)
{
	const Dataset *data = trainer->data;
	Judged	   *judged = &answers->judged[t];
	char	  **names = palloc(sizeof(char *) * Max(judged->classes, 1));
	SampleKey  *key = palloc0_array_huge(SampleKey, judged->n);

	for (int64 i = 0; i < judged->n; i++)
	{
		const Moment *moment = &trainer->moments->moment[judged->moment[i]];
		const int32 *items = moment->task < 0 ? data->events->item : data->rows[t].item;
		int32		item = items ? items[judged->target[i]] : -1;

		key[i] = (SampleKey) {data->users[moment->user].key, moment->time,
		item >= 0 ? data->catalogue.key[item] : CELL_NULL};
	}
	for (int c = 0; c < judged->classes; c++)
		names[c] = pstrdup(judged->class_name[c]);
	judged->class_name = names;
	answers->key[t] = key;
}

Answers *
answers_ask(Job *job, Subject *subject, const EvaluateOptions *options, TimestampTz since, const char *source,
			double begin)
{
	Trainer    *trainer = subject_load(job, subject, options, since);
	Answers    *answers = palloc0(sizeof(Answers));
	double		ratio[NN_MAX_TASKS];

	answers->source = pstrdup(source);
	answers->n_tasks = subject->model->n_tasks;
	answers->judged = judged_make(trainer->data, trainer->moments, SPLIT_REPORT);
	answers->task = palloc(sizeof(char *) * answers->n_tasks);
	for (int t = 0; t < answers->n_tasks; t++)
	{
		answers->task[t] = subject->model->task[t].name;
		add_network(&answers->judged[t], subject->model->task[t].kind, answers->source);
	}
	job_progress("evaluating", begin, 0, NULL);
	served_evaluate(trainer, SPLIT_REPORT, answers->judged, ratio);
	subject_note_trained(subject, trainer, answers->judged);
	for (int t = 0; t < answers->n_tasks; t++)
		answers_keep(trainer, t, answers);
	subject_unload(trainer);
	return answers;
}

/* ---------------- pairs ---------------- */

/* By user and time: what is before which; users are sorted by key. */
static int
compare_places(const SampleKey *a, const SampleKey *b)
{
	if (a->user != b->user)
		return a->user < b->user ? -1 : 1;
	return a->time < b->time ? -1 : a->time > b->time;
}

/*
 * Pair the samples [a, a_end) and [b, b_end) of one user and moment: by item,
 * and those that one of the versions does not know in the order of rows or
 * events.  Items that both know and only one was asked about are no pair:
 * negatives that were drawn.
 */
static void
pair_moment(const SampleKey *x, int64 a, int64 a_end, const SampleKey *y, int64 b, int64 b_end,
			int64 *other, bool *taken)
{
	for (int64 i = a; i < a_end; i++)
	{
		job_check();
		other[i] = PENDING;
		for (int64 j = b; x[i].item != CELL_NULL && j < b_end && other[i] == PENDING; j++)
			if (!taken[j] && y[j].item == x[i].item)
			{
				other[i] = j;
				taken[j] = true;
			}
	}
	for (int64 i = a; i < a_end; i++)
	{
		for (int64 j = b; j < b_end && other[i] == PENDING; j++)
			if (!taken[j] && (x[i].item == CELL_NULL || y[j].item == CELL_NULL))
			{
				other[i] = j;
				taken[j] = true;
			}
	}
}

/* For each sample of one the same of the other, PENDING: none. */
static int64 *
pair_samples(const SampleKey *x, int64 nx, const SampleKey *y, int64 ny)
{
	int64	   *other = palloc0_array_huge(int64, nx);
	bool	   *taken = palloc0_array_huge(bool, ny);
	int64		b = 0;
	int64		b_end;

	for (int64 a = 0, a_end; a < nx; a = a_end)
	{
		for (a_end = a + 1; a_end < nx && compare_places(&x[a_end], &x[a]) == 0; a_end++)
			;
		while (b < ny && compare_places(&y[b], &x[a]) < 0)
			b++;
		for (b_end = b; b_end < ny && compare_places(&y[b_end], &x[a]) == 0; b_end++)
			;
		pair_moment(x, a, a_end, y, b, b_end, other, taken);
		b = b_end;
	}
	pfree(taken);
	return other;
}

/* The samples of `one` that have a pair, and both versions' results on them. */
static void
keep_pairs(Judged *one, const Judged *two, const int64 *other)
{
	Results    *mine = &one->results[0];
	const Results *theirs = &two->results[0];
	Results    *paired = add_network(one, one->label_class ? NN_MULTICLASS : one->label ? NN_BINARY : NN_NEXT_ITEM,
									 theirs->source);
	int64		n = 0;

#define KEEP(array) \
	do { if (array) (array)[n] = (array)[i]; } while (0)
#define TAKE(array) \
	do { if (paired->array) paired->array[n] = theirs->array[other[i]]; } while (0)
	for (int64 i = 0; i < one->n; i++)
	{
		if (other[i] == PENDING || (one->label && one->label[i] != two->label[other[i]]))
			continue;
		KEEP(one->moment);
		KEEP(one->target);
		KEEP(one->user);
		KEEP(one->weight);
		KEEP(one->slices);
		KEEP(one->label);
		KEEP(one->label_class);
		KEEP(mine->rank);
		KEEP(mine->score);
		KEEP(mine->predicted);
		KEEP(mine->log_loss);
		TAKE(rank);
		TAKE(score);
		TAKE(predicted);
		TAKE(log_loss);
		n++;
	}
#undef KEEP
#undef TAKE
	one->n = n;
}

static bool
same_classes(const Judged *one, const Judged *two)
{
	if (one->classes != two->classes)
		return false;
	for (int c = 0; c < one->classes; c++)
		if (strcmp(one->class_name[c], two->class_name[c]) != 0)
			return false;
	return true;
}

int64
answers_compare(const ModelTask *task, uint64 seed, Answers *one, int t, const Answers *two, Metrics *metrics,
				const char **reason)
{
	Judged	   *judged = &one->judged[t];
	int64		all;
	int			u = 0;

	while (u < two->n_tasks && strcmp(two->task[u], task->name) != 0)
		u++;
	if (u == two->n_tasks)
	{
		*reason = psprintf("%s does not have it", two->source);
		return -1;
	}
	if (!same_classes(judged, &two->judged[u]))
	{
		*reason = "the two versions have different classes";
		return -1;
	}
	all = judged->n + two->judged[u].n;
	keep_pairs(judged, &two->judged[u],
			   pair_samples(one->key[t], judged->n, two->key[u], two->judged[u].n));
	judge(judged, task, seed, metrics);
	return all - 2 * judged->n;
}

/* ---------------- the job ---------------- */

static void
compare_task(const Subject *subject, Answers *one, const Answers *two, int t, Metrics *metrics)
{
	const ModelTask *task = &subject->model->task[t];
	const char *reason;
	int64		left_out = answers_compare(task, (uint64) subject->model->options.seed, one, t, two, metrics, &reason);

	if (left_out < 0)
		job_note("task \"%s\" is not compared: %s", task->name, reason);
	else if (left_out > 0)
		job_note("task \"%s\": " INT64_FORMAT " samples were judged by one of the versions alone and are left out",
				 task->name, left_out);
}

static const char *
verdict(const Metric *other)
{
	if (other->difference_low > 0)
		return "better";
	return other->difference_high < 0 ? "worse" : "no difference shown";
}

static void
say_what_came(const Subject *one, const Subject *two, TimestampTz since, TimestampTz until,
			  const Metrics *metrics)
{
	StringInfoData sentence;
	bool		any = false;

	initStringInfo(&sentence);
	appendStringInfo(&sentence, "version %d beside version %d %s", one->version, two->version,
					 evaluation_range(since, until));
	for (int t = 0; t < one->model->n_tasks; t++)
	{
		const Metric *first;
		const Metric *other;

		metrics_main(metrics, one->model, t, NULL, &first, &other);
		if (first == NULL || other == NULL)
			continue;
		appendStringInfo(&sentence, "%s \"%s\" %s %.3f and %.3f, difference %+.3f (%+.3f to %+.3f): %s",
						 any ? ";" : ":", one->model->task[t].name, first->metric, first->value, other->value,
						 other->difference, other->difference_low, other->difference_high, verdict(other));
		any = true;
	}
	job_note("%s", sentence.data);
}

Jsonb *
compare_check(Model *model, Jsonb *options)
{
	EvaluateOptions parsed;
	Subject		one;
	Subject		two;

	evaluate_options_parse(&parsed, options);
	if (parsed.other_version == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a comparison needs the option \"other_version\""),
				 errhint("The view dupn_versions lists the versions.")));
	evaluation_check_range(&parsed);
	subject_open(&one, model->id, &parsed, parsed.version, false);
	subject_open(&two, model->id, &parsed, parsed.other_version, false);
	return evaluation_options(options, &parsed, one.version);
}

void
compare_run(Job *job)
{
	MemoryContext context = AllocSetContextCreate(job->context, "dupn comparison", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	EvaluateOptions options;
	Subject		one;
	Subject		two;
	Answers    *first;
	Answers    *second;
	Metrics		metrics = {0};
	TimestampTz since;

	blas_probe();
	job_begin();
	MemoryContextSwitchTo(context);
	evaluate_options_parse(&options, job->options);
	subject_open(&one, job->model_id, &options, options.version, true);
	subject_open(&two, job->model_id, &options, options.other_version, true);
	job_commit();

	/* what is drawn by it is the same */
	two.model->options.seed = one.model->options.seed;
	since = options.since != DT_NOEND ? options.since : subject_since(&one, &two);
	first = answers_ask(job, &one, &options, since, psprintf("version %d", one.version), 0.4);
	second = answers_ask(job, &two, &options, since,
						 psprintf(two.version == one.version ? "version %d again" : "version %d", two.version), 0.8);
	job_progress("intervals", 0.9, 0, NULL);
	for (int t = 0; t < one.model->n_tasks; t++)
		compare_task(&one, first, second, t, &metrics);
	if (metrics.n == 0)
		ereport(ERROR,
				(errcode(ERRCODE_NO_DATA_FOUND),
				 errmsg("versions %d and %d have no samples in common %s", one.version, two.version,
						evaluation_range(since, options.until)),
				 errhint("Name another range with \"since\" and \"until\".")));
	evaluation_store(job, one.model, one.version, two.version, since, options.until, &metrics);
	say_what_came(&one, &two, since, options.until, &metrics);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}
