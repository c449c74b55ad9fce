/*-------------------------------------------------------------------------
 *
 * config.c
 *	  From a configuration's JSON text to an nn_config
 *
 * The object is the one described in NETWORK.md (Golden cases).  Unknown keys
 * are errors: a misspelt option must not silently become its default.
 *
 *-------------------------------------------------------------------------
 */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "nn.h"

#define MAX_TOKENS	8192		/* more than the limits of nn.h can need */
#define MAX_BUCKETS 256			/* bucket ids are bytes */
#define WHERE_SIZE	(2 * NN_MAX_NAME + 32)

const char *const nn_group_name[NN_GROUPS] = {"item", "property", "profile", "context", "thing"};
const char *const nn_pooling_name[NN_POOLINGS] = {"attention", "last", "mean", "max"};
const char *const nn_kind_name[NN_KINDS] = {"binary", "rank", "multiclass", "next_item"};

typedef struct reader
{
	nn_json		js;
	nn_config  *config;
	char	   *message;
	size_t		message_size;
	bool		failed;			/* the first message stays */
} reader;

/* Note what is wrong; false, for the caller to hand on. */
static bool fail(reader *r, const char *format,...) __attribute__((format(printf, 2, 3)));

static bool
fail(reader *r, const char *format,...)
{
	va_list		arguments;

	if (!r->failed)
	{
		va_start(arguments, format);
		vsnprintf(r->message, r->message_size, format, arguments);
		va_end(arguments);
	}
	r->failed = true;
	return false;
}

/* ------------------------------------------------------------------------
 * Values; `where` names the place in messages
 * ------------------------------------------------------------------------ */

static bool
read_int(reader *r, char separator, const char *where, int64_t least, int64_t most, int64_t *value)
{
	if (!nn_json_integer(&r->js, separator, value) || *value < least || *value > most)
		return fail(r, "%s must be a whole number from %lld to %lld", where,
					(long long) least, (long long) most);
	return true;
}

static bool
read_size(reader *r, char separator, const char *where, int least, int most, int *value)
{
	int64_t		wide;

	if (!read_int(r, separator, where, least, most, &wide))
		return false;
	*value = (int) wide;
	return true;
}

static bool
read_bool(reader *r, const char *where, bool *value)
{
	const jsmntok_t *token = nn_json_next(&r->js, JSMN_PRIMITIVE, ':');

	if (token == NULL ||
		(!nn_json_is(&r->js, token, "true") && !nn_json_is(&r->js, token, "false")))
		return fail(r, "%s must be true or false", where);
	*value = nn_json_is(&r->js, token, "true");
	return true;
}

static bool
read_weight(reader *r, const char *where, float *value)
{
	const jsmntok_t *token = nn_json_next(&r->js, JSMN_PRIMITIVE, ':');
	char		text[64];
	char	   *end = NULL;
	size_t		length = token ? (size_t) (token->end - token->start) : 0;

	if (length > 0 && length < sizeof(text))
	{
		memcpy(text, r->js.text + token->start, length);
		text[length] = '\0';
		/* strtof alone would take hexadecimal digits, "inf" and "nan" too */
		if (strspn(text, "+-.0123456789eE") == length)
			*value = strtof(text, &end);
	}
	if (end == NULL || *end != '\0' || !isfinite(*value) || *value < 0.0f)
		return fail(r, "%s must be a number that is not negative", where);
	return true;
}

static bool
read_text(reader *r, char separator, const char *where, char *out)
{
	const jsmntok_t *token = nn_json_next(&r->js, JSMN_STRING, separator);
	int64_t		length = token == NULL ? -1 :
		nn_json_unescape(r->js.text + token->start, r->js.text + token->end, out, NN_MAX_NAME);

	if (length <= 0 || length >= NN_MAX_NAME)
		return fail(r, "%s must be a string of 1 to %d bytes", where, NN_MAX_NAME - 1);
	return true;
}

