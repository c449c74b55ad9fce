/*-------------------------------------------------------------------------
 *
 * dense.c
 *	  Dense layers, and the stack of them that every head has
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "arena.h"
#include "layers.h"
#include "product.h"
#include "vector.h"

static int
layer_out(const nn_run *run, int weight)
{
	return (int) run->layout->tensor[weight].rows;
}

static int
layer_in(const nn_run *run, int weight)
{
	return (int) run->layout->tensor[weight].cols;
}

static void
fill_rows(int64_t n, int width, const float *row, float *y)
{
	for (int64_t i = 0; i < n; i++)
		memcpy(y + i * width, row, width * sizeof(float));
}

nn_status
nn_dense_forward(const nn_run *run, int weight, int bias, int64_t n, const float *x, float *y)
{
	int			out = layer_out(run, weight),
				in = layer_in(run, weight);

	fill_rows(n, out, nn_param(run, bias), y);
	return nn_product(run, NN_ABT, n, out, in, x, in, nn_param(run, weight), in, true, y, out);
}

nn_status
nn_dense_backward(const nn_run *run, int weight, int bias, int64_t n,
				  const float *x, const float *d_y, float *d_x, nn_grad *grad)
{
	int			out = layer_out(run, weight),
				in = layer_in(run, weight);

	nn_vector_column_sums(n, out, d_y, out, nn_grad_of(run, grad, bias));
	NN_TRY(nn_product(run, NN_ATB, out, in, n, d_y, out, x, in,
					  true, nn_grad_of(run, grad, weight), in));
	if (d_x == NULL)
		return NN_OK;
	return nn_product(run, NN_AB, n, in, out, d_y, out, nn_param(run, weight), in, false, d_x, in);
}

/* ------------------------------------------------------------------------
 * The first layer of a stack: [x of the sample's row ; extra]
 * ------------------------------------------------------------------------ */

static nn_status
first_forward(const nn_run *run, const nn_mlp *mlp, float *y)
{
	int			out = layer_out(run, mlp->weight[0]),
				in = layer_in(run, mlp->weight[0]),
				R = mlp->row_width;
	const float *w = nn_param(run, mlp->weight[0]);

	if (mlp->extra_width == 0)
		return nn_dense_forward(run, mlp->weight[0], mlp->bias[0], mlp->rows, mlp->x, y);
	fill_rows(mlp->rows, out, nn_param(run, mlp->bias[0]), mlp->first);
	NN_TRY(nn_product(run, NN_ABT, mlp->rows, out, R, mlp->x, R, w, in, true, mlp->first, out));
	for (int s = 0; s < mlp->samples; s++)
		memcpy(y + (size_t) s * out, mlp->first + (size_t) mlp->row[s] * out, out * sizeof(float));
	return nn_product(run, NN_ABT, mlp->samples, out, mlp->extra_width, mlp->extra, mlp->extra_width,
					  w + R, in, true, y, out);
}

static nn_status
first_backward(const nn_run *run, const nn_mlp *mlp, const float *d_y,
			   float *d_x, float *d_extra, nn_grad *grad)
{
	int			out = layer_out(run, mlp->weight[0]),
				in = layer_in(run, mlp->weight[0]),
				R = mlp->row_width,
				extra = mlp->extra_width;
	const float *w = nn_param(run, mlp->weight[0]);
	float	   *dw = nn_grad_of(run, grad, mlp->weight[0]);
	float	   *d_first = mlp->first;

	if (extra == 0)
		return nn_dense_backward(run, mlp->weight[0], mlp->bias[0], mlp->rows, mlp->x, d_y, d_x, grad);

	memset(d_first, 0, (size_t) mlp->rows * out * sizeof(float));
	for (int s = 0; s < mlp->samples; s++)
		nn_vector_axpy(out, 1.0f, d_y + (size_t) s * out, d_first + (size_t) mlp->row[s] * out);
	nn_vector_column_sums(mlp->rows, out, d_first, out, nn_grad_of(run, grad, mlp->bias[0]));
	NN_TRY(nn_product(run, NN_ATB, out, R, mlp->rows, d_first, out, mlp->x, R, true, dw, in));
	NN_TRY(nn_product(run, NN_ATB, out, extra, mlp->samples, d_y, out, mlp->extra, extra,
					  true, dw + R, in));
	NN_TRY(nn_product(run, NN_AB, mlp->rows, R, out, d_first, out, w, in, false, d_x, R));
	return nn_product(run, NN_AB, mlp->samples, extra, out, d_y, out, w + R, in, false, d_extra, extra);
}

