/*-------------------------------------------------------------------------
 *
 * neighbours.h
 *	  S of the memory term: which items mostly come after which
 *
 *	n_j = log(1 + sum over the window's latest NEIGHBOUR_EVENTS events t of
 *				  exp(memory.lag[lag_t]) S[i_t, j])		see head_next.c
 *
 *-------------------------------------------------------------------------
 */
#ifndef DUPN_NEIGHBOURS_H
#define DUPN_NEIGHBOURS_H

#include "features/window.h"

#define NEIGHBOUR_EVENTS	50
#define MOST_NEIGHBOURS		100 /* of an item */

/*
 * A sparse matrix [J, J].  Rows may lie in any order and with gaps between them,
 * so that a version changes some rows of another and leaves the bytes of all
 * others where they are.
 */
typedef struct Neighbours
{
	int64		n;				/* entries, those of gaps included */
	const int64 *begin;			/* [J] of rows; NULL: there is none */
	const int32 *length;		/* [J] */
	const int32 *items;			/* [n] ascending within a row */
	const float *values;		/* [n] above 0 */
} Neighbours;

/* An event of the window that is looked at. */
typedef struct NeighbourEvent
{
	int32		item;			/* catalogue index */
	int32		lag;			/* lag_bucket */
} NeighbourEvent;

/*
 * The latest events of the window, rows [start, start + n), whose items are in
 * the catalogue, newest first; returns how many.
 */
extern int	neighbour_events(const EventTable *table, int64 start, int n,
							 NeighbourEvent events[NEIGHBOUR_EVENTS]);

/* Where `item` is in row `of`, -1: nowhere. */
extern int64 neighbours_find(const Neighbours *neighbours, int32 of, int32 item);

#endif							/* DUPN_NEIGHBOURS_H */
