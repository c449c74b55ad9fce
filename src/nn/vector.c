/*-------------------------------------------------------------------------
 *
 * vector.c
 *	  Elementwise kernels
 *
 * Compiled once per instruction set (kernel.h): as it stands for the default,
 * and from kernel_<set>.c for the others.
 *
 *-------------------------------------------------------------------------
 */
#include "vector.h"

#include <math.h>

/* Partial sums, so that a reduction is vectorised without reordering by the compiler. */
#define LANES 16

void
NN_KERNEL(vector_exp) (size_t n, const float *x, float *y)
{
	for (size_t j = 0; j < n; j++)
		y[j] = nn_exp1(x[j]);
}

void
NN_KERNEL(vector_sigmoid) (size_t n, const float *x, float *y)
{
	for (size_t j = 0; j < n; j++)
		y[j] = nn_sigmoid1(x[j]);
}

void
NN_KERNEL(vector_tanh) (size_t n, const float *x, float *y)
{
	for (size_t j = 0; j < n; j++)
		y[j] = nn_tanh1(x[j]);
}

/* The blocks keep the float partial sums short; across blocks it is double. */
double
NN_KERNEL(vector_exp_sum) (size_t n, const float *x, float shift, float *y)
{
	double		total = 0.0;
	size_t		j = 0;

	while (j < n)
	{
		size_t		end = n - j > 64 * LANES ? j + 64 * LANES : n;
		float		sum[LANES] = {0};

		for (; j + LANES <= end; j += LANES)
			for (int k = 0; k < LANES; k++)
			{
				float		e = nn_exp1(x[j + k] - shift);

				y[j + k] = e;
				sum[k] += e;
			}
		for (; j < end; j++)
		{
			y[j] = nn_exp1(x[j] - shift);
			sum[0] += y[j];
		}
		for (int k = 0; k < LANES; k++)
			total += sum[k];
	}
	return total;
}

float
NN_KERNEL(vector_max) (size_t n, const float *x)
{
	float		best[LANES];
	float		max = -INFINITY;
	size_t		j = 0;

	for (int k = 0; k < LANES; k++)
		best[k] = -INFINITY;
	for (; j + LANES <= n; j += LANES)
		for (int k = 0; k < LANES; k++)
			best[k] = x[j + k] > best[k] ? x[j + k] : best[k];
	for (; j < n; j++)
		best[0] = x[j] > best[0] ? x[j] : best[0];
	for (int k = 0; k < LANES; k++)
		max = best[k] > max ? best[k] : max;
	return max;
}

float
NN_KERNEL(vector_dot) (size_t n, const float *x, const float *y)
{
	float		sum[LANES] = {0};
	float		total = 0.0f;
	size_t		j = 0;

	for (; j + LANES <= n; j += LANES)
		for (int k = 0; k < LANES; k++)
			sum[k] += x[j + k] * y[j + k];
	for (; j < n; j++)
		total += x[j] * y[j];
	for (int k = 0; k < LANES; k++)
		total += sum[k];
	return total;
}

void
NN_KERNEL(vector_axpy) (size_t n, float a, const float *x, float *y)
{
	for (size_t j = 0; j < n; j++)
		y[j] += a * x[j];
}

/* Four rows at a time, so that y is read and written a quarter as often. */
void
NN_KERNEL(vector_matrix) (size_t rows, size_t cols, const float *x, const float *w, float *y)
{
	size_t		r = 0;

	for (; r + 4 <= rows; r += 4, w += 4 * cols)
		for (size_t j = 0; j < cols; j++)
			y[j] += x[r] * w[j] + x[r + 1] * w[cols + j] + x[r + 2] * w[2 * cols + j] +
				x[r + 3] * w[3 * cols + j];
	for (; r < rows; r++, w += cols)
		for (size_t j = 0; j < cols; j++)
			y[j] += x[r] * w[j];
}

/* Eight rows at a time, for the same reason. */
void
NN_KERNEL(vector_sparse) (int n, const int32_t *place, size_t cols, const float *x, const float *w,
						  float *restrict y)
{
	int			k = 0;

	for (; k + 8 <= n; k += 8)
	{
		const float *w0 = w + place[k + 0] * cols,
				   *w1 = w + place[k + 1] * cols,
				   *w2 = w + place[k + 2] * cols,
				   *w3 = w + place[k + 3] * cols,
				   *w4 = w + place[k + 4] * cols,
				   *w5 = w + place[k + 5] * cols,
				   *w6 = w + place[k + 6] * cols,
				   *w7 = w + place[k + 7] * cols;
		float		x0 = x[place[k + 0]],
					x1 = x[place[k + 1]],
					x2 = x[place[k + 2]],
					x3 = x[place[k + 3]],
					x4 = x[place[k + 4]],
					x5 = x[place[k + 5]],
					x6 = x[place[k + 6]],
					x7 = x[place[k + 7]];

		for (size_t j = 0; j < cols; j++)
			y[j] += (x0 * w0[j] + x1 * w1[j] + x2 * w2[j] + x3 * w3[j]) +
				(x4 * w4[j] + x5 * w5[j] + x6 * w6[j] + x7 * w7[j]);
	}
	for (; k < n; k++)
		NN_KERNEL(vector_axpy) (cols, x[place[k]], w + place[k] * cols, y);
}

void
NN_KERNEL(vector_scale) (size_t n, float a, float *x)
{
	for (size_t j = 0; j < n; j++)
		x[j] *= a;
}

void
NN_KERNEL(vector_relu) (size_t n, float *x)
{
	for (size_t j = 0; j < n; j++)
		x[j] = x[j] < 0.0f ? 0.0f : x[j];
}

void
NN_KERNEL(vector_relu_sum) (size_t n, const float *x, const float *y, float *z)
{
	for (size_t j = 0; j < n; j++)
	{
		float		sum = x[j] + y[j];

		z[j] = sum < 0.0f ? 0.0f : sum;
	}
}

void
NN_KERNEL(vector_relu_back) (size_t n, const float *y, float *dy)
{
	for (size_t j = 0; j < n; j++)
		dy[j] = y[j] > 0.0f ? dy[j] : 0.0f;
}

void
NN_KERNEL(vector_column_sums) (size_t rows, size_t cols, const float *x, size_t ld, float *sum)
{
	for (size_t i = 0; i < rows; i++)
		for (size_t j = 0; j < cols; j++)
			sum[j] += x[i * ld + j];
}
