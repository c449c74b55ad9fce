/*-------------------------------------------------------------------------
 *
 * recommend.c
 *	  dupn_recommend: the k items a user will most likely take next
 *
 *-------------------------------------------------------------------------
 */
#include "api/served.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(dupn_recommend_bigint);
PG_FUNCTION_INFO_V1(dupn_recommend_text);
PG_FUNCTION_INFO_V1(dupn_recommend_uuid);

#define MAX_K	10000

typedef struct Question
{
	AskedUser	asked;
	int			task;
	int			k;
	bool		exclude_seen;

	/* what one step of the network works with */
	float	   *scratch;
	float	   *score;			/* [J] */

	/* the answer */
	int			n;
	int32	   *item;
} Question;

/* ------------------------------------------------------------------------
 * The best items
 * ------------------------------------------------------------------------ */

/* Is item a worse than b?  Of equal scores the earlier item is better. */
static inline bool
worse(const float *score, int32 a, int32 b)
{
	return score[a] != score[b] ? score[a] < score[b] : a > b;
}

/* Restore the order of a heap whose root, the worst of its items, is new. */
static void
sift_down(const float *score, int32 *heap, int n)
{
	int32		item = heap[0];
	int			at = 0;

	for (;;)
	{
		int			child = 2 * at + 1;

		if (child >= n)
			break;
		if (child + 1 < n && worse(score, heap[child + 1], heap[child]))
			child++;
		if (!worse(score, heap[child], item))
			break;
		heap[at] = heap[child];
		at = child;
	}
	heap[at] = item;
}

static void
sift_up(const float *score, int32 *heap, int at)
{
	int32		item = heap[at];

	while (at > 0 && worse(score, item, heap[(at - 1) / 2]))
	{
		heap[at] = heap[(at - 1) / 2];
		at = (at - 1) / 2;
	}
	heap[at] = item;
}

/* The best `most` of n items that are not excluded, best first; returns how many. */
static int
best_items(const float *score, int64 n, const bool *excluded, int32 *best, int most)
{
	int			found = 0;

	for (int64 j = 0; j < n; j++)
	{
		if (excluded && excluded[j])
			continue;
		if (found < most)
		{
			best[found] = (int32) j;
			sift_up(score, best, found++);
		}
		else if (worse(score, best[0], (int32) j))
		{
			best[0] = (int32) j;
			sift_down(score, best, found);
		}
	}

	/* take the worst away one by one, from the back */
	for (int last = found - 1; last > 0; last--)
	{
		int32		worst = best[0];

		best[0] = best[last];
		sift_down(score, best, last);
		best[last] = worst;
	}
	return found;
}

/* The same among those that the caller may see in the catalog. */
static void
choose(Session *session, Question *question, const bool *seen)
{
	int64		n = session->image->catalogue.n;
	int			most = (int) Min(question->k, n);
	int32	   *best = palloc(sizeof(int32) * (most + 1));
	bool	   *visible = NULL;
	int			found;

	if (question->asked.model->relations.catalog)
	{
		visible = palloc_extended(Max(n, 1), MCXT_ALLOC_HUGE);
		memset(visible, true, n);
	}
	for (;;)
	{
		found = best_items(question->score, n, seen, best, most);
		question->n = 0;
		question->item = best;
		if (visible)
			read_visible(session, question->asked.model, best, found, visible);
		for (int i = 0; i < found; i++)
			if (visible == NULL || visible[best[i]])
				best[question->n++] = best[i];
		if (question->n >= question->k || found < most || most == n)
			break;

		/* items were hidden: look further down */
		most = (int) Min((int64) most * 4, n);
		best = repalloc(best, sizeof(int32) * (most + 1));
		CHECK_FOR_INTERRUPTS();
	}
	question->n = Min(question->n, question->k);
}

/* ------------------------------------------------------------------------
 * Scores
 * ------------------------------------------------------------------------ */

