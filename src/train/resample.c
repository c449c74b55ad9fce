/*-------------------------------------------------------------------------
 *
 * resample.c
 *	  Metrics of resampled users: what intervals are made of
 *
 * Each pass over the samples serves all resamples at once: how often a user
 * enters each is drawn where the user comes up, since drawing 200 numbers is
 * cheaper than to keep them for many users.
 *
 *-------------------------------------------------------------------------
 */
#include "train/resample.h"

#include <math.h>

#define CHECK_EVERY 1024

/* How often a user's samples enter each resample: Poisson(1), in steps of 2^-16. */
static void
draw(uint64 seed, int32 user, uint8 times[RESAMPLES])
{
	/* P(X <= k) 2^16 */
	static const uint16 until[] = {24109, 48219, 60273, 64291, 65296, 65497, 65531, 65535};
	uint64		random = seed ^ ((uint64) user + 1) * UINT64CONST(0xD1342543DE82EF95);
	uint16		uniform[RESAMPLES];

	StaticAssertStmt(RESAMPLES % 4 == 0, "a number makes four");
	for (int b = 0; b < RESAMPLES; b += 4)
	{
		uint64		bits = nn_random_u64(&random);

		for (int i = 0; i < 4; i++)
			uniform[b + i] = (uint16) (bits >> 16 * i);
	}
	for (int b = 0; b < RESAMPLES; b++)
	{
		uint8		k = 0;

		for (int i = 0; i < lengthof(until); i++)
			k += uniform[b] >= until[i];
		times[b] = k;
	}
}

static int
compare_double(const void *a, const void *b)
{
	double		x = *(const double *) a;
	double		y = *(const double *) b;

	return x < y ? -1 : x > y;
}

void
percentiles(double values[RESAMPLES], double *low, double *high)
{
	int			n = 0;

	for (int i = 0; i < RESAMPLES; i++)
		if (isfinite(values[i]))
			values[n++] = values[i];
	qsort(values, n, sizeof(double), compare_double);
	*low = n > 0 ? values[(int) (0.025 * (n - 1) + 0.5)] : NAN;
	*high = n > 0 ? values[(int) (0.975 * (n - 1) + 0.5)] : NAN;
}

/* ---------------- means ---------------- */

void
resampled_mean(const Judged *judged, const Results *results, Slice slice, SampleValue value, int k,
			   uint64 seed, Resampled *out)
{
	double		sum[RESAMPLES] = {0};
	double		weight[RESAMPLES] = {0};
	double		all_sum = 0;
	double		all_weight = 0;
	uint8		times[RESAMPLES];

	out->n = 0;
	for (int64 i = 0, end; i < judged->n; i = end)
	{
		double		s = 0;
		double		w = 0;

		for (end = i; end < judged->n && judged->user[end] == judged->user[i]; end++)
		{
			double		x;

			if (!in_slice(judged, end, slice))
				continue;
			x = value(judged, results, end, k);
			if (isnan(x))
				continue;
			s += judged->weight[end] * x;
			w += judged->weight[end];
			out->n++;
		}
		if (w == 0)
			continue;
		all_sum += s;
		all_weight += w;
		draw(seed, judged->user[i], times);
		for (int b = 0; b < RESAMPLES; b++)
		{
			sum[b] += times[b] * s;
			weight[b] += times[b] * w;
		}
		if (judged->user[i] % CHECK_EVERY == 0)
			job_check();
	}
	out->value = all_weight > 0 ? all_sum / all_weight : NAN;
	for (int b = 0; b < RESAMPLES; b++)
		out->resample[b] = weight[b] > 0 ? sum[b] / weight[b] : NAN;
}

/* ---------------- orders ---------------- */

static int
compare_score(const void *a, const void *b, void *arg)
{
	const float *score = arg;
	float		x = score[*(const int32 *) a];
	float		y = score[*(const int32 *) b];

	return x < y ? -1 : x > y;
}

int32 *
score_order(const Judged *judged, const float *score)
{
	int32	   *order = palloc0_array_huge(int32, judged->n);

	for (int64 i = 0; i < judged->n; i++)
		order[i] = (int32) i;
	qsort_arg(order, judged->n, sizeof(int32), compare_score, (void *) score);
	return order;
}

/* Tied samples: how many of each label, in all samples and in each resample. */
typedef struct Tied
{
	double		positives;
	double		negatives;
	double		p[RESAMPLES];
	double		q[RESAMPLES];
} Tied;

/*
 * Collect the samples of a slice that are tied with the one at `at` in the
 * order; step 1: upwards, -1: downwards.  Returns where the next ones are.
 */
static int64
collect_tied(const Judged *judged, const float *score, const int32 *order, Slice slice, uint64 seed,
			 int64 at, int step, Tied *tied)
{
	float		value = score[order[at]];
	uint8		times[RESAMPLES];

	memset(tied, 0, sizeof(*tied));
	for (; at >= 0 && at < judged->n && score[order[at]] == value; at += step)
	{
		int64		i = order[at];
		bool		positive = judged->label[i] > 0.5f;
		double	   *count = positive ? tied->p : tied->q;

		if (!in_slice(judged, i, slice))
			continue;
		if (positive)
			tied->positives++;
		else
			tied->negatives++;
		draw(seed, judged->user[i], times);
		for (int b = 0; b < RESAMPLES; b++)
			count[b] += times[b];
		if (at % CHECK_EVERY == 0)
			job_check();
	}
	return at;
}

