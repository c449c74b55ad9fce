/*
 * test_safetensors.c
 *	  Round trips, and every way in which a file may be wrong
 *
 * With GOLDEN set to a folder of safetensors files, also reads those.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nn/nn.h"
#include "tap.h"

static nn_file file;
static _Alignas(max_align_t) char scratch[NN_FILE_SCRATCH];
static char message[256];

/*
 * Open a file with this header and n bytes of data.  The bytes are on the heap
 * and end with the file, so that sanitizers see a read beyond it.
 */
static nn_status
open_with(const char *header, size_t header_length, size_t data_length, size_t scratch_size)
{
	static char *last;
	size_t		size = 8 + header_length + data_length;

	free(last);
	last = calloc(1, size);
	for (int i = 0; i < 8; i++)
		last[i] = (char) (header_length >> (8 * i));
	memcpy(last + 8, header, header_length);
	for (size_t i = 0; i < data_length; i++)
		last[8 + header_length + i] = (char) i;
	message[0] = '\0';
	return nn_file_open(&file, last, size, scratch, scratch_size, message, sizeof(message));
}

static void
good(const char *header, size_t data_length, int tensors)
{
	nn_status	status = open_with(header, strlen(header), data_length, sizeof(scratch));

	ok(status == NN_OK && file.n == tensors, "taken: %.60s (%s)", header, message);
}

static void
bad(const char *header, size_t data_length, const char *why)
{
	nn_status	status = open_with(header, strlen(header), data_length, sizeof(scratch));

	ok(status == NN_BAD_FILE && strstr(message, why) != NULL, "refused: %.60s (%s)", header, message);
}

#define A(dtype, shape, offsets) "\"a\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"
#define B(offsets) "\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":" offsets "}"
#define JSON "not valid JSON"
#define OBJECT "not a JSON object"
#define COVER "do not cover"
#define OFFSETS "do not fit its shape"

static void
test_accepted(void)
{
	good("{}", 0, 0);
	ok(open_with("  {\n\t}\r ", 8, 0, sizeof(scratch)) == NN_OK, "taken: white space");
	good("{" A("F32", "[2,3]", "[0,24]") "}", 24, 1);
	ok(file.tensor[0].dtype == NN_F32 && file.tensor[0].rank == 2 && file.tensor[0].shape[0] == 2 &&
	   file.tensor[0].shape[1] == 3 && file.tensor[0].count == 6, "type and shape");
	ok(file.tensor[0].end == file.size && file.tensor[0].begin == file.size - 24, "offsets from the start of the file");
	ok(((const char *) nn_file_data(&file, &file.tensor[0]))[5] == 5, "its data");
	ok(nn_file_find(&file, "a") == &file.tensor[0] && nn_file_find(&file, "b") == NULL, "found by its name");
	ok(file.metadata == NULL && file.metadata_length == 0 && nn_file_metadata(&file, "k", scratch, 10, scratch, sizeof(scratch)) == -1, "no metadata");
	good("{" A("F64", "[]", "[0,8]") "}", 8, 1);
	ok(file.tensor[0].rank == 0 && file.tensor[0].count == 1 && file.tensor[0].dtype == NN_F64, "rank 0 is one element");
	good("{" A("I32", "[3]", "[0,12]") "}", 12, 1);
	ok(file.tensor[0].dtype == NN_I32 && file.tensor[0].rank == 1 && file.tensor[0].count == 3, "I32");
	good("{" A("I64", "[2]", "[0,16]") "}", 16, 1);
	ok(file.tensor[0].dtype == NN_I64, "I64");
	good("{" A("U8", "[3,0]", "[0,0]") "}", 0, 1);
	ok(file.tensor[0].dtype == NN_U8 && file.tensor[0].count == 0, "an empty tensor");
	good("{ " A("U8", "[ 10 , 1 ]", "[ 0 ,10 ]") " , " B("[10,14]") " }", 14, 2);
	good("{" A("U8", "[3]", "[4,7]") "," B("[0,4]") "}", 7, 2);
	ok(strcmp(file.tensor[0].name, "a") == 0 && strcmp(file.tensor[1].name, "b") == 0, "in the order of the header");
	good("{" A("U8", "[3]", "[4,7]") "," "\"e\":{\"data_offsets\":[4,4],\"shape\":[0],\"dtype\":\"F32\"}," B("[0,4]") "}", 7, 3);
	good("{" "\"e\":{\"data_offsets\":[0,0],\"shape\":[0],\"dtype\":\"F32\"}," A("U8", "[3]", "[0,3]") "}", 3, 2);
	good("{" A("U8", "[3]", "[0,3]") "," "\"e\":{\"data_offsets\":[3,3],\"shape\":[0,9],\"dtype\":\"F32\"}}", 3, 2);
}

