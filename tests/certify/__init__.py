"""Certificates: what the contract tests say of each driver, as its wheel ships it."""
