# The reference values of the network through SQL: each case becomes tables and a
# declared model; a version that knows the values is trained for a moment and
# exported, the reference's weights take the place of its own, and what is
# imported must answer with the reference's numbers, as test/unit/golden.c asks
# of the network alone.
#
# What the reference gives as ids is chosen freely there, so:
#	- ids are values of columns in another order than the vocabulary's, whose
#	  order the exported file tells; 0 is NULL and 1 a value never seen.  Values
#	  of an array are distinct, so an id that a bag has twice is two values with
#	  the same row;
#	- gap and daypart, which follow from time here, are columns by other names;
#	- buckets of recency do follow from time here, so each event has a behaviour
#	  type of its own, whose row of attention.recency has the reference's bias in
#	  the bucket that the event's age is in and nonsense in the others; with it the
#	  difference of the lag's bias, whose buckets are wider here;
#	- hidden states are not to be had in SQL; losses are no matter of serving.
use strict;
use warnings;

use FindBin;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $folder = ($ENV{DUPN_DATA} || "$FindBin::RealBin/../../../shared/data") . '/../golden';
my @files = glob("$folder/*.safetensors");
plan skip_all => "no reference values in $folder" unless @files;

use constant {
	BOUND => 1e-5,
	NONSENSE => 30,
	UNSEEN => 999_999,
	NOW => '2024-06-01 12:00:00Z',
	NOW_SECONDS => 1_717_243_200,
	NO_KEY => '-9223372036854775808'
};
my %width = (F32 => 4, F64 => 8, I32 => 4, I64 => 8, U8 => 1);
my %letter = (F32 => 'f<*', F64 => 'd<*', I32 => 'l<*', I64 => 'q<*', U8 => 'C*');
my @bounds = map { $_ * 60 } 5, 15, 30, 60, 240, 540, 1440, 2880, 10080, 43200, 129600, 525600;

# ---------------- safetensors ----------------

sub read_file
{
	my ($bytes) = @_;
	my $length = unpack('Q<', $bytes);
	my $header = decode_json(substr($bytes, 8, $length));
	my %file = (metadata => delete $header->{__metadata__}, tensor => {}, order => []);
	for my $name (sort { $header->{$a}{data_offsets}[0] <=> $header->{$b}{data_offsets}[0] || $a cmp $b } keys %$header)
	{
		my ($begin, $end) = @{ $header->{$name}{data_offsets} };
		my $dtype = $header->{$name}{dtype};
		$file{tensor}{$name} = { dtype => $dtype, shape => $header->{$name}{shape},
			data => [ unpack($letter{$dtype}, substr($bytes, 8 + $length + $begin, $end - $begin)) ] };
		push @{ $file{order} }, $name;
	}
	return \%file;
}

sub write_file
{
	my ($file) = @_;
	my %header = (__metadata__ => $file->{metadata});
	my $data = '';
	for my $name (@{ $file->{order} })
	{
		my $tensor = $file->{tensor}{$name};
		my $begin = length $data;
		$data .= pack($letter{ $tensor->{dtype} }, @{ $tensor->{data} });
		$header{$name} = { dtype => $tensor->{dtype}, shape => [ map { 0 + $_ } @{ $tensor->{shape} } ], data_offsets => [ $begin, length $data ] };
	}
	my $text = JSON::PP->new->utf8->canonical->encode(\%header);
	return pack('Q<', length $text) . $text . $data;
}

# ---------------- from ids to columns ----------------

my $golden;					# the case
my %feature;				# "group.name" -> how its ids are written

sub data { my ($name) = @_; return $golden->{tensor}{$name} ? $golden->{tensor}{$name}{data} : undef }

# The ids of row i of a feature: one, or a bag.
sub ids
{
	my ($prefix, $multi, $i) = @_;
	return data($prefix)->[$i] unless $multi;
	my $offsets = data("$prefix.offsets");
	return @{ data("$prefix.values") }[ $offsets->[$i] .. $offsets->[ $i + 1 ] - 1 ];
}

