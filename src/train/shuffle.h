/*-------------------------------------------------------------------------
 *
 * shuffle.h
 *	  A random order of any number of things that takes no memory
 *
 * A Feistel network is a one-to-one map of 0 .. 4^bits - 1 to itself; followed
 * until it falls below n (less than four steps on average) it is one of
 * 0 .. n - 1.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DUPN_SHUFFLE_H
#define DUPN_SHUFFLE_H

#include "features/feature.h"

#define SHUFFLE_ROUNDS	6

typedef struct Shuffle
{
	int64		n;
	int			bits;			/* of a half */
	uint64		key[SHUFFLE_ROUNDS];
} Shuffle;

/* An order of 0 .. n - 1; random is advanced. */
static inline Shuffle
shuffle_make(int64 n, uint64 *random)
{
	Shuffle		shuffle = {.n = n, .bits = 1};

	while (INT64CONST(1) << 2 * shuffle.bits < n)
		shuffle.bits++;
	for (int r = 0; r < SHUFFLE_ROUNDS; r++)
		shuffle.key[r] = nn_random_u64(random);
	return shuffle;
}

/* What comes at place i. */
static inline int64
shuffle_at(const Shuffle *shuffle, int64 i)
{
	uint64		mask = (UINT64CONST(1) << shuffle->bits) - 1;
	uint64		at = i;

	Assert(i < shuffle->n);
	do
	{
		uint64		left = at >> shuffle->bits;
		uint64		right = at & mask;

		for (int r = 0; r < SHUFFLE_ROUNDS; r++)
		{
			uint64		next = left ^ (cell_hash((Cell) (right ^ shuffle->key[r])) & mask);

			left = right;
			right = next;
		}
		at = left << shuffle->bits | right;
	} while (at >= (uint64) shuffle->n);
	return (int64) at;
}

#endif							/* DUPN_SHUFFLE_H */
