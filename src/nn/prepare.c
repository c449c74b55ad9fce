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
#include "product.h"

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

void
nn_prepare(const nn_config *config, const nn_layout *layout, const float *param, void *prepared)
{
	nn_run		run = {.config = config,.layout = layout,.param = param,.prepared = prepared};

	memset(prepared, 0, nn_prepared_size(config, layout));
	for (int d = 0; d < (config->bidirectional ? 2 : 1); d++)
		nn_transpose(4 * (size_t) config->hidden, config->hidden,
					 nn_param(&run, layout->lstm[d].weight_hidden), (float *) nn_prepared_recurrent(&run, d));
}