/* Enter an array of at most `most` elements; NULL after a message. */
static const jsmntok_t *
open_array(reader *r, const char *where, int most)
{
	const jsmntok_t *array = nn_json_next(&r->js, JSMN_ARRAY, ':');

	if (array == NULL || array->size > most)
	{
		fail(r, "%s must be a list of at most %d elements", where, most);
		return NULL;
	}
	return array;
}

static bool
close_container(reader *r, const jsmntok_t *container)
{
	return nn_json_close(&r->js, container) || fail(r, "the configuration is not valid JSON");
}

/* The next key of an object, number i; NULL after a message. */
static const jsmntok_t *
next_key(reader *r, int i, const char *where)
{
	const jsmntok_t *key = nn_json_next(&r->js, JSMN_STRING, i > 0 ? ',' : '\0');

	if (key == NULL)
		fail(r, "%s is not valid JSON", where);
	return key;
}

/* "key" of where, for messages; place has WHERE_SIZE + NN_MAX_NAME bytes. */
static void
name_place(const reader *r, const jsmntok_t *key, const char *where, char *place)
{
	int			length = key->end - key->start;

	snprintf(place, WHERE_SIZE + NN_MAX_NAME, "\"%.*s\" of %s",
			 length < NN_MAX_NAME ? length : NN_MAX_NAME - 1, r->js.text + key->start, where);
}

static bool
unknown_key(reader *r, const jsmntok_t *key, const char *where)
{
	int			length = key->end - key->start;

	return fail(r, "%s has an unknown key \"%.*s\"", where, length < NN_MAX_NAME ? length : NN_MAX_NAME,
				r->js.text + key->start);
}

static int
find_feature(const nn_config *config, nn_group group, const char *name)
{
	for (int f = 0; f < config->n_feature[group]; f++)
		if (strcmp(config->feature[group][f].name, name) == 0)
			return f;
	return -1;
}

/* ------------------------------------------------------------------------
 * Features
 * ------------------------------------------------------------------------ */

static bool
read_use(reader *r, const char *where, int *use)
{
	static const char *const name[] = {"gates", "attention", "both"};
	char		text[NN_MAX_NAME];

	if (!read_text(r, ':', where, text))
		return false;
	for (int i = 0; i < 3; i++)
		if (strcmp(text, name[i]) == 0)
		{
			*use = i + 1;
			return true;
		}
	return fail(r, "%s must be \"gates\", \"attention\" or \"both\"", where);
}

/* table [NN_MAX_NAME] gets the shared table's name, or stays empty. */
static bool
read_feature(reader *r, nn_group group, int number, nn_feature *feature, char *table)
{
	char		where[WHERE_SIZE];
	const jsmntok_t *object = nn_json_next(&r->js, JSMN_OBJECT, number > 0 ? ',' : '\0');

	snprintf(where, sizeof(where), "feature %d of \"%s\"", number + 1, nn_group_name[group]);
	memset(feature, 0, sizeof(*feature));
	feature->use = NN_USE_BOTH;
	feature->shares = -1;
	if (object == NULL)
		return fail(r, "%s is not an object", where);
	for (int i = 0; i < object->size; i++)
	{
		const jsmntok_t *key = next_key(r, i, where);
		char		place[WHERE_SIZE + NN_MAX_NAME];
		bool		fine;

		if (key == NULL)
			return false;
		name_place(r, key, where, place);
		if (nn_json_is(&r->js, key, "name"))
			fine = read_text(r, ':', place, feature->name);
		else if (nn_json_is(&r->js, key, "vocab"))
			fine = read_int(r, ':', place, 1, INT32_MAX, &feature->vocab);
		else if (nn_json_is(&r->js, key, "dim"))
			fine = read_size(r, ':', place, 1, NN_MAX_WIDTH, &feature->dim);
		else if (nn_json_is(&r->js, key, "multi"))
			fine = read_bool(r, place, &feature->multi);
		else if (group == NN_PROPERTY && nn_json_is(&r->js, key, "use"))
			fine = read_use(r, place, &feature->use);
		else if (group == NN_CONTEXT && nn_json_is(&r->js, key, "table"))
			fine = read_text(r, ':', place, table);
		else
			fine = unknown_key(r, key, where);
		if (!fine)
			return false;
	}
	return close_container(r, object);
}

