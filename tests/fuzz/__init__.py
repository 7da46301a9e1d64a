"""Fuzzers: what others can shape, shaped as badly as can be, for every parser that reads it (``python -m tests.fuzz``)."""
