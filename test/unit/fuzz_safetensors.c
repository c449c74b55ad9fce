/*
 * fuzz_safetensors.c
 *	  Entry point for libFuzzer: open any bytes, then use what was opened
 *
 *	clang -g -O1 -fsanitize=fuzzer,address,undefined -Isrc \
 *		test/unit/fuzz_safetensors.c src/nn/safetensors.c -o fuzz_safetensors
 *
 * test_fuzz_safetensors.c runs it over altered files, without a fuzzer.
 */
#include <stdlib.h>
#include <string.h>

#include "nn/nn.h"

extern int	LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Returns 0, as libFuzzer asks; aborts when a promise of nn_file_open is broken. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static nn_file file;
	static _Alignas(max_align_t) char scratch[NN_FILE_SCRATCH];
	char		message[256] = "";
	char		value[512];
	unsigned	sum = 0;
	size_t		covered = 0;

	if (nn_file_open(&file, data, size, scratch, sizeof(scratch), message, sizeof(message)) != NN_OK)
	{
		if (message[0] == '\0')
			abort();
		return 0;
	}
	for (int i = 0; i < file.n; i++)
	{
		const nn_file_tensor *tensor = &file.tensor[i];
		const uint8_t *bytes = nn_file_data(&file, tensor);

		if (nn_file_find(&file, tensor->name) != tensor || tensor->end > size || tensor->end < tensor->begin)
			abort();
		for (size_t k = 0; k < tensor->end - tensor->begin; k++)
			sum += bytes[k];
		covered += tensor->end - tensor->begin;
	}
	if (covered > size)
		abort();
	if (nn_file_metadata(&file, "config", value, sizeof(value), scratch, sizeof(scratch)) >= 0)
		sum += (unsigned) strlen(value);
	return sum == 0xFFFFFFFF;
}
