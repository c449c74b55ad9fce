/*-------------------------------------------------------------------------
 *
 * lift.c
 *	  dupn_lift: what an experiment did, from the user's own table of exposures
 *
 * One pass over the table, as the caller, adds up what each user did; here the
 * users of each arm become means with variances.  The unit is the user, who was
 * drawn into an arm, never the exposure: those of one user are alike.  A rate
 * per exposure is a ratio of two sums by user, whose variance is that of the
 * users' residuals (delta method).  The interval of the relative lift is
 * Fieller's: the lifts at which the arms would not differ significantly.  So it
 * holds 0 exactly where p_value is above .05, and is right where the control's
 * mean is none too certain itself.
 *
 *-------------------------------------------------------------------------
 */
#include "api/served.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "hint.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(dupn_lift);

#define QUANTILE		1.959963984540054	/* of the normal distribution, for 95 % */
#define MAX_METRICS		100
#define RATIO_ALARM		1e-3	/* of the check that the arms have as many users as they should */
#define MIN_EXPECTED	5		/* users, for that check */
#define FEW_USERS		30		/* below, an interval is a rough one */
#define FEW_OUTCOMES	10		/* users of an outcome other than 0, likewise */

/* Arms, as numbers. */
#define CONTROL		0
#define CANDIDATE	1

/* Users of an arm with a known outcome of a metric: moments of a user's number
 * of exposures n and sum of outcomes x, by Welford. */
typedef struct Moments
{
	int64		users;
	int64		exposures;
	int64		other;			/* users whose x is not 0 */
	double		mean_n;
	double		mean_x;
	double		nn;				/* sums of products of deviations */
	double		xx;
	double		xn;
} Moments;

typedef struct Metric
{
	char	   *name;
	Moments		arm[2];
} Metric;

typedef struct Lift
{
	const Model *model;
	const Share *share;
	Oid			relation;
	char	   *relation_name;	/* qualified and quoted */
	char	   *user_column;
	Oid			user_type;
	char	   *arm_column;		/* NULL: by the hash */
	char	   *time_column;	/* NULL: none */
	Oid			time_type;
	TimestampTz since;			/* DT_NOBEGIN, DT_NOEND: open */
	TimestampTz until;
	int			n;
	Metric	   *metric;
	ShareUsers *share_users;	/* where arms are not logged */
	int64		users[2];		/* whatever is known of their outcomes */
	int64		both;			/* users who were logged in both arms, left out */
} Lift;

/* ------------------------------------------------------------------------
 * Arguments
 * ------------------------------------------------------------------------ */

/* The type of a column, without its domain; an error that hints at others. */
static Oid
lift_column(const Lift *lift, const char *column)
{
	Oid			type;
	const char **names;
	int			n;

	if (relation_column(lift->relation, column, &type) != InvalidAttrNumber)
		return getBaseType(type);
	names = relation_columns(lift->relation, &n);
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("relation %s has no column \"%s\"", lift->relation_name, column),
			 errhint("%s", name_hint("column", column, names, n))));
}

static char *
column_argument(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : pstrdup(NameStr(*PG_GETARG_NAME(n)));
}

static bool
is_integer(Oid type)
{
	return type == INT2OID || type == INT4OID || type == INT8OID;
}

static bool
is_fraction(Oid type)
{
	return type == FLOAT4OID || type == FLOAT8OID || type == NUMERICOID;
}

/* Yes or no, and amounts; whole numbers may be keys, which nobody adds up. */
static char **
default_metrics(const Lift *lift, int *n)
{
	int			columns;
	const char **names = relation_columns(lift->relation, &columns);
	char	  **metrics = palloc(sizeof(char *) * (columns + 1));

	*n = 0;
	for (int i = 0; i < columns; i++)
	{
		Oid			type = lift_column(lift, names[i]);

		if ((type == BOOLOID || is_fraction(type)) && strcmp(names[i], lift->user_column) != 0)
			metrics[(*n)++] = pstrdup(names[i]);
	}
	if (*n == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("relation %s has no column of type boolean, real, double precision or numeric", lift->relation_name),
				 errhint("Name the columns with outcomes: metrics => '{clicks}'.")));
	return metrics;
}

