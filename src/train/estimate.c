/*-------------------------------------------------------------------------
 *
 * estimate.c
 *	  dupn_estimate: what a training would take, before anything is spent
 *
 * Counts are exact and read the relations as the caller, each a few times;
 * what they cost is a fraction of one epoch.  Minutes are a model:
 *
 *	  operations of a forward and a backward pass (three forward passes) over
 *	  all events and samples of all epochs, at RATE a core
 *
 * with the dense products alone in the count and everything else in RATE: for
 * two epochs of 100,000 events (hidden 128, windows of 50, next_item over 500
 * items and 7 levels) it says 28 s; the job took 26 s of processor time.
 * Early stopping mostly ends a training before its last epoch.  Memory is a
 * model of the same kind, and what it says is the most that dupn_jobs will show.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include <math.h>

#include "access/stratnum.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "model/check.h"
#include "settings.h"
#include "train/batches.h"
#include "train/dataset.h"
#include "train/softmax.h"
#include "train/estimate.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(dupn_estimate);

#define RATE			20e9	/* operations a second on one core; OpenBLAS does 25 to 33e9
								 * in products [256, 192] by [192, 512] with AVX-512,
								 * 17 to 23e9 with AVX2 */
#define MOST_CLASSES	1000
#define ANOTHER_WORKER	0.9		/* of what the first does, on a core of its own */
#define STEP_VIEWS		256		/* of a step of evaluation, whatever batch_size is */
#define STEP_LOGITS		(16 * 1024 * 1024)
#define PROCESS_BYTES	(6.0 * 1024 * 1024) /* catalogs, plans, buffers of columns */
#define CATALOGUE_BYTES 60.0
#define RAW_ITEM_BYTES	90.0
#define SOFTMAX_BYTES	95.0
#define VALUE_BYTES		40.0
#define MEMORY_ITEM_BYTES 17.0	/* of a task's memory term: where its row begins, and sums */
#define MAX_PAIRS		2e7
#define PAIR_BYTES		12.0
#define MAX_HISTORY		100.0
#define BAG				2		/* values of a multi-hot cell, at a guess */
#define FEW_EVENTS		10000
#define FEW_POSITIVES	200

/* ---------------- output ---------------- */

static void
add_row(Estimate *e, const char *quantity, double value, const char *unit, const char *remark)
{
	Datum		values[4] = {CStringGetTextDatum(quantity), Float8GetDatum(value)};
	bool		nulls[4] = {false, isnan(value), unit == NULL, remark == NULL};

	if (unit != NULL)
		values[2] = CStringGetTextDatum(unit);
	if (remark != NULL)
		values[3] = CStringGetTextDatum(remark);
	tuplestore_putvalues(e->result->setResult, e->result->setDesc, values, nulls);
}

void
estimate_warn(Estimate *e, const char *text)
{
	add_row(e, "warning", NAN, NULL, text);
}

/* What is a model, and not counted, has three digits. */
static double
three_digits(double value)
{
	double		unit = value > 0 ? pow(10, floor(log10(value)) - 2) : 1;

	return unit < 1 ? rint(value * rint(1 / unit)) / rint(1 / unit) : rint(value / unit) * unit;
}

/* ---------------- counting ---------------- */

void
estimate_count(const char *sql, double *values, int n)
{
	MemoryContext old = CurrentMemoryContext;

	CHECK_FOR_INTERRUPTS();
	spi_connect();
	if (SPI_execute(sql, true, 0) != SPI_OK_SELECT || SPI_processed != 1)
		elog(ERROR, "could not count: %s", sql);
	for (int i = 0; i < n; i++)
	{
		bool		isnull;
		Datum		value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, i + 1, &isnull);

		values[i] = isnull ? 0 : DatumGetFloat8(value);
	}
	SPI_finish();
	MemoryContextSwitchTo(old);
}

