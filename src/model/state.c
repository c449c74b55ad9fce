/*-------------------------------------------------------------------------
 *
 * state.c
 *	  Schema _dupn: one statement as the extension's owner, rows without one
 *
 *-------------------------------------------------------------------------
 */
#include "model/model.h"

#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "executor/spi.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

void
state_transaction(void)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
}

ErrorData *
subtransaction_try(void (*work) (void *arg), void *arg, bool keep)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		work(arg);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
	}
	PG_END_TRY();

	/* whatever came, or the session would be left inside the subtransaction */
	if (keep && error == NULL)
		ReleaseCurrentSubTransaction();
	else
		RollbackAndReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return error;
}

void
spi_connect(void)
{
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
}

Datum
spi_array(const Datum *values, const bool *isnull, int n, Oid type)
{
	int			lower = 1;
	int16		length;
	bool		by_value;
	char		align;

	get_typlenbyvalalign(type, &length, &by_value, &align);
	return PointerGetDatum(construct_md_array(unconstify(Datum *, values), unconstify(bool *, isnull),
											  1, &n, &lower, type, length, by_value, align));
}

static uint64
run(const char *sql, int n, const Oid *types, const Datum *values, const char *nulls,
	Snapshot snapshot, bool read_only, Datum *row, bool *isnull)
{
	MemoryContext caller = CurrentMemoryContext;
	OwnerGuard	guard;
	uint64		rows;
	int			code;

	PushActiveSnapshot(snapshot);
	owner_begin(&guard);
	code = SPI_execute_with_args(sql, n, unconstify(Oid *, types), unconstify(Datum *, values),
								 nulls, read_only, 0);
	if (code < 0)
		elog(ERROR, "%s: %s", SPI_result_code_string(code), sql);
	rows = SPI_processed;
	if (rows > 0 && row != NULL)
	{
		MemoryContext spi = MemoryContextSwitchTo(caller);
		TupleDesc	tupdesc = SPI_tuptable->tupdesc;

		for (int i = 0; i < tupdesc->natts; i++)
		{
			Form_pg_attribute attribute = TupleDescAttr(tupdesc, i);

			row[i] = SPI_getbinval(SPI_tuptable->vals[0], tupdesc, i + 1, &isnull[i]);
			if (isnull[i])
				continue;
			/* a toasted value must not outlive the snapshot */
			if (attribute->attlen == -1)
				row[i] = PointerGetDatum(PG_DETOAST_DATUM_COPY(row[i]));
			else
				row[i] = datumCopy(row[i], attribute->attbyval, attribute->attlen);
		}
		MemoryContextSwitchTo(spi);
	}
	owner_end(&guard);
	PopActiveSnapshot();
	return rows;
}

uint64
state_execute(const char *sql, int n, const Oid *types, const Datum *values,
			  const char *nulls, Datum *row, bool *isnull)
{
	return run(sql, n, types, values, nulls, GetTransactionSnapshot(), false, row, isnull);
}

uint64
state_read(const char *sql, int n, const Oid *types, const Datum *values,
		   const char *nulls, Datum *row, bool *isnull)
{
	return run(sql, n, types, values, nulls, GetLatestSnapshot(), true, row, isnull);
}

/* ---------------- without SQL ---------------- */

/* A table or index of _dupn. */
static Oid
state_relation(const char *name)
{
	Oid			schema = get_namespace_oid("_dupn", true);
	Oid			relation = OidIsValid(schema) ? get_relname_relid(name, schema) : InvalidOid;

	if (!OidIsValid(relation))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation \"_dupn.%s\" does not exist", name),
				 errhint("Run CREATE EXTENSION dupn in this database.")));
	return relation;
}

void
state_key(ScanKey key, int column, int32 value)
{
	ScanKeyInit(key, column, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(value));
}

void
state_begin(StateScan *scan, const char *table, const char *index, int n, ScanKey keys)
{
	scan->relation = table_open(state_relation(table), AccessShareLock);
	scan->scan = systable_beginscan(scan->relation, index ? state_relation(index) : InvalidOid,
									index != NULL, GetActiveSnapshot(), n, keys);
}

HeapTuple
state_next(StateScan *scan)
{
	return systable_getnext(scan->scan);
}

/* The lock stays until the transaction ends, as that of a statement does. */
void
state_end(StateScan *scan)
{
	systable_endscan(scan->scan);
	table_close(scan->relation, NoLock);
}

Datum
state_column(HeapTuple tuple, TupleDesc tupdesc, const char *name, bool *isnull)
{
	int			column = row_column(tupdesc, name);

	if (column == 0)
		elog(ERROR, "no column \"%s\" in a row of _dupn", name);
	return heap_getattr(tuple, column, tupdesc, isnull);
}
