"""Receive, run, settle: what a worker does with a delivery, in the order that loses nothing."""
