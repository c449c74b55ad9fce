/*-------------------------------------------------------------------------
 *
 * refresh_group.c
 *	  Stored vectors: one group after another
 *
 * Users or items are taken in the order of their column, by as many processes
 * as the job has: who is free takes the next ones.  A group is read in one
 * short transaction and its vectors are written in another; no transaction is
 * open while they are computed.
 *
 * A user whose row is as of a moment after the newest event is left out when
 * only what has changed is wanted: three descents of an index a user, instead
 * of the rows and the network.
 *
 *-------------------------------------------------------------------------
 */
#include "train/refresh_group.h"

#include "fail.h"
#include "storage/lmgr.h"
#include "train/job.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define GROUP_ITEMS		2048
#define LOOK_MOST		16384	/* keys that a transaction looks at */
#define NAP_MS			250

Session *
refresh_open(Refresh *refresh, const Job *job, const char *target, bool items, int32 version)
{
	Session    *session;

	refresh->job = job;
	refresh->model = model_get_by_id(job->model_id, false);
	refresh->target = target_open(refresh->model, target, items);
	session = refresh->session = session_get(image_get(refresh->model, version));
	refresh->room = items ? GROUP_ITEMS : users_group(session);
	if (items)
		refresh->items = item_vectors_make(session, refresh->room);
	else
		refresh->users = users_make(session, refresh->room);
	refresh->key = palloc(sizeof(Datum) * refresh->room);
	refresh->context = AllocSetContextCreate(CurrentMemoryContext, "dupn refresh group", ALLOCSET_DEFAULT_SIZES);
	return session;
}

void
refresh_close(Refresh *refresh)
{
	if (refresh->items)
		item_vectors_free(refresh->items);
	else
		users_free(refresh->users);
}

static int64
microseconds(void)
{
	instr_time	now;

	INSTR_TIME_SET_CURRENT(now);
	return (int64) INSTR_TIME_GET_MICROSEC(now);
}

static void
next_stage(Refresh *refresh, RefreshStage ended)
{
	instr_time	now;
	instr_time	spent;

	INSTR_TIME_SET_CURRENT(now);
	spent = now;
	INSTR_TIME_SUBTRACT(spent, refresh->stage_begun);
	pg_atomic_fetch_add_u64(&refresh->shared->microseconds[ended], (int64) INSTR_TIME_GET_MICROSEC(spent));
	refresh->stage_begun = now;
}

/* ---------------- who is in it ---------------- */

/* Put the next keys behind those of the group, as many as there is room for. */
static void
take_keys(Session *session, void *argument)
{
	Refresh    *refresh = argument;
	RefreshShared *shared = refresh->shared;
	Datum	   *key = refresh->key + refresh->n;
	int			room = refresh->room - refresh->n;
	bool		by_value;
	int16		length;
	LOCKTAG		tag;

	get_typlenbyval(refresh->target->key_type, &length, &by_value);
	job_locktag(&tag, job_own_launch()->extension, CURSOR_LOCK, refresh->job->id);
	LockAcquire(&tag, ExclusiveLock, false, false);
	refresh->taken = 0;
	if (!shared->exhausted)
	{
		char	   *at = shared->last;
		bool		isnull;
		Datum		last = shared->begun ? datumRestore(&at, &isnull) : (Datum) 0;
		const Datum *after = shared->begun ? &last : NULL;

		refresh->taken = shared->items ? item_vectors_list(session, refresh->model, after, room, key) :
			users_list(session, refresh->model, shared->as_of, after, room, key);
		shared->exhausted = refresh->taken < room;
	}
	if (refresh->taken > 0)
	{
		char	   *at = shared->last;
		Datum		last = key[refresh->taken - 1];

		if (datumEstimateSpace(last, false, by_value, length) > sizeof(shared->last))
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("an id for column \"%s\" of table %s is longer than %d bytes",
							refresh->target->key_column, refresh->target->name, REFRESH_KEY_BYTES)));
		datumSerialize(last, false, by_value, length, &at);
		shared->begun = true;
	}
	LockRelease(&tag, ExclusiveLock, false);
	pg_atomic_fetch_add_u64(&shared->looked_at, refresh->taken);
}

/*
 * Of the keys just taken, leave those in the group whose rows are missing, of
 * another version or out of date.
 */
static void
keep_stale(Session *session, void *argument)
{
	Refresh    *refresh = argument;
	RefreshShared *shared = refresh->shared;
	Datum	   *key = refresh->key + refresh->n;
	int			taken = refresh->taken;
	TimestampTz *as_of = palloc(sizeof(TimestampTz) * Max(taken, 1));
	TimestampTz *newest = palloc(sizeof(TimestampTz) * Max(taken, 1));
	Datum	   *asked = palloc(sizeof(Datum) * Max(taken, 1));
	int			n_asked = 0;
	int			n = 0;

	spi_connect();
	target_look(refresh->target, key, taken, shared->version, as_of);
	SPI_finish();

	/* kept whatever there is: DT_NOEND; written whatever there is: DT_NOBEGIN */
	for (int i = 0; i < taken; i++)
	{
		if (as_of[i] >= shared->as_of)
			as_of[i] = DT_NOEND;
		else if (!shared->changed || as_of[i] < shared->oldest)
			as_of[i] = DT_NOBEGIN;
		else if (shared->items && !TIMESTAMP_IS_NOBEGIN(as_of[i]))
			as_of[i] = DT_NOEND;
		if (!TIMESTAMP_NOT_FINITE(as_of[i]))
			asked[n_asked++] = key[i];
	}
	if (n_asked > 0)
		users_newest(session, refresh->model, shared->as_of, asked, n_asked, newest);
	n_asked = 0;
	for (int i = 0; i < taken; i++)
	{
		bool		stale = TIMESTAMP_IS_NOBEGIN(as_of[i]);

		if (!TIMESTAMP_NOT_FINITE(as_of[i]))
			stale = newest[n_asked++] >= as_of[i] - shared->lateness;
		if (stale)
			key[n++] = key[i];
	}
	refresh->n += n;
	pg_atomic_fetch_add_u64(&shared->kept, taken - n);
}

