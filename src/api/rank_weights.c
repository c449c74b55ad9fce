/*-------------------------------------------------------------------------
 *
 * rank_weights.c
 *	  dupn_rank_weights: what a rank task's features count for a user
 *
 * The weights are those of the numbers as the network reads them: less their
 * mean, over their standard deviation, in the samples of the training, and of
 * a feature declared with '-' flipped.  So they can be compared with each other.
 * They are those of the calibrated score.
 *
 *-------------------------------------------------------------------------
 */
#include "api/served.h"

#include "utils/builtins.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(dupn_rank_weights);

PGDLLEXPORT Datum
dupn_rank_weights(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	DupnVector *vector = PG_GETARG_DUPN_VECTOR(1);
	Served	   *served = served_vector(fcinfo, vector);
	const ModelImage *image = served->image;
	Session    *session = session_get(served->image);
	int			t = image_task(image, name);
	const nn_task *task = &image->config.task[t];
	const nn_scorer *scorer;
	float	   *weight;

	if (task->kind != NN_RANK)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("task \"%s\" is of kind \"%s\", not \"rank\"", name, nn_kind_name[task->kind]),
				 errhint("Ask it with %s.", task->kind == NN_NEXT_ITEM ? "dupn_recommend" :
						 task->kind == NN_MULTICLASS ? "dupn_classify" : "dupn_score")));

	InitMaterializedSRF(fcinfo, 0);
	scorer = session_scorer(session, t);
	weight = palloc(sizeof(float) * scorer->width);
	session_user_part(session, scorer, vector->x, weight);
	for (int i = 0; i < task->features; i++)
	{
		Datum		values[2];
		bool		nulls[2] = {false};

		values[0] = CStringGetTextDatum(image->task[t].feature[i]);
		values[1] = Float4GetDatum(weight[i] * image->task[t].calibration[0]);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}
