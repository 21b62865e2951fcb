"""The page ``docs/guarantees.md``, and the table that ``make matrix`` prints. Pure: from what was kept to text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

from chaos.results import kept, rows
from drivetrain.cli.capability_report import Statement, of_backend, of_broker, of_pair
from drivetrain.contract import BackendCapabilities, BrokerCapabilities, Durability, Hold
from drivetrain_contract_tests.clauses import clauses
from matrix.pairs import BACKENDS, BROKERS, Pair, pairs, why_not
from matrix.places import LESS, SERVERS
from matrix.results import COUNTS, Matrix, Shown, workflow_clauses

__all__ = ["PAGE", "backend_declared", "broker_declared", "table", "text"]

PAGE = Path(__file__).parents[2] / "docs" / "guarantees.md"

_HEAD = """\
# Guarantees

What each driver gives, what core supplies in its place, what is refused, and what was shown of every broker with every
backend. This page is generated: `make matrix` runs the pairs on real servers and writes it, and a test holds it to
what was last run, to the drivers as they are and to [the contract](contract.md) as it is.

For your own configuration, `drivetrain describe module:app` says the same of just that.
"""

_MATRIX = """\
Each row is one pair, held to the clauses on workflows, schedules and limits: random workflows of every shape beside a
reference interpreter, chords whose members end at the same moment, and faults: workers that die between any two
steps, calls that fail before or after they were done, replies that are lost, messages that come twice or late, leases
that are lost, and services that are killed under running workers and started again.

*Lost* tasks never ended. *Unexpected* ones ran without having been sent, or gave a wrong result. *Duplicated* ones ran
again after they had ended. *Recovered* ones ended well although a worker or a service had failed under them; how many
there are follows from how many faults were tried, and tells nothing of one pair beside another.
"""

_CHAOS = """\
`make chaos` sends random workflows to two workers that were started from the command line. Meanwhile it kills, stops
and pauses the workers, and kills and restarts the services, at random. Afterwards it compares every result with the
reference interpreter and every run with what was promised.

