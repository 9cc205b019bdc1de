# Every target sets up the environments that it needs by itself, when their locks changed.
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Processes that share the tests; each takes up to 3 GB.
WORKERS := 2
PYTEST := $(BIN)/pytest -n $(WORKERS) --durations=40
KUBEFLOW := $(VENV)-kubeflow/.ready

.DEFAULT_GOAL := help
.PHONY: help env kubeflow demo test test-fast test-order test-slow coverage mutants lint bench docs lock clean

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): requirements/base.txt requirements/dev.txt requirements/venv.sh setup.py
	@requirements/venv.sh $(VENV) base dev
	@touch $@

$(KUBEFLOW): requirements/kubeflow.txt requirements/venv.sh setup.py | $(READY)
	@requirements/venv.sh $(VENV)-kubeflow kubeflow
	@touch $@

env: $(READY)  ## Set up .venv from the locks

kubeflow: $(KUBEFLOW)  ## Set up .venv-kubeflow, which compiles for Kubeflow Pipelines

demo: $(READY)  ## Draw a week of logs and run the whole job on it
	@$(BIN)/equipoise simulate
	@$(BIN)/equipoise run configs/simulated.yaml

test: lint $(KUBEFLOW)  ## Linters, then the fast and the end-to-end tests
	$(PYTEST) -m "not slow"

test-fast: $(READY) $(KUBEFLOW)  ## The fast tests alone
	$(PYTEST) -m "not slow and not e2e"

test-order: $(READY) $(KUBEFLOW)  ## The fast tests in three random orders, then each file alone
	for seed in 1 2 3; do \
	  $(PYTEST) -q -m "not slow and not e2e" -p randomly --randomly-seed=$$seed || exit; \
	done
	@# Status 5: it has no fast test.
	for file in $$(git ls-files 'tests/*test_*.py'); do \
	  $(BIN)/pytest -q -m "not slow and not e2e" $$file || [ $$? = 5 ] || exit; \
	done

test-slow: $(READY)  ## The tests that take minutes
	$(BIN)/pytest -m slow

coverage: $(READY) $(KUBEFLOW)  ## What of the four packages the tests of `make test` run
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n $(WORKERS) -m "not slow"
	$(BIN)/coverage combine -q
	@for package in keras_models serving tfx_pipeline transforms; do \
	  echo "$$package $$($(BIN)/coverage report --format=total --precision=2 --include="$$package/*")%"; \
	done

mutants: $(READY)  ## Which of 60 breaks of the code the fast tests notice; after `make coverage`
	$(BIN)/python tests/mutations.py --coverage .coverage

lint: $(READY)  ## ruff, mypy and the import contracts
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

bench: $(READY)  ## Every benchmark; the last line of each is its result as JSON
	@for script in benchmarks/*.py; do $(BIN)/python $$script || exit; done

docs: $(READY)  ## Regenerate the reference of the config keys
	$(BIN)/python docs/generate_config.py

lock: $(READY)  ## Resolve requirements/*.in again into the locks
	@for name in base dev; do \
	  $(BIN)/uv pip compile -q --upgrade --python-version 3.10 --no-header --no-annotate \
	    requirements/$$name.in -o requirements/$$name.txt || exit; \
	done
	@# Of these the third keeps all that kfp allows.
	@sort -u requirements/base.txt requirements/dev.txt > requirements/kubeflow.txt
	@$(BIN)/uv pip compile -q --python-version 3.10 --no-header --no-annotate \
	  requirements/kubeflow.in -o requirements/kubeflow.txt

clean:  ## Remove .venv, built packages and the tools' caches; runs/ stays
	rm -rf $(VENV) $(VENV)-kubeflow $(VENV)-uv build dist *.egg-info .coverage* .hypothesis .import_linter_cache \
	  .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
