/*-------------------------------------------------------------------------
 *
 * step.c
 *	  Steps of a training, by one process or by a team
 *
 * The team's memory holds the network, its parameters with the optimizer's
 * state, and a gradient for each process.  In a round each process
 *
 *	  takes its share of the batch forward and backward		barrier
 *	  adds up its part of the gradients						barrier
 *	  moves its part of the parameters						barrier
 *
 * and the last barrier begins the next round, for which the leader has laid
 * out orders and shares in the meantime: there are two of each, for rounds of
 * even and odd number.
 *
 *-------------------------------------------------------------------------
 */
#include "train/step.h"

#include <math.h>

#include "model/blas.h"
#include "nn/arena.h"
#include "train/exchange.h"
#include "utils/memutils.h"

typedef enum OrderKind
{
	ORDER_TRAIN,
	ORDER_JUDGE,
	ORDER_REST,					/* only meet, all parameters having moved */
	ORDER_END
} OrderKind;

/* What is to be done in a round. */
typedef struct Order
{
	OrderKind	kind;
	uint64		seed;
	float		learning_rate;
	float		weight[NN_MAX_TASKS];	/* of the tasks' losses */
	StepResult	batch;			/* the leader's: all but the loss */
	Size		size[TEAM_MOST];
	TeamBlock	share[TEAM_MOST];
} Order;

struct StepShared
{
	nn_config	config;
	nn_layout	layout;
	nn_optimizer optimizer;		/* but for m and v */
	nn_dropout	dropout;
	Order		order[2];
	double		loss[TEAM_MOST][NN_MAX_TASKS];	/* means over the share, times its fraction */
	double		squares[TEAM_MOST];
};

/* ---------------- memory ---------------- */

static void
arena_reserve(Steps *steps, nn_arena *arena, size_t size)
{
	static const size_t slack = NN_ALIGN;

	if (size > arena->size)
	{
		if (arena->base)
			pfree(*((void **) arena->base - 1));
		size += size / 4;
		if (steps->reserve)
			steps->reserve(steps->reserve_arg, size);
		{
			char	   *memory = MemoryContextAllocHuge(steps->context, add_size(size, 2 * slack));

			/* the chunk's own address lies in front of the aligned base */
			arena->base = (char *) TYPEALIGN(NN_ALIGN, memory + sizeof(void *));
			*((void **) arena->base - 1) = memory;
		}
		arena->size = size;
		job_memory();
	}
	arena->used = 0;
}

/* Bytes of a gradient in the team's memory, and of a process's pointers to it. */
static size_t
grad_size(const nn_layout *layout, size_t *pointers)
{
	nn_arena	memory = {0};
	nn_arena	own = {0};
	nn_grad		grad;

	(void) nn_grad_find(&grad, layout, &memory, &own);
	*pointers = own.used;
	return memory.used;
}

/* ---------------- one process, one batch ---------------- */

static void
check_status(nn_status status)
{
	if (status == NN_OK)
		return;
	job_check();				/* the reason of NN_ABORTED */
	if (status == NN_ABORTED)
		ereport(ERROR,
				(errcode(ERRCODE_QUERY_CANCELED),
				 errmsg("canceling training")));
	if (status == NN_NOT_FINITE)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("the loss is no longer a finite number"),
				 errhint("Lower the option \"learning_rate\".")));
	elog(ERROR, "the network failed: %s", nn_status_text(status));
}

/* Forward, and with a gradient backward. */
static void
run_batch(Steps *steps, const nn_config *config, const nn_batch *batch, const nn_dropout *dropout,
		  nn_grad *grad, nn_acts *acts)
{
	nn_run		run = {.config = config, .layout = steps->layout, .param = steps->param,
	.dropout = dropout, .backward = grad != NULL, .abort = job_should_stop};
	nn_arena	count = {0};

	Assert(nn_batch_check(config, batch) == NN_OK);
	check_status(nn_forward(&run, batch, &count, acts));
	if (grad)
		check_status(nn_backward(&run, batch, &count, acts, grad));
	arena_reserve(steps, &steps->arena, count.used);
	check_status(nn_forward(&run, batch, &steps->arena, acts));
	if (!isfinite(acts->loss))
		check_status(NN_NOT_FINITE);
	if (grad)
		check_status(nn_backward(&run, batch, &steps->arena, acts, grad));
}

static void
note_trained(Steps *steps, const nn_grad *grad)
{
	for (int i = 0; i < grad->n_tables; i++)
		for (int row = 0; row < 2 && row < steps->layout->tensor[steps->layout->first_table + i].rows; row++)
			if (grad->mark[i][row])
				steps->trained[row][i] = 1;
}

