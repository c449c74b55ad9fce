/*-------------------------------------------------------------------------
 *
 * night.c
 *	  The job that goes on from the published version with what came since
 *
 * It is a training on the new rows alone, of one epoch at a lower rate, that
 * starts from the version's weights and the optimizer's state and lets its
 * vocabularies grow; its latest share of samples is held out as ever.  Where
 * that cannot be (nothing serves yet, the model has changed), and every so many
 * nights, it is a full training instead, so that this job is the only one to
 * schedule.
 *
 *-------------------------------------------------------------------------
 */
#include "train/night.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "fail.h"
#include "train/job.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

static void
check_tasks(const Model *model)
{
	if (model->n_tasks == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("model \"%s\" has no task", model->name),
				 errhint("Say what is to be predicted with dupn_add_task.")));
}

/* Returns the options that are the model's. */
static Jsonb *
parse_options(TrainOptions *own, Jsonb *options)
{
	Jsonb	   *others = train_options_parse(own, options);

	if (jsonb_object_has(options, "mode") || jsonb_object_has(options, "tasks"))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"%s\" does not apply to action \"finetune\"",
						jsonb_object_has(options, "mode") ? "mode" : "tasks"),
				 errhint("Some tasks of a version are trained by dupn_train.")));
	return others;
}

/* ---------------- what to do ---------------- */

typedef struct Fit
{
	Model		model;			/* a copy: what it leaves open is filled in */
	const ModelImage *base;
} Fit;

static void
check_fit(void *arg)
{
	Fit		   *fit = arg;

	base_check(&fit->model, fit->base);
}

/* Why a version does not fit the model as it is now; NULL: it does. */
static char *
find_misfit(const Model *model, const ModelImage *base)
{
	Fit			fit = {.model = *model,.base = base};
	ErrorData  *error = subtransaction_try(check_fit, &fit, false);

	if (error == NULL)
		return NULL;
	if (error->sqlerrcode != ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE)
		ReThrowError(error);
	return error->message;
}

Jsonb *
finetune_check(Model *model, Jsonb *options)
{
	TrainOptions own;
	Jsonb	   *others = parse_options(&own, options);
	int32		version = own.version;
	char	   *misfit;

	check_tasks(model);
	if (version == 0 && JB_ROOT_COUNT(others) > 0)
		version = model->published;
	misfit = version != 0 ? find_misfit(model, image_get(model, version)) : NULL;
	job_apply_options(model, others);

	/* this night would train all, and so would the next one, back again */
	if (version != 0 && misfit == NULL && (misfit = find_misfit(model, image_get(model, version))) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a night cannot change the network: %s", misfit),
				 errhint("Change the model with dupn_alter_model; the next night then trains all anew.")));
	return options;
}

/* Look at the version, and at what came since; why it must be a full training, NULL: a night will do. */
static char *
look(Night *night, const Model *model, int32 version)
{
	Oid			types[] = {INT4OID, INT4OID};
	Datum		values[2];
	Datum		row[3];
	bool		isnull[3];
	const ModelImage *base;
	char	   *misfit;

	night->version = version != 0 ? version : model->published;
	if (night->version == 0)
		return "there is no version to go on from";
	values[0] = Int32GetDatum(model->id);
	values[1] = Int32GetDatum(night->version);
	if (state_read("SELECT trained_until, nights, recent::pg_catalog.text FROM _dupn.version"
				   " WHERE model_id OPERATOR(pg_catalog.=) $1 AND version OPERATOR(pg_catalog.=) $2",
				   2, types, values, NULL, row, isnull) == 0 || isnull[0])
		return psprintf("version %d does not say until when it was trained", night->version);
	night->range.since = DatumGetTimestampTz(row[0]);
	night->nights = DatumGetInt32(row[1]) + 1;
	base = image_get(model, night->version);
	if ((misfit = find_misfit(model, base)) != NULL)
		return misfit;
	for (int t = 0; t < model->n_tasks; t++)
		if (image_find_task(base, model->task[t].name) < 0)
			return psprintf("version %d has no task \"%s\"", night->version, model->task[t].name);
	if (model->options.full_every > 0 && night->nights >= model->options.full_every)
		return psprintf("the last full training is %d nights ago", night->nights);
	night_look(night, model, isnull[2] ? NULL : TextDatumGetCString(row[2]));
	return NULL;
}

/* What is said of a night's pass is not meant for a training of all. */
static Jsonb *
for_all(Jsonb *options)
{
	return jsonb_object_merge(options, DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum("{\"epochs\": null, \"learning_rate\": null}"))));
}

void
finetune_run(Job *job)
{
	Night		night = {.range = ALL_TIMES};
	TrainOptions own;
	Jsonb	   *others = parse_options(&own, job->options);
	Model	   *model;
	char	   *reason;

	job_progress("looking for new rows", 0, 0, NULL);
	job_begin();
	MemoryContextSwitchTo(job->context);
	model = model_get_by_id(job->model_id, false);
	check_tasks(model);
	job_apply_options(model, others);
	reason = look(&night, model, own.version);
	job_commit();
	fail_point("finetune: looked");

	if (reason)
	{
		job_note("a full training: %s", reason);
		job->options = for_all(others);
		train_run(job);
	}
	else if (night.range.until <= night.range.since || night.events + night.samples == 0)
		job_note("nothing new since %s, when version %d was trained; there is no new version",
				 time_text(night.range.since), night.version);
	else
		train_night(job, &night);
}
