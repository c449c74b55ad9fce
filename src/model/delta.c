/*-------------------------------------------------------------------------
 *
 * delta.c
 *	  A file as a difference to another one
 *
 * A version that was trained on for a night has the tensors of its parent, of
 * which few rows moved and some are new at the end.  Its difference is a
 * safetensors file of two tensors:
 *
 *	runs I32 [n, 3]		(literal, skip, copy), none negative
 *	data U8 [m]
 *
 * The new file is, for each run, the next `literal` bytes of data, and then, of
 * the old file, `copy` bytes that begin `skip` bytes behind the last one copied.
 * So both files are read from front to back, once, and a chain of differences is
 * followed with little memory (content.c).
 *
 * Tensors are compared by name, type and width of a row, as far as both go; in
 * 4-byte words, where few equal ones between different ones cost less than a run.
 *
 *-------------------------------------------------------------------------
 */
#include "model/content.h"

#define COMPARE_BYTES	((size_t) 256 << 10)
#define BLOCK_BYTES		((size_t) 4096)
#define WORD			sizeof(uint32)
#define LEAST_COPY		((size_t) 16)	/* a run has 12 bytes */
#define MOST_RUN		((int64) 1 << 30)
#define MOST_RUNS		((int64) 64 * 1024 * 1024 / (int64) sizeof(DeltaRun))

/* ------------------------------------------------------------------------
 * Finding
 * ------------------------------------------------------------------------ */

static DeltaRun *
current_run(Delta *delta)
{
	if (delta->n == 0)
		return NULL;
	return &delta->run[delta->n - 1];
}

static DeltaRun *
next_run(Delta *delta)
{
	if (delta->n == delta->room)
	{
		delta->room = Max(delta->room * 2, 1024);
		delta->run = delta->run ? repalloc_huge(delta->run, sizeof(DeltaRun) * delta->room) :
			palloc(sizeof(DeltaRun) * delta->room);
	}
	delta->run[delta->n] = (DeltaRun) {0};
	return &delta->run[delta->n++];
}

static void
add_literal(Delta *delta, int64 bytes)
{
	delta->literal += bytes;
	while (bytes > 0)
	{
		DeltaRun   *run = current_run(delta);
		int64		some;

		if (run == NULL || run->skip > 0 || run->copy > 0 || run->literal == MOST_RUN)
			run = next_run(delta);
		some = Min(bytes, MOST_RUN - run->literal);
		run->literal += (int32) some;
		bytes -= some;
	}
}

/* Does a copy from there go on where the last one ended? */
static bool
goes_on(Delta *delta, int64 from)
{
	const DeltaRun *run = current_run(delta);

	return run != NULL && run->copy > 0 && delta->from == from;
}

static void
add_copy(Delta *delta, int64 from, int64 bytes)
{
	while (bytes > 0)
	{
		DeltaRun   *run = current_run(delta);
		int64		skip = Min(from - delta->from, MOST_RUN);
		int64		some;

		if (run == NULL || (run->copy == 0 && run->skip > 0) ||
			(run->copy > 0 && (skip > 0 || run->copy == MOST_RUN)))
			run = next_run(delta);
		run->skip += (int32) skip;
		delta->from += skip;
		if (delta->from < from)
			continue;
		some = Min(bytes, MOST_RUN - run->copy);
		run->copy += (int32) some;
		delta->from += some;
		from += some;
		bytes -= some;
	}
}

/* How far are they the same: whole words, or up to the end. */
static size_t
same_bytes(const char *a, const char *b, size_t bytes)
{
	size_t		at = 0;

	while (bytes - at >= BLOCK_BYTES && memcmp(a + at, b + at, BLOCK_BYTES) == 0)
		at += BLOCK_BYTES;
	while (at < bytes && memcmp(a + at, b + at, Min(WORD, bytes - at)) == 0)
		at += Min(WORD, bytes - at);
	return at;
}

static size_t
different_bytes(const char *a, const char *b, size_t bytes)
{
	size_t		at = 0;

	while (at < bytes && memcmp(a + at, b + at, Min(WORD, bytes - at)) != 0)
		at += Min(WORD, bytes - at);
	return at;
}

