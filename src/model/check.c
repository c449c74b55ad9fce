/*-------------------------------------------------------------------------
 *
 * check.c
 *	  Is the declaration of a model right, and may the caller read what it reads?
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "catalog/pg_statistic.h"
#include "catalog/pg_type.h"
#include "hint.h"
#include "model/check.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/syscache.h"

/* ---------------- rights ---------------- */

void
check_select(const Model *model, Oid relation, AttrNumber attnum, const char *column)
{
	const char *name;
	const char *schema;

	if (pg_class_aclcheck(relation, GetUserId(), ACL_SELECT) == ACLCHECK_OK ||
		pg_attribute_aclcheck(relation, attnum, GetUserId(), ACL_SELECT) == ACLCHECK_OK)
		return;
	name = get_rel_name(relation);
	schema = get_namespace_name(get_rel_namespace(relation));
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied for %s %s",
					get_rel_relkind(relation) == RELKIND_VIEW ? "view" : "table", name),
			 errdetail("Model \"%s\" reads its column \"%s\".", model->name, column),
			 errhint("GRANT SELECT ON %s TO %s;", quote_qualified_identifier(schema, name),
					 quote_identifier(GetUserNameFromId(GetUserId(), false)))));
}

static bool
may_select(const Model *model, Oid relation, const char *column)
{
	AttrNumber	attnum = relation_column(relation, column, NULL);

	if (attnum == InvalidAttrNumber)
		return false;
	check_select(model, relation, attnum, column);
	return true;
}

/* Moves on when rights may have changed; from 1 on. */
static uint64 moment = 0;

static void
relation_changed(Datum argument, Oid relation)
{
	moment++;
}

static void
role_changed(Datum argument, int cache, uint32 hash)
{
	moment++;
}

static void
watch_rights(void)
{
	if (moment > 0)
		return;
	CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(NAMESPACEOID, role_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHOID, role_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHMEMROLEMEM, role_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(DATABASEOID, role_changed, (Datum) 0);
	moment = 1;
}

static void
check_use(const Model *model)
{
	const Relations *relations = &model->relations;
	Oid			events = relation_oid(relations->events);
	Oid			catalog = relations->catalog ? relation_oid(relations->catalog) : InvalidOid;

	may_select(model, events, relations->user_column);
	may_select(model, events, relations->time_column);
	for (int i = 0; i < model->n_item; i++)
		if (!may_select(model, events, model->item_columns[i]) && OidIsValid(catalog))
			may_select(model, catalog, model->item_columns[i]);
	for (int i = 0; i < model->n_behavior; i++)
		may_select(model, events, model->behavior_columns[i]);
	if (OidIsValid(catalog))
		may_select(model, catalog, relations->catalog_key);
	if (relations->profile != NULL)
	{
		Oid			profile = relation_oid(relations->profile);

		may_select(model, profile, relations->profile_key);
		for (int i = 0; i < model->n_profile; i++)
			may_select(model, profile, model->profile_columns[i]);
	}
}

void
model_check_use(const Model *model)
{
	uint64		now;

	watch_rights();
	now = moment;
	if (model->use && model->use->moment == now && model->use->user == GetUserId())
		return;
	check_use(model);
	if (model->use)
		*model->use = (ModelUse) {.user = GetUserId(),.moment = now};
}

/* ---------------- relations and keys ---------------- */

void
check_relation(Oid relation, const char *name)
{
	switch (get_rel_relkind(relation))
	{
		case RELKIND_RELATION:
		case RELKIND_PARTITIONED_TABLE:
		case RELKIND_VIEW:
		case RELKIND_MATVIEW:
		case RELKIND_FOREIGN_TABLE:
			break;
		default:
			ereport(ERROR,
					(errcode(ERRCODE_WRONG_OBJECT_TYPE),
					 errmsg("%s is not a table", name),
					 errhint("Tables, views, materialized views and foreign tables can be read.")));
	}
	if (get_rel_persistence(relation) == RELPERSISTENCE_TEMP)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
				 errmsg("relation \"%s\" is temporary", get_rel_name(relation)),
				 errdetail("Jobs run in sessions of their own and cannot see it.")));
}