/* From the first event to the last. */
static double
count_days(const Estimate *e)
{
	const Relations *relations = &e->model->relations;
	const char *time = quote_identifier(relations->time_column);
	char	   *stamp = estimate_moment(e, relations->events, "e", relations->time_column);
	double		days;

	estimate_count(psprintf("SELECT pg_catalog.date_part('epoch', pg_catalog.max(%s) OPERATOR(pg_catalog.-) pg_catalog.min(%s))"
							" OPERATOR(pg_catalog./) 86400 FROM %s e WHERE pg_catalog.isfinite(e.%s)",
							stamp, stamp, relations->events, time), &days, 1);
	return days;
}

static void
count_events(Estimate *e)
{
	const Relations *relations = &e->model->relations;
	const char *user = quote_identifier(relations->user_column);
	const char *time = quote_identifier(relations->time_column);
	const char *item = quote_identifier(relations->item_key);
	double		v[5];
	double		rows;

	/* sum over a user's events of how many events of the window lie before each */
	estimate_count(psprintf("SELECT pg_catalog.sum(n)" CAST ", pg_catalog.count(*)" CAST ", pg_catalog.max(n)" CAST ","
				   " pg_catalog.sum(CASE WHEN n OPERATOR(pg_catalog.<=) %d"
				   " THEN n" CAST " OPERATOR(pg_catalog.*) (n OPERATOR(pg_catalog.-) 1) OPERATOR(pg_catalog./) 2"
				   " ELSE %d" CAST " OPERATOR(pg_catalog.*) (n OPERATOR(pg_catalog.-) %d OPERATOR(pg_catalog./) 2) END)"
				   " FROM (SELECT pg_catalog.count(*) AS n FROM %s e WHERE %s IS NOT NULL"
				   " AND pg_catalog.isfinite(%s) GROUP BY %s) u",
				   e->model->options.max_events, e->model->options.max_events, e->model->options.max_events,
				   relations->events, user, time, user), v, 4);
	e->events = v[0];
	e->users = v[1];
	e->pairs = v[3];
	add_row(e, "events", e->events, "rows", NULL);
	add_row(e, "users", e->users, "users", e->users > 0 ?
			psprintf("%.1f events each", e->events / e->users) : NULL);
	if (e->users > 10 && v[2] > e->events / 10)
		estimate_warn(e, psprintf("one user has %.0f %% of the events: a guest account or a robot?", 100 * v[2] / e->events));

	estimate_count(psprintf("SELECT pg_catalog.count(*)" CAST ", pg_catalog.count(DISTINCT %s)" CAST ","
				   " pg_catalog.count(*) FILTER (WHERE %s OPERATOR(pg_catalog.>) pg_catalog.now() AND pg_catalog.isfinite(%s))" CAST ","
				   " CASE WHEN pg_catalog.min(%s) OPERATOR(pg_catalog.=) pg_catalog.max(%s) THEN 1 ELSE 0 END" CAST ","
				   " pg_catalog.count(%s) FILTER (WHERE %s IS NOT NULL AND pg_catalog.isfinite(%s))" CAST
				   " FROM %s e", item, time, time, time, time, item, user, time, relations->events), v, 5);
	rows = v[0];
	e->items = v[1];
	e->item_events = v[4];
	if (v[2] > 0)
		estimate_warn(e, psprintf("%.0f events lie in the future; they count as the latest", v[2]));
	if (e->events > 1 && v[3] != 0)
		estimate_warn(e, "all events have the same time, so nothing comes before anything");
	if (rows > e->events)
		estimate_warn(e, psprintf("%.0f rows (%.1f %%) lack a user or a finite time and are not used",
						 rows - e->events, 100 * (rows - e->events) / rows));
	if (e->events < FEW_EVENTS)
		estimate_warn(e, psprintf("few events: below %d counting does as well as learning", FEW_EVENTS));
	if (relations->catalog != NULL)
	{
		estimate_count(psprintf("SELECT pg_catalog.count(*)" CAST " FROM %s c", relations->catalog), v, 1);
		add_row(e, "items", Max(e->items, v[0]), "items", psprintf("%.0f of them in events", e->items));
		e->items = Max(e->items, v[0]);
	}
	else
		add_row(e, "items", e->items, "items", NULL);
}