static void
compare(Delta *delta, const char *bytes, const char *base, int64 from, size_t n)
{
	size_t		at = 0;

	while (at < n)
	{
		size_t		some = same_bytes(bytes + at, base + at, n - at);

		if (some >= LEAST_COPY || goes_on(delta, from + at))
			add_copy(delta, from + at, some);
		else
			add_literal(delta, some);
		at += some;
		some = different_bytes(bytes + at, base + at, n - at);
		add_literal(delta, some);
		at += some;
	}
}

/* Bytes of the base from a place on that is never before the last one asked for. */
static const char *
base_bytes(DeltaBase *base, int64 from, size_t bytes)
{
	if (from + (int64) bytes <= base->in_memory)
		return base->file->data + from;
	if (base->buffer == NULL)
		base->buffer = palloc(COMPARE_BYTES);
	base->passed = from + (int64) bytes;
	content_pass(base->reader, from);
	content_read(base->reader, base->buffer, bytes);
	return base->buffer;
}

/* The tensor of the base that a piece may be compared with, or NULL. */
static const nn_file_tensor *
find_base(const DeltaBase *base, const nn_file_tensor *tensor)
{
	const nn_file_tensor *old = nn_file_find(base->file, tensor->name);

	if (old == NULL || old->dtype != tensor->dtype || old->rank != tensor->rank ||
		(old->rank == 2 && old->shape[1] != tensor->shape[1]))
		return NULL;
	return old;
}

static int64
stored_size(const Delta *delta)
{
	return delta->literal + delta->n * (int64) sizeof(DeltaRun);
}

bool
delta_find(Delta *delta, const Whole *whole, DeltaBase *base, void (*check) (void))
{
	int64		most = whole_bytes(whole) / 2;

	*delta = (Delta) {0};
	for (int i = -1; i < whole->n; i++)
	{
		const ImagePiece *piece = i < 0 ? NULL : &whole->pieces[i];
		const char *data = piece ? piece->data : whole->header;
		int64		bytes = piece ? piece->tensor.end - piece->tensor.begin : whole->header_bytes;
		const nn_file_tensor *old = piece ? find_base(base, &piece->tensor) : NULL;
		int64		from = old ? (int64) old->begin : 0;
		int64		both = piece == NULL ? Min(base->header_bytes, bytes) : 0;

		/* the base is read once, from front to back */
		if (old && from >= delta->from && from >= base->passed)
			both = Min((int64) (old->end - old->begin), bytes);
		for (int64 at = 0; at < both;)
		{
			size_t		some = Min(both - at, (int64) COMPARE_BYTES);

			check();
			compare(delta, data + at, base_bytes(base, from + at, some), from + at, some);
			at += some;
			if (stored_size(delta) > most || delta->n > MOST_RUNS)
				return false;
		}
		add_literal(delta, bytes - both);
	}
	return stored_size(delta) <= most;
}

/* ------------------------------------------------------------------------
 * Its header
 * ------------------------------------------------------------------------ */

size_t
delta_header(const Delta *delta, char *out, size_t out_size)
{
	nn_file_tensor tensor[2] = {
		{.name = "runs", .dtype = NN_I32, .rank = 2, .shape = {delta->n, 3}},
		{.name = "data", .dtype = NN_U8, .rank = 1, .shape = {delta->literal}}
	};

	return nn_file_header(tensor, 2, NULL, out, out_size);
}

bool
delta_parse(DeltaShape *shape, const char *header, int64 stored_bytes)
{
	nn_file    *file = palloc(sizeof(nn_file));
	void	   *scratch = palloc(DELTA_HEADER_MOST);
	const nn_file_tensor *runs = NULL;
	const nn_file_tensor *data = NULL;
	char		message[256];

	if (nn_file_open(file, header, stored_bytes, scratch, DELTA_HEADER_MOST, message, sizeof(message)) == NN_OK &&
		file->n == 2)
	{
		runs = nn_file_find(file, "runs");
		data = nn_file_find(file, "data");
	}
	if (runs && (runs->dtype != NN_I32 || runs->rank != 2 || runs->shape[1] != 3))
		runs = NULL;
	if (data && (data->dtype != NN_U8 || data->rank != 1))
		data = NULL;
	if (runs && data)
		*shape = (DeltaShape) {
			.runs_at = runs->begin,.runs = runs->shape[0],.data_at = data->begin,.data_end = data->end
		};
	pfree(scratch);
	pfree(file);
	return runs && data;
}
