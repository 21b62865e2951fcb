"""A module that no process can import."""

raise SystemExit(1)
