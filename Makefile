# Two commands matter: `make run` shows Qianli with sample studies, `make test` proves it.
# The work is done by scripts/, which can be run on their own.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help run build viewer test test-quick test-blackbox interop lint advisories bench bench-quick samples tools clean clean-data sbom

help: ## Say what there is to make
	@echo "Qianli, a medical imaging server. Targets:"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "%-22s %s\n", $$1, $$2 }'

run: ## Build, fetch the viewer, and serve with sample studies on http://127.0.0.1:8080 (ARGS="--http …")
	@scripts/run $(ARGS)

build: ## Build the release binary
	cargo build --release --locked --bin qianli

sbom: ## Write what the binary is made of to sbom.cdx.json (CycloneDX)
	@scripts/sbom --out sbom.cdx.json

viewer: ## Fetch the pinned OHIF viewer into ./viewer
	@scripts/viewer

test: ## Install what the tests need, then run lints, unit, behavioural and black-box tests
	@scripts/test

test-quick: ## Format, clippy, unit and behavioural tests on SQLite and PostgreSQL
	@scripts/test quick

test-blackbox: ## Only the black-box tests, against the release binary
	@scripts/test blackbox

interop: build ## Run the matrix with DCMTK, pynetdicom, dcmjs-dimse and Orthanc; writes docs/INTEROPERABILITY.md
	@. scripts/lib.sh && python3 -m venv "$$cache/interop" \
	    && "$$cache/interop/bin/pip" install --quiet --disable-pip-version-check -r tests/interop/requirements.txt \
	    && npm install --prefix "$$cache/interop" --no-audit --no-fund --silent "dcmjs-dimse@$$dcmjs_dimse_version" \
	    && QIANLI_BIN=$${QIANLI_BIN:-$$(target_dir)/release/qianli} QIANLI_TEST_PYTHON=$$cache/interop/bin/python \
	    QIANLI_TEST_NODE_MODULES=$$cache/interop/node_modules scripts/interop --write docs/INTEROPERABILITY.md

lint: ## Format, clippy, documentation, scripts, licences
	@scripts/lint

advisories: ## Compare Cargo.lock with the RustSec database (network, or QIANLI_ADVISORY_DB=FOLDER with a copy)
	@scripts/advisories

bench: ## Measure beside the peers that are installed; writes bench/RESULTS.md (needs a quiet machine)
	@bench/run

bench-quick: ## The same, short: shows that it works, not how fast
	@bench/run --quick

samples: ## Draw sample-dicom again (needs the Python clients of `make test`)
	@scripts/deps
	@. scripts/lib.sh && "$$cache/venv/bin/python" sample-dicom/generate.py

tools: ## Build cargo-deny and cargo-nextest into the cache folder
	@. scripts/lib.sh && for tool in cargo-deny cargo-nextest; do \
	    command -v $$tool >/dev/null || cargo install $$tool --locked --root "$$cache/tools"; done

clean: ## Remove what was built and fetched here (not the cache folder, not ./data)
	cargo clean
	rm -rf viewer viewer.new artifacts

clean-data: ## Remove ./data: every study stored by `make run`
	rm -rf data
