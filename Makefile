# Everything a person types stands here; what a target does in several steps stands in test/run (Go) or .ci/deps (shell).

.DEFAULT_GOAL := build
.PHONY: help build man deb demo test test-unit test-race test-root test-clients generate verify-generated bench soak fuzz deps clean

build: ## bin/ringfence
	go build -trimpath -o bin/ringfence ./cmd/ringfence

man: build ## bin/man: manual pages, one per command
	rm -rf bin/man
	bin/ringfence man bin/man

deb: build ## a Debian package in bin/, the same to the byte for the same commit
	go run ./packaging/deb -version "$$(git describe --tags --always 2>/dev/null | sed 's/^v//; s/^\([^0-9]\)/0~\1/; s/^/0~/; s/^0~0~/0~/; s/-/+/g')" -time "$$(git log -1 --format=%ct)"

demo: deps-demo build ## the three-tier example for two tenants on two hosts, with real packets; KEEP=1 leaves it running
	bin/ringfence demo $(if $(KEEP),--keep)

test: deps ## every test, as root; what CI runs
	go run ./test/run all

test-unit: ## tests that need no privilege
	go run ./test/run check unit

test-race: ## the packages with goroutines, under the race detector
	go run ./test/run race

test-root: deps ## tests that make namespaces and load programs
	go run ./test/run root

test-clients: deps ## Azure's SDK against a lab
	go run ./test/run build clients

generate: deps ## the generated files: kernel programs, headers, tables in docs/
	go run ./test/run generate

verify-generated: deps ## the generated files are what their sources give
	go run ./test/run generated

bench: deps build ## figures beside plain Linux routing and nftables; BENCH_SHORT=1 takes a minute
	go run ./bench

soak: deps ## the long forms of the tests that have one
	go run ./test/run build soak

fuzz: ## every fuzz target for FUZZTIME each (default 20s)
	go run ./test/run fuzz

help: ## this list
	@grep -E "^[a-z-]+:.*## " Makefile | sed -E "s/:.*## /\t/" | expand -t 20

deps: ## Debian packages that the tests need and the machine lacks
	@.ci/deps test

.PHONY: deps-demo
deps-demo:
	@.ci/deps demo

clean:
	rm -rf bin
