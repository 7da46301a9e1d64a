# Everything a person or the continuous integration runs. `make` alone lists it.

.NOTPARALLEL:
.DEFAULT_GOAL := help
SHELL := /bin/bash

PYTHON := .venv/bin/python
PREFIX := /opt/lbctl
UNIT := /etc/systemd/system/lbctl.service
UV ?= uv
# The lab's node for `make lab-shell`
NODE ?= director
# More options for pytest, as in: make test ARGS='-k drain'
ARGS ?=

TESTS := tests/lint tests/unit tests/fuzz tests/packets tests/otherkernel tests/netns tests/acceptance

.PHONY: help root deps deps-lab deps-kernel venv lock check test long conformance fuzz demo demo-life chaos bench curves lab-up lab-down lab-shell install uninstall clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z -]+:.*## / { sub(" .*", "", $$1); printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

root:
	@[ "$$(id -u)" -eq 0 ] || { echo "make $(MAKECMDGOALS): only root can do that"; \
	    echo "  hint: sudo make $(MAKECMDGOALS)"; exit 1; } >&2

# -- setting up -------------------------------------------------------------------------------------------------------

deps: ## Debian packages that lbctl needs; starts and enables no service
	@deploy/deps.sh runtime

deps-lab: ## Debian packages that only demo, tests and bench need; likewise
	@deploy/deps.sh lab

deps-kernel: ## Debian's stock kernel, for tests in an emulated machine; unpacked into the cache directory, not installed
	@deploy/deps.sh kernel

venv: ## isolated environment for development in .venv, from the locks
	@deploy/venv.sh .venv dev.txt --editable

lock: ## resolve the dependencies anew (needs uv: make lock UV=/path/to/uv)
	@deploy/locks/lock.sh $(UV)

# -- showing that it works --------------------------------------------------------------------------------------------

check: venv ## ruff, mypy, import and size rules; not root
	@$(PYTHON) -m pytest tests/lint $(ARGS)

test: root deps deps-lab deps-kernel venv ## the whole test suite, as continuous integration runs it
	@tests/suite.sh $(PYTHON) --durations=15 $(ARGS)

long: root deps deps-lab deps-kernel venv ## soaks, big fuzzing, long fault runs
	@$(PYTHON) -m pytest $(TESTS) -m long --durations=0 $(ARGS)

conformance: root deps deps-lab venv ## every packet case, program and oracle side by side (ARGS='--packets 200000')
	@$(PYTHON) -m tests.packets $(ARGS)

fuzz: venv ## a million inputs that are nearly right to every parser; not root (ARGS='--only config --inputs 5000')
	@$(PYTHON) -m tests.fuzz $(ARGS)

demo: root deps deps-lab venv ## real archives behind one address; figures in build/demo.json
	@mkdir -p build
	@$(PYTHON) -m lbctl.lab.demo

demo-life: root deps deps-lab venv ## the life of a connection, rule by rule; figures in build/demo-life.json
	@mkdir -p build
	@$(PYTHON) -m lbctl.lab.demo life

chaos: root deps deps-lab venv ## a seeded fault run: 300 faults and changes under 550 connections (ARGS='--seed 7')
	@mkdir -p build
	@$(PYTHON) -m lbctl.lab.chaos $(ARGS)

bench: root deps deps-lab venv ## ns per packet by path; figures in build/bench.json
	@mkdir -p build
	@$(PYTHON) -m tests.bench

curves: root deps deps-lab venv ## cost against backends, services and flows; plot in build/curves.svg
	@mkdir -p build
	@$(PYTHON) -m tests.bench.curves

lab-up lab-down: root deps deps-lab venv ## a network of namespaces to play in; it prints what to try next
	@.venv/bin/lbctl lab $(@:lab-%=%)

lab-shell: root deps deps-lab venv ## a shell on a node of it: make lab-shell NODE=client1
	@.venv/bin/lbctl lab shell $(NODE)

# -- using it on this machine -----------------------------------------------------------------------------------------

install: root deps ## lbctl in /opt/lbctl and a systemd unit, neither enabled nor started
	@deploy/install.sh install $(PREFIX) $(UNIT)

uninstall: root ## remove what `make install` made; keeps /etc/lbctl and /var/lib/lbctl
	@deploy/install.sh uninstall $(PREFIX) $(UNIT)

clean: ## remove what was built here
	@rm -rf build .venv *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find lbctl tests -name __pycache__ -type d -prune -exec rm -rf {} +
