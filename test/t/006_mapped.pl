# Mapped copies of versions: made ahead of time, shown, shared, and removed when
# nobody needs them any more.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Shop;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('primary');
$node->init;
$node->append_conf('postgresql.conf', "max_worker_processes = 8\nautovacuum = off");
$node->start;
my $folder = $node->data_dir . '/base/pgsql_tmp/';

sub sql { return $node->safe_psql('shop', shift) }

# As a role that logged in.
sub as
{
	my ($role, $statements) = @_;
	return $node->safe_psql('shop', $statements, extra_params => [ '-U', $role ]);
}

sub remove_files
{
	unlink map { $folder . $_ } mapped_files($node);
}

# A session that stays.
sub stay
{
	my %session = (in => '', out => '', err => '');
	$session{run} = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('shop') ],
		'<', \$session{in}, '>', \$session{out}, '2>', \$session{err}, IPC::Run::timer(180));
	return \%session;
}

sub ask
{
	my ($session, $statement) = @_;
	$session->{out} = '';
	$session->{in} .= "$statement;\n\\echo end\n";
	$session->{run}->pump until $session->{out} =~ /^end$/m;
	return $session->{out} =~ s/\n?end\n$//r;
}

$node->safe_psql('postgres', <<'END');
CREATE ROLE keeper LOGIN; CREATE ROLE app LOGIN; CREATE ROLE nobody LOGIN; CREATE ROLE monitor LOGIN IN ROLE pg_monitor;
CREATE DATABASE shop;
END
create_shop($node, 'shop', 'keeper');
create_model($node, 'shop', 'keeper', 'shop');
as('keeper', "CALL dupn_run('shop')");
as('keeper', q{CALL dupn_run('shop', 'train', '{"seed": 2}')});

sub vector
{
	my ($version) = @_;
	return "SELECT dupn_user_vector(3, 'shop', version => $version, as_of => '2025-01-01Z')";
}

my $shown = 'SELECT model, version, bytes > 1000, prepared_bytes BETWEEN 64 AND bytes, in_use FROM dupn_mapped ORDER BY version';
my $expected = sql(vector(2));
my @files = mapped_files($node);
is(scalar(@files), 2, 'two versions have a file each');

# ---- prewarm, and the view ----

is(sql($shown), "shop|1|t|t|f\nshop|2|t|t|f", 'the view shows both, unused');
is(sql(vector('NULL') . ' IS NOT NULL; ' . $shown), "t\nshop|1|t|t|f\nshop|2|t|t|t", 'who asks uses the one that serves');
is(sql("SELECT database, attached_at BETWEEN now() - interval '10 min' AND clock_timestamp() + interval '2 s' FROM dupn_mapped WHERE version = 2"),
	'shop|t', 'the view tells where and when');
remove_files();
is(sql($shown), '', 'no file, no row');
is(sql("SELECT dupn_prewarm('shop', 1)") > 1000 && sql($shown), 'shop|1|t|t|f', 'prewarm makes the file of a version');
is(as('keeper', 'SELECT dupn_prewarm()'), sql('SELECT bytes FROM dupn_mapped WHERE version = 2'), 'or of the one that serves, and tells its bytes');
is_deeply([ mapped_files($node) ], \@files, 'by the same names as before');
is(sql(vector(2)), $expected, 'with the same content');
fails($node, 'shop', "SELECT dupn_prewarm('shop', 9)", '42704', 'version 9 of model "shop" does not exist', 'no such version');
fails($node, 'shop', "SELECT dupn_prewarm('shop', 0)", '22023', 'version must be positive', 'no such number');
fails($node, 'shop', "SELECT dupn_prewarm('shoe')", '42704', 'model "shoe" does not exist', 'no such model');

remove_files();
sql("SELECT dupn_publish('shop', 1)");
is(sql('SELECT version FROM dupn_mapped'), '1', 'publishing a version makes its file');
sql("SELECT dupn_rollback('shop')");
is(scalar(mapped_files($node)), 2, 'so does going back to one');

