"""Options of gRPC's channels and servers."""

UNLIMITED = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
)
"""For messages of any size."""