AttrNumber
check_column(Oid relation, const char *relation_name, const char *what, const char *column, Oid *type)
{
	AttrNumber	attnum = relation_column(relation, column, type);

	if (attnum == InvalidAttrNumber)
	{
		int			n;
		const char **names = relation_columns(relation, &n);

		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("%s \"%s\" of relation %s does not exist", what, column, relation_name),
				 errhint("%s", name_hint("column", column, names, n))));
	}
	return attnum;
}

/* Ids, and numeric as the id that some systems make of it. */
static void
check_key_type(const char *what, const char *column, Oid type)
{
	if (type_use(type) != TYPE_ID && getBaseType(type) != NUMERICOID)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("%s \"%s\" has type %s, which cannot be a key", what, column, format_type_be(type)),
				 errhint("Integers, numeric, text, uuid, boolean and enums can.")));
}

void
check_same_key(const char *what, const char *column, Oid type,
			   const char *other_what, const char *other, Oid other_type)
{
	if (!same_key_type(type, other_type))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("%s \"%s\" has type %s, but %s \"%s\" has type %s",
						what, column, format_type_be(type),
						other_what, other, format_type_be(other_type)),
				 errhint("They must name the same things: cast one of them in a view.")));
}

void
check_time_type(const char *column, Oid type)
{
	switch (getBaseType(type))
	{
		case TIMESTAMPTZOID:
		case TIMESTAMPOID:
		case DATEOID:
			return;
		case INT4OID:
		case INT8OID:
		case FLOAT8OID:
		case NUMERICOID:
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("time column \"%s\" has type %s", column, format_type_be(type)),
					 errhint("Read seconds since 1970 through a view or a generated column with to_timestamp(%s).",
							 quote_identifier(column))));
			break;
		default:
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("time column \"%s\" has type %s", column, format_type_be(type)),
					 errhint("Use timestamp with time zone, timestamp or date.")));
	}
}

/* ---------------- notices ---------------- */

static char *
with_commas(double number)
{
	char	   *digits = psprintf("%.0f", number);
	int			length = strlen(digits);
	StringInfoData out;

	initStringInfo(&out);
	for (int i = 0; i < length; i++)
	{
		if (i > 0 && (length - i) % 3 == 0)
			appendStringInfoChar(&out, ',');
		appendStringInfoChar(&out, digits[i]);
	}
	return out.data;
}

/* How many different values ANALYZE estimates, 0: it does not say. */
static double
distinct_values(Oid relation, AttrNumber attnum)
{
	double		distinct = 0;

	if (check_enable_rls(relation, InvalidOid, true) == RLS_ENABLED)
		return 0;				/* statistics are about rows that the caller may not see */
	for (int inherited = 1; inherited >= 0 && distinct == 0; inherited--)
	{
		HeapTuple	tuple = SearchSysCache3(STATRELATTINH, ObjectIdGetDatum(relation),
											Int16GetDatum(attnum), BoolGetDatum(inherited != 0));

		if (!HeapTupleIsValid(tuple))
			continue;
		distinct = ((Form_pg_statistic) GETSTRUCT(tuple))->stadistinct;
		ReleaseSysCache(tuple);
	}
	if (distinct < 0)
	{
		HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relation));
		double		rows = HeapTupleIsValid(tuple) ? ((Form_pg_class) GETSTRUCT(tuple))->reltuples : 0;

		if (HeapTupleIsValid(tuple))
			ReleaseSysCache(tuple);
		distinct = rows > 0 ? Max(-distinct * rows, 1) : 0;
	}
	return distinct;
}

