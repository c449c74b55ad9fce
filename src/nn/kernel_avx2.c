/*-------------------------------------------------------------------------
 *
 * kernel_avx2.c
 *	  The kernels for processors with AVX2 and FMA
 *
 *-------------------------------------------------------------------------
 */
#if defined(__x86_64__) && defined(__GNUC__)

/* system headers keep the target that the rest of the program has */
#include <math.h>
#include <string.h>

#if defined(__clang__)
#pragma clang attribute push (__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC target ("avx2,fma")
#endif

#define NN_KERNEL_SET avx2
#define NN_LANES 8
#define NN_ROWS 3

#include "cell.c"
#include "panel.c"
#include "step.c"
#include "tile.c"
#include "vector.c"

#if defined(__clang__)
#pragma clang attribute pop
#endif

#else

typedef int nn_no_avx2;		/* an empty file is no C */

#endif
