/*-------------------------------------------------------------------------
 *
 * sources.c
 *	  The relations that a version reads, and its queries on them
 *
 * The relations are those the model's row names, never those of the version's
 * bytes, which may come from a stranger.  They are read as the caller, through
 * the caller's snapshot.
 *
 *-------------------------------------------------------------------------
 */
#include "serve/session.h"

#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "nodes/params.h"
#include "utils/datum.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/plancache.h"
#include "utils/resowner.h"
#include "utils/syscache.h"

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
namespace_changed(Datum argument, int cache, uint32 hash)
{
	ListCell   *cell;

	foreach(cell, all_sources)
		((Sources *) lfirst(cell))->stale = true;
}

void
sources_clear(Sources *sources)
{
	Reading    *readings[] = {&sources->window, &sources->spare, &sources->profile, &sources->catalog,
		&sources->windows, &sources->profiles, &sources->users[false], &sources->users[true],
		&sources->newest, &sources->items[false], &sources->items[true], &sources->item_rows,
	&sources->seen, &sources->visible};

	all_sources = list_delete_ptr(all_sources, sources);
	for (int i = 0; i < lengthof(readings); i++)
	{
		if (readings[i]->plan)
			SPI_freeplan(readings[i]->plan);
		readings[i]->plan = NULL;
	}
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

	/* a name means the same until a relation or schema changes, or who asks */
	if (sources->context && !sources->stale && sources->user == GetUserId() &&
		same_relations(names, &sources->relations))
		return sources;

	if (!registered)
	{
		CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
		CacheRegisterSyscacheCallback(NAMESPACEOID, namespace_changed, (Datum) 0);
		registered = true;
	}
	oid[0] = relation_oid(names->events);
	oid[1] = names->catalog ? relation_oid(names->catalog) : InvalidOid;
	oid[2] = names->profile ? relation_oid(names->profile) : InvalidOid;
	if (OidIsValid(sources->user) && !sources->stale && memcmp(oid, sources->relation, sizeof(oid)) == 0 &&
		same_relations(names, &sources->relations))
	{
		sources->user = GetUserId();
		return sources;
	}

	sources_clear(sources);
	if (sources->context)
		MemoryContextDelete(sources->context);
	memset(sources, 0, sizeof(*sources));
	memcpy(sources->relation, oid, sizeof(oid));
	check_relation(session, model);
	sources->context = AllocSetContextCreate(session->image->context, "dupn relations",
											 ALLOCSET_SMALL_SIZES);

	/* nobody's until all of this has succeeded; stale if something changes meanwhile */
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

	sources->user_type = column_type(oid[0], names->events, names->user_column);
	sources->time_type = column_type(oid[0], names->events, names->time_column);
	(void) column_type(oid[0], names->events, names->item_key);
	if (OidIsValid(oid[1]))
		sources->catalog_key_type = column_type(oid[1], names->catalog, names->catalog_key);
	if (OidIsValid(oid[2]))
		sources->profile_key_type = column_type(oid[2], names->profile, names->profile_key);
	check_columns(&session->image->set, sources, names);
	sources->user = GetUserId();
	return sources;
}

/* ------------------------------------------------------------------------
 * Queries
 * ------------------------------------------------------------------------ */

/*
 * Make the plan for all users, if it is not there or no longer valid.  Rows of
 * one user or item are the end of a walk along an index where there is one:
 * bitmaps would read and sort all that a user ever did, and reading all of a
 * small table is cheaper than an index only as long as it lies on a disk.  Where
 * there is no index the plan's cost is as high as if it were worth compiling.
 */
