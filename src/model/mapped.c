/*-------------------------------------------------------------------------
 *
 * mapped.c
 *	  Files through which all backends share the bytes of a version
 *
 * They lie in the data directory's temporary-files folder under the prefix of
 * temporary files: the server removes them when it starts, no backup holds
 * them, and they may be written on a standby.  A file's name is the version's
 * fingerprint, so it is never stale and never changed: it is written with
 * write() under another name (a full disk is then an error, not a SIGBUS) and
 * renamed.  The last it gets is a trailer that tells its size, by which one is
 * known that was cut short.  Otherwise its content is trusted: whoever can
 * write it can write all of the database.
 *
 * Whoever has a file mapped holds a lock on it (flock), which says that it is
 * in use.  It may be unlinked all the same: the mapping stays.
 *
 *-------------------------------------------------------------------------
 */
#include "model/image.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utime.h>

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "common/file_utils.h"
#include "fail.h"
#include "settings.h"
#include "storage/fd.h"
#include "storage/lock.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#define FOLDER		"base/" PG_TEMP_FILES_DIR
#define PREFIX		PG_TEMP_FILE_PREFIX "_dupn_"
#define UNFINISHED	"new_"

/* For so long a file may be without its writer's lock: see is_new. */
#define NEW_SECONDS	60

/* A writer's lock: fourth field of advisory locks, of which users have 1 and 2. */
#define LOCK_MAPPED_FILE	25717

/* Written at a time: interrupts are answered in between. */
#define WRITE_BYTES	((size_t) 8 << 20)

static const char *const suffix[] = {[MAPPED_WEIGHTS] = "", [MAPPED_ITEMS] = "_items"};

/* The end of a file. */
typedef struct Trailer
{
	char		magic[16];
	int64		fingerprint;
	int64		bytes;			/* of the version */
	int64		size;			/* of what stands before */
	uint32		format;
	uint32		part;
	char		unused[16];
} Trailer;

struct MappedWriter
{
	char		path[MAXPGPATH];	/* for now */
	int			fd;
	size_t		size;
	void	   *view;			/* of what is written, or NULL */
	size_t		view_size;
};

/* ---------------- names and locks ---------------- */

static void
file_path(char *path, int64 fingerprint, int64 bytes, MappedPart part)
{
	snprintf(path, MAXPGPATH, "%s/%s%u_%016llx_%lld_%d%s", FOLDER, PREFIX, MyDatabaseId,
			 (unsigned long long) fingerprint, (long long) bytes, NN_PREPARED_FORMAT, suffix[part]);
}

/* The reverse; false: it is no such name. */
static bool
parse_name(const char *name, MappedFile *file)
{
	unsigned long long fingerprint;
	long long	bytes;
	int			end = 0;

	if (strncmp(name, PREFIX, strlen(PREFIX)) != 0 ||
		sscanf(name + strlen(PREFIX), "%u_%llx_%lld_%d%n", &file->database, &fingerprint, &bytes,
			   &file->format, &end) != 4)
		return false;
	file->fingerprint = (int64) fingerprint;
	file->bytes = bytes;
	for (int part = 0; part < lengthof(suffix); part++)
		if (strcmp(name + strlen(PREFIX) + end, suffix[part]) == 0)
		{
			file->part = part;
			return true;
		}
	return false;
}

static Trailer
file_trailer(const VersionRow *row, MappedPart part, size_t size)
{
	Trailer		trailer = {.fingerprint = row->fingerprint,.bytes = row->bytes,
		.size = (int64) size,.format = NN_PREPARED_FORMAT,.part = part
	};

	StaticAssertStmt(sizeof(Trailer) == MAPPED_TRAILER, "size of a trailer");
	memcpy(trailer.magic, "dupn mapped file", sizeof(trailer.magic)); /* no end */
	return trailer;
}

static void
lock_writer(const VersionRow *row, MappedPart part, bool take)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, (uint32) ((uint64) row->fingerprint >> 32),
						 (uint32) row->fingerprint, LOCK_MAPPED_FILE + part);
	if (take)
		LockAcquire(&tag, ExclusiveLock, false, false);
	else
		LockRelease(&tag, ExclusiveLock, false);
}

