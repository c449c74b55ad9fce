/*-------------------------------------------------------------------------
 *
 * drift.c
 *	  How far the rows that a version newly learned are from those before
 *
 * Newly learned are the rows after Dataset.since, and samples whose labels matured
 * after it; in a training from nothing,
 * which learns from all, those that it holds out.  The measure is the population
 * stability index, the sum over parts of (p - q) ln(p / q), less what it may
 * be by chance if the rows of a user are all the same: so that a small shop is
 * not told of a drift every night.  What the next version is compared with is
 * stored beside the version.
 *
 *-------------------------------------------------------------------------
 */
#include "train/drift.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "train/dataset.h"
#include "train/report.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#define CHECK_EVERY		4096
#define TAKEN			1		/* the label of samples that have none */
#define OCTAVE_PARTS	4		/* numbers within a factor of 2^(1/4) are the same */

/* ---------------- sketches ---------------- */

static Sketch *
add_sketch(Drift *drift, const char *group, const char *task, const char *name)
{
	Sketch	   *sketch;

	if (drift->n == drift->capacity)
	{
		drift->capacity = Max(32, 2 * drift->capacity);
		drift->sketch = drift->sketch ? repalloc(drift->sketch, sizeof(Sketch) * drift->capacity) :
			palloc(sizeof(Sketch) * drift->capacity);
	}
	sketch = memset(&drift->sketch[drift->n++], 0, sizeof(Sketch));
	sketch->group = group;
	sketch->task = task;
	sketch->name = name;
	sketch->unknown = -1;
	sketch->user = -1;
	sketch->until = DT_NOBEGIN;
	sketch->value = sketch->psi = NAN;
	sketch->previous_missing = sketch->previous_unknown = sketch->previous_value = NAN;
	return sketch;
}

static void
add_cell(Sketch *sketch, Cell cell)
{
	sketch->part[cell_hash(cell) % SKETCH_PARTS]++;
	sketch->values++;
}

static void
add_number(Sketch *sketch, double number)
{
	double		size = number == 0 ? 0 : 2000 * OCTAVE_PARTS + floor(OCTAVE_PARTS * log2(fabs(number)));

	add_cell(sketch, (Cell) (number < 0 ? -size : size));
}

/* A row of a user, whose rows come one after the other. */
static void
add_row(Sketch *sketch, int64 user, bool missing)
{
	sketch->rows++;
	sketch->missing += missing;
	if (missing || sketch->user == user)
		return;
	sketch->users++;
	sketch->user = user;
}

static void
add_value(Sketch *sketch, int64 user, CellKind kind, const Cell *cells, int n)
{
	int64		before = sketch->values;

	for (int i = 0; i < n; i++)
	{
		if (cells[i] == CELL_NULL)
			continue;
		if (!sketch->number)
		{
			add_cell(sketch, cells[i]);
			if (sketch->unknown >= 0)
				sketch->unknown += vocabulary_find(sketch->known, cells[i]) == ID_UNKNOWN;
		}
		else if (isfinite(cell_number(cells[i], kind)))
			add_number(sketch, cell_number(cells[i], kind));
	}
	add_row(sketch, user, sketch->values == before);
}

/* ---------------- columns and labels ---------------- */

typedef struct Collector
{
	Build	   *build;
	Drift	   *drift;
	int			feature[NN_GROUPS][NN_MAX_FEATURES];	/* index of the sketch, -1: none */
	int			label[NN_MAX_TASKS];
	bool	   *fresh;			/* users with new events */
} Collector;

static void
open_sketches(Collector *collector)
{
	const Dataset *data = collector->build->data;
	Drift	   *drift = collector->drift;

	for (int g = 0; g < NN_GROUPS; g++)
		for (int f = 0; f < data->set->n[g]; f++)
		{
			const Feature *feature = &data->set->f[g][f];
			Sketch	   *sketch;

			collector->feature[g][f] = -1;
			if (feature->encoding == ENCODE_FIXED)
				continue;
			collector->feature[g][f] = drift->n;
			sketch = add_sketch(drift, nn_group_name[g], "", feature->name);
			sketch->feature = feature;
			sketch->known = data->base ? &data->base->set.f[g][f].vocabulary : &feature->vocabulary;
			sketch->number = feature->encoding == ENCODE_BANDS;
			if (feature->encoding == ENCODE_ID && feature->min_count != NEVER_ENOUGH)
				sketch->unknown = 0;
		}
	for (int t = 0; t < data->model->n_tasks; t++)
	{
		const ModelTask *task = &data->model->task[t];

		collector->label[t] = -1;
		if (task->label == NULL && task->samples == NULL)
			continue;
		collector->label[t] = drift->n;
		add_sketch(drift, "label", task->name, task->label ? task->label : "label")->number =
			task->kind == NN_MULTICLASS && data->levels[t].number;
	}
}

