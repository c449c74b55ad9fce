/*-------------------------------------------------------------------------
 *
 * serve.c
 *	  Scoring: a head taken apart, and the catalogue in one product
 *
 * The first layer of a head with a candidate is a sum of three parts, of the
 * user, of the item and of the sample's numbers:
 *
 *	hidden.0 [r ; Wc e + bc ; f] + b  =  (W_r r + b)  +  W_c (Wc e + bc)  +  W_f f
 *
 * (behind it in both parts, with the product term: its query and e, which meet
 * in a scalar product)
 *
 * so that a request computes the first once, and each candidate, after a look
 * at its item's part, only the layers above.  There is nothing here that
 * nn_task_forward does not compute too; the tests compare the two.
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "arena.h"
#include "layers.h"
#include "product.h"
#include "vector.h"

/* ------------------------------------------------------------------------
 * Heads
 * ------------------------------------------------------------------------ */

/* Does the first layer read more than r? */
static bool
has_parts(const nn_task *task)
{
	return task->kind == NN_BINARY && (task->n_candidate > 0 || task->features > 0);
}

static int
first_width(const nn_task *task)
{
	return task->n_hidden > 0 ? task->hidden[0] : 1;
}

int
nn_part_width(const nn_config *config, int t)
{
	const nn_task *task = &config->task[t];

	if (has_parts(task))
		return first_width(task) + (task->product ? nn_candidate_width(config, task) : 0);
	return nn_output_width(config, task);
}

static int
first_weight(const nn_run *run, int t)
{
	return run->config->task[t].n_hidden > 0 ? run->layout->task[t].hidden_weight[0] :
		run->layout->task[t].output_weight;
}

static int
first_bias(const nn_run *run, int t)
{
	return run->config->task[t].n_hidden > 0 ? run->layout->task[t].hidden_bias[0] :
		run->layout->task[t].output_bias;
}

/* out [cols, rows] = the transpose of w [rows, cols]; lines of both are ld floats apart */
static void
transpose(int rows, int cols, const float *w, int ld, float *out, int out_ld)
{
	for (int i = 0; i < rows; i++)
		for (int j = 0; j < cols; j++)
			out[(size_t) j * out_ld + i] = w[(size_t) i * ld + j];
}

/* The item's part: projection and first layer as one matrix, unless two small ones are less. */
static nn_status
make_item(const nn_run *run, int t, nn_arena *arena, nn_scorer *scorer)
{
	const nn_task *task = &run->config->task[t];
	const nn_task_tensors *tensors = &run->layout->task[t];
	int			X = scorer->fields.width,
				C = task->candidate_dim,
				width = scorer->first,
				in = run->config->head_width + C + task->features;
	const float *w = nn_param(run, first_weight(run, t)) + run->config->head_width;
	const float *candidate = nn_param(run, tensors->candidate_weight);
	bool		merged = (int64_t) X * width <= (int64_t) C * (X + width);
	int			inner = merged ? width : C;
	float	   *first = nn_arena_floats(arena, X, inner);
	float	   *second = merged ? NULL : nn_arena_floats(arena, C, width);
	float	   *bias = nn_arena_floats(arena, 1, width);

	if (nn_arena_counts(arena))
		return NN_OK;
	NN_TRY(nn_arena_check(arena));
	for (int i = 0; i < width; i++)
		bias[i] = nn_vector_dot(C, w + (size_t) i * in, nn_param(run, tensors->candidate_bias));
	if (merged)
	{
		for (int i = 0; i < width; i++)
		{
			float		row[NN_MAX_WIDTH];

			memset(row, 0, X * sizeof(float));
			nn_vector_matrix(C, X, w + (size_t) i * in, candidate, row);
			transpose(1, X, row, X, first + i, width);
		}
	}
	else
	{
		transpose(C, X, candidate, X, first, C);
		transpose(width, C, w, in, second, width);
	}
	scorer->inner = inner;
	scorer->item = first;
	scorer->second = second;
	scorer->item_bias = bias;
	return NN_OK;
}