static void
metrics_argument(FunctionCallInfo fcinfo, int argument, Lift *lift)
{
	char	  **names = PG_ARGISNULL(argument) ? default_metrics(lift, &lift->n) :
		names_from_array(PG_GETARG_ARRAYTYPE_P(argument), "metrics", &lift->n);

	if (lift->n == 0 || lift->n > MAX_METRICS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("there must be 1 to %d metrics, not %d", MAX_METRICS, lift->n)));
	lift->metric = palloc0(sizeof(Metric) * lift->n);
	for (int i = 0; i < lift->n; i++)
	{
		Oid			type = lift_column(lift, names[i]);

		if (type != BOOLOID && !is_integer(type) && !is_fraction(type))
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("metric \"%s\" has type %s, which is neither boolean nor a number", names[i],
							format_type_be(type))));
		lift->metric[i].name = names[i];
	}
}

static void
user_argument(FunctionCallInfo fcinfo, int argument, Lift *lift)
{
	const Relations *relations = &lift->model->relations;
	Oid			model_type;

	lift->user_column = column_argument(fcinfo, argument);
	if (lift->user_column == NULL)
		lift->user_column = pstrdup(relations->user_column);
	lift->user_type = lift_column(lift, lift->user_column);
	if (lift->arm_column)
		return;
	model_type = column_type(relation_oid(relations->events), relations->events, relations->user_column);
	if (!same_key_type(lift->user_type, model_type))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("user column \"%s\" of relation %s has type %s, that of model \"%s\" type %s",
						lift->user_column, lift->relation_name, format_type_be(lift->user_type),
						lift->model->name, format_type_be(model_type)),
				 errhint("Cast it in a view, or name the column that the arm was logged in.")));
	lift->share_users = share_users(lift->model, lift->share, lift->user_type);
}

/* By default since users were last moved, until the experiment ended. */
static void
time_arguments(FunctionCallInfo fcinfo, int argument, Lift *lift)
{
	const char *model_column = lift->model->relations.time_column;
	bool		named;

	lift->time_column = column_argument(fcinfo, argument);
	named = lift->time_column != NULL || !PG_ARGISNULL(argument + 1) || !PG_ARGISNULL(argument + 2);
	if (lift->time_column == NULL && (named || relation_column(lift->relation, model_column, NULL) != InvalidAttrNumber))
		lift->time_column = pstrdup(model_column);
	lift->since = PG_ARGISNULL(argument + 1) ? lift->share->changed_at : PG_GETARG_TIMESTAMPTZ(argument + 1);
	lift->until = PG_ARGISNULL(argument + 2) ? lift->share->ended_at : PG_GETARG_TIMESTAMPTZ(argument + 2);
	if (lift->time_column == NULL)
		return;
	lift->time_type = lift_column(lift, lift->time_column);
	if (lift->time_type != TIMESTAMPTZOID && lift->time_type != TIMESTAMPOID && lift->time_type != DATEOID)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("time column \"%s\" of relation %s has type %s", lift->time_column, lift->relation_name,
						format_type_be(lift->time_type)),
				 errhint("It must be timestamptz, timestamp or date.")));
}

static void
lift_arguments(FunctionCallInfo fcinfo, Lift *lift)
{
	Model	   *model = owned_model(fcinfo);
	char	   *name;

	lift->model = model;
	lift->share = share_find(model, text_argument(fcinfo, 8), true);
	if (lift->share == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("model \"%s\" has had no experiment", model->name),
				 errhint("Start one with dupn_share.")));
	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("exposures must not be null")));
	lift->relation = PG_GETARG_OID(1);
	name = get_rel_name(lift->relation);
	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", lift->relation)));
	lift->relation_name = quote_qualified_identifier(get_namespace_name(get_rel_namespace(lift->relation)), name);
	lift->arm_column = column_argument(fcinfo, 4);
	if (lift->arm_column)
		(void) lift_column(lift, lift->arm_column);
	user_argument(fcinfo, 3, lift);
	time_arguments(fcinfo, 5, lift);
	metrics_argument(fcinfo, 2, lift);
}

/* ------------------------------------------------------------------------
 * Users
 * ------------------------------------------------------------------------ */

/* An outcome as float8; NULL where it is unknown or no amount. */
static char *
outcome(const Lift *lift, const char *name)
{
	const char *column = psprintf("e.%s", quote_identifier(name));
	Oid			type = lift_column(lift, name);
	const char *as = type == NUMERICOID ? "numeric" : "float8";

	if (type == BOOLOID)
		return psprintf("%s::pg_catalog.bool::pg_catalog.int4::pg_catalog.float8", column);
	if (is_integer(type))
		return psprintf("%s::pg_catalog.float8", column);
	/* neither NaN, which is above all numbers, nor infinite, nor with a square that is */
	return psprintf("CASE WHEN pg_catalog.abs(%s::pg_catalog.%s) OPERATOR(pg_catalog.<) '1e100'::pg_catalog.%s"
					" THEN %s::pg_catalog.float8 END", column, as, as, column);
}

