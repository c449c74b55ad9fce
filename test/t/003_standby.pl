# A streaming standby answers as its primary does, refuses what writes, and
# takes over when it is promoted.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Shop;
use Test::More;

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1);
$primary->append_conf('postgresql.conf', "max_worker_processes = 8\nautovacuum = off");
$primary->start;
$primary->safe_psql('postgres', 'CREATE ROLE keeper LOGIN; CREATE DATABASE shop');
create_shop($primary, 'shop', 'keeper');
create_model($primary, 'shop', 'keeper', 'shop');
$primary->safe_psql('shop', "CALL dupn_run('shop')");
my $first = answers($primary, 'shop', 'shop');
is(scalar(mapped_files($primary)), 1, 'the primary has mapped its version');

$primary->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'backup', has_streaming => 1);
is(scalar(mapped_files($standby)), 0, 'a backup holds no mapped file');
$standby->start;

# ---- answers in recovery ----

$primary->wait_for_catchup($standby, 'replay', $primary->lsn('write'));
is(answers($standby, 'shop', 'shop'), $first, 'the standby answers as the primary');
is_deeply([ mapped_files($standby) ], [ mapped_files($primary) ], 'from a mapped file of its own, of the same name');
is($standby->safe_psql('shop', 'SELECT count(*) FROM shop.events e WHERE user_id = 3 GROUP BY user_id'
	  . " HAVING dupn_embed(e, 'shop') IS NOT NULL"), '20', 'the aggregate works');
is($standby->safe_psql('shop', 'SELECT published_version FROM dupn_models'), '1', 'the views work');

$primary->safe_psql('shop', qq{CALL dupn_run('shop', 'train', '{"seed": 2}')});
my $second = answers($primary, 'shop', 'shop');
isnt($second, $first, 'a second version answers differently');
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('write'));
is($standby->safe_psql('shop', "SELECT dupn_prewarm('shop') = (SELECT bytes FROM dupn_mapped WHERE version = 2)"), 't', 'its file can be made there before anybody asks');
is_deeply([ mapped_files($standby) ], [ mapped_files($primary) ], 'the same as on the primary');
is(answers($standby, 'shop', 'shop'), $second, 'and serves on the standby as soon as it is replayed');

# A version may be there, and mapped, before it serves.
$primary->safe_psql('shop', qq{CALL dupn_run('shop', 'train', '{"seed": 3, "publish": false}')});
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('write'));
is($standby->safe_psql('shop', 'SELECT version, published FROM dupn_versions ORDER BY version'), "1|f\n2|t\n3|f", 'a version that waits');
is(answers($standby, 'shop', 'shop'), $second, 'does not serve');
is($standby->safe_psql('shop', "SELECT dupn_prewarm('shop', 3) > 0; SELECT max(version) FROM dupn_mapped"), "t\n3", 'but may be mapped on the standby');
$primary->safe_psql('shop', "SELECT dupn_publish('shop', 3)");
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('write'));
my $third = answers($standby, 'shop', 'shop');
isnt($third, $second, 'until it is published');
is($third, answers($primary, 'shop', 'shop'), 'here and there');

# ---- a rollback ----

# Two sessions that have answered by the version that goes.
my @session = map { $_->background_psql('shop') } $primary, $standby;
is($_->query("SELECT dupn_vector_version(dupn_user_vector(3, 'shop'))"), '3', 'a session is answered by the version that serves') foreach @session;
is($primary->safe_psql('shop', "SELECT dupn_rollback('shop')"), '2', 'a rollback is one statement');
is($session[0]->query("SELECT dupn_vector_version(dupn_user_vector(3, 'shop'))"), '2', 'which the next query of a session on the primary sees');
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('write'));
is($session[1]->query("SELECT dupn_vector_version(dupn_user_vector(3, 'shop'))"), '2', 'and, when it is replayed, of one on the standby');
$_->quit foreach @session;
is(answers($primary, 'shop', 'shop'), $second, 'the answers are those of before');
is(answers($standby, 'shop', 'shop'), $second, 'on both');
is($standby->safe_psql('shop', "SELECT dupn_user_vector(3, 'shop')::real[]"), $primary->safe_psql('shop', "SELECT dupn_user_vector(3, 'shop')::real[]"), 'vectors are equal, bit by bit as they are printed');
is($standby->safe_psql('shop', 'SELECT version, decision FROM dupn_versions ORDER BY version'), "1|published\n2|published\n3|waits", 'the standby shows what was decided');

