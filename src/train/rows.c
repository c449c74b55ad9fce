/*-------------------------------------------------------------------------
 *
 * rows.c
 *	  The rows of tasks that have some: of samples, of events that are
 *	  positives, and of negatives drawn beside them
 *
 *-------------------------------------------------------------------------
 */
#include "train/dataset.h"

#include <math.h>

#include "train/negatives.h"
#include "utils/memutils.h"

#define CHECK_EVERY 4096

/* The label of a sample, NAN for none. */
static float
sample_label(Build *build, int t, int64 row)
{
	const ModelTask *task = &build->data->model->task[t];
	const RawLabel *label = &build->label[t];
	Cell		cell;
	double		number;
	int			class;

	/* what there is was taken, and the rest is drawn */
	if (label->column < 0)
		return 1;
	cell = raw_cell(build->samples[t], label->column, row);
	if (cell == CELL_NULL)
		return NAN;
	if (task->kind == NN_MULTICLASS)
	{
		class = levels_class(&build->data->levels[t], cell, cell_number(cell, label->kind), CELL_NULL);
		return class < 0 ? NAN : class;
	}
	if (label->kind == CELL_HASH)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("task \"%s\": label \"%s\" is neither boolean nor a number", task->name, task->label),
				 errhint("Make it a boolean in a view of the samples.")));
	number = cell_number(cell, label->kind);
	if (number != 0 && number != 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("task \"%s\": a label \"%s\" is %g, neither 0 nor 1", task->name, task->label, number),
				 errhint("Make it a boolean in a view of the samples.")));
	return (float) number;
}

/* The columns of a task's samples while they are written. */
typedef struct SampleWriter
{
	Column	   *user,
			   *time,
			   *label,
			   *weight,
			   *type_weight,
			   *position,
			   *group,
			   *item,
			   *drawn,
			   *raw_features;	/* not yet scaled, and gone then */
	Negatives  *negatives;		/* NULL: none are drawn */
	IdWriter	candidate[NN_MAX_FEATURES];
	IdWriter	context[NN_MAX_FEATURES];
} SampleWriter;

static void
open_samples(Build *build, int t, SampleWriter *writer)
{
	Dataset    *data = build->data;
	SampleRows *rows = &data->rows[t];
	const TaskOptions *options = &data->model->task[t].options;

	memset(writer, 0, sizeof(*writer));
	writer->user = column_add(data->store, sizeof(int32), &rows->user);
	writer->time = column_add(data->store, sizeof(TimestampTz), &rows->time);
	writer->label = column_add(data->store, sizeof(float), &rows->label);
	writer->item = column_add(data->store, sizeof(int32), &rows->item);
	if (build->samples[t] == NULL || build->weight[t] >= 0)
		writer->weight = column_add(data->store, sizeof(float), &rows->weight);
	if (options->type_weights)
		writer->type_weight = column_add(data->store, sizeof(float), &rows->type_weight);
	if (options->negatives > 0)
	{
		writer->negatives = negatives_make(data, build->candidate[t], build->n_candidate[t], build->context);
		writer->drawn = column_add(data->store, sizeof(uint8), &rows->drawn);
	}
	if (build->samples[t] && build->position[t] >= 0)
		writer->position = column_add(data->store, sizeof(int32), &rows->position);
	if (build->samples[t] && build->samples[t]->group >= 0)
		writer->group = column_add(data->store, sizeof(Cell), &rows->group);
	writer->raw_features = column_add(build->store, sizeof(float), NULL);
	for (int k = 0; k < build->n_candidate[t]; k++)
		writer->candidate[k] = id_writer(data, &rows->candidate[k],
										 candidate_feature(data->set, build->candidate[t][k])->multi);
	for (int f = 0; build->samples[t] && f < data->set->n[NN_CONTEXT]; f++)
		if (build->samples[t]->feature[NN_CONTEXT][f] >= 0)
			writer->context[f] = id_writer(data, &rows->context[f], data->set->f[NN_CONTEXT][f].multi);
}

