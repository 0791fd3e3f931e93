# Every target makes the environment first, and that costs nothing once it is there.

.DEFAULT_GOAL := help
.PHONY: help demo test lint format docs bench environment lock clean

# 3.11, or else any that can start uv, which brings 3.11. A pyenv shim may be on the path and lead
# nowhere.
PYTHON ?= $(shell for python in python3.11 python3 python3.14 python3.13 python3.12 python3.10 \
	python3.9 python; do $$python -c 'import sys; sys.exit(sys.version_info < (3, 9))' 2>/dev/null \
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

# Bytecode is written even where the machine's setting is not to: tests start a hundred Pythons.
test: environment ## run the tests
	PYTHONDONTWRITEBYTECODE= .venv/bin/python -m pytest -n $(TEST_PROCESSES) --dist loadfile \
		--no-loadscope-reorder $(PYTEST_OPTIONS) $(TESTS)

lint: environment ## check style and types, without changing anything
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/hadolint Dockerfile

format: environment ## put imports and layout in order
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

docs: environment ## build the documentation as a site, build/site/index.html
	NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --quiet --strict

bench: environment ## run the benchmarks of speed; each prints its figure against a yardstick
	@set -e; for benchmark in ingest input_pipeline normalization training_step frozen_features; do \
		echo "== $$benchmark"; .venv/bin/python benchmarks/$$benchmark.py; done

environment: ## make .venv from requirements.lock, or see that it is up to date
	@test -n "$(PYTHON)" || { echo "environment: no Python from 3.9 on was found; install python3" \
		"and python3-venv, or name one: make $(MAKECMDGOALS) PYTHON=/path" >&2; exit 1; }
	@$(PYTHON) -m environment.create

lock: environment ## resolve setup.py's needs anew into requirements.lock
	@$(PYTHON) -m environment.create --lock

clean: ## remove .venv, .python and every cache; workspaces stay
	rm -rf .venv .venv.guard .python build *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
