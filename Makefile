# What whoever works on Knarr needs; each target sets up what it needs itself.
# `make up` runs a cluster with a sample application, `make test` runs all tests. Both as root on Debian 12.

VENV    := .venv
PYTHON  := $(VENV)/bin/python
KNARR   := $(VENV)/bin/knarr
CLUSTER ?= dev
# One process a core; the end-to-end tests have the machine for themselves.
SPREAD  := --numprocesses auto

.PHONY: setup system up down test test-fast check bench conformance generate wheel clean

$(VENV)/.installed: pyproject.toml
	@tools/venv.sh $(VENV)
	@echo "installing Python packages into $(VENV) (a minute the first time)"
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check --editable '.[dev,clients]'
	@touch $@

setup: $(VENV)/.installed

system: setup
	@$(KNARR) setup

up: system
	@$(KNARR) up $(CLUSTER)
	@$(KNARR) apply --cluster $(CLUSTER) --wait 60 -f examples/hello/hello.yaml
	@$(KNARR) where --cluster $(CLUSTER) hello

down: setup
	@$(KNARR) down $(CLUSTER)

test: system
	$(PYTHON) -m pytest $(SPREAD) tests/unit tests/contract tests/cluster tests/conformance
	@$(PYTHON) tools/kubectl.py
	$(PYTHON) -m pytest tests/e2e

test-fast: setup
	$(PYTHON) -m pytest $(SPREAD) tests/unit tests/contract tests/cluster

check: setup
	$(VENV)/bin/ruff check src tests tools bench
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(PYTHON) tools/generate.py --check
	$(PYTHON) tools/check_docs.py

bench: system
	$(PYTHON) -m bench.startup
	$(PYTHON) -m bench.deploy
	$(PYTHON) -m bench.memory

conformance: setup
	$(PYTHON) -m pytest tests/conformance --conformance-report

generate: setup
	$(PYTHON) tools/generate.py

wheel: setup
	$(PYTHON) -m pip wheel --quiet --no-deps --wheel-dir dist .

clean: setup
	@$(KNARR) delete --all
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
