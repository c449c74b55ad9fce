/*-------------------------------------------------------------------------
 *
 * image_cache.c
 *	  Versions in use: found by their rows, mapped, kept by the backend
 *
 *-------------------------------------------------------------------------
 */
#include "model/content.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <sys/mman.h>

#include "access/xact.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

/* Images of other transactions are forgotten beyond this many ... */
#define CACHED_IMAGES	16

/* Bytes that are copied to a file at a time. */
#define COPY_BYTES		((size_t) 512 << 10)

/* ... and after this long, so that old versions' files do not stay for ever. */
#define IDLE_SECONDS	600

/* ------------------------------------------------------------------------
 * What stands in the files
 * ------------------------------------------------------------------------ */

typedef struct Maker
{
	const VersionRow *row;
	void		(*check) (void);	/* called between the parts, or NULL */
} Maker;

/* Copy the version's bytes; they must be what the row says. */
static void
write_bytes(MappedWriter *writer, const Maker *maker)
{
	const VersionRow *row = maker->row;
	ContentReader *reader = content_open(CONTENT_WEIGHTS, row, maker->check);
	char	   *buffer = palloc(COPY_BYTES);

	for (int64 at = 0; at < row->bytes;)
	{
		size_t		some = Min(row->bytes - at, (int64) COPY_BYTES);

		content_read(reader, buffer, some);
		mapped_write(writer, buffer, some);
		at += some;
	}
	content_verify(reader);
	content_close(reader);
	pfree(buffer);
}

static size_t
prepared_offset(const VersionRow *row)
{
	return TYPEALIGN64(MAPPED_ALIGN, row->bytes);
}

/* The version's bytes, all of them checked, and what nn prepares of them. */
static void
make_weights(MappedWriter *writer, void *argument)
{
	const Maker *maker = argument;
	const VersionRow *row = maker->row;
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext context = AllocSetContextCreate(caller, "dupn check", ALLOCSET_DEFAULT_SIZES);
	ModelImage *image;
	size_t		size;
	void	   *prepared;

	MemoryContextSwitchTo(context);
	write_bytes(writer, maker);
	mapped_align(writer);
	image = image_open(mapped_written(writer), row->bytes, row->what, context);
	size = nn_prepared_size(&image->config, &image->layout);
	prepared = huge_aligned(context, size);
	nn_prepare(&image->config, &image->layout, image->param, prepared);
	mapped_write(writer, prepared, size);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);

#ifdef __GLIBC__
	/* having seen parts of 4 MB come and go, it would keep as much */
	(void) malloc_trim(0);
#endif
}

/* ------------------------------------------------------------------------
 * Images of this backend
 * ------------------------------------------------------------------------ */

typedef struct CachedImage
{
	ModelImage *image;
	TimestampTz used;			/* start of the last transaction that asked for it */
} CachedImage;

static CachedImage *cached = NULL;
static int	n_cached = 0;
static int	cached_room = 0;

/*
 * Forget images, those unused for longest first, but none that this transaction
 * has asked for: a function of a running query may hold it.
 */
static void
make_room(void)
{
	TimestampTz now = GetCurrentTransactionStartTimestamp();

	for (;;)
	{
		int			oldest = -1;
		ModelImage *image;

		for (int i = 0; i < n_cached; i++)
			if (cached[i].used != now && (oldest < 0 || cached[i].used < cached[oldest].used))
				oldest = i;
		if (oldest < 0 || (n_cached < CACHED_IMAGES &&
						   now - cached[oldest].used < IDLE_SECONDS * USECS_PER_SEC))
			break;
		image = cached[oldest].image;
		cached[oldest] = cached[--n_cached];
		MemoryContextDelete(image->context);
	}
	if (n_cached == cached_room)
	{
		cached_room += CACHED_IMAGES;
		cached = cached ? repalloc(cached, sizeof(CachedImage) * cached_room) :
			MemoryContextAlloc(TopMemoryContext, sizeof(CachedImage) * cached_room);
	}
}

static size_t
file_size(const VersionRow *row, const ModelImage *image)
{
	return prepared_offset(row) + nn_prepared_size(&image->config, &image->layout) + MAPPED_TRAILER;
}

/* Map a version's file and index it, in a context that both go with. */
static ModelImage *
open_mapped(const VersionRow *row, const char *model_name, void (*check) (void), MemoryContext context)
{
	Mapped	   *mapped = mapped_in(context);
	Maker		maker = {.row = row,.check = check};
	ModelImage *image;

	for (int attempt = 0;; attempt++)
	{
		mapped_attach(mapped, row, MAPPED_WEIGHTS, row->bytes, make_weights, &maker);
		image = image_index(mapped->data, row->bytes, row->what, context);
		if (mapped->size == file_size(row, image))
			break;

		/* of a library that prepares something else under the same number */
		mapped_detach(mapped);
		if (attempt > 0)
			elog(ERROR, "the mapped file of %s has the wrong size", row->what);
		mapped_remove(row->fingerprint, row->bytes);
	}
	image->model_id = row->model_id;
	image->version = row->version;
	image->fingerprint = row->fingerprint;
	image->model_name = MemoryContextStrdup(context, model_name);
	image->prepared = mapped->data + prepared_offset(row);
	return image;
}

