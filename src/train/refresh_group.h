/*-------------------------------------------------------------------------
 *
 * refresh_group.h
 *	  Stored vectors: one group after another
 *
 *-------------------------------------------------------------------------
 */
#ifndef DUPN_REFRESH_GROUP_H
#define DUPN_REFRESH_GROUP_H

#include "train/refresh.h"

#include "port/atomics.h"
#include "portability/instr_time.h"
#include "serve/item_vectors.h"
#include "serve/users.h"
#include "train/target.h"

#define REFRESH_KEY_BYTES	8192	/* more than an index takes */
#define REFRESH_NAME_BYTES	(4 * NAMEDATALEN + 8)

typedef enum RefreshStage
{
	REFRESH_READING,
	REFRESH_COMPUTING,
	REFRESH_WRITING
} RefreshStage;

#define REFRESH_STAGES 3

/* What the processes of a refresh share; zero at first. */
typedef struct RefreshShared
{
	int32		version;
	int64		fingerprint;
	bool		items;
	TimestampTz as_of;
	bool		changed;		/* rows as of `oldest` or later stay unless something is new */
	TimestampTz oldest;
	int64		lateness;
	int			rows_per_second;	/* 0: no limit */
	char		target[REFRESH_NAME_BYTES];

	/* who took the last keys; under CURSOR_LOCK of the job */
	bool		begun;
	bool		exhausted;
	char		last[REFRESH_KEY_BYTES];

	pg_atomic_uint64 due;		/* of the next row to be written, in microseconds */
	pg_atomic_uint64 looked_at; /* keys */
	pg_atomic_uint64 kept;		/* which had their row already */
	pg_atomic_uint64 written;
	pg_atomic_uint64 events;	/* of users' windows */
	pg_atomic_uint64 microseconds[REFRESH_STAGES];
} RefreshShared;

/* Of one process. */
typedef struct Refresh
{
	const Job  *job;
	RefreshShared *shared;
	Model	   *model;
	Session    *session;
	Target	   *target;
	Users	   *users;			/* or */
	ItemVectors *items;
	MemoryContext context;		/* of a group */
	Datum	   *key;			/* the group */
	int			n;
	int			room;
	int			taken;			/* by the last look at the list */
	instr_time	stage_begun;
} Refresh;

/* Inside job_begin; the memory of the process' part is current. */
extern Session *refresh_open(Refresh *refresh, const Job *job, const char *target, bool items, int32 version);
extern void refresh_close(Refresh *refresh);

/* Read, compute and write the next group; false: there was none. */
extern bool refresh_group(Refresh *refresh);

#endif							/* DUPN_REFRESH_GROUP_H */
