/*-------------------------------------------------------------------------
 *
 * json.c
 *	  Reading JSON in order
 *
 *-------------------------------------------------------------------------
 */
#include <limits.h>
#include <string.h>

#define JSMN_STATIC
#include "json.h"

/* ------------------------------------------------------------------------
 * Strings
 * ------------------------------------------------------------------------ */

/* The value of four hexadecimal digits. */
static int
hex4(const char *s)
{
	int			value = 0;

	for (int i = 0; i < 4; i++)
	{
		int			c = s[i];

		value = value * 16 + (c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
	}
	return value;
}

/*
 * Read one escape sequence at *s, which is behind its backslash, and step over
 * it; jsmn has seen to it that there is a whole one.  Returns the code point,
 * or -1: a lone surrogate, or U+0000, which a C string cannot hold.
 */
static int
unescape_one(const char **s, const char *end)
{
	static const char from[] = "\"\\/bfnrt";
	static const char to[] = "\"\\/\b\f\n\r\t";
	int			high,
				low;

	if (**s != 'u')
		return to[strchr(from, *(*s)++) - from];
	high = hex4(*s + 1);
	*s += 5;
	if (high == 0 || (high >= 0xDC00 && high <= 0xDFFF))
		return -1;
	if (high < 0xD800 || high > 0xDBFF)
		return high;
	if (end - *s < 6 || (*s)[0] != '\\' || (*s)[1] != 'u')
		return -1;
	low = hex4(*s + 2);
	*s += 6;
	if (low < 0xDC00 || low > 0xDFFF)
		return -1;
	return 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00);
}

/* Read one UTF-8 character at *s and step over it; -1: not valid UTF-8. */
static int
utf8_read(const char **s, const char *end)
{
	static const int least[] = {0, 0x80, 0x800, 0x10000};
	const unsigned char *p = (const unsigned char *) *s;
	int			more = p[0] < 0x80 ? 0 : p[0] < 0xC0 ? -1 : p[0] < 0xE0 ? 1 : p[0] < 0xF0 ? 2 : p[0] < 0xF8 ? 3 : -1;
	int			code;

	if (more < 0 || end - *s <= more)
		return -1;
	code = more == 0 ? p[0] : p[0] & (0x3F >> more);
	for (int i = 1; i <= more; i++)
	{
		if ((p[i] & 0xC0) != 0x80)
			return -1;
		code = (code << 6) | (p[i] & 0x3F);
	}
	*s += more + 1;
	if (code < least[more] || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF))
		return -1;
	return code;
}

/* Encode a code point; returns its 1 to 4 bytes. */
static int
utf8_write(int code, char *out)
{
	if (code < 0x80)
	{
		out[0] = (char) code;
		return 1;
	}
	if (code < 0x800)
	{
		out[0] = (char) (0xC0 | code >> 6);
		out[1] = (char) (0x80 | (code & 0x3F));
		return 2;
	}
	if (code < 0x10000)
	{
		out[0] = (char) (0xE0 | code >> 12);
		out[1] = (char) (0x80 | (code >> 6 & 0x3F));
		out[2] = (char) (0x80 | (code & 0x3F));
		return 3;
	}
	out[0] = (char) (0xF0 | code >> 18);
	out[1] = (char) (0x80 | (code >> 12 & 0x3F));
	out[2] = (char) (0x80 | (code >> 6 & 0x3F));
	out[3] = (char) (0x80 | (code & 0x3F));
	return 4;
}

/*
 * Unescape the inside of a JSON string into out, with a NUL, as far as it
 * fits.  Returns its length in bytes, or -1 when the string is not valid.
 */
int64_t
nn_json_unescape(const char *s, const char *end, char *out, size_t out_size)
{
	size_t		length = 0;
	bool		fits = true;

	while (s < end)
	{
		char		bytes[4];
		int			code,
					n;

		if ((unsigned char) *s < 0x20)
			return -1;
		if (*s == '\\')
		{
			s++;
			code = unescape_one(&s, end);
		}
		else
			code = utf8_read(&s, end);
		if (code < 0)
			return -1;
		n = utf8_write(code, bytes);
		fits = fits && length + n < out_size;
		if (fits)
			memcpy(out + length, bytes, n);
		length += n;
	}
	if (fits && out_size > 0)
		out[length] = '\0';
	return (int64_t) length;
}

/* ------------------------------------------------------------------------
 * JSON: jsmn's tokens read in order, with the punctuation that jsmn lets pass
 * ------------------------------------------------------------------------ */

/* Only white space, and the separator once if there is one, up to `end`? */
static bool
json_gap(nn_json *js, int end, char separator)
{
	bool		seen = separator == '\0';

	for (; js->position < end; js->position++)
	{
		char		c = js->text[js->position];

		if (c == separator && !seen)
			seen = true;
		else if (c != ' ' && c != '\t' && c != '\n' && c != '\r')
			return false;
	}
	return seen;
}

/* The next token, which must be of this type behind this separator; or NULL. */
const jsmntok_t *
nn_json_next(nn_json *js, jsmntype_t type, char separator)
{
	const jsmntok_t *token = &js->token[js->next];
	int			quote = type == JSMN_STRING;

	if (js->next == js->n || token->type != type ||
		!json_gap(js, token->start - quote, separator))
		return NULL;
	js->next++;
	if (type == JSMN_OBJECT || type == JSMN_ARRAY)
		js->position = token->start + 1;
	else
		js->position = token->end + quote;
	return token;
}

/* Leave an object or array: nothing more may be in it. */
bool
nn_json_close(nn_json *js, const jsmntok_t *container)
{
	if (!json_gap(js, container->end - 1, '\0'))
		return false;
	js->position = container->end;
	return true;
}

/* Parse text that must be one object and enter it; NULL: it is not. */
const jsmntok_t *
nn_json_open(nn_json *js, const char *text, size_t length, void *scratch, size_t scratch_size)
{
	jsmn_parser parser;
	size_t		room = scratch_size / sizeof(jsmntok_t);
	const jsmntok_t *root;

	jsmn_init(&parser);
	js->text = text;
	js->token = scratch;
	js->next = 0;
	js->position = 0;
	js->n = jsmn_parse(&parser, text, length, scratch, room > INT_MAX ? INT_MAX : (unsigned int) room);
	if (js->n <= 0)
		return NULL;
	root = nn_json_next(js, JSMN_OBJECT, '\0');
	if (root == NULL)
		return NULL;

	/* jsmn stops at a NUL and takes several values in a row */
	for (size_t i = (size_t) root->end; i < length; i++)
		if (text[i] != ' ' && text[i] != '\t' && text[i] != '\n' && text[i] != '\r')
			return NULL;
	return root;
}

/* A whole number from 0 to INT64_MAX, without the forms that JSON forbids. */
bool
nn_json_integer(nn_json *js, char separator, int64_t *value)
{
	const jsmntok_t *token = nn_json_next(js, JSMN_PRIMITIVE, separator);

	if (token == NULL || (js->text[token->start] == '0' && token->end - token->start > 1))
		return false;
	*value = 0;
	for (int i = token->start; i < token->end; i++)
	{
		int			digit = js->text[i] - '0';

		if (digit < 0 || digit > 9 ||
			__builtin_mul_overflow(*value, 10, value) || __builtin_add_overflow(*value, digit, value))
			return false;
	}
	return true;
}

bool
nn_json_is(const nn_json *js, const jsmntok_t *token, const char *text)
{
	size_t		length = strlen(text);

	return (size_t) (token->end - token->start) == length &&
		memcmp(js->text + token->start, text, length) == 0;
}
