# `make` lists what can be made.

CARGO ?= cargo
# A folder to share: make run SHARE=/path/to/books
SHARE ?=
# More flags for the node: make run ARGS="--mirror --http 0.0.0.0:80"
ARGS ?=
OUT = $(or $(CARGO_TARGET_DIR),target)
BIN = $(OUT)/release/allibrary
# The board to build for: make cross TARGET=aarch64-unknown-linux-musl
TARGET ?= aarch64-unknown-linux-musl
# Those that a release is for; cross/README.md says which board is which.
BOARDS = aarch64-unknown-linux-musl armv7-unknown-linux-musleabihf arm-unknown-linux-musleabihf x86_64-unknown-linux-musl
# Whether `make cross` compiles in a container: where an engine runs. CONTAINER= does without.
CONTAINER ?= $(shell (docker info || podman info) >/dev/null 2>&1 && echo yes)
DENY_VERSION = 0.20.2
COVERAGE_VERSION = 0.9.1
FUZZ_VERSION = 0.13.2
# Parts of a benchmark, for bench-peers and bench-transfer: make bench-transfer PART=swarm
PART ?=
# How long each fuzz target runs
FUZZ_SECONDS ?= 60

.DEFAULT_GOAL := help
.PHONY: help run build test test-32 test-crash fixture fuzz check check-long fmt clippy doc deny no-tokio-runtime demo bench bench-peers bench-transfer coverage cross cross-all cross-report check-cross check-boards dist tools

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 18

run: build ## Build and start a node; SHARE=<folder> shares a folder, ARGS=<flags> are passed on
	$(BIN) run $(if $(SHARE),--share "$(SHARE)") $(ARGS)

build: tools ## Build the release binary
	$(CARGO) build --release --locked --bin allibrary

cross: tools ## Build for a board; TARGET=<Rust target>, see cross/README.md
	CARGO="$(CARGO)" cross/build.sh $(if $(CONTAINER),--container) $(TARGET)

check-cross: ## Build for 64-bit boards, and copy a library between two such nodes under qemu
	CARGO="$(CARGO)" cross/check.sh long aarch64-unknown-linux-musl

