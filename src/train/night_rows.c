/*-------------------------------------------------------------------------
 *
 * night_rows.c
 *	  Rows of the embeddings: those that came tonight, and those that stay
 *
 * A value that was read as unknown until now starts as that, with a little noise
 * to tell it from others, and learns from tonight's samples.  Rows of values
 * that tonight's events and samples do not name are not moved: the softmax would
 * push at all of them, a night would have to be stored as a whole, and what a
 * row was taught would fade with nobody to teach it again.
 *
 *-------------------------------------------------------------------------
 */
#include "train/night.h"

#include "train/dataset.h"
#include "utils/memutils.h"

#define NOISE	0.01			/* standard deviation; that of start values is .05 */

/* ---------------- tables of a feature ---------------- */

typedef void (*TableVisitor) (Trainer *trainer, int table, int g, int f, void *arg);

/* Its embedding, and the item biases of next_item tasks. */
static void
visit_tables(Trainer *trainer, TableVisitor visit, void *arg)
{
	const nn_layout *layout = trainer->layout;

	for (int g = 0; g < NN_GROUPS; g++)
		for (int f = 0; f < trainer->data->set->n[g]; f++)
		{
			if (g == NN_CONTEXT && trainer->data->set->f[g][f].shares >= 0)
				continue;		/* the item column's */
			if (layout->table[g][f] >= 0)
				visit(trainer, layout->table[g][f], g, f, arg);
			for (int t = 0; g == NN_ITEM && t < trainer->config->n_task; t++)
				if (layout->task[t].item_bias[f] >= 0)
					visit(trainer, layout->task[t].item_bias[f], g, f, arg);
		}
}

static float *
row_of(float *all, const nn_tensor *tensor, int64 row)
{
	return all + tensor->offset + row * tensor->cols;
}

/* ---------------- new rows ---------------- */

static void
start_rows(Trainer *trainer, int table, int g, int f, void *arg)
{
	const nn_tensor *tensor = &trainer->layout->tensor[table];
	const Growth *growth = &trainer->data->growth[g][f];
	float	   *param = trainer->steps->param;

	for (int64 i = 0; i < growth->n_new; i++)
		memcpy(row_of(param, tensor, growth->id[i]), row_of(param, tensor, ID_UNKNOWN), sizeof(float) * tensor->cols);
}

void
night_rows_start(Trainer *trainer)
{
	visit_tables(trainer, start_rows, NULL);
}

static void
free_new_rows(Trainer *trainer, int table, int g, int f, void *arg)
{
	const nn_tensor *tensor = &trainer->layout->tensor[table];
	const Growth *growth = &trainer->data->growth[g][f];
	nn_optimizer *optimizer = &trainer->steps->optimizer;

	for (int64 i = 0; i < growth->n_new; i++)
	{
		float	   *row = row_of(trainer->steps->param, tensor, growth->id[i]);

		/* rank 1: a bias, of which equal ones are no trouble */
		for (int64 c = 0; c < tensor->cols && tensor->rank > 1; c++)
			row[c] += (float) (NOISE * nn_random_normal(&trainer->random));
		memset(row_of(optimizer->v, tensor, growth->id[i]), 0, sizeof(float) * tensor->cols);
		if (optimizer->m)
			memset(row_of(optimizer->m, tensor, growth->id[i]), 0, sizeof(float) * tensor->cols);
	}
}

/* ---------------- what the night has seen ---------------- */

/* [vocab] of each feature: 1, an id was seen; NULL: nobody asks. */
typedef struct Seen
{
	uint8	   *id[NN_GROUPS][NN_MAX_FEATURES];
} Seen;

static void
see_row(uint8 *seen, const IdColumn *column, bool multi, int64 row)
{
	if (seen == NULL || column->values == NULL)
		return;
	if (!multi)
		seen[column->values[row]] = 1;
	else
		for (int64 i = column->offsets[row]; i < column->offsets[row + 1]; i++)
			seen[column->values[i]] = 1;
}

