# Everything starts from `make demo` and `make test`; both need Python 3.11+, make and pip, and nothing by hand.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: demo test check format bench docs lock clean help

help: ## what can be made
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Cohortium needs Python 3.11 or newer (PYTHON=python3.12 make …)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing into .venv (a minute or two the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(STAMP)

demo: $(STAMP) ## three cohorts on this machine answer real questions on real patient data (KEEP=1 leaves them running)
	@$(BIN)/cohortium demo $(if $(KEEP),--keep)

test: $(STAMP) ## every test, end to end over real processes included
	$(BIN)/python -m pytest --numprocesses auto --cov --cov-report=term

check: $(STAMP) ## format, lint, types, import arrows
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_arrows.py

format: $(STAMP) ## bring the code into the project's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(STAMP) ## measure against the pooled fits; rewrites the table in docs/performance.md
	$(BIN)/python -m benchmarks

docs: $(STAMP) ## write the pages of docs/analyses anew from the code
	$(BIN)/python -m simulation.handbook docs/analyses

lock: ## resolve dependencies anew (needs uv); the lock names no registry
	uv pip compile pyproject.toml --group dev --extra demo --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --custom-compile-command "make lock" -o requirements.lock

clean: ## remove what these commands made
	rm -rf .venv demo-run .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage htmlcov
