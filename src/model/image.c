/*-------------------------------------------------------------------------
 *
 * image.c
 *	  The bytes of a version, checked and indexed
 *
 * They may have been written by a stranger (dupn_import, or an INSERT by the
 * extension's owner).  Whoever writes the mapped file checks all of them; those
 * who map it later check its structure, since the file's name is the
 * fingerprint of a content that was checked.
 *
 *-------------------------------------------------------------------------
 */
#include "model/image.h"

#include <math.h>

#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

/* Memory for the tokens of a header, before more is tried. */
#define FIRST_SCRATCH	((size_t) 64 << 10)

#define MAX_CATALOGUE	((int64) PG_INT32_MAX)

/* ------------------------------------------------------------------------
 * Structure
 * ------------------------------------------------------------------------ */

static void damaged(const char *what, const char *format,...)
			pg_attribute_noreturn() pg_attribute_printf(2, 3);

static void
damaged(const char *what, const char *format,...)
{
	char		message[512];
	va_list		arguments;

	va_start(arguments, format);
	vsnprintf(message, sizeof(message), format, arguments);
	va_end(arguments);
	message[0] = pg_toupper((unsigned char) message[0]);
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("%s is damaged", what),
			 errdetail("%s.", message)));
}

static size_t
dtype_size(nn_dtype dtype)
{
	return dtype == NN_U8 ? 1 : dtype == NN_F32 || dtype == NN_I32 ? 4 : 8;
}

/*
 * A vector of the file by its name; *count is its length.  least < 0: it may
 * be absent, which gives NULL.
 */
static const void *
find_vector(const ModelImage *image, const char *what, nn_dtype dtype,
			int64 least, int64 most, int64 *count, const char *format,...)
			pg_attribute_printf(7, 8);

static const void *
find_vector(const ModelImage *image, const char *what, nn_dtype dtype,
			int64 least, int64 most, int64 *count, const char *format,...)
{
	char		name[NN_MAX_TENSOR];
	const nn_file_tensor *tensor;
	va_list		arguments;

	va_start(arguments, format);
	vsnprintf(name, sizeof(name), format, arguments);
	va_end(arguments);

	*count = 0;
	tensor = nn_file_find(&image->file, name);
	if (tensor == NULL)
	{
		if (least < 0)
			return NULL;
		damaged(what, "tensor \"%s\" is missing", name);
	}
	if (tensor->dtype != dtype || tensor->rank != 1)
		damaged(what, "tensor \"%s\" has the wrong type", name);
	if (tensor->count < least || tensor->count > most)
		damaged(what, "tensor \"%s\" has the wrong length", name);
	if ((uintptr_t) nn_file_data(&image->file, tensor) % dtype_size(dtype) != 0)
		damaged(what, "tensor \"%s\" is not aligned", name);
	*count = tensor->count;
	return nn_file_data(&image->file, tensor);
}

/* The parameters are one run of floats in the order of the layout. */
static void
find_parameters(ModelImage *image, const char *what)
{
	const nn_layout *layout = &image->layout;

	for (int i = 0; i < layout->n; i++)
	{
		const nn_tensor *want = &layout->tensor[i];
		const nn_file_tensor *tensor = nn_file_find(&image->file, want->name);
		const float *data;

		if (tensor == NULL)
			damaged(what, "tensor \"%s\" is missing", want->name);
		if (tensor->dtype != NN_F32 || tensor->rank != want->rank ||
			(want->rank == 1 ? tensor->shape[0] != want->rows * want->cols :
			 tensor->shape[0] != want->rows || tensor->shape[1] != want->cols))
			damaged(what, "tensor \"%s\" has the wrong type or shape", want->name);
		data = nn_file_data(&image->file, tensor);
		if (i == 0)
			image->param = data;
		if ((uintptr_t) data % sizeof(float) != 0 || data != image->param + want->offset)
			damaged(what, "tensor \"%s\" is not where it belongs", want->name);
	}
}

