/*-------------------------------------------------------------------------
 *
 * user_vectors.c
 *	  dupn_user_vectors: who are these users?
 *
 *-------------------------------------------------------------------------
 */
#include "api/served.h"

#include "catalog/pg_type.h"
#include "serve/users.h"
#include "utils/array.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(dupn_user_vectors_bigint);
PG_FUNCTION_INFO_V1(dupn_user_vectors_text);
PG_FUNCTION_INFO_V1(dupn_user_vectors_uuid);

typedef struct Question
{
	const Model *model;
	Oid			type;			/* of the users: bigint, text or uuid */
	int			n;
	Datum	   *user;
	bool	   *isnull;
	Jsonb	   *context;
	TimestampTz now;
	ReturnSetInfo *result;
} Question;

/* Rows [first, last) of the answer; the users among them are a group. */
static void
answer_group(Users *users, const Question *question, int first, int last)
{
	Session    *session = users->session;
	Sources    *sources = session_sources(session, question->model);
	Datum	   *user = palloc(sizeof(Datum) * (last - first));
	int			n = 0;

	for (int i = first; i < last; i++)
		if (!question->isnull[i])
			user[n++] = id_argument(question->user[i], question->type, sources->user_type, "user",
									sources->relations.user_column);
	users_read(users, question->model, user, n, question->context, question->now);
	users_compute(users, NULL);

	n = 0;
	for (int i = first; i < last; i++)
	{
		Datum		values[2] = {question->user[i]};
		bool		nulls[2] = {question->isnull[i], question->isnull[i]};

		if (!question->isnull[i])
			values[1] = PointerGetDatum(users_vector(users, n++));
		tuplestore_putvalues(question->result->setResult, question->result->setDesc, values, nulls);
	}
}

static void
answer(Session *session, void *argument)
{
	const Question *question = argument;
	int			room = Min(users_group(session), question->n);
	Users	   *users = users_make(session, room);
	MemoryContext group = AllocSetContextCreate(CurrentMemoryContext, "dupn group of users", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(group);

	for (int first = 0; first < question->n; first += room)
	{
		answer_group(users, question, first, Min(first + room, question->n));
		MemoryContextReset(group);
	}
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(group);
	users_free(users);
}

/* (users, model, context, as_of, version) */
static Datum
user_vectors(FunctionCallInfo fcinfo, Oid type)
{
	Question	question = {.type = type,.result = (ReturnSetInfo *) fcinfo->resultinfo};
	Served	   *served;
	int16		length;
	bool		by_value;
	char		align;

	InitMaterializedSRF(fcinfo, 0);
	if (PG_ARGISNULL(0))
		return (Datum) 0;
	served = served_model(fcinfo, text_argument(fcinfo, 1), version_argument(fcinfo, 4));
	question.model = served->model;
	question.context = PG_ARGISNULL(2) ? NULL : PG_GETARG_JSONB_P(2);
	question.now = as_of_argument(fcinfo, 3);
	get_typlenbyvalalign(type, &length, &by_value, &align);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(0), type, length, by_value, align,
					  &question.user, &question.isnull, &question.n);
	session_work(session_get(served->image), answer, &question);
	return (Datum) 0;
}

PGDLLEXPORT Datum
dupn_user_vectors_bigint(PG_FUNCTION_ARGS)
{
	return user_vectors(fcinfo, INT8OID);
}

PGDLLEXPORT Datum
dupn_user_vectors_text(PG_FUNCTION_ARGS)
{
	return user_vectors(fcinfo, TEXTOID);
}

PGDLLEXPORT Datum
dupn_user_vectors_uuid(PG_FUNCTION_ARGS)
{
	return user_vectors(fcinfo, UUIDOID);
}