/* ------------------------------------------------------------------------
 * The stack
 * ------------------------------------------------------------------------ */

void
nn_mlp_carve(const nn_run *run, nn_arena *arena, nn_mlp *mlp)
{
	size_t		O = (size_t) nn_mlp_out_rows(mlp);

	mlp->first = mlp->extra_width == 0 ? NULL :
		nn_arena_floats(arena, mlp->rows, layer_out(run, mlp->weight[0]));
	for (int k = 0; k < mlp->n_layer - 1; k++)
		mlp->h[k] = nn_arena_floats(arena, O, layer_out(run, mlp->weight[k]));
	mlp->out = nn_arena_floats(arena, O, layer_out(run, mlp->weight[mlp->n_layer - 1]));
}

/* Elements of a hidden layer before the batch, in the step it is a share of. */
static uint64_t
first_hidden(const nn_run *run, const nn_mlp *mlp, int k)
{
	return run->dropout->row[mlp->task] * (uint64_t) layer_out(run, mlp->weight[k]);
}

nn_status
nn_mlp_forward(const nn_run *run, const nn_mlp *mlp)
{
	int			O = nn_mlp_out_rows(mlp);

	for (int k = 0; k < mlp->n_layer; k++)
	{
		bool		last = (k == mlp->n_layer - 1);
		float	   *y = last ? mlp->out : mlp->h[k];
		size_t		n = (size_t) O * layer_out(run, mlp->weight[k]);

		if (k == 0)
			NN_TRY(first_forward(run, mlp, y));
		else
			NN_TRY(nn_dense_forward(run, mlp->weight[k], mlp->bias[k], O, mlp->h[k - 1], y));
		if (last)
			break;
		nn_vector_relu(n, y);
		if (run->dropout)
			nn_dropout_apply(run->dropout, run->dropout->hidden, NN_STREAM_HIDDEN(mlp->task, k),
							 first_hidden(run, mlp, k), n, y);
	}
	return NN_OK;
}

nn_status
nn_mlp_backward(const nn_run *run, const nn_mlp *mlp, nn_arena *arena,
				const float *d_out, float *d_x, float *d_extra, nn_grad *grad)
{
	int			O = nn_mlp_out_rows(mlp);
	float	   *d_h[NN_MAX_LAYERS];
	const float *d_y = d_out;

	for (int k = 0; k < mlp->n_layer - 1; k++)
		d_h[k] = nn_arena_floats(arena, O, layer_out(run, mlp->weight[k]));
	if (nn_arena_counts(arena))
		return NN_OK;
	NN_TRY(nn_arena_check(arena));

	for (int k = mlp->n_layer - 1; k > 0; k--)
	{
		size_t		n = (size_t) O * layer_out(run, mlp->weight[k - 1]);

		NN_TRY(nn_dense_backward(run, mlp->weight[k], mlp->bias[k], O, mlp->h[k - 1], d_y,
								 d_h[k - 1], grad));
		if (run->dropout)
			nn_dropout_apply(run->dropout, run->dropout->hidden, NN_STREAM_HIDDEN(mlp->task, k - 1),
							 first_hidden(run, mlp, k - 1), n, d_h[k - 1]);
		nn_vector_relu_back(n, mlp->h[k - 1], d_h[k - 1]);
		d_y = d_h[k - 1];
	}
	return first_backward(run, mlp, d_y, d_x, d_extra, grad);
}
