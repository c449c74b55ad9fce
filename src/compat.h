/*-------------------------------------------------------------------------
 *
 * compat.h
 *	  Differences between PostgreSQL 14 and 18, and the headers everybody needs
 *
 * No other file tests PG_VERSION_NUM.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DUPN_COMPAT_H
#define DUPN_COMPAT_H

#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/shmem.h"
#include "utils/guc.h"

#if PG_VERSION_NUM < 140000
#error "dupn requires PostgreSQL 14 or later"
#endif

#if PG_VERSION_NUM < 150000
#define MarkGUCPrefixReserved(prefix) EmitWarningsOnPlaceholders(prefix)
#endif

/* a materialized set-returning function; 15.1 has it in core */
#if PG_VERSION_NUM < 150000
#define DUPN_OWN_MATERIALIZED_SRF
extern void dupn_init_materialized_srf(FunctionCallInfo fcinfo);
#define InitMaterializedSRF(fcinfo, flags) dupn_init_materialized_srf(fcinfo)
#endif

/* a job's owner without LOGIN can be connected as only from 17 on */
#if PG_VERSION_NUM >= 170000
#define DUPN_NOLOGIN_JOBS true
#define DUPN_WORKER_FLAGS BGWORKER_BYPASS_ROLELOGINCHECK
#else
#define DUPN_NOLOGIN_JOBS false
#define DUPN_WORKER_FLAGS 0
#endif

/* soft errors came with 16 */
#if PG_VERSION_NUM >= 160000
#define dupn_name_list(string) stringToQualifiedNameList((string), NULL)
#define dupn_parse_type(string, type, typmod) parseTypeString((string), (type), (typmod), NULL)
#else
#define dupn_name_list(string) stringToQualifiedNameList(string)
#define dupn_parse_type(string, type, typmod) parseTypeString((string), (type), (typmod), false)
#endif

/* 18 has a keyword that stands before the declaration instead */
#if PG_VERSION_NUM >= 180000
#define pg_attribute_noreturn() __attribute__((noreturn))
#endif

/* 17 can also ask for stronger modes */
#if PG_VERSION_NUM >= 170000
#define dupn_lock_held(tag, mode) LockHeldByMe((tag), (mode), false)
#else
#define dupn_lock_held(tag, mode) LockHeldByMe((tag), (mode))
#endif

/*
 * In a process that takes and gives back hundreds of MB: chunks of 1 MB and more
 * are mapped one by one, so that they grow in place and leave no holes.  glibc
 * would move its own bound up with the first that is freed.
 */
#ifdef __GLIBC__
#include <malloc.h>
#define dupn_map_large_chunks() ((void) mallopt(M_MMAP_THRESHOLD, 1024 * 1024))
#else
#define dupn_map_large_chunks() ((void) 0)
#endif

/* arrays that may pass 1 GB, zeroed, never of no bytes */
#define palloc0_array_huge(type, n) \
	((type *) MemoryContextAllocExtended(CurrentMemoryContext, \
										 mul_size(sizeof(type), Max((Size) (n), 1)), \
										 MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO))

#endif							/* DUPN_COMPAT_H */
