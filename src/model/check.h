/*-------------------------------------------------------------------------
 *
 * check.h
 *	  What the checks of models and of tasks share
 *
 * All errors name the column and hint at the mend.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DUPN_CHECK_H
#define DUPN_CHECK_H

#include "model/model.h"

/* The current user must be able to read a column; the error is core's, and
 * says which model reads it. */
extern void check_select(const Model *model, Oid relation, AttrNumber attnum, const char *column);

/* A relation that jobs can read: a table, view or the like, and not temporary. */
extern void check_relation(Oid relation, const char *name);

/* A column must exist; what ("user column") says what it is for. */
extern AttrNumber check_column(Oid relation, const char *relation_name, const char *what,
							   const char *column, Oid *type);

extern void check_time_type(const char *column, Oid type);
extern void check_same_key(const char *what, const char *column, Oid type,
						   const char *other_what, const char *other, Oid other_type);

/* check_switches.c: options that switch parts of the network off must fit together. */
extern void switches_check(const Model *model);

/* embeddings.c: tables of vectors must be there, readable, and fit their columns. */
extern void embeddings_check(const Model *model, const FeatureSet *set);

extern void model_check_network(const Model *model, const FeatureSet *set);

/* A valid btree index without a predicate that leads with these columns; unique: with these alone. */
extern bool has_index(Oid relation, const AttrNumber *attnums, int n, bool unique);

/* Have the events an index that finds a user's rows by time; and the CREATE INDEX that
 * they lack, NULL: none, or they are no table. */
extern bool has_event_index(const Model *model);
extern char *missing_event_index(const Model *model);

#endif							/* DUPN_CHECK_H */
