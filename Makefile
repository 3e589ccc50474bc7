# Two commands do everything: `make book` and `make test`. Both set up .venv first if it is missing or out of date.
PROFILE ?= digits
PYTHON ?= python3
VENV ?= .venv

# Members and tests run in parallel processes; more threads in each would only slow them down.
export OMP_NUM_THREADS = 1

# The tests of a file stay in one process, which makes what they share once.
PARALLEL = -n 2 --dist loadfile --no-loadscope-reorder

# Tests of the rooms whose numbers hang on the processor's kernels, and of whole studies.
COMPUTING = $(addprefix tests/, spectrum perturbation landscape vae uses companion/test_study.py companion/test_claims.py)

.PHONY: book test test-slow test-paths notebooks lint links clean help

book: $(VENV)/.installed ## train, measure, execute the chapters, build the book (PROFILE=quick, digits, mnist or cells)
	@$(VENV)/bin/vaept reproduce --profile $(PROFILE) $(if $(EVERYTHING),--everything) $(if $(PDF),--pdf)

test: lint ## style, types, tests, and the stored notebooks
	@$(VENV)/bin/python -m pytest $(PARALLEL) -m "not slow"
	@$(VENV)/bin/python -m pytest -n 2 --dist loadfile -p no:randomly -W default --nbval-lax notebooks

test-slow: $(VENV)/.installed ## tests that take longest: whole studies and books, kills, a cluster
	@$(VENV)/bin/python -m pytest $(PARALLEL) -m slow

test-paths: $(VENV)/.installed ## the tests of what computes, once more as an older processor would run them
	@$(VENV)/bin/python tools/older.py -m pytest $(PARALLEL) -m "not slow" $(COMPUTING)

lint: $(VENV)/.installed ## style, types, and which room may import which
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/lint-imports --no-cache
	@$(VENV)/bin/mypy

notebooks: $(VENV)/.installed ## store the outputs of the quick profile in the notebooks, before committing them
	@$(VENV)/bin/python tools/store_outputs.py

links: $(VENV)/.installed ## ask other hosts whether the links to them from a built book lead somewhere (PROFILE=…)
	@$(VENV)/bin/jupyter-book build _build/$(PROFILE)/source --path-output _build/links \
		--toc "$(CURDIR)/_build/$(PROFILE)/source/book/_toc.yml" --builder linkcheck

clean: ## remove results and books; data in the cache and .venv stay
	rm -rf _build

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-12s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(VENV)/.installed: requirements.lock pyproject.toml tools/install.py
	@$(PYTHON) tools/install.py $(VENV)