static void
test_refused(void)
{
	char		name[2 * NN_MAX_TENSOR + 200];

	bad("", 0, OBJECT);
	bad("[]", 0, OBJECT);
	bad("{}{}", 0, OBJECT);
	bad("{} x", 0, OBJECT);
	bad("{}\tx", 0, OBJECT);
	bad("{", 0, OBJECT);
	bad("\"a\"", 0, OBJECT);
	bad("{]", 0, OBJECT);
	bad("x{}", 0, OBJECT);
	bad("{,}", 0, JSON);
	bad("{1:2}", 0, OBJECT);
	bad("{\"a\"}", 0, "is not an object");
	bad("{\"a\":1}", 0, "is not an object");
	bad("{\"a\" {}}", 0, OBJECT);
	bad("{\"a\":{}}", 0, "lacks");
	bad("{\"a\":{\"dtype\":\"U8\",\"shape\":[0]}}", 0, "lacks");
	bad("{\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,1]}}", 1, "lacks");
	bad("{\"a\":{\"shape\":[0],\"data_offsets\":[0,0]}}", 0, "lacks");
	bad("{\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0],\"x\":1}}", 0, "unknown or repeated");
	bad("{\"a\":{\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}", 0, "unknown or repeated");
	bad("{\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"shape\":[0],\"data_offsets\":[0,0]}}", 0, "unknown or repeated");
	bad("{\"a\":{\"dtype\":\"U8\",\"shape\":[],\"shape\":[],\"data_offsets\":[0,1]}}", 1, "unknown or repeated");
	bad("{\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0],\"data_offsets\":[0,0]}}", 0, "unknown or repeated");
	bad("{\"a\":{\"dtype\":\"U8\" \"shape\":[0],\"data_offsets\":[0,0]}}", 0, JSON);
	bad("{\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0],}}", 0, JSON);
	bad("{\"a\":{,\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}", 0, JSON);
	bad("{" A("U8", "[0]", "[0,0]") ",}", 0, JSON);
	bad("{" A("U8", "[0]", "[0,0]") ",," B("[0,4]") "}", 4, JSON);
	bad("{" A("U8", "[0]", "[0,0]") B("[0,4]") "}", 4, JSON);
	bad("{" A("BF16", "[0]", "[0,0]") "}", 0, "dtype");
	bad("{" A("F3", "[0]", "[0,0]") "}", 0, "dtype");
	bad("{" A("F322", "[0]", "[0,0]") "}", 0, "dtype");
	bad("{\"a\":{\"dtype\":1,\"shape\":[0],\"data_offsets\":[0,0]}}", 0, "dtype");
	bad("{" A("U8", "[1,1,1]", "[0,1]") "}", 1, "shape");
	bad("{" A("U8", "3", "[0,3]") "}", 3, "shape");
	bad("{" A("U8", "[3,]", "[0,3]") "}", 3, "shape");
	bad("{" A("U8", "[1 3]", "[0,3]") "}", 3, "shape");
	bad("{" A("U8", "[\"3\"]", "[0,3]") "}", 3, "shape");
	bad("{" A("U8", "[-1]", "[0,3]") "}", 3, "shape");
	bad("{" A("U8", "[03]", "[0,3]") "}", 3, "shape");
	bad("{" A("U8", "[3.0]", "[0,3]") "}", 3, "shape");
	bad("{" A("U8", "[1e1]", "[0,10]") "}", 10, "shape");
	bad("{" A("U8", "[null]", "[0,0]") "}", 0, "shape");
	bad("{" A("U8", "[9223372036854775808]", "[0,3]") "}", 3, "shape");
	bad("{" A("U8", "[18446744073709551617]", "[0,1]") "}", 1, "shape");
	bad("{" A("U8", "[4294967296,4294967296]", "[0,0]") "}", 0, "too large");
	bad("{" A("F64", "[2305843009213693952]", "[0,0]") "}", 0, "too large");
	bad("{" A("F32", "[2147483648,2147483649]", "[0,4]") "}", 4, "too large");
	bad("{" A("U8", "[9223372036854775807]", "[0,9223372036854775807]") "}", 3, COVER);
	bad("{" A("U8", "[3]", "[0]") "}", 3, "two numbers");
	bad("{" A("U8", "[3]", "[]") "}", 3, "two numbers");
	bad("{" A("U8", "[3]", "[0,1,3]") "}", 3, "two numbers");
	bad("{" A("U8", "[3]", "[0,-3]") "}", 3, "two numbers");
	bad("{" A("U8", "[3]", "[3,0]") "}", 3, OFFSETS);
	bad("{" A("U8", "[3]", "[0,2]") "}", 2, OFFSETS);
	bad("{" A("F32", "[3]", "[0,3]") "}", 3, OFFSETS);
	bad("{" A("U8", "[3]", "[1,4]") "}", 4, COVER);
	bad("{" A("U8", "[3]", "[0,3]") "}", 2, COVER);
	bad("{" A("U8", "[3]", "[0,3]") "}", 4, COVER);
	bad("{" A("U8", "[3]", "[0,3]") "," B("[4,8]") "}", 8, COVER);
	bad("{" A("U8", "[3]", "[0,3]") "," B("[2,6]") "}", 6, COVER);
	bad("{" A("U8", "[4]", "[0,4]") "," B("[0,4]") "}", 4, COVER);
	bad("{" A("U8", "[8]", "[0,8]") "," "\"e\":{\"data_offsets\":[4,4],\"shape\":[0],\"dtype\":\"F32\"}}", 8, COVER);
	bad("{}", 1, COVER);
	bad("{" A("U8", "[4]", "[0,4]") "," A("U8", "[4]", "[4,8]") "}", 8, "two tensors \"a\"");
	bad("{" A("U8", "[4]", "[0,4]") ",\"\\u0061\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[4,5]}}", 5, "two tensors \"a\"");
	bad("{\"\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}}", 1, "name of tensor 1");
	bad("{" A("U8", "[0]", "[0,0]") ",\"\\u0000\":{}}", 1, "name of tensor 2");

	/* the longest name, and one byte more */
	for (int extra = 0; extra < 2; extra++)
	{
		sprintf(name, "{\"%0*d\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}}", NN_MAX_TENSOR - 1 + extra, 0);
		if (extra)
			bad(name, 1, "name of tensor 1");
		else
			good(name, 1, 1);
	}
	ok(open_with("{}\0", 3, 0, sizeof(scratch)) == NN_BAD_FILE, "refused: a NUL behind the header's object");
	ok(open_with("{}", 2, 0, 0) == NN_BAD_FILE, "refused: no scratch memory");
	ok(open_with("{}", 2, 0, 20) == NN_OK, "one token is enough for an empty header");
}