static void
notice_feature(const FeatureSet *set, const Feature *feature, Oid relation, const char *origin)
{
	AttrNumber	attnum = relation_column(relation, feature->name, NULL);
	double		distinct = attnum != InvalidAttrNumber ? distinct_values(relation, attnum) : 0;
	char	   *how;

	if (feature->shares >= 0)
		how = psprintf("shares the table of \"%s\"", set->f[NN_ITEM][feature->shares].name);
	else if (feature->encoding == ENCODE_BANDS)
		how = psprintf("in bands (%d)", feature->bands);
	else if (feature->encoding == ENCODE_HASH)
		how = psprintf("hashed into " INT64_FORMAT " buckets", feature->buckets);
	else if (feature->min_count == NEVER_ENOUGH)
		how = pstrdup("taken as key alone");
	else if (feature->words[0] != '\0')
		how = psprintf("taken as words (%s)", feature->words);
	else
		how = pstrdup(feature->multi ? "taken as a set of ids" : "taken as id");

	if (feature->encoding == ENCODE_ID && !feature->multi && distinct > 0 && feature->min_count != NEVER_ENOUGH)
		how = psprintf("about %s value%s, %s", with_commas(distinct), distinct < 1.5 ? "" : "s", how);
	ereport(NOTICE,
			(errmsg("%s: %s%s, %s", feature->name, feature->type_name, origin, how)));
}

bool
has_index(Oid relation, const AttrNumber *attnums, int n, bool unique)
{
	Relation	rel = relation_open(relation, AccessShareLock);
	List	   *indexes = RelationGetIndexList(rel);
	ListCell   *cell;
	bool		found = false;

	foreach(cell, indexes)
	{
		Relation	index = relation_open(lfirst_oid(cell), AccessShareLock);
		Form_pg_index form = index->rd_index;
		bool		fits = form->indisvalid && index->rd_rel->relam == BTREE_AM_OID &&
			heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL) &&
			(unique ? form->indisunique && form->indnkeyatts == n : form->indnkeyatts >= n);

		for (int i = 0; i < n && fits; i++)
			fits = form->indkey.values[i] == attnums[i];
		found = found || fits;
		relation_close(index, AccessShareLock);
	}
	relation_close(rel, AccessShareLock);
	return found;
}

static bool
can_have_index(Oid relation)
{
	char		kind = get_rel_relkind(relation);

	return kind == RELKIND_RELATION || kind == RELKIND_PARTITIONED_TABLE || kind == RELKIND_MATVIEW;
}

bool
has_event_index(const Model *model)
{
	const Relations *relations = &model->relations;
	Oid			events = relation_oid(relations->events);
	AttrNumber	attnums[2];

	attnums[0] = relation_column(events, relations->user_column, NULL);
	attnums[1] = relation_column(events, relations->time_column, NULL);
	return can_have_index(events) && has_index(events, attnums, 2, false);
}

char *
missing_event_index(const Model *model)
{
	const Relations *relations = &model->relations;

	if (!can_have_index(relation_oid(relations->events)) || has_event_index(model))
		return NULL;
	return psprintf("CREATE INDEX ON %s (%s, %s);", relations->events,
					quote_identifier(relations->user_column), quote_identifier(relations->time_column));
}

static void
notice_key_index(const char *what, const char *name, const char *key)
{
	Oid			relation = relation_oid(name);
	AttrNumber	attnum = relation_column(relation, key, NULL);

	if (can_have_index(relation) && !has_index(relation, &attnum, 1, true))
		ereport(NOTICE,
				(errmsg("%s %s has no unique index on (%s); of several rows with one key any may be read",
						what, name, quote_identifier(key)),
				 errhint("CREATE UNIQUE INDEX ON %s (%s);", name, quote_identifier(key))));
}

