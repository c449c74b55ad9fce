/*-------------------------------------------------------------------------
 *
 * recommend.c
 *	  dupn_recommend: the k items a user will most likely take next
 *
 *-------------------------------------------------------------------------
 */
#include "api/next_terms.h"
#include "api/served.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "nn/vector.h"
#include "nodes/nodeFuncs.h"
#include "nodes/supportnodes.h"
#include "optimizer/optimizer.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(dupn_recommend_bigint);
PG_FUNCTION_INFO_V1(dupn_recommend_text);
PG_FUNCTION_INFO_V1(dupn_recommend_uuid);
PG_FUNCTION_INFO_V1(dupn_recommend_support);

#define MAX_K	10000
#define DEFAULT_K	10
#define BLOCK	NEXT_BLOCK		/* items whose scores are made before the best are taken */
#define RUN		64

typedef struct Scored
{
	int32		item;
	float		score;
} Scored;

typedef struct Question
{
	AskedUser	asked;
	int			task;
	int			k;
	bool		exclude_seen;

	/* what scores are made of */
	float	   *row_score;		/* of the rows of the item tables */
	NextTerms	terms;			/* of the window */
	bool	   *seen;			/* [J], or NULL: not excluded */

	/* the answer */
	int			n;
	Scored	   *best;
} Question;

/* ------------------------------------------------------------------------
 * The best items
 * ------------------------------------------------------------------------ */

/* Of equal scores the earlier item is better. */
static inline bool
worse(const Scored *a, const Scored *b)
{
	return a->score != b->score ? a->score < b->score : a->item > b->item;
}

/* Restore the order of a heap whose root, the worst of its items, is new. */
static void
sift_down(Scored *heap, int n)
{
	Scored		root = heap[0];
	int			at = 0;

	for (;;)
	{
		int			child = 2 * at + 1;

		if (child >= n)
			break;
		if (child + 1 < n && worse(&heap[child + 1], &heap[child]))
			child++;
		if (!worse(&heap[child], &root))
			break;
		heap[at] = heap[child];
		at = child;
	}
	heap[at] = root;
}

static void
sift_up(Scored *heap, int at)
{
	Scored		leaf = heap[at];

	while (at > 0 && worse(&leaf, &heap[(at - 1) / 2]))
	{
		heap[at] = heap[(at - 1) / 2];
		at = (at - 1) / 2;
	}
	heap[at] = leaf;
}

/* Scores of the items from `first` on, -infinity for those that are excluded. */
static void
score_block(const Question *question, const ModelImage *image, int64 first, int n, NextPlace *place,
			float *score)
{
	nn_item_scores(&image->config, question->row_score, image->catalogue.feature, first, n, score);
	next_terms_add(&question->terms, place, first, n, score);
	for (int j = 0; question->seen && j < n; j++)
		if (question->seen[first + j])
			score[j] = -INFINITY;
}

/*
 * The best `most` items that are not excluded, best first; returns how many.
 * Scores live for a block only, and of most runs of a block a look at the
 * largest tells that nothing in it can enter the heap.
 */
static int
best_items(const Question *question, const ModelImage *image, Scored *best, int most)
{
	float		score[BLOCK];
	int			found = 0;
	NextPlace	place;

	next_terms_begin(&question->terms, &place);
	for (int64 first = 0; first < image->catalogue.n; first += BLOCK)
	{
		int			n = (int) Min(image->catalogue.n - first, BLOCK);

		score_block(question, image, first, n, &place, score);
		for (int begin = 0; begin < n; begin += RUN)
		{
			int			end = Min(begin + RUN, n);

			if (found == most && nn_vector_max(end - begin, score + begin) <= best[0].score)
				continue;
			for (int j = begin; j < end; j++)
			{
				Scored		scored = {.item = (int32) (first + j),.score = score[j]};

				if (score[j] == -INFINITY)
					continue;
				if (found < most)
				{
					best[found] = scored;
					sift_up(best, found++);
				}
				else if (worse(&best[0], &scored))
				{
					best[0] = scored;
					sift_down(best, found);
				}
			}
		}
		CHECK_FOR_INTERRUPTS();
	}

	/* take the worst away one by one, from the back */
	for (int last = found - 1; last > 0; last--)
	{
		Scored		worst = best[0];

		best[0] = best[last];
		sift_down(best, last);
		best[last] = worst;
	}
	return found;
}

/* The same among those that the caller may see in the catalog. */
static void
choose(Session *session, Question *question)
{
	const ModelImage *image = session->image;
	int64		n = image->catalogue.n;
	int			most = (int) Min(question->k, n);
	Scored	   *best = palloc(sizeof(Scored) * (most + 1));
	int32	   *item = palloc(sizeof(int32) * (most + 1));
	bool	   *visible = NULL;
	int			found;

	/* read_visible says of each item that it is asked about, and of no other */
	if (question->asked.model->relations.catalog)
		visible = palloc_extended(Max(n, 1), MCXT_ALLOC_HUGE);
	for (;;)
	{
		found = best_items(question, image, best, most);
		question->n = 0;
		question->best = best;
		for (int i = 0; i < found; i++)
			item[i] = best[i].item;
		if (visible)
			read_visible(session, question->asked.model, item, found, visible);
		for (int i = 0; i < found; i++)
			if (visible == NULL || visible[item[i]])
				best[question->n++] = best[i];
		if (question->n >= question->k || found < most || most == n)
			break;

		/* items were hidden: look further down */
		most = (int) Min((int64) most * 4, n);
		best = repalloc_huge(best, sizeof(Scored) * (most + 1));
		item = repalloc_huge(item, sizeof(int32) * (most + 1));
	}
	question->n = Min(question->n, question->k);
}

