/*-------------------------------------------------------------------------
 *
 * check_task.c
 *	  Is the declaration of a task right?
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "catalog/pg_type.h"
#include "hint.h"
#include "model/check.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#define MAX_SAMPLE_FEATURES 256

static bool
is_integer(Oid type)
{
	Oid			base = getBaseType(type);

	return base == INT2OID || base == INT4OID || base == INT8OID;
}

static bool
is_number(Oid type)
{
	return type_use(type) == TYPE_NUMBER || is_integer(type) || getBaseType(type) == BOOLOID;
}

static void pg_attribute_noreturn()
missing_argument(const ModelTask *task, const char *argument, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("a task of kind \"%s\" needs \"%s\"", nn_kind_name[task->kind], argument),
			 errhint("%s", hint)));
}

static void
refuse_argument(const ModelTask *task, const char *argument, bool given)
{
	if (given)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a task of kind \"%s\"%s takes no \"%s\"", nn_kind_name[task->kind],
						task->kind == NN_NEXT_ITEM ? "" :
						task->samples != NULL ? " with samples" : " without samples",
						argument)));
}

static void
refuse_features(const ModelTask *task)
{
	if (task->n_features > 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a task of kind \"%s\"%s takes no \"features\"", nn_kind_name[task->kind],
						task->options.negatives > 0 ? " with \"negatives\"" :
						task->kind == NN_NEXT_ITEM ? "" : " without samples"),
				 errhint("Features are numbers that were logged with each sample; events and drawn items have none.")));
}

static void
check_number_column(const Model *model, Oid relation, const char *relation_name,
					const char *what, const char *column)
{
	Oid			type;
	AttrNumber	attnum = check_column(relation, relation_name, what, column, &type);

	if (!is_number(type))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("%s \"%s\" has type %s, but must be a number", what, column, format_type_be(type))));
	check_select(model, relation, attnum, column);
}

/* A label or what it is cut within: a column of the events, or of the catalog
 * if it is an item column of the model, which is what jobs read of it. */
static Oid
check_stream_column(const Model *model, const FeatureSet *set, const char *what, const char *column)
{
	Oid			events = relation_oid(model->relations.events);
	Oid			type;
	AttrNumber	attnum = relation_column(events, column, &type);
	int			n;
	const char **names;

	if (attnum != InvalidAttrNumber)
	{
		check_select(model, events, attnum, column);
		return type;
	}
	for (int f = 0; f < set->n[NN_ITEM]; f++)
	{
		const Feature *feature = &set->f[NN_ITEM][f];

		if (strcmp(feature->name, column) != 0)
			continue;
		if (type_use(feature->type) == TYPE_NUMBER && feature->kind == CELL_HASH)
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("%s \"%s\" of the catalog is read as an id, not as a number", what, column),
					 errhint("Leave it out of the option \"encodings\" or give it bands there.")));
		return feature->type;
	}

	names = relation_columns(events, &n);
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("%s \"%s\" is neither in %s nor an item column of the model",
					what, column, model->relations.events),
			 errhint("%s", name_hint("column", column, names, n))));
}

static void
check_class_type(const char *what, const char *column, Oid type)
{
	if (type_use(type) != TYPE_ID)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("%s \"%s\" has type %s, which has no classes", what, column, format_type_be(type)),
				 errhint("Integers, text, uuid, boolean and enums have.")));
}

/* ---------------- values named in options ---------------- */

typedef struct ValueColumn
{
	const char *option;
	const char *column;
	Oid			type;
} ValueColumn;

static void
value_context(void *arg)
{
	errcontext("option \"%s\", column \"%s\"", ((ValueColumn *) arg)->option, ((ValueColumn *) arg)->column);
}

/* A value must be one that the column's type reads, so that a mistyped enum is noticed now. */
static void
check_value(ValueColumn *column, char *text)
{
	ErrorContextCallback callback = {error_context_stack, value_context, column};
	Oid			input,
				parameter;

	getTypeInputInfo(column->type, &input, &parameter);
	error_context_stack = &callback;
	OidInputFunctionCall(input, text, parameter, -1);
	error_context_stack = callback.previous;
}

