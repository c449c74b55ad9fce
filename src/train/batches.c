/*-------------------------------------------------------------------------
 *
 * batches.c
 *	  From moments to batches for the network
 *
 *-------------------------------------------------------------------------
 */
#include "train/batches.h"

#include <math.h>

#include "train/dataset.h"
#include "train/memory.h"
#include "train/negatives.h"
#include "train/softmax.h"
#include "utils/memutils.h"

#define LOGIT_FLOATS	(16 * 1024 * 1024)	/* of a step: 64 MB */
#define REPEAT_COUNTS	4		/* the last index of repeat.count */
#define EXTRA_NEIGHBOURS 64		/* of the window's items, of a sample with drawn negatives */

/* The samples of a task as they grow. */
typedef struct TaskSamples
{
	int			n;
	Array		view,
				weight,
				label,
				label_class,
				features,
				position,
				group;
	Array		candidate[NN_MAX_FEATURES];
	Array		candidate_offsets[NN_MAX_FEATURES];
	Array		target_offsets,
				target,
				target_weight;
	Array		wide_offsets,
				wide;
	Array		memory_offsets,
				memory;
	Array		extra_offsets,
				extra;
	Array		hidden_offsets,
				hidden;
} TaskSamples;

struct Batches
{
	const Dataset *data;
	const Moments *moments;
	const nn_config *config;
	const nn_layout *layout;
	MemoryContext context;
	BatchBuilder *builder;
	bool		one_each;		/* a sequence per view: prefixes share nothing */

	const Vectors *train;		/* user vectors that are known, or NULL */
	const Vectors *served;
	Array		given;			/* those of a batch */

	uint32		tasks;			/* that learn, and whose samples training batches hold */
	bool		all_items;
	Softmax		softmax;
	Negatives  *negatives[NN_MAX_TASKS];	/* or NULL */
	uint64	   *random;			/* of a training batch, else NULL */
	MemoryTerms *memory[NN_MAX_TASKS];	/* NULL: no such term */
	WindowItem *window;
	IdRow	   *profile;
	IdRow	   *context_row;
	TaskSamples task[NN_MAX_TASKS];
};

/* ---------------- beginning ---------------- */

Batches *
batches_make(const Dataset *data, const Moments *moments, const nn_config *config,
			 const nn_layout *layout, MemoryContext context)
{
	Batches    *batches = MemoryContextAllocZero(context, sizeof(Batches));
	bool		next_item = false;

	batches->data = data;
	batches->moments = moments;
	batches->config = config;
	batches->layout = layout;
	batches->context = context;
	batches->builder = batch_builder(data->set, context);
	batches->one_each = config->bidirectional || data->set->recency >= 0;
	batches->window = MemoryContextAlloc(context, sizeof(WindowItem) * Max(data->set->max_events, 1));
	batches->profile = MemoryContextAlloc(context, sizeof(IdRow));
	batches->context_row = MemoryContextAlloc(context, sizeof(IdRow));
	for (int t = 0; t < config->n_task; t++)
	{
		next_item |= config->task[t].kind == NN_NEXT_ITEM;
		if (config->task[t].memory > 0)
			batches->memory[t] = memory_terms_make(data, t, layout->task[t].repeat_recency >= 0, context);
	}
	if (next_item)
		softmax_make(&batches->softmax, data, context);
	for (int t = 0; t < config->n_task; t++)
		if (data->model->task[t].options.negatives > 0)
			batches->negatives[t] = negatives_make(data, config->task[t].candidate, config->task[t].n_candidate,
												   context);
	return batches;
}

void
batches_choose(Batches *batches, uint32 tasks, bool all_items)
{
	batches->tasks = tasks;
	batches->all_items = all_items;
}

int
batches_most_views(const Batches *batches, int wanted, bool served)
{
	int			columns = batches->softmax.sampled && !served ? NEGATIVES : Max(batches->softmax.all.n, 1);

	return Max(1, Min(wanted, LOGIT_FLOATS / columns));
}