/* ------------------------------------------------------------------------
 * Scores
 * ------------------------------------------------------------------------ */

/* User vector, query and the tables' scores in one go, since they share the arena. */
static nn_status
score_step(Session *session, void *argument)
{
	static const int32 view = 0;
	Question   *question = argument;
	nn_samples	samples = {.n = 1,.view = &view};
	nn_task_acts acts = {0};
	nn_status	status;

	status = user_step(session, NULL);
	if (status == NN_OK)
		status = nn_task_forward(&session->run, question->task, &samples, 1, session->acts.vector,
								 &session->arena, &acts);
	if (status == NN_OK)
		status = nn_row_scores(&session->run, question->task, acts.query, question->row_score);
	return status;
}

static void
answer(Session *session, void *argument)
{
	Question   *question = argument;
	const ModelImage *image = session->image;
	int64		n = image->catalogue.n;

	if (question->exclude_seen)
	{
		question->seen = palloc_extended(Max(n, 1), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
		read_seen(session, &question->asked, question->seen);
	}
	read_user(session, &question->asked, NULL);
	session_batch(session);
	question->row_score = palloc_extended(sizeof(float) * nn_row_scores_floats(&image->config),
										  MCXT_ALLOC_HUGE);
	session_compute(session, score_step, question);
	next_terms_find(image, question->task, session->events, session->start, session->n, session->now,
					&question->terms);
	choose(session, question);
}

/* (user_id, k, exclude_seen, context, as_of, model, version) */
static Datum
recommend(FunctionCallInfo fcinfo, Oid type)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Question	question = {0};
	const Catalogue *catalogue;
	ModelImage *image;
	Served	   *served;

	InitMaterializedSRF(fcinfo, 0);
	if (PG_ARGISNULL(0))
		return (Datum) 0;
	question.k = PG_ARGISNULL(1) ? DEFAULT_K : PG_GETARG_INT32(1);
	if (question.k < 1 || question.k > MAX_K)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("k must be between 1 and %d, not %d", MAX_K, question.k)));
	question.exclude_seen = !PG_ARGISNULL(2) && PG_GETARG_BOOL(2);
	served = served_lookup(fcinfo, text_argument(fcinfo, 5), version_argument(fcinfo, 6));
	image = served_image(served, PG_GETARG_DATUM(0), type);
	question.task = image_first_task(image, NN_NEXT_ITEM);
	question.asked = (AskedUser) {
		.model = served->model,
			.user = PG_GETARG_DATUM(0),
			.type = type,
			.context = PG_ARGISNULL(3) ? NULL : PG_GETARG_JSONB_P(3),
			.now = as_of_argument(fcinfo, 4)
	};
	session_work(session_get(image), answer, &question);

	catalogue = &image->catalogue;
	for (int i = 0; i < question.n; i++)
	{
		int32		item = question.best[i].item;
		int64		begin = catalogue->text_offsets[item];
		Datum		values[2];
		bool		nulls[2] = {false};

		values[0] = PointerGetDatum(cstring_to_text_with_len(catalogue->text + begin,
															 catalogue->text_offsets[item + 1] - begin));
		values[1] = Float4GetDatum(question.best[i].score);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

PGDLLEXPORT Datum
dupn_recommend_bigint(PG_FUNCTION_ARGS)
{
	return recommend(fcinfo, INT8OID);
}

PGDLLEXPORT Datum
dupn_recommend_text(PG_FUNCTION_ARGS)
{
	return recommend(fcinfo, TEXTOID);
}

PGDLLEXPORT Datum
dupn_recommend_uuid(PG_FUNCTION_ARGS)
{
	return recommend(fcinfo, UUIDOID);
}

/* For the planner: a call gives k rows, mostly. */
PGDLLEXPORT Datum
dupn_recommend_support(PG_FUNCTION_ARGS)
{
	Node	   *node = (Node *) PG_GETARG_POINTER(0);
	SupportRequestRows *request = (SupportRequestRows *) node;
	Node	   *k;

	if (!IsA(node, SupportRequestRows) || !is_funcclause(request->node))
		PG_RETURN_POINTER(NULL);
	k = estimate_expression_value(request->root, lsecond(((FuncExpr *) request->node)->args));
	if (!IsA(k, Const))
		PG_RETURN_POINTER(NULL);
	request->rows = ((Const *) k)->constisnull ? DEFAULT_K :
		Min(Max(DatumGetInt32(((Const *) k)->constvalue), 1), MAX_K);
	PG_RETURN_POINTER(request);
}
