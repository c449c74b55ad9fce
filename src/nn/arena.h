/*-------------------------------------------------------------------------
 *
 * arena.h
 *	  Bump allocation from an nn_arena, and the way statuses are passed on
 *
 * Every function of the network first carves all its memory and then checks
 * once, so the same code counts (base NULL) and allocates.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DUPN_NN_ARENA_H
#define DUPN_NN_ARENA_H

#include "nn.h"

#define NN_ALIGN 64				/* of every allocation: a cache line, a full vector */

#define NN_TRY(call) \
	do { \
		nn_status	try_status_ = (call); \
		if (try_status_ != NN_OK) \
			return try_status_; \
	} while (0)

/*
 * Space for count * size bytes, not cleared; NULL when only counting or when
 * the arena is full.  used grows in every case; it sticks at SIZE_MAX when the
 * need cannot be expressed, which no arena satisfies.
 */
static inline void *
nn_arena_alloc(nn_arena *arena, size_t count, size_t size)
{
	size_t		begin = arena->used;
	size_t		bytes;

	if (size != 0 && count > (SIZE_MAX - NN_ALIGN) / size)
	{
		arena->used = SIZE_MAX;
		return NULL;
	}
	bytes = (count * size + NN_ALIGN - 1) / NN_ALIGN * NN_ALIGN;
	if (bytes > SIZE_MAX - begin)
	{
		arena->used = SIZE_MAX;
		return NULL;
	}
	arena->used = begin + bytes;
	if (arena->base == NULL || arena->used > arena->size)
		return NULL;
	return arena->base + begin;
}

static inline float *
nn_arena_floats(nn_arena *arena, size_t rows, size_t cols)
{
	if (cols != 0 && rows > SIZE_MAX / sizeof(float) / cols)
	{
		arena->used = SIZE_MAX;
		return NULL;
	}
	return nn_arena_alloc(arena, rows * cols, sizeof(float));
}

static inline bool
nn_arena_counts(const nn_arena *arena)
{
	return arena->base == NULL;
}

static inline nn_status
nn_arena_check(const nn_arena *arena)
{
	return arena->used > arena->size ? NN_NO_MEMORY : NN_OK;
}

#endif							/* DUPN_NN_ARENA_H */
