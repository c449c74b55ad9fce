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

/* Poisson(1) by the inverse of its distribution, in steps of 2^-16. */
static const uint8 *
poisson_table(void)
{
	static uint8 table[65536];

	if (table[65535] == 0)
	{
		double		p = exp(-1.0);
		double		until = p;
		int			k = 0;

		for (int i = 0; i < lengthof(table); i++)
		{
			while ((i + 0.5) / lengthof(table) > until && k < 8)
			{
				p /= ++k;
				until += p;
			}
			table[i] = (uint8) k;
		}
	}
	return table;
}

/* How often a user's samples enter each resample. */
static void
draw(uint64 seed, int32 user, double times[RESAMPLES])
{
	const uint8 *table = poisson_table();
	uint64		random = seed ^ ((uint64) user + 1) * UINT64CONST(0xD1342543DE82EF95);

	StaticAssertStmt(RESAMPLES % 4 == 0, "a random number makes four");
	for (int b = 0; b < RESAMPLES; b += 4)
	{
		uint64		bits = nn_random_u64(&random);

		for (int i = 0; i < 4; i++)
			times[b + i] = table[bits >> 16 * i & 0xffff];
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

/* Of one scorer, over users. */
typedef struct Sums
{
	double		sum[RESAMPLES];
	double		weight[RESAMPLES];
	double		all_sum;
	double		all_weight;
	double		user_sum;		/* of the user at hand */
	double		user_weight;
	bool		alike;			/* so far its weights are those of the first scorer */
} Sums;

/* The user's samples [begin, end); did any enter? */
static bool
add_user(const Judged *judged, Slice slice, SampleValue value, int k, int r, int64 begin, int64 end,
		 Sums *sums, Resampled *out)
{
	sums->user_sum = sums->user_weight = 0;
	for (int64 i = begin; i < end; i++)
	{
		double		x;

		if (!in_slice(judged, i, slice))
			continue;
		x = value(judged, &judged->results[r], i, k);
		if (isnan(x))
			continue;
		sums->user_sum += judged->weight[i] * x;
		sums->user_weight += judged->weight[i];
		out->n++;
	}
	sums->all_sum += sums->user_sum;
	sums->all_weight += sums->user_weight;
	return sums->user_weight != 0;
}

/* Add the user at hand to the resamples of a scorer, the first one last. */
static void
resample_user(Sums *sums, const Sums *first, const double times[RESAMPLES])
{
	double		s = sums->user_sum;
	double		w = sums->user_weight;

	if (s != 0)
		for (int b = 0; b < RESAMPLES; b++)
			sums->sum[b] += times[b] * s;

	/* most metrics are of the same samples for every scorer */
	if (sums->alike && w != first->user_weight)
	{
		memcpy(sums->weight, first->weight, sizeof(sums->weight));
		sums->alike = false;
	}
	if (w != 0 && (sums == first || !sums->alike))
		for (int b = 0; b < RESAMPLES; b++)
			sums->weight[b] += times[b] * w;
}

void
resampled_mean(const Judged *judged, Slice slice, SampleValue value, int k, uint64 seed,
			   const bool *has, Resampled *out)
{
	Sums	   *sums = palloc0(sizeof(Sums) * judged->n_results);
	int			first = 0;		/* scorer */
	double		times[RESAMPLES];

	while (first < judged->n_results - 1 && !has[first])
		first++;
	for (int r = 0; r < judged->n_results; r++)
	{
		out[r].n = 0;
		sums[r].alike = true;
	}
	for (int64 i = 0, end; i < judged->n; i = end)
	{
		bool		any = false;

		for (end = i + 1; end < judged->n && judged->user[end] == judged->user[i]; end++)
			;
		for (int r = 0; r < judged->n_results; r++)
			if (has[r])
				any |= add_user(judged, slice, value, k, r, i, end, &sums[r], &out[r]);
		if (!any)
			continue;
		draw(seed, judged->user[i], times);
		for (int r = judged->n_results - 1; r >= first; r--)
			if (has[r])
				resample_user(&sums[r], &sums[first], times);
		if (judged->user[i] % CHECK_EVERY == 0)
			job_check();
	}
	for (int r = 0; r < judged->n_results; r++)
	{
		if (sums[r].alike && r != first)
			memcpy(sums[r].weight, sums[first].weight, sizeof(sums[r].weight));
		out[r].value = sums[r].all_weight > 0 ? sums[r].all_sum / sums[r].all_weight : NAN;
		for (int b = 0; b < RESAMPLES; b++)
			out[r].resample[b] = sums[r].weight[b] > 0 ? sums[r].sum[b] / sums[r].weight[b] : NAN;
	}
	pfree(sums);
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
 * order, downwards.  Returns where the next ones are.
 */
static int64
collect_tied(const Judged *judged, const float *score, const int32 *order, Slice slice, uint64 seed,
			 int64 at, Tied *tied)
{
	float		value = score[order[at]];
	double		times[RESAMPLES];

	memset(tied, 0, sizeof(*tied));
	for (; at >= 0 && score[order[at]] == value; at--)
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

/* The positives of a slice, in all samples and in each resample. */
static double
count_positives(const Judged *judged, Slice slice, uint64 seed, double p[RESAMPLES])
{
	double		times[RESAMPLES];
	double		positives = 0;

	memset(p, 0, sizeof(double) * RESAMPLES);
	for (int64 i = 0; i < judged->n; i++)
	{
		if (!in_slice(judged, i, slice) || judged->label[i] <= 0.5f)
			continue;
		positives++;
		draw(seed, judged->user[i], times);
		for (int b = 0; b < RESAMPLES; b++)
			p[b] += times[b];
	}
	return positives;
}

/* The walk along the order, of all samples or of one resample. */
typedef struct Walk
{
	double		positives;		/* above */
	double		negatives;
	double		pairs;			/* in order */
	double		hits;
	double		room;			/* of as many samples as there are positives */
} Walk;

static inline void
walk_tied(Walk *walk, double p, double q)
{
	double		share = p + q > walk->room ? walk->room / (p + q) : 1;

	walk->pairs += q * (walk->positives + p / 2);
	walk->positives += p;
	walk->negatives += q;
	walk->hits += share * p;
	walk->room -= share * (p + q);
}

void
resampled_ranking(const Judged *judged, const float *score, const int32 *order, Slice slice, uint64 seed,
				  Resampled *auc, Resampled *r_precision)
{
	Walk		all = {0};
	Walk	   *each = palloc0(sizeof(Walk) * RESAMPLES);
	Tied		tied;
	double		p[RESAMPLES];

	all.room = count_positives(judged, slice, seed, p);
	for (int b = 0; b < RESAMPLES; b++)
		each[b].room = p[b];
	for (int64 at = judged->n - 1; at >= 0;)
	{
		at = collect_tied(judged, score, order, slice, seed, at, &tied);
		if (tied.positives + tied.negatives == 0)
			continue;
		walk_tied(&all, tied.positives, tied.negatives);
		for (int b = 0; b < RESAMPLES; b++)
			if (tied.p[b] + tied.q[b] > 0)
				walk_tied(&each[b], tied.p[b], tied.q[b]);
	}
	auc->n = r_precision->n = (int64) (all.positives + all.negatives);
	auc->value = all.positives > 0 && all.negatives > 0 ? all.pairs / (all.positives * all.negatives) : NAN;
	r_precision->value = all.positives > 0 ? all.hits / all.positives : NAN;
	for (int b = 0; b < RESAMPLES; b++)
	{
		const Walk *walk = &each[b];

		auc->resample[b] = walk->positives > 0 && walk->negatives > 0 ?
			walk->pairs / (walk->positives * walk->negatives) : NAN;
		r_precision->resample[b] = walk->positives > 0 ? walk->hits / walk->positives : NAN;
	}
	pfree(each);
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
	double		times[RESAMPLES];

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
