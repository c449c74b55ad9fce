/*-------------------------------------------------------------------------
 *
 * served.c
 *	  Which model and version a call means
 *
 * A query may call a function a million times, so what it resolves to is kept
 * in fn_extra.  It holds as long as nothing it was read through has changed:
 * the snapshot, the user, the arguments, the setting dupn.model.  A plpgsql
 * block that publishes and then asks has a new snapshot in between.  What is
 * kept is good from the moment that it has a model.
 *
 *-------------------------------------------------------------------------
 */
#include "api/served.h"

#include "access/xact.h"
#include "settings.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

typedef struct ServedKey
{
	TimestampTz transaction;
	TransactionId xmin;
	TransactionId xmax;
	CommandId	command;
	uint32		xcnt;
	int32		subxcnt;
	Oid			user;
	bool		by_name;
	int32		model_id;
	int32		version;
	int64		fingerprint;
	char	   *name;			/* as asked, or the setting; NULL: neither */
} ServedKey;

static bool
same_name(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

/* The Served of a call if it still holds, else an empty one with the key set. */
static Served *
find_served(FunctionCallInfo fcinfo, ServedKey *key, bool *found)
{
	Served	   *served = fcinfo->flinfo->fn_extra;
	Snapshot	snapshot = GetActiveSnapshot();

	key->transaction = GetCurrentTransactionStartTimestamp();
	key->xmin = snapshot->xmin;
	key->xmax = snapshot->xmax;
	key->command = snapshot->curcid;
	key->xcnt = snapshot->xcnt;
	key->subxcnt = snapshot->subxcnt;
	key->user = GetUserId();
	if (key->by_name && key->name == NULL && dupn_model && dupn_model[0])
		key->name = dupn_model;

	if (served == NULL)
	{
		served = MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt, sizeof(Served));
		served->context = AllocSetContextCreate(fcinfo->flinfo->fn_mcxt, "dupn call",
												ALLOCSET_SMALL_SIZES);
		fcinfo->flinfo->fn_extra = served;
	}
	else if (served->model)
	{
		const ServedKey *held = served->key;

		*found = held->transaction == key->transaction && held->xmin == key->xmin &&
			held->xmax == key->xmax && held->command == key->command &&
			held->xcnt == key->xcnt && held->subxcnt == key->subxcnt &&
			held->user == key->user && held->by_name == key->by_name &&
			held->model_id == key->model_id && held->version == key->version &&
			held->fingerprint == key->fingerprint && same_name(held->name, key->name);
		if (*found)
			return served;
	}

	*found = false;
	MemoryContextReset(served->context);
	served->model = NULL;
	served->image = NULL;
	served->candidate = NULL;
	served->users = NULL;
	served->own = NULL;
	served->key = MemoryContextAlloc(served->context, sizeof(ServedKey));
	*served->key = *key;
	if (key->name)
		served->key->name = MemoryContextStrdup(served->context, key->name);
	return served;
}

Served *
served_lookup(FunctionCallInfo fcinfo, const char *model, int32 version)
{
	ServedKey	key = {.by_name = true, .version = version, .name = unconstify(char *, model)};
	bool		found;
	Served	   *served = find_served(fcinfo, &key, &found);

	if (!found)
	{
		MemoryContext caller = MemoryContextSwitchTo(served->context);
		const Model *kept = model_kept(served->key->name);

		model_check_use(kept);
		served->model = kept;
		MemoryContextSwitchTo(caller);
	}
	return served;
}

/* The image of a version (0: the published one), looked for once. */
static ModelImage *
find_image(const Served *served, ModelImage **image, int32 version)
{
	if (*image == NULL)
	{
		MemoryContext caller = MemoryContextSwitchTo(served->context);

		*image = image_get(served->model, version);
		MemoryContextSwitchTo(caller);
	}
	return *image;
}

Served *
served_model(FunctionCallInfo fcinfo, const char *model, int32 version)
{
	Served	   *served = served_lookup(fcinfo, model, version);

	(void) find_image(served, &served->image, version);
	return served;
}

ShareUsers *
served_share_users(Served *served, const Share *share)
{
	const Relations *relations = &served->model->relations;
	MemoryContext caller = MemoryContextSwitchTo(served->context);
	ShareUsers *users = share_users(served->model, share,
									column_type(relation_oid(relations->events), relations->events,
												relations->user_column));

	MemoryContextSwitchTo(caller);
	return users;
}

bool
served_takes(const Served *served, ShareUsers *users, Datum user, Oid type)
{
	return share_takes(users, id_argument(user, type, users->type.type, "user",
										  served->model->relations.user_column));
}

ModelImage *
served_image(Served *served, Datum user, Oid type)
{
	const Share *share = served->key->version == 0 ? served->model->share : NULL;

	if (share)
	{
		if (served->users == NULL)
			served->users = served_share_users(served, share);
		if (served_takes(served, served->users, user, type))
			return find_image(served, &served->candidate, share->version);
	}
	return find_image(served, &served->image, served->key->version);
}

Served *
served_stamp(FunctionCallInfo fcinfo, int32 model_id, int32 version, int64 fingerprint)
{
	ServedKey	key = {.model_id = model_id, .version = version, .fingerprint = fingerprint};
	bool		found;
	Served	   *served = find_served(fcinfo, &key, &found);

	if (!found)
	{
		MemoryContext caller = MemoryContextSwitchTo(served->context);
		ModelImage *image = image_get_stamped(model_id, version, fingerprint);

		const Model *kept = model_kept_by_id(model_id, false);

		model_check_use(kept);
		served->image = image;
		served->model = kept;
		MemoryContextSwitchTo(caller);
	}
	return served;
}

Served *
served_vector(FunctionCallInfo fcinfo, const DupnVector *vector)
{
	Served	   *served = served_stamp(fcinfo, vector->model_id, vector->version, vector->fingerprint);

	if (vector->dim != served->image->config.R)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("the vector has %d dimensions, but version %d of model \"%s\" makes %d",
						vector->dim, vector->version, served->model->name, served->image->config.R),
				 errhint("Compute the vector again with dupn_user_vector.")));
	return served;
}
