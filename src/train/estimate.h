/*-------------------------------------------------------------------------
 *
 * estimate.h
 *	  Shared by estimate.c and estimate_leak.c
 *
 *-------------------------------------------------------------------------
 */
#ifndef DUPN_ESTIMATE_H
#define DUPN_ESTIMATE_H

#include "train/dataset.h"

typedef struct Estimate
{
	const Model *model;
	FeatureSet *set;
	ReturnSetInfo *result;
	double		events;
	double		users;
	double		items;
	double		item_events;	/* events that have an item */
	double		pairs;			/* events in the windows of all events */
	double		samples[NN_MAX_TASKS];
	int			classes[NN_MAX_TASKS];
} Estimate;

#define CAST	"::pg_catalog.float8"

/* A row of the result that is a warning. */
extern void estimate_warn(Estimate *e, const char *text);

/* The one row of a query, of float8 columns; NULL is 0. */
extern void estimate_count(const char *sql, double *values, int n);

/* The events as e, joined with the catalog as c where features come from there. */
extern char *estimate_stream(const Estimate *e);

/* A time column as a timestamptz, whatever its type. */
extern char *estimate_moment(const Estimate *e, const char *relation, const char *alias, const char *column);

/* " AND ..." for the samples e whose labels are known. */
extern void estimate_settled(StringInfo sql, const Estimate *e, const ModelTask *task);

/* estimate_leak.c: warn where samples of a task see what came of them. */
extern void estimate_leaks(Estimate *e, int task);

#endif							/* DUPN_ESTIMATE_H */
