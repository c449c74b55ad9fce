/*-------------------------------------------------------------------------
 *
 * counted.c
 *	  dupn_popular_items, dupn_own_items, dupn_similar_items: answers that are
 *	  counted in the events as they are now, without a version
 *
 * They are the baselines popularity, own_recent and item_knn (train/baseline.c),
 * of all of a user's events instead of the latest.
 *
 *-------------------------------------------------------------------------
 */
#include "api/served.h"

#include "access/stratnum.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(dupn_popular_items);
PG_FUNCTION_INFO_V1(dupn_own_items_bigint);
PG_FUNCTION_INFO_V1(dupn_own_items_text);
PG_FUNCTION_INFO_V1(dupn_own_items_uuid);
PG_FUNCTION_INFO_V1(dupn_similar_items_bigint);
PG_FUNCTION_INFO_V1(dupn_similar_items_text);
PG_FUNCTION_INFO_V1(dupn_similar_items_uuid);

#define DEFAULT_K	10
#define MAX_K		10000
#define SHRINK		10			/* of item_knn */
#define FLOAT8		"::pg_catalog.float8"

/* What is counted: the events of a model, and parameters of the query on them. */
typedef struct Counting
{
	const Relations *relations;
	FeatureSet *set;
	const char *user,			/* quoted columns */
			   *time,
			   *item;
	Oid			user_type;
	Oid			time_type;
	Oid			item_type;
	int			n;				/* parameters */
	Oid			types[4];
	Datum		values[4];
} Counting;

static int
k_argument(FunctionCallInfo fcinfo, int n)
{
	int			k = PG_ARGISNULL(n) ? DEFAULT_K : PG_GETARG_INT32(n);

	if (k < 1 || k > MAX_K)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("k must be between 1 and %d, not %d", MAX_K, k)));
	return k;
}

static void
counting_begin(Counting *counting, const char *name)
{
	Model	   *model = model_get(name);
	const Relations *relations = &model->relations;
	Oid			events;

	model_check_use(model);
	events = relation_oid(relations->events);
	memset(counting, 0, sizeof(*counting));
	counting->relations = relations;
	counting->set = model_features(model, CurrentMemoryContext);
	counting->user = quote_identifier(relations->user_column);
	counting->time = quote_identifier(relations->time_column);
	counting->item = quote_identifier(relations->item_key);
	counting->user_type = column_type(events, relations->events, relations->user_column);
	counting->time_type = column_type(events, relations->events, relations->time_column);
	counting->item_type = column_type(events, relations->events, relations->item_key);
}

/* Add a parameter; its number. */
static int
parameter(Counting *counting, Oid type, Datum value)
{
	counting->types[counting->n] = getBaseType(type);
	counting->values[counting->n++] = value;
	return counting->n;
}

/*
 * "FROM events alias WHERE .." of events that have a user, an item and a time
 * before parameter `until`, and, unless it is 0, not before `since`.
 */
static void
append_events(StringInfo sql, const Counting *counting, const char *alias, int until, int since)
{
	char	   *time = psprintf("%s.%s", alias, counting->time);

	appendStringInfo(sql, " FROM %s %s WHERE %s.%s IS NOT NULL AND %s.%s IS NOT NULL AND pg_catalog.isfinite(%s) AND ",
					 counting->relations->events, alias, alias, counting->user, alias, counting->item, time);
	append_operator(sql, time, counting->time_type, BTLessStrategyNumber, psprintf("$%d", until));
	if (since)
	{
		appendStringInfoString(sql, " AND ");
		append_operator(sql, time, counting->time_type, BTGreaterEqualStrategyNumber, psprintf("$%d", since));
	}
}

/* The rows of a query whose first column is an item, which becomes text. */
static void
counting_run(FunctionCallInfo fcinfo, Counting *counting, const char *sql)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;

	spi_connect();
	if (SPI_execute_with_args(sql, counting->n, counting->types, counting->values, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not count: %s", sql);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[row];
		TupleDesc	tupdesc = SPI_tuptable->tupdesc;
		Datum		values[3];
		bool		nulls[3] = {false};

		values[0] = CStringGetTextDatum(SPI_getvalue(tuple, tupdesc, 1));
		for (int i = 1; i < tupdesc->natts; i++)
			values[i] = SPI_getbinval(tuple, tupdesc, i + 1, &nulls[i]);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	SPI_finish();
}

/* (k, model, since, as_of) */
PGDLLEXPORT Datum
dupn_popular_items(PG_FUNCTION_ARGS)
{
	int			k = k_argument(fcinfo, 0);
	Counting	counting;
	StringInfoData sql;
	int			until;
	int			since = 0;

	InitMaterializedSRF(fcinfo, 0);
	counting_begin(&counting, text_argument(fcinfo, 1));
	until = parameter(&counting, counting.time_type,
					  time_parameter(counting.set, counting.time_type, as_of_argument(fcinfo, 3)));
	if (!PG_ARGISNULL(2) && TIMESTAMP_NOT_FINITE(PG_GETARG_TIMESTAMPTZ(2)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"since\" must be a finite time")));
	if (!PG_ARGISNULL(2))
		since = parameter(&counting, counting.time_type,
						  time_parameter(counting.set, counting.time_type, PG_GETARG_TIMESTAMPTZ(2)));
	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT e.%s, pg_catalog.count(*)", counting.item);
	append_events(&sql, &counting, "e", until, since);
	appendStringInfo(&sql, " GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT %d", k);
	counting_run(fcinfo, &counting, sql.data);
	return (Datum) 0;
}

