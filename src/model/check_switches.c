/*-------------------------------------------------------------------------
 *
 * check_switches.c
 *	  Options that switch parts of the network off: do they fit together?
 *
 * What would change nothing is refused: a comparison of two models must not
 * turn out to be one of a model with itself.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "model/check.h"

static bool
is_given(const Model *model, const char *option)
{
	JsonbValue *value = model->options_json == NULL ? NULL :
		getKeyJsonValueFromContainer(&model->options_json->root, option, strlen(option), NULL);

	return value != NULL && value->type != jbvNull;
}

void
switches_check(const Model *model)
{
	const ModelOptions *options = &model->options;
	const char *pooling = nn_pooling_name[options->pooling];

	if (options->properties != NN_USE_BOTH && is_given(model, "uses"))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"uses\" cannot be given with \"properties\": \"%s\"",
						feature_use_name[options->properties]),
				 errhint("\"properties\" says it for all columns, \"uses\" for single ones.")));
	if (options->pooling == NN_POOL_ATTENTION)
		return;

	if (is_given(model, "attention"))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"attention\" cannot be given with \"pooling\": \"%s\"", pooling),
				 errdetail("The network has no attention then.")));
	if (options->properties == NN_USE_ATTENTION)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"properties\": \"attention\" cannot be given with \"pooling\": \"%s\"", pooling),
				 errdetail("The network has no attention then."),
				 errhint("Without attention behaviour columns can enter the \"gates\" or nothing (\"none\").")));
	if (model->n_context > 0 && !options->context_in_vector)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"context_columns\" have no effect with \"pooling\": \"%s\"", pooling),
				 errdetail("The context enters the attention and, with \"context_in_vector\", the user vector."),
				 errhint("Set \"context_in_vector\": true, or name no context columns.")));
}
