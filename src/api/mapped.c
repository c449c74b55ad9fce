/*-------------------------------------------------------------------------
 *
 * mapped.c
 *	  dupn_prewarm and what is behind the view dupn_mapped
 *
 *-------------------------------------------------------------------------
 */
#include "api/served.h"

#include "catalog/pg_authid.h"
#include "commands/dbcommands.h"
#include "model/image.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(dupn_prewarm);
PG_FUNCTION_INFO_V1(dupn_mapped_files);

PGDLLEXPORT Datum
dupn_prewarm(PG_FUNCTION_ARGS)
{
	Model	   *model = model_get(text_argument(fcinfo, 0));
	int32		version = version_argument(fcinfo, 1);

	model_check_use(model);
	mapped_sweep();
	/* the errors of a version that is not there or not ready are image_get's */
	version = image_get(model, version)->version;
	PG_RETURN_INT64(image_prewarm(model->id, version, NULL));
}

/* ---------------- the view ---------------- */

/* A version that the caller may know of. */
typedef struct Seen
{
	char	   *model;
	int32		version;
	int64		fingerprint;
} Seen;

static Seen *
seen_versions(bool all, int *n)
{
	MemoryContext context = CurrentMemoryContext;
	OwnerGuard	guard;
	Seen	   *seen;

	owner_begin(&guard);
	if (SPI_execute("SELECT m.name, v.version, v.fingerprint, m.owner FROM _dupn.version v"
					" JOIN _dupn.model m ON m.model_id OPERATOR(pg_catalog.=) v.model_id"
					" WHERE v.fingerprint IS NOT NULL AND v.state OPERATOR(pg_catalog.<>) 'dropped' ORDER BY m.name, v.version", true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the rows of versions");
	seen = MemoryContextAlloc(context, sizeof(Seen) * Max(SPI_processed, 1));
	*n = 0;
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		TupleDesc	tupdesc = SPI_tuptable->tupdesc;
		bool		isnull;
		Oid			owner = get_role_oid(NameStr(*DatumGetName(SPI_getbinval(tuple, tupdesc, 4, &isnull))), true);

		if (!all && !(OidIsValid(owner) && has_privs_of_role(guard.user, owner)))
			continue;
		seen[*n].model = MemoryContextStrdup(context, SPI_getvalue(tuple, tupdesc, 1));
		seen[*n].version = DatumGetInt32(SPI_getbinval(tuple, tupdesc, 2, &isnull));
		seen[*n].fingerprint = DatumGetInt64(SPI_getbinval(tuple, tupdesc, 3, &isnull));
		(*n)++;
	}
	owner_end(&guard);
	return seen;
}

/* One row: a version's files, or with version NULL those of no version here. */
static void
put_files(ReturnSetInfo *result, const Seen *version, const MappedFile *weights, const MappedFile *items)
{
	const MappedFile *newest = items && (weights == NULL || items->used > weights->used) ? items : weights;
	int64		extra = weights ? weights->size - weights->bytes : 0;
	char	   *database = get_database_name(newest->database);
	Datum		values[8];
	bool		nulls[8] = {false};

	nulls[0] = database == NULL;
	if (database)
		values[0] = CStringGetTextDatum(database);
	nulls[1] = nulls[2] = version == NULL;
	if (version)
	{
		values[1] = CStringGetTextDatum(version->model);
		values[2] = Int32GetDatum(version->version);
	}
	values[3] = Int64GetDatum((weights ? weights->size : 0) + (items ? items->size : 0));
	values[4] = Int64GetDatum(extra);
	values[5] = Int64GetDatum(items ? items->size : 0);
	values[6] = TimestampTzGetDatum(time_t_to_timestamptz(newest->used));
	values[7] = BoolGetDatum((weights && mapped_in_use(weights)) || (items && mapped_in_use(items)));
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/* A file of the same content and database, made by the same library. */
static const MappedFile *
find_file(const MappedFile *files, int n, Oid database, int64 fingerprint, int format, MappedPart part)
{
	for (int i = 0; i < n; i++)
		if (files[i].finished && files[i].database == database && files[i].fingerprint == fingerprint &&
			files[i].format == format && files[i].part == part)
			return &files[i];
	return NULL;
}

/*
 * The versions that the caller's roles own; to monitors all files.  A version
 * whose content another one has, too, shares its file.
 */
PGDLLEXPORT Datum
dupn_mapped_files(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	bool		all = has_privs_of_role(GetUserId(), ROLE_PG_MONITOR);
	int			n_seen;
	int			n;
	Seen	   *seen = seen_versions(all, &n_seen);
	MappedFile *files = mapped_list(&n);

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < n; i++)
	{
		const MappedFile *file = &files[i];
		const MappedFile *weights = file;
		const MappedFile *items = NULL;
		bool		known = false;

		if (!file->finished)
			continue;
		if (file->part == MAPPED_WEIGHTS)
			items = find_file(files, n, file->database, file->fingerprint, file->format, MAPPED_ITEMS);
		else if (find_file(files, n, file->database, file->fingerprint, file->format, MAPPED_WEIGHTS))
			continue;
		else
		{
			weights = NULL;
			items = file;
		}
		for (int v = 0; v < n_seen && file->database == MyDatabaseId; v++)
			if (seen[v].fingerprint == file->fingerprint)
			{
				put_files(result, &seen[v], weights, items);
				known = true;
			}
		if (all && !known)
			put_files(result, NULL, weights, items);
	}
	return (Datum) 0;
}
