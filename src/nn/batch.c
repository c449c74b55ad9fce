/*-------------------------------------------------------------------------
 *
 * batch.c
 *	  Check a batch before the network trusts it
 *
 * After NN_OK no index of the batch leads outside an array of the size that
 * nn.h names.
 *
 *-------------------------------------------------------------------------
 */
#include <math.h>

#include "layers.h"

#define MAX_ROWS INT32_MAX

/* Ragged rows: from 0, never back. */
static bool
offsets_fine(const int64_t *offsets, int64_t n)
{
	if (offsets == NULL || offsets[0] != 0)
		return false;
	for (int64_t i = 0; i < n; i++)
		if (offsets[i + 1] < offsets[i] || offsets[i + 1] > MAX_ROWS)
			return false;
	return true;
}

static bool
ids_fine(const nn_ids *ids, int64_t vocab, int64_t n)
{
	int64_t		values = n;

	if (n == 0)
		return true;
	if (ids->offsets)
	{
		if (!offsets_fine(ids->offsets, n))
			return false;
		for (int64_t i = 0; i < n; i++)
			if (ids->offsets[i + 1] - ids->offsets[i] > NN_MAX_BAG)
				return false;
		values = ids->offsets[n];
	}
	if (values > 0 && ids->values == NULL)
		return false;
	for (int64_t k = 0; k < values; k++)
		if (ids->values[k] < 0 || ids->values[k] >= vocab)
			return false;
	return true;
}

static bool
group_fine(const nn_config *config, nn_group group, const nn_ids *ids, int64_t n)
{
	for (int f = 0; f < config->n_feature[group]; f++)
		if (!ids_fine(&ids[f], config->feature[group][f].vocab, n))
			return false;
	return true;
}

static bool
buckets_fine(const uint8_t *bucket, int buckets, int64_t n)
{
	if (buckets == 0 || n == 0)
		return true;
	if (bucket == NULL)
		return false;
	for (int64_t k = 0; k < n; k++)
		if (bucket[k] >= buckets)
			return false;
	return true;
}

static bool
views_fine(const nn_config *config, const nn_batch *batch)
{
	if (batch->views > 0 && (batch->view_sequence == NULL || batch->view_length == NULL ||
							 batch->view_offsets == NULL || batch->view_offsets[0] != 0))
		return false;
	for (int v = 0; v < batch->views; v++)
	{
		int32_t		b = batch->view_sequence[v];
		int64_t		length;

		if (b < 0 || b >= batch->sequences || (v > 0 && b < batch->view_sequence[v - 1]))
			return false;
		length = batch->offsets[b + 1] - batch->offsets[b];
		if (batch->view_length[v] < 0 || batch->view_length[v] > length ||
			(config->bidirectional && batch->view_length[v] != length) ||
			batch->view_offsets[v + 1] - batch->view_offsets[v] != batch->view_length[v] ||
			batch->view_offsets[v + 1] > MAX_ROWS)
			return false;
	}
	return true;
}

/* ------------------------------------------------------------------------
 * Samples
 * ------------------------------------------------------------------------ */

static bool
all_finite(const float *x, int64_t n, bool negative)
{
	for (int64_t j = 0; j < n; j++)
		if (!isfinite(x[j]) || (!negative && x[j] < 0.0f))
			return false;
	return true;
}

static bool
listed(const int64_t *offsets, const int32_t *values, int s, int32_t value)
{
	for (int64_t k = offsets ? offsets[s] : 0; offsets && k < offsets[s + 1]; k++)
		if (values[k] == value)
			return true;
	return false;
}

/* May the sample use this column: shared and not hidden, or among its extras? */
static bool
column_fine(const nn_samples *samples, int s, int32_t column, bool hidden_too)
{
	if (column < 0 || column >= samples->columns)
		return false;
	if (column >= samples->shared)
		return listed(samples->extra_offsets, samples->extra, s, column);
	return hidden_too || !listed(samples->hidden_offsets, samples->hidden, s, column);
}

/* Ragged lists of a sample: absent, or with valid offsets and values to go with them. */
static bool
lists_fine(const int64_t *offsets, const void *values, int n)
{
	return offsets == NULL || (offsets_fine(offsets, n) && (offsets[n] == 0 || values != NULL));
}

