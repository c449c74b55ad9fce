/*-------------------------------------------------------------------------
 *
 * fingerprint.c
 *	  The name of a version's content and its checksum
 *
 * The name is a SHA-256, taken once, when a version is stored.  Who copies the
 * bytes to a mapped file compares the checksum, which costs a tenth of that.
 *
 *-------------------------------------------------------------------------
 */
#include "model/image.h"

#include "common/cryptohash.h"
#include "common/sha2.h"
#include "port/pg_bswap.h"

static void
check(int result)
{
	if (result < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not compute SHA-256")));
}

/* Only inside a transaction; an error releases it with the transaction. */
Fingerprint *
fingerprint_begin(void)
{
	Fingerprint *fingerprint = pg_cryptohash_create(PG_SHA256);

	if (fingerprint == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));
	check(pg_cryptohash_init(fingerprint));
	return fingerprint;
}

void
fingerprint_add(Fingerprint *fingerprint, const void *data, size_t bytes)
{
	check(pg_cryptohash_update(fingerprint, data, bytes));
}

int64
fingerprint_end(Fingerprint *fingerprint)
{
	uint8		digest[PG_SHA256_DIGEST_LENGTH];
	uint64		bits = 0;

	check(pg_cryptohash_final(fingerprint, digest, sizeof(digest)));
	pg_cryptohash_free(fingerprint);
	for (int i = 0; i < 8; i++)
		bits = bits << 8 | digest[i];
	return (int64) (bits >> 1);
}

int32
checksum_end(pg_crc32c crc, int64 fingerprint)
{
	uint64		name = pg_hton64((uint64) fingerprint);

	COMP_CRC32C(crc, &name, sizeof(name));
	FIN_CRC32C(crc);
	return (int32) crc;
}
