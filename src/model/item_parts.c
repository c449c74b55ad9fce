/*-------------------------------------------------------------------------
 *
 * item_parts.c
 *	  What scores take from the items alone, for the whole catalogue
 *
 * A second mapped file of a version, of a model whose option "cache_items" is
 * true: for each task with a candidate one run of floats [J, width], where J
 * counts the catalogue's items and width is nn_part_width.
 *
 *-------------------------------------------------------------------------
 */
#include "model/image.h"

#include "model/blas.h"
#include "settings.h"
#include "utils/memutils.h"

#define BATCH	2048			/* items at a time */

/* Of a candidate with things of its own the item does not tell the part. */
static bool
has_parts(const nn_task *task)
{
	return task->n_candidate > 0 && !NN_IS_THING(task->candidate[task->n_candidate - 1]);
}

static size_t
part_bytes(const ModelImage *image, int t)
{
	if (!has_parts(&image->config.task[t]))
		return 0;
	return TYPEALIGN64(MAPPED_ALIGN, (size_t) image->catalogue.n * nn_part_width(&image->config, t) * sizeof(float));
}

static size_t
all_bytes(const ModelImage *image)
{
	size_t		bytes = 0;

	for (int t = 0; t < image->config.n_task; t++)
		bytes += part_bytes(image, t);
	return bytes;
}

typedef struct Maker
{
	const ModelImage *image;
	void		(*check) (void);
} Maker;

static void
make_part(MappedWriter *writer, const Maker *maker, int t, MemoryContext context)
{
	const ModelImage *image = maker->image;
	nn_run		run = {.config = &image->config,.layout = &image->layout,.param = image->param};
	nn_arena	arena = {0};
	nn_scorer	scorer;
	int64		item[BATCH];
	float	   *e,
			   *scratch,
			   *part;

	(void) nn_scorer_make(&run, t, &arena, &scorer);
	arena.size = arena.used;
	arena.base = huge_aligned(context, arena.size);
	arena.used = 0;
	if (nn_scorer_make(&run, t, &arena, &scorer) != NN_OK)
		elog(ERROR, "task \"%s\" cannot be taken apart", image->config.task[t].name);
	e = huge_aligned(context, sizeof(float) * BATCH * scorer.fields.width);
	scratch = huge_aligned(context, sizeof(float) * BATCH * scorer.inner);
	part = huge_aligned(context, sizeof(float) * BATCH * scorer.width);

	for (int64 first = 0; first < image->catalogue.n; first += BATCH)
	{
		int64		n = Min(BATCH, image->catalogue.n - first);

		for (int64 i = 0; i < n; i++)
			item[i] = first + i;
		nn_candidate_encode(&run, &scorer, image->catalogue.feature, item, n, e);
		if (nn_item_parts(&run, &scorer, n, e, scratch, part) != NN_OK)
			elog(ERROR, "items' parts of task \"%s\" could not be computed", image->config.task[t].name);
		mapped_write(writer, part, n * scorer.width * sizeof(float));
		if (maker->check)
			maker->check();
	}
	mapped_align(writer);
}

static void
make_items(MappedWriter *writer, void *argument)
{
	const Maker *maker = argument;
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "dupn items", ALLOCSET_DEFAULT_SIZES);

	blas_probe();
	for (int t = 0; t < maker->image->config.n_task; t++)
		if (has_parts(&maker->image->config.task[t]))
			make_part(writer, maker, t, context);
	MemoryContextDelete(context);
}

/* Does the version have items' parts, and the setting leave room for them? */
static bool
fits(const ModelImage *image)
{
	size_t		bytes = all_bytes(image);

	return bytes > 0 && image->file.size + bytes <= (size_t) dupn_max_mapped_size * 1024;
}

bool
items_attach(Mapped *mapped, const VersionRow *row, const ModelImage *image, void (*check) (void))
{
	Maker		maker = {.image = image,.check = check};
	size_t		bytes = all_bytes(image);

	if (!fits(image))
		return false;
	mapped_attach(mapped, row, MAPPED_ITEMS, bytes, make_items, &maker);
	if (mapped->size != bytes + MAPPED_TRAILER)
		elog(ERROR, "the file of items of %s has the wrong size", row->what);
	return true;
}

const float *
image_item_part(ModelImage *image, const Model *model, int task)
{
	if (!model->options.cache_items || part_bytes(image, task) == 0)
		return NULL;
	if (image->items == NULL && !fits(image))
		return NULL;
	if (image->items == NULL)
	{
		VersionRow	row = {.model_id = image->model_id,.version = image->version,.fingerprint = image->fingerprint,
			.bytes = image->file.size,
		.what = psprintf("version %d of model \"%s\"", image->version, image->model_name)};
		Mapped	   *mapped = mapped_in(image->context);

		if (items_attach(mapped, &row, image, NULL))
			image->items = mapped->data;
		else
			return NULL;
	}
	{
		const char *part = image->items;

		for (int t = 0; t < task; t++)
			part += part_bytes(image, t);
		return (const float *) part;
	}
}
