"""The gRPC API: the only place that knows gRPC and protobuf."""
