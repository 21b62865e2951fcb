"""``drivetrain drivers``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import attrs
import click

from drivetrain.app.discovery import Drivers
from drivetrain.app.installed_drivers import InstalledDriver
from drivetrain.cli.app_options import verbose_option
from drivetrain.cli.output import echo_json, echo_table, json_option, one_line
from drivetrain.contract import BackendCapabilities, BrokerCapabilities, DriverContext, SystemClock

__all__ = ["drivers"]

#: The last column is left out where no distribution ships a report of the contract tests.
_HEADERS = ("KIND", "NAME", "DISTRIBUTION", "VERSION", "IMPORTS", "CONTRACT")


@click.command()
@json_option
@verbose_option
def drivers(as_json: bool) -> None:
    """List the drivers that are installed, what they can do, and whether they can be imported."""
    installed = Drivers(DriverContext(clock=SystemClock())).installed(capabilities=True)
    if as_json:
        echo_json({"drivers": [_document(driver) for driver in installed]})
        return
    echo_table(_HEADERS, [_row(driver) for driver in installed])
    _echo_details(installed)


def _document(driver: InstalledDriver) -> dict[str, Any]:
    declared = _declared(driver)
    capabilities = None if declared is None else attrs.asdict(declared)
    contract_report = None if driver.contract_report is None else attrs.asdict(driver.contract_report)
    document = {"capabilities": capabilities, "contract_report": contract_report, "error": driver.error or None}
    return {**attrs.asdict(driver, recurse=False), **document}


def _row(driver: InstalledDriver) -> tuple[object, ...]:
    imports = "yes" if driver.importable else "no"
    return driver.kind, driver.name, driver.distribution, driver.version, imports, _contract_report(driver)


def _contract_report(driver: InstalledDriver) -> str:
    report = driver.contract_report
    if report is None:
        return ""
    outdated = f" (of {report.version})" if report.version != driver.version else ""
    return f"{report}{outdated}"


def _echo_details(installed: Sequence[InstalledDriver]) -> None:
    rows = [(driver, text) for driver in installed if (text := driver.error or ", ".join(_notable(driver)))]
    width = max((len(f"{driver.kind} {driver.name}") for driver, _ in rows), default=0)
    click.echo()
    for driver, text in rows:
        click.echo(f"{driver.kind} {driver.name}".ljust(width) + f"  {one_line(text) if driver.error else text}")


def _declared(driver: InstalledDriver) -> BrokerCapabilities | BackendCapabilities | None:
    """The capabilities that a driver declares. Only the presence of a store matters here, not its host and database."""
    declared = driver.capabilities
    if declared is None or declared.store is None:
        return declared
    return attrs.evolve(declared, store="declared")


def _notable(driver: InstalledDriver) -> Iterator[str]:
    """The optional capabilities of a driver, and its limits."""
    declared = _declared(driver)
    if declared is None:
        return
    for attribute in attrs.fields(type(declared)):
        value = getattr(declared, attribute.name)
        words = attribute.name.replace("_", " ")
        if value is False and attribute.default is True:
            yield f"not {words}"
        elif value is True and attribute.default is False:
            yield words
        elif value != attribute.default:
            yield f"{words} {value:g}" if isinstance(value, float) else f"{words} {value}"
