# make demo | install | test | test-engines | test-install | soak | lint | docs | bench | bench-peers | wheel | fuzz-smoke
#
# Each target installs what it lacks: Python packages into .venv, and, as root on a machine with
# apt, a C compiler, Python's venv, and the programs that tests start (valgrind, nginx, a browser). Rust itself (1.95 or newer) must be there.

SHELL := /bin/sh
VENV ?= .venv
BIN := $(abspath $(VENV))/bin
PYTHON := $(BIN)/python
CARGO ?= cargo
PREFIX ?= /usr/local
LIBDIR ?= lib
DESTDIR ?=
FUZZ_SECONDS ?= 60
SECONDS ?= 600
SEED ?= 1
FUZZ_DIR := tests/fuzz

export CARGO_TERM_COLOR ?= never
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_ROOT_USER_ACTION := ignore
# One interpreter for every build of the Python module: another one would build it all again.
PYO3_ENV = PYO3_PYTHON="$(PYTHON)"
DEVELOP = VIRTUAL_ENV="$(abspath $(VENV))" PATH="$(BIN):$$PATH" $(PYO3_ENV) "$(BIN)/maturin" develop --locked

RUFF_PATHS = --config 'include = ["*.py", "*.pyi"]' python examples benches tests docs

.PHONY: deny sbom faults soak-process graphs coverage
.PHONY: help demo install test test-engines test-install soak lint docs bench bench-peers wheel loom asan tsan doxygen fuzz-smoke fuzz fuzz-replay cargo-fuzz toolchain programs clean

help:
	@echo "make demo        build the Python module and run examples/demo.py"
	@echo "make install     the C and C++ interface below $(PREFIX) (PREFIX=..., LIBDIR=..., DESTDIR=...)"
	@echo "make test        Rust, Python and C/C++ tests"
	@echo "make test-engines  the tests that start a Ray cluster"
	@echo "make test-install  the installed release library in projects outside, each standard and compiler"
	@echo "make soak        mixed load and trouble for $(SECONDS) seconds (SECONDS=..., SEED=...)"
	@echo "make soak-process  forks, exits and signals, $(TIMES) times each (TIMES=...)"
	@echo "make graphs      random graphs, the optimised plan against the plain one (GRAPHS=..., SEED=...)"
	@echo "make faults      refused memory and failing calls in turn, killed publishers, bad rows"
	@echo "make lint        rustfmt, clippy, rustdoc, ruff, mypy"
	@echo "make docs        the documentation as a site, in build/site"
	@echo "make bench       criterion, then from Python: onnxruntime side by side, and each policy"
	@echo "make bench-peers every peer on models of a seed (QUICK=1, SEED=..., LINES=...)"
	@echo "make wheel       a release wheel in dist/"
	@echo "make loom        model checking of the concurrent protocols"
	@echo "make deny        licences, sources, duplicates and advisories of every crate (cargo-deny)"
	@echo "make sbom        what is shipped, as CycloneDX JSON, in build/modelserve.cdx.json"
	@echo "make asan        the C and C++ programs with AddressSanitizer (INSTRUMENTED=1: the library too)"
	@echo "make tsan        the C and C++ programs and the library with ThreadSanitizer"
	@echo "make coverage    lines of the importers, the shapes and the C interface that the tests run"
	@echo "make doxygen     the reference of the C and C++ headers, in build/doxygen"
	@echo "make fuzz-smoke  each fuzz target for $(FUZZ_SECONDS) seconds (FUZZ_SECONDS=...)"
	@echo "make fuzz        one fuzz target (T=..., FUZZ_SECONDS=..., JOBS=..., FUZZ_SANITIZER=address)"
	@echo "make fuzz-replay every file kept for the fuzz targets, or for one (T=...)"

demo: $(VENV)/.demo
	$(DEVELOP) --release
	"$(PYTHON)" examples/demo.py

