/*-------------------------------------------------------------------------
 *
 * version.c
 *	  The life of a version: building, ready, serving; its end is in retention.c
 *
 * Whoever changes which version serves, or drops one, locks the model's row
 * first, so that the version that serves is always there and ready.
 *
 *-------------------------------------------------------------------------
 */
#include "model/model.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

static int32
insert_version(int32 model_id, int64 job_id, int64 seed, int workers, Jsonb *options, const char *mode,
			   int32 parent)
{
	Oid			types[] = {INT4OID, INT8OID, INT8OID, INT4OID, JSONBOID, TEXTOID, INT4OID};
	Datum		values[] = {Int32GetDatum(model_id), Int64GetDatum(job_id), Int64GetDatum(seed),
		Int32GetDatum(workers), options ? JsonbPGetDatum(options) : (Datum) 0,
	CStringGetTextDatum(mode), Int32GetDatum(parent)};
	char		seen = job_id ? ' ' : 'n';
	char		nulls[] = {' ', seen, seen, seen, options ? ' ' : 'n', ' ', parent ? ' ' : 'n'};
	Datum		version;
	bool		isnull;

	if (state_execute("WITH m AS (UPDATE _dupn.model SET last_version = last_version OPERATOR(pg_catalog.+) 1"
					  " WHERE model_id OPERATOR(pg_catalog.=) $1 RETURNING last_version)"
					  " INSERT INTO _dupn.version (model_id, version, state, job_id, seed, workers, options, mode, parent)"
					  " SELECT $1, last_version, 'building', $2, $3, $4, $5, $6, $7 FROM m RETURNING version",
					  7, types, values, nulls, &version, &isnull) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the model has been dropped")));
	return DatumGetInt32(version);
}

int32
version_create(int32 model_id, int64 job_id, int64 seed, int workers, Jsonb *options, const char *mode,
			   int32 parent)
{
	MemoryContext caller = CurrentMemoryContext;
	int32		version;

	state_transaction();
	version = insert_version(model_id, job_id, seed, workers, options, mode, parent);
	state_execute("UPDATE _dupn.job SET version = $1 WHERE job_id OPERATOR(pg_catalog.=) $2",
				  2, (Oid[]) {INT4OID, INT8OID},
				  (Datum[]) {Int32GetDatum(version), Int64GetDatum(job_id)}, NULL, NULL, NULL);
	CommitTransactionCommand();
	MemoryContextSwitchTo(caller);
	return version;
}

int32
version_import(int32 model_id, Jsonb *options)
{
	return insert_version(model_id, 0, 0, 0, options, "import", 0);
}

/* Also the version that serves, 0: none, unless NULL. */
static char *
lock_model(int32 model_id, int32 *published)
{
	Datum		row[2];
	bool		isnull[2];

	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("cannot change which versions there are and serve during recovery"),
				 errhint("Do it on the primary; it arrives here by replication.")));
	if (state_execute("SELECT name, published FROM _dupn.model WHERE model_id OPERATOR(pg_catalog.=) $1 FOR NO KEY UPDATE",
					  1, (Oid[]) {INT4OID}, (Datum[]) {Int32GetDatum(model_id)}, NULL, row, isnull) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the model has been dropped")));
	if (published)
		*published = isnull[1] ? 0 : DatumGetInt32(row[1]);
	return TextDatumGetCString(row[0]);
}

char *
version_lock_model(int32 model_id)
{
	return lock_model(model_id, NULL);
}

