/*-------------------------------------------------------------------------
 *
 * baseline_binary.c
 *	  Baselines of binary and rank tasks: rates, and logistic regression on counts
 *
 * The regression sees what an analyst would put into a feature table: how much
 * and how recently the user did what, how earlier samples of the task ended,
 * how popular the candidate is and what the user had to do with it before.
 *
 * How a user's earlier samples ended counts as soon as it is known: at once, or
 * after the task's "matures".  Where it takes days (was the coupon redeemed?)
 * and the task does not say so, these baselines know more than they could.
 *
 *-------------------------------------------------------------------------
 */
#include "train/baseline.h"

#include <math.h>

#define MAX_COUNTS	64			/* columns of the regression */
#define MAX_TYPES	8
#define MAX_SAME	4			/* candidate features compared with the history */
#define SAME_EVENTS 50
#define MAX_FIT		200000		/* training samples: beyond, every n-th */
#define ITERATIONS	300
#define RIDGE		1e-3

/* Past of the user and the candidate at a row of the task's samples. */
typedef struct RowPast
{
	float		user_samples,
				user_positives; /* of the same user, whose labels are known by then */
	float		item_samples,
				item_positives; /* of the candidate, in training, itself left out */
} RowPast;

typedef struct Past
{
	ColumnStore *store;
	const RowPast *row;			/* [rows] */
	double		base_rate;
} Past;

/* First id of a row of a column; ID_MISSING for an empty bag. */
static int32
first_id(const IdColumn *column, int64 row)
{
	if (column->offsets == NULL)
		return column->values[row];
	return column->offsets[row + 1] > column->offsets[row] ?
		column->values[column->offsets[row]] : ID_MISSING;
}

/*
 * A number for what a row's candidate is: its item, or, of candidates that are
 * none (shops, say), what their first column says.  -1: there is no candidate.
 */
static int64
candidate_number(const Dataset *data, int t, bool has_candidate, int64 row)
{
	const SampleRows *rows = &data->rows[t];

	if (rows->item[row] >= 0)
		return rows->item[row];
	return has_candidate ? data->catalogue.n + first_id(&rows->candidate[0], row) : -1;
}

/* Rows lie in the order of their moments.  values: of the first column of a candidate, 0: there is none. */
static Past *
past_make(const Dataset *data, const Moments *moments, int t, int64 values)
{
	const SampleRows *rows = &data->rows[t];
	Past	   *past = palloc0(sizeof(Past));
	float	   *samples = palloc0_array_huge(float, data->catalogue.n + values);
	float	   *positives = palloc0_array_huge(float, data->catalogue.n + values);
	Column	   *column;
	int64		known = 0;		/* the user's first row whose label is not known yet */
	float		known_samples = 0;	/* those before it */
	float		known_positives = 0;
	int64		at;
	double		n = 0;
	double		sum = 0;

	past->store = column_store(CurrentMemoryContext, data->memory);
	column = column_add(past->store, sizeof(RowPast), &past->row);
	for (int64 m = 0; m < moments->n; m++)
	{
		const Moment *moment = &moments->moment[m];

		if (m % 4096 == 0)
			job_check();
		if (moment->task != t || moment->split != SPLIT_TRAIN)
			continue;
		for (int64 row = moment->target; row < moment->target + moment->n_target; row++)
		{
			n += 1;
			sum += rows->label[row];
			at = candidate_number(data, t, values > 0, row);
			if (at >= 0)
			{
				samples[at] += 1;
				positives[at] += rows->label[row];
			}
		}
	}
	past->base_rate = (sum + 0.5) / (n + 1);

	for (int64 m = 0; m < moments->n; m++)
	{
		const Moment *moment = &moments->moment[m];
		bool		training = moment->split == SPLIT_TRAIN;

		if (m % 4096 == 0)
			job_check();
		if (moment->task != t)
			continue;
		for (int64 row = moment->target; row < moment->target + moment->n_target; row++)
		{
			RowPast		own = {0};

			/* rows of one instant do not know of each other */
			if (row == 0 || rows->user[row] != rows->user[row - 1])
			{
				known = row;
				known_samples = known_positives = 0;
			}
			for (; label_known(&data->model->task[t], rows->time[known], moment_now(data, moment)); known++)
			{
				known_samples += 1;
				known_positives += rows->label[known];
			}
			own.user_samples = known_samples;
			own.user_positives = known_positives;
			at = candidate_number(data, t, values > 0, row);
			if (at >= 0)
			{
				own.item_samples = samples[at] - training;
				own.item_positives = positives[at] - (training ? rows->label[row] : 0);
			}
			column_append(column, &own, 1);
		}
	}
	column_finish(column);
	Assert(column->n == rows->n);
	job_spilled(column_memory_spilled(data->memory));
	pfree(samples);
	pfree(positives);
	return past;
}

