/*-------------------------------------------------------------------------
 *
 * refreshed.c
 *	  dupn_refreshed_version: which version a table of stored vectors has
 *
 * It is read through the snapshot of the query that asks, like the rows of the
 * table, so that a query sees all rows of one version however long it takes.
 * Nobody's rights are checked: a number that says nothing of the rows, and those
 * who may read a view need no rights on the tables behind it.
 *
 *-------------------------------------------------------------------------
 */
#include "model/model.h"

#include "catalog/pg_collation.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

PG_FUNCTION_INFO_V1(dupn_refreshed_version);

/* (target) */
PGDLLEXPORT Datum
dupn_refreshed_version(PG_FUNCTION_ARGS)
{
	Oid			target = PG_GETARG_OID(0);
	char	   *schema = get_namespace_name(get_rel_namespace(target));
	char	   *name = get_rel_name(target);
	Datum		version = (Datum) 0;
	bool		isnull = true;
	ScanKeyData key;
	StateScan	scan;
	HeapTuple	row;

	if (schema == NULL || name == NULL)
		PG_RETURN_NULL();
	ScanKeyEntryInitialize(&key, 0, 1, BTEqualStrategyNumber, InvalidOid, DEFAULT_COLLATION_OID,
						   F_TEXTEQ, CStringGetTextDatum(quote_qualified_identifier(schema, name)));
	state_begin(&scan, "refresh", "refresh_pkey", 1, &key);
	if ((row = state_next(&scan)) != NULL)
		version = state_column(row, RelationGetDescr(scan.relation), "version", &isnull);
	state_end(&scan);
	if (isnull)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(version);
}
