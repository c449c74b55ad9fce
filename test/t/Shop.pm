# What the server tests share: a small shop with a model of three tasks, quick
# to train, errors by their SQLSTATE, and crashes with what they may leave.
package Shop;

use strict;
use warnings;

use Exporter 'import';
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

our @EXPORT = qw(create_shop create_model fails answers mapped_files);
our @EXPORT_OK = qw(crash_at wait_for_crash $leftovers);

# What nobody needs: parts and states of versions that are not there, or going.
our $leftovers = <<'END';
SELECT (SELECT count(*) FROM _dupn.version v WHERE state = 'building' OR state = 'dropped'
		AND NOT EXISTS (SELECT FROM _dupn.version d WHERE d.model_id = v.model_id AND d.delta_of = v.version)
		AND NOT EXISTS (SELECT FROM _dupn.optimizer d WHERE d.model_id = v.model_id AND d.delta_of = v.version))
	+ (SELECT count(*) FROM _dupn.optimizer WHERE checksum IS NULL)
	+ (SELECT count(*) FROM _dupn.version v WHERE state <> 'dropped' AND stored_bytes IS DISTINCT FROM
		(SELECT sum(octet_length(data)) FROM _dupn.weight w WHERE w.model_id = v.model_id AND w.version = v.version))
	+ (SELECT count(*) FROM _dupn.optimizer o WHERE stored_bytes IS DISTINCT FROM
		(SELECT sum(octet_length(data)) FROM _dupn.optimizer_part p WHERE p.model_id = o.model_id AND p.version = o.version))
END

# Tables and the extension in a database, owned by a role.
sub create_shop
{
	my ($node, $database, $owner) = @_;
	$node->safe_psql($database, <<"END");
CREATE EXTENSION dupn;
CREATE SCHEMA shop AUTHORIZATION $owner;
SET ROLE $owner;
CREATE TABLE shop.events AS
SELECT u::bigint AS user_id, ((u * 7 + e * e) % 50)::bigint AS item_id, (ARRAY['click', 'buy'])[1 + (u + e) % 2] AS action,
	'2024-01-01Z'::timestamptz + e * interval '1 hour' AS occurred_at
FROM generate_series(1, 200) u, generate_series(1, 20) e;
CREATE INDEX ON shop.events (user_id, occurred_at);
CREATE TABLE shop.products AS
SELECT i::bigint AS id, i % 5 AS category_id, (i * i % 17)::real AS price FROM generate_series(0, 49) i;
CREATE TABLE shop.customers AS
SELECT u::bigint AS id, (ARRAY['f', 'm', NULL])[1 + u % 3] AS gender FROM generate_series(1, 200) u;
CREATE TABLE shop.impressions AS
SELECT u::bigint AS user_id, ((u * 3 + e) % 50)::bigint AS item_id, '2024-01-01Z'::timestamptz + e * interval '90 minutes' AS occurred_at,
	(u + e) % 3 = 0 AS clicked
FROM generate_series(1, 200) u, generate_series(1, 12) e;
END
}

# A model over them, not yet trained.
sub create_model
{
	my ($node, $database, $owner, $model) = @_;
	$node->safe_psql($database, <<"END");
SET ROLE $owner;
SELECT dupn_create_model('$model', events => 'shop.events', user_column => 'user_id', time_column => 'occurred_at',
	item_columns => '{item_id,category_id,price}', behavior_columns => '{action}',
	catalog => 'shop.products', catalog_key => 'id', profile => 'shop.customers', profile_key => 'id', profile_columns => '{gender}',
	options => '{"hidden": 8, "attention": [8, 8], "epochs": 1, "max_events": 20, "publish": "always"}');
SELECT dupn_add_task('$model', 'next', 'next_item');
SELECT dupn_add_task('$model', 'category', 'multiclass', label => 'category_id');
SELECT dupn_add_task('$model', 'click', 'binary', samples => 'shop.impressions', label => 'clicked');
END
}

# The statements fail with this SQLSTATE and a message like this; for a role.
sub fails
{
	my ($node, $database, $statements, $sqlstate, $pattern, $name, $role) = @_;
	my ($status, $stdout, $stderr) = $node->psql($database, $statements,
		extra_params => [ '-v', 'VERBOSITY=verbose', $role ? ('-U', $role) : () ], on_error_stop => 1);
	like($stderr, qr/ERROR:  $sqlstate: .*$pattern/s, $name);
}

# Everything a model says about a few users, in full precision.
sub answers
{
	my ($node, $database, $model) = @_;
	my $as_of = "'2024-01-01 15:30Z'";
	return $node->safe_psql($database, <<"END");
SET timezone = 'UTC';
SELECT u, v, dupn_score('click', v, 7), (SELECT string_agg(c::text, ' ') FROM dupn_classify('category', v) c),
	(SELECT string_agg(r::text, ' ') FROM dupn_recommend(u, k => 5, as_of => $as_of, model => '$model') r),
	(SELECT string_agg(a::text, ' ') FROM dupn_attention(u, as_of => $as_of, model => '$model') a)
FROM (SELECT u, dupn_user_vector(u, as_of => $as_of, model => '$model') AS v FROM generate_series(1, 250, 50) u OFFSET 0) x;
END
}

# Names of the mapped files in a server's data directory.
sub mapped_files
{
	my ($node) = @_;
	return map { s,.*/,,r } glob($node->data_dir . '/base/pgsql_tmp/pgsql_tmp_dupn_*');
}

# Wait until the server has crashed, and is there again.
sub wait_for_crash
{
	my ($node, $log, $pattern) = @_;
	for my $attempt (0 .. 50 * $PostgreSQL::Test::Utils::timeout_default)
	{
		return if slurp_file($node->logfile, $log) =~
		  /$pattern.*all server processes terminated; reinitializing.*database system is ready to accept connections/s;
		usleep(20_000);
	}
	die 'the server does not crash, or not come back';
}

# Crash there, in the statement or a job that it starts.
sub crash_at
{
	my ($node, $database, $point, $statement) = @_;
	my $log = -s $node->logfile;

	$node->append_conf('postgresql.conf', "dupn.fail_point = '$point'");
	$node->reload;
	$node->psql($database, $statement);
	wait_for_crash($node, $log, qr/crashing at "\Q$point\E"/);
	$node->append_conf('postgresql.conf', "dupn.fail_point = ''");
	$node->reload;
}

1;
