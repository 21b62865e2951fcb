"""The audit: one log record for each action, done or refused, in the logger ``drivetrain.dashboard.audit``.

``drivetrain dashboard --log-format json`` writes the fields as JSON. Actions on tasks and dead letters are also in the
audit of the app: ``app.operations.bulk.audit()``.
"""

from __future__ import annotations

import logging
from typing import Literal

from drivetrain_dashboard.web.viewers import Viewer

__all__ = ["AUDIT_LOGGER", "record"]

AUDIT_LOGGER = "drivetrain.dashboard.audit"

logger = logging.getLogger(AUDIT_LOGGER)

#: What became of an action. ``refused``: the viewer may not, or a driver cannot; ``failed``: an error ended it.
Verdict = Literal["done", "refused", "failed"]

_LONGEST = 500


def record(verdict: Verdict, viewer: Viewer, action: str, subject: str, *, text: str = "", operation: str = "") -> None:
    """Log an action. The fields of the record have the prefix ``audit_``.

    Args:
        verdict: what became of it.
        viewer: who asked for it.
        action: its name.
        subject: what it acted on, in words.
        text: what was done, or why it was not.
        operation: the id of the operation that goes on in the background; empty: there is none.
    """
    logger.log(
        logging.INFO if verdict == "done" else logging.WARNING,
        "%s %s %s: %s, by %s (%s) from %s",
        action,
        ascii(subject[:_LONGEST]),
        verdict,
        ascii(text[:_LONGEST]),
        ascii(viewer.name),
        viewer.role.value,
        viewer.address or "an unknown address",
        extra={
            "audit_verdict": verdict,
            "audit_user": viewer.name,
            "audit_role": viewer.role.value,
            "audit_address": viewer.address,
            "audit_action": action,
            "audit_object": subject[:_LONGEST],
            "audit_text": text[:_LONGEST],
            "audit_operation": operation,
        },
    )
