/*-------------------------------------------------------------------------
 *
 * pool.h
 *	  Memory of a test program, aligned as the network wants it
 *
 * Its content is whatever was there, so that valgrind notices who relies on it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DUPN_TEST_POOL_H
#define DUPN_TEST_POOL_H

#include <stdlib.h>

static void *pool[65536];
static int	n_pool;

/* Room for 64 bytes more: empty arrays have an address, too. */
static inline void *
pool_take(size_t bytes)
{
	void	   *memory = aligned_alloc(64, (bytes + 127) / 64 * 64);

	if (memory == NULL || n_pool == (int) (sizeof(pool) / sizeof(pool[0])))
		exit(2);
	return pool[n_pool++] = memory;
}

/* At the end of main. */
static inline void
pool_free(void)
{
	while (n_pool > 0)
		free(pool[--n_pool]);
}

#endif							/* DUPN_TEST_POOL_H */
