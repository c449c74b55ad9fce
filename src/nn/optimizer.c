/*-------------------------------------------------------------------------
 *
 * optimizer.c
 *	  Adam and AdaGrad, dense for the weights and lazy for the tables
 *
 * A step costs what its gradient touched: of a table only the listed rows,
 * with their moments, are read and written.  A lazy row's moments therefore
 * do not decay while it rests; Adam's bias correction goes by the number of
 * all steps, as in the sparse Adam of the usual frameworks.
 *
 *-------------------------------------------------------------------------
 */
#include <math.h>
#include <string.h>

#include "kernel.h"
#include "layers.h"

/*
 * L2 pulls at matrices and embeddings.  Biases of whatever name (bias,
 * intercept, recency, lag, repeat, item_bias) say how frequent a thing is,
 * and zero is not a better answer to that.
 */
static bool
decays(const nn_tensor *tensor)
{
	const char *last = strrchr(tensor->name, '.');

	if (tensor->table)			/* the embeddings and the tasks' item biases */
		return strncmp(tensor->name, "task.", 5) != 0;
	return last != NULL && strncmp(last, ".weight", 7) == 0;
}

/* Of a list: while one row is worked on, the next ones come from memory. */
static size_t
row_at(const nn_tensor *table, const int32_t *touched, int64_t k)
{
	return table->offset + (size_t) touched[k] * table->cols;
}

/* Of the dense floats [begin, end) without the frozen tensors among them. */
static double
dense_squares(const nn_layout *layout, const float *grad, size_t begin, size_t end)
{
	double		sum = 0;

	for (int i = 0; i < layout->first_table && begin < end; i++)
	{
		const nn_tensor *tensor = &layout->tensor[i];
		size_t		behind = tensor->offset + (size_t) (tensor->rows * tensor->cols);

		if (!tensor->frozen || behind <= begin)
			continue;
		if (begin < tensor->offset)
			sum += nn_step_squares((tensor->offset < end ? tensor->offset : end) - begin, grad + begin);
		begin = behind;
	}
	return begin < end ? sum + nn_step_squares(end - begin, grad + begin) : sum;
}

double
nn_optimizer_squares(const nn_layout *layout, const float *grad, size_t begin, size_t end,
					 const int64_t *n_touched, int32_t *const *touched)
{
	double		sum = dense_squares(layout, grad, begin, end);

	for (int i = 0; i < layout->n - layout->first_table; i++)
	{
		const nn_tensor *table = &layout->tensor[layout->first_table + i];

		for (int64_t k = 0; k < n_touched[i] && !table->frozen; k++)
		{
			if (k + NN_AHEAD < n_touched[i])
				nn_prefetch(grad + row_at(table, touched[i], k + NN_AHEAD), table->cols);
			sum += nn_step_squares((size_t) table->cols, grad + row_at(table, touched[i], k));
		}
	}
	return sum;
}

/* n neighbouring elements from `at` on. */
static void
update(const nn_optimizer *optimizer, const nn_step_rule *rule, float l2,
	   float *param, const float *grad, size_t at, size_t n)
{
	if (optimizer->kind == NN_ADAM)
		nn_step_adam(n, rule, l2, grad + at, param + at, optimizer->m + at, optimizer->v + at);
	else
		nn_step_adagrad(n, rule, l2, grad + at, param + at, optimizer->v + at);
}

static void
update_rows(const nn_optimizer *optimizer, const nn_step_rule *rule, float l2, float *param,
			const float *grad, const nn_tensor *table, const int32_t *touched, int64_t n)
{
	for (int64_t k = 0; k < n; k++)
	{
		if (k + NN_AHEAD < n)
		{
			size_t		at = row_at(table, touched, k + NN_AHEAD);

			nn_prefetch(grad + at, table->cols);
			nn_prefetch(param + at, table->cols);
			nn_prefetch(optimizer->v + at, table->cols);
			if (optimizer->kind == NN_ADAM)
				nn_prefetch(optimizer->m + at, table->cols);
		}
		update(optimizer, rule, l2, param, grad, row_at(table, touched, k), (size_t) table->cols);
	}
}

/*
 * grad is not cleared.  L2 is added after clipping, so that its strength does
 * not depend on the batch.  Besides NaN and infinity a gradient is refused
 * whose square, clipped, does not fit a float: its second moment would stay
 * infinite and the parameter would never move again.
 */
nn_status
nn_optimizer_apply(nn_optimizer *optimizer, const nn_layout *layout, float *param,
				   const float *grad, double squares, size_t begin, size_t end,
				   const int64_t *n_touched, int32_t *const *touched)
{
	double		length = sqrt(squares);
	double		scale = 1;
	nn_step_rule rule;

	if (optimizer->clip > 0 && length > optimizer->clip)
		scale = optimizer->clip / length;
	if (!isfinite((float) (length * scale * length * scale)))
		return NN_NOT_FINITE;

	optimizer->step++;
	rule.scale = (float) scale;
	rule.rate = optimizer->learning_rate;
	rule.beta1 = optimizer->beta1;
	rule.beta2 = optimizer->beta2;
	rule.root = 1;
	rule.epsilon = optimizer->epsilon;
	if (optimizer->kind == NN_ADAM)
	{
		double		step = (double) optimizer->step;

		rule.rate = (float) (rule.rate / (1 - pow(rule.beta1, step)));
		rule.root = (float) (1 / sqrt(1 - pow(rule.beta2, step)));
	}

	for (int i = 0; i < layout->n; i++)
	{
		const nn_tensor *tensor = &layout->tensor[i];
		float		l2 = decays(tensor) ? optimizer->l2 : 0;
		int			table = i - layout->first_table;

		if (tensor->frozen)
			continue;
		if (table < 0)
		{
			size_t		first = tensor->offset > begin ? tensor->offset : begin;
			size_t		last = tensor->offset + (size_t) (tensor->rows * tensor->cols);

			if (last > end)
				last = end;
			if (first < last)
				update(optimizer, &rule, l2, param, grad, first, last - first);
		}
		else
			update_rows(optimizer, &rule, l2, param, grad, tensor, touched[table], n_touched[table]);
	}
	return NN_OK;
}

nn_status
nn_optimizer_step(nn_optimizer *optimizer, const nn_layout *layout,
				  float *param, nn_grad *grad, float *norm)
{
	double		squares = nn_optimizer_squares(layout, grad->value, 0, layout->dense_floats,
											   grad->n_touched, grad->touched);

	if (norm)
		*norm = (float) sqrt(squares);
	return nn_optimizer_apply(optimizer, layout, param, grad->value, squares, 0, layout->dense_floats,
							  grad->n_touched, grad->touched);
}
