/*-------------------------------------------------------------------------
 *
 * image_json.c
 *	  The metadata of a version: the network's shape, and how rows become ids
 *
 * "config" is what nn_config_parse reads; sizes are there and nowhere else.
 * "features" lists, in the same order, where each feature comes from and how it
 * is encoded.  What was learned lies in tensors.
 *
 *-------------------------------------------------------------------------
 */
#include "model/model.h"

#include "lib/stringinfo.h"
#include "model/image.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"

#define FEATURES_FORMAT 1
#define MAX_EVENTS		1000	/* of the option max_events */

static const char *const encoding_names[] = {"id", "hash", "bands", "fixed"};
static const char *const cell_names[] = {"integer", "number", "hash"};

/* ------------------------------------------------------------------------
 * Writing
 * ------------------------------------------------------------------------ */

static void
put_key(StringInfo out, const char *key)
{
	char		last = out->len > 0 ? out->data[out->len - 1] : '{';

	if (last != '{' && last != '[')
		appendStringInfoString(out, ", ");
	escape_json(out, key);
	appendStringInfoString(out, ": ");
}

static void
put_text(StringInfo out, const char *key, const char *value)
{
	put_key(out, key);
	if (value)
		escape_json(out, value);
	else
		appendStringInfoString(out, "null");
}

static void
put_integer(StringInfo out, const char *key, int64 value)
{
	put_key(out, key);
	appendStringInfo(out, INT64_FORMAT, value);
}

static void
put_boolean(StringInfo out, const char *key, bool value)
{
	put_key(out, key);
	appendStringInfoString(out, value ? "true" : "false");
}

static void
put_texts(StringInfo out, const char *key, char **texts, int n)
{
	put_key(out, key);
	appendStringInfoChar(out, '[');
	for (int i = 0; i < n; i++)
	{
		if (i > 0)
			appendStringInfoString(out, ", ");
		escape_json(out, texts[i]);
	}
	appendStringInfoChar(out, ']');
}

static void
put_integers(StringInfo out, const char *key, const int *numbers, int n)
{
	put_key(out, key);
	appendStringInfoChar(out, '[');
	for (int i = 0; i < n; i++)
		appendStringInfo(out, "%s%d", i > 0 ? ", " : "", numbers[i]);
	appendStringInfoChar(out, ']');
}

/* Begin an object in the list that out ends with. */
static void
begin_object(StringInfo out)
{
	if (out->data[out->len - 1] != '[')
		appendStringInfoString(out, ", ");
	appendStringInfoChar(out, '{');
}

int
task_candidate(const Model *model, const FeatureSet *set, const ModelTask *task,
			   int candidate[NN_MAX_FEATURES])
{
	int			n = 0;
	Oid			samples = InvalidOid;
	bool		by_key = false;

	if (task->kind != NN_BINARY)
		return 0;

	/* a positive that is an event, and what is drawn beside it, are items */
	if (task->samples == NULL)
		by_key = task->options.n_candidate < 0;
	else if (task->options.n_candidate < 0)
	{
		samples = relation_oid(task->samples);
		by_key = get_attnum(samples, model->relations.item_key) != InvalidAttrNumber;
	}
	for (int i = 0; i < set->n[NN_ITEM]; i++)
	{
		const char *name = set->f[NN_ITEM][i].name;
		bool		named = by_key;

		for (int k = 0; k < task->options.n_candidate; k++)
			named = named || strcmp(task->options.candidate[k], name) == 0;
		if (OidIsValid(samples))
			named = named || get_attnum(samples, name) != InvalidAttrNumber;
		if (named)
			candidate[n++] = i;
	}
	for (int i = 0; i < task->options.n_things && n < NN_MAX_FEATURES; i++)
		for (int f = 0; f < set->n[NN_THING]; f++)
			if (strcmp(set->f[NN_THING][f].name, task->options.things[i]) == 0)
				candidate[n++] = NN_MAX_FEATURES + f;
	return n;
}