# ---- the items' parts of scores ----

my $user = "(SELECT dupn_user_vector(3, 'shop', as_of => '2025-01-01Z') AS v OFFSET 0) u";

# How many items have a score, and how many the one they had before.
sub same_scores
{
	my ($score) = @_;
	return "SELECT count(a), count(*) FILTER (WHERE abs(a - b) < 1e-5) FROM (SELECT $score AS a, p.score AS b FROM (SELECT item_id, score FROM before OFFSET 0) p, $user) x";
}

my $by_key = same_scores("dupn_score('click', v, item_id)");
sql("CREATE TABLE before AS SELECT i AS item_id, dupn_score('click', v, i) AS score FROM generate_series(0, 60) i, $user");
is(sql('SELECT count(DISTINCT score) > 40, (SELECT sum(item_bytes) FROM dupn_mapped) FROM before'), 't|0', 'scores of items, and nothing of them kept');
as('keeper', q{SELECT dupn_alter_model('shop', '{"cache_items": true}')});
is(sql("$by_key; SELECT version, item_bytes > 50 * 4 FROM dupn_mapped WHERE item_bytes > 0"), "61|61\n2|t", 'an option has them kept, by who needs them first');
is(sql(same_scores("dupn_score('click', v, p)")), '61|61', 'a row with no more than the key uses them, too');
is(sql(same_scores("(dupn_score('click', v, ARRAY[NULL, item_id]))[2]")), '61|61', 'and an array of keys');
remove_files();
is(sql("SELECT dupn_prewarm('shop') = (SELECT bytes FROM dupn_mapped WHERE item_bytes > 0)"), 't', 'prewarm makes both files');
is(scalar(mapped_files($node)), 2, 'two for one version');
is(sql($by_key), '61|61', 'with the same content');
remove_files();
is(sql("SET dupn.max_mapped_size = '8kB'; $by_key; SELECT sum(item_bytes) FROM dupn_mapped"), "61|61\n0", 'where there is no room, scores are made without');
as('keeper', q{SELECT dupn_alter_model('shop', '{"cache_items": null}')});
sql("SELECT dupn_prewarm('shop', 1)");
is(sql($by_key), '61|61', 'and without the option');
is(scalar(mapped_files($node)), 2, 'there is one file a version again');

# ---- rights ----

is(as('keeper', $shown), "shop|1|t|t|f\nshop|2|t|t|f", 'the owner sees them');
is(as('app', $shown), '', 'others do not');
is(as('monitor', $shown), "shop|1|t|t|f\nshop|2|t|t|f", 'monitors do');
as('keeper', 'GRANT USAGE ON SCHEMA shop TO PUBLIC; GRANT SELECT ON shop.events, shop.products, shop.customers TO app');
is(as('app', "SELECT dupn_prewarm('shop') > 0"), 't', 'who reads the columns may prewarm');
fails($node, 'shop', "SELECT dupn_prewarm('shop')", '42501', 'permission denied', 'who does not may not', 'nobody');

# ---- another database with the same content ----

$node->safe_psql('postgres', 'CREATE DATABASE copy TEMPLATE shop');
is($node->safe_psql('copy', vector(2)), $expected, 'a copy of the database answers the same');
is(scalar(mapped_files($node)), 3, 'from a file of its own');
my $elsewhere = "SELECT database, model, version FROM dupn_mapped WHERE database IS DISTINCT FROM 'shop'";
is(as('monitor', $elsewhere), 'copy||', 'which monitors see from elsewhere');
is(as('keeper', $elsewhere), '', 'and owners do not');
$node->safe_psql('postgres', 'DROP DATABASE copy');
is(as('monitor', $elsewhere), '||', 'a dropped database leaves it behind');
sql("SELECT dupn_prewarm('shop')");
is(scalar(mapped_files($node)), 2, 'until somebody sweeps');

