/*-------------------------------------------------------------------------
 *
 * tap.h
 *	  The Test Anything Protocol for C programs
 *
 *-------------------------------------------------------------------------
 */
#ifndef DUPN_TAP_H
#define DUPN_TAP_H

#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>

static int	tap_planned;
static int	tap_run;
static int	tap_failed;

/* How many tests will run. */
static inline void
plan(int tests)
{
	tap_planned = tests;
	printf("1..%d\n", tests);
}

static inline bool ok(bool passed, const char *name,...) __attribute__((format(printf, 2, 3)));

static inline bool
ok(bool passed, const char *name,...)
{
	va_list		arguments;

	tap_run++;
	tap_failed += !passed;
	printf("%sok %d - ", passed ? "" : "not ", tap_run);
	va_start(arguments, name);
	vprintf(name, arguments);
	va_end(arguments);
	printf("\n");
	fflush(stdout);
	return passed;
}

static inline bool is_close(double got, double want, double tolerance, const char *name,...)
	__attribute__((format(printf, 4, 5)));

/* |got - want| <= tolerance; a NaN is never close. */
static inline bool
is_close(double got, double want, double tolerance, const char *name,...)
{
	bool		passed = fabs(got - want) <= tolerance || got == want;
	char		text[256];
	va_list		arguments;

	va_start(arguments, name);
	vsnprintf(text, sizeof(text), name, arguments);
	va_end(arguments);
	ok(passed, "%s", text);
	if (!passed)
		printf("# got %.9g, want %.9g within %g\n", got, want, tolerance);
	return passed;
}

/* The larger of two errors; a NaN, which comparisons would lose, is infinite. */
static inline double
worse(double x, double y)
{
	return isnan(x) || isnan(y) ? INFINITY : x > y ? x : y;
}

/* The exit status: 0 when all planned tests ran and passed. */
static inline int
done(void)
{
	if (tap_run != tap_planned)
		printf("# %d tests were planned, %d ran\n", tap_planned, tap_run);
	return tap_failed > 0 || tap_run != tap_planned;
}

#endif							/* DUPN_TAP_H */