int
batches_most_moments(const Batches *batches)
{
	return batches->train ? 1 : batches_most_views(batches, batches->data->model->options.batch_size, false);
}

/* ---------------- samples ---------------- */

static void
samples_reset(Batches *batches)
{
	batches->given.n = 0;
	for (int t = 0; t < batches->config->n_task; t++)
	{
		TaskSamples *s = &batches->task[t];
		Array	   *arrays[] = {&s->view, &s->weight, &s->label, &s->label_class, &s->features, &s->position, &s->group,
			&s->target_offsets, &s->target, &s->target_weight, &s->wide_offsets, &s->wide,
			&s->memory_offsets, &s->memory, &s->extra_offsets, &s->extra, &s->hidden_offsets, &s->hidden};
		Array	   *offsets[] = {&s->target_offsets, &s->wide_offsets, &s->memory_offsets,
		&s->extra_offsets, &s->hidden_offsets};

		for (int i = 0; i < lengthof(arrays); i++)
			arrays[i]->n = 0;
		for (int i = 0; i < lengthof(offsets); i++)
			PUSH(batches->context, offsets[i], int64, 0);
		for (int k = 0; k < batches->config->task[t].n_candidate; k++)
		{
			s->candidate[k].n = s->candidate_offsets[k].n = 0;
			PUSH(batches->context, &s->candidate_offsets[k], int64, 0);
		}
		s->n = 0;
	}
}

static void
push_sample(Batches *batches, TaskSamples *s, int view, float weight)
{
	PUSH(batches->context, &s->view, int32, view);
	PUSH(batches->context, &s->weight, float, weight);
	s->n++;
}

/* The column of an item for the sample at hand alone. */
static int32
extra_column(Batches *batches, TaskSamples *s, int32 item, bool in_window)
{
	int32		shared = batches->softmax.drawn.of_item[item];
	int32		column = softmax_extra(&batches->softmax, item, in_window);

	batches->softmax.sample_column[item] = column;
	PUSH(batches->context, &s->extra, int32, column);
	if (shared >= 0)
		PUSH(batches->context, &s->hidden, int32, shared);
	return column;
}

static void
push_wide(Batches *batches, int t, TaskSamples *s, int32 column, const WindowItem *w)
{
	int			tensor = batches->layout->task[t].repeat_recency;
	int64		rows;
	int64		cols;

	if (tensor < 0)
		return;
	rows = batches->layout->tensor[tensor].rows;
	cols = batches->layout->tensor[tensor].cols;
	if (cols > 0)
		PUSH(batches->context, &s->wide, nn_wide, ((nn_wide) {column, Min(w->type, rows - 1) * cols + w->recency, 1}));
	PUSH(batches->context, &s->wide, nn_wide, ((nn_wide) {column, rows * cols + Min(w->count, REPEAT_COUNTS), 1}));
}

/* Near neighbours of the window's items are among a sample's columns, as those are. */
static void
push_neighbours(Batches *batches, int t, TaskSamples *s)
{
	int32		items[EXTRA_NEIGHBOURS];
	int			n = memory_strongest(batches->memory[t], EXTRA_NEIGHBOURS, items);

	for (int i = 0; i < n; i++)
		if (batches->softmax.sample_column[items[i]] < 0)
			extra_column(batches, s, items[i], true);
}

/* The memory term, in the columns that the sample has. */
static void
push_memory(Batches *batches, TaskSamples *s, const MemoryTerm *term, int64 n,
			bool sampled, const Columns *columns)
{
	for (int64 i = 0; i < n; i++)
	{
		int32		column = sampled ? batches->softmax.sample_column[term[i].item] : -1;

		if (column < 0)
			column = columns->of_item[term[i].item];
		if (column >= 0)
			PUSH(batches->context, &s->memory, nn_memory, ((nn_memory) {column, term[i].lag, term[i].value}));
	}
}

