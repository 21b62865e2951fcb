"""Workflows: signatures, chains, groups and chords, and the pure function `advance`, which continues them."""
