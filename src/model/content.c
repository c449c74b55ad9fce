/*-------------------------------------------------------------------------
 *
 * content.c
 *	  Stored files read back as a whole, from front to back
 *
 * A difference asks the file it is a difference to for what it copies, always
 * for something behind what it asked for before, and that one may be a
 * difference itself.  So a file of any size is read with two windows of each
 * file of the chain in memory.  The rows may have been written by a stranger:
 * every number is checked, and at the end the checksum of the whole.
 *
 *-------------------------------------------------------------------------
 */
#include "model/content.h"

#include <stdarg.h>

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#define WINDOW_BYTES	((size_t) 256 << 10)

const ContentTables content_tables[] = {
	[CONTENT_WEIGHTS] = {"version", "version_pkey", "weight"},
	[CONTENT_OPTIMIZER] = {"optimizer", "optimizer_pkey", "optimizer_part"}
};

/* Some stored bytes of a file. */
typedef struct Window
{
	char	   *data;
	int64		at;
	int64		n;
} Window;

typedef struct Level
{
	VersionRow	row;
	struct Level *base;			/* NULL: stored whole */
	Window		window;			/* of the whole, or of a difference's data */
	int64		at;				/* bytes of the whole that were read or left out */

	/* of a difference */
	Window		runs;
	DeltaShape	shape;			/* of what is left: runs, and data from data_at on */
	DeltaRun	run;			/* what is left of it */
	int64		from;			/* behind the last byte copied from the base */
} Level;

struct ContentReader
{
	ContentKind kind;
	MemoryContext context;
	OwnerGuard	guard;
	SPIPlanPtr	plan;
	void		(*check) (void);
	const char *what;
	pg_crc32c	crc;
	Level	   *top;
};

/* ---------------- rows ---------------- */

bool
content_row(VersionRow *row, ContentKind kind, HeapTuple tuple, TupleDesc tupdesc)
{
	bool		isnull[6] = {false};

	row->fingerprint = 0;
	if (kind == CONTENT_WEIGHTS)
		row->fingerprint = DatumGetInt64(state_column(tuple, tupdesc, "fingerprint", &isnull[0]));
	row->bytes = DatumGetInt64(state_column(tuple, tupdesc, "bytes", &isnull[1]));
	row->stored_bytes = DatumGetInt64(state_column(tuple, tupdesc, "stored_bytes", &isnull[2]));
	row->parts = DatumGetInt32(state_column(tuple, tupdesc, "parts", &isnull[3]));
	row->checksum = DatumGetInt32(state_column(tuple, tupdesc, "checksum", &isnull[4]));
	row->delta_of = DatumGetInt32(state_column(tuple, tupdesc, "delta_of", &isnull[5]));
	if (isnull[5])
		row->delta_of = 0;
	return !isnull[0] && !isnull[1] && !isnull[2] && !isnull[3] && !isnull[4];
}

bool
content_find(VersionRow *row, ContentKind kind, int32 model_id, int32 version)
{
	StateScan	scan;
	ScanKeyData keys[2];
	HeapTuple	tuple;
	bool		found;

	row->model_id = model_id;
	row->version = version;
	state_key(&keys[0], 1, model_id);
	state_key(&keys[1], 2, version);
	state_begin(&scan, content_tables[kind].row, content_tables[kind].key, 2, keys);
	tuple = state_next(&scan);
	found = tuple != NULL && content_row(row, kind, tuple, RelationGetDescr(scan.relation));
	state_end(&scan);
	return found;
}

/* ---------------- errors ---------------- */

void
content_damaged(const ContentReader *reader, const char *format,...)
{
	char		message[256];
	va_list		arguments;

	va_start(arguments, format);
	vsnprintf(message, sizeof(message), format, arguments);
	va_end(arguments);
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("%s is damaged", reader->what),
			 errdetail("%s", message),
			 reader->kind == CONTENT_WEIGHTS ?
			 errhint("Publish another version with dupn_publish, or train again.") :
			 errhint("A training with \"keep_optimizer\": false goes on without it.")));
}

static void bytes_differ(const ContentReader *reader) pg_attribute_noreturn();

static void
bytes_differ(const ContentReader *reader)
{
	content_damaged(reader, "The bytes stored are not those its checksum was taken of.");
}

static void delta_damaged(const ContentReader *reader, const Level *level) pg_attribute_noreturn();