static void
file_error(const char *action, const char *path)
{
	int			save_errno = errno;

	ereport(ERROR,
			(errcode_for_file_access(),
			 errmsg("could not %s file \"%s\": %m", action, path),
			 save_errno == ENOSPC ?
			 errhint("A version in use needs a copy of its weights in the data directory; see dupn.max_mapped_size.") : 0));
}

/* ---------------- mapping ---------------- */

/* The lock that says that a file is in use stays with the descriptor. */
static void
hold(Mapped *mapped, int fd)
{
	/* without a descriptor to spare it merely does not show as in use */
	if (AcquireExternalFD())
	{
		(void) flock(fd, LOCK_SH);
		mapped->fd = fd;
	}
	else
	{
		(void) close(fd);
		mapped->fd = -1;
	}
}

static void
map_error(const char *path)
{
	ereport(ERROR,
			(errcode(ERRCODE_OUT_OF_MEMORY),
			 errmsg("could not map file \"%s\": %m", path)));
}

/* Map a file if it is there, and whole; complain to the log if it is not. */
static bool
map_existing(Mapped *mapped, const VersionRow *row, MappedPart part, const char *path, bool complain)
{
	int			fd = BasicOpenFile(path, O_RDONLY | O_CLOEXEC | PG_BINARY);
	struct stat st;
	Trailer		found;
	Trailer		want;
	void	   *data;

	if (fd < 0)
	{
		if (errno != ENOENT)
			file_error("open", path);
		return false;
	}
	want = file_trailer(row, part, fstat(fd, &st) == 0 ? st.st_size - (off_t) sizeof(Trailer) : -1);
	if (want.size <= 0 || pread(fd, &found, sizeof(found), want.size) != sizeof(found) ||
		memcmp(&found, &want, sizeof(found)) != 0)
	{
		(void) close(fd);
		if (complain)
			ereport(LOG,
					(errmsg("file \"%s\" is not what its name says", path),
					 errdetail("It is written again.")));
		return false;
	}
	data = mmap(NULL, st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (data == MAP_FAILED)
	{
		int			save_errno = errno;

		(void) close(fd);
		errno = save_errno;
		map_error(path);
	}
	mapped->data = data;
	mapped->size = st.st_size;
	hold(mapped, fd);

	/* files go by age of last use; no harm if that fails */
	(void) utime(path, NULL);
	return true;
}

void
mapped_detach(Mapped *mapped)
{
	if (mapped->data)
		(void) munmap(unconstify(char *, mapped->data), mapped->size);
	if (mapped->fd >= 0)
	{
		(void) close(mapped->fd);
		ReleaseExternalFD();
	}
	mapped->data = NULL;
	mapped->fd = -1;
}

static void
detach(void *argument)
{
	mapped_detach(argument);
}

Mapped *
mapped_in(MemoryContext context)
{
	Mapped	   *mapped = MemoryContextAllocZero(context, sizeof(Mapped));
	MemoryContextCallback *callback = MemoryContextAlloc(context, sizeof(MemoryContextCallback));

	mapped->fd = -1;
	callback->func = detach;
	callback->arg = mapped;
	MemoryContextRegisterResetCallback(context, callback);
	return mapped;
}

/* ---------------- what is there, and removing it ---------------- */

MappedFile *
mapped_list(int *n)
{
	int			room = 16;
	MappedFile *files = palloc(sizeof(MappedFile) * room);
	DIR		   *dir = AllocateDir(FOLDER);
	struct dirent *de;

	*n = 0;
	if (dir == NULL && errno == ENOENT)
		return files;
	while ((de = ReadDirExtended(dir, FOLDER, LOG)) != NULL)
	{
		MappedFile *file;
		struct stat st;

		if (strncmp(de->d_name, PREFIX, strlen(PREFIX)) != 0)
			continue;
		if (*n == room)
			files = repalloc(files, sizeof(MappedFile) * (room *= 2));
		file = &files[*n];
		snprintf(file->path, sizeof(file->path), "%s/%s", FOLDER, de->d_name);
		if (stat(file->path, &st) != 0)
			continue;
		file->size = st.st_size;
		file->used = st.st_mtime;
		file->finished = parse_name(de->d_name, file);
		(*n)++;
	}
	FreeDir(dir);
	return files;
}

/* The file's descriptor if nobody has it mapped, and then nobody gets to, else -1. */
static int
open_unused(const char *path)
{
	int			fd = BasicOpenFile(path, O_RDWR | O_CLOEXEC | PG_BINARY);

	if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) != 0)
	{
		(void) close(fd);
		return -1;
	}
	return fd;
}

