/*-------------------------------------------------------------------------
 *
 * relation.c
 *	  What the user's relations have: columns by name, and what types can be
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_type.h"
#include "model/model.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/syscache.h"
#include "utils/varlena.h"

AttrNumber
relation_column(Oid relation, const char *column, Oid *type)
{
	AttrNumber	attnum = OidIsValid(relation) ? get_attnum(relation, column) : InvalidAttrNumber;

	if (attnum <= 0)
		attnum = InvalidAttrNumber; /* system columns are nobody's features */
	if (type != NULL)
		*type = attnum > 0 ? get_atttype(relation, attnum) : InvalidOid;
	return attnum;
}

const char **
relation_columns(Oid relation, int *n)
{
	const char **names = palloc(sizeof(char *) * MaxHeapAttributeNumber);

	*n = 0;
	for (int i = 1; i <= MaxHeapAttributeNumber; i++)
	{
		HeapTuple	tuple = SearchSysCache2(ATTNUM, ObjectIdGetDatum(relation), Int16GetDatum(i));

		if (!HeapTupleIsValid(tuple))
			break;
		if (!((Form_pg_attribute) GETSTRUCT(tuple))->attisdropped)
			names[(*n)++] = pstrdup(NameStr(((Form_pg_attribute) GETSTRUCT(tuple))->attname));
		ReleaseSysCache(tuple);
	}
	return names;
}

Oid
relation_oid_lenient(const char *name)
{
	RangeVar   *range = makeRangeVarFromNameList(dupn_name_list(name));
	Oid			schema = range->schemaname ? get_namespace_oid(range->schemaname, true) : InvalidOid;

	return OidIsValid(schema) ? get_relname_relid(range->relname, schema) : InvalidOid;
}

static TypeUse
scalar_use(Oid type)
{
	char		category;
	bool		preferred;

	switch (type)
	{
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case OIDOID:
		case BOOLOID:
		case UUIDOID:
		case CHAROID:
			return TYPE_ID;
		case FLOAT4OID:
		case FLOAT8OID:
		case NUMERICOID:
			return TYPE_NUMBER;
	}
	get_type_category_preferred(type, &category, &preferred);
	return category == TYPCATEGORY_STRING || category == TYPCATEGORY_ENUM ? TYPE_ID : TYPE_UNUSABLE;
}

TypeUse
type_use(Oid type)
{
	Oid			base = getBaseType(type);
	Oid			element = get_base_element_type(base);

	if (!OidIsValid(element))
		return scalar_use(base);
	return scalar_use(getBaseType(element)) == TYPE_ID ? TYPE_ID_ARRAY : TYPE_UNUSABLE;
}

bool
same_key_type(Oid left, Oid right)
{
	CellType	a,
				b;
	char		category_a,
				category_b;
	bool		preferred;

	cell_type_init(&a, left, true, CurrentMemoryContext);
	cell_type_init(&b, right, true, CurrentMemoryContext);
	if (a.element == b.element)
		return a.array == b.array;
	if (a.array || b.array || a.kind != b.kind || a.element == BOOLOID || b.element == BOOLOID)
		return false;
	if (a.kind == CELL_INTEGER)
		return true;
	get_type_category_preferred(a.element, &category_a, &preferred);
	get_type_category_preferred(b.element, &category_b, &preferred);
	return category_a == TYPCATEGORY_STRING && category_b == TYPCATEGORY_STRING;
}

bool
model_column(const Model *model, const char *column, FeatureSource *source, Oid *relation, Oid *type)
{
	Oid			found = relation_oid(model->relations.events);

	*source = FROM_EVENTS;
	if (relation_column(found, column, type) == InvalidAttrNumber)
	{
		if (model->relations.catalog == NULL)
			return false;
		*source = FROM_CATALOG;
		found = relation_oid(model->relations.catalog);
		if (relation_column(found, column, type) == InvalidAttrNumber)
			return false;
	}
	if (relation != NULL)
		*relation = found;
	return true;
}