static void
find_table(const ModelImage *image, const char *what, Vocabulary *table,
		   const char *prefix, const char *keys, const char *ids)
{
	int64		n_ids;

	table->keys = find_vector(image, what, NN_I64, -1, PG_INT32_MAX, &table->capacity, "%s%s", prefix, keys);
	table->ids = find_vector(image, what, NN_I32, table->keys ? 0 : -1, PG_INT32_MAX, &n_ids, "%s%s", prefix, ids);
	if (n_ids != table->capacity || (table->capacity & (table->capacity - 1)) != 0)
		damaged(what, "table \"%s\" is not a power of two long", prefix);
}

/* What nights go on counting; all of it may be absent. */
static void
find_counts(ModelImage *image, const char *what, Feature *f, const char *prefix)
{
	Pending    *pending = &f->pending;
	int64		n;

	pending->key = find_vector(image, what, NN_I64, -1, PG_INT32_MAX, &pending->n, "%s.pending_keys", prefix);
	n = pending->key ? pending->n : -1;
	pending->count = find_vector(image, what, NN_I32, n, Max(n, 0), &n, "%s.pending_counts", prefix);
	n = pending->key ? pending->n : -1;
	pending->day = find_vector(image, what, NN_I32, n, Max(n, 0), &n, "%s.pending_days", prefix);
	f->seen = find_vector(image, what, NN_I32, -1, f->vocab, &n, "%s.seen", prefix);
	if (f->seen && n != f->vocab)
		damaged(what, "tensor \"%s.seen\" has the wrong length", prefix);
}

static void
find_vocabularies(ModelImage *image, const char *what)
{
	FeatureSet *set = &image->set;

	for (int group = 0; group < NN_GROUPS; group++)
		for (int i = 0; i < set->n[group]; i++)
		{
			Feature    *f = &set->f[group][i];
			char		prefix[NN_MAX_TENSOR];

			if (f->shares >= 0)
			{
				const Feature *table = &set->f[NN_ITEM][f->shares];

				if (f->encoding != table->encoding)
					damaged(what, "feature \"%s\" is not encoded as the one whose table it reads", f->name);
				f->vocabulary = table->vocabulary;
				f->bounds = table->bounds;
				f->n_bounds = table->n_bounds;
			}
			else if (f->encoding == ENCODE_ID)
			{
				snprintf(prefix, sizeof(prefix), "vocabulary.%s.%s", nn_group_name[group], f->name);
				find_table(image, what, &f->vocabulary, prefix, ".keys", ".ids");
				find_counts(image, what, f, prefix);
			}
			else if (f->encoding == ENCODE_BANDS)
			{
				int64		n;

				f->bounds = find_vector(image, what, NN_F64, -1, f->vocab - ID_FIRST - 1, &n,
										"bands.%s.%s", nn_group_name[group], f->name);
				f->n_bounds = (int) n;
				if (f->vocab != ID_FIRST + n + 1)
					damaged(what, "feature \"%s\" has not as many rows as bands", f->name);
			}
		}
}

static void
find_catalogue(ModelImage *image, const char *what)
{
	Catalogue  *catalogue = &image->catalogue;
	int64		n;

	catalogue->key = find_vector(image, what, NN_I64, 0, MAX_CATALOGUE, &catalogue->n, "catalogue.keys");
	if (catalogue->n == 0)
		return;
	find_table(image, what, &catalogue->index, "catalogue", ".index_keys", ".index_ids");
	catalogue->text_offsets = find_vector(image, what, NN_I64, catalogue->n + 1, catalogue->n + 1, &n,
										  "catalogue.text_offsets");
	catalogue->text = find_vector(image, what, NN_U8, 0, PG_INT64_MAX, &n, "catalogue.text");
	catalogue->count = find_vector(image, what, NN_I64, catalogue->n, catalogue->n, &n, "catalogue.count");
	for (int i = 0; i < image->set.n[NN_ITEM]; i++)
	{
		const Feature *f = &image->set.f[NN_ITEM][i];
		nn_ids	   *ids = &catalogue->feature[i];

		if (f->multi)
		{
			ids->values = find_vector(image, what, NN_I32, 0, PG_INT64_MAX, &n, "catalogue.%s.values", f->name);
			ids->offsets = find_vector(image, what, NN_I64, catalogue->n + 1, catalogue->n + 1, &n,
									   "catalogue.%s.offsets", f->name);
		}
		else
			ids->values = find_vector(image, what, NN_I32, catalogue->n, catalogue->n, &n,
									  "catalogue.%s", f->name);
	}
}

