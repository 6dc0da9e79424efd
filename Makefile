# Everything a developer or a machine calls. `make demo` and `make test` work on a Debian 12 machine with
# Rust, a C compiler and make; what else they need they install, and say so.

SHELL := /bin/bash
.DEFAULT_GOAL := help
CARGO ?= cargo
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
# Offline advisory database (RustSec), where there is one.
ADVISORY_DB ?= $(wildcard ../shared/advisory-db)

.PHONY: help
help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

# $(1): Debian packages, $(2): what for. Missing ones are installed; without root and sudo it goes on without.
define need
	@missing=; for p in $(1); do dpkg -s $$p >/dev/null 2>&1 || missing="$$missing $$p"; done; \
	if [ -n "$$missing" ]; then echo "installing$$missing ($(2))"; \
	  { $(SUDO) apt-get update -qq && $(SUDO) apt-get install -y -qq $$missing >/dev/null; } \
	  || echo "could not install$$missing: going on without"; fi
endef

.PHONY: demo
demo: ## the gateway with its key in SoftHSM and client certificates required, until Ctrl-C
	$(call need,softhsm2 openssl,a PKCS#11 token in software)
	$(CARGO) build --release --locked -p portcullis -p portcullis-bench --bin portcullis --bin portcullis-demo
	exec target/release/portcullis-demo

.PHONY: test
test: ## unit and end-to-end tests
	$(call need,softhsm2 opensc p11-kit p11-kit-modules libnss3 libnss3-tools openssl curl gnutls-bin nodejs python3,real tokens and peers of the tests)
	$(CARGO) build --locked --workspace --all-targets
	$(CARGO) test --locked --workspace
	$(MAKE) --no-print-directory bench-once

.PHONY: exams
exams: model fuzz ## the long set: figures, floods, giant bodies, the session pool under a model checker, fuzzing
	$(call need,softhsm2 openssl curl,real peers of the exams)
	$(call need,swtpm tpm2-abrmd libtss2-tcti-tabrmd0 libtpm2-pkcs11-1 libtpm2-pkcs11-tools dbus-daemon libglib2.0-bin opencryptoki,tokens of the exams)
	$(CARGO) build --release --locked -p portcullis -p fault-module
	$(CARGO) test --release --locked -p portcullis-tests --features exams -- exams --test-threads 1 --nocapture
	$(CARGO) test --release --locked -p portcullis-hsm --features exams --test matrix -- exams --test-threads 1 --nocapture
	# Last, for two of its figures are not reached on every machine (docs/BENCHMARKS.md).
	$(CARGO) test --release --locked -p portcullis-hsm --features exams --test softhsm -- exams --test-threads 1 --nocapture

# What libFuzzer needs of the compiler, all of it stable. The target is named so that build scripts and macros are left
# as they are. What it finds stays in target/fuzz/corpus for the next run; an input that fails, in target/fuzz.
FUZZ_FLAGS := --cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
  -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
  -Cllvm-args=-sanitizer-coverage-trace-compares -Cllvm-args=-simplifycfg-branch-fold-threshold=0
FUZZ_TARGETS := xfcc client_cert path identity crl ocsp hello session proxy_protocol
FUZZ_SECONDS ?= 30

.PHONY: fuzz
fuzz: ## coverage-guided fuzzing of what reads and writes foreign bytes; FUZZ_SECONDS=30 for each target
	# Not --locked: its lock file follows that of the workspace only when somebody builds it.
	RUSTFLAGS="$(FUZZ_FLAGS)" $(CARGO) build --release --manifest-path tests/fuzz/Cargo.toml \
	  --target x86_64-unknown-linux-gnu --target-dir target/fuzz
	for target in $(FUZZ_TARGETS); do mkdir -p target/fuzz/corpus/$$target; \
	  target/fuzz/x86_64-unknown-linux-gnu/release/$$target -max_total_time=$(FUZZ_SECONDS) -max_len=8192 -timeout=5 \
	  -rss_limit_mb=1024 -print_final_stats=1 -artifact_prefix=target/fuzz/$$target- \
	  target/fuzz/corpus/$$target tests/fuzz/seeds/$$target || exit 1; done

.PHONY: model
model: ## the session pool under a model checker
	RUSTFLAGS="--cfg shuttle" $(CARGO) test --locked -p portcullis-hsm --lib --target-dir target/model interleavings

# SoftHSM and OpenSSL keep memory to the end of the process, so leaks are not looked for. A handshake step is a stack of
# its own (hsm/src/step.rs), of which corosensei tells the sanitizer. The nightly flag works on a stable
# compiler with RUSTC_BOOTSTRAP; the target is named so that build scripts and macros are left as they are. The
# fault module is put there as it is: a library finds the sanitizer in no program that does not export it.
SANITIZE := RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Zsanitizer=address" ASAN_OPTIONS=detect_leaks=0:detect_stack_use_after_return=1 \
  $(CARGO) test --locked --target x86_64-unknown-linux-gnu --target-dir target/asan -p portcullis-hsm --lib --test softhsm \
  --features corosensei/sanitizer

.PHONY: sanitize
sanitize: ## the HSM room under AddressSanitizer, with a real SoftHSM
	$(call need,softhsm2 opensc,a PKCS#11 token in software)
	$(CARGO) build --locked -p fault-module
	$(SANITIZE) --no-run
	cp --remove-destination target/debug/libfault_module.so target/asan/x86_64-unknown-linux-gnu/debug/deps/
	$(SANITIZE)

.PHONY: bench
bench: ## criterion benches; SAVE=name keeps a baseline, BASELINE=name compares with one, FILTER=text picks
	$(call need,softhsm2,a PKCS#11 token in software)
	$(CARGO) bench --locked -p portcullis-bench $(if $(FILTER)$(BASELINE)$(SAVE),--) $(FILTER) \
	  $(if $(BASELINE),--baseline-lenient $(BASELINE)) $(if $(SAVE),--save-baseline $(SAVE))

# Without `--bench` criterion runs each function once. The workspace is named, and not the crate, so that nothing is
# compiled that `make test` has not compiled.
.PHONY: bench-once
bench-once: ## every bench once, briefly, so that none rots
	$(CARGO) test --locked --workspace --bench '*'

.PHONY: count
count: ## instructions for a handshake and a request, by callgrind; BASELINE=file compares, KEEP=file keeps
	$(call need,valgrind,callgrind)
	$(CARGO) build --profile profiling --locked -p portcullis --bin portcullis
	$(CARGO) build --locked -p portcullis-bench --bin portcullis-count
	target/debug/portcullis-count $(if $(BASELINE),--baseline $(BASELINE)) $(if $(KEEP),--json $(KEEP)) \
	  --profiles target/count

.PHONY: lint
lint: fmt-check clippy doc deny ## everything the machine checks without running the code

.PHONY: fmt-check
fmt-check:
	$(CARGO) fmt --all --check

.PHONY: clippy
clippy:
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

.PHONY: doc
doc:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps --document-private-items

.PHONY: deny
deny: ## licences, banned and duplicate crates, advisories; no network where ADVISORY_DB is set
	@command -v cargo-deny >/dev/null || { echo "installing cargo-deny"; $(CARGO) install cargo-deny --version $(DENY_VERSION) --locked -q; }
	# Of every platform: the check looks at all of them.
	$(CARGO) fetch --locked -q
	cargo deny --offline --locked --log-level error check bans licenses sources
	@command -v cargo-audit >/dev/null || { echo "installing cargo-audit"; $(CARGO) install cargo-audit --version $(AUDIT_VERSION) --locked -q; }
	@if [ -n "$(ADVISORY_DB)" ]; then cargo audit --db $(ADVISORY_DB) --no-fetch --stale --deny warnings; \
	else cargo audit --deny warnings; fi

DENY_VERSION := 0.20.2
AUDIT_VERSION := 0.22.2
