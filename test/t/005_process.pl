# What a backend costs: no threads, one mapped copy of a version for everybody,
# and an answer to interrupts.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Shop;
use Test::More;
use Time::HiRes qw(time);

plan skip_all => 'no /proc/PID/smaps_rollup on this system' unless -r '/proc/self/smaps_rollup';

my $node = PostgreSQL::Test::Cluster->new('primary');
$node->init;
$node->append_conf('postgresql.conf', "max_worker_processes = 8\nautovacuum = off");
$node->start;

sub sql { return $node->safe_psql('shop', shift) }

$node->safe_psql('postgres', 'CREATE ROLE keeper LOGIN; CREATE DATABASE shop');
create_shop($node, 'shop', 'keeper');
create_model($node, 'shop', 'keeper', 'shop');
sql("CALL dupn_run('shop')");

# A table of many buckets makes many bytes of few rows.
sql(<<'END');
SET ROLE keeper;
SELECT dupn_create_model('large', 'shop.events', 'user_id', 'occurred_at', '{item_id}', '{action}',
	options => '{"hidden": 8, "attention": [8, 8], "epochs": 1, "refit": false, "encodings": {"item_id": {"hash": 200000}}, "widths": {"item_id": 32}, "publish": "always"}');
SELECT dupn_add_task('large', 'action', 'multiclass', label => 'action');
CALL dupn_run('large');
CALL dupn_run('large', 'train', '{"seed": 2}');
END
my $weights = sql("SELECT bytes FROM dupn_versions WHERE model = 'large' AND version = 1");
cmp_ok($weights, '>=', 20e6, 'the large version has 20 MB of weights or more');

# ---- one backend; the functions read its own entries of /proc ----

my $threads = "SELECT count(*) FROM pg_ls_dir('/proc/self/task')";
my $maps = "SELECT count(*) FROM regexp_split_to_table(pg_read_file('/proc/self/maps'), '\\n') l WHERE l ~ '/(dupn\.so|pgsql_tmp_dupn_[^/]*)\$'";
my $private = "SELECT 1024 * (regexp_match(pg_read_file('/proc/self/smaps_rollup'), 'Anonymous: +(\\d+)'))[1]::bigint";

my @lines = split /\n/, sql("$threads; SELECT count(*) FROM shop.events e, shop.products p WHERE p.id = e.item_id; $maps; $threads");
is_deeply([ @lines[ 0, 2, 3 ] ], [ 1, 0, 1 ], 'a backend that does not use dupn maps nothing of it');

@lines = split /\n/, sql("$private; SELECT dupn_user_vector(3, 'shop') IS NOT NULL; $private; SELECT dupn_user_vector(3, 'large') IS NOT NULL; $private; $threads; $maps");
is($lines[5], '1', 'one that does has one thread');
cmp_ok($lines[6], '>=', 2, 'and maps the library and its versions');
note("private bytes: $lines[0] at first, $lines[2] with a small version, $lines[4] with one of $weights bytes");
cmp_ok($lines[4] - $lines[2], '<', $weights / 4, 'but has no copy of the weights of its own');

# ---- one file for many ----

$node->restart;
is(scalar(mapped_files($node)), 0, 'mapped files are gone after a restart');
my @crowd;
foreach my $i (1 .. 8)
{
	my ($in, $out, $err) = ("SELECT dupn_user_vector(3, 'large', as_of => '2025-01-01Z');", '', '');
	my $run = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('shop') ], '<', \$in, '>', \$out, '2>', \$err);
	push @crowd, { run => $run, out => \$out, err => \$err };
}
$_->{run}->finish foreach @crowd;
my %said = map { ${ $_->{out} } . ${ $_->{err} } => 1 } @crowd;
is(scalar(keys %said), 1, 'eight at once get the same vector');
is(scalar(mapped_files($node)), 1, 'from one file');
my ($expected) = keys %said;
chomp $expected;
my $size = -s $node->data_dir . '/base/pgsql_tmp/' . (mapped_files($node))[0];
is(sql("SELECT bytes, bytes - prepared_bytes FROM dupn_mapped"), "$size|$weights", 'of the size of the weights and of what is prepared of them');

$node->stop('immediate');
$node->start;
is(scalar(mapped_files($node)), 0, 'it is gone after a crash, too');