static void
append_time(StringInfo sql, const Lift *lift, const char *operator, int parameter)
{
	appendStringInfo(sql, " AND e.%s OPERATOR(pg_catalog.%s) ", quote_identifier(lift->time_column), operator);
	if (lift->time_type == TIMESTAMPTZOID)
		appendStringInfo(sql, "$%d", parameter);
	else
		appendStringInfo(sql, "pg_catalog.timezone(%s, $%d)", quote_literal_cstr(lift->model->timezone), parameter);
}

/* A row for each user: exposures in both arms, then known outcomes and their sum for each metric. */
static char *
users_sql(const Lift *lift)
{
	const char *user = psprintf("e.%s", quote_identifier(lift->user_column));
	const char *arm = lift->arm_column ? psprintf("e.%s::pg_catalog.text", quote_identifier(lift->arm_column)) : NULL;
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT %s", user);
	for (int i = CONTROL; i <= CANDIDATE; i++)
		if (arm)
			appendStringInfo(&sql, ", pg_catalog.count(*) FILTER (WHERE %s OPERATOR(pg_catalog.=) '%s')", arm,
							 i == CANDIDATE ? ARM_CANDIDATE : ARM_CONTROL);
		else
			appendStringInfoString(&sql, ", pg_catalog.count(*)");
	for (int i = 0; i < lift->n; i++)
	{
		const char *x = outcome(lift, lift->metric[i].name);

		appendStringInfo(&sql, ", pg_catalog.count(%s), pg_catalog.sum(%s)", x, x);
	}
	appendStringInfo(&sql, " FROM %s e WHERE %s IS NOT NULL", lift->relation_name, user);
	if (arm)
		appendStringInfo(&sql, " AND %s OPERATOR(pg_catalog.=) ANY ('{" ARM_CANDIDATE "," ARM_CONTROL "}')", arm);
	if (lift->time_column)
	{
		append_time(&sql, lift, ">=", 1);
		append_time(&sql, lift, "<", 2);
	}
	appendStringInfo(&sql, " GROUP BY %s", user);
	return sql.data;
}

static void
add_user(Moments *moments, double n, double x)
{
	double		delta_n = n - moments->mean_n;
	double		delta_x = x - moments->mean_x;

	moments->users++;
	moments->exposures += (int64) n;
	moments->other += x != 0;
	moments->mean_n += delta_n / moments->users;
	moments->mean_x += delta_x / moments->users;
	moments->nn += delta_n * (n - moments->mean_n);
	moments->xx += delta_x * (x - moments->mean_x);
	moments->xn += delta_x * (n - moments->mean_n);
}

typedef struct LiftReceiver
{
	DestReceiver pub;
	Lift	   *lift;
	MemoryContext memory;		/* for a row */
} LiftReceiver;

static int
arm_of(LiftReceiver *receiver, Datum user)
{
	MemoryContext caller = MemoryContextSwitchTo(receiver->memory);
	bool		taken = share_takes(receiver->lift->share_users, user);

	MemoryContextSwitchTo(caller);
	MemoryContextReset(receiver->memory);
	return taken ? CANDIDATE : CONTROL;
}

static bool
receive_user(TupleTableSlot *slot, DestReceiver *self)
{
	LiftReceiver *receiver = (LiftReceiver *) self;
	Lift	   *lift = receiver->lift;
	const Datum *values;
	int			arm;

	slot_getallattrs(slot);
	values = slot->tts_values;
	if (lift->arm_column == NULL)
		arm = arm_of(receiver, values[0]);
	else if (DatumGetInt64(values[1]) > 0 && DatumGetInt64(values[2]) > 0)
	{
		lift->both++;
		return true;
	}
	else
		arm = DatumGetInt64(values[2]) > 0 ? CANDIDATE : CONTROL;

	lift->users[arm]++;
	for (int i = 0; i < lift->n; i++)
	{
		int64		known = DatumGetInt64(values[3 + 2 * i]);

		if (known > 0)
			add_user(&lift->metric[i].arm[arm], (double) known, DatumGetFloat8(values[4 + 2 * i]));
	}
	return true;
}

