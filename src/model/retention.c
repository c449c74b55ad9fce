/*-------------------------------------------------------------------------
 *
 * retention.c
 *	  Versions that go: dropped, beyond what is kept, never finished
 *
 * Who drops a version makes its state "dropped", and it is seen no more.  Its
 * bytes stay as long as another version is stored as a difference to them, and
 * nothing becomes a difference to it any more (content_link takes a ready one,
 * the model's row locked); then they go, with the statement that dropped it or,
 * a few parts in a transaction, with the next job.
 *
 *-------------------------------------------------------------------------
 */
#include "model/model.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fail.h"
#include "lib/stringinfo.h"
#include "utils/array.h"

#define SWEEP_PARTS 16			/* of 4 MB a transaction */

#define OF_VERSION(t) \
	t ".model_id OPERATOR(pg_catalog.=) $1 AND " t ".version OPERATOR(pg_catalog.=) $2"

/* No other bytes are a difference to those of v. */
#define WEIGHTS_FREE \
	" NOT EXISTS (SELECT FROM _dupn.version d WHERE d.model_id OPERATOR(pg_catalog.=) v.model_id" \
	" AND d.delta_of OPERATOR(pg_catalog.=) v.version)"
#define OPTIMIZER_FREE \
	" NOT EXISTS (SELECT FROM _dupn.optimizer d WHERE d.model_id OPERATOR(pg_catalog.=) v.model_id" \
	" AND d.delta_of OPERATOR(pg_catalog.=) v.version)"

/* v is a version that no living job builds. */
#define ORPHAN \
	" v.state OPERATOR(pg_catalog.=) 'building' AND NOT EXISTS (SELECT FROM _dupn.job j" \
	" WHERE j.job_id OPERATOR(pg_catalog.=) v.job_id AND j.state OPERATOR(pg_catalog.=) 'running')"

#define DROPPED \
	" v.state OPERATOR(pg_catalog.=) 'dropped'"

/* ---------------- dropping ---------------- */

void
version_drop(int32 model_id, int32 version)
{
	Oid			types[] = {INT4OID, INT4OID};
	Datum		values[] = {Int32GetDatum(model_id), Int32GetDatum(version)};

	state_execute("UPDATE _dupn.model m SET previous = NULL WHERE m.model_id OPERATOR(pg_catalog.=) $1"
				  " AND m.previous OPERATOR(pg_catalog.=) $2", 2, types, values, NULL, NULL, NULL);
	version_drop_files(model_id, version);
	state_execute("UPDATE _dupn.version v SET state = 'dropped' WHERE " OF_VERSION("v"), 2, types, values, NULL, NULL, NULL);
	state_execute("DELETE FROM _dupn.metric x WHERE " OF_VERSION("x"), 2, types, values, NULL, NULL, NULL);
	state_execute("DELETE FROM _dupn.drift d WHERE " OF_VERSION("d"), 2, types, values, NULL, NULL, NULL);
	state_execute("DELETE FROM _dupn.evaluation e WHERE e.model_id OPERATOR(pg_catalog.=) $1"
				  " AND (e.version OPERATOR(pg_catalog.=) $2 OR e.other_version OPERATOR(pg_catalog.=) $2)",
				  2, types, values, NULL, NULL, NULL);
}

void
versions_free(int32 model_id)
{
	Oid			types[] = {INT4OID, INT4OID};
	Datum		values[2] = {Int32GetDatum(model_id)};
	bool		isnull;

	for (;;)
	{
		/* of now, whatever the isolation level: who became a difference meanwhile counts */
		CommandCounterIncrement();
		if (state_read("SELECT v.version FROM _dupn.version v WHERE v.model_id OPERATOR(pg_catalog.=) $1 AND"
					   DROPPED " AND" WEIGHTS_FREE " AND" OPTIMIZER_FREE " LIMIT 1",
					   1, types, values, NULL, &values[1], &isnull) == 0)
			return;
		state_execute("DELETE FROM _dupn.version v WHERE " OF_VERSION("v"), 2, types, values, NULL, NULL, NULL);
	}
}

/* ---------------- what is kept ---------------- */

/* Does anything need a version that retention alone would drop? */
static bool
version_is_needed(int32 model_id, int32 version)
{
	return share_serves(model_id, version) ||
		state_read("SELECT 1 FROM _dupn.model m, _dupn.version v WHERE " OF_VERSION("v")
					  " AND m.model_id OPERATOR(pg_catalog.=) $1 AND ("
	/* it serves, or dupn_rollback goes back to it */
					  "m.published OPERATOR(pg_catalog.=) $2 OR m.previous OPERATOR(pg_catalog.=) $2"
					  " OR v.pinned"
	/* stored vectors are its, in a table that is still there */
					  " OR EXISTS (SELECT FROM _dupn.refresh r JOIN (pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n"
					  " ON n.oid OPERATOR(pg_catalog.=) c.relnamespace)"
					  " ON pg_catalog.format('%I.%I', n.nspname, c.relname) OPERATOR(pg_catalog.=) r.target"
					  " WHERE r.model_id OPERATOR(pg_catalog.=) $1"
					  " AND (r.version OPERATOR(pg_catalog.=) $2 OR r.next_version OPERATOR(pg_catalog.=) $2)))",
					  2, (Oid[]) {INT4OID, INT4OID},
					  (Datum[]) {Int32GetDatum(model_id), Int32GetDatum(version)}, NULL, NULL, NULL) > 0;
}

