# make demo    install, then the whole method on synthetic steel
# make test    install, then run the tests (PYTEST_ARGS="-k name" for some)
# make env     only install: .venv with the pinned stack
# make lint    check the style; make format: apply it
# make wheel   build dist/*.whl
# make clean   remove what was built in the checkout (not the shared cache)
#
# Every target can be interrupted and run again: it goes on.
#
# Environment variables of the installation:
#   DSYM_CACHE       where environments and the compiled mmcv are kept, shared
#                    by checkouts; default ~/.cache/dsym; empty: in .venv
#   TORCH_INDEX_URL  a further package index for torch, e.g. CPU-only builds
#                    (the default ones come with about 5 GB of CUDA libraries)
#   MAX_JOBS         compiler processes for mmcv (2 GB of memory each)

PYTHON ?= python3.11
DEMO_STUDY ?= configs/studies/demo.yaml
PYTEST_ARGS ?=

VENV_PYTHON := .venv/bin/python
export MPLBACKEND ?= Agg

.PHONY: help env demo test lint format wheel clean

help:
	@sed -n 's/^# \{0,1\}//p;/^$$/q' Makefile

env:
	@$(PYTHON) tools/dev/setup_env.py

demo: env
	@$(VENV_PYTHON) tools/demo.py $(DEMO_STUDY)

test: env
	$(VENV_PYTHON) -m pytest $(PYTEST_ARGS)

lint: env
	$(VENV_PYTHON) -m ruff check .
	$(VENV_PYTHON) -m ruff format --check .

format: env
	$(VENV_PYTHON) -m ruff check --fix .
	$(VENV_PYTHON) -m ruff format .

wheel: env
	$(VENV_PYTHON) -m pip wheel --no-deps --no-build-isolation -w dist .

clean:
	rm -rf .venv .venv.lock build dist projects/*.egg-info projects/dsym/.mim
	rm -rf .pytest_cache .ruff_cache
	find projects tools tests configs -name __pycache__ -prune -exec rm -rf {} +
