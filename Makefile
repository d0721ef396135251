# The whole project from two commands: `make demo` and `make test`. Everything here can be repeated.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# What the tests and the demo need beyond this checkout; found again by the scripts when it is missing.
TOOLS := $(or $(STACK_TESTBED_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/stack-testbed)/dev-tools
export PATH := $(TOOLS)/bin:$(HOME)/.cargo/bin:$(PATH)

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: setup ## Install what is missing, build stack, deploy the Todo Chatbot, and say where it answers
	@tests/setup/demo

.PHONY: test
test: setup ## The same set-up, then every test
	@tests/setup/test

.PHONY: test-minikube
test-minikube: setup ## The tests that run on a real minikube, where there is one on PATH
	@tests/setup/test-minikube

.PHONY: lint
lint: setup ## Format, clippy, docs, licences and bans of dependencies
	cargo fmt --all -- --check
	cargo clippy --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --locked --document-private-items
	cargo-deny --log-level error check bans licenses sources

.PHONY: setup
setup:
	@tests/setup/tools

.PHONY: testbed
testbed: setup ## Bring up the test bed (Docker, a Kubernetes node, Helm) without running anything on it
	@tests/testbed/up

.PHONY: bench
bench: setup ## Measure, side by side with the peers; ONLY="name ..." for some
	@ONLY="$(ONLY)" tests/setup/bench

.PHONY: clean-testbed
clean-testbed: ## Remove the test bed and everything that was cached for it
	@tests/testbed/down --all --cache
