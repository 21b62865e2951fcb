"""The report as Markdown, for a driver's README."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["summary", "text"]

_SIGNS = {"pass": "✔ pass", "fail": "✘ fail", "not declared": "- not declared", "not run": "? not run"}


def text(document: Mapping[str, Any]) -> str:
    """The Markdown of a report's JSON form."""
    parts = [_head(document)]
    for contract in document["contracts"]:
        parts += _contract(contract)
    return "\n\n".join(parts) + "\n"


def summary(counted: Mapping[str, int]) -> str:
    """How many clauses passed and failed, in words."""
    return ", ".join(f"{counted[verdict]} {verdict}" for verdict in _SIGNS if counted.get(verdict)) or "nothing run"


def _head(document: Mapping[str, Any]) -> str:
    suite, core = document["suite"], document["core"]
    return (
        "# Contract report\n\n"
        f"Made by {suite['distribution']} {suite['version']} with {core['distribution']} {core['version']} on "
        f"Python {document['python']}, {document['platform']}, {document['made_at']}; "
        f"profile {document['profile']}, seed {document['seed']}."
    )


def _contract(contract: Mapping[str, Any]) -> Iterator[str]:
    yield f"## {contract['test']}: {summary(contract['summary'])}"
    for driver in contract["drivers"]:
        yield _driver(driver)
    if contract["counts"] is not None:
        yield "Tasks: " + ", ".join(f"{number} {name}" for name, number in contract["counts"].items()) + "."
    if contract["warnings"]:
        yield "\n".join(
            f"- `{one['capability']}` is not declared, yet works: {one['told']}" for one in contract["warnings"]
        )
    yield "\n".join(_table(contract["rows"]))


def _driver(driver: Mapping[str, Any]) -> str:
    origin = f", {driver['distribution']} {driver['version']}" if driver["distribution"] else ""
    shown = f"The {driver['kind']} `{driver['name']}` (`{driver['class']}`{origin})"
    declared = driver["capabilities"]
    if not declared:
        return f"{shown}."
    return f"{shown} declares: " + ", ".join(f"{name} `{value}`" for name, value in declared.items()) + "."


def _table(rows: list[Mapping[str, Any]]) -> Iterator[str]:
    yield "| clause | verdict | what it says | reason |"
    yield "| --- | --- | --- | --- |"
    for row in rows:
        yield f"| {row['clause']} | {_SIGNS[row['verdict']]} | {_cell(row['text'])} | {_cell(row['reason'])} |"


def _cell(told: str) -> str:
    return " ".join(told.split()).replace("|", "\\|").replace("<", "&lt;")
