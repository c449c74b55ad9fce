/*-------------------------------------------------------------------------
 *
 * golden.c
 *	  Compare the network with reference values
 *
 *	golden FOLDER
 *
 * Every *.safetensors in the folder is one case (NETWORK.md, Golden cases),
 * computed with every set of kernels that this machine can run.  Prints a line
 * per case and the largest error of each kind of tensor,
 * max |got - want| / (max |want| + 1e-6); fails beyond 1e-5 for outputs and
 * 1e-4 for gradients.
 *
 *-------------------------------------------------------------------------
 */
#include <dirent.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nn/kernel.h"
#include "nn/nn.h"
#include "tap.h"

#define OUTPUT_LIMIT 1e-5
#define GRADIENT_LIMIT 1e-4

static const char *const group_name[NN_GROUPS] = {"item", "property", "profile", "context"};

enum
{
	STATE, ATTENTION, VECTOR, LOGIT, LOSS, GRADIENT, KINDS
};

static const char *const kind_name[KINDS] = {"state", "attention", "user_vector", "logit", "loss", "grad"};

/* One case, and what it frees at its end. */
typedef struct golden
{
	const char *name;
	nn_file		file;
	double		worst[KINDS];
	int			compared;
	void	   *memory[1024];
	int			n_memory;
} golden;

static void *
need(void *memory)
{
	if (memory == NULL)
	{
		fprintf(stderr, "out of memory\n");
		exit(2);
	}
	return memory;
}

static void *
keep(golden *g, size_t bytes)
{
	void	   *memory = need(aligned_alloc(64, (bytes + 127) / 64 * 64));

	if (g->n_memory == (int) (sizeof(g->memory) / sizeof(g->memory[0])))
	{
		fprintf(stderr, "%s: too many tensors\n", g->name);
		exit(2);
	}
	memset(memory, 0, bytes);
	return g->memory[g->n_memory++] = memory;
}

/* A tensor of the file, aligned; NULL when there is none. */
static const void *
load(golden *g, int64_t *count, const char *format,...)
{
	char		name[NN_MAX_TENSOR];
	const nn_file_tensor *tensor;
	va_list		arguments;
	void	   *copy;

	va_start(arguments, format);
	vsnprintf(name, sizeof(name), format, arguments);
	va_end(arguments);
	tensor = nn_file_find(&g->file, name);
	if (tensor == NULL)
		return NULL;
	copy = keep(g, tensor->end - tensor->begin);
	memcpy(copy, nn_file_data(&g->file, tensor), tensor->end - tensor->begin);
	if (count)
		*count = tensor->count;
	return copy;
}

static void
load_ids(golden *g, nn_ids *ids, const char *name)
{
	ids->offsets = load(g, NULL, "%s.offsets", name);
	ids->values = load(g, NULL, ids->offsets ? "%s.values" : "%s", name);
	if (ids->values == NULL)
	{
		fprintf(stderr, "%s: no tensor \"%s\"\n", g->name, name);
		exit(2);
	}
}

static void
compare(golden *g, int kind, const char *name, const float *got, int64_t n)
{
	int64_t		count;
	const float *want = load(g, &count, "%s", name);
	double		difference = 0.0,
				size = 0.0;

	if (n == 0 && want == NULL)
		return;
	g->compared++;
	if (want == NULL || count != n)
	{
		printf("# %s: \"%s\" is missing or of another size\n", g->name, name);
		g->worst[kind] = INFINITY;
		return;
	}
	for (int64_t j = 0; j < n; j++)
	{
		difference = worse(difference, fabs((double) got[j] - want[j]));
		size = fmax(size, fabs(want[j]));
	}
	difference = worse(0.0, difference / (size + 1e-6));
	g->worst[kind] = worse(g->worst[kind], difference);
	if (difference > (kind == GRADIENT ? GRADIENT_LIMIT : OUTPUT_LIMIT))
		printf("# %s: \"%s\" is off by %.2e\n", g->name, name, difference);
}

