# make help            what there is to make
# make VENV=path ...   with an environment elsewhere
# make PYTHON=path ... with an interpreter that is not found by itself

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV ?= .venv
# Processes that share the tests: many of them wait for commands that they started. `pytest` by itself uses one.
TESTERS ?= 2
PROMISES := $(addprefix tests/test_,kill_and_resume.py checkpoint_files.py not_finite.py small_batches.py ranks.py ranks_of_a_run.py rerun.py same_again.py whole_way.py \
	damaged_files.py hostile_checkpoints.py recipes.py hostile_text.py page_browser.py)
BIN := $(abspath $(VENV))/bin
PIP := PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip
# The commands of the environment first, as in an activated one. Note `pytest`, not `python -m pytest`: that puts the
# checkout on the path, where fairseq_musc lies without the parts that setup.py maps into it.
IN_VENV := PATH="$(BIN):$$PATH"

# One empty file for each step of the installation that is done.
DONE := $(VENV)/.done
# The lists whose files are held against hashes when they are installed: hashes/ has a file for each, by `make hashes`.
HASHED := requirements requirements-fairseq requirements-easynmt requirements-release requirements-kernels
HASHES := hashes
# Which file torch is hangs on the machine: CPU or CUDA, of an index or of the site's own making.
UNHASHED := torch
hashes = $(if $(filter-out no,$(HASHES)),$(HASHES)/$(1).txt)
# $(call from,LIST): what pip reads. HASHES=no: the list itself, for an index that packs files anew.
from = $(if $(filter no,$(HASHES)),--requirement $(1).txt,--require-hashes --requirement $(HASHES)/$(1).txt)
# Wheels of fairseq that were compiled here, one folder for each torch (its extensions are linked with torch).
WHEELS := .cache/wheels

.PHONY: help venv demo test test-long test-gpu test-kernels promises fuzz fuzz-bytes soak check docs wheel dist licences audit hashes clean python-path FORCE

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

venv: $(DONE)/project  ## the environment in .venv (VENV=path: elsewhere); nothing is done twice

demo: venv  ## the whole way on made-up data, from raw files to the table (minutes)
	@$(IN_VENV) scripts/demo.sh

test: venv  ## the test suite, in two processes (TESTERS=1: in one)
	@$(IN_VENV) pytest -m "not long" --numprocesses $(TESTERS) --dist worksteal

test-long: venv  ## the tests that take minutes each
	@$(IN_VENV) pytest -m long

test-gpu: venv  ## what holds on GPUs alone, and the kernels (a minute; skipped without a GPU)
	@$(IN_VENV) pytest -m "not long" tests/test_gpu.py tests/test_triton_attention.py tests/test_triton_kernels.py

test-kernels: venv $(DONE)/kernels  ## our Triton kernels in its interpreter, and compiled for an H100 that need not be there
	@PYTHONPATH=$(abspath $(VENV))/kernels $(IN_VENV) pytest -o addopts="--strict-markers" -q -n $(TESTERS) \
		tests/test_triton_attention.py tests/test_triton_kernels.py tests/test_packed.py

promises: venv  ## tries to break what docs/promises.md promises, and prints its table (minutes)
	@$(IN_VENV) pytest -o addopts="--strict-markers" -q $(PROMISES)

# Processes, and where the end is: so many inputs in all, or so many seconds, whichever comes first.
FUZZERS ?= $(shell nproc)
FUZZ_INPUTS ?= $(if $(FUZZ_SECONDS),,1000000)
FUZZ_SECONDS ?=
FUZZ_OUTPUT ?= .cache/fuzz.json

fuzz: venv  ## tries a million inputs on the readers, on all cores, and prints how many (FUZZERS=4 FUZZ_SECONDS=600: less)
	@$(IN_VENV) python tests/fuzz.py --processes $(FUZZERS) $(if $(FUZZ_INPUTS),--inputs $(FUZZ_INPUTS)) \
		$(if $(FUZZ_SECONDS),--seconds $(FUZZ_SECONDS)) --output $(FUZZ_OUTPUT)

