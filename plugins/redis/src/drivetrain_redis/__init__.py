"""Broker, backend and locks of drivetrain on Redis and Valkey."""
