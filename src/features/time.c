/*-------------------------------------------------------------------------
 *
 * time.c
 *	  Features derived from the time column (NETWORK.md, Inputs)
 *
 *-------------------------------------------------------------------------
 */
#include "features/feature.h"

#include "miscadmin.h"
#include "pgtime.h"
#include "utils/datetime.h"
#include "utils/timestamp.h"

/* upper bounds of all buckets but the last */
static const int64 bucket_bound[TIME_BUCKETS - 1] = {
	5 * USECS_PER_MINUTE,
	15 * USECS_PER_MINUTE,
	30 * USECS_PER_MINUTE,
	USECS_PER_HOUR,
	4 * USECS_PER_HOUR,
	9 * USECS_PER_HOUR,
	USECS_PER_DAY,
	2 * USECS_PER_DAY,
	7 * USECS_PER_DAY,
	30 * USECS_PER_DAY,
	90 * USECS_PER_DAY,
	365 * USECS_PER_DAY
};

int
time_bucket(int64 microseconds)
{
	int			bucket = 0;

	while (bucket < TIME_BUCKETS - 1 && microseconds > bucket_bound[bucket])
		bucket++;
	return bucket;
}

/* 0, 1, 2, 3, 4, 5-7, 8-15, 16 and more */
int
lag_bucket(int events_after)
{
	if (events_after < 5)
		return Max(events_after, 0);
	return events_after < 8 ? 5 : events_after < 16 ? 6 : 7;
}

/* 0, 1, 2-3, 4-7, .. 128 and more */
int
count_bucket(int n)
{
	int			bucket = 0;

	while (n > 0 && bucket < COUNT_BUCKETS - 1)
	{
		bucket++;
		n >>= 1;
	}
	return bucket;
}

int
position_bucket(int64 position)
{
	if (position < 10)
		return position < 0 ? -1 : (int) position;
	return position < 16 ? 10 : position < 32 ? 11 : position < 64 ? 12 : 13;
}

int32
gap_id(TimestampTz time, TimestampTz previous, bool has_previous)
{
	return has_previous ? ID_FIRST + time_bucket(time - previous) : ID_MISSING;
}

/* The part of the day (from 0, 6, 12, 18 o'clock) and workday or weekend. */
int
daypart_ids(TimestampTz time, struct pg_tz *tz, int32 ids[2])
{
	pg_time_t	seconds = timestamptz_to_time_t(time);
	struct pg_tm *tm = pg_localtime(&seconds, tz);

	if (tm == NULL)
		return 0;
	ids[0] = ID_FIRST + tm->tm_hour / 6;
	ids[1] = ID_FIRST + 4 + (tm->tm_wday == 0 || tm->tm_wday == 6);
	return 2;
}

char *
time_text(TimestampTz time)
{
	char	   *text = palloc(MAXDATELEN + 1);
	struct pg_tm tm;
	fsec_t		fsec;

	if (timestamp2tm(time, NULL, &tm, &fsec, NULL, NULL) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("timestamp out of range")));
	tm.tm_isdst = 0;			/* that the zone is known */
	EncodeDateTime(&tm, fsec, true, 0, NULL, USE_ISO_DATES, text);
	return text;
}
