/*-------------------------------------------------------------------------
 *
 * metrics.c
 *	  How good predictions are
 *
 * Sums are in double.  A NaN among scores never flatters: in the AUC it is
 * a score above all others, and in a ranking it stands before the target.
 *
 *-------------------------------------------------------------------------
 */
#include <float.h>
#include <math.h>
#include <string.h>

#include "nn.h"

#define SMALL_RUN 16			/* sorted by insertion */

/* ------------------------------------------------------------------------
 * Area under the curve
 * ------------------------------------------------------------------------ */

/*
 * A number that sorts as (group, score) does.  Equal scores have equal keys:
 * the two zeros, and all NaNs, which come last.
 */
static uint64_t
sort_key(const float *score, const int32_t *group, int32_t i)
{
	float		value = score[i] + 0.0f;	/* -0 becomes 0 */
	uint64_t	high = group ? (uint64_t) ((int64_t) group[i] - INT32_MIN) << 32 : 0;
	uint32_t	bits;

	if (isnan(value))
		return high | UINT32_MAX;
	memcpy(&bits, &value, sizeof(bits));
	return high | (bits & 0x80000000 ? ~bits : bits | 0x80000000);
}

/*
 * Radix exchange sort of order by the bits of the keys from `bit` downwards:
 * in place, at most 64 levels deep and linear in n at each, whatever the data.
 */
static void
sort_order(const float *score, const int32_t *group, int32_t *order, int64_t n, int bit)
{
	while (n > SMALL_RUN && bit >= 0)
	{
		int64_t		low = 0;
		int64_t		high = n;

		while (low < high)
		{
			if (sort_key(score, group, order[low]) >> bit & 1)
			{
				int32_t		other = order[--high];

				order[high] = order[low];
				order[low] = other;
			}
			else
				low++;
		}
		bit--;
		sort_order(score, group, order, low, bit);
		order += low;
		n -= low;
	}
	if (n > SMALL_RUN)
		return;					/* all keys are equal */
	for (int64_t i = 1; i < n; i++)
	{
		int32_t		moving = order[i];
		uint64_t	key = sort_key(score, group, moving);
		int64_t		j = i;

		for (; j > 0 && sort_key(score, group, order[j - 1]) > key; j--)
			order[j] = order[j - 1];
		order[j] = moving;
	}
}

/*
 * The AUC of samples in ascending order: the share of pairs of a positive and
 * a negative sample that are in order, ties counting half (Mann and Whitney).
 */
static double
sorted_auc(const float *score, const float *label, const int32_t *order, int64_t n)
{
	double		positives = 0;
	double		negatives = 0;
	double		in_order = 0;

	for (int64_t i = 0; i < n;)
	{
		uint64_t	key = sort_key(score, NULL, order[i]);
		double		tied_positives = 0;
		double		tied_negatives = 0;

		for (; i < n && sort_key(score, NULL, order[i]) == key; i++)
		{
			if (label[order[i]] > 0.5f)
				tied_positives++;
			else
				tied_negatives++;
		}
		in_order += tied_positives * (negatives + tied_negatives / 2);
		positives += tied_positives;
		negatives += tied_negatives;
	}
	if (positives == 0 || negatives == 0)
		return NAN;
	return in_order / (positives * negatives);
}

static void
fill_order(int32_t *order, int64_t n)
{
	for (int64_t i = 0; i < n; i++)
		order[i] = (int32_t) i;
}

/* Labels above 1/2 are positive.  n is at most INT32_MAX. */
double
nn_auc(const float *score, const float *label, int64_t n, int32_t *order)
{
	fill_order(order, n);
	sort_order(score, NULL, order, n, 31);
	return sorted_auc(score, label, order, n);
}

/* NAN when no group has both classes. */
double
nn_grouped_auc(const float *score, const float *label, const int32_t *group,
			   int64_t n, int32_t *order)
{
	double		sum = 0;
	double		weight = 0;

	fill_order(order, n);
	sort_order(score, group, order, n, 63);
	for (int64_t begin = 0, end; begin < n; begin = end)
	{
		double		auc;

		for (end = begin + 1; end < n && group[order[end]] == group[order[begin]]; end++)
			;
		auc = sorted_auc(score, label, order + begin, end - begin);
		if (isnan(auc))
			continue;
		sum += auc * (double) (end - begin);
		weight += (double) (end - begin);
	}
	return sum / weight;
}

/* ------------------------------------------------------------------------
 * Probabilities and classes
 * ------------------------------------------------------------------------ */

/*
 * Mean of -(y ln p + (1 - y) ln (1 - p)); NAN for n == 0.  p is held a float's
 * precision away from 0 and 1, where it could not say more anyway.
 */
double
nn_log_loss(const float *probability, const float *label, int64_t n)
{
	double		sum = 0;

	for (int64_t i = 0; i < n; i++)
	{
		double		p = probability[i];

		if (p < FLT_EPSILON)
			p = FLT_EPSILON;
		if (p > 1.0 - FLT_EPSILON)
			p = 1.0 - FLT_EPSILON;
		sum -= label[i] * log(p) + (1.0 - label[i]) * log(1.0 - p);
	}
	return sum / (double) n;
}

/*
 * logit [n, classes]; of equal logits the first wins.  confusion [classes,
 * classes] is overwritten, or NULL.  NAN for n == 0.
 */
double
nn_accuracy(const float *logit, const int32_t *label_class, int64_t n, int classes,
			int64_t *confusion)
{
	int64_t		right = 0;

	if (confusion)
		memset(confusion, 0, sizeof(*confusion) * (size_t) classes * (size_t) classes);
	for (int64_t i = 0; i < n; i++)
	{
		const float *row = logit + i * classes;
		int			best = 0;

		for (int c = 1; c < classes; c++)
			if (row[c] > row[best])
				best = c;
		right += best == label_class[i];
		if (confusion)
			confusion[(int64_t) label_class[i] * classes + best]++;
	}
	return (double) right / (double) n;
}

/* ------------------------------------------------------------------------
 * Rankings
 * ------------------------------------------------------------------------ */

/* A target that is NaN stands behind all that are ranked. */
double
nn_rank_of(const float *scores, int64_t n, int64_t target)
{
	int64_t		greater = 0;
	int64_t		equal = 0;

	for (int64_t i = 0; i < n; i++)
	{
		if (i == target || scores[i] == -INFINITY)
			continue;
		if (scores[i] == scores[target])
			equal++;
		else if (!(scores[i] < scores[target]))
			greater++;
	}
	return 1.0 + (double) greater + (double) equal / 2;
}

double
nn_hit(double rank, int k)
{
	return rank <= k ? 1 : 0;
}

/* One relevant item, so that the ideal gain is 1. */
double
nn_ndcg(double rank, int k)
{
	return rank <= k ? 1 / log2(1 + rank) : 0;
}

double
nn_reciprocal_rank(double rank)
{
	return 1 / rank;
}
