-- A shop with a known truth.  psql -v shop=SCHEMA -f simulator.sql
-- creates the schema (default "shop") with its tables and
--
--	CALL shop.simulate(users, days, seed [, items [, chunk]]);	a new world
--	CALL shop.simulate_day([users [, chunk]]);					one more day of it
--
-- Every draw is a hash of (seed, entity, purpose): a user's data depend on the
-- seed and the items, not on other users, on the size of a chunk, or on where
-- a run was cut.  Days are simulated in order, each in chunks of users with a
-- COMMIT after each, so memory is bounded by the chunk, and an interrupted
-- simulate_day goes on where it stopped when called again.

\if :{?shop}
\else
\set shop shop
\endif
SET client_min_messages = warning;
CREATE SCHEMA :"shop";
SET search_path = :"shop";

\ir parameters.sql

-- What a shop has ---------------------------------------------------------

CREATE TABLE products (
	id			bigint PRIMARY KEY,
	shop_id		bigint NOT NULL,
	category_id	bigint NOT NULL,
	brand_id	bigint NOT NULL,
	tags		int[] NOT NULL,			-- styles 1.., and of the category 100..
	price		numeric(10,2) NOT NULL,
	name		text NOT NULL,
	rating		real NOT NULL,
	sales		int NOT NULL,			-- a week, when it was listed
	born		timestamptz NOT NULL
);

CREATE TABLE customers (
	id			bigint PRIMARY KEY,
	age_band	text,
	gender		text,
	city		text,					-- unrelated to anything
	joined_at	timestamptz NOT NULL
);

CREATE TABLE events (
	user_id			bigint NOT NULL,
	item_id			bigint NOT NULL,
	action			text NOT NULL,		-- click, fav, cart, buy
	scenario		text NOT NULL,		-- search, home, recommend, campaign
	query_category	bigint,				-- of the query that led here
	price			numeric(10,2) NOT NULL,
	occurred_at		timestamptz NOT NULL
);

CREATE TABLE impressions (
	id				bigint NOT NULL,
	user_id			bigint NOT NULL,
	item_id			bigint NOT NULL,
	shown_at		timestamptz NOT NULL,
	position		int NOT NULL,		-- 0 is the first
	query_category	bigint,
	sales			int NOT NULL,		-- as known on that day
	rating			real NOT NULL,
	ctr				real NOT NULL,
	clicked			boolean NOT NULL,
	bought			boolean NOT NULL
);

CREATE TABLE campaigns (
	id				bigint PRIMARY KEY,
	campaign_type	text NOT NULL,
	category_id		bigint NOT NULL,
	discount		real NOT NULL,
	starts_at		timestamptz NOT NULL
);

CREATE TABLE campaign_mailings (
	user_id			bigint NOT NULL,
	campaign_id		bigint NOT NULL,
	sent_at			timestamptz NOT NULL,
	redeemed		boolean NOT NULL	-- the same day or never
);

CREATE INDEX events_user_time ON events (user_id, occurred_at);
CREATE INDEX impressions_user_time ON impressions (user_id, shown_at);
CREATE INDEX campaign_mailings_user_time ON campaign_mailings (user_id, sent_at);

-- What a shop does not have: the truth ------------------------------------

CREATE TABLE truth_world (
	seed		bigint NOT NULL,
	users		bigint NOT NULL,
	days		int NOT NULL,			-- days done
	next_user	bigint NOT NULL			-- of the day under way; 0 before its preparation
);

CREATE TABLE truth_categories (
	category_id	int PRIMARY KEY,
	durable		boolean NOT NULL,
	period		int NOT NULL,			-- days a consumable lasts
	accessory_id int,					-- category wanted after a purchase
	price		float8 NOT NULL,		-- median
	spread		float8 NOT NULL
);

CREATE TABLE truth_items (
	item_id		bigint PRIMARY KEY,
	category_id	int NOT NULL,
	brand_id	int NOT NULL,
	shop_id		int NOT NULL,
	style_a		int NOT NULL,
	style_b		int NOT NULL,
	quality		float8 NOT NULL,
	price_level	float8 NOT NULL,		-- log price in spreads from the category's median
	appeal		float8 NOT NULL,		-- popularity without trend and novelty
	trend_days	float8 NOT NULL,
	trend_phase	float8 NOT NULL,
	born_on		int NOT NULL
);

CREATE TABLE truth_users (
	user_id		bigint PRIMARY KEY,
	hash		bigint NOT NULL,
	joined_on	int NOT NULL,
	age			int NOT NULL,			-- 0, 1, 2
	gender		int NOT NULL,			-- 0, 1
	activity	float8 NOT NULL,
	patience	float8 NOT NULL,
	taste		float8 NOT NULL,		-- price level liked best
	style_a		int NOT NULL,
	style_b		int NOT NULL,
	loyalty		float8 NOT NULL,
	thrift		float8 NOT NULL,
	eagerness	float8 NOT NULL
);

