/*-------------------------------------------------------------------------
 *
 * publish.c
 *	  A trained network becomes a version
 *
 *-------------------------------------------------------------------------
 */
#include "train/night.h"

#include <cblas.h>
#include <math.h>

#include "catalog/pg_type.h"
#include "fail.h"
#include "lib/stringinfo.h"
#include "train/drift.h"
#include "train/report.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#define LEARNED_RATIO 0.995		/* of a constant's loss: above it nothing was learned */

/* ---------------- pieces of the image ---------------- */

typedef struct Pieces
{
	ImagePiece *piece;
	int			n;
} Pieces;

static void
add_piece(Pieces *pieces, nn_dtype dtype, const void *data, int rank, int64 rows, int64 cols,
		  const char *format,...) pg_attribute_printf(7, 8);

static void
add_piece(Pieces *pieces, nn_dtype dtype, const void *data, int rank, int64 rows, int64 cols,
		  const char *format,...)
{
	ImagePiece *piece = &pieces->piece[pieces->n];
	va_list		args;

	if (pieces->n++ >= NN_MAX_TENSORS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("a version has more than %d tensors", NN_MAX_TENSORS)));
	memset(piece, 0, sizeof(*piece));
	va_start(args, format);
	vsnprintf(piece->tensor.name, sizeof(piece->tensor.name), format, args);
	va_end(args);
	piece->tensor.dtype = dtype;
	piece->tensor.rank = rank;
	piece->tensor.shape[0] = rank == 1 ? rows * cols : rows;
	piece->tensor.shape[1] = rank == 1 ? 0 : cols;
	piece->tensor.count = rows * cols;
	piece->data = data;
}

static void
add_vector(Pieces *pieces, nn_dtype dtype, const void *data, int64 n, const char *name)
{
	add_piece(pieces, dtype, data, 1, 1, n, "%s", name);
}

/* What nights go on counting. */
static void
add_counts(Pieces *pieces, const Feature *feature, bool wide)
{
	const Pending *pending = &feature->pending;
	const char *group = nn_group_name[feature->group];

	if (pending->n > 0 && wide)
		add_piece(pieces, NN_I64, pending->key, 1, 1, pending->n, "vocabulary.%s.%s.pending_keys", group, feature->name);
	else if (pending->n > 0)
	{
		add_piece(pieces, NN_I32, pending->count, 1, 1, pending->n, "vocabulary.%s.%s.pending_counts", group, feature->name);
		add_piece(pieces, NN_I32, pending->day, 1, 1, pending->n, "vocabulary.%s.%s.pending_days", group, feature->name);
	}
	if (feature->seen && !wide)
		add_piece(pieces, NN_I32, feature->seen, 1, 1, feature->vocab, "vocabulary.%s.%s.seen", group, feature->name);
}

