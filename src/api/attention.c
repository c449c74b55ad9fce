/*-------------------------------------------------------------------------
 *
 * attention.c
 *	  dupn_attention: which behaviours a user's vector looks at
 *
 *-------------------------------------------------------------------------
 */
#include "api/served.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(dupn_attention_bigint);
PG_FUNCTION_INFO_V1(dupn_attention_text);
PG_FUNCTION_INFO_V1(dupn_attention_uuid);

typedef struct Weighted
{
	const EventText *event;
	float		weight;
	int			place;			/* in the window, 0: oldest */
} Weighted;

typedef struct Question
{
	AskedUser	asked;
	int			n;
	Weighted   *events;
} Question;

/* By weight, and of equal ones the newest first. */
static int
compare_weighted(const void *a, const void *b)
{
	const Weighted *x = a;
	const Weighted *y = b;

	if (x->weight != y->weight)
		return x->weight > y->weight ? -1 : 1;
	return y->place - x->place;
}

static void
answer(Session *session, void *argument)
{
	Question   *question = argument;
	EventText  *texts;

	read_user(session, &question->asked, &texts);
	session_batch(session);
	session_compute(session, user_step, NULL);

	question->n = session->n;
	question->events = palloc(sizeof(Weighted) * (session->n + 1));
	for (int i = 0; i < session->n; i++)
		question->events[i] = (Weighted) {
		.event = &texts[session->events->item[session->start + i]],
			.weight = session->acts.attention[i],
			.place = i
	};
	qsort(question->events, question->n, sizeof(Weighted), compare_weighted);
}

/* (user_id, model, context, as_of, version) */
static Datum
attention(FunctionCallInfo fcinfo, Oid type)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Question	question = {0};
	ModelImage *image;
	Served	   *served;

	InitMaterializedSRF(fcinfo, 0);
	if (PG_ARGISNULL(0))
		return (Datum) 0;
	served = served_lookup(fcinfo, text_argument(fcinfo, 1), version_argument(fcinfo, 4));
	image = served_image(served, PG_GETARG_DATUM(0), type);
	question.asked = (AskedUser) {
		.model = served->model,
			.user = PG_GETARG_DATUM(0),
			.type = type,
			.context = PG_ARGISNULL(2) ? NULL : PG_GETARG_JSONB_P(2),
			.now = as_of_argument(fcinfo, 3)
	};
	if (image->config.pooling != NN_POOL_ATTENTION)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("model \"%s\" has no attention", image->model_name),
				 errdetail("Its option \"pooling\" is \"%s\".", nn_pooling_name[image->config.pooling]),
				 errhint("dupn_influence tells what each behaviour does to a score, whatever the pooling.")));
	session_work(session_get(image), answer, &question);

	for (int i = 0; i < question.n; i++)
	{
		const Weighted *event = &question.events[i];
		Datum		values[5];
		bool		nulls[5] = {false};

		values[0] = TimestampTzGetDatum(event->event->time);
		values[1] = text_or_null(event->event->item, &nulls[1]);
		values[2] = text_or_null(event->event->behavior, &nulls[2]);
		values[3] = Float4GetDatum(event->weight);
		values[4] = Int32GetDatum(i + 1);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

PGDLLEXPORT Datum
dupn_attention_bigint(PG_FUNCTION_ARGS)
{
	return attention(fcinfo, INT8OID);
}

PGDLLEXPORT Datum
dupn_attention_text(PG_FUNCTION_ARGS)
{
	return attention(fcinfo, TEXTOID);
}

PGDLLEXPORT Datum
dupn_attention_uuid(PG_FUNCTION_ARGS)
{
	return attention(fcinfo, UUIDOID);
}
