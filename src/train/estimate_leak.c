/*-------------------------------------------------------------------------
 *
 * estimate_leak.c
 *	  What leak.c warns of, told by SQL before anything is spent
 *
 * Of large tables some samples, spread evenly over the rows as they are read;
 * the events are joined by user, so that no index is needed.
 *
 *-------------------------------------------------------------------------
 */
#include "train/estimate.h"

#include <math.h>

#include "access/stratnum.h"
#include "catalog/pg_type.h"
#include "train/leak.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#define MOST_SAMPLES 20000

/* left = right, of columns that name the same things. */
static void
append_same(StringInfo sql, const char *left, Oid left_type, const char *right, Oid right_type)
{
	left_type = getBaseType(left_type);
	right_type = getBaseType(right_type);
	if (left_type == right_type)
		append_operator(sql, left, left_type, BTEqualStrategyNumber, right);
	else
		appendStringInfo(sql, "%s::pg_catalog.text OPERATOR(pg_catalog.=) %s::pg_catalog.text", left, right);
}

/* The samples that are looked at as (n, y, then what is named in columns). */
static char *
some_samples(const Estimate *e, int t, const char *columns)
{
	const ModelTask *task = &e->model->task[t];
	Oid			type = column_type(relation_oid(task->samples), task->samples, task->label);
	char	   *label = psprintf("e.%s", quote_identifier(task->label));
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "(SELECT pg_catalog.row_number() OVER () AS n, %s%s AS y, %s FROM %s e WHERE %s IS NOT NULL",
					 label, getBaseType(type) == BOOLOID ? "" : CAST " OPERATOR(pg_catalog.=) 1", columns,
					 task->samples, label);
	estimate_settled(&sql, e, task);
	appendStringInfo(&sql, ") s WHERE s.n OPERATOR(pg_catalog.%%) %d OPERATOR(pg_catalog.=) 0",
					 (int) Min(e->samples[t] / MOST_SAMPLES + 1, INT_MAX));
	return sql.data;
}

/*
 * What an event must have in common with a sample: the item's key where both
 * have it, else all columns of the candidate.  Appends the samples' columns to
 * columns, the events' to events; returns whether there is a candidate.
 */
static bool
append_about(StringInfo about, StringInfo columns, StringInfo events, const Estimate *e, const ModelTask *task)
{
	const Relations *relations = &e->model->relations;
	Oid			samples = relation_oid(task->samples);
	Oid			type,
				other;
	int			candidate[NN_MAX_FEATURES];
	int			n = 0;

	if (relation_column(samples, relations->item_key, &type) != InvalidAttrNumber)
		candidate[n++] = 0;
	else
		n = task_candidate(e->model, e->set, task, candidate);

	/* a thing is in no event */
	while (n > 0 && NN_IS_THING(candidate[n - 1]))
		n--;
	appendStringInfoString(about, "true");
	for (int k = 0; k < n; k++)
	{
		const char *name = k == 0 && candidate[0] == 0 ? relations->item_key : e->set->f[NN_ITEM][candidate[k]].name;
		FeatureSource source;

		if (!model_column(e->model, name, &source, NULL, &other) ||
			relation_column(samples, name, &type) == InvalidAttrNumber)
			continue;
		appendStringInfo(columns, ", e.%s AS c%d", quote_identifier(name), k);
		appendStringInfo(events, ", %s.%s AS c%d", source == FROM_CATALOG ? "c" : "e", quote_identifier(name), k);
		appendStringInfoString(about, " AND ");
		append_same(about, psprintf("v.c%d", k), other, psprintf("s.c%d", k), type);
	}
	return n > 0;
}

