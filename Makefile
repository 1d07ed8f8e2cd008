# Every target sets up what it needs. Paths are relative throughout: the checkout's own path may
# hold spaces, and GNU make can't quote those.

SHELL := /bin/sh
PYTHON_CANDIDATES := python3.13 python3.12 python3.11 python3 python
USABLE := import sys, ensurepip, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))

# A Python that may not keep its bytecode, or that looks elsewhere first, is another environment.
unexport PYTHONDONTWRITEBYTECODE PYTHONPATH PYTHONHOME

.PHONY: help env cycle test conformance crash-matrix lint up bench bench-peers lock clean year scale-test lint-deploy replay-check healing dashboard reference pictures
.DEFAULT_GOAL := help

help:
	@echo 'make cycle   one daily cycle on the sample, through the embedded paper venue'
	@echo 'make test    the whole test suite'
	@echo 'make conformance   the paper venue against clients that others wrote, fetched for it'
	@echo 'make crash-matrix  the trading process killed at every boundary; CRASH="--every 10" for less'
	@echo 'make healing  the agent in 2008 and 2020, and its cycles killed at every boundary'
	@echo 'make lint-deploy   other people'\''s linters on deploy/, fetched for it'
	@echo 'make scale-test    PostgreSQL, Redis and Celery workers, which are killed at several places'
	@echo 'make year    250 sessions of the sample: P&L to the cent, slippage before and after calibration'
	@echo 'make replay-check  twenty sessions by replay and by daily runs: the same history, row for row'
	@echo 'make dashboard   every page of the dashboard in Chromium, in all views, on a year of fills'
	@echo 'make up      Dagster UI, daemon, dashboard and paper venue, until Ctrl-C'
	@echo 'make bench   the benchmarks beside their bars; BENCH="--only P2,P4" for less'
	@echo 'make bench-peers   features against polars, pandas and qlib, installed aside'
	@echo 'make lint    style, format, types, the rules of the architecture, copied code'
	@echo 'make reference   docs/settings.md anew from the settings'
	@echo 'make pictures   README'\''s pictures anew, of a desk that trades ten sessions for them'
	@echo 'make env     only the environment (.venv) that all of these set up when it is missing'
	@echo 'make lock    requirements.lock anew from pyproject.toml'
	@echo 'make clean   removes the desk of this checkout, ledger and models too; asks first'

# PYTHON=... names the interpreter; else the first of the candidates that runs and will do is taken.
env:
	@.venv/bin/python bootstrap.py --check 2>/dev/null && exit 0; \
	for python in $(or $(PYTHON),$(PYTHON_CANDIDATES)); do \
	    "$$python" -c '$(USABLE)' 2>/dev/null || continue; \
	    exec "$$python" bootstrap.py; \
	done; \
	echo 'No usable Python: 3.11, 3.12 or 3.13 with its venv module is needed' \
	    '(tried: $(or $(PYTHON),$(PYTHON_CANDIDATES))).' >&2; \
	echo 'Install one (on Debian and Ubuntu: apt install python3 python3-venv), or name one:' \
	    'make env PYTHON=python3.12' >&2; \
	exit 1

cycle: env
	@.venv/bin/hydra cycle

test: env
	@.venv/bin/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

conformance: env
	@CONFORMANCE=1 .venv/bin/python -m pytest hydra_pipelines_tests/conformance

year: env
	@FULL_YEAR=1 .venv/bin/python -m pytest hydra_pipelines_tests/monitoring/test_performance.py \
	    hydra_pipelines_tests/scenarios/test_slippage_year.py

lint-deploy: env
	@LINT_DEPLOY=1 .venv/bin/python -m pytest hydra_pipelines_tests/scale/test_linters.py

scale-test: env
	@FULL_SCALE=1 .venv/bin/python -m pytest hydra_pipelines_tests/scale

replay-check: env
	@FULL_REPLAY=1 .venv/bin/python -m pytest \
	    hydra_pipelines_tests/scenarios/test_replay.py

healing: env
	@HEALING=1 .venv/bin/python -m pytest -s hydra_pipelines_tests/scenarios/test_self_healing.py \
	    hydra_pipelines_tests/scenarios/test_killed_healing.py

# CRASH: options of the matrix, for example "--every 10 --schedules 50", or "--replay 37".
crash-matrix: env
	@.venv/bin/python -m hydra_pipelines_tests.scenarios.crashes.matrix $(CRASH)

dashboard: env
	@FULL_DASHBOARD=1 FULL_YEAR=1 .venv/bin/python -m pytest hydra_pipelines_tests/browser

lint: env
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy
	@.venv/bin/python -m pytest -q -p no:xdist hydra_pipelines_tests/test_architecture.py

# UP: options, for example "--port 3001" or "--no-dashboard".
up: env
	@exec .venv/bin/hydra up $(UP)

# BENCH: options, for example "--only P2,P4 --repeat 3", "--quick" or "--document".
bench: env
	@.venv/bin/python -m benchmarks.run $(BENCH)

bench-peers: env
	@.venv/bin/python -m benchmarks.run --peers $(BENCH)

reference: env
	@.venv/bin/python -m hydra_pipelines.settings.reference > docs/settings.md

pictures: env
	@.venv/bin/python -m docs.pictures

lock: env
	@.venv/bin/python -m pip install --quiet uv
	@.venv/bin/uv pip compile pyproject.toml --extra dev --extra scale --quiet --no-config --no-header \
	    --universal --python-version 3.11 --fork-strategy fewest --no-build --generate-hashes \
	    --output-file requirements.lock

clean:
	@echo 'This removes the ledger, models, lake, and runs under data/ and mlruns/ of this checkout.'
	@if [ "$(YES)" != 1 ]; then \
	    printf 'Go on? [y/N] '; read answer && [ "$$answer" = y ] || \
	        { echo 'Nothing was removed (YES=1 answers in advance).'; exit 1; }; \
	fi
	@find data -mindepth 1 -maxdepth 1 ! -name sample ! -name README.md -exec rm -rf {} +
	@find mlruns -mindepth 1 -maxdepth 1 ! -name README.md -exec rm -rf {} +