static void
put_task(StringInfo out, const FeatureSet *set, const Model *model, const ModelTask *task,
		 int classes, int64 catalogue_size)
{
	int			candidate[NN_MAX_FEATURES];
	int			n_candidate = task_candidate(model, set, task, candidate);

	begin_object(out);
	put_text(out, "name", task->name);
	put_text(out, "kind", nn_kind_name[task->kind]);
	put_key(out, "weight");
	appendStringInfo(out, "%.9g", task->options.weight);
	if (task->kind == NN_NEXT_ITEM)
	{
		/* the repeat term is indexed by recency, which "time": "paper" has only as a property */
		put_boolean(out, "repeat", task->options.repeat && !model->options.time_paper);
		put_integer(out, "memory", task->options.memory ? LAG_BUCKETS : 0);
		put_integer(out, "catalogue", catalogue_size);
	}
	else
	{
		put_integers(out, "hidden", task->options.hidden, task->options.n_hidden);
		put_integer(out, "features", task->n_features);
	}
	if (task->kind == NN_MULTICLASS)
		put_integer(out, "classes", classes);
	if (task->options.position_column)
		put_integer(out, "position", POSITION_BUCKETS);
	if (task->options.pairwise > 0)
	{
		put_key(out, "pairwise");
		appendStringInfo(out, "%.9g", task->options.pairwise);
	}
	if (n_candidate > 0)
	{
		char	   *names[NN_MAX_FEATURES];
		int			n_items = 0;

		for (int i = 0; i < n_candidate; i++)
		{
			names[i] = pstrdup(candidate_feature(set, candidate[i])->name);
			n_items += !NN_IS_THING(candidate[i]);
		}
		put_texts(out, "candidate", names, n_items);
		if (n_candidate > n_items)
			put_texts(out, "things", names + n_items, n_candidate - n_items);
		put_integer(out, "candidate_dim", task->options.candidate_dim);
		put_boolean(out, "product", task->options.product);
	}
	appendStringInfoChar(out, '}');
}

/* Width of a feature's table: declared, or the default for its vocabulary. */
static int
feature_dim(const FeatureSet *set, const Model *model, nn_group group, int i, bool next_item)
{
	const ModelOptions *options = &model->options;
	const Feature *f = &set->f[group][i];

	if (group == NN_CONTEXT && f->shares >= 0)
		return feature_dim(set, model, NN_ITEM, f->shares, next_item);
	if (group == NN_ITEM && options->item_sum)
		return options->item_dim > 0 ? options->item_dim :
			feature_default_dim(&set->f[NN_ITEM][0], true, next_item);
	return f->dim > 0 ? f->dim : feature_default_dim(f, group == NN_ITEM && i == 0, next_item);
}

/* classes[t] is read for multiclass tasks only. */
char *
image_config_json(const FeatureSet *set, const Model *model, const int *classes,
				  int64 catalogue_size)
{
	const ModelOptions *options = &model->options;
	bool		next_item = false;
	StringInfoData out;

	for (int t = 0; t < model->n_tasks; t++)
		next_item = next_item || model->task[t].kind == NN_NEXT_ITEM;

	initStringInfo(&out);
	appendStringInfoChar(&out, '{');
	put_integer(&out, "hidden", options->hidden);
	put_boolean(&out, "bidirectional", options->bidirectional);
	put_text(&out, "pooling", nn_pooling_name[options->pooling]);
	if (options->pooling == NN_POOL_ATTENTION)
		put_integers(&out, "attention", options->attention, 2);
	put_integer(&out, "recency", options->time_paper ? 0 : TIME_BUCKETS);
	put_integer(&out, "recency_rows", set->types);
	put_boolean(&out, "recency_bias", set->recency_bias);
	put_integer(&out, "lag", set->lag_bias ? LAG_BUCKETS : 0);
	put_text(&out, "item_encoding", options->item_sum ? "sum" : "concat");
	put_boolean(&out, "context_in_vector", options->context_in_vector);
	if (options->experts > 0)
		put_integer(&out, "experts", options->experts);
	if (options->expert_dim > 0)
		put_integer(&out, "expert_dim", options->expert_dim);
	for (int group = 0; group < NN_GROUPS; group++)
	{
		/* versions from before there were things have no such key */
		if (group == NN_THING && set->n[group] == 0)
			continue;
		put_key(&out, nn_group_name[group]);
		appendStringInfoChar(&out, '[');
		for (int i = 0; i < set->n[group]; i++)
		{
			const Feature *f = &set->f[group][i];
			const Feature *table = group == NN_CONTEXT && f->shares >= 0 ? &set->f[NN_ITEM][f->shares] : f;

			begin_object(&out);
			put_text(&out, "name", f->name);
			put_integer(&out, "vocab", table->vocab);
			put_integer(&out, "dim", feature_dim(set, model, group, i, next_item));
			put_boolean(&out, "multi", f->multi);
			if (group == NN_PROPERTY)
				put_text(&out, "use", feature_use_name[f->use]);
			if (table != f)
				put_text(&out, "table", table->name);
			appendStringInfoChar(&out, '}');
		}
		appendStringInfoChar(&out, ']');
	}
	put_key(&out, "tasks");
	appendStringInfoChar(&out, '[');
	for (int t = 0; t < model->n_tasks; t++)
		put_task(&out, set, model, &model->task[t], classes ? classes[t] : 0, catalogue_size);
	appendStringInfoString(&out, "]}");
	return out.data;
}

