/*-------------------------------------------------------------------------
 *
 * resolve.c
 *	  Declared columns as features: where each comes from and how it is read
 *
 * Relations and columns are stored by name and looked up here each time, so
 * that a dump restores in any order and an altered table is noticed.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "catalog/pg_type.h"
#include "hint.h"
#include "model/model.h"
#include "pgtime.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#define MAX_DIM		512
#define MIN_BUCKETS 2
#define MAX_BUCKETS (1 << 24)
#define MAX_BANDS	1000

typedef struct Resolver
{
	const Model *model;
	FeatureSet *set;
	Oid			events;
	Oid			catalog;
	Oid			profile;
	bool		lenient;
} Resolver;

static const char *const derived_names[] = {"gap", "daypart", "recency", "activity"};

/* ---------------- what the options say about a column ---------------- */

static JsonbValue *
column_option(Jsonb *option, const char *column)
{
	JsonbValue *value = option == NULL ? NULL :
		getKeyJsonValueFromContainer(&option->root, column, strlen(column), NULL);

	return value != NULL && value->type != jbvNull ? value : NULL;
}

static bool
is_word(const JsonbValue *value, const char *word)
{
	return value->type == jbvString && value->val.string.len == strlen(word) &&
		memcmp(value->val.string.val, word, strlen(word)) == 0;
}

/* A whole number of a range, from an option about a column. */
static int
column_number(const char *option, const char *column, const JsonbValue *value, int min, int max)
{
	double		number = -1;

	if (value->type == jbvNumeric)
		number = DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow,
													NumericGetDatum(value->val.numeric)));
	if (!(number >= min && number <= max) || number != (int) number)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"%s\" of column \"%s\" must be a whole number between %d and %d",
						option, column, min, max)));
	return (int) number;
}

/* The option of the item column whose table a context column reads, or NULL. */
static char *
shared_table(const Model *model, const char *column)
{
	JsonbValue *value = column_option(model->options.encodings, column);

	if (value == NULL || value->type != jbvBinary || !JsonContainerIsObject(value->val.binary.data))
		return NULL;
	value = getKeyJsonValueFromContainer(value->val.binary.data, "table", strlen("table"), NULL);
	return value != NULL && value->type == jbvString ?
		pnstrdup(value->val.string.val, value->val.string.len) : NULL;
}

/* A text column's words by a text search configuration, whose name is kept. */
static void
words_option(Feature *feature, const JsonbValue *value)
{
	if (value->type != jbvString || value->val.string.len == 0 || value->val.string.len >= sizeof(feature->words))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"words\" of column \"%s\" must be the name of a text search configuration", feature->name),
				 errhint("For example {\"words\": \"english\"}.")));
	memcpy(feature->words, value->val.string.val, value->val.string.len);
}

/* Set the encoding from the option "encodings", if it speaks of the feature. */
static void
encoding_option(const Model *model, Feature *feature)
{
	JsonbValue *value = column_option(model->options.encodings, feature->name);
	JsonbValue *inner = NULL;

	if (value == NULL)
		return;
	if (is_word(value, "id"))
		feature->encoding = ENCODE_ID;
	else if (is_word(value, "bands"))
		feature->encoding = ENCODE_BANDS;
	else if (value->type == jbvBinary && JsonContainerIsObject(value->val.binary.data) &&
			 JsonContainerSize(value->val.binary.data) == 1)
	{
		JsonbContainer *object = value->val.binary.data;

		if ((inner = getKeyJsonValueFromContainer(object, "hash", 4, NULL)) != NULL)
		{
			feature->encoding = ENCODE_HASH;
			feature->buckets = column_number("hash", feature->name, inner, MIN_BUCKETS, MAX_BUCKETS);
		}
		else if ((inner = getKeyJsonValueFromContainer(object, "bands", 5, NULL)) != NULL)
		{
			feature->encoding = ENCODE_BANDS;
			feature->bands = column_number("bands", feature->name, inner, 2, MAX_BANDS);
		}
		else if ((inner = getKeyJsonValueFromContainer(object, "words", 5, NULL)) != NULL)
		{
			feature->encoding = ENCODE_ID;
			words_option(feature, inner);
		}
	}
	if (inner == NULL && value->type != jbvString)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unrecognized encoding of column \"%s\"", feature->name),
				 errhint("Encodings are \"id\", \"bands\", {\"hash\": buckets}, {\"bands\": number}, {\"words\": text search configuration} and, for context columns, {\"table\": item column}.")));
	if (value->type == jbvString && !is_word(value, "id") && !is_word(value, "bands"))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unrecognized encoding \"%s\" of column \"%s\"",
						pnstrdup(value->val.string.val, value->val.string.len), feature->name),
				 errhint("Encodings are \"id\", \"bands\", {\"hash\": buckets}, {\"bands\": number}, {\"words\": text search configuration} and, for context columns, {\"table\": item column}.")));
}

