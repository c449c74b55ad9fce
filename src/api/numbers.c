/*-------------------------------------------------------------------------
 *
 * numbers.c
 *	  The features of a task from a row
 *
 *-------------------------------------------------------------------------
 */
#include "api/numbers.h"

#include <math.h>

void
numbers_make(Numbers *numbers, const nn_task *task, const ImageTask *names, MemoryContext context)
{
	numbers->task = task;
	numbers->names = names;
	numbers->attnum = MemoryContextAllocZero(context, sizeof(int) * (task->features + 1));
	numbers->type = MemoryContextAllocZero(context, sizeof(CellType) * (task->features + 1));
	numbers->value = MemoryContextAllocZero(context, sizeof(float) * (task->features + 1));
}

void
numbers_match(Numbers *numbers, const RecordReader *reader)
{
	const nn_task *task = numbers->task;

	for (int k = 0; k < task->features; k++)
	{
		bool		flipped;
		const char *name = feature_column(task->kind, numbers->names->feature[k], &flipped);
		int			attnum = row_column(reader->tupdesc, name);

		if (attnum == 0)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("the row has no column \"%s\", which task \"%s\" needs", name, task->name),
					 errhint("Give a row with the columns of the task's features.")));
		cell_type_init(&numbers->type[k], TupleDescAttr(reader->tupdesc, attnum - 1)->atttypid,
					   false, reader->context);
		if (numbers->type[k].kind == CELL_HASH || numbers->type[k].array)
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("column \"%s\" must be a number", name)));
		numbers->attnum[k] = attnum;
	}
}

void
numbers_read(Numbers *numbers, const RecordReader *reader)
{
	const ImageTask *names = numbers->names;

	for (int k = 0; k < numbers->task->features; k++)
	{
		int			at = numbers->attnum[k] - 1;
		double		number = cell_number(cell_from_datum(&numbers->type[k], reader->values[at], reader->isnull[at]),
										 numbers->type[k].kind);

		numbers->value[k] = isfinite(number) ? (float) ((number - names->mean[k]) * names->scale[k]) : 0;
	}
}