/* A context feature that reads an item feature's table, once both are known. */
static bool
resolve_table(reader *r, nn_feature *feature, const char *table)
{
	int			f = find_feature(r->config, NN_ITEM, table);
	const nn_feature *item;

	if (f < 0)
		return fail(r, "\"table\" of context feature \"%s\" names no item feature: \"%s\"",
					feature->name, table);
	item = &r->config->feature[NN_ITEM][f];
	if ((feature->vocab != 0 && feature->vocab != item->vocab) ||
		(feature->dim != 0 && feature->dim != item->dim))
		return fail(r, "context feature \"%s\" differs in size from the table of \"%s\"",
					feature->name, table);
	feature->shares = f;
	feature->vocab = item->vocab;
	feature->dim = item->dim;
	return true;
}

static bool
read_group(reader *r, nn_group group, char table[][NN_MAX_NAME])
{
	nn_config  *config = r->config;
	const jsmntok_t *array = open_array(r, nn_group_name[group], NN_MAX_FEATURES);

	if (array == NULL)
		return false;
	for (int f = 0; f < array->size; f++)
	{
		nn_feature	feature;
		char		shared[NN_MAX_NAME] = "";

		if (!read_feature(r, group, f, &feature, shared))
			return false;
		if (feature.name[0] == '\0')
			return fail(r, "feature %d of \"%s\" has no name", f + 1, nn_group_name[group]);
		if (find_feature(config, group, feature.name) >= 0)
			return fail(r, "\"%s\" has two features \"%s\"", nn_group_name[group], feature.name);
		if (shared[0] == '\0' && (feature.vocab == 0 || feature.dim == 0))
			return fail(r, "feature \"%s\" of \"%s\" lacks \"vocab\" or \"dim\"",
						feature.name, nn_group_name[group]);
		if (group == NN_CONTEXT)
			memcpy(table[f], shared, NN_MAX_NAME);
		config->feature[group][f] = feature;
		config->n_feature[group]++;
	}
	return close_container(r, array);
}

/* ------------------------------------------------------------------------
 * Tasks
 * ------------------------------------------------------------------------ */

static bool
read_kind(reader *r, const char *where, nn_kind *kind)
{
	char		text[NN_MAX_NAME];

	if (!read_text(r, ':', where, text))
		return false;
	for (int k = 0; k < NN_KINDS; k++)
		if (strcmp(text, nn_kind_name[k]) == 0)
		{
			*kind = (nn_kind) k;
			return true;
		}
	return fail(r, "%s must be \"binary\", \"rank\", \"multiclass\" or \"next_item\", not \"%s\"",
				where, text);
}

/* Features are looked up when all groups are known: names now. */
static bool
read_candidate(reader *r, const char *where, nn_task *task, bool things, char name[][NN_MAX_NAME])
{
	int			first = task->n_candidate;
	const jsmntok_t *array = open_array(r, where, NN_MAX_FEATURES - first);

	if (array == NULL)
		return false;
	if (!things && first > 0)
		return fail(r, "%s must come before \"things\", and once", where);
	task->n_candidate += array->size;
	for (int k = 0; k < array->size; k++)
	{
		task->candidate[first + k] = things ? NN_MAX_FEATURES : 0;
		if (!read_text(r, k > 0 ? ',' : '\0', where, name[first + k]))
			return false;
	}
	return close_container(r, array);
}

static bool
read_hidden(reader *r, const char *where, nn_task *task)
{
	const jsmntok_t *array = open_array(r, where, NN_MAX_LAYERS);

	if (array == NULL)
		return false;
	task->n_hidden = array->size;
	for (int k = 0; k < array->size; k++)
		if (!read_size(r, k > 0 ? ',' : '\0', where, 1, NN_MAX_WIDTH, &task->hidden[k]))
			return false;
	return close_container(r, array);
}

