# The one vocabulary: people, CI and hooks call these.
# Everything runs in .venv, made on first use from the pinned versions and reused until they change.

PYTHON ?= python3.11
BIN := .venv/bin
# The stamp's name follows from what was asked to be installed: same content, nothing to do.
PINS := $(shell cat pyproject.toml constraints.txt | sha256sum | cut -c1-16)
STAMP := .venv/.installed-$(PINS)
KERAS_STAMP := .venv/.keras-$(PINS)
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable

export OMP_NUM_THREADS = 1
export PYTHONDONTWRITEBYTECODE =

# Tests in as many processes as there are cores, at most four: each may hold a framework.
JOBS ?= $(shell n=$$(nproc); echo $$((n < 4 ? n : 4)))

.DEFAULT_GOAL := help
.PHONY: help setup keras demo test test-all lint bench up down status clean

help: ## say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## make .venv (done by every other target when needed)

$(STAMP):
	@command -v $(PYTHON) >/dev/null || { echo "edgewright needs Python 3.11: '$(PYTHON)' is not here. Install it, or set PYTHON=/path/to/python3.11." >&2; exit 1; }
	@echo " set-up      installing pinned packages into .venv (some minutes, once)"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(INSTALL) '.[onnx,pipeline,test]' 2> .venv/install.log || { tail -n 20 .venv/install.log >&2; exit 1; }
	@rm -f .venv/.installed-* && touch $@

keras: $(KERAS_STAMP) ## add TensorFlow to .venv, for recipes with framework: keras (1.9 GB)

$(KERAS_STAMP): | $(STAMP)
	@echo " set-up      installing TensorFlow into .venv (some minutes, once)"
	@$(INSTALL) '.[keras]' 2> .venv/install.log || { tail -n 20 .venv/install.log >&2; exit 1; }
	@rm -f .venv/.keras-* && touch $@

demo: $(STAMP) ## real data to a model running on a device, in some minutes
	@$(BIN)/edgewright demo

test: lint $(KERAS_STAMP) ## what CI runs: lint, then every test that is not slow
	$(BIN)/python -m pytest -q -m "not slow" -n $(JOBS) --dist loadfile --ignore tests/e2e
	$(BIN)/python -m pytest -q -m "not slow" -n $(JOBS) --dist loadfile tests/e2e

test-all: lint $(KERAS_STAMP) ## adds the slow tiers: kills, servers, long simulations
	$(BIN)/python -m pytest -q

lint: $(STAMP) ## style, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP) ## speed, memory and build times of the shipped recipes as ratios; writes bench.json
	@$(BIN)/edgewright bench

up: $(STAMP) ## open the desk: MLflow, Prefect, a worker and the deployments; prints two links
	@$(BIN)/edgewright up

down: ## close the desk: end what `make up` started
	@test ! -x $(BIN)/edgewright || $(BIN)/edgewright down

status: $(STAMP) ## how the desk is: each part, the links, the next runs
	@$(BIN)/edgewright status

clean: down ## remove what was built here (not .venv)
	rm -rf .edgewright demo-device
