-- Two models of one declaration, and what notes their answers to each day.
CREATE EXTENSION dupn;
CREATE SCHEMA lab;
SET search_path = lab, shop, public;

CREATE TABLE public.night (night int PRIMARY KEY, seconds float8, full_seconds float8);
CREATE TABLE public.answer (night int, source text, task text, metric text, value float8, samples bigint);

-- what the new day brought
CREATE VIEW public.today AS SELECT date_trunc('day', max(occurred_at)) AS since FROM shop.events;
CREATE VIEW lab.new_impressions AS SELECT i.* FROM shop.impressions i JOIN shop.products p ON p.id = i.item_id, public.today t
	WHERE i.shown_at >= t.since AND p.born >= t.since;
CREATE VIEW lab.impressions_of_new_users AS SELECT i.* FROM shop.impressions i JOIN shop.customers c ON c.id = i.user_id, public.today t
	WHERE i.shown_at >= t.since AND c.joined_at >= t.since;

SELECT set_config('lab.options', :'options', false);
DO $$
BEGIN
	FOR i IN 1 .. 2 LOOP
		PERFORM dupn_create_model((ARRAY['nightly', 'full'])[i], events => 'shop.events', user_column => 'user_id', time_column => 'occurred_at',
			item_columns => '{item_id,category_id,brand_id,shop_id,tags,price}', behavior_columns => '{action,scenario}',
			catalog => 'shop.products', catalog_key => 'id', profile => 'shop.customers', profile_key => 'id', profile_columns => '{age_band,gender}',
			context_columns => '{query_category}', options => current_setting('lab.options')::jsonb);
		PERFORM dupn_add_task((ARRAY['nightly', 'full'])[i], 'next', 'next_item');
		PERFORM dupn_add_task((ARRAY['nightly', 'full'])[i], 'click', 'binary', samples => 'shop.impressions', label => 'clicked',
			options => '{"time_column": "shown_at"}');
	END LOOP;
END $$;

CREATE PROCEDURE lab.next_day() LANGUAGE plpgsql AS $$
BEGIN
	CALL shop.simulate_day();
END $$;

-- Ask a version (NULL: the one that serves) about the new day: all of it, and its new items and users.
CREATE PROCEDURE lab.ask(night int, source text, model text, version int DEFAULT NULL) LANGUAGE plpgsql AS $$
DECLARE
	since timestamptz := (SELECT t.since FROM public.today t);
	own text;
BEGIN
	FOR own IN SELECT unnest(ARRAY['all', 'new_impressions', 'impressions_of_new_users']) LOOP
		IF own <> 'all' THEN
			CONTINUE WHEN source = 'alone';
		END IF;
		BEGIN
			PERFORM set_config('lab.job', dupn_evaluate(ask.model, ask.version, since, NULL, CASE own WHEN 'all' THEN '{"baselines": false}'::jsonb
				ELSE jsonb_build_object('baselines', false, 'tasks', '["click"]'::jsonb, 'samples', jsonb_build_object('click', 'lab.' || own)) END)::text, false);
			COMMIT;
		END;
		PERFORM dupn_wait(current_setting('lab.job')::bigint);
		INSERT INTO public.answer SELECT ask.night, ask.source, task || CASE own WHEN 'all' THEN '' ELSE ' ' || own END, metric, value, samples
			FROM dupn_evaluations e WHERE e.job_id = current_setting('lab.job')::bigint AND e.source = 'model' AND slice = 'all' AND metric IN ('hr@10', 'auc');
		COMMIT;
	END LOOP;
END $$;

CREATE PROCEDURE lab.same(night int, source text, other text) LANGUAGE sql AS
	$$INSERT INTO public.answer SELECT a.night, same.source, task, metric, value, samples FROM public.answer a WHERE a.night = same.night AND a.source = same.other$$;

CREATE FUNCTION lab.line(night int) RETURNS text LANGUAGE sql AS $$
	SELECT format('night %s: %s s of %s s; hr@10 nightly %s full %s alone %s; auc nightly %s full %s alone %s; %s', n.night,
		round(n.seconds::numeric, 1), round(n.full_seconds::numeric, 1),
		round(max(value) FILTER (WHERE source = 'nightly' AND metric = 'hr@10')::numeric, 4), round(max(value) FILTER (WHERE source = 'full' AND metric = 'hr@10')::numeric, 4),
		round(max(value) FILTER (WHERE source = 'alone' AND metric = 'hr@10')::numeric, 4),
		round(max(value) FILTER (WHERE source = 'nightly' AND task = 'click')::numeric, 4), round(max(value) FILTER (WHERE source = 'full' AND task = 'click')::numeric, 4),
		round(max(value) FILTER (WHERE source = 'alone' AND task = 'click')::numeric, 4),
		(SELECT message FROM dupn_jobs WHERE model = 'nightly' AND action = 'finetune' ORDER BY job_id DESC LIMIT 1))
	FROM public.night n JOIN public.answer a USING (night) WHERE n.night = line.night GROUP BY n.night, n.seconds, n.full_seconds $$;
