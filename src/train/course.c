/*-------------------------------------------------------------------------
 *
 * course.c
 *	  What an epoch visits, and in which order
 *
 * With a temperature each source of moments (the events; the samples of each
 * task) has stretches of its own, since moments that share a stretch are
 * visited together.  An epoch takes as many of a source's stretches as its share
 * is worth: all of them so many times, and a part of them, another one in each
 * epoch, once more.
 *
 *-------------------------------------------------------------------------
 */
#include "train/course.h"

#include <math.h>

#include "train/dataset.h"
#include "train/shuffle.h"

#define CHECK_EVERY		4096

/* Stretches [first, first + n) of the course, and how many of them an epoch visits. */
typedef struct CourseGroup
{
	int64		first;
	int64		n;
	int64		moments;
	int64		visits;
	Shuffle		order;
} CourseGroup;

struct Course
{
	const Dataset *data;
	Column	   *stretch;
	int			n_groups;
	CourseGroup		group[NN_MAX_TASKS + 1];
	int64		visits;
	Shuffle		order;
};

/*
 * The stretch a prefix belongs to: the first that holds it, which is where it
 * is longest.  Stretches of max_events begin every half of it.
 */
static int64
stretch_start(const Dataset *data, const User *user, int64 end)
{
	int64		most = data->set->max_events;
	int64		step = Max(most / 2, 1);
	int64		prefix = end - user->start;

	return user->start + (prefix <= most ? 0 : (prefix - most + step - 1) / step * step);
}

/* Append the stretches of some sources as a group, if there are any. */
static void
add_group(Course *course, const Moments *moments, int splits, uint32 sources, int most)
{
	CourseGroup	   *group = &course->group[course->n_groups];
	Stretch		open = {0};
	int32		user = -1;

	*group = (CourseGroup) {.first = course->stretch->n};
	for (int64 i = 0; i < moments->n; i++)
	{
		const Moment *moment = &moments->moment[i];
		int64		start = stretch_start(course->data, &course->data->users[moment->user], moment->end);
		bool		wanted = (splits & (1 << moment->split)) != 0;

		if (i % CHECK_EVERY == 0)
			job_check();
		if (wanted && !(sources & moment_source(moment)))
			continue;
		if (open.n > 0 && (!wanted || user != moment->user || open.start != start || open.n >= most))
		{
			column_append(course->stretch, &open, 1);
			open.n = 0;
		}
		if (!wanted)
			continue;
		if (open.n == 0)
		{
			open = (Stretch) {.start = start, .first = i, .sources = sources};
			user = moment->user;
		}
		open.n++;
		open.span = (int32) (i + 1 - open.first);
		open.length = (int32) Max(open.length, moment->end - start);
		group->moments++;
	}
	if (open.n > 0)
		column_append(course->stretch, &open, 1);
	group->visits = group->n = course->stretch->n - group->first;
	if (group->n > 0)
		course->n_groups++;
}

/* What an epoch visits of each group. */
static void
share_visits(Course *course, double temperature)
{
	double		moments = 0;
	double		shares = 0;

	for (int g = 0; g < course->n_groups; g++)
	{
		moments += course->group[g].moments;
		shares += pow(course->group[g].moments, 1 / temperature);
	}
	for (int g = 0; g < course->n_groups; g++)
	{
		CourseGroup	   *group = &course->group[g];
		double		wanted = pow(group->moments, 1 / temperature) / shares * moments;

		group->visits = Max(1, (int64) (group->n * (wanted / group->moments) + 0.5));
	}
}

Course *
course_make(const Dataset *data, const Moments *moments, int splits, uint32 tasks, int most,
		  double temperature, MemoryContext context)
{
	Course	   *course = MemoryContextAllocZero(context, sizeof(Course));
	uint32		sources = 0;

	course->data = data;
	course->stretch = column_add(data->store, sizeof(Stretch), NULL);
	for (int t = 0; t < data->model->n_tasks; t++)
		if (tasks & (uint32) 1 << t)
			sources |= task_from_events(&data->model->task[t]) ? 1 : (uint32) 1 << (t + 1);
	if (temperature == 1)
		add_group(course, moments, splits, sources, most);
	else
	{
		for (int s = 0; s <= data->model->n_tasks; s++)
			if (sources & (uint32) 1 << s)
				add_group(course, moments, splits, (uint32) 1 << s, most);
		share_visits(course, temperature);
	}
	column_finish(course->stretch);
	job_spilled(column_memory_spilled(data->memory));
	for (int g = 0; g < course->n_groups; g++)
		course->visits += course->group[g].visits;
	return course;
}

void
course_free(Course *course)
{
	column_free(course->stretch);
	pfree(course);
}

int64
course_begin(Course *course, uint64 *random)
{
	course->order = shuffle_make(course->visits, random);
	for (int g = 0; g < course->n_groups; g++)
		if (course->group[g].visits != course->group[g].n)
			course->group[g].order = shuffle_make(course->group[g].n, random);
	return course->visits;
}

Stretch
course_visit(const Course *course, int64 i)
{
	const CourseGroup *group = course->group;
	int64		at = shuffle_at(&course->order, i);

	for (; at >= group->visits; group++)
		at -= group->visits;
	if (group->visits != group->n)
		at = shuffle_at(&group->order, at % group->n);
	return ((const Stretch *) course->stretch->data)[group->first + at];
}

const Stretch *
course_stretches(const Course *course, int64 *n)
{
	*n = course->stretch->n;
	return course->stretch->data;
}

int64
course_moments(const Course *course)
{
	double		moments = 0;

	for (int g = 0; g < course->n_groups; g++)
		moments += (double) course->group[g].moments / course->group[g].n * course->group[g].visits;
	return (int64) (moments + 0.5);
}