# Libraries, headers, and what pkg-config and CMake find them by.
install: toolchain
	$(CARGO) build --locked --release -p modelserve-c
	PREFIX="$(PREFIX)" LIBDIR="$(LIBDIR)" DESTDIR="$(DESTDIR)" sh bindings/c/install.sh "$(RELEASE)"

# Every build below has the features of the whole workspace, so that nothing is built twice: what
# `cargo run` or `-p` would build again for itself is run from where the tests' build left it.
DEBUG = $${CARGO_TARGET_DIR:-$(CURDIR)/target}/debug

# Python tests that load the whole machine or measure it run by themselves; two processes share the
# others.
BY_ITSELF = $(patsubst %,python/tests/test_%.py,async dask fastapi fastapi_model_server \
	fastapi_own_routes fork_policies gunicorn host_corners hosts limits nginx openapi_page process \
	servers serving threads wire_checklist_process wire_checklist_serving)

test: $(VENV)/.dev programs
	$(PYO3_ENV) $(CARGO) test --locked --workspace
	$(PYO3_ENV) $(CARGO) build --locked --workspace
	"$(DEBUG)/examples/serving"
	cd tests/loom && CARGO_TARGET_DIR="$${CARGO_TARGET_DIR:-$(CURDIR)/target}" $(CARGO) test --locked
	"$(DEBUG)/examples/soak" --seconds 60 --seed $(SEED)
	@mkdir -p build; echo "soak with one spoiled bit: it has to fail"; \
	! "$(DEBUG)/examples/soak" --seconds 3 --spoil >build/soak-spoiled.log 2>&1 \
		&& grep '^wrong answers: [1-9]' build/soak-spoiled.log
	$(DEVELOP)
	"$(PYTHON)" -m pytest -q -n 2 --dist loadfile python/tests $(patsubst %,--ignore=%,$(BY_ITSELF))
	"$(PYTHON)" -m pytest -q $(BY_ITSELF)
	bash tests/ffi/run.sh "$(DEBUG)"

# Ray is large, and its cluster slow to start on a small machine.
test-engines: $(VENV)/.dev
	"$(PYTHON)" -m pip install --quiet -r python/requirements-engines.txt
	$(DEVELOP)
	"$(PYTHON)" -m pytest -q python/tests/engines

# All that tests/ffi/install.sh knows, on the library as it is shipped.
test-install: toolchain programs
	@if ! command -v clang++ >/dev/null && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get -qq update \
			&& DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends clang; \
	fi
	$(CARGO) build --locked --release -p modelserve-c
	sh tests/ffi/install.sh "$(RELEASE)" all

# Forks, ends of the interpreter and signals, $(TIMES) times each, with an alarm of five seconds.
TIMES ?= 1000

soak-process: $(VENV)/.dev
	$(DEVELOP)
	"$(PYTHON)" python/tests/process_soak.py --times $(TIMES)

# What the plain tests do once or a few times: memory and calls to the system that are refused one
# after the other (strace fails the calls), publishers that are killed, bad rows in batches, a
# stampede on one key, a million names. The last lines say what was done.
FAULTS = --test allocations --test repository --test batching --test cache --test isolation
FAULTS_LINES = ^(refused memory|I/O faults|EMFILE|slow disk|full disk|half-written|poisoned batch|stampede|cardinality):?|^SKIPPED

