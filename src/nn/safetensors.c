/*-------------------------------------------------------------------------
 *
 * safetensors.c
 *	  Reading and writing the header of a safetensors file
 *
 * A file is 8 bytes of header length (little-endian), the header, a JSON
 * object { name: { "dtype", "shape", "data_offsets" }, "__metadata__":
 * { key: string } }, and the data, to which the offsets refer
 * (https://github.com/huggingface/safetensors, "Format").
 *
 * Files come from strangers, so the reader accepts only what it can prove:
 * strict JSON, known types of rank 0 to 2, and tensors that cover the data
 * exactly.
 *
 *-------------------------------------------------------------------------
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "json.h"
#include "nn.h"

/* nn_file_data hands the file's bytes out as they are. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "safetensors data are little-endian");

#define LENGTH_BYTES		8
#define MAX_HEADER			100000000	/* as the reference implementation */
#define DATA_ALIGNMENT		64
#define METADATA			"__metadata__"

static const struct
{
	const char *name;
	int			size;
}			dtypes[] =
{
	[NN_F32] = {"F32", 4},
	[NN_F64] = {"F64", 8},
	[NN_I32] = {"I32", 4},
	[NN_I64] = {"I64", 8},
	[NN_U8] = {"U8", 1}
};

#define N_DTYPES ((int) (sizeof(dtypes) / sizeof(dtypes[0])))

/* ------------------------------------------------------------------------
 * Reading
 * ------------------------------------------------------------------------ */

static nn_status bad_file(char *message, size_t message_size, const char *format,...)
	__attribute__((format(printf, 3, 4)));

static nn_status
bad_file(char *message, size_t message_size, const char *format,...)
{
	va_list		arguments;

	va_start(arguments, format);
	vsnprintf(message, message_size, format, arguments);
	va_end(arguments);
	return NN_BAD_FILE;
}

/* Fill in count, and the size in bytes; false when they do not fit 63 bits. */
static bool
tensor_size(nn_file_tensor *tensor, int64_t *bytes)
{
	tensor->count = 1;
	for (int i = 0; i < tensor->rank; i++)
		if (__builtin_mul_overflow(tensor->count, tensor->shape[i], &tensor->count))
			return false;
	return !__builtin_mul_overflow(tensor->count, dtypes[tensor->dtype].size, bytes);
}

/* An array of at most `most` whole numbers; how many there are, or -1. */
static int
read_array(nn_json *js, int64_t *value, int most)
{
	const jsmntok_t *array = nn_json_next(js, JSMN_ARRAY, ':');

	if (array == NULL || array->size > most)
		return -1;
	for (int i = 0; i < array->size; i++)
		if (!nn_json_integer(js, i > 0 ? ',' : '\0', &value[i]))
			return -1;
	return nn_json_close(js, array) ? array->size : -1;
}

/*
 * One tensor's object; its offsets stay relative to the data.  Returns what is
 * wrong with it, or NULL.
 */
static const char *
read_tensor(nn_json *js, nn_file_tensor *tensor)
{
	const jsmntok_t *object = nn_json_next(js, JSMN_OBJECT, ':');
	bool		has_dtype = false;
	int64_t		offset[2] = {-1, -1};
	int64_t		bytes;

	if (object == NULL)
		return "is not an object";
	tensor->rank = -1;
	for (int i = 0; i < object->size; i++)
	{
		const jsmntok_t *key = nn_json_next(js, JSMN_STRING, i > 0 ? ',' : '\0');

		if (key == NULL)
			return "is not valid JSON";
		if (nn_json_is(js, key, "dtype") && !has_dtype)
		{
			const jsmntok_t *value = nn_json_next(js, JSMN_STRING, ':');
			int			dtype = 0;

			while (value && dtype < N_DTYPES && !nn_json_is(js, value, dtypes[dtype].name))
				dtype++;
			if (value == NULL || dtype == N_DTYPES)
				return "has a dtype other than F32, F64, I32, I64 and U8";
			tensor->dtype = (nn_dtype) dtype;
			has_dtype = true;
		}
		else if (nn_json_is(js, key, "shape") && tensor->rank < 0)
		{
			tensor->rank = read_array(js, tensor->shape, 2);
			if (tensor->rank < 0)
				return "has a shape that is not a list of at most two sizes";
		}
		else if (nn_json_is(js, key, "data_offsets") && offset[0] < 0)
		{
			if (read_array(js, offset, 2) != 2)
				return "has data_offsets that are not two numbers";
		}
		else
			return "has an unknown or repeated key";
	}
	if (!nn_json_close(js, object))
		return "is not valid JSON";
	if (!has_dtype || tensor->rank < 0 || offset[0] < 0)
		return "lacks dtype, shape or data_offsets";
	if (!tensor_size(tensor, &bytes))
		return "is too large";
	if (offset[1] < offset[0] || offset[1] - offset[0] != bytes)
		return "has data_offsets that do not fit its shape";
	tensor->begin = (size_t) offset[0];
	tensor->end = (size_t) offset[1];
	return NULL;
}

