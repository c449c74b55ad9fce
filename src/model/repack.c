/*-------------------------------------------------------------------------
 *
 * repack.c
 *	  A file of a version that another program wrote
 *
 * Other programs keep the names of tensors but not their order: ours is wide
 * numbers first, so that each is aligned where it lies, and the parameters as
 * one run in the order of the layout.
 *
 *-------------------------------------------------------------------------
 */
#include "model/image.h"

#include "mb/pg_wchar.h"
#include "utils/guc.h"
#include "utils/memutils.h"

static void damaged(const char *what, const char *message) pg_attribute_noreturn();

static void
damaged(const char *what, const char *message)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("%s cannot be imported", what),
			 errdetail("It has %s.", message)));
}

static void
add_piece(Repacked *repacked, const nn_file *file, const nn_file_tensor *tensor)
{
	ImagePiece *piece = &repacked->piece[repacked->n++];

	piece->tensor = *tensor;
	piece->data = nn_file_data(file, tensor);
}

/* The parameters come where the first narrow numbers do. */
static void
sort_tensors(Repacked *repacked, const nn_file *file, const nn_layout *layout)
{
	for (int i = 0; i < file->n; i++)
		if (file->tensor[i].dtype == NN_I64 || file->tensor[i].dtype == NN_F64)
			add_piece(repacked, file, &file->tensor[i]);
	for (int i = 0; i < layout->n; i++)
	{
		const nn_file_tensor *tensor = nn_file_find(file, layout->tensor[i].name);

		/* what is missing, or of another type, is found by the check */
		if (tensor != NULL && tensor->dtype == NN_F32)
			add_piece(repacked, file, tensor);
	}
	for (int i = 0; i < file->n; i++)
		if ((file->tensor[i].dtype == NN_F32 || file->tensor[i].dtype == NN_I32) &&
			(file->tensor[i].dtype == NN_I32 || nn_layout_find(layout, file->tensor[i].name) < 0))
			add_piece(repacked, file, &file->tensor[i]);
	for (int i = 0; i < file->n; i++)
		if (file->tensor[i].dtype == NN_U8)
			add_piece(repacked, file, &file->tensor[i]);
}

static char *
file_text(const nn_file *file, const char *key, void *scratch, const char *what)
{
	char	   *text = palloc(file->metadata_length + 1);
	int64		length = nn_file_metadata(file, key, text, file->metadata_length + 1, scratch, NN_FILE_SCRATCH);

	if (length < 0)
		damaged(what, psprintf("no metadata \"%s\"", key));
	if (!pg_verifymbstr(text, length, true))
		damaged(what, psprintf("metadata \"%s\" that is not in the encoding of this database", key));
	return text;
}

/* The pieces as one file, into which they point from now on. */
static const void *
write_file(Repacked *repacked, const char *metadata, size_t *size, MemoryContext context)
{
	nn_file_tensor *tensor = palloc(sizeof(nn_file_tensor) * Max(repacked->n, 1));
	Spool	   *spool = spool_begin(context);
	size_t		begin;
	char	   *header;
	const char *bytes;

	for (int i = 0; i < repacked->n; i++)
		tensor[i] = repacked->piece[i].tensor;
	begin = nn_file_header(tensor, repacked->n, metadata, NULL, 0);
	header = palloc(begin);
	nn_file_header(tensor, repacked->n, metadata, header, begin);
	spool_add(spool, header, begin);
	for (int i = 0; i < repacked->n; i++)
		spool_add(spool, repacked->piece[i].data, tensor[i].end - tensor[i].begin);
	bytes = spool_read(spool, size);
	for (int i = 0; i < repacked->n; i++)
		repacked->piece[i].data = bytes + tensor[i].begin;
	pfree(header);
	pfree(tensor);
	return bytes;
}

/* Tables, and types like enums, have other names here. */
static char *
local_features(ModelImage *image, const Model *model)
{
	int			settings = NewGUCNestLevel();
	const FeatureSet *today;

	/* types with their schemas, as jobs name them */
	(void) set_config_option("search_path", "pg_catalog", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	today = model_features(model, CurrentMemoryContext);
	AtEOXact_GUC(true, settings);
	for (int g = 0; g < NN_GROUPS; g++)
		for (int f = 0; f < Min(image->set.n[g], today->n[g]); f++)
			strlcpy(image->set.f[g][f].type_name, today->f[g][f].type_name, sizeof(image->set.f[g][f].type_name));
	return image_features_json(&image->set, &model->relations, model->name, image->task, &image->config);
}

Repacked *
image_repack(const void *data, size_t size, const Model *model, const char *what, MemoryContext context)
{
	MemoryContext caller = MemoryContextSwitchTo(context);
	Repacked   *repacked = palloc0(sizeof(Repacked));
	nn_file    *file = palloc(sizeof(nn_file));
	nn_config  *config = palloc(sizeof(nn_config));
	nn_layout  *layout = palloc(sizeof(nn_layout));
	void	   *scratch = palloc(NN_FILE_SCRATCH);
	char		message[256];
	char	   *config_text;
	size_t		bytes;
	const void *copy;

	if (nn_file_open(file, data, size, scratch, NN_FILE_SCRATCH, message, sizeof(message)) != NN_OK)
		damaged(what, psprintf("bytes that are no safetensors file: %s", message));
	config_text = file_text(file, "config", scratch, what);
	if (nn_config_parse(config, config_text, strlen(config_text), message, sizeof(message)) != NN_OK)
		damaged(what, psprintf("no valid configuration: %s", message));
	if (nn_layout_make(layout, config) != NN_OK)
		damaged(what, "a network that is too large");

	repacked->piece = palloc(sizeof(ImagePiece) * Max(file->n, 1));
	sort_tensors(repacked, file, layout);
	copy = write_file(repacked, image_metadata(config_text, file_text(file, "features", scratch, what)),
					  &bytes, context);
	repacked->image = image_open(copy, bytes, what, context);
	repacked->image->model_name = pstrdup(model->name);

	repacked->metadata = image_metadata(config_text, local_features(repacked->image, model));
	MemoryContextSwitchTo(caller);
	return repacked;
}
