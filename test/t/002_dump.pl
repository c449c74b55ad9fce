# What pg_dump takes along, and what a restored database does with it.
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

sub sql { return $node->safe_psql(@_) }

sub new_database
{
	my ($database) = @_;
	sql('postgres', "CREATE DATABASE $database");
	return $database;
}

my $file = "$PostgreSQL::Test::Utils::tmp_check/shop.dump";

sub run_ok
{
	my ($name, @command) = @_;
	$node->command_ok([@command], $name);
}

# All state, one line a row, bytes by their digest.
sub stored
{
	my ($database) = @_;
	return sql($database, <<'END');
SET timezone = 'UTC';
SELECT 'model', m FROM _dupn.model m ORDER BY model_id;
SELECT 'task', t FROM _dupn.task t ORDER BY model_id, name;
SELECT 'version', v FROM _dupn.version v ORDER BY model_id, version;
SELECT 'share', s FROM _dupn.share s ORDER BY model_id, experiment;
SELECT 'weight', model_id, version, part, md5(data) FROM _dupn.weight ORDER BY 2, 3, 4;
SELECT 'optimizer', o FROM _dupn.optimizer o ORDER BY model_id, version;
SELECT 'moments', model_id, version, part, md5(data) FROM _dupn.optimizer_part ORDER BY 2, 3, 4;
SELECT 'metric', m FROM _dupn.metric m ORDER BY model_id, version, task, source, metric, slice;
SELECT 'drift', d FROM _dupn.drift d ORDER BY model_id, version, "group", task, name;
SELECT 'evaluation', e FROM _dupn.evaluation e ORDER BY job_id;
SELECT 'evaluated', m FROM _dupn.evaluation_metric m ORDER BY job_id, task, source, metric, slice;
SELECT 'job', job_id, model_id, model_name, owner, action, options, state, message, version, ended_at FROM _dupn.job ORDER BY job_id;
SELECT 'sequences', last_value FROM _dupn.model_model_id_seq UNION ALL SELECT 'sequences', last_value FROM _dupn.job_job_id_seq;
END
}

sql('postgres', 'CREATE ROLE keeper LOGIN; CREATE ROLE dumper LOGIN; GRANT pg_read_all_data TO dumper');
new_database('shop');
create_shop($node, 'shop', 'keeper');
create_model($node, 'shop', 'keeper', 'dropped');
create_model($node, 'shop', 'keeper', 'first');
create_model($node, 'shop', 'keeper', 'second');
sql('shop', "CALL dupn_run('first')");
sql('shop', qq{CALL dupn_run('first', 'train', '{"seed": 2}')});
sql('shop', "CALL dupn_run('second')");
sql('shop', qq{CALL dupn_run('first', 'train', '{"mode": "head", "tasks": ["next"], "version": 1, "publish": false}')});
is(sql('shop', "SELECT delta_of FROM dupn_versions WHERE model = 'first' AND version = 3"), '1', 'a version is stored as a difference');
my $third = sql('shop', "SELECT md5(dupn_export('first', 3))");
sql('shop', qq{CALL dupn_run('first', 'compare', '{"version": 1, "other_version": 2, "since": "2024-01-01 12:00Z"}')});
sql('shop', "SELECT dupn_publish('first', 1); SELECT dupn_drop_model('dropped')");
sql('shop', <<'END');
SET ROLE keeper;
CREATE TABLE shop.vectors AS SELECT u AS user_id, dupn_user_vector(u, model => 'first') AS v FROM generate_series(1, 20) u;
INSERT INTO shop.vectors SELECT u, dupn_user_vector(u, model => 'first', version => 2) FROM generate_series(21, 40) u;
INSERT INTO shop.vectors VALUES (41, NULL);
SELECT dupn_share('first', 2, 0.5);
END
my $arms = "SELECT u, dupn_arm(u, 'first'), dupn_vector_version(dupn_user_vector(u, 'first')) FROM generate_series(1, 20) u";
my $in_arms = sql('shop', $arms);
like($in_arms, qr/candidate\|2/, 'users are in arms');

my %answers = map { $_ => answers($node, 'shop', $_) } qw(first second);
isnt($answers{first}, $answers{second}, 'two models answer differently');
my $scores = "SELECT user_id, v, dupn_vector_version(v), dupn_score('click', v, 7) FROM shop.vectors ORDER BY user_id";
my $scored = sql('shop', $scores);
# jobs clear up behind themselves
ok($node->poll_query_until('shop', "SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'dupn job'"), 'no job runs');
my $stored = stored('shop');

sub is_restored
{
	my ($database, $name) = @_;
	is(stored($database), $stored, "$name: all of the state is there");
	is(sql($database, "SELECT md5(dupn_export('first', 3))"), $third, "$name: a difference makes the same version");
	is(answers($node, $database, $_), $answers{$_}, "$name: model \"$_\" answers as before") foreach qw(first second);
	is(sql($database, $arms), $in_arms, "$name: users are in the arms that they were in");
	is(sql($database, $scores), $scored, "$name: stored vectors are what they were, and are scored the same");
}

# ---- the custom format ----