/* 8-byte numbers first, then 4, then 1, so that each is aligned where it lies. */
static void
collect_pieces(const Trainer *trainer, Pieces *pieces)
{
	const Dataset *data = trainer->data;
	const FeatureSet *set = data->set;
	const Catalogue *catalogue = &data->catalogue;
	const nn_layout *layout = trainer->layout;

	for (int wide = 1; wide >= 0; wide--)
	{
		for (int i = 0; i < layout->n && !wide; i++)
		{
			const nn_tensor *tensor = &layout->tensor[i];

			add_piece(pieces, NN_F32, trainer->steps->param + tensor->offset, tensor->rank,
					  tensor->rows, tensor->cols, "%s", tensor->name);
		}
		for (int g = 0; g < NN_GROUPS; g++)
			for (int f = 0; f < set->n[g]; f++)
			{
				const Feature *feature = &set->f[g][f];

				if (g == NN_CONTEXT && feature->shares >= 0)
					continue;
				if (feature->encoding == ENCODE_ID && wide)
					add_piece(pieces, NN_I64, feature->vocabulary.keys, 1, 1, feature->vocabulary.capacity,
							  "vocabulary.%s.%s.keys", nn_group_name[g], feature->name);
				else if (feature->encoding == ENCODE_ID)
					add_piece(pieces, NN_I32, feature->vocabulary.ids, 1, 1, feature->vocabulary.capacity,
							  "vocabulary.%s.%s.ids", nn_group_name[g], feature->name);
				if (feature->encoding == ENCODE_ID)
					add_counts(pieces, feature, wide);
				else if (feature->encoding == ENCODE_BANDS && wide && feature->n_bounds > 0)
					add_piece(pieces, NN_F64, feature->bounds, 1, 1, feature->n_bounds,
							  "bands.%s.%s", nn_group_name[g], feature->name);
			}
		for (int f = 0; f < set->n[NN_ITEM]; f++)
		{
			const nn_ids *ids = &catalogue->feature[f];
			const char *name = set->f[NN_ITEM][f].name;

			if (ids->offsets && wide)
				add_piece(pieces, NN_I64, ids->offsets, 1, 1, catalogue->n + 1, "catalogue.%s.offsets", name);
			else if (ids->offsets)
				add_piece(pieces, NN_I32, ids->values, 1, 1, ids->offsets[catalogue->n],
						  "catalogue.%s.values", name);
			else if (!wide)
				add_piece(pieces, NN_I32, ids->values, 1, 1, catalogue->n, "catalogue.%s", name);
		}
		if (wide)
		{
			add_vector(pieces, NN_I64, catalogue->key, catalogue->n, "catalogue.keys");
			add_vector(pieces, NN_I64, catalogue->index.keys, catalogue->index.capacity, "catalogue.index_keys");
			add_vector(pieces, NN_I64, catalogue->text_offsets, catalogue->n + 1, "catalogue.text_offsets");
			/* what a version counted before goes with the counts of that time */
			add_vector(pieces, NN_I64, data->base && data->since == DT_NOBEGIN ? data->base->catalogue.count : catalogue->count,
					   catalogue->n, "catalogue.count");
		}
		else
			add_vector(pieces, NN_I32, catalogue->index.ids, catalogue->index.capacity, "catalogue.index_ids");
		for (int t = 0; t < trainer->config->n_task; t++)
		{
			const nn_task *task = &trainer->config->task[t];
			const Levels *levels = &data->levels[t];

			if (wide && task->kind == NN_MULTICLASS && levels->number)
			{
				add_piece(pieces, NN_F64, levels->bounds, 2, Max(levels->n_within, 1), levels->classes - 1,
						  "task.%s.bounds", task->name);
				if (levels->n_within > 0)
					add_piece(pieces, NN_I64, levels->within_key, 1, 1, levels->n_within,
							  "task.%s.within_keys", task->name);
			}
			if (!wide && (trainer->calibration[t][0] != 1 || trainer->calibration[t][1] != 0))
				add_piece(pieces, NN_F32, trainer->calibration[t], 1, 1, 2, "task.%s.calibration", task->name);
			if (task->memory > 0)
			{
				const Neighbours *neighbours = &data->item_memory[t].neighbours;

				if (wide)
					add_piece(pieces, NN_I64, neighbours->begin, 1, 1, catalogue->n,
							  "task.%s.memory.begin", task->name);
				else
				{
					add_piece(pieces, NN_I32, neighbours->length, 1, 1, catalogue->n,
							  "task.%s.memory.length", task->name);
					add_piece(pieces, NN_I32, neighbours->items, 1, 1, neighbours->n,
							  "task.%s.memory.items", task->name);
					add_piece(pieces, NN_F32, neighbours->values, 1, 1, neighbours->n,
							  "task.%s.memory.values", task->name);
					if (data->item_memory[t].scale > 1)
						add_piece(pieces, NN_I32, &data->item_memory[t].scale, 1, 1, 1,
								  "task.%s.memory.scale", task->name);
				}
			}
			if (!wide && task->features > 0)
			{
				add_piece(pieces, NN_F32, data->rows[t].mean, 1, 1, task->features, "task.%s.mean", task->name);
				add_piece(pieces, NN_F32, data->rows[t].scale, 1, 1, task->features, "task.%s.scale", task->name);
			}
		}
	}
	add_vector(pieces, NN_U8, catalogue->text, catalogue->text_offsets[catalogue->n], "catalogue.text");
}

