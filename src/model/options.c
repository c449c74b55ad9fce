/*-------------------------------------------------------------------------
 *
 * options.c
 *	  Options of a model, of a task and of jobs: one table each
 *
 * A row of a table says where a value goes, what it may be, what it is when
 * it is not given, and in one line what it means; the line is the hint of
 * every error about it.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include <math.h>

#include "hint.h"
#include "model/options.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

typedef enum OptionType
{
	OPTION_BOOL,				/* bool */
	OPTION_FLAG,				/* bool: one of two words, false is the first */
	OPTION_CHOICE,				/* int: index of a word */
	OPTION_POLICY,				/* the same; true is the first word and false the last */
	OPTION_INT,					/* int */
	OPTION_INT64,				/* int64 */
	OPTION_NUMBER,				/* double */
	OPTION_INTS,				/* int[] and a count */
	OPTION_NAME,				/* char * */
	OPTION_TABLE,				/* char * */
	OPTION_TASK,				/* char * */
	OPTION_NAMES,				/* char ** and a count */
	OPTION_OBJECT,				/* Jsonb * */
	OPTION_WEIGHTS,				/* NamedWeights * */
	OPTION_TIME,				/* TimestampTz: DT_NOEND when it is not given */
	OPTION_INTERVAL,			/* int64: microseconds */
	OPTION_HOLDOUT				/* ModelOptions.holdout */
} OptionType;

#define NO_COUNT	((size_t) -1)
#define LARGEST		9007199254740991.0	/* 2^53 - 1: exact as a JSON number */

typedef struct Option
{
	const char *name;
	OptionType	type;
	const char *help;
	size_t		offset;
	double		value;			/* default; -1 as the count of a list: not given */
	double		min,
				max;			/* of numbers, and of each entry of a list */
	int			min_entries,
				max_entries;
	size_t		count;			/* offset of a list's count, NO_COUNT: fixed length */
	const int  *list;			/* default of a list of fixed length */
	const char *word[4];
	unsigned	kinds;			/* of tasks it applies to */
} Option;

#define AT(field)	.offset = offsetof(ModelOptions, field)
#define FIXED		.count = NO_COUNT

static const int default_attention[] = {128, 64};