sub scalar_value { my ($id) = @_; return $id == 0 ? 'NULL' : $id == 1 ? UNSEEN : 5000 - $id }

sub column
{
	my ($f, @ids) = @_;
	return scalar_value($ids[0]) unless $f->{multi};
	my %seen;
	return "'{" . join(',', map { 1000 * $seen{$_}++ + 100 + $_ } @ids) . "}'";
}

# Values that training must see, and the row of the reference's table behind each.
sub values_of
{
	my ($f) = @_;
	return %{ $f->{own_rows} } if $f->{own_rows};
	return map { 5000 - $_ => $_ } 2 .. $f->{vocab} - 1 unless $f->{multi};
	my %row;
	for my $copy (0 .. $f->{copies} - 1)
	{
		$row{ 1000 * $copy + 100 + $_ } = $_ for 0 .. $f->{vocab} - 1;
	}
	return %row;
}

sub count_copies
{
	my ($f, $prefix, $n) = @_;
	for my $i (0 .. $n - 1)
	{
		my %seen;
		$seen{$_}++ for ids($prefix, 1, $i);
		for (values %seen) { $f->{copies} = $_ if $_ > $f->{copies} }
	}
}

my %column_name = (gap => 'gap_id', daypart => 'daypart_ids');
sub name_of { my ($f) = @_; return $column_name{ $f->{name} } // $f->{name} }
sub definition { return join(', ', map { '"' . name_of($_) . '" ' . ($_->{multi} ? 'int[]' : 'int') } @_) }

# ---------------- comparison ----------------

sub worst
{
	my ($got, $want) = @_;
	return 'inf' if @$got != @$want;
	my ($difference, $size) = (0, 0);
	for my $i (0 .. $#$want)
	{
		my $d = abs($got->[$i] - $want->[$i]);
		return 'nan' if $d != $d;
		$difference = $d if $d > $difference;
		$size = abs($want->[$i]) if abs($want->[$i]) > $size;
	}
	return $difference / ($size + 1e-6);
}

sub is_close
{
	my ($got, $want, $what) = @_;
	my $error = worst($got, $want);
	ok($error <= BOUND, "$what: " . @$want . ' numbers') or diag("relative error $error");
}

sub numbers { return [ map { s/[{}]//gr } split /[\n,|]/, $_[0] ] }

# ---------------- a case ----------------

my $node = PostgreSQL::Test::Cluster->new('primary');
$node->init;
$node->append_conf('postgresql.conf', "autovacuum = off\nfsync = off");
$node->start;
my $db = 'golden';
$node->safe_psql('postgres', "CREATE DATABASE $db");
$node->safe_psql($db, 'CREATE EXTENSION dupn');

sub run_case
{
	my ($case) = @_;
	my $config = decode_json($golden->{metadata}{config});
	my %group = map { $_ => $config->{$_} || [] } qw(item property profile context);
	my %task = map { $_->{name} => $_ } @{ $config->{tasks} };
	my $offsets = data('in.offsets');
	my $users = $#$offsets;
	my $events = $offsets->[-1];
	my $json = JSON::PP->new->canonical;
	my $sql = sub { return $node->safe_psql($db, "SET search_path = $case, public; SET timezone = 'UTC'; SET client_min_messages = error; $_[0]") };

	# how features are written
	%feature = ();
	for my $g (keys %group)
	{
		for my $f (@{ $group{$g} })
		{
			$f->{copies} = 1;
			$feature{"$g.$f->{name}"} = $f;
			next unless $f->{multi};
			count_copies($f, "in.$g.$f->{name}", $g eq 'item' || $g eq 'property' ? $events : $users);
			for my $t (values %task)
			{
				my $n = $t->{kind} eq 'next_item' ? $t->{catalogue} : @{ data("in.task.$t->{name}.label") };
				my $prefix = "in.task.$t->{name}." . ($t->{kind} eq 'next_item' ? 'catalogue' : 'candidate') . ".$f->{name}";
				count_copies($f, $prefix, $n) if $g eq 'item' && data("$prefix.values");
			}
		}
	}

	# an age for each event, over all buckets, and a type of its own
	my (@age, @bucket, @lag);
	for my $u (0 .. $users - 1)
	{
		my $n = $offsets->[ $u + 1 ] - $offsets->[$u];
		for my $k (0 .. $n - 1)
		{
			my $age = int(exp((1 - ($k + .5) / $n) * log(70_000_000))) + $n - $k;
			my $e = $offsets->[$u] + $k;
			$age[$e] = $age;
			$bucket[$e] = grep { $_ < $age } @bounds;
			my $after = $n - 1 - $k;
			$lag[$e] = $after < 5 ? $after : $after < 8 ? 5 : $after < 16 ? 6 : 7;
		}
	}
	my $type = $group{property}[0];
	$type->{own_rows} = { map { $_ + 1 => data("in.property.$type->{name}")->[$_] } 0 .. $events - 1 }
	  if $type && $config->{recency};

	# tables that training sees: every value of every column
	my @all = map { @{ $group{$_} } } qw(item property profile context);
	my %values = map { my %row = values_of($_); ($_ => [ sort { $a <=> $b } keys %row ]) } @all;
	my $rows = 14;
	for (@all) { $rows = @{ $values{$_} } if @{ $values{$_} } > $rows }
	my $trained = sub {
		my ($i, @features) = @_;
		return map { my $v = $values{$_}[ $i % @{ $values{$_} } ]; $_->{multi} ? "'{$v}'" : $v } @features;
	};
	my @who = map { 100_000 + $_ } 0 .. $rows - 1;
	my @event_columns = (@{ $group{item} }, @{ $group{property} });
	my $tables = "CREATE SCHEMA $case; SET search_path = $case, public;\n"
	  . 'CREATE TABLE events (user_id int, at timestamptz, ' . definition(@event_columns) . ");\n"
	  . 'INSERT INTO events VALUES '
	  . join(', ', map { "($who[$_], '2020-01-01Z', " . join(', ', $trained->($_, @event_columns)) . ')' } 0 .. $rows - 1) . ";\n";
	$tables .= 'CREATE TABLE people (id int PRIMARY KEY, ' . definition(@{ $group{profile} }) . ");\nINSERT INTO people VALUES "
	  . join(', ', map { "($who[$_], " . join(', ', $trained->($_, @{ $group{profile} })) . ')' } 0 .. $rows - 1) . ";\n"
	  if @{ $group{profile} };
	for my $t (values %task)
	{
		next if $t->{kind} eq 'next_item';
		my @candidate = grep { my $f = $_; grep { $_ eq $f->{name} } @{ $t->{candidate} || [] } } @{ $group{item} };
		my @numbers = map { "f$_" } 0 .. ($t->{features} || 0) - 1;
		$t->{columns} = \@candidate;
		$t->{numbers} = \@numbers;
		$tables .= "CREATE TABLE s_$t->{name} (user_id int, at timestamptz, label int"
		  . join('', map { ", $_" } grep { length } definition(@candidate), definition(@{ $group{context} }), map { "$_ real" } @numbers) . ");\n"
		  . "INSERT INTO s_$t->{name} VALUES "
		  . join(', ', map { my $i = $_; "($who[$i], '2020-01-02Z', " . join(', ', $i % ($t->{classes} || 2),
				$trained->($i, @candidate, @{ $group{context} }), map { sin($i + ord) } @numbers) . ')' } 0 .. $rows - 1) . ";\n";
	}
	$node->safe_psql($db, $tables);

	# the model
	my %uses = (gap => 'none', daypart => 'none', map { (name_of($_) => $_->{use}) } @{ $group{property} });
	my $options = $json->encode({
		hidden => $config->{hidden}, attention => $config->{attention}, max_events => 200, min_count => 1, epochs => 1,
		bidirectional => $config->{bidirectional}, uses => \%uses, holdout => '2023-01-01', refit => JSON::PP::false,
		activity => JSON::PP::false, calibrate => JSON::PP::false,
		widths => { map { (name_of($_) => $_->{dim}) } @all } });
	my $names = sub { return "'{" . join(',', map { name_of($_) } @_) . "}'" };
	my $declare = "SELECT dupn_create_model('$case', 'events', 'user_id', 'at', " . $names->(@{ $group{item} })
	  . ', ' . $names->(@{ $group{property} }) . ', context_columns => ' . $names->(@{ $group{context} })
	  . (@{ $group{profile} } ? ", profile => 'people', profile_key => 'id', profile_columns => " . $names->(@{ $group{profile} }) : '')
	  . ", timezone => 'UTC', options => '$options');\n";
	for my $t (@{ $config->{tasks} })
	{
		my $task_options = $t->{kind} eq 'next_item' ? { repeat => JSON::PP::false, memory => JSON::PP::false } : { hidden => $t->{hidden} };
		$task_options->{product} = JSON::PP::false if $t->{kind} eq 'binary';
		$task_options->{candidate_dim} = $t->{candidate_dim} if $t->{candidate_dim};
		$declare .= "SELECT dupn_add_task('$case', '$t->{name}', '$t->{kind}'"
		  . ($t->{kind} eq 'next_item' ? '' : ", 's_$t->{name}', 'label', '{" . join(',', @{ $t->{numbers} }) . "}'")
		  . ", options => '" . $json->encode($task_options) . "');\n";
	}
	$sql->($declare);
	$sql->("CALL dupn_run('$case')");
	my $file = read_file(pack('H*', $sql->("SELECT encode(dupn_export('$case'), 'hex')")));

	# the reference's weights
	my $described = decode_json($file->{metadata}{features});
	my %classes = map { $_->{name} => $_->{classes} } @{ $described->{tasks} };
	my @rows_of;
	my $permuted = sub {
		my ($key, $shape, $source, $dim) = @_;
		my $f = $feature{$key};
		my ($g, $name) = ($key =~ /^(\w+)\.(.*)/);
		my $prefix = "vocabulary.$g." . name_of($f);
		my %row = values_of($f);
		my $plain = !$f->{multi} && !$f->{own_rows};
		my @table = $plain ? @{$source}[ 0 .. 2 * $dim - 1 ] : (0) x (2 * $dim);
		my ($keys, $ids) = map { $file->{tensor}{"$prefix.$_"}{data} } qw(keys ids);
		for my $at (0 .. $#$keys)
		{
			next if $keys->[$at] eq NO_KEY;
			my $row = $row{ $keys->[$at] };
			@table[ $ids->[$at] * $dim .. ($ids->[$at] + 1) * $dim - 1 ] = @{$source}[ $row * $dim .. ($row + 1) * $dim - 1 ];
		}
		return \@table;
	};
	for my $name (@{ $file->{order} })
	{
		my $tensor = $file->{tensor}{$name};
		my $source = $name;
		for (keys %column_name) { $source =~ s/^property\.$column_name{$_}\./property.$_./ }
		my $given = data("param.$source");
		if ($source =~ /^((item|property|profile|context)\.\w+)\.embedding$/)
		{
			$tensor->{data} = $permuted->($1, $tensor->{shape}, $given, $tensor->{shape}[1]);
		}
		elsif ($source =~ /^task\.\w+\.item_bias\.(\w+)$/)
		{
			$tensor->{data} = $permuted->("item.$1", $tensor->{shape}, $given, 1);
		}
		elsif ($source eq 'attention.recency' && $given)
		{
			my ($keys, $ids) = map { $file->{tensor}{"vocabulary.property.$type->{name}.$_"}{data} } qw(keys ids);
			my $buckets = $tensor->{shape}[1];
			$tensor->{data} = [ (NONSENSE) x ($tensor->{shape}[0] * $buckets) ];
			for my $at (0 .. $#$keys)
			{
				next if $keys->[$at] eq NO_KEY;
				my $e = $keys->[$at] - 1;
				my $lag = data('param.attention.lag');
				$tensor->{data}[ $ids->[$at] * $buckets + $bucket[$e] ] =
				  $given->[ data("in.property.$type->{name}")->[$e] * $config->{recency} + data('in.recency')->[$e] ]
				  + $lag->[ data('in.lag')->[$e] ] - $lag->[ $lag[$e] ];
			}
		}
		elsif ($source eq 'attention.recency' || ($source eq 'attention.lag' && !$given))
		{
			$_ = 0 for @{ $tensor->{data} };
		}
		elsif ($source =~ /^task\.(\w+)\.output\.(weight|bias)$/ && $task{$1}{kind} eq 'multiclass')
		{
			my $dim = @$given / $task{$1}{classes};
			$tensor->{data} = [ map { @{$given}[ $_ * $dim .. ($_ + 1) * $dim - 1 ] } @{ $classes{$1} } ];
		}
		elsif ($source =~ /^task\.\w+\.(mean|scale)$/)
		{
			$_ = $1 eq 'scale' ? 1 : 0 for @{ $tensor->{data} };
		}
		elsif ($given)
		{
			$tensor->{data} = $given;
		}
		else
		{
			die "tensor \"$name\" of case $case has no reference" if $source !~ /^(vocabulary|catalogue)\./;
		}
	}
	$sql->("SELECT dupn_import('$case', decode('" . unpack('H*', write_file($file)) . "', 'hex'), '{\"publish\": true}')");

	# the reference's inputs
	my $inputs = '';
	my @lines;
	for my $u (0 .. $users - 1)
	{
		for my $e ($offsets->[$u] .. $offsets->[ $u + 1 ] - 1)
		{
			push @lines, '(' . join(', ', $u + 1, 'to_timestamp(' . (NOW_SECONDS - $age[$e]) . ')',
				map { my $f = $_; my $g = (grep { $_ == $f } @{ $group{item} }) ? 'item' : 'property';
					$f->{own_rows} ? $e + 1 : column($f, ids("in.$g.$f->{name}", $f->{multi}, $e)) } @event_columns) . ')';
		}
	}
	$inputs .= 'INSERT INTO events VALUES ' . join(",\n", @lines) . ";\n";
	$inputs .= 'INSERT INTO people VALUES ' . join(', ', map { my $u = $_; '(' . join(', ', $u + 1,
		map { column($_, ids("in.profile.$_->{name}", $_->{multi}, $u)) } @{ $group{profile} }) . ')' } 0 .. $users - 1) . ";\n"
	  if @{ $group{profile} };
	my $context = sub {
		my ($u) = @_;
		my %context;
		for my $f (@{ $group{context} })
		{
			my $id = ids("in.context.$f->{name}", $f->{multi}, $u);
			$context{ $f->{name} } = $id == 0 ? undef : 0 + scalar_value($id);
		}
		return "'" . $json->encode(\%context) . "'::jsonb";
	};
	$inputs .= 'CREATE TABLE asked (u int, context jsonb); INSERT INTO asked VALUES '
	  . join(', ', map { '(' . ($_ + 1) . ', ' . (@{ $group{context} } ? $context->($_) : 'NULL') . ')' } 0 .. $users - 1) . ";\n";
	$inputs .= "CREATE TABLE vectors AS SELECT u, dupn_user_vector(u, '$case', context, '" . NOW . "') AS v FROM asked;\n";
	$sql->($inputs);

	is_close(numbers($sql->('SELECT v::real[] FROM vectors ORDER BY u')), data('out.user_vector'), "$case: user vectors");
	is_close(numbers($sql->("SELECT a.weight FROM asked, LATERAL dupn_attention(u, '$case', context, '" . NOW . "') a ORDER BY u, a.occurred_at")),
		data('out.attention'), "$case: attention");
	for my $t (@{ $config->{tasks} })
	{
		my $name = $t->{name};
		my $want = data("out.task.$name.logit");
		my $sequence = data("in.task.$name.sequence");
		if ($t->{kind} eq 'multiclass')
		{
			my $got = numbers($sql->("SELECT probability FROM vectors, LATERAL dupn_classify('$name', v) c ORDER BY u, class::int"));
			my $classes = $t->{classes};
			my (@got, @want);
			for my $s (0 .. $#$sequence)
			{
				my @e = map { exp } @{$want}[ $s * $classes .. ($s + 1) * $classes - 1 ];
				my $sum = 0;
				$sum += $_ for @e;
				push @want, map { $_ / $sum } @e;
				push @got, @{$got}[ $sequence->[$s] * $classes .. ($sequence->[$s] + 1) * $classes - 1 ];
			}
			is_close(\@got, \@want, "$case: classes of $name");
			next;
		}
		if ($t->{kind} eq 'next_item')
		{
			my @items = map { my $j = $_; '(' . join(', ', $j, map { column($_, ids("in.task.$name.catalogue.$_->{name}", $_->{multi}, $j)) } @{ $group{item} }) . ')' }
			  0 .. $t->{catalogue} - 1;
			my @item = map { numbers($_) } split /\n/, $sql->("CREATE TABLE goods (j int, " . definition(@{ $group{item} }) . ');'
				. 'INSERT INTO goods VALUES ' . join(', ', @items) . "; SELECT dupn_item_vector(g, '$case') FROM goods g ORDER BY j");
			my @query = map { numbers($_) } split /\n/, $sql->('SELECT dupn_retrieval_vector(v) FROM vectors ORDER BY u');
			my @got = map { my $q = $query[$_]; map { my $sum = 0; my $e = $_; $sum += $q->[$_] * $e->[$_] for 0 .. $#$e; $sum } @item } @$sequence;
			is_close(\@got, $want, "$case: items of $name");
			next;
		}

		my @numbers = @{ $t->{numbers} };
		my $given = data("in.task.$name.features");
		my @samples = map { my $s = $_; '(' . join(', ', $s, $sequence->[$s] + 1,
			(map { column($_, ids("in.task.$name.candidate.$_->{name}", $_->{multi}, $s)) } @{ $t->{columns} }),
			(map { sprintf('%.9g', $given->[ $s * @numbers + $_ ]) } 0 .. $#numbers)) . ')' } 0 .. $#$sequence;
		my $got = numbers($sql->("CREATE TABLE c_$name (s int, who int" . join('', map { ", $_" } grep { length } definition(@{ $t->{columns} }), map { "$_ real" } @numbers)
			. "); INSERT INTO c_$name VALUES " . join(', ', @samples) . ";"
			. "SELECT dupn_score('$name', v, c) FROM c_$name c JOIN vectors ON u = who ORDER BY s"));
		is_close($got, $t->{kind} eq 'rank' ? $want : [ map { 1 / (1 + exp(-$_)) } @$want ], "$case: scores of $name");
		next if $t->{kind} ne 'rank';

		my @weights = map { numbers($_) } split /\n/, $sql->("SELECT array_agg(weight ORDER BY substr(feature, 2)::int) FROM vectors, LATERAL dupn_rank_weights('$name', v) GROUP BY u ORDER BY u");
		my @sums = map { my $s = $_; my $w = $weights[ $sequence->[$s] ]; my $sum = data("param.task.$name.intercept")->[0];
			$sum += $w->[$_] * $given->[ $s * @numbers + $_ ] for 0 .. $#numbers; $sum } 0 .. $#$sequence;
		is_close(\@sums, $want, "$case: weights of $name");
		ok(!(grep { $_ < 0 } map { @$_ } @weights), "$case: none of them is negative");
	}
}

for my $path (@files)
{
	my ($case) = $path =~ m{(\w+)\.safetensors$};
	$golden = read_file(PostgreSQL::Test::Utils::slurp_file($path));
	run_case($case);
}
$node->stop;
done_testing();
