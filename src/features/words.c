/*-------------------------------------------------------------------------
 *
 * words.c
 *	  A text as a bag of words
 *
 * PostgreSQL's own parser and dictionaries make lexemes of a text, as
 * to_tsvector does: a query and a title that mean the same words get the same
 * ids.  A configuration is kept by name, since its oid is another one after a
 * dump, and looked up for each text, so that one that was dropped is noticed.
 *
 *-------------------------------------------------------------------------
 */
#include "features/feature.h"

#include "catalog/namespace.h"
#include "nodes/value.h"
#include "tsearch/ts_utils.h"
#include "utils/builtins.h"
#include "utils/varlena.h"

/* A configuration by its name; without a schema it is one of PostgreSQL's own. */
static Oid
find_configuration(const char *name)
{
	char	   *copy = pstrdup(name);
	List	   *parts = NIL;
	List	   *names = NIL;
	ListCell   *cell;
	Oid			configuration = InvalidOid;

	if (SplitIdentifierString(copy, '.', &parts) && list_length(parts) >= 1 && list_length(parts) <= 2)
	{
		if (list_length(parts) == 1)
			names = lappend(names, makeString(pstrdup("pg_catalog")));
		foreach(cell, parts)
			names = lappend(names, makeString((char *) lfirst(cell)));
		configuration = get_ts_config_oid(names, true);
	}
	list_free(parts);
	list_free_deep(names);
	if (!OidIsValid(configuration))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("text search configuration \"%s\" does not exist", name),
				 errhint("Name one of those that psql's \\dF lists, those of other schemas than pg_catalog with their schema.")));
	pfree(copy);
	return configuration;
}

void
words_check(const char *configuration)
{
	(void) find_configuration(configuration);
}

int
words_cells(const char *configuration, const char *string, int length, Cell *cells)
{
	Oid			oid = find_configuration(configuration);
	ParsedText	parsed = {.lenwords = 32};
	int			n = 0;

	parsed.words = palloc(sizeof(ParsedWord) * parsed.lenwords);
	parsetext(oid, &parsed, unconstify(char *, string), length);
	for (int i = 0; i < parsed.curwords; i++)
	{
		ParsedWord *word = &parsed.words[i];
		Cell		cell = cell_from_bytes(word->word, word->len);
		bool		fresh = n < NN_MAX_BAG;

		for (int k = 0; k < n && fresh; k++)
			fresh = cells[k] != cell;
		if (fresh)
			cells[n++] = cell;
		pfree(word->word);
	}
	pfree(parsed.words);
	return n;
}

char *
words_sql(const char *configuration, const char *column)
{
	return psprintf("pg_catalog.tsvector_to_array(pg_catalog.to_tsvector(%u::pg_catalog.regconfig, (%s)::pg_catalog.text))",
					find_configuration(configuration), column);
}
