"""The app that the settings of a Django project describe, and sending with it when a transaction commits."""

from __future__ import annotations

import threading
from typing import Any, Final, TypeVar

from django.db import transaction

from drivetrain import App, Result, Workflow
from drivetrain_django.connection import ClosesConnections
from drivetrain_django.options import read_options

__all__ = ["DjangoApp", "forget_app", "get_app", "send_on_commit"]

R = TypeVar("R")


class DjangoApp(App):
    """An app of a Django project. Child processes set Django up before they import a module of tasks."""

    imported_by = "drivetrain_django.boot"


class _Current:
    """The app of this process."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._app: DjangoApp | None = None

    def get(self) -> DjangoApp:
        with self._lock:
            if self._app is None:
                arguments = dict(read_options().arguments)
                plugins = [*arguments.pop("plugins", ()), ClosesConnections()]
                self._app = DjangoApp(**arguments, plugins=plugins)
            return self._app

    def forget(self) -> None:
        with self._lock:
            app, self._app = self._app, None
        if app is not None:
            app.close()


_current: Final = _Current()


def get_app() -> DjangoApp:
    """The app of the project, as ``DRIVETRAIN`` in its settings describes it. Needs no `django.setup`. Thread-safe.

    Raises:
        ConfigurationError: the setting is wrong.
    """
    return _current.get()


def forget_app() -> None:
    """Close the app of this process. The next use makes another one, without tasks. For tests with other settings."""
    _current.forget()


def send_on_commit(
    workflow: Workflow[R, Any], *, using: str | None = None, robust: bool = False, app: App | None = None
) -> Result[R]:
    """Send a workflow when the current transaction commits; at once if there is none. Its id is known before.

    So the id can be stored in the same transaction. If the transaction is rolled back, nothing is sent. Arguments are
    checked now.

    Args:
        workflow: a signature, chain, group or chord.
        using: the alias of the database; None: the default one.
        robust: whether an error of the sending, after the commit, is logged and not raised; as Django's ``on_commit``.
        app: the app that sends; None: that of the project.

    Returns:
        The handle to the result. Until the commit, the backend does not know it.

    Raises:
        InvalidSignature: the workflow is wrong (InvalidArguments: arguments do not fit).
    """
    prepared = (app or get_app()).prepare(workflow)
    transaction.on_commit(prepared.send, using=using, robust=robust)
    return prepared.result
