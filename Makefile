# Everything a developer types. `make` alone lists the targets; .ci/ holds what they run.
.DEFAULT_GOAL := help
.PHONY: simulator soak gopy help setup library wheel demo test check lint format generate go-test test-metadata py-test fuzz bench bench-metadata bench-peers mutants clean

PYTHON ?= python3
# What the wheel is made from, so that it is rebuilt only when something changed. Folders count: a file may have gone.
SOURCES := $(shell find gocore capi verbs python/mooncake_te ! -name '*_test.go' ! -path '*__pycache__*' ! -name '*.so' \
	2>/dev/null) go.mod go.sum hatch_build.py pyproject.toml README.md LICENSE

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install what is missing: Debian packages, Go modules, Python environments (quick when all is there)
	@.ci/setup.sh

library: ## compile build/libmooncake_te.so
	$(PYTHON) hatch_build.py build/libmooncake_te.so

wheel: dist/.built ## build the wheel into dist/
	@:
dist/.built: $(SOURCES)
	@rm -rf dist build/wheel && mkdir -p dist
	"$$(.ci/venv test)/bin/python" -m build --wheel --no-isolation --outdir dist
	@touch $@

demo: ## a small language model, prefilled in one process and decoded in another (ZERO=1: negative control; JSON=FILE)
	@.ci/setup.sh demo
	@$(MAKE) --no-print-directory wheel
	@PYTHON="$$(.ci/venv overlay)/bin/python" ZERO="$(ZERO)" JSON="$(JSON)" examples/llm_handoff/run.sh

test: ## everything CI runs
	@.ci/test

check: ## lint and unit tests, under two minutes
	@.ci/lint
	go test -short ./...

lint: ## every linter (one alone: .ci/lint PIECE)
	@.ci/lint

format: ## let the formatters rewrite the tree
	@.ci/lint -fix gofmt ruff clang

generate: ## write the code generated from proto/
	@proto/generate.sh

go-test: ## Go tests with the race detector and invariants
	go test -race -tags invariants ./...

test-metadata: build/etcd wheel ## stores against real servers (etcd 3.4 and current, HTTP), and engines while these fail
	go test -race -tags invariants ./gocore/store/... ./gocore/metaserver/... ./gocore/cluster/...
	"$$(.ci/venv overlay)/bin/python" -m pytest -q tests/metadata

build/etcd: tests/servers/etcd/main.go tests/servers/etcd/go.mod tests/servers/etcd/go.sum
	cd tests/servers/etcd && go build -o ../../../build/etcd .

py-test: wheel ## Python tests against the wheel (ARGS="-k name")
	"$$(.ci/venv overlay)/bin/python" -m pytest $(ARGS)

fuzz: ## every fuzz target, 60 s in all (SECONDS=n)
	@.ci/fuzz $(or $(SECONDS),60)

bench: ## speed beside plain C, memcpy and what bench-peers installed (ARGS="--runs 3 --only W1,W5a --out DIR")
	@tests/bench/run.sh $(ARGS)

bench-metadata: ## what finding peers by name costs: restarts, drains, buffers, opens (ARGS="--only drain --tiny --json FILE")
	@tests/bench/metadata.sh $(ARGS)

bench-peers: ## install stock Mooncake and NIXL wheels for bench, in an environment of their own
	@tests/bench/peers.sh

model: ## the protocol's Spin models and their mutants, at the bound of CI (all of it: tests/model/check --full)
	@tests/model/check

gopy: ## build/gopy: a metadata client for scripts, made by go-python/gopy for this interpreter (not in the wheel)
	@tools/gopy/build.sh

simulator: ## the pure core under a million faults and more, each kind often (RUNS=n seeds from FIRST=n)
	go test ./gocore/coherence/sim/... -v $(SIM) -count=1 -timeout 24h -run '^TestSimulation$$' \
		-sim.first=$(or $(FIRST),1) -sim.runs=$(or $(RUNS),1200) -sim.rare=$(or $(RARE),1000)

soak: ## hours: 100 times what CI simulates, full models, 1,000 trials (FACTOR=n for 100, PARTS="simulator fire")
	@FACTOR="$(FACTOR)" .ci/soak $(PARTS)

mutants: ## plant each known mistake in a copy of the code; its test must fail (ARGS="S2 S4-floor-ignored --explore")
	@tests/mutants/run.py $(ARGS)

clean: ## remove what was built (not the cache outside the tree)
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache python/mooncake_te/libmooncake_te.so
