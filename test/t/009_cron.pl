# The real pg_cron: its history tells of a job's success, failure and skip as
# dupn's own does.  Two servers wait for the same minute, one for each way in
# which pg_cron runs its entries.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Shop;
use Test::More;

my %node = map { $_ => PostgreSQL::Test::Cluster->new($_) } qw(sessions workers);
foreach my $node (values %node)
{
	$node->init;
	$node->append_conf('postgresql.conf', <<'END');
max_worker_processes = 16
autovacuum = off
END
}
$node{sessions}->start;
plan skip_all => 'pg_cron is not installed: scheduling with it is not tested'
  if $node{sessions}->safe_psql('postgres', "SELECT count(*) FROM pg_available_extensions WHERE name = 'pg_cron'") eq '0';
$node{sessions}->stop;

foreach my $name (keys %node)
{
	my $node = $node{$name};
	my $host = $node->host;
	$node->append_conf('postgresql.conf', <<"END");
shared_preload_libraries = 'pg_cron'
cron.database_name = 'postgres'
cron.host = '$host'
cron.use_background_workers = @{[$name eq 'workers' ? 'on' : 'off']}
END
	$node->start;
	$node->safe_psql('postgres', 'CREATE ROLE keeper LOGIN');
	create_shop($node, 'postgres', 'keeper');
	$node->safe_psql('postgres', 'CREATE EXTENSION pg_cron; GRANT USAGE ON SCHEMA cron TO keeper');
}
sub sql { my ($name, $statements) = @_; return $node{$name}->safe_psql('postgres', $statements) }

# ---- entries ----

my %running;
foreach my $name (keys %node)
{
	create_model($node{$name}, 'postgres', 'keeper', $_) foreach qw(good bad busy);
	sql($name, <<'END');
SET ROLE keeper;
CREATE VIEW shop.seen AS SELECT user_id, item_id, action, occurred_at + repeat('x', 3)::interval AS occurred_at FROM shop.events;
RESET ROLE;
UPDATE _dupn.model SET events = 'shop.seen' WHERE name = 'bad';
END
	$running{$name} = sql($name, q(SELECT dupn_train('busy', '{"hidden": 256, "epochs": 10000, "patience": 10000}')));
	sql($name, <<'END');
SET ROLE keeper;
SELECT cron.schedule('succeeds', '* * * * *', $$CALL dupn_run('good', 'train')$$);
SELECT cron.schedule('fails', '* * * * *', $$CALL dupn_run('bad', 'train')$$);
SELECT cron.schedule('is skipped', '* * * * *', $$CALL dupn_run('busy', 'train', '{"when_running": "skip"}')$$);
SELECT cron.schedule('is refused', '* * * * *', $$SELECT 1; CALL dupn_run('good', 'baselines')$$);
SELECT cron.schedule('enqueues', '* * * * *', $$SELECT dupn_evaluate_baselines('good')$$);
END
}

# ---- what cron's history says of their first run ----

foreach my $name (sort keys %node)
{
	my $running = $running{$name};
	my $said = sub {
		return sql($name, "SELECT status, return_message FROM cron.job_run_details JOIN cron.job USING (jobid) WHERE jobname = '$_[0]' ORDER BY runid LIMIT 1");
	};
	my $first = sub { return sql($name, "SELECT min(job_id) FROM dupn_jobs WHERE $_[0]") };

	$node{$name}->poll_query_until('postgres', "SELECT count(DISTINCT jobid) = (SELECT count(*) FROM cron.job)
		FROM cron.job_run_details WHERE status IN ('succeeded', 'failed')") or diag(sql($name, 'TABLE cron.job_run_details'));

	my $job = $first->("model = 'good' AND action = 'train'");
	is($said->('succeeds'), 'succeeded|CALL', "$name: a success");
	is(sql($name, "SELECT state, message ~ '^version 1 published' FROM dupn_jobs WHERE job_id = $job"), 'done|t', 'of a job that succeeded');
	is(sql($name, "SELECT r.start_time <= j.enqueued_at AND j.ended_at <= r.end_time FROM cron.job_run_details r JOIN cron.job USING (jobid), dupn_jobs j
		WHERE jobname = 'succeeds' AND j.job_id = $job ORDER BY r.runid LIMIT 1"), 't', 'which it has waited for');

	$job = $first->("model = 'bad'");
	like($said->('fails'), qr/^failed\|ERROR: +job $job failed: 22007: /, 'a failure, with the job and its reason');
	is(sql($name, "SELECT state FROM dupn_jobs WHERE job_id = $job"), 'failed', 'of a job that failed');

	$job = $first->("model = 'busy' AND job_id <> $running");
	like($said->('is skipped'), qr/^failed\|ERROR: +skipped: job $running \(train\) of model "busy" is running/, 'a skip, with the job that runs');
	is(sql($name, "SELECT state, message FROM dupn_jobs WHERE job_id = $job"), qq(skipped|skipped: job $running (train) of model "busy" is running), 'of a job that was skipped');
	is(sql($name, "SELECT state FROM dupn_jobs WHERE job_id = $running"), 'running', 'the one that runs goes on');

	like($said->('is refused'), qr/^failed\|ERROR: +dupn_run cannot run inside a transaction block/, 'a second command beside it is refused');
	like($said->('enqueues'), qr/^succeeded\|/, 'who only enqueues succeeds at once');
	ok($node{$name}->poll_query_until('postgres', "SELECT count(*) > 0 AND bool_and(state = 'done') FROM dupn_jobs WHERE action = 'baselines'"), 'of a job that is done later');
}

$_->stop foreach values %node;
done_testing();
