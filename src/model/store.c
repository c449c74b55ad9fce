/*-------------------------------------------------------------------------
 *
 * store.c
 *	  Writing a version: a safetensors file as rows of _dupn.weight
 *
 * The file is never built in one piece, because it may be larger than what
 * palloc gives: parts of 4 MB are copied from where the tensors lie, or of a
 * difference to its parent's file (delta.c).  Each part commits by itself, under
 * a version in state "building", so that no long transaction holds back vacuum; a
 * version that was never finished is swept away by the next job.
 *
 *-------------------------------------------------------------------------
 */
#include "model/content.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fail.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

/* ---------------- the whole file ---------------- */

Whole
whole_make(const char *metadata, ImagePiece *pieces, int n)
{
	nn_file_tensor *tensor = palloc(sizeof(nn_file_tensor) * Max(n, 1));
	Whole		whole = {.pieces = pieces, .n = n};

	for (int i = 0; i < n; i++)
		tensor[i] = pieces[i].tensor;
	whole.header_bytes = nn_file_header(tensor, n, metadata, NULL, 0);
	whole.header = palloc(whole.header_bytes);
	nn_file_header(tensor, n, metadata, whole.header, whole.header_bytes);
	for (int i = 0; i < n; i++)
		pieces[i].tensor = tensor[i];
	pfree(tensor);
	return whole;
}

/* A place in it. */
typedef struct Place
{
	const Whole *whole;
	int			piece;			/* -1: in the header */
	size_t		at;				/* in the piece */
} Place;

/* The next bytes, at most `most` of them; 0 at the end.  out NULL: leave them out. */
static size_t
whole_read(Place *place, char *out, size_t most)
{
	const Whole *whole = place->whole;
	size_t		done = 0;

	while (done < most && place->piece < whole->n)
	{
		const ImagePiece *piece = place->piece < 0 ? NULL : &whole->pieces[place->piece];
		const char *data = piece ? piece->data : whole->header;
		size_t		bytes = piece ? piece->tensor.end - piece->tensor.begin : whole->header_bytes;
		size_t		some = Min(bytes - place->at, most - done);

		if (some > 0 && out)
			memcpy(out + done, data + place->at, some);
		done += some;
		place->at += some;
		if (place->at == bytes)
		{
			place->piece++;
			place->at = 0;
		}
	}
	return done;
}

/*
 * The checksum, and of weights the fingerprint.  Needs a transaction: OpenSSL's
 * digests belong to a resource owner.
 */
static int64
whole_fingerprint(const Whole *whole, bool named, char *buffer, int32 *checksum, void (*check) (void))
{
	Fingerprint *digest = named ? fingerprint_begin() : NULL;
	Place		place = {.whole = whole, .piece = -1};
	int64		fingerprint = 0;
	pg_crc32c	crc;
	size_t		bytes;

	INIT_CRC32C(crc);
	while ((bytes = whole_read(&place, buffer, IMAGE_PART_BYTES)) > 0)
	{
		if (named)
			fingerprint_add(digest, buffer, bytes);
		COMP_CRC32C(crc, buffer, bytes);
		check();
	}
	if (named)
		fingerprint = fingerprint_end(digest);
	*checksum = checksum_end(crc, fingerprint);
	return fingerprint;
}

/* ---------------- what is stored of it ---------------- */

/* The bytes in the parts: the whole, or a difference. */
typedef struct Source
{
	Place		place;			/* in the whole */
	const Delta *delta;			/* NULL: all of it */
	char	   *header;			/* of the difference */
	int64		front;			/* bytes of its header and runs */
	int64		header_bytes;
	int64		at;
	int64		run;			/* whose literal is read */
	int64		done;			/* of it */
} Source;

static void
source_begin(Source *source, const Whole *whole, const Delta *delta)
{
	*source = (Source) {.place = {.whole = whole, .piece = -1}, .delta = delta};
	if (delta == NULL)
		return;
	source->header_bytes = (int64) delta_header(delta, NULL, 0);
	source->header = palloc(source->header_bytes);
	delta_header(delta, source->header, source->header_bytes);
	source->front = source->header_bytes + delta->n * (int64) sizeof(DeltaRun);
}

