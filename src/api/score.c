/*-------------------------------------------------------------------------
 *
 * score.c
 *	  dupn_score: how likely, or how good, is a candidate for a user?
 *
 *-------------------------------------------------------------------------
 */
#include "api/candidate.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "parser/parse_type.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(dupn_score_record);
PG_FUNCTION_INFO_V1(dupn_score_bigint);
PG_FUNCTION_INFO_V1(dupn_score_text);
PG_FUNCTION_INFO_V1(dupn_score_uuid);
PG_FUNCTION_INFO_V1(dupn_score_user);

/* What is worked out once for many rows of one query. */
typedef struct Scorer
{
	int			task;
	RecordReader record;
	int		   *attnum;			/* [F] columns of the sample's numbers */
	CellType   *number;			/* [F] their types */
	float	   *features;		/* [F] */
	Oid			key_type;		/* of the item's key */
	CellType	key;
	Candidate	candidate;
} Scorer;

static bool
is_named(const text *name, const char *task)
{
	return VARSIZE_ANY_EXHDR(name) == strlen(task) &&
		memcmp(VARDATA_ANY(name), task, VARSIZE_ANY_EXHDR(name)) == 0;
}

/* The scorer of a call (task, vector, ..), in its Served: one per task, as the
 * task may be another one in each row. */
static Scorer *
get_scorer(FunctionCallInfo fcinfo, const DupnVector *vector, Served **served)
{
	text	   *name = PG_GETARG_TEXT_PP(0);
	const ModelImage *image;
	const nn_task *task;
	Scorer	  **scorers;
	Scorer	   *scorer;

	*served = served_vector(fcinfo, vector);
	image = (*served)->image;
	if ((*served)->own == NULL)
		(*served)->own = MemoryContextAllocZero((*served)->context, sizeof(Scorer *) * NN_MAX_TASKS);
	scorers = (*served)->own;
	for (int t = 0; t < image->config.n_task; t++)
		if (scorers[t] && is_named(name, image->config.task[t].name))
			return scorers[t];

	scorer = MemoryContextAllocZero((*served)->context, sizeof(Scorer));
	scorer->task = image_task(image, text_to_cstring(name));
	task = &image->config.task[scorer->task];
	if (task->kind != NN_BINARY && task->kind != NN_RANK)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("task \"%s\" is of kind \"%s\" and scores no candidate", task->name, nn_kind_name[task->kind]),
				 errhint("Ask it with %s.", task->kind == NN_NEXT_ITEM ? "dupn_recommend" : "dupn_classify")));
	scorer->attnum = MemoryContextAllocZero((*served)->context, sizeof(int) * (task->features + 1));
	scorer->number = MemoryContextAllocZero((*served)->context, sizeof(CellType) * (task->features + 1));
	scorer->features = MemoryContextAllocZero((*served)->context, sizeof(float) * (task->features + 1));
	scorers[scorer->task] = scorer;
	return scorer;
}

static Datum
score(const Scorer *scorer, const Served *served, const DupnVector *vector)
{
	const nn_task *task = &served->image->config.task[scorer->task];
	nn_samples	samples = {.features = scorer->features};
	nn_task_acts acts = {0};
	double		logit;

	for (int k = 0; k < task->n_candidate; k++)
		samples.candidate[k] = scorer->candidate.ids[task->candidate[k]];
	session_head(session_get(served->image), scorer->task, &samples, vector->x, &acts);
	logit = acts.logit[0];
	PG_RETURN_FLOAT4((float4) (task->kind == NN_BINARY ? 1 / (1 + exp(-logit)) : logit));
}

/* ------------------------------------------------------------------------
 * Rows
 * ------------------------------------------------------------------------ */

/* Find what the task needs in a new type of row. */
static void
match_columns(Scorer *scorer, const Served *served)
{
	const ModelImage *image = served->image;
	const nn_task *task = &image->config.task[scorer->task];
	const RowReader *rows = scorer->record.rows;
	bool		any = rows->item_key > 0;

	for (int k = 0; k < task->n_candidate; k++)
		any = any || rows->column[NN_ITEM][task->candidate[k]].attnum > 0;
	if (task->n_candidate > 0 && !any)
	{
		StringInfoData names;

		initStringInfo(&names);
		for (int k = 0; k < task->n_candidate; k++)
			appendStringInfo(&names, "%s\"%s\"", k > 0 ? ", " : "",
							 image->config.feature[NN_ITEM][task->candidate[k]].name);
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("the row has none of the columns that task \"%s\" looks at", task->name),
				 errhint("It needs the item's key \"%s\", or some of %s.",
						 served->model->relations.item_key, names.data)));
	}

	for (int k = 0; k < task->features; k++)
	{
		const char *name = image->task[scorer->task].feature[k];
		int			attnum = row_column(scorer->record.tupdesc, name);

		if (attnum == 0)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("the row has no column \"%s\", which task \"%s\" needs", name, task->name),
					 errhint("Give a row with the columns of the task's features.")));
		cell_type_init(&scorer->number[k], TupleDescAttr(scorer->record.tupdesc, attnum - 1)->atttypid,
					   false, scorer->record.context);
		if (scorer->number[k].kind == CELL_HASH || scorer->number[k].array)
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("column \"%s\" must be a number", name)));
		scorer->attnum[k] = attnum;
	}
}

