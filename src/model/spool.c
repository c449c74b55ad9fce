/*-------------------------------------------------------------------------
 *
 * spool.c
 *	  Temporary files that are written once and then read through a mapping
 *
 * They lie among PostgreSQL's own, so temp_file_limit counts them and a restart
 * removes them.  Their bytes are the page cache's, not the process's.
 *
 *-------------------------------------------------------------------------
 */
#include "model/model.h"

#include <fcntl.h>
#include <sys/mman.h>

#include "utils/wait_event.h"

/* Written at a time: interrupts are answered in between. */
#define WRITE_BYTES	((size_t) 1 << 20)

void
spool_write(File file, off_t at, const void *data, size_t bytes, const char *hint)
{
	size_t		done = 0;

	while (done < bytes)
	{
		int			chunk = (int) Min(bytes - done, WRITE_BYTES);
		int			written = FileWrite(file, unconstify(char *, (const char *) data) + done, chunk,
										at + (off_t) done, WAIT_EVENT_BUFFILE_WRITE);

		if (written != chunk)
			ereport(ERROR,
					(errcode_for_file_access(),
					 errmsg("could not write to temporary file \"%s\": %m", FilePathName(file)),
					 hint ? errhint("%s", hint) : 0));
		done += chunk;
		CHECK_FOR_INTERRUPTS();
	}
}

void *
spool_map(File file, size_t bytes)
{
	int			fd = OpenTransientFile(FilePathName(file), O_RDONLY | PG_BINARY);
	void	   *map;

	if (fd < 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not open temporary file \"%s\": %m", FilePathName(file))));
	map = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("could not map temporary file \"%s\": %m", FilePathName(file))));
	CloseTransientFile(fd);
	return map;
}

struct Spool
{
	File		file;
	size_t		bytes;
	void	   *map;			/* or NULL */
	MemoryContextCallback callback;
};

static void
spool_release(void *argument)
{
	Spool	   *spool = argument;

	if (spool->map != NULL)
		munmap(spool->map, spool->bytes);
	FileClose(spool->file);
}

/* The file outlives resource owners, but not the context. */
Spool *
spool_begin(MemoryContext context)
{
	Spool	   *spool = MemoryContextAllocZero(context, sizeof(Spool));

	spool->file = OpenTemporaryFile(true);
	spool->callback.func = spool_release;
	spool->callback.arg = spool;
	MemoryContextRegisterResetCallback(context, &spool->callback);
	return spool;
}

void
spool_add(Spool *spool, const void *data, size_t bytes)
{
	Assert(spool->map == NULL);
	spool_write(spool->file, (off_t) spool->bytes, data, bytes,
				"A file that is imported is copied to temporary files.");
	spool->bytes += bytes;
}

const void *
spool_read(Spool *spool, size_t *bytes)
{
	if (spool->map == NULL && spool->bytes > 0)
		spool->map = spool_map(spool->file, spool->bytes);
	*bytes = spool->bytes;
	return spool->map;
}
