/*-------------------------------------------------------------------------
 *
 * settings.h
 *	  The settings dupn.*, defined once in dupn.c
 *
 *-------------------------------------------------------------------------
 */
#ifndef DUPN_SETTINGS_H
#define DUPN_SETTINGS_H

extern char *dupn_model;		/* dupn.model: the model of calls that name none, or "" */
extern int	dupn_job_memory;	/* dupn.job_memory: kB, 0: maintenance_work_mem */
extern int	dupn_job_history;	/* dupn.job_history: minutes */
extern int	dupn_max_mapped_size;	/* dupn.max_mapped_size: kB */

extern char *dupn_fail_point;	/* dupn.fail_point: see fail.h, or "" */

extern int	dupn_recurrent_weights; /* dupn.recurrent_weights: RECURRENT_* */

enum
{
	RECURRENT_FLOAT32, RECURRENT_BFLOAT16
};

#endif							/* DUPN_SETTINGS_H */