/* Columns whose vectors come from a table are as wide as these. */
static void
find_widths(Estimate *e)
{
	for (int g = 0; g < NN_GROUPS; g++)
		for (int f = 0; f < e->set->n[g]; f++)
		{
			Feature    *feature = &e->set->f[g][f];
			EmbeddingSource source;
			double		width;

			if (feature->shares >= 0 || !embedding_source(e->model, feature->name, &source))
				continue;
			estimate_count(psprintf("SELECT pg_catalog.max(n)" CAST " FROM (SELECT pg_catalog.cardinality(v.%s::pg_catalog.float4[]) AS n"
									" FROM %s v WHERE v.%s IS NOT NULL LIMIT 1) x", quote_identifier(source.column),
									source.table, quote_identifier(source.column)), &width, 1);
			if (width >= 1 && width <= NN_MAX_WIDTH)
				feature->dim = (int) width;
		}
}

/* Values of a column that are seen often enough to have an id of their own. */
static void
count_vocabularies(Estimate *e)
{
	const Relations *relations = &e->model->relations;

	for (int g = 0; g < NN_GROUPS; g++)
		for (int f = 0; f < e->set->n[g]; f++)
		{
			Feature    *feature = &e->set->f[g][f];
			const char *relation = feature->source == FROM_CATALOG ? relations->catalog :
				feature->source == FROM_PROFILE ? relations->profile : relations->events;
			const char *column = quote_identifier(feature->name);
			double		n;

			for (int t = 0; g == NN_THING && t < e->model->n_tasks; t++)
				for (int i = 0; i < e->model->task[t].options.n_things; i++)
					if (strcmp(e->model->task[t].options.things[i], feature->name) == 0)
						relation = e->model->task[t].samples;
			if (feature->encoding == ENCODE_BANDS)
				feature->vocab = ID_FIRST + feature->bands;
			if (feature->encoding != ENCODE_ID)
				continue;
			if (g == NN_CONTEXT)
			{
				/* known only when asked; a shared table is counted with its owner */
				feature->vocab = feature->shares >= 0 ?
					e->set->f[NN_ITEM][feature->shares].vocab : ID_FIRST;
				continue;
			}
			estimate_count(psprintf("SELECT pg_catalog.count(*)" CAST " FROM (SELECT v FROM"
						   " (SELECT %s AS v FROM %s r) x WHERE v IS NOT NULL GROUP BY v"
						   " HAVING pg_catalog.count(*) OPERATOR(pg_catalog.>=) " INT64_FORMAT ") y",
						   feature->words[0] != '\0' ? psprintf("pg_catalog.unnest(%s)", words_sql(feature->words, column)) :
						   feature->multi ? psprintf("pg_catalog.unnest(%s)", column) : column, relation,
						   feature->source == FROM_EVENTS || g == NN_THING ? feature->min_count : 1), &n, 1);
			feature->vocab = ID_FIRST + (int64) n;
			if (g == NN_PROPERTY && f == 0 && n < 2)
				estimate_warn(e, psprintf("\"%s\" has one value only: it says nothing", feature->name));
		}
	if (e->set->n[NN_PROPERTY] > 0 && e->set->f[NN_PROPERTY][0].source == FROM_EVENTS)
		e->set->types = (int) Min(e->set->f[NN_PROPERTY][0].vocab, INT_MAX);
	if (e->set->activity >= 0)
		feature_set_vocab(e->set, &e->set->f[NN_PROFILE][e->set->activity]);
}

