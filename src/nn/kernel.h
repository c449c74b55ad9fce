/*-------------------------------------------------------------------------
 *
 * kernel.h
 *	  The inner loops, compiled once per instruction set and chosen at run time
 *
 * A kernel is a function NN_KERNEL(name) of a file that kernel_<set>.c
 * includes, and a line of NN_KERNEL_LIST.  Everybody calls it through the
 * table of the set in use, by the name nn_<name>.  The files are plain C that
 * the compiler vectorises, so a set is only a compiler's target; the file
 * itself is compiled as the default.
 *
 * The choice is the library's only global state: the best set of this machine
 * from the moment it is loaded, another one after nn_kernels_use.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DUPN_NN_KERNEL_H
#define DUPN_NN_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NN_UNITS 16				/* units of a panel: a multiple of every set's vectors */
#define NN_PANEL (4 * NN_UNITS) /* columns of a panel of prepared weights */
#define NN_HALF_ROWS 3			/* sequences that 16-bit weights are for: more are bound by arithmetic */

#if defined(__x86_64__) && defined(__GNUC__)
#define NN_X86
#endif

/* What all elements of an optimizer's step have in common. */
typedef struct nn_step_rule
{
	float		scale;			/* of the gradient, from clipping */
	float		rate;			/* Adam: over the first moment's correction */
	float		beta1, beta2;
	float		root;			/* 1 / sqrt of the second moment's correction */
	float		epsilon;
} nn_step_rule;

/* type, name, arguments */
#define NN_KERNEL_LIST(K) \
	/* vector.c: elementwise; what they do is said in vector.h */ \
	K(void, vector_exp, (size_t n, const float *x, float *y)) \
	K(void, vector_sigmoid, (size_t n, const float *x, float *y)) \
	K(void, vector_tanh, (size_t n, const float *x, float *y)) \
	K(double, vector_exp_sum, (size_t n, const float *x, float shift, float *y)) \
	K(float, vector_max, (size_t n, const float *x)) \
	K(float, vector_dot, (size_t n, const float *x, const float *y)) \
	K(void, vector_matrix, (size_t rows, size_t cols, const float *x, const float *w, float *y)) \
	K(void, vector_sparse, (int n, const int32_t *place, size_t cols, const float *x, const float *w, float *y)) \
	K(void, vector_axpy, (size_t n, float a, const float *x, float *y)) \
	K(void, vector_scale, (size_t n, float a, float *x)) \
	K(void, vector_relu, (size_t n, float *x)) \
	K(void, vector_relu_sum, (size_t n, const float *x, const float *y, float *z)) \
	K(void, vector_relu_back, (size_t n, const float *y, float *dy)) \
	K(void, vector_column_sums, (size_t rows, size_t cols, const float *x, size_t ld, float *sum)) \
	/* cell.c: the LSTM's gates in training */ \
	K(void, cell_forward, (int H, float *z, const float *previous, float *c, float *h)) \
	K(void, cell_backward, (int H, float *z, const float *previous, const float *c, \
							const float *d_state, const float *dh, float *dc)) \
	/* panel.c: serving, with prepared weights */ \
	K(void, panel_sum, (int panels, int count, const float *const *rows, float *y)) \
	K(void, panel_product, (int64_t n, int K, const float *x, size_t ldx, int panels, const float *w, \
							float *y, size_t ldy, bool relu)) \
	K(void, panel_score, (int64_t n, int K, const float *x, size_t ldx, int panels, const float *w, \
						  const float *bias, const float *last, float *score)) \
	K(void, lstm_step, (int64_t n, int H, const float *const *previous, const float *recurrent, bool half, \
						bool backwards, const float *gate, float *c, float *const *state)) \
	/* tile.c: products in the second cache */ \
	K(bool, tile_product, (int64_t m, int64_t n, int64_t k, const float *a, int64_t row, int64_t col, \
						   const float *b, int64_t ldb, bool add, float *c, int64_t ldc)) \
	/* step.c: the rest of training */ \
	K(void, step_dropout, (size_t n, uint32_t key, uint32_t at, int32_t threshold, float scale, float *x)) \
	K(double, step_squares, (size_t n, const float *x)) \
	K(void, step_adam, (size_t n, const nn_step_rule *rule, float l2, const float *grad, \
						float *param, float *m, float *v)) \
	K(void, step_adagrad, (size_t n, const nn_step_rule *rule, float l2, const float *grad, \
						   float *param, float *v)) \
	K(void, step_relu_outer, (size_t rows, size_t n, const float *d, const float *w, float *x)) \
	K(void, step_relu_sum, (size_t rows, size_t n, const float *x, const float *y, float *z)) \
	K(void, step_outer, (size_t rows, size_t n, const float *x, const float *y, float *z)) \
	K(void, step_add_rows, (size_t n, int rows, const float *const *row, float *y))

/* A kernel's own name in each set */
#define NN_NAME_OF(name, set) nn_##name##_##set
#define NN_NAME_IN(name, set) NN_NAME_OF(name, set)
#ifndef NN_KERNEL_SET
#define NN_KERNEL_SET default
#endif
#define NN_KERNEL(name) NN_NAME_IN(name, NN_KERNEL_SET)

typedef struct nn_kernels
{
	const char *name;
#define NN_MEMBER(type, name, arguments) type (*name) arguments;
	NN_KERNEL_LIST(NN_MEMBER)
#undef NN_MEMBER
} nn_kernels;

#define NN_DECLARE(type, name, arguments) \
	extern type NN_NAME_OF(name, default) arguments; \
	extern type NN_NAME_OF(name, avx2) arguments; \
	extern type NN_NAME_OF(name, avx512) arguments;
NN_KERNEL_LIST(NN_DECLARE)
#undef NN_DECLARE

extern const nn_kernels *nn_kernel; /* in use */

#define nn_cell_forward			nn_kernel->cell_forward
#define nn_cell_backward		nn_kernel->cell_backward
#define nn_panel_sum			nn_kernel->panel_sum
#define nn_panel_product		nn_kernel->panel_product
#define nn_panel_score			nn_kernel->panel_score
#define nn_lstm_step			nn_kernel->lstm_step
#define nn_tile_product			nn_kernel->tile_product
#define nn_step_dropout			nn_kernel->step_dropout
#define nn_step_squares			nn_kernel->step_squares
#define nn_step_adam			nn_kernel->step_adam
#define nn_step_adagrad			nn_kernel->step_adagrad
#define nn_step_relu_outer		nn_kernel->step_relu_outer
#define nn_step_relu_sum		nn_kernel->step_relu_sum
#define nn_step_outer			nn_kernel->step_outer
#define nn_step_add_rows		nn_kernel->step_add_rows

/* ------------------------------------------------------------------------
 * The choice: kernel.c
 * ------------------------------------------------------------------------ */

#define NN_MAX_KERNELS 4

/* The sets that this machine can run, the best first, behind "auto"; how many. */
extern int	nn_kernels_available(const char *names[NN_MAX_KERNELS]);

/* "auto" or one of those; false, and no change, for any other. */
extern bool nn_kernels_use(const char *name);
extern const char *nn_kernels_name(void);

#endif							/* DUPN_NN_KERNEL_H */
