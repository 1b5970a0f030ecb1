# The two commands that a newcomer needs are `make demo` and `make test`; `make help` lists the rest.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

SERVERS := eval "$$(e2e/servers up)"
INTEGRATION := --features sluice-mysql/integration,sluice-postgres/integration

.PHONY: help
help: ## Lists the targets.
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  \1\t/' | expand -t 16

.PHONY: demo
demo: build ## A million rows from MySQL to PostgreSQL, live, in two minutes (KEEP=1 leaves it running).
	@$(SERVERS) && target/release/sluice-demo

.PHONY: test
test: check build ## Everything: lints, unit tests, and every test on real servers.
	@$(SERVERS) && cargo test --workspace $(INTEGRATION)

.PHONY: check
check: ## Formatting, lints and documentation; needs no server.
	cargo fmt --all --check
	cargo clippy --workspace --all-targets $(INTEGRATION) -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps

.PHONY: bench
bench: build ## The speed and memory bars as a table, each beside its baseline.
	@$(SERVERS) && target/release/sluice-bench
	@echo "Decoding alone, with allocations per row image:"
	@cargo run -q --release -p sluice-mysql --example decode_bench

.PHONY: build
build: ## The agent and the tools of demo and benchmark, optimised.
	cargo build --release -p sluice -p sluice-e2e --bins

.PHONY: generate
generate: ## Rewrites what comes from the Rust types: crds/yaml, crds/REFERENCE.md, the chart's copy, deploy/install.yaml.
	cargo run -q -p sluice-crds --example generate
	charts/generate

.PHONY: chart
chart: generate ## Lints the Helm chart and packs it into target/.
	charts/helm lint --strict --kube-version 1.34.0 charts/sluice
	charts/helm package charts/sluice --destination target

.PHONY: down
down: ## Stops the servers that demo and tests started.
	e2e/servers down
