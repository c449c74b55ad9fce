/*-------------------------------------------------------------------------
 *
 * state.c
 *	  One statement on schema _dupn, as the extension's owner
 *
 *-------------------------------------------------------------------------
 */
#include "model/model.h"

#include "executor/spi.h"
#include "utils/datum.h"
#include "utils/snapmgr.h"

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
