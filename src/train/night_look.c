/*-------------------------------------------------------------------------
 *
 * night_look.c
 *	  What has come since a version was trained
 *
 * A row's time says whether it is new, since no row says when it was stored.
 * So what is trained on ends at a moment, the newest row's less "lateness", and
 * the next night begins behind it: no row is used twice, and one that came
 * later than that with an earlier time not at all.  How many those are is told
 * by counting the rows of the days before the moment then and now.  A time that
 * is still to come is no news: one such row would end all nights before it.
 *
 *-------------------------------------------------------------------------
 */
#include "train/night.h"

#include <math.h>

#include "access/stratnum.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "train/dataset.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/lsyscache.h"

#define RECENT_DAYS	7

/* A relation with times: the events, and behind them those of tasks' samples. */
typedef struct Timed
{
	const char *relation;
	const char *user_column;
	const char *time_column;
	TimestampTz matures;		/* labels are known so much later */
	Oid			type;
	TimestampTz newest;			/* after the moment that find_end was asked about; DT_NOBEGIN: none is */
} Timed;

static int
find_relations(const Model *model, Timed timed[NN_MAX_TASKS + 1])
{
	const Relations *relations = &model->relations;
	int			n = 0;

	timed[n++] = (Timed) {.relation = relations->events, .user_column = relations->user_column,
	.time_column = relations->time_column};
	for (int t = 0; t < model->n_tasks; t++)
	{
		const ModelTask *task = &model->task[t];
		bool		known = task->samples == NULL;
		Timed		own = {
			.relation = task->samples,
			.user_column = task->options.user_column ? task->options.user_column : relations->user_column,
			.time_column = task->options.time_column ? task->options.time_column : relations->time_column,
			.matures = task->options.matures
		};

		for (int i = 0; i < n && !known; i++)
			known = strcmp(timed[i].relation, own.relation) == 0 && strcmp(timed[i].time_column, own.time_column) == 0 &&
				timed[i].matures == own.matures;
		if (!known)
			timed[n++] = own;
	}
	for (int i = 0; i < n; i++)
		timed[i].type = getBaseType(column_type(relation_oid(timed[i].relation), timed[i].relation, timed[i].time_column));
	return n;
}

/* One row of one statement, whose parameters are times of a relation's type. */
static void
ask(const FeatureSet *set, const Timed *timed, const char *sql, const TimestampTz *times, int n, int columns,
	Datum *value, bool *isnull)
{
	Oid			types[8];
	Datum		values[8];

	Assert(n <= lengthof(types));
	for (int i = 0; i < n; i++)
	{
		types[i] = timed->type;
		values[i] = time_parameter(set, timed->type, times[i]);
	}
	spi_connect();
	if (SPI_execute_with_args(sql, n, types, values, NULL, true, 1) != SPI_OK_SELECT || SPI_processed != 1)
		elog(ERROR, "could not look for new rows");
	for (int i = 0; i < columns; i++)
		value[i] = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, i + 1, &isnull[i]);
	SPI_finish();
}

/* The moment behind a time; the ends of time stay. */
static TimestampTz
behind(TimestampTz time)
{
	return TIMESTAMP_NOT_FINITE(time) ? time : time + 1;
}

static char *
from_clause(const Timed *timed)
{
	return psprintf(" FROM %s s WHERE s.%s IS NOT NULL AND ", timed->relation, quote_identifier(timed->user_column));
}

/* "time >= $a AND time < $b" */
static char *
range_clause(const Timed *timed, int first)
{
	StringInfoData sql;
	TimedRelation range = {.relation = timed->relation, .time_column = timed->time_column, .time_type = timed->type,
	.first = first};

	initStringInfo(&sql);
	append_range(&sql, "s", &range);
	return sql.data;
}

