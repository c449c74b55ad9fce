/*-------------------------------------------------------------------------
 *
 * catalogue.c
 *	  Rows of _dupn as C structs, and who may read and change them
 *
 * Schema _dupn is granted to nobody.  SQL on it runs as the owner of the
 * schema, who is the extension's, under SECURITY_LOCAL_USERID_CHANGE; every
 * statement is a constant with qualified names and operators, so that the
 * caller's search_path means nothing to it.  The rows that every call needs
 * are looked up without SQL, through the caller's snapshot.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "access/heaptoast.h"
#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_collation.h"
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
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/rel.h"
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
	spi_connect();
}

void
owner_end(OwnerGuard *guard)
{
	SPI_finish();
	SetUserIdAndSecContext(guard->user, guard->context);
}

/* ---------------- columns of a row ---------------- */

typedef struct Row
{
	HeapTuple	tuple;
	TupleDesc	tupdesc;
} Row;

/* Results below live in the current memory context; NULL for SQL NULL. */
static Datum
column(const Row *row, const char *name, bool *isnull)
{
	return state_column(row->tuple, row->tupdesc, name, isnull);
}

static char *
text_column(const Row *row, const char *name)
{
	bool		isnull;
	Datum		value = column(row, name, &isnull);

	if (isnull)
		return NULL;
	/* text or name */
	return TupleDescAttr(row->tupdesc, row_column(row->tupdesc, name) - 1)->atttypid == NAMEOID ?
		pstrdup(NameStr(*DatumGetName(value))) : TextDatumGetCString(value);
}

static int32
int_column(const Row *row, const char *name)
{
	bool		isnull;
	Datum		value = column(row, name, &isnull);

	return isnull ? 0 : DatumGetInt32(value);
}

static Jsonb *
jsonb_column(const Row *row, const char *name)
{
	bool		isnull;
	Datum		value = column(row, name, &isnull);

	return isnull ? NULL : DatumGetJsonbPCopy(value);
}

static char **
names_column(const Row *row, const char *name, int *n)
{
	bool		isnull;
	Datum		value = column(row, name, &isnull);

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

int
model_find_task(const Model *model, const char *name)
{
	for (int t = 0; t < model->n_tasks; t++)
		if (strcmp(model->task[t].name, name) == 0)
			return t;
	return -1;
}

int
model_task(const Model *model, const char *name)
{
	int			task = model_find_task(model, name);
	const char *names[NN_MAX_TASKS];

	if (task >= 0)
		return task;
	for (int t = 0; t < model->n_tasks; t++)
		names[t] = model->task[t].name;
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("model \"%s\" has no task \"%s\"", model->name, name),
			 errhint("%s", name_hint("task", name, names, model->n_tasks))));
}

/* ---------------- from rows to a model ---------------- */

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

/* The rows of a model, of its running experiment, and of its tasks in their order. */
typedef struct ModelRows
{
	HeapTuple	model;
	HeapTuple	share;			/* or NULL */
	int			n;
	HeapTuple	task[NN_MAX_TASKS];
	TupleDesc	model_desc;		/* of open relations; not kept */
	TupleDesc	share_desc;
	TupleDesc	task_desc;
} ModelRows;

static Model *
make_model(const ModelRows *rows)
{
	Model	   *model = palloc0(sizeof(Model));
	Row			row = {rows->model, rows->model_desc};

	model->id = int_column(&row, "model_id");
	model->name = text_column(&row, "name");
	model->owner = text_column(&row, "owner");
	model->owner_oid = get_role_oid(model->owner, true);
	model->relations.events = text_column(&row, "events");
	model->relations.user_column = text_column(&row, "user_column");
	model->relations.time_column = text_column(&row, "time_column");
	model->relations.catalog = text_column(&row, "catalog");
	model->relations.catalog_key = text_column(&row, "catalog_key");
	model->relations.profile = text_column(&row, "profile");
	model->relations.profile_key = text_column(&row, "profile_key");
	model->item_columns = names_column(&row, "item_columns", &model->n_item);
	model->behavior_columns = names_column(&row, "behavior_columns", &model->n_behavior);
	model->profile_columns = names_column(&row, "profile_columns", &model->n_profile);
	model->context_columns = names_column(&row, "context_columns", &model->n_context);
	if (model->n_item == 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("model \"%s\" has no item column", model->name)));
	model->relations.item_key = model->item_columns[0];
	model->timezone = text_column(&row, "timezone");
	model->options_json = jsonb_column(&row, "options");
	model->published = int_column(&row, "published");
	if (rows->share)
		model->share = share_of_row(rows->share, rows->share_desc);

	model->n_tasks = rows->n;
	model->task = palloc0(sizeof(ModelTask) * Max(rows->n, 1));
	for (int t = 0; t < rows->n; t++)
	{
		Row			of = {rows->task[t], rows->task_desc};
		ModelTask  *task = &model->task[t];

		task->name = text_column(&of, "name");
		task->kind = task_kind_parse(text_column(&of, "kind"));
		task->samples = text_column(&of, "samples");
		task->label = text_column(&of, "label");
		task->features = names_column(&of, "features", &task->n_features);
		task->options_json = jsonb_column(&of, "options");
		task_options_parse(&task->options, task->kind, task->options_json);
	}
	model_parse_options(model);
	return model;
}

