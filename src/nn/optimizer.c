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

#include "layers.h"

/* What all elements of a step have in common. */
typedef struct step_rule
{
	nn_optimizer_kind kind;
	float		scale;			/* of the gradient, from clipping */
	float		rate;			/* Adam: over the first moment's correction */
	float		beta1, beta2;
	float		root;			/* 1 / sqrt of the second moment's correction */
	float		epsilon;
} step_rule;

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

static double
sum_of_squares(const float *value, int64_t n)
{
	double		sum = 0;

	for (int64_t i = 0; i < n; i++)
		sum += (double) value[i] * value[i];
	return sum;
}

double
nn_optimizer_squares(const nn_layout *layout, const float *grad, size_t begin, size_t end,
					 const int64_t *n_touched, int32_t *const *touched)
{
	double		sum = sum_of_squares(grad + begin, (int64_t) (end - begin));

	for (int i = 0; i < layout->n - layout->first_table; i++)
	{
		const nn_tensor *table = &layout->tensor[layout->first_table + i];

		for (int64_t k = 0; k < n_touched[i]; k++)
			sum += sum_of_squares(grad + table->offset + (size_t) touched[i][k] * table->cols, table->cols);
	}
	return sum;
}

/* n neighbouring elements from `at` on. */
static void
update(const nn_optimizer *optimizer, const step_rule *rule, float l2,
	   float *param, const float *grad, size_t at, int64_t n)
{
	float	   *v = optimizer->v + at;

	param += at;
	grad += at;
	if (rule->kind == NN_ADAM)
	{
		float	   *m = optimizer->m + at;

		/* Kingma and Ba, ICLR 2015, algorithm 1 */
		for (int64_t i = 0; i < n; i++)
		{
			float		g = rule->scale * grad[i] + l2 * param[i];

			m[i] = rule->beta1 * m[i] + (1 - rule->beta1) * g;
			v[i] = rule->beta2 * v[i] + (1 - rule->beta2) * g * g;
			param[i] -= rule->rate * m[i] / (sqrtf(v[i]) * rule->root + rule->epsilon);
		}
	}
	else
	{
		/* Duchi, Hazan and Singer, JMLR 2011 */
		for (int64_t i = 0; i < n; i++)
		{
			float		g = rule->scale * grad[i] + l2 * param[i];

			v[i] += g * g;
			param[i] -= rule->rate * g / (sqrtf(v[i]) + rule->epsilon);
		}
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
	step_rule	rule;

	if (optimizer->clip > 0 && length > optimizer->clip)
		scale = optimizer->clip / length;
	if (!isfinite((float) (length * scale * length * scale)))
		return NN_NOT_FINITE;

	optimizer->step++;
	rule.kind = optimizer->kind;
	rule.scale = (float) scale;
	rule.rate = optimizer->learning_rate;
	rule.beta1 = optimizer->beta1;
	rule.beta2 = optimizer->beta2;
	rule.root = 1;
	rule.epsilon = optimizer->epsilon;
	if (rule.kind == NN_ADAM)
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

		if (table < 0)
		{
			size_t		first = tensor->offset > begin ? tensor->offset : begin;
			size_t		last = tensor->offset + (size_t) (tensor->rows * tensor->cols);

			if (last > end)
				last = end;
			if (first < last)
				update(optimizer, &rule, l2, param, grad, first, (int64_t) (last - first));
		}
		else
			for (int64_t k = 0; k < n_touched[table]; k++)
				update(optimizer, &rule, l2, param, grad,
					   tensor->offset + (size_t) touched[table][k] * tensor->cols, tensor->cols);
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
