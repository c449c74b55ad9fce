/*-------------------------------------------------------------------------
 *
 * score.c
 *	  dupn_score: how likely, or how good, is a candidate for a user?
 *
 * A query calls this once per candidate, so whatever candidates share is kept:
 * the version and what it was asked through (served.c), the columns of the row,
 * the head taken apart, and the vector's part of it, which holds while the
 * bytes of the vector argument are the same.
 *
 *-------------------------------------------------------------------------
 */
#include "api/numbers.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "parser/parse_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/uuid.h"

PG_FUNCTION_INFO_V1(dupn_score_record);
PG_FUNCTION_INFO_V1(dupn_score_bigint);
PG_FUNCTION_INFO_V1(dupn_score_text);
PG_FUNCTION_INFO_V1(dupn_score_uuid);
PG_FUNCTION_INFO_V1(dupn_score_bigints);
PG_FUNCTION_INFO_V1(dupn_score_texts);
PG_FUNCTION_INFO_V1(dupn_score_uuids);
PG_FUNCTION_INFO_V1(dupn_score_user);

#define BATCH	64				/* candidates of an array at a time */
#define PREFETCHED	16			/* floats of a cache line */

/* What is worked out once for many candidates of one query and task. */
typedef struct Scorer
{
	const nn_task *task;
	const ImageTask *names;
	const nn_scorer *head;
	float	   *user;			/* the vector's part */
	uint64		vector;			/* whose it is: a number of Scorers */
	float	   *e;				/* [BATCH, X] */
	float	   *scratch;		/* [BATCH, inner] */
	float	   *item;			/* [BATCH, width] */
	const float *kept;			/* [J, width] the same of the whole catalogue, or NULL */
	RecordReader record;
	Numbers		numbers;		/* the features of its row */
	bool		key_only;		/* the row has no candidate column but the item's key */
	Oid			key_type;		/* of the item's key */
	Oid			key_base;
	CellType	key;
	Candidate	candidate;
} Scorer;

/* In Served: the vector asked about, and a scorer per task, as the task may be
 * another one in each row. */
typedef struct Scorers
{
	uint64		vector;			/* counts them */
	DupnVector	stamp;			/* without its floats */
	struct varlena *raw;		/* the argument as it came, perhaps compressed or elsewhere */
	Size		raw_size;
	Size		raw_space;
	Scorer	   *scorer[NN_MAX_TASKS];
} Scorers;

/* ------------------------------------------------------------------------
 * The vector
 * ------------------------------------------------------------------------ */

/* Does this argument have the bytes of the one before? */
static bool
same_vector(const Scorers *scorers, const struct varlena *raw)
{
	return scorers && scorers->raw_size == VARSIZE_ANY(raw) &&
		memcmp(scorers->raw, raw, scorers->raw_size) == 0;
}

/* Remember an argument.  A pointer into memory says nothing of what is there. */
static void
keep_vector(const Served *served, Scorers *scorers, const struct varlena *raw, const DupnVector *vector)
{
	Size		size = VARSIZE_ANY(raw);

	scorers->vector++;
	scorers->stamp = *vector;
	scorers->raw_size = 0;
	if (VARATT_IS_EXTERNAL(raw) && !VARATT_IS_EXTERNAL_ONDISK(raw))
		return;
	if (size > scorers->raw_space)
	{
		scorers->raw = MemoryContextAlloc(served->context, size);
		scorers->raw_space = size;
	}
	memcpy(scorers->raw, raw, size);
	scorers->raw_size = size;
}

/* ------------------------------------------------------------------------
 * The task
 * ------------------------------------------------------------------------ */

static bool
is_named(const text *name, const char *task)
{
	return strncmp(task, VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name)) == 0 &&
		task[VARSIZE_ANY_EXHDR(name)] == '\0';
}

static Scorer *
make_scorer(const Served *served, const text *name)
{
	MemoryContext context = served->context;
	const ModelImage *image = served->image;
	int			t = image_task(image, text_to_cstring(name));
	const nn_task *task = &image->config.task[t];
	Scorer	   *scorer = MemoryContextAllocZero(context, sizeof(Scorer));

	if (task->kind != NN_BINARY && task->kind != NN_RANK)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("task \"%s\" is of kind \"%s\" and scores no candidate", task->name, nn_kind_name[task->kind]),
				 errhint("Ask it with %s.", task->kind == NN_NEXT_ITEM ? "dupn_recommend" : "dupn_classify")));
	scorer->task = task;
	scorer->names = &image->task[t];
	scorer->head = session_scorer(session_get(served->image), t);
	scorer->user = MemoryContextAllocZero(context, sizeof(float) * scorer->head->width);
	numbers_make(&scorer->numbers, task, scorer->names, context);
	if (task->n_candidate > 0)
	{
		scorer->e = MemoryContextAlloc(context, sizeof(float) * BATCH * scorer->head->fields.width);
		scorer->scratch = MemoryContextAlloc(context, sizeof(float) * BATCH * scorer->head->inner);
		scorer->item = MemoryContextAlloc(context, sizeof(float) * BATCH * scorer->head->width);
		scorer->kept = image_item_part(served->image, served->model, t);
	}
	return scorer;
}