static void
describe_batch(const Steps *steps, const nn_batch *batch, StepResult *result)
{
	memset(result, 0, sizeof(*result));
	result->events = batch->offsets[batch->sequences];
	for (int t = 0; t < steps->config->n_task; t++)
	{
		const nn_samples *samples = &batch->samples[t];

		result->samples[t] = samples->n;
		for (int s = 0; s < samples->n; s++)
			result->weight[t] += samples->weight[s];
	}
}

static void
take_losses(const Steps *steps, const nn_acts *acts, StepResult *result)
{
	for (int t = 0; t < steps->config->n_task; t++)
		result->loss[t] = acts->task[t].loss;
}

void
steps_forward(Steps *steps, const nn_batch *batch, nn_acts *acts, StepResult *result)
{
	Assert(!steps->pending);
	describe_batch(steps, batch, result);
	run_batch(steps, steps->config, batch, NULL, NULL, acts);
	take_losses(steps, acts, result);
}

/* A step without a team. */
static void
do_alone(Steps *steps, const nn_batch *batch, const nn_dropout *dropout, StepResult *result)
{
	nn_acts		acts;

	describe_batch(steps, batch, result);
	run_batch(steps, steps->config, batch, dropout, steps->grad, &acts);
	take_losses(steps, &acts, result);
	note_trained(steps, steps->grad);
	check_status(nn_optimizer_step(&steps->optimizer, steps->layout, steps->param, steps->grad, NULL));
	nn_grad_clear(steps->grad, steps->layout);
}

/* ---------------- a round of a team ---------------- */

static Order *
order_of(const Steps *steps, uint64 round)
{
	return &steps->shared->order[round % 2];
}

/* This process's share of the batch: its loss, and its gradient. */
static void
do_share(Steps *steps, const Order *order)
{
	int			rank = team_rank(steps->team);
	double	   *loss = steps->shared->loss[rank];
	nn_dropout	dropout = steps->dropout;
	SharePlace	place;
	nn_batch	batch;
	nn_acts		acts;

	memset(loss, 0, sizeof(double) * NN_MAX_TASKS);
	share_read(steps->config, team_address(steps->team, &order->share[rank]), order->size[rank], &place, &batch);
	if (batch.views == 0)
		return;
	dropout.seed = order->seed;
	dropout.event = place.event;
	dropout.view = place.view;
	memcpy(dropout.row, place.row, sizeof(dropout.row));

	/* a mean over the share's samples counts for its part of them */
	for (int t = 0; t < steps->config->n_task; t++)
		steps->share_config->task[t].weight = order->weight[t] * place.fraction[t];
	if (order->kind == ORDER_TRAIN)
		run_batch(steps, steps->share_config, &batch, &dropout, &steps->grad[rank], &acts);
	else
		run_batch(steps, steps->share_config, &batch, NULL, NULL, &acts);
	for (int t = 0; t < steps->config->n_task; t++)
		if (batch.samples[t].n > 0)
			loss[t] = acts.task[t].loss * place.fraction[t];
}

/* The round that has begun, up to its last barrier; result: the leader's. */
static void
do_round(Steps *steps, const Order *order, StepResult *result)
{
	StepShared *shared = steps->shared;
	int			n = team_size(steps->team);
	int			rank = team_rank(steps->team);
	double		squares = 0;

	do_share(steps, order);
	team_barrier(steps->team);
	if (result)
	{
		*result = order->batch;
		for (int t = 0; t < steps->config->n_task; t++)
			for (int k = 0; k < n; k++)
				result->loss[t] += shared->loss[k][t];
		for (int k = 0; k < n && order->kind == ORDER_TRAIN; k++)
			note_trained(steps, &steps->grad[k]);
	}
	if (order->kind != ORDER_TRAIN)
		return;

	shared->squares[rank] = nn_part_add(&steps->part, steps->layout, steps->grad);
	team_barrier(steps->team);
	for (int k = 0; k < n; k++)
		squares += shared->squares[k];
	steps->optimizer.learning_rate = order->learning_rate;
	check_status(nn_part_step(&steps->optimizer, &steps->part, steps->layout, steps->param, steps->grad, squares));
	nn_part_clear(&steps->part, steps->layout, &steps->grad[rank]);
}

