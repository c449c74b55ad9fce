/*-------------------------------------------------------------------------
 *
 * numbers.h
 *	  The features of a task from a row: numbers, scaled as in training
 *
 *-------------------------------------------------------------------------
 */
#ifndef DUPN_NUMBERS_H
#define DUPN_NUMBERS_H

#include "api/record.h"

typedef struct Numbers
{
	const nn_task *task;
	const ImageTask *names;
	int		   *attnum;			/* [F] columns of the row */
	CellType   *type;			/* [F] */
	float	   *value;			/* [F] of the row read last */
} Numbers;

/* The names are the image's; lives in context. */
extern void numbers_make(Numbers *numbers, const nn_task *task, const ImageTask *names, MemoryContext context);

/* Find the columns in a row of a type that is new; an error where one is lacking or no number. */
extern void numbers_match(Numbers *numbers, const RecordReader *reader);

/* The numbers of the row read last; what is not known is the mean. */
extern void numbers_read(Numbers *numbers, const RecordReader *reader);

#endif							/* DUPN_NUMBERS_H */
