# `make demo` and `make test` work from nothing but Python >= 3.11 and the network: each sets up .venv and then runs.
# `make test PYTHON=python3.12` does it with that one, and sets .venv up anew if it is of another version.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-slow test-long smoke check format notebooks clean

ifneq ($(origin PYTHON),file)
VERSION := import sys; print(sys.version_info[:2])
ifneq ($(shell $(BIN)/python -c '$(VERSION)' 2>/dev/null),$(shell $(PYTHON) -c '$(VERSION)' 2>/dev/null))
.PHONY: $(VENV)/installed
ANEW := of another version
endif
endif

demo: $(VENV)/installed
	$(BIN)/python -m experiments.mnist_doubling --preset cpu

# Two files at a time, since compiling, which takes most of the time, uses one core. `make test` is what one runs while
# working, `make test-slow` (several devices, several processes, notebooks) comes with it before a change lands, and
# `make test-long` (whole experiments, the tutorial) before a release.
test: $(VENV)/installed-dev
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile -m "not slow and not long"

test-slow: $(VENV)/installed-dev
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile -m "slow and not long"

test-long: $(VENV)/installed-dev
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile -m long

# A training with a pool that is resumed from its checkpoint, and an evaluation: two minutes, for another Python or JAX.
smoke: $(VENV)/installed
	.ci/smoke $(BIN)/python

check: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

format: $(VENV)/installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

notebooks: $(VENV)/installed-dev
	$(BIN)/python kaggle/make_notebooks.py

clean:
	rm -rf $(VENV)

# The stamps are touched last, so an installation that was interrupted is taken up again. An environment without a working
# pip is made anew.
$(VENV)/installed: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "vnca_jax needs Python 3.11 or newer, and $(PYTHON) is missing or older; name another one: make PYTHON=python3.12" >&2; \
	  exit 1; }
	@test -z "$(ANEW)" && $(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -e .
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -e '.[dev]'
	@touch $@