/* One sample of next_item: the allowed events of the instant are its targets. */
static void
push_next_item(Batches *batches, int t, const Moment *moment, int view, TimestampTz now,
			   const Columns *columns)
{
	const Dataset *data = batches->data;
	const User *user = &data->users[moment->user];
	TaskSamples *s = &batches->task[t];
	bool		sampled = columns == &batches->softmax.drawn;
	int64		first_extra = s->extra.n;
	int			size = 0;
	float		total = 0;
	int			n;
	int			items;
	int64		start;
	const MemoryTerm *term = NULL;
	int64		n_terms = 0;

	for (int64 event = moment->target; event < moment->target + moment->n_target; event++)
		if (event_is_target(data, t, event))
		{
			size++;
			total += event_weight(data, t, event);
		}
	if (size == 0)
		return;

	start = event_window(data->events, data->set, user->start, moment->end, now, &n);
	items = window_items(data->set, data->events, start, n, now, batches->window);
	for (int i = 0; i < items; i++)
	{
		const WindowItem *w = &batches->window[i];
		int32		column = sampled ? extra_column(batches, s, w->item, true) :
			columns->of_item[w->item];

		if (column >= 0)
			push_wide(batches, t, s, column, w);
	}
	if (batches->memory[t])
	{
		n_terms = memory_terms(batches->memory[t], moment, start, n, &term);
		if (sampled)
			push_neighbours(batches, t, s);
	}
	for (int64 event = moment->target; event < moment->target + moment->n_target; event++)
	{
		int32		item = data->events->item[event];
		int32		column;

		if (!event_is_target(data, t, event))
			continue;
		if (!sampled)
			column = columns->of_item[item];
		else if (batches->softmax.sample_column[item] >= 0)
			column = batches->softmax.sample_column[item];
		else
			column = extra_column(batches, s, item, false);
		Assert(column >= 0);
		PUSH(batches->context, &s->target, int32, column);
		PUSH(batches->context, &s->target_weight, float,
			 total > 0 ? event_weight(data, t, event) / total : 1.0f / size);
	}
	if (n_terms > 0)
		push_memory(batches, s, term, n_terms, sampled, columns);
	for (int64 k = first_extra; k < s->extra.n; k++)
	{
		int32		column = ((const int32 *) s->extra.data)[k];

		batches->softmax.sample_column[((const int32 *) columns->item.data)[column]] = -1;
	}
	push_sample(batches, s, view, total / size);
	PUSH(batches->context, &s->target_offsets, int64, s->target.n);
	PUSH(batches->context, &s->wide_offsets, int64, s->wide.n);
	PUSH(batches->context, &s->memory_offsets, int64, s->memory.n);
	PUSH(batches->context, &s->extra_offsets, int64, s->extra.n);
	PUSH(batches->context, &s->hidden_offsets, int64, s->hidden.n);
}

/* One sample per allowed event of the instant that has a class. */
static void
push_classes(Batches *batches, int t, const Moment *moment, int view)
{
	TaskSamples *s = &batches->task[t];
	int			size = 0;

	for (int64 event = moment->target; event < moment->target + moment->n_target; event++)
		size += event_is_target(batches->data, t, event);
	for (int64 event = moment->target; event < moment->target + moment->n_target; event++)
		if (event_is_target(batches->data, t, event))
		{
			push_sample(batches, s, view, event_weight(batches->data, t, event) / size);
			PUSH(batches->context, &s->label_class, int32, event_class(batches->data, t, event));
		}
}

static void
push_candidate(Batches *batches, TaskSamples *s, int k, const int32 *values, const int64 *offsets, int64 row)
{
	int64		begin = offsets ? offsets[row] : row;
	int64		end = offsets ? offsets[row + 1] : row + 1;

	for (int64 i = begin; i < end; i++)
		PUSH(batches->context, &s->candidate[k], int32, values[i]);
	PUSH(batches->context, &s->candidate_offsets[k], int64, s->candidate[k].n);
}

