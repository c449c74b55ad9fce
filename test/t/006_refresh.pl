# A refresh that is stopped, killed, robbed of its table or of its version: what
# is written stays, and the next one goes on from there.
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

my $node = PostgreSQL::Test::Cluster->new('primary');
$node->init;
$node->append_conf('postgresql.conf', "max_worker_processes = 8\nautovacuum = off\nrestart_after_crash = on");
$node->start;
my $db = 'stored';
sub sql { return $node->safe_psql($db, "SET search_path = shop, public; $_[0]") }

# Groups of 51 users each; a gate before the rows of one user.
$node->safe_psql('postgres', 'CREATE ROLE keeper LOGIN; CREATE ROLE mallory LOGIN; CREATE DATABASE stored');
$node->safe_psql($db, <<'END');
CREATE EXTENSION dupn;
CREATE SCHEMA shop AUTHORIZATION keeper;
SET ROLE keeper;
SET search_path = shop, public;
CREATE TABLE events AS
SELECT u AS user_id, (u * 7 + e * e) % 50 AS item_id, '2024-01-01Z'::timestamptz + e * interval '1 hour' AS occurred_at
FROM generate_series(1, 500) u, generate_series(1, 5) e;
CREATE INDEX ON events (user_id, occurred_at);
SELECT dupn_create_model('shop', events => 'events', user_column => 'user_id', time_column => 'occurred_at',
	item_columns => '{item_id}', options => '{"hidden": 8, "attention": [8, 8], "epochs": 1, "max_events": 1000, "publish": "always"}');
SELECT dupn_add_task('shop', 'next', 'next_item');
CALL dupn_run('shop', 'train');
CREATE TABLE vectors (user_id int, version int, vector dupn_vector NOT NULL, as_of timestamptz NOT NULL, PRIMARY KEY (user_id, version));
CREATE TABLE gate AS SELECT false AS closed;
CREATE FUNCTION gate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	WHILE (SELECT closed FROM shop.gate) LOOP
		PERFORM pg_sleep(0.01);
	END LOOP;
	RETURN NEW;
END $$;
CREATE TRIGGER gate BEFORE INSERT ON vectors FOR EACH ROW WHEN (NEW.user_id = 300) EXECUTE FUNCTION gate();
END
sub gate { sql("UPDATE gate SET closed = $_[0]") }

# Enqueue a refresh and wait until it stands before the gate.
sub start_refresh
{
	my ($options) = @_;
	gate('true');
	my $job = sql("SET ROLE keeper; SELECT dupn_refresh('shop', 'vectors', '$options')");
	$node->poll_query_until($db, "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type LIKE 'dupn %' AND wait_event = 'PgSleep')")
	  or die "job $job is not before the gate: " . sql("SELECT state, message FROM dupn_jobs WHERE job_id = $job");
	return $job;
}
sub message { return sql("SELECT message FROM dupn_jobs WHERE job_id = $_[0]") }
sub known { return sql('SELECT version, as_of, next_version FROM _dupn.refresh') }
sub none_left
{
	return $node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type LIKE 'dupn %'");
}

# ---- cancelled ----

my $job = start_refresh('{"workers": 1}');
is(sql('SELECT count(*) FROM vectors'), 5 * 51, 'groups before the gate are written');
is(known(), '||1', 'the version is not complete');
my $begin = time;
is(sql("SELECT dupn_cancel($job)"), 't', 'a refresh is cancelled');
is(sql("SELECT dupn_wait($job)"), 'cancelled', 'and stops');
cmp_ok(time - $begin, '<', 1, 'within a second');
is(sql('SELECT count(*) FROM vectors'), 5 * 51, 'what is written stays');

sql('CREATE TABLE before AS SELECT user_id, xmin::text AS written, as_of FROM vectors');
gate('false');
sql("CALL dupn_run('shop', 'refresh', '{\"target\": \"vectors\"}')");
is(sql('SELECT count(*) FROM vectors v JOIN before b ON v.user_id = b.user_id AND v.xmin::text = b.written'), 5 * 51, 'the next one leaves it');
is(sql('SELECT count(*), count(DISTINCT as_of) FROM vectors'), '500|1', 'and writes the others as of the same moment');
like(sql('SELECT notes[1] FROM dupn_jobs ORDER BY job_id DESC LIMIT 1'), qr/^goes on with the refresh as of/, 'and says so');
is(sql('SELECT r.version = 1 AND r.rows = 500 AND r.as_of = v.as_of AND next_version IS NULL FROM _dupn.refresh r, vectors v LIMIT 1'), 't', 'now it is complete');