bool
mapped_in_use(const MappedFile *file)
{
	int			fd = open_unused(file->path);

	if (fd >= 0)
		(void) close(fd);
	return fd < 0;
}

static int
compare_used(const void *a, const void *b)
{
	const MappedFile *x = a;
	const MappedFile *y = b;

	/* unfinished files first: their writers died, or they are in use */
	if (x->finished != y->finished)
		return x->finished ? 1 : -1;
	return x->used < y->used ? -1 : x->used > y->used;
}

/*
 * A file that was created a moment ago may not be locked by its writer yet, so
 * only an older one can be a dead writer's.
 */
static bool
is_new(const MappedFile *file)
{
	return !file->finished && time(NULL) - file->used < NEW_SECONDS;
}

/*
 * Remove the files unused for longest until `bytes` more fit the setting; not
 * those in use, since their room would not come back.
 */
static void
make_room(int64 bytes)
{
	int64		limit = (int64) dupn_max_mapped_size * 1024;
	int64		total = bytes;
	int			n;
	MappedFile *files = mapped_list(&n);

	for (int i = 0; i < n; i++)
		total += files[i].size;
	qsort(files, n, sizeof(MappedFile), compare_used);
	for (int i = 0; i < n && total > limit; i++)
	{
		int			fd = is_new(&files[i]) ? -1 : open_unused(files[i].path);

		if (fd < 0)
			continue;
		if (unlink(files[i].path) == 0)
			total -= files[i].size;
		(void) close(fd);
	}
	pfree(files);
}

/* ---------------- writing ---------------- */

static void
drop_view(MappedWriter *writer)
{
	if (writer->view)
		(void) munmap(writer->view, writer->view_size);
	writer->view = NULL;
}

void
mapped_write(MappedWriter *writer, const void *data, size_t bytes)
{
	const char *from = data;

	drop_view(writer);
	while (bytes > 0)
	{
		ssize_t		some;

		CHECK_FOR_INTERRUPTS();
		errno = 0;
		some = write(writer->fd, from, Min(bytes, WRITE_BYTES));
		if (some < 0 && errno == EINTR)
			continue;
		if (some <= 0)
		{
			/* as PostgreSQL does: no room is what a short write means */
			if (errno == 0)
				errno = ENOSPC;
			file_error("write", writer->path);
		}
		from += some;
		bytes -= some;
		writer->size += some;
	}
}

void
mapped_align(MappedWriter *writer)
{
	static const char zeros[MAPPED_ALIGN];

	mapped_write(writer, zeros, (MAPPED_ALIGN - writer->size % MAPPED_ALIGN) % MAPPED_ALIGN);
}

const char *
mapped_written(MappedWriter *writer)
{
	if (writer->view == NULL)
	{
		void	   *view = mmap(NULL, writer->size, PROT_READ, MAP_SHARED, writer->fd, 0);

		if (view == MAP_FAILED)
			map_error(writer->path);
		writer->view = view;
		writer->view_size = writer->size;
	}
	return writer->view;
}