char *
image_features_json(const FeatureSet *set, const Relations *relations, const char *model_name,
					const ImageTask *task, const nn_config *config)
{
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfoChar(&out, '{');
	put_integer(&out, "format", FEATURES_FORMAT);
	put_text(&out, "model", model_name);

	put_key(&out, "relations");
	appendStringInfoChar(&out, '{');
	put_text(&out, "events", relations->events);
	put_text(&out, "user_column", relations->user_column);
	put_text(&out, "time_column", relations->time_column);
	put_text(&out, "item_key", relations->item_key);
	put_text(&out, "catalog", relations->catalog);
	put_text(&out, "catalog_key", relations->catalog_key);
	put_text(&out, "profile", relations->profile);
	put_text(&out, "profile_key", relations->profile_key);
	appendStringInfoChar(&out, '}');

	put_text(&out, "timezone", set->timezone);
	put_integer(&out, "max_events", set->max_events);
	put_integer(&out, "types", set->types);
	put_integer(&out, "gap", set->gap);
	put_integer(&out, "daypart", set->daypart);
	put_integer(&out, "recency", set->recency);
	put_integer(&out, "activity", set->activity);
	for (int group = 0; group < NN_GROUPS; group++)
	{
		if (group == NN_THING && set->n[group] == 0)
			continue;
		put_key(&out, nn_group_name[group]);
		appendStringInfoChar(&out, '[');
		for (int i = 0; i < set->n[group]; i++)
		{
			const Feature *f = &set->f[group][i];

			begin_object(&out);
			put_text(&out, "name", f->name);
			put_text(&out, "source", feature_source_name[f->source]);
			put_text(&out, "encoding", encoding_names[f->encoding]);
			put_text(&out, "type", f->type_name);
			put_text(&out, "kind", cell_names[f->kind]);
			put_integer(&out, "min_count", f->min_count);
			put_integer(&out, "buckets", f->buckets);
			put_integer(&out, "bands", f->bands);
			if (f->words[0] != '\0')
				put_text(&out, "words", f->words);
			appendStringInfoChar(&out, '}');
		}
		appendStringInfoChar(&out, ']');
	}

	put_key(&out, "tasks");
	appendStringInfoChar(&out, '[');
	for (int t = 0; t < config->n_task; t++)
	{
		const nn_task *shape = &config->task[t];

		begin_object(&out);
		put_text(&out, "name", shape->name);
		put_texts(&out, "features", task[t].feature, shape->features);
		put_texts(&out, "classes", task[t].class_name,
				  shape->kind == NN_MULTICLASS ? shape->classes : 0);
		appendStringInfoChar(&out, '}');
	}
	appendStringInfoString(&out, "]}");
	return out.data;
}

char *
image_metadata(const char *config, const char *features)
{
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfoChar(&out, '{');
	put_text(&out, "format", "dupn-1");
	put_text(&out, "config", config);
	put_text(&out, "features", features);
	appendStringInfoChar(&out, '}');
	return out.data;
}

/* ------------------------------------------------------------------------
 * Reading.  The text may come from a stranger: everything is checked.
 * ------------------------------------------------------------------------ */

static void bad_features(const char *what, const char *format,...)
			pg_attribute_noreturn() pg_attribute_printf(2, 3);