/* What no negative of the moment's rows may be. */
static void
begin_negatives(Batches *batches, int t, const Moment *moment)
{
	const Dataset *data = batches->data;
	const SampleRows *rows = &data->rows[t];

	negatives_begin(batches->negatives[t], &data->users[moment->user], moment_now(data, moment), moment->time);
	for (int64 row = moment->target; row < moment->target + moment->n_target; row++)
	{
		CandidateIds candidate;

		if (!(rows->label[row] > 0.5f))
			continue;
		negatives_add(batches->negatives[t], rows->item[row]);
		if (negatives_by_item(batches->negatives[t]))
			continue;
		for (int k = 0; k < batches->config->task[t].n_candidate; k++)
		{
			const IdColumn *column = &rows->candidate[k];
			int64		begin = column->offsets ? column->offsets[row] : row;

			candidate.id[k] = column->values + begin;
			candidate.n[k] = column->offsets ? (int) (column->offsets[row + 1] - begin) : 1;
		}
		negatives_add_ids(batches->negatives[t], &candidate);
	}
}

static void
push_rows(Batches *batches, int t, const Moment *moment, int view)
{
	const SampleRows *rows = &batches->data->rows[t];
	const nn_task *task = &batches->config->task[t];
	TaskSamples *s = &batches->task[t];
	bool		draws = batches->negatives[t] != NULL && batches->random != NULL;
	int32		group = 0;

	if (draws)
		begin_negatives(batches, t, moment);
	for (int64 row = moment->target; row < moment->target + moment->n_target; row++)
	{
		int32		item = draws && rows->drawn[row] ? negatives_draw(batches->negatives[t], batches->random) : -1;

		push_sample(batches, s, view, row_weight(batches->data, t, row));
		PUSH(batches->context, &s->label, float, rows->label[row]);
		PUSH(batches->context, &s->label_class, int32, (int32) rows->label[row]);
		if (rows->position)
			PUSH(batches->context, &s->position, int32, rows->position[row]);
		if (row == moment->target || !rows_compared(rows, row - 1, row))
			group++;
		PUSH(batches->context, &s->group, int32, group);
		for (int f = 0; f < task->features; f++)
			PUSH(batches->context, &s->features, float, rows->features[row * task->features + f]);
		for (int k = 0; k < task->n_candidate; k++)
		{
			if (item >= 0)
			{
				const nn_ids *ids = &batches->data->catalogue.feature[task->candidate[k]];

				push_candidate(batches, s, k, ids->values, ids->offsets, item);
			}
			else
				push_candidate(batches, s, k, rows->candidate[k].values, rows->candidate[k].offsets, row);
		}
	}
}

static void
push_moment(Batches *batches, const Moment *moment, uint32 tasks, int view, TimestampTz now,
			const Columns *columns)
{
	for (int t = 0; t < batches->config->n_task; t++)
	{
		if (!(tasks & (uint32) 1 << t) || !batches->moments->wanted[t] ||
			(moment->task >= 0 ? moment->task != t : !task_from_events(&batches->data->model->task[t])))
			continue;
		if (moment->task >= 0)
			push_rows(batches, t, moment, view);
		else if (batches->config->task[t].kind == NN_NEXT_ITEM)
			push_next_item(batches, t, moment, view, now, columns);
		else
			push_classes(batches, t, moment, view);
	}
}

static int
push_view(Batches *batches, const Moment *moment, int length, TimestampTz now,
		  const IdDropout *dropout)
{
	/* what led to an event is asked when it happens, not before */
	bool		asked = moment->task >= 0 || now == moment->time;

	dataset_profile(batches->data, moment->user, batches->profile);
	if (asked)
		dataset_context(batches->data, moment->task, moment->target, batches->context_row);
	return batch_add_view(batches->builder, length, now, batches->profile,
						  asked ? batches->context_row : NULL, dropout);
}

