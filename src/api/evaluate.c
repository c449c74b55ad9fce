/*-------------------------------------------------------------------------
 *
 * evaluate.c
 *	  dupn_evaluate, dupn_compare, dupn_evaluate_baselines
 *
 *-------------------------------------------------------------------------
 */
#include "train/job.h"

#include "api/served.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(dupn_evaluate);
PG_FUNCTION_INFO_V1(dupn_compare);
PG_FUNCTION_INFO_V1(dupn_evaluate_baselines);

/* Arguments as options: a JSON object is being written. */
static void
given_version(StringInfo given, FunctionCallInfo fcinfo, int n, const char *name)
{
	if (!PG_ARGISNULL(n))
		appendStringInfo(given, "%s\"%s\": %d", given->len > 1 ? ", " : "", name, PG_GETARG_INT32(n));
}

static void
given_time(StringInfo given, FunctionCallInfo fcinfo, int n, const char *name)
{
	if (PG_ARGISNULL(n))
		return;
	if (TIMESTAMP_NOT_FINITE(PG_GETARG_TIMESTAMPTZ(n)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" must be a finite time", name)));
	appendStringInfo(given, "%s\"%s\": \"%s\"", given->len > 1 ? ", " : "", name,
					 time_text(PG_GETARG_TIMESTAMPTZ(n)));
}

/* Enqueue an evaluation: since, until and options are the last three arguments. */
static Datum
enqueue_evaluation(FunctionCallInfo fcinfo, const char *action, int since, StringInfo given)
{
	Jsonb	   *options = options_argument(fcinfo, since + 2);

	given_time(given, fcinfo, since, "since");
	given_time(given, fcinfo, since + 1, "until");
	appendStringInfoChar(given, '}');
	options = jsonb_object_merge(options, DatumGetJsonbP(DirectFunctionCall1(jsonb_in,
																			 CStringGetDatum(given->data))));
	return Int64GetDatum(job_enqueue(model_get(text_argument(fcinfo, 0)), action, options));
}

static void
given_begin(StringInfo given)
{
	initStringInfo(given);
	appendStringInfoChar(given, '{');
}

/* (model, version, since, until, options) */
PGDLLEXPORT Datum
dupn_evaluate(PG_FUNCTION_ARGS)
{
	StringInfoData given;

	given_begin(&given);
	given_version(&given, fcinfo, 1, "version");
	return enqueue_evaluation(fcinfo, "evaluate", 2, &given);
}

/* (model, version, other_version, since, until, options) */
PGDLLEXPORT Datum
dupn_compare(PG_FUNCTION_ARGS)
{
	StringInfoData given;

	given_begin(&given);
	given_version(&given, fcinfo, 1, "version");
	given_version(&given, fcinfo, 2, "other_version");
	return enqueue_evaluation(fcinfo, "compare", 3, &given);
}

/* (model, since, until, options) */
PGDLLEXPORT Datum
dupn_evaluate_baselines(PG_FUNCTION_ARGS)
{
	StringInfoData given;

	given_begin(&given);
	return enqueue_evaluation(fcinfo, "baselines", 1, &given);
}
