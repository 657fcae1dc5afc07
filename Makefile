# `make` alone explains itself. Everything the targets need is installed or built on first use.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.ONESHELL:
MAKEFLAGS += --no-print-directory

# local: processes and namespaces of this machine. kind: a machine with Docker (not exercised by the project's own CI).
CLUSTER ?= local
PYTHON3 ?= python3
# More arguments for pytest, for example: make test-unit ARGS="-k canary"
ARGS ?=
LOCAL_CLUSTER := $(PYTHON3) local-cluster --cluster $(CLUSTER)
# Most of the time of the tests on clusters is waiting. Files in the order of tests/conftest.py; -n 0 is one by one.
TWO_WORKERS := -n 2 --dist loadfile --no-loadscope-reorder
# What `make generate` writes; nothing else lies in these folders.
GENERATED_CRDS := crds charts/slipway/files/crds
GENERATED_PAGES := docs/reference
# Used in recipes after `venv`: the environment stands then.
PYTHON = $$($(LOCAL_CLUSTER) venv-path)/bin/python

.PHONY: help demo up down env images sbom deploy test test-unit test-image test-integration test-scale test-e2e generate verify bench bench-analysis bench-data bench-registry bench-shadow bench-operator venv venv-path binaries lock

help: ## Show this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | while IFS=$$'\t' read -r name words; do printf '  make %-18s %s\n' "$$name" "$$words"; done

demo: ## Everything from nothing: cluster, images, chart, and the quickstart with a canary under traffic
	@$(LOCAL_CLUSTER) venv >/dev/null
	$(LOCAL_CLUSTER) up
	$(LOCAL_CLUSTER) deploy
	eval "$$($(LOCAL_CLUSTER) env)"
	exec $(PYTHON) examples/quickstart/demo.py

up: ## Bring the cluster up, or repair it; a few seconds if it stands
	@$(LOCAL_CLUSTER) up
down: ## Take the cluster away: processes, mounts, namespaces, files
	@$(LOCAL_CLUSTER) down
env: ## Print what a shell needs: eval "$(make -s env)"
	@$(LOCAL_CLUSTER) env
images: ## Build the three images and load them into the running cluster
	@$(LOCAL_CLUSTER) images
sbom: ## Write the SBOM of each of our images (CycloneDX) into build/sbom/; builds what is missing
	@$(LOCAL_CLUSTER) sbom
deploy: ## Install or upgrade the chart in the running cluster, with the images of these sources
	@$(LOCAL_CLUSTER) deploy

test: ## Every level of tests (but for the idle minute of test-scale); brings the cluster up and deploys
	@$(LOCAL_CLUSTER) venv >/dev/null
	$(LOCAL_CLUSTER) up
	$(LOCAL_CLUSTER) deploy
	eval "$$($(LOCAL_CLUSTER) env)"
	exec $(PYTHON) -m pytest $(TWO_WORKERS) --durations 25 -m "not idle" tests/unit tests/image tests/integration tests/scale tests/e2e $(ARGS)
test-unit: ## Unit tests: no network, no root, under a minute (all of them: ARGS="-m ''")
	@$(LOCAL_CLUSTER) venv >/dev/null
	exec $(PYTHON) -m pytest -n 2 -m "not thorough" tests/unit $(ARGS)
test-image: ## Tests of the programs inside the trainer image, as its own user; builds it; needs root
	@$(LOCAL_CLUSTER) venv >/dev/null
	exec $(PYTHON) -m pytest tests/image $(ARGS)
test-integration: ## Tests on a real control plane without a node; no root
	@$(LOCAL_CLUSTER) venv >/dev/null
	$(LOCAL_CLUSTER) binaries >/dev/null
	exec $(PYTHON) -m pytest tests/integration $(ARGS)
test-scale: ## The operator's memory and writes at 100 objects of each kind, against tests/scale/limits.json; about 4 minutes
	@$(LOCAL_CLUSTER) venv >/dev/null
	$(LOCAL_CLUSTER) binaries >/dev/null
	exec $(PYTHON) -m pytest tests/scale $(ARGS)
