# Jobs that nobody watches: skipped while one like them is there, tried again
# after a failure with growing delays, ended in time, and forgotten in time.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Shop ();
use Test::More;
use Time::HiRes qw(time usleep);

my $node = PostgreSQL::Test::Cluster->new('primary');
$node->init;
$node->append_conf('postgresql.conf', <<'END');
max_worker_processes = 8
max_logical_replication_workers = 0
max_parallel_workers = 0
restart_after_crash = on
autovacuum = off
END
$node->start;

my $db = 'retry';
my $long = '"hidden": 256, "epochs": 10000, "patience": 10000';
sub sql { return $node->safe_psql($db, shift) }
sub fails { return Shop::fails($node, $db, @_) }
sub state { return sql("SELECT state FROM dupn_jobs WHERE job_id = $_[0]") }
sub newest { return sql('SELECT max(job_id) FROM dupn_jobs') }
sub workers { return sql("SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'dupn job%'") }
sub no_workers { return $node->poll_query_until($db, "SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type LIKE 'dupn job%'") }

sub start_long
{
	my ($model, $options) = @_;
	my $job = sql("SELECT dupn_train('$model', '{$long$options}')");
	$node->poll_query_until($db, "SELECT state = 'running' AND phase <> 'starting' FROM dupn_jobs WHERE job_id = $job")
	  or die "job $job does not run: " . sql("SELECT state, message FROM dupn_jobs WHERE job_id = $job");
	return $job;
}

# Reading events fails while it storms, takes long while they sleep.
$node->safe_psql('postgres', "CREATE DATABASE $db");
sql(<<'END');
CREATE EXTENSION dupn;
CREATE ROLE keeper LOGIN;
CREATE SCHEMA shop AUTHORIZATION keeper;
SET ROLE keeper;
CREATE TABLE shop.stored AS
SELECT u AS user_id, (u * 7 + e * e) % 50 AS item_id, '2024-01-01Z'::timestamptz + e * interval '1 hour' AS occurred_at
FROM generate_series(1, 200) u, generate_series(1, 20) e;
CREATE TABLE shop.weather AS SELECT 'fair' AS now;
CREATE FUNCTION shop.look() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	CASE (SELECT now FROM shop.weather)
		WHEN 'storm' THEN RAISE 'it storms' USING ERRCODE = 'disk_full';
		WHEN 'calm' THEN PERFORM pg_sleep(30);
		WHEN 'stubborn' THEN
			BEGIN
				PERFORM pg_sleep(30);
			EXCEPTION WHEN query_canceled THEN
				NULL;
			END;
		ELSE NULL;
	END CASE;
	RETURN true;
END $$;
CREATE VIEW shop.events AS SELECT s.* FROM (SELECT shop.look() AS ok OFFSET 0) l, shop.stored s WHERE l.ok;
END
foreach my $model ('shop', 'second')
{
	sql(<<"END");
SET ROLE keeper;
SELECT dupn_create_model('$model', events => 'shop.events', user_column => 'user_id', time_column => 'occurred_at',
	item_columns => '{item_id}', options => '{"hidden": 8, "attention": [8, 4], "epochs": 1, "max_events": 20}');
SELECT dupn_add_task('$model', 'next', 'next_item');
CALL dupn_run('$model');
END
}
sub weather { sql("UPDATE shop.weather SET now = '$_[0]'") }

# ---- options ----

fails("SELECT dupn_train('shop', '{\"when_running\": \"later\"}')", '22023', '"when_running" must be "queue" or "skip"', 'another word');
fails("SELECT dupn_train('shop', '{\"retries\": -1}')", '22023', '"retries" must be between 0 and 100', 'less than no retry');
fails("SELECT dupn_train('shop', '{\"retry_delay\": \"7 hours\"}')", '22023', '"retry_delay" must be between 0 and 6 hours', 'a delay that is too long');
fails("SELECT dupn_evaluate('shop', options => '{\"max_runtime\": \"2 years\"}')", '22023', '"max_runtime" must be between 0 and 365 days', 'a time that is too long');
fails("SELECT dupn_alter_model('shop', '{\"max_runtime\": \"soon\"}')", '22007', 'soon.*max_runtime', 'a time that is none');
is(sql("SELECT count(*) FROM dupn_jobs"), 2, 'enqueue nothing');

# ---- skip ----

