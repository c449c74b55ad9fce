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

/* ---------------- fingerprint.c: first 63 bits of a SHA-256 ---------------- */

typedef struct pg_cryptohash_ctx Fingerprint;

extern Fingerprint *fingerprint_begin(void);
extern void fingerprint_add(Fingerprint *fingerprint, const void *data, size_t bytes);
extern int64 fingerprint_end(Fingerprint *fingerprint); /* frees it */

/* ---------------- mapped.c: the file that every backend maps ---------------- */

/* What a version's row says of its bytes. */
typedef struct VersionRow
{
	int32		model_id;
	int32		version;
	int64		fingerprint;
	int64		bytes;
	int32		parts;
	const char *what;			/* "version 3 of model "shop"", for messages */
} VersionRow;

/*
 * Map a version's file read-only, writing it from the rows of _dupn.weight
 * where it does not exist.  `check` looks at the bytes of a file just written,
 * before others can see it, and raises an error if they are not fit.
 */
extern const void *mapped_attach(const VersionRow *row,
								 void (*check) (const VersionRow *row, const void *data, size_t size));
extern void mapped_detach(const void *data, size_t size);

/* ---------------- image_json.c ---------------- */

/*
 * Fill in set, relations, model_name and class and feature names of an image
 * whose config is known, from its "features" text.  Errors: data_corrupted.
 */
extern void image_features_parse(ModelImage *image, const char *json, const char *what);

#endif							/* DUPN_IMAGE_H */
