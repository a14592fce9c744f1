# Four commands on a fresh machine, each complete in itself:
#   make probe     makes the environment, then trains a small transformer and ends in a verdict
#   make test      makes the environment with the test tools, then runs the fast tests
#   make science   makes the environment, then reruns the lecture's claims, and writes docs/science.md
#   make alarms    makes the environment, then reruns the benchmark of alarms, and writes docs/benchmark.md
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARCH ?= double_norm

# Dozens of processes that tests start would each compile the library anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: probe test slow lint check science alarms clean

probe: $(VENV)/.installed-run
	$(BIN)/stabilitykit probe --arch $(ARCH)

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n 2 -m "not slow and not browser"

slow: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m "slow and not browser"

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

check: lint test slow

# Goes on where it was interrupted; WORKERS runs at a time, one for each core unless given.
science: $(VENV)/.installed-run
	$(BIN)/python -m benchmarks.science.claims $(if $(WORKERS),--workers $(WORKERS))

# Goes on where it was interrupted, like science.
alarms: $(VENV)/.installed-run
	$(BIN)/python -m benchmarks.alarms.early_warning train $(if $(WORKERS),--workers $(WORKERS))
	$(BIN)/python -m benchmarks.alarms.early_warning pack
	$(BIN)/python -m benchmarks.alarms.early_warning score
	$(BIN)/python -m benchmarks.alarms.early_warning publish

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed-run: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/.installed-test: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	touch $@ $(VENV)/.installed-run

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache
