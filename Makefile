# `make run` serves, `make test` tests; each sets up what it needs on a fresh machine. README.md says more.

PYTHON ?= python3
# Passed on: `make run ARGS="--port 9000"`, `make test ARGS="tests/protocol -x"`.
ARGS ?=
# Test processes; 0 runs all in one.
WORKERS ?= 2
# Random cases of each fuzz test; a release takes `make fuzz FUZZ_CASES=1000000`.
FUZZ_CASES ?= 100000
# Any text: measure branch coverage and hold it to pyproject.toml's threshold.
COVERAGE ?=
# Any text: a missing tool or a skipped test is a failure.
REQUIRE_ALL ?=

BIN := .venv/bin
SETUP = @$(PYTHON) -m scripts.setup
require := $(if $(REQUIRE_ALL),--require-all)
# Two workers on two cores: torch takes one thread in each. The venv first, as Node.js may have been put there.
PYTEST = @PATH="$(CURDIR)/$(BIN):$$PATH" OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(require)
# A timeout that fits any number of cases.
fuzz = -m fuzz -n $(WORKERS) --fuzz-cases=$(FUZZ_CASES) --timeout=3600
coverage := $(if $(COVERAGE),--cov --cov-report=term-missing:skip-covered)

.PHONY: help run test check static format fuzz install-tests gpu-test gpu-bench

help:
	@echo 'make run      serve on http://127.0.0.1:8000'
	@echo 'make test     run every test'
	@echo 'make check    format, lint, types, import layers, tests with coverage'
	@echo 'make static   the same without the tests'
	@echo 'make format   rewrite the code in the one format'
	@echo 'make fuzz     the random tests alone; FUZZ_CASES=1000000 for the long run'
	@echo 'make gpu-test, make gpu-bench   on a GPU: is it right, how fast is it (torch, Triton, transformers)'

run: .venv/.installed-run
	@exec $(BIN)/sluice serve $(ARGS)

test: install-tests
	$(PYTEST) -m "not fuzz" -n $(WORKERS) --dist loadscope $(coverage) $(ARGS)
	$(if $(ARGS),,$(PYTEST) $(fuzz))

fuzz: .venv/.installed-dev
	$(PYTEST) $(fuzz) $(ARGS)

# On a GPU machine, in a bare checkout: its own torch, Triton and transformers.
gpu-test:
	@$(PYTHON) -m scripts.gpu_test $(ARGS)

gpu-bench:
	@$(PYTHON) -m scripts.gpu_bench $(ARGS)

check: static
	@$(MAKE) --no-print-directory test COVERAGE=1

static: .venv/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/.installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

install-tests: .venv/.installed-dev
	$(SETUP) test $(require)

.venv/.installed-run: pyproject.toml constraints.txt
	$(SETUP) run

.venv/.installed-dev: pyproject.toml constraints.txt
	$(SETUP) dev
