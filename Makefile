PYTHON ?= python3
.DEFAULT_GOAL := help
.PHONY: help install test lint format types check native-check sanitize native-aarch64 integrations conformance openapi fuzz load soak bench ci docs clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: ## install for development into the current environment
	$(PYTHON) -m pip install -e '.[dev]'

test: ## run the tests, in random order, warnings as errors
	$(PYTHON) -m pytest -q

lint: ## ruff: rules and formatting
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .

format: ## let ruff mend what it can
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

types: ## mypy, strict
	$(PYTHON) -m mypy

check: lint types test ## everything a change must pass

native-check: ## the native engine without Python: every kernel against the twin, bits, wrong input
	PYTHON=$(PYTHON) tests/engine/cpp/run plain

sanitize: ## the same under the address, undefined-behaviour and thread sanitizers
	PYTHON=$(PYTHON) tests/engine/cpp/run asan
	PYTHON=$(PYTHON) tests/engine/cpp/run ubsan
	PYTHON=$(PYTHON) tests/engine/cpp/run tsan

native-aarch64: ## the same for 64-bit Arm, cross-compiled and emulated; says why if it cannot
	PYTHON=$(PYTHON) tests/engine/cpp/run aarch64

integrations: ## the integrations and database examples with the real frameworks, in build/integrations
	$(PYTHON) tests/integrations/run.py

conformance: ## unmodified clients against the server, in build/conformance; writes docs/conformance.md
	$(PYTHON) conformance/run.py

openapi: ## the server against its own OpenAPI document, with schemathesis in build/conformance
	$(PYTHON) conformance/openapi.py --examples 30

fuzz: ## every request parser of the server for ten minutes
	$(PYTHON) benchmarks/fuzz_parsers.py --seconds 600

load: ## the server at 50 to 200 % of the engine, and beside a plain one; an idle machine, 13 minutes
	$(PYTHON) benchmarks/load.py --out docs/results
	$(PYTHON) benchmarks/load.py --baseline --out docs/results

soak: ## twenty minutes of mixed traffic: memory and scores
	$(PYTHON) benchmarks/soak.py --out docs/results

bench: ## all measurements of docs/performance.md, on an idle machine (extra: bench)
	$(PYTHON) benchmarks/figures.py
	$(PYTHON) benchmarks/performance_doc.py

ci: ## what a clean machine does: fresh environment, README's test command, lint, types, wheel
	.ci/run

docs: ## build the documentation site into build/site, strict and offline (extra: docs)
	NO_MKDOCS_2_WARNING=1 $(PYTHON) -m mkdocs build --quiet

clean: ## remove caches and build output
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
