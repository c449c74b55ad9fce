/*-------------------------------------------------------------------------
 *
 * target.c
 *	  The user's table that a refresh writes
 *
 * Its statements are planned without sequential scans: a table that was empty
 * when they were planned need not be so when they run for the thousandth time.
 *
 *-------------------------------------------------------------------------
 */
#include "train/target.h"

#include "access/stratnum.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "model/check.h"
#include "serve/item_vectors.h"
#include "parser/parse_coerce.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"
#include "nodes/makefuncs.h"

/* ---------------- what it must be ---------------- */

static Oid
dupn_vector_type(void)
{
	Datum		type;
	bool		isnull;

	if (state_read("SELECT t.oid FROM pg_catalog.pg_type t JOIN pg_catalog.pg_extension e"
				   " ON t.typnamespace OPERATOR(pg_catalog.=) e.extnamespace"
				   " WHERE e.extname OPERATOR(pg_catalog.=) 'dupn' AND t.typname OPERATOR(pg_catalog.=) 'dupn_vector'",
				   0, NULL, NULL, NULL, &type, &isnull) == 0)
		elog(ERROR, "type dupn_vector is not there");
	return DatumGetObjectId(type);
}

/* The statement that makes a table as it should be. */
static char *
create_statement(const Target *target, const char *name)
{
	const char *key = quote_identifier(target->key_column);

	return psprintf("CREATE TABLE %s (%s %s, version int, vector %s NOT NULL, as_of timestamptz NOT NULL, PRIMARY KEY (%s, version));",
					name, key, format_type_be(target->key_type),
					target->items ? "real[]" : format_type_be(target->vector_type), key);
}

static Oid
find_table(const Target *target, const char *name)
{
	RangeVar   *range = makeRangeVarFromNameList(dupn_name_list(name));
	Oid			relation = RangeVarGetRelid(range, NoLock, true);
	char		kind;

	if (!OidIsValid(relation))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table %s does not exist", name),
				 errhint("%s", create_statement(target, name))));
	kind = get_rel_relkind(relation);
	if (kind != RELKIND_RELATION && kind != RELKIND_PARTITIONED_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("%s is not a table", name),
				 errhint("%s", create_statement(target, "name"))));
	if (get_rel_persistence(relation) == RELPERSISTENCE_TEMP)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("table %s is temporary", name),
				 errdetail("The job that writes it is another session.")));
	return relation;
}

/* A column of the table: its number, and its type looked through domains. */
static AttrNumber
find_column(const Target *target, Oid relation, const char *column, const char *type_name, Oid *type)
{
	AttrNumber	attnum = relation_column(relation, column, type);

	if (attnum == InvalidAttrNumber)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("table %s has no column \"%s\"", target->name, column),
				 errhint("ALTER TABLE %s ADD COLUMN %s %s;", target->name, quote_identifier(column), type_name)));
	*type = getBaseType(*type);
	return attnum;
}

static void pg_attribute_noreturn()
wrong_type(const Target *target, const char *column, Oid type, const char *wanted)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATATYPE_MISMATCH),
			 errmsg("column \"%s\" of table %s has type %s, not %s",
					column, target->name, format_type_be(type), wanted)));
}

/* The owner writes, whoever asks for it. */
static void
check_rights(const Target *target, const Model *model, Oid relation)
{
	AclMode		wanted = ACL_SELECT | ACL_INSERT | ACL_UPDATE | ACL_DELETE;

	if (pg_class_aclmask(relation, model->owner_oid, wanted, ACLMASK_ALL) != wanted)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for table %s", target->name),
				 errdetail("It is written as role \"%s\", who owns model \"%s\".", model->owner, model->name),
				 errhint("GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO %s;",
						 target->name, quote_identifier(model->owner))));
}

/* The model's name for users or items, or another one that the table has instead. */
static char *
choose_key(const Model *model, bool items, Oid relation)
{
	const Relations *relations = &model->relations;
	const char *names[3];
	int			n = 0;

	names[n++] = items ? relations->item_key : relations->user_column;
	if (items && relations->catalog)
		names[n++] = relations->catalog_key;
	names[n++] = items ? "item_id" : "user_id";
	for (int i = 0; i < n; i++)
		if (relation_column(relation, names[i], NULL) != InvalidAttrNumber)
			return pstrdup(names[i]);
	return pstrdup(names[0]);
}

static void
check_vector(Target *target, Oid type)
{
	const char *vector = format_type_be(target->vector_type);

	target->floats = type != target->vector_type;
	if (target->floats ? !can_coerce_type(1, (Oid[]) {FLOAT4ARRAYOID}, &type, COERCION_ASSIGNMENT) : target->items)
		wrong_type(target, "vector", type,
				   psprintf("%sreal[] or a type that real[] is cast to", target->items ? "" : psprintf("%s, ", vector)));
}

