/*-------------------------------------------------------------------------
 *
 * panel.c
 *	  Products with prepared weights, and the LSTM's step in one piece
 *
 * Compiled once per instruction set (kernel.h).
 *
 * Prepared weights (prepare.c) are cut into panels of 64 columns; row k of a
 * panel is what x[k] is multiplied with.  An LSTM's panel is 16 units, with
 * the columns of gate i, then f, g, o.  So a panel is read from its first byte
 * to its last, and the four sums of a unit end in registers side by side:
 *
 *	panel	k = 0	i i .. i  f f .. f  g g .. g  o o .. o		64 floats
 *			k = 1	i i .. i  f f .. f  g g .. g  o o .. o
 *			...
 *
 * A few rows of x are multiplied at a time, as many as registers can hold the
 * sums of, which reads a panel that often less.  One row alone is bound by the
 * reading: there the sums are split instead, so that additions need not wait
 * for each other.
 *
 * With 16-bit weights (bfloat16) a word holds rows k and k + 1: the upper half
 * is k, read as a float without clearing the lower half (prepare.c rounds with
 * that in mind), the lower half k + 1, shifted up.
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "vector.h"

#ifndef NN_LANES
#define NN_LANES 4				/* floats of a vector */
#define NN_ROWS 3				/* rows whose sums the registers hold */
#endif
#define MOST_ROWS 6				/* the largest NN_ROWS */

/* A slice of a panel is a vector of each gate; one row's sums: of so many slices, split in so many parts. */
#define SLICES (NN_UNITS / NN_LANES)
#define ONE_SLICES (NN_LANES == 16 ? 1 : 2)
#define ONE_PARTS (NN_LANES == 16 ? 4 : 2)

#define UNROLL _Pragma("GCC unroll 16")

/* Stay in a register: reading a line again while it is under way costs as much as reading it. */
#if defined(NN_X86)
#define KEEP(v) __asm__("" : "+v" (v))
#else
#define KEEP(v) ((void) 0)
#endif

typedef float lanes __attribute__((vector_size(4 * NN_LANES)));
typedef float loose_lanes __attribute__((vector_size(4 * NN_LANES), aligned(4), may_alias));
typedef uint32_t words __attribute__((vector_size(4 * NN_LANES)));

NN_INLINE lanes
load(const float *x)
{
	return *(const loose_lanes *) x;
}

NN_INLINE void
store(float *x, lanes v)
{
	*(loose_lanes *) x = v;
}

/* Row k + 1 of 16-bit weights, from row k */
NN_INLINE lanes
lower(lanes v)
{
	return (lanes) ((words) v << 16);
}

/* ------------------------------------------------------------------------
 * Sums of a few rows
 * ------------------------------------------------------------------------ */

/* sum [rows][4] += column k of x times a row of a slice */
NN_INLINE void
add_products(const int rows, const float *const *x, int k, const lanes w[4], lanes (*sum)[4])
{
	UNROLL for (int r = 0; r < rows; r++)
	{
		float		a = x[r][k];

		UNROLL for (int g = 0; g < 4; g++)
			sum[r][g] += a * w[g];
	}
}

/* sum [rows][4] += x [rows, K] times a slice of a panel */
NN_INLINE void
multiply(const int rows, const bool half, int K, const float *const *x, const float *w, lanes (*sum)[4])
{
	for (int k = 0; k < K; k += 1 + half, w += NN_PANEL)
	{
		lanes		v[4];

		UNROLL for (int g = 0; g < 4; g++)
		{
			v[g] = load(w + g * NN_UNITS);
			if (half || rows < NN_ROWS || NN_ROWS == MOST_ROWS) /* else no register is left */
				KEEP(v[g]);
		}
		add_products(rows, x, k, v, sum);
		if (!half || k + 1 == K)
			continue;
		UNROLL for (int g = 0; g < 4; g++)
			v[g] = lower(v[g]);
		add_products(rows, x, k + 1, v, sum);
	}
}

/* A row of ONE_SLICES slices, times x, to one part of the sums; with half also the row in its lower halves */
NN_INLINE void
add_row(const bool half, const float *x, const float *w, lanes (*sum)[4], lanes (*other)[4])
{
	UNROLL for (int s = 0; s < ONE_SLICES; s++)
		UNROLL for (int g = 0; g < 4; g++)
		{
			lanes		v = load(w + s * NN_LANES + g * NN_UNITS);

			if (half)
				KEEP(v);
			sum[s][g] += x[0] * v;
			if (half)
				other[s][g] += x[1] * lower(v);
		}
}

