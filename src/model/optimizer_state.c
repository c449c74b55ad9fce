/*-------------------------------------------------------------------------
 *
 * optimizer_state.c
 *	  What an optimizer remembers, kept so that another night goes on from it
 *
 * A safetensors file: "step" I64 [1], and for each tensor of the network
 * "m.<name>" (Adam only) and "v.<name>" F32, shaped as the tensor is.  It is
 * stored as versions are (store.c), whole or as a difference to that of the
 * parent, but never mapped nor exported.
 *
 * Only the newest version's is kept, with that of the version that serves, from
 * which the next training may start, that of the version that it went on from,
 * if dupn_rollback goes back to it, and those that these are differences to:
 * optimizer_keep_newest.  A row of _dupn.optimizer without a checksum is not
 * complete, or about to go, and counts as none.
 *
 *-------------------------------------------------------------------------
 */
#include "model/content.h"

#include <math.h>

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "fail.h"
#include "utils/array.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

/* ---------------- storing ---------------- */

static void
add_piece(ImagePiece *piece, const nn_tensor *tensor, const char *what, const float *data)
{
	memset(piece, 0, sizeof(*piece));
	strlcpy(piece->tensor.name, what, NN_MAX_TENSOR);
	strlcat(piece->tensor.name, tensor->name, NN_MAX_TENSOR);
	piece->tensor.dtype = NN_F32;
	piece->tensor.rank = tensor->rank;
	piece->tensor.shape[0] = tensor->rank == 1 ? tensor->rows * tensor->cols : tensor->rows;
	piece->tensor.shape[1] = tensor->rank == 1 ? 0 : tensor->cols;
	piece->data = data + tensor->offset;
}

/* NULL: they are too many for a file, or their names too long. */
static ImagePiece *
collect_pieces(const nn_layout *layout, const nn_optimizer *optimizer, int64 *step, int *n)
{
	ImagePiece *piece = palloc(sizeof(ImagePiece) * NN_MAX_TENSORS);

	if (layout->n * (optimizer->m ? 2 : 1) >= NN_MAX_TENSORS)
		return NULL;
	for (int i = 0; i < layout->n; i++)
		if (strlen(layout->tensor[i].name) + 2 >= NN_MAX_TENSOR)
			return NULL;
	*step = (int64) optimizer->step;
	memset(piece, 0, sizeof(*piece));
	strlcpy(piece->tensor.name, "step", NN_MAX_TENSOR);
	piece->tensor.dtype = NN_I64;
	piece->tensor.rank = 1;
	piece->tensor.shape[0] = 1;
	piece->data = step;
	*n = 1;
	for (int i = 0; i < layout->n && optimizer->m; i++)
		add_piece(&piece[(*n)++], &layout->tensor[i], "m.", optimizer->m);
	for (int i = 0; i < layout->n; i++)
		add_piece(&piece[(*n)++], &layout->tensor[i], "v.", optimizer->v);
	return piece;
}

/* The header of a state; the reader stands behind it. */
static nn_file *
read_header(ContentReader *reader, const VersionRow *row)
{
	nn_file    *file = palloc(sizeof(nn_file));
	void	   *scratch = palloc(NN_FILE_SCRATCH);
	uint64		length;
	char	   *header;
	char		message[256];

	if (row->bytes < (int64) sizeof(length))
		content_damaged(reader, "It is shorter than a header.");
	content_read(reader, &length, sizeof(length));
	if (length > row->bytes - sizeof(length) || length > MaxAllocSize / 2)
		content_damaged(reader, "Its header's length is not plausible.");
	header = palloc(sizeof(length) + length);
	memcpy(header, &length, sizeof(length));
	content_read(reader, header + sizeof(length), length);
	if (nn_file_open(file, header, row->bytes, scratch, NN_FILE_SCRATCH, message, sizeof(message)) != NN_OK)
		content_damaged(reader, "It is no safetensors file: %s.", message);
	pfree(scratch);
	return file;
}

/* A state that is complete, of a version that is. */
static bool
find_state(VersionRow *row, int32 model_id, int32 version)
{
	if (state_read("SELECT 1 FROM _dupn.version WHERE model_id OPERATOR(pg_catalog.=) $1"
				   " AND version OPERATOR(pg_catalog.=) $2 AND state OPERATOR(pg_catalog.=) 'ready'",
				   2, (Oid[]) {INT4OID, INT4OID},
				   (Datum[]) {Int32GetDatum(model_id), Int32GetDatum(version)}, NULL, NULL, NULL) == 0)
		return false;
	row->what = psprintf("the optimizer's state of version %d", version);
	return content_find(row, CONTENT_OPTIMIZER, model_id, version);
}