static char *
make_metadata(const Trainer *trainer)
{
	const Model *model = trainer->model;
	ImageTask  *task = palloc0(sizeof(ImageTask) * NN_MAX_TASKS);

	for (int t = 0; t < model->n_tasks; t++)
	{
		task[t].class_name = trainer->data->levels[t].class_name;
		task[t].feature = model->task[t].features;
	}
	return image_metadata(trainer->config_json,
						  image_features_json(trainer->data->set, &model->relations, model->name,
											  task, trainer->config));
}

/* ---------------- what came of it ---------------- */

/* Say what came of it: a warning where a simple baseline is as good, and the sentence. */
static void
say_what_came(const Trainer *trainer, int32 version, const Metrics *metrics, const Decision *decision)
{
	StringInfoData sentence;
	const char *reason = strchr(decision->text, ':');

	initStringInfo(&sentence);
	appendStringInfo(&sentence, "version %d %s", version,
					 decision->publish ? "published" : decision->rejected ? "rejected" : "stored");
	if (reason != NULL && !decision->noted)
		appendStringInfo(&sentence, " (%s)", reason + 2);
	for (int t = 0; t < trainer->config->n_task; t++)
	{
		const char *name = trainer->config->task[t].name;
		double		ratio = trainer->ratio[t];
		const Metric *model;
		const Metric *baseline;

		metrics_main(metrics, trainer->model, t, NULL, &model, &baseline);
		if (model && baseline && !(model->value > baseline->value))
			job_note("task \"%s\": %s %.3f does not beat the simple baseline %s (%.3f); see dupn_baselines",
					 name, model->metric, model->value, baseline->source, baseline->value);
		appendStringInfo(&sentence, "%s \"%s\" ", t == 0 ? ":" : ",", name);
		if (!trainer->transfer->learns[t])
			appendStringInfo(&sentence, "is that of version %d", trainer->data->base->version);
		else if (!isfinite(ratio))
			appendStringInfoString(&sentence, "was not judged");
		else if (ratio >= LEARNED_RATIO)
			appendStringInfo(&sentence, "learned nothing (%.2f of the loss of a constant guess)", ratio);
		else
		{
			appendStringInfo(&sentence, "learned (%.2f of the loss of a constant guess", ratio);
			if (model)
				appendStringInfo(&sentence, "; %s %.3f", model->metric, model->value);
			if (model && baseline)
				appendStringInfo(&sentence, " against %.3f for %s", baseline->value, baseline->source);
			appendStringInfoChar(&sentence, ')');
		}
	}
	if (decision->publish && trainer->model->share)
		job_note("experiment \"%s\" is running: version %d is its control from now on",
				 trainer->model->share->experiment, version);
	job_note("%s", sentence.data);
}

/* ---------------- the version ---------------- */

/* The latest event that was trained on, of those that have been: nights go on from there. */
static TimestampTz
trained_until(const Trainer *trainer)
{
	const Dataset *data = trainer->data;
	TimestampTz latest = DT_NOBEGIN;

	if (trainer->model->options.refit)
		return Min(Max(data->last_time, trainer->seen), GetCurrentTimestamp());
	for (int64 u = 0; u < data->n_users; u++)
		for (int64 row = data->users[u].start + data->users[u].n - 1; row >= data->users[u].start; row--)
			if (data->events->time[row] < data->users[u].hold_out)
			{
				latest = Max(latest, data->events->time[row]);
				break;
			}
	return Min(Max(latest, trainer->seen), GetCurrentTimestamp());
}