nn_status
nn_scorer_make(const nn_run *run, int t, nn_arena *arena, nn_scorer *scorer)
{
	const nn_task *task = &run->config->task[t];
	const nn_task_tensors *tensors = &run->layout->task[t];
	int			C = task->n_candidate > 0 ? task->candidate_dim : 0;
	int			in = run->config->head_width + C + task->features;
	int			width = first_width(task);
	float	   *feature,
			   *rest[NN_MAX_LAYERS];

	memset(scorer, 0, sizeof(*scorer));
	scorer->task = t;
	scorer->kind = task->kind;
	scorer->width = nn_part_width(run->config, t);
	scorer->features = task->features;
	if (task->kind == NN_RANK)
		scorer->output_bias = *nn_param(run, tensors->intercept);
	if (!has_parts(task))
		return NN_OK;

	scorer->first = width;
	nn_candidate_fields(run->config, run->layout, task, &scorer->fields);
	for (int k = 0; k < task->n_candidate; k++)
		scorer->fields.source[k] = task->candidate[k];
	if (task->n_candidate > 0)
		NN_TRY(make_item(run, t, arena, scorer));
	feature = nn_arena_floats(arena, task->features, width);
	for (int k = 1; k < task->n_hidden; k++)
		rest[k] = nn_arena_floats(arena, task->hidden[k - 1], task->hidden[k]);
	if (nn_arena_counts(arena))
		return NN_OK;
	NN_TRY(nn_arena_check(arena));

	transpose(width, task->features, nn_param(run, first_weight(run, t)) + run->config->head_width + C,
			  in, feature, width);
	scorer->feature = feature;
	if (task->n_hidden == 0)
		return NN_OK;
	for (int k = 1; k < task->n_hidden; k++)
	{
		transpose(task->hidden[k], task->hidden[k - 1], nn_param(run, tensors->hidden_weight[k]),
				  task->hidden[k - 1], rest[k], task->hidden[k]);
		scorer->layer[scorer->n_layer++] = (nn_scorer_layer) {
			.width = task->hidden[k],.weight = rest[k],.bias = nn_param(run, tensors->hidden_bias[k])
		};
	}
	scorer->output = nn_param(run, tensors->output_weight);
	scorer->output_bias = *nn_param(run, tensors->output_bias);
	return NN_OK;
}

nn_status
nn_user_part(const nn_run *run, const nn_scorer *scorer, const float *vector,
			 nn_arena *arena, float *part)
{
	static const int32_t view = 0;
	int			t = scorer->task;
	nn_samples	samples = {.n = 1,.view = &view};
	nn_task_acts acts;
	float	   *zeros;

	if (has_parts(&run->config->task[t]))
	{
		int			in = (int) run->layout->tensor[first_weight(run, t)].cols;
		int			X = run->config->head_width;
		const float *x = vector;
		nn_experts	experts;

		if (run->config->experts > 0)
		{
			NN_TRY(nn_experts_forward(run, 1, vector, arena, &experts));
			NN_TRY(nn_gate_forward(run, t, 1, arena, &experts));
			x = experts.x[t];
		}
		if (nn_arena_counts(arena))
			return NN_OK;
		memcpy(part, nn_param(run, first_bias(run, t)), scorer->first * sizeof(float));
		NN_TRY(nn_product(run, NN_ABT, 1, scorer->first, X, x, X,
						  nn_param(run, first_weight(run, t)), in, true, part, scorer->first));
		if (!run->config->task[t].product)
			return NN_OK;
		return nn_dense_forward(run, run->layout->task[t].product_weight, run->layout->task[t].product_bias,
								1, x, part + scorer->first);
	}

	/* all of it depends on r alone; the numbers of a rank task come after */
	zeros = nn_arena_floats(arena, 1, scorer->features);
	if (zeros)
		memset(zeros, 0, scorer->features * sizeof(float));
	samples.features = zeros;
	NN_TRY(nn_task_forward(run, t, &samples, 1, vector, arena, &acts));
	if (!nn_arena_counts(arena))
		memcpy(part, scorer->kind == NN_RANK ? acts.weights : acts.logit, scorer->width * sizeof(float));
	return NN_OK;
}

void
nn_candidate_encode(const nn_run *run, const nn_scorer *scorer, const nn_ids *ids,
					const int64_t *map, int64_t n, float *e)
{
	nn_gather(run->layout, run->param, &scorer->fields, ids, map, n, e, scorer->fields.width);
}

/* part [n, width] from e [n, X]; one row as matrix times vector, from the second cache */
nn_status
nn_item_parts(const nn_run *run, const nn_scorer *scorer, int64_t n, const float *e,
			  float *scratch, float *part)
{
	int			X = scorer->fields.width,
				inner = scorer->inner,
				width = scorer->first,
				ld = scorer->width;
	float	   *first = scorer->second ? scratch : part;

	for (int64_t i = 0; i < n; i++)
	{
		memcpy(part + i * ld, scorer->item_bias, width * sizeof(float));
		memcpy(part + i * ld + width, e + i * X, (ld - width) * sizeof(float));
	}
	if (scorer->second)
		memset(scratch, 0, n * inner * sizeof(float));
	if (n == 1)
	{
		nn_vector_matrix(X, inner, e, scorer->item, first);
		if (scorer->second)
			nn_vector_matrix(inner, width, first, scorer->second, part);
		return NN_OK;
	}
	NN_TRY(nn_product(run, NN_AB, n, inner, X, e, X, scorer->item, inner, true, first,
					  scorer->second ? inner : ld));
	if (scorer->second)
		NN_TRY(nn_product(run, NN_AB, n, width, inner, first, inner, scorer->second, width,
						  true, part, ld));
	return NN_OK;
}

