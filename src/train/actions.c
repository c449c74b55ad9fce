/*-------------------------------------------------------------------------
 *
 * actions.c
 *	  What a job can do
 *
 *-------------------------------------------------------------------------
 */
#include "train/job.h"

#include "hint.h"
#include "train/evaluate.h"
#include "train/night.h"
#include "train/refresh.h"
#include "train/transfer.h"

static Jsonb *
train_check(Model *model, Jsonb *options)
{
	Transfer	transfer;

	if (model->n_tasks == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("model \"%s\" has no task", model->name),
				 errhint("Say what is to be predicted with dupn_add_task.")));
	transfer_plan(&transfer, model, options, NULL);
	return options;
}

static const JobAction actions[] = {
	{.name = "train", .check = train_check, .run = train_run},
	{.name = "finetune", .check = finetune_check, .run = finetune_run, .skip = true, .retries = 3},
	{.name = "refresh", .check = refresh_check, .run = refresh_run},
	{.name = "evaluate", .check = evaluate_check, .run = evaluate_run},
	{.name = "compare", .check = compare_check, .run = compare_run},
	{.name = "baselines", .check = baselines_check, .run = baselines_run},
};

const JobAction *
job_action(const char *name)
{
	const char *known[lengthof(actions)];

	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("action must not be null")));
	for (int i = 0; i < lengthof(actions); i++)
	{
		if (strcmp(actions[i].name, name) == 0)
			return &actions[i];
		known[i] = actions[i].name;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unrecognized action \"%s\"", name),
			 errhint("%s", name_hint("action", name, known, lengthof(known)))));
}
