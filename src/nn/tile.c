/*-------------------------------------------------------------------------
 *
 * tile.c
 *	  Products of matrices that lie in the second cache
 *
 * BLAS copies its operands into an order of its own first, which costs as much
 * as half of the work when one of them has few rows or when they are in the
 * cache anyway.  Here the sums of some rows and two vectors of columns stay in
 * registers, and both matrices are read where they lie.
 *
 * Compiled once per instruction set (kernel.h).
 *
 *-------------------------------------------------------------------------
 */
#include "vector.h"

#ifdef NN_LANES

#define MOST_FLOATS (512 * 1024)	/* of b: beyond, copying pays */
#define COLS 2					/* vectors */
#define TILE_ROWS (2 * NN_ROWS)	/* NN_ROWS rows of four vectors fit the registers */
#define UNROLL_TILE _Pragma("GCC unroll 16")

typedef float tile_lanes __attribute__((vector_size(4 * NN_LANES)));
typedef int32_t tile_bits __attribute__((vector_size(4 * NN_LANES)));
typedef float tile_loose __attribute__((vector_size(4 * NN_LANES), aligned(4), may_alias));

/*
 * c [rows, cols vectors] = (or +=) a times b; rows, cols and whether columns
 * are skipped is known when compiled.  The first `skipped` columns of c keep
 * their value: they belong to another tile, which this one overlaps so that no
 * vector reaches behind the end of a row.
 */
NN_INLINE void
tile(const int rows, const int cols, const bool skips, int skipped, int64_t k,
	 const float *a, int64_t row, int64_t col, const float *b, int64_t ldb, bool add, float *c, int64_t ldc)
{
	tile_lanes	sum[TILE_ROWS][COLS];
	tile_bits	kept = {0};

	for (int j = 0; skips && j < NN_LANES; j++)
		kept[j] = j < skipped ? 0 : -1;

	UNROLL_TILE for (int r = 0; r < rows; r++)
		UNROLL_TILE for (int j = 0; j < cols; j++)
		{
			sum[r][j] = (tile_lanes) {0};
			if (add || skips)
				sum[r][j] = *(const tile_loose *) (c + r * ldc + j * NN_LANES);
			if (!add && skips)
				sum[r][j] = (tile_lanes) ((tile_bits) sum[r][j] & ~kept);
		}
	for (int64_t p = 0; p < k; p++)
	{
		tile_lanes	w[COLS];

		UNROLL_TILE for (int j = 0; j < cols; j++)
		{
			w[j] = *(const tile_loose *) (b + p * ldb + j * NN_LANES);
			if (skips)
				w[j] = (tile_lanes) ((tile_bits) w[j] & kept);
		}
		UNROLL_TILE for (int r = 0; r < rows; r++)
		{
			float		x = a[r * row + p * col];

			UNROLL_TILE for (int j = 0; j < cols; j++)
				sum[r][j] += x * w[j];
		}
	}
	UNROLL_TILE for (int r = 0; r < rows; r++)
		UNROLL_TILE for (int j = 0; j < cols; j++)
			*(tile_loose *) (c + r * ldc + j * NN_LANES) = sum[r][j];
}

/* The same for rows that are known at run time only. */
NN_INLINE void
tile_of(int rows, const int cols, const bool skips, int skipped, int64_t k,
		const float *a, int64_t row, int64_t col, const float *b, int64_t ldb, bool add, float *c, int64_t ldc)
{
#define CASE(n) \
		case n: \
			tile(n, cols, skips, skipped, k, a, row, col, b, ldb, add, c, ldc); \
			break;
	switch (rows)
	{
			CASE(1)
			CASE(2)
			CASE(3)
			CASE(4)
			CASE(5)
#if NN_ROWS > 3
			CASE(6)
			CASE(7)
			CASE(8)
			CASE(9)
			CASE(10)
			CASE(11)
#endif
		default:
			tile(TILE_ROWS, cols, skips, skipped, k, a, row, col, b, ldb, add, c, ldc);
	}
#undef CASE
}

#endif

/*
 * c [m, n] = (or, with add, +=) a times b [k, n], where element i, p of a is
 * a[i * row + p * col].  False, and nothing done, where BLAS is better.
 */
bool
NN_KERNEL(tile_product) (int64_t m, int64_t n, int64_t k, const float *a, int64_t row, int64_t col,
						 const float *b, int64_t ldb, bool add, float *c, int64_t ldc)
{
#ifdef NN_LANES
	int64_t		blocks = (m + TILE_ROWS - 1) / TILE_ROWS;
	int64_t		done = 0;		/* columns */

	if (n < NN_LANES || k * ldb > MOST_FLOATS)
		return false;
	while (done < n)
	{
		int64_t		left = n - done;
		int			skipped = left < NN_LANES ? (int) (NN_LANES - left) : 0;
		int64_t		j = done - skipped;

		for (int64_t block = 0, i = 0, next; block < blocks; block++, i = next)
		{
			/* as even as possible: a few rows alone are slow */
			next = m * (block + 1) / blocks;
			if (left >= COLS * NN_LANES)
				tile_of((int) (next - i), COLS, false, 0, k, a + i * row, row, col, b + j, ldb,
						add, c + i * ldc + j, ldc);
			else if (skipped == 0)
				tile_of((int) (next - i), 1, false, 0, k, a + i * row, row, col, b + j, ldb,
						add, c + i * ldc + j, ldc);
			else
				tile_of((int) (next - i), 1, true, skipped, k, a + i * row, row, col, b + j, ldb,
						add, c + i * ldc + j, ldc);
		}
		done += left >= COLS * NN_LANES ? COLS * NN_LANES : left < NN_LANES ? left : NN_LANES;
	}
	return true;
#else
	(void) m, (void) n, (void) k, (void) a, (void) row, (void) col;
	(void) b, (void) ldb, (void) add, (void) c, (void) ldc;
	return false;
#endif
}