static void
check_where_value(ValueColumn *where, const JsonbValue *value)
{
	char	   *text = jsonb_value_text(value);

	if (text == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"where\" must give column \"%s\" a value or an array of values", where->column),
				 errhint("For example {\"%s\": [\"buy\", \"cart\"]}.", where->column)));
	check_value(where, text);
}

static void
check_where(const FeatureSet *set, Jsonb *where)
{
	int			n;
	char	  **columns = jsonb_object_names(where, &n);

	for (int i = 0; i < n; i++)
	{
		const char *names[2 * NN_MAX_FEATURES];
		int			n_names = 0;
		const Feature *feature = NULL;
		ValueColumn column = {"where", columns[i], InvalidOid};
		CellType	type;
		JsonbValue *value = getKeyJsonValueFromContainer(&where->root, columns[i], strlen(columns[i]), NULL);

		for (int g = NN_ITEM; g <= NN_PROPERTY; g++)
			for (int f = 0; f < set->n[g]; f++)
				if (set->f[g][f].encoding != ENCODE_FIXED && set->f[g][f].words[0] == '\0')
				{
					names[n_names++] = set->f[g][f].name;
					if (strcmp(set->f[g][f].name, columns[i]) == 0)
						feature = &set->f[g][f];
				}
		if (feature == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("option \"where\" names \"%s\", which is no item or behavior column", columns[i]),
					 errhint("%s", name_hint("column", columns[i], names, n_names))));

		cell_type_init(&type, feature->type, true, CurrentMemoryContext);
		column.type = type.element;
		if (value->type == jbvBinary && JsonContainerIsArray(value->val.binary.data))
		{
			JsonbContainer *array = value->val.binary.data;

			for (int k = 0; k < JsonContainerSize(array); k++)
				check_where_value(&column, getIthJsonbValueFromContainer(array, k));
		}
		else
			check_where_value(&column, value);
	}
}

/* ---------------- weights ---------------- */

/* Labels are yes and no. */
static void
check_binary_weights(const NamedWeights *weights)
{
	bool		named[2] = {false, false};

	for (int i = 0; i < weights->n; i++)
	{
		bool		label;

		if (!parse_bool(weights->name[i], &label))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("option \"label_weights\" names \"%s\", which is no label", weights->name[i]),
					 errhint("Labels are \"true\" or \"1\", and \"false\" or \"0\".")));
		if (named[label])
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("option \"label_weights\" names a label twice, the second time as \"%s\"",
							weights->name[i]),
					 errhint("Labels are \"true\" or \"1\", and \"false\" or \"0\".")));
		named[label] = true;
	}
}

/* Classes are values of the label, or levels of it. */
static void
check_class_weights(const ModelTask *task, Oid label_type)
{
	const NamedWeights *weights = task->options.label_weights;
	bool		number = type_use(label_type) == TYPE_NUMBER;
	ValueColumn column = {"label_weights", task->label, getBaseType(label_type)};

	for (int i = 0; i < weights->n; i++)
	{
		int			level;
		int			end = 0;

		if ((number || is_integer(label_type)) &&
			sscanf(weights->name[i], "level %d%n", &level, &end) == 1 && weights->name[i][end] == '\0' &&
			level >= 1 && level <= task->options.levels)
			continue;
		if (number || task->options.within != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("option \"label_weights\" names \"%s\", which is no level", weights->name[i]),
					 errhint("Levels are \"level 1\", the lowest, to \"level %d\".", task->options.levels)));
		check_value(&column, weights->name[i]);
	}
}

static void
check_type_weights(const FeatureSet *set, const NamedWeights *weights)
{
	const Feature *feature = &set->f[NN_PROPERTY][0];
	ValueColumn column = {"type_weights", feature->name, InvalidOid};
	CellType	type;

	if (set->n[NN_PROPERTY] == 0 || feature->encoding == ENCODE_FIXED || feature->multi)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"type_weights\" needs a behavior type"),
				 errhint("It is the first of the model's behavior_columns, with one value an event.")));
	cell_type_init(&type, feature->type, true, CurrentMemoryContext);
	column.type = type.element;
	for (int i = 0; i < weights->n; i++)
		check_value(&column, weights->name[i]);
}

