/*-------------------------------------------------------------------------
 *
 * baseline.c
 *	  What a GROUP BY would have said, on the same split
 *
 * Counted from training events only, and asked about the same samples as the
 * model: a network that does not beat these has not earned its keep.
 *
 * next_item	popularity; own recent (the user's own items, newest first);
 *				own counts (most counted first, then newest); Markov (what
 *				followed the last item); decayed Markov (what followed within
 *				ten events, the nearer the more, summed over the history with
 *				decay, as a shrunk cosine); shrunk item-kNN (co-occurrence);
 *				own then kNN (own recent before item-kNN's others)
 * multiclass	majority; own mode; own last level
 * binary		see baseline_binary.c
 *
 *-------------------------------------------------------------------------
 */
#include "train/baseline.h"

#include <math.h>

#include "train/item_table.h"

#define HISTORY			50		/* latest events that Markov and kNN look at */
#define REACH			10		/* events between two of a decayed pair */
#define DECAY			0.8f
#define MARKOV_SHRINK	5.0f
#define KNN_SHRINK		10.0f
#define BEFORE_TABLES	1000.0f /* more than the sum of what tables say */

/* ---------------- item-to-item tables ---------------- */

static double
cosine(double sum, double from, double to)
{
	return sum / sqrt((from + MARKOV_SHRINK) * (to + MARKOV_SHRINK));
}

static double
shrunk(double sum, double from, double to)
{
	return sum / (sqrt(from * to) + KNN_SHRINK);
}

static const PairRule next_rule = {.reach = 1, .decay = 1, .latest = 2 * HISTORY, .task = -1, .after = DT_NOBEGIN};
static const PairRule decayed_rule = {.reach = REACH, .decay = DECAY, .latest = 2 * HISTORY, .task = -1, .after = DT_NOBEGIN, .score = cosine};
static const PairRule together_rule = {.together = true, .latest = 2 * HISTORY, .task = -1, .after = DT_NOBEGIN, .score = shrunk};

/* ---------------- ranking by sparse scores ---------------- */

/*
 * A scorer gives some items a positive score; all others follow behind, by
 * popularity.  So the rank of a target costs as much as the items touched.
 */
typedef struct Ranking
{
	const int64 *count;			/* [J] popularity */
	int64	   *more,			/* [J] items more popular */
			   *same;			/* [J] other items as popular */
	float	   *score;			/* [J] zero but for touched items */
	int32	   *touched;
	int64		n_touched;
	uint8	   *excluded;		/* [J] 1: seen before, not ranked */
	int32	   *seen;
	int64		n_seen;
} Ranking;

static const int64 *sort_count;

static int
compare_popularity(const void *a, const void *b)
{
	int64		x = sort_count[*(const int32 *) a];
	int64		y = sort_count[*(const int32 *) b];

	return x > y ? -1 : x < y;
}

static void
ranking_init(Ranking *ranking, const Dataset *data)
{
	int64		n = data->catalogue.n;
	int32	   *order = palloc0_array_huge(int32, n);

	ranking->count = data->catalogue.count;
	ranking->more = palloc0_array_huge(int64, n);
	ranking->same = palloc0_array_huge(int64, n);
	ranking->score = palloc0_array_huge(float, n);
	ranking->touched = palloc0_array_huge(int32, n);
	ranking->excluded = palloc0_array_huge(uint8, n);
	ranking->seen = palloc0_array_huge(int32, n);
	for (int64 j = 0; j < n; j++)
		order[j] = (int32) j;
	sort_count = ranking->count;
	qsort(order, n, sizeof(int32), compare_popularity);
	for (int64 i = 0, end; i < n; i = end)
	{
		for (end = i + 1; end < n && ranking->count[order[end]] == ranking->count[order[i]]; end++)
			;
		for (int64 j = i; j < end; j++)
		{
			ranking->more[order[j]] = i;
			ranking->same[order[j]] = end - i - 1;
		}
	}
	pfree(order);
}

static void
ranking_free(Ranking *ranking)
{
	pfree(ranking->more);
	pfree(ranking->same);
	pfree(ranking->score);
	pfree(ranking->touched);
	pfree(ranking->excluded);
	pfree(ranking->seen);
}

static void
touch(Ranking *ranking, int32 item, float score)
{
	if (score <= 0)
		return;
	if (ranking->score[item] == 0)
		ranking->touched[ranking->n_touched++] = item;
	ranking->score[item] += score;
}

static void
ranking_clear(Ranking *ranking)
{
	for (int64 i = 0; i < ranking->n_touched; i++)
		ranking->score[ranking->touched[i]] = 0;
	ranking->n_touched = 0;
}

