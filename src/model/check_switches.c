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

/* Does an option about columns speak of this one? */
static bool
names_column(Jsonb *option, const char *column)
{
	return option != NULL && getKeyJsonValueFromContainer(&option->root, column, strlen(column), NULL) != NULL;
}

/* A key that is no feature: there must be others, and no option may speak of its table. */
static void
check_item_id(const Model *model)
{
	const ModelOptions *options = &model->options;
	const char *key = model->item_columns[0];

	if (model->n_item < 2)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"item_id\": false leaves nothing that tells items apart"),
				 errhint("Name more \"item_columns\" than the key, of the events or of the catalog.")));
	if (names_column(options->encodings, key) || names_column(options->widths, key) ||
		names_column(options->embeddings, key))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"%s\" speaks of the item key column \"%s\", which \"item_id\": false leaves out",
						names_column(options->encodings, key) ? "encodings" :
						names_column(options->widths, key) ? "widths" : "embeddings", key)));
	if (jsonb_object_has(model->options_json, "id_dropout"))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"id_dropout\" cannot be given with \"item_id\": false"),
				 errdetail("No item key is known then.")));
}

/* Some context column must be one of the events, and the caller may read it. */
static void
check_event_context(const Model *model)
{
	Oid			events = relation_oid(model->relations.events);
	bool		found = false;

	for (int i = 0; i < model->n_context; i++)
	{
		AttrNumber	attnum = relation_column(events, model->context_columns[i], NULL);

		if (attnum == InvalidAttrNumber)
			continue;
		check_select(model, events, attnum, model->context_columns[i]);
		found = true;
	}
	if (!found)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("\"event_context\": none of the context columns is in %s", model->relations.events),
				 errhint("It is for events that say what was asked before them, as the query that led to a click.")));
}

void
switches_check(const Model *model)
{
	const ModelOptions *options = &model->options;
	const char *pooling = nn_pooling_name[options->pooling];

	if (options->properties != NN_USE_BOTH && jsonb_object_has(model->options_json, "uses"))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"uses\" cannot be given with \"properties\": \"%s\"",
						feature_use_name[options->properties]),
				 errhint("\"properties\" says it for all columns, \"uses\" for single ones.")));
	if (options->event_context)
		check_event_context(model);
	if (!options->item_id && model->n_item > 0)
		check_item_id(model);
	if (options->pooling == NN_POOL_ATTENTION)
		return;

	if (jsonb_object_has(model->options_json, "attention"))
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
