/*-------------------------------------------------------------------------
 *
 * versions.c
 *	  dupn_publish, dupn_rollback, dupn_drop_version, dupn_pin
 *
 *-------------------------------------------------------------------------
 */
#include "api/served.h"

#include "catalog/pg_type.h"
#include "fail.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(dupn_publish);
PG_FUNCTION_INFO_V1(dupn_rollback);
PG_FUNCTION_INFO_V1(dupn_drop_version);
PG_FUNCTION_INFO_V1(dupn_pin);

static int32
named_version(FunctionCallInfo fcinfo)
{
	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("version must not be null")));
	return PG_GETARG_INT32(1);
}

/* Whose control it is is another one now. */
static void
tell_of_experiment(const Model *model, int32 version)
{
	if (model->share == NULL)
		return;
	if (model->share->version == version)
		ereport(NOTICE,
				(errmsg("version %d is the candidate of experiment \"%s\", which is running: it serves both arms now",
						version, model->share->experiment),
				 errhint("End the experiment with dupn_end_share.")));
	else
		ereport(NOTICE,
				(errmsg("experiment \"%s\" is running: version %d is its control from now on",
						model->share->experiment, version)));
}

PGDLLEXPORT Datum
dupn_publish(PG_FUNCTION_ARGS)
{
	int32		version = named_version(fcinfo);
	Model	   *model = owned_model(fcinfo);

	/* rather this call waits for the file than the first user of the version */
	image_prewarm(model->id, version, NULL);
	fail_point("publish: mapped");
	version_publish(model->name, model->id, version);
	fail_point("publish: chosen");
	tell_of_experiment(model, version);
	PG_RETURN_VOID();
}

PGDLLEXPORT Datum
dupn_rollback(PG_FUNCTION_ARGS)
{
	Model	   *model = owned_model(fcinfo);
	Datum		previous;
	bool		isnull;

	(void) version_lock_model(model->id);
	if (state_read("SELECT previous FROM _dupn.model WHERE model_id OPERATOR(pg_catalog.=) $1",
				   1, (Oid[]) {INT4OID}, (Datum[]) {Int32GetDatum(model->id)}, NULL,
				   &previous, &isnull) == 0 || isnull)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("model \"%s\" has no version that served before", model->name),
				 errhint("Name a version of the view dupn_versions with dupn_publish.")));
	image_prewarm(model->id, DatumGetInt32(previous), NULL);
	fail_point("rollback: mapped");
	version_publish(model->name, model->id, DatumGetInt32(previous));
	fail_point("rollback: chosen");
	tell_of_experiment(model, DatumGetInt32(previous));
	PG_RETURN_INT32(DatumGetInt32(previous));
}

static void no_version(const Model *model, int32 version) pg_attribute_noreturn();

static void
no_version(const Model *model, int32 version)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("model \"%s\" has no version %d", model->name, version),
			 errhint("The view dupn_versions lists its versions.")));
}

/* Stored vectors are scored by the version that made them. */
static void
tell_of_tables(const Model *model, int32 version)
{
	Datum		targets;
	bool		isnull;

	if (state_read("SELECT pg_catalog.string_agg(target, ', ' ORDER BY target) FROM _dupn.refresh"
				   " WHERE model_id OPERATOR(pg_catalog.=) $1 AND version OPERATOR(pg_catalog.=) $2",
				   2, (Oid[]) {INT4OID, INT4OID}, (Datum[]) {Int32GetDatum(model->id), Int32GetDatum(version)},
				   NULL, &targets, &isnull) == 0 || isnull)
		return;
	ereport(NOTICE,
			(errmsg("vectors of version %d, which are in %s, can no longer be scored", version, TextDatumGetCString(targets)),
			 errhint("Write them anew with dupn_refresh.")));
}

PGDLLEXPORT Datum
dupn_drop_version(PG_FUNCTION_ARGS)
{
	int32		version = named_version(fcinfo);
	Model	   *model = owned_model(fcinfo);
	Datum		row[4];
	bool		isnull[4];

	/* the model's row stays locked, so that nobody publishes meanwhile */
	(void) version_lock_model(model->id);
	if (state_read("SELECT m.published OPERATOR(pg_catalog.=) $2, v.state, v.pinned,"
				   " m.previous OPERATOR(pg_catalog.=) $2 FROM _dupn.model m, _dupn.version v"
				   " WHERE m.model_id OPERATOR(pg_catalog.=) $1 AND v.model_id OPERATOR(pg_catalog.=) $1"
				   " AND v.version OPERATOR(pg_catalog.=) $2 AND v.state OPERATOR(pg_catalog.<>) 'dropped'",
				   2, (Oid[]) {INT4OID, INT4OID},
				   (Datum[]) {Int32GetDatum(model->id), Int32GetDatum(version)}, NULL, row, isnull) == 0)
		no_version(model, version);
	if (!isnull[0] && DatumGetBool(row[0]))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("version %d of model \"%s\" serves", version, model->name),
				 errhint("Publish another one first, with dupn_publish or dupn_rollback.")));
	if (share_serves(model->id, version))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("version %d of model \"%s\" serves a share of the users", version, model->name),
				 errhint("End the experiment first, with dupn_end_share.")));
	if (strcmp(TextDatumGetCString(row[1]), "ready") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("version %d of model \"%s\" is being built", version, model->name),
				 errhint("Cancel its job with dupn_cancel; what it left goes by itself.")));
	if (DatumGetBool(row[2]))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("version %d of model \"%s\" is pinned", version, model->name),
				 errhint("Let it go first: SELECT dupn_pin(%s, %d, false).", quote_literal_cstr(model->name), version)));

	if (!isnull[3] && DatumGetBool(row[3]))
		ereport(NOTICE,
				(errmsg("version %d of model \"%s\" served before: dupn_rollback has nothing to go back to now",
						version, model->name)));
	tell_of_tables(model, version);
	version_drop(model->id, version);
	fail_point("drop: marked");
	versions_free(model->id);
	fail_point("drop: done");
	PG_RETURN_VOID();
}

/* (model, version, pinned) */
PGDLLEXPORT Datum
dupn_pin(PG_FUNCTION_ARGS)
{
	int32		version = named_version(fcinfo);
	Model	   *model = owned_model(fcinfo);

	if (PG_ARGISNULL(2))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("pinned must not be null")));
	(void) version_lock_model(model->id);
	if (state_execute("UPDATE _dupn.version SET pinned = $3 WHERE model_id OPERATOR(pg_catalog.=) $1"
					  " AND version OPERATOR(pg_catalog.=) $2 AND state OPERATOR(pg_catalog.=) 'ready'",
					  3, (Oid[]) {INT4OID, INT4OID, BOOLOID},
					  (Datum[]) {Int32GetDatum(model->id), Int32GetDatum(version), PG_GETARG_DATUM(2)},
					  NULL, NULL, NULL) == 0)
		no_version(model, version);
	PG_RETURN_VOID();
}
