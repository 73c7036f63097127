# Two commands for people: `make demo` and `make test`. The rest is what they are made of.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help demo test build lint deny bench bench-gate bench-baseline scale bench-checkpoint bench-crowd bench-decide bench-egress bench-git bench-inspect bench-journal bench-memory bench-meter bench-redact crowd fuzz hostile soak

help: ## Shows this list.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

demo: ## Installs what is missing, builds Loki and runs the example from specification to merged code.
	@scripts/demo.sh

test: ## Installs and starts both engines and runs every test of the project.
	@scripts/test.sh

build: ## Builds the program, its guest included.
	cargo build --locked

lint: ## Formatting, lints and documentation, every warning an error.
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	@# With what tests need, though there is no example: else everything is checked a second time.
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --lib --examples --no-deps --document-private-items

bench-egress: ## Measures what the gateway costs, not inspecting, beside none and other proxies; prints JSON.
	cargo bench --locked --bench gateway -- open

crowd: ## Opens 10,000 half-open and 10,000 idle connections on one gateway while another works; needs 12,000 open files.
	LOKI_CROWD=10000 cargo test --locked --lib attack_k11 -- --nocapture --test-threads=1

fuzz: ## Reads a million changed messages with each reader of hostile bytes: DNS, TLS hellos, HTTP heads, link messages.
	PROPTEST_CASES=1000000 cargo test --locked --lib egress::tests::fuzz
	PROPTEST_CASES=1000000 cargo test --locked --package loki-guest --lib noise_never_panics

bench-meter: ## Measures what the write meter costs, in real sandboxes.
	cargo bench --locked --bench meter

soak: ## Kills 200 runs at random writes and goes on with each; then passes 5 GB of output through a sandbox and a run, and watches memory. Needs Docker and 6 GB of disk.
	LOKI_SOAK=$${LOKI_SOAK:-200} cargo test --locked --test main live_a_run_killed_at_a_write -- --nocapture --test-threads=1
	LOKI_FLOOD=5G cargo test --locked --test main attack_k10_what -- --nocapture --test-threads=1

deny: ## Licences, bans, sources and advisories by cargo-deny; `make test` holds the first three without it.
	@command -v cargo-deny >/dev/null || { echo "cargo-deny is not installed: run 'cargo install --locked cargo-deny'" >&2; exit 1; }
	cargo deny --locked check bans licenses sources advisories

bench-inspect: ## Measures what ending TLS at the gateway costs, beside none and other proxies; prints JSON.
	cargo bench --locked --bench gateway -- inspected

bench-memory: ## Watches the memory of 16 gateways over a million inspected requests; prints JSON.
	cargo bench --locked --bench gateway -- memory 1000000

bench-crowd: ## Measures what a neighbour feels of 10,000 half-open and of 10,000 idle connections; prints JSON.
	cargo bench --locked --bench gateway -- crowd 10000

bench-decide: ## Measures decisions a second; prints JSON.
	cargo bench --locked --bench decide

bench-redact: ## Measures how fast output is masked; prints JSON.
	cargo bench --locked --bench redact

bench-checkpoint: ## Measures checkpoints beside `tar | zstd -1`, and what one percent of change costs; prints JSON.
	cargo bench --locked --bench checkpoint

hostile: ## Changes 1,000 archives and compares what is read of them with GNU tar and bsdtar.
	LOKI_MUTANTS=1000 cargo test --locked --lib attack_c3_mutated -- --nocapture

bench-journal: ## Measures how fast a journal is written by 100 claimers and verified, beside its floors; prints JSON.
	cargo bench --locked --bench journal

bench-git: ## Measures worktrees and the gate beside plain git, `cp -a` and tar; LOKI_BENCH_FILES=100000 for a large one; prints JSON.
	cargo bench --locked --bench git

bench: ## Measures everything that has a goal beside others that do the same: target/bench/report.md, .json and plots. LOKI_BENCH=quick for fewer rounds.
	scripts/bench-tools.sh
	cargo bench --locked --bench numbers -- report

bench-gate: ## Fails when the last report of `make bench` is worse than benches/baseline.json allows, naming each row.
	cargo bench --locked --bench numbers -- gate

bench-baseline: ## Writes the ratios of the last report of `make bench` to benches/baseline.json; widths stay.
	cargo bench --locked --bench numbers -- baseline

scale: ## 100 agents at once, 1,000 tasks through 20 slots, 10,000 queued, a day of idleness, on Docker. LOKI_SCALE=0.1 for a tenth.
	cargo bench --locked --bench numbers -- scale
