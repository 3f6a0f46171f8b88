# Two commands do everything: `make demo` and `make test`. Both set up .venv first; both work on a machine with only Python and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# Where there is no GPU, PyTorch's build for processors alone: a tenth of the size. A copy that pip finds nearer wins.
TORCH := $(if $(shell command -v nvidia-smi),'torch>=2.11',--retries 1 --extra-index-url https://download.pytorch.org/whl/cpu torch==2.13.0)

.PHONY: demo test lint bench install clean

demo: $(VENV)/.core
	$(BIN)/python examples/demo.py

test: $(VENV)/.all
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

lint: $(VENV)/.all
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

bench: $(VENV)/.all
	$(BIN)/python -m benchmarks

install: $(VENV)/.all

$(VENV)/.torch:
	$(PYTHON) -m venv $(VENV)
	$(PIP) $(TORCH)
	touch $@

$(VENV)/.core: $(VENV)/.torch pyproject.toml
	$(PIP) --editable .
	touch $@

$(VENV)/.all: $(VENV)/.torch pyproject.toml
	$(PIP) --editable '.[dev,hub,export]'
	touch $@ $(VENV)/.core

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis
