/*-------------------------------------------------------------------------
 *
 * vector.h
 *	  Elementwise kernels
 *
 * Plain loops that the compiler vectorises, compiled once per instruction set
 * and called through the table in use (kernel.h).  The functions below marked
 * inline are the scalar bodies of such loops, for kernels elsewhere (cell.c).
 *
 *-------------------------------------------------------------------------
 */
#ifndef DUPN_NN_VECTOR_H
#define DUPN_NN_VECTOR_H

#include <string.h>

#include "kernel.h"

/*
 * Comparisons of floats may trap in theory, which keeps GCC from vectorising
 * a choice between two values; nothing here looks at the exception flags.  And
 * a choice must stay one, not become a path of its own for a constant.  No
 * option changes a result or the processor's floating point mode.
 */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize ("tree-vectorize", "no-trapping-math", "no-thread-jumps")
#endif

#if defined(__GNUC__)
#define NN_INLINE static inline __attribute__((always_inline))
#else
#define NN_INLINE static inline
#endif

/*
 * e^x, relative error at most 2e-7; 0 below -87, e^88 above 88; NaN stays.
 * x = n ln 2 + r with |r| <= ln 2 / 2; e^r by the polynomial of Cephes' expf.
 */
NN_INLINE float
nn_exp1(float x)
{
	const float round = 12582912.0f;	/* 1.5 * 2^23: adding it rounds to integer */
	float		in = x > 88.0f ? 88.0f : x;
	float		shifted = in * 1.44269504f + round;
	float		n = shifted - round;
	float		r = in - n * 0.693359375f + n * 2.12194440e-4f;
	float		p = 1.9875691500e-4f;
	float		power;
	uint32_t	bits;

	p = p * r + 1.3981999507e-3f;
	p = p * r + 8.3334519073e-3f;
	p = p * r + 4.1665795894e-2f;
	p = p * r + 1.6666665459e-1f;
	p = p * r + 5.0000001201e-1f;
	p = p * r * r + r + 1.0f;
	memcpy(&bits, &shifted, sizeof(bits));
	bits = (bits + 127) << 23;	/* 2^n */
	memcpy(&power, &bits, sizeof(power));
	return x < -87.0f ? 0.0f : p * power;
}

/*
 * tanh x as a fraction: x P(x^2) / Q(x^2), the best of degrees 4 and 4 for
 * relative error on [-9, 9], 2.1e-8; beyond, tanh is within 3e-8 of +-1.  Both
 * parts are positive for x > 0, at most 420, and NaN stays in the upper one.
 */
typedef struct nn_fraction
{
	float		above, below;
} nn_fraction;

NN_INLINE nn_fraction
nn_tanh_fraction(float x)
{
	float		in = x > 9.0f ? 9.0f : x;
	float		z,
				p,
				q;

	in = in < -9.0f ? -9.0f : in;
	z = in * in;
	p = 1.33528798e-8f * z + 2.06078367e-5f;
	p = p * z + 3.49551545e-3f;
	p = p * z + 1.33809659e-1f;
	p = p * z + 9.99999980e-1f;
	q = 7.77583906e-7f * z + 3.28551355e-4f;
	q = q * z + 2.58767101e-2f;
	q = q * z + 4.67142817e-1f;
	q = q * z + 1.0f;
	return (nn_fraction) {in * p, q};
}

/* sigmoid x = (1 + tanh(x / 2)) / 2 */
NN_INLINE nn_fraction
nn_sigmoid_fraction(float x)
{
	nn_fraction t = nn_tanh_fraction(0.5f * x);

	return (nn_fraction) {0.5f * t.below + 0.5f * t.above, t.below};
}

/* Relative error at most 4e-7. */
NN_INLINE float
nn_tanh1(float x)
{
	nn_fraction t = nn_tanh_fraction(x);

	return t.above / t.below;
}

/* Error at most 2e-7, absolute: right for gates, not for small probabilities. */
NN_INLINE float
nn_sigmoid1(float x)
{
	nn_fraction t = nn_sigmoid_fraction(x);

	return t.above / t.below;
}

/* y[j] = f(x[j]); y may be x */
#define nn_vector_exp			nn_kernel->vector_exp
#define nn_vector_sigmoid		nn_kernel->vector_sigmoid
#define nn_vector_tanh			nn_kernel->vector_tanh

/* y[j] = e^(x[j] - shift); their sum.  x may be y. */
#define nn_vector_exp_sum		nn_kernel->vector_exp_sum

#define nn_vector_max			nn_kernel->vector_max	/* -INFINITY when n is 0 */
#define nn_vector_dot			nn_kernel->vector_dot

/* y [cols] += x [rows] times w [rows, cols]: twice as fast as sgemv where w is in the second cache */
#define nn_vector_matrix		nn_kernel->vector_matrix

/*
 * The same where x is 0 but in n places: after relu half of w need not be read,
 * which is half of the time.
 */
#define nn_vector_sparse		nn_kernel->vector_sparse

#define nn_vector_axpy			nn_kernel->vector_axpy	/* y += a x */
#define nn_vector_scale			nn_kernel->vector_scale /* x *= a */

/* max(0, .): NaN stays, so that a broken network is noticed */
#define nn_vector_relu			nn_kernel->vector_relu
#define nn_vector_relu_sum		nn_kernel->vector_relu_sum	/* z = relu(x + y) */
#define nn_vector_relu_back		nn_kernel->vector_relu_back /* dy = 0 where y is 0 */

/* sum[j] += the column sums of x [rows, cols] */
#define nn_vector_column_sums	nn_kernel->vector_column_sums

#endif							/* DUPN_NN_VECTOR_H */