Target *
target_open(const Model *model, const char *name, bool items)
{
	Target	   *target = palloc0(sizeof(Target));
	Oid			events = relation_oid(model->relations.events);
	Oid			key_type = items ? item_key_type(model) :
		column_type(events, model->relations.events, model->relations.user_column);
	Oid			relation;
	Oid			type;
	AttrNumber	key[2];

	target->items = items;
	target->vector_type = dupn_vector_type();
	target->key_column = choose_key(model, items, InvalidOid);
	target->key_type = key_type;
	relation = find_table(target, name);
	target->name = quote_qualified_identifier(get_namespace_name(get_rel_namespace(relation)),
											  get_rel_name(relation));
	target->key_column = choose_key(model, items, relation);

	key[0] = find_column(target, relation, target->key_column, format_type_be(key_type), &type);
	if (type != getBaseType(key_type))
		wrong_type(target, target->key_column, type, format_type_be(key_type));
	target->key_type = type;
	key[1] = find_column(target, relation, "version", "int", &type);
	if (type != INT4OID)
		wrong_type(target, "version", type, "integer");
	find_column(target, relation, "vector", items ? "real[]" : format_type_be(target->vector_type), &type);
	check_vector(target, type);
	find_column(target, relation, "as_of", "timestamptz", &type);
	if (type != TIMESTAMPTZOID)
		wrong_type(target, "as_of", type, "timestamp with time zone");
	if (!has_index(relation, key, 2, true))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
				 errmsg("table %s has no primary key on (%s, version)", target->name,
						quote_identifier(target->key_column)),
				 errhint("ALTER TABLE %s ADD PRIMARY KEY (%s, version);", target->name,
						 quote_identifier(target->key_column))));
	check_rights(target, model, relation);
	return target;
}

/* ---------------- statements ---------------- */

