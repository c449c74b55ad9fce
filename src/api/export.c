/*-------------------------------------------------------------------------
 *
 * export.c
 *	  dupn_export, dupn_export_pieces, dupn_import, dupn_import_pieces
 *
 *-------------------------------------------------------------------------
 */
#include "train/train.h"

#include "api/served.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fail.h"
#include "hint.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(dupn_export);
PG_FUNCTION_INFO_V1(dupn_export_pieces);
PG_FUNCTION_INFO_V1(dupn_import);
PG_FUNCTION_INFO_V1(dupn_import_pieces);

/* As many as an int counts are 2 TB; as hexadecimal text the largest is half a value. */
#define LEAST_PIECE	1024
#define MOST_PIECE	(256 * 1024 * 1024)

static ModelImage *
exported(FunctionCallInfo fcinfo)
{
	int32		version = version_argument(fcinfo, 1);
	Model	   *model = model_get(text_argument(fcinfo, 0));

	model_check_owner(model);
	return image_get(model, version);
}

static bytea *
part_of(const ModelImage *image, size_t begin, size_t bytes)
{
	bytea	   *part = palloc(VARHDRSZ + bytes);

	SET_VARSIZE(part, VARHDRSZ + bytes);
	memcpy(VARDATA(part), image->file.data + begin, bytes);
	return part;
}

/* (model, version) */
PGDLLEXPORT Datum
dupn_export(PG_FUNCTION_ARGS)
{
	ModelImage *image = exported(fcinfo);

	if (image->file.size > MaxAllocSize - VARHDRSZ)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("version %d of model \"%s\" has %zu bytes, more than a value may have",
						image->version, image->model_name, image->file.size),
				 errhint("dupn_export_pieces gives it in pieces.")));
	PG_RETURN_BYTEA_P(part_of(image, 0, image->file.size));
}

static int32
piece_argument(FunctionCallInfo fcinfo, int n)
{
	int32		bytes = PG_ARGISNULL(n) ? 0 : PG_GETARG_INT32(n);

	if (bytes < LEAST_PIECE || bytes > MOST_PIECE)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("piece_bytes must be between %d and %d", LEAST_PIECE, MOST_PIECE),
				 errhint("Left out, it is 16 MB.")));
	return bytes;
}

/* (model, version, piece_bytes) */
PGDLLEXPORT Datum
dupn_export_pieces(PG_FUNCTION_ARGS)
{
	FuncCallContext *call;
	ModelImage *image;

	if (SRF_IS_FIRSTCALL())
	{
		int32		piece_bytes = piece_argument(fcinfo, 2);
		MemoryContext caller;

		call = SRF_FIRSTCALL_INIT();
		caller = MemoryContextSwitchTo(call->multi_call_memory_ctx);
		if (get_call_result_type(fcinfo, NULL, &call->tuple_desc) != TYPEFUNC_COMPOSITE)
			elog(ERROR, "the result of dupn_export_pieces is not a row");
		call->tuple_desc = BlessTupleDesc(call->tuple_desc);
		image = exported(fcinfo);
		call->user_fctx = image;
		call->max_calls = (image->file.size + piece_bytes - 1) / piece_bytes;
		MemoryContextSwitchTo(caller);
	}
	call = SRF_PERCALL_SETUP();
	image = call->user_fctx;
	if (call->call_cntr < call->max_calls)
	{
		size_t		most = PG_GETARG_INT32(2);
		size_t		begin = call->call_cntr * most;
		Datum		values[] = {
			Int32GetDatum((int32) call->call_cntr + 1), Int32GetDatum((int32) call->max_calls),
			PointerGetDatum(part_of(image, begin, Min(most, image->file.size - begin)))
		};
		bool		nulls[lengthof(values)] = {false};

		SRF_RETURN_NEXT(call, HeapTupleGetDatum(heap_form_tuple(call->tuple_desc, values, nulls)));
	}
	SRF_RETURN_DONE(call);
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

/* A new version of the bytes of a file, whose context, or NULL, goes as soon as they were copied. */
static int32
import(Model *model, const ImportOptions *options, const void *data, size_t bytes, const char *what,
	   MemoryContext source)
{
	Repacked   *repacked = image_repack(data, bytes, model, what, CurrentMemoryContext);
	int32		version;
	Decision	decision = {0};

	if (source != NULL)
		MemoryContextDelete(source);
	check_tasks(model, repacked->image);
	base_check(model, repacked->image);

	/* that is published when its file is there */
	decision.text = options->publish ? "published: imported" : "waits: imported";
	version = version_import(model->id, model->options_json);
	image_insert(model->id, version, repacked->metadata, repacked->piece, repacked->n, check_interrupts);
	fail_point("import: stored");
	version_finish(model->id, version, &(VersionFacts) {
		.parameters = (int64) repacked->image->layout.floats, .items = repacked->image->catalogue.n,
		.cut = DT_NOBEGIN, .trained_until = DT_NOBEGIN, .since = DT_NOBEGIN
	}, &decision);
	if (options->publish)
	{
		/* a snapshot that sees the rows */
		CommandCounterIncrement();
		PushActiveSnapshot(GetTransactionSnapshot());
		image_prewarm(model->id, version, NULL);
		PopActiveSnapshot();
		version_publish(model->name, model->id, version);
	}
	return version;
}

/* The arguments that both forms have: (model, ..., options). */
static Model *
import_arguments(FunctionCallInfo fcinfo, const char *argument, ImportOptions *options)
{
	Model	   *model = model_get(text_argument(fcinfo, 0));

	model_check_owner(model);
	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", argument)));
	import_options_parse(options, PG_ARGISNULL(2) ? NULL : PG_GETARG_JSONB_P(2));
	return model;
}

/* (model, data, options) */
PGDLLEXPORT Datum
dupn_import(PG_FUNCTION_ARGS)
{
	ImportOptions options;
	Model	   *model = import_arguments(fcinfo, "data", &options);
	bytea	   *data = PG_GETARG_BYTEA_PP(1);

	PG_RETURN_INT32(import(model, &options, VARDATA_ANY(data), VARSIZE_ANY_EXHDR(data), "the file", NULL));
}

/* A column of the relation that has the pieces, of one of these types. */
static void
check_column(Oid relation, const char *name, const char *column, const char *type, int n, const Oid *types)
{
	Oid			found;
	bool		good = false;

	if (relation_column(relation, column, &found) == InvalidAttrNumber)
	{
		int			n_columns;
		const char **columns = relation_columns(relation, &n_columns);

		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("%s has no column \"%s\"", name, column),
				 errhint("Pieces are rows with columns \"piece\", a number from 1 on, and \"data\", of type bytea; its columns are %s.",
						 quoted_list(columns, n_columns))));
	}
	for (int i = 0; i < n; i++)
		good |= getBaseType(found) == types[i];
	if (!good)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" of %s must be of type %s, not %s", column, name, type,
						format_type_be(found))));
}

