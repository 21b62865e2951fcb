"""Brokers and backends that break B45 and R41: they take URLs that can never work, or refuse them badly."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from drivetrain.contract import (
    ConfigurationError,
    DriverContext,
    DriverUrl,
    ServiceUnavailable,
    namespace_option,
    read_hosts,
    read_options,
    redact,
)
from drivetrain.drivers.memory import MemoryBackend, MemoryBroker
from drivetrain_contract_tests import Service
from mutants import backend_base, broker_base
from mutants.mutant import Mutant

__all__ = ["MUTANTS"]

#: The name of a store, given the URL, what the options say, and every fault of the URL.
Verdict = Callable[[str, Sequence[str]], None]


def _url(namespace: str) -> str:
    return f"memory://user:sesame@somewhere:4711?namespace={namespace}"


def _faults_of(parts: DriverUrl) -> tuple[list[str], list[str]]:
    """What is wrong with the options, and with the host."""
    _, options = read_options(parts.options, {"namespace": namespace_option})
    _, hosts = read_hosts(parts.netloc.rpartition("@")[2], port=1)
    return options, hosts


def _refuse(url: str, faults: Sequence[str]) -> None:
    if faults:
        raise ConfigurationError(f"{redact(url)} is no URL of this driver", faults)


def reads(options: bool = True, hosts: bool = True, refuse: Verdict = _refuse) -> Callable[[str], None]:
    """A check of URLs that looks at options and hosts, and says so by ``refuse``."""

    def check(url: str) -> None:
        of_options, of_hosts = _faults_of(DriverUrl.parse(url))
        refuse(url, [*(of_options if options else ()), *(of_hosts if hosts else ())])

    return check


def _first_only(url: str, faults: Sequence[str]) -> None:
    _refuse(url, faults[:1])


def _last_only(url: str, faults: Sequence[str]) -> None:
    _refuse(url, faults[-1:])


def _without_a_name(url: str, faults: Sequence[str]) -> None:
    _refuse(url, ["something is wrong with it"] if faults else [])


def _shown(url: str, faults: Sequence[str]) -> None:
    if faults:
        raise ConfigurationError(f"{url} is no URL of this driver", faults)


def _chained(url: str, faults: Sequence[str]) -> None:
    if faults:
        raise ConfigurationError(f"{redact(url)} is no URL of this driver", faults) from ValueError(url)


def _as_value_error(url: str, faults: Sequence[str]) -> None:
    if faults:
        raise ValueError(f"{redact(url)} is no URL of this driver: {'; '.join(faults)}")


def _as_unavailable(url: str, faults: Sequence[str]) -> None:
    if faults:
        raise ServiceUnavailable(f"{redact(url)} cannot be reached: {'; '.join(faults)}")


def _takes_any_number(url: str) -> None:
    port = re.search(r":([^:@/?]*)(\?|/|$)", url.rpartition("@")[2] or url)
    options, _ = _faults_of(DriverUrl.parse(url))
    _refuse(url, [*options, *(["the port is no number"] if port and not re.fullmatch(r"[+-]?\d+", port[1]) else [])])


def _takes_any_text(url: str) -> None:
    port = re.search(r":([^:@/?]*)(\?|/|$)", url.rpartition("@")[2] or url)
    options, hosts = _faults_of(DriverUrl.parse(url))
    _refuse(url, [*options, *(hosts if port and port[1].isdigit() else [])])


def _takes_zero(url: str) -> None:
    options, hosts = _faults_of(DriverUrl.parse(url.replace(":0?", ":1?").replace(":0/", ":1/")))
    _refuse(url, [*options, *hosts])


class _RefusedLater:
    """Refuses when it is first used."""

    def __init__(self, driver: Any, refusal: ConfigurationError) -> None:
        self._driver, self._refusal = driver, refusal
        self.capabilities = driver.capabilities

    def __getattr__(self, name: str) -> Any:
        if name == "close":
            return self._driver.close
        raise self._refusal


#: Checks of URLs, by what they do wrong.
CHECKS: dict[str, Callable[[str], None]] = {
    "ignores options that it does not know": reads(options=False),
    "does not look at the port": reads(hosts=False),
    "takes any number for a port": _takes_any_number,
    "takes what is no number for no port": _takes_any_text,
    "takes the port 0 for any": _takes_zero,
    "names the first fault only": reads(refuse=_first_only),
    "names the last fault only": reads(refuse=_last_only),
    "names no fault": reads(refuse=_without_a_name),
    "shows the URL that it refuses": reads(refuse=_shown),
    "shows the URL in the cause of its refusal": reads(refuse=_chained),
    "refuses with an error of Python": reads(refuse=_as_value_error),
    "says that a service cannot be reached that there cannot be": reads(refuse=_as_unavailable),
}
_LATER = "refuses when it is first used"


def _mutants(clause: str, contract: Any, kind: Any, role: str) -> list[Mutant]:
    def make(url: str, context: DriverContext) -> Any:
        namespace = DriverUrl.parse(url).options.get("namespace", context.namespace)
        return kind(f"somewhere?{namespace}", context.clock)

    def checking(check: Callable[[str], None]) -> Service:
        def maker(url: str, context: DriverContext) -> Any:
            check(url)
            return make(url, context)

        return Service(_url, **{f"{role}_maker": maker})

    def later() -> Service:
        def maker(url: str, context: DriverContext) -> Any:
            made = make(url, context)
            try:
                reads()(url)
            except ConfigurationError as error:
                return _RefusedLater(made, error)
            return made

        return Service(_url, **{f"{role}_maker": maker})

    found = [
        Mutant(name=name, clause=clause, contract=contract, service=lambda check=check: checking(check))
        for name, check in CHECKS.items()
    ]
    return [*found, Mutant(name=_LATER, clause=clause, contract=contract, service=later)]


MUTANTS = (
    *_mutants("B45", broker_base.Impatient, MemoryBroker, "broker"),
    *_mutants("R41", backend_base.Impatient, MemoryBackend, "backend"),
)