/* A frozen network's optimizer knows nothing of most of it. */
bool
keeps_optimizer(const Trainer *trainer)
{
	return trainer->model->options.keep_optimizer && trainer->transfer->mode != TRAIN_HEAD;
}

/* A step may have ruined what none has looked at since. */
static void
check_finite(const Trainer *trainer)
{
	for (size_t i = 0; i < trainer->layout->floats; i++)
		if (!isfinite(trainer->steps->param[i]))
			ereport(ERROR,
					(errcode(ERRCODE_DATA_EXCEPTION),
					 errmsg("the weights are no longer finite numbers"),
					 errhint("Lower the option \"learning_rate\".")));
}

/* What the next night tells late rows by. */
static char *
count_recent(const Trainer *trainer, TimestampTz until)
{
	char	   *recent;

	job_begin();
	recent = MemoryContextStrdup(trainer->context, night_recent(trainer->model, until));
	job_commit();
	return recent;
}

void
publish_version(Trainer *trainer, const Metrics *metrics, Decision *decision, double seconds)
{
	const Model *model = trainer->model;
	const Dataset *data = trainer->data;
	Pieces		pieces = {.piece = palloc_extended(sizeof(ImagePiece) * NN_MAX_TENSORS, MCXT_ALLOC_HUGE)};
	char	   *metadata;
	char	   *retired;
	int32		version;
	const Night *night = trainer->transfer->night;
	VersionFacts facts = {
		.parameters = (int64) trainer->layout->floats,
		.events = data->events_before_cut + (model->options.refit ? data->events_after_cut : 0),
		.since = data->since,
		.nights = night ? night->nights : 0,
		.users = data->n_users,
		.items = data->catalogue.n,
		.cut = data->cut == DT_NOEND ? DT_NOBEGIN : data->cut,
		.trained_until = trained_until(trainer),
		.seconds = seconds,
		.kernel = openblas_get_corename()
	};

	job_progress("storing", 0.97, 0, trainer_ratios_json(trainer));

	check_finite(trainer);

	/* before the pieces point to columns, which may move to files */
	(void) column_memory_reserve(trainer->data->memory, IMAGE_PART_BYTES);
	collect_pieces(trainer, &pieces);
	metadata = make_metadata(trainer);
	version = version_create(model->id, trainer->job->id, model->options.seed,
							 trainer->steps->workers, model->options_json,
							 train_mode_name[trainer->transfer->mode],
							 trainer->data->base ? trainer->data->base->version : 0);
	fail_point("publish: created");
	image_store(model->id, version, metadata, pieces.piece, pieces.n, data->base, job_check);

	if (keeps_optimizer(trainer))
		optimizer_store(model->id, version, data->base ? data->base->version : 0, trainer->layout,
						&trainer->steps->optimizer, job_check);

	/* the mapped copy is there before anybody asks for it */
	job_begin();
	image_prewarm(model->id, version, job_check);
	job_commit();

	fail_point("publish: before");
	facts.recent = night && model->options.refit ? night->recent : count_recent(trainer, facts.trained_until);
	job_begin();
	metrics_store(metrics, model, version, 0);
	transfer_metrics(trainer, version);
	drift_store(trainer, version);
	policy_rejections(trainer, version_finish(model->id, version, &facts, decision));
	job_commit();
	fail_point("publish: after");

	/* what it takes the place of */
	job_begin();
	retired = versions_retire(model);
	if (retired)
		job_note("dropped versions that \"keep_versions\" and \"keep_days\" no longer keep: %s", retired);
	(void) version_lock_model(model->id);
	optimizer_keep_newest(model->id);
	job_commit();
	fail_point("publish: retired");
	say_what_came(trainer, version, metrics, decision);
}
