/*-------------------------------------------------------------------------
 *
 * vectors.c
 *	  User vectors of a version, computed once and kept beside their moments
 *
 * A head on a frozen representation sees the same vectors in every epoch, so
 * they are computed once, forward alone and by the weights that are prepared
 * for serving, and read from columns from then on.
 *
 *-------------------------------------------------------------------------
 */
#include "train/vectors.h"

#include "utils/memutils.h"

struct Vectors
{
	const ModelImage *image;
	MemoryContext context;		/* holds all of this */
	MemoryContext scratch;
	nn_arena	arena;			/* in it */
	ColumnStore *store;
	Column	   *moment;			/* int64, ascending */
	Column	   *now;			/* TimestampTz */
	Column	   *vector;			/* [R] floats */
};

Vectors *
vectors_make(const ModelImage *image, ColumnMemory *memory)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "dupn vectors", ALLOCSET_DEFAULT_SIZES);
	Vectors    *vectors = MemoryContextAllocZero(context, sizeof(Vectors));

	vectors->image = image;
	vectors->context = context;
	vectors->scratch = AllocSetContextCreate(context, "dupn vectors' scratch", ALLOCSET_DEFAULT_SIZES);
	vectors->store = column_store(context, memory);
	vectors->moment = column_add(vectors->store, sizeof(int64), NULL);
	vectors->now = column_add(vectors->store, sizeof(TimestampTz), NULL);
	vectors->vector = column_add(vectors->store, sizeof(float) * image->config.R, NULL);
	return vectors;
}

static void
reserve(Vectors *vectors, size_t size)
{
	if (size > vectors->arena.size)
	{
		MemoryContextReset(vectors->scratch);
		size += size / 4;
		vectors->arena.base = huge_aligned(vectors->scratch, size);
		vectors->arena.size = size;
		job_memory();
	}
	vectors->arena.used = 0;
}

void
vectors_add(Vectors *vectors, const nn_batch *batch, const int64 *moment, const TimestampTz *now)
{
	const ModelImage *image = vectors->image;
	nn_run		run = {.config = &image->config, .layout = &image->layout, .param = image->param,
	.prepared = image->prepared, .abort = job_should_stop};
	nn_arena	count = {0};
	nn_acts		acts;
	nn_status	status;

	(void) nn_user_forward(&run, batch, &count, &acts);
	reserve(vectors, count.used);
	status = nn_user_forward(&run, batch, &vectors->arena, &acts);
	job_check();				/* the reason, if it was stopped */
	if (status != NN_OK)
		elog(ERROR, "the network failed: %s", nn_status_text(status));
	column_append(vectors->moment, moment, batch->views);
	column_append(vectors->now, now, batch->views);
	column_append(vectors->vector, acts.vector, batch->views);
}

void
vectors_finish(Vectors *vectors)
{
	column_store_finish(vectors->store);
	MemoryContextReset(vectors->scratch);
	vectors->arena = (nn_arena) {0};
}

const float *
vectors_find(const Vectors *vectors, int64 moment, TimestampTz *now)
{
	const int64 *moments = vectors->moment->data;
	int64		low = 0;
	int64		high = vectors->moment->n;

	while (low < high)
	{
		int64		middle = low + (high - low) / 2;

		if (moments[middle] < moment)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == vectors->moment->n || moments[low] != moment)
		elog(ERROR, "there is no user vector of moment " INT64_FORMAT, moment);
	*now = ((const TimestampTz *) vectors->now->data)[low];
	return (const float *) vectors->vector->data + low * vectors->image->config.R;
}

void
vectors_free(Vectors *vectors)
{
	MemoryContextDelete(vectors->context);
}
