PYTHON ?= python3
BIN := .venv/bin
# In containers Python is often told to keep nothing of what it compiled; then each of the hundreds of processes that the
# tests start would compile everything anew.
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest
# File by file, as what the tests of one share takes long to set up; in the order of tests/support/order.py.
WORKERS := -n 4 --dist loadfile --no-loadscope-reorder
# Another lock file makes another name, so the environment follows it.
READY := .venv/.ready-$(shell cksum < requirements-dev.lock | tr ' ' '-')
COMPILE := CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet --generate-hashes --strip-extras --no-annotate --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-emit-options

.DEFAULT_GOAL := help
.PHONY: help demo emulators test run check proof bench audit-dependencies clean-clone lock

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' Makefile

demo: $(READY) ## Take a real Dart function from draft to answering HTTP, on a fresh service (PROVIDER=gcp: in an emulator)
	@$(BIN)/python -m examples.demo $(if $(PROVIDER),--provider $(PROVIDER))

emulators: $(READY) ## Run clouds to try things in, without an account, until interrupted (PROVIDER=gcp: that one only)
	@$(BIN)/python -m tests.emulators $(PROVIDER)

test: $(READY) ## Run the tests
	@$(PYTEST) $(WORKERS)

run: $(READY) ## Run the service: the API and everything behind it
	@$(BIN)/python -m cli serve

check: $(READY) ## Everything that must hold before a change is kept: style, types, layers, tests
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy
	$(BIN)/lint-imports --no-logo
	$(PYTEST) $(WORKERS)

proof: $(READY) ## Long runs: crash it, fill it, race it
	$(PYTEST) -n 2 --dist worksteal -m proof --timeout 900

bench: $(READY) ## Measure ours against the peers, as JSON
	@$(BIN)/python -m benchmarks

audit-dependencies: $(READY) ## Ask the package index what is known against the locked versions (1: something, 2: it cannot be asked)
	@$(BIN)/python -m tests.support.advisories requirements.lock requirements-dev.lock

clean-clone: ## Prove that the last commit works in an empty directory, as root and as an ordinary user
	@.ci/clean-clone

lock: $(READY) ## Renew the lock files after a change of pyproject.toml
	$(BIN)/python -m pip install --quiet "pip-tools>=7.5,<8"
	$(COMPILE) --output-file requirements.lock pyproject.toml
	$(COMPILE) --extra dev --constraint requirements.lock --output-file requirements-dev.lock pyproject.toml

$(READY): requirements-dev.lock
	@.ci/venv "$(PYTHON)" "$@"
