/*-------------------------------------------------------------------------
 *
 * product.c
 *	  Matrix products on top of CBLAS
 *
 *-------------------------------------------------------------------------
 */
#include "product.h"

#include <cblas.h>
#include <string.h>

#include "arena.h"
#include "kernel.h"

/* Between two polls: both are some 20 ms on a slow core. */
#define MATRIX_FLOP 1e9
#define VECTOR_FLOP 1e8			/* bound by memory, not by arithmetic */

nn_status
nn_product(const nn_run *run, nn_form form, int64_t m, int64_t n, int64_t k,
		   const float *a, int lda, const float *b, int ldb,
		   bool add, float *c, int ldc)
{
	bool		vector = (m == 1 || n == 1);
	float		beta = add ? 1.0f : 0.0f;

	if (m <= 0 || n <= 0)
		return NN_OK;
	if (k <= 0)
	{
		/* the sum over nothing; BLAS libraries differ on a zero dimension */
		if (!add)
			for (int64_t i = 0; i < m; i++)
				memset(c + i * ldc, 0, n * sizeof(float));
		return NN_OK;
	}

	/* Halve the longest side.  What remains also fits BLAS's 32-bit sizes. */
	if (2.0 * m * n * k > (vector ? VECTOR_FLOP : MATRIX_FLOP))
	{
		if (k >= m && k >= n)
		{
			int64_t		half = k / 2;

			NN_TRY(nn_product(run, form, m, n, half, a, lda, b, ldb, add, c, ldc));
			return nn_product(run, form, m, n, k - half,
							  form == NN_ATB ? a + half * lda : a + half, lda,
							  form == NN_ABT ? b + half : b + half * ldb, ldb,
							  true, c, ldc);
		}
		if (m >= n)
		{
			int64_t		half = m / 2;

			NN_TRY(nn_product(run, form, half, n, k, a, lda, b, ldb, add, c, ldc));
			return nn_product(run, form, m - half, n, k,
							  form == NN_ATB ? a + half : a + half * lda, lda,
							  b, ldb, add, c + half * ldc, ldc);
		}
		else
		{
			int64_t		half = n / 2;

			NN_TRY(nn_product(run, form, m, half, k, a, lda, b, ldb, add, c, ldc));
			return nn_product(run, form, m, n - half, k, a, lda,
							  form == NN_ABT ? b + half * ldb : b + half, ldb,
							  add, c + half, ldc);
		}
	}

	if (run->abort != NULL && run->abort(run->abort_arg))
		return NN_ABORTED;

	/* sgemm with one row is several times slower than sgemv */
	if (m == 1)
	{
		if (form == NN_ABT)
			cblas_sgemv(CblasRowMajor, CblasNoTrans, (int) n, (int) k, 1.0f, b, ldb,
						a, 1, beta, c, 1);
		else
			cblas_sgemv(CblasRowMajor, CblasTrans, (int) k, (int) n, 1.0f, b, ldb,
						a, form == NN_ATB ? lda : 1, beta, c, 1);
	}
	else if (n == 1)
	{
		int			step = form == NN_ABT ? 1 : ldb;

		if (form == NN_ATB)
			cblas_sgemv(CblasRowMajor, CblasTrans, (int) k, (int) m, 1.0f, a, lda,
						b, step, beta, c, ldc);
		else
			cblas_sgemv(CblasRowMajor, CblasNoTrans, (int) m, (int) k, 1.0f, a, lda,
						b, step, beta, c, ldc);
	}
	else if (form == NN_ABT || !nn_tile_product(m, n, k, a, form == NN_ATB ? 1 : lda, form == NN_ATB ? lda : 1,
												b, ldb, add, c, ldc))
		cblas_sgemm(CblasRowMajor, form == NN_ATB ? CblasTrans : CblasNoTrans,
					form == NN_ABT ? CblasTrans : CblasNoTrans,
					(int) m, (int) n, (int) k, 1.0f, a, lda, b, ldb, beta, c, ldc);
	return NN_OK;
}

/* In blocks that stay in the first cache. */
void
nn_transpose(size_t rows, size_t cols, const float *a, size_t ld, float *transposed)
{
	for (size_t block = 0; block < rows; block += 16)
		for (size_t k = 0; k < cols; k++)
			for (size_t row = block; row < rows && row < block + 16; row++)
				transposed[k * rows + row] = a[row * ld + k];
}