# ---- killed ----

my $complete = sql('SELECT version, as_of FROM _dupn.refresh');
$job = start_refresh('{"workers": 2, "as_of": "2030-01-01Z"}');
sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'dupn job'");
is(sql("SELECT dupn_wait($job)"), 'failed', 'a refresh whose process is terminated has failed');
ok(none_left(), 'and nothing of it is left');
is(sql('SELECT version, as_of FROM _dupn.refresh'), $complete, 'what was complete still is');
is(sql('SELECT count(*) FROM vectors'), 500, 'every user has a row all the time');
my $written = sql("SELECT count(*) FROM vectors WHERE as_of = '2030-01-01Z'");
gate('false');
sql("CALL dupn_run('shop', 'refresh', '{\"target\": \"vectors\"}')");
like(sql('SELECT message FROM dupn_jobs ORDER BY job_id DESC LIMIT 1'), qr/as of 2030-01-01 00:00:00\+00 .* @{[500 - $written]} rows written/, 'the next one goes on');

$job = start_refresh('{"as_of": "2030-01-02Z"}');
$node->stop('immediate');
$node->start;
gate('false');
sql("CALL dupn_run('shop', 'refresh', '{\"target\": \"vectors\"}')");
is(sql("SELECT count(*) FROM vectors WHERE as_of = '2030-01-02Z'"), 500, 'so it does after a crash');

# ---- killed at every step ----

# A model and tables of its own, of which readers see one version, of everybody.
sql(<<'END');
SET ROLE keeper;
CREATE TABLE products AS SELECT i AS id FROM generate_series(0, 4999) i;
ALTER TABLE products ADD PRIMARY KEY (id);
CREATE TABLE visits AS SELECT * FROM events;
CREATE INDEX ON visits (user_id, occurred_at);
SELECT dupn_create_model('killed', events => 'visits', user_column => 'user_id', time_column => 'occurred_at', item_columns => '{item_id}',
	catalog => 'products', catalog_key => 'id', options => '{"hidden": 8, "attention": [8, 8], "epochs": 1, "max_events": 1000, "publish": "always"}');
SELECT dupn_add_task('killed', 'next', 'next_item');
CALL dupn_run('killed', 'train');
CREATE TABLE users (user_id int, version int, vector dupn_vector NOT NULL, as_of timestamptz NOT NULL, PRIMARY KEY (user_id, version));
CREATE VIEW users_now AS SELECT * FROM users WHERE version = (SELECT dupn_refreshed_version('users'));
CREATE TABLE items (item_id int, version int, vector real[] NOT NULL, as_of timestamptz NOT NULL, PRIMARY KEY (item_id, version));
CREATE VIEW items_now AS SELECT * FROM items WHERE version = (SELECT dupn_refreshed_version('items'));
CALL dupn_run('killed', 'refresh', '{"target": "users"}');
CALL dupn_run('killed', 'refresh', '{"target": "items", "what": "items"}');
END
my %rows = (users => 500, items => 5000);
sub seen { return sql("SELECT min(version), max(version), count(*) FROM $_[0]_now") }
sub options
{
	my ($table, $more) = @_;
	return "{\"target\": \"$table\", \"what\": \"$table\", \"changed\": true$more}";
}

sub refresh
{
	my $options = options(@_);
	sql("SET ROLE keeper; CALL dupn_run('killed', 'refresh', '$options')");
	return sql('SELECT message FROM dupn_jobs ORDER BY job_id DESC LIMIT 1');
}

# Somebody who reads all the time, until the server or the refresh ends.
sub start_reader
{
	my ($table) = @_;
	my $reader = { out => '' };
	$reader->{run} = IPC::Run::start([ 'psql', '-XqAt', '-d', $node->connstr($db), '-c', <<"END" ], '>', \$reader->{out}, '2>', \$reader->{out});
DO \$\$
DECLARE looks int = 0;
BEGIN
	WHILE (SELECT reading FROM shop.reading) LOOP
		looks = looks + 1;
		IF (SELECT count(*) <> $rows{$table} OR min(version) <> max(version) FROM shop.${table}_now) THEN
			RAISE 'a mix';
		END IF;
	END LOOP;
	RAISE WARNING 'read % times', looks;
END \$\$
END
	return $reader;
}

