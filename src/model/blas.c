/*-------------------------------------------------------------------------
 *
 * blas.c
 *	  What must be true before BLAS is called
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include <sys/mman.h>

#include "model/blas.h"

/* OpenBLAS 0.3.21 maps 128 MB with its first product, and keeps them. */
#define BLAS_BUFFER ((size_t) 160 << 20)

void
blas_probe(void)
{
	static bool probed = false;
	void	   *buffer;

	if (probed)
		return;
	buffer = mmap(NULL, BLAS_BUFFER, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (buffer == MAP_FAILED)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory"),
				 errdetail("Matrix products need %zu MB of address space: %m.", BLAS_BUFFER >> 20)));
	(void) munmap(buffer, BLAS_BUFFER);
	probed = true;
}
