"""Whether the service of a class of checks can be used at all: said once, and not by each check after its patience."""

from __future__ import annotations

import hashlib
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from drivetrain.contract import ServiceUnavailable
from drivetrain_contract_tests.contract import Contract, NotRun

if sys.platform != "win32":
    import fcntl

__all__ = ["must_be_usable", "taking_turns"]


def must_be_usable(kind: type[Contract]) -> None:
    """Return if the drivers of a class of checks reach their service.

    Raises:
        AssertionError: they do not, and this is the first check that would need it.
        NotRun: they do not, as an earlier check has said; or a check has left the service stopped.
    """
    told = vars(kind).get("_unreachable")
    service = getattr(kind, "service", None)
    fault = getattr(service, "fault", None)
    if told is None or fault is not None:
        error = _unreachable(kind)
        if error is None:
            kind._unreachable = ""  # type: ignore[attr-defined]
            if fault is not None and service is not None:
                service.mended()
            return
        if fault is not None:
            raise NotRun(fault)
        kind._unreachable = f"{type(error).__name__}: {error}"  # type: ignore[attr-defined]
        raise AssertionError(f"the service cannot be reached; the other checks are not run: {kind._unreachable}")  # type: ignore[attr-defined]
    if told:
        raise NotRun(f"the service cannot be reached: {told}")


def _unreachable(kind: type[Contract]) -> ServiceUnavailable | None:
    for subject in kind.subjects():
        driver: Any = subject.made()
        if not hasattr(driver, "ping"):
            continue
        try:
            driver.ping()
        except ServiceUnavailable as error:
            return error
        finally:
            driver.close()
    return None


@contextmanager
def taking_turns(kind: type[Contract], run: str, *, alone: bool) -> Iterator[None]:
    """Let checks of several processes use one service; one that stops it is alone meanwhile.

    Args:
        kind: the class of checks; its URL identifies its service.
        run: the run of pytest-xdist that the processes belong to.
        alone: whether this check stops the service.
    """
    service = getattr(kind, "service", None)
    if service is None or getattr(service, "stop", None) is None:
        yield
        return
    if sys.platform == "win32":
        if alone:
            raise NotRun("a check that stops the service is run by pytest without -n on this system")
        yield
        return
    name = hashlib.sha256(f"{run} {service.url('')}".encode()).hexdigest()[:16]
    path = Path(tempfile.gettempdir(), f"drivetrain-contract-{name}")
    with ExitStack() as stack:
        door, room = (stack.enter_context(path.with_suffix(suffix).open("a")) for suffix in (".door", ".room"))
        # A process keeps the door while it waits for the room: otherwise others would enter all the time.
        fcntl.flock(door, fcntl.LOCK_EX)
        fcntl.flock(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(door, fcntl.LOCK_UN)
        yield
