# Only Python 3.11 or newer and make are needed. PYTHON names another interpreter:
# make install PYTHON=/opt/python3.12/bin/python3
SUITABLE = import sys; sys.exit(sys.version_info < (3, 11))
CANDIDATES = python3 python3.14 python3.13 python3.12 python3.11
PYTHON ?= $(shell for name in $(CANDIDATES); do \
	$$name -c '$(SUITABLE)' 2>/dev/null && echo $$name && break; done)
VENV_PYTHON = .venv/bin/python
INSTALLED = .venv/.installed
WORKERS ?= 3
SEEDS ?= 20

.PHONY: help install demo demo-reset stop test lint style types weaknesses audit bench bench-finance bench-search \
	bench-reconcile bench-outage bench-years drill drill-network check-deploy soak year
.DEFAULT_GOAL := help

help:
	@echo "make demo        a working back office with a world in it; Ctrl-C ends it"
	@echo "make demo-reset  the same, from the start: throws the demo's data away"
	@echo "make stop        stops the embedded PostgreSQL, where manage.py started it"
	@echo "make install     .venv with everything that is needed, and nothing else"
	@echo "make test        format, lint, types and the whole test suite"
	@echo "make lint        format, lint, types and known vulnerabilities alone"
	@echo "make audit       known vulnerabilities; fails where nobody can be asked for them"
	@echo "make drill       breaks everything that there is, 20 lives long, and recovers; takes minutes"
	@echo "make drill-network  web servers and workers on machines of their own, two cut off; needs root"
	@echo "make check-deploy  installs into a clean folder as the image does, and tries it"
	@echo "make soak        an hour of mixed load with faults: nothing lost, nothing grows"
	@echo "make year        a year of 1,000 customers, every row compared; takes many minutes"
	@echo "make bench       our speed beside dj-stripe's own; takes minutes"
	@echo "make bench-reconcile  a reconciliation of 100,000 subscriptions; takes many minutes"
	@echo "make bench-outage  the recovery of a day with 20,000 missed events; takes minutes"
	@echo "make bench-finance  finance's pages and files at 1,000,000 invoices; takes many minutes"
	@echo "make bench-years  every page, with 200,000 customers and 5,000,000 events; takes half an hour"
	@echo "make bench-search  how long searches take among 1,000,000 events, and a page of 10,000"

install: $(INSTALLED)

$(INSTALLED): requirements.txt
	@"$(PYTHON)" -c '$(SUITABLE)' 2>/dev/null || { \
		echo "Python 3.11 or newer was not found: install it, or name it: make PYTHON=/path/to/python3" >&2; \
		exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) cannot make virtual environments: install its venv module (on Debian: apt-get install python3-venv)" >&2; \
		exit 1; }
	@echo "Installing into .venv; this is done once."
	@"$(PYTHON)" -m venv .venv
	@$(VENV_PYTHON) -m pip install --quiet --disable-pip-version-check --no-input \
		--require-hashes --requirement requirements.txt
	@touch $@

demo: install
	@$(VENV_PYTHON) -m backoffice.demo

demo-reset: install
	@$(VENV_PYTHON) -m backoffice.demo --reset

stop: install
	@$(VENV_PYTHON) -m backoffice.postgres stop

lint: install
	@$(MAKE) --no-print-directory --jobs 2 style types weaknesses

style: install
	$(VENV_PYTHON) -m ruff format --check .
	$(VENV_PYTHON) -m ruff check .

types: install
	$(VENV_PYTHON) -m mypy

weaknesses: install
	$(VENV_PYTHON) -m bandit --quiet --configfile pyproject.toml --recursive backoffice billing manage.py
	$(VENV_PYTHON) -m tests.support.audit

audit: install
	AUDIT=required $(VENV_PYTHON) -m tests.support.audit

test: lint
	DJANGO_SETTINGS_MODULE=tests.settings $(VENV_PYTHON) -m pytest --numprocesses $(WORKERS)

bench: install
	$(VENV_PYTHON) -m tests.bench
	$(VENV_PYTHON) -m tests.bench.reconcile --customers 3000

bench-reconcile: install
	$(VENV_PYTHON) -m tests.bench.reconcile

bench-outage: install
	$(VENV_PYTHON) -m tests.bench.outage

bench-finance: install
	$(VENV_PYTHON) -m tests.bench.finance

bench-years: install
	$(VENV_PYTHON) -m tests.bench.years

bench-search: install
	$(VENV_PYTHON) -m tests.bench.search

# The drill never looks at them: manage.py wants to be told of some database.
drill: install
	@DJANGO_DEBUG=true DATABASE_URL=postgres://nobody@127.0.0.1:9/none \
		$(VENV_PYTHON) manage.py drill --seeds $(SEEDS)

drill-network: install
	@DJANGO_SETTINGS_MODULE=tests.settings $(VENV_PYTHON) -m tests.network

# DATABASE_URL names an empty database to try it on.
check-deploy: install
	@$(VENV_PYTHON) deploy/check.py

soak: install
	@$(VENV_PYTHON) -m tests.soak

year: install
	$(VENV_PYTHON) -m tests.year