/* Names as they are written in JSON, and what they should become; NULL: refused. */
static void
test_strings(void)
{
	static const char *const cases[][2] = {
		{"\\\"\\\\\\/\\b\\f\\n\\r\\t", "\"\\/\b\f\n\r\t"},
		{"\\u0041\\u00e4\\u20AC\\ud83d\\uDE00", "A\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80"},
		{"\\u007f\\u0080\\u07ff\\u0800\\uffff", "\x7F\xC2\x80\xDF\xBF\xE0\xA0\x80\xEF\xBF\xBF"},
		{"\\ud800\\udc00\\udbff\\udfff", "\xF0\x90\x80\x80\xF4\x8F\xBF\xBF"},
		{"\\u0001\\ud7ff\\ue000", "\x01\xED\x9F\xBF\xEE\x80\x80"},
		{"\\u9aAf\\uF0fA", "\xE9\xAA\xAF\xEF\x83\xBA"},
		{"A\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80", "A\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80"},
		{"\xC2\x80\xDF\xBF\xE0\xA0\x80\xED\x9F\xBF\xEE\x80\x80\xF0\x90\x80\x80\xF4\x8F\xBF\xBF",
		"\xC2\x80\xDF\xBF\xE0\xA0\x80\xED\x9F\xBF\xEE\x80\x80\xF0\x90\x80\x80\xF4\x8F\xBF\xBF"},
		{" \x7F", " \x7F"},
		{"\\u0000", NULL},
		{"\\ud83d", NULL},
		{"\\ud83dx\\ude00", NULL},
		{"\\ud83d\\n12345", NULL},
		{"\\ud83d\\ud83d", NULL},
		{"\\ud83d\\ue000", NULL},
		{"\\ud83d\\u0041", NULL},
		{"\\ude00", NULL},
		{"\\udc00", NULL},
		{"\\udfff", NULL},
		{"\\x41", NULL},
		{"\\u12", NULL},
		{"\\u12g4", NULL},
		{"\\u:234", NULL},
		{"a\tb", NULL},
		{"a\x1F" "b", NULL},
		{"\x80", NULL},
		{"\xBF", NULL},
		{"\xC0\x80", NULL},
		{"\xC1\xBF", NULL},
		{"\xC3", NULL},
		{"\xC3\x28", NULL},
		{"\xC3\xC3", NULL},
		{"\xE0\x9F\xBF", NULL},
		{"\xE2\x82", NULL},
		{"\xE2\x28\xAC", NULL},
		{"\xED\xA0\x80", NULL},
		{"\xED\xBF\xBF", NULL},
		{"\xF0\x8F\xBF\xBF", NULL},
		{"\xF0\x9F\x98", NULL},
		{"\xF4\x90\x80\x80", NULL},
		{"\xF8\x88\x80\x80\x80", NULL},
		{"\xF8\xA0\x80\x80", NULL},
		{"\xFF", NULL}
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		char		header[300];
		const char *want = cases[i][1];
		nn_status	status;

		sprintf(header, "{\"%s\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}}", cases[i][0]);
		status = open_with(header, strlen(header), 1, sizeof(scratch));
		if (want)
			ok(status == NN_OK && strcmp(file.tensor[0].name, want) == 0, "string %zu is taken", i);
		else
			ok(status == NN_BAD_FILE, "string %zu is refused", i);
	}
}