-- Needs that are open now; they are made by chance and by the user's own
-- behaviour, and end by purchase or by time.
CREATE TABLE truth_needs (
	user_id		bigint NOT NULL,
	kind		text NOT NULL,			-- hunt, cart, fav, accessory, repeat, sated
	category_id	int NOT NULL,
	brand_id	int,					-- the brand it is after
	item_id		bigint,					-- or the very item
	weight		float8 NOT NULL,
	starts_on	int NOT NULL,
	ends_on		int NOT NULL
);
CREATE INDEX truth_needs_user ON truth_needs (user_id);

-- A visitor's interests on a day, strongest first.
CREATE TABLE truth_daily (
	user_id		bigint NOT NULL,
	day			int NOT NULL,
	categories	int[] NOT NULL,
	weights		real[] NOT NULL
);

CREATE TABLE truth_impressions (
	id			bigint NOT NULL,		-- impressions.id
	probability	real NOT NULL			-- of the click
);

CREATE TABLE truth_mailings (
	user_id		bigint NOT NULL,
	campaign_id	bigint NOT NULL,
	probability	real NOT NULL			-- of the redemption
);

-- Today's shelves: the items of each category by popularity.  Derived.
CREATE UNLOGGED TABLE shelf (
	category_id	int NOT NULL,
	rank		int NOT NULL,			-- 1 is the most popular
	item_id		bigint NOT NULL,
	brand_id	int NOT NULL,
	shop_id		int NOT NULL,
	style_a		int NOT NULL,
	style_b		int NOT NULL,
	quality		float8 NOT NULL,
	price_level	float8 NOT NULL,
	price		numeric(10,2) NOT NULL,
	sales		int NOT NULL,
	rating		real NOT NULL,
	ctr			real NOT NULL
);

-- Chance ------------------------------------------------------------------
-- hashint8extended folds its key to 32 bits but keeps 64 of its seed, so keys
-- are chained through the seed.  These are inlined: no SET, not STRICT; and
-- all in float8, since a numeric constant would drag each draw through numeric.

CREATE FUNCTION draw(hash bigint, purpose text) RETURNS float8
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT (((hashtextextended(purpose, hash) >> 12) & 4503599627370495)::float8 + 0.5::float8) / 4503599627370496::float8 $$;
COMMENT ON FUNCTION draw IS 'uniform in (0, 1)';

CREATE FUNCTION gauss(hash bigint, purpose text) RETURNS float8
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT sqrt(-2 * ln(((hashtextextended(purpose, hash) & 4294967295)::float8 + 0.5::float8) / 4294967296::float8))
	* cos(2 * pi() * (((hashtextextended(purpose, hash) >> 32) & 4294967295)::float8 / 4294967296::float8)) $$;
COMMENT ON FUNCTION gauss IS 'standard normal (Box and Muller, from the halves of one hash)';

CREATE FUNCTION sigmoid(x float8) RETURNS float8
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT 1 / (1 + exp(-x)) $$;

-- A group of customers (1 to 6; 0 is everybody) has its own order of the
-- categories; the density falls as the square root of the rank.
CREATE FUNCTION pick_category(u float8, customer_group int, categories int) RETURNS int
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT 1 + (floor(categories * u * u)::int * 5 + customer_group * 6) % categories $$;

CREATE FUNCTION brand_of(category int, place int, brands int) RETURNS int
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT 1 + (category * 5 + place * 3) % brands $$;

CREATE FUNCTION shop_of(category int, place int, shops int) RETURNS int
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT 1 + (category * 3 + place * 7) % shops $$;

-- The parts of a day ------------------------------------------------------

-- Items "first" to "last", born on the day (on day 0: before it).
CREATE FUNCTION make_items(day int, first bigint, last bigint) RETURNS void
LANGUAGE plpgsql
SET search_path FROM CURRENT
SET timezone = 'UTC'
AS $$
DECLARE
	p		truth_parameters;
	root	bigint := (SELECT hashtextextended('items', seed) FROM truth_world);
	brands	bigint := (SELECT hashtextextended('brands', seed) FROM truth_world);
