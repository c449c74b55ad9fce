/*-------------------------------------------------------------------------
 *
 * keys.c
 *	  Ids of users and items as values of their columns' types
 *
 *-------------------------------------------------------------------------
 */
#include "serve/session.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"

static bool
integer_type(Oid type, int64 *least, int64 *most)
{
	switch (type)
	{
		case INT2OID:
			*least = PG_INT16_MIN;
			*most = PG_INT16_MAX;
			return true;
		case INT4OID:
			*least = PG_INT32_MIN;
			*most = PG_INT32_MAX;
			return true;
		case INT8OID:
			*least = PG_INT64_MIN;
			*most = PG_INT64_MAX;
			return true;
		default:
			return false;
	}
}

static Datum
integer_datum(int64 number, Oid type)
{
	return type == INT2OID ? Int16GetDatum((int16) number) :
		type == INT4OID ? Int32GetDatum((int32) number) : Int64GetDatum(number);
}

Datum
id_argument(Datum value, Oid type, Oid column_type, const char *what, const char *column)
{
	Oid			base = getBaseType(column_type);
	int64		least;
	int64		most;

	if (type == TEXTOID)
	{
		Oid			input;
		Oid			ioparam;

		getTypeInputInfo(column_type, &input, &ioparam);
		return OidInputFunctionCall(input, TextDatumGetCString(value), ioparam, -1);
	}
	if (type == INT8OID && integer_type(base, &least, &most))
	{
		int64		number = DatumGetInt64(value);

		if (number < least || number > most)
			ereport(ERROR,
					(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
					 errmsg("%s " INT64_FORMAT " is out of range for column \"%s\" of type %s",
							what, number, column, format_type_be(column_type))));
		return integer_datum(number, base);
	}
	if (type == INT8OID && base == NUMERICOID)
		return DirectFunctionCall1(int8_numeric, value);
	if (type == base)
		return value;
	ereport(ERROR,
			(errcode(ERRCODE_DATATYPE_MISMATCH),
			 errmsg("%s column \"%s\" has type %s, not %s", what, column,
					format_type_be(column_type), format_type_be(type)),
			 errhint("Give the %s as text: it is read as the column's type.", what)));
}

char *
key_to_text(Datum key, Oid type)
{
	Oid			output;
	bool		varlena;

	getTypeOutputInfo(type, &output, &varlena);
	return OidOutputFunctionCall(output, key);
}

bool
key_from_text(const char *text, Oid type, Datum *key)
{
	Oid			base = getBaseType(type);
	Oid			input;
	Oid			ioparam;
	int64		least;
	int64		most;

	/* a key beyond the range of the other column's type matches nothing there */
	if (integer_type(base, &least, &most))
	{
		char	   *end;
		int64		number;

		errno = 0;
		number = strtoll(text, &end, 10);
		if (end != text && *end == '\0')
		{
			*key = integer_datum(number, base);
			return errno == 0 && number >= least && number <= most;
		}
	}
	getTypeInputInfo(type, &input, &ioparam);
	*key = OidInputFunctionCall(input, unconstify(char *, text), ioparam, -1);
	return true;
}

bool
convert_key(Datum key, Oid from, Oid to, Datum *converted)
{
	*converted = key;
	return getBaseType(from) == getBaseType(to) || key_from_text(key_to_text(key, from), to, converted);
}