static const Option model_table[] = {
	{"hidden", OPTION_INT, "width of the recurrent state", AT(hidden), 128, 1, 1024},
	{"pooling", OPTION_CHOICE, "how the states of a user's events become one vector", AT(pooling), NN_POOL_ATTENTION, .word = {"attention", "last", "mean", "max"}},
	{"attention", OPTION_INTS, "widths of the attention's two hidden layers", AT(attention), 0, 1, 1024, 2, 2, FIXED, .list = default_attention},
	{"max_events", OPTION_INT, "events of a user that are looked at, the latest ones", AT(max_events), 100, 1, 1000},
	{"bidirectional", OPTION_BOOL, "a second recurrent pass from the newest event to the oldest", AT(bidirectional), false},
	{"item_encoding", OPTION_FLAG, "whether item columns are put side by side, or added up as they are where next_item is the only task", AT(item_sum), false, .word = {"concat", "sum"}},
	{"item_dim", OPTION_INT, "width of an added-up item encoding, 0 for the default", AT(item_dim), 0, 0, 1024},
	{"item_id", OPTION_BOOL, "whether items have embeddings of their own, beside those of their other columns", AT(item_id), true},
	{"time", OPTION_FLAG, "time as gaps and a recency bias, or as in the paper", AT(time_paper), false, .word = {"gap", "paper"}},
	{"activity", OPTION_BOOL, "how many events the window holds, as a profile feature", AT(activity), true},
	{"context_in_vector", OPTION_BOOL, "whether the context is part of the user vector", AT(context_in_vector), false},
	{"event_context", OPTION_BOOL, "whether the context columns that events have say what was asked before the event", AT(event_context), false},
	{"experts", OPTION_INT, "layers between the user vector and the tasks, of which each task takes its own mixture: 0, or 2 to 16", AT(experts), 0, 0, NN_MAX_EXPERTS},
	{"expert_dim", OPTION_INT, "width of the experts, 0 for that of the user vector", AT(expert_dim), 0, 0, 1024},
	{"encodings", OPTION_OBJECT, "how columns are read: {column: \"id\", \"bands\", {\"hash\": n}, {\"bands\": n}, {\"words\": text search configuration} or {\"table\": item column}}", AT(encodings)},
	{"embeddings", OPTION_OBJECT, "tables of vectors to start with: {column: {\"table\": schema.table, \"key\": column, \"column\": column, \"frozen\": true or false}}", AT(embeddings)},
	{"widths", OPTION_OBJECT, "widths of columns' embeddings: {column: width}", AT(widths)},
	{"properties", OPTION_CHOICE, "where behaviour columns and time enter", AT(properties), NN_USE_BOTH, .word = {"none", "gates", "attention", "both"}},
	{"uses", OPTION_OBJECT, "where one of them enters: {column: \"none\", \"gates\", \"attention\" or \"both\"}", AT(uses)},
	{"min_count", OPTION_INT64, "values seen less often are read as unknown", AT(min_count), 2, 1, 1e9},
	{"bands", OPTION_INT, "quantile bands that a number is cut into", AT(bands), 20, 2, 1000},

	{"dropout", OPTION_NUMBER, "dropout on item encodings and user vectors", AT(dropout), .3, 0, .95},
	{"hidden_dropout", OPTION_NUMBER, "dropout after the hidden layers of tasks", AT(hidden_dropout), .2, 0, .95},
	{"id_dropout", OPTION_NUMBER, "share of item keys read as unknown in training, so that new items work", AT(id_dropout), .05, 0, .95},
	{"profile_dropout", OPTION_NUMBER, "share of profiles left out in training", AT(profile_dropout), .1, 0, .95},
	{"context_dropout", OPTION_NUMBER, "share of contexts left out in training", AT(context_dropout), .3, 0, .95},
	{"optimizer", OPTION_CHOICE, "how weights are moved", AT(optimizer), NN_ADAM, .word = {"adam", "adagrad"}},
	{"learning_rate", OPTION_NUMBER, "size of a step", AT(learning_rate), 3e-3, 1e-8, 1},
	{"decay", OPTION_NUMBER, "factor on the learning rate after every epoch", AT(decay), .8, .01, 1},
	{"l2", OPTION_NUMBER, "pull of weights towards zero", AT(l2), 0, 0, 1},
	{"clip", OPTION_NUMBER, "largest norm of a gradient, 0 for any", AT(clip), 5, 0, 1e6},
	{"batch_size", OPTION_INT, "user vectors of a step", AT(batch_size), 256, 1, 65536},
	{"epochs", OPTION_INT, "passes over the training data, at most", AT(epochs), 20, 1, 10000},
	{"patience", OPTION_INT, "epochs without improvement before training stops", AT(patience), 2, 1, 10000},
	{"stopping", OPTION_FLAG, "whether training ends when the tasks' mean no longer improves, or goes on for the tasks that still do", AT(stopping_task), false, .word = {"mean", "task"}},
	{"task_weights", OPTION_FLAG, "whether the weights of tasks are those declared, or times what is learned from their losses", AT(learned_weights), false, .word = {"fixed", "learned"}},
	{"task_temperature", OPTION_NUMBER, "1: tasks are visited in proportion to their samples; more: small ones more often", AT(task_temperature), 1, 1, 100},
	{"compare_alone", OPTION_BOOL, "whether each task is trained alone first, which takes a training each, to tell whether it is worse together", AT(compare_alone), false},
	{"holdout", OPTION_HOLDOUT, "what is kept for judging: the latest share of samples (more than 0, less than 0.9), \"last_event\", or a time from which on", AT(holdout)},
	{"holdout_min_events", OPTION_INT, "users with fewer events are not judged", AT(holdout_min_events), 1, 1, 1e9},
	{"refit", OPTION_BOOL, "whether a last pass learns from what was held out", AT(refit), true},
	{"calibrate", OPTION_BOOL, "whether the tasks' logits are scaled to be calibrated probabilities", AT(calibrate), true},
	{"lateness", OPTION_INTERVAL, "how late rows may come: so long before the newest row ends what is trained on", AT(lateness), 0, .max = 1e3},
	{"full_every", OPTION_INT, "nights from one full training to the next, 0 for none", AT(full_every), 30, 0, 100000},
	{"replay", OPTION_NUMBER, "older samples that a night trains on again, for each new one", AT(replay), 0, 0, 10},
	{"count_expiry", OPTION_INTERVAL, "how long nights remember how often an id was seen that is still read as unknown", AT(count_expiry), 30 * SECS_PER_DAY, .max = 1e4},
	{"forget", OPTION_INTERVAL, "after how long without being seen an id loses its embedding, 0 for never", AT(forget), 0, .max = 1e4},
	{"relearn_bands", OPTION_BOOL, "whether nights cut numbers into new bands", AT(relearn_bands), false},
	{"seed", OPTION_INT64, "start of the random numbers", AT(seed), 1, 0, LARGEST},
	{"workers", OPTION_INT, "processes that do a job together", AT(workers), 1, 1, 16},
	{"evaluate_samples", OPTION_INT, "samples of a task that are judged, at most", AT(evaluate_samples), 50000, 1, INT_MAX},

	{"max_runtime", OPTION_INTERVAL, "how long a job may take before it is ended, 0 for any time", AT(max_runtime), 0, .max = 365},
	{"publish", OPTION_POLICY, "whether a trained version serves at once, unless it is worse than the one that serves, or waits for dupn_publish", AT(publish), PUBLISH_BETTER, .word = {"always", "better", "never"}},
	{"primary", OPTION_TASK, "task that decides whether a version is worse, without it the model's first", AT(primary)},
	{"tolerance", OPTION_NUMBER, "how much lower its main metric may be", AT(tolerance), .01, 0, 1},
	{"drift_limit", OPTION_NUMBER, "how far (PSI) a column may move from the version before until the job says so", AT(drift_limit), .25, 0, 1e6},
	{"rebase", OPTION_INT, "differences that may follow one another before a version is stored whole again, 0: each is", AT(rebase), 30, 0, 100},
	{"keep_versions", OPTION_INT, "newest versions that are kept, with those that are needed; 0 for any number", AT(keep_versions), 30, 0, INT_MAX},
	{"keep_days", OPTION_NUMBER, "days that older versions are kept beside them; 0 for none, or with \"keep_versions\" 0 for ever", AT(keep_days), 0, 0, 1e5},
	{"keep_optimizer", OPTION_BOOL, "whether what the optimizer remembers is kept with the newest version, so that a training goes on from it", AT(keep_optimizer), true},
	{"cache_items", OPTION_BOOL, "whether what scores take from items alone is kept for the whole catalogue, in a mapped file", AT(cache_items), false},
};

