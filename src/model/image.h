/*-------------------------------------------------------------------------
 *
 * image.h
 *	  What the files that read and write versions share among themselves
 *
 *-------------------------------------------------------------------------
 */
#ifndef DUPN_IMAGE_H
#define DUPN_IMAGE_H

#include "model/model.h"
#include "port/pg_crc32c.h"

/* ---------------- fingerprint.c ---------------- */

/* The name of a content: the first 63 bits of its SHA-256. */
typedef struct pg_cryptohash_ctx Fingerprint;

extern Fingerprint *fingerprint_begin(void);
extern void fingerprint_add(Fingerprint *fingerprint, const void *data, size_t bytes);
extern int64 fingerprint_end(Fingerprint *fingerprint); /* frees it */

/* Ends a CRC-32C of a content: it covers the content's name as well. */
extern int32 checksum_end(pg_crc32c crc, int64 fingerprint);

/* ---------------- mapped.c: files that every backend maps ---------------- */

/* What a version's row says of its bytes. */
typedef struct VersionRow
{
	int32		model_id;
	int32		version;
	int64		fingerprint;
	int64		bytes;			/* of the whole file */
	int64		stored_bytes;	/* in its parts, fewer where it is a difference */
	int32		parts;
	int32		checksum;
	int32		delta_of;		/* to this version; 0: it is stored whole */
	const char *what;			/* "version 3 of model "shop"", for messages */
} VersionRow;

typedef enum MappedPart
{
	MAPPED_WEIGHTS,				/* the version's bytes and what is prepared of them */
	MAPPED_ITEMS				/* the items' parts of scores */
} MappedPart;

typedef struct Mapped
{
	const char *data;			/* page aligned; NULL: nothing is mapped */
	size_t		size;			/* of the file, which ends with MAPPED_TRAILER bytes */
	int			fd;				/* its lock says that the file is in use; -1: none */
} Mapped;

typedef struct MappedWriter MappedWriter;
typedef void (*MappedMake) (MappedWriter *writer, void *argument);

/*
 * Map one of a version's files read-only.  Where it does not exist, `make`
 * writes it, about `estimate` bytes, while others who want it wait.
 */
extern void mapped_attach(Mapped *mapped, const VersionRow *row, MappedPart part, size_t estimate,
						  MappedMake make, void *argument);
extern void mapped_detach(Mapped *mapped);

/* For a mapping that goes with a memory context; nothing is mapped yet. */
extern Mapped *mapped_in(MemoryContext context);

/* For `make`. */
#define MAPPED_ALIGN	64
#define MAPPED_TRAILER	64

extern void mapped_write(MappedWriter *writer, const void *data, size_t bytes);
extern void mapped_align(MappedWriter *writer); /* zeros up to a multiple of MAPPED_ALIGN */
extern const char *mapped_written(MappedWriter *writer);	/* so far; until more is */

/* A file in the folder. */
typedef struct MappedFile
{
	char		path[MAXPGPATH];
	int64		size;
	time_t		used;			/* when it was mapped last */
	bool		finished;		/* false: being written, and nothing below is known */
	Oid			database;
	int64		fingerprint;
	int64		bytes;			/* of the version */
	int			format;
	MappedPart	part;
} MappedFile;

extern MappedFile *mapped_list(int *n);
extern void mapped_remove(int64 fingerprint, int64 bytes);	/* both parts, whoever uses them */
extern bool mapped_in_use(const MappedFile *file);

/* ---------------- image.c ---------------- */

/* Index the bytes of an image that was checked when they were written. */
extern ModelImage *image_index(const void *data, size_t size, const char *what, MemoryContext context);

/* ---------------- item_parts.c ---------------- */

/*
 * Map the items' parts of a version, writing them where they are not; check is
 * called meanwhile.  False: it has none, or the setting leaves no room for them.
 */
extern bool items_attach(Mapped *mapped, const VersionRow *row, const ModelImage *image,
						 void (*check) (void));

/* ---------------- image_json.c ---------------- */

/*
 * Fill in set, relations, model_name and class and feature names of an image
 * whose config is known, from its "features" text.  Errors: data_corrupted.
 */
extern void image_features_parse(ModelImage *image, const char *json, const char *what);

#endif							/* DUPN_IMAGE_H */
