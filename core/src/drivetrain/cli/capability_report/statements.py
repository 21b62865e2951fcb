"""Statements about drivers, by section. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Any, TypeAlias

import attrs
from attrs import frozen

__all__ = [
    "Section",
    "Statement",
    "Statements",
    "by_section",
    "crash",
    "native",
    "refused",
    "supplied",
    "unknown_attributes",
    "unknown_value",
]


class Section(StrEnum):
    """The section of a statement; its value is the heading."""

    NATIVE = "native"
    SUPPLIED = "supplied by core"
    REFUSED = "refused, or not available"
    DELAYS = "delays"
    CRASH = "what a crash can cost"


@frozen
class Statement:
    """One statement about a driver or a pair of drivers."""

    section: Section
    text: str


#: The statements of one subject.
Statements: TypeAlias = Iterator[Statement]


def by_section(*groups: Statements) -> list[Statement]:
    """All statements, in the order of their sections."""
    statements = [statement for statements in groups for statement in statements]
    return sorted(statements, key=lambda statement: list(Section).index(statement.section))


def unknown_attributes(declared: Any, known: type[Any]) -> Statements:
    """Statements about attributes that ``known`` does not have: those of another version, or of a subclass."""
    names = {attribute.name for attribute in attrs.fields(known)}
    own = attrs.fields(type(declared)) if attrs.has(type(declared)) else ()
    for attribute in own:
        if attribute.name not in names:
            what = f"{attribute.name} {getattr(declared, attribute.name)!r}"
            yield refused(f"It declares {what}, which this version of drivetrain does not know.")


def unknown_value(what: str, value: object, about: str) -> str:
    """The text for a declared value that this version of drivetrain does not know."""
    return (
        f"It declares the {what} {str(value)!r}, which this version of drivetrain does not know: nothing is promised "
        f"of {about}."
    )


def _in(section: Section) -> Callable[[str], Statement]:
    return lambda text: Statement(section, text)


#: Make a statement of a text.
native, supplied = _in(Section.NATIVE), _in(Section.SUPPLIED)
refused, crash = _in(Section.REFUSED), _in(Section.CRASH)
