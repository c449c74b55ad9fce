/*-------------------------------------------------------------------------
 *
 * weights.c
 *	  What labels and behaviour types weigh in the loss
 *
 * "label_weights" names classes as dupn_classify prints them, or as the label's
 * own type reads them ("true" of a boolean, which prints t); levels are named
 * "level 1", the lowest, and on.  "type_weights" names values of the first
 * behaviour column.  Whatever is not named weighs 1.
 *
 *-------------------------------------------------------------------------
 */
#include "train/dataset.h"

#include "hint.h"
#include "utils/builtins.h"

/* The number of a level by its name, else -1. */
static int
level_number(const char *name)
{
	int			number;
	int			end = 0;

	return sscanf(name, "level %d%n", &number, &end) == 1 && name[end] == '\0' ? number - 1 : -1;
}

/* type NULL: all are levels. */
static void
read_cells(Build *build, const NamedWeights *named, CellWeights *weights, CellType *type, bool levels)
{
	weights->n = named->n;
	weights->cell = MemoryContextAlloc(build->context, sizeof(Cell) * named->n);
	weights->found = MemoryContextAllocZero(build->context, sizeof(bool) * named->n);
	for (int i = 0; i < named->n; i++)
		weights->cell[i] = type == NULL || (levels && level_number(named->name[i]) >= 0) ? CELL_NULL :
			cell_from_input(type, named->name[i]);
	for (int i = 0; i < named->n; i++)
		for (int k = 0; k < i && weights->cell[i] != CELL_NULL; k++)
			if (weights->cell[k] == weights->cell[i])
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("weights are given for \"%s\" and for \"%s\", which are the same",
								named->name[k], named->name[i]),
						 errhint("Name each label and each type once.")));
}

void
weights_read_labels(Build *build, int t, Oid label_type)
{
	const ModelTask *task = &build->data->model->task[t];
	CellType	type;

	if (task->options.label_weights == NULL || task->kind != NN_MULTICLASS)
		return;
	cell_type_init(&type, label_type, true, CurrentMemoryContext);
	read_cells(build, task->options.label_weights, &build->label_weights[t],
			   type_use(label_type) == TYPE_NUMBER ? NULL : &type, type.kind == CELL_INTEGER);
}

void
weights_read_types(Build *build, int t)
{
	const NamedWeights *named = build->data->model->task[t].options.type_weights;
	const Feature *feature = &build->data->set->f[NN_PROPERTY][0];
	CellType	type;

	if (named == NULL)
		return;
	cell_type_init(&type, feature->type, feature->encoding != ENCODE_BANDS, CurrentMemoryContext);
	read_cells(build, named, &build->type_weights[t], &type, false);
}

/* The class that a weight names, -1: none. */
static int
named_class(const Levels *levels, const char *name, Cell cell)
{
	int			level = level_number(name);

	if (levels->number)
		return level < levels->classes ? level : -1;
	return cell == CELL_NULL ? -1 : levels_class(levels, cell, 0, CELL_NULL);
}

void
weights_learn(Build *build)
{
	Dataset    *data = build->data;

	for (int t = 0; t < data->model->n_tasks; t++)
	{
		const ModelTask *task = &data->model->task[t];
		const NamedWeights *named = task->options.label_weights;
		const Levels *levels = &data->levels[t];
		int			classes = task->kind == NN_MULTICLASS ? levels->classes : 2;
		float	   *weight;

		if (named == NULL)
			continue;
		weight = MemoryContextAlloc(data->context, sizeof(float) * classes);
		for (int c = 0; c < classes; c++)
			weight[c] = 1;
		for (int i = 0; i < named->n; i++)
		{
			bool		truth;
			int			class;

			if (task->kind == NN_MULTICLASS)
				class = named_class(levels, named->name[i], build->label_weights[t].cell[i]);
			else
				class = parse_bool(named->name[i], &truth) ? truth : -1;
			if (class < 0)
				ereport(ERROR,
						(errcode(ERRCODE_UNDEFINED_OBJECT),
						 errmsg("task \"%s\": option \"label_weights\" names \"%s\", which is no class before the hold-out",
								task->name, named->name[i]),
						 errhint("%s", levels->number ? psprintf("Classes are \"level 1\" to \"level %d\".", levels->classes) :
								 name_hint("class", named->name[i], (const char *const *) levels->class_name, levels->classes))));
			weight[class] = (float) named->weight[i];
		}
		data->label_weight[t] = weight;
	}
}

float
weights_of_type(Build *build, int t, int64 row, const RawItem *item)
{
	CellWeights *weights = &build->type_weights[t];
	const Cell *cells;

	if (event_cells(build, row, item, NN_PROPERTY, 0, &cells) == 1 && cells[0] != CELL_NULL)
		for (int i = 0; i < weights->n; i++)
			if (weights->cell[i] == cells[0])
			{
				weights->found[i] = true;
				return (float) build->data->model->task[t].options.type_weights->weight[i];
			}
	return 1;
}

void
weights_check_types(const Build *build)
{
	const FeatureSet *set = build->data->set;

	/* other events than those of the training need not have them */
	for (int t = 0; t < build->data->model->n_tasks && build->base == NULL; t++)
	{
		const ModelTask *task = &build->data->model->task[t];

		for (int i = 0; i < build->type_weights[t].n; i++)
			if (!build->type_weights[t].found[i])
				ereport(ERROR,
						(errcode(ERRCODE_UNDEFINED_OBJECT),
						 errmsg("task \"%s\": option \"type_weights\" names \"%s\", which no event has as its \"%s\"",
								task->name, task->options.type_weights->name[i], set->f[NN_PROPERTY][0].name),
						 errhint("Types are compared as they are stored, upper and lower case included.")));
	}
}