static void
bad_features(const char *what, const char *format,...)
{
	char		message[256];
	va_list		arguments;

	va_start(arguments, format);
	vsnprintf(message, sizeof(message), format, arguments);
	va_end(arguments);
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("%s is damaged", what),
			 errdetail("Its metadata \"features\": %s.", message)));
}

static JsonbValue *
get(JsonbContainer *object, const char *key)
{
	return getKeyJsonValueFromContainer(object, key, strlen(key), NULL);
}

static JsonbContainer *
get_container(JsonbContainer *object, const char *key, bool array, const char *what)
{
	JsonbValue *value = get(object, key);

	if (value == NULL || value->type != jbvBinary ||
		(array ? !JsonContainerIsArray(value->val.binary.data) :
		 !JsonContainerIsObject(value->val.binary.data)))
	{
		/* an empty array or object may be no container of its own */
		if (value && value->type == (array ? jbvArray : jbvObject))
			return NULL;
		bad_features(what, "\"%s\" is missing or not %s", key, array ? "a list" : "an object");
	}
	return value->val.binary.data;
}

/* A string, or NULL for null where that is allowed. */
static char *
get_text(JsonbContainer *object, const char *key, bool null_ok, const char *what)
{
	JsonbValue *value = get(object, key);

	if (value && value->type == jbvNull && null_ok)
		return NULL;
	if (value == NULL || value->type != jbvString)
		bad_features(what, "\"%s\" is missing or not a string", key);
	return pnstrdup(value->val.string.val, value->val.string.len);
}

static void
get_name(JsonbContainer *object, const char *key, char *name, size_t size, const char *what)
{
	char	   *text = get_text(object, key, false, what);

	if (strlcpy(name, text, size) >= size)
		bad_features(what, "\"%s\" is too long", key);
	pfree(text);
}

static int64
get_integer(JsonbContainer *object, const char *key, int64 least, int64 most, const char *what)
{
	JsonbValue *value = get(object, key);
	int64		number;

	/* as text first: numeric's own conversions raise errors of their own */
	if (value && value->type == jbvNumeric)
	{
		char	   *text = DatumGetCString(DirectFunctionCall1(numeric_out,
															   NumericGetDatum(value->val.numeric)));
		char	   *end;

		errno = 0;
		number = strtoll(text, &end, 10);
		if (*end == '\0' && errno == 0 && number >= least && number <= most)
			return number;
	}
	bad_features(what, "\"%s\" is not a whole number in its range", key);
}

static int
get_choice(JsonbContainer *object, const char *key, const char *const *names, int n, const char *what)
{
	char	   *text = get_text(object, key, false, what);

	for (int i = 0; i < n; i++)
		if (strcmp(text, names[i]) == 0)
			return i;
	bad_features(what, "\"%s\" is none of the known ones", key);
}

static char **
get_texts(JsonbContainer *object, const char *key, int n, const char *what)
{
	JsonbContainer *list = get_container(object, key, true, what);
	char	  **texts = palloc0(sizeof(char *) * Max(n, 1));

	if ((list ? JsonContainerSize(list) : 0) != n)
		bad_features(what, "\"%s\" has not the %d entries that the network has", key, n);
	for (int i = 0; i < n; i++)
	{
		JsonbValue *value = getIthJsonbValueFromContainer(list, i);

		if (value->type != jbvString)
			bad_features(what, "\"%s\" has an entry that is not a string", key);
		texts[i] = pnstrdup(value->val.string.val, value->val.string.len);
	}
	return texts;
}

/* The object at a place of a list. */
static JsonbContainer *
get_entry(JsonbContainer *list, int i, const char *key, const char *what)
{
	JsonbValue *value = getIthJsonbValueFromContainer(list, i);

	if (value == NULL || value->type != jbvBinary || !JsonContainerIsObject(value->val.binary.data))
		bad_features(what, "an entry of \"%s\" is not an object", key);
	return value->val.binary.data;
}