/* A sample's numbers as in training; what is not known is the mean. */
static void
read_features(Scorer *scorer, const Served *served)
{
	const ImageTask *task = &served->image->task[scorer->task];

	for (int k = 0; k < served->image->config.task[scorer->task].features; k++)
	{
		int			at = scorer->attnum[k] - 1;
		double		number = cell_number(cell_from_datum(&scorer->number[k], scorer->record.values[at],
														 scorer->record.isnull[at]),
										 scorer->number[k].kind);

		scorer->features[k] = isfinite(number) ? (float) ((number - task->mean[k]) * task->scale[k]) : 0;
	}
}

PGDLLEXPORT Datum
dupn_score_record(PG_FUNCTION_ARGS)
{
	DupnVector *vector = PG_GETARG_DUPN_VECTOR(1);
	HeapTupleHeader row = PG_GETARG_HEAPTUPLEHEADER(2);
	Served	   *served;
	Scorer	   *scorer = get_scorer(fcinfo, vector, &served);

	if (record_read(&scorer->record, served, row, "the candidate"))
	{
		/* should it fail, the next call must look again */
		scorer->record.typmod = -2;
		match_columns(scorer, served);
		scorer->record.typmod = HeapTupleHeaderGetTypMod(row);
	}
	candidate_from_row(served->image, &scorer->record, &scorer->candidate);
	read_features(scorer, served);
	return score(scorer, served, vector);
}

/* ------------------------------------------------------------------------
 * Keys
 * ------------------------------------------------------------------------ */

static Datum
score_key(FunctionCallInfo fcinfo, Oid type)
{
	DupnVector *vector = PG_GETARG_DUPN_VECTOR(1);
	Served	   *served;
	Scorer	   *scorer = get_scorer(fcinfo, vector, &served);
	const nn_task *task = &served->image->config.task[scorer->task];
	const Feature *key = &served->image->set.f[NN_ITEM][0];
	Datum		value;

	if (task->n_candidate == 0 || task->features > 0)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("task \"%s\" cannot score an item by its key", task->name),
				 task->features > 0 ?
				 errhint("Give a row with the columns of the task's features.") :
				 errhint("It has no candidate: call dupn_score(task, vector).")));
	if (scorer->key_type == InvalidOid)
	{
		int32		typmod;
		Oid			key_type;

		dupn_parse_type(key->type_name, &key_type, &typmod);
		cell_type_init(&scorer->key, key_type, true, served->context);
		scorer->key_type = key_type;
	}
	value = id_argument(PG_GETARG_DATUM(2), type, scorer->key_type, "item", key->name);
	candidate_from_key(served->image, cell_from_datum(&scorer->key, value, false), &scorer->candidate);
	return score(scorer, served, vector);
}

PGDLLEXPORT Datum
dupn_score_bigint(PG_FUNCTION_ARGS)
{
	return score_key(fcinfo, INT8OID);
}

PGDLLEXPORT Datum
dupn_score_text(PG_FUNCTION_ARGS)
{
	return score_key(fcinfo, TEXTOID);
}

PGDLLEXPORT Datum
dupn_score_uuid(PG_FUNCTION_ARGS)
{
	return score_key(fcinfo, UUIDOID);
}

/* ------------------------------------------------------------------------
 * No candidate
 * ------------------------------------------------------------------------ */

PGDLLEXPORT Datum
dupn_score_user(PG_FUNCTION_ARGS)
{
	DupnVector *vector = PG_GETARG_DUPN_VECTOR(1);
	Served	   *served;
	Scorer	   *scorer = get_scorer(fcinfo, vector, &served);
	const nn_task *task = &served->image->config.task[scorer->task];

	if (task->n_candidate > 0 || task->features > 0)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("task \"%s\" needs %s", task->name,
						task->features > 0 ? "a row with its features" : "a candidate"),
				 errhint("Call dupn_score(task, vector, row)%s.",
						 task->features > 0 ? "" : " or dupn_score(task, vector, item_id)")));
	return score(scorer, served, vector);
}
