/*-------------------------------------------------------------------------
 *
 * trainer.h
 *	  A training under way: shared by the files below
 *
 *-------------------------------------------------------------------------
 */
#ifndef DUPN_TRAINER_H
#define DUPN_TRAINER_H

#include "train/batches.h"
#include "train/step.h"
#include "train/train.h"

struct Night;

typedef struct Trainer
{
	Job		   *job;
	const Model *model;
	const struct Transfer *transfer;	/* what it starts from and which tasks learn */
	TimestampTz seen;			/* until when what it starts from was trained; DT_NOBEGIN */
	Dataset    *data;
	Moments    *moments;
	MemoryContext context;
	char	   *config_json;
	nn_config  *config;			/* as declared and stored */
	nn_config  *balanced;		/* each task's weight divided by its constant's loss and its
								 * samples' mean weight, times what is learned */
	double		fixed_weight[NN_MAX_TASKS]; /* without what is learned */
	double		log_variance[NN_MAX_TASKS]; /* see balance.c */
	nn_layout  *layout;
	Steps	   *steps;			/* and the parameters */
	float	   *best;			/* the weights that early stopping keeps */
	bool		memory_noted;	/* was it said that it is more than the setting? */
	Batches    *batches;
	uint64		random;
	double		constant[SPLIT_REPORT + 1][NN_MAX_TASKS];	/* loss of the best constant of training
															 * data, on each split */
	float		calibration[NN_MAX_TASKS][2];	/* logits become [0] * logit + [1] where judged */
	double		place_share[NN_MAX_TASKS][POSITION_BUCKETS];	/* of training samples, see places_center */
	double		ratio[NN_MAX_TASKS];	/* latest loss over constant; NAN: not known */
	bool		evaluated;		/* ratio is of the hold-out, not a running mean */
	double		begin,			/* where its epochs lie in job_progress */
				end;
	const char *alone;			/* the only task that is trained, to compare: alone.c */
	int64		known_items;	/* of the catalogue that can be answers: those behind are new */
} Trainer;

/* ---------------- trainer.c ---------------- */

/*
 * Data set, moments and network of a training or of a judgement, in the current
 * memory context, which is the trainer's own.  With a version the data are
 * encoded as it encodes them, see dataset_load, and parameters that it has
 * under the same names are its; the others begin anew.  *alone: if wanted, the
 * tasks trained alone, see alone.h.
 */
extern Trainer *trainer_make(Job *job, const Model *model, const ModelImage *base,
							 const struct Transfer *transfer, Judged **alone);

/*
 * The same to judge a version on what lies in its hold-out, of everybody or of
 * those users whom a training reports, before `until`; steps_forward only.
 * Without a version there is no network: data set and moments alone.
 */
extern Trainer *trainer_judging(Job *job, const Model *model, const ModelImage *base, TimestampTz until,
								bool everybody);

/* A training by what came after a version. */
extern void train_night(Job *job, const struct Night *night);

/* The network and what moves it, once data and moments are there. */
extern void trainer_network(Trainer *trainer);

/* {"task": ratio, ...} of what is known, for job_progress. */
extern char *trainer_ratios_json(const Trainer *trainer);

/* Where the epochs lie in job_progress. */
#define TRAINING_BEGINS		0.10
#define TRAINING_ENDS		0.85

/* ---------------- balance.c ---------------- */

/*
 * Fill in trainer->constant, the weights of `balanced`, and base_rate [tasks]
 * with rates of positives.
 */
extern void find_constants(Trainer *trainer, float *base_rate);

/*
 * A step of the learned weight of a task; ratio: its loss in a step of the
 * training over that of the best constant.  Then balance brings the weights of
 * `balanced` up to date, and note_weights tells what they became.
 */
extern void learn_weight(Trainer *trainer, int t, double ratio);
extern void balance(Trainer *trainer);
extern void note_weights(const Trainer *trainer);

/* ---------------- offers.c ---------------- */

/*
 * Loss of a constant prediction in a split when its log loss is `constant`: of
 * pairs it is ln 2.  Error if there are none to train on where some are wanted.
 */
extern double offers_constant(const Trainer *trainer, int t, Split split, double constant);

/*
 * Fill in trainer->place_share; and make scores, which know no place, those of
 * the mean place: before parameters are judged or stored.
 */
extern void places_count(Trainer *trainer);
extern void places_center(Trainer *trainer);

/* ---------------- epoch.c ---------------- */

/* One pass over a course of stretches, and what is to happen on the way. */
typedef struct Epoch
{
	Trainer    *trainer;
	const char *phase;
	double		begin,			/* fraction of the job */
				end;
	int64		n_moments;		/* of the pass */
	int64		done;
	int64		events;			/* of the steps that are complete */
	bool		learn_weights;	/* of the tasks, from the losses of the steps */
	int64		pause_every;	/* moments between two calls of pause, 0: never */
	bool		(*pause) (struct Epoch *epoch, void *arg);	/* true: stop */
	void	   *arg;
} Epoch;

/* True when pause said stop. */
extern bool train_epoch(Epoch *epoch, Course *course);

/* Missing and unknown, where training met none, become the mean of their table. */
extern void fill_untrained_rows(Trainer *trainer);

/* ---------------- stopping.c ---------------- */

/* Train until it no longer helps; the best parameters are kept. */
extern void train_epochs(Trainer *trainer);

/* One pass over what was held out, at the final rate. */
extern void refit(Trainer *trainer);

/* ---------------- served.c ---------------- */

/*
 * Loss ratios of the moments of a split, as served, into ratio (NAN: no
 * samples); returns their mean, weighted as the tasks are.  judged: of the same
 * split; the first results of each task are filled in.  NULL, to stop by: the
 * places of samples are known, since what was taken there depends on them.
 */
extern double served_evaluate(Trainer *trainer, Split split, const Judged *judged, double *ratio);

/* ---------------- calibration.c ---------------- */

/* Fill in trainer->calibration from the half of the hold-out that stops; what
 * has no sample there stays as it is. */
extern void calibrate(Trainer *trainer);

/* ---------------- policy.c ---------------- */

/*
 * Is what was trained to serve?  When it is judged and before a refit; judged:
 * the reported samples, whose first results are the network's (those of the
 * primary task are cut down to what is compared).  With a source SOURCE_PARENT
 * among the metrics, where that is the published version, this is what it is
 * compared with; else the published version is loaded and asked.  Manages
 * transactions.
 */
extern Decision *policy_decide(Trainer *trainer, Judged *judged, const Metrics *metrics);

/* What many rejections in a row lead to; in the transaction that counts them. */
extern void policy_rejections(const Trainer *trainer, int rejections);

/* ---------------- publish.c ---------------- */

/* Store the weights and metrics as a new version and let it serve if it was decided so. */
extern void publish_version(Trainer *trainer, const Metrics *metrics, Decision *decision, double seconds);

/* Is what its optimizer remembers stored as well? */
extern bool keeps_optimizer(const Trainer *trainer);

#endif							/* DUPN_TRAINER_H */
