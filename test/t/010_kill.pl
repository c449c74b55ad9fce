# A server that dies while a night is trained, a version published, taken back or
# dropped, and stored vectors refreshed: at named points that 006_refresh.pl,
# 009_storage.pl and 010_publish.pl do not have, and 20 times each at any moment.  What serves
# answers as before, what committed is there, the job's row says what happened,
# and the next job goes on.  A twin of the model whose jobs nobody kills tells
# what they would have come to.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Shop qw(:DEFAULT crash_at wait_for_crash $leftovers);
use Test::More;

my $kills = 20;
my $seed = $ENV{DUPN_SEED} // time % 1_000_000;
srand($seed);
note("DUPN_SEED=$seed");

# Files outlive a crash of the server, so that it is for dupn to remove its own.
my $node = PostgreSQL::Test::Cluster->new('primary');
$node->init;
$node->append_conf('postgresql.conf', "max_worker_processes = 8\nautovacuum = off\nrestart_after_crash = on\nremove_temp_files_after_crash = off");
$node->start;

my $db = 'shop';
my $what;    # is being tested
sub sql { return $node->safe_psql($db, shift) }
sub same { is($_[0], $_[1], "$what: $_[2]") or diag("DUPN_SEED=$seed") }
sub holds { ok($_[0], "$what: $_[1]") or diag("DUPN_SEED=$seed") }

$node->safe_psql('postgres', 'CREATE ROLE keeper LOGIN; CREATE DATABASE shop');
create_shop($node, $db, 'keeper');
foreach my $model ('shop', 'twin')
{
	create_model($node, $db, 'keeper', $model);
	sql(qq{SELECT dupn_alter_model('$model', '{"full_every": 0, "rebase": 3, "keep_versions": 4, "encodings": {"item_id": {"hash": 1000}}}')});
	sql("CALL dupn_run('$model')");
}

# A few users come, and a new product.
my $day = 0;

sub next_day
{
	$day++;
	sql(<<"END");
INSERT INTO shop.products SELECT 49 + $day, $day % 7, $day % 11;
INSERT INTO shop.events SELECT 1 + ($day * 37 + u) % 200, (u * 7 + e * $day) % (50 + $day), (ARRAY['click', 'buy'])[1 + (u + e) % 2],
	'2024-01-02Z'::timestamptz + $day * interval '1 day' + e * interval '1 hour' FROM generate_series(1, 12) u, generate_series(1, 4) e;
INSERT INTO shop.impressions SELECT 1 + ($day * 37 + u) % 200, (u * 3 + $day) % (50 + $day),
	'2024-01-02Z'::timestamptz + $day * interval '1 day' + u * interval '10 minutes', (u + $day) % 3 = 0 FROM generate_series(1, 12) u;
END
}