/* The places of what is not 0 in x [n]; how many. */
static inline int
nonzero(int n, const float *x, int32_t *place)
{
	int			found = 0;

	for (int i = 0; i < n; i++)
	{
		uint32_t	bits;

		/* as an integer, which compares faster; -0 counts, and does no harm */
		memcpy(&bits, &x[i], sizeof(bits));
		place[found] = i;
		found += bits != 0;
	}
	return found;
}

float
nn_score(const nn_scorer *scorer, const float *user, const float *item, const float *features)
{
	float		x[2][NN_MAX_WIDTH];
	int32_t		place[NN_MAX_WIDTH];
	float	   *in = x[0],
			   *out = x[1];
	int			width = scorer->first;
	float		product = 0.0f;

	if (scorer->kind == NN_RANK)
		return nn_vector_dot(scorer->width, user, features) + scorer->output_bias;
	if (item && scorer->width > width)
		product = nn_vector_dot(scorer->width - width, user + width, item + width);
	if (scorer->output == NULL)
		return product + user[0] + (item ? item[0] : 0) +
			(scorer->features > 0 ? nn_vector_dot(scorer->features, features, scorer->feature) : 0);

	memcpy(in, user, width * sizeof(float));
	if (scorer->features > 0)
		nn_vector_matrix(scorer->features, width, features, scorer->feature, in);
	if (item)
		nn_vector_relu_sum(width, in, item, in);
	else
		nn_vector_relu(width, in);
	for (int k = 0; k < scorer->n_layer; k++)
	{
		const nn_scorer_layer *layer = &scorer->layer[k];
		float	   *swap = in;

		memcpy(out, layer->bias, layer->width * sizeof(float));
		nn_vector_sparse(nonzero(width, in, place), place, layer->width, in, layer->weight, out);
		width = layer->width;
		nn_vector_relu(width, out);
		in = out;
		out = swap;
	}
	return product + nn_vector_dot(width, in, scorer->output) + scorer->output_bias;
}

/* ------------------------------------------------------------------------
 * The catalogue: scores[j] = query . e_j + b_j
 * ------------------------------------------------------------------------ */

float
nn_item_bias(const nn_config *config, const nn_layout *layout, const float *param,
			 int t, const nn_ids *item, int64_t row)
{
	float		bias = 0.0f;

	for (int f = 0; f < config->n_feature[NN_ITEM]; f++)
	{
		const float *b = param + layout->tensor[layout->task[t].item_bias[f]].offset;
		const int32_t *id;
		int64_t		bag = nn_bag(&item[f], row, &id);

		for (int64_t k = 0; k < bag; k++)
			bias += b[id[k]];
	}
	return bias;
}

size_t
nn_row_scores_floats(const nn_config *config)
{
	size_t		floats = 0;

	for (int f = 0; f < config->n_feature[NN_ITEM]; f++)
		floats += (size_t) config->feature[NN_ITEM][f].vocab;
	return floats;
}

nn_status
nn_row_scores(const nn_run *run, int t, const float *query, float *row_score)
{
	const nn_layout *layout = run->layout;
	nn_fields	fields;

	nn_group_fields(run->config, layout, NN_ITEM, NN_USE_BOTH, &fields);
	for (int f = 0; f < fields.n; f++)
	{
		const nn_tensor *table = &layout->tensor[fields.table[f]];

		memcpy(row_score, nn_param(run, layout->task[t].item_bias[f]), (size_t) table->rows * sizeof(float));
		NN_TRY(nn_product(run, NN_ABT, table->rows, 1, table->cols, nn_param(run, fields.table[f]),
						  (int) table->cols, query + fields.at[f], (int) table->cols, true, row_score, 1));
		row_score += table->rows;
	}
	return NN_OK;
}

void
nn_item_scores(const nn_config *config, const float *row_score, const nn_ids *item,
			   int64_t first, int64_t n, float *scores)
{
	for (int f = 0; f < config->n_feature[NN_ITEM]; f++)
	{
		if (item[f].offsets == NULL)
		{
			const int32_t *id = item[f].values + first;

			if (f == 0)
				for (int64_t j = 0; j < n; j++)
					scores[j] = row_score[id[j]];
			else
				for (int64_t j = 0; j < n; j++)
					scores[j] += row_score[id[j]];
		}
		else
			for (int64_t j = 0; j < n; j++)
			{
				const int64_t *offset = item[f].offsets + first + j;
				float		sum = f == 0 ? 0.0f : scores[j];

				for (int64_t k = offset[0]; k < offset[1]; k++)
					sum += row_score[item[f].values[k]];
				scores[j] = sum;
			}
		row_score += config->feature[NN_ITEM][f].vocab;
	}
}
