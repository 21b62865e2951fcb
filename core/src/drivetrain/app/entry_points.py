"""Installed drivers and plugins: reads entry points of drivetrain's groups, and chooses one for a name.

Reading entry points imports none of them.
"""

from __future__ import annotations

import itertools
import logging
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Any

import importlib_metadata
from attrs import field, frozen

from drivetrain.app.contract_report import ContractReport, contract_report
from drivetrain.contract import AmbiguousDriver, DriverBroken, DriverNotFound

__all__ = ["DriverEntries", "DriverEntry", "Kind", "normalized"]

logger = logging.getLogger("drivetrain.discovery")


class Kind(StrEnum):
    """What an entry point provides."""

    BROKER = "broker"
    BACKEND = "backend"
    SERIALIZER = "serializer"
    RETRY_POLICY = "retry policy"
    TIMETABLE = "timetable"
    PLUGIN = "plugin"

    @property
    def group(self) -> str:
        """The entry-point group: ``drivetrain.retry_policies``."""
        return "drivetrain.retry_policies" if self is Kind.RETRY_POLICY else f"drivetrain.{self}s"


_KINDS = {kind.group: kind for kind in Kind}

_BOTH = (Kind.BROKER, Kind.BACKEND)

#: The project's own drivers: scheme to package and kinds, for telling what to install.
_PACKAGES: Mapping[str, tuple[str, Sequence[Kind]]] = {
    **dict.fromkeys(
        (
            *("redis", "rediss", "redis+socket", "unix"),
            *("redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster"),
        ),
        ("drivetrain-redis", _BOTH),
    ),
    **dict.fromkeys(("amqp", "amqps"), ("drivetrain-amqp", (Kind.BROKER,))),
    **dict.fromkeys(("sqs", "sqs+http", "sqs+https"), ("drivetrain-sqs", (Kind.BROKER,))),
    **dict.fromkeys(("mongodb", "mongodb+srv"), ("drivetrain-mongo", (Kind.BACKEND,))),
    "memcache": ("drivetrain-memcache", (Kind.BACKEND,)),
}