static void
notices(const Model *model, const FeatureSet *set)
{
	const Relations *relations = &model->relations;
	char	   *index = missing_event_index(model);

	for (int g = 0; g < NN_GROUPS; g++)
		for (int f = 0; f < set->n[g]; f++)
		{
			const Feature *feature = &set->f[g][f];

			switch (feature->source)
			{
				case FROM_EVENTS:
					notice_feature(set, feature, relation_oid(relations->events), "");
					break;
				case FROM_CATALOG:
					notice_feature(set, feature, relation_oid(relations->catalog), " of the catalog");
					break;
				case FROM_PROFILE:
					notice_feature(set, feature, relation_oid(relations->profile), " of the profile");
					break;
				case FROM_CONTEXT:
					notice_feature(set, feature, InvalidOid,
								   model->n_tasks == 0 && feature->shares < 0 ?
								   " of the context until a task's samples have it" : " of the context");
					break;
				case FROM_SAMPLES:
				case FROM_TIME:
				case FROM_WINDOW:
					break;
			}
		}
	if (index != NULL)
		ereport(NOTICE,
				(errmsg("%s has no index on (%s, %s); each vector would read the whole table",
						relations->events, quote_identifier(relations->user_column),
						quote_identifier(relations->time_column)),
				 errhint("%s", index)));
	if (relations->catalog != NULL)
		notice_key_index("catalog", relations->catalog, relations->catalog_key);
	if (relations->profile != NULL)
		notice_key_index("profile", relations->profile, relations->profile_key);
}

/* ---------------- the network ---------------- */

/* Each width is in its range; do they all fit together? */
void
model_check_network(const Model *model, const FeatureSet *set)
{
	FeatureSet *widest = palloc(sizeof(FeatureSet));
	nn_config  *config = palloc(sizeof(nn_config));
	int			classes[NN_MAX_TASKS];
	char		message[256];
	char	   *json;

	/* before anything is counted: as if there were very many values of everything */
	memcpy(widest, set, sizeof(FeatureSet));
	for (int g = 0; g < NN_GROUPS; g++)
		for (int f = 0; f < widest->n[g]; f++)
			if (widest->f[g][f].vocab == 0)
				widest->f[g][f].vocab = 1 << 24;
	for (int t = 0; t < NN_MAX_TASKS; t++)
		classes[t] = 2;
	json = image_config_json(widest, model, classes, 1);
	if (nn_config_parse(config, json, strlen(json), message, sizeof(message)) != NN_OK)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("the columns and options of model \"%s\" make no network", model->name),
				 errdetail("%s", message),
				 errhint("Make \"widths\" smaller, or name fewer columns.")));
}

/* ---------------- the whole ---------------- */

void
model_check(const Model *model, bool with_notices)
{
	const Relations *relations = &model->relations;
	Oid			events = relation_oid(relations->events);
	Oid			user_type,
				time_type,
				item_type,
				key_type;
	FeatureSet *set;

	switches_check(model);
	if (model->options.primary && model->n_tasks > 0)
		(void) model_task(model, model->options.primary);
	check_relation(events, relations->events);
	check_column(events, relations->events, "user column", relations->user_column, &user_type);
	check_key_type("user column", relations->user_column, user_type);
	check_column(events, relations->events, "time column", relations->time_column, &time_type);
	check_time_type(relations->time_column, time_type);
	if (relations->item_key != NULL &&
		relation_column(events, relations->item_key, &item_type) != InvalidAttrNumber)
		check_key_type("item key column", relations->item_key, item_type);
	if (relations->catalog != NULL)
		check_relation(relation_oid(relations->catalog), relations->catalog);
	if (relations->profile != NULL)
		check_relation(relation_oid(relations->profile), relations->profile);

	set = model_features(model, CurrentMemoryContext);
	if (set->f[NN_ITEM][0].encoding != ENCODE_ID && set->f[NN_ITEM][0].encoding != ENCODE_HASH)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the item key column \"%s\" cannot be cut into bands", relations->item_key),
				 errhint("The first item column is the item's key, which is an id.")));
	if (relations->catalog != NULL)
	{
		check_column(relation_oid(relations->catalog), relations->catalog,
					 "catalog key", relations->catalog_key, &key_type);
		check_same_key("catalog key", relations->catalog_key, key_type,
					   "item key column", relations->item_key, item_type);
	}
	if (relations->profile != NULL)
	{
		check_column(relation_oid(relations->profile), relations->profile,
					 "profile key", relations->profile_key, &key_type);
		check_same_key("profile key", relations->profile_key, key_type,
					   "user column", relations->user_column, user_type);
	}
	model_check_use(model);
	embeddings_check(model, set);
	model_check_network(model, set);
	if (with_notices)
		notices(model, set);
}