faults: toolchain
	@command -v strace >/dev/null || { \
		[ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
			&& apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y strace; \
	} || echo "note: no strace, so no calls fail" >&2
	@mkdir -p build
	MODELSERVE_TEST_TIMES=$(TIMES) $(CARGO) test --locked -p modelserve $(FAULTS) -- --nocapture \
		>build/faults.log 2>&1 || { tail -n 80 build/faults.log; exit 1; }
	@grep -oE '($(FAULTS_LINES)).*' build/faults.log

# The optimised plan against the plain one, and one in a hundred against onnxruntime.
GRAPHS ?= 1000000

graphs: $(VENV)/.dev
	$(DEVELOP) --release
	"$(PYTHON)" python/tests/graph_campaign.py --graphs $(GRAPHS) --seed $(SEED)

# Eight threads predict while versions, labels, policies and canaries change; each answer is checked.
soak: toolchain
	$(CARGO) run --locked --release --example soak -- --seconds $(SECONDS) --seed $(SEED)

lint: $(VENV)/.dev
	$(CARGO) fmt --all --check
	$(PYO3_ENV) $(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	for features in "" onnx safetensors images,onnx; do \
		$(CARGO) clippy --locked -p modelserve --lib --no-default-features \
			--features "$$features" -- -D warnings || exit 1; \
	done
	$(PYO3_ENV) RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps
	"$(BIN)/ruff" check $(RUFF_PATHS)
	"$(BIN)/ruff" format --check $(RUFF_PATHS)
	MYPYPATH=python "$(BIN)/mypy" --ignore-missing-imports python/modelserve examples/demo.py \
		examples/nginx examples/fastapi_model_server/model_server.py benches/*.py
	MYPYPATH=python:benches/http "$(BIN)/mypy" --ignore-missing-imports benches/http
	MYPYPATH=python:benches/peers "$(BIN)/mypy" --ignore-missing-imports benches/peers
	MYPYPATH=python:docs/hooks "$(BIN)/mypy" --ignore-missing-imports docs/hooks

docs: $(VENV)/.dev
	$(DEVELOP)
	NO_MKDOCS_2_WARNING=1 "$(PYTHON)" -m mkdocs build --strict --site-dir build/site

bench: $(VENV)/.dev
	$(CARGO) bench --locked -p modelserve --bench predict --bench policies
	$(DEVELOP) --release
	@mkdir -p build
	"$(PYTHON)" benches/compare_onnxruntime.py --output build/compare_onnxruntime.md
	"$(PYTHON)" benches/operators.py --output build/operators.md
	"$(PYTHON)" benches/policies.py --output build/policies.md
	"$(PYTHON)" benches/http/run.py --output build/http.md

# The peers have an environment of their own: some of them need old versions of others.
PEERS := $(CURDIR)/build/peers-venv
PEERS_NATIVE := $(CURDIR)/build/peers-native
RELEASE = $${CARGO_TARGET_DIR:-$(CURDIR)/target}/release
LINES ?=
PEERS_OPTIONS = --seed $(SEED) --native "$(PEERS_NATIVE)" $(if $(QUICK),--quick) $(if $(LINES),--lines $(LINES))

bench-peers: $(PEERS)/.installed $(VENV)/.demo
	rm -rf build/peers-dist
	PATH="$(BIN):$$PATH" "$(BIN)/maturin" build --locked --release --interpreter "$(PYTHON)" \
		--out build/peers-dist
	"$(PEERS)/bin/python" -m pip install --quiet --force-reinstall --no-deps build/peers-dist/*.whl
	$(CARGO) build --locked --release -p modelserve-c
	cd benches/peers/native && CARGO_TARGET_DIR="$${CARGO_TARGET_DIR:-$(CURDIR)/target}" \
		$(CARGO) build --locked --release
	@mkdir -p "$(PEERS_NATIVE)"
	cp "$(RELEASE)/one_row_rust" "$(PEERS_NATIVE)/"
	$${CC:-cc} -std=c11 -D_GNU_SOURCE -O2 -Wall -Wextra -Iinclude benches/peers/native/one_row.c \
		-o "$(PEERS_NATIVE)/one_row_c" -L"$(RELEASE)" -lmodelserve_c \
		"-Wl,-rpath,$$(cd "$(RELEASE)" && pwd)" -lpthread -ldl -lm
	"$(PEERS)/bin/python" benches/peers/run.py $(PEERS_OPTIONS)

$(PEERS)/.installed: benches/peers/requirements.txt | $(BIN)/pip
	"$(PYTHON)" -m venv --clear "$(PEERS)"
	"$(PEERS)/bin/python" -m pip install --quiet -r benches/peers/requirements.txt
	@touch $@

wheel: $(VENV)/.demo
	PATH="$(BIN):$$PATH" "$(BIN)/maturin" build --locked --release --interpreter "$(PYTHON)" --out dist

# Model checking of the concurrent protocols: the shipped files, against loom.
loom: toolchain
	cd tests/loom && $(CARGO) test --locked

# The programs of tests/ffi and the service of examples/cpp, checked by a sanitizer. The library is
# built into a folder of its own: plain, or instrumented (a compiler flag that stable accepts behind
# RUSTC_BOOTSTRAP), and linked with the sanitizer's runtime that comes with Rust. Addresses are not
# randomised where that can be had: older runtimes do not find their place otherwise.
SANITIZER_HOST = $$(rustc -vV | sed -n 's/^host: //p')
SANITIZER_RT = $$(rustc --print target-libdir)/librustc-stable_rt
SANITIZER_RUN = $$(setarch "$$(uname -m)" -R true 2>/dev/null && echo setarch "$$(uname -m)" -R)
ASAN_FLAGS = -fsanitize=address -fno-omit-frame-pointer
UBSAN_FLAGS = -fsanitize=undefined -fno-sanitize-recover=all

HANDLE_OPERATIONS ?= 1000000

asan: export HANDLE_OPERATIONS := $(HANDLE_OPERATIONS)
asan: toolchain
ifeq ($(INSTRUMENTED),)
	CARGO_TARGET_DIR="$(CURDIR)/build/asan" $(CARGO) build --locked -p modelserve-c
	SANITIZED=1 RUN="$(SANITIZER_RUN)" CFLAGS="$(ASAN_FLAGS) $(UBSAN_FLAGS)" \
		LDFLAGS="$(ASAN_FLAGS) $(UBSAN_FLAGS)" bash tests/ffi/run.sh build/asan/debug
else
	RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Zsanitizer=address" CARGO_TARGET_DIR="$(CURDIR)/build/asan" \
		$(CARGO) rustc --locked -p modelserve-c --lib --crate-type staticlib \
		--target "$(SANITIZER_HOST)"
	SANITIZED=1 RUN="$(SANITIZER_RUN)" CFLAGS="$(ASAN_FLAGS)" \
		LDFLAGS="-Wl,--whole-archive $(SANITIZER_RT).asan.a -Wl,--no-whole-archive -lrt" \
		bash tests/ffi/run.sh "build/asan/$(SANITIZER_HOST)/debug"
endif

# What shares memory between threads: the manager and its policies, by their own tests and from C. Of
# a library that is not instrumented ThreadSanitizer would see the memory and not the locks. That is so
# of the standard library's: `--cfg modelserve_tsan` takes others in their place.
TSAN_TESTS = $(addprefix --test ,batching cache canary isolation lifecycle manager reload serving versions)
TSAN_CARGO = RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR="$(CURDIR)/build/tsan" \
	RUSTFLAGS="-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer --cfg modelserve_tsan" \
	$(SANITIZER_RUN) $(CARGO)
tsan: export TSAN_OPTIONS := suppressions=$(CURDIR)/tests/ffi/tsan.supp die_after_fork=0 halt_on_error=1
tsan: toolchain
	$(TSAN_CARGO) test --locked -p modelserve --target "$(SANITIZER_HOST)" --lib -- manager:: policy::
	$(TSAN_CARGO) test --locked -p modelserve --target "$(SANITIZER_HOST)" $(TSAN_TESTS)
	$(TSAN_CARGO) rustc --locked -p modelserve-c --lib --crate-type staticlib \
		--target "$(SANITIZER_HOST)"
	SANITIZED=1 RUN="$(SANITIZER_RUN)" CFLAGS="-fsanitize=thread" \
		LDFLAGS="-Wl,--whole-archive $(SANITIZER_RT).tsan.a -Wl,--no-whole-archive -lrt" \
		bash tests/ffi/run.sh "build/tsan/$(SANITIZER_HOST)/debug"

# Which lines of the importers, of the shapes, of the files and of the C interface the tests in Rust run,
# and the programs in C and C++. LLVM's tools have to read what this Rust writes: its own component, or
# LLVM 19 of the system. COVERAGE_OPTIONS=--missing lists the lines that no test runs. Left out are a test
# that goes by the names of functions, which are others here, and slow ones of memory.
COVERAGE = $(CURDIR)/build/coverage
COVERAGE_HERE = $(COVERAGE)/$(SANITIZER_HOST)/debug
LLVM_TOOL = $$(ls "$$(rustc --print target-libdir)"/../bin/$(1) 2>/dev/null || command -v $(1)-19)
coverage: export LLVM_PROFILE_FILE := $(COVERAGE)/profiles/%4m.profraw
coverage: export CARGO_PROFILE_DEV_DEBUG := 0
coverage: COVERED = CARGO_TARGET_DIR="$(COVERAGE)" RUSTFLAGS="-Cinstrument-coverage" $(CARGO)
coverage: toolchain
	@[ -n "$(call LLVM_TOOL,llvm-cov)" ] || rustup component add llvm-tools \
		|| apt-get -qq install -y --no-install-recommends llvm-19
	rm -rf "$(COVERAGE)/profiles"; mkdir -p "$(COVERAGE)/profiles"
	find "$(COVERAGE_HERE)/deps" -type f -executable -delete 2>/dev/null || true
	$(COVERED) test --locked --target "$(SANITIZER_HOST)" -p modelserve -p modelserve-c --tests \
		-- --skip a_large_allocation_that_is_refused --skip the_memory_of
	$(COVERED) build --locked --target "$(SANITIZER_HOST)" -p modelserve-c
	SANITIZED=1 LINKS=shared bash tests/ffi/run.sh "$(COVERAGE_HERE)"
	LLVM_COV="$(call LLVM_TOOL,llvm-cov)" LLVM_PROFDATA="$(call LLVM_TOOL,llvm-profdata)" \
		python3 tests/coverage.py $(COVERAGE_OPTIONS) "$(COVERAGE)/profiles" \
		$$(find "$(COVERAGE_HERE)/deps" -type f -executable)

# Fails on a warning: whatever is public has a description.
doxygen:
	@if ! command -v doxygen >/dev/null; then \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			apt-get -qq update && DEBIAN_FRONTEND=noninteractive \
				apt-get -qq install -y --no-install-recommends doxygen; \
		else \
			echo "please install doxygen" >&2; exit 1; \
		fi; \
	fi
	@mkdir -p build
	doxygen bindings/c/Doxyfile

# libFuzzer's instrumentation is a compiler flag that stable accepts behind RUSTC_BOOTSTRAP.
# Without a sanitizer: what is looked for here is a panic, an overflow, a hang or a memory bomb.
fuzz-smoke: toolchain
	@if [ ! -f $(FUZZ_DIR)/Cargo.toml ]; then \
		echo "fuzz-smoke: SKIPPED, there is no $(FUZZ_DIR)"; exit 0; \
	fi; \
	if ! $(CARGO) fuzz --version >/dev/null 2>&1; then \
		echo "fuzz-smoke: installing cargo-fuzz"; \
		$(CARGO) install --locked --quiet cargo-fuzz || { \
			echo "fuzz-smoke: SKIPPED, cargo-fuzz cannot be installed here"; exit 0; \
		}; \
	fi; \
	targets=$$($(CARGO) fuzz list --fuzz-dir $(FUZZ_DIR)) || exit 1; \
	if [ -z "$$targets" ]; then echo "fuzz-smoke: no targets in $(FUZZ_DIR)"; exit 1; fi; \
	passed=0; \
	for target in $$targets; do \
		echo "fuzz-smoke: $$target for $(FUZZ_SECONDS) s"; \
		corpus=$(FUZZ_DIR)/corpus/$$target; seeds=$(FUZZ_DIR)/seeds/$$target; \
		mkdir -p "$$corpus"; [ -d "$$seeds" ] || seeds=; \
		log=build/fuzz-$$target.log; mkdir -p build; \
		RUSTC_BOOTSTRAP=1 $(CARGO) fuzz run --fuzz-dir $(FUZZ_DIR) --sanitizer none "$$target" \
			"$$corpus" $$seeds -- -seed=1 -max_total_time=$(FUZZ_SECONDS) -timeout=20 \
			-rss_limit_mb=4096 >"$$log" 2>&1 || { tail -n 60 "$$log"; exit 1; }; \
		grep '^Done' "$$log"; \
		passed=$$((passed + 1)); \
	done; \
	echo "fuzz-smoke: $$passed targets passed"

# cargo-deny fetches the advisories from a git repository: where that cannot be reached the other
# checks are made all the same, and what was left out is said. DENY_OFFLINE=1 leaves it out.
CARGO_DENY_VERSION := 0.20.2
ADVISORIES := https://github.com/rustsec/advisory-db

deny: toolchain
	@$(CARGO) deny --version 2>/dev/null | grep -q ' 0\.20\.' || { \
		echo "deny: installing cargo-deny $(CARGO_DENY_VERSION)"; \
		$(CARGO) install --locked --quiet cargo-deny@$(CARGO_DENY_VERSION); \
	}
	$(CARGO) deny --workspace --locked check licenses bans sources
	@if [ -z "$(DENY_OFFLINE)" ] && GIT_TERMINAL_PROMPT=0 \
		git ls-remote --exit-code $(ADVISORIES) HEAD >/dev/null 2>&1; then \
		$(CARGO) deny --workspace --locked check advisories; \
	else \
		echo "deny: SKIPPED the advisories, $(ADVISORIES) is not reached from here"; \
	fi

sbom: $(BIN)/pip
	"$(PYTHON)" python/sbom.py --output build/modelserve.cdx.json

# A campaign: JOBS processes with one corpus. A find of any kind ends it, and stays in
# $(FUZZ_DIR)/artifacts/TARGET. The logs stay, too; what they end with is printed.
JOBS ?= 1
FUZZ_SANITIZER ?= none
FUZZ = RUSTC_BOOTSTRAP=1 $(CARGO) fuzz
FUZZ_OPTIONS = --fuzz-dir $(FUZZ_DIR) --sanitizer $(FUZZ_SANITIZER)
FUZZ_LIMITS = -timeout=10 -rss_limit_mb=2048

fuzz: toolchain cargo-fuzz
	@if [ ! -f "$(FUZZ_DIR)/fuzz_targets/$(T).rs" ]; then \
		echo "make fuzz T=...: one of" $$($(CARGO) fuzz list --fuzz-dir $(FUZZ_DIR)) >&2; exit 2; \
	fi
	$(FUZZ) build $(FUZZ_OPTIONS) "$(T)"
	@mkdir -p build "$(FUZZ_DIR)/corpus/$(T)"; \
	base=build/fuzz-$(T); [ "$(FUZZ_SANITIZER)" = none ] || base=$$base-$(FUZZ_SANITIZER); \
	seeds=$(FUZZ_DIR)/seeds/$(T); [ -d "$$seeds" ] || seeds=; \
	words=$(FUZZ_DIR)/dict/$(T).dict; [ -f "$$words" ] && words="-dict=$$words" || words=; \
	logs=; jobs=; \
	for job in $$(seq "$(JOBS)"); do \
		log=$$base.log; [ "$$job" = 1 ] || log=$$base-$$job.log; \
		$(FUZZ) run $(FUZZ_OPTIONS) "$(T)" "$(FUZZ_DIR)/corpus/$(T)" $$seeds -- $(FUZZ_LIMITS) \
			-max_total_time=$(FUZZ_SECONDS) -print_final_stats=1 $$words >"$$log" 2>&1 & \
		jobs="$$jobs $$!"; logs="$$logs $$log"; \
	done; \
	failed=; for job in $$jobs; do wait "$$job" || failed=yes; done; \
	for log in $$logs; do \
		echo "$$log:"; grep -a '^Done\|^stat::\|^SUMMARY\|panicked at' "$$log" || tail -n 60 "$$log"; \
	done; \
	[ -z "$$failed" ]

fuzz-replay: toolchain cargo-fuzz
	@targets="$(T)"; \
	[ -n "$$targets" ] || targets=$$($(CARGO) fuzz list --fuzz-dir $(FUZZ_DIR)) || exit 1; \
	mkdir -p build; \
	for target in $$targets; do \
		folders=; \
		for folder in $(FUZZ_DIR)/seeds $(FUZZ_DIR)/corpus $(FUZZ_DIR)/artifacts tests/hostile/replay; do \
			[ -d "$$folder/$$target" ] && folders="$$folders $$folder/$$target"; \
		done; \
		log=build/fuzz-replay-$$target.log; \
		$(FUZZ) run $(FUZZ_OPTIONS) "$$target" $$folders -- $(FUZZ_LIMITS) -runs=0 >"$$log" 2>&1 \
			|| { tail -n 60 "$$log"; exit 1; }; \
		echo "fuzz-replay: $$target: $$(grep -a '^Done' "$$log")"; \
	done

cargo-fuzz: toolchain
	@$(CARGO) fuzz --version >/dev/null 2>&1 || $(CARGO) install --locked --quiet cargo-fuzz

# What must be on the machine before anything is built.
toolchain:
	@command -v $(CARGO) >/dev/null || { \
		echo "cargo is not installed: please install Rust 1.95 or newer" >&2; exit 1; }
	@missing=; \
	command -v gcc >/dev/null || missing="$$missing gcc libc6-dev"; \
	command -v g++ >/dev/null || missing="$$missing g++"; \
	if [ -n "$$missing" ]; then \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y $$missing; \
		elif command -v cc >/dev/null; then \
			echo "note: not installed:$$missing; going on with cc" >&2; \
		else \
			echo "please install:$$missing" >&2; exit 1; \
		fi; \
	fi

# Programs that tests start. Where one cannot be had its tests are skipped, and say so.
programs:
	@missing=; \
	command -v valgrind >/dev/null || missing="$$missing valgrind"; \
	command -v curl >/dev/null || missing="$$missing curl"; \
	[ -e /usr/include/httplib.h ] || missing="$$missing libcpp-httplib-dev"; \
	command -v strace >/dev/null || missing="$$missing strace"; \
	command -v cmake >/dev/null || missing="$$missing cmake"; \
	command -v pkg-config >/dev/null || missing="$$missing pkg-config"; \
	command -v nginx >/dev/null || [ -x /usr/sbin/nginx ] || missing="$$missing nginx-light"; \
	command -v chromedriver >/dev/null || missing="$$missing chromium chromium-driver fonts-dejavu-core"; \
	if [ -n "$$missing" ]; then \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			apt-get -qq update \
				&& DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $$missing; \
		else \
			echo "note: not installed, and not tested with:$$missing" >&2; \
		fi; \
	fi

# pip is the last thing that a new environment gets: without it the environment is made again.
$(BIN)/pip: | toolchain
	@found=; \
	for candidate in python3.11 python3 python3.12 python3.13 python3.14; do \
		if $$candidate -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
			found=$$candidate; break; \
		fi; \
	done; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
		&& ! $${found:-false} -c 'import ensurepip, venv' >/dev/null 2>&1; then \
		apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y python3 python3-venv; \
		found=$${found:-python3}; \
	fi; \
	if [ -z "$$found" ]; then echo "please install Python 3.11 or newer" >&2; exit 1; fi; \
	$$found -m venv --clear "$(VENV)"

$(VENV)/.demo: python/requirements-demo.txt | $(BIN)/pip
	"$(PYTHON)" -m pip install --quiet -r python/requirements-demo.txt
	@touch $@

$(VENV)/.dev: python/requirements-dev.txt python/requirements-demo.txt | $(BIN)/pip
	"$(PYTHON)" -m pip install --quiet -r python/requirements-dev.txt
	@touch $(VENV)/.demo $@

clean:
	$(CARGO) clean
	rm -rf build dist "$(VENV)"
