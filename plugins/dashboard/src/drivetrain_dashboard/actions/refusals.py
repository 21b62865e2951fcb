"""Why the drivers of an app cannot do something, in words. It asks no service."""

from __future__ import annotations

from drivetrain import App

__all__ = ["cannot_show_delayed", "stores_nothing"]


def stores_nothing(app: App) -> str:
    """It needs a backend that stores."""
    if app.runtime.backend.capabilities.stores:
        return ""
    return "It needs a backend that stores results, and this app's backend stores nothing."


def cannot_show_delayed(app: App) -> str:
    """It needs a broker that shows delayed messages, and a backend that stores."""
    if not app.runtime.broker.capabilities.peeks:
        return "This app's broker cannot show delayed messages, so none can be made due now."
    return stores_nothing(app)
