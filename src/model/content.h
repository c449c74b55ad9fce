/*-------------------------------------------------------------------------
 *
 * content.h
 *	  Files stored as rows, whole or as differences: a version's bytes, and
 *	  what its optimizer remembers
 *
 *	  store.c		writes them
 *	  delta.c		what is different
 *	  content.c		reads them back, whole
 *
 *-------------------------------------------------------------------------
 */
#ifndef DUPN_CONTENT_H
#define DUPN_CONTENT_H

#include "model/image.h"

typedef enum ContentKind
{
	CONTENT_WEIGHTS,			/* rows of _dupn.version and _dupn.weight */
	CONTENT_OPTIMIZER			/* _dupn.optimizer and _dupn.optimizer_part */
} ContentKind;

typedef struct ContentTables
{
	const char *row;			/* "version" ... */
	const char *key;			/* its primary key */
	const char *part;
} ContentTables;

extern const ContentTables content_tables[CONTENT_OPTIMIZER + 1];

/* A difference to a difference ..., never more of them, whatever options say. */
#define CONTENT_CHAIN_MOST	100

/* ---------------- content.c ---------------- */

/*
 * What a row says of its bytes, fills in all but whose they are; false: they are
 * not complete.  The other one looks for the row, through the active snapshot;
 * what is left to be filled in.
 */
extern bool content_row(VersionRow *row, ContentKind kind, HeapTuple tuple, TupleDesc tupdesc);
extern bool content_find(VersionRow *row, ContentKind kind, int32 model_id, int32 version);

/*
 * Read the bytes of a file from front to back, as one whole however they are
 * stored.  Inside a transaction, with a snapshot; SQL of others only after
 * content_close.  check, unless NULL, is called meanwhile.  Errors: data_corrupted.
 */
typedef struct ContentReader ContentReader;

extern ContentReader *content_open(ContentKind kind, const VersionRow *row, void (*check) (void));
extern void content_read(ContentReader *reader, void *out, size_t bytes);
extern void content_pass(ContentReader *reader, int64 to);	/* leave out what lies before */
extern void content_damaged(const ContentReader *reader, const char *format,...)
			pg_attribute_noreturn() pg_attribute_printf(2, 3);

/* All of it was read, and it is what its checksum was taken of. */
extern void content_verify(ContentReader *reader);
extern void content_close(ContentReader *reader);

/* ---------------- store.c ---------------- */

/* A file that is to be stored, in file order. */
typedef struct Whole
{
	char	   *header;
	size_t		header_bytes;
	const ImagePiece *pieces;
	int			n;
} Whole;

/* The header's tensors and those of the pieces are filled in here. */
extern Whole whole_make(const char *metadata, ImagePiece *pieces, int n);

static inline int64
whole_bytes(const Whole *whole)
{
	return whole->n > 0 ? whole->pieces[whole->n - 1].tensor.end : whole->header_bytes;
}

/* Where the data of a file begin that is known to have a header. */
static inline int64
file_header_bytes(const char *data)
{
	uint64		length;

	memcpy(&length, data, sizeof(length));	/* little-endian, as all of it */
	return (int64) (sizeof(length) + length);
}

struct Delta;

/*
 * May a version's content be stored as a difference to that of another one?
 * Then its row says from now on that it is, so that nobody takes the other away.
 * For jobs: a transaction of its own.
 */
extern bool content_link(ContentKind kind, int32 model_id, int32 version, int32 base);

/* Write the parts and fill in the row; delta NULL: as a whole.  own: see image_store. */
extern void content_store(ContentKind kind, int32 model_id, int32 version, const Whole *whole,
						  const struct Delta *delta, void (*check) (void), bool own);

/* ---------------- delta.c ---------------- */

typedef struct DeltaRun
{
	int32		literal;
	int32		skip;
	int32		copy;
} DeltaRun;

typedef struct Delta
{
	DeltaRun   *run;
	int64		n;
	int64		room;
	int64		literal;		/* bytes, of all runs */
	int64		from;			/* behind the last byte copied */
} Delta;

/* What a file is compared with: bytes in memory, or read where they are stored. */
typedef struct DeltaBase
{
	const nn_file *file;
	int64		header_bytes;
	int64		in_memory;		/* of file->data */
	ContentReader *reader;		/* of what lies behind them, or NULL */
	int64		passed;			/* it is read from front to back: no further in front of this */
	char	   *buffer;
} DeltaBase;

/* False: it is not worth it, since more than half is different. */
extern bool delta_find(Delta *delta, const Whole *whole, DeltaBase *base, void (*check) (void));

/* As nn_file_header: the bytes needed, written only where there is room. */
extern size_t delta_header(const Delta *delta, char *out, size_t out_size);

#define DELTA_HEADER_MOST	((size_t) 64 << 10)

typedef struct DeltaShape
{
	int64		runs_at;
	int64		runs;
	int64		data_at;
	int64		data_end;
} DeltaShape;

/* The header of a difference of so many bytes; false: it is none. */
extern bool delta_parse(DeltaShape *shape, const char *header, int64 stored_bytes);

#endif							/* DUPN_CONTENT_H */
