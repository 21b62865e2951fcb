"""drivetrain in Django.

# settings.py
INSTALLED_APPS = [..., "drivetrain_django"]
DRIVETRAIN = {"BROKER": "redis://localhost"}

# shop/tasks.py
from drivetrain_django import app

@app.task
def send_invoice(invoice_id: int) -> None: ...

# shop/views.py
send_on_commit(send_invoice.si(invoice.pk))

$ python manage.py drivetrain worker
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drivetrain_django.application import DjangoApp, get_app, send_on_commit

__all__ = ["DjangoApp", "app", "get_app", "send_on_commit"]

if TYPE_CHECKING:
    app: DjangoApp


def __getattr__(name: str) -> Any:
    # Made at first use: the settings of Django are not known when this package is imported.
    if name == "app":
        return get_app()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