void
resampled_auc(const Judged *judged, const float *score, const int32 *order, Slice slice, uint64 seed,
			  Resampled *out)
{
	double		positives = 0;
	double		negatives = 0;
	double		pairs = 0;
	double		p[RESAMPLES] = {0};
	double		q[RESAMPLES] = {0};
	double		in_order[RESAMPLES] = {0};
	Tied		tied;

	for (int64 at = 0; at < judged->n;)
	{
		at = collect_tied(judged, score, order, slice, seed, at, 1, &tied);
		pairs += tied.positives * (negatives + tied.negatives / 2);
		positives += tied.positives;
		negatives += tied.negatives;
		for (int b = 0; b < RESAMPLES; b++)
		{
			in_order[b] += tied.p[b] * (q[b] + tied.q[b] / 2);
			p[b] += tied.p[b];
			q[b] += tied.q[b];
		}
	}
	out->n = (int64) (positives + negatives);
	out->value = positives > 0 && negatives > 0 ? pairs / (positives * negatives) : NAN;
	for (int b = 0; b < RESAMPLES; b++)
		out->resample[b] = p[b] > 0 && q[b] > 0 ? in_order[b] / (p[b] * q[b]) : NAN;
}

void
resampled_r_precision(const Judged *judged, const float *score, const int32 *order, Slice slice,
					  uint64 seed, Resampled *out)
{
	double		positives = 0;	/* of all samples, and what room they leave */
	double		room;
	double		hits = 0;
	double		p[RESAMPLES] = {0};
	double		left[RESAMPLES];
	double		hit[RESAMPLES] = {0};
	uint8		times[RESAMPLES];
	Tied		tied;

	out->n = 0;
	for (int64 i = 0; i < judged->n; i++)
	{
		if (!in_slice(judged, i, slice))
			continue;
		out->n++;
		if (judged->label[i] <= 0.5f)
			continue;
		positives++;
		draw(seed, judged->user[i], times);
		for (int b = 0; b < RESAMPLES; b++)
			p[b] += times[b];
	}
	room = positives;
	memcpy(left, p, sizeof(left));
	for (int64 at = judged->n - 1; at >= 0;)
	{
		double		all;
		double		share;
		double		most = room;	/* any room left anywhere */

		at = collect_tied(judged, score, order, slice, seed, at, -1, &tied);
		all = tied.positives + tied.negatives;
		share = all > room ? room / all : 1;
		hits += share * tied.positives;
		room -= share * all;
		for (int b = 0; b < RESAMPLES; b++)
		{
			all = tied.p[b] + tied.q[b];
			share = all > left[b] ? left[b] / all : 1;
			hit[b] += share * tied.p[b];
			left[b] -= share * all;
			most = Max(most, left[b]);
		}
		if (most <= 0)
			break;
	}
	out->value = positives > 0 ? hits / positives : NAN;
	for (int b = 0; b < RESAMPLES; b++)
		out->resample[b] = p[b] > 0 ? hit[b] / p[b] : NAN;
}

/* ---------------- calibration ---------------- */

void
resampled_calibration(const Judged *judged, const float *probability, const float *label, uint64 seed,
					  Resampled *out, Calibration *bins)
{
	int32	   *order = score_order(judged, probability);
	uint8	   *bin = palloc0_array_huge(uint8, judged->n);
	double		distance[CALIBRATION_BINS][RESAMPLES] = {{0}};
	double		total[RESAMPLES] = {0};
	double		p[CALIBRATION_BINS] = {0};
	double		y[CALIBRATION_BINS] = {0};
	double		weight[CALIBRATION_BINS] = {0};
	int64		samples[CALIBRATION_BINS] = {0};
	double		all = 0;
	double		value = 0;
	uint8		times[RESAMPLES];

	/* the bin of tied samples is that of the middle one */
	for (int64 begin = 0, end; begin < judged->n; begin = end)
	{
		uint8		b;

		for (end = begin + 1; end < judged->n && probability[order[end]] == probability[order[begin]]; end++)
			;
		b = (uint8) (CALIBRATION_BINS * (begin + end - 1) / (2 * judged->n));
		for (int64 at = begin; at < end; at++)
			bin[order[at]] = b;
	}

	for (int64 i = 0, end; i < judged->n; i = end)
	{
		double		d[CALIBRATION_BINS] = {0};
		double		w = 0;

		for (end = i; end < judged->n && judged->user[end] == judged->user[i]; end++)
		{
			int			k = bin[end];

			d[k] += judged->weight[end] * (probability[end] - label[end]);
			p[k] += judged->weight[end] * probability[end];
			y[k] += judged->weight[end] * label[end];
			weight[k] += judged->weight[end];
			samples[k]++;
			w += judged->weight[end];
		}
		all += w;
		draw(seed, judged->user[i], times);
		for (int k = 0; k < CALIBRATION_BINS; k++)
			for (int b = 0; d[k] != 0 && b < RESAMPLES; b++)
				distance[k][b] += times[b] * d[k];
		for (int b = 0; b < RESAMPLES; b++)
			total[b] += times[b] * w;
		if (judged->user[i] % CHECK_EVERY == 0)
			job_check();
	}

	bins->n = 0;
	for (int k = 0; k < CALIBRATION_BINS; k++)
	{
		value += fabs(p[k] - y[k]);
		if (weight[k] <= 0)
			continue;
		bins->probability[bins->n] = p[k] / weight[k];
		bins->rate[bins->n] = y[k] / weight[k];
		bins->samples[bins->n] = samples[k];
		bins->n++;
	}
	out->n = judged->n;
	out->value = all > 0 ? value / all : NAN;
	for (int b = 0; b < RESAMPLES; b++)
	{
		double		sum = 0;

		for (int k = 0; k < CALIBRATION_BINS; k++)
			sum += fabs(distance[k][b]);
		out->resample[b] = total[b] > 0 ? sum / total[b] : NAN;
	}
	pfree(order);
	pfree(bin);
}
