/*
 * test_fuzz_safetensors.c
 *	  A small deterministic fuzzer: valid files, altered; meant for sanitizers
 *
 * The number of files comes from FUZZ_RUNS, 5000 by default.
 */
#include <stdlib.h>
#include <string.h>

#include "nn/nn.h"
#include "tap.h"

#define MOST 4096

extern int	LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t state = 1;

static size_t
below(size_t n)
{
	return n == 0 ? 0 : (size_t) (nn_random_u64(&state) % n);
}

/* One of a few valid files; returns its size. */
static size_t
valid_file(uint8_t *out)
{
	static nn_file_tensor tensor[8];
	int			n = (int) below(6);
	size_t		size;

	for (int i = 0; i < n; i++)
	{
		memset(&tensor[i], 0, sizeof(tensor[i]));
		strcpy(tensor[i].name, below(2) ? "item.\"x\".embedding" : "\x01\xC3\xA4\\");
		tensor[i].name[1] = (char) ('a' + i);
		tensor[i].name[2] = 'b';
		tensor[i].dtype = (nn_dtype) below(5);
		tensor[i].rank = (int) below(3);
		tensor[i].shape[0] = (int64_t) below(5);
		tensor[i].shape[1] = (int64_t) below(5);
	}
	size = nn_file_header(tensor, n, below(2) ? "{\"config\": \"{\\\"hidden\\\": \\u00e4\\ud83d\\ude00}\", \"a\": \"b\"}" : NULL,
						  (char *) out, MOST);
	if (n > 0)
		size = tensor[n - 1].end;
	return size;
}

/* Flips, dictionary words, copies, cuts and hostile header lengths. */
static size_t
alter(uint8_t *bytes, size_t size)
{
	static const char *const words[] = {
		"{", "}", "[", "]", ":", ",", "\"", "\\", "\\u", "\\ud800", "\\u0000", "null", "-1", "00", "1e3",
		"9223372036854775807", "18446744073709551616", "4611686018427387904", "F32", "U8", "dtype", "shape",
		"data_offsets", "__metadata__", "[0,0]", "\"\":{}", "\xFF", "\xED\xA0\x80", "\xC0\x80", " ", "true"
	};
	int			times = 1 + (int) below(4);

	while (times-- > 0 && size > 0)
	{
		size_t		at = below(2) ? below(size) : below(size < 200 ? size : 200);
		const char *word = words[below(sizeof(words) / sizeof(words[0]))];
		size_t		length = strlen(word);

		switch (below(7))
		{
			case 0:
				bytes[at] ^= (uint8_t) (1 << below(8));
				break;
			case 1:
				bytes[at] = (uint8_t) below(256);
				break;
			case 2:				/* a word over what is there */
				if (at + length <= size)
					memcpy(bytes + at, word, length);
				break;
			case 3:				/* a word between, and the header grows with it */
				if (at >= 8 && size + length <= MOST)
				{
					memmove(bytes + at + length, bytes + at, size - at);
					memcpy(bytes + at, word, length);
					size += length;
					bytes[0] = (uint8_t) (bytes[0] + length);
				}
				break;
			case 4:				/* a piece again, somewhere else */
				length = below(size - at);
				memmove(bytes + below(size - length), bytes + at, length);
				break;
			case 5:
				size = at;
				break;
			case 6:				/* only the length */
				bytes[below(8)] = (uint8_t) below(256);
				break;
		}
	}
	return size;
}

int
main(void)
{
	const char *text = getenv("FUZZ_RUNS");
	long		runs = text ? atol(text) : 5000;
	static uint8_t bytes[MOST];

	plan(1);
	for (long i = 0; i < runs; i++)
	{
		size_t		size = valid_file(bytes);
		uint8_t    *exact;

		size = alter(bytes, size);
		exact = malloc(size > 0 ? size : 1);	/* so that sanitizers see its end */
		memcpy(exact, bytes, size);
		(void) LLVMFuzzerTestOneInput(exact, size);
		free(exact);
	}
	ok(true, "%ld altered files", runs);
	return done();
}
