# make            the release binary
# make setup      what building, testing and the demo need (apt packages when missing, test tools into the cache)
# make test       every offline test        make lint   formatting, clippy, rustdoc, licences
# make demo       the example lock, end to end
# make torture    the tests that kill things and make them fail, thoroughly: hours; MINUTES=60 for each of the two with a crowd
# make bench      figures against uv        make test-online   the real index
# make test-system-packages   builds without root on a system without development packages, made by debootstrap (needs root)
# make bench-original  figures against pip-accel 0.43
# make install    program, man pages and completions below PREFIX (/usr/local)
# COLD=1          build from nothing instead of with the kept target directory

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build

CACHE ?= $(HOME)/.cache/pip-accel-build
export CACHE

ifdef COLD
export CARGO_TARGET_DIR := $(CACHE)/cold-target
else
CARGO_TARGET_DIR ?= $(CACHE)/target
export CARGO_TARGET_DIR
endif

export PATH := $(HOME)/.cargo/bin:$(PATH)
export PIP_ACCEL_TEST_UV ?= $(CACHE)/tools/bin/uv
export PIP_ACCEL_TEST_WHEELS ?= $(CACHE)/wheels
PIP_ACCEL := $(CARGO_TARGET_DIR)/release/pip-accel

.PHONY: setup setup-build build install torture test lint demo bench bench-original test-online test-system-packages clean cold

setup: ## packages and tools for everything
	@.ci/setup all

setup-build: ## packages for building and using the program
	@.ci/setup build

cold:
	@if [ -n "$${COLD:-}" ]; then echo "removing $(CACHE)/cold-target"; rm -rf "$(CACHE)/cold-target"; fi

build: setup-build cold
	cargo build --release --locked -p pip-accel-cli

PREFIX ?= /usr/local

install: build
	install -D -m 755 "$(PIP_ACCEL)" "$(DESTDIR)$(PREFIX)/bin/pip-accel"
	"$(PIP_ACCEL)" --quiet man "$(DESTDIR)$(PREFIX)/share/man/man1"
	cd "$(DESTDIR)$(PREFIX)/share" && mkdir -p bash-completion/completions zsh/site-functions fish/vendor_completions.d
	"$(PIP_ACCEL)" completions bash >"$(DESTDIR)$(PREFIX)/share/bash-completion/completions/pip-accel"
	"$(PIP_ACCEL)" completions zsh >"$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_pip-accel"
	"$(PIP_ACCEL)" completions fish >"$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/pip-accel.fish"

test: setup cold
	@.ci/test

MINUTES ?= 60

torture: setup
	@PIP_ACCEL_TEST_THOROUGH=1 PIP_ACCEL_TEST_MINUTES=$(MINUTES) \
	    .ci/test --profile torture -E 'test(/^(faults|crash_points|model|crowds)::/)'

lint: setup-build
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked --quiet
	@if command -v cargo-deny >/dev/null; then cargo deny --offline check licenses bans sources; \
	else echo "lint: cargo-deny is not installed; the tidy test still checks licences and bans"; fi
	@echo "lint: clean"

demo: build
	@docs/demo/run.sh "$(PIP_ACCEL)"

bench: setup build
	@docs/bench/bench.sh "$(PIP_ACCEL)"

# Against the last release of the original, on an old CPython; ten minutes.
bench-original: setup build
	@python3 docs/bench/original.py "$(PIP_ACCEL)" --output docs/benchmarks.md

test-online: setup build
	@tests/online/run.sh "$(PIP_ACCEL)"

test-system-packages: setup build
	@tests/online/system_packages.sh "$(PIP_ACCEL)"

clean:
	rm -rf "$(CACHE)/cold-target" "$(CACHE)/target" "$(CACHE)/tools" "$(CACHE)/wheels"