/* The levels of a multiclass task that cuts a number. */
static void
find_levels(ModelImage *image, int t, const char *what)
{
	const nn_task *task = &image->config.task[t];
	ImageTask  *levels = &image->task[t];
	char		name[NN_MAX_TENSOR];
	const nn_file_tensor *tensor;

	snprintf(name, sizeof(name), "task.%s.bounds", task->name);
	tensor = nn_file_find(&image->file, name);
	if (tensor == NULL)
		return;
	if (tensor->dtype != NN_F64 || tensor->rank != 2 || tensor->shape[0] < 1 ||
		tensor->shape[1] != task->classes - 1)
		damaged(what, "tensor \"%s\" has the wrong type or shape", name);
	levels->bounds = nn_file_data(&image->file, tensor);
	if ((uintptr_t) levels->bounds % sizeof(double) != 0)
		damaged(what, "tensor \"%s\" is not aligned", name);
	levels->within_key = find_vector(image, what, NN_I64, -1, PG_INT32_MAX, &levels->n_within,
									 "task.%s.within_keys", task->name);
	if (tensor->shape[0] != Max(levels->n_within, 1))
		damaged(what, "tensor \"%s\" has the wrong type or shape", name);
}

static void
find_statistics(ModelImage *image, const char *what)
{
	for (int t = 0; t < image->config.n_task; t++)
	{
		const nn_task *task = &image->config.task[t];
		const float *calibration;
		Neighbours *neighbours = &image->task[t].neighbours;
		int64		n;

		if (task->kind == NN_MULTICLASS)
			find_levels(image, t, what);
		calibration = find_vector(image, what, NN_F32, -1, 2, &n, "task.%s.calibration", task->name);
		if (calibration != NULL && n != 2)
			damaged(what, "tensor \"task.%s.calibration\" has the wrong length", task->name);
		image->task[t].calibration[0] = calibration ? calibration[0] : 1;
		image->task[t].calibration[1] = calibration ? calibration[1] : 0;
		if (task->memory > 0)
		{
			int64		J = image->catalogue.n;
			const int32 *scale;

			neighbours->begin = find_vector(image, what, NN_I64, J, J, &n, "task.%s.memory.begin", task->name);
			neighbours->length = find_vector(image, what, NN_I32, J, J, &n, "task.%s.memory.length", task->name);
			neighbours->items = find_vector(image, what, NN_I32, 0, PG_INT64_MAX, &neighbours->n,
											"task.%s.memory.items", task->name);
			neighbours->values = find_vector(image, what, NN_F32, neighbours->n, neighbours->n, &n,
											 "task.%s.memory.values", task->name);
			scale = find_vector(image, what, NN_I32, -1, 1, &n, "task.%s.memory.scale", task->name);
			if (scale && (n != 1 || *scale < 1))
				damaged(what, "tensor \"task.%s.memory.scale\" is not a positive number", task->name);
			image->task[t].memory_scale = scale ? *scale : 1;
		}
		if (task->features == 0)
			continue;
		image->task[t].mean = find_vector(image, what, NN_F32, task->features, task->features, &n,
										  "task.%s.mean", task->name);
		image->task[t].scale = find_vector(image, what, NN_F32, task->features, task->features, &n,
										   "task.%s.scale", task->name);
	}
}

/* Parse the header.  A small one, as ours are, does with little memory. */
static void
open_file(ModelImage *image, const void *data, size_t size, void **scratch, size_t *scratch_size,
		  const char *what)
{
	char		message[256];

	for (*scratch_size = FIRST_SCRATCH;; *scratch_size = NN_FILE_SCRATCH)
	{
		*scratch = palloc(*scratch_size);
		if (nn_file_open(&image->file, data, size, *scratch, *scratch_size,
						 message, sizeof(message)) == NN_OK)
			return;
		if (*scratch_size == NN_FILE_SCRATCH)
			damaged(what, "%s", message);
		pfree(*scratch);
	}
}

