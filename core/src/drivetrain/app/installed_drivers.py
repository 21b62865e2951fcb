"""The installed drivers, as ``drivetrain drivers`` shows them."""

from __future__ import annotations

from typing import Any

from attrs import frozen

from drivetrain.app.contract_report import ContractReport
from drivetrain.app.driver_making import DriverMaker, check_maker
from drivetrain.app.entry_points import DriverEntry, Kind
from drivetrain.contract import BackendCapabilities, BrokerCapabilities, ConfigurationError, DriverContext

__all__ = ["InstalledDriver", "describe_entry"]


@frozen(kw_only=True)
class InstalledDriver:
    """A driver that is installed, as ``drivetrain drivers`` shows it."""

    kind: Kind
    #: The URL scheme, or the name of the serializer, policy or plugin.
    name: str
    distribution: str
    version: str
    #: Whether it can be imported and fits drivetrain's hooks.
    importable: bool
    #: What is wrong with it, or why its capabilities are not known; empty: no error.
    error: str = ""
    #: The capabilities of a broker or backend; None: not requested, or not known.
    capabilities: BrokerCapabilities | BackendCapabilities | None = None
    #: The report of the contract tests; None: its distribution ships none.
    contract_report: ContractReport | None = None


def describe_entry(entry: DriverEntry, maker: DriverMaker, context: DriverContext | None) -> InstalledDriver:
    """The installed driver of an entry point. Imports it; an error becomes part of the description.

    Args:
        entry: the entry point.
        maker: makes the driver.
        context: the context with which a broker or backend is made, to read its capabilities; None: it is not made.
    """
    fields: dict[str, Any] = {"importable": True, "contract_report": entry.contract_report()}
    try:
        driver = entry.load()
        check_maker(entry, driver)
    except ConfigurationError as error:
        fields.update(importable=False, error=str(error))
    else:
        if context is not None and entry.kind in {Kind.BROKER, Kind.BACKEND}:
            fields.update(_capabilities(entry, maker, context))
    return InstalledDriver(
        kind=entry.kind, name=entry.name, distribution=entry.distribution, version=entry.version, **fields
    )


def _capabilities(entry: DriverEntry, maker: DriverMaker, context: DriverContext) -> dict[str, Any]:
    errors = []
    # Making a driver does no I/O, so any URL that it takes will do; some want a host, a path or both.
    for rest in ("", "localhost", "/drivetrain", "localhost/drivetrain"):
        url = f"{entry.name}://{rest}"
        try:
            made = maker.make_from(entry, {"url": url, "context": context})
            found = {"capabilities": made.capabilities}
            made.close()
        except Exception as error:  # noqa: BLE001 - a third-party driver may raise anything; the error is shown
            errors.append(f"{url}: {error}")
        else:
            return found
    return {"error": errors[0]}
