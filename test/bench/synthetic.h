/*-------------------------------------------------------------------------
 *
 * synthetic.h
 *	  Sizes, random batches and the machine's own limits, for the programs here
 *
 *-------------------------------------------------------------------------
 */
#ifndef DUPN_SYNTHETIC_H
#define DUPN_SYNTHETIC_H

#include <cblas.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "nn/nn.h"

#define PAPER \
	"\"hidden\": 128, \"bidirectional\": false, \"attention\": [128, 64], \"recency\": 13, \"recency_rows\": 6, \"lag\": 8, " \
	"\"property\": [{\"name\": \"type\", \"vocab\": 6, \"dim\": 16, \"use\": \"both\"}, {\"name\": \"scenario\", \"vocab\": 12, \"dim\": 16, \"use\": \"both\"}, " \
	"{\"name\": \"gap\", \"vocab\": 15, \"dim\": 16, \"use\": \"gates\"}, {\"name\": \"daypart\", \"vocab\": 8, \"dim\": 16, \"multi\": true, \"use\": \"both\"}], " \
	"\"profile\": [{\"name\": \"segment\", \"vocab\": 1000, \"dim\": 128}], \"context\": [], "

#define PAPER_ITEMS \
	"\"item\": [{\"name\": \"item\", \"vocab\": %d, \"dim\": 32}, {\"name\": \"shop\", \"vocab\": 20000, \"dim\": 24}, {\"name\": \"brand\", \"vocab\": 10000, \"dim\": 24}, " \
	"{\"name\": \"category\", \"vocab\": 1000, \"dim\": 16}, {\"name\": \"tags\", \"vocab\": 5000, \"dim\": 28, \"multi\": true}], "

static uint64_t seed = 42;
static nn_config config;
static nn_layout layout;

static inline void *
make(size_t bytes)
{
	void	   *memory = aligned_alloc(64, (bytes + 127) / 64 * 64);

	if (memory == NULL)
		exit(2);
	memset(memory, 0, (bytes + 127) / 64 * 64);
	return memory;
}

static inline double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double) t.tv_sec + 1e-9 * (double) t.tv_nsec;
}

static inline int
below(int64_t n)
{
	return (int) (nn_random_uniform(&seed) * (double) n);
}

/* Seconds of a product that fits the second cache, of SGEMM_FLOP */
#define SGEMM_SIZE 512
#define SGEMM_FLOP (2.0 * SGEMM_SIZE * SGEMM_SIZE * SGEMM_SIZE)

static inline double
sgemm_seconds(void)
{
	static float *a,
			   *b,
			   *c;
	int			n = SGEMM_SIZE;
	double		begin;

	if (a == NULL)
	{
		size_t		bytes = (size_t) n * n * sizeof(float);

		a = make(bytes);
		b = make(bytes);
		c = make(bytes);
		for (int i = 0; i < n * n; i++)
			a[i] = b[i] = (float) (i % 7) - 3;
	}
	begin = now();
	cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, n, n, n, 1, a, n, b, n, 0, c, n);
	return now() - begin;
}

/* GFLOP/s, at best */
static inline double
sgemm_rate(void)
{
	double		best = sgemm_seconds();

	for (int round = 0; round < 20; round++)
	{
		double		seconds = sgemm_seconds();

		best = seconds < best ? seconds : best;
	}
	return 1e-9 * SGEMM_FLOP / best;
}

/* GB/s of reading memory that no cache holds */
static inline double
read_rate(void)
{
	size_t		n = (size_t) 32 << 20;
	int64_t    *x = make(n * sizeof(int64_t));
	volatile int64_t sink;
	double		best = 0;

	memset(x, 1, n * sizeof(int64_t));
	for (int round = 0; round < 5; round++)
	{
		double		begin = now();
		int64_t		sum[8] = {0};

		for (size_t i = 0; i < n; i += 8)
			for (int k = 0; k < 8; k++)
				sum[k] += x[i + (size_t) k];
		for (int k = 0; k < 8; k++)
			sink = sum[k];
		begin = 1e-9 * (double) (n * sizeof(int64_t)) / (now() - begin);
		best = begin > best ? begin : best;
	}
	(void) sink;
	free(x);
	return best;
}

/* Three tags, two parts of the day; what an item is follows from its key. */
static inline nn_ids
make_ids(const nn_feature *feature, int64_t n, const int32_t *key)
{
	nn_ids		ids = {0};
	int			bag = !feature->multi ? 1 : strcmp(feature->name, "tags") == 0 ? 3 : 2;
	int32_t    *values = make((size_t) (n * bag) * sizeof(int32_t));
	int64_t    *offsets = make((size_t) (n + 1) * sizeof(int64_t));

	for (int64_t i = 0; i < n; i++)
	{
		for (int k = 0; k < bag; k++)
			values[i * bag + k] = key ?
				(int32_t) (((uint64_t) key[i] * 2654435761u + (uint64_t) k * 7919) % (uint64_t) feature->vocab) :
				below(feature->vocab);
		offsets[i + 1] = (i + 1) * bag;
	}
	ids.values = values;
	if (feature->multi)
		ids.offsets = offsets;
	return ids;
}

/* The item features of n events or samples; out [features of an item]. */
static inline void
make_items(int64_t n, nn_ids *out)
{
	out[0] = make_ids(&config.feature[NN_ITEM][0], n, NULL);
	for (int f = 1; f < config.n_feature[NN_ITEM]; f++)
		out[f] = make_ids(&config.feature[NN_ITEM][f], n, out[0].values);
}

static inline uint8_t *
make_buckets(int buckets, int64_t n)
{
	uint8_t    *bucket = make((size_t) n);

	for (int64_t i = 0; i < n; i++)
		bucket[i] = (uint8_t) below(buckets);
	return bucket;
}

#endif							/* DUPN_SYNTHETIC_H */
