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
	ModelImage **image;			/* [n] who answers */
	Jsonb	   *context;
	TimestampTz now;
	ReturnSetInfo *result;
} Question;

/* What a version has to do of users [first, last). */
typedef struct UserGroup
{
	const Question *question;
	Users	   *users;
	int			first;
	int			last;
	DupnVector **vector;		/* [last - first] */
} UserGroup;

/* ------------------------------------------------------------------------
 * Groups of users, each by its versions in turn
 * ------------------------------------------------------------------------ */

static void
answer(Session *session, void *argument)
{
	const UserGroup *group = argument;
	const Question *question = group->question;
	Sources    *sources = session_sources(session, question->model);
	Datum	   *user = palloc(sizeof(Datum) * (group->last - group->first));
	int		   *place = palloc(sizeof(int) * (group->last - group->first));
	int			n = 0;

	for (int i = group->first; i < group->last; i++)
	{
		if (question->isnull[i] || question->image[i] != session->image)
			continue;
		place[n] = i - group->first;
		user[n++] = id_argument(question->user[i], question->type, sources->user_type, "user",
								sources->relations.user_column);
	}
	users_read(group->users, question->model, user, n, question->context, question->now);
	users_compute(group->users, NULL);
	for (int i = 0; i < n; i++)
		group->vector[place[i]] = users_vector(group->users, i);
}

static void
put_group(const UserGroup *group)
{
	const Question *question = group->question;

	for (int i = group->first; i < group->last; i++)
	{
		DupnVector *vector = group->vector[i - group->first];
		Datum		values[2] = {question->user[i], PointerGetDatum(vector)};
		bool		nulls[2] = {question->isnull[i], vector == NULL};

		tuplestore_putvalues(question->result->setResult, question->result->setDesc, values, nulls);
	}
}

/* The versions that answer, of which there are few. */
static List *
find_images(const Question *question)
{
	List	   *images = NIL;

	for (int i = 0; i < question->n; i++)
		if (!question->isnull[i])
			images = list_append_unique_ptr(images, question->image[i]);
	return images;
}

static void
answer_all(const Question *question)
{
	List	   *images = find_images(question);
	List	   *all_users = NIL;
	MemoryContext memory = AllocSetContextCreate(CurrentMemoryContext, "dupn group of users", ALLOCSET_DEFAULT_SIZES);
	int			room = Max(question->n, 1);
	ListCell   *cell;

	foreach(cell, images)
		room = Min(room, users_group(session_get(lfirst(cell))));
	foreach(cell, images)
		all_users = lappend(all_users, users_make(session_get(lfirst(cell)), room));

	for (int first = 0; first < question->n; first += room)
	{
		UserGroup	group = {.question = question,.first = first,.last = Min(first + room, question->n)};
		MemoryContext caller = MemoryContextSwitchTo(memory);

		group.vector = palloc0(sizeof(DupnVector *) * room);
		foreach(cell, all_users)
		{
			group.users = lfirst(cell);
			session_work(group.users->session, answer, &group);
		}
		put_group(&group);
		MemoryContextSwitchTo(caller);
		MemoryContextReset(memory);
	}
	MemoryContextDelete(memory);
	foreach(cell, all_users)
		users_free(lfirst(cell));
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
	question.image = palloc0(sizeof(ModelImage *) * Max(question.n, 1));
	for (int i = 0; i < question.n; i++)
		if (!question.isnull[i])
			question.image[i] = served_image(served, question.user[i], type);
	answer_all(&question);
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
