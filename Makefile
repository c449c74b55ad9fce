# dupn: learns from the behaviour rows a shop already stores
#
#	make && sudo make install	the extension, for the PostgreSQL of pg_config
#	make demo			see it work: installs what it needs, cleans up
#	make check			run every test, in the same way
#	make unit			tests of the network alone, no server needed
#	    SANITIZE=1 | VALGRIND=1	the same under sanitizers or valgrind
#	make golden GOLDEN=folder	compare with the reference values in a folder
#	make fuzz FUZZ_SECONDS=60	feed the parsers hostile bytes (needs clang)
#	make mutation			do the unit tests notice altered code?
#	make bench-network		user vectors of one core, no server
#	make bench-training		samples a second of one core, no server
#	make check-sanitize		regression tests on a server built with sanitizers,
#	make check-valgrind		and under valgrind; both build PostgreSQL first
#	make dist			a release archive
#
# Settings: PG_CONFIG=path, WERROR=1 (warnings are errors), BLAS=shared (link
# the serial OpenBLAS as a shared library), BLAS_DIR=path, BLAS_INCLUDE=path.

EXTENSION = dupn
MODULE_big = dupn
EXTVERSION := $(shell sed -n "s/^default_version = '\(.*\)'/\1/p" dupn.control)
DATA = $(wildcard sql/dupn--*--*.sql)
DATA_built = sql/dupn--$(EXTVERSION).sql