/* A condition of "where" as SQL over the aliases e and c. */
static void
append_where(StringInfo sql, const FeatureSet *set, Jsonb *where)
{
	int			n;
	char	  **columns = jsonb_object_names(where, &n);

	for (int i = 0; i < n; i++)
		for (int g = NN_ITEM; g <= NN_PROPERTY; g++)
			for (int f = 0; f < set->n[g]; f++)
			{
				const Feature *feature = &set->f[g][f];
				JsonbValue *value;
				JsonbContainer *array = NULL;
				char	   *column;
				CellType	type;
				int			n_values = 1;

				if (feature->encoding == ENCODE_FIXED || strcmp(feature->name, columns[i]) != 0)
					continue;
				cell_type_init(&type, feature->type, true, CurrentMemoryContext);
				value = getKeyJsonValueFromContainer(&where->root, columns[i], strlen(columns[i]), NULL);
				if (value->type == jbvBinary && JsonContainerIsArray(value->val.binary.data))
				{
					array = value->val.binary.data;
					n_values = JsonContainerSize(array);
				}
				column = psprintf(feature->multi ? "ANY (%s.%s)" : "%s.%s",
								  feature->source == FROM_CATALOG ? "c" : "e",
								  quote_identifier(feature->name));
				appendStringInfoString(sql, " AND (false");
				for (int k = 0; k < n_values; k++)
				{
					char	   *text = jsonb_value_text(array ? getIthJsonbValueFromContainer(array, k) : value);

					appendStringInfoString(sql, " OR ");
					append_operator(sql, psprintf("%s::%s", quote_literal_cstr(text),
												  format_type_extended(type.element, -1, FORMAT_TYPE_FORCE_QUALIFY)),
									type.element, BTEqualStrategyNumber, column);
				}
				appendStringInfoChar(sql, ')');
			}
}

char *
estimate_stream(const Estimate *e)
{
	const Relations *relations = &e->model->relations;
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "%s e", relations->events);
	for (int f = 0; f < e->set->n[NN_ITEM]; f++)
		if (e->set->f[NN_ITEM][f].source == FROM_CATALOG)
		{
			Oid			type = column_type(relation_oid(relations->catalog), relations->catalog,
										   relations->catalog_key);

			appendStringInfo(&sql, " LEFT JOIN %s c ON ", relations->catalog);
			append_operator(&sql, psprintf("c.%s", quote_identifier(relations->catalog_key)), type,
							BTEqualStrategyNumber,
							psprintf("e.%s", quote_identifier(relations->item_key)));
			break;
		}
	return sql.data;
}

char *
estimate_moment(const Estimate *e, const char *relation, const char *alias, const char *column)
{
	Oid			type = getBaseType(column_type(relation_oid(relation), relation, column));
	char	   *value = psprintf("%s.%s", alias, quote_identifier(column));

	return type == TIMESTAMPTZOID ? value :
		psprintf("pg_catalog.timezone(%s, %s::pg_catalog.timestamp)", quote_literal_cstr(e->model->timezone), value);
}

void
estimate_settled(StringInfo sql, const Estimate *e, const ModelTask *task)
{
	const Relations *relations = &e->model->relations;

	if (task->options.matures > 0)
		appendStringInfo(sql, " AND %s OPERATOR(pg_catalog.<=) (SELECT pg_catalog.max(%s) FILTER (WHERE pg_catalog.isfinite(v.%s))"
						 " OPERATOR(pg_catalog.-) pg_catalog.make_interval(secs => %.6f) FROM %s v)",
						 estimate_moment(e, task->samples, "e",
								   task->options.time_column ? task->options.time_column : relations->time_column),
						 estimate_moment(e, relations->events, "v", relations->time_column),
						 quote_identifier(relations->time_column),
						 (double) task->options.matures / USECS_PER_SEC, relations->events);
}

/* Events with an item that fit "where". */
static double
count_positives(Estimate *e, const ModelTask *task)
{
	double		n = e->item_events;
	StringInfoData sql;

	if (task->options.where == NULL)
		return n;
	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT pg_catalog.count(e.%s)" CAST " FROM %s WHERE true",
					 quote_identifier(e->model->relations.item_key), estimate_stream(e));
	append_where(&sql, e->set, task->options.where);
	estimate_count(sql.data, &n, 1);
	if (n == 0)
		estimate_warn(e, psprintf("task \"%s\": no event fits its \"where\"", task->name));
	return n;
}