/*
 * Where a property enters: `use` unless the options say otherwise, and never
 * where "properties" lets none in, or where there is no attention.
 */
static int
use_option(const Model *model, const char *column, int use)
{
	JsonbValue *value = column_option(model->options.uses, column);
	bool		found = value == NULL;

	for (int i = 0; i <= NN_USE_BOTH && !found; i++)
		if (is_word(value, feature_use_name[i]))
		{
			use = i;
			found = true;
		}
	if (!found)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unrecognized use of column \"%s\"", column),
				 errhint("Uses are \"none\", \"gates\", \"attention\" and \"both\".")));
	if (model->options.pooling != NN_POOL_ATTENTION)
	{
		if (value != NULL && (use & NN_USE_ATTENTION))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("column \"%s\" cannot enter the attention: \"pooling\" is \"%s\"",
							column, nn_pooling_name[model->options.pooling]),
					 errhint("Its use can be \"gates\" or \"none\".")));
		use &= NN_USE_GATES;
	}
	return use & model->options.properties;
}

static void
width_option(const Model *model, Feature *feature)
{
	JsonbValue *value = column_option(model->options.widths, feature->name);

	if (feature->group == NN_ITEM && model->options.item_sum)
	{
		if (value != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("column \"%s\" cannot have a width of its own when item columns are added up",
							feature->name),
					 errhint("Set the width of all with \"item_dim\".")));
		feature->dim = model->options.item_dim;
	}
	else if (value != NULL)
		feature->dim = column_number("widths", feature->name, value, 1, MAX_DIM);
}

/* ---------------- names ---------------- */

static void
check_count(const char *what, int n, int limit)
{
	if (n > limit)
		ereport(ERROR,
				(errcode(ERRCODE_TOO_MANY_COLUMNS),
				 errmsg("too many %s columns: %d, of at most %d", what, n, limit)));
}

static int
add_names(const char **names, int n, char **columns, int n_columns)
{
	for (int i = 0; i < n_columns; i++)
	{
		for (int d = 0; d < lengthof(derived_names); d++)
			if (strcmp(columns[i], derived_names[d]) == 0)
				ereport(ERROR,
						(errcode(ERRCODE_RESERVED_NAME),
						 errmsg("column name \"%s\" is taken by a derived feature", columns[i]),
						 errhint("Give the column another name in a view.")));
		for (int k = 0; k < n; k++)
			if (strcmp(names[k], columns[i]) == 0)
				ereport(ERROR,
						(errcode(ERRCODE_DUPLICATE_COLUMN),
						 errmsg("column \"%s\" is named more than once", columns[i]),
						 errhint("A name means one feature of a model; give the other column another name in a view.")));
		names[n++] = columns[i];
	}
	return n;
}

/* Options about columns may name only columns that are there. */
static void
check_option_names(const char *option, Jsonb *object, const char *const *names, int n)
{
	char	  **given;
	int			n_given;

	if (object == NULL)
		return;
	given = jsonb_object_names(object, &n_given);
	for (int g = 0; g < n_given; g++)
	{
		bool		found = false;

		for (int i = 0; i < n && !found; i++)
			found = strcmp(names[i], given[g]) == 0;
		if (!found)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("option \"%s\" names \"%s\", which is no column it can apply to", option, given[g]),
					 errhint("%s", name_hint("column", given[g], names, n))));
	}
}

