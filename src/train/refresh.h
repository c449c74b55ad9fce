/*-------------------------------------------------------------------------
 *
 * refresh.h
 *	  Stored vectors of all users or items, brought up to date
 *
 *-------------------------------------------------------------------------
 */
#ifndef DUPN_REFRESH_H
#define DUPN_REFRESH_H

#include "train/team.h"

/* The options of a job to be, with names and times that mean the same in its process. */
extern Jsonb *refresh_check(Model *model, Jsonb *options);

extern void refresh_run(Job *job);

/* What a member of the job's team does. */
extern void refresh_part(Team *team, const Job *job);

#endif							/* DUPN_REFRESH_H */
