/*-------------------------------------------------------------------------
 *
 * mapped.c
 *	  The file through which all backends share the bytes of a version
 *
 * It lies in the data directory's temporary-files folder under the prefix of
 * temporary files: the server removes it when it starts, no backup holds it,
 * and it may be written on a standby.  Its name is the content's fingerprint,
 * so it is never stale and never changed: it is written with write() under
 * another name (a full disk is then an error, not a SIGBUS), checked, and
 * renamed.  Whoever has it mapped keeps it when it is unlinked.
 *
 *-------------------------------------------------------------------------
 */
#include "model/image.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utime.h>

#include "catalog/pg_type.h"
#include "common/file_utils.h"
#include "executor/spi.h"
#include "settings.h"
#include "storage/fd.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#define FOLDER		"base/" PG_TEMP_FILES_DIR
#define PREFIX		PG_TEMP_FILE_PREFIX "_dupn_"

/* A writer's lock: fourth field of advisory locks, of which users have 1 and 2. */
#define LOCK_MAPPED_FILE	25717

/* An unfinished file that its writer left behind is removed after this long. */
#define UNFINISHED_SECONDS	3600

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

static void
lock_file(const VersionRow *row, bool take)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, (uint32) ((uint64) row->fingerprint >> 32),
						 (uint32) row->fingerprint, LOCK_MAPPED_FILE);
	if (take)
		LockAcquire(&tag, ExclusiveLock, false, false);
	else
		LockRelease(&tag, ExclusiveLock, false);
}

/* Map an open file of the right size; NULL when it has another. */
static const void *
map(int fd, const char *path, int64 bytes)
{
	struct stat st;
	void	   *data;

	if (fstat(fd, &st) != 0)
		file_error("stat", path);
	if (st.st_size != bytes)
		return NULL;
	data = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);
	if (data == MAP_FAILED)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("could not map file \"%s\": %m", path)));
	return data;
}

/* Map the file if it is there. */
static const void *
map_existing(const VersionRow *row, const char *path)
{
	int			fd = OpenTransientFile(path, O_RDONLY | PG_BINARY);
	const void *data;

	if (fd < 0)
	{
		if (errno != ENOENT)
			file_error("open", path);
		return NULL;
	}
	data = map(fd, path, row->bytes);
	CloseTransientFile(fd);

	/* files go by age of last use; no harm if that fails */
	if (data)
		(void) utime(path, NULL);
	return data;
}

typedef struct Entry
{
	char		path[MAXPGPATH];
	int64		size;
	time_t		used;
} Entry;

static int
compare_entries(const void *a, const void *b)
{
	time_t		x = ((const Entry *) a)->used;
	time_t		y = ((const Entry *) b)->used;

	return x < y ? -1 : x > y;
}

/* Remove the files unused for longest until `bytes` more fit the setting. */
static void
make_room(int64 bytes)
{
	int64		limit = (int64) dupn_max_mapped_size * 1024;
	int64		total = bytes;
	int			n = 0;
	int			room = 64;
	Entry	   *entries = palloc(sizeof(Entry) * room);
	time_t		now = time(NULL);
	DIR		   *dir = AllocateDir(FOLDER);
	struct dirent *de;

	while ((de = ReadDirExtended(dir, FOLDER, LOG)) != NULL)
	{
		Entry	   *entry;
		struct stat st;

		if (strncmp(de->d_name, PREFIX, strlen(PREFIX)) != 0)
			continue;
		if (n == room)
			entries = repalloc_huge(entries, sizeof(Entry) * (room *= 2));
		entry = &entries[n];
		snprintf(entry->path, MAXPGPATH, "%s/%s", FOLDER, de->d_name);
		if (stat(entry->path, &st) != 0)
			continue;
		entry->size = st.st_size;
		entry->used = st.st_mtime;
		total += st.st_size;

		/* another backend's file that is being written now counts, but stays */
		if (strncmp(de->d_name + strlen(PREFIX), "new_", 4) != 0 ||
			now - st.st_mtime > UNFINISHED_SECONDS)
			n++;
	}
	FreeDir(dir);

	qsort(entries, n, sizeof(Entry), compare_entries);
	for (int i = 0; i < n && total > limit; i++)
		if (unlink(entries[i].path) == 0)
			total -= entries[i].size;
	pfree(entries);
}

static void
write_all(int fd, const char *path, const char *data, size_t bytes)
{
	while (bytes > 0)
	{
		ssize_t		some;

		errno = 0;
		some = write(fd, data, bytes);
		if (some < 0 && errno == EINTR)
			continue;
		if (some <= 0)
		{
			/* as PostgreSQL does: no room is what a short write means */
			if (errno == 0)
				errno = ENOSPC;
			file_error("write", path);
		}
		data += some;
		bytes -= some;
	}
}

