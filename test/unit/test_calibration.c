/*
 * test_calibration.c
 *	  Calibration against samples whose truth is known, and at its edges
 */
#include <math.h>
#include <string.h>

#include "nn/nn.h"
#include "tap.h"

#define N		20000
#define CLASSES 5

static float logit[N * CLASSES];
static int32_t label[N];
static float weight[N];

/* Labels drawn from sigmoid(a z + b); the fit sees z. */
static void
draw_yes_no(int n, double a, double b, uint64_t seed)
{
	for (int i = 0; i < n; i++)
	{
		double		z = 2 * nn_random_normal(&seed);

		logit[i] = (float) z;
		label[i] = nn_random_uniform(&seed) < 1 / (1 + exp(-(a * z + b)));
	}
}

static void
draw_classes(int n, double a, uint64_t seed)
{
	for (int i = 0; i < n; i++)
	{
		double		sum = 0,
					u;

		for (int c = 0; c < CLASSES; c++)
		{
			logit[i * CLASSES + c] = (float) (2 * nn_random_normal(&seed));
			sum += exp(a * logit[i * CLASSES + c]);
		}
		u = nn_random_uniform(&seed) * sum;
		label[i] = 0;
		for (int c = 0; c < CLASSES - 1; c++)
		{
			u -= exp(a * logit[i * CLASSES + c]);
			if (u < 0)
				break;
			label[i]++;
		}
	}
}

/* The regularised loss in the plainest way. */
static double
loss(int classes, int n, const float *w, double a, double b)
{
	double		sum = 2 * ((a - 1) * (a - 1) + b * b);

	for (int i = 0; i < n; i++)
	{
		double		total = 0;

		if (classes == 1)
		{
			double		p = 1 / (1 + exp(-(a * logit[i] + b)));

			sum -= (w ? w[i] : 1) * log(label[i] ? p : 1 - p);
			continue;
		}
		for (int c = 0; c < classes; c++)
			total += exp(a * logit[i * classes + c]);
		sum -= (w ? w[i] : 1) * (a * logit[i * classes + label[i]] - log(total));
	}
	return sum;
}

/* No step in any direction is better. */
static bool
is_minimum(int classes, int n, const float *w, const float *found)
{
	double		best = loss(classes, n, w, found[0], found[1]);

	for (int d = 0; d < 4; d++)
		if (loss(classes, n, w, found[0] + (d == 0 ? .01 : d == 1 ? -.01 : 0),
				 found[1] + (d == 2 ? .01 : d == 3 ? -.01 : 0)) < best)
			return false;
	return true;
}

static bool
stop(void *arg)
{
	return --*(int *) arg < 0;
}

int
main(void)
{
	float		found[2];
	int			left = 2;

	plan(24);

	draw_yes_no(N, .5, -1, 1);
	ok(nn_calibrate(1, N, logit, label, NULL, NULL, NULL, found) == NN_OK, "yes or no");
	is_close(found[0], .5, .03, "a network that is too sure");
	is_close(found[1], -1, .06, "and too hopeful");
	ok(is_minimum(1, N, NULL, found), "is at its minimum");

	draw_yes_no(N, 1.7, .4, 2);
	nn_calibrate(1, N, logit, label, NULL, NULL, NULL, found);
	is_close(found[0], 1.7, .08, "one that is too shy");
	is_close(found[1], .4, .06, "and too gloomy");

	for (int i = 0; i < N; i++)
		weight[i] = i % 3 == 0 ? 2.0f : 0.0f;
	draw_yes_no(N, .8, .3, 3);
	for (int i = 0; i < N; i++)
		if (i % 3 != 0)
			label[i] = 1;
	nn_calibrate(1, N, logit, label, weight, NULL, NULL, found);
	is_close(found[0], .8, .08, "weights count");
	is_close(found[1], .3, .08, "samples without weight do not");
	ok(is_minimum(1, N, weight, found), "the weighted minimum");

	draw_classes(N, .6, 4);
	ok(nn_calibrate(CLASSES, N, logit, label, NULL, NULL, NULL, found) == NN_OK, "classes");
	is_close(found[0], .6, .03, "a temperature");
	ok(found[1] == 0, "and no shift");
	ok(is_minimum(CLASSES, N, NULL, found), "is at its minimum");

	/* little to go by */
	ok(nn_calibrate(1, 0, logit, label, NULL, NULL, NULL, found) == NN_OK && found[0] == 1 && found[1] == 0,
	   "nothing without samples");
	logit[0] = 0;
	label[0] = 1;
	nn_calibrate(1, 1, logit, label, NULL, NULL, NULL, found);
	ok(found[0] == 1 && found[1] > 0 && found[1] < .15, "one sample moves little");

	/* one label alone, and labels that a line parts: the prior holds them */
	draw_yes_no(200, 1, 0, 5);
	memset(label, 0, sizeof(label));
	ok(nn_calibrate(1, 200, logit, label, NULL, NULL, NULL, found) == NN_OK && isfinite(found[1]) && found[1] < -.5,
	   "one label");
	for (int i = 0; i < 200; i++)
		label[i] = logit[i] > 0;
	ok(nn_calibrate(1, 200, logit, label, NULL, NULL, NULL, found) == NN_OK && found[0] > 1 && found[0] < 100,
	   "labels that a line parts");

	/* logits that mislead keep their order */
	draw_yes_no(N, -1, -.7, 6);
	nn_calibrate(1, N, logit, label, NULL, NULL, NULL, found);
	is_close(found[0], .05, 1e-6, "the slope stays positive");
	ok(loss(1, N, NULL, .05, found[1]) <= loss(1, N, NULL, .05, found[1] + .01) &&
	   loss(1, N, NULL, .05, found[1]) <= loss(1, N, NULL, .05, found[1] - .01), "with the best shift for it");
	draw_classes(N, -1, 7);
	nn_calibrate(CLASSES, N, logit, label, NULL, NULL, NULL, found);
	is_close(found[0], .05, 1e-6, "of classes too");

	/* large logits */
	draw_yes_no(N, 1, 0, 8);
	for (int i = 0; i < N; i++)
		logit[i] *= 1e4f;
	ok(nn_calibrate(1, N, logit, label, NULL, NULL, NULL, found) == NN_OK && isfinite(found[0]) && found[0] > 0,
	   "large logits");

	/* what fails leaves the numbers alone */
	draw_yes_no(N, .5, -1, 1);
	found[0] = 3;
	found[1] = 4;
	ok(nn_calibrate(1, N, logit, label, NULL, stop, &left, found) == NN_ABORTED, "stopped");
	ok(found[0] == 3 && found[1] == 4, "nothing changed");
	logit[7] = NAN;
	ok(nn_calibrate(1, N, logit, label, NULL, NULL, NULL, found) == NN_NOT_FINITE && found[0] == 3, "not a number");
	return done();
}
