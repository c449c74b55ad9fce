/*-------------------------------------------------------------------------
 *
 * prepare.c
 *	  Weights in the order in which serving reads them
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "arena.h"
#include "layers.h"

static size_t
recurrent_floats(const nn_layout *layout)
{
	const nn_tensor *weight = &layout->tensor[layout->lstm[0].weight_hidden];
	size_t		n = (size_t) (weight->rows * weight->cols);

	return (n + NN_ALIGN - 1) / NN_ALIGN * NN_ALIGN;
}

size_t
nn_prepared_size(const nn_config *config, const nn_layout *layout)
{
	return (config->bidirectional ? 2 : 1) * recurrent_floats(layout) * sizeof(float);
}

const float *
nn_prepared_recurrent(const nn_run *run, int direction)
{
	return (const float *) run->prepared + direction * recurrent_floats(run->layout);
}

/* weight [rows, cols] as [cols, rows], in blocks that stay in the first cache. */
static void
transpose(size_t rows, size_t cols, const float *weight, float *transposed)
{
	for (size_t block = 0; block < rows; block += 16)
		for (size_t k = 0; k < cols; k++)
			for (size_t row = block; row < rows && row < block + 16; row++)
				transposed[k * rows + row] = weight[row * cols + k];
}

void
nn_prepare(const nn_config *config, const nn_layout *layout, const float *param, void *prepared)
{
	nn_run		run = {.config = config,.layout = layout,.param = param,.prepared = prepared};

	memset(prepared, 0, nn_prepared_size(config, layout));
	for (int d = 0; d < (config->bidirectional ? 2 : 1); d++)
		transpose(4 * (size_t) config->hidden, config->hidden,
				  nn_param(&run, layout->lstm[d].weight_hidden), (float *) nn_prepared_recurrent(&run, d));
}
