/*-------------------------------------------------------------------------
 *
 * kernel_avx512.c
 *	  The kernels for processors with AVX-512 (F, BW, VL and DQ)
 *
 *-------------------------------------------------------------------------
 */
#if defined(__x86_64__) && defined(__GNUC__)

/* system headers keep the target that the rest of the program has */
#include <math.h>
#include <string.h>

#if defined(__clang__)
#pragma clang attribute push (__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq"))), apply_to = function)
#else
#pragma GCC target ("avx512f,avx512bw,avx512vl,avx512dq,fma,prefer-vector-width=512")
#endif

#define NN_KERNEL_SET avx512
#define NN_LANES 16
#define NN_ROWS 6

#include "cell.c"
#include "panel.c"
#include "step.c"
#include "tile.c"
#include "vector.c"

#if defined(__clang__)
#pragma clang attribute pop
#endif

#else

typedef int nn_no_avx512;		/* an empty file is no C */

#endif
