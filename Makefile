# `make` lists the verbs. On a fresh machine `make export` and `make test` set everything up by themselves.
RECIPE ?= intents
TARGET ?=
PYTHON ?= python3
BUILD  ?= build
JOBS   ?= 2
MINUTES ?= 30

VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
TARGETS = $(foreach name,$(TARGET),--target $(name))

# Threads that wait in a loop make training 10 to 20 times slower where cores are shared.
export OMP_WAIT_POLICY ?= PASSIVE
# Tests and lanes start hundreds of processes: what Python compiles is kept, also where whoever calls asks for the contrary.
unexport PYTHONDONTWRITEBYTECODE

# What recipes fetch is looked up there first. A checkout beside ../shared, whose machines reach no public server, makes its own.
# Only the verbs that fetch see it.
ifneq ($(wildcard ../shared/data/clinc150),)
ifeq ($(EDGEKIT_MIRROR),)
MIRRORED := $(VENV)/mirror/mirror.json
plan export tune bench methods artifacts: export EDGEKIT_MIRROR := $(abspath $(VENV)/mirror)
endif
endif

.DEFAULT_GOAL := help
.PHONY: help setup export plan tune bench methods report artifacts test test-matrix test-slow test-arm64 test-avx2 test-web test-serve test-cuda fuzz docs audit lock dist lint format clean

help: ## list these verbs
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "  Variables: RECIPE=$(RECIPE) TARGET=$(or $(TARGET),<best for this host>) PYTHON=$(PYTHON) BUILD=$(BUILD) JOBS=$(JOBS) (processes of the tests)"

setup: $(READY) ## create .venv and install what the constraints pin

# pip and not uv or poetry: only pip sees a CPU wheel of torch that the machine may offer through its configuration. pip says what it would
# install, release/lock.py gives each of these files its pinned hash, and nothing else is installed, in one step that needs no resolving.
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet
$(READY): pyproject.toml constraints.txt constraints.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "edgekit needs Python 3.11 or later; try make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) --dry-run --ignore-installed --report $(VENV)/plan.json torch==2.13.0 -e '.[dev]' -c constraints.txt
	$(BIN)/python release/lock.py $(VENV)/plan.json > $(VENV)/requirements.txt
	$(PIP) --no-deps --require-hashes -r $(VENV)/requirements.txt
	$(PIP) --no-deps --no-build-isolation -e .
	@touch $(READY)

$(VENV)/mirror/mirror.json: benchmarks/mirror.py $(READY)
	$(BIN)/python -m benchmarks.mirror ../shared $(VENV)/mirror

export: $(READY) $(MIRRORED) ## make a bundle: RECIPE for TARGET, measured where this host is the target
	$(BIN)/edgekit export $(RECIPE) $(TARGETS) --build $(BUILD)

plan: $(READY) $(MIRRORED) ## show what `make export` would do
	$(BIN)/edgekit plan $(RECIPE) $(TARGETS) --build $(BUILD)

tune: $(READY) $(MIRRORED) ## search for better recipes around RECIPE for TARGET (MINUTES=30, FLAGS="--lose 1% --faster 4x --smaller 8MB")
	$(BIN)/edgekit tune $(RECIPE) $(TARGETS) --build $(BUILD) --minutes $(MINUTES) $(FLAGS)

bench: export ## measure the bundle and its baselines in full
	@for folder in $(BUILD)/$(RECIPE)-*/; do $(BIN)/edgekit bench $$folder || exit $$?; done

methods: $(READY) $(MIRRORED) ## the grid of methods on real data (TASKS="clinc150 wnut17 stsb squad", FLAGS="--jobs 8"), hours where it trains
	$(BIN)/python -m benchmarks.methods.grid $(TASKS) $(FLAGS)

report: $(READY) ## write the report pages again
	$(BIN)/edgekit report $(BUILD)

# RECIPE and TARGET may be .toml files: results are named after their stems.
SHIPPED = $(or $(TARGET),$(wildcard targets/*.toml))
RESULTS = $(foreach name,$(notdir $(basename $(SHIPPED))),$(BUILD)/$(notdir $(basename $(RECIPE)))-$(name))

artifacts: export ## write everything to ship, with sums and a BOM (FLAGS="--oci --wheelhouse 3.11 --sign KEY")
	$(BIN)/edgekit artifacts $(FLAGS) $$(ls -d $(RESULTS) 2>/dev/null)

test: $(READY) ## the tests that every change must pass (FLAGS=--random-order: shuffled; it prints the seed)
	$(BIN)/python -m pytest -m "not slow and not matrix" -n $(JOBS) --dist loadfile --no-loadscope-reorder $(FLAGS)

test-matrix: $(READY) ## models that people bring, each down the whole line beside its own library
	$(BIN)/python -m pytest -m matrix -n $(JOBS) tests/matrix $(FLAGS)

test-slow: $(READY) ## minutes-long tests: bare virtual environment, whole recipes
	$(BIN)/python -m pytest -m slow

LANE = --build $(BUILD) $(if $(REAL),--real) $(if $(RECORD),--record)

test-arm64: $(READY) ## bundles of every task on four emulated ARM chips (REAL=1: the recipes' too, RECORD=1: write the results)
	$(BIN)/python -m lanes arm64 $(LANE)

test-avx2: $(READY) ## the same on an emulated Haswell, where 8-bit weights without protection give wrong sums
	$(BIN)/python -m lanes avx2 $(LANE)

test-web: $(READY) ## bundles of every task in Node and in Chromium, 2,000 texts each beside Python (RECORD=1: write the results)
	$(BIN)/python -m lanes.web --build $(BUILD) $(if $(RECORD),--record)

test-serve: $(READY) ## the servers asked by OpenAI's and Triton's clients and a fuzzer
	$(BIN)/python -m pytest tests/runtime/serve

test-cuda: $(READY) ## on a machine with an NVIDIA GPU: tests/cuda, bundles, benchmarks/cuda (FLAGS=--dry-run: rehearse on a CPU)
	$(BIN)/python -m benchmarks.cuda.lane all $(FLAGS)

fuzz: $(READY) ## mutate every file that edgekit reads, for MINUTES=30; what is found lies in build/fuzz (FLAGS="manifest bundle --seed 7")
	$(BIN)/python -m tests.fuzz --minutes $(MINUTES) --out $(BUILD)/fuzz $(FLAGS)

docs: $(READY) ## the site of docs/ into build/docs: a link that leads nowhere fails, and so does what would be loaded from another host
	$(BIN)/python -m release.docs --out $(BUILD)/docs

audit: ## ask whether what is pinned, or a floor in pyproject.toml, is under a known advisory
	test -x $(BUILD)/audit/bin/python || $(PYTHON) -m venv $(BUILD)/audit
	$(BUILD)/audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit==2.10.1 || true
	$(BUILD)/audit/bin/python -m release.advisories

lock: $(READY) ## write constraints.lock again, from constraints.txt and the registry
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --target $(BUILD)/lock uv==0.13.9
	$(BUILD)/lock/bin/uv pip compile constraints.txt --no-deps --generate-hashes --custom-compile-command "make lock" --no-annotate --python-version 3.11 --quiet -o constraints.lock

dist: $(READY) ## edgekit's own wheel and source archive into dist/, with an attestation (FLAGS="--key key.pem" signs it)
	$(BIN)/python -m release.dist $(FLAGS)

lint: $(READY) ## format check, lint, types, import layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(READY) ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## remove what was built here (build/), not .venv
	rm -rf $(BUILD) dist .mypy_cache .ruff_cache .pytest_cache
