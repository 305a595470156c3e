# Everything here needs only Python 3.11 to 3.13 and make; each target sets itself up.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
UV     := $(BIN)/uv --no-config --no-progress -q
export UV_COMPILE_BYTECODE = 1
export UV_SYSTEM_CERTS = 1
export UV_PYTHON_DOWNLOADS = never

.DEFAULT_GOAL := help
.PHONY: help setup run test test-all bench lint lock generate clean

help:  ## what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## (.*)/  make \1|\2/' | column -t -s '|'

setup: $(VENV)/.ready  ## a virtual environment with everything pinned by hash

$(VENV)/bin/uv: requirements/uv.txt
	@echo "Setting up $(VENV) (once; about half a minute) ..."
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
	  || { echo "Python 3.11, 3.12 or 3.13 is needed; make PYTHON=/path/to/python3.11 setup"; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@touch $@

# A sync removes the project itself, so it is installed again after each.
$(VENV)/.ready: $(VENV)/bin/uv requirements/dev.txt pyproject.toml
	@$(UV) pip sync --python $(BIN)/python --require-hashes requirements/dev.txt
	@$(UV) pip install --python $(BIN)/python --offline --no-deps --no-build-isolation -e .
	@touch $@

