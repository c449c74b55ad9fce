/*-------------------------------------------------------------------------
 *
 * product.h
 *	  Matrix products on top of CBLAS
 *
 *-------------------------------------------------------------------------
 */
#ifndef DUPN_NN_PRODUCT_H
#define DUPN_NN_PRODUCT_H

#include "nn.h"

typedef enum nn_form
{
	NN_ABT,						/* A [m, k] times B [n, k] transposed: layer forward */
	NN_AB,						/* A [m, k] times B [k, n]: gradient of the input */
	NN_ATB						/* A [k, m] transposed times B [k, n]: gradient of weights */
} nn_form;

/*
 * C [m, n] = (or, with add, +=) the product.  lda, ldb, ldc are the floats from
 * one row to the next.  Any of m, n, k may be 0.  A product of one row or
 * column becomes matrix times vector, a large one is cut so that run->abort
 * is polled in time.
 */
extern nn_status nn_product(const nn_run *run, nn_form form, int64_t m, int64_t n, int64_t k,
							const float *a, int lda, const float *b, int ldb,
							bool add, float *c, int ldc);

/* a [rows, cols], ld floats from one row to the next, as transposed [cols, rows] */
extern void nn_transpose(size_t rows, size_t cols, const float *a, size_t ld,
						 float *transposed);

#endif							/* DUPN_NN_PRODUCT_H */