/* z [4][NN_UNITS] += x [K] times a panel */
NN_INLINE void
multiply_one(const bool half, int K, const float *x, const float *panel, float *z)
{
	const int	rows = half ? 2 : 1;	/* of x, in a row of the panel */
	const int	step = half ? ONE_PARTS / 2 : ONE_PARTS;	/* rows of the panel at a time */

	for (int slice = 0; slice < SLICES; slice += ONE_SLICES)
	{
		const float *w = panel + slice * NN_LANES;
		lanes		sum[ONE_PARTS][ONE_SLICES][4] = {0};
		int			k = 0;

		for (; k + step * rows <= K; k += step * rows, w += step * NN_PANEL)
			UNROLL for (int p = 0; p < step; p++)
				add_row(half, x + k + p * rows, w + p * NN_PANEL, sum[p * rows], sum[p * rows + rows - 1]);
		for (; k + rows <= K; k += rows, w += NN_PANEL)
			add_row(half, x + k, w, sum[0], sum[rows - 1]);
		if (k < K)
			add_row(false, x + k, w, sum[0], NULL);
		for (int s = 0; s < ONE_SLICES; s++)
			for (int g = 0; g < 4; g++)
			{
				float	   *to = z + (slice + s) * NN_LANES + g * NN_UNITS;
				lanes		total = load(to);

				UNROLL for (int p = 0; p < ONE_PARTS; p++)
					total += sum[p][s][g];
				store(to, total);
			}
	}
}

/* z [rows][64] = y [rows][64], plus x [rows, K] times a panel */
NN_INLINE void
multiply_rows(const int rows, const bool half, int K, const float *const *x, const float *panel,
			  const float *y, size_t ldy, float *z)
{
	for (int slice = 0; slice < SLICES; slice++)
	{
		int			at = slice * NN_LANES;
		lanes		sum[MOST_ROWS][4];

		UNROLL for (int r = 0; r < rows; r++)
			UNROLL for (int g = 0; g < 4; g++)
				sum[r][g] = load(y + (size_t) r * ldy + at + g * NN_UNITS);
		multiply(rows, half, K, x, panel + at, sum);
		UNROLL for (int r = 0; r < rows; r++)
			UNROLL for (int g = 0; g < 4; g++)
				store(z + r * NN_PANEL + at + g * NN_UNITS, sum[r][g]);
	}
}

/* The same for rows from 1 to NN_ROWS that are known at run time only. */
static void
multiply_float(int rows, int K, const float *const *x, const float *panel,
			   const float *y, size_t ldy, float *z)
{
	switch (rows)
	{
		case 1:
			memcpy(z, y, NN_PANEL * sizeof(float));
			multiply_one(false, K, x[0], panel, z);
			break;
		case 2:
			multiply_rows(2, false, K, x, panel, y, ldy, z);
			break;
#if NN_ROWS > 3
		case 3:
			multiply_rows(3, false, K, x, panel, y, ldy, z);
			break;
		case 4:
			multiply_rows(4, false, K, x, panel, y, ldy, z);
			break;
		case 5:
			multiply_rows(5, false, K, x, panel, y, ldy, z);
			break;
#endif
		default:
			multiply_rows(NN_ROWS, false, K, x, panel, y, ldy, z);
	}
}

/* With 16-bit weights, rows up to NN_HALF_ROWS. */
static void
multiply_half(int rows, int K, const float *const *x, const float *panel,
			  const float *y, size_t ldy, float *z)
{
	switch (rows)
	{
		case 1:
			memcpy(z, y, NN_PANEL * sizeof(float));
			multiply_one(true, K, x[0], panel, z);
			break;
		case 2:
			multiply_rows(2, true, K, x, panel, y, ldy, z);
			break;
		default:
			multiply_rows(NN_HALF_ROWS, true, K, x, panel, y, ldy, z);
	}
}

/* ------------------------------------------------------------------------
 * Dense layers
 * ------------------------------------------------------------------------ */

static int
next_rows(int64_t left)
{
	return left < NN_ROWS ? (int) left : NN_ROWS;
}

/* y [64 panels] = the sum of count rows */
void
NN_KERNEL(panel_sum) (int panels, int count, const float *const *rows, float *y)
{
	for (int p = 0; p < panels; p++)
	{
		size_t		at = (size_t) p * NN_PANEL;
		lanes		sum[NN_PANEL / NN_LANES] = {0};

		for (int i = 0; i < count; i++)
			UNROLL for (int v = 0; v < NN_PANEL / NN_LANES; v++)
				sum[v] += load(rows[i] + at + v * NN_LANES);
		UNROLL for (int v = 0; v < NN_PANEL / NN_LANES; v++)
			store(y + at + v * NN_LANES, sum[v]);
	}
}

/* y [n, 64 panels] += x [n, K] times panels; then relu, if asked for */
void
NN_KERNEL(panel_product) (int64_t n, int K, const float *x, size_t ldx, int panels, const float *w,
						  float *y, size_t ldy, bool relu)
{
	for (int p = 0; p < panels; p++, w += (size_t) K * NN_PANEL)
		for (int64_t i = 0; i < n; i += NN_ROWS)
		{
			int			rows = next_rows(n - i);
			const float *from[MOST_ROWS];
			float		z[MOST_ROWS * NN_PANEL];
			float	   *to = y + (size_t) i * ldy + (size_t) p * NN_PANEL;

			for (int r = 0; r < rows; r++)
				from[r] = x + (size_t) (i + r) * ldx;
			multiply_float(rows, K, from, w, to, ldy, z);
			for (int r = 0; r < rows; r++)
				for (int j = 0; j < NN_PANEL; j++)
					to[(size_t) r * ldy + j] = relu && z[r * NN_PANEL + j] < 0.0f ? 0.0f : z[r * NN_PANEL + j];
		}
}

