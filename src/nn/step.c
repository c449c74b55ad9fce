/*-------------------------------------------------------------------------
 *
 * step.c
 *	  What a step of training does to many numbers, each alone
 *
 * Compiled once per instruction set (kernel.h).
 *
 *-------------------------------------------------------------------------
 */
#include <math.h>

#include "vector.h"

#define PARTIAL_SUMS 16			/* a sum is vectorised without reordering by the compiler */

/*
 * x[j] stays, times scale, where the hash of key and at + j is below threshold
 * (of 2^24), and is 0 elsewhere.  at + n must not pass 2^32.  The hash is the
 * end of MurmurHash3, which is only products of 32 bits.
 */
void
NN_KERNEL(step_dropout) (size_t n, uint32_t key, uint32_t at, int32_t threshold, float scale, float *x)
{
	for (size_t j = 0; j < n; j++)
	{
		uint32_t	hash = key + (at + (uint32_t) j) * 0x9E3779B1u;

		hash = (hash ^ hash >> 16) * 0x85EBCA6Bu;
		hash = (hash ^ hash >> 13) * 0xC2B2AE35u;
		hash ^= hash >> 16;
		x[j] = (int32_t) (hash >> 8) < threshold ? x[j] * scale : 0.0f;
	}
}

double
NN_KERNEL(step_squares) (size_t n, const float *x)
{
	double		sum[PARTIAL_SUMS] = {0};
	double		total = 0;
	size_t		j = 0;

	for (; j + PARTIAL_SUMS <= n; j += PARTIAL_SUMS)
		for (int k = 0; k < PARTIAL_SUMS; k++)
			sum[k] += (double) x[j + k] * x[j + k];
	for (; j < n; j++)
		total += (double) x[j] * x[j];
	for (int k = 0; k < PARTIAL_SUMS; k++)
		total += sum[k];
	return total;
}

/* Kingma and Ba, ICLR 2015, algorithm 1 */
void
NN_KERNEL(step_adam) (size_t n, const nn_step_rule *rule, float l2, const float *restrict grad,
					  float *restrict param, float *restrict m, float *restrict v)
{
	float		scale = rule->scale,
				rate = rule->rate,
				beta1 = rule->beta1,
				beta2 = rule->beta2,
				root = rule->root,
				epsilon = rule->epsilon;

	for (size_t i = 0; i < n; i++)
	{
		float		g = scale * grad[i] + l2 * param[i];

		m[i] = beta1 * m[i] + (1 - beta1) * g;
		v[i] = beta2 * v[i] + (1 - beta2) * g * g;
		param[i] -= rate * m[i] / (sqrtf(v[i]) * root + epsilon);
	}
}

/* Duchi, Hazan and Singer, JMLR 2011 */
void
NN_KERNEL(step_adagrad) (size_t n, const nn_step_rule *rule, float l2, const float *restrict grad,
						 float *restrict param, float *restrict v)
{
	float		scale = rule->scale,
				rate = rule->rate,
				epsilon = rule->epsilon;

	for (size_t i = 0; i < n; i++)
	{
		float		g = scale * grad[i] + l2 * param[i];

		v[i] += g * g;
		param[i] -= rate * g / (sqrtf(v[i]) + epsilon);
	}
}

/* x [rows, n], where it is positive, becomes d [rows] times w [n], else 0 */
void
NN_KERNEL(step_relu_outer) (size_t rows, size_t n, const float *restrict d, const float *restrict w,
							float *restrict x)
{
	for (size_t i = 0; i < rows; i++)
		for (size_t j = 0; j < n; j++)
			x[i * n + j] = x[i * n + j] > 0.0f ? d[i] * w[j] : 0.0f;
}

/* z [rows, n] = relu(x [rows, n] + y [n]) */
void
NN_KERNEL(step_relu_sum) (size_t rows, size_t n, const float *x, const float *y, float *z)
{
	for (size_t i = 0; i < rows; i++)
		for (size_t j = 0; j < n; j++)
		{
			float		sum = x[i * n + j] + y[j];

			z[i * n + j] = sum < 0.0f ? 0.0f : sum;
		}
}

/* z [rows, n] += x [rows] times y [n] */
void
NN_KERNEL(step_outer) (size_t rows, size_t n, const float *x, const float *y, float *z)
{
	for (size_t i = 0; i < rows; i++)
		for (size_t j = 0; j < n; j++)
			z[i * n + j] += x[i] * y[j];
}

/* y [n] += the sum of some rows */
void
NN_KERNEL(step_add_rows) (size_t n, int rows, const float *const *row, float *y)
{
	int			r = 0;

	for (; r + 4 <= rows; r += 4)
	{
		const float *a = row[r],
				   *b = row[r + 1],
				   *c = row[r + 2],
				   *d = row[r + 3];

		for (size_t j = 0; j < n; j++)
			y[j] += (a[j] + b[j]) + (c[j] + d[j]);
	}
	for (; r < rows; r++)
		for (size_t j = 0; j < n; j++)
			y[j] += row[r][j];
}
