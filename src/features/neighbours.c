/*-------------------------------------------------------------------------
 *
 * neighbours.c
 *	  S of the memory term: which items mostly come after which
 *
 *-------------------------------------------------------------------------
 */
#include "features/neighbours.h"

int
neighbour_events(const EventTable *table, int64 start, int n, NeighbourEvent events[NEIGHBOUR_EVENTS])
{
	int64		last = start + n - 1;
	int			found = 0;

	for (int64 row = last; row >= Max(start, last - NEIGHBOUR_EVENTS + 1); row--)
		if (table->item[row] >= 0)
			events[found++] = (NeighbourEvent) {table->item[row], lag_bucket((int) (last - row))};
	return found;
}

int64
neighbours_find(const Neighbours *neighbours, int32 of, int32 item)
{
	int64		low = neighbours->begin[of];
	int64		high = low + neighbours->length[of];
	int64		end = high;

	while (low < high)
	{
		int64		middle = low + (high - low) / 2;

		if (neighbours->items[middle] < item)
			low = middle + 1;
		else
			high = middle;
	}
	return low < end && neighbours->items[low] == item ? low : -1;
}