my $job = start_long('shop', '');
my $skip = '{"when_running": "skip", "seed": 3}';
fails("CALL dupn_run('shop', 'train', '$skip')", '55006', qq(skipped: job $job \\(train\\) of model "shop" is running.*HINT:.*queue), 'one is running');
is(sql("SELECT state, message, started_at IS NULL, ended_at IS NOT NULL, options FROM dupn_jobs WHERE job_id = " . newest()),
	qq(skipped|skipped: job $job (train) of model "shop" is running|t|t|{"seed": 3}), 'the skipped one has a row, which says why');
my ($status, $stdout, $stderr) = $node->psql($db, "SELECT dupn_train('shop', '$skip')");
is("$status $stdout", "0 $job", 'the function returns the one that runs');
like($stderr, qr/NOTICE:  skipped: job $job/, 'with a notice');
is(newest(), $job + 1, 'and adds no row');
my $other = sql("SELECT dupn_evaluate_baselines('shop', '2024-01-01 12:00Z', options => '{\"when_running\": \"skip\"}')");
is(state($other), 'queued', 'another action is not like it');
fails("CALL dupn_run('shop', 'baselines', '{\"since\": \"2024-01-02\", \"when_running\": \"skip\"}')", '55006', "job $other \\(baselines\\).* is queued", 'one is queued');
my $behind = sql("SELECT dupn_train('shop')");
is(state($behind), 'queued', 'without the option it queues up');
sql("SELECT dupn_cancel($job)");
is(sql("SELECT dupn_wait($other), dupn_wait($behind)"), 'done|done', 'and is done');

# Of two at once one finds the other's.
my $first = $node->background_psql($db, on_error_stop => 0);
$job = $first->query_safe("BEGIN; SELECT dupn_train('shop', '$skip')");
fails("SET lock_timeout = '300ms'; CALL dupn_run('shop', 'train', '$skip')", '55P03', 'lock timeout', 'one that is not committed is waited for');
is(sql("SET lock_timeout = '300ms'; SELECT dupn_cancel(dupn_train('second', '$skip'))"), 't', 'but not of another model');
$first->query_safe("COMMIT");
sql("SELECT dupn_wait($job)");
$first->quit;

# A dead one is no reason.
$job = start_long('shop', ', "retries": 5');
sql("SELECT pg_terminate_backend(pid) FROM dupn_jobs WHERE job_id = $job");
ok(no_workers(), 'a process was terminated');
is(state($job), 'running', 'which its job does not know yet');
sql("CALL dupn_run('shop', 'train', '$skip')");
is(state($job), 'failed', 'it is found out');
is(state(newest()), 'done', 'and another one is done');
is(sql("SELECT state, due_at > clock_timestamp() FROM dupn_jobs WHERE retry_of = $job"), 'queued|t', 'its further attempt waits');
sql("SELECT dupn_cancel(job_id) FROM dupn_jobs WHERE retry_of = $job");

# ---- again, later ----

weather('storm');
fails("CALL dupn_run('shop', 'train', '{\"retries\": 2, \"retry_delay\": \"2 seconds\"}')", '38000',
	qr/job \d+ failed: 53100: it storms; job \d+ tries again after 20/, 'a failure tells when it is tried again');