/* Lay out what is to be done in the next round. */
static void
give_order(Steps *steps, OrderKind kind, const nn_batch *batch, uint64 seed)
{
	Order	   *order = order_of(steps, steps->round + (steps->pending ? 1 : 0));
	int			n = team_size(steps->team);
	int			first[TEAM_MOST + 1];

	/* what it goes on from, see steps_make */
	if (steps->round == 0 && !steps->pending)
		steps->shared->optimizer.step = steps->optimizer.step;
	order->kind = kind;
	order->seed = seed;
	order->learning_rate = steps->optimizer.learning_rate;
	for (int t = 0; t < steps->config->n_task; t++)
		order->weight[t] = steps->config->task[t].weight;
	if (batch == NULL)
		return;
	describe_batch(steps, batch, &order->batch);
	share_out(steps->config, batch, n, kind == ORDER_TRAIN ? 3 : 1, first);
	for (int k = 0; k < n; k++)
	{
		order->size[k] = share_size(steps->config, batch, first[k], first[k + 1]);
		team_reserve(steps->team, &order->share[k], order->size[k]);
		share_write(steps->config, batch, first[k], first[k + 1],
					team_address(steps->team, &order->share[k]));
	}
}

/* Begin the round that give_order has laid out. */
static void
begin_round(Steps *steps)
{
	team_barrier(steps->team);
	steps->pending = true;
}

/* The leader's part of the round that has begun; others may not be as far. */
static bool
end_round(Steps *steps, StepResult *result)
{
	if (!steps->pending)
		return false;
	do_round(steps, order_of(steps, steps->round), result);
	steps->round++;
	steps->pending = false;
	return true;
}

/* The batch is given out before the one before is complete. */
static bool
hand_out(Steps *steps, OrderKind kind, const nn_batch *batch, uint64 seed, StepResult *result)
{
	bool		completed;

	give_order(steps, kind, batch, seed);
	completed = end_round(steps, result);
	begin_round(steps);
	return completed;
}

bool
steps_complete(Steps *steps, StepResult *result)
{
	if (!end_round(steps, result))
		return false;
	give_order(steps, ORDER_REST, NULL, 0);
	begin_round(steps);
	steps->round++;
	steps->pending = false;
	return true;
}

bool
steps_train(Steps *steps, const nn_batch *batch, uint64 seed, StepResult *result)
{
	nn_dropout	dropout = steps->dropout;

	if (steps->team)
		return hand_out(steps, ORDER_TRAIN, batch, seed, result);
	dropout.seed = seed;
	do_alone(steps, batch, &dropout, result);
	return true;
}

bool
steps_judge(Steps *steps, const nn_batch *batch, StepResult *result)
{
	nn_acts		acts;

	if (steps->team)
		return hand_out(steps, ORDER_JUDGE, batch, 0, result);
	steps_forward(steps, batch, &acts, result);
	return true;
}

/* ---------------- beginning and end ---------------- */