# A share serves there as well.
my $arms = "SELECT dupn_arm(u, 'shop') || ' ' || dupn_vector_version(dupn_user_vector(u, 'shop')) FROM generate_series(1, 40) u";
$primary->safe_psql('shop', "SELECT dupn_share('shop', 1, 0.5)");
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('write'));
is(join(' ', sort(keys(%{{ map { $_ => 1 } split(/\n/, $standby->safe_psql('shop', $arms)) }}))), 'candidate 1 control 2', 'a share of the users is served by its version');
is($standby->safe_psql('shop', $arms), $primary->safe_psql('shop', $arms), 'the same users as on the primary');
is($standby->safe_psql('shop', "SELECT warning IS NOT NULL FROM dupn_lift('shop', 'shop.events', '{item_id}', experiment => 'version 1') LIMIT 1"), 't', 'it can be judged there');
fails($standby, 'shop', "SELECT dupn_end_share('shop')", '25006', '', 'but not ended');
$primary->safe_psql('shop', "SELECT dupn_end_share('shop')");
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('write'));
is(answers($standby, 'shop', 'shop'), $second, 'and when it has ended, it has there');

# ---- what writes is refused ----

my @refused = (
	[ "SELECT dupn_train('shop')", 'HINT:.*primary' ],
	[ "CALL dupn_run('shop')", 'HINT:.*primary' ],
	[ 'SELECT dupn_wait(1)', 'HINT' ],
	[ 'SELECT dupn_cancel(1)', 'HINT' ],
	[ "SELECT dupn_publish('shop', 1)", 'HINT:.*primary' ],
	[ "SELECT dupn_rollback('shop')", 'HINT:.*primary' ],
	[ "SELECT dupn_drop_version('shop', 1)", 'HINT:.*primary' ],
	[ "SELECT dupn_share('shop', 1, 0.5)", 'HINT:.*primary' ],
	[ "SELECT dupn_drop_model('shop')", '' ],
	[ qq{SELECT dupn_alter_model('shop', '{"hidden": 16}')}, '' ],
	[ "SELECT dupn_drop_task('shop', 'next')", '' ],
	[ "SELECT dupn_add_task('shop', 'more', 'next_item')", '' ],
	[ "SELECT dupn_create_model('more', 'shop.events', 'user_id', 'occurred_at', '{item_id}')", '' ]);
fails($standby, 'shop', $_->[0], '25006', $_->[1], "refused: $_->[0]") foreach @refused;
is($standby->safe_psql('shop', "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'dupn job'"), '0', 'no process was started');

# ---- the primary dies in the middle of a job ----

$primary->safe_psql('shop', qq{SELECT dupn_train('shop', '{"hidden": 128, "epochs": 10000, "patience": 10000}')});
$primary->poll_query_until('shop', "SELECT state = 'running' AND phase <> 'starting' FROM dupn_jobs ORDER BY job_id DESC LIMIT 1")
  or die 'the job does not run';
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('write'));
is($standby->safe_psql('shop', 'SELECT state FROM dupn_jobs ORDER BY job_id DESC LIMIT 1'), 'running', 'a standby shows the jobs of the primary');
$primary->stop('immediate');
$standby->promote;
$standby->poll_query_until('shop', 'SELECT NOT pg_is_in_recovery()');

is(answers($standby, 'shop', 'shop'), $second, 'the new primary answers');
is($standby->safe_psql('shop', "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'dupn job'"), '0', 'no old job goes on or starts');
unlike(slurp_file($standby->logfile), qr/dupn: job/, 'and none did');
$standby->safe_psql('shop', "CALL dupn_run('shop')");
is($standby->safe_psql('shop', 'SELECT job_id, state FROM dupn_jobs ORDER BY job_id'), "1|done\n2|done\n3|done\n4|failed\n"
	  . $standby->safe_psql('shop', 'SELECT max(job_id) FROM dupn_jobs') . '|done', 'training works, and the dead job is told to have failed');
is($standby->safe_psql('shop', 'SELECT published_version = (SELECT max(version) FROM dupn_versions) FROM dupn_models'), 't', 'the new version serves');
is($standby->safe_psql('shop', "SELECT count(*) FROM dupn_versions WHERE state = 'building'"), '0', 'nothing unfinished remains');

done_testing();