def normalized(distribution: str) -> str:
    """A distribution's name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


@frozen(kw_only=True)
class DriverEntry:
    """An entry point of a distribution that serves a URL scheme or a name."""

    kind: Kind
    #: The URL scheme, or the name of the serializer, policy or plugin.
    name: str
    distribution: str
    version: str
    _entry: importlib_metadata.EntryPoint = field(repr=False, alias="entry")

    def __str__(self) -> str:
        return f"the {self.kind} {self.name!r} of {self.distribution} {self.version}"

    @property
    def target(self) -> tuple[str, str]:
        """The distribution, and what the entry point names: the same for all schemes of a driver."""
        return normalized(self.distribution), self._entry.value

    def load(self) -> Any:
        """Import what the entry point names.

        Raises:
            DriverBroken: it cannot be imported; chained to what was raised.
        """
        try:
            return self._entry.load()
        except (Exception, SystemExit) as error:
            reason = f"{type(error).__name__}: {error}"
            raise DriverBroken(
                f"{self} cannot be imported ({self._entry.value}): {reason}; if its code is not yours, try "
                f"pip install --force-reinstall {self.distribution}"
            ) from error

    def contract_report(self) -> ContractReport | None:
        """Its report of the contract tests, if its distribution ships one."""
        return contract_report(self._entry.dist, self.kind, self.name)


def _entries_of(found: Any) -> list[DriverEntry]:
    # The metadata of any distribution may be damaged, also of an unrelated one. That must not break an app.
    try:
        entries = [entry for entry in found.entry_points if entry.group in _KINDS]
    except Exception:  # damaged metadata raises anything
        logger.warning("the entry points of a distribution cannot be read; ignoring it", exc_info=True)
        return []
    return [_entry_of(found, entry) for entry in entries]


def _entry_of(found: Any, entry: importlib_metadata.EntryPoint) -> DriverEntry:
    try:
        name, version = found.name or "", found.version or ""
    except Exception:  # as above
        logger.warning("the metadata of the distribution that provides %r cannot be read", entry, exc_info=True)
        name = version = ""
    return DriverEntry(
        kind=_KINDS[entry.group],
        name=entry.name,
        distribution=name or f"a distribution without a name, for {entry.value}",
        version=version or "(no version)",
        entry=entry,
    )


def _installed() -> Sequence[DriverEntry]:
    # Reading takes most of the time of making an app. An installation changes the time of its directory.
    return _read(tuple((directory, _changed_at(directory)) for directory in sys.path))


def _changed_at(directory: str) -> int:
    try:
        return Path(directory).stat().st_mtime_ns
    except OSError:
        return 0  # no such directory: sys.path may name some that do not exist


@lru_cache(maxsize=4)
def _read(_: tuple[tuple[str, int], ...]) -> Sequence[DriverEntry]:
    by_distribution: dict[str, list[DriverEntry]] = {}
    for found in importlib_metadata.distributions():
        has = _entries_of(found)
        if has:
            # sys.path may show a distribution twice; as with imports, the first one counts.
            by_distribution.setdefault(normalized(has[0].distribution), has)
    return tuple(itertools.chain.from_iterable(by_distribution.values()))


class DriverEntries:
    """All entry points of drivers and plugins, from the metadata of installed distributions.

    Args:
        choose: for a scheme or name that several distributions serve, the distribution to take.
    """

    def __init__(self, choose: Mapping[str, str]) -> None:
        self._choose = choose
        self.all: Sequence[DriverEntry] = _installed()

    def has(self, kind: Kind, name: str) -> bool:
        """Whether any installed distribution serves this."""
        return any(entry.kind is kind and entry.name == name for entry in self.all)

    def find(self, kind: Kind, name: str) -> DriverEntry:
        """The entry point to use.

        Raises:
            DriverNotFound: no distribution serves it, or the chosen one does not.
            AmbiguousDriver: several distributions serve it, and none is chosen.
        """
        same_name = [entry for entry in self.all if entry.name == name]
        candidates = _one_per_distribution(entry for entry in same_name if entry.kind is kind)
        if not candidates:
            raise DriverNotFound(self._not_found_text(kind, name))
        chosen = self._chosen(name, same_name)
        # The chosen distribution may serve a scheme as a broker only, and leave the backend to the one that does.
        candidates = [entry for entry in candidates if normalized(entry.distribution) == chosen] or candidates
        if len(candidates) > 1:
            raise AmbiguousDriver(_ambiguous_text(kind, name, candidates))
        return candidates[0]

    def same_driver(self, kind: Kind, one: str, other: str) -> bool:
        """Whether one driver serves both schemes, as the Redis driver serves ``redis`` and ``rediss``."""
        try:
            return self.find(kind, one).target == self.find(kind, other).target
        except (DriverNotFound, AmbiguousDriver):
            return False

    def _chosen(self, name: str, same_name: Sequence[DriverEntry]) -> str | None:
        if name not in self._choose:
            return None
        chosen = normalized(self._choose[name])
        distributions = sorted({entry.distribution for entry in same_name})
        if chosen not in map(normalized, distributions):
            raise DriverNotFound(
                f"the setting drivers[{name!r}] chooses {self._choose[name]!r}, which is not installed or does not "
                f"serve it; installed for it: {', '.join(distributions)}"
            )
        return chosen

    def _not_found_text(self, kind: Kind, name: str) -> str:
        what = f"no installed package serves {_shown(kind, name)}"
        package, kinds = _PACKAGES.get(name, ("", ()))
        if kind in kinds:
            return f"{what}; pip install {package}"
        others = sorted({other.kind for other in self.all if other.name == name}.union(kinds))
        if others:
            what = f"{what}: {name!r} is a {' and a '.join(others)} only"
        known = sorted({entry.name for entry in self.all if entry.kind is kind})
        listed = f"{what} (installed: {', '.join(known) or 'none'})"
        to_install = [scheme for scheme, (_, kinds) in _PACKAGES.items() if kind in kinds]
        near = get_close_matches(name, dict.fromkeys((*known, *to_install)), n=2)
        return f"{listed}; did you mean {' or '.join(near)}?" if near and not others else listed


def _one_per_distribution(has: Iterable[DriverEntry]) -> list[DriverEntry]:
    return list({normalized(entry.distribution): entry for entry in has}.values())


def _shown(kind: Kind, name: str) -> str:
    return f"{name}:// as a {kind}" if kind in _BOTH else f"the {kind} {name!r}"


def _ambiguous_text(kind: Kind, name: str, has: Sequence[DriverEntry]) -> str:
    distributions = " and ".join(sorted(f"{entry.distribution} {entry.version}" for entry in has))
    example = has[0].distribution
    return (
        f"{_shown(kind, name)} is claimed by {distributions}; "
        f'choose one with the setting drivers = {{"{name}": "{example}"}}, or uninstall the other'
    )