static bool
next_item_fine(const nn_config *config, const nn_task *task, const nn_samples *samples)
{
	int			S = samples->n;
	int			params = config->recency_rows * config->recency + NN_REPEAT_COUNTS;

	if (samples->columns < 0 || samples->shared < 0 || samples->shared > samples->columns ||
		!group_fine(config, NN_ITEM, samples->column, samples->columns) ||
		(samples->log_q && !all_finite(samples->log_q, samples->columns, true)) ||
		!lists_fine(samples->target_offsets, samples->target, S) ||
		!lists_fine(samples->extra_offsets, samples->extra, S) ||
		!lists_fine(samples->hidden_offsets, samples->hidden, S) ||
		!lists_fine(samples->wide_offsets, samples->wide, S) ||
		!lists_fine(samples->memory_offsets, samples->memory, S))
		return false;
	if (samples->target_offsets && samples->target_offsets[S] > 0 &&
		(samples->target_weight == NULL ||
		 !all_finite(samples->target_weight, samples->target_offsets[S], false)))
		return false;
	if ((samples->wide_offsets && samples->wide_offsets[S] > 0 && !task->repeat) ||
		(samples->memory_offsets && samples->memory_offsets[S] > 0 && task->memory == 0))
		return false;
	for (int s = 0; s < S; s++)
	{
		for (int64_t k = samples->extra_offsets ? samples->extra_offsets[s] : 0;
			 samples->extra_offsets && k < samples->extra_offsets[s + 1]; k++)
		{
			if (samples->extra[k] < samples->shared || samples->extra[k] >= samples->columns)
				return false;
			/* a column that is listed twice would count twice */
			for (int64_t other = samples->extra_offsets[s]; other < k; other++)
				if (samples->extra[other] == samples->extra[k])
					return false;
		}
		for (int64_t k = samples->hidden_offsets ? samples->hidden_offsets[s] : 0;
			 samples->hidden_offsets && k < samples->hidden_offsets[s + 1]; k++)
			if (samples->hidden[k] < 0 || samples->hidden[k] >= samples->shared)
				return false;
		for (int64_t k = samples->target_offsets ? samples->target_offsets[s] : 0;
			 samples->target_offsets && k < samples->target_offsets[s + 1]; k++)
			if (!column_fine(samples, s, samples->target[k], false))
				return false;
		for (int64_t k = samples->wide_offsets ? samples->wide_offsets[s] : 0;
			 samples->wide_offsets && k < samples->wide_offsets[s + 1]; k++)
			if (!column_fine(samples, s, samples->wide[k].column, true) ||
				samples->wide[k].param < 0 || samples->wide[k].param >= params ||
				!isfinite(samples->wide[k].value))
				return false;
		for (int64_t k = samples->memory_offsets ? samples->memory_offsets[s] : 0;
			 samples->memory_offsets && k < samples->memory_offsets[s + 1]; k++)
			if (!column_fine(samples, s, samples->memory[k].column, true) ||
				samples->memory[k].lag < 0 || samples->memory[k].lag >= task->memory ||
				!isfinite(samples->memory[k].value) || samples->memory[k].value < 0.0f)
				return false;
	}
	return true;
}

static bool
samples_fine(const nn_config *config, const nn_task *task, const nn_samples *samples, int views)
{
	int			S = samples->n;

	if (S == 0)
		return true;
	if (S < 0 || samples->view == NULL)
		return false;
	for (int s = 0; s < S; s++)
		if (samples->view[s] < 0 || samples->view[s] >= views)
			return false;
	if (samples->weight && !all_finite(samples->weight, S, false))
		return false;
	if (task->kind == NN_NEXT_ITEM)
		return next_item_fine(config, task, samples);

	if (task->kind == NN_MULTICLASS)
	{
		for (int s = 0; samples->label_class && s < S; s++)
			if (samples->label_class[s] < 0 || samples->label_class[s] >= task->classes)
				return false;
	}
	else
		for (int s = 0; samples->label && s < S; s++)
			if (samples->label[s] != 0.0f && samples->label[s] != 1.0f)
				return false;
	for (int s = 0; samples->position && s < S; s++)
		if (samples->position[s] < -1 || samples->position[s] >= task->position)
			return false;
	if (task->pairwise > 0.0f && samples->label && samples->group == NULL)
		return false;
	if (task->features > 0 &&
		(samples->features == NULL || !all_finite(samples->features, (int64_t) S * task->features, true)))
		return false;
	for (int k = 0; k < task->n_candidate; k++)
		if (!ids_fine(&samples->candidate[k], nn_candidate_feature(config, task->candidate[k])->vocab, S))
			return false;
	return true;
}

nn_status
nn_batch_check(const nn_config *config, const nn_batch *batch)
{
	int64_t		N,
				M;

	if (batch->sequences < 0 || batch->views < 0 ||
		(batch->sequences > 0 && !offsets_fine(batch->offsets, batch->sequences)))
		return NN_BAD_BATCH;
	N = batch->sequences > 0 ? batch->offsets[batch->sequences] : 0;
	if (!group_fine(config, NN_ITEM, batch->item, N) ||
		!group_fine(config, NN_PROPERTY, batch->property, N) ||
		!views_fine(config, batch))
		return NN_BAD_BATCH;
	M = batch->views > 0 ? batch->view_offsets[batch->views] : 0;
	if (!buckets_fine(batch->recency, config->recency_bias ? config->recency : 0, M) ||
		!buckets_fine(batch->lag, config->lag, M))
		return NN_BAD_BATCH;
	if (batch->vector ? N > 0 || !all_finite(batch->vector, (int64_t) batch->views * config->R, true) :
		!group_fine(config, NN_PROFILE, batch->profile, batch->views) ||
		!group_fine(config, NN_CONTEXT, batch->context, batch->views))
		return NN_BAD_BATCH;
	for (int t = 0; t < config->n_task; t++)
		if (!samples_fine(config, &config->task[t], &batch->samples[t], batch->views))
			return NN_BAD_BATCH;
	return NN_OK;
}