static int64
source_bytes(const Source *source)
{
	return source->delta ? source->front + source->delta->literal : whole_bytes(source->place.whole);
}

/* The next literals of the runs. */
static size_t
read_literals(Source *source, char *out, size_t most)
{
	size_t		done = 0;

	while (done < most && source->run < source->delta->n)
	{
		const DeltaRun *run = &source->delta->run[source->run];
		size_t		some = Min(run->literal - source->done, most - done);

		whole_read(&source->place, out + done, some);
		done += some;
		source->done += some;
		if (source->done == run->literal)
		{
			whole_read(&source->place, NULL, run->copy);
			source->run++;
			source->done = 0;
		}
	}
	return done;
}

static size_t
source_read(Source *source, char *out, size_t most)
{
	size_t		done = 0;

	if (source->delta == NULL)
		return whole_read(&source->place, out, most);
	while (done < most && source->at < source->front)
	{
		bool		header = source->at < source->header_bytes;
		int64		end = header ? source->header_bytes : source->front;
		const char *from = header ? source->header + source->at :
			(const char *) source->delta->run + (source->at - source->header_bytes);
		size_t		some = Min(end - source->at, most - done);

		memcpy(out + done, from, some);
		done += some;
		source->at += some;
	}
	return done + read_literals(source, out + done, most - done);
}

/* ---------------- rows ---------------- */

