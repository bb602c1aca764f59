# The commands of a working day. `make` alone lists them.
#
# The first of them makes .venv and installs what requirements.lock names; afterwards that costs nothing until
# pyproject.toml or the lock changes.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:

# The first interpreter found that is new enough; `make PYTHON=/path/to/python3` overrides it.
PYTHON ?= $(firstword $(foreach p,python3.11 python3.12 python3.13 python3,\
	$(shell $(p) -c 'import sys; assert sys.version_info >= (3, 11)' 2>/dev/null && echo $(p))))
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PYTEST := $(BIN)/python -m pytest -n auto --dist loadfile

PIP := -m pip --disable-pip-version-check install --quiet

# $(call install_torch,PYTHON,REQUIREMENT): Linux without an NVIDIA GPU gets PyTorch's CPU build, because the package
# index's own brings gigabytes of CUDA libraries. Where the index of CPU builds cannot be reached, pip's own sources serve.
CPU_INDEX := https://download.pytorch.org/whl/cpu
define install_torch
	@if [ "$$(uname -s)" = Linux ] && ! nvidia-smi --list-gpus >/dev/null 2>&1; then \
	  echo 'installing PyTorch for the CPU'; \
	  $(1) $(PIP) --no-deps --retries 1 --timeout 10 --index-url $(CPU_INDEX) $(2) 2>/dev/null && exit; \
	  echo '$(CPU_INDEX) has no answer: taking PyTorch from where pip takes the rest'; \
	fi; \
	$(1) $(PIP) --no-deps $(2)
endef

.PHONY: help run test test-cluster test-slow test-full lint format type lock wheel clean

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(INSTALLED) ## set everything up, then run the main job at a size that ends within 10 minutes on 2 cores
	$(BIN)/rlbench algo=cocoa env=hopper preset=quick dataset.size=50000 algo.dynamics.max_epochs=15

test: $(INSTALLED) ## set everything up, then run the tests (some 10 minutes on 2 cores)
	$(PYTEST) -m "not slow and not slurm"

test-cluster: $(INSTALLED) ## run the tests on a practice SLURM cluster (as root, after launch/cluster install)
	$(PYTEST) -m slurm

# In the order of the folders: those with the longest tests come first, and no worker waits for another at the end.
test-slow: $(INSTALLED) ## run the slow tests that `make test` leaves out, but for the longest
	$(PYTEST) --no-loadscope-reorder -m "slow and not long and not slurm"

test-full: $(INSTALLED) ## run all tests that `make test` leaves out, those that take minutes each too
	$(PYTEST) --no-loadscope-reorder -m "slow and not slurm"

lint: $(INSTALLED) ## check style and format, changing nothing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(INSTALLED) ## put the code into the one format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

type: $(INSTALLED) ## check the types
	$(BIN)/mypy

wheel: $(INSTALLED) ## build the wheel into dist/
	$(BIN)/python -m pip --disable-pip-version-check wheel --quiet --no-deps --wheel-dir dist .

clean: ## remove what these commands made, except runs and data
	rm -rf $(VENV) dist build .mypy_cache .pytest_cache .ruff_cache

# torch keeps its version, since the last bit of every result depends on it; `make lock TORCH=2.14.1` moves it.
TORCH ?= $(shell sed -n 's/^torch==//p' requirements.lock)
lock: ## resolve the newest versions that pyproject.toml allows into requirements.lock
	rm -rf build/lock
	$(PYTHON) -m venv build/lock
	$(call install_torch,build/lock/bin/python,torch==$(TORCH))
	build/lock/bin/python $(PIP) ".[dev]" torch==$(TORCH)
	{ echo '# Made by `make lock`, applied with `pip install -c`: versions only, the same for every build of a package.'; \
	  build/lock/bin/python -m pip freeze --all --exclude rlbench --exclude pip --exclude triton | grep -v '^nvidia-' | sed 's/+.*//'; } \
	  > build/requirements.lock
	mv build/requirements.lock requirements.lock
	rm -rf build/lock

$(INSTALLED): pyproject.toml requirements.lock
	@test -n "$(PYTHON)" || { echo 'make: no Python 3.11 or newer found: install one (Debian: apt-get install python3' \
	  'python3-venv), or name it: make PYTHON=/path/to/python3' >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo 'make: $(PYTHON) cannot make virtual environments:' \
	  'apt-get install python3-venv (Debian, Ubuntu)' >&2; exit 2; }
	@echo 'setting up $(VENV): minutes the first time, nothing afterwards'
	$(PYTHON) -m venv $(VENV)
	$(call install_torch,$(BIN)/python,torch -c requirements.lock)
	$(BIN)/python $(PIP) -c requirements.lock --editable ".[dev]"
	@touch $@
