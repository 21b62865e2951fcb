# Every target makes what it needs; the first one makes the virtual environment.

PYTHON ?= python3
#: How many processes run the tests, which wait for most of their time.
JOBS ?= 4
#: How much the contract suite tries on each driver: quick, default or thorough.
CONTRACT ?= quick
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
#: The benchmarks have environments of their own: other task queues, and what these need.
BENCH := .venv-bench
BENCH_STAMP := $(BENCH)/.installed
#: What builds the site of the documents is no part of what is tested, and so has an environment of its own too.
DOCS := .venv-docs
DOCS_STAMP := $(DOCS)/.installed
MEMBERS := core $(patsubst %/pyproject.toml,%,$(wildcard plugins/*/pyproject.toml contract-tests/pyproject.toml))

.DEFAULT_GOAL := help
.PHONY: help demo dashboard-demo test unit coverage pythons version release matrix chaos ticks mutants certify oldest lint docs bench build clean

help: ## Show this list.
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' Makefile | while IFS='|' read -r target text; do \
		printf 'make %-14s %s\n' "$$target" "$$text"; done

demo: $(STAMP) ## Analyse Python's own standard library with two workers, one of which is killed. Under a minute.
	@cd examples && ../$(BIN)/python -m stdlib_census.demo
	@echo "To look at an app at work in a browser: make dashboard-demo"

dashboard-demo: $(STAMP) ## Show the dashboard of a shop under load, with failures, at http://127.0.0.1:9770/ until Ctrl-C.
	@cd examples && ../$(BIN)/python -m dashboard_demo.demo $(ARGS)

test: $(STAMP) ## Run all tests. More options: make test ARGS="-k chord -x". CONTRACT=thorough tries more on each driver.
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal --contract-profile $(CONTRACT) $(ARGS)

unit: $(STAMP) ## Run the unit tests of core.
	$(BIN)/python -m pytest -n $(JOBS) core/tests/unit core/tests/integration $(ARGS)

coverage: $(STAMP) ## The same, and print which lines of core they did not run. Costs little from Python 3.12 on.
	COVERAGE_CORE=sysmon $(BIN)/python -m pytest -n $(JOBS) core/tests/unit core/tests/integration --cov=drivetrain --cov-report=term:skip-covered $(ARGS)

pythons: $(STAMP) ## Run the unit tests on every Python from 3.11 to 3.14 that this machine has.
	PYTHONPATH=tests $(BIN)/python -m releasing.pythons

matrix: $(STAMP) ## Hold every broker with every backend to the contract of workflows; writes docs/guarantees.md. ARGS=--missing goes on.
	PYTHONPATH=tests $(BIN)/python -m matrix.run $(ARGS)

chaos: $(STAMP) ## Kill, stop and pause workers and services at random under random workflows. ARGS="--pair redis --seconds 600 --seed 1".
	PYTHONPATH=tests $(BIN)/python -m chaos.run $(ARGS)

ticks: $(STAMP) ## Kill, stop and skew schedulers under a thousand ticks; each must run once. ARGS="--pair redis --seed 1".
	PYTHONPATH=tests $(BIN)/python -m ticks.run $(ARGS)

mutants: $(STAMP) ## Hold the contract suite to its worth: all broken drivers, and the share that each profile catches.
	$(BIN)/python -m pytest -n $(JOBS) --contract-profile default contract-tests/tests/faults/test_mutants.py $(ARGS)

certify: $(STAMP) ## Hold each driver to the contract, and put the report where its wheel ships it. ARGS="redis sqs" does those alone.
	PYTHONPATH=tests $(BIN)/python -m certify.run $(ARGS)

oldest: $(STAMP) ## Run each driver's tests with the oldest libraries that it allows. ARGS="redis mongo" runs those alone.
	PYTHONPATH=tests $(BIN)/python -m installing.oldest $(ARGS)

lint: $(STAMP) ## Check format, style, types and the words of the documentation.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright
	PYTHONPATH=tests $(BIN)/python -m prose.check

docs: $(DOCS_STAMP) ## Build the site of the documents, with a search, into build/site. A warning is an error.
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/python -m mkdocs build

bench: $(BENCH_STAMP) ## Measure speed beside other task queues. QUICK=1 measures less; PROFILE=1 prints where the time goes.
	QUICK="$(QUICK)" PROFILE="$(PROFILE)" $(BENCH)/bin/python benchmarks/run.py $(ARGS)

version: $(STAMP) ## Set the version of all distributions: make version VERSION=0.2.0.
	PYTHONPATH=tests $(BIN)/python -m releasing.version $(VERSION)

release: $(STAMP) ## Check that all that a release needs is there, then build it into dist/.
	PYTHONPATH=tests $(BIN)/python -m releasing.release

build: $(STAMP) ## Build the wheel and the source archive of every member into dist/.
	@for member in $(MEMBERS); do $(BIN)/python -m build --no-isolation --outdir dist "$$member" || exit 1; done

clean: ## Remove everything that these targets have made, the virtual environment included.
	rm -rf $(VENV) $(VENV)-oldest $(VENV)-3.* $(DOCS) $(BENCH) $(BENCH)-arq dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): requirements-dev.txt $(MEMBERS:%=%/pyproject.toml)
	@command -v "$(PYTHON)" >/dev/null || { echo "There is no $(PYTHON) here; name one: make PYTHON=python3.12" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "drivetrain needs Python 3.11 or newer, and $(PYTHON) is $$("$(PYTHON)" --version 2>&1);" \
			"name another: make PYTHON=python3.12" >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || "$(PYTHON)" -m venv --clear $(VENV)
	@echo "Making $(VENV) with all that development and tests use; that takes half a minute or more, once …"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps $(addprefix --editable ./,$(MEMBERS))
	$(BIN)/python -m pip check
	@touch $@

$(DOCS_STAMP): requirements-docs.txt
	@$(DOCS)/bin/python -m pip --version >/dev/null 2>&1 || "$(PYTHON)" -m venv --clear $(DOCS)
	@echo '*' > $(DOCS)/.gitignore
	$(DOCS)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-docs.txt
	@touch $@

$(BENCH_STAMP): benchmarks/requirements.txt benchmarks/requirements-arq.txt $(MEMBERS:%=%/pyproject.toml)
	for home in $(BENCH) $(BENCH)-arq; do \
		$$home/bin/python -m pip --version >/dev/null 2>&1 || "$(PYTHON)" -m venv --clear $$home || exit 1; \
		echo '*' > $$home/.gitignore; done
	$(BENCH)/bin/python -m pip install --quiet --disable-pip-version-check -r benchmarks/requirements.txt
	$(BENCH)/bin/python -m pip install --quiet --disable-pip-version-check --no-build-isolation \
		$(addprefix --editable ./,$(filter-out contract-tests,$(MEMBERS)))
	$(BENCH)-arq/bin/python -m pip install --quiet --disable-pip-version-check -r benchmarks/requirements-arq.txt
	@touch $@
