"""What a user would take instead of osteo-edge: ``python -m benchmarks peers``."""
