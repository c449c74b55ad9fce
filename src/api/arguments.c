/*-------------------------------------------------------------------------
 *
 * arguments.c
 *	  Arguments of the functions that answer and of those that enqueue jobs
 *
 *-------------------------------------------------------------------------
 */
#include "api/served.h"

#include "access/xact.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

Datum
text_or_null(const char *text, bool *isnull)
{
	*isnull = text == NULL;
	return text ? CStringGetTextDatum(text) : (Datum) 0;
}

TimestampTz
as_of_argument(FunctionCallInfo fcinfo, int n)
{
	TimestampTz as_of;

	if (PG_ARGISNULL(n))
		return GetCurrentStatementStartTimestamp();
	as_of = PG_GETARG_TIMESTAMPTZ(n);
	if (TIMESTAMP_NOT_FINITE(as_of))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("as_of must be finite"),
				 errhint("Leave it out, or NULL, for the present.")));
	return as_of;
}

char *
text_argument(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(n));
}

int32
version_argument(FunctionCallInfo fcinfo, int n)
{
	int32		version;

	if (PG_ARGISNULL(n))
		return 0;
	version = PG_GETARG_INT32(n);
	if (version < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("version must be positive, not %d", version),
				 errhint("Leave it out, or NULL, for the published version.")));
	return version;
}

Model *
owned_model(FunctionCallInfo fcinfo)
{
	Model	   *model = model_get(text_argument(fcinfo, 0));

	model_check_owner(model);
	return model;
}

Jsonb *
options_argument(FunctionCallInfo fcinfo, int n)
{
	Jsonb	   *options;

	if (PG_ARGISNULL(n))
		return DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum("{}")));
	options = PG_GETARG_JSONB_P(n);
	if (!JB_ROOT_IS_OBJECT(options))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("options must be a JSON object")));
	return options;
}