/* The newest time in (since, until], or DT_NOBEGIN. */
static TimestampTz
newest(const FeatureSet *set, const Timed *timed, TimestampTz since, TimestampTz until)
{
	RowReader	reader = {.set = set, .time_type = timed->type};
	TimestampTz times[] = {behind(since), behind(until)};
	Datum		value;
	bool		isnull;

	ask(set, timed, psprintf("SELECT pg_catalog.max(s.%s)%s%s", quote_identifier(timed->time_column),
							 from_clause(timed), range_clause(timed, 1)), times, 2, 1, &value, &isnull);
	return isnull ? DT_NOBEGIN : row_time(&reader, value);
}

/* The same up to the present; what is later is said. */
static TimestampTz
newest_past(const FeatureSet *set, const Timed *timed, TimestampTz since)
{
	TimestampTz now = GetCurrentStatementStartTimestamp();
	TimestampTz latest = newest(set, timed, since, DT_NOEND);
	TimestampTz times[] = {behind(now), DT_NOEND};
	Datum		value;
	bool		isnull;

	if (latest <= now)
		return latest;
	ask(set, timed, psprintf("SELECT pg_catalog.count(*)%s%s", from_clause(timed), range_clause(timed, 1)),
		times, 2, 1, &value, &isnull);
	job_note(INT64_FORMAT " rows of %s have times that are still to come, up to %s; nights wait for them",
			 DatumGetInt64(value), timed->relation, time_text(latest));
	return newest(set, timed, since, now);
}

/* Rows after (a, b], after (c, d] and after (e, f]. */
static void
count_rows(const FeatureSet *set, const Timed *timed, TimestampTz bounds[6], int64 counts[3])
{
	TimestampTz times[8] = {DT_NOEND, DT_NOBEGIN};
	Datum		value[3];
	bool		isnull[3];

	for (int i = 0; i < 6; i++)
		times[2 + i] = behind(bounds[i]);
	for (int i = 2; i < 8; i++)
	{
		times[0] = Min(times[0], times[i]);
		times[1] = Max(times[1], times[i]);
	}
	ask(set, timed, psprintf("SELECT pg_catalog.count(*) FILTER (WHERE %s), pg_catalog.count(*) FILTER (WHERE %s),"
							 " pg_catalog.count(*) FILTER (WHERE %s)%s%s",
							 range_clause(timed, 3), range_clause(timed, 5), range_clause(timed, 7),
							 from_clause(timed), range_clause(timed, 1)), times, 8, 3, value, isnull);
	for (int i = 0; i < 3; i++)
		counts[i] = DatumGetInt64(value[i]);
}

/* Parameters say the clauses' types, so all are always there. */
static int64
count_recent(const FeatureSet *set, const Timed *timed, TimestampTz until)
{
	TimestampTz from = until - RECENT_DAYS * USECS_PER_DAY;
	TimestampTz bounds[] = {from, until, from, until, from, until};
	int64		counts[3];

	count_rows(set, timed, bounds, counts);
	return counts[0];
}

/* What its rows are counted under: tasks whose labels mature later count older ones. */
static char *
count_name(const Timed *timed)
{
	char	   *name = psprintf("%s.%s", timed->relation, timed->time_column);

	return timed->matures == 0 ? name : psprintf("%s, " INT64_FORMAT, name, (int64) timed->matures);
}

static void
append_count(StringInfo json, const Timed *timed, int i, int64 n)
{
	appendStringInfoString(json, i > 0 ? ", " : "{");
	escape_json(json, count_name(timed));
	appendStringInfo(json, ": " INT64_FORMAT, n);
}

char *
night_recent(const Model *model, TimestampTz until)
{
	FeatureSet *set = model_features(model, CurrentMemoryContext);
	Timed		timed[NN_MAX_TASKS + 1];
	int			n = find_relations(model, timed);
	StringInfoData json;

	initStringInfo(&json);
	for (int i = 0; i < n; i++)
		append_count(&json, &timed[i], i, TIMESTAMP_NOT_FINITE(until) ? 0 :
					 count_recent(set, &timed[i], until - timed[i].matures));
	appendStringInfoChar(&json, '}');
	return json.data;
}

