# sonde: one non-recursive Makefile. Objects in out/<mode>/; modes: release (default), dev, asan, tsan, cov, fuzz.
#   make            the program and the library        make test      every test, under ten minutes
#   make lint       layers, headers, symbols, sizes    make demo      a model opened, end to end
#   make asan tsan  the tests under a sanitizer        make bench     figures, side by side with the peers where they are
# V=1 shows the command lines.
MODE ?= release
O := out/$(MODE)
VERSION := 0.1.0
PREFIX ?= /usr/local

PC := libpcre2-8 libutf8proc jansson libxxhash nettle sqlite3 zlib yaml-0.1 libcurl
PC_CFLAGS := $(shell pkg-config --cflags $(PC) 2>/dev/null)
PC_LIBS := $(shell pkg-config --libs $(PC) 2>/dev/null)
SERVE_LIBS := $(shell pkg-config --libs libmicrohttpd 2>/dev/null)
LIBS := $(PC_LIBS) -ldnnl -lgomp -lm -lpthread

CC ?= cc
WARN := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wstrict-prototypes -Wvla -Wwrite-strings -Wundef
OPT_release := -O3 -g
OPT_dev := -O1 -g -Werror -DSD_DEV=1
OPT_asan := -O1 -g -Werror -DSD_DEV=1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
OPT_tsan := -O1 -g -DSD_DEV=1 -fsanitize=thread
OPT_fuzz := -O1 -g -DSD_DEV=1 -DSD_LIBFUZZER -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
OPT_cov := -O0 -g --coverage -DSD_DEV=1
# clang may be there without an OpenMP of its own, and cannot read gcc's omp.h: what base/par.c asks of libgomp.
OMP := $(if $(filter fuzz,$(MODE)),-Iout/fuzz/include,-fopenmp)
CFLAGS_ALL := -std=c11 -D_GNU_SOURCE -DSD_VERSION='"$(VERSION)"' -Iinclude -Isrc $(WARN) $(PC_CFLAGS) $(OMP) -fPIC -fvisibility=hidden \
	-ffp-contract=off -fno-math-errno -MMD -MP $(OPT_$(MODE)) $(CFLAGS)
LDFLAGS_ALL := $(OPT_$(MODE)) $(OMP) $(LDFLAGS)

# $(call say,CC,file) in front of a command: a word and the file, or the command itself with V=1.
say = $(if $(V),,@printf '  %-4s %s\n' $(1) $(patsubst $(O)/%,%,$(2));)

LAYERS := base num file text dist model dict store lab serve
need_base := base
need_num := num base
need_file := file num base
need_text := text num base
need_dist := dist num base
need_model := model file text num base
need_dict := dict file dist num base
need_store := store base
need_lab := lab model dict store file text dist num base
need_serve := serve $(need_lab)
need_cli := $(need_lab)

