/*-------------------------------------------------------------------------
 *
 * user_vector.c
 *	  dupn_user_vector: who is this user?
 *
 *-------------------------------------------------------------------------
 */
#include "api/served.h"

#include "catalog/pg_type.h"
#include "utils/jsonb.h"

PG_FUNCTION_INFO_V1(dupn_user_vector_bigint);
PG_FUNCTION_INFO_V1(dupn_user_vector_text);
PG_FUNCTION_INFO_V1(dupn_user_vector_uuid);

typedef struct Question
{
	AskedUser	asked;
	DupnVector *vector;
} Question;

DupnVector *
served_user(Session *session)
{
	const ModelImage *image = session->image;

	return vector_make(image->model_id, image->version, image->fingerprint, session->now,
					   image->config.R, session_vector(session));
}

static void
answer(Session *session, void *argument)
{
	Question   *question = argument;

	read_user(session, &question->asked, NULL);
	question->vector = served_user(session);
}

/* (user_id, model, context, as_of, version) */
static Datum
user_vector(FunctionCallInfo fcinfo, Oid type)
{
	Question	question = {0};
	Served	   *served;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	served = served_lookup(fcinfo, text_argument(fcinfo, 1), version_argument(fcinfo, 4));
	question.asked = (AskedUser) {
		.model = served->model,
			.user = PG_GETARG_DATUM(0),
			.type = type,
			.context = PG_ARGISNULL(2) ? NULL : PG_GETARG_JSONB_P(2),
			.now = as_of_argument(fcinfo, 3)
	};
	session_work(session_get(served_image(served, PG_GETARG_DATUM(0), type)), answer, &question);
	PG_RETURN_POINTER(question.vector);
}

PGDLLEXPORT Datum
dupn_user_vector_bigint(PG_FUNCTION_ARGS)
{
	return user_vector(fcinfo, INT8OID);
}

PGDLLEXPORT Datum
dupn_user_vector_text(PG_FUNCTION_ARGS)
{
	return user_vector(fcinfo, TEXTOID);
}

PGDLLEXPORT Datum
dupn_user_vector_uuid(PG_FUNCTION_ARGS)
{
	return user_vector(fcinfo, UUIDOID);
}