static void
plan_once(SPIPlanPtr plan)
{
	static const char *const off[] = {"enable_bitmapscan", "enable_seqscan", "jit"};
	CachedPlanSource *source = linitial(SPI_plan_get_plan_sources(plan));
	int			level;

	if (source->is_valid && source->gplan && source->gplan->is_valid)
		return;
	level = NewGUCNestLevel();
	for (int i = 0; i < lengthof(off); i++)
		(void) set_config_option(off[i], "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	ReleaseCachedPlan(SPI_plan_get_cached_plan(plan), CurrentResourceOwner);
	AtEOXact_GUC(true, level);
}

void
reading_prepare(Reading *reading, const char *sql, Oid main, int n, const Oid *types)
{
	SPIPlanPtr	made;

	Assert(n <= lengthof(reading->type));
	memcpy(reading->type, types, sizeof(Oid) * n);
	reading->n = n;

	/*
	 * One plan for all users from the first call on.  Except where a plan that
	 * knows the user can leave out partitions, or what a view is made of.
	 */
	reading->generic = get_rel_relkind(main) == RELKIND_RELATION;
	made = SPI_prepare_cursor(sql, n, reading->type, reading->generic ? CURSOR_OPT_GENERIC_PLAN : 0);
	if (made == NULL || SPI_keepplan(made) != 0)
		elog(ERROR, "could not prepare \"%s\": %s", sql, SPI_result_code_string(SPI_result));
	reading->plan = made;
}

/* The reader of the rows to come; made anew when they look different. */
static void
receiver_startup(DestReceiver *self, int operation, TupleDesc tupdesc)
{
	RowReceiver *receiver = (RowReceiver *) self;
	Session    *session = receiver->session;
	Reading    *reading = receiver->reading;
	Sources    *sources = &session->sources;
	MemoryContext caller;

	if (reading->tupdesc == NULL || !equalTupleDescs(reading->tupdesc, tupdesc))
	{
		caller = MemoryContextSwitchTo(sources->context);
		reading->tupdesc = NULL;
		reading->reader = row_reader(&session->image->set, &sources->relations, tupdesc,
									 psprintf("relation %s", receiver->relation), sources->context);
		reading->tupdesc = CreateTupleDescCopy(tupdesc);
		MemoryContextSwitchTo(caller);
	}
	receiver->reader = reading->reader;
}

static bool
receiver_row(TupleTableSlot *slot, DestReceiver *self)
{
	RowReceiver *receiver = (RowReceiver *) self;

	slot_getallattrs(slot);
	receiver->take(receiver, slot->tts_values, slot->tts_isnull);
	return true;
}

static void
receiver_end(DestReceiver *self)
{
}

void
reading_run(RowReceiver *receiver, const Datum *values)
{
	const Reading *reading = receiver->reading;
	ParamListInfo params = makeParamList(reading->n);
	SPIExecuteOptions options = {.params = params,.read_only = true,.dest = &receiver->pub};
	int			code;

	if (reading->generic)
		plan_once(reading->plan);
	for (int i = 0; i < reading->n; i++)
		params->params[i] = (ParamExternData) {
		.value = values[i],.pflags = PARAM_FLAG_CONST,.ptype = reading->type[i]
	};
	receiver->pub = (DestReceiver) {
		.receiveSlot = receiver_row,.rStartup = receiver_startup,
			.rShutdown = receiver_end,.rDestroy = receiver_end,.mydest = DestTuplestore
	};
	code = SPI_execute_plan_extended(reading->plan, &options);
	if (code != SPI_OK_SELECT)
		elog(ERROR, "could not read the relations of a model: %s", SPI_result_code_string(code));
}

/*
 * Rows by the index, whatever the planner thinks of a user it does not know;
 * sorting a user's whole history to take the end of it, above all.
 */
void
reading_run_by_index(RowReceiver *receiver, const Datum *values)
{
	static const char *const setting[] = {"enable_seqscan", "enable_bitmapscan", "enable_sort", "jit"};
	int			settings = NewGUCNestLevel();

	for (int i = 0; i < lengthof(setting); i++)
		(void) set_config_option(setting[i], "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	reading_run(receiver, values);
	AtEOXact_GUC(true, settings);
}

typedef struct KeyReceiver
{
	RowReceiver receiver;
	MemoryContext memory;
	int16		length;
	bool		by_value;
	Datum	   *key;
	int			n;
} KeyReceiver;

static void
take_key(RowReceiver *receiver, const Datum *values, const bool *isnull)
{
	KeyReceiver *rows = (KeyReceiver *) receiver;
	MemoryContext caller = MemoryContextSwitchTo(rows->memory);

	rows->key[rows->n++] = rows->length == -1 ? PointerGetDatum(PG_DETOAST_DATUM_COPY(values[0])) :
		datumCopy(values[0], rows->by_value, rows->length);
	MemoryContextSwitchTo(caller);
}

int
reading_keys(Session *session, Reading *reading, const char *relation, Oid type, const Datum *values,
			 MemoryContext memory, Datum *key)
{
	KeyReceiver rows = {.receiver.session = session,.receiver.reading = reading,
		.receiver.relation = relation,.receiver.take = take_key,
	.memory = memory,.key = key};

	get_typlenbyval(type, &rows.length, &rows.by_value);
	reading_run_by_index(&rows.receiver, values);
	return rows.n;
}