#undef AT
#define AT(field)	.offset = offsetof(TaskOptions, field)
#define COUNT(field) .count = offsetof(TaskOptions, field)
#define BINARY		(1 << NN_BINARY)
#define RANK		(1 << NN_RANK)
#define MULTICLASS	(1 << NN_MULTICLASS)
#define NEXT_ITEM	(1 << NN_NEXT_ITEM)
#define SAMPLES		(BINARY | RANK | MULTICLASS)
#define FOR(set)	.kinds = (set)

static const Option task_table[] = {
	{"weight", OPTION_NUMBER, "weight of the task's loss among the tasks", AT(weight), 1, 1e-6, 1e6, FOR(SAMPLES | NEXT_ITEM)},
	{"calibrate", OPTION_BOOL, "whether the task's logits are scaled to be calibrated probabilities", AT(calibrate), true, FOR(SAMPLES)},
	{"hidden", OPTION_INTS, "widths of the task's hidden layers", AT(hidden), -1, 1, 1024, 0, NN_MAX_LAYERS, COUNT(n_hidden), FOR(SAMPLES)},
	{"candidate", OPTION_NAMES, "item columns that describe the candidate", AT(candidate), -1, .max_entries = NN_MAX_FEATURES, COUNT(n_candidate), FOR(BINARY)},
	{"things", OPTION_NAMES, "columns of the samples that describe a candidate of its own, beside or instead of item columns", AT(things), -1, .min_entries = 1, .max_entries = NN_MAX_FEATURES, COUNT(n_things), FOR(BINARY)},
	{"candidate_dim", OPTION_INT, "width of the candidate's encoding", AT(candidate_dim), 128, 1, 1024, FOR(BINARY)},
	{"product", OPTION_BOOL, "a term for how well user and candidate agree", AT(product), true, FOR(BINARY)},
	{"levels", OPTION_INT, "levels that a numeric label is cut into", AT(levels), 7, 2, 100, FOR(MULTICLASS)},
	{"within", OPTION_NAME, "column within whose values the levels are cut", AT(within), FOR(MULTICLASS)},
	{"where", OPTION_OBJECT, "which events count: {column: value or [values]}", AT(where), FOR(BINARY | MULTICLASS | NEXT_ITEM)},
	{"repeat", OPTION_BOOL, "a term for items the user had before", AT(repeat), true, FOR(NEXT_ITEM)},
	{"memory", OPTION_BOOL, "a term for items that came after those of the window", AT(memory), true, FOR(NEXT_ITEM)},
	{"exclude_seen", OPTION_BOOL, "whether metrics rank only items new to the user", AT(exclude_seen), false, FOR(NEXT_ITEM)},
	{"k", OPTION_INTS, "lengths of lists that metrics look at", AT(k), -1, 1, 1000, 1, 8, COUNT(n_k), FOR(NEXT_ITEM)},
	{"time_column", OPTION_NAME, "column of the samples with their time", AT(time_column), FOR(SAMPLES)},
	{"user_column", OPTION_NAME, "column of the samples with their user", AT(user_column), FOR(SAMPLES)},
	{"weight_column", OPTION_NAME, "column of the samples with their weight", AT(weight_column), FOR(SAMPLES)},
	{"position_column", OPTION_NAME, "column of the samples with the place each was shown at, from 0; what places do is learned, and left out of scores", AT(position_column), FOR(BINARY | RANK)},
	{"pairwise", OPTION_NUMBER, "share of the loss that compares in pairs what was offered together", AT(pairwise), 0, 0, 1, FOR(BINARY | RANK)},
	{"group_column", OPTION_NAME, "column of the samples that says what was offered together", AT(group_column), FOR(BINARY | RANK)},
	{"label_weights", OPTION_WEIGHTS, "weights of labels or classes in the loss: {\"true\": 5}; others have 1", AT(label_weights), .max = 1e6, FOR(SAMPLES)},
	{"type_weights", OPTION_WEIGHTS, "weights of target events in the loss by behavior type: {\"buy\": 5, \"cart\": 2}; others have 1", AT(type_weights), .max = 1e6, FOR(BINARY | MULTICLASS | NEXT_ITEM)},
	{"negatives", OPTION_INT, "unseen items drawn for each positive, where what was not taken is not known", AT(negatives), 0, 0, 100, FOR(BINARY)},
	{"embargo", OPTION_INTERVAL, "how long before a sample events are hidden from it, since they may tell its label", AT(embargo), .max = 1e4, FOR(SAMPLES)},
	{"matures", OPTION_INTERVAL, "how long after a sample its label is known", AT(matures), .max = 1e4, FOR(SAMPLES)},
};

