"""Counts of what workers do: in memory, in their statuses, and over time in the backend."""