/* In a transaction of its own; false: there is nothing to compare with, or too much is different. */
static bool
find_difference(Delta *delta, const Whole *whole, int32 model_id, int32 version, void (*check) (void))
{
	MemoryContext context = CurrentMemoryContext;
	bool		differs = false;
	VersionRow	row;

	state_transaction();
	MemoryContextSwitchTo(context);
	PushActiveSnapshot(GetTransactionSnapshot());
	if (find_state(&row, model_id, version))
	{
		ContentReader *reader = content_open(CONTENT_OPTIMIZER, &row, check);
		nn_file    *file = read_header(reader, &row);
		DeltaBase	base = {.file = file, .header_bytes = file_header_bytes(file->data), .reader = reader};

		base.in_memory = base.header_bytes;
		differs = delta_find(delta, whole, &base, check);
		content_close(reader);
		pfree(unconstify(char *, file->data));
		pfree(file);
		if (base.buffer)
			pfree(base.buffer);
	}
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	return differs;
}

void
optimizer_store(int32 model_id, int32 version, int32 parent, const nn_layout *layout,
				const nn_optimizer *optimizer, void (*check) (void))
{
	MemoryContext context = CurrentMemoryContext;
	int64		step;
	int			n;
	ImagePiece *piece = collect_pieces(layout, optimizer, &step, &n);
	Delta		delta = {0};
	bool		differs = false;
	Whole		whole;

	if (piece == NULL)
		return;
	whole = whole_make(NULL, piece, n);

	state_transaction();
	state_execute("INSERT INTO _dupn.optimizer (model_id, version) VALUES ($1, $2)", 2, (Oid[]) {INT4OID, INT4OID},
				  (Datum[]) {Int32GetDatum(model_id), Int32GetDatum(version)}, NULL, NULL, NULL);
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	fail_point("optimizer: begun");

	if (parent != 0 && content_link(CONTENT_OPTIMIZER, model_id, version, parent))
	{
		fail_point("optimizer: linked");
		differs = find_difference(&delta, &whole, model_id, parent, check);
	}
	content_store(CONTENT_OPTIMIZER, model_id, version, &whole, differs ? &delta : NULL, check, true);
	fail_point("optimizer: stored");
	if (delta.run)
		pfree(delta.run);
	pfree(whole.header);
	pfree(piece);
}

/* ---------------- loading ---------------- */

/*
 * The tensor of the layout that a tensor of the file is of, -1: none; where its
 * bytes go in *to.
 */
static int
find_place(const nn_layout *layout, const nn_optimizer *optimizer, const nn_file_tensor *tensor, float **to)
{
	const char *name = tensor->name;

	*to = NULL;
	if (strncmp(name, "m.", 2) == 0)
		*to = optimizer->m;
	else if (strncmp(name, "v.", 2) == 0)
		*to = optimizer->v;
	return *to ? nn_layout_find(layout, name + 2) : -1;
}

/* Is it of this kind of optimizer, and is nothing larger than in the layout, or of another width? */
static bool
fits(const nn_file *file, const nn_layout *layout, const nn_optimizer *optimizer)
{
	const nn_file_tensor *step = nn_file_find(file, "step");
	int			moments = 0;

	if (step == NULL || step->dtype != NN_I64 || step->count != 1)
		return false;
	for (int i = 0; i < file->n; i++)
	{
		const nn_file_tensor *tensor = &file->tensor[i];
		float	   *to;
		int			at = find_place(layout, optimizer, tensor, &to);
		const nn_tensor *own = at >= 0 ? &layout->tensor[at] : NULL;

		moments += strncmp(tensor->name, "m.", 2) == 0;
		if (own == NULL)
			continue;
		if (tensor->dtype != NN_F32 || tensor->rank != own->rank ||
			(tensor->rank == 2 && tensor->shape[1] != own->cols) ||
			(own->table ? tensor->count > own->rows * own->cols : tensor->count != own->rows * own->cols))
			return false;
	}
	return (optimizer->m != NULL) == (moments > 0);
}

static void
check_numbers(const ContentReader *reader, const nn_file_tensor *tensor, const float *x)
{
	bool		squares = tensor->name[0] == 'v';

	for (int64 i = 0; i < tensor->count; i++)
		if (!isfinite(x[i]) || (squares && x[i] < 0))
			content_damaged(reader, "\"%s\" holds a number that no step leaves.", tensor->name);
}