/* User vector, query and inner products in one go, since they share the arena. */
static nn_status
score_step(Session *session, void *argument)
{
	static const int32 view = 0;
	Question   *question = argument;
	const Catalogue *catalogue = &session->image->catalogue;
	nn_samples	samples = {.n = 1,.view = &view};
	nn_task_acts acts = {0};
	nn_status	status;

	status = user_step(session, NULL);
	if (status == NN_OK)
		status = nn_task_forward(&session->run, question->task, &samples, 1, session->acts.vector,
								 &session->arena, &acts);
	if (status == NN_OK)
		status = nn_item_scores(&session->run, question->task, acts.query, catalogue->feature,
								catalogue->n, question->scratch, question->score);
	return status;
}

/* m_j of NETWORK.md: what the user had in the window is taken again. */
static void
add_repeats(Session *session, Question *question)
{
	const ModelImage *image = session->image;
	const nn_task_tensors *tensors = &image->layout.task[question->task];
	int			buckets = image->config.recency;
	WindowItem *items;
	int			n;

	if (!image->config.task[question->task].repeat)
		return;
	items = palloc(sizeof(WindowItem) * (session->n + 1));
	n = window_items(&image->set, session->events, session->start, session->n, session->now, items);
	for (int i = 0; i < n; i++)
	{
		const float *count = image->param + image->layout.tensor[tensors->repeat_count].offset;
		const float *recency = image->param + image->layout.tensor[tensors->repeat_recency].offset;

		question->score[items[i].item] += count[Min(items[i].count, 4)];
		if (buckets > 0)
			question->score[items[i].item] += recency[items[i].type * buckets + items[i].recency];
	}
}

static void
answer(Session *session, void *argument)
{
	Question   *question = argument;
	const ModelImage *image = session->image;
	int64		n = image->catalogue.n;
	bool	   *seen = NULL;

	if (question->exclude_seen)
	{
		seen = palloc_extended(Max(n, 1), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
		read_seen(session, &question->asked, seen);
	}
	read_user(session, &question->asked, NULL);
	session_batch(session);
	question->score = palloc_extended(sizeof(float) * Max(n, 1), MCXT_ALLOC_HUGE);
	question->scratch = palloc_extended(sizeof(float) * nn_item_scores_scratch(&image->config),
										MCXT_ALLOC_HUGE);
	session_compute(session, score_step, question);
	add_repeats(session, question);
	choose(session, question, seen);
}

/* (user_id, k, exclude_seen, context, as_of, model, version) */
static Datum
recommend(FunctionCallInfo fcinfo, Oid type)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Question	question = {0};
	const Catalogue *catalogue;
	Served	   *served;

	InitMaterializedSRF(fcinfo, 0);
	if (PG_ARGISNULL(0))
		return (Datum) 0;
	question.k = PG_ARGISNULL(1) ? 10 : PG_GETARG_INT32(1);
	if (question.k < 1 || question.k > MAX_K)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("k must be between 1 and %d, not %d", MAX_K, question.k)));
	question.exclude_seen = !PG_ARGISNULL(2) && PG_GETARG_BOOL(2);
	served = served_model(fcinfo, text_argument(fcinfo, 5), version_argument(fcinfo, 6));
	question.task = first_task(served->image, NN_NEXT_ITEM);
	question.asked = (AskedUser) {
		.model = served->model,
			.user = PG_GETARG_DATUM(0),
			.type = type,
			.context = PG_ARGISNULL(3) ? NULL : PG_GETARG_JSONB_P(3),
			.now = as_of_argument(fcinfo, 4)
	};
	session_work(session_get(served->image), answer, &question);

	catalogue = &served->image->catalogue;
	for (int i = 0; i < question.n; i++)
	{
		int32		item = question.item[i];
		int64		begin = catalogue->text_offsets[item];
		Datum		values[2];
		bool		nulls[2] = {false};

		values[0] = PointerGetDatum(cstring_to_text_with_len(catalogue->text + begin,
															 catalogue->text_offsets[item + 1] - begin));
		values[1] = Float4GetDatum(question.score[item]);
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
