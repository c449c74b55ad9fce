/*-------------------------------------------------------------------------
 *
 * query.c
 *	  The queries that read the user's relations
 *
 * Every name is quoted and every operator qualified: a query means the same
 * under any search_path.
 *
 *-------------------------------------------------------------------------
 */
#include "features/columns.h"

#include "access/stratnum.h"
#include "catalog/namespace.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/typcache.h"
#include "utils/varlena.h"
#include "nodes/makefuncs.h"

Oid
relation_oid(const char *name)
{
	RangeVar   *range = makeRangeVarFromNameList(dupn_name_list(name));
	Oid			relation = RangeVarGetRelid(range, NoLock, true);

	if (!OidIsValid(relation))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation %s does not exist", name),
				 errhint("The model names it; restore or rename the relation, or create the model anew.")));
	return relation;
}

Oid
column_type(Oid relation, const char *relation_name, const char *column)
{
	AttrNumber	attnum = get_attnum(relation, column);

	if (attnum == InvalidAttrNumber)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("column \"%s\" of relation %s does not exist", column, relation_name),
				 errhint("The model reads it; restore or rename the column, or create the model anew.")));
	return get_atttype(relation, attnum);
}

void
append_operator(StringInfo sql, const char *left, Oid type, int strategy, const char *right)
{
	TypeCacheEntry *entry = lookup_type_cache(type, TYPECACHE_BTREE_OPFAMILY);
	Oid			operator = InvalidOid;

	if (OidIsValid(entry->btree_opf))
		operator = get_opfamily_member(entry->btree_opf, entry->btree_opintype,
									   entry->btree_opintype, strategy);
	if (!OidIsValid(operator))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("type %s has no btree operators", format_type_be(type))));
	appendStringInfo(sql, "%s OPERATOR(%s.%s) %s", left,
					 quote_identifier(get_namespace_name(get_func_namespace(get_opcode(operator)))),
					 get_opname(operator), right);
}

/* "alias.column" for the features of a group and source, each behind a comma */
static void
append_features(StringInfo sql, const FeatureSet *set, nn_group group, FeatureSource source,
				const char *alias, const char *except)
{
	for (int f = 0; f < set->n[group]; f++)
	{
		const Feature *feature = &set->f[group][f];

		if (feature->source == source && strcmp(feature->name, except) != 0)
			appendStringInfo(sql, ", %s.%s", alias, quote_identifier(feature->name));
	}
}

static void
append_event_columns(StringInfo sql, const FeatureSet *set, const Relations *relations,
					 const char *alias)
{
	appendStringInfo(sql, "%s.%s", alias, quote_identifier(relations->time_column));
	appendStringInfo(sql, ", %s.%s", alias, quote_identifier(relations->item_key));
	append_features(sql, set, NN_ITEM, FROM_EVENTS, alias, relations->item_key);
	append_features(sql, set, NN_PROPERTY, FROM_EVENTS, alias, relations->item_key);
}

/*
 * A plain descending scan of an index on (user, time); the row behind the
 * window is read for the first gap, and all rows of the last instant, among
 * which C chooses.
 */
static void
append_window(StringInfo sql, const FeatureSet *set, const Relations *relations,
			  Oid user_type, Oid time_type, int events, const char *user)
{
	const char *time = psprintf("e.%s", quote_identifier(relations->time_column));

	appendStringInfoString(sql, "SELECT ");
	append_event_columns(sql, set, relations, "e");
	appendStringInfo(sql, " FROM %s e WHERE ", relations->events);
	append_operator(sql, psprintf("e.%s", quote_identifier(relations->user_column)),
					user_type, BTEqualStrategyNumber, user);
	appendStringInfoString(sql, " AND ");
	append_operator(sql, time, time_type, BTLessStrategyNumber, "$2");
	appendStringInfo(sql, " ORDER BY %s DESC FETCH FIRST %d ROWS WITH TIES", time, events + 1);
}

char *
window_query(const FeatureSet *set, const Relations *relations, Oid user_type, Oid time_type, int events)
{
	StringInfoData sql;

	initStringInfo(&sql);
	append_window(&sql, set, relations, user_type, time_type, events, "$1");
	return sql.data;
}

/* Columns that no relation has. */
#define LISTED		"\"dupn.user\""
#define PLACE		"\"dupn.place\""
#define PLACED_KEYS	"pg_catalog.unnest($1) WITH ORDINALITY u(id, " PLACE ")"

char *
windows_query(const FeatureSet *set, const Relations *relations, Oid user_type, Oid time_type)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT e.*, u." PLACE " FROM " PLACED_KEYS " CROSS JOIN LATERAL (");
	append_window(&sql, set, relations, user_type, time_type, set->max_events, "u.id");
	appendStringInfoString(&sql, ") e ORDER BY u." PLACE);
	return sql.data;
}

/*
 * From user to user by the index: what a user has beside the first event is
 * skipped.
 */
