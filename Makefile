# Everything a checkout can do, from a bare Python, pip, make and C compiler.
#
#   make demo                    the report site, with all it needs
#   make test                    all tests
#   make test PYTHON=python3.13  another interpreter, in an environment of its own
#   make test ARGS="-k keys -x"  words for pytest; for demo: words for the demo

PYTHON ?= python3
ARGS ?=
VENV ?= .venv$(if $(filter-out python3,$(PYTHON)),-$(subst /,-,$(PYTHON)))
# So many at once: they mostly wait; tests that share servers stay together. WORKERS=0: one by one.
WORKERS ?= 6

SECONDS ?= 120
SEED ?=
BROKER ?= redis

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check
# What waits longest begins first (tests/conftest.py), whatever its number of tests.
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup --no-loadscope-reorder
DEMO_READY := $(VENV)/.ready-demo
TEST_READY := $(VENV)/.ready-test
BENCH_VENV := .venv-bench$(patsubst .venv%,%,$(VENV))
BENCH_READY := $(BENCH_VENV)/.ready-bench
PACKAGING := setup.cfg pyproject.toml

.DEFAULT_GOAL := help
.PHONY: help demo test coverage mutants chaos bench bench-admin bench-failover bench-soak \
	messages matrix wheel clean \
	lint lint-style lint-format lint-types lint-imports lint-migrations lint-upgrade

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

demo: $(DEMO_READY) ## Run the report site on 127.0.0.1:8000 (ARGS=--check plays its story and ends)
	@$(BIN)/python -m testproject.demo $(ARGS)

test: $(TEST_READY) ## Run all tests; tells what was left out and how to get it (ONCE_REQUIRE=all: fails then)
	@$(PYTEST) $(ARGS)

coverage: $(TEST_READY) ## Run all tests and tell which lines and branches they left out
	@$(PYTEST) --cov --cov-report=term-missing $(ARGS)

mutants: $(TEST_READY) ## Plant the faults of tests/mutants.toml one by one; the tests must catch each (ARGS="-k journal")
	@$(BIN)/python scripts/mutants $(ARGS)

chaos: $(TEST_READY) ## Kill, stop and cut off workers and servers at random, and referee; draws a seed and tells it (SECONDS=120 SEED=7 BROKER=rabbitmq)
	@$(BIN)/python -m tests.chaos --broker $(BROKER) --seconds $(SECONDS) $(if $(SEED),--seed $(SEED))

bench-soak: $(TEST_READY) ## Load a site and its workers for 10 minutes, with kills; does anything grow? (ARGS="--minutes 30")
	@$(BIN)/python -m benchmarks.soak $(ARGS)

bench: $(BENCH_READY) ## Measure the speed beside four other packages; writes benchmarks/RESULTS.md (ARGS="--quick refuse key")
	@$(BENCH_VENV)/bin/python -m benchmarks.speed $(ARGS)

bench-admin: $(TEST_READY) ## Time the admin's pages on PostgreSQL with 2,000,000 incidents (ARGS="--incidents 100000")
	@$(BIN)/python -m benchmarks.admin $(ARGS)

bench-failover: $(TEST_READY) ## Count the locks that a failover of Redis loses, and time it (ARGS="--rounds 2")
	@$(BIN)/python -m benchmarks.failover $(ARGS)

messages: $(TEST_READY) ## Gather the package's texts into the catalogues for translators, and compile these
	@$(BIN)/python scripts/catalogues

lint: lint-style lint-format lint-types lint-imports lint-migrations lint-upgrade ## Check style, types, import contracts and migrations

lint-style: $(TEST_READY)
	@echo "== ruff check" && $(BIN)/ruff check .

lint-format: $(TEST_READY)
	@echo "== ruff format --check" && $(BIN)/ruff format --check .

lint-types: $(TEST_READY)
	@echo "== mypy" && $(BIN)/python -m mypy

lint-imports: $(TEST_READY)
	@echo "== import contracts" && $(BIN)/lint-imports --no-cache --no-logo

lint-migrations: $(TEST_READY)
	@echo "== migrations" \
	&& $(BIN)/python -m django makemigrations --check --dry-run --settings=tests.settings \
	&& $(BIN)/python manage.py makemigrations --check --dry-run

lint-upgrade: $(TEST_READY)
	@echo "== django-upgrade" \
	&& find django_celery_once testproject tests manage.py -name '*.py' \
	| xargs $(BIN)/django-upgrade --target-version 5.2 --check

matrix: ## Run the tests over several Pythons, Djangos and Celerys (ROWS="py311-oldest …" picks)
	@PYTEST_ARGS="$(ARGS)" scripts/matrix $(ROWS)

wheel: $(TEST_READY) ## Build the wheel into dist/, install it into an empty environment and use it
	@rm -rf build dist
	@$(BIN)/python -m build --quiet --outdir dist
	@scripts/check-wheel dist/*.whl $(PYTHON)

clean: ## Remove environments, builds and caches
	@rm -rf .venv .venv-* .matrix build dist *.egg-info .*_cache .hypothesis .coverage* htmlcov

$(DEMO_READY): $(PACKAGING) scripts/make-venv
	@echo "Installing the demo into $(VENV) (once; a minute or so)"
	@scripts/make-venv $(VENV) $(PYTHON)
	@$(PIP) --editable ".[demo]"
	@touch $@

$(TEST_READY): $(PACKAGING) scripts/make-venv
	@echo "Installing tests and tools into $(VENV) (once; a few minutes)"
	@scripts/make-venv $(VENV) $(PYTHON)
	@$(PIP) --editable ".[demo,test,lint]"
	@touch $(DEMO_READY) $@

$(BENCH_READY): $(PACKAGING) scripts/make-venv
	@echo "Installing what is compared into $(BENCH_VENV) (once; a minute or so)"
	@scripts/make-venv $(BENCH_VENV) $(PYTHON)
	@$(BENCH_VENV)/bin/python -m pip install -qq --disable-pip-version-check --editable ".[bench]"
	@touch $@