static void
parse_feature(ModelImage *image, int group, int i, JsonbContainer *object, const char *what)
{
	const nn_feature *shape = &image->config.feature[group][i];
	Feature    *f = &image->set.f[group][i];
	bool		event = group == NN_ITEM || group == NN_PROPERTY;

	get_name(object, "name", f->name, sizeof(f->name), what);
	if (strcmp(f->name, shape->name) != 0)
		bad_features(what, "feature \"%s\" stands where the network has \"%s\"", f->name, shape->name);
	f->group = group;
	f->source = get_choice(object, "source", feature_source_name, lengthof(feature_source_name), what);
	f->encoding = get_choice(object, "encoding", encoding_names, lengthof(encoding_names), what);
	f->kind = get_choice(object, "kind", cell_names, lengthof(cell_names), what);
	get_name(object, "type", f->type_name, sizeof(f->type_name), what);
	f->min_count = get_integer(object, "min_count", 0, PG_INT64_MAX, what);
	f->buckets = get_integer(object, "buckets", 0, PG_INT32_MAX, what);
	f->bands = get_integer(object, "bands", 0, PG_INT32_MAX, what);
	if (get(object, "words") != NULL)
	{
		get_name(object, "words", f->words, sizeof(f->words), what);
		if (f->words[0] == '\0' || f->encoding != ENCODE_ID || f->kind != CELL_HASH || !shape->multi)
			bad_features(what, "feature \"%s\" cannot be read as words", f->name);
	}
	f->vocab = shape->vocab;
	f->dim = shape->dim;
	f->multi = shape->multi;
	f->use = shape->use;
	f->shares = group == NN_CONTEXT ? shape->shares : -1;

	switch (f->source)
	{
		case FROM_EVENTS:
		case FROM_CATALOG:
			if (event)
				break;
			bad_features(what, "feature \"%s\" cannot come from there", f->name);
		case FROM_PROFILE:
			if (group == NN_PROFILE)
				break;
			bad_features(what, "feature \"%s\" cannot come from there", f->name);
		case FROM_SAMPLES:
			if (group == NN_THING)
				break;
			bad_features(what, "feature \"%s\" cannot come from there", f->name);
		case FROM_CONTEXT:
			if (group == NN_CONTEXT)
				break;
			bad_features(what, "feature \"%s\" cannot come from there", f->name);
		case FROM_TIME:
			if (i == image->set.gap || i == image->set.daypart || i == image->set.recency)
				if (group == NN_PROPERTY)
					break;
			bad_features(what, "feature \"%s\" cannot come from there", f->name);
		case FROM_WINDOW:
			if (group == NN_PROFILE && i == image->set.activity)
				break;
			bad_features(what, "feature \"%s\" cannot come from there", f->name);
	}
	if ((f->encoding == ENCODE_FIXED) != (f->source == FROM_TIME || f->source == FROM_WINDOW))
		bad_features(what, "feature \"%s\" cannot be encoded in that way", f->name);
	if (f->encoding == ENCODE_HASH && (f->buckets < 1 || f->vocab != ID_FIRST + f->buckets))
		bad_features(what, "feature \"%s\" has not as many rows as buckets", f->name);
}