BEGIN
	SELECT * INTO p FROM truth_parameters;
	WITH raw AS (
		SELECT id, h, 1 + floor(p.categories * draw(h, 'category') ^ 1.3)::int AS category_id
		  FROM (SELECT id, hashint8extended(id, root) AS h
				  FROM generate_series(first, last) AS id) AS ids
	), placed AS (
		SELECT *,
			   brand_of(category_id, floor(p.brands_in_category * draw(h, 'brand') ^ 1.5)::int, p.brands) AS brand_id,
			   shop_of(category_id, floor(p.shops_in_category * draw(h, 'shop') ^ 1.5)::int, p.shops) AS shop_id,
			   gauss(h, 'quality') AS quality
		  FROM raw
	)
	INSERT INTO truth_items
	SELECT id, category_id, brand_id, shop_id,
		   1 + (brand_id + floor(3 * draw(h, 'style a'))::int) % p.styles,	-- a brand has three styles
		   1 + floor(p.styles * draw(h, 'style b'))::int,
		   quality,
		   0.6 * gauss(hashint8extended(brand_id, brands), 'premium') + 0.8 * gauss(h, 'price'),
		   p.popularity_spread * gauss(h, 'appeal') + p.popularity_quality * quality,
		   20 + 40 * draw(h, 'trend days'), draw(h, 'trend phase'), day
	  FROM placed;

	INSERT INTO products
	SELECT i.item_id, i.shop_id, i.category_id, i.brand_id,
		   CASE WHEN i.style_a = i.style_b THEN ARRAY[i.style_a] ELSE ARRAY[i.style_a, i.style_b] END
		   || 100 + i.category_id * 10 + floor(10 * draw(h, 'tag'))::int,
		   round((c.price * exp(c.spread * i.price_level))::numeric, 2),
		   format('%s %s of brand %s', CASE WHEN c.durable THEN 'Durable' ELSE 'Consumable' END, i.item_id, i.brand_id),
		   round(least(5, greatest(1, 3.6 + 0.5 * i.quality + 0.3 * gauss(h, 'rating')))::numeric, 1),
		   round(exp(3 + i.appeal + 0.3 * gauss(h, 'sales'))),
		   p.start_at + day * interval '1 day' - CASE WHEN day = 0 THEN draw(h, 'born') * interval '300 days' ELSE interval '0' END
	  FROM (SELECT *, hashint8extended(item_id, root) AS h
			  FROM truth_items WHERE item_id BETWEEN first AND last) AS i
	  JOIN truth_categories c USING (category_id);
END $$;

-- The shelves, the campaign and, before them, the new items of a day.
CREATE FUNCTION open_day(day int) RETURNS void
LANGUAGE plpgsql
SET search_path FROM CURRENT
SET timezone = 'UTC'
AS $$
DECLARE
	p		truth_parameters;
	h		bigint := (SELECT hashint8extended(day, hashtextextended('days', seed)) FROM truth_world);
	last	bigint := (SELECT max(item_id) FROM truth_items);
BEGIN
	SELECT * INTO p FROM truth_parameters;
	IF day > 0 THEN
		PERFORM make_items(day, last + 1, last + p.items_per_day);
	END IF;

	TRUNCATE shelf;
	INSERT INTO shelf
	SELECT i.category_id, row_number() OVER (PARTITION BY i.category_id ORDER BY popularity DESC, i.item_id),
		   i.item_id, i.brand_id, i.shop_id, i.style_a, i.style_b, i.quality, i.price_level,
		   r.price, round(exp(3 + popularity)), r.rating,
		   round(sigmoid(-1.8 + 0.4 * i.quality + 0.2 * gauss(hashint8extended(i.item_id, h), 'ctr'))::numeric, 4)
	  FROM (SELECT *, appeal + p.trend_size * sin(2 * pi() * (day / trend_days + trend_phase))
					+ CASE WHEN born_on > 0 THEN p.novelty_size * exp((born_on - day) / p.novelty_days) ELSE 0 END AS popularity
			  FROM truth_items OFFSET 0) AS i
	  JOIN products r ON r.id = i.item_id;
	ANALYZE shelf;

	IF day % p.campaign_every = p.campaign_every - 1 THEN
		INSERT INTO campaigns
		VALUES (1 + day / p.campaign_every, (ARRAY['A', 'B', 'C'])[1 + floor(3 * draw(h, 'type'))::int],
				pick_category(draw(h, 'category'), 0, p.categories),
				round((0.1 + 0.3 * draw(h, 'discount'))::numeric, 2),
				p.start_at + day * interval '1 day');
	END IF;
END $$;

-- Users who are new on a day.  One beyond the earlier population who "should"
-- have joined before joins now.
CREATE FUNCTION make_users(day int, first bigint, last bigint) RETURNS void
LANGUAGE plpgsql
SET search_path FROM CURRENT
SET timezone = 'UTC'
AS $$
DECLARE
	p		truth_parameters;
	root	bigint := (SELECT hashtextextended('users', seed) FROM truth_world);