/* Positives, and labels that are neither 0 nor 1. */
static double
count_binary(Estimate *e, const ModelTask *task, const char *label, Oid label_type)
{
	bool		boolean = label != NULL && getBaseType(label_type) == BOOLOID;
	double		v[3] = {0};
	StringInfoData sql;

	initStringInfo(&sql);
	if (task->samples == NULL)
		v[0] = v[1] = count_positives(e, task);
	else
	{
		if (label == NULL)
			appendStringInfoString(&sql, "SELECT pg_catalog.count(*)" CAST ", pg_catalog.count(*)" CAST ", 0" CAST);
		else
			appendStringInfo(&sql, "SELECT pg_catalog.count(%s)" CAST ","
							 " pg_catalog.count(*) FILTER (WHERE %s%s)" CAST ","
							 " pg_catalog.count(*) FILTER (WHERE %s%s)" CAST,
							 label, label, boolean ? "" : CAST " OPERATOR(pg_catalog.=) 1",
							 boolean ? "false" : label,
							 boolean ? "" : CAST " OPERATOR(pg_catalog.<>) ALL ('{0,1}'::pg_catalog.float8[])");
		appendStringInfo(&sql, " FROM %s e WHERE true", task->samples);
		estimate_settled(&sql, e, task);
		estimate_count(sql.data, v, 3);
	}
	v[0] += task->options.negatives * v[1];
	add_row(e, psprintf("samples of %s", task->name), v[0], "rows", v[0] > 0 ?
			psprintf("%.2f %% positive%s", 100 * v[1] / v[0],
					 task->options.negatives > 0 ? psprintf(", %d drawn beside each", task->options.negatives) : "") : NULL);
	add_row(e, psprintf("positives of %s", task->name), v[1], "rows", NULL);
	if (v[2] > 0)
		estimate_warn(e, psprintf("task \"%s\": %.0f labels are neither 0 nor 1, so training will fail", task->name, v[2]));
	if (v[1] == 0 || v[1] == v[0])
		estimate_warn(e, psprintf("task \"%s\": the label is always the same, there is nothing to learn", task->name));
	else if (Min(v[1], v[0] - v[1]) < FEW_POSITIVES)
		estimate_warn(e, psprintf("task \"%s\": fewer than %d rows of one of the two labels", task->name, FEW_POSITIVES));
	return v[0];
}

static void
count_task(Estimate *e, int t)
{
	const ModelTask *task = &e->model->task[t];
	StringInfoData sql;
	const char *label = NULL;
	Oid			label_type = InvalidOid;
	FeatureSource source = FROM_EVENTS;
	char	   *samples = psprintf("samples of %s", task->name);
	double		v[2];

	initStringInfo(&sql);
	if (task->label != NULL)
	{
		if (task->samples != NULL)
			label_type = column_type(relation_oid(task->samples), task->samples, task->label);
		else
			model_column(e->model, task->label, &source, NULL, &label_type);
		label = psprintf("%s.%s", source == FROM_CATALOG ? "c" : "e", quote_identifier(task->label));
	}

	if (task->kind == NN_BINARY || task->kind == NN_RANK)
		v[0] = count_binary(e, task, label, label_type);
	else if (task->kind == NN_MULTICLASS)
	{
		appendStringInfo(&sql, "SELECT pg_catalog.count(%s)" CAST ", pg_catalog.count(DISTINCT %s)" CAST " FROM %s WHERE true",
						 label, label, task->samples ? psprintf("%s e", task->samples) : estimate_stream(e));
		estimate_settled(&sql, e, task);
		if (task->options.where != NULL)
			append_where(&sql, e->set, task->options.where);
		estimate_count(sql.data, v, 2);
		add_row(e, samples, v[0], "rows", psprintf("%.0f different values of %s", v[1], task->label));
		if (v[1] < 2)
			estimate_warn(e, psprintf("task \"%s\": the label is always the same, there is nothing to learn", task->name));
		e->classes[t] = (int) Max(2, type_use(label_type) == TYPE_NUMBER || task->options.within ?
								  task->options.levels : Min(v[1], MOST_CLASSES));
	}
	else
	{
		v[0] = count_positives(e, task);
		add_row(e, samples, v[0], "events", NULL);
	}
	e->samples[t] = v[0];
	estimate_leaks(e, t);
}