/* Mean and scale of the training samples, unless a version has them, then z-scores; a NULL is the mean. */
static void
standardize(Build *build, int t, const SampleWriter *writer)
{
	Dataset    *data = build->data;
	SampleRows *rows = &data->rows[t];
	const RawUser *users = build->users->data;
	const int32 *user = writer->user->data;
	const TimestampTz *time = writer->time->data;
	const float *raw = writer->raw_features->data;
	Column	   *scaled = column_add(data->store, sizeof(float), &rows->features);
	const ModelTask *task = &data->model->task[t];
	int			F = task->n_features;
	bool		known;

	rows->mean = MemoryContextAllocZero(data->context, sizeof(float) * Max(F, 1));
	rows->scale = MemoryContextAllocZero(data->context, sizeof(float) * Max(F, 1));
	known = base_statistics(build, t, rows);
	for (int f = 0; f < F && !known; f++)
	{
		bool		flipped;
		const char *column = feature_column(task->kind, task->features[f], &flipped);
		double		sum = 0;
		double		squares = 0;
		double		mean;
		double		deviation;
		int64		n = 0;

		for (int64 i = 0; i < rows->n; i++)
		{
			if (i % CHECK_EVERY == 0)
				job_check();
			if (isfinite(raw[i * F + f]) && time[i] < users[user[i]].hold_out)
			{
				sum += raw[i * F + f];
				n++;
			}
		}
		mean = n > 0 ? sum / n : 0;
		for (int64 i = 0; i < rows->n; i++)
			if (isfinite(raw[i * F + f]) && time[i] < users[user[i]].hold_out)
				squares += (raw[i * F + f] - mean) * (raw[i * F + f] - mean);
		deviation = n > 0 ? sqrt(squares / n) : 0;
		rows->mean[f] = mean;
		rows->scale[f] = 1;
		if (deviation > 1e-12 * fabs(mean) && deviation > 0)
			rows->scale[f] = 1 / deviation;
		else
			job_note("task \"%s\": feature \"%s\" has %s before the hold-out and says nothing", task->name,
					 column, n > 0 ? "one value only" : "no value");
		if (flipped)
			rows->scale[f] = -rows->scale[f];
	}
	for (int64 i = 0; i < rows->n; i++)
	{
		if (i % CHECK_EVERY == 0)
			job_check();
		for (int f = 0; f < F; f++)
		{
			float		value = raw[i * F + f];

			value = isfinite(value) ? (value - rows->mean[f]) * rows->scale[f] : 0;
			column_append(scaled, &value, 1);
		}
	}
	column_finish(scaled);
}

/* raw: the samples' row, whose own columns tell more of the candidate than its item; NULL: there is none. */
static void
write_candidate(Build *build, int t, SampleWriter *writer, const RawRows *raw, int64 row, int32 item)
{
	Dataset    *data = build->data;

	for (int k = 0; k < build->n_candidate[t]; k++)
	{
		int			f = build->candidate[t][k];
		const Feature *feature = candidate_feature(data->set, f);
		const nn_ids *ids;
		const Cell *cells = NULL;
		int			n = 0;

		if (NN_IS_THING(f))
		{
			n = raw_cells(raw, raw->feature[NN_THING][f - NN_MAX_FEATURES], row, &cells);
			write_cells(&writer->candidate[k], feature, cells, n);
			continue;
		}
		ids = &data->catalogue.feature[f];
		if (raw != NULL && raw->feature[NN_ITEM][f] >= 0)
		{
			n = raw_cells(raw, raw->feature[NN_ITEM][f], row, &cells);
			write_cells(&writer->candidate[k], feature, cells, n);
		}
		else if (item < 0)
			write_cells(&writer->candidate[k], feature, NULL, 0);
		else if (ids->offsets)
			write_ids(&writer->candidate[k], ids->values + ids->offsets[item],
					  (int) (ids->offsets[item + 1] - ids->offsets[item]));
		else
			write_ids(&writer->candidate[k], ids->values + item, 1);
	}
}

/* A sample of a candidate: what all have. */
typedef struct Sample
{
	int32		user;
	TimestampTz time;
	float		label;
	float		weight;
	float		type_weight;
	int32		item;
	int64		row;			/* of the samples' relation, -1: it is an event */
	bool		drawn;
} Sample;

