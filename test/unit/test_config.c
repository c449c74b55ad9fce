/*
 * test_config.c
 *	  Configurations at their limits: each accepted just inside, refused just
 *	  outside, with a message that names the place
 */
#include <stdlib.h>
#include <string.h>

#include "nn/nn.h"
#include "tap.h"

static nn_config config;
static char message[256];

#define SIZES	"\"hidden\": 5, \"attention\": [6, 4]"
#define ITEM	"\"item\": [{\"name\": \"id\", \"vocab\": 9, \"dim\": 3}, {\"name\": \"shop\", \"vocab\": 7, \"dim\": 2}]"
#define BASE	SIZES ", " ITEM
#define TASK(rest) "{" BASE ", \"tasks\": [{\"name\": \"t\", " rest "}]}"
#define FEATURE(rest) "{" SIZES ", \"item\": [{\"name\": \"a\", " rest "}]}"

static void
good(const char *json, bool as_told)
{
	ok(as_told, "taken: %.90s (%s)", json, message);
}

/* Parse, and check what came out in one expression. */
#define GOOD(json, expected) \
	do { \
		nn_status	status_ = (message[0] = '\0', nn_config_parse(&config, json, strlen(json), message, sizeof(message))); \
		good(json, status_ == NN_OK && (expected)); \
	} while (0)

static void
bad(const char *json, const char *whole_message)
{
	nn_status	status;

	message[0] = '\0';
	status = nn_config_parse(&config, json, strlen(json), message, sizeof(message));
	if (!ok(status == NN_BAD_CONFIG && strcmp(message, whole_message) == 0, "refused: %s", message))
		printf("# expected: %s\n", whole_message);
}

#define WHOLE "must be a whole number from"