int
version_finish(int32 model_id, int32 version, const VersionFacts *facts, Decision *decision)
{
	Oid			types[] = {INT4OID, INT4OID, INT8OID, INT8OID, INT8OID, INT8OID, TIMESTAMPTZOID,
	TIMESTAMPTZOID, FLOAT8OID, TEXTOID, TIMESTAMPTZOID, INT4OID, TEXTOID, TEXTOID};
	Datum		values[] = {Int32GetDatum(model_id), Int32GetDatum(version),
		Int64GetDatum(facts->parameters), Int64GetDatum(facts->events),
		Int64GetDatum(facts->users), Int64GetDatum(facts->items),
		TimestampTzGetDatum(facts->cut), TimestampTzGetDatum(facts->trained_until),
		Float8GetDatum(facts->seconds), facts->kernel ? CStringGetTextDatum(facts->kernel) : (Datum) 0,
		TimestampTzGetDatum(facts->since), Int32GetDatum(facts->nights),
	facts->recent ? CStringGetTextDatum(facts->recent) : (Datum) 0, (Datum) 0};
	char		nulls[] = "              ";
	char	   *model_name;
	int32		published;
	Datum		rejections;
	bool		isnull;

	if (facts->kernel == NULL)
		nulls[3] = nulls[4] = nulls[8] = nulls[9] = 'n';

	if (facts->recent == NULL)
		nulls[12] = 'n';
	if (TIMESTAMP_IS_NOBEGIN(facts->since))
		nulls[10] = 'n';
	if (TIMESTAMP_IS_NOBEGIN(facts->cut))
		nulls[6] = 'n';
	if (TIMESTAMP_IS_NOBEGIN(facts->trained_until))
		nulls[7] = 'n';

	model_name = lock_model(model_id, &published);
	if (decision->publish && decision->compared && published != decision->than)
	{
		decision->publish = false;
		decision->text = MemoryContextStrdup(GetMemoryChunkContext(decision),	/* outlives the transaction */
											 psprintf("waits: version %d was published meanwhile", published));
	}
	values[13] = CStringGetTextDatum(decision->text);
	if (state_execute("UPDATE _dupn.version SET state = 'ready', parameters = $3, events = $4, users = $5,"
					  " items = $6, cut = $7, trained_until = $8, seconds = $9, kernel = $10, since = $11, nights = $12,"
					  " recent = $13::pg_catalog.jsonb, decision = $14"
					  " WHERE model_id OPERATOR(pg_catalog.=) $1 AND version OPERATOR(pg_catalog.=) $2"
					  " AND state OPERATOR(pg_catalog.=) 'building'",
					  14, types, values, nulls, NULL, NULL) == 0)
		elog(ERROR, "version %d of model \"%s\" is not being built", version, model_name);
	if (decision->publish)
		version_publish(model_name, model_id, version);
	if (!decision->rejected)
		return 0;

	/* training all was tried, and need not be again the next night */
	state_execute("UPDATE _dupn.version p SET nights = 0 FROM _dupn.version v, _dupn.model m"
				  " WHERE v.model_id OPERATOR(pg_catalog.=) $1 AND v.version OPERATOR(pg_catalog.=) $2"
				  " AND v.mode OPERATOR(pg_catalog.=) 'full' AND m.model_id OPERATOR(pg_catalog.=) $1"
				  " AND p.model_id OPERATOR(pg_catalog.=) $1 AND p.version OPERATOR(pg_catalog.=) m.published",
				  2, types, values, NULL, NULL, NULL);
	state_execute("UPDATE _dupn.model SET rejections = rejections OPERATOR(pg_catalog.+) 1"
				  " WHERE model_id OPERATOR(pg_catalog.=) $1 RETURNING rejections",
				  1, types, values, NULL, &rejections, &isnull);
	return DatumGetInt32(rejections);
}

/* Another version may have the same content. */
void
version_drop_files(int32 model_id, int32 version)
{
	OwnerGuard	guard;

	owner_begin(&guard);
	if (SPI_execute_with_args("SELECT fingerprint, bytes FROM _dupn.version WHERE fingerprint IS NOT NULL"
							  " AND state OPERATOR(pg_catalog.<>) 'dropped'"
							  " GROUP BY fingerprint, bytes HAVING pg_catalog.bool_and(model_id OPERATOR(pg_catalog.=) $1"
							  " AND ($2 OPERATOR(pg_catalog.=) 0 OR version OPERATOR(pg_catalog.=) $2))",
							  2, (Oid[]) {INT4OID, INT4OID},
							  (Datum[]) {Int32GetDatum(model_id), Int32GetDatum(version)}, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the rows of versions");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		TupleDesc	tupdesc = SPI_tuptable->tupdesc;
		bool		isnull[2];
		Datum		fingerprint = SPI_getbinval(tuple, tupdesc, 1, &isnull[0]);
		Datum		bytes = SPI_getbinval(tuple, tupdesc, 2, &isnull[1]);

		if (!isnull[0] && !isnull[1])
			mapped_drop_at_commit(DatumGetInt64(fingerprint), DatumGetInt64(bytes));
	}
	owner_end(&guard);
}

void
version_check_ready(const char *model_name, int32 model_id, int32 version)
{
	Oid			types[] = {INT4OID, INT4OID};
	Datum		values[] = {Int32GetDatum(model_id), Int32GetDatum(version)};
	Datum		state;
	bool		isnull;

	/* by a statement of its own: the one that waited would see an older row */
	if (state_read("SELECT state FROM _dupn.version"
				   " WHERE model_id OPERATOR(pg_catalog.=) $1 AND version OPERATOR(pg_catalog.=) $2"
				   " AND state OPERATOR(pg_catalog.<>) 'dropped'",
				   2, types, values, NULL, &state, &isnull) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("model \"%s\" has no version %d", model_name, version),
				 errhint("The view dupn_versions lists its versions.")));
	if (strcmp(TextDatumGetCString(state), "ready") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("version %d of model \"%s\" is not ready", version, model_name),
				 errdetail("A job is building it, or has ended before it was built.")));
}

void
version_publish(const char *model_name, int32 model_id, int32 version)
{
	Oid			types[] = {INT4OID, INT4OID};
	Datum		values[] = {Int32GetDatum(model_id), Int32GetDatum(version)};

	version_lock_model(model_id);
	version_check_ready(model_name, model_id, version);
	state_execute("UPDATE _dupn.model SET previous = published, published = $2, rejections = 0"
				  " WHERE model_id OPERATOR(pg_catalog.=) $1 AND (published OPERATOR(pg_catalog.=) $2) IS NOT TRUE",
				  2, types, values, NULL, NULL, NULL);
}