static void
test_metadata(void)
{
	char		out[20];
	char		long_key[500];

	good("{\"__metadata__\":{\"config\":\"{\\\"a\\\": 1}\",\"k\\u00e4\":\"v\"," "\"empty\":\"\",\"\":\"nameless\"}," A("U8", "[]", "[0,1]") "}", 1, 1);
	ok(file.metadata && file.metadata[0] == '{' && file.metadata[file.metadata_length - 1] == '}', "its text");
	ok(nn_file_metadata(&file, "config", out, sizeof(out), scratch, sizeof(scratch)) == 8 &&
	   strcmp(out, "{\"a\": 1}") == 0, "a value");
	ok(nn_file_metadata(&file, "k\xC3\xA4", out, sizeof(out), scratch, sizeof(scratch)) == 1 &&
	   strcmp(out, "v") == 0, "a key with an escape");
	ok(nn_file_metadata(&file, "empty", out, sizeof(out), scratch, sizeof(scratch)) == 0 && out[0] == '\0', "an empty value");
	ok(nn_file_metadata(&file, "", out, sizeof(out), scratch, sizeof(scratch)) == 8, "an empty key");
	ok(nn_file_metadata(&file, "no", out, sizeof(out), scratch, sizeof(scratch)) == -1, "a key that is not there");
	ok(nn_file_metadata(&file, "config", out, 9, scratch, sizeof(scratch)) == 8, "just room enough");
	out[8] = 'x';
	ok(nn_file_metadata(&file, "config", out, 8, scratch, sizeof(scratch)) == -1 && out[8] == 'x', "no room for the NUL");
	ok(nn_file_metadata(&file, "empty", out, 0, scratch, sizeof(scratch)) == -1, "no room at all");
	ok(nn_file_metadata(&file, "config", out, sizeof(out), scratch, 20) == -1, "no scratch memory");
	sprintf(long_key, "{\"__metadata__\":{\"%0300d\":\"v\",\"config\":\"w\"}}", 0);
	good(long_key, 0, 0);
	ok(nn_file_metadata(&file, "config", out, sizeof(out), scratch, sizeof(scratch)) == 1 && out[0] == 'w', "behind a long key");
	good("{\"__metadata__\":{}}", 0, 0);
	bad("{\"__metadata__\":{},\"__metadata__\":{}}", 0, "metadata");
	bad("{\"__metadata__\":[]}", 0, "metadata");
	bad("{\"__metadata__\":{\"a\":1}}", 0, "metadata");
	bad("{\"__metadata__\":{\"a\":{}}}", 0, "metadata");
	bad("{\"__metadata__\":{\"a\"}}", 0, "metadata");
	bad("{\"__metadata__\":{\"a\":\"b\",}}", 0, "metadata");
	bad("{\"__metadata__\":{\"a\":\"b\" \"c\":\"d\"}}", 0, "metadata");
	bad("{\"__metadata__\":{\"\\ud800\":\"b\"}}", 0, "metadata");
	bad("{\"__metadata__\":{\"a\":\"\\ud800\"}}", 0, "metadata");
}

