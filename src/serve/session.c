/*-------------------------------------------------------------------------
 *
 * session.c
 *	  Scratch memory and runs of the network, per version and backend
 *
 *-------------------------------------------------------------------------
 */
#include "serve/session.h"

#include <math.h>

#include "model/blas.h"
#include "settings.h"
#include "utils/memutils.h"

#define ARENA_START ((size_t) 1 << 16)
#define ARENA_ALIGN 64

static bool
interrupted(void *argument)
{
	return InterruptPending;
}

static void
drop_session(void *argument)
{
	Session    *session = argument;

	sources_clear(&session->sources);
}

Session *
session_get(ModelImage *image)
{
	Session    *session = image->session;
	MemoryContextCallback *callback;

	if (session)
		return session;

	session = MemoryContextAllocZero(image->context, sizeof(Session));
	session->image = image;
	session->events = event_table(image->context);
	session->builder = batch_builder(&image->set, image->context);
	session->run.config = &image->config;
	session->run.layout = &image->layout;
	session->run.param = image->param;
	session->run.prepared = image->prepared;
	session->run.abort = interrupted;

	callback = MemoryContextAlloc(image->context, sizeof(MemoryContextCallback));
	callback->func = drop_session;
	callback->arg = session;
	MemoryContextRegisterResetCallback(image->context, callback);
	image->session = session;
	return session;
}

void
session_work(Session *session, void (*work) (Session *session, void *argument), void *argument)
{
	if (session->busy)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("model \"%s\" was asked while its own relations are read for an answer",
						session->image->model_name),
				 errhint("A view, a policy or a default of these relations calls a function of dupn.")));
	session->busy = true;
	PG_TRY();
	{
		work(session, argument);
	}
	PG_FINALLY();
	{
		session->busy = false;
	}
	PG_END_TRY();
}

static void
free_arena(Session *session)
{
	if (session->arena_memory)
		pfree(session->arena_memory);
	memset(&session->arena, 0, sizeof(session->arena));
	session->arena_memory = NULL;
}

void
session_trim(Session *session, size_t keep)
{
	if (session->arena.size > keep)
		free_arena(session);
}

static void
grow_arena(Session *session, size_t need)
{
	size_t		size = Max(need, ARENA_START);

	if (size > MaxAllocHugeSize - ARENA_ALIGN)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("model \"%s\" needs too much memory for an answer", session->image->model_name)));
	free_arena(session);
	session->arena_memory = MemoryContextAllocHuge(session->image->context, size + ARENA_ALIGN);
	session->arena.base = (char *) TYPEALIGN(ARENA_ALIGN, session->arena_memory);
	session->arena.size = size;
}

void
session_compute(Session *session, SessionStep step, void *argument)
{
	nn_status	status;

	session->run.half = dupn_recurrent_weights == RECURRENT_BFLOAT16;
	blas_probe();
	if (session->arena_memory == NULL)
		grow_arena(session, ARENA_START);
	for (;;)
	{
		session->arena.used = 0;
		status = step(session, argument);
		if (status == NN_NO_MEMORY && session->arena.used > session->arena.size)
			grow_arena(session, session->arena.used + session->arena.used / 4);
		else if (status != NN_ABORTED)
			break;
		CHECK_FOR_INTERRUPTS();
	}
	if (status != NN_OK)
		ereport(ERROR,
				(errcode(status == NN_BAD_BATCH ? ERRCODE_DATA_CORRUPTED : ERRCODE_INTERNAL_ERROR),
				 errmsg("version %d of model \"%s\" could not be computed: %s",
						session->image->version, session->image->model_name, nn_status_text(status))));
}

nn_status
user_step(Session *session, void *argument)
{
	return nn_user_forward(&session->run, session->batch, &session->arena, &session->acts);
}

void
session_finish_batch(Session *session)
{
	session->batch = batch_finish(session->builder);
	if (nn_batch_check(&session->image->config, session->batch) != NN_OK)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("version %d of model \"%s\" does not fit the rows it reads",
						session->image->version, session->image->model_name)));
}

void
session_check_vectors(const Session *session, int n)
{
	const ModelImage *image = session->image;

	for (size_t i = 0; i < (size_t) n * image->config.R; i++)
		if (!isfinite(session->acts.vector[i]))
			ereport(ERROR,
					(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
					 errmsg("version %d of model \"%s\" gives a vector that is not finite",
							image->version, image->model_name)));
}

void
session_batch(Session *session)
{
	BatchBuilder *builder = session->builder;

	batch_reset(builder);
	batch_add_sequence(builder, session->events, session->start, session->n, session->now, NULL);
	batch_add_view(builder, session->n, session->now, &session->profile, &session->context, NULL);
	session_finish_batch(session);
}

const float *
session_vector(Session *session)
{
	session_batch(session);
	session_compute(session, user_step, NULL);
	session_check_vectors(session, 1);
	return session->acts.vector;
}

typedef struct HeadStep
{
	int			task;
	const nn_samples *samples;
	const float *vector;
	nn_task_acts *acts;
} HeadStep;

static nn_status
head_step(Session *session, void *argument)
{
	HeadStep   *head = argument;

	return nn_task_forward(&session->run, head->task, head->samples, 1, head->vector,
						   &session->arena, head->acts);
}

void
session_head(Session *session, int task, nn_samples *samples, const float *vector, nn_task_acts *acts)
{
	static const int32 view = 0;
	HeadStep	head = {.task = task,.samples = samples,.vector = vector,.acts = acts};

	samples->n = 1;
	samples->view = &view;
	session_compute(session, head_step, &head);
}

const nn_scorer *
session_scorer(Session *session, int task)
{
	nn_arena	arena = {0};
	nn_scorer  *scorer = session->scorer[task];

	if (scorer)
		return scorer;
	scorer = MemoryContextAlloc(session->image->context, sizeof(nn_scorer));
	(void) nn_scorer_make(&session->run, task, &arena, scorer);
	arena.size = arena.used;
	arena.base = huge_aligned(session->image->context, arena.size);
	arena.used = 0;
	if (nn_scorer_make(&session->run, task, &arena, scorer) != NN_OK)
		elog(ERROR, "task \"%s\" cannot be taken apart", session->image->config.task[task].name);
	session->scorer[task] = scorer;
	return scorer;
}

typedef struct UserPartStep
{
	const nn_scorer *scorer;
	const float *vector;
	float	   *part;
} UserPartStep;

static nn_status
user_part_step(Session *session, void *argument)
{
	UserPartStep *step = argument;

	return nn_user_part(&session->run, step->scorer, step->vector, &session->arena, step->part);
}

void
session_user_part(Session *session, const nn_scorer *scorer, const float *vector, float *part)
{
	UserPartStep step = {.scorer = scorer,.vector = vector,.part = part};

	session_compute(session, user_part_step, &step);
}
