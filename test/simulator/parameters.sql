-- The truth of the simulated shop, in one row.  FROZEN: these figures were set
-- by looking at the statistics that check.sql prints, before any model was
-- trained on the data.  They are not to be changed to suit a model.
--
-- Included by simulator.sql, which has set the search path.

CREATE TABLE truth_parameters (
	-- the world
	start_at			timestamptz NOT NULL DEFAULT '2024-01-01 00:00:00+00',	-- a Monday; days are days of UTC
	categories			int		NOT NULL DEFAULT 32,	-- no multiple of 5, see pick_category
	brands				int		NOT NULL DEFAULT 120,
	brands_in_category	int		NOT NULL DEFAULT 12,
	shops				int		NOT NULL DEFAULT 90,
	shops_in_category	int		NOT NULL DEFAULT 10,
	styles				int		NOT NULL DEFAULT 12,	-- style tags; a user likes two
	items				int		NOT NULL DEFAULT 3000,	-- at the start
	items_per_day		int		NOT NULL DEFAULT 12,	-- born every day after
	share_joined		float8	NOT NULL DEFAULT 0.7,	-- users who are there on day 0
	join_days			float8	NOT NULL DEFAULT 30,	-- mean delay of the others

	-- popularity of an item on a day (it orders the shelf of a category)
	popularity_spread	float8	NOT NULL DEFAULT 1.2,
	popularity_quality	float8	NOT NULL DEFAULT 0.4,
	trend_size			float8	NOT NULL DEFAULT 0.8,	-- sine with a period of 20 to 60 days
	novelty_size		float8	NOT NULL DEFAULT 1.0,
	novelty_days		float8	NOT NULL DEFAULT 10,

	-- visits: at most one session a user and day
	activity_low		float8	NOT NULL DEFAULT 0.10,	-- probability of a visit, least
	activity_range		float8	NOT NULL DEFAULT 0.80,
	weekend_factor		float8	NOT NULL DEFAULT 1.15,
	pages_mean			float8	NOT NULL DEFAULT 3.2,	-- pages after the first, over users' patience
	pages_most			int		NOT NULL DEFAULT 8,		-- at most 8, see impressions.id
	page_items			int		NOT NULL DEFAULT 8,		-- at most 16, likewise
	page_seconds		int		NOT NULL DEFAULT 240,
	hours_workday		int[]	NOT NULL DEFAULT '{0,1,6,7,7,8,8,9,10,11,12,12,13,14,15,16,17,18,18,19,19,19,20,20,20,20,21,21,21,21,22,22}',
	hours_weekend		int[]	NOT NULL DEFAULT '{0,1,8,9,9,10,10,10,11,11,12,13,13,14,14,15,15,16,16,17,18,19,20,20,20,21,21,22,22}',

	-- what a visit is about
	slot_weights		float8[] NOT NULL DEFAULT '{0.40,0.28,0.18,0.10}',	-- lasting interests, drifting in epochs of
	epoch_days_low		float8	NOT NULL DEFAULT 15,	-- 15 to 60 days
	epoch_days_range	float8	NOT NULL DEFAULT 45,
	own_group			float8	NOT NULL DEFAULT 0.7,	-- share of interests that follow age and gender
	explore_weight		float8	NOT NULL DEFAULT 0.05,	-- weight of a category without interest
	switch				float8	NOT NULL DEFAULT 0.20,	-- a page starts a new intent
	query				float8	NOT NULL DEFAULT 0.45,	-- an intent is typed as a query
	stray				float8	NOT NULL DEFAULT 0.35,	-- an item of a page without query is of another category
	popular_first		float8	NOT NULL DEFAULT 0.5,	-- share of pages ordered by popularity
	logged				float8	NOT NULL DEFAULT 0.25,	-- share of pages whose impressions are logged

	-- needs: what passes, ends and leads to more
	hunt_hazard			float8	NOT NULL DEFAULT 0.05,	-- a new need, a day
	hunt_days_low		int		NOT NULL DEFAULT 3,
	hunt_days_range		int		NOT NULL DEFAULT 10,
	hunt_weight			float8	NOT NULL DEFAULT 1.2,
	cart_weight			float8	NOT NULL DEFAULT 1.0,	-- a cart that was not bought comes back, for cart_days
	cart_days			int		NOT NULL DEFAULT 4,
	fav_weight			float8	NOT NULL DEFAULT 0.4,
	fav_days			int		NOT NULL DEFAULT 10,
	accessory_weight	float8	NOT NULL DEFAULT 1.0,	-- bought the main product: its accessory, soon
	accessory_days		int		NOT NULL DEFAULT 6,
	repeat_weight		float8	NOT NULL DEFAULT 1.5,	-- a consumable runs out after the category's period
	repeat_days			int		NOT NULL DEFAULT 5,
	sated_days			int		NOT NULL DEFAULT 45,	-- a durable was bought: interest times sated_factor
	sated_factor		float8	NOT NULL DEFAULT 0.1,
	resume				float8	NOT NULL DEFAULT 0.75,	-- the page of a need shows its item first

	-- liking an item, and clicking
	like_interest		float8	NOT NULL DEFAULT 0.50,	-- times ln(weight of the category / 0.1)
	like_brand			float8	NOT NULL DEFAULT 1.00,	-- the brand this intent is after
	loyalty				float8	NOT NULL DEFAULT 0.65,	-- mean share of intents after the user's own brand
	like_shop			float8	NOT NULL DEFAULT 0.60,
	like_style			float8	NOT NULL DEFAULT 0.45,
	like_quality		float8	NOT NULL DEFAULT 0.30,
	like_price			float8	NOT NULL DEFAULT 0.35,	-- times the squared distance from the taste
	taste_spread		float8	NOT NULL DEFAULT 0.80,	-- users' price taste, in spreads of the category
	taste_noise			float8	NOT NULL DEFAULT 0.35,	-- of an intent around it
	like_resume			float8	NOT NULL DEFAULT 1.20,	-- the item of the need itself
	click_base			float8	NOT NULL DEFAULT -1.40,
	click_eagerness		float8	NOT NULL DEFAULT 0.35,	-- spread over users
	click_position		float8	NOT NULL DEFAULT 0.50,	-- times ln(1 + position), negative
	click_query			float8	NOT NULL DEFAULT 0.25,
	click_fatigue		float8	NOT NULL DEFAULT 0.08,	-- a page, negative

	-- after a click: behaviour that tells more than the click
	fav_base			float8	NOT NULL DEFAULT -3.2,
	fav_liking			float8	NOT NULL DEFAULT 0.6,
	cart_base			float8	NOT NULL DEFAULT -3.1,
	cart_liking			float8	NOT NULL DEFAULT 0.8,
	buy_base			float8	NOT NULL DEFAULT -4.6,
	buy_liking			float8	NOT NULL DEFAULT 0.9,
	buy_cart			float8	NOT NULL DEFAULT 1.5,	-- it was put into the cart just now
	buy_resume			float8	NOT NULL DEFAULT 1.0,

	-- campaigns
	campaign_every		int		NOT NULL DEFAULT 5,		-- days
	campaign_share		float8	NOT NULL DEFAULT 0.2,	-- of the users get it
	redeem_base			float8	NOT NULL DEFAULT -2.6,
	redeem_thrift		float8	NOT NULL DEFAULT 1.1,	-- the user's lasting love of coupons
	redeem_interest		float8	NOT NULL DEFAULT 0.5,
	redeem_discount		float8	NOT NULL DEFAULT 2.0,

	-- profiles
	profile_missing		float8	NOT NULL DEFAULT 0.25,	-- each column
	profile_wrong		float8	NOT NULL DEFAULT 0.05
);
COMMENT ON TABLE truth_parameters IS 'frozen parameters of the simulated shop';
INSERT INTO truth_parameters DEFAULT VALUES;
