# olal: one verb per target. `make` alone says what they are.

PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help setup setup-vllm demo test test-vllm lint format bench bench-vllm clean

help: ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Make .venv and install olal with its tools; nothing to do the second time
	@$(PYTHON) tools/setup_venv.py

demo: setup ## Train on the grid world with two rollout workers
	$(BIN)/olal launch configs/gridworld.yaml --workers 2

setup-vllm: ## Make .venv-vllm and install olal with vLLM; nothing to do the second time
	@$(PYTHON) tools/setup_venv.py --vllm

test-vllm: setup-vllm ## Run the tests of the vLLM engine
	.venv-vllm/bin/python -m pytest tests/inference/vllm tests/inference/test_engine_conformance.py --engines vllm

test: setup ## Run the whole test suite
	$(BIN)/python -m pytest

lint: setup ## Check style, types and the direction of every import
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/basedpyright
	$(BIN)/lint-imports

format: setup ## Sort imports and format
	$(BIN)/ruff check --select I --fix
	$(BIN)/ruff format

bench: setup ## Run every benchmark; numbers go to benchmarks/out/
	@mkdir -p benchmarks/out
	@missed=0; for script in $(filter-out benchmarks/vllm_%,$(wildcard benchmarks/[a-z]*.py)); do \
		echo "$$script"; \
		$(BIN)/python "$$script" --json "benchmarks/out/$$(basename "$$script" .py).json" || missed=1; \
	done; exit $$missed

bench-vllm: setup-vllm ## Run the benchmarks of the vLLM engine
	@mkdir -p benchmarks/out
	@missed=0; for script in $(wildcard benchmarks/vllm_*.py); do \
		echo "$$script"; \
		.venv-vllm/bin/python "$$script" --json "benchmarks/out/$$(basename "$$script" .py).json" || missed=1; \
	done; exit $$missed

clean: ## Remove caches and build outputs; .venv/ and runs/ stay
	rm -rf build dist *.egg-info benchmarks/out .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find olal tests tools benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
