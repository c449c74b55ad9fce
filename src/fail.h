/*-------------------------------------------------------------------------
 *
 * fail.h
 *	  Named places where a test lets the server crash
 *
 *-------------------------------------------------------------------------
 */
#ifndef DUPN_FAIL_H
#define DUPN_FAIL_H

#include "settings.h"

/* Kill this process, which makes the server crash, if dupn.fail_point names the place. */
#define fail_point(name) \
	do { if (unlikely(dupn_fail_point[0] != '\0')) fail_here(name); } while (0)

extern void fail_here(const char *name);

#endif							/* DUPN_FAIL_H */
