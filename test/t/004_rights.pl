# Who may do what, and that nobody gains rights through a model, a view or a
# search_path.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Shop;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('primary');
$node->init;
$node->append_conf('postgresql.conf', "max_worker_processes = 8\nautovacuum = off");
$node->start;

my $superuser = $node->safe_psql('postgres', 'SELECT current_user');

# SQL as a role that logged in.
sub as
{
	my ($role, $statements) = @_;
	return $node->safe_psql('shop', $statements, extra_params => [ '-U', $role ]);
}

sub refused
{
	my ($role, $statements, $sqlstate, $pattern, $name) = @_;
	fails($node, 'shop', $statements, $sqlstate, $pattern, $name // "$role: $statements", $role);
}

$node->safe_psql('postgres', <<'END');
CREATE ROLE keeper LOGIN; CREATE ROLE colleague LOGIN IN ROLE keeper; CREATE ROLE heir LOGIN NOINHERIT IN ROLE keeper;
CREATE ROLE app LOGIN; CREATE ROLE nobody LOGIN; CREATE ROLE mallory LOGIN;
CREATE DATABASE shop;
END
create_shop($node, 'shop', 'keeper');
create_model($node, 'shop', 'keeper', 'shop');
as('keeper', "CALL dupn_run('shop')");
as('keeper', q{CALL dupn_run('shop', 'train', '{"seed": 2}')});
as('keeper', q{CALL dupn_run('shop', 'evaluate', '{"since": "2024-01-01 12:00Z"}')});
as('keeper', "SELECT dupn_share('shop', 1, 0.5); SELECT dupn_end_share('shop')");
as('keeper', <<'END');
GRANT USAGE ON SCHEMA shop TO PUBLIC;
GRANT SELECT (user_id, item_id, action, occurred_at) ON shop.events TO app;
GRANT SELECT (id, category_id, price) ON shop.products TO app;
GRANT SELECT (id, gender) ON shop.customers TO app;
ALTER TABLE shop.events ADD secret text; ALTER TABLE shop.products ADD secret text; ALTER TABLE shop.customers ADD secret text;
END

# ---- to use a model is to read its columns ----

my $columns = '(SELECT user_id, item_id, action, occurred_at FROM shop.events WHERE user_id = 3) e';
my $vector = "dupn_user_vector(3, 'shop', as_of => '2025-01-01Z')";
my %answers = (
	user_vector => "SELECT $vector",
	embed => "SELECT dupn_embed(e, 'shop', NULL, '2025-01-01Z') FROM $columns",
	score => "SELECT dupn_score('click', $vector, 7)",
	score_row => "SELECT dupn_score('click', $vector, p) FROM (SELECT id AS item_id, category_id, price FROM shop.products WHERE id = 7) p",
	classify => "SELECT * FROM dupn_classify('category', $vector)",
	recommend => "SELECT * FROM dupn_recommend(3, k => 3, model => 'shop', as_of => '2025-01-01Z')",
	attention => "SELECT * FROM dupn_attention(3, 'shop', as_of => '2025-01-01Z')",
	arm => "SELECT dupn_arm(3, 'shop')",
	retrieval => "SELECT dupn_retrieval_vector($vector)",
	item_vector => "SELECT dupn_item_vector(p, 'shop') FROM (SELECT id AS item_id, category_id, price FROM shop.products WHERE id = 7) p");
foreach my $name (sort keys %answers)
{
	is(as('app', $answers{$name}), as('keeper', $answers{$name}), "$name needs no more than the columns");
	refused('nobody', $answers{$name}, '42501', 'permission denied', "$name needs them");
}

# A stored vector opens nothing either.
my $stored = as('keeper', "SELECT $vector");
refused('nobody', "SELECT * FROM dupn_classify('category', '$stored')", '42501', 'permission denied', 'a stored vector cannot be classified without the columns');
refused('nobody', "SELECT dupn_score('click', '$stored', 7)", '42501', 'permission denied', 'or scored');
refused('nobody', "SELECT dupn_retrieval_vector('$stored')", '42501', 'permission denied', 'or made a query');

foreach my $right ('user_id shop.events', 'item_id shop.events', 'action shop.events', 'occurred_at shop.events', 'id shop.products',
	'category_id shop.products', 'price shop.products', 'id shop.customers', 'gender shop.customers')
{
	my ($column, $relation) = split / /, $right;
	as('keeper', "REVOKE SELECT ($column) ON $relation FROM app");
	refused('app', $answers{user_vector}, '42501', "permission denied.*HINT:.*GRANT SELECT ON $relation TO app", "without $relation.$column");
	refused('app', "SELECT * FROM dupn_classify('category', '$stored')", '42501', 'permission denied', "without $relation.$column, a stored vector");
	as('keeper', "GRANT SELECT ($column) ON $relation TO app");
}
as('keeper', 'REVOKE USAGE ON SCHEMA shop FROM PUBLIC');
refused('app', $answers{user_vector}, '42501', 'schema', 'without the schema');
as('keeper', 'GRANT USAGE ON SCHEMA shop TO PUBLIC');

# ---- to change one is to be its owner ----

my @changes = (
	"SELECT dupn_train('shop')", "SELECT dupn_evaluate('shop')", "SELECT dupn_evaluate_baselines('shop')", "SELECT dupn_compare('shop', 1, 2)", "CALL dupn_run('shop')", 'SELECT dupn_wait(1)', 'SELECT dupn_cancel(1)',
	"SELECT dupn_publish('shop', 1)", "SELECT dupn_rollback('shop')", "SELECT dupn_drop_version('shop', 1)",
	"SELECT dupn_share('shop', 1, 0.5)", "SELECT dupn_end_share('shop')", "SELECT dupn_lift('shop', 'shop.events', '{item_id}')",
	q{SELECT dupn_alter_model('shop', '{"hidden": 16}')}, "SELECT dupn_add_task('shop', 'more', 'next_item')",
	"SELECT dupn_drop_task('shop', 'next')", "SELECT dupn_drop_model('shop')");
refused('app', $_, '42501', 'must be owner') foreach @changes;
is(as('colleague', "SELECT dupn_publish('shop', 1); SELECT dupn_rollback('shop')"), "\n2", 'a member of the owning role may');
refused('heir', "SELECT dupn_publish('shop', 1)", '42501', 'must be owner', 'one who does not inherit may not');
is(as('heir', "SET ROLE keeper; SELECT dupn_publish('shop', 2)"), '', 'before taking the role');
refused('app', "SELECT dupn_create_model('mine', 'shop.events', 'user_id', 'occurred_at', '{item_id,secret}')", '42501', 'permission denied',
	'no model can be declared over columns that cannot be read');

# ---- which model is meant ----

refused('app', 'SELECT dupn_user_vector(3)', '42704', 'no model of yours.*HINT:.*dupn\.model', 'who owns none must name one');
is(as('app', "SET dupn.model = 'shop'; SELECT dupn_user_vector(3, as_of => '2025-01-01Z')"), $stored, 'or set one');
is(as('colleague', "SELECT dupn_user_vector(3, as_of => '2025-01-01Z')"), $stored, 'a member of the owning role need not');
refused($superuser, 'SELECT dupn_user_vector(3)', '42704', 'no model of yours', "a superuser is not steered into others' models");
as('keeper', 'GRANT SELECT ON ALL TABLES IN SCHEMA shop TO mallory');
as('mallory', "SELECT dupn_create_model('trap', 'shop.events', 'user_id', 'occurred_at', '{item_id}')");
is(as('keeper', "SELECT dupn_user_vector(3, as_of => '2025-01-01Z')"), $stored, "nor is anybody else by another's second model");

# ---- what can be seen ----

my @views = qw(dupn_models dupn_tasks dupn_features dupn_versions dupn_shares dupn_jobs dupn_metrics dupn_baselines dupn_calibration dupn_evaluations dupn_comparisons);
foreach my $view (@views)
{
	my $seen = "SELECT string_agg(DISTINCT model, ' ' ORDER BY model) FROM $view";
	is(as('app', $seen), '', "$view shows nothing to others");
	is(as('colleague', $seen), 'shop', 'and his own to a member');
}
is(as('app', 'SELECT count(*) FROM dupn_feature_list(1)'), '0', 'dupn_feature_list neither');
is(as($superuser, 'SELECT count(*) FROM dupn_models'), '2', 'a superuser sees all');
is(as($superuser, <<'END'), 'f|0|0', 'schema _dupn is closed');
SELECT has_schema_privilege('nobody', '_dupn', 'USAGE, CREATE'),
	count(*) FILTER (WHERE relkind <> 'S' AND has_table_privilege('nobody', c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE')),
	count(*) FILTER (WHERE relkind = 'S' AND has_sequence_privilege('nobody', c.oid, 'USAGE, SELECT, UPDATE'))
FROM pg_class c WHERE relnamespace = '_dupn'::regnamespace AND relkind <> 'i'
END
refused('keeper', 'SELECT * FROM _dupn.weight', '42501', 'permission denied for schema', 'even to who owns a model');

# ---- row-level security ----

my $cold = as('keeper', "SELECT dupn_user_vector(1000, 'shop', as_of => '2025-01-01Z')");
as('keeper', <<'END');
CREATE POLICY even ON shop.events TO app USING (user_id % 2 = 0);
ALTER TABLE shop.events ENABLE ROW LEVEL SECURITY;
END
is(as('app', $answers{user_vector}) ne $stored, 1, 'a policy hides events from a vector');
is(as('app', $answers{embed}), '', 'and from the aggregate');
is(as('app', 'SELECT count(*) FROM dupn_attention(3, \'shop\')'), '0', 'and from attention');
is(as('app', q{SELECT count(*) FROM dupn_recommend(3, k => 100, exclude_seen => true, model => 'shop')}), '50', 'and from what was seen');
cmp_ok(as('keeper', q{SELECT count(*) FROM dupn_recommend(3, k => 100, exclude_seen => true, model => 'shop')}), '<', 50, 'but not from the owner');
is(as('app', "SELECT dupn_user_vector(4, 'shop', as_of => '2025-01-01Z')"), as('keeper', "SELECT dupn_user_vector(4, 'shop', as_of => '2025-01-01Z')"),
	'what the policy shows is read');
as('keeper', "CALL dupn_run('shop')");
is(as('keeper', 'SELECT events FROM dupn_versions ORDER BY version DESC LIMIT 1'), '4000', 'the owner trains on all');
as('keeper', 'CREATE POLICY own ON shop.events TO keeper USING (user_id % 2 = 0); ALTER TABLE shop.events FORCE ROW LEVEL SECURITY');
as('keeper', "CALL dupn_run('shop')");
is(as('keeper', 'SELECT events FROM dupn_versions ORDER BY version DESC LIMIT 1'), '2000', 'unless the policy is forced');
as('keeper', 'ALTER TABLE shop.events DISABLE ROW LEVEL SECURITY');

as('keeper', <<'END');
ALTER TABLE shop.products ENABLE ROW LEVEL SECURITY;
CREATE POLICY few ON shop.products TO app USING (id < 10);
END
is(as('app', q{SELECT count(*), max(item::int) FROM dupn_recommend(4, k => 100, model => 'shop')}), '10|9', 'only visible items are recommended');
as('keeper', 'ALTER TABLE shop.products DISABLE ROW LEVEL SECURITY');

# ---- a function in a view that a job reads ----

as($superuser, 'CREATE SCHEMA trap AUTHORIZATION mallory; GRANT USAGE ON SCHEMA trap TO PUBLIC');
as('mallory', <<'END');
CREATE TABLE trap.log (who name, session name, statement text, result text);
GRANT INSERT ON trap.log TO PUBLIC;
CREATE FUNCTION trap.try(statement text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE statement;
	INSERT INTO trap.log VALUES (current_user, session_user, statement, 'done');
EXCEPTION WHEN OTHERS THEN
	INSERT INTO trap.log VALUES (current_user, session_user, statement, sqlstate);
END $$;
CREATE FUNCTION trap.spring(id bigint) RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$
BEGIN
	IF id = 1 THEN
		PERFORM trap.try(s) FROM unnest(ARRAY['SET SESSION AUTHORIZATION DEFAULT', 'SET ROLE NONE', 'RESET ROLE', 'SET ROLE mallory',
			'CREATE TEMP TABLE t (i int)', 'LISTEN a', 'ALTER ROLE mallory SUPERUSER']) s;
		PERFORM set_config('search_path', 'trap,pg_catalog', false), set_config('TimeZone', 'Asia/Tokyo', false),
			set_config('default_transaction_read_only', 'on', false);
	END IF;
	RETURN id;
END $$;
CREATE FUNCTION trap.caught() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO trap.log VALUES (current_user, session_user, 'captured', 'done');
	RETURN true;
END $$;
CREATE VIEW trap.events AS SELECT trap.spring(user_id) AS user_id, item_id, occurred_at FROM shop.events;
GRANT SELECT ON trap.events TO PUBLIC;
END

# Operators and types that a careless statement would find before the server's own.
my @types = qw(int4 int8 oid text name bool timestamptz);
my $traps = '';
foreach my $type (@types)
{
	foreach my $operator ('=', '<>', '<', '>', '<=', '>=', '+', '-', '/', '||')
	{
		my $result = $operator =~ m{^([-+/]|\|\|)$} ? $type : 'boolean';
		my $name = "trap.\"$type$operator\"";
		$traps .= "CREATE FUNCTION $name($type, $type) RETURNS $result LANGUAGE plpgsql AS 'BEGIN PERFORM trap.caught(); RETURN NULL; END';\n"
		  . "CREATE OPERATOR trap.$operator (FUNCTION = $name, LEFTARG = $type, RIGHTARG = $type);\n";
	}
}
as('mallory', $traps);
as('mallory', "CREATE DOMAIN trap.$_ AS pg_catalog.$_ CHECK (trap.caught())") foreach qw(text name int4 int8 float4 float8 jsonb timestamptz oid regclass bool);
as('mallory', "CREATE FUNCTION trap.$_() RETURNS timestamptz LANGUAGE plpgsql AS 'BEGIN PERFORM trap.caught(); RETURN pg_catalog.now(); END'")
  foreach qw(now clock_timestamp statement_timestamp);

as('keeper', <<'END');
SELECT dupn_create_model('lured', 'trap.events', 'user_id', 'occurred_at', '{item_id}',
	options => '{"hidden": 8, "attention": [8, 8], "epochs": 1}');
SELECT dupn_add_task('lured', 'next', 'next_item');
CALL dupn_run('lured');
END
is(as('keeper', "SELECT state FROM dupn_jobs WHERE model = 'lured'"), 'done', 'a job reads a view with a hostile function');
is(as('mallory', 'SELECT DISTINCT who, session FROM trap.log'), 'keeper|keeper', 'which never runs as more than the owner of the model');
is(as('mallory', 'SELECT DISTINCT statement, result FROM trap.log ORDER BY 1'), <<'END' =~ s/\n$//r, 'in a security-restricted operation');
ALTER ROLE mallory SUPERUSER|42501
CREATE TEMP TABLE t (i int)|42501
LISTEN a|42501
RESET ROLE|42501
SET ROLE NONE|42501
SET ROLE mallory|42501
SET SESSION AUTHORIZATION DEFAULT|42501
END
is(as('mallory', "SELECT count(*) FROM trap.log WHERE statement = 'captured'"), '0', 'the search_path that it set caught none of our statements');

# ---- a hostile search_path of the caller ----

as('mallory', 'TRUNCATE trap.log');
as('keeper', 'GRANT SELECT ON ALL TABLES IN SCHEMA shop TO mallory');
as('mallory', <<'END');
SET search_path = trap, pg_catalog, public;
SELECT dupn_create_model('bait', 'shop.events', 'user_id', 'occurred_at', '{item_id,category_id,price}', '{action}',
	catalog => 'shop.products', catalog_key => 'id', profile => 'shop.customers', profile_key => 'id', profile_columns => '{gender}',
	options => '{"hidden": 8, "attention": [8, 8], "epochs": 1}');
SELECT dupn_add_task('bait', 'next', 'next_item');
SELECT dupn_add_task('bait', 'category', 'multiclass', label => 'category_id');
SELECT dupn_add_task('bait', 'click', 'binary', samples => 'shop.impressions', label => 'clicked');
SELECT dupn_alter_model('bait', '{"epochs": 2}');
SELECT count(*) FROM dupn_estimate('bait');
CALL dupn_run('bait');
SELECT dupn_train('bait') AS job \gset
SELECT dupn_wait(:job);
SELECT dupn_train('bait') AS job \gset
SELECT dupn_cancel(:job);
SELECT dupn_wait(:job);
SELECT dupn_publish('bait', 1);
SELECT dupn_rollback('bait');
SELECT dupn_publish('bait', 1);
SELECT dupn_drop_version('bait', 2);
SELECT dupn_user_vector(3, 'bait') AS v \gset
SELECT dupn_score('click', :'v', 7);
SELECT count(*) FROM dupn_classify('category', :'v');
SELECT count(*) FROM dupn_recommend(3, exclude_seen => 'true', model => 'bait');
SELECT count(*) FROM dupn_attention(3, 'bait');
SELECT count(*) FROM dupn_popular_items(5, 'bait', '2024-01-01'), dupn_own_items(3, 5, 'bait'), dupn_similar_items(7, 5, 'bait');
SELECT dupn_embed(e, 'bait') FROM shop.events e WHERE user_id OPERATOR(pg_catalog.=) 3;
SELECT dupn_item_vector(p, 'bait') FROM (SELECT id AS item_id, category_id, price FROM shop.products) p LIMIT 1;
SELECT dupn_retrieval_vector(:'v');
SELECT count(*) FROM dupn_models, dupn_tasks, dupn_features, dupn_versions, dupn_shares, dupn_jobs, dupn_metrics, dupn_baselines, dupn_calibration, dupn_evaluations, dupn_comparisons;
SELECT dupn_drop_task('bait', 'click');
SELECT dupn_drop_model('bait');
END
is(as('mallory', 'SELECT who, count(*) FROM trap.log GROUP BY 1'), '', 'a hostile search_path catches none of our statements');

done_testing();
