/*-------------------------------------------------------------------------
 *
 * dupn.c
 *	  Settings and start-up, nothing else
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "datatype/timestamp.h"
#include "nn/kernel.h"
#include "settings.h"

PG_MODULE_MAGIC;

char	   *dupn_model = NULL;
int			dupn_job_memory = 0;
int			dupn_max_mapped_size = 0;
int			dupn_recurrent_weights = RECURRENT_FLOAT32;
int			dupn_job_history = 0;
char	   *dupn_fail_point = NULL;

/* numbers of kernel_options */
static int	kernel = 0;

static const struct config_enum_entry recurrent_options[] = {
	{"float32", RECURRENT_FLOAT32, false},
	{"bfloat16", RECURRENT_BFLOAT16, false},
	{NULL, 0, false}
};

/* what this machine can run; filled when the library is loaded */
static struct config_enum_entry kernel_options[NN_MAX_KERNELS + 1];

PGDLLEXPORT void _PG_init(void);

static void
use_kernel(int option, void *extra)
{
	(void) nn_kernels_use(kernel_options[option].name);
}

void
_PG_init(void)
{
	const char *names[NN_MAX_KERNELS];
	int			kernels = nn_kernels_available(names);

	for (int i = 0; i < kernels; i++)
		kernel_options[i] = (struct config_enum_entry) {names[i], i, false};

	DefineCustomStringVariable("dupn.model",
							   "Model of calls that do not name one.",
							   "Empty: the only model that the caller's roles own.",
							   &dupn_model, "",
							   PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("dupn.job_memory",
							"Memory of a job; what its rows need beyond it is spilled to temporary files.",
							"0 means maintenance_work_mem.",
							&dupn_job_memory, 0, 0, MAX_KILOBYTES,
							PGC_USERSET, GUC_UNIT_KB, NULL, NULL, NULL);

	/* superusers only: the rows are those of all roles */
	DefineCustomIntVariable("dupn.job_history",
							"How long ended jobs and what evaluations found are kept.",
							"Of each the latest 1000 are, at most; older ones go with the next job.",
							&dupn_job_history, 90 * HOURS_PER_DAY * MINS_PER_HOUR, MINS_PER_HOUR, INT_MAX,
							PGC_SUSET, GUC_UNIT_MIN, NULL, NULL, NULL);

	/* superusers only: the files are shared by all roles of all databases */
	DefineCustomIntVariable("dupn.max_mapped_size",
							"Size of all mapped copies of weights beyond which the oldest are removed.",
							"Those in use stay, and what an answer needs is mapped whatever its size.",
							&dupn_max_mapped_size, 4 * 1024 * 1024, 0, INT_MAX,
							PGC_SUSET, GUC_UNIT_KB, NULL, NULL, NULL);
	DefineCustomEnumVariable("dupn.kernel",
							 "Instruction set of the inner loops.",
							 "\"auto\" is the best that this machine can run.",
							 &kernel, 0, kernel_options,
							 PGC_USERSET, 0, NULL, use_kernel, NULL);
	DefineCustomEnumVariable("dupn.recurrent_weights",
							 "Precision of the LSTM's recurrent weights in answers.",
							 "\"bfloat16\" is faster for a few users at a time; elements of vectors move by up to about 3e-3.",
							 &dupn_recurrent_weights, RECURRENT_FLOAT32, recurrent_options,
							 PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("dupn.fail_point",
							   "Place in the code where a process kills itself, for tests of crashes.",
							   "Empty: none.",
							   &dupn_fail_point, "",
							   PGC_SUSET, GUC_NOT_IN_SAMPLE | GUC_NO_SHOW_ALL, NULL, NULL, NULL);
	MarkGUCPrefixReserved("dupn");
}
