/*-------------------------------------------------------------------------
 *
 * course.h
 *	  What an epoch visits, and in which order
 *
 *-------------------------------------------------------------------------
 */
#ifndef DUPN_COURSE_H
#define DUPN_COURSE_H

#include "train/train.h"

/*
 * What is trained on in one sequence: moments of one user, whose prefixes begin
 * at row `start` (NETWORK.md, Stretches).  They are those of [first, first +
 * span) that come from one of the sources.
 */
typedef struct Stretch
{
	int64		start;
	int64		first;
	int32		span;
	int32		n;				/* moments */
	int32		length;			/* rows of the sequence: the longest prefix */
	uint32		sources;		/* bits of moment_source */
} Stretch;

/* Where a moment comes from: the events, or the samples of a task. */
static inline uint32
moment_source(const Moment *moment)
{
	return (uint32) 1 << (moment->task + 1);
}

/* A set of tasks has a bit 1 << t for each. */
#define ALL_TASKS	((uint32) -1)

typedef struct Course Course;

/*
 * Cut the moments of some splits (bits 1 << Split) that some tasks (bits 1 << t)
 * learn from into stretches of at most `most` moments.
 *
 * temperature 1: each is visited once an epoch.  T > 1: of n moments an epoch
 * visits n still, but those of a source with n_s of them n_s^(1/T) / sum of
 * n^(1/T) times n, so that small sources come more often and large ones seldom.
 */
extern Course *course_make(const Dataset *data, const Moments *moments, int splits, uint32 tasks, int most,
					   double temperature, MemoryContext context);
extern void course_free(Course *course);

/* Begin an epoch, in an order of its own; how many visits it has. */
extern int64 course_begin(Course *course, uint64 *random);
extern Stretch course_visit(const Course *course, int64 i);

/* All of them by user and time; valid until the next column is read or written. */
extern const Stretch *course_stretches(const Course *course, int64 *n);

/* Moments of an epoch. */
extern int64 course_moments(const Course *course);

#endif							/* DUPN_COURSE_H */