static void
read_group(Session *session, void *argument)
{
	Refresh    *refresh = argument;

	if (refresh->items)
		item_vectors_read(refresh->items, refresh->model, refresh->key, refresh->n);
	else
		users_read(refresh->users, refresh->model, refresh->key, refresh->n, NULL, refresh->shared->as_of);
}

/* Returns how many keys were looked at. */
static int
fill_group(Refresh *refresh)
{
	Session    *session = refresh->session;
	int			looked = 0;

	refresh->n = 0;
	do
	{
		job_check();
		session_work(session, take_keys, refresh);
		looked += refresh->taken;
		session_work(session, keep_stale, refresh);
	} while (refresh->taken > 0 && looked < LOOK_MOST && refresh->n < refresh->room - refresh->room / 4);
	session_work(session, read_group, refresh);
	return looked;
}

/* ---------------- its rows ---------------- */

/* The vector of the i-th of the group, or NULL: there is none to be had. */
static DupnVector *
group_vector(const Refresh *refresh, int i, int64 *events)
{
	const ItemVectors *items = refresh->items;

	if (items == NULL)
	{
		/* the list of users is coarse for time columns without a zone */
		*events += refresh->users->length[i];
		return refresh->users->length[i] > 0 ? users_vector(refresh->users, i) : NULL;
	}
	return !items->found[i] ? NULL :
		vector_make(refresh->model->id, refresh->shared->version, refresh->shared->fingerprint,
					refresh->shared->as_of, items->width, items->vector + (size_t) i * items->width);
}

static void
write_group(Refresh *refresh)
{
	RefreshShared *shared = refresh->shared;
	DupnVector **vector = palloc(sizeof(DupnVector *) * Max(refresh->n, 1));
	int64		events = 0;
	int			n = 0;

	for (int i = 0; i < refresh->n; i++)
		if ((vector[n] = group_vector(refresh, i, &events)) != NULL)
			refresh->key[n++] = refresh->key[i];
	spi_connect();
	target_write(refresh->target, refresh->key, vector, n, shared->version, shared->as_of);
	SPI_finish();
	pg_atomic_fetch_add_u64(&shared->written, n);
	pg_atomic_fetch_add_u64(&shared->events, events);
}

/*
 * Rows that were written since a moment take their share of a second: sleep for
 * the rest of it.  What others wrote meanwhile counts as well.
 */
static void
throttle(RefreshShared *shared, int n, int64 begun)
{
	uint64		due = pg_atomic_read_u64(&shared->due);
	int64		until;
	int64		left;

	if (shared->rows_per_second <= 0)
		return;
	do
	{
		until = Max((int64) due, begun) + n * INT64CONST(1000000) / shared->rows_per_second;
	} while (!pg_atomic_compare_exchange_u64(&shared->due, &due, (uint64) until));
	while ((left = until - microseconds()) > 0)
		job_nap((long) Min(left / 1000 + 1, NAP_MS));
}

bool
refresh_group(Refresh *refresh)
{
	int64		begun = microseconds();
	int			looked;

	MemoryContextReset(refresh->context);
	INSTR_TIME_SET_CURRENT(refresh->stage_begun);
	job_check();
	job_begin();
	MemoryContextSwitchTo(refresh->context);

	/* what this transaction has asked for stays, whatever functions of the relations ask for */
	(void) image_get(refresh->model, refresh->shared->version);
	looked = fill_group(refresh);
	job_commit();
	next_stage(refresh, REFRESH_READING);
	if (refresh->n == 0)
		return looked > 0;

	if (refresh->users)
	{
		MemoryContextSwitchTo(refresh->context);
		users_compute(refresh->users, job_check);
		next_stage(refresh, REFRESH_COMPUTING);
	}
	job_begin();
	MemoryContextSwitchTo(refresh->context);
	(void) image_get(refresh->model, refresh->shared->version);
	write_group(refresh);
	job_commit();
	fail_point("refresh: group written");
	next_stage(refresh, REFRESH_WRITING);
	throttle(refresh->shared, refresh->n, begun);
	return true;
}

void
refresh_part(Team *team, const Job *job)
{
	Refresh		refresh = {.shared = team_memory(team)};
	Session    *session;
	MemoryContext caller = CurrentMemoryContext;

	job_begin();
	MemoryContextSwitchTo(job->context);
	session = refresh_open(&refresh, job, refresh.shared->target, refresh.shared->items, refresh.shared->version);
	job_commit();
	if (session->image->fingerprint != refresh.shared->fingerprint)
		elog(ERROR, "version %d is not the same in all processes", refresh.shared->version);
	while (refresh_group(&refresh))
		;
	MemoryContextSwitchTo(caller);
	refresh_close(&refresh);
	team_barrier(team);
}