/* Does the task have what its kind needs, and nothing that its kind ignores? */
static bool
check_task(reader *r, const nn_task *task)
{
	const char *kind = nn_kind_name[task->kind];

	if (task->n_candidate > 0 && task->kind != NN_BINARY)
		return fail(r, "task \"%s\": a %s task takes no \"candidate\"", task->name, kind);
	if (task->n_candidate > 0 && task->candidate_dim == 0)
		return fail(r, "task \"%s\" lacks \"candidate_dim\"", task->name);
	if (task->kind == NN_RANK && task->features == 0)
		return fail(r, "task \"%s\": a rank task needs \"features\"", task->name);
	if (task->kind == NN_MULTICLASS && task->classes == 0)
		return fail(r, "task \"%s\": a multiclass task needs \"classes\"", task->name);
	if (task->kind != NN_MULTICLASS && task->classes != 0)
		return fail(r, "task \"%s\": a %s task takes no \"classes\"", task->name, kind);
	if (task->kind == NN_NEXT_ITEM && (task->n_hidden > 0 || task->features > 0))
		return fail(r, "task \"%s\": a next_item task takes no \"hidden\" or \"features\"", task->name);
	if (task->repeat && task->kind != NN_NEXT_ITEM)
		return fail(r, "task \"%s\": a %s task takes no \"repeat\"", task->name, kind);
	if ((task->position > 0 || task->pairwise > 0.0f) && task->kind != NN_BINARY && task->kind != NN_RANK)
		return fail(r, "task \"%s\": a %s task takes no \"position\" or \"pairwise\"", task->name, kind);
	if (task->pairwise > 1.0f)
		return fail(r, "task \"%s\": \"pairwise\" must be at most 1", task->name);
	if (task->product && task->kind != NN_BINARY)
		return fail(r, "task \"%s\": a %s task takes no \"product\"", task->name, kind);
	if (task->product && task->n_candidate == 0)
		return fail(r, "task \"%s\": \"product\" needs a \"candidate\"", task->name);
	if (task->memory > 0 && task->kind != NN_NEXT_ITEM)
		return fail(r, "task \"%s\": a %s task takes no \"memory\"", task->name, kind);
	return true;
}

static bool
read_task(reader *r, int number, nn_task *task, char candidate[][NN_MAX_NAME])
{
	char		where[WHERE_SIZE];
	bool		has_kind = false;
	const jsmntok_t *object = nn_json_next(&r->js, JSMN_OBJECT, number > 0 ? ',' : '\0');

	snprintf(where, sizeof(where), "task %d", number + 1);
	memset(task, 0, sizeof(*task));
	task->weight = 1.0f;
	if (object == NULL)
		return fail(r, "%s is not an object", where);
	for (int i = 0; i < object->size; i++)
	{
		const jsmntok_t *key = next_key(r, i, where);
		char		place[WHERE_SIZE + NN_MAX_NAME];
		bool		fine;

		if (key == NULL)
			return false;
		name_place(r, key, where, place);
		if (nn_json_is(&r->js, key, "name"))
			fine = read_text(r, ':', place, task->name);
		else if (nn_json_is(&r->js, key, "kind"))
			has_kind = fine = read_kind(r, place, &task->kind);
		else if (nn_json_is(&r->js, key, "weight"))
			fine = read_weight(r, place, &task->weight);
		else if (nn_json_is(&r->js, key, "candidate"))
			fine = read_candidate(r, place, task, false, candidate);
		else if (nn_json_is(&r->js, key, "things"))
			fine = read_candidate(r, place, task, true, candidate);
		else if (nn_json_is(&r->js, key, "candidate_dim"))
			fine = read_size(r, ':', place, 1, NN_MAX_WIDTH, &task->candidate_dim);
		else if (nn_json_is(&r->js, key, "hidden"))
			fine = read_hidden(r, place, task);
		else if (nn_json_is(&r->js, key, "features"))
			fine = read_size(r, ':', place, 0, NN_MAX_WIDTH, &task->features);
		else if (nn_json_is(&r->js, key, "classes"))
			fine = read_size(r, ':', place, 2, NN_MAX_WIDTH, &task->classes);
		else if (nn_json_is(&r->js, key, "repeat"))
			fine = read_bool(r, place, &task->repeat);
		else if (nn_json_is(&r->js, key, "position"))
			fine = read_size(r, ':', place, 1, MAX_BUCKETS, &task->position);
		else if (nn_json_is(&r->js, key, "pairwise"))
			fine = read_weight(r, place, &task->pairwise);
		else if (nn_json_is(&r->js, key, "product"))
			fine = read_bool(r, place, &task->product);
		else if (nn_json_is(&r->js, key, "memory"))
			fine = read_size(r, ':', place, 0, NN_MAX_WIDTH, &task->memory);
		else if (nn_json_is(&r->js, key, "catalogue"))
		{
			/* how many columns the batch has: the batch says so itself */
			int			columns;

			fine = read_size(r, ':', place, 0, INT32_MAX, &columns);
		}
		else
			fine = unknown_key(r, key, where);
		if (!fine)
			return false;
	}
	if (!close_container(r, object))
		return false;
	if (task->name[0] == '\0' || !has_kind)
		return fail(r, "%s lacks \"name\" or \"kind\"", where);
	return check_task(r, task);
}