static void
delta_damaged(const ContentReader *reader, const Level *level)
{
	content_damaged(reader, "What is stored of version %d is not a difference to version %d.",
					level->row.version, level->row.delta_of);
}

/* ---------------- stored bytes ---------------- */

/* Fill a window from a place on. */
static void
fetch(ContentReader *reader, Level *level, Window *window, int64 at)
{
	MemoryContext caller = CurrentMemoryContext;
	const VersionRow *row = &level->row;
	int32		part = (int32) (at / (int64) IMAGE_PART_BYTES);
	int64		begin = (int64) part * IMAGE_PART_BYTES;
	int64		size = Min((int64) IMAGE_PART_BYTES, row->stored_bytes - begin);
	int64		bytes = Min((int64) WINDOW_BYTES, begin + size - at);
	Datum		values[] = {Int32GetDatum(row->model_id), Int32GetDatum(row->version), Int32GetDatum(part),
	Int32GetDatum((int32) (at - begin) + 1), Int32GetDatum((int32) bytes)};
	bytea	   *data;
	Datum		stored;
	bool		isnull;

	CHECK_FOR_INTERRUPTS();
	if (reader->check)
		reader->check();
	if (SPI_execute_plan(reader->plan, values, NULL, true, 1) != SPI_OK_SELECT || SPI_processed != 1)
	{
		if (level == reader->top)
			content_damaged(reader, "Part %d of its %d parts is missing.", part, row->parts);
		content_damaged(reader, "Part %d of the %d parts of version %d, which it is a difference to, is missing.",
						part, row->parts, row->version);
	}
	if (DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull)) != size)
		bytes_differ(reader);
	stored = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	data = DatumGetByteaPP(stored);
	if (VARSIZE_ANY_EXHDR(data) != bytes)
		bytes_differ(reader);
	if (window->data == NULL)
		window->data = MemoryContextAlloc(reader->context, WINDOW_BYTES);
	memcpy(window->data, VARDATA_ANY(data), bytes);
	window->at = at;
	window->n = bytes;
	if ((Pointer) data != DatumGetPointer(stored))
		pfree(data);
	SPI_freetuptable(SPI_tuptable);
	MemoryContextSwitchTo(caller);
}

static void
read_stored(ContentReader *reader, Level *level, Window *window, int64 at, char *out, int64 bytes)
{
	while (bytes > 0)
	{
		int64		some;

		if (at < window->at || at >= window->at + window->n)
			fetch(reader, level, window, at);
		some = Min(bytes, window->at + window->n - at);
		memcpy(out, window->data + (at - window->at), some);
		out += some;
		at += some;
		bytes -= some;
	}
}

/* ---------------- differences ---------------- */

static void
next_run(ContentReader *reader, Level *level)
{
	DeltaShape *shape = &level->shape;
	DeltaRun   *run = &level->run;

	if (shape->runs == 0)
		delta_damaged(reader, level);
	read_stored(reader, level, &level->runs, shape->runs_at, (char *) run, sizeof(*run));
	shape->runs_at += sizeof(*run);
	shape->runs--;
	if (run->literal < 0 || run->skip < 0 || run->copy < 0 ||
		run->literal > shape->data_end - shape->data_at ||
		(int64) run->skip + run->copy > level->base->row.bytes - level->from)
		delta_damaged(reader, level);
}

static void read_level(ContentReader *reader, Level *level, int64 from, char *out, int64 bytes);

/* The next bytes of a file, out NULL: none of them are wanted. */
static void
go_on(ContentReader *reader, Level *level, char *out, int64 bytes)
{
	DeltaRun   *run = &level->run;

	if (bytes > level->row.bytes - level->at)
		bytes_differ(reader);
	if (level->base == NULL)
	{
		if (out)
			read_stored(reader, level, &level->window, level->at, out, bytes);
		level->at += bytes;
		return;
	}
	while (bytes > 0)
	{
		int64		some;

		if (run->literal > 0)
		{
			some = Min(bytes, run->literal);
			if (out)
				read_stored(reader, level, &level->window, level->shape.data_at, out, some);
			level->shape.data_at += some;
			run->literal -= (int32) some;
		}
		else if (run->copy > 0)
		{
			level->from += run->skip;
			run->skip = 0;
			some = Min(bytes, run->copy);
			if (out)
				read_level(reader, level->base, level->from, out, some);
			level->from += some;
			run->copy -= (int32) some;
		}
		else
		{
			level->from += run->skip;
			next_run(reader, level);
			continue;
		}
		if (out)
			out += some;
		level->at += some;
		bytes -= some;
	}
}

