/*
 * test_metrics.c
 *	  Metrics against naive references, with ties and degenerate data
 */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "nn/nn.h"
#include "tap.h"

#define MOST 3000

static float score[MOST];
static float label[MOST];
static int32_t group[MOST];
static int32_t order[MOST];

/* Pair by pair; a NaN is above all numbers and equal to another NaN. */
static double
naive_auc(const float *s, const float *y, const int32_t *g, int32_t only, int64_t n)
{
	double		in_order = 0,
				pairs = 0;

	for (int64_t i = 0; i < n; i++)
		for (int64_t j = 0; j < n; j++)
		{
			if ((g && (g[i] != only || g[j] != only)) || y[i] <= .5f || y[j] > .5f)
				continue;
			pairs++;
			if (s[i] == s[j] || (isnan(s[i]) && isnan(s[j])))
				in_order += .5;
			else if (isnan(s[i]) || s[i] > s[j])
				in_order++;
		}
	return pairs > 0 ? in_order / pairs : NAN;
}

static double
naive_grouped(const float *s, const float *y, const int32_t *g, int64_t n)
{
	double		sum = 0,
				weight = 0;

	for (int64_t i = 0; i < n; i++)
	{
		int64_t		size = 0;
		bool		first = true;
		double		auc;

		for (int64_t j = 0; j < n; j++)
		{
			size += g[j] == g[i];
			first = first && (j >= i || g[j] != g[i]);
		}
		if (!first)
			continue;
		auc = naive_auc(s, y, g, g[i], n);
		if (!isnan(auc))
		{
			sum += auc * (double) size;
			weight += (double) size;
		}
	}
	return weight > 0 ? sum / weight : NAN;
}

static bool
close_to(double got, double want)
{
	return (isnan(got) && isnan(want)) || fabs(got - want) < 1e-12;
}

static void
test_auc(void)
{
	static const int sizes[] = {2, 3, 15, 16, 17, 18, 40, 333, 1200};
	static const int32_t ids[] = {INT32_MIN, -1, 0, 1, 7, 1 << 20, INT32_MAX};
	uint64_t	random = 11;
	bool		permutation = true;

	for (int kind = 0; kind < 4; kind++)
	{
		bool		same = true,
					same_grouped = true;

		for (size_t k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++)
		{
			int			n = sizes[k];
			uint8_t		seen[MOST] = {0};

			for (int i = 0; i < n; i++)
			{
				double		u = nn_random_uniform(&random);

				score[i] = (float) (kind == 0 ? nn_random_normal(&random)	/* distinct */
									: kind == 1 ? floor(u * 5) - 2	/* many ties */
									: kind == 2 ? ldexp(u - .5, (int) (u * 977) % 200 - 100)	/* all exponents */
									: u < .2 ? NAN : u < .3 ? INFINITY : u < .4 ? -INFINITY
									: u < .5 ? -0.0 : u < .6 ? 0.0 : u < .8 ? FLT_TRUE_MIN : -FLT_MAX);
				label[i] = nn_random_uniform(&random) < .3 ? 1 : 0;
				group[i] = ids[(int) (nn_random_uniform(&random) * 7)];
			}
			same = same && close_to(nn_auc(score, label, n, order),
									naive_auc(score, label, NULL, 0, n));
			for (int i = 0; i < n; i++)
				seen[order[i]]++;
			for (int i = 0; i < n; i++)
				permutation = permutation && seen[i] == 1;
			same_grouped = same_grouped &&
				close_to(nn_grouped_auc(score, label, group, n, order),
						 naive_grouped(score, label, group, n));
		}
		ok(same, "AUC equals the naive one, kind %d", kind);
		ok(same_grouped, "grouped AUC equals the naive one, kind %d", kind);
	}
	ok(permutation, "the order is a permutation");

	for (int i = 0; i < 50; i++)
	{
		score[i] = (float) i;
		label[i] = i >= 20;
		group[i] = i % 2;
	}
	ok(nn_auc(score, label, 50, order) == 1, "perfect order");
	ok(nn_grouped_auc(score, label, group, 50, order) == 1, "perfect order in groups");
	for (int i = 0; i < 50; i++)
		score[i] = -score[i];
	ok(nn_auc(score, label, 50, order) == 0, "reversed order");
	for (int i = 0; i < 50; i++)
		score[i] = 3;
	ok(nn_auc(score, label, 50, order) == .5, "all tied");
	score[0] = -0.0f;
	score[1] = 0.0f;
	label[0] = 1;
	label[1] = 0;
	ok(nn_auc(score, label, 2, order) == .5, "the two zeros are tied");
	label[0] = .5f;
	label[1] = .75f;
	score[1] = 1;
	ok(nn_auc(score, label, 2, order) == 1, "a label of 1/2 is negative");
	ok(isnan(nn_auc(score, label, 0, order)), "no samples");
	ok(isnan(nn_auc(score, label + 1, 1, order)), "only positives");
	ok(isnan(nn_auc(score, label, 1, order)), "only negatives");
	ok(isnan(nn_grouped_auc(score, label, group, 0, order)), "no groups");

	/* one of two groups has one class only, and it is the larger one */
	{
		static const float s[] = {1, 2, 9, 9, 9, 9};
		static const float y[] = {0, 1, 1, 1, 1, 1};
		static const int32_t g[] = {5, 5, 6, 6, 6, 6};
		static const float s2[] = {1, 2, 2, 1, 1};
		static const float y2[] = {0, 1, 0, 1, 1};
		static const int32_t g2[] = {0, 0, 1, 1, 1};

		ok(nn_grouped_auc(s, y, g, 6, order) == 1, "groups of one class do not count");
		ok(isnan(nn_grouped_auc(s + 2, y + 2, g + 2, 4, order)), "no group has both classes");
		ok(close_to(nn_grouped_auc(s2, y2, g2, 5, order), .4), "groups weigh by their samples");
	}

	/* bits that take the sort to its last level, and one deep tie */
	for (int i = 0; i < MOST; i++)
	{
		uint32_t	bits = 0x3F800000u + (uint32_t) (i < MOST / 2 ? 0 : i % 2);

		memcpy(&score[i], &bits, sizeof(bits));
		label[i] = i % 3 == 0;
	}
	ok(close_to(nn_auc(score, label, MOST, order), naive_auc(score, label, NULL, 0, MOST)),
	   "scores that differ in their last bit");
}

