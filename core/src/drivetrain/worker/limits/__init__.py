"""Limits of tasks: rates, concurrency and unique keys, built on versioned values, the same with every driver."""
