# The developer's habits. On a machine with Python 3.11, git and make, `make demo` and `make test` do all the set-up.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
RUN ?= runs/demo

.PHONY: demo example test lint format types imports unit bench profiles bench-keys bench-power clean

demo: $(VENV)/.installed
	$(BIN)/taggant demo -o $(RUN)

example: $(VENV)/.dev
	PATH="$(abspath $(BIN)):$$PATH" docs/example/make.sh runs/example

test: lint types imports unit

unit: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(PYTEST)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/.dev
	$(BIN)/mypy

imports: $(VENV)/.dev
	$(BIN)/lint-imports

bench: $(VENV)/.dev
	for one in startup hot_paths peers text reading_speed scaling speed_page; do $(BIN)/python -m benchmarks.$$one || exit 1; done

profiles: $(VENV)/.dev
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m benchmarks.profiles

bench-keys: $(VENV)/.dev
	$(BIN)/python -m benchmarks.ten_keys

bench-power: $(VENV)/.dev
	$(BIN)/python -m benchmarks.strong_students -o runs/strong
	for one in power reading_weights excess_weights validity served_student; do $(BIN)/python -m benchmarks.$$one runs/strong || exit 1; done

$(VENV)/.venv:
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.installed: $(VENV)/.venv pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/.dev: $(VENV)/.venv pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt -e '.[dev]'
	touch $(VENV)/.installed $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