void
image_features_parse(ModelImage *image, const char *json, const char *what)
{
	MemoryContext caller = CurrentMemoryContext;
	FeatureSet *set = &image->set;
	Jsonb	   *jsonb = NULL;
	JsonbContainer *root;
	JsonbContainer *part;
	Relations  *relations = &image->relations;

	/* the parser's errors are of the text's syntax and encoding only */
	PG_TRY();
	{
		jsonb = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(json)));
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		FlushErrorState();
		if (error->sqlerrcode == ERRCODE_QUERY_CANCELED ||
			ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_INSUFFICIENT_RESOURCES)
			ReThrowError(error);
		bad_features(what, "%s", error->message);
	}
	PG_END_TRY();

	if (!JB_ROOT_IS_OBJECT(jsonb))
		bad_features(what, "it is not an object");
	root = &jsonb->root;
	get_integer(root, "format", FEATURES_FORMAT, FEATURES_FORMAT, what);
	image->model_name = get_text(root, "model", false, what);

	part = get_container(root, "relations", false, what);
	if (part == NULL)
		bad_features(what, "\"relations\" is empty");
	relations->events = get_text(part, "events", false, what);
	relations->user_column = get_text(part, "user_column", false, what);
	relations->time_column = get_text(part, "time_column", false, what);
	relations->item_key = get_text(part, "item_key", false, what);
	relations->catalog = get_text(part, "catalog", true, what);
	relations->catalog_key = get_text(part, "catalog_key", true, what);
	relations->profile = get_text(part, "profile", true, what);
	relations->profile_key = get_text(part, "profile_key", true, what);

	get_name(root, "timezone", set->timezone, sizeof(set->timezone), what);
	set->tz = pg_tzset(set->timezone);
	if (set->tz == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s needs the time zone \"%s\", which this server does not know",
						what, set->timezone)));
	set->max_events = get_integer(root, "max_events", 1, MAX_EVENTS, what);
	for (int group = 0; group < NN_GROUPS; group++)
		set->n[group] = image->config.n_feature[group];
	set->gap = get_integer(root, "gap", -1, set->n[NN_PROPERTY] - 1, what);
	set->daypart = get_integer(root, "daypart", -1, set->n[NN_PROPERTY] - 1, what);
	set->recency = get_integer(root, "recency", -1, set->n[NN_PROPERTY] - 1, what);
	set->activity = get_integer(root, "activity", -1, set->n[NN_PROFILE] - 1, what);
	set->recency_bias = image->config.recency_bias;
	set->lag_bias = image->config.lag > 0;
	if (set->n[NN_ITEM] < 1)
		bad_features(what, "there is no item feature");

	for (int group = 0; group < NN_GROUPS; group++)
	{
		if (group == NN_THING && set->n[group] == 0 && get(root, nn_group_name[group]) == NULL)
			continue;
		part = get_container(root, nn_group_name[group], true, what);
		if ((part ? JsonContainerSize(part) : 0) != set->n[group])
			bad_features(what, "\"%s\" has not the %d features that the network has",
						 nn_group_name[group], set->n[group]);
		for (int i = 0; i < set->n[group]; i++)
			parse_feature(image, group, i, get_entry(part, i, nn_group_name[group], what), what);
	}

	/* types index attention.recency, repeat.recency and activity */
	set->types = get_integer(root, "types", 1, PG_INT32_MAX, what);
	if (set->types != image->config.recency_rows && image->config.recency > 0)
		bad_features(what, "\"types\" is not the number of rows of attention.recency");
	if (set->types > 1 && (set->n[NN_PROPERTY] < 1 || set->f[NN_PROPERTY][0].vocab != set->types))
		bad_features(what, "\"types\" is not the vocabulary of the first property");
	if ((image->config.recency != 0 && image->config.recency != TIME_BUCKETS) ||
		(image->config.lag != 0 && image->config.lag != LAG_BUCKETS))
		bad_features(what, "the network has other time buckets than this server");
	for (int t = 0; t < image->config.n_task; t++)
		if (image->config.task[t].memory != 0 && image->config.task[t].memory != LAG_BUCKETS)
			bad_features(what, "the memory term has other lags than this server");

	/* the vocabularies of derived features follow from the above */
	for (int group = 0; group < NN_GROUPS; group++)
		for (int i = 0; i < set->n[group]; i++)
		{
			Feature    *f = &set->f[group][i];

			if (f->encoding != ENCODE_FIXED)
				continue;
			feature_set_vocab(set, f);
			if (f->vocab != image->config.feature[group][i].vocab ||
				f->multi != (group == NN_PROFILE || i == set->daypart))
				bad_features(what, "feature \"%s\" has another vocabulary than this server", f->name);
		}

	part = get_container(root, "tasks", true, what);
	if ((part ? JsonContainerSize(part) : 0) != image->config.n_task)
		bad_features(what, "\"tasks\" has not the %d tasks that the network has", image->config.n_task);
	for (int t = 0; t < image->config.n_task; t++)
	{
		const nn_task *shape = &image->config.task[t];
		JsonbContainer *object = get_entry(part, t, "tasks", what);
		char		name[NN_MAX_NAME];

		get_name(object, "name", name, sizeof(name), what);
		if (strcmp(name, shape->name) != 0)
			bad_features(what, "task \"%s\" stands where the network has \"%s\"", name, shape->name);
		image->task[t].feature = get_texts(object, "features", shape->features, what);
		image->task[t].class_name = get_texts(object, "classes",
											  shape->kind == NN_MULTICLASS ? shape->classes : 0, what);
	}
}
