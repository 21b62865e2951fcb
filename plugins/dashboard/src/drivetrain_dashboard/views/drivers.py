"""The page of drivers: what the broker and the backend can do, and what they refuse. It asks no service."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import version
from itertools import groupby

from msgspec import Struct

from drivetrain.cli.capability_report import Statement, of_backend, of_broker, of_pair
from drivetrain.contract import DriverUrl, redact
from drivetrain_dashboard.views.context import ReadContext
from drivetrain_dashboard.views.page import Page, Query

__all__ = ["DriverPart", "DriversPage", "DriversQuery", "StatementGroup", "read_drivers"]


class DriversQuery(Query, frozen=True, kw_only=True):
    """The page of drivers has no parameters."""


class StatementGroup(Struct, frozen=True):
    """What holds for a driver, under one heading.

    Attributes:
        heading: the heading.
        statements: sentences.
    """

    heading: str
    statements: tuple[str, ...]


class DriverPart(Struct, frozen=True, kw_only=True):
    """A driver, or both drivers together.

    Attributes:
        name: ``broker``, ``backend`` or ``together``.
        url: the URL without its secrets; empty: both together.
        namespace: the namespace of the queues or results; empty: both together.
        groups: what holds for it.
    """

    name: str
    url: str = ""
    namespace: str = ""
    groups: tuple[StatementGroup, ...] = ()


class DriversPage(Page, frozen=True, kw_only=True):
    """The page of drivers.

    Attributes:
        app: the name of the app.
        version: the version of drivetrain in the dashboard.
        parts: the broker, the backend, and both together.
    """

    app: str
    version: str
    parts: tuple[DriverPart, ...] = ()


def read_drivers(context: ReadContext, query: DriversQuery) -> DriversPage:  # noqa: ARG001 - as every reader
    """Read the page. Raises nothing."""
    settings, runtime = context.app.settings, context.app.runtime
    broker, backend = runtime.broker.capabilities, runtime.backend.capabilities
    return DriversPage(
        at=context.now(),
        app=settings.name,
        version=version("drivetrain"),
        parts=(
            _part("broker", settings.broker, settings.name, of_broker(broker)),
            _part("backend", settings.backend or settings.broker, settings.name, of_backend(backend)),
            DriverPart(name="together", groups=_groups(of_pair(broker, backend))),
        ),
    )


def _part(name: str, url: str, app: str, statements: Iterable[Statement]) -> DriverPart:
    namespace = DriverUrl.parse(url).options.get("namespace", app)
    return DriverPart(name=name, url=redact(url), namespace=namespace, groups=_groups(statements))


def _groups(statements: Iterable[Statement]) -> tuple[StatementGroup, ...]:
    grouped = groupby(statements, key=lambda statement: statement.section)
    return tuple(StatementGroup(section.value, tuple(one.text for one in found)) for section, found in grouped)
