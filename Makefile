# Everything one needs from a fresh clone; only Python >= 3.11, make and git are assumed.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PYTHONPATH :=

help: ## list the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14

# The lock is installed again whenever it, or what is built from, has changed. Compiled once here, or each
# process would compile it all at its start where Python is told not to write bytecode.
$(VENV)/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Postroom needs Python 3.11 or newer; set PYTHON=/path/to/python3.11."; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "python3 -m venv does not work here; install your system's python3-venv package."; exit 1; }
	@command -v uv >/dev/null || test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@UV=$$(command -v uv || echo $(BIN)/uv); VIRTUAL_ENV=$(VENV) $$UV pip install --quiet --compile-bytecode --require-hashes -r requirements.lock && VIRTUAL_ENV=$(VENV) $$UV pip install --quiet --no-deps -e .
	@$(BIN)/python -m compileall -q -j 0 src
	@touch $@

install: $(VENV)/.installed ## make .venv and install the locked dependencies

dashboard: $(VENV)/.installed ## build the web UI when its sources changed
	@if [ -f dashboard/build.py ]; then $(BIN)/python dashboard/build.py; fi

run: install dashboard ## set everything up and run it: servers, API, worker, dashboard
	@exec $(BIN)/postroom dev

worker: install ## a worker against DATABASE_URL and REDIS_URL
	@exec $(BIN)/postroom worker

migrate: install ## bring the database of DATABASE_URL to the newest schema
	@$(BIN)/postroom migrate

migration: install ## make a migration from the models: make migration m="what it does"
	@$(BIN)/alembic revision --autogenerate -m "$(m)" --rev-id $$(printf '%04d' $$(($$(ls migrations/versions/*.py | wc -l) + 1)))

test: install dashboard ## the whole test suite against real PostgreSQL and Valkey
	@$(BIN)/pytest -n 2 --dist loadgroup $(ARGS)

cover: install dashboard ## the suite with branch coverage, 90 % at least
	@$(BIN)/pytest -n 2 --dist loadgroup --cov --cov-report=term:skip-covered --cov-fail-under=90 $(ARGS)

crash: install ## the crash suite in full (up to 30 minutes); writes docs/reliability.md
	@$(BIN)/pytest -n 0 -m crash tests/crash
	@$(BIN)/python -m bench.crash --write $(ARGS)

fuzz: install ## ten thousand requests made out of the OpenAPI document; make fuzz ARGS="--each 500 --seed 7"
	@$(BIN)/python -m bench.fuzz $(ARGS)

bench: install ## the benchmarks as a table of medians and ratios (25 minutes); writes docs/benchmarks.md
	@$(BIN)/python -m bench --write $(ARGS)

fmt: install ## format and mend what can be mended
	@$(BIN)/ruff format src tests bench migrations dashboard/*.py && $(BIN)/ruff check --fix src tests bench migrations

fmt-check: install
	@$(BIN)/ruff format --check src tests bench migrations dashboard/*.py

lint: install ## ruff
	@$(BIN)/ruff check src tests bench migrations dashboard/*.py

types: install ## mypy, strict
	@$(BIN)/mypy

arch: install ## the import contracts
	@$(BIN)/lint-imports

ui: install ## the dashboard's types, linter, unit tests and size budget
	@$(BIN)/python dashboard/build.py --check

screenshots: install dashboard ## the pictures of docs/images, from a running `make run`
	@$(BIN)/python dashboard/screenshots.py

check: fmt-check lint types arch ui cover ## what CI runs: all of the above and the tests

hooks: install ## run the quick checks before each commit
	@printf '#!/bin/sh\nexec make fmt-check lint types arch\n' > .git/hooks/pre-commit && chmod +x .git/hooks/pre-commit

lock: install ## compile requirements.lock anew
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --all-extras --group dev --no-emit-index-url --no-emit-find-links --no-annotate --no-header pyproject.toml -o requirements.lock
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --no-header pyproject.toml -o requirements-runtime.lock

clean: ## remove what was built (data in .postroom stays)
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache src/postroom/dashboard/static dashboard/node_modules

.PHONY: help install dashboard run worker migrate migration test cover crash fuzz bench fmt fmt-check lint types arch ui screenshots check hooks lock clean