/* Of a task's samples, or (-1) of the events. */
static bool
is_new(const Build *build, const RawUser *user, int task, TimestampTz time)
{
	return build->data->since != DT_NOBEGIN ? sample_is_new(build->data, task, time) : time >= user->hold_out;
}

static void
add_feature(Collector *collector, int64 user, nn_group g, int f, const Cell *cells, int n)
{
	if (collector->feature[g][f] >= 0)
		add_value(&collector->drift->sketch[collector->feature[g][f]], user,
				  collector->build->data->set->f[g][f].kind, cells, n);
}

/* The features of a group that rows of a relation have. */
static void
add_columns(Collector *collector, const RawRows *rows, int64 user, int64 row, nn_group g)
{
	for (int f = 0; f < collector->build->data->set->n[g]; f++)
		if (rows->feature[g][f] >= 0)
		{
			const Cell *cells;
			int			n = raw_cells(rows, rows->feature[g][f], row, &cells);

			add_feature(collector, user, g, f, cells, n);
		}
}

/* 0 and 1 have a rate as well. */
static void
add_label(Collector *collector, int64 user, int t, TimestampTz time, Cell cell)
{
	Sketch	   *sketch = &collector->drift->sketch[collector->label[t]];
	CellKind	kind = collector->build->label[t].kind;

	sketch->until = Max(sketch->until, time);
	add_value(sketch, user, kind, &cell, 1);
	if (collector->build->data->model->task[t].kind == NN_MULTICLASS || cell == CELL_NULL)
		return;
	sketch->value = (isnan(sketch->value) ? 0 : sketch->value) + cell_number(cell, kind);
}

static void
visit_event(Build *build, const RawUser *raw, int64 row, RawItem *item, void *arg)
{
	Collector  *collector = arg;
	const Dataset *data = build->data;
	int64		user = raw - (const RawUser *) build->users->data;

	if (!is_new(build, raw, -1, raw_time(build->events, row)))
		return;
	collector->fresh[user] = true;
	for (int g = NN_ITEM; g <= NN_PROPERTY; g++)
		for (int f = 0; f < data->set->n[g]; f++)
		{
			const Cell *cells;
			int			n;

			if (collector->feature[g][f] < 0)
				continue;
			n = event_cells(build, row, item, g, f, &cells);
			add_feature(collector, user, g, f, cells, n);
		}
	if (data->set->event_context)
		add_columns(collector, build->events, user, row, NN_CONTEXT);
	for (int t = 0; t < data->model->n_tasks; t++)
		if (collector->label[t] >= 0 && build->samples[t] == NULL && event_allowed(build, t, row, item))
			add_label(collector, user, t, raw_time(build->events, row), event_label(build, &build->label[t], row, item));
}

static void
collect_samples(Collector *collector, int t)
{
	Build	   *build = collector->build;
	const RawRows *rows = build->samples[t];
	const RawRun *runs = rows->run->data;
	int64		at = 0;

	for (int64 r = 0; r < rows->run->n; r++)
	{
		const RawUser *raw = raw_user(build, &at, runs[r].user);

		if (r % CHECK_EVERY == 0)
			job_check();
		for (int64 row = runs[r].start; raw != NULL && row < runs[r].start + runs[r].n; row++)
		{
			int64		user = raw - (const RawUser *) build->users->data;

			if (!is_new(build, raw, t, raw_time(rows, row)) || !label_settled(build, t, raw_time(rows, row)))
				continue;
			add_columns(collector, rows, user, row, NN_CONTEXT);
			add_columns(collector, rows, user, row, NN_THING);
			if (collector->label[t] >= 0)
				add_label(collector, user, t, raw_time(rows, row),
						  build->label[t].column >= 0 ? raw_cell(rows, build->label[t].column, row) : TAKEN);
		}
	}
}

