"""Error reports with Sentry: an observer in twenty lines. Each run has a scope of its own, so nothing leaks."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import sentry_sdk
from sentry_sdk.integrations.logging import ignore_logger
from sentry_sdk.scope import Scope, use_isolation_scope
from sentry_sdk.types import Event, Hint

from drivetrain import App, TaskEvent, TaskFailed, hookimpl, retry

_scope: ContextVar[Scope] = ContextVar("sentry_scope")
reports: list[str] = []


class Sentry:
    """Reports the final failures of tasks, with the tags and breadcrumbs of their runs."""

    @hookimpl
    @contextmanager
    def around_run(self, event: TaskEvent) -> Iterator[None]:
        with sentry_sdk.isolation_scope() as scope:
            scope.set_transaction_name(event.task)
            scope.set_tags({"task": event.task, "queue": event.queue})
            scope.set_context("drivetrain", {"task_id": event.task_id, "attempt": event.attempt})
            _scope.set(scope)  # `task_raised` is called in the same context, after the scope was left
            yield

    @hookimpl
    def task_raised(self, event: TaskEvent, error: BaseException, retrying: bool) -> None:
        if not retrying:
            with use_isolation_scope(_scope.get(sentry_sdk.get_isolation_scope())):
                sentry_sdk.capture_exception(error, fingerprint=["{{ default }}", event.task])


app = App(f"sqlite:///{Path(tempfile.mkdtemp(), 'work.db')}", plugins=[Sentry()])


@app.task(retry=retry.fixed(0, max_retries=1))
def charge(customer: str) -> None:
    sentry_sdk.set_user({"id": customer})
    sentry_sdk.add_breadcrumb(message=f"charging {customer}")
    raise ConnectionError("the bank does not answer")


@app.task
def forget() -> None:
    raise LookupError("no customer")


def main() -> None:
    # In production: sentry_sdk.init(dsn=...). Here reports are printed in the end.
    sentry_sdk.init(dsn="https://public@sentry.invalid/1", before_send=report, auto_enabling_integrations=False)
    ignore_logger("drivetrain.task")  # it logs final failures too: each would be reported twice
    with app.worker():
        for handle in (charge.send("Ada"), forget.send()):
            try:
                handle.get(timeout=30)
            except TaskFailed as error:
                print(f"failed: {error.failure.message}")
    print(*reports, sep="\n")


def report(event: Event, _hint: Hint) -> None:
    """Note a report, and send nothing. It is called in a thread of the worker."""
    shown: Any = event
    trail = shown.get("breadcrumbs", {}).get("values", ())
    crumbs = [crumb["message"] for crumb in trail if crumb.get("message")]
    details = shown["tags"]["task"], shown.get("user"), crumbs, shown["contexts"]["drivetrain"]["attempt"]
    reports.append("reported: {} user {} breadcrumbs {} in attempt {}".format(*details))


if __name__ == "__main__":
    main()