BEGIN
	SELECT * INTO p FROM truth_parameters;
	WITH raw AS (
		SELECT id, h, least(2, floor(3 * draw(h, 'age')))::int AS age, (draw(h, 'gender') < 0.5)::int AS gender
		  FROM (SELECT id, hashint8extended(id, root) AS h FROM generate_series(first, last) AS id) AS ids
		 WHERE CASE WHEN draw(h, 'joined') < p.share_joined THEN 0
					ELSE 1 + floor(-p.join_days * ln(draw(h, 'join delay'))) END <= day
		   AND NOT EXISTS (SELECT FROM truth_users WHERE user_id = id)
	), made AS (
		INSERT INTO truth_users
		SELECT id, h, day, age, gender,
			   p.activity_low + p.activity_range * draw(h, 'activity') ^ 1.5,
			   p.pages_mean * (0.5 + draw(h, 'patience')),
			   p.taste_spread * gauss(h, 'taste') + 0.4 * (age - 1),
			   1 + floor(p.styles * draw(h, 'style a'))::int,
			   1 + (gender * p.styles / 2 + floor(p.styles / 2 * draw(h, 'style b'))::int) % p.styles,
			   least(1, p.loyalty * (0.5 + draw(h, 'loyalty'))),
			   gauss(h, 'thrift'), p.click_eagerness * gauss(h, 'eagerness')
		  FROM raw
	)
	INSERT INTO customers
	SELECT id,
		   CASE WHEN draw(h, 'age missing') >= p.profile_missing THEN
			   (ARRAY['18-29', '30-49', '50+'])[1 + CASE WHEN draw(h, 'age wrong') < p.profile_wrong THEN (age + 1) % 3 ELSE age END] END,
		   CASE WHEN draw(h, 'gender missing') >= p.profile_missing THEN
			   (ARRAY['f', 'm'])[1 + CASE WHEN draw(h, 'gender wrong') < p.profile_wrong THEN 1 - gender ELSE gender END] END,
		   CASE WHEN draw(h, 'city missing') >= p.profile_missing THEN
			   (ARRAY['north', 'east', 'south', 'west'])[1 + floor(4 * draw(h, 'city'))::int] END,
		   p.start_at + day * interval '1 day' - CASE WHEN day = 0 THEN draw(h, 'joined at') * interval '300 days' ELSE interval '0' END
	  FROM raw;
END $$;

-- What users care about on a day: four lasting interests that drift from
-- epoch to epoch, and the open needs.  The users come in order.  "rank" is where the need's very item
-- stands on its shelf today.
CREATE FUNCTION interests(day int, users bigint[])
RETURNS TABLE (user_id bigint, category_id int, weight float8, brand_id int, rank int)
LANGUAGE plpgsql STABLE
SET search_path FROM CURRENT
SET enable_nestloop = off
AS $$
#variable_conflict use_column
DECLARE
	p	truth_parameters;
BEGIN
	SELECT * INTO p FROM truth_parameters;
	RETURN QUERY
	WITH slots AS (
		SELECT *, p.epoch_days_low + p.epoch_days_range * draw(h, 'epoch') AS epoch_days
		  FROM (SELECT user_id, slot, customer_group, hashint8extended(slot, hash) AS h
				  FROM (SELECT user_id, hash, 1 + age * 2 + gender AS customer_group,
							   generate_series(1, array_length(p.slot_weights, 1)) AS slot
						  FROM truth_users JOIN unnest(users) AS w(user_id) USING (user_id)) AS u
				OFFSET 0) AS s
		OFFSET 0
	), epochs AS (
		SELECT *, hashint8extended(floor(day / epoch_days + draw(h, 'offset'))::bigint, h) AS he FROM slots
		OFFSET 0
	), parts AS (
		SELECT user_id,
			   pick_category(draw(he, 'category'), CASE WHEN draw(he, 'own') < p.own_group THEN customer_group ELSE 0 END,
							 p.categories) AS category_id,
			   p.slot_weights[slot] * (1 + 0.5 * sin(2 * pi() * (day / 30.0::float8 + draw(he, 'phase')))) AS weight,
			   NULL::int AS brand_id, NULL::int AS rank, false AS sated
		  FROM epochs
		 UNION ALL
		SELECT n.user_id, n.category_id, n.weight, n.brand_id, s.rank, n.kind = 'sated'
		  FROM truth_needs n
		  JOIN unnest(users) AS w(user_id) USING (user_id)
		  LEFT JOIN shelf s ON s.item_id = n.item_id
		 WHERE n.user_id BETWEEN users[1] AND users[array_length(users, 1)] AND day BETWEEN n.starts_on AND n.ends_on
	)
	-- rounded, for a sum of floats depends on its order
	SELECT user_id, category_id,
		   round((coalesce(sum(weight) FILTER (WHERE NOT sated), 0)
				  * CASE WHEN bool_or(sated) THEN p.sated_factor ELSE 1 END)::numeric, 6)::float8,
		   max(brand_id), max(rank)
	  FROM parts
	 GROUP BY user_id, category_id;
END $$;

-- The campaign of a day, if there is one: its mailings and redemptions.
CREATE FUNCTION mail(day int, first bigint, last bigint) RETURNS void
LANGUAGE plpgsql
SET search_path FROM CURRENT
SET enable_nestloop = off
SET jit = off
SET timezone = 'UTC'
AS $$
DECLARE
	p		truth_parameters;
	c		campaigns;
	size	int;					-- of the shelf
	users	bigint[];				-- who get it