/* ---------------- samples ---------------- */

/* samples InvalidOid: candidates are items of the events. */
static void
check_candidate(const Model *model, const FeatureSet *set, const ModelTask *task, Oid samples)
{
	int			candidate[NN_MAX_FEATURES];

	bool		has_key = !OidIsValid(samples) ||
		relation_column(samples, model->relations.item_key, NULL) != InvalidAttrNumber;

	for (int i = 0; i < task->options.n_candidate; i++)
	{
		const char *name = task->options.candidate[i];
		bool		declared = false;

		for (int k = 0; k < model->n_item; k++)
			declared = declared || strcmp(model->item_columns[k], name) == 0;
		if (!declared)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("candidate column \"%s\" is no item column of the model", name),
					 errhint("%s", name_hint("item column", name, (const char *const *) model->item_columns,
											 model->n_item))));
		if (!has_key && relation_column(samples, name, NULL) == InvalidAttrNumber)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("candidate column \"%s\" cannot be had for the samples %s", name, task->samples),
					 errhint("The samples need it, or the item's key \"%s\" to look it up by.",
							 model->relations.item_key)));
		for (int k = 0; k < i; k++)
			if (strcmp(task->options.candidate[k], name) == 0)
				ereport(ERROR,
						(errcode(ERRCODE_DUPLICATE_COLUMN),
						 errmsg("candidate column \"%s\" is named more than once", name)));
	}
	for (int i = 0; i < task->options.n_things; i++)
	{
		const char *name = task->options.things[i];

		if (!OidIsValid(samples) || task->options.negatives > 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("option \"things\" needs samples of what was offered"),
					 errhint("What \"negatives\" draws are items, and has no \"%s\".", name)));
		check_select(model, samples, relation_column(samples, name, NULL), name);
		for (int k = 0; k < i; k++)
			if (strcmp(task->options.things[k], name) == 0)
				ereport(ERROR,
						(errcode(ERRCODE_DUPLICATE_COLUMN),
						 errmsg("thing \"%s\" is named more than once", name)));
	}
	if (task->options.negatives > 0 && task_candidate(model, set, task, candidate) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"negatives\" needs a candidate"),
				 OidIsValid(samples) ? errhint("The samples need the item's key \"%s\", or other item columns.", model->relations.item_key) :
				 errhint("Name item columns with the option \"candidate\", or leave it out for all.")));
}

static void
check_feature(const Model *model, const ModelTask *task, Oid samples, int i)
{
	const char *catalog = model->relations.catalog;
	bool		flipped;
	const char *column = feature_column(task->kind, task->features[i], &flipped);

	if (catalog != NULL && relation_column(samples, column, NULL) == InvalidAttrNumber &&
		relation_column(relation_oid(catalog), column, NULL) != InvalidAttrNumber)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("feature \"%s\" is not in the samples %s, but only in the catalog %s",
						column, task->samples, catalog),
				 errhint("Log it with each sample as it was then: today's value knows what came after, the labels among it.")));
	check_number_column(model, samples, task->samples, "feature", column);
	if (task->label != NULL && strcmp(column, task->label) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("feature \"%s\" is the label", column)));
	for (int k = 0; k < i; k++)
	{
		bool		other;

		if (strcmp(feature_column(task->kind, task->features[k], &other), column) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_COLUMN),
					 errmsg("feature \"%s\" is named more than once", column)));
	}
}