my $again = newest();
is(sql("SELECT a.attempts, b.attempts, b.retry_of = a.job_id, b.state, a.options = b.options, date_trunc('second', b.due_at - a.ended_at + interval '500 ms')
	FROM dupn_jobs a, dupn_jobs b WHERE b.job_id = $again AND a.job_id = b.retry_of"), '1|2|t|queued|t|00:00:02', 'as a job of its own, which is due');
is(sql("SELECT dupn_wait($again, '100 ms')"), 'queued', 'before its time it is not begun');
ok(no_workers(), 'no process waits for it');
is(sql("SELECT dupn_wait($again)"), 'failed', 'who waits for it starts it');
is(sql("SELECT started_at >= due_at AND started_at < due_at + interval '1900 ms' FROM dupn_jobs WHERE job_id = $again"), 't', 'in time');
my $third = newest();
is(sql("SELECT b.attempts, date_trunc('second', b.due_at - a.ended_at + interval '500 ms') FROM dupn_jobs a, dupn_jobs b
	WHERE a.job_id = $again AND b.job_id = $third AND b.retry_of = $again"), '3|00:00:04', 'the next delay is twice as long');
sql("UPDATE _dupn.job SET due_at = now() WHERE job_id = $third");
usleep(500_000);
is(state($third) . ' ' . workers(), 'queued 0', 'nobody wakes for it');
weather('fair');
sql("CALL dupn_run('second', 'baselines')");
ok($node->poll_query_until($db, "SELECT state = 'done' FROM dupn_jobs WHERE job_id = $third"), 'a job of another model starts it');
is(sql("SELECT count(*) FROM dupn_jobs WHERE retry_of = $third"), 0, 'after a success there is none');

weather('storm');
fails("CALL dupn_run('shop', 'train', '{\"retries\": 1, \"retry_delay\": 0}')", '38000', 'it storms', 'with no delay');
$again = newest();
is(sql("SELECT dupn_wait($again)"), 'failed', 'the process goes on with it at once');
is(newest(), $again, 'and there are no more attempts than were asked for');

fails("CALL dupn_run('shop', 'train', '{\"retries\": 9, \"retry_delay\": \"5 hours\"}')", '38000', 'tries again', 'a long delay');
$again = newest();
sql("UPDATE _dupn.job SET attempts = 8, due_at = now() WHERE job_id = $again");
is(sql("SELECT dupn_wait($again)"), 'failed', 'a late attempt');
is(sql("SELECT date_trunc('second', due_at - enqueued_at + interval '500 ms') FROM dupn_jobs WHERE retry_of = $again"), '06:00:00', 'no delay is longer than 6 hours');
$again = newest();
weather('fair');
fails("SELECT dupn_drop_model('shop')", '55006', "in use by job $again.*dupn_cancel", 'a model is not dropped while an attempt waits');
sql("CALL dupn_run('shop', 'train', '{\"seed\": 8}')");
is(state($again), 'queued', 'a job of other options leaves it');
sql("CALL dupn_run('shop', 'train', '{\"when_running\": \"skip\"}')");
is(sql("SELECT state, message FROM dupn_jobs WHERE job_id = $again"), 'cancelled|job ' . newest() . ' takes its place', 'one of the same takes its place');

# What would fail again, and what was not to go on.
my $retries = '"retries": 3, "retry_delay": 0';
sql('ALTER VIEW shop.events RENAME occurred_at TO happened_at');
fails("CALL dupn_run('shop', 'train', '{$retries}')", '38000', 'failed: 42703: .*occurred_at', 'a column that is gone');
is(sql('SELECT max(job_id) FROM dupn_jobs WHERE retry_of IS NULL'), newest(), 'would be gone again');
sql('ALTER VIEW shop.events RENAME happened_at TO occurred_at');
$job = start_long('shop', ", $retries");
sql("SELECT dupn_cancel($job)");
is(sql("SELECT dupn_wait($job)") . ' ' . newest(), "cancelled $job", 'nor has a cancelled job one');
$job = start_long('shop', ", $retries");
sql("SELECT pg_terminate_backend(pid) FROM dupn_jobs WHERE job_id = $job");
no_workers();
sql("SELECT dupn_cancel($job)");
is(state($job) . ' ' . newest(), "failed $job", 'nor one that is cancelled after its process died');

# A crash is a failure like any other, and does not come again at once.
foreach my $place ('job: taken', 'job: before end')
{
	my $crashes = () = slurp_file($node->logfile) =~ /terminated by signal 9/g;
	sql("ALTER ROLE keeper SET dupn.fail_point = '$place'");
	my $offset = -s $node->logfile;
	sql("SELECT dupn_train('shop', '{\"retries\": 1, \"retry_delay\": \"1 second\"}')");
	$node->wait_for_log(qr/all server processes terminated; reinitializing/, $offset);
	$node->poll_query_until($db, 'SELECT true');
	$job = newest();
	is(state($job), 'running', "$place: a crash leaves the row as it was");
	sql("ALTER ROLE keeper RESET dupn.fail_point");
	is(sql("SELECT dupn_wait($job)"), 'failed', 'whoever waits finds out');
	like(sql("SELECT message FROM dupn_jobs WHERE job_id = $job"), qr/ended unexpectedly.*; job \d+ tries again after/, 'and that it is due again');
	is(sql("SELECT cardinality(dupn_user_vector(1, model => 'shop')::real[]) > 0"), 't', 'the published version serves');
	$again = newest();
	is(sql("SELECT dupn_wait($again)"), 'done', 'the further attempt succeeds');
	is((() = slurp_file($node->logfile) =~ /terminated by signal 9/g) - $crashes, 1, 'after one crash');
}

# ---- in time ----

# Ends within a second of its time, with this message, and leaves nothing behind.
sub overruns
{
	my ($call, $limit, $text, $name) = @_;
	my $published = sql("SELECT published_version FROM dupn_models WHERE model = 'shop'");
	fails("CALL dupn_run($call)", '38000', "failed: 57014: ran longer than max_runtime \\($text\\)", "$name: a job that runs too long fails");
	my $took = sql('SELECT EXTRACT(epoch FROM ended_at - started_at) FROM dupn_jobs ORDER BY job_id DESC LIMIT 1');
	cmp_ok($took, '>=', $limit, 'not before its time');
	cmp_ok($took, '<', $limit + 1, "within a second ($took)");
	ok(no_workers(), 'no process remains');
	is(sql("SELECT published_version FROM dupn_models WHERE model = 'shop'"), $published, 'the published version stays');
	is(sql("SELECT count(*) FROM dupn_jobs WHERE retry_of IS NOT NULL AND state = 'queued'"), 0, 'and it is not tried again');
}
overruns(qq('shop', 'train', '{$long, "max_runtime": "2 seconds", $retries}'), 2, '00:00:02', 'training');
overruns(qq('shop', 'train', '{$long, "max_runtime": "2 seconds", "workers": 2}'), 2, '00:00:02', 'several processes');
weather('calm');
overruns(qq('shop', 'train', '{"max_runtime": "1 second"}'), 1, '00:00:01', 'reading');
sql(qq(SELECT dupn_alter_model('shop', '{"max_runtime": "1 second"}')));
overruns(qq('shop', 'baselines'), 1, '00:00:01', 'by the option of the model');
weather('fair');
my $locker = $node->background_psql($db);
$locker->query_safe('BEGIN; LOCK TABLE shop.stored');
overruns(qq('shop', 'baselines'), 1, '00:00:01', 'waiting for a lock');
$locker->query_safe('ROLLBACK');
$locker->quit;
weather('stubborn');
overruns(qq('shop', 'baselines'), 1, '00:00:01', 'in a function that does not want to end');
weather('fair');
sql(qq(CALL dupn_run('shop', 'train', '{"max_runtime": 0}')));
$job = start_long('shop', ', "max_runtime": "3 seconds"');
$behind = start_long('shop', ', "max_runtime": 0');
is(state($job), 'failed', 'the job behind it begins');
usleep(3_200_000);
is(state($behind), 'running', 'and has its own time');
sql("SELECT dupn_cancel($behind)");
is(sql("SELECT dupn_wait($behind)"), 'cancelled', 'and its own end');
is(sql("SELECT max_runtime FROM dupn_jobs WHERE job_id IN ($job, $behind) ORDER BY job_id"), "00:00:03\n", 'which the view shows');

# ---- history ----

fails("SELECT count(*) FROM dupn_build_info(); SET ROLE keeper; SET dupn.job_history = '1h'", '42501', 'dupn.job_history', 'the history belongs to all, so only superusers set it');
sql(<<"END");
ALTER DATABASE $db SET dupn.job_history = '2d';
INSERT INTO _dupn.job (model_id, model_name, owner, action, options, state, ended_at, extension_oid)
	SELECT 0, 'old', 'keeper', 'train', '{}', s, now() - d * interval '1 day', 1
	FROM generate_series(1, 3, 2) d, unnest('{done,failed,cancelled,skipped}'::text[]) s;
INSERT INTO _dupn.evaluation (job_id, model_id, version, evaluated_at)
	SELECT - d, model_id, published, now() - d * interval '1 day' FROM generate_series(1, 3, 2) d, _dupn.model WHERE name = 'shop';
INSERT INTO _dupn.evaluation_metric (job_id, task, source, metric, slice) SELECT - d, 'next', 'model', 'mrr', 'all' FROM generate_series(1, 3, 2) d;
END
sql("CALL dupn_run('second', 'baselines')");
is(sql("SELECT count(*), bool_and(ended_at > now() - interval '2 days') FROM dupn_jobs WHERE model = 'old'"), '4|t', 'older jobs go');
is(sql("SELECT string_agg(job_id::text, ' ') FROM dupn_evaluations WHERE job_id < 0"), '-1', 'and older evaluations with what they found');
is(sql("SELECT count(*) FROM _dupn.evaluation_metric WHERE job_id = -3"), 0, 'every row of it');
sql("INSERT INTO _dupn.evaluation (job_id, model_id) SELECT -10 - i, model_id FROM generate_series(1, 1010) i, _dupn.model WHERE name = 'shop'");
sql("CALL dupn_run('second', 'baselines')");
is(sql("SELECT count(*), max(job_id) > 0 FROM _dupn.evaluation"), '1000|t', 'so do too many');

$node->stop;
done_testing();
