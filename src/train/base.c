/*-------------------------------------------------------------------------
 *
 * base.c
 *	  A data set encoded as a version encodes it
 *
 * Rows become ids by the version's vocabularies, bands, catalogue and levels,
 * so that its weights fit them bit for bit.  A task that the version does not
 * have learns what is its own: classes, statistics.  Whatever else of the model
 * is not as the version knows it is an error that says what.
 *
 *-------------------------------------------------------------------------
 */
#include "train/dataset.h"

#include "serve/session.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"

static void differs(const ModelImage *base, const char *format,...)
			pg_attribute_noreturn() pg_attribute_printf(2, 3);

static void
differs(const ModelImage *base, const char *format,...)
{
	char		difference[512];
	va_list		arguments;

	va_start(arguments, format);
	vsnprintf(difference, sizeof(difference), format, arguments);
	va_end(arguments);
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 base->version > 0 ?
			 errmsg("version %d does not fit model \"%s\" any more: %s", base->version, base->model_name, difference) :
			 errmsg("the file does not fit model \"%s\": %s", base->model_name, difference),
			 base->version > 0 ?
			 errhint("Train all of it anew: SELECT dupn_train(%s);", quote_literal_cstr(base->model_name)) :
			 errhint("Declare the model as the one that the file is a version of.")));
}

/* ---------------- features ---------------- */

static void
adopt_feature(const Model *model, Feature *feature, const Feature *was, const ModelImage *base)
{
	static const char *const encodings[] = {"ids of a vocabulary", "hashed ids", "bands", "derived ids"};
	Feature		today = *feature;
	bool		explicit_dim = today.dim > 0;

	/* the default of an added-up encoding is filled in with the options */
	if (today.group == NN_ITEM && model->options.item_sum)
		explicit_dim = jsonb_object_has(model->options_json, "item_dim");

	if (strcmp(today.name, was->name) != 0)
		differs(base, "it has the %s column \"%s\" where the model has \"%s\"",
				nn_group_name[today.group], was->name, today.name);
	if (today.source != was->source)
		differs(base, "column \"%s\" was taken from the %s and is now from the %s", today.name,
				feature_source_name[was->source], feature_source_name[today.source]);
	if (today.kind != was->kind || today.multi != was->multi)
		differs(base, "column \"%s\" had type %s and has now type %s", today.name, was->type_name,
				today.type_name);
	if (today.encoding != was->encoding)
		differs(base, "column \"%s\" was read as %s and is now read as %s", today.name,
				encodings[was->encoding], encodings[today.encoding]);
	if ((today.min_count == NEVER_ENOUGH) != (was->min_count == NEVER_ENOUGH))
		differs(base, "\"item_id\" was %s and is now %s", was->min_count == NEVER_ENOUGH ? "false" : "true",
				today.min_count == NEVER_ENOUGH ? "false" : "true");
	if (strcmp(today.words, was->words) != 0)
		differs(base, "the words of column \"%s\" are found in another way", today.name);
	if (today.encoding == ENCODE_HASH && today.buckets != was->buckets)
		differs(base, "column \"%s\" was hashed into " INT64_FORMAT " buckets and is now into " INT64_FORMAT,
				today.name, was->buckets, today.buckets);
	if (today.shares != was->shares)
		differs(base, "context column \"%s\" shared another table", today.name);
	if (explicit_dim && today.dim != was->dim)
		differs(base, "the width of column \"%s\" was %d and is now %d", today.name, was->dim, today.dim);

	*feature = *was;
	feature->type = today.type;
	feature->use = today.use;
}

static void
adopt_features(const Model *model, FeatureSet *set, const ModelImage *base)
{
	const FeatureSet *was = &base->set;

	for (int g = 0; g < NN_GROUPS; g++)
	{
		for (int f = 0; f < Min(set->n[g], was->n[g]); f++)
			adopt_feature(model, &set->f[g][f], &was->f[g][f], base);
		if (set->n[g] != was->n[g])
			differs(base, "it has %d %s columns, the model %d; only one of them has \"%s\"",
					was->n[g], nn_group_name[g], set->n[g],
					(set->n[g] > was->n[g] ? set : was)->f[g][Min(set->n[g], was->n[g])].name);
	}
	if (set->max_events != was->max_events)
		differs(base, "\"max_events\" was %d and is now %d", was->max_events, set->max_events);
	if (strcmp(set->timezone, was->timezone) != 0)
		differs(base, "the time zone was \"%s\" and is now \"%s\"", was->timezone, set->timezone);
	set->types = was->types;
}

