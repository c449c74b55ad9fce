/*-------------------------------------------------------------------------
 *
 * resample.h
 *	  Metrics of resampled users: what intervals are made of
 *
 * Intervals are 95 % percentiles of a Poisson bootstrap by user: every user's
 * samples enter a resample 0, 1, 2, .. times together, since a user's samples
 * are not independent.  How often is a function of the seed and the user's
 * number alone, so all scorers, slices and metrics of a task see the same
 * resamples, and the interval of a difference is paired.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DUPN_RESAMPLE_H
#define DUPN_RESAMPLE_H

#include "train/train.h"

#define RESAMPLES	200

/* A metric of one scorer, of the samples as they are and of each resample; NAN: none. */
typedef struct Resampled
{
	double		value;
	double		resample[RESAMPLES];
	int64		n;				/* samples that entered it */
} Resampled;

/*
 * What a metric is the mean of, weighted as samples are: its value for one
 * sample and scorer, NAN to leave the sample out.
 */
typedef double (*SampleValue) (const Judged *judged, const Results *results, int64 i, int k);

/* The mean over the samples of a slice, of every scorer with has[r]. */
extern void resampled_mean(const Judged *judged, Slice slice, SampleValue value, int k, uint64 seed,
						   const bool *has, Resampled *out);

/* The samples by score, lowest first: [judged->n]. */
extern int32 *score_order(const Judged *judged, const float *score);

/*
 * Of the samples of a slice in the order of a score:
 * auc: the share of pairs of a positive and a negative that are in order, ties
 * counting half;
 * r_precision: precision of as many samples, those with the highest scores, as
 * there are positives, and so recall as well; tied ones share what is left
 * evenly.
 */
extern void resampled_ranking(const Judged *judged, const float *score, const int32 *order, Slice slice,
							  uint64 seed, Resampled *auc, Resampled *r_precision);

/*
 * Probabilities against what came, in bins that hold as many samples each but
 * for ties, which stay together: the mean distance of probability and rate.
 * Bootstrap means of a distance lie above it, so the interval is widened to
 * hold the value.
 */
#define CALIBRATION_BINS	10

typedef struct Calibration
{
	int			n;				/* bins that are not empty */
	double		probability[CALIBRATION_BINS];	/* mean */
	double		rate[CALIBRATION_BINS]; /* of positives */
	int64		samples[CALIBRATION_BINS];
} Calibration;

extern void resampled_calibration(const Judged *judged, const float *probability, const float *label,
								  uint64 seed, Resampled *out, Calibration *bins);

/* The 2.5 and 97.5 percentiles of the finite values; values are sorted.  NAN: none. */
extern void percentiles(double values[RESAMPLES], double *low, double *high);

#endif							/* DUPN_RESAMPLE_H */