/* Index the bytes: everything that costs no more than the number of tensors. */
ModelImage *
image_index(const void *data, size_t size, const char *what, MemoryContext context)
{
	MemoryContext caller = MemoryContextSwitchTo(context);
	ModelImage *image = palloc(sizeof(ModelImage));
	void	   *scratch;
	size_t		scratch_size;
	char	   *text;
	char		message[256];
	int64		length;

	memset(image, 0, offsetof(ModelImage, layout));
	image->context = context;
	open_file(image, data, size, &scratch, &scratch_size, what);

	text = palloc(image->file.metadata_length + 1);
	length = nn_file_metadata(&image->file, "config", text, image->file.metadata_length + 1,
							  scratch, scratch_size);
	if (length < 0)
		damaged(what, "there is no metadata \"config\"");
	if (nn_config_parse(&image->config, text, length, message, sizeof(message)) != NN_OK)
		damaged(what, "%s", message);
	if (nn_layout_make(&image->layout, &image->config) != NN_OK)
		damaged(what, "the network is too large");

	length = nn_file_metadata(&image->file, "features", text, image->file.metadata_length + 1,
							  scratch, scratch_size);
	if (length < 0)
		damaged(what, "there is no metadata \"features\"");
	if (!pg_verifymbstr(text, length, true))
		damaged(what, "its metadata is not in the encoding of this database");
	image_features_parse(image, text, what);
	pfree(text);
	pfree(scratch);

	find_parameters(image, what);
	find_vocabularies(image, what);
	find_catalogue(image, what);
	find_statistics(image, what);
	MemoryContextSwitchTo(caller);
	return image;
}

/* ------------------------------------------------------------------------
 * Content
 * ------------------------------------------------------------------------ */

static void
check_table(const Vocabulary *table, int64 least, int64 most, const char *name, const char *what)
{
	for (int64 i = 0; i < table->capacity; i++)
		if (table->keys[i] != CELL_NULL && (table->ids[i] < least || table->ids[i] >= most))
			damaged(what, "a table of \"%s\" has an id out of range", name);
}

static void
check_pending(const Pending *pending, const char *name, const char *what)
{
	for (int64 i = 0; i < pending->n; i++)
		if (pending->count[i] < 1 || (i > 0 && pending->key[i] <= pending->key[i - 1]))
			damaged(what, "the counts of \"%s\" are out of range or order", name);
}

static void
check_offsets(const int64 *offsets, int64 n, int64 total, int64 most, const char *name, const char *what)
{
	bool		good = offsets[0] == 0 && offsets[n] == total;

	for (int64 i = 0; i < n && good; i++)
		good = offsets[i] <= offsets[i + 1] && offsets[i + 1] - offsets[i] <= most;
	if (!good)
		damaged(what, "the offsets of \"%s\" are out of range", name);
}

static int64
count_of(const ModelImage *image, const char *name)
{
	const nn_file_tensor *tensor = nn_file_find(&image->file, name);

	return tensor ? tensor->count : 0;
}

/* A fixed number of steps is what compilers turn into vector instructions. */
#define BLOCK	1024

static bool
block_is_finite(const float *x)
{
	uint32		bad = 0;

	for (int i = 0; i < BLOCK; i++)
	{
		uint32		bits;

		memcpy(&bits, &x[i], sizeof(bits));
		bad |= (bits & 0x7f800000) == 0x7f800000;
	}
	return !bad;
}

static void
check_floats(const float *x, int64 n, const char *name, const char *what)
{
	bool		good = true;
	int64		i = 0;

	for (; good && i + BLOCK <= n; i += BLOCK)
	{
		good = block_is_finite(x + i);
		if (i % (1024 * BLOCK) == 0)
			CHECK_FOR_INTERRUPTS();
	}
	for (; good && i < n; i++)
		good = isfinite(x[i]);
	if (!good)
		damaged(what, "\"%s\" holds a number that is not finite", name);
}

