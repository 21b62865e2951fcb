"""Schedules: what sends workflows at planned instants, each instant once, however many schedulers run."""