/* ---------------- models that calls ask for again and again ---------------- */

/* Models of other transactions are forgotten beyond this many. */
#define KEPT_MODELS	16

typedef struct KeptModel
{
	MemoryContext context;		/* holds all of this */
	ModelRows	rows;			/* that it was made of */
	Model	   *model;
	TimestampTz used;			/* start of the last transaction that asked for it */
} KeptModel;

static List *kept_models = NIL;

/* A copy with all its bytes in it, since what lies elsewhere may change unseen. */
static HeapTuple
copy_row(HeapTuple tuple, TupleDesc tupdesc)
{
	return HeapTupleHasExternal(tuple) ? toast_flatten_tuple(tuple, tupdesc) : heap_copytuple(tuple);
}

/* The same bytes mean the same. */
static bool
same_row(HeapTuple a, HeapTuple b)
{
	return a->t_len == b->t_len &&
		HeapTupleHeaderGetNatts(a->t_data) == HeapTupleHeaderGetNatts(b->t_data) &&
		HeapTupleHasNulls(a) == HeapTupleHasNulls(b) &&
		memcmp((char *) a->t_data + SizeofHeapTupleHeader, (char *) b->t_data + SizeofHeapTupleHeader,
			   a->t_len - SizeofHeapTupleHeader) == 0;
}

static bool
same_rows(const ModelRows *a, const ModelRows *b)
{
	if (a->n != b->n || !same_row(a->model, b->model) || (a->share == NULL) != (b->share == NULL) ||
		(a->share && !same_row(a->share, b->share)))
		return false;
	for (int t = 0; t < a->n; t++)
		if (!same_row(a->task[t], b->task[t]))
			return false;
	return true;
}

/* Forget those unused for longest, but none that this transaction asked for. */
static void
make_room(void)
{
	TimestampTz now = GetCurrentTransactionStartTimestamp();

	while (list_length(kept_models) >= KEPT_MODELS)
	{
		KeptModel  *oldest = NULL;
		ListCell   *cell;

		foreach(cell, kept_models)
		{
			KeptModel  *kept = lfirst(cell);

			if (kept->used != now && (oldest == NULL || kept->used < oldest->used))
				oldest = kept;
		}
		if (oldest == NULL)
			break;
		kept_models = list_delete_ptr(kept_models, oldest);
		MemoryContextDelete(oldest->context);
	}
}

static Model *
keep_model(const ModelRows *rows)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext context;
	KeptModel  *kept;
	ListCell   *cell;

	foreach(cell, kept_models)
	{
		kept = lfirst(cell);
		if (same_rows(rows, &kept->rows))
		{
			/* roles come and go without the row */
			kept->model->owner_oid = get_role_oid(kept->model->owner, true);
			kept->used = GetCurrentTransactionStartTimestamp();
			return kept->model;
		}
	}

	make_room();
	context = AllocSetContextCreate(caller, "dupn model", ALLOCSET_SMALL_SIZES);
	MemoryContextSwitchTo(context);
	kept = palloc0(sizeof(KeptModel));
	kept->context = context;
	kept->rows.model = heap_copytuple(rows->model);
	kept->rows.share = rows->share ? heap_copytuple(rows->share) : NULL;
	kept->rows.n = rows->n;
	for (int t = 0; t < rows->n; t++)
		kept->rows.task[t] = heap_copytuple(rows->task[t]);
	kept->model = make_model(rows);
	kept->model->use = palloc0(sizeof(ModelUse));
	kept->used = GetCurrentTransactionStartTimestamp();
	MemoryContextSwitchTo(TopMemoryContext);
	kept_models = lappend(kept_models, kept);
	MemoryContextSwitchTo(caller);
	MemoryContextSetParent(context, TopMemoryContext);
	return kept->model;
}

/* ---------------- models ---------------- */

static int
compare_tasks(const void *a, const void *b, void *argument)
{
	Row			x = {*(const HeapTuple *) a, argument};
	Row			y = {*(const HeapTuple *) b, argument};

	return int_column(&x, "position") - int_column(&y, "position");
}

