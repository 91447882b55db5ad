# Everything that is done with this repository by hand. Needed: make, and Python 3.11 or later;
# all else goes into $(VENV), from the hash-locked lists in requirements/ (with uv where it is
# installed, else with venv and pip). ARGS are handed on: make demo ARGS=--serve

VENV ?= .venv
JOBS ?= 2
ARGS ?=
PYTHON ?= $(shell for name in python3.11 python3.12 python3.13 python3 python; do \
	"$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$name" && break; \
	done)
UV := $(shell command -v uv 2>/dev/null)

bin := $(VENV)/bin
pytest := $(bin)/python -m pytest
locked := --require-hashes --only-binary :all:
from_source := --require-hashes --no-deps --no-build-isolation
itself := --no-index --no-deps --no-build-isolation --editable .

ifneq ($(UV),)
make_venv = $(UV) venv --quiet --python "$(PYTHON)" $(VENV)
install = $(UV) pip install --quiet --python $(bin)/python
else
make_venv = "$(PYTHON)" -m venv $(VENV)
install = $(bin)/python -m pip install --quiet --disable-pip-version-check
endif
compile = $(or $(UV),$(bin)/uv) pip compile --quiet --universal --python-version 3.11 \
	--generate-hashes --custom-compile-command "make lock" $(ARGS)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test check format bench soak browser likeness lock clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.runtime ## Send two broadcasts into a pretend internet and see what comes back
	$(bin)/goodstanding demo $(ARGS)

test: $(VENV)/.dev browser ## Run every test on SQLite, then those that touch a database on PostgreSQL
	$(pytest) -n $(JOBS) --dist loadfile --database sqlite $(ARGS)
	$(pytest) -n $(JOBS) --dist loadfile --database postgresql -m "database and not soak" $(ARGS)

check: $(VENV)/.dev ## Check style, types and the order of imports
	$(bin)/ruff check .
	$(bin)/ruff format --check .
	GOODSTANDING_HOME=.mypy_cache/home $(bin)/mypy
	$(bin)/lint-imports

format: $(VENV)/.dev ## Put the code into its one style
	$(bin)/ruff check --fix .
	$(bin)/ruff format .

bench: $(VENV)/.dev ## Measure speed against the yardsticks
	$(bin)/python -m benchmarks$(if $(wildcard benchmarks/run.py),.run) $(ARGS)

soak: $(VENV)/.dev ## Run the long tests, on SQLite and on PostgreSQL (SOAK=60m: an hour of everything at once)
	$(pytest) --database sqlite -m soak $(ARGS)
	$(pytest) --database postgresql -m soak $(ARGS)

likeness: $(VENV)/.dev ## Learn anew what answers are like, from those of the rules and the tests
	$(bin)/python -m tests.bounces.learning

lock: $(if $(UV),,$(VENV)/.dev) ## Lock the dependencies anew (ARGS=--upgrade for newer ones)
	$(compile) pyproject.toml --group build --output-file requirements/runtime.txt
	$(compile) --group dev --constraint requirements/runtime.txt --output-file requirements/dev.txt
	$(compile) --group source --no-deps --output-file requirements/source.txt

clean: ## Delete what was installed, built or cached here (never what was sent or heard)
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find src tests -name __pycache__ -prune -exec rm -rf {} +

# The tests of web pages need a browser. Without one they are skipped, and say so.
browser:
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || { \
		[ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
		echo "Installing Chromium for the tests of web pages" && \
		export DEBIAN_FRONTEND=noninteractive && \
		apt-get update -qq >/dev/null 2>&1 && apt-get install -y -qq chromium >/dev/null 2>&1; \
	} || true

$(bin)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or later is needed, and none was found" >&2; exit 1; }
	@rm -rf $(VENV)
	@$(make_venv) || { rm -rf $(VENV); exit 1; }

$(VENV)/.runtime: requirements/runtime.txt pyproject.toml | $(bin)/python
	@echo "Installing what Goodstanding needs into $(VENV)"
	@$(install) $(locked) --requirement requirements/runtime.txt
	@$(install) $(itself)
	@touch $@

$(VENV)/.dev: requirements/dev.txt requirements/source.txt $(VENV)/.runtime
	@echo "Installing what its tests and checks need into $(VENV)"
	@$(install) $(locked) --requirement requirements/dev.txt
	$(install) $(from_source) --requirement requirements/source.txt
	@touch $@
