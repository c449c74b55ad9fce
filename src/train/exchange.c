/*-------------------------------------------------------------------------
 *
 * exchange.c
 *	  A batch shared out among the processes of a team
 *
 * A share in memory is a header and then arrays, each behind the number of its
 * entries, -1 for one that is absent, at multiples of 8 bytes.  Offsets begin
 * at 0 again, as do the numbers of sequences and views.
 *
 *-------------------------------------------------------------------------
 */
#include "train/exchange.h"

#include "nn/layers.h"

/* Building a batch, in products of two numbers that take as long */
#define BUILD_EVENT		600.0
#define BUILD_PAIR		60.0
#define BUILD_VIEW		10000.0

typedef struct ShareHeader
{
	SharePlace	place;
	int			sequences;
	int			views;
	int			n[NN_MAX_TASKS];
	int			columns[NN_MAX_TASKS];
	int			shared[NN_MAX_TASKS];
} ShareHeader;

/* ---------------- who does what ---------------- */

/* Products of a forward pass. */
typedef struct Costs
{
	double		event;
	double		pair;			/* a view and an event it sees */
	double	   *view;			/* [views], the samples included */
} Costs;

static double
sample_cost(const nn_config *config, int t, const nn_samples *samples)
{
	const nn_task *task = &config->task[t];
	double		width = config->head_width + nn_extra_width(task);
	double		cost = 0;

	if (task->kind == NN_NEXT_ITEM)
		return (double) config->E * (config->head_width + samples->shared);
	for (int k = 0; k < task->n_hidden; k++)
	{
		cost += width * task->hidden[k];
		width = task->hidden[k];
	}
	return cost + width * nn_output_width(config, task);
}

static void
find_costs(const nn_config *config, const nn_batch *batch, Costs *costs)
{
	double		layer2 = (double) config->attention[0] * config->attention[1] + config->attention[1];

	costs->event = 4.0 * config->hidden * (config->E + config->hidden) + 3.0 * config->hidden * config->Pg;
	if (config->bidirectional)
		costs->event *= 2;
	costs->event += (double) config->attention[0] * (config->Pa + config->W);
	costs->pair = config->W;
	if (config->Q + config->U == 0)
		costs->event += layer2;	/* the same for all views */
	else
		costs->pair += layer2;
	costs->view = palloc(sizeof(double) * Max(batch->views, 1));
	for (int v = 0; v < batch->views; v++)
		costs->view[v] = (double) config->attention[0] * (config->Q + config->U) +
			(double) config->experts * config->head_width * config->R;
	for (int t = 0; t < config->n_task; t++)
	{
		const nn_samples *samples = &batch->samples[t];
		double		cost = samples->n > 0 ? sample_cost(config, t, samples) : 0;

		for (int s = 0; s < samples->n; s++)
			costs->view[samples->view[s]] += cost + (samples->extra_offsets == NULL ? 0 : (double) config->E *
													 (samples->extra_offsets[s + 1] - samples->extra_offsets[s]));
	}
}

/* The first view behind a share that begins at one and costs at most so much. */
static int
fill_share(const nn_batch *batch, const Costs *costs, int begin, double most)
{
	double		cost = 0;
	int32		seen = 0;		/* events of the sequence at hand */
	int			v;

	for (v = begin; v < batch->views; v++)
	{
		int32		length = batch->view_length[v];

		if (v == begin || batch->view_sequence[v] != batch->view_sequence[v - 1])
			seen = 0;
		cost += costs->event * Max(length - seen, 0) + costs->pair * length + costs->view[v];
		seen = Max(seen, length);
		if (cost > most)
			break;
	}
	return v;
}

/* Cut so that no share costs more; false: that is too little. */
static bool
cut(const nn_batch *batch, const Costs *costs, int n, double most, double building, int *first)
{
	first[0] = 0;
	for (int r = 0; r < n; r++)
		first[r + 1] = fill_share(batch, costs, first[r], most - (r == 0 ? building : 0));
	return first[n] == batch->views;
}

void
share_out(const nn_config *config, const nn_batch *batch, int n, int passes, int *first)
{
	double		events = batch->sequences > 0 ? batch->offsets[batch->sequences] : 0;
	double		pairs = batch->views > 0 ? batch->view_offsets[batch->views] : 0;
	double		building = (events * BUILD_EVENT + pairs * BUILD_PAIR + batch->views * BUILD_VIEW) / passes;
	double		low = 0;
	double		high = building;
	Costs		costs;

	find_costs(config, batch, &costs);
	high += costs.event * events + costs.pair * pairs;
	for (int v = 0; v < batch->views; v++)
		high += costs.view[v];
	high *= 1.001;
	for (int i = 0; i < 40; i++)
	{
		double		middle = (low + high) / 2;

		if (cut(batch, &costs, n, middle, building, first))
			high = middle;
		else
			low = middle;
	}
	(void) cut(batch, &costs, n, high, building, first);
	pfree(costs.view);
}