/* Of those users who have new events. */
static void
collect_profiles(Collector *collector)
{
	Build	   *build = collector->build;
	const RawRows *rows = build->profile;
	const RawRun *runs = rows->run->data;
	int64		at = 0;

	for (int64 r = 0; r < rows->run->n; r++)
	{
		const RawUser *raw = raw_user(build, &at, runs[r].user);
		int64		user = raw ? raw - (const RawUser *) build->users->data : -1;

		if (r % CHECK_EVERY == 0)
			job_check();
		for (int64 row = runs[r].start; user >= 0 && collector->fresh[user] && row < runs[r].start + runs[r].n; row++)
			add_columns(collector, rows, user, row, NN_PROFILE);
	}
}

void
drift_collect(Build *build)
{
	Dataset    *data = build->data;
	MemoryContext old = MemoryContextSwitchTo(data->context);
	Collector  *collector = palloc0(sizeof(Collector));

	collector->build = build;
	collector->drift = palloc0(sizeof(Drift));
	collector->drift->since = data->since;
	collector->fresh = MemoryContextAllocExtended(build->context, Max(build->users->n, 1),
												  MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	open_sketches(collector);
	visit_training_events(build, true, visit_event, collector);
	for (int t = 0; t < data->model->n_tasks; t++)
		if (build->samples[t])
			collect_samples(collector, t);
	if (build->profile)
		collect_profiles(collector);
	for (int t = 0; t < data->model->n_tasks; t++)
		if (collector->label[t] >= 0)
			collector->drift->sketch[collector->label[t]].value /= collector->drift->sketch[collector->label[t]].values;
	data->drift = collector->drift;
	pfree(collector);
	MemoryContextSwitchTo(old);
}

/* ---------------- scores and metrics ---------------- */

/* Their mean alone: how they are spread is another matter after every training. */
static void
add_scores(Drift *drift, const ModelTask *task, const Judged *judged)
{
	Sketch	   *sketch = add_sketch(drift, "score", task->name, "score");
	double		sum = 0;

	for (int64 i = 0; i < judged->n; i++)
	{
		add_row(sketch, judged->user[i], false);
		sum += judged->results[0].score[i];
	}
	sketch->value = sum / judged->n;
}

static void
add_metrics(Drift *drift, const Model *model, int t, const Metrics *metrics)
{
	const Metric *first;
	const Metric *best;

	metrics_main(metrics, model, t, NULL, &first, &best);
	for (int i = 0; first != NULL && i < metrics->n; i++)
	{
		const Metric *m = &metrics->metric[i];
		Sketch	   *sketch;

		if (m->task != t || strcmp(m->source, first->source) != 0 || strcmp(m->slice, slice_name[SLICE_ALL]) != 0 ||
			(m != first && strcmp(m->metric, "ece") != 0))
			continue;
		sketch = add_sketch(drift, "metric", model->task[t].name, m->metric);
		sketch->rows = m->n;
		sketch->value = m->value;
	}
}

/* ---------------- against the version before ---------------- */

/*
 * Beyond what chance would do in all but a few of a hundred nights.  Rows of a
 * user are alike, so what is counted is users: each value is that share of one.
 */
static double
stability_index(const Sketch *sketch, const double *was)
{
	int			parts = 0;
	double		before = 0;
	double		sum = 0;
	double		users = Max(sketch->users, 1);
	double		previous_users = Max(sketch->previous_users, 1);

	for (int i = 0; i < SKETCH_PARTS; i++)
	{
		parts += sketch->part[i] > 0 || was[i] > 0;
		before += was[i];
	}
	if (sketch->values == 0 || before == 0)
		return NAN;

	/* half a user more in each part, so that none has nothing */
	for (int i = 0; i < SKETCH_PARTS; i++)
		if (sketch->part[i] > 0 || was[i] > 0)
		{
			double		p = (sketch->part[i] * users / sketch->values + 0.5) / (users + 0.5 * parts);
			double		q = (was[i] * previous_users / before + 0.5) / (previous_users + 0.5 * parts);

			sum += (p - q) * log(p / q);
		}
	/* by chance it is spread as chi-square is: its mean and two deviations */
	sum -= (parts - 1 + 2 * sqrt(2.0 * (parts - 1))) * (1 / users + 1 / previous_users);
	return Max(sum, 0);
}

static Sketch *
find_sketch(Drift *drift, const char *group, const char *task, const char *name)
{
	for (int i = 0; i < drift->n; i++)
		if (strcmp(drift->sketch[i].group, group) == 0 && strcmp(drift->sketch[i].task, task) == 0 &&
			strcmp(drift->sketch[i].name, name) == 0)
			return &drift->sketch[i];
	return NULL;
}

static void
compare_row(Drift *drift, HeapTuple tuple, TupleDesc tupdesc)
{
	Datum		value[8];
	bool		isnull[8];
	double		was[SKETCH_PARTS] = {0};
	Sketch	   *sketch;
	Jsonb	   *parts;

	for (int i = 0; i < lengthof(value); i++)
		value[i] = SPI_getbinval(tuple, tupdesc, i + 1, &isnull[i]);
	sketch = find_sketch(drift, TextDatumGetCString(value[0]), TextDatumGetCString(value[1]),
						 TextDatumGetCString(value[2]));
	if (sketch == NULL)
		return;
	if (!isnull[3])
		sketch->previous_users = DatumGetInt64(value[3]);
	if (!isnull[4])
		sketch->previous_missing = DatumGetFloat8(value[4]);
	if (!isnull[5])
		sketch->previous_unknown = DatumGetFloat8(value[5]);
	if (!isnull[6])
		sketch->previous_value = DatumGetFloat8(value[6]);
	if (isnull[7])
		return;
	parts = DatumGetJsonbP(value[7]);
	for (int i = 0; i < SKETCH_PARTS; i++)
	{
		JsonbValue *part = getIthJsonbValueFromContainer(&parts->root, i);

		if (part != NULL && part->type == jbvNumeric)
			was[i] = DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow,
														NumericGetDatum(part->val.numeric)));
	}
	sketch->psi = stability_index(sketch, was);
}

