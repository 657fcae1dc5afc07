# `make` alone explains itself. Everything the targets need is installed or built on first use.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.ONESHELL:
MAKEFLAGS += --no-print-directory

CLUSTER ?= local
PYTHON3 ?= python3
LOCAL_CLUSTER := $(PYTHON3) local-cluster

.PHONY: help
help: ## Show this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | while IFS=$$'\t' read -r name words; do printf '  make %-18s %s\n' "$$name" "$$words"; done

.PHONY: venv venv-path binaries scale-binaries lock
venv: ## Make the Python environment for development; print its path
	@$(LOCAL_CLUSTER) venv
venv-path: ## Print where that environment is
	@$(LOCAL_CLUSTER) venv-path
binaries: ## Build etcd, kube-apiserver, kube-controller-manager, kubectl; print their directory
	@$(LOCAL_CLUSTER) binaries
scale-binaries: ## The same, and kube-scheduler and kwok
	@$(LOCAL_CLUSTER) scale-binaries
lock: ## Resolve images/*/requirements.in and requirements/dev.in into requirements/*.txt, with hashes
	@$(LOCAL_CLUSTER) lock
