/*-------------------------------------------------------------------------
 *
 * reading.c
 *	  A user's window, profile and items, read from the model's relations
 *
 *-------------------------------------------------------------------------
 */
#include "serve/session.h"

#include "access/stratnum.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

/* ------------------------------------------------------------------------
 * Events
 * ------------------------------------------------------------------------ */

bool
read_event(EventItems *items, RowReader *reader, const Datum *values, const bool *isnull,
		   TimestampTz now)
{
	EventRow   *row = &items->session->row;
	int			key = reader->item_key - 1;

	if (isnull[reader->time - 1])
		return false;
	row->time = row_time(reader, values[reader->time - 1]);
	if (TIMESTAMP_NOT_FINITE(row->time) || row->time >= now)
		return false;
	row_encode(reader, NN_ITEM, 1, values, isnull, row->n[0], row->id[0]);
	row_encode(reader, NN_PROPERTY, 0, values, isnull, row->n[1], row->id[1]);
	row->item = -1;
	items_add(items, &reader->item_key_type,
			  cell_from_datum(&reader->item_key_type, values[key], isnull[key]), values[key]);
	event_table_append(items->table, reader->set, row);
	return true;
}

typedef struct WindowReceiver
{
	RowReceiver receiver;
	EventItems *items;
	TimestampTz now;
	MemoryContext memory;		/* of texts */
	EventText  *texts;			/* or NULL */
	int64		room;
} WindowReceiver;

/* The row as text. */
static void
keep_text(WindowReceiver *window, const Datum *values, const bool *isnull)
{
	const RowReader *reader = window->receiver.reader;
	EventTable *table = window->items->table;
	int			behavior = reader->set->types > 1 ? reader->column[NN_PROPERTY][0].attnum : 0;
	int64		row = table->n - 1;
	MemoryContext caller = MemoryContextSwitchTo(window->memory);

	if (row == window->room)
	{
		window->room *= 2;
		window->texts = array_resize(window->texts, window->room, sizeof(EventText), window->memory);
	}
	window->texts[row] = (EventText) {.time = table->time[row]};
	if (!isnull[reader->item_key - 1])
		window->texts[row].item = key_to_text(values[reader->item_key - 1], reader->item_key_type.type);
	if (behavior > 0 && !isnull[behavior - 1])
		window->texts[row].behavior = key_to_text(values[behavior - 1],
												  reader->column[NN_PROPERTY][0].type.type);
	MemoryContextSwitchTo(caller);
}

static void
take_event(RowReceiver *receiver, const Datum *values, const bool *isnull)
{
	WindowReceiver *window = (WindowReceiver *) receiver;

	if (read_event(window->items, receiver->reader, values, isnull, window->now) && window->texts)
		keep_text(window, values, isnull);
}

static void
read_window(Session *session, Sources *sources, Datum user, TimestampTz now, bool spare,
			EventText **texts, MemoryContext memory)
{
	const FeatureSet *set = &session->image->set;
	EventTable *table = session->events;
	Reading    *reading = spare ? &sources->spare : &sources->window;
	WindowReceiver window = {.receiver.session = session,.receiver.reading = reading,
		.receiver.relation = sources->relations.events,.receiver.take = take_event,
	.items = &session->items,.now = now,.memory = memory};
	Datum		arguments[2];

	if (reading->plan == NULL)
	{
		Oid			types[] = {getBaseType(sources->user_type), getBaseType(sources->time_type)};

		reading_prepare(reading,
						window_query(set, &sources->relations, sources->user_type, sources->time_type,
									 set->max_events + spare),
						sources->relation[0], 2, types);
	}
	arguments[0] = user;
	arguments[1] = time_parameter(set, sources->time_type, now);
	if (texts)
	{
		window.room = set->max_events + 1;
		window.texts = array_resize(NULL, window.room, sizeof(EventText), memory);
	}

	event_table_reset(table);
	items_begin(&session->items, session, sources, table, true, false);
	reading_run(&window.receiver, arguments);
	items_finish(&session->items);
	for (int64 row = 0; texts && row < table->n; row++)
	{
		window.texts[row].place = table->item[row];
		table->item[row] = (int32) row;
	}
	event_table_sort(table, set, 0, table->n, 0, false);
	session->start = event_window(table, set, 0, table->n, now, &session->n);
	session->now = now;
	if (texts)
		*texts = window.texts;
}

