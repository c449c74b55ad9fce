/*-------------------------------------------------------------------------
 *
 * share.c
 *	  Experiments: a version that serves a share of a model's users
 *
 * Users of the candidate's arm are those whose hash with the experiment is below
 * the share: the same ones every time, none of whom leaves when the share
 * grows, and others in every experiment.  At most one experiment of a model
 * runs, since nobody can be served by two versions; the model's row names it,
 * so that calls of models without one read nothing more.  Ended ones stay, to
 * be judged, and their names are not used again.
 *
 *-------------------------------------------------------------------------
 */
#include "model/model.h"

#include "catalog/pg_type.h"
#include "hint.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

/* ---------------- rows ---------------- */

Share *
share_of_row(HeapTuple tuple, TupleDesc tupdesc)
{
	Share	   *share = palloc0(sizeof(Share));
	bool		isnull;

	share->experiment = TextDatumGetCString(state_column(tuple, tupdesc, "experiment", &isnull));
	share->version = DatumGetInt32(state_column(tuple, tupdesc, "version", &isnull));
	share->share = DatumGetFloat8(state_column(tuple, tupdesc, "share", &isnull));
	share->started_at = DatumGetTimestampTz(state_column(tuple, tupdesc, "started_at", &isnull));
	share->changed_at = DatumGetTimestampTz(state_column(tuple, tupdesc, "changed_at", &isnull));
	share->ended_at = DatumGetTimestampTz(state_column(tuple, tupdesc, "ended_at", &isnull));
	if (isnull)
		share->ended_at = DT_NOEND;
	return share;
}

/* All experiments of a model, through the active snapshot. */
static Share **
list_shares(const Model *model, int *n)
{
	Share	  **shares = NULL;
	StateScan	scan;
	ScanKeyData key;
	HeapTuple	tuple;

	*n = 0;
	state_key(&key, 1, model->id);
	state_begin(&scan, "share", "share_pkey", 1, &key);
	while ((tuple = state_next(&scan)) != NULL)
	{
		shares = array_resize(shares, *n + 1, sizeof(Share *), CurrentMemoryContext);
		shares[(*n)++] = share_of_row(tuple, RelationGetDescr(scan.relation));
	}
	state_end(&scan);
	return shares;
}

static void
no_such_experiment(const Model *model, const char *experiment, Share *const *shares, int n)
{
	const char **names = palloc(sizeof(char *) * (n + 1));

	for (int i = 0; i < n; i++)
		names[i] = shares[i]->experiment;
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("model \"%s\" has no experiment \"%s\"", model->name, experiment),
			 n > 0 ? errhint("%s", name_hint("experiment", experiment, names, n)) :
			 errhint("Start one with dupn_share.")));
}

const Share *
share_find(const Model *model, const char *experiment, bool ended)
{
	const Share *last = NULL;
	Share	  **shares;
	int			n;

	if (model->share && (experiment == NULL || strcmp(model->share->experiment, experiment) == 0))
		return model->share;
	if (experiment == NULL && !ended)
		return NULL;
	shares = list_shares(model, &n);
	for (int i = 0; i < n; i++)
	{
		if (experiment && strcmp(shares[i]->experiment, experiment) == 0)
			return shares[i];
		if (last == NULL || shares[i]->started_at > last->started_at)
			last = shares[i];
	}
	if (experiment)
		no_such_experiment(model, experiment, shares, n);
	return last;
}

/* ---------------- starting, changing, ending ---------------- */

/* The experiment that the model's row names, which is locked, NULL: none. */
static char *
running_experiment(int32 model_id, bool *published)
{
	Datum		row[2];
	bool		isnull[2];

	if (state_read("SELECT experiment, published FROM _dupn.model WHERE model_id OPERATOR(pg_catalog.=) $1",
				   1, (Oid[]) {INT4OID}, (Datum[]) {Int32GetDatum(model_id)}, NULL, row, isnull) == 0)
		elog(ERROR, "model %d is gone", model_id);
	if (published)
		*published = !isnull[1];
	return isnull[0] ? NULL : TextDatumGetCString(row[0]);
}

static char *
experiment_name(const char *experiment, int32 version)
{
	if (experiment == NULL)
		return psprintf("version %d", version);
	if (experiment[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("\"experiment\" must not be empty")));
	if (strlen(experiment) >= NN_MAX_NAME)
		ereport(ERROR,
				(errcode(ERRCODE_NAME_TOO_LONG),
				 errmsg("name \"%s\" is longer than %d bytes", experiment, NN_MAX_NAME - 1)));
	return pstrdup(experiment);
}

