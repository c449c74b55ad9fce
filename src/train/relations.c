/*-------------------------------------------------------------------------
 *
 * relations.c
 *	  Which relations a training reads, which columns, and which times of them
 *
 *-------------------------------------------------------------------------
 */
#include "train/dataset.h"

#include "model/check.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

static HTAB *
text_table(Build *build)
{
	HASHCTL		ctl = {.keysize = sizeof(Cell), .entrysize = sizeof(TextEntry), .hcxt = build->context};

	return hash_create("dupn label texts", 256, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/* Find the label (or within) column of an events-based task. */
static void
find_label(Build *build, Oid events, RawLabel *label, const char *name, bool texts,
		   char **extra, HTAB **extra_texts, int *n_extra)
{
	const FeatureSet *set = build->data->set;

	label->column = label->feature = -1;
	label->texts = texts ? text_table(build) : NULL;
	if (get_attnum(events, name) > 0)
	{
		label->column = *n_extra;
		extra[*n_extra] = pstrdup(name);
		extra_texts[(*n_extra)++] = label->texts;
		return;
	}
	for (int f = 0; f < set->n[NN_ITEM]; f++)
		if (strcmp(set->f[NN_ITEM][f].name, name) == 0 && !set->f[NN_ITEM][f].multi)
			label->feature = f;
	if (label->feature < 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("column \"%s\" is neither in relation %s nor an item column",
						name, build->data->model->relations.events),
				 errhint("Declare it among the model's item_columns.")));
}

/* "where" of a task: its values go the way of the column's own values. */
static void
read_conditions(Build *build, int t)
{
	const FeatureSet *set = build->data->set;
	const ModelTask *task = &build->data->model->task[t];
	JsonbIterator *iterator;
	JsonbValue	value;
	JsonbIteratorToken token;
	Condition  *condition = NULL;
	CellType	type;

	if (task->options.where == NULL)
		return;
	build->condition[t] = MemoryContextAllocZero(build->context,
												 sizeof(Condition) * 2 * NN_MAX_FEATURES);
	iterator = JsonbIteratorInit(&task->options.where->root);
	while ((token = JsonbIteratorNext(&iterator, &value, false)) != WJB_DONE)
	{
		if (token == WJB_KEY)
		{
			char	   *name = pnstrdup(value.val.string.val, value.val.string.len);
			const Feature *feature = NULL;

			for (int g = NN_ITEM; g <= NN_PROPERTY; g++)
				for (int f = 0; f < set->n[g]; f++)
					if (set->f[g][f].encoding != ENCODE_FIXED && strcmp(set->f[g][f].name, name) == 0)
						feature = &set->f[g][f];
			if (feature == NULL)
				ereport(ERROR,
						(errcode(ERRCODE_UNDEFINED_COLUMN),
						 errmsg("task \"%s\": \"where\" names \"%s\", which is no item or behavior column",
								task->name, name)));

			/* names are distinct, of columns as well as of keys, so there is room */
			condition = &build->condition[t][build->n_conditions[t]++];
			condition->group = feature->group;
			condition->feature = (int) (feature - set->f[feature->group]);
			cell_type_init(&type, feature->type, feature->encoding != ENCODE_BANDS,
						   CurrentMemoryContext);
			condition->cell = MemoryContextAlloc(build->context, sizeof(Cell));
		}
		else if (token == WJB_VALUE || token == WJB_ELEM)
		{
			char	   *text = jsonb_value_text(&value);

			if (text == NULL)
				continue;
			condition->cell = repalloc(condition->cell, sizeof(Cell) * (condition->n + 1));
			condition->cell[condition->n++] = cell_from_input(&type, text);
		}
	}
}

/*
 * The range of a relation that is read, its parameters behind those of the query
 * so far.  Inside a transaction; with the query's lifetime.
 */
static TimedRelation
add_range(Build *build, RawQuery *query, const char *relation, const char *user_column, const char *time_column,
		  TimestampTz since, TimestampTz until)
{
	Dataset    *data = build->data;
	Oid			type = getBaseType(column_type(relation_oid(relation), relation, time_column));
	int			n = query->n_arguments + 2;

	if (query->n_arguments == 0)
	{
		query->argument_type = MemoryContextAlloc(build->context, sizeof(Oid) * 2 * (NN_MAX_TASKS + 2));
		query->argument = MemoryContextAlloc(build->context, sizeof(Datum) * 2 * (NN_MAX_TASKS + 2));
	}
	query->argument_type[n - 2] = query->argument_type[n - 1] = type;
	query->argument[n - 2] = time_parameter(data->set, type, TIMESTAMP_NOT_FINITE(since) ? since : since + 1);
	query->argument[n - 1] = time_parameter(data->set, type, TIMESTAMP_NOT_FINITE(until) ? until : until + 1);
	query->n_arguments = n;
	return (TimedRelation) {.relation = relation, .user_column = user_column, .time_column = time_column,
		.time_type = type, .first = n - 1
	};
}

/* The same of a task's samples: labels that were not known then are new, too. */
static TimedRelation
add_samples_range(Build *build, RawQuery *query, const ModelTask *task)
{
	const Relations *relations = &build->data->model->relations;
	const TaskOptions *options = &task->options;
	TimestampTz since = build->data->since;

	return add_range(build, query, task->samples,
					 options->user_column ? options->user_column : relations->user_column,
					 options->time_column ? options->time_column : relations->time_column,
					 TIMESTAMP_IS_NOBEGIN(since) ? since : since - options->matures, build->data->until_read);
}

/* The query of the events: all, those of a range, or those of the users of a night. */
static void
make_events_query(Build *build, RawQuery *query, char **extra)
{
	Dataset    *data = build->data;
	const Model *model = data->model;
	const Relations *relations = &model->relations;
	TimedRelation timed[NN_MAX_TASKS + 1];
	const char *sql;
	TimestampTz reach = 0;
	bool		all_history = !has_event_index(model);
	int			n = 0;

	if (TIMESTAMP_IS_NOBEGIN(data->since) && TIMESTAMP_IS_NOEND(data->until_read))
	{
		query->sql = MemoryContextStrdup(build->context, training_query(data->set, relations, extra, NULL));
		return;
	}
	timed[n++] = add_range(build, query, relations->events, relations->user_column, relations->time_column,
						   data->since, data->until_read);
	if (TIMESTAMP_IS_NOBEGIN(data->since))
		sql = training_query(data->set, relations, extra, timed);
	else
	{
		TimedRelation windows;

		for (int t = 0; t < model->n_tasks; t++)
		{
			const TaskOptions *options = &model->task[t].options;

			all_history |= options->exclude_seen;
			reach = Max(reach, options->matures + options->embargo);
			if (model->task[t].samples)
				timed[n++] = add_samples_range(build, query, &model->task[t]);
		}

		/* samples whose labels mature tonight are of before, and so are their windows */
		windows = add_range(build, query, relations->events, relations->user_column, relations->time_column,
							data->since - reach, data->until_read);

		/* the event before the window tells its first gap; older samples have windows, too */
		sql = night_query(data->set, relations, extra, timed, n, &windows,
						  all_history ? 0 : data->set->max_events * (model->options.replay > 0 ? 2 : 1) + 1);
	}
	query->sql = MemoryContextStrdup(build->context, sql);
}

/* Append ", s.column" unless the list has it already. */
static void
append_once(StringInfo sql, List **names, const char *name)
{
	ListCell   *lc;

	foreach(lc, *names)
		if (strcmp(lfirst(lc), name) == 0)
			return;
	*names = lappend(*names, pstrdup(name));
	appendStringInfo(sql, "%ss.%s", sql->len > 7 ? ", " : "", quote_identifier(name));
}

static void
read_samples(Build *build, int t)
{
	const Model *model = build->data->model;
	const ModelTask *task = &model->task[t];
	const FeatureSet *set = build->data->set;
	RawQuery	query = {.what = task->samples, .relations = model->relations,
	.user = true, .time = true};
	const char *single[] = {task->options.weight_column, task->options.position_column, task->options.group_column};
	int			at[lengthof(single)];	/* among the extra columns */
	HTAB	  **texts = palloc0(sizeof(HTAB *) * (1 + task->n_features + lengthof(single)));
	StringInfoData sql;
	List	   *names = NIL;
	Oid			relation;
	RawRows    *rows;

	if (task->options.user_column)
		query.relations.user_column = task->options.user_column;
	if (task->options.time_column)
		query.relations.time_column = task->options.time_column;

	job_begin();
	build->n_candidate[t] = task_candidate(model, set, task, build->candidate[t]);
	relation = relation_oid(task->samples);
	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT ");
	append_once(&sql, &names, query.relations.user_column);
	append_once(&sql, &names, query.relations.time_column);
	if (get_attnum(relation, model->relations.item_key) > 0)
		append_once(&sql, &names, model->relations.item_key);
	for (int g = 0; g < NN_GROUPS; g++)
		for (int f = 0; f < set->n[g]; f++)
			if ((g == NN_ITEM || g == NN_CONTEXT || g == NN_THING) && set->f[g][f].encoding != ENCODE_FIXED &&
				get_attnum(relation, set->f[g][f].name) > 0)
				append_once(&sql, &names, set->f[g][f].name);

	/* the extra columns may repeat the others */
	if (task->label != NULL)
	{
		weights_read_labels(build, t, column_type(relation, task->samples, task->label));
		appendStringInfo(&sql, ", s.%s", quote_identifier(task->label));
		texts[query.n_extra++] = build->label[t].texts =
			task->kind == NN_MULTICLASS ? text_table(build) : NULL;
	}
	for (int i = 0; i < task->n_features; i++)
	{
		bool		flipped;
		const char *column = feature_column(task->kind, task->features[i], &flipped);

		(void) column_type(relation, task->samples, column);
		appendStringInfo(&sql, ", s.%s", quote_identifier(column));
		query.n_extra++;
	}
	for (int i = 0; i < lengthof(single); i++)
		if (single[i])
		{
			(void) column_type(relation, task->samples, single[i]);
			appendStringInfo(&sql, ", s.%s", quote_identifier(single[i]));
			at[i] = query.n_extra++;
		}
	appendStringInfo(&sql, " FROM %s s", task->samples);
	if (!TIMESTAMP_IS_NOBEGIN(build->data->since) || !TIMESTAMP_IS_NOEND(build->data->until_read))
	{
		TimedRelation timed = add_samples_range(build, &query, task);

		appendStringInfoString(&sql, " WHERE ");
		append_range(&sql, "s", &timed);
	}
	appendStringInfo(&sql, " ORDER BY s.%s",
					 quote_identifier(query.relations.user_column));
	appendStringInfo(&sql, ", s.%s", quote_identifier(query.relations.time_column));
	query.sql = MemoryContextStrdup(build->context, sql.data);
	job_commit();

	query.extra_texts = texts;
	rows = build->samples[t] = read_rows(build, &query);
	build->weight[t] = single[0] ? rows->extra + at[0] : -1;
	build->position[t] = single[1] ? rows->extra + at[1] : -1;
	rows->group = single[2] ? rows->extra + at[2] : -1;
	build->label[t].column = build->label[t].feature = -1;
	if (task->label != NULL)
	{
		build->label[t].column = rows->extra;
		build->label[t].kind = rows->column[rows->extra].kind;
	}
}

static int
compare_runs(const void *a, const void *b)
{
	const RawRun *x = a;
	const RawRun *y = b;

	if (x->user != y->user)
		return x->user < y->user ? -1 : 1;
	return x->start < y->start ? -1 : x->start > y->start;
}

/* Users as cells are in another order than in SQL, and profiles are in none. */
static void
sort_runs(RawRows *rows)
{
	rows->run = column_sorted(rows->run, compare_runs);
}

void
read_relations(Build *build)
{
	Dataset    *data = build->data;
	const Model *model = data->model;
	const Relations *relations = &model->relations;
	HTAB	   *feature_texts[NN_MAX_FEATURES] = {NULL};
	char	   *extra[2 * NN_MAX_TASKS + 1] = {NULL};
	HTAB	   *extra_texts[2 * NN_MAX_TASKS] = {NULL};
	int			n_extra = 0;
	RawQuery	events_query = {.what = relations->events, .relations = *relations,
	.user = true, .time = true, .item_texts = true};
	char	   *catalog_sql = NULL;
	char	   *profile_sql = NULL;
	bool		profile = false;

	job_begin();
	data->set = model_features(model, data->context);
	if (build->base)
		base_features(build);
	{
		Oid			events = relation_oid(relations->events);

		item_numbers_begin(build);
		for (int t = 0; t < model->n_tasks; t++)
		{
			const ModelTask *task = &model->task[t];

			if (task->samples != NULL)
				continue;
			read_conditions(build, t);
			weights_read_types(build, t);
			build->n_candidate[t] = task_candidate(model, data->set, task, build->candidate[t]);
			if (task->kind != NN_MULTICLASS)
				continue;
			{
				FeatureSource source;
				Oid			type;

				if (model_column(model, task->label, &source, NULL, &type))
					weights_read_labels(build, t, type);
			}
			find_label(build, events, &build->label[t], task->label, true,
					   extra, extra_texts, &n_extra);
			if (build->label[t].feature >= 0)
				feature_texts[build->label[t].feature] = build->label[t].texts;
			if (task->options.within)
				find_label(build, events, &build->within[t], task->options.within, false,
						   extra, extra_texts, &n_extra);
		}
	}
	for (int f = 0; f < data->set->n[NN_PROFILE]; f++)
		profile |= data->set->f[NN_PROFILE][f].source == FROM_PROFILE;
	make_events_query(build, &events_query, extra);
	if (relations->catalog)
		catalog_sql = MemoryContextStrdup(build->context, catalog_query(data->set, relations, false));
	if (profile)
		profile_sql = MemoryContextStrdup(build->context, profile_query(data->set, relations, false));
	job_commit();

	job_progress("reading", 0, 0, NULL);
	events_query.n_extra = n_extra;
	events_query.extra_texts = extra_texts;
	build->events = read_rows(build, &events_query);
	if (catalog_sql)
		build->catalog = read_rows(build, &(RawQuery) {
			.sql = catalog_sql, .what = relations->catalog, .relations = *relations,
			.key = true, .item_texts = true, .feature_texts = feature_texts
		});
	if (profile_sql)
	{
		RawQuery	query = {.sql = profile_sql, .what = relations->profile,
		.relations = *relations, .user = true};

		query.relations.user_column = relations->profile_key;
		build->profile = read_rows(build, &query);
	}
	for (int t = 0; t < model->n_tasks; t++)
	{
		if (task_from_events(&model->task[t]))
		{
			RawLabel   *labels[2] = {&build->label[t], &build->within[t]};

			for (int i = 0; i < 2; i++)
			{
				RawLabel   *label = labels[i];

				if (model->task[t].kind != NN_MULTICLASS || (i == 1 && !model->task[t].options.within))
					continue;
				if (label->column >= 0)
				{
					label->column += build->events->extra;
					label->kind = build->events->column[label->column].kind;
				}
				else
					label->kind = data->set->f[NN_ITEM][label->feature].kind;
			}
			continue;
		}
		if (model->task[t].samples == NULL)
			continue;
		job_progress("reading", 0, 0, NULL);
		read_samples(build, t);
	}
	column_store_finish(build->store);
	item_numbers_end(build);
	sort_runs(build->events);
	if (build->profile)
		sort_runs(build->profile);
	for (int t = 0; t < model->n_tasks; t++)
		if (build->samples[t])
			sort_runs(build->samples[t]);
	job_spilled(column_memory_spilled(build->data->memory));
}

