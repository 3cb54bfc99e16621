# Every target sets itself up: a virtual environment, then the package with what it needs.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# SLOW=1 runs the slow tests too, as CI does.
MARK := $(if $(SLOW),,-m "not slow")

.PHONY: demo test lint docs bench clean
demo: $(READY)
	$(BIN)/oneshot demo --out demo-run $(ARGS)

test: lint
	$(BIN)/python -m pytest $(MARK) $(ARGS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(READY)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[docs]'
	$(BIN)/mkdocs build --strict

bench: $(READY)
	$(BIN)/python -m benchmarks $(ARGS)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
		|| { echo "Python 3.10 or later is needed: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(READY)

clean:
	rm -rf $(VENV) build dist site .mypy_cache .ruff_cache .pytest_cache