static void
execute(const char *sql, int n, const Oid *types, const Datum *values, const char *nulls)
{
	if (state_execute(sql, n, types, values, nulls, NULL, NULL) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the version being stored no longer exists")));
}

/* Of a job that is in no transaction; others store in the one they are in. */
static void
begin(bool own)
{
	if (own)
		state_transaction();
}

static void
commit(bool own)
{
	if (own)
		CommitTransactionCommand();
}

#define THIS_VERSION \
	" WHERE model_id OPERATOR(pg_catalog.=) $1 AND version OPERATOR(pg_catalog.=) $2"

void
content_store(ContentKind kind, int32 model_id, int32 version, const Whole *whole, const Delta *delta,
			  void (*check) (void), bool own)
{
	MemoryContext context = CurrentMemoryContext;
	bytea	   *part = palloc(VARHDRSZ + IMAGE_PART_BYTES);
	bool		weights = kind == CONTENT_WEIGHTS;
	Source		source;
	size_t		bytes;
	int			parts = 0;
	int64		fingerprint;
	int32		checksum;

	source_begin(&source, whole, delta);
	while ((bytes = source_read(&source, VARDATA(part), IMAGE_PART_BYTES)) > 0)
	{
		Oid			types[] = {INT4OID, INT4OID, INT4OID, BYTEAOID};
		Datum		values[] = {Int32GetDatum(model_id), Int32GetDatum(version),
		Int32GetDatum(parts), PointerGetDatum(part)};

		SET_VARSIZE(part, VARHDRSZ + bytes);
		check();
		begin(own);
		execute(weights ? "INSERT INTO _dupn.weight (model_id, version, part, data) VALUES ($1, $2, $3, $4)" :
				"INSERT INTO _dupn.optimizer_part (model_id, version, part, data) VALUES ($1, $2, $3, $4)",
				4, types, values, NULL);
		commit(own);
		parts++;
		if (weights)
			fail_point("store: part");
		else
			fail_point("optimizer: part");
	}

	begin(own);
	fingerprint = whole_fingerprint(whole, weights, VARDATA(part), &checksum, check);
	{
		Oid			types[] = {INT4OID, INT4OID, INT8OID, INT8OID, INT4OID, INT4OID, BOOLOID, INT8OID};
		Datum		values[] = {Int32GetDatum(model_id), Int32GetDatum(version),
			Int64GetDatum(whole_bytes(whole)), Int64GetDatum(source_bytes(&source)),
			Int32GetDatum(parts), Int32GetDatum(checksum), BoolGetDatum(delta != NULL),
		Int64GetDatum(fingerprint)};

		execute(weights ? "UPDATE _dupn.version SET bytes = $3, stored_bytes = $4, parts = $5, checksum = $6,"
				" delta_of = CASE WHEN $7 THEN delta_of END, fingerprint = $8" THIS_VERSION :
				"UPDATE _dupn.optimizer SET bytes = $3, stored_bytes = $4, parts = $5, checksum = $6,"
				" delta_of = CASE WHEN $7 THEN delta_of END" THIS_VERSION,
				weights ? 8 : 7, types, values, NULL);
	}
	commit(own);

	MemoryContextSwitchTo(context);
	if (source.header)
		pfree(source.header);
	pfree(part);
}

/* How many differences follow one another in a file's chain; -1: it is not there. */
static int
chain_length(ContentKind kind, int32 model_id, int32 version)
{
	const char *sql = kind == CONTENT_WEIGHTS ? "SELECT delta_of FROM _dupn.version" THIS_VERSION :
		"SELECT delta_of FROM _dupn.optimizer" THIS_VERSION " AND checksum IS NOT NULL";
	int			length = 0;

	for (;; length++)
	{
		Datum		base;
		bool		isnull;

		if (length > CONTENT_CHAIN_MOST ||
			state_read(sql, 2, (Oid[]) {INT4OID, INT4OID},
					   (Datum[]) {Int32GetDatum(model_id), Int32GetDatum(version)}, NULL, &base, &isnull) == 0)
			return -1;
		if (isnull)
			return length;
		version = DatumGetInt32(base);
	}
}

/* The longest chain that a version's options allow it to end. */
static int
most_links(int32 model_id, int32 version)
{
	ModelOptions options;
	Datum		json;
	bool		isnull = true;

	(void) state_read("SELECT options FROM _dupn.version" THIS_VERSION, 2, (Oid[]) {INT4OID, INT4OID},
					  (Datum[]) {Int32GetDatum(model_id), Int32GetDatum(version)}, NULL, &json, &isnull);
	model_options_parse(&options, isnull ? NULL : DatumGetJsonbP(json), NULL, 0);
	return options.rebase;
}

bool
content_link(ContentKind kind, int32 model_id, int32 version, int32 base)
{
	MemoryContext context = CurrentMemoryContext;
	Oid			types[] = {INT4OID, INT4OID, INT4OID};
	Datum		values[] = {Int32GetDatum(model_id), Int32GetDatum(version), Int32GetDatum(base)};
	bool		may;

	state_transaction();
	(void) version_lock_model(model_id);
	/* a dropped one is about to go, see retention.c */
	may = state_read("SELECT 1 FROM _dupn.version WHERE model_id OPERATOR(pg_catalog.=) $1"
					 " AND version OPERATOR(pg_catalog.=) $3 AND state OPERATOR(pg_catalog.=) 'ready'"
					 " AND $3 OPERATOR(pg_catalog.<) $2", 3, types, values, NULL, NULL, NULL) > 0;
	if (may)
	{
		int			length = chain_length(kind, model_id, base);

		may = length >= 0 && length < most_links(model_id, version);
	}
	if (may)
		execute(kind == CONTENT_WEIGHTS ? "UPDATE _dupn.version SET delta_of = $3" THIS_VERSION :
				"UPDATE _dupn.optimizer SET delta_of = $3" THIS_VERSION, 3, types, values, NULL);
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	return may;
}

/* ---------------- versions ---------------- */

void
image_store(int32 model_id, int32 version, const char *metadata, ImagePiece *pieces, int n,
			const ModelImage *parent, void (*check) (void))
{
	Whole		whole = whole_make(metadata, pieces, n);
	Delta		delta = {0};
	bool		differs = false;

	if (parent && content_link(CONTENT_WEIGHTS, model_id, version, parent->version))
	{
		DeltaBase	base = {.file = &parent->file, .header_bytes = file_header_bytes(parent->file.data),
		.in_memory = parent->file.size};

		fail_point("store: linked");
		differs = delta_find(&delta, &whole, &base, check);
	}
	content_store(CONTENT_WEIGHTS, model_id, version, &whole, differs ? &delta : NULL, check, true);
	fail_point("store: finished");
	if (delta.run)
		pfree(delta.run);
	pfree(whole.header);
}

void
image_insert(int32 model_id, int32 version, const char *metadata, ImagePiece *pieces, int n,
			 void (*check) (void))
{
	Whole		whole = whole_make(metadata, pieces, n);

	content_store(CONTENT_WEIGHTS, model_id, version, &whole, NULL, check, false);
	pfree(whole.header);
}
