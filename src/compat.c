/*-------------------------------------------------------------------------
 *
 * compat.c
 *	  What older servers lack
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#ifdef DUPN_OWN_MATERIALIZED_SRF

#include "utils/tuplestore.h"

/* As InitMaterializedSRF(fcinfo, 0) of 15 and later. */
void
dupn_init_materialized_srf(FunctionCallInfo fcinfo)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext old;

	if (result == NULL || !IsA(result, ReturnSetInfo) ||
		(result->allowedModes & SFRM_Materialize) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("set-valued function called in context that cannot accept a set")));

	old = MemoryContextSwitchTo(result->econtext->ecxt_per_query_memory);
	if (get_call_result_type(fcinfo, NULL, &result->setDesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	result->setResult = tuplestore_begin_heap((result->allowedModes & SFRM_Materialize_Random) != 0,
											  false, work_mem);
	result->returnMode = SFRM_Materialize;
	MemoryContextSwitchTo(old);
}

#endif							/* DUPN_OWN_MATERIALIZED_SRF */
