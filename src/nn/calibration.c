/*-------------------------------------------------------------------------
 *
 * calibration.c
 *	  Probabilities that mean what they say: Platt scaling, temperature
 *
 * A network that is stopped early, regularised, or trained with weights ranks
 * well and is still too sure or too shy.  On samples that it was not trained
 * on, two numbers mend that without changing any order (Platt 1999; Guo et al.
 * 2017 for one temperature over classes):
 *
 *	logit' = a logit + b, a > 0				yes or no
 *	logit' = a logit						classes, where a shift changes nothing
 *
 * They minimise the log loss plus PRIOR / 2 ((a - 1)^2 + b^2): with few samples
 * they stay near (1, 0).  The sum is convex and its Hessian positive definite,
 * so Newton's method with halved steps finds its only minimum.
 *
 *-------------------------------------------------------------------------
 */
#include <math.h>

#include "nn.h"

#define PRIOR		4.0			/* precision of a and b around (1, 0): some 16 samples' worth of b */
#define LEAST_SLOPE 0.05		/* of a: the order stays, even where logits mislead */
#define ITERATIONS	50
#define HALVINGS	30
#define CLOSE		1e-9		/* of a Newton step */

typedef struct problem
{
	int			classes;		/* 1: yes or no */
	int64_t		n;
	const float *logit;
	const int32_t *label;
	const float *weight;		/* NULL: all 1 */
} problem;

/* The sum at x = (a, b), with its first and second derivatives. */
typedef struct sums
{
	double		value;
	double		da, db;
	double		daa, dab, dbb;
} sums;

static double
softplus(double z)
{
	return (z > 0 ? z : 0) + log1p(exp(-fabs(z)));
}

static void
add_yes_no(const problem *of, int64_t i, const double *x, double weight, sums *sum)
{
	double		logit = of->logit[i];
	double		z = x[0] * logit + x[1];
	double		p = 1 / (1 + exp(-z));
	double		d = weight * (p - of->label[i]);
	double		dd = weight * p * (1 - p);

	sum->value += weight * (softplus(z) - (of->label[i] ? z : 0));
	sum->da += d * logit;
	sum->db += d;
	sum->daa += dd * logit * logit;
	sum->dab += dd * logit;
	sum->dbb += dd;
}

static void
add_classes(const problem *of, int64_t i, const double *x, double weight, sums *sum)
{
	const float *logit = of->logit + i * of->classes;
	double		most = logit[0],
				total = 0,
				mean = 0,
				square = 0;

	for (int c = 1; c < of->classes; c++)
		most = logit[c] > most ? logit[c] : most;
	for (int c = 0; c < of->classes; c++)
	{
		double		below = (double) logit[c] - most;
		double		e = exp(x[0] * below);

		total += e;
		mean += e * below;
		square += e * below * below;
	}
	mean /= total;
	square /= total;
	sum->value += weight * (log(total) - x[0] * (logit[of->label[i]] - most));
	sum->da += weight * (mean - (logit[of->label[i]] - most));
	sum->daa += weight * (square - mean * mean);
}

static void
sum_up(const problem *of, const double *x, sums *sum)
{
	double		a = x[0] - 1;

	*sum = (sums) {.value = PRIOR / 2 * (a * a + x[1] * x[1]),.da = PRIOR * a,.db = PRIOR * x[1],
	.daa = PRIOR,.dbb = PRIOR};
	for (int64_t i = 0; i < of->n; i++)
	{
		double		weight = of->weight ? of->weight[i] : 1;

		if (of->classes == 1)
			add_yes_no(of, i, x, weight, sum);
		else
			add_classes(of, i, x, weight, sum);
	}
}

/* From x to the minimum over both, or over b alone. */
static nn_status
minimise(const problem *of, bool slope, double *x, bool (*abort) (void *), void *arg)
{
	sums		at;

	sum_up(of, x, &at);
	for (int i = 0; i < ITERATIONS; i++)
	{
		double		determinant = at.daa * at.dbb - at.dab * at.dab;
		double		da = slope ? (at.dbb * at.da - at.dab * at.db) / determinant : 0;
		double		db = slope ? (at.daa * at.db - at.dab * at.da) / determinant : at.db / at.dbb;
		double		share = 1;

		if (!isfinite(da) || !isfinite(db))
			return NN_NOT_FINITE;
		if (fabs(da) + fabs(db) < CLOSE)
			break;
		for (int half = 0; half < HALVINGS; half++, share /= 2)
		{
			double		next[2] = {x[0] - share * da, x[1] - share * db};
			sums		there;

			if (abort != NULL && abort(arg))
				return NN_ABORTED;
			sum_up(of, next, &there);
			if (there.value <= at.value)
			{
				x[0] = next[0];
				x[1] = next[1];
				at = there;
				break;
			}
		}
		if (share < ldexp(1, 1 - HALVINGS))
			break;				/* nothing below in this direction: rounding */
	}
	return NN_OK;
}

nn_status
nn_calibrate(int classes, int64_t n, const float *logit, const int32_t *label, const float *weight,
			 bool (*abort) (void *), void *abort_arg, float calibration[2])
{
	problem		of = {.classes = classes,.n = n,.logit = logit,.label = label,.weight = weight};
	double		x[2] = {1, 0};
	nn_status	status = minimise(&of, true, x, abort, abort_arg);

	if (status == NN_OK && x[0] < LEAST_SLOPE)
	{
		x[0] = LEAST_SLOPE;
		x[1] = 0;
		status = minimise(&of, false, x, abort, abort_arg);
	}
	if (status != NN_OK)
		return status;
	calibration[0] = (float) x[0];
	calibration[1] = (float) x[1];
	return NN_OK;
}
