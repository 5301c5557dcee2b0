"""Benchmarks: what the server is to reach, and what it reaches on this machine."""
