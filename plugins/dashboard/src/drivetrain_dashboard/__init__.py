"""A dashboard for drivetrain: see and steer queues, tasks, workflows, workers, schedules and limits.

    from drivetrain_dashboard import asgi

    dashboard = asgi(app)     # an ASGI application; or, for one app: drivetrain dashboard shop:app

The README lists options, guarantees and what it costs.
"""

from __future__ import annotations

from drivetrain_dashboard.actions.roles import Role
from drivetrain_dashboard.web.application import asgi
from drivetrain_dashboard.web.passwords import User, hash_password
from drivetrain_dashboard.web.viewers import (
    Authentication,
    Authorize,
    BasicAuthentication,
    LocalAuthentication,
    ProxyAuthentication,
    Refused,
    Viewer,
)

__all__ = [
    "Authentication",
    "Authorize",
    "BasicAuthentication",
    "LocalAuthentication",
    "ProxyAuthentication",
    "Refused",
    "Role",
    "User",
    "Viewer",
    "asgi",
    "hash_password",
]