char *
users_query(const Relations *relations, Oid user_type, Oid time_type, bool after)
{
	StringInfoData sql;
	StringInfoData first;
	StringInfoData next;
	const char *column = psprintf("e.%s", quote_identifier(relations->user_column));
	const char *time = psprintf("e.%s", quote_identifier(relations->time_column));

	initStringInfo(&first);
	if (after)
		append_operator(&first, column, user_type, BTGreaterStrategyNumber, "$3");
	else
		appendStringInfo(&first, "%s IS NOT NULL", column);
	initStringInfo(&next);
	append_operator(&next, column, user_type, BTGreaterStrategyNumber, "u." LISTED);

	initStringInfo(&sql);
	appendStringInfo(&sql, "WITH RECURSIVE u(" LISTED ") AS ((SELECT %s FROM %s e WHERE %s AND ",
					 column, relations->events, first.data);
	append_operator(&sql, time, time_type, BTLessStrategyNumber, "$1");
	appendStringInfo(&sql, " ORDER BY %s LIMIT 1) UNION ALL SELECT (SELECT %s FROM %s e WHERE %s AND ",
					 column, column, relations->events, next.data);
	append_operator(&sql, time, time_type, BTLessStrategyNumber, "$1");
	appendStringInfo(&sql, " ORDER BY %s LIMIT 1) FROM u WHERE u." LISTED " IS NOT NULL)"
					 " SELECT u." LISTED " FROM u WHERE u." LISTED " IS NOT NULL LIMIT $2", column);
	return sql.data;
}

char *
newest_query(const Relations *relations, Oid user_type, Oid time_type)
{
	StringInfoData sql;
	const char *time = psprintf("e.%s", quote_identifier(relations->time_column));

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT e.*, u." PLACE " FROM " PLACED_KEYS " CROSS JOIN LATERAL (SELECT %s FROM %s e WHERE ",
					 time, relations->events);
	append_operator(&sql, psprintf("e.%s", quote_identifier(relations->user_column)),
					user_type, BTEqualStrategyNumber, "u.id");
	appendStringInfoString(&sql, " AND ");
	append_operator(&sql, time, time_type, BTLessStrategyNumber, "$2");
	appendStringInfo(&sql, " ORDER BY %s DESC LIMIT 1) e", time);
	return sql.data;
}

/* SELECT of what training reads of an event. */
static void
append_training_columns(StringInfo sql, const FeatureSet *set, const Relations *relations, char **extra)
{
	appendStringInfo(sql, "SELECT e.%s, ", quote_identifier(relations->user_column));
	append_event_columns(sql, set, relations, "e");
	for (int f = 0; set->event_context && f < set->n[NN_CONTEXT]; f++)
		if (get_attnum(relation_oid(relations->events), set->f[NN_CONTEXT][f].name) > 0)
			appendStringInfo(sql, ", e.%s", quote_identifier(set->f[NN_CONTEXT][f].name));
	for (int i = 0; extra != NULL && extra[i] != NULL; i++)
		appendStringInfo(sql, ", e.%s", quote_identifier(extra[i]));
	appendStringInfo(sql, " FROM %s e", relations->events);
}

char *
training_query(const FeatureSet *set, const Relations *relations, char **extra, const TimedRelation *range)
{
	StringInfoData sql;

	initStringInfo(&sql);
	append_training_columns(&sql, set, relations, extra);
	if (range)
	{
		appendStringInfoString(&sql, " WHERE ");
		append_range(&sql, "e", range);
	}
	appendStringInfo(&sql, " ORDER BY e.%s, e.%s", quote_identifier(relations->user_column),
					 quote_identifier(relations->time_column));
	return sql.data;
}

void
append_range(StringInfo sql, const char *alias, const TimedRelation *relation)
{
	const char *time = psprintf("%s.%s", alias, quote_identifier(relation->time_column));

	append_operator(sql, time, relation->time_type, BTGreaterEqualStrategyNumber, psprintf("$%d", relation->first));
	appendStringInfoString(sql, " AND ");
	append_operator(sql, time, relation->time_type, BTLessStrategyNumber, psprintf("$%d", relation->first + 1));
}

