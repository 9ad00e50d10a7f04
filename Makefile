# What a developer does, one word each; `make help` lists them.

SHELL := /bin/bash
.SUFFIXES:
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PRODUCT := build/product
PRODUCT_PIP := $(PRODUCT)/bin/python -m pip install --quiet --disable-pip-version-check
SOURCES := setup.py setup.cfg pyproject.toml $(shell find mishards milvus_node plugins -type f -not -name '*.pyc')
STEP := @scripts/step
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

PORT ?= 19530
HTTP_PORT ?= 19121
TESTS ?= tests
TEST_WORKERS ?= 2
PYTEST_FLAGS ?=
FUZZ_SECONDS ?= 300
FUZZ_TARGETS ?=
FAULTS ?=
MINUTES ?= 20
SEED ?= $(shell date +%s)
ONLY ?=
ROUNDS ?=
export OMP_NUM_THREADS ?= 1
# Where the programs are that are put to the test: those that users get.
COMPILED := MISHARDS_BIN=$(CURDIR)/$(PRODUCT)/bin

.PHONY: help up cluster test audit fuzz faults soak product lint format configuration protos wheel bench profile clean

help: ## list the targets
	@sed -nE 's/^([a-z]+):.*## (.*)/  make \1\t\2/p' Makefile | expand -t 16

up: $(PRODUCT)/installed ## build, install, then run a local cluster with sample data until Ctrl-C
	@exec $(PRODUCT)/bin/mishards local --dir ./milvus-data --port $(PORT) --http-port $(HTTP_PORT) \
		--readonly 2 --routers 1 --sample

cluster: $(VENV)/installed-dev $(PRODUCT)/installed ## run the full cluster until Ctrl-C: ZooKeeper, MariaDB, 5 nodes, 2 routers, nginx
	@scripts/install-test-servers
	@$(COMPILED) PYTHONPATH=tests exec $(BIN)/python scripts/run_cluster.py

test: $(VENV)/installed-dev ## install what tests need, then run all of them (TESTS=tests/unit runs a part)
	@scripts/install-test-servers
	@scripts/install-helm $(BIN)/python
	$(STEP) "preparing the environment of the unmodified client" \
		env PYTHONPATH=tests $(BIN)/python -m harness.client_venv
	@$(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadfile $(PYTEST_FLAGS) $(TESTS)

lint: $(VENV)/installed-dev ## check style, types, import rules, the shape of the tree and the generated code
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/unit/test_shape_*.py

audit: $(VENV)/installed-dev ## look for known weaknesses in the code and in what is installed
	@$(BIN)/python scripts/audit.py

fuzz: $(VENV)/installed-dev ## feed every parser mutated input, FUZZ_SECONDS each (FUZZ_TARGETS="search frames" are some)
	@cd tests && PYTHONPATH=.. ../$(BIN)/python -m fuzz.fuzz_run --seconds $(FUZZ_SECONDS) $(FUZZ_TARGETS)

faults: $(VENV)/installed-dev $(PRODUCT)/installed ## bring 24 faults upon the full cluster, half an hour (FAULTS="1 7" are some); report in build/faults
	@scripts/install-test-servers
	@cd tests && $(COMPILED) PYTHONPATH=. ../$(BIN)/python -m faults.fault_main ../build/faults --rows $(FAULTS)

soak: $(VENV)/installed-dev $(PRODUCT)/installed ## run mixed load and random faults on the full cluster, MINUTES=20 SEED=1; report in build/soak
	@scripts/install-test-servers
	@cd tests && $(COMPILED) PYTHONPATH=. ../$(BIN)/python -m soak.soak_run --minutes $(MINUTES) --seed $(SEED) ../build/soak

format: $(VENV)/installed-dev ## put the code into the one form
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

configuration: $(VENV)/installed-dev ## write the reference of all settings again
	$(BIN)/python scripts/generate_configuration.py

protos: $(VENV)/installed-dev ## generate the protocol's code again
	$(BIN)/python scripts/generate_protos.py

wheel: build/wheel/built $(VENV)/installed-dev ## build the wheel and try it in an empty environment
	@PYTHON=$(BIN)/python scripts/try-wheel build/wheel

product: $(VENV)/installed-dev $(PRODUCT)/installed ## put the programs that users install to the tests that start them
	@scripts/install-test-servers
	@PYTHONPATH=tests $(BIN)/python -m harness.client_venv
	@$(COMPILED) $(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadfile $(PYTEST_FLAGS) tests/e2e tests/integration
	@$(COMPILED) PYTHONPATH=$$(echo $(CURDIR)/$(PRODUCT)/lib/python*/site-packages) \
		$(BIN)/python -P -m pytest -n $(TEST_WORKERS) --dist loadfile $(PYTEST_FLAGS) tests/conformance/transport

bench: $(PRODUCT)/installed ## measure all goals and write the report, ~15 min (ONLY=hop,merge ROUNDS=3 is a part)
	@cd benchmarks && ../$(PRODUCT)/bin/python . $(if $(ONLY),--only "$(ONLY)") $(if $(ROUNDS),--rounds $(ROUNDS))

profile: $(VENV)/installed-dev ## draw flame graphs of router and node under load into build/bench
	@$(BIN)/python benchmarks/flames.py

clean: ## remove what the other targets made, but no data
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage htmlcov
	rm -rf *.egg-info
	find mishards milvus_node plugins tests scripts benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 14))' \
		|| { echo "$(PYTHON) is not Python 3.10 to 3.13; name one: make PYTHON=python3.11" >&2; exit 1; }
	$(STEP) "making a virtual environment in $(VENV)" $(PYTHON) -m venv $(VENV)

# In an environment of its own, so that nothing of the tools of development can be missed only by users.
build/wheel/built: $(SOURCES) | $(BIN)/python
	@rm -rf build/wheel build/lib.* build/temp.* build/bdist.*
	$(STEP) "making an empty environment to build in" $(BIN)/python -m venv --clear build/builder
	$(STEP) "building the wheel, which takes a minute where it is compiled" \
		build/builder/bin/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir build/wheel .
	@touch $@

# What users install: compiled where that is possible, in an environment without tools of development.
$(PRODUCT)/installed: build/wheel/built
	$(STEP) "making a virtual environment in $(PRODUCT)" $(BIN)/python -m venv --clear $(PRODUCT)
	$(STEP) "installing Mishards with all backends into $(PRODUCT)" $(PRODUCT_PIP) "$$(ls build/wheel/*.whl)[all]" \
		|| { [ -z "$$CI" ] && scripts/step "installing it without them" $(PRODUCT_PIP) "$$(ls build/wheel/*.whl)[uvloop]"; }
	@touch $@

# Without a compiler some backends cannot be built; their tests are skipped then, but never in CI.
$(VENV)/installed-dev: setup.cfg pyproject.toml | $(BIN)/python
	$(STEP) "installing Mishards with all backends and the tools of development" $(PIP) --editable '.[all,dev]' \
		|| { [ -z "$$CI" ] && scripts/step "installing it without them" $(PIP) --editable '.[dev]'; }
	@touch $@
