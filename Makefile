# `make demo` and `make test` are all a newcomer needs; the rest is for daily work.
ACCEL ?= cpu
LIFT := .venv/bin/lift
.DEFAULT_GOAL := help
# Containers often set it. Every process would then compile every module that it imports, which takes seconds.
unexport PYTHONDONTWRITEBYTECODE
.PHONY: help setup demo test unit integration e2e cluster bench chaos lint up down docs lock

help:  ## this list
	@grep -E '^[a-z0-9]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9]+):.*## /  make \1|/' | column -t -s '|'

setup:  ## fill .venv from the lock (ACCEL=cpu or cuda)
	@requirements/install.sh $(ACCEL)

demo: setup  ## start the stack, drop the sample document, watch it become an adapter, ask it
	@$(LIFT) demo

up: setup  ## start the embedded stack
	@$(LIFT) up

down:  ## stop the embedded stack; no process stays
	@if [ -x $(LIFT) ]; then $(LIFT) down; fi

test: setup lint  ## every tier that this machine can run
	.venv/bin/python -m pytest -n auto tests/unit
	.venv/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder tests/gpu tests/integration
	.venv/bin/python -m pytest tests/e2e

unit: setup  ## unit tests only
	.venv/bin/python -m pytest -n auto tests/unit

integration: setup  ## real PostgreSQL and S3
	.venv/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder tests/integration

e2e: setup  ## the whole stack
	.venv/bin/python -m pytest tests/e2e

cluster: setup  ## two machines in network namespaces, one is cut off while it trains (as root)
	LIFT_TEST_CLUSTER=1 .venv/bin/python -m pytest tests/integration/cluster

bench: setup  ## measure; writes docs/benchmarks
	@$(LIFT) up
	@$(LIFT) bench orchestration
	@$(LIFT) bench overlap
	@$(LIFT) bench serving
	@$(LIFT) bench registry
	@$(LIFT) bench forgetting

chaos: setup  ## kill every kind of process while documents become adapters; in a stack of its own
	@LIFT_HOME=$${LIFT_HOME:-.lift-chaos} $(LIFT) bench chaos

lint: setup  ## ruff, mypy strict, one-way imports
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

docs: setup  ## write docs/cli.md anew from the commands' own help
	.venv/bin/python docs/generate_cli.py > docs/.cli.md
	@mv docs/.cli.md docs/cli.md

lock: setup  ## resolve requirements/*.in anew
	cd requirements && ../.venv/bin/uv pip compile cpu.in --universal --python-version 3.11 \
	  --override leave-out.txt --generate-hashes --no-annotate --no-header -o cpu.lock
	cd requirements && ../.venv/bin/uv pip compile cuda.in --universal --python-version 3.11 \
	  --override leave-out-cuda.txt --generate-hashes --no-annotate --no-header -o cuda.lock