const char *const train_mode_name[] = {"full", "alone", "head", "finetune", "nightly"};

#undef AT
#undef COUNT
#define AT(field)	.offset = offsetof(TrainOptions, field)
#define COUNT(field) .count = offsetof(TrainOptions, field)

static const Option train_table[] = {
	{"mode", OPTION_CHOICE, "all tasks from nothing, some alone, heads on a frozen version, or everything on from a version", AT(mode), TRAIN_FULL, .word = {"full", "alone", "head", "finetune"}},
	{"tasks", OPTION_NAMES, "the tasks that a training is about", AT(tasks), -1, .min_entries = 1, .max_entries = NN_MAX_TASKS, COUNT(n_tasks)},
	{"version", OPTION_INT, "the version that a training starts from, 0 for the published one", AT(version), 0, 0, INT_MAX},
};

#undef AT
#define AT(field)	.offset = offsetof(JobOptions, field)

static const Option job_table[] = {
	{"when_running", OPTION_CHOICE, "what a job does while another of the same model and action is queued or running", AT(when_running), WHEN_DEFAULT, .word = {"queue", "skip"}},
	{"retries", OPTION_INT, "how often a job that failed is tried again", AT(retries), -1, 0, 100},
	{"retry_delay", OPTION_INTERVAL, "how long after its failure a job is due again, twice as long after each further one, up to 6 hours", AT(retry_delay), 5 * 60, .max = .25},
	{"max_runtime", OPTION_INTERVAL, "how long a job may take before it is ended, 0 for any time", AT(max_runtime), -1, .max = 365},
};

#undef AT
#define AT(field)	.offset = offsetof(ImportOptions, field)

static const Option import_table[] = {
	{"publish", OPTION_BOOL, "whether an imported version serves at once", AT(publish), false},
};

#undef AT
#define AT(field)	.offset = offsetof(RefreshOptions, field)

static const Option refresh_table[] = {
	{"target", OPTION_TABLE, "the table that the vectors are written to", AT(target)},
	{"version", OPTION_INT, "the version that computes them, 0 for the published one", AT(version), 0, 0, INT_MAX},
	{"what", OPTION_FLAG, "whether vectors of all users or of all items are written", AT(items), false, .word = {"users", "items"}},
	{"as_of", OPTION_TIME, "the moment they are computed for; without it the present, or that of a refresh that was interrupted", AT(as_of)},
	{"changed", OPTION_BOOL, "whether only users with new events, or new items, are written where the table has the version already", AT(changed), false},
	{"lateness", OPTION_INTERVAL, "how long after its time an event may arrive for \"changed\" to see it; without it the model's, at least an hour", AT(lateness), -1, .max = 1e4},
	{"max_age", OPTION_INTERVAL, "age from which a row is written anew even if nothing has changed, 0: none", AT(max_age), .max = 1e4},
	{"keep_old", OPTION_BOOL, "whether rows of other versions stay", AT(keep_old), false},
	{"rows_per_second", OPTION_INT, "rows that are written a second, at most, 0: no limit", AT(rows_per_second), 0, 0, INT_MAX},
	{"workers", OPTION_INT, "processes that share the users out, at most", AT(workers), 2, 1, 16},
};

#undef AT
#define AT(field)	.offset = offsetof(EvaluateOptions, field)

static const Option evaluate_table[] = {
	{"version", OPTION_INT, "the version that is judged, 0 for the published one", AT(version), 0, 0, INT_MAX},
	{"other_version", OPTION_INT, "the version that it is compared with", AT(other_version), 0, 0, INT_MAX},
	{"since", OPTION_TIME, "samples at this moment or later are judged; without it, those that the version was not trained on", AT(since)},
	{"until", OPTION_TIME, "samples before this moment are judged", AT(until)},
	{"tasks", OPTION_NAMES, "tasks that are judged, without it all", AT(tasks), -1, .min_entries = 1, .max_entries = NN_MAX_TASKS, .count = offsetof(EvaluateOptions, n_tasks)},
	{"events", OPTION_TABLE, "a relation with the columns of the model's events that is read instead", AT(events)},
	{"samples", OPTION_OBJECT, "relations that are read instead of tasks' samples: {task: relation}", AT(samples)},
	{"users", OPTION_FLAG, "all users, or those that training reports: not the half that decides early stopping", AT(reported), false, .word = {"all", "reported"}},
	{"baselines", OPTION_BOOL, "whether simple baselines are judged beside it", AT(baselines), true},
	{"evaluate_samples", OPTION_INT, "samples of a task that are judged, at most", AT(evaluate_samples), 0, 0, INT_MAX},
};

#define FIELD(base, offset, type)	(*(type *) ((char *) (base) + (offset)))

