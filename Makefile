# Two commands: `make tune` runs the main job, `make test` checks everything. Each sets up .venv first.
#   make tune DATA=my.txt ARGS="--minutes 10"
PYTHON ?= python3
DATA ?= fables
ARGS ?=
BIN := .venv/bin
# An empty CONSTRAINTS installs the newest versions instead of the tested ones.
CONSTRAINTS ?= constraints.txt
PIP := $(BIN)/python -m pip install --disable-pip-version-check -q $(if $(CONSTRAINTS),-c $(CONSTRAINTS))

.PHONY: tune test test-slow test-crash test-fuzz notebooks clean

tune: .venv/installed
	$(BIN)/python -m minilm.tune $(DATA) $(ARGS)

test: .venv/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q -m "clock and not slow"
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m "not clock and not slow" -n logical --maxprocesses 4 --dist worksteal

# Kills, signals and damaged files, counted in CRASH and taken up there again; `make test-crash ARGS="--kills 1000"`.
CRASH ?= .crash
test-crash: .venv/installed-test
	OMP_NUM_THREADS=1 $(BIN)/python tests/crash.py $(CRASH) $(ARGS)
	$(BIN)/python -m pytest -q -m "slow or not slow" tests/test_crash_states.py

# Every parser of what comes from outside, for a minute each.
test-fuzz: .venv/installed-test
	MINILM_FUZZ_SECONDS=60 $(BIN)/python -m pytest -q -s tests/test_fuzz.py

test-slow: .venv/installed-test
	$(BIN)/python -m pytest -q -m slow

notebooks: .venv/installed
	$(PIP) -e ".[notebooks]"
	$(BIN)/jupyter lab notebooks

.venv/installed: setup.cfg constraints.txt
	$(PYTHON) -m venv .venv
	$(PIP) -e .
	touch $@

.venv/installed-test: .venv/installed
	$(PIP) -e ".[test,hf,dask]"
	touch $@

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