/* The object behind the key __metadata__: strings only. */
static bool
read_metadata(nn_json *js, nn_file *file)
{
	const jsmntok_t *object = nn_json_next(js, JSMN_OBJECT, ':');

	if (object == NULL || file->metadata)
		return false;
	for (int i = 0; i < object->size; i++)
	{
		const jsmntok_t *key = nn_json_next(js, JSMN_STRING, i > 0 ? ',' : '\0');
		const jsmntok_t *value = key ? nn_json_next(js, JSMN_STRING, ':') : NULL;

		if (value == NULL ||
			nn_json_unescape(js->text + key->start, js->text + key->end, NULL, 0) < 0 ||
			nn_json_unescape(js->text + value->start, js->text + value->end, NULL, 0) < 0)
			return false;
	}
	file->metadata = js->text + object->start;
	file->metadata_length = (size_t) (object->end - object->start);
	return nn_json_close(js, object);
}

/*
 * Do the tensors cover `bytes` bytes of data, each once?  order: n numbers.
 * Insertion sort, because files list their tensors in order or nearly so.
 */
static bool
covers(const nn_file *file, size_t bytes, int32_t *order)
{
	const nn_file_tensor *tensor = file->tensor;
	size_t		at = 0;

	for (int i = 0; i < file->n; i++)
	{
		int			j = i;

		for (; j > 0 && (tensor[order[j - 1]].begin > tensor[i].begin ||
						 (tensor[order[j - 1]].begin == tensor[i].begin &&
						  tensor[order[j - 1]].end > tensor[i].end)); j--)
			order[j] = order[j - 1];
		order[j] = i;
	}
	for (int i = 0; i < file->n; i++)
	{
		if (tensor[order[i]].begin != at)
			return false;
		at = tensor[order[i]].end;
	}
	return at == bytes;
}

/*
 * Check and index a file of `size` bytes.  Tensors stand in the order of the
 * header.  scratch must be aligned as malloc does; it is free afterwards.
 */
nn_status
nn_file_open(nn_file *file, const void *data, size_t size, void *scratch, size_t scratch_size,
			 char *message, size_t message_size)
{
	const unsigned char *bytes = data;
	const jsmntok_t *root;
	const jsmntok_t *key;
	uint64_t	length = 0;
	size_t		start;
	nn_json		js;

	file->n = 0;
	file->metadata = NULL;
	file->metadata_length = 0;
	file->data = data;
	file->size = size;

	if (size < LENGTH_BYTES)
		return bad_file(message, message_size, "the file is shorter than its header");
	for (int i = 0; i < LENGTH_BYTES; i++)
		length |= (uint64_t) bytes[i] << (8 * i);
	if (length > MAX_HEADER || length > size - LENGTH_BYTES)
		return bad_file(message, message_size, "the header's length is not plausible");
	start = LENGTH_BYTES + (size_t) length;

	root = nn_json_open(&js, file->data + LENGTH_BYTES, (size_t) length, scratch, scratch_size);
	if (root == NULL)
		return bad_file(message, message_size, "the header is not a JSON object, or too long");
	for (int i = 0; i < root->size; i++)
	{
		nn_file_tensor *tensor = &file->tensor[file->n];
		const char *wrong;
		int64_t		name_length;

		key = nn_json_next(&js, JSMN_STRING, i > 0 ? ',' : '\0');
		if (key == NULL)
			return bad_file(message, message_size, "the header is not valid JSON");
		if (nn_json_is(&js, key, METADATA))
		{
			if (!read_metadata(&js, file))
				return bad_file(message, message_size, "the metadata is not an object of strings");
			continue;
		}
		if (file->n == NN_MAX_TENSORS)
			return bad_file(message, message_size, "there are more than %d tensors", NN_MAX_TENSORS);
		name_length = nn_json_unescape(js.text + key->start, js.text + key->end, tensor->name, NN_MAX_TENSOR);
		if (name_length <= 0 || name_length >= NN_MAX_TENSOR)
			return bad_file(message, message_size, "the name of tensor %d is not valid or too long",
							file->n + 1);
		if (nn_file_find(file, tensor->name))
			return bad_file(message, message_size, "there are two tensors \"%s\"", tensor->name);
		wrong = read_tensor(&js, tensor);
		if (wrong)
			return bad_file(message, message_size, "tensor \"%s\" %s", tensor->name, wrong);
		file->n++;
	}
	if (!nn_json_close(&js, root))
		return bad_file(message, message_size, "the header is not valid JSON");

	/* the tokens are read: their memory is free for the order */
	if (!covers(file, size - start, scratch))
		return bad_file(message, message_size, "the tensors do not cover the data exactly");
	for (int i = 0; i < file->n; i++)
	{
		file->tensor[i].begin += start;
		file->tensor[i].end += start;
	}
	return NN_OK;
}