static float *
zeros(const Steps *steps)
{
	return MemoryContextAllocExtended(steps->context, mul_size(sizeof(float), steps->layout->floats),
									  MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
}

static size_t
param_size(const nn_layout *layout)
{
	return TYPEALIGN(NN_ALIGN, mul_size(sizeof(float), layout->floats));
}

static size_t
params_size(const nn_layout *layout, nn_optimizer_kind kind)
{
	return mul_size(param_size(layout), kind == NN_ADAM ? 3 : 2);
}

/*
 * Everything in the team's memory: the structure, the parameters, the
 * optimizer's state, and the gradients.
 */
static void
find_shared(Steps *steps)
{
	const nn_layout *layout = steps->layout;
	int			n = team_size(steps->team);
	char	   *at = (char *) steps->shared + TYPEALIGN(NN_ALIGN, sizeof(StepShared));
	size_t		pointers;
	size_t		size = grad_size(layout, &pointers);
	nn_arena	count = {0};
	nn_arena	own = {0};

	steps->param = (float *) at;
	steps->optimizer.v = (float *) (at + param_size(layout));
	steps->optimizer.m = NULL;
	if (steps->optimizer.kind == NN_ADAM)
		steps->optimizer.m = (float *) (at + 2 * param_size(layout));
	at += params_size(layout, steps->optimizer.kind);

	(void) nn_part_make(&steps->part, layout, team_rank(steps->team), n, &count);
	arena_reserve(steps, &own, count.used + n * pointers);
	check_status(nn_part_make(&steps->part, layout, team_rank(steps->team), n, &own));
	steps->grad = MemoryContextAlloc(steps->context, sizeof(nn_grad) * n);
	for (int k = 0; k < n; k++)
	{
		nn_arena	memory = {.base = at, .size = size};

		check_status(nn_grad_find(&steps->grad[k], layout, &memory, &own));
		at += size;
	}
	steps->share_config = MemoryContextAlloc(steps->context, sizeof(nn_config));
	*steps->share_config = *steps->config;
}

static Steps *
make_steps(const nn_config *config, const nn_layout *layout, const nn_optimizer *optimizer,
		   const nn_dropout *dropout, MemoryContext context)
{
	Steps	   *steps = MemoryContextAllocZero(context, sizeof(Steps));

	steps->context = context;
	steps->config = config;
	steps->layout = layout;
	steps->optimizer = *optimizer;
	steps->dropout = *dropout;
	for (int row = 0; row < 2; row++)
		steps->trained[row] = MemoryContextAllocZero(context, Max(layout->n - layout->first_table, 1));
	return steps;
}

static void
make_alone(Steps *steps)
{
	nn_arena	count = {0};
	nn_arena	memory = {0};

	if (steps->reserve)
		steps->reserve(steps->reserve_arg, params_size(steps->layout, steps->optimizer.kind));
	steps->param = zeros(steps);
	steps->optimizer.v = zeros(steps);
	steps->optimizer.m = steps->optimizer.kind == NN_ADAM ? zeros(steps) : NULL;
	steps->grad = MemoryContextAlloc(steps->context, sizeof(nn_grad));
	(void) nn_grad_make(steps->grad, steps->layout, &count);
	arena_reserve(steps, &memory, count.used);
	check_status(nn_grad_make(steps->grad, steps->layout, &memory));
}

Steps *
steps_make(const Job *job, const nn_config *config, const nn_layout *layout,
		   const nn_optimizer *optimizer, const nn_dropout *dropout, int workers,
		   StepsReserve reserve, void *reserve_arg, MemoryContext context)
{
	Steps	   *steps = make_steps(config, layout, optimizer, dropout, context);
	size_t		pointers;

	steps->reserve = reserve;
	steps->reserve_arg = reserve_arg;
	steps->team = team_start(job, "train", workers,
							 add_size(TYPEALIGN(NN_ALIGN, sizeof(StepShared)),
									  params_size(layout, optimizer->kind)),
							 grad_size(layout, &pointers));
	steps->workers = steps->team ? team_size(steps->team) : 1;
	if (steps->team == NULL)
	{
		make_alone(steps);
		return steps;
	}
	steps->shared = team_memory(steps->team);
	steps->shared->config = *config;
	steps->shared->layout = *layout;
	steps->shared->optimizer = *optimizer;
	steps->shared->dropout = *dropout;
	find_shared(steps);
	team_begin(steps->team);
	return steps;
}

Steps *
steps_judging(const nn_config *config, const nn_layout *layout, StepsReserve reserve, void *reserve_arg,
			  MemoryContext context)
{
	static const nn_optimizer optimizer;
	static const nn_dropout dropout;
	Steps	   *steps = make_steps(config, layout, &optimizer, &dropout, context);

	steps->reserve = reserve;
	steps->reserve_arg = reserve_arg;
	steps->workers = 1;
	if (reserve)
		reserve(reserve_arg, param_size(layout));
	steps->param = zeros(steps);
	return steps;
}

void
steps_freeze(Steps *steps, int table, const int32 *row, int64 n)
{
	for (int k = 0; k < steps->workers; k++)
		for (int64 i = 0; i < n; i++)
			nn_grad_freeze(steps->layout, &steps->grad[k], table, row[i]);
}

/* A copy that outlives the team; NULL stays NULL. */
static float *
take_along(const Steps *steps, const float *shared)
{
	float	   *own;

	if (shared == NULL)
		return NULL;
	if (steps->reserve)
		steps->reserve(steps->reserve_arg, param_size(steps->layout));
	own = MemoryContextAllocHuge(steps->context, param_size(steps->layout));
	memcpy(own, shared, sizeof(float) * steps->layout->floats);
	return own;
}

void
steps_end(Steps *steps, bool optimizer)
{
	Assert(!steps->pending);
	if (steps->team == NULL)
		return;
	steps->param = take_along(steps, steps->param);
	steps->optimizer.m = take_along(steps, optimizer ? steps->optimizer.m : NULL);
	steps->optimizer.v = take_along(steps, optimizer ? steps->optimizer.v : NULL);
	give_order(steps, ORDER_END, NULL, 0);
	begin_round(steps);
	team_end(steps->team);
	steps->team = NULL;
}

void
steps_member(Team *team, const Job *job)
{
	StepShared *shared = team_memory(team);
	Steps	   *steps = make_steps(&shared->config, &shared->layout, &shared->optimizer, &shared->dropout,
								   job->context);

	blas_probe();
	steps->team = team;
	steps->shared = shared;
	find_shared(steps);
	for (;; steps->round++)
	{
		const Order *order = order_of(steps, steps->round);

		team_barrier(team);
		if (steps->round == 0)
			steps->optimizer.step = shared->optimizer.step;
		if (order->kind == ORDER_END)
			break;
		if (order->kind != ORDER_REST)
			do_round(steps, order, NULL);
	}
}
