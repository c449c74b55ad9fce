/*-------------------------------------------------------------------------
 *
 * vector.h
 *	  The type dupn_vector
 *
 *-------------------------------------------------------------------------
 */
#ifndef DUPN_VECTOR_H
#define DUPN_VECTOR_H

#include "compat.h"

#include "datatype/timestamp.h"
#include "nn/nn.h"
#include "utils/array.h"

/* R is at most two directions of states, a profile and a context. */
#define VECTOR_MAX_DIM	(4 * NN_MAX_WIDTH)

/* The model, the version and the moment are part of the value: no head but that
 * version's may score it. */
typedef struct DupnVector
{
	int32		vl_len_;
	int32		model_id;
	int32		version;
	uint16		dim;
	uint16		reserved;		/* 0 */
	int64		fingerprint;	/* of the version's content, 63 bits */
	TimestampTz as_of;			/* finite */
	float		x[FLEXIBLE_ARRAY_MEMBER];
} DupnVector;

#define PG_GETARG_DUPN_VECTOR(n) ((DupnVector *) PG_DETOAST_DATUM(PG_GETARG_DATUM(n)))

/* A vector of dim (1 .. VECTOR_MAX_DIM) floats, copied from x where x is not NULL. */
extern DupnVector *vector_make(int32 model_id, int32 version, int64 fingerprint, TimestampTz as_of,
							   int dim, const float *x);

/* real[] of n floats */
extern ArrayType *float_array(const float *x, int n);

#endif							/* DUPN_VECTOR_H */
