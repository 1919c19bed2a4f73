# Everything a person does with a checkout, each in one word. `make` alone lists them.
#
#   PYTHON=/path/to/python3   the interpreter to build .venv from (3.11 or newer; default: the system's own)
#   ARGS="-k throttle -x"     handed on to pytest, or to the benchmarks
#   JOBS=1                    how many test files run side by side (default: 4; most of them wait for processes)

SHELL   := /bin/bash
VENV    := .venv
PY      := $(VENV)/bin/python
READY   := $(VENV)/.ready
# The system's interpreter and not the first one on PATH: that one may live in somebody's home directory, where the
# vassals of other users could not execute it.
PYTHON  ?= $(firstword $(wildcard /usr/bin/python3 /usr/local/bin/python3) python3)
ARGS    ?=
JOBS    ?= 4
CHECK   ?=

# Somebody else's checkout: the tools keep their caches to themselves.
ifneq ($(shell test -w . && echo mine),mine)
export RUFF_NO_CACHE := true
export MYPY_CACHE_DIR := /dev/null
export PYTEST_ADDOPTS := -p no:cacheprovider
export HYPOTHESIS_STORAGE_DIRECTORY := $(or $(TMPDIR),/tmp)/hypothesis-$(shell id -u)
endif

.DEFAULT_GOAL := help
.PHONY: help demo test tests-here check bench docs clean

help:  ## this list
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

# Rebuilt only when the list of dependencies or the way of installing them changes.
$(READY): pyproject.toml tools/setup.sh
	@PYTHON="$(PYTHON)" tools/setup.sh "$(VENV)"
	@touch $@

demo: $(READY)  ## start three example apps under an Emperor, until Ctrl-C (CHECK=1: only see that they answer)
	@$(PY) tools/demo.py $(if $(filter-out 0 no,$(CHECK)),--check)

test:  ## everything: lint, types and all tests
	@tools/open_place.sh $(MAKE) --no-print-directory tests-here JOBS="$(JOBS)" ARGS="$(ARGS)" PYTHON="$(PYTHON)"

# In this very checkout, whoever can enter it.
tests-here: check
	$(PY) -m pytest --numprocesses $(JOBS) --dist loadfile $(ARGS)

check: $(READY)  ## lint and types only
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy src tests bench tools

bench: $(READY)  ## measure Imperator and the original side by side
	@tools/bench_packages.sh
	$(PY) -m bench $(ARGS)

docs: $(READY)  ## write docs/options.md from the catalogue of options
	@$(PY) -m imperator.config.manual > docs/options.md.new || { rm -f docs/options.md.new; exit 1; }
	@mv docs/options.md.new docs/options.md
	@echo "docs/options.md is up to date"

clean:  ## remove all that make has made
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests bench tools examples -name __pycache__ -type d -prune -exec rm -rf {} +
