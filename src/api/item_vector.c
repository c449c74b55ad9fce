/*-------------------------------------------------------------------------
 *
 * item_vector.c
 *	  dupn_item_vector, dupn_retrieval_vector: next_item as an inner product
 *
 * The score of item j is query . e_j + b_j (NETWORK.md, Task heads), which is
 * [query ; 1] . [e_j ; b_j], so that any index for inner products finds the
 * best items.  The repeat and memory terms are not in it.
 *
 *-------------------------------------------------------------------------
 */
#include "api/record.h"
#include "serve/item_vectors.h"

PG_FUNCTION_INFO_V1(dupn_item_vector);
PG_FUNCTION_INFO_V1(dupn_retrieval_vector);

typedef struct ItemReader
{
	RecordReader record;
	Candidate	candidate;
} ItemReader;

/* (candidate, model, version) */
PGDLLEXPORT Datum
dupn_item_vector(PG_FUNCTION_ARGS)
{
	Served	   *served;
	const ModelImage *image;
	ItemReader *reader;
	bool		any;
	float	   *e;
	int			t;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	served = served_model(fcinfo, text_argument(fcinfo, 1), version_argument(fcinfo, 2));
	image = served->image;
	t = image_first_task(image, NN_NEXT_ITEM);
	if (served->own == NULL)
		served->own = MemoryContextAllocZero(served->context, sizeof(ItemReader));
	reader = served->own;
	(void) record_read(&reader->record, served, PG_GETARG_HEAPTUPLEHEADER(0), "the candidate");

	any = reader->record.rows->item_key > 0;
	for (int f = 0; f < image->set.n[NN_ITEM]; f++)
		any = any || reader->record.rows->column[NN_ITEM][f].attnum > 0;
	if (!any)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("the row has none of the item columns of model \"%s\"", served->model->name),
				 errhint("It needs at least the item's key \"%s\".", served->model->relations.item_key)));

	candidate_from_row(image, reader->record.rows, reader->record.values, reader->record.isnull,
					   image->set.n[NN_ITEM], NULL, &reader->candidate);
	e = palloc(sizeof(float) * (image->config.E + 1));
	item_vector(image, t, &reader->candidate, e);
	PG_RETURN_ARRAYTYPE_P(float_array(e, image->config.E + 1));
}

PGDLLEXPORT Datum
dupn_retrieval_vector(PG_FUNCTION_ARGS)
{
	DupnVector *vector = PG_GETARG_DUPN_VECTOR(0);
	Served	   *served = served_vector(fcinfo, vector);
	const ModelImage *image = served->image;
	nn_samples	samples = {0};
	nn_task_acts acts = {0};
	float	   *query = palloc(sizeof(float) * (image->config.E + 1));

	session_head(session_get(served->image), image_first_task(image, NN_NEXT_ITEM), &samples, vector->x, &acts);
	memcpy(query, acts.query, sizeof(float) * image->config.E);
	query[image->config.E] = 1;
	PG_RETURN_ARRAYTYPE_P(float_array(query, image->config.E + 1));
}
