/*-------------------------------------------------------------------------
 *
 * influence.c
 *	  dupn_influence: what a task's score would be without each behaviour
 *
 * Attention says what a vector looks at, not what follows from it.  Here every
 * event of the window is left out in turn, as if its row had never been there:
 * the gap behind it closes, and an older event may enter the window.  The
 * vectors of all these histories are computed in batches, and each is asked
 * about with the function that the task is asked with otherwise; next_item's
 * score is that of dupn_recommend, terms of the window included.
 *
 *-------------------------------------------------------------------------
 */
#include "api/next_terms.h"
#include "api/served.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "hint.h"
#include "parser/parse_type.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(dupn_influence_bigint);
PG_FUNCTION_INFO_V1(dupn_influence_text);
PG_FUNCTION_INFO_V1(dupn_influence_uuid);

typedef struct Variant
{
	const EventText *event;		/* that is left out */
	float		weight;			/* of its attention */
	DupnVector *vector;
	float		terms;			/* of the item, next_item only */
	double		score;			/* of the vector, and what the event adds to it */
	double		influence;
	int			place;			/* in the window, 0: oldest */
} Variant;

typedef struct Question
{
	AskedUser	asked;
	int			task;
	int32		item;			/* next_item: asked about, by its place in the catalogue */
	int			n;
	Variant    *variant;		/* [n] */
	DupnVector *vector;			/* of all events, and their terms */
	float		terms;
} Question;

/* What a score is asked of. */
typedef struct Asked
{
	Session    *session;
	int			task;
	int			class;
	int32		item;			/* place in the catalogue */
	Datum		name;			/* of the task, as text */
	Datum		candidate;
	FmgrInfo	function;		/* of dupn_score, with what it keeps from call to call */
	bool		alone;			/* without a candidate */
} Asked;

/* ------------------------------------------------------------------------
 * Vectors
 * ------------------------------------------------------------------------ */

static DupnVector *
make_vector(const Session *session, int view)
{
	const ModelImage *image = session->image;

	return vector_make(image->model_id, image->version, image->fingerprint, session->now, image->config.R,
					   session->acts.vector + (size_t) view * image->config.R);
}

/* What the events themselves say of the item, for next_item. */
static float
window_terms(const Session *session, const Question *question, const EventTable *table, int64 start, int n)
{
	NextTerms	terms;

	if (session->image->config.task[question->task].kind != NN_NEXT_ITEM)
		return 0;
	next_terms_find(session->image, question->task, table, start, n, session->now, &terms);
	return next_terms_of(&terms, question->item);
}

/* Vectors of the variants from `first` on, as many as fill a batch; the first of the next. */
static int
compute_batch(Session *session, Question *question, EventTable *table, int first)
{
	const FeatureSet *set = &session->image->set;
	int64		events = 0;
	int			end;

	batch_reset(session->builder);
	for (end = first; end < question->n && (end == first || events < NN_BATCH_EVENTS); end++)
	{
		int64		start;
		int			n;

		event_table_reset(table);
		event_table_without(table, session->events, set, session->start + end);
		start = event_window(table, set, 0, table->n, session->now, &n);
		question->variant[end].terms = window_terms(session, question, table, start, n);
		batch_add_sequence(session->builder, table, start, n, session->now, NULL);
		batch_add_view(session->builder, n, session->now, &session->profile, &session->context, NULL);
		events += n;
	}
	session_finish_batch(session);
	session_compute(session, user_step, NULL);
	session_check_vectors(session, end - first);
	for (int i = first; i < end; i++)
		question->variant[i].vector = make_vector(session, i - first);
	CHECK_FOR_INTERRUPTS();
	return end;
}

static void
compute_vectors(Session *session, void *argument)
{
	Question   *question = argument;
	EventTable *table = event_table(CurrentMemoryContext);
	EventText  *texts;

	read_user(session, &question->asked, &texts);
	(void) session_vector(session);
	question->vector = make_vector(session, 0);
	question->n = session->n;
	question->variant = palloc(sizeof(Variant) * (question->n + 1));
	for (int i = 0; i < question->n; i++)
		question->variant[i] = (Variant) {
		.event = &texts[session->events->item[session->start + i]],
			.weight = session->acts.attention ? session->acts.attention[i] : 0,
			.place = i
	};
	for (int64 row = 0; row < session->events->n; row++)
		session->events->item[row] = texts[session->events->item[row]].place;
	question->terms = window_terms(session, question, session->events, session->start, session->n);
	for (int first = 0; first < question->n;)
		first = compute_batch(session, question, table, first);
}

