# Jobs: when they start, that they give way, and what remains of them when
# something goes wrong.  Whatever happens, the published version serves.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

# Two slots for background workers, and nobody else who takes one.
my $node = PostgreSQL::Test::Cluster->new('primary');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', <<'END');
max_worker_processes = 2
max_logical_replication_workers = 0
max_parallel_workers = 0
max_prepared_transactions = 2
restart_after_crash = on
deadlock_timeout = 200ms
autovacuum = off
END
$node->start;

my $long = '{"hidden": 256, "epochs": 10000, "patience": 10000}';

# A database with the extension and models of role "keeper", quick to train.
sub make_database
{
	my ($database, @models) = @_;
	$node->safe_psql('postgres', "CREATE DATABASE $database");
	$node->safe_psql($database, <<'END');
CREATE EXTENSION dupn;
DO $$BEGIN IF to_regrole('keeper') IS NULL THEN CREATE ROLE keeper LOGIN; END IF; END$$;
CREATE SCHEMA shop AUTHORIZATION keeper;
SET ROLE keeper;
CREATE TABLE shop.events AS
SELECT u AS user_id, (u * 7 + e * e) % 50 AS item_id, '2024-01-01Z'::timestamptz + e * interval '1 hour' AS occurred_at
FROM generate_series(1, 500) u, generate_series(1, 40) e;
END
	foreach my $model (@models)
	{
		$node->safe_psql($database, <<"END");
SET ROLE keeper;
SELECT dupn_create_model('$model', events => 'shop.events', user_column => 'user_id', time_column => 'occurred_at',
	item_columns => '{item_id}', options => '{"hidden": 8, "attention": [8, 8], "epochs": 1, "max_events": 20}');
SELECT dupn_add_task('$model', 'next', 'next_item');
END
	}
}

my $db = 'jobs';
sub sql { return $node->safe_psql($db, shift) }

# The statement fails with this SQLSTATE and a message like this.
sub fails
{
	my ($statements, $sqlstate, $pattern, $name) = @_;
	my ($status, $stdout, $stderr) = $node->psql($db, $statements,
		extra_params => [ '-v', 'VERBOSITY=verbose' ], on_error_stop => 1);
	like($stderr, qr/ERROR:  $sqlstate: .*$pattern/s, $name);
}

sub state { return sql("SELECT state FROM dupn_jobs WHERE job_id = $_[0]") }

# Enqueue a long job and wait until its process works on it.
sub start_long
{
	my ($model) = @_;
	my $job = sql("SELECT dupn_train('$model', '$long')");
	$node->poll_query_until($db, "SELECT state = 'running' AND phase <> 'starting' FROM dupn_jobs WHERE job_id = $job")
	  or die "job $job does not run: " . sql("SELECT state, message FROM dupn_jobs WHERE job_id = $job");
	return $job;
}