BEGIN
	SELECT * INTO p FROM truth_parameters;
	SELECT * INTO c FROM campaigns WHERE starts_at = p.start_at + day * interval '1 day';
	IF NOT FOUND THEN
		RETURN;
	END IF;
	SELECT max(rank) INTO size FROM shelf WHERE category_id = c.category_id;
	SELECT array_agg(user_id ORDER BY user_id) INTO users
	  FROM truth_users
	 WHERE user_id BETWEEN first AND last AND draw(hashint8extended(day, hash), 'mailed') < p.campaign_share;

	WITH mailed AS MATERIALIZED (
		SELECT u.user_id, hashint8extended(c.id, hashtextextended('campaign', u.hash)) AS h,
			   sigmoid(p.redeem_base + p.redeem_thrift * u.thrift + p.redeem_discount * c.discount
					   + p.redeem_interest * ln(greatest(coalesce(i.weight, 0), p.explore_weight) / p.explore_weight)) AS probability
		  FROM truth_users u
		  JOIN unnest(users) AS w(user_id) USING (user_id)
		  LEFT JOIN interests(day, users) AS i ON i.user_id = u.user_id AND i.category_id = c.category_id
	), answered AS MATERIALIZED (
		SELECT *, draw(h, 'redeem') < probability AS redeemed FROM mailed
	), mailing AS (
		INSERT INTO campaign_mailings SELECT user_id, c.id, c.starts_at, redeemed FROM answered
	), truth AS (
		INSERT INTO truth_mailings SELECT user_id, c.id, probability FROM answered
	)
	INSERT INTO events
	SELECT a.user_id, s.item_id, 'buy', 'campaign', NULL, round(s.price * (1 - c.discount)::numeric, 2),
		   date_trunc('second', c.starts_at + (7 + 14 * draw(h, 'hour')) * interval '1 hour')
	  FROM (SELECT *, 1 + floor(exp(ln(size) * draw(h, 'rank')))::int AS rank
			  FROM answered WHERE redeemed) AS a
	  JOIN shelf s ON s.category_id = c.category_id AND s.rank = least(a.rank, size);
END $$;

-- The sessions of users "first" to "last" on a day.
CREATE FUNCTION visit(day int, first bigint, last bigint) RETURNS void
LANGUAGE plpgsql
SET search_path FROM CURRENT
SET enable_nestloop = off			-- the planner cannot know how many rows a chunk has
SET jit = off
SET work_mem = '64MB'
SET timezone = 'UTC'
AS $$
DECLARE
	p		truth_parameters;
	day_at	timestamptz;
	weekend	boolean;
	hours	int[];
	sizes	int[];					-- items on the shelf of each category
	users	bigint[];				-- who come today