fuzz-bytes: venv  ## the same on the readers that take any bytes, led by coverage; needs `pip install atheris==3.0.0`
	@$(IN_VENV) python tests/fuzz_bytes.py --processes $(FUZZERS) --seconds $(or $(FUZZ_SECONDS),600)

soak: venv  ## a million rows the whole way, and the memory that each step held (5 minutes or more)
	@$(IN_VENV) pytest -o addopts="--strict-markers" -q tests/test_load.py

check: venv  ## lint, format, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: venv  ## the documentation as a site, in docs/_build; a warning is an error
	@$(BIN)/python -P -m sphinx -q -E -W --keep-going -b html docs docs/_build
	@echo docs/_build/index.html

wheel: venv  ## dist/fairseq_musc-VERSION-py3-none-any.whl
	@rm -rf build/lib  # what an earlier build left there would be packed as well
	@$(PIP) --quiet wheel --no-deps --no-build-isolation --wheel-dir dist .
	@ls dist/*.whl

dist: $(DONE)/release  ## the wheel and the source distribution in dist/, as for the package index; nothing is uploaded
	@rm -rf build/lib dist
	@$(VENV)/release/bin/python -m build --no-isolation --outdir dist . >$(DONE)/log 2>&1 || { cat $(DONE)/log >&2; exit 1; }
	@$(VENV)/release/bin/twine check --strict dist/*

licences: venv $(DONE)/release  ## the licence of everything installed, held against the list in pyproject.toml
	@$(VENV)/release/bin/pip-licenses --python $(BIN)/python

audit: $(DONE)/release  ## known vulnerabilities of what is pinned, asked of the package index (needs it; not part of check)
	@$(VENV)/release/bin/pip-audit --strict --no-deps --disable-pip \
		$(HASHED:%=--requirement %.txt)

hashes: $(DONE)/release  ## hashes/ anew, from the lists of versions: the SHA-256 of every file of every release, as the index has it
	@mkdir -p hashes
	@for list in $(HASHED); do \
		grep -vE '^($(UNHASHED))==' $$list.txt | UV_CUSTOM_COMPILE_COMMAND="make hashes" $(VENV)/release/bin/uv pip compile \
			--quiet --no-config --no-deps --universal --python-version 3.11 --generate-hashes --no-annotate \
			--output-file hashes/$$list.txt -; \
	done

python-path:
	@echo $(BIN)/python

clean:  ## takes away the environment and what was built; compiled fairseq wheels in .cache stay
	@if [ -e $(VENV)/pyvenv.cfg ]; then rm -rf $(VENV); fi
	@rm -rf build dist docs/_build docs/reference ./*.egg-info .mypy_cache .ruff_cache .pytest_cache
	@find . -name __pycache__ -type d -not -path './.*' -prune -exec rm -rf {} +

# --- the environment, step by step -----------------------------------------------------------------------------------

$(DONE)/python:
	@for candidate in $(or $(PYTHON),python3.11 python3 python3.12 python3.13); do \
		if $$candidate -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python=$$candidate; break; fi; \
	done; \
	if [ -z "$${python:-}" ]; then \
		echo "make venv: Python 3.11 or later is needed; tried: $(or $(PYTHON),python3.11 python3 python3.12 python3.13)." >&2; \
		echo "Install one, or name it: make venv PYTHON=/path/to/python3.11" >&2; exit 1; \
	fi; \
	echo "== an environment in $(VENV), with $$($$python --version)"; \
	$$python -m venv $(VENV)
	@mkdir -p $(DONE) && touch $@

$(DONE)/requirements: requirements.txt $(call hashes,requirements) $(DONE)/python
	@echo "== the versions of requirements.txt (the largest is torch; minutes)"
	@if [ "$(HASHES)" != no ]; then \
		sed -n '/^\(packaging\|pip\|setuptools\|wheel\)==/,/[^\\]$$/p' $(HASHES)/requirements.txt > $(DONE)/build.txt; \
		$(PIP) install --quiet --require-hashes --no-deps --requirement $(DONE)/build.txt; \
		$(PIP) install --require-hashes --no-deps --no-build-isolation --requirement $(HASHES)/requirements.txt; \
	fi
	@$(PIP) install --requirement requirements.txt  # torch, with what its build brings; and no two packages disagree
	@touch $@

$(DONE)/fairseq: requirements-fairseq.txt $(call hashes,requirements-fairseq) $(DONE)/requirements
	@wheels=$(WHEELS)/torch-$$($(BIN)/python -c 'import torch; print(torch.__version__)'); \
	from_wheels="install --quiet --no-deps --no-index --only-binary :all: --find-links $$wheels"; \
	if ! $(PIP) $$from_wheels --requirement requirements-fairseq.txt 2>/dev/null; then \
		echo "== compiling fairseq, once (about 3 minutes on 2 cores)"; \
		if ! command -v "$${CXX:-c++}" >/dev/null; then \
			echo "make venv: fairseq is compiled, which needs a C++ compiler (Debian, Ubuntu: the package g++)." >&2; exit 1; \
		fi; \
		$(BIN)/python -c 'import pathlib, sys, sysconfig; \
			header = pathlib.Path(sysconfig.get_paths()["include"], "Python.h"); \
			header.exists() or sys.exit(f"make venv: fairseq is compiled, which needs {header} (Debian, Ubuntu: python3-dev)")'; \
		$(IN_VENV) $(PIP) --no-cache-dir wheel --no-deps --no-build-isolation --wheel-dir $$wheels \
			$(call from,requirements-fairseq); \
		$(PIP) $$from_wheels --requirement requirements-fairseq.txt; \
	fi
	@touch $@

$(DONE)/release: requirements-release.txt $(call hashes,requirements-release) $(DONE)/python
	@$(BIN)/python -m venv $(VENV)/release
	@PIP_DISABLE_PIP_VERSION_CHECK=1 $(VENV)/release/bin/python -m pip install --quiet $(call from,requirements-release)
	@touch $@

# Beside the environment: without Triton is how the rest is tested on a CPU, as most will have it there.
$(DONE)/kernels: requirements-kernels.txt $(call hashes,requirements-kernels) $(DONE)/python
	@rm -rf $(VENV)/kernels
	@$(PIP) install --quiet --no-deps --target $(VENV)/kernels $(call from,requirements-kernels)
	@touch $@

$(DONE)/easynmt: requirements-easynmt.txt $(call hashes,requirements-easynmt) $(DONE)/requirements
	@$(PIP) install --quiet --no-deps --no-build-isolation $(call from,requirements-easynmt)
	@touch $@

# The editable install is strict (setup.cfg): a link for every file that was there when it was made. So the list of
# files is kept, and the project is installed again when it has changed, or when the links (in build/) are gone.
$(DONE)/files: FORCE | $(DONE)/fairseq $(DONE)/easynmt
	@files=$$(find fairseq_musc criterions tasks configs hydra_plugins -type f -not -path '*/__pycache__/*' | LC_ALL=C sort); \
	if ! compgen -G "build/__editable__.fairseq_musc-*/fairseq_musc/__init__.py" >/dev/null || [ "$$files" != "$$(cat $@ 2>/dev/null)" ]; \
	then echo "$$files" > $@; fi

$(DONE)/project: $(DONE)/files setup.py setup.cfg pyproject.toml fairseq_musc/version.py | $(DONE)/fairseq
	@echo "== this project, editable"
	@$(PIP) install --no-deps --no-build-isolation --editable . >$(DONE)/log 2>&1 || { cat $(DONE)/log >&2; exit 1; }
	@cd / && $(BIN)/python -c 'from importlib.util import find_spec; from hydra.core.plugins import Plugins; \
		parts = ["criterions", "tasks", "configs"]; \
		lost = [part for part in parts if not find_spec(f"fairseq_musc.{part}")]; \
		assert not lost, f"not importable after the installation: {lost}"; \
		plugins = [plugin.__module__ for plugin in Plugins.instance().discover()]; \
		assert "hydra_plugins.fairseq_musc_recipes.search_path" in plugins, "Hydra does not find our recipes"'
	@touch $@