/* The shrunk rate of positives among n. */
static double
rate(double positives, double n, double base)
{
	return (positives + 10 * base) / (n + 10);
}

/* What the regression sees of one sample row; returns how many columns. */
static int
sample_counts(const Dataset *data, const Past *past, int t, const Moment *moment, int64 row,
			  const int *candidate, int n_candidate, double *x)
{
	const SampleRows *rows = &data->rows[t];
	const RowPast *own = &past->row[row];
	const ModelTask *task = &data->model->task[t];
	const User *user = &data->users[moment->user];
	const EventTable *events = data->events;
	int			types = Min(data->set->types - ID_FIRST, MAX_TYPES);
	int			same = 0;
	double		n = (double) (moment->end - user->start);
	int			at = 0;

	x[at++] = log1p(n);
	x[at++] = moment->end > user->start ?
		log1p((moment_now(data, moment) - events->time[moment->end - 1]) / (double) USECS_PER_HOUR) : 10;
	x[at++] = n == 0;
	for (int i = 0; i < types; i++)
		x[at + i] = 0;
	for (int64 r = user->start; types > 0 && r < moment->end; r++)
	{
		int			type = first_id(&events->feature[1][0], r) - ID_FIRST;

		if (type >= 0 && type < types)
			x[at + type] += 1;
	}
	for (int i = 0; i < types; i++, at++)
		x[at] = log1p(x[at]);

	x[at++] = log1p(own->user_samples);
	x[at++] = log1p(own->user_positives);
	x[at++] = rate(own->user_positives, own->user_samples, past->base_rate);

	if (rows->item != NULL)
	{
		int32		item = rows->item[row];
		double		times = 0;

		for (int64 r = Max(user->start, moment->end - 10 * SAME_EVENTS); item >= 0 && r < moment->end; r++)
			times += events->item[r] == item;
		x[at++] = log1p(item >= 0 ? (double) data->catalogue.count[item] : 0);
		x[at++] = rate(own->item_positives, own->item_samples, past->base_rate);
		x[at++] = times > 0;
		x[at++] = log1p(times);
	}
	while (same < Min(n_candidate, MAX_SAME) && !NN_IS_THING(candidate[same]))
		same++;
	for (int f = 0; f < same; f++)
	{
		int32		id = first_id(&rows->candidate[f], row);
		double		times = 0;

		for (int64 r = Max(user->start, moment->end - SAME_EVENTS); r < moment->end; r++)
			times += id >= ID_FIRST && first_id(&events->feature[0][candidate[f]], r) == id;
		x[at++] = log1p(times);
	}
	for (int f = 0; f < task->n_features && at < MAX_COUNTS; f++)
		x[at++] = rows->features[row * task->n_features + f];
	return at;
}

/* Standardise, then fit by accelerated gradient descent; w has d + 1 weights. */
static void
logistic_fit(double *x, const float *label, int64 n, int d, double *mean, double *scale, double *w)
{
	double	   *momentum = palloc0(sizeof(double) * (d + 1));
	double	   *gradient = palloc(sizeof(double) * (d + 1));
	double	   *ahead = palloc0(sizeof(double) * (d + 1));
	double		step = 4.0 / (d + 1);	/* the loss's curvature is at most (d + 1) / 4 */

	for (int c = 0; c < d; c++)
	{
		double		sum = 0;
		double		square = 0;

		for (int64 i = 0; i < n; i++)
			sum += x[i * d + c];
		mean[c] = sum / n;
		for (int64 i = 0; i < n; i++)
			square += (x[i * d + c] - mean[c]) * (x[i * d + c] - mean[c]);
		scale[c] = square > 0 ? 1 / sqrt(square / n) : 0;
		for (int64 i = 0; i < n; i++)
			x[i * d + c] = (x[i * d + c] - mean[c]) * scale[c];
	}
	memset(w, 0, sizeof(double) * (d + 1));
	for (int iteration = 0; iteration < ITERATIONS; iteration++)
	{
		memset(gradient, 0, sizeof(double) * (d + 1));
		for (int64 i = 0; i < n; i++)
		{
			double		z = ahead[d];
			double		e;

			for (int c = 0; c < d; c++)
				z += ahead[c] * x[i * d + c];
			e = 1 / (1 + exp(-z)) - label[i];
			for (int c = 0; c < d; c++)
				gradient[c] += e * x[i * d + c];
			gradient[d] += e;
			if (i % 4096 == 0)
				job_check();
		}
		for (int c = 0; c <= d; c++)
		{
			double		next = ahead[c] - step * (gradient[c] / n + (c < d ? RIDGE * ahead[c] : 0));

			momentum[c] = next - w[c];
			w[c] = next;
			ahead[c] = next + momentum[c] * iteration / (iteration + 3);
		}
	}
	pfree(momentum);
	pfree(gradient);
	pfree(ahead);
}

