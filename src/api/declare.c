/*-------------------------------------------------------------------------
 *
 * declare.c
 *	  dupn_create_model, dupn_alter_model, dupn_drop_model, dupn_add_task,
 *	  dupn_drop_task
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "hint.h"
#include "model/model.h"
#include "pgtime.h"
#include "train/job.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(dupn_create_model);
PG_FUNCTION_INFO_V1(dupn_alter_model);
PG_FUNCTION_INFO_V1(dupn_drop_model);
PG_FUNCTION_INFO_V1(dupn_add_task);
PG_FUNCTION_INFO_V1(dupn_drop_task);

#define WHERE_MODEL " WHERE model_id OPERATOR(pg_catalog.=) $1"

/* ---------------- arguments ---------------- */

static void
refuse_null(FunctionCallInfo fcinfo, int argument, const char *name)
{
	if (PG_ARGISNULL(argument))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("\"%s\" must not be null", name)));
}

static char *
text_argument(FunctionCallInfo fcinfo, int argument, const char *name)
{
	refuse_null(fcinfo, argument, name);
	return text_to_cstring(PG_GETARG_TEXT_PP(argument));
}

/* NULL when NULL and optional. */
static char *
name_argument(FunctionCallInfo fcinfo, int argument, const char *name, bool optional)
{
	if (optional && PG_ARGISNULL(argument))
		return NULL;
	refuse_null(fcinfo, argument, name);
	return pstrdup(NameStr(*PG_GETARG_NAME(argument)));
}

static char **
names_argument(FunctionCallInfo fcinfo, int argument, const char *name, int *n)
{
	refuse_null(fcinfo, argument, name);
	return names_from_array(PG_GETARG_ARRAYTYPE_P(argument), name, n);
}

/* A regclass as the qualified and quoted name that is stored. */
static char *
relation_argument(FunctionCallInfo fcinfo, int argument, const char *name, bool optional)
{
	Oid			relation;
	char	   *relname;

	if (optional && PG_ARGISNULL(argument))
		return NULL;
	refuse_null(fcinfo, argument, name);
	relation = PG_GETARG_OID(argument);
	relname = get_rel_name(relation);
	if (relname == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", relation)));
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relation)), relname);
}

/* The name of a new model or task. */
static char *
new_name(FunctionCallInfo fcinfo, int argument)
{
	char	   *name = text_argument(fcinfo, argument, "name");

	if (name[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("\"name\" must not be empty")));
	if (strlen(name) >= NN_MAX_NAME)
		ereport(ERROR,
				(errcode(ERRCODE_NAME_TOO_LONG),
				 errmsg("name \"%s\" is longer than %d bytes", name, NN_MAX_NAME - 1)));
	return name;
}

static Datum
names_datum(char **names, int n)
{
	Datum	   *values = palloc(sizeof(Datum) * Max(n, 1));

	for (int i = 0; i < n; i++)
		values[i] = DirectFunctionCall1(namein, CStringGetDatum(names[i]));
	return PointerGetDatum(construct_array(values, n, NAMEOID, NAMEDATALEN, false, TYPALIGN_CHAR));
}

/* Parameters of a statement, one after the other. */
typedef struct Parameters
{
	int			n;
	Oid			type[16];
	Datum		value[16];
	char		null[17];
} Parameters;

static void
put(Parameters *parameters, Oid type, Datum value, bool isnull)
{
	int			i = parameters->n++;

	Assert(i < lengthof(parameters->type));
	parameters->type[i] = type;
	parameters->value[i] = value;
	parameters->null[i] = isnull ? 'n' : ' ';
}

static void
put_text(Parameters *parameters, const char *text)
{
	put(parameters, TEXTOID, text ? CStringGetTextDatum(text) : (Datum) 0, text == NULL);
}

static void
put_name(Parameters *parameters, const char *name)
{
	put(parameters, NAMEOID, name ? DirectFunctionCall1(namein, CStringGetDatum(name)) : (Datum) 0,
		name == NULL);
}

