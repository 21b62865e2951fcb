"""A census of Python's standard library: a real job on real input. ``make demo`` runs it."""
