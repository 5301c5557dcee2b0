# Every target sets up what it needs by itself: `make demo` and `make test` work in a fresh clone.

PYTHON ?= python3
BIN := .venv/bin
PROTOS := rerankd/v1/rerank.proto
GO := client/go
TYPESCRIPT := client/typescript
GENERATED := docs/api.md client/python/rerankd/v1 client/python/rerankd/service_config.json \
	$(GO)/rerankdv1 $(GO)/service_config.json $(TYPESCRIPT)/src/generated

.PHONY: setup generate generate-python generate-go generate-typescript check-generated check-proto \
	lint test test-peers clients client-go client-typescript client-java client-rust \
	build-go build-typescript build-java build-rust \
	example-python example-go example-typescript example-java example-rust \
	bench bench-load bench-clients bench-peers bench-growth performance quality demo serve format \
	clean

setup: .venv/ready

.venv/ready: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[server,offline,eval]' --group dev
	@touch $@

# The generator is old on purpose: what it writes runs with every protobuf from 4.25 on, while newer
# ones write code that refuses older runtimes. It needs an environment of its own, Python 3.8 to 3.12.
.venv-generate/ready: Makefile
	$(PYTHON) -m venv .venv-generate
	.venv-generate/bin/python -m pip install --quiet --disable-pip-version-check \
		grpcio-tools==1.62.3 mypy-protobuf==3.6.0 'setuptools<81' \
		googleapis-common-protos==1.70.0
	@touch $@

# Java's and Rust's builds generate their code themselves.
generate: generate-python generate-go generate-typescript

PROTOC := PATH="$(CURDIR)/.venv-generate/bin:$$PATH" .venv-generate/bin/python -m grpc_tools.protoc \
	--proto_path=protos

generate-python: .venv-generate/ready
	$(PROTOC) --python_out=client/python --pyi_out=client/python \
		--grpc_python_out=client/python --mypy_grpc_out=quiet:client/python $(PROTOS)
	cp client/service_config.json client/python/rerankd/
	$(PROTOC) --include_source_info --descriptor_set_out=.venv-generate/api.binpb $(PROTOS)
	.venv-generate/bin/python protos/reference.py .venv-generate/api.binpb > docs/api.md

GO_MODULE := github.com/rerankd/rerankd/client/go

generate-go: .venv-generate/ready
	GOBIN="$(CURDIR)/$(GO)/build/generators" go -C $(GO)/tools install tool
	PATH="$(CURDIR)/$(GO)/build/generators:$$PATH" $(PROTOC) \
		--go_out=$(GO) --go_opt=module=$(GO_MODULE) \
		--go-grpc_out=$(GO) --go-grpc_opt=module=$(GO_MODULE) $(PROTOS)
	cp client/service_config.json $(GO)/

$(TYPESCRIPT)/node_modules/.package-lock.json: $(TYPESCRIPT)/package-lock.json
	npm --prefix $(TYPESCRIPT) ci --no-audit --no-fund --loglevel=error
	@touch $@

TS_OPTIONS := outputServices=grpc-js,esModuleInterop=true,importSuffix=.js,forceLong=number,$\
	removeEnumPrefix=true,unrecognizedEnum=false,outputJsonMethods=false,useExactTypes=false

generate-typescript: .venv-generate/ready $(TYPESCRIPT)/node_modules/.package-lock.json
	rm -rf $(TYPESCRIPT)/src/generated && mkdir -p $(TYPESCRIPT)/src/generated
	$(PROTOC) --proto_path="$$(echo .venv-generate/lib/python*/site-packages)" \
		--plugin=$(TYPESCRIPT)/node_modules/.bin/protoc-gen-ts_proto \
		--ts_proto_out=$(TYPESCRIPT)/src/generated --ts_proto_opt=$(TS_OPTIONS) \
		$(PROTOS) google/rpc/status.proto google/rpc/error_details.proto
	{ echo '/** Calls that fail for a passing reason are made again: pass it as serviceConfig. */'; \
		printf 'export const RETRYING = `'; cat client/service_config.json; echo '`;'; \
	} > $(TYPESCRIPT)/src/generated/service_config.ts

check-generated: generate
	@git diff --exit-code --stat -- $(GENERATED) && test -z "$$(git status --porcelain -- $(GENERATED))" \
		|| { echo "the generated code is not what the proto says: run 'make generate' and commit"; exit 1; }

.buf/ready: Makefile
	npm install --prefix .buf --no-audit --no-fund --loglevel=error @bufbuild/buf@1.75.0
	@touch $@