/* The experiment goes on: what may change is its share. */
static void
change_share(const Model *model, int32 version, double share, const char *experiment)
{
	Oid			types[] = {INT4OID, TEXTOID, FLOAT8OID};
	Datum		values[] = {Int32GetDatum(model->id), CStringGetTextDatum(experiment), Float8GetDatum(share)};
	Datum		serves;
	bool		isnull;

	if (state_read("SELECT version FROM _dupn.share WHERE model_id OPERATOR(pg_catalog.=) $1"
				   " AND experiment OPERATOR(pg_catalog.=) $2", 2, types, values, NULL, &serves, &isnull) == 0)
		elog(ERROR, "experiment \"%s\" of model \"%s\" has no row", experiment, model->name);
	if (DatumGetInt32(serves) != version)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("experiment \"%s\" of model \"%s\" is one of version %d, not %d", experiment,
						model->name, DatumGetInt32(serves), version),
				 errhint("End it with dupn_end_share and start another one, which takes other users.")));
	state_execute("UPDATE _dupn.share SET share = $3, changed_at = pg_catalog.clock_timestamp()"
				  " WHERE model_id OPERATOR(pg_catalog.=) $1 AND experiment OPERATOR(pg_catalog.=) $2"
				  " AND share OPERATOR(pg_catalog.<>) $3", 3, types, values, NULL, NULL, NULL);
}

char *
share_set(const Model *model, int32 version, double share, const char *experiment)
{
	Oid			types[] = {INT4OID, TEXTOID, FLOAT8OID, INT4OID};
	Datum		values[4];
	bool		published;
	char	   *running;
	char	   *name;

	if (!(share >= 0 && share <= 1))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the share must be between 0 and 1, not %g", share),
				 errhint("10 %% of the users are 0.1.")));
	name = experiment_name(experiment, version);
	version_lock_model(model->id);
	version_check_ready(model->name, model->id, version);
	running = running_experiment(model->id, &published);
	if (running && strcmp(running, name) == 0)
	{
		change_share(model, version, share, name);
		return name;
	}
	if (running)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("experiment \"%s\" of model \"%s\" is running", running, model->name),
				 errhint("A user can be served by one version only: end it first, with dupn_end_share.")));
	if (!published)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("model \"%s\" has no published version", model->name),
				 errhint("It serves the users of the other arm: publish one with dupn_publish.")));

	values[0] = Int32GetDatum(model->id);
	values[1] = CStringGetTextDatum(name);
	values[2] = Float8GetDatum(share);
	values[3] = Int32GetDatum(version);
	if (state_execute("INSERT INTO _dupn.share (model_id, experiment, share, version) VALUES ($1, $2, $3, $4)"
					  " ON CONFLICT (model_id, experiment) DO NOTHING", 4, types, values, NULL, NULL, NULL) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("experiment \"%s\" of model \"%s\" has ended", name, model->name),
				 errhint("Give the new one another name: it takes other users, on whom the old one has left no trace.")));
	state_execute("UPDATE _dupn.model SET experiment = $2 WHERE model_id OPERATOR(pg_catalog.=) $1",
				  2, types, values, NULL, NULL, NULL);
	return name;
}

char *
share_end(const Model *model, const char *experiment)
{
	Oid			types[] = {INT4OID, TEXTOID};
	Datum		values[2];
	char	   *running;

	version_lock_model(model->id);
	running = running_experiment(model->id, NULL);
	if (running == NULL || (experiment && strcmp(running, experiment) != 0))
	{
		if (experiment)
			(void) share_find(model, experiment, true);
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 experiment ? errmsg("experiment \"%s\" of model \"%s\" is not running", experiment, model->name) :
				 errmsg("no experiment of model \"%s\" is running", model->name),
				 errhint("The view dupn_shares lists its experiments.")));
	}
	values[0] = Int32GetDatum(model->id);
	values[1] = CStringGetTextDatum(running);
	state_execute("UPDATE _dupn.share SET ended_at = pg_catalog.clock_timestamp()"
				  " WHERE model_id OPERATOR(pg_catalog.=) $1 AND experiment OPERATOR(pg_catalog.=) $2",
				  2, types, values, NULL, NULL, NULL);
	state_execute("UPDATE _dupn.model SET experiment = NULL WHERE model_id OPERATOR(pg_catalog.=) $1",
				  1, types, values, NULL, NULL, NULL);
	return running;
}

bool
share_serves(int32 model_id, int32 version)
{
	return state_read("SELECT FROM _dupn.share WHERE model_id OPERATOR(pg_catalog.=) $1"
					  " AND version OPERATOR(pg_catalog.=) $2 AND ended_at IS NULL",
					  2, (Oid[]) {INT4OID, INT4OID},
					  (Datum[]) {Int32GetDatum(model_id), Int32GetDatum(version)}, NULL, NULL, NULL) > 0;
}

/* ---------------- who is in which arm ---------------- */

ShareUsers *
share_users(const Model *model, const Share *share, Oid type)
{
	ShareUsers *users = palloc0(sizeof(ShareUsers));

	users->share = share->share;
	/* by names, so that a restored model goes on with the same users */
	users->salt = cell_from_text(psprintf("%s\n%s", model->name, share->experiment));
	cell_type_init(&users->type, type, true, CurrentMemoryContext);
	return users;
}

bool
share_takes(ShareUsers *users, Datum user)
{
	uint64		hash = cell_hash(cell_from_datum(&users->type, user, false));

	hash = cell_hash((Cell) (hash ^ (uint64) users->salt));
	/* 53 bits make a double between 0 and 1, without the latter */
	return (double) (hash >> 11) / (double) (UINT64CONST(1) << 53) < users->share;
}