/* Nothing but characters 1 to 127, which are the same in all encodings? */
static bool
is_ascii(const char *text, int64 n)
{
	int64		i = 0;
	bool		good = true;

	for (; good && i + BLOCK <= n; i += BLOCK)
	{
		uint8		bad = 0;

		for (int k = 0; k < BLOCK; k++)
			bad |= (int8) text[i + k] <= 0;
		good = !bad;
	}
	for (; good && i < n; i++)
		good = (int8) text[i] > 0;
	return good;
}

static void
check_catalogue(const ModelImage *image, const char *what)
{
	const Catalogue *catalogue = &image->catalogue;

	if (catalogue->n == 0)
		return;
	check_table(&catalogue->index, 0, catalogue->n, "catalogue", what);
	check_offsets(catalogue->text_offsets, catalogue->n, count_of(image, "catalogue.text"),
				  MaxAllocSize / 2, "catalogue.text", what);
	for (int64 i = is_ascii(catalogue->text, catalogue->text_offsets[catalogue->n]) ? catalogue->n : 0;
		 i < catalogue->n; i++)
	{
		int64		begin = catalogue->text_offsets[i];

		if (!pg_verifymbstr(catalogue->text + begin, catalogue->text_offsets[i + 1] - begin, true))
			damaged(what, "a key of the catalogue is not in the encoding of this database");
		if (i % 65536 == 0)
			CHECK_FOR_INTERRUPTS();
	}
	for (int k = 0; k < image->set.n[NN_ITEM]; k++)
	{
		const Feature *f = &image->set.f[NN_ITEM][k];
		const nn_ids *ids = &catalogue->feature[k];
		int64		n = catalogue->n;

		if (ids->offsets)
		{
			char		name[NN_MAX_TENSOR];

			snprintf(name, sizeof(name), "catalogue.%s.values", f->name);
			n = count_of(image, name);
			check_offsets(ids->offsets, catalogue->n, n, NN_MAX_BAG, f->name, what);
		}
		for (int64 i = 0; i < n; i++)
			if (ids->values[i] < 0 || ids->values[i] >= f->vocab)
				damaged(what, "the catalogue's \"%s\" has an id out of range", f->name);
		CHECK_FOR_INTERRUPTS();
	}
}

static void
check_levels(const ImageTask *levels, const nn_task *task, const char *what)
{
	int			n = task->classes - 1;

	for (int64 row = 0; row < Max(levels->n_within, 1); row++)
	{
		const double *bounds = levels->bounds + row * n;

		for (int i = 0; i < n; i++)
			if (!isfinite(bounds[i]) || (i > 0 && bounds[i] < bounds[i - 1]))
				damaged(what, "the levels of task \"%s\" are not ascending", task->name);
		if (levels->n_within > 0 && levels->within_key[row] == CELL_NULL)
			damaged(what, "the levels of task \"%s\" are cut within no value", task->name);
	}
}

/* Serving walks along rows, whose items ascend. */
static void
check_neighbours(const ModelImage *image, int t, const char *what)
{
	const Neighbours *neighbours = &image->task[t].neighbours;
	int64		n = image->catalogue.n;

	check_floats(neighbours->values, neighbours->n, "memory", what);
	for (int64 i = 0; i < n; i++)
	{
		int64		begin = neighbours->begin[i];
		int32		length = neighbours->length[i];
		int32		least = 0;

		if (length < 0 || length > MOST_NEIGHBOURS || begin < 0 || begin > neighbours->n - length)
			damaged(what, "a row of the memory of task \"%s\" is out of range", image->config.task[t].name);
		for (int64 k = begin; k < begin + length; k++)
		{
			if (neighbours->items[k] < least || neighbours->items[k] >= n)
				damaged(what, "the memory of task \"%s\" has an item out of range or order",
						image->config.task[t].name);
			if (!(neighbours->values[k] >= 0))
				damaged(what, "the memory of task \"%s\" has a value below 0", image->config.task[t].name);
			least = neighbours->items[k] + 1;
		}
		if (i % 65536 == 0)
			CHECK_FOR_INTERRUPTS();
	}
}

