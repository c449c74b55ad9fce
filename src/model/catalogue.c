/*-------------------------------------------------------------------------
 *
 * catalogue.c
 *	  Rows of _dupn as C structs, and who may read and change them
 *
 * Schema _dupn is granted to nobody.  SQL on it runs as the owner of the
 * schema, who is the extension's, under SECURITY_LOCAL_USERID_CHANGE; every
 * statement is a constant with qualified names and operators, so that the
 * caller's search_path means nothing to it.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "catalog/namespace.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "hint.h"
#include "model/model.h"
#include "pgtime.h"
#include "settings.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/syscache.h"

/* ---------------- running SQL on _dupn ---------------- */

static Oid
state_owner(void)
{
	Oid			schema = get_namespace_oid("_dupn", true);
	HeapTuple	tuple = OidIsValid(schema) ? SearchSysCache1(NAMESPACEOID, ObjectIdGetDatum(schema)) : NULL;
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_SCHEMA),
				 errmsg("schema \"_dupn\" does not exist"),
				 errhint("Run CREATE EXTENSION dupn in this database.")));
	owner = ((Form_pg_namespace) GETSTRUCT(tuple))->nspowner;
	ReleaseSysCache(tuple);
	return owner;
}

void
owner_begin(OwnerGuard *guard)
{
	Oid			owner = state_owner();

	GetUserIdAndSecContext(&guard->user, &guard->context);
	SetUserIdAndSecContext(owner, guard->context | SECURITY_LOCAL_USERID_CHANGE);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
}

void
owner_end(OwnerGuard *guard)
{
	SPI_finish();
	SetUserIdAndSecContext(guard->user, guard->context);
}

/* Run a query through a plan that is kept for the life of the backend. */
static void
select_kept(SPIPlanPtr *plan, const char *query, Oid type, Datum value)
{
	if (*plan == NULL)
	{
		SPIPlanPtr	made = SPI_prepare(query, OidIsValid(type) ? 1 : 0, &type);

		if (made == NULL || SPI_keepplan(made) != 0)
			elog(ERROR, "could not prepare \"%s\": %s", query, SPI_result_code_string(SPI_result));
		*plan = made;
	}
	if (SPI_execute_plan(*plan, &value, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not run \"%s\"", query);
}

/* ---------------- columns of a result row ---------------- */

static int
column_number(const char *name)
{
	int			number = SPI_fnumber(SPI_tuptable->tupdesc, name);

	if (number <= 0)
		elog(ERROR, "no column \"%s\" in a row of _dupn", name);
	return number;
}

/* Results below live in the current memory context; NULL for SQL NULL. */
static char *
text_column(int row, const char *name)
{
	return SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column_number(name));
}

static int32
int_column(int row, const char *name)
{
	bool		isnull;
	Datum		value = SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc,
									  column_number(name), &isnull);

	return isnull ? 0 : DatumGetInt32(value);
}

static Jsonb *
jsonb_column(int row, const char *name)
{
	bool		isnull;
	Datum		value = SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc,
									  column_number(name), &isnull);

	return isnull ? NULL : DatumGetJsonbPCopy(value);
}

static char **
names_column(int row, const char *name, int *n)
{
	bool		isnull;
	Datum		value = SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc,
									  column_number(name), &isnull);

	*n = 0;
	return isnull ? NULL : names_from_array(DatumGetArrayTypeP(value), name, n);
}

char **
names_from_array(ArrayType *array, const char *what, int *n)
{
	Datum	   *values;
	bool	   *nulls;
	char	  **names;

	deconstruct_array(array, NAMEOID, NAMEDATALEN, false, TYPALIGN_CHAR, &values, &nulls, n);
	names = palloc(sizeof(char *) * Max(*n, 1));
	for (int i = 0; i < *n; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("\"%s\" must not contain NULL", what)));
		names[i] = pstrdup(NameStr(*DatumGetName(values[i])));
	}
	return names;
}

/* ---------------- models ---------------- */

nn_kind
task_kind_parse(const char *name)
{
	for (int i = 0; i < NN_KINDS; i++)
		if (strcmp(nn_kind_name[i], name) == 0)
			return (nn_kind) i;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unrecognized kind of task \"%s\"", name),
			 errhint("%s", name_hint("kind", name, nn_kind_name, NN_KINDS))));
}

/* A holdout time without a zone is in the model's. */
void
model_parse_options(Model *model)
{
	pg_tz	   *saved = session_timezone;
	pg_tz	   *zone = pg_tzset(model->timezone);
	nn_kind		kinds[NN_MAX_TASKS];

	for (int t = 0; t < model->n_tasks; t++)
		kinds[t] = model->task[t].kind;
	PG_TRY();
	{
		if (zone != NULL)
			session_timezone = zone;
		model_options_parse(&model->options, model->options_json, kinds, model->n_tasks);
	}
	PG_FINALLY();
	{
		session_timezone = saved;
	}
	PG_END_TRY();
}

static void
read_tasks(Model *model)
{
	static SPIPlanPtr plan;
	MemoryContext context = CurrentMemoryContext;

	select_kept(&plan,
				"SELECT name, kind, samples, label, features, options FROM _dupn.task"
				" WHERE model_id OPERATOR(pg_catalog.=) $1 ORDER BY position",
				INT4OID, Int32GetDatum(model->id));
	MemoryContextSwitchTo(context);
	if (SPI_processed > NN_MAX_TASKS)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("model \"%s\" has more than %d tasks", model->name, NN_MAX_TASKS)));
	model->n_tasks = SPI_processed;
	model->task = palloc0(sizeof(ModelTask) * Max(model->n_tasks, 1));
	for (int t = 0; t < model->n_tasks; t++)
	{
		ModelTask  *task = &model->task[t];

		task->name = text_column(t, "name");
		task->kind = task_kind_parse(text_column(t, "kind"));
		task->samples = text_column(t, "samples");
		task->label = text_column(t, "label");
		task->features = names_column(t, "features", &task->n_features);
		task->options_json = jsonb_column(t, "options");
		task_options_parse(&task->options, task->kind, task->options_json);
	}
}