/* Several tasks may name the same. */
static int
add_thing_name(const char **names, int n, const char *name)
{
	for (int i = 0; i < n; i++)
		if (strcmp(names[i], name) == 0)
			return n;
	if (n < NN_GROUPS * NN_MAX_FEATURES)
		names[n++] = name;
	return n;
}

static void
check_names(const Model *model)
{
	const ModelOptions *options = &model->options;
	const char *names[NN_GROUPS * NN_MAX_FEATURES + lengthof(derived_names)];
	const char *events_columns[] = {model->relations.user_column, model->relations.time_column};
	int			n = 0,
				first_behavior;

	check_count("item", model->n_item, NN_MAX_FEATURES);
	check_count("behavior", model->n_behavior, NN_MAX_FEATURES - 2);
	check_count("profile", model->n_profile, NN_MAX_FEATURES - 1);
	check_count("context", model->n_context, NN_MAX_FEATURES);
	if (model->n_item == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"item_columns\" must name at least one column"),
				 errhint("The first one is the item's key, for example '{item_id}'.")));

	if (model->n_profile > 0 && model->relations.profile == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"profile_columns\" needs \"profile\""),
				 errhint("Name the relation with one row per user, and its key.")));

	n = add_names(names, n, model->item_columns, model->n_item);
	first_behavior = n;
	n = add_names(names, n, model->behavior_columns, model->n_behavior);
	for (int i = 0; i < n; i++)
		for (int k = 0; k < lengthof(events_columns); k++)
			if (strcmp(names[i], events_columns[k]) == 0)
				ereport(ERROR,
						(errcode(ERRCODE_DUPLICATE_COLUMN),
						 errmsg("column \"%s\" is the %s column and cannot be a feature too",
								names[i], k == 0 ? "user" : "time"),
						 k == 0 ? errhint("What users are goes into profile_columns.") :
						 errhint("What time tells is derived from it.")));
	n = add_names(names, n, model->profile_columns, model->n_profile);
	n = add_names(names, n, model->context_columns, model->n_context);
	for (int t = 0; t < model->n_tasks; t++)
		for (int i = 0; i < model->task[t].options.n_things; i++)
			n = add_thing_name(names, n, model->task[t].options.things[i]);
	check_option_names("encodings", options->encodings, names, n);

	for (int d = 0; d < lengthof(derived_names); d++)
		if (strcmp(derived_names[d], options->time_paper ? "gap" : "recency") != 0 &&
			(options->activity || strcmp(derived_names[d], "activity") != 0))
			names[n++] = derived_names[d];
	check_option_names("widths", options->widths, names, n);

	/* uses: behaviour columns and what is derived from time */
	{
		const char *uses[NN_MAX_FEATURES];
		int			n_uses = 0;

		for (int i = 0; i < model->n_behavior; i++)
			uses[n_uses++] = names[first_behavior + i];
		uses[n_uses++] = options->time_paper ? "recency" : "gap";
		uses[n_uses++] = "daypart";
		check_option_names("uses", options->uses, uses, n_uses);
	}
}

/* ---------------- features ---------------- */

static Feature *
add_feature(Resolver *r, nn_group group, const char *name, FeatureSource source)
{
	Feature    *feature = &r->set->f[group][r->set->n[group]++];

	strlcpy(feature->name, name, sizeof(feature->name));
	feature->group = group;
	feature->source = source;
	feature->shares = -1;
	feature->use = NN_USE_BOTH;
	feature->min_count = r->model->options.min_count;
	feature->bands = r->model->options.bands;
	return feature;
}

static Feature *
add_derived(Resolver *r, nn_group group, const char *name, FeatureSource source, bool multi, int use)
{
	Feature    *feature = add_feature(r, group, name, source);

	feature->encoding = ENCODE_FIXED;
	feature->kind = CELL_INTEGER;
	feature->multi = multi;
	feature->use = use;
	width_option(r->model, feature);
	return feature;
}

/* Words are found in texts that are not keys. */
static void
check_words(const Resolver *r, const Feature *feature, Oid element, bool is_key)
{
	char		category;
	bool		preferred;

	if (r->lenient)
		return;
	get_type_category_preferred(element, &category, &preferred);
	if (is_key)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the item key column \"%s\" cannot be read as words", feature->name),
				 errhint("The first item column is the item's key, which is an id.")));
	if (category != TYPCATEGORY_STRING || feature->multi)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" has type %s and cannot be read as words",
						feature->name, format_type_be(feature->type)),
				 errhint("Words are for texts.")));
	words_check(feature->words);
}