/* Columns that say where, and with what, samples were shown. */
static void
check_offers(const Model *model, const FeatureSet *set, const ModelTask *task, Oid samples)
{
	const TaskOptions *options = &task->options;
	int			candidate[NN_MAX_FEATURES];
	Oid			type;
	AttrNumber	attnum;

	if (options->position_column != NULL)
	{
		attnum = check_column(samples, task->samples, "position column", options->position_column, &type);
		if (!is_integer(type))
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("position column \"%s\" has type %s, but must be an integer",
							options->position_column, format_type_be(type)),
					 errhint("It counts places from 0, the first.")));
		check_select(model, samples, attnum, options->position_column);
	}
	if (options->pairwise > 0 && task->kind == NN_BINARY && task->n_features == 0 &&
		task_candidate(model, set, task, candidate) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"pairwise\" needs a candidate or features"),
				 errhint("Without, all samples of a moment have the same score.")));
	if (options->group_column != NULL)
	{
		if (options->pairwise == 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("option \"group_column\" needs \"pairwise\""),
					 errhint("Samples of a group are compared in pairs: {\"pairwise\": 0.5}.")));
		attnum = check_column(samples, task->samples, "group column", options->group_column, &type);
		check_class_type("group column", options->group_column, type);
		check_select(model, samples, attnum, options->group_column);
	}
}

static void
check_samples(const Model *model, const FeatureSet *set, const ModelTask *task)
{
	const Relations *relations = &model->relations;
	const TaskOptions *options = &task->options;
	const char *user = options->user_column ? options->user_column : relations->user_column;
	const char *time = options->time_column ? options->time_column : relations->time_column;
	Oid			samples = relation_oid(task->samples);
	Oid			type,
				user_type;
	AttrNumber	attnum;

	check_relation(samples, task->samples);

	attnum = relation_column(samples, user, &type);
	if (attnum == InvalidAttrNumber)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("samples %s have no user column \"%s\"", task->samples, user),
				 errhint("If it has another name there, say so with the option \"user_column\".")));
	relation_column(relation_oid(relations->events), relations->user_column, &user_type);
	check_same_key("user column of the samples", user, type,
				   "that of the events", relations->user_column, user_type);
	check_select(model, samples, attnum, user);

	attnum = relation_column(samples, time, &type);
	if (attnum == InvalidAttrNumber)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("samples %s have no time column \"%s\"", task->samples, time),
				 errhint("If it has another name there, say so with the option \"time_column\"; a sample sees only what was before it.")));
	check_time_type(time, type);
	check_select(model, samples, attnum, time);

	if (options->weight_column != NULL)
		check_number_column(model, samples, task->samples, "weight column", options->weight_column);

	if (task->n_features > MAX_SAMPLE_FEATURES)
		ereport(ERROR,
				(errcode(ERRCODE_TOO_MANY_COLUMNS),
				 errmsg("too many features: %d, of at most %d", task->n_features, MAX_SAMPLE_FEATURES)));
	for (int i = 0; i < task->n_features; i++)
		check_feature(model, task, samples, i);
	check_offers(model, set, task, samples);

	/* item and context columns that the samples have must mean what the model's mean */
	for (int f = 0; f < set->n[NN_ITEM] && task->kind != NN_MULTICLASS; f++)
	{
		const Feature *feature = &set->f[NN_ITEM][f];
		CellType	cell;

		attnum = relation_column(samples, feature->name, &type);
		if (attnum == InvalidAttrNumber)
			continue;
		cell_type_init(&cell, type, feature->encoding != ENCODE_BANDS, CurrentMemoryContext);
		if (cell.kind != feature->kind || (cell.array && !feature->multi))
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("column \"%s\" of samples %s has type %s, but the model reads it as %s",
							feature->name, task->samples, format_type_be(type), feature->type_name)));
		check_select(model, samples, attnum, feature->name);
	}
	for (int f = 0; f < set->n[NN_CONTEXT]; f++)
	{
		attnum = relation_column(samples, set->f[NN_CONTEXT][f].name, NULL);
		if (attnum != InvalidAttrNumber)
			check_select(model, samples, attnum, set->f[NN_CONTEXT][f].name);
	}
	check_candidate(model, set, task, samples);
}

/* ---------------- the whole ---------------- */

