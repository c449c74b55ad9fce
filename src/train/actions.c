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
	{"train", train_check, train_run},
	{"finetune", finetune_check, finetune_run},
	{"refresh", refresh_check, refresh_run},
	{"evaluate", evaluate_check, evaluate_run},
	{"compare", compare_check, compare_run},
	{"baselines", baselines_check, baselines_run},
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