/* The mean rank of a target. */
static double
ranking_rank(const Ranking *ranking, int32 target)
{
	float		score = ranking->score[target];
	int64		greater = 0;
	int64		equal = 0;

	if (score > 0)
	{
		for (int64 i = 0; i < ranking->n_touched; i++)
		{
			int32		item = ranking->touched[i];

			if (item == target || ranking->excluded[item])
				continue;
			greater += ranking->score[item] > score;
			equal += ranking->score[item] == score;
		}
		return 1 + greater + equal / 2.0;
	}

	/* behind all touched ones, by popularity among those neither touched nor excluded */
	greater = ranking->more[target];
	equal = ranking->same[target];
	for (int64 i = 0; i < ranking->n_touched; i++)
	{
		int32		item = ranking->touched[i];

		greater -= ranking->count[item] > ranking->count[target];
		equal -= ranking->count[item] == ranking->count[target];
		greater += !ranking->excluded[item];
	}
	for (int64 i = 0; i < ranking->n_seen; i++)
	{
		int32		item = ranking->seen[i];

		if (item == target || !ranking->excluded[item] || ranking->score[item] > 0)
			continue;
		greater -= ranking->count[item] > ranking->count[target];
		equal -= ranking->count[item] == ranking->count[target];
	}
	return 1 + greater + equal / 2.0;
}

/* ---------------- scorers ---------------- */

typedef struct History
{
	int32	   *item;			/* newest first, all of them */
	int64		n;
} History;

static void
score_own(Ranking *ranking, const History *history, bool counts)
{
	for (int64 i = 0; i < history->n; i++)
	{
		int32		item = history->item[i];
		float		newness = (float) (history->n - i) / (history->n + 1);

		if (ranking->score[item] == 0)
			touch(ranking, item, counts ? 1 + newness : newness);
		else if (counts)
			touch(ranking, item, 1);
	}
}

static void
score_table(Ranking *ranking, const History *history, const ItemTable *table, int64 events,
			float decay)
{
	float		weight = 1;

	for (int64 i = 0; i < Min(history->n, events); i++)
	{
		int32		from = history->item[i];

		for (int64 p = table->offsets[from]; p < table->offsets[from + 1]; p++)
			touch(ranking, table->pair[p].to, weight * table->pair[p].weight);
		weight *= decay;
	}
}

/* The user's own items before all others, newest first. */
static void
put_own_first(Ranking *ranking, const History *history)
{
	for (int64 i = history->n - 1; i >= 0; i--)
	{
		int32		item = history->item[i];

		if (ranking->score[item] == 0)
			ranking->touched[ranking->n_touched++] = item;
		ranking->score[item] = BEFORE_TABLES + (history->n - i);
	}
}

static void
next_item_baselines(const Dataset *data, const Moments *moments, const ModelTask *task,
					Judged *judged)
{
	static const char *const names[] = {"popularity", "own_recent", "own_counts", "markov",
	"decayed_markov", "item_knn", "own_then_knn"};
	/* a night has its users' windows alone, of which tables would be made anew each time */
	bool		tables = data->since == DT_NOBEGIN;
	int			n_scorers = tables ? lengthof(names) : 3;
	Results    *results[lengthof(names)];
	ItemTable  *next = tables ? item_table(data, &next_rule) : NULL;
	ItemTable  *decayed = tables ? item_table(data, &decayed_rule) : NULL;
	ItemTable  *together = tables ? item_table(data, &together_rule) : NULL;
	Ranking		ranking = {0};
	History		history = {0};
	int64		longest = 0;

	for (int64 u = 0; u < data->n_users; u++)
		longest = Max(longest, data->users[u].n);
	history.item = palloc0_array_huge(int32, longest);
	ranking_init(&ranking, data);
	for (int r = 0; r < n_scorers; r++)
	{
		results[r] = add_results(judged, names[r]);
		results[r]->rank = palloc0_array_huge(double, judged->n);
	}

	for (int64 i = 0, end; i < judged->n; i = end)
	{
		const Moment *moment = &moments->moment[judged->moment[i]];
		const User *user = &data->users[moment->user];

		for (end = i + 1; end < judged->n && judged->moment[end] == judged->moment[i]; end++)
			;
		history.n = 0;
		for (int64 row = moment->end - 1; row >= user->start; row--)
			if (data->events->item[row] >= 0)
				history.item[history.n++] = data->events->item[row];
		ranking.n_seen = 0;
		for (int64 h = 0; task->options.exclude_seen && h < history.n; h++)
			if (!ranking.excluded[history.item[h]])
			{
				ranking.excluded[history.item[h]] = 1;
				ranking.seen[ranking.n_seen++] = history.item[h];
			}

		for (int r = 0; r < n_scorers; r++)
		{
			switch (r)
			{
				case 0:
					break;
				case 1:
					score_own(&ranking, &history, false);
					break;
				case 2:
					score_own(&ranking, &history, true);
					break;
				case 3:
					score_table(&ranking, &history, next, 1, 1);
					break;
				case 4:
					score_table(&ranking, &history, decayed, HISTORY, DECAY);
					break;
				case 5:
					score_table(&ranking, &history, together, HISTORY, DECAY);
					break;
				case 6:
					score_table(&ranking, &history, together, HISTORY, DECAY);
					put_own_first(&ranking, &history);
					break;
			}
			for (int64 s = i; s < end; s++)
			{
				int32		target = data->events->item[judged->target[s]];
				uint8		excluded;

				if (target < 0)
				{
					results[r]->rank[s] = INFINITY;
					continue;
				}
				excluded = ranking.excluded[target];
				ranking.excluded[target] = 0;
				results[r]->rank[s] = ranking_rank(&ranking, target);
				ranking.excluded[target] = excluded;
			}
			ranking_clear(&ranking);
		}
		for (int64 s = 0; s < ranking.n_seen; s++)
			ranking.excluded[ranking.seen[s]] = 0;
		job_check();
	}
	pfree(history.item);
	ranking_free(&ranking);
	if (tables)
	{
		item_table_free(next);
		item_table_free(decayed);
		item_table_free(together);
	}
}