/*
 * The version that serves or did, rather with rows of the same sort: new ones
 * of a night, or those that a training of all held out.
 */
static void
read_previous(Drift *drift, int32 model_id)
{
	Oid			types[] = {INT4OID, BOOLOID};
	Datum		values[] = {Int32GetDatum(model_id), BoolGetDatum(drift->since == DT_NOBEGIN)};
	Datum		row[2];
	bool		isnull[2];
	OwnerGuard	guard;

	if (state_read("SELECT v.version, s.same FROM _dupn.version v JOIN _dupn.model m USING (model_id)"
				   " CROSS JOIN LATERAL (SELECT pg_catalog.bool_or((d.since IS NULL) OPERATOR(pg_catalog.=) $2) AS same"
				   " FROM _dupn.drift d WHERE d.model_id OPERATOR(pg_catalog.=) v.model_id"
				   " AND d.version OPERATOR(pg_catalog.=) v.version) s"
				   " WHERE v.model_id OPERATOR(pg_catalog.=) $1 AND s.same IS NOT NULL"
				   " AND (v.version OPERATOR(pg_catalog.=) m.published"
				   " OR pg_catalog.starts_with(v.decision, 'published'))"
				   " ORDER BY s.same DESC, (v.version OPERATOR(pg_catalog.=) m.published) DESC NULLS LAST,"
				   " v.version DESC LIMIT 1", 2, types, values, NULL, row, isnull) == 0)
		return;
	drift->previous = DatumGetInt32(row[0]);
	drift->same_rows = DatumGetBool(row[1]);
	values[1] = row[0];
	types[1] = INT4OID;
	owner_begin(&guard);
	if (SPI_execute_with_args("SELECT \"group\", task, name, users, missing, unknown, value, sketch FROM _dupn.drift"
							  " WHERE model_id OPERATOR(pg_catalog.=) $1 AND version OPERATOR(pg_catalog.=) $2",
							  2, types, values, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the drift of version %d", drift->previous);
	for (uint64 i = 0; i < SPI_processed; i++)
		compare_row(drift, SPI_tuptable->vals[i], SPI_tuptable->tupdesc);
	owner_end(&guard);
}

/* "; 3.0 % missing, 1.0 % before" */
static void
append_share(StringInfo note, const char *what, double share, double before)
{
	if (!(share > 0 || before > 0))
		return;
	appendStringInfo(note, "; %.1f %% %s", 100 * share, what);
	if (isfinite(before))
		appendStringInfo(note, ", %.1f %% before", 100 * before);
}

static void
note_drift(const Drift *drift, double limit)
{
	for (int i = 0; i < drift->n; i++)
	{
		const Sketch *sketch = &drift->sketch[i];
		StringInfoData note;

		if (!(sketch->psi > limit))
			continue;
		initStringInfo(&note);
		if (sketch->feature)
			appendStringInfo(&note, "drift: %s column \"%s\"", sketch->group, sketch->name);
		else
			appendStringInfo(&note, "drift: the labels of task \"%s\"", sketch->task);
		appendStringInfo(&note, " moved by %.2f (PSI) from version %d, beyond the limit of %.2f", sketch->psi,
						 drift->previous, limit);
		append_share(&note, "missing", sketch_missing(sketch), sketch->previous_missing);
		append_share(&note, "unknown", sketch_unknown(sketch), sketch->previous_unknown);
		if (isfinite(sketch->value))
			appendStringInfo(&note, "; mean %.3f, %.3f before", sketch->value, sketch->previous_value);
		job_note("%s", note.data);
	}
}

void
drift_compare(Trainer *trainer, const Judged *judged, const Metrics *metrics)
{
	Drift	   *drift = trainer->data->drift;
	const Model *model = trainer->model;
	MemoryContext context = CurrentMemoryContext;

	for (int t = 0; t < model->n_tasks; t++)
	{
		if (!trainer->moments->wanted[t] || judged[t].n == 0)
			continue;
		if (model->task[t].kind == NN_BINARY)
			add_scores(drift, &model->task[t], &judged[t]);
		add_metrics(drift, model, t, metrics);
	}
	job_begin();
	MemoryContextSwitchTo(context);
	read_previous(drift, model->id);
	job_commit();
	note_drift(drift, model->options.drift_limit);
}

/* ---------------- rows ---------------- */

static void
set_number(Datum *values, char *nulls, int at, double value)
{
	values[at] = Float8GetDatum(value);
	nulls[at] = isfinite(value) ? ' ' : 'n';
}

static Datum
sketch_json(const Sketch *sketch)
{
	StringInfoData json;

	initStringInfo(&json);
	for (int i = 0; i < SKETCH_PARTS; i++)
		appendStringInfo(&json, "%s" INT64_FORMAT, i > 0 ? ", " : "[", sketch->part[i]);
	appendStringInfoChar(&json, ']');
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data));
}