# ---- dropped versions ----

append_to_file($folder . 'pgsql_tmp_dupn_new_1_0', 'of a writer that died');
utime(0, 0, $folder . 'pgsql_tmp_dupn_new_1_0');
append_to_file($folder . 'pgsql_tmp_dupn_new_2_0', 'of a writer that has just begun');
append_to_file($folder . 'pgsql_tmp_other', 'of somebody else');
as('keeper', q{CALL dupn_run('shop', 'train', '{"seed": 3}')});
is(unlink($folder . 'pgsql_tmp_dupn_new_2_0'), 1, 'what is being written stays');
is(scalar(mapped_files($node)), 3, 'a job sweeps, too, before it makes a file');
ok(-e $folder . 'pgsql_tmp_other', 'what is ours');
unlink $folder . 'pgsql_tmp_other';

sql("BEGIN; SELECT dupn_drop_version('shop', 1); ROLLBACK");
is(scalar(mapped_files($node)), 3, 'a drop that is rolled back removes no file');
my $session = stay();
my $first = ask($session, vector(1));
sql("SELECT dupn_drop_version('shop', 1)");
is(sql('SELECT version FROM dupn_mapped ORDER BY 1'), "2\n3", 'one that commits does, whoever has it mapped');
sql(<<'END');
INSERT INTO _dupn.version (model_id, version, state, fingerprint, bytes, parts, checksum, mode)
SELECT model_id, 20, state, fingerprint, bytes, parts, checksum, mode FROM _dupn.version WHERE version = 2
END
is(sql('SELECT version FROM dupn_mapped ORDER BY 1'), "2\n3\n20", 'two versions of one content share a file');
sql("SELECT dupn_drop_version('shop', 20)");
is(sql('SELECT version FROM dupn_mapped ORDER BY 1'), "2\n3", 'which stays when one is dropped');

# ---- not more than a setting allows ----

$node->append_conf('postgresql.conf', 'dupn.max_mapped_size = 0');
$node->reload;
is(ask($session, vector(2)), $expected, 'a session uses a version');
isnt($first, $expected, 'after another');
unlink $folder . $_ foreach grep { !/_${\sprintf('%016x', sql('SELECT fingerprint FROM _dupn.version WHERE version = 2'))}_/ } mapped_files($node);
is(sql('SELECT version FROM dupn_mapped'), '2', 'the other has no file');
sql("SELECT dupn_prewarm('shop', 3)");
is(sql('SELECT version, in_use FROM dupn_mapped ORDER BY 1'), "2|t\n3|f", 'what is asked for is made whatever the limit, and what is in use stays');
$session->{run}->finish;
remove_files();
sql("SELECT dupn_prewarm('shop', 2); SELECT dupn_prewarm('shop', 3)");
is(sql('SELECT version FROM dupn_mapped ORDER BY 1'), "2\n3", 'one session may use two');
unlink $folder . $_ foreach grep { !/_${\sprintf('%016x', sql('SELECT fingerprint FROM _dupn.version WHERE version = 2'))}_/ } mapped_files($node);
sql("SELECT dupn_prewarm('shop', 3)");
is(sql('SELECT version FROM dupn_mapped'), '3', 'what nobody uses goes');

# ---- a dropped model, and a library that is loaded beforehand ----

sql("SELECT dupn_drop_model('shop')");
is(scalar(mapped_files($node)), 0, 'the files of a dropped model go');

$node->append_conf('postgresql.conf', "shared_preload_libraries = 'dupn'");
$node->restart;
is(sql("SELECT count(*) FROM pg_shmem_allocations WHERE name ILIKE '%dupn%'"), '0', 'preloaded it takes no shared memory');
is(sql("SELECT count(*) FROM pg_backend_memory_contexts WHERE name ILIKE '%dupn%'"), '0', 'and none of a backend that does not use it');
is(sql('SELECT count(*) FROM dupn_mapped'), '0', 'and works');

done_testing();
