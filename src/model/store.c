/*-------------------------------------------------------------------------
 *
 * store.c
 *	  Writing a version: a safetensors file as rows of _dupn.weight
 *
 * The file is never built in one piece, because it may be larger than what
 * palloc gives: parts of 4 MB are copied from where the tensors lie.  Each part
 * commits by itself, under a version in state "building", so that no long
 * transaction holds back vacuum; a version that was never finished is swept
 * away by its job.
 *
 *-------------------------------------------------------------------------
 */
#include "model/model.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "model/image.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

/* The bytes of an image in file order: its header, then its pieces. */
typedef struct Source
{
	const char *header;
	size_t		header_bytes;
	const ImagePiece *pieces;
	int			n;
	int			piece;			/* -1: in the header */
	size_t		at;				/* in the piece */
} Source;

static size_t
source_bytes(const Source *source)
{
	return source->n > 0 ? source->pieces[source->n - 1].tensor.end : source->header_bytes;
}

/* The next bytes, at most `most` of them; 0 at the end. */
static size_t
source_read(Source *source, char *out, size_t most)
{
	size_t		done = 0;

	while (done < most && source->piece < source->n)
	{
		const ImagePiece *piece = source->piece < 0 ? NULL : &source->pieces[source->piece];
		const char *data = piece ? piece->data : source->header;
		size_t		bytes = piece ? piece->tensor.end - piece->tensor.begin : source->header_bytes;
		size_t		some = Min(bytes - source->at, most - done);

		if (some > 0)
			memcpy(out + done, data + source->at, some);
		done += some;
		source->at += some;
		if (source->at == bytes)
		{
			source->piece++;
			source->at = 0;
		}
	}
	return done;
}

static void
source_rewind(Source *source)
{
	source->piece = -1;
	source->at = 0;
}

/* Needs a transaction: OpenSSL's digests belong to a resource owner. */
static int64
source_fingerprint(Source *source, char *buffer, int32 *checksum, void (*check) (void))
{
	Fingerprint *digest = fingerprint_begin();
	int64		fingerprint;
	pg_crc32c	crc;
	size_t		bytes;

	INIT_CRC32C(crc);
	source_rewind(source);
	while ((bytes = source_read(source, buffer, IMAGE_PART_BYTES)) > 0)
	{
		fingerprint_add(digest, buffer, bytes);
		COMP_CRC32C(crc, buffer, bytes);
		check();
	}
	fingerprint = fingerprint_end(digest);
	*checksum = checksum_end(crc, fingerprint);
	return fingerprint;
}

static void
execute(const char *sql, int n, Oid *types, Datum *values, int expected)
{
	OwnerGuard	guard;

	PushActiveSnapshot(GetTransactionSnapshot());
	owner_begin(&guard);
	if (SPI_execute_with_args(sql, n, types, values, NULL, false, 0) != expected || SPI_processed != 1)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the version being stored no longer exists")));
	owner_end(&guard);
	PopActiveSnapshot();
}

/* Of a job that is in no transaction; others store in the one they are in. */
static void
begin(bool own)
{
	if (own)
		StartTransactionCommand();
}

static void
commit(bool own)
{
	if (own)
		CommitTransactionCommand();
}

/*
 * The header's tensors are filled in here, in the order of the pieces.  The
 * caller's memory context is current again afterwards.
 */
static void
store(int32 model_id, int32 version, const char *metadata, ImagePiece *pieces, int n,
	  void (*check) (void), bool own)
{
	MemoryContext context = CurrentMemoryContext;
	nn_file_tensor *tensor = palloc(sizeof(nn_file_tensor) * Max(n, 1));
	bytea	   *part = palloc(VARHDRSZ + IMAGE_PART_BYTES);
	Source		source = {.pieces = pieces, .n = n};
	char	   *header;
	size_t		bytes;
	int			parts = 0;
	int64		fingerprint;
	int32		checksum;

	for (int i = 0; i < n; i++)
		tensor[i] = pieces[i].tensor;
	source.header_bytes = nn_file_header(tensor, n, metadata, NULL, 0);
	header = palloc(source.header_bytes);
	nn_file_header(tensor, n, metadata, header, source.header_bytes);
	source.header = header;
	for (int i = 0; i < n; i++)
		pieces[i].tensor = tensor[i];

	source_rewind(&source);
	while ((bytes = source_read(&source, VARDATA(part), IMAGE_PART_BYTES)) > 0)
	{
		Oid			types[] = {INT4OID, INT4OID, INT4OID, BYTEAOID};
		Datum		values[] = {Int32GetDatum(model_id), Int32GetDatum(version),
		Int32GetDatum(parts), PointerGetDatum(part)};

		SET_VARSIZE(part, VARHDRSZ + bytes);
		check();
		begin(own);
		execute("INSERT INTO _dupn.weight (model_id, version, part, data) VALUES ($1, $2, $3, $4)",
				4, types, values, SPI_OK_INSERT);
		commit(own);
		parts++;
	}

	begin(own);
	fingerprint = source_fingerprint(&source, VARDATA(part), &checksum, check);
	{
		Oid			types[] = {INT4OID, INT4OID, INT8OID, INT8OID, INT4OID, INT4OID};
		Datum		values[] = {Int32GetDatum(model_id), Int32GetDatum(version),
			Int64GetDatum(fingerprint), Int64GetDatum((int64) source_bytes(&source)),
		Int32GetDatum(parts), Int32GetDatum(checksum)};

		execute("UPDATE _dupn.version SET fingerprint = $3, bytes = $4, parts = $5, checksum = $6"
				" WHERE model_id OPERATOR(pg_catalog.=) $1 AND version OPERATOR(pg_catalog.=) $2",
				6, types, values, SPI_OK_UPDATE);
	}
	commit(own);

	MemoryContextSwitchTo(context);
	pfree(header);
	pfree(part);
	pfree(tensor);
}

void
image_store(int32 model_id, int32 version, const char *metadata, ImagePiece *pieces, int n,
			const ModelImage *parent, void (*check) (void))
{
	store(model_id, version, metadata, pieces, n, check, true);
}

void
image_insert(int32 model_id, int32 version, const char *metadata, ImagePiece *pieces, int n,
			 void (*check) (void))
{
	store(model_id, version, metadata, pieces, n, check, false);
}