static uint64
execute(const char *sql, const Parameters *parameters)
{
	return state_execute(sql, parameters->n, parameters->type, parameters->value,
						 parameters->null, NULL, NULL);
}

/* ---------------- models ---------------- */

/* The model of an argument, which the caller must own, locked against other declarations. */
static Model *
owned_model(FunctionCallInfo fcinfo, int argument, const char *name)
{
	Model	   *model;
	Datum		row;
	bool		isnull;
	Oid			type = INT4OID;
	Datum		id;

	PreventCommandIfReadOnly(get_func_name(fcinfo->flinfo->fn_oid));
	model = model_get(text_argument(fcinfo, argument, name));
	id = Int32GetDatum(model->id);
	model_check_owner(model);
	if (state_execute("SELECT model_id FROM _dupn.model" WHERE_MODEL " FOR UPDATE",
					  1, &type, &id, NULL, &row, &isnull) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("model \"%s\" was dropped at the same time", model->name)));

	/* as it is now that nobody else can change it */
	PushActiveSnapshot(GetTransactionSnapshot());
	model = model_get_by_id(model->id, false);
	PopActiveSnapshot();
	return model;
}

static void
need_key(const char *relation, const char *key, const char *relation_argument_name, const char *key_name)
{
	if ((relation == NULL) != (key == NULL))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" needs \"%s\"", relation ? relation_argument_name : key_name,
						relation ? key_name : relation_argument_name),
				 errhint("The key is the column of \"%s\" that tells its rows apart.",
						 relation_argument_name)));
}

PGDLLEXPORT Datum
dupn_create_model(PG_FUNCTION_ARGS)
{
	Model		model = {0};
	Relations  *relations = &model.relations;
	Parameters	parameters = {0};

	PreventCommandIfReadOnly(get_func_name(fcinfo->flinfo->fn_oid));
	model.name = new_name(fcinfo, 0);
	relations->events = relation_argument(fcinfo, 1, "events", false);
	relations->user_column = name_argument(fcinfo, 2, "user_column", false);
	relations->time_column = name_argument(fcinfo, 3, "time_column", false);
	model.item_columns = names_argument(fcinfo, 4, "item_columns", &model.n_item);
	relations->item_key = model.n_item > 0 ? model.item_columns[0] : NULL;
	model.behavior_columns = names_argument(fcinfo, 5, "behavior_columns", &model.n_behavior);
	relations->catalog = relation_argument(fcinfo, 6, "catalog", true);
	relations->catalog_key = name_argument(fcinfo, 7, "catalog_key", true);
	relations->profile = relation_argument(fcinfo, 8, "profile", true);
	relations->profile_key = name_argument(fcinfo, 9, "profile_key", true);
	model.profile_columns = names_argument(fcinfo, 10, "profile_columns", &model.n_profile);
	model.context_columns = names_argument(fcinfo, 11, "context_columns", &model.n_context);
	model.timezone = PG_ARGISNULL(12) ? pstrdup(pg_get_timezone_name(session_timezone)) :
		text_to_cstring(PG_GETARG_TEXT_PP(12));
	refuse_null(fcinfo, 13, "options");
	model.options_json = PG_GETARG_JSONB_P(13);
	model.owner = GetUserNameFromId(GetUserId(), false);
	model.owner_oid = GetUserId();

	need_key(relations->catalog, relations->catalog_key, "catalog", "catalog_key");
	need_key(relations->profile, relations->profile_key, "profile", "profile_key");
	if (relations->profile != NULL && model.n_profile == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"profile\" needs \"profile_columns\""),
				 errhint("Profile columns are always named, so that no new column becomes a feature by itself.")));
	if (strlen(model.timezone) >= NN_MAX_NAME)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("time zone \"%s\" not recognized", model.timezone)));
	model_parse_options(&model);
	model_check(&model, true);

	put_text(&parameters, model.name);
	put_name(&parameters, model.owner);
	put_text(&parameters, relations->events);
	put_name(&parameters, relations->user_column);
	put_name(&parameters, relations->time_column);
	put(&parameters, NAMEARRAYOID, names_datum(model.item_columns, model.n_item), false);
	put(&parameters, NAMEARRAYOID, names_datum(model.behavior_columns, model.n_behavior), false);
	put_text(&parameters, relations->catalog);
	put_name(&parameters, relations->catalog_key);
	put_text(&parameters, relations->profile);
	put_name(&parameters, relations->profile_key);
	put(&parameters, NAMEARRAYOID, names_datum(model.profile_columns, model.n_profile), false);
	put(&parameters, NAMEARRAYOID, names_datum(model.context_columns, model.n_context), false);
	put_text(&parameters, model.timezone);
	put(&parameters, JSONBOID, JsonbPGetDatum(jsonb_object_merge(NULL, model.options_json)), false);
	if (execute("INSERT INTO _dupn.model (name, owner, events, user_column, time_column, item_columns,"
				" behavior_columns, catalog, catalog_key, profile, profile_key, profile_columns,"
				" context_columns, timezone, options)"
				" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)"
				" ON CONFLICT (name) DO NOTHING", &parameters) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("model \"%s\" already exists", model.name)));
	PG_RETURN_VOID();
}

