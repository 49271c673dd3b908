# Needs Python >= 3.11 and make; everything else is installed into .venv. `make` alone lists what there is.

SHELL := /bin/sh
MAKEFLAGS += --no-print-directory
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help run test suite fuzz check bench format lock clean
.DELETE_ON_ERROR:
.PRECIOUS: .venv-%/.installed
.NOTPARALLEL:

help: ## List the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /	/' | expand -t 10

run: .venv/.installed ## Import end to end, with stand-ins or, given credentials in .env, for real (FEED=bundle.json: that bundle)
	@$(BIN)/python -m local.demo

test: check suite ## Every check, then the tests on each Python of 3.13, 3.12, 3.11 found (the slow ones on the first only)
	@set -e; for version in $$(sh tests/interpreters.sh | sed 1d | cut -d ' ' -f 1); do \
	    $(MAKE) suite-$$version; \
	done
	@set -e; for release in $(PYCTI_RELEASES); do $(MAKE) pycti-suite-$$release; done

suite: .venv/.installed
	@echo "== All tests, with coverage, on $$($(BIN)/python --version)"
	@$(BIN)/python -m pytest --cov --cov-report=term

# Where a test does not say which release of OpenCTI it wants, each suite has another.
suite-3.12: export OPENCTI_RELEASE := 6.8.10
suite-3.11: export OPENCTI_RELEASE := 6.3
suite-%: .venv-%/.installed
	@echo "== Tests, without the slow ones, on $$(.venv-$*/bin/python --version), OpenCTI $${OPENCTI_RELEASE:-7.26}"
	@.venv-$*/bin/python -m pytest -m "not slow"

# The pinned pycti is part of the suites above; these are the oldest and a middle one that the connector works with.
PYCTI_RELEASES := 6.8.10 7.260318.0

pycti-suite-%: .venv-pycti-%/.installed
	@echo "== Tests of what is said to OpenCTI, with pycti $*"
	@if [ "$$CI" != true ] && ! .venv-pycti-$*/bin/python -c "import magic" 2>/dev/null; then \
	    echo "   skipped: this release of pycti needs libmagic (Debian, Ubuntu: apt install libmagic1)"; \
	else \
	    .venv-pycti-$*/bin/python -m pytest -m "not slow" tests/e2e tests/local/test_pycti_calls.py \
	        tests/test_opencti.py tests/test_pycti_parts.py tests/test_stix.py tests/test_references.py; \
	fi

fuzz: .venv-fuzz/.installed ## CASES=200000 mutated exports through the connector; what it finds lies in .fuzz, for fuzz/corpus
	@mkdir -p .fuzz/corpus
	@.venv-fuzz/bin/python -m fuzz.export -runs=$(or $(CASES),200000) -max_len=25000 -timeout=20 -rss_limit_mb=1024 \
	    -artifact_prefix=.fuzz/ -print_final_stats=1 .fuzz/corpus fuzz/corpus

check: .venv/.installed ## Lint, formatting, types, shell scripts, Terraform's formatting (where terraform is installed)
	@echo "== ruff"
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check
	@echo "== mypy"
	@$(BIN)/mypy --no-error-summary
	@echo "== shellcheck"
	@find . -name '.?*' ! -name .ci -prune -o \( -name '*.sh' -o -path './.ci/run' \) -print | xargs $(BIN)/shellcheck
	@if [ -d terraform ] && command -v terraform >/dev/null; then \
	    echo "== terraform fmt"; terraform fmt -check -diff -recursive terraform; \
	fi

bench: .venv/.installed .venv-bench/.installed ## Speed and memory beside the usual connector's (BENCH=full: a million indicators, half an hour)
	@BENCH_PLOTTER=.venv-bench/bin/python $(BIN)/python -m bench

format: .venv/.installed ## Format Python and Terraform sources
	@$(BIN)/ruff check --quiet --fix-only
	@$(BIN)/ruff format
	@if [ -d terraform ] && command -v terraform >/dev/null; then terraform fmt -recursive terraform; fi

# Extras stay in the pins: an older pip, such as that of Python 3.11, calls `name[extra]` unpinned otherwise.
LOCK := $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-strip-extras --python-version 3.11 \
    --custom-compile-command "make lock"

lock: .venv/.installed ## Pin, with hashes, what requirements.in and requirements-dev.in ask for
	@$(LOCK) requirements.in -o requirements.txt
	@$(LOCK) -c requirements.txt requirements-dev.in -o requirements-dev.txt
	@$(LOCK) bench/requirements.in -o bench/requirements.txt
	@$(LOCK) -c requirements.txt fuzz/requirements.in -o fuzz/requirements.txt
	@set -e; for release in $(PYCTI_RELEASES); do \
	    sed "s/^pycti==.*/pycti==$$release/; /^-r /d" requirements.in requirements-dev.in \
	        | $(LOCK) - -o tests/pycti/$$release.txt; \
	done

clean: ## Remove virtual environments, caches and local state
	rm -rf .venv .venv-* bench/.feeds .fuzz .state .coverage* .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# One environment for daily work, of the preferred interpreter, and one for each other version the tests run on.
.venv/.installed: requirements-dev.txt
	@$(call install,.venv,1p,requirements-dev.txt)

.venv-fuzz/.installed: fuzz/requirements.txt
	@$(call install,.venv-fuzz,1p,fuzz/requirements.txt)

.venv-bench/.installed: bench/requirements.txt
	@$(call install,.venv-bench,1p,bench/requirements.txt)

.venv-pycti-%/.installed: tests/pycti/%.txt
	@$(call install,.venv-pycti-$*,1p,tests/pycti/$*.txt)

.venv-%/.installed: requirements-dev.txt
	@$(call install,.venv-$*,/^$* /p,requirements-dev.txt)

# $(1) the environment's folder, $(2) the line of interpreters.sh, as sed selects it, $(3) the lock
define install
python=$$(sh tests/interpreters.sh | sed -n '$(2)' | cut -d ' ' -f 2-); \
[ -n "$$python" ] || { echo "No Python >= 3.11 found that can make virtual environments. Install one" \
    "(Debian, Ubuntu: apt install python3 python3-venv), then try again." >&2; exit 1; }; \
echo "== Installing $(3) into $(1) ($$("$$python" --version), a minute or two, once)"; \
"$$python" -m venv $(1) && $(1)/bin/python -m pip install --quiet --require-hashes -r $(3) && \
touch $(1)/.installed
endef
