# `make demo` and `make test` are all that a newcomer needs; both install what they use into .venv.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt
# The demo and the tests shall not depend on the settings of the shell that they are called from.
CLEAN := env $(foreach name,$(filter-out KWCOLOR_TEST_%,$(filter KWCOLOR_%,$(shell env | cut -d= -f1))),-u $(name))
export DAGSTER_DISABLE_TELEMETRY := yes
export MLFLOW_DISABLE_TELEMETRY := true

.DEFAULT_GOAL := help
.PHONY: help install demo ui studio test test-slow chaos oracle oracle-deoldify starter lint format clean

help:  ## Say what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

.venv/.installed: setup.cfg pyproject.toml constraints.txt
	@echo "Installing into .venv; PyTorch is large, so the first time takes some minutes."
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(PIP) --editable .
	@touch $@

.venv/.installed-dev: .venv/.installed
	@$(PIP) --editable '.[dev]'
	@touch $@

# Ray is as large as all that the tests need besides PyTorch; without it its proof is skipped.
.venv/.installed-ray: .venv/.installed
	@$(PIP) --editable '.[ray]'
	@touch $@

.venv/.installed-bench: .venv/.installed
	@$(PIP) --editable '.[bench]'
	@touch $@

# The studio's page; without Gradio its tests are skipped.
.venv/.installed-studio: .venv/.installed
	@$(PIP) --editable '.[studio]'
	@touch $@

install: .venv/.installed  ## Install the pipeline into .venv

demo: .venv/.installed  ## Run the whole graph on the embedded photographs and say where the report is
	@$(CLEAN) KWCOLOR_HOME=var KWCOLOR_CONFIG=/dev/null KWCOLOR_SOURCES=sample KWCOLOR_KOREAN_WAR_SOURCES=sample $(BIN)/kwcolor run

ui: .venv/.installed  ## Open Dagster's and MLflow's pages; Ctrl-C stops both
	@$(BIN)/kwcolor ui

studio: .venv/.installed-studio  ## Open the page on which photographs are colorized; Ctrl-C stops it
	@$(BIN)/kwcolor studio

test: .venv/.installed-dev  ## Run the tests, offline
	@$(CLEAN) $(BIN)/pytest -n 2 --dist loadfile

test-slow: .venv/.installed-dev  ## Run the longer proofs: killed processes, real servers, a real browser
	@$(CLEAN) $(BIN)/pytest -m slow

MINUTES ?= 30
SEED ?= 1
chaos: .venv/.installed-dev  ## Disturb the whole graph for MINUTES (30) and compare with an undisturbed run; root for a full disk
	@$(CLEAN) $(BIN)/python -m kwcolor_pipeline_tests.faults.chaos --minutes $(MINUTES) --seed $(SEED) --json var/chaos.json

.venv-oracle/.installed: oracle/requirements.txt constraints.txt
	@echo "Installing fastai and a PyTorch beside it into .venv-oracle; the first time takes some minutes."
	@test -x .venv-oracle/bin/python || $(PYTHON) -m venv .venv-oracle
	@.venv-oracle/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		--requirement oracle/requirements.txt
	@touch $@

oracle: .venv-oracle/.installed  ## Compare the paper's networks and training with fastai's own
	@$(CLEAN) HF_HUB_OFFLINE=1 .venv-oracle/bin/python -W ignore -m oracle

.venv-deoldify/.installed: oracle/deoldify-requirements.txt constraints.txt
	@echo "Installing DeOldify's code and a PyTorch beside it into .venv-deoldify; the first time takes some minutes."
	@test -x .venv-deoldify/bin/python || $(PYTHON) -m venv .venv-deoldify
	@.venv-deoldify/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		--requirement oracle/deoldify-requirements.txt
	@.venv-deoldify/bin/pip install --quiet --disable-pip-version-check --no-deps deoldify==0.0.1
	@touch $@

oracle-deoldify: .venv-deoldify/.installed  ## Compare the rebuilt DeOldify networks with its own code
	@$(CLEAN) .venv-deoldify/bin/python -W ignore -m oracle.deoldify_check

# The photographs are no part of this repository: PHOTOS has fsac_1939_1944/ and natural_colour/, each with index.csv.
PHOTOS ?= photos
WORK ?= var/starter
starter: .venv/.installed-dev  ## Make the starter again from PHOTOS: collect, pack, train (on a GPU), measure, export
	@$(BIN)/python -m starter_training pack --photos $(PHOTOS) --work $(WORK)
	@$(BIN)/python -m starter_training train --work $(WORK)
	@$(BIN)/python benchmarks/quality.py --photos $(PHOTOS) --work $(WORK) --starter $(WORK)/bundles/gan \
		--json $(WORK)/quality.json >/dev/null
	@$(BIN)/python -m starter_training export --photos $(PHOTOS) --work $(WORK)

lint: .venv/.installed-dev  ## Check style, imports and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: .venv/.installed-dev  ## Rewrite the code in the project's style
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

clean:  ## Remove the environments and the caches; photographs and models in var stay
	rm -rf .venv .venv-oracle .venv-deoldify .mypy_cache .pytest_cache .ruff_cache *.egg-info
