# Two commands matter: `make demo` and `make test`. Both make the virtual environment themselves.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

# Most tests use one core. TEST_PROCESSES=0 runs them in one process, as debuggers want it.
TEST_PROCESSES ?= 2

.PHONY: demo demo-weights test check coverage format clean

demo: $(STAMP)
	$(BIN)/tercelet demo $(DEMO_ARGS)

# Makes the weights that the demo shows anew, from nothing: about 80 minutes on two cores.
demo-weights: $(STAMP)
	$(BIN)/python -m tercelet.export.demonstration.weights_recipe build/demo-weights

test: $(STAMP)
	$(BIN)/python -m pytest -m "not slow and not gpu" -n $(TEST_PROCESSES) --dist worksteal $(TEST_ARGS)

# The part that runs on the device has to be covered by its own tests.
coverage: $(STAMP)
	$(BIN)/python -m pytest -q -m "not slow and not gpu" -n $(TEST_PROCESSES) --cov --cov-report= tests/contract tests/runtime
	$(BIN)/coverage report --include='runtime/*' --fail-under=95

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "this checkout needs Python 3.11 or newer: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $(STAMP)

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