const nn_file_tensor *
nn_file_find(const nn_file *file, const char *name)
{
	for (int i = 0; i < file->n; i++)
		if (strcmp(file->tensor[i].name, name) == 0)
			return &file->tensor[i];
	return NULL;
}

/* The elements; in files not written by us they may lie unaligned. */
const void *
nn_file_data(const nn_file *file, const nn_file_tensor *tensor)
{
	return file->data + tensor->begin;
}

int64_t
nn_file_metadata(const nn_file *file, const char *key, char *out, size_t out_size,
				 void *scratch, size_t scratch_size)
{
	const jsmntok_t *root;
	nn_json		js;

	if (file->metadata == NULL)
		return -1;
	root = nn_json_open(&js, file->metadata, file->metadata_length, scratch, scratch_size);
	for (int i = 0; root && i < root->size; i++)
	{
		const jsmntok_t *name = nn_json_next(&js, JSMN_STRING, i > 0 ? ',' : '\0');
		const jsmntok_t *value = name ? nn_json_next(&js, JSMN_STRING, ':') : NULL;
		char		plain[NN_MAX_TENSOR];
		int64_t		length;

		if (value == NULL)
			break;
		length = nn_json_unescape(js.text + name->start, js.text + name->end, plain, sizeof(plain));
		if (length < 0 || length >= (int64_t) sizeof(plain) || strcmp(plain, key) != 0)
			continue;
		length = nn_json_unescape(js.text + value->start, js.text + value->end, out, out_size);
		return length >= 0 && (size_t) length < out_size ? length : -1;
	}
	return -1;
}

/* ------------------------------------------------------------------------
 * Writing
 * ------------------------------------------------------------------------ */

/* Text that is only counted where there is no room for it. */
typedef struct writer
{
	char	   *out;
	size_t		size;
	size_t		used;
} writer;

static void
put(writer *w, const char *text, size_t length)
{
	if (w->used + length <= w->size)
		memcpy(w->out + w->used, text, length);
	w->used += length;
}

static void
put_text(writer *w, const char *text)
{
	put(w, text, strlen(text));
}

static void
put_number(writer *w, int64_t value)
{
	char		digits[24];

	put(w, digits, (size_t) snprintf(digits, sizeof(digits), "%lld", (long long) value));
}

static void
put_name(writer *w, const char *name)
{
	put_text(w, "\"");
	for (; *name; name++)
	{
		char		escape[8];

		if ((unsigned char) *name < 0x20)
			put(w, escape, (size_t) snprintf(escape, sizeof(escape), "\\u%04x", *name));
		else
		{
			if (*name == '"' || *name == '\\')
				put_text(w, "\\");
			put(w, name, 1);
		}
	}
	put_text(w, "\"");
}

/* The JSON of the header, with offsets from the start of the data. */
static void
put_header(writer *w, nn_file_tensor *tensor, int n, const char *metadata)
{
	const char *separator = "";
	int64_t		at = 0;

	put_text(w, "{");
	if (metadata)
	{
		put_text(w, "\"" METADATA "\":");
		put_text(w, metadata);
		separator = ",";
	}
	for (int i = 0; i < n; i++)
	{
		int64_t		bytes = 0;

		put_text(w, separator);
		separator = ",";
		put_name(w, tensor[i].name);
		put_text(w, ":{\"dtype\":\"");
		put_text(w, dtypes[tensor[i].dtype].name);
		put_text(w, "\",\"shape\":[");
		for (int k = 0; k < tensor[i].rank; k++)
		{
			put_text(w, k > 0 ? "," : "");
			put_number(w, tensor[i].shape[k]);
		}
		/* the writer's own tensors are in memory, so their sizes fit */
		(void) tensor_size(&tensor[i], &bytes);
		tensor[i].begin = (size_t) at;
		put_text(w, "],\"data_offsets\":[");
		put_number(w, at);
		put_text(w, ",");
		at += bytes;
		put_number(w, at);
		put_text(w, "]}");
		tensor[i].end = (size_t) at;
	}
	put_text(w, "}");
}

/* Also fills in the tensors' counts from their shapes. */
size_t
nn_file_header(nn_file_tensor *tensor, int n, const char *metadata, char *out, size_t out_size)
{
	writer		count = {NULL, 0, 0};
	size_t		start;

	put_header(&count, tensor, n, metadata);
	start = (LENGTH_BYTES + count.used + DATA_ALIGNMENT - 1) / DATA_ALIGNMENT * DATA_ALIGNMENT;
	if (out_size >= start)
	{
		writer		text = {out + LENGTH_BYTES, start - LENGTH_BYTES, 0};

		for (int i = 0; i < LENGTH_BYTES; i++)
			out[i] = (char) ((start - LENGTH_BYTES) >> (8 * i) & 0xFF);
		put_header(&text, tensor, n, metadata);
		memset(out + LENGTH_BYTES + text.used, ' ', start - LENGTH_BYTES - text.used);
	}
	for (int i = 0; i < n; i++)
	{
		tensor[i].begin += start;
		tensor[i].end += start;
	}
	return start;
}