/* A property derived from time: its place, or -1 where it enters nowhere. */
static int
add_time(Resolver *r, const char *name, bool multi, int use)
{
	int			place = r->set->n[NN_PROPERTY];

	use = use_option(r->model, name, use);
	if (use == 0)
		return -1;
	add_derived(r, NN_PROPERTY, name, FROM_TIME, multi, use);
	return place;
}

/* How values of a type are read: by the type, then by the options. */
static void
set_type(Resolver *r, Feature *feature, Oid type)
{
	TypeUse		type_is = OidIsValid(type) ? type_use(type) : TYPE_UNUSABLE;
	bool		is_key = feature == &r->set->f[NN_ITEM][0];
	CellType	cell;

	if (type_is == TYPE_UNUSABLE)
	{
		if (r->lenient)
			return;
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" has type %s, which cannot be a feature",
						feature->name, format_type_be(type)),
				 errhint("Integers, text, uuid, boolean, enums and arrays of these are ids; real, double precision and numeric are numbers. Cast the column in a view.")));
	}
	feature->type = type;
	strlcpy(feature->type_name, format_type_be(type), sizeof(feature->type_name));
	feature->encoding = type_is == TYPE_NUMBER && !is_key ? ENCODE_BANDS : ENCODE_ID;
	feature->multi = type_is == TYPE_ID_ARRAY;
	encoding_option(r->model, feature);
	cell_type_init(&cell, type, feature->encoding != ENCODE_BANDS, CurrentMemoryContext);
	feature->kind = cell.kind;
	if (feature->words[0] != '\0')
	{
		check_words(r, feature, cell.element, is_key);
		feature->multi = true;
	}
	if (feature->encoding == ENCODE_BANDS &&
		(feature->multi || feature->kind == CELL_HASH || cell.element == BOOLOID))
	{
		if (!r->lenient)
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("column \"%s\" has type %s and cannot be cut into bands",
							feature->name, format_type_be(type)),
					 errhint("Bands are for numbers.")));
		feature->encoding = ENCODE_ID;
	}
	width_option(r->model, feature);
	feature_set_vocab(r->set, feature);
	if (feature->encoding == ENCODE_BANDS)
		feature->vocab = 0;		/* not before the bands are learned */
}

static void
missing_column(const char *what, const char *column, const char *relation_name, Oid relation)
{
	int			n;
	const char **names = relation_columns(relation, &n);

	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("%s column \"%s\" of relation %s does not exist", what, column, relation_name),
			 errhint("%s", name_hint("column", column, names, n))));
}

/* An item column that neither the events nor the catalog, if there is one, have. */
static void
missing_item_column(const Resolver *r, const char *column)
{
	const Relations *relations = &r->model->relations;
	int			n;
	int			more;
	const char **names = relation_columns(r->events, &n);
	const char **others;

	if (relations->catalog == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("item column \"%s\" of relation %s does not exist", column, relations->events),
				 errhint("%s Columns of items that events lack come from \"catalog\".",
						 name_hint("column", column, names, n))));
	others = relation_columns(r->catalog, &more);
	names = repalloc(names, sizeof(char *) * (n + more));
	memcpy(names + n, others, sizeof(char *) * more);
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("item column \"%s\" is neither in %s nor in the catalog %s",
					column, relations->events, relations->catalog),
			 errhint("%s", name_hint("column", column, names, n + more))));
}

static void
add_item(Resolver *r, int i)
{
	const Relations *relations = &r->model->relations;
	const char *name = r->model->item_columns[i];
	FeatureSource source = FROM_EVENTS;
	Feature    *feature;
	Oid			type;

	/* what both have comes from the event: a catalog shows only today */
	if (relation_column(r->events, name, &type) == InvalidAttrNumber)
	{
		/* the key of items is what joins the two, so it must be an event's */
		if (i > 0 && relation_column(r->catalog, name, &type) != InvalidAttrNumber)
			source = FROM_CATALOG;
		else if (!r->lenient && i == 0 && relation_column(r->catalog, name, NULL) != InvalidAttrNumber)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("item column \"%s\" of relation %s does not exist", name, relations->events),
					 errhint("The first item column is the item's key, by which events find their row of the catalog.")));
		else if (!r->lenient && i > 0)
			missing_item_column(r, name);
		else if (!r->lenient)
			missing_column("item", name, relations->events, r->events);
	}
	feature = add_feature(r, NN_ITEM, name, source);
	if (i == 0 && !r->model->options.item_id)
		feature->min_count = NEVER_ENOUGH;
	set_type(r, feature, type);
}