/* ---------------- errors ---------------- */

static void pg_attribute_noreturn()
wrong_type(const Option *option, const char *wanted)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("option \"%s\" must be %s", option->name, wanted),
			 errhint("%s: %s.", option->name, option->help)));
}

static double
checked_number(const Option *option, const JsonbValue *value, bool whole, const char *wanted)
{
	double		number;

	if (value->type != jbvNumeric)
		wrong_type(option, wanted);

	/* a number beyond float8 becomes an infinity, which no range holds */
	number = DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow,
												NumericGetDatum(value->val.numeric)));
	if (whole && isfinite(number) && number != floor(number))
		wrong_type(option, wanted);
	if (!(number >= option->min && number <= option->max))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"%s\" must be between %.16g and %.16g",
						option->name, option->min, option->max),
				 errhint("%s: %s.", option->name, option->help)));
	return number;
}

/* ---------------- values ---------------- */

static int
word_index(const Option *option, const JsonbValue *value)
{
	StringInfoData words;

	if (value->type == jbvString)
		for (int i = 0; i < lengthof(option->word) && option->word[i] != NULL; i++)
			if (value->val.string.len == strlen(option->word[i]) &&
				memcmp(value->val.string.val, option->word[i], value->val.string.len) == 0)
				return i;
	initStringInfo(&words);
	for (int i = 0; i < lengthof(option->word) && option->word[i] != NULL; i++)
	{
		bool		last = i + 1 == lengthof(option->word) || option->word[i + 1] == NULL;

		appendStringInfo(&words, "%s\"%s\"", i == 0 ? "" : last ? " or " : ", ", option->word[i]);
	}
	wrong_type(option, words.data);
}

/* A word, or whether the first of them or the last. */
static int
policy_index(const Option *option, const JsonbValue *value)
{
	int			last = 0;

	if (value->type != jbvBool)
		return word_index(option, value);
	while (last + 1 < lengthof(option->word) && option->word[last + 1] != NULL)
		last++;
	return value->val.boolean ? 0 : last;
}

static char *
name_value(const Option *option, const JsonbValue *value, const char *wanted)
{
	if (value->type != jbvString || value->val.string.len == 0)
		wrong_type(option, wanted);
	return pnstrdup(value->val.string.val, value->val.string.len);
}

static void
list_value(const Option *option, void *base, const JsonbValue *value)
{
	JsonbContainer *array = value->type == jbvBinary ? value->val.binary.data : NULL;
	bool		names = option->type == OPTION_NAMES;
	const char *wanted;
	int			n;

	if (option->count == NO_COUNT)
		wanted = psprintf("an array of %d whole numbers", option->max_entries);
	else
		wanted = psprintf("an array of %d to %d %s", option->min_entries, option->max_entries,
						  names ? "names" : "whole numbers");
	if (array == NULL || !JsonContainerIsArray(array) || JsonContainerIsScalar(array))
		wrong_type(option, wanted);
	n = JsonContainerSize(array);
	if (n < option->min_entries || n > option->max_entries)
		wrong_type(option, wanted);
	if (names)
		FIELD(base, option->offset, char **) = palloc0(sizeof(char *) * Max(n, 1));

	for (int i = 0; i < n; i++)
	{
		JsonbValue *entry = getIthJsonbValueFromContainer(array, i);

		if (names)
			FIELD(base, option->offset, char **)[i] = name_value(option, entry, wanted);
		else
			(&FIELD(base, option->offset, int))[i] = (int) checked_number(option, entry, true, wanted);
	}
	if (option->count != NO_COUNT)
		FIELD(base, option->count, int) = n;
}

static void
time_context(void *arg)
{
	errcontext("option \"%s\": %s", ((const Option *) arg)->name, ((const Option *) arg)->help);
}

static TimestampTz
time_value(const Option *option, char *text)
{
	ErrorContextCallback callback = {error_context_stack, time_context, (void *) option};
	TimestampTz time;

	error_context_stack = &callback;
	time = DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in, CStringGetDatum(text),
												   ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
	error_context_stack = callback.previous;
	if (TIMESTAMP_NOT_FINITE(time))
		wrong_type(option, "a finite time");
	return time;
}