/* The statement that reads them, once it is known that it can. */
static char *
pieces_query(Oid relation, const char **name)
{
	char	   *table = get_rel_name(relation);

	if (table == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("the relation with the pieces does not exist"),
				 errdetail("Its OID is %u.", relation)));
	*name = psprintf("\"%s\"", table);
	check_column(relation, *name, "piece", "integer", 3, (Oid[]) {INT4OID, INT8OID, INT2OID});
	check_column(relation, *name, "data", "bytea", 1, (Oid[]) {BYTEAOID});
	return psprintf("SELECT piece::pg_catalog.int8, data FROM %s ORDER BY 1",
					quote_qualified_identifier(get_namespace_name(get_rel_namespace(relation)), table));
}

/* A row must be the next piece. */
static void
add_piece(Spool *spool, const char *name, int64 expected, HeapTuple row, TupleDesc columns)
{
	bool		no_piece,
				no_data;
	int64		piece = DatumGetInt64(SPI_getbinval(row, columns, 1, &no_piece));
	Datum		stored = SPI_getbinval(row, columns, 2, &no_data);
	bytea	   *data;

	if (no_piece || no_data)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 no_piece ? errmsg("a row of %s has no number", name) :
				 errmsg("piece " INT64_FORMAT " of %s is null", piece, name)));
	if (piece != expected)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 piece > expected ? errmsg("piece " INT64_FORMAT " of %s is missing", expected, name) :
				 piece > 0 ? errmsg("piece " INT64_FORMAT " of %s is there twice", piece, name) :
				 errmsg("%s has a piece " INT64_FORMAT, name, piece),
				 errhint("Pieces are numbered 1, 2, 3, as dupn_export_pieces numbers them.")));
	data = DatumGetByteaPP(stored);
	spool_add(spool, VARDATA_ANY(data), VARSIZE_ANY_EXHDR(data));
	if ((Pointer) data != DatumGetPointer(stored))
		pfree(data);
}

/* All pieces in order, as the caller, one in memory at a time; how many. */
static int64
read_pieces(Spool *spool, const char *query, const char *name)
{
	Portal		portal;
	int64		n = 0;

	spi_connect();
	portal = SPI_cursor_open_with_args(NULL, query, 0, NULL, NULL, NULL, true, CURSOR_OPT_NO_SCROLL);
	for (;;)
	{
		SPI_cursor_fetch(portal, true, 1);
		if (SPI_processed == 0)
			break;
		add_piece(spool, name, ++n, SPI_tuptable->vals[0], SPI_tuptable->tupdesc);
		SPI_freetuptable(SPI_tuptable);
	}
	SPI_cursor_close(portal);
	SPI_finish();
	return n;
}

/* (model, pieces, options) */
PGDLLEXPORT Datum
dupn_import_pieces(PG_FUNCTION_ARGS)
{
	ImportOptions options;
	Model	   *model = import_arguments(fcinfo, "pieces", &options);
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "dupn pieces", ALLOCSET_SMALL_SIZES);
	Spool	   *spool = spool_begin(context);
	const char *name;
	char	   *query = pieces_query(PG_GETARG_OID(1), &name);
	int64		n = read_pieces(spool, query, name);
	const void *data;
	size_t		bytes;

	data = spool_read(spool, &bytes);
	if (bytes == 0)
		ereport(ERROR,
				(errcode(ERRCODE_NO_DATA_FOUND),
				 errmsg("%s has no pieces", name),
				 errhint("Fill it with what dupn_export_pieces gives, or with a file in pieces.")));
	PG_RETURN_INT32(import(model, &options, data, bytes,
						   n == 1 ? psprintf("the file in the one piece of %s", name) :
						   psprintf("the file in the " INT64_FORMAT " pieces of %s", n, name), context));
}
