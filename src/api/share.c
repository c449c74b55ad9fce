/*-------------------------------------------------------------------------
 *
 * share.c
 *	  dupn_share, dupn_end_share; dupn_arm: who is in which arm
 *
 *-------------------------------------------------------------------------
 */
#include "api/served.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(dupn_share);
PG_FUNCTION_INFO_V1(dupn_end_share);
PG_FUNCTION_INFO_V1(dupn_arm_bigint);
PG_FUNCTION_INFO_V1(dupn_arm_text);
PG_FUNCTION_INFO_V1(dupn_arm_uuid);

/* (model, version, share, experiment) */
PGDLLEXPORT Datum
dupn_share(PG_FUNCTION_ARGS)
{
	Model	   *model;

	for (int i = 1; i <= 2; i++)
		if (PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("%s must not be null", i == 1 ? "version" : "share")));
	model = owned_model(fcinfo);
	/* rather this call waits for the file than the first user of the version */
	image_prewarm(model->id, PG_GETARG_INT32(1), NULL);
	PG_RETURN_TEXT_P(cstring_to_text(share_set(model, PG_GETARG_INT32(1), PG_GETARG_FLOAT8(2),
											   text_argument(fcinfo, 3))));
}

/* (model, experiment) */
PGDLLEXPORT Datum
dupn_end_share(PG_FUNCTION_ARGS)
{
	Model	   *model = owned_model(fcinfo);

	PG_RETURN_TEXT_P(cstring_to_text(share_end(model, text_argument(fcinfo, 1))));
}

/* What dupn_arm keeps from call to call, of each experiment that was asked for. */
typedef struct Arms
{
	struct Arms *next;
	char	   *experiment;		/* that was asked for, or NULL */
	ShareUsers *users;			/* NULL: it does not run */
} Arms;

static Arms *
find_arms(FunctionCallInfo fcinfo, Served *served)
{
	char	   *experiment = text_argument(fcinfo, 2);
	const Share *share;
	Arms	   *arms;

	for (arms = served->own; arms != NULL; arms = arms->next)
		if (experiment == arms->experiment ||
			(experiment && arms->experiment && strcmp(experiment, arms->experiment) == 0))
			return arms;
	share = share_find(served->model, experiment, false);
	arms = MemoryContextAllocZero(served->context, sizeof(Arms));
	arms->experiment = experiment ? MemoryContextStrdup(served->context, experiment) : NULL;
	if (share && TIMESTAMP_IS_NOEND(share->ended_at))
		arms->users = served_share_users(served, share);
	arms->next = served->own;
	served->own = arms;
	return arms;
}

/* (user_id, model, experiment) */
static Datum
arm(FunctionCallInfo fcinfo, Oid type)
{
	Served	   *served;
	Arms	   *arms;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	served = served_lookup(fcinfo, text_argument(fcinfo, 1), 0);
	arms = find_arms(fcinfo, served);
	if (arms->users == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(served_takes(served, arms->users, PG_GETARG_DATUM(0), type) ?
									 ARM_CANDIDATE : ARM_CONTROL));
}

PGDLLEXPORT Datum
dupn_arm_bigint(PG_FUNCTION_ARGS)
{
	return arm(fcinfo, INT8OID);
}

PGDLLEXPORT Datum
dupn_arm_text(PG_FUNCTION_ARGS)
{
	return arm(fcinfo, TEXTOID);
}

PGDLLEXPORT Datum
dupn_arm_uuid(PG_FUNCTION_ARGS)
{
	return arm(fcinfo, UUIDOID);
}