static bool
read_tasks(reader *r, char candidate[][NN_MAX_FEATURES][NN_MAX_NAME])
{
	nn_config  *config = r->config;
	const jsmntok_t *array = open_array(r, "\"tasks\"", NN_MAX_TASKS);

	if (array == NULL)
		return false;
	for (int t = 0; t < array->size; t++)
	{
		if (!read_task(r, t, &config->task[t], candidate[t]))
			return false;
		for (int other = 0; other < t; other++)
			if (strcmp(config->task[other].name, config->task[t].name) == 0)
				return fail(r, "there are two tasks \"%s\"", config->task[t].name);
		config->n_task++;
	}
	return close_container(r, array);
}

static bool
resolve_candidate(reader *r, nn_task *task, char name[][NN_MAX_NAME])
{
	for (int k = 0; k < task->n_candidate; k++)
	{
		bool		thing = NN_IS_THING(task->candidate[k]);
		int			f = find_feature(r->config, thing ? NN_THING : NN_ITEM, name[k]);

		if (f < 0)
			return fail(r, "\"%s\" of task \"%s\" names no %s feature: \"%s\"", thing ? "things" : "candidate",
						task->name, thing ? "thing" : "item", name[k]);
		task->candidate[k] = thing ? NN_MAX_FEATURES + f : f;
		for (int other = 0; other < k; other++)
			if (task->candidate[other] == task->candidate[k])
				return fail(r, "\"candidate\" of task \"%s\" names \"%s\" twice", task->name, name[k]);
	}
	return true;
}

/* ------------------------------------------------------------------------
 * The whole
 * ------------------------------------------------------------------------ */

/* Names that can be resolved only when everything is read. */
typedef struct names
{
	char		table[NN_MAX_FEATURES][NN_MAX_NAME];
	char		candidate[NN_MAX_TASKS][NN_MAX_FEATURES][NN_MAX_NAME];
} names;

static bool
read_attention(reader *r)
{
	const jsmntok_t *array = open_array(r, "\"attention\"", 2);

	if (array == NULL)
		return false;
	if (array->size != 2)
		return fail(r, "\"attention\" must be two widths");
	for (int k = 0; k < 2; k++)
		if (!read_size(r, k > 0 ? ',' : '\0', "\"attention\"", 1, NN_MAX_WIDTH, &r->config->attention[k]))
			return false;
	return close_container(r, array);
}

