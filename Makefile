# Two commands set everything up on a fresh machine:  make demo   make test
PYTHON ?= python3
TORCH  ?= yes
# Without PyTorch (TORCH=no) an environment of its own, so that it is really not there.
VENV   := $(if $(filter no,$(TORCH)),.venv-no-torch,.venv)
BIN    := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest --durations=25 --durations-min=1

.PHONY: help demo test test-all lint docs format coverage test-python test-lowest bench release-check clean

help:            ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## */\t/' | expand -t 14

demo: $(VENV)/.demo  ## make .venv, train on the built-in data, show test metrics and a few recommendations
	$(BIN)/ultragcn train --dataset demo --seed 0 --out runs/demo --overwrite
	$(BIN)/ultragcn recommend runs/demo --users user-0001 user-0002 user-0003 --top_k 5
	@echo "Next: $(BIN)/ultragcn train --dataset FILE, with a log of your own (README.md, Your own data); $(BIN)/ultragcn --help lists the rest."

test: lint       ## make .venv, lint, check types and layers, run every test that takes seconds (offline, on a CPU; TORCH=no: without PyTorch)
	$(PYTEST) -m "not slow"

test-all: lint   ## like test, and the slow tests too
	$(PYTEST)

lint: $(VENV)/.test  ## the checks of `make test` without the tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell
	$(MAKE) --no-print-directory docs TORCH=$(TORCH)

docs: $(VENV)/.test  ## build the documentation into site/; fail where a link or a name leads nowhere
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

format: $(VENV)/.test  ## put the code into the house format
	$(BIN)/ruff check --fix . && $(BIN)/ruff format .

coverage: $(VENV)/.test  ## run every test and measure which lines they reach; fail below the floor in pyproject.toml
	$(BIN)/python -m pytest --cov=ultragcn --cov-report=term:skip-covered

test-python: ## run the tests that take seconds on another Python: make test-python PYTHON=python3.13
	$(PYTHON) -m venv .venv-python
	.venv-python/bin/python -m pip install --quiet --disable-pip-version-check --requirement requirements.txt --requirement requirements-dev.txt --editable .
	.venv-python/bin/python -m pytest -m "not slow"

test-lowest:     ## run the tests that take seconds with the lowest versions that pyproject.toml allows
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/python -m pip install --quiet --disable-pip-version-check --requirement requirements.txt --requirement requirements-dev.txt --editable .
	.venv-lowest/bin/python tests/lowest_versions.py > .venv-lowest/lowest.txt
	.venv-lowest/bin/python -m pip install --quiet --disable-pip-version-check --requirement .venv-lowest/lowest.txt
	.venv-lowest/bin/python -m pytest -m "not slow"

bench: $(VENV)/.test  ## measure results, the sampled solver and the evaluation on real data (ULTRAGCN_DATA_DIR)
	$(BIN)/python benchmarks/comparison.py
	$(BIN)/python benchmarks/sgd_epoch.py
	$(BIN)/python benchmarks/evaluation.py

release-check: $(VENV)/.test  ## build wheel and sdist, check them, install the wheel elsewhere, run the demo from it; print sizes and seconds
	$(BIN)/python benchmarks/release.py

clean:           ## remove everything that was made, except data sets, plots and runs
	rm -rf .venv .venv-no-torch .venv-python .venv-lowest dist build site .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "ultragcn needs Python 3.11 or newer; give one with: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip

$(VENV)/.demo: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/.test: $(VENV)/bin/python pyproject.toml requirements.txt requirements-dev.txt
	cat requirements.txt requirements-dev.txt $(if $(filter no,$(TORCH)),| grep -v '^torch==') > $(VENV)/requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement $(VENV)/requirements.txt --editable .
	touch $@