/* ------------------------------------------------------------------------
 * From tensors to a batch
 * ------------------------------------------------------------------------ */

static void
load_samples(golden *g, const nn_config *config, int t, nn_samples *samples)
{
	const nn_task *task = &config->task[t];
	int64_t		S = 0;
	const void *label;
	char		name[NN_MAX_TENSOR];

	samples->view = load(g, &S, "in.task.%s.sequence", task->name);
	samples->n = (int) S;
	samples->weight = load(g, NULL, "in.task.%s.weight", task->name);
	samples->features = load(g, NULL, "in.task.%s.features", task->name);
	label = load(g, NULL, "in.task.%s.label", task->name);
	if (task->kind == NN_MULTICLASS)
		samples->label_class = label;
	else if (task->kind != NN_NEXT_ITEM)
		samples->label = label;
	for (int k = 0; k < task->n_candidate; k++)
	{
		snprintf(name, sizeof(name), "in.task.%s.candidate.%s", task->name,
				 config->feature[NN_ITEM][task->candidate[k]].name);
		load_ids(g, &samples->candidate[k], name);
	}
	if (task->kind == NN_NEXT_ITEM)
	{
		int64_t    *offsets = keep(g, (size_t) (S + 1) * sizeof(int64_t));
		float	   *one = keep(g, (size_t) S * sizeof(float));
		int64_t		J = 0;

		for (int f = 0; f < config->n_feature[NN_ITEM]; f++)
		{
			snprintf(name, sizeof(name), "in.task.%s.catalogue.%s", task->name,
					 config->feature[NN_ITEM][f].name);
			load_ids(g, &samples->column[f], name);
			if (samples->column[f].offsets == NULL)
				load(g, &J, "%s", name);
			else
			{
				load(g, &J, "%s.offsets", name);
				J--;
			}
		}
		for (int64_t s = 0; s < S; s++)
		{
			offsets[s + 1] = s + 1;
			one[s] = 1.0f;
		}
		samples->columns = samples->shared = (int) J;
		samples->target_offsets = offsets;
		samples->target = label;
		samples->target_weight = one;
	}
}

static void
load_batch(golden *g, const nn_config *config, nn_batch *batch)
{
	nn_ids	   *ids[NN_GROUPS] = {batch->item, batch->property, batch->profile, batch->context};
	int64_t		offsets;
	int32_t    *sequence,
			   *length;
	char		name[NN_MAX_TENSOR];

	memset(batch, 0, sizeof(*batch));
	batch->offsets = load(g, &offsets, "in.offsets");
	batch->sequences = batch->views = (int) offsets - 1;
	batch->view_offsets = batch->offsets;
	batch->view_sequence = sequence = keep(g, (size_t) offsets * sizeof(int32_t));
	batch->view_length = length = keep(g, (size_t) offsets * sizeof(int32_t));
	for (int b = 0; b < batch->sequences; b++)
	{
		sequence[b] = b;
		length[b] = (int32_t) (batch->offsets[b + 1] - batch->offsets[b]);
	}
	for (int group = 0; group < NN_GROUPS; group++)
		for (int f = 0; f < config->n_feature[group]; f++)
		{
			snprintf(name, sizeof(name), "in.%s.%s", group_name[group], config->feature[group][f].name);
			load_ids(g, &ids[group][f], name);
		}

	/* bucket ids are I32 in the file and bytes in a batch */
	for (int k = 0; k < 2; k++)
	{
		int64_t		n = 0;
		const int32_t *wide = load(g, &n, k == 0 ? "in.recency" : "in.lag");
		uint8_t    *narrow = keep(g, (size_t) n);

		for (int64_t j = 0; j < n; j++)
			narrow[j] = (uint8_t) wide[j];
		if (k == 0)
			batch->recency = narrow;
		else
			batch->lag = narrow;
	}
	for (int t = 0; t < config->n_task; t++)
		load_samples(g, config, t, &batch->samples[t]);
}

