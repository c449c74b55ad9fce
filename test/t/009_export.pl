# A version as a file, for and from other programs: the recipe of README.md as it
# stands there, its commands and its PyTorch (skipped where python3 has no torch;
# python/safetensors takes the place of a package that is not installed); the
# same read by Perl; weights that were changed elsewhere; the limits of temporary
# files, the rights of readers, and a crash in an import.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Shop;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('primary');
$node->init;
$node->append_conf('postgresql.conf', "max_worker_processes = 8\nautovacuum = off\nrestart_after_crash = on");
$node->start;

sub sql { return $node->safe_psql('shop', shift) }

$node->safe_psql('postgres', 'CREATE ROLE keeper LOGIN; CREATE ROLE stranger LOGIN; CREATE DATABASE shop');
create_shop($node, 'shop', 'keeper');
sql(<<'END');
GRANT CREATE ON SCHEMA public TO keeper;
ALTER DATABASE shop SET dupn.model = 'shop';
SET ROLE keeper;
ALTER TABLE shop.events ADD price real;
UPDATE shop.events e SET price = p.price FROM shop.products p WHERE p.id = e.item_id;
SELECT dupn_create_model('shop', events => 'shop.events', user_column => 'user_id', time_column => 'occurred_at',
	item_columns => '{item_id,price}', behavior_columns => '{action}',
	options => '{"hidden": 8, "attention": [8, 4], "epochs": 1, "max_events": 20}');
SELECT dupn_add_task('shop', 'next', 'next_item');
SELECT dupn_add_task('shop', 'price_level', 'multiclass', label => 'price', options => '{"levels": 3}');
CALL dupn_run('shop');
END

# ---------------- the recipe ----------------

my $recipe = slurp_file("$FindBin::RealBin/../../README.md");
$recipe =~ s/.*^\*\*A version as a file\.\*\*//ms or die 'README.md has no such recipe';
$recipe =~ s/^\*\*Back to.*//ms;
my ($export, $import) = $recipe =~ /^```sh\n(.*?)^```/msg;
my ($python) = $recipe =~ /^```python\n(.*?)^```/ms;

# README's commands as they stand, of a role, in a folder of their own.
my $folder = PostgreSQL::Test::Utils::tempdir;

sub run_commands
{
	my ($name, $commands) = @_;
	local %ENV = (%ENV, PGHOST => $node->host, PGPORT => $node->port, PGDATABASE => 'shop', PGUSER => 'keeper');
	my ($out, $error) = ('', '');
	my $good = IPC::Run::run([ 'bash', '-e', '-o', 'pipefail', '-c', "cd '$folder'\n$commands" ], '>', \$out, '2>', \$error);
	ok($good, $name) or diag($error);
	return $out;
}

sub file { return slurp_file("$folder/" . shift) }

sub write_file
{
	my ($name, $content) = @_;
	open(my $out, '>:raw', "$folder/$name") or die;
	print $out $content;
	close $out;
}

# ---------------- safetensors ----------------

# Its metadata, and for each tensor its type, its shape and its bytes.
sub read_tensors
{
	my ($bytes) = @_;
	my $length = unpack('Q<', $bytes);
	my $header = decode_json(substr($bytes, 8, $length));
	my $metadata = delete $header->{__metadata__};
	for my $tensor (values %$header)
	{
		my ($begin, $end) = @{ delete $tensor->{data_offsets} };
		$tensor->{data} = substr($bytes, 8 + $length + $begin, $end - $begin);
	}
	return ($metadata, $header);
}

sub write_tensors
{
	my ($metadata, $tensors, @order) = @_;
	my %header = (__metadata__ => $metadata);
	my $data = '';
	for my $name (@order)
	{
		my $begin = length $data;
		$data .= $tensors->{$name}{data};
		$header{$name} = { dtype => $tensors->{$name}{dtype}, shape => $tensors->{$name}{shape}, data_offsets => [ $begin, length $data ] };
	}
	my $text = JSON::PP->new->utf8->encode(\%header);
	return pack('Q<', length $text) . $text . $data;
}