/* Hand the samples over to the batch. */
static nn_batch *
samples_finish(Batches *batches, Columns *columns, bool has_log_q, bool places)
{
	nn_batch   *batch = batch_finish(batches->builder);

	batch->vector = batches->given.n > 0 ? (const float *) batches->given.data : NULL;

	for (int t = 0; t < batches->config->n_task; t++)
	{
		const nn_task *task = &batches->config->task[t];
		TaskSamples *s = &batches->task[t];
		nn_samples *out = &batch->samples[t];

		memset(out, 0, sizeof(*out));
		out->n = s->n;
		out->view = (const int32 *) s->view.data;
		out->weight = (const float *) s->weight.data;
		if (task->kind == NN_MULTICLASS)
			out->label_class = (const int32 *) s->label_class.data;
		else
			out->label = (const float *) s->label.data;
		out->features = (const float *) s->features.data;
		if (task->position > 0 && places)
			out->position = (const int32 *) s->position.data;
		if (task->pairwise > 0)
			out->group = (const int32 *) s->group.data;
		for (int k = 0; k < task->n_candidate; k++)
		{
			out->candidate[k].values = (const int32 *) s->candidate[k].data;
			if (nn_candidate_feature(batches->config, task->candidate[k])->multi)
				out->candidate[k].offsets = (const int64 *) s->candidate_offsets[k].data;
		}
		if (task->kind != NN_NEXT_ITEM)
			continue;
		out->label = NULL;
		out->columns = columns->n;
		out->shared = columns->shared;
		memcpy(out->column, columns->ids, sizeof(out->column));
		if (has_log_q)
			out->log_q = (const float *) columns->log_q.data;
		out->target_offsets = (const int64 *) s->target_offsets.data;
		out->target = (const int32 *) s->target.data;
		out->target_weight = (const float *) s->target_weight.data;
		if (has_log_q)
		{
			out->extra_offsets = (const int64 *) s->extra_offsets.data;
			out->extra = (const int32 *) s->extra.data;
			out->hidden_offsets = (const int64 *) s->hidden_offsets.data;
			out->hidden = (const int32 *) s->hidden.data;
		}
		out->wide_offsets = (const int64 *) s->wide_offsets.data;
		out->wide = (const nn_wide *) s->wide.data;
		if (task->memory > 0)
		{
			out->memory_offsets = (const int64 *) s->memory_offsets.data;
			out->memory = (const nn_memory *) s->memory.data;
		}
	}
	return batch;
}

/* Half of the views stand at the target's time, half somewhere since the event before it. */
static TimestampTz
draw_now(const Batches *batches, const Moment *moment, uint64 *random)
{
	const User *user = &batches->data->users[moment->user];
	TimestampTz last;

	if (moment->task >= 0 || moment->end == user->start || nn_random_uniform(random) < .5)
		return moment_now(batches->data, moment);
	last = batches->data->events->time[moment->end - 1];
	return moment->time - (int64) (nn_random_uniform(random) * (double) (moment->time - last));
}

/* The views of a stretch, with their samples unless columns is NULL; nows, unless NULL, gets their times. */
static void
push_stretch(Batches *batches, const Stretch *stretch, uint64 *random, const IdDropout *dropout,
			 const Columns *columns, TimestampTz *nows)
{
	const Dataset *data = batches->data;

	if (!batches->one_each)
		batch_add_sequence(batches->builder, data->events, stretch->start, stretch->length, 0, dropout);
	for (int k = 0; k < stretch->span; k++)
	{
		const Moment *moment = &batches->moments->moment[stretch->first + k];
		int			length = (int) (moment->end - stretch->start);
		TimestampTz now;
		int			view;

		if (!(stretch->sources & moment_source(moment)))
			continue;
		now = draw_now(batches, moment, random);
		if (batches->one_each)
		{
			const User *user = &data->users[moment->user];
			int64		start = event_window(data->events, data->set, user->start, moment->end,
											 now, &length);

			batch_add_sequence(batches->builder, data->events, start, length, now, dropout);
		}
		view = push_view(batches, moment, length, now, dropout);
		if (columns)
			push_moment(batches, moment, batches->tasks, view, now, columns);
		if (nows)
			*nows++ = now;
	}
}