/* An interval as text, or seconds; max is in days, its default in seconds. */
static int64
interval_value(const Option *option, const JsonbValue *value)
{
	ErrorContextCallback callback = {error_context_stack, time_context, (void *) option};
	double		seconds;

	if (value->type == jbvNumeric)
	{
		Option		any = *option;

		any.min = -INFINITY;
		any.max = INFINITY;
		seconds = checked_number(&any, value, false, "");
	}
	else
	{
		char	   *text = name_value(option, value, "an interval as text, or a number of seconds");
		Interval   *interval;

		error_context_stack = &callback;
		interval = DatumGetIntervalP(DirectFunctionCall3(interval_in, CStringGetDatum(text),
														 ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
		error_context_stack = callback.previous;
		seconds = (double) interval->time / USECS_PER_SEC +
			((double) interval->month * DAYS_PER_MONTH + interval->day) * SECS_PER_DAY;
	}
	if (!(seconds >= 0 && seconds <= option->max * SECS_PER_DAY))
		wrong_type(option, option->max < 1 ? psprintf("between 0 and %.0f hours", option->max * HOURS_PER_DAY) :
				   psprintf("between 0 and %.0f days", option->max));
	return (int64) rint(seconds * USECS_PER_SEC);
}

static NamedWeights *
weights_value(const Option *option, const JsonbValue *value)
{
	const char *wanted = "a JSON object of weights, none below zero and not all zero";
	NamedWeights *weights = palloc0(sizeof(NamedWeights));
	Jsonb	   *object;
	bool		any = false;

	if (value->type != jbvBinary || !JsonContainerIsObject(value->val.binary.data))
		wrong_type(option, wanted);
	object = JsonbValueToJsonb((JsonbValue *) value);
	weights->name = jsonb_object_names(object, &weights->n);
	weights->weight = palloc(sizeof(double) * Max(weights->n, 1));
	for (int i = 0; i < weights->n; i++)
	{
		JsonbValue *weight = getKeyJsonValueFromContainer(&object->root, weights->name[i],
														  strlen(weights->name[i]), NULL);

		if (weight->type != jbvNumeric)
			wrong_type(option, wanted);
		weights->weight[i] = checked_number(option, weight, false, wanted);
		any = any || weights->weight[i] > 0;
	}
	if (!any)
		wrong_type(option, wanted);
	return weights;
}

static void
holdout_value(const Option *option, ModelOptions *options, const JsonbValue *value)
{
	if (value->type == jbvNumeric)
	{
		Option		share = *option;

		share.min = -INFINITY;
		share.max = INFINITY;
		options->holdout = HOLDOUT_SHARE;
		options->holdout_share = checked_number(&share, value, false, "");
		if (!(options->holdout_share > 0 && options->holdout_share < .9))
			wrong_type(option, "greater than 0 and less than 0.9, \"last_event\", or a time");
	}
	else if (value->type == jbvString)
	{
		char	   *text = pnstrdup(value->val.string.val, value->val.string.len);

		if (strcmp(text, "last_event") == 0)
			options->holdout = HOLDOUT_LAST_EVENT;
		else
		{
			options->holdout = HOLDOUT_TIME;
			options->holdout_time = time_value(option, text);
		}
	}
	else
		wrong_type(option, "greater than 0 and less than 0.9, \"last_event\", or a time");
}

static void
set_default(const Option *option, void *base)
{
	switch (option->type)
	{
		case OPTION_BOOL:
		case OPTION_FLAG:
			FIELD(base, option->offset, bool) = option->value != 0;
			break;
		case OPTION_CHOICE:
		case OPTION_POLICY:
		case OPTION_INT:
			FIELD(base, option->offset, int) = (int) option->value;
			break;
		case OPTION_INT64:
			FIELD(base, option->offset, int64) = (int64) option->value;
			break;
		case OPTION_NUMBER:
			FIELD(base, option->offset, double) = option->value;
			break;
		case OPTION_INTS:
			if (option->count == NO_COUNT)
				memcpy(&FIELD(base, option->offset, int), option->list, sizeof(int) * option->max_entries);
			else
				FIELD(base, option->count, int) = (int) option->value;
			break;
		case OPTION_NAMES:
			FIELD(base, option->offset, char **) = NULL;
			FIELD(base, option->count, int) = (int) option->value;
			break;
		case OPTION_NAME:
		case OPTION_TABLE:
		case OPTION_TASK:
			FIELD(base, option->offset, char *) = NULL;
			break;
		case OPTION_OBJECT:
			FIELD(base, option->offset, Jsonb *) = NULL;
			break;
		case OPTION_WEIGHTS:
			FIELD(base, option->offset, NamedWeights *) = NULL;
			break;
		case OPTION_TIME:
			FIELD(base, option->offset, TimestampTz) = DT_NOEND;
			break;
		case OPTION_INTERVAL:
			FIELD(base, option->offset, int64) = (int64) (option->value * USECS_PER_SEC);
			break;
		case OPTION_HOLDOUT:
			((ModelOptions *) base)->holdout = HOLDOUT_SHARE;
			((ModelOptions *) base)->holdout_share = .1;
			break;
	}
}

static void
set_value(const Option *option, void *base, JsonbValue *value)
{
	switch (option->type)
	{
		case OPTION_BOOL:
			if (value->type != jbvBool)
				wrong_type(option, "true or false");
			FIELD(base, option->offset, bool) = value->val.boolean;
			break;
		case OPTION_FLAG:
			FIELD(base, option->offset, bool) = word_index(option, value) == 1;
			break;
		case OPTION_CHOICE:
			FIELD(base, option->offset, int) = word_index(option, value);
			break;
		case OPTION_POLICY:
			FIELD(base, option->offset, int) = policy_index(option, value);
			break;
		case OPTION_INT:
			FIELD(base, option->offset, int) = (int) checked_number(option, value, true, "a whole number");
			break;
		case OPTION_INT64:
			FIELD(base, option->offset, int64) = (int64) checked_number(option, value, true, "a whole number");
			break;
		case OPTION_NUMBER:
			FIELD(base, option->offset, double) = checked_number(option, value, false, "a number");
			break;
		case OPTION_INTS:
		case OPTION_NAMES:
			list_value(option, base, value);
			break;
		case OPTION_NAME:
			FIELD(base, option->offset, char *) = name_value(option, value, "the name of a column");
			break;
		case OPTION_TABLE:
			FIELD(base, option->offset, char *) = name_value(option, value, "the name of a table");
			break;
		case OPTION_TASK:
			FIELD(base, option->offset, char *) = name_value(option, value, "the name of a task");
			break;
		case OPTION_OBJECT:
			if (value->type != jbvBinary || !JsonContainerIsObject(value->val.binary.data))
				wrong_type(option, "a JSON object");
			FIELD(base, option->offset, Jsonb *) = JsonbValueToJsonb(value);
			break;
		case OPTION_WEIGHTS:
			FIELD(base, option->offset, NamedWeights *) = weights_value(option, value);
			break;
		case OPTION_TIME:
			FIELD(base, option->offset, TimestampTz) = time_value(option, name_value(option, value, "a time"));
			break;
		case OPTION_INTERVAL:
			FIELD(base, option->offset, int64) = interval_value(option, value);
			break;
		case OPTION_HOLDOUT:
			holdout_value(option, base, value);
			break;
	}
}

/* Fill in base from the table and jsonb; kind is NULL for options that are not a task's. */
static void
parse(const Option *table, int n, void *base, Jsonb *jsonb, const nn_kind *kind)
{
	char	  **given;
	int			n_given;

	for (int i = 0; i < n; i++)
		set_default(&table[i], base);
	if (jsonb == NULL)
		return;
	if (!JB_ROOT_IS_OBJECT(jsonb))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("options must be a JSON object"),
				 errhint("For example {\"%s\": 64}.", "hidden")));

	given = jsonb_object_names(jsonb, &n_given);
	for (int g = 0; g < n_given; g++)
	{
		JsonbValue *value = getKeyJsonValueFromContainer(&jsonb->root, given[g], strlen(given[g]), NULL);
		const Option *option = NULL;

		for (int i = 0; i < n && option == NULL; i++)
			if (strcmp(table[i].name, given[g]) == 0)
				option = &table[i];
		if (option == NULL)
		{
			const char **names = palloc(sizeof(char *) * n);
			int			n_names = 0;

			for (int i = 0; i < n; i++)
				if (kind == NULL || (table[i].kinds & (1 << *kind)))
					names[n_names++] = table[i].name;
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("unrecognized option \"%s\"", given[g]),
					 errhint("%s", name_hint("option", given[g], names, n_names))));
		}
		if (kind != NULL && !(option->kinds & (1 << *kind)))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("option \"%s\" does not apply to tasks of kind \"%s\"",
							option->name, nn_kind_name[*kind]),
					 errhint("%s: %s.", option->name, option->help)));
		if (value->type != jbvNull)
			set_value(option, base, value);
	}
}

