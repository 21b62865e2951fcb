"""The report of the contract tests that a driver's distribution may ship, as ``contract-report.json`` in its package.

`drivetrain-contract-tests` writes it. A report that cannot be read counts as no report, and breaks nothing.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from attrs import frozen

__all__ = ["ContractReport", "contract_report"]

logger = logging.getLogger("drivetrain.discovery")

_FILE = "contract-report.json"
#: The version of the format that is read. In another version the fields may have other meanings.
_SCHEMA = "drivetrain-contract-report/1"
_VERDICTS = ("pass", "fail", "not declared", "not run")


@frozen(kw_only=True)
class ContractReport:
    """The result of the contract tests for a driver, as shipped by its distribution."""

    #: How many clauses there are of each verdict: ``pass``, ``fail``, ``not declared``, ``not run``.
    verdicts: Mapping[str, int]
    #: The version of the driver's distribution that was tested. If another one is installed, the report is outdated.
    version: str
    #: The version of the contract tests, and how much they tried.
    suite: str
    profile: str

    def __str__(self) -> str:
        return ", ".join(f"{number} {verdict}" for verdict, number in self.verdicts.items() if number)


def contract_report(found: Any, kind: str, name: str) -> ContractReport | None:
    """The result for one driver in the report that its distribution ships; None if there is none.

    Args:
        found: the distribution, as importlib_metadata has it; None: there is none.
        kind: ``broker``, ``backend``, ``serializer`` or ``retry policy``.
        name: the URL scheme, or the name.
    """
    try:
        return _read(_document(found), kind, name)
    except Exception:  # a third-party package may ship any file, and its driver must still be listed
        logger.warning("the contract report of %s cannot be read; ignoring it", found, exc_info=True)
        return None


def _document(found: Any) -> Mapping[str, Any]:
    files = (found.files if found is not None else None) or ()
    path = next((path for path in files if path.name == _FILE), None)
    document: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path is not None else {}
    return document if document.get("schema") == _SCHEMA else {}


def _read(document: Mapping[str, Any], kind: str, name: str) -> ContractReport | None:
    matching = [
        (contract, driver)
        for contract in document.get("contracts", ())
        for driver in contract["drivers"]
        if (driver["kind"], driver["name"]) == (kind, name)
    ]
    if not matching:
        return None
    # A backend and its locks, for one, are two contracts of one driver.
    verdicts = {verdict: sum(int(contract["summary"][verdict]) for contract, _ in matching) for verdict in _VERDICTS}
    version = str(matching[0][1]["version"])
    suite = str(document["suite"]["version"])
    return ContractReport(verdicts=verdicts, version=version, suite=suite, profile=str(document["profile"]))