/* ------------------------------------------------------------------------
 * Profile
 * ------------------------------------------------------------------------ */

/* Nothing known: every profile feature is missing. */
static void
empty_profile(Session *session)
{
	const FeatureSet *set = &session->image->set;

	for (int f = 0; f < set->n[NN_PROFILE]; f++)
	{
		session->profile.n[f] = set->f[NN_PROFILE][f].multi ? 0 : 1;
		session->profile.id[f][0] = ID_MISSING;
	}
}

bool
has_source(const FeatureSet *set, nn_group group, FeatureSource source)
{
	for (int f = 0; f < set->n[group]; f++)
		if (set->f[group][f].source == source)
			return true;
	return false;
}

typedef struct ProfileReceiver
{
	RowReceiver receiver;
	IdRow	   *profile;
} ProfileReceiver;

static void
take_profile(RowReceiver *receiver, const Datum *values, const bool *isnull)
{
	IdRow	   *profile = ((ProfileReceiver *) receiver)->profile;

	row_encode(receiver->reader, NN_PROFILE, 0, values, isnull, profile->n, profile->id);
}

/* With SPI connected. */
static void
read_profile_row(Session *session, Sources *sources, Datum user, Oid user_type)
{
	ProfileReceiver row = {.receiver.session = session,.receiver.reading = &sources->profile,
		.receiver.relation = sources->relations.profile,.receiver.take = take_profile,
	.profile = &session->profile};
	Datum		key;

	empty_profile(session);
	if (!has_source(&session->image->set, NN_PROFILE, FROM_PROFILE) ||
		!convert_key(user, user_type, sources->profile_key_type, &key))
		return;
	if (sources->profile.plan == NULL)
	{
		Oid			type = getBaseType(sources->profile_key_type);

		reading_prepare(&sources->profile,
						profile_query(&session->image->set, &sources->relations, true),
						sources->relation[2], 1, &type);
	}
	reading_run(&row.receiver, &key);
}

void
read_profile(Session *session, const Model *model, Datum user, Oid user_type)
{
	Sources    *sources = session_sources(session, model);

	spi_connect();
	read_profile_row(session, sources, user, user_type);
	SPI_finish();
}

void
read_user(Session *session, const AskedUser *asked, EventText **texts)
{
	Sources    *sources = session_sources(session, asked->model);
	Oid			user_type = sources->user_type;
	Datum		user = id_argument(asked->user, asked->type, user_type, "user",
								   sources->relations.user_column);
	MemoryContext memory = CurrentMemoryContext;

	context_encode(&session->image->set, asked->context, &session->context);
	spi_connect();
	read_profile_row(session, sources, user, user_type);
	read_window(session, sources, user, asked->now, asked->spare, texts, memory);
	SPI_finish();
}

/* ------------------------------------------------------------------------
 * Items to recommend
 * ------------------------------------------------------------------------ */

typedef struct ItemReceiver
{
	RowReceiver receiver;
	const Catalogue *catalogue;
	TimestampTz now;
	bool	   *mark;			/* per item of the catalogue */
} ItemReceiver;

static int32
item_of(const ItemReceiver *items, const Datum *values, const bool *isnull)
{
	RowReader  *reader = items->receiver.reader;
	int			key = reader->item_key - 1;

	return isnull[key] ? -1 :
		catalogue_find(items->catalogue, cell_from_datum(&reader->item_key_type, values[key], false));
}

static void
take_seen(RowReceiver *receiver, const Datum *values, const bool *isnull)
{
	ItemReceiver *seen = (ItemReceiver *) receiver;
	int			time = receiver->reader->time - 1;
	int32		item = item_of(seen, values, isnull);

	/* the query's own cut is coarse for columns without a zone */
	if (item >= 0 && !isnull[time] && row_time(receiver->reader, values[time]) < seen->now)
		seen->mark[item] = true;
}