/* Everything else, at the cost of reading all bytes. */
static void
image_check(const ModelImage *image, const char *what)
{
	const FeatureSet *set = &image->set;

	for (int i = 0; i < image->layout.n; i++)
	{
		const nn_tensor *tensor = &image->layout.tensor[i];

		check_floats(image->param + tensor->offset, tensor->rows * tensor->cols, tensor->name, what);
	}
	for (int group = 0; group < NN_GROUPS; group++)
		for (int i = 0; i < set->n[group]; i++)
		{
			const Feature *f = &set->f[group][i];

			check_table(&f->vocabulary, ID_FIRST, f->vocab, f->name, what);
			check_pending(&f->pending, f->name, what);
			for (int k = 0; k < f->n_bounds; k++)
				if (!isfinite(f->bounds[k]) || (k > 0 && f->bounds[k] <= f->bounds[k - 1]))
					damaged(what, "the bands of \"%s\" are not ascending", f->name);
		}
	check_catalogue(image, what);
	for (int t = 0; t < image->config.n_task; t++)
	{
		const ImageTask *task = &image->task[t];

		if (task->bounds != NULL)
			check_levels(task, &image->config.task[t], what);
		if (image->config.task[t].features > 0)
		{
			check_floats(task->mean, image->config.task[t].features, "mean", what);
			check_floats(task->scale, image->config.task[t].features, "scale", what);
		}
		check_floats(task->calibration, 2, "calibration", what);
		if (!(task->calibration[0] > 0))
			damaged(what, "the calibration of task \"%s\" turns its order around", image->config.task[t].name);
		if (image->config.task[t].memory > 0)
			check_neighbours(image, t, what);
	}
}

ModelImage *
image_open(const void *data, size_t size, const char *what, MemoryContext context)
{
	ModelImage *image = image_index(data, size, what, context);

	image_check(image, what);
	return image;
}

int
image_find_task(const ModelImage *image, const char *task)
{
	for (int t = 0; t < image->config.n_task; t++)
		if (strcmp(image->config.task[t].name, task) == 0)
			return t;
	return -1;
}

int
image_task(const ModelImage *image, const char *task)
{
	StringInfoData names;
	int			t = image_find_task(image, task);

	if (t >= 0)
		return t;

	initStringInfo(&names);
	for (t = 0; t < image->config.n_task; t++)
		appendStringInfo(&names, "%s\"%s\"", t > 0 ? ", " : "", image->config.task[t].name);
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("version %d of model \"%s\" has no task \"%s\"",
					image->version, image->model_name, task),
			 image->config.n_task > 0 ?
			 errhint("Its tasks are %s.", names.data) :
			 errhint("It was trained without a task.")));
}

int
image_first_task(const ModelImage *image, nn_kind kind)
{
	for (int t = 0; t < image->config.n_task; t++)
		if (image->config.task[t].kind == kind)
			return t;
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("version %d of model \"%s\" has no task of kind \"%s\"",
					image->version, image->model_name, nn_kind_name[kind]),
			 errhint("Add one with dupn_add_task and train again.")));
}

char *
image_config_text(const ModelImage *image)
{
	size_t		size = image->file.metadata_length + 1;
	char	   *text = palloc(size);
	void	   *scratch = palloc(NN_FILE_SCRATCH);

	if (nn_file_metadata(&image->file, "config", text, size, scratch, NN_FILE_SCRATCH) < 0)
		elog(ERROR, "version %d of model \"%s\" has lost its configuration", image->version, image->model_name);
	pfree(scratch);
	return text;
}

/* vocabulary_find answers for what is absent too, so compare the key. */
int32
catalogue_find(const Catalogue *catalogue, Cell key)
{
	/* free places of the index are CELL_NULL */
	int32		i = catalogue->n > 0 && key != CELL_NULL ? vocabulary_find(&catalogue->index, key) : -1;

	/* what is not found reads as an id that an item may have too */
	return i >= 0 && i < catalogue->n && (i != ID_UNKNOWN || catalogue->key[i] == key) ? i : -1;
}