/* ------------------------------------------------------------------------
 * Scores
 * ------------------------------------------------------------------------ */

/* The number of a class of a multiclass task that is given as text. */
static int
find_class(const ModelImage *image, int t, const char *name)
{
	const nn_task *task = &image->config.task[t];
	char	  **names = image->task[t].class_name;

	for (int i = 0; i < task->classes; i++)
		if (strcmp(names[i], name) == 0)
			return i;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("task \"%s\" has no class \"%s\"", task->name, name),
			 errhint("Its classes are %s.", quoted_list((const char *const *) names, task->classes))));
}

static char *
value_text(Datum value, Oid type)
{
	Oid			output;
	bool		varlena;

	getTypeOutputInfo(type, &output, &varlena);
	return OidOutputFunctionCall(output, value);
}

/* The place in the catalogue of an item whose key is given as text. */
static int32
find_item(const ModelImage *image, char *key)
{
	CellType	celltype;
	Oid			type;
	int32		typmod;
	int32		item;

	dupn_parse_type(image->set.f[NN_ITEM][0].type_name, &type, &typmod);
	cell_type_init(&celltype, type, true, CurrentMemoryContext);
	item = catalogue_find(&image->catalogue, cell_from_input(&celltype, key));
	if (item < 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("version %d of model \"%s\" does not know the item \"%s\"", image->version,
						image->model_name, key),
				 errhint("It knows the items of its events and of its catalog when it was trained.")));
	return item;
}

/* Choose what answers for a candidate of this type. */
static void
prepare_score(Asked *asked, const ModelImage *image, Datum candidate, Oid type, bool isnull)
{
	const nn_task *task = &image->config.task[asked->task];
	Oid			base = getBaseType(type);

	asked->alone = isnull;
	asked->candidate = candidate;
	if (task->kind == NN_MULTICLASS)
	{
		if (isnull)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("task \"%s\" needs a class as the candidate", task->name),
					 errhint("Its classes are %s.",
							 quoted_list((const char *const *) image->task[asked->task].class_name,
										 task->classes))));
		asked->class = find_class(image, asked->task, value_text(candidate, type));
		return;
	}
	if (task->kind == NN_NEXT_ITEM)
	{
		if (isnull || type_is_rowtype(type))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("task \"%s\" needs an item as the candidate", task->name),
					 errhint("Give the item's key.")));
		asked->item = find_item(image, value_text(candidate, type));
		return;
	}

	asked->function.fn_mcxt = CurrentMemoryContext;
	asked->function.fn_nargs = isnull ? 2 : 3;
	asked->function.fn_strict = true;
	if (isnull)
		asked->function.fn_addr = dupn_score_user;
	else if (type_is_rowtype(type))
		asked->function.fn_addr = dupn_score_record;
	else if (base == INT2OID || base == INT4OID || base == INT8OID)
	{
		asked->function.fn_addr = dupn_score_bigint;
		if (base != INT8OID)
			asked->candidate = Int64GetDatum(base == INT2OID ? DatumGetInt16(candidate) : DatumGetInt32(candidate));
	}
	else if (base == UUIDOID)
		asked->function.fn_addr = dupn_score_uuid;
	else
	{
		asked->function.fn_addr = dupn_score_text;
		asked->candidate = CStringGetTextDatum(value_text(candidate, type));
	}
}

/* As dupn_recommend has it. */
static double
item_score(const Asked *asked, const DupnVector *vector)
{
	const ModelImage *image = asked->session->image;
	float	   *e = palloc(sizeof(float) * image->config.E);
	nn_samples	samples = {0};
	nn_task_acts acts = {0};
	double		score = nn_item_bias(&image->config, &image->layout, image->param, asked->task,
									 image->catalogue.feature, asked->item);

	session_head(asked->session, asked->task, &samples, vector->x, &acts);
	nn_item_encode(&image->config, &image->layout, image->param, image->catalogue.feature, asked->item, e);
	for (int k = 0; k < image->config.E; k++)
		score += (double) acts.query[k] * e[k];
	pfree(e);
	return score;
}

