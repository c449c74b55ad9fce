/*-------------------------------------------------------------------------
 *
 * export.c
 *	  dupn_export, dupn_import
 *
 *-------------------------------------------------------------------------
 */
#include "train/train.h"

#include "api/served.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(dupn_export);
PG_FUNCTION_INFO_V1(dupn_import);

/* (model, version) */
PGDLLEXPORT Datum
dupn_export(PG_FUNCTION_ARGS)
{
	int32		version = version_argument(fcinfo, 1);
	Model	   *model = model_get(text_argument(fcinfo, 0));
	ModelImage *image;
	bytea	   *bytes;

	model_check_owner(model);
	image = image_get(model, version);
	if (image->file.size > MaxAllocSize - VARHDRSZ)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("version %d of model \"%s\" has %zu bytes, more than a value may have",
						image->version, model->name, image->file.size),
				 errhint("pg_dump carries versions of any size to another server.")));
	bytes = palloc(VARHDRSZ + image->file.size);
	SET_VARSIZE(bytes, VARHDRSZ + image->file.size);
	memcpy(VARDATA(bytes), image->file.data, image->file.size);
	PG_RETURN_BYTEA_P(bytes);
}

/* Every task of the file must be one of the model's. */
static void
check_tasks(const Model *model, const ModelImage *image)
{
	for (int k = 0; k < image->config.n_task; k++)
	{
		const nn_task *task = &image->config.task[k];

		if (model_find_task(model, task->name) < 0)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("model \"%s\" has no task \"%s\", which the file has", model->name, task->name),
					 errhint("Add it with dupn_add_task: it is of kind \"%s\".", nn_kind_name[task->kind])));
	}
}

static void
check_interrupts(void)
{
	CHECK_FOR_INTERRUPTS();
}

/* (model, data, options) */
PGDLLEXPORT Datum
dupn_import(PG_FUNCTION_ARGS)
{
	Model	   *model = model_get(text_argument(fcinfo, 0));
	ImportOptions options;
	bytea	   *data;
	Repacked   *repacked;
	int32		version;

	model_check_owner(model);
	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("data must not be null")));
	import_options_parse(&options, PG_ARGISNULL(2) ? NULL : PG_GETARG_JSONB_P(2));
	data = PG_GETARG_BYTEA_PP(1);
	repacked = image_repack(VARDATA_ANY(data), VARSIZE_ANY_EXHDR(data), model, "the file", CurrentMemoryContext);
	check_tasks(model, repacked->image);
	base_check(model, repacked->image);

	version = version_import(model->id, model->options_json);
	image_insert(model->id, version, repacked->metadata, repacked->piece, repacked->n, check_interrupts);
	version_finish(model->id, version, &(VersionFacts) {
		.parameters = (int64) repacked->image->layout.floats, .items = repacked->image->catalogue.n,
		.cut = DT_NOBEGIN, .trained_until = DT_NOBEGIN, .since = DT_NOBEGIN
	}, false);
	if (options.publish)
	{
		/* a snapshot that sees the rows */
		CommandCounterIncrement();
		PushActiveSnapshot(GetTransactionSnapshot());
		image_prewarm(model->id, version, NULL);
		PopActiveSnapshot();
		version_publish(model->name, model->id, version);
	}
	PG_RETURN_INT32(version);
}
