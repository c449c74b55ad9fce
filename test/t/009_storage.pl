# A server that dies at every step of storing, retiring and dropping versions:
# the version that serves does, and what was left is cleared away.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Shop qw(:DEFAULT crash_at $leftovers);
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('primary');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', "max_worker_processes = 8\nautovacuum = off\nrestart_after_crash = on");
$node->start;

my $db = 'shop';
sub sql { return $node->safe_psql($db, shift) }

$node->safe_psql('postgres', 'CREATE ROLE keeper LOGIN; CREATE DATABASE shop');
create_shop($node, $db, 'keeper');
create_model($node, $db, 'keeper', 'shop');
# few of many rows change in a night; versions go soon, and chains are short
sql(q{SELECT dupn_alter_model('shop', '{"rebase": 2, "keep_versions": 3, "encodings": {"item_id": {"hash": 5000}}}')});
my $night = q{SELECT dupn_train('shop', '{"mode": "finetune"}')};

sub nights
{
	my ($n) = @_;
	sql(q{CALL dupn_run('shop', 'train', '{"mode": "finetune"}')}) foreach 1 .. $n;
}

sql("CALL dupn_run('shop')");
nights(4);
ok($node->poll_query_until($db, "SELECT ($leftovers) = 0"), 'nothing is left by nights without a crash');
is(sql("SELECT count(*) FROM dupn_versions"), '3', 'and three versions are kept');

foreach my $point ('store: linked', 'store: part', 'store: finished', 'optimizer: begun', 'optimizer: linked',
	'optimizer: part', 'optimizer: stored', 'publish: after', 'publish: retired',
	'sweep: parts', 'sweep: orphans', 'sweep: dropped')
{
	# a night that is stored as a difference, whatever the last one was
	sql(q{CALL dupn_run('shop', 'train', '{"mode": "finetune", "rebase": 0}')});
	my $before = answers($node, $db, 'shop');
	my $published = sql("SELECT published_version FROM dupn_models WHERE model = 'shop'");
	crash_at($node, $db, $point, "$night");

	my $now = sql("SELECT published_version FROM dupn_models WHERE model = 'shop'");
	if ($point =~ /^publish/)
	{
		is($now, $published + 1, "$point: the new version serves");
		isnt(answers($node, $db, 'shop'), $before, "$point: and answers");
	}
	else
	{
		is($now, $published, "$point: the version that served does");
		is(answers($node, $db, 'shop'), $before, "$point: and answers as before");
	}
	nights(1);
	ok($node->poll_query_until($db, "SELECT ($leftovers) = 0"), "$point: the next night goes on and clears up")
	  or diag(sql("SELECT v.model_id, v.version, state, delta_of, stored_bytes FROM _dupn.version v ORDER BY 1, 2"));
	is(sql("SELECT count(*) FROM _dupn.optimizer o JOIN _dupn.model m ON o.version = m.published WHERE checksum IS NOT NULL"), '1',
		"$point: with what its optimizer remembers");
}

foreach my $point ('drop: marked', 'drop: done')
{
	my $older = sql("SELECT min(version) FROM dupn_versions WHERE NOT published");
	crash_at($node, $db, $point, "SELECT dupn_drop_version('shop', $older)");
	is(sql("SELECT count(dupn_user_vector(1, 'shop', version => $older)::real[])"), '1', "$point: a drop that did not commit was none");
	sql("SELECT dupn_drop_version('shop', $older)");
	is(sql("SELECT ($leftovers)"), '0', "$point: and one that does leaves nothing");
	nights(1);
}

# ---- the parent goes while a night is about to be stored ----

sql(q{CALL dupn_run('shop', 'train', '{"mode": "finetune", "rebase": 0, "publish": false}')});
my $parent = sql("SELECT max(version) FROM dupn_versions");
my $locker = $node->background_psql($db);
$locker->query_safe("BEGIN; SELECT FROM _dupn.model FOR NO KEY UPDATE");
my $job = sql(qq{SELECT dupn_train('shop', '{"mode": "finetune", "version": $parent}')});
ok($node->poll_query_until($db, "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE backend_type = 'dupn job'"), 'the job waits');
$locker->query_safe("SELECT dupn_drop_version('shop', $parent); COMMIT");
$locker->quit;
is(sql("SELECT dupn_wait($job)"), 'done', 'the parent of a version is dropped before the version is there');
is(sql("SELECT parent, delta_of FROM dupn_versions WHERE job_id = $job"), "$parent|", 'so it is stored whole');
is(sql("SELECT count(*) FROM _dupn.version WHERE version = $parent"), '0', 'and the parent is gone');

# ---- a standby reads chains as well ----

nights(1);
$node->backup('chain');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'chain', has_streaming => 1);
$standby->start;
nights(1);
$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
my $chain = sql("SELECT count(*) FROM dupn_versions WHERE delta_of IS NOT NULL");
cmp_ok($chain, '>', 0, 'some versions are differences');
is($standby->safe_psql($db, "SELECT string_agg(md5(dupn_export('shop', version)), ' ' ORDER BY version) FROM dupn_versions"),
	sql("SELECT string_agg(md5(dupn_export('shop', version)), ' ' ORDER BY version) FROM dupn_versions"), 'a standby makes the same of them');

done_testing();