BEGIN
	SELECT * INTO p FROM truth_parameters;
	day_at := p.start_at + day * interval '1 day';
	weekend := extract(isodow FROM day_at) >= 6;
	hours := CASE WHEN weekend THEN p.hours_weekend ELSE p.hours_workday END;
	SELECT array_agg(coalesce(n, 0) ORDER BY c) INTO sizes
	  FROM generate_series(1, p.categories) AS c
	  LEFT JOIN (SELECT category_id, max(rank) AS n FROM shelf GROUP BY category_id) AS s ON s.category_id = c;

	-- Old needs end and new hunts begin, also without a visit.
	DELETE FROM truth_needs WHERE user_id BETWEEN first AND last AND ends_on < day;
	INSERT INTO truth_needs
	SELECT user_id, 'hunt', c,
		   brand_of(c, floor(p.brands_in_category * draw(CASE WHEN draw(h, 'hunt loyal') < loyalty
								THEN hashint8extended(c, hash) ELSE h END, 'brand') ^ 1.5)::int, p.brands),
		   NULL, p.hunt_weight, day, day + p.hunt_days_low + floor(p.hunt_days_range * draw(h, 'hunt days'))::int
	  FROM (SELECT *, pick_category(draw(h, 'hunt category'),
									CASE WHEN draw(h, 'hunt own') < p.own_group THEN 1 + age * 2 + gender ELSE 0 END, p.categories) AS c
			  FROM (SELECT *, hashint8extended(day, hash) AS h
					  FROM truth_users WHERE user_id BETWEEN first AND last OFFSET 0) AS u
			 WHERE draw(h, 'hunt') < p.hunt_hazard OFFSET 0) AS hunts;

	SELECT array_agg(user_id ORDER BY user_id) INTO users
	  FROM truth_users
	 WHERE user_id BETWEEN first AND last
	   AND draw(hashint8extended(day, hash), 'visit') < activity * CASE WHEN weekend THEN p.weekend_factor ELSE 1 END;

	-- OFFSET 0 keeps the planner from merging the steps, which would evaluate
	-- an expression of one step again for every use in the next.
	WITH mind AS MATERIALIZED (
		SELECT user_id, array_agg(category_id ORDER BY weight DESC, category_id) AS categories,
			   array_agg(weight ORDER BY weight DESC, category_id) AS weights,
			   array_agg(heap ORDER BY weight DESC, category_id) AS heaps,
			   array_agg(brand_id ORDER BY weight DESC, category_id) AS brands,
			   array_agg(rank ORDER BY weight DESC, category_id) AS ranks,
			   max(heap) AS total
		  FROM (SELECT *, sum(weight) OVER (PARTITION BY user_id ORDER BY weight DESC, category_id
											ROWS UNBOUNDED PRECEDING) AS heap
				  FROM interests(day, users)) AS i
		 GROUP BY user_id
	), daily AS (
		INSERT INTO truth_daily
		SELECT user_id, day, categories, weights FROM mind
	), page AS (
		-- A session is a chain of pages; a segment of them has one intent.
		SELECT *, hashint8extended(page, hd) AS hp,
			   hashint8extended(sum((page > 0 AND draw(hashint8extended(page, hd), 'switch') < p.switch)::int)
								OVER (PARTITION BY user_id ORDER BY page), hashtextextended('segment', hd)) AS hs
		  FROM (SELECT *, generate_series(0, least(p.pages_most - 1, floor(-patience * ln(draw(hd, 'pages')))::int)) AS page
				  FROM (SELECT *, hashint8extended(day, hash) AS hd
						  FROM truth_users JOIN unnest(users) AS w(user_id) USING (user_id) OFFSET 0) AS u) AS s
		OFFSET 0
	), intent AS (
		SELECT user_id, hash, taste, style_a, style_b, eagerness, 1 + age * 2 + gender AS customer_group, loyalty,
			   categories, weights, page, hp, hs, brands[place] AS brand_wanted, ranks[place] AS rank_wanted,
			   coalesce(categories[place], pick_category(draw(hs, 'explore'), 0, p.categories)) AS category,
			   draw(hs, 'query') < p.query AS query, p.taste_noise * gauss(hs, 'price') AS taste_shift,
			   date_trunc('second', day_at + hours[1 + floor(array_length(hours, 1) * draw(hd, 'hour'))::int] * interval '1 hour'
						  + 1800 * draw(hd, 'minute') * interval '1 second'
						  + (page * p.page_seconds + 60 * draw(hp, 'second')) * interval '1 second') AS shown_at
		  FROM (SELECT *, 1 + width_bucket(draw(hs, 'intent') * (total + p.explore_weight), heaps) AS place
				  FROM page JOIN mind USING (user_id)
				OFFSET 0) AS u
		OFFSET 0
	), shown AS (
		SELECT *,
			   brand_of(category, floor(p.brands_in_category * draw(CASE WHEN draw(hs, 'loyal') < loyalty
									THEN hashint8extended(category, hash) ELSE hs END, 'brand') ^ 1.5)::int, p.brands) AS brand_usual,
			   rank_wanted IS NOT NULL AND draw(hp, 'resume') < p.resume AS resumes,
			   draw(hp, 'logged') < p.logged AS logged,
			   CASE WHEN draw(hp, 'order') < p.popular_first THEN 0 ELSE floor(p.page_items * draw(hp, 'rotate'))::int END AS turn,
			   CASE WHEN query THEN 'search' WHEN draw(hp, 'scenario') < 0.5 THEN 'home' ELSE 'recommend' END AS scenario
		  FROM intent
		OFFSET 0
	), candidate AS (
		-- Ranks follow a power law, one from each of page_items strata.
		SELECT *, resumes AND position = 0 AS is_wanted,
			   CASE WHEN resumes AND position = 0 THEN rank_wanted
					ELSE stratum + floor(exp(ln(greatest(sizes[shelf_id] - p.page_items, 1)) * (stratum + draw(hk, 'rank')) / p.page_items))::int
			   END AS rank
		  FROM (SELECT *, (position + turn) % p.page_items AS stratum,
					   CASE WHEN NOT query AND NOT (resumes AND position = 0) AND draw(hk, 'stray') < p.stray
							THEN pick_category(draw(hk, 'stray category'), customer_group, p.categories)
							ELSE category END AS shelf_id
				  FROM (SELECT *, hashint8extended(position, hp) AS hk
						  FROM (SELECT *, generate_series(0, p.page_items - 1) AS position FROM shown) AS a
						OFFSET 0) AS b
				OFFSET 0) AS c
		OFFSET 0
	), liked AS (
		SELECT c.*, s.item_id, s.brand_id, s.price, s.sales, s.rating, s.ctr,
			   p.like_interest * ln(greatest(coalesce(c.weights[array_position(c.categories, c.shelf_id)], 0), p.explore_weight) / 0.1)
			   + CASE WHEN s.brand_id = coalesce(c.brand_wanted, c.brand_usual) THEN p.like_brand ELSE 0 END
			   + CASE WHEN s.shop_id = shop_of(c.shelf_id, floor(p.shops_in_category
										* draw(hashint8extended(c.shelf_id, c.hash), 'shop') ^ 1.5)::int, p.shops)
					  THEN p.like_shop ELSE 0 END
			   + CASE WHEN c.style_a IN (s.style_a, s.style_b) OR c.style_b IN (s.style_a, s.style_b) THEN p.like_style ELSE 0 END
			   + p.like_quality * s.quality
			   - p.like_price * least(9, (s.price_level - c.taste - c.taste_shift) ^ 2)
			   + CASE WHEN c.is_wanted THEN p.like_resume ELSE 0 END AS liking
		  FROM candidate c
		  JOIN shelf s ON s.category_id = c.shelf_id AND s.rank = c.rank
		 WHERE c.is_wanted OR NOT (c.resumes AND c.shelf_id = c.category AND c.rank = c.rank_wanted)
		OFFSET 0
	), slate AS MATERIALIZED (
		SELECT user_id, item_id, brand_id, shelf_id, price, sales, rating, ctr, shown_at, position, scenario, logged, page,
			   hk, clicked, query_category, probability,
			   clicked AND draw(hk, 'fav') < sigmoid(p.fav_base + p.fav_liking * liking) AS fav,
			   carted,
			   clicked AND draw(hk, 'buy') < sigmoid(p.buy_base + p.buy_liking * liking
													 + CASE WHEN carted THEN p.buy_cart ELSE 0 END
													 + CASE WHEN is_wanted THEN p.buy_resume ELSE 0 END) AS bought
		  FROM (SELECT *, draw(hk, 'click') < probability AS clicked,
					   draw(hk, 'click') < probability AND draw(hk, 'cart') < sigmoid(p.cart_base + p.cart_liking * liking) AS carted
				  FROM (SELECT *, CASE WHEN query THEN category END AS query_category,
							   sigmoid(p.click_base + eagerness + liking - p.click_position * ln(1 + position)
									   + CASE WHEN query THEN p.click_query ELSE 0 END - p.click_fatigue * page) AS probability
						  FROM liked OFFSET 0) AS a
				OFFSET 0) AS b
		 WHERE logged OR clicked
	), seen AS (
		INSERT INTO impressions
		SELECT (user_id << 20) + (day << 7) + (page << 4) + position, user_id, item_id, shown_at, position,
			   query_category, sales, rating, ctr, clicked, bought
		  FROM slate WHERE logged
	), truth AS (
		INSERT INTO truth_impressions
		SELECT (user_id << 20) + (day << 7) + (page << 4) + position, probability
		  FROM slate WHERE logged
	), acted AS MATERIALIZED (
		SELECT *, shown_at + (4 + position * 9 + floor(5 * draw(hk, 'dwell'))) * interval '1 second' AS clicked_at
		  FROM slate WHERE clicked
	), done AS (
		INSERT INTO events
		SELECT user_id, item_id, action, scenario, query_category, price, at
		  FROM (SELECT *, 'click' AS action, clicked_at AS at FROM acted
				 UNION ALL SELECT *, 'fav', clicked_at + interval '15 seconds' FROM acted WHERE fav
				 UNION ALL SELECT *, 'cart', clicked_at + interval '40 seconds' FROM acted WHERE carted
				 UNION ALL SELECT *, 'buy', clicked_at + interval '75 seconds' FROM acted WHERE bought) AS e
		 ORDER BY user_id, at
	), bought AS (
		SELECT a.*, c.durable, c.period, c.accessory_id
		  FROM acted a JOIN truth_categories c ON c.category_id = a.shelf_id WHERE a.bought
	), met AS (
		-- A purchase ends the needs of its category ...
		DELETE FROM truth_needs n
		 USING (SELECT DISTINCT user_id, shelf_id FROM bought) AS b
		 WHERE n.user_id = b.user_id AND n.category_id = b.shelf_id AND n.user_id BETWEEN first AND last AND n.kind <> 'sated'
	)
	-- ... and what is done today makes tomorrow's.
	INSERT INTO truth_needs
	SELECT user_id, 'cart', shelf_id, brand_id, item_id, p.cart_weight, day + 1, day + 1 + floor(p.cart_days * draw(hk, 'days'))::int
	  FROM acted WHERE carted AND NOT bought
	 UNION ALL
	SELECT user_id, 'fav', shelf_id, brand_id, item_id, p.fav_weight, day + 1, day + 1 + floor(p.fav_days * draw(hk, 'days'))::int
	  FROM acted WHERE fav AND NOT bought
	 UNION ALL
	SELECT user_id, 'sated', shelf_id, NULL, NULL, 0, day + 1, day + p.sated_days
	  FROM bought WHERE durable
	 UNION ALL
	SELECT user_id, 'accessory', accessory_id, NULL, NULL, p.accessory_weight, day + 1, day + p.accessory_days
	  FROM bought WHERE accessory_id IS NOT NULL
	 UNION ALL
	SELECT user_id, 'repeat', shelf_id, brand_id, item_id, p.repeat_weight, due, due + p.repeat_days
	  FROM (SELECT *, day + round(period * (0.8 + 0.4 * draw(hk, 'period')))::int AS due FROM bought WHERE NOT durable) AS b;