NN_SRCS := $(sort $(wildcard src/nn/*.c))
SRCS := $(sort $(wildcard src/*.c src/features/*.c src/model/*.c src/serve/*.c src/train/*.c src/api/*.c))
OBJS = $(SRCS:.c=.o) $(NN_SRCS:.c=.o)

# Serial OpenBLAS, whatever the system's default BLAS is: threads inside a
# backend are an accident.  Static, so that nothing can put another one in its
# place; its symbols stay inside the library.
MULTIARCH := $(shell $(CC) -print-multiarch 2>/dev/null)
BLAS = static
BLAS_DIR = /usr/lib/$(MULTIARCH)/openblas-serial
BLAS_INCLUDE = /usr/include/$(MULTIARCH)/openblas-serial
ifeq ($(BLAS),shared)
BLAS_LIBS = -L$(BLAS_DIR) -Wl,-rpath,$(BLAS_DIR) -lopenblas -lm
else
BLAS_LIBS = $(BLAS_DIR)/libopenblas.a -lm
endif

# Never -ffast-math, whose start-up code changes the rounding of a whole
# backend, and never -march, which crashes on the next machine.
INCLUDES = -Isrc -I$(BLAS_INCLUDE)
WARNINGS = -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare $(if $(WERROR),-Werror)
NN_WARNINGS = -Wall -Wextra -Wmissing-prototypes -Wpointer-arith $(if $(WERROR),-Werror)
NN_OPTIMIZE = -O3 -ftree-vectorize -fno-trapping-math -fno-math-errno
TRACK = -MMD -MP

# Goals that need no PostgreSQL at this moment: the network alone, and the
# scripts that install PostgreSQL first.  Everything else is PGXS.
PLAIN_GOALS = check demo bench check-sanitize check-valgrind unit unit-programs golden fuzz mutation bench-network bench-training nn dist

ifneq ($(filter $(PLAIN_GOALS) build/nn%,$(MAKECMDGOALS)),)

.PHONY: $(PLAIN_GOALS)

# The scripts call make themselves, and PostgreSQL's own make must not take
# itself for a part of this one.
AFRESH = @env -u MAKELEVEL -u MAKEFLAGS -u MFLAGS

check demo bench:
	$(AFRESH) test/tools/$@

check-sanitize check-valgrind:
	$(AFRESH) test/tools/sanitizer-server $(@:check-%=%)

# ---- the network as a library, and its tests ----

NN_BUILD = build/nn$(if $(SANITIZE),-sanitize)
NN_MODE = $(if $(SANITIZE),-O1 -g -fno-omit-frame-pointer -fsanitize=address -fsanitize=undefined -fno-sanitize-recover=all,$(NN_OPTIMIZE) -g)
NN_CFLAGS = -std=gnu11 $(NN_MODE) $(NN_WARNINGS) $(INCLUDES) $(TRACK)

NN_LIB = $(NN_BUILD)/libdupn_nn.a
NN_OBJS = $(NN_SRCS:src/nn/%.c=$(NN_BUILD)/%.o)
UNIT_TESTS = $(patsubst test/unit/%.c,$(NN_BUILD)/test/%,$(sort $(wildcard test/unit/test_*.c)))
UNIT_SHARED = $(patsubst test/unit/%.c,$(NN_BUILD)/test/%.o,$(filter-out test/unit/test_%.c test/unit/fuzz_%.c test/unit/golden.c,$(wildcard test/unit/*.c)))
FUZZERS = $(sort $(wildcard test/unit/fuzz_*.c))
FUZZ_SECONDS = 60
GOLDEN = $(or $(DUPN_DATA),../shared/data)/../golden

nn: $(NN_LIB)

$(NN_LIB): $(NN_OBJS)
	rm -f $@
	$(AR) rcs $@ $^

$(NN_BUILD)/%.o: src/nn/%.c
	@mkdir -p $(@D)
	$(CC) $(NN_CFLAGS) -fvisibility=hidden -fPIC -c -o $@ $<

$(NN_BUILD)/test/%.o: test/unit/%.c
	@mkdir -p $(@D)
	$(CC) $(NN_CFLAGS) -Itest/unit -c -o $@ $<

$(NN_BUILD)/test/%: $(NN_BUILD)/test/%.o $(UNIT_SHARED) $(NN_LIB)
	$(CC) $(NN_CFLAGS) -o $@ $^ $(BLAS_LIBS)

# test_fuzz_x feeds fuzz_x without a fuzzer.
$(foreach f,$(FUZZERS:test/unit/fuzz_%.c=%),$(eval $(NN_BUILD)/test/test_fuzz_$(f): $(NN_BUILD)/test/fuzz_$(f).o))

.PRECIOUS: $(NN_BUILD)/test/%.o

unit-programs: $(UNIT_TESTS)

unit: unit-programs
	@test/tools/tap $(if $(VALGRIND),--exec 'valgrind -q --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite') $(UNIT_TESTS)

golden: $(NN_BUILD)/test/golden
	@$< $(GOLDEN)

# libFuzzer comes with clang; what it finds is left in build/fuzz.
fuzz: $(FUZZERS:test/unit/%.c=build/fuzz/%)
	@for fuzzer in $^; do \
		mkdir -p $$fuzzer.corpus && \
		$$fuzzer -max_total_time=$(FUZZ_SECONDS) -artifact_prefix=build/fuzz/ $$fuzzer.corpus || exit 1; \
	done

build/fuzz/%: test/unit/%.c $(NN_SRCS) $(wildcard src/nn/*.h)
	@mkdir -p $(@D)
	clang -std=gnu11 -O1 -g -fsanitize=fuzzer,address,undefined $(NN_WARNINGS) $(INCLUDES) -o $@ \
		$< $(NN_SRCS) $(BLAS_LIBS)

mutation:
	@test/mutation/run

bench-network: $(NN_BUILD)/bench/network
	@$<

# CASES as the program's head says.
bench-training: $(NN_BUILD)/bench/training
	@$< $(CASES)

$(NN_BUILD)/bench/%: test/bench/%.c $(NN_LIB)
	@mkdir -p $(@D)
	$(CC) $(NN_CFLAGS) -o $@ $^ $(BLAS_LIBS)

-include $(wildcard $(NN_BUILD)/*.d $(NN_BUILD)/test/*.d $(NN_BUILD)/bench/*.d)

dist:
	git archive --format zip --prefix=dupn-$(EXTVERSION)/ -o dupn-$(EXTVERSION).zip HEAD

# Goals of the two kinds on one command line: hand the others on.
OTHER_GOALS = $(filter-out $(PLAIN_GOALS) build/nn%,$(MAKECMDGOALS))
ifneq ($(OTHER_GOALS),)
.PHONY: $(OTHER_GOALS)
$(OTHER_GOALS):
	+@$(MAKE) --no-print-directory $@
endif

else

# ---- the extension ----

PG_CONFIG = pg_config
PGXS := $(wildcard $(shell $(PG_CONFIG) --pgxs 2>/dev/null))
ifeq ($(PGXS),)
$(error no PostgreSQL to build for: install its server headers (Debian: postgresql-server-dev-NN) or set PG_CONFIG)
endif

# PostgreSQL before 16 leaves PGDLLEXPORT empty, which hides the entry points.
PG_CPPFLAGS = $(INCLUDES) $(TRACK) -DDUPN_VERSION='"$(EXTVERSION)"' -DPGDLLEXPORT='__attribute__((visibility("default")))'
PG_CFLAGS = -std=gnu11 -fvisibility=hidden -Wno-declaration-after-statement $(WARNINGS)
SHLIB_LINK = -Wl,--version-script=src/dupn.map -Wl,-Bsymbolic $(BLAS_LIBS)
EXTRA_CLEAN = $(OBJS:.o=.d) build

# No bitcode: nothing here is worth inlining into a query, and it needs clang.
override with_llvm = no

include $(PGXS)

$(NN_SRCS:.c=.o): override CFLAGS += $(NN_OPTIMIZE) $(NN_WARNINGS)

# Flags are part of what an object is made of.
$(OBJS): Makefile

sql/dupn--$(EXTVERSION).sql: sql/dupn.sql
	cp $< $@

-include $(OBJS:.o=.d)

endif