void
model_options_parse(ModelOptions *options, Jsonb *jsonb, nn_kind *kinds, int n_kinds)
{
	memset(options, 0, sizeof(*options));
	parse(model_table, lengthof(model_table), options, jsonb, NULL);

	if (options->experts == 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"experts\" must be 0, or 2 to %d", NN_MAX_EXPERTS),
				 errhint("There is nothing to mix of one.")));
	if (options->experts == 0 && options->expert_dim != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"expert_dim\" needs \"experts\""),
				 errhint("Without them tasks take the user vector as it is.")));

	/*
	 * Added up next_item alone is better, other tasks beside it are worse
	 * (doc/network.md); widths of columns are for those side by side.
	 */
	options->item_encoding_open = !jsonb_object_has(jsonb, "item_encoding");
	if (options->item_encoding_open && options->widths == NULL && options->embeddings == NULL)
	{
		options->item_sum = n_kinds > 0;
		for (int i = 0; i < n_kinds; i++)
			options->item_sum &= kinds[i] == NN_NEXT_ITEM;
	}

	/* the sum of all item columns needs room as the item key alone does */
	if (options->item_sum && options->item_dim == 0)
	{
		options->item_dim = 32;
		for (int i = 0; i < n_kinds; i++)
			if (kinds[i] == NN_NEXT_ITEM)
				options->item_dim = 64;
	}
	else if (!options->item_sum && options->item_dim != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"item_dim\" needs \"item_encoding\": \"sum\""),
				 errhint("Without it every item column has a width of its own: use \"widths\".")));
}

void
task_options_parse(TaskOptions *options, nn_kind kind, Jsonb *jsonb)
{
	static const int default_k[] = {5, 10, 20};

	memset(options, 0, sizeof(*options));
	parse(task_table, lengthof(task_table), options, jsonb, &kind);

	/* the paper's hidden layers: two for a click, one for the others */
	if (options->n_hidden < 0)
	{
		options->n_hidden = kind == NN_BINARY ? 2 : kind == NN_NEXT_ITEM ? 0 : 1;
		for (int i = 0; i < options->n_hidden; i++)
			options->hidden[i] = 128;
	}
	if (options->n_k < 0)
	{
		options->n_k = lengthof(default_k);
		memcpy(options->k, default_k, sizeof(default_k));
	}
}