END $$;

-- What is called ----------------------------------------------------------
-- A procedure that commits cannot have a SET clause, so these two carry the
-- schema's name in their text.

SELECT format($format$
CREATE PROCEDURE %1$I.simulate_day(new_users bigint DEFAULT NULL, chunk bigint DEFAULT 5000)
LANGUAGE plpgsql
AS $$
DECLARE
	w		%1$I.truth_world;
	today	int;
BEGIN
	IF chunk < 1 THEN
		RAISE EXCEPTION 'chunk must be at least 1' USING ERRCODE = 'invalid_parameter_value';
	END IF;
	SELECT * INTO w FROM %1$I.truth_world FOR UPDATE;
	IF w IS NULL THEN
		RAISE EXCEPTION 'there is no world yet' USING ERRCODE = 'object_not_in_prerequisite_state',
			HINT = 'Call simulate first.';
	END IF;
	IF w.days >= 8192 THEN
		RAISE EXCEPTION 'a world ends after 8192 days' USING ERRCODE = 'program_limit_exceeded';
	END IF;
	IF new_users IS NOT NULL AND new_users < w.users THEN
		RAISE EXCEPTION 'a population cannot shrink' USING ERRCODE = 'invalid_parameter_value',
			DETAIL = format('There are %%s users.', w.users);
	END IF;
	IF w.next_user = 0 THEN
		PERFORM %1$I.open_day(w.days);
		w.users := coalesce(new_users, w.users);
		w.next_user := 1;
		UPDATE %1$I.truth_world SET users = w.users, next_user = 1;
		COMMIT;
	END IF;
	today := w.days;
	LOOP
		-- Another session may be at work on the same day: each chunk is one's own.
		SELECT * INTO w FROM %1$I.truth_world FOR UPDATE;
		EXIT WHEN w.days <> today OR w.next_user > w.users;
		PERFORM %1$I.make_users(w.days, w.next_user, least(w.users, w.next_user + chunk - 1));
		PERFORM %1$I.mail(w.days, w.next_user, least(w.users, w.next_user + chunk - 1));
		PERFORM %1$I.visit(w.days, w.next_user, least(w.users, w.next_user + chunk - 1));
		UPDATE %1$I.truth_world SET next_user = next_user + chunk;
		COMMIT;
	END LOOP;
	UPDATE %1$I.truth_world SET days = days + 1, next_user = 0 WHERE days = today;
	COMMIT;
END $$;

CREATE PROCEDURE %1$I.simulate(users bigint, days int, seed bigint DEFAULT 1, items bigint DEFAULT NULL, chunk bigint DEFAULT 5000)
LANGUAGE plpgsql
AS $$
BEGIN
	IF users < 1 OR users >= 2147483648 OR days < 0 OR items < 1 THEN
		RAISE EXCEPTION 'users must be 1 to 2147483647, days at least 0 and items at least 1'
			USING ERRCODE = 'invalid_parameter_value';
	END IF;
	PERFORM %1$I.make_world(users, seed, items);
	COMMIT;
	FOR day IN 1 .. days LOOP
		CALL %1$I.simulate_day(chunk => chunk);
	END LOOP;
	PERFORM %1$I.analyze_world();
END $$;
$format$, :'shop') \gexec