/* The scorer of a call (task, vector, ..), its user part that of the vector. */
static Scorer *
get_scorer(FunctionCallInfo fcinfo, Served **served)
{
	const text *name = PG_GETARG_TEXT_PP(0);
	const struct varlena *raw = PG_GETARG_RAW_VARLENA_P(1);
	Served	   *held = fcinfo->flinfo->fn_extra;
	Scorers    *scorers = held ? held->own : NULL;
	DupnVector *vector = NULL;
	DupnVector	stamp;
	Scorer	   *scorer = NULL;

	if (same_vector(scorers, raw))
		stamp = scorers->stamp;
	else
	{
		vector = PG_GETARG_DUPN_VECTOR(1);
		stamp = *vector;
	}

	/* this forgets what it held if something has changed */
	*served = served_vector(fcinfo, &stamp);
	scorers = (*served)->own;
	if (scorers == NULL)
		scorers = (*served)->own = MemoryContextAllocZero((*served)->context, sizeof(Scorers));
	if (vector || scorers->vector == 0)
	{
		if (vector == NULL)
			vector = PG_GETARG_DUPN_VECTOR(1);
		keep_vector(*served, scorers, raw, vector);
	}

	for (int t = 0; t < (*served)->image->config.n_task && scorer == NULL; t++)
		if (scorers->scorer[t] && is_named(name, scorers->scorer[t]->task->name))
			scorer = scorers->scorer[t];
	if (scorer == NULL)
	{
		scorer = make_scorer(*served, name);
		scorers->scorer[scorer->head->task] = scorer;
	}
	if (scorer->vector != scorers->vector)
	{
		if (vector == NULL)
			vector = PG_GETARG_DUPN_VECTOR(1);
		scorer->vector = 0;
		session_user_part(session_get((*served)->image), scorer->head, vector->x, scorer->user);
		scorer->vector = scorers->vector;
	}
	return scorer;
}

static float4
score(const Scorer *scorer, const float *item)
{
	double		logit = image_calibrated(scorer->names, nn_score(scorer->head, scorer->user, item, scorer->numbers.value));

	return (float4) (scorer->task->kind == NN_BINARY ? 1 / (1 + exp(-logit)) : logit);
}

/* The items' parts of the first n encodings in scorer->e. */
static void
item_parts(const Scorer *scorer, const Served *served, int n)
{
	const Session *session = served->image->session;

	while (n > 0 && nn_item_parts(&session->run, scorer->head, n, scorer->e, scorer->scratch, scorer->item) != NN_OK)
		CHECK_FOR_INTERRUPTS();
}

/* Of the candidate, at a place in scorer->e. */
static void
encode(const Scorer *scorer, const Served *served, int place)
{
	static const int64 row = 0;
	const Session *session = served->image->session;

	nn_candidate_encode(&session->run, scorer->head, scorer->candidate.ids, &row, 1,
						scorer->e + place * scorer->head->fields.width);
}

/* The kept part of an item by its place in the catalogue, NULL: there is none. */
static const float *
kept_part(const Scorer *scorer, int32 item)
{
	return scorer->kept && item >= 0 ? scorer->kept + (size_t) item * scorer->head->width : NULL;
}

/* ------------------------------------------------------------------------
 * Rows
 * ------------------------------------------------------------------------ */

/* Find what the task needs in a new type of row. */
static void
match_columns(Scorer *scorer, const Served *served)
{
	const ModelImage *image = served->image;
	const nn_task *task = scorer->task;
	RecordReader *record = &scorer->record;
	bool		any = record->rows->item_key > 0;

	scorer->key_only = record->rows->item_key > 0;
	for (int k = 0; k < task->n_candidate; k++)
	{
		int			c = task->candidate[k];

		if (NN_IS_THING(c) && record->rows->column[NN_THING][c - NN_MAX_FEATURES].attnum == 0)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("the row has no column \"%s\", which task \"%s\" needs",
							nn_candidate_feature(&image->config, c)->name, task->name),
					 errhint("It says what the candidate is, as in the samples of the task.")));
		if (NN_IS_THING(c) || record->rows->column[NN_ITEM][c].attnum > 0)
		{
			any = true;
			scorer->key_only = scorer->key_only && c == 0;
		}
	}
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

	numbers_match(&scorer->numbers, record);
}

