/*-------------------------------------------------------------------------
 *
 * features.c
 *	  dupn_feature_list: how a model reads each column
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "model/model.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(dupn_feature_list);

static char *
encoding_text(const FeatureSet *set, const Feature *feature)
{
	if (feature->shares >= 0)
		return psprintf("table of %s", set->f[NN_ITEM][feature->shares].name);
	if (feature->min_count == NEVER_ENOUGH)
		return pstrdup("key");
	if (feature->words[0] != '\0')
		return psprintf("words (%s)", feature->words);
	switch (feature->encoding)
	{
		case ENCODE_ID:
			return pstrdup(feature->multi ? "ids" : "id");
		case ENCODE_HASH:
			return psprintf("hash (" INT64_FORMAT ")", feature->buckets);
		case ENCODE_BANDS:
			return psprintf("bands (%d)", feature->bands);
		case ENCODE_FIXED:
			break;
	}
	return pstrdup("derived");
}

/*
 * What was learned comes from the version that serves.  A caller who does not
 * own the model gets no rows rather than an error: the planner of the view
 * dupn_features may call this before it looks at the owner.
 */
PGDLLEXPORT Datum
dupn_feature_list(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Model	   *model;
	FeatureSet *set;
	ModelImage *image = NULL;

	InitMaterializedSRF(fcinfo, 0);
	model = PG_ARGISNULL(0) ? NULL : model_get_by_id(PG_GETARG_INT32(0), true);
	if (model == NULL || !OidIsValid(model->owner_oid) || !has_privs_of_role(GetUserId(), model->owner_oid))
		return (Datum) 0;

	set = model_features_lenient(model, CurrentMemoryContext);
	if (model->published != 0)
		image = image_get(model, 0);

	for (int g = 0; g < NN_GROUPS; g++)
		for (int f = 0; f < set->n[g]; f++)
		{
			const Feature *feature = &set->f[g][f];
			Datum		values[8];
			bool		nulls[8] = {false};
			bool		gone = feature->encoding != ENCODE_FIXED && !OidIsValid(feature->type);

			values[0] = CStringGetTextDatum(nn_group_name[g]);
			values[1] = CStringGetTextDatum(feature->name);
			nulls[2] = nulls[3] = gone;
			values[2] = CStringGetTextDatum(feature_source_name[feature->source]);
			values[3] = CStringGetTextDatum(encoding_text(set, feature));
			nulls[4] = feature->type_name[0] == '\0';
			values[4] = CStringGetTextDatum(feature->type_name);
			nulls[5] = nulls[6] = true;
			for (int i = 0; image != NULL && i < image->set.n[g]; i++)
				if (strcmp(image->set.f[g][i].name, feature->name) == 0)
				{
					const nn_feature *learned = &image->config.feature[g][i];

					nulls[5] = nulls[6] = false;
					values[5] = Int64GetDatum(learned->vocab);
					values[6] = Int32GetDatum(learned->dim);
				}
			nulls[7] = g != NN_PROPERTY;
			values[7] = CStringGetTextDatum(feature_use_name[feature->use]);
			tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
		}
	return (Datum) 0;
}