src = $(sort $(wildcard src/$(1)/*.c))
obj = $(patsubst %.c,$(O)/%.o,$(call src,$(1)))
lib = $(O)/lib$(1).a

all: $(O)/sonde $(O)/libsonde.so
	@:

$(O)/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(call say,CC,$<)$(CC) $(CFLAGS_ALL) $(ISA) -c $< -o $@
# The page goes into the program as it stands in web/dist (src/lab/page_asset.c).
$(O)/src/lab/page_asset.o: $(wildcard web/dist/*)
# No floating-point exception is ever looked at; GCC otherwise takes a choice between two numbers for one that may raise it and leaves
# loops over exp in scalars where there are no masks.
$(O)/src/num/kern_avx2%o: ISA := -mavx2 -mfma -mf16c -fno-trapping-math
$(O)/src/num/kern_avx512%o: ISA := -mavx2 -mfma -mf16c -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni -mavx512bf16 -mprefer-vector-width=512
$(O)/src/num/kern_amx%o: ISA := -mavx2 -mfma -mf16c -mavx512f -mavx512bw -mavx512dq -mavx512vl -mprefer-vector-width=512 -mamx-tile -mamx-int8 -mamx-bf16
# clang takes minutes to instrument these, and they see no bytes from outside.
ifeq ($(MODE),fuzz)
$(O)/src/num/kern_avx2%o: ISA += -fno-sanitize=all
$(O)/src/num/kern_avx512%o: ISA += -fno-sanitize=all
$(O)/src/num/kern_amx%o: ISA += -fno-sanitize=all
endif

define layer_lib
$(call lib,$(1)): $(call obj,$(1))
	@mkdir -p $(O); rm -f $$@
	$$(call say,AR,$$@)ar rcs $$@ $$^
endef
$(foreach l,$(LAYERS),$(eval $(call layer_lib,$(l))))

$(O)/sonde: $(call obj,cli) $(foreach l,serve $(need_lab),$(call lib,$(l)))
	$(call say,LD,$@)$(CC) $(LDFLAGS_ALL) -o $@ $(call obj,cli) -Wl,--start-group $(filter %.a,$^) -Wl,--end-group $(SERVE_LIBS) $(LIBS)

$(O)/libsonde.map: $(wildcard include/sonde.h include/sonde/*.h) tools/exports
	@mkdir -p $(O)
	@tools/exports $(VERSION) > $@
$(O)/libsonde.so: $(foreach l,$(need_lab),$(call obj,$(l))) $(O)/libsonde.map
	$(call say,LD,$@)$(CC) $(LDFLAGS_ALL) -shared -Wl,-soname,libsonde.so.0 -Wl,--version-script=$(O)/libsonde.map -o $(O)/libsonde.so.$(VERSION) $(filter %.o,$^) $(LIBS)
	@ln -sf libsonde.so.$(VERSION) $(O)/libsonde.so.0; ln -sf libsonde.so.0 $@

# Tests: tests/<kind>/<layer>/test_*.c is a program that links that layer and those below it, nothing else.
TESTS := $(sort $(wildcard tests/unit/*/test_*.c tests/kern/*/test_*.c tests/golden/*/test_*.c tests/prop/*/test_*.c tests/fault/*/test_*.c))
FUZZ := $(sort $(wildcard tests/fuzz/*/fuzz_*.c))
test_bin = $(patsubst %.c,$(O)/%,$(1))
layer_of = $(notdir $(patsubst %/,%,$(dir $(1))))
define test_rule
$(call test_bin,$(1)): $(O)/$(1:.c=.o) $(foreach l,$(need_$(call layer_of,$(1))),$(call lib,$(l)))
	$$(call say,LD,$$@)$$(CC) $$(LDFLAGS_ALL) $(if $(filter fuzz,$(MODE)),-fsanitize=fuzzer) -o $$@ $$< -Wl,--start-group $$(filter %.a,$$^) -Wl,--end-group $(if $(filter serve,$(call layer_of,$(1))),$(SERVE_LIBS)) $$(LIBS) -lcmocka
endef
$(foreach t,$(TESTS) $(FUZZ),$(eval $(call test_rule,$(t))))
$(O)/tests/%.o: ISA := -Itests
tests: $(call test_bin,$(TESTS) $(FUZZ))
# One layer's tests: make test-num
$(foreach l,$(LAYERS),$(eval test-$(l): $(call test_bin,$(foreach t,$(TESTS) $(FUZZ),$(if $(filter $(l),$(call layer_of,$(t))),$(t)))); @MODE=$(MODE) tools/run-tests $$^))

test:
	@tools/deps --test
	@$(MAKE) --no-print-directory all tests MODE=dev
	@$(MAKE) --no-print-directory all
	@tools/run-tests --all

# libFuzzer on every fuzz target, or on those of ONLY, for SECONDS each, FUZZ_JOBS at a time: clang builds them, inputs that were found stay in out/fuzz.
FUZZ_CC ?= $(firstword $(shell command -v clang clang-19 clang-18 clang-17 clang-16 clang-15 clang-14))
ONLY ?= $(notdir $(FUZZ:.c=))
fuzz-bins: $(foreach t,$(FUZZ),$(if $(filter $(ONLY),$(notdir $(t:.c=))),$(call test_bin,$(t))))
fuzz:
	$(if $(FUZZ_CC),,$(error libFuzzer needs clang: set FUZZ_CC))
	@mkdir -p out/fuzz/include; printf 'int omp_get_max_threads(void);\nvoid omp_set_num_threads(int);\n' > out/fuzz/include/omp.h
	@$(MAKE) --no-print-directory fuzz-bins MODE=fuzz CC="$(FUZZ_CC)" ONLY="$(ONLY)"
	@tools/fuzz $(or $(SECONDS),60) $(ONLY)

asan tsan:
	@$(MAKE) --no-print-directory all tests MODE=$@
	@MODE=$@ tools/run-tests --all

# The server under ThreadSanitizer with its 64 clients at once: a report is a line on stderr, which the script fails on. libgomp is not instrumented: one thread of it.
tsan-serve:
	@$(MAKE) --no-print-directory out/tsan/sonde MODE=tsan
	@OMP_THREAD_LIMIT=1 SONDE_BIN=$(CURDIR)/out/tsan/sonde bash tests/cli/test_serve.sh

# base and the plain kernels compile for aarch64, and what they ask for is no x86 kernel. Headers of libraries are the host's.
CROSS ?= aarch64-linux-gnu-gcc
CROSS_SRC := $(filter-out src/num/kern_avx% src/num/kern_amx%,$(call src,base) $(call src,num))
out/cross/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(CROSS) -std=c11 -D_GNU_SOURCE -DSD_VERSION='"$(VERSION)"' -Iinclude -Isrc -idirafter /usr/include $(WARN) -Werror -O2 -fopenmp -ffp-contract=off -c $< -o $@
cross-check: $(patsubst %.c,out/cross/%.o,$(CROSS_SRC))
	@! nm -u $^ | grep -E 'avx|amx'
	@echo "cross-check: ok, $(words $^) objects"

lint: all
	@tools/lint
demo:
	$(if $(MODEL),@tools/deps --demo)
	@$(MAKE) --no-print-directory all
	@tools/demo
# The embedded model from its seed: under an hour on two cores.
organism: all
	rm -rf out/organism
	$(O)/sonde organism make --world organism/merrow.world -o out/organism
	@tools/organism-keep out/organism organism
# A study, step by step and resumable: make study PART=audit (tools/study-audit says its parts; --plan what is left).
PART ?= audit
study: all
	@tools/study-$(PART) $(ARGS)
# The page's bundle, which is committed: needed only after a change in web/.
web:
	@tools/web
bench: all
	@tools/bench
clean:
	rm -rf out

SHARE := $(DESTDIR)$(PREFIX)/share
install: all
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib/pkgconfig $(DESTDIR)$(PREFIX)/include/sonde $(SHARE)/man/man1 $(SHARE)/doc/sonde \
		$(SHARE)/bash-completion/completions $(SHARE)/zsh/site-functions $(SHARE)/fish/vendor_completions.d
	install -m 755 $(O)/sonde $(DESTDIR)$(PREFIX)/bin/sonde
	install -m 755 $(O)/libsonde.so.$(VERSION) $(DESTDIR)$(PREFIX)/lib/
	ln -sf libsonde.so.$(VERSION) $(DESTDIR)$(PREFIX)/lib/libsonde.so.0; ln -sf libsonde.so.0 $(DESTDIR)$(PREFIX)/lib/libsonde.so
	install -m 644 include/sonde.h $(DESTDIR)$(PREFIX)/include/
	install -m 644 include/sonde/*.h $(DESTDIR)$(PREFIX)/include/sonde/
	sed 's|@PREFIX@|$(PREFIX)|; s|@VERSION@|$(VERSION)|' tools/sonde.pc.in > $(DESTDIR)$(PREFIX)/lib/pkgconfig/sonde.pc
	install -m 644 docs/sonde.1 $(SHARE)/man/man1/
	install -m 644 LICENSE NOTICE $(SHARE)/doc/sonde/
	$(O)/sonde completion bash > $(SHARE)/bash-completion/completions/sonde
	$(O)/sonde completion zsh > $(SHARE)/zsh/site-functions/_sonde
	$(O)/sonde completion fish > $(SHARE)/fish/vendor_completions.d/sonde.fish

.PHONY: all tests test asan tsan tsan-serve fuzz fuzz-bins cross-check lint demo study organism web bench clean install $(addprefix test-,$(LAYERS))
.DELETE_ON_ERROR:
.SECONDARY:
-include $(shell find out/$(MODE) -name '*.d' 2>/dev/null)