static ModelImage *
attach(const VersionRow *row, const char *model_name)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "dupn version",
												  ALLOCSET_DEFAULT_SIZES);
	ModelImage *image = open_mapped(row, model_name, NULL, context);

	make_room();
	MemoryContextSetParent(context, TopMemoryContext);
	cached[n_cached].image = image;
	cached[n_cached].used = GetCurrentTransactionStartTimestamp();
	n_cached++;
	return image;
}

static ModelImage *
find_cached(const VersionRow *row)
{
	for (int i = 0; i < n_cached; i++)
	{
		ModelImage *image = cached[i].image;

		if (image->model_id == row->model_id && image->version == row->version &&
			image->fingerprint == row->fingerprint)
		{
			cached[i].used = GetCurrentTransactionStartTimestamp();
			return image;
		}
	}
	return NULL;
}

/* ------------------------------------------------------------------------
 * Rows of versions
 * ------------------------------------------------------------------------ */

/* Read a version's row through the caller's snapshot; false: there is none.
 * building: its bytes are enough, it need not be ready. */
static bool
read_version(VersionRow *row, const char *model_name, int32 model_id, int32 version, bool building)
{
	StateScan	scan;
	ScanKeyData keys[2];
	HeapTuple	tuple;
	bool		ready = false;
	bool		found;

	row->what = psprintf("version %d of model \"%s\"", version, model_name);

	state_key(&keys[0], 1, model_id);
	state_key(&keys[1], 2, version);
	state_begin(&scan, "version", "version_pkey", 2, keys);
	tuple = state_next(&scan);
	found = tuple != NULL;
	if (found)
	{
		bool		complete = content_row(row, CONTENT_WEIGHTS, tuple, RelationGetDescr(scan.relation));
		bool		isnull;
		char	   *state = TextDatumGetCString(state_column(tuple, RelationGetDescr(scan.relation), "state", &isnull));

		row->model_id = model_id;
		row->version = version;
		ready = (building || strcmp(state, "ready") == 0) && complete;
		found = strcmp(state, "dropped") != 0;
	}
	state_end(&scan);

	if (found && !ready)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("%s is not ready", row->what),
				 errdetail("Its training has not finished, or was broken off.")));
	return found;
}

/* The row of a version, 0: of the published one. */
static VersionRow
find_version(const Model *model, int32 version)
{
	VersionRow	row;

	if (version == 0)
		version = model->published;
	if (version == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("model \"%s\" has no published version", model->name),
				 errhint("Train it with dupn_train, or publish a version with dupn_publish.")));
	if (!read_version(&row, model->name, model->id, version, false))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("%s does not exist", row.what),
				 errhint("The view dupn_versions lists the versions.")));
	return row;
}

ModelImage *
image_get(const Model *model, int32 version)
{
	VersionRow	row = find_version(model, version);
	ModelImage *image = find_cached(&row);

	return image ? image : attach(&row, model->name);
}

ModelImage *
image_hold(const Model *model, int32 version, void (*check) (void), MemoryContext context)
{
	VersionRow	row = find_version(model, version);

	return open_mapped(&row, model->name, check, context);
}

ModelImage *
image_get_stamped(int32 model_id, int32 version, int64 fingerprint)
{
	const Model *model = model_kept_by_id(model_id, true);
	VersionRow	row;
	ModelImage *image;

	if (model == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the model of the vector no longer exists"),
				 errdetail("The vector was made by version %d of model number %d.", version, model_id)));
	if (!read_version(&row, model->name, model_id, version, false) || row.fingerprint != fingerprint)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("%s, which made the vector, no longer exists", row.what),
				 errhint("Compute the vector again with dupn_user_vector.")));
	image = find_cached(&row);
	return image ? image : attach(&row, model->name);
}

/* What the system took out of memory comes back while nobody waits. */
static void
read_ahead(const void *data, size_t size)
{
	(void) madvise(unconstify(void *, data), size, MADV_WILLNEED);
}

int64
image_prewarm(int32 model_id, int32 version, void (*check) (void))
{
	Model	   *model = model_get_by_id(model_id, false);
	MemoryContext context;
	ModelImage *image;
	VersionRow	row;
	Mapped	   *items;
	int64		bytes;

	if (!read_version(&row, model->name, model_id, version, true))
		return 0;
	context = AllocSetContextCreate(CurrentMemoryContext, "dupn prewarm", ALLOCSET_DEFAULT_SIZES);
	image = open_mapped(&row, model->name, check, context);
	bytes = file_size(&row, image);
	read_ahead(image->file.data, bytes);
	items = mapped_in(context);
	if (model->options.cache_items && items_attach(items, &row, image, check))
	{
		read_ahead(items->data, items->size);
		bytes += items->size;
	}
	MemoryContextDelete(context);
	return bytes;
}