void
refresh_options_parse(RefreshOptions *options, Jsonb *jsonb)
{
	static const char *const of_changed[] = {"lateness", "max_age"};
	static const char *const of_users[] = {"as_of", "lateness"};

	memset(options, 0, sizeof(*options));
	parse(refresh_table, lengthof(refresh_table), options, jsonb, NULL);

	for (int i = 0; i < lengthof(of_changed) && !options->changed; i++)
		if (jsonb_object_has(jsonb, of_changed[i]))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("option \"%s\" needs \"changed\"", of_changed[i]),
					 errhint("Without it all rows are written anew.")));
	for (int i = 0; i < lengthof(of_users) && options->items; i++)
		if (jsonb_object_has(jsonb, of_users[i]))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("option \"%s\" does not apply to items", of_users[i]),
					 errhint("Their vectors do not depend on time.")));
}

void
evaluate_options_parse(EvaluateOptions *options, Jsonb *jsonb)
{
	memset(options, 0, sizeof(*options));
	parse(evaluate_table, lengthof(evaluate_table), options, jsonb, NULL);
}

void
import_options_parse(ImportOptions *options, Jsonb *jsonb)
{
	memset(options, 0, sizeof(*options));
	parse(import_table, lengthof(import_table), options, jsonb, NULL);
}

/* Those pairs of an object whose keys a table has, or those whose keys it lacks. */
static Jsonb *
select_pairs(Jsonb *object, const Option *table, int n, bool in_table)
{
	JsonbParseState *state = NULL;
	int			n_names;
	char	  **names = jsonb_object_names(object, &n_names);

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < n_names; i++)
	{
		int			length = strlen(names[i]);
		JsonbValue	key = {.type = jbvString};
		bool		found = false;

		for (int k = 0; k < n && !found; k++)
			found = strcmp(table[k].name, names[i]) == 0;
		if (found != in_table)
			continue;
		key.val.string.val = names[i];
		key.val.string.len = length;
		pushJsonbValue(&state, WJB_KEY, &key);
		pushJsonbValue(&state, WJB_VALUE, getKeyJsonValueFromContainer(&object->root, names[i], length, NULL));
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/* Parse those of the table, return the others. */
static Jsonb *
parse_own(const Option *table, int n, void *base, Jsonb *jsonb)
{
	parse(table, n, base, select_pairs(jsonb, table, n, true), NULL);
	return select_pairs(jsonb, table, n, false);
}

Jsonb *
train_options_parse(TrainOptions *options, Jsonb *jsonb)
{
	memset(options, 0, sizeof(*options));
	return parse_own(train_table, lengthof(train_table), options, jsonb);
}

Jsonb *
job_options_parse(JobOptions *options, Jsonb *jsonb)
{
	memset(options, 0, sizeof(*options));
	return parse_own(job_table, lengthof(job_table), options, jsonb);
}

/* ---------------- jsonb ---------------- */

bool
jsonb_object_has(Jsonb *object, const char *name)
{
	JsonbValue *value = object ? getKeyJsonValueFromContainer(&object->root, name, strlen(name), NULL) : NULL;

	return value != NULL && value->type != jbvNull;
}

char **
jsonb_object_names(Jsonb *object, int *n)
{
	char	  **names = palloc(sizeof(char *) * (JB_ROOT_COUNT(object) + 1));
	JsonbIterator *iterator = JsonbIteratorInit(&object->root);
	JsonbValue	value;
	JsonbIteratorToken token;

	*n = 0;
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
		if (token == WJB_KEY)
			names[(*n)++] = pnstrdup(value.val.string.val, value.val.string.len);
	return names;
}

/* Push the pairs of an object whose keys `except` lacks and whose values are not null. */
static void
push_pairs(JsonbParseState **state, Jsonb *object, Jsonb *except)
{
	int			n;
	char	  **names = jsonb_object_names(object, &n);

	for (int i = 0; i < n; i++)
	{
		int			length = strlen(names[i]);
		JsonbValue	key;
		JsonbValue *value = getKeyJsonValueFromContainer(&object->root, names[i], length, NULL);

		if (value->type == jbvNull ||
			(except != NULL && getKeyJsonValueFromContainer(&except->root, names[i], length, NULL) != NULL))
			continue;
		key.type = jbvString;
		key.val.string.val = names[i];
		key.val.string.len = length;
		pushJsonbValue(state, WJB_KEY, &key);
		pushJsonbValue(state, WJB_VALUE, value);
	}
}

Jsonb *
jsonb_object_merge(Jsonb *base, Jsonb *changes)
{
	JsonbParseState *state = NULL;

	if (!JB_ROOT_IS_OBJECT(changes))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("options must be a JSON object")));
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	if (base != NULL)
		push_pairs(&state, base, changes);
	push_pairs(&state, changes, NULL);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}
