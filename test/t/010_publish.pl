# A version is published or it is not, wherever the server crashes; and what is
# decided is told in the log.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Shop qw(:DEFAULT crash_at);
use Test::More;

my $db = 'shop';
my $node = PostgreSQL::Test::Cluster->new('primary');
$node->init;
$node->append_conf('postgresql.conf', "max_worker_processes = 8\nautovacuum = off\nrestart_after_crash = on");
$node->start;

sub sql { return $node->safe_psql($db, @_) }

$node->safe_psql('postgres', 'CREATE ROLE keeper LOGIN; CREATE DATABASE shop');
create_shop($node, $db, 'keeper');
create_model($node, $db, 'keeper', 'shop');
sql(q{CALL dupn_run('shop', 'train', '{"learning_rate": 1e-8, "primary": "category", "publish": "better"}')});
like(slurp_file($node->logfile), qr/WARNING:  dupn: model "shop": published: the first version, though "category" accuracy/, 'a first version that learned nothing is a warning in the log');
my $first = answers($node, $db, 'shop');

my $train = q{CALL dupn_run('shop', 'train', '{"seed": 2}')};
crash_at($node, $db, 'publish: before', $train);
is(sql('SELECT published_version FROM dupn_models'), '1', 'before it is published the old version serves');
is(answers($node, $db, 'shop'), $first, 'as ever');
is(sql(q{SELECT dupn_wait(max(job_id)) FROM dupn_jobs}), 'failed', 'and the job has failed');
crash_at($node, $db, 'publish: after', $train);
is(sql(q{SELECT published_version = (SELECT max(version) FROM dupn_versions WHERE state = 'ready') AND published_version > 1 FROM dupn_models}), 't', 'after it the new one serves');
isnt(answers($node, $db, 'shop'), $first, 'and answers');
sql("CALL dupn_run('shop')");
is(sql("SELECT string_agg(state, ' ' ORDER BY job_id) FROM dupn_jobs"), 'done failed failed done', 'what was interrupted has failed');
is(sql("SELECT count(*) FROM dupn_versions WHERE state <> 'ready'"), '0', 'nothing unfinished remains');

# Drift and decisions of a version go with it.
sql("SELECT dupn_drop_version('shop', 1)");
is(sql('SELECT count(*) FROM _dupn.drift WHERE version = 1'), '0', 'a dropped version leaves no drift');

done_testing();