/* Lengths that the header's first bytes may claim. */
static void
test_lengths(void)
{
	static const uint64_t claims[] = {3, 4, 1 << 20, 100000000, 100000001, UINT64_C(1) << 32,
	UINT64_C(1) << 63, UINT64_MAX, UINT64_MAX - 7};
	char		bytes[10] = {2, 0, 0, 0, 0, 0, 0, 0, '{', '}'};
	bool		refused = true;
	size_t		large = 100000001;
	char	   *long_file;

	for (size_t size = 0; size < sizeof(bytes); size++)
	{
		char	   *copy = malloc(size + 1);

		memcpy(copy, bytes, size);
		refused = refused && nn_file_open(&file, copy, size, scratch, sizeof(scratch), message, sizeof(message)) == NN_BAD_FILE &&
			strstr(message, size < 8 ? "shorter than" : "not plausible");
		free(copy);
	}
	ok(refused, "refused: every shorter piece of a file");
	ok(nn_file_open(&file, bytes, sizeof(bytes), scratch, sizeof(scratch), message, sizeof(message)) == NN_OK, "taken: the shortest file");
	refused = true;
	for (size_t i = 0; i < sizeof(claims) / sizeof(claims[0]); i++)
	{
		for (int k = 0; k < 8; k++)
			bytes[k] = (char) (claims[i] >> (8 * k));
		refused = refused && nn_file_open(&file, bytes, sizeof(bytes), scratch, sizeof(scratch), message, sizeof(message)) == NN_BAD_FILE;
	}
	ok(refused, "refused: headers longer than the file");

	/* spaces up to the limit, and one more */
	long_file = malloc(large + 8);
	memset(long_file, ' ', large + 8);
	long_file[8] = '{';
	long_file[9] = '}';
	for (int more = 0; more < 2; more++)
	{
		size_t		length = large - 1 + (size_t) more;

		for (int k = 0; k < 8; k++)
			long_file[k] = (char) (length >> (8 * k));
		ok((nn_file_open(&file, long_file, 8 + length, scratch, sizeof(scratch), message, sizeof(message)) == NN_OK) == !more,
		   "a header of %zu bytes is %s", length, more ? "refused" : "taken");
	}
	free(long_file);
}

/* Many tensors, and more than there may be. */
static void
test_many(void)
{
	char	   *header = malloc(200 * (NN_MAX_TENSORS + 2));

	for (int n = NN_MAX_TENSORS; n <= NN_MAX_TENSORS + 1; n++)
	{
		size_t		length = 1;
		nn_status	status;

		header[0] = '{';
		for (int i = 0; i < n; i++)
			length += (size_t) sprintf(header + length, "%s\"t%d\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[%d,%d]}",
									   i ? "," : "", i, n - 1 - i, n - i);
		header[length++] = '}';
		status = open_with(header, length, (size_t) n, sizeof(scratch));
		if (n == NN_MAX_TENSORS)
			ok(status == NN_OK && file.n == n && ((const char *) nn_file_data(&file, nn_file_find(&file, "t1")))[0] == (char) (n - 2),
			   "%d tensors, in reverse", n);
		else
			ok(status == NN_BAD_FILE && strstr(message, "more than"), "refused: %d tensors", n);
	}
	memset(header, '[', 100000);
	ok(open_with(header, 100000, 0, sizeof(scratch)) == NN_BAD_FILE, "refused: deep nesting");
	free(header);
}