check-boards: build ## The same for all boards, built as for a release; in a container, on whole emulated boards, and as packages (root)
	CARGO="$(CARGO)" cross/check.sh release $(BOARDS)
	CARGO="$(CARGO)" tests/container.sh $(BOARDS)
	tests/machine.sh arm64 $(OUT)/aarch64-unknown-linux-musl/release/allibrary $(BIN)
	tests/machine.sh arm64-16k $(OUT)/aarch64-unknown-linux-musl/release/allibrary $(BIN)
	tests/machine.sh armhf $(OUT)/armv7-unknown-linux-musleabihf/release/allibrary $(BIN)
	tests/cipher.sh $(OUT)/aarch64-unknown-linux-musl/release/allibrary $(BIN)
	CARGO="$(CARGO)" cross/dist.sh $(BOARDS)
	lintian --fail-on error,warning --allow-root $(OUT)/dist/*.deb
	for deb in $(OUT)/dist/*_arm64.deb $(OUT)/dist/*_armhf.deb; do tests/debian.sh "$$deb" || exit 1; done
	$(MAKE) --no-print-directory cross-report

cross-report: ## Show the size of what was built for boards, and what it needs of memory and of the kernel
	cross/report.sh $(BOARDS)

# One after the other: built together, the program would get what stock libp2p needs of tokio.
test: tools ## Run the whole test suite
	$(CARGO) test --locked
	$(CARGO) test --locked -p interop

test-32: tools ## Run the unit tests, and add and mirror a file of 5 GB, as a program of 32 bits (root; Debian: gcc-multilib)
	rustup target add i686-unknown-linux-gnu
	$(CARGO) test --locked --target i686-unknown-linux-gnu --lib
	$(CARGO) test --locked --target i686-unknown-linux-gnu --profile long --test huge -- --ignored

test-crash: tools ## Cut the power of a store 300 times, in the middle of work (root)
	$(CARGO) test --locked --test crash -- --ignored --nocapture --test-threads=1

fixture: tools ## Make the data folder of today's format that the tests keep again (root)
	$(CARGO) build --locked --bin allibrary
	tests/fixtures/make.sh $(dir $(BIN))../debug/allibrary tests/fixtures/schema-2.tar.gz

check: tools fmt clippy doc deny no-tokio-runtime test check-cross ## All that a change must pass

check-long: check test-32 coverage bench fuzz check-boards ## What takes longer than a check may: large files, hours, the figures, coverage, fuzzing, all boards
	$(CARGO) test --locked --profile long -- --ignored

# The toolchain is the stable one, which has coverage for the fuzzer, but no sanitizers.
fuzz: tools ## Feed each fuzz target for FUZZ_SECONDS, from the committed seeds on
	@command -v cargo-fuzz >/dev/null || $(CARGO) install --locked --version $(FUZZ_VERSION) cargo-fuzz
	@set -e; for target in $$($(CARGO) fuzz list); do \
	mkdir -p fuzz/corpus/$$target; echo "$$target, for $(FUZZ_SECONDS) s"; \
	RUSTC_BOOTSTRAP=1 $(CARGO) fuzz run -s none $$target fuzz/corpus/$$target fuzz/seeds/$$target -- \
	-max_total_time=$(FUZZ_SECONDS) -max_len=65536 -timeout=10 -rss_limit_mb=1024 -verbosity=0; done

# Debian's llvm is too old for the toolchain's profiles; LLVM_COV and LLVM_PROFDATA name others, where rustup has none.
coverage: tools ## Show how many lines the tests reach, part by part, and fail where that is too few (root)
	@command -v cargo-llvm-cov >/dev/null || $(CARGO) install --locked --version $(COVERAGE_VERSION) cargo-llvm-cov
	@test -n "$(LLVM_COV)" || rustup component add llvm-tools
	$(CARGO) llvm-cov clean --workspace
	$(CARGO) llvm-cov --locked --no-report
	@# A node that is killed while it writes its profile leaves a torn one.
	@$(CARGO) llvm-cov report --failure-mode all --summary-only > $(OUT)/coverage.txt
	@# Programs that a test gives an empty environment leave theirs where they run.
	@rm -f default_*.profraw
	@awk -f tests/coverage.awk $(OUT)/coverage.txt

fmt:
	$(CARGO) fmt --all --check
	$(CARGO) fmt --manifest-path fuzz/Cargo.toml --check

clippy:
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

doc:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps --locked --document-private-items

deny: ## Check licences, sources, bans and advisories of the dependencies
	@command -v cargo-deny >/dev/null || $(CARGO) install --locked --version $(DENY_VERSION) --no-default-features cargo-deny
	$(CARGO) deny --log-level error check bans licenses sources
	@if timeout 60 git ls-remote -q https://github.com/RustSec/advisory-db HEAD >/dev/null 2>&1; \
	then $(CARGO) deny --log-level error check advisories; \
	elif ls -d "$${CARGO_HOME:-$$HOME/.cargo}"/advisory-dbs/*/ >/dev/null 2>&1; \
	then echo "advisories: checked against the last database fetched"; $(CARGO) deny --log-level error check --disable-fetch advisories; \
	else echo "advisories: NOT CHECKED, the RustSec database cannot be reached"; fi

# hyper and smol-hyper use tokio's channels; its runtime must not come with them.
no-tokio-runtime:
	@if $(CARGO) tree --locked -p allibrary -e normal,features -i tokio | grep -E 'tokio feature "(rt|rt-multi-thread|net|time|full|macros)"'; \
	then echo "tokio's runtime is in the dependency tree"; exit 1; else echo "no tokio runtime in the tree"; fi

cross-all: tools ## Build for all boards
	@set -e; for target in $(BOARDS); do CARGO="$(CARGO)" cross/build.sh $$target; done

# The same commit gives the same bytes.
dist: cross-all ## Make the packages and archives of a release, with checksums, in target/dist
	CARGO="$(CARGO)" cross/dist.sh $(BOARDS)

demo: build ## Show it on this machine: a library, a mirror that finds and copies it, both pages; FOLDER=<folder>
	tests/demo.sh $(BIN) $(FOLDER)

bench: build ## Measure the figures next to other programs (root; needs rsync)
	$(CARGO) bench --locked

bench-peers: build ## Measure what peers cost and how soon they notice, 300 at a time (root, ten minutes)
	$(CARGO) bench --locked --bench peers $(if $(PART),-- $(PART))

bench-transfer: build ## Measure how fast bytes travel, alone and in swarms, next to others (root; needs rsync)
	$(CARGO) bench --locked --bench transfer $(if $(PART),-- $(PART))

# A C compiler is for aws-lc, the cryptography of TLS.
tools:
	@command -v $(CARGO) >/dev/null || { echo "Rust is missing: see https://rustup.rs, then open a new shell"; exit 1; }
	@command -v cc >/dev/null || { \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; \
	then apt-get update -q && apt-get install -qy --no-install-recommends build-essential; \
	else echo "A C compiler is missing: sudo apt-get install build-essential"; exit 1; fi; }
