# Everything here needs only Python 3.11 to 3.13 and make; each target sets itself up.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
UV     := $(BIN)/uv --no-config --no-progress -q
LOCK   := $(UV) pip compile --universal --python-version 3.11 --generate-hashes --no-header
ARGS   ?=
JOBS   ?= 3
export UV_COMPILE_BYTECODE = 1
export UV_SYSTEM_CERTS = 1
export UV_PYTHON_DOWNLOADS = never

.DEFAULT_GOAL := help
.PHONY: help setup run test test-all bench mutants lint format generate baseline lock clean

help:  ## what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## (.*)/  make \1|\2/' | column -t -s '|'

setup: $(VENV)/.ready  ## a virtual environment with everything pinned by hash

$(VENV)/bin/uv: requirements/uv.txt
	@echo "Setting up $(VENV) (once; about half a minute) ..." >&2
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
	  || { echo "Python 3.11, 3.12 or 3.13 is needed; make PYTHON=/path/to/python3.11 setup" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@touch $@

# A sync removes the project itself, so it is installed again after each.
$(VENV)/.ready: $(VENV)/bin/uv requirements/dev.txt pyproject.toml
	@$(UV) pip sync --python $(BIN)/python --require-hashes requirements/dev.txt
	@$(UV) pip install --python $(BIN)/python --offline --no-deps --no-build-isolation -e .
	@$(BIN)/python -m compileall -q broker records adapters
	@touch $@

run: setup  ## everything on this machine: the demonstration, then it stays up until interrupted
	@exec $(BIN)/broker up $(ARGS)

# A file's tests run one after the other, since they share servers.
test: setup  ## the tests, without the long ones, JOBS files at a time (ARGS goes to pytest)
	@$(BIN)/pytest -m "not long" -n $(JOBS) --dist loadfile $(ARGS)

test-all: setup  ## all tests
	@$(BIN)/pytest $(ARGS)

bench: setup  ## what is measured, on this machine, as ratios (ARGS: --repeats N --scale X --folder DIR)
	@$(BIN)/python -m bench $(ARGS)

mutants: setup  ## change the rules of decisions one by one: does a test notice? (ARGS: modules, --at-once N, --show)
	@$(BIN)/python -m tests.support.mutation $(ARGS)

lint: setup  ## style, types, import rules, the wire contract and the hazard log
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet . || { echo "not formatted: run make format"; exit 1; }
	@$(BIN)/mypy broker adapters records proto/successors.py proto/describe.py docs/safety/hazards.py docs/safety/page.py
	@$(BIN)/lint-imports --no-logo --no-cache
	@proto/check
	@BIN=$(BIN) docs/safety/check

format: setup  ## format the code
	@$(BIN)/ruff format .

generate: setup  ## write broker/v1, records/, docs/record-types.md and docs/safety/hazard-log.md
	@proto/generate
	@BIN=$(BIN) proto/page
	@BIN=$(BIN) docs/safety/generate

# Part of a release, and of nothing else: what stands here is what later changes are held to.
baseline: setup  ## for a release: remember proto/ as what must not be broken
	@BIN=$(BIN) proto/image proto/baseline.binpb

# The files carry no address: any package index may serve them, and the hashes decide.
lock: $(VENV)/bin/uv  ## resolve all requirements anew, within pyproject.toml
	@echo uv | $(LOCK) --upgrade --no-annotate -o requirements/uv.txt -
	@$(LOCK) --upgrade --extra dev -o requirements/dev.txt pyproject.toml
	@$(LOCK) --upgrade --extra demo --extra install -c requirements/dev.txt -o requirements/run.txt pyproject.toml

clean:  ## remove what was made, but no state of a broker
	@rm -rf $(VENV) .mypy_cache .ruff_cache .hypothesis dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
