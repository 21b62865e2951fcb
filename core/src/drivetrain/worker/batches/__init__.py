"""Batched tasks: one call of the function for many tasks, each with a state, a result and retries of its own."""
