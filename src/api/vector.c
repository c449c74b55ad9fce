/*-------------------------------------------------------------------------
 *
 * vector.c
 *	  The type dupn_vector: input and output, cast, accessors
 *
 * As text: [0.25,-1]@7.3/00c1f00aa1122334/2026-11-22 10:00:00+00, which is the
 * floats in their shortest exact form, model number and version, the version's
 * fingerprint, and the moment in UTC whatever the session's settings.
 *
 *-------------------------------------------------------------------------
 */
#include "serve/vector.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "common/shortest_dec.h"
#include "features/feature.h"
#include "lib/stringinfo.h"
#include "libpq/pqformat.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(dupn_vector_in);
PG_FUNCTION_INFO_V1(dupn_vector_out);
PG_FUNCTION_INFO_V1(dupn_vector_recv);
PG_FUNCTION_INFO_V1(dupn_vector_send);
PG_FUNCTION_INFO_V1(dupn_vector_floats);
PG_FUNCTION_INFO_V1(dupn_vector_version);
PG_FUNCTION_INFO_V1(dupn_vector_as_of);

static void
check_dim(int64 dim)
{
	if (dim < 1)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("dupn_vector must have at least 1 dimension")));
	if (dim > VECTOR_MAX_DIM)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("dupn_vector cannot have more than %d dimensions", VECTOR_MAX_DIM)));
}

static void
check_element(float value)
{
	if (isnan(value))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("NaN not allowed in dupn_vector")));
	if (isinf(value))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("infinite value not allowed in dupn_vector")));
}

static void bad_syntax(const char *text) pg_attribute_noreturn();

static void
bad_syntax(const char *text)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
			 errmsg("invalid input syntax for type dupn_vector: \"%.64s%s\"", text,
					strlen(text) > 64 ? "..." : ""),
			 errhint("Vectors are made by dupn_user_vector and dupn_embed.")));
}

/* The stamp behind the floats: @model.version/fingerprint/time */
static void
read_stamp(const char *at, const char *text, DupnVector *vector)
{
	char	   *end;
	long		number[2];
	uint64		fingerprint = 0;

	for (int i = 0; i < 2; i++)
	{
		if (*at++ != "@."[i] || !isdigit((unsigned char) *at))
			bad_syntax(text);
		errno = 0;
		number[i] = strtol(at, &end, 10);
		if (errno != 0 || number[i] > PG_INT32_MAX)
			bad_syntax(text);
		at = end;
	}
	vector->model_id = (int32) number[0];
	vector->version = (int32) number[1];

	if (*at++ != '/')
		bad_syntax(text);
	for (int i = 0; i < 16; i++, at++)
	{
		if (!isdigit((unsigned char) *at) && !(*at >= 'a' && *at <= 'f'))
			bad_syntax(text);
		fingerprint = fingerprint << 4 | (*at <= '9' ? *at - '0' : *at - 'a' + 10);
	}
	if (fingerprint > (uint64) PG_INT64_MAX || *at++ != '/' || strlen(at) > MAXDATELEN)
		bad_syntax(text);
	vector->fingerprint = (int64) fingerprint;

	/* only our own form, which depends on no setting */
	if (!isdigit((unsigned char) *at) || strspn(at, "0123456789-:.+ BC") != strlen(at))
		bad_syntax(text);
	vector->as_of = DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in, CStringGetDatum(at),
															ObjectIdGetDatum(InvalidOid),
															Int32GetDatum(-1)));
	if (strcmp(time_text(vector->as_of), at) != 0)
		bad_syntax(text);
}

