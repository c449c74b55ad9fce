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

/* A sparse matrix [J, J] by rows. */
typedef struct Neighbours
{
	const int64 *offsets;		/* [J + 1]; NULL: there is none */
	const int32 *items;			/* ascending within a row */
	const float *values;		/* above 0 */
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
