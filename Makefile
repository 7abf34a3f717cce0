# make demo   the main job on the bundled sample, in the app (plain lines where there is no terminal)
# make azure-demo   the app on a loopback Azure, with no subscription and no cost
# make test   every test but the slow ones; make test-slow runs those: a real model, a few minutes

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: install demo run azurite azure-demo lint format test test-slow test-all screenshots bench lock clean

$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("finetui needs Python 3.11 or newer; set PYTHON=python3.12") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

install: $(INSTALLED)

demo: $(INSTALLED)
	$(BIN)/finetui models fetch smollm2-135m-instruct >/dev/null
	$(BIN)/finetui demo

run: $(INSTALLED)
	$(BIN)/finetui

# The blob store of the loopback Azure in tests/azure_emulator; needs node.
AZURE := tests/azure_emulator
AZURITE := $(AZURE)/node_modules/.installed

$(AZURITE): $(AZURE)/package.json $(AZURE)/package-lock.json
	npm ci --prefix $(AZURE) --ignore-scripts --no-audit --no-fund
	@touch $@

azurite: $(AZURITE)

azure-demo: $(INSTALLED) $(AZURITE)
	$(BIN)/python -m tests.azure_emulator

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(INSTALLED)
	$(BIN)/python -P -m core.reference README.md
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: $(INSTALLED)
	$(BIN)/python -m pytest -n 2 -m "not slow"

test-slow: $(INSTALLED)
	$(BIN)/python -m pytest -n 2 --dist loadfile -m slow

test-all: test test-slow

screenshots: $(INSTALLED)
	$(BIN)/python screenshots/make.py
	$(BIN)/python screenshots/make_azure.py

bench: $(INSTALLED)
	$(BIN)/python -m tests.benchmarks

lock:
	$(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --quiet --upgrade --editable '.[dev]'
	(sed -n '/^#/p' requirements.lock; build/lock/bin/python -m pip freeze --exclude-editable | sed 's/+cpu//') > build/requirements.lock
	mv build/requirements.lock requirements.lock
	rm -rf build/lock

clean:
	rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