/* What a shop without a model orders by: each of a rank task's features alone. */
static void
feature_baselines(const ModelTask *task, const SampleRows *rows, Judged *judged)
{
	int			F = task->n_features;

	/* the first of them, beside the regression and the task alone */
	for (int f = 0; f < F && judged->n_results < MAX_RESULTS - 2; f++)
	{
		Results    *alone = add_results(judged, psprintf("feature %s", task->features[f]));

		alone->score = palloc0_array_huge(float, judged->n);
		for (int64 i = 0; i < judged->n; i++)
			alone->score[i] = rows->features[judged->target[i] * F + f];
	}
}

void
binary_baselines(const Dataset *data, const Moments *moments, int t, Judged *judged)
{
	const SampleRows *rows = &data->rows[t];
	Past	   *past;
	int			candidate[NN_MAX_FEATURES];
	int			n_candidate;
	int64		stride = moments->count[SPLIT_TRAIN][t] / MAX_FIT + 1;
	int64		capacity = moments->count[SPLIT_TRAIN][t] / stride + 2;
	double		counts[MAX_COUNTS];
	double	   *x = NULL;
	float	   *label = palloc0_array_huge(float, capacity);
	double		mean[MAX_COUNTS];
	double		scale[MAX_COUNTS];
	double		w[MAX_COUNTS + 1];
	int			d = 0;
	int64		n = 0;
	int64		skip = 0;
	Results    *user_rate = add_results(judged, "user_rate");
	Results    *item_rate = rows->item != NULL ? add_results(judged, "item_rate") : NULL;
	Results    *regression;

	if (data->model->task[t].kind == NN_RANK)
		feature_baselines(&data->model->task[t], rows, judged);

	/* it looks at the samples' columns */
	job_begin();
	n_candidate = task_candidate(data->model, data->set, &data->model->task[t], candidate);
	job_commit();
	past = past_make(data, moments, t, n_candidate > 0 ? candidate_feature(data->set, candidate[0])->vocab : 0);

	for (int64 m = 0; m < moments->n; m++)
	{
		const Moment *moment = &moments->moment[m];

		if (moment->task != t || moment->split != SPLIT_TRAIN)
			continue;
		for (int64 row = moment->target; row < moment->target + moment->n_target; row++)
		{
			if (skip++ % stride != 0 || n == capacity)
				continue;
			d = sample_counts(data, past, t, moment, row, candidate, n_candidate, counts);
			if (x == NULL)
				x = palloc0_array_huge(double, capacity * d);
			memcpy(x + n * d, counts, sizeof(double) * d);
			label[n++] = rows->label[row];
		}
		if (m % 256 == 0)
			job_check();
	}

	regression = n > 0 ? add_results(judged, "logistic_regression") : NULL;
	if (n > 0)
	{
		logistic_fit(x, label, n, d, mean, scale, w);
		regression->score = palloc0_array_huge(float, judged->n);
		regression->log_loss = palloc0_array_huge(float, judged->n);
	}
	user_rate->score = palloc0_array_huge(float, judged->n);
	if (item_rate)
		item_rate->score = palloc0_array_huge(float, judged->n);

	for (int64 i = 0; i < judged->n; i++)
	{
		int64		row = judged->target[i];
		const RowPast *own = &past->row[row];
		const Moment *moment = &moments->moment[judged->moment[i]];

		user_rate->score[i] = (float) rate(own->user_positives, own->user_samples, past->base_rate);
		if (item_rate)
			item_rate->score[i] = (float) rate(own->item_positives, own->item_samples, past->base_rate);
		if (regression)
		{
			double		z = w[d];
			double		p;

			sample_counts(data, past, t, moment, row, candidate, n_candidate, counts);
			for (int c = 0; c < d; c++)
				z += w[c] * (counts[c] - mean[c]) * scale[c];
			p = 1 / (1 + exp(-z));
			regression->score[i] = (float) p;
			regression->log_loss[i] =
				(float) -log(Max(judged->label[i] > 0.5f ? p : 1 - p, 1e-7));
		}
		if (i % 256 == 0)
			job_check();
	}
	if (x)
		pfree(x);
	pfree(label);
	column_store_delete(past->store);
	pfree(past);
}
