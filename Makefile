# Every target makes the environment first, and that costs nothing once it is there.

.DEFAULT_GOAL := help
.PHONY: help demo test lint format bench environment lock clean

# The first that is Python 3.11; a pyenv shim may be on the path and lead nowhere.
PYTHON ?= $(shell for python in python3.11 python3 python; do \
	$$python -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null \
	&& echo $$python && break; done)
# Folders or files to test, and more of pytest's options: make test TESTS=tests/trainer
TESTS ?= tests
PYTEST_OPTIONS ?=
# Processes that test at the same time. Each may hold TensorFlow and some 2 GB.
TEST_PROCESSES ?= 2

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 14

demo: environment ## draw a small catalog, train on it, judge, push and serve
	.venv/bin/seamline demo

test: environment ## run the tests
	.venv/bin/python -m pytest -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder \
		$(PYTEST_OPTIONS) $(TESTS)

lint: environment ## check style, without changing anything
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

format: environment ## put imports and layout in order
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

bench: environment ## run the benchmarks of speed; each prints its figure against a yardstick
	@set -e; for benchmark in ingest input_pipeline normalization training_step frozen_features; do \
		echo "== $$benchmark"; .venv/bin/python benchmarks/$$benchmark.py; done

environment: ## make .venv from requirements.lock, or see that it is up to date
	@test -n "$(PYTHON)" || { echo "environment: Python 3.11 was not found; install python3.11," \
		"python3.11-venv and python3.11-dev, or name one: make $(MAKECMDGOALS) PYTHON=/path" >&2; exit 1; }
	@$(PYTHON) -m environment.create

lock: environment ## resolve setup.py's needs anew into requirements.lock
	@$(PYTHON) -m environment.create --lock

clean: ## remove .venv and every cache; workspaces stay
	rm -rf .venv .venv.guard build *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