/* score [n] = last [64 panels] . relu(bias + x [n, K] times panels): the end of the attention's scores */
void
NN_KERNEL(panel_score) (int64_t n, int K, const float *x, size_t ldx, int panels, const float *w,
						const float *bias, const float *last, float *score)
{
	for (int64_t i = 0; i < n; i++)
		score[i] = 0.0f;
	for (int p = 0; p < panels; p++, w += (size_t) K * NN_PANEL, bias += NN_PANEL, last += NN_PANEL)
		for (int64_t i = 0; i < n; i += NN_ROWS)
		{
			int			rows = next_rows(n - i);
			const float *from[MOST_ROWS];
			float		z[MOST_ROWS * NN_PANEL];

			for (int r = 0; r < rows; r++)
				from[r] = x + (size_t) (i + r) * ldx;
			multiply_float(rows, K, from, w, bias, 0, z);
			for (int r = 0; r < rows; r++)
			{
				float		sum[NN_UNITS] = {0};

				for (int g = 0; g < 4; g++)
					for (int j = 0; j < NN_UNITS; j++)
					{
						float		h = z[r * NN_PANEL + g * NN_UNITS + j];

						sum[j] += last[g * NN_UNITS + j] * (h < 0.0f ? 0.0f : h);
					}
				for (int j = 1; j < NN_UNITS; j++)
					sum[0] += sum[j];
				score[i + r] += sum[0];
			}
		}
}

/* ------------------------------------------------------------------------
 * A step of the LSTM
 * ------------------------------------------------------------------------ */

/*
 * Sums of 16 units to c (in place) and h, as nn_cell_forward, but with two
 * divisions for five functions: all are fractions.
 */
NN_INLINE void
cell(const float *restrict z, float *restrict c, float *restrict h)
{
	for (int j = 0; j < NN_UNITS; j++)
	{
		nn_fraction i = nn_sigmoid_fraction(z[j]);
		nn_fraction f = nn_sigmoid_fraction(z[NN_UNITS + j]);
		nn_fraction g = nn_tanh_fraction(z[2 * NN_UNITS + j]);
		nn_fraction o = nn_sigmoid_fraction(z[3 * NN_UNITS + j]);
		nn_fraction t;
		float		ig = i.below * g.below;

		c[j] = (f.above * c[j] * ig + i.above * g.above * f.below) / (f.below * ig);
		t = nn_tanh_fraction(c[j]);
		h[j] = o.above * t.above / (o.below * t.below);
	}
}

/*
 * One step of n sequences: from their states before (previous[i] [H]; NULL:
 * zeros) and gate [n, 4H'], what their events alone give, in panel order, to
 * state[i] [H] and c [n, H'].  H' is H rounded up to whole panels, whose c
 * start as zeros.  half: with n up to NN_HALF_ROWS.  Every other step takes the panels backwards and finds the
 * last of the step before in the first cache.
 */
void
NN_KERNEL(lstm_step) (int64_t n, int H, const float *const *previous, const float *recurrent, bool half,
					  bool backwards, const float *gate, float *c, float *const *state)
{
	int			panels = (H + NN_UNITS - 1) / NN_UNITS;
	size_t		width = (size_t) panels * NN_UNITS;
	size_t		panel = (size_t) (half ? (H + 1) / 2 : H) * NN_PANEL;

	for (int q = 0; q < panels; q++)
	{
		int			p = backwards ? panels - 1 - q : q;
		int			first = p * NN_UNITS;
		int			units = H - first < NN_UNITS ? H - first : NN_UNITS;

		for (int64_t i = 0; i < n; i += NN_ROWS)
		{
			int			rows = next_rows(n - i);
			const float *y = gate + ((size_t) i * panels + p) * NN_PANEL;
			float		z[MOST_ROWS * NN_PANEL];

			if (previous == NULL)
				for (int r = 0; r < rows; r++)
					memcpy(z + r * NN_PANEL, y + r * 4 * width, NN_PANEL * sizeof(float));
			else if (half)
				multiply_half(rows, H, previous + i, recurrent + p * panel, y, 4 * width, z);
			else
				multiply_float(rows, H, previous + i, recurrent + p * panel, y, 4 * width, z);
			for (int r = 0; r < rows; r++)
			{
				float	   *h = state[i + r] + first;
				float		part[NN_UNITS];

				cell(z + r * NN_PANEL, c + (size_t) (i + r) * width + first, units < NN_UNITS ? part : h);
				for (int j = 0; units < NN_UNITS && j < units; j++)
					h[j] = part[j];
			}
		}
	}
}