static void
test_round_trip(void)
{
	static const int64_t sizes[] = {4, 8, 4, 8, 1};
	nn_file_tensor tensor[6];
	static char bytes[4096];
	char		out[100];
	size_t		start,
				size;
	bool		same = true;

	memset(tensor, 0, sizeof(tensor));
	for (int i = 0; i < 5; i++)
	{
		sprintf(tensor[i].name, "tensor.%d", i);
		tensor[i].dtype = (nn_dtype) i;
		tensor[i].rank = i % 3;
		tensor[i].shape[0] = 3;
		tensor[i].shape[1] = 5;
	}
	strcpy(tensor[1].name, "quote\" back\\ new\n line\x1F \x7F caf\xC3\xA9");
	start = nn_file_header(tensor, 5, NULL, NULL, 0);
	ok(start % 64 == 0 && start > 300 && start < 500, "the data begin at %zu", start);
	memset(bytes, 'x', sizeof(bytes));
	ok(nn_file_header(tensor, 5, NULL, bytes, start - 1) == start && bytes[0] == 'x' && bytes[start - 2] == 'x',
	   "nothing is written where there is no room");
	ok(nn_file_header(tensor, 5, NULL, bytes, start) == start && bytes[start] == 'x', "just room enough");
	size = tensor[4].end;
	ok(tensor[0].begin == start && tensor[1].begin == tensor[0].end && size == start + 4 + 24 + 60 + 8 + 3, "offsets are filled in");
	ok(nn_file_open(&file, bytes, size, scratch, sizeof(scratch), message, sizeof(message)) == NN_OK && file.n == 5,
	   "reads what it wrote (%s)", message);
	for (int i = 0; i < 5; i++)
		same = same && strcmp(file.tensor[i].name, tensor[i].name) == 0 && file.tensor[i].dtype == tensor[i].dtype &&
			file.tensor[i].rank == tensor[i].rank && file.tensor[i].count == tensor[i].count &&
			file.tensor[i].begin == tensor[i].begin && file.tensor[i].end == tensor[i].end &&
			(int64_t) (tensor[i].end - tensor[i].begin) == tensor[i].count * sizes[i] &&
			(tensor[i].rank < 1 || file.tensor[i].shape[0] == 3) && (tensor[i].rank < 2 || file.tensor[i].shape[1] == 5);
	ok(same, "the same tensors");
	ok(strstr(bytes + 8, "new\\u000a line\\u001f") != NULL, "control characters are escaped");

	start = nn_file_header(tensor, 1, "{\"a\": \"b\"}", bytes, sizeof(bytes));
	ok(nn_file_open(&file, bytes, tensor[0].end, scratch, sizeof(scratch), message, sizeof(message)) == NN_OK && file.n == 1 &&
	   nn_file_metadata(&file, "a", out, sizeof(out), scratch, sizeof(scratch)) == 1 && out[0] == 'b', "with metadata");
	ok(nn_file_header(NULL, 0, NULL, bytes, sizeof(bytes)) == 64 && bytes[0] == 56 && memcmp(bytes + 8, "{} ", 3) == 0 && bytes[63] == ' ',
	   "no tensors: padded with spaces");
	ok(nn_file_open(&file, bytes, 64, scratch, sizeof(scratch), message, sizeof(message)) == NN_OK && file.n == 0, "and read again");

	/* every length of header: the padding is never more than it need be */
	same = true;
	for (int length = 1; length < 130; length++)
	{
		sprintf(tensor[0].name, "%0*d", length, 0);
		start = nn_file_header(tensor, 1, NULL, bytes, sizeof(bytes));
		same = same && start % 64 == 0 && memchr(bytes + start - 64, '}', 64) != NULL &&
			nn_file_open(&file, bytes, tensor[0].end, scratch, sizeof(scratch), message, sizeof(message)) == NN_OK;
	}
	ok(same, "headers of any length are padded to the next 64 bytes");
}

static void
test_golden(void)
{
	const char *folder = getenv("GOLDEN");
	DIR		   *directory = folder ? opendir(folder) : NULL;
	struct dirent *entry;
	int			files = 0;
	bool		all = true;

	while (directory && (entry = readdir(directory)) != NULL)
	{
		char		path[4096];
		char		value[100];
		FILE	   *stream;
		char	   *bytes;
		long		size;

		if (strstr(entry->d_name, ".safetensors") == NULL)
			continue;
		snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
		stream = fopen(path, "rb");
		if (stream == NULL)
			continue;
		fseek(stream, 0, SEEK_END);
		size = ftell(stream);
		rewind(stream);
		bytes = malloc((size_t) size);
		all = all && fread(bytes, 1, (size_t) size, stream) == (size_t) size &&
			nn_file_open(&file, bytes, (size_t) size, scratch, sizeof(scratch), message, sizeof(message)) == NN_OK &&
			nn_file_metadata(&file, "format", value, sizeof(value), scratch, sizeof(scratch)) == 13 &&
			strcmp(value, "dupn-golden-1") == 0 && nn_file_find(&file, "out.user_vector") != NULL;
		free(bytes);
		fclose(stream);
		files++;
	}
	if (directory)
		closedir(directory);
	ok(all, "%d files of the golden folder", files);
}

int
main(void)
{
	plan(181);
	test_accepted();
	test_refused();
	test_strings();
	test_metadata();
	test_lengths();
	test_many();
	test_round_trip();
	test_golden();
	return done();
}
