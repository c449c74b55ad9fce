/*-------------------------------------------------------------------------
 *
 * vector.c
 *	  Making values of the type dupn_vector
 *
 *-------------------------------------------------------------------------
 */
#include "serve/vector.h"

#include "catalog/pg_type.h"

DupnVector *
vector_make(int32 model_id, int32 version, int64 fingerprint, TimestampTz as_of,
			int dim, const float *x)
{
	size_t		size = offsetof(DupnVector, x) + sizeof(float) * dim;
	DupnVector *vector = palloc0(size);

	Assert(dim >= 1 && dim <= VECTOR_MAX_DIM);
	SET_VARSIZE(vector, size);
	vector->model_id = model_id;
	vector->version = version;
	vector->dim = dim;
	vector->fingerprint = fingerprint;
	vector->as_of = as_of;
	if (x)
		memcpy(vector->x, x, sizeof(float) * dim);
	return vector;
}

ArrayType *
float_array(const float *x, int n)
{
	Datum	   *elements = palloc(sizeof(Datum) * n);
	ArrayType  *array;

	for (int i = 0; i < n; i++)
		elements[i] = Float4GetDatum(x[i]);
	array = construct_array(elements, n, FLOAT4OID, sizeof(float4), true, TYPALIGN_INT);
	pfree(elements);
	return array;
}
