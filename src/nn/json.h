/*-------------------------------------------------------------------------
 *
 * json.h
 *	  Reading JSON in order
 *
 * jsmn cuts the text into tokens; these functions read them one behind the
 * other and insist on the punctuation that jsmn lets pass.  A reader asks for
 * what must come next, and gets NULL or false when something else does.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DUPN_NN_JSON_H
#define DUPN_NN_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JSMN_STRICT
#define JSMN_PARENT_LINKS
#ifndef JSMN_STATIC
#define JSMN_HEADER				/* the parser itself is in json.c */
#endif
#include <jsmn.h>

typedef struct nn_json
{
	const char *text;
	const jsmntok_t *token;
	int			n;
	int			next;			/* token */
	int			position;		/* behind what was read */
} nn_json;

/* Parse text that must be one object and enter it; scratch holds the tokens. */
extern const jsmntok_t *nn_json_open(nn_json *js, const char *text, size_t length,
									 void *scratch, size_t scratch_size);

/* The next token, which must be of this type behind this separator ('\0': none). */
extern const jsmntok_t *nn_json_next(nn_json *js, jsmntype_t type, char separator);

/* Leave an object or array: nothing more may be in it. */
extern bool nn_json_close(nn_json *js, const jsmntok_t *container);

/* A whole number from 0 to INT64_MAX. */
extern bool nn_json_integer(nn_json *js, char separator, int64_t *value);

/* Is the token's text, escapes as they are, this one? */
extern bool nn_json_is(const nn_json *js, const jsmntok_t *token, const char *text);

/*
 * Unescape the inside of a string into out, with a NUL, as far as it fits.
 * Its length in bytes, or -1 when it is not valid.
 */
extern int64_t nn_json_unescape(const char *s, const char *end, char *out, size_t out_size);

#endif							/* DUPN_NN_JSON_H */
