/*-------------------------------------------------------------------------
 *
 * hint.c
 *	  What may have been meant by a name that does not exist
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "hint.h"
#include "lib/stringinfo.h"
#include "utils/varlena.h"

#define MAX_DISTANCE	3		/* as core's hints for columns */
#define MAX_LISTED		80		/* more than there are options */
#define MAX_COMPARED	255		/* bytes that varstr_levenshtein takes */

const char *
closest_name(const char *wanted, const char *const *names, int n)
{
	const char *best = NULL;
	int			best_distance = MAX_DISTANCE + 1;
	int			length = strlen(wanted);

	if (length > MAX_COMPARED)
		return NULL;
	for (int i = 0; i < n; i++)
	{
		int			name_length = strlen(names[i]);
		int			distance;

		if (name_length > MAX_COMPARED)
			continue;
		distance = varstr_levenshtein_less_equal(wanted, length, names[i], name_length,
												 1, 1, 1, best_distance, true);

		/* more than half of the letters different is another word */
		if (distance < best_distance && distance <= Min(length, name_length) / 2)
		{
			best = names[i];
			best_distance = distance;
		}
	}
	return best;
}

char *
quoted_list(const char *const *names, int n)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < n && i < MAX_LISTED; i++)
		appendStringInfo(&list, "%s\"%s\"", i > 0 ? ", " : "", names[i]);
	if (n > MAX_LISTED)
		appendStringInfoString(&list, ", ...");
	return list.data;
}

char *
name_hint(const char *what, const char *wanted, const char *const *names, int n)
{
	const char *closest = closest_name(wanted, names, n);

	if (closest != NULL)
		return psprintf("Perhaps you meant the %s \"%s\".", what, closest);
	if (n == 0)
		return psprintf("There is no %s at all.", what);
	return psprintf("There are the %ss %s.", what, quoted_list(names, n));
}
