# The one vocabulary: people, CI and hooks call these.
# Everything runs in .venv, made on first use from the pinned versions and reused until they change.

PYTHON ?= python3.11
BIN := .venv/bin
# The stamp's name follows from what was asked to be installed: same content, nothing to do.
STAMP := .venv/.installed-$(shell cat pyproject.toml constraints.txt | sha256sum | cut -c1-16)

export OMP_NUM_THREADS = 1
export PYTHONDONTWRITEBYTECODE =

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all lint bench up down clean

help: ## say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## make .venv (done by every other target when needed)

$(STAMP):
	@command -v $(PYTHON) >/dev/null || { echo "edgewright needs Python 3.11: '$(PYTHON)' is not here. Install it, or set PYTHON=/path/to/python3.11." >&2; exit 1; }
	@echo " set-up      installing pinned packages into .venv (some minutes, once)"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[onnx,pipeline,test]' 2> .venv/install.log || { tail -n 20 .venv/install.log >&2; exit 1; }
	@rm -f .venv/.installed-* && touch $@

demo: $(STAMP) ## real data to a model running on a device, in some minutes
	@$(BIN)/edgewright demo

test: lint ## what CI runs: lint, then every test that is not slow
	$(BIN)/python -m pytest -q -m "not slow"

test-all: lint ## adds the slow tiers: kills, servers, long simulations
	$(BIN)/python -m pytest -q

lint: $(STAMP) ## style, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP) ## speed, memory and build times of the shipped recipes as ratios; writes bench.json
	@$(BIN)/edgewright bench

up down: ## (not built yet)
	@echo "make $@ is not built yet." >&2; exit 1

clean: ## remove what was built here (not .venv)
	rm -rf .edgewright demo-device
