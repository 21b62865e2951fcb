"""Tasks of both kinds: of drivetrain, and of Django's tasks framework. Nothing imports this module but Django."""

import os

from django.db import connection
from django_tasks import task

from drivetrain_django import app

from .models import Order


@app.task
def pay(order_id: int) -> int:
    order = Order.objects.get(pk=order_id)
    order.paid = True
    order.save()
    return order.total


@app.task
def slow_report() -> int:
    return Order.objects.count()


@app.task(pool="processes")
def count_in_a_child() -> tuple[int, int]:
    return os.getpid(), Order.objects.count()


@app.task
def is_connected() -> bool:
    """Whether the connection of an earlier task is still open in this thread."""
    before = connection.connection is not None
    Order.objects.count()
    return before


@task(queue_name="mails")
def mail(to: str, *, copies: int = 1) -> str:
    return f"{copies} to {to}"


@task
def add(x, y):
    return x + y


@task
async def add_async(x: int, y: int) -> int:
    return x + y


@task
def broken() -> None:
    raise LookupError("it is broken")


@task(takes_context=True)
def who(context) -> list:
    return [context.task_result.id, context.attempt]


@task(backend="on_commit")
def after_commit(x: int) -> int:
    return x