/* The type of a context column is that of the samples that have it, and of events that tell it. */
static Oid
context_type(const Resolver *r, const char *name)
{
	Oid			result = InvalidOid;
	const char *first = NULL;
	bool		of_events = r->model->options.event_context &&
		relation_column(r->events, name, &result) != InvalidAttrNumber;

	if (of_events)
		first = r->model->relations.events;
	for (int t = 0; t < r->model->n_tasks; t++)
	{
		const char *samples = r->model->task[t].samples;
		Oid			type;

		if (samples == NULL ||
			relation_column(r->lenient ? relation_oid_lenient(samples) : relation_oid(samples),
							name, &type) == InvalidAttrNumber)
			continue;
		if (OidIsValid(result) && !same_key_type(type, result) && !r->lenient)
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("context column \"%s\" has type %s in %s and %s in %s", name,
							format_type_be(result), first, format_type_be(type), samples)));
		result = type;
		first = samples;
	}
	return result;
}

static void
add_context(Resolver *r, const char *name)
{
	char	   *table = shared_table(r->model, name);
	Oid			type = context_type(r, name);
	Feature    *feature = add_feature(r, NN_CONTEXT, name, FROM_CONTEXT);
	const Feature *item;
	int			shares = -1;

	if (table == NULL)
	{
		set_type(r, feature, OidIsValid(type) ? type : TEXTOID);
		return;
	}

	for (int i = 0; i < r->set->n[NN_ITEM]; i++)
		if (strcmp(r->set->f[NN_ITEM][i].name, table) == 0)
			shares = i;
	if (shares < 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("context column \"%s\" shares the table of \"%s\", which is no item column", name, table),
				 errhint("%s", name_hint("item column", table,
										 (const char *const *) r->model->item_columns, r->model->n_item))));
	item = &r->set->f[NN_ITEM][shares];
	if (OidIsValid(type) && OidIsValid(item->type) && !same_key_type(type, item->type) && !r->lenient)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("context column \"%s\" has type %s, but the item column \"%s\" whose table it shares has type %s",
						name, format_type_be(type), table, item->type_name)));

	if (item->min_count == NEVER_ENOUGH && !r->lenient)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("context column \"%s\" cannot share the table of \"%s\"", name, table),
				 errdetail("\"item_id\": false leaves that table out.")));

	/* one table, one way into it */
	*feature = *item;
	strlcpy(feature->name, name, sizeof(feature->name));
	feature->group = NN_CONTEXT;
	feature->source = FROM_CONTEXT;
	feature->shares = shares;
}

/* A column of samples that describes candidates; tasks that name the same one share its table. */
static void
add_thing(Resolver *r, const ModelTask *task, const char *name)
{
	Oid			samples;
	Oid			type = InvalidOid;

	/* task_check says that there must be samples */
	if (task->samples == NULL)
		return;
	samples = r->lenient ? relation_oid_lenient(task->samples) : relation_oid(task->samples);
	if (relation_column(samples, name, &type) == InvalidAttrNumber && !r->lenient)
		missing_column("thing", name, task->samples, samples);
	for (int g = 0; g < NN_GROUPS; g++)
		for (int f = 0; f < r->set->n[g]; f++)
		{
			const Feature *feature = &r->set->f[g][f];

			if (strcmp(feature->name, name) != 0)
				continue;
			if (g != NN_THING && !r->lenient)
				ereport(ERROR,
						(errcode(ERRCODE_DUPLICATE_COLUMN),
						 errmsg("thing \"%s\" of task \"%s\" is one of the %s columns", name, task->name, nn_group_name[g]),
						 g == NN_ITEM ? errhint("Name it in the option \"candidate\".") : 0));
			if (!r->lenient && !same_key_type(type, feature->type))
				ereport(ERROR,
						(errcode(ERRCODE_DATATYPE_MISMATCH),
						 errmsg("thing \"%s\" has type %s in %s and %s in the samples of another task", name,
								format_type_be(type), task->samples, format_type_be(feature->type))));
			return;
		}
	check_count("thing", r->set->n[NN_THING] + 1, NN_MAX_FEATURES);
	set_type(r, add_feature(r, NN_THING, name, FROM_SAMPLES), type);
}