char *
versions_retire(const Model *model)
{
	const ModelOptions *options = &model->options;
	StringInfoData list;
	Datum		found;
	bool		isnull;
	Datum	   *version;
	int			n;

	if (options->keep_versions == 0 && options->keep_days == 0)
		return NULL;
	(void) version_lock_model(model->id);
	(void) state_read("SELECT pg_catalog.array_agg(v.version ORDER BY v.version) FROM"
					  " (SELECT version, created_at, pg_catalog.row_number() OVER (ORDER BY version DESC) AS place"
					  " FROM _dupn.version WHERE model_id OPERATOR(pg_catalog.=) $1"
					  " AND state OPERATOR(pg_catalog.=) 'ready') v"
					  " WHERE v.place OPERATOR(pg_catalog.>) $2 AND v.created_at OPERATOR(pg_catalog.<)"
					  " (pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) pg_catalog.make_interval(secs => $3 OPERATOR(pg_catalog.*) 86400.0))",
					  3, (Oid[]) {INT4OID, INT4OID, FLOAT8OID},
					  (Datum[]) {Int32GetDatum(model->id), Int32GetDatum(options->keep_versions),
						  Float8GetDatum(options->keep_days)}, NULL, &found, &isnull);
	if (isnull)
		return NULL;
	deconstruct_array(DatumGetArrayTypeP(found), INT4OID, sizeof(int32), true, TYPALIGN_INT, &version, NULL, &n);
	initStringInfo(&list);
	for (int i = 0; i < n; i++)
	{
		if (version_is_needed(model->id, DatumGetInt32(version[i])))
			continue;
		version_drop(model->id, DatumGetInt32(version[i]));
		appendStringInfo(&list, "%s%d", list.len > 0 ? ", " : "", DatumGetInt32(version[i]));
	}
	return list.len > 0 ? list.data : NULL;
}

/* ---------------- sweeping ---------------- */

/*
 * A sweep waits for nobody, so that it is in no deadlock with who drops a
 * version or a model: what somebody else has locked is left to the next one.
 * Rows that belong to a locked one can only be locked by who has that.
 */
#define DELETE_VERSIONS(which) \
	"DELETE FROM _dupn.version WHERE ctid OPERATOR(pg_catalog.=) ANY (ARRAY(" \
	"SELECT v.ctid FROM _dupn.version v WHERE" which " FOR UPDATE OF v SKIP LOCKED))"

/* Delete some parts at a time until there are none. */
static void
sweep_parts(const char *sql, void (*check) (void))
{
	uint64		found;

	do
	{
		check();
		state_transaction();
		found = state_execute(sql, 1, (Oid[]) {INT4OID}, (Datum[]) {Int32GetDatum(SWEEP_PARTS)}, NULL, NULL, NULL);
		CommitTransactionCommand();
		fail_point("sweep: parts");
	} while (found > 0);
}

void
versions_sweep(void (*check) (void))
{
	uint64		found;

	sweep_parts("DELETE FROM _dupn.weight WHERE ctid OPERATOR(pg_catalog.=) ANY (ARRAY("
				"SELECT w.ctid FROM _dupn.version v JOIN _dupn.weight w"
				" ON w.model_id OPERATOR(pg_catalog.=) v.model_id AND w.version OPERATOR(pg_catalog.=) v.version"
				" WHERE" ORPHAN " OR" DROPPED " AND" WEIGHTS_FREE " LIMIT $1 FOR UPDATE OF w SKIP LOCKED))", check);
	sweep_parts("DELETE FROM _dupn.optimizer_part WHERE ctid OPERATOR(pg_catalog.=) ANY (ARRAY("
				"SELECT p.ctid FROM _dupn.version v JOIN _dupn.optimizer o"
				" ON o.model_id OPERATOR(pg_catalog.=) v.model_id AND o.version OPERATOR(pg_catalog.=) v.version"
				" JOIN _dupn.optimizer_part p"
				" ON p.model_id OPERATOR(pg_catalog.=) v.model_id AND p.version OPERATOR(pg_catalog.=) v.version"
				" WHERE" ORPHAN " OR" DROPPED " AND" OPTIMIZER_FREE
				" OR v.state OPERATOR(pg_catalog.<>) 'building' AND o.checksum IS NULL LIMIT $1 FOR UPDATE OF p SKIP LOCKED))", check);

	state_transaction();
	state_execute("DELETE FROM _dupn.optimizer WHERE ctid OPERATOR(pg_catalog.=) ANY (ARRAY("
				  "SELECT o.ctid FROM _dupn.version v JOIN _dupn.optimizer o"
				  " ON o.model_id OPERATOR(pg_catalog.=) v.model_id AND o.version OPERATOR(pg_catalog.=) v.version"
				  " WHERE v.state OPERATOR(pg_catalog.<>) 'building' AND o.checksum IS NULL FOR UPDATE OF o SKIP LOCKED))",
				  0, NULL, NULL, NULL, NULL, NULL);
	CommitTransactionCommand();
	state_transaction();
	state_execute(DELETE_VERSIONS(ORPHAN), 0, NULL, NULL, NULL, NULL, NULL);
	CommitTransactionCommand();
	fail_point("sweep: orphans");

	/* the last of a chain, and then those before it */
	do
	{
		state_transaction();
		found = state_execute(DELETE_VERSIONS(DROPPED " AND" WEIGHTS_FREE " AND" OPTIMIZER_FREE),
							  0, NULL, NULL, NULL, NULL, NULL);
		CommitTransactionCommand();
		fail_point("sweep: dropped");
	} while (found > 0);
}