my %letter = (F32 => 'f<*', F64 => 'd<*', I32 => 'l<*', I64 => 'q<*');

sub numbers
{
	my ($tensors, $name) = @_;
	return unpack($letter{ $tensors->{$name}{dtype} }, $tensors->{$name}{data});
}

sub layer
{
	my ($tensors, $name, @x) = @_;
	my @weight = numbers($tensors, "$name.weight");
	return map { my $sum = $_; $sum += shift(@weight) * $_ for @x; $sum } numbers($tensors, "$name.bias");
}

# What the recipe computes with PyTorch.
sub price_levels
{
	my ($tensors, @x) = @_;
	@x = layer($tensors, 'task.price_level.hidden.0', @x);
	@x = layer($tensors, 'task.price_level.output', map { $_ > 0 ? $_ : 0 } @x);
	my ($scale) = numbers($tensors, 'task.price_level.calibration');
	my @e = map { exp($scale * $_) } @x;
	my $sum = 0;
	$sum += $_ for @e;
	return map { $_ / $sum } @e;
}

# In the order of the classes.
sub classified
{
	my ($metadata, $version) = @_;
	my ($task) = grep { $_->{name} eq 'price_level' } @{ decode_json($metadata->{features})->{tasks} };
	my %probability = map { split /\|/ } split /\n/,
		sql("SELECT * FROM dupn_classify('price_level', dupn_user_vector(42, version => $version))");
	return map { $probability{$_} } @{ $task->{classes} };
}

sub near
{
	my ($got, $want, $name) = @_;
	my ($most) = sort { $b <=> $a } map { abs($got->[$_] - $want->[$_]) } 0 .. $#$want;
	ok(@$got == @$want && $most < 1e-5, $name) or diag("(@$got) is not (@$want)");
}

# ---------------- out ----------------

run_commands('README.md: a version and a vector as files', $export);
write_file('whole', pack('H*', sql("SELECT encode(dupn_export('shop'), 'hex')")));
ok(file('shop.safetensors') eq file('whole'), 'the pieces are the file');
my ($metadata, $tensors) = read_tensors(file('shop.safetensors'));
my @vector = @{ decode_json(file('vector.json')) };
is_deeply([ sort keys %$metadata ], [qw(config features format)], 'configuration and vocabularies are inside');
near([ price_levels($tensors, @vector) ], [ classified($metadata, 1) ], 'Perl reads from the file what dupn_classify answers');
my %row;
@row{ numbers($tensors, 'vocabulary.item.item_id.keys') } = numbers($tensors, 'vocabulary.item.item_id.ids');
my @embedding = (numbers($tensors, 'item.item_id.embedding'))[ $row{17} * 64 .. $row{17} * 64 + 63 ];

# ---------------- PyTorch ----------------

my ($program) = grep { system("$_ -c 'import torch' 2>/dev/null") == 0 } 'python3', '/usr/bin/python3';
SKIP:
{
	skip 'python3 has no torch', 5 unless $program;
	my $own = system("$program -c 'import safetensors' 2>/dev/null") == 0 ? '' : "PYTHONPATH='$FindBin::RealBin/python' PYTHONDONTWRITEBYTECODE=1 ";
	diag('the package safetensors is not installed: a reader of our own takes its place') if $own;
	write_file('recipe.py', $python);
	my @line = split /\n/, run_commands('README.md: PyTorch reads the file', "$own$program recipe.py");
	near([ decode_json($line[0])->@* ], \@embedding, 'the row of an item');
	near([ decode_json($line[1])->@* ], [ classified($metadata, 1) ], 'and what dupn_classify answers');
	my (undef, $saved) = read_tensors(file('trained.safetensors'));
	is_deeply($saved, $tensors, 'what it saves is what it loaded');
	sql(q{SET ROLE keeper; SELECT dupn_import('shop', decode('} . unpack('H*', file('trained.safetensors')) . q{', 'hex'))});
	near([ classified($metadata, 2) ], [ classified($metadata, 1) ], 'which can be imported');
	sql("SELECT dupn_drop_version('shop', 2)");
}