# ---- removed by somebody else ----

my $vector = "SELECT dupn_user_vector(3, 'large', as_of => '2025-01-01Z')";
my ($in, $out, $err) = ('', '', '');
my $session = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('shop') ], '<', \$in, '>', \$out, '2>', \$err, IPC::Run::timer(180));

sub ask
{
	$out = '';
	$in .= "$vector;\n\\echo end\n";
	$session->pump until $out =~ /^end$/m;
	return $out =~ s/\nend\n$//r;
}

is(ask(), $expected, 'a session that stays has mapped it again');
unlink $node->data_dir . '/base/pgsql_tmp/' . $_ foreach mapped_files($node);
is(ask(), $expected, 'and does not mind that its file is removed');
is(sql($vector), $expected, 'another session');
is(scalar(mapped_files($node)), 1, 'makes it again');

# A file that somebody cut short is not taken for the version.
my $file = $node->data_dir . '/base/pgsql_tmp/' . (mapped_files($node))[0];
unlink $file;
append_to_file($file, 'short');
is(sql($vector), $expected, 'a file of another size is written anew');
is(-s $file, $size, 'in full');
truncate $file, $size - 1;
is(sql($vector), $expected, 'one that lacks its end');
is(-s $file, $size, 'as well');
open my $handle, '+<', $file or die;
seek $handle, -64, 2;
print $handle 'not by this library';
close $handle;
is(sql($vector), $expected, 'or has another end');
is(substr(slurp_file($file), -64, 16), 'dupn mapped file', 'too');
is(scalar(() = slurp_file($node->logfile) =~ /is not what its name says/g), 3, 'and the log says so');

# ---- parallel workers ----

my $parallel = 'SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;'
  . ' SET max_parallel_workers_per_gather = 2;';
my $all = "SELECT id, dupn_user_vector(id, 'large', as_of => '2025-01-01Z') FROM shop.customers";
sql('ALTER TABLE shop.customers SET (parallel_workers = 2); ANALYZE shop.customers');
like(sql("$parallel EXPLAIN (ANALYZE, COSTS OFF) $all"), qr/Workers Launched: [12]/, 'parallel workers take part');
is(join("\n", sort split /\n/, sql("$parallel $all")), join("\n", sort split /\n/, sql("SET max_parallel_workers_per_gather = 0; $all")),
	'and give the same vectors');
is(scalar(mapped_files($node)), 1, 'from the same file');

# ---- not more than a setting allows ----

$node->append_conf('postgresql.conf', "dupn.max_mapped_size = '" . int($weights * 1.5 / 1024) . "kB'");
$node->reload;
my @before = mapped_files($node);
isnt(sql("SELECT dupn_user_vector(3, 'large', version => 1, as_of => '2025-01-01Z')"), $expected, 'another version');
my @after = mapped_files($node);
is(scalar(@after), 1, 'takes the place of the one before');
isnt("@after", "@before", 'whose file goes');
is(ask(), $expected, 'without harm to who uses it');
is(sql($vector), $expected, 'or will');
$session->finish;

# ---- interrupts ----

sql("ALTER DATABASE shop SET jit = off");
foreach my $long (
	"SELECT count(dupn_user_vector(1 + i % 200, 'shop')) FROM generate_series(1, 10000000) i",
	"SELECT count(*) FROM generate_series(1, 10000000) i, LATERAL dupn_recommend(1 + i % 200, model => 'shop')",
	"SELECT count(dupn_score('click', v, i % 50)) FROM generate_series(1, 100000000) i, (SELECT dupn_user_vector(3, 'shop') AS v OFFSET 0) u",
	"SELECT dupn_embed(e, 'shop') FROM (SELECT e.* FROM shop.events e, generate_series(1, 10000000)) e WHERE user_id = 3",
	"SELECT count(v) FROM (SELECT dupn_embed(e, 'shop') AS v FROM shop.events e, generate_series(1, 100000) i GROUP BY user_id, i) x")
{
	my $begin = time;
	fails($node, 'shop', "SET statement_timeout = '1s'; SET work_mem = '256MB'; $long", '57014', 'statement timeout', "interrupted: $long");
	my $took = time - $begin - 1;
	note(sprintf('%.2f s after the timeout', $took));
	cmp_ok($took, '<', 2, 'soon');
}

done_testing();