# tests/released has the proto of the last release: a release copies it there.
check-proto: .buf/ready
	.buf/node_modules/.bin/buf lint
	.buf/node_modules/.bin/buf breaking --against tests/released

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: setup
	$(BIN)/pytest -n 2

# A second server that speaks OpenAI's API, in an environment of its own.
.venv-litellm/ready:
	$(PYTHON) -m venv .venv-litellm
	.venv-litellm/bin/python -m pip install --quiet --disable-pip-version-check 'litellm[proxy]==1.106.*'
	@touch $@

test-peers: setup .venv-litellm/ready
	$(BIN)/pytest tests/peers

# Builds and tests the client of each language whose toolchain is here, then holds them all to the
# same answers.
LANGUAGES := go typescript java rust
TOOL_go := go
TOOL_typescript := npm
TOOL_java := mvn
TOOL_rust := cargo
HERE := $(foreach each,$(LANGUAGES),$(if $(shell command -v $(TOOL_$(each))),$(each)))
MISSING := $(filter-out $(HERE),$(LANGUAGES))
COMMA := ,
EMPTY :=
CLIENTS := $(subst $(EMPTY) $(EMPTY),$(COMMA),$(strip python $(HERE)))

clients: setup $(HERE:%=client-%)
	$(BIN)/pytest tests/clients/test_golden.py tests/clients/test_examples_of_clients.py \
		--clients=$(CLIENTS)
	@$(if $(MISSING),echo "skipped for want of a toolchain: $(MISSING)",echo "skipped: none")

client-go: build-go
	test -z "$$(gofmt -l $(GO))" || { gofmt -d $(GO); exit 1; }
	go -C $(GO) vet ./...
	go -C $(GO) test ./...

client-typescript: $(TYPESCRIPT)/node_modules/.package-lock.json
	npm --prefix $(TYPESCRIPT) run --silent lint
	npm --prefix $(TYPESCRIPT) test --silent

# Not -q, which hides the very warnings that fail the build.
MAVEN := mvn -B -ntp -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -f client/java

client-java:
	$(MAVEN) test dependency:copy-dependencies

client-rust:
	cd client/rust && cargo fmt --check
	cd client/rust && cargo clippy --quiet --features tls --all-targets -- -D warnings
	cd client/rust && cargo test --quiet --features tls

# What the golden cases and the benchmark run.
build-go:
	go -C $(GO) build -o build/ ./internal/conformance ./example

build-typescript: $(TYPESCRIPT)/node_modules/.package-lock.json
	npm --prefix $(TYPESCRIPT) run --silent build

build-java:
	$(MAVEN) test-compile dependency:copy-dependencies

build-rust:
	cd client/rust && cargo build --quiet --features tls --examples

# Each beside `make serve`.
example-python: setup
	$(BIN)/python client/python/example.py

example-go:
	go -C $(GO) run ./example

example-typescript: build-typescript
	npm --prefix $(TYPESCRIPT) run --silent example

example-java:
	mvn -q -f client/java test-compile exec:java

example-rust:
	cd client/rust && cargo run --quiet --example rank

# What a warm call costs from each language, over the least that it can cost.
bench-clients: setup $(HERE:%=build-%)
	@PYTHONPATH=tests $(BIN)/python -m bench.clients python-asyncio $(subst $(COMMA), ,$(CLIENTS))

# The warm path: what the cache answers, beside the least that a call can cost. FLAGS=--quick: some
# seconds.
bench: setup
	@PYTHONPATH=tests $(BIN)/python -m bench.path $(FLAGS)

# Crowds, deadlines, fairness, rate limits, cores. NAMES='herd cold': some of them.
bench-load: setup
	@PYTHONPATH=tests $(BIN)/python -m bench.load $(NAMES)

bench-peers: setup .venv-litellm/ready
	@PYTHONPATH=tests $(BIN)/python -m bench.peers

# Keeps the stores that it fills in .bench.
bench-growth: setup
	@PYTHONPATH=tests $(BIN)/python -m bench.growth

# All of the warm path: writes docs/performance.md.
performance: setup .venv-litellm/ready
	@PYTHONPATH=tests $(BIN)/python -m bench.performance

# Writes docs/quality.md from real queries, which are not part of the project: see there.
quality: setup
	@PYTHONPATH=tests $(BIN)/python -m bench.quality

demo: setup
	@$(BIN)/rerankd demo

serve: setup
	$(BIN)/rerankd serve

clean:
	rm -rf .venv .venv-* .buf .bench $(GO)/build $(TYPESCRIPT)/build $(TYPESCRIPT)/node_modules \
		client/java/target client/rust/target .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
