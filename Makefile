# Two targets do everything on a fresh machine: `make quickstart` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
EXPORTS ?= .exports
READY := $(VENV)/.ready

.PHONY: quickstart test test-fast lint chaos nullgpu test-exports docs reference setup clean

quickstart: $(READY)
	$(BIN)/lilm-search start --study quickstart

# Python keeps what it has compiled, asserts rewritten by pytest too: each program that a test starts, and each run, would
# otherwise begin with compiling all of the sources.
test test-fast: export PYTHONDONTWRITEBYTECODE =

# Three at a time: many tests wait for programs that they start. In the order of files, the longest of which have few tests.
# Styles and types are checked meanwhile, and shown at the end: for the minute that takes, the other core would be idle.
test: $(READY)
	@checks=$$(mktemp); $(MAKE) --no-print-directory lint >$$checks 2>&1 & lint=$$!; \
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder; tests=$$?; \
	wait $$lint; lint=$$?; cat $$checks; rm $$checks; \
	exit $$((tests ? tests : lint))

# The inner loop: what needs no server, no training, no process and no browser.
test-fast: $(READY)
	$(BIN)/python -m pytest -n 2 -m "not (database or training or process or browser or slow)"

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Workers killed, stopped and cut off, the server restarted, minutes; SEED=7 does the same again, to the same workers.
chaos: $(READY)
	$(BIN)/python -m tests.chaos $(if $(SEED),--seed $(SEED)) $(if $(WORKERS),--workers $(WORKERS)) $(if $(TRIALS),--trials $(TRIALS))

# Exported models under the programs of others, transformers, llama.cpp, ONNX Runtime and Chromium, in an environment of
# its own: .exports.
test-exports: $(READY)
	$(PYTHON) -m venv $(EXPORTS)
	$(EXPORTS)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev,gguf,web]" \
		transformers==5.24.0 xllamacpp==2026.10.11549 onnxruntime==1.32.0
	$(EXPORTS)/bin/python -m pytest tests/model/formats tests/search/export/web tests/search/export/test_model_card.py

# What only NVIDIA's own build of torch shows, on a GPU that is not there: 5 GB in .nullgpu (or NULLGPU=folder), and the
# better part of an hour on two cores. GROUPS="eager memory" runs these groups alone.
nullgpu: $(READY)
	$(BIN)/python -m tests.nullgpu $(if $(NULLGPU),--home $(NULLGPU)) $(if $(GROUPS),--groups $(GROUPS))

# The site, for a browser without a network: docs/_build/html/index.html.
docs: reference
	$(BIN)/python -m sphinx --builder html --fail-on-warning --keep-going --nitpicky --quiet docs docs/_build/html
	@echo "docs/_build/html/index.html"

# The pages of docs/reference/ that are made from the code; a test fails where they are behind it.
reference: $(READY)
	$(BIN)/python -m docs.generate

setup: $(READY)

# constraints.txt pins the tested versions: torch among them, so that pip takes the CPU build where one
# is at hand and the CUDA build from the index elsewhere, never two of them.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	@touch $@

clean:
	rm -rf $(VENV)