PGDLLEXPORT Datum
dupn_vector_in(PG_FUNCTION_ARGS)
{
	const char *text = PG_GETARG_CSTRING(0);
	const char *at = text;
	int64		dim = 1;
	DupnVector *vector;

	if (*at++ != '[')
		bad_syntax(text);
	if (*at == ']')
		check_dim(0);
	for (const char *p = at; *p && *p != ']'; p++)
		dim += *p == ',';
	check_dim(dim);
	vector = vector_make(0, 0, 0, 0, (int) dim, NULL);

	for (int i = 0; i < dim; i++)
	{
		char	   *end;

		/* strtof skips white space and reads words that are no numbers of ours */
		if (!isdigit((unsigned char) *at) && *at != '-' && *at != '.' && *at != 'N' && *at != 'I')
			bad_syntax(text);
		errno = 0;
		vector->x[i] = strtof(at, &end);
		if (end == at)
			bad_syntax(text);
		if (errno == ERANGE && isinf(vector->x[i]))
			ereport(ERROR,
					(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
					 errmsg("\"%.*s\" is out of range for type dupn_vector", (int) (end - at), at)));
		check_element(vector->x[i]);
		if (*end != (i < dim - 1 ? ',' : ']'))
			bad_syntax(text);
		at = end + 1;
	}
	read_stamp(at, text, vector);
	PG_RETURN_POINTER(vector);
}

PGDLLEXPORT Datum
dupn_vector_out(PG_FUNCTION_ARGS)
{
	DupnVector *vector = PG_GETARG_DUPN_VECTOR(0);
	StringInfoData text;

	initStringInfo(&text);
	enlargeStringInfo(&text, vector->dim * 10 + 96);
	appendStringInfoChar(&text, '[');
	for (int i = 0; i < vector->dim; i++)
	{
		char		number[FLOAT_SHORTEST_DECIMAL_LEN];

		float_to_shortest_decimal_buf(vector->x[i], number);
		if (i > 0)
			appendStringInfoChar(&text, ',');
		appendStringInfoString(&text, number);
	}
	appendStringInfo(&text, "]@%d.%d/%016llx/%s", vector->model_id, vector->version,
					 (unsigned long long) vector->fingerprint, time_text(vector->as_of));
	PG_RETURN_CSTRING(text.data);
}

PGDLLEXPORT Datum
dupn_vector_recv(PG_FUNCTION_ARGS)
{
	StringInfo	buffer = (StringInfo) PG_GETARG_POINTER(0);
	int32		model_id = pq_getmsgint(buffer, 4);
	int32		version = pq_getmsgint(buffer, 4);
	uint16		dim = pq_getmsgint(buffer, 2);
	uint16		reserved = pq_getmsgint(buffer, 2);
	int64		fingerprint = pq_getmsgint64(buffer);
	TimestampTz as_of = pq_getmsgint64(buffer);
	DupnVector *vector;

	check_dim(dim);
	if (model_id < 0 || version < 0 || reserved != 0 || fingerprint < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
				 errmsg("invalid header of a dupn_vector")));
	if (!IS_VALID_TIMESTAMP(as_of))
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("timestamp out of range")));
	vector = vector_make(model_id, version, fingerprint, as_of, dim, NULL);
	for (int i = 0; i < dim; i++)
	{
		vector->x[i] = pq_getmsgfloat4(buffer);
		check_element(vector->x[i]);
	}
	PG_RETURN_POINTER(vector);
}

PGDLLEXPORT Datum
dupn_vector_send(PG_FUNCTION_ARGS)
{
	DupnVector *vector = PG_GETARG_DUPN_VECTOR(0);
	StringInfoData buffer;

	pq_begintypsend(&buffer);
	pq_sendint32(&buffer, vector->model_id);
	pq_sendint32(&buffer, vector->version);
	pq_sendint16(&buffer, vector->dim);
	pq_sendint16(&buffer, vector->reserved);
	pq_sendint64(&buffer, vector->fingerprint);
	pq_sendint64(&buffer, vector->as_of);
	for (int i = 0; i < vector->dim; i++)
		pq_sendfloat4(&buffer, vector->x[i]);
	PG_RETURN_BYTEA_P(pq_endtypsend(&buffer));
}

PGDLLEXPORT Datum
dupn_vector_floats(PG_FUNCTION_ARGS)
{
	DupnVector *vector = PG_GETARG_DUPN_VECTOR(0);

	PG_RETURN_ARRAYTYPE_P(float_array(vector->x, vector->dim));
}

PGDLLEXPORT Datum
dupn_vector_version(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(PG_GETARG_DUPN_VECTOR(0)->version);
}

PGDLLEXPORT Datum
dupn_vector_as_of(PG_FUNCTION_ARGS)
{
	PG_RETURN_TIMESTAMPTZ(PG_GETARG_DUPN_VECTOR(0)->as_of);
}