static void
look_at_events(Estimate *e, int t)
{
	const ModelTask *task = &e->model->task[t];
	const Relations *relations = &e->model->relations;
	const char *user = task->options.user_column ? task->options.user_column : relations->user_column;
	const char *time = task->options.time_column ? task->options.time_column : relations->time_column;
	double		values[2 + 2 * LEAK_AGES];
	LeakCounts	counts = {0};
	StringInfoData columns,
				events,
				about,
				sql;
	char	   *warning;

	initStringInfo(&columns);
	initStringInfo(&events);
	initStringInfo(&about);
	initStringInfo(&sql);
	appendStringInfo(&columns, "e.%s AS u, %s AS t", quote_identifier(user),
					 estimate_moment(e, task->samples, "e", time));
	appendStringInfo(&events, "e.%s AS u, %s AS t", quote_identifier(relations->user_column),
					 estimate_moment(e, relations->events, "e", relations->time_column));
	counts.candidate = append_about(&about, &columns, &events, e, task);

	appendStringInfoString(&sql, "SELECT pg_catalog.count(*) FILTER (WHERE NOT x.y)" CAST ", pg_catalog.count(*) FILTER (WHERE x.y)" CAST);
	for (int label = 0; label < 2; label++)
		for (int a = 0; a < LEAK_AGES; a++)
			appendStringInfo(&sql, ", pg_catalog.count(*) FILTER (WHERE %sx.y AND x.age OPERATOR(pg_catalog.<)"
							 " pg_catalog.make_interval(secs => %.0f))" CAST,
							 label ? "" : "NOT ", (double) leak_age[a] / USECS_PER_SEC);
	appendStringInfo(&sql, " FROM (SELECT s.y, CASE WHEN pg_catalog.max(v.t) OPERATOR(pg_catalog.=) pg_catalog.max(v.t) FILTER (WHERE %s)"
					 " THEN s.t OPERATOR(pg_catalog.-) pg_catalog.max(v.t) END AS age FROM (SELECT * FROM %s) s"
					 " LEFT JOIN (SELECT %s FROM %s) v ON ",
					 about.data, some_samples(e, t, columns.data), events.data, estimate_stream(e));
	append_same(&sql, "v.u", column_type(relation_oid(relations->events), relations->events, relations->user_column),
				"s.u", column_type(relation_oid(task->samples), task->samples, user));
	appendStringInfo(&sql, " AND v.t OPERATOR(pg_catalog.<) (s.t OPERATOR(pg_catalog.-) pg_catalog.make_interval(secs => %.6f))"
					 " AND v.t OPERATOR(pg_catalog.>) (s.t OPERATOR(pg_catalog.-) pg_catalog.make_interval(secs => %.0f))"
					 " GROUP BY s.n, s.y, s.t) x",
					 (double) task->options.embargo / USECS_PER_SEC, (double) leak_age[LEAK_AGES - 1] / USECS_PER_SEC);
	estimate_count(sql.data, values, lengthof(values));
	for (int label = 0; label < 2; label++)
	{
		counts.n[label] = values[label];
		for (int a = 0; a < LEAK_AGES; a++)
			counts.young[label][a] = values[2 + label * LEAK_AGES + a];
	}
	warning = leak_warning(task, &counts);
	if (warning != NULL)
		estimate_warn(e, warning);
}

/* Ranks, those of ties their mean, give the AUC of a feature alone. */
static void
look_at_feature(Estimate *e, int t, const char *feature)
{
	const ModelTask *task = &e->model->task[t];
	bool		flipped;
	const char *name = feature_column(task->kind, feature, &flipped);
	Oid			type = column_type(relation_oid(task->samples), task->samples, name);
	char	   *column = psprintf("e.%s%s" CAST " AS f", quote_identifier(name),
								  getBaseType(type) == BOOLOID ? "::pg_catalog.int4" : "");
	double		v[3];
	char	   *warning;

	estimate_count(psprintf("SELECT pg_catalog.count(*) FILTER (WHERE x.y)" CAST ", pg_catalog.count(*) FILTER (WHERE NOT x.y)" CAST ","
							" pg_catalog.sum(x.r) FILTER (WHERE x.y)" CAST
							" FROM (SELECT s.y, pg_catalog.rank() OVER (ORDER BY s.f)" CAST " OPERATOR(pg_catalog.+)"
							" ((pg_catalog.count(*) OVER (PARTITION BY s.f)" CAST " OPERATOR(pg_catalog.-) 1) OPERATOR(pg_catalog./) 2) AS r"
							" FROM %s AND s.f IS NOT NULL) x", some_samples(e, t, column)), v, 3);
	warning = v[0] > 0 && v[1] > 0 ?
		leak_feature_warning(task, feature, (v[2] - v[0] * (v[0] + 1) / 2) / (v[0] * v[1])) : NULL;
	if (warning != NULL)
		estimate_warn(e, warning);
}

void
estimate_leaks(Estimate *e, int t)
{
	const ModelTask *task = &e->model->task[t];

	if (task->samples == NULL || task->label == NULL || task->options.negatives > 0 ||
		(task->kind != NN_BINARY && task->kind != NN_RANK))
		return;
	look_at_events(e, t);
	for (int f = 0; f < task->n_features; f++)
		look_at_feature(e, t, task->features[f]);
}