static void
execute(SPIPlanPtr *plan, const char *sql, int n, const Oid *types, const Datum *values, int expected)
{
	int			settings = NewGUCNestLevel();
	int			code;

	(void) set_config_option("enable_seqscan", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	(void) set_config_option("jit", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	if (*plan == NULL)
	{
		SPIPlanPtr	made = SPI_prepare_cursor(sql, n, unconstify(Oid *, types), CURSOR_OPT_GENERIC_PLAN);

		if (made == NULL || SPI_keepplan(made) != 0)
			elog(ERROR, "could not prepare \"%s\": %s", sql, SPI_result_code_string(SPI_result));
		*plan = made;
	}
	code = SPI_execute_plan(*plan, unconstify(Datum *, values), NULL, false, 0);
	if (code != expected)
		elog(ERROR, "could not execute \"%s\": %s", sql, SPI_result_code_string(code));
	AtEOXact_GUC(true, settings);
}

static void
append_key(StringInfo sql, const Target *target, int strategy, const char *right)
{
	append_operator(sql, psprintf("t.%s", quote_identifier(target->key_column)),
					target->key_type, strategy, right);
}

bool
target_empty(const Target *target)
{
	bool		empty;

	spi_connect();
	if (SPI_execute(psprintf("SELECT FROM %s LIMIT 1", target->name), true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read table %s", target->name);
	empty = SPI_processed == 0;
	SPI_finish();
	return empty;
}

void
target_look(Target *target, const Datum *keys, int n, int32 version, TimestampTz *as_of)
{
	Oid			types[] = {get_array_type(target->key_type), INT4OID};
	Datum		values[2];
	StringInfoData sql;

	initStringInfo(&sql);
	if (target->look == NULL)
	{
		appendStringInfo(&sql, "SELECT u.place, t.as_of FROM pg_catalog.unnest($1) WITH ORDINALITY u(id, place)"
						 " CROSS JOIN LATERAL (SELECT t.as_of FROM %s t WHERE ", target->name);
		append_key(&sql, target, BTEqualStrategyNumber, "u.id");
		appendStringInfoString(&sql, " AND t.version OPERATOR(pg_catalog.=) $2 OFFSET 0) t");
	}
	values[0] = spi_array(keys, NULL, n, target->key_type);
	values[1] = Int32GetDatum(version);
	execute(&target->look, sql.data, 2, types, values, SPI_OK_SELECT);
	for (int i = 0; i < n; i++)
		as_of[i] = DT_NOBEGIN;
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		bool		isnull;
		int64		place = DatumGetInt64(SPI_getbinval(row, SPI_tuptable->tupdesc, 1, &isnull));
		Datum		moment = SPI_getbinval(row, SPI_tuptable->tupdesc, 2, &isnull);

		if (!isnull)
			as_of[place - 1] = DatumGetTimestampTz(moment);
	}
	SPI_freetuptable(SPI_tuptable);
}

void
target_write(Target *target, const Datum *keys, DupnVector *const *vectors, int n,
			 int32 version, TimestampTz as_of)
{
	Oid			types[] = {get_array_type(target->key_type), get_array_type(target->vector_type),
	INT4OID, TIMESTAMPTZOID};
	Datum		values[4];
	Datum	   *vector;
	StringInfoData sql;

	if (n == 0)
		return;
	initStringInfo(&sql);
	if (target->write == NULL)
	{
		const char *key = quote_identifier(target->key_column);

		appendStringInfo(&sql, "INSERT INTO %s AS t (%s, version, vector, as_of)"
						 " SELECT s.id, $3, %s, $4 FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) s(id, vector)"
						 " ON CONFLICT (%s, version) DO UPDATE SET vector = excluded.vector, as_of = excluded.as_of"
						 " WHERE t.as_of IS NULL OR t.as_of OPERATOR(pg_catalog.<=) excluded.as_of",
						 target->name, key, target->floats ? "s.vector::pg_catalog.float4[]" : "s.vector", key);
	}
	vector = palloc(sizeof(Datum) * n);
	for (int i = 0; i < n; i++)
		vector[i] = PointerGetDatum(vectors[i]);
	values[0] = spi_array(keys, NULL, n, target->key_type);
	values[1] = spi_array(vector, NULL, n, target->vector_type);
	values[2] = Int32GetDatum(version);
	values[3] = TimestampTzGetDatum(as_of);
	execute(&target->write, sql.data, 4, types, values, SPI_OK_INSERT);
}

/* The keys of the next n rows, into a new array; how many. */
static int
list_rows(Target *target, Datum last, bool last_null, int n, Datum **keys)
{
	Oid			types[] = {target->key_type};
	StringInfoData sql;
	int			found;

	initStringInfo(&sql);
	if ((last_null ? target->first : target->next) == NULL)
	{
		/* a unique index lets rows of nobody in */
		appendStringInfo(&sql, "SELECT t.%s FROM %s t WHERE ", quote_identifier(target->key_column), target->name);
		if (last_null)
			appendStringInfo(&sql, "t.%s IS NOT NULL", quote_identifier(target->key_column));
		else
			append_key(&sql, target, BTGreaterStrategyNumber, "$1");
		appendStringInfo(&sql, " ORDER BY t.%s LIMIT %d", quote_identifier(target->key_column), n);
	}
	execute(last_null ? &target->first : &target->next, sql.data, last_null ? 0 : 1, types, &last, SPI_OK_SELECT);
	found = (int) SPI_processed;
	*keys = palloc(sizeof(Datum) * Max(found, 1));
	for (int i = 0; i < found; i++)
	{
		bool		isnull;

		(*keys)[i] = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull);
	}
	return found;
}

bool
target_remove(Target *target, Datum *last, bool *last_null, MemoryContext context, int n,
			  int32 version, TimestampTz as_of, bool keep_others, int64 *removed)
{
	Oid			types[] = {get_array_type(target->key_type), INT4OID, TIMESTAMPTZOID, BOOLOID};
	Datum		values[4];
	Datum	   *keys;
	int			found = list_rows(target, *last, *last_null, n, &keys);
	MemoryContext caller;
	StringInfoData sql;
	int16		length;
	bool		by_value;

	if (found == 0)
		return false;
	initStringInfo(&sql);
	if (target->remove == NULL)
	{
		appendStringInfo(&sql, "DELETE FROM %s t WHERE ", target->name);
		append_key(&sql, target, BTEqualStrategyNumber, "ANY ($1)");
		appendStringInfoString(&sql, " AND CASE WHEN t.version OPERATOR(pg_catalog.=) $2"
							   " THEN t.as_of IS NULL OR t.as_of OPERATOR(pg_catalog.<) $3 ELSE NOT $4 END");
	}
	values[0] = spi_array(keys, NULL, found, target->key_type);
	values[1] = Int32GetDatum(version);
	values[2] = TimestampTzGetDatum(as_of);
	values[3] = BoolGetDatum(keep_others);
	execute(&target->remove, sql.data, 4, types, values, SPI_OK_DELETE);
	*removed += (int64) SPI_processed;

	caller = MemoryContextSwitchTo(context);
	get_typlenbyval(target->key_type, &length, &by_value);
	if (!*last_null && !by_value)
		pfree(DatumGetPointer(*last));
	*last = datumCopy(keys[found - 1], by_value, length);
	*last_null = false;
	MemoryContextSwitchTo(caller);
	return true;
}