PGDLLEXPORT Datum
dupn_score_record(PG_FUNCTION_ARGS)
{
	HeapTupleHeader row = PG_GETARG_HEAPTUPLEHEADER(2);
	Served	   *served;
	Scorer	   *scorer = get_scorer(fcinfo, &served);
	const nn_task *task = scorer->task;

	if (record_read(&scorer->record, served, row, "the candidate"))
	{
		/* should it fail, the next call must look again */
		scorer->record.typmod = -2;
		match_columns(scorer, served);
		scorer->record.typmod = HeapTupleHeaderGetTypMod(row);
	}
	numbers_read(&scorer->numbers, &scorer->record);
	if (task->n_candidate == 0)
		PG_RETURN_FLOAT4(score(scorer, NULL));
	if (scorer->kept && scorer->key_only)
	{
		RowReader  *rows = scorer->record.rows;
		int			at = rows->item_key - 1;
		Cell		key = cell_from_datum(&rows->item_key_type, scorer->record.values[at], scorer->record.isnull[at]);
		const float *kept = kept_part(scorer, catalogue_find(&served->image->catalogue, key));

		if (kept)
			PG_RETURN_FLOAT4(score(scorer, kept));
	}
	candidate_from_row(served->image, scorer->record.rows, scorer->record.values, scorer->record.isnull,
					   task->n_candidate, task->candidate, &scorer->candidate);
	encode(scorer, served, 0);
	item_parts(scorer, served, 1);
	PG_RETURN_FLOAT4(score(scorer, scorer->item));
}

/* ------------------------------------------------------------------------
 * Keys
 * ------------------------------------------------------------------------ */

/* Things come last. */
static bool
has_things(const nn_task *task)
{
	return task->n_candidate > 0 && NN_IS_THING(task->candidate[task->n_candidate - 1]);
}

static Scorer *
get_key_scorer(FunctionCallInfo fcinfo, Served **served)
{
	Scorer	   *scorer = get_scorer(fcinfo, served);
	const nn_task *task = scorer->task;

	if (task->n_candidate == 0 || task->features > 0 || has_things(task))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("task \"%s\" cannot score an item by its key", task->name),
				 has_things(task) ?
				 errhint("Its candidate is no item: give a row with the columns of the task's things.") :
				 task->features > 0 ?
				 errhint("Give a row with the columns of the task's features.") :
				 errhint("It has no candidate: call dupn_score(task, vector).")));
	if (scorer->key_type == InvalidOid)
	{
		int32		typmod;
		Oid			key_type;

		dupn_parse_type((*served)->image->set.f[NN_ITEM][0].type_name, &key_type, &typmod);
		cell_type_init(&scorer->key, key_type, true, (*served)->context);
		scorer->key_base = getBaseType(key_type);
		scorer->key_type = key_type;
	}
	return scorer;
}

/* A key given as bigint, text or uuid; the common case without a look at the catalogs. */
static Cell
key_cell(Scorer *scorer, const Served *served, Datum key, Oid type)
{
	if (type == INT8OID && scorer->key_base == INT4OID && DatumGetInt64(key) == (int32) DatumGetInt64(key))
		key = Int32GetDatum((int32) DatumGetInt64(key));
	else if (type != scorer->key_type)
		key = id_argument(key, type, scorer->key_type, "item", served->image->set.f[NN_ITEM][0].name);
	return cell_from_datum(&scorer->key, key, false);
}