/* ---------------- writing ---------------- */

typedef struct Sink
{
	char	   *base;			/* NULL: only count */
	Size		used;
} Sink;

static char *
put_space(Sink *sink, int64 n, Size size)
{
	Size		at = sink->used;

	sink->used = add_size(at, sizeof(int64) + TYPEALIGN(8, mul_size(Max(n, 0), size)));
	if (sink->base == NULL)
		return NULL;
	*(int64 *) (sink->base + at) = n;
	return sink->base + at + sizeof(int64);
}

/* Entries [begin, end) of an array that may be absent. */
static void
put(Sink *sink, const void *array, int64 begin, int64 end, Size size)
{
	char	   *out = put_space(sink, array ? end - begin : -1, size);

	if (out != NULL && array != NULL)
		memcpy(out, (const char *) array + begin * size, (end - begin) * size);
}

static void
put_offsets(Sink *sink, const int64 *offsets, int64 begin, int64 end)
{
	int64	   *out = (int64 *) put_space(sink, offsets ? end - begin + 1 : -1, sizeof(int64));

	for (int64 i = begin; out != NULL && offsets != NULL && i <= end; i++)
		out[i - begin] = offsets[i] - offsets[begin];
}

/* Numbers from `from` on, which become numbers from 0 on. */
static void
put_numbers(Sink *sink, const int32 *number, int64 begin, int64 end, int32 from)
{
	int32	   *out = (int32 *) put_space(sink, end - begin, sizeof(int32));

	for (int64 i = begin; out != NULL && i < end; i++)
		out[i - begin] = number[i] - from;
}

/* Lists of the samples [begin, end): offsets, and entries by put_entries. */
static void
put_entries(Sink *sink, const int64 *offsets, const void *array, int64 begin, int64 end, Size size)
{
	put(sink, offsets ? array : NULL, offsets ? offsets[begin] : 0, offsets ? offsets[end] : 0, size);
}

static void
put_ids(Sink *sink, const nn_ids *ids, int64 begin, int64 end)
{
	put_offsets(sink, ids->offsets, begin, end);
	if (ids->offsets)
		put_entries(sink, ids->offsets, ids->values, begin, end, sizeof(int32));
	else
		put(sink, ids->values, begin, end, sizeof(int32));
}

static void
put_group(Sink *sink, const nn_config *config, nn_group group, const nn_ids *ids, int64 begin, int64 end)
{
	for (int f = 0; f < config->n_feature[group]; f++)
		put_ids(sink, &ids[f], begin, end);
}