/* ---------------- cost ---------------- */

/* Operations of one forward pass over everything: products only, two a weight. */
static double
forward_operations(const Estimate *e, const nn_config *config)
{
	double		event = 0,
				pair,
				views = e->events,
				total;

	event += 4.0 * config->hidden * (config->E + config->hidden) + 3.0 * config->hidden * config->Pg;
	if (config->bidirectional)
		event *= 2;
	event += (double) config->attention[0] * (config->Pa + config->W);
	pair = (double) config->attention[0] * config->attention[1] + config->attention[1] + config->W;
	if (config->bidirectional)
		pair += event;			/* every view runs its own reverse pass */

	/* a stretch is warmed up on half of the one before */
	total = e->events * event * 1.5;
	for (int t = 0; t < config->n_task; t++)
	{
		const nn_task *task = &config->task[t];
		double		sample = 0;
		double		width = config->head_width + config->Q + task->candidate_dim + task->features;

		for (int i = 0; i < task->n_hidden; i++)
		{
			sample += width * task->hidden[i];
			width = task->hidden[i];
		}
		if (task->kind == NN_NEXT_ITEM)
			sample += (double) config->E * (config->head_width + (e->items <= MOST_FULL ? e->items : NEGATIVES));
		if (task->kind == NN_MULTICLASS)
			sample += width * task->classes;
		total += e->samples[t] * sample;
		if (!task_from_events(&e->model->task[t]))
			views += e->samples[t];
	}
	total += views * config->experts * config->head_width * config->R;
	return 2 * (total + views * (e->events > 0 ? e->pairs / e->events : 0) * pair);
}

/* Does a task look at the moments of all events, or of samples alone? */
static double
moments_of(const Estimate *e)
{
	double		moments = 0;
	bool		from_events = e->model->n_tasks == 0;

	for (int t = 0; t < e->model->n_tasks; t++)
	{
		from_events |= task_from_events(&e->model->task[t]);
		if (!task_from_events(&e->model->task[t]))
			moments += e->samples[t];
	}
	return moments + (from_events ? e->events : 0);
}

/*
 * The largest step: in training the recurrence with its gradients, over what a
 * stretch's moments share; in evaluation whole windows without gradients, and
 * the scores of all items.  Both: the second layer of the attention for each pair
 * of a moment and an event.  A quarter is kept in reserve.
 */
static double
step_bytes(const Estimate *e, const nn_config *config)
{
	const ModelOptions *options = &e->model->options;
	double		window = e->events > 0 ? e->pairs / e->events : 0;
	double		last = Min(2 * window, options->max_events);	/* of those held out */
	double		rows = Min(last, 1.5 * e->events / Max(moments_of(e), 1));
	double		pair = 2.0 * config->attention[1];
	double		columns = 0;
	double		training;
	double		serving;

	for (int t = 0; t < config->n_task; t++)
		if (config->task[t].kind == NN_NEXT_ITEM)
			columns = e->items;
	if (config->bidirectional || e->set->recency >= 0)
		rows = window;
	training = options->batch_size * (rows * (8.0 * config->hidden + 2.0 * config->E) + window * pair);
	training += 2 * Min((double) STEP_LOGITS, options->batch_size * (columns <= MOST_FULL ? columns : NEGATIVES));
	serving = STEP_VIEWS * last * (2.0 * config->hidden + config->E + pair);
	serving += Min((double) STEP_LOGITS, STEP_VIEWS * columns) + columns * config->E;
	return 1.25 * sizeof(float) * Max(training, serving);
}

/* Bytes of the pairs of items that baselines of next_item count, see baseline.c. */
static double
pair_bytes(const Estimate *e)
{
	double		events = e->events;
	double		window = events > 0 ? Min(2 * e->pairs / events, MAX_HISTORY) : 0;
	bool		next_item = false;

	for (int t = 0; t < e->model->n_tasks; t++)
		next_item |= e->model->task[t].kind == NN_NEXT_ITEM;
	return !next_item ? 0 :
		PAIR_BYTES * (Min(events, MAX_PAIRS) + Min(10 * events, MAX_PAIRS) + 2 * Min(window * events, MAX_PAIRS));
}