static FeatureSet *
resolve(const Model *model, MemoryContext context, bool lenient)
{
	const Relations *relations = &model->relations;
	const ModelOptions *options = &model->options;
	FeatureSet *set = MemoryContextAllocZero(context, sizeof(FeatureSet));
	Oid			(*find) (const char *) = lenient ? relation_oid_lenient : relation_oid;
	Resolver	r = {.model = model, .set = set, .lenient = lenient};

	r.events = find(relations->events);
	r.catalog = relations->catalog != NULL ? find(relations->catalog) : InvalidOid;
	r.profile = relations->profile != NULL ? find(relations->profile) : InvalidOid;

	set->gap = set->daypart = set->recency = set->activity = -1;
	set->types = 1;
	set->max_events = options->max_events;
	set->event_context = options->event_context;
	set->lag_bias = !options->time_paper && options->pooling == NN_POOL_ATTENTION;
	set->recency_bias = set->lag_bias && (options->properties & NN_USE_ATTENTION);
	strlcpy(set->timezone, model->timezone, sizeof(set->timezone));
	set->tz = pg_tzset(model->timezone);
	if (set->tz == NULL && !lenient)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("time zone \"%s\" not recognized", model->timezone),
				 errhint("The view pg_timezone_names lists them.")));

	check_names(model);
	for (int i = 0; i < model->n_item; i++)
		add_item(&r, i);
	for (int i = 0; i < model->n_behavior; i++)
	{
		const char *name = model->behavior_columns[i];
		int			use = use_option(model, name, NN_USE_BOTH);
		Feature    *feature;
		Oid			type;

		if (relation_column(r.events, name, &type) == InvalidAttrNumber && !lenient)
			missing_column("behavior", name, relations->events, r.events);
		if (use == 0)
			continue;
		feature = add_feature(&r, NN_PROPERTY, name, FROM_EVENTS);
		feature->use = use;
		set_type(&r, feature, type);
	}
	for (int i = 0; i < model->n_profile; i++)
	{
		const char *name = model->profile_columns[i];
		Oid			type;

		if (relation_column(r.profile, name, &type) == InvalidAttrNumber && !lenient)
			missing_column("profile", name, relations->profile, r.profile);
		set_type(&r, add_feature(&r, NN_PROFILE, name, FROM_PROFILE), type);
	}
	for (int i = 0; i < model->n_context; i++)
		add_context(&r, model->context_columns[i]);

	for (int t = 0; t < model->n_tasks; t++)
		for (int i = 0; i < model->task[t].options.n_things; i++)
			add_thing(&r, &model->task[t], model->task[t].options.things[i]);

	/* what is derived comes last in its group */
	if (options->time_paper)
		set->recency = add_time(&r, "recency", false, NN_USE_BOTH);
	else
		set->gap = add_time(&r, "gap", false, NN_USE_GATES);
	set->daypart = add_time(&r, "daypart", true, NN_USE_BOTH);
	if (options->activity)
	{
		set->activity = set->n[NN_PROFILE];
		add_derived(&r, NN_PROFILE, "activity", FROM_WINDOW, true, NN_USE_BOTH);
	}
	for (int g = 0; g < NN_GROUPS; g++)
		for (int f = 0; f < set->n[g]; f++)
			if (set->f[g][f].encoding == ENCODE_FIXED)
				feature_set_vocab(set, &set->f[g][f]);
	return set;
}

FeatureSet *
model_features(const Model *model, MemoryContext context)
{
	return resolve(model, context, false);
}

FeatureSet *
model_features_lenient(const Model *model, MemoryContext context)
{
	return resolve(model, context, true);
}
