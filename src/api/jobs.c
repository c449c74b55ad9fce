/*-------------------------------------------------------------------------
 *
 * jobs.c
 *	  dupn_train, dupn_finetune, dupn_refresh, dupn_wait, dupn_cancel, dupn_run
 *
 *-------------------------------------------------------------------------
 */
#include "train/job.h"

#include "access/xact.h"
#include "api/served.h"
#include "catalog/pg_type.h"
#include "nodes/parsenodes.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(dupn_train);
PG_FUNCTION_INFO_V1(dupn_finetune);
PG_FUNCTION_INFO_V1(dupn_refresh);
PG_FUNCTION_INFO_V1(dupn_wait);
PG_FUNCTION_INFO_V1(dupn_cancel);
PG_FUNCTION_INFO_V1(dupn_run);

/* An argument that is an option, too: a text, or a list of them. */
static Jsonb *
put_option(Jsonb *options, const char *name, char **texts, int n, bool list)
{
	JsonbParseState *state = NULL;
	JsonbValue	value = {.type = jbvString,.val.string = {.val = unconstify(char *, name),.len = strlen(name)}};

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	pushJsonbValue(&state, WJB_KEY, &value);
	if (list)
		pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < n; i++)
	{
		value.val.string.val = texts[i];
		value.val.string.len = strlen(texts[i]);
		pushJsonbValue(&state, list ? WJB_ELEM : WJB_VALUE, &value);
	}
	if (list)
		pushJsonbValue(&state, WJB_END_ARRAY, NULL);
	return jsonb_object_merge(options, JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
}

static char **
texts_argument(FunctionCallInfo fcinfo, int argument, const char *what, int *n)
{
	Datum	   *elements;
	bool	   *nulls;
	char	  **texts;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(argument), TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, n);
	texts = palloc(sizeof(char *) * Max(*n, 1));
	for (int i = 0; i < *n; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("\"%s\" must not contain nulls", what)));
		texts[i] = TextDatumGetCString(elements[i]);
	}
	return texts;
}

/* (model, options, tasks, mode) */
PGDLLEXPORT Datum
dupn_train(PG_FUNCTION_ARGS)
{
	Jsonb	   *options = options_argument(fcinfo, 1);
	char	   *mode = text_argument(fcinfo, 3);

	if (!PG_ARGISNULL(2))
	{
		int			n;
		char	  **tasks = texts_argument(fcinfo, 2, "tasks", &n);

		options = put_option(options, "tasks", tasks, n, true);
	}
	if (mode != NULL)
		options = put_option(options, "mode", &mode, 1, false);
	PG_RETURN_INT64(job_enqueue(model_get(text_argument(fcinfo, 0)), "train", options));
}

/* (model, options) */
PGDLLEXPORT Datum
dupn_finetune(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(job_enqueue(model_get(text_argument(fcinfo, 0)), "finetune", options_argument(fcinfo, 1)));
}

/* (model, target, options) */
PGDLLEXPORT Datum
dupn_refresh(PG_FUNCTION_ARGS)
{
	Jsonb	   *options = options_argument(fcinfo, 2);
	char	   *target = text_argument(fcinfo, 1);

	if (target != NULL)
		options = put_option(options, "target", &target, 1, false);
	PG_RETURN_INT64(job_enqueue(model_get(text_argument(fcinfo, 0)), "refresh", options));
}

PGDLLEXPORT Datum
dupn_wait(PG_FUNCTION_ARGS)
{
	TimestampTz deadline = DT_NOEND;
	JobRow		row;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	if (!PG_ARGISNULL(1))
		deadline = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
														   TimestampTzGetDatum(GetCurrentTimestamp()),
														   PG_GETARG_DATUM(1)));
	job_wait(PG_GETARG_INT64(0), deadline, false, &row);
	PG_RETURN_TEXT_P(cstring_to_text(row.state));
}

PGDLLEXPORT Datum
dupn_cancel(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(job_cancel(PG_GETARG_INT64(0)));
}

PGDLLEXPORT Datum
dupn_run(PG_FUNCTION_ARGS)
{
	char	   *action = text_argument(fcinfo, 1);
	char	   *skipped;
	int64		job_id;
	JobRow		row;

	(void) job_action(action);
	if (!IsA(fcinfo->context, CallContext) || castNode(CallContext, fcinfo->context)->atomic)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_TERMINATION),
				 errmsg("dupn_run cannot run inside a transaction block"),
				 errdetail("It commits, so that the job starts, and waits without a snapshot."),
				 errhint("CALL it as a statement of its own, not from a function; under pg_cron as the only command of its entry. "
						 "Otherwise enqueue with dupn_train, dupn_finetune or dupn_refresh and commit.")));

	SPI_connect_ext(SPI_OPT_NONATOMIC);
	job_id = job_request(model_get(text_argument(fcinfo, 0)), action, options_argument(fcinfo, 2), &skipped);
	if (skipped)
		skipped = MemoryContextStrdup(PortalContext, skipped);	/* the commit frees what is its transaction's */
	SPI_commit();
	SPI_start_transaction();
	if (skipped)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("%s", skipped),
				 errhint("With {\"when_running\": \"queue\"} it would wait.")));
	job_wait(job_id, DT_NOEND, true, &row);
	if (strcmp(row.state, "done") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
				 errmsg("job " INT64_FORMAT " %s: %s", job_id,
						strcmp(row.state, "failed") == 0 ? "failed" : "was cancelled",
						row.message ? row.message : "no reason is known"),
				 errhint("The view dupn_jobs keeps what was noted about it.")));
	SPI_finish();
	PG_RETURN_VOID();
}