CREATE FUNCTION make_world(users bigint, seed bigint, items bigint) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT
AS $$
DECLARE
	p	truth_parameters;
BEGIN
	SELECT * INTO p FROM truth_parameters;
	TRUNCATE products, customers, events, impressions, campaigns, campaign_mailings, truth_world, truth_categories,
		truth_items, truth_users, truth_needs, truth_daily, truth_impressions, truth_mailings, shelf;
	INSERT INTO truth_world VALUES (seed, users, 0, 0);
	INSERT INTO truth_categories
	SELECT c, draw(h, 'durable') < 0.5, 6 + floor(18 * draw(h, 'period'))::int,
		   CASE WHEN draw(h, 'main') < 0.5 THEN 1 + (c + floor((p.categories - 1) * draw(h, 'accessory'))::int) % p.categories END,
		   exp(2.5 + 1.0 * gauss(h, 'price')), 0.3 + 0.4 * draw(h, 'spread')
	  FROM (SELECT c, hashint8extended(c, hashtextextended('categories', make_world.seed)) AS h
			  FROM generate_series(1, p.categories) AS c) AS ids;
	PERFORM make_items(0, 1, coalesce(items, p.items));
END $$;

CREATE FUNCTION analyze_world() RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT
AS $$
BEGIN
	ANALYZE products, customers, events, impressions, campaigns, campaign_mailings, truth_items, truth_users,
		truth_needs, truth_daily, truth_impressions, truth_mailings;
END $$;
