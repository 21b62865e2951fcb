"""A distributed task queue."""
