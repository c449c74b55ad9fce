/*-------------------------------------------------------------------------
 *
 * cell.c
 *	  The gates of the LSTM, forward and backward
 *
 * Compiled once per instruction set (kernel.h).
 *
 *-------------------------------------------------------------------------
 */
#include "vector.h"

/*
 * z [4H]: sums in, activations out.  previous and c [H] may be the same; c' is
 * 0 when previous is NULL.
 */
void
NN_KERNEL(cell_forward) (int H, float *restrict z, const float *previous, float *c, float *restrict h)
{
	float	   *zi = z,
			   *zf = z + H,
			   *zg = z + 2 * (size_t) H,
			   *zo = z + 3 * (size_t) H;

	for (int j = 0; j < H; j++)
	{
		float		i = nn_sigmoid1(zi[j]);
		float		g = nn_tanh1(zg[j]);

		zi[j] = i;
		zg[j] = g;
		h[j] = i * g;
	}
	if (previous == NULL)
		for (int j = 0; j < H; j++)
			zf[j] = nn_sigmoid1(zf[j]);
	else
		for (int j = 0; j < H; j++)
		{
			zf[j] = nn_sigmoid1(zf[j]);
			h[j] += zf[j] * previous[j];
		}
	for (int j = 0; j < H; j++)
	{
		float		o = nn_sigmoid1(zo[j]);

		zo[j] = o;
		c[j] = h[j];
		h[j] = o * nn_tanh1(h[j]);
	}
}

/*
 * z [4H]: activations in, gradients of the sums out.  h's gradient is d_state
 * and what the next step left, dh [H]; dc [H] is what the next step left, and
 * then what this one leaves.
 */
void
NN_KERNEL(cell_backward) (int H, float *restrict z, const float *restrict previous,
						   const float *restrict c, const float *restrict d_state,
						   const float *restrict dh, float *restrict dc)
{
	float	   *zi = z,
			   *zf = z + H,
			   *zg = z + 2 * (size_t) H,
			   *zo = z + 3 * (size_t) H;

	for (int j = 0; j < H; j++)
	{
		float		i = zi[j],
					f = zf[j],
					g = zg[j],
					o = zo[j];
		float		t = nn_tanh1(c[j]);
		float		d_h = d_state[j] + dh[j];
		float		d = dc[j] + d_h * o * (1.0f - t * t);

		zo[j] = d_h * t * o * (1.0f - o);
		zi[j] = d * g * i * (1.0f - i);
		zg[j] = d * i * (1.0f - g * g);
		zf[j] = d * f * (1.0f - f);
		dc[j] = d * f;
	}
	if (previous == NULL)
		memset(zf, 0, H * sizeof(float));
	else
		for (int j = 0; j < H; j++)
			zf[j] *= previous[j];
}
