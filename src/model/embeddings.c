/*-------------------------------------------------------------------------
 *
 * embeddings.c
 *	  The option "embeddings": columns whose vectors a user already has
 *
 * {column: {"table": schema.table, "key": column, "column": column, "frozen": false}}
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "hint.h"
#include "model/check.h"
#include "parser/parse_coerce.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"

static void pg_attribute_noreturn()
malformed(const char *column, const char *wanted)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("\"embeddings\" of column \"%s\" must %s", column, wanted),
			 errhint("For example {\"%s\": {\"table\": \"public.vectors\", \"key\": \"id\", \"column\": \"vector\", \"frozen\": true}}.",
					 column)));
}

bool
embedding_source(const Model *model, const char *column, EmbeddingSource *source)
{
	Jsonb	   *option = model->options.embeddings;
	JsonbValue *value = option == NULL ? NULL :
		getKeyJsonValueFromContainer(&option->root, column, strlen(column), NULL);
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	entry;
	char	  **text = NULL;

	if (value == NULL || value->type == jbvNull)
		return false;
	if (value->type != jbvBinary || !JsonContainerIsObject(value->val.binary.data))
		malformed(column, "be an object");
	memset(source, 0, sizeof(*source));
	iterator = JsonbIteratorInit(value->val.binary.data);
	while ((token = JsonbIteratorNext(&iterator, &entry, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
		{
			char	   *name = pnstrdup(entry.val.string.val, entry.val.string.len);

			text = strcmp(name, "table") == 0 ? &source->table : strcmp(name, "key") == 0 ? &source->key :
				strcmp(name, "column") == 0 ? &source->column : NULL;
			if (text == NULL && strcmp(name, "frozen") != 0)
				malformed(column, psprintf("have the keys \"table\", \"key\", \"column\" and \"frozen\", not \"%s\"", name));
		}
		else if (token == WJB_VALUE && text != NULL)
		{
			if (entry.type != jbvString || entry.val.string.len == 0)
				malformed(column, "name its table and columns by strings");
			*text = pnstrdup(entry.val.string.val, entry.val.string.len);
		}
		else if (token == WJB_VALUE)
		{
			if (entry.type != jbvBool)
				malformed(column, "be frozen or not: true or false");
			source->frozen = entry.val.boolean;
		}
	}
	if (source->table == NULL || source->key == NULL || source->column == NULL)
		malformed(column, "have a \"table\", its \"key\" and its \"column\"");
	return true;
}

/* An array of numbers, or what can become one, as pgvector's type can. */
static void
check_vector_type(const EmbeddingSource *source, Oid type)
{
	Oid			element = get_element_type(getBaseType(type));
	Oid			function;

	if (element == FLOAT4OID || element == FLOAT8OID || element == NUMERICOID ||
		find_coercion_pathway(FLOAT4ARRAYOID, getBaseType(type), COERCION_EXPLICIT, &function) == COERCION_PATH_FUNC)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_DATATYPE_MISMATCH),
			 errmsg("embedding column \"%s\" of relation %s has type %s", source->column, source->table,
					format_type_be(type)),
			 errhint("Arrays of real, double precision or numeric, and types with a cast to real[], are vectors.")));
}

static void
check_source(const Model *model, const Feature *feature, const EmbeddingSource *source)
{
	RangeVar   *range = makeRangeVarFromNameList(dupn_name_list(source->table));
	Oid			relation;
	Oid			key;
	Oid			vector;
	AttrNumber	attnum[2];

	/* a job has another search_path */
	if (range->schemaname == NULL)
	{
		relation = RangeVarGetRelid(range, NoLock, true);
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"embeddings\" of column \"%s\" name table %s without its schema", feature->name, source->table),
				 OidIsValid(relation) ? errhint("Perhaps you meant %s.",
												quote_qualified_identifier(get_namespace_name(get_rel_namespace(relation)),
																		   get_rel_name(relation))) : 0));
	}
	relation = relation_oid(source->table);
	check_relation(relation, source->table);
	attnum[0] = check_column(relation, source->table, "key column", source->key, &key);
	attnum[1] = check_column(relation, source->table, "embedding column", source->column, &vector);
	if (feature->words[0] != '\0')
		check_same_key("key column", source->key, key, "the words of column", feature->name, TEXTOID);
	else
	{
		Oid			element = get_element_type(getBaseType(feature->type));

		check_same_key("key column", source->key, key, "column", feature->name,
					   OidIsValid(element) ? element : feature->type);
	}
	check_vector_type(source, vector);
	check_select(model, relation, attnum[0], source->key);
	check_select(model, relation, attnum[1], source->column);
}

void
embeddings_check(const Model *model, const FeatureSet *set)
{
	const char *names[NN_GROUPS * NN_MAX_FEATURES];
	int			n_names = 0;
	char	  **given;
	int			n;

	if (model->options.embeddings == NULL)
		return;
	for (int g = 0; g < NN_GROUPS; g++)
		for (int f = 0; f < set->n[g]; f++)
			if (set->f[g][f].encoding == ENCODE_ID && set->f[g][f].shares < 0)
				names[n_names++] = set->f[g][f].name;
	given = jsonb_object_names(model->options.embeddings, &n);
	for (int i = 0; i < n; i++)
	{
		const Feature *feature = NULL;
		EmbeddingSource source;

		for (int g = 0; g < NN_GROUPS; g++)
			for (int f = 0; f < set->n[g]; f++)
				if (set->f[g][f].encoding == ENCODE_ID && set->f[g][f].shares < 0 &&
					strcmp(set->f[g][f].name, given[i]) == 0)
					feature = &set->f[g][f];
		if (feature == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("option \"embeddings\" names \"%s\", which is no column with a table of ids", given[i]),
					 errhint("%s", name_hint("column", given[i], names, n_names))));
		if (!embedding_source(model, given[i], &source))
			continue;
		if (feature->dim > 0 && !(feature->group == NN_ITEM && model->options.item_sum))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("column \"%s\" has both \"widths\" and \"embeddings\"", feature->name),
					 errhint("Its width is that of the vectors.")));
		check_source(model, feature, &source);
	}
}