static void
see_events(const Dataset *data, Seen *seen)
{
	static const nn_group groups[2] = {NN_ITEM, NN_PROPERTY};

	for (int64 row = 0; row < data->events->n; row++)
	{
		if (row % 4096 == 0)
			job_check();
		if (!sample_is_new(data, -1, data->events->time[row]))
			continue;
		for (int g = 0; g < 2; g++)
			for (int f = 0; f < data->set->n[groups[g]]; f++)
				see_row(seen->id[groups[g]][f], &data->events->feature[g][f], data->set->f[groups[g]][f].multi, row);
		for (int f = 0; f < data->set->n[NN_CONTEXT]; f++)
			see_row(seen->id[NN_CONTEXT][f], &data->event_context[f], data->set->f[NN_CONTEXT][f].multi, row);
	}
}

static void
see_samples(const Trainer *trainer, int t, Seen *seen)
{
	const Dataset *data = trainer->data;
	const SampleRows *rows = &data->rows[t];
	const nn_task *task = &trainer->config->task[t];

	for (int64 row = 0; row < rows->n; row++)
	{
		if (row % 4096 == 0)
			job_check();
		if (!sample_is_new(data, t, rows->time[row]))
			continue;
		for (int k = 0; k < task->n_candidate; k++)
		{
			const Feature *feature = candidate_feature(data->set, task->candidate[k]);
			int			f = task->candidate[k] % NN_MAX_FEATURES;

			see_row(seen->id[feature->group][f], &rows->candidate[k], feature->multi, row);
		}
		for (int f = 0; f < data->set->n[NN_CONTEXT]; f++)
			see_row(seen->id[NN_CONTEXT][f], &rows->context[f], data->set->f[NN_CONTEXT][f].multi, row);
	}
}

static void
freeze_rows(Trainer *trainer, int table, int g, int f, void *arg)
{
	const Seen *seen = arg;
	const nn_tensor *tensor = &trainer->layout->tensor[table];
	int32	   *rows;
	int64		n = 0;

	if (seen->id[g][f] == NULL)
		return;
	rows = palloc0_array_huge(int32, tensor->rows);
	for (int64 row = ID_FIRST; row < tensor->rows; row++)
		if (!seen->id[g][f][row])
			rows[n++] = (int32) row;
	steps_freeze(trainer->steps, table, rows, n);
	pfree(rows);
}

static void
freeze_unseen(Trainer *trainer)
{
	const Dataset *data = trainer->data;
	Seen	   *seen = palloc0(sizeof(Seen));

	/* what is derived from time has few rows, and all of them are seen */
	for (int g = 0; g < NN_GROUPS; g++)
		for (int f = 0; f < data->set->n[g]; f++)
		{
			const Feature *feature = &data->set->f[g][f];

			if (g == NN_CONTEXT && feature->shares >= 0)
				seen->id[g][f] = seen->id[NN_ITEM][feature->shares];
			else if (feature->encoding != ENCODE_FIXED)
				seen->id[g][f] = palloc0_array_huge(uint8, feature->vocab);
		}
	see_events(data, seen);
	for (int t = 0; t < trainer->config->n_task; t++)
		see_samples(trainer, t, seen);
	for (int64 u = 0; u < data->n_users; u++)
		for (int f = 0; f < data->set->n[NN_PROFILE]; f++)
			see_row(seen->id[NN_PROFILE][f], &data->profile[f], data->set->f[NN_PROFILE][f].multi, u);
	visit_tables(trainer, freeze_rows, seen);
	for (int g = 0; g < NN_GROUPS; g++)
		for (int f = 0; f < data->set->n[g]; f++)
			if (seen->id[g][f] && !(g == NN_CONTEXT && data->set->f[g][f].shares >= 0))
				pfree(seen->id[g][f]);
	pfree(seen);
}

void
night_rows_free(Trainer *trainer)
{
	visit_tables(trainer, free_new_rows, NULL);
	freeze_unseen(trainer);
}
