# make demo       the whole method on the embedded corpus, into runs/demo
# make test       the tests that every change must pass, in minutes
# make test-slow  what takes longer: the full demo with its figures, many kills
# make check      ruff and mypy alone
# make lowest     the fast tests with the lowest versions that pyproject.toml allows, once a release
#
# Each installs into .venv what it needs, torch from TORCH_INDEX where that is given:
#   make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALL := -m pip install --quiet
TORCH_INDEX ?=
ARGS ?=

# Two test processes of one thread each: on two cores, two of two threads would fight.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

# Each file tells that an extra is installed.
DEMO := $(VENV)/.installed-demo
DEV := $(VENV)/.installed-dev

.PHONY: demo test test-slow check format lowest clean

demo: $(DEMO)
	$(BIN)/r2d2 demo $(ARGS)

test: $(DEV)
	$(PYTEST) -m "not slow" $(ARGS)

test-slow: $(DEV)
	$(BIN)/python -m pytest -m slow -s $(ARGS)

check: $(DEV)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(DEV)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(DEMO) $(DEV): $(VENV)/.installed-%: pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; sys.exit(0 if sys.version_info >= (3, 11) else 'r2d2 needs Python 3.11 or newer: make PYTHON=python3.12 ...')"
	$(PYTHON) -m venv $(VENV)
ifneq ($(TORCH_INDEX),)
	$(BIN)/python $(INSTALL) --no-deps --index-url $(TORCH_INDEX) --constraint constraints.txt torch
endif
	$(BIN)/python $(INSTALL) --constraint constraints.txt --editable ".[$*]"
	touch $@

lowest:
	$(PYTHON) -m venv .venv-lowest
	$(PYTHON) scripts/lowest_versions.py > .venv-lowest/constraints.txt
ifneq ($(TORCH_INDEX),)
	.venv-lowest/bin/python $(INSTALL) --no-deps --index-url $(TORCH_INDEX) --constraint constraints.txt torch
endif
	.venv-lowest/bin/python $(INSTALL) --constraint .venv-lowest/constraints.txt --editable ".[dev]"
	OMP_NUM_THREADS=1 .venv-lowest/bin/python -m pytest -n 2 --dist worksteal -m "not slow" $(ARGS)

clean:
	rm -rf build dist src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