PGDLLEXPORT Datum
dupn_alter_model(PG_FUNCTION_ARGS)
{
	Model	   *model = owned_model(fcinfo, 0, "name");
	Parameters	parameters = {0};
	FeatureSet *set;
	Jsonb	   *merged;

	refuse_null(fcinfo, 1, "options");

	merged = jsonb_object_merge(model->options_json, PG_GETARG_JSONB_P(1));

	/* parsed with its nulls: one for an option that does not exist is a mistake too */
	model->options_json = DatumGetJsonbP(DirectFunctionCall2(jsonb_concat,
															 JsonbPGetDatum(model->options_json),
															 PG_GETARG_DATUM(1)));
	model_parse_options(model);
	model_check(model, false);
	set = model_features(model, CurrentMemoryContext);
	for (int t = 0; t < model->n_tasks; t++)
		task_check(model, set, &model->task[t]);
	put(&parameters, INT4OID, Int32GetDatum(model->id), false);
	put(&parameters, JSONBOID, JsonbPGetDatum(merged), false);
	execute("UPDATE _dupn.model SET options = $2" WHERE_MODEL, &parameters);
	PG_RETURN_VOID();
}

PGDLLEXPORT Datum
dupn_drop_model(PG_FUNCTION_ARGS)
{
	Model	   *model = owned_model(fcinfo, 0, "name");
	Parameters	parameters = {0};
	Oid			extension = get_extension_oid("dupn", false);
	Datum		job;
	bool		isnull;

	/* what an older installation left behind runs no more */
	put(&parameters, INT4OID, Int32GetDatum(model->id), false);
	put(&parameters, OIDOID, ObjectIdGetDatum(extension), false);
	if (state_execute("SELECT job_id FROM _dupn.job" WHERE_MODEL
					  " AND state OPERATOR(pg_catalog.=) 'running' AND extension_oid OPERATOR(pg_catalog.=) $2",
					  2, parameters.type, parameters.value, NULL, &job, &isnull) > 0)
		job_bury(extension, DatumGetInt64(job), false);
	if (state_execute("SELECT job_id FROM _dupn.job" WHERE_MODEL
					  " AND state OPERATOR(pg_catalog.=) ANY ('{running,queued}'::pg_catalog.text[]) AND extension_oid OPERATOR(pg_catalog.=) $2"
					  " ORDER BY job_id", 2, parameters.type, parameters.value, NULL, &job, &isnull) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("model \"%s\" is in use by job " INT64_FORMAT, model->name, DatumGetInt64(job)),
				 errhint("Wait for it with dupn_wait, or end it with SELECT dupn_cancel(" INT64_FORMAT ").",
						 DatumGetInt64(job))));
	version_drop_files(model->id, 0);
	execute("DELETE FROM _dupn.model" WHERE_MODEL, &parameters);
	PG_RETURN_VOID();
}

