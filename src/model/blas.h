/*-------------------------------------------------------------------------
 *
 * blas.h
 *	  What must be true before BLAS is called
 *
 *-------------------------------------------------------------------------
 */
#ifndef DUPN_BLAS_H
#define DUPN_BLAS_H

/*
 * Call before the first use of the network in a process.  Errors: out_of_memory
 * where BLAS could not map its buffer; without this check it would loop for
 * ever, deaf to cancellation.
 */
extern void blas_probe(void);

#endif							/* DUPN_BLAS_H */