/* The first sample of a view or a later one. */
static int
first_sample(const nn_samples *samples, int view)
{
	int			low = 0;
	int			high = samples->n;

	while (low < high)
	{
		int			middle = low + (high - low) / 2;

		if (samples->view[middle] < view)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Rows of the hidden layers of a head that come before a sample: see nn_mlp. */
static uint64
rows_before(const nn_task *task, const nn_samples *samples, int sample)
{
	uint64		rows = 0;

	if (nn_extra_width(task) > 0)
		return sample;
	for (int s = 0; s < sample; s++)
		rows += s == 0 || samples->view[s] != samples->view[s - 1];
	return rows;
}

static void
put_samples(Sink *sink, const nn_config *config, int t, const nn_samples *samples,
			int begin, int end, int first_view)
{
	const nn_task *task = &config->task[t];

	put_numbers(sink, samples->view, begin, end, first_view);
	put(sink, samples->weight, begin, end, sizeof(float));
	put(sink, samples->label, begin, end, sizeof(float));
	put(sink, samples->label_class, begin, end, sizeof(int32));
	put(sink, samples->position, begin, end, sizeof(int32));
	put(sink, samples->group, begin, end, sizeof(int32));
	put(sink, samples->features, (int64) begin * task->features, (int64) end * task->features, sizeof(float));
	for (int k = 0; k < task->n_candidate; k++)
		put_ids(sink, &samples->candidate[k], begin, end);
	if (task->kind != NN_NEXT_ITEM)
		return;
	put_group(sink, config, NN_ITEM, samples->column, 0, samples->columns);
	put(sink, samples->log_q, 0, samples->columns, sizeof(float));
	put_offsets(sink, samples->target_offsets, begin, end);
	put_entries(sink, samples->target_offsets, samples->target, begin, end, sizeof(int32));
	put_entries(sink, samples->target_offsets, samples->target_weight, begin, end, sizeof(float));
	put_offsets(sink, samples->extra_offsets, begin, end);
	put_entries(sink, samples->extra_offsets, samples->extra, begin, end, sizeof(int32));
	put_offsets(sink, samples->hidden_offsets, begin, end);
	put_entries(sink, samples->hidden_offsets, samples->hidden, begin, end, sizeof(int32));
	put_offsets(sink, samples->wide_offsets, begin, end);
	put_entries(sink, samples->wide_offsets, samples->wide, begin, end, sizeof(nn_wide));
	put_offsets(sink, samples->memory_offsets, begin, end);
	put_entries(sink, samples->memory_offsets, samples->memory, begin, end, sizeof(nn_memory));
}

static void
put_share(Sink *sink, const nn_config *config, const nn_batch *batch, int begin, int end)
{
	ShareHeader header = {.views = end - begin};
	int32		first = 0;		/* sequence */
	int64		event = 0;
	int64		last_event = 0;
	int64	   *offsets;

	if (header.views > 0)
	{
		int32		last = batch->view_sequence[end - 1];
		int32		seen = 0;

		first = batch->view_sequence[begin];
		header.sequences = last - first + 1;
		for (int v = begin; v < end; v++)
			if (batch->view_sequence[v] == last)
				seen = Max(seen, batch->view_length[v]);
		event = batch->offsets[first];
		last_event = batch->offsets[last] + seen;
	}
	header.place.event = event;
	header.place.view = begin;
	for (int t = 0; t < config->n_task; t++)
	{
		const nn_samples *samples = &batch->samples[t];
		int			from = first_sample(samples, begin);

		header.n[t] = first_sample(samples, end) - from;
		header.columns[t] = samples->columns;
		header.shared[t] = samples->shared;
		header.place.row[t] = rows_before(&config->task[t], samples, from);
		header.place.fraction[t] = samples->n > 0 ? (float) ((double) header.n[t] / samples->n) : 0;
	}
	put(sink, &header, 0, 1, sizeof(header));

	offsets = (int64 *) put_space(sink, header.sequences + 1, sizeof(int64));
	for (int b = 0; offsets != NULL && b < header.sequences; b++)
		offsets[b] = batch->offsets[first + b] - event;
	if (offsets != NULL)
		offsets[header.sequences] = last_event - event;
	put_group(sink, config, NN_ITEM, batch->item, event, last_event);
	put_group(sink, config, NN_PROPERTY, batch->property, event, last_event);
	put_numbers(sink, batch->view_sequence, begin, end, first);
	put_numbers(sink, batch->view_length, begin, end, 0);
	put_offsets(sink, batch->view_offsets, begin, end);
	put_entries(sink, batch->view_offsets, config->recency > 0 ? batch->recency : NULL, begin, end, 1);
	put_entries(sink, batch->view_offsets, config->lag > 0 ? batch->lag : NULL, begin, end, 1);
	put_group(sink, config, NN_PROFILE, batch->profile, begin, end);
	put_group(sink, config, NN_CONTEXT, batch->context, begin, end);
	put(sink, batch->vector, (int64) begin * config->R, (int64) end * config->R, sizeof(float));
	for (int t = 0; t < config->n_task; t++)
	{
		int			from = first_sample(&batch->samples[t], begin);

		if (header.n[t] > 0)
			put_samples(sink, config, t, &batch->samples[t], from, from + header.n[t], begin);
	}
}

Size
share_size(const nn_config *config, const nn_batch *batch, int begin, int end)
{
	Sink		sink = {0};

	put_share(&sink, config, batch, begin, end);
	return sink.used;
}

void
share_write(const nn_config *config, const nn_batch *batch, int begin, int end, void *out)
{
	Sink		sink = {.base = out};

	put_share(&sink, config, batch, begin, end);
}

/* ---------------- reading ---------------- */

typedef struct Source
{
	const char *base;
	Size		size;
	Size		used;
} Source;

/* An array of n entries, NULL if it is absent. */
static const void *
get(Source *source, int64 n, Size size)
{
	const char *at = source->base + source->used;
	int64		count;

	if (source->size - source->used < sizeof(int64))
		elog(ERROR, "a share of a batch ends too early");
	count = *(const int64 *) at;
	if (count == -1)
	{
		source->used += sizeof(int64);
		return NULL;
	}
	if (count != n || (source->size - source->used - sizeof(int64)) / size < (Size) n)
		elog(ERROR, "a share of a batch has " INT64_FORMAT " entries instead of " INT64_FORMAT, count, n);
	source->used = Min(source->used + sizeof(int64) + TYPEALIGN(8, n * size), source->size);
	return at + sizeof(int64);
}

static const void *
get_entries(Source *source, const int64 *offsets, int64 n, Size size)
{
	return get(source, offsets ? offsets[n] : 0, size);
}

static void
get_ids(Source *source, nn_ids *ids, int64 n)
{
	ids->offsets = get(source, n + 1, sizeof(int64));
	ids->values = ids->offsets ? get_entries(source, ids->offsets, n, sizeof(int32)) :
		get(source, n, sizeof(int32));
}

static void
get_group(Source *source, const nn_config *config, nn_group group, nn_ids *ids, int64 n)
{
	for (int f = 0; f < config->n_feature[group]; f++)
		get_ids(source, &ids[f], n);
}

static void
get_samples(Source *source, const nn_config *config, int t, const ShareHeader *header, nn_samples *samples)
{
	const nn_task *task = &config->task[t];
	int			n = header->n[t];

	samples->n = n;
	samples->columns = header->columns[t];
	samples->shared = header->shared[t];
	samples->view = get(source, n, sizeof(int32));
	samples->weight = get(source, n, sizeof(float));
	samples->label = get(source, n, sizeof(float));
	samples->label_class = get(source, n, sizeof(int32));
	samples->position = get(source, n, sizeof(int32));
	samples->group = get(source, n, sizeof(int32));
	samples->features = get(source, (int64) n * task->features, sizeof(float));
	for (int k = 0; k < task->n_candidate; k++)
		get_ids(source, &samples->candidate[k], n);
	if (task->kind != NN_NEXT_ITEM)
		return;
	get_group(source, config, NN_ITEM, samples->column, samples->columns);
	samples->log_q = get(source, samples->columns, sizeof(float));
	samples->target_offsets = get(source, n + 1, sizeof(int64));
	samples->target = get_entries(source, samples->target_offsets, n, sizeof(int32));
	samples->target_weight = get_entries(source, samples->target_offsets, n, sizeof(float));
	samples->extra_offsets = get(source, n + 1, sizeof(int64));
	samples->extra = get_entries(source, samples->extra_offsets, n, sizeof(int32));
	samples->hidden_offsets = get(source, n + 1, sizeof(int64));
	samples->hidden = get_entries(source, samples->hidden_offsets, n, sizeof(int32));
	samples->wide_offsets = get(source, n + 1, sizeof(int64));
	samples->wide = get_entries(source, samples->wide_offsets, n, sizeof(nn_wide));
	samples->memory_offsets = get(source, n + 1, sizeof(int64));
	samples->memory = get_entries(source, samples->memory_offsets, n, sizeof(nn_memory));
}

void
share_read(const nn_config *config, const void *in, Size size, SharePlace *place, nn_batch *batch)
{
	Source		source = {.base = in,.size = size};
	const ShareHeader *header = get(&source, 1, sizeof(ShareHeader));
	int64		events;

	if (header == NULL)
		elog(ERROR, "a share of a batch has no header");
	*place = header->place;
	memset(batch, 0, sizeof(*batch));
	batch->sequences = header->sequences;
	batch->offsets = get(&source, header->sequences + 1, sizeof(int64));
	events = batch->offsets[header->sequences];
	get_group(&source, config, NN_ITEM, batch->item, events);
	get_group(&source, config, NN_PROPERTY, batch->property, events);
	batch->views = header->views;
	batch->view_sequence = get(&source, header->views, sizeof(int32));
	batch->view_length = get(&source, header->views, sizeof(int32));
	batch->view_offsets = get(&source, header->views + 1, sizeof(int64));
	batch->recency = get_entries(&source, batch->view_offsets, header->views, 1);
	batch->lag = get_entries(&source, batch->view_offsets, header->views, 1);
	get_group(&source, config, NN_PROFILE, batch->profile, header->views);
	get_group(&source, config, NN_CONTEXT, batch->context, header->views);
	batch->vector = get(&source, (int64) header->views * config->R, sizeof(float));
	for (int t = 0; t < config->n_task; t++)
		if (header->n[t] > 0)
			get_samples(&source, config, t, header, &batch->samples[t]);
}
