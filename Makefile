# The two commands that a newcomer needs are `make demo` and `make test`; `make help` lists the rest.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

SERVERS := eval "$$(e2e/servers up)"
CLUSTER := eval "$$(e2e/cluster up)" && eval "$$(e2e/cluster databases)"
# What the tests through Kafka need beside.
TRANSPORT := eval "$$(e2e/servers up kafka registry connect)"
CLUSTER_TRANSPORT := eval "$$(e2e/cluster databases kafka registry)"
INTEGRATION := --features sluice-mysql/integration,sluice-postgres/integration,sluice-kafka/integration,sluice-e2e/kafka
# What the direct path shows and holds through Kafka too. Row images that leave columns out can't be keyed anew there.
THROUGH := types:: ddl:: bad_input::rows crashes:: restart:: network:: --skip images::
TARGET := $(or $(CARGO_TARGET_DIR),target)

.PHONY: help
help: ## Lists the targets.
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  \1\t/' | expand -t 16

.PHONY: demo
demo: build ## A million rows from MySQL to PostgreSQL, live, in two minutes (KEEP=1 leaves it running).
	@$(SERVERS) && $(TARGET)/release/sluice-demo

.PHONY: cluster-demo
cluster-demo: build ## The same on a real Kubernetes cluster of one node: chart, resources, `kubectl get` (KEEP=1 as above).
	@$(CLUSTER) && $(TARGET)/release/sluice-cluster-demo

# One profile for the programs and the tests, so that every crate is compiled once.
.PHONY: test
test: check ## Everything: lints, unit tests, and every test on real servers.
	cargo build --workspace --bins --tests --examples $(INTEGRATION)
	@date +'%T starting the servers'
	@export SLUICE_BIN_DIR=$(TARGET)/debug && $(SERVERS) && $(TRANSPORT) && $(CLUSTER) && $(CLUSTER_TRANSPORT) && date +'%T testing' && cargo test --workspace $(INTEGRATION) \
		&& date +'%T testing through Kafka' && SLUICE_THROUGH=avro cargo test --workspace $(INTEGRATION) --test e2e -- $(THROUGH)

.PHONY: check
check: ## Formatting, lints and documentation; needs no server.
	cargo fmt --all --check
	cargo clippy --workspace --all-targets $(INTEGRATION) -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps $(INTEGRATION)

.PHONY: bench
bench: ## The speed and memory bars as a table, each beside its baseline.
	cargo build --release -p sluice -p sluice-operator -p sluice-e2e --bins --features sluice-e2e/kafka
	@$(SERVERS) && $(TRANSPORT) && $(CLUSTER) && $(TARGET)/release/sluice-bench
	@echo "Decoding alone, with allocations per row image:"
	@cargo run -q --release -p sluice-mysql --example decode_bench

.PHONY: cluster-bench
cluster-bench: build ## The operator's bars alone: 300 pairs of resources on a real API server.
	@$(SERVERS) && $(CLUSTER) && $(TARGET)/release/sluice-bench cluster

.PHONY: build
build: ## Agent, operator, and the tools of demos and benchmarks, optimised.
	cargo build --release -p sluice -p sluice-operator -p sluice-e2e --bins

.PHONY: generate
generate: ## Rewrites what comes from the Rust types: crds/yaml, crds/REFERENCE.md, the chart's copy, deploy/install.yaml.
	cargo run -q -p sluice-crds --example generate
	charts/generate

.PHONY: chart
chart: generate ## Lints the Helm chart and packs it into target/.
	charts/helm lint --strict --kube-version 1.34.0 charts/sluice
	charts/helm package charts/sluice --destination target

.PHONY: down
down: ## Stops the servers and the cluster that demos and tests started.
	e2e/cluster down
	e2e/servers down