void
base_features(Build *build)
{
	const Model *model = build->data->model;

	adopt_features(model, build->data->set, build->base);
	build->base_items = model->relations.catalog && items_known(relation_oid(model->relations.catalog));
}

/* ---------------- the network ---------------- */

static JsonbContainer *
parse_json(const char *text)
{
	return &DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text)))->root;
}

static char *
value_text(JsonbContainer *object, const char *key)
{
	JsonbValue *value = getKeyJsonValueFromContainer(object, key, strlen(key), NULL);

	return value == NULL ? NULL : JsonbToCString(NULL, &JsonbValueToJsonb(value)->root, 0);
}

/* Which key it is that differs; one that only one of them has is the last to be named. */
static void
name_difference(const ModelImage *base, const char *where, JsonbContainer *was, JsonbContainer *now,
				const char *except)
{
	JsonbIterator *iterator = JsonbIteratorInit(now);
	JsonbValue	value;
	JsonbIteratorToken token;
	char	   *only = NULL;

	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		char	   *key;
		char	   *before;
		char	   *after;

		if (token != WJB_KEY)
			continue;
		key = pnstrdup(value.val.string.val, value.val.string.len);
		if (strcmp(key, except) == 0)
			continue;
		before = value_text(was, key);
		after = value_text(now, key);
		if (before == NULL)
			only = psprintf("%s\"%s\" is now %s", where, key, after);
		else if (strcmp(before, after) != 0)
			differs(base, "%s\"%s\" was %s and is now %s", where, key, before, after);
	}
	differs(base, "%s", only ? only : psprintf("%sthe network is another one", where));
}

/* The object of a task in the list "tasks" of a configuration. */
static JsonbContainer *
task_object(JsonbContainer *config, int t)
{
	JsonbValue *tasks = getKeyJsonValueFromContainer(config, "tasks", 5, NULL);

	return getIthJsonbValueFromContainer(tasks->val.binary.data, t)->val.binary.data;
}

static bool
same_task(const nn_task *a, const nn_task *b)
{
	nn_task    *x = palloc(sizeof(nn_task));
	bool		same;

	/* what a task's loss is, and counts for, is no part of its head */
	*x = *a;
	x->weight = b->weight;
	x->pairwise = b->pairwise;
	same = memcmp(x, b, sizeof(nn_task)) == 0;
	pfree(x);
	return same;
}

static bool
same_network(const nn_config *a, const nn_config *b)
{
	nn_config  *x = palloc(sizeof(nn_config));
	bool		same;

	*x = *a;
	x->n_task = b->n_task;
	memcpy(x->task, b->task, sizeof(x->task));
	same = memcmp(x, b, sizeof(nn_config)) == 0;
	pfree(x);
	return same;
}

static void
check_columns(const ModelTask *task, const ImageTask *was, const ModelImage *base)
{
	for (int i = 0; i < task->n_features; i++)
		if (strcmp(task->features[i], was->feature[i]) != 0)
			differs(base, "task \"%s\" had the feature \"%s\" where it now has \"%s\"",
					task->name, was->feature[i], task->features[i]);
	if (task->kind == NN_MULTICLASS && was->bounds != NULL &&
		(was->n_within > 0) != (task->options.within != NULL))
		differs(base, "the levels of task \"%s\" were %scut within the values of a column", task->name,
				was->n_within > 0 ? "" : "not ");
}

void
base_check(Model *model, const ModelImage *base)
{
	FeatureSet *set;
	nn_config  *config = palloc(sizeof(nn_config));
	int			classes[NN_MAX_TASKS];
	char		message[256];
	char	   *json;
	JsonbContainer *now;
	JsonbContainer *was;

	if (model->options.item_encoding_open && model->options.widths == NULL && model->options.embeddings == NULL)
	{
		model->options.item_sum = base->config.item_sum;
		model->options.item_dim = base->config.item_sum ? base->config.E : 0;
	}
	set = model_features(model, CurrentMemoryContext);
	adopt_features(model, set, base);
	for (int t = 0; t < model->n_tasks; t++)
	{
		int			known = image_find_task(base, model->task[t].name);

		/* of a task that is new any number will do */
		classes[t] = known >= 0 ? Max(base->config.task[known].classes, 2) : 2;
	}
	json = image_config_json(set, model, classes, base->catalogue.n);
	if (nn_config_parse(config, json, strlen(json), message, sizeof(message)) != NN_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("model \"%s\" makes no valid network: %s", model->name, message)));
	now = parse_json(json);
	was = parse_json(image_config_text(base));
	if (!same_network(config, &base->config))
		name_difference(base, "", was, now, "tasks");
	for (int t = 0; t < model->n_tasks; t++)
	{
		int			known = image_find_task(base, model->task[t].name);

		if (known < 0)
			continue;
		if (!same_task(&config->task[t], &base->config.task[known]))
			name_difference(base, psprintf("of task \"%s\", ", model->task[t].name),
							task_object(was, known), task_object(now, t), "weight");
		check_columns(&model->task[t], &base->task[known], base);
	}
	pfree(config);
}

