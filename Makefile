# The same commands by hand and in CI. A fresh machine needs Python 3.11 or later, git and make.

VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.complete
PYTEST := $(BIN)/python -m pytest -q -n auto --dist worksteal
SUITES := tests/conformance/node_modules/.complete

# Tests and benchmarks start hundreds of processes; what those import is to be compiled once, as it is for users.
unexport PYTHONDONTWRITEBYTECODE

# Otherwise pyright asks the network whether there is a newer one.
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

.DEFAULT_GOAL := help
.PHONY: help setup demo test explore coverage lint format bench bench-counting bench-history bench-ledger bench-serving soak conformance conformance-server constraints clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo "  VENV=DIR uses another environment than .venv; PYTHON=PATH makes it with that interpreter."

setup: $(STAMP) ## make .venv: the project, editable, with the tested versions of everything

$(STAMP): pyproject.toml constraints.txt scripts/make_venv.sh
	@scripts/make_venv.sh $(VENV)
	@touch $@

demo: $(STAMP) ## see it work
	@$(BIN)/python docs/examples/demo.py

test: $(STAMP) ## run the tests
	$(PYTEST)

explore: $(STAMP) ## look for new examples that break a property: other ones each time, which tests do not take
	TOKENWARD_EXPLORE=1 $(PYTEST) -m hypothesis

coverage: $(STAMP) ## run the tests and measure what they reach, which takes longer; fails below 90 % of the branches
	$(PYTEST) --cov --cov-report=term

lint: $(STAMP) ## check style, types, arrows between rooms, file sizes and known weaknesses
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports
	$(BIN)/python scripts/check_sizes.py
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive engine server storage tools src/tokenward
	$(BIN)/python -m scripts.audit

format: $(STAMP) ## put the code into shape
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(STAMP) ## measure: start-up, the status line, counting
	$(BIN)/python -m bench.initialize
	$(BIN)/python -m bench.statusline
	$(BIN)/python -m bench.counting --quick texts

bench-counting: $(STAMP) ## measure counting: texts, requests, Claude, first counts and memory, the event loop; ARGS=--quick for a short run
	$(BIN)/python -m bench.counting $(ARGS)

bench-history: $(STAMP) ## measure trimming histories beside LiteLLM and LangChain, half an hour; ARGS=--quick for a short run
	$(BIN)/python -m bench.trimming $(ARGS)

bench-serving: $(STAMP) ## measure serving beside a bare server on the same SDK, ten minutes; ARGS=--quick for a short run
	$(BIN)/python -m bench.serving $(ARGS)

soak: $(STAMP) ## an hour or a million calls of all tools over both doors; ARGS="--minutes 5" for a short run
	$(BIN)/python -m bench.soak $(ARGS)

bench-ledger: $(STAMP) ## measure the ledger against its peers, a quarter of an hour; ARGS=--quick for a short run
	$(BIN)/python -m pip install -qq --disable-pip-version-check --constraint constraints.txt --group bench
	$(BIN)/python -m bench.ledger $(ARGS)

conformance: $(STAMP) $(SUITES) ## hold the server against the MCP conformance suites and the inspector; ONLY=WORD for some
	$(BIN)/python -m tests.conformance.run $(ONLY)

$(SUITES): tests/conformance/package.json tests/conformance/install.sh | $(STAMP)
	@tests/conformance/install.sh $(BIN)/python
	@touch $@

conformance-server: HOST ?= 127.0.0.1
conformance-server: PORT ?= 8485
conformance-server: $(STAMP) ## serve what such suites look for at http://HOST:PORT/mcp, until it is told to end
	@exec $(BIN)/python -m tests.conformance.server --host $(HOST) --port $(PORT) $(ARGS)

constraints: ## take today's newest versions into constraints.txt
	@scripts/make_constraints.sh

clean: ## remove the environment and everything that was generated
	rm -rf $(VENV) build dist *.egg-info src/*.egg-info .coverage .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache tests/conformance/node_modules
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