# ---------------- in again, from elsewhere ----------------

# Other weights, in another order, with the header's in a third.
my %changed = %$tensors;
$changed{'task.price_level.output.weight'} = { %{ $tensors->{'task.price_level.output.weight'} },
	data => pack('f<*', map { -$_ } numbers($tensors, 'task.price_level.output.weight')) };
write_file('trained.safetensors', write_tensors($metadata, \%changed, reverse sort keys %changed));
my $before = answers_of(1);
my $version = run_commands('README.md: a file back as a version', $import);
chomp $version;
like($version, qr/^\d+$/, 'its number');
is(sql("SELECT mode, state, published FROM dupn_versions WHERE version = $version"), 'import|ready|f', 'which waits');
near([ classified($metadata, $version) ], [ price_levels(\%changed, @vector) ], 'and answers with the other weights');
isnt(join(' ', classified($metadata, $version)), join(' ', classified($metadata, 1)), 'otherwise than before');
is(answers_of(1), $before, 'the version that serves is as it was');
is(sql("SELECT to_regclass('my_pieces') IS NULL"), 't', 'the pieces are gone');

sub answers_of
{
	my ($number) = @_;
	return sql("SELECT dupn_user_vector(u, version => $number, as_of => '2024-01-01 15:30Z') FROM generate_series(1, 200, 20) u");
}

# ---------------- limits, rights, crashes ----------------

sub temporary_files
{
	return grep { !/pgsql_tmp_dupn_/ } glob($node->data_dir . '/base/pgsql_tmp/*');
}

sub stored { return sql('SELECT count(*), sum(length(data)), (SELECT count(*) FROM _dupn.version) FROM _dupn.weight') }

sql('SET ROLE keeper; CREATE TABLE my_pieces AS SELECT * FROM dupn_export_pieces(piece_bytes => 4000)');
my $stored = stored();
fails($node, 'shop', "SET temp_file_limit = '10kB'; SET ROLE keeper; SELECT dupn_import_pieces('shop', 'my_pieces')",
	'53400', 'temporary file size exceeds "?temp_file_limit', 'temp_file_limit counts what an import writes');
fails($node, 'shop', "SET ROLE keeper; CREATE TEMP TABLE t AS SELECT piece, data FROM my_pieces WHERE piece < 10; SELECT dupn_import_pieces('shop', 't')",
	'XX001', 'the file in the 9 pieces of "t" cannot be imported', 'a truncated file is refused');
fails($node, 'shop', "SELECT dupn_import_pieces('shop', 'my_pieces')", '42501', 'shop', 'so are strangers', 'stranger');
sql('CREATE TABLE secret AS TABLE my_pieces');
fails($node, 'shop', "SELECT dupn_import_pieces('shop', 'secret')", '42501', 'permission denied for table secret',
	'and pieces that the owner of the model may not read', 'keeper');
is(scalar(temporary_files()), 0, 'no temporary file stays');

my $log_before = -s $node->logfile;
sub log_says { return index(slurp_file($node->logfile, $log_before), shift) >= 0 }
$node->psql('shop', "SET dupn.fail_point = 'import: stored'; SELECT dupn_import_pieces('shop', 'my_pieces')");
for (1 .. 600)
{
	last if log_says('ready to accept connections');
	select(undef, undef, undef, 0.1);
}
ok(log_says('crashing at "import: stored"') && log_says('ready to accept connections'), 'the server crashed in an import and came back');
is(stored(), $stored, 'an import that crashed, or failed, leaves nothing');
is(scalar(temporary_files()), 0, 'and no temporary file');
is(answers_of(1), $before, 'the version that serves is as it was');
my $last = sql("SET ROLE keeper; SELECT dupn_import_pieces('shop', 'my_pieces', '{\"publish\": true}')");
is(sql('SELECT published_version FROM dupn_models'), $last, 'the same import without a crash');
is(sql("SELECT md5(dupn_export()) = md5(dupn_export(version => 1))"), 't', 'serves the same bytes');

$node->stop;
done_testing();
