-- What a network of four tasks has learned, beside the truth that made the shop.
-- Variable: seed.
SELECT version AS v FROM lab.trained WHERE (model, variant, seed) = ('lab', 'both', :seed) \gset

-- The clicks' utility falls with the squared distance from the price that a user
-- likes, so its slope in the price is that taste: what rank gives "dear" over
-- "cheap" should go with it.  Users with 20 events and more.
CREATE TEMP TABLE learned AS
SELECT u.user_id, t.taste, w.dear - w.cheap AS slope, w.sales, w.rating, w.ctr
FROM shop.truth_users t
JOIN (SELECT user_id, count(*) AS n FROM shop.events GROUP BY 1 HAVING count(*) >= 20) u USING (user_id),
LATERAL (SELECT sum(weight) FILTER (WHERE feature = 'dear') AS dear, sum(weight) FILTER (WHERE feature = 'cheap') AS cheap,
		sum(weight) FILTER (WHERE feature = 'sales') AS sales, sum(weight) FILTER (WHERE feature = 'rating') AS rating,
		sum(weight) FILTER (WHERE feature = 'ctr') AS ctr
	FROM dupn_rank_weights('rank', dupn_user_vector(u.user_id, 'lab', version => :v))) w;
SELECT 'truth' AS line, :seed AS seed, 'rank: slope in price and the user''s taste' AS measure, round(corr(a, b)::numeric, 3) AS spearman,
	round(tanh(atanh(corr(a, b)) - 1.96 / sqrt(count(*) - 3))::numeric, 3) || ' .. ' || round(tanh(atanh(corr(a, b)) + 1.96 / sqrt(count(*) - 3))::numeric, 3) AS interval,
	count(*) AS users
FROM (SELECT rank() OVER (ORDER BY taste)::float8 AS a, rank() OVER (ORDER BY slope)::float8 AS b FROM learned) r;

-- At the start of a user's last visit: the attention on events of the categories
-- that interest the user that day (the strongest four, as truth_daily says),
-- less what the same places in the order get on average over users, so that
-- being recent does not count as being of interest.
CREATE TEMP TABLE attended AS
SELECT v.user_id, a.lag, a.weight, a.behavior, p.category_id = ANY (v.categories[1:4]) AS interesting
FROM (SELECT DISTINCT ON (d.user_id) d.user_id, d.categories, e.at
	FROM shop.truth_daily d, shop.truth_parameters s, LATERAL (SELECT min(occurred_at) AS at FROM shop.events e
		WHERE e.user_id = d.user_id AND e.occurred_at >= s.start_at + d.day * interval '1 day'
			AND e.occurred_at < s.start_at + (d.day + 1) * interval '1 day') e
	WHERE e.at IS NOT NULL ORDER BY d.user_id, d.day DESC) v,
LATERAL (SELECT *, row_number() OVER (ORDER BY occurred_at DESC) AS lag FROM dupn_attention(v.user_id, 'lab', as_of => v.at, version => :v)) a
JOIN shop.products p ON p.id = a.item::bigint;
WITH expected AS (
	SELECT *, avg(weight) OVER (PARTITION BY lag) AS usual FROM attended
), users AS (
	SELECT user_id, sum(weight) FILTER (WHERE interesting) AS got, sum(usual) FILTER (WHERE interesting) AS usual FROM expected
	GROUP BY 1 HAVING count(*) >= 20 AND bool_or(interesting) AND NOT bool_and(interesting)
)
SELECT 'truth' AS line, :seed AS seed, 'attention on the day''s interests, and where only the place counts' AS measure, round(avg(got)::numeric, 4) AS attention,
	round(avg(usual)::numeric, 4) AS by_place, round(avg(got - usual)::numeric, 4) AS difference,
	round((avg(got - usual) - 1.96 * stddev(got - usual) / sqrt(count(*)))::numeric, 4) || ' .. ' ||
	round((avg(got - usual) + 1.96 * stddev(got - usual) / sqrt(count(*)))::numeric, 4) AS interval, count(*) AS users FROM users;
WITH expected AS (
	SELECT *, avg(weight) OVER (PARTITION BY lag) AS usual FROM attended
)
SELECT 'truth' AS line, :seed AS seed, behavior, count(*) AS events, round((sum(weight) / sum(usual))::numeric, 3) AS attention_over_usual_for_the_place
FROM expected GROUP BY 3 ORDER BY 5 DESC;
DROP TABLE learned, attended;