/* The rows that a version's training counted, -1: not known. */
static int64
known_rows(const char *known, const Timed *timed)
{
	char	   *name = count_name(timed);
	Jsonb	   *object;
	JsonbValue *value;

	if (known == NULL)
		return -1;
	object = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(known)));
	value = getKeyJsonValueFromContainer(&object->root, name, strlen(name), NULL);
	if (value == NULL || value->type != jbvNumeric)
		return -1;
	return DatumGetInt64(DirectFunctionCall1(numeric_int8, NumericGetDatum(value->val.numeric)));
}

/* The last moment before the day of a time. */
static TimestampTz
before_day(const FeatureSet *set, TimestampTz time)
{
	RowReader	reader = {.set = set, .time_type = DATEOID};
	DateADT		next = DatumGetDateADT(time_parameter(set, DATEOID, behind(time)));

	return row_time(&reader, DateADTGetDatum(next - 1)) - 1;
}

/*
 * Dates: one day's rows have one time, and some of the last day's are still to
 * come, whichever relation tells that it has begun.
 */
static TimestampTz
find_end(const FeatureSet *set, const Model *model, Timed *timed, int n, TimestampTz since)
{
	TimestampTz end = DT_NOBEGIN;
	bool		dates = false;

	for (int i = 0; i < n; i++)
	{
		timed[i].newest = newest_past(set, &timed[i], since);
		end = Max(end, timed[i].newest);
		dates |= timed[i].type == DATEOID;
		job_check();
	}
	if (end == DT_NOBEGIN)
		return end;
	return Min(end - model->options.lateness, dates ? before_day(set, end) : end);
}

TimestampTz
night_end(const Model *model, TimestampTz since)
{
	Timed		timed[NN_MAX_TASKS + 1];
	int			n = find_relations(model, timed);

	return find_end(model_features(model, CurrentMemoryContext), model, timed, n, since);
}

/* Rows of a relation came late; where all of it lags behind the others, say what would wait for it. */
static void
note_late(const FeatureSet *set, const Timed *timed, int64 late, TimestampTz from, TimestampTz newest)
{
	TimestampTz own = newest_past(set, timed, from - RECENT_DAYS * USECS_PER_DAY);
	int64		hours = own == DT_NOBEGIN ? 0 : (newest - own) / USECS_PER_HOUR;

	job_note(INT64_FORMAT " rows of %s came later than \"lateness\" allows, with times before %s, and were left out%s",
			 late, timed->relation, time_text(from), hours == 0 ? "" :
			 psprintf("; it lags behind: \"lateness\": \"" INT64_FORMAT " hours\" would wait for it", hours + 1));
}

void
night_look(Night *night, const Model *model, const char *known)
{
	FeatureSet *set = model_features(model, CurrentMemoryContext);
	Timed		timed[NN_MAX_TASKS + 1];
	int			n = find_relations(model, timed);
	TimestampTz since = night->range.since;
	TimestampTz until = find_end(set, model, timed, n, since);
	TimestampTz newest = DT_NOBEGIN;
	StringInfoData json;

	for (int i = 0; i < n; i++)
		newest = Max(newest, timed[i].newest);
	night->range.until = until;
	if (until <= since)
		return;
	initStringInfo(&json);
	for (int i = 0; i < n; i++)
	{
		TimestampTz from = since - timed[i].matures;
		TimestampTz to = until - timed[i].matures;
		TimestampTz bounds[] = {from, to, from - RECENT_DAYS * USECS_PER_DAY, from, to - RECENT_DAYS * USECS_PER_DAY, to};
		int64		before = known_rows(known, &timed[i]);
		int64		counts[3];

		count_rows(set, &timed[i], bounds, counts);
		*(i == 0 ? &night->events : &night->samples) += counts[0];
		if (before >= 0 && counts[1] > before)
			note_late(set, &timed[i], counts[1] - before, from, newest);
		append_count(&json, &timed[i], i, counts[2]);
		job_check();
	}
	appendStringInfoChar(&json, '}');
	night->recent = json.data;
}