static bool
read_pooling(reader *r)
{
	char		text[NN_MAX_NAME];

	if (!read_text(r, ':', "\"pooling\"", text))
		return false;
	for (int p = 0; p < NN_POOLINGS; p++)
		if (strcmp(text, nn_pooling_name[p]) == 0)
		{
			r->config->pooling = (nn_pooling) p;
			return true;
		}
	return fail(r, "\"pooling\" must be \"attention\", \"last\", \"mean\" or \"max\"");
}

static bool
read_encoding(reader *r)
{
	char		text[NN_MAX_NAME];

	if (!read_text(r, ':', "\"item_encoding\"", text))
		return false;
	r->config->item_sum = strcmp(text, "sum") == 0;
	return r->config->item_sum || strcmp(text, "concat") == 0 ||
		fail(r, "\"item_encoding\" must be \"concat\" or \"sum\"");
}

static bool
read_key(reader *r, const jsmntok_t *key, names *pending)
{
	nn_config  *config = r->config;

	for (int g = 0; g < NN_GROUPS; g++)
		if (nn_json_is(&r->js, key, nn_group_name[g]))
			return config->n_feature[g] > 0 ? fail(r, "\"%s\" is given twice", nn_group_name[g]) :
				read_group(r, (nn_group) g, pending->table);
	if (nn_json_is(&r->js, key, "hidden"))
		return read_size(r, ':', "\"hidden\"", 1, NN_MAX_WIDTH, &config->hidden);
	if (nn_json_is(&r->js, key, "bidirectional"))
		return read_bool(r, "\"bidirectional\"", &config->bidirectional);
	if (nn_json_is(&r->js, key, "attention"))
		return read_attention(r);
	if (nn_json_is(&r->js, key, "pooling"))
		return read_pooling(r);
	if (nn_json_is(&r->js, key, "recency_bias"))
		return read_bool(r, "\"recency_bias\"", &config->recency_bias);
	if (nn_json_is(&r->js, key, "recency"))
		return read_size(r, ':', "\"recency\"", 0, MAX_BUCKETS, &config->recency);
	if (nn_json_is(&r->js, key, "recency_rows"))
		return read_size(r, ':', "\"recency_rows\"", 1, NN_MAX_WIDTH, &config->recency_rows);
	if (nn_json_is(&r->js, key, "lag"))
		return read_size(r, ':', "\"lag\"", 0, MAX_BUCKETS, &config->lag);
	if (nn_json_is(&r->js, key, "item_encoding"))
		return read_encoding(r);
	if (nn_json_is(&r->js, key, "context_in_vector"))
		return read_bool(r, "\"context_in_vector\"", &config->context_in_vector);
	if (nn_json_is(&r->js, key, "experts"))
		return read_size(r, ':', "\"experts\"", 0, NN_MAX_EXPERTS, &config->experts);
	if (nn_json_is(&r->js, key, "expert_dim"))
		return read_size(r, ':', "\"expert_dim\"", 1, NN_MAX_WIDTH, &config->expert_dim);
	if (nn_json_is(&r->js, key, "tasks"))
		return config->n_task > 0 ? fail(r, "\"tasks\" is given twice") :
			read_tasks(r, pending->candidate);
	return unknown_key(r, key, "the configuration");
}

/* Without attention there is nothing that only it reads. */
static bool
check_pooling(reader *r)
{
	nn_config  *config = r->config;
	const char *pooling = nn_pooling_name[config->pooling];

	if (config->pooling == NN_POOL_ATTENTION)
	{
		config->recency_bias = config->recency_bias && config->recency > 0;
		return config->attention[0] > 0 || fail(r, "the configuration lacks \"attention\"");
	}
	config->recency_bias = false;
	if (config->attention[0] > 0 || config->lag > 0)
		return fail(r, "\"pooling\" is \"%s\", which takes no \"attention\" or \"lag\"", pooling);
	for (int f = 0; f < config->n_feature[NN_PROPERTY]; f++)
		if (config->feature[NN_PROPERTY][f].use != NN_USE_GATES)
			return fail(r, "\"pooling\" is \"%s\", but property \"%s\" is used in the attention",
						pooling, config->feature[NN_PROPERTY][f].name);
	return true;
}

