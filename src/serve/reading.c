/*-------------------------------------------------------------------------
 *
 * reading.c
 *	  A user's window, profile and items, read from the model's relations
 *
 * The relations are those the model's row names, never those of the version's
 * bytes, which may come from a stranger.  They are read as the caller, through
 * the caller's snapshot.
 *
 *-------------------------------------------------------------------------
 */
#include "serve/session.h"

#include "access/htup_details.h"
#include "access/stratnum.h"
#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* ------------------------------------------------------------------------
 * The relations of today
 * ------------------------------------------------------------------------ */

/* Sources in use, for the callback below. */
static List *all_sources = NIL;

static void
relation_changed(Datum argument, Oid relation)
{
	ListCell   *cell;

	foreach(cell, all_sources)
	{
		Sources    *sources = lfirst(cell);

		for (int i = 0; i < lengthof(sources->relation); i++)
			if (relation == InvalidOid || sources->relation[i] == relation)
				sources->stale = true;
	}
}

static void
free_plan(SPIPlanPtr *plan)
{
	if (*plan)
		SPI_freeplan(*plan);
	*plan = NULL;
}

void
sources_clear(Sources *sources)
{
	all_sources = list_delete_ptr(all_sources, sources);
	free_plan(&sources->window.plan);
	free_plan(&sources->profile.plan);
	free_plan(&sources->catalog.plan);
	free_plan(&sources->seen);
	free_plan(&sources->visible);
}