/* ------------------------------------------------------------------------
 * A case
 * ------------------------------------------------------------------------ */

static void
try(golden *g, nn_status status, const char *what)
{
	if (status == NN_OK)
		return;
	fprintf(stderr, "%s: %s: %s\n", g->name, what, nn_status_text(status));
	exit(2);
}

static void
compare_outputs(golden *g, const nn_config *config, const nn_batch *batch, const nn_acts *acts)
{
	int64_t		N = batch->offsets[batch->sequences];
	float		loss = (float) acts->loss;
	char		name[NN_MAX_TENSOR];

	compare(g, STATE, "out.state", acts->state, N * config->W);
	compare(g, ATTENTION, "out.attention", acts->attention, N);
	compare(g, VECTOR, "out.user_vector", acts->vector, (int64_t) batch->views * config->R);
	compare(g, LOSS, "out.loss", &loss, 1);
	for (int t = 0; t < config->n_task; t++)
	{
		const nn_task *task = &config->task[t];
		int64_t		width = task->kind == NN_MULTICLASS ? task->classes :
			task->kind == NN_NEXT_ITEM ? batch->samples[t].shared : 1;

		snprintf(name, sizeof(name), "out.task.%s.logit", task->name);
		compare(g, LOGIT, name, acts->task[t].logit, batch->samples[t].n * width);
		loss = (float) acts->task[t].loss;
		snprintf(name, sizeof(name), "out.task.%s.loss", task->name);
		compare(g, LOSS, name, &loss, 1);
	}
}

static void
run_case(golden *g)
{
	static nn_config config;
	static nn_layout layout;
	static nn_batch batch;
	static nn_acts acts;
	nn_run		run = {.config = &config, .layout = &layout, .backward = true};
	nn_arena	arena = {0};
	nn_grad		grad;
	float	   *param;
	void	   *prepared;
	char	   *json = need(malloc(1 << 16));
	char	   *scratch = need(malloc(NN_FILE_SCRATCH));
	char		message[256] = "";
	int64_t		length = nn_file_metadata(&g->file, "config", json, 1 << 16, scratch, NN_FILE_SCRATCH);

	if (length < 0 || nn_config_parse(&config, json, (size_t) length, message, sizeof(message)) != NN_OK)
	{
		fprintf(stderr, "%s: %s\n", g->name, length < 0 ? "no configuration" : message);
		exit(2);
	}
	free(json);
	free(scratch);
	try(g, nn_layout_make(&layout, &config), "layout");
	param = keep(g, layout.floats * sizeof(float));
	for (int i = 0; i < layout.n; i++)
	{
		const nn_tensor *tensor = &layout.tensor[i];
		int64_t		count = -1;
		const float *value = load(g, &count, "param.%s", tensor->name);

		if (count != tensor->rows * tensor->cols)
		{
			fprintf(stderr, "%s: \"%s\" is missing or of another size\n", g->name, tensor->name);
			exit(2);
		}
		memcpy(param + tensor->offset, value, (size_t) count * sizeof(float));
	}
	run.param = param;
	load_batch(g, &config, &batch);
	try(g, nn_batch_check(&config, &batch), "batch");

	/* count, then compute */
	for (int pass = 0; pass < 2; pass++)
	{
		try(g, nn_grad_make(&grad, &layout, &arena), "gradient");
		try(g, nn_forward(&run, &batch, &arena, &acts), "forward");
		if (pass == 1)
			compare_outputs(g, &config, &batch, &acts);
		try(g, nn_backward(&run, &batch, &arena, &acts, &grad), "backward");
		if (pass == 0)
		{
			arena.size = arena.used;
			arena.used = 0;
			arena.base = keep(g, arena.size);
		}
	}
	/* once more, as it is served */
	run.backward = false;
	run.prepared = prepared = keep(g, nn_prepared_size(&config, &layout));
	nn_prepare(&config, &layout, param, prepared);
	arena = (nn_arena) {0};
	try(g, nn_forward(&run, &batch, &arena, &acts), "serving");
	arena = (nn_arena) {.base = keep(g, arena.used),.size = arena.used};
	try(g, nn_forward(&run, &batch, &arena, &acts), "serving");
	compare_outputs(g, &config, &batch, &acts);

	for (int i = 0; i < layout.n; i++)
	{
		char		name[NN_MAX_TENSOR + 8];

		snprintf(name, sizeof(name), "grad.%s", layout.tensor[i].name);
		compare(g, GRADIENT, name, grad.value + layout.tensor[i].offset,
				layout.tensor[i].rows * layout.tensor[i].cols);
	}
}

