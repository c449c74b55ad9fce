/*-------------------------------------------------------------------------
 *
 * hint.h
 *	  What may have been meant by a name that does not exist
 *
 *-------------------------------------------------------------------------
 */
#ifndef DUPN_HINT_H
#define DUPN_HINT_H

#include "compat.h"

/* The name nearest to `wanted`, or NULL when none is near. */
extern const char *closest_name(const char *wanted, const char *const *names, int n);

/*
 * A hint as a sentence: 'Perhaps you meant the column "x".', or, when nothing
 * is near, 'Columns are "a", "b".' built from what ("column") and the names.
 */
extern char *name_hint(const char *what, const char *wanted, const char *const *names, int n);

/* "a", "b", "c" */
extern char *quoted_list(const char *const *names, int n);

#endif							/* DUPN_HINT_H */
