"""What a check has to say besides pass and fail: what works undeclared, and how a workflow's tasks fared."""

from __future__ import annotations

from typing import Any

from attrs import asdict, define, field, frozen

__all__ = ["Counts", "Findings", "Undeclared"]


@frozen
class Counts:
    """How the tasks of workflows fared."""

    #: Sent, and never ended.
    lost: int = 0
    #: Ran, though nobody had sent them; or ended with a wrong result.
    unexpected: int = 0
    #: Ran again after they had ended.
    duplicated: int = 0
    #: Ended well although a worker or a service had failed under them.
    recovered: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.lost + other.lost,
            self.unexpected + other.unexpected,
            self.duplicated + other.duplicated,
            self.recovered + other.recovered,
        )


@frozen
class Undeclared:
    """A capability that is not declared, yet works."""

    capability: str
    #: What was seen.
    told: str


@define
class Findings:
    """What one run of one check has found besides its verdict."""

    undeclared: list[Undeclared] = field(factory=list)
    counts: Counts | None = None

    def document(self) -> dict[str, Any]:
        """As plain values, to cross processes."""
        return asdict(self)
