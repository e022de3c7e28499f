# Two commands set everything up on a fresh machine:  make demo   make test
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: help demo test lint format bench clean

help:            ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## */\t/' | expand -t 12

demo: $(VENV)/.demo  ## make .venv, train on the built-in data, show test metrics and a few recommendations
	$(BIN)/ultragcn train --dataset demo --seed 0 --out runs/demo --overwrite
	$(BIN)/ultragcn recommend runs/demo --users user-0001 user-0002 user-0003 --top_k 5
	@echo "Next: $(BIN)/ultragcn train --dataset FILE, with a log of your own (README.md, Data); $(BIN)/ultragcn --help lists the rest."

test: $(VENV)/.test  ## make .venv, lint, type-check, check the layers, run every test (offline, on a CPU)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest

lint: $(VENV)/.test  ## the checks of `make test` without the tests
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports

format: $(VENV)/.test  ## put the code into the house format
	$(BIN)/ruff check --fix . && $(BIN)/ruff format .

bench: $(VENV)/.test  ## measure results, the sampled solver and the evaluation on real data (ULTRAGCN_DATA_DIR)
	$(BIN)/python benchmarks/comparison.py
	$(BIN)/python benchmarks/sgd_epoch.py
	$(BIN)/python benchmarks/evaluation.py

clean:           ## remove everything that was made, except data sets, plots and runs
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "ultragcn needs Python 3.11 or newer; give one with: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip

$(VENV)/.demo: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/.test: $(VENV)/bin/python pyproject.toml requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.txt --editable .
	touch $@
