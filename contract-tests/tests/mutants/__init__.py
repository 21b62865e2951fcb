"""Deliberately broken drivers, built over the in-memory ones."""