static Datum
score_key(FunctionCallInfo fcinfo, Oid type)
{
	Served	   *served;
	Scorer	   *scorer = get_key_scorer(fcinfo, &served);
	Cell		key = key_cell(scorer, served, PG_GETARG_DATUM(2), type);
	int32		item = catalogue_find(&served->image->catalogue, key);
	const float *kept = kept_part(scorer, item);

	if (kept)
		PG_RETURN_FLOAT4(score(scorer, kept));
	candidate_from_key(served->image, key, item, scorer->task->n_candidate, scorer->task->candidate,
					   &scorer->candidate);
	encode(scorer, served, 0);
	item_parts(scorer, served, 1);
	PG_RETURN_FLOAT4(score(scorer, scorer->item));
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

static inline void
prefetch(const void *address)
{
#ifdef __GNUC__
	__builtin_prefetch(address);
#endif
}

/* Ask memory for what the scorer reads of an item of the catalogue. */
static void
prefetch_item(const Scorer *scorer, const Catalogue *catalogue, int32 item)
{
	const nn_scorer *head = scorer->head;
	const float *kept = kept_part(scorer, item);

	if (kept)
	{
		for (int i = 0; i < head->width; i += PREFETCHED)
			prefetch(kept + i);
		return;
	}
	for (int k = 0; k < head->fields.n; k++)
	{
		const nn_ids *ids = &catalogue->feature[head->fields.source[k]];

		if (ids->offsets)
			prefetch(ids->offsets + item);
		else
			prefetch(ids->values + item);
	}
}

/*
 * Scores of at most BATCH keys.  Each step asks memory for what the next one
 * reads, since the items of a large catalogue are in no cache.
 */
static void
score_cells(Scorer *scorer, const Served *served, int n, const Cell *cell, float4 *result)
{
	const Session *session = served->image->session;
	const Catalogue *catalogue = &served->image->catalogue;
	const nn_scorer *head = scorer->head;
	const float *part[BATCH];
	int32		item[BATCH];
	int64		known[BATCH];	/* items of the catalogue; they are first in scorer->e */
	int			n_known = 0;
	int			made;

	for (int i = 0; i < n; i++)
		vocabulary_prefetch(&catalogue->index, cell[i]);
	for (int i = 0; i < n; i++)
	{
		item[i] = catalogue_find(catalogue, cell[i]);
		if (item[i] < 0)
			continue;
		prefetch_item(scorer, catalogue, item[i]);
		part[i] = kept_part(scorer, item[i]);
		if (part[i])
			continue;
		part[i] = scorer->item + n_known * head->width;
		known[n_known++] = item[i];
	}
	nn_candidate_encode(&session->run, head, catalogue->feature, known, n_known, scorer->e);
	made = n_known;
	for (int i = 0; i < n; i++)
		if (item[i] < 0)
		{
			part[i] = scorer->item + made * head->width;
			candidate_from_key(served->image, cell[i], -1, head->fields.n, scorer->task->candidate,
							   &scorer->candidate);
			encode(scorer, served, made++);
		}
	item_parts(scorer, served, made);
	for (int i = 0; i < n; i++)
		result[i] = score(scorer, part[i]);
}

/* An array of keys to an array of scores of the same shape, NULL for NULL. */
static Datum
score_keys(FunctionCallInfo fcinfo, Oid type, int16 length, bool by_value, char align)
{
	ArrayType  *keys = PG_GETARG_ARRAYTYPE_P(2);
	Served	   *served;
	Scorer	   *scorer = get_key_scorer(fcinfo, &served);
	Datum	   *key;
	bool	   *isnull;
	int			n;

	deconstruct_array(keys, type, length, by_value, align, &key, &isnull, &n);
	if (n == 0)
		PG_RETURN_ARRAYTYPE_P(construct_empty_array(FLOAT4OID));
	for (int begin = 0; begin < n;)
	{
		Cell		cell[BATCH];
		float4		result[BATCH];
		int			at[BATCH];
		int			m = 0;

		for (; begin < n && m < BATCH; begin++)
			if (!isnull[begin])
			{
				cell[m] = key_cell(scorer, served, key[begin], type);
				at[m++] = begin;
			}
		CHECK_FOR_INTERRUPTS();
		score_cells(scorer, served, m, cell, result);
		for (int i = 0; i < m; i++)
			key[at[i]] = Float4GetDatum(result[i]);
	}
	PG_RETURN_ARRAYTYPE_P(construct_md_array(key, isnull, ARR_NDIM(keys), ARR_DIMS(keys), ARR_LBOUND(keys),
											 FLOAT4OID, sizeof(float4), true, TYPALIGN_INT));
}

PGDLLEXPORT Datum
dupn_score_bigints(PG_FUNCTION_ARGS)
{
	return score_keys(fcinfo, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE);
}

PGDLLEXPORT Datum
dupn_score_texts(PG_FUNCTION_ARGS)
{
	return score_keys(fcinfo, TEXTOID, -1, false, TYPALIGN_INT);
}

PGDLLEXPORT Datum
dupn_score_uuids(PG_FUNCTION_ARGS)
{
	return score_keys(fcinfo, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR);
}

/* ------------------------------------------------------------------------
 * No candidate
 * ------------------------------------------------------------------------ */

PGDLLEXPORT Datum
dupn_score_user(PG_FUNCTION_ARGS)
{
	Served	   *served;
	Scorer	   *scorer = get_scorer(fcinfo, &served);
	const nn_task *task = scorer->task;

	if (task->n_candidate > 0 || task->features > 0)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("task \"%s\" needs %s", task->name,
						task->features > 0 ? "a row with its features" : "a candidate"),
				 errhint("Call dupn_score(task, vector, row)%s.",
						 task->features > 0 ? "" : " or dupn_score(task, vector, item_id)")));
	PG_RETURN_FLOAT4(score(scorer, NULL));
}