static bool
same_text(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

static bool
same_relations(const Relations *a, const Relations *b)
{
	return same_text(a->events, b->events) && same_text(a->user_column, b->user_column) &&
		same_text(a->time_column, b->time_column) && same_text(a->item_key, b->item_key) &&
		same_text(a->catalog, b->catalog) && same_text(a->catalog_key, b->catalog_key) &&
		same_text(a->profile, b->profile) && same_text(a->profile_key, b->profile_key);
}

static const char *
copy(const char *text)
{
	return text ? pstrdup(text) : NULL;
}

/* Every column that the version reads must be there. */
static void
check_columns(const FeatureSet *set, const Sources *sources, const Relations *relations)
{
	for (int group = 0; group < NN_GROUPS; group++)
		for (int i = 0; i < set->n[group]; i++)
		{
			const Feature *f = &set->f[group][i];

			if (f->source == FROM_EVENTS)
				(void) column_type(sources->relation[0], relations->events, f->name);
			else if (f->source == FROM_CATALOG)
				(void) column_type(sources->relation[1], relations->catalog, f->name);
			else if (f->source == FROM_PROFILE)
				(void) column_type(sources->relation[2], relations->profile, f->name);
		}
}

/* Does the version need a relation that the model does not have? */
static void
check_relation(const Session *session, const Model *model)
{
	const FeatureSet *set = &session->image->set;

	for (int group = 0; group < NN_GROUPS; group++)
		for (int i = 0; i < set->n[group]; i++)
		{
			const Feature *f = &set->f[group][i];

			if ((f->source == FROM_CATALOG && model->relations.catalog == NULL) ||
				(f->source == FROM_PROFILE && model->relations.profile == NULL))
				ereport(ERROR,
						(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						 errmsg("version %d of model \"%s\" reads \"%s\" from a %s, but the model has none",
								session->image->version, model->name, f->name,
								f->source == FROM_CATALOG ? "catalog" : "profile")));
		}
}

Sources *
session_sources(Session *session, const Model *model)
{
	static bool registered = false;
	Sources    *sources = &session->sources;
	const Relations *names = &model->relations;
	MemoryContext caller;
	Oid			oid[3];

	oid[0] = relation_oid(names->events);
	oid[1] = names->catalog ? relation_oid(names->catalog) : InvalidOid;
	oid[2] = names->profile ? relation_oid(names->profile) : InvalidOid;
	if (sources->context && !sources->stale && memcmp(oid, sources->relation, sizeof(oid)) == 0 &&
		same_relations(names, &sources->relations))
		return sources;

	if (!registered)
	{
		CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
		registered = true;
	}
	sources_clear(sources);
	if (sources->context)
		MemoryContextDelete(sources->context);
	memset(sources, 0, sizeof(*sources));
	check_relation(session, model);
	sources->context = AllocSetContextCreate(session->image->context, "dupn relations",
											 ALLOCSET_SMALL_SIZES);
	sources->stale = true;		/* until all of this has succeeded */

	caller = MemoryContextSwitchTo(TopMemoryContext);
	all_sources = lappend(all_sources, sources);
	MemoryContextSwitchTo(sources->context);
	sources->relations = (Relations) {
		.events = copy(names->events), .user_column = copy(names->user_column),
			.time_column = copy(names->time_column), .item_key = copy(names->item_key),
			.catalog = copy(names->catalog), .catalog_key = copy(names->catalog_key),
			.profile = copy(names->profile), .profile_key = copy(names->profile_key)
	};
	MemoryContextSwitchTo(caller);

	memcpy(sources->relation, oid, sizeof(oid));
	sources->user_type = column_type(oid[0], names->events, names->user_column);
	sources->time_type = column_type(oid[0], names->events, names->time_column);
	(void) column_type(oid[0], names->events, names->item_key);
	if (OidIsValid(oid[1]))
		sources->catalog_key_type = column_type(oid[1], names->catalog, names->catalog_key);
	if (OidIsValid(oid[2]))
		sources->profile_key_type = column_type(oid[2], names->profile, names->profile_key);
	check_columns(&session->image->set, sources, names);
	sources->stale = false;
	return sources;
}

/* ------------------------------------------------------------------------
 * Queries.  SPI is connected around all that follows, as the caller.
 * ------------------------------------------------------------------------ */

static void
prepare(SPIPlanPtr *plan, const char *sql, int n, Oid *types)
{
	SPIPlanPtr	made = SPI_prepare(sql, n, types);

	if (made == NULL || SPI_keepplan(made) != 0)
		elog(ERROR, "could not prepare \"%s\": %s", sql, SPI_result_code_string(SPI_result));
	*plan = made;
}

static void
run(SPIPlanPtr plan, Datum *values)
{
	int			code = SPI_execute_plan(plan, values, NULL, true, 0);

	if (code != SPI_OK_SELECT)
		elog(ERROR, "could not read the relations of a model: %s", SPI_result_code_string(code));
}

/* The reader of the rows that SPI has; made anew when they look different. */
static RowReader *
reader_of(Session *session, Reading *reading, const char *what)
{
	Sources    *sources = &session->sources;
	MemoryContext caller;

	if (reading->tupdesc && equalTupleDescs(reading->tupdesc, SPI_tuptable->tupdesc))
		return reading->reader;
	caller = MemoryContextSwitchTo(sources->context);
	reading->tupdesc = NULL;
	reading->reader = row_reader(&session->image->set, &sources->relations, SPI_tuptable->tupdesc,
								 psprintf("relation %s", what), sources->context);
	reading->tupdesc = CreateTupleDescCopy(SPI_tuptable->tupdesc);
	MemoryContextSwitchTo(caller);
	return reading->reader;
}

/* One row of SPI as arrays that the next call overwrites. */
static void
deform(uint64 row, Datum *values, bool *isnull)
{
	heap_deform_tuple(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, values, isnull);
}

static bool
keep_event(const Session *session, RowReader *reader, const Datum *values, const bool *isnull,
		   TimestampTz now, EventRow *row)
{
	if (isnull[reader->time - 1])
		return false;
	row->time = row_time(reader, values[reader->time - 1]);
	if (TIMESTAMP_NOT_FINITE(row->time) || row->time >= now)
		return false;
	row_encode(reader, NN_ITEM, values, isnull, row->n[0], row->id[0]);
	row_encode(reader, NN_PROPERTY, values, isnull, row->n[1], row->id[1]);
	row->item = isnull[reader->item_key - 1] ? -1 :
		catalogue_find(&session->image->catalogue,
					   cell_from_datum(&reader->item_key_type, values[reader->item_key - 1], false));
	return true;
}

static void
read_window(Session *session, const Model *model, Datum user, TimestampTz now, EventText **texts)
{
	const FeatureSet *set = &session->image->set;
	Sources    *sources = session_sources(session, model);
	MemoryContext caller = CurrentMemoryContext;
	Datum		arguments[2];
	RowReader  *reader;
	Datum	   *values;
	bool	   *isnull;
	EventRow   *row;
	int			behavior = 0;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (sources->window.plan == NULL)
	{
		Oid			types[] = {getBaseType(sources->user_type), getBaseType(sources->time_type)};

		prepare(&sources->window.plan, window_query(set, &sources->relations, sources->user_type, sources->time_type),
				2, types);
	}
	arguments[0] = user;
	arguments[1] = time_parameter(set, sources->time_type, now);
	run(sources->window.plan, arguments);

	reader = reader_of(session, &sources->window, sources->relations.events);
	values = palloc(sizeof(Datum) * SPI_tuptable->tupdesc->natts);
	isnull = palloc(sizeof(bool) * SPI_tuptable->tupdesc->natts);
	row = palloc(sizeof(EventRow));
	if (texts)
		*texts = MemoryContextAllocZero(caller, sizeof(EventText) * (SPI_processed + 1));
	if (set->types > 1)
		behavior = reader->column[NN_PROPERTY][0].attnum;

	/* newest first from SQL, oldest first in the table: mostly in order already */
	event_table_reset(session->events);
	for (uint64 i = SPI_processed; i-- > 0;)
	{
		deform(i, values, isnull);
		if (!keep_event(session, reader, values, isnull, now, row))
			continue;
		if (texts)
		{
			EventText  *text = &(*texts)[session->events->n];
			MemoryContext inner = MemoryContextSwitchTo(caller);

			text->time = row->time;
			if (!isnull[reader->item_key - 1])
				text->item = key_to_text(values[reader->item_key - 1], reader->item_key_type.type);
			if (behavior > 0 && !isnull[behavior - 1])
				text->behavior = key_to_text(values[behavior - 1], reader->column[NN_PROPERTY][0].type.type);
			MemoryContextSwitchTo(inner);
			row->item = (int32) session->events->n;
		}
		event_table_append(session->events, set, row);
	}
	event_table_sort(session->events, set, 0, 0, false);
	session->start = event_window(session->events, set, 0, session->events->n, now, &session->n);
	session->now = now;
	SPI_finish();
}

/* Nothing known: every profile feature is missing. */
static void
empty_profile(Session *session)
{
	const FeatureSet *set = &session->image->set;

	for (int f = 0; f < set->n[NN_PROFILE]; f++)
	{
		session->profile.n[f] = set->f[NN_PROFILE][f].multi ? 0 : 1;
		session->profile.id[f][0] = ID_MISSING;
	}
}

static bool
has_source(const FeatureSet *set, nn_group group, FeatureSource source)
{
	for (int f = 0; f < set->n[group]; f++)
		if (set->f[group][f].source == source)
			return true;
	return false;
}

/* A key of one relation's type as one of another's, if there can be such a one. */
static bool
convert_key(Datum key, Oid from, Oid to, Datum *converted)
{
	*converted = key;
	return getBaseType(from) == getBaseType(to) || key_from_text(key_to_text(key, from), to, converted);
}

/* The one row of a relation with a key, encoded; false: there is none. */
static bool
read_by_key(Session *session, Reading *reading, Datum key, Oid key_type, const char *relation,
			char *(*query) (const FeatureSet *, const Relations *, bool),
			nn_group group, int32 *n, int32 (*id)[NN_MAX_BAG])
{
	Sources    *sources = &session->sources;
	bool		found;

	if (reading->plan == NULL)
	{
		Oid			type = getBaseType(key_type);

		prepare(&reading->plan, query(&session->image->set, &sources->relations, true), 1, &type);
	}
	run(reading->plan, &key);
	found = SPI_processed > 0;
	if (found)
	{
		RowReader  *reader = reader_of(session, reading, relation);
		Datum	   *values = palloc(sizeof(Datum) * SPI_tuptable->tupdesc->natts);
		bool	   *isnull = palloc(sizeof(bool) * SPI_tuptable->tupdesc->natts);

		deform(0, values, isnull);
		row_encode(reader, group, values, isnull, n, id);
	}
	SPI_freetuptable(SPI_tuptable);
	return found;
}

void
read_profile(Session *session, const Model *model, Datum user, Oid user_type)
{
	Sources    *sources = session_sources(session, model);
	Datum		key;

	empty_profile(session);
	if (!has_source(&session->image->set, NN_PROFILE, FROM_PROFILE))
		return;
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (convert_key(user, user_type, sources->profile_key_type, &key))
		(void) read_by_key(session, &sources->profile, key, sources->profile_key_type,
						   sources->relations.profile, profile_query, NN_PROFILE,
						   session->profile.n, session->profile.id);
	SPI_finish();
}

void
read_user(Session *session, const AskedUser *asked, EventText **texts)
{
	Sources    *sources = session_sources(session, asked->model);
	Oid			user_type = sources->user_type;
	Datum		user = id_argument(asked->user, asked->type, user_type, "user",
								   sources->relations.user_column);

	context_encode(&session->image->set, asked->context, &session->context);
	read_profile(session, asked->model, user, user_type);
	read_window(session, asked->model, user, asked->now, texts);
}

void
read_catalog(Session *session, const Model *model, const char *key, EventRow *row)
{
	const FeatureSet *set = &session->image->set;
	Sources    *sources = session_sources(session, model);
	EventRow   *item;
	Datum		datum;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	item = palloc(sizeof(EventRow));
	if (key_from_text(key, sources->catalog_key_type, &datum) &&
		read_by_key(session, &sources->catalog, datum, sources->catalog_key_type,
					sources->relations.catalog, catalog_query, NN_ITEM, item->n[0], item->id[0]))
		for (int f = 0; f < set->n[NN_ITEM]; f++)
			if (set->f[NN_ITEM][f].source == FROM_CATALOG)
			{
				row->n[0][f] = item->n[0][f];
				memcpy(row->id[0][f], item->id[0][f], sizeof(row->id[0][f]));
			}
	SPI_finish();
}

void
read_seen(Session *session, const AskedUser *asked, bool *seen)
{
	Sources    *sources = session_sources(session, asked->model);
	const Relations *relations = &sources->relations;
	RowReader	reader = {.set = &session->image->set,.relations = relations,.time_type = sources->time_type};
	Datum		arguments[2];
	CellType	type;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (sources->seen == NULL)
	{
		Oid			types[] = {getBaseType(sources->user_type), getBaseType(sources->time_type)};
		StringInfoData sql;

		initStringInfo(&sql);
		appendStringInfo(&sql, "SELECT e.%s, e.%s FROM %s e WHERE ", quote_identifier(relations->item_key),
						 quote_identifier(relations->time_column), relations->events);
		append_operator(&sql, psprintf("e.%s", quote_identifier(relations->user_column)),
						sources->user_type, BTEqualStrategyNumber, "$1");
		appendStringInfoString(&sql, " AND ");
		append_operator(&sql, psprintf("e.%s", quote_identifier(relations->time_column)),
						sources->time_type, BTLessStrategyNumber, "$2");
		prepare(&sources->seen, sql.data, 2, types);
	}
	arguments[0] = id_argument(asked->user, asked->type, sources->user_type, "user", relations->user_column);
	arguments[1] = time_parameter(&session->image->set, sources->time_type, asked->now);
	run(sources->seen, arguments);

	cell_type_init(&type, SPI_gettypeid(SPI_tuptable->tupdesc, 1), true, CurrentMemoryContext);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull[2];
		Datum		key = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull[0]);
		Datum		time = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2, &isnull[1]);
		int32		item = isnull[0] ? -1 :
			catalogue_find(&session->image->catalogue, cell_from_datum(&type, key, false));

		/* the query's own cut is coarse for columns without a zone */
		if (item >= 0 && !isnull[1] && row_time(&reader, time) < asked->now)
			seen[item] = true;
	}
	SPI_finish();
}