static void
read_case(golden *g, const char *folder)
{
	char		path[4096];
	char		message[256] = "";
	char	   *scratch = need(malloc(NN_FILE_SCRATCH));
	char	   *data;
	long		size;
	FILE	   *file;

	snprintf(path, sizeof(path), "%s/%s", folder, g->name);
	file = fopen(path, "rb");
	if (file == NULL || fseek(file, 0, SEEK_END) != 0 || (size = ftell(file)) < 0)
	{
		perror(path);
		exit(2);
	}
	rewind(file);
	data = keep(g, (size_t) size);
	if (fread(data, 1, (size_t) size, file) != (size_t) size)
	{
		perror(path);
		exit(2);
	}
	fclose(file);
	if (nn_file_open(&g->file, data, (size_t) size, scratch, NN_FILE_SCRATCH,
					 message, sizeof(message)) != NN_OK)
	{
		fprintf(stderr, "%s: %s\n", path, message);
		exit(2);
	}
	free(scratch);
}

static int
is_case(const struct dirent *entry)
{
	size_t		length = strlen(entry->d_name);

	return length > 12 && strcmp(entry->d_name + length - 12, ".safetensors") == 0;
}

int
main(int argc, char **argv)
{
	struct dirent **entry;
	const char *kernel[NN_MAX_KERNELS];
	int			kernels;
	double		worst[KINDS] = {0};
	bool		failed = false;
	int			cases = argc == 2 ? scandir(argv[1], &entry, is_case, alphasort) : -1;

	if (cases <= 0)
	{
		fprintf(stderr, argc == 2 ? "no golden cases in this folder\n" : "usage: golden FOLDER\n");
		return 2;
	}
	kernels = nn_kernels_available(kernel);
	for (int i = 0; i < cases * (kernels - 1); i++)
	{
		golden	   *g = need(calloc(1, sizeof(golden)));
		double		outputs = 0.0;

		nn_kernels_use(kernel[1 + i / cases]);
		g->name = entry[i % cases]->d_name;
		read_case(g, argv[1]);
		run_case(g);
		for (int kind = 0; kind < KINDS; kind++)
		{
			worst[kind] = fmax(worst[kind], g->worst[kind]);
			if (kind != GRADIENT)
				outputs = fmax(outputs, g->worst[kind]);
		}
		printf("%-8s %-32s %3d tensors, outputs %.1e, gradients %.1e\n", nn_kernels_name(), g->name,
			   g->compared, outputs, g->worst[GRADIENT]);
		for (int k = 0; k < g->n_memory; k++)
			free(g->memory[k]);
		free(g);
	}
	for (int i = 0; i < cases; i++)
		free(entry[i]);
	free(entry);
	for (int kind = 0; kind < KINDS; kind++)
	{
		double		limit = kind == GRADIENT ? GRADIENT_LIMIT : OUTPUT_LIMIT;

		printf("%-12s largest error %.1e, limit %.0e\n", kind_name[kind], worst[kind], limit);
		failed |= worst[kind] > limit;
	}
	return failed;
}