static void
write_sample(Build *build, int t, SampleWriter *writer, const Sample *sample)
{
	Dataset    *data = build->data;
	const FeatureSet *set = data->set;
	const RawRows *raw = build->samples[t];
	const int32 none = -1;		/* of a candidate that is no item, none is told apart */

	column_append(writer->user, &sample->user, 1);
	column_append(writer->time, &sample->time, 1);
	column_append(writer->label, &sample->label, 1);
	column_append(writer->item, writer->negatives == NULL || negatives_by_item(writer->negatives) ? &sample->item : &none, 1);
	if (writer->weight)
		column_append(writer->weight, &sample->weight, 1);
	if (writer->type_weight)
		column_append(writer->type_weight, &sample->type_weight, 1);
	if (writer->drawn)
	{
		uint8		drawn = sample->drawn;

		column_append(writer->drawn, &drawn, 1);
	}
	if (writer->position)
	{
		Cell		cell = raw_cell(raw, build->position[t], sample->row);
		int32		bucket = cell == CELL_NULL || sample->drawn ? -1 : position_bucket(cell);

		column_append(writer->position, &bucket, 1);
	}
	if (writer->group)
	{
		Cell		cell = raw_cell(raw, raw->group, sample->row);

		column_append(writer->group, &cell, 1);
	}
	for (int f = 0; f < data->model->task[t].n_features; f++)
	{
		int			c = raw->extra + 1 + f;
		float		value = cell_number(raw_cell(raw, c, sample->row), raw->column[c].kind);

		column_append(writer->raw_features, &value, 1);
	}

	/* drawn ones and positives are described in the same way, where these are known to be items */
	write_candidate(build, t, writer, writer->negatives && sample->item >= 0 ? NULL : raw, sample->row, sample->item);
	for (int f = 0; raw != NULL && f < set->n[NN_CONTEXT]; f++)
		if (raw->feature[NN_CONTEXT][f] >= 0)
		{
			const Cell *cells;
			int			n = raw_cells(raw, raw->feature[NN_CONTEXT][f], sample->row, &cells);

			write_cells(&writer->context[f], &set->f[NN_CONTEXT][f], cells, n);
		}
	data->rows[t].n++;
}

/* The negatives of a positive that was written; negatives_begin was called for its instant. */
static void
write_negatives(Build *build, int t, SampleWriter *writer, const Sample *positive, uint64 *random)
{
	Sample		sample = *positive;

	sample.label = 0;
	sample.drawn = true;
	for (int i = 0; i < build->data->model->task[t].options.negatives; i++)
	{
		sample.item = negatives_draw(writer->negatives, random);
		if (sample.item >= 0)
			write_sample(build, t, writer, &sample);
	}
}

/* The item of a row of the samples, -1: none, or not in the catalogue. */
static int32
sample_item(Build *build, int t, int64 row)
{
	const RawRows *raw = build->samples[t];

	return raw->key < 0 || raw_cell(raw, raw->key, row) == CELL_NULL ? -1 :
		catalogue_find(&build->data->catalogue, raw_cell(raw, raw->key, row));
}

/* One row of the samples; false when it has no label, or none of the items to tell from others. */
static bool
encode_sample(Build *build, int t, SampleWriter *writer, int64 row, int32 user, uint64 *random)
{
	const RawRows *raw = build->samples[t];
	Sample		sample = {.user = user, .time = raw_time(raw, row), .label = sample_label(build, t, row),
	.weight = 1, .item = sample_item(build, t, row), .row = row};

	if (isnan(sample.label) || (writer->negatives && raw->key >= 0 && sample.item < 0))
		return false;
	if (writer->weight)
	{
		int			w = build->weight[t];
		double		number = cell_number(raw_cell(raw, w, row), raw->column[w].kind);

		sample.weight = isfinite(number) && number > 0 ? number : 0;
	}
	write_sample(build, t, writer, &sample);
	if (writer->negatives && sample.label > 0.5f)
		write_negatives(build, t, writer, &sample, random);
	return true;
}

/* What is taken at the instant of row order[first] is not drawn beside it. */
static void
begin_instant(Build *build, int t, SampleWriter *writer, const User *user, const int64 *order, int64 first, int64 n)
{
	const RawRows *raw = build->samples[t];
	TimestampTz time = raw_time(raw, order[first]);

	negatives_begin(writer->negatives, user, time - build->data->model->task[t].options.embargo, time);
	for (int64 i = first; i < n && raw_time(raw, order[i]) == time; i++)
	{
		int32		ids[NN_MAX_FEATURES][NN_MAX_BAG];
		CandidateIds candidate;

		if (!(sample_label(build, t, order[i]) > 0.5f))
			continue;
		negatives_add(writer->negatives, sample_item(build, t, order[i]));
		for (int k = 0; raw->key < 0 && k < build->n_candidate[t]; k++)
		{
			int			f = build->candidate[t][k];
			const Cell *cells;
			int			m = raw_cells(raw, raw->feature[NN_ITEM][f], order[i], &cells);

			candidate.id[k] = ids[k];
			candidate.n[k] = encode_cells(&build->data->set->f[NN_ITEM][f], cells, m, ids[k]);
		}
		if (raw->key < 0)
			negatives_add_ids(writer->negatives, &candidate);
	}
}