/* Entries of S of the memory terms of all tasks, at most: see memory.c. */
static double
memory_entries(const Estimate *e, const nn_config *config)
{
	double		entries = 0;

	for (int t = 0; t < config->n_task; t++)
		if (config->task[t].memory > 0)
			entries += Min(Min(2 * 10 * e->events, MAX_PAIRS), (double) MOST_NEIGHBOURS * e->items);
	return entries;
}

/* Bytes of the columns: of raw rows while they are read, and of what is trained on. */
static void
column_bytes(const Estimate *e, double *raw, double *kept)
{
	double		event_raw = sizeof(TimestampTz) + sizeof(int32);
	double		event_kept = sizeof(TimestampTz) + sizeof(int32);
	double		profile = 0;

	for (int g = 0; g < NN_GROUPS; g++)
		for (int f = 0; f < e->set->n[g]; f++)
		{
			const Feature *feature = &e->set->f[g][f];
			double		cells = feature->multi ? sizeof(int64) + BAG * sizeof(Cell) : sizeof(Cell);
			double		ids = feature->multi ? sizeof(int64) + BAG * sizeof(int32) : sizeof(int32);

			if (g == NN_PROFILE && feature->source == FROM_PROFILE)
				profile += ids;
			if (g != NN_ITEM && g != NN_PROPERTY)
				continue;
			event_raw += feature->source == FROM_EVENTS ? cells : 0;
			event_kept += ids;
		}
	*raw = e->users * (sizeof(RawRun) + sizeof(RawUser));
	*kept = e->users * (sizeof(User) + profile + 2 * sizeof(Stretch));
	for (int t = 0; t < e->model->n_tasks; t++)
	{
		const ModelTask *task = &e->model->task[t];

		if (!task_from_events(task))
		{
			/* user, item, time, label, candidate, and the past for baselines */
			*raw += e->samples[t] * (sizeof(TimestampTz) + sizeof(Cell) * (2 + task->n_features));
			*kept += e->samples[t] * (40 + sizeof(float) * task->n_features);
		}
		else if (task->kind == NN_MULTICLASS)
		{
			event_raw += sizeof(Cell);
			event_kept += sizeof(Cell);
		}
	}
	*raw += e->events * event_raw;
	*kept += e->events * event_kept + moments_of(e) * sizeof(Moment);
}

