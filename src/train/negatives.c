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

#define TRIES 50				/* draws until all items are looked at */

typedef struct NumberedCandidate
{
	uint64		hash;
	int32		number;
} NumberedCandidate;

struct Negatives
{
	const Dataset *data;
	ItemSampler sampler;
	const int  *candidate;		/* item features */
	int			n_candidate;
	HTAB	   *numbers;		/* NumberedCandidate; NULL: each item is a candidate */
	int32	   *number;			/* [J] of the item's candidate */
	uint32	   *seen;			/* by number or item: the round that saw it last */
	uint32		round;
};

static uint64
candidate_hash(const CandidateIds *candidate, int n_candidate)
{
	uint64		hash = 0;

	for (int k = 0; k < n_candidate; k++)
	{
		for (int i = 0; i < candidate->n[k]; i++)
			hash = cell_hash((Cell) (hash ^ (uint64) candidate->id[k][i]));
		hash = cell_hash((Cell) (hash + k + 1));
	}
	return hash;
}

static void
number_candidates(Negatives *negatives, MemoryContext context)
{
	const Catalogue *catalogue = &negatives->data->catalogue;
	HASHCTL		ctl = {.keysize = sizeof(uint64), .entrysize = sizeof(NumberedCandidate), .hcxt = context};
	int32		n = 0;

	negatives->numbers = hash_create("dupn candidates", 1024, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	negatives->number = MemoryContextAllocHuge(context, sizeof(int32) * Max(catalogue->n, 1));
	for (int64 j = 0; j < catalogue->n; j++)
	{
		CandidateIds candidate;
		uint64		hash;
		bool		found;
		NumberedCandidate *entry;

		for (int k = 0; k < negatives->n_candidate; k++)
		{
			const nn_ids *ids = &catalogue->feature[negatives->candidate[k]];
			int64		begin = ids->offsets ? ids->offsets[j] : j;

			candidate.id[k] = ids->values + begin;
			candidate.n[k] = ids->offsets ? (int) (ids->offsets[j + 1] - begin) : 1;
		}
		hash = candidate_hash(&candidate, negatives->n_candidate);
		entry = hash_search(negatives->numbers, &hash, HASH_ENTER, &found);
		if (!found)
			entry->number = n++;
		negatives->number[j] = entry->number;
		if (j % 4096 == 0)
			job_check();
	}
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
	negatives->candidate = candidate;
	negatives->n_candidate = n_candidate;
	sampler_make(&negatives->sampler, catalogue, known, n, context);
	for (int k = 0; k < n_candidate; k++)
		by_key = by_key || candidate[k] == 0;
	if (!by_key)
		number_candidates(negatives, context);
	negatives->seen = MemoryContextAllocExtended(context, sizeof(uint32) * Max(catalogue->n, 1),
												 MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	return negatives;
}

static uint32 *
seen_of(Negatives *negatives, int32 item)
{
	return &negatives->seen[negatives->number ? negatives->number[item] : item];
}

bool
negatives_by_item(const Negatives *negatives)
{
	return negatives->number == NULL;
}

void
negatives_add(Negatives *negatives, int32 item)
{
	if (item >= 0)
		*seen_of(negatives, item) = negatives->round;
}

void
negatives_add_ids(Negatives *negatives, const CandidateIds *candidate)
{
	uint64		hash = candidate_hash(candidate, negatives->n_candidate);
	const NumberedCandidate *entry = hash_search(negatives->numbers, &hash, HASH_FIND, NULL);

	if (entry != NULL)
		negatives->seen[entry->number] = negatives->round;
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
	const ItemSampler *sampler = &negatives->sampler;
	int			first;

	if (sampler->n == 0)
		return -1;
	for (int i = 0; i < TRIES; i++)
	{
		int32		item = sampler->item[sampler_draw(sampler, random)];

		if (*seen_of(negatives, item) != negatives->round)
			return item;
	}

	/* nearly all there is was seen */
	first = (int) (nn_random_u64(random) % (uint64) sampler->n);
	for (int i = 0; i < sampler->n; i++)
	{
		int32		item = sampler->item[((int64) first + i) % sampler->n];

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