int
main(void)
{
	static char text[300];
	char		name[80];

	plan(100);

	/* what is derived */
	GOOD("{" BASE "}", config.hidden == 5 && config.attention[0] == 6 && config.attention[1] == 4 && config.E == 5 &&
		 config.W == 5 && config.R == 5 && config.U == 0 && config.Q == 0 && config.Pg == 0 && config.Pa == 0 &&
		 config.recency == 0 && config.recency_rows == 1 && config.lag == 0 && config.n_task == 0 &&
		 config.feature[NN_ITEM][1].vocab == 7 && config.feature[NN_ITEM][1].dim == 2 && config.feature[NN_ITEM][1].shares == -1);
	GOOD("{" BASE ", \"bidirectional\": true, \"profile\": [{\"name\": \"p\", \"vocab\": 4, \"dim\": 3}, {\"name\": \"r\", \"vocab\": 4, \"dim\": 4}], "
		 "\"context\": [{\"name\": \"c\", \"table\": \"shop\"}, {\"name\": \"d\", \"vocab\": 2, \"dim\": 8}], \"context_in_vector\": true}",
		 config.W == 10 && config.U == 7 && config.Q == 10 && config.R == 27 && config.bidirectional &&
		 config.feature[NN_CONTEXT][0].shares == 1 && config.feature[NN_CONTEXT][0].vocab == 7 &&
		 config.feature[NN_CONTEXT][0].dim == 2 && config.feature[NN_CONTEXT][1].shares == -1);
	GOOD("{" BASE ", \"bidirectional\": false, \"context\": [{\"name\": \"c\", \"table\": \"id\", \"vocab\": 9, \"dim\": 3}]}",
		 config.R == 5 && config.Q == 3 && !config.bidirectional && config.feature[NN_CONTEXT][0].shares == 0);
	GOOD("{" BASE ", \"property\": [{\"name\": \"a\", \"vocab\": 4, \"dim\": 1, \"use\": \"gates\"}, {\"name\": \"b\", \"vocab\": 4, \"dim\": 2, \"use\": \"attention\"},"
		 "{\"name\": \"c\", \"vocab\": 4, \"dim\": 4, \"use\": \"both\", \"multi\": true}, {\"name\": \"d\", \"vocab\": 4, \"dim\": 8, \"multi\": false}]}",
		 config.Pg == 13 && config.Pa == 14 && config.feature[NN_PROPERTY][2].multi && !config.feature[NN_PROPERTY][3].multi);
	GOOD("{" SIZES ", \"item_encoding\": \"sum\", \"item\": [{\"name\": \"a\", \"vocab\": 1, \"dim\": 3}, {\"name\": \"b\", \"vocab\": 7, \"dim\": 3}]}",
		 config.E == 3 && config.item_sum);
	GOOD("{" BASE ", \"item_encoding\": \"concat\"}", config.E == 5 && !config.item_sum);
	GOOD(TASK("\"kind\": \"binary\", \"weight\": 0.25, \"candidate\": [\"shop\", \"id\"], \"candidate_dim\": 3, \"hidden\": [4, 1], \"features\": 2, \"catalogue\": 7"),
		 config.n_task == 1 && config.task[0].kind == NN_BINARY && config.task[0].weight == .25f && config.task[0].n_candidate == 2 &&
		 config.task[0].candidate[0] == 1 && config.task[0].candidate[1] == 0 && config.task[0].candidate_dim == 3 &&
		 config.task[0].n_hidden == 2 && config.task[0].hidden[0] == 4 && config.task[0].hidden[1] == 1 && config.task[0].features == 2);
	GOOD(TASK("\"kind\": \"rank\", \"features\": 1"), config.task[0].weight == 1 && config.task[0].kind == NN_RANK);
	GOOD(TASK("\"kind\": \"multiclass\", \"classes\": 2, \"weight\": 1e-1"), config.task[0].weight == .1f && config.task[0].classes == 2);
	GOOD("{" BASE ", \"recency\": 1, \"recency_rows\": 3, \"lag\": 2, \"tasks\": [{\"name\": \"n\", \"kind\": \"next_item\", \"repeat\": true}, {\"name\": \"m\", \"kind\": \"binary\"}]}",
		 config.task[0].repeat && config.recency == 1 && config.recency_rows == 3 && config.lag == 2 && config.n_task == 2);

	GOOD("{\"hidden\": 5, \"pooling\": \"mean\", " ITEM ", \"recency\": 3}", config.pooling == NN_POOL_MEAN && !config.recency_bias &&
		 config.recency == 3 && config.attention[0] == 0);
	GOOD("{" BASE ", \"pooling\": \"attention\", \"recency\": 3}", config.pooling == NN_POOL_ATTENTION && config.recency_bias);
	GOOD("{" BASE ", \"recency_bias\": false, \"recency\": 3}", config.recency == 3 && !config.recency_bias);
	bad("{\"hidden\": 5, " ITEM "}", "the configuration lacks \"attention\"");
	bad("{\"attention\": [6, 4], " ITEM "}", "the configuration lacks \"hidden\"");
	bad("{" BASE ", \"pooling\": \"sum\"}", "\"pooling\" must be \"attention\", \"last\", \"mean\" or \"max\"");
	bad("{" BASE ", \"pooling\": \"last\"}", "\"pooling\" is \"last\", which takes no \"attention\" or \"lag\"");
	bad("{\"hidden\": 5, \"pooling\": \"max\", \"lag\": 2, " ITEM "}", "\"pooling\" is \"max\", which takes no \"attention\" or \"lag\"");
	bad("{\"hidden\": 5, \"pooling\": \"max\", " ITEM ", \"property\": [{\"name\": \"a\", \"vocab\": 3, \"dim\": 2}]}",
		"\"pooling\" is \"max\", but property \"a\" is used in the attention");

	/* limits of numbers */
	GOOD("{\"hidden\": 1, \"attention\": [1, 1], " ITEM "}", config.hidden == 1);
	GOOD("{\"hidden\": 4096, \"attention\": [4096, 4096], " ITEM "}", config.attention[1] == 4096);
	bad("{\"hidden\": 0, \"attention\": [6, 4], " ITEM "}", "\"hidden\" " WHOLE " 1 to 4096");
	bad("{\"hidden\": 4097, \"attention\": [6, 4], " ITEM "}", "\"hidden\" " WHOLE " 1 to 4096");
	bad("{\"hidden\": 5, \"attention\": [0, 4], " ITEM "}", "\"attention\" " WHOLE " 1 to 4096");
	bad("{\"hidden\": 5, \"attention\": [6, 4097], " ITEM "}", "\"attention\" " WHOLE " 1 to 4096");
	bad("{\"hidden\": 5, \"attention\": [6, 4, 2], " ITEM "}", "\"attention\" must be a list of at most 2 elements");
	bad("{\"hidden\": 5, \"attention\": [6], " ITEM "}", "\"attention\" must be two widths");
	bad("{\"hidden\": 5, \"attention\": [6 4], " ITEM "}", "\"attention\" " WHOLE " 1 to 4096");
	GOOD("{" BASE ", \"recency\": 256, \"lag\": 256, \"recency_rows\": 4096}", config.recency == 256 && config.lag == 256);
	GOOD("{" BASE ", \"recency\": 0, \"lag\": 0, \"recency_rows\": 1}", config.recency == 0 && config.lag == 0);
	GOOD("{" BASE ", \"experts\": 2}", config.experts == 2 && config.expert_dim == config.R && config.head_width == config.R);
	GOOD("{" BASE ", \"expert_dim\": 4096, \"experts\": 16}", config.experts == 16 && config.head_width == 4096 && config.R == 5);
	GOOD("{" BASE ", \"experts\": 0}", config.experts == 0 && config.head_width == 5);
	bad("{" BASE ", \"experts\": 1}", "\"experts\" must be 0 or at least 2");
	bad("{" BASE ", \"experts\": 17}", "\"experts\" " WHOLE " 0 to 16");
	bad("{" BASE ", \"experts\": 2, \"expert_dim\": 4097}", "\"expert_dim\" " WHOLE " 1 to 4096");
	bad("{" BASE ", \"expert_dim\": 8}", "\"expert_dim\" needs \"experts\"");
	bad("{" BASE ", \"recency\": 257}", "\"recency\" " WHOLE " 0 to 256");
	bad("{" BASE ", \"lag\": 257}", "\"lag\" " WHOLE " 0 to 256");
	bad("{" BASE ", \"recency_rows\": 0}", "\"recency_rows\" " WHOLE " 1 to 4096");
	GOOD(FEATURE("\"vocab\": 1, \"dim\": 1"), config.E == 1);
	GOOD(FEATURE("\"vocab\": 2147483647, \"dim\": 4096"), config.feature[NN_ITEM][0].vocab == INT32_MAX);
	bad(FEATURE("\"vocab\": 2147483648, \"dim\": 3"), "\"vocab\" of feature 1 of \"item\" " WHOLE " 1 to 2147483647");
	bad(FEATURE("\"vocab\": 0, \"dim\": 3"), "\"vocab\" of feature 1 of \"item\" " WHOLE " 1 to 2147483647");
	bad(FEATURE("\"vocab\": 3, \"dim\": 0"), "\"dim\" of feature 1 of \"item\" " WHOLE " 1 to 4096");
	bad(FEATURE("\"vocab\": 3, \"dim\": 4097"), "\"dim\" of feature 1 of \"item\" " WHOLE " 1 to 4096");
	bad(TASK("\"kind\": \"binary\", \"hidden\": [0]"), "\"hidden\" of task 1 " WHOLE " 1 to 4096");
	bad(TASK("\"kind\": \"binary\", \"hidden\": [1, 4097]"), "\"hidden\" of task 1 " WHOLE " 1 to 4096");
	GOOD(TASK("\"kind\": \"binary\", \"hidden\": [1, 2, 3, 4096]"), config.task[0].n_hidden == 4 && config.task[0].hidden[3] == 4096);
	bad(TASK("\"kind\": \"binary\", \"hidden\": [1, 2, 3, 4, 5]"), "\"hidden\" of task 1 must be a list of at most 4 elements");
	bad(TASK("\"kind\": \"multiclass\", \"classes\": 1"), "\"classes\" of task 1 " WHOLE " 2 to 4096");
	bad(TASK("\"kind\": \"binary\", \"candidate_dim\": 0"), "\"candidate_dim\" of task 1 " WHOLE " 1 to 4096");
	bad(TASK("\"kind\": \"binary\", \"features\": 4097"), "\"features\" of task 1 " WHOLE " 0 to 4096");

	/* widths in all */
	GOOD("{" BASE ", \"profile\": [{\"name\": \"a\", \"vocab\": 3, \"dim\": 4091}]}", config.R == 4096);
	bad("{" BASE ", \"profile\": [{\"name\": \"a\", \"vocab\": 3, \"dim\": 4092}]}", "the user vector is 4097 wide, more than 4096");
	bad("{" BASE ", \"context\": [{\"name\": \"a\", \"vocab\": 3, \"dim\": 4096}, {\"name\": \"b\", \"vocab\": 3, \"dim\": 1}]}",
		"\"context\" is 4097 wide in all, more than 4096");

	/* weights */
	GOOD(TASK("\"kind\": \"binary\", \"weight\": 0"), config.task[0].weight == 0);
	bad(TASK("\"kind\": \"binary\", \"weight\": -1"), "\"weight\" of task 1 must be a number that is not negative");
	bad(TASK("\"kind\": \"binary\", \"weight\": 1e99"), "\"weight\" of task 1 must be a number that is not negative");
	snprintf(text, sizeof(text), TASK("\"kind\": \"binary\", \"weight\": 2.%0*d"), 61, 0);
	GOOD(text, config.task[0].weight == 2);
	snprintf(text, sizeof(text), TASK("\"kind\": \"binary\", \"weight\": 2.%0*d"), 62, 0);
	bad(text, "\"weight\" of task 1 must be a number that is not negative");
	bad(TASK("\"kind\": \"binary\", \"weight\": 0x1"), "\"weight\" of task 1 must be a number that is not negative");
	bad(TASK("\"kind\": \"binary\", \"weight\": 1-1"), "\"weight\" of task 1 must be a number that is not negative");
	bad(TASK("\"kind\": \"binary\", \"weight\": \"1\""), "\"weight\" of task 1 must be a number that is not negative");
	bad(TASK("\"kind\": \"binary\", \"weight\": 0.000000000000000000000000000000000000000000000000000000000000000001"),
		"\"weight\" of task 1 must be a number that is not negative");

	/* names */
	memset(name, 'n', 63);
	name[63] = '\0';
	snprintf(text, sizeof(text), "{" SIZES ", \"item\": [{\"name\": \"%s\", \"vocab\": 3, \"dim\": 3}]}", name);
	GOOD(text, strcmp(config.feature[NN_ITEM][0].name, name) == 0);
	snprintf(text, sizeof(text), "{" SIZES ", \"item\": [{\"name\": \"%sn\", \"vocab\": 3, \"dim\": 3}]}", name);
	bad(text, "\"name\" of feature 1 of \"item\" must be a string of 1 to 63 bytes");
	bad(FEATURE("\"name\": \"\", \"vocab\": 3, \"dim\": 3"), "\"name\" of feature 1 of \"item\" must be a string of 1 to 63 bytes");
	bad("{" SIZES ", \"item\": [{\"vocab\": 3, \"dim\": 3}]}", "feature 1 of \"item\" has no name");
	bad("{" BASE ", \"profile\": [{\"name\": \"x\", \"vocab\": 3, \"dim\": 3}, {\"name\": \"x\", \"vocab\": 3, \"dim\": 3}]}",
		"\"profile\" has two features \"x\"");
	bad("{" BASE ", \"context\": [{\"name\": \"x\", \"vocab\": 3}]}", "feature \"x\" of \"context\" lacks \"vocab\" or \"dim\"");
	bad("{" BASE ", \"context\": [{\"name\": \"x\", \"dim\": 3}]}", "feature \"x\" of \"context\" lacks \"vocab\" or \"dim\"");
	bad("{" BASE ", \"context\": [{\"name\": \"x\", \"table\": \"idd\"}]}", "\"table\" of context feature \"x\" names no item feature: \"idd\"");
	bad("{" BASE ", \"context\": [{\"name\": \"x\", \"vocab\": 8, \"table\": \"id\"}]}", "context feature \"x\" differs in size from the table of \"id\"");
	bad("{" BASE ", \"profile\": [{\"name\": \"x\", \"table\": \"id\"}]}", "feature 1 of \"profile\" has an unknown key \"table\"");
	bad("{" BASE ", \"profile\": [{\"name\": \"x\", \"use\": \"gates\"}]}", "feature 1 of \"profile\" has an unknown key \"use\"");
	bad("{" BASE ", \"profile\": [3]}", "feature 1 of \"profile\" is not an object");
	bad("{" SIZES ", \"item_encoding\": \"sum\", " ITEM "}", "\"item_encoding\" is \"sum\", but \"shop\" is not as wide as \"id\"");
	bad("{" BASE ", \"item_encoding\": \"mean\"}", "\"item_encoding\" must be \"concat\" or \"sum\"");
	bad("{" BASE ", " ITEM "}", "\"item\" is given twice");
	bad("{" BASE ", \"hiden\": 5}", "the configuration has an unknown key \"hiden\"");
	bad("{" BASE ",}", "the configuration is not valid JSON");

	/* tasks */
	bad(TASK("\"kind\": \"rank\", \"features\": 2, \"candidate\": [\"id\"]"), "task \"t\": a rank task takes no \"candidate\"");
	bad(TASK("\"kind\": \"binary\", \"classes\": 2"), "task \"t\": a binary task takes no \"classes\"");
	bad(TASK("\"kind\": \"next_item\", \"hidden\": [2]"), "task \"t\": a next_item task takes no \"hidden\" or \"features\"");
	bad(TASK("\"kind\": \"next_item\", \"features\": 1"), "task \"t\": a next_item task takes no \"hidden\" or \"features\"");
	bad(TASK("\"kind\": \"binary\", \"repeat\": true"), "task \"t\": a binary task takes no \"repeat\"");
	bad(TASK("\"kind\": \"multiclass\", \"classes\": 2, \"product\": true"), "task \"t\": a multiclass task takes no \"product\"");
	bad(TASK("\"kind\": \"binary\", \"product\": true"), "task \"t\": \"product\" needs a \"candidate\"");
	bad(TASK("\"kind\": \"binary\", \"product\": 4"), "\"product\" of task 1 must be true or false");
	bad(TASK("\"kind\": \"rank\", \"features\": 1, \"memory\": 8"), "task \"t\": a rank task takes no \"memory\"");
	bad(TASK("\"kind\": \"next_item\", \"memory\": -1"), "\"memory\" of task 1 " WHOLE " 0 to 4096");
	bad(TASK("\"kind\": \"next_item\", \"repeat\": true"), "task \"t\": \"repeat\" needs \"recency\" buckets");
	bad(TASK("\"kind\": \"binary\", \"candidate\": [\"id\", \"shop\", \"id\"], \"candidate_dim\": 2"), "\"candidate\" of task \"t\" names \"id\" twice");
	bad(TASK("\"kind\": \"binary\", \"candidate\": [\"id\", \"x\"], \"candidate_dim\": 2"), "\"candidate\" of task \"t\" names no item feature: \"x\"");
	bad(TASK("\"size\": 3"), "task 1 has an unknown key \"size\"");
	bad(TASK("\"weight\": 3"), "task 1 lacks \"name\" or \"kind\"");
	bad("{" BASE ", \"tasks\": [{\"kind\": \"binary\"}]}", "task 1 lacks \"name\" or \"kind\"");
	bad("{" BASE ", \"tasks\": [{\"name\": \"a\", \"kind\": \"binary\"}, {\"name\": \"b\", \"kind\": \"binary\"}, {\"name\": \"b\", \"kind\": \"binary\"}]}",
		"there are two tasks \"b\"");
	bad("{" BASE ", \"tasks\": [{\"name\": \"a\", \"kind\": \"binary\"}], \"tasks\": []}", "\"tasks\" is given twice");
	return done();
}
