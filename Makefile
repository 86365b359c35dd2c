# Thin: each target is one or two commands that also work by hand. `make help` lists them.
MESON ?= /usr/bin/meson
BUILD ?= build
CONFIG ?= config/policies/demo.yaml
LISTEN ?= 127.0.0.1:8080

.PHONY: help build serve test lint format bench asan tsan fuzz clean

help: ## this list
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 10

build: ## the rootstock program, in build/gateway/rootstock
	@deploy/install-deps.sh build
	@test -f $(BUILD)/build.ninja || $(MESON) setup $(BUILD) -Dbuildtype=release -Db_ndebug=false -Db_lto=true -Dtests=false >/dev/null
	@ninja -C $(BUILD) --quiet gateway/rootstock

serve: build ## build, then serve the demo on LISTEN (ROOTSTOCK_REDIS_URL: with Redis as the catalog)
	@deploy/serve-demo.sh $(BUILD)/gateway/rootstock $(CONFIG) $(LISTEN)

test: ## every suite that needs only Debian's packages, then "N passed, N failed, N skipped"
	@deploy/install-deps.sh test
	@test -f build-test/build.ninja || $(MESON) setup build-test >/dev/null
	@ninja -C build-test --quiet
	@/usr/bin/python3 tests/run.py build-test

asan: ## unit, fuzz and end-to-end suites under AddressSanitizer and UBSan
	@deploy/install-deps.sh test
	@test -f build-asan/build.ninja || $(MESON) setup build-asan -Db_sanitize=address,undefined -Db_lundef=false >/dev/null
	@ninja -C build-asan --quiet
	@/usr/bin/python3 tests/run.py build-asan --suite unit --suite fuzz --suite tsan --suite e2e

tsan: ## thread and end-to-end suites under ThreadSanitizer
	@deploy/install-deps.sh test
	@test -f build-tsan/build.ninja || $(MESON) setup build-tsan -Db_sanitize=thread -Db_lundef=false >/dev/null
	@ninja -C build-tsan --quiet
	@/usr/bin/python3 tests/run.py build-tsan --suite tsan --suite unit --suite e2e

lint: ## who includes whom, function sizes, formatting, clang-tidy
	@deploy/install-deps.sh dev
	@/usr/bin/python3 tests/lint/includes.py .
	@/usr/bin/python3 tests/lint/sizes.py .
	@tests/lint/format.sh
	@tests/lint/tidy.sh

format: ## reformat our own files
	@deploy/install-deps.sh dev
	@git ls-files '*.c' '*.h' | xargs clang-format-14 -i

bench: build ## engine speed on the demo model; tests/perf/ holds other measurements
	@$(BUILD)/gateway/rootstock bench -m models/demo.gguf

fuzz: ## libFuzzer on every target, FUZZ_SECONDS each (60)
	@deploy/install-deps.sh dev
	@tests/fuzz/run.sh $${FUZZ_SECONDS:-60}

clean: ## remove build folders
	@rm -rf build build-test build-asan build-tsan build-fuzz
