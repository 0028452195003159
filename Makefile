# `make demo` and `make test` work from nothing but Python >= 3.11 and the network: each sets up .venv and then runs.
# `make test PYTHON=python3.12` does it with that one, and sets .venv up anew if it is of another version.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-slow test-long smoke check format notebooks docs web web-serve web-gif test-web clean

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

test-slow: $(VENV)/installed-dev $(VENV)/libtpu
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

# The documentation, as a site in build/docs/; a warning is an error. Open build/docs/index.html.
docs: $(VENV)/installed-docs
	$(BIN)/python -m sphinx -q -W --keep-going -E docs build/docs
	@echo "Open build/docs/index.html"

# The page of web/, built into site/ from the trained models that come along; it needs Node.js 20 or newer too.
PORT ?= 8000
EXPORT := $(BIN)/python -m vnca_jax.onnx
CHROMIUM = $(shell command -v chromium || command -v google-chrome)

web: $(VENV)/installed-web web/node_modules/installed
	$(EXPORT) --ckpt pretrained:mnist_nondoubling_small --out site/model/nondoubling
	$(EXPORT) --ckpt pretrained:mnist_doubling_small --out site/model/doubling
	$(BIN)/python web/digits.py --manifest site/model/nondoubling/manifest.json --out site/model/digits.json
	cd web && npm run --silent check && npm run --silent build

web-serve:
	@test -f site/index.html || { echo "There is no page in site/ yet; build it first: make web" >&2; exit 1; }
	node web/serve.mjs site $(PORT)

# In a real browser, with screenshots in web/shots/, and the export against our own arrays.
test-web: web
	$(BIN)/python -m pytest tests/test_onnx.py
	$(BIN)/python web/test/expected.py --site site --out web/shots/expected.json
	@test -n "$(CHROMIUM)" || { apt-get update -qq && apt-get install -qq --no-install-recommends chromium; }
	cd web && CHROMIUM=$(CHROMIUM) node --test --test-reporter spec test/

web-gif: web
	cd web && CHROMIUM=$(CHROMIUM) node record.mjs shots/frames
	$(BIN)/python web/gif.py --frames web/shots/frames --out docs/page.gif

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
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -e '.[dev,docs]'
	@touch $@

# A TPU's compiler, in a folder that only its test looks into. Where it cannot be installed, that test is skipped.
$(VENV)/libtpu: pyproject.toml $(VENV)/installed-dev
	@rm -rf $@
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target $@ \
	  "$$($(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["tpu-compile"])')" \
	  || echo "libtpu cannot be installed here, so nothing is compiled for a TPU" >&2

$(VENV)/installed-docs: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -e '.[docs]'
	@touch $@

$(VENV)/installed-web: $(VENV)/installed-dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -e '.[dev,docs,web]'
	@touch $@

web/node_modules/installed: web/package-lock.json
	@command -v npm >/dev/null || { echo "The page is built with Node.js 20 or newer and npm, which are missing here." >&2; exit 1; }
	cd web && npm ci --no-audit --no-fund --loglevel error
	@touch $@