/* (user_id, k, model, as_of) */
static Datum
own_items(FunctionCallInfo fcinfo, Oid type)
{
	int			k = k_argument(fcinfo, 1);
	Counting	counting;
	StringInfoData sql;
	int			until;
	int			user;

	InitMaterializedSRF(fcinfo, 0);
	if (PG_ARGISNULL(0))
		return (Datum) 0;
	counting_begin(&counting, text_argument(fcinfo, 2));
	until = parameter(&counting, counting.time_type,
					  time_parameter(counting.set, counting.time_type, as_of_argument(fcinfo, 3)));
	user = parameter(&counting, counting.user_type,
					 id_argument(PG_GETARG_DATUM(0), type, counting.user_type, "user",
								 counting.relations->user_column));
	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT e.%s, pg_catalog.count(*)", counting.item);
	append_events(&sql, &counting, "e", until, 0);
	appendStringInfoString(&sql, " AND ");
	append_operator(&sql, psprintf("e.%s", counting.user), counting.user_type, BTEqualStrategyNumber,
					psprintf("$%d", user));
	appendStringInfo(&sql, " GROUP BY 1 ORDER BY pg_catalog.max(e.%s) DESC, 2 DESC, 1 LIMIT %d", counting.time, k);
	counting_run(fcinfo, &counting, sql.data);
	return (Datum) 0;
}

PGDLLEXPORT Datum
dupn_own_items_bigint(PG_FUNCTION_ARGS)
{
	return own_items(fcinfo, INT8OID);
}

PGDLLEXPORT Datum
dupn_own_items_text(PG_FUNCTION_ARGS)
{
	return own_items(fcinfo, TEXTOID);
}

PGDLLEXPORT Datum
dupn_own_items_uuid(PG_FUNCTION_ARGS)
{
	return own_items(fcinfo, UUIDOID);
}

/* (item_id, k, model, as_of): how many users had both, shrunk by how frequent each is */
static Datum
similar_items(FunctionCallInfo fcinfo, Oid type)
{
	int			k = k_argument(fcinfo, 1);
	Counting	counting;
	StringInfoData sql;
	int			until;
	int			item;

	InitMaterializedSRF(fcinfo, 0);
	if (PG_ARGISNULL(0))
		return (Datum) 0;
	counting_begin(&counting, text_argument(fcinfo, 2));
	until = parameter(&counting, counting.time_type,
					  time_parameter(counting.set, counting.time_type, as_of_argument(fcinfo, 3)));
	item = parameter(&counting, counting.item_type,
					 id_argument(PG_GETARG_DATUM(0), type, counting.item_type, "item",
								 counting.relations->item_key));
	initStringInfo(&sql);

	/* who had it, and what else they had */
	appendStringInfo(&sql, "WITH own AS MATERIALIZED (SELECT e.%s AS u, pg_catalog.count(*) AS n", counting.user);
	append_events(&sql, &counting, "e", until, 0);
	appendStringInfoString(&sql, " AND ");
	append_operator(&sql, psprintf("e.%s", counting.item), counting.item_type, BTEqualStrategyNumber,
					psprintf("$%d", item));
	appendStringInfo(&sql, " GROUP BY 1), both_had AS MATERIALIZED (SELECT x.i, pg_catalog.count(*) AS users FROM"
					 " (SELECT DISTINCT e.%s AS i, e.%s AS u", counting.item, counting.user);
	append_events(&sql, &counting, "e", until, 0);
	appendStringInfoString(&sql, " AND EXISTS (SELECT FROM own o WHERE ");
	append_operator(&sql, "o.u", counting.user_type, BTEqualStrategyNumber, psprintf("e.%s", counting.user));
	appendStringInfoString(&sql, ") AND NOT (");
	append_operator(&sql, psprintf("e.%s", counting.item), counting.item_type, BTEqualStrategyNumber,
					psprintf("$%d", item));

	/* how frequent those are */
	appendStringInfo(&sql, ")) x GROUP BY 1) SELECT b.i,"
					 " (b.users" FLOAT8 " OPERATOR(pg_catalog./) (pg_catalog.sqrt(t.n" FLOAT8
					 " OPERATOR(pg_catalog.*) c.n" FLOAT8 ") OPERATOR(pg_catalog.+) %d" FLOAT8 "))::pg_catalog.float4 AS score,"
					 " b.users FROM both_had b, (SELECT pg_catalog.sum(o.n) AS n FROM own o) t,"
					 " (SELECT e.%s AS i, pg_catalog.count(*) AS n", SHRINK, counting.item);
	append_events(&sql, &counting, "e", until, 0);
	appendStringInfoString(&sql, " GROUP BY 1) c WHERE ");
	append_operator(&sql, "b.i", counting.item_type, BTEqualStrategyNumber, "c.i");
	appendStringInfo(&sql, " ORDER BY 2 DESC, 1 LIMIT %d", k);
	counting_run(fcinfo, &counting, sql.data);
	return (Datum) 0;
}

PGDLLEXPORT Datum
dupn_similar_items_bigint(PG_FUNCTION_ARGS)
{
	return similar_items(fcinfo, INT8OID);
}

PGDLLEXPORT Datum
dupn_similar_items_text(PG_FUNCTION_ARGS)
{
	return similar_items(fcinfo, TEXTOID);
}

PGDLLEXPORT Datum
dupn_similar_items_uuid(PG_FUNCTION_ARGS)
{
	return similar_items(fcinfo, UUIDOID);
}
