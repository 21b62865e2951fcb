"""A shop under load, with failures, for the dashboard. ``make dashboard-demo`` runs it."""
