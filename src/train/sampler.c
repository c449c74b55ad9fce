/*-------------------------------------------------------------------------
 *
 * sampler.c
 *	  Items drawn by popularity
 *
 *-------------------------------------------------------------------------
 */
#include "train/sampler.h"

#include <math.h>

#include "utils/memutils.h"

void
sampler_make(ItemSampler *sampler, const Catalogue *catalogue, const int32 *item, int n,
			 MemoryContext context)
{
	double		total = 0;
	double		sum = 0;

	sampler->n = n;
	sampler->item = item;
	sampler->cumulative = MemoryContextAllocHuge(context, sizeof(double) * Max(n, 1));
	for (int i = 0; i < n; i++)
		total += pow((double) catalogue->count[item[i]], .75);
	for (int i = 0; i < n; i++)
	{
		sum += .9 * pow((double) catalogue->count[item[i]], .75) / Max(total, 1) + .1 / n;
		sampler->cumulative[i] = sum;
	}
}

int
sampler_draw(const ItemSampler *sampler, uint64 *random)
{
	const double *cumulative = sampler->cumulative;
	double		u = nn_random_uniform(random) * cumulative[sampler->n - 1];
	int			low = 0;
	int			high = sampler->n - 1;

	while (low < high)
	{
		int			middle = low + (high - low) / 2;

		if (cumulative[middle] <= u)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

double
sampler_chance(const ItemSampler *sampler, int place)
{
	const double *cumulative = sampler->cumulative;

	return (cumulative[place] - (place > 0 ? cumulative[place - 1] : 0)) / cumulative[sampler->n - 1];
}