static void
read_level(ContentReader *reader, Level *level, int64 from, char *out, int64 bytes)
{
	go_on(reader, level, NULL, from - level->at);
	go_on(reader, level, out, bytes);
}

/* ---------------- beginning and end ---------------- */

static void
check_row(const ContentReader *reader, const VersionRow *row)
{
	int64		parts;

	if (row->bytes <= 0 || row->stored_bytes <= 0 || (row->delta_of == 0 && row->stored_bytes != row->bytes))
		bytes_differ(reader);
	parts = (row->stored_bytes - 1) / (int64) IMAGE_PART_BYTES + 1;
	if (row->parts != parts)
		content_damaged(reader, "The row of version %d says that it has %d parts.", row->version, row->parts);
}

static void
open_delta(ContentReader *reader, Level *level)
{
	char	   *header = palloc(DELTA_HEADER_MOST);
	int64		length;

	if (level->row.stored_bytes < (int64) sizeof(uint64))
		delta_damaged(reader, level);
	read_stored(reader, level, &level->runs, 0, header, sizeof(uint64));
	length = file_header_bytes(header);
	if (length < (int64) sizeof(uint64) || length > (int64) DELTA_HEADER_MOST || length > level->row.stored_bytes)
		delta_damaged(reader, level);
	read_stored(reader, level, &level->runs, 0, header, length);
	if (!delta_parse(&level->shape, header, level->row.stored_bytes))
		delta_damaged(reader, level);
	pfree(header);
}

ContentReader *
content_open(ContentKind kind, const VersionRow *row, void (*check) (void))
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext context = AllocSetContextCreate(caller, "dupn stored bytes", ALLOCSET_DEFAULT_SIZES);
	ContentReader *reader = MemoryContextAllocZero(context, sizeof(ContentReader));
	Oid			types[] = {INT4OID, INT4OID, INT4OID, INT4OID, INT4OID};
	char		sql[256];
	Level	   *level;

	reader->kind = kind;
	reader->context = context;
	reader->check = check;
	reader->what = row->what;
	INIT_CRC32C(reader->crc);
	level = reader->top = MemoryContextAllocZero(context, sizeof(Level));
	level->row = *row;
	check_row(reader, row);
	for (int n = 0; level->row.delta_of != 0; n++)
	{
		Level	   *base = MemoryContextAllocZero(context, sizeof(Level));

		/* older and older, so that the chain has an end */
		if (level->row.delta_of >= level->row.version || n == CONTENT_CHAIN_MOST)
			content_damaged(reader, "Version %d cannot be stored as a difference to version %d.",
							level->row.version, level->row.delta_of);
		if (!content_find(&base->row, kind, row->model_id, level->row.delta_of))
			content_damaged(reader, "It is stored as a difference to version %d, which is missing.",
							level->row.delta_of);
		check_row(reader, &base->row);
		level->base = base;
		level = base;
	}

	owner_begin(&reader->guard);
	snprintf(sql, sizeof(sql), "SELECT pg_catalog.substr(data, $4, $5), pg_catalog.octet_length(data) FROM _dupn.%s"
			 " WHERE model_id OPERATOR(pg_catalog.=) $1 AND version OPERATOR(pg_catalog.=) $2"
			 " AND part OPERATOR(pg_catalog.=) $3", content_tables[kind].part);
	reader->plan = SPI_prepare(sql, lengthof(types), types);
	if (reader->plan == NULL)
		elog(ERROR, "could not prepare the query of stored bytes");
	MemoryContextSwitchTo(caller);
	for (level = reader->top; level->base; level = level->base)
		open_delta(reader, level);
	return reader;
}

void
content_read(ContentReader *reader, void *out, size_t bytes)
{
	go_on(reader, reader->top, out, bytes);
	COMP_CRC32C(reader->crc, out, bytes);
}

void
content_pass(ContentReader *reader, int64 to)
{
	go_on(reader, reader->top, NULL, to - reader->top->at);
}

void
content_verify(ContentReader *reader)
{
	const VersionRow *row = &reader->top->row;

	if (reader->top->at != row->bytes || checksum_end(reader->crc, row->fingerprint) != row->checksum)
		bytes_differ(reader);
}

void
content_close(ContentReader *reader)
{
	owner_end(&reader->guard);
	MemoryContextDelete(reader->context);
}