/* ---------------- multiclass ---------------- */

/* Class of an earlier event or sample row of the task, -1: none. */
static int
class_of(const Dataset *data, int t, bool rows, int64 at)
{
	return rows ? (int) data->rows[t].label[at] : event_class(data, t, at);
}

static void
multiclass_baselines(const Dataset *data, const Moments *moments, int t, Judged *judged)
{
	const ModelTask *task = &data->model->task[t];
	bool		rows = task->samples != NULL;
	int			classes = data->levels[t].classes;
	double	   *prior = palloc0(sizeof(double) * classes);
	double	   *own = palloc0(sizeof(double) * classes);
	Results    *majority = add_results(judged, "majority");
	Results    *mode = add_results(judged, "own_mode");
	Results    *last = add_results(judged, "own_last");
	double		total = 0;
	int			most = 0;

	for (int64 m = 0; m < moments->n; m++)
	{
		const Moment *moment = &moments->moment[m];

		if (m % 4096 == 0)
			job_check();
		if (moment->split != SPLIT_TRAIN || (moment->task >= 0 ? moment->task != t : rows))
			continue;
		for (int64 at = moment->target; at < moment->target + moment->n_target; at++)
		{
			int			label = class_of(data, t, rows, at);

			if (label < 0)
				continue;
			prior[label] += 1;
			total += 1;
		}
	}
	for (int c = 0; c < classes; c++)
	{
		prior[c] = (prior[c] + 0.5) / (total + 0.5 * classes);
		if (prior[c] > prior[most])
			most = c;
	}

	majority->predicted = palloc0_array_huge(int32, judged->n);
	majority->log_loss = palloc0_array_huge(float, judged->n);
	mode->predicted = palloc0_array_huge(int32, judged->n);
	mode->log_loss = palloc0_array_huge(float, judged->n);
	last->predicted = palloc0_array_huge(int32, judged->n);
	for (int64 i = 0; i < judged->n; i++)
	{
		const Moment *moment = &moments->moment[judged->moment[i]];
		const User *user = &data->users[moment->user];
		int64		begin = rows ? 0 : user->start;
		int64		at = rows ? moment->target - 1 : moment->end - 1;
		int			newest = -1;
		int			favourite = most;
		double		n = 0;
		int			label = judged->label_class[i];

		memset(own, 0, sizeof(double) * classes);
		for (; at >= begin; at--)
		{
			int			c;

			if (rows && data->rows[t].user[at] != moment->user)
				break;
			if (rows && !label_known(task, data->rows[t].time[at], moment_now(data, moment)))
				continue;
			c = class_of(data, t, rows, at);
			if (c < 0)
				continue;
			if (newest < 0)
				newest = c;
			own[c] += 1;
			n += 1;
		}
		for (int c = 0; c < classes; c++)
			if (own[c] + prior[c] > own[favourite] + prior[favourite])
				favourite = c;
		majority->predicted[i] = most;
		majority->log_loss[i] = (float) -log(prior[label]);
		mode->predicted[i] = favourite;
		/* two pseudo-counts of the prior */
		mode->log_loss[i] = (float) -log((own[label] + 2 * prior[label]) / (n + 2));
		last->predicted[i] = newest >= 0 ? newest : most;
		if (i % 256 == 0)
			job_check();
	}
}

void
baselines(const Dataset *data, const Moments *moments, int task, Judged *judged)
{
	if (judged->n == 0)
		return;
	switch (data->model->task[task].kind)
	{
		case NN_NEXT_ITEM:
			next_item_baselines(data, moments, &data->model->task[task], judged);
			break;
		case NN_MULTICLASS:
			multiclass_baselines(data, moments, task, judged);
			break;
		case NN_BINARY:
		case NN_RANK:
			binary_baselines(data, moments, task, judged);
			break;
	}
}
