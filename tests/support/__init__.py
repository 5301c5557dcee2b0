"""Real parts for tests: a provider on loopback, a server on a free port, real judgements."""