static void
receiver_startup(DestReceiver *self, int operation, TupleDesc tupdesc)
{
}

static void
receiver_end(DestReceiver *self)
{
}

static void
read_users(Lift *lift)
{
	LiftReceiver receiver = {.pub = {.receiveSlot = receive_user,.rStartup = receiver_startup,.rShutdown = receiver_end,
	.rDestroy = receiver_end,.mydest = DestTuplestore},.lift = lift,
	.memory = AllocSetContextCreate(CurrentMemoryContext, "dupn user", ALLOCSET_SMALL_SIZES)};
	int			n = lift->time_column ? 2 : 0;
	Oid			types[] = {TIMESTAMPTZOID, TIMESTAMPTZOID};
	ParamListInfo params = makeParamList(n);
	SPIExecuteOptions options = {.params = params,.read_only = true,.dest = &receiver.pub};
	char	   *sql = users_sql(lift);
	SPIPlanPtr	plan;

	spi_connect();
	for (int i = 0; i < n; i++)
		params->params[i] = (ParamExternData) {
		.value = TimestampTzGetDatum(i == 0 ? lift->since : lift->until),.pflags = PARAM_FLAG_CONST,
		.ptype = TIMESTAMPTZOID
	};
	plan = SPI_prepare_cursor(sql, n, types, CURSOR_OPT_PARALLEL_OK);
	if (plan == NULL || SPI_execute_plan_extended(plan, &options) != SPI_OK_SELECT)
		elog(ERROR, "could not read the exposures: %s", sql);
	SPI_finish();
}

/* ------------------------------------------------------------------------
 * What follows from them
 * ------------------------------------------------------------------------ */

/* A mean by user, or by exposure; what is unknown is NaN. */
typedef struct Mean
{
	double		value;
	double		variance;
} Mean;

static Mean
mean_of(const Moments *moments, bool per_user)
{
	Mean		mean = {NAN, NAN};
	double		n = moments->users;
	double		scale = per_user ? 1 : moments->mean_n;
	double		residuals;

	if (n == 0)
		return mean;
	mean.value = moments->mean_x / scale;
	residuals = per_user ? moments->xx :
		moments->xx - 2 * mean.value * moments->xn + mean.value * mean.value * moments->nn;
	if (n < 2)
		return mean;
	/* what is left of equal outcomes by rounding is nothing */
	if (residuals <= 1e-12 * (moments->xx + n * moments->mean_x * moments->mean_x))
		residuals = 0;
	mean.variance = residuals / (n - 1) / n / (scale * scale);
	return mean;
}

/* The chance that the arms differ in size as they do, or more; NaN: too few to tell. */
static double
ratio_p_value(const Lift *lift)
{
	double		n = (double) lift->users[CONTROL] + lift->users[CANDIDATE];
	double		expected = n * lift->share->share;

	if ((lift->share->share == 0 && lift->users[CANDIDATE] > 0) || (lift->share->share == 1 && lift->users[CONTROL] > 0))
		return 0;
	if (expected < MIN_EXPECTED || n - expected < MIN_EXPECTED)
		return NAN;
	return erfc(fabs(lift->users[CANDIDATE] - expected) / sqrt(2 * expected * (1 - lift->share->share)));
}

/* Where the next remark is to be written. */
static StringInfo
remark(StringInfo warning)
{
	if (warning->len > 0)
		appendStringInfoString(warning, "; ");
	return warning;
}

/* What is wrong with all of it. */
static char *
lift_warning(const Lift *lift)
{
	StringInfoData warning;
	int64		users = lift->users[CONTROL] + lift->users[CANDIDATE];

	initStringInfo(&warning);
	if (ratio_p_value(lift) < RATIO_ALARM)
		appendStringInfo(remark(&warning), "believe no lift: " INT64_FORMAT " of " INT64_FORMAT " users are candidates, %.3g %% where %.3g %% should be",
			   lift->users[CANDIDATE], users, 100.0 * lift->users[CANDIDATE] / users, 100 * lift->share->share);
	if (users == 0 && lift->time_column)
		appendStringInfo(remark(&warning), "there are no exposures from %s on", timestamptz_to_str(lift->since));
	if (lift->both > 0)
		appendStringInfo(remark(&warning), INT64_FORMAT " users who were in both arms are left out", lift->both);
	if (lift->time_column == NULL && lift->arm_column == NULL)
		appendStringInfo(remark(&warning), "without a time_column, exposures from before the experiment count as well");
	else if (lift->time_column && lift->since < lift->share->changed_at)
		appendStringInfo(remark(&warning), "the share was changed within this time, at %s", timestamptz_to_str(lift->share->changed_at));
	return warning.data;
}