static void
add_cost(Estimate *e)
{
	const ModelOptions *options = &e->model->options;
	nn_config  *config = palloc(sizeof(nn_config));
	nn_layout  *layout = palloc(sizeof(nn_layout));
	char		message[256] = "too many tensors";
	char	   *json = image_config_json(e->set, e->model, e->classes, (int64) e->items);
	double		vocabulary = 0;
	double		epoch;
	int			trainings = 1;
	double		raw;
	double		kept;
	double		items;
	double		network;
	double		pairs;
	double		entries;
	double		needed;
	int			limit_kb = dupn_job_memory > 0 ? dupn_job_memory : maintenance_work_mem;

	/* a declaration that makes no network was refused */
	if (nn_config_parse(config, json, strlen(json), message, sizeof(message)) != NN_OK ||
		nn_layout_make(layout, config) != NN_OK)
		elog(ERROR, "model \"%s\" makes no network: %s", e->model->name, message);
	for (int g = 0; g < NN_GROUPS; g++)
		for (int f = 0; f < e->set->n[g]; f++)
			if (e->set->f[g][f].encoding == ENCODE_ID && e->set->f[g][f].shares < 0)
				vocabulary += e->set->f[g][f].vocab;

	add_row(e, "parameters", layout->floats, "weights",
			psprintf("%.0f of them outside of tables", (double) layout->dense_floats));

	epoch = 3 * forward_operations(e, config) / RATE / 60 / (1 + ANOTHER_WORKER * (options->workers - 1));
	if (options->compare_alone && e->model->n_tasks > 1)
		trainings += e->model->n_tasks;
	add_row(e, "training", three_digits(epoch * options->epochs * trainings), "minutes",
			psprintf("at most: %s%d epochs of %.1f minutes on %s; mostly it stops earlier",
					 trainings > 1 ? psprintf("%d trainings of ", trainings) : "", options->epochs, epoch,
					 options->workers == 1 ? "one core" : psprintf("%d cores", options->workers)));
	add_row(e, "night", three_digits(epoch / Max(count_days(e), 1)), "minutes",
			psprintf("of dupn_finetune, beside reading: one pass over the %.0f events of a day", e->events / Max(count_days(e), 1)));

	/*
	 * Of an item: its entry in the catalogue and its ids, while reading its row
	 * and its number by key, in training what softmax and baselines know of it.
	 * Of a value of a column: twice the room of an entry in a hash table.
	 */
	column_bytes(e, &raw, &kept);
	items = e->items * (CATALOGUE_BYTES + sizeof(int32) * e->set->n[NN_ITEM]) + VALUE_BYTES * vocabulary;
	raw += e->items * RAW_ITEM_BYTES;

	/* the weights, the best ones, gradients, two moments, and a step, of which each worker has a part */
	network = 5.0 * sizeof(float) * layout->floats + step_bytes(e, config);
	for (int t = 0; t < config->n_task; t++)
		if (config->task[t].kind == NN_NEXT_ITEM)
			network += e->items * (SOFTMAX_BYTES + sizeof(int32) * e->set->n[NN_ITEM]);
	for (int t = 0; t < config->n_task; t++)
		if (config->task[t].memory > 0)
			network += e->items * MEMORY_ITEM_BYTES;
	entries = memory_entries(e, config);
	kept += entries * (sizeof(int32) + sizeof(float));
	pairs = pair_bytes(e);
	/* baselines are gone when the version is stored */
	needed = PROCESS_BYTES + items + kept + Max(raw, network + Max(pairs, (double) IMAGE_PART_BYTES));
	add_row(e, "memory",
			three_digits((Min(needed, Max(limit_kb * 1024.0, PROCESS_BYTES + items + network)) +
						  (options->workers - 1) * (PROCESS_BYTES + sizeof(float) * layout->floats)) /
						 (1024 * 1024)), "MB",
			needed > limit_kb * 1024.0 ?
			psprintf("%.0f MB of rows go to temporary files: dupn.job_memory is %d MB",
					 (raw + kept + pairs) / (1024 * 1024), limit_kb / 1024) : NULL);

	/* hash tables are at most half full; the catalogue has keys, their text, a hash table and ids */
	add_row(e, "disk",
			three_digits((4.0 * layout->floats + 12 * 2 * vocabulary + 8 * entries +
						  e->items * (8 + 8 + 12 + 24 + 8 + 4 * e->set->n[NN_ITEM])) / (1024 * 1024)),
			"MB", options->keep_optimizer ?
			psprintf("of each version stored whole, and of its mapped copy; beside the newest %.3g MB of the optimizer",
					 (options->optimizer == NN_ADAM ? 8.0 : 4.0) * layout->floats / (1024 * 1024)) :
			"of each version stored whole, and of its mapped copy");
}

PGDLLEXPORT Datum
dupn_estimate(PG_FUNCTION_ARGS)
{
	Estimate	e = {0};
	char	   *index;

	InitMaterializedSRF(fcinfo, 0);
	e.result = (ReturnSetInfo *) fcinfo->resultinfo;
	e.model = model_get(PG_ARGISNULL(0) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(0)));
	model_check_use(e.model);
	e.set = model_features(e.model, CurrentMemoryContext);

	count_events(&e);
	count_vocabularies(&e);
	find_widths(&e);
	for (int t = 0; t < e.model->n_tasks; t++)
		count_task(&e, t);
	add_cost(&e);
	if (e.model->n_tasks == 0)
		estimate_warn(&e, "the model has no task yet: add one with dupn_add_task");
	index = missing_event_index(e.model);
	if (index != NULL)
		estimate_warn(&e, psprintf("without this index each vector reads the whole table: %s", index));
	return (Datum) 0;
}
