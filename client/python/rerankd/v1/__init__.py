"""The messages and stubs that protoc writes from `rerankd/v1/rerank.proto`."""
