/*-------------------------------------------------------------------------
 *
 * report.c
 *	  Metrics as rows of _dupn, and those that sentences quote
 *
 *-------------------------------------------------------------------------
 */
#include "train/report.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "train/resample.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"

static void
set_number(Datum *values, char *nulls, int at, double value)
{
	values[at] = Float8GetDatum(value);
	nulls[at] = isfinite(value) ? ' ' : 'n';
}

/* [[mean probability, rate, samples], ...], or nothing. */
static void
set_bins(Datum *values, char *nulls, int at, const Calibration *bins)
{
	StringInfoData json;

	nulls[at] = bins ? ' ' : 'n';
	if (bins == NULL)
		return;
	initStringInfo(&json);
	for (int i = 0; i < bins->n; i++)
		appendStringInfo(&json, "%s[%.9g, %.9g, " INT64_FORMAT "]", i > 0 ? ", " : "[",
						 bins->probability[i], bins->rate[i], bins->samples[i]);
	appendStringInfoChar(&json, ']');
	values[at] = DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data));
}

void
metrics_store(const Metrics *metrics, const Model *model, int32 version, int64 evaluation)
{
	const char *sql = evaluation ?
		"INSERT INTO _dupn.evaluation_metric (job_id, task, source, metric, slice,"
		" value, low, high, difference, difference_low, difference_high, samples, bins)"
		" VALUES ($1, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)" :
		"INSERT INTO _dupn.metric (model_id, version, task, source, metric, slice,"
		" value, low, high, difference, difference_low, difference_high, samples, bins)"
		" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)";

	for (int i = 0; i < metrics->n; i++)
	{
		const Metric *m = &metrics->metric[i];
		Oid			types[] = {INT8OID, INT4OID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, FLOAT8OID, FLOAT8OID,
		FLOAT8OID, FLOAT8OID, FLOAT8OID, FLOAT8OID, INT8OID, JSONBOID};
		Datum		values[14];
		char		nulls[] = "              ";

		values[0] = Int64GetDatum(evaluation ? evaluation : model->id);
		values[1] = Int32GetDatum(version);
		values[2] = CStringGetTextDatum(model->task[m->task].name);
		values[3] = CStringGetTextDatum(m->source);
		values[4] = CStringGetTextDatum(m->metric);
		values[5] = CStringGetTextDatum(m->slice);
		set_number(values, nulls, 6, m->value);
		set_number(values, nulls, 7, m->low);
		set_number(values, nulls, 8, m->high);
		set_number(values, nulls, 9, m->difference);
		set_number(values, nulls, 10, m->difference_low);
		set_number(values, nulls, 11, m->difference_high);
		values[12] = Int64GetDatum(m->n);
		set_bins(values, nulls, 13, m->bins);
		state_execute(sql, 14, types, values, nulls, NULL, NULL);
	}
}

static const char *
main_metric(const ModelTask *task)
{
	switch (task->kind)
	{
		case NN_BINARY:
		case NN_RANK:
			return "auc";
		case NN_MULTICLASS:
			return "accuracy";
		case NN_NEXT_ITEM:
			break;
	}
	return psprintf("hr@%d", task_main_k(task));
}

void
metrics_main(const Metrics *metrics, const Model *model, int t, const char *other,
			 const Metric **first, const Metric **best)
{
	const char *name = main_metric(&model->task[t]);

	*first = *best = NULL;
	for (int i = 0; i < metrics->n; i++)
	{
		const Metric *m = &metrics->metric[i];

		if (m->task != t || strcmp(m->metric, name) != 0 || strcmp(m->slice, slice_name[SLICE_ALL]) != 0)
			continue;
		if (*first == NULL)
			*first = m;
		else if (other ? strcmp(m->source, other) != 0 :
				 strcmp(m->source, SOURCE_ALONE) == 0 || strcmp(m->source, SOURCE_PARENT) == 0)
			continue;
		else if (*best == NULL || m->value > (*best)->value)
			*best = m;
	}
}