/* Widths, and what can be checked only with all of them. */
static bool
derive(reader *r)
{
	nn_config  *config = r->config;
	int			width[NN_GROUPS] = {0};

	for (int g = 0; g < NN_GROUPS; g++)
		for (int f = 0; f < config->n_feature[g]; f++)
		{
			const nn_feature *feature = &config->feature[g][f];

			width[g] += feature->dim;
			if (g == NN_PROPERTY && (feature->use & NN_USE_GATES))
				config->Pg += feature->dim;
			if (g == NN_PROPERTY && (feature->use & NN_USE_ATTENTION))
				config->Pa += feature->dim;
			if (g == NN_ITEM && config->item_sum && feature->dim != config->feature[g][0].dim)
				return fail(r, "\"item_encoding\" is \"sum\", but \"%s\" is not as wide as \"%s\"",
							feature->name, config->feature[g][0].name);
		}
	config->E = config->item_sum ? config->feature[NN_ITEM][0].dim : width[NN_ITEM];
	config->U = width[NN_PROFILE];
	config->Q = width[NN_CONTEXT];
	config->W = config->bidirectional ? 2 * config->hidden : config->hidden;
	config->R = config->W + config->U + (config->context_in_vector ? config->Q : 0);
	for (int g = 0; g < NN_GROUPS; g++)
		if (width[g] > NN_MAX_WIDTH)
			return fail(r, "\"%s\" is %d wide in all, more than %d", nn_group_name[g], width[g], NN_MAX_WIDTH);
	if (config->R > NN_MAX_WIDTH)
		return fail(r, "the user vector is %d wide, more than %d", config->R, NN_MAX_WIDTH);
	if (config->experts == 1)
		return fail(r, "\"experts\" must be 0 or at least 2");
	if (config->experts == 0 && config->expert_dim > 0)
		return fail(r, "\"expert_dim\" needs \"experts\"");
	if (config->expert_dim == 0)
		config->expert_dim = config->experts > 0 ? config->R : 0;
	config->head_width = config->experts > 0 ? config->expert_dim : config->R;
	return true;
}

nn_status
nn_config_parse(nn_config *config, const char *json, size_t length,
				char *message, size_t message_size)
{
	jsmntok_t	tokens[MAX_TOKENS];
	names		pending;
	reader		r = {.config = config, .message = message, .message_size = message_size};
	const jsmntok_t *root;

	memset(config, 0, sizeof(*config));
	memset(&pending, 0, sizeof(pending));
	config->recency_rows = 1;
	config->recency_bias = true;
	root = nn_json_open(&r.js, json, length, tokens, sizeof(tokens));
	if (root == NULL)
	{
		fail(&r, "the configuration is not a JSON object, or too long");
		return NN_BAD_CONFIG;
	}
	for (int i = 0; i < root->size; i++)
	{
		const jsmntok_t *key = next_key(&r, i, "the configuration");

		if (key == NULL || !read_key(&r, key, &pending))
			return NN_BAD_CONFIG;
	}
	if (!close_container(&r, root))
		return NN_BAD_CONFIG;

	if (config->hidden == 0)
		fail(&r, "the configuration lacks \"hidden\"");
	else if (config->n_feature[NN_ITEM] == 0)
		fail(&r, "the configuration has no \"item\" feature");
	for (int f = 0; f < config->n_feature[NN_CONTEXT] && !r.failed; f++)
		if (pending.table[f][0] != '\0')
			resolve_table(&r, &config->feature[NN_CONTEXT][f], pending.table[f]);
	for (int t = 0; t < config->n_task && !r.failed; t++)
	{
		resolve_candidate(&r, &config->task[t], pending.candidate[t]);
		if (config->task[t].repeat && config->recency == 0)
			fail(&r, "task \"%s\": \"repeat\" needs \"recency\" buckets", config->task[t].name);
	}
	return !r.failed && check_pooling(&r) && derive(&r) ? NN_OK : NN_BAD_CONFIG;
}
