# SPDX-License-Identifier: Apache-2.0
# The front door: every target is a thin call of CMake or of a script in scripts/.
#   MODEL=...  what `serve` loads      ARGS=...  further arguments of `serve` and `bench`
SHELL := /bin/bash
.DEFAULT_GOAL := help
.NOTPARALLEL:

NPROC ?= $(shell nproc)
PREFIX ?= /usr/local
FUZZ_SECONDS ?= 60
MODEL ?= smollm2
ARGS ?=

.PHONY: help setup serve test build model asan tsan fuzz bench install format clean

help: ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-9s %s\n", $$1, $$2}' Makefile

setup: ## Install the Debian packages that are missing
	@scripts/setup.sh build

build: setup ## Build build/skvis
	@cmake --preset release
	@cmake --build build --target skvis -j $(NPROC)

model: ## Fetch the default model (98 MB) into the user's cache
	@scripts/fetch_model.sh

serve: build ## Build and serve the default model on http://127.0.0.1:8080
	@NPROC=$(NPROC) scripts/serve.sh $(MODEL) $(ARGS)

test: ## Set up, build and run every test; ends with "N passed, N failed"
	@NPROC=$(NPROC) scripts/test.sh release

asan: ## Run the tests under AddressSanitizer and UBSan
	@NPROC=$(NPROC) scripts/test.sh asan

tsan: ## Run the tests of the threaded rooms under ThreadSanitizer
	@NPROC=$(NPROC) scripts/test.sh tsan base engine server http cache attention

fuzz: ## Run every fuzz target for FUZZ_SECONDS (60)
	@NPROC=$(NPROC) scripts/fuzz.sh $(FUZZ_SECONDS)

bench: build ## Measure the dense path, attention and decode on this machine
	@for what in dense attention decode; do build/skvis bench $$what $(ARGS) || exit 1; done

install: build ## Install skvis under PREFIX (/usr/local)
	@cmake --install build --prefix $(PREFIX)

format: ## Format the C++ sources
	@scripts/format.sh

clean: ## Remove the build folders; the fetched model stays
	rm -rf build build-asan build-tsan build-fuzz