/* The row of the experiment that the model's row names. */
static void
find_share(ModelRows *rows, StateScan *scan)
{
	Row			model = {rows->model, rows->model_desc};
	char	   *experiment = text_column(&model, "experiment");
	ScanKeyData key;
	HeapTuple	tuple;

	if (experiment == NULL)
		return;
	state_key(&key, 1, int_column(&model, "model_id"));
	state_begin(scan, "share", "share_pkey", 1, &key);
	rows->share_desc = RelationGetDescr(scan->relation);
	while (rows->share == NULL && (tuple = state_next(scan)) != NULL)
	{
		Row			row = {tuple, rows->share_desc};

		if (strcmp(text_column(&row, "experiment"), experiment) == 0)
			rows->share = copy_row(tuple, rows->share_desc);
	}
}

/* The model of a row, NULL: none was found. */
static Model *
model_of(StateScan *scan, bool keep)
{
	ModelRows	rows = {.model = state_next(scan),.model_desc = RelationGetDescr(scan->relation)};
	Model	   *model = NULL;

	if (rows.model)
	{
		Row			row = {rows.model, rows.model_desc};
		StateScan	tasks;
		StateScan	share = {NULL};
		ScanKeyData key;
		HeapTuple	task;

		rows.model = copy_row(rows.model, rows.model_desc);
		find_share(&rows, &share);
		state_key(&key, 1, int_column(&row, "model_id"));
		state_begin(&tasks, "task", "task_pkey", 1, &key);
		rows.task_desc = RelationGetDescr(tasks.relation);
		while ((task = state_next(&tasks)) != NULL)
		{
			if (rows.n == NN_MAX_TASKS)
				ereport(ERROR,
						(errcode(ERRCODE_DATA_CORRUPTED),
						 errmsg("model \"%s\" has more than %d tasks", text_column(&row, "name"),
								NN_MAX_TASKS)));
			rows.task[rows.n++] = copy_row(task, rows.task_desc);
		}
		qsort_arg(rows.task, rows.n, sizeof(HeapTuple), compare_tasks, rows.task_desc);
		model = keep ? keep_model(&rows) : make_model(&rows);
		state_end(&tasks);
		if (share.relation)
			state_end(&share);
	}
	state_end(scan);
	return model;
}

static int
compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *) a, *(char *const *) b);
}

/* Names of the models that the caller's roles own; not by being superuser,
 * who would be steered into anybody's model. */
static char **
own_models(int *n)
{
	StateScan	scan;
	char	  **names = NULL;
	HeapTuple	tuple;

	*n = 0;
	state_begin(&scan, "model", NULL, 0, NULL);
	while ((tuple = state_next(&scan)) != NULL)
	{
		Row			row = {tuple, RelationGetDescr(scan.relation)};
		bool		isnull;
		Oid			owner = get_role_oid(NameStr(*DatumGetName(column(&row, "owner", &isnull))), true);

		if (!OidIsValid(owner) || !is_member_of_role_nosuper(GetUserId(), owner))
			continue;
		names = array_resize(names, *n + 1, sizeof(char *), CurrentMemoryContext);
		names[(*n)++] = text_column(&row, "name");
	}
	state_end(&scan);
	if (*n > 1)
		qsort(names, *n, sizeof(char *), compare_names);
	return names;
}

static Model *
find_model(const char *name, bool keep)
{
	const char *origin = "";
	StateScan	scan;
	ScanKeyData key;
	Model	   *model;

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

	ScanKeyEntryInitialize(&key, 0, 2, BTEqualStrategyNumber, InvalidOid, DEFAULT_COLLATION_OID,
						   F_TEXTEQ, CStringGetTextDatum(name));
	state_begin(&scan, "model", "model_name_key", 1, &key);
	model = model_of(&scan, keep);
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

static Model *
find_model_by_id(int32 id, bool missing_ok, bool keep)
{
	StateScan	scan;
	ScanKeyData key;
	Model	   *model;

	state_key(&key, 1, id);
	state_begin(&scan, "model", "model_pkey", 1, &key);
	model = model_of(&scan, keep);
	if (model == NULL && !missing_ok)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("model with id %d does not exist", id)));
	return model;
}

Model *
model_get(const char *name)
{
	return find_model(name, false);
}

Model *
model_get_by_id(int32 id, bool missing_ok)
{
	return find_model_by_id(id, missing_ok, false);
}

const Model *
model_kept(const char *name)
{
	return find_model(name, true);
}

const Model *
model_kept_by_id(int32 id, bool missing_ok)
{
	return find_model_by_id(id, missing_ok, true);
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
