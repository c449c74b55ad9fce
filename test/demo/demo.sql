-- What dupn does, on a simulated shop and, where the variable data names a
-- folder of real data sets, on real ones.
\set QUIET on
\pset pager off
\pset footer off
\timing off
SET client_min_messages = warning;
CREATE EXTENSION dupn;

\echo
\echo '==== A simulated shop'
\ir shop.sql

\setenv DEMO_DATA :data
SELECT :'data' <> '' AS has_data \gset
\if :has_data
	\set folder `d="$DEMO_DATA/completejourney"; [ -d "$d" ] && echo "$d"`
	SELECT :'folder' <> '' AS has_set \gset
	\if :has_set
		\echo
		\echo '==== The Complete Journey: a grocery retailer''s households over 2017'
		\ir completejourney.sql
	\else
		\echo '==== The Complete Journey: skipped, no folder completejourney in DUPN_DATA'
	\endif
	\set folder `d="$DEMO_DATA/taobao"; [ -d "$d" ] && echo "$d"`
	SELECT :'folder' <> '' AS has_set \gset
	\if :has_set
		\echo
		\echo '==== Taobao: views, carts, favourites and purchases of 293 users'
		\ir taobao.sql
	\else
		\echo '==== Taobao: skipped, no folder taobao in DUPN_DATA'
	\endif
\else
	\echo
	\echo '==== Real data: skipped, DUPN_DATA names no folder'
\endif
