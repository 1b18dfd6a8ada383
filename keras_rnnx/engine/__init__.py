"""The engine: pure functions that walk a sequence, on every backend."""