/* The one row of SPI's result and its tasks. */
static Model *
read_model(void)
{
	Model	   *model = palloc0(sizeof(Model));

	model->id = int_column(0, "model_id");
	model->name = text_column(0, "name");
	model->owner = text_column(0, "owner");
	model->owner_oid = get_role_oid(model->owner, true);
	model->relations.events = text_column(0, "events");
	model->relations.user_column = text_column(0, "user_column");
	model->relations.time_column = text_column(0, "time_column");
	model->relations.catalog = text_column(0, "catalog");
	model->relations.catalog_key = text_column(0, "catalog_key");
	model->relations.profile = text_column(0, "profile");
	model->relations.profile_key = text_column(0, "profile_key");
	model->item_columns = names_column(0, "item_columns", &model->n_item);
	model->behavior_columns = names_column(0, "behavior_columns", &model->n_behavior);
	model->profile_columns = names_column(0, "profile_columns", &model->n_profile);
	model->context_columns = names_column(0, "context_columns", &model->n_context);
	if (model->n_item == 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("model \"%s\" has no item column", model->name)));
	model->relations.item_key = model->item_columns[0];
	model->timezone = text_column(0, "timezone");
	model->options_json = jsonb_column(0, "options");
	model->published = int_column(0, "published");
	read_tasks(model);
	model_parse_options(model);
	return model;
}

#define MODEL_COLUMNS \
	"SELECT model_id, name, owner, events, user_column, time_column, item_columns, behavior_columns," \
	" catalog, catalog_key, profile, profile_key, profile_columns, context_columns, timezone, options, published" \
	" FROM _dupn.model WHERE "

/* Names of the models that the caller's roles own; not by being superuser,
 * who would be steered into anybody's model. */
static char **
own_models(int *n)
{
	static SPIPlanPtr plan;
	MemoryContext context = CurrentMemoryContext;
	OwnerGuard	guard;
	char	  **names;

	owner_begin(&guard);
	select_kept(&plan,
				"SELECT name, owner FROM _dupn.model ORDER BY model_id", InvalidOid, (Datum) 0);
	MemoryContextSwitchTo(context);
	names = palloc(sizeof(char *) * (SPI_processed + 1));
	*n = 0;
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		Oid			owner = get_role_oid(text_column(i, "owner"), true);

		if (OidIsValid(owner) && is_member_of_role_nosuper(guard.user, owner))
			names[(*n)++] = text_column(i, "name");
	}
	owner_end(&guard);
	MemoryContextSwitchTo(context);
	return names;
}

Model *
model_get(const char *name)
{
	static SPIPlanPtr plan;
	MemoryContext context = CurrentMemoryContext;
	OwnerGuard	guard;
	Model	   *model = NULL;
	const char *origin = "";

	if (name == NULL && dupn_model != NULL && dupn_model[0] != '\0')
	{
		name = dupn_model;
		origin = " named by the setting dupn.model";
	}
	if (name == NULL)
	{
		int			n;
		char	  **names = own_models(&n);

		if (n == 0)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("there is no model of yours to take by default"),
					 errhint("Declare one with dupn_create_model, name one in the call, or set dupn.model.")));
		if (n > 1)
			ereport(ERROR,
					(errcode(ERRCODE_AMBIGUOUS_PARAMETER),
					 errmsg("more than one model could be meant"),
					 errhint("Name one in the call or in the setting dupn.model: %s.",
							 quoted_list((const char *const *) names, n))));
		name = names[0];
	}

	owner_begin(&guard);
	select_kept(&plan, MODEL_COLUMNS "name OPERATOR(pg_catalog.=) $1",
				TEXTOID, CStringGetTextDatum(name));
	MemoryContextSwitchTo(context);
	if (SPI_processed > 0)
		model = read_model();
	owner_end(&guard);
	MemoryContextSwitchTo(context);

	if (model == NULL)
	{
		int			n;
		char	  **names = own_models(&n);

		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("model \"%s\"%s does not exist", name, origin),
				 n > 0 ? errhint("%s", name_hint("model", name, (const char *const *) names, n)) :
				 errhint("Declare it with dupn_create_model.")));
	}
	return model;
}

Model *
model_get_by_id(int32 id, bool missing_ok)
{
	static SPIPlanPtr plan;
	MemoryContext context = CurrentMemoryContext;
	OwnerGuard	guard;
	Model	   *model = NULL;

	owner_begin(&guard);
	select_kept(&plan, MODEL_COLUMNS "model_id OPERATOR(pg_catalog.=) $1",
				INT4OID, Int32GetDatum(id));
	MemoryContextSwitchTo(context);
	if (SPI_processed > 0)
		model = read_model();
	owner_end(&guard);
	MemoryContextSwitchTo(context);

	if (model == NULL && !missing_ok)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("model with id %d does not exist", id)));
	return model;
}

void
model_check_owner(const Model *model)
{
	if (OidIsValid(model->owner_oid) ? has_privs_of_role(GetUserId(), model->owner_oid) : superuser())
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("must be owner of model \"%s\"", model->name),
			 errdetail("It belongs to role \"%s\".", model->owner)));
}
