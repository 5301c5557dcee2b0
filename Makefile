# Every target sets up what it needs by itself: `make demo` and `make test` work in a fresh clone.

PYTHON ?= python3
BIN := .venv/bin
PROTOS := rerankd/v1/rerank.proto
GENERATED := client/python/rerankd/v1

.PHONY: setup generate check-generated lint test test-peers bench quality demo serve format clean

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
		grpcio-tools==1.62.3 mypy-protobuf==3.6.0 'setuptools<81'
	@touch $@

generate: .venv-generate/ready
	PATH="$(CURDIR)/.venv-generate/bin:$$PATH" .venv-generate/bin/python -m grpc_tools.protoc \
		--proto_path=protos --python_out=client/python --pyi_out=client/python \
		--grpc_python_out=client/python --mypy_grpc_out=quiet:client/python $(PROTOS)

check-generated: generate
	@git diff --exit-code --stat -- $(GENERATED) && test -z "$$(git status --porcelain -- $(GENERATED))" \
		|| { echo "the generated code is not what the proto says: run 'make generate' and commit"; exit 1; }

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: setup
	$(BIN)/pytest

# A second server that speaks OpenAI's API, in an environment of its own.
.venv-litellm/ready:
	$(PYTHON) -m venv .venv-litellm
	.venv-litellm/bin/python -m pip install --quiet --disable-pip-version-check 'litellm[proxy]==1.106.*'
	@touch $@

test-peers: setup .venv-litellm/ready
	$(BIN)/pytest tests/peers

bench: setup
	@PYTHONPATH=tests $(BIN)/python -m bench.load

# Writes docs/quality.md from real queries, which are not part of the project: see there.
quality: setup
	@PYTHONPATH=tests $(BIN)/python -m bench.quality

demo: setup
	@$(BIN)/rerankd demo

serve: setup
	$(BIN)/rerankd serve

clean:
	rm -rf .venv .venv-* .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