static void
fill(ContentReader *reader, const nn_file *file, const nn_layout *layout, nn_optimizer *optimizer)
{
	char	   *rest = palloc(IMAGE_PART_BYTES);
	size_t		at = file_header_bytes(file->data);

	for (int i = 0; i < file->n; i++)
	{
		const nn_file_tensor *tensor = &file->tensor[i];
		float	   *to;
		int			own = find_place(layout, optimizer, tensor, &to);

		if (tensor->begin != at)
			content_damaged(reader, "Its tensors are not in order.");
		if (own >= 0)
		{
			to += layout->tensor[own].offset;
			content_read(reader, to, tensor->end - at);
			check_numbers(reader, tensor, to);
			at = tensor->end;
		}
		else if (strcmp(tensor->name, "step") == 0)
		{
			int64		step;

			content_read(reader, &step, sizeof(step));
			if (step < 0)
				content_damaged(reader, "It is of " INT64_FORMAT " steps.", step);
			optimizer->step = step;
			at = tensor->end;
		}
		while (at < tensor->end)
		{
			size_t		some = Min(tensor->end - at, IMAGE_PART_BYTES);

			/* of what the network has no more: the checksum is of all */
			content_read(reader, rest, some);
			at += some;
		}
	}
	pfree(rest);
}

bool
optimizer_load(int32 model_id, int32 version, const nn_layout *layout, nn_optimizer *optimizer,
			   void (*check) (void))
{
	MemoryContext context = CurrentMemoryContext;
	bool		loaded = false;
	VersionRow	row;

	state_transaction();
	PushActiveSnapshot(GetTransactionSnapshot());
	if (find_state(&row, model_id, version))
	{
		ContentReader *reader = content_open(CONTENT_OPTIMIZER, &row, check);
		nn_file    *file = read_header(reader, &row);

		loaded = fits(file, layout, optimizer);
		if (loaded)
		{
			fill(reader, file, layout, optimizer);
			content_verify(reader);
		}
		content_close(reader);
	}
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	return loaded;
}

/* ---------------- what is no longer needed ---------------- */

void
optimizer_keep_newest(int32 model_id)
{
	/* what the head of this file says, and what is being built */
	state_execute("WITH RECURSIVE needed AS ("
				  "SELECT o.version, o.delta_of FROM _dupn.optimizer o, _dupn.version v, _dupn.model m"
				  " WHERE o.model_id OPERATOR(pg_catalog.=) $1 AND m.model_id OPERATOR(pg_catalog.=) $1"
				  " AND v.model_id OPERATOR(pg_catalog.=) $1 AND v.version OPERATOR(pg_catalog.=) o.version"
				  " AND (v.state OPERATOR(pg_catalog.=) 'building' OR o.version OPERATOR(pg_catalog.=) m.published"
				  " OR (o.version OPERATOR(pg_catalog.=) m.previous AND EXISTS (SELECT FROM _dupn.version p"
				  " WHERE p.model_id OPERATOR(pg_catalog.=) $1 AND p.version OPERATOR(pg_catalog.=) m.published"
				  " AND p.parent OPERATOR(pg_catalog.=) m.previous))"
				  " OR o.version OPERATOR(pg_catalog.=) (SELECT pg_catalog.max(n.version) FROM _dupn.version n"
				  " JOIN _dupn.optimizer s ON s.model_id OPERATOR(pg_catalog.=) $1 AND s.version OPERATOR(pg_catalog.=) n.version"
				  " WHERE n.model_id OPERATOR(pg_catalog.=) $1 AND n.state OPERATOR(pg_catalog.=) 'ready'"
				  " AND s.checksum IS NOT NULL))"
				  " UNION SELECT o.version, o.delta_of FROM needed n JOIN _dupn.optimizer o"
				  " ON o.model_id OPERATOR(pg_catalog.=) $1 AND o.version OPERATOR(pg_catalog.=) n.delta_of)"
				  " UPDATE _dupn.optimizer SET checksum = NULL, delta_of = NULL WHERE model_id OPERATOR(pg_catalog.=) $1"
				  " AND version OPERATOR(pg_catalog.<>) ALL (ARRAY(SELECT version FROM needed))",
				  1, (Oid[]) {INT4OID}, (Datum[]) {Int32GetDatum(model_id)}, NULL, NULL, NULL);
}