static void
put_number(Datum *value, bool *isnull, double number)
{
	*isnull = !isfinite(number);
	*value = Float8GetDatum(*isnull ? 0 : number);
}

static void
put_metric(ReturnSetInfo *result, const Lift *lift, const Metric *metric, bool per_user, const char *all)
{
	const Moments *moments = metric->arm;
	Mean		control = mean_of(&moments[CONTROL], per_user);
	Mean		candidate = mean_of(&moments[CANDIDATE], per_user);
	double		quantile2 = QUANTILE * QUANTILE;
	double		lift_value = NAN;
	double		low = NAN;
	double		high = NAN;
	double		p = NAN;
	StringInfoData warning;
	Datum		values[14];
	bool		nulls[14] = {false};

	initStringInfo(&warning);
	appendStringInfoString(&warning, all);
	for (int i = CONTROL; i <= CANDIDATE; i++)
		if (moments[i].users == 0)
			appendStringInfo(remark(&warning), "the %s has no users with a known outcome", i == CANDIDATE ? ARM_CANDIDATE : ARM_CONTROL);
	if (moments[CONTROL].users > 0 && moments[CANDIDATE].users > 0)
	{
		if (control.value > 0)
			lift_value = candidate.value / control.value - 1;
		else
			appendStringInfo(remark(&warning), "the control's mean is not above 0, so that nothing can be told in percent of it");
		if (!(control.variance > 0 && candidate.variance > 0))
			appendStringInfo(remark(&warning), "the outcomes of an arm are all alike: no interval");
		else
		{
			/* (candidate - r * control)^2 <= quantile^2 * its variance */
			double		a = control.value * control.value - quantile2 * control.variance;
			double		b = control.value * candidate.value;
			double		c = candidate.value * candidate.value - quantile2 * candidate.variance;

			p = erfc(fabs(candidate.value - control.value) / sqrt(2 * (control.variance + candidate.variance)));
			if (control.value > 0 && a <= 0)
				appendStringInfo(remark(&warning), "the control's mean cannot be told from 0: no interval");
			else if (control.value > 0)
			{
				double		root = sqrt(Max(b * b - a * c, 0));

				low = (b - root) / a - 1;
				high = (b + root) / a - 1;
			}
			if (Min(moments[CONTROL].users, moments[CANDIDATE].users) < FEW_USERS ||
				Min(moments[CONTROL].other, moments[CANDIDATE].other) < FEW_OUTCOMES)
				appendStringInfo(remark(&warning), "few users have an outcome: the interval is rough");
		}
	}

	values[0] = CStringGetTextDatum(metric->name);
	values[1] = CStringGetTextDatum(per_user ? "user" : "exposure");
	put_number(&values[2], &nulls[2], control.value);
	put_number(&values[3], &nulls[3], candidate.value);
	put_number(&values[4], &nulls[4], lift_value);
	put_number(&values[5], &nulls[5], low);
	put_number(&values[6], &nulls[6], high);
	put_number(&values[7], &nulls[7], p);
	values[8] = Int64GetDatum(moments[CONTROL].users);
	values[9] = Int64GetDatum(moments[CANDIDATE].users);
	values[10] = Int64GetDatum(moments[CONTROL].exposures);
	values[11] = Int64GetDatum(moments[CANDIDATE].exposures);
	put_number(&values[12], &nulls[12], ratio_p_value(lift));
	values[13] = text_or_null(warning.len > 0 ? warning.data : NULL, &nulls[13]);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/* (model, exposures, metrics, user_column, arm_column, time_column, since, until, experiment) */
PGDLLEXPORT Datum
dupn_lift(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Lift		lift = {0};
	char	   *warning;

	InitMaterializedSRF(fcinfo, 0);
	lift_arguments(fcinfo, &lift);
	read_users(&lift);
	warning = lift_warning(&lift);
	for (int i = 0; i < lift.n; i++)
		for (int per_user = 1; per_user >= 0; per_user--)
			put_metric(result, &lift, &lift.metric[i], per_user, warning);
	return (Datum) 0;
}