*Lost*: workflows that did not end, and attempts that never ran. *Wrong*: other results, and cancelled tasks that ran.
*Repeated*: runs that began after the end of their task. *Overlapping*: two runs of one task at the same time, which no
fault explains. *Left over*: messages, dead letters, and errors in the logs of workers. *Recovered*: runs that a fault
cut off and that were made good. SQS is moto, which keeps its messages in memory: its connections are cut instead.
"""

_DRIVERS = """\
Everything here follows from what a driver declares for the URL that was run; another URL of the same driver may declare
something else (an SQLite file that does not wait for the disk, quorum queues, a Redis cluster).
"""


def text(matrix: Matrix) -> str:
    """The whole page."""
    parts = [_HEAD, "## Every broker with every backend", _MATRIX, *_matrix(matrix)]
    parts += ["## Random faults", _CHAOS, "\n".join(rows(kept()))]
    parts += ["## The drivers", _DRIVERS]
    parts += _drivers(matrix)
    parts += ["## Together", *_together(matrix)]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def table(matrix: Matrix) -> list[str]:
    """The outcome of each pair, in columns for a terminal."""
    rows = [("broker", "backend", "passed", "not declared", "not run", "failed", *COUNTS)]
    rows += [(pair.broker, pair.backend, *_cells(matrix.pairs.get(pair))) for pair in pairs()]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _cells(shown: Shown | None) -> tuple[str, ...]:
    if shown is None:
        return ("was not run", *[""] * (3 + len(COUNTS)))
    verdicts = list(shown.verdicts.values())
    counted = (str(verdicts.count(verdict)) for verdict in ("pass", "not declared", "not run", "fail"))
    return (*counted, *(str(shown.counts[name]) for name in COUNTS))


# The matrix


def _matrix(matrix: Matrix) -> Iterator[str]:
    yield "\n".join(_rows(matrix))
    yield "\n".join(_profiles(matrix))
    yield "\n".join(_not_passed(matrix))
    yield "\n".join(_left_out())


def _rows(matrix: Matrix) -> Iterator[str]:
    every = len(workflow_clauses())
    yield f"| broker | backend | clauses passed, of {every} | lost | unexpected | duplicated | recovered |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for pair in pairs():
        passed, undeclared, unrun, failed, *counts = _cells(matrix.pairs.get(pair))
        others = ((undeclared, "not declared"), (unrun, "not run"), (failed, "**failed**"))
        told = ", ".join([passed, *(f"{number} {what}" for number, what in others if number not in {"", "0"})])
        yield f"| `{pair.broker}` | `{pair.backend}` | {told} | {' | '.join(counts)} |"


def _profiles(matrix: Matrix) -> Iterator[str]:
    yield "These ran behind the drivers:"
    yield ""
    yield from (f"- `{scheme}`: {what}" for scheme, what in SERVERS.items())
    yield ""
    ran = sorted({shown.profile for shown in matrix.pairs.values()})
    yield f"The suite's profile was {' and '.join(f'`{name}`' for name in ran)}."
    for scheme, less in LESS.items():
        told = ", ".join(f"{name} {number}" for name, number in less.items())
        yield f"Less is tried on `{scheme}`, which answers slowly here: {told}."


def _not_passed(matrix: Matrix) -> Iterator[str]:
    """Each clause that has not passed on some pair, with the reason, and where."""
    yield "Clauses that have not passed, and why:"
    yield ""
    found: dict[tuple[str, str, str], list[Pair]] = {}
    for pair, shown in sorted(matrix.pairs.items(), key=lambda item: pairs().index(item[0])):
        for clause, reason in shown.reasons.items():
            found.setdefault((clause, shown.verdicts[clause], reason), []).append(pair)
    if not found:
        yield "- none"
    order = workflow_clauses()
    for clause, verdict, reason in sorted(found, key=lambda one: (order.index(one[0]), one[1:])):
        where = ", ".join(f"`{pair}`" for pair in found[clause, verdict, reason])
        why = " ".join(reason.removeprefix(f"{verdict}: ").split())
        yield f"- **{clause}** {verdict}: {why}. On {where}. The clause: {clauses()[clause]}"


def _left_out() -> Iterator[str]:
    yield "Not in the matrix:"
    yield ""
    reasons: dict[str, list[Pair]] = {}
    for pair in (Pair(broker, backend) for broker in BROKERS for backend in BACKENDS):
        if (reason := why_not(pair)) is not None:
            reasons.setdefault(reason, []).append(pair)
    for reason, left_out in reasons.items():
        yield f"- {', '.join(f'`{pair}`' for pair in left_out)}. {reason}"


# The drivers


def broker_declared(told: Mapping[str, Any]) -> BrokerCapabilities:
    """Capabilities as they were before they were kept."""
    return BrokerCapabilities(**{**told, "durability": Durability(told["durability"]), "hold": Hold(told["hold"])})


def backend_declared(told: Mapping[str, Any]) -> BackendCapabilities:
    """Capabilities as they were before they were kept."""
    return BackendCapabilities(**{**told, "durability": Durability(told["durability"])})


def _drivers(matrix: Matrix) -> Iterator[str]:
    for scheme in BROKERS:
        if (told := matrix.declared["broker"].get(scheme)) is not None:
            yield f"### The broker `{scheme}`"
            yield from _sections(of_broker(broker_declared(told)))
    for scheme in BACKENDS:
        if (told := matrix.declared["backend"].get(scheme)) is not None:
            yield f"### The backend `{scheme}`"
            yield from _sections(of_backend(backend_declared(told)))


def _together(matrix: Matrix) -> Iterator[str]:
    """What follows from two drivers, said once for all the pairs of which it is true."""
    found: dict[Statement, list[Pair]] = {}
    for pair in pairs():
        broker = matrix.declared["broker"].get(pair.broker)
        backend = matrix.declared["backend"].get(pair.backend)
        if broker is not None and backend is not None:
            for statement in of_pair(broker_declared(broker), backend_declared(backend)):
                found.setdefault(statement, []).append(pair)
    for section, statements in groupby(
        sorted(found, key=lambda one: (_place(one), found[one])), key=lambda one: one.section
    ):
        yield _title(section.value)
        yield "\n".join(f"- {one.text} ({_where(found[one])})" for one in statements)


def _place(statement: Statement) -> int:
    return list(type(statement.section)).index(statement.section)


def _where(on: list[Pair]) -> str:
    if len(on) == len(pairs()):
        return "all pairs"
    whole = [broker for broker in BROKERS if {pair for pair in pairs() if pair.broker == broker} <= set(on)]
    rest = [pair for pair in on if pair.broker not in whole]
    return ", ".join([*(f"`{broker}` with any backend" for broker in whole), *(f"`{pair}`" for pair in rest)])


def _sections(statements: list[Statement]) -> Iterator[str]:
    for section, told in groupby(statements, key=lambda statement: statement.section):
        yield _title(section.value)
        yield "\n".join(f"- {statement.text}" for statement in told)


def _title(section: str) -> str:
    return f"**{section[0].upper()}{section[1:]}**"