char *
night_query(const FeatureSet *set, const Relations *relations, char **extra,
			const TimedRelation *relation, int n, const TimedRelation *windows, int history)
{
	Oid			user_type = column_type(relation_oid(relations->events), relations->events, relations->user_column);
	const char *user = psprintf("e.%s", quote_identifier(relations->user_column));
	const char *time = psprintf("e.%s", quote_identifier(relations->time_column));
	StringInfoData sql;
	StringInfoData columns;
	StringInfoData users;

	initStringInfo(&columns);
	append_training_columns(&columns, set, relations, extra);
	initStringInfo(&users);
	for (int i = 0; i < n; i++)
	{
		const char *column = psprintf("s.%s", quote_identifier(relation[i].user_column));

		appendStringInfo(&users, "%sSELECT %s AS " LISTED " FROM %s s WHERE %s IS NOT NULL AND ",
						 i > 0 ? " UNION " : "", column, relation[i].relation, column);
		append_range(&users, "s", &relation[i]);
	}
	if (n == 1)
		appendStringInfo(&users, " GROUP BY s.%s", quote_identifier(relation[0].user_column));

	/* ordered by number: extra columns may repeat a name */
	initStringInfo(&sql);
	if (history == 0)
	{
		appendStringInfo(&sql, "%s JOIN (%s) u ON ", columns.data, users.data);
		append_operator(&sql, user, user_type, BTEqualStrategyNumber, "u." LISTED);
		appendStringInfoString(&sql, " WHERE ");
		append_operator(&sql, time, windows->time_type, BTLessStrategyNumber, psprintf("$%d", windows->first + 1));
		appendStringInfoString(&sql, " ORDER BY 1, 2");
		return sql.data;
	}
	append_operator(&columns, psprintf(" WHERE %s", user), user_type, BTEqualStrategyNumber, "u." LISTED);
	appendStringInfo(&sql, "SELECT e.* FROM (%s) u CROSS JOIN LATERAL ((%s AND ", users.data, columns.data);
	append_operator(&sql, time, windows->time_type, BTLessStrategyNumber, psprintf("$%d", windows->first));
	appendStringInfo(&sql, " ORDER BY %s DESC FETCH FIRST %d ROWS WITH TIES) UNION ALL (%s AND ", time, history, columns.data);
	append_range(&sql, "e", windows);
	appendStringInfoString(&sql, ")) e ORDER BY 1, 2");
	return sql.data;
}

/* What the catalog has of the item features beside the key, each behind a comma. */
static void
append_catalog_columns(StringInfo sql, const FeatureSet *set, const Relations *relations)
{
	Oid			catalog = relation_oid(relations->catalog);

	for (int f = 1; f < set->n[NN_ITEM]; f++)
	{
		const char *name = set->f[NN_ITEM][f].name;

		if (strcmp(name, relations->catalog_key) != 0 && get_attnum(catalog, name) > 0)
			appendStringInfo(sql, ", c.%s", quote_identifier(name));
	}
}

/* The key of the catalog with an operator of its type. */
static void
append_catalog_key(StringInfo sql, const Relations *relations, int strategy, const char *right)
{
	append_operator(sql, psprintf("c.%s", quote_identifier(relations->catalog_key)),
					column_type(relation_oid(relations->catalog), relations->catalog, relations->catalog_key),
					strategy, right);
}

char *
catalog_query(const FeatureSet *set, const Relations *relations, bool with_keys)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT c.%s", quote_identifier(relations->catalog_key));
	if (with_keys)
		append_features(&sql, set, NN_ITEM, FROM_CATALOG, "c", relations->catalog_key);
	else
		append_catalog_columns(&sql, set, relations);
	appendStringInfo(&sql, " FROM %s c", relations->catalog);
	if (with_keys)
	{
		appendStringInfoString(&sql, " WHERE ");
		append_catalog_key(&sql, relations, BTEqualStrategyNumber, "ANY ($1)");
	}
	return sql.data;
}

char *
items_query(const Relations *relations, bool after)
{
	StringInfoData sql;
	const char *key = quote_identifier(relations->catalog_key);

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT DISTINCT c.%s FROM %s c WHERE ", key, relations->catalog);
	if (after)
		append_catalog_key(&sql, relations, BTGreaterStrategyNumber, "$2");
	else
		appendStringInfo(&sql, "c.%s IS NOT NULL", key);
	appendStringInfo(&sql, " ORDER BY c.%s LIMIT $1", key);
	return sql.data;
}

char *
item_rows_query(const FeatureSet *set, const Relations *relations)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT c.%s", quote_identifier(relations->catalog_key));
	append_catalog_columns(&sql, set, relations);
	appendStringInfo(&sql, ", u." PLACE " FROM " PLACED_KEYS " JOIN %s c ON ", relations->catalog);
	append_catalog_key(&sql, relations, BTEqualStrategyNumber, "u.id");
	return sql.data;
}

static void
append_profile_key(StringInfo sql, const Relations *relations, const char *right)
{
	append_operator(sql, psprintf("p.%s", quote_identifier(relations->profile_key)),
					column_type(relation_oid(relations->profile), relations->profile, relations->profile_key),
					BTEqualStrategyNumber, right);
}

char *
profile_query(const FeatureSet *set, const Relations *relations, bool with_key)
{
	StringInfoData sql;
	const char *key = quote_identifier(relations->profile_key);

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT p.%s", key);
	append_features(&sql, set, NN_PROFILE, FROM_PROFILE, "p", relations->profile_key);
	appendStringInfo(&sql, " FROM %s p", relations->profile);
	if (with_key)
	{
		appendStringInfoString(&sql, " WHERE ");
		append_profile_key(&sql, relations, "$1");
		appendStringInfoString(&sql, " LIMIT 1");
	}
	return sql.data;
}

char *
profiles_query(const FeatureSet *set, const Relations *relations)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT p.%s", quote_identifier(relations->profile_key));
	append_features(&sql, set, NN_PROFILE, FROM_PROFILE, "p", relations->profile_key);
	appendStringInfo(&sql, ", u." PLACE " FROM " PLACED_KEYS " JOIN %s p ON ", relations->profile);
	append_profile_key(&sql, relations, "u.id");
	return sql.data;
}