/* ---------------- levels ---------------- */

/* From cells to the classes of the same text; values that have none stay unknown. */
static void
find_classes(Build *build, int t, Levels *levels)
{
	HASH_SEQ_STATUS scan;
	TextEntry  *entry;
	int64		n = hash_get_num_entries(build->label[t].texts);
	Cell	   *cells = palloc(sizeof(Cell) * Max(n, 1));
	int		   *classes = palloc(sizeof(int) * Max(n, 1));
	int32	   *ids;

	n = 0;
	hash_seq_init(&scan, build->label[t].texts);
	while ((entry = hash_seq_search(&scan)) != NULL)
		for (int c = 0; c < levels->classes; c++)
			if (strcmp(levels->class_name[c], entry->text) == 0)
			{
				cells[n] = entry->cell;
				classes[n++] = c;
				break;
			}
	vocabulary_index(&levels->vocabulary, cells, n, 0, build->data->context);
	ids = unconstify(int32 *, levels->vocabulary.ids);
	for (int64 i = 0; i < levels->vocabulary.capacity; i++)
		if (levels->vocabulary.keys[i] != CELL_NULL)
			ids[i] = ID_FIRST + classes[ids[i]];
	pfree(cells);
	pfree(classes);
}

bool
base_levels(Build *build, int t)
{
	const ModelImage *base = build->base;
	const ModelTask *task = &build->data->model->task[t];
	Levels	   *levels = &build->data->levels[t];
	int			known = base ? image_find_task(base, task->name) : -1;
	const ImageTask *was;

	if (known < 0)
		return false;
	was = &base->task[known];
	levels->classes = base->config.task[known].classes;
	levels->class_name = was->class_name;
	if (was->bounds == NULL)
	{
		find_classes(build, t, levels);
		return true;
	}
	if (build->label[t].kind == CELL_HASH)
		differs(base, "the label \"%s\" of task \"%s\" was a number", task->label, task->name);
	levels->number = true;
	levels->bounds = was->bounds;
	levels->n_within = was->n_within;
	levels->within_key = was->within_key;
	if (levels->n_within > 0)
		vocabulary_index(&levels->within, levels->within_key, levels->n_within, ID_FIRST, build->data->context);
	return true;
}

bool
base_statistics(const Build *build, int t, SampleRows *rows)
{
	const ModelTask *task = &build->data->model->task[t];
	int			known = build->base ? image_find_task(build->base, task->name) : -1;

	if (known < 0)
		return false;
	if (task->n_features > 0)
	{
		memcpy(rows->mean, build->base->task[known].mean, sizeof(float) * task->n_features);
		memcpy(rows->scale, build->base->task[known].scale, sizeof(float) * task->n_features);
	}
	return true;
}

/* ---------------- the catalogue ---------------- */

void
base_catalogue(Build *build)
{
	Dataset    *data = build->data;
	Catalogue  *catalogue = &data->catalogue;
	int64	   *counts;

	*catalogue = build->base->catalogue;
	counts = MemoryContextAllocExtended(data->context, sizeof(int64) * Max(catalogue->n, 1),
										MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	catalogue->count = counts;
	data->known = MemoryContextAllocExtended(data->context, Max(catalogue->n, 1),
											 MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	build->catalogue_index = MemoryContextAllocHuge(build->context, sizeof(int32) * Max(build->n_items, 1));
	for (int64 i = 0; i < build->n_items; i++)
	{
		const RawItem *item = &build->item[i];
		int32		at = catalogue_find(catalogue, item->key);

		build->catalogue_index[i] = at >= 0 ? at : ITEM_UNKNOWN;
		if (i % 4096 == 0)
			job_check();
		if (at < 0)
			continue;
		counts[at] = item->count;
		data->known[at] = item->catalog_row >= 0 || item->count > 0;
	}
}