static void
write_and_map(Mapped *mapped, const VersionRow *row, MappedPart part, const char *path, size_t estimate,
			  MappedMake make, void *argument)
{
	MappedWriter writer = {0};
	Trailer		trailer;

	if (MakePGDirectory(FOLDER) != 0 && errno != EEXIST)
		file_error("create directory", FOLDER);
	make_room(estimate);

	snprintf(writer.path, MAXPGPATH, "%s/%snew_%d_%d", FOLDER, PREFIX, MyProcPid, part);
	(void) unlink(writer.path);
	writer.fd = BasicOpenFile(writer.path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | PG_BINARY);
	if (writer.fd < 0)
		file_error("create", writer.path);
	PG_TRY();
	{
		/* in use, lest somebody takes it for a dead writer's */
		(void) flock(writer.fd, LOCK_SH);
		make(&writer, argument);
		mapped_align(&writer);
		trailer = file_trailer(row, part, writer.size);
		mapped_write(&writer, &trailer, sizeof(trailer));
		(void) mapped_written(&writer);
		fail_point("mapped: written");
		if (rename(writer.path, path) != 0)
			file_error("rename", writer.path);
	}
	PG_CATCH();
	{
		drop_view(&writer);
		(void) close(writer.fd);
		(void) unlink(writer.path);
		PG_RE_THROW();
	}
	PG_END_TRY();
	mapped->data = writer.view;
	mapped->size = writer.view_size;
	hold(mapped, writer.fd);
}

void
mapped_attach(Mapped *mapped, const VersionRow *row, MappedPart part, size_t estimate,
			  MappedMake make, void *argument)
{
	char		path[MAXPGPATH];

	if (row->bytes <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("%s is damaged", row->what),
				 errdetail("Its row says that it has no bytes.")));
	file_path(path, row->fingerprint, row->bytes, part);
	if (map_existing(mapped, row, part, path, false))
		return;

	/* the others wait for one writer and find its file */
	lock_writer(row, part, true);
	if (!map_existing(mapped, row, part, path, true))
		write_and_map(mapped, row, part, path, estimate, make, argument);
	lock_writer(row, part, false);
}

/* ---------------- what is no longer needed ---------------- */

void
mapped_remove(int64 fingerprint, int64 bytes)
{
	for (int part = 0; part < lengthof(suffix); part++)
	{
		char		path[MAXPGPATH];

		file_path(path, fingerprint, bytes, part);
		(void) unlink(path);
	}
}

/* Files of versions that this transaction drops. */
typedef struct Dropped
{
	struct Dropped *next;
	int64		fingerprint;
	int64		bytes;
} Dropped;

static Dropped *dropped = NULL; /* in TopTransactionContext */

static void
remove_dropped(XactEvent event, void *argument)
{
	switch (event)
	{
		case XACT_EVENT_COMMIT:
			for (Dropped *version = dropped; version; version = version->next)
				mapped_remove(version->fingerprint, version->bytes);
			dropped = NULL;
			break;
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			/* the next sweep finds what a prepared transaction drops */
			dropped = NULL;
			break;
		default:
			break;
	}
}

void
mapped_drop_at_commit(int64 fingerprint, int64 bytes)
{
	static bool registered = false;
	Dropped    *version = MemoryContextAlloc(TopTransactionContext, sizeof(Dropped));

	if (!registered)
		RegisterXactCallback(remove_dropped, NULL);
	registered = true;
	version->fingerprint = fingerprint;
	version->bytes = bytes;
	version->next = dropped;
	dropped = version;
}

void
mapped_sweep(void)
{
	int			n;
	MappedFile *files = mapped_list(&n);

	for (int i = 0; i < n; i++)
	{
		const MappedFile *file = &files[i];
		bool		needed;

		if (!file->finished)
			needed = is_new(file) || mapped_in_use(file);
		else if (file->database == MyDatabaseId)
			needed = state_read("SELECT 1 FROM _dupn.version WHERE fingerprint OPERATOR(pg_catalog.=) $1"
								" AND state OPERATOR(pg_catalog.<>) 'dropped'",
								1, (Oid[]) {INT8OID}, (Datum[]) {Int64GetDatum(file->fingerprint)},
								NULL, NULL, NULL) > 0;
		else
			needed = SearchSysCacheExists1(DATABASEOID, ObjectIdGetDatum(file->database));
		if (!needed)
			(void) unlink(file->path);
	}
	pfree(files);
}
