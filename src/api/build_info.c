/*-------------------------------------------------------------------------
 *
 * build_info.c
 *	  dupn_build_info: what is loaded, for bug reports
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include <cblas.h>

#include "nn/kernel.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(dupn_build_info);

PGDLLEXPORT Datum
dupn_build_info(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	const char *const info[][2] = {
		{"version", DUPN_VERSION},
		{"postgresql", PG_VERSION_STR},
#ifdef __VERSION__
		{"compiler", __VERSION__},
#endif
		{"kernels", nn_kernels_name()},
		{"blas", openblas_get_config()},
		{"blas kernel", openblas_get_corename()},
		{"blas threads", openblas_get_parallel() == 0 ? "none" : "unexpected: the library is not the serial one"},
	};

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < lengthof(info); i++)
	{
		Datum		values[2] = {CStringGetTextDatum(info[i][0]), CStringGetTextDatum(info[i][1])};
		bool		nulls[2] = {false, false};

		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}
