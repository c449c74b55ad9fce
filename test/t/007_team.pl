# Several processes that train one model: they find what one finds, the same
# every time, and go when any of them does.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Shop;
use Test::More;

# Three slots for background workers, and nobody else who takes one.
my $node = PostgreSQL::Test::Cluster->new('primary');
$node->init;
$node->append_conf('postgresql.conf', <<'END');
max_worker_processes = 3
max_logical_replication_workers = 0
max_parallel_workers = 0
autovacuum = off
END
$node->start;

sub sql { return $node->safe_psql('shop', shift) }

sub new_shop
{
	$node->safe_psql('postgres', 'CREATE DATABASE shop');
	create_shop($node, 'shop', 'keeper');
	create_model($node, 'shop', 'keeper', 'shop');
}

my $processes = "FROM pg_stat_activity WHERE backend_type LIKE 'dupn job%'";
sub all_gone { return $node->poll_query_until('postgres', "SELECT count(*) = 0 $processes") }

# A job that does not end by itself, once its members work.
sub start_long
{
	my $job = sql(q{SELECT dupn_train('shop', '{"hidden": 256, "epochs": 10000, "patience": 10000, "workers": 3}')});
	$node->poll_query_until('shop', "SELECT phase LIKE 'training%' AND workers = 3 FROM dupn_jobs WHERE job_id = $job")
	  or die "job $job does not train: " . sql("SELECT state, phase, workers, message FROM dupn_jobs WHERE job_id = $job");
	return $job;
}

# Wait for a job: its state, message and workers.
sub outcome
{
	my ($job) = @_;
	$node->psql('shop', "SELECT dupn_wait($job)");
	return sql("SELECT state, message, workers FROM dupn_jobs WHERE job_id = $job");
}

$node->safe_psql('postgres', 'CREATE ROLE keeper LOGIN');
new_shop();

# ---- what they find ----

# batches that cut histories, so that shares begin and end inside of them
sub train
{
	my ($workers) = @_;
	sql(qq{CALL dupn_run('shop', 'train', '{"workers": $workers, "batch_size": 100}')});
	return sql('SELECT max(version) FROM dupn_versions');
}

my ($one, $two, $again, $three) = map { train($_) } 1, 2, 2, 3;
is(sql('SELECT string_agg(workers::text, $$ $$ ORDER BY version) FROM dupn_versions'), '1 2 2 3', 'a version tells how many workers trained it');
is(sql("SELECT count(DISTINCT fingerprint) FROM _dupn.version WHERE version IN ($two, $again)"), '1', 'two find the same weights every time');

# the largest difference of what two versions say, over the largest number
sub difference
{
	my ($a, $b) = @_;
	return sql(<<"END");
SELECT max(abs(x - y)) / max(abs(x)) FROM generate_series(1, 200, 7) u,
	LATERAL (SELECT dupn_user_vector(u, model => 'shop', version => $a, as_of => '2024-01-01 15:30Z') AS p, dupn_user_vector(u, model => 'shop', version => $b, as_of => '2024-01-01 15:30Z') AS q OFFSET 0) v,
	LATERAL unnest(p::real[] || dupn_score('click', p, 7::bigint) || ARRAY(SELECT probability FROM dupn_classify('category', p) ORDER BY class),
		q::real[] || dupn_score('click', q, 7::bigint) || ARRAY(SELECT probability FROM dupn_classify('category', q) ORDER BY class)) n (x, y)
END
}

cmp_ok(difference($one, $two), '<', 1e-5, 'and what one finds, but for rounding');
cmp_ok(difference($one, $three), '<', 1e-5, 'so do three');
sql(q{CALL dupn_run('shop', 'train', '{"seed": 2}')});
cmp_ok(difference($one, sql('SELECT max(version) FROM dupn_versions')), '>', 1e-3, 'while another seed finds others');

# ---- fewer than asked for ----

sql(q{CALL dupn_run('shop', 'train', '{"workers": 5}')});
my $fewer = sql('SELECT job_id FROM dupn_jobs ORDER BY job_id DESC LIMIT 1');
is(sql("SELECT workers FROM dupn_jobs WHERE job_id = $fewer"), '3', 'a team is as large as there are slots');
like(sql("SELECT notes FROM dupn_jobs WHERE job_id = $fewer"), qr/3 of 5 workers: .*max_worker_processes.* is 3/, 'which is noted');
is(sql("SELECT workers FROM dupn_versions ORDER BY version DESC LIMIT 1"), '3', 'and kept with the version');

# ---- the end of one is the end of all ----

my $published = sql('SELECT published_version FROM dupn_models');
my $job = start_long();
sql("SELECT dupn_cancel($job)");
is(outcome($job), 'cancelled|cancelled on request|3', 'a team is cancelled');
ok(all_gone(), 'with its members');

$job = start_long();
sql("SELECT pg_cancel_backend(pid) FROM (SELECT pid $processes AND backend_type = 'dupn job member' LIMIT 1) p");
is(outcome($job), 'cancelled|cancelled on request|3', 'as a whole, if a member is');
ok(all_gone(), 'and is gone');

$job = start_long();
sql("SELECT pg_terminate_backend(pid) FROM (SELECT pid $processes AND backend_type = 'dupn job member' LIMIT 1) p");
like(outcome($job), qr/^failed\|57P01: a background worker that did a part of the job was ended/, 'a member that is terminated fails the job');
ok(all_gone(), 'and nobody waits for it');

$job = start_long();
sql("SELECT pg_terminate_backend(pid) $processes AND backend_type = 'dupn job'");
ok(all_gone(), 'members go with their leader');
like(outcome($job), qr/ended unexpectedly/, 'whose job has failed');

is(sql('SELECT published_version FROM dupn_models'), $published, 'the published version serves throughout');

start_long();
$node->safe_psql('postgres', 'DROP DATABASE shop');
ok(all_gone(), 'a team gives way to DROP DATABASE');

# ---- too little shared memory ----

SKIP:
{
	new_shop();
	my $pid = (split /\n/, slurp_file($node->data_dir . '/postmaster.pid'))[0];
	skip 'shared memory is no file here', 2
	  if sql('SHOW dynamic_shared_memory_type') eq 'sysv';
	skip 'no way to bound the size of files', 2
	  if system("prlimit --fsize=40000000: --pid $pid 2>/dev/null") != 0;
	sql(<<'END');
SET ROLE keeper;
SELECT dupn_create_model('large', 'shop.events', 'user_id', 'occurred_at', '{item_id}', '{action}',
	options => '{"hidden": 8, "attention": [8, 8], "epochs": 1, "refit": false, "encodings": {"item_id": {"hash": 200000}}, "widths": {"item_id": 16}}');
SELECT dupn_add_task('large', 'action', 'multiclass', label => 'action');
CALL dupn_run('large', 'train', '{"workers": 2}');
END
	is(sql("SELECT state, workers FROM dupn_jobs WHERE model = 'large'"), 'done|1', 'one does it alone where shared memory is short');
	like(sql("SELECT notes FROM dupn_jobs WHERE model = 'large'"), qr/1 of 2 workers: shared memory is short/, 'which is noted');
}

$node->stop;
done_testing();