void
read_seen(Session *session, const AskedUser *asked, bool *seen)
{
	Sources    *sources = session_sources(session, asked->model);
	const Relations *relations = &sources->relations;
	ItemReceiver receiver = {.receiver.session = session,.receiver.reading = &sources->seen,
		.receiver.relation = relations->events,.receiver.take = take_seen,
	.catalogue = &session->image->catalogue,.now = asked->now,.mark = seen};
	Datum		arguments[2];

	spi_connect();
	if (sources->seen.plan == NULL)
	{
		Oid			types[] = {getBaseType(sources->user_type), getBaseType(sources->time_type)};
		StringInfoData sql;

		initStringInfo(&sql);
		appendStringInfo(&sql, "SELECT e.%s, e.%s FROM %s e WHERE ", quote_identifier(relations->item_key),
						 quote_identifier(relations->time_column), relations->events);
		append_operator(&sql, psprintf("e.%s", quote_identifier(relations->user_column)),
						sources->user_type, BTEqualStrategyNumber, "$1");
		appendStringInfoString(&sql, " AND ");
		append_operator(&sql, psprintf("e.%s", quote_identifier(relations->time_column)),
						sources->time_type, BTLessStrategyNumber, "$2");
		reading_prepare(&sources->seen, sql.data, sources->relation[0], 2, types);
	}
	arguments[0] = id_argument(asked->user, asked->type, sources->user_type, "user", relations->user_column);
	arguments[1] = time_parameter(&session->image->set, sources->time_type, asked->now);
	reading_run(&receiver.receiver, arguments);
	SPI_finish();
}

static void
take_visible(RowReceiver *receiver, const Datum *values, const bool *isnull)
{
	ItemReceiver *visible = (ItemReceiver *) receiver;
	int32		item = item_of(visible, values, isnull);

	if (item >= 0)
		visible->mark[item] = true;
}

void
read_visible(Session *session, const Model *model, const int32 *item, int n, bool *visible)
{
	const Catalogue *catalogue = &session->image->catalogue;
	Sources    *sources = session_sources(session, model);
	const Relations *relations = &sources->relations;
	ItemReceiver receiver = {.receiver.session = session,.receiver.reading = &sources->visible,
		.receiver.relation = relations->catalog,.receiver.take = take_visible,
	.catalogue = catalogue,.mark = visible};
	Datum	   *keys;
	Datum		argument;
	Oid			key_type;
	int16		length;
	bool		by_value;
	char		align;
	int			n_keys = 0;

	if (relations->catalog == NULL || n == 0)
		return;
	spi_connect();
	key_type = getBaseType(sources->catalog_key_type);
	if (sources->visible.plan == NULL)
	{
		Oid			array = get_array_type(key_type);
		StringInfoData sql;

		initStringInfo(&sql);
		appendStringInfo(&sql, "SELECT c.%s FROM %s c WHERE ", quote_identifier(relations->catalog_key),
						 relations->catalog);
		append_operator(&sql, psprintf("c.%s", quote_identifier(relations->catalog_key)),
						sources->catalog_key_type, BTEqualStrategyNumber, "ANY ($1)");
		reading_prepare(&sources->visible, sql.data, sources->relation[1], 1, &array);
	}

	keys = palloc(sizeof(Datum) * n);
	for (int i = 0; i < n; i++)
	{
		int64		begin = catalogue->text_offsets[item[i]];
		char	   *text = pnstrdup(catalogue->text + begin, catalogue->text_offsets[item[i] + 1] - begin);

		if (key_from_text(text, key_type, &keys[n_keys]))
			n_keys++;
		visible[item[i]] = false;
	}
	get_typlenbyvalalign(key_type, &length, &by_value, &align);
	argument = PointerGetDatum(construct_array(keys, n_keys, key_type, length, by_value, align));
	reading_run(&receiver.receiver, &argument);
	SPI_finish();
}