/* A moment whose user vector is known: a view of no events. */
static void
push_given(Batches *batches, const Vectors *vectors, int64 m, uint32 tasks, const Columns *columns)
{
	const Moment *moment = &batches->moments->moment[m];
	size_t		width = sizeof(float) * batches->config->R;
	TimestampTz now;
	const float *vector = vectors_find(vectors, m, &now);

	memcpy(array_next(batches->context, &batches->given, width), vector, width);
	push_moment(batches, moment, tasks, batch_add_view(batches->builder, 0, now, NULL, NULL, NULL), now, columns);
}

nn_batch *
batches_train(Batches *batches, const Stretch *stretches, int n, uint64 *random)
{
	const Dataset *data = batches->data;
	const ModelOptions *options = &data->model->options;
	IdDropout	dropout = {.item_key = options->id_dropout, .profile = options->profile_dropout,
	.context = options->context_dropout, .random = random};
	Columns    *columns = batches->softmax.sampled ? &batches->softmax.drawn :
		batches->all_items ? &batches->softmax.all : &batches->softmax.known;
	nn_batch   *batch;

	batches->random = random;
	batch_reset(batches->builder);
	samples_reset(batches);
	if (batches->softmax.sampled)
		softmax_draw(&batches->softmax, random);
	if (batches->train)
		batch_add_sequence(batches->builder, data->events, 0, 0, 0, NULL);
	for (int i = 0; i < n; i++)
		if (batches->train)
			push_given(batches, batches->train, stretches[i].first, batches->tasks, columns);
		else
			push_stretch(batches, &stretches[i], random, &dropout, columns, NULL);
	if (batches->softmax.sampled)
		softmax_gather(&batches->softmax, columns);
	batch = samples_finish(batches, columns, batches->softmax.sampled, true);
	if (options->id_dropout > 0 && batches->config->n_feature[NN_ITEM] > 1)
	{
		const int32 *key = softmax_drop_keys(&batches->softmax, columns, options->id_dropout, random);

		for (int t = 0; t < batches->config->n_task; t++)
			if (batches->config->task[t].kind == NN_NEXT_ITEM)
				batch->samples[t].column[0].values = key;
	}
	return batch;
}

nn_batch *
batches_served(Batches *batches, const int64 *moments, int n, bool places)
{
	const Dataset *data = batches->data;

	batches->random = NULL;
	batch_reset(batches->builder);
	samples_reset(batches);
	if (batches->served)
		batch_add_sequence(batches->builder, data->events, 0, 0, 0, NULL);
	for (int i = 0; i < n && batches->served; i++)
		push_given(batches, batches->served, moments[i], ALL_TASKS, &batches->softmax.all);
	for (int i = 0; i < n && !batches->served; i++)
	{
		const Moment *moment = &batches->moments->moment[moments[i]];
		const User *user = &data->users[moment->user];
		TimestampTz now = moment_now(data, moment);
		int			length;
		int64		start = event_window(data->events, data->set, user->start, moment->end, now, &length);

		batch_add_sequence(batches->builder, data->events, start, length, now, NULL);
		push_moment(batches, moment, ALL_TASKS, push_view(batches, moment, length, now, NULL), now,
					&batches->softmax.all);
	}
	return samples_finish(batches, &batches->softmax.all, false, places);
}

nn_batch *
batches_views(Batches *batches, const Stretch *stretches, int n, uint64 *random, TimestampTz *now)
{
	batch_reset(batches->builder);
	samples_reset(batches);
	for (int i = 0; i < n; i++)
	{
		push_stretch(batches, &stretches[i], random, NULL, NULL, now);
		now += stretches[i].n;
	}
	return samples_finish(batches, &batches->softmax.all, false, false);
}

int64
batches_stretch_events(const Batches *batches, const Stretch *stretch)
{
	return (int64) stretch->length * (batches->one_each ? stretch->n : 1);
}

void
batches_give(Batches *batches, const Vectors *train, const Vectors *served)
{
	batches->train = train;
	batches->served = served;
}