static void
finish_samples(Build *build, int t, const SampleWriter *writer)
{
	column_finish(writer->user);
	column_finish(writer->time);
	column_finish(writer->raw_features);
	standardize(build, t, writer);
}

void
encode_samples(Build *build, int t)
{
	Dataset    *data = build->data;
	const ModelTask *task = &data->model->task[t];
	const RawRows *raw = build->samples[t];
	const RawRun *runs = raw->run->data;
	SampleWriter writer;
	int64		skipped = 0;
	int64		unsettled = 0;
	int64	   *order = NULL;
	int64		capacity = 0;
	int64		at = 0;

	open_samples(build, t, &writer);
	for (int64 r = 0, end; r < raw->run->n; r = end)
	{
		int32		user = (int32) (raw_user(build, &at, runs[r].user) - (const RawUser *) build->users->data);
		uint64		random = 0;
		int64		n;

		for (end = r + 1; end < raw->run->n && runs[end].user == runs[r].user; end++)
			 /* runs of one user */ ;
		n = gather_rows(raw, r, end - r, &order, &capacity);
		for (int64 i = 0; i < n; i++)
		{
			TimestampTz time = raw_time(raw, order[i]);

			if (i % CHECK_EVERY == 0)
				job_check();
			if (!label_settled(build, t, time))
			{
				unsettled++;
				continue;
			}
			if (writer.negatives && (i == 0 || raw_time(raw, order[i - 1]) != time))
			{
				begin_instant(build, t, &writer, &data->users[user], order, i, n);
				random = negatives_seed(data, &data->users[user], time);
			}
			if (!encode_sample(build, t, &writer, order[i], user, &random))
				skipped++;
		}
	}
	if (skipped > 0)
		job_note("task \"%s\": " INT64_FORMAT " samples without a usable \"%s\" were skipped",
				 task->name, skipped, task->label ? task->label : data->model->relations.item_key);
	if (unsettled > 0)
		job_note("task \"%s\": " INT64_FORMAT " samples are younger than \"matures\" at the last event and were left out",
				 task->name, unsettled);
	if (data->rows[t].n == 0 && data->since == DT_NOBEGIN)
		ereport(ERROR,
				(errcode(ERRCODE_NO_DATA_FOUND),
				 errmsg("relation %s has no samples for task \"%s\"", task->samples, task->name),
				 raw->n + raw->skipped > 0 ?
				 errdetail("None of its " INT64_FORMAT " rows has a user, a time and a label%s.",
						   raw->n + raw->skipped, unsettled > 0 ? " that has matured" : "") : 0,
				 errhint("Row-level security and privileges of role \"%s\" decide what a job sees.",
						 data->model->owner)));
	finish_samples(build, t, &writer);
	if (order)
		pfree(order);
}

void
encode_positives(Build *build, int t)
{
	Dataset    *data = build->data;
	const EventTable *events = data->events;
	SampleWriter writer;

	open_samples(build, t, &writer);
	for (int32 u = 0; u < data->n_users; u++)
	{
		const User *user = &data->users[u];
		int64		end = user->start + user->n;

		if (u % CHECK_EVERY == 0)
			job_check();
		for (int64 begin = user->start, next; begin < end; begin = next)
		{
			TimestampTz time = events->time[begin];
			uint64		random = negatives_seed(data, user, time);
			int			size = 0;

			for (next = begin; next < end && events->time[next] == time; next++)
				size += event_is_target(data, t, next);
			if (size == 0)
				continue;
			negatives_begin(writer.negatives, user, time - data->model->task[t].options.embargo, time);
			for (int64 event = begin; event < next; event++)
			{
				Sample		sample = {.user = u, .time = time, .label = 1, .weight = 1.0f / size,
				.type_weight = data->type_weight[t] ? data->type_weight[t][event] : 1,
				.item = events->item[event], .row = -1};

				if (!event_is_target(data, t, event))
					continue;
				write_sample(build, t, &writer, &sample);
				write_negatives(build, t, &writer, &sample, &random);
			}
		}
	}
	if (data->rows[t].n == 0 && data->since == DT_NOBEGIN)
		ereport(ERROR,
				(errcode(ERRCODE_NO_DATA_FOUND),
				 errmsg("task \"%s\" has no samples: no event with an item fits its \"where\"",
						data->model->task[t].name)));
	finish_samples(build, t, &writer);
}
