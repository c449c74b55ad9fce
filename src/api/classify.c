/*-------------------------------------------------------------------------
 *
 * classify.c
 *	  dupn_classify: the probability of each class of a multiclass task
 *
 *-------------------------------------------------------------------------
 */
#include "api/numbers.h"

#include <math.h>

#include "utils/builtins.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(dupn_classify);
PG_FUNCTION_INFO_V1(dupn_classify_record);

typedef struct Class
{
	int			number;
	double		probability;
} Class;

static int
compare_classes(const void *a, const void *b)
{
	const Class *x = a;
	const Class *y = b;

	if (x->probability != y->probability)
		return x->probability > y->probability ? -1 : 1;
	return x->number - y->number;
}

/* Softmax, in double so that the probabilities sum to 1. */
static Class *
probabilities(const ImageTask *task, const float *logit, int n)
{
	Class	   *classes = palloc(sizeof(Class) * n);
	double		most = logit[0];
	double		sum = 0;

	for (int i = 1; i < n; i++)
		most = Max(most, logit[i]);
	for (int i = 0; i < n; i++)
	{
		classes[i].number = i;
		classes[i].probability = exp(image_calibrated(task, logit[i]) - image_calibrated(task, most));
		sum += classes[i].probability;
	}
	for (int i = 0; i < n; i++)
		classes[i].probability /= sum;
	qsort(classes, n, sizeof(Class), compare_classes);
	return classes;
}

/* The classes of a vector, the most probable first; features NULL: all are the mean. */
static Class *
classify(Session *session, int t, const float *vector, const float *features)
{
	const nn_task *task = &session->image->config.task[t];
	float	   *means = palloc0(sizeof(float) * (task->features + 1));
	nn_samples	samples = {.features = features ? features : means};
	nn_task_acts acts = {0};

	session_head(session, t, &samples, vector, &acts);
	pfree(means);
	return probabilities(&session->image->task[t], acts.logit, task->classes);
}

double
class_probability(Session *session, int task, int number, const float *vector)
{
	Class	   *classes = classify(session, task, vector, NULL);
	double		probability;
	int			i = 0;

	while (classes[i].number != number)
		i++;
	probability = classes[i].probability;
	pfree(classes);
	return probability;
}

/* The features of a task from a row of its samples. */
static const float *
row_features(Served *served, int t, HeapTupleHeader row)
{
	const nn_task *task = &served->image->config.task[t];
	RecordReader *reader = served->own;
	Numbers		numbers;

	if (reader == NULL)
		reader = served->own = MemoryContextAllocZero(served->context, sizeof(RecordReader));
	record_read(reader, served, row, "the sample");
	numbers_make(&numbers, task, &served->image->task[t], CurrentMemoryContext);
	numbers_match(&numbers, reader);
	numbers_read(&numbers, reader);
	return numbers.value;
}

/* (task, vector [, row]) */
static Datum
classify_call(FunctionCallInfo fcinfo, bool with_row)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	DupnVector *vector = PG_GETARG_DUPN_VECTOR(1);
	Served	   *served = served_vector(fcinfo, vector);
	const ModelImage *image = served->image;
	int			t = image_task(image, name);
	const nn_task *task = &image->config.task[t];
	const float *features = NULL;
	Class	   *classes;

	if (task->kind != NN_MULTICLASS)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("task \"%s\" is of kind \"%s\", not \"multiclass\"", name, nn_kind_name[task->kind]),
				 errhint("Ask it with %s.", task->kind == NN_NEXT_ITEM ? "dupn_recommend" : "dupn_score")));
	if (task->features > 0 && !with_row)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("task \"%s\" needs a row with its features", name),
				 errhint("Call dupn_classify(task, vector, row).")));
	if (with_row)
		features = row_features(served, t, PG_GETARG_HEAPTUPLEHEADER(2));

	InitMaterializedSRF(fcinfo, 0);
	classes = classify(session_get(served->image), t, vector->x, features);
	for (int i = 0; i < task->classes; i++)
	{
		Datum		values[2];
		bool		nulls[2] = {false};

		values[0] = CStringGetTextDatum(image->task[t].class_name[classes[i].number]);
		values[1] = Float4GetDatum((float4) classes[i].probability);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

PGDLLEXPORT Datum
dupn_classify(PG_FUNCTION_ARGS)
{
	return classify_call(fcinfo, false);
}

PGDLLEXPORT Datum
dupn_classify_record(PG_FUNCTION_ARGS)
{
	return classify_call(fcinfo, true);
}