void
read_visible(Session *session, const Model *model, const int32 *item, int n, bool *visible)
{
	const Catalogue *catalogue = &session->image->catalogue;
	Sources    *sources = session_sources(session, model);
	const Relations *relations = &sources->relations;
	Datum	   *keys;
	Datum		argument;
	Oid			key_type;
	CellType	type;
	int16		length;
	bool		by_value;
	char		align;
	int			n_keys = 0;

	if (relations->catalog == NULL || n == 0)
		return;
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	key_type = getBaseType(sources->catalog_key_type);
	if (sources->visible == NULL)
	{
		Oid			array = get_array_type(key_type);
		StringInfoData sql;

		initStringInfo(&sql);
		appendStringInfo(&sql, "SELECT c.%s FROM %s c WHERE ", quote_identifier(relations->catalog_key),
						 relations->catalog);
		append_operator(&sql, psprintf("c.%s", quote_identifier(relations->catalog_key)),
						sources->catalog_key_type, BTEqualStrategyNumber, "ANY ($1)");
		prepare(&sources->visible, sql.data, 1, &array);
	}

	keys = palloc(sizeof(Datum) * n);
	for (int i = 0; i < n; i++)
	{
		int64		begin = catalogue->text_offsets[item[i]];
		char	   *text = pnstrdup(catalogue->text + begin, catalogue->text_offsets[item[i] + 1] - begin);

		if (key_from_text(text, key_type, &keys[n_keys]))
			n_keys++;
		visible[item[i]] = false;
	}
	get_typlenbyvalalign(key_type, &length, &by_value, &align);
	argument = PointerGetDatum(construct_array(keys, n_keys, key_type, length, by_value, align));
	run(sources->visible, &argument);

	cell_type_init(&type, SPI_gettypeid(SPI_tuptable->tupdesc, 1), true, CurrentMemoryContext);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;
		Datum		key = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull);
		int32		found = isnull ? -1 :
			catalogue_find(catalogue, cell_from_datum(&type, key, false));

		if (found >= 0)
			visible[found] = true;
	}
	SPI_finish();
}