# Crash there in a refresh of a table; its job.
sub crash_at
{
	my ($point, $table, $options) = @_;
	my $reader = start_reader($table);
	my $log = -s $node->logfile;
	$node->safe_psql('postgres', "LOAD 'dupn'; ALTER SYSTEM SET dupn.fail_point = '$point'");
	$node->safe_psql('postgres', 'SELECT pg_reload_conf()');
	my $job = sql("SET ROLE keeper; SELECT dupn_refresh('killed', '$table', '$options')");
	$node->wait_for_log(qr/crashing at "\Q$point\E".*ready to accept connections/s, $log);
	$reader->{run}->finish;
	unlike($reader->{out}, qr/a mix|^ERROR/m, "$point: a reader sees one version until the end");
	$node->safe_psql('postgres', "LOAD 'dupn'; ALTER SYSTEM RESET dupn.fail_point");
	$node->safe_psql('postgres', 'SELECT pg_reload_conf()');
	return $job;
}

sql('CREATE TABLE reading AS SELECT true AS reading');
my $version = 1;
foreach my $step (
	# where, of what, rows of the new version then, is it the table's?
	[ 'refresh: begun', 'users', 0, 0 ],
	[ 'refresh: group written', 'users', 51, 0 ],
	[ 'refresh: before flip', 'users', 500, 0 ],
	[ 'refresh: after flip', 'users', 500, 1 ],
	[ 'refresh: removed', 'users', 500, 1 ],
	[ 'refresh: group written', 'items', 2048, 0 ],
	[ 'refresh: after flip', 'items', 5000, 1 ])
{
	my ($point, $table, $written, $flipped) = @$step;
	my $old = sql("SELECT dupn_refreshed_version('$table')");
	sql("SET ROLE keeper; CALL dupn_run('killed', 'train', '{\"seed\": $version}')");
	$version++;
	my $job = crash_at($point, $table, options($table, ', "workers": 1'));

	my $now = $flipped ? $version : $old;
	is(seen($table), "$now|$now|$rows{$table}", "$point: one version is seen of all $table");
	is(sql("SELECT count(*) FROM $table WHERE version = $version"), $written, "$point: what was written is there");
	is(sql("SELECT dupn_wait($job)"), 'failed', "$point: the job has failed");
	like(message($job), qr/the server (stopped|crashed)|its process (ended|has ended)/, "$point: and says so");

	my $reader = start_reader($table);
	my $message = refresh($table, '');
	sql('UPDATE reading SET reading = false');
	$reader->{run}->finish;
	sql('UPDATE reading SET reading = true');
	like($reader->{out}, qr/^WARNING:  read [1-9]\d* times/, "$point: readers see one version while it goes on");
	like($message, qr/: @{[$rows{$table} - $written]} rows written/, "$point: the next one goes on");
	is(seen($table), "$version|$version|$rows{$table}", "$point: to the end");
	is(sql("SELECT count(*) FROM $table WHERE version <> $version"), 0, "$point: nothing is left");
}

# A night's refresh of the version that the table has.
refresh('users', '');
sql("INSERT INTO visits SELECT user_id, 1, clock_timestamp() FROM generate_series(5, 500, 5) user_id");
sql("UPDATE users SET as_of = as_of - interval '1 day'");
sql('DROP TABLE before; CREATE TABLE before AS SELECT user_id, xmin::text AS written FROM users');
crash_at('refresh: group written', 'users', options('users', ', "workers": 1'));
my $first = sql('SELECT count(*) FROM users v JOIN before b USING (user_id) WHERE v.xmin::text <> b.written');
cmp_ok($first, '>', 30, 'a group of changed users is written');
cmp_ok($first, '<', 100, 'but not all');
is(seen('users'), "$version|$version|500", 'all are seen');
like(refresh('users', ', "lateness": 0'),
	qr/: @{[100 - $first]} rows written, \d+ a second, @{[400 + $first]} left as they were, 0 removed/, 'the next one writes the others');
is(sql('SELECT count(*) FROM users v JOIN before b USING (user_id) WHERE v.xmin::text <> b.written AND user_id % 5 <> 0'), 0, 'and no more');

# ---- throttled ----