static void
test_loss_and_accuracy(void)
{
	static const float p[] = {.9f, .2f, .6f, .5f};
	static const float y[] = {1, 0, 0, .5f};
	static const float certain[] = {0, 1, NAN};
	static const float wrong[] = {1, 0, 1};
	static const float right[] = {0, 1, 0};
	static const float logit[] = {
		1, 2, 3,
		5, 5, 1,
		0, 7, 2,
		-3, -2, -1,
		-9, -1, -1
	};
	static const int32_t classes[] = {2, 1, 1, 0, 1};
	static const int64_t want[] = {0, 0, 1, 1, 2, 0, 0, 0, 1};
	int64_t		confusion[9] = {77, 77, 77, 77, 77, 77, 77, 77, 77};
	double		expected = 0;

	for (int i = 0; i < 4; i++)
		expected -= (y[i] * log((double) p[i]) + (1 - y[i]) * log(1 - (double) p[i])) / 4;
	ok(close_to(nn_log_loss(p, y, 4), expected), "log loss");
	ok(fabs(nn_log_loss(certain, wrong, 2) + log((double) FLT_EPSILON)) < 1e-9, "certain and wrong is finite");
	ok(nn_log_loss(certain, right, 2) < 2e-7 && nn_log_loss(certain, right, 2) > 1e-7,
	   "certain and right is next to nothing");
	ok(fabs(nn_log_loss(certain, wrong, 1) + log((double) FLT_EPSILON)) < 1e-9, "at the lower end too");
	ok(isnan(nn_log_loss(certain, wrong, 3)), "a NaN stays one");
	ok(isnan(nn_log_loss(p, y, 0)), "log loss of nothing");

	ok(nn_accuracy(logit, classes, 5, 3, confusion) == 3. / 5, "accuracy");
	ok(memcmp(confusion, want, sizeof(want)) == 0, "confusion [label, predicted]; the first of equals wins");
	ok(nn_accuracy(logit, classes, 5, 3, NULL) == 3. / 5, "without a confusion matrix");
	ok(isnan(nn_accuracy(logit, classes, 0, 3, confusion)), "accuracy of nothing");
	ok(confusion[2] == 0 && confusion[8] == 0, "an empty confusion matrix");
}

static double
naive_rank(const float *s, int64_t n, int64_t target)
{
	double		rank = 1;

	for (int64_t i = 0; i < n; i++)
	{
		if (i == target || (isinf(s[i]) && s[i] < 0))
			continue;
		if (isnan(s[i]) || isnan(s[target]) || s[i] > s[target])
			rank += 1;
		else if (s[i] == s[target])
			rank += .5;
	}
	return rank;
}

static void
test_rankings(void)
{
	static const float s[] = {3, 1, 2, 2, -INFINITY, 2, 5};
	static const float bad[] = {1, NAN, -INFINITY, 4, 2, NAN};
	uint64_t	random = 3;
	bool		same = true;

	ok(nn_rank_of(s, 7, 6) == 1, "the best");
	ok(nn_rank_of(s, 7, 0) == 2, "the second");
	ok(nn_rank_of(s, 7, 2) == 4, "one of three equals");
	ok(nn_rank_of(s, 7, 1) == 6, "the last; -infinity is not ranked");
	ok(nn_rank_of(s, 7, 4) == 7, "a target that is not ranked stands behind all");
	ok(nn_rank_of(s, 1, 0) == 1, "alone");
	ok(nn_rank_of(bad, 6, 3) == 3, "NaNs stand before the target");
	ok(nn_rank_of(bad, 6, 1) == 5, "a NaN target is the last");

	for (int n = 1; n < 200; n++)
	{
		for (int i = 0; i < n; i++)
		{
			double		u = nn_random_uniform(&random);

			score[i] = u < .1 ? -INFINITY : u < .13 ? NAN : (float) floor(u * 20);
		}
		for (int i = 0; i < n; i++)
			same = same && nn_rank_of(score, n, i) == naive_rank(score, n, i);
	}
	ok(same, "ranks equal the naive ones");

	ok(nn_hit(1, 1) == 1 && nn_hit(10, 10) == 1 && nn_hit(10.5, 10) == 0 && nn_hit(11, 10) == 0, "hits");
	ok(nn_ndcg(1, 10) == 1 && close_to(nn_ndcg(3, 10), .5) && close_to(nn_ndcg(2.5, 10), 1 / log2(3.5)),
	   "gain falls with the logarithm of the rank");
	ok(close_to(nn_ndcg(10, 10), 1 / log2(11)) && nn_ndcg(10.5, 10) == 0, "gain ends behind k");
	ok(nn_reciprocal_rank(1) == 1 && nn_reciprocal_rank(4) == .25 && nn_reciprocal_rank(2.5) == .4,
	   "reciprocal rank");
}

int
main(void)
{
	plan(47);
	test_auc();
	test_loss_and_accuracy();
	test_rankings();
	return done();
}
