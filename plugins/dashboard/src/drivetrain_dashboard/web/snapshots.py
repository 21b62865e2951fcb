"""Pages as they were read last. All viewers of a page share one reading, so the cost to the services is bounded.

A page is read when somebody asks for it and the last reading is too old. So nothing is read while nobody looks.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from hashlib import blake2b

from anyio import Lock
from attrs import define, field, frozen
from msgspec.structs import replace

from drivetrain_dashboard.views.catalog import PageKind
from drivetrain_dashboard.views.context import ReadContext
from drivetrain_dashboard.views.page import Page, Query
from drivetrain_dashboard.web.encoding import encode
from drivetrain_dashboard.web.threads import in_thread

__all__ = ["Snapshot", "Snapshots"]

#: How many pages are remembered at most.
_MOST = 200
#: A page that takes long is read less often: the pause is this many times as long as the reading.
_PAUSE_FACTOR = 10.0


@frozen
class Snapshot:
    """A page as it was read. Immutable.

    Attributes:
        page: its view-model.
        version: a text that differs if anything on the page does, except the time.
    """

    page: Page
    version: str


@define
class _Entry:
    lock: Lock = field(factory=Lock)
    snapshot: Snapshot | None = None
    #: When it was read, and how long that took, by a monotonic clock in seconds.
    read_at: float = 0.0
    took: float = 0.0


class Snapshots:
    """Reads pages, and remembers them for a moment. For the event loop's thread; readings run in other threads.

    Args:
        context: what readers get.
        monotonic: a clock, in seconds.
        seconds: how old a page may be.
    """

    def __init__(self, context: ReadContext, monotonic: Callable[[], float], *, seconds: float) -> None:
        self._context = context
        self._monotonic = monotonic
        self._seconds = seconds
        self._entries: OrderedDict[tuple[str, Query], _Entry] = OrderedDict()

    async def read(self, kind: PageKind, query: Query) -> Snapshot:
        """The page, as it was read a moment ago, or now.

        Raises:
            DrivetrainError: it cannot be read.
        """
        entry = self._entry(kind, query)
        async with entry.lock:
            if entry.snapshot is not None and self._monotonic() - entry.read_at < self._pause(entry):
                return entry.snapshot
            began = self._monotonic()
            snapshot = await in_thread(lambda: self._read(kind, query))
            entry.snapshot, entry.read_at = snapshot, self._monotonic()
            entry.took = entry.read_at - began
        return snapshot

    def pause_of(self, kind: PageKind, query: Query) -> float:
        """How many seconds to wait until the page is worth another look."""
        return self._pause(self._entry(kind, query))

    def forget(self) -> None:
        """Read each page when it is asked for next: an action has changed something."""
        self._entries.clear()

    def _entry(self, kind: PageKind, query: Query) -> _Entry:
        key = (kind.name, query)
        entry = self._entries.setdefault(key, _Entry())
        self._entries.move_to_end(key)
        while len(self._entries) > _MOST:
            self._entries.popitem(last=False)
        return entry

    def _pause(self, entry: _Entry) -> float:
        return max(self._seconds, _PAUSE_FACTOR * entry.took)

    def _read(self, kind: PageKind, query: Query) -> Snapshot:
        page = kind.read(self._context, query)
        content = encode(replace(page, at=0.0))
        return Snapshot(page, blake2b(content, digest_size=8).hexdigest())