static double
score(Asked *asked, const DupnVector *vector, float terms)
{
	if (asked->session->image->config.task[asked->task].kind == NN_NEXT_ITEM)
		return item_score(asked, vector) + terms;
	if (asked->session->image->config.task[asked->task].kind == NN_MULTICLASS)
		return class_probability(asked->session, asked->task, asked->class, vector->x);
	if (asked->alone)
		return DatumGetFloat4(FunctionCall2(&asked->function, asked->name, PointerGetDatum(vector)));
	return DatumGetFloat4(FunctionCall3(&asked->function, asked->name, PointerGetDatum(vector), asked->candidate));
}

/* ------------------------------------------------------------------------
 * The answer
 * ------------------------------------------------------------------------ */

/* The largest influence first, whatever its sign; of equal ones the newest event. */
static int
compare_variants(const void *a, const void *b)
{
	const Variant *x = a;
	const Variant *y = b;
	double		left = fabs(x->influence);
	double		right = fabs(y->influence);

	if (left != right)
		return left > right ? -1 : 1;
	return y->place - x->place;
}

static void
put_rows(ReturnSetInfo *result, const Question *question, bool has_attention)
{
	qsort(question->variant, question->n, sizeof(Variant), compare_variants);
	for (int i = 0; i < question->n; i++)
	{
		const Variant *variant = &question->variant[i];
		Datum		values[7];
		bool		nulls[7] = {false};

		values[0] = TimestampTzGetDatum(variant->event->time);
		values[1] = text_or_null(variant->event->item, &nulls[1]);
		values[2] = text_or_null(variant->event->behavior, &nulls[2]);
		values[3] = Float4GetDatum(variant->weight);
		nulls[3] = !has_attention;
		values[4] = Float4GetDatum((float4) variant->score);
		values[5] = Float4GetDatum((float4) variant->influence);
		values[6] = Int32GetDatum(i + 1);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
}

/* (task, user_id, candidate, model, context, as_of, version) */
static Datum
influence(FunctionCallInfo fcinfo, Oid type)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Oid			candidate_type = get_fn_expr_argtype(fcinfo->flinfo, 2);
	Question	question = {0};
	Asked		asked = {0};
	ModelImage *image;
	Served	   *served;
	double		all;

	InitMaterializedSRF(fcinfo, 0);
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		return (Datum) 0;
	/* no candidate is one thing, an unknown one another */
	if (PG_ARGISNULL(2) && OidIsValid(candidate_type) && candidate_type != UNKNOWNOID)
		return (Datum) 0;

	served = served_lookup(fcinfo, text_argument(fcinfo, 3), version_argument(fcinfo, 6));
	image = served_image(served, PG_GETARG_DATUM(1), type);
	asked.session = session_get(image);
	asked.task = image_task(image, text_argument(fcinfo, 0));
	asked.name = PG_GETARG_DATUM(0);
	prepare_score(&asked, image, PG_GETARG_DATUM(2), candidate_type, PG_ARGISNULL(2));
	question.task = asked.task;
	question.item = asked.item;
	question.asked = (AskedUser) {
		.model = served->model,
			.user = PG_GETARG_DATUM(1),
			.type = type,
			.context = PG_ARGISNULL(4) ? NULL : PG_GETARG_JSONB_P(4),
			.now = as_of_argument(fcinfo, 5),
			.spare = true
	};
	session_work(asked.session, compute_vectors, &question);

	all = score(&asked, question.vector, question.terms);
	for (int i = 0; i < question.n; i++)
	{
		question.variant[i].score = score(&asked, question.variant[i].vector, question.variant[i].terms);
		question.variant[i].influence = all - question.variant[i].score;
		CHECK_FOR_INTERRUPTS();
	}
	put_rows(result, &question, image->config.pooling == NN_POOL_ATTENTION);
	return (Datum) 0;
}

PGDLLEXPORT Datum
dupn_influence_bigint(PG_FUNCTION_ARGS)
{
	return influence(fcinfo, INT8OID);
}

PGDLLEXPORT Datum
dupn_influence_text(PG_FUNCTION_ARGS)
{
	return influence(fcinfo, TEXTOID);
}

PGDLLEXPORT Datum
dupn_influence_uuid(PG_FUNCTION_ARGS)
{
	return influence(fcinfo, UUIDOID);
}