void
task_check(const Model *model, const FeatureSet *set, const ModelTask *task)
{
	Oid			label_type = InvalidOid;

	if (task->kind == NN_NEXT_ITEM)
	{
		refuse_argument(task, "samples", task->samples != NULL);
		refuse_argument(task, "label", task->label != NULL);
		refuse_features(task);
	}
	else
	{
		if (task->kind != NN_MULTICLASS && task->samples == NULL && task->options.negatives == 0)
			missing_argument(task, "samples", task->kind == NN_RANK ?
							 "Name the relation with one row per decision: user, time, what was offered, and whether it was taken." :
							 "Name the relation with one row per decision: user, time, what was offered, and whether it was taken. Where only what was taken is known, the option \"negatives\" draws the rest.");
		if (task->label == NULL && task->options.negatives == 0)
			missing_argument(task, "label", task->kind != NN_MULTICLASS ?
							 "Name the boolean column of the samples that says whether it was taken." :
							 "Name the column whose value is to be told.");
		if (task->kind == NN_RANK && task->n_features == 0)
			missing_argument(task, "features",
							 "Name the numbers of the samples that candidates are ranked by; '-price' for one of which less is better.");
	}

	/* of what is drawn nothing is known but what the catalogue says */
	if (task->options.negatives > 0)
		refuse_features(task);
	if (task->options.negatives > 0 && task->options.position_column != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"position_column\" cannot be given with \"negatives\""),
				 errdetail("Drawn items were shown nowhere, so a place alone would tell what was taken."),
				 errhint("Leave out one of the two.")));
	if (task->samples != NULL)
	{
		if (task->label != NULL)
		{
			AttrNumber	attnum = check_column(relation_oid(task->samples), task->samples,
											  "label", task->label, &label_type);

			check_select(model, relation_oid(task->samples), attnum, task->label);
		}
		check_samples(model, set, task);
		refuse_argument(task, "where", task->options.where != NULL);
		refuse_argument(task, "within", task->options.within != NULL);
		refuse_argument(task, "type_weights", task->options.type_weights != NULL);
	}
	else if (task->kind != NN_NEXT_ITEM)
	{
		refuse_argument(task, "embargo", task->options.embargo > 0 && task->kind == NN_MULTICLASS);
		refuse_argument(task, "matures", task->options.matures > 0);
		refuse_features(task);
		refuse_argument(task, "user_column", task->options.user_column != NULL);
		refuse_argument(task, "time_column", task->options.time_column != NULL);
		refuse_argument(task, "weight_column", task->options.weight_column != NULL);
		refuse_argument(task, "position_column", task->options.position_column != NULL);
		refuse_argument(task, "group_column", task->options.group_column != NULL);
		refuse_argument(task, "label", task->label != NULL && task->kind != NN_MULTICLASS);
		if (task->kind == NN_MULTICLASS)
			label_type = check_stream_column(model, set, "label", task->label);
		else
			check_candidate(model, set, task, InvalidOid);
	}

	if (task->label != NULL && (task->kind == NN_BINARY || task->kind == NN_RANK) && !is_number(label_type))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("label \"%s\" has type %s, but must be boolean or a number that is 0 or 1",
						task->label, format_type_be(label_type)),
				 errhint("Make it a boolean in a view of the samples.")));
	if (task->kind == NN_MULTICLASS && type_use(label_type) != TYPE_NUMBER)
		check_class_type("label", task->label, label_type);
	if (task->options.within != NULL)
	{
		if (type_use(label_type) != TYPE_NUMBER && !is_integer(label_type))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("option \"within\" needs a label that is a number, but \"%s\" has type %s",
							task->label, format_type_be(label_type))));
		check_class_type("\"within\" column", task->options.within,
						 check_stream_column(model, set, "\"within\" column", task->options.within));
	}
	if (task->options.where != NULL)
		check_where(set, task->options.where);
	if (task->options.label_weights != NULL && task->kind == NN_MULTICLASS)
		check_class_weights(task, label_type);
	else if (task->options.label_weights != NULL)
		check_binary_weights(task->options.label_weights);
	if (task->options.type_weights != NULL)
		check_type_weights(set, task->options.type_weights);
	model_check_network(model, set);
}