/* Copy the parts of _dupn.weight into a file; they must be what the row says. */
static void
write_parts(const VersionRow *row, int fd, const char *path)
{
	Oid			types[] = {INT4OID, INT4OID, INT4OID};
	Fingerprint *fingerprint = fingerprint_begin();
	int64		bytes = 0;
	OwnerGuard	guard;
	SPIPlanPtr	plan;

	owner_begin(&guard);
	plan = SPI_prepare("SELECT data FROM _dupn.weight WHERE model_id OPERATOR(pg_catalog.=) $1"
					   " AND version OPERATOR(pg_catalog.=) $2 AND part OPERATOR(pg_catalog.=) $3",
					   3, types);
	if (plan == NULL)
		elog(ERROR, "could not prepare the query of weights");
	for (int part = 0; part < row->parts; part++)
	{
		Datum		values[] = {Int32GetDatum(row->model_id), Int32GetDatum(row->version),
		Int32GetDatum(part)};
		Datum		stored;
		bytea	   *data;
		bool		isnull;

		CHECK_FOR_INTERRUPTS();
		if (SPI_execute_plan(plan, values, NULL, true, 1) != SPI_OK_SELECT || SPI_processed != 1)
			ereport(ERROR,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg("%s is damaged", row->what),
					 errdetail("Part %d of its %d parts is missing.", part, row->parts)));
		stored = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
		data = DatumGetByteaPP(stored);
		bytes += VARSIZE_ANY_EXHDR(data);
		if (bytes > row->bytes)
			break;
		fingerprint_add(fingerprint, VARDATA_ANY(data), VARSIZE_ANY_EXHDR(data));
		write_all(fd, path, VARDATA_ANY(data), VARSIZE_ANY_EXHDR(data));
		if ((Pointer) data != DatumGetPointer(stored))
			pfree(data);
		SPI_freetuptable(SPI_tuptable);
	}
	owner_end(&guard);
	if (fingerprint_end(fingerprint) != row->fingerprint || bytes != row->bytes)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("%s is damaged", row->what),
				 errdetail("The bytes stored are not those its fingerprint was taken of."),
				 errhint("Publish another version with dupn_publish, or train again.")));
}

static const void *
write_and_map(const VersionRow *row, const char *path,
			  void (*check) (const VersionRow *row, const void *data, size_t size))
{
	char		new_path[MAXPGPATH];
	const void *volatile data = NULL;
	int			fd;

	if (MakePGDirectory(FOLDER) != 0 && errno != EEXIST)
		file_error("create directory", FOLDER);
	make_room(row->bytes);

	/* one file at a time and backend, so an earlier one was left by an error */
	snprintf(new_path, MAXPGPATH, "%s/%snew_%d", FOLDER, PREFIX, MyProcPid);
	(void) unlink(new_path);
	fd = OpenTransientFile(new_path, O_RDWR | O_CREAT | O_EXCL | PG_BINARY);
	if (fd < 0)
		file_error("create", new_path);
	PG_TRY();
	{
		write_parts(row, fd, new_path);
		data = map(fd, new_path, row->bytes);
		if (data == NULL)
			elog(ERROR, "file \"%s\" changed while it was written", new_path);
		check(row, data, row->bytes);
		if (rename(new_path, path) != 0)
			file_error("rename", new_path);
	}
	PG_CATCH();
	{
		if (data)
			mapped_detach(data, row->bytes);
		(void) unlink(new_path);
		PG_RE_THROW();
	}
	PG_END_TRY();
	CloseTransientFile(fd);
	return data;
}

const void *
mapped_attach(const VersionRow *row, void (*check) (const VersionRow *row, const void *data, size_t size))
{
	char		path[MAXPGPATH];
	const void *data;

	if (row->bytes <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("%s is damaged", row->what),
				 errdetail("Its row says that it has no bytes.")));
	snprintf(path, MAXPGPATH, "%s/%s%u_%016llx_%lld", FOLDER, PREFIX, MyDatabaseId,
			 (unsigned long long) row->fingerprint, (long long) row->bytes);
	data = map_existing(row, path);
	if (data)
		return data;

	/* the others wait for one writer and find its file */
	lock_file(row, true);
	data = map_existing(row, path);
	if (data == NULL)
		data = write_and_map(row, path, check);
	lock_file(row, false);
	return data;
}

void
mapped_detach(const void *data, size_t size)
{
	(void) munmap(unconstify(void *, data), size);
}
