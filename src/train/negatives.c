/*-------------------------------------------------------------------------
 *
 * negatives.c
 *	  Unseen items beside a positive
 *
 * A task with the option "negatives" keeps a fixed draw for each of its
 * positives, from which it is judged and its baselines count; each epoch of a
 * training draws anew in their place (batches.c).  Items are drawn by
 * popularity (sampler.c): drawn evenly, most would be told from positives by
 * their popularity alone.
 *
 *-------------------------------------------------------------------------
 */
#include "train/negatives.h"

#include "train/sampler.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#define TRIES 100				/* draws until it is given up */

struct Negatives
{
	const Dataset *data;
	ItemSampler sampler;
	int32	   *identity;		/* [J] number of the item's candidate, NULL: the item itself */
	uint32	   *seen;			/* by identity: the round that saw it last */
	uint32		round;
};

/* A hash of an item's ids of the candidate's features. */
static uint64
candidate_hash(const Catalogue *catalogue, const int *candidate, int n_candidate, int32 item)
{
	uint64		hash = 0;

	for (int k = 0; k < n_candidate; k++)
	{
		const nn_ids *ids = &catalogue->feature[candidate[k]];
		int64		begin = ids->offsets ? ids->offsets[item] : item;
		int64		end = ids->offsets ? ids->offsets[item + 1] : item + 1;

		for (int64 i = begin; i < end; i++)
			hash = cell_hash((Cell) (hash ^ (uint64) ids->values[i]));
		hash = cell_hash((Cell) (hash + k + 1));
	}
	return hash;
}

static int32 *
number_candidates(const Catalogue *catalogue, const int *candidate, int n_candidate, MemoryContext context)
{
	typedef struct Numbered
	{
		uint64		hash;
		int32		number;
	} Numbered;
	HASHCTL		ctl = {.keysize = sizeof(uint64), .entrysize = sizeof(Numbered), .hcxt = CurrentMemoryContext};
	HTAB	   *numbers = hash_create("dupn candidates", 1024, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	int32	   *identity = MemoryContextAllocHuge(context, sizeof(int32) * Max(catalogue->n, 1));
	int32		n = 0;

	for (int64 j = 0; j < catalogue->n; j++)
	{
		uint64		hash = candidate_hash(catalogue, candidate, n_candidate, (int32) j);
		bool		found;
		Numbered   *entry = hash_search(numbers, &hash, HASH_ENTER, &found);

		if (!found)
			entry->number = n++;
		identity[j] = entry->number;
		if (j % 4096 == 0)
			job_check();
	}
	hash_destroy(numbers);
	return identity;
}

Negatives *
negatives_make(const Dataset *data, const int *candidate, int n_candidate, MemoryContext context)
{
	Negatives  *negatives = MemoryContextAllocZero(context, sizeof(Negatives));
	const Catalogue *catalogue = &data->catalogue;
	int32	   *known = MemoryContextAllocHuge(context, sizeof(int32) * Max(catalogue->n, 1));
	bool		by_key = false;
	int			n = 0;

	for (int64 j = 0; j < catalogue->n; j++)
		if (data->known[j])
			known[n++] = (int32) j;
	negatives->data = data;
	sampler_make(&negatives->sampler, catalogue, known, n, context);
	for (int k = 0; k < n_candidate; k++)
		by_key = by_key || candidate[k] == 0;
	if (!by_key)
		negatives->identity = number_candidates(catalogue, candidate, n_candidate, context);
	negatives->seen = MemoryContextAllocExtended(context, sizeof(uint32) * Max(catalogue->n, 1),
												 MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	return negatives;
}

static uint32 *
seen_of(Negatives *negatives, int32 item)
{
	return &negatives->seen[negatives->identity ? negatives->identity[item] : item];
}

void
negatives_add(Negatives *negatives, int32 item)
{
	if (item >= 0)
		*seen_of(negatives, item) = negatives->round;
}

void
negatives_begin(Negatives *negatives, const User *user, TimestampTz now, TimestampTz time)
{
	const Dataset *data = negatives->data;
	const EventTable *events = data->events;
	int64		end = user->start + user->n;
	int			n;

	if (++negatives->round == 0)
	{
		memset(negatives->seen, 0, sizeof(uint32) * data->catalogue.n);
		negatives->round = 1;
	}
	for (int64 row = event_window(events, data->set, user->start, end, now, &n); row < end && events->time[row] <= time; row++)
		negatives_add(negatives, events->item[row]);
}

int32
negatives_draw(Negatives *negatives, uint64 *random)
{
	for (int i = 0; i < TRIES && negatives->sampler.n > 0; i++)
	{
		int32		item = negatives->sampler.item[sampler_draw(&negatives->sampler, random)];

		if (*seen_of(negatives, item) != negatives->round)
			return item;
	}
	return -1;
}

uint64
negatives_seed(const Dataset *data, const User *user, TimestampTz time)
{
	return cell_hash((Cell) (cell_hash(user->key) ^ cell_hash((Cell) time) ^ (uint64) data->model->options.seed));
}