void
drift_store(const Trainer *trainer, int32 version)
{
	const Drift *drift = trainer->data->drift;

	for (int i = 0; i < drift->n; i++)
	{
		const Sketch *sketch = &drift->sketch[i];
		Oid			types[] = {INT4OID, INT4OID, TIMESTAMPTZOID, TEXTOID, TEXTOID, TEXTOID, INT8OID, INT8OID,
		FLOAT8OID, FLOAT8OID, FLOAT8OID, JSONBOID, INT4OID, FLOAT8OID, FLOAT8OID, FLOAT8OID, FLOAT8OID,
		TIMESTAMPTZOID};
		Datum		values[18];
		char		nulls[] = "                  ";

		values[0] = Int32GetDatum(trainer->model->id);
		values[1] = Int32GetDatum(version);
		values[2] = TimestampTzGetDatum(drift->since);
		nulls[2] = drift->since == DT_NOBEGIN ? 'n' : ' ';
		values[3] = CStringGetTextDatum(sketch->group);
		values[4] = CStringGetTextDatum(sketch->task);
		values[5] = CStringGetTextDatum(sketch->name);
		values[6] = Int64GetDatum(sketch->rows);
		values[7] = Int64GetDatum(sketch->users);
		nulls[7] = sketch->users > 0 ? ' ' : 'n';
		set_number(values, nulls, 8, sketch->users > 0 ? sketch_missing(sketch) : NAN);
		set_number(values, nulls, 9, sketch_unknown(sketch));
		set_number(values, nulls, 10, sketch->value);
		values[11] = sketch->values > 0 ? sketch_json(sketch) : (Datum) 0;
		nulls[11] = sketch->values > 0 ? ' ' : 'n';
		values[12] = Int32GetDatum(drift->previous);
		nulls[12] = drift->previous ? ' ' : 'n';
		set_number(values, nulls, 13, sketch->psi);
		set_number(values, nulls, 14, sketch->previous_missing);
		set_number(values, nulls, 15, sketch->previous_unknown);
		set_number(values, nulls, 16, sketch->previous_value);
		values[17] = TimestampTzGetDatum(sketch->until);
		nulls[17] = sketch->until == DT_NOBEGIN ? 'n' : ' ';
		state_execute("INSERT INTO _dupn.drift (model_id, version, since, \"group\", task, name, rows, users, missing,"
					  " unknown, value, sketch, previous, psi, previous_missing, previous_unknown, previous_value, until)"
					  " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)",
					  18, types, values, nulls, NULL, NULL);
	}
}