sql("SET ROLE keeper; CALL dupn_run('killed', 'train')");
$job = sql("SET ROLE keeper; SELECT dupn_refresh('killed', 'users', '{\"rows_per_second\": 10}')");
$node->poll_query_until($db, 'SELECT count(*) > 500 FROM shop.users') or die "job $job writes nothing: " . message($job);
$begin = time;
is(sql("SELECT dupn_cancel($job)"), 't', 'a refresh that sleeps is cancelled');
is(sql("SELECT dupn_wait($job)"), 'cancelled', 'and stops');
cmp_ok(time - $begin, '<', 1, 'within a second');
sql("SET ROLE keeper; SELECT dupn_drop_model('killed'); DROP TABLE users, items CASCADE");

# ---- what it needs is taken away ----

$job = start_refresh('{"workers": 1, "as_of": "2030-01-03Z"}');
sql("SET ROLE keeper; SELECT dupn_train('shop')");
my $drop = IPC::Run::start([ 'psql', '-Xq', '-d', $node->connstr($db), '-c', 'DROP TABLE shop.vectors' ]);
$node->poll_query_until($db, "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 'shop.vectors'::regclass)");
gate('false');
$drop->finish;
is(sql("SELECT dupn_wait($job)"), 'failed', 'a refresh whose table is dropped has failed');
like(message($job), qr/^42P01: .*vectors/, 'and says why');
sql("SELECT dupn_wait(max(job_id)) FROM dupn_jobs");

sql(<<'END');
SET ROLE keeper;
CREATE TABLE vectors (user_id int, version int, vector real[] NOT NULL, as_of timestamptz NOT NULL, PRIMARY KEY (user_id, version));
CREATE TRIGGER gate BEFORE INSERT ON vectors FOR EACH ROW WHEN (NEW.user_id = 300) EXECUTE FUNCTION gate();
END
$job = start_refresh('{"version": 1}');
sql("SELECT dupn_drop_version('shop', 1)");
gate('false');
is(sql("SELECT dupn_wait($job)"), 'failed', 'a refresh whose version is dropped has failed');
like(message($job), qr/^42704: version 1 of model "shop" does not exist/, 'and says why');

# An error of one of two processes ends both.
sql('ALTER TABLE vectors ADD CHECK (user_id <> 333) NOT VALID');
$job = sql("SELECT dupn_refresh('shop', 'vectors')");
is(sql("SELECT dupn_wait($job)"), 'failed', 'a refresh that cannot write a row has failed');
like(message($job), qr/^23514: .*check constraint/, 'and says why');
ok(none_left(), 'all of it');
is(sql('SELECT next_version FROM _dupn.refresh'), 2, 'the version is not complete');

# ---- a version that a table has is dropped ----

sql('DELETE FROM vectors WHERE user_id = 333');
sql('ALTER TABLE vectors DROP CONSTRAINT vectors_user_id_check');
sql(q{CALL dupn_run('shop', 'refresh', '{"target": "vectors"}')});
sql(q{CALL dupn_run('shop', 'train', '{"publish": "always"}')});
my ($status, $stdout, $stderr) = $node->psql($db, "SELECT dupn_drop_version('shop', dupn_refreshed_version('shop.vectors'))");
like($stderr, qr/NOTICE:  vectors of version \d+, which are in shop\.vectors, can no longer be scored/, 'and is missed');

# ---- rights ----

sql('CREATE TABLE foreign_vectors (LIKE vectors INCLUDING INDEXES); ALTER TABLE foreign_vectors OWNER TO mallory');
fails($node, $db, "SELECT dupn_refresh('shop', 'shop.foreign_vectors')", '42501',
	'permission denied for table shop.foreign_vectors.*HINT:  GRANT SELECT, INSERT, UPDATE, DELETE ON shop.foreign_vectors TO keeper;',
	'a table that the owner may not write');
sql(<<'END');
GRANT SELECT, INSERT, UPDATE, DELETE ON foreign_vectors TO keeper;
GRANT USAGE, CREATE ON SCHEMA shop TO mallory;
SET ROLE mallory;
CREATE FUNCTION rob() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN SET SESSION AUTHORIZATION keeper; RETURN NEW; END $$;
CREATE TRIGGER rob BEFORE INSERT ON foreign_vectors FOR EACH ROW EXECUTE FUNCTION rob();
END
$job = sql("SELECT dupn_refresh('shop', 'foreign_vectors')");
is(sql("SELECT dupn_wait($job)"), 'failed', "a table whose owner wants the writer's rights");
like(message($job), qr/security-restricted operation/, 'does not get them');

is(sql("SELECT dupn_drop_model('shop'); SELECT count(*) FROM _dupn.refresh"), "\n0", 'what was known of the tables goes with the model');

done_testing();