sub workers { return $node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'dupn job'") }

sub no_workers
{
	return $node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'dupn job'");
}

# Seconds that something takes.
sub seconds
{
	my ($code) = @_;
	my $begin = time;
	$code->();
	return time - $begin;
}

make_database($db, 'shop', 'second', 'third');

# ---- when a job starts ----

sql("BEGIN; SELECT dupn_train('shop'); ROLLBACK");
is(sql('SELECT count(*) FROM dupn_jobs'), 0, 'a transaction rolled back enqueues nothing');
sql("BEGIN; SAVEPOINT a; SELECT dupn_train('shop'); ROLLBACK TO a; COMMIT");
is(sql('SELECT count(*) FROM dupn_jobs'), 0, 'a savepoint rolled back enqueues nothing');
sql('CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child (id int REFERENCES parent DEFERRABLE INITIALLY DEFERRED)');
fails("BEGIN; INSERT INTO child VALUES (1); SELECT dupn_train('shop'); COMMIT", '23503', 'child', 'a commit that fails');
is(sql('SELECT count(*) FROM dupn_jobs'), 0, 'enqueues nothing');
fails("BEGIN; SELECT dupn_train('shop'); PREPARE TRANSACTION 'p'", '0A000', 'PREPARE', 'a prepared transaction is refused');
unlike(slurp_file($node->logfile), qr/dupn: job|dupn job/, 'and no process was ever started');

fails("SELECT dupn_wait(dupn_train('shop'))", '55000', 'commits.*HINT:.*dupn_run', 'waiting in the transaction that enqueued is refused');
fails('SELECT dupn_wait(12345)', '42704', 'job 12345 does not exist', 'waiting for no job');
fails("BEGIN; CALL dupn_run('shop'); COMMIT", '2D000', 'transaction block', 'dupn_run in a transaction block');
fails("BEGIN; DO 'BEGIN CALL dupn_run(''shop''); END'", '2D000', 'transaction block', 'dupn_run in a block of code in a transaction');
fails("CALL dupn_run('shop', 'trian')", '22023', 'HINT:.*train', 'an unknown action');
fails("SELECT dupn_train('shop', '{\"epoch\": 1}')", '22023', 'HINT:.*epochs', 'an unknown option');
fails("SELECT dupn_train('shop', '[1]')", '22023', 'object', 'options that are no object');
fails("SELECT dupn_train('nothing')", '42704', 'nothing', 'an unknown model');
fails("BEGIN READ ONLY; SELECT dupn_train('shop')", '25006', 'read-only', 'a read-only transaction');

sql("CALL dupn_run('shop')");
is(sql("SELECT model, action, state, percent, version, pid IS NULL, message IS NOT NULL FROM dupn_jobs ORDER BY job_id DESC LIMIT 1"),
	'shop|train|done|100.0|' . sql("SELECT max(version) FROM dupn_versions WHERE model = 'shop'") . '|t|t', 'dupn_run waits and succeeds');
is(sql("SELECT published_version = (SELECT max(version) FROM dupn_versions) FROM dupn_models WHERE model = 'shop'"), 't', 'its version serves');
ok(no_workers(), 'the process ends with the queue');

# An aborted subtransaction leaves the others of the same transaction.
my $job = sql("BEGIN; SAVEPOINT a; SELECT dupn_train('shop'); ROLLBACK TO a; SAVEPOINT b; SELECT dupn_train('second'); RELEASE b; COMMIT");
($job) = $job =~ /(\d+)$/;
is(sql("SELECT dupn_wait($job)"), 'done', 'a released savepoint enqueues');
is(sql("SELECT dupn_wait($job, '1 ms'), dupn_wait(NULL) IS NULL, dupn_cancel($job)"), 'done|t|f', 'what has ended is told at once');

# ---- who may ----

sql('CREATE ROLE other LOGIN');
fails("SET ROLE other; SELECT dupn_train('shop')", '42501', 'owner', 'only the owner trains');
fails("SET ROLE other; SELECT dupn_wait($job)", '42501', 'owner', 'only the owner waits');
fails("SET ROLE other; SELECT dupn_cancel($job)", '42501', 'owner', 'only the owner cancels');
fails("SET ROLE other; SELECT dupn_publish('shop', 1)", '42501', 'owner', 'only the owner publishes');
SKIP:
{
	skip 'a role without LOGIN may own jobs from 17 on', 1 if $node->pg_version >= 17;
	sql('ALTER ROLE keeper NOLOGIN');
	fails("SELECT dupn_train('shop')", '55000', 'log in.*HINT:.*ALTER ROLE keeper LOGIN', 'an owner who cannot log in');
	sql('ALTER ROLE keeper LOGIN');
}
sql("REVOKE CONNECT ON DATABASE $db FROM PUBLIC");
fails("SELECT dupn_train('shop')", '42501', 'connect.*HINT:.*GRANT CONNECT', 'an owner who may not connect');
sql("GRANT CONNECT ON DATABASE $db TO PUBLIC");

# The owner's settings do not reach a job.
sql(<<END);
ALTER ROLE keeper SET timezone = 'Asia/Shanghai';
ALTER ROLE keeper SET search_path = nowhere;
ALTER ROLE keeper SET default_transaction_read_only = on;
ALTER ROLE keeper SET statement_timeout = '1ms';
ALTER ROLE keeper SET role = 'other';
END
sql('GRANT other TO keeper');
sql("CALL dupn_run('shop')");
pass('settings of the owner change nothing');
sql('ALTER ROLE keeper RESET ALL; REVOKE other FROM keeper');

# ---- while it runs ----

$job = start_long('shop');
is(sql("SELECT dupn_wait($job, '50 ms')"), 'running', 'a wait that is over returns the state');
is(sql("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1; SELECT dupn_wait($job, '50 ms'); COMMIT"), "1\nrunning", 'in any isolation level');

# A wait that is interrupted leaves no subtransaction behind.
my ($ignored, $interrupted) = $node->psql($db, <<END, on_error_stop => 0);
SET statement_timeout = '200ms';
SELECT dupn_wait($job);
SELECT 1;
CALL dupn_run('shop');
SELECT dupn_cancel(max(job_id)) FROM dupn_jobs;
END
is($interrupted, "1\nt", 'after a wait or a run that was interrupted the session goes on');

$node->poll_query_until($db, "SELECT phase <> 'starting' AND percent > 0 FROM dupn_jobs WHERE job_id = $job");
my ($looks, $snapshots) = (40, 0);
for (1 .. $looks)
{
	$snapshots++ if sql("SELECT backend_xmin IS NOT NULL FROM pg_stat_activity WHERE backend_type = 'dupn job'") eq 't';
	usleep(25_000);
}
cmp_ok($snapshots, '<=', $looks / 4, 'no snapshot is held while computing');
like(sql("SELECT query FROM pg_stat_activity WHERE backend_type = 'dupn job'"), qr/^dupn: train model shop/, 'pg_stat_activity tells what it does');
is(sql("SELECT usename FROM pg_stat_activity WHERE backend_type = 'dupn job'"), 'keeper', 'it runs as the owner');

my $behind = sql("SELECT dupn_train('shop')");
my $given_up = sql("SELECT dupn_train('shop')");
is(sql("SELECT dupn_cancel($given_up)"), 't', 'a waiting job is cancelled');
is(state($given_up), 'cancelled', 'at once');
usleep(300_000);
is(state($behind), 'queued', 'a second job of a model waits');
is(workers(), 1, 'without a process');

my $published = sql("SELECT published_version FROM dupn_models WHERE model = 'shop'");
my $took = seconds(sub {
	sql("SELECT dupn_cancel($job)");
	is(sql("SELECT dupn_wait($job)"), 'cancelled', 'a running job is cancelled');
});
cmp_ok($took, '<', 1, "within a second ($took)");
is(sql("SELECT published_version FROM dupn_models WHERE model = 'shop'"), $published, 'the published version stays');
is(sql("SELECT dupn_wait($behind)"), 'done', 'the second job runs then');
is(sql("SELECT b.started_at >= a.ended_at FROM dupn_jobs a, dupn_jobs b WHERE a.job_id = $job AND b.job_id = $behind"), 't', 'after the first');
ok(no_workers(), 'no process remains');
is(sql("SELECT count(*) FROM dupn_versions WHERE state = 'building'"), 0, 'nor half a version');

$job = start_long('shop');
sql("SELECT pg_cancel_backend(pid) FROM dupn_jobs WHERE job_id = $job");
is(sql("SELECT dupn_wait($job)"), 'cancelled', 'pg_cancel_backend cancels the job');
ok(no_workers(), 'no process remains');

# A job that waits for what the waiting transaction has locked.
$job = sql("SELECT 1; BEGIN; LOCK TABLE shop.events; COMMIT; SELECT dupn_train('shop')");
($job) = $job =~ /(\d+)$/;
sql("SELECT dupn_wait($job)");
my $locker = $node->background_psql($db, on_error_stop => 0);
$locker->query('BEGIN; LOCK TABLE shop.events');
$job = sql("SELECT dupn_train('shop')");
$node->poll_query_until($db, "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE backend_type = 'dupn job'");
my ($output) = $locker->query("SELECT dupn_wait($job)");
like($locker->{stderr}, qr/deadlock detected/, 'a deadlock with the wait is found');
$locker->query('ROLLBACK');
$locker->quit;
is(sql("SELECT dupn_wait($job)"), 'done', 'and the job goes on');

# ---- slots ----

my $first = start_long('shop');
my $second = start_long('second');
fails("SELECT dupn_train('third')", '53400', 'DETAIL:.*max_worker_processes.*HINT', 'no slot for a worker');
is(sql("SELECT count(*) FROM dupn_jobs WHERE model = 'third'"), 0, 'enqueues nothing');
$behind = sql("SELECT dupn_train('second')");
is(state($behind), 'queued', 'a job behind another needs no slot');
sql("SELECT dupn_cancel(job_id) FROM dupn_jobs WHERE state IN ('queued', 'running') ORDER BY job_id DESC");
is(sql("SELECT dupn_wait($first), dupn_wait($second), dupn_wait($behind)"), 'cancelled|cancelled|cancelled', 'all are cancelled');
ok(no_workers(), 'no process remains');

# ---- failures ----

sql('ALTER TABLE shop.events RENAME TO elsewhere');
fails("CALL dupn_run('shop')", '38000', 'failed: 42', 'dupn_run fails with the job');
like(sql('SELECT message FROM dupn_jobs ORDER BY job_id DESC LIMIT 1'), qr/^42\w{3}: .*events/, 'whose row says why');
sql('ALTER TABLE shop.elsewhere RENAME TO events');
is(sql("SELECT published_version IS NOT NULL FROM dupn_models WHERE model = 'shop'"), 't', 'the published version stays');

# What a hostile view runs, runs as the owner and cannot get out.
sql(<<'END');
SET ROLE keeper;
CREATE FUNCTION shop.hostile() RETURNS boolean LANGUAGE plpgsql AS
$$BEGIN EXECUTE 'SET session_authorization = ' || current_setting('shop.victim', true); RETURN true; END$$;
ALTER TABLE shop.events RENAME TO plain;
CREATE VIEW shop.events AS SELECT * FROM shop.plain WHERE shop.hostile();
END
$node->safe_psql('postgres', "ALTER DATABASE $db SET shop.victim = '" . $node->safe_psql('postgres', 'SELECT current_user') . "'");
fails("CALL dupn_run('shop')", '38000', 'failed: 42501.*security-restricted', 'functions in views cannot change the role');
sql('DROP VIEW shop.events; ALTER TABLE shop.plain RENAME TO events');

# What a dump brings, and old rows.
sql("INSERT INTO _dupn.job (model_id, model_name, owner, action, options, state, extension_oid)
	SELECT model_id, name, owner, 'train', '{}', 'queued', 1 FROM _dupn.model WHERE name = 'shop'");
sql("INSERT INTO _dupn.job (model_id, model_name, owner, action, options, state, ended_at, extension_oid)
	SELECT 0, 'old', 'keeper', 'train', '{}', 'done', now() - interval '91 days', 1 FROM generate_series(1, 10)");
sql("CALL dupn_run('shop')");
like(sql('SELECT message FROM _dupn.job WHERE state = \'failed\' ORDER BY ended_at DESC LIMIT 1'), qr/dump/, 'a job from a dump is not done');
is(sql("SELECT count(*) FROM dupn_jobs WHERE model = 'old'"), 0, 'old rows go');
sql("INSERT INTO _dupn.job (model_id, model_name, owner, action, options, state, ended_at, extension_oid)
	SELECT 0, 'many', 'keeper', 'train', '{}', 'done', now(), 1 FROM generate_series(1, 1010)");
sql("CALL dupn_run('shop')");
cmp_ok(sql('SELECT count(*) FROM dupn_jobs'), '<=', 1001, 'so do too many');

# ---- versions ----

my ($newest, $before) = split /\n/, sql("SELECT version FROM dupn_versions WHERE model = 'shop' ORDER BY version DESC LIMIT 2");
is(sql("SELECT published FROM dupn_versions WHERE model = 'shop' AND version = $newest"), 't', 'the newest version serves');
is(sql("SELECT dupn_rollback('shop')"), $before, 'dupn_rollback returns the one before');
is(sql("SELECT published_version FROM dupn_models WHERE model = 'shop'"), $before, 'which serves');
fails("SELECT dupn_drop_version('shop', $before)", '55006', 'serves', 'the one that serves cannot be dropped');
sql("SELECT dupn_drop_version('shop', $newest)");
fails("SELECT dupn_rollback('shop')", '55000', 'before', 'nothing to roll back to');
fails("SELECT dupn_publish('shop', $newest)", '42704', 'no version', 'a dropped version cannot be published');
fails("SELECT dupn_publish('shop', NULL)", '22004', 'null', 'nor none');
fails("SELECT dupn_drop_version('shop', $newest)", '42704', 'no version', 'nor dropped again');
sql("SELECT dupn_publish('shop', $before)");

# ---- giving way ----

make_database('doomed', 'shop');
$db = 'doomed';
start_long('shop');
$took = seconds(sub { sql('DROP EXTENSION dupn') });
cmp_ok($took, '<', 1, "DROP EXTENSION does not wait ($took)");
$took = seconds(sub { no_workers() });
cmp_ok($took, '<', 1, "and the process goes ($took)");
like(slurp_file($node->logfile), qr/a job of dupn ends: the extension was dropped/, 'without an error');

sql('CREATE EXTENSION dupn; DROP SCHEMA shop CASCADE');
$node->safe_psql('postgres', 'DROP DATABASE doomed');
make_database('doomed', 'shop');
start_long('shop');
$took = seconds(sub { $node->safe_psql('postgres', 'DROP DATABASE doomed') });
cmp_ok($took, '<', 1, "DROP DATABASE does not wait ($took)");

# Twenty seconds of reading, before the first row comes out of the sort.
make_database('doomed', 'shop');
sql('ALTER TABLE shop.events RENAME TO slow; CREATE VIEW shop.events AS SELECT * FROM shop.slow WHERE pg_sleep(0.001)::text IS NOT NULL');
sql("GRANT SELECT ON shop.events TO keeper; SELECT dupn_train('shop')");
$node->poll_query_until('doomed', "SELECT wait_event = 'PgSleep' FROM pg_stat_activity WHERE backend_type = 'dupn job'");
$took = seconds(sub { $node->safe_psql('postgres', 'DROP DATABASE doomed') });
cmp_ok($took, '<', 1, "nor for a job whose rows are being sorted ($took)");
$db = 'jobs';

# ---- the end of the process ----

$job = start_long('shop');
sql("SELECT pg_terminate_backend(pid) FROM dupn_jobs WHERE job_id = $job");
ok(no_workers(), 'a terminated process goes');
like(sql("SELECT message FROM dupn_jobs WHERE job_id = $job"), qr/process has ended; dupn_wait/, 'which the view tells');
is(sql("SELECT dupn_wait($job)"), 'failed', 'its job has failed');
like(sql("SELECT message FROM dupn_jobs WHERE job_id = $job"), qr/ended unexpectedly/, 'and says so');

$job = start_long('shop');
$published = sql("SELECT published_version FROM dupn_models WHERE model = 'shop'");
kill 'KILL', sql("SELECT pid FROM dupn_jobs WHERE job_id = $job");
$node->wait_for_log(qr/all server processes terminated; reinitializing/);
$node->poll_query_until($db, 'SELECT true');
is(sql("SELECT dupn_wait($job)"), 'failed', 'the job of a killed process has failed');
like(sql("SELECT message FROM dupn_jobs WHERE job_id = $job"), qr/ended unexpectedly/, 'and says so');
is(sql("SELECT published_version FROM dupn_models WHERE model = 'shop'"), $published, 'the published version stays');
is(sql("SELECT cardinality(dupn_user_vector(1, model => 'shop')::real[]) > 0"), 't', 'and serves');

$job = start_long('shop');
$behind = sql("SELECT dupn_train('shop')");
$took = seconds(sub { $node->stop('fast') });
cmp_ok($took, '<', 2, "a fast shutdown does not wait ($took)");
$node->start;
is(sql("SELECT dupn_wait($behind)"), 'done', 'a job that was waiting then is done by whoever waits for it');
is(state($job), 'failed', 'and the one that ran has failed');
is(sql("SELECT count(*) FROM dupn_versions WHERE state = 'building'"), 0, 'half a version is swept away');

start_long('shop');
$took = seconds(sub { $node->stop('immediate') });
cmp_ok($took, '<', 2, "neither does an immediate one ($took)");
$node->start;
sql("CALL dupn_run('shop')");
pass('training goes on after it');

# ---- a standby ----

$node->backup('b');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'b', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby);
foreach my $call ("dupn_train('shop')", "dupn_wait($job)", "dupn_cancel($job)")
{
	my ($status, $stdout, $stderr) = $standby->psql($db, "SELECT $call", extra_params => [ '-v', 'VERBOSITY=verbose' ]);
	like($stderr, qr/ERROR:  25006: .*recovery/, "a standby refuses $call");
}
is($standby->safe_psql($db, "SELECT state FROM dupn_jobs WHERE job_id = $job"), 'failed', 'but shows jobs');
$standby->stop;
$node->stop;

done_testing();
