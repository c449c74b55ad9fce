/*-------------------------------------------------------------------------
 *
 * random.c
 *	  Random numbers whose whole state is one 64-bit number
 *
 * A seed means the same numbers on every machine: no libc generator, and no
 * half of a pair kept back between calls.
 *
 *-------------------------------------------------------------------------
 */
#include <math.h>

#include "nn.h"

/* splitmix64 (Steele, Lea and Flood, OOPSLA 2014) */
uint64_t
nn_random_u64(uint64_t *state)
{
	uint64_t	z = (*state += UINT64_C(0x9E3779B97F4A7C15));

	z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
	return z ^ (z >> 31);
}

/* The upper 53 bits, all that a double of [0, 1) can hold evenly. */
double
nn_random_uniform(uint64_t *state)
{
	return (double) (nn_random_u64(state) >> 11) * 0x1p-53;
}

/* Box and Muller; the sine's half is dropped to keep no further state. */
double
nn_random_normal(uint64_t *state)
{
	double		radius = sqrt(-2.0 * log(1.0 - nn_random_uniform(state)));

	return radius * cos(2.0 * 3.14159265358979323846 * nn_random_uniform(state));
}