# Without what tells models and versions apart.
sub bare { return $_[0] =~ s/\@[^|]*//gr }
sub serving { return sql("SELECT published_version FROM dupn_models WHERE model = 'shop'") }

my ($was, $answers);    # the version that serves, and what it says
sub look { ($was, $answers) = (serving(), answers($node, $db, 'shop')) }

# Kill the process that a query finds so many seconds after a statement; false: there is none.
sub kill_after
{
	my ($seconds, $statement, $pid) = @_;
	my $log = -s $node->logfile;
	$node->psql($db, <<"END", on_error_stop => 1, stderr => \my $error);
$statement;
SELECT pg_sleep($seconds);
DO \$\$
DECLARE
	victim int = ($pid);
BEGIN
	IF victim IS NULL THEN
		RAISE 'nobody to kill';
	END IF;
	EXECUTE format('COPY (SELECT) TO PROGRAM %L', 'kill -9 ' || victim);
	PERFORM pg_sleep(5);
	RAISE 'nobody to kill, but one who had ended just before';
END \$\$
END
	return if $error =~ /nobody to kill|program "kill.*failed/;
	wait_for_crash($node, $log, qr/terminated by signal 9/);
	return 1;
}

# Kill the job that a statement starts, before it has ended; its number.
sub kill_job
{
	my ($statement) = @_;
	my $span = sql("SELECT EXTRACT(epoch FROM ended_at - enqueued_at) FROM dupn_jobs WHERE state = 'done' ORDER BY job_id DESC LIMIT 1");

	return kill_after(rand($span), $statement, "SELECT pid FROM pg_stat_activity WHERE backend_type = 'dupn job'") &&
	  sql('SELECT max(job_id) FROM dupn_jobs');
}

# Was it killed while it ran?  Then its row does not know it yet.
sub begun
{
	my ($job) = @_;
	return $job && sql("SELECT state FROM dupn_jobs WHERE job_id = $job") eq 'running';
}

# What a killed job's row says, once somebody has looked.
sub told
{
	my ($job) = @_;
	like(sql("SELECT state || ': ' || message FROM dupn_jobs WHERE job_id = $job"), qr/^failed: the job's process ended unexpectedly/,
		"$what: the job's row says what happened");
}

# Nothing is left that no version needs, in tables or files; after a job.
sub clean
{
	my %known = map { $_ => 1 } split /\n/, sql("SELECT DISTINCT to_hex(fingerprint) FROM _dupn.version WHERE state = 'ready'");
	my @files = grep { !/^pgsql_tmp_dupn_new_/ } mapped_files($node);
	same(sql($leftovers), '0', 'nothing is left in tables');
	same(join(' ', grep { !/^pgsql_tmp_dupn_\d+_0*([0-9a-f]+)_/ || !$known{$1} } @files), '', 'nor in files');
}

sub survived
{
	my ($may_change) = @_;
	my $now = serving();
	return look() if $may_change && $now != $was;
	same($now, $was, 'the version that served does');
	same(answers($node, $db, 'shop'), $answers, 'and answers as before');
}

# ---- a night ----

# The next night has learned, or the killed one had, what the twin's has.
sub next_night
{
	my $before = serving();
	sql(qq{CALL dupn_run('shop', 'finetune', '{"when_running": "queue"}'); CALL dupn_run('twin', 'finetune')});
	same(sql(<<'END'), 't', 'the rows are trained on, and once');
SELECT s.mode = 'nightly' AND s.since = p.trained_until AND s.trained_until = (SELECT max(occurred_at) FROM shop.events)
	AND (s.since, s.trained_until, s.events, s.users, s.items, s.nights) = (t.since, t.trained_until, t.events, t.users, t.items, t.nights)
FROM dupn_versions s, _dupn.version p, _dupn.model m, dupn_versions t
WHERE s.model = 'shop' AND s.published AND t.model = 'twin' AND t.published AND m.name = 'shop' AND p.model_id = m.model_id AND p.version = s.parent
END
	return $before != serving();
}

sub night_killed
{
	my ($job, $before) = @_;
	survived(1);
	my $published = $was != $before;
	my $learned = next_night();
	told($job);
	same($learned, !$published, $published ? 'and its night had been published' : 'and its night was still to come');
	clean();
	look();
	return $published;
}

next_day();
look();
$what = 'a night';
next_night();
look();
my $published;
my %point = map { $_ => 1 } ('job: before end');    # behind the publication
foreach my $point ('finetune: looked', 'train: read', 'train: parent judged', 'train: trained', 'train: judged', 'publish: created',
	'mapped: written', 'job: before end')
{
	$what = $point;
	next_day();
	my $before = $was;
	crash_at($node, $db, $point, "SELECT dupn_finetune('shop')");
	$published = night_killed(sql('SELECT max(job_id) FROM dupn_jobs'), $before);
	same($published, $point{$point} // '', 'published, or not');
}

# The unfinished file goes when it is old.
my @unfinished = grep { /_new_/ } mapped_files($node);
is(scalar(@unfinished), 1, 'a file that was not finished is there');
utime(1, 1, $node->data_dir . "/base/pgsql_tmp/$_") foreach @unfinished;

# What a dead one left is cleared away by the next, which may die of it as well.
$what = 'sweep: buried';
next_day();
crash_at($node, $db, 'publish: before', "SELECT dupn_finetune('shop')");
my $job = sql('SELECT max(job_id) FROM dupn_jobs');
crash_at($node, $db, $what, "SELECT dupn_finetune('shop')");
survived(0);
told($job);
my $lost = sql('SELECT max(job_id) FROM dupn_jobs');
same(sql("SELECT state FROM dupn_jobs WHERE job_id = $lost"), 'queued', 'a job that no process has taken waits');
fails($node, $db, "CALL dupn_run('shop', 'finetune')", '55006', "skipped: job $lost .* is queued", "$what: another one is skipped");
ok($node->poll_query_until($db, "SELECT state = 'done' FROM dupn_jobs WHERE job_id = $lost"), "$what: but lets it begin");
next_night();
clean();
is(scalar(grep { /_new_/ } mapped_files($node)), 0, 'and old unfinished files are gone');
crash_at($node, $db, $what, "SELECT dupn_evaluate_baselines('shop')");
sql("UPDATE _dupn.job SET enqueued_at = enqueued_at - interval '2 seconds' WHERE state = 'queued'; CALL dupn_run('twin', 'baselines')");
ok($node->poll_query_until($db, "SELECT count(*) = 0 FROM dupn_jobs WHERE state IN ('queued', 'running') AND due_at IS NULL"), "$what: so does a job of another model");
$what = 'job: ended';
next_day();
crash_at($node, $db, $what, "SELECT dupn_finetune('shop')");
same(sql("SELECT state FROM dupn_jobs ORDER BY job_id DESC LIMIT 1"), 'done', 'what has ended has');
survived(1);
same(next_night(), '', 'and leaves nothing to do');
look();

my ($night, $late) = (0, 0);
while ($night < $kills && $late < 4 * $kills)
{
	$what = "night $night";
	next_day();
	my $before = $was;
	$job = kill_job("SELECT dupn_finetune('shop')");
	if (!begun($job))
	{
		$late++;
		next_night();
		look();
		next;
	}
	$published += night_killed($job, $before);
	$night++;
}
is($night, $kills, "$kills nights were killed, $late had ended or not begun");
$what = 'after all';
same(bare($answers), bare(answers($node, $db, 'twin')), 'the model says what its twin says');

# ---- publishing and going back ----

next_day();
next_night();
my ($older, $old, $new) = split /\n/, sql("SELECT version FROM (SELECT version FROM dupn_versions WHERE model = 'shop' ORDER BY version DESC LIMIT 3) v ORDER BY version");
my %says;
foreach my $version ($older, $old, $new)
{
	sql("SELECT dupn_publish('shop', $version)");
	$says{$version} = answers($node, $db, 'shop');
}
is(keys %{ { map { $_ => 1 } values %says } }, 3, 'three versions say different things');

# Which serves and which did before, after so many statements.
my @state = ("$new|$old", "$older|$new", "$new|$older", "$old|$new");
my @flip = ("SELECT dupn_publish('shop', $older)", "SELECT dupn_rollback('shop')", "SELECT dupn_publish('shop', $old)", "SELECT dupn_rollback('shop')");
sub state { return sql("SELECT published, previous FROM _dupn.model WHERE name = 'shop'") }
sub reset_state { sql("SELECT dupn_publish('shop', $old); SELECT dupn_publish('shop', $new)") }

foreach my $point ('publish: mapped', 'publish: chosen', 'rollback: mapped', 'rollback: chosen')
{
	$what = $point;
	crash_at($node, $db, $point, $flip[ $point =~ /^rollback/ ]);
	same(state(), $state[0], 'what did not commit was not');
	same(answers($node, $db, 'shop'), $says{$new}, 'and what serves answers as before');
}

# A session that does one statement after another, until it is killed; how many it has done.
sub kill_session
{
	my ($seconds, @statements) = @_;
	my ($file, $out) = ($node->basedir . '/statements', '');
	append_to_file($file, join('', <<'END', map { "$_ \\g /dev/null\n\\echo did\n" } @statements, 'SELECT pg_sleep(60)'));
SET application_name = 'victim';
DO $$
BEGIN
	WHILE NOT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'killer') LOOP
		PERFORM pg_sleep(0.001), pg_stat_clear_snapshot();
	END LOOP;
END $$;
END
	my $session = IPC::Run::start([ 'psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr($db), '-f', $file ], '>', \$out, '2>', \my $error);
	my $pid = "SELECT pid FROM pg_stat_activity WHERE application_name = 'victim'";

	$node->poll_query_until($db, "SELECT EXISTS ($pid)");
	kill_after($seconds, "SET application_name = 'killer'", $pid) or die "nobody to kill: $error";
	$session->finish;
	unlink($file);
	like($error, qr/connection/, "$what: the session ends with the server");
	return scalar(() = $out =~ /^did$/mg);
}

foreach my $i (1 .. $kills)
{
	reset_state();
	$what = "publication $i";
	my $done = kill_session(rand(0.05), (@flip) x 500);
	my $state = state();
	holds($state eq $state[ $done % 4 ] || $state eq $state[ ($done + 1) % 4 ], "all $done that committed are there, and at most one more");
	same(answers($node, $db, 'shop'), $says{ $state =~ s/\|.*//r }, 'and what serves says what it always said');
	same(sql($leftovers), '0', 'nothing is left');
}

# ---- stored vectors ----

sql(<<'END');
CREATE TABLE shop.vectors (user_id bigint, version int, vector dupn_vector NOT NULL, as_of timestamptz NOT NULL, PRIMARY KEY (user_id, version));
ALTER TABLE shop.vectors OWNER TO keeper;
CREATE VIEW shop.vectors_now AS SELECT * FROM shop.vectors WHERE version = (SELECT dupn_refreshed_version('shop.vectors'));
END
my $refresh = q{CALL dupn_run('shop', 'refresh', '{"target": "shop.vectors"}')};
sql($refresh);
my $users = sql('SELECT count(DISTINCT user_id) FROM shop.events');
my ($refreshed, $begun) = (0, 0);
$late = 0;
while ($refreshed < $kills && $late < 4 * $kills)
{
	$what = "refresh $refreshed";
	# of another version, or of another moment
	sql("SELECT dupn_publish('shop', " . ($refreshed % 4 < 2 ? $old : $new) . ')');
	my $as_of = sql("SELECT clock_timestamp()");
	my $before = sql('SELECT DISTINCT version, as_of FROM shop.vectors_now');
	$job = kill_job(qq{SELECT dupn_refresh('shop', 'shop.vectors', '{"as_of": "$as_of", "rows_per_second": 1000}')});
	if (!begun($job))
	{
		$late++;
		sql($refresh);
		next;
	}
	my $written = sql("SELECT count(*) FROM shop.vectors WHERE as_of = '$as_of'");
	my ($flipped, $next) = split /\|/, sql("SELECT as_of = '$as_of', next_as_of = '$as_of' FROM _dupn.refresh");
	same(sql('SELECT count(*), count(DISTINCT version) FROM shop.vectors_now'), "$users|1", 'one version of all users is seen');
	same(sql(<<"END"), '', 'each vector is of a moment that was asked for, and right');
SELECT string_agg(user_id::text, ' ') FROM shop.vectors_now
WHERE NOT ((version || '|' || as_of = '$before' OR as_of = '$as_of')
	AND (SELECT max(abs(a - b)) FROM unnest(vector::real[], dupn_user_vector(user_id, 'shop', as_of => as_of, version => version)::real[]) x (a, b)) < 1e-5
	AND dupn_vector_version(vector) = version AND dupn_vector_as_of(vector) = as_of)
END
	sql($refresh);
	told($job);
	my ($message, $notes) = split /\|/, sql('SELECT message, notes[1] FROM dupn_jobs ORDER BY job_id DESC LIMIT 1');
	if ($next eq 't')
	{
		$begun++;
		like($message, qr/ @{[$users - $written]} rows written/, "$what: the next one writes what was not written yet");
		like($notes, qr/^goes on with the refresh as of/, "$what: as of the same moment");
	}
	same(sql('SELECT count(*), count(DISTINCT (version, as_of)), bool_and(version = published) FROM shop.vectors v, _dupn.model m WHERE m.name = \'shop\''), "$users|1|t",
		'and there is one version of all users');
	clean();
	$refreshed++;
}
is($refreshed, $kills, "$kills refreshes were killed, $late had ended or not begun");
cmp_ok($begun, '>', $kills / 5, "$begun of them when they had begun to write");

# ---- dropping versions ----

# Differences to one another, and copies that were imported.
sql(q{SELECT dupn_alter_model('shop', '{"keep_versions": 0, "rebase": 30}')});
$what = 'before drops';
foreach my $night (1 .. 8)
{
	next_day();
	next_night();
}
look();
sub versions { return split /\n/, sql("SELECT version FROM dupn_versions WHERE model = 'shop' AND NOT published ORDER BY delta_of IS NULL, hashint4(version)") }
sub contents { return sql("SELECT string_agg(version || md5(dupn_export('shop', version)), ' ' ORDER BY version) FROM dupn_versions WHERE model = 'shop' AND version <> ALL ('{$_[0]}')") }
foreach my $i (1 .. $kills)
{
	$what = "drop $i";
	my $few = 30 - versions();
	sql("SELECT dupn_import('shop', dupn_export('shop')) FROM generate_series(1, $few)") if $few > 0;
	my @drop = versions();
	@drop = @drop[ 0 .. 19 ];
	my $others = contents(join ',', @drop);
	my $done = kill_session(rand(0.03), map { "SELECT dupn_drop_version('shop', $_)" } @drop);
	my %left = map { $_ => 1 } versions();
	my $there = grep { $left{$_} } @drop;
	holds(!(grep { $left{$_} } @drop[ 0 .. $done - 1 ]), "the $done that were dropped are gone");
	holds($there == @drop - $done || $there == @drop - $done - 1, "and at most one more ($there)");
	survived(0);
	same(contents(join ',', @drop), $others, 'others are what they were');
	sql(q{CALL dupn_run('shop', 'baselines')});
	clean();
}

# ---- at last ----

$what = 'at last';
next_day();
next_night();
same(bare(answers($node, $db, 'shop')), bare(answers($node, $db, 'twin')), 'the model says what its twin says');

# ---- a rejection that has consequences ----

# Everybody takes one item, of which the night learns nothing.
$what = 'the seventh rejection';
look();
sql(<<'END');
INSERT INTO shop.events SELECT u, 7, 'buy', '2025-01-01Z'::timestamptz + e * interval '1 hour' FROM generate_series(1, 200) u, generate_series(1, 4) e;
UPDATE _dupn.model SET rejections = 6 WHERE name = 'shop';
END
crash_at($node, $db, 'publish: after', q{SELECT dupn_finetune('shop', '{"publish": "better", "primary": "next", "learning_rate": 1e-8}')});
survived(0);
like(sql("SELECT decision FROM dupn_versions WHERE model = 'shop' ORDER BY version DESC LIMIT 1"), qr/^rejected: /, "$what: is stored");
same(sql("SELECT string_agg(dupn_wait(job_id), ' ') FROM dupn_jobs WHERE action = 'train' AND options = '{}' AND state = 'queued'"), 'done', 'and the training that it asks for is done');
clean();
done_testing();
