/*-------------------------------------------------------------------------
 *
 * dupn.c
 *	  Settings and start-up, nothing else
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "settings.h"

PG_MODULE_MAGIC;

char	   *dupn_model = NULL;
int			dupn_job_memory = 0;
int			dupn_max_mapped_size = 0;

PGDLLEXPORT void _PG_init(void);

void
_PG_init(void)
{
	DefineCustomStringVariable("dupn.model",
							   "Model of calls that do not name one.",
							   "Empty: the only model that the caller's roles own.",
							   &dupn_model, "",
							   PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("dupn.job_memory",
							"Memory for the encoded rows of a job; more is spilled to temporary files.",
							"0 means maintenance_work_mem.",
							&dupn_job_memory, 0, 0, MAX_KILOBYTES,
							PGC_USERSET, GUC_UNIT_KB, NULL, NULL, NULL);

	/* superusers only: the files are shared by all roles of all databases */
	DefineCustomIntVariable("dupn.max_mapped_size",
							"Size of all mapped copies of weights beyond which the oldest are removed.",
							NULL,
							&dupn_max_mapped_size, 4 * 1024 * 1024, 0, INT_MAX,
							PGC_SUSET, GUC_UNIT_KB, NULL, NULL, NULL);
	MarkGUCPrefixReserved("dupn");
}