/* ---------------- tasks ---------------- */

PGDLLEXPORT Datum
dupn_add_task(PG_FUNCTION_ARGS)
{
	Model	   *model = owned_model(fcinfo, 0, "model");
	ModelTask	task = {0};
	ModelTask  *tasks = palloc(sizeof(ModelTask) * (model->n_tasks + 1));
	Parameters	parameters = {0};

	task.name = new_name(fcinfo, 1);
	task.kind = task_kind_parse(text_argument(fcinfo, 2, "kind"));
	task.samples = relation_argument(fcinfo, 3, "samples", true);
	task.label = name_argument(fcinfo, 4, "label", true);
	task.features = names_argument(fcinfo, 5, "features", &task.n_features);
	refuse_null(fcinfo, 6, "options");
	task.options_json = PG_GETARG_JSONB_P(6);
	task_options_parse(&task.options, task.kind, task.options_json);
	task.options_json = jsonb_object_merge(NULL, task.options_json);

	if (model->n_tasks >= NN_MAX_TASKS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("model \"%s\" has %d tasks already, which is the most", model->name, NN_MAX_TASKS)));
	if (model_find_task(model, task.name) >= 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("task \"%s\" of model \"%s\" already exists", task.name, model->name)));

	/* with the task: its samples tell the types of context columns */
	memcpy(tasks, model->task, sizeof(ModelTask) * model->n_tasks);
	tasks[model->n_tasks++] = task;
	model->task = tasks;
	model_parse_options(model);
	task_check(model, model_features(model, CurrentMemoryContext), &task);

	put(&parameters, INT4OID, Int32GetDatum(model->id), false);
	put_text(&parameters, task.name);
	put_text(&parameters, nn_kind_name[task.kind]);
	put_text(&parameters, task.samples);
	put_name(&parameters, task.label);
	put(&parameters, NAMEARRAYOID, names_datum(task.features, task.n_features), false);
	put(&parameters, JSONBOID, JsonbPGetDatum(task.options_json), false);
	execute("INSERT INTO _dupn.task (model_id, position, name, kind, samples, label, features, options)"
			" SELECT $1, COALESCE(pg_catalog.max(position), 0) OPERATOR(pg_catalog.+) 1, $2, $3, $4, $5, $6, $7"
			" FROM _dupn.task" WHERE_MODEL, &parameters);
	PG_RETURN_VOID();
}

PGDLLEXPORT Datum
dupn_drop_task(PG_FUNCTION_ARGS)
{
	Model	   *model = owned_model(fcinfo, 0, "model");
	char	   *name = text_argument(fcinfo, 1, "name");
	Parameters	parameters = {0};

	if (model->options.primary && strcmp(model->options.primary, name) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("task \"%s\" decides which versions of model \"%s\" are published", name, model->name),
				 errhint("Let another one decide, or the first: SELECT dupn_alter_model(%s, '{\"primary\": null}').",
						 quote_literal_cstr(model->name))));
	put(&parameters, INT4OID, Int32GetDatum(model->id), false);
	put_text(&parameters, name);
	if (execute("DELETE FROM _dupn.task" WHERE_MODEL " AND name OPERATOR(pg_catalog.=) $2", &parameters) == 0)
	{
		const char *names[NN_MAX_TASKS];

		for (int t = 0; t < model->n_tasks; t++)
			names[t] = model->task[t].name;
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("task \"%s\" of model \"%s\" does not exist", name, model->name),
				 errhint("%s", name_hint("task", name, names, model->n_tasks))));
	}
	PG_RETURN_VOID();
}