test-e2e: ## Tests on the cluster, with our images
	@$(LOCAL_CLUSTER) venv >/dev/null
	$(LOCAL_CLUSTER) up
	$(LOCAL_CLUSTER) deploy
	eval "$$($(LOCAL_CLUSTER) env)"
	exec $(PYTHON) -m pytest $(TWO_WORKERS) tests/e2e $(ARGS)

generate: ## Write crds/, the chart's copy of them and docs/reference/ from the types
	@$(LOCAL_CLUSTER) venv >/dev/null
	export PYTHONPATH=operator
	$(PYTHON) -m slipway.crdgen $(GENERATED_CRDS)
	$(PYTHON) -m slipway.docgen $(GENERATED_PAGES)
verify: ## Generated files up to date (writes nothing); lint, types, layers
	@$(LOCAL_CLUSTER) venv >/dev/null
	PYTHONPATH=operator $(PYTHON) -m slipway.crdgen --check $(GENERATED_CRDS)
	PYTHONPATH=operator $(PYTHON) -m slipway.docgen --check $(GENERATED_PAGES)
	new=$$(git ls-files --others --exclude-standard -- $(GENERATED_CRDS) $(GENERATED_PAGES))
	if [[ -n $$new ]]; then echo "git does not have these generated files yet: $$new. Add and commit them." >&2; exit 1; fi
	bin=$$($(LOCAL_CLUSTER) venv-path)/bin
	$$bin/ruff check .
	$$bin/ruff format --check .
	$$bin/mypy
	PYTHONPATH=operator:images/trainer:images/server $$bin/lint-imports
bench: ## The server beside what a user would write by hand, and beside bare inference
	@$(LOCAL_CLUSTER) venv >/dev/null
	PYTHONPATH=operator:images/server exec $(PYTHON) -m bench $(ARGS)
bench-analysis: ## Simulated rollouts: the analysis beside Flagger's and Argo Rollouts' rules, on the same streams; 6 minutes
	@$(LOCAL_CLUSTER) venv >/dev/null
	PYTHONPATH=operator exec $(PYTHON) -m bench.analysis $(ARGS)
bench-data: ## A look at data beside DVC, into docs/benchmarks-data.md; 25 minutes, 12 GB of disk
	@$(LOCAL_CLUSTER) venv >/dev/null
	PYTHONPATH=operator:images/trainer:local-cluster exec $(PYTHON) -m bench.data $(ARGS)
bench-registry: ## The registry at 10,000 versions beside MLflow, into docs/benchmarks-registry.md; 20 minutes, PostgreSQL
	@$(LOCAL_CLUSTER) venv >/dev/null
	$(LOCAL_CLUSTER) binaries >/dev/null
	PYTHONPATH=operator:images/trainer:local-cluster exec $(PYTHON) -m bench.registry $(ARGS)
bench-shadow: ## What a shadow costs clients, on the running cluster, into docs/benchmarks-shadow.md; 13 minutes
	@$(LOCAL_CLUSTER) venv >/dev/null
	eval "$$($(LOCAL_CLUSTER) env)"
	PYTHONPATH=operator:local-cluster exec $(PYTHON) -m bench.shadow $(ARGS)
bench-operator: ## The operator by its number of objects, into docs/benchmarks-operator.md; 20 minutes
	@$(LOCAL_CLUSTER) venv >/dev/null
	$(LOCAL_CLUSTER) binaries >/dev/null
	PYTHONPATH=operator:local-cluster exec $(PYTHON) -m bench.operator $(ARGS)

venv: ## Make the Python environment for development; print its path
	@$(LOCAL_CLUSTER) venv
venv-path: ## Print where that environment is
	@$(LOCAL_CLUSTER) venv-path
binaries: ## Build etcd, kube-apiserver, kube-controller-manager, kubectl; print their directory
	@$(LOCAL_CLUSTER) binaries
lock: ## Resolve images/*/requirements*.in and requirements/dev.in into requirements/*.txt, with hashes
	@$(LOCAL_CLUSTER) lock