run_ok('pg_dump -Fc', 'pg_dump', '-Fc', '-f', $file, 'shop');
new_database('custom');
run_ok('pg_restore', 'pg_restore', '--exit-on-error', '-d', 'custom', $file);
is_restored('custom', 'custom format');

create_model($node, 'custom', 'keeper', 'third');
is(sql('custom', "SELECT model_id FROM _dupn.model WHERE name = 'third'"), '4', 'a new model has a new number');
sql('custom', "CALL dupn_run('first', 'train')");
is(sql('custom', "SELECT state, version FROM dupn_jobs ORDER BY job_id DESC LIMIT 1"), 'done|4', 'a new version has a new number');
is(sql('custom', "SELECT published_version FROM dupn_models WHERE model = 'first'"), '4', 'and serves');
is(sql('custom', $scores), $scored, 'stored vectors keep to their own version');
is(sql('custom', "SELECT dupn_rollback('first')"), '1', 'the version before can be returned to');

# ---- over what is there ----

run_ok('pg_restore --clean', 'pg_restore', '--exit-on-error', '--clean', '--if-exists', '-d', 'custom', $file);
is_restored('custom', 'with --clean');

# ---- as text ----

run_ok('pg_dump of text', 'pg_dump', '-f', "$file.sql", 'shop');
new_database('plain');
run_ok('psql', 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-o', "$file.out", '-d', 'plain', '-f', "$file.sql");
is_restored('plain', 'text');

# ---- the extension's data first, the tables of the shop later ----

my ($list) = run_command([ 'pg_restore', '-l', $file ]);
my @state = grep { /EXTENSION| _dupn / } split /\n/, $list;
cmp_ok(scalar(@state), '>=', 9, 'the dump lists the extension and its tables');
append_to_file("$file.list", join("\n", @state) . "\n");
new_database('early');
run_ok('restore the extension alone', 'pg_restore', '--exit-on-error', '-L', "$file.list", '-d', 'early', $file);
is(stored('early'), $stored, 'the models are there before any table is');
is(sql('early', 'SELECT count(*) FROM dupn_models'), '2', 'the view of models works without tables');
is(sql('early', 'SELECT count(*) > 0 FROM dupn_features'), 't', 'and that of features');
fails($node, 'early', "SELECT dupn_user_vector(1, model => 'first')", '42P01', 'shop\.events.*HINT', 'an answer tells what is missing');
append_to_file("$file.rest", join("\n", grep { !/EXTENSION| _dupn / } split /\n/, $list) . "\n");
run_ok('restore the rest', 'pg_restore', '--exit-on-error', '-L', "$file.rest", '-d', 'early', $file);
is_restored('early', 'tables later');

# ---- by somebody who may only read ----

run_ok('pg_dump by a reader', 'pg_dump', '-U', 'dumper', '-Fc', '-f', "$file.reader", 'shop');
new_database('reader');
run_ok('pg_restore of it', 'pg_restore', '--exit-on-error', '-d', 'reader', "$file.reader");
is_restored('reader', 'dumped by a reader');

# ---- jobs that had not ended, tables that are gone ----

sql('shop', <<'END');
INSERT INTO _dupn.job (model_id, model_name, owner, action, options, state, pid, extension_oid)
SELECT m.model_id, m.name, m.owner, 'train', '{}', s, 1, e.oid
FROM _dupn.model m, pg_extension e, unnest('{queued,running}'::text[]) s WHERE m.name = 'second' AND e.extname = 'dupn';
DROP TABLE shop.events;
END
run_ok('pg_dump without the events', 'pg_dump', '-Fc', '-f', "$file.gone", 'shop');
new_database('gone');
run_ok('pg_restore of it', 'pg_restore', '--exit-on-error', '-d', 'gone', "$file.gone");
is(sql('gone', 'SELECT string_agg(model, \' \' ORDER BY model) FROM dupn_models'), 'first second', 'all models are there');
is(sql('gone', 'SELECT count(*), count(md5(data)) FROM _dupn.weight'), sql('shop', 'SELECT count(*), count(*) FROM _dupn.weight'), 'all weights are there');
fails($node, 'gone', "SELECT dupn_user_vector(1, model => 'first')", '42P01', 'shop\.events', 'answers need the events');

sql('gone', 'SET ROLE keeper; CREATE TABLE shop.events AS SELECT 1::bigint AS user_id, i::bigint AS item_id, \'buy\' AS action,'
	  . " '2024-01-01Z'::timestamptz + i * interval '1 minute' AS occurred_at FROM generate_series(1, 5) i");
is(sql('gone', "SELECT dupn_user_vector(1, model => 'first') IS NOT NULL"), 't', 'until they are back');

my $unfinished = "SELECT string_agg(state, ' ' ORDER BY job_id) FROM _dupn.job WHERE ended_at IS NULL OR message LIKE '%dump%'";
is(sql('gone', $unfinished), 'queued running', 'unfinished jobs came along');
$node->psql('gone', "CALL dupn_run('first')");
ok($node->poll_query_until('gone', "SELECT ($unfinished) = 'failed failed'"), 'but are given up, not taken up');

done_testing();
