PYTHON ?= python3
.DEFAULT_GOAL := help
.PHONY: help install test lint format types check ci docs clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

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

ci: ## what a clean machine does: fresh environment, README's test command, lint, types, wheel
	.ci/run

docs: ## build the documentation site into build/site, strict and offline (extra: docs)
	NO_MKDOCS_2_WARNING=1 $(PYTHON) -m mkdocs build --quiet

clean: ## remove caches and build output
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
